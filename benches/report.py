#!/usr/bin/python3
"""Tables and plots of what the benchmarks left in target/bench/.

  report.py [--in DIR] [--docs]

Writes DIR/NAME.md and DIR/NAME.svg for each part whose NAME.json is there. With --docs the tables take the place of those in
docs/benchmarks.md, between <!-- begin NAME --> and <!-- end NAME -->, the plots go to docs/plots/, and the first lines of the summary to
README.md.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
THEIRS, OURS = "spice-server", "ours"
COLORS = {THEIRS: "#b0b4ba", OURS: "#c8401e", "our encoder alone": "#e8a08c", "io_uring": "#c8401e", "epoll": "#e8a08c"}


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


def machine(rounds):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libspice-server1"], capture_output=True, text=True, check=False)
    day = datetime.date.today().isoformat()
    return (f"{day}, {os.cpu_count()} cores of {model.group(1) if model else 'an unknown processor'}, "
            f"spice-server {done.stdout or 'of this system'}; "
            + (f"medians of {rounds} rounds by turns.\n\n" if rounds > 1 else "one round.\n\n"))


def bars(path, title, unit, groups):
    """A bar for each (name, {side: value}) of the groups, lying; values stand at their ends. Very long ones are cut."""
    bar, gap, left, width = 15, 10, 190, 560
    top = 64
    values = sorted(value for _, values in groups for value in values.values())
    limit = 2.5 * values[len(values) * 3 // 4]
    most = limit if values[-1] > 2 * limit else values[-1]
    height = top + sum(bar * len(values) + gap for _, values in groups) + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{left + width + 90}" height="{height}" fill="#ffffff"/>',
           f'<text x="12" y="22" font-size="15" fill="#202020">{title}</text>']
    at = 12
    for side in dict.fromkeys(side for _, values in groups for side in values):
        out.append(f'<rect x="{at}" y="36" width="12" height="12" fill="{COLORS[side]}"/>'
                   f'<text x="{at + 17}" y="46" fill="#202020">{side}</text>')
        at += 40 + 8 * len(side)
    y = top
    for name, values in groups:
        out.append(f'<text x="{left - 8}" y="{y + bar * len(values) / 2 + 4}" text-anchor="end" fill="#202020">{name}</text>')
        for side, value in values.items():
            long = min(width, max(1, value / most * width))
            out.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{bar - 2}" fill="{COLORS[side]}"/>'
                       f'<text x="{left + long + 5:.1f}" y="{y + bar - 4}" fill="#404040">{value:.3g} {unit}</text>')
            if value > most:
                out.append(f'<path d="M{left + width - 30} {y + bar} l8 -{bar + 2} h6 l-8 {bar + 2} z" fill="#ffffff"/>')
            y += bar
        y += gap
    path.write_text("\n".join(out) + "\n</svg>\n")


def alone(kernels, picture, mode):
    """Milliseconds of our encoder by itself: scalar and best kernels. Of two the first is that of a single picture."""
    for line in kernels:
        if line["picture"] == picture and line["work"] == f"{mode} encode":
            return line
    return None


def sides(entry):
    return [entry["runs"][side] for side in (THEIRS, OURS)]


def pictures(results, kernels, folder, name, title):
    """Of single pictures, or of those of sequences."""
    rows, groups = [], []
    for entry in results:
        theirs, ours = sides(entry)
        before, after = middle(theirs, "ms"), middle(ours, "ms")
        line = alone(kernels, entry["picture"], entry["mode"]) if name == "codecs" or entry["place"] else None
        sizes = middle(theirs, "bytes"), middle(ours, "bytes")
        rows.append([entry["picture"], entry["mode"], f"{before:.2f}", f"{after:.2f}", f"**{before / after:.1f}**",
                     f"{line['best']:.2f}" if line else "", f"{before / line['best']:.1f}" if line else "",
                     f"{line['scalar']:.2f}" if line else "",
                     f"{sizes[0]:,.0f}", f"{sizes[1]:,.0f}", f"{sizes[1] / sizes[0]:.3f}"])
        if entry["mode"] != "off":
            groups.append((f"{entry['picture']}, {entry['mode']}",
                           {THEIRS: before, OURS: after, **({"our encoder alone": line["best"]} if line else {})}))
    bars(folder / f"{name}.svg", title, "ms", groups)
    head = ["picture", "mode", "spice-server, ms", "ours, ms", "times", "our encoder alone, ms", "times", "scalar, ms",
            "bytes, spice-server", "ours", "ratio"]
    return machine(len(sides(results[0])[0])) + table(head, rows)


def clients(results, folder):
    rows, groups = [], {}
    for entry in results:
        one, several = middle(entry["one"], "ms"), middle(entry["several"], "ms")
        rows.append([entry["picture"], entry["mode"], entry["side"], f"{one:.2f}", f"{several:.2f}", f"**{several / one:.2f}**"])
        groups.setdefault(f"{entry['picture']}, {entry['mode']}", {})[entry["side"]] = several / one
    many = results[0]["clients"]
    bars(folder / "clients.svg", f"Processor time of {many} like clients, in times of one client's", "times", list(groups.items()))
    head = ["picture", "mode", "library", "ms per frame, 1 client", f"{many} clients", "times"]
    return machine(len(results[0]["one"])) + table(head, rows)


def traces(report, folder):
    rows, groups = [], []
    for entry in report["results"]:
        theirs, ours = sides(entry)
        before, after = (middle(runs, "library_ns") / 1e9 for runs in (theirs, ours))
        sent = [statistics.median(sum(client["bytes"] for client in run["clients"]) for run in runs) for runs in (theirs, ours)]
        seconds = [middle(runs, "seconds") for runs in (theirs, ours)]
        area = [statistics.median(sum(client["area"] for client in run["clients"]) for run in runs) / 1e6 for runs in (theirs, ours)]
        size = [f"{sent[0] / 1e6:.2f}", f"{sent[1] / 1e6:.2f}", f"{sent[1] / sent[0]:.3f}"] if sent[0] else ["", "", ""]
        rows.append([entry["trace"], entry["mode"], f"{before:.3f}", f"{after:.3f}", f"**{before / after:.2f}**", *size,
                     f"{area[0]:.1f}, {area[1]:.1f}", f"{seconds[0]:.1f}, {seconds[1]:.1f}"])
        groups.append((f"{entry['trace']}, {entry['mode']}", {THEIRS: before, OURS: after}))
    bars(folder / "traces.svg", "Processor time of the library for a recording, one client", "s", groups)
    head = ["recording", "mode", "CPU s, spice-server", "ours", "times", "MB, spice-server", "ours", "ratio", "Mpx drawn",
            "seconds"]
    return machine(len(sides(report["results"][0])[0])) + table(head, rows)


def syscalls(results, folder):
    """Calls and sends of the library's threads, and processor time; spice-server and both of our backends."""
    rows, groups = [], []
    first = next(iter(results.values()))
    writes = ("write", "writev", "send", "sendto", "sendmsg")
    for work, runs in results.items():
        values, cells = {}, []
        for side, figures in runs.items():
            if "all" in figures[0]:
                values[side] = middle(figures, "all")
                size = middle(figures, "bytes") / 1e6
                cells.append(f"{values[side]:.3f} ({middle(figures, 'kernel'):.3f} in the kernel; {size:.2f} MB a picture)")
            else:
                values[side] = statistics.median(sum(run.values()) for run in figures)
                sent = statistics.median(sum(run.get(call, 0) for call in writes) for run in figures)
                cells.append(f"{values[side]:,.0f}" + (f" ({sent:,.0f} writes)" if side != "io_uring" else ""))
        before = values[THEIRS]
        rows.append([work, *cells, *(f"**{values[side] / before:.3f}**" for side in values if side != THEIRS)])
        if "all" not in next(iter(runs.values()))[0]:
            groups.append((work, values))
    bars(folder / "syscalls.svg", "System calls of the library's threads", "calls", groups)
    head = ["work", *first, *(f"{side}, ratio" for side in first if side != THEIRS)]
    return machine(len(next(iter(first.values())))) + table(head, rows)


# What benches/links/run.py measures: name, field, what it is divided by, digits, smaller is better.
LINKS = [
    ("full links a second, sustained", "rate", 1, 0, False),
    ("… time of one, ms, median", "p50_us", 1000, 2, True),
    ("… time of one, ms, 99 of 100", "p99_us", 1000, 2, True),
    ("… processor time of QEMU for one, ms", "cpu_us", 1000, 2, True),
    ("a session of six channels, ms", "median_us", 1000, 1, True),
    ("memory of the first client, MiB", "first_kib", 1024, 2, True),
    ("… of the second", "second_kib", 1024, 2, True),
    ("… of each further one", "client_kib", 1024, 2, True),
]


def links(report, folder):
    rows, groups = [], []
    for name, key, scale, digits, smaller in LINKS:
        theirs, ours = (middle(report["runs"][side], key) / scale for side in (THEIRS, OURS))
        times = theirs / ours if smaller else ours / theirs
        rows.append([name, f"{theirs:,.{digits}f}", f"{ours:,.{digits}f}", f"**{times:.1f}**"])
        if key in ("cpu_us", "median_us", "first_kib"):
            groups.append((name.strip("… "), {THEIRS: theirs, OURS: ours}))
    bars(folder / "links.svg", "Links and sessions", "", groups)
    return machine(report["rounds"]) + table(["", "spice-server", "ours", "times better"], rows)


def commands(results, folder):
    rows, groups = [], []
    for entry in results:
        theirs, ours = sides(entry)
        rate, cpu = ([middle(runs, key) for runs in (theirs, ours)] for key in ("rate", "cpu_ns"))
        rows.append([entry["scene"], f"{rate[0]:,.0f}", f"{rate[1]:,.0f}", f"**{rate[1] / rate[0]:.1f}**",
                     f"{cpu[0] / 1000:.2f}", f"{cpu[1] / 1000:.2f}", f"**{cpu[0] / cpu[1]:.1f}**",
                     ", ".join(f"{middle(runs, 'sent'):.1%}" for runs in (theirs, ours))])
        groups.append((entry["scene"], {THEIRS: rate[0], OURS: rate[1]}))
    bars(folder / "commands.svg", "Small commands a second", "", groups)
    head = ["scene", "spice-server, commands/s", "ours", "times", "spice-server, CPU µs each", "ours", "times", "sent, both"]
    return machine(len(sides(results[0])[0])) + table(head, rows)


def latency(report, folder):
    """One row for each case; what misses its target is marked."""
    rows, groups = [], []
    for case in report["cases"].values():
        theirs, ours = (case["sides"][side] for side in (THEIRS, OURS))
        rows.append([case["name"], *(f"{theirs[key]:,.0f}" for key in ("p50", "p99")), *(f"{ours[key]:,.0f}" for key in ("p50", "p99", "max")),
                     *(f"**{ours[key] / theirs[key]:.2f}**" for key in ("p50", "p99")),
                     f"{theirs['count']}, {ours['count']}" + (f"; {theirs['lost']}, {ours['lost']} lost" if theirs["lost"] + ours["lost"] else "")])
        groups.append((case["name"].replace("small draw", "draw").replace("by the ring's notify rule", "notify"),
                       {THEIRS: theirs["p50"], OURS: ours["p50"]}))
    bars(folder / "latency.svg", "Latency, median", "µs", groups)
    head = ["what", "spice-server, p50 µs", "p99", "ours, p50 µs", "p99", "worst", "p50, ratio", "p99, ratio", "how many"]
    text = machine(report["rounds"]) + table(head, rows)
    if floor := report.get("floor"):
        rows = [[report["cases"][case]["name"], f"{found['p50']:,.0f}", f"{found['p99']:,.0f}"] for case, found in floor.items()]
        text += "\nThe floor:\n\n" + table(["for", "p50 µs", "p99"], rows)
    if "idle" in report:
        rows = []
        for side in (THEIRS, OURS):
            found = report["idle"][side]
            seconds = found["seconds"]
            who = ", ".join(f"{re.sub(r' [0-9]+$', '', name)} {count / seconds:.2f}" for name, count in found["threads"].items())
            rows.append([side, f"{found['wakeups'] / seconds:.2f}", f"{found['cpu_us'] / seconds:.1f}", who or "none"])
        text += "\nA session of one client that sees a still screen, all threads of the host's process:\n\n"
        text += table(["library", "wake-ups a second", "processor time, µs a second", "which threads"], rows)
    return text


def rings(runs, folder):
    rows, groups = [], []
    base = middle(runs[THEIRS], "rate")
    for side, found in runs.items():
        rate = middle(found, "rate")
        rows.append([side, f"{rate:,.0f}", f"**{rate / base:.1f}**", *(f"{middle(found, key) * 1000 / middle(found, 'count'):.0f}" for key in ("kicks", "interrupts"))])
        groups.append((side, {THEIRS if side == THEIRS else OURS: rate}))
    bars(folder / "rings.svg", "Small commands a second of a guest in another process", "", groups)
    return machine(len(runs[THEIRS])) + table(["way", "commands a second", "times", "kicks for 1,000", "interrupts for 1,000"], rows)


def tls(results, folder):
    rows, groups = [], []
    for entry in results:
        theirs, ours = sides(entry)
        cpu, speed = ([middle(runs, key) for runs in (theirs, ours)] for key in ("cpu", "speed"))
        name = theirs[0]["cipher"] or "plain"
        rows.append([name, f"{cpu[0]:.2f}", f"{cpu[1]:.2f}", f"**{cpu[0] / cpu[1]:.2f}**", f"{speed[0]:.0f}", f"{speed[1]:.0f}"])
        groups.append((name, {THEIRS: cpu[0], OURS: cpu[1]}))
    bars(folder / "tls.svg", "Raw pictures, processor time", "s/GB", groups)
    head = ["stream", "spice-server, CPU s/GB", "ours", "times", "spice-server, MB/s", "ours"]
    return machine(len(sides(results[0])[0])) + table(head, rows)


def workers(found, folder):
    bars(folder / "workers.svg", "Photos as QUIC, pixels encoded", "MB/s", [(name, {OURS: found[key]}) for name, key in (("1 worker", "one"), ("2 workers", "two"))])
    row = [f"{found['one']:,.0f}", f"{found['two']:,.0f}", f"**{found['two'] / found['one']:.2f}**"]
    return machine(found["rounds"]) + table(["1 worker, MB of pixels a second", "2 workers", "times"], [row])


def claims(got):
    """What the README says, from the figures that are there: (what, spice-server, ours, how many times better)."""
    def by(name, **wanted):
        return next((entry for entry in got.get(name) or [] if all(entry[key] == value for key, value in wanted.items())), None)

    rows = []

    def add(what, theirs, ours, unit, times, digits=0):
        rows.append([what, f"{theirs:,.{digits}f} {unit}", f"{ours:,.{digits}f} {unit}", f"**{times:.1f} times**"])

    for scene in ("text", "terminal"):
        if entry := by("commands", scene=scene):
            theirs, ours = (middle(runs, "rate") for runs in sides(entry))
            add(f"small commands, {scene}", theirs, ours, "a second", ours / theirs)
    if found := got.get("rings"):
        theirs, ours = (middle(found[side], "rate") for side in (THEIRS, "ours, rings"))
        add("small commands of a guest in another process, by rings in shared memory", theirs, ours, "a second", ours / theirs)
    for picture, mode in (("photo", "quic"), ("photo", "lz")):
        if entry := by("codecs", picture=picture, mode=mode):
            theirs, ours = (middle(runs, "ms") for runs in sides(entry))
            add(f"processor time for a photo of 1920x1080, {mode.upper()}", theirs, ours, "ms", theirs / ours, 1)
    for case, part in (("draw", "p50"), ("draw-photos", "p50"), ("draw-photos", "p99"), ("draw-scrolling", "p50")):
        if found := (got.get("latency") or {}).get("cases", {}).get(case):
            theirs, ours = (found["sides"][side][part] for side in (THEIRS, OURS))
            which = "the median" if part == "p50" else "99 of 100"
            add(f"{found['name']}: until it is in the client's socket, {which}", theirs, ours, "µs", theirs / ours)
    if found := got.get("links"):
        theirs, ours = (middle(found["runs"][side], "rate") for side in (THEIRS, OURS))
        add("full links with a ticket", theirs, ours, "a second", ours / theirs)
        theirs, ours = (middle(found["runs"][side], "client_kib") / 1024 for side in (THEIRS, OURS))
        add("memory of each further client", theirs, ours, "MiB", theirs / ours, 1)
    return rows


def between(path, name, text):
    """Puts a text between the marks of a file."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    head, _, rest = path.read_text().partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"report: {path} has no place for {name}")
    path.write_text(head + begin + text + end + tail)


def into_docs(name, text, folder):
    between(ROOT / "docs/benchmarks.md", name, f"{text}\n![{name}](plots/{name}.svg)\n")
    plots = ROOT / "docs/plots"
    plots.mkdir(exist_ok=True)
    (plots / f"{name}.svg").write_text((folder / f"{name}.svg").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="folder", type=pathlib.Path, default=ROOT / "target/bench")
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    folder = options.folder

    def load(name):
        path = folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else []

    kernels = load("kernels")
    makers = {
        "latency": latency,
        "commands": commands,
        "codecs": lambda got, folder: pictures(got, kernels, folder, "codecs", "Processor time per picture of 1920x1080"),
        "sequences": lambda got, folder: pictures(got, kernels, folder, "sequences", "GLZ, processor time per picture of a sequence"),
        "clients": clients,
        "traces": traces,
        "syscalls": syscalls,
        "links": links,
        "rings": rings,
        "tls": tls,
        "workers": workers,
    }
    figures = {name: load(name) for name in makers}
    for name, maker in makers.items():
        if not figures[name]:
            continue
        text = maker(figures[name], folder)
        (folder / f"{name}.md").write_text(text)
        print(f"{folder / name}.md, .svg")
        if options.docs:
            into_docs(name, text, folder)
    if rows := claims(figures):
        text = table(["what", "spice-server", "Cayenne", ""], rows)
        (folder / "summary.md").write_text(machine(1).partition("; one round")[0] + ".\n\n" + text)
        if options.docs:
            between(ROOT / "docs/benchmarks.md", "summary", (folder / "summary.md").read_text())
            between(ROOT / "README.md", "summary", text)


main()

#!/usr/bin/python3
"""Tables and plots of what the benchmarks left in target/bench/.

  report.py [--in DIR] [--docs]

Writes DIR/NAME.md and DIR/NAME.svg for each of codecs, sequences, clients, traces, syscalls and links whose NAME.json is there. With
--docs the tables take the place of those in docs/benchmarks.md, between <!-- begin NAME --> and <!-- end NAME -->, and
the plots go to docs/plots/.
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


def into_docs(name, text, folder):
    path = ROOT / "docs/benchmarks.md"
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    head, _, rest = path.read_text().partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"report: {path} has no place for {name}")
    path.write_text(head + begin + text + f"\n![{name}](plots/{name}.svg)\n" + end + tail)
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
        "codecs": lambda got: pictures(got, kernels, folder, "codecs", "Processor time per picture of 1920x1080"),
        "sequences": lambda got: pictures(got, kernels, folder, "sequences", "GLZ, processor time per picture of a sequence"),
        "clients": lambda got: clients(got, folder),
        "traces": lambda got: traces(got, folder),
        "syscalls": lambda got: syscalls(got, folder),
        "links": lambda got: links(got, folder),
    }
    for name, maker in makers.items():
        got = load(name)
        if not got:
            continue
        text = maker(got)
        (folder / f"{name}.md").write_text(text)
        print(f"{folder / name}.md, .svg")
        if options.docs:
            into_docs(name, text, folder)


main()

#!/usr/bin/python3
"""Every benchmark beside spice-server's, one after the other: `make bench`, `make bench-quick`.

  all.py [--quick] [--only PART,…] [--docs] [--list]

A part that fails is named, its output stays in target/bench/logs/, and the others go on; the exit status is 1 then. Each part leaves its figures
in target/bench/PART.json. --docs writes tables and plots into docs/ afterwards (benches/report.py): only with all parts, because text and
figures belong to one machine and one day. RUN: words in front of each measured host, e.g. "chrt -f 1".
"""
import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "target/bench"
HOSTS, LIB = ROOT / "stage/hosts", ROOT / "stage/lib"
PYTHON = "/usr/bin/python3"
PICTURES = [f"{OUT}/pictures/{name}-1920x1080.bgrx" for name in ("photo", "ui", "gradient", "noise")]


def sequence(name):
    return "+".join(f"{OUT}/pictures/{name}{step}-1920x1080.bgrx" for step in ("", "-scrolled", "-sideways", "-down"))


def benches(words, quick):
    return [PYTHON, f"{ROOT}/benches/{words[0]}", *words[1], *(words[3] if quick else words[2])]


SIDES = ["--ours", str(LIB)]
# name, title, seconds that it takes when there is nothing else to do (all, quick), and the commands: program, words for both, for all, for quick.
PARTS = [
    ("latency", "latencies, idle costs", 225, 38, [
        ("latency/run.py", ["--program", f"{HOSTS}/latency", "--lib", str(LIB), "--out", f"{OUT}/latency.json"],
         ["--rounds", "1", "--idle-seconds", "60"],
         ["--rounds", "1", "--part", "0.15", "--idle-seconds", "6", "--only", "draw,draw-photos,draw-scrolling,key,key-photos,idle"])]),
    ("commands", "small commands a second", 75, 10, [
        ("commands/run.py", ["--program", f"{HOSTS}/commands", "--lib", str(LIB), "--out", f"{OUT}/commands.json"],
         ["--rounds", "2", "--seconds", "0.5"], ["--rounds", "1", "--seconds", "0.3", "text", "terminal"])]),
    ("codecs", "pictures, all compressions", 95, 10, [
        ("side_by_side/run.py", [*SIDES, "--out", f"{OUT}/codecs.json"],
         ["--frames", "6", "--rounds", "1", "--modes", "off,quic,lz,glz,lz4", *PICTURES[:2], PICTURES[3]],
         ["--frames", "4", "--rounds", "1", "--modes", "quic,lz", PICTURES[0]])]),
    ("sequences", "sequences of pictures, GLZ", 30, 0, [
        ("side_by_side/run.py", [*SIDES, "--modes", "glz", "--out", f"{OUT}/sequences.json"],
         ["--frames", "8", "--rounds", "1", sequence("photo"), sequence("ui")], [])]),
    ("clients", "one client and three", 50, 8, [
        ("side_by_side/clients.py", [*SIDES, "--out", f"{OUT}/clients.json"],
         ["--frames", "6", "--rounds", "1", "--modes", "quic,glz", *PICTURES[:2]],
         ["--frames", "3", "--rounds", "1", "--modes", "quic", PICTURES[0]])]),
    ("traces", "recordings of guests", 95, 14, [
        ("traces/run.py", ["--host", f"{HOSTS}/traces", "--lib", str(LIB), "--out", f"{OUT}/traces.json"],
         ["--rounds", "1", "--modes", "off,auto_glz,quic,lz"],
         ["--rounds", "1", "--modes", "quic", "--commands", "1500", "terminal", "office"])]),
    ("syscalls", "system calls, both backends", 70, 0, [
        ("syscalls/run.py", [*SIDES, "--hosts", str(HOSTS), "--out", f"{OUT}/syscalls.json"],
         ["--rounds", "1", "--frames", "30"], [])]),
    ("links", "links, sessions, memory of a client", 90, 26, [
        ("links/run.py", ["--client", f"{HOSTS}/links_client", "--lib", str(LIB), "--out", f"{OUT}/links.json"],
         ["--rounds", "1", "--seconds", "10"], ["--rounds", "1", "--seconds", "2", "--sessions", "5", "--clients", "2"])]),
    ("rings", "shared rings and callbacks", 25, 6, [
        ("rings/run.py", ["--hosts", str(HOSTS), "--lib", str(LIB), "--out", f"{OUT}/rings.json"],
         ["--rounds", "2", "--count", "100000"], ["--rounds", "1", "--count", "20000"])]),
    ("tls", "raw pictures inside TLS", 30, 0, [
        ("side_by_side/tls.py", [*SIDES, "--out", f"{OUT}/tls.json"], ["--frames", "12", "--rounds", "1"], [])]),
    ("workers", "one encode worker and two", 15, 4, [
        (None, ["cargo", "bench", "--quiet", "--bench", "pool", "--", "--json", f"{OUT}/workers.json"], ["40", "5"], ["10", "1"])]),
    ("kernels", "our encoders alone", 40, 0, [
        (None, ["cargo", "bench", "--quiet", "--bench", "kernels", "--", "--json", f"{OUT}/kernels.json"],
         ["--rounds", "3", *PICTURES, sequence("photo"), sequence("ui")], [])]),
]


class Progress:
    """One line that is written over where somebody looks on, a line for each part where not."""

    def __init__(self, plan):
        self.total, self.done = sum(plan.values()), 0.0
        self.plan, self.begin = plan, time.monotonic()
        self.alive = sys.stderr.isatty()

    def text(self, name, inside):
        part = min(1.0, (self.done + min(inside, 0.98 * self.plan[name])) / self.total)
        spent = time.monotonic() - self.begin
        bar = "#" * int(30 * part) + "." * (30 - int(30 * part))
        left = max(0, self.total * (1 - part))
        return f"[{bar}] {part:4.0%}  {name}  {spent // 60:.0f}:{spent % 60:02.0f}, about {left // 60:.0f}:{left % 60:02.0f} left"

    def show(self, name, inside):
        if self.alive:
            print(f"\r\033[K{self.text(name, inside)}", end="", file=sys.stderr, flush=True)

    def start(self, name, title):
        if not self.alive:
            print(f"{self.text(name, 0)}: {title}", file=sys.stderr, flush=True)

    def finish(self, name, said):
        self.done += self.plan[name]
        if self.alive:
            print("\r\033[K", end="", file=sys.stderr)
        print(f"{name}: {said}", file=sys.stderr, flush=True)


def run(command, log, seconds, tick):
    """Status of a command, whose output goes to a file; killed with its children when it takes far too long."""
    with open(log, "ab") as file:
        file.write(f"$ {' '.join(map(str, command))}\n".encode())
        file.flush()
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        begin = time.monotonic()
        while True:
            try:
                return process.wait(0.5)
            except subprocess.TimeoutExpired:
                tick(time.monotonic() - begin)
            if time.monotonic() - begin > seconds:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                file.write(f"all.py: not done after {seconds:.0f} s\n".encode())
                return -1


def build(progress):
    """What the parts need. Building is not measuring, so it has no place in the plan."""
    log = OUT / "logs/build.log"
    log.unlink(missing_ok=True)
    script = (". tools/env.sh && tools/setup.sh build demo qemu test bench && tools/lib.sh && "
              "bench_hosts latency latency_floor commands encode_host traces links_client && build_hosts serve_ring ring_guest && "
              f"{PYTHON} benches/side_by_side/pictures.py {OUT}/pictures 1920 1080 && "
              "cargo bench --quiet --no-run --bench pool --bench kernels")
    print("building (a fresh checkout takes some minutes; this does not count)", file=sys.stderr, flush=True)
    begin = time.monotonic()
    if run(["bash", "-euo", "pipefail", "-c", script], log, 3600, lambda _: None):
        print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
        sys.exit(f"bench: what the benchmarks need could not be built, see {log}")
    progress.begin = time.monotonic()
    print(f"built in {progress.begin - begin:.0f} s", file=sys.stderr, flush=True)


def show_load():
    load = os.getloadavg()[0]
    if load > 0.7:
        print(f"bench: others use this machine (load {load:.1f}): the figures will say less", file=sys.stderr)
    return load


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="in two minutes, with figures that say little; not all parts")
    parser.add_argument("--only", default="", help="parts, with commas")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md, docs/plots/ and the table of README.md")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name]
    parts = [part for part in PARTS if (not wanted or part[0] in wanted) and not (options.quick and part[3] == 0)]
    if options.list or set(wanted) - {part[0] for part in PARTS}:
        print("\n".join(f"{name}: {title}, {full} s, quick {quick} s" for name, title, full, quick, _ in PARTS))
        sys.exit(0 if options.list else 2)
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    progress = Progress({part[0]: part[3] if options.quick else part[2] for part in parts})
    build(progress)
    load, failed, times = show_load(), [], {}
    for name, title, full, quick, commands in parts:
        log, begin = OUT / f"logs/{name}.log", time.monotonic()
        log.unlink(missing_ok=True)
        (OUT / f"{name}.json").unlink(missing_ok=True)
        progress.start(name, title)
        status = 0
        for words in commands:
            command = benches(words, options.quick) if words[0] else [*words[1], *(words[3] if options.quick else words[2])]
            limit = 60 + 4 * (quick if options.quick else full)
            status = status or run(command, log, limit, lambda inside, name=name: progress.show(name, inside))
        times[name] = time.monotonic() - begin
        skipped = len(re.findall(r"^SKIPPED", log.read_text(errors="replace"), re.M))
        if status or not ((OUT / f"{name}.json").exists() or skipped):
            failed.append(name)
            lines = log.read_text(errors="replace").strip().splitlines()
            progress.finish(name, f"FAILED (status {status}), {log}: {lines[-1] if lines else ''}")
        else:
            progress.finish(name, f"{times[name]:.0f} s" + (f", {skipped} skipped" if skipped else ""))
    (OUT / "run.json").write_text(json.dumps({"quick": options.quick, "load": load, "seconds": times, "failed": failed}))
    report = [PYTHON, ROOT / "benches/report.py"]
    if options.docs and not failed and not wanted and not options.quick:
        report.append("--docs")
    elif options.docs:
        print("bench: docs/ was left as it is: only a whole run with all its parts goes there", file=sys.stderr)
    if subprocess.run(report, check=False).returncode:
        failed.append("report")
    print(f"{sum(times.values()):.0f} s in all, figures in {OUT}" + (f"; FAILED: {', '.join(failed)}" if failed else ""), file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

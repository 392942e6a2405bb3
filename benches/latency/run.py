#!/usr/bin/python3
"""Latencies beside spice-server's: a small draw to the client's socket, a key to its callback, and what an idle session costs.

  run.py --program FILE --lib DIR [--rounds N] [--part P] [--only CASE,...] [--idle-seconds N] [--out FILE] [--strict]

A new host (benches/latency/host.c) for each case and library, by turns; the delays of all rounds of a case are put together. --part: this
part of the usual counts. --strict: fails if a target is missed. RUN in the environment: words in front of each host, e.g. "chrt -f 1".
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "benches/side_by_side"))
from run import free_port  # noqa: E402

THEIRS, OURS = "spice-server", "ours"

# name: what a reader is told, the host's options, how many, and the largest part of spice-server's that p50 and p99 may have.
CASES = {
    "draw": ("small draw, idle", ["--what", "draw"], 400, (0.5, 0.5)),
    "draw-notify": ("small draw, idle, by the ring's notify rule",
                    ["--what", "draw", "--wake", "notify", "--gap-us", "25000", "45000"], 120, (0.25, None)),
    "draw-often": ("small draw every 0.1 to 3 ms, by the notify rule",
                   ["--what", "draw", "--wake", "notify", "--gap-us", "100", "3000"], 400, (None, None)),
    "draw-photos": ("small draw beside a second display that is full of photos",
                    ["--what", "draw", "--photos", "--gap-us", "10000", "20000"], 150, (1 / 50, None)),
    "draw-scroll": ("small draw behind 31 scrolls in the same ring",
                    ["--what", "draw", "--ahead", "31", "--gap-us", "10000", "20000"], 150, (None, None)),
    "draw-scrolling": ("small draw behind scrolls without end",
                       ["--what", "draw", "--scrolling", "--wake", "notify", "--gap-us", "10000", "20000"], 150, (0.2, None)),
    "key": ("key, idle", ["--what", "key", "--gap-us", "8000", "8000"], 400, (4, 5)),
    "key-photos": ("key beside a display that is full of photos", ["--what", "key", "--gap-us", "8000", "8000", "--photos"], 400, (4, 5)),
    "key-tls": ("key inside TLS, idle", ["--what", "key", "--gap-us", "8000", "8000", "--tls"], 400, (4, 5)),
    "key-tls-photos": ("key inside TLS, beside a display full of photos",
                       ["--what", "key", "--gap-us", "8000", "8000", "--tls", "--photos"], 400, (4, 5)),
    "key-loop": ("key, the host's loop works 0.4 ms in each ms",
                 ["--what", "key", "--gap-us", "8300", "8300", "--loop-work"], 400, (4, 5)),
    "key-1000": ("1,000 keys a second", ["--what", "key", "--gap-us", "1000", "1000"], 3000, (4, 5)),
}
KEY_LIMIT_US = 1000
# What the machine alone needs for the same, see floor.c.
FLOORS = {"draw": ("5000", "15000"), "draw-notify": ("25000", "45000")}


def certificates(folder):
    """An authority that is its own server, good for a day."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pathlib.Path(folder, "ca.pem").write_text(pathlib.Path(folder, "cert.pem").read_text())


def environment(library):
    env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    return env | ({"LD_LIBRARY_PATH": library} if library else {})


def command(options, words, tls):
    words = [word for at in words for word in (["--tls", tls] if at == "--tls" else [at])]
    return [*os.environ.get("RUN", "").split(), options.program, "--port", str(free_port()), *words]


def measure(options, library, case, tls):
    _, words, count, _ = CASES[case]
    count = max(20, int(count * options.part))
    done = subprocess.run(command(options, [*words, "--count", str(count)], tls), env=environment(library), capture_output=True,
                          text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{case}: status {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def threads(pid):
    """Name, voluntary switches, clock ticks of each thread of a process."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        status = (task / "status").read_text()
        words = (task / "stat").read_text().rpartition(")")[2].split()
        switches = sum(int(n) for n in re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", status, re.M))
        run_ns = int((task / "schedstat").read_text().split()[0])
        found[task.name] = (re.search(r"Name:\t(.*)", status).group(1), switches, run_ns, int(words[11]) + int(words[12]))
    return found


def idle(options, library):
    """Wake-ups and processor time of a host with one client that sees a still screen."""
    with subprocess.Popen(command(options, ["--what", "idle"], None), env=environment(library), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("idle: the host did not start")
        pid = process.pid
        time.sleep(2)
        before = threads(pid)
        time.sleep(options.idle_seconds)
        after = threads(pid)
        process.stdin.close()
        process.wait(30)
    rows = {}
    for tid, (name, switches, run_ns, _) in after.items():
        old = before.get(tid, (name, 0, 0, 0))
        rows[f"{name} {tid}" if tid != str(pid) else "the host's loop"] = (switches - old[1], run_ns - old[2])
    return {"seconds": options.idle_seconds, "wakeups": sum(row[0] for row in rows.values()),
            "cpu_us": sum(row[1] for row in rows.values()) / 1000,
            "threads": {name: row[0] for name, row in rows.items() if row[0]}}


def at(delays, part):
    return sorted(delays)[min(len(delays) - 1, int(part * len(delays)))] if delays else float("inf")


def summary(runs):
    delays = [delay for run in runs for delay in run["delays"]]
    return {"p50": at(delays, 0.5), "p99": at(delays, 0.99), "max": max(delays, default=float("inf")), "count": len(delays),
            "lost": sum(run["lost"] + run["wrong"] for run in runs), "photos_s": statistics.median(run["photos_s"] for run in runs)}


def verdict(case, theirs, ours):
    """What of the targets is missed."""
    missed = []
    for part, limit in zip(("p50", "p99"), CASES[case][3]):
        if limit is not None and ours[part] > limit * theirs[part]:
            missed.append(f"{part} {ours[part]:.0f} us is over {limit:g} of {theirs[part]:.0f} us")
    if case.startswith("key") and ours["p99"] > KEY_LIMIT_US:
        missed.append(f"p99 {ours['p99']:.0f} us is over {KEY_LIMIT_US} us")
    if ours["lost"]:
        missed.append(f"{ours['lost']} did not come, or in another order")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", required=True, type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--part", type=float, default=1)
    parser.add_argument("--only", default="", help="names of cases, with commas; idle is one")
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name] or [*CASES, "idle"]
    sides = {THEIRS: None, OURS: options.lib}
    failed, results, missed = [], {"cases": {}, "rounds": options.rounds}, []
    with tempfile.TemporaryDirectory(prefix="latency-") as tls:
        certificates(tls)
        for case in (name for name in CASES if name in wanted):
            runs = {side: [] for side in sides}
            try:
                for _ in range(options.rounds):
                    for side, library in sides.items():
                        runs[side].append(measure(options, library, case, tls))
            except (RuntimeError, subprocess.TimeoutExpired, ValueError) as error:
                # The other cases have nothing to do with it.
                failed.append(case)
                print(f"{case}: FAILED: {error}", flush=True)
                continue
            found = {side: summary(of) for side, of in runs.items()}
            wrong = verdict(case, found[THEIRS], found[OURS])
            results["cases"][case] = {"name": CASES[case][0], "sides": found, "missed": wrong}
            missed += [f"{case}: {what}" for what in wrong]
            line = "; ".join(f"{side} p50 {f['p50']:.0f} p99 {f['p99']:.0f} max {f['max']:.0f} us"
                             + (f", {f['lost']} lost" if f["lost"] else "") + (f", {f['photos_s']:.0f} photos/s" if f["photos_s"] else "")
                             for side, f in found.items())
            print(f"{case}: {line}" + (f"  MISSED: {', '.join(wrong)}" if wrong else ""), flush=True)
        for case in (name for name in FLOORS if name in wanted):
            words = [*os.environ.get("RUN", "").split(), str(pathlib.Path(options.program).with_name("latency_floor")), "--count",
                     str(max(20, int(100 * options.part))), "--gap-us", *FLOORS[case]]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
            results.setdefault("floor", {})[case] = found = summary([json.loads(done.stdout)])
            print(f"floor of {case}: p50 {found['p50']:.0f} p99 {found['p99']:.0f} us", flush=True)
        if "idle" in wanted:
            # At the same time: neither does anything that the other could feel.
            with concurrent.futures.ThreadPoolExecutor() as together:
                asked = {side: together.submit(idle, options, library) for side, library in sides.items()}
                found = {side: answer.result() for side, answer in asked.items()}
            results["idle"] = found
            for side, f in found.items():
                print(f"idle, {side}: {f['wakeups'] / f['seconds']:.2f} wake-ups a second, {f['cpu_us'] / f['seconds']:.1f} us of processor "
                      f"time a second; {f['threads']}", flush=True)
            if found[OURS]["cpu_us"] > found[THEIRS]["cpu_us"]:
                missed.append("idle: more processor time than spice-server")
    results["missed"] = missed
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results))
    for what in missed:
        print(f"missed: {what}", file=sys.stderr)
    sys.exit(1 if failed or (missed and options.strict) else 0)


if __name__ == "__main__":
    main()

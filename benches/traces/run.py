#!/usr/bin/python3
"""Recordings of real guests end to end, spice-server and ours by turns: processor time of the library, bytes, time.

  run.py [--rounds N] [--traces DIR] [--modes quic,lz,…] [--commands N] [--clients N] [--pace gated|free]
         [--read-back] [--lib DIR] [--theirs DIR] [--host PROGRAM] [--out FILE] [TRACE…]

Each run is a new process of `benches/traces/host.c` (its head says how it paces and what counts) with one client that
reads everything and decodes nothing, over TCP. Results go to FILE as JSON; a table of medians is printed.
Without --modes all are measured, and the mode "none": no client, so what remains is drawing on the server's surface.
"""
import argparse
import json
import os
import pathlib
import shlex
import socket
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Values of SpiceImageCompression.
MODES = {"none": 1, "off": 1, "auto_glz": 2, "auto_lz": 3, "quic": 4, "glz": 5, "lz": 6, "lz4": 7}
TRACES = ["terminal", "office", "web"]
SIDES = ["spice-server", "ours"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def play(options, trace, mode, library):
    """One run; what the host says."""
    env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    if library:
        env["LD_LIBRARY_PATH"] = str(library)
    if options.clients > 1:
        env["SPICE_DEBUG_ALLOW_MC"] = "1"
    clients = 0 if mode == "none" else options.clients
    command = [*shlex.split(options.run), options.host, trace, "--compression", str(MODES[mode])]
    command += ["--clients", str(clients), "--port", str(free_port()), "--pace", options.pace]
    if options.read_back:
        command.append("--read-back")
    if options.commands:
        command += ["--commands", str(options.commands)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{mode} on {library or 'spice-server'}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def middle(runs, value):
    return statistics.median(value(run) for run in runs)


def figures(runs):
    """Medians: seconds of the library's threads, bytes, draw messages, their pixels, seconds."""
    client = (lambda run, key: sum(client[key] for client in run["clients"]))
    return {
        "cpu": middle(runs, lambda run: run["library_ns"] / 1e9),
        "bytes": middle(runs, lambda run: client(run, "bytes")),
        "drawn": middle(runs, lambda run: client(run, "drawn")),
        "area": middle(runs, lambda run: client(run, "area")),
        "seconds": middle(runs, lambda run: run["seconds"]),
        "late": middle(runs, lambda run: run["late"]),
    }


HEAD = ("| trace | mode | CPU s, spice-server | ours | times | MB, spice-server | ours | bytes ratio "
        "| draw messages | Mpx drawn | seconds |\n|---|---|---|---|---|---|---|---|---|---|---|")


def line(trace, mode, theirs, ours):
    ratio = ours["bytes"] / theirs["bytes"] if theirs["bytes"] else 0
    return (f"| {trace} | {mode} | {theirs['cpu']:.3f} | {ours['cpu']:.3f} | {theirs['cpu'] / ours['cpu']:.2f} "
            f"| {theirs['bytes'] / 1e6:.2f} | {ours['bytes'] / 1e6:.2f} | {ratio:.3f} "
            f"| {theirs['drawn']:.0f}, {ours['drawn']:.0f} | {theirs['area'] / 1e6:.1f}, {ours['area'] / 1e6:.1f} "
            f"| {theirs['seconds']:.1f}, {ours['seconds']:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--traces", default=ROOT.parent / "shared/traces", type=pathlib.Path)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--commands", type=int)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--pace", default="gated", choices=["gated", "free"])
    parser.add_argument("--read-back", action="store_true", help="pixels are asked for after each group")
    parser.add_argument("--lib", default=ROOT / "stage/lib", type=pathlib.Path)
    parser.add_argument("--theirs", help="directory of the other library; the system's without")
    parser.add_argument("--host", default=ROOT / "stage/hosts/traces")
    parser.add_argument("--run", default=os.environ.get("RUN", ""), help='words in front of each run, e.g. "chrt -f 1"')
    parser.add_argument("--out", default=ROOT / "target/bench/traces.json", type=pathlib.Path)
    parser.add_argument("names", nargs="*", default=TRACES)
    options = parser.parse_args()
    results = []
    print(HEAD, flush=True)
    for name in options.names:
        trace = options.traces / f"{name}.rec.zst"
        if not trace.exists():
            print(f"SKIPPED 1: {trace} is not there", file=sys.stderr)
            continue
        for mode in options.modes.split(","):
            runs = {side: [] for side in SIDES}
            for _ in range(options.rounds):
                for side, library in zip(SIDES, [options.theirs, options.lib]):
                    runs[side].append(play(options, trace, mode, library))
            results.append({"trace": name, "mode": mode, "runs": runs})
            print(line(name, mode, *(figures(runs[side]) for side in SIDES)), flush=True)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            report = {"clients": options.clients, "pace": options.pace, "read_back": options.read_back, "results": results}
            options.out.write_text(json.dumps(report))


main()

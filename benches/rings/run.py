#!/usr/bin/python3
"""Small commands a second from a guest in another process: spice-server and ours by callbacks, ours by shared rings.

  run.py --hosts DIR --lib DIR [--rounds N] [--count N] [--out FILE]

The guest is ring_guest of capi-tests/: fills of at most 32x32 and copies of 16x16 pixels, one ring of 32 commands and
4,096 resources, waits by interrupts as drivers do. By callbacks the host reads the same rings as QEMU does. The time is the
guest's, from its first command until its last resource is back; no client looks on. A new host each time, by turns.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "clients"))
from hosts import Host  # noqa: E402

SIDES = {"spice-server": ("callbacks", False), "ours, callbacks": ("callbacks", True), "ours, rings": ("ring", True)}


def measure(options, scratch, side):
    way, ours = SIDES[side]
    command = [f"{options.hosts}/serve_ring", "--guest", f"{options.hosts}/ring_guest", "--way", way]
    with Host(command, f"{scratch}/socket", options.lib if ours else None) as host:
        said = host.ask(f"round {options.count} 1", "sent", 600)
        picture = re.search(r"picture (\w+)", host.answer("round")).group(1)
    found = {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+)", said)}
    return {"count": options.count, "rate": options.count / found["seconds"], "kicks": found["kicks"], "interrupts": found["interrupts"], "picture": picture}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", required=True)
    parser.add_argument("--lib", required=True, type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=300000)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    runs = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="rings-") as scratch:
        for _ in range(options.rounds):
            for side, found in runs.items():
                found.append(measure(options, scratch, side))
                print(f"{side}: {found[-1]['rate']:,.0f} commands/s", file=sys.stderr, flush=True)
    if len({run["picture"] for found in runs.values() for run in found}) != 1:
        sys.exit("the screens differ")
    base = statistics.median(run["rate"] for run in runs["spice-server"])
    print("| way | commands a second | times | interrupts for 1,000 |")
    print("|---|---|---|---|")
    for side, found in runs.items():
        rate, told = (statistics.median(run[key] for run in found) for key in ("rate", "interrupts"))
        print(f"| {side} | {rate:,.0f} | **{rate / base:.1f}** | {told * 1000 / options.count:.0f} |")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(runs))


if __name__ == "__main__":
    main()

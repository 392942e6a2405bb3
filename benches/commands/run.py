#!/usr/bin/python3
"""Small commands a second and processor time for each, spice-server and ours by turns.

  run.py --program FILE --lib DIR [--rounds N] [--seconds S] [--client drain|stall|slow|none] [--ahead N] [--out FILE] [SCENE…]

The program is benches/commands/host.c, whose head says what the scenes are and what is measured. RUN: words in front of each run, e.g.
"chrt -f 1" on a machine where others work.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess

SCENES = ["fill", "grid", "text", "terminal", "scroll", "small-scroll", "xor"]
THEIRS, OURS = "spice-server", "ours"


def measure(options, library, scene):
    env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"} | ({"LD_LIBRARY_PATH": library} if library else {})
    words = [*os.environ.get("RUN", "").split(), options.program, "--scene", scene, "--client", options.client,
             "--seconds", str(options.seconds), "--ahead", str(options.ahead)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=True)
    found = {name: float(value) for name, value in re.findall(r"\b(\w+)=([\d.]+)", done.stdout)}
    return {"rate": found["rate"], "cpu_ns": found["cpu_ns"], "sent": found["as_commands"] / found["commands"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", required=True, type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--client", default="drain")
    parser.add_argument("--ahead", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("scenes", nargs="*", metavar="SCENE")
    options = parser.parse_args()
    sides, results = {THEIRS: None, OURS: options.lib}, []
    print(f"client: {options.client}; {options.rounds} rounds of {options.seconds:g} s by turns, medians")
    for scene in options.scenes or SCENES:
        runs = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, library in sides.items():
                runs[side].append(measure(options, library, scene))
        results.append({"scene": scene, "runs": runs})
        middle = {side: {key: statistics.median(run[key] for run in found) for key in found[0]} for side, found in runs.items()}
        theirs, ours = middle[THEIRS], middle[OURS]
        print(f"{scene}: {theirs['rate']:,.0f} and {ours['rate']:,.0f} a second ({ours['rate'] / theirs['rate']:.1f}), "
              f"{theirs['cpu_ns']:,.0f} and {ours['cpu_ns']:,.0f} ns ({theirs['cpu_ns'] / ours['cpu_ns']:.1f}); "
              f"sent {theirs['sent']:.1%}, {ours['sent']:.1%}", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()

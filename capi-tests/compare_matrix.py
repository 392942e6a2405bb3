#!/usr/bin/python3
"""Runs the drawing matrix on our library and on spice-server and compares what the cases drew, line by line.

  compare_matrix.py --program DIR/draw_matrix --lib DIR [--seed 1] [--count 2400] [--full]

Differences that are meant stand in draw_matrix.differences: one entry a line, `what | pattern | why`. `what` is "bytes"
if only bits differ that mean nothing on such a surface (of an unused byte, between rows), "colors" if anything may. A case
that differs and is in no entry fails; with --full, so does an entry that no case needs any more.
"""
import argparse
import collections
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def run(program, arguments, lib):
    """Cases by name, and the lines about what was left out."""
    environment = dict(os.environ)
    environment.pop("LD_LIBRARY_PATH", None)
    if lib:
        environment["LD_LIBRARY_PATH"] = lib
    done = subprocess.run(
        [program, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    cases, rest = {}, []
    for line in done.stdout.splitlines():
        if line.startswith("case "):
            name, _, result = line[5:].partition(" = ")
            cases[name.split(" died of ")[0]] = result or line.rpartition(" died of ")[2]
        else:
            rest.append(line)
    return cases, rest, done.returncode


def entries():
    with open(os.path.join(HERE, "draw_matrix.differences"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                what, pattern, why = (part.strip() for part in line.split(" | ", 2))
                if what not in ("bytes", "colors"):
                    raise ValueError(f"{what!r} is neither bytes nor colors")
                yield what, re.compile(pattern), why


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", required=True, help="directory with our libspice-server.so.1")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--count", default="2400")
    parser.add_argument("--full", action="store_true", help="every listed difference must still be one")
    parser.add_argument("--show", type=int, default=20, help="unexplained cases to print")
    options = parser.parse_args()
    arguments = ["--seed", options.seed, "--count", options.count]
    ours, said, code = run(options.program, arguments, options.lib)
    theirs, their_words, their_code = run(options.program, arguments, None)
    failed = False
    if code or not ours:
        print(f"FAIL on our library: exit {code}, {len(ours)} cases, {said[-1:]}")
        failed = True
    if their_code:
        print(f"FAIL on spice-server: exit {their_code}: {their_words[-1:]}")
        failed = True
    if ours.keys() != theirs.keys():
        print(f"FAIL not the same cases: {len(ours)} and {len(theirs)}")
        failed = True
    for line in said:
        if line.startswith("excluded"):
            print(line)
    known = list(entries())
    used, matching = collections.Counter(), collections.Counter()
    unexplained = []
    for name, result in ours.items():
        other = theirs.get(name, "nothing")
        matching.update(n for n, (_, pattern, _) in enumerate(known) if pattern.search(name))
        if result == other:
            continue
        only_bytes = result.split(" ")[0] == other.split(" ")[0]
        fits = [n for n, (what, pattern, _) in enumerate(known) if pattern.search(name) and (only_bytes or what == "colors")]
        used.update(fits[:1])
        if not fits:
            unexplained.append(f"{name}: ours {result}, spice-server {other}")
    for n, (what, pattern, why) in enumerate(known):
        print(f"differ {used[n]} of {matching[n]}: {what} of {pattern.pattern!r}: {why}")
        if options.full and not used[n]:
            print(f"FAIL {pattern.pattern!r} is listed as different and is equal")
            failed = True
    for line in unexplained[: options.show]:
        print(f"FAIL unexplained: {line}")
    failed |= bool(unexplained)
    equal = sum(theirs.get(name) == result for name, result in ours.items())
    print(f"{len(ours)} cases, {equal} equal, {sum(used.values())} listed as different, {len(unexplained)} unexplained")
    sys.exit(failed)


if __name__ == "__main__":
    main()

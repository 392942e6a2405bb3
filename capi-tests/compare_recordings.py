#!/usr/bin/python3
"""Two recordings of the same traffic, made by two libraries, have the same events with the same bytes.

  compare_recordings.py ONE OTHER

Counters and times are left out, and wakeups, whose number is a matter of pace; so is what comes first of the two rings
and of requests that do not wait for them: each of these is compared in its own order.
"""
import re
import sys

COMMAND, REQUEST = 0, 1
CURSOR = (COMMAND, 3)
WAKEUP = (REQUEST, 2)
EVENT = re.compile(rb"^event (\d+) ([01]) (\d+) (\d+)\n", re.MULTILINE)


def events(path):
    with open(path, "rb") as file:
        data = file.read()
    first = data.find(b"\n") + 1
    found = list(EVENT.finditer(data, first))
    if data[:first] != b"SPICE_REPLAY 1\n" or not found:
        sys.exit(f"FAIL {path}: no recording")
    numbers = [int(match[1]) for match in found]
    if numbers != list(range(len(numbers))):
        sys.exit(f"FAIL {path}: events are not counted from 0")
    times = [int(match[4]) for match in found]
    if times != sorted(times):
        sys.exit(f"FAIL {path}: time runs backwards")
    ends = [match.start() for match in found[1:]] + [len(data)]
    out = []
    for match, end in zip(found, ends):
        kind = (int(match[2]), int(match[3]))
        if kind != WAKEUP:
            out.append((kind, data[match.end() : end]))
    return out


def compare(what, one, other):
    for index, (a, b) in enumerate(zip(one, other)):
        if a != b:
            sys.exit(f"FAIL {what} {index}: {a[0]} with {a[1][:200]!r}, {b[0]} with {b[1][:200]!r}")
    if len(one) != len(other):
        longer = max(one, other, key=len)
        sys.exit(f"FAIL {len(one)} and {len(other)} {what}s, one goes on with {longer[min(len(one), len(other))][0]}")


def main():
    one, other = (events(path) for path in sys.argv[1:3])
    counts = []
    parts = {
        "display command": lambda kind: kind[0] == COMMAND and kind != CURSOR,
        "cursor command": lambda kind: kind == CURSOR,
        "request": lambda kind: kind[0] == REQUEST,
    }
    for what, belongs in parts.items():
        mine, yours = ([event for event in all if belongs(event[0])] for all in (one, other))
        compare(what, mine, yours)
        counts.append(f"{len(mine)} {what}s")
    print(f"{', '.join(counts)}, {sum(len(body) for _, body in one)} bytes equal")


if __name__ == "__main__":
    main()

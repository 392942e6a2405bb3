#!/usr/bin/python3
"""Pointer shapes, positions and visibility as a stock client reports them.

  check_cursor.py --program DIR/serve_cursors [--lib DIR] [--print]

The same commands are run twice: on the library under --lib, and on the system's (spice-server). What the client
reports must be the same, shape by shape and pixel by pixel, but for what INTENDED names. Without an installed
spice-server only the rules that need no comparison are checked. --print shows the reports instead.
"""
import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile

import pointers
from driver import Client

ALPHA, MONO, COLOR4, COLOR16, COLOR32 = 0, 1, 2, 4, 6
SIZES = ((1, 1), (7, 3), (33, 5), (64, 64))
CACHE = 256  # shapes that the server lets a client keep
NOISE = ("channel", "channel-new", "channel-destroy", "monitors", "mark", "primary-create", "primary-destroy")
NOISE += ("modifiers", "mouse-mode")

# Stock clients ignore the flag in SET that says "not visible", so it is followed by HIDE here. They do not implement
# two types, which are sent as one that they do.
INTENDED = ("set, invisible", "made")
CONVERTED = ("color8 ", "color24 ")

failures = 0


def check(name, good, detail=""):
    global failures
    failures += not good
    print(f"{'PASS' if good else 'FAIL'} {name}{'' if good else f': {detail}'}")


class Host:
    """serve_cursors on a library; the system's when `library` is None."""

    def __init__(self, program, path, library):
        environment = dict(os.environ)
        environment.pop("LD_LIBRARY_PATH", None)
        if library:
            environment["LD_LIBRARY_PATH"] = library
        self.process = subprocess.Popen(
            [program, "--unix", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        self.answer("ready")

    def answer(self, wanted):
        for line in self.process.stdout:
            if line.strip() == wanted:
                return
        raise SystemExit(f"FAIL host ended before {wanted!r}, exit {self.process.wait()}")

    def do(self, *lines):
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def sync(self):
        self.do("sync")
        self.answer("synced")

    def end(self):
        self.do("quit")
        rest = self.process.stdout.read().split("\n")
        return self.process.wait(10), rest


def shape(unique, kind=ALPHA, size=(16, 16), seed=None, at=(0, 0), visible=1):
    seed = unique if seed is None else seed
    return f"set {unique} {kind} {size[0]} {size[1]} {seed} {at[0]} {at[1]} {visible}"


def report(client):
    """What was reported since the last time, without what is not about the pointer."""
    events = [e for e in client.events[client.mark :] if e["event"] not in NOISE]
    client.mark = len(client.events)
    return [tuple(value for key, value in event.items() if key != "id") for event in events]


def calm(client, wait):
    """Reads until nothing has come for a while."""
    before = -1
    while before != len(client.events):
        before = len(client.events)
        client.pump(wait)
    return report(client)


def enter(host, path, *lines):
    """A client that has heard of the pointer, and what it reported since it came."""
    client = Client(unix=path)
    client.mark = 0
    client.connected()
    client.wait("channel", 10, channel="cursor", what="opened")
    # Time for INIT, because a movement before it would change what it says; one that still came before is not
    # reported, so more than one may be needed.
    client.pump(0.3)
    client.pump(0.3)
    for x in range(2000, 2050):
        host.do(f"move {x} 2")
        if client.wait("cursor-move", 0.2, x=x, y=2):
            break
    reported = [event for event in report(client) if event[0] != "cursor-move"]
    host.do(*lines)
    return client, reported


def run(program, library):
    """{step: what the client reported} of one library."""
    steps = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "socket")
        host = Host(program, path, library)
        client, steps["connect"] = enter(host, path)
        uniques, marks = itertools.count(10_000), itertools.count(1000)

        def step(name, *lines):
            """The lines, then a movement that says that the client has heard of all of them."""
            x = next(marks)
            host.do(*lines, f"move {x} 1")
            client.wait("cursor-move", 10, x=x, y=1)
            steps[name] = report(client)[:-1]

        for kind, size in itertools.product((ALPHA, MONO, COLOR4, COLOR16, COLOR32), SIZES):
            step(f"type {kind} of {size[0]}x{size[1]}", shape(next(uniques), kind, size))
        # Every type with every size, twice: the second time most come from the client's cache.
        rng = random.Random(4)
        made = {}
        for kind, size in itertools.product(pointers.TYPES, pointers.SIZES):
            # Hot spots also beyond the shape: stock clients clamp what they are sent.
            hot = rng.choice(((0, 0), (size[0] - 1, size[1] - 1), (size[0], size[1] + 3)))
            made[kind, size] = next(uniques), hot, pointers.random_shape(rng, kind, size)
        for turn in ("", " again"):
            for (kind, size), (unique, hot, data) in made.items():
                line = f"shape {unique} {kind} {size[0]} {size[1]} {hot[0]} {hot[1]} {data.hex()}"
                step(f"{pointers.NAMES[kind]} {size[0]}x{size[1]}{turn}", line)
        steps["made"] = made
        step("move", "move 10 20", "move -5 7")
        step("hide", "hide")
        step("move shows", "move 1 2")
        step("set and hide", shape(1), "hide")
        step("set, invisible", shape(2, visible=0))
        step("set again", shape(1))
        step("same shape twice", shape(1), shape(1))
        step("unique 0 is never kept", shape(0, seed=50), shape(0, seed=51), shape(0, seed=50))
        host.do("reset", shape(3))
        host.sync()
        # Until INIT the client shows nothing that it is told; on a busy machine even the reset takes its time.
        client.wait("cursor-reset", 10)
        steps["reset and a shape"] = calm(client, 0.3)
        step("new mode", "mode")
        step("set after a new mode", shape(4))
        # Fill the cache and more; the first ones are evicted and come back, some later ones are still there.
        for first in range(100, 100 + CACHE + 60, 40):
            step(f"fill from {first}", *(shape(unique, size=(4, 4)) for unique in range(first, first + 40)))
        step("evicted ones", *(shape(unique, size=(4, 4)) for unique in range(100, 110)))
        step("kept ones", *(shape(unique, size=(4, 4)) for unique in range(400, 380, -1)))
        step("all once more", *(shape(unique, size=(4, 4)) for unique in range(100, 130)))
        step("trail", "trail 3 4")
        host.do(shape(9_000, COLOR32, (33, 5)), "move 30 40")
        host.sync()
        client.close()
        client, steps["late client"] = enter(host, path, "hide")
        host.sync()
        client.close()
        client, steps["late client, hidden"] = enter(host, path)
        client.close()
        code, rest = host.end()
        steps["host's end"] = [code, [line for line in rest if line]]
    return steps


def rules(steps):
    """What must hold whatever another library does."""
    shapes = [event for step in steps.values() for event in step if isinstance(event, tuple)]
    check("client got shapes", any(event[0] == "cursor-set" for event in shapes), shapes[:3])
    for kind, size in itertools.product((ALPHA, MONO, COLOR32), SIZES):
        got = steps[f"type {kind} of {size[0]}x{size[1]}"]
        wanted = ("cursor-set", *size, size[0] // 2, size[1] // 3)
        check(f"type {kind} of {size[0]}x{size[1]} arrives", [g[:5] for g in got] == [wanted], got)
    for (kind, size), (_, hot, data) in steps.pop("made").items():
        hot = [min(h, s) for h, s in zip(hot, size)]
        wanted = ("cursor-set", *size, *hot, pointers.digest(kind, size, data))
        for turn in ("", " again"):
            name = f"{pointers.NAMES[kind]} {size[0]}x{size[1]}{turn}"
            check(f"{name}, pixel for pixel", steps[name] == [wanted], f"{steps[name]}, wanted {wanted}")
    twice = [event[-1] for event in steps["unique 0 is never kept"]]
    check("unique 0", len(twice) == 3 and twice[0] == twice[2] != twice[1], twice)
    first = {}
    for first_unique in range(100, 100 + CACHE + 60, 40):
        got = [event[-1] for event in steps[f"fill from {first_unique}"]]
        check(f"40 shapes from {first_unique}", len(set(got)) == 40, len(set(got)))
        first.update(zip(range(first_unique, first_unique + 40), got))
    for name, uniques in (
        ("evicted ones", range(100, 110)),
        ("kept ones", range(400, 380, -1)),
        ("all once more", range(100, 130)),
    ):
        got = [event[-1] for event in steps[name]]
        check(f"{name} look as before", got == [first[unique] for unique in uniques], got)
    check("host's end", steps["host's end"] == [0, ["released all", "offences 0"]], steps["host's end"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--print", action="store_true", help="show what the client reports, compare nothing")
    options = parser.parse_args()
    ours = run(options.program, options.lib)
    if options.print:
        for name, events in ours.items():
            print(name, *events, sep="\n    ")
        return
    rules(ours)
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    if not options.lib or "libspice-server.so.1 " not in known:
        print("SKIPPED 1: nothing to compare with, libspice-server1 is not installed or is what was tested")
    else:
        theirs = run(options.program, None)
        for name, events in theirs.items():
            if name in INTENDED or name.startswith(CONVERTED):
                continue
            check(f"{name} as on spice-server", ours[name] == events, f"{ours[name]}, there {events}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

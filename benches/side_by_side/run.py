#!/usr/bin/python3
"""Encoding side by side: the same pictures by the same C host through two libspice-server.so.1, A B A B.

  run.py [--frames N] [--rounds N] [--modes off,quic,lz,glz] [--clients N] [--theirs DIR] [--ours DIR]
         [--host PROGRAM] [--out FILE] PICTURE…

A picture is a file of rows B, G, R, x named …-WIDTHxHEIGHT.bgrx; several joined by "+" are one sequence that is drawn
in order, again and again in other colours (for the dictionary of GLZ). A single one is drawn anew each time, in other
colours if a dictionary might know it. Rounds that fill the dictionary come first and do not count.
What counts is the processor time of the host process, of all threads but the first one, which makes the pictures: so
taking, drawing, encoding and sending. Results go to FILE as JSON, a table of medians is printed.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import socket
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from drain import Client  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SIDES = ["spice-server", "ours"]
# Pictures that a client's dictionary of 16 Mi pixels holds, and one more.
FILL = 9


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def used(pid):
    """Nanoseconds of all threads but the first."""
    nanos = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        if int(task) == pid:
            continue
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                nanos += int(file.read().split()[0])
        except FileNotFoundError:
            pass
    return nanos


class Host:
    def __init__(self, options, library, mode, size, pki=None, tls=None):
        env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
        if library:
            env["LD_LIBRARY_PATH"] = str(library)
        if options.clients > 1:
            env["SPICE_DEBUG_ALLOW_MC"] = "1"
        port = free_port()
        self.pixels = size[0] * size[1]
        command = [*shlex.split(options.run), options.host, str(port), mode, *map(str, size)]
        command += [pki] if pki else []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
                                        stderr=subprocess.DEVNULL)
        self.expect("ready")
        self.clients = [Client(port, tls=tls) for _ in range(options.clients)]
        self.settle()

    def quiet(self, seconds):
        for client in self.clients:
            client.quiet(seconds)

    def settle(self):
        """Until the threads of the start have done their work: keys are made then."""
        before, now = -1, self.used()
        while before < 0 or now - before > 1e6:
            self.quiet(0.3)
            before, now = now, self.used()

    def expect(self, wanted):
        said = self.process.stdout.readline().strip()
        if said != wanted:
            raise RuntimeError(f"the host says {said!r} instead of {wanted!r}")

    def say(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def load(self, file):
        self.say(f"load {os.path.abspath(file)}")
        self.expect("loaded")

    def draw(self, key):
        """Bytes that the first client got for it."""
        self.say(f"draw {key:x}")
        others = [client.wait_picture_in_background(self.pixels) for client in self.clients[1:]]
        size = self.clients[0].wait_picture(self.pixels)
        for join in others:
            join()
        return size

    def used(self):
        return used(self.process.pid)

    def close(self):
        self.say("quit")
        self.process.wait(20)


def color(turn):
    """An odd constant for each channel keeps structure but no value of the frames before."""
    return (turn * 0x050b13 + 0x010101) & 0xffffff


def repeat(host, file, frames, fresh):
    host.load(file)
    for turn in range(FILL if fresh else 2):
        host.draw(color(-1 - turn) if fresh else 0)
    host.quiet(0.02)
    begin = host.used()
    size = sum(host.draw(color(turn) if fresh else 0) for turn in range(frames))
    host.quiet(0.02)
    return [{"ms": (host.used() - begin) / 1e6 / frames, "bytes": size / frames}]


def sequence(host, files, frames):
    turns = max(1, frames // len(files))
    warm = -(-FILL // len(files))
    sums = [{"ms": 0.0, "bytes": 0.0} for _ in files]
    for turn in range(warm + turns):
        for figures, file in zip(sums, files):
            host.load(file)
            begin = host.used()
            size = host.draw(color(turn))
            host.quiet(0.02)
            if turn >= warm:
                figures["ms"] += (host.used() - begin) / 1e6 / turns
                figures["bytes"] += size / turns
    return sums


def measure(options, library, mode, files):
    """Per frame of each file: milliseconds and bytes."""
    size = tuple(map(int, re.search(r"-(\d+)x(\d+)\.bgrx$", files[0]).groups()))
    host = Host(options, library, mode, size)
    try:
        if len(files) == 1:
            return repeat(host, files[0], options.frames, "glz" in mode)
        return sequence(host, files, options.frames)
    finally:
        host.close()


def name_of(file):
    return re.sub(r"-\d+x\d+\.bgrx$", "", os.path.basename(file))


def show(entry):
    print(f"| {entry['picture']} | {entry['mode']} ", end="")
    middle = {}
    for side in SIDES:
        runs = entry["runs"].get(side)
        middle[side] = statistics.median(run["ms"] for run in runs) if runs else float("nan")
    print("".join(f"| {middle[side]:.2f} " for side in SIDES), end="")
    print(f"| {middle[SIDES[0]] / middle[SIDES[1]]:.2f} ", end="")
    for side in SIDES:
        runs = entry["runs"].get(side)
        print(f"| {statistics.median(run['bytes'] for run in runs):.0f} " if runs else "| ", end="")
    print("|", flush=True)


def arguments(description, modes, out):
    """What every measurement of this kind can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=modes)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--theirs", help="directory of a library; the system's without")
    parser.add_argument("--ours", default=ROOT / "stage/lib", help="directory of the other one")
    parser.add_argument("--only", choices=SIDES, help="one library alone")
    parser.add_argument("--host", default=ROOT / "stage/hosts/encode_host")
    parser.add_argument("--run", default=os.environ.get("RUN", ""), help='words in front of each run, e.g. "chrt -f 1"')
    parser.add_argument("--out", default=ROOT / "target/bench" / out, type=pathlib.Path)
    parser.add_argument("pictures", nargs="+")
    options = parser.parse_args()
    options.sides = [side for side in zip(SIDES, [options.theirs, options.ours]) if options.only in (None, side[0])]
    return options


def write(path, results):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results))


def main():
    options = arguments(__doc__, "off,quic,lz,glz", "codecs.json")
    results = []
    print("| picture | mode | spice-server, ms per frame | ours | times | bytes, spice-server | ours |")
    print("|---|---|---|---|---|---|---|")
    for item in options.pictures:
        files = item.split("+")
        for mode in options.modes.split(","):
            entries = [{"picture": name_of(file), "place": place, "mode": mode, "clients": options.clients, "runs": {}}
                       for place, file in enumerate(files)]
            for _ in range(options.rounds):
                for side, library in options.sides:
                    for entry, figures in zip(entries, measure(options, library, mode, files)):
                        entry["runs"].setdefault(side, []).append(figures)
            for entry in entries:
                show(entry)
            results += entries
            write(options.out, results)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Encoding side by side: the same pictures by the same C host through two libspice-server.so.1, A B A B.

  run.py [--frames N] [--rounds N] [--modes quic,lz,glz] [--theirs DIR] [--ours DIR] PICTURE...

A picture is a file of rows B, G, R, x named …-WIDTHxHEIGHT.bgrx; several joined by "+" are one sequence that is drawn
in order, as it is (for the dictionary of GLZ). A single one is drawn anew each time with other colours in mode glz.
Libraries are those of the directories; without one the system's is used, and without --ours only one is measured.
What counts is the processor time of the host process, of all threads but the first one (which makes the pictures).
"""
import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from drain import Client  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def build(folder):
    """The host, against whatever headers are installed."""
    program = pathlib.Path(folder) / "encode_host"
    flags = subprocess.run(["pkg-config", "--cflags", "spice-server"], check=True, capture_output=True, text=True)
    libs = subprocess.run(["pkg-config", "--libs", "spice-server"], check=True, capture_output=True, text=True)
    sources = [HERE / "encode_host.c", *sorted((ROOT / "capi-tests/host").glob("*.c"))]
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", *flags.stdout.split(), *sources, "-o", program]
    subprocess.run([*command, *libs.stdout.split(), "-lpthread", "-lm"], check=True)
    return program


def used(pid):
    """Nanoseconds and, of these, a share in the kernel: of all threads but the first."""
    nanos = user = system = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        if int(task) == pid:
            continue
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                nanos += int(file.read().split()[0])
            with open(f"/proc/{pid}/task/{task}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
                user += int(fields[11])
                system += int(fields[12])
        except FileNotFoundError:
            pass
    return nanos, user, system


class Host:
    def __init__(self, program, library, port, mode, width, height):
        env = dict(os.environ)
        env.pop("LD_LIBRARY_PATH", None)
        if library:
            env["LD_LIBRARY_PATH"] = str(library)
        command = [program, str(port), mode, str(width), str(height)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
                                        stderr=subprocess.DEVNULL)
        self.expect("ready")
        self.client = Client(port)
        self.client.quiet(0.3)

    def expect(self, wanted):
        line = self.process.stdout.readline().strip()
        if line != wanted:
            raise RuntimeError(f"the host says {line!r} instead of {wanted!r}")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def load(self, file):
        self.say(f"load {os.path.abspath(file)}")
        self.expect("loaded")

    def draw(self, key):
        self.say(f"draw {key:x}")
        return self.client.wait_copy()

    def close(self):
        self.say("quit")
        self.process.wait(20)


def measure(program, library, port, mode, item, frames):
    """Per frame of each file of the item: milliseconds and bytes."""
    files = item.split("+")
    width, height = map(int, re.search(r"-(\d+)x(\d+)\.bgrx$", files[0]).groups())
    host = Host(program, library, port, mode, width, height)
    pid = host.process.pid
    results = []
    fresh = mode.endswith("glz")
    if len(files) == 1:
        host.load(files[0])
        host.draw(0xfefefe)
        begin, size = used(pid), 0
        for frame in range(frames):
            # An odd constant for each channel keeps structure but no value of the frames before.
            size += host.draw((frame * 0x050b13 + 0x010101) & 0xffffff if fresh else 0)
        host.client.quiet(0.05)
        end = used(pid)
        results.append(((end[0] - begin[0]) / 1e6 / frames, size / frames, (end[2] - begin[2]) * 10 / frames))
    else:
        sums = [[0.0, 0, 0] for _ in files]
        rounds = max(1, frames // len(files))
        for turn in range(rounds):
            for at, file in enumerate(files):
                host.load(file)
                begin = used(pid)
                size = host.draw(turn * 0x050b13 & 0xffffff)
                host.client.quiet(0.02)
                end = used(pid)
                sums[at][0] += (end[0] - begin[0]) / 1e6
                sums[at][1] += size
                sums[at][2] += (end[2] - begin[2]) * 10
        results = [(nanos / rounds, size / rounds, kernel / rounds) for nanos, size, kernel in sums]
    host.close()
    return files, width * height * 4, results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default="off,quic,lz,glz")
    parser.add_argument("--theirs")
    parser.add_argument("--ours")
    parser.add_argument("--port", type=int, default=59210)
    parser.add_argument("pictures", nargs="+")
    options = parser.parse_args()
    sides = [("spice-server", options.theirs)]
    if options.ours:
        sides.append(("ours", options.ours))
    print("| picture | mode | library | ms per frame | of these in the kernel | MB/s | bytes per frame |")
    print("|---|---|---|---|---|---|---|")
    port = options.port
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder)
        for item in options.pictures:
            for mode in options.modes.split(","):
                rows = {}
                for _ in range(options.rounds):
                    for name, library in sides:
                        port += 1
                        files, raw, results = measure(program, library, port, mode, item, options.frames)
                        for file, result in zip(files, results):
                            rows.setdefault((file, name), []).append(result)
                for (file, name), results in rows.items():
                    millis, size, kernel = (statistics.median(column) for column in zip(*results))
                    label = re.sub(r"-\d+x\d+\.bgrx$", "", os.path.basename(file))
                    speed = raw / 1e3 / millis
                    print(f"| {label} | {mode} | {name} | {millis:.2f} | {kernel:.1f} | {speed:.0f} | {size:.0f} |",
                          flush=True)


if __name__ == "__main__":
    main()

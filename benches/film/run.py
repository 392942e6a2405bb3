#!/usr/bin/python3
"""Films side by side: frames that arrive, bytes of a frame, processor time, and on slow lines how late frames are.

  run.py --program DIR/play_film --lib DIR [--rounds 3] [--seconds 10] [--only direct,slow] [--without-reference]

Both libraries in turn. The client is made of sockets; it reports as stock clients do. Processor time is the host's without
the thread that draws the frames. A frame's delay is from when the guest gives it to when the client has all of it.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "clients"))

from driver import free_port  # noqa: E402
from film_client import FilmClient  # noqa: E402
from hosts import Host  # noqa: E402

FILMS = [("640x360", 30), ("1280x720", 30), ("640x480", 60)]
LINES = [(10, 100), (2, 200)]  # Mbit/s, ms there and back


class Line:
    """The relay of capi-tests, or nothing."""

    def __init__(self, server, line):
        self.port = server
        self.process = None
        if line:
            self.port = free_port()
            command = [os.path.join(ROOT, "capi-tests", "slow_link.py"), "--listen", str(self.port)]
            command += ["--server", str(server), "--mbit", str(line[0]), "--rtt", str(line[1])]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
            self.process.stdout.readline()

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()


def play(options, lib, size, fps, line, seconds):
    """One film through one library."""
    port = free_port()
    with Host([options.program, "--size", size, "--fps", str(fps)], port, lib) as host:
        relay = Line(port, line)
        try:
            client = FilmClient(relay.port)
            # The first picture and the net test are through before the film begins; then it settles.
            time.sleep(4 if line else 0.2)
            host.ask(f"play {int(fps * options.settle)}", "played")
            used = int(host.ask("cpu", "cpu").split()[1])
            before, since = len(client.screen.frames), client.screen.bytes
            count = int(fps * seconds)
            words = host.ask(f"play {count}", "played").split()
            end = time.monotonic()
            used = int(host.ask("cpu", "cpu").split()[1]) - used
            last, first_at, last_at = int(words[1]), int(words[3]) / 1000, int(words[5]) / 1000
            # What is still on the way.
            time.sleep(2.5 if line else 0.2)
            with client.lock:
                frames = list(client.screen.frames)[before:]
                total = client.screen.bytes - since
            numbers = client.numbers()[before:]
            delays, seen = [], 0
            for frame, number in zip(frames, numbers):
                if number is None or number <= last - count:
                    continue
                given = first_at + (number - (last - count + 1)) / fps
                delays.append((frame["at"] - given) * 1000)
                seen += frame["at"] <= end + 5
            wrong = client.screen.wrong
            client.close()
            host.tell("quit")
            host.process.wait(20)
        finally:
            relay.close()
    late = sum(frame["late"] > 0 for frame in frames)
    return {
        "fps": seen / seconds,
        "bytes": statistics.mean(f["bytes"] for f in frames) if frames else 0,
        "cpu": used / (last_at - first_at + 1 / fps),
        "delay": statistics.median(delays) if delays else 0,
        "worst": sorted(delays)[int(len(delays) * 0.95)] if delays else 0,
        "last": delays[-1] if delays else 0,
        "total": total,
        "dropped": late / max(1, len(frames)),
        "wrong": wrong,
    }


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--settle", type=float, default=4)
    parser.add_argument("--only", default="direct,slow")
    parser.add_argument("--films", type=int, default=len(FILMS))
    parser.add_argument("--without-reference", action="store_true")
    options = parser.parse_args()
    libraries = [("ours", options.lib)] + ([] if options.without_reference else [("reference", None)])
    cases = []
    if "direct" in options.only:
        cases += [(size, fps, None) for size, fps in FILMS[: options.films]]
    if "slow" in options.only:
        cases += [("640x360", 30, line) for line in LINES]
    print("| film | line | library | frames/s | bytes a frame | cpu ms/s | delay median, 95 %, last (ms) | late | kB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for size, fps, line in cases:
        runs = {name: [] for name, _ in libraries}
        for _ in range(options.rounds):
            for name, lib in libraries:
                runs[name].append(play(options, lib, size, fps, line, options.seconds))
        for name, _ in libraries:
            r = runs[name]
            where = f"{line[0]} Mbit/s, {line[1]} ms" if line else "direct"
            print(
                f"| {size} at {fps} | {where} | {name} | {median(r, 'fps'):.1f} | {median(r, 'bytes'):.0f} | "
                f"{median(r, 'cpu'):.0f} | {median(r, 'delay'):.0f}, {median(r, 'worst'):.0f}, {median(r, 'last'):.0f} | "
                f"{median(r, 'dropped') * 100:.0f} % | {median(r, 'total') / 1000:.0f} |",
                flush=True,
            )
            for run in r:
                if run["wrong"]:
                    print(f"<!-- {name}: {run['wrong'][:3]} -->")


if __name__ == "__main__":
    main()

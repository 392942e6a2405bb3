#!/usr/bin/python3
"""System calls and processor time of the display stream: spice-server, and our library on io_uring and on epoll.

  run.py [--rounds N] [--fills N] [--images N] [--frames N] [--theirs DIR] [--ours DIR] [--out FILE] [--only WORK]

System calls are those of the library's threads (the host's own thread and the client do not count), from a trace of
strace: for `--fills` solid fills of 8x16 pixels at full speed, the same with at most 64 on the way, and `--images`
pictures not compressed, one after the other: of 1920x1080, which our library sends in eight messages, and of 640x360,
which is one. Processor time is that of the same threads, without strace, for `--frames` pictures of 1920x1080, per GB
that the client got; with compression it is the photo of the codec benchmarks. All over TCP on loopback, a new process each time, by turns.
"""
import argparse
import collections
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import types

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "benches/side_by_side"))
from run import Host, free_port  # noqa: E402

SIDES = ["spice-server", "io_uring", "epoll"]
SCREEN, SMALL = (1920, 1080), (640, 360)
WRITES = {"write", "writev", "send", "sendto", "sendmsg"}
CALL = re.compile(r"(\d+) +(\w+)\((.*)")
MADE = re.compile(r"(?:clone|clone3|fork|vfork)\b.*?(= (\d+))?$")


def environment(options, side):
    """Of a host that runs on this side."""
    env = {key: value for key, value in os.environ.items() if key not in ("LD_LIBRARY_PATH", "CAYENNE_IO")}
    library = options.theirs if side == "spice-server" else options.ours
    if library:
        env["LD_LIBRARY_PATH"] = str(library)
    if side != "spice-server":
        env["CAYENNE_IO"] = {"io_uring": "uring"}.get(side, side)
    return env


def tally(path):
    """Calls by name, between the two marks, of all threads of the first process but its first."""
    counts = collections.Counter()
    first, others, on, forks = None, set(), False, {}
    for line in path.read_text(errors="replace").splitlines():
        found = CALL.match(line)
        parent = line.split()[0]
        first = first or parent
        made = MADE.search(line)
        if made:
            # What is said when it begins counts also for a second line that tells how it ended.
            forks[parent] = "CLONE_THREAD" not in line if found else forks.get(parent, False)
            if made.group(2) and forks[parent]:
                others.add(made.group(2))
        if not found:
            continue
        thread, name, words = found.groups()
        if thread == first and name == "write" and words.startswith("-1, "):
            on = "begin" in words
        elif on and thread != first and thread not in others:
            counts[name] += 1
    return counts


def traced(command, env, talk):
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "trace"
        talk(["strace", "-f", "-qq", "-s", "8", "-o", str(path), *map(str, command)], env)
        return tally(path)


def fills(options, side, ahead):
    command = [options.hosts / "commands", "--scene", "grid", "--client", "drain", "--count", options.fills,
               "--ahead", ahead, "--port", free_port()]

    def talk(words, env):
        subprocess.run(words, env=env, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return traced(command, environment(options, side), talk)


class Bench(Host):
    """A host that draws pictures, perhaps under strace."""

    def __init__(self, options, side, words, mode="off", size=SCREEN):
        saved = dict(os.environ)
        os.environ.clear()
        os.environ.update(environment(options, side))
        try:
            wish = types.SimpleNamespace(clients=1, run=" ".join(words), host=str(options.hosts / "encode_host"))
            super().__init__(wish, os.environ.get("LD_LIBRARY_PATH"), mode, size)
        finally:
            os.environ.clear()
            os.environ.update(saved)

    def kernel(self):
        """Seconds of all threads but the first, in the kernel."""
        ticks = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            if int(task.name) != self.process.pid:
                ticks += int((task / "stat").read_text().rpartition(")")[2].split()[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def noise(path, size):
    path.write_bytes(os.urandom(size[0] * size[1] * 4))


def images(options, side, picture, size):
    def talk(words, _env):
        host = Bench(options, side, words[:-1], size=size)
        host.load(picture)
        host.draw(0)
        host.quiet(0.3)
        host.say("trace begin")
        for turn in range(options.images):
            host.draw(turn + 1)
        host.quiet(0.3)
        host.say("trace end")
        host.close()

    return traced(["host"], None, talk)


def processor_time(options, side, picture, mode):
    """Nanoseconds per byte, that is seconds per GB: all, and what of it the kernel took."""
    host = Bench(options, side, [], mode)
    host.load(picture)
    for turn in range(3):
        host.draw(turn)
    host.quiet(0.1)
    begin, kernel = host.used(), host.kernel()
    size = sum(host.draw(turn * 0x010203 + 1) for turn in range(options.frames))
    host.quiet(0.1)
    spent, kernel = host.used() - begin, host.kernel() - kernel
    host.close()
    return {"all": spent / size, "kernel": kernel * 1e9 / size, "bytes": size / options.frames}


def show(name, counts):
    most = ", ".join(f"{call} {count}" for call, count in counts.most_common(6))
    print(f"{name}: {sum(counts.values())} calls ({sum(counts[call] for call in WRITES)} writes): {most}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fills", type=int, default=4000)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--theirs", help="directory of spice-server's library; the system's without")
    parser.add_argument("--ours", default=ROOT / "stage/lib")
    parser.add_argument("--hosts", default=ROOT / "stage/hosts", type=pathlib.Path)
    parser.add_argument("--out", default=ROOT / "target/bench/syscalls.json", type=pathlib.Path)
    parser.add_argument("--only", default="", help="work whose name has this in it")
    options = parser.parse_args()
    results = collections.defaultdict(lambda: collections.defaultdict(list))
    with tempfile.TemporaryDirectory() as scratch:
        large, small = (pathlib.Path(scratch) / name for name in ("large", "small"))
        noise(large, SCREEN)
        noise(small, SMALL)
        made = [ROOT / "benches/side_by_side/pictures.py", scratch, *map(str, SCREEN)]
        subprocess.run(["/usr/bin/python3", *made], check=True, stdout=subprocess.DEVNULL)
        photo = pathlib.Path(scratch) / f"photo-{SCREEN[0]}x{SCREEN[1]}.bgrx"
        work = {
            f"{options.fills} fills": lambda side: fills(options, side, 0),
            f"{options.fills} fills, 64 on the way": lambda side: fills(options, side, 64),
            f"{options.images} images of 1920x1080": lambda side: images(options, side, large, SCREEN),
            f"{options.images} images of 640x360": lambda side: images(options, side, small, SMALL),
            "CPU s per GB, off": lambda side: processor_time(options, side, large, "off"),
            "CPU s per GB, lz": lambda side: processor_time(options, side, photo, "lz"),
            "CPU s per GB, quic": lambda side: processor_time(options, side, photo, "quic"),
        }
        for name, measure in work.items():
            for _ in range(options.rounds if options.only in name else 0):
                for side in SIDES:
                    figures = measure(side)
                    results[name][side].append(figures)
                    if "all" in figures:
                        print(f"{name}, {side}: {figures['all']:.3f}, {figures['kernel']:.3f} in the kernel, "
                              f"{figures['bytes']:.0f} bytes a picture", flush=True)
                    else:
                        show(f"{name}, {side}", figures)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()

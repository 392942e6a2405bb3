#!/usr/bin/python3
"""Full links per second, the time of a whole session and the memory of a client: spice-server and ours by turns in QEMU.

  run.py --client PROGRAM --lib DIR [--rounds N] [--seconds S] [--threads K] [--clients N] [--out FILE]

QEMU shows the firmware's screen on two QXL devices, so that a session has six channels. The client (client.c) encrypts
its ticket with OpenSSL and is on the same machine: what it needs is taken from the server's share. Memory is what the
process of QEMU has more (RssAnon) with a client than before, and with a second one, and then with N more, divided by N;
several clients need SPICE_DEBUG_ALLOW_MC, which both libraries know. Writes a table to standard output, and all figures to --out as JSON.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "qemu"))
from machine import Machine, client_environment  # noqa: E402

THEIRS, OURS = "spice-server", "ours"
SPICE = "port={port},addr=127.0.0.1,password-secret=ticket"
DEVICES = ["-object", "secret,id=ticket,data=secret", "-vga", "qxl", "-device", "qxl", "-S"]


def fields(text):
    return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", text)}


class Server(Machine):
    def pid(self):
        with open(self.path("pid"), encoding="ascii") as file:
            return int(file.read())

    def anonymous_kib(self):
        with open(f"/proc/{self.pid()}/status", encoding="ascii") as file:
            return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))

    def settled_kib(self, calm=1.5):
        """The same once it stands still."""
        last, since = self.anonymous_kib(), time.monotonic()
        while time.monotonic() - since < calm:
            time.sleep(0.1)
            if abs((now := self.anonymous_kib()) - last) > 16:
                last, since = now, time.monotonic()
        return last

    def cpu_seconds(self):
        with open(f"/proc/{self.pid()}/stat", encoding="ascii") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def client(options, *words):
    done = subprocess.run([options.client, *map(str, words)], env=client_environment(), capture_output=True,
                          text=True, timeout=options.seconds + 120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return fields(done.stdout)


@contextlib.contextmanager
def held(options, port, count):
    """Sessions that stay, once they have read what came."""
    command = [options.client, "hold", str(port), "secret", str(count)]
    with subprocess.Popen(command, env=client_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if not process.stdout.readline().startswith("held="):
            raise RuntimeError("the clients did not stay")
        yield
        process.stdin.close()


def measure(options):
    result = {}
    with Server(*DEVICES, spice=SPICE) as machine:
        result["library"] = machine.uses_library()
        result.update(client(options, "session", machine.port, "secret", options.sessions))
        before = machine.cpu_seconds()
        result.update(client(options, "links", machine.port, "secret", options.seconds, options.threads))
        result["cpu_us"] = (machine.cpu_seconds() - before) * 1e6 / result["links"]
    os.environ["SPICE_DEBUG_ALLOW_MC"] = "1"
    with Server(*DEVICES, spice=SPICE) as machine:
        sizes = [machine.settled_kib()]
        with held(options, machine.port, 1):
            sizes.append(machine.settled_kib())
            # From the second client on the displays keep what clients share.
            with held(options, machine.port, 1):
                sizes.append(machine.settled_kib())
                with held(options, machine.port, options.clients):
                    sizes.append(machine.settled_kib())
        result["first_kib"] = sizes[1] - sizes[0]
        result["second_kib"] = sizes[2] - sizes[1]
        result["client_kib"] = (sizes[3] - sizes[2]) / options.clients
    del os.environ["SPICE_DEBUG_ALLOW_MC"]
    return result


ROWS = [
    ("full links a second", "rate", "{:,.0f}", False),
    ("… time of one, middle (ms)", "p50_us", "{:.2f}", True),
    ("… time of one, 99 of 100 (ms)", "p99_us", "{:.2f}", True),
    ("… processor time of the server each (ms)", "cpu_us", "{:.2f}", True),
    ("a session of six channels (ms)", "median_us", "{:.1f}", True),
    ("memory of the first client (MiB)", "first_kib", "{:.2f}", True),
    ("… of the second", "second_kib", "{:.2f}", True),
    ("… of each further one", "client_kib", "{:.2f}", True),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", required=True)
    parser.add_argument("--lib", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--only", choices=(THEIRS, OURS))
    parser.add_argument("--out")
    options = parser.parse_args()
    sides = {THEIRS: None, OURS: os.path.abspath(options.lib)}
    runs = {side: [] for side in sides if options.only in (None, side)}
    for _ in range(options.rounds):
        for side, found in runs.items():
            Machine.library = sides[side]
            found.append(measure(options))
    middle = {side: {key: statistics.median(run[key] for run in found) for _, key, _, _ in ROWS} for side, found in runs.items()}
    print(f"{options.rounds} round(s), {options.seconds:g} s of links over {options.threads} connections at a time")
    for name, key, form, smaller in ROWS:
        scale = 1000 if key.endswith("_us") else 1024 if key.endswith("_kib") else 1
        cells = [form.format(middle[side][key] / scale) for side in runs]
        if len(cells) == 2:
            theirs, ours = middle[THEIRS][key], middle[OURS][key]
            cells.append(f"{(theirs / ours if smaller else ours / theirs):.1f}")
        print(f"{name:45}" + "".join(f"{cell:>14}" for cell in cells))
    if options.out:
        pathlib.Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump({"rounds": options.rounds, "seconds": options.seconds, "threads": options.threads, "runs": runs}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())

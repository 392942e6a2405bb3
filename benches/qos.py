#!/usr/bin/python3
"""What scheduling of threads costs and gains while others want the processors: the figures behind the defaults.

  benches/qos.py [--rounds 5] [--seconds 3] [--hogs N]

One host (serve_qos) with a client that reads; the host draws photographs without end, and N programs do nothing but use
the processors (as many as there are, by default), as virtual processors do. Settings take turns, A B C A B C; for each the
medians over the rounds of: messages to the display's client in a second, and the times from key to callback and from
wakeup to socket. Wants a machine that is idle otherwise, `make lib`, and root for real time.
"""
import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "clients"))
import raw_client  # noqa: E402
from driver import free_port  # noqa: E402
from hosts import Host  # noqa: E402
from relay import DISPLAY, INPUTS  # noqa: E402

ENCODERS = 0x100
INHERIT, OTHER, FIFO = 0, 1, 2
# What each setting tells the host, after everything was taken back.
SETTINGS = {
    "all alike": [],
    "encoders +5": [(ENCODERS, OTHER, 5, 0)],
    "encoders +1": [(ENCODERS, OTHER, 1, 0)],
    "display and encoders +5": [(ENCODERS, OTHER, 5, 0), (DISPLAY, OTHER, 5, 0)],
    "inputs -5": [(INPUTS, OTHER, -5, 0)],
    "inputs FIFO 1": [(INPUTS, FIFO, 0, 1)],
}


class Nobody:
    def message(self, kind, body):
        pass


def stats(host):
    return json.loads(host.ask("stats", "stats ").split(" ", 1)[1])


def grown(before, after):
    """The times that came in between, as a sorted list of (longest of the bucket, how many)."""
    old = dict(map(tuple, before["buckets"]))
    found = [(longest, count - old.get(longest, 0)) for longest, count in after["buckets"]]
    return [(longest, count) for longest, count in found if count]


def percentile(times, percent):
    wanted, seen = sum(count for _, count in times) * percent / 100, 0
    for longest, count in times:
        seen += count
        if seen >= wanted:
            return longest / 1000
    return float("nan")


def measure(host, inputs, seconds):
    before, begin = stats(host), time.monotonic()
    while time.monotonic() < begin + seconds:
        inputs.send(101, struct.pack("<I", 0x1E))
        inputs.send(102, struct.pack("<I", 0x9E))
        time.sleep(0.005)
    took, after = time.monotonic() - begin, stats(host)
    display = [next(c for c in of["channels"] if c["type"] == "display") for of in (before, after)]
    keys = grown(before["key_to_callback"], after["key_to_callback"])
    wakeups = grown(display[0]["wakeup_to_socket"], display[1]["wakeup_to_socket"])
    sent = (display[1]["messages_out"] - display[0]["messages_out"]) / took
    return [sent, percentile(keys, 50), percentile(keys, 99), percentile(wakeups, 50), percentile(wakeups, 99)]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=3)
    arguments.add_argument("--hogs", type=int, default=os.cpu_count())
    options = arguments.parse_args()
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.hogs)]
    results = {name: [] for name in SETTINGS}
    try:
        program, lib = (os.path.join(ROOT, "stage", *part) for part in (("hosts", "serve_qos"), ("lib",)))
        with Host([program, "--photos"], free_port(), lib) as host:
            client = raw_client.RawClient(host.path, Nobody(), init=(1, 10 << 20, 0, 1 << 20))
            inputs = raw_client.Channel(host.path, INPUTS, client.session, 0, True, lambda kind, body: None)
            inputs.socket.settimeout(None)
            threading.Thread(target=lambda: all(iter(inputs.read, False)), daemon=True).start()
            host.ask("flood on", "flood")
            for _ in range(options.rounds):
                for name, changes in SETTINGS.items():
                    for channel in (ENCODERS, DISPLAY, INPUTS):
                        host.ask(f"qos {channel} default", "qos")
                    for channel, scheduling, nice, priority in changes:
                        host.ask(f"qos {channel} {scheduling} {nice} {priority} 0 0", "qos")
                    time.sleep(0.1)
                    results[name].append(measure(host, inputs, options.seconds))
            client.running = False
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    print(f"{'':24} messages/s   key p50     p99   wakeup p50     p99  (us)")
    for name, rows in results.items():
        median = [statistics.median(column) for column in zip(*rows)]
        print(f"{name:24} {median[0]:10.0f} {median[1]:9.0f} {median[2]:7.0f} {median[3]:12.0f} {median[4]:7.0f}")


main()

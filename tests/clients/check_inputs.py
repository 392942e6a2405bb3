#!/usr/bin/python3
"""Keys, mouse, tablet, lock state, mouse modes and channel events between a stock client and a C host.

  check_inputs.py --program DIR/serve_inputs [--lib DIR]

Each check sends through the client and expects exactly these lines from the host. PASS or FAIL per check.
"""
import argparse
import os
import select
import subprocess
import sys
import tempfile
import time

from driver import Client

failures = 0


class Host:
    def __init__(self, command, library):
        environment = dict(os.environ)
        environment.pop("LD_LIBRARY_PATH", None)
        if library:
            environment["LD_LIBRARY_PATH"] = library
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.partial = b""

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def lines(self, calm=0.4, limit=8, until=None):
        """What the host prints until it was calm for a while, or until that line came."""
        found, end = [], time.monotonic() + limit
        while time.monotonic() < end:
            ready, _, _ = select.select([self.process.stdout], [], [], calm if until is None else limit)
            if not ready:
                break
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            *lines, self.partial = (self.partial + data).split(b"\n")
            found += [line.decode() for line in lines]
            if not data or until in found:
                break
        return found


def check(name, got, wanted):
    global failures
    if got == wanted:
        print(f"PASS {name}")
    else:
        failures += 1
        print(f"FAIL {name}: got {got}, wanted {wanted}")


def keyboard(host, client):
    client.send("tap", "0x1e")
    check("a key", host.lines(), ["key 1e", "key 9e"])
    client.send("tap", "0x148")
    check("a key with prefix", host.lines(), ["key e0", "key 48", "key e0", "key c8"])
    client.send("press", "0x2a", "0x1e")
    client.send("release", "0x1e", "0x2a")
    check("shift and a key", host.lines(), ["key 2a", "key 1e", "key 9e", "key aa"])
    client.wait("modifiers", 1)
    host.send("leds 2")
    check("num lock from the guest", bool(client.wait("modifiers", 3, value=2)), True)
    client.send("modifiers", 6)
    check("caps lock from the client", host.lines(), ["key 3a", "key ba"])
    host.send("leds 0")
    client.wait("modifiers", 3, value=0)
    host.lines()


def tablet(host, client):
    for x, y in ((0, 0), (10, 20), (639, 479)):
        client.send("position", x, y)
    check(
        "tablet positions",
        host.lines(),
        ["tablet position 0 0 buttons 0", "tablet position 10 20 buttons 0", "tablet position 639 479 buttons 0"],
    )
    # SPICE button numbers 1 left 2 middle 3 right; masks 1, 2, 4 on the wire; the host has left 1, right 2, middle 4.
    for number, mask, name in ((1, 1, 1), (3, 4, 2), (2, 2, 4)):
        client.send("button-press", number, mask)
        client.send("button-release", number, 0)
        check(f"tablet button {number}", host.lines(), [f"tablet wheel 0 buttons {name}", "tablet buttons 0"])
    client.send("button-press", 4, 8)
    client.send("button-release", 4, 0)
    check("wheel up", host.lines(), ["tablet wheel -1 buttons 0", "tablet buttons 0"])
    client.send("button-press", 5, 16)
    client.send("button-release", 5, 0)
    check("wheel down", host.lines(), ["tablet wheel 1 buttons 0", "tablet buttons 0"])
    host.send("resize 800 600")
    check("logical size follows the screen", [l for l in host.lines() if "tablet" in l][-1:], ["tablet size 800x600"])
    for i in range(60):
        client.send("position", i, i)
        time.sleep(0.02)
    # The client merges what it cannot send; the acknowledgements must keep it going to the last one.
    check("60 positions arrive at the end", host.lines()[-1:], ["tablet position 59 59 buttons 0"])


def mouse(host, client):
    host.send("tablet off")
    check("tablet removed", host.lines()[-1:], ["remove tablet 0"])
    check("mode announced", bool(client.wait("mouse-mode", 3, mode="server")), True)
    client.send("motion", 5, "-3")
    check("relative motion", host.lines(), ["mouse motion 5 -3 0 buttons 0"])
    client.send("button-press", 1, 1)
    client.send("button-release", 1, 0)
    check("mouse button", host.lines(), ["mouse motion 0 0 0 buttons 1", "mouse buttons 0"])
    client.send("button-press", 5, 16)
    client.send("button-release", 5, 0)
    check("mouse wheel", host.lines(), ["mouse motion 0 0 1 buttons 0", "mouse buttons 0"])
    total = [0, 0]
    for _ in range(50):
        client.send("motion", 1, 2)
        time.sleep(0.02)
    for line in host.lines():
        words = line.split()
        if words[:2] == ["mouse", "motion"]:
            total = [total[0] + int(words[2]), total[1] + int(words[3])]
    check("50 motions add up", total, [50, 100])
    host.send("mode")
    check("server mode at the host", host.lines(), ["mode server"])
    host.send("tablet on")
    check("tablet added again", host.lines()[-1:], ["add tablet 0"])
    check("client mode again", bool(client.wait("mouse-mode", 5, mode="client")), True)


def cursor(host, client):
    shape = client.seen("cursor-set")
    check("cursor shape at connect", [(s["width"], s["hot_x"], s["hot_y"]) for s in shape[:1]], [(16, 3, 4)])
    host.send("hide")
    check("cursor hidden", bool(client.wait("cursor-hide", 3)), True)
    host.send("cursor")
    check("cursor set again", bool(client.wait("cursor-set", 3)), True)


def channel_events(host):
    """Per connection: connected, initialized, disconnected, in this order, with one info object; ADDR_EXT set."""
    host.send("channels")
    lines = host.lines(until="channels end")
    counts, wrong = {}, []
    for line in lines[:-1]:
        words = line.split()
        if words[0] != "channel":
            continue
        counts[words[1]] = counts.get(words[1], 0) + 1
        if not int(words[7]) & 2:
            wrong.append(f"no ADDR_EXT: {line}")
        if words[9] == "UNKNOWN":
            wrong.append(f"foreign info: {line}")
    check("channel events", wrong, [])
    check("as many connected as initialized as disconnected", len(set(counts.values())), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "socket")
        host = Host([options.program, "--unix", path], options.lib)
        host.lines(until="ready")
        with Client(unix=path) as client:
            check("client connects", client.connected(), True)
            check("client mode announced", bool(client.seen("mouse-mode", mode="client")), True)
            check("name announced", client.state()["name"], "inputs")
            host.lines()
            keyboard(host, client)
            tablet(host, client)
            cursor(host, client)
            mouse(host, client)
            client.send("press", "0x1e", "0x148")
            host.lines()
            client.kill()
            got = [line for line in host.lines(1.0) if line.startswith("key")]
            check("pressed keys are released when the client dies", sorted(got), sorted(["key 9e", "key e0", "key c8"]))
        with Client(unix=path) as client:
            check("a second client connects", client.connected(), True)
        time.sleep(0.5)
        host.lines()
        channel_events(host)
        host.send("quit")
        check("host's end", host.lines(2), ["end: 0 watches, 0 timers, 0 offences"])
        check("exit code", host.process.wait(5), 0)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

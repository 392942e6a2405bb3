#!/usr/bin/python3
"""Several displays: every picture exact, nobody waits for another, layouts both ways.

  check_monitors.py --program DIR/serve_monitors [--lib DIR] [--devices 4] [--count 400] [--seconds 2] [--seed 1]

Layouts from the guest and wishes of clients are done on the library under --lib and on the system's (spice-server)
with the same lines; what clients and host report must be the same, but for what is named below.
"""
import argparse
import os
import select
import struct
import subprocess
import sys
import tempfile
import time

from driver import Client, difference
from agent_client import AGENT_START, ATTACH_CHANNELS, SEND_AGENT_DATA, AgentClient, agent_message, monitors_config

BEACON = 3
# No draw may take longer from the guest to the client, whatever the other displays do. What the client's process could
# not do at all, because the machine had no time for it, comes on top.
PATIENCE_MS = 1000
TOKENS = 4  # capability: the client takes AGENT_CONNECTED_TOKENS
MOUSE_MODE = 105

failures = 0


def check(name, good, detail=""):
    global failures
    failures += not good
    print(f"{'PASS' if good else 'FAIL'} {name}{f': {detail}' if detail or not good else ''}", flush=True)


class Host:
    """serve_monitors on a library; the system's when `library` is None."""

    def __init__(self, program, path, library, devices):
        environment = dict(os.environ)
        environment.pop("LD_LIBRARY_PATH", None)
        if library:
            environment["LD_LIBRARY_PATH"] = library
        command = [program, "--unix", path, "--devices", str(devices)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self.partial = b""
        self.lines = []  # not taken yet
        self.answer("ready")

    def read(self, timeout):
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        if not ready:
            return False
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        if not data:
            raise SystemExit(f"FAIL host ended, exit {self.process.wait()}")
        *lines, self.partial = (self.partial + data).split(b"\n")
        self.lines += [line.decode() for line in lines]
        return True

    def answer(self, start, timeout=60):
        """The first line that begins so; the others stay."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for index, line in enumerate(self.lines):
                if line.startswith(start):
                    return self.lines.pop(index)
            self.read(0.2)
        raise SystemExit(f"FAIL host does not say {start!r}; it said {self.lines[-5:]}")

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def do(self, line, answer):
        self.tell(line)
        return self.answer(answer)

    def heard(self):
        """All lines so far that were not taken."""
        self.do("sync", "synced")
        lines, self.lines = self.lines, []
        return lines

    def end(self):
        self.tell("quit")
        rest = self.partial + self.process.stdout.read()
        return self.process.wait(20), self.lines + rest.decode().split("\n")


# ---- pictures


def compare(host, client, devices, where, when):
    for device in range(devices):
        server, picture = (os.path.join(where, f"{who}{device}.ppm") for who in ("server", "client"))
        host.do(f"dump {device} {server}", "dumped 0")
        end = time.monotonic() + 60
        while True:  # a client may be behind; what it shows in the end counts
            wrong = difference(server, picture) if client.dump(picture, device) else "no picture"
            if not wrong or time.monotonic() > end:
                break
            client.pump(0.2)
        check(f"{when}: display {device} of {devices}", not wrong, wrong or "")


class Beacons:
    """When squares were drawn, and when a client's displays showed them."""

    def __init__(self, client, devices):
        self.client, self.devices = client, devices
        self.sent = {}  # by number
        self.shown = {}  # (device, number) -> (ms after it was sent, longest standstill of the client's process)
        self.read = 0  # events of the client

    def look(self):
        """Takes in what the client has said."""
        self.client.pump(0)
        for event in self.client.events[self.read :]:
            if event["event"] != "beacon":
                continue
            # They go round (see serve_monitors.c): it is the last one at this place that was sent before.
            around = (640 + 32 * event["id"]) // BEACON
            last = len(self.sent) - (len(self.sent) - event["x"] // BEACON) % around
            for number in (last, last - around):
                if number in self.sent and self.sent[number] <= event["ms"]:
                    self.shown.setdefault((event["id"], number), (event["ms"] - self.sent[number], event["stood"]))
                    break
        self.read = len(self.client.events)

    def arrives(self, number):
        """Waits until all displays show a square."""
        end = time.monotonic() + 10
        while any((device, number) not in self.shown for device in range(self.devices)) and time.monotonic() < end:
            self.client.pump(0.1)
            self.look()


def pictures(options, devices, where):
    """All devices draw side by side; one client shows them all. Nobody waits long for its picture."""
    path = os.path.join(where, "socket")
    host = Host(options.program, path, options.lib, devices)
    with Client(unix=path, beacon=BEACON) as client:
        check(f"{devices} displays come up", client.connected(20, devices))
        host.do(f"draw {options.count} {options.seed}", "drawn")
        compare(host, client, devices, where, "after random draws")
        beacons = Beacons(client, devices)
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            number = len(beacons.sent) + 1
            beacons.sent[number] = float(host.do(f"beacon {number}", "beacon").split()[2])
            host.do(f"draw 20 {options.seed * 1000 + number}", "drawn")
            # Not more than the client can draw: waits are to be seen, not its slowness.
            beacons.arrives(number - 1) if number > 1 else None
        beacons.arrives(number)
        compare(host, client, devices, where, "after beacons")
        for device in range(devices):
            waits = [wait for (shown_by, _), wait in beacons.shown.items() if shown_by == device]
            worst, stood = max(waits, default=(0, 0))
            check(
                f"display {device} of {devices} waits for nobody",
                len(waits) == number > 3 and all(ms < PATIENCE_MS + stood for ms, stood in waits),
                f"{len(waits)} of {number} beacons came, the latest after {worst:.0f} ms; the client stood still {stood:.0f} ms",
            )
    with Client(unix=path) as client:
        client.connected(20, devices)
        compare(host, client, devices, where, "a client that comes later")
    code, rest = host.end()
    check(f"{devices} devices end well", code == 0 and "offences 0" in rest and "released all" in rest, rest)


# ---- layouts of the guest


def first_heads(client):
    """The first report with heads in it; before the server's first message there is one without."""
    while event := client.wait("monitors", 5):
        if event["heads"]:
            return event
    return None


def heads(options, library, where):
    """{step: what the client says of monitors} for one device with several heads."""
    path = os.path.join(where, "socket")
    host = Host(options.program, path, library, 1)
    steps = {}
    with Client(unix=path) as client:
        client.connected()
        steps["connected"] = first_heads(client)
        host.do("mode 0 1024 480", "mode set")

        def step(name, line, answer, comes=True):
            client.taken = len(client.events)
            host.do(line, answer)
            event = client.wait("monitors", 5 if comes else 0.4)
            # The last one counts: more may come for one change of mode.
            while event and (more := client.wait("monitors", 0.3)):
                event = more
            steps[name] = event

        step("two heads", "heads 0 640x480+0+0 384x480+640+0", "heads given")
        step("one without an area", "heads 0 640x480+0+0 0x0+0+0 384x400+640+0", "heads given")
        step("at most one", "max 0 1", "max set", False)
        step("two, one allowed", "heads 0 640x480+0+0 384x480+640+0", "heads given")
        step("device of two monitors", "info 0 2", "info set", False)
        step("three, two allowed", "heads 0 600x480+0+0 300x480+600+0 100x480+900+0", "heads given")
        step("device of none", "info 0 0", "info set", False)
        step("two, none counted", "heads 0 640x480+0+0 384x480+640+0", "heads given")
        step("many allowed", "max 0 16", "max set", False)
        step("four heads", "heads 0 256x240+0+0 256x240+256+0 256x240+512+0 256x240+768+0", "heads given")
        step("mode of a driver that tells", "mode 0 800 600", "mode set", False)
    with Client(unix=path) as client:
        client.connected()
        steps["who comes later"] = first_heads(client)
        host.do("draw 200 5", "drawn")
        if library == options.lib:
            compare(host, client, 1, where, "one device, several heads")
    host.end()
    return steps


# ---- wishes of clients


def wishes(options, library, where):
    """{step: (messages of the server, lines of the host)} for raw messages on the main channel."""
    path = os.path.join(where, "socket")
    host = Host(options.program, path, library, 2)
    steps = {}
    client = None

    def step(name, *, wait=0.15):
        told = client.until_quiet(wait)
        # The id of a session and the clock differ from run to run, the mouse belongs to what an agent says.
        told = [m if m == "closed" else (m[0], b"" if m[0] == 103 else m[1]) for m in told if m[0] != MOUSE_MODE]
        # 28 bytes: the last client has left, of which the agent hears when it may.
        heard = [line for line in host.heard() if not line.startswith("probe") and line != "agent written 28"]
        steps[name] = told, heard

    def fresh(start=True, caps=TOKENS):
        nonlocal client
        if client:
            client.close()
        client = AgentClient(path, caps)
        if start:
            client.send(AGENT_START, struct.pack("<I", 10))
        client.until_quiet(0.15)
        host.heard()

    two = [(800, 600, 32, 0, 0), (1024, 768, 24, 800, -5)]
    good = agent_message(2, monitors_config(two, 1))

    def send(*pieces):
        for piece in pieces:
            client.send(SEND_AGENT_DATA, piece)

    fresh(start=False)
    client.send(ATTACH_CHANNELS)
    client.until_quiet(0.2)
    send(*[good] * 12)
    step("without an agent")
    client.send(AGENT_START, struct.pack("<I", 10))
    send(*[good] * 12)
    step("without an agent, started")
    host.do("agent on", "agent added 0")
    step("an agent comes")
    send(*[good] * 12)
    step("before the stream is opened")
    client.send(AGENT_START, struct.pack("<I", 10))
    send(good)
    step("a wish")
    for turn in range(2, 10):
        send(good)
        step(f"wish {turn}", wait=0.1)
    send(*[good] * 6)  # what the window has left
    step("six in a row")
    fresh()
    send(good[:20], good[20:41], good[41:])
    step("in three pieces")
    send(good[:20], *(good[at : at + 8] for at in range(20, len(good), 8)))
    step("in many pieces")
    send(agent_message(2, monitors_config(two, 7, [(300, 200), (400, 250)])))
    step("with sizes and a flag that nobody knows")
    send(agent_message(2, monitors_config([])))
    step("no monitor")
    send(agent_message(2, monitors_config(two[:1]) + b"surplus"))
    step("more bytes than monitors")
    big = agent_message(2, monitors_config(two * 150))
    send(*(big[at : at + 2048] for at in range(0, len(big), 2048)))
    step("300 monitors")
    host.do("takes 1 0", "takes set")
    fresh()
    send(good)
    step("one device does not take it")
    host.do("takes 1 1", "takes set")
    fresh()
    send(good)
    step("both take it again")
    host.do("agent off", "agent removed 0")
    step("the agent goes")
    send(good)
    step("after it went")
    host.do("agent on", "agent added 0")
    step("it comes again")
    send(good)
    step("not opened again")
    bad = {
        "short header": [good[:19]],
        "another protocol": [agent_message(2, monitors_config(two), protocol=2)],
        "beyond the message": [good + b"x"],
        "sizes missing": [agent_message(2, monitors_config(two, 2))],
        "one monitor missing": [agent_message(2, monitors_config(two, count=3))],
        "2^32 - 1 monitors": [agent_message(2, monitors_config(two, count=2**32 - 1))],
        "a count that overflows": [agent_message(2, monitors_config(two, count=0x33333334))],
        "no count": [agent_message(2, b"\0" * 7)],
        "nothing": [agent_message(2, b"")],
        "6153 bytes announced": [agent_message(2, b"\0" * 8, size=6153)],
        "2^32 - 1 bytes announced": [agent_message(2, b"\0" * 8, size=2**32 - 1)],
        "2049 bytes in a piece": [agent_message(4, bytes(2029))],
        # Last, because spice-server would join what comes first with the next client's.
        "beyond it in a second piece": [good[:30], good[30:] + b"x"],
    }
    for name, pieces in bad.items():
        fresh()
        send(*pieces)
        step(f"bad: {name}")
    for name in ("short header", "beyond the message"):
        fresh(start=False)
        send(*bad[name])
        step(f"bad before the stream is opened: {name}")
    fresh(start=False, caps=0)
    host.do("agent off", "agent removed 0")
    step("old client, the agent goes")
    host.do("agent on", "agent added 0")
    step("old client, it comes again")
    client.close()
    code, rest = host.end()
    steps["host's end"] = code, [line for line in rest if line.startswith(("released", "offences"))]
    return steps


def stock_wishes(options, where):
    """What a stock client's user wishes for reaches both devices."""
    path = os.path.join(where, "socket")
    host = Host(options.program, path, options.lib, 2)
    host.do("agent on", "agent added 0")
    with Client(unix=path) as client:
        client.connected(20, 2)
        client.pump(0.5)
        host.heard()
        for wish in ("800x600+0+0 1024x768+800+0", "1280x720+0+0 0x0+0+0", "640x480+640+0 640x480+0+0"):
            client.send("monitors", wish)
            wished = client.wait("wished", 10)
            line = host.answer("monitors 0", 10)
            shapes = [w for w in line.split()[5:] if "x" in w]
            other = host.answer("monitors 1", 10)
            enabled = [w for w in wish.split() if not w.startswith("0x0")]
            good = [s.split("@")[0] for s in shapes if not s.startswith("0x0")] == enabled
            good = good and other.split()[2:] == line.split()[2:]
            check(f"a stock client wishes {wish}", bool(wished and wished["sent"] and good), line)
    host.end()


def same(what, ours, theirs):
    for name, wanted in theirs.items():
        equal = ours[name] == wanted
        check(f"{what}: {name} as on spice-server", equal, "" if equal else f"{ours[name]}, there {wanted}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    reference = options.lib and "libspice-server.so.1 " in known
    if not reference:
        print("SKIPPED 2: nothing to compare with, libspice-server1 is not installed or is what was tested")
    with tempfile.TemporaryDirectory() as where:
        for devices in sorted({2, options.devices}):
            pictures(options, devices, where)
        ours = heads(options, options.lib, where)
        two = [head[2:] for head in ours["two heads"]["heads"]]
        check("the client knows two heads", two == [[0, 0, 640, 480], [640, 0, 384, 480]], two)
        if reference:
            same("heads", ours, heads(options, None, where))
        ours = wishes(options, options.lib, where)
        shown = ours["a wish"][1]
        check("a wish reaches both devices", [line.split()[1] for line in shown] == ["1", "0"], shown)
        if reference:
            same("wishes", ours, wishes(options, None, where))
        stock_wishes(options, where)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

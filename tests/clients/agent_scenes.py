"""Scenes between a guest's agent, a server and raw clients: each is a script of steps, and gives what was seen at each.

A scene is a function of a `Stage`. It says `stage.host(line)`, `stage.join(name)`, `stage.send(name, …)` and so on; after
each of them the stage waits until host and clients are quiet and notes what came.
"""
import os
import select
import socket
import struct
import subprocess
import time

from agent_client import (
    AGENT_START,
    ATTACH_CHANNELS,
    PING,
    PONG,
    SEND_AGENT_DATA,
    AgentClient,
    agent_message,
    monitors_config,
)

TOKENS = 4  # capability: the client takes AGENT_CONNECTED_TOKENS
SEND_AGENT_TOKEN, MOUSE_MODE_REQUEST = 108, 105
INPUTS, POSITION, PRESS, RELEASE, MOTION = 3, 112, 113, 114, 111
MANY = 0xFFFFFFFF
QUIET = 0.15
NAMES = {
    103: "INIT", 104: "CHANNELS", 105: "MOUSE_MODE", 107: "CONNECTED", 108: "DISCONNECTED", 109: "DATA", 110: "TOKEN",
    115: "CONNECTED_TOKENS",
}


def chunk(data, port=1):
    return struct.pack("<II", port, len(data)) + data


def chunks(data):
    """As agents write: at most 2048 bytes each."""
    return b"".join(chunk(data[i : i + 2048]) for i in range(0, len(data), 2048))


def announce(*words, request=0):
    return agent_message(6, struct.pack(f"<I{len(words)}I", request, *words))


class Peer:
    """One channel whose messages are taken as they come."""

    def __init__(self, path, channel=1, session=0, caps=TOKENS):
        self.client = AgentClient(path, caps, channel=channel, session=session)
        self.client.socket.setblocking(False)
        self.partial = b""
        self.seen = []
        self.open = True
        self.session = None

    def read(self):
        try:
            data = self.client.socket.recv(1 << 18)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            self.open = False
            self.seen.append("closed")
        self.partial += data
        while len(self.partial) >= 6:
            kind, size = struct.unpack_from("<HI", self.partial)
            if len(self.partial) < 6 + size:
                break
            body, self.partial = self.partial[6 : 6 + size], self.partial[6 + size :]
            if kind == PING:
                self.client.send(PONG, body[:12])
            else:
                self.take(kind, body)
        return True

    def take(self, kind, body):
        if kind == 103:
            self.session = struct.unpack_from("<I", body)[0]
            # All but the session's number and the clock.
            body = body[4:24]
        if kind in (7, 104):  # a notice has a time, lists differ in order
            self.seen.append(NAMES.get(kind, kind))
        else:
            self.seen.append(f"{NAMES.get(kind, kind)} {body.hex()}")


class Stage:
    def __init__(self, program, library, where, *options, quiet=QUIET):
        self.quiet = quiet
        self.path = os.path.join(where, "agent-socket")
        environment = dict(os.environ)
        environment.pop("LD_LIBRARY_PATH", None)
        if library:
            environment["LD_LIBRARY_PATH"] = library
        environment.update(word.split("=") for word in options if "=" in word)
        options = [word for word in options if "=" not in word]
        self.process = subprocess.Popen(
            [program, "--unix", self.path, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment,
        )
        self.partial = b""
        self.lines = []
        self.peers = {}
        self.steps = []
        self.settle("start", until="ready")

    def read_host(self):
        data = os.read(self.process.stdout.fileno(), 1 << 18)
        *lines, self.partial = (self.partial + data).split(b"\n")
        self.lines += [line.decode() for line in lines]
        return bool(data)

    def settle(self, what, quiet=0, until=None, limit=15):
        """Waits until nothing has come for a while; until a line of the host came if one is named."""
        quiet = max(quiet, self.quiet)
        end = time.monotonic() + limit
        alive = True
        while alive and time.monotonic() < end:
            files = {self.process.stdout: None}
            files.update({peer.client.socket: peer for peer in self.peers.values() if peer.open})
            waiting = until is not None and until not in self.lines
            ready = select.select(list(files), [], [], end - time.monotonic() if waiting else quiet)[0]
            if not ready:
                break
            for file in ready:
                if files[file] is None:
                    alive = self.read_host()
                else:
                    files[file].read()
        # One call may take what two others took: the bytes count.
        wrote = "".join(line[6:] for line in self.lines if line.startswith("wrote "))
        lines = [line for line in self.lines if not line.startswith("wrote ")]
        if wrote:
            lines.append("wrote " + wrote)
        self.lines = []
        seen = {"host": lines}
        for name, peer in self.peers.items():
            if peer.seen:
                seen[name] = peer.seen
                peer.seen = []
        self.steps.append((what, seen))
        return seen

    # ---- what scenes say

    def host(self, line, quiet=0):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.settle(line if len(line) < 60 else line[:60] + "…", quiet)

    def says(self, data):
        """The agent writes these bytes."""
        return self.host("say " + data.hex())

    def join(self, name, caps=TOKENS, start=None):
        self.peers[name] = Peer(self.path, caps=caps)
        self.settle(f"{name} joins")
        if start is not None:
            self.start(name, start)

    def start(self, name, tokens=MANY):
        self.send(name, AGENT_START, struct.pack("<I", tokens))

    def inputs(self, name):
        """Opens the inputs channel of a client."""
        self.peers[f"{name}'s inputs"] = Peer(self.path, INPUTS, self.peers[name].session, 0)
        self.settle(f"{name} opens inputs")

    def send(self, name, kind, *bodies):
        for body in bodies:
            self.post(name, kind, body)
        return self.settle(f"{name} sends {kind} {len(bodies)} times")

    def post(self, name, kind, body):
        peer = self.peers[name]
        peer.client.socket.setblocking(True)
        peer.client.socket.settimeout(10)
        peer.client.send(kind, body)
        peer.client.socket.setblocking(False)

    def data(self, name, *pieces):
        return self.send(name, SEND_AGENT_DATA, *pieces)

    def mode(self, name, mode):
        return self.send(name, MOUSE_MODE_REQUEST, struct.pack("<H", mode))

    def leave(self, *names):
        for name in names:
            for peer in [key for key in self.peers if key.startswith(name)]:
                self.peers.pop(peer).client.socket.close()
        self.settle(f"{' and '.join(names)} leave")

    def end(self):
        self.process.stdin.write(b"quit\n")
        self.process.stdin.flush()
        seen = self.settle("quit", until="released all")
        self.process.wait(20)
        return seen

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# ---- scenes ----


def life(stage):
    stage.join("ann")
    stage.host("agent on")
    stage.says(chunks(agent_message(4, b"to nobody")))
    stage.data("ann", agent_message(4, b"before the start"))
    stage.start("ann")
    stage.says(chunks(announce(0x1FFFF, request=1)))
    stage.says(chunks(announce(0xFF, request=1)))
    stage.data("ann", announce(0x1E, request=1))
    stage.says(chunks(agent_message(7, b"\0\0\0\0" + struct.pack("<I", 1))))
    stage.data("ann", agent_message(8, struct.pack("<I", 1)))
    stage.says(chunks(agent_message(4, bytes(range(256)) * 20)))
    stage.host("agent off")
    stage.data("ann", agent_message(4, b"to nobody"))
    stage.start("ann")
    stage.host("agent on")
    stage.data("ann", agent_message(4, b"not started"))
    stage.start("ann")
    stage.data("ann", agent_message(4, b"heard"))
    stage.leave("ann")
    stage.join("bob", caps=0)
    stage.host("agent off")
    stage.host("agent on")
    stage.start("bob")
    stage.data("bob", agent_message(4, b"heard too"))
    stage.leave("bob")
    stage.host("agent off")


def agent_first(stage):
    stage.host("agent on")
    stage.host("second agent")
    stage.says(chunks(announce(0x1FFFF, request=1)))
    stage.join("ann")
    stage.says(chunks(agent_message(3, struct.pack("<II", 2, 1))))
    stage.start("ann")
    stage.says(chunks(agent_message(3, struct.pack("<II", 2, 1))))
    stage.join("bob")
    stage.start("bob")
    stage.says(chunks(agent_message(3, struct.pack("<II", 2, 1))))


def pieces(stage):
    """How what the agent writes is cut for the client."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    long = agent_message(4, bytes(i % 251 for i in range(7000)))
    stage.says(chunk(long))
    stage.says(chunk(long[:100]) + chunk(long[100:5000]) + chunk(long[5000:]))
    stage.says(chunk(b"server's own", 2) + chunk(agent_message(3, b"")) + chunk(agent_message(3, b"")))
    cut = chunk(agent_message(4, b"in parts"))
    for part in (cut[:3], cut[3:8], cut[8:20], cut[20:]):
        stage.says(part)
    stage.says(chunk(agent_message(2, b"monitors of an agent")))


def allowance(stage):
    """The device is read as far as the client has tokens."""
    stage.host("agent on")
    stage.join("ann", start=3)
    stage.says(b"".join(chunk(agent_message(3, bytes([i]))) for i in range(8)))
    stage.host("left")
    stage.send("ann", SEND_AGENT_TOKEN, struct.pack("<I", 2))
    stage.host("left")
    stage.start("ann", 1)
    stage.send("ann", SEND_AGENT_TOKEN, struct.pack("<I", MANY), struct.pack("<I", MANY))
    stage.host("left")


def window(stage):
    """Tokens of the client: given back when the device has taken everything."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.data("ann", *[agent_message(4, bytes([i])) for i in range(9)])
    stage.data("ann", *[agent_message(4, bytes([i])) for i in range(6)])
    stage.host("room 0")
    stage.data("ann", *[agent_message(4, bytes([i])) for i in range(10)])
    stage.host("room 50")
    stage.host("step 7")
    stage.host("room -1")
    stage.host("step 0")
    stage.host("room 0")
    stage.data("ann", *[agent_message(4, bytes([i])) for i in range(5)])
    # Beyond the window, and what a client may be ahead.
    stage.data("ann", *[agent_message(4, bytes([i])) for i in range(85)])
    stage.host("room -1")
    stage.join("bob", start=MANY)
    stage.data("bob", agent_message(4, b"alive"))


def long_messages(stage):
    stage.host("agent on")
    stage.join("ann", start=MANY)
    long = agent_message(4, bytes(i % 251 for i in range(9000)))
    stage.data("ann", *[long[i : i + 2048] for i in range(0, len(long), 2048)])
    stage.data("ann", long[:20], long[20:21], long[21:2000], long[2000:4048])
    stage.data("ann", *[long[i : i + 1000] for i in range(4048, len(long), 1000)])


def switches(stage):
    """Copy and paste and files, off and on, both ways."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    kinds = (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 99)
    for line in ("copypaste 0", "filexfer 0", "copypaste 1", "filexfer 1"):
        stage.host(line)
        stage.says(b"".join(chunk(agent_message(kind, bytes(8))) for kind in kinds))
        for kind in kinds:
            stage.data("ann", agent_message(kind, bytes(8)))
        stage.says(chunk(announce(0x17FFF, 0xFFFFFFFF, request=1)))
    # What is switched off in the middle of a message.
    long = agent_message(4, bytes(3000))
    stage.data("ann", long[:2048])
    stage.host("copypaste 0")
    stage.data("ann", long[2048:])
    stage.data("ann", long[:2048], long[2048:])
    stage.host("copypaste 1")
    stage.says(chunk(long[:2048]))
    stage.host("copypaste 0")
    stage.says(chunk(long[2048:]))


def broken_agents(stage):
    """The agent breaks its protocol: the client stays, and another agent may come."""
    stage.host("agent on")
    stage.join("ann")
    for broken in (
        chunk(agent_message(3, b""), 3),
        chunk(agent_message(3, b"", protocol=2)),
        chunk(agent_message(3, b"data") + b"more"),
    ):
        stage.start("ann")
        stage.data("ann", agent_message(4, b"heard"))
        stage.says(broken + chunk(agent_message(3, b"not looked at")))
        stage.data("ann", agent_message(4, b"to nobody"))
        stage.says(chunk(agent_message(3, b"neither")))
        stage.host("agent off")
        stage.host("agent on")


def broken_clients(stage):
    """Whatever breaks the framing costs the client its session, before AGENT_START too."""
    stage.host("takes 1")
    stage.host("agent on")
    good = agent_message(4, b"12345678")
    for number, (start, parts) in enumerate(
        (
            (MANY, [good[:19]]),
            (MANY, [agent_message(4, b"", protocol=0)]),
            (MANY, [good + b"9"]),
            (MANY, [good[:24], good[24:] + b"9"]),
            (MANY, [bytes(2049)]),
            (None, [good[:19]]),
            (None, [agent_message(4, b"", protocol=7)]),
            (None, [good + b"9"]),
            (None, [bytes(2049)]),
            (MANY, [agent_message(2, bytes(8), size=6153)]),
            (MANY, [monitors(2, count=3)]),
        )
    ):
        name = f"client {number}"
        stage.join(name, start=start)
        stage.data(name, *parts)
        stage.leave(name)
    for kind in (AGENT_START, SEND_AGENT_TOKEN):
        name = f"short {kind}"
        stage.join(name, start=MANY)
        stage.send(name, kind, b"\1\0\0")
        stage.leave(name)


def monitors(heads, flags=0, count=None):
    return agent_message(2, monitors_config([(640, 480, 32, 640 * i, 0) for i in range(heads)], flags, (), count))


def layouts(stage):
    """Monitors go to the display devices if they take them, else to the agent."""
    stage.host("takes 1")
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.data("ann", monitors(2, flags=1))
    big = monitors(150)
    stage.data("ann", *[big[i : i + 2048] for i in range(0, len(big), 2048)])
    stage.data("ann", agent_message(4, b"after it"))
    stage.leave("ann")
    stage.host("takes 0")
    stage.join("bob", start=MANY)
    stage.data("bob", monitors(2, flags=1))
    stage.data("bob", *[big[i : i + 2048] for i in range(0, len(big), 2048)])
    stage.data("bob", agent_message(4, b"after it"))


def position(x, y, mask=0, display=0):
    return struct.pack("<IIHB", x, y, mask, display)


def pointer(stage):
    """The mouse through the agent."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.inputs("ann")
    ann = "ann's inputs"
    stage.send(ann, POSITION, position(9, 9))
    stage.mode("ann", 2)
    stage.host("mode")
    stage.send(ann, POSITION, position(10, 20))
    stage.send(ann, POSITION, position(639, 479, 1, 3))
    for bit in range(16):
        stage.send(ann, POSITION, position(bit, 7, 1 << bit, 1))
    for number, mask in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 64), (9, 0x100), (4, 1), (5, 0)):
        stage.send(ann, PRESS, struct.pack("<BH", number, mask))
        stage.send(ann, RELEASE, struct.pack("<BH", number, 0))
    stage.send(ann, MOTION, struct.pack("<iiH", 3, 4, 0))
    stage.host("mouse 0")
    stage.send(ann, POSITION, position(1, 2))
    stage.send(ann, PRESS, struct.pack("<BH", 1, 1))
    stage.send(ann, RELEASE, struct.pack("<BH", 1, 0))
    stage.host("tablet on")
    stage.mode("ann", 2)
    stage.send(ann, POSITION, position(3, 4, 0xFFFF))
    stage.host("mouse 1")
    stage.send(ann, POSITION, position(5, 6))
    stage.host("tablet off")
    stage.send(ann, POSITION, position(7, 8))
    stage.host("agent off")
    stage.host("mode")
    stage.send(ann, POSITION, position(7, 8), position(8, 9))
    stage.send(ann, MOTION, struct.pack("<iiH", 3, 4, 0x8000))


def pointer_busy(stage):
    """An agent that takes nothing: positions merge."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.inputs("ann")
    stage.mode("ann", 2)
    stage.host("room 0")
    stage.send("ann's inputs", POSITION, *[position(i, i) for i in range(20)])
    stage.host("room 30")
    stage.host("room -1")
    stage.send("ann's inputs", POSITION, position(50, 50))


def hardware(stage):
    """GRAPHICS_DEVICE_INFO."""
    stage.host("info 0 0 1 pci/0000/02.0")
    stage.host("info 1 4 2 pci/0000/03.0")
    stage.host("agent on")
    stage.says(chunks(announce(0x8000, request=1)))
    stage.join("ann", start=MANY)
    stage.says(chunks(announce(0x7FFF, request=1)))
    stage.host("info 1 4 2 pci/0000/04.0")
    stage.says(chunks(announce(0x8000, request=1)))
    stage.host("info 0 0 16 pci/0000/02.0")
    stage.host("info 1 7 0 pci/0000/05.0")
    stage.leave("ann")
    stage.join("bob", start=MANY)
    stage.host("agent off")
    stage.host("agent on")
    stage.start("bob")
    stage.host("info 1 1 1 pci/0000/06.0")


def stops(stage):
    """Between vm_stop and vm_start the device is left alone; nothing is lost."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.host("vm stop")
    stage.says(chunk(agent_message(3, b"later")))
    stage.data("ann", *[agent_message(4, bytes([i])) for i in range(7)])
    stage.host("left")
    stage.host("vm start")
    stage.host("vm stop")
    stage.data("ann", agent_message(4, b"of ann"))
    stage.leave("ann")
    stage.host("vm start")
    stage.host("vm stop")
    stage.host("agent off")
    stage.host("agent on")
    stage.host("vm start")


def polled(stage):
    """A device that cannot tell when it can be written is tried again."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.host("room 0")
    stage.data("ann", agent_message(4, b"one"), agent_message(4, b"two"))
    stage.host("room 13", quiet=0.5)
    stage.host("room -1", quiet=0.5)


def stalled_and_gone(stage):
    """A client leaves while the device takes nothing: what was begun is finished, the rest is dropped."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.host("room 0")
    stage.data("ann", agent_message(4, b"first"), agent_message(4, b"second"))
    stage.host("room 10")
    stage.leave("ann")
    stage.join("bob", start=MANY)
    stage.data("bob", agent_message(4, b"third"))
    stage.host("room -1")
    stage.data("bob", agent_message(4, b"fourth"))
    stage.host("room 0")
    stage.data("bob", agent_message(4, b"fifth"))
    stage.host("agent off")
    stage.host("room -1")
    stage.host("agent on")
    stage.start("bob")
    stage.data("bob", agent_message(4, b"sixth"))


def middle(stage):
    """Clients come and go, and agents too, in the middle of messages."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    long = agent_message(4, bytes(3000))
    stage.says(chunk(long[:2048]))
    stage.data("ann", long[:2048])
    stage.leave("ann")
    stage.join("bob", start=MANY)
    stage.says(chunk(long[2048:]))
    stage.says(chunk(agent_message(3, b"whole")))
    stage.data("bob", agent_message(4, b"whole"))
    stage.data("bob", long[:2048])
    stage.says(chunk(long[:2048]))
    stage.host("agent off")
    stage.host("agent on")
    stage.data("bob", long[2048:])
    stage.start("bob")
    stage.says(chunk(agent_message(3, b"whole")))
    stage.data("bob", agent_message(4, b"whole"))
    # As spice-gtk, which queues: what was meant for the old agent comes behind AGENT_START.
    stage.data("bob", long[:2048])
    stage.host("agent off")
    stage.host("agent on")
    stage.start("bob")
    stage.data("bob", long[2048:])
    stage.data("bob", agent_message(4, b"whole again"))


def several(stage):
    """Several clients: the agent speaks to all of them, and hears each."""
    stage.host("takes 1")
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.join("bob")
    stage.says(chunk(agent_message(3, b"to ann")))
    stage.start("bob", 2)
    for number in range(3):
        stage.says(chunk(agent_message(3, bytes([number]))))
    stage.send("bob", SEND_AGENT_TOKEN, struct.pack("<I", 1))
    stage.data("ann", agent_message(4, b"of ann"))
    stage.data("bob", agent_message(4, b"of bob"))
    stage.says(b"".join(chunk(agent_message(3, bytes([i]))) for i in range(4)))
    stage.leave("ann")
    stage.send("bob", SEND_AGENT_TOKEN, struct.pack("<I", 9))
    stage.join("joe", start=MANY)
    stage.says(b"".join(chunk(agent_message(3, bytes([i]))) for i in range(20)))
    stage.leave("joe")
    stage.host("agent off")


def interleaved(stage):
    """Two clients at once wish for monitors."""
    stage.host("takes 1")
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.join("bob", start=MANY)
    long = monitors(120)
    stage.data("ann", long[:2048])
    stage.data("bob", long[:2048], long[2048:])
    stage.data("ann", long[2048:])
    seen = stage.host("sync")
    assert all(peer.open for peer in stage.peers.values()) and seen["host"] == ["synced"]


def destroyed(stage):
    """The server ends with a client there."""
    stage.host("agent on")
    stage.join("ann", start=MANY)
    stage.data("ann", agent_message(4, b"heard"))
    stage.end()


# Scene, options of the host; words with = are for its environment.
SCENES = [
    (life, []),
    (agent_first, []),
    (pieces, []),
    (allowance, []),
    (window, []),
    (long_messages, []),
    (switches, []),
    (broken_agents, []),
    (broken_clients, []),
    (layouts, []),
    (pointer, []),
    (pointer_busy, []),
    (hardware, ["--devices", "2"]),
    (stops, []),
    (polled, ["--poll"]),
    (stalled_and_gone, []),
    (middle, []),
    (several, ["SPICE_DEBUG_ALLOW_MC=1"]),
    (interleaved, ["SPICE_DEBUG_ALLOW_MC=1"]),
    (destroyed, []),
]

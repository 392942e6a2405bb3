"""A C host with char devices (serve_devices) and clients made of sockets, driven step by step; what host and clients saw
in each step can be compared between two libraries."""
import ctypes
import hashlib
import select
import struct
import time

from hosts import Host
from raw_client import ATTACH_CHANNELS, MAIN_INIT, Channel
from relay import CURSOR, DISPLAY, MAIN

SMARTCARD, USBREDIR, PORT, WEBDAV = 8, 9, 10, 11
DATA, COMPRESSED, PORT_EVENT = 101, 102, 201
CHANNELS_LIST = 104
STREAM_DATA = 123
LZ4_CAP = 1

LZ4 = ctypes.CDLL("liblz4.so.1")


def lz4(data):
    """One LZ4 block."""
    room = LZ4.LZ4_compressBound(len(data))
    out = ctypes.create_string_buffer(room)
    size = LZ4.LZ4_compress_default(bytes(data), out, len(data), room)
    return out.raw[:size]


def unlz4(block, size):
    out = ctypes.create_string_buffer(size)
    got = LZ4.LZ4_decompress_safe(bytes(block), out, len(block), size)
    if got != size:
        raise ValueError(f"LZ4 block of {got} bytes instead of {size}")
    return out.raw


def compressed(data, size=None, kind=1):
    return struct.pack("<BI", kind, len(data) if size is None else size) + lz4(data)


def shown(kind, body):
    """A message for a transcript. What is compressed is shown by what comes out: encoders differ."""
    if kind == COMPRESSED and body[:1] == b"\1":
        size = struct.unpack_from("<I", body, 1)[0]
        body = unlz4(body[5:], size)
        return f"{kind} lz4 of {size} bytes {hashlib.sha256(body).hexdigest()[:16]}"
    if len(body) > 64:
        return f"{kind} {len(body)} bytes {hashlib.sha256(body).hexdigest()[:16]}"
    return f"{kind} {body.hex()}"


class Linked:
    """A channel whose messages go into a list."""

    def __init__(self, session, name, kind, number=0, caps=0, main=None):
        self.name, self.log, self.ended = name, [], False
        who = (main or session.main).session_id if kind != MAIN else 0
        self.session_id = None
        self.channel = Channel(session.address, kind, who, caps, True, self.message, number)
        self.channel.socket.settimeout(5)
        self.is_main, self.is_display = kind == MAIN, kind == DISPLAY
        session.linked.append(self)

    def message(self, kind, body):
        if self.is_display and kind == STREAM_DATA:
            body = body[:4] + b"time" + body[8:]
        if not self.is_main:
            self.log.append(shown(kind, body))
        elif kind == MAIN_INIT:
            self.session_id = struct.unpack_from("<I", body)[0]
        elif kind == CHANNELS_LIST:
            count = struct.unpack_from("<I", body)[0]
            pairs = [struct.unpack_from("<BB", body, 4 + 2 * i) for i in range(count)]
            self.log.append(f"channels {[p for p in pairs if p[0] >= SMARTCARD or p[0] in (DISPLAY, CURSOR)]}")

    def send(self, kind, body=b""):
        if not self.ended:
            try:
                self.channel.send(kind, body)
            except OSError as failure:
                self.fail(failure)

    def send_all(self, kind, bodies):
        """In one call: a unix socket takes few messages that each have a call of their own."""
        try:
            self.channel.socket.sendall(b"".join(struct.pack("<HI", kind, len(b)) + b for b in bodies))
        except OSError as failure:
            self.fail(failure)

    def fail(self, failure):
        if isinstance(failure, TimeoutError):
            self.ended = True
            self.log.append("the server does not read")

    def pump(self):
        try:
            more = self.channel.read()
        except OSError:
            more = False
        if not more:
            self.ended = True
            self.log.append("closed")

    def close(self):
        self.channel.socket.close()
        self.ended = True


class Session:
    """One host on one library."""

    def __init__(self, program, address, lib, log=None):
        self.address = address
        self.host = Host([program], address, lib, log)
        self.linked, self.steps, self.marks = [], [], 0
        self.main = None

    def connect(self, name="main"):
        """A main channel that has its list."""
        main = Linked(self, name, MAIN)
        while main.session_id is None:
            main.pump()
        main.send(ATTACH_CHANNELS)
        self.main = self.main or main
        return main

    def link(self, name, kind, number=0, caps=0, main=None):
        """None if the server refuses the link."""
        try:
            return Linked(self, name, kind, number, caps, main)
        except (ConnectionError, struct.error, TimeoutError) as refused:
            self.steps.append(("link " + name, [f"refused {type(refused).__name__}"], {}))
            return None

    def tell(self, *lines):
        for line in lines:
            self.host.tell(line)

    def host_lines(self):
        """What the host said so far, up to a mark."""
        self.marks += 1
        mark = f"mark {self.marks}"
        try:
            self.host.tell(mark)
        except BrokenPipeError:
            pass  # it has ended; what it said before is still to be read
        lines, end = [], time.monotonic() + 30
        while time.monotonic() < end:
            self.host.lines, taken = [], self.host.lines
            for index, line in enumerate(taken):
                if line == mark:
                    self.host.lines = taken[index + 1 :]
                    return lines
                lines.append(line)
            if not self.host_pump():
                return lines + ["THE HOST ENDED"]
        return lines + ["THE HOST HANGS"]

    def host_pump(self, timeout=30):
        host = self.host
        if not select.select([host.process.stdout], [], [], timeout)[0]:
            return True
        data = host.process.stdout.read1(1 << 16)
        *lines, host.partial = (host.partial + data).split(b"\n")
        host.lines += [line.decode() for line in lines]
        return bool(data)

    def settle(self, quiet=0.15):
        """Lines of the host and messages of clients until neither has more to say."""
        lines = []
        while True:
            lines += self.host_lines()
            if lines and lines[-1].startswith("THE HOST"):
                return lines
            live = {linked.channel.socket: linked for linked in self.linked if not linked.ended}
            ready = select.select(list(live), [], [], quiet)[0] if live else []
            for one in ready:
                live[one].pump()
            if not ready:
                more = self.host_lines()
                lines += more
                if not more:
                    return lines

    def step(self, name, quiet=0.15):
        """Ends a step: what was seen in it is kept under this name."""
        lines = self.settle(quiet)
        seen = {}
        for linked in self.linked:
            if linked.log:
                seen[linked.name] = linked.log
                linked.log = []
        self.steps.append((name, lines, seen))

    def alive(self):
        return self.host.process.poll() is None

    def end(self):
        for linked in self.linked:
            linked.close()
        if not self.alive():
            return f"the host ended with {self.host.process.returncode}"
        try:
            self.host.tell("quit")
            rest = self.host.process.communicate(timeout=30)[0].decode()
        except Exception as failure:  # told with the scenario
            self.host.process.kill()
            self.host.process.wait()
            return f"the host does not end: {failure!r}"
        if self.host.process.returncode != 0 or "end: 0 watches, 0 timers" not in rest:
            return f"exit {self.host.process.returncode}, {rest[-200:]}"
        return None

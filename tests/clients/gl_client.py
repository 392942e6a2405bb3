"""A client made of sockets that takes GL pictures over a unix socket: their descriptors, and the answers to draws."""
import array
import mmap
import os
import select
import socket
import struct
import time

from raw_client import ATTACH_CHANNELS, DISPLAY_INIT, MAIN_INIT, Channel
from relay import DISPLAY, MAIN, Wire

GL_SCANOUT_UNIX, GL_DRAW, GL_SCANOUT2_UNIX, GL_DRAW_DONE = 320, 321, 323, 104
CAP_MONITORS, CAP_GL, CAP_GL2 = 1 << 1, 1 << 7, 1 << 15


class GlWire(Wire):
    """Messages with the byte that descriptors travel with."""

    def __init__(self, on_message, take):
        super().__init__(True, on_message)
        self.take = take

    def feed(self, data):
        self.buffer += data
        while len(self.buffer) >= 6:
            kind, size = struct.unpack_from("<HI", self.buffer)
            passing = 0
            if kind in (GL_SCANOUT_UNIX, GL_SCANOUT2_UNIX) and len(self.buffer) >= 6 + size:
                fourcc = struct.unpack_from("<I", self.buffer, 6 + (12 if kind == GL_SCANOUT_UNIX else 8))[0]
                passing = 1 if fourcc else 0
            if len(self.buffer) < 6 + size + passing:
                return
            body, mark = bytes(self.buffer[6 : 6 + size]), bytes(self.buffer[6 + size : 6 + size + passing])
            del self.buffer[: 6 + size + passing]
            if passing:
                if mark != b"@":
                    raise ValueError(f"descriptors travel with {mark!r}")
                self.take(kind, body)
            self.on_message(kind, body)


class GlChannel(Channel):
    """A display channel whose descriptors are kept in order."""

    def __init__(self, address, session, caps, on_message):
        super().__init__(address, DISPLAY, session, caps, True, on_message)
        self.passed, self.pictures = [], []
        self.wire = GlWire(self.message, self.picture)
        self.wire.stage = "messages"

    def picture(self, kind, body):
        count = 1 if kind == GL_SCANOUT_UNIX else body[16]
        if len(self.passed) < count:
            raise ValueError(f"{len(self.passed)} descriptors for {count} planes")
        self.pictures.append((kind, body, self.passed[:count]))
        del self.passed[:count]

    def read(self):
        size = array.array("i", [0]).itemsize
        data, extra, flags, _ = self.socket.recvmsg(1 << 18, socket.CMSG_SPACE(16 * size))
        if flags & socket.MSG_CTRUNC:
            raise ValueError("descriptors were cut")
        for level, kind, numbers in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.passed += array.array("i", numbers[: len(numbers) // size * size])
        if data:
            self.wire.feed(data)
        return bool(data)


class GlClient:
    """Main and display channel, driven by `pump`. `answers` says whether draws are answered at once."""

    def __init__(self, address, caps=CAP_MONITORS | CAP_GL, answers=True, init=True):
        self.session, self.answers, self.ended = None, answers, False
        self.kinds, self.draws = [], []
        self.main = Channel(address, MAIN, 0, 0, True, self.main_message)
        while self.session is None and self.main.read():
            pass
        self.main.send(ATTACH_CHANNELS)
        self.display = GlChannel(address, self.session, caps, self.message)
        if init:
            self.display.send(DISPLAY_INIT, struct.pack("<BqBi", 1, 10 << 20, 0, 0))

    def main_message(self, kind, body):
        if kind == MAIN_INIT:
            self.session = struct.unpack_from("<I", body)[0]

    def message(self, kind, body):
        self.kinds.append(kind)
        if kind == GL_DRAW:
            self.draws.append(struct.unpack("<4I", body))
            if self.answers:
                self.done()

    def done(self):
        self.display.send(GL_DRAW_DONE)

    def pump(self, seconds=0.0, until=None):
        """Takes in what comes for so long, or until `until` says so; what that says."""
        end = time.monotonic() + seconds
        while True:
            if until and until():
                return True
            left = end - time.monotonic()
            sockets = [] if self.ended else [self.main.socket, self.display.socket]
            ready = select.select(sockets, [], [], max(0, min(left, 0.05)))[0]
            for channel in (self.main, self.display):
                if channel.socket in ready:
                    try:
                        more = channel.read()
                    except ConnectionError:
                        more = False
                    self.ended |= not more
            if not ready and left <= 0:
                return bool(until and until())

    def picture(self):
        """Size, format, flags and the rows of the newest picture, top one first."""
        kind, body, fds = self.display.pictures[-1]
        offset = 0
        if kind == GL_SCANOUT_UNIX:
            width, height, stride, fourcc, flags = struct.unpack("<5I", body)
        else:
            width, height, fourcc, flags, _planes, _modifier = struct.unpack_from("<4IBQ", body)
            offset, stride = struct.unpack_from("<2I", body, 25)
        with mmap.mmap(fds[0], os.fstat(fds[0]).st_size, prot=mmap.PROT_READ) as memory:
            rows = [memory[offset + y * stride : offset + y * stride + 4 * width] for y in range(height)]
        return width, height, struct.pack("<I", fourcc).decode(), flags, rows if flags & 1 else rows[::-1]

    def write_picture(self, path):
        width, height, fourcc, _, rows = self.picture()
        order = (0, 1, 2) if fourcc[1] == "B" else (2, 1, 0)
        with open(path, "wb") as file:
            file.write(b"P6\n%d %d\n255\n" % (width, height))
            for row in rows:
                rgb = bytearray(3 * width)
                for to, at in enumerate(order):
                    rgb[to::3] = row[at::4]
                file.write(rgb)

    def close(self):
        self.ended = True
        for channel in (self.main, self.display):
            channel.socket.close()
        for _, _, fds in self.display.pictures:
            for fd in fds:
                os.close(fd)
        self.display.pictures = []

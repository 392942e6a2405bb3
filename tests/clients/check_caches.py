#!/usr/bin/python3
"""Image and palette caches seen from the wire: a client that notes what it keeps, and stock clients' pictures.

  check_caches.py --program DIR/cached_images [--lib DIR] [--count 1500] [--seed 1] [--reference]

- A raw client with several displays and one small cache handles its channels in any order. Whatever it is told to use
  must be there at once, whatever it is told to forget must be there, and its pictures must be the server's.
- Stock clients show the server's picture: images kept, ids used again for other pixels, LZ4, three clients at once.
--reference: for spice-server; says what it does (waits, wrong pictures) instead of failing.
"""
import argparse
import collections
import hashlib
import os
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile

from driver import Client, difference, free_port, read_ppm

MAIN, DISPLAY = 1, 2
LIST, WAIT_FOR_CHANNELS, PING, SET_ACK = 8, 5, 4, 3
INVAL_LIST, INVAL_PALETTE, INVAL_ALL_PALETTES, SURFACE_CREATE = 105, 107, 108, 314
FILL, OPAQUE, COPY = 302, 303, 304
BITMAP, LZ4, FROM_CACHE = 0, 109, 103
CACHE_ME, PAL_CACHE_ME, PAL_FROM_CACHE, TOP_DOWN = 1, 1, 2, 4


def ticket(modulus, size=128):
    """An empty password in RSA-OAEP with SHA-1."""

    def mask(seed, length):
        return b"".join(hashlib.sha1(seed + struct.pack(">I", i)).digest() for i in range(length // 20 + 1))[:length]

    def xor(a, b):
        return bytes(x ^ y for x, y in zip(a, b))

    block = hashlib.sha1(b"").digest() + bytes(size - 43) + b"\1\0"
    seed = os.urandom(20)
    hidden = xor(block, mask(seed, len(block)))
    number = int.from_bytes(b"\0" + xor(seed, mask(hidden, 20)) + hidden, "big")
    return pow(number, 65537, modulus).to_bytes(size, "big")


def lz4_block(data):
    """The bytes of an LZ4 block, by the format's description."""
    out, at = bytearray(), 0

    def length(nibble):
        nonlocal at
        total = nibble
        while nibble == 15:
            total += data[at]
            at += 1
            if data[at - 1] != 255:
                break
        return total

    while at < len(data):
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at >= len(data):
            break
        distance = data[at] | data[at + 1] << 8
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-distance])
    return bytes(out)


class Broken(Exception):
    """The server did something that a client cannot take."""


class Channel:
    """A linked channel and its unhandled messages."""

    def __init__(self, where, session, kind, number, caps=0):
        self.socket = socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", where) if isinstance(where, int) else where)
        body = struct.pack("<IBBIII", session, kind, number, 1, 1, 18) + struct.pack("<II", 1 | 2 | 8, caps)
        self.socket.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body)
        reply = self.exactly(struct.unpack("<I", self.exactly(16)[12:])[0])
        if struct.unpack_from("<I", reply)[0]:
            raise Broken("link refused")
        modulus = int.from_bytes(reply[4 + 162 - 133 : 4 + 162 - 5], "big")
        self.socket.sendall(struct.pack("<I", 1) + ticket(modulus))
        if self.exactly(4) != bytes(4):
            raise Broken("ticket refused")
        self.number, self.bytes, self.queue = number, b"", collections.deque()
        self.handled, self.window, self.unacked, self.received = 0, 0, 0, 0

    def exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise Broken("the server hung up")
            data += part
        return data

    def send(self, kind, body=b""):
        self.socket.sendall(struct.pack("<HI", kind, len(body)) + body)

    def pump(self):
        """Takes what has come off the socket; acknowledges as stock clients do: on receipt."""
        while select.select([self.socket], [], [], 0)[0]:
            data = self.socket.recv(1 << 20)
            if not data:
                raise Broken("the server hung up")
            self.received += len(data)
            self.bytes += data
        while len(self.bytes) >= 6:
            kind, size = struct.unpack_from("<HI", self.bytes)
            if len(self.bytes) < 6 + size:
                return
            self.queue.append((kind, self.bytes[6 : 6 + size]))
            self.bytes = self.bytes[6 + size :]


class Display:
    """Surface 0 and the palettes of one channel."""

    def __init__(self):
        self.width = self.height = 0
        self.rows = []
        self.palettes = {}


class RawClient:
    def __init__(self, path, displays, pixels, seed, wish=None):
        self.dice = random.Random(seed)
        self.main = Channel(path, 0, MAIN, 0)
        kind, body = self.next_of(self.main)
        while kind != 103:
            kind, body = self.next_of(self.main)
        session = struct.unpack_from("<I", body)[0]
        self.main.send(104)
        # 8-bit alpha surfaces and LZ4, so as not to be taken for a client that draws little.
        self.channels = [Channel(path, session, DISPLAY, n, caps=1 << 3 | 1 << 5) for n in range(displays)]
        for channel in self.channels:
            channel.send(101, struct.pack("<BqBi", 1, pixels, 1, 1 << 20))
            if wish:
                channel.send(103, bytes([wish]))
        self.displays = [Display() for _ in self.channels]
        self.images = {}  # id: [rows, times given]
        self.counts = collections.Counter()
        self.waiting = {}  # channel: what it waits for

    def next_of(self, channel):
        while not channel.queue:
            select.select([channel.socket], [], [], 20)
            channel.pump()
        return channel.queue.popleft()

    def turn(self):
        """Handles one message of a channel picked at random; False if there is none."""
        for channel in self.channels:
            channel.pump()
        ready = [c for c in self.channels if c.queue]
        if not ready:
            return False
        self.dice.shuffle(ready)
        for channel in ready:
            kind, body = channel.queue[0]
            if channel.window and self.waiting.get(channel) is None:
                channel.unacked += 1
                if channel.unacked == channel.window:
                    channel.unacked = 0
                    channel.send(2)
            wait = self.handle(channel, kind, body)
            if wait:
                if self.waiting.get(channel) is None:
                    self.counts["waits"] += 1
                    self.waiting[channel] = wait
                continue
            self.waiting[channel] = None
            channel.queue.popleft()
            channel.handled += 1
            return True
        raise Broken(f"every channel waits: {self.waiting.values()}")

    def sleep(self, *others):
        """Until something comes, for ten seconds at most."""
        select.select([channel.socket for channel in self.channels] + list(others), [], [], 10)

    def handle(self, channel, kind, body):
        """What it waits for, or nothing when done."""
        display = self.displays[channel.number]
        if kind == LIST:
            at = struct.unpack_from("<H", body)[0]
            for offset in struct.unpack_from(f"<{at}I", body, 2):
                sub, size = struct.unpack_from("<HI", body, offset)
                wait = self.handle(channel, sub, body[offset + 6 : offset + 6 + size])
                if wait:
                    return wait
        elif kind == WAIT_FOR_CHANNELS:
            for n in range(body[0]):
                _, number, serial = struct.unpack_from("<BBQ", body, 1 + 10 * n)
                self.counts["wait messages"] += 1
                if self.channels[number].handled < serial:
                    return f"channel {number} at {serial}"
        elif kind == SET_ACK:
            generation, channel.window = struct.unpack("<II", body)
            channel.unacked = 0
            channel.send(1, struct.pack("<I", generation))
        elif kind == PING:
            channel.send(3, body[:12])
            self.counts["pings"] += 1
        elif kind == INVAL_LIST:
            for n in range(struct.unpack_from("<H", body)[0]):
                _, number = struct.unpack_from("<BQ", body, 2 + 9 * n)
                if number not in self.images:
                    raise Broken(f"image {number:#x} is to be forgotten and is not there")
                self.images[number][1] -= 1
                if self.images[number][1] == 0:
                    del self.images[number]
                self.counts["forgotten"] += 1
        elif kind == INVAL_PALETTE:
            if display.palettes.pop(struct.unpack("<Q", body)[0], None) is None:
                raise Broken("a palette is to be forgotten and is not there")
            self.counts["palettes forgotten"] += 1
        elif kind == INVAL_ALL_PALETTES:
            display.palettes.clear()
        elif kind == SURFACE_CREATE:
            number, width, height, form = struct.unpack_from("<4I", body)
            if number == 0:
                display.width, display.height = width, height
                display.rows = [bytearray(width * 4) for _ in range(height)]
        elif kind in (FILL, OPAQUE, COPY):
            return self.draw(display, kind, body)
        return None

    def draw(self, display, kind, body):
        surface, top, left, bottom, right, clip = struct.unpack_from("<IiiiiB", body)
        if surface != 0 or clip != 0:
            raise Broken("another surface, or a clip")
        at = 21
        width, height = right - left, bottom - top
        if kind == FILL:
            if body[at] == 1:
                color = struct.unpack_from("<I", body, at + 1)[0]
                for y in range(top, bottom):
                    display.rows[y][left * 4 : right * 4] = struct.pack("<I", color) * width
                return None
            pointer, x0, y0 = struct.unpack_from("<Iii", body, at + 1)
            rows, size = self.image(display, body, pointer)
            if rows is None:
                return f"image {size:#x}"
            for y in range(top, bottom):
                tile = rows[(y - y0) % len(rows)]
                pixels = [tile[i : i + 4] for i in range(0, len(tile), 4)]
                line = b"".join(pixels[(x - x0) % len(pixels)] for x in range(left, right))
                display.rows[y][left * 4 : right * 4] = line
            return None
        pointer, sy, sx = struct.unpack_from("<Iii", body, at)
        rows, number = self.image(display, body, pointer)
        if rows is None:
            return f"image {number:#x}"
        mix = bytes(4)
        if kind == OPAQUE:
            brush, color, rop = struct.unpack_from("<BIH", body, at + 20)
            if brush != 1 or rop != 64:
                raise Broken(f"brush {brush}, rop {rop}")
            mix = struct.pack("<I", color)
        mix = int.from_bytes(mix * width, "little")
        for y in range(height):
            line = rows[sy + y][sx * 4 : (sx + width) * 4]
            line = (int.from_bytes(line, "little") ^ mix).to_bytes(width * 4, "little")
            display.rows[top + y][left * 4 : right * 4] = line
        return None

    def image(self, display, body, at):
        """(rows, id); rows are None if the client has to wait for the image."""
        number, kind, flags, width, height = struct.unpack_from("<QBBII", body, at)
        at += 18
        if kind == FROM_CACHE:
            if number not in self.images:
                return None, number
            self.counts["from cache"] += 1
            return self.images[number][0], number
        if kind == LZ4:
            top_down, form = body[at + 4], body[at + 5]
            block, size = struct.unpack_from(">I", body, at + 6)[0], struct.unpack_from("<I", body, at)[0]
            if form != 8 or size != 6 + block:
                raise Broken(f"LZ4 of format {form}, {size} bytes, block of {block}")
            self.counts["LZ4"] += 1
            pixels = lz4_block(body[at + 10 : at + 10 + block])
            if len(pixels) != width * height * 4:
                raise Broken(f"{len(pixels)} bytes for {width}x{height}")
            rows = [pixels[n * width * 4 : (n + 1) * width * 4] for n in range(height)]
            return self.given(number, flags, rows if top_down else rows[::-1]), number
        if kind != BITMAP:
            raise Broken(f"image type {kind}")
        form, bits, x, y, stride = struct.unpack_from("<BBIII", body, at)
        at += 14
        if bits & PAL_FROM_CACHE:
            palette = display.palettes.get(struct.unpack_from("<Q", body, at)[0])
            at += 8
            if palette is None:
                raise Broken("a palette that is not there")
            self.counts["palettes from cache"] += 1
        else:
            pointer = struct.unpack_from("<I", body, at)[0]
            at += 4
            if pointer:
                unique, count = struct.unpack_from("<QH", body, pointer)
                palette = [body[pointer + 10 + 4 * i : pointer + 14 + 4 * i] for i in range(count)]
                if bits & PAL_CACHE_ME:
                    if unique in display.palettes:
                        raise Broken("a palette is given twice")
                    display.palettes[unique] = palette
                    if len(display.palettes) > 129:
                        raise Broken(f"{len(display.palettes)} palettes")
                    self.counts["palettes kept"] += 1
        rows = [body[at + n * stride : at + n * stride + stride] for n in range(height)]
        if form == 5:
            rows = [b"".join(palette[v] for v in row[:width]) for row in rows]
        if not bits & TOP_DOWN:
            rows.reverse()
        return self.given(number, flags, rows), number

    def given(self, number, flags, rows):
        """Keeps the image if it is to be kept."""
        if flags & CACHE_ME:
            self.counts["kept"] += 1
            self.images.setdefault(number, [None, 0])
            self.images[number][0] = rows
            self.images[number][1] += 1
            if self.images[number][1] > 1:
                self.counts["given again"] += 1
        return rows

    def picture(self, number):
        display = self.displays[number]
        out = bytearray()
        for row in display.rows:
            line = bytearray(display.width * 3)
            line[0::3], line[1::3], line[2::3] = row[2::4], row[1::4], row[0::4]
            out += line
        return bytes(out)


class Host:
    def __init__(self, options, *words):
        environment = dict(os.environ)
        if options.lib:
            environment["LD_LIBRARY_PATH"] = options.lib
        self.process = subprocess.Popen(
            [options.program, "--seed", str(options.seed), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        )
        self.answer("ready")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, start):
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise Broken(f"the host ended, {start!r} was wanted; exit {self.process.wait()}")
            if line.startswith(start):
                return line.strip()

    def ask(self, line, start):
        self.tell(line)
        return self.answer(start)

    def end(self):
        self.tell("quit")
        rest = self.process.stdout.read().split()
        return self.process.wait() == 0 and "not" not in rest


class Checks:
    def __init__(self, options, scratch):
        self.options, self.scratch, self.failed = options, scratch, 0

    def say(self, good, what):
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'} {what}", flush=True)

    def file(self, name):
        return os.path.join(self.scratch, name)

    def wire(self, displays, pixels, change, seed, lz4=False):
        what = f"raw client, {displays} display(s), cache of {pixels} pixels, {change} % changed, seed {seed}"
        what += ", LZ4 by its wish" if lz4 else ""
        # On unix sockets nothing is compressed.
        path = free_port() if lz4 else self.file(f"socket-{displays}-{pixels}-{change}-{seed}")
        words = ["--port", str(path)] if lz4 else ["--unix", path]
        words += ["--displays", str(displays), "--change", str(change), "--plain"]
        host = Host(self.options, *words)
        client = RawClient(path, displays, pixels, seed, wish=7 if lz4 else None)
        try:
            for _ in range(self.options.count // 100):
                host.tell("draw 100")
                drawn = False
                # The client is slower than the guest now and then, and its channels more so than each other.
                for _ in range(client.dice.randint(0, 150)):
                    client.turn()
                while not drawn:
                    if not client.turn():
                        client.sleep(host.process.stdout)
                    drawn = bool(select.select([host.process.stdout], [], [], 0)[0])
                host.answer("drawn")
            self.drain(client)
            for number in range(displays):
                server = self.file("server.ppm")
                host.tell(f"dump {server} {number}")
                while not select.select([host.process.stdout], [], [], 0)[0]:
                    if not client.turn():
                        client.sleep(host.process.stdout)
                host.answer("dumped")
                self.drain(client)
                if read_ppm(server)[2] != client.picture(number):
                    raise Broken(f"display {number} shows something else")
            verdict = None
        except Broken as broken:
            verdict = str(broken)
        received = sum(channel.received for channel in client.channels)
        counts = ", ".join(f"{name} {n}" for name, n in sorted(client.counts.items()))
        waits = client.counts["waits"] and not self.options.reference
        good = verdict is None and not waits and client.counts["from cache"] > 0
        good &= (client.counts["LZ4"] > 0) == lz4
        self.say(good, f"{what}: {verdict or 'pictures equal'}; {received} bytes, {counts}")
        host.process.kill()
        host.process.wait()

    @staticmethod
    def drain(client):
        """Until nothing comes for half a second."""
        while True:
            while client.turn():
                pass
            if not select.select([c.socket for c in client.channels], [], [], 0.5)[0]:
                return

    def stock(self, what, *words, compression=None, clients=1, tcp=False):
        port, path = free_port(), self.file(what.replace(" ", "-"))
        host = Host(self.options, *(["--port", str(port)] if tcp else ["--unix", path]), *words)
        if clients > 1:
            host.ask("several 1", "several 0")
        started = []
        for _ in range(clients):
            started.append(Client(port=port) if tcp else Client(unix=path))
            started[-1].connected()
        good, verdicts = True, []
        for step in range(2):
            if step and compression:
                host.ask(f"compression {compression}", "compression 0")
            host.ask(f"draw {self.options.count // 2}", "drawn")
            server = self.file("server.ppm")
            host.ask(f"dump {server}", "dumped")
            for client in started:
                seen = self.file("client.ppm")
                calm = client.quiet(400, 20000)
                verdict = "no picture"
                if calm and calm["event"] == "quiet" and client.dump(seen):
                    verdict = difference(server, seen)
                good &= verdict is None
                verdicts.append(verdict or "equal")
        for client in started:
            client.close()
        good &= host.end() or self.options.reference
        self.say(good, f"stock client, {what}: {', '.join(verdicts)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reference", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        checks = Checks(options, scratch)
        for displays, pixels, change in [(1, 1 << 20, 0), (1, 12000, 10), (2, 9000, 0), (3, 20000, 10)]:
            if change and options.reference:
                change = 0
            checks.wire(displays, pixels, change, options.seed)
        checks.wire(2, 9000, 0, options.seed, lz4=True)
        checks.stock("images kept and scaled", "--plain", "--scaled")
        checks.stock("images kept and composed")
        checks.stock("ids used again", "--plain", "--change", "20")
        checks.stock("LZ4 from the start", "--compression", "7", compression=1, tcp=True)
        checks.stock("LZ4 from half way", "--bottom-up", compression=7, tcp=True)
        checks.stock("QUIC, then LZ", "--compression", "4", compression=6, tcp=True)
        checks.stock("AUTO_LZ, then AUTO_GLZ", "--bottom-up", "--compression", "3", compression=2, tcp=True)
        if not options.reference:
            checks.stock("three at once", clients=3)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()

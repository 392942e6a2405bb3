"""A client made of sockets: main and display channel, whatever capabilities a test likes, nothing of spice-gtk."""
import hashlib
import os
import select
import struct
import threading
import time

from relay import DISPLAY, MAIN, Wire, connect_to

MINI_HEADER, AUTH_SELECTION = 1 << 3, 1 << 0
SET_ACK, PING, MAIN_INIT = 3, 4, 103
ACK_SYNC, ACK, PONG, ATTACH_CHANNELS, DISPLAY_INIT = 1, 2, 3, 104, 101


def oaep(message, modulus, size=128):
    """RSA-OAEP with SHA-1, empty label and exponent 65537, as tickets are sent."""

    def mask(seed, length):
        blocks = b"".join(hashlib.sha1(seed + struct.pack(">I", i)).digest() for i in range(length // 20 + 1))
        return blocks[:length]

    def xor(a, b):
        return bytes(x ^ y for x, y in zip(a, b))

    block = hashlib.sha1(b"").digest() + b"\0" * (size - len(message) - 42) + b"\1" + message
    seed = os.urandom(20)
    hidden = xor(block, mask(seed, len(block)))
    seed = xor(seed, mask(hidden, 20))
    return pow(int.from_bytes(b"\0" + seed + hidden, "big"), 65537, modulus).to_bytes(size, "big")


class Channel:
    """One linked channel; `on_message(kind, body)` gets what the server sends."""

    def __init__(self, address, kind, session, caps, mini, on_message, number=0):
        self.socket = connect_to(address)
        self.mini = mini
        self.on_message = on_message
        self.serial = 0
        self.window = self.unacked = 0
        common = [AUTH_SELECTION | MINI_HEADER] if mini else []
        words = [caps] if caps else []
        body = struct.pack("<IBBIII", session, kind, number, len(common), len(words), 18)
        body += struct.pack(f"<{len(common) + len(words)}I", *common, *words)
        self.socket.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body)
        reply = self.exactly(struct.unpack("<I", self.exactly(16)[12:])[0])
        if struct.unpack_from("<I", reply)[0]:
            raise ConnectionError(f"link error {reply[0]}")
        # SubjectPublicKeyInfo of 1024 bits: the modulus stands before the exponent's five bytes.
        modulus = int.from_bytes(reply[4 + 162 - 133 : 4 + 162 - 5], "big")
        if mini:
            self.socket.sendall(struct.pack("<I", 1))
        self.socket.sendall(oaep(b"\0", modulus))
        if struct.unpack("<I", self.exactly(4))[0]:
            raise ConnectionError("the ticket is refused")
        self.wire = Wire(mini, self.message)
        self.wire.stage = "messages"

    def exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the server hung up")
            data += part
        return data

    def send(self, kind, body=b""):
        self.serial += 1
        head = struct.pack("<HI", kind, len(body))
        self.socket.sendall(head + body if self.mini else struct.pack("<Q", self.serial) + head + bytes(4) + body)

    def message(self, kind, body):
        if kind == SET_ACK:
            generation, self.window = struct.unpack("<II", body)
            self.unacked = 0
            self.send(ACK_SYNC, struct.pack("<I", generation))
            return
        if self.window:
            self.unacked += 1
            if self.unacked == self.window:
                self.unacked = 0
                self.send(ACK)
        if kind == PING:
            self.send(PONG, body[:12])
        else:
            self.on_message(kind, body)

    def read(self):
        """False at the end."""
        data = self.socket.recv(1 << 18)
        if data:
            self.wire.feed(data)
        return bool(data)


class RawClient(threading.Thread):
    """Connects, says what `init` says (cache id, its pixels, dictionary id, window), and hands the display's messages
    to `canvas.message`."""

    def __init__(self, address, canvas, caps=0, mini=True, init=(1, 10 << 20, 0, 0)):
        super().__init__(daemon=True)
        self.canvas = canvas
        self.lock = threading.Lock()  # over the canvas
        self.last = self.settled = time.monotonic()  # when the display's last message came, and see `settle`
        self.failure = None
        self.running = True
        self.session = None
        self.main = Channel(address, MAIN, 0, 0, mini, self.main_message)
        while self.session is None and self.main.read():
            pass
        self.main.send(ATTACH_CHANNELS)
        self.display = Channel(address, DISPLAY, self.session, caps, mini, self.display_message)
        self.display.send(DISPLAY_INIT, struct.pack("<BqBi", *init))
        self.start()

    def main_message(self, kind, body):
        if kind == MAIN_INIT:
            self.session = struct.unpack_from("<I", body)[0]

    def display_message(self, kind, body):
        with self.lock:
            self.canvas.message(kind, body)
        self.last = time.monotonic()

    def run(self):
        channels = {channel.socket: channel for channel in (self.main, self.display)}
        try:
            while self.running:
                for ready in select.select(list(channels), [], [], 0.1)[0]:
                    if not channels[ready].read():
                        raise ConnectionError("the server hung up")
        except Exception as failure:  # shown by whoever asks for the picture
            self.failure = self.failure or failure

    def settle(self):
        """Begins to wait for the last message."""
        self.settled = time.monotonic()

    def write_picture(self, path, quiet=0.4, limit=60):
        """Writes the screen once nothing has come for a while after `settle`; None or what is wrong."""
        while (now := time.monotonic()) - max(self.last, self.settled) < quiet:
            if now > self.settled + limit:
                return "not quiet"
            time.sleep(0.02)
        if self.failure:
            return f"{self.failure!r}"
        with self.lock:
            if 0 not in self.canvas.surfaces:
                return "no screen"
            width, height, rgb = self.canvas.picture()
        with open(path, "wb") as file:
            file.write(b"P6\n%d %d\n255\n" % (width, height))
            file.write(rgb)
        return None

    def close(self):
        self.running = False
        self.join()
        for channel in (self.main, self.display):
            channel.socket.close()

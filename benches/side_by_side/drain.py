"""A client that reads everything and decodes nothing: main and display channel, acknowledgements, sizes of messages."""
import hashlib
import os
import select
import socket
import struct
import threading
import time

MAIN, DISPLAY = 1, 2
SET_ACK, PING, DRAW_COPY = 3, 4, 304
ACK_SYNC, ACK, PONG, INIT, ATTACH_CHANNELS = 1, 2, 3, 101, 104
MAIN_INIT = 103
# AUTH_SELECTION, AUTH_SPICE, MINI_HEADER.
COMMON_CAPS = 1 | 2 | 8


def mask(seed, length):
    out = b""
    counter = 0
    while len(out) < length:
        out += hashlib.sha1(seed + struct.pack(">I", counter)).digest()
        counter += 1
    return out[:length]


def encrypted(key, text):
    """RSA-OAEP with SHA-1 under the 1024-bit key of a link reply."""
    at = key.index(b"\x02\x81\x81\x00") + 4
    modulus = int.from_bytes(key[at:at + 128], "big")
    data = hashlib.sha1(b"").digest() + bytes(128 - 42 - len(text)) + b"\x01" + text
    seed = os.urandom(20)
    data = bytes(a ^ b for a, b in zip(data, mask(seed, len(data))))
    seed = bytes(a ^ b for a, b in zip(seed, mask(data, 20)))
    return pow(int.from_bytes(seed + data, "big"), 65537, modulus).to_bytes(128, "big")


class Channel:
    def __init__(self, port, kind, connection, caps=(), tls=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        words = [COMMON_CAPS, *caps]
        body = struct.pack("<IBBIII", connection, kind, 0, 1, len(caps), 18)
        body += struct.pack("<%dI" % len(words), *words)
        self.socket.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body)
        size = struct.unpack("<4sIII", self.read(16))[3]
        reply = self.read(size)
        assert reply[:4] == bytes(4), "the link is refused"
        self.socket.sendall(struct.pack("<I", 1) + encrypted(reply[4:166], b"\0"))
        assert self.read(4) == bytes(4), "the ticket is refused"
        self.window = self.unacknowledged = 0
        self.buffer = bytearray(1 << 20)

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def skip(self, size):
        while size:
            got = self.socket.recv_into(self.buffer, min(size, len(self.buffer)))
            if not got:
                raise EOFError
            size -= got

    def send(self, kind, body):
        self.socket.sendall(struct.pack("<HI", kind, len(body)) + body)

    def next(self):
        """One message: kind, size and its first bytes."""
        kind, size = struct.unpack("<HI", self.read(6))
        body = self.read(min(size, 64))
        self.skip(size - len(body))
        if kind == SET_ACK:
            generation, self.window = struct.unpack("<II", body)
            self.unacknowledged = 0
            self.send(ACK_SYNC, struct.pack("<I", generation))
        elif self.window:
            self.unacknowledged += 1
            if self.unacknowledged >= self.window:
                self.unacknowledged = 0
                self.send(ACK, b"")
        if kind == PING:
            self.send(PONG, body[:12])
        return kind, size, body


class Client:
    """Connected to both channels; `window` is that of the dictionary, in pixels, `tls` an ssl.SSLContext."""

    def __init__(self, port, window=16 << 20, tls=None):
        self.main = Channel(port, MAIN, 0, [1 | 2 | 4 | 8], tls)
        connection = None
        while connection is None:
            kind, _, body = self.main.next()
            if kind == MAIN_INIT:
                connection = struct.unpack("<I", body[:4])[0]
        self.main.send(ATTACH_CHANNELS, b"")
        # Sized streams, composite, A8, LZ4.
        self.display = Channel(port, DISPLAY, connection, [1 | 4 | 8 | 32], tls)
        self.display.send(INIT, struct.pack("<BqBi", 1, 0, 1, window))

    def ready(self, seconds):
        """The sockets that have something, after at most so long."""
        sockets = [self.main.socket, self.display.socket]
        # What TLS has decrypted already the kernel does not know of.
        return [s for s in sockets if hasattr(s, "pending") and s.pending()] or select.select(sockets, [], [], seconds)[0]

    def quiet(self, seconds):
        """Reads until nothing has come for so long."""
        while True:
            ready = self.ready(seconds)
            if not ready:
                return
            for channel in (self.main, self.display):
                if channel.socket in ready:
                    channel.next()

    def wait_picture(self, pixels, deadline=60):
        """Bytes of the messages that draw the next picture of so many pixels: of one or of several, band by band."""
        end = time.monotonic() + deadline
        total = 0
        while pixels > 0:
            ready = self.ready(max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("no picture came")
            if self.main.socket in ready:
                self.main.next()
            if self.display.socket in ready:
                kind, size, body = self.display.next()
                if kind == DRAW_COPY:
                    top, left, bottom, right = struct.unpack("<4i", body[4:20])
                    pixels -= (bottom - top) * (right - left)
                    total += size
        return total

    def wait_picture_in_background(self, pixels):
        """Starts reading in a thread; the returned function waits and returns the bytes."""
        result = []

        def run():
            try:
                result.append(self.wait_picture(pixels))
            except (OSError, EOFError) as error:
                result.append(error)

        thread = threading.Thread(target=run)
        thread.start()

        def join():
            thread.join()
            if isinstance(result[0], Exception):
                raise result[0]
            return result[0]

        return join

"""A main channel byte by byte, for agent messages that stock clients never send."""
import socket
import struct

from raw_client import oaep

MAIN = 1
INIT, AGENT_CONNECTED, AGENT_DISCONNECTED, AGENT_DATA, AGENT_TOKEN, AGENT_CONNECTED_TOKENS = 103, 107, 108, 109, 110, 115
ATTACH_CHANNELS, AGENT_START, SEND_AGENT_DATA = 104, 106, 107
PING, PONG = 4, 3
COMMON_CAPS = 1 | 2 | 8  # authentication by choice, ticket, short headers


class AgentClient:
    """A main channel over a unix socket. `caps` is the word of main capabilities."""

    def __init__(self, path, caps=0, timeout=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        body = struct.pack("<IBBIII2I", 0, MAIN, 0, 1, 1, 18, COMMON_CAPS, caps)
        self.socket.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body)
        size = struct.unpack("<12xI", self.take(16))[0]
        reply = self.take(size)
        if struct.unpack_from("<I", reply)[0]:
            raise RuntimeError("link refused")
        self.socket.sendall(struct.pack("<I", 1) + oaep(b"\0", int.from_bytes(reply[33:161], "big")))
        if struct.unpack("<I", self.take(4))[0]:
            raise RuntimeError("ticket refused")

    def take(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError("server closed")
            data += piece
        return data

    def send(self, kind, body=b""):
        try:
            self.socket.sendall(struct.pack("<HI", kind, len(body)) + body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self):
        """(type, body) of the next message; pings are answered and not shown. EOFError at the end."""
        while True:
            try:
                kind, size = struct.unpack("<HI", self.take(6))
                body = self.take(size)
            except ConnectionResetError as error:
                raise EOFError(str(error)) from error
            if kind != PING:
                return kind, body
            self.send(PONG, body[:12])

    def until_quiet(self, seconds=0.5):
        """What comes until nothing has come for so long; ends with "closed" if the server closed."""
        self.socket.settimeout(seconds)
        found = []
        try:
            while True:
                found.append(self.receive())
        except TimeoutError:
            pass
        except EOFError:
            found.append("closed")
        return found

    def close(self):
        self.socket.close()


def agent_message(kind, data, protocol=1, size=None):
    """A message of the agent protocol with its header."""
    return struct.pack("<IIQI", protocol, kind, 0, len(data) if size is None else size) + data


def monitors_config(monitors, flags=0, sizes=(), count=None):
    """monitors: (width, height, depth, x, y); sizes: (width, height) in mm."""
    data = struct.pack("<II", len(monitors) if count is None else count, flags)
    data += b"".join(struct.pack("<IIIii", h, w, depth, x, y) for w, h, depth, x, y in monitors)
    return data + b"".join(struct.pack("<HH", h, w) for w, h in sizes)

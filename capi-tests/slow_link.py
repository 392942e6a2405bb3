#!/usr/bin/python3
"""A slow and long line between clients and a server, in user space: a rate for all that the server sends, a delay both
ways, and a router's queue in front of the line. The same for every library.

  slow_link.py --listen PORT --server PORT --mbit 10 --rtt 100 [--queue 200]

It differs from a real line in one respect: the server's TCP is acknowledged by this relay's kernel, at once, and not by
the client's. So a server that looks at TCP's own figures sees a short way and a window that closes; what is learnt from
the client's answers is as on a real line. The receive buffers here are small, so that little hides in them.
"""
import argparse
import collections
import selectors
import socket
import time

STEP = 1448  # a packet
RECEIVE = 16 * 1024


class Way:
    """Bytes in one direction of one connection."""

    def __init__(self, source, sink):
        self.source = source
        self.sink = sink
        self.flying = collections.deque()  # (when they arrive, bytes)
        self.ended = False


class Line:
    """All connections share the line from the server; `rate` in bytes per second, `delay` and `queue` in seconds."""

    def __init__(self, listen, server, rate, delay, queue):
        self.server = server
        self.rate = rate
        self.delay = delay
        self.queue = queue
        self.free = 0.0  # when the line has sent all that it was given
        self.carried = 0
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", listen))
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.ways = {}  # source socket: Way
        self.turn = collections.deque()  # sources of the server, in turn

    def accept(self):
        client, _ = self.listener.accept()
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
        server.connect(("127.0.0.1", self.server))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        self.ways[server] = Way(server, client)
        self.ways[client] = Way(client, server)
        self.turn.append(server)
        self.selector.register(client, selectors.EVENT_READ)

    def close(self, way):
        for end in (way.source, way.sink):
            if end in self.ways:
                del self.ways[end]
                if end in self.turn:
                    self.turn.remove(end)
                try:
                    self.selector.unregister(end)
                except KeyError:
                    pass
                end.close()

    def read(self, way, size):
        """Bytes read; 0 if there are none."""
        try:
            data = way.source.recv(size)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        now = time.monotonic()
        if not data:
            if not way.ended:
                way.ended = True
                way.flying.append((now + self.delay, b""))
                if way.source not in self.turn:
                    self.selector.unregister(way.source)
            return 0
        if way.source in self.turn:
            self.free = max(self.free, now) + len(data) / self.rate
            self.carried += len(data)
            way.flying.append((self.free + self.delay, data))
        else:
            way.flying.append((now + self.delay, data))
        return len(data)

    def from_server(self):
        """Takes packets of all connections in turn while the router's queue has room."""
        idle = 0
        while self.turn and idle < len(self.turn) and self.free < time.monotonic() + self.queue:
            source = self.turn[0]
            self.turn.rotate(-1)
            way = self.ways[source]
            idle = 0 if not way.ended and self.read(way, STEP) else idle + 1

    def deliver(self):
        now = time.monotonic()
        for way in list(self.ways.values()):
            while way.flying and way.flying[0][0] <= now:
                at, data = way.flying.popleft()
                if not data:
                    self.close(way)
                    break
                try:
                    sent = way.sink.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self.close(way)
                    break
                if sent < len(data):
                    way.flying.appendleft((at, data[sent:]))
                    break

    def run(self):
        while True:
            for key, _ in self.selector.select(0.001):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj in self.ways:
                    self.read(self.ways[key.fileobj], 1 << 16)
            self.from_server()
            self.deliver()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--server", type=int, required=True)
    parser.add_argument("--mbit", type=float, default=10)
    parser.add_argument("--rtt", type=float, default=100, help="milliseconds there and back")
    parser.add_argument("--queue", type=float, default=200, help="milliseconds that the router's queue holds")
    options = parser.parse_args()
    line = Line(options.listen, options.server, options.mbit * 125e3, options.rtt / 2e3, options.queue / 1e3)
    print("ready", flush=True)
    line.run()


if __name__ == "__main__":
    main()

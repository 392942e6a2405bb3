"""A relay between stock clients and a server that a test can turn: it takes capability bits out of link messages,
stops reading single channels for as long as it likes or reads them slowly, and reads along.

  with Relay(server, scratch, clear={DISPLAY: 1 << COMPOSITE}) as relay:
      client = Client(unix=relay.path)
      relay.hold(DISPLAY)         # the server's bytes of that channel stay in its socket; main goes on
      relay.release(DISPLAY)
"""
import collections
import os
import select
import selectors
import socket
import struct
import threading
import time

MAIN, DISPLAY, INPUTS, CURSOR = 1, 2, 3, 4
STEP = 1 << 18
PACED_STEP = 1 << 13
LINK_HEADER = 16  # magic, major, minor, size of the rest
MINI_HEADER_CAP = 3


def connect_to(address):
    """A socket to a unix path or to a TCP port of this machine (a number)."""
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address), timeout=15)
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(15)
    end.connect(address)
    return end


class Wire:
    """What the server sends on one channel, cut into messages: link reply, link result, then header and body."""

    def __init__(self, mini, on_message):
        self.mini = mini
        self.on_message = on_message
        self.buffer = bytearray()
        self.stage = "reply"

    def feed(self, data):
        self.buffer += data
        position = 0
        while True:
            left = len(self.buffer) - position
            if self.stage == "reply":
                if left < LINK_HEADER:
                    break
                size = LINK_HEADER + struct.unpack_from("<I", self.buffer, position + 12)[0]
            elif self.stage == "result":
                size = 4
            else:
                head = 6 if self.mini else 18
                if left < head:
                    break
                kind, body = struct.unpack_from("<HI", self.buffer, position + (0 if self.mini else 8))
                size = head + body
            if left < size:
                break
            if self.stage == "messages":
                self.on_message(kind, bytes(self.buffer[position + head : position + size]))
            self.stage = {"reply": "result"}.get(self.stage, "messages")
            position += size
        del self.buffer[:position]


class Pair:
    """One channel: the client's socket and ours to the server."""

    def __init__(self, relay, client):
        self.relay = relay
        self.client = client
        self.server = connect_to(relay.server)
        for end in (self.client, self.server):
            end.setblocking(False)
        self.link = bytearray()  # the client's link message until it is whole
        self.kind = self.number = self.caps = None
        self.out = {self.client: bytearray(), self.server: bytearray()}  # not yet taken by that end
        self.received = 0  # bytes of the server
        self.rests_until = 0  # a paced channel's server is not read before
        self.wire = None
        self.types = collections.Counter()  # of the server's messages
        self.ended = None  # when the server ended it

    def other(self, end):
        return self.server if end is self.client else self.client

    def held(self, end):
        """Nothing is read from this end."""
        if self.kind in self.relay.silent:
            return True
        if end is self.server and self.rests_until > time.monotonic():
            return True
        return end is self.server and self.kind in self.relay.holding

    def arrived(self, end, data):
        if end is self.server:
            self.received += len(data)
            if self.kind in self.relay.pace:
                self.rests_until = time.monotonic() + len(data) / self.relay.pace[self.kind]
            if self.wire:
                self.wire.feed(data)
        elif self.kind is None:
            self.link += data
            if len(self.link) < LINK_HEADER:
                return
            size = LINK_HEADER + struct.unpack_from("<I", self.link, 12)[0]
            if len(self.link) < size:
                return
            self.edit_link()
            data = bytes(self.link)
        self.out[self.other(end)] += data

    def edit_link(self):
        self.kind, self.number, commons, words, offset = struct.unpack_from("<BBIII", self.link, 20)
        start = LINK_HEADER + offset
        common = struct.unpack_from(f"<{commons}I", self.link, start)
        start += 4 * commons
        caps = list(struct.unpack_from(f"<{words}I", self.link, start))
        for index in range(words):
            caps[index] &= ~(self.relay.clear.get(self.kind, 0) >> 32 * index) & 0xFFFFFFFF
        struct.pack_into(f"<{words}I", self.link, start, *caps)
        self.caps = sum(word << 32 * index for index, word in enumerate(caps))
        if self.relay.watch:
            mini = bool(commons and common[0] >> MINI_HEADER_CAP & 1)
            self.wire = Wire(mini, self.message)

    def message(self, kind, body):
        self.types[kind] += 1
        self.relay.watch(self, kind, body)

    def gone(self):
        """The server has ended it; also seen while nothing is read."""
        if self.server.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self.server, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def close(self):
        self.client.close()
        self.server.close()


class Relay(threading.Thread):
    """`server`: unix path or TCP port. `clear`: channel type -> capability bits taken out. `watch(pair, kind, body)` sees
    every message of the server. `pace`: channel type -> bytes of the server that pass in a second."""

    count = 0

    def __init__(self, server, directory, clear=None, watch=None, pace=None):
        super().__init__(daemon=True)
        Relay.count += 1
        self.server = server
        self.path = os.path.join(directory, f"relay{Relay.count}")
        self.clear = clear or {}
        self.watch = watch
        self.pace = pace or {}
        self.holding = set()  # channel types whose server is not read
        self.silent = set()  # channel types that nothing passes in either direction
        self.pairs = []  # all ever
        self.failure = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.waker, self.wakened = socket.socketpair()
        self.running = True
        self.selector = selectors.DefaultSelector()

    def hold(self, *kinds):
        self.holding |= set(kinds)
        self.wake()

    def release(self, *kinds):
        self.holding -= set(kinds)
        self.wake()

    def silence(self, *kinds):
        self.silent |= set(kinds)
        self.wake()

    def wake(self):
        self.waker.send(b"!")

    def channels(self, kind):
        return [pair for pair in self.pairs if pair.kind == kind]

    def interest(self, pair):
        """What each end is asked for now."""
        for end in (pair.client, pair.server):
            events = 0
            if not pair.held(end) and not pair.out[pair.other(end)]:
                events |= selectors.EVENT_READ
            if pair.out[end]:
                events |= selectors.EVENT_WRITE
            known = self.selector.get_map().get(end)
            if known and known.events != events:
                if events:
                    self.selector.modify(end, events, pair)
                else:
                    self.selector.unregister(end)
            elif not known and events:
                self.selector.register(end, events, pair)

    def end(self, pair):
        for end in (pair.client, pair.server):
            if self.selector.get_map().get(end):
                self.selector.unregister(end)
        pair.close()

    def step(self, end, events, pair):
        try:
            if events & selectors.EVENT_WRITE:
                waiting = pair.out[end]
                del waiting[: end.send(memoryview(waiting)[:STEP].tobytes())]
            if events & selectors.EVENT_READ:
                data = end.recv(PACED_STEP if pair.kind in self.pace else STEP)
                if not data:
                    raise ConnectionError
                pair.arrived(end, data)
        except BlockingIOError:
            pass
        except OSError:
            # What was read before still goes out, if the other end takes it at once.
            if end is pair.server:
                pair.ended = time.monotonic()
                try:
                    pair.client.send(pair.out[pair.client])
                except OSError:
                    pass
            self.end(pair)
            return
        self.interest(pair)

    def run(self):
        try:
            self.selector.register(self.listener, selectors.EVENT_READ)
            self.selector.register(self.wakened, selectors.EVENT_READ)
            while self.running:
                now = time.monotonic()
                rests = [pair for pair in self.pairs if pair.rests_until]
                for pair in rests:
                    if pair.rests_until <= now and pair.server.fileno() >= 0:
                        pair.rests_until = 0
                        self.interest(pair)
                wait = min((pair.rests_until - now for pair in rests if pair.rests_until > now), default=None)
                for key, events in self.selector.select(wait):
                    if key.fileobj is self.listener:
                        pair = Pair(self, self.listener.accept()[0])
                        self.pairs.append(pair)
                        self.interest(pair)
                    elif key.fileobj is self.wakened:
                        self.wakened.recv(64)
                        for pair in self.pairs:
                            if pair.client.fileno() >= 0:
                                self.interest(pair)
                    elif key.fileobj.fileno() >= 0:
                        self.step(key.fileobj, events, key.data)
        except Exception as failure:  # shown by whoever owns the relay
            self.failure = failure
            raise
        finally:
            for pair in self.pairs:
                pair.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.running = False
        self.wake()
        self.join()
        self.listener.close()
        os.unlink(self.path)

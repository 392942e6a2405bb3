"""Sound channels of raw clients: links as a test likes, every message in a log."""
import socket
import struct
import threading
import time

from raw_client import ATTACH_CHANNELS, MAIN_INIT, Channel
from relay import DISPLAY, MAIN

PLAYBACK, RECORD = 5, 6
DATA, MODE, START, STOP, VOLUME, MUTE = 101, 102, 103, 104, 105, 106  # of playback
RECORD_START, RECORD_STOP, RECORD_VOLUME, RECORD_MUTE = 101, 102, 103, 104
R_DATA, R_MODE, R_START_MARK = 101, 102, 103
CHANNELS_LIST, MULTI_MEDIA_TIME = 104, 106
CAP_VOLUME, CAP_OPUS, CAP_RECORD_OPUS = 1 << 1, 1 << 3, 1 << 2
RAW, OPUS = 1, 3


class Logged:
    """One channel whose messages are read by a thread; `log` has (type, body), `ended` tells of the end."""

    def __init__(self, address, kind, session, caps=0, mini=True):
        self.log = []
        self.changed = threading.Condition()
        self.ended = False
        self.channel = Channel(address, kind, session, caps, mini, self.message)
        self.channel.socket.settimeout(None)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def message(self, kind, body):
        with self.changed:
            self.log.append((kind, body))
            self.changed.notify_all()

    def read(self):
        try:
            while self.channel.read():
                pass
        except OSError:
            pass
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def until(self, done, timeout=5):
        """True once `done(self)` is."""
        with self.changed:
            return self.changed.wait_for(lambda: done(self), timeout)

    def count(self, kind):
        return sum(k == kind for k, _ in self.log)

    def send(self, kind, body=b""):
        """False if the server has hung up."""
        try:
            self.channel.send(kind, body)
            return True
        except OSError:
            return False

    def alive(self):
        """The server answers on this channel: it takes a message of no meaning and does not hang up."""
        return not self.until(lambda c: c.ended, 0.15)

    def close(self):
        try:
            self.channel.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join(5)
        self.channel.socket.close()


class Session:
    """A main channel, and whatever is linked to it."""

    def __init__(self, address):
        self.address = address
        self.channels = []
        self.main = Logged(address, MAIN, 0)
        if not self.main.until(lambda c: c.count(MAIN_INIT)):
            raise ConnectionError("no INIT")
        body = next(body for kind, body in self.main.log if kind == MAIN_INIT)
        self.id = struct.unpack_from("<I", body)[0]
        self.main.send(ATTACH_CHANNELS)
        self.main.until(lambda c: c.count(CHANNELS_LIST))

    def link(self, kind, caps=0, mini=True):
        channel = Logged(self.address, kind, self.id, caps, mini)
        self.channels.append(channel)
        return channel

    def close(self):
        for channel in [*self.channels, self.main]:
            channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


PATIENCE = [1]  # a test that failed on a busy machine may try again with more


def settle(seconds=0.25):
    """Until what was caused has come: nothing says that nothing more comes."""
    time.sleep(seconds * PATIENCE[0])

#!/usr/bin/python3
"""How long it takes from put_samples to the client's socket, with an idle screen and with one that draws all it can.

  check_sound_latency.py --program DIR/serve_sound [--lib DIR] [--seconds 10] [--strict]

The host writes the time of its call into each buffer, and the kernel tells when it came to the client's socket: neither
depends on when this program runs. While the screen is busy a raw client reads it as fast as it can. --strict fails if
the busy 99th percentile is over 2 ms and over twice the idle one of the same run; without it the median counts, because
others use the machine. Every buffer must come either way.
"""
import argparse
import socket
import struct
import sys
import tempfile
import threading
import time

from driver import free_port
from hosts import Host, Report
from raw_client import DISPLAY_INIT, Channel
from relay import DISPLAY
from sound_session import DATA, PLAYBACK, START, Session

SO_TIMESTAMPNS = 35
FRAME_BYTES = 1920


class Stamped:
    """A playback channel whose buffers tell how long they took, in microseconds."""

    def __init__(self, address, session):
        self.buffer = bytearray()
        self.delays, self.seen = [], []
        self.changed = threading.Condition()
        self.channel = Channel(address, PLAYBACK, session, 0, True, None)
        self.channel.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.channel.socket.settimeout(None)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while True:
                data, ancillary, _flags, _from = self.channel.socket.recvmsg(1 << 16, 256)
                if not data:
                    return
                came = next((struct.unpack("<qq", d[:16]) for _l, t, d in ancillary if t == SO_TIMESTAMPNS), None)
                came = came[0] * 10**9 + came[1] if came else time.clock_gettime_ns(time.CLOCK_REALTIME)
                self.buffer += data
                self.cut(came)
        except OSError:
            pass

    def cut(self, came):
        while len(self.buffer) >= 6:
            kind, size = struct.unpack_from("<HI", self.buffer)
            if len(self.buffer) < 6 + size:
                return
            body = bytes(self.buffer[6 : 6 + size])
            del self.buffer[: 6 + size]
            with self.changed:
                self.seen.append(kind)
                if kind == DATA and size == 4 + FRAME_BYTES:
                    self.delays.append((came - struct.unpack_from("<Q", body, 4)[0]) / 1000)
                self.changed.notify_all()

    def until(self, done, timeout=5):
        with self.changed:
            return self.changed.wait_for(lambda: done(self), timeout)


def measure(host, client, seconds):
    """(p50, p99, worst) in microseconds, and what was wrong."""
    client.delays.clear()
    count = seconds * 100
    played = host.ask(f"play {count}", "played", timeout=seconds + 60)
    client.until(lambda c: len(c.delays) >= count)
    delays = sorted(client.delays)
    wrong = None if len(delays) == count and played.endswith("refused 0") else f"{len(delays)} of {count}, {played}"
    at = lambda part: delays[min(len(delays) - 1, int(part * len(delays)))] if delays else float("inf")
    return (at(0.5), at(0.99), at(1)), wrong


def watch_screen(address, session, pictures):
    """A raw client of the display that reads all there is."""

    def message(_kind, body):
        pictures.append(len(body))

    display = Channel(address, DISPLAY, session, 0, True, message)
    display.send(DISPLAY_INIT, struct.pack("<BqBi", 1, 10 << 20, 0, 0))
    display.socket.settimeout(None)

    def read():
        try:
            while display.read():
                pass
        except OSError:
            pass

    threading.Thread(target=read, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory():
        address = free_port()
        with Host([options.program, "--display"], address, options.lib) as host:
            host.ask("add playback", "add")
            host.ask("signal stamp", "signal")
            with Session(address) as session:
                pictures = []
                client = Stamped(address, session.id)
                watch_screen(address, session.id, pictures)
                host.ask("start playback", "start")
                client.until(lambda c: START in c.seen)
                idle, wrong = measure(host, client, options.seconds)
                report.none_wrong("idle: every buffer comes", wrong, "p50 %.0f p99 %.0f worst %.0f us" % idle)
                host.ask("draw on", "draw")
                time.sleep(0.5)
                before = len(pictures)
                host.ask("stats", "stats")
                busy, wrong = measure(host, client, options.seconds)
                stats = host.ask("stats", "stats")
                host.ask("draw off", "draw")
                moved = len(pictures) - before
                text = "p50 %.0f p99 %.0f worst %.0f us" % busy
                report.none_wrong("a busy screen: every buffer comes", wrong, f"{text}, {moved} pictures; {stats}")
                part = 1 if options.strict else 0
                limit = max(2000, 2 * idle[part])
                report.check("a busy screen does not delay sound", busy[part] <= limit and moved > 5)
            report.none_wrong("the host's end", host.end())
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

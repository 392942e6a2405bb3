"""A client made of sockets that watches films: it keeps a stock client's clock, reports as one does, reads the number of
each frame out of its JPEG, and complains about whatever would make a stock client complain."""
import io
import struct
import time

from raw_client import RawClient
from PIL import Image

STREAM_CREATE, STREAM_DATA, STREAM_CLIP, STREAM_DESTROY, STREAM_DESTROY_ALL = 122, 123, 124, 125, 126
STREAM_DATA_SIZED, ACTIVATE_REPORT, REPORT = 316, 319, 102
SURFACE_CREATE, SURFACE_DESTROY, DRAW_COPY = 314, 315, 304
SIZED, MONITORS, REPORTS, MULTI_CODEC, MJPEG = 1 << 0, 1 << 1, 1 << 4, 1 << 8, 1 << 9
ALL_CAPS = SIZED | MONITORS | REPORTS | MULTI_CODEC | MJPEG
SQUARE, BITS = 16, 16


def number_of(jpeg):
    """The number in a frame; None if there is none to be read."""
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    if image.width < SQUARE * BITS:
        return None
    gray = image.convert("L")
    bits = [gray.getpixel((SQUARE * n + SQUARE // 2, SQUARE // 2)) for n in range(BITS)]
    if any(60 < bit < 196 for bit in bits):
        return None
    return sum((bit > 128) << n for n, bit in enumerate(bits))


class Screen:
    """What the display channel says. Nothing is drawn."""

    def __init__(self, codecs):
        self.codecs = codecs  # that may come
        self.uses = 0  # streams so far
        self.kinds = []  # of all messages, with times
        self.streams = {}
        self.surface = False
        self.frames = []  # dicts
        self.bytes = 0
        self.wrong = []
        self.clips = []  # (time, id, rectangles)
        self.created = []
        self.report = lambda *_: None
        self.clock = lambda: 0

    def message(self, kind, body):
        now = time.monotonic()
        self.kinds.append((now, kind))
        self.bytes += len(body) + 6
        if kind == SURFACE_CREATE:
            self.surface = True
        elif kind == SURFACE_DESTROY:
            if self.streams:
                self.wrong.append("a surface ends before its streams")
            self.surface = False
        elif kind == STREAM_DESTROY_ALL:
            self.streams.clear()
        elif kind in (STREAM_CREATE, STREAM_DATA, STREAM_DATA_SIZED, STREAM_CLIP, STREAM_DESTROY, ACTIVATE_REPORT):
            self.of_stream(now, kind, body)

    def of_stream(self, now, kind, body):
        if kind == STREAM_CREATE:
            surface, number, flags, codec, _, width, height, _, _, top, left, bottom, right = struct.unpack_from(
                "<IIBBQIIIIiiii", body
            )
            if number in self.streams:
                self.wrong.append(f"stream {number} is created twice")
            if not self.surface or surface:
                self.wrong.append("a stream without a screen")
            if codec not in self.codecs:
                self.wrong.append(f"codec {codec}")
            self.uses += 1
            self.streams[number] = {
                "size": (width, height),
                "place": (left, top, right, bottom),
                "unique": None,
                "codec": codec,
                "use": self.uses,
            }
            self.created.append((now, number))
            return
        (number,) = struct.unpack_from("<I", body)
        stream = self.streams.get(number)
        if stream is None:
            self.wrong.append(f"message {kind} of stream {number}, which is not there")
        elif kind == STREAM_DESTROY:
            del self.streams[number]
        elif kind == ACTIVATE_REPORT:
            _, stream["unique"], stream["window"], stream["timeout"] = struct.unpack("<4I", body)
            stream.update(count=0, drops=0, since=now)
        elif kind == STREAM_CLIP:
            kind, count = struct.unpack_from("<BI", body, 4)
            self.clips.append((now, number, count))
        else:
            self.frame(now, number, stream, kind, body)

    def frame(self, now, number, stream, kind, body):
        time_at = struct.unpack_from("<I", body, 4)[0]
        data = body[12:] if kind == STREAM_DATA else body[36:]
        if time_at == 0:
            self.wrong.append("a frame without a time")
        late = (self.clock() - time_at + (1 << 31)) % (1 << 32) - (1 << 31)
        self.frames.append(
            {
                "at": now,
                "time": time_at,
                "data": data,
                "bytes": len(data),
                "late": late,
                "stream": number,
                "kind": kind,
                "codec": stream["codec"],
                "use": stream["use"],
            }
        )
        if stream["unique"] is None:
            return
        stream["count"] += 1
        stream["drops"] += late > 0
        if stream["count"] == 1:
            stream["first"] = time_at
        if stream["count"] >= stream["window"] or now - stream["since"] > stream["timeout"] / 1000:
            self.report(number, stream["unique"], stream["first"], time_at, stream["count"], stream["drops"], -late)
            stream.update(count=0, drops=0, since=now)


class FilmClient(RawClient):
    """`caps` of the display channel; with `reports` it reports; `codecs` are the numbers of those that may come."""

    def __init__(self, address, caps=ALL_CAPS, reports=True, codecs=(1,), **options):
        self.screen = Screen(codecs)
        self.started = None
        super().__init__(address, self.screen, caps=caps, init=(1, 20 << 20, 1, 0), **options)
        self.screen.clock = self.clock
        if reports and caps & REPORTS:
            self.screen.report = self.report

    def main_message(self, kind, body):
        if kind in (103, 106):
            # MAIN_INIT has it as the seventh number, MULTI_MEDIA_TIME alone.
            said = struct.unpack_from("<I", body, 24 if kind == 103 else 0)[0]
            self.started = (time.monotonic(), said)
        super().main_message(kind, body)

    def clock(self):
        """Media time as a stock client keeps it, milliseconds."""
        at, said = self.started
        return int(said + (time.monotonic() - at) * 1000) % (1 << 32)

    def report(self, number, unique, first, last, count, drops, in_hand):
        self.display.send(REPORT, struct.pack("<6IiI", number, unique, first, last, count, drops, in_hand, 0xFFFFFFFF))

    def numbers(self):
        """Of all frames so far. They are decoded only now, so that a busy client does not slow the server down."""
        with self.lock:
            frames = list(self.screen.frames)
        return [number_of(frame["data"]) for frame in frames]

#!/usr/bin/python3
"""A stock client (spice-glib) that stays connected and obeys lines on stdin.

Every event is one JSON line on stdout, {"event": ..., ...}. Commands, one per line:

  quiet [MS] [LIMIT]      answers "quiet" when no pixel changed for MS (300), "busy" after LIMIT ms (10000)
  dump PATH [CHANNEL]     writes the primary surface as binary PPM (top-down RGB); answers "dumped"
  tap CODE...             presses and releases scan codes (0x1e, 0x148 = e0 48)
  press CODE / release CODE
  type MS COUNT CODE...   presses and releases one of them each MS, round and round; answers "typed" after COUNT
  motion DX DY [MASK] / position X Y [DISPLAY] [MASK]
  button-press N [MASK] / button-release N [MASK]
  modifiers N             sends the lock state
  monitors [raw] WxH+X+Y...  wishes for these monitors, put side by side unless raw; 0x0 is off; answers "wished"
  clip-grab, clip-give, clip-ask, clip-release, send-file: see glib_agent.py
  state                   answers "state": channels, mouse mode, modifiers, surfaces, counters
  gap                     answers "gap": the longest time without a change since the last time it was asked
  quit                    disconnects and ends

Needs python3-gi and gir1.2-spiceclientglib-2.0.
"""
import argparse
import ctypes
import functools
import hashlib
import json
import os
import re
import struct
import time

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib as Spice  # noqa: E402

from glib_agent import AgentPart  # noqa: E402

# Session.connect and Channel.connect open connections and hide the method for signals.
on = GObject.Object.connect


class Primary(ctypes.Structure):
    """SpiceDisplayPrimary of channel-display.h."""

    _fields_ = [
        ("format", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("stride", ctypes.c_int),
        ("shmid", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("marked", ctypes.c_int),
    ]


class Monitor(ctypes.Structure):
    """SpiceDisplayMonitorConfig."""

    _fields_ = [(name, ctypes.c_uint) for name in ("id", "surface", "x", "y", "width", "height")]


class GArray(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_uint)]


LIBGOBJECT = ctypes.CDLL("libgobject-2.0.so.0")
LIBGOBJECT.g_object_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
LIBGLIB = ctypes.CDLL("libglib-2.0.so.0")
LIBGLIB.g_array_unref.argtypes = [ctypes.c_void_p]
LIBRARY = ctypes.CDLL("libspice-client-glib-2.0.so.8")
LIBRARY.spice_display_channel_get_primary.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.POINTER(Primary)]
LIBRARY.spice_display_channel_get_primary.restype = ctypes.c_int
capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
capsule_pointer.restype = ctypes.c_void_p
capsule_name = ctypes.pythonapi.PyCapsule_GetName
capsule_name.argtypes = [ctypes.py_object]
capsule_name.restype = ctypes.c_char_p


def pointer_of(gobject):
    """The GObject* behind a wrapper, for calls that introspection cannot make."""
    capsule = gobject.__gpointer__
    return capsule_pointer(capsule, capsule_name(capsule))


@functools.lru_cache
def colors_of_16_bits(wide_green):
    """RGB bytes of every pixel of 5-5-5 or 5-6-5 bits."""
    colors = []
    for value in range(1 << 16):
        if wide_green:
            parts = (value >> 11 & 31, 5), (value >> 5 & 63, 6), (value & 31, 5)
        else:
            parts = (value >> 10 & 31, 5), (value >> 5 & 31, 5), (value & 31, 5)
        colors.append(bytes(v << 8 - b | v >> 2 * b - 8 for v, b in parts))
    return colors


def rows_to_rgb(primary):
    """Top-down RGB bytes of a primary surface; the unused high byte is ignored."""
    out = bytearray(primary.width * primary.height * 3)
    row_bytes = primary.width * 3
    for y in range(primary.height):
        size = primary.width * (4 if primary.format in (32, 96) else 2)
        raw = ctypes.string_at(primary.data + y * primary.stride, size)
        row = bytearray(row_bytes)
        if size == primary.width * 4:
            row[0::3], row[1::3], row[2::3] = raw[2::4], raw[1::4], raw[0::4]
        else:
            colors = colors_of_16_bits(primary.format != 16)
            row = b"".join(colors[value] for value in struct.unpack(f"<{primary.width}H", raw))
        out[y * row_bytes : (y + 1) * row_bytes] = row
    return bytes(out)


class Client:
    def __init__(self, options):
        self.loop = GLib.MainLoop()
        self.session = Spice.Session()
        self.channels = {}  # (type, id) -> channel
        self.up = set()
        self.agent = None
        self.partial = ""  # of a command line
        self.last_change = time.monotonic()
        self.changes = 0
        self.longest = 0  # seconds without a change, since `gap` was asked
        self.verbose = options.verbose
        self.beacon = tuple(options.beacon or ())
        self.stood = 0  # longest time in ms in which this process could not look at anything
        self.looked = time.monotonic()
        if self.beacon:
            GLib.timeout_add(10, self.look)
        session = self.session
        if options.unix:
            session.set_property("unix-path", options.unix)
        else:
            session.set_property("host", options.host)
            if options.port:
                session.set_property("port", str(options.port))
            for name in ("tls-port", "ca-file", "cert-subject"):
                if getattr(options, name.replace("-", "_")):
                    session.set_property(name, getattr(options, name.replace("-", "_")))
            if options.secure_channels:
                session.set_property("secure-channels", options.secure_channels.split(","))
        if options.password is not None:
            session.set_property("password", options.password)
        if options.username is not None:
            session.set_property("username", options.username)
        session.set_property("enable-audio", options.audio)
        if options.glz_window:
            session.set_property("glz-window-size", options.glz_window)
        for name in ("enable-usbredir", "enable-smartcard"):
            session.set_property(name, False)
        on(session, "channel-new", self.channel_new)
        on(session, "channel-destroy", self.channel_destroy)
        on(session, "disconnected", lambda _: self.say("disconnected"))
        self.prepare(options)
        if not session.connect():
            self.say("refused")

    def prepare(self, _options):
        """What else a session has before it connects."""

    def say(self, event, **fields):
        print(json.dumps({"event": event, **fields}), flush=True)

    def look(self):
        now = time.monotonic()
        self.stood = max(self.stood, (now - self.looked) * 1000 - 10)
        self.looked = now
        return True

    # ---- channels

    def channel_new(self, _session, channel):
        kind = channel.get_property("channel-type")
        number = channel.get_property("channel-id")
        name = Spice.Channel.type_to_string(kind)
        self.channels[(name, number)] = channel
        self.say("channel-new", channel=name, id=number)
        on(channel, "channel-event", self.channel_event, name, number)
        if isinstance(channel, Spice.MainChannel):
            on(channel, "main-mouse-update", self.mouse_update)
            self.agent = AgentPart(channel, self.say)
        elif isinstance(channel, Spice.DisplayChannel):
            on(channel, "display-primary-create", self.primary_create, number)
            on(channel, "display-primary-destroy", lambda *_: self.say("primary-destroy", id=number))
            on(channel, "display-invalidate", self.invalidate, number)
            on(channel, "display-mark", lambda _c, mark: self.say("mark", id=number, mark=mark))
            on(channel, "notify::monitors", self.monitors, number)
        elif isinstance(channel, Spice.CursorChannel):
            on(channel, "cursor-set", self.cursor_set, number)
            on(channel, "cursor-move", lambda _c, x, y: self.say("cursor-move", id=number, x=x, y=y))
            on(channel, "cursor-hide", lambda *_: self.say("cursor-hide", id=number))
            on(channel, "cursor-reset", lambda *_: self.say("cursor-reset", id=number))
        elif isinstance(channel, Spice.InputsChannel):
            on(channel, "inputs-modifiers", self.modifiers)
        channel.connect()

    def channel_destroy(self, _session, channel):
        for key, known in list(self.channels.items()):
            if known == channel:
                del self.channels[key]
                self.up.discard(key)
                self.say("channel-destroy", channel=key[0], id=key[1])

    def channel_event(self, channel, event, name, number):
        nick = Spice.ChannelEvent(event).value_nick
        if nick == "opened":
            self.up.add((name, number))
        else:
            self.up.discard((name, number))
        error = channel.get_error()
        self.say("channel", channel=name, id=number, what=nick, error=error.message if error else None)

    # ---- what the server tells

    def mouse_update(self, channel):
        self.say("mouse-mode", mode={1: "server", 2: "client"}.get(channel.get_property("mouse-mode"), "?"))

    def modifiers(self, channel):
        self.say("modifiers", value=channel.get_property("key-modifiers"))

    def monitors(self, channel, _pspec, number):
        heads = ctypes.c_void_p()
        LIBGOBJECT.g_object_get(pointer_of(channel), b"monitors", ctypes.byref(heads), None)
        array = GArray.from_address(heads.value)
        found = (Monitor * array.length).from_address(array.data or 0) if array.length else ()
        found = [[m.id, m.surface, m.x, m.y, m.width, m.height] for m in found]
        LIBGLIB.g_array_unref(heads)
        self.say("monitors", id=number, max=channel.get_property("monitors-max"), heads=found)

    def primary_create(self, _channel, kind, width, height, stride, _shmid, _data, number):
        self.touch()
        self.say("primary-create", id=number, format=kind, width=width, height=height, stride=stride)

    def invalidate(self, _channel, x, y, width, height, number):
        self.touch()
        if self.verbose:
            self.say("invalidate", id=number, x=x, y=y, width=width, height=height)
        if (width, height) == self.beacon:
            self.say("beacon", id=number, x=x, y=y, ms=time.monotonic() * 1000, stood=self.stood)

    def touch(self):
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last_change)
        self.last_change = now
        self.changes += 1

    def cursor_set(self, _channel, width, height, hot_x, hot_y, rgba, number):
        # The default pointer has no pixels.
        pixels = ctypes.string_at(rgba, width * height * 4) if rgba else b""
        if self.verbose:
            self.say("cursor-pixels", id=number, rgba=pixels.hex())
        self.say(
            "cursor-set",
            id=number,
            width=width,
            height=height,
            hot_x=hot_x,
            hot_y=hot_y,
            sha256=hashlib.sha256(pixels).hexdigest() if pixels else None,
        )

    # ---- commands

    def find(self, name, number=0):
        return self.channels.get((name, number))

    def inputs(self):
        channel = self.find("inputs")
        if channel is None:
            self.say("error", message="no inputs channel")
        return channel

    def quiet(self, ms=300, limit=10000):
        start = time.monotonic()
        before = self.changes

        def look():
            now = time.monotonic()
            if now - max(self.last_change, start) >= ms / 1000:
                self.say("quiet", changes=self.changes - before)
                return False
            if now - start > limit / 1000:
                self.say("busy", changes=self.changes - before)
                return False
            return True

        GLib.timeout_add(10, look)

    def dump(self, path, number=0):
        channel = self.find("display", number)
        primary = Primary()
        if channel is None or not LIBRARY.spice_display_channel_get_primary(
            pointer_of(channel), 0, ctypes.byref(primary)
        ):
            self.say("dumped", path=None, error="no primary surface")
            return
        rgb = rows_to_rgb(primary)
        with open(path, "wb") as file:
            file.write(b"P6\n%d %d\n255\n" % (primary.width, primary.height))
            file.write(rgb)
        self.say(
            "dumped",
            path=path,
            width=primary.width,
            height=primary.height,
            sha256=hashlib.sha256(rgb).hexdigest(),
        )

    def wish(self, words):
        """The monitors that the user wants, told to the guest at once."""
        main = self.find("main")
        main.set_property("disable-display-align", words[0] == "raw")
        words = [word for word in words if word != "raw"]
        for index, word in enumerate(words):
            width, height, x, y = (int(text) for text in re.fullmatch(r"(\d+)x(\d+)([+-]\d+)([+-]\d+)", word).groups())
            main.update_display_enabled(index, width > 0, False)
            if width:
                main.update_display(index, x, y, width, height, False)
        self.say("wished", sent=main.send_monitor_config())

    def state(self):
        main, inputs = self.find("main"), self.find("inputs")
        self.say(
            "state",
            channels=sorted([name, number] for name, number in self.channels),
            up=sorted([name, number] for name, number in self.up),
            mouse_mode={1: "server", 2: "client"}.get(main.get_property("mouse-mode"), "?") if main else None,
            modifiers=inputs.get_property("key-modifiers") if inputs else None,
            name=self.session.get_property("name"),
            changes=self.changes,
            bytes=sum(channel.get_property("total-read-bytes") for channel in self.channels.values()),
        )

    def key(self, how, codes):
        inputs = self.inputs()
        for code in codes if inputs else ():
            if how in ("press", "tap"):
                inputs.key_press(code)
            if how in ("release", "tap"):
                inputs.key_release(code)

    def type(self, ms, count, *codes):
        left = iter(range(count))

        def tick():
            number = next(left, None)
            if number is None:
                self.say("typed", count=count)
                return False
            self.key("tap", [codes[number % len(codes)]])
            return True

        GLib.timeout_add(ms, tick)

    def obey(self, line):
        word, *rest = line.split()
        numbers = []
        for text in rest:
            try:
                numbers.append(int(text, 0))
            except ValueError:
                break
        if word == "quiet":
            self.quiet(*numbers)
        elif word == "dump":
            self.dump(rest[0], *(int(text) for text in rest[1:]))
        elif word in ("tap", "press", "release"):
            self.key(word, numbers)
        elif word == "type":
            self.type(*numbers)
        elif word == "modifiers":
            self.inputs().set_key_locks(numbers[0])
        elif word == "motion":
            dx, dy, mask = (numbers + [0])[:3]
            self.inputs().motion(dx, dy, mask)
        elif word == "position":
            x, y, display, mask = (numbers + [0, 0])[:4]
            self.inputs().position(x, y, display, mask)
        elif word == "button-press":
            self.inputs().button_press(*(numbers + [0])[:2])
        elif word == "button-release":
            self.inputs().button_release(*(numbers + [0])[:2])
        elif word == "monitors":
            self.wish(rest)
        elif word == "state":
            self.state()
        elif word == "gap":
            self.say("gap", seconds=self.longest)
            self.longest, self.last_change = 0, time.monotonic()
        elif word == "quit":
            self.session.disconnect()
            GLib.timeout_add(100, self.loop.quit)
        elif not (self.agent and self.agent.obey(word, rest)):
            self.say("error", message=f"unknown command {word}")

    def stdin_ready(self, _fd, _condition):
        data = os.read(0, 65536)
        if not data:
            self.loop.quit()
            return False
        *lines, self.partial = (self.partial + data.decode()).split("\n")
        for line in lines:
            try:
                if line.strip():
                    self.obey(line)
            except Exception as error:  # a bad command must not end the client
                self.say("error", message=f"{line.strip()}: {error!r}")
        return True


def arguments(text):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5900, help="0: none")
    parser.add_argument("--tls-port")
    parser.add_argument("--ca-file", help="certificates of authorities, PEM")
    parser.add_argument("--cert-subject", help="what the server's certificate has to say, instead of the host's name")
    parser.add_argument("--secure-channels", help="comma separated names that must have TLS, or all")
    parser.add_argument("--unix", help="path of a unix socket instead of host and port")
    parser.add_argument("--password")
    parser.add_argument("--username", help="for SASL")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument("--glz-window", type=int, help="bytes of the dictionary, 4 for a pixel; 0 is the client's own choice")
    parser.add_argument("--verbose", action="store_true", help="one line per changed rectangle")
    parser.add_argument("--beacon", type=int, nargs=2, help="reports changed rectangles of this size, with the time")
    return parser


def run(client):
    GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, client.stdin_ready)
    client.loop.run()


def main():
    run(Client(arguments(__doc__).parse_args()))


if __name__ == "__main__":
    main()

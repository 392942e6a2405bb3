#!/usr/bin/python3
"""A stock client (spice-glib) for sound: writes what it hears to a file, and says what a file holds.

  sound_client.py --unix PATH | --port P [--hear FILE] [--say FILE]

Every event is one JSON line: "up" with a channel's name, "start" and "stop" of either channel with rate, "heard" with
the number of bytes at "count", "end". Lines on stdin: "count", "quit". What is said goes out in pieces of 10 ms by the
clock, from the host's start on; "said" comes when the file is at its end.
"""
import argparse
import ctypes
import json
import sys

import gi

gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib as Spice  # noqa: E402

from glib_client import LIBRARY, pointer_of  # noqa: E402

on = GObject.Object.connect
LIBRARY.spice_record_channel_send_data.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
LIBRARY.spice_record_channel_send_data.restype = None
PIECE = 1920

# Introspection has no way to hand over the bytes of playback-data: the handler is a C function.
HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
GOBJECT = ctypes.CDLL("libgobject-2.0.so.0")
GOBJECT.g_signal_connect_data.argtypes = [
    ctypes.c_void_p, ctypes.c_char_p, HANDLER, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int,
]
GOBJECT.g_signal_connect_data.restype = ctypes.c_ulong


class Client:
    def __init__(self, options):
        self.loop = GLib.MainLoop()
        self.heard = 0
        self.hear = open(options.hear, "wb") if options.hear else None
        self.said = open(options.say, "rb").read() if options.say else b""
        self.position = 0
        self.timer = None
        self.began = 0
        self.channels = []
        self.handler = HANDLER(self.data)
        session = self.session = Spice.Session()
        if options.unix:
            session.set_property("unix-path", options.unix)
        else:
            session.set_property("host", "127.0.0.1")
            session.set_property("port", str(options.port))
        session.set_property("enable-audio", True)
        for name in ("enable-usbredir", "enable-smartcard"):
            session.set_property(name, False)
        on(session, "channel-new", self.channel_new)
        on(session, "disconnected", lambda _: self.loop.quit())
        session.connect()

    @staticmethod
    def show(event, **fields):
        print(json.dumps({"event": event, **fields}), flush=True)

    def channel_new(self, _session, channel):
        if isinstance(channel, Spice.PlaybackChannel):
            on(channel, "playback-start", lambda _c, _f, _n, rate: self.show("start", channel="playback", rate=rate))
            on(channel, "playback-stop", lambda _c: self.show("stop", channel="playback"))
            GOBJECT.g_signal_connect_data(pointer_of(channel), b"playback-data", self.handler, None, None, 0)
        elif isinstance(channel, Spice.RecordChannel):
            on(channel, "record-start", self.record_start)
            on(channel, "record-stop", self.record_stop)
        elif not isinstance(channel, Spice.MainChannel):
            return
        on(channel, "channel-event", self.channel_event)
        self.channels.append(channel)
        channel.connect()

    def channel_event(self, channel, event):
        if event == Spice.ChannelEvent.OPENED:
            self.show("up", channel=Spice.Channel.type_to_string(channel.get_property("channel-type")))

    def data(self, _channel, bytes_, size, _unused):
        self.heard += size
        if self.hear:
            self.hear.write(ctypes.string_at(bytes_, size))

    def record_start(self, channel, _format, _channels, rate):
        self.show("start", channel="record", rate=rate)
        self.began = GLib.get_monotonic_time() - 10000 * (self.position // PIECE)
        self.timer = GLib.timeout_add(5, self.speak, channel)

    def record_stop(self, _channel):
        self.show("stop", channel="record")
        if self.timer:
            GLib.source_remove(self.timer)
        self.timer = None

    def speak(self, channel):
        due = (GLib.get_monotonic_time() - self.began) // 10000
        # What is late goes out at twice the pace at most: more at a time than 170 ms runs over in the host's ring.
        if self.position // PIECE < due:
            piece = self.said[self.position : self.position + PIECE]
            if len(piece) < PIECE:
                self.show("said")
                self.timer = None
                return False
            LIBRARY.spice_record_channel_send_data(pointer_of(channel), piece, len(piece), 0)
            self.position += PIECE
        return True

    def line(self, source, _condition):
        words = source.readline().split()
        if not words or words == ["quit"]:
            self.loop.quit()
            return False
        if words == ["count"]:
            if self.hear:
                self.hear.flush()
            self.show("heard", bytes=self.heard)
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unix")
    parser.add_argument("--port", type=int)
    parser.add_argument("--hear")
    parser.add_argument("--say")
    client = Client(parser.parse_args())
    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, client.line)
    client.loop.run()
    if client.hear:
        client.hear.close()
    client.show("end")


if __name__ == "__main__":
    main()

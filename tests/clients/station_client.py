#!/usr/bin/python3
"""glib_client.py with everything beside the picture: clipboard, files, USB, folders, ports and sound.

More commands, one per line:

  copy FILE...                 sends files to the agent; "copied" with error (None when all is well) and seconds
  cancel                       cancels what is being copied
  offer SELECTION TYPE FILE    owns the clipboard; the file is given to whoever asks ("asked")
  ask SELECTION TYPE           asks the guest for its clipboard; "clipboard" with size and sha256
  cd FILE                      makes a CD of an image and redirects it: "cd", then "usb" with error
  eject                        takes the CD away: "ejected"
  write PORT FILE [AHEAD]      writes a file to a port; "written" with seconds. AHEAD: at most so many bytes before as many have been
                               collected, for what comes back: a client that is stuck in writing does not read
  collect PORT COUNT           the next COUNT bytes of a port: "collected" with size, sha256 and seconds
  progress PORT                "progress": bytes collected, pieces that wait to be written
  say PORT TEXT                writes one line
  port-event PORT NUMBER       sends an event
  listen FILE                  what is played from now on goes to that file, raw; "listening"
  speak FILE                   what is recorded, raw samples in real time; silence after the end
  hear-no-more                 closes the file of `listen`; "heard" with the bytes

Events that come by themselves: agent, grab, port-new (a port's name), port (it opens or closes), port-text (lines of --text-port), playback and record
(start, stop, volume, mute).
"""
import collections
import ctypes
import hashlib
import time

from glib_client import GLib, LIBRARY, Client, Spice, arguments, on, pointer_of, run
from gi.repository import Gio

PIECE = 1 << 16
FINISHED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
LIBRARY.spice_port_channel_write_async.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, FINISHED, ctypes.c_void_p]
LIBRARY.spice_port_channel_write_async.restype = None
LIBRARY.spice_port_channel_write_finish.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
LIBRARY.spice_port_channel_write_finish.restype = ctypes.c_ssize_t
LIBRARY.spice_record_channel_send_data.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32]
LIBRARY.spice_record_channel_send_data.restype = None


class Port:
    """A port channel: what is written goes piece by piece, what comes is counted."""

    def __init__(self, client, channel, text_port):
        self.client, self.channel, self.text_port = client, channel, text_port
        self.name, self.line = None, b""
        self.queue, self.sending, self.begun = collections.deque(), None, 0
        self.want, self.collected, self.hash, self.since = 0, 0, None, 0
        self.ahead, self.sent, self.held = None, 0, False
        # Kept: C calls it long after the call that it was handed to.
        self.finished = FINISHED(self.piece_done)
        on(channel, "port-data", self.data)
        on(channel, "port-event", lambda _c, event: client.say("port-event", port=self.name, value=event))
        on(channel, "notify::port-name", self.named)
        on(channel, "notify::port-opened", self.opened)

    def named(self, channel, _pspec):
        self.name = channel.get_property("port-name")
        if self.client.ports.get(self.name) is not self:
            self.client.ports[self.name] = self
            self.client.say("port-new", port=self.name)

    def opened(self, channel, _pspec):
        if self.name is None:
            self.named(channel, None)
        self.client.say("port", port=self.name, opened=channel.get_property("port-opened"))

    def data(self, _channel, pointer, size):
        data = ctypes.string_at(pointer, size)
        if self.name == self.text_port:
            *lines, self.line = (self.line + data).split(b"\n")
            for line in lines:
                self.client.say("port-text", port=self.name, text=line.decode(errors="replace").strip(), ms=time.monotonic() * 1000)
        if self.want:
            data = data[: self.want - self.collected]
            self.hash.update(data)
            self.collected += len(data)
            if self.held and self.sent - self.collected < self.ahead:
                self.held = False
                self.next_piece()
            if self.collected == self.want:
                self.want = 0
                self.client.say("collected", port=self.name, size=self.collected, sha256=self.hash.hexdigest(),
                                seconds=time.monotonic() - self.since)

    def collect(self, count):
        self.want, self.collected, self.hash, self.since = count, 0, hashlib.sha256(), time.monotonic()

    def write(self, data, ahead=None):
        self.ahead, self.sent = ahead, 0
        self.queue.extend(data[at : at + PIECE] for at in range(0, len(data), PIECE))
        self.begun = time.monotonic()
        if self.sending is None:
            self.next_piece()

    def next_piece(self):
        if self.ahead and self.sent - self.collected >= self.ahead:
            self.held = True
            return
        self.sending = self.queue.popleft()
        self.sent += len(self.sending)
        LIBRARY.spice_port_channel_write_async(pointer_of(self.channel), self.sending, len(self.sending), None, self.finished, None)

    def piece_done(self, source, result, _data):
        done = LIBRARY.spice_port_channel_write_finish(source, result, None)
        if done != len(self.sending):
            self.client.say("error", message=f"a port took {done} of {len(self.sending)} bytes")
        self.sending = None
        if self.queue:
            self.next_piece()
        else:
            self.client.say("written", port=self.name, seconds=time.monotonic() - self.begun)


class Station(Client):
    def prepare(self, options):
        self.text_port, self.skip = options.text_port, options.skip.split(",")
        self.ports, self.offers, self.cancellable = {}, {}, None
        self.heard, self.voice, self.speaking, self.spoken = None, b"", False, 0
        self.recorder = self.usb = self.disc = None
        self.session.set_property("enable-usbredir", options.usbredir)
        if options.shared_dir:
            self.session.set_property("shared-dir", options.shared_dir)
            self.session.set_property("share-dir-ro", False)
        if options.usbredir:
            self.usb = Spice.UsbDeviceManager.get(self.session)
            on(self.usb, "device-added", self.device_added)
            on(self.usb, "device-error", lambda _m, _d, error: self.say("usb", error=error.message))

    def channel_new(self, session, channel):
        name = Spice.Channel.type_to_string(channel.get_property("channel-type"))
        if name in self.skip or f"{name}:{channel.get_property('channel-id')}" in self.skip:
            self.say("skipped", channel=name, id=channel.get_property("channel-id"))
            return
        if isinstance(channel, Spice.MainChannel):
            for signal, handler in (
                ("main-agent-update", self.agent_update), ("main-clipboard-selection", self.clipboard),
                ("main-clipboard-selection-grab", self.grabbed), ("main-clipboard-selection-request", self.asked),
                ("main-clipboard-selection-release", lambda _c, selection: self.say("release", selection=selection)),
            ):
                on(channel, signal, handler)
        elif isinstance(channel, Spice.PortChannel):
            Port(self, channel, self.text_port)
        elif isinstance(channel, Spice.PlaybackChannel):
            on(channel, "playback-start", lambda _c, form, count, rate: self.say("playback", what="start", channels=count, rate=rate))
            on(channel, "playback-data", self.sound)
            on(channel, "playback-stop", lambda _c: self.say("playback", what="stop"))
            self.watch_volume(channel, "playback")
        elif isinstance(channel, Spice.RecordChannel):
            self.recorder = channel
            on(channel, "record-start", self.record_start)
            on(channel, "record-stop", self.record_stop)
            self.watch_volume(channel, "record")
        super().channel_new(session, channel)

    # ---- agent

    def agent_update(self, channel):
        self.say("agent", connected=channel.get_property("agent-connected"), caps=channel.get_property("agent-caps-0"))

    def grabbed(self, _channel, selection, types, _count):
        self.say("grab", selection=selection, types=list(types))
        return True

    def asked(self, channel, selection, kind):
        self.say("asked", selection=selection, type=kind)
        data = self.offers.get((selection, kind))
        if data is None:
            return False
        channel.clipboard_selection_notify(selection, kind, data)
        return True

    def clipboard(self, _channel, selection, kind, pointer, size):
        data = ctypes.string_at(pointer, size) if size else b""
        self.say("clipboard", selection=selection, type=kind, size=size, sha256=hashlib.sha256(data).hexdigest())

    def copy(self, paths):
        begun = time.monotonic()
        self.cancellable = Gio.Cancellable()

        def finished(channel, result):
            error = None
            try:
                channel.file_copy_finish(result)
            except GLib.Error as failure:
                error = failure.message
            self.say("copied", error=error, seconds=time.monotonic() - begun)

        files = [Gio.File.new_for_path(path) for path in paths]
        self.find("main").file_copy_async(files, Gio.FileCopyFlags.NONE, self.cancellable, None, None, finished)

    # ---- USB

    def device_added(self, manager, device):
        if manager.is_device_shared_cd(device):
            # Not looked up by get_devices() later: through PyGObject that drops a reference too many of each device, and the manager is left with
            # freed ones in its list. Then the next CD is one that it "has already", and is not shown.
            self.disc = device
        self.say("usb-device", text=device.get_description(None), cd=manager.is_device_shared_cd(device))

        def connected(_manager, result):
            error = None
            try:
                manager.connect_device_finish(result)
            except GLib.Error as failure:
                error = failure.message
            self.say("usb", error=error)

        if manager.is_device_shared_cd(device):
            manager.connect_device_async(device, None, connected)

    # ---- sound

    def watch_volume(self, channel, name):
        on(channel, "notify::volume", lambda *_: self.volume(channel, name))
        on(channel, "notify::mute", lambda *_: self.say(name, what="mute", value=channel.get_property("mute")))

    def volume(self, channel, name):
        count = channel.get_property("nchannels")
        pointer = channel.get_property("volume")
        levels = list((ctypes.c_uint16 * count).from_address(pointer)) if pointer and count else []
        self.say(name, what="volume", levels=levels)

    def sound(self, _channel, pointer, size):
        if self.heard:
            self.heard.write(ctypes.string_at(pointer, size))

    def record_start(self, _channel, _format, channels, rate):
        self.say("record", what="start", channels=channels, rate=rate)
        self.speaking, self.spoken = True, 0
        begun = time.monotonic()

        def tick():
            if not self.speaking:
                return False
            # 480 frames are 10 ms; what is late is made up for at once.
            while self.speaking and self.spoken * 0.01 <= time.monotonic() - begun:
                at = self.spoken * 1920
                data = self.voice[at : at + 1920].ljust(1920, b"\0")
                LIBRARY.spice_record_channel_send_data(pointer_of(self.recorder), data, 1920, self.spoken * 10)
                self.spoken += 1
            return True

        GLib.timeout_add(5, tick)

    def record_stop(self, _channel):
        self.speaking = False
        self.say("record", what="stop")

    # ---- commands

    def obey(self, line):
        word, *rest = line.split()
        main = self.find("main")
        if word == "copy":
            self.copy(rest)
        elif word == "cancel":
            self.cancellable.cancel()
        elif word == "offer":
            selection, kind = int(rest[0]), int(rest[1])
            with open(rest[2], "rb") as file:
                self.offers[(selection, kind)] = file.read()
            main.clipboard_selection_grab(selection, [kind])
        elif word == "ask":
            main.clipboard_selection_request(int(rest[0]), int(rest[1]))
        elif word == "cd":
            self.say("cd", made=self.usb.create_shared_cd_device(rest[0]))
        elif word == "eject":
            if self.disc and self.usb.is_device_connected(self.disc):
                self.usb.disconnect_device_async(self.disc, None, lambda *_: self.say("ejected"))
        elif word == "write":
            with open(rest[1], "rb") as file:
                self.ports[rest[0]].write(file.read(), *(int(text) for text in rest[2:]))
        elif word == "collect":
            self.ports[rest[0]].collect(int(rest[1]))
        elif word == "progress":
            port = self.ports[rest[0]]
            self.say("progress", port=rest[0], collected=port.collected, waiting=len(port.queue), sending=port.sending is not None)
        elif word == "say":
            self.ports[rest[0]].write(line.split(None, 2)[2].encode() + b"\n")
        elif word == "port-event":
            self.ports[rest[0]].channel.event(int(rest[1]))
        elif word == "listen":
            self.heard = open(rest[0], "wb")
            self.say("listening")
        elif word == "hear-no-more":
            size = self.heard.tell()
            self.heard.close()
            self.heard = None
            self.say("heard", bytes=size)
        elif word == "speak":
            with open(rest[0], "rb") as file:
                self.voice = file.read()
        else:
            super().obey(line)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--usbredir", action="store_true")
    parser.add_argument("--shared-dir", help="the folder that the guest may read and write")
    parser.add_argument("--text-port", help="a port whose lines are shown")
    parser.add_argument("--skip", default="", help="channels that are not connected, comma separated: types, or one as port:1")
    run(Station(parser.parse_args()))


if __name__ == "__main__":
    main()

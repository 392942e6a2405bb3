#!/usr/bin/python3
"""Char devices of stock QEMU before a client made of sockets: a port that is QEMU's monitor, USB redirection, a smartcard
reader and webdav.

  devices.py [--lib DIR]

Without --lib it is QEMU on spice-server. PASS or FAIL per check.
"""
import argparse
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))

from device_scripts import ERROR, NONE, READER_ADD, READER_REMOVE, card  # noqa: E402
from device_session import CHANNELS_LIST, DATA, PORT, SMARTCARD, USBREDIR, WEBDAV  # noqa: E402
from hosts import Report  # noqa: E402
from raw_client import ATTACH_CHANNELS, MAIN_INIT, Channel  # noqa: E402
from relay import MAIN  # noqa: E402

MACHINE = [
    "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35,accel=tcg", "-m", "64",
    "-chardev", "spiceport,id=monitor,name=org.test.monitor", "-mon", "chardev=monitor,mode=readline",
    "-device", "ich9-usb-ehci1,id=usb", "-device", "ich9-usb-uhci1,masterbus=usb.0,firstport=0,multifunction=on",
    "-chardev", "spicevmc,name=usbredir,id=redirected", "-device", "usb-redir,chardev=redirected,id=redirected",
    "-device", "usb-ccid", "-chardev", "spicevmc,name=smartcard,id=card", "-device", "ccid-card-passthru,chardev=card",
    "-device", "virtio-serial", "-chardev", "spiceport,name=org.spice-space.webdav.0,id=folders",
    "-device", "virtserialport,chardev=folders,name=org.spice-space.webdav.0",
]  # fmt: skip


class Link:
    """One channel, read until something is there."""

    def __init__(self, address, kind, session=0):
        self.messages = []
        self.channel = Channel(address, kind, session, 0, True, lambda *message: self.messages.append(message))

    def until(self, done, limit=10):
        end = time.monotonic() + limit
        self.channel.socket.settimeout(0.1)
        while not (found := done(self.messages)) and time.monotonic() < end:
            try:
                if not self.channel.read():
                    return None
            except TimeoutError:
                continue
        return found

    def data(self):
        return b"".join(body for kind, body in self.messages if kind == DATA)


def listens(path):
    try:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def start(scratch, lib):
    path = os.path.join(scratch, "spice")
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    if lib:
        environment["LD_LIBRARY_PATH"] = lib
    log = open(os.path.join(scratch, "log"), "wb")
    options = f"unix=on,addr={path},disable-ticketing=on"
    machine = subprocess.Popen([*MACHINE, "-spice", options], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + 60
    # The socket is there a moment before it listens.
    while not listens(path):
        if machine.poll() is not None or time.monotonic() > end:
            log.close()
            with open(log.name, encoding="utf-8", errors="replace") as text:
                raise SystemExit(f"FAIL QEMU does not start: {text.read()[-500:]}")
        time.sleep(0.05)
    return machine, path


def monitor(report, address, session):
    link = Link(address, PORT, session)
    # The state that a client gives a port is its opening: the monitor greets then.
    greeting = link.until(lambda m: b"(qemu)" in b"".join(b for k, b in m if k == DATA))
    name = [body for kind, body in link.messages if kind == 201]
    report.check("port: its name and the monitor's greeting", greeting and name and b"org.test.monitor\0" in name[0])
    link.messages.clear()
    link.channel.send(DATA, b"info version\n")
    answer = link.until(lambda m: re.search(rb"\d+\.\d+\.\d+", link.data()))
    report.check("port: a command and its answer", bool(answer), link.data()[-60:].decode(errors="replace"))
    link.messages.clear()
    # More than a window of messages and far more than one read of answers.
    link.channel.socket.settimeout(10)
    link.channel.socket.sendall((struct.pack("<HI", DATA, 11) + b"info qtree\n") * 300)
    count = link.until(lambda m: link.data().count(b"(qemu) ") >= 300, 60)
    report.check("port: 300 commands with long answers", bool(count), f"{len(link.data())} bytes")
    return link


def devices(messages):
    """All devices' channels that the main channel has named."""
    pairs = []
    for body in (body for kind, body in messages if kind == CHANNELS_LIST):
        pairs += [(body[4 + 2 * i], body[5 + 2 * i]) for i in range(struct.unpack_from("<I", body)[0])]
    return sorted(pair for pair in pairs if pair[0] >= SMARTCARD)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="devices-") as scratch:
        machine, address = start(scratch, arguments.lib)
        try:
            main_link = Link(address, MAIN)
            found = main_link.until(lambda m: [body for kind, body in m if kind == MAIN_INIT])
            session = struct.unpack_from("<I", found[0])[0]
            main_link.channel.send(ATTACH_CHANNELS)
            wanted = [(SMARTCARD, 0), (USBREDIR, 0), (PORT, 0), (WEBDAV, 0)]
            # QEMU may still be adding devices: those come in lists of their own.
            main_link.until(lambda m: devices(m) == wanted)
            report.check("channels", devices(main_link.messages) == wanted, f"{devices(main_link.messages)}")
            link = monitor(report, address, session)

            usb = Link(address, USBREDIR, session)
            # usbredir's hello: a header (type, length, id) and the version text.
            hello = usb.until(lambda m: usb.data() if len(usb.data()) >= 76 else None)
            report.check("usbredir: QEMU says hello", bool(hello) and hello[:4] == bytes(4) and b"qemu" in hello[:76], f"{(hello or b'')[12:60]!r}")
            usb.channel.socket.close()
            time.sleep(0.3)
            usb = Link(address, USBREDIR, session)
            again = usb.until(lambda m: len(usb.data()) >= 76)
            report.check("usbredir: and again to the next client", bool(again))

            reader = Link(address, SMARTCARD, session)
            for kind, name in ((READER_ADD, "added"), (READER_REMOVE, "removed"), (READER_ADD, "added again")):
                reader.messages.clear()
                reader.channel.send(DATA, card(kind, NONE if kind == READER_ADD else 0))
                answer = reader.until(lambda m: [body for k, body in m if k == DATA])
                good = answer and answer[0] == card(ERROR, 0, bytes(4))
                report.check(f"smartcard: the reader is {name}", bool(good), f"{answer}")

            # A device that goes while its client is here, and one that comes.
            link.messages.clear()
            link.channel.send(DATA, b"device_del redirected\n")
            gone = usb.until(lambda m: False, 3)
            report.check("usbredir: unplugged, the channel ends", gone is None)
            link.channel.send(DATA, b"chardev-remove redirected\nchardev-add spicevmc,name=usbredir,id=other\ndevice_add usb-redir,chardev=other,id=other\n")
            main_link.messages.clear()
            main_link.until(devices)
            new = devices(main_link.messages)
            report.check("usbredir: plugged in, clients hear of it", new == [(USBREDIR, 0)], f"{new}")
            usb = Link(address, USBREDIR, session)
            report.check("usbredir: it says hello", bool(usb.until(lambda m: len(usb.data()) >= 76)))
            report.check("QEMU lives", machine.poll() is None)
        finally:
            machine.kill()
            machine.wait()
    return report.failures > 0


if __name__ == "__main__":
    sys.exit(main())

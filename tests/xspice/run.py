#!/usr/bin/python3
"""Xspice (Xorg with the spiceqxl driver) on a libspice-server: a client's picture equals xwd's.

  run.py [--lib DIR] [--keep DIR] [--verbose]

Needs xserver-xspice, xterm, x11-apps (xwd, xlogo), imagemagick and the client of ../clients.
"""
import argparse
import os
import shutil
import sys
import tempfile
import time

from screen import Screen
from driver import Client, difference  # screen.py knows where it is

TOOLS = ("Xspice", "xterm", "xwd", "xlogo", "convert")
# Set-1 codes of: echo hallo, Enter
TYPED = (0x12, 0x2E, 0x23, 0x18, 0x39, 0x23, 0x1E, 0x26, 0x26, 0x18, 0x1C)
failures = 0


def report(name, wrong=None):
    global failures
    failures += wrong is not None
    print(f"{'FAIL' if wrong else 'PASS'} {name}{': ' + str(wrong) if wrong else ''}", flush=True)


def compare(screen, client, name, keep):
    """Client and xwd agree within a few seconds."""
    theirs, ours = os.path.join(screen.directory, "client.ppm"), os.path.join(screen.directory, "xwd.ppm")
    wrong = None
    for _ in range(4):
        client.quiet(500, 10000)
        if not screen.dump(ours):
            wrong = "xwd failed"
            continue
        client.quiet(500, 10000)
        wrong = "client has no picture" if not client.dump(theirs) else difference(ours, theirs)
        if not wrong:
            break
    if keep:
        os.makedirs(keep, exist_ok=True)
        for path in (theirs, ours):
            if os.path.exists(path):
                shutil.copy(path, os.path.join(keep, f"{name.replace(' ', '-')}-{os.path.basename(path)}"))
    report(name, wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", help="directory with the libspice-server.so.1 to test")
    parser.add_argument("--keep", help="directory for the pictures")
    parser.add_argument("--verbose", action="store_true", help="show Xorg's output")
    options = parser.parse_args()
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print(f"SKIPPED xspice: not installed: {' '.join(missing)}")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        screen = Screen(options.lib and os.path.abspath(options.lib), scratch, options.verbose)
        try:
            report("Xspice starts", None if screen.up else f"no X server, exit {screen.process.poll()}")
            if not screen.up:
                return 1
            print(f"     on {screen.server()[1]}")
            client = Client(port=screen.port)
            report("client connects", None if client.connected() else "no main, inputs or picture")
            compare(screen, client, "empty screen", options.keep)
            font = ["-fa", "", "-fn", "fixed", "-xrm", "XTerm*cursorBlink: false"]
            screen.start("xterm", *font, "-geometry", "100x40+10+10", "-e", "/bin/sh")
            time.sleep(2)
            compare(screen, client, "xterm", options.keep)
            for code in TYPED:
                client.send("tap", hex(code))
                time.sleep(0.05)
            before = client.state()["changes"]
            time.sleep(1)
            compare(screen, client, "typed into xterm", options.keep)
            screen.start("xterm", *font, "-geometry", "90x30+200+150", "-e",
                         "/bin/sh", "-c", "ls -lR --color=always /usr/share/doc | head -3000; exec sleep 1000")
            screen.start("xlogo", "-geometry", "200x200+600+300")
            time.sleep(3)
            compare(screen, client, "scrolled text and xlogo", options.keep)
            after = client.state()["changes"]
            report("client saw the drawing", None if after > before else "no change seen")
            client.close()
            with Client(port=screen.port) as late:
                report("second client connects", None if late.connected() else "refused")
                compare(screen, late, "late client", options.keep)
            report("X server still runs", None if screen.process.poll() is None else "it ended")
        finally:
            screen.end()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

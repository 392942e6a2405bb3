#!/usr/bin/python3
"""Xspice (Xorg with the spiceqxl driver) on a libspice-server: a client's picture equals xwd's.

  run.py [--lib DIR] [--keep DIR] [--verbose]

Needs xserver-xspice, xterm, x11-apps (xwd, xlogo), imagemagick and the client of ../clients.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from driver import Client, difference, free_port  # noqa: E402

# The packaged driver takes 0 for every size that is not given, and dies on it.
SIZES = {
    "QXL_FRAME_BUFFER_SIZE": "16",
    "QXL_SURFACE_BUFFER_SIZE": "128",
    "QXL_COMMAND_BUFFER_SIZE": "128",
    "QXL_NUM_HEADS": "1",
    "QXL_ENABLE_SURFACES": "1",
    "QXL_ENABLE_IMAGE_CACHE": "1",
    "QXL_ENABLE_FALLBACK_CACHE": "1",
}
TOOLS = ("Xspice", "xterm", "xwd", "xlogo", "convert")
# Set-1 codes of: echo hallo, Enter
TYPED = (0x12, 0x2E, 0x23, 0x18, 0x39, 0x23, 0x1E, 0x26, 0x26, 0x18, 0x1C)
failures = 0


def report(name, wrong=None):
    global failures
    failures += wrong is not None
    print(f"{'FAIL' if wrong else 'PASS'} {name}{': ' + str(wrong) if wrong else ''}", flush=True)


class Screen:
    """One Xspice on a free display and port, in a process group of its own."""

    def __init__(self, library, directory, verbose):
        self.directory = directory
        self.port = free_port()
        number = next(n for n in range(121, 160) if not os.path.exists(f"/tmp/.X11-unix/X{n}"))
        self.display = f":{number}"
        environment = dict(os.environ, **SIZES)
        environment.pop("DISPLAY", None)
        if library:
            environment["LD_LIBRARY_PATH"] = library
        output = None if verbose else subprocess.DEVNULL
        self.process = subprocess.Popen(
            ["Xspice", "--auto", "--disable-ticketing", "--port", str(self.port), self.display, "-nocursor", "-noreset"],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )
        end = time.monotonic() + 20
        self.up = False
        while time.monotonic() < end and not self.up and self.process.poll() is None:
            time.sleep(0.2)
            self.up = os.path.exists(f"/tmp/.X11-unix/X{number}") and self.run("xwd", "-root", "-out", "/dev/null") == 0
        self.programs = []

    def environment(self):
        environment = dict(os.environ, DISPLAY=self.display)
        environment.pop("LD_LIBRARY_PATH", None)
        return environment

    def run(self, *command):
        try:
            return subprocess.run(
                command, env=self.environment(), timeout=20, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ).returncode
        except subprocess.TimeoutExpired:
            return -1

    def start(self, *command):
        self.programs.append(
            subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )

    def library(self):
        """The libspice-server file that the X server mapped; looked up among our own process group."""
        group = os.getpgid(self.process.pid)
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getpgid(int(entry)) != group:
                    continue
                with open(f"/proc/{entry}/maps") as maps:
                    for line in maps:
                        if "libspice-server" in line:
                            return line.split()[-1]
            except OSError:
                continue
        return None

    def dump(self, path):
        xwd = path + ".xwd"
        if self.run("xwd", "-root", "-silent", "-out", xwd) != 0:
            return False
        return self.run("convert", f"xwd:{xwd}", "-depth", "8", path) == 0

    def end(self):
        for program in self.programs:
            program.terminate()
            program.wait()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


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
        screen = Screen(os.path.abspath(options.lib) if options.lib else None, scratch, options.verbose)
        try:
            report("Xspice starts", None if screen.up else f"no X server, exit {screen.process.poll()}")
            if not screen.up:
                return 1
            print(f"     on {screen.library()}")
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

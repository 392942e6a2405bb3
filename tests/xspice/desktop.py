#!/usr/bin/python3
"""A busy desktop on Xspice: text, pictures, gears, a film and dragged windows, all at once, seen by stock clients.

  desktop.py [--lib DIR] [--seconds 600 | --work N] [--compression off] [--seed 1] [--keep DIR] [--verbose]

One client stays for the whole time, a second one comes and goes at random. Every few seconds all programs are stopped
(SIGSTOP), and the server's picture (picture.py) must be that of every client, pixel for pixel. At the end come what the X server's
process used and grew to; with the system's library (no --lib) the same figures for comparison.

--work N is for comparison of two libraries: N rounds of a fixed amount of work (text, a film to its end, pictures, dragged windows, no
gears), with one client; what it took is printed.

Needs what run.py needs, and openbox, feh, mesa-utils (glxgears), ffmpeg and xdotool.
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from screen import Screen
from driver import Client, difference, read_ppm  # screen.py knows where it is

TOOLS = ("Xspice", "xterm", "convert", "openbox", "feh", "glxgears", "ffmpeg", "ffplay", "xdotool", "xrandr")
# Lossless on both libraries, and several clients at once on the one that hides it behind this variable.
XSPICE = ("--streaming-video", "off", "--jpeg-wan-compression", "never", "--zlib-glz-wan-compression", "never")
SETTINGS = {"SPICE_DEBUG_ALLOW_MC": "1"}
PLAIN_FONT = ("-fa", "", "-fn", "fixed", "-xrm", "XTerm*cursorBlink: false")
SMOOTH_FONT = ("-fa", "Monospace", "-fs", "9", "-xrm", "XTerm*cursorBlink: false")
PRINTING = "while :; do ls -lR --color=always /usr/share/X11 /etc | head -4000; sleep 0.3; done"
SCROLLING = "while :; do seq -f '%g: the quick brown fox jumps over the lazy dog' 1 300; sleep 0.2; done"
TICKS = os.sysconf("SC_CLK_TCK")


class Wrong(Exception):
    pass


def make_material(directory, seed):
    """Pictures with many colours, soft and noisy, and a film; nothing is taken from elsewhere."""
    pictures = os.path.join(directory, "pictures")
    os.mkdir(pictures)
    recipes = (
        ("-size", "900x700", "plasma:fractal", "-blur", "0x2", "-attenuate", "0.3", "+noise", "Gaussian"),
        ("-size", "640x480", "plasma:tomato-steelblue", "-swirl", "180"),
        ("-size", "800x600", "gradient:navy-gold"),
        ("-size", "300x300", "xc:gray", "+noise", "Random"),
    )
    for number, recipe in enumerate(recipes):
        subprocess.run(
            ["convert", "-seed", str(seed + number), *recipe, os.path.join(pictures, f"{number}.png")], check=True, timeout=60
        )
    film = os.path.join(directory, "film.mkv")
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=8",
         "-c:v", "mpeg4", "-q:v", "3", film], check=True, timeout=60,
    )
    return pictures, film


class Usage:
    """What a process used: processor time, memory, threads."""

    def __init__(self, pid):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        self.user, self.system, self.threads = int(fields[11]) / TICKS, int(fields[12]) / TICKS, int(fields[17])
        with open(f"/proc/{pid}/status") as file:
            values = dict(line.split(":", 1) for line in file)
        self.rss = int(values["VmRSS"].split()[0]) // 1024


class Desktop:
    def __init__(self, screen, chance, options):
        self.screen, self.chance, self.options = screen, chance, options
        self.windows = ()
        self.visitor = None
        self.counts = dict.fromkeys(("drags", "still", "late", "second looks", "visitors", "pictures"), 0)
        self.width, self.height = 0, 0

    # ---- programs

    def start(self, pictures, film, log):
        screen = self.screen
        screen.start("openbox")
        self.programs = [
            screen.start("xterm", "-T", "printing", *PLAIN_FONT, "-geometry", "80x24+10+40", "-e", "/bin/sh", "-c", PRINTING),
            screen.start("xterm", "-T", "scrolling", *SMOOTH_FONT, "-geometry", "70x20+400+300", "-e", "/bin/sh", "-c", SCROLLING),
            screen.start("glxgears", "-geometry", "250x250+600+60", output=log, LIBGL_ALWAYS_SOFTWARE="1"),
            screen.start("ffplay", "-loglevel", "quiet", "-an", "-loop", "0", "-left", "300", "-top", "100", film,
                         SDL_RENDER_DRIVER="software", SDL_AUDIODRIVER="dummy"),
            screen.start("feh", "--auto-zoom", "--geometry", "420x320+80+350", pictures),
        ]
        self.find_windows()

    def work(self, rounds, pictures, film):
        """The same amount of work whatever the time it takes; leaves the programs to end()."""
        screen = self.screen
        screen.start("openbox")
        for number in range(rounds):
            self.windows = ()
            self.programs = [
                screen.start("feh", "--auto-zoom", "--geometry", "420x320+80+350", pictures),
                screen.start("xterm", "-T", "printing", *PLAIN_FONT, "-geometry", "80x24+10+40", "-e", "/bin/sh", "-c",
                             "seq -f '%g: the quick brown fox jumps over the lazy dog' 1 20000; sleep 1000"),
                screen.start("xterm", "-T", "scrolling", *SMOOTH_FONT, "-geometry", "70x20+400+300", "-e", "/bin/sh", "-c",
                             "seq -f '%g: the quick brown fox jumps over the lazy dog' 1 5000; sleep 1000"),
            ]
            self.find_windows()
            self.width, self.height = 1024, 768
            for _ in range(10):
                self.drag()
                self.turn_pages()
            player = screen.start("ffplay", "-loglevel", "quiet", "-an", "-autoexit", "-noframedrop", "-left", "300", "-top", "100",
                                  film, SDL_RENDER_DRIVER="software", SDL_AUDIODRIVER="dummy")
            try:
                player.wait(300)
            except subprocess.TimeoutExpired as error:
                raise Wrong(f"round {number}: the film did not end in 300 s") from error
            screen.stop(self.programs)

    def find_windows(self):
        """Waits for the windows of all programs."""
        end = time.monotonic() + 90
        while len(self.windows) < len(self.programs):
            if time.monotonic() > end:
                raise Wrong(f"only {len(self.windows)} windows of {len(self.programs)} programs came")
            # Titles are enough: every program has one window with a name, the window manager's own have none or its own.
            self.windows = self.xdotool("search", "--onlyvisible", "--name", "^(printing|scrolling|glxgears|feh .*|.*film.mkv)$")
        self.viewer = self.xdotool("search", "--onlyvisible", "--class", "feh")[0]

    def xdotool(self, *words, timeout=90):
        try:
            return subprocess.run(
                ["xdotool", *map(str, words)], env=self.screen.environment(), timeout=timeout,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            ).stdout.decode().split()
        except subprocess.TimeoutExpired as error:
            raise Wrong(f"the X server did not answer xdotool {words[0]} in {timeout} s; {self.threads()}") from error

    def threads(self):
        """What the X server's threads do, as far as the kernel tells: name, state, what it waits in, processor time."""
        said = []
        task = f"/proc/{self.screen.server()[0]}/task"
        for thread in os.listdir(task):
            parts = {}
            for name in ("comm", "wchan", "stat"):
                with open(f"{task}/{thread}/{name}") as file:
                    parts[name] = file.read().strip()
            stat = parts["stat"].rsplit(")", 1)[1].split()
            said.append(f"{parts['comm']} {stat[0]} {parts['wchan']} {(int(stat[11]) + int(stat[12])) / TICKS:.1f} s")
        return ", ".join(said)

    def signal(self, number):
        for program in self.programs:
            if program.poll() is not None:
                raise Wrong(f"{program.args[0]} ended by itself, status {program.returncode}")
            # xterm puts its shell into a session of its own.
            for child in descendants(program.pid):
                try:
                    os.kill(child, number)
                except ProcessLookupError:
                    pass
            os.kill(program.pid, number)

    # ---- what a user does

    def drag(self):
        """Takes a window anywhere (Alt and a button, 1 moves, 3 resizes) and moves it in many small steps."""
        window = self.chance.choice(self.windows)
        place = dict(word.split("=") for word in self.xdotool("getwindowgeometry", "--shell", window) if "=" in word)
        x = min(max(int(place["X"]) + int(place["WIDTH"]) // 2, 5), self.width - 5)
        y = min(max(int(place["Y"]) + int(place["HEIGHT"]) // 2, 5), self.height - 5)
        to_x, to_y = self.chance.randrange(60, self.width - 60), self.chance.randrange(60, self.height - 60)
        button = 3 if self.chance.random() < 0.15 else 1
        if button == 3:
            to_x, to_y = x + self.chance.randrange(-40, 41), y + self.chance.randrange(-40, 41)
        words = ["windowraise", window, "mousemove", x, y, "keydown", "alt", "mousedown", button]
        steps = 25
        for step in range(1, steps + 1):
            words += ["mousemove", x + (to_x - x) * step // steps, y + (to_y - y) * step // steps, "sleep", "0.02"]
        self.xdotool(*words, "mouseup", button, "keyup", "alt")
        self.counts["drags"] += 1

    def turn_pages(self):
        """Next picture, zoom and pan in the picture viewer."""
        keys = self.chance.choices(("Right", "Up", "Up", "Down", "ctrl+Right", "ctrl+Down", "ctrl+Left"), k=4)
        self.xdotool("windowraise", self.viewer, "windowfocus", self.viewer, "key", "--delay", "60", *keys)
        self.counts["pictures"] += 1

    def change_visitor(self):
        """The second client comes; or it goes, in an orderly way or not."""
        if self.visitor is None:
            self.visitor = Client(port=self.screen.port)
            self.counts["visitors"] += 1
        else:
            self.visitor.close() if self.chance.random() < 0.5 else self.visitor.kill()
            self.visitor = None

    # ---- what has to hold

    def look(self, staying):
        """With everything stopped, the server's picture is that of every client."""
        self.signal(signal.SIGSTOP)
        try:
            number = self.counts["still"] = self.counts["still"] + 1
            with_late = self.visitor is None and self.chance.random() < 0.5
            late = Client(port=self.screen.port) if with_late else self.visitor
            if late and not self.through(late):
                raise Wrong(f"still picture {number}: the second client did not get through")
            self.same({"staying": staying, **({"second": late} if late else {})}, number)
            if late:
                self.counts["late"] += 1
            if with_late:
                late.close()
        finally:
            self.signal(signal.SIGCONT)

    @staticmethod
    def through(client):
        """Whether it has a picture by now; it may have been asked before, so events that were taken count too."""
        end = time.monotonic() + 60
        while time.monotonic() < end and not client.seen("disconnected"):
            if client.seen("primary-create") and client.seen("channel", channel="main", what="opened"):
                return True
            client.pump(0.1)
        return False

    def same(self, clients, number):
        truth = os.path.join(self.screen.directory, "server.ppm")
        wrong = []
        # What was on its way when the programs stopped may still arrive; what differs after many seconds is wrong.
        for attempt in range(8):
            for client in clients.values():
                client.quiet(300, 20000)
            if not self.screen.drawn(truth):
                raise Wrong(f"still picture {number}: the X server gave no picture in time")
            self.width, self.height, _ = read_ppm(truth)
            wrong = []
            for name, client in clients.items():
                path = os.path.join(self.screen.directory, f"{name}.ppm")
                found = difference(truth, path) if client.dump(path) else "no picture"
                wrong += [f"{name} client: {found}"] if found else []
                self.keep(path, number, name, found)
            self.keep(truth, number, "server", wrong)
            if not wrong:
                return
            self.counts["second looks"] += attempt == 0
        raise Wrong(f"still picture {number}: {'; '.join(wrong)}")

    def keep(self, path, number, name, wrong):
        if self.options.keep and os.path.exists(path) and (wrong or number % 5 == 1):
            os.makedirs(self.options.keep, exist_ok=True)
            shutil.copy(path, os.path.join(self.options.keep, f"{number:04}-{name}.ppm"))


def descendants(pid):
    found = []
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        for child in file.read().split():
            try:
                found += descendants(int(child))
            except OSError:
                pass
            found.append(int(child))
    return found


def run_work(screen, options, chance, scratch):
    pid, library = screen.server()
    print(f"     on {library}, seed {options.seed}", flush=True)
    pictures, film = make_material(scratch, options.seed)
    with Client(port=screen.port) as client:
        if not client.connected():
            raise Wrong("the client did not get through")
        first, start, read = Usage(pid), time.monotonic(), client.state()["bytes"]
        Desktop(screen, chance, options).work(options.work, pictures, film)
        client.quiet(500, 60000)
        last, elapsed = Usage(pid), time.monotonic() - start
        print(f"     {options.work} rounds in {elapsed:.0f} s; X server: user {last.user - first.user:.1f} s, system"
              f" {last.system - first.system:.1f} s; to the client {(client.state()['bytes'] - read) / 1e6:.0f} MB")


def run(screen, options, chance, scratch):
    pid, library = screen.server()
    print(f"     on {library}, seed {options.seed}", flush=True)
    with Client(port=screen.port) as staying, open(os.path.join(scratch, "gears.log"), "w+b") as log:
        if not staying.connected():
            raise Wrong("the first client did not get through")
        desktop = Desktop(screen, chance, options)
        desktop.start(*make_material(scratch, options.seed), log)
        desktop.look(staying)
        first, read, start = Usage(pid), staying.state()["bytes"], time.monotonic()
        early = late = most = first.rss
        while time.monotonic() - start < options.seconds:
            for _ in range(chance.randrange(1, 4)):
                desktop.drag()
            if chance.random() < 0.7:
                desktop.turn_pages()
            if chance.random() < 0.6:
                desktop.change_visitor()
            desktop.look(staying)
            late = Usage(pid).rss
            most = max(most, late)
            if time.monotonic() - start < options.seconds / 5:
                early = most  # caches, glyphs and surfaces are filled by then
        last, elapsed = Usage(pid), time.monotonic() - start
        if staying.seen("disconnected"):
            raise Wrong("the staying client lost its session")
        if desktop.visitor:
            desktop.visitor.close()
        frames = sum(int(line.split()[0]) for line in open(log.name, errors="replace") if " frames in " in line)
        print("     " + ", ".join(f"{count} {name}" for name, count in desktop.counts.items()))
        print(f"     {elapsed:.0f} s; X server: user {last.user - first.user:.1f} s, system {last.system - first.system:.1f} s,"
              f" {last.threads} threads, memory {first.rss} MiB at the start, {early} after a fifth, {late} at the end,"
              f" {most} at most")
        rate = (staying.state()["bytes"] - read) / elapsed / 1e6
        print(f"     to the staying client {rate:.1f} MB/s; gears turned {frames} times")
        if desktop.counts["late"] == 0:
            raise Wrong("no second client was ever compared: run longer")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", help="directory with the libspice-server.so.1 to test")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--work", type=int, help="rounds of a fixed amount of work instead of a time")
    parser.add_argument("--compression", default="auto_glz", help="of images, as Xspice calls it; off for comparisons")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="directory for pictures: some, and all that differ")
    parser.add_argument("--verbose", action="store_true", help="show Xorg's output")
    options = parser.parse_args()
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print(f"SKIPPED desktop: not installed: {' '.join(missing)}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    with tempfile.TemporaryDirectory() as scratch:
        xspice = XSPICE + ("--image-compression", options.compression)
        screen = Screen(options.lib and os.path.abspath(options.lib), scratch, options.verbose, xspice, SETTINGS)
        wrong = None
        try:
            if not screen.up:
                raise Wrong("no X server")
            (run_work if options.work else run)(screen, options, random.Random(options.seed), scratch)
        except Wrong as error:
            wrong = str(error)
        finally:
            if screen.process.poll() is not None:
                wrong = f"the X server ended with status {screen.process.returncode} ({wrong})"
            screen.end()
        with open(screen.log, errors="replace") as log:
            said = [line.rstrip() for line in log if line.startswith((" WARN", "ERROR")) or "panicked" in line or "Spice-" in line]
        for line in said[-20:]:
            print(f"     log: {line}")
        amount = f"{options.work} rounds" if options.work else f"{options.seconds} s"
        print(f"{'FAIL' if wrong else 'PASS'} desktop, {amount}{': ' + wrong if wrong else ''}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

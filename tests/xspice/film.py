#!/usr/bin/python3
"""A film on Xspice, played by ffplay: how many of its frames reach a client as a stream, and what the screen is afterwards.

  film.py [--lib DIR] [--seconds 8] [--size 640x360,1280x720] [--reference]

For each size an Xspice of its own. A client made of sockets counts frames as they come; a stock client is there after the film has
stopped: within a second its picture has to be the server's, pixel for pixel. FAIL below 29 of 30 frames a second (the film has
30), or for another picture; the processor time of the X server's process is printed. With --reference the same on the system's
library afterwards, for comparison: nothing of that fails.
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time

from screen import Screen
from driver import Client, difference  # screen.py knows where it is
from film_client import FilmClient
from hosts import Report

RATE, LEAST = 30, 29
OPTIONS = ("--streaming-video", "filter", "--jpeg-wan-compression", "never", "--zlib-glz-wan-compression", "never")
TICKS = os.sysconf("SC_CLK_TCK")


def make_film(path, size):
    """Soft and always moving, as films are; nothing is taken from elsewhere. Uncompressed, so that the player has time."""
    source = f"mandelbrot=size={size}:rate={RATE}:start_scale=2:end_scale=0.3:end_pts=400,gblur=sigma=2,format=yuv420p"
    command = ["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", source, "-t", "6", "-c:v", "mpeg4", "-q:v", "2", path]
    subprocess.run(command, check=True, timeout=240)


def used(pid):
    """Seconds of processor time."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def watch(screen, film, seconds):
    """Frames, bytes and the X server's processor seconds, each a second, once the film is a stream; and what was wrong."""
    pid, _ = screen.server()
    client = FilmClient(screen.port)
    player = screen.start("ffplay", "-loglevel", "quiet", "-an", "-loop", "0", "-noborder", "-left", "100", "-top", "60", film,
                          SDL_RENDER_DRIVER="software", SDL_AUDIODRIVER="dummy")
    end = time.monotonic() + 30
    while len(client.screen.frames) < 2 * RATE:
        if time.monotonic() > end:
            raise SystemExit(f"FAIL no stream in 30 s: {len(client.screen.frames)} frames")
        time.sleep(0.05)
    first, work, start = len(client.screen.frames), used(pid), time.monotonic()
    time.sleep(seconds)
    with client.lock:
        frames = client.screen.frames[first:]
    took = time.monotonic() - start
    work = used(pid) - work
    client.running = False
    client.join(5)
    for channel in (client.display, client.main):
        channel.socket.close()
    size = sum(frame["bytes"] for frame in frames) / max(1, len(frames))
    return player, len(frames) / took, size, work / took, client.screen.wrong or client.failure


def lossless(screen, player, scratch):
    """The stock client sees the film, then it stands still: what is wrong a second later."""
    with Client(port=screen.port) as stock:
        if not stock.connected():
            return "the stock client did not get through"
        time.sleep(3)
        os.kill(player.pid, signal.SIGSTOP)
        time.sleep(1.0)
        mine, theirs = (os.path.join(scratch, name) for name in ("server.ppm", "client.ppm"))
        if not stock.dump(theirs) or not screen.drawn(mine):
            return "no picture"
        return difference(mine, theirs)


def play(report, library, size, seconds):
    whose = "ours" if library else "spice-server"
    with tempfile.TemporaryDirectory(prefix="film-") as scratch:
        film = os.path.join(scratch, "film.mkv")
        make_film(film, size)
        screen = Screen(library, scratch, options=OPTIONS)
        try:
            if not screen.up:
                raise SystemExit("FAIL Xspice does not start")
            player, rate, frame, work, wrong = watch(screen, film, seconds)
            said = f"{rate:.1f} frames a second of {frame / 1000:.1f} kB, X server {1000 * work:.0f} ms a second"
            report.check(f"{whose}: {size} at {RATE}", not wrong and (rate >= LEAST or not library), wrong and str(wrong) or said)
            found = lossless(screen, player, scratch)
            report.check(f"{whose}: {size}: a second after it has stopped", not found or not library, found or "exact")
        finally:
            screen.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", help="directory with the libspice-server.so.1 to test")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--size", default="640x360,1280x720")
    parser.add_argument("--reference", action="store_true")
    options = parser.parse_args()
    report = Report()
    libraries = [os.path.abspath(options.lib) if options.lib else None] + ([None] if options.reference else [])
    for size in options.size.split(","):
        for library in libraries:
            play(report, library, size, options.seconds)
    return report.failures > 0


if __name__ == "__main__":
    sys.exit(main())

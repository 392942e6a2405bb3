#!/usr/bin/env python3
"""A client that is slow at decoding, simulated: how far behind the guest its picture is.

  slow_decoder.py [--seconds N] [--fps N] [--ours DIR] [--theirs DIR] PICTURE-WIDTHxHEIGHT.bgrx

The host draws a photograph over the whole screen again and again, in other colours each time, at a fixed pace, and a
small fill with the frame's number behind it. The client reads message by message, as stock clients do, and sleeps as long
as a slow machine decodes: QUIC at 30 MB of pixels per second, LZ and GLZ at 400, bitmaps at 2000 (a tenth of what a
desktop of today does). The lag of a frame is the time from its drawing to the client's having handled its fill.
"""
import argparse
import os
import pathlib
import statistics
import struct
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "side_by_side"))
from drain import ACK, ACK_SYNC, DRAW_COPY, PING, PONG, SET_ACK, Client  # noqa: E402
import run  # noqa: E402

FILL = 302
# Image types of the protocol, and bytes of pixels per second.
SPEED = {0: 2000e6, 1: 30e6, 101: 400e6, 102: 400e6, 107: 200e6, 105: 100e6}


def handle(channel, log):
    """Reads one message of the display, decodes it in thought, and notes marks."""
    kind, size = struct.unpack("<HI", channel.read(6))
    body = channel.read(size)
    if kind == SET_ACK:
        generation, channel.window = struct.unpack("<II", body)
        channel.unacknowledged = 0
        channel.send(ACK_SYNC, struct.pack("<I", generation))
        return
    channel.unacknowledged += 1
    if channel.window and channel.unacknowledged >= channel.window:
        channel.unacknowledged = 0
        channel.send(ACK, b"")
    if kind == PING:
        channel.send(PONG, body[:12])
    elif kind == DRAW_COPY and body[20] == 0:
        at = struct.unpack("<I", body[21:25])[0]
        image_type, _, width, height = struct.unpack("<BBII", body[at + 8:at + 18])
        log["types"][image_type] = log["types"].get(image_type, 0) + 1
        time.sleep(width * height * 4 / SPEED.get(image_type, 2000e6))
    elif kind == FILL and body[20] == 0 and body[21] == 1:
        log["seen"].append((struct.unpack("<I", body[22:26])[0], time.monotonic(), len(log["types"])))


def play(program, library, port, mode, picture, options):
    width, height = run.re.search(r"-(\d+)x(\d+)\.bgrx$", picture).groups()
    host = run.Host(program, library, port, mode, int(width), int(height))
    host.load(picture)
    log = {"types": {}, "seen": []}
    drawn = {}
    over = threading.Event()

    def draw():
        for frame in range(1, int(options.seconds * options.fps) + 1):
            drawn[frame] = time.monotonic()
            host.say(f"draw {frame % 16 * 0x010101:x}")
            host.say(f"mark {frame:x}")
            time.sleep(1 / options.fps)
        over.set()

    thread = threading.Thread(target=draw)
    thread.start()
    display = host.client.display
    display.socket.settimeout(1)
    last = max(1, int(options.seconds * options.fps))
    end = time.monotonic() + options.seconds + 60
    while time.monotonic() < end and not (log["seen"] and log["seen"][-1][0] == last):
        try:
            handle(display, log)
        except TimeoutError:
            if over.is_set():
                break
    thread.join()
    host.close()
    # The first third is for finding out.
    lags = [when - drawn[frame] for frame, when, _ in log["seen"] if frame in drawn and frame > last // 3]
    return lags, log["types"], len(log["seen"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--fps", type=float, default=10)
    parser.add_argument("--ours")
    parser.add_argument("--theirs")
    parser.add_argument("--port", type=int, default=59710)
    parser.add_argument("picture")
    options = parser.parse_args()
    sides = [("spice-server", options.theirs)] + ([("ours", options.ours)] if options.ours else [])
    print("| library | mode | lag, median ms | 95 % | last | frames seen | images by type |")
    print("|---|---|---|---|---|---|---|")
    port = options.port
    with tempfile.TemporaryDirectory() as folder:
        program = run.build(folder)
        for name, library in sides:
            for mode in ("quic", "auto_lz", "auto_glz"):
                port += 1
                lags, types, seen = play(program, library, port, mode, os.path.abspath(options.picture), options)
                if not lags:
                    print(f"| {name} | {mode} | nothing seen | | | {seen} | {types} |", flush=True)
                    continue
                lags.sort()
                high = lags[min(len(lags) - 1, len(lags) * 95 // 100)]
                print(f"| {name} | {mode} | {statistics.median(lags) * 1e3:.0f} | {high * 1e3:.0f} "
                      f"| {lags[-1] * 1e3:.0f} | {seen} | {types} |", flush=True)


if __name__ == "__main__":
    main()

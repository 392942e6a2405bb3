#!/usr/bin/python3
"""Films by the encoders of GStreamer: what arrives decodes to the guest's pictures, all clients can begin at any time, a
stock client shows it and is exact afterwards, and what is not installed is replaced by what is.

  check_encoders.py --program DIR/play_film [--lib DIR] [--seconds 1] [--share 0.9] [--only NAME,...] [--keep DIR]

`--share 0.967 --seconds 10` is for a quiet machine. `--keep` saves what a stock client showed in the middle of a film.
"""
import argparse
import os
import sys
import tempfile
import time

import numpy
from check_film import START, Cinema, exact
from driver import Client, read_ppm
from film_client import ALL_CAPS, FilmClient
from film_decode import NUMBERS, decode, number_of, psnr
from hosts import Report

CAPS = ALL_CAPS | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14
FPS = 30


def playing(cinema, client, codec, limit=20):
    """Plays until the client has a stream of this codec with a frame; its number or None. GStreamer has to be initialised first."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        cinema.play(10)
        with client.lock:
            for number, stream in client.screen.streams.items():
                if stream["codec"] == codec and any(frame["codec"] == codec for frame in client.screen.frames[-5:]):
                    return number
    return None


def frames_of(client, codec):
    """The frames of the last stream of a codec."""
    with client.lock:
        frames = [frame for frame in client.screen.frames if frame["codec"] == codec]
    return [frame for frame in frames if frame["use"] == frames[-1]["use"]] if frames else []


def shown(client, codec, size):
    """The pictures of a client's last stream, with their numbers."""
    pictures = decode(codec, size, [frame["data"] for frame in frames_of(client, codec)])
    return [(number_of(picture), picture) for picture in pictures]


def codecs(options, scratch, report):
    """Each codec: every frame in order and in time, like the guest's picture; a late client begins at a key frame."""
    # x265 takes 40 ms of processor for a frame of 640x360.
    for name, size in (("vp8", (640, 360)), ("h264", (640, 360)), ("vp9", (641, 359)), ("h265", (259, 143))):
        codec = NUMBERS[name]
        listed = f"gstreamer:{name};spice:mjpeg"
        words = ["--size", f"{size[0]}x{size[1]}", "--fps", str(FPS), "--codecs", listed]
        with Cinema(options, scratch, *words) as cinema:
            client = FilmClient(cinema.port, caps=CAPS, codecs={1, codec})
            report.check(f"{name}: a stream of it", playing(cinema, client, codec) is not None)
            # Those that cost more show that they work; what a machine has time for is another question.
            share = options.share if name in ("vp8", "h264") else options.share / 2
            checked = tried(lambda: film(options, cinema, client, codec, size, share))
            for what, good, detail in checked:
                report.check(f"{name}: {what}", good, detail)
            if name in ("vp8", "h264"):
                for what, good, detail in tried(lambda: late_one(cinema, client, codec, size)):
                    report.check(f"{name}, late: {what}", good, detail)
            client.close()
            report.none_wrong(f"{name}: host's end", cinema.host.end())


def tried(scene):
    """What a scene found, the best of three tries: a machine without time for a thread loses what is due meanwhile."""
    for _ in range(3):
        checked = scene()
        if all(good for _, good, _ in checked):
            break
    return checked


def film(options, cinema, client, codec, size, share):
    """A film for one client."""
    before, _, _ = cinema.play(5)
    used = int(cinema.host.ask("cpu", "cpu").split()[1])
    last, begin, end = cinema.play(int(options.seconds * FPS))
    used = int(cinema.host.ask("cpu", "cpu").split()[1]) - used
    time.sleep(0.2)
    pictures = shown(client, codec, size)
    numbers = [number for number, _ in pictures if number is not None and number > before]
    frames = frames_of(client, codec)[-20:]
    late = sorted(frame["late"] for frame in frames)[len(frames) // 2 :][:1]
    got, wanted = len(numbers), last - before
    bytes_each = sum(frame["bytes"] for frame in frames) // max(1, len(frames))
    cost = f"{bytes_each} bytes a frame, {used} ms of processor in {end - begin:.1f} s"
    quality = 0.0
    if pictures and pictures[-1][0] == last:
        w, h, data = read_ppm(cinema.dump())
        server = numpy.frombuffer(data, dtype=numpy.uint8).reshape(h, w, 3)
        quality = psnr(server[32 : 32 + size[1], 64 : 64 + size[0]], pictures[-1][1])
    return [
        ("frames in order", numbers == sorted(set(numbers)), f"{numbers[:5]}…"),
        ("delivered", got >= share * wanted, f"{got} of {wanted}, {cost}"),
        ("in time to be shown", bool(late) and late[0] <= 0, f"median {late} ms"),
        ("the last frame is like the guest's picture", quality > 27, f"{quality:.1f} dB"),
        ("nothing a client would complain about", not client.screen.wrong, client.screen.wrong[:3]),
    ]


def late_one(cinema, first, codec, size):
    """One that comes in the middle of a film shares its frames from a key frame on."""
    cinema.play(10)
    late = FilmClient(cinema.port, caps=CAPS, codecs={1, codec})
    cinema.play(30)
    time.sleep(0.2)
    numbers = [number for number, _ in shown(late, codec, size)]
    shared = {frame["data"] for frame in frames_of(late, codec)} & {frame["data"] for frame in frames_of(first, codec)}
    late.close()
    return [
        ("decodes from its first frame on", len(numbers) >= 15 and None not in numbers, numbers[:3]),
        ("both get the same bytes", len(shared) >= 15, len(shared)),
        ("nothing it would complain about", not late.screen.wrong, late.screen.wrong[:3]),
    ]


def stock(options, scratch, report):
    """A stock client shows films of VP8 and H.264, and is exact when they stand still."""
    for name in ("vp8", "h264"):
        with Cinema(options, scratch, "--fps", str(FPS), "--codecs", f"gstreamer:{name}") as cinema:
            # It makes sure that the stream is there; the stock one comes later.
            first = FilmClient(cinema.port, caps=CAPS, codecs={1, NUMBERS[name]})
            playing(cinema, first, NUMBERS[name])
            with Client(port=cinema.port, options=("--beacon", 640, 360)) as client:
                client.connected()
                client.quiet()
                cinema.play(30)
                before = len(client.seen("beacon"))
                last, _, _ = cinema.play(30)
                picture = os.path.join(options.keep or scratch, f"{name}.ppm")
                dumped = client.dump(picture)
                count = len(client.seen("beacon")) - before
                report.check(f"stock client, {name}: shows frames", count >= 20, f"{count} of 30")
                if dumped:
                    w, h, data = read_ppm(picture)
                    film = numpy.frombuffer(data, dtype=numpy.uint8).reshape(h, w, 3)[32 : 32 + 360, 64 : 64 + 640]
                    number = number_of(film)
                    report.check(f"stock client, {name}: what it shows is new", number and 0 <= last - number <= 15, f"{number} of {last}")
                exact(cinema, client, report, f"stock client, {name}: a film that stopped", scratch)
                if name == "vp8":
                    cinema.tell("window 200 100 150 120")
                    cinema.play(30)
                    exact(cinema, client, report, f"stock client, {name}: a film under a window", scratch)
            first.close()
            report.none_wrong(f"stock client, {name}: host's end", cinema.host.end())


def missing(options, scratch, report):
    """What is not installed is passed over, and the host is told what is there."""
    folder = os.path.join(scratch, "plugins")
    os.mkdir(folder)
    search = "/usr/lib/x86_64-linux-gnu/gstreamer-1.0"
    few = ["libgstcoreelements.so", "libgstapp.so", "libgstvideoconvertscale.so", "libgstvpx.so"]
    for plugins, codec, told in ((few, 2, "gstreamer:vp8"), ([], 1, "")):
        name = "without x264enc" if plugins else "without any element"
        for plugin in os.listdir(folder):
            os.unlink(os.path.join(folder, plugin))
        for plugin in plugins:
            os.symlink(os.path.join(search, plugin), os.path.join(folder, plugin))
        settings = {
            "GST_PLUGIN_SYSTEM_PATH_1_0": folder,
            "GST_PLUGIN_PATH_1_0": "",
            "GST_REGISTRY_1_0": os.path.join(scratch, f"registry-{codec}"),
        }
        words = ["--fps", str(FPS), "--codecs", "gstreamer:h264;gstreamer:vp8"]
        with Cinema(options, scratch, *words, settings=settings) as cinema:
            client = FilmClient(cinema.port, caps=CAPS, codecs={codec, 1})
            report.check(f"{name}: a stream of codec {codec}", playing(cinema, client, codec) is not None)
            answer = cinema.host.ask("codecs gstreamer:h264", "codecs")
            report.check(f"{name}: what is known to be missing is refused", answer.strip() == f"codecs -1 {told}".strip(), answer)
            report.check(f"{name}: nothing a client would complain about", not client.screen.wrong, client.screen.wrong[:3])
            client.close()
            report.none_wrong(f"{name}: host's end", cinema.host.end())


def wishes(options, scratch, report):
    """A client that prefers VP8 gets it from a host that has said nothing."""
    with Cinema(options, scratch, "--fps", str(FPS)) as cinema:
        client = FilmClient(cinema.port, caps=CAPS, codecs={1, 2, 3})
        cinema.play(START + 10)
        report.check("no wish: MJPEG", {frame["codec"] for frame in client.screen.frames} == {1})
        client.display.send(105, bytes([2, 2, 3]))
        report.check("a wish for VP8: VP8", playing(cinema, client, 2) is not None)
        client.display.send(105, bytes([2, 3, 2]))
        report.check("a wish for H.264: H.264", playing(cinema, client, 3) is not None)
        report.check("nothing a client would complain about", not client.screen.wrong, client.screen.wrong[:3])
        answer = cinema.host.ask("codecs auto", "codecs")
        wanted = "codecs 0 spice:mjpeg;gstreamer:mjpeg;gstreamer:h264;gstreamer:vp8;gstreamer:vp9"
        report.check("the host is told what there is", answer.strip() == wanted, answer)
        cinema.host.ask("codecs gstreamer:mjpeg", "codecs 0")
        client.display.send(105, bytes([1, 1]))
        cinema.play(START)
        count = len(client.screen.frames)
        cinema.play(20)
        time.sleep(0.2)
        count = len(client.screen.frames) - count
        report.check("MJPEG of GStreamer", count >= 10 and client.screen.frames[-1]["codec"] == 1, count)
        client.close()
        report.none_wrong("host's end", cinema.host.end())


SCENES = {"codecs": codecs, "stock": stock, "missing": missing, "wishes": wishes}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib")
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--share", type=float, default=0.9, help="of the frames that have to arrive; 29 / 30 on a quiet machine")
    parser.add_argument("--only", help="scenes, comma separated")
    parser.add_argument("--keep", help="a folder")
    options = parser.parse_args()
    if not os.path.exists(os.path.join(options.lib or "", "libcayenne-gst.so")):
        print("SKIPPED 40: libcayenne-gst.so is not there (no development files of GStreamer)")
        return
    report = Report()
    names = options.only.split(",") if options.only else SCENES
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            SCENES[name](options, scratch, report)
            for leftover in os.listdir(scratch):
                path = os.path.join(scratch, leftover)
                if os.path.isfile(path):
                    os.unlink(path)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

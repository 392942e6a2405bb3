#!/usr/bin/python3
"""Images that refer to earlier ones (GLZ), before stock clients that stay: photographs that scroll, move sideways and roll
down show exactly what the server drew, after every picture; on one display and on two that share a tiny window; to a
client that is stalled for a while and to the one that comes after a client was killed in the middle. A relay reads the
numbers of the images: none is missing, and no image needs the client to keep more pixels than its window has.

  check_moves.py --program DIR/moving_photos [--lib DIR] [--frames 40] [--seed 1] [--keep DIR]

"""
import argparse
import os
import struct
import sys
import tempfile
import zlib

from driver import Client, free_port
from hosts import Host, Report, ends_equal
from relay import DISPLAY, Relay

GLZ_MODE, AUTO_GLZ_MODE, LZ_MODE = 5, 2, 6
OPAQUE, COPY, BLEND, ROP3, TRANSPARENT, ALPHA_BLEND = 303, 304, 305, 309, 312, 313
GLZ = 102
ZLIB_GLZ = 107
SCREEN = 320 * 240
report = Report()


def distances(stream, pixels):
    """How many images back the matches of a stream of 32-bit pixels lead, without the image itself."""
    found, at, done = set(), 0, 0
    while done < pixels:
        control = stream[at]
        at += 1
        if control < 32:
            done += control + 1
            at += 3 * (control + 1)
            continue
        length = control >> 5
        if length == 7:
            while stream[at] == 255:
                length += 255
                at += 1
            length += stream[at]
            at += 1
        done += length
        last = stream[at + 1]
        at += 2
        more = last >> 6
        images, shift = (0, 0) if control & 16 else (last & 63, 6)
        images += int.from_bytes(stream[at : at + more], "little") << shift
        at += more + (control >> 4 & last >> 5 & 1)
        found.add(images)
    if (done, at) != (pixels, len(stream)):
        raise ValueError(f"{done} of {pixels} pixels, {at} of {len(stream)} bytes")
    return found - {0}


class Numbers:
    """What a client's GLZ images say of themselves."""

    def __init__(self):
        self.images = {}  # number: (pixels, distance to the oldest, channel, distances of matches)
        self.twice = 0
        self.packed = 0
        self.broken = None

    def watch(self, pair, kind, body):
        if pair.kind != DISPLAY or kind not in (OPAQUE, COPY, BLEND, ROP3, TRANSPARENT, ALPHA_BLEND):
            return
        at = 21
        if body[20]:
            at += 4 + 16 * struct.unpack_from("<I", body, 21)[0]
        if kind == ALPHA_BLEND:
            at += 2
        image = struct.unpack_from("<I", body, at)[0]
        if body[image + 8] == GLZ:
            stream = body[image + 22 : image + 22 + struct.unpack_from("<I", body, image + 18)[0]]
        elif body[image + 8] == ZLIB_GLZ:
            size, packed = struct.unpack_from("<II", body, image + 18)
            stream = zlib.decompress(body[image + 26 : image + 26 + packed])
            self.packed += 1
            if len(stream) != size or packed >= size:
                self.broken = f"{packed} bytes that become {len(stream)}, not {size}"
        else:
            return
        form = stream[8]
        width, height, _, number, distance = struct.unpack_from(">IIIQI", stream, 9)
        self.twice += number in self.images
        try:
            matches = distances(stream[33:], width * height)
        except (ValueError, IndexError) as error:
            self.broken = f"image {number}, type {form}: {error}"
            matches = set()
        self.images[number] = width * height, distance, pair.number, matches

    def wrong(self, window, least):
        """None, or what no client could live with."""
        count = len(self.images)
        if count < least:
            return f"only {count} images"
        if self.broken:
            return self.broken
        if self.twice or sorted(self.images) != list(range(count)):
            return f"{count} numbers, {self.twice} of them twice, up to {max(self.images)}"
        oldest = 0
        for number in range(count):
            first = number - self.images[number][1]
            if first < oldest:
                return f"image {number} needs {first}, which is forgotten"
            oldest = first
            if self.images[number][3] and number - max(self.images[number][3]) < first:
                return f"image {number} refers to one before {first}, its oldest"
            pixels = sum(self.images[n][0] for n in range(first, number + 1))
            if pixels > window:
                return f"{pixels} pixels are kept for image {number}"
        return None


class Scene:
    """A host, and what is compared."""

    def __init__(self, options, scratch, mode, displays=1, zlib_wish=0):
        self.scratch = scratch
        self.displays = displays
        command = [options.program, "--seed", str(options.seed), "--displays", str(displays), "--compression", str(mode)]
        if zlib_wish:
            command += ["--zlib", str(zlib_wish)]
        self.host = Host(command, free_port(), options.lib)
        self.numbers = Numbers()
        self.relay = Relay(self.host.path, scratch, watch=self.numbers.watch)

    def __enter__(self):
        self.host.__enter__()
        self.relay.__enter__()
        return self

    def __exit__(self, *what):
        self.relay.__exit__(*what)
        self.host.__exit__(*what)

    def client(self, window=0):
        """A client with a dictionary of so many pixels."""
        client = Client(unix=self.relay.path, glz_window=window * 4)
        if not client.connected(30, self.displays):
            raise SystemExit(f"FAIL the client does not come in: {client.events[-3:]}")
        return client

    def wrong(self, client, calm=100):
        """None if the client shows what the server has, on all displays."""
        for display in range(self.displays):
            server, shown = (os.path.join(self.scratch, f"{who}{display}.ppm") for who in ("server", "client"))
            if self.host.ask(f"dump {server} {display}", "dump") != "dumped":
                return "the host has no picture"

            def write(path, display=display):
                event = client.quiet(calm, 20000)
                if not event or event["event"] != "quiet":
                    return f"not quiet: {event}"
                return None if client.dump(path, display) else "no picture"

            wrong = ends_equal(server, shown, write, 15)
            if wrong:
                return f"display {display}: {wrong}"
        return None

    def end(self, name):
        report.none_wrong(f"{name}: commands released", self.host.end())

    def draw(self, pictures):
        """A few at a time: of many that wait for the client only what is seen in the end is sent."""
        for _ in range(pictures // 2):
            self.host.ask("frames 2", "drawn")

    def received(self):
        return sum(pair.received for pair in self.relay.channels(DISPLAY))


def after_every_picture(options, scratch, name, mode, zlib_wish=0):
    """Bytes to the client."""
    with Scene(options, scratch, mode, zlib_wish=zlib_wish) as scene:
        client = scene.client()
        wrong = None
        for frame in range(options.frames):
            scene.host.ask("frames 1", "drawn")
            wrong = wrong or scene.wrong(client)
            if wrong:
                wrong = f"picture {frame}: {wrong}"
                break
        report.none_wrong(f"{name}: {options.frames} pictures of moving photographs are exact", wrong)
        if mode == GLZ_MODE:
            report.none_wrong(f"{name}: numbers", scene.numbers.wrong(16 << 20, options.frames))
            packed = scene.numbers.packed
            report.check(f"{name}: deflated if it is to be", bool(packed) == (zlib_wish == 2), f"{packed} images")
        client.close()
        scene.end(name)
        return scene.received()


def two_displays(options, scratch):
    name = "two displays and a window of three screens"
    window = SCREEN * 3
    with Scene(options, scratch, GLZ_MODE, 2) as scene:
        client = scene.client(window)
        wrong = None
        for turn in range(options.frames // 4):
            scene.draw(20)
            wrong = wrong or scene.wrong(client)
            if wrong:
                wrong = f"turn {turn}: {wrong}"
                break
        report.none_wrong(f"{name}: exact after every {options.frames // 4} times 20 pictures", wrong)
        report.none_wrong(f"{name}: numbers", scene.numbers.wrong(window, options.frames))
        images = scene.numbers.images
        across = sum(
            any(images[number - back][2] != channel for back in matches)
            for number, (_, _, channel, matches) in images.items()
        )
        report.check(f"{name}: images refer to those of the other one", across > 0, f"{across} of {len(images)}")
        client.close()
        scene.end(name)


def stalled_and_killed(options, scratch):
    with Scene(options, scratch, GLZ_MODE, 2) as scene:
        client = scene.client(SCREEN * 5)
        scene.draw(20)
        scene.relay.hold(DISPLAY)
        for _ in range(10):
            scene.host.ask("frames 50", "drawn")
        scene.relay.release(DISPLAY)
        report.none_wrong("a client that was stalled shows the picture", scene.wrong(client))
        scene.draw(40)
        report.none_wrong("and follows from there", scene.wrong(client))
        report.none_wrong("a stalled client: numbers", scene.numbers.wrong(SCREEN * 5, 20))
        scene.relay.hold(DISPLAY)
        scene.host.ask("frames 50", "drawn")
        client.kill()
        scene.relay.release(DISPLAY)
        scene.host.ask("frames 50", "drawn")
        scene.numbers.images.clear()
        scene.numbers.twice = 0
        client = scene.client(SCREEN * 5)
        scene.draw(50)
        report.none_wrong("the client after one that was killed shows the picture", scene.wrong(client))
        report.none_wrong("its numbers begin anew", scene.numbers.wrong(SCREEN * 5, 10))
        client.close()
        scene.end("stalled and killed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="directory for the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = options.keep or scratch
        glz = after_every_picture(options, scratch, "GLZ", GLZ_MODE)
        after_every_picture(options, scratch, "GLZ and zlib", GLZ_MODE, 2)
        lz = after_every_picture(options, scratch, "LZ", LZ_MODE)
        # What is found in earlier pictures, most pixels are.
        report.check("GLZ sends less than half of what LZ sends", glz * 2 < lz, f"{glz} and {lz} bytes")
        after_every_picture(options, scratch, "AUTO_GLZ", AUTO_GLZ_MODE)
        two_displays(options, scratch)
        stalled_and_killed(options, scratch)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

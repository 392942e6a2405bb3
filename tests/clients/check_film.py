#!/usr/bin/python3
"""Films: what is played arrives as a stream, frame by frame, and what stands still is exact again within a second.

  check_film.py --program DIR/play_film [--lib DIR] [--seconds 4] [--only NAME,...] [--reference]

Clients made of sockets count frames and complain about what stock clients would; a stock client's picture is compared
with the server's. `--reference` runs the same on spice-server and reports instead of failing.
"""
import argparse
import os
import struct
import sys
import tempfile
import time

from driver import Client, difference, free_port
from film_client import MULTI_CODEC, REPORT, REPORTS, SIZED, FilmClient
from hosts import Host, Report
from sound_session import DATA, MODE, PLAYBACK, Logged

START = 25  # frames before there is a stream for certain


class Cinema:
    """A host that plays films."""

    def __init__(self, options, scratch, *words, settings=None):
        self.port = free_port()
        self.picture = os.path.join(scratch, "server.ppm")
        settings = {"SPICE_DEBUG_ALLOW_MC": "1", **(settings or {})}
        self.host = Host([options.program, *words], self.port, options.lib, **settings)

    def play(self, frames):
        """Number of the last frame, and when the first and the last one were given, in seconds."""
        words = self.host.ask(f"play {frames}", "played").split()
        return int(words[1]), int(words[3]) / 1000, int(words[5]) / 1000

    def tell(self, line):
        self.host.ask(line, "done")

    def dump(self):
        self.host.ask(f"dump {self.picture}", "dumped")
        return self.picture

    def __enter__(self):
        self.host.__enter__()
        return self

    def __exit__(self, *_):
        self.host.__exit__()


def delivered(report, name, client, before, last, share):
    """Frames after `before` up to `last`: in order, each once, most of them there."""
    numbers = [n for n in client.numbers() if n is not None and n > before]
    report.check(f"{name}: frames in order", numbers == sorted(set(numbers)), f"{numbers[:5]}…")
    report.check(f"{name}: nothing a client would complain about", not client.screen.wrong, client.screen.wrong[:3])
    wanted = last - before
    got = len(numbers)
    report.check(f"{name}: delivered", got >= share * wanted, f"{got} of {wanted}")
    report.check(f"{name}: no read failure", client.failure is None, f"{client.failure!r}")


def rates(options, scratch, report):
    """Every frame arrives, in time, at 30 and 60 a second."""
    for size, fps in (("640x360", 30), ("640x480", 60), ("1280x720", 30)):
        name = f"{size} at {fps}"
        with Cinema(options, scratch, "--size", size, "--fps", str(fps)) as cinema:
            client = FilmClient(cinema.port)
            before, _, _ = cinema.play(START)
            last, begin, end = cinema.play(int(options.seconds * fps))
            time.sleep(0.3)
            delivered(report, name, client, before, last, options.share)
            frames = client.screen.frames[-30:]
            late = sorted(frame["late"] for frame in frames)
            report.check(f"{name}: in time to be shown", late[len(late) // 2] <= 0, f"median {late[len(late) // 2]} ms")
            used = int(cinema.host.ask("cpu", "cpu").split()[1])
            size_of = sum(frame["bytes"] for frame in frames) // max(1, len(frames))
            print(f"     {name}: {size_of} bytes a frame, {used} ms of processor, {end - begin:.1f} s")
            client.close()
            report.none_wrong(f"{name}: host's end", cinema.host.end())


def exact(cinema, client, report, name, scratch, wait=1.0):
    """A second after the last frame the client has the server's pixels."""
    time.sleep(wait)
    picture = os.path.join(scratch, "client.ppm")
    shown = client.dump(picture)
    wrong = difference(cinema.dump(), picture) if shown else "no picture"
    report.none_wrong(f"{name}: exact after {wait} s", wrong)


def pictures(options, scratch, report):
    """A stock client plays streams under windows and is exact when they stand still."""
    with Cinema(options, scratch, "--fps", "60") as cinema, Client(port=cinema.port, options=("--beacon", 640, 360)) as client:
        client.connected()
        client.quiet()
        cinema.play(90)
        shown = len(client.seen("beacon"))
        report.check("stock client: shows frames", shown >= 60, f"{shown} of 90")
        exact(cinema, client, report, "a film that stopped", scratch)
        cinema.tell("window 200 100 150 120")
        cinema.play(60)
        exact(cinema, client, report, "a film under a window", scratch, wait=0.8)
        cinema.tell("window")
        cinema.tell("repeat 10")
        exact(cinema, client, report, "a window that went from a film that stands", scratch, wait=0.5)
        cinema.play(40)
        cinema.tell("cover 100 100 300 100")
        exact(cinema, client, report, "a film that something was drawn over", scratch)
        cinema.play(40)
        cinema.tell("blend 90 50 200 200")
        exact(cinema, client, report, "a film that something was combined with", scratch)
        cinema.play(40)
        cinema.tell("copy 80 60 300 200 40 300")
        exact(cinema, client, report, "a film that was copied from", scratch)
        cinema.play(40)
        cinema.tell("repeat 40")
        exact(cinema, client, report, "a film that repeats its last frame", scratch, wait=0.2)
        cinema.tell("place 300 200")
        cinema.play(60)
        exact(cinema, client, report, "a film that has moved", scratch)
        cinema.play(40)
        cinema.host.ask("mode 1", "mode 0")
        cinema.play(5)
        exact(cinema, client, report, "films that are forbidden while one plays", scratch)


def clients(options, scratch, report):
    """Late clients get the stream as well; what a client cannot do is left out."""
    with Cinema(options, scratch, "--fps", "60") as cinema:
        first = FilmClient(cinema.port)
        cinema.play(40)
        late = FilmClient(cinema.port)
        poor = FilmClient(cinema.port, caps=0)
        deaf = FilmClient(cinema.port, caps=MULTI_CODEC | SIZED | REPORTS)
        cinema.play(75)
        time.sleep(0.2)
        for name, client in (("late", late), ("one without capabilities", poor)):
            report.check(f"{name}: gets the stream", len(client.screen.frames) >= 15, len(client.screen.frames))
            report.check(f"{name}: in order", not client.screen.wrong, client.screen.wrong[:3])
        report.check("no report is asked of who gives none", not any(k == 319 for _, k in poor.screen.kinds))
        report.check("who decodes nothing gets pictures", not deaf.screen.created and len(deaf.screen.kinds) > 20)
        if late.screen.frames and first.screen.frames:
            shared = {frame["data"] for frame in late.screen.frames} & {frame["data"] for frame in first.screen.frames}
            report.check("both get the same bytes", len(shared) >= 10, len(shared))
        for client in (first, late, poor, deaf):
            client.close()


def absurd(options, scratch, report):
    """Reports that make no sense, and clients that cannot play."""
    with Cinema(options, scratch, "--fps", "60") as cinema:
        client = FilmClient(cinema.port, reports=False)
        cinema.play(40)
        number = client.screen.created[-1][1] if client.screen.created else 0
        stream = client.screen.streams.get(number, {"unique": 1})
        for unique in (stream["unique"], 0, 12345):
            for values in ((0, 0, 0, 0, 0), (2**32 - 1,) * 3 + (2**32 - 2, -(2**31)), (5, 9, 5, 5, 2**31 - 1)):
                first, last, count, drops, delay = values
                client.display.send(
                    REPORT, struct.pack("<6IiI", number, unique, first, last, count, drops, delay, 77)
                )
        client.display.send(105, bytes([255]) + bytes(range(255)))
        client.display.send(105, bytes([0]))
        cinema.play(30)
        time.sleep(0.2)
        report.check("absurd reports: the film goes on", len(client.screen.frames) > 25, len(client.screen.frames))
        count = len(client.screen.frames)
        client.display.send(REPORT, struct.pack("<6IiI", number, 0, 0, 0, 0, 2**32 - 1, 0, 2**32 - 1))
        time.sleep(0.1)
        cinema.play(30)
        time.sleep(0.2)
        more = len(client.screen.frames) - count
        report.check("who cannot play gets pictures", more <= 3 and number not in client.screen.streams, more)
        report.check("nothing a client would complain about", not client.screen.wrong, client.screen.wrong[:3])
        client.display.send(REPORT, struct.pack("<6IiI", 50, 1, 0, 0, 1, 0, 0, 0))
        end = time.monotonic() + 5
        while client.failure is None and time.monotonic() < end:
            time.sleep(0.05)
        report.check("a report on a stream that cannot be ends the connection", client.failure is not None)
        client.running = False
        answer = cinema.host.ask("codecs spice:vp8;other:vp8;vp8", "codecs")
        report.check("what does not exist is refused", options.reference or answer.startswith("codecs -1 spice:mjpeg"), answer)
        answer = cinema.host.ask("codecs spice:vp8;spice:mjpeg", "codecs")
        report.check("unless something else is left", answer.startswith("codecs 0 spice:mjpeg"), answer)
        if not os.path.exists(os.path.join(options.lib or "", "libcayenne-gst.so")):
            answer = cinema.host.ask("codecs gstreamer:vp8", "codecs")
            report.check("as is what is not installed", options.reference or answer.startswith("codecs -1 spice:mjpeg"), answer)
        report.none_wrong("host's end", cinema.host.end())


def middle(values):
    values = sorted(values)
    return values[len(values) // 2]


class Loudspeaker(Logged):
    """Hears, and sets a client's clock as stock ones do: what is heard is as old as their buffers are long."""

    BUFFERED = 100

    def __init__(self, client, *where):
        self.client = client
        super().__init__(*where)

    def message(self, kind, body):
        if kind == DATA and len(body) > 4:
            self.client.started = (time.monotonic(), struct.unpack_from("<I", body)[0] - self.BUFFERED)
        super().message(kind, body)


def sound(options, scratch, report):
    """What is heard belongs to what is seen: media times of a frame and of the first sample that was made after it."""
    with Cinema(options, scratch, "--sound") as cinema:
        client = FilmClient(cinema.port)
        heard = Loudspeaker(client, cinema.port, PLAYBACK, client.session)
        heard.until(lambda c: c.count(MODE))
        cinema.play(START)
        cinema.play(int(options.seconds * 30))
        time.sleep(0.3)
        first = {}
        for kind, body in heard.log:
            if kind == DATA and len(body) > 8:
                at, number = struct.unpack_from("<II", body)
                first.setdefault(number, at)
        frames = [(number, frame) for number, frame in zip(client.numbers(), client.screen.frames) if number in first]
        report.check("sound: frames that are heard", len(frames) > options.share * 30 * options.seconds, len(frames))
        # Buffers are 10 ms long: their first sample is 5 ms younger than the frame, as a mean.
        apart = [struct.unpack("<i", struct.pack("<I", (first[number] - frame["time"]) % (1 << 32)))[0] for number, frame in frames] or [999]
        report.check("sound: within 40 ms of the frames", -40 <= min(apart) and max(apart) <= 40, f"{min(apart)} to {max(apart)} ms")
        # A frame that comes after its time is shown late, whatever stands on it.
        late = [frame["late"] for _, frame in frames] or [999]
        report.check("sound: frames in time to be shown", middle(late) <= 0, f"{middle(late)} ms")
        print(f"     sound: {min(apart)} to {max(apart)} ms behind its frame, median {middle(apart)}; frames come {-middle(late)} ms before their time, at worst {-max(late)}")
        heard.close()
        client.close()
        report.none_wrong("sound: host's end", cinema.host.end())


SCENES = {"rates": rates, "sound": sound, "pictures": pictures, "clients": clients, "absurd": absurd}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--share", type=float, default=0.9, help="of the frames that have to arrive; 29 / 30 on a quiet machine")
    parser.add_argument("--only", help="scenes, comma separated")
    parser.add_argument("--reference", action="store_true")
    options = parser.parse_args()
    report = Report()
    names = options.only.split(",") if options.only else SCENES
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            SCENES[name](options, scratch, report)
    sys.exit(1 if report.failures and not options.reference else 0)


if __name__ == "__main__":
    main()

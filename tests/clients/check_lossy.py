#!/usr/bin/python3
"""JPEG for clients: where nothing with losses was painted a stock client shows the server's pixels, and next to them
where it was; nothing that combines bits goes as a command over losses.

  check_lossy.py --program DIR/random_draws [--lib DIR] [--count 1000] [--level 7] [--seed 1] [--bottom-up]
                 [--compression 4] [--smooth] [--mean M]
  check_lossy.py --program DIR/replay_player [--traces DIR] ... NAME...
  check_lossy.py --program DIR/random_draws --slow      a slow and a fast client at once, jpeg on AUTO

Where losses are is read from the messages by a model of its own (lossy_model.py), behind a relay. --mean: mean difference
of a colour (0 to 255) over all pixels with losses that is let pass.
"""
import argparse
import os
import sys
import tempfile

from PIL import Image as Picture
from PIL import ImageChops, ImageStat

import lossy_model
from driver import Client, free_port
from hosts import Host, Report
from relay import DISPLAY, MAIN, Relay

ALWAYS, AUTO = 2, 1
JPEG, JPEG_ALPHA = lossy_model.JPEG, lossy_model.JPEG_ALPHA
SET_ACK = 3
report = Report()


class Watched:
    """A stock client behind a relay that reads along."""

    def __init__(self, host, scratch, name, pace=None):
        self.losses = lossy_model.Losses()
        self.name = name
        self.windows = []
        self.failure = None
        self.relay = Relay(host.path, scratch, watch=self.watch, pace=pace)
        self.relay.start()
        self.client = Client(unix=self.relay.path)
        self.up = self.client.connected(30)

    def watch(self, pair, kind, body):
        if pair.kind == DISPLAY:
            if kind == SET_ACK:
                self.windows.append(int.from_bytes(body[4:8], "little"))
            self.losses.message(kind, body)

    def jpegs(self):
        return self.losses.images[JPEG] + self.losses.images[JPEG_ALPHA]

    def compare(self, server, picture, mean):
        """None or what is wrong; and a sentence about the losses."""
        calm = self.client.quiet(400, 60000)
        if not calm or calm["event"] != "quiet" or not self.client.dump(picture):
            return f"no picture: {calm}", ""
        one, other = Picture.open(server).convert("RGB"), Picture.open(picture).convert("RGB")
        mask = self.losses.masks[0]
        if one.size != other.size or one.size != mask.size:
            return f"sizes {one.size}, {other.size}, {mask.size}", ""
        off = ImageChops.difference(one, other)
        exact = Picture.composite(Picture.new("RGB", off.size), off, mask)
        share = ImageStat.Stat(mask).mean[0] / 255
        found = max(ImageStat.Stat(off, mask).mean) if share else 0
        told = f"{share:.0%} of the screen has losses, mean difference {found:.2f}"
        if exact.getbbox():
            return f"pixels without losses differ within {exact.getbbox()}", told
        return f"mean difference {found:.2f}, allowed {mean}" if found > mean else None, told

    def close(self):
        self.client.close()
        self.relay.__exit__()


def settled(watched, host, dump, scratch, when, mean):
    """Compares now; on a busy machine a client may have been quiet too early, so it is asked again."""
    server, picture = os.path.join(scratch, "server.ppm"), os.path.join(scratch, "client.ppm")
    for _ in range(4):
        host.ask(f"{dump[0]} {server}", dump[1])
        wrong, told = watched.compare(server, picture, mean)
        if wrong is None:
            break
    rules = watched.losses.wrong or None
    kinds = {kind: count for kind, count in sorted(watched.losses.images.items())}
    report.none_wrong(f"{when}: {watched.name}", wrong or rules, f"{told}; images {kinds}")


def some_draws(host, watched, count):
    """A few at a time: commands that a client has no time for become pixels, which have no losses."""
    for _ in range(0, count, 8):
        host.ask("draw 8", "drawn")
        watched.client.quiet(20, 2000)


def draws(options, scratch):
    command = [options.program, "--seed", str(options.seed), "--level", str(options.level)]
    command += ["--bottom-up"] if options.bottom_up else []
    command += ["--smooth"] if options.smooth else []
    command += ["--compression", str(options.compression), "--jpeg", str(ALWAYS)]
    with Host(command, free_port(), options.lib, SPICE_DEBUG_ALLOW_MC="1") as host:
        dump = "dump", "dumped"
        early = Watched(host, scratch, "early client")
        some_draws(host, early, options.count // 2)
        settled(early, host, dump, scratch, "half way", options.mean)
        late = Watched(host, scratch, "late client")
        some_draws(host, late, options.count - options.count // 2)
        for watched in (early, late):
            settled(watched, host, dump, scratch, "at the end", options.mean)
        report.check("JPEG was sent", early.losses.images[JPEG] > 0, f"{early.losses.images}")
        if options.level >= 4:
            report.check("JPEG_ALPHA was sent", early.losses.images[JPEG_ALPHA] > 0)
        for watched in (early, late):
            watched.close()
        report.none_wrong("host", host.end())


def traces(options, scratch):
    for name in options.names:
        trace = os.path.join(options.traces, f"{name}.rec.zst")
        if not os.path.exists(trace):
            print(f"SKIPPED 3: {trace} is not there")
            continue
        command = [options.program, trace, "--obey"]
        command += ["--compression", str(options.compression), "--jpeg", str(ALWAYS)]
        with Host(command, free_port(), options.lib, SPICE_DEBUG_ALLOW_MC="1") as host:
            # The screen comes with the recording.
            host.ask("play 200", "played")
            early = Watched(host, scratch, "early client")
            for commands in (options.count, 999999999):
                host.ask(f"play {commands}", "played")
                settled(early, host, ("picture", "picture"), scratch, f"{name}, {commands} commands", options.mean)
            early.close()
            report.none_wrong(f"{name}: host", host.end())


def slow(options, scratch):
    """The net test of one client says that its link is slow, and only that client gets JPEG."""
    command = [options.program, "--seed", str(options.seed), "--level", "1", "--smooth"]
    command += ["--compression", str(options.compression), "--jpeg", str(AUTO)]
    with Host(command, free_port(), options.lib, SPICE_DEBUG_ALLOW_MC="1") as host:
        # 3.2 Mbit/s; below 10.5 a link is slow.
        clients = [
            Watched(host, scratch, "slow client", pace={MAIN: 400_000}),
            Watched(host, scratch, "fast client"),
        ]
        host.ask(f"draw {options.count}", "drawn")
        for watched in clients:
            settled(watched, host, ("dump", "dumped"), scratch, "at the end", options.mean)
        lame, fast = clients
        report.check("the slow client gets JPEG", lame.jpegs() > 0, f"{lame.losses.images}")
        report.check("the fast client does not", fast.jpegs() == 0, f"{fast.losses.images}")
        windows = lame.windows + fast.windows
        report.check("the slow client acknowledges less often", windows == [40, 20], f"{windows}")
        for watched in clients:
            watched.close()
        report.none_wrong("host", host.end())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--level", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bottom-up", action="store_true")
    parser.add_argument("--compression", type=int, default=4, help="SpiceImageCompression")
    parser.add_argument("--mean", type=float, default=4)
    parser.add_argument("--smooth", action="store_true", help="pictures like photographs; others lose more")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--traces", default="../shared/traces")
    parser.add_argument("--keep", help="directory for the pictures")
    parser.add_argument("names", nargs="*", default=["terminal", "office", "web"])
    options = parser.parse_args()
    part = slow if options.slow else traces if "replay" in os.path.basename(options.program) else draws
    with tempfile.TemporaryDirectory() as scratch:
        part(options, options.keep or scratch)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

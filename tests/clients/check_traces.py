#!/usr/bin/python3
"""Recordings of real guests, played on our library and on the system's (spice-server) by the same C player: the last
picture (update_area), a spicy-screenshot of it, and both at seeded points in the middle are the same on both, and a
stock client that comes at such a point and stays follows to the end.

  check_traces.py --program DIR/replay_player [--lib DIR] [--traces DIR] [--points 10] [--stay 2] [--seed 1]
                  [--keep DIR] [NAME...]

Prints SKIPPED where the recordings or spice-server are missing.
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile

from driver import Client, difference, free_port
from hosts import Host, Report, ends_equal, screenshot

ALL = "999999999"
report = Report()


def picture_of(client, path):
    """Writes what a stock client shows; None or what is wrong."""
    if not client.seen("primary-create") and not client.connected(30):
        return "does not come in"
    calm = client.quiet(300, 60000)
    if not calm or calm["event"] != "quiet":
        return f"not quiet: {calm}"
    return None if client.dump(path) else "no picture"


class Play:
    """One recording on one library. `pictures`: moment -> (size and checksum) of the server's."""

    def __init__(self, options, trace, which, lib, scratch):
        self.options = options
        self.trace = trace
        self.which = which
        self.lib = lib
        self.scratch = scratch
        self.pictures = {}
        self.name = f"{os.path.basename(trace).split('.')[0]} on {which}"

    def host(self):
        # A newcomer would replace the clients that stay.
        command = [self.options.program, self.trace, "--obey"]
        path = os.path.join(self.scratch, f"{self.which}.socket")
        if self.options.compression:
            command += ["--compression", str(self.options.compression)]
        if self.options.zlib:
            command += ["--zlib", str(self.options.zlib)]
            path = free_port()
        return Host(command, path, self.lib, SPICE_DEBUG_ALLOW_MC="1")

    def file(self, name):
        return os.path.join(self.scratch, f"{self.which}-{name}.ppm".replace(" ", "-"))

    def look(self, host, moment):
        """The server's picture, which a spicy-screenshot has to equal."""
        server, shot = self.file(f"{moment}-server"), self.file(f"{moment}-screenshot")
        self.pictures[moment] = host.ask(f"picture {server}", "picture")
        wrong = screenshot(host.path, shot) or difference(server, shot)
        report.none_wrong(f"{self.name}, {moment}: spicy-screenshot", wrong, self.pictures[moment])
        return server

    def whole(self):
        """Without clients to the end; the number of commands."""
        with self.host() as host:
            played = host.ask(f"play {ALL}", "played")
            self.look(host, "end")
            report.none_wrong(f"{self.name}: commands released", host.end(), played)
        return int(played.split()[1])

    def in_pieces(self, points, staying):
        """Stops at each point; clients come while it stands still, every other one of those that stay when it has
        gone on."""
        clients = {}
        with self.host() as host:
            place = {"port" if isinstance(host.path, int) else "unix": host.path}
            for number, point in enumerate(points):
                host.ask(f"play {point}", "played")
                server = self.look(host, f"{point}")
                if point in staying and len(clients) % 2 == 1:
                    clients[f"{point}-playing"] = Client(**place)
                    continue
                client = Client(**place)
                picture = self.file(f"{point}-client")
                wrong = ends_equal(server, picture, lambda path: picture_of(client, path))
                report.none_wrong(f"{self.name}, {point}: a client that comes now", wrong)
                if point in staying:
                    clients[f"{point}"] = client
                else:
                    client.close()
            host.ask(f"play {ALL}", "played")
            server = self.look(host, "end in pieces")
            for name, client in clients.items():
                picture = self.file(f"{name}-stayed")
                wrong = ends_equal(server, picture, lambda path: picture_of(client, path))
                report.none_wrong(f"{self.name}: the client that came at {name} and stayed", wrong)
                client.close()
            report.none_wrong(f"{self.name} in pieces: commands released", host.end())


def compare(options, trace, scratch):
    """One recording on both libraries."""
    plays = [Play(options, trace, "ours", options.lib, scratch)]
    if has_reference():
        plays.append(Play(options, trace, "spice-server", None, scratch))
    else:
        print(f"SKIPPED {2 * options.points + 2}: {trace} is not compared, libspice-server1 is not installed")
    counts = [play.whole() for play in plays]
    chosen = random.Random(options.seed)
    points = sorted(chosen.sample(range(1, counts[0]), options.points))
    staying = set(chosen.sample(points, min(options.stay, len(points))))
    for play in plays:
        play.in_pieces(points, staying)
        play.pictures["commands"] = counts[plays.index(play)]
        wrong = None if play.pictures["end"] == play.pictures["end in pieces"] else f"{play.pictures}"
        report.none_wrong(f"{play.name}: the end does not depend on clients", wrong)
    if len(plays) == 2:
        ours, theirs = (play.pictures for play in plays)
        wrong = "; ".join(f"{key}: {ours[key]} and {theirs[key]}" for key in ours if ours[key] != theirs[key])
        # The screenshots equal their server's picture, so they are equal as well; that of the end is looked at.
        wrong = wrong or difference(plays[0].file("end-screenshot"), plays[1].file("end-screenshot"))
        report.none_wrong(f"{plays[0].name.split()[0]}: {len(ours) - 1} pictures equal on both libraries", wrong or None)


def has_reference():
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    return "libspice-server.so.1 " in known


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--traces", default="../shared/traces")
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--stay", type=int, default=2, help="how many points have a client that stays to the end")
    parser.add_argument("--compression", type=int, help="SpiceImageCompression; over TCP, for nothing is compressed on unix sockets")
    parser.add_argument("--zlib", type=int, help="spice_wan_compression_t for GLZ images: 2 always")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="directory for the pictures")
    parser.add_argument("names", nargs="*", default=["terminal", "office", "web"])
    options = parser.parse_args()
    for name in options.names:
        trace = os.path.join(options.traces, f"{name}.rec.zst")
        if not os.path.exists(trace):
            print(f"SKIPPED {4 * options.points + 5}: {trace} is not there")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            if options.keep:
                scratch = os.path.join(options.keep, name)
                os.makedirs(scratch, exist_ok=True)
            compare(options, trace, scratch)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

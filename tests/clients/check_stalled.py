#!/usr/bin/python3
"""A client whose display socket is not read while a recording plays in a loop: the host's memory stays within what
docs/limits.md says, another client sees everything meanwhile, and on waking the client shows the right picture. In
runs longer than the server's patience (60 s), a client that is silent altogether is seen off.

  check_stalled.py --program DIR/replay_player [--lib DIR] [--trace FILE] [--seconds 600] [--samples FILE]
                   [--log FILE]

Prints SKIPPED where the recording is missing.
"""
import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time

from driver import Client
from hosts import Host, Report, ends_equal
from relay import CURSOR, DISPLAY, INPUTS, MAIN, Relay

# docs/limits.md, "One client that does not read": 26 MiB and two screens (1280x800).
ONE_CLIENT_KIB = 26 * 1024 + 2 * 1280 * 800 * 4 // 1024
# The same place, what a display with several clients has: results and pictures that they share, blocks to be used again
# by the display's thread and by one worker.
DISPLAY_KIB = (16 + 8 + 16 + 16) * 1024
# AUTO_LZ: a client's dictionary is another matter.
COMPRESSION = "3"
# Silence after which a client goes, how often it is asked to speak (docs/limits.md), and what a busy machine may add.
SILENCE, PING_EVERY, MARGIN = 60, 15, 25
# By how much the memory may drift from the first third of the time to the last: pictures of the recording come and go.
DRIFT_KIB = 12 * 1024
SAMPLE = 1
ALL = "999999999"

report = Report()


def reset_peak(host):
    """VmHWM counts from now on."""
    with open(f"/proc/{host.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def played(host):
    return int(host.ask("play 0", "played").split()[1])


def alone(host):
    """All of the recording without clients: commands per second."""
    start = time.monotonic()
    return int(host.ask(f"play {ALL}", "played").split()[1]) / (time.monotonic() - start)


def loop(host, seconds, look):
    """Plays that long and returns commands per second; calls `look` from time to time."""
    before = played(host)
    host.tell(f"loop {seconds}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        look()
        time.sleep(min(SAMPLE, max(0, end - time.monotonic())))
    return (int(host.answer("looped", 120).split()[3]) - before) / seconds


def shows(client, server, path, name):
    def write(picture):
        calm = client.quiet(400, 60000)
        if not calm or calm["event"] != "quiet":
            return f"not quiet: {calm}"
        return None if client.dump(picture) else "no picture"

    report.none_wrong(name, ends_equal(server, path, write))


class Watch:
    """What is looked at while the client is stalled."""

    def __init__(self, host, live, others, silent):
        self.host, self.live, self.others, self.silent = host, live, others, silent
        self.start = time.monotonic()
        self.memory = []  # (seconds, KiB)
        self.changes = []  # of the live client's picture
        self.gone_after = None

    def look(self):
        now = time.monotonic() - self.start
        self.memory.append((now, self.host.memory()))
        state = self.live.state()
        self.changes.append(state["changes"] if state else -1)
        for client in self.others:
            client.pump(0)  # one that cannot print its events does not answer the server
        if self.gone_after is None and self.silent.pairs and all(pair.gone() for pair in self.silent.pairs):
            self.gone_after = now
            # What it held is given back.
            self.memory.clear()
            reset_peak(self.host)


def check(options, scratch):
    # Commands that wait for the server are the host's memory, not the server's: a short ring.
    command = [options.program, options.trace, "--obey", "--ring", "4", "--compression", COMPRESSION]
    path = os.path.join(scratch, "host")
    host = Host(command, path, options.lib, options.log, SPICE_DEBUG_ALLOW_MC="1")
    server, picture = os.path.join(scratch, "server.ppm"), os.path.join(scratch, "client.ppm")
    with host, Relay(host.path, scratch) as relay, Relay(host.path, scratch) as silent:
        rate_alone = alone(host)
        before = host.memory("VmHWM")
        with contextlib.ExitStack() as stack:
            live = stack.enter_context(Client(unix=host.path))
            client = stack.enter_context(Client(unix=relay.path))
            names = {"live": live, "stalled": client}
            if options.seconds > SILENCE + MARGIN:
                names["silent"] = stack.enter_context(Client(unix=silent.path))
            for name, one in names.items():
                report.check(f"the {name} client comes in", one.connected(30))
            watch = Watch(host, live, list(names.values())[1:], silent)
            main, display = relay.channels(MAIN)[0], relay.channels(DISPLAY)[0]
            reset_peak(host)
            relay.hold(DISPLAY)
            silent.silence(MAIN, DISPLAY, INPUTS, CURSOR)
            heard, seen = main.received, display.received
            rate = loop(host, options.seconds, watch.look)
            cost = host.memory("VmHWM") - before
            third = len(watch.memory) // 3
            first, last = (
                statistics.median(kib for _, kib in part) for part in (watch.memory[:third], watch.memory[-third:])
            )
            # The live client may be slow as well, on a busy machine.
            figures = f"{cost} KiB at most over the {before} KiB without clients"
            limit = 2 * ONE_CLIENT_KIB + DISPLAY_KIB
            report.check("two clients cost no more than their display and they may", cost < limit, figures)
            figures = f"median of the first third {first:.0f} KiB, of the last {last:.0f} KiB"
            if options.seconds > SILENCE:  # several passes
                report.check("the memory stays where it is", last - first < DRIFT_KIB, figures)
            speed = f"{rate:.0f} commands/s, {rate_alone:.0f} without clients"
            # This shares its machine with the clients and with others.
            report.check("nobody is held up", rate > rate_alone / 5, speed)
            moves = sum(b > a for a, b in zip(watch.changes, watch.changes[1:]))
            figures = f"changes in {moves} of {len(watch.changes) - 1} samples"
            report.check("the live client sees changes all the time", moves > 0.8 * len(watch.changes) - 2, figures)
            unread = display.received - seen
            # What was under way when the relay was told.
            report.check("the display is not read", unread < 1 << 20, f"{unread} bytes")
            alive = not any(pair.gone() for pair in relay.channels(MAIN) + relay.channels(DISPLAY))
            report.check("the stalled client is kept", alive)
            if "silent" in names:
                report.check("its main channel was spoken to", main.received > heard, f"{main.received - heard} bytes")
                gone = watch.gone_after
                good = gone is not None and SILENCE - PING_EVERY <= gone <= SILENCE + MARGIN
                report.check("the silent client is seen off", good, "never" if gone is None else f"after {gone:.0f} s")
            host.ask(f"picture {server}", "picture")
            shows(live, server, picture, "the live client shows the picture")
            relay.release(DISPLAY)
            shows(client, server, picture, "the stalled client shows the picture on waking")
            host.ask(f"play {played(host) + 500}", "played")
            host.ask(f"picture {server}", "picture")
            shows(client, server, picture, "and follows from there")
            if options.samples:
                with open(options.samples, "w", encoding="ascii") as file:
                    file.writelines(f"{now:.1f} {kib}\n" for now, kib in watch.memory)
        wrong = host.end()
        report.check("commands released", wrong is None, wrong or "")
        failed = relay.failure or silent.failure
        report.check("the relays worked", failed is None, f"{failed!r}" if failed else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    # 2.2 GB of pixels in a few seconds: the heaviest of the recordings.
    parser.add_argument("--trace", default="../shared/traces/web.rec.zst")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--samples", help="file for seconds and VmRSS in KiB")
    parser.add_argument("--log", help="file for what the host says on standard error")
    options = parser.parse_args()
    if not os.path.exists(options.trace):
        print(f"SKIPPED 14: {options.trace} is not there")
        return
    with tempfile.TemporaryDirectory() as scratch:
        check(options, scratch)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

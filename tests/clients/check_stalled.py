#!/usr/bin/python3
"""A client whose display socket is not read while a recording plays in a loop: the host's memory stays within what
docs/limits.md says, another client sees everything meanwhile, and on waking the client shows the right picture. In
runs longer than the server's patience (60 s), a client that is silent altogether is seen off.

  check_stalled.py --program DIR/replay_player [--lib DIR] [--trace FILE] [--seconds 600] [--samples FILE]
                   [--log FILE]

Prints SKIPPED where the recording is missing.
"""
import argparse
import os
import statistics
import sys
import tempfile
import time

from driver import Client, difference
from hosts import Host, Report
from relay import CURSOR, DISPLAY, INPUTS, MAIN, Relay

# docs/limits.md, "One client that does not read": 24 MiB and one screen (1280x800).
STALLED_COST_KIB = 24 * 1024 + 1280 * 800 * 4 // 1024
# Silence after which a client goes, how often it is asked to speak (docs/limits.md), and what a busy machine may add.
SILENCE, PING_EVERY, MARGIN = 60, 15, 25
WARM_UP = 8
SAMPLE = 2

report = Report()


def reset_peak(host):
    """VmHWM counts from now on."""
    with open(f"/proc/{host.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def loop(host, seconds, every=lambda: None):
    """Plays that long and returns commands per second; calls `every` from time to time."""
    before = played(host)
    host.tell(f"loop {seconds}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        every()
        time.sleep(min(SAMPLE, max(0, end - time.monotonic())))
    return (int(host.answer("looped", 120).split()[3]) - before) / seconds


def played(host):
    return int(host.ask("play 0", "played").split()[1])


def shows(client, server, path, name):
    calm = client.quiet(400, 60000)
    if not calm or calm["event"] != "quiet" or not client.dump(path):
        report.check(name, f"no picture, {calm}")
        return
    report.check(name, difference(server, path))


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
        if self.gone_after is None and all(pair.gone() for pair in self.silent.pairs):
            self.gone_after = now


def check(options, scratch):
    # Commands that wait for the server are the host's memory, not the server's: a short ring.
    command = [options.program, options.trace, "--obey", "--ring", "4"]
    path = os.path.join(scratch, "host")
    host = Host(command, path, options.lib, options.log, SPICE_DEBUG_ALLOW_MC="1")
    server, picture = os.path.join(scratch, "server.ppm"), os.path.join(scratch, "client.ppm")
    with host, Relay(host.path, scratch) as relay, Relay(host.path, scratch) as silent:
        host.ask("play 100", "played")
        with Client(unix=host.path) as live, Client(unix=relay.path) as client, Client(unix=silent.path) as mute:
            for one, name in ((live, "live"), (client, "stalled"), (mute, "silent")):
                report.check(f"the {name} client comes in", None if one.connected(30) else "it does not")
            lively = loop(host, WARM_UP)
            before, main = host.memory("VmHWM"), relay.channels(MAIN)[0]
            reset_peak(host)
            watch = Watch(host, live, (client, mute), silent)
            relay.hold(DISPLAY)
            silent.silence(MAIN, DISPLAY, INPUTS, CURSOR)
            heard, display = main.received, relay.channels(DISPLAY)[0]
            seen = display.received
            rate = loop(host, options.seconds, watch.look)
            cost, after = host.memory("VmHWM") - before, host.memory()
            third = len(watch.memory) // 3
            parts = [statistics.median(kib for _, kib in part) for part in
                     (watch.memory[:third], watch.memory[third : 2 * third], watch.memory[2 * third :])]
            figures = (
                f"{cost} KiB more than {before} KiB at most, medians of the thirds "
                f"{', '.join(f'{kib:.0f}' for kib in parts)} KiB, {after} KiB at the end"
            )
            report.check("its cost is bounded", None if cost < STALLED_COST_KIB else figures, figures)
            speed = f"{rate:.0f} commands/s, {lively:.0f} when it read"
            report.check("it holds nobody up", None if rate > lively / 3 else speed, speed)
            moves = all(b > a for a, b in zip(watch.changes, watch.changes[1:]))
            report.check("the live client sees changes in every sample", None if moves else f"{watch.changes}")
            unread = display.received - seen
            # What was under way when the relay was told.
            report.check("its display is not read", f"{unread} bytes" if unread > 1 << 19 else None)
            alive = not any(pair.gone() for pair in relay.channels(MAIN) + relay.channels(DISPLAY))
            report.check("the stalled client is kept", None if alive else "it was dropped")
            if options.seconds > SILENCE + MARGIN:
                report.check("its main channel was spoken to", None if main.received > heard else "no byte")
                gone = watch.gone_after
                good = gone is not None and SILENCE - PING_EVERY <= gone <= SILENCE + MARGIN
                text = "never" if gone is None else f"after {gone:.0f} s"
                report.check("the silent client is seen off", None if good else text, text)
            else:
                early = watch.gone_after is not None
                report.check("the silent client is still waited for", "it is gone" if early else None)
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
        report.check("commands released", host.end())
        failed = relay.failure or silent.failure
        report.check("the relays worked", f"{failed!r}" if failed else None)


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
        print(f"SKIPPED 13: {options.trace} is not there")
        return
    with tempfile.TemporaryDirectory() as scratch:
        check(options, scratch)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""A workstation moves from host to host under one stock client: what runs meanwhile is whole afterwards.

  migration_station.py --lib DIR [--image DIR] [--rounds N] [--quick] [--only TEXT]

A small Linux guest (tests/guest/small) is moved from our library to our library, on to spice-server and back to ours, with one client
that stays. While it moves, a file is on its way to the agent, a port gives back what the client writes, numbered sound is played and
the screen changes without a pause. Reported beside it: how long the client's picture stood still. Without --lib all hosts are
spice-server.

Without seamless migration a client resets its agent connection, and what its port had in flight is lost with the connection, on spice-server
too: there the next file and the next bytes have to be whole.
"""
import argparse
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time

from machine import HERE, Machine
from moves import Mover, move
from small_guest import TEST_PORT, SmallGuest
from workstation_kit import RESULTS, Station, report, sha256
from workstation_sound import RAW, RATE, numbers

REFERENCE = "spice-server"
# main, display, inputs, cursor, playback, record, three ports; the USB channels stay away.
CHANNELS = 9
TALKATIVE = "n=0; while :; do n=$((n+1)); echo line $n >/dev/tty0; usleep 15000; done"


class Stop(Mover, SmallGuest):
    """A host on the way. The first one boots, the others wait for what comes."""

    def __init__(self, library, incoming, seamless, tls):
        spice, more = self.open_doors(library, incoming, seamless, tls)
        super().__init__(*more, spice=spice)


class Journey(Station):
    """A station whose guest changes hosts."""

    def __init__(self, work, options, libraries, seamless, tls):
        self.work, self.quick = work, options.quick
        self.names, self.seamless, self.tls = options.names, seamless, tls
        self.libraries = libraries
        self.client = None
        self.guest = Stop(libraries[0], False, seamless, tls)
        self.guest.ready(180)
        where, doors = self.guest.client_options()
        self.client = self.guest.viewer("--audio", program="station_client.py", settings=RAW)
        if not self.client.connected(60):
            raise RuntimeError(f"the client did not get through: {self.client.events[-5:]}")
        if not self.start_agent():
            raise RuntimeError("the client does not hear of the agent")
        self.guest.must("sound mixer 100")
        self.guest.start(f"ports echo /dev/virtio-ports/{TEST_PORT}")
        if self.client.wait("port", 15, port=TEST_PORT, opened=True) is None:
            raise RuntimeError("the client does not hear of the port")
        self.guest.start(TALKATIVE)

    def name(self, library):
        return self.names[library]

    def hop(self, number, library):
        """One move; (how long the picture stood still, seconds until all said so)."""
        source, client = self.guest, self.client
        how = f"{'seamless' if self.seamless else 'semi-seamless'}, {'TLS' if self.tls else 'plain'}"
        title = f"{self.name(source.library)} to {self.name(library)}, {how}"
        target = Stop(library, True, self.seamless, self.tls)
        try:
            return self.travel(number, source, target, title)
        finally:
            self.guest = target
            source.end()

    def travel(self, number, source, target, title):
        client = self.client
        size = (16 if self.quick else 32) << 20
        sent, echoed = self.file("moving.bin", size, f"file {number}"), self.file("echoed.bin", size, f"port {number}")
        heard = self.file("heard.raw")
        client.events.clear()
        client.taken = 0
        client.send("listen", heard)
        source.start(f"sound play counter {12 if self.quick else 20}")
        if client.wait("playback", 20, what="start") is None:
            report(title, "no sound before")
        client.send("collect", TEST_PORT, size)
        client.send("write", TEST_PORT, echoed)
        client.send("copy", sent)
        source.comes(lambda: source.do("[ -s /tmp/agent/files/moving.bin ]")[0] == 0)
        client.send("gap")
        client.wait("gap")
        early, sizes = [], []

        def landed():
            early.extend(client.seen("copied") + client.seen("collected"))
            sizes.append(os.path.getsize(heard))

        wrong, took = move(source, target, landed=landed, limit=120, channels=CHANNELS)
        if wrong:
            report(title, wrong)
            raise RuntimeError(wrong)
        copied = client.wait("copied", 120)
        client.taken = 0
        collected = client.wait("collected", 60 if self.seamless else 5)
        client.send("gap")
        gap = client.wait("gap")
        downtime = source.qmp.ask("query-migrate").get("downtime", 0) / 1000
        target.must("for i in $(seq 300); do pidof sound >/dev/null || exit 0; sleep 0.1; done; exit 1", 60)
        client.send("hear-no-more")
        client.wait("heard")
        self.guest = target
        wrong = [f"over before the move: {event}" for event in early]
        wrong += self.sound(heard, sizes[0])
        detail = [f"picture stood for {gap['seconds']:.2f} s, machine {downtime:.2f} s, all told after {took:.2f} s"]
        wrong += self.whole(target, copied, sent, collected, echoed, detail)
        if client.seen("disconnected"):
            wrong.append("the session was disconnected")
        report(title, wrong, "; ".join(detail))
        return gap["seconds"], took

    def whole(self, target, copied, sent, collected, echoed, detail):
        """File and port: intact if seamless, else usable again."""
        wrong = []
        if copied is None:
            wrong.append("nothing is heard of the file")
        elif copied["error"]:
            (wrong if self.seamless else detail).append(f"file: {copied['error']}")
        elif target.sha256("/tmp/agent/files/moving.bin") != sha256(sent):
            wrong.append("the file has other bytes")
        if collected is None:
            (wrong if self.seamless else detail).append("the port lost bytes")
        elif collected["sha256"] != sha256(echoed):
            wrong.append("the port brought other bytes")
        target.must("rm -f /tmp/agent/files/*")
        return wrong

    def sound(self, heard, arrived):
        """Numbered frames before the move and after it, none twice."""
        with open(heard, "rb") as file:
            data = file.read()
        before, after = numbers(data[: arrived // 4 * 4]), numbers(data[arrived // 4 * 4 :])
        wrong = [f"{part[5]} frames of sound {when} the move are nothing that was played" for part, when in ((before, "before"), (after, "after")) if part[5]]
        wrong += ["no sound before the move"] if before[0] < RATE // 4 else []
        wrong += ["sound does not resume"] if after[0] < RATE // 2 else []
        wrong += ["sound came again or out of order"] if numbers(data)[3] else []
        return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--image", default=os.path.join(HERE, "../../target/small-guest"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small files, and one round of seamless moves only")
    parser.add_argument("--only", default="", help="'seamless', 'semi', 'plain', 'TLS'")
    options = parser.parse_args()
    ours = os.path.abspath(options.lib) if options.lib else None
    options.names = {ours: "ours", None: REFERENCE} if ours else {None: REFERENCE}
    SmallGuest.image = os.path.abspath(options.image)
    begun = time.monotonic()
    stood = {}
    for number, seamless, tls in itertools.product(range(options.rounds), (True, False), (False, True)):
        words = ["seamless" if seamless else "semi", "TLS" if tls else "plain"]
        if options.only and not set(options.only.split(",")) <= set(words) or options.quick and (number or not seamless or tls):
            continue
        libraries = [ours, ours, None, ours]
        work = tempfile.mkdtemp(prefix="journey-")
        journey = None
        try:
            journey = Journey(work, options, libraries, seamless, tls)
            for hop, library in enumerate(libraries[1:]):
                way = (options.names[libraries[hop]], options.names[library], words[0])
                stood.setdefault(way, []).append(journey.hop(hop, library))
        except (RuntimeError, TimeoutError, OSError) as error:
            report(f"journey, {', '.join(words)}", str(error))
        finally:
            if journey:
                journey.close()
            shutil.rmtree(work, ignore_errors=True)
    for (one, other, how), times in stood.items():
        print(f"{one} to {other}, {how}: picture stood {statistics.median(t[0] for t in times):.2f} s, "
              f"at most {max(t[0] for t in times):.2f}; source told after {statistics.median(t[1] for t in times):.2f} s; {len(times)} moves")
    print(f"{RESULTS['PASS']} passed, {RESULTS['FAIL']} failed, {time.monotonic() - begun:.0f} s")
    return 1 if RESULTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())

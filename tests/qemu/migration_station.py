#!/usr/bin/python3
"""A workstation moves from host to host under one stock client: what runs meanwhile is whole afterwards.

  migration_station.py --lib DIR [--image DIR] [--rounds N] [--quick] [--only TEXT]

A small Linux guest (tests/guest/small) is moved from our library to our library, on to spice-server and back to ours, with one client
that stays. While it moves, a file is on its way to the agent, a port gives back what the client writes, numbered sound is played and
the screen changes without a pause. Reported beside it: how long the client's picture stood still. Without --lib all hosts are
spice-server.

Without seamless migration a stock client gives a file up that is on its way, and what its ports have in flight is lost with their
connections, also between two spice-servers: there file and bytes begin when the machine has moved.
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
# Keys of a US keyboard, scan codes and letters, typed round and round: that one is missing shows.
KEYS = [*range(2, 12), *range(16, 26), *range(30, 39), *range(44, 51)]
LETTERS = "1234567890qwertyuiopasdfghjklzxcvbnm"
EACH_MS = 40
TALKATIVE = "n=0; while :; do n=$((n+1)); echo line $n >/dev/tty0; usleep 15000; done"


def typing(text):
    """(keys that are missing between others, keys that came again or out of order)"""
    lost = again = 0
    for one, other in zip(text, text[1:]):
        step = (LETTERS.find(other) - LETTERS.find(one)) % len(LETTERS)
        if 1 <= step <= len(LETTERS) * 2 // 3:
            lost += step - 1
        else:
            again += 1
    return lost, again


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
        # In one shell: the console forgets its settings when nobody has it open.
        self.guest.must("(stty raw -echo; exec cat) </dev/tty1 >>/tmp/typed 2>/dev/null &")
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
        size = 32 << 20
        sent, echoed = self.file("moving.bin", size, f"file {number}"), self.file("echoed.bin", size, f"port {number}")
        heard = self.file("heard.raw")
        client.events.clear()
        client.taken = 0
        client.send("listen", heard)
        source.start(f"sound play counter {12 if self.quick else 20}")
        if client.wait("playback", 20, what="start") is None:
            report(title, "no sound before")

        def begin():
            client.send("collect", TEST_PORT, size)
            client.send("write", TEST_PORT, echoed, 1 << 20)
            client.send("copy", sent)

        if self.seamless:
            begin()
            source.comes(lambda: source.do("[ -s /tmp/agent/files/moving.bin ]")[0] == 0)
        source.must(": >/tmp/typed")
        client.send("type", EACH_MS, (6 if self.quick else 10) * 1000 // EACH_MS, *KEYS)
        client.send("gap")
        client.wait("gap")
        early, sizes = [], []

        def landed():
            early.extend(client.seen("copied") + client.seen("collected"))
            sizes.append(os.path.getsize(heard))

        wrong, took = move(source, target, landed=landed, limit=120, channels=CHANNELS)
        if wrong:
            raise RuntimeError(f"{title}: {wrong}; target: {target.output()[-400:].strip()}; source: {source.output()[-400:].strip()}")
        if not self.seamless:
            self.wait_agent(True)
            begin()
        copied = client.wait("copied", 120)
        client.taken = 0
        collected = client.wait("collected", 60)
        client.send("gap")
        gap = client.wait("gap")
        downtime = source.qmp.ask("query-migrate").get("downtime", 0) / 1000
        target.must("for i in $(seq 300); do pidof sound >/dev/null || exit 0; sleep 0.1; done; exit 1", 60)
        client.send("hear-no-more")
        client.wait("heard")
        client.taken = 0
        client.wait("typed", 30)
        # On a busy machine the move may take longer than what is to run across it.
        wrong = [] if self.quick else [f"over before the move: {event}" for event in early]
        detail = [f"picture stood for {gap['seconds']:.2f} s, machine {downtime:.2f} s, all told after {took:.2f} s"]
        wrong += self.sound(heard, sizes[0], detail)
        wrong += self.whole(target, copied, sent, collected, echoed)
        typed = target.must("sleep 1; cat /tmp/typed")
        lost, again = typing(typed)
        wrong += [f"{again} keys arrived again or out of order"] if again else []
        wrong += ["no key arrived"] if not typed else []
        detail.append(f"{lost} keys lost of {lost + len(typed)}")
        if client.seen("disconnected"):
            wrong.append("the session was disconnected")
        report(title, wrong, "; ".join(detail))
        return gap["seconds"], took

    def whole(self, target, copied, sent, collected, echoed):
        """File and port are intact."""
        wrong = []
        if copied is None or copied["error"]:
            wrong.append(f"file: {copied and copied['error']}")
        elif target.sha256("/tmp/agent/files/moving.bin") != sha256(sent):
            wrong.append("the file has other bytes")
        if collected is None:
            self.client.send("progress", TEST_PORT)
            found = self.client.wait("progress") or {}
            wrong.append(f"the port brought {found.get('collected')} bytes back, {found.get('waiting')} pieces wait")
        elif collected["sha256"] != sha256(echoed):
            wrong.append("the port brought other bytes")
        target.must("rm -f /tmp/agent/files/*")
        return wrong

    def sound(self, heard, arrived, detail):
        """Numbered frames before the move and after it."""
        with open(heard, "rb") as file:
            data = file.read()
        before, after = numbers(data[: arrived // 4 * 4]), numbers(data[arrived // 4 * 4 :])
        wrong = [f"{part[5]} frames of sound {when} the move are nothing that was played" for part, when in ((before, "before"), (after, "after")) if part[5]]
        wrong += ["no sound before the move"] if before[0] < RATE // 4 else []
        wrong += ["sound does not resume"] if after[0] < RATE // 2 else []
        # The sound card goes back in its ring when it has moved, on spice-server too.
        gaps, missing, back = numbers(data)[1:4]
        detail.append(f"sound: {gaps} gaps with {missing / RATE:.2f} s, {back} times back")
        wrong += [f"sound comes again {back} times"] if back > 1 else []
        return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--image", default=os.path.join(HERE, "../../target/small-guest"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one journey, seamless")
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
                times = journey.hop(hop, library)
                stood.setdefault(way, []).append(times)
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

#!/usr/bin/python3
"""The same sound on both libraries: what the host's calls return, and every message to the client, in order and content.

  compare_sound.py --program DIR/serve_sound --lib DIR

Times are left out. DIFFERENCES has the beginnings of lines on which Cayenne differs, with the reason; one that no line needs
fails.
"""
import argparse
import hashlib
import os
import struct
import sys
import tempfile

from check_hearing import installed
from hosts import Host, Report
from sound_session import (
    PATIENCE, CAP_OPUS, CAP_RECORD_OPUS, CAP_VOLUME, CHANNELS_LIST, DATA, MODE, MULTI_MEDIA_TIME, OPUS, PLAYBACK, R_DATA, R_MODE,
    R_START_MARK, RAW, RECORD, START, Session, settle,
)

# Beginning of a line, and why it is another one.
DIFFERENCES = {
    "take 4000 -> take 4000 sum": "0.15.1 copies the wrong bytes behind the end of its ring",
    "take 16384 -> take 4192 sum": "the same",
    "record 80000:": "spice-server takes messages of any size; ours at most 65 KiB (docs/limits.md)",
    "record 66561:": "the same",
}


class Script:
    def __init__(self, host, address):
        self.host = host
        self.lines = []
        self.session = Session(address)
        self.marks = {}

    def ask(self, line):
        self.lines.append(f"{line} -> {self.host.ask(line, line.split()[0])}")

    def link(self, name, kind, caps=0, mini=True):
        self.marks[name] = (self.session.link(kind, caps, mini), 0, kind)
        return self.marks[name][0]

    def show(self, what, *names):
        """What has come since the last time on these channels."""
        settle()
        for name in names:
            if name == "main":
                channel, kind = self.session.main, None
                seen = self.marks.get("main", (channel, 0, None))[1]
            else:
                channel, seen, kind = self.marks[name]
            log = channel.log
            new, self.marks[name] = log[seen:], (channel, len(log), kind)
            texts = [self.text(kind, *message) for message in new] + (["end"] if channel.ended else [])
            self.lines.append(f"{name} after {what}: {' '.join(texts) or 'nothing'}")

    @staticmethod
    def text(kind, number, body):
        if kind == PLAYBACK and number in (DATA, MODE):
            body = body[4:]
        elif kind == PLAYBACK and number == START:
            body = body[:10]
        elif kind is None and number == MULTI_MEDIA_TIME:
            body = b""
        elif kind is None and number == CHANNELS_LIST:
            # The order has no meaning.
            body = b"".join(sorted(body[i : i + 2] for i in range(4, len(body), 2)))
        elif kind is None:
            body = b""
        data = body.hex() if len(body) < 24 else f"{len(body)}:{hashlib.sha256(body).hexdigest()[:12]}"
        return f"{number}({data})"


def playback(script):
    ask, show = script.ask, script.show
    for line in ("add playback", "add record", "best", "get", "start playback", "stop playback", "put"):
        ask(line)
    show("start", "main")
    script.link("raw", PLAYBACK, CAP_VOLUME)
    show("link", "raw", "main")
    ask("start playback")
    for line in ("get", "get", "get", "get", "put", "put", "put"):
        ask(line)
    show("three buffers", "raw")
    ask("burst 3")
    show("a burst", "raw")
    ask("play 20")
    show("200 ms", "raw")
    ask("volume playback 5 65535")
    ask("mute playback 1")
    show("volume", "raw")
    ask("stop playback")
    show("stop", "raw", "main")
    ask("start playback")
    show("start", "raw", "main")
    ask("stop playback")
    ask("start playback")
    show("stop and start", "raw", "main")
    ask("get")
    script.link("opus", PLAYBACK, CAP_VOLUME | CAP_OPUS)
    show("second link", "raw", "opus", "main")
    ask("put")
    show("a buffer of the client before", "opus")
    ask("signal tone")
    ask("play 10")
    show("Opus", "opus")
    for on in (0, 0, 1):
        ask(f"compression {on}")
        ask("burst 1")
        show(f"compression {on}", "opus")
    ask("mute playback 0")
    script.link("mute", PLAYBACK)
    show("third link without capabilities", "opus", "mute", "main")
    ask("burst 1")
    ask("volume playback 1 2")
    show("volume", "mute")
    script.marks["mute"][0].close()
    show("closing playback while playing", "main")
    ask("get")
    ask("stop playback")
    show("stop without a client", "main")
    ask("rate playback 44100")
    script.link("44100", PLAYBACK, CAP_OPUS, mini=False)
    ask("start playback")
    ask("burst 1")
    show("44100 Hz", "44100")
    script.marks["44100"][0].send(101)
    show("a message", "44100", "main")
    ask("stop playback")
    ask("rate playback 24000")
    script.link("24000", PLAYBACK, CAP_OPUS)
    ask("start playback")
    ask("burst 2")
    show("24000 Hz", "24000")
    ask("remove playback")
    show("removal", "24000", "main")
    ask("add playback")
    show("adding", "main")


def record(script):
    ask, show = script.ask, script.show
    zero = struct.pack("<I", 0)
    ask("take 10")
    ask("volume record 3 4")
    ask("mute record 0")
    first = script.link("raw", RECORD, CAP_VOLUME)
    show("link", "raw")
    ask("start record")
    show("start", "raw")
    ask("take 10")
    numbers = struct.pack("<20000I", *range(20000))
    for size in (4 * 4095, 7):
        first.send(R_DATA, zero + numbers[:size])
        settle(0.1)
        ask("take 10")
    for count in (9000, 10):
        ask(f"take {count}")
    first.send(R_START_MARK, zero)
    first.send(R_DATA, zero)
    for size in (16000, 3000, 8000, 5000):
        first.send(R_DATA, zero + numbers[: 4 * size])
        settle(0.1)
        if size != 3000:
            ask("take 4000")
    ask("take 16384")
    show("data", "raw")
    ask("stop record")
    show("stop", "raw")
    first.send(R_DATA, zero + numbers[: 4 * 8000])
    settle(0.1)
    ask("start record")
    ask("take 10")
    show("start", "raw")
    opus = script.link("opus", RECORD, CAP_VOLUME | CAP_RECORD_OPUS)
    show("second link", "raw", "opus")
    for mode in (RAW, OPUS, OPUS):
        opus.send(R_MODE, struct.pack("<IH", 0, mode))
    for _ in range(12):
        opus.send(R_DATA, zero + b"\xf4\xff\xfe")
    show("a packet", "opus")
    ask("take 100")
    opus.send(R_DATA, zero + b"\xfc\xff\xfe")
    show("a packet of 20 ms", "opus")
    script.ask("take 10")
    bodies = [(R_MODE, struct.pack("<IH", 0, n)) for n in (0, 2, 4)] + [(R_MODE, struct.pack("<IHB", 0, 1, 7))]
    bodies += [(R_MODE, bytes(5)), (R_DATA, bytes(3)), (R_START_MARK, bytes(3)), (R_START_MARK, bytes(9)), (104, b"")]
    bodies += [(100, bytes(8)), (R_DATA, bytes(4)), (R_DATA, bytes(5))]
    for number, (kind, body) in enumerate(bodies):
        script.link("odd", RECORD).send(kind, body)
        show(f"odd message {number}", "odd")
    for size in (66560, 66561, 80000):
        channel = script.link("large", RECORD)
        channel.send(R_DATA, bytes(size))
        settle()
        script.lines.append(f"record {size}: {'closed' if channel.ended else 'taken'}")
    script.link("rate", RECORD, CAP_RECORD_OPUS)
    show("link", "rate")
    ask("rate record 44100")
    ask("stop record")
    ask("start record")
    script.marks["rate"][0].send(R_MODE, struct.pack("<IH", 0, OPUS))
    show("Opus at 44100 Hz", "rate")
    ask("remove record")
    show("removal", "main")
    ask("add record")
    show("adding", "main")
    ask("take 10")


def run(options, lib, scratch):
    address = os.path.join(scratch, "socket")
    with Host([options.program], address, lib) as host:
        script = Script(host, address)
        with script.session:
            playback(script)
            record(script)
        settle()
        script.lines.append(f"end: {host.end() or 'good'}")
    return script.lines


def compare(options, report):
    with tempfile.TemporaryDirectory() as scratch:
        ours = run(options, options.lib, scratch)
        if not installed():
            print("SKIPPED 1: sound is not compared, libspice-server1 is not installed")
            return report.check("the script ends well", ours[-1] == "end: good", ours[-1])
        theirs = run(options, None, scratch)
    listed = set(DIFFERENCES)
    for one, other in zip(ours, theirs):
        reason = next((why for start, why in DIFFERENCES.items() if one.startswith(start)), None)
        if one != other and not reason:
            report.check("the same", False, f"\n  ours         {one}\n  spice-server {other}")
        elif one != other:
            print(f"DIFFERENT {one} ({reason})")
            listed -= {start for start in listed if one.startswith(start)}
    report.check("what is listed as different is so", not listed, " ".join(listed))
    report.check("both libraries say the same", not report.failures and len(ours) == len(theirs), f"{len(ours)} lines")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", required=True, help="directory with libspice-server.so.1")
    options = parser.parse_args()
    for patience in (1, 4):
        PATIENCE[0] = patience
        report = Report()
        compare(options, report)
        if not report.failures:
            break
        print("once more, with more time between the steps: the machine may be busy", flush=True)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

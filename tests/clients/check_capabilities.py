#!/usr/bin/python3
"""Clients with different capabilities, several at once, show what the server has drawn, and get nothing that they did
not say they can take; the guest is told what all of them can do.

  check_capabilities.py --program DIR/replay_player [--lib DIR] [--count 600] [--seed 1] [--html]
                        [--traces DIR] [--part NAME...]

Parts: three (a stock client, one without any capability, one like spice-html5), each (stock clients that lack one
capability each, all at once), guest (what the guest is told). --html: fails for everything that spice-html5 cannot
draw; otherwise that is only counted.
"""
import argparse
import collections
import os
import sys
import tempfile

import display_model as model
from driver import Client, free_port
from hosts import Host, Report, ends_equal
from raw_client import RawClient
from relay import DISPLAY, Relay

EVERY_BIT = (1 << 32) - 1
# Names and bits of what a stock client may lack.
LACKS = {
    "all": EVERY_BIT,
    "composite": 1 << model.CAP_COMPOSITE,
    "a8-surface": 1 << model.A8_SURFACE,
    "monitors-config": 1 << model.MONITORS,
    "lz4": 1 << model.CAP_LZ4,
    "sized-stream": 1 << model.SIZED_STREAM,
    "stream-report": 1 << model.STREAM_REPORT,
    "codecs": 0b11_1111 << model.MULTI_CODEC,
}
# Bits that the guest is told of.
GUEST_BITS = 0b1111

# Milliseconds without a change after which a picture counts as the last one, and those until then.
QUIET, LIMIT = 400, 60000

report = Report()


class Stock:
    """A stock client behind a relay that takes capabilities away and reads along."""

    def __init__(self, host, scratch, lacks=0):
        self.wrong = collections.Counter()
        self.types = collections.Counter()
        self.relay = Relay(host.path, scratch, clear={DISPLAY: lacks}, watch=self.watch)
        self.relay.start()
        self.client = Client(unix=self.relay.path)
        self.up = self.client.connected(30)
        self.asked = False  # whether `settle` was called for the next picture

    def watch(self, pair, kind, body):
        if pair.kind == DISPLAY:
            self.types[kind] += 1
            wrong = model.allowed_by_capabilities(pair.caps, kind, body)
            if wrong:
                self.wrong[wrong] += 1

    def settle(self):
        """Begins to wait for the last change."""
        self.client.send("quiet", QUIET, LIMIT)
        self.asked = True

    def write_picture(self, path):
        """The picture after `settle`; None or what is wrong."""
        if not self.up:
            return "does not come in"
        calm = self.client.quiet(QUIET, LIMIT, asked=self.asked)
        self.asked = False
        if not calm or calm["event"] != "quiet":
            return f"not quiet: {calm}"
        if self.relay.failure:
            return f"the relay failed: {self.relay.failure!r}"
        return None if self.client.dump(path) else "no picture"

    def close(self):
        self.client.close()
        self.relay.__exit__()


class Html(RawClient):
    """A client that draws what spice-html5 does; `mini`: with short message headers, as that one has them."""

    def __init__(self, host, mini=True):
        super().__init__(host.path, model.Canvas(), model.HTML_CAPS, mini)

    @property
    def wrong(self):
        return self.canvas.wrong

    @property
    def types(self):
        return self.canvas.types


def beside(options, program):
    return os.path.join(os.path.dirname(options.program), program)


def host_of(options, scratch, kind):
    """The host and the line that draws some, with the answer, and the line that writes a picture."""
    path = os.path.join(scratch, f"{kind}.socket")
    if kind in ("random_draws", "odd_draws"):
        command = [beside(options, kind), "--seed", str(options.seed)]
        command += ["--level", "7" if kind == "random_draws" else "3"]
        steps = [f"draw {options.count // 3}"] * 3
        answers = ("drawn", "dump", "dumped")
    else:
        trace = os.path.join(options.traces, f"{kind}.rec.zst")
        command = [options.program, trace, "--obey"]
        # Over TCP and with LZ4 wanted: on unix sockets nothing is packed.
        command += ["--compression", "7"]
        path = free_port()
        # Somebody has to be there before anything is drawn.
        steps = ["play 20", "play 8000", "play 999999999"]
        answers = ("played", "picture", "picture")
    host = Host(command, path, options.lib, SPICE_DEBUG_ALLOW_MC="1")
    if kind not in ("random_draws", "odd_draws"):
        host.ask(steps.pop(0), "played")
    return host, steps, answers


def follow(options, scratch, kind, make, late=None):
    """Draws in steps; every client has to show the same as the server after each. `make(host)`: name -> client; those
    of `late` come after the first step."""
    host, steps, (drawn, dump, dumped) = host_of(options, scratch, kind)
    server = os.path.join(scratch, "server.ppm")
    with host:
        clients = make(host)
        for number, step in enumerate(steps):
            host.ask(step, drawn)
            host.ask(f"{dump} {server}", dumped)
            if late and number == 0:
                clients.update(late(host))
            for client in clients.values():
                client.settle()
            for name, client in clients.items():
                picture = os.path.join(scratch, f"{name}.ppm".replace(" ", "-").replace(",", ""))
                patience = 30 if options.html or not isinstance(client, Html) else 0
                wrong = ends_equal(server, picture, client.write_picture, patience)
                if wrong and isinstance(client, Html) and client.wrong and not options.html:
                    print(f"SKIPPED 1: {kind}, step {number + 1}: {name} got what it cannot draw: {wrong}")
                else:
                    report.none_wrong(f"{kind}, step {number + 1}: {name}", wrong)
        for name, client in clients.items():
            strict = options.html or not isinstance(client, Html)
            text = ", ".join(f"{count} x {what}" for what, count in client.wrong.most_common())
            kinds = ", ".join(f"{kind} x {count}" for kind, count in sorted(client.types.items()))
            if text and not strict:
                print(f"SKIPPED 1: {kind}: {name} got what it cannot draw: {text}")
            else:
                report.none_wrong(f"{kind}: {name} got only what it can take", text or None, kinds)
            client.close()
        report.none_wrong(f"{kind}: commands released", host.end())


def three(options, scratch):
    """A stock client, one without any capability and one like spice-html5, on one display; two of them again later."""

    def make(host):
        return {
            "stock client": Stock(host, scratch),
            "client without capabilities": Stock(host, scratch, EVERY_BIT),
            "html client": Html(host),
        }

    def late(host):
        return {
            "late client without capabilities": Stock(host, scratch, EVERY_BIT),
            "late html client, long headers": Html(host, mini=False),
        }

    for kind in ("random_draws", "odd_draws", "terminal"):
        if kind == "terminal" and not os.path.isdir(options.traces):
            print(f"SKIPPED 10: {options.traces} is not there")
            continue
        follow(options, scratch, kind, make, late)


def each(options, scratch):
    """Stock clients that lack one capability each, all on one display."""

    def make(host):
        return {f"client without {name}": Stock(host, scratch, bits) for name, bits in LACKS.items()}

    for kind in ("random_draws", "odd_draws"):
        follow(options, scratch, kind, make)


def guest(options, scratch):
    """The guest is told what all clients can do, as they come and as they go."""
    path = os.path.join(scratch, "guest.socket")
    host = Host([options.program, options.recording, "--obey"], path, options.lib, SPICE_DEBUG_ALLOW_MC="1")

    def told(clients):
        """What the guest ought to know; asked until it does, because channels come and go on their own."""
        words = [pair.caps for client in clients for pair in client.relay.channels(DISPLAY)]
        both = GUEST_BITS
        for word in words:
            both &= word
        wanted = f"present {int(bool(words))} {both if words else 0:02x}"
        said = None
        for _ in range(100):
            said = host.ask("caps", "caps")
            if said.endswith(wanted):
                return None
            host.ask("play 0", "played")
            clients[0].client.pump(0.05) if clients else os.sched_yield()
        return f"{said}, wanted {wanted}"

    with host:
        host.ask("play 3", "played")
        everything = Stock(host, scratch)
        report.none_wrong("guest: one client with everything", told([everything]))
        plain = Stock(host, scratch, LACKS["composite"])
        report.none_wrong("guest: and one without composite", told([everything, plain]))
        bare = Stock(host, scratch, EVERY_BIT)
        report.none_wrong("guest: and one without anything", told([everything, plain, bare]))
        bare.close()
        report.none_wrong("guest: it left", told([everything, plain]))
        everything.close()
        report.none_wrong("guest: the first one left", told([plain]))
        plain.close()
        report.none_wrong("guest: nobody is there", told([]))
        report.none_wrong("guest: commands released", host.end())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="replay_player; the other C hosts lie beside it")
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--html", action="store_true")
    parser.add_argument("--traces", default="../shared/traces")
    parser.add_argument("--recording", default="fuzz/seeds/replay/every_kind")
    parser.add_argument("--part", nargs="*", default=["three", "each", "guest"])
    options = parser.parse_args()
    for part in options.part:
        with tempfile.TemporaryDirectory() as scratch:
            {"three": three, "each": each, "guest": guest}[part](options, scratch)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

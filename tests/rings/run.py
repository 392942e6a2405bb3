#!/usr/bin/python3
"""QXL rings in shared memory, driven by a guest in a process of its own: one PASS or FAIL line each.

  run.py --hosts DIR --lib DIR [--count N] [--long]

--hosts has serve_ring and ring_guest, --lib our library. The same commands go through the callbacks of our library and of
spice-server: the screens have to be equal in every pixel, and each resource comes back once (the guest sees to that).
A stock client watches, stays through hand-overs and sees the same. Guests that lie are killed in a loop. --long: 10
million commands and 200 liars.
"""
import argparse
import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from driver import Client, difference  # noqa: E402
from hosts import Host, Report  # noqa: E402

report = Report()


class Rings(Host):
    def __init__(self, options, scratch, way, lib):
        path = os.path.join(scratch, f"{way}-{'ours' if lib else 'reference'}.sock")
        command = [os.path.join(options.hosts, "serve_ring"), "--guest", os.path.join(options.hosts, "ring_guest"), "--way", way]
        super().__init__(command, path, lib)

    def fields(self, line, timeout=300):
        """What is answered, by name; picture as text, the rest as numbers."""
        said = self.ask(line, line.split()[0], timeout)
        found = dict(re.findall(r"(guest|picture|calls|descriptors) (\S+)", said))
        return {name: value if name == "picture" else int(value) for name, value in found.items()}


def ways(options, scratch):
    """The same commands on each way."""
    pictures = {}
    for name, way, lib in (("ring", "ring", options.lib), ("callbacks", "callbacks", options.lib), ("spice-server", "callbacks", None)):
        with Rings(options, scratch, way, lib) as host:
            end = host.fields(f"round {options.count} 7")
            pictures[name] = end["picture"]
            wrong = "the guest failed" if end["guest"] else None
            if name == "ring" and end["calls"]:
                wrong = f"{end['calls']} callbacks for commands"
            report.none_wrong(f"{options.count} commands by {name}", wrong, f"{end['calls']} callbacks, picture {end['picture']}")
    report.none_wrong("the screens are equal", None if len(set(pictures.values())) == 1 else str(pictures))


def watched(options, scratch):
    """A stock client that stays."""
    mine, theirs = (os.path.join(scratch, name) for name in ("host.ppm", "client.ppm"))
    with Rings(options, scratch, "ring", options.lib) as host, Client(unix=host.path) as viewer:
        viewer.connected()
        for turn in range(4):
            end = host.fields(f"round {options.count // 10} {turn}")
            if turn % 2:
                before, end = end, host.fields("hand-over")
                report.none_wrong("hand-over", None if before["picture"] == end["picture"] else "the screen is another one")
            host.ask(f"write {mine}", "write")
            viewer.quiet(400, 20000)
            wrong = "the client has no picture" if not viewer.dump(theirs) else difference(mine, theirs)
            wrong = wrong or ("the guest failed" if end["guest"] else None)
            report.none_wrong(f"a stock client, round {turn}", wrong, "exact")


def liars(options, scratch):
    """Guests that lie until they are killed; afterwards an honest one is served as if nothing had been."""
    count = 200 if options.long else 15
    with Rings(options, scratch, "ring", options.lib) as host, Client(unix=host.path) as viewer:
        viewer.connected()
        first = host.fields("hostile 0.2 1000")
        memory = None
        for turn in range(count):
            last = host.fields(f"hostile 0.2 {turn}")
            if turn == count // 3:
                memory = host.memory("RssAnon")
        threads = len(os.listdir(f"/proc/{host.process.pid}/task"))
        grown = host.memory("RssAnon") - memory
        wrong = None if last["descriptors"] == first["descriptors"] else f"descriptors {first} -> {last}"
        wrong = wrong or (f"{grown} KiB more" if grown > 16384 else None)
        report.none_wrong(f"{count} guests that lie, killed", wrong, f"{last['descriptors']} descriptors, {threads} threads, {grown:+} KiB")
        end = host.fields(f"round {options.count // 10} 5")
        report.none_wrong("an honest guest afterwards", "the guest failed" if end["guest"] else None)
        mine, theirs = (os.path.join(scratch, name) for name in ("host.ppm", "client.ppm"))
        host.ask(f"write {mine}", "write")
        viewer.quiet(400, 20000)
        wrong = "the client has no picture" if not viewer.dump(theirs) else difference(mine, theirs)
        report.none_wrong("the same stock client sees it", wrong, "exact")


def many(options, scratch):
    with Rings(options, scratch, "ring", options.lib) as host:
        end = host.fields("round 10000000 3", 1200)
        report.none_wrong("10 million commands", "the guest failed" if end["guest"] else None, str(end))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", required=True)
    parser.add_argument("--lib", required=True)
    parser.add_argument("--count", type=int, default=50000)
    parser.add_argument("--long", action="store_true")
    options = parser.parse_args()
    options.lib, options.hosts = os.path.abspath(options.lib), os.path.abspath(options.hosts)
    with tempfile.TemporaryDirectory(prefix="rings-") as scratch:
        ways(options, scratch)
        watched(options, scratch)
        liars(options, scratch)
        if options.long:
            many(options, scratch)
    sys.exit(report.failures > 0)


if __name__ == "__main__":
    main()

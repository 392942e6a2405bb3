#!/usr/bin/python3
"""Stock clients that are slow, late, replaced or many: the picture is exact and the host's memory bounded.

  check_pace.py --program DIR/random_draws [--lib DIR] [--draws 20000] [--joins 10] [--stop 5] [--seed 1]
"""
import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

from driver import Client, difference

# What a client that does not read may cost the host: 16 MiB in its pipe and what lies in its outbox, doubled for
# the allocator, and a few MiB for what the draws themselves take.
SLOW_COST_KIB = 48 * 1024

failures = 0


def check(name, good, detail=""):
    global failures
    failures += not good
    print(f"{'PASS' if good else 'FAIL'} {name}{f': {detail}' if detail else ''}", flush=True)


class Host:
    """random_draws as a server."""

    def __init__(self, options, scratch, **environment):
        environment = {**os.environ, **environment}
        environment.pop("LD_LIBRARY_PATH", None)
        if options.lib:
            environment["LD_LIBRARY_PATH"] = options.lib
        self.path = os.path.join(scratch, "socket")
        self.picture = os.path.join(scratch, "server.ppm")
        command = [options.program, "--unix", self.path, "--seed", str(options.seed), "--level", "3"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        self.wait("ready")

    def wait(self, start):
        for line in self.process.stdout:
            if line.startswith(start):
                return
        raise SystemExit(f"FAIL host ended, exit {self.process.wait()}")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def draw(self, count):
        """Seconds that drawing took."""
        start = time.monotonic()
        self.tell(f"draw {count}")
        self.wait("drawn")
        return time.monotonic() - start

    def memory(self, field="VmRSS"):
        """KiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field))

    def shows_the_same(self, client, name):
        calm = client.quiet(400, 30000)
        self.tell(f"dump {self.picture}")
        self.wait("dumped")
        picture = f"{self.picture}.client"
        if not calm or calm["event"] != "quiet" or not client.dump(picture):
            check(name, False, f"no picture, {calm}")
        else:
            wrong = difference(self.picture, picture)
            check(name, wrong is None, wrong or "")

    def end(self):
        self.tell("quit")
        rest = self.process.stdout.read().split("\n")
        check("host's end", self.process.wait(10) == 0 and "released all" in rest, " ".join(rest))


def slow(options, scratch):
    host = Host(options, scratch)
    host.draw(2000)
    alone = host.draw(options.draws)
    with Client(unix=host.path) as client:
        client.connected()
        client.quiet()
        before = host.memory()
        os.kill(client.process.pid, signal.SIGSTOP)
        start = time.monotonic()
        stopped = host.draw(options.draws)
        held = host.memory() - before
        time.sleep(max(0, start + options.stop - time.monotonic()))
        os.kill(client.process.pid, signal.SIGCONT)
        figures = f"{options.draws / stopped:.0f} draws/s, {options.draws / alone:.0f} without a client"
        # Generous: this shares its machine with others. What it must not do is wait for the client.
        check("a stopped client holds nobody up", stopped < 3 * alone + 1, figures)
        check("its backlog is bounded", held < SLOW_COST_KIB, f"{held} KiB more than the {before} KiB before")
        host.shows_the_same(client, "it shows the last picture when it goes on")
        host.draw(500)
        host.shows_the_same(client, "and follows from there")
    time.sleep(0.3)
    print(f"memory: {before} KiB before, {host.memory()} KiB after, {host.memory('VmHWM')} KiB at most")
    host.end()


def late(options, scratch):
    host = Host(options, scratch)
    moments = random.Random(options.seed)
    last = None
    for number in range(options.joins):
        host.tell("draw 4000")
        time.sleep(moments.uniform(0, 0.5))
        client = Client(unix=host.path)
        up = client.connected()
        host.wait("drawn")
        check(f"late client {number} comes in", up)
        host.shows_the_same(client, f"late client {number}")
        if last:
            check("the one before had to go", bool(last.wait("channel", 5, channel="main", what="closed")))
            last.kill()
        last = client
    last.close()
    host.end()


def many(options, scratch):
    host = Host(options, scratch, SPICE_DEBUG_ALLOW_MC="1")
    clients = []
    for number in range(3):
        clients.append(Client(unix=host.path))
        check(f"client {number} of 3 comes in", clients[-1].connected())
        host.draw(700)
    os.kill(clients[1].process.pid, signal.SIGSTOP)
    host.draw(3000)
    os.kill(clients[1].process.pid, signal.SIGCONT)
    for number, client in enumerate(clients):
        host.shows_the_same(client, f"client {number} of 3")
    clients.pop(0).close()
    host.draw(700)
    for number, client in enumerate(clients):
        host.shows_the_same(client, f"client {number + 1} after the first one left")
        client.close()
    host.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--draws", type=int, default=20000)
    parser.add_argument("--joins", type=int, default=10)
    parser.add_argument("--stop", type=float, default=5, help="seconds that the slow client stands still at least")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for part in (slow, late, many):
        with tempfile.TemporaryDirectory() as scratch:
            part(options, scratch)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

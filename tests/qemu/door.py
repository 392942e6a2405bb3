#!/usr/bin/python3
"""Attacks on the port of a live QEMU: one PASS or FAIL line each.

  door.py [--lib DIR] [--seconds S] [--long] [--from ADDRESS] [--only NAME,...]

Attackers come from 127.0.0.2 (--from 127.0.0.1: all from one address, as behind a proxy; --long does both), the real
client from 127.0.0.1 with the right ticket, or, at a second QEMU with TLS and SASL, with the right password. While they are at it QMP answers in time, a client links, and afterwards
descriptors and memory are what they were and a stock client sees the screen.

Limits on time: QMP's slowest answer of 100 within twice the idle figure of the same run or 2 ms (without --long, on
machines where others work: 500 ms), a real client's link within a second (5 s). On spice-server it says what happens.
"""
import argparse
import os
import re
import resource
import subprocess
import sys
import time

import attackers
import attackers_inside
from machine import HERE, Machine, client_environment, difference, free_port
from sasl import PASSWORD as SASL_PASSWORD, USER, Users, certificates

SPICE = "port={port},addr=127.0.0.1,password-secret=ticket"
PASSWORD = "secret"
# Name, attackers at once.
ATTACKS = [("flood", 8), ("silent", 1), ("loris", 1), ("tls", 2), ("websocket", 2), ("noise", 2), ("guesses", 4)]
# The same for a server with TLS and SASL, and whether they come to its port for TLS.
INSIDE = [("tls_loris", 1, True), ("sasl_loris", 1, False), ("sasl_guesses", 4, True), ("tls_hellos", 8, True), ("silent", 1, True)]
OPTIONS = None
RESULTS = {"PASS": 0, "FAIL": 0}


def report(name, wrong, detail):
    kind = "FAIL" if wrong else "PASS"
    RESULTS[kind] += 1
    print(f"{kind} {name}: {'; '.join(wrong + [detail])}", flush=True)


class Server(Machine):
    def pid(self):
        with open(self.path("pid"), encoding="ascii") as file:
            return int(file.read())

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid()}/fd"))

    def anonymous_kib(self):
        with open(f"/proc/{self.pid()}/status", encoding="ascii") as file:
            return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))

    def link(self):
        """Links the main channel from 127.0.0.1 as who may; true if that was answered with yes."""
        with attackers.connect("127.0.0.1", self.port, timeout=10) as peer:
            return attackers.link(peer, PASSWORD) == 0

    def qmp_ms(self):
        """How long one answer takes."""
        start = time.monotonic()
        self.qmp.ask("query-status")
        return (time.monotonic() - start) * 1000


class InnerServer(Server):
    """A server whose clients log in with SASL, with a second port for TLS."""

    def __init__(self, users):
        self.tls_port = free_port()
        certificates(users.directory)
        spice = f"port={{port}},tls-port={self.tls_port},addr=127.0.0.1,sasl=on,x509-dir={users.directory}"
        super().__init__("-vga", "qxl", spice=spice, environment={"SASL_CONF_PATH": users.directory})

    def link(self):
        with attackers.connect("127.0.0.1", self.tls_port, timeout=10) as peer:
            with attackers_inside.context().wrap_socket(peer, server_hostname="localhost") as stream:
                return attackers_inside.login(stream, USER, SASL_PASSWORD) == 0


def real_client(machine):
    """Milliseconds until the main channel is linked from 127.0.0.1; None if that takes more than ten seconds.

    Who is hung up on tries again at once, as viewers that reconnect do: of 20 descriptors, shared with 900 sockets of
    the same address, a place can be lost.
    """
    start = time.monotonic()
    while time.monotonic() - start < 10:
        try:
            return (time.monotonic() - start) * 1000 if machine.link() else None
        except OSError:
            time.sleep(0.01)
    return None


def slow(values, of_100=99):
    return sorted(values)[min(len(values) - 1, len(values) * of_100 // 100)]


def answers(machine, seconds, links=0):
    """QMP answers every 5 ms for a time, and a few links of a real client, evenly spread."""
    times, linked = [], []
    start = time.monotonic()
    while (gone := time.monotonic() - start) < seconds:
        times.append(machine.qmp_ms())
        if len(linked) < links * gone / seconds:
            linked.append(real_client(machine))
        time.sleep(0.005)
    return times, linked


def back(value, limit, deadline=20):
    """The value once it is within the limit, or what it is at the deadline."""
    end = time.monotonic() + deadline
    while (now := value()) > limit and time.monotonic() < end:
        time.sleep(0.1)
    return now


def attack(machine, name, count, address, idle, title=None, port=None):
    before = machine.descriptors(), machine.anonymous_kib()
    command = [sys.executable, os.path.join(HERE, "attackers.py"), name, address, str(port or machine.port), str(OPTIONS.seconds)]
    peers = [subprocess.Popen(command, env=client_environment(), stdout=subprocess.PIPE, text=True) for _ in range(count)]
    times, links = answers(machine, OPTIONS.seconds, links=5)
    done = sum(int(peer.communicate(timeout=60)[0].split()[-1]) for peer in peers)
    after = back(machine.descriptors, before[0]), back(machine.anonymous_kib, before[1] + OPTIONS.memory)
    limit = max(2 * idle, OPTIONS.answer)
    wrong = []
    if not machine.alive():
        wrong.append("QEMU is gone")
    if slow(times) > limit:
        wrong.append(f"QMP is slow, limit {limit:.1f} ms")
    if None in links:
        wrong.append("a real client was not let in")
    elif max(links) > OPTIONS.link:
        wrong.append(f"a real client waited for more than {OPTIONS.link:.0f} ms")
    if after[0] > before[0]:
        wrong.append("descriptors are not given back")
    if after[1] > before[1] + OPTIONS.memory:
        wrong.append("memory is not given back")
    detail = (f"{done} done; QMP p99 {slow(times):.2f} ms (idle {idle:.2f}), worst {max(times):.1f}; real client "
              + " ".join("refused" if ms is None else f"{ms:.0f}" for ms in links)
              + f" ms; descriptors {before[0]} -> {after[0]}, memory {before[1]} -> {after[1]} KiB")
    report(f"{title or name} from {address}", wrong, detail)


def exhaustion(machine, address, idle):
    """The same silent sockets when the process may have only a few more descriptors than it has."""
    pid = machine.pid()
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (machine.descriptors() + 20, before[1]))
    attack(machine, "silent", 1, address, idle, "few descriptors, silent")
    # Not one left and nobody at the door: a peer is told so, it does not wait in the kernel's queue.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (machine.descriptors(), before[1]))
    wrong = []
    for _ in range(3):
        try:
            with attackers.connect(address, machine.port, timeout=5) as peer:
                if peer.recv(1):
                    wrong.append("somebody answered")
        except ConnectionError:
            pass
        except TimeoutError:
            wrong.append("a peer waits for nothing")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    if (took := real_client(machine)) is None:
        wrong.append("afterwards a real client was not let in")
    report(f"not one descriptor, from {address}", wrong, f"turned away; afterwards a real client links in {took or 0:.0f} ms")


def told(machine, act):
    """The channel events that QMP tells of while and after something happens, in order, with the client's port."""
    machine.qmp.ask("query-status")
    machine.qmp.events.clear()
    with attackers.connect("127.0.0.1", machine.port) as peer:
        port = str(peer.getsockname()[1])
        act(peer)
    end = time.monotonic() + 10
    names = []
    while "SPICE_DISCONNECTED" not in names and time.monotonic() < end:
        machine.qmp.ask("query-status")
        names = [event["event"] for event in machine.qmp.events if event.get("data", {}).get("client", {}).get("port") == port]
        time.sleep(0.01)
    return names


def events(machine):
    """What a user of QMP hears of logins: the same as on spice-server, where SPICE is spoken at all."""
    begun = ["SPICE_CONNECTED", "SPICE_INITIALIZED", "SPICE_DISCONNECTED"]
    wrong = []
    for password, want in ((PASSWORD, begun), ("wrong", [begun[0], begun[2]]), (PASSWORD, begun)):
        got = told(machine, lambda peer, password=password: attackers.link(peer, password))
        if got != want:
            wrong.append(f"{password}: {got}")
    report("channel events of a right and a wrong ticket", wrong, "as on spice-server" if not wrong else "")


def picture(machine):
    """What a stock client sees afterwards: None or what is wrong."""
    machine.qmp.ask("stop")
    shot = machine.screenshot(password=PASSWORD)
    wrong = difference(machine.screendump(), shot) if shot else "no screenshot"
    machine.qmp.ask("cont")
    return wrong


def idle_figure(machine, wrong=None):
    """QMP's slowest answer of 100 when nobody attacks, in ms."""
    times, links = answers(machine, min(OPTIONS.seconds, 5), links=5)
    report("idle", [wrong] if wrong else [] if None not in links else ["no link"],
           f"QMP p99 {slow(times):.2f} ms, worst {max(times):.1f}; real client " + " ".join(f"{ms or 0:.0f}" for ms in links) + " ms")
    return slow(times)


def wanted(name):
    return not OPTIONS.only or name in OPTIONS.only.split(",")


def refusals(machine):
    sys.stdout.flush()
    refused = [line for line in machine.output().splitlines() if "refused" in line or "stand at the door" in line]
    print(f"{len(refused)} lines of refusals in the log, the last: {refused[-1] if refused else 'none'}")


def outside(addresses):
    """A server with a ticket."""
    with Server("-object", f"secret,id=ticket,data={PASSWORD}", "-vga", "qxl", spice=SPICE) as machine:
        machine.wait_still()
        # Whatever a first client makes the process keep is no work of attackers.
        wrong = picture(machine)
        for name, _ in ATTACKS:
            attackers.named(name)("127.0.0.2", machine.port, time.monotonic() + 0.3)
        back(machine.descriptors, 0, deadline=1)
        events(machine)
        idle = idle_figure(machine, wrong)
        for address in addresses:
            for name, count in ATTACKS:
                if wanted(name):
                    attack(machine, name, count, address, idle)
            if wanted("exhaustion"):
                exhaustion(machine, address, idle)
        wrong = picture(machine)
        report("a stock client afterwards", [wrong] if wrong else [], "sees the screen" if not wrong else "")
        refusals(machine)


def inside(addresses):
    """A server with TLS and SASL: digests without TLS, passwords inside."""
    with Users("digest-md5 plain") as users, InnerServer(users) as machine:
        machine.wait_still()
        for name, _, secure in INSIDE:
            attackers.named(name)("127.0.0.2", machine.tls_port if secure else machine.port, time.monotonic() + 0.3)
        for _ in range(3):
            real_client(machine)
        back(machine.descriptors, 0, deadline=1)
        idle = idle_figure(machine)
        for address in addresses:
            for name, count, secure in INSIDE:
                if wanted(name):
                    port = machine.tls_port if secure else machine.port
                    attack(machine, name, count, address, idle, f"{name} at a server with TLS and SASL", port)
        refusals(machine)


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--from", dest="address")
    parser.add_argument("--only")
    OPTIONS = parser.parse_args()
    OPTIONS.seconds = OPTIONS.seconds or (10 if OPTIONS.long else 3)
    OPTIONS.answer, OPTIONS.link = (2, 1000) if OPTIONS.long else (500, 5000)
    OPTIONS.memory = 4096
    Machine.library = os.path.abspath(OPTIONS.lib) if OPTIONS.lib else None
    both = ["127.0.0.2", "127.0.0.1"] if OPTIONS.long else ["127.0.0.2"]
    addresses = [OPTIONS.address] if OPTIONS.address else both
    if any(wanted(name) for name in [*(name for name, _ in ATTACKS), "exhaustion"]):
        outside(addresses)
    if any(wanted(name) for name, _, _ in INSIDE):
        inside(addresses)
    print(f"{RESULTS['PASS']} passed, {RESULTS['FAIL']} failed")
    return 1 if RESULTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Where QMP's time goes while a client floods the guest agent: the same with a guest that is busy by itself, and what QEMU's threads do.

  agent_floods.py [--lib DIR] [--image DIR] [--seconds 10] [--rounds 3] [--only idle,spins,writes,flood,greedy]

Each round is a QEMU on the library under --lib and one on spice-server. `spins` and `writes` are guests that no client speaks to: a
loop in the guest's shell, and one that starts a program which writes a file of 2000 bytes, as the agent does with each piece of a
flood. A line for each: p50, p90, p99 of QMP, what got through, and of the threads that worked most: processor, time in which it was
ready and had to wait for a processor, turns on it. Wants an idle machine; nothing here fails.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

from machine import HERE, Machine, client_environment
from relay import MAIN
from small_guest import SmallGuest
from station_attackers import __file__ as ATTACKERS
from workstation_kit import Station

GUESTS = {
    "spins": "while :; do :; done",
    "writes": "while :; do dd if=/dev/zero of=/tmp/clip bs=2000 count=1 2>/dev/null; done",
}


def threads(pid):
    """Thread: (name, seconds on a processor, seconds ready and waiting for one, turns)."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
                name = file.read().strip()
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                busy, ready, turns = map(int, file.read().split())
        except OSError:
            continue
        found[task] = ("main loop" if task == str(pid) else name, busy / 1e9, ready / 1e9, turns)
    return found


def measure(qmp, seconds):
    """Milliseconds of QMP's answers, sorted; one long pause counts for all who had asked in it."""
    answers, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        qmp.ask("query-status", timeout=60)
        took = (time.monotonic() - start) * 1000
        answers += [took - late for late in range(0, max(1, int(took)), 5)]
        time.sleep(0.005)
    return sorted(answers)


def phase(station, pid, name, seconds):
    guest, peer = station.guest, None
    if name in GUESTS:
        guest.start(f"sh -c 'echo $$ >/tmp/busy; {GUESTS[name]}'")
    elif name != "idle":
        command = [sys.executable, ATTACKERS, name, *map(str, (MAIN, 0, guest.port, 0, seconds + 0.5))]
        peer = subprocess.Popen(command, env=client_environment(), stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    before, begun = threads(pid), time.monotonic()
    answers = measure(guest.qmp, seconds - 0.5)
    took, after = time.monotonic() - begun, threads(pid)
    done = f", {int(peer.communicate()[0].split()[-1]) / seconds:.0f} pieces/s" if peer else ""
    if name in GUESTS:
        guest.do("kill -9 $(cat /tmp/busy)")
    at = [answers[min(len(answers) - 1, len(answers) * part // 100)] for part in (50, 90, 99)]
    print(f"  {name:8} QMP p50 {at[0]:.2f}, p90 {at[1]:.2f}, p99 {at[2]:.2f}, worst {answers[-1]:.1f} ms{done}")
    used = {task: [now - then for now, then in zip(after[task][1:], before.get(task, after[task])[1:])] for task in after}
    for task in sorted(used, key=lambda task: -used[task][0])[:4]:
        busy, ready, turns = used[task]
        print(f"           {after[task][0]:16} {100 * busy / took:5.1f} % on, {100 * ready / took:5.1f} % waiting, {turns / took:6.0f} turns/s", flush=True)


def play(library, options):
    Machine.library = os.path.abspath(library) if library else None
    work = tempfile.mkdtemp(prefix="floods-")
    station = Station(work, True)
    try:
        station.guest.ready(120)
        print(station.guest.uses_library(), flush=True)
        with open(station.guest.path("pid"), encoding="ascii") as file:
            pid = int(file.read())
        station.start_agent()
        time.sleep(2)
        for name in options.only.split(","):
            phase(station, pid, name, options.seconds)
    finally:
        station.close()
        shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--image", default=os.path.join(HERE, "../../target/small-guest"))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="idle,spins,writes,flood,greedy")
    options = parser.parse_args()
    SmallGuest.image = os.path.abspath(options.image)
    for _ in range(options.rounds):
        for library in (options.lib, None) if options.lib else (None,):
            play(library, options)


if __name__ == "__main__":
    main()

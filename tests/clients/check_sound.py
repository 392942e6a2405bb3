#!/usr/bin/python3
"""Sound with hosts and clients that do what they should not: nothing aborts, no memory grows, no call of the host waits.

  check_sound.py --program DIR/serve_sound [--lib DIR] [--flood 3]

Only for Cayenne: much of it ends spice-server's process.
"""
import argparse
import os
import random
import struct
import sys
import tempfile
import threading
import time

from driver import free_port
from hosts import Host, Report
from sound_session import (
    CAP_OPUS, CAP_RECORD_OPUS, CAP_VOLUME, DATA, OPUS, PLAYBACK, R_DATA, R_MODE, R_START_MARK, RAW, RECORD, START, STOP,
    Session, settle,
)

ZERO = struct.pack("<I", 0)
# What a call of the host or a tick of its loop may take here, microseconds. Generous: this shares its machine.
PATIENCE = 200_000
# What a client may make the host's process grow by, KiB.
GROWTH = 2048


def add(host):
    for name in ("playback", "record"):
        host.ask(f"add {name}", "add")


def stats(host, report, name):
    words = host.ask("stats", "stats").split()
    worst = max(int(words[i]) for i in (2, 4, 6, 8))
    report.check(f"{name}: the host never waits", worst < PATIENCE, " ".join(words))


def wrong_calls(host, report, address):
    """Every call in every state, and buffers that are none."""
    calls = ["start playback", "stop playback", "stop playback", "start record", "stop record", "stop record", "get",
             "put", "take 100", "volume playback 1 2", "mute record 1", "rate playback 0", "rate record 4000000000",
             "give null", "give stack", "give heap", "give stale", "compression 7", "start playback", "start playback"]

    def all_calls():
        for line in calls:
            host.ask(line, line.split()[0] if not line.startswith("give") else "given")

    all_calls()
    add(host)
    all_calls()
    with Session(address) as session:
        all_calls()
        session.link(PLAYBACK, CAP_VOLUME | CAP_OPUS)
        session.link(RECORD, CAP_VOLUME | CAP_RECORD_OPUS)
        all_calls()
        host.ask("rate playback 48000", "rate")
        for _ in range(20):
            host.ask("get", "get")
            host.ask("put", "put")
            for what in ("stale", "heap", "stack", "null"):
                host.ask(f"give {what}", "given")
        for name in ("playback", "record"):
            host.ask("get", "get")
            host.ask(f"remove {name}", "remove")
            all_calls()
            settle(0.1)
        report.check("removal ends the links", all(channel.until(lambda c: c.ended) for channel in session.channels))
        add(host)
        report.check("and they can be made again", session.link(PLAYBACK).alive() and session.link(RECORD).alive())
        all_calls()
        for name in ("playback", "record"):
            host.ask(f"remove {name}", "remove")
        report.check("the session lives", session.main.alive())
    stats(host, report, "wrong calls")
    report.check("the host lives after wrong calls", host.process.poll() is None)


def buffers(host, report, address):
    """A client goes, the next one comes, the guest stops, the interface goes: with buffers in the host's hands."""
    add(host)
    host.ask("start playback", "start")
    with Session(address) as session:
        for number in range(30):
            client = session.link(PLAYBACK, CAP_OPUS if number % 2 else 0)
            client.until(lambda c: c.count(START))
            got = host.ask("get", "get")
            if got != f"get 480 held {1 + number % 3}":
                report.check("a buffer for a client", False, got)
            if number % 3 == 2:
                for _ in range(3):
                    host.ask("put", "put")
            if number % 2:
                client.close()
            elif number % 5 == 0:
                host.ask("stop playback", "stop")
                host.ask("start playback", "start")
        client = session.link(PLAYBACK)
        client.until(lambda c: c.count(START))
        for line in ("get", "get", "stop playback", "put", "start playback", "put"):
            host.ask(line, line.split()[0])
        client.until(lambda c: c.count(DATA))
        settle(0.1)
        report.check("a buffer of before the stop is not played after it", [k for k, _ in client.log[1:]] ==
                     [START, STOP, START, DATA], f"{[k for k, _ in client.log]}")
        host.ask("get", "get")
        host.ask("remove playback", "remove")
        host.ask("put", "put")
        host.ask("add playback", "add")
        host.ask("start playback", "start")
        client = session.link(PLAYBACK)
        client.until(lambda c: c.count(START))
        report.check("a new interface has new buffers", host.ask("get", "get") == "get 480 held 1")
        host.ask("put", "put")
        report.check("which are played", client.until(lambda c: c.count(DATA) == 1))
        host.ask("get", "get")
        host.ask("get", "get")
    settle(0.1)
    report.check("the host lives with buffers of a client that has gone", host.process.poll() is None)


def sizes(host, report, address):
    """Every message of a client, one byte less than it needs, exactly that, the most there may be, and more, in every state."""
    add(host)
    host.ask("rate record 48000", "rate")
    kinds = {R_DATA: 4, R_MODE: 6, R_START_MARK: 4}
    wrong = []
    with Session(address) as session:
        for state in ("not recording", "recording", "recording Opus", "stopped again"):
            if state == "recording":
                host.ask("start record", "start")
            if state == "stopped again":
                host.ask("stop record", "stop")
            for kind, least in kinds.items():
                # MODE of zeros is no mode; Opus takes no such packets.
                most = 66560
                good = {least - 1: False, least: kind != R_MODE, least + 1: kind != R_MODE, most: kind != R_MODE,
                        most + 1: False, 0: False}
                if state == "recording Opus" and kind == R_DATA:
                    good[most] = good[least + 1] = None
                for size, lives in good.items():
                    client = session.link(RECORD, CAP_RECORD_OPUS)
                    if state == "recording Opus":
                        client.send(R_MODE, struct.pack("<IH", 0, OPUS))
                    client.send(kind, bytes(size))
                    # A message that tells of the end of what went before it.
                    closed = not client.alive()
                    if lives is not None and closed == lives:
                        wrong.append(f"{state}: type {kind} of {size} bytes {'ends' if closed else 'does not end'} the link")
                    client.close()
            for kind in (0, 1, 99, 100, 104, 105, 65535):
                for target in (PLAYBACK, RECORD):
                    client = session.link(target)
                    client.send(kind, bytes(3))
                    if client.alive() and kind != 1:
                        wrong.append(f"{state}: type {kind} does not end the link")
                    client.close()
        report.check("the session lives", session.main.alive())
    report.check("messages of all sizes in all states", not wrong, "; ".join(wrong[:5]))
    stats(host, report, "sizes")


def random_messages(host, report, address, count=20000):
    rng = random.Random(4)
    add(host)
    host.ask("start record", "start")
    host.ask("start playback", "start")
    with Session(address) as session:
        client, links = None, 0
        for _ in range(count):
            if client is None or client.ended:
                client, links = session.link(RECORD, CAP_RECORD_OPUS), links + 1
            kind = rng.choice((R_DATA, R_DATA, R_DATA, R_MODE, R_START_MARK, rng.randrange(200)))
            body = rng.randbytes(rng.choice((0, 4, 6, 8, rng.randrange(2000))))
            if kind == R_MODE and rng.random() < 0.9:
                body = struct.pack("<IH", 0, rng.choice((RAW, OPUS)))
            if not client.send(kind, body):
                client.until(lambda c: c.ended)
            if links > 150:
                break
        report.check(f"random messages on {links} links", session.main.alive() and host.process.poll() is None)
    stats(host, report, "random messages")


def flood(host, report, address, seconds):
    """A client that sends as fast as it can, one that reads nothing, and a host that plays and records meanwhile."""
    add(host)
    host.ask("start record", "start")
    host.ask("start playback", "start")
    with Session(address) as session:
        deaf, loud = session.link(PLAYBACK, CAP_VOLUME), session.link(RECORD, CAP_VOLUME)
        deaf.until(lambda c: c.count(START))
        host.ask("burst 3", "burst")
        settle(0.1)
        # Its thread is in `recv`: what comes wakes it once more, then it waits for the lock and reads no more.
        deaf.changed.acquire()
        try:
            body = ZERO + bytes(4 * 8192)
            until = time.monotonic() + seconds
            sent = [0]

            def shout():
                while time.monotonic() < until and loud.send(R_DATA, body):
                    sent[0] += 1

            shouting = threading.Thread(target=shout)
            host.ask("play 20", "played")
            before = host.memory()
            host.ask("stats", "stats")
            shouting.start()
            played = host.ask(f"play {seconds * 1000} 1000", "played", timeout=seconds + 30)
            host.ask("toggle 10000", "toggle")
            shouting.join()
            grown = host.memory() - before
        finally:
            deaf.changed.release()
        report.check("a client that reads nothing costs the host no buffer", played.endswith("refused 0"), played)
        report.check("memory stands still", grown < GROWTH, f"{grown} KiB more, {sent[0]} messages of 32 KiB came")
        deaf.until(lambda c: c.count(DATA) > 3)
        settle(0.5)
        # Late sound is gone: what the kernel had, what was just played, and how things stand.
        report.check("late sound is dropped", deaf.count(DATA) < 300 and not deaf.ended, f"{deaf.count(DATA)} messages")
        heard = deaf.count(DATA)
        host.ask("burst 5", "burst")
        report.check("a client that reads again hears again", deaf.until(lambda c: c.count(DATA) == heard + 5),
                     f"{deaf.count(DATA) - heard} of 5")
        report.check("START and STOP take turns", alternate(deaf.log), f"{len(deaf.log)} messages")
    stats(host, report, "floods")


def alternate(log):
    playing = False
    for kind, _ in log:
        if kind in (START, STOP):
            if playing == (kind == START):
                return False
            playing = kind == START
        elif kind == DATA and not playing:
            return False
    return playing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--flood", type=int, default=3, help="seconds")
    options = parser.parse_args()
    report = Report()
    tests = [wrong_calls, buffers, sizes, random_messages, lambda *rest: flood(*rest, options.flood)]
    for number, test in enumerate(tests):
        with tempfile.TemporaryDirectory() as scratch:
            # Floods over both kinds of sockets: what their kernels keep differs.
            for tcp in (False, True) if number == len(tests) - 1 else (False,):
                address = free_port() if tcp else os.path.join(scratch, "socket")
                with Host([options.program], address, options.lib) as host:
                    test(host, report, address)
                    report.none_wrong("the host's end", host.end())
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

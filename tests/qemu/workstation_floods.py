"""A peer floods one channel of a live session, reads nothing, or sends nonsense: QEMU answers, another channel of the real client
goes on as before, and memory stays bounded.

The real client goes through a relay, from which the session's number is known; the attacker takes a channel that the real client
left alone. The other channel is a port whose bytes a program in the guest sends back. The agent's stream belongs to the main
channel: there the attacker is a client of its own, and afterwards a real one is as well off as before.
"""
import os
import re
import statistics
import struct
import subprocess
import sys
import time

from driver import HERE as CLIENTS
from machine import Machine, client_environment
from raw_client import MAIN_INIT
from relay import MAIN, Relay
from small_guest import QUIET_PORT, TEST_PORT, WEBDAV_PORT
from workstation_kit import report

ATTACKERS = os.path.join(CLIENTS, "..", "qemu", "station_attackers.py")
SKIP = "usbredir,port:1,webdav,playback,record"
# Name, channel type, channel id, what the guest does meanwhile.
TARGETS = (
    ("port", 10, 1, f"ports source /dev/virtio-ports/{QUIET_PORT} 0"),
    ("webdav", 11, 0, f"ports source /dev/virtio-ports/{WEBDAV_PORT} 0"),
    ("usbredir", 9, 0, None),
    ("playback", 5, 0, "sound play counter 1000"),
    ("record", 6, 0, "sound record 1000 /dev/null"),
)
MEMORY = 24 << 10  # KiB that a process may have more than before, and not for long


def slow(values):
    return sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]


class Watch:
    """Times of QMP and of the real client's port, and what the process has."""

    def __init__(self, station):
        self.station, self.guest = station, station.guest
        with open(self.guest.path("pid"), encoding="ascii") as file:
            self.pid = int(file.read())
        station.file("ping.bin", 200)

    def memory(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def measure(self, seconds):
        """(ms of QMP, ms of the port and back, most memory) during that time."""
        answers, echoes, most, asked = [], [], 0, 0
        client = self.station.client
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            self.guest.qmp.ask("query-status", timeout=30)
            took = (time.monotonic() - start) * 1000
            # Whoever had asked every 5 ms would have waited as well: one long pause counts for what it is.
            answers += [took - late for late in range(0, max(1, int(took)), 5)]
            asked += 1
            if client and asked % 10 == 0:
                client.send("collect", TEST_PORT, 200)
                client.send("write", TEST_PORT, self.station.file("ping.bin"))
                back = client.wait("collected", 10)
                echoes.append(back["seconds"] * 1000 if back else 10000)
                most = max(most, self.memory())
            time.sleep(0.005)
        return answers, echoes, max(most, self.memory())


def attack(watch, name, how, kind, number, session, seconds, idle):
    station = watch.station
    before = watch.memory(), watch.descriptors()
    if station.client:
        station.client.seen("channel")
        mark = len(station.client.events)
    command = [sys.executable, ATTACKERS, how, *map(str, (kind, number, station.guest.port, session, seconds))]
    peer = subprocess.Popen(command, env=client_environment(), stdout=subprocess.PIPE, text=True)
    try:
        answers, echoes, most = watch.measure(seconds)
    except (OSError, EOFError) as error:
        raise RuntimeError(f"{how} {name}: QEMU is gone: {station.guest.output()[-800:]}") from error
    done = int((peer.communicate(timeout=60)[0].split() or ["0"])[-1])
    end = time.monotonic() + 10
    while watch.descriptors() > before[1] and time.monotonic() < end:
        time.sleep(0.05)
    wrong = []
    limit = max(2 * slow(idle[0]), 500 if station.quick else 2)
    if not done:
        wrong.append("the attack did not get in")
    if slow(answers) > limit:
        wrong.append(f"QMP is slow, limit {limit:.1f} ms")
    if echoes:
        # A round trip needs the guest's processor; a stalled channel would show seconds.
        if statistics.median(echoes) > max(2 * statistics.median(idle[1]), 500 if station.quick else 20) or max(echoes) > 3000:
            wrong.append("the other channel is slow")
        lost = [event for event in station.client.events[mark:] if event["event"] == "channel" and event["what"] != "opened"]
        if lost or 10000 in echoes:
            wrong.append(f"the real client lost something: {lost}")
    if most > before[0] + MEMORY:
        wrong.append(f"more than {MEMORY >> 10} MiB of memory")
    if watch.descriptors() > before[1]:
        wrong.append("descriptors are not given back")
    if not station.guest.alive():
        wrong.append("QEMU is gone")
    if wrong and Machine.library is None:
        print(f"NOTE on spice-server: {name}, {how}: {'; '.join(wrong)}", flush=True)
        wrong = []
    port = f"port and back median {statistics.median(echoes):.1f} ms, worst {max(echoes):.1f} (idle {statistics.median(idle[1]):.1f}); " if echoes else ""
    report(f"{how} {name}", wrong,
           f"{done} done; QMP p99 {slow(answers):.2f} ms, worst {max(answers):.1f} (idle {slow(idle[0]):.2f}); {port}"
           f"memory {before[0]} -> at most {most} -> {watch.memory()} KiB, descriptors {before[1]} -> {watch.descriptors()}")
    if not station.guest.alive():
        raise RuntimeError(f"QEMU is gone: {station.guest.output()[-800:]}")


def agent(watch, seconds, idle, hows):
    """The agent's stream, with an agent that reads and with one that has stopped."""
    station = watch.station
    station.leave()
    station.guest.must("rm -rf /tmp/agent")
    station.start_agent()
    for how in ("flood", "greedy", *hows[2:]):
        attack(watch, "agent", how, MAIN, 0, 0, seconds, idle)
    station.guest.must("kill -STOP $(pidof agent)")
    attack(watch, "agent that hangs", "flood", MAIN, 0, 0, seconds, idle)
    station.kill_agent()
    client = station.connect()
    wrong = [] if station.start_agent() else ["the agent is not seen"]
    client.send("offer", 0, 1, station.text("after.txt", "after all that"))
    if not station.logged("clipboard 0 1 14$"):
        wrong.append("the clipboard does not come")
    report("a stock client afterwards", wrong)


def tests(station):
    seconds = 1.5 if station.quick else 10
    guest = station.guest
    # Some messages end spice-server's process.
    hows = ("flood", "deaf", "malformed") if Machine.library else ("flood", "deaf")
    sessions = []

    def watch_session(pair, kind, body):
        if pair.kind == MAIN and kind == MAIN_INIT:
            sessions.append(struct.unpack_from("<I", body)[0])

    guest.start(f"ports echo /dev/virtio-ports/{TEST_PORT}")
    with Relay(guest.port, station.work, watch=watch_session) as relay:
        client = station.connect("--audio", "--usbredir", "--skip", SKIP, address=relay.path)
        if not (client.wait("port-new", 10, port=TEST_PORT) and sessions):
            report("floods", "the real client has no port")
            return
        watch = Watch(station)
        watch.measure(0.5)
        idle = watch.measure(seconds)
        report("idle", None, f"QMP p99 {slow(idle[0]):.2f} ms; port and back median {statistics.median(idle[1]):.1f} ms")
        for name, kind, number, meanwhile in TARGETS:
            for how in hows:
                if how == "deaf" and meanwhile:
                    guest.start(f"sh -c 'echo $$ >/tmp/pid; exec {meanwhile}'")
                attack(watch, name, how, kind, number, sessions[0], seconds, idle)
                if how == "deaf" and meanwhile:
                    guest.must("kill -9 $(cat /tmp/pid)")
        station.leave()
    agent(watch, seconds, idle, hows)
    guest.do("kill -9 $(pidof ports)")

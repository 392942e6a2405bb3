#!/usr/bin/python3
"""Quality of service and statistics, through a C host: one PASS or FAIL line each.

  check_qos.py --program DIR/serve_qos --lib DIR [--seconds 2]

Threads run as they were told, before and after they began, and as before when that is taken back; what the system refuses
costs a line in the log. The bytes of a client stay within their bound and come near to it, with TLS and without; the rest of
the host's picture comes at once afterwards, exact. The statistics are what docs/statistics.md says, and agree with what the
client saw.
"""
import argparse
import json
import os
import re
import shutil
import ssl
import struct
import subprocess
import tempfile
import threading
import time

import raw_client
from driver import Client, difference, free_port
from hosts import Host, Report
from relay import DISPLAY, INPUTS, MAIN

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "statistics.md")
ENCODERS = 0x100
INHERIT, OTHER, FIFO, RR = 0, 1, 2, 3
TOLERANCE = 0.05

report = Report()


def wait_for(what, seconds=10):
    """What `what` returns, once that is true, or its last answer."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


class Threads:
    """The threads of a process, by their names."""

    def __init__(self, pid):
        self.pid = pid

    def ids(self, start):
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/comm", encoding="ascii") as file:
                    if file.read().startswith(start):
                        found.append(int(task))
            except FileNotFoundError:
                pass
        return found

    def state(self, start):
        """(policy, nice, priority, processors) of the threads whose names begin so; None if they differ."""
        states = set()
        for task in self.ids(start):
            with open(f"/proc/{self.pid}/task/{task}/stat", encoding="ascii") as file:
                nice = int(file.read().rsplit(")", 1)[1].split()[16])
            policy, priority = os.sched_getscheduler(task), os.sched_getparam(task).sched_priority
            states.add((policy, nice, priority, tuple(sorted(os.sched_getaffinity(task)))))
        return states.pop() if len(states) == 1 else None


def qos(host, *numbers):
    return int(host.ask("qos " + " ".join(map(str, numbers)), "qos ").split()[1])


def scheduling(options, scratch):
    """Nice values, real time and processors."""
    path = os.path.join(scratch, "scheduling.sock")
    log = os.path.join(scratch, "scheduling.log")
    last = max(os.sched_getaffinity(0))
    command = [options.program, "--qos", f"{DISPLAY} {OTHER} 4 0 0 0", "--qos", f"{ENCODERS} {OTHER} 6 0 0 0"]
    with Host(command, path, options.lib, log) as host:
        threads = Threads(host.process.pid)
        mine = threads.state("serve_qos")

        def becomes(name, start, wanted):
            found = wait_for(lambda: threads.state(start) == wanted, 5)
            report.none_wrong(name, None if found else f"{threads.state(start)} instead of {wanted}")

        def nicer(by, processors=mine[3]):
            return (mine[0], mine[1] + by if by else mine[1], 0, processors)

        # Absolute values: the host's own nice value does not count.
        becomes("set before the channel began", "spice-disp-0", (os.SCHED_OTHER, 4, 0, mine[3]))
        becomes("encode workers", "spice-enc-", (os.SCHED_OTHER, 6, 0, mine[3]))
        becomes("others are as the host", "spice-inputs", nicer(0))
        qos(host, DISPLAY, OTHER, 7, 0, 0, 1 << last)
        becomes("set while it runs, with its processor", "spice-disp-0", (os.SCHED_OTHER, 7, 0, (last,)))
        qos(host, INPUTS, FIFO, 0, 3, 0, 0)
        qos(host, MAIN, RR, 0, 5, 0, 0)
        if os.geteuid() == 0 and threads.state("spice-inputs")[0] == os.SCHED_FIFO or wait_for(
            lambda: threads.state("spice-inputs")[0] == os.SCHED_FIFO, 2
        ):
            becomes("real time, first in first out", "spice-inputs", (os.SCHED_FIFO, mine[1], 3, mine[3]))
            becomes("real time in turns", "spice-main", (os.SCHED_RR, mine[1], 5, mine[3]))
            for channel in (INPUTS, MAIN, DISPLAY, ENCODERS):
                host.ask(f"qos {channel} default", "qos 0")
            for start in ("spice-inputs", "spice-main", "spice-disp-0", "spice-enc-"):
                becomes(f"{start} is as before", start, nicer(0))
        else:
            print("SKIPPED 6: this process may not have real-time threads")
        refused = [
            ("a channel type that there is not", (99, OTHER, 0, 0, 0, 0)),
            ("a nice value out of range", (DISPLAY, OTHER, 20, 0, 0, 0)),
            ("a priority out of range", (DISPLAY, FIFO, 0, 0, 0, 0)),
            ("a way of scheduling that there is not", (DISPLAY, 9, 0, 0, 0, 0)),
            ("a bound that is too small", (DISPLAY, INHERIT, 0, 0, 65535, 0)),
            ("a bound for encoders", (ENCODERS, INHERIT, 0, 0, 1000000, 0)),
        ]
        wrong = [name for name, numbers in refused if qos(host, *numbers) != -1]
        with open(log, encoding="utf8") as file:
            said = [line for line in file if "cayenne_set_channel_qos" in line]
        report.none_wrong("wrong values are refused with a reason", wrong or None if len(said) == len(refused) else "".join(said))
        # A processor that is not there is the thread's to find out: a line, and it stays as it is.
        before = threads.state("spice-disp-0")
        qos(host, DISPLAY, INHERIT, 0, 0, 0, 1 << 63)

        def heard():
            with open(log, encoding="utf8") as file:
                return [line for line in file if "set of processors" in line and "spice-disp-0" in line]

        lines = wait_for(heard)
        good = len(lines) == 1 and threads.state("spice-disp-0") == before
        report.none_wrong("what the system refuses is one line", None if good else f"{lines} {threads.state('spice-disp-0')}")
        report.none_wrong("the host's end", host.end())


def without_rights(options, scratch):
    """Without CAP_SYS_NICE."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        print("SKIPPED 1: a process without rights takes root and setpriv")
        return
    log = os.path.join(scratch, "rights.log")
    command = ["setpriv", "--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice"]
    command = ["prlimit", "--nice=0", "--rtprio=0", *command, options.program]
    with Host(command, os.path.join(scratch, "rights.sock"), options.lib, log) as host:
        threads = Threads(host.process.pid)
        before = wait_for(lambda: threads.state("spice-inputs"))
        said = qos(host, INPUTS, FIFO, 0, 3, 0, 0)

        def lines():
            with open(log, encoding="utf8") as file:
                return [line for line in file if "scheduling policy" in line and "spice-inputs" in line]

        found = wait_for(lines)
        good = said == 0 and len(found) == 1 and threads.state("spice-inputs") == before
        report.none_wrong("without rights: one line, and on", None if good else f"{said} {found} {threads.state('spice-inputs')} {before}")
        qos(host, DISPLAY, OTHER, 9, 0, 0, 0)
        good = wait_for(lambda: threads.state("spice-disp-0")[1] == 9)
        report.none_wrong("a larger nice value needs none", None if good else str(threads.state("spice-disp-0")))
        report.none_wrong("the end of the host without rights", host.end())


class Counted:
    """A socket, inside TLS if there is a context, that counts what comes on the wire."""

    def __init__(self, address, context):
        self.socket = raw_client_connect(address)
        self.bytes = 0
        if context:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self.incoming, self.outgoing)
            self.call(self.tls.do_handshake)
        else:
            self.tls = None

    def fileno(self):
        return self.socket.fileno()

    def fill(self):
        data = self.socket.recv(1 << 18)
        self.bytes += len(data)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def call(self, act, *arguments):
        while True:
            try:
                result = act(*arguments)
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                self.fill()
                continue
            self.socket.sendall(self.outgoing.read())
            return result

    def sendall(self, data):
        if self.tls:
            self.call(self.tls.write, data)
        else:
            self.socket.sendall(data)

    def recv(self, size):
        if self.tls:
            return self.call(self.tls.read, size)
        data = self.socket.recv(size)
        self.bytes += len(data)
        return data


raw_client_connect = raw_client.connect_to


class Counting(raw_client.Channel):
    """Counts its messages and their bytes with the small header, also those that the channel answers itself."""

    messages = content = 0

    def message(self, kind, body):
        self.messages += 1
        self.content += 6 + len(body)
        super().message(kind, body)


class Viewer:
    """Main, display and inputs; each read by a thread of its own that keeps nothing."""

    def __init__(self, address, context=None):
        raw_client.connect_to = lambda address: Counted(address, context)
        self.session = None
        self.main = Counting(address, MAIN, 0, 0, True, self.heard)
        while self.session is None:
            self.main.read()
        self.main.send(raw_client.ATTACH_CHANNELS)
        self.display = Counting(address, DISPLAY, self.session, 0, True, lambda kind, body: None)
        self.display.send(raw_client.DISPLAY_INIT, struct.pack("<BqBi", 1, 10 << 20, 0, 1 << 20))
        self.inputs = Counting(address, INPUTS, self.session, 0, True, lambda kind, body: None)
        for channel in (self.main, self.display, self.inputs):
            channel.socket.socket.settimeout(None)
            threading.Thread(target=self.read, args=(channel,), daemon=True).start()

    def heard(self, kind, body):
        if kind == raw_client.MAIN_INIT:
            self.session = struct.unpack_from("<I", body)[0]

    @staticmethod
    def read(channel):
        try:
            while channel.read():
                pass
        except (OSError, ssl.SSLError):
            pass

    def close(self):
        for channel in (self.main, self.display, self.inputs):
            channel.socket.socket.shutdown(2)


def stats(host):
    return json.loads(host.ask("stats", "stats ").split(" ", 1)[1])


def channel_of(all_of_them, kind):
    return next(channel for channel in all_of_them["channels"] if channel["type"] == kind)


def make_certificate(folder):
    """A certificate that is its own authority."""
    names = {name: os.path.join(folder, f"{name}.pem") for name in ("ca", "cert", "key")}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", names["key"], "-out", names["cert"]], check=True, capture_output=True)
    shutil.copy(names["cert"], names["ca"])


def bounds(options, scratch):
    """Bytes a second, plain and inside TLS, and what becomes of pictures then."""
    make_certificate(scratch)
    port, tls_port = free_port(), free_port()
    command = [options.program, "--tls", scratch, "--tls-port", str(tls_port)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Host(command, port, options.lib) as host:
        for name, address, tls in (("plain", port, None), ("TLS", tls_port, context)):
            viewer = Viewer(address, tls)
            wait_for(lambda: viewer.display.messages > 1)
            host.ask("flood on", "flood")
            for rate in (300_000, 3_000_000):
                qos(host, DISPLAY, INHERIT, 0, 0, rate, 0)
                # What had left for the socket before, and what may be saved up.
                time.sleep(0.3)
                worst = 0
                for _ in range(3):
                    begin, before = time.monotonic(), viewer.display.socket.bytes
                    while time.monotonic() < begin + options.seconds:
                        time.sleep(0.1)
                        worst = max(worst, channel_of(stats(host), "display")["clients"][0]["queued_bytes"])
                    took, came = time.monotonic() - begin, viewer.display.socket.bytes - before
                    share = came / took / rate
                    # Never more. Less also if this machine has no time for the thread for 50 ms: then once more.
                    if share > 1 - TOLERANCE:
                        break
                wrong = None if abs(share - 1) <= TOLERANCE else f"{share:.3f} of it"
                # A tenth of a second, and a message whole: noise is as long as its pixels.
                most = rate / 10 + 640 * 480 * 4 + 4096
                if worst > most:
                    wrong = f"{worst} bytes in the outbox"
                report.none_wrong(f"{name}: {rate} bytes a second", wrong, f"{share:.3f} of it, outbox {worst} at most")
            host.ask("flood off", "flood")
            dropped = channel_of(stats(host), "display")["drops"]
            report.none_wrong(f"{name}: newest wins", None if dropped > 100 else f"only {dropped} commands dropped")
            qos(host, DISPLAY, INHERIT, 0, 0, 0, 0)
            viewer.close()
        # A stock client sees the last picture soon, though the bound stays: pictures of 1.2 MB, of which few wait.
        # Main and inputs are bounded as well, which nobody notices.
        for channel in (MAIN, INPUTS):
            qos(host, channel, INHERIT, 0, 0, 65536, 0)
        qos(host, DISPLAY, INHERIT, 0, 0, 3_000_000, 0)
        with Client(port=port) as client:
            client.connected()
            host.ask("flood on", "flood")
            time.sleep(1)
            host.ask("flood off", "flood")
            stopped = time.monotonic()
            calm = client.quiet(400, 20000)
            took = time.monotonic() - stopped
            ours, theirs = os.path.join(scratch, "host.ppm"), os.path.join(scratch, "client.ppm")
            host.ask(f"dump {ours}", "dumped")
            wrong = "no picture" if not calm or not client.dump(theirs) else difference(ours, theirs)
            if not wrong and took > 5:
                wrong = "too late"
            report.none_wrong("the last picture is there and exact", wrong, f"{took:.1f} s after the flood, 0.4 of them quiet")
        report.none_wrong("the end of the bounded host", host.end())


def documented():
    """Names of docs/statistics.md, each with its unit."""
    with open(DOCS, encoding="utf8") as file:
        rows = [line.split("|") for line in file if line.startswith("| `")]
    return {name: row[2].strip() for row in rows for name in re.findall(r"`([^`]+)`", row[1])}


def names_of(value, prefix, names, units):
    """Adds the names of an object as the table writes them."""
    if units.get(prefix) == "times":
        for name in value:
            names.add(name)
        return
    for name, inner in value.items():
        path = f"{prefix}.{name}" if prefix else name
        path = re.sub(r"^process\.codecs\.\w+", "process.codecs.NAME", path)
        if isinstance(inner, dict):
            if units.get(path) == "times" or path == "process.codecs.NAME":
                names.add(path)
            names_of(inner, path, names, units)
        elif isinstance(inner, list) and path.split(".")[-1] in ("channels", "clients"):
            names.add(path + "[]")
            for one in inner:
                names_of(one, path + "[]", names, units)
        else:
            names.add(path)


def statistics(options, scratch):
    """The numbers are those of the client."""
    with Host([options.program], os.path.join(scratch, "stats.sock"), options.lib) as host:
        units = documented()
        first = stats(host)
        report.none_wrong("nobody is here", None if first["clients"] == 0 and len(first["channels"]) == 4 else str(first))
        viewer = Viewer(host.path)
        wait_for(lambda: viewer.display.messages > 1)

        def settled():
            """The display's numbers, once the client has as much; false until then."""
            display = channel_of(stats(host), "display")
            # The link result stands before the messages.
            same = display["bytes_out"] == viewer.display.content + 4
            return display if same and not display["clients"][0]["queued_bytes"] else None

        quiet = wait_for(settled)
        report.none_wrong("bytes to the client are those that it got", None if quiet else f"{viewer.display.content} {stats(host)}")
        for _ in range(20):
            before = wait_for(settled)
            host.ask("draw", "drawn")
            wait_for(lambda: channel_of(stats(host), "display")["messages_out"] > before["messages_out"])
        after = wait_for(settled)
        count = after["wakeup_to_socket"]["count"] - quiet["wakeup_to_socket"]["count"]
        drawn = after["commands"] - quiet["commands"]
        # A turn may take a command before its wakeup has come, and then owes nothing to it.
        good = drawn == 20 and 10 <= count <= 20 and 0 < after["wakeup_to_socket"]["p50_ns"] < 10**9
        report.none_wrong("each picture has its time", None if good else f"{drawn} {after['wakeup_to_socket']}")
        for code in (0x1E, 0x9E) * 50:
            viewer.inputs.send(101, struct.pack("<I", code))
        wait_for(lambda: stats(host)["key_to_callback"]["count"] >= 100)
        now = stats(host)
        keys, inputs = now["key_to_callback"], channel_of(now, "inputs")
        good = keys["count"] == 100 and inputs["messages_in"] == 100 and inputs["bytes_in"] == 1000 and keys["max_ns"] < 10**9
        report.none_wrong("so has each key", None if good else f"{keys} {inputs}")
        names = set()
        names_of(now, "", names, units)
        different = names ^ (set(units) - {"codecs"})
        report.none_wrong("the names are those of the documentation", f"{sorted(different)}" if different else None)
        for kind, process in (("wakeup_to_socket", channel_of(now, "display")), ("key_to_callback", now)):
            times = process[kind]
            total = sum(bucket[1] for bucket in times["buckets"])
            ordered = times["p50_ns"] <= times["p90_ns"] <= times["p99_ns"] <= times["p999_ns"] <= times["max_ns"]
            report.none_wrong(f"{kind} adds up", None if total == times["count"] and ordered else str(times))
        threads = {channel["thread"] for channel in now["channels"]}
        there = {int(task) for task in os.listdir(f"/proc/{host.process.pid}/task")}
        report.none_wrong("threads are those of the system", None if len(threads) == 4 and threads <= there else f"{threads}")
        busy = channel_of(now, "inputs")["turns"]
        time.sleep(0.5)
        idle = channel_of(stats(host), "inputs")["turns"] - busy
        report.none_wrong("a thread without work stands still", None if idle <= 1 else f"{idle} turns in half a second")
        viewer.close()
        gone = wait_for(lambda: (found := stats(host))["clients"] == 0 and found)
        display = channel_of(gone, "display") if gone else {}
        kept = display.get("bytes_out") == after["bytes_out"] and display["clients"] == []
        report.none_wrong("what a client had is kept when it goes", None if kept else f"{display}")
        report.none_wrong("the end of the counting host", host.end())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--lib", required=True)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--only", help="parts, separated by commas")
    options = arguments.parse_args()
    parts = (scheduling, without_rights, bounds, statistics)
    with tempfile.TemporaryDirectory() as scratch:
        for part in parts:
            if not options.only or part.__name__ in options.only.split(","):
                part(options, scratch)
    raise SystemExit(1 if report.failures else 0)


main()

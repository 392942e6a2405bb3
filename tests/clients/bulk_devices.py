#!/usr/bin/python3
"""Bytes in bulk through a usbredir channel, both ways, plain and as LZ4, compared byte by byte with a pattern at both
ends; on both libraries in turn if spice-server is there.

  bulk_devices.py --program DIR/serve_devices --lib DIR [--megabytes 500] [--rounds 1] [--message 65536] [--ours]

Prints MB/s and the processor seconds of the host for each way. FAIL if a byte differs.
"""
import argparse
import ctypes
import os
import select
import struct
import subprocess
import sys
import time

from socket import MSG_WAITALL

from device_session import COMPRESSED, DATA, LZ4, LZ4_CAP, USBREDIR, Session, lz4
from driver import free_port

PERIOD = 1000003
LIBC = ctypes.CDLL(None)


def patterns():
    """As serve_devices makes them."""
    state, result = 88172645463325252, []
    mask = (1 << 64) - 1
    for kind in (0, 1):
        out = bytearray(PERIOD)
        for i in range(PERIOD):
            state ^= state << 13 & mask
            state ^= state >> 7
            state ^= state << 17 & mask
            out[i] = (state >> 32 if kind == 0 else i // 64 * 7 + i % 16 + (state >> 60 == 0)) & 255
        result.append(bytes(out))
    return result


def frame(kind, body):
    return struct.pack("<HI", kind, len(body)) + body


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def to_device(session, link, size, pattern, number, packed, message):
    """Seconds; a sentence if the device saw other bytes."""
    parts = [pattern[at : at + message] for at in range(0, PERIOD, message)]
    round_of = b"".join(
        frame(COMPRESSED, struct.pack("<BI", 1, len(part)) + lz4(part)) if packed else frame(DATA, part) for part in parts
    )
    rounds = size // PERIOD
    session.tell(f"sink a {rounds * PERIOD} {number}")
    session.host_lines()
    socket = link.channel.socket
    socket.settimeout(60)
    start = time.monotonic()
    for _ in range(rounds):
        socket.sendall(round_of)
    line = session.host.answer("sink", 120)
    return rounds * PERIOD, time.monotonic() - start, None if " good " in line else line


class Receiver:
    """Takes messages out of a socket and compares."""

    def __init__(self, socket, pattern, size):
        self.socket, self.pattern, self.left, self.at = socket, pattern + pattern, size, 0
        self.place = ctypes.create_string_buffer(1 << 21)
        self.out = ctypes.create_string_buffer(1 << 20)
        self.wrong = None

    def compare(self, address, size):
        base = ctypes.cast(self.pattern, ctypes.c_void_p).value
        if LIBC.memcmp(ctypes.c_void_p(address), ctypes.c_void_p(base + self.at % PERIOD), ctypes.c_size_t(size)):
            self.wrong = self.wrong or f"bytes differ after {self.at}"
        self.at += size
        self.left -= size

    def run(self):
        view, start, end = memoryview(self.place).cast("B"), 0, 0
        base = ctypes.addressof(self.place)
        while self.left > 0 and not self.wrong:
            got = self.socket.recv_into(view[end:])
            if not got:
                return "the server hung up"
            end += got
            while end - start >= 6:
                kind, size = struct.unpack_from("<HI", view, start)
                if end - start < 6 + size:
                    break
                if kind == DATA:
                    self.compare(base + start + 6, size)
                elif kind == COMPRESSED:
                    whole = struct.unpack_from("<I", view, start + 7)[0]
                    block = ctypes.c_void_p(base + start + 11)
                    if LZ4.LZ4_decompress_safe(block, self.out, size - 5, whole) != whole:
                        return "a block does not decode"
                    self.compare(ctypes.addressof(self.out), whole)
                start += 6 + size
            if start:
                rest = bytes(view[start:end])
                view[: len(rest)] = rest
                start, end = 0, len(rest)
        return self.wrong or (None if self.left == 0 else f"{-self.left} bytes too many")


def to_client(session, link, size, pattern, number):
    socket = link.channel.socket
    socket.settimeout(60)
    receiver = Receiver(socket, pattern, size)
    start = time.monotonic()
    session.tell(f"source a {size} 65568 {number}")
    wrong = receiver.run()
    took = time.monotonic() - start
    session.host.answer("source", 30)
    while wrong is None and select.select([socket], [], [], 0.1)[0]:
        head = socket.recv(6)
        kind, rest = struct.unpack("<HI", head)
        # spice-server probes the latency with pings.
        if kind in (DATA, COMPRESSED) or len(socket.recv(rest, MSG_WAITALL)) != rest:
            wrong = f"after the bytes comes a message of type {kind}"
    return size, took, wrong


def one_round(arguments, lib, both):
    """(way, packed) -> (rate, processor seconds per GB); prints what is wrong."""
    session = Session(arguments.program, free_port(), lib)
    results, failed = {}, False
    try:
        session.tell("add a usbredir -")
        session.connect()
        size = arguments.megabytes * 1000 * 1000
        for packed in (False, True):
            for way in ("to device", "to client"):
                # Plain: noise without the capability. LZ4: text.
                link = session.link("a", USBREDIR, caps=LZ4_CAP if packed else 0)
                session.settle()
                before = processor_seconds(session.host.process.pid)
                number = int(packed)
                if way == "to device":
                    moved, took, wrong = to_device(session, link, size, both[number], number, packed, arguments.message)
                else:
                    moved, took, wrong = to_client(session, link, size, both[number], number)
                used = processor_seconds(session.host.process.pid) - before
                if wrong:
                    failed = True
                    print(f"FAIL {way}{', LZ4' if packed else ''} on {'ours' if lib else 'spice-server'}: {wrong}")
                results[way, packed] = (moved / took / 1e6, used / (moved / 1e9))
                link.close()
                session.linked.remove(link)
                session.settle()
    finally:
        session.host.process.kill()
        session.host.process.wait()
    return results, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", required=True)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--message", type=int, default=65536)
    parser.add_argument("--ours", action="store_true")
    arguments = parser.parse_args()
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    libs = [arguments.lib]
    if not arguments.ours and "libspice-server.so.1 " in listed:
        libs.append(None)
    both, failures, all_results = patterns(), 0, {}
    for _ in range(arguments.rounds):
        for lib in libs:
            results, failed = one_round(arguments, lib, both)
            failures += failed
            for key, value in results.items():
                all_results.setdefault((key, bool(lib)), []).append(value)
    for way, packed in sorted({key for key, _ in all_results}):
        texts = []
        for ours in (True, False):
            values = all_results.get(((way, packed), ours))
            if values:
                rates = sorted(rate for rate, _ in values)
                cost = sorted(cost for _, cost in values)
                name = "ours" if ours else "spice-server"
                texts.append(f"{name} {rates[len(rates) // 2]:.0f} MB/s, {cost[len(cost) // 2]:.2f} s/GB")
        print(f"{'FAIL' if failures else 'PASS'} {arguments.megabytes} MB {way}{', LZ4' if packed else ''}: {'; '.join(texts)}")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())

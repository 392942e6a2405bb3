#!/usr/bin/python3
"""Peers that join a real client's session on one channel and mean no good: station_attackers.py HOW TYPE ID PORT SESSION SECONDS

HOW is flood (right messages as fast as they go, of the agent's stream as fast as its tokens come), greedy (without asking for tokens), deaf (nothing is read) or malformed (anything). A session of 0 makes a client
of its own, whose main channel is what attacks (the agent's stream). The last line is "done N". At the lowest priority, so that what a
test measures is the server's work.
"""
import os
import random
import select
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from agent_client import AGENT_START, AGENT_TOKEN, SEND_AGENT_DATA, agent_message  # noqa: E402
from raw_client import ACK, MAIN_INIT, Channel  # noqa: E402
from relay import MAIN  # noqa: E402

PLAYBACK, RECORD, USBREDIR, PORT, WEBDAV = 5, 6, 9, 10, 11
DATA, COMPRESSED = 101, 102  # of devices; recorded sound has 101 as well
CHANCE = random.Random(11)


class Tokens:
    """Of the agent's stream: how many messages the server takes now."""

    def __init__(self):
        self.left = 0

    def message(self, kind, body):
        if kind == MAIN_INIT:
            self.left = struct.unpack_from("<6I", body)[5]
        elif kind == AGENT_TOKEN:
            self.left += struct.unpack_from("<I", body)[0]


def link(kind, number, port, session, tokens):
    channel = Channel(port, kind, session, 0, True, tokens.message, number)
    if kind == MAIN:
        channel.send(AGENT_START, struct.pack("<I", 1 << 20))
    channel.socket.settimeout(0.2)
    # An end behind bytes that nobody takes would not be seen by the server; this one is.
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return channel


def packed(kind, body=b""):
    return struct.pack("<HI", kind, len(body)) + body


def right(kind):
    """A piece of a stream that any server has to take from a channel of that type.

    QEMU's usb-redir device ends the process when it reads garbage, so nothing goes to it.
    """
    noise = CHANCE.randbytes(1 << 14)
    if kind == MAIN:
        # A clipboard that never ends: the guest's agent does not ask for it.
        return packed(SEND_AGENT_DATA, agent_message(4, bytes(8) + noise[:2000]))
    if kind in (PORT, WEBDAV):
        return packed(DATA, noise) * 4
    if kind == RECORD:
        return packed(102, struct.pack("<IH", 0, 1)) + packed(DATA, bytes(4) + noise[:1920]) * 32
    return packed(ACK) * 4096


def wrong(kind):
    """A message of any type and size, not always with as many bytes as it says."""
    kinds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 100, 103, 104, 105, 106, 107, 108, 109, 200, 201, 202, 255, 65535]
    if kind != USBREDIR:
        kinds += [DATA, COMPRESSED] * 4
    body = CHANCE.randbytes(CHANCE.choice((0, 1, 2, 3, 4, 7, 8, 20, 300, 5000)))
    size = CHANCE.choice((len(body), len(body), len(body), 0xFFFFFFFF, 0x7FFFFFFF, 1 << 20))
    return struct.pack("<HI", CHANCE.choice(kinds), size) + body


def read_some(channel):
    if select.select([channel.socket], [], [], 0)[0] and not channel.read():
        raise ConnectionError("the server hung up")


def attack(how, kind, number, port, session, until):
    done = 0
    while time.monotonic() < until:
        try:
            tokens = Tokens()
            channel = link(kind, number, port, session, tokens)
            piece = right(kind)
            while time.monotonic() < until:
                if how == "deaf":
                    time.sleep(0.1)
                    continue
                if how == "flood" and kind == MAIN:
                    if not tokens.left:
                        select.select([channel.socket], [], [], 0.05)
                        read_some(channel)
                        continue
                    tokens.left -= 1
                try:
                    channel.socket.sendall(wrong(kind) if how == "malformed" else piece)
                    done += 1
                except TimeoutError:
                    # The server takes no more. What is half sent cannot be finished: once more from the beginning, after a while.
                    if how != "malformed":
                        while time.monotonic() < until:
                            time.sleep(0.1)
                    break
                read_some(channel)
            channel.socket.close()
        except OSError:
            time.sleep(0.002)
        if how == "deaf":
            done += 1
    return done


def main():
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    how, *rest = sys.argv[1:]
    kind, number, port, session = map(int, rest[:4])
    print("done", attack(how, kind, number, port, session, time.monotonic() + float(rest[4])), flush=True)


if __name__ == "__main__":
    main()

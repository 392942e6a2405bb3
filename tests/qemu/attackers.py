#!/usr/bin/python3
"""Peers that mean no good to a SPICE port: attackers.py NAME ADDRESS PORT SECONDS

NAME is a function here or in attackers_inside.py. Comes from ADDRESS (127.0.0.2, say) and ends after SECONDS. The last line on standard output is "done N", the number of
what was done. Runs at the lowest priority, so that what a test measures is the server's work and not theirs.
"""
import os
import random
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from raw_client import oaep  # noqa: E402

# Main channel; common capabilities: selection of authentication, short headers.
MESSAGE = struct.pack("<IBBIIII", 0, 1, 0, 1, 0, 18, 1 | 8)
LINK = b"REDQ" + struct.pack("<III", 2, 2, len(MESSAGE)) + MESSAGE
UPGRADE = (b"GET / HTTP/1.1\r\nHost: spice\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n")
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def connect(address, port, timeout=20):
    """A connection from that address; whoever closes it leaves no port waiting."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.settimeout(timeout)
    peer.bind((address, 0))
    peer.connect(("127.0.0.1", port))
    return peer


def exactly(peer, size):
    data = b""
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            raise ConnectionError("the server hung up")
        data += part
    return data


def link(peer, password):
    """The link result of the main channel."""
    peer.sendall(LINK)
    reply = exactly(peer, struct.unpack("<I", exactly(peer, 16)[12:])[0])
    if struct.unpack_from("<I", reply)[0]:
        raise ConnectionError(f"link error {reply[0]}")
    modulus = int.from_bytes(reply[4 + 162 - 133 : 4 + 162 - 5], "big")
    peer.sendall(struct.pack("<I", 1) + oaep(password.encode() + b"\0", modulus))
    return struct.unpack("<I", exactly(peer, 4))[0]


def again(address, port, until, act):
    """Connects and acts until the time is over; what the server does to it is no matter."""
    count = 0
    while time.monotonic() < until:
        try:
            with connect(address, port) as peer:
                act(peer)
        except OSError:
            # On a machine without free ports or a server that refuses, not in a circle without air.
            time.sleep(0.001)
        count += 1
    return count


def flood(address, port, until):
    """Link messages, as fast as one connection after the other goes; the answer is waited for."""

    def act(peer):
        peer.sendall(LINK)
        peer.recv(4096)

    return again(address, port, until, act)


def guesses(address, port, until):
    """Wrong tickets, without the patience to wait for each answer."""

    def act(peer):
        peer.settimeout(0.02)
        link(peer, f"guess {random.random()}")

    return again(address, port, until, act)


def silent(address, port, until, count=900):
    """Sockets that say nothing, opened again when they are closed."""
    peers, opened, rounds = [], 0, 0
    while time.monotonic() < until:
        # Those that were closed are opened again, 500 a second at most: a flood is another attack.
        while len(peers) < count and opened < count + rounds * 100 and time.monotonic() < until:
            try:
                peers.append(connect(address, port, timeout=2))
                peers[-1].setblocking(False)
                opened += 1
            except OSError:
                break
        kept = []
        for peer in peers:
            try:
                if not peer.recv(4096):
                    peer.close()
                    continue
            except BlockingIOError:
                pass
            except OSError:
                peer.close()
                continue
            kept.append(peer)
        peers = kept
        rounds += 1
        time.sleep(0.2)
    return opened


def loris(address, port, until):
    """Slow bytes on every stage: first bytes, HTTP, link header, link message, mechanism and ticket, frames."""
    begin = [b"", b"R", b"GET / HTTP/1.1\r\nX: ", LINK[:5], LINK[:20], LINK, LINK + b"\1\0\0\0", UPGRADE, UPGRADE + b"\x82\xfe\x7f\xff"]
    peers, opened = {}, 0
    while time.monotonic() < until:
        for at in range(6 * len(begin)):
            if at not in peers:
                try:
                    peers[at] = connect(address, port, timeout=2)
                    peers[at].sendall(begin[at % len(begin)])
                    opened += 1
                except OSError:
                    peers.pop(at, None)
                    continue
            try:
                peers[at].sendall(b"x")
            except OSError:
                peers.pop(at).close()
        time.sleep(0.5)
    return opened


def garbage(address, port, until, first=b""):
    chance = random.Random(7)

    def act(peer):
        peer.sendall(first + chance.randbytes(chance.randrange(1, 3000)))
        peer.settimeout(0.05)
        while peer.recv(4096):
            pass

    return again(address, port, until, act)


def tls(address, port, until):
    """What begins like TLS and goes on as noise."""
    return garbage(address, port, until, CLIENT_HELLO)


def websocket(address, port, until):
    """Noise instead of frames, behind a right upgrade."""
    return garbage(address, port, until, UPGRADE)


def noise(address, port, until):
    return garbage(address, port, until)


def named(name):
    """An attacker by its name."""
    import attackers_inside  # It needs what stands here.

    return globals().get(name) or getattr(attackers_inside, name)


def main():
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    name, address, port, seconds = sys.argv[1:]
    count = named(name)(address, int(port), time.monotonic() + float(seconds))
    print("done", count, flush=True)


if __name__ == "__main__":
    main()

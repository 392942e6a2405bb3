"""Clients that flood, do not read or make no sense, and agents that never stop: the host's loop answers, memory stays
bounded, and who behaves is served."""
import hashlib
import os
import struct
import threading
import time

from agent_client import AGENT_START, SEND_AGENT_DATA, AgentClient, agent_message
from agent_scenes import MANY, POSITION, SEND_AGENT_TOKEN, TOKENS, chunk, position
from fake_agent import AgentHost

# docs/limits.md: a client's window, its way (256 KiB), its outbox (256 KiB and a message), and what the allocator keeps.
ONE_CLIENT_KIB = 4 * 1024
# A loaded machine; the host's loop never does more than 4 MiB of a device in one turn.
PATIENCE = 0.5
FLOOD = 64 << 20


def started(path, tokens=MANY):
    client = AgentClient(path, TOKENS)
    client.until_quiet(0.1)
    client.send(AGENT_START, struct.pack("<I", tokens))
    client.socket.settimeout(10)
    return client


def flood_bytes(total):
    """What serve_agent makes for "flood"."""
    found, left = [], total
    while left:
        size = min(left, 2048)
        start = left & 255
        found.append((bytes(range(255, -1, -1)) * 10)[255 - start : 255 - start + size])
        left -= size
    return b"".join(found)


def received(client, total):
    """Bytes of AGENT_DATA until there are so many."""
    data = bytearray()
    while len(data) < total:
        kind, body = client.receive()
        if kind == 109:
            data += body
    return bytes(data)


def unread(host, path, report):
    """A client that does not read what the agent says without end."""
    client = started(path)
    host.ask("sync", "synced")
    time.sleep(0.2)
    before = host.memory()
    host.ask(f"flood {FLOOD}", "flooding")
    slowest = max(host.pause() for _ in range(50))
    grown = host.memory() - before
    report.check("a client that does not read: the host's loop answers", slowest < PATIENCE, f"{1000 * slowest:.1f} ms")
    report.check("… memory is bounded", grown < ONE_CLIENT_KIB, f"{grown} KiB")
    data = received(client, FLOOD + 24)[24:]
    good = hashlib.sha256(data).digest() == hashlib.sha256(flood_bytes(FLOOD)).digest()
    report.check(f"… then reads it all: {FLOOD >> 20} MiB are exact", good)
    client.close()


def spammed(host, path, report):
    """AGENT_START, AGENT_TOKEN and messages without a header, as fast as they go."""
    client = started(path)
    before = host.memory()
    stop = time.monotonic() + 2
    pauses = []

    def spam():
        messages = (struct.pack("<HII", AGENT_START, 4, 1) + struct.pack("<HII", SEND_AGENT_TOKEN, 4, MANY)) * 500
        while time.monotonic() < stop:
            try:
                client.socket.sendall(messages)
            except OSError:
                return

    thread = threading.Thread(target=spam)
    thread.start()
    while thread.is_alive():
        pauses.append(host.pause())
    grown = host.memory() - before
    report.check("a flood of tokens: the host's loop answers", max(pauses) < PATIENCE, f"{1000 * max(pauses):.1f} ms")
    report.check("… memory is bounded", grown < ONE_CLIENT_KIB, f"{grown} KiB")
    client.send(SEND_AGENT_DATA, agent_message(4, b"alive"))
    report.check("… and the client is still served", host.message(4, 5) == b"alive")
    client.close()


def stalled_mouse(host, path, report):
    """A pointer that moves for ever before an agent that takes nothing."""
    client = AgentClient(path, TOKENS)
    session = struct.unpack_from("<I", client.receive()[1])[0]
    client.send(105, struct.pack("<H", 2))
    inputs = AgentClient(path, 0, channel=3, session=session)
    inputs.until_quiet(0.2)
    host.ask("room 0", "room set")
    before = host.memory()
    moves = b"".join(
        struct.pack("<HI", POSITION, 11) + position(i, i, i & 1) for i in range(1000)
    )
    inputs.socket.settimeout(20)
    pauses = []
    for _ in range(50):
        inputs.socket.sendall(moves)
        pauses.append(host.pause())
        inputs.socket.setblocking(False)
        try:
            inputs.socket.recv(1 << 18)
        except BlockingIOError:
            pass
        inputs.socket.setblocking(True)
    grown = host.memory() - before
    report.check("50,000 positions for a busy agent: the loop answers", max(pauses) < PATIENCE, f"{1000 * max(pauses):.1f} ms")
    report.check("… memory is bounded", grown < ONE_CLIENT_KIB, f"{grown} KiB")
    host.messages = []
    host.stream = host.bytes = b""
    host.ask("room -1", "room set")
    inputs.close()
    client.close()
    host.ask("sync", "synced")


def nonsense(host, path, report):
    """Bytes without sense after a good start: whatever happens to that client, the next one is served."""
    for number in range(30):
        client = started(path)
        kind = (SEND_AGENT_DATA, AGENT_START, SEND_AGENT_TOKEN, 105, 2, 200)[number % 6]
        try:
            client.socket.sendall(struct.pack("<HI", kind, 64) + os.urandom(64) + os.urandom(number * 100))
        except OSError:
            pass
        client.close()
    client = started(path)
    host.messages = []
    client.send(SEND_AGENT_DATA, agent_message(4, b"after nonsense"))
    report.check("after clients that make no sense another one is served", host.message(4, 10) == b"after nonsense")
    client.close()


def restarts(host, path, report):
    """An agent that starts and breaks its protocol again and again, before a client that opens its stream each time."""
    client = started(path)
    before = host.memory()
    for _ in range(300):
        host.ask("say " + chunk(b"nonsense", 7).hex(), "said")
        host.ask("agent off", "agent removed")
        host.ask("agent on", "agent added")
    client.socket.settimeout(10)
    seen = client.until_quiet(0.3)
    kinds = [entry[0] for entry in seen if entry != "closed"]
    report.check("300 broken agents: the client hears of each", kinds.count(108) == 300 and kinds.count(115) == 300)
    client.send(AGENT_START, struct.pack("<I", MANY))
    host.messages = []
    client.send(SEND_AGENT_DATA, agent_message(4, b"the last one"))
    report.check("… and the last one hears the client", host.message(4, 10) == b"the last one")
    grown = host.memory() - before
    report.check("… memory is bounded", grown < ONE_CLIENT_KIB, f"{grown} KiB")
    client.close()


def rough(options, where, report):
    path = os.path.join(where, "socket")
    with AgentHost(options.program, path, options.lib) as host:
        host.ask("agent on", "agent added")
        for part in (unread, spammed, stalled_mouse, nonsense, restarts):
            part(host, path, report)
        report.check("the host ends well", (wrong := host.end()) is None, wrong or "")

"""A stock client with a guest's agent: clipboards both ways, files, settings, agents that die in the middle."""
import hashlib
import os
import statistics
import struct
import time

from agent_client import AGENT_START, AgentClient
from driver import Client
from fake_agent import CAPABILITIES, CLIPBOARD, GRAB, RELEASE, REQUEST, AgentHost, clipboard, grab, request

TEXT, IMAGE = 1, 2
FILE_XFER_START = 10
FILE_XFER_DISABLED = 1 << 13
CLIPBOARD_CAPABILITIES = 1 << 3 | 1 << 5 | 1 << 6


def agent_comes(host, client):
    """A new agent, and what it can do as the client hears of it; 0 if it does not."""
    client.pump(0)
    before = len(client.events)
    host.on()
    # It tells twice, first with what the last agent could do.
    end = time.monotonic() + 10
    found = []
    while time.monotonic() < end and len(found) < 2:
        client.pump(0.1)
        found = [e for e in client.events[before:] if e["event"] == "agent" and e["connected"]]
    client.pump(0.3)
    found = [e for e in client.events[before:] if e["event"] == "agent" and e["connected"]]
    return found[-1]["caps"] if found else 0


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(
            file.read()
        ).hexdigest()


def noise(path, size):
    with open(path, "wb") as file:
        left = size
        while left:
            part = os.urandom(min(left, 1 << 20))
            file.write(part)
            left -= len(part)
    return path


def pasted(host, client, kind, content, where, report, name):
    """The client's user copies, the guest pastes; then the other way round."""
    source = os.path.join(where, "clip")
    with open(source, "wb") as file:
        file.write(content)
    client.send("clip-give", kind, source)
    client.send("clip-grab", kind)
    data = host.message(GRAB)
    report.check(f"{name}: the guest hears what the client copied", data is not None and data[4:8] == struct.pack("<I", kind))
    host.says(request(kind))
    data = host.message(CLIPBOARD, 30)
    report.check(f"{name}: client to guest, {len(content)} bytes", data is not None and data[8:] == content)
    client.send("clip-release")
    report.check(f"{name}: the guest hears that it is gone", host.message(RELEASE) is not None)
    host.says(grab(kind))
    report.check(f"{name}: the client hears what the guest copied", bool(client.wait("clip-grabbed", types=[kind])))
    client.send("clip-ask", kind)
    report.check(f"{name}: the guest is asked", host.message(REQUEST) is not None)
    host.says(clipboard(kind, content), os.path.join(where, "said"))
    found = client.wait("clipboard", 30, type=kind)
    good = found and found["sha256"] == hashlib.sha256(content).hexdigest()
    report.check(f"{name}: guest to client, {len(content)} bytes", good)


def send_file(host, client, source, target, timeout=600):
    """(seconds or None, error)."""
    host.ask(f"files {target}", "files set")
    began = time.monotonic()
    client.send("send-file", source)
    line = host.answer("file ", timeout)
    took = time.monotonic() - began
    sent = client.wait("file-sent", 30)
    host.ask("files -", "files set")
    return (took if line else None), (sent["error"] if sent else "no answer")


def stock(options, where, report):
    path = os.path.join(where, "socket")
    source, target = noise(os.path.join(where, "file"), options.megabytes << 20), os.path.join(where, "received")
    with AgentHost(options.program, path, options.lib) as host, Client(unix=path) as client:
        report.check("a stock client connects", client.connected())
        caps = agent_comes(host, client)
        report.check("it hears of the agent and of what it can do", caps == CAPABILITIES, f"{caps:x}")
        pasted(host, client, TEXT, "Grüße, 世界\n".encode() * 7, where, report, "text")
        image = b"\x89PNG\r\n\x1a\n" + os.urandom(3 << 20)
        pasted(host, client, IMAGE, image, where, report, "image")
        took, error = send_file(host, client, source, target)
        report.check(
            f"a file of {options.megabytes} MiB is the same in the guest",
            took is not None and error is None and digest(source) == digest(target),
            error or f"{options.megabytes / took:.0f} MiB/s",
        )
        blocked(host, client, source, where, report)
        crash(host, client, source, target, where, report)
        monitors(host, client, report)
        report.check("the host ends well", (wrong := host.end()) is None, wrong or "")


def silent(host, kind, seconds=0.5):
    return host.message(kind, seconds) is None


def blocked(host, client, source, where, report):
    host.ask("copypaste 0", "copypaste 0")
    before = len(client.seen("clip-grabbed"))
    client.send("clip-grab", TEXT)
    report.check("copy and paste off: the guest hears nothing", silent(host, GRAB))
    host.says(grab(TEXT))
    host.says(clipboard(TEXT, bytes(5000)))
    client.pump(0.5)
    nothing = len(client.seen("clip-grabbed")) == before
    report.check("copy and paste off: the client hears nothing", nothing)
    host.ask("filexfer 0", "filexfer 0")
    client.send("send-file", source)
    report.check("files off: the guest hears of none", silent(host, FILE_XFER_START))
    # An agent that comes now announces neither.
    host.ask("agent off", "agent removed")
    client.wait("file-sent", 5)
    caps = agent_comes(host, client)
    report.check(
        "an agent that comes then announces neither to the client",
        caps == CAPABILITIES & ~CLIPBOARD_CAPABILITIES | FILE_XFER_DISABLED,
        f"{caps:x}",
    )
    client.send("send-file", source)
    sent = client.wait("file-sent", 10)
    report.check("the client refuses to send a file", bool(sent and sent["error"]), sent["error"] if sent else "")
    for line in ("copypaste", "filexfer"):
        host.ask(f"{line} 1", f"{line} 0")
    host.ask("agent off", "agent removed")
    agent_comes(host, client)
    pasted(host, client, TEXT, b"allowed again", where, report, "on again")


def crash(host, client, source, target, where, report):
    """The agent dies while a file comes, and comes again."""
    for name, stop in (("while it takes everything", None), ("while it takes nothing", "room 100000")):
        if stop:
            host.ask(stop, "room set")
        host.ask(f"files {target}", "files set")
        client.send("send-file", source)
        end = time.monotonic() + 20
        while os.path.getsize(target) < 50000 and time.monotonic() < end:
            time.sleep(0.01)
        host.ask("agent off", "agent removed")
        sent = client.wait("file-sent", 15)
        report.check(f"agent gone {name}: the client gives the file up", bool(sent and sent["error"]))
        host.ask("room -1", "room set")
        host.ask("files -", "files set")
        agent_comes(host, client)
        took, error = send_file(host, client, source, target)
        good = took is not None and error is None and digest(source) == digest(target)
        report.check(f"agent gone {name}: the next file is whole", good, error or "")
    pasted(host, client, TEXT, b"after the restart", where, report, "after a restart")


def monitors(host, client, report):
    host.message(0, 0.3)
    client.send("monitors", "1024x768+0+0")
    data = host.message(2, 10)
    good = data is not None and struct.unpack_from("<I", data)[0] >= 1 and struct.unpack_from("<II", data, 8) == (768, 1024)
    report.check("the guest's agent hears which monitor the client wishes for", good)
    host.ask("takes 1", "takes set")
    # spice-server asks the devices when an agent or a client comes.
    host.ask("agent off", "agent removed")
    agent_comes(host, client)
    client.send("monitors", "800x600+0+0")
    report.check("or the device, if it takes it", host.answer("monitors 0 1", 10) is not None)
    report.check("and the agent does not", silent(host, 2))
    host.ask("takes 0", "takes set")


def rates(options, where, report):
    """Files to the guest and a clipboard to the client on both libraries, turn by turn."""
    size = options.megabytes
    source, target = noise(os.path.join(where, "file"), size << 20), os.path.join(where, "received")
    found = {}
    for turn in range(2 * options.rounds):
        library = options.lib if turn % 2 == 0 else None
        path = os.path.join(where, f"socket-{turn}")
        with AgentHost(options.program, path, library) as host, Client(unix=path) as client:
            client.connected()
            agent_comes(host, client)
            took, error = send_file(host, client, source, target)
            exact = took and not error and digest(source) == digest(target)
            name = "ours" if library else "spice-server"
            rate = size / took if took else 0
            exact = "exact" if exact else "WRONG"
            print(f"{name}: {rate:.1f} MiB/s to the guest, {processor(host):.2f} s of processor, {exact}", flush=True)
            found.setdefault(name, []).append(rate if exact == "exact" else 0)
            host.end()
    verdict(found, f"{size} MiB to the guest", report)
    found = {}
    for turn in range(2 * options.rounds):
        library = options.lib if turn % 2 == 0 else None
        path = os.path.join(where, f"flood-{turn}")
        with AgentHost(options.program, path, library) as host:
            host.ask("agent on", "agent added")
            client = AgentClient(path, 4)
            client.until_quiet(0.2)
            client.send(AGENT_START, struct.pack("<I", 0xFFFFFFFF))
            time.sleep(0.2)
            # The clipboard's head, then pieces of 2048 bytes, each with a header of 6.
            left = 6 + 24 + (size << 20) // 2048 * (2048 + 6)
            client.socket.settimeout(60)
            host.tell(f"flood {size << 20}")
            began = time.monotonic()
            while left > 0:
                left -= len(client.socket.recv(1 << 20))
            name = "ours" if library else "spice-server"
            found.setdefault(name, []).append(size / (time.monotonic() - began))
            print(f"{name}: {found[name][-1]:.1f} MiB/s to the client, {processor(host):.2f} s of processor", flush=True)
            client.close()
            host.end()
    verdict(found, f"{size} MiB to the client", report)


def processor(host):
    with open(f"/proc/{host.process.pid}/stat", encoding="ascii") as file:
        return sum(float(word) for word in file.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")


def verdict(found, what, report):
    best = {name: max(values) for name, values in found.items()}
    ratio = best["ours"] / best["spice-server"]
    median = {name: statistics.median(values) for name, values in found.items()}
    detail = f"{ratio:.2f} of its rate (best), {median['ours'] / median['spice-server']:.2f} (median)"
    report.check(f"{what} as fast as on spice-server", ratio >= 1, detail)

"""Clipboard, files and monitors through the agent of the small guest, with a stock client."""
import struct
import time

from agent_client import (AGENT_DATA, AGENT_START, SEND_AGENT_DATA, AgentClient, agent_message, monitors_config)
from relay import Relay
from workstation_kit import expect, report, sha256

TEXT, PNG = 1, 2
CLIPBOARD, PRIMARY = 0, 1
ANNOUNCE, MONITORS, CLIPBOARD_DATA, GRAB, REQUEST, XFER_START, XFER_DATA = 6, 2, 4, 7, 8, 10, 12


def clipboard(station):
    """Text and a picture, client to guest and back, in both selections."""
    client, guest = station.client, station.guest
    texts = [station.text("one.txt", "Grüße aus dem Fenster, 漢字, \U0001f34e\n" * 3), station.text("two.txt", "zurück\t€\n" * 20000)]
    pictures = [station.picture("one.png"), station.picture("other.png", "1200x900")]
    for name, kind, (here, there), selection in (("text", TEXT, texts, CLIPBOARD), ("a PNG", PNG, pictures, CLIPBOARD),
                                                 ("text in the primary selection", TEXT, texts[::-1], PRIMARY)):
        station.forget()
        client.send("offer", selection, kind, here)
        wrong = [] if station.logged(f"clipboard {selection} {kind} ") else ["nothing came"]
        if not wrong:
            wrong += expect(guest.sha256(f"/tmp/agent/clip.{selection}.{kind}"), sha256(here), "sha256 in the guest")
        report(f"clipboard: {name}, client to guest", wrong)
        with open(there, "rb") as file:
            data = file.read()
        put(station, data, "/tmp/offer")
        station.order(f"grab {selection} {kind} /tmp/offer")
        grab = client.wait("grab", 15, selection=selection)
        wrong = ["no grab came"] if grab is None else expect(grab["types"], [kind], "types")
        start = time.monotonic()
        client.send("ask", selection, kind)
        got = client.wait("clipboard", 30, selection=selection, type=kind)
        wrong += ["nothing came"] if got is None else expect((got["size"], got["sha256"]), (len(data), sha256(there)), "size and sha256")
        report(f"clipboard: {name}, guest to client", wrong, f"{len(data)} bytes in {time.monotonic() - start:.2f} s")


def put(station, data, path):
    """A file into the guest, by the same road as any other: the agent."""
    with open(station.file("put"), "wb") as file:
        file.write(data)
    station.client.send("copy", station.file("put"))
    done = station.client.wait("copied", 60)
    if done is None or done["error"]:
        raise RuntimeError(f"no file came into the guest: {done}")
    station.guest.must(f"mv /tmp/agent/files/put {path}")


def transfer(station):
    """A large file, and the rate."""
    megabytes = 8 if station.quick else 200
    path = station.file("large.bin", megabytes << 20)
    rate = copy(station, path, f"file of {megabytes} MB")
    paths = [station.file(f"several{i}.bin", (i << 20) + i) for i in range(4)]
    station.client.send("copy", *paths)
    done = station.client.wait("copied", 120)
    wrong = ["nothing came back"] if done is None else [done["error"]] if done["error"] else []
    for path in paths:
        name = path.rsplit("/", 1)[1]
        wrong += expect(station.guest.do(f"sha256sum /tmp/agent/files/{name}")[1].split(" ")[0], sha256(path), name)
    report("several files at once", wrong, "of 0 to 3 MB, one with no byte")
    station.guest.must("rm -f /tmp/agent/files/*")
    return rate


def copy(station, path, name):
    """Sends a file and compares it; MB/s."""
    size = len(open(path, "rb").read())
    station.client.send("copy", path)
    done = station.client.wait("copied", 300)
    wrong = ["nothing came back"] if done is None else [done["error"]] if done["error"] else []
    rate = 0
    if not wrong:
        rate = size / done["seconds"] / 1e6
        wrong += expect(station.guest.sha256(f"/tmp/agent/files/{path.rsplit('/', 1)[1]}"), sha256(path), "sha256 in the guest")
    report(name, wrong, f"{rate:.1f} MB/s")
    station.guest.must("rm -f /tmp/agent/files/*")
    return rate


def monitors(station):
    """What the client wishes for reaches the agent (the screen has no driver that would take it)."""
    station.forget()
    station.client.send("monitors", "1024x768+0+0")
    wrong = [] if station.logged("monitors [0-9]* 1024x768+0+0") else ["one monitor did not come"]
    station.client.send("monitors", "raw", "800x600+0+0", "640x480+800+0")
    if not station.logged("monitors [0-9]* 800x600+0+0 640x480+800+0"):
        wrong.append("two monitors did not come")
    if wrong:
        wrong.append(station.guest.do("tail -3 /tmp/agent/log")[1])
    report("monitors: what the client wishes for reaches the guest", wrong)


def crash(station):
    """The agent is killed while a file is on its way, comes back, and everything works again. Twice."""
    client, guest = station.client, station.guest
    size = (32 if station.quick else 100) << 20
    path = station.file("crash.bin", size)
    for way, kill in (("killed", "kill -9 $(pidof agent)"), ("hung, then killed", "kill -STOP $(pidof agent); sleep 1; kill -9 $(pidof agent)")):
        client.seen("agent")
        client.events.clear()
        client.taken = 0
        client.send("copy", path)
        wrong = []
        if not guest.wait_for("[ $(stat -c %s /tmp/agent/files/crash.bin 2>/dev/null || echo 0) -gt 500000 ]", 30):
            wrong.append("the file did not begin to come")
        guest.must(kill)
        came = int(guest.must("stat -c %s /tmp/agent/files/crash.bin"))
        if came >= size:
            wrong.append("the file was through before")
        copied = client.wait("copied", 30)
        if copied is None or not copied["error"]:
            wrong.append(f"the client does not know: {copied}")
        if not client.seen("agent", connected=False):
            wrong.append("the client was not told that the agent is gone")
        guest.must("rm -f /tmp/agent/files/*; rm -f /tmp/agent/log")
        if not station.start_agent():
            wrong.append("the client was not told that the agent is back")
        report(f"agent {way} in mid-transfer", wrong, f"after {came} bytes; the client says: {copied and copied['error']}")
        copy(station, path, f"file after the agent was {way}")
        station.forget()
        client.send("offer", CLIPBOARD, TEXT, station.text("again.txt", f"again: {way}"))
        wrong = [] if station.logged("clipboard 0 1 ") else ["nothing came"]
        report(f"clipboard after the agent was {way}", wrong or expect(guest.must("cat /tmp/agent/clip.0.1"), f"again: {way}", "text"))


def bytes_in_chunks(data):
    return [data[at : at + 2048] for at in range(0, len(data), 2048)]


def disobedient(station, blocked):
    """A client that does not care for what it was told tries clipboard and file transfer; both must not pass if blocked,
    and must if not. What follows in the same stream shows that everything before has been dealt with."""
    station.leave()
    guest = station.guest
    station.forget()
    relay = Relay(guest.port, station.work)  # to a unix socket, on which AgentClient speaks
    relay.start()
    peer = AgentClient(relay.path)
    until = time.monotonic() + 10
    while 103 not in [m[0] for m in peer.until_quiet(0.3) if m != "closed"] and time.monotonic() < until:
        pass
    peer.send(AGENT_START, struct.pack("<I", 100))
    peer.send(SEND_AGENT_DATA, agent_message(ANNOUNCE, struct.pack("<II", 0, 0x7FFF)))
    start = struct.pack("<I", 77) + b"[vdagent-file-xfer]\nname=raw.txt\nsize=5\n\0"
    for kind, data in ((GRAB, struct.pack("<II", 0, TEXT)), (CLIPBOARD_DATA, struct.pack("<II", 0, TEXT) + b"raw"),
                       (XFER_START, start), (XFER_DATA, struct.pack("<IQ", 77, 5) + b"12345")):
        peer.send(SEND_AGENT_DATA, agent_message(kind, data))
    peer.send(SEND_AGENT_DATA, agent_message(MONITORS, monitors_config([(641, 479, 32, 0, 0)])))
    wrong = [] if station.logged("monitors 1 641x479") else ["the last message did not come"]
    log = guest.must("cat /tmp/agent/log")
    for word in ("grab", "clipboard", "start", "file"):
        if (f"\n{word} " in "\n" + log) == blocked:
            wrong.append(f"{word} {'came through' if blocked else 'did not come'}")
    report(f"a client that does not ask: {'nothing' if blocked else 'everything'} passes to the guest", wrong)
    guest.must("echo raw > /tmp/raw")
    peer.until_quiet(0.3)
    station.order("grab 0 1 /tmp/raw")
    station.order("announce")
    stream = b"".join(m[1] for m in peer.until_quiet(1.5) if m != "closed" and m[0] == AGENT_DATA)
    kinds = []
    while len(stream) >= 20:
        kind, size = struct.unpack_from("<I8xI", stream, 4)
        kinds.append(kind)
        stream = stream[20 + size :]
    wrong = [] if ANNOUNCE in kinds else [f"the last message did not come: {kinds}"]
    if (GRAB in kinds) == blocked:
        wrong.append("a grab came through" if blocked else "no grab came")
    report(f"… {'nothing' if blocked else 'everything'} passes to the client", wrong)
    peer.close()
    relay.__exit__()


def disabled(station):
    """A machine with disable-copy-paste and disable-agent-file-xfer, with a stock client and one that does not ask."""
    client, guest = station.connect(), station.guest
    wrong = [] if station.start_agent() else ["no agent"]
    client.send("offer", CLIPBOARD, TEXT, station.text("secret.txt", "secret"))
    client.send("copy", station.text("secret-file.txt", "secret"))
    copied = client.wait("copied", 15)
    if copied is None or not copied["error"]:
        wrong.append(f"the file was copied: {copied}")
    client.send("ask", CLIPBOARD, TEXT)
    client.send("monitors", "640x479+0+0")
    if not station.logged("monitors [0-9]* 640x479"):
        wrong.append("not even monitors come")
    log = guest.must("cat /tmp/agent/log")
    wrong += [f"the agent heard of it: {line}" for line in log.splitlines() if line.split()[0] not in ("opened", "caps", "monitors")]
    guest.must("echo guest > /tmp/own")
    station.order("grab 0 1 /tmp/own")
    client.taken = len(client.events)
    station.kill_agent()
    if not station.wait_agent(False):
        wrong.append("no word of the agent's end")
    if client.seen("grab") or client.seen("clipboard"):
        wrong.append("the client heard of the guest's clipboard")
    station.start_agent()
    report("disabled clipboard and files: a stock client", wrong, f"it says: {copied and copied['error']}")
    disobedient(station, True)


def tests(station, locked):
    """`station` has everything, `locked` nothing."""
    station.connect("--usbredir", "--audio")
    if not station.start_agent():
        report("agent", "the client does not hear of it")
        return
    clipboard(station)
    transfer(station)
    monitors(station)
    crash(station)
    disobedient(station, False)
    disabled(locked)

"""A CD of the client's, its folder, and ports: bytes through QEMU's usb-redir, webdav and spiceport devices."""
import json
import os
import shutil
import subprocess
import time

from driver import Client
from machine import Machine
from small_guest import TEST_PORT, WEBDAV_PORT
from workstation_kit import expect, report, sha256

OPENED, CLOSED = 0, 1
MONITOR_PORT = "org.qemu.monitor.qmp.0"


def iso(station, name, sizes):
    """An image with one file of noise for each size."""
    folder = station.file(name)
    shutil.rmtree(folder, ignore_errors=True)
    for number, size in enumerate(sizes):
        station.file(f"{name}/part{number}.bin", size)
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", name.upper(), "-o", folder + ".iso", folder],
                   check=True, stderr=subprocess.DEVNULL)
    return folder + ".iso", folder


def usb(station):
    """The client's shared CD is redirected: found, read, ejected, and two others after it."""
    client, guest = station.connect("--usbredir"), station.guest
    big = (16 if station.quick else 128) << 20
    for name, sizes in (("first", [1, 2048, 700001, big]), ("second", [12345, 3 << 20]), ("third", [1 << 20])):
        image, folder = iso(station, name, sizes)
        client.send("cd", image)
        answer = client.wait("usb", 20)
        wrong = [f"the client did not redirect it: {client.events[-4:]}"] if answer is None else [answer["error"]] if answer["error"] else []
        if not wrong and not guest.wait_for("dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/dev/null", 40):
            wrong.append("no CD in the guest: " + guest.do("dmesg | tail -5")[1])
        seconds = 0
        if not wrong:
            guest.must("mount -t iso9660 -o ro /dev/sr0 /mnt")
            start = time.monotonic()
            for number, size in enumerate(sizes):
                file = f"part{number}.bin"
                wrong += expect(guest.sha256(f"/mnt/{file}"), sha256(os.path.join(folder, file)), f"{file} of {size} bytes")
            seconds = time.monotonic() - start
            guest.must("umount /mnt")
        report(f"CD by USB redirection: the {name} one", wrong, f"{sum(sizes)} bytes, {sum(sizes) / max(seconds, 0.001) / 1e6:.1f} MB/s with sha256")
        client.send("eject")
        client.wait("ejected", 20)
        gone = guest.wait_for("! [ -b /dev/sr0 ]", 20)
        report(f"CD by USB redirection: the {name} one is taken away", None if gone else "the guest still has it")
    # A client that goes with its CD takes it along.
    client = station.connect("--usbredir")
    client.send("cd", iso(station, "first", [1 << 20])[0])
    came = guest.wait_for("[ -b /dev/sr0 ]", 30)
    client.kill()
    station.client = None
    gone = guest.wait_for("! [ -b /dev/sr0 ]", 20)
    report("CD by USB redirection: the client is killed", [] if came and gone else [f"came: {came}, went: {gone}"])


def webdav(station):
    """Files of the client's folder by HTTP through the port of the guest's daemon."""
    shared = station.file("shared")
    shutil.rmtree(shared, ignore_errors=True)
    small = station.file("shared/small.txt", 4711)
    large = station.file("shared/deep/large.bin", (8 if station.quick else 40) << 20)
    client, guest = station.connect("--shared-dir", shared), station.guest
    seconds = 0
    for number, (path, url) in enumerate(((small, "/small.txt"), (large, "/deep/large.bin"))):
        start = time.monotonic()
        status, said = guest.do(f"webdav {number + 1} GET {url} 0 /tmp/got", 120)
        seconds = time.monotonic() - start
        wrong = [said] if status else expect(said.split(";")[0], "HTTP/1.1 200 OK", "answer")
        wrong += wrong or expect(guest.sha256("/tmp/got"), sha256(path), "sha256 in the guest")
        report(f"webdav: GET of {os.path.getsize(path)} bytes", wrong, f"{os.path.getsize(path) / seconds / 1e6:.1f} MB/s")
    _, said = guest.do("webdav 3 GET /nothing 0 /tmp/got")
    report("webdav: GET of what is not there", expect(said.split(";")[0], "HTTP/1.1 404 Not Found", "answer"))
    status, said = guest.do("webdav 4 PROPFIND / 1 /tmp/got; cat /tmp/got")
    wrong = [] if "207 Multi-Status" in said else [said[:200]]
    wrong += [f"no {name} in the list" for name in ("small.txt", "deep") if f"<D:href>http://localhost/{name}" not in said]
    report("webdav: PROPFIND", wrong)
    events = [event["value"] for event in client.seen("port-event", port=WEBDAV_PORT)]
    # Every run of the guest's program opens and closes the port once.
    report("webdav: the port's events", expect(events, [OPENED, CLOSED] * 4, "events"))
    guest.must("rm -f /tmp/got")


def echo(station):
    """A port of one's own: what goes in comes out again; its events, also the last one for a client that comes later."""
    client, guest = station.connect(), station.guest
    size = (8 if station.quick else 64) << 20
    path = station.file("echo.bin", size + 1)
    wrong = [] if client.wait("port-new", 10, port=TEST_PORT) else ["the client is not told of the port"]
    wrong += expect(client.seen("port", port=TEST_PORT), [], "the port's state before")
    guest.start(f"ports echo /dev/virtio-ports/{TEST_PORT}")
    if client.wait("port", 15, port=TEST_PORT, opened=True) is None:
        wrong.append("no word of the port's opening")
    client.send("collect", TEST_PORT, size + 1)
    client.send("write", TEST_PORT, path)
    back = client.wait("collected", 120)
    wrong += ["not everything came back"] if back is None else expect(back["sha256"], sha256(path), "sha256")
    rate = f"{2 * (size + 1) / back['seconds'] / 1e6:.1f} MB/s both ways" if back else ""
    report(f"port: {size + 1} bytes and back", wrong, rate)
    client = station.connect()
    wrong = [] if client.wait("port", 10, port=TEST_PORT, opened=True) else ["it does not hear that the port is open"]
    client.send("collect", TEST_PORT, 70000)
    client.send("write", TEST_PORT, station.file("short.bin", 70000))
    back = client.wait("collected", 30)
    wrong += ["not everything came back"] if back is None else expect(back["sha256"], sha256(station.file("short.bin")), "sha256")
    report("port: the next client", wrong)
    client.seen("port")
    client.events.clear()
    client.taken = 0
    guest.must(f"kill $(pidof ports); sleep 0.2; kill -9 $(pidof ports) 2>/dev/null; true")
    wrong = [] if client.wait("port", 15, port=TEST_PORT, opened=False) else ["no word of the port's closing"]
    wrong += expect([event["value"] for event in client.seen("port-event", port=TEST_PORT)], [CLOSED], "events")
    guest.start(f"ports echo /dev/virtio-ports/{TEST_PORT}")
    if not client.wait("port", 15, port=TEST_PORT, opened=True):
        wrong.append("no word of the port's opening again")
    report("port: events of closing and opening", wrong)
    guest.must("kill -9 $(pidof ports)")


def sequence(size):
    """The words that ports.c writes and expects."""
    state, words = 1, bytearray()
    for _ in range(size // 4):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        words += state.to_bytes(4, "little")
    return words


def one_way(station):
    """Much in one direction only, with nothing in the other that could drive it."""
    client, guest = station.connect(), station.guest
    size = (8 if station.quick else 64) << 20
    with open(station.file("sequence.bin"), "wb") as file:
        file.write(sequence(size))
    client.wait("port-new", 10, port=TEST_PORT)
    client.send("collect", TEST_PORT, size)
    guest.start(f"ports source /dev/virtio-ports/{TEST_PORT} {size}")
    got = client.wait("collected", 60)
    guest.must("kill -9 $(pidof ports)")
    client.wait("port", 5, port=TEST_PORT, opened=False)
    wrong = ["not everything came"] if got is None else expect(got["sha256"], sha256(station.file("sequence.bin")), "sha256")
    report("port: the guest writes", wrong, f"{size} bytes, {size / got['seconds'] / 1e6:.1f} MB/s" if got else "")
    guest.start(f"ports sink /dev/virtio-ports/{TEST_PORT} {size} >/tmp/sunk")
    client.wait("port", 10, port=TEST_PORT, opened=True)
    client.send("write", TEST_PORT, station.file("sequence.bin"))
    guest.wait_for("[ -s /tmp/sunk ]", 90)
    report("port: the guest reads", expect(guest.do("cat /tmp/sunk")[1], f"{size} bytes, 0 blocks wrong\n", "it says"))


def monitor():
    """QEMU's own monitor as a port, in a machine of its own: no guest takes part.

    What QEMU says of clients that come and go is written to the port while QEMU holds the monitors' lock. A library that then
    complains through glib's log makes QEMU take that lock twice: spice-server does, when the client has just gone.
    """
    arguments = ["-vga", "qxl", "-chardev", f"spiceport,id=monitor,name={MONITOR_PORT}", "-mon", "chardev=monitor,mode=control"]
    with Machine(*arguments) as machine:
        client = Client(port=machine.port, program="station_client.py", options=["--text-port", MONITOR_PORT])
        wrong = [] if client.connected() and client.wait("port", 10, port=MONITOR_PORT, opened=True) else ["the port is not open"]
        client.wait("port-text", 10, port=MONITOR_PORT)  # the greeting
        answers = []
        for command in () if wrong else ("qmp_capabilities", "query-status", "query-spice", "no-such-command"):
            client.send("say", MONITOR_PORT, json.dumps({"execute": command}))
            event = client.wait("port-text", 10, port=MONITOR_PORT)
            answers.append(json.loads(event["text"]) if event else None)
        if None in answers:
            wrong.append(f"no answer: {answers}")
        elif answers:
            wrong += expect(answers[0], {"return": {}}, "capabilities") + expect(answers[1]["return"]["running"], True, "running")
            wrong += expect(answers[3]["error"]["class"], "CommandNotFound", "error")
            channels = {channel["channel-type"] for channel in answers[2]["return"]["channels"]}
            wrong += [f"channel type {kind} is missing" for kind in (1, 2, 3, 4, 10) if kind not in channels]
        report("a monitor as a port", wrong)
        client.kill()
        wrong, rounds = [], 0
        try:
            for rounds in range(1, 11):
                machine.qmp.ask("query-status", timeout=5)
                client = Client(port=machine.port, program="station_client.py")
                if not client.connected():
                    wrong.append("a client is not let in")
                (client.kill if rounds % 2 else client.close)()
        except (TimeoutError, OSError, EOFError):
            wrong.append(f"QEMU {'hangs' if machine.alive() else 'is gone'} after {rounds} clients: {machine.output()[-200:].strip()}")
            machine.process.kill()
        if wrong and Machine.library is None:
            print(f"NOTE a monitor as a port, on spice-server: {wrong}", flush=True)
            wrong = []
        report("a monitor as a port: clients come and go", wrong, f"{rounds} clients")


def tests(station, only):
    if "usb" in only:
        usb(station)
    if "webdav" in only:
        webdav(station)
    if "ports" in only:
        monitor()
        echo(station)
        one_way(station)

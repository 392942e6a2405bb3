#!/usr/bin/python3
"""Stock QEMU and stock clients on a libspice-server: one PASS, FAIL or SKIPPED line per scenario.

  run.py [--lib DIR] [--only NAME,...] [--accel kvm|tcg] [--keep DIR]

--lib names the directory with the libspice-server.so.1 to test; without it the system's library is used.
Exit code 1 if anything failed. Needs qemu-system-x86, spice-client-gtk, python3-gi with SpiceClientGLib;
the desktop scenarios also Xvfb, xdotool, imagemagick and virt-viewer.
"""
import argparse
import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import displays
import tls
from desktop import Desktop, contains
from machine import HERE, Machine, accelerators, client_environment, difference, free_port, read_ppm  # noqa: F401
from driver import Client

OPTIONS = None
RESULTS = {"PASS": 0, "FAIL": 0, "SKIPPED": 0}


def report(name, wrong=None, detail="", skipped=False):
    kind = "SKIPPED" if skipped else "FAIL" if wrong else "PASS"
    RESULTS[kind] += 1
    text = wrong or detail
    print(f"{kind} {name}{': ' + str(text) if text else ''}", flush=True)


def keep(machine, name):
    """Saves the last pictures of a scenario that somebody may want to look at."""
    if OPTIONS.keep:
        os.makedirs(OPTIONS.keep, exist_ok=True)
        for file in ("qemu.ppm", "spicy.ppm", "client.ppm"):
            if os.path.exists(machine.path(file)):
                shutil.copy(machine.path(file), os.path.join(OPTIONS.keep, f"{name}-{file}"))


def boot_sector():
    """The raw disk image of vbe_modes.asm, from the committed bytes; checked against nasm where there is one."""
    with open(os.path.join(HERE, "vbe_modes.hex")) as file:
        image = bytes.fromhex(file.read())
    if shutil.which("nasm"):
        with tempfile.TemporaryDirectory() as scratch:
            made = os.path.join(scratch, "out")
            subprocess.run(["nasm", "-f", "bin", "-o", made, os.path.join(HERE, "vbe_modes.asm")], check=True)
            with open(made, "rb") as file:
                if file.read() != image:
                    report("vbe_modes.hex", "differs from vbe_modes.asm")
    return image


def disk_with_boot_sector(directory):
    path = os.path.join(directory, "disk.img")
    with open(path, "wb") as file:
        file.write(boot_sector().ljust(1 << 20, b"\0"))
    return path


def pattern_pixel(seed_code):
    """First pixel (RGB) of the 32-bit pattern for the key that seeded it."""
    value = seed_code * 0x00091D35 & 0xFFFFFF
    return bytes((value >> 16, value >> 8 & 255, value & 255))


VGAS = {
    "std": ["-vga", "std"],
    "qxl": ["-vga", "qxl"],
    "qxl-vga-device": ["-device", "qxl-vga"],
}


# ---- pictures


def nothing_to_boot(width, height, pixels):
    """Whether the eighth line of text mode, "No bootable device.", is there; the cursor's rows do not count."""
    return height == 400 and any(pixels[width * 3 * 112 : width * 3 * 124])


def firmware_screen():
    """A client sees what screendump shows at the firmware's no-boot screen: vga kinds times accelerators."""
    for accel in OPTIONS.accels:
        for kind, arguments in VGAS.items():
            name = f"firmware {kind} {accel}"
            with Machine(*arguments, accel=accel) as machine:
                with Client(port=machine.port) as client:
                    wrong = None if client.connected() else "client not connected"
                    # On a busy machine the firmware pauses for longer than a still picture takes.
                    if not machine.wait_picture(nothing_to_boot):
                        wrong = wrong or "the firmware does not say that there is nothing to boot"
                    machine.wait_still()
                    wrong = wrong or machine.pictures_equal(client=client)
                    report(name, wrong, f"{read_ppm(machine.path('qemu.ppm'))[:2]} {machine.uses_library()}")
                    keep(machine, name.replace(" ", "-"))


def vbe_modes():
    """A boot sector of our own sets three VBE modes; each key from the client leads to the next."""
    sizes = [(640, 480), (1024, 768), (800, 600), (640, 480)]
    keys = [0x1E, 0x30, 0x2E]
    for accel in OPTIONS.accels:
        for kind, arguments in VGAS.items():
            name = f"vbe {kind} {accel}"
            with tempfile.TemporaryDirectory() as scratch:
                disk = ["-drive", f"file={disk_with_boot_sector(scratch)},format=raw,if=ide"]
                with Machine(*arguments, *disk, accel=accel) as machine:
                    wrong = None
                    for step, size in enumerate(sizes):
                        with Client(port=machine.port) as client:
                            wrong = None if client.connected() else "client not connected"
                            if step and not wrong:
                                client.send("tap", hex(keys[step - 1]))
                            if not wrong and not machine.wait_picture(
                                lambda w, h, p: (w, h) == size and any(p[-3000:]), 60
                            ):
                                wrong = "the guest did not draw it"
                            machine.wait_still(timeout=30, calm=0.6)
                            wrong = wrong or machine.pictures_equal(client=client)
                        keep(machine, f"{name.replace(' ', '-')}-{step}")
                        if wrong:
                            wrong = f"mode {size}: {wrong}"
                            break
                    if not wrong:
                        first = read_ppm(machine.path("client.ppm"))[2][:3]
                        if first != pattern_pixel(keys[2]):
                            wrong = f"key not in the picture: {first.hex()}"
                    report(name, wrong, "3 modes, keys seen by the guest")


def two_qxl():
    """A second QXL device: its channels are listed, the first one's picture stays right."""
    for accel in OPTIONS.accels:
        with Machine("-vga", "qxl", "-device", "qxl", accel=accel) as machine, Client(port=machine.port) as client:
            wrong = None if client.connected() else "client not connected"
            machine.wait_still()
            if not wrong:
                channels = client.state()["up"]
                wanted = ["display", 0], ["display", 1], ["cursor", 0], ["cursor", 1]
                missing = [channel for channel in wanted if channel not in channels]
                wrong = f"missing channels {missing}" if missing else None
            wrong = wrong or machine.pictures_equal(client=client)
            report(f"two qxl {accel}", wrong)


# ---- tickets and sockets


def joins(client, timeout=10):
    """None when the client gets in, else what it was told."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        client.pump(0.1)
        if client.seen("channel", channel="main", what="opened"):
            return None
        told = [e["what"] for e in client.seen("channel", channel="main") if e["what"] != "opened"]
        if told:
            return told[0]
    return "nothing happened"


def attempt(machine, password=None, unix=False):
    with Client(port=machine.port, unix=machine.socket if unix else None, password=password) as client:
        return joins(client)


def tickets():
    """Right, wrong, missing, replaced and expired tickets."""
    secret = ["-object", "secret,id=tk,data=geheim"]
    with Machine(*secret, "-vga", "std", spice="port={port},addr=127.0.0.1,password-secret=tk") as machine:
        told = attempt(machine, "geheim")
        report("ticket right", told)
        for what, password in (("wrong", "falsch"), ("missing", None), ("empty", "")):
            told = attempt(machine, password)
            ok = told is not None and told.startswith("error")
            report(f"ticket {what}", None if ok else f"client was told {told}", told)
        machine.wait_still()
        report("ticket screenshot", machine.pictures_equal(password="geheim"))
        machine.qmp.ask("set_password", protocol="spice", password="neu")
        told = attempt(machine, "geheim")
        report("ticket replaced, old one", None if told else "old ticket accepted", told)
        report("ticket replaced, new one", attempt(machine, "neu"))
        machine.qmp.ask("expire_password", protocol="spice", time="+2")
        report("ticket before expiry", attempt(machine, "neu"))
        time.sleep(3)
        told = attempt(machine, "neu")
        report("ticket after expiry", None if told else "expired ticket accepted", told)
        machine.qmp.ask("expire_password", protocol="spice", time="never")
        report("ticket made everlasting", attempt(machine, "neu"))
        machine.qmp.ask("expire_password", protocol="spice", time="now")
        told = attempt(machine, "neu")
        report("ticket expired now", None if told else "expired ticket accepted", told)


def connected_rules():
    """set_password with connected=fail and connected=disconnect."""
    secret = ["-object", "secret,id=tk,data=geheim"]
    with Machine(*secret, "-vga", "std", spice="port={port},addr=127.0.0.1,password-secret=tk") as machine:
        with Client(port=machine.port, password="geheim") as client:
            client.connected()
            answer = machine.qmp.ask("set_password", protocol="spice", password="b", connected="fail")
            report("password fail-if-connected", None if "error" in answer else f"answered {answer}")
            answer = machine.qmp.ask("set_password", protocol="spice", password="c", connected="disconnect")
            gone = client.wait("disconnected", 8) or client.seen("channel", channel="main", what="closed")
            report("password disconnect-if-connected", None if gone and answer == {} else f"{answer}, client stays")
        report("password after disconnect", attempt(machine, "c"))


def sockets():
    """No ticket needed; unix sockets, abstract ones among them, and IPv6."""
    with Machine("-vga", "std") as machine:
        report("no ticket asked", attempt(machine))
        report("no ticket asked, one given", attempt(machine, "irgendwas"))
    with Machine("-vga", "std", spice="unix=on,addr={socket},disable-ticketing=on") as machine:
        report("unix socket", attempt(machine, unix=True))
        machine.wait_still()
        report("unix socket screenshot", machine.pictures_equal(unix=True))
    with Machine("-vga", "std", spice="unix=on,addr=@cayenne-{port},disable-ticketing=on") as machine:
        # Stock clients know no abstract sockets.
        bridge(machine.socket, f"\0cayenne-{machine.port}")
        report("abstract socket", attempt(machine, unix=True))
        machine.wait_still()
        report("abstract socket screenshot", machine.pictures_equal(unix=True))
    if not has_ipv6():
        print("SKIPPED 1: no IPv6 on loopback", file=sys.stderr)
        return
    with Machine("-vga", "std", spice="port={port},addr=::1,ipv6=on,disable-ticketing=on") as machine:
        machine.address = "::1"
        machine.wait_still()
        report("IPv6 screenshot", machine.pictures_equal())


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def bridge(path, name):
    """Whoever connects to a path talks to another unix socket, until this process ends."""

    def pass_on(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept():
        while True:
            near, far = listener.accept()[0], socket.socket(socket.AF_UNIX)
            far.connect(name)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=accept, daemon=True).start()


# ---- input


def boot_menu():
    """Escape from the client opens the firmware's boot menu."""
    for accel in OPTIONS.accels:
        with Machine("-vga", "qxl", "-boot", "menu=on,splash-time=60000", accel=accel) as machine:
            with Client(port=machine.port) as client:
                wrong = None if client.connected() else "client not connected"
                machine.wait_still()
                before = read_ppm(machine.screendump())
                client.send("tap", "0x01")
                if not wrong and not machine.wait_picture(
                    lambda w, h, p: (w, h) == before[:2]
                    and sum(p[i : i + 27] != before[2][i : i + 27] for i in range(0, len(p), 27)) > 60,
                    20,
                ):
                    wrong = "the menu did not react"
                if not wrong:
                    machine.wait_still()
                    wrong = machine.pictures_equal(client=client)
                report(f"boot menu reacts {accel}", wrong)
                keep(machine, f"menu-{accel}")


def mouse_modes():
    """Without tablet the mode is server; usb-tablet switches it to client, and motion arrives."""
    with Machine("-vga", "std") as machine, Client(port=machine.port) as client:
        client.connected()
        mode, mice = client.state()["mouse_mode"], machine.qmp.ask("query-mice")
        spice = machine.qmp.ask("query-spice")["mouse-mode"]
        ok = mode == "server" and spice == "server" and not any(m["absolute"] for m in mice)
        client.send("motion", 5, 5)
        report("mouse mode without tablet", None if ok else f"client {mode} query-spice {spice} {mice}")
    with Machine("-vga", "std", "-usb", "-device", "usb-tablet") as machine, Client(port=machine.port) as client:
        client.connected()
        # No guest driver here: the monitor activates a pointing device, as a driver's first use would.
        for absolute, wanted in ((True, "client"), (False, "server"), (True, "client")):
            mice = machine.qmp.ask("query-mice")
            index = next(mouse["index"] for mouse in mice if mouse["absolute"] == absolute)
            machine.qmp.ask("human-monitor-command", **{"command-line": f"mouse_set {index}"})
            end = time.monotonic() + 8
            while client.state()["mouse_mode"] != wanted and time.monotonic() < end:
                time.sleep(0.1)
            mode, spice = client.state()["mouse_mode"], machine.qmp.ask("query-spice")["mouse-mode"]
            current = [mouse["absolute"] for mouse in machine.qmp.ask("query-mice") if mouse["current"]]
            ok = mode == wanted and spice == wanted and current == [absolute]
            report(
                f"mouse mode {wanted} with usb-tablet {'on' if absolute else 'off'}",
                None if ok else f"client {mode} query-spice {spice} query-mice {current}",
            )
            for x in range(0, 200, 10):
                client.send("position", x, x) if absolute else client.send("motion", 1, 1)
            client.send("button-press", 1, 0)
            client.send("button-release", 1, 1)
        up = client.state()["up"]
        report("inputs survive 60 moves", None if ["inputs", 0] in up else f"channels up: {up}")


# ---- monitor and crashes


def query_spice():
    """query-spice lists the client's channels with right types."""
    with Machine("-vga", "qxl") as machine:
        before = machine.qmp.ask("query-spice")
        with Client(port=machine.port) as client:
            client.connected()
            time.sleep(0.5)
            answer = machine.qmp.ask("query-spice")
            types = sorted(channel["channel-type"] for channel in answer["channels"])
            wrong = None if types == [1, 2, 3, 4] else f"channel types {types}"
            if not wrong and any(c["host"] != "127.0.0.1" or c["tls"] for c in answer["channels"]):
                wrong = f"wrong addresses: {answer['channels']}"
            if not wrong and len({c["connection-id"] for c in answer["channels"]}) != 1:
                wrong = f"connection ids differ: {answer['channels']}"
        end = time.monotonic() + 5
        while machine.qmp.ask("query-spice").get("channels") and time.monotonic() < end:
            time.sleep(0.1)
        after = machine.qmp.ask("query-spice")
        if not wrong and (before["channels"] or after["channels"]):
            wrong = f"channels without client: before {before['channels']} after {after['channels']}"
        names = [e["event"] for e in machine.qmp.events if e["event"].startswith("SPICE")]
        for event in ("SPICE_CONNECTED", "SPICE_INITIALIZED", "SPICE_DISCONNECTED"):
            if not wrong and event not in names:
                wrong = f"no {event}"
        if not wrong and names.count("SPICE_CONNECTED") != names.count("SPICE_DISCONNECTED"):
            wrong = f"{names.count('SPICE_CONNECTED')} connected, {names.count('SPICE_DISCONNECTED')} disconnected"
        report("query-spice", wrong)


def killed_clients():
    """kill -9 of the client, 50 times at random moments, while the guest draws: QMP goes on answering."""
    chance = random.Random(1)
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        disk = ["-drive", f"file={disk_with_boot_sector(scratch)},format=raw,if=ide"]
        with Machine("-vga", "qxl", *disk) as machine:
            wrong = None
            for turn in range(OPTIONS.kills):
                client = Client(port=machine.port)
                time.sleep(chance.uniform(0, 0.9))
                client.send("tap", "0x1e")
                time.sleep(chance.uniform(0, 0.1))
                client.kill()
                start = time.monotonic()
                try:
                    machine.qmp.ask("query-status", timeout=10)
                except (TimeoutError, EOFError, OSError) as error:
                    time.sleep(0.5)
                    wrong = f"after kill {turn + 1}: {error}; exit {machine.process.poll()}; {machine.output()[-300:]!r}"
                    break
                worst = max(worst, time.monotonic() - start)
            if not wrong:
                wrong = attempt(machine)
            if not wrong:
                machine.wait_still(calm=0.6)
                wrong = machine.pictures_equal()
            report(f"client killed {OPTIONS.kills} times", wrong, f"worst QMP answer {worst * 1000:.1f} ms")


# ---- start-up forms


def sandbox():
    """The seccomp sandbox with everything denied: starts, serves, and threads can still be made."""
    deny = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    for kind in ("std", "qxl"):
        with Machine(*VGAS[kind], "-sandbox", deny) as machine, Client(port=machine.port) as client:
            wrong = None if client.connected() else "client not connected"
            machine.wait_still()
            report(f"sandbox {kind}", wrong or machine.pictures_equal(client=client))


def daemonize():
    """-daemonize: the child serves."""
    directory = tempfile.mkdtemp(prefix="spice-qemu-")
    port = free_port()
    environment = client_environment()
    if Machine.library:
        environment["LD_LIBRARY_PATH"] = Machine.library
    pid_file = os.path.join(directory, "pid")
    command = ["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-m", "64", "-vga", "qxl"]
    command += ["-spice", f"port={port},addr=127.0.0.1,disable-ticketing=on", "-daemonize", "-pidfile", pid_file]
    done = subprocess.run(command, env=environment, timeout=60, capture_output=True)
    wrong = None if done.returncode == 0 else f"exit {done.returncode}: {done.stderr.decode()[-300:]}"
    if not wrong:
        with open(pid_file) as file:
            pid = int(file.read())
        with Client(port=port) as client:
            wrong = None if client.connected() else "client not connected"
        if not wrong and not os.path.exists(f"/proc/{pid}"):
            wrong = "the daemon is gone"
        try:
            os.kill(pid, 15)
        except ProcessLookupError:
            wrong = wrong or "the daemon died"
    shutil.rmtree(directory, ignore_errors=True)
    report("daemonize", wrong)


def no_spice_option():
    """A qxl device without -spice: the library is used without any listener."""
    for device in (["-vga", "qxl"], ["-device", "qxl-vga", "-device", "qxl"]):
        with Machine(*device, spice=None) as machine:
            lit = machine.wait_still()
            shown = read_ppm(machine.screendump())
            wrong = None if lit and shown[0] > 0 and machine.alive() else "no firmware screen"
            report(f"no -spice, {' '.join(device)}", wrong)


def resets_and_stops():
    """system_reset, stop and cont while a client watches; then the picture is right again."""
    with Machine("-vga", "qxl") as machine, Client(port=machine.port) as client:
        wrong = None if client.connected() else "client not connected"
        for _ in range(5):
            machine.qmp.ask("system_reset")
            time.sleep(0.5)
            machine.qmp.ask("stop")
            machine.qmp.ask("cont")
        machine.wait_still()
        # QEMU itself forgets to send lines that look the same before and after a reset, so screendump may know
        # more than any client; what the server gives an old and a new client must agree all the same.
        machine.qmp.ask("stop")
        time.sleep(0.5)
        client.quiet(500, 8000)
        if not wrong and not client.dump(machine.path("client.ppm")):
            wrong = "staying client has no picture"
        shot = machine.screenshot()
        wrong = wrong or (difference(shot, machine.path("client.ppm")) if shot else "no screenshot")
        report("5 resets with a client", wrong)
        keep(machine, "resets")
        machine.qmp.ask("quit")
        try:
            code = machine.process.wait(10)
            report("quit with a client connected", None if code == 0 else f"exit {code}: {machine.output()[-300:]}")
        except subprocess.TimeoutExpired:
            report("quit with a client connected", "QEMU hangs")


# ---- desktop clients


def graphical(name, make_command, fit=False):
    """A viewer on a virtual desktop shows the guest's picture; `fit` widens its window until nothing is scaled."""
    with Machine("-vga", "qxl") as machine, Desktop() as desktop:
        machine.wait_still()
        machine.qmp.ask("stop")
        environment = client_environment(desktop.display)
        environment["GDK_BACKEND"] = "x11"
        viewer = subprocess.Popen(
            make_command(machine.port), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        root = machine.path("root.ppm")
        dump = machine.screendump()
        found = False
        end = time.monotonic() + 25
        while not found and time.monotonic() < end:
            time.sleep(1)
            if fit:
                width = str(read_ppm(dump)[0])
                search = ["xdotool", "search", "--onlyvisible", "--class", name]
                subprocess.run(search + ["windowsize", "%@", width, "700"], env=environment, capture_output=True)
                time.sleep(0.5)
            desktop.shot(root)
            found = contains(root, dump)
        if OPTIONS.keep:
            os.makedirs(OPTIONS.keep, exist_ok=True)
            shutil.copy(root, os.path.join(OPTIONS.keep, f"{name}-desktop.ppm"))
        viewer.kill()
        viewer.wait()
        report(f"{name} shows the picture", None if found else "the guest's picture is not on the desktop")


def viewers():
    """remote-viewer and spicy under Xvfb."""
    if not shutil.which("Xvfb") or not shutil.which("import"):
        report("viewers", skipped=True, detail="no Xvfb or import")
        return
    if shutil.which("remote-viewer"):
        graphical("remote-viewer", lambda port: ["remote-viewer", f"spice://127.0.0.1:{port}"])
    else:
        report("remote-viewer shows the picture", skipped=True, detail="not installed")
    if shutil.which("xdotool"):
        graphical("spicy", lambda port: ["spicy", "-h", "127.0.0.1", "-p", str(port)], fit=True)
    else:
        report("spicy shows the picture", skipped=True, detail="no xdotool to undo its scaling")


def reconnects():
    """spicy connects 20 times in a row; each time all channels come up."""
    if not shutil.which("Xvfb"):
        report("spicy reconnects", skipped=True, detail="no Xvfb")
        return
    with Machine("-vga", "qxl") as machine, Desktop() as desktop:
        wrong = None
        for turn in range(20):
            spicy = subprocess.Popen(
                ["spicy", "-h", "127.0.0.1", "-p", str(machine.port)],
                env=client_environment(desktop.display),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            end = time.monotonic() + 15
            types = []
            while time.monotonic() < end:
                answer = machine.qmp.ask("query-spice")
                types = sorted({channel["channel-type"] for channel in answer["channels"]})
                if types == [1, 2, 3, 4]:
                    break
                time.sleep(0.1)
            spicy.terminate() if turn % 2 else spicy.kill()
            spicy.wait()
            if types != [1, 2, 3, 4]:
                wrong = f"turn {turn + 1}: channel types {types}"
                break
        machine.wait_still()
        report("spicy reconnects 20 times", wrong or machine.pictures_equal())


SCENARIOS = [
    firmware_screen, vbe_modes, two_qxl, tickets, connected_rules, sockets, boot_menu, mouse_modes, query_spice,
    killed_clients, sandbox, daemonize, no_spice_option, resets_and_stops, *displays.SCENARIOS, *tls.SCENARIOS, viewers, reconnects,
]


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", help="directory with the libspice-server.so.1 to test")
    parser.add_argument("--only", help="comma separated: " + " ".join(s.__name__ for s in SCENARIOS))
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="one accelerator instead of all usable ones")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--keep", help="directory for pictures")
    parser.add_argument("--verbose", action="store_true", help="QEMU's output on stderr")
    OPTIONS = parser.parse_args()
    OPTIONS.accels = [OPTIONS.accel] if OPTIONS.accel else accelerators()
    Machine.library = os.path.abspath(OPTIONS.lib) if OPTIONS.lib else None
    Machine.verbose = OPTIONS.verbose
    if not shutil.which("qemu-system-x86_64"):
        report("qemu", skipped=True, detail="qemu-system-x86_64 is not installed")
        return 0
    wanted = OPTIONS.only.split(",") if OPTIONS.only else None
    for scenario in SCENARIOS:
        if wanted and scenario.__name__ not in wanted:
            continue
        try:
            # Those of displays.py hand their results over one by one.
            for result in scenario() or ():
                report(*result)
        except (RuntimeError, OSError, EOFError, TimeoutError, subprocess.SubprocessError, TypeError, ValueError) as error:
            report(scenario.__name__, f"{type(error).__name__}: {error}")
    print(f"{RESULTS['PASS']} passed, {RESULTS['FAIL']} failed, {RESULTS['SKIPPED']} skipped")
    return 1 if RESULTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())

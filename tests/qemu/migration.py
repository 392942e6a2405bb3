#!/usr/bin/python3
"""Live migration between two stock QEMUs with a stock client that stays: on our library, on spice-server, and between both.

  migration.py --lib DIR [--rounds N] [--only TEXT] [--keep DIR]     DIR has libspice-server.so.1; without --lib only the reference

Each case: a machine that draws when a key is pressed; the client types before, during and after the move; its connections
stay, its picture is the target's in every pixel, and each key arrived once. The same with spicy in a window. Then moves that fail: the client is killed, the
target is killed, the target refuses the ticket, the migration is cancelled.
"""
import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from desktop import Desktop, contains
from machine import HERE, Machine, accelerators, client_environment
from moves import Mover, move

sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from driver import difference, read_ppm  # noqa: E402

OPTIONS = None
FAILED = []
# Scan codes and the modes that they lead to, one after another, from the boot sector's first one on.
KEYS = (0x1E, 0x30, 0x2E)
SIZES = ((640, 480), (1024, 768), (800, 600))
PASSWORD = "tOpSeCrEt"
REFERENCE = "spice-server"


def report(name, wrong=None, detail=""):
    if wrong:
        FAILED.append(name)
    print(f"{'FAIL' if wrong else 'PASS'} {name}: {wrong or 'right'}{' (' + detail + ')' if detail else ''}", flush=True)


def boot_sector(folder):
    path = os.path.join(folder, "disk")
    with open(os.path.join(HERE, "vbe_modes.hex")) as text, open(path, "wb") as disk:
        sector = bytes.fromhex(text.read())
        disk.write(sector + bytes((1 << 20) - len(sector)))
    return path


def key_pixel(key):
    """The first pixel of the pattern that a key leads to, as in run.py."""
    return key * 0x91D35 & 0xFFFFFF


class Host(Mover, Machine):
    """One end of a migration: a machine that runs, or (`incoming`) one that waits for it."""

    def __init__(self, library, disk, incoming=False, seamless=False, tls=False, password=None):
        spice, more = self.open_doors(library, incoming, seamless, tls, password)
        # Sound, a tablet and a port: every kind of channel takes part.
        more += ["-audiodev", "spice,id=sound", "-device", "intel-hda", "-device", "hda-duplex,audiodev=sound"]
        more += ["-device", "virtio-serial-pci", "-chardev", "spiceport,id=port,name=org.test.port"]
        more += ["-device", "virtserialport,chardev=port,name=org.test.port", "-usb", "-device", "usb-tablet"]
        more += ["-drive", f"file={disk},format=raw,if=ide", "-vga", "qxl"]
        super().__init__(*more, spice=spice, accel=OPTIONS.accel)

    def shows(self, size, key, limit=60):
        """True once the machine has drawn what this key leads to."""

        def wanted(width, height, pixels):
            return (width, height) == size and any(pixels[-3000:])

        return self.wait_picture(wanted, limit) and self.wait_still(timeout=30, calm=0.6)


def up(client):
    return sorted(map(tuple, client.state()["up"]))


def same_picture(target, client):
    """None if the client shows what the target does."""
    target.qmp.ask("stop")
    try:
        end = time.monotonic() + 8
        while True:
            client.quiet(300, 8000)
            dump = target.screendump()
            if not client.dump(target.path("client.ppm")):
                return "the client has no picture"
            wrong = difference(dump, target.path("client.ppm"))
            if not wrong or time.monotonic() > end:
                return wrong
    finally:
        target.qmp.ask("cont")


def case_name(libraries, seamless, tls):
    one, other = (OPTIONS.names[library] for library in libraries)
    how = {False: "plain", True: "TLS", "only": "a secure port only"}[tls]
    return f"{one} to {other}, {'seamless' if seamless else 'semi-seamless'}, {how}"


def moved(libraries, seamless, tls, rounds):
    """A machine moves with its client."""
    name = case_name(libraries, seamless, tls)
    wrong, times = None, []
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            disk = boot_sector(folder)
            with Host(libraries[0], disk, False, seamless, tls) as source, Host(libraries[1], disk, True, seamless, tls) as target:
                with source.viewer() as client:
                    wrong = one_move(source, target, client, times)
        if wrong:
            wrong = f"round {turn + 1}: {wrong}"
            break
    report(name, wrong, f"{len(times)} of {rounds}, client there after {statistics.median(times):.2f} s" if times else "")


def one_move(source, target, client, times):
    if not client.connected(30):
        return "the client is not connected"
    if not source.shows(SIZES[0], None):
        return "the guest does not draw"
    before = up(client)
    client.send("tap", hex(KEYS[0]))
    if not source.shows(SIZES[1], KEYS[0]):
        return "the key before the move did not arrive"
    wrong, took = move(source, target, lambda: client.send("tap", hex(KEYS[1])))
    if wrong:
        return wrong
    source.end()
    if not target.shows(SIZES[2], KEYS[1]):
        return f"the key of the move: {read_ppm(target.screendump())[:2]} instead of {SIZES[2]}"
    wrong = same_picture(target, client)
    if wrong:
        return f"after the move: {wrong}"
    client.send("tap", hex(KEYS[2]))
    if not target.shows(SIZES[0], KEYS[2]):
        return "the key behind the move did not arrive"
    wrong = same_picture(target, client)
    if wrong:
        return f"behind the move: {wrong}"
    after = up(client)
    if after != before:
        return f"channels {after} instead of {before}"
    if client.seen("disconnected"):
        return "the session was disconnected"
    times.append(took)
    return None


def works(machine):
    """None if a new client sees what the machine shows. QEMU draws a machine that has moved at its next refresh."""
    if not machine.comes(lambda: machine.qmp.ask("query-status").get("running"), 15):
        return "the machine does not run"
    time.sleep(1.5)
    return machine.pictures_equal(password=machine.password, timeout=30)


def on_desktop(desktop, machine, limit=20):
    """None if the window of spicy shows the machine's picture; it is made as wide as that, so that nothing is scaled."""
    environment = client_environment(desktop.display)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        dump = machine.screendump()
        width, height, _ = read_ppm(dump)
        search = ["xdotool", "search", "--onlyvisible", "--class", "spicy"]
        subprocess.run([*search, "windowsize", "%@", str(width), str(height + 200)], env=environment, capture_output=True)
        time.sleep(0.5)
        desktop.shot(machine.path("root.ppm"))
        if contains(machine.path("root.ppm"), dump):
            return None
    return "the machine's picture is not in spicy's window"


def press(desktop, key):
    """A key on the desktop's keyboard, into spicy's window."""
    environment = client_environment(desktop.display)
    search = ["xdotool", "search", "--onlyvisible", "--class", "spicy"]
    subprocess.run([*search, "windowfocus", "--sync", "%@", "key", "--clearmodifiers", key], env=environment, capture_output=True, timeout=20)


def windowed(libraries, seamless):
    """A machine moves while spicy, with its window, looks at it."""
    name = case_name(libraries, seamless, False) + ", spicy"
    with tempfile.TemporaryDirectory() as folder, Desktop() as desktop:
        source, target = pair(libraries, folder, seamless=seamless)
        with source, target:
            environment = {**client_environment(desktop.display), "GDK_BACKEND": "x11"}
            spicy = subprocess.Popen(["spicy", "-h", "127.0.0.1", "-p", str(source.port)], env=environment,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                wrong = move_window(source, target, desktop) or (f"spicy has ended with {spicy.poll()}" if spicy.poll() is not None else None)
            finally:
                spicy.kill()
                spicy.wait()
    report(name, wrong)


def look_and_type(desktop, machine, letter, step, when):
    """A sentence if spicy's window is not the machine's picture, or a key in it does not lead to the next one."""
    wrong = on_desktop(desktop, machine)
    if wrong:
        return f"{when} the move: {wrong}"
    press(desktop, letter)
    return None if machine.shows(SIZES[step], KEYS[step - 1]) else f"the key {when} the move did not arrive"


def move_window(source, target, desktop):
    if not source.shows(SIZES[0], None):
        return "the guest does not draw"
    if not source.comes(lambda: source.connections() >= 4):
        return "spicy is not connected"
    wrong = look_and_type(desktop, source, "a", 1, "before") or move(source, target)[0]
    if wrong:
        return wrong
    source.end()
    return look_and_type(desktop, target, "b", 2, "after") or on_desktop(desktop, target)


def pair(libraries, folder, **more):
    disk = boot_sector(folder)
    return Host(libraries[0], disk, **more), Host(libraries[1], disk, incoming=True, **more)


def troubled(libraries, trouble):
    """A move on which something goes wrong: both machines that are left serve clients."""
    name = f"{OPTIONS.names[libraries[0]]} to {OPTIONS.names[libraries[1]]}, {trouble.__doc__}"
    with tempfile.TemporaryDirectory() as folder:
        source, target = pair(libraries, folder, password=PASSWORD if trouble is wrong_ticket else None)
        with source, target:
            with source.viewer() as client:
                wrong = None if client.connected(30) else "the client is not connected"
                wrong = wrong or (None if source.shows(SIZES[0], None) else "the guest does not draw")
                wrong = wrong or trouble(source, target, client)
    report(name, wrong)


def client_dies(source, target, client):
    """the client is killed before the machine has moved"""
    source.send_to(target)
    if not target.comes(lambda: target.connections() >= 1):
        return "the client does not connect to the target"
    client.kill()
    if not target.comes(lambda: target.connections() == 0):
        return "its connections stay at the target"
    wrong = None if source.migrate(target) == {} else "migrate"
    if not source.comes(lambda: source.status() == "completed", 60):
        return "the machine did not move"
    if not source.comes(source.clients_left, 15):
        return "migrate_end is not answered"
    return wrong or works(target)


def target_dies(source, target, client):
    """the target is killed before the machine has moved"""
    source.send_to(target)
    if not target.comes(lambda: target.connections() >= 1):
        return "the client does not connect to the target"
    # A stock client ends by itself if a server goes while one of its links is half way.
    target.comes(lambda: target.connections() >= 4, 3)
    target.process.kill()
    target.process.wait()
    source.migrate(target)
    if not source.comes(lambda: source.status() == "failed"):
        return f"the migration goes on: {source.status()}"
    time.sleep(0.5)
    if client.seen("disconnected") or not source.alive():
        return "the session at the source has ended"
    return same_picture(source, client) or works(source)


def cancelled(source, target, client):
    """the migration is cancelled"""
    source.qmp.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
    source.send_to(target)
    source.migrate(target)
    if not source.comes(lambda: source.status() == "active"):
        return f"the migration does not begin: {source.status()}"
    source.qmp.ask("migrate_cancel")
    if not source.comes(lambda: source.status() == "cancelled"):
        return f"it is not cancelled: {source.status()}"
    time.sleep(0.5)
    if client.seen("disconnected"):
        return "the client was disconnected"
    return same_picture(source, client) or works(source)


def wrong_ticket(source, target, client):
    """the target wants another ticket"""
    target.qmp.ask("set_password", protocol="spice", password="another one")
    source.send_to(target)
    source.migrate(target)
    if not source.comes(lambda: source.status() == "completed", 60):
        return f"the machine did not move: {source.status()}"
    if not source.comes(source.clients_left, 25):
        return "migrate_end is not answered"
    target.password = "another one"
    return works(target)


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", help="folder of our library")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--quick", action="store_true", help="a third of the combinations")
    OPTIONS = parser.parse_args()
    OPTIONS.accel = accelerators()[0]
    ours = os.path.abspath(OPTIONS.lib) if OPTIONS.lib else None
    OPTIONS.names = {ours: "ours", None: REFERENCE} if ours else {None: REFERENCE}
    ways = [(ours, ours), (ours, None), (None, ours)] if ours else [(None, None)]
    combinations = list(itertools.product(ways, (False, True), (False, True)))
    if OPTIONS.quick:
        # Each way once, and each setting.
        combinations = [c for number, c in enumerate(combinations) if number in (0, 3, 5, 10)]
    # spice-server as the source names port 65535 then, which the client tries.
    combinations += [(way, False, "only") for way in ways if way[0] == ours]
    for combination in combinations:
        if OPTIONS.only in case_name(*combination):
            moved(*combination, OPTIONS.rounds)
    if shutil.which("xdotool") and shutil.which("Xvfb"):
        for way, seamless in [(way, seamless) for way in ways for seamless in (False, True)][-1 if OPTIONS.quick else 0 :]:
            if OPTIONS.only in case_name(way, seamless, False) + ", spicy":
                windowed(way, seamless)
    else:
        print("SKIPPED 1: no xdotool or Xvfb")
    for trouble in (client_dies, target_dies, cancelled, wrong_ticket):
        if OPTIONS.only in f"{OPTIONS.names[ours]} to {OPTIONS.names[ours]}, {trouble.__doc__}":
            troubled((ours, ours), trouble)
    print(f"{'FAILED: ' + ', '.join(FAILED) if FAILED else 'all right'}")
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()

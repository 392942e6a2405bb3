#!/usr/bin/python3
"""A Debian guest with the qxl driver: X, its programs, resizes, snapshots, migration and resets, seen by stock clients.

  run.py [--lib DIR] [--image DIR] [--drivers qxl,modesetting] [--only NAME,...] [--record FILE] [--keep DIR] [--nice 15]

Needs the image (build.sh makes it) and qemu-utils; not part of `make test`, because the guest runs in QEMU's own translator:
docs/testing.md has the times. At each still point the virtual machine is stopped, and the client that stays, a client that
connects now and QEMU's screendump show the same, pixel for pixel. With --record the server writes a recording meanwhile.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from guest import HERE, Guest
from machine import Machine, read_ppm
from driver import Client

OPTIONS = None
RESULTS = {"PASS": 0, "FAIL": 0}
DESKTOP = (
    "twm",
    "xlogo -geometry 180x180+600+20",
    "xeyes -geometry 150x100+610+260",
    "xterm -fn fixed -xrm 'XTerm*cursorBlink: false' -geometry 90x30+10+10 "
    "-e sh -c 'ls -lR --color=always /usr/share | head -1200; sleep 10000'",
    "feh --geometry 400x300+330+260 /pictures/plasma.png",
)
# One of each family of requests: fills, stipples, lines, arcs, text, copies on screen and off it, images, composition.
BENCH = (
    "rect100 oddtilerect100 bigosrect100 line100 dline100 wline100 seg100 circle100 fcircle100 ftext f8itext tr10text aa10text aatrap100 "
    "scroll100 copywinwin100 copypixwin100 copywinpix100 putimage100 shmput100 getimage100 complex100 trap100 triangle100 "
    "polytext16 aatrapezoid100 resize ucreate popup"
).split()


def report(name, wrong=None, detail=""):
    RESULTS["FAIL" if wrong else "PASS"] += 1
    print(f"{'FAIL' if wrong else 'PASS'} {name}{': ' + str(wrong or detail) if wrong or detail else ''}", flush=True)


class Session:
    """A guest with the client that stays, which is made anew when a still point's other client has replaced it."""

    def __init__(self, guest):
        self.guest, self.client = guest, None

    def watch(self):
        if self.client is None:
            self.client = Client(port=self.guest.port)
            if not self.client.connected(60):
                raise RuntimeError("the client did not get through")

    def still(self, name):
        """The staying client, a new one and the screendump agree."""
        self.watch()
        start = time.monotonic()
        wrong = self.guest.pictures_equal(client=self.client, timeout=60)
        dump = self.guest.path("qemu.ppm")
        width, height, pixels = read_ppm(dump)
        colours = len({pixels[at : at + 3] for at in range(0, len(pixels), 3)})
        if not wrong and self.guest.alive() and colours < 2:
            wrong = "the screen is one colour: nothing was drawn"
        if OPTIONS.keep:
            os.makedirs(OPTIONS.keep, exist_ok=True)
            for file in ("qemu.ppm", "client.ppm", "spicy.ppm"):
                if os.path.exists(self.guest.path(file)):
                    shutil.copy(self.guest.path(file), os.path.join(OPTIONS.keep, f"{name.replace(': ', '-').replace(' ', '-')}-{file}"))
        self.leave()
        report(name, wrong, f"{width}x{height}, {colours} colours, {time.monotonic() - start:.0f} s")

    def leave(self):
        if self.client:
            self.client.close()
            self.client = None

    def settle(self, limit=120):
        """Waits until no pixel changes for a second and a half."""
        self.watch()
        self.client.quiet(1500, limit * 1000)


def drawing(session, driver):
    """X with one driver: a desktop, then every family of requests, then other modes."""
    guest = session.guest
    session.watch()
    start = time.monotonic()
    guest.start_x(driver)
    report(f"{driver}: X starts", None, f"{time.monotonic() - start:.0f} s")
    for program in DESKTOP:
        guest.start(program)
    there = "xwininfo -root -tree | grep -o -e '(\"[a-z]*\"' | grep -e xlogo -e xeyes -e feh -e xterm | sort -u | wc -l"
    guest.must(f"for i in $(seq 300); do [ $({there}) = 4 ] && exit 0; sleep 0.2; done; xwininfo -root -tree; exit 1", 200)
    session.settle()
    session.still(f"{driver}: desktop")
    session.watch()
    # The pointer and a dragged window: twm moves with the title bar, or as xdotool asks.
    guest.must("for i in 1 2 3 4 5 6; do "
               "xdotool search --name xlogo windowmove $((i * 60)) $((i * 40)) mousemove $((i * 90)) $((i * 50)); done; true")
    guest.must("viewer=$(xdotool search --class feh | head -1); "
               "xdotool windowraise $viewer windowfocus $viewer key Up Up Down ctrl+Right; true")
    session.settle()
    session.still(f"{driver}: moved windows, zoomed picture")
    session.watch()
    start = time.monotonic()
    status, output = guest.do(f"x11perf -repeat 1 -reps 8 {' '.join('-' + name for name in BENCH)} 2>&1 | grep -c 'reps @'", 900)
    # x11perf leaves out what the server does not know.
    report(f"{driver}: x11perf", None if status == 0 else output, f"{output.strip()} tests, {time.monotonic() - start:.0f} s")
    session.settle()
    session.still(f"{driver}: after x11perf")
    for mode in ("800x600", "1280x1024", "1024x768"):
        session.watch()
        guest.must(f"xrandr -s {mode}")
        session.settle()
        width, height, _ = read_ppm(guest.screendump())
        if f"{width}x{height}" != mode:
            report(f"{driver}: {mode}", f"the screen is {width}x{height}")
        session.still(f"{driver}: {mode}")
    session.watch()
    said = guest.must("dmesg | grep -e 'qxl.*[Ee]rror' -e 'qxl.*[Ff]ail' -e 'BUG:' -e 'Oops' -e 'blocked for more' || true")
    report(f"{driver}: the guest's kernel is content", said.strip() or None)


def resets(session):
    """The guest is reset with the client connected, and comes back."""
    guest = session.guest
    session.watch()
    guest.qmp.ask("system_reset")
    guest.ready()
    if session.client.seen("disconnected"):
        report("reset", "the client lost its session")
    session.settle()
    session.still("after a reset")


def stops(session):
    """stop and cont many times while the guest draws."""
    guest = session.guest
    session.watch()
    guest.start("timeout 20 x11perf -repeat 1 -reps 3000 -copywinwin100 -ftext -rect100")
    for _ in range(20):
        guest.qmp.ask("stop")
        guest.qmp.ask("cont")
    session.settle()
    session.still("stopped and continued 20 times")


def snapshots(session):
    """savevm; the screen changes; loadvm: the old picture is back, for the client that stays as well."""
    guest = session.guest
    session.watch()
    guest.qmp.ask("stop")
    before = read_ppm(guest.screendump("before.ppm"))
    said = guest.qmp.ask("human-monitor-command", 300, **{"command-line": "savevm one"})
    if said:
        report("savevm", said)
        return
    guest.qmp.ask("cont")
    guest.must("kill $(pidof feh); xsetroot -solid tomato; xlogo -geometry 500x400+40+200 >/dev/null 2>&1 </dev/null & sleep 3")
    session.settle()
    session.still("changed after savevm")
    session.watch()
    said = guest.qmp.ask("human-monitor-command", 300, **{"command-line": "loadvm one"})
    if said:
        report("loadvm", said)
        return
    guest.heard = b""
    after = read_ppm(guest.screendump("after.ppm"))
    report("loadvm brings the picture back", None if before == after else "it differs from the one before savevm")
    session.still("after loadvm")
    session.watch()
    guest.qmp.ask("cont")
    guest.must("xlogo -geometry 100x100+40+200 >/dev/null 2>&1 </dev/null & sleep 2; true")
    session.settle()
    session.still("drawing after loadvm")


def migrates(session, image, disk):
    """The machine goes through a file into a new process; the session of the new guest."""
    guest = session.guest
    session.leave()
    before = read_ppm(guest.screendump("before.ppm"))
    state = disk + ".state"
    guest.qmp.ask("stop")
    before = read_ppm(guest.screendump("before.ppm"))
    answer = guest.qmp.ask("migrate", uri=f"exec:cat > {state}")
    status = {}
    end = time.monotonic() + 300
    while time.monotonic() < end and status.get("status") not in ("completed", "failed"):
        time.sleep(0.3)
        status = guest.qmp.ask("query-migrate")
    if status.get("status") != "completed":
        report("migration to a file", f"{answer} {status}")
        return session
    guest.end()
    other = Guest(image, disk, "-incoming", f"exec:cat {state}", nice=OPTIONS.nice)
    try:
        end = time.monotonic() + 300
        while time.monotonic() < end and other.qmp.ask("query-status").get("status") == "inmigrate":
            time.sleep(0.3)
        after = read_ppm(other.screendump("after.ppm"))
        report("migration through a file keeps the picture", None if before == after else "it differs from the one before")
        session = Session(other)
        session.still("after migration")
        other.qmp.ask("cont")
        session.watch()
        other.must("xlogo -geometry 120x120+500+400 >/dev/null 2>&1 </dev/null & sleep 2; true")
        session.settle()
        session.still("drawing after migration")
    except BaseException:
        other.end()
        raise
    return session


def run(scratch):
    disk = os.path.join(scratch, "disk.qcow2")
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", os.path.join(OPTIONS.image, "root.ext4"), disk], check=True
    )
    start = time.monotonic()
    session = Session(Guest(OPTIONS.image, disk, nice=OPTIONS.nice))
    try:
        print(f"     on {session.guest.uses_library()}", flush=True)
        session.watch()
        session.guest.ready()
        report("boots", None, f"{time.monotonic() - start:.0f} s")
        session.settle()
        session.still("console")
        wanted = OPTIONS.only.split(",") if OPTIONS.only else None
        drivers = OPTIONS.drivers.split(",")
        for number, driver in enumerate(drivers):
            if not wanted or "drawing" in wanted:
                drawing(session, driver)
            else:
                session.guest.start_x(driver)
            for step in (stops, snapshots):
                if not wanted or step.__name__ in wanted:
                    step(session)
            if not wanted or "migrates" in wanted:
                session = migrates(session, OPTIONS.image, disk)
            if number + 1 < len(drivers):
                session.guest.stop_x()
        if not wanted or "resets" in wanted:
            resets(session)
        report("QEMU still runs", None if session.guest.alive() else "it ended")
        session.leave()
    finally:
        if OPTIONS.keep:
            os.makedirs(OPTIONS.keep, exist_ok=True)
            with open(os.path.join(OPTIONS.keep, "qemu.log"), "w") as file:
                file.write(session.guest.output() if not session.guest.log.closed else "")
        for line in () if session.guest.log.closed else session.guest.output().splitlines()[-20:]:
            print(f"     log: {line}")
        session.guest.end()


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", help="directory with the libspice-server.so.1 to test")
    parser.add_argument("--image", default=os.path.join(HERE, "..", "..", "target", "guest"))
    parser.add_argument("--drivers", default="qxl,modesetting")
    parser.add_argument("--only", help="comma separated: drawing stops snapshots migrates resets")
    parser.add_argument("--record", help="file for the server's recording (SPICE_WORKER_RECORD_FILENAME)")
    parser.add_argument("--keep", help="directory for pictures and QEMU's output")
    parser.add_argument("--nice", type=int, default=15)
    OPTIONS = parser.parse_args()
    OPTIONS.image = os.path.abspath(OPTIONS.image)
    Machine.library = os.path.abspath(OPTIONS.lib) if OPTIONS.lib else None
    if OPTIONS.record:
        os.environ["SPICE_WORKER_RECORD_FILENAME"] = os.path.abspath(OPTIONS.record)
    if not os.path.exists(os.path.join(OPTIONS.image, "root.ext4")):
        print(f"SKIPPED guest: {OPTIONS.image} holds no image: tests/guest/build.sh makes it")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run(scratch)
        except (RuntimeError, OSError, EOFError, TimeoutError, subprocess.SubprocessError, ValueError) as error:
            report("guest", f"{type(error).__name__}: {error}")
    print(f"{RESULTS['PASS']} passed, {RESULTS['FAIL']} failed")
    return 1 if RESULTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())

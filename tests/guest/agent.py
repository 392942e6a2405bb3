#!/usr/bin/python3
"""Debian's own spice-vdagentd and spice-vdagent in the Debian guest, with X and the qxl driver, and a stock client.

  agent.py [--lib DIR] [--image DIR] [--megabytes 50] [--nice 15]

Needs the image (build.sh makes it) and qemu-utils; not part of `make test`. Text and a picture are copied and pasted by xclip, a file
is saved, the pointer goes where the client points, the screen's driver hears which size the client wants, and all of it again after the
daemon was killed.
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time

from guest import HERE, Guest
from machine import Machine
from driver import Client

sys.path.insert(0, os.path.join(HERE, "..", "qemu"))
from workstation_kit import RESULTS, expect, report, sha256  # noqa: E402

TEXT, PNG = 1, 2
PORT = ("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=com.redhat.spice.0",
        "-chardev", "spicevmc,id=agent,name=vdagent")


class Desk:
    """The guest with its agent, the client, and a folder."""

    def __init__(self, guest, work):
        self.guest, self.work = guest, work
        self.client = Client(port=guest.port, program="station_client.py")

    def start(self):
        """The daemon without logind, and the agent of the only session; whether the client hears of it within a minute."""
        self.guest.must("mkdir -p /run/spice-vdagentd /tmp/saved; rm -f /run/spice-vdagentd/*; modprobe -q uinput; true")
        self.guest.start("exec spice-vdagentd -x -X >/tmp/vdagentd.log 2>&1")
        self.guest.must("for i in $(seq 100); do [ -S /run/spice-vdagentd/spice-vdagent-sock ] && exit 0; sleep 0.1; done; "
                        "cat /tmp/vdagentd.log; exit 1")
        self.guest.start("exec spice-vdagent -x -f /tmp/saved -o 0 >/tmp/vdagent.log 2>&1")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            event = self.client.wait("agent", 5, connected=True)
            # Bit 6: clipboard with selections, which the daemon says when the session's agent is there.
            if event and event["caps"] >> 6 & 1:
                time.sleep(2)  # the session's agent and its X connection have no sign that they are ready
                return True
        return False

    def fresh(self):
        self.client.seen("grab")
        self.client.events.clear()
        self.client.taken = 0


def copies(desk, kind, name, target, guest_file, client_file):
    """Guest to client and back, through xclip."""
    guest, client = desk.guest, desk.client
    desk.fresh()
    guest.start(f"exec xclip -selection clipboard {target} -i {guest_file}")
    grab = client.wait("grab", 30, selection=0)
    wrong = ["no grab came"] if grab is None else [] if kind in grab["types"] else [f"types {grab['types']}"]
    client.send("ask", 0, kind)
    got = client.wait("clipboard", 30, selection=0, type=kind)
    wrong += ["nothing came"] if got is None else expect(got["sha256"], guest.must(f"sha256sum {guest_file}").split()[0], "sha256")
    report(f"vdagent: {name}, guest to client", wrong, f"{got['size']} bytes" if got else "")
    client.send("offer", 0, kind, client_file)
    wanted, found = sha256(client_file), ""
    end = time.monotonic() + 30
    while time.monotonic() < end and found != wanted:
        found = guest.do(f"timeout 10 xclip -selection clipboard {target} -o 2>/dev/null | sha256sum")[1].split()[0]
        time.sleep(0.3)
    report(f"vdagent: {name}, client to guest", expect(found, wanted, "sha256"))


def everything(desk, megabytes):
    guest, client = desk.guest, desk.client
    text = os.path.join(desk.work, "text")
    with open(text, "w", encoding="utf-8") as file:
        file.write("Zwölf Boxkämpfer, 漢字 \U0001f34e\n" * 500)
    guest.must("seq 5000 > /tmp/numbers")
    copies(desk, TEXT, "text", "", "/tmp/numbers", text)
    picture = os.path.join(desk.work, "picture.png")
    subprocess.run(["convert", "-size", "500x300", "-seed", "3", "xc:gray", "+noise", "Random", picture], check=True)
    copies(desk, PNG, "a PNG", "-t image/png", "/pictures/plasma.png", picture)

    path = os.path.join(desk.work, "large.bin")
    with open(path, "wb") as file:
        for number in range(megabytes):
            file.write(random.Random(number).randbytes(1 << 20))
    desk.fresh()
    client.send("copy", path)
    done = client.wait("copied", 300)
    wrong = ["nothing came back"] if done is None else [done["error"]] if done["error"] else []
    wrong += wrong or expect(guest.must("sha256sum /tmp/saved/large.bin").split()[0], sha256(path), "sha256")
    report(f"vdagent: file of {megabytes} MB", wrong, f"{megabytes * 1.048576 / done['seconds']:.1f} MB/s" if done else "")
    guest.must("rm -f /tmp/saved/*")

    wrong = []
    for x, y in ((100, 200), (555, 333)):
        client.send("position", x, y)
        said, end = "", time.monotonic() + 15
        while f"x:{x} y:{y} " not in said and time.monotonic() < end:
            said = guest.do("xdotool getmouselocation")[1]
            time.sleep(0.2)
        wrong += [] if f"x:{x} y:{y} " in said else [f"{x},{y}: {said.strip()}"]
    report("vdagent: the pointer", wrong)

    wrong = []
    for size in ("1000x700", "1200x800"):
        client.send("monitors", f"{size}+0+0")
        if guest.do(f"for i in $(seq 50); do xrandr | grep -q '^ *{size}' && exit 0; sleep 0.2; done; exit 1", 60)[0]:
            wrong.append(f"no {size}: " + guest.do("xrandr | head -6")[1])
    report("vdagent: the size that the client wants reaches the screen's driver", wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--image", default=os.path.join(HERE, "..", "..", "target", "guest"))
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--nice", type=int, default=15)
    options = parser.parse_args()
    Machine.library = os.path.abspath(options.lib) if options.lib else None
    image = os.path.abspath(options.image)
    if not os.path.exists(os.path.join(image, "root.ext4")):
        print(f"SKIPPED guest: {image} holds no image: tests/guest/build.sh makes it")
        return 0
    with tempfile.TemporaryDirectory() as work:
        disk = os.path.join(work, "disk.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", os.path.join(image, "root.ext4"), disk], check=True)
        with Guest(image, disk, *PORT, nice=options.nice) as guest:
            print(f"     on {guest.uses_library()}", flush=True)
            guest.ready()
            guest.start_x("qxl")
            desk = Desk(guest, work)
            report("vdagent: it comes", None if desk.client.connected(60) and desk.start() else guest.do("cat /tmp/vdagent*.log")[1])
            everything(desk, options.megabytes)
            desk.fresh()
            guest.must("kill -9 $(pidof spice-vdagentd); kill $(pidof spice-vdagent) $(pidof xclip); true")
            gone = desk.client.wait("agent", 20, connected=False)
            report("vdagent: the daemon is killed", None if gone else "the client does not hear of it")
            back = desk.start()
            report("vdagent: it comes back", None if back else guest.do("cat /tmp/vdagent*.log")[1])
            if back:
                everything(desk, min(5, options.megabytes))
            desk.client.close()
            report("QEMU still runs", None if guest.alive() else "it ended")
    print(f"{RESULTS['PASS']} passed, {RESULTS['FAIL']} failed")
    return 1 if RESULTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())

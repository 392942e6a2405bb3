"""The small guest of tests/guest/small in a QEMU that has whatever a workstation has beside the picture."""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "guest"))
from guest import Line  # noqa: E402
from machine import Machine  # noqa: E402

SPICE = "port={port},addr=127.0.0.1,disable-ticketing=on"
# The check of the timer fails when the machine is so loaded that a tick takes too long.
KERNEL = "console=ttyS0 quiet no_timer_check mitigations=off nokaslr random.trust_cpu=on consoleblank=0"
TEST_PORT, QUIET_PORT = "org.test.port", "org.test.quiet"
WEBDAV_PORT = "org.spice-space.webdav.0"


def ports():
    """Agent, webdav and two ports."""
    found = ["-device", "virtio-serial-pci,id=serial", "-device", "virtserialport,bus=serial.0,chardev=agent,name=com.redhat.spice.0",
             "-chardev", "spicevmc,id=agent,name=vdagent"]
    for chardev, name in (("webdav", WEBDAV_PORT), ("test", TEST_PORT), ("quiet", QUIET_PORT)):
        found += ["-chardev", f"spiceport,id={chardev},name={name}", "-device", f"virtserialport,bus=serial.0,chardev={chardev},name={name}"]
    return found


class SmallGuest(Line, Machine):
    """`image` is the folder that build.sh filled; `options` are added to -spice. The guest's port "out" is the file `out`."""

    image = None

    def __init__(self, *arguments, options="", memory=640, spice=SPICE):
        devices = ["-machine", "q35,vmport=off", "-cpu", "max", "-vga", "qxl"] + ports()
        devices += ["-device", "qemu-xhci,id=usb"]
        for number in range(2):
            devices += ["-chardev", f"spicevmc,id=usb{number},name=usbredir", "-device", f"usb-redir,bus=usb.0,chardev=usb{number}"]
        devices += ["-audiodev", "spice,id=sound", "-device", "intel-hda", "-device", "hda-duplex,audiodev=sound"]
        devices += ["-serial", "file:{directory}/console", "-chardev", "socket,id=control,path={directory}/control,server=on,wait=off"]
        devices += ["-serial", "chardev:control", "-chardev", "file,id=out,path={directory}/out"]
        devices += ["-device", "virtserialport,bus=serial.0,chardev=out,name=out"]
        self.begun = time.monotonic()
        super().__init__(
            "-kernel", os.path.join(self.image, "vmlinuz"), "-initrd", os.path.join(self.image, "initrd"), "-append", KERNEL,
            *devices, *arguments, spice=spice + (options and "," + options), memory=memory,
        )
        self.control, self.console, self.out = (self.path(name) for name in ("control", "console", "out"))
        self.call()

    def fetch(self, path, size, limit=60):
        """A file of the guest, whose size is known."""
        start = os.path.getsize(self.out)
        self.must(f"cat {path} > /dev/virtio-ports/out", limit)
        end = time.monotonic() + 10
        while os.path.getsize(self.out) < start + size and time.monotonic() < end:
            time.sleep(0.05)
        with open(self.out, "rb") as file:
            file.seek(start)
            return file.read()

    def wait_for(self, test, limit=30):
        """Repeats a command of sh in the guest until it is true; False if it never was."""
        return self.do(f"for i in $(seq {limit * 5}); do {test} && exit 0; sleep 0.2; done; exit 1", 3 * limit + 30)[0] == 0

    def sha256(self, path, limit=300):
        return self.must(f"sha256sum {path}", limit).split()[0]

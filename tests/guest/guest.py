"""The Debian guest of build.sh in a QEMU, with a line to its process 1."""
import os
import select
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "qemu"))
from machine import Machine  # noqa: E402

# Nothing lossy: a loaded machine makes a slow network of the loopback, and then spice-server turns to JPEG.
SPICE = (
    "port={port},addr=127.0.0.1,disable-ticketing=on,streaming-video=off,"
    "jpeg-wan-compression=never,zlib-glz-wan-compression=never"
)
KERNEL = "console=ttyS0 quiet mitigations=off nokaslr random.trust_cpu=on consoleblank=0 vt.global_cursor_default=0"


class Line:
    """The line to a guest's process 1: `control` is the socket's path, `console` the file of the kernel's words."""

    control = console = None

    def call(self):
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(self.control)
        self.heard = b""

    def until(self, word, limit):
        """What the guest said up to and with `word`."""
        end = time.monotonic() + limit
        while word not in self.heard:
            ready, _, _ = select.select([self.line], [], [], max(0, end - time.monotonic()))
            data = self.line.recv(1 << 16) if ready else b""
            if not data:
                with open(self.console, errors="replace") as file:
                    console = file.read()[-300:]
                raise TimeoutError(f"no {word} in {limit} s; heard {self.heard[-200:]}; console: {console}")
            self.heard += data
        said, self.heard = self.heard.split(word, 1)
        return said.decode(errors="replace")

    def ready(self, limit=600):
        self.until(b"::ready\n", limit)

    def do(self, command, limit=300):
        """Runs one line of sh in the guest; (status, output). Programs that stay go to the background with `start`."""
        self.line.sendall(command.encode() + b"\n")
        output = self.until(b"::done ", limit)
        return int(self.until(b"\n", 10)), output

    def must(self, command, limit=300):
        status, output = self.do(command, limit)
        if status:
            raise RuntimeError(f"guest: {command}: status {status}: {output[-500:]}")
        return output

    def start(self, command):
        self.must(f"({command}) >/dev/null 2>&1 </dev/null &")


class Guest(Line, Machine):
    """`disk` is a qcow2 file over the image; `heads` and memory of the qxl device are those of a usual desktop."""

    def __init__(self, image, disk, *arguments, accel="tcg", memory=768, nice=15):
        # The paths of the two serial ports are known before the directory is: they stand beside the disk.
        self.control, self.console = disk + ".control", disk + ".console"
        super().__init__(
            "-machine", "q35,vmport=off", "-smp", 2, "-cpu", "max" if accel == "tcg" else "host",
            "-kernel", os.path.join(image, "vmlinuz"), "-initrd", os.path.join(image, "initrd"), "-append", KERNEL,
            "-drive", f"file={disk},if=none,id=disk,format=qcow2,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
            "-device", "qxl-vga,id=video,ram_size_mb=64,vram_size_mb=64",
            "-device", "usb-ehci", "-device", "usb-tablet",
            "-serial", f"file:{self.console}",
            "-chardev", f"socket,id=control,path={self.control},server=on,wait=off", "-serial", "chardev:control",
            *arguments, spice=SPICE, accel=accel, memory=memory,
        )
        os.setpriority(os.PRIO_PROCESS, self.process.pid, nice)
        self.call()

    def start_x(self, driver):
        """The X server with xorg-DRIVER.conf; its log must say that this driver runs the screen."""
        self.start(f"exec Xorg :0 -config xorg-{driver}.conf -nolisten tcp -noreset -logfile /tmp/x.log vt1")
        self.must("for i in $(seq 600); do xset q >/dev/null 2>&1 && exit 0; sleep 0.2; done; tail -20 /tmp/x.log; exit 1", 400)
        called = {"modesetting": "modeset"}.get(driver, driver)  # in the log
        if self.do(f"grep -q -i '{called}(0)' /tmp/x.log")[0]:
            raise RuntimeError(f"X does not use {driver}: {self.do('tail -20 /tmp/x.log')[1]}")

    def stop_x(self):
        self.must("kill $(pidof Xorg); for i in $(seq 300); do pidof Xorg >/dev/null || exit 0; sleep 0.1; done; exit 1", 200)

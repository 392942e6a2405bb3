"""One QEMU process with QMP, run on the system's libspice-server or on the one in a given directory."""
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from driver import difference, free_port, read_ppm  # noqa: E402


def accelerators():
    """What this machine can use, best first."""
    return (["kvm"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else []) + ["tcg"]


def client_environment(display=None):
    """For client programs: never the server's library."""
    environment = dict(os.environ)
    environment.pop("LD_LIBRARY_PATH", None)
    if display:
        environment["DISPLAY"] = display
    return environment


class Qmp:
    def __init__(self, path, deadline=15):
        end = time.monotonic() + deadline
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.buffer = b""
        self.events = []
        self.read(deadline)
        self.ask("qmp_capabilities")

    def read(self, timeout):
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.socket], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"QMP silent for {timeout} s")
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError("QMP closed")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def ask(self, command, timeout=20, descriptor=None, **arguments):
        """The command's return value; an error of QEMU is returned as {"error": text}. A descriptor may go along."""
        words = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        socket.send_fds(self.socket, [words], [] if descriptor is None else [descriptor])
        while True:
            message = self.read(timeout)
            if "return" in message:
                return message["return"]
            if "error" in message:
                return {"error": message["error"]["desc"]}
            self.events.append(message)


def is_placeholder(width, height, pixels):
    """QEMU's "Guest has not initialized the display (yet).": one line of text in the middle of a black screen."""
    middle = 3 * width * (height // 2 - 16), 3 * width * (height // 2 + 16)
    return (width, height) == (640, 480) and not any(pixels[: middle[0]]) and not any(pixels[middle[1] :])


class Machine:
    """`spice` is the -spice option's value with {port} filled in; None starts without -spice. In all arguments {directory} is
    the machine's own folder, which goes with it."""

    library = None  # directory with libspice-server.so.1, None = the system's
    verbose = False

    def __init__(
        self,
        *arguments,
        spice="port={port},addr=127.0.0.1,disable-ticketing=on",
        accel="tcg",
        memory=64,
        qtest=False,
        environment=None,
    ):
        self.port, self.address = free_port(), "127.0.0.1"
        self.directory = tempfile.mkdtemp(prefix="spice-qemu-")
        self.socket = self.path("spice.sock")
        command = ["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none", "-m", str(memory)]
        command += ["-accel", accel, "-qmp", f"unix:{self.path('qmp')},server=on,wait=off"]
        command += ["-pidfile", self.path("pid")]
        if qtest:
            # Devices can be driven from outside besides the guest; see qxl_driver.py.
            command += ["-qtest", f"unix:{self.path('qtest')},server=on,wait=off", "-qtest-log", "/dev/null"]
        if spice is not None:
            command += ["-spice", spice.format(port=self.port, socket=self.socket)]
        command += [str(argument).replace("{directory}", self.directory) for argument in arguments]
        environment = {**client_environment(), **(environment or {})}
        if self.library:
            environment["LD_LIBRARY_PATH"] = self.library
        self.log = open(self.path("log"), "w+b")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        try:
            self.qmp = Qmp(self.path("qmp"))
        except (OSError, EOFError, TimeoutError) as error:
            text = self.output()
            self.end()
            raise RuntimeError(f"QEMU did not start ({error}): {text[-800:]}") from error

    def path(self, name):
        return os.path.join(self.directory, name)

    def output(self):
        self.log.flush()
        with open(self.log.name, "rb") as file:
            return file.read().decode(errors="replace")

    def uses_library(self):
        """The libspice-server file QEMU really mapped."""
        with open(self.path("pid")) as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/maps") as maps:
            for line in maps:
                if "libspice-server" in line:
                    return line.split()[-1]
        return None

    def alive(self):
        return self.process.poll() is None

    def screendump(self, name="qemu.ppm", **arguments):
        path = self.path(name)
        if os.path.exists(path):
            os.unlink(path)
        result = self.qmp.ask("screendump", filename=path, **arguments)
        if result != {}:
            raise RuntimeError(f"screendump: {result}")
        end = time.monotonic() + 10
        while time.monotonic() < end:  # it may be written after the answer
            try:
                read_ppm(path)
                return path
            except (OSError, ValueError, IndexError):
                time.sleep(0.05)
        raise RuntimeError("screendump wrote nothing")

    def wait_picture(self, wanted, timeout=60):
        """Polls screendump until wanted(width, height, pixels); True if it came."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if wanted(*read_ppm(self.screendump("poll.ppm"))):
                return True
            time.sleep(0.2)
        return False

    def wait_still(self, timeout=60, calm=1.5):
        """Waits until the screen is lit and does not change but for a blinking cursor."""
        end = time.monotonic() + timeout
        last, since = None, time.monotonic()
        while time.monotonic() < end:
            width, height, pixels = read_ppm(self.screendump("poll.ppm"))
            now = time.monotonic()
            if last is None or last[0] != (width, height):
                same = False
            else:
                same = pixels == last[1] or sum(
                    pixels[i : i + 27] != last[1][i : i + 27] for i in range(0, len(pixels), 27)
                ) <= 8
            # A loaded machine can be slow enough that the firmware's first picture takes seconds to come.
            if not same or is_placeholder(width, height, pixels):
                last, since = ((width, height), pixels), now
            elif now - since >= calm:
                return True
            time.sleep(0.15)
        return False

    def screenshot(self, name="spicy.ppm", password=None, unix=False, timeout=20):
        """What a client that connects now sees (spicy-screenshot); None when refused."""
        path = self.path(name)
        if os.path.exists(path):
            os.unlink(path)
        command = ["spicy-screenshot", "-o", path]
        command += ["--uri", f"spice+unix://{self.socket}"] if unix else ["-h", self.address, "-p", str(self.port)]
        command += ["-w", password] if password is not None else []
        try:
            subprocess.run(
                command, env=client_environment(), timeout=timeout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            pass
        return path if os.path.exists(path) and os.path.getsize(path) else None

    def pictures_equal(self, password=None, unix=False, client=None, timeout=20):
        """With the VM stopped, screendump, a staying client (if given) and a new one agree: None or what is wrong.

        The server has one client at a time: the staying one is looked at first and has lost its session afterwards.
        """
        self.qmp.ask("stop")
        try:
            time.sleep(0.4)  # one refresh of the display
            dump = self.screendump()
            end = time.monotonic() + 5
            while client is not None:
                # The last refresh may still be on its way; what differs after seconds is wrong.
                client.quiet(300, 8000)
                staying = self.path("client.ppm")
                if not client.dump(staying):
                    return "staying client has no picture"
                wrong = difference(dump, staying)
                if not wrong:
                    break
                if time.monotonic() > end:
                    return f"staying client: {wrong}"
            shot = self.screenshot(password=password, unix=unix, timeout=timeout)
            if shot is None:
                return "no screenshot"
            wrong = difference(dump, shot)
            return f"new client: {wrong}" if wrong else None
        finally:
            self.qmp.ask("cont")

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.verbose:
            sys.stderr.write(self.output())
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

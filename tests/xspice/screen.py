"""One Xspice (Xorg with the spiceqxl driver) on the system's libspice-server or on the one in a given directory."""
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from driver import free_port  # noqa: E402

# The packaged driver takes 0 for every size that is not given, and dies on it.
SIZES = {
    "QXL_FRAME_BUFFER_SIZE": "16",
    "QXL_SURFACE_BUFFER_SIZE": "128",
    "QXL_COMMAND_BUFFER_SIZE": "128",
    "QXL_NUM_HEADS": "1",
    "QXL_ENABLE_SURFACES": "1",
    "QXL_ENABLE_IMAGE_CACHE": "1",
    "QXL_ENABLE_FALLBACK_CACHE": "1",
}


class Screen:
    """One Xspice on a free display and port, in a process group of its own."""

    def __init__(self, library, directory, verbose=False, options=(), settings=None):
        """`options` are Xspice's own, `settings` go into its environment; its output is in `directory`/xspice.log."""
        self.directory = directory
        self.port = free_port()
        number = next(n for n in range(121, 160) if not os.path.exists(f"/tmp/.X11-unix/X{n}"))
        self.display = f":{number}"
        environment = dict(os.environ, **SIZES, **(settings or {}))
        environment.pop("DISPLAY", None)
        if library:
            environment["LD_LIBRARY_PATH"] = library
        self.log = os.path.join(directory, "xspice.log")
        with open(self.log, "wb") as log:
            output = None if verbose else log
            self.process = subprocess.Popen(
                ["Xspice", "--auto", "--disable-ticketing", "--port", str(self.port), *options,
                 self.display, "-nocursor", "-noreset"],
                env=environment, stdout=output, stderr=output, start_new_session=True,
            )
        end = time.monotonic() + 20
        self.up = False
        while time.monotonic() < end and not self.up and self.process.poll() is None:
            time.sleep(0.2)
            self.up = os.path.exists(f"/tmp/.X11-unix/X{number}") and self.run("xwd", "-root", "-out", "/dev/null") == 0
        self.programs = []

    def environment(self):
        environment = dict(os.environ, DISPLAY=self.display)
        environment.pop("LD_LIBRARY_PATH", None)
        return environment

    def run(self, *command):
        try:
            return subprocess.run(
                command, env=self.environment(), timeout=20, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ).returncode
        except subprocess.TimeoutExpired:
            return -1

    def start(self, *command, output=subprocess.DEVNULL, **settings):
        """Starts a program on the screen, in a process group of its own."""
        program = subprocess.Popen(
            command, env=dict(self.environment(), **settings), stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )
        self.programs.append(program)
        return program

    def server(self):
        """Process id of the X server and the libspice-server file that it mapped, looked up in our own process group."""
        group = os.getpgid(self.process.pid)
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getpgid(int(entry)) != group:
                    continue
                with open(f"/proc/{entry}/maps") as maps:
                    for line in maps:
                        if "libspice-server" in line:
                            return int(entry), line.split()[-1]
            except OSError:
                continue
        return None, None

    def dump(self, path):
        xwd = path + ".xwd"
        if self.run("xwd", "-root", "-silent", "-out", xwd) != 0:
            return False
        return self.run("convert", f"xwd:{xwd}", "-depth", "8", path) == 0

    def drawn(self, path):
        """What the SPICE server drew, read back through the X server (picture.py says how)."""
        return self.run("/usr/bin/python3", os.path.join(HERE, "picture.py"), path) == 0

    def stop(self, programs):
        """Ends programs of start(), also stopped ones, with all that they started."""
        programs = [program for program in programs if program.poll() is None]
        for program in programs:
            for number in (signal.SIGCONT, signal.SIGTERM):
                try:
                    os.killpg(program.pid, number)
                except ProcessLookupError:
                    pass
        for program in programs:
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()

    def end(self):
        self.stop(self.programs)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

"""A guest's agent behind serve_agent: reads what the device was given and says what an agent would."""
import os
import select
import struct
import subprocess
import time

from agent_client import agent_message
from agent_scenes import announce, chunks

ANNOUNCE, GRAB, REQUEST, CLIPBOARD, RELEASE = 6, 7, 8, 4, 9
# Mouse, monitors, reply, clipboard on demand with selections, sparse monitors, LF, positions, detailed errors.
CAPABILITIES = 1 | 2 | 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 14


class AgentHost:
    """serve_agent on a library; the system's when `library` is None."""

    def __init__(self, program, path, library, *options):
        environment = dict(os.environ)
        environment.pop("LD_LIBRARY_PATH", None)
        if library:
            environment["LD_LIBRARY_PATH"] = library
        where = ["--port" if isinstance(path, int) else "--unix", str(path)]
        self.process = subprocess.Popen(
            [program, *where, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.partial = b""
        self.lines = []  # not taken yet
        self.stream = b""  # of the device, not taken yet
        self.bytes = b""  # of clients, not taken yet
        self.messages = []  # (type, data), not taken yet
        self.answer("ready")

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def pump(self, timeout):
        if not select.select([self.process.stdout], [], [], max(0, timeout))[0]:
            return False
        data = os.read(self.process.stdout.fileno(), 1 << 18)
        if not data:
            raise SystemExit(f"FAIL the host ended, exit {self.process.wait()}")
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            if line.startswith(b"wrote "):
                self.hear(bytes.fromhex(line[6:].decode()))
            else:
                self.lines.append(line.decode())
        return True

    def hear(self, data):
        self.stream += data
        while len(self.stream) >= 8:
            port, size = struct.unpack_from("<II", self.stream)
            if len(self.stream) < 8 + size:
                break
            if port == 1:
                self.bytes += self.stream[8 : 8 + size]
            self.stream = self.stream[8 + size :]
        while len(self.bytes) >= 20:
            kind, size = struct.unpack_from("<4xI8xI", self.bytes)
            if len(self.bytes) < 20 + size:
                break
            self.messages.append((kind, self.bytes[20 : 20 + size]))
            self.bytes = self.bytes[20 + size :]

    def answer(self, start, timeout=60):
        end = time.monotonic() + timeout
        while True:
            while self.lines:
                line = self.lines.pop(0)
                if line.startswith(start):
                    return line
            if time.monotonic() > end:
                return None
            self.pump(end - time.monotonic())

    def ask(self, line, start, timeout=60):
        self.tell(line)
        return self.answer(start, timeout)

    def message(self, kind, timeout=10):
        """Data of the next message of this type; others before it are dropped. None in time."""
        end = time.monotonic() + timeout
        while True:
            while self.messages:
                found, data = self.messages.pop(0)
                if found == kind:
                    return data
            if time.monotonic() > end:
                return None
            self.pump(end - time.monotonic())

    def on(self):
        """The agent starts and exchanges capabilities with the client that is there."""
        self.stream = self.bytes = b""
        self.messages = []
        self.ask("agent on", "agent added")
        self.announce()

    def announce(self):
        data = self.message(ANNOUNCE)
        self.says(announce(CAPABILITIES))
        return data

    def says(self, message, where=None):
        data = chunks(message)
        if len(data) < 50000:
            self.ask("say " + data.hex(), "said")
        else:
            with open(where, "wb") as file:
                file.write(data)
            self.ask(f"sayfile {where}", "said")

    def memory(self):
        """KiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

    def pause(self):
        """How long the host's loop took to answer, seconds."""
        began = time.monotonic()
        self.ask("sync", "synced")
        return time.monotonic() - began

    def end(self):
        """None if it ended well."""
        self.tell("quit")
        rest = self.process.communicate(timeout=60)[0].decode()
        code = self.process.returncode
        return None if code == 0 and "released all" in rest else f"exit {code}, {rest[-200:]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def grab(*types):
    return agent_message(GRAB, bytes(4) + struct.pack(f"<{len(types)}I", *types))


def request(kind):
    return agent_message(REQUEST, bytes(4) + struct.pack("<I", kind))


def clipboard(kind, data):
    return agent_message(CLIPBOARD, bytes(4) + struct.pack("<I", kind) + data)

"""C hosts that obey lines on standard input (replay_player --obey, random_draws, odd_draws), and a stock tool that
takes one picture of them."""
import os
import select
import subprocess
import time

from driver import difference


class Host:
    """A host program as a server on `path`, a unix socket or a TCP port; `lib` is a directory, or None for the system's library; `log` a file
    for what it says on standard error."""

    def __init__(self, command, path, lib=None, log=None, **environment):
        self.path = path
        environment = {**os.environ, **environment}
        environment.pop("LD_LIBRARY_PATH", None)
        if lib:
            environment["LD_LIBRARY_PATH"] = lib
        pipe = subprocess.PIPE
        # Both libraries warn of what recordings contain; a host that fails says so on standard output as well.
        log = open(log, "wb") if log else subprocess.DEVNULL
        where = ["--port" if isinstance(path, int) else "--unix", str(path)]
        self.process = subprocess.Popen([*command, *where], stdin=pipe, stdout=pipe, stderr=log, env=environment)
        self.partial = b""
        self.lines = []
        self.answer("ready")

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, start, timeout=300):
        """The next line that begins like this; others are dropped."""
        end = time.monotonic() + timeout
        while True:
            while self.lines:
                line = self.lines.pop(0)
                if line.startswith(start):
                    return line
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise SystemExit(f"FAIL the host does not say {start!r} within {timeout} s")
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                raise SystemExit(f"FAIL the host ended, exit {self.process.wait()}, wanted {start!r}")
            *lines, self.partial = (self.partial + data).split(b"\n")
            self.lines += [text.decode() for text in lines]

    def ask(self, line, start, timeout=300):
        self.tell(line)
        return self.answer(start, timeout)

    def memory(self, field="VmRSS"):
        """KiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))

    def end(self):
        """None if it ended well and every command was released, else what was wrong."""
        self.tell("quit")
        rest = self.process.communicate(timeout=60)[0].decode().split("\n")
        code = self.process.returncode
        lines = self.lines + rest
        return None if code == 0 and "released all" in lines else f"exit {code}, {' '.join(lines)}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Report:
    """PASS and FAIL lines."""

    def __init__(self):
        self.failures = 0

    def check(self, name, good, detail=""):
        self.failures += not good
        print(f"{'PASS' if good else 'FAIL'} {name}{f': {detail}' if detail else ''}", flush=True)

    def none_wrong(self, name, wrong, detail=""):
        """`wrong`: None or what is wrong."""
        self.check(name, wrong is None, detail if wrong is None else wrong)


def ends_equal(server, picture, write, limit=30):
    """None once the client shows the server's picture, which stands still; what differs if it never does.
    `write(picture)` waits until the client is quiet and writes what it shows, or says what is wrong: on a busy machine
    it may have been quiet too early."""
    end = time.monotonic() + limit
    while True:
        wrong = write(picture) or difference(server, picture)
        if wrong is None or time.monotonic() > end:
            return wrong
        time.sleep(0.1)


def screenshot(path, picture):
    """spicy-screenshot, which connects, writes the first picture and goes. None or what went wrong."""
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    uri = f"spice://127.0.0.1:{path}" if isinstance(path, int) else f"spice+unix://{path}"
    command = ["spicy-screenshot", f"--uri={uri}", f"--out-file={picture}"]
    if os.path.exists(picture):
        os.unlink(picture)
    try:
        run = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "spicy-screenshot did not end"
    if run.returncode != 0 or not os.path.exists(picture):
        return f"spicy-screenshot: exit {run.returncode}, {run.stderr.decode()[-200:]}"
    return None

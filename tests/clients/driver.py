"""Drives glib_client.py from a test: send commands, wait for events; and reads and compares PPM pictures."""
import json
import os
import select
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    """A TCP port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """One glib_client.py process. The client never gets the server's LD_LIBRARY_PATH."""

    def __init__(self, port=None, unix=None, password=None, display=None, verbose=False, beacon=None, glz_window=0,
                 options=(), program="glib_client.py", settings=None):
        command = ["/usr/bin/python3", os.path.join(HERE, program)]
        command += ["--unix", unix] if unix else ["--port", str(port)]
        if password is not None:
            command += ["--password", password]
        if verbose:
            command += ["--verbose"]
        if glz_window:
            command += ["--glz-window", str(glz_window)]
        if beacon:
            command += ["--beacon", str(beacon), str(beacon)]
        command += map(str, options)
        environment = dict(os.environ)
        environment.pop("LD_LIBRARY_PATH", None)
        environment.update(settings or {})
        if display:
            environment["DISPLAY"] = display
        # What a client says on standard error goes to the file that CLIENT_LOG names, if it does.
        with open(os.environ.get("CLIENT_LOG", os.devnull), "ab") as complaints:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment
            )
        self.events = []  # all ever seen
        self.partial = b""
        self.taken = 0  # events before this index were consumed by wait()

    def send(self, *words):
        try:
            self.process.stdin.write((" ".join(str(word) for word in words) + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def pump(self, timeout):
        """Reads what is there, waiting at most `timeout` seconds; False at the client's end."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, timeout))
        if not ready:
            return True
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self.partial = (self.partial + data).split(b"\n")
        self.events += [json.loads(line) for line in lines if line.startswith(b"{")]
        return bool(data)

    def wait(self, event, timeout=15, **fields):
        """The next event of that name with those fields (later ones stay), or None in time."""
        end = time.monotonic() + timeout
        alive = True
        while True:
            for index in range(self.taken, len(self.events)):
                found = self.events[index]
                if found["event"] == event and all(found.get(key) == value for key, value in fields.items()):
                    self.taken = index + 1
                    return found
            if not alive or time.monotonic() >= end:
                return None
            alive = self.pump(end - time.monotonic())

    def seen(self, event, **fields):
        """Whether such an event came at any time so far."""
        self.pump(0)
        return [e for e in self.events if e["event"] == event and all(e.get(k) == v for k, v in fields.items())]

    def quiet(self, ms=400, limit=15000, asked=False):
        """Waits until the picture stands still; the event, `busy` if it never did. `asked`: the command was sent."""
        if not asked:
            self.send("quiet", ms, limit)
        end = time.monotonic() + limit / 1000 + 5
        while time.monotonic() < end:
            found = self.wait("quiet", 0.05) or self.wait("busy", 0.05)
            if found:
                return found
        return None

    def dump(self, path, channel=0):
        """Writes the client's picture; the "dumped" event or None."""
        self.send("dump", path, channel)
        found = self.wait("dumped", 15)
        return found if found and found["path"] else None

    def state(self):
        self.send("state")
        return self.wait("state", 10)

    def connected(self, timeout=15, displays=1):
        """Main and inputs are up and `displays` displays have a picture."""
        if not self.wait("channel", timeout, channel="main", what="opened"):
            return False
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            pictures = {event["id"] for event in self.seen("primary-create")}
            if len(pictures) >= displays and self.seen("channel", channel="inputs", what="opened"):
                return True
            self.pump(0.1)
        return False

    def close(self):
        self.send("quit")
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        """SIGKILL, as a crashed client."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_ppm(path):
    """(width, height, RGB bytes) of a binary PPM."""
    with open(path, "rb") as file:
        data = file.read()
    fields, position = [], 0
    while len(fields) < 4:
        end = position
        while data[end : end + 1] not in (b" ", b"\n", b"\t", b"\r"):
            end += 1
        word = data[position:end]
        if word.startswith(b"#"):
            end = data.index(b"\n", position)
        elif word:
            fields.append(word)
        position = end + 1
    magic, width, height, depth = fields
    if magic != b"P6" or depth != b"255":
        raise ValueError(f"{path}: not an 8-bit P6 file")
    width, height = int(width), int(height)
    return width, height, data[position : position + width * height * 3]


def difference(one, other):
    """None when two PPM files show the same, else a sentence with count and place of the differences."""
    w1, h1, a = read_ppm(one)
    w2, h2, b = read_ppm(other)
    if (w1, h1) != (w2, h2):
        return f"sizes differ: {w1}x{h1} and {w2}x{h2}"
    if a == b:
        return None
    places = [
        (x, y)
        for y in range(h1)
        if a[y * w1 * 3 : (y + 1) * w1 * 3] != b[y * w1 * 3 : (y + 1) * w1 * 3]
        for x in range(w1)
        if a[(y * w1 + x) * 3 : (y * w1 + x) * 3 + 3] != b[(y * w1 + x) * 3 : (y * w1 + x) * 3 + 3]
    ]
    xs, ys = [p[0] for p in places], [p[1] for p in places]
    return f"{len(places)} pixels differ, within ({min(xs)},{min(ys)})-({max(xs)},{max(ys)})"

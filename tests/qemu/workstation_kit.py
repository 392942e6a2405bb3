"""What the cases of workstation.py share: reports, a machine with its stock client, files to send."""
import hashlib
import os
import random
import subprocess
import time

from driver import Client
from small_guest import SmallGuest

AGENT_LOG = "/tmp/agent/log"
RESULTS = {"PASS": 0, "FAIL": 0}
LAST = [time.monotonic()]  # when the report before was made


def report(name, wrong=None, detail=""):
    """One line; `wrong` is a sentence, a list of them, or nothing."""
    wrong = [wrong] if isinstance(wrong, str) else wrong or []
    RESULTS["FAIL" if wrong else "PASS"] += 1
    took, LAST[0] = time.monotonic() - LAST[0], time.monotonic()
    text = "; ".join([*wrong, detail] if detail else wrong) or "right"
    print(f"{'FAIL' if wrong else 'PASS'} {name}: {text} ({took:.1f} s)", flush=True)


def expect(found, wanted, what):
    """For `wrong`: nothing if both are the same."""
    return [] if found == wanted else [f"{what}: {found!r} instead of {wanted!r}"]


class Station:
    """A guest and the stock client that looks at it; `work` is a folder for files, `quick` for short runs."""

    def __init__(self, work, quick, options=""):
        self.work, self.quick = work, quick
        self.guest = SmallGuest(options=options)
        self.client = None

    def file(self, name, size=None, seed=None):
        """The path of a file in `work`; with a size it is made of noise."""
        path = os.path.join(self.work, name)
        if size is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            noise = random.Random(seed or name)
            with open(path, "wb") as file:
                for at in range(0, size, 1 << 20):
                    file.write(noise.randbytes(min(1 << 20, size - at)))
        return path

    def text(self, name, text):
        with open(self.file(name), "wb") as file:
            file.write(text.encode())
        return self.file(name)

    def picture(self, name, size="640x400"):
        """A PNG of noise, which no packing makes small."""
        subprocess.run(["convert", "-size", size, "-seed", str(len(name)), "xc:gray", "+noise", "Random", f"png:{self.file(name)}"], check=True)
        return self.file(name)

    def connect(self, *options, settings=None, address=None):
        """A new stock client, in place of the one before."""
        self.leave()
        where = {"unix": address} if address else {"port": self.guest.port}
        self.client = Client(program="station_client.py", options=options, settings=settings, **where)
        if not self.client.connected(60):
            raise RuntimeError(f"the client did not get through: {self.client.events[-5:]}")
        return self.client

    def leave(self):
        if self.client:
            self.client.close()
            self.client = None

    def start_agent(self):
        """The agent runs and the client knows what it can do."""
        self.guest.start("agent /tmp/agent")
        return self.client is None or self.wait_agent(True)

    def wait_agent(self, connected, limit=30):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            event = self.client.wait("agent", 1, connected=connected)
            if event and (event["caps"] or not connected):
                return True
        return False

    def kill_agent(self):
        self.guest.must("kill -9 $(pidof agent)")

    def order(self, text):
        """One line for the guest's agent."""
        self.guest.must(f"echo '{text}' > /tmp/agent/commands")

    def logged(self, line, limit=20):
        """Whether the agent wrote a line that begins so (a basic regular expression)."""
        return self.guest.wait_for(f"grep -q '^{line}' {AGENT_LOG}", limit)

    def forget(self):
        self.guest.must(f": > {AGENT_LOG}")

    def close(self):
        self.leave()
        self.guest.end()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

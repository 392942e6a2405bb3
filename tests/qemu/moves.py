"""What both ends of a live migration have: the doors that they open, what they tell their clients, and the move itself."""
import time

from driver import Client, free_port
from tls import SUBJECT, Pki


class Mover:
    """Stands before a kind of Machine; `open_doors` comes before its __init__. `tls` is a truth value or "only": no other port."""

    library = incoming = tls_port = password = None
    tls = False

    def open_doors(self, library, incoming=False, seamless=False, tls=False, password=None):
        """Takes ports and returns what -spice and the command line say of them."""
        self.library, self.tls, self.password = library, tls, password
        self.incoming = free_port() if incoming else None
        self.tls_port = free_port() if tls else None
        spice = "addr=127.0.0.1" + (f",tls-port={self.tls_port},x509-dir={Pki.path()}" if tls else "")
        spice += "" if tls == "only" else ",port={port}"
        spice += ",password-secret=word" if password else ",disable-ticketing=on"
        spice += ",seamless-migration=on" if seamless else ""
        more = ["-object", f"secret,id=word,data={password}"] if password else []
        more += ["-incoming", f"tcp:127.0.0.1:{self.incoming}"] if incoming else []
        return spice, more

    def client_options(self):
        """How a stock client finds the doors: its port and what else it is told."""
        options = []
        if self.tls:
            options = ["--tls-port", self.tls_port, "--ca-file", Pki.path("ca-cert.pem"), "--cert-subject", SUBJECT]
            options += [] if self.tls == "only" else ["--secure-channels", "all"]
        return {"port": 0 if self.tls == "only" else self.port, "password": self.password}, options

    def viewer(self, *options, **more):
        where, doors = self.client_options()
        return Client(**where, options=[*doors, *options], **more)

    def send_to(self, target):
        """Tells the clients of this machine where it is going to."""
        where = {"tls-port": target.tls_port, "cert-subject": SUBJECT} if target.tls else {}
        where |= {} if target.tls == "only" else {"port": target.port}
        return self.qmp.ask("client_migrate_info", protocol="spice", hostname="127.0.0.1", **where)

    def comes(self, test, limit=30):
        """Whether `test` is true in time."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if test():
                return True
            time.sleep(0.02)
        return False

    def migrate(self, target):
        return self.qmp.ask("migrate", uri=f"tcp:127.0.0.1:{target.incoming}")

    def status(self):
        return self.qmp.ask("query-migrate").get("status")

    def clients_left(self):
        return self.qmp.ask("query-spice").get("migrated") is True

    def connections(self):
        return len(self.qmp.ask("query-spice").get("channels", []))


def move(source, target, during=None, landed=None, limit=60, channels=4):
    """The move itself; a sentence if it fails. Returns it with the seconds from the machine's arrival to its client's.
    `during` is called when it has begun, `landed` when the machine is there."""
    told = source.send_to(target)
    if told != {}:
        return f"client_migrate_info: {told}", 0
    started = source.migrate(target)
    if started != {}:
        return f"migrate: {started}", 0
    if during:
        during()
    if not source.comes(lambda: source.status() in ("completed", "failed"), limit) or source.status() != "completed":
        return f"the machine did not move: {source.qmp.ask('query-migrate')}", 0
    arrived = time.monotonic()
    if landed:
        landed()
    if not source.comes(source.clients_left, 15):
        return "the source was never told that its clients have gone", 0
    if not target.comes(lambda: target.connections() >= channels, 15):
        return f"the client is not at the target: {target.qmp.ask('query-spice')}", 0
    return None, time.monotonic() - arrived

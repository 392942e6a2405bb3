"""Scenarios of run.py about TLS: secure channels with stock clients, refusals, and what else may knock at the port."""
import os
import socket
import ssl
import struct
import subprocess
import tempfile
import time

from driver import Client, difference, free_port
from machine import HERE, Machine, client_environment

SUBJECT = "O=Cayenne,CN=rsa2048"  # of server-cert.pem


class Pki:
    """A folder of certificates and keys, made once."""

    folder = None

    @classmethod
    def path(cls, *names):
        if not cls.folder:
            cls.folder = tempfile.TemporaryDirectory(prefix="spice-pki-")
            subprocess.run([os.path.join(HERE, "..", "tls", "pki.sh"), cls.folder.name], check=True)
        return os.path.join(cls.folder.name, *names)


class TlsMachine(Machine):
    """A QEMU with a port for TLS; `more` goes to -spice. `plain=False`: no other port."""

    def __init__(self, *arguments, more="", plain=True, directory=None, auth="disable-ticketing=on"):
        self.tls_port = free_port()
        spice = f"{'port={port},' if plain else ''}addr=127.0.0.1,tls-port={self.tls_port},{auth},"
        spice += f"x509-dir={directory or Pki.path()}{more}"
        super().__init__(*arguments, "-vga", "std", spice=spice)

    def client(self, secure=None, ca="ca-cert.pem", subject=SUBJECT, plain=True, **more):
        options = ["--tls-port", self.tls_port, "--ca-file", Pki.path(ca)]
        options += ["--cert-subject", subject] if subject else []
        options += ["--secure-channels", secure] if secure else []
        return Client(port=self.port if plain else 0, options=options, **more)

    def channels(self, wanted=4, timeout=10):
        """Which channels of the client have TLS, by name, as the host was told."""
        names = {1: "main", 2: "display", 3: "inputs", 4: "cursor"}
        end = time.monotonic() + timeout
        while True:
            told = self.qmp.ask("query-spice").get("channels", [])
            found = {names[c["channel-type"]]: c["tls"] for c in told if c["channel-type"] in names}
            if len(found) >= wanted or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def secure_screenshot(self):
        """What spicy-screenshot sees on the port for TLS alone; None if it has to refuse the certificate."""
        path = self.path("secure.ppm")
        command = ["spicy-screenshot", "-h", "127.0.0.1", "-s", str(self.tls_port), "-o", path]
        quiet = subprocess.DEVNULL
        # It has no option for the authority, but OpenSSL in it asks the environment.
        environment = {**client_environment(), "SSL_CERT_FILE": Pki.path("ca-cert.pem")}
        try:
            subprocess.run(command, env=environment, timeout=20, stdout=quiet, stderr=quiet)
        except subprocess.TimeoutExpired:
            pass
        return path if os.path.exists(path) else None

    def compared(self, client):
        """With the VM stopped: the staying client, a plain and a secure screenshot are what the machine shows."""
        self.wait_still()
        wrong = self.pictures_equal(client=client)
        if wrong:
            return wrong
        self.qmp.ask("stop")
        shot = self.secure_screenshot()
        wrong = difference(self.screendump(), shot) if shot else "no secure screenshot"
        self.qmp.ask("cont")
        return wrong


def channels():
    """Which channels have TLS: as the client wants, and as the host demands."""
    every = {"main": True, "display": True, "inputs": True, "cursor": True}
    main = {"main": True, "display": False, "inputs": False, "cursor": False}
    for name, more, secure, wanted in (
        ("every channel, the client's wish", "", "all", every),
        ("main only, the client's wish", "", "main", main),
        ("every channel, the host's demand", ",tls-channel=default", None, every),
        ("main only, the host's demand", ",tls-channel=main", None, main),
    ):
        with TlsMachine(more=more) as machine, machine.client(secure=secure) as client:
            wrong = None if client.connected() else "client not connected"
            told = machine.channels()
            if not wrong and told != wanted:
                wrong = f"{told}, wanted {wanted}"
            if not wrong and secure:
                wrong = machine.compared(client)
            yield f"tls {name}", wrong, ",".join(n for n, tls in told.items() if tls)
    with TlsMachine(plain=False) as machine, machine.client(secure="all", plain=False) as client:
        yield "tls alone, without another port", None if client.connected() else "client not connected"
    with TlsMachine(more=",plaintext-channel=inputs") as machine, machine.client(secure="all") as client:
        wrong = None if client.wait("channel", 10, channel="main", what="opened") else "main is not open"
        told = wrong or client.wait("channel", 10, channel="inputs", what="error-link")
        yield "tls refused for a plain channel", wrong or (None if told else "inputs was let in")


def clients_refuse():
    """Clients that do not trust the server's certificate go, and those that do are not disturbed."""
    with TlsMachine() as machine:
        for name, ca, subject in (
            ("another authority", "other-ca.pem", SUBJECT),
            ("another subject", "ca-cert.pem", "O=Cayenne,CN=somebody"),
        ):
            with machine.client(secure="all", ca=ca, subject=subject) as client:
                told = client.wait("channel", 10, channel="main", what="error-tls")
                let_in = client.seen("channel", channel="main", what="opened")
                yield f"tls {name}", None if told and not let_in else f"{client.events}"
        with machine.client(secure="all", subject=None) as client:
            yield "tls the host's name", None if client.connected() else "client not connected"


def tickets_inside():
    """A ticket is asked for inside TLS, too."""
    secret = ["-object", "secret,id=tk,data=geheim"]
    with TlsMachine(*secret, auth="password-secret=tk") as machine:
        with machine.client(secure="all", password="falsch") as client:
            told = client.wait("channel", 10, channel="main", what="error-auth")
            yield "tls and a wrong ticket", None if told else f"{client.events}"
        with machine.client(secure="all", password="geheim") as client:
            yield "tls and the right ticket", None if client.connected() else f"{client.events}"


def server_material():
    """Certificates and keys of other kinds, as QEMU hands them over."""
    with tempfile.TemporaryDirectory() as directory:

        def use(certificate, key):
            for file, name in (("ca-cert.pem", "ca-cert.pem"), (certificate, "server-cert.pem"), (key, "server-key.pem")):
                path = os.path.join(directory, name)
                if os.path.lexists(path):
                    os.unlink(path)
                os.symlink(Pki.path(file), path)

        for certificate, key, subject, more in (
            ("p256.crt", "p256.sec1.key", "O=Cayenne,CN=p256", ""),
            ("chain.crt", "leaf.key", "O=Cayenne,CN=leaf", ""),
            ("rsa2048.crt", "rsa2048.pbes2-aes256.key", SUBJECT, ",x509-key-password=secret"),
            ("rsa2048.crt", "rsa2048.traditional-aes128.key", SUBJECT, ",x509-key-password=secret"),
            ("rsa2048.crt", "rsa2048.key", SUBJECT, f",x509-dh-key-file={Pki.path('dh.pem')},tls-ciphers=HIGH"),
        ):
            use(certificate, key)
            with TlsMachine(directory=directory, more=more) as machine:
                with machine.client(secure="all", subject=subject) as client:
                    yield f"tls with {certificate}, {key}{more}", None if client.connected() else f"{client.events}"
        use("rsa2048.crt", "p256.key")
        told = None
        try:
            with TlsMachine(directory=directory):
                pass
        except RuntimeError as error:
            told = str(error)
        # The original starts, and no client gets in.
        ours = told and "server-key.pem" in told
        yield "tls with another key", None if ours or not Machine.library else f"not named: {told}", "refused" if told else ""


def strangers():
    """What is no TLS on its port, and TLS where there is none: over at once, and a client comes in all the same."""
    with TlsMachine() as machine:
        hello = bytes.fromhex("16030100c8010000c40303") + bytes(194)
        magic = b"REDQ\2\0\0\0\2\0\0\0\x12\0\0\0" + bytes(18)
        for name, port, words in (
            ("a plain client on the port for TLS", machine.tls_port, magic),
            ("HTTP on the port for TLS", machine.tls_port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("garbage on the port for TLS", machine.tls_port, bytes(range(1, 200))),
            ("half a hello on the port for TLS, then nonsense", machine.tls_port, hello[:40] + b"\xff" * 300),
            ("TLS on the plain port", machine.port, hello),
        ):
            with socket.create_connection(("127.0.0.1", port), 5) as stranger:
                stranger.sendall(words)
                start = time.monotonic()
                stranger.settimeout(8)
                try:
                    while stranger.recv(4096):
                        pass
                    wrong = None
                except ConnectionResetError:
                    wrong = None
                except TimeoutError:
                    wrong = "still open after 8 s"
                yield f"tls {name}", wrong, f"over after {(time.monotonic() - start) * 1000:.0f} ms"
        if Machine.library:
            lines = machine.output()
            for words in ("no TLS, and this is the port for it", "HTTP without TLS", "TLS on the plain port"):
                yield f"tls log line, {words}", None if words in lines else lines[-500:]
        with machine.client(secure="all") as client:
            yield "tls after the strangers", None if client.connected() else f"{client.events}"


def linked(stream):
    """The error word of the answer to a link message for main."""
    message = struct.pack("<IBBIIII", 0, 1, 0, 1, 0, 18, 1 | 2 | 8)
    stream.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(message)) + message)
    answer = b""
    while len(answer) < 20:
        more = stream.recv(4096)
        if not more:
            raise EOFError(f"the server ended after {answer!r}")
        answer += more
    return struct.unpack_from("<I", answer, 16)[0]


def handed_over():
    """Sockets that the host hands over (QMP add_client), with TLS and without, where main needs TLS (error 5)."""
    context = ssl.create_default_context(cafile=Pki.path("ca-cert.pem"))
    with TlsMachine(more=",tls-channel=main") as machine:
        for tls in (True, False):
            theirs, ours = socket.socketpair()
            with theirs, ours:
                ours.settimeout(10)
                machine.qmp.ask("getfd", descriptor=theirs.fileno(), fdname="client")
                answer = machine.qmp.ask("add_client", protocol="spice", fdname="client", tls=tls, skipauth=True)
                theirs.close()
                told = linked(context.wrap_socket(ours, server_hostname="localhost") if tls else ours)
                wrong = None if answer == {} and told == (0 if tls else 5) else f"{answer}, error {told}"
                yield f"tls handed over, {'with' if tls else 'without'} it", wrong


def sandboxed():
    """QEMU's sandbox forbids many system calls."""
    with TlsMachine("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny") as machine:
        with machine.client(secure="all") as client:
            yield "tls in the sandbox", None if client.connected() else f"{client.events}"


SCENARIOS = [channels, clients_refuse, tickets_inside, server_material, strangers, handed_over, sandboxed]
for scenario in SCENARIOS:
    scenario.__name__ = f"tls_{scenario.__name__}"

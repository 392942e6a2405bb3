#!/usr/bin/python3
"""SASL logins of stock clients into stock QEMU, and what a raw client is told: one PASS, FAIL or SKIPPED line each.

  sasl.py [--lib DIR] [--only NAME,...] [--keep DIR]

--lib names the directory with the libspice-server.so.1 to test; without it the system's library is used: where the
original does something else on purpose, a line says what was seen. Logins inside TLS are skipped while the library has none.
Exit code 1 if anything failed. Needs sasl2-bin, libsasl2-modules, libsasl2-modules-db, qemu-system-x86, python3-gi with
SpiceClientGLib, openssl. Users live in a database of the test's own.
"""
import argparse
import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

import kerberos
from machine import Machine, difference, free_port
from driver import Client
from run import disk_with_boot_sector

OPTIONS = None
RESULTS = {"PASS": 0, "FAIL": 0, "SKIPPED": 0}
USER, PASSWORD = "anna", "geheim"
PATIENCE = 20


def report(name, wrong=None, detail="", skipped=False):
    kind = "SKIPPED" if skipped else "FAIL" if wrong else "PASS"
    RESULTS[kind] += 1
    text = wrong or detail
    print(f"{kind} {name}{': ' + str(text) if text else ''}", flush=True)


class Users:
    """A directory with qemu.conf and the database that it names; one user."""

    def __init__(self, mechanisms, **options):
        self.directory = tempfile.mkdtemp(prefix="spice-sasl-")
        database = os.path.join(self.directory, "users.db")
        lines = {"pwcheck_method": "auxprop", "auxprop_plugin": "sasldb", "sasldb_path": database}
        lines = {**lines, "mech_list": mechanisms, **options}
        with open(os.path.join(self.directory, "qemu.conf"), "w") as file:
            file.writelines(f"{key}: {value}\n" for key, value in lines.items())
        realm = subprocess.run(["hostname", "-f"], capture_output=True, text=True, check=True).stdout.strip()
        command = ["saslpasswd2", "-c", "-p", "-f", database, "-a", "qemu", "-u", realm, USER]
        subprocess.run(command, input=PASSWORD.encode(), check=True)

    def machine(self, *arguments, spice="port={port},addr=127.0.0.1,sasl=on"):
        environment = {"SASL_CONF_PATH": self.directory, "CAYENNE_LOG": "info"}
        return Machine(*arguments, "-vga", "qxl", spice=spice, environment=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory)


@contextlib.contextmanager
def site(**environment):
    """Programs that start now find this in their environment."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def client(user, password, port=0, unix=None, authority=None):
    """A stock client; with `authority`, the file of those who sign servers, the port is one for TLS."""
    options = ["--username", user] if user is not None else []
    if authority:
        options, port = options + ["--tls-port", port, "--ca-file", authority], 0
    return Client(port=port, unix=unix, password=password, options=options)


def told(viewer, timeout=PATIENCE):
    """"opened", or the first other thing that the client's main channel was told."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        viewer.pump(0.1)
        for event in viewer.seen("channel", channel="main"):
            return event["what"]
    return "nothing"


def same_picture(machine, viewer):
    """With the machine stopped, client and screendump agree: None or what is wrong."""
    machine.qmp.ask("stop")
    try:
        end = time.monotonic() + PATIENCE
        while True:
            dump = machine.screendump()
            viewer.quiet(300, 8000)
            picture = machine.path("client.ppm")
            wrong = "the client has no picture" if not viewer.dump(picture) else difference(dump, picture)
            if not wrong or time.monotonic() > end:
                break
        if OPTIONS.keep:
            os.makedirs(OPTIONS.keep, exist_ok=True)
            for name in ("qemu.ppm", "client.ppm"):
                shutil.copy(machine.path(name), os.path.join(OPTIONS.keep, name))
        return wrong
    finally:
        machine.qmp.ask("cont")


def all_channels(viewer):
    up = viewer.state()["up"]
    missing = [c for c in (["main", 0], ["display", 0], ["inputs", 0], ["cursor", 0]) if c not in up]
    return f"channels missing: {missing}" if missing else None


def logins(machine, name, **where):
    """The right password with picture and keys, wrong ones, and the right one again."""
    where = where or {"port": machine.port}
    with client(USER, PASSWORD, **where) as viewer:
        wrong = None if viewer.connected() else f"not connected: {told(viewer, 0.1)}"
        machine.wait_still()
        wrong = wrong or all_channels(viewer) or same_picture(machine, viewer)
        if not wrong:
            viewer.send("tap", "0x1e")
            wrong = all_channels(viewer)
        report(f"{name}: the right password", wrong, "four channels, picture exact")
    for what, user, password in (
        ("a wrong password", USER, "falsch"),
        ("an unknown user", "otto", PASSWORD),
        ("a password that is the user's name", USER, USER),
        ("nothing", None, None),
    ):
        with client(user, password, **where) as viewer:
            said = told(viewer)
            report(f"{name}: {what}", None if said == "error-auth" else f"the client was told {said}", said)
    with client(USER, PASSWORD, **where) as viewer:
        report(f"{name}: the right password again", None if viewer.connected() else "refused")


def digest():
    """DIGEST-MD5 over TCP without TLS: the only mechanism there, with a security layer."""
    with Users("digest-md5 plain scram-sha-256 cram-md5 anonymous") as users, users.machine() as machine:
        logins(machine, "DIGEST-MD5")
        if OPTIONS.lib:
            lines = machine.output().split("\n")
            login = [line for line in lines if "SASL login" in line and USER in line and "DIGEST-MD5" in line]
            refused = [line for line in lines if "link refused: SASL: wrong password" in line]
            report("log lines", None if login and refused else f"{len(login)} logins, {len(refused)} refusals", login[0])
            secret = [line for line in lines if PASSWORD in line]
            report("no password in the log", secret[0] if secret else None)


def unix():
    """A unix socket: the original gives the library an address that it refuses, so nobody gets in there."""
    spice = "unix=on,addr={socket},sasl=on"
    with Users("digest-md5") as users, users.machine(spice=spice) as machine:
        if OPTIONS.lib:
            logins(machine, "unix socket", unix=machine.socket)
        else:
            with client(USER, PASSWORD, unix=machine.socket) as viewer:
                said = told(viewer)
                report("unix socket", None if said != "opened" else "the original lets somebody in", said)


def pictures():
    """Three VBE modes full of pixels through the security layer; each key from the client leads to the next."""
    with Users("digest-md5") as users:
        disk = ["-drive", f"file={disk_with_boot_sector(users.directory)},format=raw,if=ide"]
        with users.machine(*disk) as machine, client(USER, PASSWORD, machine.port) as viewer:
            wrong = None if viewer.connected() else "not connected"
            for size, key in (((640, 480), None), ((1024, 768), 0x1E), ((800, 600), 0x30)):
                if key and not wrong:
                    viewer.send("tap", hex(key))
                drawn = wrong or machine.wait_picture(lambda w, h, p: (w, h) == size and any(p[-3000:]))
                machine.wait_still(timeout=30, calm=0.6)
                wrong = wrong or (None if drawn else f"the guest did not draw {size}") or same_picture(machine, viewer)
            report("three modes through the layer", wrong, f"{viewer.state()['bytes'] >> 10} KiB, exact")


def beside_vnc():
    """QEMU's VNC server uses libsasl2 itself, in the same process."""
    display = free_port() % 1000 + 17100
    with Users("digest-md5") as users, users.machine("-vnc", f"127.0.0.1:{display},sasl=on") as machine:

        def vnc():
            with socket.create_connection(("127.0.0.1", 5900 + display), timeout=PATIENCE) as stream:
                stream.sendall(exactly(stream, 12))
                kinds = exactly(stream, exactly(stream, 1)[0])
                stream.sendall(bytes([20]))
                return kinds, exactly(stream, struct.unpack(">I", exactly(stream, 4))[0])

        before = vnc()
        logins(machine, "beside VNC")
        after = vnc()
        good = before == after and before[0] == bytes([20]) and b"DIGEST-MD5" in before[1]
        report("VNC offers its own", None if good else f"{before} {after}", before[1].decode())


# ---- a raw client


def exactly(stream, size):
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            raise EOFError(f"the end after {data!r}")
        data += part
    return data


def rest(stream):
    """Everything up to the end of the connection."""
    data = b""
    try:
        while part := stream.recv(1 << 16):
            data += part
    except ConnectionResetError:
        pass
    except socket.timeout:
        return b"(open) " + data
    return data


def link(machine, common=0xD, channel=1, mechanism=2, secure=None):
    """A link message and the choice of a mechanism; the socket and the reply, the word for the error first. `secure`:
    an SSL context."""
    stream = socket.create_connection(("127.0.0.1", machine.port), timeout=PATIENCE)
    stream.settimeout(PATIENCE)
    stream = secure.wrap_socket(stream, server_hostname="localhost") if secure else stream
    words = [common] if common else []
    body = struct.pack("<IBBIII", 0, channel, 0, len(words), 0, 18) + struct.pack(f"<{len(words)}I", *words)
    stream.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body)
    reply = exactly(stream, struct.unpack("<I", exactly(stream, 16)[12:])[0])
    if mechanism is not None:
        stream.sendall(struct.pack("<I", mechanism))
    return stream, reply


def block(data):
    return struct.pack("<I", len(data)) + data


def begun(machine, name=b"DIGEST-MD5", data=b"", more=b"", secure=None):
    """The socket of a client that has chosen this, and what was on offer."""
    stream, _ = link(machine, secure=secure)
    offered = exactly(stream, struct.unpack("<I", exactly(stream, 4))[0])
    stream.sendall(block(name) + block(data) + more)
    return stream, offered


def error_message(code):
    return b"REDQ" + struct.pack("<IIII", 2, 2, 178, code) + bytes(174)


def raw():
    """The bytes of the stage, and every way to do it wrong."""
    ours = OPTIONS.lib is not None
    with Users("digest-md5 plain anonymous") as users, users.machine() as machine:
        stream, reply = link(machine, mechanism=None)
        caps = struct.unpack_from("<I", reply, 178)[0]
        wrong = f"key {reply[4:166].hex()[:20]}, capabilities {caps:#x}" if any(reply[4:166]) or caps != 0xD else None
        report("reply: no key, capabilities 0xd", wrong)
        _, reply = link(machine, common=0x9, mechanism=None)
        report("reply to a client without SASL: a key", None if any(reply[4:166]) else "none")
        stream, _ = link(machine, mechanism=1)
        report("a ticket is not on offer", None if rest(stream) == error_message(3) else "no error 3")
        stream, _ = link(machine, mechanism=7)
        report("mechanism 7 is not on offer", None if rest(stream) == error_message(3) else "no error 3")
        stream, _ = link(machine, common=0, mechanism=None)
        stream.settimeout(PATIENCE if ours else 1)
        said = rest(stream)
        # The original forgets to close.
        good = said == error_message(4) if ours else error_message(4) in said
        report("a client that cannot choose: error 4", None if good else f"{said[:40]}")

        stream, offered = begun(machine)
        size = struct.unpack("<I", exactly(stream, 4))[0]
        challenge = exactly(stream, size) + exactly(stream, 1)
        good = offered == b",DIGEST-MD5," and challenge.endswith(b"\0\0") and b'algorithm=md5-sess' in challenge
        report("list and challenge", None if good else f"{offered} {challenge}", offered.decode())
        stream.sendall(block(b"nonsense\0"))
        report("a response that is none: the end", None if rest(stream) == b"" else "something was said")
        for name, what in ((b"PLAIN", "plain"), (b"ANONYMOUS", "anonymous"), (b"DIGEST-MD5,", "comma"), (b"digest-md5", "case")):
            stream, _ = begun(machine, name, b"\0anna\0geheim\0")
            said = rest(stream)
            report(f"not on offer: {what}", None if said == error_message(3) else f"{said[:40]}")
        for size in (0, 101, 0xFFFFFFFF):
            stream, _ = link(machine)
            exactly(stream, struct.unpack("<I", exactly(stream, 4))[0])
            stream.sendall(struct.pack("<I", size) + b"x")
            report(f"a name of {size} bytes: the end", None if rest(stream) == b"" else "something was said")
        stream, _ = link(machine)
        exactly(stream, struct.unpack("<I", exactly(stream, 4))[0])
        stream.sendall(block(b"DIGEST-MD5") + struct.pack("<I", (1 << 20) + 1))
        said = rest(stream)
        report("more than a MiB of data: error 3", None if said == error_message(3) else f"{said[:40]}")
        started = time.monotonic()
        stream, _ = begun(machine, data=b"x" * 65535 + b"\0")
        said = rest(stream)
        late = time.monotonic() - started > 8
        # Too long for the mechanism, but it was asked.
        report("64 KiB at once are read", "late" if late else None if said == b"" else f"{said[:40]}")
        started = time.monotonic()
        for _ in range(5):
            # Most of it is there before the list is made.
            stream, _ = link(machine)
            stream.sendall(block(b"DIGEST-MD5") + block(b"x" * 65535 + b"\0"))
            said = rest(stream)
        late = time.monotonic() - started > 8
        report("all at once", "late" if late else None if said == block(b",DIGEST-MD5,") else f"{said[:40]}")
        if ours:
            stream, _ = begun(machine, more=b"".join(block(b"x" * 65000) for _ in range(20)))
            rest(stream)
            report("more bytes than anybody reads", None if machine.alive() else "QEMU is gone")
        with client(USER, PASSWORD, machine.port) as viewer:
            report("a client after all that", None if viewer.connected() else "refused")


def off():
    """Without sasl=on the mechanism is refused; the original takes it all the same."""
    spice = "port={port},addr=127.0.0.1,disable-ticketing=on"
    with Users("digest-md5") as users, users.machine(spice=spice) as machine:
        stream, reply = link(machine)
        caps = struct.unpack_from("<I", reply, 178)[0]
        said = rest(stream) if OPTIONS.lib else exactly(stream, 4)
        wrong = None if not OPTIONS.lib or (said == error_message(3) and caps == 0xB) else f"{caps:#x} {said[:40]}"
        report("SASL is off", wrong, "refused" if OPTIONS.lib else f"the original offers {said}")


def crowd():
    """Many who begin and stay away do not keep a client out, and forty wrong ones at once are all refused."""
    with Users("digest-md5") as users, users.machine() as machine:
        idle = [begun(machine)[0] for _ in range(40)]
        with client(USER, PASSWORD, machine.port) as viewer:
            report("a client beside forty idle ones", None if viewer.connected() else "refused")
        answers = []

        def guess():
            stream, _ = begun(machine)
            exactly(stream, exactly(stream, 4)[0] + 1)
            stream.sendall(block(b'username="anna",realm="x",nonce="y",cnonce="z",nc=1,qop=auth,response=0\0'))
            answers.append(rest(stream))

        threads = [threading.Thread(target=guess) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        report("forty wrong responses at once", None if answers == [b""] * 40 else f"{len(answers)} answers")
        for stream in idle:
            stream.close()
        report("QEMU lives", None if machine.alive() else "no")


# ---- inside TLS


NO_TLS = "spice_server_set_tls is not implemented yet"


def without_tls(name, machine):
    """True, and a line for it, while the library has no TLS; QEMU does not ask whether it has."""
    if NO_TLS not in machine.output():
        return False
    report(name, NO_TLS, skipped=True)
    return True


def certificates(directory, key=("rsa:2048",)):
    """A certificate of its own for localhost, in the files that QEMU wants; the CA's path."""
    names = [os.path.join(directory, name) for name in ("server-key.pem", "server-cert.pem", "ca-cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", names[0], "-out", names[1]]
    subprocess.run(command, check=True, capture_output=True)
    shutil.copy(names[1], names[2])
    return names[2]


def tls():
    """PLAIN and SCRAM inside TLS, one at a time, so that the client cannot choose another."""
    for mechanism in ("plain", "scram-sha-256"):
        with Users(mechanism + " anonymous") as users:
            authority = certificates(users.directory)
            spice = "tls-port={port},addr=127.0.0.1,sasl=on,x509-dir=" + users.directory
            with users.machine(spice=spice) as machine:
                if without_tls("tls", machine):
                    return
                logins(machine, f"{mechanism} in TLS", port=machine.port, authority=authority)


def slow():
    """A daemon that never answers, for passwords inside TLS: others come in meanwhile, and QEMU ends in time."""
    if not OPTIONS.lib:
        report("slow", detail="only for --lib: the original waits for the daemon", skipped=True)
        return
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(os.path.join(directory, "mux"))
        daemon.listen(8)
        daemon.settimeout(PATIENCE)
        options = {"pwcheck_method": "saslauthd", "saslauthd_path": os.path.join(directory, "mux")}
        with Users("plain scram-sha-256", **options) as users:
            authority = certificates(users.directory)
            spice = "tls-port={port},addr=127.0.0.1,sasl=on,x509-dir=" + users.directory
            with users.machine(spice=spice) as machine:
                if without_tls("slow", machine):
                    return
                secure = ssl.create_default_context(cafile=authority)
                plain = b"\0" + USER.encode() + b"\0" + PASSWORD.encode() + b"\0"
                waiting = [begun(machine, b"PLAIN", plain, secure=secure)[0] for _ in range(2)]
                held = [daemon.accept()[0] for _ in waiting]
                # A client chooses SCRAM if it is there.
                with client(USER, PASSWORD, machine.port, authority=authority) as viewer:
                    report("a client beside two that wait for a daemon", None if viewer.connected() else "refused")
                before = time.monotonic()
                machine.end()
                took = time.monotonic() - before
                report("QEMU ends meanwhile", None if took < 8 else f"after {took:.1f} s", f"{took:.1f} s")
                for stream in waiting + held:
                    stream.close()


def strict():
    """A site whose OpenSSL wants 128 bits of strength everywhere: passwords inside TLS, with a key on P-256."""
    with Users("plain scram-sha-256") as users:
        authority = certificates(users.directory, ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"))
        policy = os.path.join(users.directory, "openssl.cnf")
        with open(policy, "w") as file:
            file.write("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                       "CipherString = DEFAULT@SECLEVEL=3\nMinProtocol = TLSv1.3\n")
        spice = "tls-port={port},addr=127.0.0.1,sasl=on,x509-dir=" + users.directory
        with site(OPENSSL_CONF=policy), users.machine(spice=spice) as machine:
            if not without_tls("strict", machine):
                logins(machine, "under a strict policy", port=machine.port, authority=authority)
        # A key of 112 bits, so that it is seen that the policy is in force.
        authority = certificates(users.directory)
        with users.machine(spice=spice) as machine, site(OPENSSL_CONF=policy), client(USER, PASSWORD, machine.port, authority=authority) as viewer:
            said = told(viewer)
            report("under a strict policy: a server with RSA-2048", None if said == "error-tls" else f"the client was told {said}", said)


def tickets():
    """GSSAPI with a KDC of the test's own: the picture through its security layer, and nobody without a ticket."""
    if not kerberos.installed():
        report("tickets", detail="needs krb5-kdc, krb5-admin-server, krb5-user, libsasl2-modules-gssapi-mit", skipped=True)
        return
    host = subprocess.run(["hostname", "-f"], capture_output=True, text=True, check=True).stdout.strip()
    with Users("gssapi") as users, kerberos.Realm(USER, ["localhost", "127.0.0.1", host]) as realm, site(**realm.environment):
        with users.machine() as machine:
            for name in ("with a ticket", "with a ticket again"):
                with client(USER, None, machine.port) as viewer:
                    wrong = None if viewer.connected() else f"not connected: {told(viewer, 0.1)}"
                    machine.wait_still()
                    report(f"GSSAPI: {name}", wrong or all_channels(viewer) or same_picture(machine, viewer), "four channels, picture exact")
            realm.logout()
            with client(USER, None, machine.port) as viewer:
                said = told(viewer)
                report("GSSAPI: without a ticket", None if said == "error-auth" else f"the client was told {said}", said)


# ---- without the library


def hidden():
    """A file that is no library in the place of libsasl2: SASL is refused, with the reason in the log, and all else works."""
    if not OPTIONS.lib:
        report("hidden", detail="only for --lib", skipped=True)
        return
    program = (
        "import ctypes, sys; s = ctypes.CDLL(sys.argv[1]); s.spice_server_new.restype = ctypes.c_void_p; "
        "v = ctypes.c_void_p(s.spice_server_new()); "
        "print(s.spice_server_set_sasl(v, 1), s.spice_server_set_sasl(v, 0), s.spice_server_set_noauth(v)); "
        "s.spice_server_destroy(v)"
    )
    library = os.path.join(os.path.abspath(OPTIONS.lib), "libspice-server.so.1")
    for what, wanted in (("hidden", "-1 0 0"), ("there", "0 0 0")):
        with tempfile.TemporaryDirectory() as directory:
            if what == "hidden":
                for name in ("libsasl2.so.2", "libsasl2.so.3"):
                    open(os.path.join(directory, name), "w").close()
            environment = {**os.environ, "LD_LIBRARY_PATH": directory}
            command = ["/usr/bin/python3", "-c", program, library]
            run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
            wrong = None if run.stdout.strip() == wanted else f"{run.stdout} {run.stderr}"
            if what == "hidden" and "SASL was not turned on" not in run.stderr:
                wrong = wrong or f"no reason: {run.stderr}"
            report(f"libsasl2 is {what}", wrong, run.stderr.strip()[:200])


SCENARIOS = [digest, unix, pictures, beside_vnc, raw, off, crowd, hidden, tls, strict, tickets, slow]


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep")
    parser.add_argument("--verbose", action="store_true")
    OPTIONS = parser.parse_args()
    Machine.library, Machine.verbose = OPTIONS.lib and os.path.abspath(OPTIONS.lib), OPTIONS.verbose
    wanted = [name for name in OPTIONS.only.split(",") if name]
    for scenario in SCENARIOS:
        if wanted and scenario.__name__ not in wanted:
            continue
        try:
            scenario()
        except Exception as error:  # the other scenarios still run
            report(scenario.__name__, f"{type(error).__name__}: {error}")
    print(", ".join(f"{count} {kind}" for kind, count in RESULTS.items()))
    sys.exit(RESULTS["FAIL"] > 0)


if __name__ == "__main__":
    main()

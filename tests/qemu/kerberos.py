"""A Kerberos realm of a test's own: a KDC on a high port of 127.0.0.1, one user with a ticket, one service with a keytab."""
import os
import shutil
import socket
import subprocess
import tempfile
import time

REALM = "SPICE.TEST"


def installed():
    """The KDC's programs and SASL's mechanism are there."""
    plugin = "/usr/lib/x86_64-linux-gnu/sasl2/libgssapiv2.so"
    return shutil.which("krb5kdc", path="/usr/sbin:/sbin:/usr/bin") is not None and os.path.exists(plugin)


class Realm:
    """While it lasts, `environment` makes programs use it: as a user with a ticket, or as the service with its key."""

    def __init__(self, user, hosts, service="spice"):
        self.directory = tempfile.mkdtemp(prefix="spice-krb5-")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.environment = {
            "KRB5_CONFIG": self.write("krb5.conf", f"""[libdefaults]
 default_realm = {REALM}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 ignore_acceptor_hostname = true
[realms]
 {REALM} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = {REALM}
"""),
            "KRB5_KDC_PROFILE": self.write("kdc.conf", f"""[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {REALM} = {{
  database_name = {self.path("principal")}
  key_stash_file = {self.path("stash")}
 }}
"""),
            "KRB5_KTNAME": self.path("keytab"),
            "KRB5CCNAME": "FILE:" + self.path("tickets"),
            "KRB5RCACHEDIR": self.directory,
        }
        self.kdc = None
        try:
            self.run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
            self.admin(f"addprinc -pw geheim {user}")
            for host in hosts:
                self.admin(f"addprinc -randkey {service}/{host}")
                self.admin(f"ktadd -k {self.path('keytab')} {service}/{host}")
            self.kdc = subprocess.Popen(["/usr/sbin/krb5kdc", "-n"], env={**os.environ, **self.environment},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.login(user)
        except BaseException:
            self.__exit__()
            raise

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def run(self, program, *words, text=None):
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
        done = subprocess.run([path, *words], env={**os.environ, **self.environment}, input=text, text=True, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")

    def admin(self, words):
        self.run("kadmin.local", "-r", REALM, "-q", words)

    def login(self, user, patience=10):
        end = time.monotonic() + patience
        while True:
            try:
                return self.run("kinit", user, text="geheim\n")
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def logout(self):
        self.run("kdestroy")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.kdc:
            self.kdc.kill()
            self.kdc.wait()
        shutil.rmtree(self.directory)

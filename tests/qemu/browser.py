#!/usr/bin/python3
"""spice-html5 in headless Chromium on a stock QEMU, through WebSockets: one PASS, FAIL or SKIPPED line each.

  browser.py [--lib DIR] [--keep DIR] [--wss]

The page comes from a web server on loopback and connects to QEMU's SPICE port. What its canvas shows must equal
QEMU's own picture, in every pixel; --keep saves both and a picture of the page. --wss: the same inside TLS, with a
certificate made here that the browser is told to take; needs a library with TLS.
"""
import argparse
import base64
import functools
import http.client
import http.server
import io
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.request

from PIL import Image

from machine import Machine, client_environment, free_port, read_ppm
from chromium import Chromium

HTML5 = "/usr/share/spice-html5"
RESULTS = {"PASS": 0, "FAIL": 0, "SKIPPED": 0}
CANVAS = "document.querySelector('#spice-screen canvas')"


def report(name, wrong=None, detail="", skipped=False):
    kind = "SKIPPED" if skipped else "FAIL" if wrong else "PASS"
    RESULTS[kind] += 1
    text = wrong or detail
    print(f"{kind} {name}{': ' + str(text) if text else ''}", flush=True)


class Files(http.server.ThreadingHTTPServer):
    """The files of spice-html5 on a port of loopback."""

    def __init__(self):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML5))
        threading.Thread(target=self.serve_forever, daemon=True).start()


def canvas(browser):
    """Size and RGB bytes of what the page shows."""
    data = browser.run(f"{CANVAS}.toDataURL('image/png')").split(",", 1)[1]
    image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    return (*image.size, image.tobytes())


def same_picture(machine, browser):
    """None, or how the page differs from QEMU's picture."""
    want = read_ppm(machine.screendump())
    got = canvas(browser)
    if want[:2] != got[:2]:
        return f"{got[0]}x{got[1]} instead of {want[0]}x{want[1]}"
    wrong = sum(want[2][i : i + 3] != got[2][i : i + 3] for i in range(0, len(want[2]), 3))
    return f"{wrong} pixels differ" if wrong else None


def shows_the_screen(name, machine, url, keep, arguments=()):
    with Chromium(*arguments, environment=client_environment()) as browser:
        browser.page(url)
        wrong = None
        if not browser.wait(f"{CANVAS} !== null && {CANVAS}.width > 1"):
            wrong = "no picture: " + str(browser.run("document.getElementById('message-div').innerText"))[-300:]
        if not wrong:
            machine.wait_still()
            machine.qmp.ask("stop")
            # The last refresh may still be on its way to the page.
            for _ in range(50):
                wrong = same_picture(machine, browser)
                if not wrong:
                    break
                browser.run("new Promise(done => setTimeout(done, 100))")
            machine.qmp.ask("cont")
        if not wrong and not any(read_ppm(machine.path("qemu.ppm"))[2]):
            wrong = "the picture is black"
        if keep:
            os.makedirs(keep, exist_ok=True)
            browser.screenshot(os.path.join(keep, f"{name}-page.png"))
            if os.path.exists(machine.path("qemu.ppm")):
                shutil.copy(machine.path("qemu.ppm"), os.path.join(keep, f"{name}-qemu.ppm"))
        width, height = read_ppm(machine.path("qemu.ppm"))[:2] if not wrong else (0, 0)
        report(name, wrong, f"{width}x{height}, every pixel equal")


def own_page(port):
    """None, or what is wrong with the page that the SPICE port itself shows."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            text = answer.read().decode()
            return None if answer.status == 200 and "SPICE" in text else text
    except http.client.HTTPException as error:
        return f"no HTTP: {type(error).__name__}"


def websocket(keep):
    """The firmware's screen, with and without a password."""
    files = Files()
    page = f"http://127.0.0.1:{files.server_port}/spice_auto.html?host=127.0.0.1&port="
    with Machine("-vga", "std") as machine:
        report("the port's own page", own_page(machine.port))
        shows_the_screen("websocket std", machine, page + str(machine.port), keep)
    secret = ["-object", "secret,id=ticket,data=pa55"]
    spice = "port={port},addr=127.0.0.1,password-secret=ticket"
    with Machine("-vga", "qxl", *secret, spice=spice) as machine:
        shows_the_screen("websocket qxl password", machine, f"{page}{machine.port}&password=pa55", keep)
    files.shutdown()


def secure_websocket(keep):
    """The same inside TLS. The page comes by https, too: only then does it choose wss."""
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = os.path.join(directory, "server-key.pem"), os.path.join(directory, "server-cert.pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                   "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        shutil.copy(certificate, os.path.join(directory, "ca-cert.pem"))
        files = Files()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        files.socket = context.wrap_socket(files.socket, server_side=True)
        secure = free_port()
        spice = f"tls-port={secure},addr=127.0.0.1,disable-ticketing=on,x509-dir={directory}"
        with Machine("-vga", "std", spice=spice) as machine:
            url = f"https://127.0.0.1:{files.server_port}/spice_auto.html?host=127.0.0.1&port={secure}"
            shows_the_screen("wss std", machine, url, keep, ["--ignore-certificate-errors"])
        files.shutdown()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--keep")
    parser.add_argument("--wss", action="store_true")
    options = parser.parse_args()
    Machine.library = os.path.abspath(options.lib) if options.lib else None
    if not shutil.which("chromium") or not os.path.isdir(HTML5):
        report("browser", skipped=True, detail="chromium or spice-html5 is not installed")
        return 0
    for scenario in [secure_websocket] if options.wss else [websocket]:
        try:
            scenario(options.keep)
        except (RuntimeError, OSError, EOFError, TimeoutError, subprocess.SubprocessError, ValueError) as error:
            report(scenario.__name__, f"{type(error).__name__}: {error}")
    print(f"{RESULTS['PASS']} passed, {RESULTS['FAIL']} failed, {RESULTS['SKIPPED']} skipped")
    return 1 if RESULTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""The display stream inside TLS, side by side: raw pictures through two libspice-server.so.1, A B A B, plain and with TLS.

  tls.py [--frames N] [--rounds N] [--theirs DIR] [--ours DIR] [--host PROGRAM] [--out FILE] [--suites LIST]

Pictures of 1920x1080 random pixels go without compression. CPU is the processor time of the host process, of all threads but
the first one, which makes the pictures: so drawing, encrypting and sending. MB/s is by the clock, from the order to draw
until the client, which decrypts with OpenSSL, has all of it. The suites are the client's (TLS 1.3, or OpenSSL's names for 1.2).
"""
import argparse
import json
import os
import pathlib
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import ROOT, SIDES, Host, write  # noqa: E402

SIZE = (1920, 1080)


def context(suite):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    if suite.startswith("TLSv1.3"):
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        tls.set_ciphers(suite)
    return tls


def measure(options, library, picture, pki, suite):
    plain = suite == "plain"
    host = Host(options, library, "off", SIZE, None if plain else pki, None if plain else context(suite))
    try:
        channel = host.clients[0].display.socket
        cipher = None if plain else channel.cipher()[0]
        host.load(picture)
        for turn in range(2):
            host.draw(turn)
        host.quiet(0.02)
        begin, start = host.used(), time.monotonic()
        size = sum(host.draw(turn) for turn in range(options.frames))
        wall = time.monotonic() - start
        host.quiet(0.02)
        return {"cpu": (host.used() - begin) / size, "speed": size / wall / 1e6, "cipher": cipher}
    finally:
        host.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--theirs", help="directory of a library; the system's without")
    parser.add_argument("--ours", default=ROOT / "stage/lib", help="directory of the other one")
    parser.add_argument("--host", default=ROOT / "stage/hosts/encode_host")
    parser.add_argument("--run", default=os.environ.get("RUN", ""), help='words in front of each run, e.g. "chrt -f 1"')
    parser.add_argument("--suites", default="plain,TLSv1.3,ECDHE-RSA-AES128-GCM-SHA256")
    parser.add_argument("--out", default=ROOT / "target/bench/tls.json", type=pathlib.Path)
    options = parser.parse_args()
    options.clients = 1
    libraries = dict(zip(SIDES, [options.theirs, options.ours]))
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([ROOT / "tests/tls/pki.sh", scratch], check=True)
        picture = os.path.join(scratch, "noise.bgrx")
        with open(picture, "wb") as file:
            file.write(os.urandom(SIZE[0] * SIZE[1] * 4))
        print("| stream | side | CPU s/GB | MB/s |\n|---|---|---|---|")
        for suite in options.suites.split(","):
            runs = {side: [] for side in SIDES}
            for _ in range(options.rounds):
                for side in SIDES:
                    runs[side].append(measure(options, libraries[side], picture, scratch, suite))
            results.append({"suite": suite, "runs": runs})
            for side in SIDES:
                cpu, speed = (statistics.median(run[key] for run in runs[side]) for key in ("cpu", "speed"))
                print(f"| {runs[side][0]['cipher'] or suite} | {side} | {cpu:.3f} | {speed:.0f} |", flush=True)
    write(options.out, results)


if __name__ == "__main__":
    main()

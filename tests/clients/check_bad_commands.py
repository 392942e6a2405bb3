#!/usr/bin/python3
"""A stock client lives through every malformed command, and shows what the server has after each group of them.

  check_bad_commands.py --program DIR/bad_commands [--lib DIR] [--group 60] [NAME...]

What a bad command still draws is not covered by a good picture here, so the client has to draw it alike.
"""
import argparse
import os
import subprocess
import sys
import tempfile

from driver import Client, difference


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--group", type=int, default=60)
    parser.add_argument("names", nargs="*", help="beginnings of names of kinds or areas")
    options = parser.parse_args()
    environment = dict(os.environ)
    if options.lib:
        environment["LD_LIBRARY_PATH"] = options.lib
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "socket")
        command = [options.program, "--unix", path] + options.names
        host = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )
        lines = []

        def ask(line, answer):
            if line:
                host.stdin.write(line + "\n")
                host.stdin.flush()
            while True:
                got = host.stdout.readline()
                if not got:
                    print(f"FAIL host ended after {lines[-1:]}, wanted {answer!r}, exit {host.wait()}")
                    sys.exit(1)
                lines.append(got.strip())
                if got.startswith(answer):
                    return got.split()

        kinds = int(ask(None, "ready")[1])
        client = Client(unix=path)
        client.connected()
        tried = 0
        while tried < kinds:
            tried = int(ask(f"bad {options.group}", "tried")[1])
            server, picture = os.path.join(scratch, "server.ppm"), os.path.join(scratch, "client.ppm")
            calm = client.quiet(300, 20000)
            ask(f"dump {server}", "dumped")
            if not calm or calm["event"] != "quiet":
                verdict = f"not quiet: {calm}"
            else:
                verdict = difference(server, picture) if client.dump(picture) else "no picture"
            if client.seen("channel", channel="display", what="closed"):
                verdict = "the client has left"
            if verdict:
                failed = True
                print(f"FAIL after {tried} of {kinds}, the last group ended with {lines[-3].split()[0]}: {verdict}")
                if client.process.poll() is not None or "left" in verdict or "no picture" in verdict:
                    break
        client.close()
        host.stdin.write("quit\n")
        host.stdin.flush()
        rest = host.stdout.read().strip().splitlines()
        code = host.wait()
        print(f"{'FAIL' if code else 'PASS'} host's end: {rest[-1:]} exit {code}")
        failed |= code != 0
    if not failed:
        print(f"PASS the client shows the server's picture after {kinds} kinds, {options.group} at a time")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""A stock client's picture equals the server's after random draws.

  compare_draws.py --program DIR/random_draws [--lib DIR] [--count 1000] [--level 2] [--seed 1] [--bottom-up]

One client is connected from the start and sees every change; one connects in the middle; one at the end.
"""
import argparse
import os
import subprocess
import sys
import tempfile

from driver import Client, difference, free_port


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--level", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bottom-up", action="store_true")
    parser.add_argument("--compression", type=int, help="SpiceImageCompression; over TCP, for nothing is compressed on unix sockets")
    parser.add_argument("--keep", help="directory for the pictures")
    options = parser.parse_args()
    environment = dict(os.environ)
    if options.lib:
        environment["LD_LIBRARY_PATH"] = options.lib
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        where = options.keep or scratch
        path = os.path.join(scratch, "socket")
        place = {"port": free_port()} if options.compression else {"unix": path}
        command = [options.program]
        for name, value in place.items():
            command += [f"--{name}", str(value)]
        command += ["--compression", str(options.compression)] if options.compression else []
        command += ["--seed", str(options.seed), "--level", str(options.level)]
        command += ["--bottom-up"] if options.bottom_up else []
        host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)

        def ask(line, answer):
            if line:
                host.stdin.write(line + "\n")
                host.stdin.flush()
            while True:
                got = host.stdout.readline()
                if not got:
                    print(f"FAIL host ended, wanted {answer!r}, exit {host.wait()}")
                    sys.exit(1)
                if got.startswith(answer):
                    return got.strip()

        clients = {}

        def look(when):
            nonlocal failed
            server = os.path.join(where, "server.ppm")
            ask(f"dump {server}", "dumped")
            for name, client in clients.items():
                picture = os.path.join(where, f"{name}.ppm")
                calm = client.quiet(400, 20000)
                if not client.dump(picture):
                    verdict = "no picture"
                elif not calm or calm["event"] != "quiet":
                    verdict = f"not quiet: {calm}"
                else:
                    verdict = difference(server, picture)
                failed |= verdict is not None
                print(f"{'FAIL' if verdict else 'PASS'} {when}: client {name}{': ' + verdict if verdict else ''}")

        ask(None, "ready")
        clients["early"] = Client(**place)
        clients["early"].connected()
        ask(f"draw {options.count // 2}", "drawn")
        look("half way")
        # A newcomer while the session has a client replaces that client: first one leaves.
        clients.pop("early").close() if options.seed % 2 == 0 else None
        print("server", ask(f"draw {options.count - options.count // 2}", "drawn"))
        look("at the end")
        for client in clients.values():
            client.close()
        clients = {"late": Client(**place)}
        clients["late"].connected()
        look("connected afterwards")
        clients["late"].close()
        host.stdin.write("quit\n")
        host.stdin.flush()
        rest = host.stdout.read()
        code = host.wait()
        print(f"{'FAIL' if code else 'PASS'} host's end: {rest.split()} exit {code}")
        failed |= code != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

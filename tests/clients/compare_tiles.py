#!/usr/bin/python3
"""A stock client that stays connected shows what the server drew in the cases of the drawing matrix.

  compare_tiles.py --program DIR/draw_matrix [--lib DIR] [--rounds 5] [--seed 1] [--kind K] [--class C] [--keep DIR]

Many cases share a screen, a tile each; kinds whose surface is not the screen are brought there. Each class of operation is
drawn at least `rounds` times on each kind. Cases that spice-server does not survive are drawn as well.
"""
import argparse
import os
import subprocess
import sys
import tempfile

from driver import Client, free_port, read_ppm

KINDS = ("screen-xRGB", "screen-ARGB", "off-xRGB", "off-ARGB", "off-8A", "off-1A", "screen-555", "off-555", "screen-565", "off-565")
SLOTS = 24  # of a round
TILE = (128, 48)


def differing_tiles(one, other):
    """Tiles whose pixels differ, with the number of pixels."""
    w1, h1, a = read_ppm(one)
    w2, h2, b = read_ppm(other)
    if (w1, h1) != (w2, h2):
        raise ValueError(f"sizes differ: {w1}x{h1} and {w2}x{h2}")
    found = {}
    for y in range(h1):
        row = slice(y * w1 * 3, (y + 1) * w1 * 3)
        if a[row] == b[row]:
            continue
        for x in range(w1):
            at = (y * w1 + x) * 3
            if a[at : at + 3] != b[at : at + 3]:
                tile = y // TILE[1] * (w1 // TILE[0]) + x // TILE[0]
                found[tile] = found.get(tile, 0) + 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--class", dest="only")
    parser.add_argument("--tame", action="store_true", help="only cases that spice-server survives")
    parser.add_argument("--compression", type=int, help="SpiceImageCompression; over TCP, for nothing is compressed on unix sockets")
    parser.add_argument("--keep", help="directory for the pictures")
    options = parser.parse_args()
    environment = dict(os.environ)
    if options.lib:
        environment["LD_LIBRARY_PATH"] = options.lib
    failed = cases = 0
    with tempfile.TemporaryDirectory() as scratch:
        where = options.keep or scratch
        path = os.path.join(scratch, "socket")
        place = {"port": free_port()} if options.compression else {"unix": path}
        command = [options.program, "--seed", options.seed]
        for name, value in place.items():
            command += [f"--{name}", str(value)]
        command += ["--compression", str(options.compression)] if options.compression else []
        command += [] if options.tame else ["--all"]
        command += ["--class", options.only] if options.only else []
        host = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )

        def ask(line, answer):
            """The lines up to the answer."""
            lines = []
            if line:
                host.stdin.write(line + "\n")
                host.stdin.flush()
            while True:
                got = host.stdout.readline()
                if not got:
                    print(f"FAIL host ended, wanted {answer!r}, exit {host.wait()}; last {lines[-1:]}")
                    sys.exit(1)
                lines.append(got.strip())
                if got.startswith(answer):
                    return lines

        ask(None, "ready")
        client = Client(**place)
        client.connected()
        for kind in options.kind or KINDS:
            number, drawn, wrong = 0, 0, []
            while number < options.rounds * SLOTS:
                *tiles, last = ask(f"screen {kind} {number}", "drawn")
                server, picture = (os.path.join(where, f"{kind}-{number}-{who}.ppm") for who in ("server", "client"))
                number = int(last.split()[1])
                calm = client.quiet(300, 20000)
                ask(f"dump {server}", "dumped")
                if not calm or calm["event"] != "quiet" or not client.dump(picture):
                    print(f"FAIL {kind}: the client is not there: {calm}, {client.events[-3:]}")
                    sys.exit(1)
                different = differing_tiles(server, picture)
                names = dict(line.split(" ", 2)[1:] for line in tiles if line.startswith("tile "))
                drawn += len(names)
                wrong += [f"{names.get(str(tile), 'no case')}: {count} pixels" for tile, count in different.items()]
            print(f"{'FAIL' if wrong else 'PASS'} {kind}: {drawn} cases, {len(wrong)} differ")
            for line in wrong[:30]:
                print(f"     {line}")
            failed += len(wrong)
            cases += drawn
        client.close()
        host.stdin.write("quit\n")
        host.stdin.flush()
        rest = host.stdout.read()
        code = host.wait()
        print(f"{cases} cases, {failed} differ; host's end: {rest.split()} exit {code}")
    sys.exit(1 if failed or code else 0)


if __name__ == "__main__":
    main()

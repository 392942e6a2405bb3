#!/usr/bin/python3
"""What three like clients cost beside one: the same pictures by the same C host through both libraries, by turns.

  clients.py [--frames N] [--rounds N] [--modes quic,glz] [--clients 3] [--ours DIR] PICTURE…

Options and what counts are those of run.py. Prints the library's processor time per frame with one client and with
several, and the ratio; the clients connect before the first picture and read all they get.
"""
import copy
import statistics

from run import arguments, measure, name_of, write


def main():
    options = arguments(__doc__, "quic,glz", "clients.json")
    many = options.clients if options.clients > 1 else 3
    print(f"| picture | mode | library | ms per frame, 1 client | {many} clients | times |")
    print("|---|---|---|---|---|---|")
    results = []
    for file in options.pictures:
        for mode in options.modes.split(","):
            runs = {(side, count): [] for side, _ in options.sides for count in (1, many)}
            for _ in range(options.rounds):
                for side, library in options.sides:
                    for count in (1, many):
                        told = copy.copy(options)
                        told.clients = count
                        runs[side, count] += measure(told, library, mode, [file])
            for side, _ in options.sides:
                one, several = (statistics.median(run["ms"] for run in runs[side, count]) for count in (1, many))
                print(f"| {name_of(file)} | {mode} | {side} | {one:.2f} | {several:.2f} | {several / one:.2f} |", flush=True)
                results.append({"picture": name_of(file), "mode": mode, "side": side, "clients": many,
                                "one": runs[side, 1], "several": runs[side, many]})
            write(options.out, results)


main()

#!/usr/bin/python3
"""Char devices on both libraries: the same script gives the same bytes and calls to the devices and the same messages to
the clients.

  compare_devices.py --program DIR/serve_devices --lib DIR [--only NAME] [--show]

Without spice-server the scripts run on ours alone, and only their own checks count. PASS or FAIL per script.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import stream_scripts  # noqa: F401  its scripts are among SCRIPTS then
from device_scripts import ALONE, DIFFERENT, SCRIPTS
from device_session import Session
from driver import free_port

# Seconds for one script.
LIMIT = 60
# Scripts at a time: they mostly wait for nothing to come.
AT_ONCE = 6
# All that were made: a script that hangs leaves its host.
SESSIONS = []


def run(program, script, lib, scratch, log):
    """The steps that a script made, and what went wrong at its end."""
    address = free_port() if script.tcp else os.path.join(scratch, f"{script.__name__}.{'ours' if lib else 'theirs'}")
    session = Session(program, address, lib, log)
    SESSIONS.append(session)
    try:
        script(session)
        wrong = session.end()
    except Exception as failure:  # a host that died closes sockets under the script
        wrong = f"{failure!r}"
        session.host.process.kill()
        session.host.process.wait()
    finally:
        for pipe in (session.host.process.stdin, session.host.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
    return session.steps, wrong


def plain(script, steps):
    """Without what differs on purpose."""
    result, said = [], set()
    for name, lines, seen in steps:
        if not script.reads:
            # The original reads once per wakeup; ours until there is nothing.
            lines = [line for line in lines if not re.match(r". read \d+$", line)]
        once = getattr(script, "once", None)
        if once:
            # Between which wakeups it is said is chance, with either.
            news = [line for line in lines if re.match(once, line) and line not in said]
            lines = [line for line in lines if not re.match(once, line)] + news[:1]
            said.update(news)
        result.append((name, lines, seen))
    return result


def compare(script, ours, theirs):
    """None or the first differences."""
    listed = {step: why for (name, step), why in DIFFERENT.items() if name == script.__name__}
    differences = []
    for mine, other in zip(plain(script, ours), plain(script, theirs)):
        if mine[0] in listed:
            if mine == other:
                differences.append(f"step {mine[0]!r} is listed as different and is equal")
            else:
                print(f"DIFFERENT {script.__name__}, {mine[0]}: {listed[mine[0]]}")
        elif mine != other:
            differences.append(f"step {mine[0]!r}:\n    ours   {mine[1:]}\n    theirs {other[1:]}")
    if len(ours) != len(theirs):
        differences.append(f"{len(ours)} steps instead of {len(theirs)}")
    return "\n  ".join(differences) or None


def play(arguments, script, scratch, reference):
    """Plays a script and prints how it went; true if it failed."""
    name, results = script.__name__, {}
    alone = script in ALONE or not reference

    def work(lib):
        log = os.path.join(scratch, f"{name}.{'ours' if lib else 'theirs'}.log")
        results[bool(lib)] = run(arguments.program, script, lib, scratch, log)

    libs = [arguments.lib] + [None] * (not alone)
    threads = [threading.Thread(target=work, args=(lib,), daemon=True) for lib in libs]
    for thread in threads:
        thread.start()
    end = time.monotonic() + LIMIT
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    late = [], f"not done in {LIMIT} s"
    steps, wrong = results.get(True, late)
    wrong = wrong or (script.check(steps) if script.check else None)
    if not wrong and not alone:
        theirs, their_end = results.get(False, late)
        wrong = compare(script, steps, theirs)
        if their_end:
            wrong = f"{wrong or ''} spice-server: {their_end}"
    if arguments.show:
        for step in steps:
            print("   ", *step)
    print(f"{'FAIL' if wrong else 'PASS'} {name}: {wrong or f'{len(steps)} steps'}", flush=True)
    return wrong is not None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", required=True)
    parser.add_argument("--only")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    reference = "libspice-server.so.1 " in listed
    if not reference:
        print(f"SKIPPED {len(SCRIPTS)}: scripts are not compared, libspice-server1 is not installed")
    scripts = [script for script in SCRIPTS + ALONE if not arguments.only or arguments.only in script.__name__]
    with tempfile.TemporaryDirectory(prefix="devices-") as scratch:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            results = pool.map(lambda script: play(arguments, script, scratch, reference), scripts)
            failures = sum(results)
    sys.stdout.flush()
    for session in SESSIONS:
        if session.host.process.poll() is None:
            session.host.process.kill()
    # A script that hangs must not keep the others' result.
    os._exit(failures > 0)


if __name__ == "__main__":
    sys.exit(main())

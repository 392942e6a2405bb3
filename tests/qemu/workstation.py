#!/usr/bin/python3
"""Everything beside the picture, through stock QEMU, with a small Debian guest and a stock client: one PASS or FAIL line each.

  workstation.py [--lib DIR] [--image DIR] [--quick] [--only agent,usb,webdav,ports,sound,floods]

Needs tests/guest/small/build.sh's image (tools/workstation.sh makes it and runs this). --quick is what `make test` does: short
sounds, small files. Without --lib it runs on spice-server, where the floods only say what happens.
"""
import argparse
import os
import shutil
import sys
import tempfile
import time

from machine import HERE, Machine
from workstation_kit import RESULTS, SmallGuest, Station, report

import workstation_agent
import workstation_devices
import workstation_floods
import workstation_sound

LOCKED = "disable-copy-paste=on,disable-agent-file-xfer=on"
CASES = ("agent", "usb", "webdav", "ports", "sound", "floods")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib")
    parser.add_argument("--image", default=os.path.join(HERE, "../../target/small-guest"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(CASES))
    options = parser.parse_args()
    Machine.library = os.path.abspath(options.lib) if options.lib else None
    SmallGuest.image = os.path.abspath(options.image)
    only = options.only.split(",")
    work = tempfile.mkdtemp(prefix="workstation-")
    begun = time.monotonic()
    stations = []
    try:
        # Both start at once.
        stations.append(Station(work, options.quick))
        if "agent" in only:
            stations.append(Station(work, options.quick, LOCKED))
        for station in stations:
            station.guest.ready(120)
        print(f"library: {stations[0].guest.uses_library()}; ready after {time.monotonic() - begun:.0f} s", flush=True)
        if "agent" in only:
            workstation_agent.tests(*stations)
        workstation_devices.tests(stations[0], only)
        if "sound" in only:
            workstation_sound.tests(stations[0])
        if "floods" in only:
            workstation_floods.tests(stations[0])
        for station in stations:
            report("QEMU afterwards", None if station.guest.alive() else f"it is gone: {station.guest.output()[-500:]}")
    finally:
        for station in stations:
            station.close()
        shutil.rmtree(work, ignore_errors=True)
    print(f"{RESULTS['PASS']} passed, {RESULTS['FAIL']} failed, {time.monotonic() - begun:.0f} s")
    return 1 if RESULTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())

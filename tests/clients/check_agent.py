#!/usr/bin/python3
"""The guest's agent: raw clients and stock clients against an agent's device that does what it is told.

  check_agent.py --program DIR/serve_agent [--lib DIR] [--scenes NAME,…] [--show] [--megabytes 8] [--only scenes|stock|rough|rates]

The scenes of agent_scenes.py run on the library under --lib and on the system's (spice-server): the same bytes to the
device, the same messages to the clients, but for what DIFFERENT says. Then a stock client copies, pastes and sends a
file; clients and agents that misbehave cost nobody else anything.
"""
import argparse
import concurrent.futures
import contextlib
import subprocess
import sys
import tempfile

from agent_rough import rough
from agent_scenes import QUIET, SCENES, Stage
from agent_stock import rates, stock

# Scene, text in the step's name (or None), why it may differ. One that does not differ any more fails.
DIFFERENT = [
    (None, "quit", "the device is told that the server ends"),
    ("window", "room -1", "of what the device has taken nothing of nothing stays when its client goes"),
    ("window", "ann sends 107", "tokens for 64 pieces come before the device has them"),
    ("stops", "ann sends 107", "the same"),
    ("stops", "vm start", "the same"),
    ("interleaved", "bob sends", "one client does not disturb the messages of another"),
    ("interleaved", "exit", "the same"),
    ("broken_agents", "agent off", "a device whose agent broke the protocol is still there to be removed"),
]


def play(scene, options, program, library, quiet=QUIET):
    """The steps of a scene and what was seen at each."""
    with tempfile.TemporaryDirectory() as where:
        stage = Stage(program, library, where, *options, quiet=quiet)
        failure = None
        try:
            scene(stage)
        except Exception as error:  # noqa: BLE001 a scene that cannot go on is a difference
            failure = repr(error)
        finally:
            with contextlib.suppress(Exception):
                stage.end()
            stage.kill()
        stage.steps.append(("exit", {"host": [f"exit {stage.process.returncode}", failure]}))
        return stage.steps


def shown(steps):
    return [f"{what}\n" + "".join(f"    {who}: {text}\n" for who in seen for text in seen[who]) for what, seen in steps]


def differences(scene, ours, theirs):
    name = scene.__name__
    listed = {(step, why): where is None for where, step, why in DIFFERENT if where in (None, name)}
    wrong = []
    for mine, yours in zip(ours, theirs):
        if mine == yours:
            continue
        known = [key for key in listed if key[0] is None or key[0] in mine[0]]
        for key in known:
            listed[key] = True
        if not known:
            wrong.append(f"--- ours\n{shown([mine])[0]}--- spice-server\n{shown([yours])[0]}")
    if len(ours) != len(theirs):
        wrong.append(f"{len(ours)} steps, {len(theirs)} on spice-server")
    for (step, _), used in listed.items():
        if not used:
            wrong.append(f"{step!r} is listed as different and is equal")
    return wrong


def compare(scene, extra, ours, theirs, options, report):
    wrong = differences(scene, ours, theirs)
    for quiet in (4 * QUIET, 10 * QUIET):
        if not wrong:
            break
        # On a busy machine quiet may have been mistaken for the end of a step.
        ours, theirs = (play(scene, extra, options.program, library, quiet) for library in (options.lib, None))
        wrong = differences(scene, ours, theirs)
    name = scene.__name__
    for where, step, why in DIFFERENT:
        if where == name:
            print(f"DIFFERENT {name}, {step}: {why}")
    report.check(f"scene {name}: {len(ours)} steps", not wrong, "\n" + "\n".join(wrong) if wrong else "")


def scenes(options, report):
    chosen = options.scenes.split(",") if options.scenes else None
    plays = [(scene, extra) for scene, extra in SCENES if not chosen or scene.__name__ in chosen]
    # They mostly wait for quiet: side by side.
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        ours = [pool.submit(play, scene, extra, options.program, options.lib) for scene, extra in plays]
        theirs = [
            pool.submit(play, scene, extra, options.program, None) if options.reference else None
            for scene, extra in plays
        ]
        for (scene, extra), mine, yours in zip(plays, ours, theirs):
            if options.show:
                print(scene.__name__, *shown(mine.result()), sep="\n")
            if yours:
                compare(scene, extra, mine.result(), yours.result(), options, report)
            else:
                report.check(f"scene {scene.__name__}", mine.result()[-1][1]["host"] == ["exit 0", None])


class Report:
    failures = 0

    def check(self, name, good, detail=""):
        self.failures += not good
        print(f"{'PASS' if good else 'FAIL'} {name}{f': {detail}' if detail else ''}", flush=True)


def has_reference():
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    return "libspice-server.so.1 " in listing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--lib", help="directory with libspice-server.so.1; the system's without")
    parser.add_argument("--scenes", help="only these")
    parser.add_argument("--show", action="store_true", help="what was seen at each step")
    parser.add_argument("--only", choices=["scenes", "stock", "rough", "rates"])
    parser.add_argument("--rounds", type=int, default=3, help="of --only rates, which is not part of a plain run")
    parser.add_argument("--megabytes", type=int, default=8, help="size of the file that the stock client sends")
    options = parser.parse_args()
    options.reference = has_reference()
    report = Report()
    if not options.reference:
        print("SKIPPED 1: the scenes are not compared, libspice-server1 is not installed")
    if options.only in (None, "scenes"):
        scenes(options, report)
    for name, part in (("stock", stock), ("rough", rough), ("rates", rates)):
        if options.only == name or (options.only is None and part is not rates):
            with tempfile.TemporaryDirectory() as where:
                part(options, where, report)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()

"""Several displays in stock QEMU: rings, screendumps, heads, pointers and what clients wish for.

The devices are driven over qtest (qxl_driver.py), so that the commands are real and known: what the client shows is
compared with QEMU's screendump and with a picture that the test paints itself. Each scenario yields
(name, what is wrong or None, detail, whether it was skipped); the last two may be missing.
"""
import os
import random
import shutil
import subprocess
import sys
import time

from desktop import Desktop, contains
from machine import HERE, Machine, client_environment, read_ppm
from qxl_driver import CLIENT_MONITORS_CHANGED, IO_DONE, Qtest, devices

sys.path.insert(0, os.path.join(HERE, "..", "clients"))
import pointers  # noqa: E402
from driver import Client  # noqa: E402

# Widths are multiples of 4 everywhere: QEMU 7.2 writes slanted screendumps of others.
SIZES = ((800, 600), (640, 480), (1024, 768), (720, 400))
SHARED_IMAGES = 12
# An agent's device whose guest side is open at once; without it clients do not say what they wish for.
AGENT = ["-chardev", "spicevmc,id=agent,name=vdagent", "-device", "isa-serial,chardev=agent"]


class Displays(Machine):
    """A machine with so many QXL devices, q0 being the VGA one, and their drivers."""

    def __init__(self, count, *arguments, options=""):
        command = []
        for number in range(count):
            command += ["-device", f"{'qxl-vga' if number == 0 else 'qxl'},id=q{number}{options}"]
        super().__init__(*command, *arguments, qtest=True)
        # The firmware gives the devices their addresses and then touches them no more.
        self.wait_still()
        self.devices = devices(Qtest(self.path("qtest")))
        if len(self.devices) != count:
            raise RuntimeError(f"{len(self.devices)} QXL devices found, {count} made")

    def start(self):
        for device, size in zip(self.devices, SIZES):
            device.start(*size)

    def settle(self):
        """Waits until the server has taken every command."""
        for device in self.devices:
            device.wait("the rings run empty", device.taken)

    def wrong_picture(self, client, number):
        """None if client, screendump and the painted picture of a display agree."""
        device = self.devices[number]
        wanted = device.width, device.height, device.rgb()
        dump = read_ppm(self.screendump(f"q{number}.ppm", device=f"q{number}", head=0))
        if dump != wanted:
            return f"screendump of q{number} is not what was drawn ({dump[:2]}, {wanted[:2]})"
        end = time.monotonic() + 8
        while True:
            shown = client.dump(self.path("client.ppm"), number)
            if shown and read_ppm(self.path("client.ppm")) == wanted:
                return None
            if time.monotonic() > end:
                return f"the client shows something else on display {number}"
            client.pump(0.1)


def draw_randomly(device, rng, shared):
    width, height = rng.randint(1, 90), rng.randint(1, 90)
    left, top = rng.randint(0, device.width - width), rng.randint(0, device.height - height)
    box = (left, top, left + width, top + height)
    what = rng.randint(0, 5)
    if what < 2:
        device.fill(box, rng.getrandbits(24))
    elif what == 2:
        device.copy(box, rng.randbytes(width * height * 4))
    elif what == 3:
        device.copy_bits(box, rng.randint(0, device.width - width), rng.randint(0, device.height - height))
    else:
        number = rng.randrange(len(shared))
        (width, height), pixels = shared[number]
        left, top = rng.randint(0, device.width - width), rng.randint(0, device.height - height)
        device.copy((left, top, left + width, top + height), pixels, number + 1)


def devices_draw():
    """Two and four devices draw side by side, with images of the same numbers; then one changes its mode."""
    for count in (2, 4):
        rng = random.Random(count)
        sizes = [(rng.randint(1, 64), rng.randint(1, 64)) for _ in range(SHARED_IMAGES)]
        shared = [(size, rng.randbytes(size[0] * size[1] * 4)) for size in sizes]
        with Displays(count) as machine:
            machine.start()

            def draw(commands):
                for _ in range(commands):
                    for device in machine.devices:
                        draw_randomly(device, rng, shared)
                machine.settle()

            draw(40)
            with Client(port=machine.port) as client:
                wrong = None if client.connected(displays=count) else "client not connected"
                draw(150)
                for number in range(count):
                    wrong = wrong or machine.wrong_picture(client, number)
                yield f"{count} devices draw", wrong, f"{190 * count} commands"
                machine.devices[-1].resize(500, 300)
                draw(40)
                wrong = None
                for number in range(count):
                    wrong = wrong or machine.wrong_picture(client, number)
                yield f"{count} devices, one in a new mode", wrong
            with Client(port=machine.port) as client:
                wrong = None if client.connected(displays=count) else "client not connected"
                for number in range(count):
                    wrong = wrong or machine.wrong_picture(client, number)
                yield f"{count} devices, a client that comes later", wrong
            if Machine.library:
                # Spice-server keeps commands until it has to draw them.
                left = []
                for device in machine.devices:
                    device.drain()
                    left.append(device.pushed - device.released)
                yield f"{count} devices, commands given back", None if not any(left) else f"kept {left}"


def heads_of(client, channel=0):
    """The heads that a client knows last: (x, y, width, height)."""
    known = client.seen("monitors", id=channel)
    return [tuple(head[2:]) for head in known[-1]["heads"]] if known else None


def wait_heads(client, wanted, channel=0):
    end = time.monotonic() + 8
    while heads_of(client, channel) != wanted and time.monotonic() < end:
        client.pump(0.1)
    known = heads_of(client, channel)
    return None if known == wanted else f"the client knows {known}, the guest said {wanted}"


def two_heads():
    """One device with two heads on one surface: the client knows both and shows each."""
    rng = random.Random(7)
    with Displays(1, options=",max_outputs=2") as machine:
        device = machine.devices[0]
        device.start(1000, 600)
        device.interrupts(IO_DONE)
        with Client(port=machine.port) as client:
            wrong = None if client.connected() else "client not connected"
            device.monitors([(0, 0, 600, 600, 0, 0), (1, 0, 400, 500, 600, 0)], 2)
            wrong = wrong or wait_heads(client, [(0, 0, 600, 600), (600, 0, 400, 500)])
            yield "two heads of one device", wrong
            for _ in range(60):
                draw_randomly(device, rng, [((8, 8), bytes(256))])
            machine.settle()
            wrong = machine.wrong_picture(client, 0)
            yield "two heads of one device, their picture", wrong
            device.monitors([(0, 0, 600, 600, 0, 0), (1, 0, 0, 0, 0, 0)], 2)
            yield "the second head off", wait_heads(client, [(0, 0, 600, 600)])
        with Client(port=machine.port) as client:
            wrong = None if client.connected() else "client not connected"
            yield "heads for a client that comes later", wrong or wait_heads(client, [(0, 0, 600, 600)])


def pointer_types():
    """Every type of pointer through the cursor ring of a second device, pixel for pixel in a stock client."""
    rng = random.Random(5)
    with Displays(2) as machine:
        machine.start()
        device = machine.devices[1]
        with Client(port=machine.port) as client:
            wrong = None if client.connected(displays=2) else "client not connected"
            # A shape before INIT would be part of it; a movement is heard of only afterwards.
            for x in range(1, 40):
                device.cursor_move(x, 1)
                if client.wait("cursor-move", 0.3, id=1, x=x, y=1):
                    break
            shapes = 0
            unique = 100
            for kind in pointers.TYPES:
                if not Machine.library and kind in (pointers.COLOR8, pointers.COLOR24):
                    continue  # spice-server sends them as they are, and clients show their own pointer
                for size in pointers.SIZES:
                    unique += 1
                    hot = size[0] // 2, size[1] // 3
                    data = pointers.random_shape(rng, kind, size)
                    for turn in ("", " from the cache"):
                        device.cursor_set(unique, kind, size, hot, data)
                        event = client.wait("cursor-set", 8, id=1)
                        wanted = {"width": size[0], "height": size[1], "hot_x": hot[0], "hot_y": hot[1]}
                        wanted["sha256"] = pointers.digest(kind, size, data)
                        shapes += 1
                        if not wrong and (not event or any(event[key] != wanted[key] for key in wanted)):
                            wrong = f"{pointers.NAMES[kind]} {size}{turn}: {event}, wanted {wanted}"
                        # Another one in between, so that the next one is told.
                        device.cursor_hide()
                        if not client.wait("cursor-hide", 8, id=1):
                            wrong = wrong or "hiding did not arrive"
            device.cursor_move(-3, 77)
            if not client.wait("cursor-move", 8, id=1, x=-3, y=77):
                wrong = wrong or "a movement did not arrive"
            yield "pointers of every type", wrong, f"{shapes} shapes"


def wish(client, text):
    client.send("monitors", "raw", text)
    told = client.wait("wished", 8)
    return bool(told and told["sent"])


def client_wishes():
    """What a client's user wishes for is in every device's ROM, with an interrupt; the driver follows and is shown."""
    with Displays(2, *AGENT, options=",max_outputs=2") as machine:
        machine.start()

        def listen():
            for device in machine.devices:
                device.interrupts(IO_DONE | CLIENT_MONITORS_CHANGED)

        if not Machine.library:
            listen()  # spice-server asks when a client comes, and does not learn of drivers that load later
        with Client(port=machine.port) as client:
            wrong = None if client.connected(displays=2) else "client not connected"
            if Machine.library:
                sent = wish(client, "640x480+0+0 800x600+640+0")
                # A round trip through main loop and main channel: what the wish could do, it has done.
                machine.qmp.ask("query-spice")
                client.state()
                before = [device.client_monitors()[1] for device in machine.devices]
                wrong = wrong or (None if sent and not any(before) else f"sent {sent}, ROM {before}")
                yield "a wish that no driver takes", wrong
                listen()
            for heads in (
                [(0, 0, 640, 480), (640, 0, 800, 600)],
                [(800, 0, 640, 480), (0, 100, 800, 600)],
                [(0, 0, 1280, 720)],
            ):
                words = [f"{w}x{h}+{x}+{y}" for x, y, w, h in heads] + ["0x0+0+0"] * (2 - len(heads))
                sent = wish(client, " ".join(words))
                wrong = None if sent else "the client did not send it"
                for number, device in enumerate(machine.devices):
                    end = time.monotonic() + 8
                    while device.client_monitors() != (True, heads) and time.monotonic() < end:
                        client.pump(0.05)
                    if device.client_monitors() != (True, heads):
                        wrong = wrong or f"ROM of q{number}: {device.client_monitors()}"
                    elif not device.pending() & CLIENT_MONITORS_CHANGED:
                        wrong = wrong or f"q{number} has no interrupt"
                    device.interrupts(IO_DONE | CLIENT_MONITORS_CHANGED)
                # The first device's driver follows: a surface for all, and its heads as wished.
                device = machine.devices[0]
                device.resize(max(x + w for x, _, w, _ in heads), max(y + h for _, y, _, h in heads))
                device.monitors([(i, 0, w, h, x, y) for i, (x, y, w, h) in enumerate(heads)], 2)
                for index, (x, y, w, h) in enumerate(heads):
                    device.fill((x, y, x + w, y + h), 0x204060 * (index + 1))
                machine.settle()
                wrong = wrong or wait_heads(client, heads) or machine.wrong_picture(client, 0)
                yield f"a wish for {' '.join(words)}", wrong


# ---- windows


def crop(picture, box, path):
    """A part (x, y, width, height) of a painted picture as a file."""
    width, _, rgb = picture
    x, y, w, h = box
    with open(path, "wb") as file:
        file.write(b"P6\n%d %d\n255\n" % (w, h))
        for row in range(y, y + h):
            file.write(rgb[(row * width + x) * 3 : (row * width + x + w) * 3])
    return path


def spread(environment, places):
    """Moves the viewer's windows beside each other: without a window manager they lie on top of each other."""
    search = ["xdotool", "search", "--onlyvisible", "--class", "remote-viewer"]
    found = subprocess.run(search, env=environment, capture_output=True, text=True).stdout.split()
    for window, (x, y) in zip(sorted(found, key=int), places):
        subprocess.run(["xdotool", "windowmove", window, str(x), str(y)], env=environment, capture_output=True)


def shown_in_windows(machine, parts, places):
    """None if a viewer's windows show every part unscaled."""
    with Desktop() as desktop:
        environment = client_environment(desktop.display)
        environment["GDK_BACKEND"] = "x11"
        viewer = subprocess.Popen(
            ["remote-viewer", f"spice://127.0.0.1:{machine.port}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        missing = list(parts)
        end = time.monotonic() + 40
        while missing and time.monotonic() < end:
            time.sleep(0.5)
            spread(environment, places)
            desktop.shot(machine.path("root.ppm"))
            missing = [part for part in missing if not contains(machine.path("root.ppm"), part)]
        viewer.kill()
        viewer.wait()
    return f"not on the desktop: {[os.path.basename(part) for part in missing]}" if missing else None


def windows():
    """remote-viewer has a window for every display and head, with its picture in it."""
    if not all(shutil.which(program) for program in ("Xvfb", "import", "xdotool", "remote-viewer")):
        yield "windows", None, "needs Xvfb, imagemagick, xdotool and virt-viewer", True
        return
    rng = random.Random(9)
    shared = [((30, 20), rng.randbytes(2400))]
    places = (0, 0), (640, 0), (0, 480), (640, 480)
    with Displays(4) as machine:
        for device, size in zip(machine.devices, ((520, 330), (400, 340), (448, 300), (420, 310))):
            device.start(*size)
            for _ in range(80):
                draw_randomly(device, rng, shared)
        machine.settle()
        dumps = [machine.screendump(f"q{n}.ppm", device=f"q{n}", head=0) for n in range(4)]
        yield "four devices in four windows", shown_in_windows(machine, dumps, places)
    with Displays(1, options=",max_outputs=2") as machine:
        device = machine.devices[0]
        device.start(900, 340)
        device.interrupts(IO_DONE)
        heads = (0, 0, 500, 340), (500, 0, 400, 320)
        device.monitors([(i, 0, w, h, x, y) for i, (x, y, w, h) in enumerate(heads)], 2)
        for _ in range(150):
            draw_randomly(device, rng, shared)
        machine.settle()
        dump = read_ppm(machine.screendump("q0.ppm", device="q0", head=0))
        parts = [crop(dump, head, machine.path(f"head{n}.ppm")) for n, head in enumerate(heads)]
        yield "two heads in two windows", shown_in_windows(machine, parts, places)


SCENARIOS = [devices_draw, two_heads, pointer_types, client_wishes, windows]

"""What compare_devices.py plays on the port of a streaming agent, as device_scripts does on others."""
import struct

from device_scripts import DIFFERENT, script
from relay import CURSOR, DISPLAY

DIFFERENT.update({
    ("stream_pointers", "32 bits"): "a shape comes with the place where the pointer is",
    ("stream_pointers", "a new shape"): "as above",
})
INIT = struct.pack("<BqBi", 1, 10 << 20, 0, 0)
MONITORS, REPORT, MULTI = 1 << 1, 1 << 4, 1 << 8
MJPEG, VP8, H264, VP9, H265 = 1 << 9, 1 << 10, 1 << 11, 1 << 13, 1 << 14
STOCK = MONITORS | REPORT | MULTI | MJPEG | VP9 | H265


def message(kind, body=b"", size=None, version=1):
    return struct.pack("<BBHI", version, 0, kind, len(body) if size is None else size) + body


def form(width, height, codec):
    return message(2, struct.pack("<IIB3x", width, height, codec))


def frame(data):
    return message(3, data)


def pointer(width, height, kind, data, hot=(0, 0)):
    return message(6, struct.pack("<4HB3x", width, height, *hot, kind) + data)


def say(s, *messages, parts=1):
    """The guest says these; the host wakes as often as it takes with a server that reads once in a call."""
    data = b"".join(messages)
    step = -(-len(data) // parts)
    for at in range(0, len(data), step):
        s.tell(f"give s {data[at : at + step].hex()}")
        s.tell(*["wake s"] * 6)


def viewer(s, name="d", caps=STOCK, main=None):
    display = s.link(name, DISPLAY, 0, caps, main)
    s.step(f"{name} links")
    display.send(101, INIT)
    s.step(f"{name} begins")
    return display


def opened(s):
    s.tell("add s port org.spice-space.stream.0")
    s.connect()
    s.step("list")
    s.tell("event s 0")
    s.step("opened")


@script()
def stream_life(s):
    s.tell("add s port org.spice-space.stream.0")
    s.step("added")
    s.tell("event s 0")
    s.step("opened")
    s.connect()
    s.step("list")
    display = viewer(s)
    s.link("c", CURSOR, 0)
    s.step("pointer")
    say(s, message(1, b"\1"))
    s.step("capabilities")
    say(s, form(320, 240, 1))
    s.step("format")
    say(s, frame(b"first frame"))
    say(s, frame(b"second" * 20), parts=3)
    s.settle()
    s.tell(*["wake s"] * 6)
    s.step("frames")
    say(s, form(320, 240, 4), frame(b"vp9"))
    s.step("another codec")
    say(s, form(64, 48, 1), frame(b"small"))
    s.step("another size")
    display.send(102, struct.pack("<6IiI", 1, 1, 0, 0, 5, 0, 0, 0xFFFFFFFF))
    display.send(103, b"\2")
    display.send(105, b"\1\4")
    s.step("wishes")
    s.tell("event s 1")
    s.step("closed")
    s.tell("event s 0")
    s.step("opened again")
    say(s, form(64, 48, 1), frame(b"again"))
    s.step("stream again")
    display.close()
    s.step("the last one goes")


@script()
def stream_codecs(s):
    opened(s)
    first = viewer(s, "d", MONITORS | MULTI | MJPEG | VP8 | H264)
    first.close()
    s.step("gone")
    second = viewer(s, "plain", 0)
    second.close()
    s.step("gone as well")
    third = viewer(s, "all", STOCK | VP8 | H264)
    say(s, form(16, 16, 2))
    s.step("format")
    third.close()
    s.step("the end")


@script()
def stream_late(s):
    opened(s)
    say(s, form(32, 16, 4), frame(b"nobody"))
    s.step("a stream without a client")
    viewer(s)
    say(s, form(32, 16, 4), frame(b"anew"))
    s.step("the guest begins anew")


def removed_well(steps):
    names = [name for name, _, _ in steps]
    seen = {name: seen for name, _, seen in steps}
    ended = any("THE HOST" in line for _, lines, _ in steps for line in lines)
    wrong = [] if names[-1] == "back" and not ended else names
    if "122 " not in str(seen["d links"]):
        wrong.append("a client that joins pictures does not see them")
    if "closed" not in str(seen["removed"]):
        wrong.append("the display outlives its device")
    return "; ".join(wrong) or None


@script(alone=True, check=removed_well)
def stream_removed(s):
    """spice-server's process ends here."""
    opened(s)
    say(s, form(32, 16, 1))
    s.step("a stream of pictures without a client")
    viewer(s)
    s.tell("remove s")
    s.step("removed")
    s.tell("add s port org.spice-space.stream.0", "event s 0")
    s.step("back")


@script()
def stream_pointers(s):
    opened(s)
    cursor = s.link("c", CURSOR, 0)
    s.step("pointer links")
    say(s, pointer(2, 2, 0, bytes(range(16)), (1, 1)))
    s.step("alpha")
    say(s, message(7, struct.pack("<ii", 100, -7)))
    s.step("moves")
    say(s, pointer(4, 2, 6, bytes(range(32)) + b"\xf0"))
    s.step("32 bits")
    say(s, message(7, struct.pack("<ii", 30000, 12)), message(7, struct.pack("<ii", 5, 6)))
    s.step("moves twice")
    s.tell("event s 1")
    s.step("closed")
    s.tell("event s 0")
    s.step("opened again")
    say(s, pointer(2, 2, 0, bytes(16)))
    s.step("a new shape")
    cursor.close()
    s.step("gone")
    s.link("late", CURSOR, 0)
    s.step("a late one")


def broken(name, *messages):
    """A script in which the guest breaks the protocol."""

    def play(s):
        opened(s)
        viewer(s)
        say(s, *messages)
        s.step("broken")
        say(s, form(16, 16, 1))
        s.step("not heard")
        s.tell("event s 1")
        s.step("closed")
        s.tell("event s 0")
        s.step("opened again")
        say(s, form(16, 16, 1))
        s.step("heard")

    play.__name__ = f"stream_broken_{name}"
    # The original says so again at each wakeup until the port is closed.
    play.once = r". state 0$"
    return script()(play)


broken("type", message(9))
broken("type_0", message(0))
broken("start", message(4, b"\0"))
broken("format", message(2, b"x" * 11))
broken("frame", message(3, b"", size=(32 << 20) + 1))
broken("capabilities", message(1, b"", size=1025))
broken("pointer", message(6, b"x" * 11))
broken("pointer_type", pointer(2, 2, 1, bytes(4)))
broken("pointer_size", pointer(2, 2, 0, bytes(15)))
broken("pointer_large", pointer(1025, 1, 0, bytes(4100)))
broken("move", message(7, b"x" * 7))
broken("info", message(8, b"", size=300))


@script()
def stream_strange(s):
    opened(s)
    viewer(s)
    say(s, message(8, struct.pack("<III", 0, 0, 5) + b"pci\0"))
    s.step("lengths that contradict each other")
    say(s, message(8, struct.pack("<III", 0, 3, 14) + b"pci/0000/02.0\0"))
    s.step("hardware")
    say(s, frame(b"no stream"))
    s.step("a frame without a stream")
    say(s, message(2, struct.pack("<IIB3x", 16, 16, 1), version=9))
    s.step("another version")


@script()
def two_streams(s):
    s.tell("add s port org.spice-space.stream.0", "add t port org.spice-space.stream.0")
    s.step("added")
    s.connect()
    s.step("list")
    s.tell("event t 0", "event s 0")
    s.step("opened")
    s.tell("remove s", "remove t")
    s.step("removed")

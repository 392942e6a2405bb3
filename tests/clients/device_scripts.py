"""What compare_devices.py plays: each function is a script; a step ends with what host and clients saw in it."""
import struct

from device_session import (
    COMPRESSED,
    DATA,
    LZ4_CAP,
    PORT,
    PORT_EVENT,
    SMARTCARD,
    USBREDIR,
    WEBDAV,
    compressed,
    shown,
)

SCRIPTS, ALONE = [], []
# (script, step): why it is not as on spice-server.
DIFFERENT = {
    ("not_polled", "event"): "whatever comes for a device tries again what waits for it",
    ("strange_devices", "unknown, twice"): "an instance that is added twice is refused: removed once it would still be there",
    ("strange_devices", "list"): "as above",
}


def script(alone=False, tcp=False, reads=False, check=None):
    def mark(function):
        function.tcp, function.reads, function.check = tcp, reads, check
        (ALONE if alone else SCRIPTS).append(function)
        return function

    return mark


@script(reads=True)
def port(s):
    s.tell("add p port org.test.0", "give p 0102", "wake p")
    s.step("nobody is read for")
    s.connect()
    s.step("list")
    p = s.link("p", PORT)
    s.step("init, read, state")
    s.tell("give p 03", "wake p")
    s.step("device to client")
    p.send(DATA, b"hello")
    s.step("client to device")
    for event in (0, 2, 77, 1):
        s.tell(f"event p {event}")
        s.step(f"event {event} of the host")
    for event in (0, 1, 2, 77, 255):
        p.send(PORT_EVENT, bytes([event]))
        s.step(f"event {event} of the client")
    s.tell("event p 0")
    s.step("opened")
    p.close()
    s.step("client gone")
    s.tell("event p 1", "event p 0", "give p 04", "wake p")
    s.step("between clients")
    p = s.link("p2", PORT)
    s.step("the second client hears that it is open")
    s.tell("remove p")
    s.step("removed")
    s.tell("add p port org.test.1")
    s.step("back under the same number")
    p = s.link("p3", PORT)
    p.send(DATA, b"again")
    s.step("works again")


@script()
def several_devices(s):
    s.tell("add a usbredir -", "add b usbredir -", "add w port org.spice-space.webdav.0", "add p port x", "add q port y")
    s.connect()
    s.step("list")
    links = [s.link(name, kind, number) for name, kind, number in
             [("a", USBREDIR, 0), ("b", USBREDIR, 1), ("w", WEBDAV, 0), ("p", PORT, 0), ("q", PORT, 1)]]
    s.step("linked")
    for device in "abwpq":
        s.tell(f"give {device} {ord(device):02x}{ord(device):02x}", f"wake {device}")
    s.step("devices speak")
    for link in links:
        link.send(DATA, link.name.encode() * 3)
        s.step(f"client speaks to {link.name}")
    s.tell("remove a")
    s.step("the first goes")
    s.tell("add c usbredir -")
    s.step("its number is free")
    s.tell("add d usbredir -")
    s.step("the next number")
    s.link("c", USBREDIR, 0)
    s.step("linked again")
    s.link("nothing", USBREDIR, 9)
    s.step("no such channel")
    s.tell("remove b", "remove c", "remove d", "remove w", "remove p", "remove q")
    s.step("all go")


@script()
def second_link(s):
    s.tell("add a usbredir -")
    s.connect()
    first = s.link("first", USBREDIR)
    s.step("first")
    s.link("second", USBREDIR)
    s.step("second")
    first.send(DATA, b"still here")
    s.step("the first one writes")
    s.tell("give a 0102", "wake a")
    s.step("and hears")


@script()
def partial_writes(s):
    s.tell("add a usbredir -")
    s.connect()
    a = s.link("a", USBREDIR)
    s.step("linked")
    s.tell("take a 0")
    s.step("nothing is taken")
    a.send(DATA, b"0123456789")
    a.send(DATA, b"abcdef")
    s.step("sent")
    s.tell("take a 4", "wake a")
    s.step("a part")
    s.tell("take a 7", "wake a")
    s.step("over the end of the first")
    s.tell("take a -1", "most a 2", "wake a")
    s.step("in small bites")


@script(reads=True)
def answer_inside_a_write(s):
    s.tell("add a usbredir -")
    s.connect()
    a = s.link("a", USBREDIR)
    s.step("linked")
    s.tell("answer a 0a0b")
    s.step("prepared")
    a.send(DATA, b"question")
    s.step("answered")


@script()
def many_small_messages(s):
    """More than the 128 that a client may have on the way: all arrive, in order."""
    s.tell("add a usbredir -")
    s.connect()
    a = s.link("a", USBREDIR)
    s.tell("take a 0")
    s.step("linked")
    a.send_all(DATA, [struct.pack("<IIH", i, i * 7, i) for i in range(400)])
    s.step("all sent")
    s.tell("take a -1", "wake a")
    s.step("all arrive", quiet=0.3)


def polled(s, minor, flags):
    s.tell(f"add a port name {minor} {flags}")
    s.connect()
    a = s.link("a", PORT)
    s.step("linked")
    s.tell("take a 0")
    s.step("blocked")
    a.send(DATA, b"0123")
    s.step("sent")
    s.tell("take a -1")
    s.step("taken without a call", quiet=0.3)
    a.send(PORT_EVENT, b"\2")
    s.step("event")


@script()
def polled_without_flag(s):
    polled(s, 3, 0)


@script()
def polled_minor_2(s):
    polled(s, 2, 1)


@script()
def polled_minor_1(s):
    polled(s, 1, 1)


@script()
def not_polled(s):
    polled(s, 3, 1)


@script(reads=True)
def stopped_machine(s):
    s.tell("add a usbredir -", "add p port n")
    s.connect()
    a, p = s.link("a", USBREDIR), s.link("p", PORT)
    s.step("linked")
    s.tell("start", "stop")
    s.step("stopped")
    s.tell("give a 0102", "wake a")
    a.send(DATA, b"for later")
    s.step("nothing moves")
    s.tell("event p 0")
    s.step("events pass")
    p.send(PORT_EVENT, b"\2")
    s.step("both ways")
    s.tell("start")
    s.step("all moves")
    s.tell("stop")
    s.step("stopped again")
    a.close()
    s.step("client leaves a stopped machine")
    a = s.link("a2", USBREDIR)
    s.step("client comes to a stopped machine")
    s.tell("give a 03", "wake a", "start")
    s.step("started")
    a.send(DATA, b"x")
    s.step("runs")


@script()
def stopped_before_the_first_start(s):
    s.tell("stop", "add a usbredir -")
    s.connect()
    a = s.link("a", USBREDIR)
    a.send(DATA, b"x")
    s.step("linked")
    s.tell("start")
    s.step("started")


@script(tcp=True)
def compression(s):
    s.tell("add a usbredir -", "add p port n")
    s.connect()
    a, p = s.link("a", USBREDIR, caps=LZ4_CAP), s.link("p", PORT)
    s.step("linked")
    for size in (999, 1000, 1001, 5000, 60000):
        for device in "ap":
            s.tell(f"give {device} {'5a' * size}", f"wake {device}")
        s.step(f"{size} bytes")
    s.tell(f"give a {bytes((i * i * 31 + i // 7) % 256 for i in range(3000)).hex()}", "wake a")
    s.step("3000 bytes of little order")
    # Not 0: spice-server then waits for ever for the device to take nothing.
    for size in (1, 13, 1000, 100_000):
        a.send(COMPRESSED, compressed(b"q" * size))
        s.step(f"compressed {size}")
    p.send(COMPRESSED, compressed(b"without the capability"))
    s.step("compressed without the capability")


@script()
def no_compression_on_unix_sockets(s):
    s.tell("add a usbredir -")
    s.connect()
    s.link("a", USBREDIR, caps=LZ4_CAP)
    s.step("linked")
    s.tell(f"give a {'00' * 5000}", "wake a")
    s.step("5000 bytes")


def each_message(s, kind, subtype, messages):
    s.tell(f"add a {subtype}")
    s.connect()
    s.step("list")
    for name, message, body in messages:
        link = s.link("a", kind)
        s.step(f"{name}: linked")
        link.send(message, body)
        s.step(name)
        link.send(DATA, b"alive?" if kind != SMARTCARD else card(7, 0, b"alive?"))
        s.step(f"{name}: after it")
        link.close()
        s.step(f"{name}: closed")


@script()
def sizes_of_messages(s):
    block = compressed(b"x" * 100)
    each_message(s, PORT, "port n", [
        ("data 0", DATA, b""),
        ("data 1", DATA, b"x"),
        ("event 0 bytes", PORT_EVENT, b""),
        ("event 2 bytes", PORT_EVENT, b"\0\0"),
        ("compressed 0 bytes", COMPRESSED, b""),
        ("compressed 1 byte", COMPRESSED, b"\1"),
        ("compressed 4 bytes", COMPRESSED, b"\1\0\0\0"),
        ("compressed 5 bytes", COMPRESSED, b"\1\0\0\0\0"),
        ("compression none", COMPRESSED, b"\0hello"),
        ("compression 2", COMPRESSED, b"\2" + block[1:]),
        ("one byte less", COMPRESSED, compressed(b"x" * 100, 99)),
        ("one byte more", COMPRESSED, compressed(b"x" * 100, 101)),
        ("cut block", COMPRESSED, block[:-1]),
        ("no block", COMPRESSED, b"\1\x64\0\0\0" + b"\xff" * 20),
        ("unknown 103", 103, b"x"),
        ("unknown 202", 202, b"x"),
        ("unknown 65535", 65535, b""),
        ("disconnecting", 6, struct.pack("<QI", 0, 0)),
    ])


@script(alone=True)
def largest_messages(s):
    s.tell("add a usbredir -", "quiet a 1", "quiet a 1")
    s.connect()
    for name, message, body in [
        ("data 1 MiB", DATA, bytes(1 << 20)),
        ("data 1 MiB and 1", DATA, bytes((1 << 20) + 1)),
        ("1 MiB of zeros", COMPRESSED, compressed(bytes(1 << 20))),
        ("1 MiB and 1 of zeros", COMPRESSED, compressed(bytes((1 << 20) + 1))),
        ("2 GiB announced", COMPRESSED, struct.pack("<BI", 1, 1 << 31) + b"\0" * 10),
        ("4 GiB announced", COMPRESSED, struct.pack("<BI", 1, 0xffffffff) + b"\0" * 10),
    ]:
        link = s.link("a", USBREDIR)
        link.send(message, body)
        s.step(name, quiet=0.2)
        link.close()
        s.step("closed")


def closed_in(steps):
    return [name for name, _, seen in steps if any("closed" in log for log in seen.values())]


largest_messages.check = lambda steps: (
    None if closed_in(steps) == ["data 1 MiB and 1", "1 MiB and 1 of zeros", "2 GiB announced", "4 GiB announced"]
    else f"closed in {closed_in(steps)}"
)


@script(alone=True)
def wakeups_in_callbacks(s):
    """spice-server never comes back from a write that wakes the device each time."""
    s.tell("add a usbredir -", "rewake a 3")
    s.connect()
    a = s.link("a", USBREDIR)
    s.step("linked")
    s.tell("give a 01", "give a 02", "wake a", "wake a")
    s.step("read")
    a.send(DATA, b"xyz")
    s.tell("most a 1")
    a.send(DATA, b"abc")
    s.step("written")


wakeups_in_callbacks.check = lambda steps: (
    None
    if steps[1][2] == {"a": ["101 01", "101 02"]}
    and "".join(line[8:] for line in steps[2][1] if line.startswith("a write")) == b"xyzabc".hex()
    else f"{steps}"
)


@script(alone=True)
def removed_in_its_read(s):
    """spice-server uses the device after it is gone when a client is attached."""
    s.tell("add a usbredir -")
    s.connect()
    s.link("a", USBREDIR)
    s.step("linked")
    s.tell("leave a", "give a 01", "wake a")
    s.step("leaves")
    s.tell("add a usbredir -")
    s.step("comes back")
    s.link("a2", USBREDIR).send(DATA, b"new")
    s.step("works")


removed_in_its_read.check = lambda steps: (
    None if "a leaves 0" in steps[1][1] and steps[3][1][-1] == "a write 6e6577" else f"{steps}"
)


@script()
def strange_devices(s):
    s.tell("add u nothing -", "remove u", "add a usbredir -", "add a usbredir -")
    s.step("unknown, twice")
    s.tell("wake u", "event u 1")
    s.step("calls for one that is not there")
    s.tell("remove a", "remove a")
    s.step("removed twice")
    s.connect()
    s.step("list")


@script(alone=True)
def port_without_a_name(s):
    s.tell("add p port -")
    s.connect()
    s.step("list")


port_without_a_name.check = lambda steps: None if steps[0][1] == ["added p 0 st 0"] else f"{steps}"


@script(alone=True)
def data_for_who_left(s):
    """spice-server dies here: the rest of what had begun belongs to a client that is freed."""
    s.tell("add a usbredir -", "take a 3")
    s.connect()
    a = s.link("a", USBREDIR)
    s.step("linked")
    s.tell("take a 3")
    s.step("little")
    a.send(DATA, b"01234")
    a.send(DATA, b"56789")
    s.step("a part is written")
    a.close()
    s.step("left")
    s.tell("take a -1", "wake a")
    s.step("what had begun goes on")
    b = s.link("b", USBREDIR)
    b.send(DATA, b"next")
    s.step("next client")


data_for_who_left.check = lambda steps: (
    None
    if [line for _, lines, _ in steps for line in lines if "write" in line]
    == ["a write 303132", "a write 3334", "a write 6e657874"]
    else f"{steps}"
)


# Smartcards.

INIT, ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU, FLUSH, FLUSH_COMPLETE = range(1, 10)
NONE = 0xffffffff


def card(kind, reader, data=b"", length=None):
    return struct.pack("<III", kind, reader, len(data) if length is None else length) + data


def device_card(kind, reader, data=b""):
    return (struct.pack(">III", kind, reader, len(data)) + data).hex()


@script(reads=True)
def smartcard_session(s):
    s.tell("add c smartcard -")
    s.step("added")
    s.tell(f"give c {device_card(INIT, NONE, bytes(4) + b'QEMU')}", "wake c")
    s.step("init of the device")
    s.connect()
    s.step("list")
    c = s.link("c", SMARTCARD)
    s.step("linked")
    for name, message, answer in [
        ("reader in", card(READER_ADD, NONE, b"my reader"), device_card(ERROR, 0, struct.pack(">I", 0))),
        ("card in", card(ATR, 0, b"\x3b" * 20), device_card(ERROR, 0, struct.pack(">I", 0))),
        ("command", b"", device_card(APDU, 0, b"\0\xa4\4\0")),
        ("answer", card(APDU, 0, b"\x90\0"), None),
        ("long answer", card(APDU, 0, bytes(range(256))), device_card(APDU, 0, bytes(range(255)))),
        ("error of the card", card(ERROR, 0, struct.pack("<I", 1)), None),
        ("card out", card(CARD_REMOVE, 0), device_card(ERROR, 0, struct.pack(">I", 0))),
        ("reader out", card(READER_REMOVE, 0), device_card(ERROR, 0, struct.pack(">I", 0))),
        ("reader again", card(READER_ADD, NONE, b""), device_card(ERROR, NONE, struct.pack(">I", 2))),
    ]:
        if message:
            c.send(DATA, message)
        s.step(f"{name}: client")
        if answer:
            s.tell(f"give c {answer}", "wake c")
        s.step(f"{name}: device")
    c.close()
    s.step("client gone")
    c = s.link("c2", SMARTCARD)
    s.step("next client")
    c.close()
    s.step("gone without a reader")
    s.tell("remove c")
    s.step("removed")


@script()
def smartcard_cut_anywhere(s):
    s.tell("add c smartcard -")
    s.connect()
    s.link("c", SMARTCARD)
    s.step("linked")
    whole = device_card(APDU, 0, b"abc")
    s.tell(f"give c {whole[:14]}", "wake c")
    s.step("7 bytes")
    s.tell(f"give c {whole[14:]}", "wake c")
    s.step("the rest")
    s.tell(f"give c {whole}{device_card(ATR, 3, b'x')}", "wake c")
    s.step("two at once")
    long = device_card(APDU, 0, bytes(i % 251 for i in range(270)))
    s.tell(f"give c {long[:200]}", "wake c", f"give c {long[200:]}", "wake c", "wake c", "wake c")
    s.step("the longest APDU in two reads")
    for kind in (READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU, FLUSH, FLUSH_COMPLETE, 77, 0):
        s.tell(f"give c {device_card(kind, 5, b'zz')}", "wake c")
        s.step(f"type {kind} of the device")


@script(alone=True)
def smartcard_long_device_message(s):
    """spice-server writes beyond its buffer of 282 bytes here, and dies of it at the end."""
    s.tell("add c smartcard -")
    s.connect()
    s.link("c", SMARTCARD)
    s.step("linked")
    for size in (271, 700, 40_000):
        data = bytes(i % 251 for i in range(size))
        whole = device_card(APDU, 0, data)
        s.tell(f"give c {whole[:400]}", f"give c {whole[400:]}", "wake c")
        s.step(shown(DATA, card(APDU, 0, data)))


smartcard_long_device_message.check = lambda steps: (
    None if all(seen == {"c": [name]} for name, _, seen in steps[1:]) else f"{steps}"
)


@script()
def smartcard_out_of_order(s):
    s.tell("add c smartcard -")
    s.connect()
    c = s.link("c", SMARTCARD)
    s.step("linked")
    for name, message in [
        ("remove before add", card(READER_REMOVE, 0)),
        ("remove unknown", card(READER_REMOVE, 7)),
        ("apdu before add", card(APDU, 0, b"a")),
        ("atr before add", card(ATR, 0, b"a")),
        ("error before add", card(ERROR, 0, bytes(4))),
        ("card remove before add", card(CARD_REMOVE, 0)),
        ("init", card(INIT, NONE, bytes(8))),
        ("add", card(READER_ADD, NONE, b"n")),
        ("add twice", card(READER_ADD, NONE, b"n")),
        ("add with an id", card(READER_ADD, 0, b"")),
        ("flush", card(FLUSH, 0)),
        ("flush complete", card(FLUSH_COMPLETE, 0)),
        ("unknown", card(99, 0, b"abc")),
        ("length less than the body", card(APDU, 0, b"abcdef", 3)),
        ("no data", card(APDU, 0)),
        ("remove", card(READER_REMOVE, 0)),
        ("remove twice", card(READER_REMOVE, 0)),
        ("apdu after remove", card(APDU, 0, b"b")),
        ("add again", card(READER_ADD, NONE)),
    ]:
        c.send(DATA, message)
        s.step(name)
    c.send(DATA, card(APDU, 1, b"x"))
    s.step("no such reader")
    for kind in (ERROR, ATR, CARD_REMOVE):
        link = s.link(f"k{kind}", SMARTCARD)
        link.send(DATA, card(kind, 1, b"x"))
        s.step(f"no such reader, type {kind}")


@script()
def smartcard_second_link(s):
    s.tell("add c smartcard -")
    s.connect()
    c = s.link("c", SMARTCARD)
    s.step("first")
    s.link("d", SMARTCARD)
    s.step("second")
    c.send(DATA, card(READER_ADD, NONE, b"n"))
    s.step("the first one works")


@script()
def smartcard_other_messages(s):
    each_message(s, SMARTCARD, "smartcard -", [
        ("unknown 102", 102, b"x" * 12),
        ("unknown 201", 201, b"x"),
    ])


@script(alone=True)
def smartcard_sizes(s):
    s.tell("add c smartcard -")
    s.connect()
    for name, body in [
        ("11 bytes", card(APDU, 0)[:11]),
        ("12 bytes", card(APDU, 0)),
        ("one byte missing", card(APDU, 0, b"ab", 3)),
        ("much missing", card(APDU, 0, b"ab", 0x7fffffff)),
        ("all missing", card(ATR, 0, b"", 0xffffffff)),
        ("1 MiB", card(APDU, 0, bytes((1 << 20) - 12))),
        ("1 MiB and 1", card(APDU, 0, bytes((1 << 20) - 11))),
    ]:
        link = s.link("c", SMARTCARD)
        link.send(DATA, body)
        s.step(name, quiet=0.2)
        link.close()
        s.step("closed")


smartcard_sizes.check = lambda steps: (
    None
    if closed_in(steps) == ["11 bytes", "one byte missing", "much missing", "all missing", "1 MiB and 1"]
    else f"closed in {closed_in(steps)}"
)


@script(alone=True)
def smartcard_length_of_a_device(s):
    """A device that announces more than 64 KiB: nothing of it is kept, the host and others go on."""
    s.tell("add c smartcard -", "add a usbredir -")
    s.connect()
    c, a = s.link("c", SMARTCARD), s.link("a", USBREDIR)
    s.tell(f"give c {struct.pack('>III', APDU, 0, 0x10001).hex()}00", "wake c")
    s.step("announced")
    for _ in range(20):
        s.tell(f"give c {'00' * 4000}", "wake c")
    s.step("goes on")
    c.send(DATA, card(APDU, 0, b"x"))
    a.send(DATA, b"y")
    s.step("others")


smartcard_length_of_a_device.check = lambda steps: (
    None if not steps[1][2] and steps[2][1][-2:] in (["c write " + device_card(APDU, 0, b"x"), "a write 79"],
                                                     ["a write 79", "c write " + device_card(APDU, 0, b"x")])
    else f"{steps}"
)


# Several readers. spice-server ends the process when the second one is added (`second_reader_of_the_original` in check_devices.py), so
# there is nothing to compare with; each step says what has to be seen.


def expected(*wanted):
    """A check: (name, lines of the host, messages of the client) of each step; reads do not count."""
    def check(steps):
        for (name, lines, seen), want in zip(steps, wanted, strict=True):
            lines = [line for line in lines if " read " not in line and not line.startswith("woken")]
            got = (name, lines, [entry for log in seen.values() for entry in log])
            if got != want:
                return f"{got} instead of {want}"
        return None

    return check


def to_client(kind, reader, data=b""):
    return shown(DATA, card(kind, reader, data))


GOOD, GENERAL, NO_MORE = (struct.pack(">I", code) for code in range(3))
OURS_GENERAL, OURS_NO_MORE = (struct.pack("<I", code) for code in (1, 2))


@script(alone=True)
def smartcard_two_readers(s):
    s.tell("add c smartcard -", "add d smartcard -")
    s.connect()
    s.step("added")
    c = s.link("k", SMARTCARD)
    s.step("linked")
    for device in "cd":
        c.send(DATA, card(READER_ADD, NONE, b"name"))
        s.step(f"{device} is added")
        s.tell(f"give {device} {device_card(ERROR, 0, GOOD)}", f"wake {device}")
        s.step(f"{device} answers")
    for reader, data in ((1, b"one"), (0, b"zero")):
        c.send(DATA, card(ATR, reader, data))
        s.step(f"card into {reader}")
    # Both at once; each comes back under its own number, also when the device says another one.
    s.tell(f"give d {device_card(ERROR, 0, GOOD)}{device_card(APDU, 0, b'ask d')}", "wake d")
    s.step("d asks")
    s.tell(f"give c {device_card(ERROR, 0, GOOD)}{device_card(APDU, 7, b'ask c')}", "wake c")
    s.step("c asks")
    c.send_all(DATA, [card(APDU, 1, b"to d"), card(APDU, 0, b"to c"), card(CARD_REMOVE, 1)])
    s.step("answers, card out of 1")
    s.tell(f"give d {device_card(ERROR, 0, GOOD)}", "wake d")
    s.step("d knows")
    c.send(DATA, card(READER_ADD, NONE, b"third"))
    s.step("no third one: told to the first once more")
    s.tell(f"give c {device_card(ERROR, NONE, NO_MORE)}", "wake c")
    s.step("which refuses")
    c.send(DATA, card(READER_REMOVE, 1))
    s.step("reader 1 out")
    c.send(DATA, card(READER_REMOVE, 1))
    s.step("again")
    c.send(DATA, card(READER_ADD, NONE, b"again"))
    s.step("its place is used again")
    c.close()
    s.step("client gone")
    c = s.link("l", SMARTCARD)
    c.send(DATA, card(APDU, 1, b"not held"))
    c.send(DATA, card(ATR, 1, b"not held"))
    s.step("a reader that it does not have")
    c.send(DATA, card(APDU, 2, b"x"))
    s.step("no such reader")


smartcard_two_readers.check = expected(
    ("added", ["added c 0 st 1", "added d 0 st 1"], ["channels [(8, 0)]"]),
    ("linked", ["c state 1"], []),
    ("c is added", ["c write " + device_card(READER_ADD, 0)], []),
    ("c answers", [], [to_client(ERROR, 0, GOOD)]),
    ("d is added", ["d state 1", "d write " + device_card(READER_ADD, 1)], []),
    ("d answers", [], [to_client(ERROR, 1, GOOD)]),
    ("card into 1", ["d write " + device_card(ATR, 1, b"one")], []),
    ("card into 0", ["c write " + device_card(ATR, 0, b"zero")], []),
    ("d asks", [], [to_client(ERROR, 1, GOOD), to_client(APDU, 1, b"ask d")]),
    ("c asks", [], [to_client(ERROR, 0, GOOD), to_client(APDU, 0, b"ask c")]),
    ("answers, card out of 1", ["d write " + device_card(APDU, 1, b"to d"), "c write " + device_card(APDU, 0, b"to c"),
                                "d write " + device_card(CARD_REMOVE, 1)], []),
    ("d knows", [], [to_client(ERROR, 1, GOOD)]),
    ("no third one: told to the first once more", ["c write " + device_card(READER_ADD, 0)], []),
    ("which refuses", [], [to_client(ERROR, 0, NO_MORE)]),
    ("reader 1 out", ["d write " + device_card(READER_REMOVE, 1)], []),
    ("again", [], [to_client(ERROR, 1, OURS_GENERAL)]),
    ("its place is used again", ["d write " + device_card(READER_ADD, 1)], []),
    ("client gone", ["c state 0", "c write " + device_card(READER_REMOVE, 0), "d state 0", "d write " + device_card(READER_REMOVE, 1)], []),
    ("a reader that it does not have", ["c state 1"], [to_client(ERROR, 1, OURS_GENERAL)]),
    ("no such reader", ["c state 0"], ["closed"]),
)


@script(alone=True)
def smartcard_readers_come_and_go(s):
    s.tell("add c smartcard -")
    s.connect()
    k = s.link("k", SMARTCARD)
    k.send(DATA, card(READER_ADD, NONE))
    s.step("one reader")
    s.tell(f"give c {device_card(ERROR, 0, GOOD)}", "wake c")
    s.step("it answers")
    k.send(DATA, card(READER_ADD, NONE))
    s.step("no second one")
    s.tell(f"give c {device_card(ERROR, 0, NO_MORE)}", "wake c")
    s.step("it refuses")
    s.tell("add d smartcard -")
    s.step("a second one comes")
    k.send(DATA, card(READER_ADD, NONE))
    s.step("and is used")
    k.send(DATA, card(ATR, 1, b"card"))
    s.step("a card for it")
    s.tell("remove d")
    s.step("it goes, before it has answered the two")
    k.send_all(DATA, [card(ATR, 1, b"card"), card(APDU, 1, b"late"), card(CARD_REMOVE, 1), card(READER_REMOVE, 1)])
    s.step("what comes for it later")
    s.tell("add e smartcard -")
    s.step("another one comes")
    k.send(DATA, card(READER_ADD, NONE))
    s.step("and has its number")
    s.tell("take e 0")
    s.step("it takes nothing")
    k.send(DATA, card(ATR, 1, b"waits"))
    s.step("what waits for it")
    s.tell("remove e")
    s.step("and goes")
    k.send(DATA, card(APDU, 0, b"first"))
    s.step("the first one is as before")
    s.tell("add f smartcard -", "remove c")
    s.step("it goes, with one left")
    k.send(DATA, card(READER_ADD, NONE))
    s.step("the one that is left")
    s.tell("remove f")
    s.step("the last one goes")
    s.tell("add g smartcard -")
    s.step("a first one again")
    s.link("l", SMARTCARD).send(DATA, card(READER_ADD, NONE))
    s.step("works")


smartcard_readers_come_and_go.check = expected(
    ("one reader", ["added c 0 st 1", "c state 1", "c write " + device_card(READER_ADD, 0)], ["channels [(8, 0)]"]),
    ("it answers", [], [to_client(ERROR, 0, GOOD)]),
    ("no second one", ["c write " + device_card(READER_ADD, 0)], []),
    ("it refuses", [], [to_client(ERROR, 0, NO_MORE)]),
    ("a second one comes", ["added d 0 st 1"], []),
    ("and is used", ["d state 1", "d write " + device_card(READER_ADD, 1)], []),
    ("a card for it", ["d write " + device_card(ATR, 1, b"card")], []),
    ("it goes, before it has answered the two", ["d state 0", "removed d 0 st 0"], [to_client(ERROR, 1, OURS_GENERAL)] * 2),
    ("what comes for it later", [], [to_client(ERROR, 1, OURS_GENERAL)] * 3),
    ("another one comes", ["added e 0 st 1"], []),
    ("and has its number", ["e state 1", "e write " + device_card(READER_ADD, 1)], []),
    ("it takes nothing", [], []),
    ("what waits for it", [], []),
    ("and goes", ["e state 0", "removed e 0 st 0"], [to_client(ERROR, 1, OURS_GENERAL)] * 2),
    ("the first one is as before", ["c write " + device_card(APDU, 0, b"first")], []),
    ("it goes, with one left", ["added f 0 st 1", "c state 0", "removed c 0 st 0"], []),
    ("the one that is left", ["f state 1", "f write " + device_card(READER_ADD, 1)], []),
    ("the last one goes", ["f state 0", "removed f 0 st 0"], ["closed"]),
    ("a first one again", ["added g 0 st 1"], ["channels [(8, 0)]"]),
    ("works", ["g state 1", "g write " + device_card(READER_ADD, 0)], []),
)


@script(alone=True)
def smartcard_ten_readers(s):
    s.tell(*(f"add {name} smartcard -" for name in "abcdefghijk"))
    s.step("eleven")
    s.tell("remove d", "add k smartcard -")
    s.step("a place is free")
    s.connect()
    k = s.link("k", SMARTCARD)
    k.send_all(DATA, [card(READER_ADD, NONE)] * 10)
    s.step("all are used")


smartcard_ten_readers.check = expected(
    ("eleven", [f"added {name} 0 st {int(name != 'k')}" for name in "abcdefghijk"], []),
    ("a place is free", ["removed d 0 st 0", "added k 0 st 1"], []),
    ("all are used", [line for number, name in enumerate("abckefghij") for line in (
        f"{name} state 1", f"{name} write " + device_card(READER_ADD, number))], ["channels [(8, 0)]"]),
)

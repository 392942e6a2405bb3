"""Drives QXL devices of a running QEMU as a guest's driver would, over QEMU's qtest socket.

Needs no guest: port writes, PCI configuration and guest memory are reached from outside, while the firmware idles. So the
rings, slots, interrupts and the ROM are QEMU's own, and the commands are whatever a test wants. Sizes and offsets are
those of spice-protocol's qxl_dev.h.
"""
import base64
import socket
import struct
import time

VENDOR_AND_DEVICE = 0x01001B36
ROM_MAGIC = 0x4F525851  # "QXRO"
RING_ITEMS = 32
RELEASE_ITEMS = 8
# Offsets in QXLRam.
INT_PENDING, INT_MASK, COMMAND_RING, CURSOR_RING, RELEASE_RING = 4, 8, 4108, 4640, 5172
MEM_SLOT, CREATE_SURFACE, MONITORS_CONFIG = 5276, 5292, 5340
# Offsets in QXLRom.
CLIENT_MONITORS_CRC, CLIENT_MONITORS = 128, 132
# Ports.
NOTIFY_COMMAND, NOTIFY_CURSOR, UPDATE_IRQ, RESET, MEMSLOT_ADD, CREATE_PRIMARY = 0, 1, 3, 5, 8, 12
DESTROY_PRIMARY, FLUSH_RELEASE, MONITORS_ASYNC = 13, 23, 24
IO_DONE, CLIENT_MONITORS_CHANGED = 4, 32  # interrupts
SLOT = 1
COMMAND_DRAW, COMMAND_CURSOR = 1, 3
DRAW_FILL, DRAW_COPY, COPY_BITS = 1, 3, 4
OPAQUE = 1
ROP_PUT = 8
IMAGE_CACHE = 1
SURFACE_XRGB = 32


def crc32(data):
    """The CRC of the ROM: reflected polynomial, initial value 0, not inverted at the end."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
    return value


class Qtest:
    """The text protocol of -qtest."""

    def __init__(self, path, deadline=15):
        end = time.monotonic() + deadline
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.file = self.socket.makefile("rwb")

    def ask(self, line):
        self.file.write(line.encode() + b"\n")
        self.file.flush()
        while True:
            answer = self.file.readline().decode().split()
            if not answer:
                raise EOFError("qtest closed")
            if answer[0] == "OK":
                return answer[1] if len(answer) > 1 else ""
            if answer[0] != "IRQ":
                raise RuntimeError(f"qtest: {line[:60]}: {answer}")

    def out8(self, port, value):
        self.ask(f"outb {port} {value}")

    def pci_read(self, slot, register):
        self.ask(f"outl 0xcf8 {0x80000000 | slot << 11 | register}")
        return int(self.ask("inl 0xcfc"), 16)

    def write(self, address, data):
        for at in range(0, len(data), 1 << 20):
            piece = data[at : at + (1 << 20)]
            self.ask(f"b64write {address + at} {len(piece)} {base64.b64encode(piece).decode()}")

    def read(self, address, size):
        return base64.b64decode(self.ask(f"b64read {address} {size}"))

    def read32(self, address):
        return struct.unpack("<I", self.read(address, 4))[0]


def devices(qtest):
    """The QXL devices that the firmware has set up, in the order of their slots."""
    return [
        QxlDevice(qtest, slot) for slot in range(32) if qtest.pci_read(slot, 0) == VENDOR_AND_DEVICE
    ]


class QxlDevice:
    """One device: what a driver knows of it, and a picture of what its primary surface has to show."""

    def __init__(self, qtest, slot):
        self.qtest = qtest
        bars = [qtest.pci_read(slot, 0x10 + 4 * bar) for bar in range(4)]
        self.ram, self.rom, self.io = bars[0] & ~15, bars[2] & ~15, bars[3] & ~3
        rom = qtest.read(self.rom, 72)
        if struct.unpack_from("<I", rom)[0] != ROM_MAGIC:
            raise RuntimeError(f"no QXL ROM in slot {slot}")
        pages, _, _, self.first, header = struct.unpack_from("<5I", rom, 28)
        self.end = self.first + pages * 4096
        self.header = self.ram + header
        self.free = self.first
        self.pushed = self.released = 0
        self.width = self.height = 0
        self.picture = bytearray()

    # ---- ports, memory, rings

    def io_write(self, port, value=0):
        self.qtest.out8(self.io + port, value)

    def put(self, offset, data):
        self.qtest.write(self.header + offset, data)

    def get32(self, offset):
        return self.qtest.read32(self.header + offset)

    def wait(self, what, done, timeout=20):
        end = time.monotonic() + timeout
        while not done():
            if time.monotonic() > end:
                raise RuntimeError(f"QXL device: {what} did not happen in {timeout} s")
            time.sleep(0.002)

    def address(self, offset):
        """A place in the RAM bar as commands name it: QEMU counts from the slot's start."""
        return SLOT << 56 | offset

    def alloc(self, data):
        """Bytes in device memory; waits until everything is given back when the memory is full."""
        if self.free + len(data) + 8 > self.end:
            self.drain()
            self.free = self.first
        at = self.free
        self.free += len(data) + 7 & ~7
        self.qtest.write(self.ram + at, data)
        return at

    def push(self, ring, port, kind, at):
        self.wait("room in the ring", lambda: (self.get32(ring + 4) - self.get32(ring + 12)) % 2**32 < RING_ITEMS)
        produced = self.get32(ring + 4)
        item = struct.pack("<QII", self.address(at), kind, 0)
        self.put(ring + 20 + 16 * (produced % RING_ITEMS), item)
        self.put(ring + 4, struct.pack("<I", (produced + 1) % 2**32))
        self.pushed += 1
        if self.get32(ring + 8) == (produced + 1) % 2**32:
            self.io_write(port)

    def taken(self):
        return all(self.get32(ring + 4) == self.get32(ring + 12) for ring in (COMMAND_RING, CURSOR_RING))

    def collect(self):
        """Follows the lists of the release ring."""
        self.io_write(FLUSH_RELEASE)
        while self.get32(RELEASE_RING + 4) != self.get32(RELEASE_RING + 12):
            consumed = self.get32(RELEASE_RING + 12)
            slot = RELEASE_RING + 20 + 8 * (consumed % RELEASE_ITEMS)
            at = struct.unpack("<Q", self.qtest.read(self.header + slot, 8))[0]
            while at:
                self.released += 1
                at = struct.unpack("<Q", self.qtest.read(self.ram + at, 8))[0]
            self.put(RELEASE_RING + 12, struct.pack("<I", (consumed + 1) % 2**32))

    def drain(self, kept=1):
        """Waits until all commands are given back but `kept` (the pointer's shape may stay)."""

        def done():
            self.collect()
            return self.released >= self.pushed - kept

        self.wait("the rings run empty", self.taken)
        self.wait("everything is given back", done)

    # ---- what a driver does

    def interrupts(self, mask):
        self.put(INT_MASK, struct.pack("<I", mask))
        self.put(INT_PENDING, struct.pack("<I", 0))
        self.io_write(UPDATE_IRQ)

    def pending(self):
        return self.get32(INT_PENDING)

    def start(self, width, height):
        """From any mode to a primary surface of this size, cleared."""
        self.io_write(RESET)
        self.pushed = self.released = 0
        self.free = self.first
        self.interrupts(0)
        self.put(MEM_SLOT, struct.pack("<QQ", self.ram, self.ram + self.end))
        self.io_write(MEMSLOT_ADD, SLOT)
        self.create_primary(width, height)

    def create_primary(self, width, height):
        self.width, self.height = width, height
        self.picture = bytearray(width * height * 4)
        surface = struct.pack(
            "<IIiIIIIIQ", width, height, width * 4, SURFACE_XRGB, 0, 1, 0, 0, self.address(0)
        )
        self.put(CREATE_SURFACE, surface)
        self.io_write(CREATE_PRIMARY)

    def resize(self, width, height):
        self.io_write(DESTROY_PRIMARY)
        self.create_primary(width, height)

    def monitors(self, heads, most):
        """heads: (id, surface, width, height, x, y)."""
        data = struct.pack("<HH", len(heads), most)
        data += b"".join(struct.pack("<7I", *head, 0) for head in heads)
        at = self.alloc(data)
        self.put(MONITORS_CONFIG, struct.pack("<Q", self.address(at)))
        self.put(INT_PENDING, struct.pack("<I", self.pending() & ~IO_DONE))
        self.io_write(MONITORS_ASYNC)
        self.wait("the answer to monitors_config", lambda: self.pending() & IO_DONE)

    def client_monitors(self):
        """What the client wishes, as the ROM says: (crc is right, [(x, y, width, height)])."""
        data = self.qtest.read(self.rom + CLIENT_MONITORS, 1028)
        count = struct.unpack_from("<H", data)[0]
        heads = []
        for index in range(min(count, 64)):
            top, left, bottom, right = struct.unpack_from("<4I", data, 4 + 16 * index)
            heads.append((left, top, right - left, bottom - top))
        return self.qtest.read32(self.rom + CLIENT_MONITORS_CRC) == crc32(data), heads

    # ---- drawing; the picture follows

    def draw(self, kind, box, payload, reads=None):
        """Boxes: (left, top, right, bottom); `reads` is what the command reads of the surface itself."""
        left, top, right, bottom = box
        head = struct.pack("<QIBBB4i", 0, 0, OPAQUE, kind, 0, 0, 0, 0, 0)
        head += struct.pack("<4i", top, left, bottom, right) + struct.pack("<IQ", 0, 0)  # no clip
        depends, area = (0, (reads[1], reads[0], reads[3], reads[2])) if reads else (-1, (0, 0, 0, 0))
        head += struct.pack("<I3i4i32x", 0, depends, -1, -1, *area)
        command = (head + payload).ljust(191, b"\0")
        at = self.alloc(command)
        self.qtest.write(self.ram + at, struct.pack("<Q", at))  # its number among the released ones
        self.push(COMMAND_RING, NOTIFY_COMMAND, COMMAND_DRAW, at)

    def rows(self, box):
        left, top, right, bottom = box
        return [((y * self.width + left) * 4, (y * self.width + right) * 4) for y in range(top, bottom)]

    def fill(self, box, color):
        brush = struct.pack("<II12x", 1, color)  # solid
        self.draw(DRAW_FILL, box, brush + struct.pack("<H", ROP_PUT) + bytes(21))
        row = struct.pack("<I", color) * (box[2] - box[0])
        for start, end in self.rows(box):
            self.picture[start:end] = row

    def copy(self, box, pixels, image_id=None):
        """pixels: xRGB of the box's size; with an id clients may keep the image."""
        width, height = box[2] - box[0], box[3] - box[1]
        data = self.alloc(struct.pack("<IQQ", len(pixels), 0, 0) + pixels)
        flags = IMAGE_CACHE if image_id is not None else 0
        image = struct.pack("<QBBII", image_id or 0, 0, flags, width, height)  # type bitmap
        image += struct.pack("<BBIIIQQ", 8, 4, width, height, width * 4, 0, self.address(data))  # 32 bit, top-down
        source = self.alloc(image)
        payload = struct.pack("<Q4i", self.address(source), 0, 0, height, width)
        payload += struct.pack("<HB", ROP_PUT, 0) + bytes(21)
        self.draw(DRAW_COPY, box, payload)
        for index, (start, end) in enumerate(self.rows(box)):
            self.picture[start:end] = pixels[index * width * 4 : (index + 1) * width * 4]

    def copy_bits(self, box, x, y):
        width, height = box[2] - box[0], box[3] - box[1]
        area = (x, y, x + width, y + height)
        self.draw(COPY_BITS, box, struct.pack("<ii", x, y), area)
        source = [bytes(self.picture[a:b]) for a, b in self.rows(area)]
        for row, (start, end) in zip(source, self.rows(box)):
            self.picture[start:end] = row

    def rgb(self):
        """The picture as in a PPM file."""
        out = bytearray(self.width * self.height * 3)
        out[0::3], out[1::3], out[2::3] = self.picture[2::4], self.picture[1::4], self.picture[0::4]
        return bytes(out)

    # ---- the pointer

    def cursor(self, kind, fields):
        command = (struct.pack("<QB", 0, kind) + fields).ljust(150, b"\0")
        at = self.alloc(command)
        self.qtest.write(self.ram + at, struct.pack("<Q", at))
        self.push(CURSOR_RING, NOTIFY_CURSOR, COMMAND_CURSOR, at)

    def cursor_set(self, unique, kind, size, hot, data, position=(0, 0), visible=1):
        shape = struct.pack("<QHHHHHI", unique, kind, *size, *hot, len(data))
        at = self.alloc(shape + struct.pack("<IQQ", len(data), 0, 0) + data)
        self.cursor(0, struct.pack("<hhBQ", *position, visible, self.address(at)))

    def cursor_move(self, x, y):
        self.cursor(1, struct.pack("<hh", x, y))

    def cursor_hide(self):
        self.cursor(2, b"")

"""Display messages as a simple client understands them: a picture per surface, and a list of everything in the
messages that such a client cannot draw. Written from the protocol alone; shares nothing with the server.

This is what spice-html5 draws: fills, copies and moves without clips, masks, scaling or raster operations,
from whole 32-bit bitmaps, its cache or 32-bit surfaces.
"""
import collections
import struct

INVAL_LIST, INVAL_ALL_PIXMAPS = 105, 106
COPY_BITS, FILL, OPAQUE, COPY, BLEND, ROP3, TRANSPARENT, ALPHA_BLEND = 104, 302, 303, 304, 305, 309, 312, 313
SURFACE_CREATE, SURFACE_DESTROY, MONITORS_CONFIG = 314, 315, 317
STREAM_CREATE, STREAM_DATA_SIZED, COMPOSITE, STREAM_ACTIVATE_REPORT = 122, 316, 318, 319
DRAWS = {COPY_BITS, *range(302, 314), COMPOSITE}
# Nothing to draw and nothing to do: MARK, palettes, the end of all streams. LIST and WAIT_FOR_CHANNELS mean nothing
# to spice-html5.
QUIET = {102, INVAL_ALL_PIXMAPS, 107, 108, 126}
PUT = 8
CACHE_ME = 1
BITMAP, FROM_CACHE, FROM_CACHE_LOSSLESS, SURFACE, LZ4 = 0, 103, 106, 104, 109
FORMAT_A8, FORMAT_XRGB, FORMAT_ARGB = 8, 32, 96
FORMAT_NAMES = {1: "1_A", 8: "8_A", 16: "16_555", 80: "16_565", 32: "32_xRGB", 96: "32_ARGB"}

# Capabilities of the display channel.
SIZED_STREAM, MONITORS, CAP_COMPOSITE, A8_SURFACE, STREAM_REPORT, CAP_LZ4 = 0, 1, 2, 3, 4, 5
MULTI_CODEC, CODEC_MJPEG = 8, 9
HTML_CAPS = 1 << SIZED_STREAM | 1 << STREAM_REPORT | 1 << MULTI_CODEC | 1 << CODEC_MJPEG


class Reader:
    """A message body; pointers count from its start."""

    def __init__(self, body, at=0):
        self.body = body
        self.at = at

    def take(self, form):
        values = struct.unpack_from("<" + form, self.body, self.at)
        self.at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def rect(self):
        """(left, top, right, bottom)."""
        top, left, bottom, right = self.take("4i")
        return left, top, right, bottom

    def base(self):
        surface, box, clip = self.take("I"), self.rect(), []
        if self.take("B") == 1:
            clip = [self.rect() for _ in range(self.take("I"))]
        return surface, box, clip

    def mask(self):
        """Whether there is one."""
        return self.take("BiiI")[3] != 0

    def image(self, pointer):
        return Image(Reader(self.body, pointer)) if pointer else None


class Image:
    """Descriptor and, of bitmaps, top-down rows of 4 bytes a pixel."""

    def __init__(self, reader):
        self.id, self.type, self.flags, self.width, self.height = reader.take("QBBII")
        self.rows, self.format, self.surface, self.opaque = None, None, None, True
        if self.type == SURFACE:
            self.surface = reader.take("I")
        elif self.type == BITMAP:
            self.format, flags, width, height, stride, _palette = reader.take("BBIIII")
            if self.format in (8, 9):  # 32BIT and RGBA
                data = memoryview(reader.body)[reader.at : reader.at + stride * height]
                rows = [bytes(data[y * stride : y * stride + width * 4]) for y in range(height)]
                self.rows = rows if flags & 4 else rows[::-1]
                self.opaque = self.format == 8 or all(not row[3::4].strip(b"\xff") for row in rows)


def allowed_by_capabilities(caps, kind, body):
    """None, or what a client with these capabilities cannot take; for clients that draw everything else."""
    needs = {
        MONITORS_CONFIG: MONITORS,
        COMPOSITE: CAP_COMPOSITE,
        STREAM_DATA_SIZED: SIZED_STREAM,
        STREAM_ACTIVATE_REPORT: STREAM_REPORT,
    }
    if kind in needs and not caps >> needs[kind] & 1:
        return f"message {kind} without capability {needs[kind]}"
    if kind in (320, 321, 323):
        return f"message {kind}: GL to a client without it"
    if kind == SURFACE_CREATE and struct.unpack_from("<I", body, 12)[0] == FORMAT_A8 and not caps >> A8_SURFACE & 1:
        return "an 8-bit alpha surface without its capability"
    if kind in DRAWS and not caps >> CAP_LZ4 & 1 and LZ4 in types_of_images(kind, body):
        return "an LZ4 image without its capability"
    return None


def types_of_images(kind, body):
    """Of a drawing's source and of its brush; masks are never packed."""
    reader = Reader(body)
    reader.base()
    pointers = []
    before = {ALPHA_BLEND: 2, COMPOSITE: 4}.get(kind, 0)  # flags
    if kind in (OPAQUE, COPY, BLEND, ROP3, TRANSPARENT, ALPHA_BLEND, COMPOSITE):
        reader.at += before
        pointers.append(reader.take("I"))
    if kind in (OPAQUE, ROP3):
        reader.rect()
    if kind in (FILL, OPAQUE, ROP3) and reader.take("B") == 2:
        pointers.append(reader.take("I"))
    return {reader.image(pointer).type for pointer in pointers if pointer}


class Canvas:
    """All surfaces of a client that draws what spice-html5 does."""

    def __init__(self):
        self.surfaces = {}  # id -> (width, height, format, bytearray)
        self.cache = {}
        self.wrong = collections.Counter()  # what cannot be drawn, with how often it came
        self.types = collections.Counter()

    def message(self, kind, body):
        self.types[kind] += 1
        reader = Reader(body)
        if kind == SURFACE_CREATE:
            number, width, height, pixels, _flags = reader.take("5I")
            self.rule(pixels in (FORMAT_XRGB, FORMAT_ARGB), f"surface of format {FORMAT_NAMES.get(pixels)}")
            self.surfaces[number] = width, height, pixels, bytearray(width * height * 4)
        elif kind == SURFACE_DESTROY:
            self.rule(self.surfaces.pop(reader.take("I"), None), "end of an unknown surface")
        elif kind == INVAL_LIST:
            for _ in range(reader.take("H")):
                self.cache.pop(reader.take("BQ")[1], None)
        elif kind in DRAWS:
            self.draw(kind, reader)
        else:
            self.rule(kind in QUIET, f"message {kind}")

    def rule(self, good, what):
        if not good:
            self.wrong[what] += 1
        return good

    def draw(self, kind, reader):
        number, box, clip = reader.base()
        surface = self.surfaces.get(number)
        name = {COPY_BITS: "move", FILL: "fill", COPY: "copy"}.get(kind)
        if not self.rule(name, f"drawing message {kind}") or not self.rule(surface, f"{name} on an unknown surface"):
            return
        self.rule(not clip, f"{name} with clip rectangles")
        left, top, right, bottom = box
        if kind == COPY_BITS:
            x, y = reader.take("ii")
            rows = rows_of(surface, x, y, right - left, bottom - top)
        elif kind == FILL:
            brush = reader.take("B")
            if not self.rule(brush == 1, "fill without a solid brush"):
                return
            color = reader.take("I")
            self.rule(reader.take("H") == PUT, "fill with a raster operation")
            self.rule(not reader.mask(), "fill with a mask")
            rows = [struct.pack("<I", color) * (right - left)] * (bottom - top)
        else:
            rows = self.source(reader, surface, right - left, bottom - top)
        if rows:
            put(surface, box, clip or [box], rows)

    def source(self, reader, surface, width, height):
        """Rows that a copy puts, or nothing."""
        image, area = reader.image(reader.take("I")), reader.rect()
        self.rule(reader.take("H") == PUT, "copy with a raster operation")
        reader.take("B")
        self.rule(not reader.mask(), "copy with a mask")
        if not self.rule(image, "copy without an image"):
            return None
        left, top, right, bottom = area
        if not self.rule((right - left, bottom - top) == (width, height), "copy that scales"):
            return None
        if image.type == SURFACE:
            source = self.surfaces.get(image.surface)
            if not self.rule(source, "copy from an unknown surface"):
                return None
            self.rule(surface[2] == FORMAT_XRGB or source[2] == FORMAT_XRGB, "alpha surface onto an alpha surface")
            return rows_of(source, left, top, width, height)
        if image.type in (FROM_CACHE, FROM_CACHE_LOSSLESS):
            rows = self.cache.get(image.id)
            if not self.rule(rows, "image that is not in the cache"):
                return None
        else:
            name = f"image of type {image.type}, bitmap format {image.format}"
            if not self.rule(image.rows is not None, name):
                return None
            rows = image.rows
            self.rule(surface[2] == FORMAT_XRGB or image.opaque, "transparent bitmap onto an alpha surface")
            if image.flags & CACHE_ME:
                self.cache[image.id] = rows
        whole = (left, top) == (0, 0) and (width, height) == (image.width, image.height)
        self.rule(whole, "part of a bitmap")
        return [row[left * 4 : right * 4] for row in rows[top:bottom]]

    def picture(self):
        """(width, height, RGB bytes) of the screen."""
        width, height, _format, pixels = self.surfaces[0]
        rgb = bytearray(width * height * 3)
        rgb[0::3], rgb[1::3], rgb[2::3] = pixels[2::4], pixels[1::4], pixels[0::4]
        return width, height, bytes(rgb)


def rows_of(surface, x, y, width, height):
    stride, pixels = surface[0] * 4, surface[3]
    return [bytes(pixels[row * stride + x * 4 : row * stride + (x + width) * 4]) for row in range(y, y + height)]


def put(surface, box, clip, rows):
    """Writes rows into the box, within the clip rectangles and the surface."""
    width, height, _format, pixels = surface
    for rect in clip:
        left, top = max(box[0], rect[0], 0), max(box[1], rect[1], 0)
        right, bottom = min(box[2], rect[2], width), min(box[3], rect[3], height)
        for y in range(top, bottom) if left < right else ():
            part = rows[y - box[1]][(left - box[0]) * 4 : (right - box[0]) * 4]
            pixels[(y * width + left) * 4 : (y * width + right) * 4] = part

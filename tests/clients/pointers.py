"""Pointer shapes of every type, and the pixels that a stock client (spice-glib) makes of them."""
import hashlib
import struct

ALPHA, MONO, COLOR4, COLOR8, COLOR16, COLOR24, COLOR32 = range(7)
TYPES = range(7)
NAMES = ("alpha", "mono", "color4", "color8", "color16", "color24", "color32")
SIZES = ((1, 1), (1, 64), (64, 1), (7, 3), (8, 8), (9, 2), (33, 5), (31, 32), (63, 64), (64, 64))
# Spice-glib's picture of a pixel that inverts what is below, by (x ^ y) & 1.
INVERTED = b"\x50\x50\x50\x30", b"\x30\x30\x30\xc0"


def random_shape(rng, kind, size):
    """Bytes of a shape; transparent white, which means "inverted", is among its pixels where there are masks."""
    width, height = size
    count = width * height
    white = [rng.random() < 0.3 for _ in range(count)]
    mask = rng.randbytes((count + 7) // 8)
    if kind == ALPHA:
        pixels = []
        for _ in range(count):
            alpha = rng.choice((0, 255, rng.randrange(256)))
            pixels.append(bytes(rng.randrange(256) * alpha // 255 for _ in range(3)) + bytes((alpha,)))
        return b"".join(pixels)
    if kind == MONO:
        return rng.randbytes((width + 7) // 8 * height * 2)
    if kind in (COLOR4, COLOR8):
        entries = [rng.randrange(1 << 24) for _ in range(16 if kind == COLOR4 else 256)]
        entries[::5] = [0xFFFFFF] * len(entries[::5])
        size = (width + 1) // 2 * height if kind == COLOR4 else count
        return rng.randbytes(size) + struct.pack(f"<{len(entries)}I", *entries) + mask
    if kind == COLOR16:
        return b"".join(struct.pack("<H", 0x7FFF if w else rng.randrange(1 << 15)) for w in white) + mask
    if kind == COLOR24:
        return b"".join(b"\xff\xff\xff" if w else rng.randbytes(3) for w in white) + mask
    return b"".join(struct.pack("<I", 0xFFFFFF if w else rng.randrange(1 << 24)) for w in white) + mask


def bit(data, index):
    return data[index // 8] >> (7 - index % 8) & 1


def colors(kind, width, height, data):
    """(0xRRGGBB of every pixel, whether it counts as white, the mask); the mask's rows are not padded."""
    count = width * height
    if kind == COLOR4:
        # Nor are the nibbles' rows, as spice-glib reads them, though room is left for it.
        size = (width + 1) // 2 * height
        indices = [data[i >> 1] >> (0 if i & 1 else 4) & 15 for i in range(count)]
        entries = struct.unpack_from("<16I", data, size)
        found, mask = [entries[i] for i in indices], data[size + 64 :]
    elif kind == COLOR8:
        entries = struct.unpack_from("<256I", data, count)
        found, mask = [entries[i] for i in data[:count]], data[count + 1024 :]
    elif kind == COLOR16:
        raw = struct.unpack_from(f"<{count}H", data)
        # Five bits become eight with zeros behind them; white is white before that.
        found = [(p & 0x7C00) << 9 | (p & 0x3E0) << 6 | (p & 0x1F) << 3 for p in raw]
        return found, [p == 0x7FFF for p in raw], data[2 * count :]
    elif kind == COLOR24:
        found = [int.from_bytes(data[3 * i : 3 * i + 3], "little") for i in range(count)]
        mask = data[3 * count :]
    else:
        found, mask = list(struct.unpack_from(f"<{count}I", data)), data[4 * count :]
    return found, [p == 0xFFFFFF for p in found], mask


def rgba(kind, size, data):
    """What a stock client shows."""
    width, height = size
    if kind == ALPHA:
        out = bytearray(data)
        out[0::4], out[2::4] = data[2::4], data[0::4]
        return bytes(out)
    if kind == MONO:
        row = (width + 7) // 8
        planes = data[: row * height], data[row * height :]
        out = b""
        for y in range(height):
            for x in range(width):
                hidden, light = (bit(plane[row * y :], x) for plane in planes)
                out += b"\xff\xff\xff\xff" if light else b"\0\0\0\0" if hidden else b"\0\0\0\xff"
        return out
    found, white, mask = colors(kind, width, height, data)
    out = b""
    for index, (color, is_white) in enumerate(zip(found, white)):
        masked = bit(mask, index)
        if masked and is_white:
            out += INVERTED[(index % width ^ index // width) & 1]
        else:
            out += struct.pack(">I", color << 8 | (0 if masked else 255))
    return out


def digest(kind, size, data):
    return hashlib.sha256(rgba(kind, size, data)).hexdigest()

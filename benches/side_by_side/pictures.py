#!/usr/bin/python3
"""The pictures of the codec benchmarks: the same ones on every machine, but for the font's rendering in "ui".

  pictures.py DIR [WIDTH HEIGHT]

Writes DIR/NAME-WIDTHxHEIGHT.bgrx, rows of B, G, R, x, unless they are there: photo, ui, gradient and noise, and of
photo and ui what follows them on a screen: -scrolled (by 40 lines, new ones come in), -sideways (that, rolled by 13
pixels, with another window in it), -down (that, rolled by 300 lines).
"""
import math
import pathlib
import sys

import numpy
from PIL import Image, ImageDraw, ImageFont

FONTS = "/usr/share/fonts/truetype/dejavu/"
WORDS = ("the server draws pixels into surfaces and every client repaints them quickly window file edit view help search "
         "report total value index status ready cancel apply close open network memory channel display cursor input").split()


def photo(width, height, seed):
    """Fields with the spectrum of photographs, hard edges and the noise of a sensor."""
    random = numpy.random.default_rng(seed)
    across, down = numpy.fft.fftfreq(width)[None, :], numpy.fft.fftfreq(height)[:, None]
    frequency = numpy.sqrt(across * across + down * down)
    frequency[0, 0] = 1e9

    def field(steepness):
        values = numpy.real(numpy.fft.ifft2(numpy.fft.fft2(random.standard_normal((height, width))) / frequency**steepness))
        values -= values.mean()
        return values / (values.std() or 1)

    light, warm, green = field(1.25), field(1.6), field(1.6)
    light = light + numpy.where(field(1.5) > 0.4, 0.9, 0)
    rgb = numpy.stack([light * 42 + warm * 12 + 125, light * 40 + 120, light * 38 + green * 14 + 112], -1)
    rgb += random.normal(0, 1.6, (height, width, 3))
    return numpy.clip(numpy.round(rgb), 0, 255).astype(numpy.uint8)


def window(draw, random, width, height):
    """One window with a title, text and buttons."""
    def font(size, mono=False):
        return ImageFont.truetype(FONTS + ("DejaVuSansMono.ttf" if mono else "DejaVuSans.ttf"), size)

    wide = int(random.integers(max(20, width // 4), max(21, width * 3 // 4 + 1)))
    high = int(random.integers(max(20, height // 4), max(21, height * 3 // 4 + 1)))
    left = int(random.integers(-10, max(1, width - wide // 2)))
    top = int(random.integers(-10, max(1, height - high // 2)))
    dark = random.random() < 0.35
    paper, ink = ((30, 30, 36), (210, 210, 210)) if dark else ((255, 255, 255), (20, 20, 20))
    draw.rectangle([left - 1, top - 1, left + wide + 1, top + high + 1], outline=(90, 90, 90))
    draw.rectangle([left, top, left + wide, top + high], fill=paper)
    base = random.integers(40, 160, 3)
    for row in range(18):
        draw.line([left, top + row, left + wide, top + row], fill=tuple(int(min(255, value + row * 3)) for value in base))
    draw.text((left + 6, top + 2), " ".join(random.choice(WORDS, 3)), font=font(11), fill=(255, 255, 255))
    size = int(random.integers(9, 15))
    letters = font(size, mono=dark)
    line = top + 22
    while line < top + high - size - 2:
        words = " ".join(random.choice(WORDS, max(1, wide // (size * 5))))
        draw.text((left + 5, line), words, font=letters, fill=ink if random.random() < .8 else (40, 80, 200))
        line += size + 4
    if random.random() < .7:
        for button in range(3):
            x, y = left + 10 + button * 70, top + high - 26
            draw.rounded_rectangle([x, y, x + 60, y + 20], 4, fill=(225, 225, 228), outline=(150, 150, 150))
            draw.text((x + 8, y + 4), str(random.choice(WORDS)), font=font(10), fill=(0, 0, 0))


def ui(width, height, seed):
    random = numpy.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(value) for value in random.integers(180, 240, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(max(2, width * height // 90000)):
        window(draw, random, width, height)
    return numpy.asarray(image).copy()


def gradient(width, height, seed):
    """Of another direction in each colour."""
    random = numpy.random.default_rng(seed)
    down, across = numpy.mgrid[0:height, 0:width].astype(numpy.float64)
    out = numpy.zeros((height, width, 3))
    for color in range(3):
        angle = random.random() * 2 * math.pi
        ramp = across * math.cos(angle) / max(1, width) + down * math.sin(angle) / max(1, height)
        ramp = (ramp - ramp.min()) / (max(1e-9, ramp.max() - ramp.min()))
        low, high = random.integers(0, 100), random.integers(150, 256)
        out[..., color] = low + ramp * (high - low)
    return numpy.clip(numpy.round(out), 0, 255).astype(numpy.uint8)


def noise(width, height, seed):
    random = numpy.random.default_rng(seed)
    return random.integers(0, 256, (height, width, 3), dtype=numpy.int64).astype(numpy.uint8)


def followers(name, rgb, other):
    """What a guest draws after the picture; `other` is a photo from which new content comes."""
    scrolled = numpy.concatenate([rgb[40:], other[:40]])
    sideways = numpy.roll(scrolled, 13, axis=1)
    sideways[300:500, 400:900] = other[300:500, 400:900]
    return [(f"{name}-scrolled", scrolled), (f"{name}-sideways", sideways), (f"{name}-down", numpy.roll(sideways, 300, axis=0))]


def make(width, height):
    first = {"photo": photo(width, height, 5), "ui": ui(width, height, 6)}
    yield from first.items()
    yield "gradient", gradient(width, height, 7)
    yield "noise", noise(width, height, 8)
    other = photo(width, height, 9)
    for name, rgb in first.items():
        yield from followers(name, rgb, other)


def main():
    folder = pathlib.Path(sys.argv[1])
    width, height = map(int, sys.argv[2:4] or (1920, 1080))
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / f"ui-down-{width}x{height}.bgrx").exists():
        return
    for name, rgb in make(width, height):
        rows = numpy.zeros((height, width, 4), numpy.uint8)
        rows[..., :3] = rgb[..., ::-1]
        rows.tofile(folder / f"{name}-{width}x{height}.bgrx")
        print(f"made {name}", flush=True)


if __name__ == "__main__":
    main()

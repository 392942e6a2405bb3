"""Which pixels of a client's surfaces were painted from data with losses, read from the display messages alone; shares
nothing with the server. Complains about whatever combines bits with such pixels.
"""
import collections

from PIL import Image as Picture

import display_model as model

BLEND, BLACKNESS, WHITENESS, INVERS, STROKE, TEXT = 305, 306, 307, 308, 310, 311
JPEG, JPEG_ALPHA, CACHE_REPLACE_ME = 105, 108, 4
STYLED, HAS_MASK = 8, 1 << 19
OR_AND_XOR, INVERS_OP = 16 | 32 | 64, 512


class Losses:
    """`message(kind, body)` takes the messages in their order. `masks`: surface id -> picture, 255 where lossy."""

    def __init__(self):
        self.masks = {}
        self.cache = {}  # id -> lossy
        self.wrong = collections.Counter()
        self.images = collections.Counter()  # by type
        self.draws = collections.Counter()  # by kind

    def rule(self, good, what):
        if not good:
            self.wrong[what] += 1

    def message(self, kind, body):
        reader = model.Reader(body)
        if kind == model.SURFACE_CREATE:
            number, width, height, _format, _flags = reader.take("5I")
            self.masks[number] = Picture.new("L", (width, height))
        elif kind == model.SURFACE_DESTROY:
            self.masks.pop(reader.take("I"), None)
        elif kind == model.INVAL_LIST:
            for _ in range(reader.take("H")):
                self.cache.pop(reader.take("BQ")[1], None)
        elif kind in model.DRAWS:
            self.draws[kind] += 1
            self.draw(kind, reader)

    def draw(self, kind, reader):
        number, box = reader.take("I"), reader.rect()
        mask = self.masks[number]
        rects = [box]
        if reader.take("B") == 1:
            rects = [common(box, reader.rect()) for _ in range(reader.take("I"))]
        rects = [common(rect, (0, 0, *mask.size)) for rect in rects]
        rects = [rect for rect in rects if rect[0] < rect[2] and rect[1] < rect[3]]

        def dest_is_exact(why):
            self.rule(not any(lossy(mask, rect) for rect in rects), f"{why} on losses")

        if kind == model.COPY_BITS:
            x, y = reader.take("ii")
            came = window(mask, (x, y, x + box[2] - box[0], y + box[3] - box[1]))
            self.paste(mask, box, rects, came)
        elif kind in (BLACKNESS, WHITENESS):
            if not reader.mask():
                self.put(mask, rects, 0)
        elif kind == INVERS:
            pass
        elif kind == model.FILL:
            self.brush(reader, kind)
            rop = reader.take("H")
            if rop & (OR_AND_XOR | INVERS_OP):
                dest_is_exact(f"fill with rop {rop}")
            elif not reader.mask():
                self.put(mask, rects, 0)
        elif kind in (model.COPY, BLEND, model.OPAQUE):
            self.copy(kind, reader, mask, box, rects, dest_is_exact)
        elif kind in (model.ROP3, model.TRANSPARENT, model.COMPOSITE):
            if kind == model.COMPOSITE:
                flags = reader.take("I")
                self.source(reader, None, f"message {kind}")
                if flags & HAS_MASK:
                    self.source(reader, None, f"message {kind}")
            else:
                source = reader.take("I")
                area = reader.rect()
                self.exact(self.image(reader, source), area, f"message {kind}")
                if kind == model.ROP3:
                    self.brush(reader, kind)
            if kind != model.TRANSPARENT:
                dest_is_exact(f"message {kind}")
        elif kind == STROKE:
            reader.take("I")
            if reader.take("B") & STYLED:
                reader.take("BI")
            self.brush(reader, kind)
            fore, _back = reader.take("HH")
            if fore & (OR_AND_XOR | INVERS_OP):
                dest_is_exact(f"stroke with rop {fore}")
        elif kind == model.ALPHA_BLEND:
            reader.take("BB")
            pointer = reader.take("I")
            came = self.shown(self.image(reader, pointer), reader.rect(), box)
            self.paste(mask, box, rects, came, adds=True)
        else:
            self.rule(kind == TEXT, f"message {kind} is not known")

    def copy(self, kind, reader, mask, box, rects, dest_is_exact):
        image, area = self.image(reader, reader.take("I")), reader.rect()
        if kind == model.OPAQUE:
            self.brush(reader, kind)
        rop = reader.take("H")
        reader.take("B")
        masked = reader.mask()
        combines = rop & OR_AND_XOR or kind == BLEND
        if combines:
            self.exact(image, area, f"message {kind} with rop {rop}")
        if kind != model.OPAQUE and rop & (OR_AND_XOR | INVERS_OP):
            dest_is_exact(f"message {kind} with rop {rop}")
            return
        outside = area[0] < 0 or area[1] < 0 or area[2] > image.size[0] or area[3] > image.size[1]
        self.paste(mask, box, rects, self.shown(image, area, box), adds=masked or outside)

    def image(self, reader, pointer):
        """The image with `losses`: True, False or the picture of its surface's losses."""
        image = reader.image(pointer)
        self.images[image.type] += 1
        image.size = image.width, image.height
        if image.type == model.SURFACE:
            image.losses = self.masks[image.surface]
        elif image.type in (model.FROM_CACHE, model.FROM_CACHE_LOSSLESS):
            known = self.cache.get(image.id)
            self.rule(known is not None, "an image that the client has not")
            self.rule(not known or image.type == model.FROM_CACHE, "FROM_CACHE_LOSSLESS of a lossy image")
            image.losses = bool(known)
        else:
            image.losses = image.type in (JPEG, JPEG_ALPHA)
            self.rule(not image.flags & CACHE_REPLACE_ME, "CACHE_REPLACE_ME: stock clients never forget it")
            if image.flags & model.CACHE_ME:
                self.cache[image.id] = image.losses
        return image

    def source(self, reader, area, why):
        self.exact(self.image(reader, reader.take("I")), area, why)

    def brush(self, reader, kind):
        shape = reader.take("B")
        if shape == 1:
            reader.take("I")
        elif shape == 2:
            self.source(reader, None, f"pattern of message {kind}")
            reader.take("ii")

    def exact(self, image, area, why):
        losses = image.losses
        if isinstance(losses, Picture.Image):
            losses = lossy(losses, common(area, (0, 0, *losses.size)) if area else (0, 0, *losses.size))
        self.rule(not losses, f"{why} from losses")

    @staticmethod
    def shown(image, area, box):
        """What losses of an image's part come to the box: None, a number or a picture of the box's size."""
        if not isinstance(image.losses, Picture.Image):
            return 255 if image.losses else None
        part = window(image.losses, area)
        size = box[2] - box[0], box[3] - box[1]
        if part.size == size:
            return part
        # Scaled: neighbours of what is shown have their part in it.
        return 255 if lossy(image.losses, (0, 0, *image.losses.size)) else None

    @staticmethod
    def put(mask, rects, value):
        for rect in rects:
            mask.paste(value, rect)

    def paste(self, mask, box, rects, came, adds=False):
        """`adds`: what was lossy before stays so."""
        for rect in rects:
            if came is None or isinstance(came, int):
                if came or not adds:
                    mask.paste(came or 0, rect)
                continue
            part = window(came, (rect[0] - box[0], rect[1] - box[1], rect[2] - box[0], rect[3] - box[1]))
            if adds:
                mask.paste(255, rect, part)
            else:
                mask.paste(part, rect)


def common(a, b):
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def lossy(mask, rect):
    return rect[0] < rect[2] and rect[1] < rect[3] and mask.crop(rect).getbbox() is not None


def window(picture, rect):
    """A part, which may lie outside: nothing is lossy there."""
    return picture.crop(rect)

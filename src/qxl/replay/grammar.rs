//! What a recorded command consists of, in the order of the file, with its place in device memory.
//!
//! Said once for reading and writing (spec 10 §11 for the words, §5 for the places), so that the
//! two cannot drift apart. A [`Side`] does the work of one direction.

use super::payload::Place;

/// Kind and sign of a number. The file has decimal numbers, 32 bits and less as C's `%d` prints
/// them; readers take both signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Two bytes, signed.
    I16,
    /// Four bytes, printed with a sign whatever they mean.
    I32,
    /// Eight bytes.
    U64,
}

impl Width {
    /// Bytes in memory.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::I32 => 4,
            Self::U64 => 8,
        }
    }
}

/// One direction: text to structures, or structures to text.
///
/// Numbers come back zero-extended, as they lie in memory.
pub trait Side {
    /// Why it cannot go on.
    type Error;

    /// The command itself, `size` bytes.
    fn head(&mut self, size: usize) -> Result<Place, Self::Error>;

    /// A line that is only a word.
    fn word(&mut self, word: &'static str) -> Result<(), Self::Error>;

    /// A line of a key and numbers.
    fn numbers<const N: usize>(
        &mut self,
        key: &'static str,
        width: Width,
        places: [Place; N],
    ) -> Result<[u64; N], Self::Error>;

    /// A line with the number of a surface, which a player may change.
    fn surface(&mut self, key: &'static str, place: Place) -> Result<(), Self::Error>;

    /// A line that says whether there is an address at a place.
    fn present(&mut self, key: &'static str, at: Place) -> Result<bool, Self::Error>;

    /// The structure that the address at `at` leads to: its first `size` bytes.
    fn open(&mut self, at: Place, size: usize) -> Result<Place, Self::Error>;

    /// `size` more bytes behind those that a structure has so far; where they begin.
    fn extend(&mut self, structure: Place, size: usize) -> Result<Place, Self::Error>;

    /// A chain of chunks whose first header ends its structure so far; bytes of all of them.
    fn chunks(&mut self, name: &'static str, header: Place) -> Result<u64, Self::Error>;

    /// Exactly `size` bytes that the address at `at` leads to.
    fn blob(&mut self, name: &'static str, at: Place, size: u64) -> Result<(), Self::Error>;

    /// As much memory as [`blob`](Self::blob), of which the file says nothing.
    fn blank(&mut self, at: Place, size: u64) -> Result<(), Self::Error>;

    /// The text of a message, behind its structure.
    fn text(&mut self, name: &'static str, structure: Place) -> Result<(), Self::Error>;

    /// Whether the structures in memory are those from before 0.6 (`QXLCompatDrawable`). A reader
    /// always makes new ones.
    fn compat_memory(&self) -> bool;

    /// Whether the file has such a drawable: told by what stands where its self bitmap comes.
    fn compat_text(&mut self) -> Result<bool, Self::Error>;

    /// Writes a number into memory of which the file says nothing.
    fn constant(&mut self, place: Place, value: u32) -> Result<(), Self::Error>;

    /// The error for a number that has no meaning.
    fn senseless(&self, what: &'static str, number: u64) -> Self::Error;
}

/// Bytes of the header of a chunk.
pub const CHUNK: usize = 4 /* size */ + 8 /* previous */ + 8 /* next */;
/// One number.
fn number<S: Side>(
    side: &mut S,
    key: &'static str,
    width: Width,
    place: Place,
) -> Result<u64, S::Error> {
    side.numbers(key, width, [place]).map(|[value]| value)
}

fn rect<S: Side>(side: &mut S, key: &'static str, at: Place) -> Result<(), S::Error> {
    side.numbers(key, Width::I32, [at, at.plus(4), at.plus(8), at.plus(12)]).map(drop)
}

fn point<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    side.numbers("point", Width::I32, [at, at.plus(4)]).map(drop)
}

fn point16<S: Side>(side: &mut S, key: &'static str, at: Place) -> Result<(), S::Error> {
    side.numbers(key, Width::I16, [at, at.plus(2)]).map(drop)
}

/// Where the parts of a drawable are that both kinds have.
struct Layout {
    size: usize,
    effect: usize,
    kind: usize,
    self_bitmap: usize,
    self_area: usize,
    bbox: usize,
    clip: usize,
    mm_time: usize,
    union: usize,
}

/// `QXLDrawable`.
const NATIVE: Layout = Layout {
    size: 191,
    effect: 12,
    kind: 13,
    self_bitmap: 14,
    self_area: 15,
    bbox: 31,
    clip: 47,
    mm_time: 59,
    union: 123,
};

/// `QXLCompatDrawable`.
const COMPAT: Layout = Layout {
    size: 128,
    effect: 8,
    kind: 9,
    self_bitmap: 10,
    self_area: 12,
    bbox: 28,
    clip: 44,
    mm_time: 56,
    union: 60,
};

/// Numbers of surfaces that a drawable reads, and of their areas.
const SURFACES_READ: usize = 63;
const AREAS_READ: usize = 75;
/// Reads no surface.
const NO_SURFACE: u32 = u32::MAX;

/// `QXL_CMD_DRAW`.
pub fn draw<S: Side>(side: &mut S) -> Result<(), S::Error> {
    side.word("drawable")?;
    let layout = if side.compat_memory() { COMPAT } else { NATIVE };
    let head = side.head(layout.size)?;
    rect(side, "rect bbox", head.plus(layout.bbox))?;
    clip(side, head.plus(layout.clip))?;
    number(side, "effect", Width::U8, head.plus(layout.effect))?;
    number(side, "mm_time", Width::I32, head.plus(layout.mm_time))?;
    let compat = side.compat_text()?;
    if compat {
        // Where only a byte is kept, the byte behind it gets its value later.
        number(side, "bitmap_offset", Width::U16, head.plus(layout.self_bitmap))?;
        rect(side, "rect bitmap_area", head.plus(layout.self_area))?;
        if !side.compat_memory() {
            for index in 0..3 {
                side.constant(head.plus(SURFACES_READ + 4 * index), NO_SURFACE)?;
            }
        }
    } else {
        number(side, "self_bitmap", Width::U8, head.plus(layout.self_bitmap))?;
        rect(side, "rect self_bitmap_area", head.plus(layout.self_area))?;
        side.surface("surface_id", head.plus(8))?;
        for index in 0..3 {
            side.surface("surfaces_dest", head.plus(SURFACES_READ + 4 * index))?;
            rect(side, "rect surfaces_rects", head.plus(AREAS_READ + 16 * index))?;
        }
    }
    let kind = number(side, "type", Width::U8, head.plus(layout.kind))?;
    operation(side, kind, head.plus(layout.union), compat)
}

/// `QXLClip`.
fn clip<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    const RECTS: u64 = 1;
    if number(side, "type", Width::I32, at)? == RECTS {
        let rects = side.open(at.plus(4), 4 /* count */ + CHUNK)?;
        number(side, "num_rects", Width::I32, rects)?;
        side.chunks("clip_rects", rects.plus(4))?;
    }
    Ok(())
}

/// The union of a drawable, by draw type.
fn operation<S: Side>(side: &mut S, kind: u64, at: Place, compat: bool) -> Result<(), S::Error> {
    match kind {
        0 /* nothing */ => Ok(()),
        1 /* fill */ => {
            brush(side, at)?;
            number(side, "rop_descriptor", Width::U16, at.plus(20))?;
            mask(side, at.plus(22))
        }
        2 /* opaque */ => {
            source(side, at)?;
            brush(side, at.plus(24))?;
            number(side, "rop_descriptor", Width::U16, at.plus(44))?;
            number(side, "scale_mode", Width::U8, at.plus(46))?;
            mask(side, at.plus(47))
        }
        3 | 5 /* copy, blend */ => {
            source(side, at)?;
            number(side, "rop_descriptor", Width::U16, at.plus(24))?;
            number(side, "scale_mode", Width::U8, at.plus(26))?;
            mask(side, at.plus(27))
        }
        4 /* copy_bits */ => point(side, at),
        6..=8 /* blackness, whiteness, invers */ => mask(side, at),
        9 /* rop3 */ => {
            source(side, at)?;
            brush(side, at.plus(24))?;
            number(side, "rop3", Width::U8, at.plus(44))?;
            number(side, "scale_mode", Width::U8, at.plus(45))?;
            mask(side, at.plus(46))
        }
        10 => stroke(side, at),
        11 => text(side, at),
        12 /* transparent */ => {
            source(side, at)?;
            number(side, "src_color", Width::I32, at.plus(24))?;
            number(side, "true_color", Width::I32, at.plus(28)).map(drop)
        }
        13 /* alpha blend */ => {
            if !compat {
                number(side, "alpha_flags", Width::U16, at)?;
            }
            let body = if side.compat_memory() { at } else { at.plus(2) };
            number(side, "alpha", Width::U8, body)?;
            source(side, body.plus(1))
        }
        14 if !compat => composite(side, at),
        other => Err(side.senseless("draw type", other)),
    }
}

/// A source image and the part of it that is used.
fn source<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    image(side, "image", at)?;
    rect(side, "rect src_area", at.plus(8))
}

/// `QXLStroke`.
fn stroke<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    const STYLED: u64 = 8;
    let path = side.open(at, 4 /* data size */ + CHUNK)?;
    side.chunks("path", path.plus(4))?;
    if number(side, "attr.flags", Width::U8, at.plus(8))? & STYLED != 0 {
        let segments = number(side, "attr.style_nseg", Width::U8, at.plus(11))?;
        side.blob("style", at.plus(20), segments * 4)?;
    }
    brush(side, at.plus(28))?;
    number(side, "fore_mode", Width::U16, at.plus(48))?;
    number(side, "back_mode", Width::U16, at.plus(50)).map(drop)
}

/// `QXLText`.
fn text<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    let string = side.open(at, 8 /* size, length, flags */ + CHUNK)?;
    number(side, "data_size", Width::I32, string)?;
    number(side, "length", Width::U16, string.plus(4))?;
    number(side, "flags", Width::U16, string.plus(6))?;
    side.chunks("string", string.plus(8))?;
    rect(side, "rect back_area", at.plus(8))?;
    brush(side, at.plus(24))?;
    brush(side, at.plus(44))?;
    number(side, "fore_mode", Width::U16, at.plus(64))?;
    number(side, "back_mode", Width::U16, at.plus(66)).map(drop)
}

/// `QXLComposite`.
fn composite<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    const TRANSFORM: u64 = 24;
    number(side, "flags", Width::I32, at)?;
    image(side, "image", at.plus(4))?;
    if side.present("src_transform", at.plus(12))? {
        side.blob("transform", at.plus(12), TRANSFORM)?;
    }
    if side.present("mask", at.plus(20))? {
        image(side, "image", at.plus(20))?;
    }
    if side.present("mask_transform", at.plus(28))? {
        side.blob("transform", at.plus(28), TRANSFORM)?;
    }
    point16(side, "src_origin", at.plus(36))?;
    point16(side, "mask_origin", at.plus(40))
}

/// `QXLBrush`.
fn brush<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    match number(side, "type", Width::I32, at)? {
        1 /* solid */ => number(side, "u.color", Width::I32, at.plus(4)).map(drop),
        2 /* pattern */ => {
            image(side, "image", at.plus(4))?;
            point(side, at.plus(12))
        }
        _ => Ok(()),
    }
}

/// `QXLQMask`.
fn mask<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    number(side, "flags", Width::U8, at)?;
    point(side, at.plus(1))?;
    image(side, "image", at.plus(9))
}

/// `QXLImage` behind the address at `at`.
fn image<S: Side>(side: &mut S, key: &'static str, at: Place) -> Result<(), S::Error> {
    if !side.present(key, at)? {
        return Ok(());
    }
    let image = side.open(at, 18)?;
    number(side, "descriptor.id", Width::U64, image)?;
    let kind = number(side, "descriptor.type", Width::U8, image.plus(8))?;
    number(side, "descriptor.flags", Width::U8, image.plus(9))?;
    number(side, "descriptor.width", Width::I32, image.plus(10))?;
    number(side, "descriptor.height", Width::I32, image.plus(14))?;
    match kind {
        0 => bitmap(side, image),
        1 /* QUIC */ => {
            let quic = side.extend(image, 4 /* size */ + CHUNK)?;
            number(side, "quic.data_size", Width::I32, quic)?;
            side.chunks("quic.data", quic.plus(4)).map(drop)
        }
        104 /* surface */ => {
            let surface = side.extend(image, 4)?;
            side.surface("surface_image.surface_id", surface)
        }
        other => Err(side.senseless("image type", other)),
    }
}

/// `QXLBitmap` behind its descriptor.
fn bitmap<S: Side>(side: &mut S, image: Place) -> Result<(), S::Error> {
    const DIRECT: u64 = 1;
    let bitmap = side.extend(image, 30)?;
    number(side, "bitmap.format", Width::U8, bitmap)?;
    let flags = number(side, "bitmap.flags", Width::U8, bitmap.plus(1))?;
    number(side, "bitmap.x", Width::I32, bitmap.plus(2))?;
    let rows = number(side, "bitmap.y", Width::I32, bitmap.plus(6))?;
    let stride = number(side, "bitmap.stride", Width::I32, bitmap.plus(10))?;
    if side.present("has_palette", bitmap.plus(14))? {
        let palette = side.open(bitmap.plus(14), 8 /* unique */ + 2 /* entries */)?;
        let count = number(side, "qp.num_ents", Width::U16, palette.plus(8))?;
        number(side, "unique", Width::U64, palette)?;
        // 16 bits: no overflow, at most 256 KiB.
        let count = usize::try_from(count).unwrap_or(0);
        let entries = side.extend(palette, 4 * count)?;
        for index in 0..count {
            number(side, "ents", Width::I32, entries.plus(4 * index))?;
        }
    }
    if flags & DIRECT != 0 {
        // Two 32-bit numbers: no overflow.
        side.blob("image_data_flat", bitmap.plus(22), stride * rows)
    } else {
        let chunk = side.open(bitmap.plus(22), CHUNK)?;
        side.chunks("bitmap.data", chunk).map(drop)
    }
}

/// `QXL_CMD_UPDATE`.
pub fn update<S: Side>(side: &mut S) -> Result<(), S::Error> {
    let head = side.head(32)?;
    side.word("update")?;
    rect(side, "rect area", head.plus(8))?;
    number(side, "update_id", Width::I32, head.plus(24))?;
    side.surface("surface_id", head.plus(28))
}

/// `QXL_CMD_CURSOR`.
pub fn cursor<S: Side>(side: &mut S) -> Result<(), S::Error> {
    let head =
        side.head(8 /* release */ + 1 /* type */ + 13 /* union */ + 128 /* device data */)?;
    side.word("cursor_cmd")?;
    match number(side, "type", Width::U8, head.plus(8))? {
        0 /* set */ => {
            point16(side, "point16", head.plus(9))?;
            number(side, "u.set.visible", Width::U8, head.plus(13))?;
            shape(side, head.plus(14))
        }
        1 /* move */ => point16(side, "point16", head.plus(9)),
        2 /* hide */ => Ok(()),
        3 /* trail */ => {
            number(side, "u.trail.length", Width::U16, head.plus(9))?;
            number(side, "u.trail.frequency", Width::U16, head.plus(11)).map(drop)
        }
        other => Err(side.senseless("cursor command", other)),
    }
}

/// `QXLCursor` behind the address at `at`.
fn shape<S: Side>(side: &mut S, at: Place) -> Result<(), S::Error> {
    let shape = side.open(at, 22 + CHUNK)?;
    number(side, "header.unique", Width::U64, shape)?;
    number(side, "header.type", Width::U16, shape.plus(8))?;
    number(side, "header.width", Width::U16, shape.plus(10))?;
    number(side, "header.height", Width::U16, shape.plus(12))?;
    number(side, "header.hot_spot_x", Width::U16, shape.plus(14))?;
    number(side, "header.hot_spot_y", Width::U16, shape.plus(16))?;
    number(side, "data_size", Width::I32, shape.plus(18))?;
    side.chunks("cursor", shape.plus(22)).map(drop)
}

/// `QXL_CMD_MESSAGE`.
pub fn message<S: Side>(side: &mut S) -> Result<(), S::Error> {
    let head = side.head(8)?;
    side.text("message", head)
}

/// `QXL_CMD_SURFACE`. The type: 0 create, 1 destroy. The number of the surface lies at byte 8.
pub fn surface<S: Side>(side: &mut S) -> Result<u64, S::Error> {
    const KEEP_DATA: u64 = 1;
    let head = side.head(41)?;
    side.word("surface_cmd")?;
    number(side, "surface_id", Width::I32, head.plus(8))?;
    let kind = number(side, "type", Width::U8, head.plus(12))?;
    let flags = number(side, "flags", Width::I32, head.plus(13))?;
    match kind {
        0 /* create */ => {
            number(side, "u.surface_create.format", Width::I32, head.plus(17))?;
            number(side, "u.surface_create.width", Width::I32, head.plus(21))?;
            let rows = number(side, "u.surface_create.height", Width::I32, head.plus(25))?;
            let stride = number(side, "u.surface_create.stride", Width::I32, head.plus(29))?;
            let size = rows * u64::from(magnitude(stride));
            if flags & KEEP_DATA != 0 {
                side.blob("data", head.plus(33), size)?;
            } else {
                side.blank(head.plus(33), size)?;
            }
        }
        1 /* destroy */ => {}
        other => return Err(side.senseless("surface command", other)),
    }
    Ok(kind)
}

/// Absolute value of a stride that was read as 32 plain bits.
#[must_use]
pub fn magnitude(stride: u64) -> u32 {
    u32::try_from(stride).unwrap_or(u32::MAX).cast_signed().unsigned_abs()
}

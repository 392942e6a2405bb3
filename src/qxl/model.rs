//! A guest's commands after every field was read once, checked and copied to private memory.
//!
//! Nothing here points into guest memory, so any thread may hold it and the guest's resource can
//! be released as soon as the command was executed.

use std::ops::Range;
use std::sync::Arc;

use crate::protocol::geometry::{Point, Point16, Rect};
use crate::protocol::message::Bulk;

/// A drawing command.
#[derive(Debug, Clone)]
pub struct Drawable {
    /// Destination surface.
    pub surface_id: u32,
    /// What the guest says of the pixels below (`QXL_EFFECT_*`), 0..=7.
    pub effect: u8,
    /// The box that is drawn, never negative; the surface may be smaller.
    pub bbox: Rect,
    /// `None`: no clip; otherwise the union of these rectangles.
    pub clip: Option<Arc<Vec<Rect>>>,
    /// The guest's multimedia time, milliseconds.
    pub mm_time: u32,
    /// Area that becomes the source where the command has none (`self_bitmap`).
    pub self_bitmap_area: Option<Rect>,
    /// Surfaces that the command reads.
    pub reads: Vec<SurfaceRead>,
    /// The operation.
    pub op: DrawOp,
}

/// A surface that a drawable reads, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfaceRead {
    /// The surface.
    pub surface_id: u32,
    /// The part that is read.
    pub area: Rect,
}

/// What a drawable does.
#[derive(Debug, Clone)]
pub enum DrawOp {
    /// Brush over destination.
    Fill {
        /// What is painted.
        brush: Brush,
        /// Raster operation, `SPICE_ROPD_*` bits.
        rop: u16,
        /// Where it is painted.
        mask: Mask,
    },
    /// Image, then brush over it.
    Opaque {
        /// Source; `None` means the destination itself.
        src: Option<Image>,
        /// Part of the source that is used.
        src_area: Rect,
        /// What is painted over it.
        brush: Brush,
        /// Raster operation between brush and source.
        rop: u16,
        /// True: nearest pixel; false: interpolated.
        nearest: bool,
        /// Where it is painted.
        mask: Mask,
    },
    /// Image over destination (`COPY` and `BLEND`, which mean the same).
    Copy {
        /// The image.
        src: Image,
        /// Part of the image that is used.
        src_area: Rect,
        /// Raster operation, `SPICE_ROPD_*` bits.
        rop: u16,
        /// True: nearest pixel; false: interpolated.
        nearest: bool,
        /// Where it is painted.
        mask: Mask,
        /// True for `BLEND`, which has its own message number.
        blend: bool,
    },
    /// Copy within the destination surface; the box comes from this point.
    CopyBits {
        /// Left upper corner of the source.
        src: Point,
    },
    /// All zero.
    Blackness {
        /// Where.
        mask: Mask,
    },
    /// All ones.
    Whiteness {
        /// Where.
        mask: Mask,
    },
    /// Complement of the destination.
    Invers {
        /// Where.
        mask: Mask,
    },
    /// Any function of brush, image and destination, bit by bit.
    Rop3 {
        /// Source; `None` means the destination itself.
        src: Option<Image>,
        /// Part of the source that is used.
        src_area: Rect,
        /// What is painted.
        brush: Brush,
        /// Truth table: bit `brush << 2 | source << 1 | destination` is the result.
        code: u8,
        /// True: nearest pixel; false: interpolated.
        nearest: bool,
        /// Where it is painted.
        mask: Mask,
    },
    /// Image over destination except where it has one colour.
    Transparent {
        /// Source; `None` means the destination itself.
        src: Option<Image>,
        /// Part of the source that is used.
        src_area: Rect,
        /// Means nothing; clients get it as it is.
        src_color: u32,
        /// The colour that is not drawn, x8r8g8b8 whatever the surface is.
        true_color: u32,
    },
    /// Image blended over the destination.
    AlphaBlend {
        /// Source; `None` means the destination itself.
        src: Option<Image>,
        /// Part of the source that is used.
        src_area: Rect,
        /// `SPICE_ALPHA_FLAGS_*`: destination has alpha 1, source surface has alpha 2.
        flags: u8,
        /// Opacity of the whole, of 255.
        alpha: u8,
    },
    /// Image through a mask over the destination, as the RENDER extension has it.
    Composite(Box<Composite>),
    /// Lines and curves.
    Stroke(Box<Stroke>),
    /// Glyphs, on a background if there is one.
    Text(Box<Text>),
}

impl DrawOp {
    /// The place of the source image, for operations whose source may be the destination itself.
    pub fn optional_source(&mut self) -> Option<&mut Option<Image>> {
        match self {
            Self::Opaque { src, .. }
            | Self::Rop3 { src, .. }
            | Self::Transparent { src, .. }
            | Self::AlphaBlend { src, .. } => Some(src),
            Self::Composite(composite) => Some(&mut composite.src),
            _ => None,
        }
    }
}

/// A composition; operator, filters and repeat modes were checked to be some that pixman has.
#[derive(Debug, Clone)]
pub struct Composite {
    /// `SPICE_COMPOSITE_*` with the operator in the low byte, as clients get it: the bits that say what follows
    /// agree with the fields below.
    pub flags: u32,
    /// Source; `None` means the destination itself.
    pub src: Option<Image>,
    /// Destination to source.
    pub src_transform: Option<Transform>,
    /// Limits the source pixel by pixel.
    pub mask: Option<Image>,
    /// Destination to mask.
    pub mask_transform: Option<Transform>,
    /// Source pixel that lies on the left upper corner of the box, before it is transformed.
    pub src_origin: Point16,
    /// The same of the mask.
    pub mask_origin: Point16,
}

/// Two rows of a matrix whose third is 0 0 1, 16.16.
pub type Transform = [i32; 6];

impl Composite {
    /// There is a mask.
    pub const HAS_MASK: u32 = 1 << 19;
    /// There is a transform of the source.
    pub const HAS_SRC_TRANSFORM: u32 = 1 << 20;
    /// There is a transform of the mask.
    pub const HAS_MASK_TRANSFORM: u32 = 1 << 21;

    /// The numbers that a guest may send.
    pub const GUEST_FLAGS: u32 = 0x01c7_ffff;
    /// Those that mean nothing without a mask.
    pub const MASK_FLAGS: u32 = 0x7 << 11 | 0x3 << 16 | 1 << 18 | 1 << 23;

    /// `pixman_op_t`.
    #[must_use]
    pub fn operator(&self) -> u8 {
        self.flags.to_le_bytes()[0]
    }

    fn bits(&self, shift: u32, mask: u8) -> u8 {
        (self.flags >> shift).to_le_bytes()[0] & mask
    }

    /// `pixman_filter_t` of the source.
    #[must_use]
    pub fn src_filter(&self) -> u8 {
        self.bits(8, 7)
    }

    /// `pixman_filter_t` of the mask.
    #[must_use]
    pub fn mask_filter(&self) -> u8 {
        self.bits(11, 7)
    }

    /// `pixman_repeat_t` of the source.
    #[must_use]
    pub fn src_repeat(&self) -> u8 {
        self.bits(14, 3)
    }

    /// `pixman_repeat_t` of the mask.
    #[must_use]
    pub fn mask_repeat(&self) -> u8 {
        self.bits(16, 3)
    }

    /// The mask limits each channel on its own.
    #[must_use]
    pub fn component_alpha(&self) -> bool {
        self.bits(18, 1) != 0
    }

    /// A source surface with alpha is taken for one without.
    #[must_use]
    pub fn source_opaque(&self) -> bool {
        self.bits(22, 1) != 0
    }
}

/// A stroke along a path; the path was checked to begin before it goes on.
#[derive(Debug, Clone)]
pub struct Stroke {
    /// The path.
    pub path: Arc<Vec<Segment>>,
    /// Lengths of dashes and gaps, 28.4; at least one dash or gap has a pixel. `None`: a solid line.
    pub style: Option<Vec<i32>>,
    /// `SPICE_LINE_FLAGS_*`: start with gap 4, styled 8.
    pub flags: u8,
    /// What is painted.
    pub brush: Brush,
    /// Raster operation, `SPICE_ROPD_*` bits.
    pub fore_mode: u16,
    /// Means nothing; clients get it as it is.
    pub back_mode: u16,
}

impl Stroke {
    /// `SPICE_LINE_FLAGS_START_WITH_GAP`.
    pub const START_WITH_GAP: u8 = 4;
    /// `SPICE_LINE_FLAGS_STYLED`.
    pub const STYLED: u8 = 8;

    /// Dashes begin with a gap.
    #[must_use]
    pub fn start_with_gap(&self) -> bool {
        self.flags & Self::START_WITH_GAP != 0
    }
}

/// A piece of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// `SPICE_PATH_*`: begin 1, end 2, close 8, Bezier 16.
    pub flags: u8,
    /// Its points; for a curve in threes behind the one that begins.
    pub points: Vec<PathPoint>,
}

impl Segment {
    /// All of `SPICE_PATH_*`.
    pub const FLAGS: u8 = 1 | 2 | 8 | 16;

    /// The first point begins a new line.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The line ends here.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.flags & 2 != 0
    }

    /// A line that ends goes back to where it began.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.flags & 8 != 0
    }

    /// The points are those of curves.
    #[must_use]
    pub fn is_bezier(&self) -> bool {
        self.flags & 16 != 0
    }
}

/// A point of a path, 28.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathPoint {
    /// Column.
    pub x: i32,
    /// Row.
    pub y: i32,
}

/// A string of glyphs.
#[derive(Debug, Clone)]
pub struct Text {
    /// Layout of the glyphs.
    pub depth: GlyphDepth,
    /// The string's flag "top down", which means nothing.
    pub top_down: bool,
    /// The glyphs.
    pub glyphs: Arc<Vec<Glyph>>,
    /// The glyphs as they came and as clients get them: head and rows of each.
    pub data: Arc<Vec<u8>>,
    /// Background; empty if there is none.
    pub back_area: Rect,
    /// What glyphs are painted with.
    pub fore_brush: Brush,
    /// What the background is painted with.
    pub back_brush: Brush,
    /// Means nothing; clients get it as it is.
    pub fore_mode: u16,
    /// Means nothing; clients get it as it is.
    pub back_mode: u16,
}

/// Layout of a glyph's pixels, `SPICE_STRING_FLAGS_RASTER_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GlyphDepth {
    /// One bit, the highest leftmost.
    A1 = 1,
    /// Four bits, the high ones leftmost.
    A4 = 2,
    /// Eight bits.
    A8 = 4,
}

impl GlyphDepth {
    /// Bytes of a row.
    #[must_use]
    pub fn row_bytes(self, width: u16) -> usize {
        let width = usize::from(width);
        match self {
            Self::A1 => width.div_ceil(8),
            Self::A4 => width.div_ceil(2),
            Self::A8 => width,
        }
    }
}

/// One glyph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glyph {
    /// Where the text stands there.
    pub render_pos: Point,
    /// From there to the glyph's corner.
    pub origin: Point,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Its rows in the text's data, the bottom row first.
    pub data: Range<usize>,
}

impl Glyph {
    /// Left upper corner on the surface.
    #[must_use]
    pub fn corner(&self) -> (i64, i64) {
        let sum = |a: i32, b: i32| i64::from(a) + i64::from(b);
        (sum(self.render_pos.x, self.origin.x), sum(self.render_pos.y, self.origin.y))
    }
}

/// What a fill paints with.
#[derive(Debug, Clone)]
pub enum Brush {
    /// Acts as colour 0.
    None,
    /// One colour in the surface's format.
    Solid(u32),
    /// A tile, anchored at `pos` on the surface.
    Pattern {
        /// The tile.
        image: Image,
        /// Where the tile's corner lies.
        pos: Point,
    },
}

/// A one-bit mask; without an image everything is painted.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    /// Paint where the bit is 0.
    pub inverse: bool,
    /// Mask pixel that lies on the left upper corner of the box.
    pub pos: Point,
    /// The bits: a 1-bit bitmap or a 1_A surface.
    pub image: Option<Image>,
}

/// An image of a command.
#[derive(Debug, Clone)]
pub struct Image {
    /// The guest's id, key of the client's cache.
    pub id: u64,
    /// `SPICE_IMAGE_FLAGS_*`: cache me 1, high bits set 2. Always 0 for surfaces.
    pub flags: u8,
    /// Width in pixels, equal to that of the data (for surfaces as the guest says).
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Where the pixels are.
    pub kind: ImageKind,
}

/// Where an image's pixels are.
#[derive(Debug, Clone)]
pub enum ImageKind {
    /// In this bitmap.
    Bitmap(Bitmap),
    /// On this surface, which is among the drawable's `reads`.
    Surface(u32),
}

/// Pixels in private memory: `stride * height` bytes, checked.
#[derive(Debug, Clone)]
pub struct Bitmap {
    /// Layout of a pixel.
    pub format: BitmapFormat,
    /// First row in memory is the top row.
    pub top_down: bool,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// Bytes from row to row, at least a row's bytes.
    pub stride: u32,
    /// Present for indexed formats unless the bitmap is a mask.
    pub palette: Option<Arc<Palette>>,
    /// The rows.
    pub data: Bulk,
}

/// Colours of an indexed bitmap, in the destination surface's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Palette {
    /// Key of the client's palette cache, 0 = not to be cached.
    pub unique: u64,
    /// At least as many entries as the format can index; missing ones were set to 0.
    pub entries: Vec<u32>,
}

/// `SPICE_BITMAP_FMT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BitmapFormat {
    /// 1 bit, lowest bit leftmost; only as a mask.
    Bit1Le = 1,
    /// 1 bit, highest bit leftmost.
    Bit1Be = 2,
    /// 4 bits, low nibble leftmost; no stock client draws it.
    Bit4Le = 3,
    /// 4 bits, high nibble leftmost.
    Bit4Be = 4,
    /// 8 bits, indexed.
    Bit8 = 5,
    /// x1r5g5b5.
    Bit16 = 6,
    /// Bytes B, G, R.
    Bit24 = 7,
    /// x8r8g8b8.
    Bit32 = 8,
    /// a8r8g8b8, premultiplied.
    Rgba = 9,
    /// 8 bits of alpha.
    Alpha8 = 10,
}

impl BitmapFormat {
    /// From the number in the protocol.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Bit1Le,
            2 => Self::Bit1Be,
            3 => Self::Bit4Le,
            4 => Self::Bit4Be,
            5 => Self::Bit8,
            6 => Self::Bit16,
            7 => Self::Bit24,
            8 => Self::Bit32,
            9 => Self::Rgba,
            10 => Self::Alpha8,
            _ => return None,
        })
    }

    /// Bits of one pixel.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Bit1Le | Self::Bit1Be => 1,
            Self::Bit4Le | Self::Bit4Be => 4,
            Self::Bit8 | Self::Alpha8 => 8,
            Self::Bit16 => 16,
            Self::Bit24 => 24,
            Self::Bit32 | Self::Rgba => 32,
        }
    }

    /// True if pixels are indices into a palette.
    #[must_use]
    pub fn is_indexed(self) -> bool {
        matches!(self, Self::Bit1Le | Self::Bit1Be | Self::Bit4Le | Self::Bit4Be | Self::Bit8)
    }
}

/// `SPICE_SURFACE_FMT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SurfaceFormat {
    /// 1 bit of alpha.
    A1 = 1,
    /// 8 bits of alpha.
    A8 = 8,
    /// x1r5g5b5.
    Rgb555 = 16,
    /// x8r8g8b8.
    Xrgb = 32,
    /// r5g6b5.
    Rgb565 = 80,
    /// a8r8g8b8, premultiplied.
    Argb = 96,
}

impl SurfaceFormat {
    /// From the number in the protocol.
    #[must_use]
    pub fn from_u32(n: u32) -> Option<Self> {
        Some(match n {
            1 => Self::A1,
            8 => Self::A8,
            16 => Self::Rgb555,
            32 => Self::Xrgb,
            80 => Self::Rgb565,
            96 => Self::Argb,
            _ => return None,
        })
    }

    /// Bits of one pixel.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::A1 => 1,
            Self::A8 => 8,
            Self::Rgb555 | Self::Rgb565 => 16,
            Self::Xrgb | Self::Argb => 32,
        }
    }
}

/// A cursor command.
#[derive(Debug, Clone)]
pub enum CursorCommand {
    /// New shape.
    Set {
        /// Where the pointer is.
        position: Point16,
        /// Whether it is shown.
        visible: bool,
        /// Its shape.
        shape: Arc<CursorShape>,
    },
    /// New position; shows the pointer.
    Move(Point16),
    /// Hides the pointer.
    Hide,
    /// Pointer trail.
    Trail {
        /// Number of images.
        length: u16,
        /// Milliseconds between them.
        frequency: u16,
    },
}

/// A pointer's shape: sizes at most 1024, `data` exactly as long as type and size demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorShape {
    /// Key of the client's cursor cache, 0 = not to be cached.
    pub unique: u64,
    /// `SPICE_CURSOR_TYPE_*`, 0..=6.
    pub kind: u8,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Hot spot, column.
    pub hot_x: u16,
    /// Hot spot, row.
    pub hot_y: u16,
    /// Pixels, palette and mask as the wire has them.
    pub data: Vec<u8>,
}

//! From a drawable to the bytes of its message (display channel spec, sections 2 to 4).
//!
//! Used by thread display-N at the moment a message is sent; pure data. A body is the fixed part,
//! then the blocks its pointers name: palettes and images without pixels first, then each image
//! with its pixels behind it. Pixels are sent by reference to the drawable's own buffer.
#![forbid(unsafe_code)]

pub mod choice;
pub mod client;
pub mod dictionary;
pub mod draft;
pub mod image;
mod repeats;
pub mod shop;
mod traits;
pub mod wan;

use std::borrow::Cow;

use crate::protocol::geometry::{Point, Rect};
use crate::protocol::wire::WireWrite;
use crate::qxl::model::{
    Bitmap, Brush, Composite, DrawOp, Drawable, Image, ImageKind, Mask, Stroke, SurfaceFormat, Text,
};

use draft::{Draft, Unfinished};
use image::{AlphaUse, Block, ImageEncoder, Purpose, RawImages, SurfaceSize};

/// `SPICE_MSG_DISPLAY_COPY_BITS`.
pub const COPY_BITS: u16 = 104;
/// `SPICE_MSG_DISPLAY_DRAW_FILL`.
pub const DRAW_FILL: u16 = 302;
/// `SPICE_MSG_DISPLAY_DRAW_OPAQUE`.
pub const DRAW_OPAQUE: u16 = 303;
/// `SPICE_MSG_DISPLAY_DRAW_COPY`.
pub const DRAW_COPY: u16 = 304;
/// `SPICE_MSG_DISPLAY_DRAW_BLEND`.
pub const DRAW_BLEND: u16 = 305;
/// `SPICE_MSG_DISPLAY_DRAW_BLACKNESS`.
pub const DRAW_BLACKNESS: u16 = 306;
/// `SPICE_MSG_DISPLAY_DRAW_WHITENESS`.
pub const DRAW_WHITENESS: u16 = 307;
/// `SPICE_MSG_DISPLAY_DRAW_INVERS`.
pub const DRAW_INVERS: u16 = 308;

/// `SPICE_MSG_DISPLAY_DRAW_ROP3`.
pub const DRAW_ROP3: u16 = 309;
/// `SPICE_MSG_DISPLAY_DRAW_STROKE`.
pub const DRAW_STROKE: u16 = 310;
/// `SPICE_MSG_DISPLAY_DRAW_TEXT`.
pub const DRAW_TEXT: u16 = 311;
/// `SPICE_MSG_DISPLAY_DRAW_TRANSPARENT`.
pub const DRAW_TRANSPARENT: u16 = 312;
/// `SPICE_MSG_DISPLAY_DRAW_ALPHA_BLEND`.
pub const DRAW_ALPHA_BLEND: u16 = 313;

/// `SPICE_MSG_DISPLAY_DRAW_COMPOSITE`.
pub const DRAW_COMPOSITE: u16 = 318;

/// `SPICE_ROPD_OP_PUT`: the source as it is.
pub const ROP_PUT: u16 = 8;

/// Low half of the id of an image that the server made (`QXL_IMAGE_GROUP_RED`).
const GROUP_RED: u64 = 2;

/// True if a command's picture looks like a photograph, for which QUIC is the codec.
#[must_use]
pub fn is_photograph(drawable: &Drawable) -> bool {
    match &drawable.op {
        DrawOp::Copy { src: Image { kind: ImageKind::Bitmap(bitmap), .. }, .. } => {
            traits::is_gradual(bitmap)
        }
        _ => false,
    }
}

/// Why a drawable cannot be sent as a command; its pixels still can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The source is the destination before the command, which is gone by now.
    #[error("source is the destination itself")]
    NullSource,
    /// An image lies on a surface whose size nobody knows.
    #[error("image on unknown surface {0}")]
    UnknownSurface(u32),
    /// A bitmap's buffer ends before its last row.
    #[error("bitmap of {have} bytes, need {need}")]
    ShortBitmap {
        /// Bytes in the buffer.
        have: usize,
        /// Stride times height.
        need: u64,
    },
    /// The message would not fit its 32-bit size.
    #[error("message of {0} bytes")]
    TooLong(u64),
    /// An image that was to be made by a worker was not.
    #[error("an image was not made")]
    NotMade,
}

/// Counts the images that the server itself makes, per display channel.
#[derive(Debug, Clone, Default)]
pub struct ServerImageIds {
    made: u32,
}

impl ServerImageIds {
    /// A fresh id: group "red" in the low half, a counter from 1 in the high half.
    pub fn next_id(&mut self) -> u64 {
        self.made = self.made.wrapping_add(1);
        u64::from(self.made) << 32 | GROUP_RED
    }
}

/// The message for a drawable.
///
/// `surface_size` answers for surfaces that the drawable reads: width and height as the client
/// knows them when it gets this message.
///
/// # Errors
/// [`EncodeError`] if the command cannot be sent as it is; then its region must be sent as pixels.
pub fn encode_drawable(
    drawable: &Drawable,
    surface_size: SurfaceSize<'_>,
    images: &mut dyn ImageEncoder,
) -> Result<Draft, EncodeError> {
    encode_onto(drawable, None, surface_size, images)
}

/// [`encode_drawable`], where the format of the surface that is drawn on is known.
///
/// # Errors
/// Those of [`encode_drawable`].
pub fn encode_onto(
    drawable: &Drawable,
    dest: Option<SurfaceFormat>,
    surface_size: SurfaceSize<'_>,
    images: &mut dyn ImageEncoder,
) -> Result<Draft, EncodeError> {
    if fails_late(&drawable.op) {
        // Before any image gets a number, which it could not give back.
        body_of(drawable, dest, surface_size, &mut RawImages)?;
    }
    body_of(drawable, dest, surface_size, images).inspect_err(|_| images.discard())
}

/// True if something of the command may turn out to be wrong after its source was coded.
fn fails_late(op: &DrawOp) -> bool {
    match op {
        DrawOp::Opaque { brush, mask, .. } | DrawOp::Rop3 { brush, mask, .. } => {
            matches!(brush, Brush::Pattern { .. }) || mask.image.is_some()
        }
        DrawOp::Copy { mask, .. } => mask.image.is_some(),
        // Nothing follows the source, or it never has a number.
        _ => false,
    }
}

fn body_of(
    drawable: &Drawable,
    dest: Option<SurfaceFormat>,
    surface_size: SurfaceSize<'_>,
    images: &mut dyn ImageEncoder,
) -> Result<Draft, EncodeError> {
    let mut body = Body {
        bytes: Vec::with_capacity(160),
        blocks: Vec::new(),
        plain: Vec::new(),
        surface_size,
    };
    body.base(drawable.surface_id, &drawable.bbox, drawable.clip.as_ref().map(|c| c.as_slice()));
    let kind = match &drawable.op {
        DrawOp::Fill { brush, rop, mask } => {
            body.brush(brush, images)?;
            body.bytes.put_u16(*rop);
            body.mask(mask)?;
            DRAW_FILL
        }
        DrawOp::Opaque { src, src_area, brush, rop, nearest, mask } => {
            body.source(src.as_ref(), seen_unless(*rop), images)?;
            body.bytes.put_rect(src_area);
            body.brush(brush, images)?;
            body.bytes.put_u16(*rop).put_u8(u8::from(*nearest));
            body.mask(mask)?;
            DRAW_OPAQUE
        }
        DrawOp::Copy { src, src_area, rop, nearest, mask, blend } => {
            let mut purpose = if *blend { Purpose::EXACT } else { seen_unless(*rop) };
            let unscaled = src_area.width() == drawable.bbox.width()
                && src_area.height() == drawable.bbox.height();
            if !blend && *rop == ROP_PUT && mask.image.is_none() && unscaled {
                purpose.alpha = match dest {
                    Some(SurfaceFormat::Xrgb) => AlphaUse::Dropped,
                    Some(SurfaceFormat::Argb) => AlphaUse::Copied,
                    _ => AlphaUse::Used,
                };
            }
            body.image(src, purpose, images)?;
            body.bytes.put_rect(src_area).put_u16(*rop).put_u8(u8::from(*nearest));
            body.mask(mask)?;
            if *blend { DRAW_BLEND } else { DRAW_COPY }
        }
        DrawOp::CopyBits { src } => {
            body.bytes.put_point(*src);
            COPY_BITS
        }
        DrawOp::Blackness { mask } => {
            body.mask(mask)?;
            DRAW_BLACKNESS
        }
        DrawOp::Whiteness { mask } => {
            body.mask(mask)?;
            DRAW_WHITENESS
        }
        DrawOp::Invers { mask } => {
            body.mask(mask)?;
            DRAW_INVERS
        }
        DrawOp::Rop3 { src, src_area, brush, code, nearest, mask } => {
            body.source(src.as_ref(), Purpose::EXACT, images)?;
            body.bytes.put_rect(src_area);
            let brush = near_pattern(brush, &drawable.bbox, surface_size)?;
            body.brush(&brush, images)?;
            body.bytes.put_u8(*code).put_u8(u8::from(*nearest));
            body.mask(mask)?;
            DRAW_ROP3
        }
        DrawOp::Transparent { src, src_area, src_color, true_color } => {
            body.source(src.as_ref(), Purpose::EXACT, images)?;
            body.bytes.put_rect(src_area).put_u32(*src_color).put_u32(*true_color);
            DRAW_TRANSPARENT
        }
        DrawOp::AlphaBlend { src, src_area, flags, alpha } => {
            body.bytes.put_u8(*flags).put_u8(*alpha);
            body.source(src.as_ref(), Purpose::SEEN, images)?;
            body.bytes.put_rect(src_area);
            DRAW_ALPHA_BLEND
        }
        DrawOp::Stroke(stroke) => {
            body.stroke(stroke, images)?;
            DRAW_STROKE
        }
        DrawOp::Text(text) => {
            body.text(text, images)?;
            DRAW_TEXT
        }
        DrawOp::Composite(composite) => {
            body.composite(composite, images)?;
            DRAW_COMPOSITE
        }
    };
    body.finish(kind)
}

/// The message that puts pixels of the server's surface onto the client's.
///
/// `bitmap` covers exactly `rect`; `flags` are those of the image descriptor (only "high bits
/// set", 2, is passed on); `id` comes from [`ServerImageIds`].
///
/// # Errors
/// [`EncodeError`] if the bitmap is too short or too long for a message.
pub fn encode_image_copy(
    surface_id: u32,
    rect: &Rect,
    bitmap: Bitmap,
    flags: u8,
    id: u64,
    images: &mut dyn ImageEncoder,
) -> Result<Draft, EncodeError> {
    let (width, height) = (bitmap.width, bitmap.height);
    let image = Image { id, flags, width, height, kind: ImageKind::Bitmap(bitmap) };
    let mut body = Body {
        bytes: Vec::with_capacity(160),
        blocks: Vec::new(),
        plain: Vec::new(),
        surface_size: &|_| None,
    };
    body.base(surface_id, rect, None);
    body.image(&image, Purpose::SURFACE, images)?;
    body.bytes.put_rect(&Rect::from_size(0, 0, width, height)).put_u16(ROP_PUT).put_u8(0);
    body.mask(&Mask::default())?;
    body.finish(DRAW_COPY).inspect_err(|_| images.discard())
}

/// The purpose of a source that an operation copies: losses are seen, and nothing worse, unless it combines bits.
fn seen_unless(rop: u16) -> Purpose {
    const COMBINES: u16 = 16 /* or */ | 32 /* and */ | 64 /* xor */;
    if rop & COMBINES == 0 { Purpose::SEEN } else { Purpose::EXACT }
}

/// The same brush with a corner of a tile at most one tile left of and above the box: stock clients count
/// ROP3 patterns from there without a thought for negative distances or long ones.
fn near_pattern<'a>(
    brush: &'a Brush,
    bbox: &Rect,
    surface_size: SurfaceSize<'_>,
) -> Result<Cow<'a, Brush>, EncodeError> {
    let Brush::Pattern { image, pos } = brush else { return Ok(Cow::Borrowed(brush)) };
    let (width, height) = match &image.kind {
        ImageKind::Bitmap(bitmap) => (bitmap.width, bitmap.height),
        ImageKind::Surface(id) => surface_size(*id).ok_or(EncodeError::UnknownSurface(*id))?,
    };
    let near = |pos: i32, corner: i32, size: u32| {
        let into = (i64::from(corner) - i64::from(pos)).rem_euclid(i64::from(size.max(1)));
        i32::try_from(i64::from(corner) - into).unwrap_or(corner)
    };
    let pos = Point { x: near(pos.x, bbox.left, width), y: near(pos.y, bbox.top, height) };
    Ok(Cow::Owned(Brush::Pattern { image: image.clone(), pos }))
}

/// A body under construction.
struct Body<'a> {
    bytes: Vec<u8>,
    /// What the pointers written so far will point at, with the pointer's place in `bytes`.
    blocks: Vec<(usize, Block)>,
    /// The same for what is no image.
    plain: Vec<(usize, Vec<u8>)>,
    surface_size: SurfaceSize<'a>,
}

impl Body<'_> {
    fn base(&mut self, surface_id: u32, bbox: &Rect, clip: Option<&[Rect]>) {
        self.bytes.put_u32(surface_id).put_rect(bbox);
        let Some(rects) = clip else {
            self.bytes.put_u8(0);
            return;
        };
        // A list longer than its 32-bit count does not fit any message; `finish` refuses it.
        self.bytes.put_u8(1).put_u32(u32::try_from(rects.len()).unwrap_or(u32::MAX));
        for rect in rects {
            self.bytes.put_rect(rect);
        }
    }

    fn brush(&mut self, brush: &Brush, images: &mut dyn ImageEncoder) -> Result<(), EncodeError> {
        match brush {
            Brush::None => {
                self.bytes.put_u8(0);
            }
            Brush::Solid(color) => {
                self.bytes.put_u8(1).put_u32(*color);
            }
            Brush::Pattern { image, pos } => {
                self.bytes.put_u8(2);
                self.image(image, Purpose::PATTERN, images)?;
                self.bytes.put_point(*pos);
            }
        }
        Ok(())
    }

    fn mask(&mut self, mask: &Mask) -> Result<(), EncodeError> {
        let Some(image) = &mask.image else {
            self.bytes.put_u8(0).put_point(Point::default()).put_u32(0);
            return Ok(());
        };
        self.bytes.put_u8(u8::from(mask.inverse)).put_point(mask.pos);
        // Masks are never compressed, and their palettes mean nothing (1BIT_LE with a palette
        // aborts stock clients).
        let mut plain = image.clone();
        if let ImageKind::Bitmap(bitmap) = &mut plain.kind {
            bitmap.palette = None;
        }
        self.image(&plain, Purpose::EXACT, &mut RawImages)
    }

    /// Writes a pointer to bytes that follow in `finish`.
    fn block(&mut self, bytes: Vec<u8>) {
        self.plain.push((self.bytes.len(), bytes));
        self.bytes.put_u32(0);
    }

    fn stroke(
        &mut self,
        stroke: &Stroke,
        images: &mut dyn ImageEncoder,
    ) -> Result<(), EncodeError> {
        let mut path = Vec::new();
        // The parser bounds paths far below what 32 bits count.
        path.put_u32(u32::try_from(stroke.path.len()).unwrap_or(u32::MAX));
        for segment in stroke.path.iter() {
            path.put_u8(segment.flags);
            path.put_u32(u32::try_from(segment.points.len()).unwrap_or(u32::MAX));
            for point in &segment.points {
                path.put_i32(point.x).put_i32(point.y);
            }
        }
        self.block(path);
        self.bytes.put_u8(stroke.flags);
        if let Some(style) = &stroke.style {
            self.bytes.put_u8(u8::try_from(style.len()).unwrap_or(u8::MAX));
            let mut lengths = Vec::new();
            for length in style {
                lengths.put_i32(*length);
            }
            self.block(lengths);
        }
        self.brush(&stroke.brush, images)?;
        self.bytes.put_u16(stroke.fore_mode).put_u16(stroke.back_mode);
        Ok(())
    }

    fn text(&mut self, text: &Text, images: &mut dyn ImageEncoder) -> Result<(), EncodeError> {
        const TOP_DOWN: u8 = 8;
        let mut string = Vec::with_capacity(2 + 1 + text.data.len());
        let length = u16::try_from(text.glyphs.len()).unwrap_or(u16::MAX);
        let top_down = if text.top_down { TOP_DOWN } else { 0 };
        string.put_u16(length).put_u8(text.depth as u8 | top_down).put_bytes(&text.data);
        self.block(string);
        self.bytes.put_rect(&text.back_area);
        self.brush(&text.fore_brush, images)?;
        self.brush(&text.back_brush, images)?;
        // Clients abort on any other operation if there is a background, and ignore it if not.
        self.bytes.put_u16(ROP_PUT).put_u16(text.back_mode);
        Ok(())
    }

    fn composite(
        &mut self,
        composite: &Composite,
        images: &mut dyn ImageEncoder,
    ) -> Result<(), EncodeError> {
        self.bytes.put_u32(composite.flags);
        self.source(composite.src.as_ref(), Purpose::COMPOSED, images)?;
        if let Some(mask) = &composite.mask {
            self.image(mask, Purpose::COMPOSED, images)?;
        }
        for transform in composite.src_transform.iter().chain(&composite.mask_transform) {
            for value in transform {
                self.bytes.put_i32(*value);
            }
        }
        for origin in [composite.src_origin, composite.mask_origin] {
            self.bytes.put_i16(origin.x).put_i16(origin.y);
        }
        Ok(())
    }

    /// A source that the scene should have filled in if it was the destination.
    fn source(
        &mut self,
        image: Option<&Image>,
        purpose: Purpose,
        images: &mut dyn ImageEncoder,
    ) -> Result<(), EncodeError> {
        self.image(image.ok_or(EncodeError::NullSource)?, purpose, images)
    }

    /// Writes a pointer to an image; the image itself follows in `finish`.
    fn image(
        &mut self,
        image: &Image,
        purpose: Purpose,
        images: &mut dyn ImageEncoder,
    ) -> Result<(), EncodeError> {
        let block = Block::new(image, purpose, self.surface_size, images)?;
        self.blocks.push((self.bytes.len(), block));
        self.bytes.put_u32(0);
        Ok(())
    }

    fn finish(self, kind: u16) -> Result<Draft, EncodeError> {
        let Self { bytes, blocks, plain, .. } = self;
        Unfinished { kind, bytes, blocks, plain }.into_draft()
    }
}

#[cfg(test)]
pub(super) mod decode;

#[cfg(test)]
mod tests;

//! Drawables: the native form and that of compatibility mode.

use std::sync::Arc;

use super::error::{CommandError, Reason};
use super::image::{Images, Role};
use super::source::{CHUNK_HEADER, Source};
use super::{DisplayCommand, payload, solid_area, with_release};
use super::{path, text};
use crate::protocol::geometry::{Point, Point16, Rect};
use crate::protocol::wire::Reader;
use crate::qxl::command::{CommandExt, FLAG_COMPAT, FLAG_COMPAT_16BPP};
use crate::qxl::guest::GuestError;
use crate::qxl::model::{
    Brush, Composite, DrawOp, Drawable, Image, ImageKind, Mask, SurfaceRead, Transform,
};
use crate::sys::pixman;

/// Bytes of the part that depends on the draw type.
const BODY: usize = 68;
/// `QXLDrawable`.
const NATIVE: usize = 8 /* release */ + 4 /* surface */ + 1 /* effect */ + 1 /* type */
    + 1 /* self bitmap */ + 16 /* its area */ + 16 /* box */ + 4 + 8 /* clip */ + 4 /* time */
    + 3 * 4 /* surfaces read */ + 3 * 16 /* areas read */ + BODY;
/// `QXLCompatDrawable`.
const COMPAT: usize = 8 /* release */ + 1 /* effect */ + 1 /* type */ + 2 /* bitmap offset */
    + 16 /* its area */ + 16 /* box */ + 4 + 8 /* clip */ + 4 /* time */ + BODY;

/// Highest of `QXL_EFFECT_*`.
const MAX_EFFECT: u8 = 7;

/// `SPICE_ALPHA_FLAGS_*` that mean something.
const ALPHA_FLAGS: u8 = 3;

/// `QXL_DRAW_*`.
mod draw {
    pub const NOP: u8 = 0;
    pub const FILL: u8 = 1;
    pub const OPAQUE: u8 = 2;
    pub const COPY: u8 = 3;
    pub const COPY_BITS: u8 = 4;
    pub const BLEND: u8 = 5;
    pub const BLACKNESS: u8 = 6;
    pub const WHITENESS: u8 = 7;
    pub const INVERS: u8 = 8;
    pub const ROP3: u8 = 9;
    pub const STROKE: u8 = 10;
    pub const TEXT: u8 = 11;
    pub const TRANSPARENT: u8 = 12;
    pub const ALPHA_BLEND: u8 = 13;
    pub const COMPOSITE: u8 = 14;
}

/// What native and compatible drawables have in common, before any address is followed.
struct Head {
    surface_id: u32,
    effect: u8,
    kind: u8,
    self_bitmap: Option<Rect>,
    bbox: Rect,
    clip: (u32, u64),
    mm_time: u32,
    reads: Vec<SurfaceRead>,
}

/// A command of type DRAW.
pub(super) fn parse(
    mut source: Source<'_>,
    command: &CommandExt,
) -> Result<DisplayCommand, CommandError> {
    let (parsed, release) = if command.flags & FLAG_COMPAT != 0 {
        let (bytes, release) = payload::<COMPAT>(&source, "drawable", command)?;
        let mut fields = Reader::new(&bytes);
        let parsed = compat_head(&mut fields)
            .and_then(|head| drawable(&mut source, command.flags, head, &mut fields));
        (parsed, release)
    } else {
        let (bytes, release) = payload::<NATIVE>(&source, "drawable", command)?;
        let mut fields = Reader::new(&bytes);
        let parsed = native_head(&source, &mut fields)
            .and_then(|head| drawable(&mut source, command.flags, head, &mut fields));
        (parsed, release)
    };
    let (drawable, release) = with_release(parsed, release)?;
    Ok(DisplayCommand::Draw(drawable, release))
}

fn native_head(source: &Source<'_>, fields: &mut Reader<'_>) -> Result<Head, Reason> {
    let _release = fields.u64()?;
    let surface_id = source.surface_id("drawable", fields.u32()?)?;
    let (effect, kind, self_bitmap) = (fields.u8()?, fields.u8()?, fields.u8()? != 0);
    let self_area = fields.rect()?;
    let bbox = fields.rect()?;
    let clip = (fields.u32()?, fields.u64()?);
    let mm_time = fields.u32()?;
    let ids = [fields.i32()?, fields.i32()?, fields.i32()?];
    let mut reads = Vec::new();
    for id in ids {
        // The areas are hints for what to render first; drivers do not keep them tidy.
        let area = fields.rect()?;
        if id != -1 {
            let surface_id = source.surface_id("dependency", id.cast_unsigned())?;
            reads.push(SurfaceRead { surface_id, area });
        }
    }
    let self_bitmap = self_bitmap.then_some(self_area);
    Ok(Head { surface_id, effect, kind, self_bitmap, bbox, clip, mm_time, reads })
}

fn compat_head(fields: &mut Reader<'_>) -> Result<Head, Reason> {
    let _release = fields.u64()?;
    let (effect, kind) = (fields.u8()?, fields.u8()?);
    let self_bitmap = fields.u16()? != 0;
    let self_area = fields.rect()?;
    let bbox = fields.rect()?;
    let clip = (fields.u32()?, fields.u64()?);
    let mm_time = fields.u32()?;
    let self_bitmap = self_bitmap.then_some(self_area);
    Ok(Head { surface_id: 0, effect, kind, self_bitmap, bbox, clip, mm_time, reads: Vec::new() })
}

/// Follows the addresses of a drawable. Cheap checks come before pixels are copied.
fn drawable(
    source: &mut Source<'_>,
    flags: u32,
    mut head: Head,
    body: &mut Reader<'_>,
) -> Result<Drawable, Reason> {
    let compat = flags & FLAG_COMPAT != 0;
    match head.kind {
        draw::FILL..=draw::ALPHA_BLEND => {}
        draw::COMPOSITE if compat => return Err(Reason::DrawType(head.kind)),
        draw::COMPOSITE => {}
        draw::NOP => return Err(Reason::UnsupportedDraw(head.kind)),
        kind => return Err(Reason::DrawType(kind)),
    }
    if head.effect > MAX_EFFECT {
        return Err(Reason::Effect(head.effect));
    }
    let bbox = solid_area("box", head.bbox)?;
    let clip = clip(source, head.clip)?;
    if compat && head.kind == draw::COPY_BITS {
        let src = body.clone().point()?;
        let area = copy_bits_source(src, bbox)?;
        head.reads.push(SurfaceRead { surface_id: 0, area });
    }
    let images = Images { source, reads: &head.reads, rgb555: flags & FLAG_COMPAT_16BPP != 0 };
    let kind = Kind { draw: head.kind, compat };
    let (op, self_bitmap_area) = operation(images, kind, bbox, head.self_bitmap, body)?;
    Ok(Drawable {
        surface_id: head.surface_id,
        effect: head.effect,
        bbox,
        clip,
        mm_time: head.mm_time,
        self_bitmap_area,
        reads: head.reads,
        op,
    })
}

/// Which layout a body has.
#[derive(Clone, Copy)]
struct Kind {
    /// `QXL_DRAW_*`.
    draw: u8,
    /// In compatibility mode.
    compat: bool,
}

/// The operation, and the part of the destination that is its source if it has no other.
fn operation(
    mut images: Images<'_, '_>,
    kind: Kind,
    bbox: Rect,
    self_bitmap: Option<Rect>,
    body: &mut Reader<'_>,
) -> Result<(DrawOp, Option<Rect>), Reason> {
    let op = match kind.draw {
        draw::FILL => {
            let brush = brush(&mut images, body)?;
            let rop = body.u16()?;
            DrawOp::Fill { brush, rop, mask: mask(&mut images, body)? }
        }
        draw::OPAQUE => {
            let (src, src_area, self_area) = source(&mut images, self_bitmap, body)?;
            let brush = brush(&mut images, body)?;
            let rop = body.u16()?;
            let nearest = scale_mode(body)?;
            let mask = mask(&mut images, body)?;
            return Ok((DrawOp::Opaque { src, src_area, brush, rop, nearest, mask }, self_area));
        }
        draw::ROP3 => {
            let (src, src_area, self_area) = source(&mut images, self_bitmap, body)?;
            let brush = brush(&mut images, body)?;
            let code = body.u8()?;
            let nearest = scale_mode(body)?;
            let mask = mask(&mut images, body)?;
            return Ok((DrawOp::Rop3 { src, src_area, brush, code, nearest, mask }, self_area));
        }
        draw::TRANSPARENT => {
            let (src, src_area, self_area) = source(&mut images, self_bitmap, body)?;
            let (src_color, true_color) = (body.u32()?, body.u32()?);
            return Ok((DrawOp::Transparent { src, src_area, src_color, true_color }, self_area));
        }
        draw::ALPHA_BLEND => {
            // The old layout has no flags: neither side has alpha then.
            let [flags, _] = if kind.compat { [0; 2] } else { body.u16()?.to_le_bytes() };
            let flags = flags & ALPHA_FLAGS;
            let alpha = body.u8()?;
            let (src, src_area, self_area) = source(&mut images, self_bitmap, body)?;
            return Ok((DrawOp::AlphaBlend { src, src_area, flags, alpha }, self_area));
        }
        copy @ (draw::COPY | draw::BLEND) => {
            // `self_bitmap` means nothing here, although some drivers set it.
            let addr = body.u64()?;
            let src_area = solid_area("source area", body.rect()?)?;
            let src = source_image(&mut images, addr, src_area)?;
            let rop = body.u16()?;
            let nearest = scale_mode(body)?;
            let mask = mask(&mut images, body)?;
            DrawOp::Copy { src, src_area, rop, nearest, mask, blend: copy == draw::BLEND }
        }
        draw::COPY_BITS => {
            let src = body.point()?;
            copy_bits_source(src, bbox)?;
            DrawOp::CopyBits { src }
        }
        draw::BLACKNESS => DrawOp::Blackness { mask: mask(&mut images, body)? },
        draw::WHITENESS => DrawOp::Whiteness { mask: mask(&mut images, body)? },
        draw::INVERS => DrawOp::Invers { mask: mask(&mut images, body)? },
        draw::STROKE => DrawOp::Stroke(Box::new(path::stroke(&mut images, body)?)),
        draw::TEXT => DrawOp::Text(Box::new(text::text(&mut images, body)?)),
        draw::COMPOSITE => return composite(&mut images, self_bitmap, body),
        other => return Err(Reason::DrawType(other)),
    };
    Ok((op, None))
}

/// `QXLComposite`.
fn composite(
    images: &mut Images<'_, '_>,
    self_bitmap: Option<Rect>,
    body: &mut Reader<'_>,
) -> Result<(DrawOp, Option<Rect>), Reason> {
    let flags = body.u32()? & Composite::GUEST_FLAGS;
    let (src, src_transform) = (body.u64()?, body.u64()?);
    let (mask, mask_transform) = (body.u64()?, body.u64()?);
    let mut origin = || -> Result<Point16, Reason> {
        let (x, y) = (body.i16()?, body.i16()?);
        Ok(Point16 { x, y })
    };
    let (src_origin, mask_origin) = (origin()?, origin()?);
    let mut out = Composite {
        flags: if mask == 0 { flags & !Composite::MASK_FLAGS } else { flags },
        src: None,
        src_transform: None,
        mask: None,
        mask_transform: None,
        src_origin,
        mask_origin,
    };
    if !pixman::is_operator(out.operator()) {
        return Err(Reason::CompositeOperator(out.operator()));
    }
    for (part, filter) in [("source", out.src_filter()), ("mask", out.mask_filter())] {
        if !pixman::is_filter(filter) {
            return Err(Reason::CompositeFilter { part, filter });
        }
    }
    let self_area = match self_bitmap {
        Some(area) if src == 0 => Some(solid_area("self bitmap", area)?),
        _ => {
            out.src = Some(images.parse("source", src, Role::Color)?);
            None
        }
    };
    if src_transform != 0 {
        out.src_transform = Some(transform(images.source, src_transform)?);
        out.flags |= Composite::HAS_SRC_TRANSFORM;
    }
    if mask != 0 {
        out.mask = Some(images.parse("mask", mask, Role::Color)?);
        out.flags |= Composite::HAS_MASK;
        if mask_transform != 0 {
            out.mask_transform = Some(transform(images.source, mask_transform)?);
            out.flags |= Composite::HAS_MASK_TRANSFORM;
        }
    }
    Ok((DrawOp::Composite(Box::new(out)), self_area))
}

/// `QXLTransform`.
fn transform(source: &Source<'_>, addr: u64) -> Result<Transform, Reason> {
    let bytes = source.fetch::<{ 6 * 4 }>("transform", addr, 0)?;
    let mut fields = Reader::new(&bytes);
    let mut out = [0; 6];
    for value in &mut out {
        *value = fields.i32()?;
    }
    Ok(out)
}

/// A source that may be the destination itself: image or none, its part that is used, and the part
/// of the destination that is the image if there is none.
fn source(
    images: &mut Images<'_, '_>,
    self_bitmap: Option<Rect>,
    body: &mut Reader<'_>,
) -> Result<(Option<Image>, Rect, Option<Rect>), Reason> {
    let addr = body.u64()?;
    let src_area = solid_area("source area", body.rect()?)?;
    match self_bitmap {
        Some(area) if addr == 0 => {
            let area = solid_area("self bitmap", area)?;
            inside(src_area, area.width(), area.height())?;
            Ok((None, src_area, Some(area)))
        }
        _ => Ok((Some(source_image(images, addr, src_area)?), src_area, None)),
    }
}

/// The source of a copying operation, with the part that is used inside it.
fn source_image(images: &mut Images<'_, '_>, addr: u64, area: Rect) -> Result<Image, Reason> {
    let image = images.parse("source", addr, Role::Color)?;
    match &image.kind {
        ImageKind::Bitmap(bitmap) => inside(area, bitmap.width, bitmap.height)?,
        // Its true size is known to the scene only; what the descriptor says is not reliable.
        ImageKind::Surface(_) => {}
    }
    Ok(image)
}

/// Checks that a rectangle, not negative, ends inside an image.
fn inside(rect: Rect, width: u32, height: u32) -> Result<(), Reason> {
    if i64::from(rect.right) > i64::from(width) || i64::from(rect.bottom) > i64::from(height) {
        return Err(Reason::OutsideImage { rect, width, height });
    }
    Ok(())
}

/// Where a copy within a surface takes its pixels.
fn copy_bits_source(src: Point, bbox: Rect) -> Result<Rect, Reason> {
    let part = "copy source";
    let area = Rect::from_size(src.x, src.y, bbox.width(), bbox.height());
    if area.width() != bbox.width() || area.height() != bbox.height() {
        // It ran into the end of the numbers.
        return Err(Reason::Area { part, rect: area });
    }
    solid_area(part, area)
}

/// `QXLClip`. Rectangles without a pixel add nothing to the union and are left out.
fn clip(
    source: &mut Source<'_>,
    (kind, addr): (u32, u64),
) -> Result<Option<Arc<Vec<Rect>>>, Reason> {
    const NONE: u32 = 0;
    const RECTS: u32 = 1;
    const RECT: usize = 4 * 4;
    const HEADER: usize = 4 /* number */ + CHUNK_HEADER;
    match kind {
        NONE => return Ok(None),
        RECTS => {}
        other => return Err(Reason::ClipType(other)),
    }
    let header = source.fetch::<HEADER>("clip", addr, 0)?;
    let mut fields = Reader::new(&header);
    let count = fields.u32()?;
    let chunks = source.chunks("clip", addr, HEADER, &mut fields)?;
    if chunks.total() != u64::from(count) * RECT as u64 {
        return Err(Reason::ClipSize { count, bytes: chunks.total() });
    }
    if count > source.limits().clip_rects {
        return Err(Reason::TooManyClips { count, limit: source.limits().clip_rects });
    }
    let bytes = source.copy_all(&chunks, chunks.total())?;
    let mut rects = Vec::new();
    rects
        .try_reserve_exact(bytes.len() / RECT)
        .map_err(|e| Reason::Copy { part: "clip", cause: GuestError::NoMemory(e) })?;
    let mut fields = Reader::new(&bytes);
    while !fields.rest().is_empty() {
        let rect = fields.rect()?;
        if !rect.is_empty() {
            rects.push(rect);
        }
    }
    Ok(Some(Arc::new(rects)))
}

/// `QXLBrush`, 20 bytes.
pub(super) fn brush(images: &mut Images<'_, '_>, body: &mut Reader<'_>) -> Result<Brush, Reason> {
    const NONE: u32 = 0;
    const SOLID: u32 = 1;
    const PATTERN: u32 = 2;
    let kind = body.u32()?;
    let union = body.array::<16>()?;
    let mut union = Reader::new(&union);
    Ok(match kind {
        NONE => Brush::None,
        SOLID => Brush::Solid(images.color(union.u32()?)),
        PATTERN => {
            let image = images.parse("pattern", union.u64()?, Role::Color)?;
            Brush::Pattern { image, pos: union.point()? }
        }
        other => return Err(Reason::BrushType(other)),
    })
}

/// `QXLQMask`, 17 bytes; without an image its flags and position mean nothing.
fn mask(images: &mut Images<'_, '_>, body: &mut Reader<'_>) -> Result<Mask, Reason> {
    const INVERS: u8 = 1;
    let flags = body.u8()?;
    let pos = body.point()?;
    let addr = body.u64()?;
    if addr == 0 {
        return Ok(Mask::default());
    }
    let image = Some(images.parse("mask", addr, Role::Mask)?);
    Ok(Mask { inverse: flags & INVERS != 0, pos, image })
}

/// `SPICE_IMAGE_SCALE_MODE_*`: true for nearest, false for interpolation.
fn scale_mode(body: &mut Reader<'_>) -> Result<bool, Reason> {
    match body.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Reason::ScaleMode(other)),
    }
}

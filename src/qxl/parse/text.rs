//! Strings of glyphs.

use std::sync::Arc;

use super::drawable::brush;
use super::error::Reason;
use super::image::Images;
use super::source::CHUNK_HEADER;
use crate::protocol::geometry::Rect;
use crate::protocol::wire::Reader;
use crate::qxl::model::{Glyph, GlyphDepth, Text};

/// Most bytes of a string: every one of them is looked at while its glyphs are drawn.
const MAX_STRING: u64 = 16 << 20;

/// `QXLText`.
pub(super) fn text(images: &mut Images<'_, '_>, body: &mut Reader<'_>) -> Result<Text, Reason> {
    const HEADER: usize = 4 /* size */ + 2 /* length */ + 2 /* flags */ + CHUNK_HEADER;
    const TOP_DOWN: u16 = 8;
    let part = "string";
    let addr = body.u64()?;
    let back_area = body.rect()?;
    let fore_brush = brush(images, body)?;
    let back_brush = brush(images, body)?;
    let (fore_mode, back_mode) = (body.u16()?, body.u16()?);
    let header = images.source.fetch::<HEADER>(part, addr, 0)?;
    let mut fields = Reader::new(&header);
    let (size, length, flags) = (u64::from(fields.u32()?), fields.u16()?, fields.u16()?);
    let depth = match flags & 7 {
        0 => return Err(Reason::GlyphDepth(flags)),
        n if n & 1 != 0 => GlyphDepth::A1,
        n if n & 2 != 0 => GlyphDepth::A4,
        _ => GlyphDepth::A8,
    };
    let chunks = images.source.chunks(part, addr, HEADER, &mut fields)?;
    if size > MAX_STRING {
        return Err(Reason::TooMuchData { part, bytes: size, left: MAX_STRING });
    }
    let data = images.source.copy_all(&chunks, size)?;
    let glyphs = Arc::new(glyphs(&data, length, depth)?);
    let back_area = if back_area.is_empty() { Rect::default() } else { back_area };
    let (data, top_down) = (Arc::new(data), flags & TOP_DOWN != 0);
    Ok(Text {
        depth,
        top_down,
        glyphs,
        data,
        back_area,
        fore_brush,
        back_brush,
        fore_mode,
        back_mode,
    })
}

/// Exactly as many glyphs as announced.
fn glyphs(data: &[u8], length: u16, depth: GlyphDepth) -> Result<Vec<Glyph>, Reason> {
    let wrong = || Reason::Glyphs { length, have: data.len() };
    let mut out = Vec::new();
    let mut fields = Reader::new(data);
    while !fields.rest().is_empty() {
        if out.len() >= usize::from(length) {
            return Err(wrong());
        }
        let glyph = glyph(data, &mut fields, depth).ok_or_else(wrong)?;
        out.push(glyph);
    }
    if out.len() == usize::from(length) { Ok(out) } else { Err(wrong()) }
}

/// `QXLRasterGlyph`; `None` if it does not fit.
fn glyph(data: &[u8], fields: &mut Reader<'_>, depth: GlyphDepth) -> Option<Glyph> {
    let (render_pos, origin) = (fields.point().ok()?, fields.point().ok()?);
    let (width, height) = (fields.u16().ok()?, fields.u16().ok()?);
    let start = data.len() - fields.rest().len();
    let len = depth.row_bytes(width).checked_mul(usize::from(height))?;
    fields.bytes(len).ok()?;
    Some(Glyph { render_pos, origin, width, height, data: start..start + len })
}

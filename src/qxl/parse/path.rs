//! Strokes: paths and dashes.
//!
//! Stock clients walk paths without looking whether they can be walked, so here is where it is looked.

use std::sync::Arc;

use super::drawable::brush;
use super::error::Reason;
use super::image::Images;
use super::source::CHUNK_HEADER;
use crate::protocol::wire::Reader;
use crate::qxl::model::{PathPoint, Segment, Stroke};

/// Bytes of a segment's head: flags and number of points.
const SEGMENT: usize = 4 + 4;
/// Bytes of a point.
const POINT: usize = 4 + 4;
/// Most bytes of a path; what a driver sends is a thousandth of it.
const MAX_PATH: u64 = 1 << 20;
/// Coordinates (28.4) beyond this are nobody's picture, and products of them overflow in clients.
const FAR: i32 = 1 << 27;

/// `QXLStroke`.
pub(super) fn stroke(images: &mut Images<'_, '_>, body: &mut Reader<'_>) -> Result<Stroke, Reason> {
    let addr = body.u64()?;
    let (flags, _join, _end, nseg) = (body.u8()?, body.u8()?, body.u8()?, body.u8()?);
    let (_width, _miter) = (body.i32()?, body.i32()?);
    let style = body.u64()?;
    let brush = brush(images, body)?;
    let (fore_mode, back_mode) = (body.u16()?, body.u16()?);
    let mut flags = flags & (Stroke::START_WITH_GAP | Stroke::STYLED);
    let style = if flags & Stroke::STYLED == 0 {
        flags = 0;
        None
    } else {
        Some(dashes(images, style, nseg)?)
    };
    let path = Arc::new(path(images, addr)?);
    Ok(Stroke { path, style, flags, brush, fore_mode, back_mode })
}

/// Lengths of dashes. Clients keep the low 8 bits of their whole pixels and never come to an end if all are 0.
fn dashes(images: &mut Images<'_, '_>, addr: u64, nseg: u8) -> Result<Vec<i32>, Reason> {
    let no_dashes = Reason::NoDashes(nseg.into());
    if nseg == 0 {
        return Err(no_dashes);
    }
    let bytes = images.source.bytes("style", addr, 0, u64::from(nseg) * 4)?;
    let mut fields = Reader::new(&bytes);
    let mut out = Vec::with_capacity(nseg.into());
    for _ in 0..nseg {
        out.push(fields.i32()?);
    }
    let pixels = |v: &i32| ((v >> 4) + i32::from(v & 15 > 8)) & 0xff;
    if out.iter().all(|v| pixels(v) == 0) { Err(no_dashes) } else { Ok(out) }
}

/// `QXLPath`.
fn path(images: &mut Images<'_, '_>, addr: u64) -> Result<Vec<Segment>, Reason> {
    const HEADER: usize = 4 /* size, means nothing */ + CHUNK_HEADER;
    let part = "path";
    let header = images.source.fetch::<HEADER>(part, addr, 0)?;
    let mut fields = Reader::new(&header);
    let _size = fields.u32()?;
    let chunks = images.source.chunks(part, addr, HEADER, &mut fields)?;
    let bytes = chunks.total();
    if bytes > MAX_PATH {
        return Err(Reason::TooMuchData { part, bytes, left: MAX_PATH });
    }
    let bytes = images.source.copy_all(&chunks, bytes)?;
    let mut fields = Reader::new(&bytes);
    let mut path = Vec::new();
    let mut begun = false;
    // A head without points at the very end is no segment.
    while fields.rest().len() > SEGMENT {
        let [flags, ..] = fields.u32()?.to_le_bytes();
        let count = fields.u32()?;
        let (have, need) = (fields.rest().len() as u64, u64::from(count) * POINT as u64);
        if have < need {
            return Err(Reason::DataSize { part, have, need });
        }
        let mut points = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for _ in 0..count {
            let (x, y) = (fields.i32()?, fields.i32()?);
            if !(-FAR..=FAR).contains(&x) || !(-FAR..=FAR).contains(&y) {
                return Err(Reason::PathPoint { x, y });
            }
            points.push(PathPoint { x, y });
        }
        let segment = Segment { flags: flags & Segment::FLAGS, points };
        begun = walk(&segment, begun)?;
        path.push(segment);
    }
    Ok(path)
}

/// Whether there is a line to be gone on with after this segment.
fn walk(segment: &Segment, begun: bool) -> Result<bool, Reason> {
    let count = segment.points.len();
    let more = if segment.begins() {
        count.checked_sub(1).ok_or(Reason::Path("begins without a point"))?
    } else {
        count
    };
    let begun = begun || segment.begins();
    if !begun && (more > 0 || segment.closes()) {
        return Err(Reason::Path("goes on before it began"));
    }
    if segment.is_bezier() && !more.is_multiple_of(3) {
        return Err(Reason::Path("has a curve of other than three points"));
    }
    Ok(begun && !segment.ends())
}

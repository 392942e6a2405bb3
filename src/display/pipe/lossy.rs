//! What of a client's surfaces was painted from data with losses (display channel spec, section 9).
//!
//! A client that gets JPEG has other pixels than the server has, and that is fine as long as they
//! are only looked at, moved or blended. Operations that combine bits make much of little: the
//! highest bit of a difference of one may decide. So of whatever combines bits with such pixels the
//! client gets the outcome as pixels, which have no losses.
//!
//! The record is kept in the order of sending: it is about what the client has when it handles the
//! next message. It may say more than is true, where keeping it small or exact does not pay; it
//! never says less. A client without JPEG has an empty record, which costs one look per command.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::display::region::Region;
use crate::protocol::geometry::Rect;
use crate::qxl::model::{Brush, DrawOp, Image, ImageKind};

use super::Queued;
use super::footprint::rop_reads_dest;
use super::surface::SurfaceKey;

/// Lossy areas by the generation of their surface; none is empty.
#[derive(Debug, Default)]
pub(super) struct Losses(BTreeMap<u64, Region>);

impl Losses {
    /// The area of a surface, if there is one.
    pub fn of(&self, key: SurfaceKey) -> Option<&Region> {
        self.0.get(&key.generation)
    }

    /// The client has it from another server, where it got that with losses.
    pub fn inherited(&mut self, key: SurfaceKey, area: &Rect) {
        if !area.is_empty() {
            self.0.insert(key.generation, Region::from_rect(*area));
        }
    }

    /// Surfaces with a lossy area.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// True if a command combines bits with pixels that have losses.
    pub fn forbid(&self, queued: &Queued) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let op = &queued.draw.drawable.op;
        let passes = passed_on(op);
        let combined = |r: &&super::Read| passes.is_none_or(|(id, _)| id != Some(r.key.id));
        let reads_lossy =
            |r: &super::Read| self.of(r.key).is_some_and(|lossy| lossy.intersects_rect(&r.area));
        (combines_with_dest(op)
            && self.of(queued.dest).is_some_and(|lossy| lossy.intersects(&queued.draw.region)))
            || (!matches!(op, DrawOp::CopyBits { .. })
                && queued.reads.iter().filter(combined).any(reads_lossy))
    }

    /// A command was sent. `lossy_image`: its image has losses. The record of a surface has at most `max_rects`
    /// rectangles.
    pub fn drawn(&mut self, queued: &Queued, lossy_image: bool, max_rects: usize) {
        if self.0.is_empty() && !lossy_image {
            return;
        }
        let region = &queued.draw.region;
        let brought = if lossy_image { region.clone() } else { self.moved(queued) };
        let area = self.0.entry(queued.dest.generation).or_default();
        if !queued.reads_dest {
            area.subtract(region);
        }
        area.union(&brought);
        area.simplify(max_rects);
        if area.is_empty() {
            self.0.remove(&queued.dest.generation);
        }
    }

    /// Pixels of the server's surface were sent.
    pub fn repaired(&mut self, key: SurfaceKey, rect: &Rect, max_rects: usize) {
        if let Some(area) = self.0.get_mut(&key.generation) {
            area.subtract_rect(rect);
            area.simplify(max_rects);
            if area.is_empty() {
                self.0.remove(&key.generation);
            }
        }
    }

    /// The client was told that a surface is gone.
    pub fn destroyed(&mut self, key: SurfaceKey) {
        self.0.remove(&key.generation);
    }

    /// Losses that a command carries from the surface that it reads to the one that it draws on.
    fn moved(&self, queued: &Queued) -> Region {
        let (region, drawable) = (&queued.draw.region, &queued.draw.drawable);
        let (key, from) = match &drawable.op {
            DrawOp::CopyBits { src } => {
                let (width, height) = (drawable.bbox.width(), drawable.bbox.height());
                (queued.dest, Rect::from_size(src.x, src.y, width, height))
            }
            op => {
                let Some((Some(id), area)) = passed_on(op) else { return Region::new() };
                let Some(read) = queued.reads.iter().find(|r| r.key.id == id) else {
                    return Region::new();
                };
                (read.key, area)
            }
        };
        let Some(lossy) = self.of(key) else { return Region::new() };
        let to = &drawable.bbox;
        if (from.width(), from.height()) != (to.width(), to.height()) {
            // Scaling looks at neighbours outside the part as well.
            return region.clone();
        }
        let far = |to: i32, from: i32| to.checked_sub(from);
        let Some((dx, dy)) = far(to.left, from.left).zip(far(to.top, from.top)) else {
            return region.clone();
        };
        let mut moved = lossy.clone();
        moved.intersect_rect(&from);
        let mut moved = moved.translate(dx, dy);
        moved.intersect(region);
        moved
    }
}

/// The source of an operation that only shows it: the surface that it is, if it is one, and the part that is shown.
/// `None` if the operation combines the bits of its source, or has none.
fn passed_on(op: &DrawOp) -> Option<(Option<u32>, Rect)> {
    let (src, area, brush) = match op {
        DrawOp::Copy { src, src_area, rop, blend: false, .. } if !combines(*rop) => {
            (src, src_area, None)
        }
        DrawOp::Opaque { src: Some(src), src_area, rop, brush, .. } if !combines(*rop) => {
            (src, src_area, Some(brush))
        }
        DrawOp::AlphaBlend { src: Some(src), src_area, .. } => (src, src_area, None),
        _ => return None,
    };
    let surface = |image: &Image| match image.kind {
        ImageKind::Surface(id) => Some(id),
        ImageKind::Bitmap(_) => None,
    };
    // A surface that is the brush or the mask too has to be exact.
    let id = surface(src);
    let twice = match brush {
        Some(Brush::Pattern { image, .. }) => id.is_some() && surface(image) == id,
        _ => false,
    } || mask_of(op).is_some_and(|image| id.is_some() && surface(image) == id);
    (!twice).then_some((id, *area))
}

fn mask_of(op: &DrawOp) -> Option<&Image> {
    match op {
        DrawOp::Copy { mask, .. } | DrawOp::Opaque { mask, .. } => mask.image.as_ref(),
        _ => None,
    }
}

/// True if an operation combines its result with the bits that are there.
fn combines_with_dest(op: &DrawOp) -> bool {
    match op {
        DrawOp::Fill { rop, .. } | DrawOp::Copy { rop, .. } => rop_reads_dest(*rop),
        DrawOp::Stroke(stroke) => rop_reads_dest(stroke.fore_mode),
        DrawOp::Rop3 { .. } | DrawOp::Composite(_) => true,
        // Clients invert a difference, or blend it; the others put or leave what is there. Texts are put whatever
        // modes they have.
        DrawOp::Invers { .. }
        | DrawOp::Text(_)
        | DrawOp::AlphaBlend { .. }
        | DrawOp::Opaque { .. }
        | DrawOp::CopyBits { .. }
        | DrawOp::Blackness { .. }
        | DrawOp::Whiteness { .. }
        | DrawOp::Transparent { .. } => false,
    }
}

/// True if a raster operation combines two operands: `SPICE_ROPD_OP_OR`, `AND`, `XOR`, whichever bit else is set.
fn combines(rop: u16) -> bool {
    rop & (16 | 32 | 64) != 0
}

//! Which pixels a drawable needs, and whether it defines all it covers.
//!
//! [`ClientPipe`](super::ClientPipe) keeps a drawable as a command only while everything named
//! here is right on the client. So all answers err on the side of "needs more" and "defines less":
//! that costs bytes, the other way would cost a wrong picture.
#![forbid(unsafe_code)]

use crate::display::region::Region;
use crate::protocol::geometry::{Point, Rect};
use crate::qxl::model::{Brush, DrawOp, Drawable, Image, ImageKind, Mask, SurfaceFormat};

/// Most rectangles of a region that is followed exactly; beyond, its bounds stand for it.
const MAX_REGION_RECTS: usize = 1024;

/// `SPICE_ROPD_OP_PUT`, `OR`, `AND`, `XOR`, `BLACKNESS`, `WHITENESS`, `INVERS`.
const OPS: [(u16, bool); 7] =
    [(8, false), (16, true), (32, true), (64, true), (128, false), (256, false), (512, true)];

/// A drawable on its way to clients; shared between the pipes of one display channel.
#[derive(Debug, Clone)]
pub struct PipedDraw {
    /// The command, already executed on the server's surface.
    pub drawable: Drawable,
    /// Every pixel that it may have changed.
    pub region: Region,
    /// True if `region` is exactly box ∩ surface ∩ clip; false if it is larger.
    pub exact: bool,
    /// True if clients must get the pixels, because they would not draw the command alike.
    pub pixels_only: bool,
    /// Memory that the queue is charged for.
    pub bytes: usize,
}

impl PipedDraw {
    /// Prepares a drawable for the pipes; `surface` is the whole destination surface.
    #[must_use]
    pub fn new(drawable: Drawable, surface: Rect) -> Self {
        let whole = drawable.bbox.intersect(&surface);
        let (mut region, mut exact) = (Region::from_rect(whole), true);
        if let Some(clip) = &drawable.clip {
            match Region::from_rects_bounded(clip, MAX_REGION_RECTS) {
                Some(clip) => region.intersect(&clip),
                None => exact = false,
            }
        }
        // 512: about what the structures around the pixels take.
        let mut bytes = 512 + 16 * drawable.clip.as_ref().map_or(0, |c| c.len());
        each_image(&drawable.op, |image| {
            if let ImageKind::Bitmap(bitmap) = &image.kind {
                bytes = bytes.saturating_add(bitmap.data.len());
            }
        });
        Self { drawable, region, exact, pixels_only: false, bytes }
    }
}

/// What a drawable needs on the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Areas of surfaces that are read; inside the surface's bounds, may be empty.
    pub reads: Vec<(u32, Rect)>,
    /// The result depends on the old pixels of the region, or not all of it is written.
    pub reads_dest: bool,
}

/// The footprint of a drawable; `None` if the client must get pixels instead.
///
/// `surface` tells the bounds and the format of a surface that exists now.
pub(super) fn footprint(
    draw: &PipedDraw,
    surface: &dyn Fn(u32) -> Option<(Rect, SurfaceFormat)>,
) -> Option<Footprint> {
    let drawable = &draw.drawable;
    if draw.pixels_only {
        return None;
    }
    let (bounds, format) = surface(drawable.surface_id)?;
    let mut out = Footprint { reads: Vec::new(), reads_dest: !draw.exact };
    let mut add = |id: u32, area: Rect| -> Option<()> {
        let (bounds, _) = surface(id)?;
        // The client reads while it writes: only copy-bits promises a snapshot.
        let area = area.intersect(&bounds);
        if id == drawable.surface_id && draw.region.intersects_rect(&area) {
            return None;
        }
        out.reads.push((id, area));
        Some(())
    };
    let mut partial = false;
    // Whatever the guest says it reads may matter to a rule that is not known here.
    for read in &drawable.reads {
        if !matches!(drawable.op, DrawOp::CopyBits { .. }) {
            add(read.surface_id, read.area)?;
        }
    }
    let mut whole = |image: &Image| match &image.kind {
        ImageKind::Surface(id) => add(*id, everything()),
        ImageKind::Bitmap(_) => Some(()),
    };
    match &drawable.op {
        DrawOp::Fill { brush, rop, mask } => {
            partial |= rop_reads_dest(*rop) | has(mask);
            if let Brush::Pattern { image, .. } = brush {
                drawable_source(image, format, surface)?;
                whole(image)?;
            }
            mask.image.as_ref().map_or(Some(()), whole)?;
        }
        DrawOp::Opaque { src, src_area, brush, mask, .. } => {
            let src = src.as_ref()?;
            drawable_source(src, format, surface)?;
            if let Brush::Pattern { image, .. } = brush {
                drawable_source(image, format, surface)?;
                whole(image)?;
            }
            mask.image.as_ref().map_or(Some(()), whole)?;
            partial |= has(mask) | source(src, src_area, &drawable.bbox, surface, &mut add)?;
        }
        DrawOp::Copy { src, src_area, rop, mask, .. } => {
            drawable_source(src, format, surface)?;
            mask.image.as_ref().map_or(Some(()), whole)?;
            partial |= rop_reads_dest(*rop) | has(mask);
            partial |= source(src, src_area, &drawable.bbox, surface, &mut add)?;
        }
        DrawOp::CopyBits { src } => {
            let (area, inside) = shifted(&draw.region, src, &drawable.bbox, &bounds);
            partial |= !inside;
            out.reads.push((drawable.surface_id, area));
        }
        DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } => {
            partial |= has(mask);
            mask.image.as_ref().map_or(Some(()), whole)?;
        }
        DrawOp::Invers { mask } => {
            partial = true;
            mask.image.as_ref().map_or(Some(()), whole)?;
        }
    }
    out.reads_dest |= partial;
    Some(out)
}

/// Adds what a source image reads; true if it leaves pixels of the box unwritten.
fn source(
    image: &Image,
    area: &Rect,
    bbox: &Rect,
    surface: &dyn Fn(u32) -> Option<(Rect, SurfaceFormat)>,
    add: &mut dyn FnMut(u32, Rect) -> Option<()>,
) -> Option<bool> {
    let scaled = (area.width(), area.height()) != (bbox.width(), bbox.height());
    let bounds = match &image.kind {
        ImageKind::Bitmap(bitmap) => Rect::from_size(0, 0, bitmap.width, bitmap.height),
        ImageKind::Surface(id) => {
            // Scaling also looks at neighbours outside the area.
            add(*id, if scaled { everything() } else { *area })?;
            surface(*id)?.0
        }
    };
    Some(!bounds.contains(area))
}

/// Where copy-bits reads, and whether all of that lies on the surface.
fn shifted(region: &Region, src: &Point, bbox: &Rect, surface: &Rect) -> (Rect, bool) {
    let moved = src.x.checked_sub(bbox.left).zip(src.y.checked_sub(bbox.top));
    match moved.and_then(|(dx, dy)| region.bounds().translate(dx, dy)) {
        Some(area) => (area.intersect(surface), surface.contains(&area)),
        None => (*surface, false),
    }
}

/// Refuses images that stock clients cannot draw on a surface of this format.
///
/// Bitmaps they convert first; the pixels of surfaces they take as they are, and abort if those
/// have another number of bits.
fn drawable_source(
    image: &Image,
    format: SurfaceFormat,
    surface: &dyn Fn(u32) -> Option<(Rect, SurfaceFormat)>,
) -> Option<()> {
    use crate::qxl::model::BitmapFormat::{Bit1Le, Bit4Le};
    let drawable = match &image.kind {
        ImageKind::Surface(id) => {
            let rgb32 = |f| matches!(f, SurfaceFormat::Xrgb | SurfaceFormat::Argb);
            let (_, from) = surface(*id)?;
            from == format || (rgb32(from) && rgb32(format))
        }
        ImageKind::Bitmap(bitmap) => {
            let unknown = matches!(bitmap.format, Bit1Le | Bit4Le);
            let unconvertible = format == SurfaceFormat::Rgb565 && bitmap.format.is_indexed();
            !unknown && !unconvertible
        }
    };
    drawable.then_some(())
}

/// True if a raster operation combines with the destination; the first set bit decides, none is a
/// plain copy.
fn rop_reads_dest(rop: u16) -> bool {
    OPS.iter().find(|(bit, _)| rop & bit != 0).is_some_and(|(_, reads)| *reads)
}

fn has(mask: &Mask) -> bool {
    mask.image.is_some()
}

fn everything() -> Rect {
    Rect { top: i32::MIN, left: i32::MIN, bottom: i32::MAX, right: i32::MAX }
}

fn each_image(op: &DrawOp, mut visit: impl FnMut(&Image)) {
    let (src, brush, mask) = match op {
        DrawOp::Fill { brush, mask, .. } => (None, Some(brush), Some(mask)),
        DrawOp::Opaque { src, brush, mask, .. } => (src.as_ref(), Some(brush), Some(mask)),
        DrawOp::Copy { src, mask, .. } => (Some(src), None, Some(mask)),
        DrawOp::CopyBits { .. } => (None, None, None),
        DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } | DrawOp::Invers { mask } => {
            (None, None, Some(mask))
        }
    };
    let pattern = match brush {
        Some(Brush::Pattern { image, .. }) => Some(image),
        _ => None,
    };
    src.into_iter().chain(pattern).chain(mask.and_then(|m| m.image.as_ref())).for_each(&mut visit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qxl::model::SurfaceRead;

    /// A copy or a pattern fill from surface 1 to surface 0, and whether it goes as a command.
    fn is_sent(op: &str, from: SurfaceFormat, to: SurfaceFormat) -> bool {
        let bbox = Rect::from_size(0, 0, 4, 4);
        let image = Image { id: 0, flags: 0, width: 8, height: 8, kind: ImageKind::Surface(1) };
        let mask = Mask::default();
        let op = if op == "copy" {
            DrawOp::Copy { src: image, src_area: bbox, rop: 8, nearest: true, mask, blend: false }
        } else {
            let brush = Brush::Pattern { image, pos: Point::default() };
            DrawOp::Fill { brush, rop: 8, mask }
        };
        let drawable = Drawable {
            surface_id: 0,
            effect: 0,
            bbox,
            clip: None,
            mm_time: 0,
            self_bitmap_area: None,
            reads: vec![SurfaceRead { surface_id: 1, area: bbox }],
            op,
        };
        let bounds = Rect::from_size(0, 0, 8, 8);
        let draw = PipedDraw::new(drawable, bounds);
        footprint(&draw, &|id| Some((bounds, if id == 0 { to } else { from }))).is_some()
    }

    #[test]
    fn a_surface_is_read_by_clients_only_where_their_pixels_are_alike() {
        use SurfaceFormat::{Argb, Rgb555, Rgb565, Xrgb};
        for op in ["copy", "pattern"] {
            for format in [Argb, Rgb555, Rgb565, Xrgb] {
                assert!(is_sent(op, format, format), "{op} {format:?}");
            }
            assert!(is_sent(op, Argb, Xrgb) && is_sent(op, Xrgb, Argb), "{op}");
            for (from, to) in [(Xrgb, Rgb565), (Rgb555, Xrgb), (Rgb555, Rgb565), (Argb, Rgb555)] {
                assert!(!is_sent(op, from, to), "{op} {from:?} to {to:?}");
            }
        }
    }
}

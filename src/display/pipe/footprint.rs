//! Which pixels a drawable needs, and whether it defines all it covers.
//!
//! [`ClientPipe`](super::ClientPipe) keeps a drawable as a command only while everything named
//! here is right on the client. So all answers err on the side of "needs more" and "defines less":
//! that costs bytes, the other way would cost a wrong picture.
#![forbid(unsafe_code)]

use crate::display::region::Region;
use crate::protocol::geometry::{Point, Rect};
use crate::qxl::model::{
    BitmapFormat, Brush, Composite, DrawOp, Drawable, Glyph, GlyphDepth, Image, ImageKind, Mask,
    Segment, Stroke, SurfaceFormat, Text, Transform,
};

/// Bit of an image's flags: it may stay in caches.
const CACHE: u8 = 1;

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
    /// Format of the surface that it draws on, if that matters.
    pub dest: Option<SurfaceFormat>,
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
        match &drawable.op {
            DrawOp::Stroke(op) => {
                let points: usize = op.path.iter().map(|s| 32 + 8 * s.points.len()).sum();
                bytes = bytes.saturating_add(points);
            }
            // Glyphs are kept twice: as they came, and where they lie.
            DrawOp::Text(op) => bytes = bytes.saturating_add(op.data.len() + 40 * op.glyphs.len()),
            _ => {}
        }
        Self { drawable, region, exact, pixels_only: false, bytes, dest: None }
    }
}

/// What a client is able to draw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Compositions (`SPICE_DISPLAY_CAP_COMPOSITE`).
    pub composite: bool,
    /// Surfaces of 8-bit alpha (`SPICE_DISPLAY_CAP_A8_SURFACE`); a client without never hears of one.
    pub alpha_surfaces: bool,
    /// Little more than pixels: see [`is_simple`].
    pub simple: bool,
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
    abilities: Abilities,
    surface: &dyn Fn(u32) -> Option<(Rect, SurfaceFormat)>,
) -> Option<Footprint> {
    let drawable = &draw.drawable;
    if draw.pixels_only {
        return None;
    }
    let (bounds, format) = surface(drawable.surface_id)?;
    if abilities.simple && !(format.bits() == 32 && is_simple(draw, &bounds)) {
        return None;
    }
    let bbox = &drawable.bbox;
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
    let same_depth = |image: &Image| match &image.kind {
        ImageKind::Surface(id) => (surface(*id)?.1.bits() == format.bits()).then_some(()),
        ImageKind::Bitmap(_) => Some(()),
    };
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
        DrawOp::Rop3 { src, src_area, brush, code, mask, .. } => {
            // Stock clients abort on the codes that they lack and on sources smaller than the box, and take
            // surfaces of any depth for one of the destination's.
            let src = src.as_ref().filter(|_| clients_have(*code) && format.bits() >= 16)?;
            // What they make of no brush is whatever lies in their memory.
            if matches!(brush, Brush::None) {
                return None;
            }
            if (src_area.width(), src_area.height()) != (bbox.width(), bbox.height()) {
                return None;
            }
            drawable_source(src, format, surface)?;
            same_depth(src)?;
            if let Brush::Pattern { image, .. } = brush {
                drawable_source(image, format, surface)?;
                same_depth(image)?;
                whole(image)?;
            }
            mask.image.as_ref().map_or(Some(()), whole)?;
            partial = true;
            if source(src, src_area, bbox, surface, &mut add)? {
                return None;
            }
        }
        DrawOp::Transparent { src, src_area, .. } => {
            let src = src.as_ref().filter(|_| format.bits() >= 16)?;
            drawable_source(src, format, surface)?;
            same_depth(src)?;
            partial = true;
            if source(src, src_area, bbox, surface, &mut add)? {
                return None;
            }
        }
        DrawOp::Stroke(op) => {
            // Where a clip has several rectangles, stock clients lose pieces of lines that are nearly level.
            partial = (drawn_alike(op) && draw.region.rects().len() <= 1).then_some(true)?;
            if let Brush::Pattern { image, .. } = &op.brush {
                drawable_source(image, format, surface)?;
                whole(image)?;
            }
        }
        DrawOp::Text(op) => {
            // Stock clients read 5-6-5 colours wrongly and 8-bit glyphs from the wrong row. High bytes of xRGB
            // are as with alpha blends, see below.
            let known = drawable.surface_id == 0 || format == SurfaceFormat::Argb;
            let solid = |brush: &Brush| !matches!(brush, Brush::Pattern { .. });
            let good = matches!(format, SurfaceFormat::Rgb555) || known && format.bits() == 32;
            if !good || !solid(&op.fore_brush) || !solid(&op.back_brush) || !is_near(op) {
                return None;
            }
            partial = true;
        }
        DrawOp::Composite(op) => {
            // The high bytes of an xRGB result are anybody's guess; see below.
            let known = drawable.surface_id == 0 || format != SurfaceFormat::Xrgb;
            if !abilities.composite || !known || !composed_alike(op) {
                return None;
            }
            for image in [op.src.as_ref()?].into_iter().chain(&op.mask) {
                drawable_source(image, format, surface)?;
                whole(image)?;
            }
            partial = true;
        }
        DrawOp::AlphaBlend { src, src_area, flags, .. } => {
            const DEST_HAS_ALPHA: u8 = 1;
            // Without alpha the high bytes of the result are anybody's guess, and off the screen somebody
            // may read them as alpha later.
            let known = flags & DEST_HAS_ALPHA != 0 || drawable.surface_id == 0;
            let src = src.as_ref().filter(|_| known || format.bits() == 16)?;
            drawable_source(src, format, surface)?;
            partial = true;
            if source(src, src_area, bbox, surface, &mut add)? {
                return None;
            }
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
    use crate::qxl::model::BitmapFormat::{Alpha8, Bit1Le, Bit4Le};
    let no_client = match &image.kind {
        ImageKind::Surface(id) => {
            let rgb32 = |f| matches!(f, SurfaceFormat::Xrgb | SurfaceFormat::Argb);
            let (_, from) = surface(*id)?;
            from != format && !(rgb32(from) && rgb32(format))
        }
        ImageKind::Bitmap(bitmap) => {
            let alpha_or_color = bitmap.format.is_indexed() || bitmap.format == Alpha8;
            matches!(bitmap.format, Bit1Le | Bit4Le)
                || (format == SurfaceFormat::Rgb565 && bitmap.format.is_indexed())
                // Whether colours of a palette have an alpha there depends on whether the client keeps the image.
                || (format == SurfaceFormat::Argb && alpha_or_color && image.flags & CACHE != 0)
        }
    };
    (!no_client).then_some(())
}

/// True if a raster operation combines with the destination; the first set bit decides, none is a
/// plain copy.
pub(super) fn rop_reads_dest(rop: u16) -> bool {
    OPS.iter().find(|(bit, _)| rop & bit != 0).is_some_and(|(_, reads)| *reads)
}

/// True for strokes that stock clients draw as the canvas does: solid lines of numbers that their arithmetic
/// can take.
fn drawn_alike(op: &Stroke) -> bool {
    // 28.4. Products of four distances along a curve have to fit 64 bits.
    const CURVE: i32 = 1 << 16;
    const LINE: i32 = 1 << 19;
    let curves = op.path.iter().any(Segment::is_bezier);
    let far = if curves { CURVE } else { LINE };
    let mut points = op.path.iter().flat_map(|s| &s.points);
    let near = |v: i32| (-far..=far).contains(&v);
    op.style.is_none() && !op.path.is_empty() && points.all(|p| near(p.x) && near(p.y))
}

/// True for text that stock clients can put together: they make one mask of all glyphs, however far apart.
fn is_near(op: &Text) -> bool {
    const FAR: i64 = 1 << 13;
    let near = |v: i64| (-FAR..=FAR).contains(&v);
    let good = |glyph: &Glyph| {
        let (x, y) = glyph.corner();
        let parts = [glyph.render_pos.x, glyph.render_pos.y, glyph.origin.x, glyph.origin.y];
        let size = glyph.width.min(glyph.height) > 0 && glyph.width.max(glyph.height) < 1 << 12;
        size && near(x) && near(y) && parts.iter().all(|v| near(i64::from(*v)))
    };
    op.depth != GlyphDepth::A8 && !op.glyphs.is_empty() && op.glyphs.iter().all(good)
}

/// True for compositions that every build of pixman does alike: operators that are exact on 8 bits, and no
/// pixels between pixels.
fn composed_alike(op: &Composite) -> bool {
    const LAST_EXACT: u8 = 12; // ADD
    let on_pixels = |transform: &Option<Transform>, filter: u8| {
        transform.is_none() || matches!(filter, 0 | 3 /* fast, nearest */)
    };
    op.operator() <= LAST_EXACT
        && on_pixels(&op.src_transform, op.src_filter())
        && on_pixels(&op.mask_transform, op.mask_filter())
}

/// True for the ROP3 codes of stock clients: those that depend on all three operands. They abort on any other.
fn clients_have(code: u8) -> bool {
    let depends = |shift: u8, low: u8| code >> shift & low != code & low;
    depends(4, 0x0f) && depends(2, 0x33) && depends(1, 0x55)
}

/// True for what the simplest clients draw (spice-html5, read from its source): fills with a colour, whole 32-bit
/// images put where they belong, moves inside the screen. Such clients heed neither clip nor mask
/// nor raster operation, and put an image there as a whole whatever part of it is meant.
fn is_simple(draw: &PipedDraw, bounds: &Rect) -> bool {
    const PUT: u16 = 8;
    let drawable = &draw.drawable;
    let bbox = &drawable.bbox;
    if drawable.clip.is_some() || !draw.exact || !bounds.contains(bbox) {
        return false;
    }
    match &drawable.op {
        DrawOp::Fill { brush: Brush::Solid(_), rop: PUT, mask } => !has(mask),
        DrawOp::Copy { src, src_area, rop: PUT, mask, blend: false, .. } => {
            let ImageKind::Bitmap(bitmap) = &src.kind else { return false };
            let whole = Rect::from_size(0, 0, bitmap.width, bitmap.height);
            let fits = (bbox.width(), bbox.height()) == (bitmap.width, bitmap.height);
            let format = matches!(bitmap.format, BitmapFormat::Bit32 | BitmapFormat::Rgba);
            let packed = u64::from(bitmap.stride) == u64::from(bitmap.width) * 4;
            !has(mask) && fits && whole == *src_area && format && packed
        }
        DrawOp::CopyBits { src } => {
            bounds.contains(&Rect::from_size(src.x, src.y, bbox.width(), bbox.height()))
        }
        _ => false,
    }
}

fn has(mask: &Mask) -> bool {
    mask.image.is_some()
}

fn everything() -> Rect {
    Rect { top: i32::MIN, left: i32::MIN, bottom: i32::MAX, right: i32::MAX }
}

/// Names the surfaces whose pixels a command may read, the destination among them if it reads others than those
/// that it draws on; some of them twice.
pub fn surfaces_read(drawable: &Drawable, mut visit: impl FnMut(u32)) {
    drawable.reads.iter().for_each(|read| visit(read.surface_id));
    each_image(&drawable.op, |image| {
        if let ImageKind::Surface(id) = image.kind {
            visit(id);
        }
    });
    if drawable.self_bitmap_area.is_some() || matches!(drawable.op, DrawOp::CopyBits { .. }) {
        visit(drawable.surface_id);
    }
}

fn each_image(op: &DrawOp, mut visit: impl FnMut(&Image)) {
    let (src, brush, mask) = match op {
        DrawOp::Fill { brush, mask, .. } => (None, Some(brush), Some(mask)),
        DrawOp::Opaque { src, brush, mask, .. } => (src.as_ref(), Some(brush), Some(mask)),
        DrawOp::Copy { src, mask, .. } => (Some(src), None, Some(mask)),
        DrawOp::Rop3 { src, brush, mask, .. } => (src.as_ref(), Some(brush), Some(mask)),
        DrawOp::Transparent { src, .. } | DrawOp::AlphaBlend { src, .. } => {
            (src.as_ref(), None, None)
        }
        DrawOp::Stroke(op) => (None, Some(&op.brush), None),
        DrawOp::Text(op) => {
            if let Brush::Pattern { image, .. } = &op.back_brush {
                visit(image);
            }
            (None, Some(&op.fore_brush), None)
        }
        DrawOp::Composite(op) => {
            op.src.iter().chain(&op.mask).for_each(&mut visit);
            (None, None, None)
        }
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
        footprint(
            &draw,
            Abilities { composite: true, alpha_surfaces: true, simple: false },
            &|id| Some((bounds, if id == 0 { to } else { from })),
        )
        .is_some()
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

    #[test]
    fn stock_clients_lack_the_codes_of_the_list() {
        let lacking: Vec<u8> = (0..=255).filter(|code| !clients_have(*code)).collect();
        let list = "00 03 05 0a 0c 0f 11 22 30 33 3c 3f 44 50 55 5a 5f 66 77 88 99 a0 a5 aa af bb c0 c3 \
                    cc cf dd ee f0 f3 f5 fa fc ff";
        let list: Vec<u8> = list.split(' ').map(|n| u8::from_str_radix(n, 16).unwrap()).collect();
        assert_eq!(lacking, list);
    }

    #[test]
    fn simple_clients_get_fills_whole_images_and_moves() {
        use crate::qxl::model::Bitmap;
        let bounds = Rect::from_size(0, 0, 20, 20);
        let bitmap = |format: BitmapFormat, stride| Bitmap {
            format,
            top_down: false,
            width: 4,
            height: 4,
            stride,
            palette: None,
            data: Default::default(),
        };
        let copy = |bitmap: Bitmap, src_area, rop| {
            let kind = ImageKind::Bitmap(bitmap);
            let src = Image { id: 1, flags: 1, width: 4, height: 4, kind };
            DrawOp::Copy { src, src_area, rop, nearest: false, mask: Mask::default(), blend: false }
        };
        let at = |x, y, size| Rect::from_size(x, y, size, size);
        let good = || bitmap(BitmapFormat::Bit32, 16);
        let fill = |rop| DrawOp::Fill { brush: Brush::Solid(1), rop, mask: Mask::default() };
        let moved = |x| DrawOp::CopyBits { src: Point { x, y: 0 } };
        let sent = |op: DrawOp, clip: Option<Rect>, bbox, format| {
            let drawable = Drawable {
                surface_id: 0,
                effect: 0,
                bbox,
                clip: clip.map(|rect| vec![rect].into()),
                mm_time: 0,
                self_bitmap_area: None,
                reads: Vec::new(),
                op,
            };
            let draw = PipedDraw::new(drawable, bounds);
            let abilities = Abilities { simple: true, ..Abilities::default() };
            footprint(&draw, abilities, &|_| Some((bounds, format))).is_some()
        };
        let (here, xrgb) = (at(1, 1, 4), SurfaceFormat::Xrgb);
        let whole = at(0, 0, 4);
        for op in [fill(8), moved(16), copy(good(), whole, 8)] {
            assert!(sent(op.clone(), None, here, xrgb), "{op:?}");
            assert!(!sent(op.clone(), Some(here), here, xrgb), "a clip: {op:?}");
            assert!(!sent(op, None, here, SurfaceFormat::Rgb555));
        }
        assert!(sent(copy(bitmap(BitmapFormat::Rgba, 16), whole, 8), None, here, xrgb));
        for op in [
            fill(16),
            moved(17),
            copy(good(), whole, 64),
            copy(good(), at(1, 1, 3), 8),
            copy(bitmap(BitmapFormat::Bit32, 20), whole, 8),
            copy(bitmap(BitmapFormat::Bit16, 8), whole, 8),
            DrawOp::Whiteness { mask: Mask::default() },
        ] {
            assert!(!sent(op.clone(), None, here, xrgb), "{op:?}");
        }
        assert!(!sent(copy(good(), whole, 8), None, at(1, 1, 8), xrgb), "scaled");
    }
}

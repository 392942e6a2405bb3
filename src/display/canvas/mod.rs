//! The server's own drawing: executes guest commands on surfaces, pixel for pixel as stock clients do.
//!
//! Runs on display-N and writes guest memory through [`target`] alone.
//! Equality with the clients matters because a client that drew a command itself may next be sent the
//! server's picture of the neighbourhood.
//! Whatever the command says, nothing here panics or reads outside of an image: a command that cannot
//! be drawn is refused with a [`DrawError`] and leaves the surface as it was.
#![deny(unsafe_code)]

mod blend;
mod composite;
mod convert;
mod line;
mod mask;
#[cfg(test)]
mod naive;
mod paint;
mod raster;
mod repeat;
pub mod rop;
mod scale;
mod stroke;
pub mod target;
mod text;
#[cfg(test)]
mod twin_tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasher;

use self::blend::Blend;
use self::mask::PlacedMask;
use self::paint::{Ink, Mix, Painter};
pub use self::raster::FLAG_HIGH_BITS_SET;
use self::raster::{Raster, bounds};
use self::rop::{Rop, descriptor};
use self::scale::{Scaled, Stretch, Use};
use self::text::Coverage;
use super::surface::Surface;
use crate::protocol::geometry::{Point, Rect};
use crate::qxl::model::{Brush, DrawOp, Drawable, Image, ImageKind, Mask, SurfaceFormat, Text};

/// The surfaces that commands draw on and read from.
pub trait SurfaceStore {
    /// The surface of this number, if it exists.
    fn surface(&self, id: u32) -> Option<&Surface>;
    /// The same, to be drawn on.
    fn surface_mut(&mut self, id: u32) -> Option<&mut Surface>;
}

impl<S: BuildHasher> SurfaceStore for HashMap<u32, Surface, S> {
    fn surface(&self, id: u32) -> Option<&Surface> {
        self.get(&id)
    }

    fn surface_mut(&mut self, id: u32) -> Option<&mut Surface> {
        self.get_mut(&id)
    }
}

/// Why a command was not drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The destination or a source does not exist.
    #[error("no surface {0}")]
    NoSurface(u32),
    /// The command reads the destination but names no part of it.
    #[error("no source image")]
    NoSource,
    /// An image without pixels.
    #[error("image without pixels")]
    EmptyImage,
    /// The operation means nothing on a surface that has only alpha.
    #[error("surface without colours")]
    NoColors,
    /// A dashed line without the length of a pixel.
    #[error("dashes without a pixel")]
    NoDashes,
    /// A path of so many points or so many pixels that drawing it would take too long.
    #[error("path of more than {0} steps")]
    TooManyPoints(usize),
    /// The mask is no image of single bits.
    #[error("mask is not a one-bit image")]
    NotAMask,
    /// A size is 0 or the factor leaves the range of 16.16.
    #[error("cannot scale {from:?} to {to:?}")]
    Scale {
        /// Width and height of the source area.
        from: (u32, u32),
        /// Width and height of the box.
        to: (u32, u32),
    },
    /// More pixels than an image can have here.
    #[error("image of {0} by {1} pixels is too large")]
    TooLarge(u32, u32),
    /// No private memory for a copy of this many bytes.
    #[error("no memory for {0} bytes")]
    NoMemory(usize),
}

/// Executes a command on its destination surface and marks what it drew as dirty.
///
/// `clip` are the rectangles to be drawn; they must not overlap (a pixel in two of them is combined
/// twice). They are cut to the command's box and the surface here once more.
///
/// # Errors
///
/// See [`DrawError`]; nothing was drawn then.
pub fn draw(
    surfaces: &mut dyn SurfaceStore,
    drawable: &Drawable,
    clip: &[Rect],
) -> Result<(), DrawError> {
    execute(surfaces, drawable, clip, true)
}

/// As [`draw`], for what was marked as dirty before.
///
/// # Errors
///
/// See [`DrawError`]; nothing was drawn then.
pub fn draw_late(
    surfaces: &mut dyn SurfaceStore,
    drawable: &Drawable,
    clip: &[Rect],
) -> Result<(), DrawError> {
    execute(surfaces, drawable, clip, false)
}

/// As [`draw_late`], so many times in a row, for a command of which [`is_straight_move`] is true.
///
/// # Errors
///
/// See [`DrawError`]; nothing was drawn then.
pub fn move_late(
    surfaces: &mut dyn SurfaceStore,
    drawable: &Drawable,
    clip: &Rect,
    times: u32,
) -> Result<(), DrawError> {
    let id = drawable.surface_id;
    let (Some((dx, dy)), true) = (way(drawable), times > 1) else {
        return draw_late(surfaces, drawable, std::slice::from_ref(clip));
    };
    let dest = surfaces.surface_mut(id).ok_or(DrawError::NoSurface(id))?.target_mut();
    let all = bounds(dest);
    let there = shifted(&all, -i64::from(dx), -i64::from(dy));
    let rect = clip.intersect(&drawable.bbox).intersect(&all).intersect(&there);
    repeat::move_times(dest, &rect, (dx, dy), times);
    Ok(())
}

/// True if the command moves pixels up, down or to a side, so that doing it many times is cheap.
#[must_use]
pub fn is_straight_move(drawable: &Drawable) -> bool {
    way(drawable).is_some_and(|(dx, dy)| (dx == 0) != (dy == 0))
}

/// From where, seen from where it goes, a command moves pixels.
fn way(drawable: &Drawable) -> Option<(i32, i32)> {
    let DrawOp::CopyBits { src } = &drawable.op else { return None };
    let bbox = &drawable.bbox;
    Some((src.x.checked_sub(bbox.left)?, src.y.checked_sub(bbox.top)?))
}

fn execute(
    surfaces: &mut dyn SurfaceStore,
    drawable: &Drawable,
    clip: &[Rect],
    mark: bool,
) -> Result<(), DrawError> {
    let id = drawable.surface_id;
    let dest = surfaces.surface(id).ok_or(DrawError::NoSurface(id))?;
    let limits = bounds(dest.target()).intersect(&drawable.bbox);
    let (one, many);
    let rects = if let [rect] = clip {
        one = [rect.intersect(&limits)];
        if one[0].is_empty() { &[] } else { &one[..] }
    } else {
        let inside = clip.iter().map(|r| r.intersect(&limits)).filter(|r| !r.is_empty());
        many = inside.collect::<Vec<Rect>>();
        &many
    };
    if rects.is_empty() {
        return Ok(());
    }
    let extents = rects.iter().fold(Rect::default(), |all, r| all.union(r));
    let job = Job { drawable, format: dest.format(), rects, extents };
    job.run(surfaces)?;
    if mark && let Some(dest) = surfaces.surface_mut(id) {
        dest.mark_dirty(rects);
    }
    Ok(())
}

/// One command and where it is drawn.
struct Job<'a> {
    drawable: &'a Drawable,
    format: SurfaceFormat,
    /// Not empty, inside the box and the surface.
    rects: &'a [Rect],
    extents: Rect,
}

impl<'a> Job<'a> {
    fn run(&self, surfaces: &mut dyn SurfaceStore) -> Result<(), DrawError> {
        use descriptor::{INVERS_BRUSH, INVERS_DEST, INVERS_SRC};
        match &self.drawable.op {
            DrawOp::Fill { brush, rop, mask } => {
                let rop = Rop::from_descriptor(*rop, INVERS_BRUSH, INVERS_DEST);
                let ink = self.brush(brush, surfaces)?;
                self.paint(surfaces, ink, Mix::Rop(rop), self.rects, mask)
            }
            DrawOp::Copy { src, src_area, rop, nearest, mask, .. } => {
                let rop = Rop::from_descriptor(*rop, INVERS_SRC, INVERS_DEST);
                let used = if rop == Rop::Copy { Use::Plain } else { Use::Mixed };
                let how = Stretch { nearest: *nearest, used };
                let (ink, rects) = self.source(Some(src), src_area, how, surfaces)?;
                self.paint(surfaces, ink, Mix::Rop(rop), &rects, mask)
            }
            DrawOp::Opaque { src, src_area, brush, rop, nearest, mask } => {
                let how = Stretch { nearest: *nearest, used: Use::Plain };
                let (image, rects) = self.source(src.as_ref(), src_area, how, surfaces)?;
                let brush = self.brush(brush, surfaces)?;
                self.paint(surfaces, image, Mix::Rop(Rop::Copy), &rects, mask)?;
                let rop = Rop::from_descriptor(*rop, INVERS_BRUSH, INVERS_SRC);
                self.paint(surfaces, brush, Mix::Rop(rop), self.rects, mask)
            }
            DrawOp::CopyBits { src } => self.copy_bits(surfaces, *src),
            DrawOp::Blackness { mask } => {
                self.paint(surfaces, Ink::Solid(0), Mix::Rop(Rop::Copy), self.rects, mask)
            }
            DrawOp::Whiteness { mask } => {
                self.paint(surfaces, Ink::Solid(!0), Mix::Rop(Rop::Copy), self.rects, mask)
            }
            DrawOp::Invers { mask } => {
                self.paint(surfaces, Ink::Solid(0), Mix::Rop(Rop::Invert), self.rects, mask)
            }
            DrawOp::Rop3 { src, src_area, brush, code, nearest, mask } => {
                let how = Stretch { nearest: *nearest, used: Use::Ternary };
                let (ink, rects) = self.source(src.as_ref(), src_area, how, surfaces)?;
                let mix = Mix::ternary(*code, self.brush(brush, surfaces)?, self.format);
                self.paint(surfaces, ink, mix, &rects, mask)
            }
            DrawOp::Transparent { src, src_area, true_color, .. } => {
                let how = Stretch { nearest: true, used: Use::Mixed };
                let (ink, rects) = self.source(src.as_ref(), src_area, how, surfaces)?;
                let mix = Mix::except(*true_color, self.format).ok_or(DrawError::NoColors)?;
                self.paint(surfaces, ink, mix, &rects, &Mask::default())
            }
            DrawOp::AlphaBlend { src, src_area, flags, alpha } => {
                if *alpha == 0 {
                    return Ok(());
                }
                let scaled = self.is_scaled(src_area).then_some(Use::Mixed);
                let raster = self.raster(src.as_ref(), src_area, scaled, surfaces)?;
                let blend =
                    Blend::new(raster, src_area, &self.drawable.bbox, *flags, *alpha, self.format)?;
                let id = self.drawable.surface_id;
                let dest = surfaces.surface_mut(id).ok_or(DrawError::NoSurface(id))?;
                blend.draw(dest.target_mut(), self.rects);
                Ok(())
            }
            DrawOp::Stroke(op) => {
                let rop = Rop::from_descriptor(op.fore_mode, INVERS_BRUSH, INVERS_DEST);
                let ink = self.brush(&op.brush, surfaces)?;
                let mut painter = Painter::new(ink, Mix::Rop(rop), self.format);
                let id = self.drawable.surface_id;
                let dest = surfaces.surface_mut(id).ok_or(DrawError::NoSurface(id))?;
                let mut pieces = Vec::new();
                stroke::spans(op, &self.extents, self.rects.len(), |spans| {
                    for span in spans {
                        pieces.clear();
                        let rects = self.rects.iter().map(|r| r.intersect(span));
                        pieces.extend(rects.filter(|r| !r.is_empty()));
                        painter.paint(dest.target_mut(), &pieces, None);
                    }
                })
            }
            DrawOp::Text(op) => self.text(op, surfaces),
            DrawOp::Composite(op) => {
                let id = self.drawable.surface_id;
                let own = self.own_source(surfaces)?;
                composite::draw(op, own, surfaces, id, &self.drawable.bbox, self.rects)
            }
        }
    }

    fn paint(
        &self,
        surfaces: &mut dyn SurfaceStore,
        ink: Ink,
        mix: Mix,
        rects: &[Rect],
        mask: &Mask,
    ) -> Result<(), DrawError> {
        let id = self.drawable.surface_id;
        let mut mask = PlacedMask::load(mask, &self.drawable.bbox, &self.extents, surfaces)?;
        let dest = surfaces.surface_mut(id).ok_or(DrawError::NoSurface(id))?;
        Painter::new(ink, mix, self.format).paint(dest.target_mut(), rects, mask.as_mut());
        Ok(())
    }

    /// The background, then the glyphs.
    fn text(&self, op: &'a Text, surfaces: &mut dyn SurfaceStore) -> Result<(), DrawError> {
        let back = self.rects.iter().map(|r| r.intersect(&op.back_area));
        let back: Vec<Rect> = back.filter(|r| !r.is_empty()).collect();
        let fore_ink = match &op.fore_brush {
            Brush::None => None,
            Brush::Pattern { image, pos } => {
                Some(Ink::Tile(load(image, surfaces, &EVERYTHING)?, *pos))
            }
            brush => Some(self.brush(brush, surfaces)?),
        };
        let coverage = Coverage::new(op, &self.extents)?;
        if !back.is_empty() {
            let ink = self.brush(&op.back_brush, surfaces)?;
            self.paint(surfaces, ink, Mix::Rop(Rop::Copy), &back, &Mask::default())?;
        }
        let (Some(ink), Some(coverage)) = (fore_ink, coverage) else { return Ok(()) };
        let id = self.drawable.surface_id;
        let dest = surfaces.surface_mut(id).ok_or(DrawError::NoSurface(id))?;
        coverage.paint(dest.target_mut(), self.rects, &ink, id != 0);
        Ok(())
    }

    /// A brush without a colour acts as colour 0.
    fn brush(&self, brush: &'a Brush, surfaces: &dyn SurfaceStore) -> Result<Ink<'a>, DrawError> {
        Ok(match brush {
            Brush::None => Ink::Solid(0),
            Brush::Solid(color) => Ink::Solid(*color),
            Brush::Pattern { image, pos } => {
                Ink::Tile(load(image, surfaces, &EVERYTHING)?.unscaled_on(self.format), *pos)
            }
        })
    }

    /// The source image and the rectangles where it has pixels.
    fn source(
        &self,
        image: Option<&'a Image>,
        area: &Rect,
        how: Stretch,
        surfaces: &dyn SurfaceStore,
    ) -> Result<(Ink<'a>, Cow<'a, [Rect]>), DrawError> {
        let bbox = &self.drawable.bbox;
        if self.is_scaled(area) {
            let raster = self.raster(image, area, Some(how.used), surfaces)?;
            let scaled = Scaled::new(raster, area, bbox, &self.extents, how, self.format)?;
            return Ok((Ink::Scaled(Box::new(scaled)), Cow::Borrowed(self.rects)));
        }
        let raster = self.raster(image, area, None, surfaces)?;
        let (dx, dy) = offset(area, bbox);
        let image = Rect::from_size(0, 0, raster.width(), raster.height());
        let there = shifted(&image, -dx, -dy);
        let rects = if there.contains(&self.extents) {
            Cow::Borrowed(self.rects)
        } else {
            let rects = self.rects.iter().map(|r| r.intersect(&there)).filter(|r| !r.is_empty());
            rects.collect()
        };
        Ok((Ink::Offset(raster.unscaled_on(self.format), dx, dy), rects))
    }

    /// The source image, with as much of a surface as the command reads.
    fn raster(
        &self,
        image: Option<&'a Image>,
        area: &Rect,
        scaled: Option<Use>,
        surfaces: &dyn SurfaceStore,
    ) -> Result<Raster<'a>, DrawError> {
        let bbox = &self.drawable.bbox;
        if let Some(image) = image {
            let window = match scaled {
                Some(used) => scale::window(area, bbox, &self.extents, used)?,
                None => {
                    let (dx, dy) = offset(area, bbox);
                    shifted(&self.extents, dx, dy)
                }
            };
            return load(image, surfaces, &window);
        }
        self.own_source(surfaces)?.ok_or(DrawError::NoSource)
    }

    /// The part of the destination that stands for a source that the command has not.
    fn own_source(&self, surfaces: &dyn SurfaceStore) -> Result<Option<Raster<'a>>, DrawError> {
        let Some(part) = self.drawable.self_bitmap_area else { return Ok(None) };
        let id = self.drawable.surface_id;
        let dest = surfaces.surface(id).ok_or(DrawError::NoSurface(id))?;
        Raster::of_surface(dest.target(), &part)?.cropped().map(Some)
    }

    fn is_scaled(&self, area: &Rect) -> bool {
        let bbox = &self.drawable.bbox;
        area.width() != bbox.width() || area.height() != bbox.height()
    }

    /// Moves pixels as if all had been read before the first one is written.
    fn copy_bits(&self, surfaces: &mut dyn SurfaceStore, src: Point) -> Result<(), DrawError> {
        let id = self.drawable.surface_id;
        let dest = surfaces.surface_mut(id).ok_or(DrawError::NoSurface(id))?.target_mut();
        let dx = i64::from(src.x) - i64::from(self.drawable.bbox.left);
        let dy = i64::from(src.y) - i64::from(self.drawable.bbox.top);
        if dx == 0 && dy == 0 {
            return Ok(());
        }
        // Only pixels whose source lies on the surface are touched.
        let there = shifted(&bounds(dest), -dx, -dy);
        let rects: Vec<Rect> =
            self.rects.iter().map(|r| r.intersect(&there)).filter(|r| !r.is_empty()).collect();
        if let [rect] = rects[..] {
            self.copy_bits_in_place(dest, &rect, dx, dy);
            return Ok(());
        }
        // Several rectangles may overwrite each other's sources in a circle.
        let extents = rects.iter().fold(Rect::default(), |all, r| all.union(r));
        let raster = Raster::of_surface(dest, &shifted(&extents, dx, dy))?;
        let ink = Ink::Offset(raster, dx, dy);
        Painter::new(ink, Mix::Rop(Rop::Copy), self.format).paint(dest, &rects, None);
        Ok(())
    }

    /// Row by row, beginning at the end that the source does not lie on.
    fn copy_bits_in_place(&self, dest: &mut target::Target, rect: &Rect, dx: i64, dy: i64) {
        if let (Ok(dx), Ok(dy)) = (i32::try_from(dx), i32::try_from(dy))
            && dest.move_rect(rect, dx, dy)
        {
            return;
        }
        let width = usize::try_from(rect.width()).unwrap_or(0);
        let mut row = vec![0; width * target::pixel_bytes(self.format)];
        let x = rect.left.unsigned_abs();
        let Ok(from_x) = u32::try_from(i64::from(x) + dx) else { return };
        let copy = |y: u32| {
            let Ok(from_y) = u32::try_from(i64::from(y) + dy) else { return };
            dest.read_row(from_y, from_x, &mut row);
            dest.write_row(y, x, &row);
        };
        let rows = rect.top.unsigned_abs()..rect.bottom.unsigned_abs();
        if dy < 0 { rows.rev().for_each(copy) } else { rows.for_each(copy) }
    }
}

/// All of a surface.
const EVERYTHING: Rect = Rect { top: 0, left: 0, bottom: i32::MAX, right: i32::MAX };

/// An image as the command has it; of a surface only the part in `window` is copied.
fn load<'a>(
    image: &'a Image,
    surfaces: &dyn SurfaceStore,
    window: &Rect,
) -> Result<Raster<'a>, DrawError> {
    match &image.kind {
        ImageKind::Bitmap(bitmap) => Raster::of_bitmap(bitmap, image.flags),
        ImageKind::Surface(id) => {
            let surface = surfaces.surface(*id).ok_or(DrawError::NoSurface(*id))?;
            Raster::of_surface(surface.target(), window)
        }
    }
}

/// From a box to the source area of the same size.
fn offset(area: &Rect, bbox: &Rect) -> (i64, i64) {
    (i64::from(area.left) - i64::from(bbox.left), i64::from(area.top) - i64::from(bbox.top))
}

/// Moved by any distance; coordinates that leave the range stick to its ends, where no surface reaches.
fn shifted(rect: &Rect, dx: i64, dy: i64) -> Rect {
    let add = |v: i32, d: i64| {
        let sum = i64::from(v).saturating_add(d);
        i32::try_from(sum).unwrap_or(if sum < 0 { i32::MIN } else { i32::MAX })
    };
    Rect {
        top: add(rect.top, dy),
        left: add(rect.left, dx),
        bottom: add(rect.bottom, dy),
        right: add(rect.right, dx),
    }
}

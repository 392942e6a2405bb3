//! The server's own drawing: executes guest commands on surfaces, pixel for pixel as stock clients do.
//!
//! Runs on display-N and writes guest memory through [`target`] alone.
//! Equality with the clients matters because a client that drew a command itself may next be sent the
//! server's picture of the neighbourhood.
//! Whatever the command says, nothing here panics or reads outside of an image: a command that cannot
//! be drawn is refused with a [`DrawError`] and leaves the surface as it was.
#![deny(unsafe_code)]

mod convert;
mod mask;
#[cfg(test)]
mod naive;
mod paint;
mod raster;
pub mod rop;
mod scale;
pub mod target;
#[cfg(test)]
mod twin_tests;

use std::collections::HashMap;
use std::hash::BuildHasher;

use self::mask::PlacedMask;
use self::paint::{Ink, Painter};
pub use self::raster::FLAG_HIGH_BITS_SET;
use self::raster::{Raster, bounds};
use self::rop::{Rop, descriptor};
use self::scale::Scaled;
use super::surface::Surface;
use crate::protocol::geometry::{Point, Rect};
use crate::qxl::model::{Brush, DrawOp, Drawable, Image, ImageKind, Mask, SurfaceFormat};

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
    let id = drawable.surface_id;
    let dest = surfaces.surface(id).ok_or(DrawError::NoSurface(id))?;
    let limits = bounds(dest.target()).intersect(&drawable.bbox);
    let rects: Vec<Rect> =
        clip.iter().map(|r| r.intersect(&limits)).filter(|r| !r.is_empty()).collect();
    if rects.is_empty() {
        return Ok(());
    }
    let extents = rects.iter().fold(Rect::default(), |all, r| all.union(r));
    let job = Job { drawable, format: dest.format(), rects: &rects, extents };
    job.run(surfaces)?;
    if let Some(dest) = surfaces.surface_mut(id) {
        dest.mark_dirty(&rects);
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
                self.paint(surfaces, ink, rop, self.rects, mask)
            }
            DrawOp::Copy { src, src_area, rop, nearest, mask, .. } => {
                let rop = Rop::from_descriptor(*rop, INVERS_SRC, INVERS_DEST);
                let (ink, rects) = self.source(Some(src), src_area, *nearest, rop, surfaces)?;
                self.paint(surfaces, ink, rop, &rects, mask)
            }
            DrawOp::Opaque { src, src_area, brush, rop, nearest, mask } => {
                let (image, rects) =
                    self.source(src.as_ref(), src_area, *nearest, Rop::Copy, surfaces)?;
                let brush = self.brush(brush, surfaces)?;
                self.paint(surfaces, image, Rop::Copy, &rects, mask)?;
                let rop = Rop::from_descriptor(*rop, INVERS_BRUSH, INVERS_SRC);
                self.paint(surfaces, brush, rop, self.rects, mask)
            }
            DrawOp::CopyBits { src } => self.copy_bits(surfaces, *src),
            DrawOp::Blackness { mask } => {
                self.paint(surfaces, Ink::Solid(0), Rop::Copy, self.rects, mask)
            }
            DrawOp::Whiteness { mask } => {
                self.paint(surfaces, Ink::Solid(!0), Rop::Copy, self.rects, mask)
            }
            DrawOp::Invers { mask } => {
                self.paint(surfaces, Ink::Solid(0), Rop::Invert, self.rects, mask)
            }
        }
    }

    fn paint(
        &self,
        surfaces: &mut dyn SurfaceStore,
        ink: Ink,
        rop: Rop,
        rects: &[Rect],
        mask: &Mask,
    ) -> Result<(), DrawError> {
        let id = self.drawable.surface_id;
        let mut mask = PlacedMask::load(mask, &self.drawable.bbox, &self.extents, surfaces)?;
        let dest = surfaces.surface_mut(id).ok_or(DrawError::NoSurface(id))?;
        Painter::new(ink, rop, self.format).paint(dest.target_mut(), rects, mask.as_mut());
        Ok(())
    }

    /// A brush without a colour acts as colour 0.
    fn brush(&self, brush: &'a Brush, surfaces: &dyn SurfaceStore) -> Result<Ink<'a>, DrawError> {
        Ok(match brush {
            Brush::None => Ink::Solid(0),
            Brush::Solid(color) => Ink::Solid(*color),
            Brush::Pattern { image, pos } => {
                let everything = Rect { top: 0, left: 0, bottom: i32::MAX, right: i32::MAX };
                Ink::Tile(load(image, surfaces, &everything)?.unscaled_on(self.format), *pos)
            }
        })
    }

    /// The source image and the rectangles where it has pixels.
    fn source(
        &self,
        image: Option<&'a Image>,
        area: &Rect,
        nearest: bool,
        rop: Rop,
        surfaces: &dyn SurfaceStore,
    ) -> Result<(Ink<'a>, Vec<Rect>), DrawError> {
        let bbox = &self.drawable.bbox;
        let scaled = area.width() != bbox.width() || area.height() != bbox.height();
        let dx = i64::from(area.left) - i64::from(bbox.left);
        let dy = i64::from(area.top) - i64::from(bbox.top);
        let raster = match image {
            Some(image) => {
                let window = if scaled {
                    scale::window(area, bbox, &self.extents)?
                } else {
                    shifted(&self.extents, dx, dy)
                };
                load(image, surfaces, &window)?
            }
            None => {
                let part = self.drawable.self_bitmap_area.ok_or(DrawError::NoSource)?;
                let id = self.drawable.surface_id;
                let dest = surfaces.surface(id).ok_or(DrawError::NoSurface(id))?;
                Raster::of_surface(dest.target(), &part)?.cropped()?
            }
        };
        if scaled {
            let plain = rop == Rop::Copy;
            let scaled =
                Scaled::new(raster, area, bbox, &self.extents, nearest, plain, self.format)?;
            return Ok((Ink::Scaled(Box::new(scaled)), self.rects.to_vec()));
        }
        let image = Rect::from_size(0, 0, raster.width(), raster.height());
        let there = shifted(&image, -dx, -dy);
        let rects = self.rects.iter().map(|r| r.intersect(&there)).filter(|r| !r.is_empty());
        let rects = rects.collect();
        Ok((Ink::Offset(raster.unscaled_on(self.format), dx, dy), rects))
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
        Painter::new(ink, Rop::Copy, self.format).paint(dest, &rects, None);
        Ok(())
    }

    /// Row by row, beginning at the end that the source does not lie on.
    fn copy_bits_in_place(&self, dest: &mut target::Target, rect: &Rect, dx: i64, dy: i64) {
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

//! Where an operation paints: one-bit masks as runs of columns.
#![forbid(unsafe_code)]

use super::DrawError;
use super::SurfaceStore;
use super::convert::Layout;
use super::raster::Raster;
use crate::protocol::geometry::Rect;
use crate::qxl::model::{ImageKind, Mask};

/// A mask placed on the surface.
pub(super) struct PlacedMask<'a> {
    raster: Raster<'a>,
    inverse: bool,
    /// Mask pixel = surface pixel + this.
    dx: i64,
    dy: i64,
    bits: Vec<u8>,
}

impl<'a> PlacedMask<'a> {
    /// `None` without an image: everything is painted. `extents` is the part of the box that is drawn.
    pub(super) fn load(
        mask: &'a Mask,
        bbox: &Rect,
        extents: &Rect,
        surfaces: &dyn SurfaceStore,
    ) -> Result<Option<Self>, DrawError> {
        let Some(image) = &mask.image else { return Ok(None) };
        let dx = i64::from(mask.pos.x) - i64::from(bbox.left);
        let dy = i64::from(mask.pos.y) - i64::from(bbox.top);
        let raster = match &image.kind {
            ImageKind::Bitmap(bitmap) => Raster::of_bitmap(bitmap, 0)?,
            ImageKind::Surface(id) => {
                let surface = surfaces.surface(*id).ok_or(DrawError::NoSurface(*id))?;
                Raster::of_surface(surface.target(), &super::shifted(extents, dx, dy))?
            }
        };
        if !matches!(raster.layout(), Layout::Bit1Le | Layout::Bit1Be | Layout::A1) {
            return Err(DrawError::NotAMask);
        }
        Ok(Some(Self { raster, inverse: mask.inverse, dx, dy, bits: Vec::new() }))
    }

    /// Adds the runs of painted columns among `x0..x1` of row `y` to `runs`.
    pub(super) fn runs(&mut self, y: u32, x0: u32, x1: u32, runs: &mut Vec<(u32, u32)>) {
        let Ok(row) = u32::try_from(i64::from(y) + self.dy) else { return };
        if row >= self.raster.height() {
            return;
        }
        let left = (i64::from(x0) + self.dx).max(0);
        let right = (i64::from(x1) + self.dx).min(i64::from(self.raster.width()));
        let (Ok(column), Ok(len)) = (u32::try_from(left), usize::try_from(right - left)) else {
            return;
        };
        self.bits.resize(len, 0);
        if !self.raster.fetch_bits(column, row, &mut self.bits) {
            return;
        }
        let painted = u8::from(!self.inverse);
        // Back on the surface the piece begins inside x0..x1, so it fits u32.
        let Ok(start) = u32::try_from(left - self.dx) else { return };
        let mut at = start;
        for run in self.bits.chunk_by(|a, b| a == b) {
            let end = at + u32::try_from(run.len()).unwrap_or(0);
            if run[0] == painted {
                runs.push((at, end));
            }
            at = end;
        }
    }
}

//! Images over the destination by their alpha.
//!
//! Pixels are premultiplied a8r8g8b8 of 8 bits a channel while they are combined; products are rounded and
//! sums saturate as pixman does it, which stock clients blend with.
#![forbid(unsafe_code)]

use super::DrawError;
use super::convert::{self, Layout};
use super::offset;
use super::raster::Raster;
use super::scale::{self, Axis, Use};
use super::target::{Target, pixel_bytes};
use crate::protocol::geometry::Rect;
use crate::qxl::model::SurfaceFormat;

/// `SPICE_ALPHA_FLAGS_*`: the high byte of the destination is alpha.
const DEST_HAS_ALPHA: u8 = 1;
/// The high byte of an xRGB surface that is the source is alpha.
const SRC_SURFACE_HAS_ALPHA: u8 = 2;

/// An image that is blended as a whole.
pub(super) struct Blend<'a> {
    raster: Raster<'a>,
    place: Place,
    /// The high byte of the image says nothing.
    opaque: bool,
    dest_has_alpha: bool,
    alpha: u8,
}

/// Which source pixel belongs to a pixel of the surface.
enum Place {
    /// Surface pixel plus this.
    Offset(i64, i64),
    /// The nearest one of a scaled image.
    Nearest(Axis, Axis),
}

impl Place {
    fn column(&self, x: u32) -> i64 {
        match self {
            Self::Offset(dx, _) => i64::from(x) + dx,
            Self::Nearest(axis, _) => axis.nearest(i64::from(x)),
        }
    }

    fn row(&self, y: u32) -> i64 {
        match self {
            Self::Offset(_, dy) => i64::from(y) + dy,
            Self::Nearest(_, axis) => axis.nearest(i64::from(y)),
        }
    }
}

impl<'a> Blend<'a> {
    /// `area` of the image fills `bbox`; scaled images take the nearest pixel.
    pub(super) fn new(
        raster: Raster<'a>,
        area: &Rect,
        bbox: &Rect,
        flags: u8,
        alpha: u8,
        format: SurfaceFormat,
    ) -> Result<Self, DrawError> {
        let same = area.width() == bbox.width() && area.height() == bbox.height();
        let place = if same {
            let (dx, dy) = offset(area, bbox);
            Place::Offset(dx, dy)
        } else {
            let (x, y) = scale::axes(area, bbox, Use::Mixed)?;
            Place::Nearest(x, y)
        };
        let has_alpha = raster.is_surface()
            && raster.layout() == Layout::Xrgb
            && flags & SRC_SURFACE_HAS_ALPHA != 0;
        // Colours of a palette may have an alpha that was taken for one of the surface.
        let alpha_colors = raster.layout().is_indexed() && format == SurfaceFormat::Argb;
        let opaque = raster.layout().is_opaque() && !has_alpha && !alpha_colors;
        let dest_has_alpha = flags & DEST_HAS_ALPHA != 0 || format == SurfaceFormat::Argb;
        Ok(Self { raster, place, opaque, dest_has_alpha, alpha })
    }

    /// Blends over the rectangles, which lie inside the target; what lies outside of the image stays.
    pub(super) fn draw(&self, target: &mut Target, rects: &[Rect]) {
        let format = target.format();
        let (mut source, mut fetched) = (Vec::new(), Vec::new());
        let mut row = Row::new(format, self.dest_has_alpha);
        for rect in rects {
            // Columns grow from left to right, so those that have pixels lie side by side.
            let width = i64::from(self.raster.width());
            let mut columns = rect.left.unsigned_abs()..rect.right.unsigned_abs();
            let inside = |x: &u32| (0..width).contains(&self.place.column(*x));
            let Some(x0) = columns.find(inside) else { continue };
            let x1 = columns.rfind(inside).unwrap_or(x0) + 1;
            let low = self.place.column(x0);
            let span = usize::try_from(self.place.column(x1 - 1) + 1 - low);
            let (Ok(span), Ok(first)) = (span, u32::try_from(low)) else { continue };
            fetched.clear();
            fetched.resize(span, 0);
            for y in rect.top.unsigned_abs()..rect.bottom.unsigned_abs() {
                let line = self.place.row(y);
                let Ok(line) = u32::try_from(line) else { continue };
                if line >= self.raster.height() {
                    continue;
                }
                self.fetch(first, line, format, &mut fetched);
                source.clear();
                source.extend((x0..x1).map(|x| {
                    let at = usize::try_from(self.place.column(x) - low);
                    at.ok().and_then(|at| fetched.get(at)).copied().unwrap_or(0)
                }));
                if self.alpha != u8::MAX {
                    source.iter_mut().for_each(|p| *p = times(*p, self.alpha.into()));
                }
                row.over(target, (x0, y), &source);
            }
        }
    }

    /// Pixels of the image with their alpha.
    fn fetch(&self, x: u32, y: u32, format: SurfaceFormat, out: &mut [u32]) {
        if self.raster.layout().is_indexed() {
            // Palettes have the surface's colours.
            let mut raw = vec![0; out.len() * pixel_bytes(format)];
            self.raster.fetch_colors(x, y, format, &mut raw);
            convert::widen(Layout::of_surface(format), &raw, 0, out);
        } else {
            self.raster.fetch_wide(x, y, out);
        }
        if self.opaque {
            out.iter_mut().for_each(|p| *p |= 0xff00_0000);
        }
    }
}

/// A piece of a surface's row while something is put over it.
pub(super) struct Row {
    format: SurfaceFormat,
    has_alpha: bool,
    raw: Vec<u8>,
    wide: Vec<u32>,
}

impl Row {
    /// `has_alpha`: high bytes of 32-bit pixels are alpha; otherwise they become 0.
    pub(super) fn new(format: SurfaceFormat, has_alpha: bool) -> Self {
        Self { format, has_alpha, raw: Vec::new(), wide: Vec::new() }
    }

    /// Puts premultiplied pixels over those of the surface.
    pub(super) fn over(&mut self, target: &mut Target, (x, y): (u32, u32), source: &[u32]) {
        self.raw.resize(source.len() * pixel_bytes(self.format), 0);
        self.wide.resize(source.len(), 0);
        target.read_row(y, x, &mut self.raw);
        convert::widen(Layout::of_surface(self.format), &self.raw, 0, &mut self.wide);
        for (below, above) in self.wide.iter_mut().zip(source) {
            *below = over(*above, *below);
            if !self.has_alpha && pixel_bytes(self.format) == 4 {
                *below &= 0x00ff_ffff;
            }
        }
        convert::narrow(&self.wide, self.format, &mut self.raw);
        target.write_row(y, x, &self.raw);
    }
}

/// One premultiplied pixel over another.
pub(super) fn over(above: u32, below: u32) -> u32 {
    let below = times(below, 255 - (above >> 24));
    let (a, b) = (above.to_le_bytes(), below.to_le_bytes());
    u32::from_le_bytes(std::array::from_fn(|n| a[n].saturating_add(b[n])))
}

/// Every channel times `factor` of 255, rounded. Two channels share a word: a product and its carry stay
/// below 16 bits.
pub(super) fn times(pixel: u32, factor: u32) -> u32 {
    let pair = |v: u32| {
        let t = (v & 0x00ff_00ff) * factor + 0x0080_0080;
        (t + (t >> 8 & 0x00ff_00ff)) >> 8 & 0x00ff_00ff
    };
    pair(pixel) | pair(pixel >> 8) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_rounded_as_on_a_single_channel() {
        for x in 0..256u32 {
            for y in 0..256u32 {
                let t = x * y + 128;
                let one = (t + (t >> 8)) >> 8;
                assert_eq!(times(x * 0x0101_0101, y), one * 0x0101_0101);
            }
        }
    }

    #[test]
    fn opaque_covers_and_nothing_changes_nothing() {
        assert_eq!(over(0xff12_3456, 0x9abc_def0), 0xff12_3456);
        assert_eq!(over(0, 0x9abc_def0), 0x9abc_def0);
        assert_eq!(over(0x80ff_ffff, 0xffff_ffff), 0xffff_ffff, "sums saturate");
    }
}

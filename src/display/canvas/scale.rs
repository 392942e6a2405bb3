//! Scaled images, with the rounding of pixman 0.42 that every stock client draws with.
//!
//! Positions are 16.16 fixed point along each axis on its own; the image is not repeated, what lies
//! outside of it is 0 in every channel, and pixels outside the source area but inside the image take part.
//! Interpolation happens on four channels of 8 bits; 16-bit pixels are widened first and truncated back.
#![forbid(unsafe_code)]

use super::DrawError;
use super::convert::{self, Layout};
use super::raster::Raster;
use super::target::pixel_bytes;
use crate::protocol::geometry::Rect;
use crate::qxl::model::SurfaceFormat;

/// Widest piece of a source row that is taken for one row of the destination, in pixels.
const WIDEST_ROW: i64 = 1 << 20;

/// What becomes of a scaled image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is put as it is.
    Plain,
    /// It is combined with the destination.
    Mixed,
    /// It is an operand of ROP3, which rounds the corner of the source area to a whole pixel of the box.
    Ternary,
}

/// How an image is scaled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Nearest pixel, not interpolated.
    pub(super) nearest: bool,
    /// What for.
    pub(super) used: Use,
}

/// One axis: which source positions the pixels of the box sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Source pixels per destination pixel, 16.16.
    step: i64,
    /// First source pixel of the source area.
    origin: i64,
    /// First pixel of the box on the surface.
    start: i64,
}

impl Axis {
    /// `None` if a size is 0 or the factor leaves the range of 16.16.
    fn new(source: (i32, u32), dest: (i32, u32)) -> Option<Self> {
        let step = (i64::from(source.1) << 16).checked_div(i64::from(dest.1))?;
        if source.1 == 0 || step > i64::from(i32::MAX) {
            return None;
        }
        Some(Self { step, origin: i64::from(source.0), start: i64::from(dest.0) })
    }

    /// The same for ROP3: the image is scaled from its corner on, and the box begins at the pixel of that
    /// picture that is nearest to the source area's corner.
    fn snapped(source: (i32, u32), dest: (i32, u32)) -> Option<Self> {
        let plain = Self::new(source, dest)?;
        let (from, to) = (i128::from(source.1), i128::from(dest.1));
        let corner = (2 * i128::from(source.0) * to + from).div_euclid(2 * from);
        let corner = i64::try_from(corner).ok()?;
        Some(Self { origin: 0, start: plain.start.checked_sub(corner)?, ..plain })
    }

    /// Source pixel nearest to the sample of a surface pixel inside the box.
    pub(super) fn nearest(self, at: i64) -> i64 {
        let half = (self.step * 0x8000 + 0x8000) >> 16;
        self.origin + (((at - self.start) * self.step + half - 1) >> 16)
    }

    /// First of the two source pixels around the sample, and the second one's weight of 256.
    fn pair(self, at: i64) -> (i64, u32) {
        let centre = (self.step * (2 * (at - self.start) + 1) + 1) >> 1;
        let v = centre + (self.origin << 16) - 0x8000;
        (v >> 16, u32::try_from((v & 0xffff) >> 9).unwrap_or(0) * 2)
    }

    /// First source pixel that a sample at `at` needs, whatever the filter.
    fn lowest(self, at: i64) -> i64 {
        self.pair(at).0.min(self.nearest(at))
    }
}

/// A scaled image, made row by row in a surface's raw pixels.
pub(super) struct Scaled<'a> {
    raster: Raster<'a>,
    format: SurfaceFormat,
    nearest: bool,
    /// Inside the image the high byte becomes 255: it says nothing in the source but is alpha here.
    opaque: bool,
    x: Axis,
    y: Axis,
    /// Source columns that the current rectangle needs, clipped to the image.
    columns: std::ops::Range<i64>,
    /// Per destination column: index into a fetched row, and the second pixel's weight.
    taps: Vec<(usize, u32)>,
    /// Raw pixels of one fetched row, two zero pixels on either side.
    raw: Vec<u8>,
    raw_row: Option<i64>,
    /// Two widened rows, padded in the same way, and which they are.
    wide: [Vec<u32>; 2],
    wide_row: [Option<i64>; 2],
    blended: Vec<u32>,
}

/// Zero pixels before and after a fetched row.
const PAD: i64 = 2;

/// Part of the image that drawing `dest` may read, for copying surfaces.
pub(super) fn window(area: &Rect, bbox: &Rect, dest: &Rect, used: Use) -> Result<Rect, DrawError> {
    let (x, y) = axes(area, bbox, used)?;
    let clamp = |v: i64| i32::try_from(v.clamp(0, i64::from(i32::MAX))).unwrap_or(i32::MAX);
    Ok(Rect {
        top: clamp(y.lowest(i64::from(dest.top))),
        left: clamp(x.lowest(i64::from(dest.left))),
        bottom: clamp(y.lowest(i64::from(dest.bottom)) + 2),
        right: clamp(x.lowest(i64::from(dest.right)) + 2),
    })
}

/// Both axes; an error if a size is 0 or a factor leaves the range of 16.16.
pub(super) fn axes(area: &Rect, bbox: &Rect, used: Use) -> Result<(Axis, Axis), DrawError> {
    let new = if used == Use::Ternary { Axis::snapped } else { Axis::new };
    let x = new((area.left, area.width()), (bbox.left, bbox.width()));
    let y = new((area.top, area.height()), (bbox.top, bbox.height()));
    x.zip(y).ok_or(DrawError::Scale {
        from: (area.width(), area.height()),
        to: (bbox.width(), bbox.height()),
    })
}

impl<'a> Scaled<'a> {
    /// `area` of the image fills `bbox`, of which at most the columns of `extents` are drawn. Only if the result
    /// is put as it is does an image without alpha become opaque on a surface with alpha.
    pub(super) fn new(
        raster: Raster<'a>,
        area: &Rect,
        bbox: &Rect,
        extents: &Rect,
        how: Stretch,
        format: SurfaceFormat,
    ) -> Result<Self, DrawError> {
        let Stretch { nearest, used } = how;
        let plain = used == Use::Plain;
        let (x, y) = axes(area, bbox, used)?;
        let width = i64::from(raster.width());
        let first = x.lowest(i64::from(extents.left)).clamp(0, width);
        if (x.lowest(i64::from(extents.right)) + 2).min(width) - first > WIDEST_ROW {
            return Err(DrawError::TooLarge(raster.width(), raster.height()));
        }
        // A raster operation takes place on an image that was scaled in its own format.
        let format = match raster.layout() {
            Layout::Rgb555 if raster.is_surface() && !plain && pixel_bytes(format) == 2 => {
                SurfaceFormat::Rgb555
            }
            Layout::Rgb565 if raster.is_surface() && !plain && pixel_bytes(format) == 2 => {
                SurfaceFormat::Rgb565
            }
            _ => format,
        };
        let layout = raster.layout();
        let opaque = match format {
            SurfaceFormat::Argb if layout.is_opaque() && !layout.is_indexed() => plain,
            SurfaceFormat::Argb if layout == Layout::A8 => plain && !raster.is_surface(),
            SurfaceFormat::Argb => plain && raster.loads_without_alpha(format),
            SurfaceFormat::A8 | SurfaceFormat::A1 => layout == Layout::Xrgb,
            _ => false,
        };
        Ok(Self {
            raster,
            format,
            nearest,
            opaque,
            x,
            y,
            columns: 0..0,
            taps: Vec::new(),
            raw: Vec::new(),
            raw_row: None,
            wide: [Vec::new(), Vec::new()],
            wide_row: [None; 2],
            blended: Vec::new(),
        })
    }

    /// Prepares for rows of surface columns `x0..x1`.
    pub(super) fn begin(&mut self, x0: u32, x1: u32) {
        let width = i64::from(self.raster.width());
        let first = self.x.lowest(i64::from(x0));
        let last = self.x.lowest(i64::from(x1)) + 2;
        let low = first.clamp(0, width);
        self.columns = low..last.clamp(low, width);
        let zero = low - PAD;
        let end = self.columns.end;
        let index = |column: i64| usize::try_from(column.clamp(zero, end) - zero).unwrap_or(0);
        self.taps.clear();
        if self.nearest {
            self.taps.extend((x0..x1).map(|x| (index(self.x.nearest(i64::from(x))), 0)));
        } else {
            self.taps.extend((x0..x1).map(|x| {
                let (column, weight) = self.x.pair(i64::from(x));
                (index(column), weight)
            }));
        }
        let padded = usize::try_from(end - low + 2 * PAD).unwrap_or(0);
        self.raw.clear();
        self.raw.resize(padded * pixel_bytes(self.format), 0);
        self.raw_row = None;
        if !self.nearest {
            for (wide, row) in self.wide.iter_mut().zip(&mut self.wide_row) {
                wide.clear();
                wide.resize(padded, 0);
                *row = None;
            }
            self.blended.resize(self.taps.len(), 0);
        }
    }

    /// Puts row `y` of the surface into `out`, which holds the columns that `begin` named.
    pub(super) fn row(&mut self, y: u32, out: &mut [u8]) {
        if self.nearest {
            self.fetch_raw(self.y.nearest(i64::from(y)));
            match pixel_bytes(self.format) {
                1 => gather::<1>(&self.raw, &self.taps, out),
                2 => gather::<2>(&self.raw, &self.taps, out),
                _ => gather::<4>(&self.raw, &self.taps, out),
            }
            return;
        }
        let (row, weight) = self.y.pair(i64::from(y));
        if self.wide_row[1] == Some(row) {
            self.wide.swap(0, 1);
            self.wide_row.swap(0, 1);
        }
        self.fetch_wide(0, row);
        self.fetch_wide(1, row + 1);
        blend(&self.wide[0], &self.wide[1], &self.taps, weight, &mut self.blended);
        convert::narrow(&self.blended, self.format, out);
    }

    /// Row and first column of the image, if row `y` has any pixel of the wanted columns.
    fn inside(&self, y: i64) -> Option<(u32, u32)> {
        let row = u32::try_from(y).ok().filter(|y| *y < self.raster.height())?;
        if self.columns.is_empty() {
            return None;
        }
        Some((row, u32::try_from(self.columns.start).ok()?))
    }

    fn pixels(&self) -> std::ops::Range<usize> {
        let pad = usize::try_from(PAD).unwrap_or(0);
        pad..pad + usize::try_from(self.columns.end - self.columns.start).unwrap_or(0)
    }

    fn fetch_raw(&mut self, y: i64) {
        if self.raw_row == Some(y) {
            return;
        }
        self.raw_row = Some(y);
        let bytes = pixel_bytes(self.format);
        let pixels = self.pixels();
        let place = self.inside(y);
        let raw = &mut self.raw[pixels.start * bytes..pixels.end * bytes];
        let Some((row, column)) = place else { return raw.fill(0) };
        self.raster.fetch(column, row, self.format, raw);
        if self.opaque && bytes == 4 {
            raw.as_chunks_mut::<4>().0.iter_mut().for_each(|p| p[3] = 0xff);
        }
        if self.format == SurfaceFormat::Rgb555 {
            // pixman has no way to scale such pixels as they are: it drops the unused bit.
            raw.as_chunks_mut::<2>().0.iter_mut().for_each(|p| p[1] &= 0x7f);
        }
    }

    fn fetch_wide(&mut self, slot: usize, y: i64) {
        if self.wide_row[slot] == Some(y) {
            return;
        }
        self.wide_row[slot] = Some(y);
        let pixels = self.pixels();
        if self.raster.is_surface() {
            let place = self.inside(y);
            let wide = &mut self.wide[slot][pixels];
            let Some((row, column)) = place else { return wide.fill(0) };
            self.raster.fetch_wide(column, row, wide);
            if self.opaque {
                wide.iter_mut().for_each(|p| *p |= 0xff00_0000);
            }
        } else {
            // A bitmap takes the surface's format before it is scaled, a surface keeps its own.
            self.fetch_raw(y);
            let inside = self.inside_rows(y);
            let wide = &mut self.wide[slot][pixels.clone()];
            if inside {
                convert::widen(Layout::of_surface(self.format), &self.raw, pixels.start, wide);
            } else {
                wide.fill(0);
            }
        }
    }

    fn inside_rows(&self, y: i64) -> bool {
        (0..i64::from(self.raster.height())).contains(&y)
    }
}

fn gather<const N: usize>(raw: &[u8], taps: &[(usize, u32)], out: &mut [u8]) {
    let source = raw.as_chunks::<N>().0;
    for (p, (at, _)) in out.as_chunks_mut::<N>().0.iter_mut().zip(taps) {
        if let Some(pixel) = source.get(*at) {
            *p = *pixel;
        }
    }
}

/// Weighs four pixels per tap; `weight` is that of the lower row, of 256.
///
/// Two channels share a word of 64 bits: a weighted sum has 24 bits, so the lanes cannot meet.
fn blend(upper: &[u32], lower: &[u32], taps: &[(usize, u32)], weight: u32, out: &mut [u32]) {
    let (below, above) = (u64::from(weight), u64::from(256 - weight));
    for (value, (at, right)) in out.iter_mut().zip(taps) {
        let (Some([a, b]), Some([c, d])) = (upper.get(*at..*at + 2), lower.get(*at..*at + 2))
        else {
            *value = 0;
            continue;
        };
        let (right, left) = (u64::from(*right), u64::from(256 - *right));
        let sum = |lanes: fn(u32) -> u64| {
            let up = lanes(*a) * left + lanes(*b) * right;
            let down = lanes(*c) * left + lanes(*d) * right;
            (up * above + down * below) >> 16 & 0x0000_00ff_0000_00ff
        };
        let even = sum(|p| u64::from(p & 0xff) | u64::from(p & 0x00ff_0000) << 16);
        let odd = sum(|p| u64::from(p >> 8 & 0xff) | u64::from(p & 0xff00_0000) << 8);
        let packed = even | even >> 16 | (odd | odd >> 16) << 8;
        let [b0, b1, b2, b3, ..] = packed.to_le_bytes();
        *value = u32::from_le_bytes([b0, b1, b2, b3]);
    }
}

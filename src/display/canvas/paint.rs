//! The inner loop: what is painted, combined with what is there, row by row.
#![forbid(unsafe_code)]

use super::mask::PlacedMask;
use super::raster::Raster;
use super::rop::Rop;
use super::scale::Scaled;
use super::target::{Target, pixel_bytes};
use crate::protocol::geometry::{Point, Rect};
use crate::qxl::model::SurfaceFormat;

/// What is painted.
pub(super) enum Ink<'a> {
    /// One raw pixel, in as many low bytes as a pixel has.
    Solid(u32),
    /// An image repeated over the whole surface with a corner at this point.
    Tile(Raster<'a>, Point),
    /// An image whose pixel (x + dx, y + dy) lies on surface pixel (x, y); drawn only where it has pixels.
    Offset(Raster<'a>, i64, i64),
    /// An image stretched over the box.
    Scaled(Box<Scaled<'a>>),
}

/// Paints with an ink and a raster operation whose A is the ink and whose B the destination.
pub(super) struct Painter<'a> {
    ink: Ink<'a>,
    rop: Rop,
    format: SurfaceFormat,
    /// The ink's pixels for a row of the current rectangle.
    paint: Vec<u8>,
    /// The result where it is not the ink itself.
    mixed: Vec<u8>,
}

impl<'a> Painter<'a> {
    pub(super) fn new(ink: Ink<'a>, rop: Rop, format: SurfaceFormat) -> Self {
        let (ink, rop) = match ink {
            // The result is one colour too, unless it depends on what is there.
            Ink::Solid(color) if !rop.reads_b() => {
                let mut result = [0; 4];
                rop.apply(&color.to_le_bytes(), &mut result);
                (Ink::Solid(u32::from_le_bytes(result)), Rop::Copy)
            }
            ink => (ink, rop),
        };
        Self { ink, rop, format, paint: Vec::new(), mixed: Vec::new() }
    }

    /// Paints the rectangles, which lie inside the target, where the mask allows it.
    pub(super) fn paint(
        &mut self,
        target: &mut Target,
        rects: &[Rect],
        mask: Option<&mut PlacedMask>,
    ) {
        if self.rop == Rop::Noop {
            return;
        }
        match mask {
            None => {
                for rect in rects {
                    let (x0, x1) = self.begin(rect);
                    for y in rect.top.unsigned_abs()..rect.bottom.unsigned_abs() {
                        self.make_row(y, x0, x1);
                        self.piece(target, y, x0, (x0, x1));
                    }
                }
            }
            Some(mask) => {
                let mut runs = Vec::new();
                for rect in rects {
                    let (x0, x1) = self.begin(rect);
                    for y in rect.top.unsigned_abs()..rect.bottom.unsigned_abs() {
                        runs.clear();
                        mask.runs(y, x0, x1, &mut runs);
                        if runs.is_empty() {
                            continue;
                        }
                        self.make_row(y, x0, x1);
                        for run in &runs {
                            self.piece(target, y, x0, *run);
                        }
                    }
                }
            }
        }
    }

    /// Prepares for a rectangle; answers its columns.
    fn begin(&mut self, rect: &Rect) -> (u32, u32) {
        let (x0, x1) = (rect.left.unsigned_abs(), rect.right.unsigned_abs());
        let bytes = pixel_bytes(self.format);
        let len = pixels(x0, x1) * bytes;
        self.mixed.resize(len, 0);
        match &mut self.ink {
            // Already filled with the colour up to its old length.
            Ink::Solid(color) => {
                if self.paint.len() < len {
                    let color = color.to_le_bytes();
                    self.paint.clear();
                    self.paint.extend(color[..bytes].iter().cycle().take(len));
                }
            }
            Ink::Scaled(scaled) => {
                self.paint.resize(len, 0);
                scaled.begin(x0, x1);
            }
            Ink::Tile(..) | Ink::Offset(..) => self.paint.resize(len, 0),
        }
        (x0, x1)
    }

    /// Makes the ink of a row, for inks that are made by whole rows.
    fn make_row(&mut self, y: u32, x0: u32, x1: u32) {
        match &mut self.ink {
            Ink::Tile(raster, pos) => {
                tile_row(raster, *pos, (x0, y), pixels(x0, x1), self.format, &mut self.paint);
            }
            Ink::Scaled(scaled) => scaled.row(y, &mut self.paint),
            Ink::Solid(_) | Ink::Offset(..) => {}
        }
    }

    /// Paints columns `x0..x1` of a row whose rectangle begins at column `left`.
    fn piece(&mut self, target: &mut Target, y: u32, left: u32, (x0, x1): (u32, u32)) {
        let bytes = pixel_bytes(self.format);
        let n = pixels(x0, x1);
        let mut start = pixels(left, x0) * bytes;
        if let Ink::Offset(raster, dx, dy) = &self.ink {
            let column = u32::try_from(i64::from(x0) + dx);
            let row = u32::try_from(i64::from(y) + dy);
            let (Ok(column), Ok(row)) = (column, row) else { return };
            if let Some(direct) = raster.direct(column, row, n, self.format) {
                put(target, self.rop, (x0, y), direct, &mut self.mixed);
                return;
            }
            start = 0;
            raster.fetch(column, row, self.format, &mut self.paint[..n * bytes]);
        }
        let Some(paint) = self.paint.get(start..start + n * bytes) else { return };
        put(target, self.rop, (x0, y), paint, &mut self.mixed);
    }
}

/// Writes one piece of a row; `mixed` is at least as long as `paint`.
fn put(target: &mut Target, rop: Rop, (x, y): (u32, u32), paint: &[u8], mixed: &mut [u8]) {
    if rop == Rop::Copy {
        target.write_row(y, x, paint);
        return;
    }
    let mixed = &mut mixed[..paint.len()];
    if rop.reads_b() {
        target.read_row(y, x, mixed);
    }
    rop.apply(paint, mixed);
    target.write_row(y, x, mixed);
}

/// One period of the tile's row is fetched, the rest of the row repeats it.
fn tile_row(
    raster: &Raster,
    pos: Point,
    (x, y): (u32, u32),
    n: usize,
    format: SurfaceFormat,
    out: &mut [u8],
) {
    let modulo = |at: u32, pos: i32, size: u32| {
        let rest = (i64::from(at) - i64::from(pos)).rem_euclid(i64::from(size.max(1)));
        u32::try_from(rest).unwrap_or(0)
    };
    let row = modulo(y, pos.y, raster.height());
    let column = modulo(x, pos.x, raster.width());
    let bytes = pixel_bytes(format);
    let period = pixels(0, raster.width());
    let first = n.min(period);
    let to_edge = first.min(pixels(column, raster.width()));
    raster.fetch(column, row, format, &mut out[..to_edge * bytes]);
    raster.fetch(0, row, format, &mut out[to_edge * bytes..first * bytes]);
    let mut done = first * bytes;
    let len = n * bytes;
    while done < len {
        let more = done.min(len - done);
        out.copy_within(..more, done);
        done += more;
    }
}

/// Number of pixels from one column to another; 0 if the order is wrong.
fn pixels(x0: u32, x1: u32) -> usize {
    usize::try_from(x1.saturating_sub(x0)).unwrap_or(0)
}

//! The inner loop: what is painted, combined with what is there, row by row.
#![forbid(unsafe_code)]

use super::convert;
use super::mask::PlacedMask;
use super::raster::Raster;
use super::rop::{self, Rop};
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

/// How an ink is combined with what is there.
pub(super) enum Mix<'a> {
    /// Raster operation whose A is the ink and whose B the destination.
    Rop(Rop),
    /// Truth table of a second ink, the ink and the destination.
    Ternary(u8, InkRows<'a>),
    /// The ink except where its pixels are this; the second value says which of their bits are compared.
    Except(u32, u32),
}

impl<'a> Mix<'a> {
    /// Bit `brush << 2 | ink << 1 | destination` of `code` is the result.
    pub(super) fn ternary(code: u8, brush: Ink<'a>, format: SurfaceFormat) -> Self {
        Self::Ternary(code, InkRows::new(brush, format))
    }

    /// Leaves out pixels of a colour x8r8g8b8, which is truncated to the surface's format; on a surface of 8-bit
    /// alpha 0 is the key whatever was asked for, as in stock code. `None` on a surface of single bits.
    pub(super) fn except(color: u32, format: SurfaceFormat) -> Option<Self> {
        let compared = match format {
            SurfaceFormat::A1 => return None,
            SurfaceFormat::A8 => return Some(Self::Except(0, 0xff)),
            SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565 => 0xffff,
            SurfaceFormat::Xrgb | SurfaceFormat::Argb => 0x00ff_ffff,
        };
        let mut key = [0; 4];
        convert::narrow(&[color], format, &mut key[..pixel_bytes(format)]);
        Some(Self::Except(u32::from_le_bytes(key) & compared, compared))
    }
}

/// An ink's raw pixels, piece by piece.
pub(super) struct InkRows<'a> {
    ink: Ink<'a>,
    format: SurfaceFormat,
    /// The ink's pixels for a row of the current rectangle.
    row: Vec<u8>,
}

impl<'a> InkRows<'a> {
    fn new(ink: Ink<'a>, format: SurfaceFormat) -> Self {
        Self { ink, format, row: Vec::new() }
    }

    /// Prepares for a rectangle of these columns.
    fn begin(&mut self, x0: u32, x1: u32) {
        let bytes = pixel_bytes(self.format);
        let len = pixels(x0, x1) * bytes;
        match &mut self.ink {
            // Already filled with the colour up to its old length.
            Ink::Solid(color) => {
                if self.row.len() < len {
                    let color = color.to_le_bytes();
                    self.row.resize(len, color[0]);
                    match bytes {
                        4 => self.row.as_chunks_mut().0.fill(color),
                        2 => self.row.as_chunks_mut().0.fill([color[0], color[1]]),
                        _ => {}
                    }
                }
            }
            Ink::Scaled(scaled) => {
                self.row.resize(len, 0);
                scaled.begin(x0, x1);
            }
            Ink::Tile(..) | Ink::Offset(..) => self.row.resize(len, 0),
        }
    }

    /// Makes the ink of a row, for inks that are made by whole rows.
    fn make_row(&mut self, y: u32, x0: u32, x1: u32) {
        match &mut self.ink {
            Ink::Tile(raster, pos) => {
                tile_row(raster, *pos, (x0, y), pixels(x0, x1), self.format, &mut self.row);
            }
            Ink::Scaled(scaled) => scaled.row(y, &mut self.row),
            Ink::Solid(_) | Ink::Offset(..) => {}
        }
    }

    /// Columns `x0..x1` of a row whose rectangle begins at column `left`.
    fn piece(&mut self, y: u32, left: u32, (x0, x1): (u32, u32)) -> Option<&[u8]> {
        let bytes = pixel_bytes(self.format);
        let n = pixels(x0, x1);
        if let Ink::Offset(raster, dx, dy) = &self.ink {
            let column = u32::try_from(i64::from(x0) + dx).ok()?;
            let row = u32::try_from(i64::from(y) + dy).ok()?;
            if let Some(direct) = raster.direct(column, row, n, self.format) {
                return Some(direct);
            }
            let piece = self.row.get_mut(..n * bytes)?;
            raster.fetch(column, row, self.format, piece);
            return Some(piece);
        }
        let start = pixels(left, x0) * bytes;
        self.row.get(start..start + n * bytes)
    }
}

/// Paints with an ink.
pub(super) struct Painter<'a> {
    ink: InkRows<'a>,
    mix: Mix<'a>,
    /// The result where it is not the ink itself.
    mixed: Vec<u8>,
}

impl<'a> Painter<'a> {
    pub(super) fn new(ink: Ink<'a>, mix: Mix<'a>, format: SurfaceFormat) -> Self {
        let (ink, mix) = match (ink, mix) {
            // The result is one colour too, unless it depends on what is there.
            (Ink::Solid(color), Mix::Rop(rop)) if !rop.reads_b() => {
                let mut result = [0; 4];
                rop.apply(&color.to_le_bytes(), &mut result);
                (Ink::Solid(u32::from_le_bytes(result)), Mix::Rop(Rop::Copy))
            }
            other => other,
        };
        Self { ink: InkRows::new(ink, format), mix, mixed: Vec::new() }
    }

    /// Paints the rectangles, which lie inside the target, where the mask allows it.
    pub(super) fn paint(
        &mut self,
        target: &mut Target,
        rects: &[Rect],
        mut mask: Option<&mut PlacedMask>,
    ) {
        if matches!(self.mix, Mix::Rop(Rop::Noop)) {
            return;
        }
        let whole = match self.mix {
            Mix::Rop(rop) if mask.is_none() && target.format() != SurfaceFormat::A1 => Some(rop),
            _ => None,
        };
        let mut runs = Vec::new();
        for rect in rects {
            if whole.is_some_and(|rop| self.whole_rows(target, rect, rop)) {
                continue;
            }
            let (x0, x1) = (rect.left.unsigned_abs(), rect.right.unsigned_abs());
            self.begin(x0, x1);
            for y in rect.top.unsigned_abs()..rect.bottom.unsigned_abs() {
                runs.clear();
                match &mut mask {
                    None => runs.push((x0, x1)),
                    Some(mask) => mask.runs(y, x0, x1, &mut runs),
                }
                if runs.is_empty() {
                    continue;
                }
                self.ink.make_row(y, x0, x1);
                if let Mix::Ternary(_, brush) = &mut self.mix {
                    brush.make_row(y, x0, x1);
                }
                for run in &runs {
                    self.piece(target, y, x0, *run);
                }
            }
        }
    }

    /// Paints a rectangle without a mask, if the ink's rows are at hand; false, and nothing is painted, if they
    /// have to be made. For most commands.
    fn whole_rows(&mut self, target: &mut Target, rect: &Rect, rop: Rop) -> bool {
        let format = self.ink.format;
        let (x0, x1) = (rect.left.unsigned_abs(), rect.right.unsigned_abs());
        let n = pixels(x0, x1);
        let len = n * pixel_bytes(format);
        if matches!(self.ink.ink, Ink::Solid(_)) {
            self.ink.begin(x0, x1);
        }
        if rop != Rop::Copy {
            self.mixed.resize(len, 0);
        }
        match &self.ink.ink {
            Ink::Solid(_) => {
                let Some(row) = self.ink.row.get(..len) else { return false };
                put_rows(target, rect, rop, &mut self.mixed, |_| Some(row));
            }
            Ink::Offset(raster, dx, dy) => {
                let column = u32::try_from(i64::from(x0) + dx);
                let row = u32::try_from(i64::from(rect.top) + dy);
                let (Ok(column), Ok(row)) = (column, row) else { return false };
                let rows = raster.direct_rows((column, row), n, rect.height(), format);
                let Some(rows) = rows else { return false };
                put_rows(target, rect, rop, &mut self.mixed, rows);
            }
            Ink::Tile(..) | Ink::Scaled(_) => return false,
        }
        true
    }

    fn begin(&mut self, x0: u32, x1: u32) {
        self.mixed.resize(pixels(x0, x1) * pixel_bytes(self.ink.format), 0);
        self.ink.begin(x0, x1);
        if let Mix::Ternary(_, brush) = &mut self.mix {
            brush.begin(x0, x1);
        }
    }

    /// Paints columns `x0..x1` of a row whose rectangle begins at column `left`.
    fn piece(&mut self, target: &mut Target, y: u32, left: u32, run: (u32, u32)) {
        let format = self.ink.format;
        let Some(ink) = self.ink.piece(y, left, run) else { return };
        let x = run.0;
        if matches!(self.mix, Mix::Rop(Rop::Copy)) {
            target.write_row(y, x, ink);
            return;
        }
        let Some(mixed) = self.mixed.get_mut(..ink.len()) else { return };
        match &mut self.mix {
            Mix::Rop(rop) => {
                if rop.reads_b() {
                    target.read_row(y, x, mixed);
                }
                rop.apply(ink, mixed);
            }
            Mix::Ternary(code, brush) => {
                let Some(brush) = brush.piece(y, left, run) else { return };
                target.read_row(y, x, mixed);
                rop::ternary(*code, brush, ink, mixed);
            }
            Mix::Except(key, compared) => {
                target.read_row(y, x, mixed);
                match pixel_bytes(format) {
                    1 => except::<1>(ink, mixed, *key, *compared),
                    2 => except::<2>(ink, mixed, *key, *compared),
                    _ => except::<4>(ink, mixed, *key, *compared),
                }
            }
        }
        target.write_row(y, x, mixed);
    }
}

/// Combines rows of ink with a rectangle.
fn put_rows<'p>(
    target: &mut Target,
    rect: &Rect,
    rop: Rop,
    scratch: &mut [u8],
    rows: impl Fn(u32) -> Option<&'p [u8]>,
) {
    if rop == Rop::Copy {
        target.write_rows(rect, rows);
    } else {
        target.update_rows(rect, scratch, |n, old| {
            if let Some(ink) = rows(n) {
                rop.apply(ink, old);
            }
        });
    }
}

/// Copies pixels that are not the key.
fn except<const N: usize>(ink: &[u8], mixed: &mut [u8], key: u32, compared: u32) {
    for (old, new) in mixed.as_chunks_mut::<N>().0.iter_mut().zip(ink.as_chunks::<N>().0) {
        let value = new.iter().rev().fold(0u32, |v, b| v << 8 | u32::from(*b));
        if value & compared != key {
            *old = *new;
        }
    }
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

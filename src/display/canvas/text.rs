//! Text: glyphs put together to one mask, through which a brush is put over the destination.
#![forbid(unsafe_code)]

use super::DrawError;
use super::blend::{Row, times};
use super::paint::Ink;
use super::target::Target;
use crate::protocol::geometry::Rect;
use crate::qxl::model::{Glyph, GlyphDepth, SurfaceFormat, Text};

/// How much of each pixel the glyphs cover, for the part of them that is drawn.
pub(super) struct Coverage {
    /// Where on the surface.
    area: Rect,
    width: usize,
    bytes: Vec<u8>,
    /// Corner of all glyphs together, drawn or not.
    pub(super) corner: (i64, i64),
}

impl Coverage {
    /// The coverage inside of `seen`; `None` if no glyph touches it.
    pub(super) fn new(text: &Text, seen: &Rect) -> Result<Option<Self>, DrawError> {
        let mut all: Option<[i64; 4]> = None;
        for glyph in text.glyphs.iter() {
            let (x, y) = glyph.corner();
            let (right, bottom) = (x + i64::from(glyph.width), y + i64::from(glyph.height));
            let [l, t, r, b] = all.unwrap_or([x, y, right, bottom]);
            all = Some([l.min(x), t.min(y), r.max(right), b.max(bottom)]);
        }
        let Some([left, top, right, bottom]) = all else { return Ok(None) };
        let area = clamped([left, top, right, bottom]).intersect(seen);
        if area.is_empty() {
            return Ok(None);
        }
        let corner = (left, top);
        let width = usize::try_from(area.width()).unwrap_or(0);
        let height = usize::try_from(area.height()).unwrap_or(0);
        let len = width.saturating_mul(height);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| DrawError::NoMemory(len))?;
        bytes.resize(len, 0);
        let mut coverage = Self { area, width, bytes, corner };
        for glyph in text.glyphs.iter() {
            coverage.add(glyph, text, &visible(glyph, seen));
        }
        Ok(Some(coverage))
    }

    /// Adds a glyph; where glyphs overlap the denser one counts, mostly.
    fn add(&mut self, glyph: &Glyph, text: &Text, part: &Rect) {
        let (left, top) = glyph.corner();
        let data = text.data.get(glyph.data.clone()).unwrap_or_default();
        let stride = text.depth.row_bytes(glyph.width);
        for y in part.top..part.bottom {
            // The bottom row is stored first.
            let row = usize::try_from(i64::from(y) - top).unwrap_or(0);
            let Some(row) = usize::from(glyph.height).checked_sub(row + 1) else { continue };
            let row = data.get(row * stride..(row + 1) * stride).unwrap_or_default();
            let byte = |at: usize| row.get(at).copied().unwrap_or(0);
            for x in part.left..part.right {
                let column = usize::try_from(i64::from(x) - left).unwrap_or(0);
                // What counts when glyphs overlap, and what becomes of the pixel then. In the right pixel of a
                // byte of two the left one counts too: so it was observed of stock code.
                let weight = match text.depth {
                    GlyphDepth::A4 if column % 2 == 1 => u16::from(byte(column / 2)) << 4,
                    _ => 0,
                };
                let value = match text.depth {
                    GlyphDepth::A1 if byte(column / 8) << (column % 8) & 0x80 != 0 => 0xff,
                    GlyphDepth::A1 => 0,
                    GlyphDepth::A4 if column % 2 == 0 => byte(column / 2) & 0xf0,
                    GlyphDepth::A4 => byte(column / 2) << 4,
                    GlyphDepth::A8 => byte(column),
                };
                if let Some(at) = self.index(x, y).and_then(|at| self.bytes.get_mut(at)) {
                    *at = if weight > u16::from(*at) { value } else { value.max(*at) };
                }
            }
        }
    }

    fn index(&self, x: i32, y: i32) -> Option<usize> {
        let column = usize::try_from(x.checked_sub(self.area.left)?).ok()?;
        let row = usize::try_from(y.checked_sub(self.area.top)?).ok()?;
        Some(row * self.width + column)
    }

    /// Puts the brush over the rectangles, as much as the glyphs cover. Pixels without coverage stay, but for bits that
    /// mean nothing: pixman clears those of every pixel that it looks at.
    /// `hidden`: the surface is not the screen, so that somebody may read such bits.
    pub(super) fn paint(&self, target: &mut Target, rects: &[Rect], brush: &Ink, hidden: bool) {
        let format = target.format();
        // pixman paints one colour with a loop of its own, which takes xRGB for ARGB.
        let solid = matches!(brush, Ink::Solid(_));
        let alpha = format == SurfaceFormat::Argb || solid && format == SurfaceFormat::Xrgb;
        let mut row = Row::new(format, alpha);
        let unused =
            hidden && (format == SurfaceFormat::Rgb555 || format == SurfaceFormat::Xrgb && !solid);
        let mut source = Vec::new();
        for rect in rects {
            let rect = rect.intersect(&self.area);
            for y in rect.top..rect.bottom {
                let start = self.index(rect.left, y).unwrap_or(0);
                let end = start + usize::try_from(rect.width()).unwrap_or(0);
                let cover = self.bytes.get(start..end).unwrap_or_default();
                let mut x = rect.left.unsigned_abs();
                for run in cover.chunk_by(|a, b| unused || (*a == 0) == (*b == 0)) {
                    if unused || run[0] != 0 {
                        self.brush(brush, format, (x, y.unsigned_abs()), run.len(), &mut source);
                        for (pixel, cover) in source.iter_mut().zip(run) {
                            *pixel = times(*pixel, u32::from(*cover));
                        }
                        row.over(target, (x, y.unsigned_abs()), &source);
                    }
                    x = x.saturating_add(u32::try_from(run.len()).unwrap_or(0));
                }
            }
        }
    }

    /// Pixels of the brush, premultiplied.
    fn brush(
        &self,
        ink: &Ink,
        format: SurfaceFormat,
        at: (u32, u32),
        n: usize,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        out.resize(n, 0);
        match ink {
            Ink::Solid(color) => out.fill(opaque(*color, format)),
            Ink::Tile(raster, pos) => {
                let modulo = |at: u32, corner: i64, pos: i32, size: u32| {
                    let rest = i64::from(at) - corner - i64::from(pos);
                    u32::try_from(rest.rem_euclid(i64::from(size.max(1)))).unwrap_or(0)
                };
                let y = modulo(at.1, self.corner.1, pos.y, raster.height());
                for (pixel, x) in out.iter_mut().zip(at.0..) {
                    let x = modulo(x, self.corner.0, pos.x, raster.width());
                    raster.fetch_operand(x, y, format, std::slice::from_mut(pixel));
                }
            }
            // No other ink is a brush.
            Ink::Offset(..) | Ink::Scaled(_) => {}
        }
    }
}

/// Part of a glyph's box inside of `seen`.
fn visible(glyph: &Glyph, seen: &Rect) -> Rect {
    let (left, top) = glyph.corner();
    clamped([left, top, left + i64::from(glyph.width), top + i64::from(glyph.height)])
        .intersect(seen)
}

/// Left, top, right and bottom as far as there are numbers.
fn clamped([left, top, right, bottom]: [i64; 4]) -> Rect {
    let clamp = |v: i64| {
        i32::try_from(v.clamp(i64::from(i32::MIN), i64::from(i32::MAX))).unwrap_or(i32::MAX)
    };
    Rect { left: clamp(left), top: clamp(top), right: clamp(right), bottom: clamp(bottom) }
}

/// A colour of the surface's format as an opaque pixel.
fn opaque(color: u32, format: SurfaceFormat) -> u32 {
    let five = |v: u32| ((v & 31) * 65535 / 31) >> 8;
    let rgb = match format {
        SurfaceFormat::Rgb555 => five(color >> 10) << 16 | five(color >> 5) << 8 | five(color),
        SurfaceFormat::Rgb565 => {
            let green = color >> 5 & 63;
            five(color >> 11) << 16 | (green << 2 | green >> 4) << 8 | five(color)
        }
        _ => color & 0x00ff_ffff,
    };
    rgb | 0xff00_0000
}

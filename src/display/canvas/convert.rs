//! Pixels of any format into the raw pixels of a surface, one piece of a row at a time.
//!
//! All conversions are raw and without dithering: widening replicates high bits, narrowing truncates.
//! Where both sides have four channels of 8 bits the pixel is copied as it is, so the unused byte of one
//! becomes the alpha of the other; stock clients do the same.
//! What the specification leaves open follows pixman, which stock clients convert with: a source
//! without any high byte (16 bits) is opaque, an alpha-only source is black of that alpha, and a surface
//! that has only alpha gets 255 from whatever has none.
#![forbid(unsafe_code)]

use super::target::pixel_bytes;
use crate::qxl::model::{BitmapFormat, SurfaceFormat};

/// Layout of source pixels: the bitmap formats and those that only surfaces have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Bit1Le,
    Bit1Be,
    Bit4Le,
    Bit4Be,
    Index8,
    Rgb555,
    Rgb565,
    Rgb24,
    Xrgb,
    Argb,
    A8,
    /// One byte per pixel, bit 0 counts, as `Target::read_row` hands out one-bit pixels.
    A1,
}

/// Colours of an indexed image, padded with 0 so that every index of 8 bits has one.
pub(super) type Colors = [u32; 256];

impl Layout {
    pub(super) fn of_bitmap(format: BitmapFormat) -> Self {
        match format {
            BitmapFormat::Bit1Le => Self::Bit1Le,
            BitmapFormat::Bit1Be => Self::Bit1Be,
            BitmapFormat::Bit4Le => Self::Bit4Le,
            BitmapFormat::Bit4Be => Self::Bit4Be,
            BitmapFormat::Bit8 => Self::Index8,
            BitmapFormat::Bit16 => Self::Rgb555,
            BitmapFormat::Bit24 => Self::Rgb24,
            BitmapFormat::Bit32 => Self::Xrgb,
            BitmapFormat::Rgba => Self::Argb,
            BitmapFormat::Alpha8 => Self::A8,
        }
    }

    pub(super) fn of_surface(format: SurfaceFormat) -> Self {
        match format {
            SurfaceFormat::A1 => Self::A1,
            SurfaceFormat::A8 => Self::A8,
            SurfaceFormat::Rgb555 => Self::Rgb555,
            SurfaceFormat::Rgb565 => Self::Rgb565,
            SurfaceFormat::Xrgb => Self::Xrgb,
            SurfaceFormat::Argb => Self::Argb,
        }
    }

    /// Bits from one pixel to the next.
    pub(super) fn bits(self) -> usize {
        match self {
            Self::Bit1Le | Self::Bit1Be => 1,
            Self::Bit4Le | Self::Bit4Be => 4,
            Self::Index8 | Self::A8 | Self::A1 => 8,
            Self::Rgb555 | Self::Rgb565 => 16,
            Self::Rgb24 => 24,
            Self::Xrgb | Self::Argb => 32,
        }
    }

    /// True if pixels are colour numbers.
    pub(super) fn is_indexed(self) -> bool {
        matches!(self, Self::Bit1Le | Self::Bit1Be | Self::Bit4Le | Self::Bit4Be | Self::Index8)
    }

    /// True if pixels have four bytes.
    fn has_high_byte(self) -> bool {
        matches!(self, Self::Xrgb | Self::Argb)
    }

    /// True if the high byte of the widened pixel says nothing about opacity.
    pub(super) fn is_opaque(self) -> bool {
        !matches!(self, Self::Argb | Self::A8 | Self::A1)
    }

    /// True if pixels can be copied to a surface of this format byte by byte.
    pub(super) fn is_raw(self, to: SurfaceFormat) -> bool {
        match to {
            SurfaceFormat::Xrgb | SurfaceFormat::Argb => self.has_high_byte(),
            _ => self == Self::of_surface(to),
        }
    }
}

/// Pixels converted at a time; fits the stack and the first-level cache.
const CHUNK: usize = 256;

/// Converts pixels of `row` from column `x` on to raw pixels of a surface, as many as `out` holds.
///
/// `row` is a whole row of the source; pixels beyond its end become 0.
pub(super) fn convert(
    layout: Layout,
    colors: &Colors,
    row: &[u8],
    x: usize,
    to: SurfaceFormat,
    out: &mut [u8],
) {
    if layout.is_raw(to) {
        let at = (x * layout.bits()) / 8;
        let source = row.get(at..).unwrap_or_default();
        let n = source.len().min(out.len());
        out[..n].copy_from_slice(&source[..n]);
        out[n..].fill(0);
        return;
    }
    let bytes = pixel_bytes(to);
    let mut values = [0; CHUNK];
    let mut at = x;
    for piece in out.chunks_mut(CHUNK * bytes) {
        let n = piece.len() / bytes;
        let values = &mut values[..n];
        if layout.is_indexed() {
            look_up(layout, colors, row, at, values);
            store_colors(values, to, piece);
        } else {
            widen(layout, row, at, values);
            if layout.is_opaque() {
                store_opaque(values, to, piece);
            } else {
                narrow(values, to, piece);
            }
        }
        at += n;
    }
}

/// Colours of an indexed row, as the palette has them.
fn look_up(layout: Layout, colors: &Colors, row: &[u8], x: usize, out: &mut [u32]) {
    let byte = |at: usize| row.get(at).copied().unwrap_or(0);
    let color = |index: u8| colors[usize::from(index)];
    let columns = x..x + out.len();
    match layout {
        Layout::Bit1Le => {
            for (v, x) in out.iter_mut().zip(columns) {
                *v = color(byte(x / 8) >> (x % 8) & 1);
            }
        }
        Layout::Bit1Be => {
            for (v, x) in out.iter_mut().zip(columns) {
                *v = color(byte(x / 8) >> (7 - x % 8) & 1);
            }
        }
        Layout::Bit4Le => {
            for (v, x) in out.iter_mut().zip(columns) {
                *v = color(byte(x / 2) >> (x % 2 * 4) & 15);
            }
        }
        Layout::Bit4Be => {
            for (v, x) in out.iter_mut().zip(columns) {
                *v = color(byte(x / 2) >> (4 - x % 2 * 4) & 15);
            }
        }
        _ => {
            let source = row.get(x..).unwrap_or_default();
            out.fill(colors[0]);
            for (v, index) in out.iter_mut().zip(source) {
                *v = color(*index);
            }
        }
    }
}

/// Pixels that are not indexed as a8r8g8b8 in host order; the high byte as pixman fetches it, except that
/// that of xRGB is copied and that of 24 bits is 0.
pub(super) fn widen(layout: Layout, row: &[u8], x: usize, out: &mut [u32]) {
    let source = row.get(x * layout.bits() / 8..).unwrap_or_default();
    let whole = source.len() * 8 / layout.bits();
    if whole < out.len() {
        out[whole..].fill(0);
    }
    match layout {
        Layout::Rgb555 => {
            for (v, p) in out.iter_mut().zip(source.as_chunks::<2>().0) {
                let p = u32::from(u16::from_le_bytes(*p));
                *v = five(p >> 10) << 16 | five(p >> 5) << 8 | five(p) | 0xff00_0000;
            }
        }
        Layout::Rgb565 => {
            for (v, p) in out.iter_mut().zip(source.as_chunks::<2>().0) {
                let p = u32::from(u16::from_le_bytes(*p));
                let green = p >> 5 & 63;
                let green = green << 2 | green >> 4;
                *v = five(p >> 11) << 16 | green << 8 | five(p) | 0xff00_0000;
            }
        }
        Layout::Rgb24 => {
            for (v, p) in out.iter_mut().zip(source.as_chunks::<3>().0) {
                *v = u32::from_le_bytes([p[0], p[1], p[2], 0]);
            }
        }
        Layout::A8 => {
            for (v, p) in out.iter_mut().zip(source) {
                *v = u32::from(*p) << 24;
            }
        }
        Layout::A1 => {
            for (v, p) in out.iter_mut().zip(source) {
                *v = if p & 1 == 0 { 0 } else { 0xff00_0000 };
            }
        }
        _ => {
            for (v, p) in out.iter_mut().zip(source.as_chunks::<4>().0) {
                *v = u32::from_le_bytes(*p);
            }
        }
    }
}

/// Five bits to eight by repeating the high ones.
fn five(v: u32) -> u32 {
    let v = v & 31;
    v << 3 | v >> 2
}

/// Palette entries stand in the surface's own format: their low bits are stored as they are.
fn store_colors(values: &[u32], to: SurfaceFormat, out: &mut [u8]) {
    match pixel_bytes(to) {
        1 => {
            for (p, v) in out.iter_mut().zip(values) {
                *p = v.to_le_bytes()[0];
            }
        }
        2 => {
            for (p, v) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                let b = v.to_le_bytes();
                *p = [b[0], b[1]];
            }
        }
        _ => {
            for (p, v) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *p = v.to_le_bytes();
            }
        }
    }
}

/// Stores pixels whose high byte is no alpha.
fn store_opaque(values: &[u32], to: SurfaceFormat, out: &mut [u8]) {
    match to {
        SurfaceFormat::A1 => out.fill(1),
        SurfaceFormat::A8 => out.fill(0xff),
        _ => narrow(values, to, out),
    }
}

/// Pixels a8r8g8b8 to raw pixels of a surface, truncating.
pub(super) fn narrow(values: &[u32], to: SurfaceFormat, out: &mut [u8]) {
    let bytes = |v: u32| v.to_le_bytes();
    match to {
        SurfaceFormat::A1 => {
            for (p, v) in out.iter_mut().zip(values) {
                *p = bytes(*v)[3] >> 7;
            }
        }
        SurfaceFormat::A8 => {
            for (p, v) in out.iter_mut().zip(values) {
                *p = bytes(*v)[3];
            }
        }
        SurfaceFormat::Rgb555 => {
            for (p, v) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                let b = bytes(v >> 9 & 0x7c00 | v >> 6 & 0x3e0 | v >> 3 & 0x1f);
                *p = [b[0], b[1]];
            }
        }
        SurfaceFormat::Rgb565 => {
            for (p, v) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                let b = bytes(v >> 8 & 0xf800 | v >> 5 & 0x7e0 | v >> 3 & 0x1f);
                *p = [b[0], b[1]];
            }
        }
        SurfaceFormat::Xrgb | SurfaceFormat::Argb => {
            for (p, v) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *p = bytes(*v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(layout: Layout, row: &[u8], to: SurfaceFormat) -> Vec<u8> {
        let mut colors = [0; 256];
        colors[1] = 0x8765_4321;
        let mut out = vec![0xee; pixel_bytes(to)];
        convert(layout, &colors, row, 0, to, &mut out);
        out
    }

    #[test]
    fn narrowing_truncates_and_widening_replicates() {
        let (w, n) = (SurfaceFormat::Xrgb, SurfaceFormat::Rgb555);
        assert_eq!(one(Layout::Rgb24, &[0x0f, 0xf8, 0x87], n), [0b1110_0001, 0b0100_0011]);
        assert_eq!(one(Layout::Rgb555, &[0b1110_0001, 0b0100_0011], w), [8, 0xff, 0x84, 0xff]);
        assert_eq!(one(Layout::Rgb565, &[0x01, 0x84], w), [8, 130, 0x84, 0xff]);
        assert_eq!(one(Layout::Rgb555, &[0, 0x80 | 0x40], n), [0, 0xc0], "same format is raw");
    }

    #[test]
    fn every_16_bit_colour_survives_a_detour_over_32_bits() {
        for (layout, format) in
            [(Layout::Rgb565, SurfaceFormat::Rgb565), (Layout::Rgb555, SurfaceFormat::Rgb555)]
        {
            for v in 0..=u16::MAX {
                let v = if layout == Layout::Rgb555 { v & 0x7fff } else { v };
                let wide = one(layout, &v.to_le_bytes(), SurfaceFormat::Xrgb);
                assert_eq!(one(Layout::Xrgb, &wide, format), v.to_le_bytes());
            }
        }
    }

    #[test]
    fn palette_entries_are_raw_and_missing_bytes_are_zero() {
        let xrgb = SurfaceFormat::Xrgb;
        assert_eq!(one(Layout::Bit1Be, &[0x80], xrgb), [0x21, 0x43, 0x65, 0x87]);
        assert_eq!(one(Layout::Bit1Le, &[1], SurfaceFormat::Rgb565), [0x21, 0x43]);
        assert_eq!(one(Layout::Bit4Be, &[0x10], xrgb), [0x21, 0x43, 0x65, 0x87]);
        assert_eq!(one(Layout::Bit4Le, &[0x01], xrgb), [0x21, 0x43, 0x65, 0x87]);
        assert_eq!(one(Layout::Index8, &[], xrgb), [0; 4]);
        assert_eq!(one(Layout::Argb, &[1, 2], xrgb), [1, 2, 0, 0]);
        assert_eq!(one(Layout::Rgb24, &[1, 2], xrgb), [0; 4]);
    }

    #[test]
    fn surfaces_of_alpha_get_alpha() {
        assert_eq!(one(Layout::Argb, &[1, 2, 3, 0x7f], SurfaceFormat::A8), [0x7f]);
        assert_eq!(one(Layout::Argb, &[1, 2, 3, 0x7f], SurfaceFormat::A1), [0]);
        assert_eq!(one(Layout::A8, &[0x80], SurfaceFormat::A1), [1]);
        assert_eq!(one(Layout::A1, &[1], SurfaceFormat::A8), [0xff]);
        assert_eq!(one(Layout::Xrgb, &[1, 2, 3, 0], SurfaceFormat::A8), [0xff]);
        assert_eq!(one(Layout::A8, &[9], SurfaceFormat::Argb), [0, 0, 0, 9]);
    }
}

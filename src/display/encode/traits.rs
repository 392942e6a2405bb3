//! What the pixels of a bitmap are like: what a codec would lose, and what it would gain.
#![forbid(unsafe_code)]

use super::image::AlphaUse;
use crate::qxl::model::{Bitmap, BitmapFormat};

/// Bits that codecs of colours do not keep: the fourth byte of 32-bit pixels, the 16th bit of
/// 16-bit ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fourth {
    /// None is set, or there is no such bit.
    Zero,
    /// All are set.
    Ones,
    /// Neither.
    Mixed,
}

/// What those bits are.
pub(super) fn fourth(bitmap: &Bitmap) -> Fourth {
    let (any, all) = match bitmap.format {
        BitmapFormat::Bit32 => {
            let (mut any, mut all) = (0, u32::MAX);
            for row in rows(bitmap, 4) {
                for pixel in row.as_chunks::<4>().0 {
                    let pixel = u32::from_le_bytes(*pixel);
                    any |= pixel;
                    all &= pixel;
                }
                if any >> 24 != 0 && all >> 24 != 0xff {
                    break;
                }
            }
            (any >> 24, all >> 24 == 0xff)
        }
        BitmapFormat::Bit16 => {
            let mut any = 0;
            for row in rows(bitmap, 2) {
                for pixel in row.as_chunks::<2>().0 {
                    any |= u16::from_le_bytes(*pixel);
                }
            }
            (u32::from(any >> 15), false)
        }
        _ => (0, false),
    };
    match (any, all) {
        (0, _) => Fourth::Zero,
        (_, true) => Fourth::Ones,
        _ => Fourth::Mixed,
    }
}

/// The same picture without alpha, where nothing and nobody will tell the difference.
///
/// Drivers send all they have as RGBA, with 255 or 0 in every pixel. The codecs take half the time for three colours,
/// and clients too.
///
/// `fourth` tells what the fourth bytes of 32-bit pixels are; that is told as well.
pub(super) fn without_alpha(
    bitmap: &Bitmap,
    alpha: AlphaUse,
    fourth: impl FnOnce(&Bitmap) -> Fourth,
) -> Option<(Bitmap, Fourth)> {
    if bitmap.format != BitmapFormat::Rgba || alpha == AlphaUse::Used {
        return None;
    }
    let plain = Bitmap { format: BitmapFormat::Bit32, ..bitmap.clone() };
    match fourth(&plain) {
        Fourth::Ones => Some((plain, Fourth::Ones)),
        Fourth::Zero if alpha == AlphaUse::Dropped => Some((plain, Fourth::Zero)),
        _ => None,
    }
}

/// True if there is a palette with a colour for every index, and clients make of its colours what
/// they make of them in a bitmap that goes as it is: they drop the fourth byte.
pub(super) fn palette_fits(bitmap: &Bitmap) -> bool {
    let Some(palette) = &bitmap.palette else { return false };
    if palette.entries.len() > 256 || palette.entries.iter().any(|color| color >> 24 != 0) {
        return false;
    }
    let need = match bitmap.format {
        BitmapFormat::Bit1Be => 2,
        BitmapFormat::Bit4Be => 16,
        BitmapFormat::Bit8 => {
            let highest = rows(bitmap, 1).map(|row| row.iter().copied().max().unwrap_or(0)).max();
            usize::from(highest.unwrap_or(0)) + 1
        }
        _ => return false,
    };
    palette.entries.len() >= need
}

/// Rows of pixels of so many bytes, without what pads them; fewer if the data is too short.
fn rows(bitmap: &Bitmap, bytes: usize) -> impl Iterator<Item = &[u8]> {
    let len = (bitmap.width as usize).saturating_mul(bytes);
    let stride = bitmap.stride as usize;
    (0..bitmap.height as usize).map_while(move |y| {
        let start = y.checked_mul(stride)?;
        bitmap.data.get(start..start.checked_add(len)?)
    })
}

/// True for what looks like a photograph: neighbours differ, but little.
///
/// A sample of pixels is compared with the ones right of and below each. Equal neighbours speak
/// for matches and strong contrasts for drawings; small differences are what QUIC is good at.
pub(super) fn is_gradual(bitmap: &Bitmap) -> bool {
    match bitmap.format {
        BitmapFormat::Bit16 => gradual::<2>(bitmap, |&[low, high]| {
            let v = u16::from_le_bytes([low, high]);
            [v & 31, v >> 5 & 31, v >> 10 & 31].map(|v| i32::from(v) * 8)
        }),
        BitmapFormat::Bit24 => gradual::<3>(bitmap, |pixel| pixel.map(i32::from)),
        BitmapFormat::Bit32 | BitmapFormat::Rgba => {
            gradual::<4>(bitmap, |&[b, g, r, _]| [b, g, r].map(i32::from))
        }
        _ => false,
    }
}

fn gradual<const BYTES: usize>(bitmap: &Bitmap, color: impl Fn(&[u8; BYTES]) -> [i32; 3]) -> bool {
    /// Samples lie so far apart in a row, and rows begin at another one each.
    const APART: usize = 15;
    /// About so many samples are taken.
    const SAMPLES: usize = 1 << 14;
    /// Differences from here on are contrasts.
    const STRONG: i32 = 60;
    let (width, height) = (bitmap.width as usize, bitmap.height as usize);
    let row_step = (width.saturating_mul(height) / APART / SAMPLES).max(1);
    // In quarters of a comparison: an equal one 2, a contrast 4, a small difference -1.
    let (mut score, mut compared) = (0i64, 0i64);
    let lines: Vec<&[u8]> = rows(bitmap, BYTES).collect();
    let pairs = lines.windows(2).step_by(row_step);
    for (number, pair) in pairs.enumerate() {
        let &[upper, lower] = pair else { break };
        let (upper, lower) = (upper.as_chunks::<BYTES>().0, lower.as_chunks::<BYTES>().0);
        let squares = upper.windows(2).zip(lower.windows(2)).skip(number * 4 % APART);
        for (above, below) in squares.step_by(APART) {
            let (&[here, right], &[under, across]) = (above, below) else { break };
            compared += 3;
            let here = color(&here);
            let differences = [right, under, across].map(|other| {
                let other = color(&other);
                (0..3).map(|n| (here[n] - other[n]).abs()).max().unwrap_or(0)
            });
            if differences == [0; 3] {
                continue;
            }
            score += differences
                .map(|difference| match difference {
                    0 => 2,
                    STRONG.. => 4,
                    _ => -1,
                })
                .iter()
                .sum::<i64>();
        }
    }
    // A mean below -0.03.
    score * 100 < -12 * compared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qxl::model::Palette;
    use std::sync::Arc;

    fn bitmap(format: BitmapFormat, width: u32, height: u32, data: Vec<u8>) -> Bitmap {
        let stride = (width * format.bits()).div_ceil(8);
        Bitmap { format, top_down: true, width, height, stride, palette: None, data: data.into() }
    }

    #[test]
    fn bits_that_nobody_sees_are_found_wherever_they_are() {
        let of = |pixels: [u32; 4]| {
            let data = pixels.iter().flat_map(|v| v.to_le_bytes()).collect();
            fourth(&bitmap(BitmapFormat::Bit32, 2, 2, data))
        };
        assert_eq!(of([0xff_ffff; 4]), Fourth::Zero);
        assert_eq!(of([0xff00_0000; 4]), Fourth::Ones);
        assert_eq!(of([0, 0, 0, 0x0100_0000]), Fourth::Mixed);
        assert_eq!(of([!0, !0, !0, 0xfeff_ffff]), Fourth::Mixed);
        let of = |pixel: u16| {
            let data = [0, pixel].iter().flat_map(|v| v.to_le_bytes()).collect();
            fourth(&bitmap(BitmapFormat::Bit16, 2, 1, data))
        };
        assert_eq!((of(0x7fff), of(0x8000)), (Fourth::Zero, Fourth::Mixed));
        // What pads a row is no pixel.
        let mut padded =
            bitmap(BitmapFormat::Bit32, 1, 2, vec![1, 2, 3, 0, 9, 9, 9, 9, 1, 2, 3, 0]);
        padded.stride = 8;
        assert_eq!(fourth(&padded), Fourth::Zero);
    }

    #[test]
    fn every_index_needs_a_colour() {
        let with = |format, entries: Vec<u32>, byte| {
            let mut bitmap = bitmap(format, 8, 8, vec![byte; 64]);
            bitmap.palette = Some(Arc::new(Palette { unique: 1, entries }));
            palette_fits(&bitmap)
        };
        assert!(with(BitmapFormat::Bit8, vec![1; 10], 9));
        assert!(!with(BitmapFormat::Bit8, vec![1; 10], 10));
        assert!(!with(BitmapFormat::Bit8, vec![0x0100_0000; 10], 9));
        assert!(with(BitmapFormat::Bit4Be, vec![1; 16], 0));
        assert!(!with(BitmapFormat::Bit4Be, vec![1; 15], 0));
        assert!(with(BitmapFormat::Bit1Be, vec![1; 2], 0));
        assert!(!with(BitmapFormat::Bit1Be, vec![1], 0));
        assert!(!with(BitmapFormat::Bit4Le, vec![1; 16], 0), "no client draws it");
        assert!(!palette_fits(&bitmap(BitmapFormat::Bit8, 8, 8, vec![0; 64])));
    }

    #[test]
    fn slopes_are_gradual_and_drawings_are_not() {
        let picture = |value: &dyn Fn(u32, u32) -> u8| {
            let spots = (0..64).flat_map(|y| (0..64).map(move |x| (x, y)));
            let data =
                spots.flat_map(|(x, y)| [value(x, y), value(x, y), value(x, y), 0]).collect();
            is_gradual(&bitmap(BitmapFormat::Bit32, 64, 64, data))
        };
        let low = |v: u32| v.to_le_bytes()[0];
        assert!(picture(&|x, y| low(x * 2 + y)));
        assert!(!picture(&|_, _| 7));
        assert!(!picture(&|x, y| if (x / 3 + y / 2) % 2 == 0 { 255 } else { 0 }));
        assert!(!picture(&|x, y| low(x.wrapping_mul(2_654_435_761).rotate_left(y) >> 11)), "noise");
        assert!(!is_gradual(&bitmap(BitmapFormat::Bit32, 1, 9, vec![0; 36])));
    }
}

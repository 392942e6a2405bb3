//! Whether a picture shows what was sent before, perhaps elsewhere on the screen.
//!
//! A few pixels of each picture are remembered, chosen by their content alone, so that they are chosen
//! again wherever they move to. It takes a look at every pixel, which is little beside coding it, and
//! no memory of the pictures themselves.
#![forbid(unsafe_code)]

use crate::qxl::model::{Bitmap, BitmapFormat};

/// Places that are remembered: as many as 16 Mi pixels have, which is a usual window.
const PLACES: usize = 1 << 16;
/// Of so many pixels one is looked at further, and of so many of these one is remembered.
const FIRST: u32 = 64;
const SECOND: u64 = 4;
/// Pictures with fewer places tell nothing.
const FEW: usize = 8;

/// What is remembered of the pictures of a client.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Hashes by their low bits; 0 is none. Empty before the first picture.
    places: Vec<u32>,
}

impl Repeats {
    /// True if at least half of a picture of 32-bit pixels was in earlier ones. It is remembered.
    pub fn seen(&mut self, bitmap: &Bitmap) -> bool {
        if !matches!(bitmap.format, BitmapFormat::Bit32 | BitmapFormat::Rgba) {
            return false;
        }
        self.places.resize(PLACES, 0);
        let (width, stride) = (bitmap.width as usize, bitmap.stride as usize);
        let (mut all, mut known) = (0, 0);
        for row in bitmap.data.chunks(stride.max(1)).take(bitmap.height as usize) {
            let pixels = row.as_chunks::<4>().0;
            let pixels = &pixels[..width.min(pixels.len())];
            for (number, eight) in pixels.chunks(8).enumerate() {
                // Mostly none; without branches for each.
                if !eight.iter().fold(false, |any, pixel| any | is_first(*pixel)) {
                    continue;
                }
                let start = number * 8;
                for four in pixels[start..pixels.len().min(start + 11)].windows(4) {
                    let Some(hash) = hash(four) else { continue };
                    all += 1;
                    let place = &mut self.places[hash as usize % PLACES];
                    known += usize::from(std::mem::replace(place, hash) == hash);
                }
            }
        }
        all >= FEW && known * 2 >= all
    }
}

/// Colours only; the fourth byte may be anything.
fn color(pixel: [u8; 4]) -> u32 {
    u32::from_le_bytes(pixel) & 0x00ff_ffff
}

fn is_first(pixel: [u8; 4]) -> bool {
    color(pixel).wrapping_mul(0x9e37_79b1) < u32::MAX / FIRST
}

/// The hash of four pixels if they are to be remembered.
fn hash(four: &[[u8; 4]]) -> Option<u32> {
    if !is_first(four[0]) {
        return None;
    }
    let mut hash = 0u64;
    for pixel in four {
        hash = (hash ^ u64::from(color(*pixel))).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    // Places with four equal pixels are in every picture.
    let flat = four.iter().all(|pixel| color(*pixel) == color(four[0]));
    let chosen = u64::from(e).is_multiple_of(SECOND) && !flat;
    chosen.then(|| u32::from_be_bytes([a, b, c, d]).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of a world of gradual colours.
    fn part(left: u32, top: u32, width: u32, height: u32, fourth: u8) -> Bitmap {
        let mut data = Vec::new();
        for y in top..top + height {
            for x in left..left + width {
                let rough = (x ^ y).wrapping_mul(0x9e37_79b1).rotate_left(x % 13 + y % 7) >> 29;
                let [blue, ..] = (x / 2 + rough).to_le_bytes();
                let [green, ..] = (y / 3 + x / 5 + rough * 2).to_le_bytes();
                data.extend([blue, green, (x * y / 4000).to_le_bytes()[0], fourth]);
            }
            data.extend([1, 2, 3, 4]);
        }
        Bitmap {
            format: BitmapFormat::Bit32,
            top_down: true,
            width,
            height,
            stride: width * 4 + 4,
            palette: None,
            data: data.into(),
        }
    }

    #[test]
    fn what_moved_was_seen_and_what_is_new_was_not() {
        let mut repeats = Repeats::default();
        assert!(!repeats.seen(&part(0, 0, 400, 300, 0)));
        assert!(repeats.seen(&part(0, 0, 400, 300, 0)));
        assert!(repeats.seen(&part(13, 0, 400, 300, 0)), "sideways");
        assert!(repeats.seen(&part(0, 131, 400, 300, 9)), "up, with other fourth bytes");
        assert!(!repeats.seen(&part(5000, 3000, 400, 300, 0)));
        assert!(!repeats.seen(&part(5300, 3000, 400, 300, 0)), "a quarter of it");
        assert!(repeats.seen(&part(5310, 3010, 200, 200, 0)));
    }

    #[test]
    fn what_tells_nothing_was_not_seen() {
        let mut repeats = Repeats::default();
        let mut flat = part(0, 0, 400, 300, 0);
        flat.data = vec![9; flat.data.len()].into();
        let mut small = part(0, 0, 20, 20, 0);
        let mut other = part(0, 0, 400, 300, 0);
        other.format = BitmapFormat::Bit24;
        for _ in 0..2 {
            assert!(!repeats.seen(&flat) && !repeats.seen(&small) && !repeats.seen(&other));
        }
        for (width, height, stride) in [(0, 0, 0), (u32::MAX, u32::MAX, u32::MAX), (20, 99, 1)] {
            (small.width, small.height, small.stride) = (width, height, stride);
            assert!(!repeats.seen(&small));
        }
    }
}

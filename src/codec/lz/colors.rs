//! Matches in pixels.
//!
//! Candidates are the pixel before, the one above, and the last place with the same hash of two
//! pixels. Where nothing matches for a while, eight pixels are looked at together, and where
//! nothing matches for long, only some of them are: whoever skips finds the beginning of what
//! matches afterwards, by going back.

use super::bytes::Worth;
use super::places::Places;
use super::sink::{Full, Sink};
use crate::codec::simd::Kernel;

/// Four bytes, of which the first three count.
pub(in crate::codec) type Pixel = [u8; 4];

/// Misses after which eight pixels are looked at together.
pub(in crate::codec) const PATIENCE: usize = 32;
/// Misses after which some are skipped.
pub(in crate::codec) const BOREDOM: usize = 512;
/// Misses with which a row begins, at most: each one is looked at for a while.
pub(in crate::codec) const FRESH: usize = 256;
/// From the beginning of eight to that of the next ones, when some are skipped.
pub(in crate::codec) const STEP: usize = 32;
/// Rows with no match behind which the next ones are expected to have none either.
const DULL: usize = 8;
/// Literals are written when there are so many: behind so many of them nothing is found any more.
const FLUSH: usize = 512;
/// So many remain.
const KEPT: usize = 32;

/// A length that is good enough to look for no better match.
const ENOUGH: usize = 64;

/// A match that was found.
#[derive(Clone, Copy)]
pub(in crate::codec) struct Match {
    pub length: usize,
    pub distance: usize,
}

#[inline(always)]
pub(in crate::codec) fn hash(pixels: &[Pixel]) -> u64 {
    let pair =
        u64::from(u32::from_le_bytes(pixels[0])) | u64::from(u32::from_le_bytes(pixels[1])) << 32;
    (pair & 0x00ff_ffff_00ff_ffff).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline(always)]
pub(in crate::codec) fn equal(a: Pixel, b: Pixel) -> bool {
    (u32::from_le_bytes(a) ^ u32::from_le_bytes(b)) & 0x00ff_ffff == 0
}

/// Eight pixels, which there must be.
#[inline(always)]
pub(in crate::codec) fn eight(pixels: &[Pixel], at: usize) -> &[Pixel; 8] {
    match pixels[at..].first_chunk() {
        Some(eight) => eight,
        None => unreachable!("the caller looked how many there are"),
    }
}

/// Writes most of the pending literals if there are many; where the others begin.
#[inline(always)]
pub(in crate::codec) fn flush<K: Kernel, S: Sink, const BYTES: usize>(
    k: K,
    pixels: &[Pixel],
    pending: usize,
    at: usize,
    sink: &mut S,
) -> Result<usize, Full> {
    // A step may have led beyond the end.
    let at = at.min(pixels.len());
    if at < pending + FLUSH {
        return Ok(pending);
    }
    let now = pending + (at - pending - KEPT) / KEPT * KEPT;
    sink.pixels::<K, BYTES>(k, &pixels[pending..], now - pending)?;
    Ok(now)
}

/// Codes all pixels, whose rows have `width` of them; `BYTES` of each are written.
#[inline(always)]
pub(super) fn pass<K: Kernel, S: Sink, const BYTES: usize>(
    k: K,
    pixels: &[Pixel],
    width: usize,
    worth: Worth,
    places: &mut Places,
    sink: &mut S,
) -> Result<(), Full> {
    places.begin(pixels.len());
    // Literals from here on were not written yet.
    let mut pending = 0;
    // The first pixel has none before it.
    let (mut at, mut row_end) = (1, width);
    let mut misses = Misses::default();
    // The hash reads two pixels.
    let last = pixels.len().saturating_sub(1);
    while at < last {
        if at >= row_end {
            row_end = (at / width + 1) * width;
            misses.new_row();
        }
        let mut hashed = 0;
        if misses.pixels >= PATIENCE && at + 9 <= pixels.len() && at >= width {
            let here = eight(pixels, at);
            let same = k.equal_eight(eight(pixels, at - 1), here)
                | k.equal_eight(eight(pixels, at - width), here);
            if same & 1 == 0 {
                hashed = places.distance(hash(&pixels[at..]), at, worth.farthest);
                if !same_pair(pixels, at, hashed) {
                    at += misses.step(same);
                    pending = flush::<K, S, BYTES>(k, pixels, pending, at, sink)?;
                    continue;
                }
            }
        }
        let found = find(k, pixels, at, width, hashed, places, worth, pending == at);
        let Some(found) = found else {
            misses.pixels += 1;
            at += 1;
            continue;
        };
        let Match { mut length, distance } = found;
        if pending < at {
            // Steps may have led into the middle of what matches.
            while at > pending && at > distance && equal(pixels[at - 1], pixels[at - 1 - distance])
            {
                at -= 1;
                length += 1;
            }
            sink.pixels::<K, BYTES>(k, &pixels[pending..], at - pending)?;
        }
        sink.copy(length - worth.bias, distance)?;
        let end = at + length;
        remember_ends(pixels, at, end, places);
        at = end;
        pending = end;
        misses = Misses::default();
    }
    sink.pixels::<K, BYTES>(k, &pixels[pending..], pixels.len() - pending)
}

/// How long nothing has matched.
#[derive(Clone, Copy, Default)]
pub(in crate::codec) struct Misses {
    /// In pixels; less at the beginning of a row.
    pub pixels: usize,
    /// In rows.
    rows: usize,
}

impl Misses {
    /// A row begins.
    #[inline(always)]
    pub fn new_row(&mut self) {
        self.rows += 1;
        if self.rows < DULL {
            self.pixels = self.pixels.min(FRESH);
        }
    }

    /// How far to go on, if these ones of eight pixels may match, and the first one does not.
    #[inline(always)]
    pub fn step(&mut self, same: u32) -> usize {
        let step = if same != 0 {
            same.trailing_zeros() as usize
        } else if self.pixels < BOREDOM {
            8
        } else if self.rows < DULL {
            STEP
        } else {
            2 * STEP
        };
        self.pixels += step;
        step
    }
}

/// Two pixels equal those so far before; there are so many. Nothing is branched on.
#[inline(always)]
pub(in crate::codec) fn same_pair(pixels: &[Pixel], at: usize, distance: usize) -> bool {
    let from = at - distance;
    equal(pixels[from], pixels[at]) & equal(pixels[from + 1], pixels[at + 1])
}

/// Of what a match skipped only the ends are remembered.
#[inline(always)]
pub(in crate::codec) fn remember_ends(
    pixels: &[Pixel],
    at: usize,
    end: usize,
    places: &mut Places,
) {
    if end >= pixels.len() {
        return;
    }
    // Not `end`, which is looked up next.
    for at in [(at + 1).min(end - 1), at.max(end.saturating_sub(2))] {
        places.put(hash(&pixels[at..]), at);
    }
}

/// The best match at a place, if one pays. There is a pixel before it, and as many as `hashed`
/// says.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "an inlined part of two walks, made of their state")]
pub(in crate::codec) fn find<K: Kernel>(
    k: K,
    pixels: &[Pixel],
    at: usize,
    width: usize,
    hashed: usize,
    places: &mut Places,
    worth: Worth,
    adjacent: bool,
) -> Option<Match> {
    let above = if width <= at.min(worth.farthest) { width } else { 1 };
    let Some(here) = pixels[at..].first_chunk() else {
        return find_at_end(k, pixels, at, [above, 1, hashed.max(1)], worth, adjacent);
    };
    // Most matches are shorter than sixteen pixels, and which candidate is the best one cannot be
    // predicted: so candidates are looked at together, up to there, before anything is decided.
    let length_above = length_at(k, pixels, at, here, above);
    let length_left = length_at(k, pixels, at, here, 1);
    let mut best = Match { length: length_above, distance: above };
    if length_left > best.length {
        best = Match { length: length_left, distance: 1 };
    }
    if best.length == 16 {
        best.length += longer(k, pixels, at, best.distance);
        if best.length < ENOUGH && best.distance != 1 && length_left == 16 {
            let length = 16 + longer(k, pixels, at, 1);
            if length > best.length {
                best = Match { length, distance: 1 };
            }
        }
        if hashed == 0 {
            places.put(hash(&pixels[at..]), at);
        }
        return Some(best);
    }
    // Only now, because the table is farther away than the pixels.
    let hashed =
        if hashed == 0 { places.distance(hash(&pixels[at..]), at, worth.farthest) } else { hashed };
    let length = length_at(k, pixels, at, here, hashed);
    if length > best.length {
        best = Match { length, distance: hashed };
        if length == 16 {
            best.length += longer(k, pixels, at, hashed);
        }
    }
    (best.length >= worth.least(best.distance, adjacent)).then_some(best)
}

/// How many of sixteen pixels equal those so far before.
///
/// Not a closure: what uses vectors has to be inlined where the compiler may.
#[inline(always)]
fn length_at<K: Kernel>(
    k: K,
    pixels: &[Pixel],
    at: usize,
    here: &[Pixel; 16],
    distance: usize,
) -> usize {
    let Some(there) = pixels[at - distance..].first_chunk() else { return 0 };
    // Seventeen bits at least are not set where all are equal.
    (!k.equal_sixteen(there, here)).trailing_zeros() as usize
}

/// How many pixels behind sixteen equal those so far before.
#[inline(always)]
fn longer<K: Kernel>(k: K, pixels: &[Pixel], at: usize, distance: usize) -> usize {
    let at = at + 16;
    k.common(&pixels[at - distance..], &pixels[at..])
}

/// [`find`] where fewer than sixteen pixels are left.
#[cold]
#[inline(never)]
fn find_at_end<K: Kernel>(
    k: K,
    pixels: &[Pixel],
    at: usize,
    distances: [usize; 3],
    worth: Worth,
    adjacent: bool,
) -> Option<Match> {
    let mut best = Match { length: 0, distance: 1 };
    for distance in distances {
        let length = k.common(&pixels[at - distance..], &pixels[at..]);
        if length > best.length {
            best = Match { length, distance };
        }
    }
    (best.length >= worth.least(best.distance, adjacent)).then_some(best)
}

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
    let (mut at, mut misses, mut row_end) = (0, 0, width);
    // The hash reads two pixels.
    let last = pixels.len().saturating_sub(1);
    while at < last {
        if at >= row_end {
            row_end = (at / width + 1) * width;
            misses = misses.min(FRESH);
        }
        let mut place = None;
        if misses >= PATIENCE && at + 9 <= pixels.len() && at >= width {
            let here = eight(pixels, at);
            let same = k.equal_eight(eight(pixels, at - 1), here)
                | k.equal_eight(eight(pixels, at - width), here);
            if same & 1 == 0 {
                place = places.swap(hash(&pixels[at..]), at);
                let known = place.is_some_and(|place| {
                    // Farther ones are in no cache.
                    at - place <= worth.farthest
                        && equal(pixels[place], pixels[at])
                        && equal(pixels[place + 1], pixels[at + 1])
                });
                if !known {
                    let step = if same != 0 {
                        same.trailing_zeros() as usize
                    } else if misses < BOREDOM {
                        8
                    } else {
                        STEP
                    };
                    misses += step;
                    at += step;
                    pending = flush::<K, S, BYTES>(k, pixels, pending, at, sink)?;
                    continue;
                }
            }
        }
        let looked_up = |places: &mut Places| match place {
            Some(place) => Some(place),
            None => places.swap(hash(&pixels[at..]), at),
        };
        let places = &mut *places;
        let found = find(k, pixels, at, width, || looked_up(places), worth, pending == at);
        let Some(found) = found else {
            misses += 1;
            at += 1;
            continue;
        };
        let Match { mut length, distance } = found;
        // Steps may have led into the middle of what matches.
        while at > pending && at > distance && equal(pixels[at - 1], pixels[at - 1 - distance]) {
            at -= 1;
            length += 1;
        }
        if pending < at {
            sink.pixels::<K, BYTES>(k, &pixels[pending..], at - pending)?;
        }
        sink.copy(length - worth.bias, distance)?;
        let end = at + length;
        // Of what was skipped only the ends are remembered.
        for at in [at + 1, end.saturating_sub(2)] {
            if at < last {
                places.swap(hash(&pixels[at..]), at);
            }
        }
        at = end;
        pending = end;
        misses = 0;
    }
    sink.pixels::<K, BYTES>(k, &pixels[pending..], pixels.len() - pending)
}

/// The best match at a place, if one pays.
#[inline(always)]
pub(in crate::codec) fn find<K: Kernel>(
    k: K,
    pixels: &[Pixel],
    at: usize,
    width: usize,
    look_up: impl FnOnce() -> Option<usize>,
    worth: Worth,
    adjacent: bool,
) -> Option<Match> {
    let Some(here) = pixels[at..].first_chunk() else {
        let hashed = look_up().map_or(0, |place| at.saturating_sub(place));
        return find_at_end(k, pixels, at, [width, 1, hashed], worth, adjacent);
    };
    let above = length_at(k, pixels, at, here, width, worth);
    let mut best = Match { length: above, distance: width };
    if best.length >= ENOUGH {
        return Some(best);
    }
    let length = length_at(k, pixels, at, here, 1, worth);
    if length > best.length {
        best = Match { length, distance: 1 };
        if length >= ENOUGH {
            return Some(best);
        }
    }
    // Only now, because the table is farther away than the pixels.
    let hashed = look_up().map_or(0, |place| at.saturating_sub(place));
    if hashed > 0 {
        let length = length_at(k, pixels, at, here, hashed, worth);
        if length > best.length {
            best = Match { length, distance: hashed };
        }
    }
    (best.length >= worth.least(best.distance, adjacent)).then_some(best)
}

/// How many pixels equal those so far before; 0 if there are none, or too far away.
///
/// Not a closure: what uses vectors has to be inlined where the compiler may.
#[inline(always)]
fn length_at<K: Kernel>(
    k: K,
    pixels: &[Pixel],
    at: usize,
    here: &[Pixel; 8],
    distance: usize,
    worth: Worth,
) -> usize {
    if distance > at || distance > worth.farthest {
        return 0;
    }
    let from = at - distance;
    let equal = k.equal_eight(eight(pixels, from), here);
    if equal == 0xff {
        8 + k.common(&pixels[from + 8..], &pixels[at + 8..])
    } else {
        equal.trailing_ones() as usize
    }
}

/// [`find`] where fewer than eight pixels are left.
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
        if distance == 0 || distance > at || distance > worth.farthest {
            continue;
        }
        let length = k.common(&pixels[at - distance..], &pixels[at..]);
        if length > best.length {
            best = Match { length, distance };
        }
    }
    (best.length >= worth.least(best.distance, adjacent)).then_some(best)
}

//! Matches in planes of bytes: alpha, and pixels of formats with a palette.

use super::places::Places;
use super::sink::{Full, Sink};

/// Which matches pay.
#[derive(Clone, Copy)]
pub(in crate::codec) struct Worth {
    /// What is added to a coded length.
    pub bias: usize,
    /// Shortest match.
    pub near: usize,
    /// The same behind a match, where it splits no literals.
    pub adjacent: usize,
    /// Shortest match from the distance [`Self::far_from`] on.
    pub far: usize,
    /// The first distance that takes more bytes.
    pub far_from: usize,
    /// The last distance that there is.
    pub farthest: usize,
}

impl Worth {
    /// The shortest match that pays.
    #[inline(always)]
    pub fn least(&self, distance: usize, adjacent: bool) -> usize {
        match (distance < self.far_from, adjacent) {
            (true, true) => self.adjacent,
            (true, false) => self.near,
            (false, _) => self.far,
        }
    }
}

/// Bytes that the hash is made of, and that the shortest match has.
const HASHED: usize = 3;
/// Misses after which steps grow by one.
const PATIENCE: usize = 128;
/// Longest step.
const STRIDE: usize = 7;

/// A match that was found.
#[derive(Clone, Copy)]
struct Match {
    length: usize,
    distance: usize,
}

fn hash(bytes: &[u8]) -> u64 {
    let three = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    u64::from(three).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Codes all bytes, whose rows have `width` of them.
#[inline(always)]
pub(in crate::codec) fn pass<S: Sink>(
    bytes: &[u8],
    width: usize,
    worth: Worth,
    places: &mut Places,
    sink: &mut S,
) -> Result<(), Full> {
    places.begin(bytes.len());
    // Literals from here on were not written yet.
    let mut pending = 0;
    let (mut at, mut misses, mut row_end) = (0, 0, width);
    // The hash reads so many bytes.
    let last = bytes.len().saturating_sub(HASHED - 1);
    while at < last {
        let hashed = places.distance(hash(&bytes[at..]), at, worth.farthest);
        let Some(mut found) = find(bytes, at, width, hashed, worth, pending == at) else {
            misses += 1;
            at += 1 + (misses / PATIENCE).min(STRIDE);
            if at >= row_end {
                row_end = (at / width + 1) * width;
                misses = 0;
            }
            continue;
        };
        // A longer one may begin at the next byte.
        while found.length < 64 && at + 1 < last {
            let hashed = places.distance(hash(&bytes[at + 1..]), at + 1, worth.farthest);
            let next = find(bytes, at + 1, width, hashed, worth, false);
            match next.filter(|next| next.length > found.length + 1) {
                Some(next) => (found, at) = (next, at + 1),
                None => break,
            }
        }
        let Match { mut length, distance } = found;
        // Steps may have led into the middle of what matches.
        while at > pending && at > distance && bytes[at - 1] == bytes[at - 1 - distance] {
            at -= 1;
            length += 1;
        }
        sink.bytes(&bytes[pending..at])?;
        sink.copy(length - worth.bias, distance)?;
        let end = at + length;
        // Of what was skipped only some are remembered.
        for at in (at + 1..end.min(at + 16)).chain(end.saturating_sub(2)..end) {
            if at < last {
                places.put(hash(&bytes[at..]), at);
            }
        }
        at = end;
        pending = end;
        misses = 0;
    }
    sink.bytes(&bytes[pending..])
}

/// The best match at a place, if one pays.
#[inline]
fn find(
    bytes: &[u8],
    at: usize,
    width: usize,
    hashed: usize,
    worth: Worth,
    adjacent: bool,
) -> Option<Match> {
    let mut best: Option<Match> = None;
    for distance in [1, width, hashed] {
        if distance == 0 || distance > at || distance > worth.farthest {
            continue;
        }
        let from = at - distance;
        if bytes[from] != bytes[at] {
            continue;
        }
        let length = common(&bytes[from..], &bytes[at..]);
        if length >= worth.least(distance, adjacent) && best.is_none_or(|best| length > best.length)
        {
            best = Some(Match { length, distance });
        }
    }
    best
}

/// Number of bytes that are equal from the beginning on; the second slice is the shorter one.
#[inline]
fn common(earlier: &[u8], later: &[u8]) -> usize {
    let mut same = 0;
    for (a, b) in earlier.as_chunks::<8>().0.iter().zip(later.as_chunks::<8>().0) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return same + differ.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    let rest = earlier[same..].iter().zip(&later[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

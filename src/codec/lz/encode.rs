//! From pixels to a stream. There are many that decode to the same pixels; this one is made fast.
//!
//! All rows are copied to one array of units first, without padding and without what a stream
//! does not keep: so any stride will do, matches cross rows, and a comparison of units is one of
//! pixels.
//! Candidates for a match are the unit before, the one above, and the last place with the same
//! hash. Where nothing matches, steps grow, and every row begins with small ones again.

use super::{ALPHA_BIAS, FAR, LITERALS, LONG, MAGIC, MAX_BYTES, PixelType, VERSION};
use crate::codec::Rows;

/// Why a picture has no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Rows and pixel type do not fit together.
    #[error("rows of {row} bytes, need {need}")]
    Row {
        /// Bytes of the rows.
        row: usize,
        /// Bytes that this width and type have.
        need: u64,
    },
    /// More bytes than the format allows.
    #[error("picture of {0}x{1}")]
    Size(u32, u32),
    /// The stream would be longer than the caller can use.
    #[error("stream longer than {0} bytes")]
    Larger(usize),
}

/// Memory that an encoder needs while it works; to be kept from picture to picture.
#[derive(Debug, Default)]
pub struct Scratch {
    colors: Vec<u32>,
    bytes: Vec<u8>,
    places: Places,
}

/// Logarithm of the number of hash values: the table stays in the second cache.
const HASH_BITS: u32 = 15;

/// The last place of each hash value.
#[derive(Debug, Default)]
struct Places {
    /// Places plus `base`; what is below `base` is of earlier pictures. So nothing is cleared
    /// between them.
    table: Vec<u32>,
    base: u32,
    /// Units of the picture at work.
    units: u32,
}

impl Places {
    fn begin(&mut self, units: usize) {
        // Pictures are smaller than 1 GiB.
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let base = self.base.max(1).checked_add(self.units);
        match base.filter(|base| base.checked_add(units).is_some() && !self.table.is_empty()) {
            Some(base) => self.base = base,
            None => {
                self.table.clear();
                self.table.resize(1 << HASH_BITS, 0);
                self.base = 1;
            }
        }
        self.units = units;
    }

    /// The last place with this hash, which is replaced by `at`.
    #[inline]
    fn swap(&mut self, hash: u32, at: usize) -> Option<usize> {
        let slot = self.table.get_mut(hash as usize)?;
        let last = slot.checked_sub(self.base);
        // `begin` checked that a place plus the base is no overflow.
        *slot = self.base + u32::try_from(at).unwrap_or(0);
        last.map(|last| last as usize)
    }
}

/// Units that can be compared and hashed.
trait Unit: Copy + Eq {
    /// Units that the hash is made of.
    const HASHED: usize;

    /// Hash of the first [`Self::HASHED`] units, below `1 << HASH_BITS`.
    fn hash(units: &[Self]) -> u32;
}

impl Unit for u32 {
    const HASHED: usize = 2;

    #[inline]
    fn hash(units: &[Self]) -> u32 {
        let pair = u64::from(units[0]) | u64::from(units[1]) << 32;
        (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS) & 0xffff) as u32
    }
}

impl Unit for u8 {
    const HASHED: usize = 4;

    #[inline]
    fn hash(units: &[Self]) -> u32 {
        let four = u32::from_le_bytes([units[0], units[1], units[2], units[3]]);
        four.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)
    }
}

/// Which matches pay.
#[derive(Clone, Copy)]
struct Worth {
    bias: usize,
    /// Shortest match of two bytes.
    near: usize,
    /// The same behind a match, where it splits no literals.
    adjacent: usize,
    /// Shortest match of four bytes.
    far: usize,
}

/// Pixels of three bytes.
const COLORS: Worth = Worth { bias: 0, near: 2, adjacent: 1, far: 3 };
/// Pixels of two bytes.
const COLORS_16: Worth = Worth { bias: 1, near: 2, adjacent: 2, far: 3 };
const BYTES: Worth = Worth { bias: ALPHA_BIAS, near: 4, adjacent: 3, far: 6 };

/// Farthest distance that is used; the format has some more, the reference not.
const FARTHEST: usize = 73_724;
/// Misses after which steps grow by one.
const PATIENCE: usize = 32;
/// Longest step.
const STRIDE: usize = 15;

/// Appends the stream of a picture to `out`.
///
/// # Errors
/// [`EncodeError`]; `out` is as it was then. [`EncodeError::Larger`] if the stream is longer than
/// `limit` bytes.
pub fn encode(
    picture: &Rows<'_>,
    format: PixelType,
    limit: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let (width, height, row) = (picture.width(), picture.height(), picture.row_bytes());
    let need = (u64::from(width) * u64::from(format.bits())).div_ceil(8);
    if row as u64 != need {
        return Err(EncodeError::Row { row, need });
    }
    let stride = u32::try_from(row).map_err(|_| EncodeError::Size(width, height))?;
    if need * u64::from(height) > MAX_BYTES {
        return Err(EncodeError::Size(width, height));
    }
    let start = out.len();
    let top_down = u32::from(picture.top_down());
    for word in [MAGIC, VERSION, format as u32, width, height, stride, top_down] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    let mut writer = Writer { out, end: start.saturating_add(limit) };
    let columns = width as usize;
    let Scratch { colors, bytes, places } = scratch;
    let done = match format {
        PixelType::Plt1Le
        | PixelType::Plt1Be
        | PixelType::Plt4Le
        | PixelType::Plt4Be
        | PixelType::Plt8
        | PixelType::A8 => {
            bytes.clear();
            picture.in_memory().for_each(|row| bytes.extend_from_slice(row));
            pass(bytes, row, BYTES, |byte| [byte], places, &mut writer)
        }
        PixelType::Rgb16 => {
            gather(picture, colors, |bytes: &[u8; 2]| {
                u32::from(u16::from_le_bytes(*bytes) & 0x7fff)
            });
            let big_endian = |pixel: u32| [(pixel >> 8 & 0xff) as u8, (pixel & 0xff) as u8];
            pass(colors, columns, COLORS_16, big_endian, places, &mut writer)
        }
        PixelType::Rgb24 => {
            gather(picture, colors, |&[b, g, r]: &[u8; 3]| u32::from_le_bytes([b, g, r, 0]));
            pass(colors, columns, COLORS, bgr, places, &mut writer)
        }
        PixelType::Rgb32 | PixelType::Rgba => {
            gather(picture, colors, |bytes| u32::from_le_bytes(*bytes) & 0x00ff_ffff);
            let done = pass(colors, columns, COLORS, bgr, places, &mut writer);
            if format == PixelType::Rgba && done.is_ok() {
                gather(picture, bytes, |pixel: &[u8; 4]| pixel[3]);
                pass(bytes, columns, BYTES, |byte| [byte], places, &mut writer)
            } else {
                done
            }
        }
        PixelType::Xxxa => {
            gather(picture, bytes, |pixel: &[u8; 4]| pixel[3]);
            pass(bytes, columns, BYTES, |byte| [byte], places, &mut writer)
        }
    };
    done.map_err(|Full| {
        out.truncate(start);
        EncodeError::Larger(limit)
    })
}

fn bgr(pixel: u32) -> [u8; 3] {
    let [b, g, r, _] = pixel.to_le_bytes();
    [b, g, r]
}

/// All pixels as units.
fn gather<U, const N: usize>(picture: &Rows<'_>, units: &mut Vec<U>, unit: impl Fn(&[u8; N]) -> U) {
    units.clear();
    for row in picture.in_memory() {
        units.extend(row.as_chunks().0.iter().map(&unit));
    }
}

/// A match that was found.
#[derive(Clone, Copy)]
struct Match {
    length: usize,
    distance: usize,
}

/// Codes all units.
fn pass<U: Unit, const LITERAL: usize>(
    units: &[U],
    width: usize,
    worth: Worth,
    spell: impl Fn(U) -> [u8; LITERAL] + Copy,
    places: &mut Places,
    writer: &mut Writer<'_>,
) -> Result<(), Full> {
    places.begin(units.len());
    // Literals from here on were not written yet.
    let mut pending = 0;
    let (mut at, mut misses, mut row_end) = (0, 0, width);
    // The hash reads so many units.
    let last = units.len().saturating_sub(U::HASHED - 1);
    while at < last {
        let place = places.swap(U::hash(&units[at..]), at);
        let adjacent = pending == at;
        let Some(found) = find(units, at, width, place, worth, adjacent) else {
            misses += 1;
            at += 1 + (misses / PATIENCE).min(STRIDE);
            if at >= row_end {
                row_end = (at / width + 1) * width;
                misses = 0;
            }
            continue;
        };
        let Match { mut length, distance } = found;
        // Steps may have led into the middle of what matches.
        while at > pending && at > distance && units[at - 1] == units[at - 1 - distance] {
            at -= 1;
            length += 1;
        }
        writer.literals(&units[pending..at], spell)?;
        writer.copy(length - worth.bias, distance)?;
        let end = at + length;
        // Of what was skipped only the ends are remembered.
        for at in [at + 1, end.saturating_sub(2)] {
            if at < last {
                places.swap(U::hash(&units[at..]), at);
            }
        }
        at = end;
        pending = end;
        misses = 0;
    }
    writer.literals(&units[pending..], spell)
}

/// The best match at a place, if one pays.
#[inline]
fn find<U: Unit>(
    units: &[U],
    at: usize,
    width: usize,
    place: Option<usize>,
    worth: Worth,
    adjacent: bool,
) -> Option<Match> {
    let mut best: Option<Match> = None;
    let hashed = place.map_or(0, |place| at.saturating_sub(place));
    for distance in [1, width, hashed] {
        if distance == 0 || distance > at || distance > FARTHEST {
            continue;
        }
        let from = at - distance;
        if units[from] != units[at] {
            continue;
        }
        let length = common(&units[from..], &units[at..]);
        let least = match (distance < FAR, adjacent) {
            (true, true) => worth.adjacent,
            (true, false) => worth.near,
            (false, _) => worth.far,
        };
        if length >= least && best.is_none_or(|best| length > best.length) {
            best = Some(Match { length, distance });
        }
    }
    best
}

/// Number of units that are equal from the beginning on; the second slice is the shorter one.
#[inline]
fn common<U: Unit>(earlier: &[U], later: &[U]) -> usize {
    let mut same = 0;
    for (a, b) in earlier.as_chunks::<8>().0.iter().zip(later.as_chunks::<8>().0) {
        if a != b {
            break;
        }
        same += 8;
    }
    let rest = earlier[same..].iter().zip(&later[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

/// The stream became too long.
struct Full;

/// Appends to the stream.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Most bytes that `out` may have.
    end: usize,
}

impl Writer<'_> {
    fn literals<U: Unit, const LITERAL: usize>(
        &mut self,
        units: &[U],
        spell: impl Fn(U) -> [u8; LITERAL],
    ) -> Result<(), Full> {
        for run in units.chunks(LITERALS) {
            let start = self.out.len();
            let need = 1 + run.len() * LITERAL;
            if self.end.saturating_sub(start) < need {
                return Err(Full);
            }
            self.out.resize(start + need, 0);
            // 1 to 32 units are coded as 0 to 31.
            self.out[start] = low_byte(run.len() - 1);
            for (to, unit) in self.out[start + 1..].as_chunks_mut().0.iter_mut().zip(run) {
                *to = spell(*unit);
            }
        }
        Ok(())
    }

    /// A match of at least one unit beyond the bias.
    fn copy(&mut self, length: usize, distance: usize) -> Result<(), Full> {
        let far = distance >= FAR;
        let offset = if far { FAR - 1 } else { distance - 1 };
        let high = low_byte(offset >> 8);
        self.out.push(low_byte(length.min(LONG) << 5) | high);
        if let Some(mut more) = length.checked_sub(LONG) {
            while more >= 255 {
                self.out.push(255);
                more -= 255;
            }
            self.out.push(low_byte(more));
        }
        self.out.push(low_byte(offset));
        if far {
            let beyond = distance - FAR;
            self.out.extend([low_byte(beyond >> 8), low_byte(beyond)]);
        }
        if self.out.len() > self.end { Err(Full) } else { Ok(()) }
    }
}

fn low_byte(n: usize) -> u8 {
    n.to_le_bytes()[0]
}

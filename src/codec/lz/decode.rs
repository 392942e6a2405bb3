//! From a stream to pixels. All input is foreign.

use super::{ALPHA_BIAS, FAR, HEADER, Header, LONG, LzError, MAGIC, MAX_BYTES, PixelType, VERSION};
use crate::codec::Limits;

/// Most units that one byte of a stream can stand for, roughly: bytes of a long length.
const EXPANSION: u64 = 256;

/// A decoded picture, rows as they lay in memory, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedImage {
    /// Its type, size and orientation.
    pub header: Header,
    /// `stride * height` bytes; those that a stream does not keep are 0.
    pub pixels: Vec<u8>,
}

/// What a stream says of itself; nothing is decoded.
///
/// # Errors
/// [`LzError`] if it has no valid header.
pub fn peek(stream: &[u8]) -> Result<Header, LzError> {
    let Some(header) = stream.first_chunk::<HEADER>() else {
        return Err(LzError::Short(stream.len()));
    };
    let (words, _) = header.as_chunks::<4>();
    let [magic, version, pixels, width, height, stride, top_down] =
        [0, 1, 2, 3, 4, 5, 6].map(|i: usize| u32::from_be_bytes(words[i]));
    if magic != MAGIC {
        return Err(LzError::Magic(magic));
    }
    if version != VERSION {
        return Err(LzError::Version(version));
    }
    let pixels = PixelType::from_u32(pixels).ok_or(LzError::PixelType(pixels))?;
    let row = (u64::from(width) * u64::from(pixels.bits())).div_ceil(8);
    let bytes = row.saturating_mul(height.into());
    if bytes == 0 || bytes > MAX_BYTES {
        return Err(LzError::Size { width, height });
    }
    if u64::from(stride) != row {
        return Err(LzError::Stride { stride, row });
    }
    Ok(Header { pixels, width, height, stride, top_down: top_down != 0 })
}

/// Decodes a stream, all of which must be used up.
///
/// # Errors
/// [`LzError`]; nothing was decoded then.
pub fn decode(stream: &[u8], limits: &Limits) -> Result<DecodedImage, LzError> {
    let header = peek(stream)?;
    let Header { pixels: kind, width, height, stride, .. } = header;
    if u64::from(width) * u64::from(height) > limits.pixels {
        return Err(LzError::Size { width, height });
    }
    let mut input = &stream[HEADER..];
    let bytes = u64::from(stride) * u64::from(height);
    if bytes / 4 > input.len() as u64 * EXPANSION {
        return Err(LzError::Truncated(0));
    }
    let no_memory = LzError::Memory(bytes);
    let size = usize::try_from(bytes).map_err(|_| no_memory)?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(size).map_err(|_| no_memory)?;
    pixels.resize(size, 0);

    let bias = kind.bias();
    match kind {
        PixelType::Plt1Le
        | PixelType::Plt1Be
        | PixelType::Plt4Le
        | PixelType::Plt4Be
        | PixelType::Plt8
        | PixelType::A8 => {
            units(&mut input, pixels.as_mut_slice(), bias, |to, [byte]| *to = byte, copy_units)?;
        }
        PixelType::Rgb16 => {
            let out = pixels.as_chunks_mut::<2>().0;
            units(&mut input, out, bias, |to, [high, low]| *to = [low, high], copy_units)?;
        }
        PixelType::Rgb24 => {
            let out = pixels.as_chunks_mut::<3>().0;
            units(&mut input, out, bias, |to, bgr| *to = bgr, copy_units)?;
        }
        PixelType::Rgb32 => colors(&mut input, pixels.as_chunks_mut().0)?,
        PixelType::Rgba => {
            let out = pixels.as_chunks_mut().0;
            colors(&mut input, out)?;
            alpha(&mut input, out)?;
        }
        PixelType::Xxxa => alpha(&mut input, pixels.as_chunks_mut().0)?,
    }
    if input.is_empty() {
        Ok(DecodedImage { header, pixels })
    } else {
        Err(LzError::Trailing(input.len()))
    }
}

/// Colours of pixels with four bytes. Their fourth one is still 0 everywhere.
fn colors(input: &mut &[u8], out: &mut [[u8; 4]]) -> Result<(), LzError> {
    units(input, out, 0, |to, [b, g, r]| *to = [b, g, r, 0], copy_units)
}

/// Fourth bytes only.
fn alpha(input: &mut &[u8], out: &mut [[u8; 4]]) -> Result<(), LzError> {
    let literal = |to: &mut [u8; 4], [a]: [u8; 1]| to[3] = a;
    units(input, out, ALPHA_BIAS, literal, |out, at, length, distance| {
        for i in at..at + length {
            out[i][3] = out[i - distance][3];
        }
    })
}

/// Fills `out` with units.
///
/// `copy` gets a range that lies in `out` and a distance that leads to a unit before it.
fn units<U: Copy, const LITERAL: usize>(
    input: &mut &[u8],
    out: &mut [U],
    bias: usize,
    literal: impl Fn(&mut U, [u8; LITERAL]),
    copy: impl Fn(&mut [U], usize, usize, usize),
) -> Result<(), LzError> {
    let mut at = 0;
    while at < out.len() {
        let control = byte(input, at)?;
        let left = out.len() - at;
        let overflow = |length: usize| LzError::Overflow { at, excess: length - left };
        if control < 32 {
            let length = usize::from(control) + 1;
            if length > left {
                return Err(overflow(length));
            }
            let Some((literals, rest)) = input.split_at_checked(length * LITERAL) else {
                return Err(LzError::Truncated(at));
            };
            *input = rest;
            for (to, from) in out[at..].iter_mut().zip(literals.as_chunks().0) {
                literal(to, *from);
            }
            at += length;
            continue;
        }
        let mut length = usize::from(control >> 5);
        if length == LONG {
            loop {
                let more = byte(input, at)?;
                length += usize::from(more);
                // What is too long is so whatever follows.
                if more != 255 || length > left {
                    break;
                }
            }
        }
        length += bias;
        if length > left {
            return Err(overflow(length));
        }
        let low = byte(input, at)?;
        let mut distance = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
        if distance == FAR {
            let high = byte(input, at)?;
            let low = byte(input, at)?;
            distance += usize::from(high) << 8 | usize::from(low);
        }
        if distance > at {
            return Err(LzError::Distance { at, distance });
        }
        copy(out, at, length, distance);
        at += length;
    }
    Ok(())
}

fn byte(input: &mut &[u8], at: usize) -> Result<u8, LzError> {
    let (first, rest) = input.split_first().ok_or(LzError::Truncated(at))?;
    *input = rest;
    Ok(*first)
}

/// Copies unit by unit, so that a match may read what it writes.
fn copy_units<U: Copy>(out: &mut [U], at: usize, length: usize, distance: usize) {
    if distance >= length {
        out.copy_within(at - distance..at - distance + length, at);
    } else if distance == 1 {
        let unit = out[at - 1];
        out[at..at + length].fill(unit);
    } else {
        for i in at..at + length {
            out[i] = out[i - distance];
        }
    }
}

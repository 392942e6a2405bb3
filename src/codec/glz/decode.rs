//! The client's side: from streams to pixels, with the window of images that they refer to.
//!
//! All input is foreign. What a window holds is bounded by the caller's limits, in pixels of all
//! images together, because it is the sender who says what is to be kept.

use std::collections::BTreeMap;

use super::{ALPHA_BIAS, HEADER, LONG, MAGIC, TOP_DOWN, VERSION, bias};
use crate::codec::Limits;
use crate::codec::lz::PixelType;

/// Most pixels that one byte of a stream can stand for, roughly: bytes of a long length.
const EXPANSION: u64 = 256;

/// What a stream's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What is coded: a type of RGB.
    pub pixels: PixelType,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// The first row is the top one.
    pub top_down: bool,
    /// The image's number.
    pub id: u64,
    /// Images before `id` minus this one are not needed any more.
    pub oldest: u32,
}

/// A decoded image, rows in the order of the stream, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedImage {
    /// Its type, size and orientation.
    pub header: Header,
    /// Bytes B, G, R and alpha or 0, whatever the type.
    pub pixels: Vec<[u8; 4]>,
}

/// Why bytes are no GLZ stream that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlzError {
    /// Ends within its header.
    #[error("stream of {0} bytes, the header has 33")]
    Short(usize),
    /// Another format.
    #[error("magic {0:#010x}")]
    Magic(u32),
    /// Another version of the format.
    #[error("version {0:#010x}")]
    Version(u32),
    /// Not a pixel type of RGB.
    #[error("pixel type {0}")]
    PixelType(u8),
    /// No pixel, or more than allowed.
    #[error("picture of {width}x{height}")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Rows with padding, or without all of their pixels.
    #[error("stride {0}")]
    Stride(u32),
    /// The window would have more pixels than allowed, or an image of this number is there.
    #[error("no place for image {0}")]
    Window(u64),
    /// There is no memory for the pixels.
    #[error("no memory for {0} pixels")]
    Memory(u64),
    /// Ends before the last pixel.
    #[error("stream ends at pixel {0}")]
    Truncated(usize),
    /// Codes more pixels than the picture has.
    #[error("{excess} pixels too many at pixel {at}")]
    Overflow {
        /// Pixels that were decoded.
        at: usize,
        /// So many would be beyond the last one.
        excess: usize,
    },
    /// A match with pixels that are not there.
    #[error("image {image} has no {length} pixels from {from} on")]
    Reference {
        /// The image that is meant.
        image: u64,
        /// The first pixel that is meant.
        from: usize,
        /// How many.
        length: usize,
    },
    /// Something follows the last pixel.
    #[error("{0} bytes behind the last pixel")]
    Trailing(usize),
}

/// What a stream says of itself; nothing is decoded.
///
/// # Errors
/// [`GlzError`] if it has no valid header.
pub fn peek(stream: &[u8]) -> Result<Header, GlzError> {
    let Some(header) = stream.first_chunk::<HEADER>() else {
        return Err(GlzError::Short(stream.len()));
    };
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if word(0) != MAGIC {
        return Err(GlzError::Magic(word(0)));
    }
    if word(4) != VERSION {
        return Err(GlzError::Version(word(4)));
    }
    let kind = header[8];
    let pixels = PixelType::from_u32(u32::from(kind & !TOP_DOWN));
    let pixels = pixels.filter(|pixels| bias(*pixels).is_some());
    let pixels = pixels.ok_or(GlzError::PixelType(kind))?;
    let (width, height, stride) = (word(9), word(13), word(17));
    let count = u64::from(width) * u64::from(height);
    if count == 0 || count > 1 << 28 {
        return Err(GlzError::Size { width, height });
    }
    if u64::from(stride) != u64::from(width) * u64::from(pixels.bits() / 8) {
        return Err(GlzError::Stride(stride));
    }
    let id = u64::from(word(21)) << 32 | u64::from(word(25));
    let top_down = kind & TOP_DOWN != 0;
    Ok(Header { pixels, width, height, top_down, id, oldest: word(29) })
}

/// The images that a client keeps.
#[derive(Debug, Default)]
pub struct Window {
    images: BTreeMap<u64, Vec<[u8; 4]>>,
    pixels: u64,
}

impl Window {
    /// Images that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Pixels of all images that are kept.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        self.pixels
    }

    /// Decodes a stream, all of which must be used up. `limits` are for the window with it.
    ///
    /// # Errors
    /// [`GlzError`]; nothing was decoded then, and the window is as it was.
    pub fn decode(&mut self, stream: &[u8], limits: &Limits) -> Result<DecodedImage, GlzError> {
        let header = peek(stream)?;
        let Header { pixels: kind, width, height, id, .. } = header;
        let count = u64::from(width) * u64::from(height);
        if count > limits.pixels {
            return Err(GlzError::Size { width, height });
        }
        if self.images.contains_key(&id) || self.pixels + count > limits.pixels {
            return Err(GlzError::Window(id));
        }
        let mut input = &stream[HEADER..];
        if count > input.len() as u64 * EXPANSION {
            return Err(GlzError::Truncated(0));
        }
        let no_memory = GlzError::Memory(count);
        let size = usize::try_from(count).map_err(|_| no_memory)?;
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(size).map_err(|_| no_memory)?;
        pixels.resize(size, [0; 4]);
        let image = Image { id, earlier: &self.images };
        let bias = bias(kind).unwrap_or(0);
        if kind == PixelType::Rgb16 {
            let literal = |[high, low]: [u8; 2]| widened(u16::from_be_bytes([high, low]));
            image.pass(&mut input, &mut pixels, bias, literal, |to, from| *to = from)?;
        } else {
            let literal = |[b, g, r]: [u8; 3]| [b, g, r, 0];
            let keep_alpha = |to: &mut [u8; 4], from: [u8; 4]| *to = [from[0], from[1], from[2], 0];
            image.pass(&mut input, &mut pixels, bias, literal, keep_alpha)?;
        }
        if kind == PixelType::Rgba {
            let literal = |[a]: [u8; 1]| [0, 0, 0, a];
            let alpha = |to: &mut [u8; 4], from: [u8; 4]| to[3] = from[3];
            image.pass(&mut input, &mut pixels, ALPHA_BIAS, literal, alpha)?;
        }
        if !input.is_empty() {
            return Err(GlzError::Trailing(input.len()));
        }
        self.pixels += count;
        self.images.insert(id, pixels.clone());
        self.release(id, u64::from(header.oldest));
        Ok(DecodedImage { header, pixels })
    }

    /// Forgets what an image's header says is not needed any more.
    fn release(&mut self, id: u64, distance: u64) {
        let keep = self.images.split_off(&id.saturating_sub(distance));
        let gone = std::mem::replace(&mut self.images, keep);
        let pixels: u64 = gone.values().map(|pixels| pixels.len() as u64).sum();
        self.pixels -= pixels;
    }
}

/// Five bits per channel become eight.
fn widened(pixel: u16) -> [u8; 4] {
    let wide = |bits: u16| {
        let five = (bits & 31) as u8;
        five << 3 | five >> 2
    };
    [wide(pixel), wide(pixel >> 5), wide(pixel >> 10), 0]
}

/// An image that is being decoded.
struct Image<'a> {
    id: u64,
    earlier: &'a BTreeMap<u64, Vec<[u8; 4]>>,
}

/// A match as it was coded.
struct Match {
    length: usize,
    /// Images back.
    images: u64,
    offset: usize,
}

impl Image<'_> {
    fn pass<const LITERAL: usize>(
        &self,
        input: &mut &[u8],
        out: &mut [[u8; 4]],
        bias: usize,
        literal: impl Fn([u8; LITERAL]) -> [u8; 4],
        put: impl Fn(&mut [u8; 4], [u8; 4]),
    ) -> Result<(), GlzError> {
        let mut at = 0;
        while at < out.len() {
            let control = byte(input, at)?;
            let left = out.len() - at;
            let overflow = |length: usize| GlzError::Overflow { at, excess: length - left };
            if control < 32 {
                let length = usize::from(control) + 1;
                if length > left {
                    return Err(overflow(length));
                }
                let Some((literals, rest)) = input.split_at_checked(length * LITERAL) else {
                    return Err(GlzError::Truncated(at));
                };
                *input = rest;
                for (to, from) in out[at..].iter_mut().zip(literals.as_chunks().0) {
                    put(to, literal(*from));
                }
                at += length;
                continue;
            }
            let Match { length, images, offset } = read_match(input, control, bias, at, left)?;
            if length > left {
                return Err(overflow(length));
            }
            let image = self.id.wrapping_sub(images);
            let missing = GlzError::Reference { image, from: offset, length };
            if images == 0 {
                let distance = offset + 1;
                if distance > at {
                    return Err(missing);
                }
                for i in at..at + length {
                    let from = out[i - distance];
                    put(&mut out[i], from);
                }
            } else {
                let pixels = self.earlier.get(&image).filter(|_| images <= self.id);
                let pixels = pixels.and_then(|pixels| pixels.get(offset..offset + length));
                for (to, from) in out[at..].iter_mut().zip(pixels.ok_or(missing)?) {
                    put(to, *from);
                }
            }
            at += length;
        }
        Ok(())
    }
}

/// What follows the control byte of a match.
fn read_match(
    input: &mut &[u8],
    control: u8,
    bias: usize,
    at: usize,
    left: usize,
) -> Result<Match, GlzError> {
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
    let mut offset = usize::from(control & 15) | usize::from(byte(input, at)?) << 4;
    let last = byte(input, at)?;
    let more = last >> 6;
    let mut images = 0;
    let far = control & 16 != 0;
    let mut shift = 0;
    if far {
        offset |= usize::from(last & 31) << 12;
    } else {
        images = u64::from(last & 63);
        shift = 6;
    }
    for _ in 0..more {
        images |= u64::from(byte(input, at)?) << shift;
        shift += 8;
    }
    if far && last & 32 != 0 {
        offset |= usize::from(byte(input, at)?) << 17;
    }
    Ok(Match { length, images, offset })
}

fn byte(input: &mut &[u8], at: usize) -> Result<u8, GlzError> {
    let (first, rest) = input.split_first().ok_or(GlzError::Truncated(at))?;
    *input = rest;
    Ok(*first)
}

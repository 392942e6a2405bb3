//! JPEG pictures, by libjpeg-turbo: what is seen of a photograph, in a fraction of its bytes.
//!
//! The stream is that of libjpeg's defaults: baseline, one colour for four pixels, the exact integer
//! transform (on processors with AVX2 the fast one is not faster and loses more). Rows go from the visually top one down, whatever lies in memory.
#![forbid(unsafe_code)]

use crate::codec::Rows;
use crate::observe::codecs::Codec;
use crate::protocol::blocks;
use crate::sys::turbojpeg::{Compressor, PixelFormat, Pixels};

use super::{LzPixels, LzScratch, Picture, counted, rows};

pub use crate::sys::turbojpeg::MAX_SIDE as MAX_JPEG_SIDE;

/// Of 100, for images; what spice-server has always used.
const QUALITY: u8 = 85;
/// Largest source that is widened to 32 bits, in pixels.
const MAX_WIDENED: usize = 64 << 20;

/// Memory of an encoder between pictures.
#[derive(Debug, Default)]
pub struct JpegScratch {
    /// Made with the first picture.
    compressor: Option<Compressor>,
    /// Pixels of 16 bits, made 32.
    wide: Vec<u8>,
}

impl JpegScratch {
    /// Bytes that it keeps, but for what the library has for itself.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.compressor.as_ref().map_or(0, Compressor::capacity) + self.wide.capacity()
    }
}

/// Encodes pixels of 16, 24 or 32 bits, at once; the fourth byte is not looked at. `None` if it would have more than
/// `limit` bytes, a side is longer than [`MAX_JPEG_SIDE`], or memory is short.
#[must_use]
pub fn encode_jpeg(
    picture: &Picture<'_>,
    limit: usize,
    scratch: &mut JpegScratch,
) -> Option<Vec<u8>> {
    let rows = rows(picture)?;
    counted(Codec::Jpeg, picture.data.len(), Vec::len, || {
        let jpeg = compress(picture, &rows, QUALITY, scratch)?;
        (jpeg.len() <= limit).then(|| jpeg.to_vec())
    })
}

/// Encodes a frame of a film at a quality of 1 to 100, at once; `None` as with [`encode_jpeg`], whatever its length.
#[must_use]
pub fn encode_mjpeg(
    picture: &Picture<'_>,
    quality: u8,
    scratch: &mut JpegScratch,
) -> Option<Vec<u8>> {
    let rows = rows(picture)?;
    counted(Codec::Jpeg, picture.data.len(), Vec::len, || {
        let jpeg = compress(picture, &rows, quality, scratch)?;
        let mut out = blocks::take(jpeg.len()).ok()?;
        out.extend_from_slice(jpeg);
        Some(out)
    })
}

/// Encodes pixels of 32 bits with alpha: the JPEG, behind it the alpha as an LZ stream without losses. The length of the
/// JPEG, and both together; `None` as with [`encode_jpeg`].
#[must_use]
pub fn encode_jpeg_alpha(
    picture: &Picture<'_>,
    limit: usize,
    scratch: &mut JpegScratch,
    lz: &mut LzScratch,
) -> Option<(usize, Vec<u8>)> {
    let rows = rows(picture).filter(|_| picture.bits == 32)?;
    counted(
        Codec::Jpeg,
        picture.data.len(),
        |(_, bytes): &(usize, Vec<u8>)| bytes.len(),
        || {
            let jpeg = compress(picture, &rows, QUALITY, scratch)?;
            let (size, left) = (jpeg.len(), limit.checked_sub(jpeg.len())?);
            let mut out = jpeg.to_vec();
            crate::codec::lz::encode(&rows, LzPixels::Xxxa, left, lz, &mut out).ok()?;
            Some((size, super::fitted(out)))
        },
    )
}

fn compress<'a>(
    picture: &Picture<'_>,
    rows: &Rows<'_>,
    quality: u8,
    scratch: &'a mut JpegScratch,
) -> Option<&'a [u8]> {
    let JpegScratch { compressor, wide } = scratch;
    let (width, height) = (picture.width, picture.height);
    let direct = |format, pitch| Pixels {
        data: picture.data,
        width,
        height,
        pitch,
        format,
        bottom_up: !picture.top_down,
    };
    let stride = usize::try_from(picture.stride).ok()?;
    let pixels = match picture.bits {
        24 => direct(PixelFormat::Bgr, stride),
        32 => direct(PixelFormat::Bgrx, stride),
        16 => {
            let row = usize::try_from(width).ok()?.checked_mul(4)?;
            let bytes = row.checked_mul(usize::try_from(height).ok()?)?;
            if bytes > MAX_WIDENED * 4 {
                return None;
            }
            wide.clear();
            wide.try_reserve_exact(bytes).ok()?;
            wide.extend(rows.from_top().flat_map(|row| row.as_chunks::<2>().0).flat_map(widened));
            Pixels {
                data: wide,
                width,
                height,
                pitch: row,
                format: PixelFormat::Bgrx,
                bottom_up: false,
            }
        }
        _ => return None,
    };
    if compressor.is_none() {
        *compressor = Compressor::new();
    }
    compressor.as_mut()?.compress(&pixels, quality)
}

/// x1r5g5b5 as B, G, R, 0: white stays white.
fn widened(pixel: &[u8; 2]) -> [u8; 4] {
    let pixel = u32::from(u16::from_le_bytes(*pixel));
    let five = |v: u32| (v & 31) << 3 | (v & 31) >> 2;
    (five(pixel >> 10) << 16 | five(pixel >> 5) << 8 | five(pixel)).to_le_bytes()
}

#[cfg(test)]
mod tests;

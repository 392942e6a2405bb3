//! Where images are encoded and decoded.
//!
//! Small work is done in place, on the thread that asks for it, large work by the threads of
//! [`workers`]. The rooms above reach the codecs only through here.
#![forbid(unsafe_code)]

pub mod workers;

use crate::codec::Rows;

pub use crate::codec::Limits as DecodeLimits;
pub use crate::codec::lz::{PixelType as LzPixels, Scratch as LzScratch};
pub use crate::codec::lz4::Scratch as Lz4Scratch;
pub use crate::codec::quic::{DecodedImage, PixelType, QuicError};
pub use crate::codec::quic::{PixelType as QuicPixels, Scratch as QuicScratch};

/// Decodes a QUIC stream of a guest, at once.
///
/// # Errors
/// [`QuicError`]
pub fn decode_quic(stream: &[u8], limits: &DecodeLimits) -> Result<DecodedImage, QuicError> {
    crate::codec::quic::decode(stream, limits)
}

/// Decodes an LZ stream, as clients do.
///
/// # Errors
/// [`crate::codec::lz::LzError`]
#[cfg(test)]
pub fn decode_lz(
    stream: &[u8],
) -> Result<crate::codec::lz::DecodedImage, crate::codec::lz::LzError> {
    crate::codec::lz::decode(stream, &DecodeLimits::default())
}

/// Bytes of a pixel and of a picture that a stream says it has; nothing is decoded.
///
/// # Errors
/// [`QuicError`] if the stream has no valid header.
pub fn size_of_quic(stream: &[u8]) -> Result<u64, QuicError> {
    let header = crate::codec::quic::peek(stream)?;
    let pixels = u64::from(header.width) * u64::from(header.height);
    Ok(pixels * header.pixels.bytes() as u64)
}

/// Memory of the encoders between images; one for each thread that encodes.
#[derive(Debug, Default)]
pub struct Scratch {
    /// That of LZ4.
    pub lz4: Lz4Scratch,
    /// That of LZ.
    pub lz: LzScratch,
    /// That of QUIC.
    pub quic: QuicScratch,
}

impl Scratch {
    /// Bytes that each codec keeps from one image to the next.
    pub const KEPT: usize = 4 << 20;

    /// Gives large memory back.
    pub fn trim(&mut self) {
        if self.lz4.capacity() > Self::KEPT {
            self.lz4 = Lz4Scratch::default();
        }
        if self.lz.capacity() > Self::KEPT {
            self.lz = LzScratch::default();
        }
        if self.quic.capacity() > Self::KEPT {
            self.quic = QuicScratch::default();
        }
    }
}

/// A bitmap as an encoder sees it.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The rows, `stride` bytes apart.
    pub data: &'a [u8],
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bits of a pixel.
    pub bits: u32,
    /// Bytes from row to row.
    pub stride: u32,
    /// The first row is the top one.
    pub top_down: bool,
    /// Number of the bitmap format.
    pub format: u8,
}

/// Encodes an LZ4 image, at once; `None` if it would have more than `limit` bytes or there is no such picture.
#[must_use]
pub fn encode_lz4(
    picture: &Picture<'_>,
    limit: usize,
    scratch: &mut Lz4Scratch,
) -> Option<Vec<u8>> {
    crate::codec::lz4::encode(&rows(picture)?, picture.format, limit, scratch)
}

/// Encodes a QUIC image, at once; `None` as with [`encode_lz4`].
#[must_use]
pub fn encode_quic(
    picture: &Picture<'_>,
    pixels: QuicPixels,
    limit: usize,
    scratch: &mut QuicScratch,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    crate::codec::quic::encode(&rows(picture)?, pixels, limit, scratch, &mut out).ok()?;
    Some(fitted(out))
}

/// Encodes an LZ image, at once; `None` as with [`encode_lz4`].
#[must_use]
pub fn encode_lz(
    picture: &Picture<'_>,
    pixels: LzPixels,
    limit: usize,
    scratch: &mut LzScratch,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    crate::codec::lz::encode(&rows(picture)?, pixels, limit, scratch, &mut out).ok()?;
    Some(fitted(out))
}

/// Without the room for more: an image may wait long for a slow client.
fn fitted(mut out: Vec<u8>) -> Vec<u8> {
    out.shrink_to_fit();
    out
}

fn rows<'a>(picture: &Picture<'a>) -> Option<Rows<'a>> {
    let Picture { data, width, height, bits, stride, top_down, .. } = *picture;
    Rows::new(data, width, height, bits, usize::try_from(stride).ok()?, top_down).ok()
}

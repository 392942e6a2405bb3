//! Where images are encoded and decoded.
//!
//! Small work is done in place, on the thread that asks for it; workers come with the encoders'
//! use. The rooms above reach the codecs only through here.
#![forbid(unsafe_code)]

use crate::codec::Rows;

pub use crate::codec::Limits as DecodeLimits;
pub use crate::codec::lz4::Scratch as Lz4Scratch;
pub use crate::codec::quic::{DecodedImage, PixelType, QuicError};

/// Decodes a QUIC stream of a guest, at once.
///
/// # Errors
/// [`QuicError`]
pub fn decode_quic(stream: &[u8], limits: &DecodeLimits) -> Result<DecodedImage, QuicError> {
    crate::codec::quic::decode(stream, limits)
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
    let Picture { data, width, height, bits, stride, top_down, format } = *picture;
    let stride = usize::try_from(stride).ok()?;
    let rows = Rows::new(data, width, height, bits, stride, top_down).ok()?;
    crate::codec::lz4::encode(&rows, format, limit, scratch)
}

//! Where images are encoded and decoded.
//!
//! Small work is done in place, on the thread that asks for it; workers come with the encoders'
//! use. The rooms above reach the codecs only through here.
#![forbid(unsafe_code)]

pub use crate::codec::Limits as DecodeLimits;
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

//! Where images are encoded and decoded.
//!
//! Small work is done in place, on the thread that asks for it, large work by the threads of
//! [`workers`]. The rooms above reach the codecs only through here.
#![forbid(unsafe_code)]

pub mod workers;

use std::ops::Range;
use std::sync::Arc;

use crate::codec::Rows;
use crate::observe::codecs::{self, Codec};
use crate::protocol::blocks;

mod jpeg;

pub use jpeg::{JpegScratch, MAX_JPEG_SIDE, encode_jpeg, encode_jpeg_alpha, encode_mjpeg};

pub use crate::codec::Limits as DecodeLimits;
#[cfg(test)]
pub use crate::codec::glz::Window as GlzWindow;
pub use crate::codec::glz::{
    Dictionary as GlzDictionary, Origin as GlzOrigin, Scratch as GlzScratch, Ticket as GlzTicket,
};
pub use crate::codec::lz::{PixelType as LzPixels, Scratch as LzScratch};
pub use crate::codec::lz4::{
    BlockScratch, Scratch as Lz4Scratch, compress_block, decompress_block,
};
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
    /// That of GLZ.
    pub glz: GlzScratch,
    /// That of JPEG.
    pub jpeg: JpegScratch,
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
        if self.glz.capacity() > Self::KEPT {
            self.glz = GlzScratch::default();
        }
        if self.jpeg.capacity() > Self::KEPT {
            self.jpeg = JpegScratch::default();
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
    let rows = rows(picture)?;
    counted(Codec::Lz4, picture.data.len(), Vec::len, || {
        crate::codec::lz4::encode(&rows, picture.format, limit, scratch)
    })
}

/// Encodes a QUIC image, at once; `None` as with [`encode_lz4`].
#[must_use]
pub fn encode_quic(
    picture: &Picture<'_>,
    pixels: QuicPixels,
    limit: usize,
    scratch: &mut QuicScratch,
) -> Option<Vec<u8>> {
    let rows = rows(picture)?;
    counted(Codec::Quic, picture.data.len(), Vec::len, || {
        let mut out = room(limit);
        crate::codec::quic::encode(&rows, pixels, limit, scratch, &mut out).ok()?;
        Some(fitted(out))
    })
}

/// Encodes an LZ image, at once; `None` as with [`encode_lz4`].
#[must_use]
pub fn encode_lz(
    picture: &Picture<'_>,
    pixels: LzPixels,
    limit: usize,
    scratch: &mut LzScratch,
) -> Option<Vec<u8>> {
    let rows = rows(picture)?;
    counted(Codec::Lz, picture.data.len(), Vec::len, || {
        let mut out = room(limit);
        crate::codec::lz::encode(&rows, pixels, limit, scratch, &mut out).ok()?;
        Some(fitted(out))
    })
}

/// Gives an image the next number of a dictionary, and copies its pixels; `None` if it can have none.
pub fn glz_ticket(
    dictionary: &GlzDictionary,
    picture: &Picture<'_>,
    pixels: LzPixels,
    origin: GlzOrigin,
) -> Option<GlzTicket> {
    dictionary.ticket_of(&rows(picture)?, pixels, origin).ok()
}

/// The next number for pixels that are kept as they are: that range of the block are tight rows of four bytes a pixel.
/// `None` as with [`glz_ticket`].
#[must_use]
pub fn glz_ticket_owned(
    dictionary: &GlzDictionary,
    block: (Arc<Vec<u8>>, Range<usize>),
    pixels: LzPixels,
    size: (u32, u32),
    top_down: bool,
    origin: GlzOrigin,
) -> Option<GlzTicket> {
    dictionary.ticket_owned(block, pixels, size, top_down, origin).ok()
}

/// Encodes a GLZ image that has its number, at once. It may be longer than the pixels are.
#[must_use]
pub fn encode_glz(
    dictionary: &GlzDictionary,
    ticket: &GlzTicket,
    scratch: &mut GlzScratch,
) -> Vec<u8> {
    let work = codecs::begin(Codec::Glz, ticket.bytes());
    let mut out = room(ticket.bytes());
    crate::codec::glz::encode(dictionary, ticket, scratch, &mut out);
    work.end(Some(out.len()));
    fitted(out)
}

/// The same bytes as a zlib stream, if that is shorter and looks as if it were worth its time.
#[must_use]
pub fn deflate(data: &[u8]) -> Option<Vec<u8>> {
    counted(Codec::Zlib, data.len(), Vec::len, || crate::codec::deflate::shorter(data).map(fitted))
}

/// Decodes a GLZ stream, as clients do.
///
/// # Errors
/// [`crate::codec::glz::GlzError`]
#[cfg(test)]
pub fn decode_glz(
    window: &mut GlzWindow,
    stream: &[u8],
) -> Result<crate::codec::glz::DecodedImage, crate::codec::glz::GlzError> {
    window.decode(stream, &DecodeLimits::default())
}

/// Encodes so many bytes, and counts what it took; `size` tells the bytes of what `work` has made.
fn counted<T>(
    codec: Codec,
    bytes: usize,
    size: impl FnOnce(&T) -> usize,
    work: impl FnOnce() -> Option<T>,
) -> Option<T> {
    let begun = codecs::begin(codec, bytes);
    let made = work();
    begun.end(made.as_ref().map(size));
    made
}

/// Room for a stream of at most so many bytes.
fn room(limit: usize) -> Vec<u8> {
    blocks::take(limit).unwrap_or_default()
}

/// Without much room for more: an image may wait long for a slow client.
fn fitted(out: Vec<u8>) -> Vec<u8> {
    if out.len() > out.capacity() / 2 {
        return out;
    }
    let mut fitted = room(out.len());
    fitted.extend_from_slice(&out);
    // To be used again.
    drop(blocks::share(out));
    fitted
}

fn rows<'a>(picture: &Picture<'a>) -> Option<Rows<'a>> {
    let Picture { data, width, height, bits, stride, top_down, .. } = *picture;
    Rows::new(data, width, height, bits, usize::try_from(stride).ok()?, top_down).ok()
}

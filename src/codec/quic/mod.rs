//! QUIC: adaptive Golomb–Rice codes of two-dimensional prediction errors, with a run mode.
//!
//! Coding is deterministic: one picture has one stream, and what [`encode`] writes is that stream.
//! [`decode`] takes bytes of anybody.
//!
//! A row is cut into segments (the pace of learning changes at their borders), a segment into
//! literal stretches and runs. `model` and `family` say how symbols are written, `decode` and
//! `encode` walk the rows.
#![forbid(unsafe_code)]

mod bits;
mod decode;
mod encode;
mod entries;
mod family;
mod model;

pub use decode::{DecodedImage, decode, decode_at, peek};
pub use encode::{EncodeError, Scratch, encode, encode_at};
pub(in crate::codec) use entries::{BLOCK, Codes, Made};
pub(in crate::codec) use family::Family;
#[cfg(test)]
pub(in crate::codec) use family::family;
pub(in crate::codec) use model::Best;

/// What pixels a stream has (the type word of its header).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PixelType {
    /// One plane of bytes. Stock clients reject it in images.
    Gray = 1,
    /// x1r5g5b5, little-endian; the highest bit is not kept.
    Rgb16 = 2,
    /// Bytes B, G, R.
    Rgb24 = 3,
    /// Bytes B, G, R and one that is not kept.
    Rgb32 = 4,
    /// Bytes B, G, R, A.
    Rgba = 5,
}

impl PixelType {
    /// From the number in a stream.
    #[must_use]
    pub fn from_u32(n: u32) -> Option<Self> {
        Some(match n {
            1 => Self::Gray,
            2 => Self::Rgb16,
            3 => Self::Rgb24,
            4 => Self::Rgb32,
            5 => Self::Rgba,
            _ => return None,
        })
    }

    /// Bytes of one pixel in memory.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb16 => 2,
            Self::Rgb24 => 3,
            Self::Rgb32 | Self::Rgba => 4,
        }
    }
}

/// What a stream's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What pixels it has.
    pub pixels: PixelType,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
}

/// Why bytes are no QUIC stream that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuicError {
    /// Ends within its header.
    #[error("stream of {0} bytes, the header has 20")]
    Short(usize),
    /// Another format.
    #[error("magic {0:#010x}")]
    Magic(u32),
    /// Another version of the format.
    #[error("version {0:#010x}")]
    Version(u32),
    /// Not a pixel type.
    #[error("pixel type {0}")]
    PixelType(u32),
    /// No pixel, or more than allowed.
    #[error("picture of {width}x{height}")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// There is no memory for the pixels.
    #[error("no memory for {0} bytes")]
    Memory(u64),
    /// Ends before its last row.
    #[error("stream ends before row {0} does")]
    Truncated(u32),
    /// A code that stands for no symbol.
    #[error("invalid symbol in row {0}")]
    Symbol(u32),
    /// A run that leaves its segment.
    #[error("run over the end of its segment in row {0}")]
    Run(u32),
}

const MAGIC: u32 = u32::from_le_bytes(*b"QUIC");
const VERSION: u32 = 0;
/// Bytes of the header.
const HEADER: usize = 4 /* magic */ + 4 /* version */ + 4 /* type */ + 4 /* width */ + 4 /* height */;
/// Most pixels of the format.
const MAX_PIXELS: u64 = 0x1fff_ffff;

//! LZ: byte-oriented matches whose unit is a pixel, or a byte of pixels in formats with a palette.
//!
//! A stream is a header and control bytes with their literals and matches. It ends with its last
//! unit: stock clients end themselves when anything follows, so [`decode`] refuses that too.
//! Rows are coded as they lie in memory; the header says which of them is the top one.
#![forbid(unsafe_code)]

pub(in crate::codec) mod bytes;
pub(in crate::codec) mod colors;
mod decode;
mod encode;
pub(in crate::codec) mod places;
pub(in crate::codec) mod sink;

pub use decode::{DecodedImage, decode, peek};
pub use encode::{EncodeError, Scratch, encode, encode_at};

/// What a stream codes (the type word of its header).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PixelType {
    /// One bit per pixel, lowest bit leftmost.
    Plt1Le = 1,
    /// One bit per pixel, highest bit leftmost.
    Plt1Be = 2,
    /// Four bits per pixel, low nibble leftmost.
    Plt4Le = 3,
    /// Four bits per pixel, high nibble leftmost.
    Plt4Be = 4,
    /// Eight bits per pixel.
    /// Stock clients do not check indices against the palette: whoever encodes has to.
    Plt8 = 5,
    /// x1r5g5b5, little-endian; the highest bit is not kept.
    Rgb16 = 6,
    /// Bytes B, G, R.
    Rgb24 = 7,
    /// Bytes B, G, R and one that is not kept.
    Rgb32 = 8,
    /// Bytes B, G, R, A.
    Rgba = 9,
    /// Four bytes of which only the last one is kept.
    Xxxa = 10,
    /// One byte of alpha.
    A8 = 11,
}

impl PixelType {
    /// From the number in a stream.
    #[must_use]
    pub fn from_u32(n: u32) -> Option<Self> {
        Some(match n {
            1 => Self::Plt1Le,
            2 => Self::Plt1Be,
            3 => Self::Plt4Le,
            4 => Self::Plt4Be,
            5 => Self::Plt8,
            6 => Self::Rgb16,
            7 => Self::Rgb24,
            8 => Self::Rgb32,
            9 => Self::Rgba,
            10 => Self::Xxxa,
            11 => Self::A8,
            _ => return None,
        })
    }

    /// Bits of one pixel in memory.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Plt1Le | Self::Plt1Be => 1,
            Self::Plt4Le | Self::Plt4Be => 4,
            Self::Plt8 | Self::A8 => 8,
            Self::Rgb16 => 16,
            Self::Rgb24 => 24,
            Self::Rgb32 | Self::Rgba | Self::Xxxa => 32,
        }
    }

    /// What is added to the length of a match as it is coded. (In the first pass of RGBA; the
    /// second one is that of XXXA.)
    fn bias(self) -> usize {
        match self {
            Self::Rgb24 | Self::Rgb32 | Self::Rgba => 0,
            Self::Rgb16 => 1,
            _ => ALPHA_BIAS,
        }
    }
}

/// What a stream's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What is coded.
    pub pixels: PixelType,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// Bytes of a row: as many as the pixels need.
    pub stride: u32,
    /// The first row is the top one.
    pub top_down: bool,
}

/// Why bytes are no LZ stream that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LzError {
    /// Ends within its header.
    #[error("stream of {0} bytes, the header has 28")]
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
    /// Rows with padding, or without all of their pixels.
    #[error("stride {stride}, rows of {row} bytes")]
    Stride {
        /// Bytes from row to row.
        stride: u32,
        /// Bytes that a row needs.
        row: u64,
    },
    /// There is no memory for the pixels.
    #[error("no memory for {0} bytes")]
    Memory(u64),
    /// Ends before the last unit.
    #[error("stream ends at unit {0}")]
    Truncated(usize),
    /// Codes more units than the picture has.
    #[error("{excess} units too many at unit {at}")]
    Overflow {
        /// Units that were decoded.
        at: usize,
        /// So many would be beyond the last one.
        excess: usize,
    },
    /// A match with units before the first one.
    #[error("distance {distance} at unit {at}")]
    Distance {
        /// Units that were decoded.
        at: usize,
        /// How far back the match begins.
        distance: usize,
    },
    /// Something follows the last unit.
    #[error("{0} bytes behind the last unit")]
    Trailing(usize),
}

/// Bytes `20 20 5A 4C`.
const MAGIC: u32 = 0x2020_5a4c;
const VERSION: u32 = 0x0001_0001;
/// Bytes of the header: magic, version, type, width, height, stride, orientation.
const HEADER: usize = 7 * 4;
/// Most bytes of a picture.
const MAX_BYTES: u64 = (1 << 30) - 1;
/// What is added to the coded length of a match in planes of bytes.
const ALPHA_BIAS: usize = 2;

/// Most units of a literal run.
const LITERALS: usize = 32;
/// Coded lengths of 7 and more have further bytes.
const LONG: usize = 7;
/// Distances from here on are coded in four bytes.
const FAR: usize = 8192;

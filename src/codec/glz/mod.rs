//! GLZ: LZ whose matches may begin in earlier images of the same client.
//!
//! Images are numbered without gaps. What a client keeps of them is decided by the server: an
//! image's header says which one is the oldest that is still needed.
//! [`Dictionary`] is the server's side, shared by all displays of a client and by all who encode
//! for them; [`Window`] is the client's side, which is here for tests.
#![forbid(unsafe_code)]

mod decode;
mod dictionary;
mod encode;
mod sink;

pub use decode::{DecodedImage, GlzError, Header, Window, peek};
pub use dictionary::{Dictionary, Origin, Ticket, TicketError};
pub use encode::{Scratch, encode, encode_at};

use super::lz::PixelType;

/// Bytes `20 20 5A 4C`, as in LZ.
const MAGIC: u32 = 0x2020_5a4c;
const VERSION: u32 = 0x0001_0001;
/// Bytes of the header: magic, version, type, width, height, stride, id, distance to the oldest.
const HEADER: usize = 4 + 4 + 1 + 4 + 4 + 4 + 8 + 4;
/// Bit of the type byte: the first row is the top one.
const TOP_DOWN: u8 = 1 << 4;
/// Most pixels of a window: offsets have 25 bits.
const MAX_WINDOW: usize = 1 << 25;
/// Farthest image.
const MAX_DISTANCE: u64 = (1 << 24) - 1;
/// Coded lengths of 7 and more have further bytes.
const LONG: usize = 7;
/// What is added to the coded length of a match of alpha.
const ALPHA_BIAS: usize = 2;

/// What is added to the coded length of a match of colours; `None` for types that no image has.
fn bias(pixels: PixelType) -> Option<usize> {
    match pixels {
        PixelType::Rgb16 => Some(1),
        PixelType::Rgb24 | PixelType::Rgb32 | PixelType::Rgba => Some(0),
        _ => None,
    }
}

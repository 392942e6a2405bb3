//! Image codecs of the display channel: private bytes in, bytes out.
//!
//! Nothing here knows of guests, sockets, threads or logs, and nothing here uses another room.
//! Decoders take bytes of anybody: they give pixels or an error, within the limits that the
//! caller sets, and never touch memory beside their input and output.
//! Encoders take a caller's scratch memory along, so that a stream of small images costs no
//! allocation.
#![deny(unsafe_code)]

pub mod deflate;
pub mod glz;
pub mod lz;
pub mod lz4;
pub mod quic;
mod rows;
pub mod simd;

pub use rows::{Rows, RowsError};

/// What a decoder may spend on one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels, width times height.
    pub pixels: u64,
}

impl Default for Limits {
    /// 64 Mi pixels: 8192 by 8192, 256 MiB at four bytes each.
    fn default() -> Self {
        Self { pixels: 64 << 20 }
    }
}

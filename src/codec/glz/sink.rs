//! The stream of GLZ.

use crate::codec::lz::sink::{Full, Output, Sink, low_byte};
use crate::codec::simd::Kernel;

/// Offsets from here on take a form with more bits.
const SHORT_OFFSETS: usize = 1 << 12;
/// From here on one byte more is needed.
pub(super) const FAR: usize = 1 << 17;

pub(super) struct Writer<'a>(pub Output<'a>);

impl Writer<'_> {
    /// A match that begins at a pixel of an image so many numbers back, or so many pixels before
    /// this one, less one, of the same image.
    #[inline(always)]
    pub fn refer(&mut self, length: usize, images: usize, offset: usize) -> Result<(), Full> {
        let short = offset < SHORT_OFFSETS;
        let form = if short { 0 } else { 16 };
        let (in_last, beyond) = if short { (images & 63, images >> 6) } else { (0, images) };
        let more = (usize::BITS - beyond.leading_zeros()).div_ceil(8) as usize;
        let long = offset >= FAR;
        let last = if short { in_last } else { usize::from(long) << 5 | offset >> 12 & 31 };
        let rest = (offset >> 4 & 0xff) as u64
            | ((more << 6 | last) as u64) << 8
            | (beyond as u64) << 16
            | ((offset >> 17) as u64) << (16 + more * 8);
        let size = 2 + more + usize::from(long);
        self.0.control(form | low_byte(offset & 15), length, rest, size)
    }
}

impl Sink for Writer<'_> {
    #[inline(always)]
    fn pixels<K: Kernel, const BYTES: usize>(
        &mut self,
        k: K,
        pixels: &[[u8; 4]],
        count: usize,
    ) -> Result<(), Full> {
        self.0.pixels::<K, BYTES>(k, pixels, count)
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0.bytes(bytes)
    }

    #[inline(always)]
    fn copy(&mut self, length: usize, distance: usize) -> Result<(), Full> {
        self.refer(length, 0, distance - 1)
    }
}

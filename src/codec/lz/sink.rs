//! Where literals and matches go.

use super::{FAR, LITERALS, LONG};
use crate::codec::simd::{self, Kernel};

/// The stream became too long.
pub(in crate::codec) struct Full;

/// What a pass over a picture produces, in order. Streams differ in how they say it.
pub(in crate::codec) trait Sink {
    /// The first `count` pixels, of which `BYTES` are written: three as they lie, or two with the
    /// high byte first.
    fn pixels<K: Kernel, const BYTES: usize>(
        &mut self,
        k: K,
        pixels: &[[u8; 4]],
        count: usize,
    ) -> Result<(), Full>;

    /// Bytes as they are.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full>;

    /// A match in the same picture; `length` is the coded one, at least 1.
    fn copy(&mut self, length: usize, distance: usize) -> Result<(), Full>;
}

/// Bytes that are appended, up to a limit.
pub(in crate::codec) struct Output<'a> {
    out: &'a mut Vec<u8>,
    /// Most bytes that `out` may have.
    end: usize,
}

impl<'a> Output<'a> {
    pub fn new(out: &'a mut Vec<u8>, end: usize) -> Self {
        Self { out, end }
    }

    #[inline(always)]
    fn need(&self, size: usize) -> Result<(), Full> {
        if size > self.end.saturating_sub(self.out.len()) { Err(Full) } else { Ok(()) }
    }

    /// Appends a control byte, what a long length has besides, and `size` bytes, at most six, of
    /// `rest`, the lowest one first.
    #[inline(always)]
    pub fn control(
        &mut self,
        control: u8,
        length: usize,
        rest: u64,
        size: usize,
    ) -> Result<(), Full> {
        let control = u64::from(control) | (length.min(LONG) as u64) << 5;
        let more = length.saturating_sub(LONG);
        if more >= 255 {
            return self.very_long(control, more, rest, size);
        }
        // Nothing to predict: a short length moves the rest by one byte, a long one by two.
        let long = usize::from(length >= LONG);
        self.need(1 + long + size)?;
        let word = control | (more as u64) << 8 | rest << (8 + 8 * long);
        simd::append(self.out, word, 1 + long + size);
        Ok(())
    }

    #[inline(never)]
    fn very_long(&mut self, control: u64, more: usize, rest: u64, size: usize) -> Result<(), Full> {
        self.need(1 + more / 255 + 1 + size)?;
        simd::append(self.out, control, 1);
        self.out.resize(self.out.len() + more / 255, 255);
        simd::append(self.out, (more % 255) as u64 | rest << 8, 1 + size);
        Ok(())
    }

    /// The first `count` pixels in runs of literals.
    #[inline(always)]
    pub fn pixels<K: Kernel, const BYTES: usize>(
        &mut self,
        k: K,
        pixels: &[[u8; 4]],
        count: usize,
    ) -> Result<(), Full> {
        self.need(count * BYTES + count.div_ceil(LITERALS))?;
        if BYTES == 3 {
            k.literals(pixels, count, self.out);
            return Ok(());
        }
        for run in pixels[..count].chunks(LITERALS) {
            // 1 to 32 units are coded as 0 to 31.
            self.out.push(low_byte(run.len() - 1));
            self.out.extend(run.iter().flat_map(|&[low, high, ..]| [high, low]));
        }
        Ok(())
    }

    /// Bytes in runs of literals.
    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.need(bytes.len() + bytes.len().div_ceil(LITERALS))?;
        for run in bytes.chunks(LITERALS) {
            self.out.push(low_byte(run.len() - 1));
            self.out.extend_from_slice(run);
        }
        Ok(())
    }
}

/// The stream of LZ.
pub(super) struct Writer<'a>(pub Output<'a>);

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
        // Which form it takes cannot be predicted.
        let far = distance >= FAR;
        let offset = if far { FAR - 1 } else { distance - 1 };
        // All ones say that two bytes follow, the high one first.
        let beyond = distance.wrapping_sub(FAR);
        let rest = offset & 0xff | (beyond >> 8 & 0xff) << 8 | (beyond & 0xff) << 16;
        let size = 1 + 2 * usize::from(far);
        self.0.control(low_byte(offset >> 8), length, rest as u64, size)
    }
}

#[inline(always)]
pub(in crate::codec) fn low_byte(n: usize) -> u8 {
    n.to_le_bytes()[0]
}

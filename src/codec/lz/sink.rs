//! Where literals and matches go.

use super::{FAR, LITERALS, LONG};
use crate::codec::simd::Kernel;

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
    /// Longer than what was written.
    out: &'a mut Vec<u8>,
    at: usize,
    /// Most bytes that `out` may have.
    end: usize,
}

impl<'a> Output<'a> {
    pub fn new(out: &'a mut Vec<u8>, end: usize) -> Self {
        let at = out.len();
        Self { out, at, end }
    }

    /// Bytes in the vector if the stream ended here.
    pub fn finish(self) {
        self.out.truncate(self.at);
    }

    /// The next `size` bytes, and some more that may be written and do not count.
    #[inline(always)]
    pub fn next(&mut self, size: usize) -> Result<&mut [u8], Full> {
        /// Bytes that may be written beyond what counts.
        const SPARE: usize = 32;
        let at = self.at;
        if size > self.end.saturating_sub(at) {
            return Err(Full);
        }
        if at + size + SPARE > self.out.len() {
            self.grow(at + size + SPARE);
        }
        self.at = at + size;
        Ok(&mut self.out[at..])
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, need: usize) {
        // What is added stays in the cache until it is written.
        self.out.resize(need + (32 << 10), 0);
    }

    /// Appends `N` bytes.
    #[inline(always)]
    pub fn push<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), Full> {
        self.next(N)?[..N].copy_from_slice(&bytes);
        Ok(())
    }

    /// What is left of a long length after the control byte.
    #[inline(always)]
    pub fn long_length(&mut self, length: usize) -> Result<(), Full> {
        if let Some(mut more) = length.checked_sub(LONG) {
            while more >= 255 {
                self.push([255])?;
                more -= 255;
            }
            self.push([low_byte(more)])?;
        }
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
        let mut at = 0;
        while at < count {
            let run = (count - at).min(LITERALS);
            let out = self.next(1 + run * BYTES)?;
            // 1 to 32 units are coded as 0 to 31.
            out[0] = low_byte(run - 1);
            if BYTES == 3 {
                k.pack(&pixels[at..], run, &mut out[1..]);
            } else {
                let run = &pixels[at..at + run];
                for (to, [low, high, ..]) in out[1..].as_chunks_mut().0.iter_mut().zip(run) {
                    *to = [*high, *low];
                }
            }
            at += run;
        }
        Ok(())
    }

    /// Bytes in runs of literals.
    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        for run in bytes.chunks(LITERALS) {
            let out = self.next(1 + run.len())?;
            out[0] = low_byte(run.len() - 1);
            out[1..=run.len()].copy_from_slice(run);
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
        let far = distance >= FAR;
        if !far && length < LONG {
            let offset = distance - 1;
            return self.0.push([low_byte(length << 5) | low_byte(offset >> 8), low_byte(offset)]);
        }
        let offset = if far { FAR - 1 } else { distance - 1 };
        self.0.push([low_byte(length.min(LONG) << 5) | low_byte(offset >> 8)])?;
        self.0.long_length(length)?;
        self.0.push([low_byte(offset)])?;
        if far {
            let beyond = distance - FAR;
            self.0.push([low_byte(beyond >> 8), low_byte(beyond)])?;
        }
        Ok(())
    }
}

#[inline(always)]
pub(in crate::codec) fn low_byte(n: usize) -> u8 {
    n.to_le_bytes()[0]
}

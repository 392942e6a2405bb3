//! The inner loops of the codecs, once for every kind of processor.
//!
//! Which ones run is decided once per process: by what the processor can do, or by less if the
//! variable `SPICE_CPU` says so. Each has a scalar twin, which is what the others are tested
//! against and what runs where nothing else is known.
//!
//! A codec's own walk over a picture is ordinary code that is generic over [`Kernel`] and marked
//! `inline(always)`. [`run`] calls it from a function for which the compiler may use the
//! processor's instructions, so that the walk profits too, and small kernels cost no call.
#![expect(unsafe_code, reason = "instructions that not every processor has, vectors in memory")]

mod append;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;

use std::sync::OnceLock;

pub use append::word as append;
pub use scalar::Scalar;

use super::quic::{Entries, Family};

/// What the inner loops may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the compiler makes of plain loops for the least processor of this architecture: on
    /// x86-64 that includes SSE2, on aarch64 NEON.
    Scalar,
    /// 256-bit vectors and the bit manipulation that came with them.
    Avx2,
}

/// The level that this process uses.
#[must_use]
pub fn level() -> Level {
    static CHOSEN: OnceLock<Level> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let wish = std::env::var("SPICE_CPU").ok();
        best().min(wish.as_deref().and_then(named).unwrap_or(Level::Avx2))
    })
}

/// The level with this name; one that is not known is no wish.
fn named(name: &str) -> Option<Level> {
    match name {
        // Plain loops are compiled for SSE2 anyway.
        "scalar" | "sse2" => Some(Level::Scalar),
        // There is no kernel of its own for AVX-512.
        "avx2" | "avx512" => Some(Level::Avx2),
        _ => None,
    }
}

/// The highest level of this processor.
#[must_use]
pub fn best() -> Level {
    #[cfg(target_arch = "x86_64")]
    if avx2::Avx2::detect().is_some() {
        return Level::Avx2;
    }
    Level::Scalar
}

/// What can be done with any kernel.
pub trait Work {
    /// What comes out.
    type Output;

    /// Does it. To be marked `inline(always)`, with everything it calls often.
    fn with<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// Does `work` with the kernels of a level, or of the scalar one if the processor lacks them.
pub fn run<W: Work>(level: Level, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2
        && let Some(kernel) = avx2::Avx2::detect()
    {
        return kernel.run(work);
    }
    let _ = level;
    work.with(Scalar)
}

/// Columns that a row buffer has before its first one.
pub const LEAD: usize = 8;

/// Elements of a row buffer for `width` columns: whole words of marks, what is before the first
/// column, and what wide loads touch behind the last one.
#[must_use]
pub fn padded(width: usize) -> usize {
    LEAD + width.next_multiple_of(64) + 8
}

/// Inner loops. All results are the same for all implementations.
pub trait Kernel: Copy {
    /// Writes the codes of `count` pixels, 1 to 64, to `entries`, which has room for two per
    /// pixel and [`Entries::SPARE`] more.
    ///
    /// `symbols[0]` is before the first of them, but `context` stands for it. Eight elements
    /// follow the last one.
    fn code(
        self,
        family: &Family,
        parameters: &[u8; 32],
        context: [u8; 4],
        symbols: &[[u8; 4]],
        count: usize,
        entries: &mut Entries,
    );

    /// Bit i of `words`: `pixels[LEAD + i]` equals the one before. `pixels` is as long as
    /// [`padded`] says for the words' bits.
    fn mark_equal(self, pixels: &[[u8; 4]], words: &mut [u64]);

    /// Where a bit of `keep` is 0, takes the element of `new` over to `old`. Both are as long as
    /// [`padded`] says for the words' bits.
    fn settle(self, new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]);

    /// Bit i: the colours of `a[i]` and `b[i]` are equal; fourth bytes do not count.
    fn equal_eight(self, a: &[[u8; 4]; 8], b: &[[u8; 4]; 8]) -> u32;

    /// [`Self::equal_eight`] of sixteen.
    #[inline(always)]
    fn equal_sixteen(self, a: &[[u8; 4]; 16], b: &[[u8; 4]; 16]) -> u32 {
        let (a, b) = (a.as_chunks().0, b.as_chunks().0);
        self.equal_eight(&a[0], &b[0]) | self.equal_eight(&a[1], &b[1]) << 8
    }

    /// Writes the first three bytes of `count` pixels; `out` is at least 32 bytes longer than what
    /// they need, and has any content there afterwards.
    fn pack(self, pixels: &[[u8; 4]], count: usize, out: &mut [u8]);

    /// Appends `count` pixels as LZ has them: runs of 32 and what is left, each one a byte with
    /// its number less one and the first three bytes of its pixels.
    #[inline(always)]
    fn literals(self, pixels: &[[u8; 4]], count: usize, out: &mut Vec<u8>) {
        let mut run = [0; 1 + RUN * 3 + 32];
        for at in (0..count).step_by(RUN) {
            let size = RUN.min(count - at);
            run[0] = (size - 1).to_le_bytes()[0];
            self.pack(&pixels[at..], size, &mut run[1..]);
            out.extend_from_slice(&run[..=size * 3]);
        }
    }

    /// For every i below 8, a hash of the colours of the four pixels from `pixels[i]` on, and as
    /// bit i, whether all bits of `zeros` are 0 in it.
    fn hash_eight(self, pixels: &[[u8; 4]; 11], zeros: u32) -> ([u32; 8], u32);

    /// Fetches what will be needed soon.
    fn prefetch<T>(self, place: &T);

    /// Adds, and finds the least of the first `N` sums and where it stands first.
    fn cheapest<const N: usize>(self, costs: &mut [u16; 8], lengths: &[u16; 8]) -> (u16, u8);

    /// How many pixels have equal colours, from the beginning on; no more than `later` has.
    #[inline(always)]
    fn common(self, earlier: &[[u8; 4]], later: &[[u8; 4]]) -> usize {
        let mut same = 0;
        for (a, b) in earlier.as_chunks::<8>().0.iter().zip(later.as_chunks::<8>().0) {
            let equal = self.equal_eight(a, b);
            if equal != 0xff {
                return same + equal.trailing_ones() as usize;
            }
            same += 8;
        }
        let rest = earlier[same..].iter().zip(&later[same..]);
        same + rest
            .take_while(|(a, b)| (u32::from_le_bytes(**a) ^ u32::from_le_bytes(**b)) & COLORS == 0)
            .count()
    }

    /// How many pixels have equal colours, from the end on.
    #[inline(always)]
    fn common_backward(self, earlier: &[[u8; 4]], later: &[[u8; 4]]) -> usize {
        let pairs = earlier.iter().rev().zip(later.iter().rev());
        pairs
            .take_while(|(a, b)| (u32::from_le_bytes(**a) ^ u32::from_le_bytes(**b)) & COLORS == 0)
            .count()
    }
}

/// The hash of four pixels that [`Kernel::hash_eight`] makes eight of.
#[must_use]
#[inline(always)]
pub fn hash_four(pixels: &[[u8; 4]; 4]) -> u32 {
    let colors = pixels.iter().map(|pixel| u32::from_le_bytes(*pixel) & COLORS);
    let products = colors.zip(FACTORS).map(|(color, by)| color.wrapping_mul(by));
    let sum = products.fold(0, u32::wrapping_add);
    sum ^ sum >> 15
}

/// Most pixels of a run of literals.
const RUN: usize = 32;
/// Factors of the hash of four pixels.
const FACTORS: [u32; 4] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f];
/// Colours of a pixel that was read as a little-endian number.
const COLORS: u32 = 0x00ff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_wish_for_less() {
        assert_eq!(named("scalar"), Some(Level::Scalar));
        assert_eq!(named("sse2"), Some(Level::Scalar));
        assert_eq!(named("avx2"), Some(Level::Avx2));
        assert_eq!(named("avx512"), Some(Level::Avx2));
        assert_eq!(named("fastest"), None);
        assert!(level() <= best());
    }

    /// Rows, stretches and blocks of all lengths: the best kernels do what the scalar ones do.
    #[test]
    fn kernels_do_what_their_twins_do() {
        struct Results;
        impl Work for Results {
            type Output = Vec<u64>;

            #[inline(always)]
            fn with<K: Kernel>(self, k: K) -> Vec<u64> {
                let mut state = 1u32;
                let mut random = || {
                    state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
                    state >> 16
                };
                let mut results = Vec::new();
                for count in 1..=64usize {
                    // Few values, so that many are equal.
                    let mut row = || -> Vec<[u8; 4]> {
                        let pixel = |n: u32| ((n % 5 * 0x0021_0403) & COLORS).to_le_bytes();
                        (0..padded(count)).map(|_| pixel(random())).collect()
                    };
                    let (pixels, mut old) = (row(), row());
                    let mut words = [0];
                    k.mark_equal(&pixels, &mut words);
                    results.extend(words);
                    k.settle(&pixels, &mut old, &words);
                    results.extend(old.iter().map(|pixel| u64::from(u32::from_le_bytes(*pixel))));
                    let (a, b) = (&pixels[..8], &old[..8]);
                    if let (Some(a), Some(b)) = (a.first_chunk(), b.first_chunk()) {
                        results.push(k.equal_eight(a, b).into());
                    }
                    if let Some(block) = pixels.first_chunk() {
                        let (hashes, anchors) = k.hash_eight(block, 3);
                        results.extend(hashes.map(u64::from));
                        results.push(anchors.into());
                        let four = pixels[7..].first_chunk().map(hash_four);
                        assert_eq!(four, Some(hashes[7]));
                    }
                    let mut out = vec![0; count * 3 + 32];
                    k.pack(&pixels, count, &mut out);
                    results.extend(out[..count * 3].iter().map(|byte| u64::from(*byte)));
                    let mut out = vec![7];
                    k.literals(&pixels, count, &mut out);
                    results.extend(out.iter().map(|byte| u64::from(*byte)));
                    let (mut costs, lengths) = ([7, 3, 9, 2, 8, 2, 5, 6], [1, 2, 3, 4, 5, 4, 2, 1]);
                    let (least, at) = k.cheapest::<8>(&mut costs, &lengths);
                    results.extend([u64::from(least), at.into()]);
                }
                results
            }
        }
        assert_eq!(run(Level::Scalar, Results), run(best(), Results));
    }
}

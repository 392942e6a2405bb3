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
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use std::sync::OnceLock;

pub use append::word as append;
pub use scalar::Scalar;

use super::quic::{BLOCK, Best, Codes, Family, Made};

/// What the inner loops may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the compiler makes of plain loops for the least processor of this architecture: on
    /// x86-64 that includes SSE2, on aarch64 NEON.
    Scalar,
    /// 128-bit vectors of aarch64.
    Neon,
    /// 256-bit vectors and the bit manipulation that came with them.
    Avx2,
    /// The same with the masks and instructions of AVX-512, among them those of VBMI. Vectors stay
    /// at 256 bits, which was faster where it was measured (Zen 4).
    Avx512,
}

/// The level that this process uses.
#[must_use]
pub fn level() -> Level {
    static CHOSEN: OnceLock<Level> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let wish = std::env::var("SPICE_CPU").ok();
        best().min(wish.as_deref().and_then(named).unwrap_or(Level::Avx512))
    })
}

/// The level with this name; one that is not known is no wish.
fn named(name: &str) -> Option<Level> {
    match name {
        // Plain loops are compiled for SSE2 anyway.
        "scalar" | "sse2" => Some(Level::Scalar),
        "neon" if cfg!(target_arch = "aarch64") => Some(Level::Neon),
        "avx2" => Some(Level::Avx2),
        "avx512" => Some(Level::Avx512),
        _ => None,
    }
}

/// The highest level of this processor.
#[must_use]
pub fn best() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        if avx512::Avx512::detect().is_some() {
            return Level::Avx512;
        }
        if avx2::Avx2::detect().is_some() {
            return Level::Avx2;
        }
    }
    if cfg!(target_arch = "aarch64") { Level::Neon } else { Level::Scalar }
}

/// All levels of this processor, the lowest first: for tests and benches.
pub fn levels() -> impl Iterator<Item = Level> {
    let all: &[Level] = if cfg!(target_arch = "aarch64") {
        &[Level::Scalar, Level::Neon]
    } else {
        &[Level::Scalar, Level::Avx2, Level::Avx512]
    };
    all.iter().copied().filter(|level| *level <= best())
}

/// What can be done with any kernel.
pub trait Work {
    /// What comes out.
    type Output;

    /// Does it. To be marked `inline(always)`, with everything it calls often.
    fn with<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// Does `work` with the kernels of a level, or of the next lower one that the processor has.
pub fn run<W: Work>(level: Level, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512
        && let Some(kernel) = avx512::Avx512::detect()
    {
        return kernel.run(work);
    }
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2
        && let Some(kernel) = avx2::Avx2::detect()
    {
        return kernel.run(work);
    }
    #[cfg(target_arch = "aarch64")]
    if level >= Level::Neon {
        return neon::Neon.run(work);
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
    LEAD + width.next_multiple_of(64) + LOOK
}

/// Pixels whose parameters are chosen at once, at most.
pub const LOOK: usize = 64;

/// Inner loops. All results are the same for all implementations.
pub trait Kernel: Copy {
    /// The slots of all pixels' bytes as contexts, see [`Family::slots`]. Both are as long as
    /// [`padded`] says.
    fn slots(self, family: &Family, symbols: &[[u8; 4]], slots: &mut [[u8; 4]]);

    /// Takes the first `count` symbols, 1 to [`LOOK`], over to `to`, and the parameters of the
    /// slots before them to `parameters`. `slots[0]` is before the first one, but `context` stands
    /// for it. What is behind the last one has any value then.
    #[expect(clippy::too_many_arguments, reason = "what would be joined changes in each call")]
    fn choose(
        self,
        best: &Best,
        context: [u8; 4],
        slots: &[[u8; 4]; LOOK],
        symbols: &[[u8; 4]; LOOK],
        count: usize,
        to: &mut [[u8; 4]; LOOK],
        parameters: &mut [[u8; 4]; LOOK],
    );

    /// Makes codes of symbols and parameters. Which of [`Made`] it is may differ between
    /// implementations; the bits do not.
    fn code(
        self,
        family: &Family,
        symbols: &[[u8; 4]; BLOCK],
        parameters: &[[u8; 4]; BLOCK],
        codes: &mut Codes,
    ) -> Made;

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

    /// Adds, and finds where the least of the first `N` sums stands first. If it is more than
    /// `trigger`, all are halved.
    fn cheapest<const N: usize>(self, costs: &mut [u16; 8], lengths: &[u16; 8], trigger: u16)
    -> u8;

    /// The parameters of four slots become others. Of each byte of a pixel there is one, in order.
    ///
    /// What was stored byte by byte cannot be loaded as a vector before all of it is in the cache,
    /// and [`Self::choose`] comes next.
    #[inline(always)]
    fn replace(self, best: &mut Best, slots: [u8; 4], parameters: [u8; 4]) {
        for (slot, parameter) in slots.into_iter().zip(parameters) {
            best[usize::from(slot & 31)] = parameter;
        }
    }

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
    use crate::codec::quic::family;

    #[test]
    fn a_name_is_a_wish_for_less() {
        assert_eq!(named("scalar"), Some(Level::Scalar));
        assert_eq!(named("sse2"), Some(Level::Scalar));
        assert_eq!(named("avx2"), Some(Level::Avx2));
        assert_eq!(named("avx512"), Some(Level::Avx512));
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
                    for trigger in [5, 6, 60000] {
                        let at = k.cheapest::<8>(&mut costs, &lengths, trigger);
                        let five = k.cheapest::<5>(&mut costs, &lengths, trigger);
                        results.extend(costs.map(u64::from));
                        results.extend([u64::from(at), five.into()]);
                    }
                }
                results
            }
        }
        let scalar = run(Level::Scalar, Results);
        levels().for_each(|level| assert!(run(level, Results) == scalar, "{level:?}"));
    }

    fn byte(n: usize) -> u8 {
        n.to_le_bytes()[0]
    }

    /// All values as symbols and as contexts, and stretches of all lengths.
    #[test]
    fn parameters_are_chosen_as_their_twins_do() {
        struct Results(&'static Family);
        impl Work for Results {
            type Output = Vec<[u8; 4]>;

            #[inline(always)]
            fn with<K: Kernel>(self, k: K) -> Self::Output {
                let symbols: Vec<[u8; 4]> =
                    (0..=255u8).map(|n| [n, n.wrapping_mul(7), n.wrapping_add(99), 0]).collect();
                let mut slots = vec![[0; 4]; 256];
                k.slots(self.0, &symbols, &mut slots);
                let mut results = slots.clone();
                let mut best = [8; 32];
                (0u8..24).for_each(|at| best[usize::from(at)] = at % 7);
                for count in 1..=LOOK {
                    let (mut to, mut parameters) = ([[0; 4]; LOOK], [[0; 4]; LOOK]);
                    let [Some(before), Some(these)] =
                        [&slots[count..], &symbols[count + 1..]].map(<[_]>::first_chunk)
                    else {
                        unreachable!("256 are enough")
                    };
                    let context = slots[255 - count];
                    k.choose(&best, context, before, these, count, &mut to, &mut parameters);
                    results.extend(&to[..count]);
                    results.extend(&parameters[..count]);
                    k.replace(&mut best, slots[count * 3], [byte(count % 8), 3, 0, 8]);
                    results.extend(best.as_chunks().0);
                }
                results
            }
        }
        for family in [family::<8>(), family::<5>()] {
            let scalar = run(Level::Scalar, Results(family));
            levels().for_each(|level| assert!(run(level, Results(family)) == scalar, "{level:?}"));
        }
    }

    /// All symbols under all parameters, short codes and long ones together.
    #[test]
    fn codes_are_those_of_the_twins() {
        struct Results(&'static Family, usize);
        impl Work for Results {
            /// The bits of each block, one by one, and what it was made.
            type Output = (Vec<Vec<bool>>, Vec<Made>);

            #[inline(always)]
            fn with<K: Kernel>(self, k: K) -> Self::Output {
                let (mut bits, mut made) = (Vec::new(), Vec::new());
                let mut codes = Codes { tops: [0; BLOCK], lengths: [0; BLOCK] };
                for (first, l) in (0..256usize).flat_map(|n| (0..16u8).map(move |l| (n, l))) {
                    let (mut symbols, mut parameters) = ([[0; 4]; BLOCK], [[8; 4]; BLOCK]);
                    for at in 0..BLOCK * 3 {
                        let (pixel, channel) = (at / 3, at % 3);
                        let l = usize::from(l) + if first % 3 == 0 { at } else { 0 };
                        let n = (first + at * 5) & (self.1 - 1);
                        let params = if self.1 == 256 { 8 } else { 5 };
                        // Small symbols, so that pairs come too; all of them under large ones.
                        let l = l % params;
                        let n =
                            if first & 1 == 0 { n.min((3 << l) + 2).min(self.1 - 1) } else { n };
                        symbols[pixel][channel] = byte(n);
                        parameters[pixel][channel] = byte(l);
                        if at % 11 == 5 {
                            let few = 1 + first % 7;
                            symbols[pixel][channel] = byte(n & ((1 << few) - 1));
                            parameters[pixel][channel] = 8 + byte(few);
                        }
                    }
                    let kind = k.code(self.0, &symbols, &parameters, &mut codes);
                    made.push(kind);
                    let used = match kind {
                        Made::Pairs => BLOCK / 2,
                        Made::Singles => BLOCK,
                        Made::Nothing => 0,
                    };
                    let all = codes.tops.iter().zip(codes.lengths).take(used);
                    bits.push(
                        all.flat_map(|(top, length)| {
                            assert!(length <= 64);
                            assert!(length == 64 || top << length == 0);
                            (0..length).map(move |bit| top << bit >> 63 == 1)
                        })
                        .collect(),
                    );
                }
                (bits, made)
            }
        }
        for (family, values) in [(family::<8>(), 256), (family::<5>(), 32)] {
            let (scalar, kinds) = run(Level::Scalar, Results(family, values));
            assert!(kinds.contains(&Made::Singles));
            for level in levels() {
                let (bits, made) = run(level, Results(family, values));
                assert!(bits == scalar, "{level:?}");
                let refused = |made: &[Made]| -> Vec<bool> {
                    made.iter().map(|made| *made == Made::Nothing).collect()
                };
                assert_eq!(refused(&made), refused(&kinds), "{level:?}");
                assert_eq!(made.contains(&Made::Pairs), level != Level::Scalar, "{level:?}");
            }
        }
    }
}

//! NEON, which every aarch64 processor has: no proof is needed. What the compiler makes of plain
//! loops for it is not repeated here.

use std::arch::aarch64::*;

use super::{Kernel, LEAD, LOOK, Scalar, Work};
use crate::codec::quic::{BLOCK, Best, Codes, Family, Made};

/// The instructions of all aarch64 processors.
#[derive(Debug, Clone, Copy)]
pub struct Neon;

impl Neon {
    /// Does `work`.
    pub fn run<W: Work>(self, work: W) -> W::Output {
        work.with(self)
    }
}

impl Kernel for Neon {
    #[inline(always)]
    fn slots(self, family: &Family, symbols: &[[u8; 4]], slots: &mut [[u8; 4]]) {
        // SAFETY: every aarch64 processor has NEON.
        unsafe { slots_of(family, symbols, slots) }
    }

    #[inline(always)]
    fn choose(
        self,
        best: &Best,
        context: [u8; 4],
        slots: &[[u8; 4]; LOOK],
        symbols: &[[u8; 4]; LOOK],
        count: usize,
        to: &mut [[u8; 4]; LOOK],
        parameters: &mut [[u8; 4]; LOOK],
    ) {
        // SAFETY: every aarch64 processor has NEON.
        unsafe { choose(best, context, slots, symbols, count, to, parameters) }
    }

    #[inline(always)]
    fn code(
        self,
        family: &Family,
        symbols: &[[u8; 4]; BLOCK],
        parameters: &[[u8; 4]; BLOCK],
        codes: &mut Codes,
    ) -> Made {
        // SAFETY: every aarch64 processor has NEON.
        unsafe { code(family, symbols, parameters, codes) }
    }

    #[inline(always)]
    fn mark_equal(self, pixels: &[[u8; 4]], words: &mut [u64]) {
        Scalar.mark_equal(pixels, words);
    }

    #[inline(always)]
    fn settle(self, new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]) {
        // SAFETY: every aarch64 processor has NEON.
        unsafe { settle(new, old, keep) }
    }

    #[inline(always)]
    fn equal_eight(self, a: &[[u8; 4]; 8], b: &[[u8; 4]; 8]) -> u32 {
        Scalar.equal_eight(a, b)
    }

    #[inline(always)]
    fn pack(self, pixels: &[[u8; 4]], count: usize, out: &mut [u8]) {
        Scalar.pack(pixels, count, out);
    }

    #[inline(always)]
    fn hash_eight(self, pixels: &[[u8; 4]; 11], zeros: u32) -> ([u32; 8], u32) {
        Scalar.hash_eight(pixels, zeros)
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &T) {}

    #[inline(always)]
    fn cheapest<const N: usize>(
        self,
        costs: &mut [u16; 8],
        lengths: &[u16; 8],
        trigger: u16,
    ) -> u8 {
        if N < 8 {
            return Scalar.cheapest::<N>(costs, lengths, trigger);
        }
        // SAFETY: every aarch64 processor has NEON.
        unsafe { cheapest(costs, lengths, trigger) }
    }

    #[inline(always)]
    fn replace(self, best: &mut Best, slots: [u8; 4], parameters: [u8; 4]) {
        // SAFETY: every aarch64 processor has NEON.
        unsafe { replace(best, slots, parameters) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn bytes(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: sixteen bytes that may be read; any alignment will do.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(pixels: &[[u8; 4]; 4]) -> uint8x16_t {
    // SAFETY: four times four bytes that may be read; any alignment will do.
    unsafe { vld1q_u8(pixels.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(pixels: &mut [[u8; 4]; 4], vector: uint8x16_t) {
    // SAFETY: four times four bytes that may be written; any alignment will do.
    unsafe { vst1q_u8(pixels.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store_two(words: &mut [u64; 2], vector: uint64x2_t) {
    // SAFETY: two words that may be written.
    unsafe { vst1q_u64(words.as_mut_ptr(), vector) }
}

#[inline]
#[target_feature(enable = "neon")]
fn four(pixel: [u8; 4]) -> uint8x16_t {
    vreinterpretq_u8_u32(vdupq_n_u32(u32::from_le_bytes(pixel)))
}

#[inline]
#[target_feature(enable = "neon")]
fn slots_of(family: &Family, symbols: &[[u8; 4]], slots: &mut [[u8; 4]]) {
    let last = vdupq_n_u8(family.buckets[255]);
    let (one, seven, channels) = (vdupq_n_u8(1), vdupq_n_u8(7), four([0, 8, 16, 24]));
    let blocks = symbols.as_chunks::<4>().0.iter().zip(slots.as_chunks_mut::<4>().0);
    for (symbols, slots) in blocks {
        // Bucket: logarithm of the symbol plus one.
        let log = vsubq_u8(seven, vclzq_u8(vqaddq_u8(load(symbols), one)));
        store(slots, vorrq_u8(vminq_u8(log, last), channels));
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn choose(
    best: &Best,
    context: [u8; 4],
    slots: &[[u8; 4]; LOOK],
    symbols: &[[u8; 4]; LOOK],
    count: usize,
    to: &mut [[u8; 4]; LOOK],
    parameters: &mut [[u8; 4]; LOOK],
) {
    let halves = [best.first_chunk(), best.last_chunk()].map(|half| half.unwrap_or(&[0; 16]));
    // A slot is where its parameter stands in the table.
    let table = uint8x16x2_t(bytes(halves[0]), bytes(halves[1]));
    let slots = slots.as_chunks().0.iter();
    let symbols = symbols.as_chunks().0.iter();
    let to = to.as_chunks_mut().0.iter_mut();
    let parameters = parameters.as_chunks_mut().0.iter_mut();
    let mut blocks = slots.zip(symbols).zip(to.zip(parameters));
    if let Some(((slots, symbols), (to, parameters))) = blocks.next() {
        store(to, load(symbols));
        let first = u32::from_le_bytes(context);
        let slots = vsetq_lane_u32::<0>(first, vreinterpretq_u32_u8(load(slots)));
        store(parameters, vqtbl2q_u8(table, vreinterpretq_u8_u32(slots)));
    }
    // Three more, and then all of the rest: nothing could foretell how many are needed.
    for ((slots, symbols), (to, parameters)) in blocks.by_ref().take(3) {
        store(to, load(symbols));
        store(parameters, vqtbl2q_u8(table, load(slots)));
    }
    if count <= 16 {
        return;
    }
    for ((slots, symbols), (to, parameters)) in blocks {
        store(to, load(symbols));
        store(parameters, vqtbl2q_u8(table, load(slots)));
    }
}

/// The codes of four pixels' bytes, without the zeros before them, and their lengths.
#[inline]
#[target_feature(enable = "neon")]
fn code_four(family: &Family, n: uint8x16_t, l: uint8x16_t) -> (uint32x4_t, uint32x4_t) {
    let shuffles = &family.shuffles;
    let quotient = vshlq_u8(n, vnegq_s8(vreinterpretq_s8_u8(l)));
    let m = vqtbl1q_u8(bytes(&shuffles.mask), l);
    let plain_code = vorrq_u8(vandq_u8(n, m), vaddq_u8(m, vdupq_n_u8(1)));
    let plain_length = vaddq_u8(quotient, vqtbl1q_u8(bytes(&shuffles.plain), l));
    let limit = vqtbl1q_u8(bytes(&shuffles.first), l);
    let escaped = vcgeq_u8(n, limit);
    let code = vbslq_u8(escaped, vsubq_u8(n, limit), plain_code);
    let length = vbslq_u8(escaped, vqtbl1q_u8(bytes(&shuffles.escape), l), plain_length);
    (vreinterpretq_u32_u8(code), vreinterpretq_u32_u8(length))
}

/// Lengths of a pixel's first channel, of two, and of all.
#[inline]
#[target_feature(enable = "neon")]
fn lengths_of(length: uint32x4_t) -> [uint32x4_t; 3] {
    let low_byte = vdupq_n_u32(0xff);
    let b = vandq_u32(length, low_byte);
    let gb = vaddq_u32(b, vandq_u32(vshrq_n_u32::<8>(length), low_byte));
    [b, gb, vaddq_u32(gb, vshrq_n_u32::<16>(length))]
}

/// Two codes from four pixels of up to 32 bits each.
#[inline]
#[target_feature(enable = "neon")]
fn join_pairs(code: uint32x4_t, [b, gb, total]: [uint32x4_t; 3]) -> (uint64x2_t, uint64x2_t) {
    let low_byte = vdupq_n_u32(0xff);
    // R first, which is the highest one.
    let r = vshlq_u32(vshrq_n_u32::<16>(code), vreinterpretq_s32_u32(gb));
    let g = vandq_u32(vshrq_n_u32::<8>(code), low_byte);
    let g = vshlq_u32(g, vreinterpretq_s32_u32(b));
    let joined = vreinterpretq_u64_u32(vorrq_u32(vorrq_u32(r, g), vandq_u32(code, low_byte)));
    let (low_half, total) = (vdupq_n_u64(0xffff_ffff), vreinterpretq_u64_u32(total));
    let odd_length = vshrq_n_u64::<32>(total);
    let first = vshlq_u64(vandq_u64(joined, low_half), vreinterpretq_s64_u64(odd_length));
    let length = vaddq_u64(vandq_u64(total, low_half), odd_length);
    (to_the_top(vorrq_u64(first, vshrq_n_u64::<32>(joined)), length), length)
}

/// Two pixels of up to 64 bits.
#[inline]
#[target_feature(enable = "neon")]
fn join_wide(code: uint32x2_t, lengths: [uint32x2_t; 3]) -> (uint64x2_t, uint64x2_t) {
    let (low_byte, code) = (vdupq_n_u64(0xff), vmovl_u32(code));
    let [b, gb, total] = lengths.map(|length| vmovl_u32(length));
    let r = vshlq_u64(vshrq_n_u64::<16>(code), vreinterpretq_s64_u64(gb));
    let g = vandq_u64(vshrq_n_u64::<8>(code), low_byte);
    let g = vshlq_u64(g, vreinterpretq_s64_u64(b));
    let joined = vorrq_u64(vorrq_u64(r, g), vandq_u64(code, low_byte));
    (to_the_top(joined, total), total)
}

/// The highest bit of so many becomes that of the word.
#[inline]
#[target_feature(enable = "neon")]
fn to_the_top(code: uint64x2_t, length: uint64x2_t) -> uint64x2_t {
    vshlq_u64(code, vsubq_s64(vdupq_n_s64(64), vreinterpretq_s64_u64(length)))
}

#[inline]
#[target_feature(enable = "neon")]
fn code(
    family: &Family,
    symbols: &[[u8; 4]; BLOCK],
    parameters: &[[u8; 4]; BLOCK],
    codes: &mut Codes,
) -> Made {
    let none = vdupq_n_u32(0);
    let mut made = [(none, [none; 3]); BLOCK / 4];
    let mut most = none;
    let blocks = symbols.as_chunks().0.iter().zip(parameters.as_chunks().0);
    for (made, (symbols, parameters)) in made.iter_mut().zip(blocks) {
        let (code, length) = code_four(family, load(symbols), load(parameters));
        let lengths = lengths_of(length);
        most = vmaxq_u32(most, lengths[2]);
        *made = (code, lengths);
    }
    let most = vmaxvq_u32(most);
    let tops = codes.tops.as_chunks_mut().0.iter_mut();
    let mut to = tops.zip(codes.lengths.as_chunks_mut().0);
    if most <= 32 {
        for ((code, lengths), (to, to_lengths)) in made.into_iter().zip(to) {
            let (top, length) = join_pairs(code, lengths);
            store_two(to, top);
            store_two(to_lengths, length);
        }
        return Made::Pairs;
    }
    if most > 64 {
        return Made::Nothing;
    }
    for (code, lengths) in made {
        let low = join_wide(vget_low_u32(code), lengths.map(|length| vget_low_u32(length)));
        let high = join_wide(vget_high_u32(code), lengths.map(|length| vget_high_u32(length)));
        for ((top, length), (to, to_lengths)) in [low, high].into_iter().zip(to.by_ref()) {
            store_two(to, top);
            store_two(to_lengths, length);
        }
    }
    Made::Singles
}

#[inline]
#[target_feature(enable = "neon")]
fn settle(new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]) {
    let bits = [1u32, 2, 4, 8];
    // SAFETY: four numbers that may be read.
    let bit = unsafe { vld1q_u32(bits.as_ptr()) };
    let mut blocks =
        old[LEAD..].as_chunks_mut::<4>().0.iter_mut().zip(new[LEAD..].as_chunks::<4>().0);
    for word in keep {
        for part in 0..16 {
            let Some((old, new)) = blocks.next() else { return };
            let keep = vtstq_u32(vdupq_n_u32((word >> (part * 4) & 15) as u32), bit);
            store(old, vbslq_u8(vreinterpretq_u8_u32(keep), load(old), load(new)));
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn cheapest(costs: &mut [u16; 8], lengths: &[u16; 8], trigger: u16) -> u8 {
    // SAFETY: eight numbers that may be read.
    let lengths = unsafe { vld1q_u16(lengths.as_ptr()) };
    // SAFETY: as before.
    let before = unsafe { vld1q_u16(costs.as_ptr()) };
    let sums = vaddq_u16(before, lengths);
    let least = vminvq_u16(sums);
    let these = vmovn_u16(vceqq_u16(sums, vdupq_n_u16(least)));
    let first = vget_lane_u64::<0>(vreinterpret_u64_u8(these)).trailing_zeros() / 8;
    // Without a branch: nothing can foretell it.
    let halved = vshlq_u16(sums, vdupq_n_s16(-i16::from(least > trigger)));
    // SAFETY: eight numbers that may be written.
    unsafe { vst1q_u16(costs.as_mut_ptr(), halved) };
    (first & 7) as u8
}

#[inline]
#[target_feature(enable = "neon")]
fn replace(best: &mut Best, slots: [u8; 4], parameters: [u8; 4]) {
    const SPREAD: [[u8; 16]; 2] = [
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
        [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3],
    ];
    const PLACES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let (slots, parameters) = (four(slots), four(parameters));
    let mut places = bytes(&PLACES);
    for (half, spread) in best.as_chunks_mut::<16>().0.iter_mut().zip(&SPREAD) {
        let spread = bytes(spread);
        let these = vceqq_u8(vqtbl1q_u8(slots, spread), places);
        let after = vbslq_u8(these, vqtbl1q_u8(parameters, spread), bytes(half));
        // SAFETY: sixteen bytes that may be written; any alignment will do.
        unsafe { vst1q_u8(half.as_mut_ptr(), after) };
        places = vaddq_u8(places, vdupq_n_u8(16));
    }
}

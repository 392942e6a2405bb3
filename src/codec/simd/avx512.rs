//! AVX-512 with byte and word instructions and VBMI. What would gain nothing is done by AVX2.
//!
//! Vectors have 256 bits: longer ones gained nothing on Zen 4, which has units of 256 bits, and lost
//! on short stretches, as each access crosses a line of the cache.

use std::arch::x86_64::*;

use super::avx2::{Avx2, both, join, load, store};
use super::{COLORS, Kernel, LEAD, LOOK, Work};
use crate::codec::quic::{BLOCK, Best, Codes, Family, Made};

/// Proof that the processor has AVX-512 F, BW, DQ, VL and VBMI, and what [`Avx2`] proves: made by
/// [`Avx512::detect`] only.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(Avx2);

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi");
        Avx2::detect().filter(|_| all).map(Self)
    }

    /// Does `work` where the compiler may use these instructions.
    pub fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: `self` proves that the processor has them.
        unsafe { run(self, work) }
    }
}

#[target_feature(
    enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"
)]
fn run<W: Work>(kernel: Avx512, work: W) -> W::Output {
    work.with(kernel)
}

impl Kernel for Avx512 {
    #[inline(always)]
    fn slots(self, family: &Family, symbols: &[[u8; 4]], slots: &mut [[u8; 4]]) {
        self.0.slots(family, symbols, slots);
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
        // SAFETY: `self` proves that the processor has what it needs.
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
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { code(family, symbols, parameters, codes) }
    }

    #[inline(always)]
    fn mark_equal(self, pixels: &[[u8; 4]], words: &mut [u64]) {
        self.0.mark_equal(pixels, words);
    }

    #[inline(always)]
    fn settle(self, new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]) {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { settle(new, old, keep) }
    }

    #[inline(always)]
    fn equal_eight(self, a: &[[u8; 4]; 8], b: &[[u8; 4]; 8]) -> u32 {
        self.0.equal_eight(a, b)
    }

    #[inline(always)]
    fn equal_sixteen(self, a: &[[u8; 4]; 16], b: &[[u8; 4]; 16]) -> u32 {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { equal_sixteen(a, b) }
    }

    #[inline(always)]
    fn literals(self, pixels: &[[u8; 4]], count: usize, out: &mut Vec<u8>) {
        self.0.literals(pixels, count, out);
    }

    #[inline(always)]
    fn pack(self, pixels: &[[u8; 4]], count: usize, out: &mut [u8]) {
        self.0.pack(pixels, count, out);
    }

    #[inline(always)]
    fn hash_eight(self, pixels: &[[u8; 4]; 11], zeros: u32) -> ([u32; 8], u32) {
        self.0.hash_eight(pixels, zeros)
    }

    #[inline(always)]
    fn prefetch<T>(self, place: &T) {
        self.0.prefetch(place);
    }

    #[inline(always)]
    fn cheapest<const N: usize>(
        self,
        costs: &mut [u16; 8],
        lengths: &[u16; 8],
        trigger: u16,
    ) -> u8 {
        self.0.cheapest::<N>(costs, lengths, trigger)
    }

    #[inline(always)]
    fn replace(self, best: &mut Best, slots: [u8; 4], parameters: [u8; 4]) {
        self.0.replace(best, slots, parameters);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn equal_sixteen(a: &[[u8; 4]; 16], b: &[[u8; 4]; 16]) -> u32 {
    // SAFETY: sixty-four readable bytes; any alignment will do.
    let a = unsafe { _mm512_loadu_si512(a.as_ptr().cast()) };
    // SAFETY: as before.
    let b = unsafe { _mm512_loadu_si512(b.as_ptr().cast()) };
    let colors = _mm512_set1_epi32(COLORS.cast_signed());
    _mm512_testn_epi32_mask(_mm512_xor_si512(a, b), colors).into()
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512vl")]
fn settle(new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]) {
    let mut blocks =
        old[LEAD..].as_chunks_mut::<8>().0.iter_mut().zip(new[LEAD..].as_chunks::<8>().0);
    for word in keep {
        for keep in word.to_le_bytes() {
            let Some((old, new)) = blocks.next() else { return };
            store(old, _mm256_mask_mov_epi32(load(new), keep, load(old)));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vbmi")]
fn choose(
    best: &Best,
    context: [u8; 4],
    slots: &[[u8; 4]; LOOK],
    symbols: &[[u8; 4]; LOOK],
    count: usize,
    to: &mut [[u8; 4]; LOOK],
    parameters: &mut [[u8; 4]; LOOK],
) {
    // A slot is where its parameter stands in the table. Half vectors: most stretches are short, and
    // whole ones would always cross lines of the cache.
    // SAFETY: 32 bytes that may be read; any alignment will do.
    let table = unsafe { _mm256_loadu_si256(best.as_ptr().cast()) };
    let first = _mm256_castsi128_si256(_mm_cvtsi32_si128(i32::from_le_bytes(context)));
    let slots = slots.as_chunks().0.iter();
    let symbols = symbols.as_chunks().0.iter();
    let to = to.as_chunks_mut().0.iter_mut();
    let parameters = parameters.as_chunks_mut().0.iter_mut();
    let mut blocks = slots.zip(symbols).zip(to.zip(parameters));
    if let Some(((slots, symbols), (to, parameters))) = blocks.next() {
        store(to, load(symbols));
        let contexts = _mm256_blend_epi32::<1>(load(slots), first);
        store(parameters, _mm256_permutexvar_epi8(contexts, table));
    }
    if count <= 8 {
        return;
    }
    if let Some(((slots, symbols), (to, parameters))) = blocks.next() {
        store(to, load(symbols));
        store(parameters, _mm256_permutexvar_epi8(load(slots), table));
    }
    if count <= 16 {
        return;
    }
    // All of the rest: nothing could foretell how much of it is needed.
    for ((slots, symbols), (to, parameters)) in blocks {
        store(to, load(symbols));
        store(parameters, _mm256_permutexvar_epi8(load(slots), table));
    }
}

/// The codes of eight pixels' bytes, without the zeros before them, and their lengths.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn code_eight(family: &Family, n: __m256i, l: __m256i) -> (__m256i, __m256i) {
    let shuffles = &family.shuffles;
    let low_bytes = _mm256_set1_epi16(0xff);
    let low_nibbles = _mm256_set1_epi16(15);
    // No shift is by 16 or more: say it, else the compiler guards them.
    let even = _mm256_srlv_epi16(_mm256_and_si256(n, low_bytes), _mm256_and_si256(l, low_nibbles));
    let odd_l = _mm256_and_si256(_mm256_srli_epi16::<8>(l), low_nibbles);
    let odd = _mm256_srlv_epi16(_mm256_srli_epi16::<8>(n), odd_l);
    let quotient = _mm256_or_si256(even, _mm256_slli_epi16::<8>(odd));
    let m = _mm256_shuffle_epi8(both(&shuffles.mask), l);
    let above = _mm256_sub_epi8(m, _mm256_set1_epi8(-1));
    // n & m | above.
    let plain_code = _mm256_ternarylogic_epi32::<0b1111_1000>(above, n, m);
    let plain_length = _mm256_add_epi8(quotient, _mm256_shuffle_epi8(both(&shuffles.plain), l));
    let limit = _mm256_shuffle_epi8(both(&shuffles.first), l);
    let escaped = _mm256_cmpge_epu8_mask(n, limit);
    let code = _mm256_mask_sub_epi8(plain_code, escaped, n, limit);
    let length = _mm256_mask_shuffle_epi8(plain_length, escaped, both(&shuffles.escape), l);
    (code, length)
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
fn code(
    family: &Family,
    symbols: &[[u8; 4]; BLOCK],
    parameters: &[[u8; 4]; BLOCK],
    codes: &mut Codes,
) -> Made {
    let ([n, n_high], [l, l_high]) = (symbols.as_chunks().0, parameters.as_chunks().0) else {
        return Made::Nothing;
    };
    let low = code_eight(family, load(n), load(l));
    let high = code_eight(family, load(n_high), load(l_high));
    join(low, high, codes)
}

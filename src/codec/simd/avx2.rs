//! AVX2, and the bit manipulation of the same processors.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{COLORS, FACTORS, Kernel, LEAD, LOOK, RUN, Work, append};
use crate::codec::quic::{BLOCK, Best, Codes, Family, Made};

/// Proof that the processor has AVX2, BMI 1 and 2, LZCNT and POPCNT: made by [`Avx2::detect`] only.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        all.then_some(Self(()))
    }

    /// Does `work` where the compiler may use these instructions.
    pub fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: `self` proves that the processor has them.
        unsafe { run(self, work) }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run<W: Work>(kernel: Avx2, work: W) -> W::Output {
    work.with(kernel)
}

impl Kernel for Avx2 {
    #[inline(always)]
    fn slots(self, family: &Family, symbols: &[[u8; 4]], slots: &mut [[u8; 4]]) {
        // SAFETY: `self` proves that the processor has what it needs.
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
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { mark_equal(pixels, words) }
    }

    #[inline(always)]
    fn settle(self, new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]) {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { settle(new, old, keep) }
    }

    #[inline(always)]
    fn equal_eight(self, a: &[[u8; 4]; 8], b: &[[u8; 4]; 8]) -> u32 {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { equal_eight(a, b) }
    }

    #[inline(always)]
    fn equal_sixteen(self, a: &[[u8; 4]; 16], b: &[[u8; 4]; 16]) -> u32 {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { equal_sixteen(a, b) }
    }

    #[inline(always)]
    fn pack(self, pixels: &[[u8; 4]], count: usize, out: &mut [u8]) {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { pack(pixels, count, out) }
    }

    #[inline(always)]
    fn literals(self, pixels: &[[u8; 4]], count: usize, out: &mut Vec<u8>) {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { literals(pixels, count, out) }
    }

    #[inline(always)]
    fn hash_eight(self, pixels: &[[u8; 4]; 11], zeros: u32) -> ([u32; 8], u32) {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { hash_eight(pixels, zeros) }
    }

    #[inline(always)]
    fn prefetch<T>(self, place: &T) {
        // SAFETY: fetching ahead has no effect that a program can see, and the place exists.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }

    #[inline(always)]
    fn cheapest<const N: usize>(
        self,
        costs: &mut [u16; 8],
        lengths: &[u16; 8],
        trigger: u16,
    ) -> u8 {
        if N < 8 {
            return super::Scalar.cheapest::<N>(costs, lengths, trigger);
        }
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { cheapest(costs, lengths, trigger) }
    }

    #[inline(always)]
    fn replace(self, best: &mut Best, slots: [u8; 4], parameters: [u8; 4]) {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { replace(best, slots, parameters) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(pixels: &[[u8; 4]; 8]) -> __m256i {
    // SAFETY: eight times four bytes that may be read; any alignment will do.
    unsafe { _mm256_loadu_si256(pixels.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(pixels: &mut [[u8; 4]; 8], vector: __m256i) {
    // SAFETY: eight times four bytes that may be written; any alignment will do.
    unsafe { _mm256_storeu_si256(pixels.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_quad(words: &mut [u64; 4], vector: __m256i) {
    // SAFETY: four times eight bytes that may be written; any alignment will do.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), vector) }
}

/// Sixteen bytes, in both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn both(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: sixteen bytes that may be read; any alignment will do.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn slots_of(family: &Family, symbols: &[[u8; 4]], slots: &mut [[u8; 4]]) {
    let (log_low, log_high) = (both(&family.shuffles.log_low), both(&family.shuffles.log_high));
    let (one, nibble) = (_mm256_set1_epi8(1), _mm256_set1_epi8(15));
    let channels = _mm256_set1_epi32(0x1810_0800);
    let blocks = symbols.as_chunks::<8>().0.iter().zip(slots.as_chunks_mut::<8>().0);
    for (symbols, slots) in blocks {
        // Bucket: logarithm of the symbol plus one.
        let n = _mm256_adds_epu8(load(symbols), one);
        let log = _mm256_max_epu8(
            _mm256_shuffle_epi8(log_low, _mm256_and_si256(n, nibble)),
            _mm256_shuffle_epi8(log_high, _mm256_and_si256(_mm256_srli_epi16::<4>(n), nibble)),
        );
        store(slots, _mm256_or_si256(log, channels));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(
    best: &Best,
    context: [u8; 4],
    slots: &[[u8; 4]; LOOK],
    symbols: &[[u8; 4]; LOOK],
    count: usize,
    to: &mut [[u8; 4]; LOOK],
    parameters: &mut [[u8; 4]; LOOK],
) {
    // Parameters of B and G, then of R and of what is no channel.
    let low = both(best.first_chunk().unwrap_or(&[0; 16]));
    let high = both(best.last_chunk().unwrap_or(&[0; 16]));
    let first = _mm256_castsi128_si256(_mm_cvtsi32_si128(i32::from_le_bytes(context)));
    // Every second half is of the one kind.
    let look = |slots| {
        let (low, high) = (_mm256_shuffle_epi8(low, slots), _mm256_shuffle_epi8(high, slots));
        _mm256_blend_epi16::<0b1010_1010>(low, high)
    };
    let slots = slots.as_chunks::<8>().0.iter();
    let symbols = symbols.as_chunks::<8>().0.iter();
    let to = to.as_chunks_mut::<8>().0.iter_mut();
    let parameters = parameters.as_chunks_mut::<8>().0.iter_mut();
    let mut blocks = slots.zip(symbols).zip(to.zip(parameters));
    if let Some(((slots, symbols), (to, parameters))) = blocks.next() {
        store(to, load(symbols));
        store(parameters, look(_mm256_blend_epi32::<1>(load(slots), first)));
    }
    if let Some(((slots, symbols), (to, parameters))) = blocks.next() {
        store(to, load(symbols));
        store(parameters, look(load(slots)));
    }
    if count <= 16 {
        return;
    }
    // All of the rest: nothing could foretell how much of it is needed.
    for ((slots, symbols), (to, parameters)) in blocks {
        store(to, load(symbols));
        store(parameters, look(load(slots)));
    }
}

/// What makes codes.
struct Tables {
    scale: __m256i,
    mask: __m256i,
    plain: __m256i,
    first: __m256i,
    escape: __m256i,
}

#[inline]
#[target_feature(enable = "avx2")]
fn tables(family: &Family) -> Tables {
    let shuffles = &family.shuffles;
    Tables {
        scale: both(&shuffles.scale),
        mask: both(&shuffles.mask),
        plain: both(&shuffles.plain),
        first: both(&shuffles.first),
        escape: both(&shuffles.escape),
    }
}

/// The codes of eight pixels' bytes, without the zeros before them, and their lengths.
#[inline]
#[target_feature(enable = "avx2")]
fn code_eight(tables: &Tables, n: __m256i, l: __m256i) -> (__m256i, __m256i) {
    let low_bytes = _mm256_set1_epi16(0xff);
    // n >> l, by multiplication with 1 << (7 - l).
    let s = _mm256_shuffle_epi8(tables.scale, l);
    let even = _mm256_mullo_epi16(_mm256_and_si256(n, low_bytes), _mm256_and_si256(s, low_bytes));
    let odd = _mm256_mullo_epi16(_mm256_srli_epi16::<8>(n), _mm256_srli_epi16::<8>(s));
    let quotient = _mm256_or_si256(
        _mm256_srli_epi16::<7>(even),
        _mm256_andnot_si256(low_bytes, _mm256_slli_epi16::<1>(odd)),
    );
    let m = _mm256_shuffle_epi8(tables.mask, l);
    let above = _mm256_sub_epi8(m, _mm256_set1_epi8(-1));
    let plain_code = _mm256_or_si256(_mm256_and_si256(n, m), above);
    let plain_length = _mm256_add_epi8(quotient, _mm256_shuffle_epi8(tables.plain, l));
    let limit = _mm256_shuffle_epi8(tables.first, l);
    let escaped = _mm256_cmpeq_epi8(_mm256_max_epu8(n, limit), n);
    let code = _mm256_blendv_epi8(plain_code, _mm256_sub_epi8(n, limit), escaped);
    let length = _mm256_blendv_epi8(plain_length, _mm256_shuffle_epi8(tables.escape, l), escaped);
    (code, length)
}

/// The codes of pixels of which none has more than 32 bits, and their lengths; the lengths of others
/// are right.
#[inline]
#[target_feature(enable = "avx2")]
fn join_three(code: __m256i, length: __m256i) -> (__m256i, __m256i) {
    let low_byte = _mm256_set1_epi32(0xff);
    // R first, which is the highest one.
    let length_b = _mm256_and_si256(length, low_byte);
    let length_g = _mm256_and_si256(_mm256_srli_epi32::<8>(length), low_byte);
    let length_gb = _mm256_add_epi32(length_g, length_b);
    let total = _mm256_add_epi32(length_gb, _mm256_srli_epi32::<16>(length));
    let b = _mm256_and_si256(code, low_byte);
    let g = _mm256_and_si256(_mm256_srli_epi32::<8>(code), low_byte);
    let r = _mm256_srli_epi32::<16>(code);
    let r = _mm256_sllv_epi32(r, length_gb);
    (_mm256_or_si256(_mm256_or_si256(r, _mm256_sllv_epi32(g, length_b)), b), total)
}

/// Pairs of pixels, their highest bit at the top.
#[inline]
#[target_feature(enable = "avx2")]
fn join_pairs(joined: __m256i, total: __m256i) -> (__m256i, __m256i) {
    let low_half = _mm256_set1_epi64x(0xffff_ffff);
    // Both shifts are below 64, and the second one is 0 for no bits: say it, else the compiler
    // guards them.
    let below = _mm256_set1_epi64x(63);
    let odd_length = _mm256_and_si256(_mm256_srli_epi64::<32>(total), below);
    let value = _mm256_or_si256(
        _mm256_sllv_epi64(_mm256_and_si256(joined, low_half), odd_length),
        _mm256_srli_epi64::<32>(joined),
    );
    let lengths = _mm256_add_epi64(_mm256_and_si256(total, low_half), odd_length);
    let up = _mm256_sub_epi64(_mm256_setzero_si256(), lengths);
    (_mm256_sllv_epi64(value, _mm256_and_si256(up, below)), lengths)
}

/// Four pixels of up to 64 bits, their highest bit at the top.
#[inline]
#[target_feature(enable = "avx2")]
fn join_wide(code: __m128i, length: __m128i) -> (__m256i, __m256i) {
    let low_byte = _mm256_set1_epi64x(0xff);
    let below = _mm256_set1_epi64x(63);
    let (code, length) = (_mm256_cvtepu32_epi64(code), _mm256_cvtepu32_epi64(length));
    let length_b = _mm256_and_si256(length, low_byte);
    let length_g = _mm256_and_si256(_mm256_srli_epi64::<8>(length), low_byte);
    let length_gb = _mm256_add_epi64(length_g, length_b);
    let total = _mm256_add_epi64(length_gb, _mm256_srli_epi64::<16>(length));
    let b = _mm256_and_si256(code, low_byte);
    let g = _mm256_and_si256(_mm256_srli_epi64::<8>(code), low_byte);
    let r = _mm256_srli_epi64::<16>(code);
    let r = _mm256_sllv_epi64(r, _mm256_and_si256(length_gb, below));
    let g = _mm256_sllv_epi64(g, _mm256_and_si256(length_b, below));
    let joined = _mm256_or_si256(_mm256_or_si256(r, g), b);
    let up = _mm256_sub_epi64(_mm256_setzero_si256(), total);
    (_mm256_sllv_epi64(joined, _mm256_and_si256(up, below)), total)
}

#[inline]
#[target_feature(enable = "avx2")]
fn code(
    family: &Family,
    symbols: &[[u8; 4]; BLOCK],
    parameters: &[[u8; 4]; BLOCK],
    codes: &mut Codes,
) -> Made {
    let tables = tables(family);
    let ([n, n_high], [l, l_high]) = (symbols.as_chunks().0, parameters.as_chunks().0) else {
        return Made::Nothing;
    };
    let low = code_eight(&tables, load(n), load(l));
    let high = code_eight(&tables, load(n_high), load(l_high));
    join(low, high, codes)
}

/// Codes of pixels, from those of their bytes and the lengths of these: eight, and eight more.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn join(
    (code, length): (__m256i, __m256i),
    (code_high, length_high): (__m256i, __m256i),
    codes: &mut Codes,
) -> Made {
    let tops = codes.tops.as_chunks_mut::<4>().0;
    let lengths = codes.lengths.as_chunks_mut::<4>().0;
    let ([tops_a, tops_b, tops_c, tops_d], [lengths_a, lengths_b, lengths_c, lengths_d]) =
        (tops, lengths)
    else {
        return Made::Nothing;
    };
    let (joined, total) = join_three(code, length);
    let (joined_high, total_high) = join_three(code_high, length_high);
    let most = _mm256_max_epi32(total, total_high);
    let long = _mm256_cmpgt_epi32(most, _mm256_set1_epi32(32));
    if _mm256_testz_si256(long, long) != 0 {
        for (to, to_lengths, joined, total) in
            [(tops_a, lengths_a, joined, total), (tops_b, lengths_b, joined_high, total_high)]
        {
            let (top, length) = join_pairs(joined, total);
            store_quad(to, top);
            store_quad(to_lengths, length);
        }
        return Made::Pairs;
    }
    let too_long = _mm256_cmpgt_epi32(most, _mm256_set1_epi32(64));
    if _mm256_testz_si256(too_long, too_long) == 0 {
        return Made::Nothing;
    }
    let low = |v| _mm256_castsi256_si128(v);
    let high = |v| _mm256_extracti128_si256::<1>(v);
    for (to, to_lengths, code, length) in [
        (tops_a, lengths_a, low(code), low(length)),
        (tops_b, lengths_b, high(code), high(length)),
        (tops_c, lengths_c, low(code_high), low(length_high)),
        (tops_d, lengths_d, high(code_high), high(length_high)),
    ] {
        let (top, length) = join_wide(code, length);
        store_quad(to, top);
        store_quad(to_lengths, length);
    }
    Made::Singles
}

#[inline]
#[target_feature(enable = "avx2")]
fn mark_equal(pixels: &[[u8; 4]], words: &mut [u64]) {
    let blocks =
        pixels[LEAD..].as_chunks::<8>().0.iter().zip(pixels[LEAD - 1..].as_chunks::<8>().0);
    let mut blocks = blocks;
    for word in words {
        let mut bits = [0; 8];
        for byte in &mut bits {
            let Some((block, behind)) = blocks.next() else { return };
            let equal = _mm256_cmpeq_epi32(load(block), load(behind));
            let equal = _mm256_movemask_ps(_mm256_castsi256_ps(equal)).cast_unsigned();
            *byte = (equal & 0xff) as u8;
        }
        *word = u64::from_le_bytes(bits);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn settle(new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]) {
    let bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    let mut blocks =
        old[LEAD..].as_chunks_mut::<8>().0.iter_mut().zip(new[LEAD..].as_chunks::<8>().0);
    for word in keep {
        for byte in word.to_le_bytes() {
            let Some((old, new)) = blocks.next() else { return };
            if byte == 0xff {
                continue;
            }
            let bits = _mm256_and_si256(_mm256_set1_epi32(byte.into()), bit);
            let keep = _mm256_cmpeq_epi32(bits, bit);
            store(old, _mm256_blendv_epi8(load(new), load(old), keep));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn cheapest(costs: &mut [u16; 8], lengths: &[u16; 8], trigger: u16) -> u8 {
    // SAFETY: sixteen bytes that may be read; any alignment will do.
    let lengths = unsafe { _mm_loadu_si128(lengths.as_ptr().cast()) };
    // SAFETY: as before.
    let before = unsafe { _mm_loadu_si128(costs.as_ptr().cast()) };
    let sums = _mm_add_epi16(before, lengths);
    // The least in the low half, where it stands first in the next three bits.
    let least = _mm_cvtsi128_si32(_mm_minpos_epu16(sums)).cast_unsigned();
    // Without a branch: nothing can foretell it.
    let halve = _mm_cvtsi32_si128((least & 0xffff > trigger.into()).into());
    let halved = _mm_srl_epi16(sums, halve);
    // SAFETY: sixteen bytes that may be written; any alignment will do.
    unsafe { _mm_storeu_si128(costs.as_mut_ptr().cast(), halved) };
    (least >> 16 & 7) as u8
}

#[inline]
#[target_feature(enable = "avx2")]
fn replace(best: &mut Best, slots: [u8; 4], parameters: [u8; 4]) {
    let Some(best) = best.as_chunks_mut::<4>().0.first_chunk_mut::<8>() else { return };
    // Eight times each byte of four.
    let spread =
        _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let all = |bytes| _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(bytes)), spread);
    let places = _mm256_setr_epi64x(
        0x0706_0504_0302_0100,
        0x0f0e_0d0c_0b0a_0908,
        0x1716_1514_1312_1110,
        0x1f1e_1d1c_1b1a_1918,
    );
    let these = _mm256_cmpeq_epi8(all(slots), places);
    store(best, _mm256_blendv_epi8(load(best), all(parameters), these));
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal_sixteen(a: &[[u8; 4]; 16], b: &[[u8; 4]; 16]) -> u32 {
    let ([a_low, a_high], [b_low, b_high]) = (halves(a), halves(b));
    equal_eight(a_low, b_low) | equal_eight(a_high, b_high) << 8
}

#[inline]
fn halves(pixels: &[[u8; 4]; 16]) -> [&[[u8; 4]; 8]; 2] {
    match pixels.as_chunks().0 {
        [low, high] => [low, high],
        _ => unreachable!("sixteen are twice eight"),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal_eight(a: &[[u8; 4]; 8], b: &[[u8; 4]; 8]) -> u32 {
    let colors = _mm256_set1_epi32(COLORS.cast_signed());
    let differ = _mm256_and_si256(_mm256_xor_si256(load(a), load(b)), colors);
    let equal = _mm256_cmpeq_epi32(differ, _mm256_setzero_si256());
    _mm256_movemask_ps(_mm256_castsi256_ps(equal)).cast_unsigned()
}

/// The first three bytes of each of eight pixels, and eight bytes of any content.
#[inline]
#[target_feature(enable = "avx2")]
fn squeezed(pixels: &[[u8; 4]; 8]) -> __m256i {
    let squeeze = _mm256_setr_epi8(
        0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13,
        14, -1, -1, -1, -1,
    );
    let join = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
    _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(load(pixels), squeeze), join)
}

#[inline]
#[target_feature(enable = "avx2")]
fn pack(pixels: &[[u8; 4]], count: usize, out: &mut [u8]) {
    let mut at = 0;
    while at < count {
        let Some(block) = pixels[at..].first_chunk() else { break };
        let Some(to) = out.get_mut(at * 3..).and_then(|out| out.first_chunk_mut()) else { return };
        store(as_pixels(to), squeezed(block));
        at += 8;
    }
    if at < count
        && let Some(out) = out.get_mut(at * 3..)
    {
        super::Scalar.pack(&pixels[at..], count - at, out);
    }
}

/// Bytes of a whole run of literals.
const WHOLE: usize = 1 + RUN * 3;
/// So many bytes are written behind a run.
const BEHIND: usize = 8;

/// Appends a run of literals. The pixels behind it are read, too, up to eight times four.
#[inline]
#[target_feature(enable = "avx2")]
fn run_of_literals(pixels: &[[u8; 4]; RUN], count: usize, room: &mut [MaybeUninit<u8>]) {
    let Some(room) = room.first_chunk_mut::<{ WHOLE + BEHIND }>() else {
        unreachable!("the caller made room")
    };
    room[0].write((count - 1).to_le_bytes()[0]);
    let blocks = pixels.as_chunks::<8>().0;
    for (at, block) in blocks.iter().enumerate().take(count.div_ceil(8)) {
        let to: *mut MaybeUninit<u8> = &raw mut room[1 + at * 24];
        let three = squeezed(block);
        // SAFETY: four blocks at most, so that 32 bytes from here on lie in the array.
        unsafe { _mm256_storeu_si256(to.cast(), three) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn literals(pixels: &[[u8; 4]], count: usize, out: &mut Vec<u8>) {
    let size = count * 3 + count.div_ceil(RUN);
    let room = append::room(out, size + WHOLE + BEHIND);
    let mut at = 0;
    while at < count {
        let run = (count - at).min(RUN);
        let room = &mut room[at / RUN * WHOLE..];
        if let Some(pixels) = pixels[at..].first_chunk() {
            run_of_literals(pixels, run, room);
        } else {
            // The last ones of a picture.
            let mut last = [[0; 4]; RUN];
            last[..run].copy_from_slice(&pixels[at..at + run]);
            run_of_literals(&last, run, room);
        }
        at += RUN;
    }
    let end = out.len() + size;
    // SAFETY: all runs were written, one behind the other.
    unsafe { out.set_len(end) }
}

#[inline]
fn as_pixels(bytes: &mut [u8; 32]) -> &mut [[u8; 4]; 8] {
    match bytes.as_chunks_mut::<4>().0.first_chunk_mut() {
        Some(pixels) => pixels,
        None => unreachable!("32 bytes are eight times four"),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn hash_eight(pixels: &[[u8; 4]; 11], zeros: u32) -> ([u32; 8], u32) {
    let colors = _mm256_set1_epi32(COLORS.cast_signed());
    let mut sum = _mm256_setzero_si256();
    for (at, factor) in FACTORS.iter().enumerate() {
        let Some(eight) = pixels[at..].first_chunk::<8>() else { break };
        let factor = _mm256_set1_epi32(factor.cast_signed());
        let product = _mm256_mullo_epi32(_mm256_and_si256(load(eight), colors), factor);
        sum = _mm256_add_epi32(sum, product);
    }
    let sum = _mm256_xor_si256(sum, _mm256_srli_epi32::<15>(sum));
    let low = _mm256_and_si256(sum, _mm256_set1_epi32(zeros.cast_signed()));
    let anchors = _mm256_cmpeq_epi32(low, _mm256_setzero_si256());
    let mut hashes = [[0; 4]; 8];
    store(&mut hashes, sum);
    let anchors = _mm256_movemask_ps(_mm256_castsi256_ps(anchors)).cast_unsigned();
    (hashes.map(u32::from_le_bytes), anchors)
}

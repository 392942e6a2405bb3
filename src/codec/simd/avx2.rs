//! AVX2, and the bit manipulation of the same processors.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{COLORS, FACTORS, Kernel, LEAD, RUN, Work, append};
use crate::codec::quic::{Entries, Family};

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
    fn code(
        self,
        family: &Family,
        parameters: &[u8; 32],
        context: [u8; 4],
        symbols: &[[u8; 4]],
        count: usize,
        entries: &mut Entries,
    ) {
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { code(family, parameters, context, symbols, count, entries) }
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
    fn cheapest<const N: usize>(self, costs: &mut [u16; 8], lengths: &[u16; 8]) -> (u16, u8) {
        if N < 8 {
            return super::Scalar.cheapest::<N>(costs, lengths);
        }
        // SAFETY: `self` proves that the processor has what it needs.
        unsafe { cheapest(costs, lengths) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(pixels: &[[u8; 4]; 8]) -> __m256i {
    // SAFETY: eight times four bytes that may be read; any alignment will do.
    unsafe { _mm256_loadu_si256(pixels.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(pixels: &mut [[u8; 4]; 8], vector: __m256i) {
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
fn both(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: sixteen bytes that may be read; any alignment will do.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn code(
    family: &Family,
    parameters: &[u8; 32],
    context: [u8; 4],
    symbols: &[[u8; 4]],
    count: usize,
    entries: &mut Entries,
) {
    let (best_low, best_high) = parameters.split_at(16);
    // Parameters of B and G, then of R and of what is no channel.
    let best_low = both(best_low.first_chunk().unwrap_or(&[0; 16]));
    let best_high = both(best_high.first_chunk().unwrap_or(&[0; 16]));
    let (log_low, log_high) = (both(&family.shuffles.log_low), both(&family.shuffles.log_high));
    let (scale, mask) = (both(&family.shuffles.scale), both(&family.shuffles.mask));
    let (plain, first_escape) = (both(&family.shuffles.plain), both(&family.shuffles.first));
    let escape = both(&family.shuffles.escape);
    let ones = _mm256_set1_epi8(-1);
    let nibble = _mm256_set1_epi8(15);
    let low_bytes = _mm256_set1_epi16(0xff);
    let low_byte = _mm256_set1_epi32(0xff);
    let low_half = _mm256_set1_epi64x(0xffff_ffff);
    // A byte with its highest bit set selects nothing.
    let pick_low = _mm256_set1_epi32(0x8080_0800u32.cast_signed());
    let pick_high = _mm256_set1_epi32(0x0800_8080);
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

    let mut at = 0;
    let mut contexts = {
        let first = _mm256_castsi128_si256(_mm_cvtsi32_si128(i32::from_le_bytes(context)));
        let Some(before) = symbols.first_chunk::<8>() else { return };
        _mm256_blend_epi32::<1>(load(before), first)
    };
    while let Some(block) = symbols[at + 1..].first_chunk::<8>() {
        let n = load(block);
        // Bucket: logarithm of the context plus one.
        let c = _mm256_adds_epu8(contexts, _mm256_set1_epi8(1));
        let log = _mm256_max_epu8(
            _mm256_shuffle_epi8(log_low, _mm256_and_si256(c, nibble)),
            _mm256_shuffle_epi8(log_high, _mm256_and_si256(_mm256_srli_epi16::<4>(c), nibble)),
        );
        let l = _mm256_or_si256(
            _mm256_shuffle_epi8(best_low, _mm256_or_si256(log, pick_low)),
            _mm256_shuffle_epi8(best_high, _mm256_or_si256(log, pick_high)),
        );
        // n >> l, by multiplication with 1 << (7 - l).
        let s = _mm256_shuffle_epi8(scale, l);
        let even =
            _mm256_mullo_epi16(_mm256_and_si256(n, low_bytes), _mm256_and_si256(s, low_bytes));
        let odd = _mm256_mullo_epi16(_mm256_srli_epi16::<8>(n), _mm256_srli_epi16::<8>(s));
        let quotient = _mm256_or_si256(
            _mm256_srli_epi16::<7>(even),
            _mm256_andnot_si256(low_bytes, _mm256_slli_epi16::<1>(odd)),
        );
        let m = _mm256_shuffle_epi8(mask, l);
        let plain_code = _mm256_or_si256(_mm256_and_si256(n, m), _mm256_sub_epi8(m, ones));
        let plain_length = _mm256_add_epi8(quotient, _mm256_shuffle_epi8(plain, l));
        let limit = _mm256_shuffle_epi8(first_escape, l);
        let escaped = _mm256_cmpeq_epi8(_mm256_max_epu8(n, limit), n);
        let code = _mm256_blendv_epi8(plain_code, _mm256_sub_epi8(n, limit), escaped);
        let length = _mm256_blendv_epi8(plain_length, _mm256_shuffle_epi8(escape, l), escaped);

        // The three of a pixel: R first, which is the highest one.
        let length_b = _mm256_and_si256(length, low_byte);
        let length_g = _mm256_and_si256(_mm256_srli_epi32::<8>(length), low_byte);
        let length_gb = _mm256_add_epi32(length_g, length_b);
        let total = _mm256_add_epi32(length_gb, _mm256_srli_epi32::<16>(length));
        let b = _mm256_and_si256(code, low_byte);
        let g = _mm256_and_si256(_mm256_srli_epi32::<8>(code), low_byte);
        let r = _mm256_srli_epi32::<16>(code);
        let joined = _mm256_or_si256(
            _mm256_or_si256(_mm256_sllv_epi32(r, length_gb), _mm256_sllv_epi32(g, length_b)),
            b,
        );
        let left = count - at;
        let valid =
            _mm256_cmpgt_epi32(_mm256_set1_epi32(i32::try_from(left).unwrap_or(i32::MAX)), lanes);
        let (joined, total) = (_mm256_and_si256(joined, valid), _mm256_and_si256(total, valid));
        let long = _mm256_cmpgt_epi32(total, _mm256_set1_epi32(32));
        if _mm256_testz_si256(long, long) != 0 {
            // Pairs of pixels, their highest bit at the top.
            // Both shifts are below 64, and the second one is 0 for no bits: say it, else the
            // compiler guards them.
            let below = _mm256_set1_epi64x(63);
            let odd_length = _mm256_and_si256(_mm256_srli_epi64::<32>(total), below);
            let value = _mm256_or_si256(
                _mm256_sllv_epi64(_mm256_and_si256(joined, low_half), odd_length),
                _mm256_srli_epi64::<32>(joined),
            );
            let lengths = _mm256_add_epi64(_mm256_and_si256(total, low_half), odd_length);
            let up = _mm256_sub_epi64(_mm256_setzero_si256(), lengths);
            let top = _mm256_sllv_epi64(value, _mm256_and_si256(up, below));
            let (to, to_lengths) = entries.next_four();
            store_quad(to, top);
            store_quad(to_lengths, lengths);
            entries.advance(left.min(8).div_ceil(2));
        } else {
            let (mut codes, mut lengths) = ([[0; 4]; 8], [[0; 4]; 8]);
            store(&mut codes, code);
            store(&mut lengths, length);
            for (codes, lengths) in codes.iter().zip(&lengths).take(left) {
                entries.three(codes.map(u64::from), lengths.map(u32::from));
            }
        }
        if left <= 8 {
            return;
        }
        let Some(before) = symbols[at + 8..].first_chunk::<8>() else { return };
        contexts = load(before);
        at += 8;
    }
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
fn cheapest(costs: &mut [u16; 8], lengths: &[u16; 8]) -> (u16, u8) {
    // SAFETY: sixteen bytes that may be read; any alignment will do.
    let lengths = unsafe { _mm_loadu_si128(lengths.as_ptr().cast()) };
    // SAFETY: as before.
    let before = unsafe { _mm_loadu_si128(costs.as_ptr().cast()) };
    let sums = _mm_add_epi16(before, lengths);
    // SAFETY: sixteen bytes that may be written; any alignment will do.
    unsafe { _mm_storeu_si128(costs.as_mut_ptr().cast(), sums) };
    // The least in the low half, where it stands first in the next three bits.
    let least = _mm_cvtsi128_si32(_mm_minpos_epu16(sums)).cast_unsigned();
    ((least & 0xffff) as u16, (least >> 16 & 7) as u8)
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

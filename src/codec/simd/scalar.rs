//! Plain loops.

use super::{COLORS, Kernel, LEAD, LOOK, hash_four};
use crate::codec::quic::{BLOCK, Best, Codes, Family, Made};

/// No instructions but the architecture's common ones.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

impl Kernel for Scalar {
    #[inline(always)]
    fn slots(self, family: &Family, symbols: &[[u8; 4]], slots: &mut [[u8; 4]]) {
        // Comparisons, which the compiler can make many of at once.
        let last = family.buckets[255];
        for (to, n) in slots.as_flattened_mut().iter_mut().zip(symbols.as_flattened()) {
            let mut bucket = 0;
            for below in [0, 2, 6, 14, 30, 62, 126] {
                bucket += u8::from(*n > below);
            }
            *to = bucket.min(last);
        }
        for slots in slots {
            *slots = (u32::from_le_bytes(*slots) | 0x1810_0800).to_le_bytes();
        }
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
        let look = |slots: [u8; 4]| slots.map(|slot| best[usize::from(slot & 31)]);
        let pairs = symbols.iter().zip(slots).zip(to.iter_mut().zip(parameters.iter_mut()));
        for ((symbol, slots), (to, parameter)) in pairs.take(count) {
            *to = *symbol;
            *parameter = look(*slots);
        }
        parameters[0] = look(context);
    }

    #[inline(always)]
    fn code(
        self,
        family: &Family,
        symbols: &[[u8; 4]; BLOCK],
        parameters: &[[u8; 4]; BLOCK],
        codes: &mut Codes,
    ) -> Made {
        let mut most = 0;
        for (at, (symbol, parameter)) in symbols.iter().zip(parameters).enumerate() {
            let code = |channel: usize| family.code(parameter[channel], symbol[channel]);
            let ((b, b_length), (g, g_length), (r, r_length)) = (code(0), code(1), code(2));
            // R comes first. No code has more than 26 bits.
            let (low, length) = (g << b_length | b, g_length + b_length);
            let code = r << length | low;
            let length = r_length + length;
            most = most.max(length);
            codes.tops[at] = code << (length.wrapping_neg() & 63);
            codes.lengths[at] = length;
        }
        if most <= 64 { Made::Singles } else { Made::Nothing }
    }

    #[inline(always)]
    fn mark_equal(self, pixels: &[[u8; 4]], words: &mut [u64]) {
        let (behind, pixels) = (&pixels[LEAD - 1..], &pixels[LEAD..]);
        let blocks = pixels.as_chunks::<64>().0.iter().zip(behind.as_chunks::<64>().0);
        for (word, (block, behind)) in words.iter_mut().zip(blocks) {
            let mut flags = [0u8; 64];
            for (flag, (pixel, left)) in flags.iter_mut().zip(block.iter().zip(behind)) {
                *flag = u8::from(pixel == left);
            }
            *word = 0;
            for (at, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
                // Eight bytes of 0 or 1 become eight bits: each one is moved to the highest byte.
                let packed = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
                *word |= packed << (at * 8);
            }
        }
    }

    #[inline(always)]
    fn settle(self, new: &[[u8; 4]], old: &mut [[u8; 4]], keep: &[u64]) {
        let blocks = old[LEAD..].as_chunks_mut::<64>().0.iter_mut();
        let blocks = blocks.zip(new[LEAD..].as_chunks::<64>().0);
        for (word, (old, new)) in keep.iter().zip(blocks) {
            for (at, (old, new)) in old.iter_mut().zip(new).enumerate() {
                *old = if word >> at & 1 == 0 { *new } else { *old };
            }
        }
    }

    #[inline(always)]
    fn equal_eight(self, a: &[[u8; 4]; 8], b: &[[u8; 4]; 8]) -> u32 {
        let mut equal = 0;
        for (at, (a, b)) in a.iter().zip(b).enumerate() {
            let differ = (u32::from_le_bytes(*a) ^ u32::from_le_bytes(*b)) & COLORS;
            equal |= u32::from(differ == 0) << at;
        }
        equal
    }

    #[inline(always)]
    fn pack(self, pixels: &[[u8; 4]], count: usize, out: &mut [u8]) {
        for (to, [b, g, r, _]) in out.as_chunks_mut().0.iter_mut().zip(&pixels[..count]) {
            *to = [*b, *g, *r];
        }
    }

    #[inline(always)]
    fn hash_eight(self, pixels: &[[u8; 4]; 11], zeros: u32) -> ([u32; 8], u32) {
        let fours = pixels.array_windows().map(hash_four);
        let mut hashes = [0; 8];
        hashes.iter_mut().zip(fours).for_each(|(to, hash)| *to = hash);
        let anchors = (0..).zip(hashes).map(|(at, hash)| u32::from(hash & zeros == 0) << at);
        (hashes, anchors.sum())
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
        let mut least = u32::MAX;
        for (at, (cost, length)) in (0..).zip(costs.iter_mut().zip(lengths)).take(N) {
            *cost = cost.wrapping_add(*length);
            least = least.min(u32::from(*cost) << 3 | at);
        }
        let halve = u32::from(least >> 3 > trigger.into());
        for cost in costs {
            *cost >>= halve;
        }
        (least & 7) as u8
    }
}

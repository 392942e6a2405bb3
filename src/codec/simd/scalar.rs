//! Plain loops.

use super::{COLORS, Kernel, LEAD, hash_four};
use crate::codec::quic::{Entries, Family};

/// No instructions but the architecture's common ones.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

impl Kernel for Scalar {
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
        let mut context = context;
        for symbol in &symbols[1..=count] {
            entries.pixel(family, parameters, context, *symbol);
            context = *symbol;
        }
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
    fn cheapest<const N: usize>(self, costs: &mut [u16; 8], lengths: &[u16; 8]) -> (u16, u8) {
        let mut least = u32::MAX;
        for (at, (cost, length)) in (0..).zip(costs.iter_mut().zip(lengths)).take(N) {
            *cost = cost.wrapping_add(*length);
            least = least.min(u32::from(*cost) << 3 | at);
        }
        ((least >> 3 & 0xffff) as u16, (least & 7) as u8)
    }
}

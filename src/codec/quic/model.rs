//! What both ends keep while a plane is coded: statistics, the pace of their updates, run lengths.

use super::entries::Entries;
use super::family::{Family, NO_CHANNEL, family};
use crate::codec::simd::Kernel;

/// Statistics of the channels of a group: which code each context uses.
///
/// Pixels are four bytes, of which the first `CHANNELS` are channels: B, G and R, or one.
#[derive(Clone)]
pub(super) struct Models<const CHANNELS: usize, const BITS: usize> {
    /// Per channel and bucket, the bits that all symbols so far would have cost under each
    /// parameter, the largest parameter first. At most 26 are added per update and no bucket goes
    /// for 900 updates without being halved, so they stay below 46 800.
    costs: [[[u16; 8]; 8]; CHANNELS],
    /// The parameter in use, eight buckets for each byte of a pixel.
    pub best: [u8; 32],
}

impl<const CHANNELS: usize, const BITS: usize> Models<CHANNELS, BITS> {
    /// The largest parameter.
    const LARGEST: u8 = if BITS == 8 { 7 } else { 4 };

    pub fn new() -> Self {
        let mut best = [NO_CHANNEL; 32];
        best[..CHANNELS * 8].fill(Self::LARGEST);
        Self { costs: [[[0; 8]; 8]; CHANNELS], best }
    }

    /// Learns that `symbol` followed `context`.
    #[inline(always)]
    pub fn learn<K: Kernel>(&mut self, k: K, context: [u8; 4], symbol: [u8; 4], trigger: u16) {
        let family = family::<BITS>();
        for (channel, costs) in self.costs.iter_mut().enumerate() {
            let bucket = usize::from(family.buckets[usize::from(context[channel])] & 7);
            let lengths = &family.lengths[usize::from(symbol[channel])];
            let costs = &mut costs[bucket];
            // Of equal costs the first one wins, which is the one of the largest parameter.
            let (least, at) = k.cheapest::<BITS>(costs, lengths);
            self.best[channel * 8 + bucket] = Self::LARGEST - at;
            if least > trigger {
                for cost in costs {
                    *cost >>= 1;
                }
            }
        }
    }
}

/// The parameter for a symbol of a channel that follows `context`.
#[inline(always)]
pub(super) fn parameter(family: &Family, best: &[u8; 32], channel: usize, context: u8) -> u8 {
    let bucket = family.buckets[usize::from(context)] & 7;
    best[channel << 3 & 24 | usize::from(bucket)]
}

/// Columns for which the wait mask keeps its size.
const STEP: u32 = 2048;
/// The index at which the mask stops growing.
const LAST: usize = 6;
/// Cost at which a bucket is halved, per index.
const TRIGGERS: [u16; LAST + 1] = [110, 550, 900, 800, 550, 400, 350];

/// Which columns update the statistics.
pub(super) struct Pace {
    /// Literal columns to pass before the next update.
    pub wait: usize,
    seed: u8,
    index: usize,
    /// Columns until the index grows.
    left: u32,
}

impl Pace {
    pub fn new() -> Self {
        Self { wait: 0, seed: 255, index: 0, left: STEP }
    }

    /// Where the segment that begins at column `start` ends.
    pub fn segment_end(&self, start: usize, width: usize) -> usize {
        let left = self.left as usize;
        if self.index < LAST && left <= width - start { start + left } else { width }
    }

    /// Takes note of a finished segment.
    pub fn end_segment(&mut self, columns: usize) {
        if self.index < LAST {
            // A segment is never longer than what is left.
            self.left = self.left.saturating_sub(u32::try_from(columns).unwrap_or(u32::MAX));
            if self.left == 0 {
                self.index += 1;
                self.left = STEP;
            }
        }
    }

    /// The trigger of the segment.
    pub fn trigger(&self) -> u16 {
        TRIGGERS[self.index]
    }

    /// The next random number under the segment's mask.
    pub fn random(&mut self) -> usize {
        self.seed = self.seed.wrapping_add(1);
        usize::from(RANDOM[usize::from(self.seed)]) & ((1 << self.index) - 1)
    }
}

/// Logarithms of the lengths that one bit of a run code stands for.
const RUN_STEPS: [u8; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// The adaptive run code's state.
pub(super) struct RunState(u8);

/// Runs that are looked up.
const SHORT_RUNS: usize = 64;

/// The code of a short run and the state after it.
#[derive(Clone, Copy)]
struct ShortRun {
    /// The highest bit is the first one.
    top: u32,
    length: u8,
    next: u8,
}

static SHORT: [[ShortRun; SHORT_RUNS]; 32] = short_runs();

const fn short_runs() -> [[ShortRun; SHORT_RUNS]; 32] {
    let mut runs = [[ShortRun { top: 0, length: 0, next: 0 }; SHORT_RUNS]; 32];
    let mut state = 0u8;
    while state < 32 {
        let mut run = 0;
        while run < SHORT_RUNS {
            let (mut left, mut at) = (run, state);
            let mut ones = 0;
            while left >= 1 << RUN_STEPS[at as usize] {
                left -= 1 << RUN_STEPS[at as usize];
                ones += 1;
                at = if at < 31 { at + 1 } else { 31 };
            }
            // Ones, a zero, and what is left: no more than 32 bits, since small steps are few.
            let step = RUN_STEPS[at as usize] as u32;
            let length = ones + 1 + step;
            let bits = ((1u64 << ones) - 1) << (1 + step) | left as u64;
            runs[state as usize][run] = ShortRun {
                top: (bits << (32 - length) & 0xffff_ffff) as u32,
                length: (length & 63) as u8,
                next: at.saturating_sub(1),
            };
            run += 1;
        }
        state += 1;
    }
    runs
}

impl RunState {
    pub fn new() -> Self {
        Self(0)
    }

    /// Writes the code of a run to `entries`, which has room for [`Self::most_entries`].
    #[inline(always)]
    pub fn put(&mut self, length: usize, entries: &mut Entries) {
        if let Some(run) = SHORT[usize::from(self.0 & 31)].get(length) {
            entries.push_top(u64::from(run.top) << 32, run.length.into());
            self.0 = run.next;
        } else {
            self.put_long(length, entries);
        }
    }

    /// Entries that a run in a segment of so many columns may need.
    pub fn most_entries(columns: usize) -> usize {
        // A bit per full step, of which 32 are in an entry; the last entry has what is left.
        columns / (32 << 15) + 3
    }

    fn put_long(&mut self, mut length: usize, entries: &mut Entries) {
        let mut ones = 0;
        while length >= 1 << self.step() {
            length -= 1 << self.step();
            self.longer();
            ones += 1;
            if ones == 32 {
                entries.push(u64::from(u32::MAX), 32);
                ones = 0;
            }
        }
        let bits = ((1u64 << ones) - 1) << (1 + self.step()) | length as u64;
        entries.push(bits, ones + 1 + self.step());
        self.shorter();
    }

    /// Logarithm of the length that the next bit stands for, 0..=15.
    #[inline]
    pub fn step(&self) -> u32 {
        RUN_STEPS[usize::from(self.0 & 31)].into()
    }

    /// After a full step.
    #[inline]
    pub fn longer(&mut self) {
        self.0 = (self.0 + 1).min(31);
    }

    /// After the end of a run.
    #[inline]
    pub fn shorter(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

/// The low six bits of the format's random numbers: no mask is larger.
#[rustfmt::skip]
const RANDOM: [u8; 256] = [
    2, 23, 19, 21, 7, 18, 40, 14, 12, 32, 47, 44, 36, 6, 18, 11,
    4, 19, 42, 29, 16, 63, 57, 51, 16, 3, 5, 14, 15, 30, 20, 9,
    36, 45, 3, 57, 61, 0, 8, 5, 41, 14, 43, 27, 43, 59, 31, 35,
    39, 60, 42, 38, 13, 54, 62, 1, 26, 3, 11, 61, 52, 34, 7, 48,
    4, 59, 22, 12, 22, 8, 50, 4, 10, 6, 44, 8, 11, 46, 31, 51,
    53, 17, 1, 43, 46, 60, 36, 54, 10, 27, 39, 44, 22, 41, 23, 2,
    44, 0, 40, 53, 40, 48, 16, 43, 32, 28, 33, 12, 20, 2, 56, 62,
    55, 58, 18, 20, 13, 55, 38, 29, 57, 19, 49, 33, 47, 63, 59, 0,
    35, 61, 19, 25, 46, 38, 60, 4, 35, 1, 26, 40, 28, 10, 5, 14,
    25, 18, 48, 49, 20, 59, 62, 34, 46, 7, 33, 52, 34, 58, 9, 29,
    8, 55, 62, 60, 37, 36, 37, 50, 6, 3, 10, 28, 48, 24, 26, 61,
    57, 30, 11, 54, 2, 6, 50, 47, 7, 17, 35, 53, 32, 12, 23, 17,
    5, 21, 49, 55, 51, 45, 52, 27, 39, 25, 39, 63, 22, 24, 42, 52,
    56, 38, 41, 41, 56, 32, 13, 24, 26, 51, 27, 56, 58, 37, 24, 42,
    15, 28, 17, 30, 31, 15, 16, 23, 25, 54, 33, 34, 1, 29, 31, 50,
    53, 21, 49, 15, 47, 9, 0, 58, 37, 45, 30, 13, 9, 45, 63, 21,
];

//! What both ends keep while a plane is coded: statistics, the pace of their updates, run lengths.

use super::entries::{Items, Pixel};
use super::family::{NO_CHANNEL, as_it_is, family};
use crate::codec::simd::Kernel;

/// Statistics of the channels of a group: which code each context uses.
///
/// Contexts are slots, as [`Family::slots`] makes them: eight buckets for each byte of a pixel, of
/// which the first `CHANNELS` bytes are channels: B, G and R, or one.
pub(super) struct Models<const CHANNELS: usize, const BITS: usize> {
    /// Per slot, the bits that all symbols so far would have cost under each parameter, the largest
    /// parameter first. At most 26 are added per update and no bucket goes for 900 updates without
    /// being halved, so they stay below 46 800.
    costs: [[u16; 8]; 32],
    /// The parameter in use of each slot.
    pub best: Best,
}

/// The parameter of each slot.
pub type Best = [u8; 32];

impl<const CHANNELS: usize, const BITS: usize> Models<CHANNELS, BITS> {
    /// The largest parameter.
    const LARGEST: u8 = if BITS == 8 { 7 } else { 4 };

    pub fn new() -> Self {
        let mut best = [NO_CHANNEL; 32];
        best[..CHANNELS * 8].fill(Self::LARGEST);
        Self { costs: [[0; 8]; 32], best }
    }

    /// Learns that `symbol` followed `context`. The costs of a bucket are halved above `trigger`.
    #[inline(always)]
    pub fn learn<K: Kernel>(&mut self, k: K, context: [u8; 4], symbol: [u8; 4], trigger: u16) {
        let family = family::<BITS>();
        let mut parameters = [NO_CHANNEL; 4];
        for channel in 0..CHANNELS {
            let costs = &mut self.costs[usize::from(context[channel] & 31)];
            let lengths = &family.lengths[usize::from(symbol[channel])];
            // Of equal costs the first one wins, which is the one of the largest parameter.
            parameters[channel] = Self::LARGEST - k.cheapest::<BITS>(costs, lengths, trigger);
        }
        k.replace(&mut self.best, context, parameters);
    }
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

/// The code of a short run, as an item, and the state after it.
#[derive(Clone, Copy)]
struct ShortRun {
    symbol: Pixel,
    parameter: Pixel,
    next: u8,
}

static SHORT: [[ShortRun; SHORT_RUNS]; 32] = short_runs();

const fn short_runs() -> [[ShortRun; SHORT_RUNS]; 32] {
    let none = ShortRun { symbol: [0; 4], parameter: [NO_CHANNEL; 4], next: 0 };
    let mut runs = [[none; SHORT_RUNS]; 32];
    let mut state = 0u8;
    while state < 32 {
        let mut run = 0u32;
        while (run as usize) < SHORT_RUNS {
            let (mut left, mut at) = (run, state);
            let mut ones = 0;
            while left >= 1 << RUN_STEPS[at as usize] {
                left -= 1 << RUN_STEPS[at as usize];
                ones += 1;
                at = if at < 31 { at + 1 } else { 31 };
            }
            // Ones, a zero, and what is left: no more than 21 bits, since small steps are few.
            let step = RUN_STEPS[at as usize];
            let bits = ((1u32 << ones) - 1) << (1 + step) | left;
            let (symbol, parameter) = raw(bits, ones + 1 + step);
            runs[state as usize][run as usize] =
                ShortRun { symbol, parameter, next: at.saturating_sub(1) };
            run += 1;
        }
        state += 1;
    }
    runs
}

/// Most bits of an item that are written as they are.
const MOST_BITS: u8 = 21;

/// An item that writes the low `length` bits of `bits`, 1..=[`MOST_BITS`].
const fn raw(bits: u32, length: u8) -> (Pixel, Pixel) {
    assert!(length > 0 && length <= MOST_BITS);
    let (mut symbol, mut parameter) = ([0; 4], [NO_CHANNEL; 4]);
    let (mut channel, mut done) = (0, 0);
    // The byte with the highest number is written first, so the lowest bits go to the first one.
    while done < length {
        let some = if length - done < 7 { length - done } else { 7 };
        symbol[channel] = (bits >> done & 0x7f) as u8 & ((1 << some) - 1);
        parameter[channel] = as_it_is(some);
        done += some;
        channel += 1;
    }
    (symbol, parameter)
}

impl RunState {
    pub fn new() -> Self {
        Self(0)
    }

    /// Writes the code of a run to `items`, which has room for [`Self::most_items`].
    #[inline(always)]
    pub fn put(&mut self, length: usize, items: &mut Items) {
        if let Some(run) = SHORT[usize::from(self.0 & 31)].get(length) {
            items.push(run.symbol, run.parameter);
            self.0 = run.next;
        } else {
            self.put_long(length, items);
        }
    }

    /// Items that a run in a segment of so many columns may need.
    pub fn most_items(columns: usize) -> usize {
        // At most 31 full steps before the largest one, then a bit for each of these: 21 are in an
        // item. Then what is left.
        columns / (21 << 15) + 5
    }

    #[inline(never)]
    fn put_long(&mut self, mut length: usize, items: &mut Items) {
        let mut put = |bits: u32, length: u8| {
            let (symbol, parameter) = raw(bits, length);
            items.push(symbol, parameter);
        };
        let mut ones = 0;
        while length >= 1 << self.step() {
            length -= 1 << self.step();
            self.longer();
            ones += 1;
            if ones == MOST_BITS {
                put((1 << MOST_BITS) - 1, MOST_BITS);
                ones = 0;
            }
        }
        put(((1 << ones) - 1) << 1, ones + 1);
        let step = RUN_STEPS[usize::from(self.0 & 31)];
        if step > 0 {
            // Below 1 << step.
            put(u32::try_from(length).unwrap_or(0), step);
        }
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

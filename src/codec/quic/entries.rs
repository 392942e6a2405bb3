//! Codes on their way into the stream.
//!
//! Codes are made many at once, but each one's place in the stream depends on the length of all
//! before it. So they are collected, and moved to the stream in a loop of their own that has no
//! branches to foretell.

use super::bits::BitWriter;
use super::family::Family;
use super::model::parameter;

/// Collected codes, each of up to 64 bits.
#[derive(Debug)]
pub struct Entries {
    /// The first bit of a code is the highest one; what is below its last one is 0.
    tops: Box<[u64; CAPACITY]>,
    /// Bits of each, 0..=64.
    lengths: Box<[u64; CAPACITY]>,
    count: usize,
}

/// Enough for a usual row, and little enough to stay in the first cache.
const CAPACITY: usize = 1024;

impl Default for Entries {
    fn default() -> Self {
        Self { tops: Box::new([0; CAPACITY]), lengths: Box::new([0; CAPACITY]), count: 0 }
    }
}

impl Entries {
    /// What [`Self::next_four`] may write beyond what counts.
    pub const SPARE: usize = 4;

    /// True if `more` entries find room.
    #[inline(always)]
    pub fn has_room(&self, more: usize) -> bool {
        CAPACITY - self.count >= more + Self::SPARE
    }

    /// Appends a code. One that finds no room is lost, which is a mistake of the caller.
    #[inline(always)]
    pub fn push_top(&mut self, top: u64, length: u32) {
        debug_assert!(self.count < CAPACITY);
        let at = self.count.min(CAPACITY - 1);
        self.tops[at] = top;
        self.lengths[at] = length.into();
        self.count = at + 1;
    }

    /// Appends the low `length` bits of `bits`, 1..=64; the bits above them must be zero.
    #[inline(always)]
    pub fn push(&mut self, bits: u64, length: u32) {
        self.push_top(bits << ((64 - length) & 63), length);
    }

    /// Where the next four entries go.
    #[inline(always)]
    pub fn next_four(&mut self) -> (&mut [u64; 4], &mut [u64; 4]) {
        debug_assert!(self.count + 4 <= CAPACITY);
        let at = self.count.min(CAPACITY - 4);
        // There are four from there on, so that the first ones are never taken instead.
        let (tops, lengths) = (&mut self.tops[at..], &mut self.lengths[at..]);
        match (tops.first_chunk_mut(), lengths.first_chunk_mut()) {
            (Some(tops), Some(lengths)) => (tops, lengths),
            _ => unreachable!("four elements begin at CAPACITY - 4"),
        }
    }

    /// So many of those that were written count.
    #[inline(always)]
    pub fn advance(&mut self, written: usize) {
        self.count += written;
    }

    /// Appends the codes of a pixel: at most two entries.
    #[inline(always)]
    pub fn pixel(
        &mut self,
        family: &Family,
        parameters: &[u8; 32],
        context: [u8; 4],
        symbol: [u8; 4],
    ) {
        let code = |channel: usize| {
            let parameter = parameter(family, parameters, channel, context[channel]);
            let at = usize::from(parameter & 15) << 8 | usize::from(symbol[channel]);
            let entry = family.codes[at];
            (u64::from(entry & 0xff), u32::from(entry >> 8))
        };
        let ((b, b_length), (g, g_length), (r, r_length)) = (code(0), code(1), code(2));
        self.three([b, g, r, 0], [b_length, g_length, r_length, 0]);
    }

    /// Appends the codes of a pixel's bytes and their lengths: at most two entries.
    #[inline(always)]
    pub fn three(&mut self, codes: [u64; 4], lengths: [u32; 4]) {
        let ([b, g, r, _], [b_length, g_length, r_length, _]) = (codes, lengths);
        // R comes first. No code has more than 26 bits.
        let (rg, rg_length) = (r << g_length | g, r_length + g_length);
        if rg_length + b_length <= 64 {
            self.push(rg << b_length | b, rg_length + b_length);
        } else {
            self.push(rg, rg_length);
            self.push(b, b_length);
        }
    }

    /// Forgets all.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Moves all to the stream.
    #[inline(always)]
    pub fn drain(&mut self, bits: &mut BitWriter<'_>) {
        let (tops, lengths) = (&self.tops[..self.count], &self.lengths[..self.count]);
        bits.append(tops, lengths);
        self.clear();
    }
}

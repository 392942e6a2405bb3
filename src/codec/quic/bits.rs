//! Bits in words of 32: the first bit is a word's highest one, words are stored little-endian.

use std::hint::select_unpredictable;

/// Writes behind what a vector already has.
pub struct BitWriter<'a> {
    /// Longer than what was written: bytes behind `at` are zeros or will be overwritten.
    out: &'a mut Vec<u8>,
    /// Where the next 64 bits go.
    at: usize,
    /// Bits that were not stored yet, highest first; the rest is zero.
    pending: u64,
    /// Number of pending bits, 0..=63.
    count: u64,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let at = out.len();
        Self { out, at, pending: 0, count: 0 }
    }

    /// Bytes in the vector if the stream ended here, without the closing word.
    pub fn position(&self) -> usize {
        self.at + usize::from(self.count > 0) * 4 + usize::from(self.count > 32) * 4
    }

    /// Makes room for codes of `words` times 64 bits.
    #[inline(always)]
    pub fn reserve(&mut self, words: usize) {
        // Eight bytes are stored at once, and up to 63 bits wait.
        let need = self.at + (words + 2) * 8;
        if need > self.out.len() {
            self.grow(need);
        }
    }

    /// Appends codes of 0 to 64 bits each, for which [`Self::reserve`] made room. The highest bit
    /// of a `top` is a code's first one; what is below its last one is zero.
    #[inline(always)]
    pub fn append<const N: usize>(&mut self, tops: &[u64; N], lengths: &[u64; N]) {
        let Some(out) = self.out.get_mut(self.at..self.at + (N + 1) * 8) else {
            debug_assert!(false, "no room for codes");
            return;
        };
        let out = out.as_chunks_mut::<8>().0;
        let (mut at, mut pending, mut bits) = (0, self.pending, self.count);
        for (&top, &length) in tops.iter().zip(lengths) {
            let joined = pending | top >> (bits & 63);
            // It is long enough, but so the compiler need not know it.
            let Some(to) = out.get_mut(at) else { break };
            *to = joined.rotate_left(32).to_le_bytes();
            // In two steps: all 64 bits go if none was pending.
            let over = top << 1 << (!bits & 63);
            bits += length;
            let next = usize::try_from(bits >> 6).unwrap_or(usize::MAX);
            pending = select_unpredictable(next != at, over, joined);
            at = next;
        }
        self.at += at * 8;
        self.pending = pending;
        self.count = bits & 63;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, need: usize) {
        // By shares: each step may move what is there, and writes zeros that small pictures never
        // need.
        self.out.resize(need + (need / 2).max(1 << 10), 0);
    }

    /// Pads the last word and appends the closing one; the length of all.
    #[inline(always)]
    pub fn finish(mut self) -> usize {
        self.reserve(0);
        let end = self.position();
        self.out[self.at..self.at + 8].copy_from_slice(&self.pending.rotate_left(32).to_le_bytes());
        self.out[end..end + 4].fill(0);
        self.out.truncate(end + 4);
        end + 4
    }
}

/// Reads bits; behind the end come zeros, which [`BitReader::overrun`] tells afterwards.
pub(super) struct BitReader<'a> {
    words: &'a [[u8; 4]],
    /// The next word to fetch; goes on behind the end.
    next: usize,
    /// Bits that were fetched and not passed, highest first; the rest is zero.
    window: u64,
    /// Number of bits in the window that count.
    count: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(words: &'a [[u8; 4]]) -> Self {
        Self { words, next: 0, window: 0, count: 0 }
    }

    /// True if more was passed than there is.
    pub fn overrun(&self) -> bool {
        // What lies in the window was fetched last.
        let beyond = self.next.saturating_sub(self.words.len()) as u64 * 32;
        beyond > u64::from(self.count)
    }

    /// The next bits, highest first, and how many of them count: at least 32.
    #[inline(always)]
    pub fn peek(&mut self) -> (u64, u32) {
        // Without a branch: whether a word is due is as random as the data.
        let due = self.count < 32;
        let word = self.words.get(self.next).map_or(0, |word| u32::from_le_bytes(*word));
        let fetched = u64::from(word) << (32u32.wrapping_sub(self.count) & 63);
        self.window |= fetched & u64::from(due).wrapping_neg();
        self.next += usize::from(due);
        self.count += u32::from(due) * 32;
        (self.window, self.count)
    }

    /// Passes `length` bits that [`Self::peek`] showed: fewer than 64.
    #[inline(always)]
    pub fn skip(&mut self, length: u32) {
        self.window <<= length;
        self.count -= length;
    }

    /// The next `length` bits, at most 31.
    #[inline]
    pub fn take(&mut self, length: u32) -> u32 {
        let bits = (self.peek().0 >> 33 >> (31 - length)) & 0xffff_ffff;
        self.skip(length);
        bits as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_in_order() {
        let pieces: Vec<(u64, u32)> = (0..2000u32)
            .map(|i| (u64::from(i.wrapping_mul(2_654_435_761) >> 3), i % 31 + 1))
            .collect();
        let mut bytes = vec![7];
        let mut writer = BitWriter::new(&mut bytes);
        for &(bits, length) in &pieces {
            writer.reserve(1);
            writer.append(&[bits << (64 - length)], &[length.into()]);
        }
        writer.finish();
        assert_eq!(bytes[0], 7);
        let (words, rest) = bytes[1..].as_chunks::<4>();
        assert!(rest.is_empty());
        let mut reader = BitReader::new(words);
        for &(bits, length) in &pieces {
            assert_eq!(u64::from(reader.take(length)), bits & ((1 << length) - 1));
        }
        assert!(!reader.overrun());
        let total: u32 = pieces.iter().map(|&(_, length)| length).sum();
        assert_eq!(words.len(), total.div_ceil(32) as usize + 1);
    }

    #[test]
    fn the_end_is_a_full_word_and_an_empty_one() {
        for bits in 0..=130u32 {
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            for _ in 0..bits {
                writer.reserve(1);
                writer.append(&[1 << 63], &[1]);
            }
            writer.finish();
            assert_eq!(bytes.len(), 4 * (bits.div_ceil(32) as usize + 1));
            let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(ones, bits);
        }
    }

    #[test]
    fn reading_beyond_the_end_gives_zeros_and_is_told() {
        let mut reader = BitReader::new(&[[0xff; 4]]);
        assert_eq!(reader.take(31), (1 << 31) - 1);
        assert_eq!(reader.take(1), 1);
        assert!(!reader.overrun());
        assert_eq!(reader.take(1), 0);
        assert!(reader.overrun());
        for _ in 0..100 {
            assert_eq!(reader.take(31), 0);
        }
        assert!(reader.overrun());
    }
}

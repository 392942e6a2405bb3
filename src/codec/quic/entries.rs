//! What is on its way into the stream.
//!
//! The walk over a row only decides which parameter each symbol is coded with, because nothing
//! else depends on what came before. It appends pixels and their parameters to [`Items`]; codes
//! are made of them many at once, and moved to the stream in a loop that has no branches to
//! foretell. Runs go the same way, as items whose bytes are taken as they are.

use super::bits::BitWriter;
use super::family::{Family, NO_CHANNEL};
use crate::codec::simd::Kernel;

/// Four bytes, of which the first one or three are channels and the others 0.
pub(super) type Pixel = [u8; 4];

/// Pixels that wait for their codes.
#[derive(Debug)]
pub struct Items {
    /// The symbols of each, or bits that are written as they are.
    symbols: Box<[Pixel; CAPACITY]>,
    /// The parameters of each byte.
    parameters: Box<[Pixel; CAPACITY]>,
    count: usize,
}

/// Little enough to stay in the first cache.
const CAPACITY: usize = 1024;
/// Pixels that are made codes of at once.
pub const BLOCK: usize = 16;

impl Default for Items {
    fn default() -> Self {
        let empty = [[0; 4]; CAPACITY];
        Self { symbols: Box::new(empty), parameters: Box::new(empty), count: 0 }
    }
}

impl Items {
    /// True if `more` items find room.
    #[inline(always)]
    pub fn has_room(&self, more: usize) -> bool {
        // The last block is filled up.
        CAPACITY - self.count >= more + BLOCK
    }

    /// Appends one. What finds no room is lost, which is a mistake of the caller.
    #[inline(always)]
    pub fn push(&mut self, symbol: Pixel, parameter: Pixel) {
        debug_assert!(self.count < CAPACITY);
        let at = self.count.min(CAPACITY - 1);
        self.symbols[at] = symbol;
        self.parameters[at] = parameter;
        self.count = at + 1;
    }

    /// Where the next `N` go: their symbols and parameters.
    #[inline(always)]
    pub fn next<const N: usize>(&mut self) -> (&mut [Pixel; N], &mut [Pixel; N]) {
        debug_assert!(self.count + N <= CAPACITY);
        let at = self.count.min(CAPACITY - N);
        // There are N from there on, so that the first ones are never taken instead.
        let (symbols, parameters) = (&mut self.symbols[at..], &mut self.parameters[at..]);
        match (symbols.first_chunk_mut(), parameters.first_chunk_mut()) {
            (Some(symbols), Some(parameters)) => (symbols, parameters),
            _ => unreachable!("N elements begin at CAPACITY - N"),
        }
    }

    /// So many of those that were written count.
    #[inline(always)]
    pub fn advance(&mut self, written: usize) {
        self.count += written;
    }

    /// Forgets all.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Moves all to the stream.
    #[inline(always)]
    pub fn drain<K: Kernel>(&mut self, k: K, family: &Family, bits: &mut BitWriter<'_>) {
        let end = self.count.next_multiple_of(BLOCK).min(CAPACITY);
        // What fills the last block up has no bits.
        self.symbols[self.count..end].fill([0; 4]);
        self.parameters[self.count..end].fill([NO_CHANNEL; 4]);
        let symbols = self.symbols[..end].as_chunks::<BLOCK>().0;
        let parameters = self.parameters[..end].as_chunks::<BLOCK>().0;
        bits.reserve(end * 2);
        let mut codes = Codes { tops: [0; BLOCK], lengths: [0; BLOCK] };
        for (symbols, parameters) in symbols.iter().zip(parameters) {
            match k.code(family, symbols, parameters, &mut codes) {
                Made::Pairs => {
                    let (tops, lengths) = (&codes.tops, &codes.lengths);
                    if let (Some(tops), Some(lengths)) = (tops.first_chunk(), lengths.first_chunk())
                    {
                        bits.append::<{ BLOCK / 2 }>(tops, lengths);
                    }
                }
                Made::Singles => bits.append(&codes.tops, &codes.lengths),
                Made::Nothing => one_by_one(family, symbols, parameters, bits),
            }
        }
        self.clear();
    }
}

/// What a block became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// The first half of the codes: one for two pixels.
    Pairs,
    /// A code for each pixel.
    Singles,
    /// Some pixel has more bits than a code can have.
    Nothing,
}

/// Codes of a block, of up to 64 bits each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// The first bit of a code is the highest one; what is below its last one is 0.
    pub tops: [u64; BLOCK],
    /// Bits of each, 0..=64.
    pub lengths: [u64; BLOCK],
}

/// For pixels that have more bits than a word.
#[cold]
#[inline(never)]
fn one_by_one(
    family: &Family,
    symbols: &[Pixel; BLOCK],
    parameters: &[Pixel; BLOCK],
    bits: &mut BitWriter<'_>,
) {
    for (symbol, parameter) in symbols.iter().zip(parameters) {
        let [b, g, r] = [0, 1, 2].map(|channel| {
            let (code, length) = family.code(parameter[channel], symbol[channel]);
            (code << 1 << (63 - length), length)
        });
        // R comes first. No code has more than 26 bits.
        bits.append(&[r.0 | g.0 >> r.1, b.0], &[r.1 + g.1, b.1]);
    }
}

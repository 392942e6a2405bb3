//! The sixteen functions of two operands that a raster operation can be.
//!
//! They work bit by bit on whole raw pixels, so the rows are plain bytes here and one kernel serves every
//! format.
#![forbid(unsafe_code)]

/// Bits of a raster operation descriptor (`SPICE_ROPD_*`).
pub mod descriptor {
    /// Complement the source.
    pub const INVERS_SRC: u16 = 1;
    /// Complement the brush.
    pub const INVERS_BRUSH: u16 = 2;
    /// Complement the destination.
    pub const INVERS_DEST: u16 = 4;
    /// Result is A.
    pub const OP_PUT: u16 = 8;
    /// Result is A | B.
    pub const OP_OR: u16 = 16;
    /// Result is A & B.
    pub const OP_AND: u16 = 32;
    /// Result is A ^ B.
    pub const OP_XOR: u16 = 64;
    /// Result is 0.
    pub const OP_BLACKNESS: u16 = 128;
    /// Result is all ones.
    pub const OP_WHITENESS: u16 = 256;
    /// Result is !B.
    pub const OP_INVERS: u16 = 512;
    /// Complement the result.
    pub const INVERS_RES: u16 = 1024;
}

/// A function of A (brush or source) and B (destination, or source under a brush); numbered as X11 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the X11 protocol")]
pub enum Rop {
    Clear,
    And,
    AndReverse,
    Copy,
    AndInverted,
    Noop,
    Xor,
    Or,
    Nor,
    Equiv,
    Invert,
    OrReverse,
    CopyInverted,
    OrInverted,
    Nand,
    Set,
}

const ALL: [Rop; 16] = [
    Rop::Clear,
    Rop::And,
    Rop::AndReverse,
    Rop::Copy,
    Rop::AndInverted,
    Rop::Noop,
    Rop::Xor,
    Rop::Or,
    Rop::Nor,
    Rop::Equiv,
    Rop::Invert,
    Rop::OrReverse,
    Rop::CopyInverted,
    Rop::OrInverted,
    Rop::Nand,
    Rop::Set,
];

impl Rop {
    /// The function that a descriptor means; the flags say which of its bits complement A and B.
    ///
    /// Evaluates the descriptor once for the four combinations of two bits; the four results are the
    /// X11 number.
    #[must_use]
    pub fn from_descriptor(rop: u16, invert_a: u16, invert_b: u16) -> Self {
        use descriptor as d;
        // Bit n of the result stands for: 0: A=1 B=1, 1: A=1 B=0, 2: A=0 B=1, 3: A=0 B=0.
        let (a, b) = (0b0011u8, 0b0101u8);
        let x = if rop & invert_a != 0 { !a } else { a };
        let y = if rop & invert_b != 0 { !b } else { b };
        let complement = |v: u8| if rop & d::INVERS_RES != 0 { !v } else { v };
        let table = if rop & d::OP_PUT != 0 {
            complement(x)
        } else if rop & d::OP_OR != 0 {
            complement(x | y)
        } else if rop & d::OP_AND != 0 {
            complement(x & y)
        } else if rop & d::OP_XOR != 0 {
            complement(x ^ y)
        } else if rop & d::OP_BLACKNESS != 0 {
            0
        } else if rop & d::OP_WHITENESS != 0 {
            !0
        } else if rop & d::OP_INVERS != 0 {
            !b
        } else {
            a
        };
        ALL[usize::from(table & 15)]
    }

    /// True if the result depends on B, so that B has to be read.
    #[must_use]
    pub fn reads_b(self) -> bool {
        !matches!(self, Self::Clear | Self::Copy | Self::CopyInverted | Self::Set)
    }

    /// Puts the function of `a` and `b` into `b`; both are equally long pieces of rows.
    pub fn apply(self, a: &[u8], b: &mut [u8]) {
        match self {
            Self::Clear => b.fill(0),
            Self::And => combine(a, b, |a, b| a & b),
            Self::AndReverse => combine(a, b, |a, b| a & !b),
            Self::Copy => combine(a, b, |a, _| a),
            Self::AndInverted => combine(a, b, |a, b| !a & b),
            Self::Noop => {}
            Self::Xor => combine(a, b, |a, b| a ^ b),
            Self::Or => combine(a, b, |a, b| a | b),
            Self::Nor => combine(a, b, |a, b| !(a | b)),
            Self::Equiv => combine(a, b, |a, b| !(a ^ b)),
            Self::Invert => combine(a, b, |_, b| !b),
            Self::OrReverse => combine(a, b, |a, b| a | !b),
            Self::CopyInverted => combine(a, b, |a, _| !a),
            Self::OrInverted => combine(a, b, |a, b| !a | b),
            Self::Nand => combine(a, b, |a, b| !(a & b)),
            Self::Set => b.fill(0xff),
        }
    }
}

/// Eight bytes at a time, which the compiler widens to vectors; `f` is a known function in every instance.
fn combine(a: &[u8], b: &mut [u8], f: impl Fn(u64, u64) -> u64) {
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks_mut::<8>();
    for (b, a) in b_words.iter_mut().zip(a_words) {
        *b = f(u64::from_ne_bytes(*a), u64::from_ne_bytes(*b)).to_ne_bytes();
    }
    for (b, a) in b_rest.iter_mut().zip(a_rest) {
        *b = f(u64::from(*a), u64::from(*b)).to_le_bytes()[0];
    }
}

/// Any function of three operands: `d` becomes bit `p << 2 | s << 1 | d` of `code`, bit by bit.
///
/// Bytes beyond the shortest operand stay.
pub(super) fn ternary(code: u8, p: &[u8], s: &[u8], d: &mut [u8]) {
    let bit = |n: u8| if code >> n & 1 == 1 { u64::MAX } else { 0 };
    let [c0, c1, c2, c3] = [bit(0), bit(1), bit(2), bit(3)];
    let [c4, c5, c6, c7] = [bit(4), bit(5), bit(6), bit(7)];
    let choose = |by: u64, one: u64, zero: u64| by & one | !by & zero;
    let f = |p: u64, s: u64, d: u64| {
        let high = choose(s, choose(d, c7, c6), choose(d, c5, c4));
        let low = choose(s, choose(d, c3, c2), choose(d, c1, c0));
        choose(p, high, low)
    };
    let n = p.len().min(s.len()).min(d.len());
    let (p, p_rest) = p[..n].as_chunks::<8>();
    let (s, s_rest) = s[..n].as_chunks::<8>();
    let (d, d_rest) = d[..n].as_chunks_mut::<8>();
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    for ((d, s), p) in d.iter_mut().zip(s).zip(p) {
        *d = f(word(p), word(s), word(d)).to_ne_bytes();
    }
    for ((d, s), p) in d_rest.iter_mut().zip(s_rest).zip(p_rest) {
        *d = f(u64::from(*p), u64::from(*s), u64::from(*d)).to_le_bytes()[0];
    }
}

#[cfg(test)]
mod tests {
    use super::descriptor::*;
    use super::*;

    /// The text of the rule, bit for bit, with no table.
    fn by_the_rule(rop: u16, a: u8, b: u8, ia: u16, ib: u16) -> u8 {
        let x = if rop & ia != 0 { !a } else { a };
        let y = if rop & ib != 0 { !b } else { b };
        let v = match 0 {
            _ if rop & OP_PUT != 0 => x,
            _ if rop & OP_OR != 0 => x | y,
            _ if rop & OP_AND != 0 => x & y,
            _ if rop & OP_XOR != 0 => x ^ y,
            _ if rop & OP_BLACKNESS != 0 => return 0,
            _ if rop & OP_WHITENESS != 0 => return 0xff,
            _ if rop & OP_INVERS != 0 => return !b,
            _ => return a,
        };
        if rop & INVERS_RES != 0 { !v } else { v }
    }

    #[test]
    fn every_descriptor_means_what_the_rule_says() {
        for (ia, ib) in
            [(INVERS_BRUSH, INVERS_DEST), (INVERS_SRC, INVERS_DEST), (INVERS_BRUSH, INVERS_SRC)]
        {
            for rop in 0..2048 {
                let mut row: Vec<u8> = (0..19u8).map(|i| i.wrapping_mul(13)).collect();
                let a: Vec<u8> = (0..19u8).map(|i| 0xa7 ^ i.wrapping_mul(29)).collect();
                let expected: Vec<u8> =
                    a.iter().zip(&row).map(|(a, b)| by_the_rule(rop, *a, *b, ia, ib)).collect();
                let function = Rop::from_descriptor(rop, ia, ib);
                if !function.reads_b() {
                    row.fill(0x33);
                }
                function.apply(&a, &mut row);
                assert_eq!(row, expected, "rop {rop:#x} is {function:?}");
            }
        }
    }

    #[test]
    fn every_ternary_code_is_its_truth_table() {
        let p: Vec<u8> = (0..21u8).map(|i| i.wrapping_mul(37)).collect();
        let s: Vec<u8> = (0..21u8).map(|i| 0x5a ^ i.wrapping_mul(101)).collect();
        for code in 0..=255u8 {
            let before: Vec<u8> = (0..22u8).map(|i| 0x33 ^ i.wrapping_mul(59)).collect();
            let mut d = before.clone();
            ternary(code, &p, &s, &mut d);
            for i in 0..21 {
                for bit in 0..8 {
                    let at = |v: u8| v >> bit & 1;
                    let index = at(p[i]) << 2 | at(s[i]) << 1 | at(before[i]);
                    assert_eq!(at(d[i]), code >> index & 1, "code {code:#x}");
                }
            }
            assert_eq!(d[21], before[21]);
        }
    }

    #[test]
    fn bytes_beyond_the_shorter_operand_stay() {
        let mut b = [1; 20];
        Rop::Copy.apply(&[9; 3], &mut b);
        assert_eq!(b[19], 1);
    }
}

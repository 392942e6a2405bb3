//! The code family: Golomb–Rice codes of limited length, as tables made at compile time.

/// Longest code in bits.
const LIMIT: u32 = 26;

/// Everything about symbols of one width.
#[derive(Debug)]
pub struct Family {
    /// `length << 8 | bits` of symbol n under parameter l at `l << 8 | n`. The bits proper always
    /// fit into eight: what comes before them are zeros. [`NO_CHANNEL`] has no bits.
    pub codes: [u16; 16 << 8],
    /// Lengths of a symbol under all parameters, the largest parameter first.
    pub lengths: [[u16; 8]; 256],
    /// How each parameter is read.
    pub params: [Param; 8],
    /// Which bucket of the model a value as context selects.
    pub buckets: [u8; 256],
    /// The same for those who look up sixteen bytes at once.
    pub shuffles: Shuffles,
}

/// What makes codes without the large tables, in tables of sixteen bytes.
///
/// The index of the first two is half of a context plus one, that of the others a parameter.
/// [`NO_CHANNEL`] is that of bytes which are no channel: their symbol, which is 0, has a code of no
/// bits. Larger ones are those of [`as_it_is`].
#[derive(Debug)]
pub struct Shuffles {
    /// The bucket if the high half is 0.
    pub log_low: [u8; 16],
    /// The bucket if the high half is this.
    pub log_high: [u8; 16],
    /// 128 shifted right by the parameter.
    pub scale: [u8; 16],
    /// As many low bits as the parameter says.
    pub mask: [u8; 16],
    /// Bits of a plain code without its zeros.
    pub plain: [u8; 16],
    /// The first symbol that is escaped.
    pub first: [u8; 16],
    /// Bits of an escape.
    pub escape: [u8; 16],
}

/// The parameter of bytes that are no channel.
pub const NO_CHANNEL: u8 = 8;

/// The parameter under which the low `bits` bits of a symbol, 1 to 7, are its code. The bits above
/// them are 0.
pub const fn as_it_is(bits: u8) -> u8 {
    NO_CHANNEL + bits
}

/// One code of the family, as a reader needs it.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// So many zeros announce an escape.
    pub zeros: u8,
    /// Bits behind the zeros and the one of a plain code, and behind the zeros of an escape.
    pub suffix: [u8; 2],
    /// The first symbol that is escaped.
    pub first: u8,
}

static EIGHT: Family = Family::new(8);
static FIVE: Family = Family::new(5);

/// The family for symbols of `BITS` bits, 8 or 5.
pub fn family<const BITS: usize>() -> &'static Family {
    const { assert!(BITS == 8 || BITS == 5) };
    if BITS == 8 { &EIGHT } else { &FIVE }
}

impl Family {
    const fn new(bits: u32) -> Self {
        let mut made = Self {
            codes: [0; 16 << 8],
            lengths: [[0; 8]; 256],
            params: [Param { zeros: 0, suffix: [0; 2], first: 0 }; 8],
            buckets: [0; 256],
            shuffles: Shuffles::new(bits),
        };
        let mut l = 0;
        while l < bits {
            let param = param(bits, l);
            made.params[l as usize] = param;
            let mut n = 0;
            while n < 1 << bits {
                let (length, code) = if n < param.first as u32 {
                    ((n >> l) + 1 + l, 1 << l | (n & ((1 << l) - 1)))
                } else {
                    (param.zeros as u32 + param.suffix[1] as u32, n - param.first as u32)
                };
                made.codes[(l << 8 | n) as usize] =
                    (length << 8 & 0xff00) as u16 | (code & 0xff) as u16;
                made.lengths[n as usize][(bits - 1 - l) as usize] = (length & 0xff) as u16;
                n += 1;
            }
            l += 1;
        }
        let mut plain = 1;
        while plain < 8 {
            let mut n = 0u16;
            while n < 1 << plain {
                let at = (as_it_is(plain) as usize) << 8 | n as usize;
                made.codes[at] = (plain as u16) << 8 | n;
                n += 1;
            }
            plain += 1;
        }
        let mut value = 0u32;
        while value < 256 {
            let log = (value + 1).ilog2();
            let bucket = if log < bits { log } else { bits - 1 };
            made.buckets[value as usize] = (bucket & 7) as u8;
            value += 1;
        }
        made
    }
}

impl Family {
    /// The bits of a symbol's code, and how many they are.
    #[inline(always)]
    pub fn code(&self, parameter: u8, symbol: u8) -> (u64, u64) {
        let entry = self.codes[usize::from(parameter & 15) << 8 | usize::from(symbol)];
        ((entry & 0xff).into(), (entry >> 8).into())
    }

    /// The slots of a pixel's bytes as contexts of the next one: which bucket of which channel.
    #[inline(always)]
    pub fn slots(&self, symbol: [u8; 4]) -> [u8; 4] {
        let bucket = |channel: usize| self.buckets[usize::from(symbol[channel])];
        [bucket(0), bucket(1) | 8, bucket(2) | 16, bucket(3) | 24]
    }
}

impl Shuffles {
    const fn new(bits: u32) -> Self {
        let mut made = Self {
            log_low: [0; 16],
            log_high: [0; 16],
            scale: [0; 16],
            mask: [0; 16],
            plain: [0; 16],
            first: [0; 16],
            escape: [0; 16],
        };
        let mut half = 1u32;
        while half < 16 {
            let log = half.ilog2();
            made.log_low[half as usize] = (log & 3) as u8;
            let log = if log + 4 < bits { log + 4 } else { bits - 1 };
            made.log_high[half as usize] = (log & 7) as u8;
            half += 1;
        }
        let mut l = 0;
        while l < bits {
            let param = param(bits, l);
            let at = l as usize;
            made.scale[at] = 128 >> l;
            made.mask[at] = (((1u32 << l) - 1) & 0xff) as u8;
            made.plain[at] = ((l + 1) & 0xff) as u8;
            made.first[at] = param.first;
            made.escape[at] = param.zeros + param.suffix[1];
            l += 1;
        }
        // What is added to the low bits becomes 0 in a byte, and no symbol is escaped.
        made.mask[NO_CHANNEL as usize] = 0xff;
        made.first[NO_CHANNEL as usize] = 0xff;
        // Everything is escaped.
        let mut plain = 1;
        while plain < 8 {
            made.escape[as_it_is(plain) as usize] = plain;
            plain += 1;
        }
        made
    }
}

const fn param(bits: u32, l: u32) -> Param {
    let most = (1 << (bits - l)) - 1;
    let zeros = if LIMIT - bits < most { LIMIT - bits } else { most };
    let first = zeros << l;
    let escaped = (1u32 << bits) - first;
    let suffix = escaped.next_power_of_two().trailing_zeros();
    let suffix = [(l & 7) as u8, (suffix & 15) as u8];
    Param { zeros: (zeros & 31) as u8, suffix, first: (first & 0xff) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(family: &Family, bits: usize) -> Vec<[u8; 4]> {
        let all = family.params.iter().take(bits);
        all.map(|p| [p.zeros, p.first, p.suffix[1], p.zeros + p.suffix[1]]).collect()
    }

    #[test]
    fn the_families_are_those_of_the_format() {
        assert_eq!(
            rows(&EIGHT, 8),
            [
                [18, 18, 8, 26],
                [18, 36, 8, 26],
                [18, 72, 8, 26],
                [18, 144, 7, 25],
                [15, 240, 4, 19],
                [7, 224, 5, 12],
                [3, 192, 6, 9],
                [1, 128, 7, 8]
            ]
        );
        assert_eq!(
            rows(&FIVE, 5),
            [[21, 21, 4, 25], [15, 30, 1, 16], [7, 28, 2, 9], [3, 24, 3, 6], [1, 16, 4, 5]]
        );
    }

    #[test]
    fn no_code_is_the_beginning_of_another_one() {
        for (family, bits) in [(&EIGHT, 8), (&FIVE, 5)] {
            for l in 0..bits {
                let codes: Vec<(u32, u32)> = (0..1usize << bits)
                    .map(|n| family.codes[l << 8 | n])
                    .map(|entry| (u32::from(entry >> 8), u32::from(entry & 0xff)))
                    .collect();
                for (a, &(a_len, a_bits)) in codes.iter().enumerate() {
                    assert!(a_len <= LIMIT);
                    for (b, &(b_len, b_bits)) in codes.iter().enumerate() {
                        let starts = a_len <= b_len && b_bits >> (b_len - a_len) == a_bits;
                        assert_eq!(starts, a == b, "{l}: {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn buckets_double_in_size() {
        for (family, starts) in
            [(&EIGHT, &[0, 1, 3, 7, 15, 31, 63, 127][..]), (&FIVE, &[0, 1, 3, 7, 15])]
        {
            let size = if starts.len() == 8 { 256 } else { 32 };
            for value in 0..size {
                let bucket = starts.iter().rposition(|&start| start <= value).unwrap();
                assert_eq!(usize::from(family.buckets[value]), bucket);
            }
        }
    }

    #[test]
    fn bits_can_be_written_as_they_are() {
        for family in [&EIGHT, &FIVE] {
            for bits in 1..8 {
                for n in 0..1 << bits {
                    assert_eq!(family.code(as_it_is(bits), n), (n.into(), bits.into()));
                }
            }
            assert_eq!(family.code(NO_CHANNEL, 0), (0, 0));
        }
    }
}

//! Lines, numbers and binary pieces of a recording, with bounds on all of them.

use std::io::{BufRead, Read};

use super::reader::ReplayError;

/// No line of the format is longer than this.
const MAX_LINE: usize = 256;
/// Read at once, so that a size that lies costs no memory.
const FIRST_STEP: usize = 1 << 20;

/// Text and bytes of a recording, one after another.
pub(super) struct Text<R> {
    input: R,
    /// The line read last, without its end.
    line: Vec<u8>,
    /// Number of that line; binary pieces count as none.
    number: u64,
    /// The line was only looked at.
    held: bool,
}

impl<R: BufRead> Text<R> {
    pub fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, held: false }
    }

    /// Gives back what is read from.
    pub fn into_input(self) -> R {
        self.input
    }

    /// An error at the line that was read last.
    pub fn damage(&self, what: &'static str) -> ReplayError {
        ReplayError::Damage { line: self.number, what }
    }

    /// The next line.
    pub fn line(&mut self) -> Result<&[u8], ReplayError> {
        if !std::mem::take(&mut self.held) {
            self.until(b'\n')?;
        }
        Ok(&self.line)
    }

    /// The next line, which stays the next one.
    pub fn peek(&mut self) -> Result<&[u8], ReplayError> {
        self.line()?;
        self.held = true;
        Ok(&self.line)
    }

    /// The numbers of a line behind its key; an empty key is none.
    pub fn numbers<const N: usize>(&mut self, key: &'static str) -> Result<[i128; N], ReplayError> {
        let numbers = parse_numbers(self.line()?, key);
        numbers.ok_or_else(|| self.damage(if key.is_empty() { "numbers" } else { key }))
    }

    /// A binary piece, at most `limit` bytes, put behind what `out` has. Returns its size.
    pub fn binary(
        &mut self,
        name: &'static str,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, ReplayError> {
        if self.held {
            return Err(self.damage(name));
        }
        self.until(b':')?;
        let (packed, size) = parse_binary(&self.line, name).ok_or_else(|| self.damage(name))?;
        let size = usize::try_from(size).ok().filter(|size| *size <= limit);
        let size = size.ok_or_else(|| self.damage("more data than a command may bring"))?;
        if packed {
            self.until(b':')?;
            let length = parse_number(&self.line).and_then(|n| u64::try_from(n).ok());
            let length = length.ok_or_else(|| self.damage("size of packed data"))?;
            self.inflate(length, size, out)?;
        } else {
            self.take(size, out)?;
        }
        self.until(b'\n')?;
        if self.line.is_empty() { Ok(size) } else { Err(self.damage("end of data")) }
    }

    /// Bytes up to `end`, which is taken and not kept.
    fn until(&mut self, end: u8) -> Result<(), ReplayError> {
        self.line.clear();
        self.number += 1;
        // One more than allowed, to tell a long line from the end of the file.
        let mut limited = (&mut self.input).take(MAX_LINE as u64 + 1);
        limited.read_until(end, &mut self.line)?;
        if self.line.pop_if(|last| *last == end).is_some() {
            return Ok(());
        }
        if self.line.len() > MAX_LINE { Err(self.damage("line")) } else { Err(ReplayError::End) }
    }

    fn take(&mut self, size: usize, out: &mut Vec<u8>) -> Result<(), ReplayError> {
        let end = out.len() + size;
        while out.len() < end {
            let step = (end - out.len()).min(FIRST_STEP.max(out.len()));
            out.try_reserve_exact(step)?;
            let from = out.len();
            out.resize(from + step, 0);
            let Some(piece) = out.get_mut(from..) else { return Err(ReplayError::End) };
            self.input.read_exact(piece)?;
        }
        Ok(())
    }

    /// `length` bytes of a zlib stream that become exactly `size` bytes.
    fn inflate(&mut self, length: u64, size: usize, out: &mut Vec<u8>) -> Result<(), ReplayError> {
        let end = out.len() + size;
        let mut packed = (&mut self.input).take(length);
        let mut stream = flate2::bufread::ZlibDecoder::new(&mut packed);
        let mut good = true;
        while good && out.len() < end {
            let step = (end - out.len()).min(FIRST_STEP.max(out.len()));
            out.try_reserve_exact(step)?;
            let from = out.len();
            out.resize(from + step, 0);
            good = out.get_mut(from..).is_some_and(|piece| stream.read_exact(piece).is_ok());
        }
        // What the stream did not need (its checksum at least) lies before the end of the line.
        good &= stream.read(&mut [0]).is_ok_and(|more| more == 0);
        std::io::copy(&mut packed, &mut std::io::sink())?;
        if good { Ok(()) } else { Err(self.damage("packed data")) }
    }
}

/// One decimal number and nothing else.
fn parse_number(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    // As many as the largest 64-bit number has; no overflow below.
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    let mut value = 0i128;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i128::from(digit);
    }
    Some(if negative { -value } else { value })
}

fn parse_numbers<const N: usize>(line: &[u8], key: &str) -> Option<[i128; N]> {
    let rest = line.strip_prefix(key.as_bytes())?;
    let rest = if key.is_empty() { rest } else { rest.strip_prefix(b" ")? };
    let mut words = rest.split(|byte| *byte == b' ');
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = parse_number(words.next()?)?;
    }
    words.next().is_none().then_some(numbers)
}

/// "binary Z NAME SIZE": whether it is packed, and the size.
fn parse_binary(text: &[u8], name: &str) -> Option<(bool, i128)> {
    let text = text.strip_prefix(b"binary ")?;
    let (packed, text) = text.split_first()?;
    let packed = match packed {
        b'0' => false,
        b'1' => true,
        _ => return None,
    };
    let size = text.strip_prefix(b" ")?.strip_prefix(name.as_bytes())?.strip_prefix(b" ")?;
    Some((packed, parse_number(size)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_decimals_with_one_space_between() {
        assert_eq!(parse_numbers::<2>(b"point -3 4", "point"), Some([-3, 4]));
        assert_eq!(parse_numbers::<1>(b"-2147483648", ""), Some([-2_147_483_648]));
        for bad in ["point 3", "point 3 4 5", "point  3 4", "point 3 +4", "point 3 ", "points 3 4"]
        {
            assert_eq!(parse_numbers::<2>(bad.as_bytes(), "point"), None, "{bad}");
        }
        assert_eq!(parse_number(b"18446744073709551615"), Some(u64::MAX.into()));
        assert_eq!(parse_number(b"184467440737095516150"), None);
    }

    #[test]
    fn a_line_has_an_end_and_a_bound() {
        let mut text = Text::new(&b"one\n\ntwo"[..]);
        assert_eq!(text.peek().unwrap(), b"one");
        assert_eq!(text.line().unwrap(), b"one");
        assert_eq!(text.line().unwrap(), b"");
        assert!(matches!(text.line(), Err(ReplayError::End)));
        let long = vec![b'x'; MAX_LINE + 1];
        assert!(matches!(Text::new(&long[..]).line(), Err(ReplayError::Damage { .. })));
    }

    #[test]
    fn binary_pieces_are_plain_or_packed() {
        let mut out = Vec::new();
        let mut text = Text::new(&b"binary 0 a 3:x\ny\nbinary 0 a 0:\nnext\n"[..]);
        assert_eq!(text.binary("a", 10, &mut out).unwrap(), 3);
        assert_eq!(text.binary("a", 10, &mut out).unwrap(), 0);
        assert_eq!((out.as_slice(), text.line().unwrap()), (&b"x\ny"[..], &b"next"[..]));

        let mut packed = Vec::new();
        flate2::read::ZlibEncoder::new(&[7u8; 5000][..], flate2::Compression::fast())
            .read_to_end(&mut packed)
            .unwrap();
        let mut file = format!("binary 1 a 5000:{}:", packed.len()).into_bytes();
        file.extend_from_slice(&packed);
        file.extend_from_slice(b"\nnext\n");
        let mut out = Vec::new();
        let mut text = Text::new(&file[..]);
        assert_eq!(text.binary("a", 5000, &mut out).unwrap(), 5000);
        assert_eq!((out, text.line().unwrap()), (vec![7; 5000], &b"next"[..]));
    }

    #[test]
    fn binary_pieces_that_lie_about_their_size_are_damage_or_the_end() {
        let binary = |file: &[u8]| Text::new(file).binary("a", 1 << 30, &mut Vec::new());
        assert!(matches!(binary(b"binary 0 a 1000000000:x"), Err(ReplayError::End)));
        assert!(matches!(binary(b"binary 0 a 1:xy\n"), Err(ReplayError::Damage { .. })));
        assert!(matches!(binary(b"binary 0 a -1:\n"), Err(ReplayError::Damage { .. })));
        assert!(matches!(binary(b"binary 0 a 9999999999:\n"), Err(ReplayError::Damage { .. })));
        assert!(matches!(binary(b"binary 2 a 1:x\n"), Err(ReplayError::Damage { .. })));
        assert!(matches!(binary(b"binary 1 a 9:3:xyz\n"), Err(ReplayError::Damage { .. })));
    }
}

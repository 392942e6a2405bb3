//! From a stream to pixels.
//!
//! All input is foreign. Work is bounded by the stream's bits before anything is allocated: each
//! pixel of the first row and of the first column has bits of its own. Behind its end a stream
//! reads as zeros, which is found out row by row.

use std::hint::select_unpredictable;

use super::bits::BitReader;
use super::family::family;
use super::model::{Models, Pace, RunState};
use super::{HEADER, Header, MAGIC, MAX_PIXELS, PixelType, QuicError, VERSION};
use crate::codec::Limits;
use crate::codec::simd::{self, Kernel, Level, Work};

/// A decoded picture, the top row first, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedImage {
    /// What pixels it has. Bytes that a stream does not keep are 0.
    pub format: PixelType,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes of a row.
    pub stride: usize,
    /// `stride * height` bytes.
    pub pixels: Vec<u8>,
}

/// What a stream says of itself; nothing is decoded.
///
/// # Errors
/// [`QuicError`] if it has no valid header.
pub fn peek(stream: &[u8]) -> Result<Header, QuicError> {
    let Some(header) = stream.first_chunk::<HEADER>() else {
        return Err(QuicError::Short(stream.len()));
    };
    let (words, _) = header.as_chunks::<4>();
    let [magic, version, pixels, width, height] =
        [0, 1, 2, 3, 4].map(|i: usize| u32::from_le_bytes(words[i]));
    if magic != MAGIC {
        return Err(QuicError::Magic(magic));
    }
    if version != VERSION {
        return Err(QuicError::Version(version));
    }
    let pixels = PixelType::from_u32(pixels).ok_or(QuicError::PixelType(pixels))?;
    let count = u64::from(width) * u64::from(height);
    if count == 0 || count > MAX_PIXELS {
        return Err(QuicError::Size { width, height });
    }
    Ok(Header { pixels, width, height })
}

/// Decodes a stream. What follows its last row is not looked at.
///
/// # Errors
/// [`QuicError`]; nothing was decoded then.
pub fn decode(stream: &[u8], limits: &Limits) -> Result<DecodedImage, QuicError> {
    decode_at(simd::level(), stream, limits)
}

/// [`decode`] with the instructions of a level: for tests and benches, the pixels are the same.
///
/// # Errors
/// As those of [`decode`].
pub fn decode_at(level: Level, stream: &[u8], limits: &Limits) -> Result<DecodedImage, QuicError> {
    let Header { pixels: format, width, height } = peek(stream)?;
    let (columns, rows) = (u64::from(width), u64::from(height));
    if columns * rows > limits.pixels {
        return Err(QuicError::Size { width, height });
    }
    let (words, _) = stream[HEADER..].as_chunks::<4>();
    let channels = match format {
        PixelType::Gray => 1,
        PixelType::Rgb16 | PixelType::Rgb24 | PixelType::Rgb32 => 3,
        PixelType::Rgba => 4,
    };
    if words.len() as u64 * 32 < channels * (columns + rows - 1) {
        return Err(QuicError::Truncated(0));
    }
    let bytes = columns * rows * format.bytes() as u64;
    let no_memory = QuicError::Memory(bytes);
    let size = usize::try_from(bytes).map_err(|_| no_memory)?;
    let width_of_row = usize::try_from(width).map_err(|_| no_memory)?;
    let stride = width_of_row * format.bytes();
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(size).map_err(|_| no_memory)?;
    pixels.resize(size, 0);

    let work = Decode { words, format, width: width_of_row, stride, no_memory, out: &mut pixels };
    simd::run(level, work)?;
    Ok(DecodedImage { format, width, height, stride, pixels })
}

/// A stream, and where its pixels go.
struct Decode<'a> {
    words: &'a [[u8; 4]],
    format: PixelType,
    width: usize,
    stride: usize,
    no_memory: QuicError,
    out: &'a mut [u8],
}

impl Work for Decode<'_> {
    type Output = Result<(), QuicError>;

    #[inline(always)]
    fn with<K: Kernel>(self, k: K) -> Result<(), QuicError> {
        match self.format {
            PixelType::Gray => self.group::<K, 1, 8, 1>(k, |[gray, ..]| [gray]),
            PixelType::Rgb16 => self.group::<K, 3, 5, 2>(k, |[b, g, r, _]| {
                (u16::from(r) << 10 | u16::from(g) << 5 | u16::from(b)).to_le_bytes()
            }),
            PixelType::Rgb24 => self.group::<K, 3, 8, 3>(k, |[b, g, r, _]| [b, g, r]),
            PixelType::Rgb32 => self.group::<K, 3, 8, 4>(k, |pixel| pixel),
            PixelType::Rgba => self.rgba(k),
        }
    }
}

impl Decode<'_> {
    #[inline(always)]
    fn group<K: Kernel, const CHANNELS: usize, const BITS: usize, const BYTES: usize>(
        self,
        k: K,
        store: impl Fn([u8; 4]) -> [u8; BYTES],
    ) -> Result<(), QuicError> {
        let mut bits = BitReader::new(self.words);
        let mut plane = Plane::<K, CHANNELS, BITS>::new(k, self.width).ok_or(self.no_memory)?;
        for (y, out) in (0..).zip(self.out.chunks_exact_mut(self.stride)) {
            let row = plane.row(y, &mut bits)?;
            for (out, pixel) in out.as_chunks_mut().0.iter_mut().zip(row) {
                *out = store(pixel.to_le_bytes());
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn rgba<K: Kernel>(self, k: K) -> Result<(), QuicError> {
        let mut bits = BitReader::new(self.words);
        let mut colors = Plane::<K, 3, 8>::new(k, self.width).ok_or(self.no_memory)?;
        let mut alpha = Plane::<K, 1, 8>::new(k, self.width).ok_or(self.no_memory)?;
        for (y, out) in (0..).zip(self.out.chunks_exact_mut(self.stride)) {
            let colors = colors.row(y, &mut bits)?;
            let alphas = alpha.row(y, &mut bits)?;
            for (out, (color, alpha)) in
                out.as_chunks_mut().0.iter_mut().zip(colors.iter().zip(alphas))
            {
                *out = (color | alpha << 24).to_le_bytes();
            }
        }
        Ok(())
    }
}

/// One code of the family, ready to be read.
#[derive(Clone, Copy)]
struct Ready {
    /// So many zeros announce an escape.
    zeros: u8,
    /// Bits of a plain code behind its zeros.
    plain: u8,
    /// Bits of an escape.
    escape: u8,
    /// The parameter.
    shift: u8,
    /// The first symbol that is escaped.
    first: u8,
}

/// One group of channels that share their pace and their runs. Pixels and symbols are four bytes
/// in a number, of which the lowest one or three are channels.
struct Plane<K, const CHANNELS: usize, const BITS: usize> {
    k: K,
    width: usize,
    pace: Pace,
    run: RunState,
    models: Models<CHANNELS, BITS>,
    /// How the buckets of each channel are read.
    ready: [[Ready; 8]; CHANNELS],
    /// Symbols of the last literal at each column: runs leave them alone.
    symbols: Vec<u32>,
    /// All values that were read for symbols, joined: a bit too high tells that one was none.
    values: u32,
    above: Vec<u32>,
    current: Vec<u32>,
}

/// A run leaves its segment.
struct RunFault;

impl<K: Kernel, const CHANNELS: usize, const BITS: usize> Plane<K, CHANNELS, BITS> {
    /// `None` if there is no memory.
    fn new(k: K, width: usize) -> Option<Self> {
        let row = || {
            let mut row = Vec::new();
            row.try_reserve_exact(width).ok()?;
            row.resize(width, 0);
            Some(row)
        };
        let mut made = Self {
            k,
            width,
            pace: Pace::new(),
            run: RunState::new(),
            models: Models::new(),
            ready: [[Ready { zeros: 0, plain: 0, escape: 0, shift: 0, first: 0 }; 8]; CHANNELS],
            symbols: row()?,
            values: 0,
            above: row()?,
            current: row()?,
        };
        for channel in 0..CHANNELS {
            (0..8).for_each(|bucket| made.make_ready(channel, bucket));
        }
        Some(made)
    }

    /// Takes over what the model of a channel chose.
    #[inline(always)]
    fn make_ready(&mut self, channel: usize, bucket: usize) {
        let best = self.models.best[channel << 3 & 24 | bucket & 7] & 7;
        let param = &family::<BITS>().params[usize::from(best)];
        self.ready[channel][bucket] = Ready {
            zeros: param.zeros,
            plain: 1 + param.suffix[0],
            escape: param.zeros + param.suffix[1],
            shift: best,
            first: param.first,
        };
    }

    /// Decodes the next row, whose number is `y`.
    #[inline(always)]
    fn row(&mut self, y: u32, bits: &mut BitReader<'_>) -> Result<&[u32], QuicError> {
        std::mem::swap(&mut self.above, &mut self.current);
        let mut start = 0;
        while start < self.width {
            let end = self.pace.segment_end(start, self.width);
            let done = if y == 0 {
                self.first_row_segment(start, end, bits);
                Ok(())
            } else {
                self.segment(start, end, bits)
            };
            // Zeros behind the end are no symbols of the sender: say that first.
            if bits.overrun() {
                return Err(QuicError::Truncated(y));
            }
            if self.values >> BITS != 0 {
                return Err(QuicError::Symbol(y));
            }
            done.map_err(|RunFault| QuicError::Run(y))?;
            self.pace.end_segment(end - start);
            start = end;
        }
        Ok(&self.current)
    }

    /// A segment of the row that has none above it, and no runs.
    #[inline(always)]
    fn first_row_segment(&mut self, start: usize, end: usize, bits: &mut BitReader<'_>) {
        let mut at = start;
        let (mut left, mut context);
        if start == 0 {
            (left, context) = self.first_column(0, 0, bits);
            at = 1;
        } else {
            left = self.current[start - 1];
            context = self.symbols[start - 1];
        }
        let mut stop = at + self.pace.wait;
        for i in at..end {
            let symbol = self.symbols(context, bits);
            left = restored::<BITS>(symbol, left);
            self.current[i] = left;
            self.symbols[i] = symbol;
            if i == stop {
                self.learn(context, symbol);
                stop = i + 1 + self.pace.random();
            }
            context = symbol;
        }
        self.pace.wait = stop - end;
    }

    #[inline(always)]
    fn segment(
        &mut self,
        start: usize,
        end: usize,
        bits: &mut BitReader<'_>,
    ) -> Result<(), RunFault> {
        let mut i = start;
        if start == 0 {
            self.first_column(self.above[0], self.symbols[0], bits);
            i = 1;
        }
        let mut stop = i + self.pace.wait;
        let mut last_run = 0;
        while i < end {
            let mut left = self.current[i - 1];
            // The first column is not equal to anything.
            let mut before = if i > 1 { self.current[i - 2] } else { !left };
            let mut left_above = self.above[i - 1];
            let mut context = self.symbols[i - 1];
            let (mut at_run, mut at_update) = (false, false);
            // Literals, up to the next update or run.
            let mut symbol = 0;
            let literals_end = end.min(stop + 1);
            while i < literals_end {
                let above = self.above[i];
                if left_above == above && left == before && i > 2 && i != last_run {
                    at_run = true;
                    break;
                }
                symbol = self.symbols(context, bits);
                before = left;
                left = restored::<BITS>(symbol, average(left, above));
                left_above = above;
                self.current[i] = left;
                self.symbols[i] = symbol;
                if i == stop {
                    at_update = true;
                    break;
                }
                context = symbol;
                i += 1;
            }
            if at_run {
                last_run = i;
                self.pace.wait = stop - i;
                let length = self.run_length(end - i, bits)?;
                self.current[i..i + length].fill(left);
                i += length;
                if i == end {
                    return Ok(());
                }
                stop = i + self.pace.wait;
                // A second run, of length 0, may follow one that ends within the segment.
            } else if at_update {
                self.learn(context, symbol);
                i += 1;
                stop = i + self.pace.random();
            }
        }
        self.pace.wait = stop - end;
        Ok(())
    }

    /// Column 0, which has its own rule for updates. The pixel and its symbol.
    #[inline(always)]
    fn first_column(
        &mut self,
        prediction: u32,
        context: u32,
        bits: &mut BitReader<'_>,
    ) -> (u32, u32) {
        let symbol = self.symbols(context, bits);
        let pixel = restored::<BITS>(symbol, prediction);
        self.current[0] = pixel;
        self.symbols[0] = symbol;
        if self.pace.wait > 0 {
            self.pace.wait -= 1;
        } else {
            self.pace.wait = self.pace.random();
            self.learn(context, symbol);
        }
        (pixel, symbol)
    }

    #[inline(always)]
    fn learn(&mut self, context: u32, symbol: u32) {
        let trigger = self.pace.trigger();
        let slots = family::<BITS>().slots(context.to_le_bytes());
        self.models.learn(self.k, slots, symbol.to_le_bytes(), trigger);
        for (channel, slot) in slots.iter().enumerate().take(CHANNELS) {
            self.make_ready(channel, (slot & 7).into());
        }
    }

    /// How the symbol of a channel is read that follows this context.
    #[inline(always)]
    fn ready(&self, channel: usize, context: u32) -> Ready {
        let context = usize::from(context.to_le_bytes()[channel]);
        self.ready[channel][usize::from(family::<BITS>().buckets[context] & 7)]
    }

    /// The symbols of one pixel.
    #[inline(always)]
    fn symbols(&mut self, context: u32, bits: &mut BitReader<'_>) -> u32 {
        let (window, there) = bits.peek();
        if CHANNELS == 1 {
            let (value, length) = symbol(window, self.ready(0, context));
            bits.skip(length);
            self.values |= value;
            return value & 0xff;
        }
        // The channel with the highest number comes first.
        let (mut joined, mut values, mut used) = (0, 0, 0);
        let mut rest = window;
        for channel in (0..CHANNELS).rev() {
            let (value, length) = symbol(rest, self.ready(channel, context));
            // No code has 32 bits.
            rest <<= length & 31;
            used += length;
            values |= value;
            joined = joined << 8 | value & 0xff;
        }
        if used <= there && used < 64 {
            bits.skip(used);
            self.values |= values;
            return joined;
        }
        self.symbols_one_by_one(context, bits)
    }

    /// The same for a pixel of many bits.
    #[cold]
    #[inline(never)]
    fn symbols_one_by_one(&mut self, context: u32, bits: &mut BitReader<'_>) -> u32 {
        let mut joined = 0;
        for channel in (0..CHANNELS).rev() {
            let (value, length) = symbol(bits.peek().0, self.ready(channel, context));
            bits.skip(length);
            self.values |= value;
            joined = joined << 8 | value & 0xff;
        }
        joined
    }

    /// The length of a run of at most `left` columns.
    #[inline(always)]
    fn run_length(&mut self, left: usize, bits: &mut BitReader<'_>) -> Result<usize, RunFault> {
        let mut length = 0;
        while bits.take(1) == 1 {
            length += 1 << self.run.step();
            if length > left {
                return Err(RunFault);
            }
            self.run.longer();
        }
        length += bits.take(self.run.step()) as usize;
        self.run.shorter();
        if length > left { Err(RunFault) } else { Ok(length) }
    }
}

/// The symbol that a window begins with, or a larger value that is none, and the bits of its code.
#[inline(always)]
fn symbol(window: u64, ready: Ready) -> (u32, u32) {
    let zeros = window.leading_zeros();
    // Nothing can foretell which one it is, so there had better be no branch.
    let escaped = zeros >= u32::from(ready.zeros);
    let length = select_unpredictable(escaped, ready.escape.into(), zeros + u32::from(ready.plain));
    // A plain code has a one where the number of zeros less one would have its lowest bit.
    let plain = zeros.wrapping_sub(1) << (ready.shift & 7);
    let base = select_unpredictable(escaped, ready.first.into(), plain);
    // At most 26 bits.
    let code = (window >> ((64 - length) & 63) & 0x03ff_ffff) as u32;
    (code.wrapping_add(base), length)
}

/// Halves of the sums of all four bytes.
#[inline(always)]
fn average(a: u32, b: u32) -> u32 {
    (a & b) + ((a ^ b) >> 1 & 0x7f7f_7f7f)
}

/// A pixel from its symbols and what was predicted.
#[inline(always)]
fn restored<const BITS: usize>(symbols: u32, prediction: u32) -> u32 {
    // 0, -1, 1, -2, 2, …
    let sign = (symbols & 0x0101_0101).wrapping_mul(0xff);
    let difference = (symbols >> 1 & 0x7f7f_7f7f) ^ sign;
    // Bytes are added without carries between them.
    let low = (prediction & 0x7f7f_7f7f) + (difference & 0x7f7f_7f7f);
    let sum = low ^ (prediction ^ difference) & 0x8080_8080;
    sum & if BITS == 8 { u32::MAX } else { 0x1f1f_1f1f }
}

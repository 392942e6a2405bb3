//! From a stream to pixels.
//!
//! All input is foreign. Work is bounded by the stream's bits before anything is allocated: each
//! pixel of the first row and of the first column has bits of its own. Behind its end a stream
//! reads as zeros, which is found out row by row.

use super::bits::BitReader;
use super::family::{Family, family};
use super::model::{OldModel as Model, Pace, RunState};
use super::{
    HEADER, Header, MAGIC, MAX_PIXELS, Pixel, PixelType, QuicError, VERSION, channels, lane,
};
use crate::codec::Limits;

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

    let mut bits = BitReader::new(words);
    let out = pixels.chunks_exact_mut(stride);
    match format {
        PixelType::Gray => {
            let mut gray = Plane::<1, 8>::new(width_of_row).ok_or(no_memory)?;
            for (y, out) in (0..).zip(out) {
                out.copy_from_slice(gray.row(y, &mut bits)?.as_flattened());
            }
        }
        PixelType::Rgb16 => {
            let mut rgb = Plane::<4, 5>::new(width_of_row).ok_or(no_memory)?;
            for (y, out) in (0..).zip(out) {
                for (out, [b, g, r, _]) in
                    out.as_chunks_mut().0.iter_mut().zip(rgb.row(y, &mut bits)?)
                {
                    let pixel = u16::from(*r) << 10 | u16::from(*g) << 5 | u16::from(*b);
                    *out = pixel.to_le_bytes();
                }
            }
        }
        PixelType::Rgb24 => {
            let mut rgb = Plane::<4, 8>::new(width_of_row).ok_or(no_memory)?;
            for (y, out) in (0..).zip(out) {
                for (out, [b, g, r, _]) in
                    out.as_chunks_mut().0.iter_mut().zip(rgb.row(y, &mut bits)?)
                {
                    *out = [*b, *g, *r];
                }
            }
        }
        PixelType::Rgb32 => {
            let mut rgb = Plane::<4, 8>::new(width_of_row).ok_or(no_memory)?;
            for (y, out) in (0..).zip(out) {
                out.copy_from_slice(rgb.row(y, &mut bits)?.as_flattened());
            }
        }
        PixelType::Rgba => {
            let mut rgb = Plane::<4, 8>::new(width_of_row).ok_or(no_memory)?;
            let mut alpha = Plane::<1, 8>::new(width_of_row).ok_or(no_memory)?;
            for (y, out) in (0..).zip(out) {
                let colors = rgb.row(y, &mut bits)?;
                let alphas = alpha.row(y, &mut bits)?;
                for ((out, [b, g, r, _]), [a]) in
                    out.as_chunks_mut().0.iter_mut().zip(colors).zip(alphas)
                {
                    *out = [*b, *g, *r, *a];
                }
            }
        }
    }
    Ok(DecodedImage { format, width, height, stride, pixels })
}

/// One group of channels that share their pace and their runs.
struct Plane<const N: usize, const BITS: usize> {
    width: usize,
    pace: Pace,
    run: RunState,
    models: [Model<BITS>; 3],
    /// Symbols of the last literal at each column: runs leave them alone.
    symbols: Vec<Pixel<N>>,
    /// All values that were read for symbols, joined: a bit too high tells that one was none.
    values: u32,
    above: Vec<Pixel<N>>,
    current: Vec<Pixel<N>>,
}

/// A run leaves its segment.
struct RunFault;

impl<const N: usize, const BITS: usize> Plane<N, BITS> {
    /// `None` if there is no memory.
    fn new(width: usize) -> Option<Self> {
        let row = || {
            let mut row = Vec::new();
            row.try_reserve_exact(width).ok()?;
            row.resize(width, [0; N]);
            Some(row)
        };
        Some(Self {
            width,
            pace: Pace::new(),
            run: RunState::new(),
            models: [Model::new(), Model::new(), Model::new()],
            symbols: row()?,
            values: 0,
            above: row()?,
            current: row()?,
        })
    }

    /// Decodes the next row, whose number is `y`.
    fn row(&mut self, y: u32, bits: &mut BitReader<'_>) -> Result<&[Pixel<N>], QuicError> {
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
    fn first_row_segment(&mut self, start: usize, end: usize, bits: &mut BitReader<'_>) {
        let mut at = start;
        let (mut left, mut context) = ([0; N], [0; N]);
        if start == 0 {
            (left, context) = self.first_column(left, context, bits);
            at = 1;
        } else {
            left = self.current[start - 1];
            context = self.symbols[start - 1];
        }
        let mut stop = at + self.pace.wait;
        for i in at..end {
            let symbol = self.symbols(&context, bits);
            left = restored::<N, BITS>(&symbol, &left);
            self.current[i] = left;
            self.symbols[i] = symbol;
            if i == stop {
                self.learn(&context, &symbol);
                stop = i + 1 + self.pace.random();
            }
            context = symbol;
        }
        self.pace.wait = stop - end;
    }

    fn segment(
        &mut self,
        start: usize,
        end: usize,
        bits: &mut BitReader<'_>,
    ) -> Result<(), RunFault> {
        let mut i = start;
        if start == 0 {
            let (above, context) = (self.above[0], self.symbols[0]);
            self.first_column(above, context, bits);
            i = 1;
        }
        let mut stop = i + self.pace.wait;
        let mut last_run = 0;
        while i < end {
            let left = self.current[i - 1];
            if i > 2
                && i != last_run
                && self.above[i - 1] == self.above[i]
                && left == self.current[i - 2]
            {
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
                continue;
            }
            let context = self.symbols[i - 1];
            let symbol = self.symbols(&context, bits);
            let above = self.above[i];
            let mut prediction = [0; N];
            for (p, (l, a)) in prediction.iter_mut().zip(left.iter().zip(&above)) {
                *p = l.midpoint(*a);
            }
            self.current[i] = restored::<N, BITS>(&symbol, &prediction);
            self.symbols[i] = symbol;
            if i == stop {
                self.learn(&context, &symbol);
                stop = i + 1 + self.pace.random();
            }
            i += 1;
        }
        self.pace.wait = stop - end;
        Ok(())
    }

    /// Column 0, which has its own rule for updates. The pixel and its symbol.
    fn first_column(
        &mut self,
        prediction: Pixel<N>,
        context: Pixel<N>,
        bits: &mut BitReader<'_>,
    ) -> (Pixel<N>, Pixel<N>) {
        let symbol = self.symbols(&context, bits);
        let pixel = restored::<N, BITS>(&symbol, &prediction);
        self.current[0] = pixel;
        self.symbols[0] = symbol;
        if self.pace.wait > 0 {
            self.pace.wait -= 1;
        } else {
            self.pace.wait = self.pace.random();
            self.learn(&context, &symbol);
        }
        (pixel, symbol)
    }

    fn learn(&mut self, context: &Pixel<N>, symbol: &Pixel<N>) {
        let trigger = self.pace.trigger();
        for (c, model) in self.models.iter_mut().enumerate().take(channels::<N>()) {
            model.update(context[lane::<N>(c)], symbol[lane::<N>(c)], trigger);
        }
    }

    /// The symbols of one pixel.
    #[inline(always)]
    fn symbols(&mut self, context: &Pixel<N>, bits: &mut BitReader<'_>) -> Pixel<N> {
        let family = family::<BITS>();
        let (mut symbols, mut values) = ([0; N], 0);
        for (c, model) in self.models.iter().enumerate().take(channels::<N>()) {
            let parameter = model.parameter(family, context[lane::<N>(c)]);
            let value = symbol(family, parameter, bits);
            values |= value;
            symbols[lane::<N>(c)] = (value & 0xff) as u8;
        }
        self.values |= values;
        symbols
    }

    /// The length of a run of at most `left` columns.
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

/// One symbol, or a larger value that is none.
#[inline(always)]
fn symbol(family: &Family, parameter: u8, bits: &mut BitReader<'_>) -> u32 {
    let param = &family.params[usize::from(parameter & 7)];
    let window = bits.peek();
    // Escapes begin where the plain codes end: what follows the zeros is added in both cases.
    // There is no branch because nothing can foretell it.
    let zeros = window.leading_zeros().min(param.zeros.into());
    let escaped = zeros == u32::from(param.zeros);
    let prefix = zeros + u32::from(!escaped);
    let suffix = u32::from(param.suffix[usize::from(escaped)]);
    let tail = (window << prefix >> 1 >> (63 - suffix) & 0xff) as u32;
    bits.skip(prefix + suffix);
    (zeros << (parameter & 7)) + tail
}

/// A pixel from its symbols and what was predicted.
#[inline(always)]
fn restored<const N: usize, const BITS: usize>(
    symbols: &Pixel<N>,
    prediction: &Pixel<N>,
) -> Pixel<N> {
    let mut pixel = [0; N];
    for (out, (symbol, prediction)) in pixel.iter_mut().zip(symbols.iter().zip(prediction)) {
        // 0, -1, 1, -2, 2, …
        let difference = (symbol >> 1) ^ (symbol & 1).wrapping_neg();
        *out = prediction.wrapping_add(difference) & (0xff >> (8 - BITS));
    }
    pixel
}

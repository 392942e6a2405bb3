//! From pixels to the one stream that they have.
//!
//! Whatever does not depend on what was coded before is made ahead for a whole row, in loops that
//! the compiler turns into vectors: symbols of all pixels, and a bit per pixel that tells whether
//! it equals its left neighbour. Runs are then found by bit scans, and what lies between two runs
//! and two updates of the statistics is a plain stretch of table look-ups.

use super::bits::BitWriter;
use super::family::family;
use super::model::{Model, Pace, RunState};
use super::{HEADER, MAGIC, MAX_PIXELS, Pixel, PixelType, VERSION, channels, lane};
use crate::codec::Rows;

/// Why a picture has no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Rows and pixel type do not fit together.
    #[error("rows of {row} bytes, need {need}")]
    Row {
        /// Bytes of the rows.
        row: usize,
        /// Bytes that this width and type have.
        need: usize,
    },
    /// More pixels than the format allows.
    #[error("picture of {0}x{1}")]
    Size(u32, u32),
    /// The stream would be longer than the caller can use.
    #[error("stream longer than {0} bytes")]
    Larger(usize),
}

/// Memory that an encoder needs while it works; to be kept from picture to picture.
#[derive(Debug, Default)]
pub struct Scratch {
    colors: Lines<4>,
    plane: Lines<1>,
}

/// Row buffers of one group of channels.
#[derive(Debug, Default)]
struct Lines<const N: usize> {
    above: Vec<Pixel<N>>,
    current: Vec<Pixel<N>>,
    /// Symbols of the current row, as if it had no runs.
    fresh: Vec<Pixel<N>>,
    /// Symbols of the last literal at each column: runs leave them alone.
    symbols: Vec<Pixel<N>>,
    /// Bit i: pixel i of the row above equals its left neighbour.
    equal_above: Vec<u64>,
    /// The same of the current row.
    equal: Vec<u64>,
}

/// Appends the stream of a picture to `out`.
///
/// # Errors
/// [`EncodeError`]; `out` is as it was then. [`EncodeError::Larger`] as soon as the stream is
/// longer than `limit` bytes: who would send the pixels as they are instead need not wait.
pub fn encode(
    picture: &Rows<'_>,
    format: PixelType,
    limit: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let (width, height) = (picture.width(), picture.height());
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(EncodeError::Size(width, height));
    }
    let columns = width as usize;
    let (row, need) = (picture.row_bytes(), columns * format.bytes());
    if row != need {
        return Err(EncodeError::Row { row, need });
    }
    let start = out.len();
    out.reserve(HEADER);
    for word in [MAGIC, VERSION, format as u32, width, height] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let done = match format {
        PixelType::Gray => one_group::<1, 8>(picture, start, limit, &mut scratch.plane, out, gray),
        PixelType::Rgb16 => {
            one_group::<4, 5>(picture, start, limit, &mut scratch.colors, out, rgb16)
        }
        PixelType::Rgb24 => {
            one_group::<4, 8>(picture, start, limit, &mut scratch.colors, out, rgb24)
        }
        PixelType::Rgb32 => {
            one_group::<4, 8>(picture, start, limit, &mut scratch.colors, out, rgb32)
        }
        PixelType::Rgba => rgba(picture, start, limit, scratch, out),
    };
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Any type but the one with alpha.
fn one_group<const N: usize, const BITS: usize>(
    picture: &Rows<'_>,
    start: usize,
    limit: usize,
    lines: &mut Lines<N>,
    out: &mut Vec<u8>,
    load: fn(&[u8], &mut [Pixel<N>]),
) -> Result<(), EncodeError> {
    let mut bits = BitWriter::new(out);
    let mut plane = Plane::<N, BITS>::new(lines, picture.width() as usize);
    for (y, row) in picture.from_top().enumerate() {
        load(row, plane.next_row());
        plane.row(y == 0, &mut bits);
        if bits.position() - start > limit {
            return Err(EncodeError::Larger(limit));
        }
    }
    bits.finish();
    if out.len() - start > limit { Err(EncodeError::Larger(limit)) } else { Ok(()) }
}

/// Colours and alpha, row by row in turn.
fn rgba(
    picture: &Rows<'_>,
    start: usize,
    limit: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut bits = BitWriter::new(out);
    let width = picture.width() as usize;
    let mut colors = Plane::<4, 8>::new(&mut scratch.colors, width);
    let mut alpha = Plane::<1, 8>::new(&mut scratch.plane, width);
    for (y, row) in picture.from_top().enumerate() {
        rgb32(row, colors.next_row());
        colors.row(y == 0, &mut bits);
        for (to, from) in alpha.next_row().iter_mut().zip(row.as_chunks::<4>().0) {
            *to = [from[3]];
        }
        alpha.row(y == 0, &mut bits);
        if bits.position() - start > limit {
            return Err(EncodeError::Larger(limit));
        }
    }
    bits.finish();
    if out.len() - start > limit { Err(EncodeError::Larger(limit)) } else { Ok(()) }
}

fn gray(row: &[u8], pixels: &mut [Pixel<1>]) {
    pixels.as_flattened_mut().copy_from_slice(row);
}

fn rgb16(row: &[u8], pixels: &mut [Pixel<4>]) {
    for (to, from) in pixels.iter_mut().zip(row.as_chunks().0) {
        let pixel = u16::from_le_bytes(*from);
        *to = [(pixel & 31) as u8, (pixel >> 5 & 31) as u8, (pixel >> 10 & 31) as u8, 0];
    }
}

fn rgb24(row: &[u8], pixels: &mut [Pixel<4>]) {
    for (to, [b, g, r]) in pixels.iter_mut().zip(row.as_chunks().0) {
        *to = [*b, *g, *r, 0];
    }
}

fn rgb32(row: &[u8], pixels: &mut [Pixel<4>]) {
    for (to, from) in pixels.iter_mut().zip(row.as_chunks().0) {
        *to = (u32::from_le_bytes(*from) & 0x00ff_ffff).to_le_bytes();
    }
}

/// One group of channels that share their pace and their runs.
struct Plane<'s, const N: usize, const BITS: usize> {
    width: usize,
    pace: Pace,
    run: RunState,
    models: [Model<BITS>; 3],
    lines: &'s mut Lines<N>,
}

impl<'s, const N: usize, const BITS: usize> Plane<'s, N, BITS> {
    fn new(lines: &'s mut Lines<N>, width: usize) -> Self {
        // What earlier pictures left needs no clearing: the first row writes before it reads.
        for row in [&mut lines.above, &mut lines.current, &mut lines.fresh, &mut lines.symbols] {
            row.resize(width, [0; N]);
        }
        for row in [&mut lines.equal_above, &mut lines.equal] {
            row.resize(width.div_ceil(64), 0);
        }
        let models = [Model::new(), Model::new(), Model::new()];
        Self { width, pace: Pace::new(), run: RunState::new(), models, lines }
    }

    /// Where the next row's pixels are to be written; what was there is the row above then.
    fn next_row(&mut self) -> &mut [Pixel<N>] {
        std::mem::swap(&mut self.lines.above, &mut self.lines.current);
        std::mem::swap(&mut self.lines.equal_above, &mut self.lines.equal);
        &mut self.lines.current
    }

    /// Codes the row that was written.
    fn row(&mut self, first: bool, bits: &mut BitWriter<'_>) {
        let lines = &mut *self.lines;
        mark_equal(&lines.current, &mut lines.equal);
        let above = if first { None } else { Some(lines.above.as_slice()) };
        symbols_of::<N, BITS>(above, &lines.current, &mut lines.fresh);
        let mut start = 0;
        while start < self.width {
            let end = self.pace.segment_end(start, self.width);
            self.segment(first, start, end, bits);
            self.pace.end_segment(end - start);
            start = end;
        }
    }

    fn segment(&mut self, first: bool, start: usize, end: usize, bits: &mut BitWriter<'_>) {
        let mut i = start;
        if start == 0 {
            self.first_column(first, bits);
            i = 1;
        }
        let mut stop = i + self.pace.wait;
        let mut last_run = 0;
        while i < end {
            let run = if first {
                end
            } else {
                self.lines.next_run(if i == last_run { i + 1 } else { i }, end)
            };
            // Literals up to the run, in stretches that end with an update.
            self.lines.symbols[i..run].copy_from_slice(&self.lines.fresh[i..run]);
            while i < run {
                let next = run.min(stop + 1);
                self.emit(i, next, bits);
                i = next;
                if i == stop + 1 {
                    let (context, symbol) =
                        (self.lines.symbols[stop - 1], self.lines.symbols[stop]);
                    self.learn(&context, &symbol);
                    stop = i + self.pace.random();
                }
            }
            if i == end {
                break;
            }
            last_run = i;
            self.pace.wait = stop - i;
            let length = self.lines.run_length(i, end);
            self.emit_run(length, bits);
            i += length;
            if i == end {
                return;
            }
            stop = i + self.pace.wait;
        }
        self.pace.wait = stop - end;
    }

    /// Column 0, which has its own rule for updates.
    fn first_column(&mut self, first: bool, bits: &mut BitWriter<'_>) {
        let context = if first { [0; N] } else { self.lines.symbols[0] };
        let symbol = self.lines.fresh[0];
        self.lines.symbols[0] = symbol;
        bits.make_room(10);
        put_pixel::<N, BITS>(&self.models, &context, &symbol, bits);
        if self.pace.wait > 0 {
            self.pace.wait -= 1;
        } else {
            self.pace.wait = self.pace.random();
            self.learn(&context, &symbol);
        }
    }

    fn learn(&mut self, context: &Pixel<N>, symbol: &Pixel<N>) {
        let trigger = self.pace.trigger();
        for (c, model) in self.models.iter_mut().enumerate().take(channels::<N>()) {
            model.update(context[lane::<N>(c)], symbol[lane::<N>(c)], trigger);
        }
    }

    /// Literal columns, none of them the first one; the statistics stay as they are meanwhile.
    #[inline]
    fn emit(&self, from: usize, to: usize, bits: &mut BitWriter<'_>) {
        // At most 78 bits per pixel.
        bits.make_room((to - from) * 10);
        let symbols = &self.lines.symbols[from - 1..to];
        for (context, symbol) in symbols.iter().zip(&symbols[1..]) {
            put_pixel::<N, BITS>(&self.models, context, symbol, bits);
        }
    }

    fn emit_run(&mut self, mut length: usize, bits: &mut BitWriter<'_>) {
        // A bit per full step, of which there are no more than columns, and what is left.
        bits.make_room(length / 8 + 8);
        while length >= 1 << self.run.step() {
            length -= 1 << self.run.step();
            self.run.longer();
            bits.put(1, 1);
        }
        bits.put(length as u64, 1 + self.run.step());
        self.run.shorter();
    }
}

/// Writes one pixel.
#[inline(always)]
fn put_pixel<const N: usize, const BITS: usize>(
    models: &[Model<BITS>; 3],
    context: &Pixel<N>,
    symbol: &Pixel<N>,
    bits: &mut BitWriter<'_>,
) {
    let family = family::<BITS>();
    let code = |c: usize| {
        let lane = lane::<N>(c);
        let parameter = models[c].parameter(family, context[lane]);
        let entry = family.codes[usize::from(parameter & 7) << 8 | usize::from(symbol[lane])];
        (u64::from(entry & 0xff), u32::from(entry >> 8))
    };
    let (head, head_length) = code(0);
    if N == 1 {
        bits.put(head, head_length);
        return;
    }
    let (middle, middle_length) = code(1);
    let (tail, tail_length) = code(2);
    let (pair, pair_length) = (head << middle_length | middle, head_length + middle_length);
    if pair_length + tail_length < 64 {
        bits.put(pair << tail_length | tail, pair_length + tail_length);
    } else {
        bits.put(pair, pair_length);
        bits.put(tail, tail_length);
    }
}

impl<const N: usize> Lines<N> {
    /// The first column in `from..end` before which a run is coded, or `end`.
    #[inline]
    fn next_run(&self, from: usize, end: usize) -> usize {
        let from = from.max(3);
        if from >= end {
            return end;
        }
        let mut word = from / 64;
        let mut keep = u64::MAX << (from % 64);
        while word * 64 < end {
            let before = if word == 0 { 0 } else { self.equal[word - 1] >> 63 };
            let runs = self.equal_above[word] & (self.equal[word] << 1 | before) & keep;
            if runs != 0 {
                return end.min(word * 64 + runs.trailing_zeros() as usize);
            }
            keep = u64::MAX;
            word += 1;
        }
        end
    }

    /// Number of columns from `from` on, and before `end`, that equal their left neighbour.
    #[inline]
    fn run_length(&self, from: usize, end: usize) -> usize {
        let mut at = from;
        while at < end {
            let ones = (!(self.equal[at / 64] >> (at % 64))).trailing_zeros() as usize;
            let to_word_end = 64 - at % 64;
            // The shift lets zeros in, so no more than the rest of the word can be ones.
            at += ones;
            if ones < to_word_end {
                break;
            }
        }
        at.min(end) - from
    }
}

/// Marks the pixels that equal their left neighbours.
fn mark_equal<const N: usize>(pixels: &[Pixel<N>], equal: &mut [u64]) {
    for (at, (word, block)) in equal.iter_mut().zip(pixels.chunks(64)).enumerate() {
        let mut flags = [0u8; 64];
        // The first pixel has no neighbour and equals none.
        let (flags_of, pixels_of, left) = if at == 0 {
            (&mut flags[1..], &block[1..], block)
        } else {
            (&mut flags[..], block, &pixels[at * 64 - 1..])
        };
        for (flag, (pixel, left)) in flags_of.iter_mut().zip(pixels_of.iter().zip(left)) {
            *flag = u8::from(pixel == left);
        }
        *word = 0;
        for (at, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
            // Eight bytes of 0 or 1 become eight bits: each one is moved to the highest byte.
            let packed = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            *word |= packed << (at * 8);
        }
    }
}

/// The symbols of a row's pixels.
fn symbols_of<const N: usize, const BITS: usize>(
    above: Option<&[Pixel<N>]>,
    pixels: &[Pixel<N>],
    symbols: &mut [Pixel<N>],
) {
    let (pixels, symbols) = (pixels.as_flattened(), symbols.as_flattened_mut());
    let (first, rest) = symbols.split_at_mut(N);
    let behind = pixels[N..].iter().zip(pixels);
    if let Some(above) = above {
        let above = above.as_flattened();
        for (symbol, (pixel, above)) in first.iter_mut().zip(pixels.iter().zip(above)) {
            *symbol = folded::<BITS>(pixel.wrapping_sub(*above));
        }
        for (symbol, ((pixel, left), above)) in rest.iter_mut().zip(behind.zip(&above[N..])) {
            let prediction = (left & above) + ((left ^ above) >> 1);
            *symbol = folded::<BITS>(pixel.wrapping_sub(prediction));
        }
    } else {
        for (symbol, pixel) in first.iter_mut().zip(pixels) {
            *symbol = folded::<BITS>(*pixel);
        }
        for (symbol, (pixel, left)) in rest.iter_mut().zip(behind) {
            *symbol = folded::<BITS>(pixel.wrapping_sub(*left));
        }
    }
}

/// A difference as symbol: 0, -1, 1, -2, 2, … become 0, 1, 2, 3, 4, …
#[inline(always)]
fn folded<const BITS: usize>(difference: u8) -> u8 {
    // The sign moves to the highest bit, and from there everywhere.
    let sign = (difference << (8 - BITS) >> 7).wrapping_neg();
    (difference << 1 ^ sign) & (0xff >> (8 - BITS))
}

//! From pixels to the one stream that they have.
//!
//! Whatever does not depend on what was coded before is made ahead for a whole row: symbols of
//! all pixels, and bits that tell where runs may begin and how far they go.
//! What lies between two runs and two updates of the statistics is a stretch whose parameters are
//! chosen many at once. Pixels and runs are collected, and become codes many at once later
//! (`entries`).

use super::bits::BitWriter;
use super::entries::{Items, Pixel};
use super::family::family;
use super::model::{Models, Pace, RunState};
use super::{MAGIC, MAX_PIXELS, PixelType, VERSION};
use crate::codec::Rows;
use crate::codec::simd::{self, Kernel, LEAD, LOOK, Level, Work, padded};

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
    colors: Lines,
    plane: Lines,
    items: Items,
}

/// Row buffers of one group of channels; column 0 is at [`LEAD`].
#[derive(Debug, Default)]
struct Lines {
    above: Vec<Pixel>,
    current: Vec<Pixel>,
    /// Symbols of the current row, as if it had no runs.
    fresh: Vec<Pixel>,
    /// Their slots as contexts.
    slots: Vec<Pixel>,
    /// Slots of the last literal at each column, in the rows above: runs leave them alone.
    old: Vec<Pixel>,
    /// Bit i: pixel i of the row above equals its left neighbour.
    equal_above: Vec<u64>,
    /// The same of the current row.
    equal: Vec<u64>,
    /// Bit i: a run is coded before column i of the current row.
    starts: Vec<u64>,
    /// Bit i: column i of the current row is in a run.
    runs: Vec<u64>,
}

impl Scratch {
    /// Bytes that it keeps in row buffers.
    #[must_use]
    pub fn capacity(&self) -> usize {
        [&self.colors, &self.plane].map(Lines::capacity).iter().sum()
    }
}

impl Lines {
    fn capacity(&self) -> usize {
        let Self { above, current, fresh, slots, old, equal_above, equal, starts, runs } = self;
        let pixels = [above, current, fresh, slots, old].map(Vec::capacity);
        let words = [equal_above, equal, starts, runs].map(Vec::capacity);
        pixels.iter().sum::<usize>() * size_of::<Pixel>() + words.iter().sum::<usize>() * 8
    }
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
    encode_at(simd::level(), picture, format, limit, scratch, out)
}

/// [`encode`] with the inner loops of a level: for tests and benches, the stream is the same.
///
/// # Errors
/// As those of [`encode`].
pub fn encode_at(
    level: Level,
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
    let (row, need) = (picture.row_bytes(), width as usize * format.bytes());
    if row != need {
        return Err(EncodeError::Row { row, need });
    }
    let start = out.len();
    for word in [MAGIC, VERSION, format as u32, width, height] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let end = start.saturating_add(limit);
    let done = simd::run(level, Encode { picture, format, end, scratch, out });
    if done.is_err() {
        out.truncate(start);
    }
    done.map_err(|Full| EncodeError::Larger(limit))
}

/// The stream became too long.
struct Full;

/// A picture, and where its stream goes.
struct Encode<'a> {
    picture: &'a Rows<'a>,
    format: PixelType,
    /// Most bytes that `out` may have.
    end: usize,
    scratch: &'a mut Scratch,
    out: &'a mut Vec<u8>,
}

impl Work for Encode<'_> {
    type Output = Result<(), Full>;

    #[inline(always)]
    fn with<K: Kernel>(self, k: K) -> Result<(), Full> {
        match self.format {
            PixelType::Gray => self.group::<K, 1, 8>(k, gray),
            PixelType::Rgb16 => self.group::<K, 3, 5>(k, rgb16),
            PixelType::Rgb24 => self.group::<K, 3, 8>(k, rgb24),
            PixelType::Rgb32 => self.group::<K, 3, 8>(k, rgb32),
            PixelType::Rgba => self.rgba(k),
        }
    }
}

impl Encode<'_> {
    /// Any type but the one with alpha.
    #[inline(always)]
    fn group<K: Kernel, const CHANNELS: usize, const BITS: usize>(
        self,
        k: K,
        load: impl Fn(&[u8], &mut [Pixel]),
    ) -> Result<(), Full> {
        let Self { picture, end, out, .. } = self;
        let Scratch { colors, items, .. } = self.scratch;
        items.clear();
        let mut bits = BitWriter::new(out);
        let mut plane = Plane::<K, CHANNELS, BITS>::new(k, colors, picture.width() as usize);
        let mut rows = picture.from_top().enumerate().peekable();
        while let Some((y, row)) = rows.next() {
            load(row, plane.next_row());
            if let Some((_, next)) = rows.peek() {
                fetch(k, next);
            }
            plane.row(y == 0, items, &mut bits);
            // What waits is not counted, which only means that it is noticed later.
            if bits.position() > end {
                return Err(Full);
            }
        }
        items.drain(k, family::<BITS>(), &mut bits);
        finish(bits, end)
    }

    /// Colours and alpha, row by row in turn.
    #[inline(always)]
    fn rgba<K: Kernel>(self, k: K) -> Result<(), Full> {
        let Self { picture, end, out, .. } = self;
        let Scratch { colors, plane, items } = self.scratch;
        items.clear();
        let mut bits = BitWriter::new(out);
        let width = picture.width() as usize;
        let mut colors = Plane::<K, 3, 8>::new(k, colors, width);
        let mut alpha = Plane::<K, 1, 8>::new(k, plane, width);
        let mut rows = picture.from_top().enumerate().peekable();
        while let Some((y, row)) = rows.next() {
            if let Some((_, next)) = rows.peek() {
                fetch(k, next);
            }
            rgb32(row, colors.next_row());
            colors.row(y == 0, items, &mut bits);
            for (to, from) in alpha.next_row().iter_mut().zip(row.as_chunks::<4>().0) {
                *to = [from[3], 0, 0, 0];
            }
            alpha.row(y == 0, items, &mut bits);
            if bits.position() > end {
                return Err(Full);
            }
        }
        items.drain(k, family::<8>(), &mut bits);
        finish(bits, end)
    }
}

/// Fetches a row that is read later: rows are read one by one with much work in between, and the
/// processor does not look so far ahead by itself.
#[inline(always)]
fn fetch<K: Kernel>(k: K, row: &[u8]) {
    for line in row.as_chunks::<64>().0 {
        k.prefetch(line);
    }
}

#[inline(always)]
fn finish(bits: BitWriter<'_>, end: usize) -> Result<(), Full> {
    if bits.finish() > end { Err(Full) } else { Ok(()) }
}

#[inline(always)]
fn gray(row: &[u8], pixels: &mut [Pixel]) {
    for (to, from) in pixels.iter_mut().zip(row) {
        *to = [*from, 0, 0, 0];
    }
}

#[inline(always)]
fn rgb16(row: &[u8], pixels: &mut [Pixel]) {
    for (to, from) in pixels.iter_mut().zip(row.as_chunks().0) {
        let pixel = u32::from(u16::from_le_bytes(*from));
        let spread = pixel & 31 | pixel << 3 & 31 << 8 | pixel << 6 & 31 << 16;
        *to = spread.to_le_bytes();
    }
}

#[inline(always)]
fn rgb24(row: &[u8], pixels: &mut [Pixel]) {
    for (to, [b, g, r]) in pixels.iter_mut().zip(row.as_chunks().0) {
        *to = [*b, *g, *r, 0];
    }
}

#[inline(always)]
fn rgb32(row: &[u8], pixels: &mut [Pixel]) {
    for (to, from) in pixels.iter_mut().zip(row.as_chunks().0) {
        *to = (u32::from_le_bytes(*from) & 0x00ff_ffff).to_le_bytes();
    }
}

/// One group of channels that share their pace and their runs.
struct Plane<'s, K, const CHANNELS: usize, const BITS: usize> {
    k: K,
    width: usize,
    pace: Pace,
    run: RunState,
    models: Models<CHANNELS, BITS>,
    lines: &'s mut Lines,
}

impl<'s, K: Kernel, const CHANNELS: usize, const BITS: usize> Plane<'s, K, CHANNELS, BITS> {
    #[inline(always)]
    fn new(k: K, lines: &'s mut Lines, width: usize) -> Self {
        // What earlier pictures left needs no clearing: the first row writes before it reads.
        let Lines { above, current, fresh, slots, old, .. } = lines;
        for row in [above, current, fresh, slots, old] {
            row.resize(padded(width), [0; 4]);
        }
        for row in [&mut lines.above, &mut lines.current] {
            // No pixel: nothing equals it.
            row[LEAD - 1] = [0, 0, 0, 0xff];
        }
        let Lines { equal_above, equal, starts, runs, .. } = lines;
        for row in [equal_above, equal, starts, runs] {
            row.resize(width.div_ceil(64), 0);
        }
        Self { k, width, pace: Pace::new(), run: RunState::new(), models: Models::new(), lines }
    }

    /// Where the next row's pixels are to be written; what was there is the row above then.
    #[inline(always)]
    fn next_row(&mut self) -> &mut [Pixel] {
        std::mem::swap(&mut self.lines.above, &mut self.lines.current);
        std::mem::swap(&mut self.lines.equal_above, &mut self.lines.equal);
        &mut self.lines.current[LEAD..LEAD + self.width]
    }

    /// Codes the row that was written.
    #[inline(always)]
    fn row(&mut self, first: bool, items: &mut Items, bits: &mut BitWriter<'_>) {
        let lines = &mut *self.lines;
        self.k.mark_equal(&lines.current, &mut lines.equal);
        // What is behind the last column is of no use, but whole vectors are.
        let all = LEAD + self.width.next_multiple_of(16);
        let fresh = &mut lines.fresh[..all];
        symbols_of::<BITS>(first, &lines.above[..all], &lines.current[..all], fresh);
        self.k.slots(family::<BITS>(), fresh, &mut lines.slots[..all]);
        if first {
            lines.starts.fill(0);
        } else {
            lines.mark_starts();
        }
        let mut in_run = false;
        let mut start = 0;
        while start < self.width {
            let end = self.pace.segment_end(start, self.width);
            in_run = self.segment(first, start, end, in_run, items, bits);
            self.pace.end_segment(end - start);
            start = end;
        }
        self.lines.settle(self.k);
    }

    /// Codes the columns from `start` to `end`; `in_run` tells whether the one before is in a run,
    /// and is returned for the last one.
    #[inline(always)]
    fn segment(
        &mut self,
        first: bool,
        start: usize,
        end: usize,
        mut in_run: bool,
        items: &mut Items,
        bits: &mut BitWriter<'_>,
    ) -> bool {
        let k = self.k;
        let family = family::<BITS>();
        let trigger = self.pace.trigger();
        if start == 0 {
            self.first_column(first, items, bits);
        }
        let Lines { fresh, slots, old, equal, starts, runs, .. } = &mut *self.lines;
        let (fresh, slots, old) = (fresh.as_slice(), slots.as_slice(), old.as_slice());
        let (equal, starts, runs) = (equal.as_slice(), starts.as_slice(), runs.as_mut_slice());
        let mut i = start;
        if start == 0 {
            i = 1;
        }
        let mut stop = i + self.pace.wait;
        let mut last_run = 0;
        while i < end {
            // A run that ended here is not begun again.
            let run = next_run(starts, i + usize::from(i == last_run), end);
            // Literals up to the run, in stretches that end with an update.
            while i < run {
                // No longer than what is looked up at once: no wait is.
                let next = run.min(stop + 1);
                let before = LEAD + i - 1;
                let mut context = if in_run { old[before] } else { slots[before] };
                in_run = false;
                if !items.has_room(LOOK) {
                    items.drain(k, family, bits);
                }
                let best = &self.models.best;
                if let (Some(slots), Some(symbols)) =
                    (slots[before..].first_chunk(), fresh[before + 1..].first_chunk())
                {
                    let (to, parameters) = items.next();
                    k.choose(best, context, slots, symbols, next - i, to, parameters);
                    items.advance(next - i);
                }
                if next == stop + 1 {
                    if stop != i {
                        context = slots[LEAD + stop - 1];
                    }
                    self.models.learn(k, context, fresh[LEAD + stop], trigger);
                    stop = next + self.pace.random();
                }
                i = next;
            }
            if i == end {
                break;
            }
            last_run = i;
            let wait = stop - i;
            let length = run_length(equal, i, end);
            if !items.has_room(RunState::most_items(length)) {
                items.drain(k, family, bits);
            }
            self.run.put(length, items);
            note_run(runs, i, length);
            in_run |= length > 0;
            i += length;
            stop = i + wait;
        }
        self.pace.wait = stop - end;
        in_run
    }

    /// Column 0, which has its own rule for updates.
    #[inline(always)]
    fn first_column(&mut self, first: bool, items: &mut Items, bits: &mut BitWriter<'_>) {
        let family = family::<BITS>();
        let context = if first { family.slots([0; 4]) } else { self.lines.old[LEAD] };
        let symbol = self.lines.fresh[LEAD];
        if !items.has_room(1) {
            items.drain(self.k, family, bits);
        }
        items.push(symbol, context.map(|slot| self.models.best[usize::from(slot & 31)]));
        if self.pace.wait > 0 {
            self.pace.wait -= 1;
        } else {
            self.pace.wait = self.pace.random();
            self.models.learn(self.k, context, symbol, self.pace.trigger());
        }
    }
}

impl Lines {
    /// Finds the columns before which a run is coded: the pixel to the left equals the one before
    /// it, and the same is true of those above it and above the column.
    #[inline(always)]
    fn mark_starts(&mut self) {
        let mut before = 0;
        for ((start, equal), above) in
            self.starts.iter_mut().zip(&self.equal).zip(&self.equal_above)
        {
            *start = above & (equal << 1 | before);
            before = equal >> 63;
        }
        // Runs begin at column 3 or later.
        self.starts[0] &= !7;
    }

    /// At the end of a row: what was literal is remembered.
    #[inline(always)]
    fn settle<K: Kernel>(&mut self, k: K) {
        if self.runs.iter().all(|word| *word == 0) {
            std::mem::swap(&mut self.slots, &mut self.old);
        } else {
            k.settle(&self.slots, &mut self.old, &self.runs);
            self.runs.fill(0);
        }
    }
}

/// The first column in `from..end` before which a run is coded, or `end`.
#[inline(always)]
fn next_run(starts: &[u64], from: usize, end: usize) -> usize {
    let mut word = from / 64;
    let Some(&here) = starts.get(word) else { return end };
    let mut found = here & u64::MAX << (from % 64);
    while found == 0 {
        word += 1;
        if word * 64 >= end {
            return end;
        }
        found = starts[word];
    }
    end.min(word * 64 + found.trailing_zeros() as usize)
}

/// Number of columns from `from` on, and before `end`, that equal their left neighbour.
#[inline(always)]
fn run_length(equal: &[u64], from: usize, end: usize) -> usize {
    let mut word = from / 64;
    let mut unequal = !equal[word] & u64::MAX << (from % 64);
    while unequal == 0 {
        word += 1;
        if word * 64 >= end {
            return end - from;
        }
        unequal = !equal[word];
    }
    end.min(word * 64 + unequal.trailing_zeros() as usize) - from
}

/// Notes the columns of a run.
#[inline(always)]
fn note_run(runs: &mut [u64], from: usize, length: usize) {
    let (word, bit) = (from / 64, from % 64);
    if bit + length < 64 {
        runs[word] |= ((1 << length) - 1) << bit;
        return;
    }
    runs[word] |= u64::MAX << bit;
    let end = from + length;
    for word in &mut runs[word + 1..end / 64] {
        *word = u64::MAX;
    }
    if !end.is_multiple_of(64) {
        runs[end / 64] |= (1 << (end % 64)) - 1;
    }
}

/// The symbols of a row's pixels.
#[inline(always)]
fn symbols_of<const BITS: usize>(
    first: bool,
    above: &[Pixel],
    pixels: &[Pixel],
    symbols: &mut [Pixel],
) {
    let (above, pixels) = (above.as_flattened(), pixels.as_flattened());
    let symbols = symbols.as_flattened_mut();
    let begin = LEAD * 4;
    let here = pixels[begin..].iter().zip(&pixels[begin - 4..]);
    let rest = symbols[begin..].iter_mut();
    if first {
        for (symbol, (pixel, left)) in rest.zip(here) {
            *symbol = folded::<BITS>(pixel.wrapping_sub(*left));
        }
        for (symbol, pixel) in symbols[begin..begin + 4].iter_mut().zip(&pixels[begin..]) {
            *symbol = folded::<BITS>(*pixel);
        }
    } else {
        for (symbol, ((pixel, left), above)) in rest.zip(here.zip(&above[begin..])) {
            let prediction = (left & above) + ((left ^ above) >> 1);
            *symbol = folded::<BITS>(pixel.wrapping_sub(prediction));
        }
        let column = pixels[begin..].iter().zip(&above[begin..]);
        for (symbol, (pixel, above)) in symbols[begin..begin + 4].iter_mut().zip(column) {
            *symbol = folded::<BITS>(pixel.wrapping_sub(*above));
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

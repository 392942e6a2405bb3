//! From the text of a recording to events.

use std::collections::TryReserveError;
use std::io::{self, BufRead};

use super::grammar::{self, CHUNK, Side, Width, magnitude};
use super::payload::{Payload, Place};
use super::text::Text;
use super::{HEADER, request};

/// What stands in front of a chain of chunks.
const CHUNKS: &str = "data_chunks";
/// First word of an event.
const EVENT: &str = "event";
/// `QXL_CMD_*`.
const CMD_NOP: u32 = 0;
const CMD_DRAW: u32 = 1;
const CMD_UPDATE: u32 = 2;
const CMD_CURSOR: u32 = 3;
const CMD_MESSAGE: u32 = 4;
const CMD_SURFACE: u32 = 5;

/// What one event may bring.
#[derive(Debug, Clone, Copy)]
pub struct ReplayLimits {
    /// Bytes of all its structures and data.
    pub bytes: usize,
    /// Chunks of all its chains.
    pub chunks: u32,
}

impl Default for ReplayLimits {
    /// 512 MiB and 65 536 chunks: more than the server takes of a command.
    fn default() -> Self {
        Self { bytes: 512 << 20, chunks: 65_536 }
    }
}

/// Why a recording does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The end of the file, also in the middle of an event: recorders are killed.
    #[error("end of the recording")]
    End,
    /// Something else stands there than the format says.
    #[error("line {line} is no recording: {what}")]
    Damage {
        /// Number of the line, binary data not counted.
        line: u64,
        /// What was expected.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(io::Error),
    /// No memory for a command.
    #[error("no memory for a command: {0}")]
    NoMemory(#[from] TryReserveError),
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::End } else { Self::Io(error) }
    }
}

/// What a surface command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SurfaceChange {
    /// Creates it.
    Create,
    /// Destroys it.
    Destroy,
}

/// A command of the guest.
#[derive(Debug)]
pub struct Recorded {
    /// `QXL_CMD_*`.
    pub kind: u32,
    /// Its memory.
    pub payload: Payload,
    /// Places of surface numbers, except that of a surface command.
    pub surfaces: Vec<Place>,
    /// For surface commands.
    pub surface_change: Option<SurfaceChange>,
    /// The number that is free when this command was given back.
    pub frees_surface: Option<u32>,
}

/// The primary surface is created (`QXLDevSurfaceCreate`).
#[derive(Debug)]
pub struct RecordedPrimary {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from row to row; negative: bottom row first.
    pub stride: i32,
    /// `SPICE_SURFACE_FMT_*`.
    pub format: u32,
    /// Not 0: the guest has a hardware pointer.
    pub mouse_mode: u32,
    /// `QXL_SURF_FLAG_*`.
    pub flags: u32,
    /// Its memory, exactly as large as the numbers say.
    pub pixels: Vec<u8>,
}

/// One event of a recording.
#[derive(Debug)]
pub enum Event {
    /// A command of the guest.
    Command(Recorded),
    /// Create the primary surface.
    CreatePrimary(RecordedPrimary),
    /// Another request of the host, by its number ([`request`]).
    Request(u32),
}

/// Reads a recording event by event.
pub struct Reader<R> {
    text: Text<R>,
    limits: ReplayLimits,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// Not a recording, or one of another version; with what was given, read a little.
    pub fn new(input: R, limits: ReplayLimits) -> Result<Self, (ReplayError, R)> {
        let mut text = Text::new(input);
        let good = text.line().map(|line| line == HEADER.as_bytes());
        match good {
            Ok(true) => Ok(Self { text, limits }),
            Ok(false) => Err((text.damage(HEADER), text.into_input())),
            Err(error) => Err((error, text.into_input())),
        }
    }

    /// The next event.
    ///
    /// # Errors
    /// [`ReplayError`]; there is no event after one.
    pub fn next_event(&mut self) -> Result<Event, ReplayError> {
        let [_counter, what, kind, _time] = self.text.numbers(EVENT)?;
        let kind = u32::try_from(kind).map_err(|_| self.text.damage("type of event"))?;
        match what {
            0 => self.command(kind).map(Event::Command),
            1 => self.request(kind),
            _ => Err(self.text.damage("event 0 or 1")),
        }
    }

    fn command(&mut self, kind: u32) -> Result<Recorded, ReplayError> {
        let recorded = Recorded {
            kind,
            payload: Payload::default(),
            surfaces: Vec::new(),
            surface_change: None,
            frees_surface: None,
        };
        let (bytes_left, chunks_left) = (self.limits.bytes, self.limits.chunks);
        let mut side = Structures { text: &mut self.text, recorded, bytes_left, chunks_left };
        match kind {
            // Only its release number.
            CMD_NOP => drop(side.head(8)?),
            CMD_DRAW => grammar::draw(&mut side)?,
            CMD_UPDATE => grammar::update(&mut side)?,
            CMD_CURSOR => grammar::cursor(&mut side)?,
            CMD_MESSAGE => grammar::message(&mut side)?,
            CMD_SURFACE => {
                let create = grammar::surface(&mut side)? == 0;
                let change = if create { SurfaceChange::Create } else { SurfaceChange::Destroy };
                side.recorded.surface_change = Some(change);
            }
            _ => return Err(side.text.damage("type of command")),
        }
        Ok(side.recorded)
    }

    fn request(&mut self, kind: u32) -> Result<Event, ReplayError> {
        if kind != request::CREATE_PRIMARY && kind != request::CREATE_PRIMARY_ASYNC {
            return Ok(Event::Request(kind));
        }
        // The body is missing where the request was refused.
        match self.text.peek() {
            Ok(line) if line.starts_with(EVENT.as_bytes()) => return Ok(Event::Request(kind)),
            Ok(_) => {}
            Err(ReplayError::End) => return Ok(Event::Request(kind)),
            Err(error) => return Err(error),
        }
        let shape = self.text.numbers::<4>("")?;
        let more = self.text.numbers::<4>("")?;
        let bits = |number| bits(number, Width::I32).and_then(|bits| u32::try_from(bits).ok());
        let (
            [Some(width), Some(height), Some(stride), Some(format)],
            [Some(_position), Some(mouse_mode), Some(flags), Some(_kind)],
        ) = (shape.map(bits), more.map(bits))
        else {
            return Err(self.text.damage("primary surface"));
        };
        let mut pixels = Vec::new();
        let size = self.text.binary("data", self.limits.bytes, &mut pixels)?;
        if size as u64 != u64::from(magnitude(stride.into())) * u64::from(height) {
            return Err(self.text.damage("size of the primary surface"));
        }
        let stride = stride.cast_signed();
        Ok(Event::CreatePrimary(RecordedPrimary {
            width,
            height,
            stride,
            format,
            mouse_mode,
            flags,
            pixels,
        }))
    }
}

/// A number as it lies in memory, zero-extended; both signs are taken.
fn bits(number: i128, width: Width) -> Option<u64> {
    let all = 8 * width.bytes();
    let low = -(1i128 << (all - 1));
    let values = 1i128 << all;
    let wrapped = if number < 0 { number + values } else { number };
    (number >= low && number < values).then(|| u64::try_from(wrapped).ok()).flatten()
}

/// The side of the grammar that reads.
struct Structures<'a, R> {
    text: &'a mut Text<R>,
    recorded: Recorded,
    bytes_left: usize,
    chunks_left: u32,
}

impl<R: BufRead> Structures<'_, R> {
    fn spend(&mut self, bytes: usize) -> Result<(), ReplayError> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| self.text.damage("too much data"))?;
        Ok(())
    }

    fn zeroes(&mut self, size: usize) -> Result<Vec<u8>, ReplayError> {
        self.spend(size)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size)?;
        bytes.resize(size, 0);
        Ok(bytes)
    }

    fn block(&mut self, from: Place, bytes: Vec<u8>) -> Result<Place, ReplayError> {
        let block = self.recorded.payload.add(bytes)?;
        self.recorded.payload.link(from, block)?;
        Ok(block)
    }

    /// One binary piece at the end of a block; its size.
    fn piece(&mut self, name: &'static str, block: usize) -> Result<usize, ReplayError> {
        let Some(block) = self.recorded.payload.blocks.get_mut(block) else { return Ok(0) };
        let size = self.text.binary(name, self.bytes_left, block)?;
        self.bytes_left -= size;
        Ok(size)
    }

    fn put(&mut self, place: Place, width: Width, value: u64) {
        let bytes = value.to_le_bytes();
        if let Some(bytes) = bytes.get(..width.bytes()) {
            self.recorded.payload.put(place, bytes);
        }
    }
}

impl<R: BufRead> Side for Structures<'_, R> {
    type Error = ReplayError;

    fn head(&mut self, size: usize) -> Result<Place, ReplayError> {
        let bytes = self.zeroes(size)?;
        Ok(self.recorded.payload.add(bytes)?)
    }

    fn word(&mut self, word: &'static str) -> Result<(), ReplayError> {
        if self.text.line()? == word.as_bytes() { Ok(()) } else { Err(self.text.damage(word)) }
    }

    fn numbers<const N: usize>(
        &mut self,
        key: &'static str,
        width: Width,
        places: [Place; N],
    ) -> Result<[u64; N], ReplayError> {
        let numbers = self.text.numbers::<N>(key)?;
        let mut values = [0; N];
        for ((number, place), value) in numbers.into_iter().zip(places).zip(&mut values) {
            *value = bits(number, width).ok_or_else(|| self.text.damage(key))?;
            self.put(place, width, *value);
        }
        Ok(values)
    }

    fn surface(&mut self, key: &'static str, place: Place) -> Result<(), ReplayError> {
        self.numbers(key, Width::I32, [place])?;
        self.recorded.surfaces.push(place);
        Ok(())
    }

    fn present(&mut self, key: &'static str, _at: Place) -> Result<bool, ReplayError> {
        match self.text.numbers(key)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(self.text.damage(key)),
        }
    }

    fn open(&mut self, at: Place, size: usize) -> Result<Place, ReplayError> {
        let bytes = self.zeroes(size)?;
        self.block(at, bytes)
    }

    fn extend(&mut self, structure: Place, size: usize) -> Result<Place, ReplayError> {
        self.spend(size)?;
        let block = structure.block;
        let Some(bytes) = self.recorded.payload.blocks.get_mut(block) else { return Ok(structure) };
        let at = bytes.len();
        bytes.try_reserve_exact(size)?;
        bytes.resize(at + size, 0);
        Ok(Place { block, at })
    }

    fn chunks(&mut self, name: &'static str, header: Place) -> Result<u64, ReplayError> {
        let [further, _total] = self.text.numbers(CHUNKS)?;
        let mut header = header;
        let mut total = 0;
        let mut further = u32::try_from(further).map_err(|_| self.text.damage(CHUNKS))?;
        loop {
            let left = self.chunks_left.checked_sub(1);
            self.chunks_left = left.ok_or_else(|| self.text.damage("too many chunks"))?;
            let size = self.piece(name, header.block)?;
            total += size as u64;
            self.put(header, Width::I32, size as u64);
            if further == 0 {
                return Ok(total);
            }
            further -= 1;
            // The way back stays 0: nobody goes it.
            header = self.open(header.plus(12), CHUNK)?;
        }
    }

    fn blob(&mut self, name: &'static str, at: Place, size: u64) -> Result<(), ReplayError> {
        let block = self.block(at, Vec::new())?;
        let found = self.piece(name, block.block)?;
        // The server takes the size from the structure: fewer bytes would be read beside them.
        if found as u64 == size { Ok(()) } else { Err(self.text.damage("size of data")) }
    }

    fn blank(&mut self, at: Place, size: u64) -> Result<(), ReplayError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let bytes = self.zeroes(size)?;
        self.block(at, bytes).map(drop)
    }

    fn text(&mut self, name: &'static str, structure: Place) -> Result<(), ReplayError> {
        self.piece(name, structure.block)?;
        self.extend(structure, 1).map(drop)
    }

    fn compat_memory(&self) -> bool {
        false
    }

    fn compat_text(&mut self) -> Result<bool, ReplayError> {
        Ok(self.text.peek()?.starts_with(b"bitmap_offset"))
    }

    fn constant(&mut self, place: Place, value: u32) -> Result<(), ReplayError> {
        self.put(place, Width::I32, value.into());
        Ok(())
    }

    fn senseless(&self, what: &'static str, _number: u64) -> ReplayError {
        self.text.damage(what)
    }
}

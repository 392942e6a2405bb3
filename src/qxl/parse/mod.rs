//! From a popped ring entry to a checked command in private memory.
//!
//! Runs on thread display-N.
//! Every fixed structure is copied out of guest memory in one go and only the copy is looked at:
//! so no field is read twice, and a guest that changes its memory between two of our reads can
//! only change what a *different* structure says, never what we already decided on.
//! (That is by construction; a test could only sample it.)
//! Pixels, palettes and texts are copied too; of a command nothing but a surface's memory is left
//! behind in guest memory.
//!
//! A command is taken as a whole or refused as a whole, with the reason and, as soon as its
//! payload could be read, with the right to release it.
//! Whether surfaces exist and whether boxes fit into them is the scene's business.
#![forbid(unsafe_code)]

mod cursor;
mod drawable;
mod error;
mod image;
mod monitors;
mod path;
mod source;
#[cfg(test)]
mod tests;
mod text;

pub use cursor::parse_cursor_command;
pub use error::{CommandError, Reason};
pub use monitors::{Head, MonitorsConfig, MonitorsError, parse_monitors_config};

use super::command::{CommandExt, FLAG_COMPAT, ReleaseInfo};
use super::guest::GuestRange;
use super::memslot::MemSlots;
use super::model::{Bitmap, Drawable};
use super::surface::SurfaceGeometry;
use crate::protocol::geometry::Rect;
use crate::protocol::wire::Reader;
use source::Source;

/// `QXL_CMD_*`: an operation on a surface.
const CMD_DRAW: u32 = 1;
/// Render an area and answer.
const CMD_UPDATE: u32 = 2;
/// A pointer command, on its own ring.
pub const CMD_CURSOR: u32 = 3;
/// Text for the log.
const CMD_MESSAGE: u32 = 4;
/// Create or destroy a surface.
pub const CMD_SURFACE: u32 = 5;

/// `QXL_SURFACE_CMD_*`.
const SURFACE_CREATE: u8 = 0;
const SURFACE_DESTROY: u8 = 1;
/// Flag of a surface creation: do not clear the memory.
const KEEP_DATA: u32 = 1;

/// Most bytes of a message, its zero included.
const MAX_MESSAGE: u64 = 100_000;

/// Decodes a QUIC stream of a guest into rows without padding, of at most so many bytes.
///
/// This room knows no codec: whoever parses commands brings it along. The error is a sentence.
pub type DecodeQuic = fn(stream: &[u8], limit: usize) -> Result<Bitmap, String>;

/// What one command may bring.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of pixels, masks and clips together; the device's own rule says 0x7fffffff.
    pub bytes: usize,
    /// Chunks in all chains together, empty ones included; drivers need a few thousand.
    pub chunks: u32,
    /// Rectangles in a clip; they become a region, at a cost that grows faster than their number.
    pub clip_rects: u32,
    /// Number of surfaces of the device: ids lie below it.
    pub surfaces: u32,
    /// For compressed images; `None`: they are refused.
    pub quic: Option<DecodeQuic>,
}

impl Default for Limits {
    /// 256 MiB (an 8192×8192 picture), 65 536 chunks and clip rectangles, 1 024 surfaces,
    /// no compressed images.
    fn default() -> Self {
        Self { bytes: 256 << 20, chunks: 65_536, clip_rects: 65_536, surfaces: 1024, quic: None }
    }
}

/// A command of the display ring. Each holds the right to release it; for drawables that may be
/// used as soon as the command was executed, because nothing of them is left in guest memory.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "drawables are most of the traffic and live one at a time; a box is one more allocation for each"
)]
pub enum DisplayCommand {
    /// Draw.
    Draw(Drawable, ReleaseInfo),
    /// Render an area, then answer with `notify_update`, then release.
    Update {
        /// The surface, below the limit; may not exist.
        surface_id: u32,
        /// The area: not empty, not negative.
        area: Rect,
        /// What to answer.
        update_id: u32,
        /// The command.
        release: ReleaseInfo,
    },
    /// Text for the log, at most 100 000 bytes; control characters are in it as the guest sent them.
    Message {
        /// The text.
        text: String,
        /// The command.
        release: ReleaseInfo,
    },
    /// Create a surface; released when the surface dies.
    SurfaceCreate {
        /// 1 .. number of surfaces; may exist already.
        surface_id: u32,
        /// Its shape.
        geometry: SurfaceGeometry,
        /// False: clear the memory first.
        keep_data: bool,
        /// The pixels: exactly `geometry.bytes()`.
        memory: GuestRange,
        /// The command.
        release: ReleaseInfo,
    },
    /// Destroy a surface; released when the surface died.
    SurfaceDestroy {
        /// 1 .. number of surfaces; may not exist.
        surface_id: u32,
        /// The command.
        release: ReleaseInfo,
    },
}

/// Parses a command of the display ring.
///
/// # Errors
/// [`CommandError`]; release the command if the error says so, and go on.
pub fn parse_display_command(
    slots: &MemSlots,
    command: &CommandExt,
    limits: &Limits,
) -> Result<DisplayCommand, CommandError> {
    let source = Source::new(slots, command.group_id, limits);
    match command.kind {
        CMD_DRAW => drawable::parse(source, command),
        CMD_UPDATE => update(source, command),
        CMD_MESSAGE => message(source, command),
        CMD_SURFACE => surface(source, command),
        kind => Err(CommandError { reason: Reason::CommandType(kind), release: None }),
    }
}

/// The payload's fixed structure and the right to release it.
fn payload<const N: usize>(
    source: &Source<'_>,
    part: &'static str,
    command: &CommandExt,
) -> Result<([u8; N], ReleaseInfo), CommandError> {
    let not_there = |reason| CommandError { reason, release: None };
    let range = source.range(part, command.data, N as u64).map_err(not_there)?;
    let bytes = source::copy(part, &range).map_err(not_there)?;
    Ok((bytes, ReleaseInfo::new(range.host_address(), command.group_id)))
}

/// Joins what was parsed, or why not, with the right to release the command.
fn with_release<T>(
    parsed: Result<T, Reason>,
    release: ReleaseInfo,
) -> Result<(T, ReleaseInfo), CommandError> {
    match parsed {
        Ok(parsed) => Ok((parsed, release)),
        Err(reason) => Err(CommandError { reason, release: Some(release) }),
    }
}

/// A rectangle that is neither negative nor inverted nor empty.
fn solid_area(part: &'static str, rect: Rect) -> Result<Rect, Reason> {
    if rect.left < 0 || rect.top < 0 || rect.left > rect.right || rect.top > rect.bottom {
        return Err(Reason::Area { part, rect });
    }
    if rect.is_empty() { Err(Reason::EmptyArea { part, rect }) } else { Ok(rect) }
}

/// `QXLUpdateCmd`; that of compatibility mode lacks the surface id, which is 0 then.
fn update(source: Source<'_>, command: &CommandExt) -> Result<DisplayCommand, CommandError> {
    const COMPAT_SIZE: usize = 8 /* release */ + 16 /* area */ + 4 /* update id */;
    const SIZE: usize = COMPAT_SIZE + 4 /* surface id */;
    let parse = |bytes: &[u8]| -> Result<_, Reason> {
        let mut fields = Reader::new(bytes);
        let _release = fields.u64()?;
        let area = fields.rect()?;
        let update_id = fields.u32()?;
        let surface_id = if fields.rest().is_empty() { 0 } else { fields.u32()? };
        let surface_id = source.surface_id("update", surface_id)?;
        Ok((surface_id, solid_area("update", area)?, update_id))
    };
    let ((surface_id, area, update_id), release) = if command.flags & FLAG_COMPAT != 0 {
        let (bytes, release) = payload::<COMPAT_SIZE>(&source, "update", command)?;
        with_release(parse(&bytes), release)?
    } else {
        let (bytes, release) = payload::<SIZE>(&source, "update", command)?;
        with_release(parse(&bytes), release)?
    };
    Ok(DisplayCommand::Update { surface_id, area, update_id, release })
}

/// `QXLMessage`: text up to a zero.
fn message(source: Source<'_>, command: &CommandExt) -> Result<DisplayCommand, CommandError> {
    const HEADER: usize = 8 /* release */;
    let (_, release) = payload::<HEADER>(&source, "message", command)?;
    let parse = || {
        let range = source.range_up_to("message", command.data, HEADER as u64, MAX_MESSAGE)?;
        let text = range.text().ok_or(Reason::EndlessMessage(range.len()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let (text, release) = with_release(parse(), release)?;
    Ok(DisplayCommand::Message { text, release })
}

/// `QXLSurfaceCmd`.
fn surface(source: Source<'_>, command: &CommandExt) -> Result<DisplayCommand, CommandError> {
    const SIZE: usize = 8 /* release */ + 4 /* id */ + 1 /* type */ + 4 /* flags */
        + 4 /* format */ + 4 /* width */ + 4 /* height */ + 4 /* stride */ + 8 /* data */;
    let (bytes, release) = payload::<SIZE>(&source, "surface command", command)?;
    let parse = || -> Result<_, Reason> {
        let mut fields = Reader::new(&bytes);
        let _release = fields.u64()?;
        let id = source.surface_id("surface command", fields.u32()?)?;
        let kind = fields.u8()?;
        let flags = fields.u32()?;
        if id == 0 {
            return Err(Reason::PrimarySurface);
        }
        match kind {
            SURFACE_DESTROY => return Ok((id, None)),
            SURFACE_CREATE => {}
            other => return Err(Reason::SurfaceCommand(other)),
        }
        let (format, width, height) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let geometry = SurfaceGeometry::check(format, width, height, fields.i32()?)?;
        let memory = source.range("surface memory", fields.u64()?, geometry.bytes().into())?;
        Ok((id, Some((geometry, flags & KEEP_DATA != 0, memory))))
    };
    let ((surface_id, created), release) = with_release(parse(), release)?;
    Ok(match created {
        Some((geometry, keep_data, memory)) => {
            DisplayCommand::SurfaceCreate { surface_id, geometry, keep_data, memory, release }
        }
        None => DisplayCommand::SurfaceDestroy { surface_id, release },
    })
}

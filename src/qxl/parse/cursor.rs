//! Commands of the cursor ring.

use std::sync::Arc;

use super::error::{CommandError, Reason};
use super::source::{CHUNK_HEADER, Source};
use super::{CMD_CURSOR, Limits, payload, with_release};
use crate::protocol::geometry::Point16;
use crate::protocol::wire::{Reader, TooShort};
use crate::qxl::command::{CommandExt, ReleaseInfo};
use crate::qxl::memslot::MemSlots;
use crate::qxl::model::{CursorCommand, CursorShape};

/// Bytes of `QXLCursorCmd`; the device data at its end is not used.
const SIZE: usize = 8 /* release */ + 1 /* type */ + 13 /* union */ + 128 /* device data */;
/// Bytes of `QXLCursor` up to the data of its first chunk.
const SHAPE: usize = 8 /* unique */ + 2 /* type */ + 2 + 2 /* size */ + 2 + 2 /* hot spot */
    + 4 /* data size */ + CHUNK_HEADER;

/// Largest side of a pointer, in pixels.
const MAX_SIDE: u16 = 1024;

/// Parses a command of the cursor ring.
///
/// # Errors
/// [`CommandError`]; release the command if the error says so, and go on.
pub fn parse_cursor_command(
    slots: &MemSlots,
    command: &CommandExt,
    limits: &Limits,
) -> Result<(CursorCommand, ReleaseInfo), CommandError> {
    if command.kind != CMD_CURSOR {
        return Err(CommandError { reason: Reason::CommandType(command.kind), release: None });
    }
    let mut source = Source::new(slots, command.group_id, limits);
    let (bytes, release) = payload::<SIZE>(&source, "cursor command", command)?;
    with_release(cursor(&mut source, &bytes), release)
}

fn cursor(source: &mut Source<'_>, bytes: &[u8]) -> Result<CursorCommand, Reason> {
    const SET: u8 = 0;
    const MOVE: u8 = 1;
    const HIDE: u8 = 2;
    const TRAIL: u8 = 3;
    let mut fields = Reader::new(bytes);
    let _release = fields.u64()?;
    Ok(match fields.u8()? {
        SET => {
            let position = point16(&mut fields)?;
            let visible = fields.u8()? != 0;
            let shape = Arc::new(shape(source, fields.u64()?)?);
            CursorCommand::Set { position, visible, shape }
        }
        MOVE => CursorCommand::Move(point16(&mut fields)?),
        HIDE => CursorCommand::Hide,
        TRAIL => CursorCommand::Trail { length: fields.u16()?, frequency: fields.u16()? },
        other => return Err(Reason::CursorCommand(other)),
    })
}

/// `QXLCursor`: surplus data is cut, short data refused, because clients read past its end.
fn shape(source: &mut Source<'_>, addr: u64) -> Result<CursorShape, Reason> {
    let header = source.fetch::<SHAPE>("cursor", addr, 0)?;
    let mut fields = Reader::new(&header);
    let unique = fields.u64()?;
    let number = fields.u16()?;
    let (width, height) = (fields.u16()?, fields.u16()?);
    let (hot_x, hot_y) = (fields.u16()?, fields.u16()?);
    let data_size = fields.u32()?;

    let side = 1..=MAX_SIDE;
    if !side.contains(&width) || !side.contains(&height) {
        return Err(Reason::CursorSize { width, height });
    }
    let (kind, need) = u8::try_from(number)
        .ok()
        .and_then(|kind| Some((kind, data_len(kind, width, height)?)))
        .ok_or(Reason::CursorType(number))?;
    let chunks = source.chunks("cursor", addr, SHAPE, &mut fields)?;
    let have = chunks.total().min(data_size.into());
    if have < need {
        return Err(Reason::DataSize { part: "cursor", have, need });
    }
    let data = source.copy_first(&chunks, need)?;
    Ok(CursorShape { unique, kind, width, height, hot_x, hot_y, data })
}

/// Bytes that a pointer needs: pixels, palette, mask. `None` for an unknown type.
///
/// The mask runs over the whole image without padding its rows, as clients read it.
fn data_len(kind: u8, width: u16, height: u16) -> Option<u64> {
    let (width, height) = (u64::from(width), u64::from(height));
    let pixels = width * height;
    let mask = pixels.div_ceil(8);
    Some(match kind {
        0 /* alpha */ => pixels * 4,
        1 /* mono: and, xor */ => 2 * width.div_ceil(8) * height,
        2 /* 4 bits */ => width.div_ceil(2) * height + 16 * 4 + mask,
        3 /* 8 bits */ => pixels + 256 * 4 + mask,
        4 /* 16 bits */ => pixels * 2 + mask,
        5 /* 24 bits */ => pixels * 3 + mask,
        6 /* 32 bits */ => pixels * 4 + mask,
        _ => return None,
    })
}

fn point16(fields: &mut Reader<'_>) -> Result<Point16, TooShort> {
    Ok(Point16 { x: fields.i16()?, y: fields.i16()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lengths_follow_the_table() {
        let len = |kind| data_len(kind, 9, 3);
        assert_eq!(len(0), Some(9 * 3 * 4));
        assert_eq!(len(1), Some(2 * 2 * 3));
        assert_eq!(len(2), Some(5 * 3 + 64 + 4));
        assert_eq!(len(3), Some(27 + 1024 + 4));
        assert_eq!(len(4), Some(54 + 4));
        assert_eq!(len(5), Some(81 + 4));
        assert_eq!(len(6), Some(108 + 4));
        assert_eq!(len(7), None);
    }
}

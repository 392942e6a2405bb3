//! From a command in guest memory to the text of a recording.
//!
//! As in the parser, each structure is copied once and only the copy is looked at; a command that
//! does not map as a whole leaves nothing in the recording.

use std::io::Write;

use crate::qxl::command::{CommandExt, FLAG_COMPAT};
use crate::qxl::guest::{GuestError, GuestRange};
use crate::qxl::memslot::{AddressError, MemSlots};
use crate::qxl::replay::grammar::{self, CHUNK, Side, Width};
use crate::qxl::replay::payload::Place;

/// Bytes that a command may bring, as in the parser.
const MAX_BYTES: u64 = 256 << 20;
/// Chunks that a command may have, as in the parser.
const MAX_CHUNKS: u32 = 65_536;
/// Bytes that a message may have, its zero included, as in the parser.
const MAX_MESSAGE: u64 = 100_000;

/// Why a command is not recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum Skip {
    /// It leads out of guest memory.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// It cannot be copied.
    #[error("{0}")]
    Copy(#[from] GuestError),
    /// It brings too much.
    #[error("more data or chunks than a command may bring")]
    TooMuch,
    /// The format has no words for it.
    #[error("{0} {1} has no meaning")]
    Senseless(&'static str, u64),
}

/// The text of a command's event, without its first line.
pub(super) fn command_text(slots: &MemSlots, command: &CommandExt) -> Result<Vec<u8>, Skip> {
    let mut guest = Guest {
        slots,
        command,
        structures: Vec::new(),
        text: Vec::new(),
        bytes_left: MAX_BYTES,
        chunks_left: MAX_CHUNKS,
    };
    match command.kind {
        1 => grammar::draw(&mut guest)?,
        2 => grammar::update(&mut guest)?,
        3 => grammar::cursor(&mut guest)?,
        4 => grammar::message(&mut guest)?,
        5 => drop(grammar::surface(&mut guest)?),
        other => return Err(Skip::Senseless("command type", other.into())),
    }
    Ok(guest.text)
}

/// "binary 0 NAME SIZE:", the bytes, and the end of the line.
pub(super) fn binary(
    text: &mut Vec<u8>,
    name: &str,
    data: Option<&GuestRange>,
) -> Result<(), GuestError> {
    let size = data.map_or(0, GuestRange::len);
    // Writing to a vector cannot fail.
    let _ = write!(text, "binary 0 {name} {size}:");
    if let Some(data) = data {
        data.append_to(text)?;
    }
    text.push(b'\n');
    Ok(())
}

/// A structure of the guest, copied.
struct Structure {
    address: u64,
    bytes: Vec<u8>,
}

/// The side of the grammar that writes.
struct Guest<'a> {
    slots: &'a MemSlots,
    command: &'a CommandExt,
    structures: Vec<Structure>,
    text: Vec<u8>,
    bytes_left: u64,
    chunks_left: u32,
}

impl Guest<'_> {
    fn spend(&mut self, bytes: u64) -> Result<(), Skip> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Skip::TooMuch)?;
        Ok(())
    }

    /// A checked piece of memory; `None` for no bytes, which need no memory.
    fn range(&mut self, address: u64, skip: u64, size: u64) -> Result<Option<GuestRange>, Skip> {
        self.spend(size)?;
        if size == 0 {
            return Ok(None);
        }
        Ok(Some(self.slots.resolve_after(address, self.command.group_id, skip, size)?))
    }

    fn copy(&mut self, address: u64, size: usize) -> Result<Place, Skip> {
        let mut bytes = Vec::new();
        if let Some(range) = self.range(address, 0, size as u64)? {
            range.append_to(&mut bytes)?;
        }
        self.structures.push(Structure { address, bytes });
        Ok(Place { block: self.structures.len() - 1, at: 0 })
    }

    /// A number in a copy, zero-extended.
    fn value(&self, place: Place, width: Width) -> u64 {
        let structure = self.structures.get(place.block);
        let bytes = structure.and_then(|s| s.bytes.get(place.at..place.at + width.bytes()));
        debug_assert!(bytes.is_some(), "{place:?} is no place");
        let mut value = [0; 8];
        if let (Some(bytes), Some(value)) = (bytes, value.get_mut(..width.bytes())) {
            value.copy_from_slice(bytes);
        }
        u64::from_le_bytes(value)
    }

    fn address(&self, place: Place) -> u64 {
        self.value(place, Width::U64)
    }

    fn address_of(&self, structure: Place) -> u64 {
        self.structures.get(structure.block).map_or(0, |s| s.address)
    }
}

impl Side for Guest<'_> {
    type Error = Skip;

    fn head(&mut self, size: usize) -> Result<Place, Skip> {
        self.copy(self.command.data, size)
    }

    fn word(&mut self, word: &'static str) -> Result<(), Skip> {
        self.text.extend_from_slice(word.as_bytes());
        self.text.push(b'\n');
        Ok(())
    }

    fn numbers<const N: usize>(
        &mut self,
        key: &'static str,
        width: Width,
        places: [Place; N],
    ) -> Result<[u64; N], Skip> {
        let values = places.map(|place| self.value(place, width));
        self.text.extend_from_slice(key.as_bytes());
        for value in values {
            // Neither fails: the value has the width, and a vector takes everything.
            let _ = match width {
                Width::U64 | Width::U8 | Width::U16 => write!(self.text, " {value}"),
                Width::I16 => {
                    write!(self.text, " {}", u16::try_from(value).unwrap_or(0).cast_signed())
                }
                Width::I32 => {
                    write!(self.text, " {}", u32::try_from(value).unwrap_or(0).cast_signed())
                }
            };
        }
        self.text.push(b'\n');
        Ok(values)
    }

    fn surface(&mut self, key: &'static str, place: Place) -> Result<(), Skip> {
        self.numbers(key, Width::I32, [place]).map(drop)
    }

    fn present(&mut self, key: &'static str, at: Place) -> Result<bool, Skip> {
        let present = self.address(at) != 0;
        let _ = writeln!(self.text, "{key} {}", u8::from(present));
        Ok(present)
    }

    fn open(&mut self, at: Place, size: usize) -> Result<Place, Skip> {
        self.copy(self.address(at), size)
    }

    fn extend(&mut self, structure: Place, size: usize) -> Result<Place, Skip> {
        let block = structure.block;
        let at = self.structures.get(block).map_or(0, |s| s.bytes.len());
        let more = self.range(self.address_of(structure), at as u64, size as u64)?;
        if let (Some(more), Some(structure)) = (more, self.structures.get_mut(block)) {
            more.append_to(&mut structure.bytes)?;
        }
        Ok(Place { block, at })
    }

    fn chunks(&mut self, name: &'static str, header: Place) -> Result<u64, Skip> {
        let mut pieces = Vec::new();
        let mut total = 0;
        let mut header = header;
        loop {
            self.chunks_left = self.chunks_left.checked_sub(1).ok_or(Skip::TooMuch)?;
            let size = self.value(header, Width::I32);
            let skip = (header.at + CHUNK) as u64;
            total += size;
            pieces.push(self.range(self.address_of(header), skip, size)?);
            if self.address(header.plus(12)) == 0 {
                break;
            }
            header = self.open(header.plus(12), CHUNK)?;
        }
        let _ = writeln!(self.text, "data_chunks {} {total}", pieces.len() - 1);
        for piece in pieces {
            binary(&mut self.text, name, piece.as_ref())?;
        }
        Ok(total)
    }

    fn blob(&mut self, name: &'static str, at: Place, size: u64) -> Result<(), Skip> {
        let data = self.range(self.address(at), 0, size)?;
        Ok(binary(&mut self.text, name, data.as_ref())?)
    }

    fn blank(&mut self, _at: Place, _size: u64) -> Result<(), Skip> {
        Ok(())
    }

    fn text(&mut self, name: &'static str, structure: Place) -> Result<(), Skip> {
        let address = self.address_of(structure);
        let skip = self.structures.get(structure.block).map_or(0, |s| s.bytes.len()) as u64;
        let group = self.command.group_id;
        let range = self.slots.resolve_up_to(address, group, skip, MAX_MESSAGE)?;
        let text = range.text().ok_or(Skip::TooMuch)?;
        let _ = write!(self.text, "binary 0 {name} {}:", text.len());
        self.text.extend_from_slice(&text);
        self.text.push(b'\n');
        Ok(())
    }

    fn compat_memory(&self) -> bool {
        self.command.flags & FLAG_COMPAT != 0
    }

    fn compat_text(&mut self) -> Result<bool, Skip> {
        Ok(self.compat_memory())
    }

    fn constant(&mut self, _place: Place, _value: u32) -> Result<(), Skip> {
        Ok(())
    }

    fn senseless(&self, what: &'static str, number: u64) -> Skip {
        Skip::Senseless(what, number)
    }
}

//! What the channels of a session hand over when it moves to another server: the bodies of MIGRATE_DATA.
//!
//! A body is a magic of four letters, a version, packed fields, and what the fields point to; pointers count from the
//! first byte of the body. The other server wrote it and a client carries it, so nothing in it is believed before it is
//! checked. Layouts: version 1 as spice-server 0.15.1 has it, measured between two of them (spec 03 §7, 11 §13.4).

use super::wire::{Reader, TooShort, WireWrite};

mod agent;
mod display;

pub use agent::{AgentData, AgentHandover};
pub use display::{DisplayHandover, HandedSurface};

/// Version of every body that is written, and the newest one that is understood.
pub const VERSION: u32 = 1;
/// Bytes of magic and version.
const HEAD: usize = 4 + 4;
/// Bytes of the fields of [`CharDevice`].
const CHAR_DEVICE: usize = 4 + 1 + 5 * 4;
/// What devices without tokens have in their place.
const NO_TOKENS: u32 = u32::MAX;

/// Most bytes of a body of the main channel: both ways of the agent's stream are bounded by tokens.
pub const MAIN_MAX: usize = 512 * 1024;
/// Of the inputs channel.
pub const INPUTS_MAX: usize = 64;
/// Of the channels of ports and USB: all that may wait for a device, which is bytes by the hundred messages.
pub const VMC_MAX: usize = 16 * 1024 * 1024;
/// Of the smartcard channel.
pub const CARD_MAX: usize = VMC_MAX;
/// Of a display: its fields and 1,024 surfaces with an area each.
pub const DISPLAY_MAX: usize = 128 + 1024 * 20;

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// It ends too early.
    #[error("migration data ends early, {0}")]
    Short(#[from] TooShort),
    /// It is another channel's, or none.
    #[error("migration data begins with {0:#010x}")]
    Magic(u32),
    /// It was written for a newer server.
    #[error("migration data of version {0}")]
    Version(u32),
    /// Something does not lie in it.
    #[error("migration data: {len} bytes at {at}, there are {have}")]
    Outside {
        /// Where it begins.
        at: u32,
        /// Its bytes.
        len: u32,
        /// Bytes of the body.
        have: usize,
    },
    /// A field has a value that it cannot have.
    #[error("migration data: {field} is {value}")]
    Field {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// A body that is being read.
struct Body<'a> {
    all: &'a [u8],
    fields: Reader<'a>,
}

impl<'a> Body<'a> {
    fn new(all: &'a [u8], magic: &[u8; 4]) -> Result<Self, HandoverError> {
        let mut fields = Reader::new(all);
        let found = fields.u32()?;
        if found != u32::from_le_bytes(*magic) {
            return Err(HandoverError::Magic(found));
        }
        let version = fields.u32()?;
        if version > VERSION {
            return Err(HandoverError::Version(version));
        }
        Ok(Self { all, fields })
    }

    fn u8(&mut self) -> Result<u8, HandoverError> {
        Ok(self.fields.u8()?)
    }

    fn u32(&mut self) -> Result<u32, HandoverError> {
        Ok(self.fields.u32()?)
    }

    fn u64(&mut self) -> Result<u64, HandoverError> {
        Ok(self.fields.u64()?)
    }

    /// What a pointer leads to.
    fn part(&self, at: u32, len: u32) -> Result<&'a [u8], HandoverError> {
        if len == 0 {
            return Ok(&[]);
        }
        let outside = HandoverError::Outside { at, len, have: self.all.len() };
        let from = usize::try_from(at).map_err(|_| outside)?;
        let end = usize::try_from(len).ok().and_then(|len| from.checked_add(len));
        self.all.get(from..end.ok_or(outside)?).ok_or(outside)
    }
}

/// A body that is being written: fixed fields, then what they point to.
struct Writer {
    fields: Vec<u8>,
    behind: Vec<u8>,
    /// Bytes of the fields when all are written.
    size: usize,
}

impl Writer {
    /// For fields of `size` bytes, magic and version included.
    fn new(magic: &[u8; 4], size: usize) -> Self {
        let mut fields = Vec::with_capacity(size);
        fields.put_bytes(magic).put_u32(VERSION);
        Self { fields, behind: Vec::new(), size }
    }

    /// Puts bytes behind the fields and returns what points to them; 0 if there are none.
    fn point_to(&mut self, bytes: &[u8]) -> u32 {
        if bytes.is_empty() {
            return 0;
        }
        let at = self.size + self.behind.len();
        self.behind.extend_from_slice(bytes);
        // Bounded far below by what may wait for a device.
        u32::try_from(at).unwrap_or(0)
    }

    fn finish(mut self) -> Vec<u8> {
        debug_assert_eq!(self.fields.len(), self.size);
        self.fields.append(&mut self.behind);
        self.fields
    }
}

fn length(bytes: &[u8]) -> u32 {
    // As in `Writer::point_to`.
    u32::try_from(bytes.len()).unwrap_or(0)
}

/// One client's way to a char device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CharDevice {
    /// A client has the device. All else is nothing if not.
    pub connected: bool,
    /// Messages that the client may send; [`u32::MAX`]: they are not counted.
    pub client_tokens: u32,
    /// Messages that the client takes; [`u32::MAX`]: as many as there are.
    pub send_tokens: u32,
    /// Messages that the client may send once `write` has been taken.
    pub write_tokens: u32,
    /// What the device has not taken yet.
    pub write: Vec<u8>,
}

impl CharDevice {
    /// Of a device whose messages nobody counts.
    #[must_use]
    pub fn uncounted(write: Vec<u8>) -> Self {
        let (client_tokens, send_tokens) = (NO_TOKENS, NO_TOKENS);
        Self { connected: true, client_tokens, send_tokens, write_tokens: 0, write }
    }

    fn read(body: &mut Body<'_>) -> Result<Self, HandoverError> {
        let version = body.u32()?;
        if version > VERSION {
            return Err(HandoverError::Version(version));
        }
        let connected = body.u8()? != 0;
        let (client_tokens, send_tokens) = (body.u32()?, body.u32()?);
        let (size, write_tokens, at) = (body.u32()?, body.u32()?, body.u32()?);
        if !connected {
            return Ok(Self::default());
        }
        let write = body.part(at, size)?.to_vec();
        Ok(Self { connected, client_tokens, send_tokens, write_tokens, write })
    }

    fn write(&self, writer: &mut Writer) {
        let at = writer.point_to(&self.write);
        let fields = &mut writer.fields;
        fields.put_u32(VERSION).put_u8(u8::from(self.connected));
        fields.put_u32(self.client_tokens).put_u32(self.send_tokens);
        fields.put_u32(length(&self.write)).put_u32(self.write_tokens).put_u32(at);
    }
}

/// Reads what a port, webdav or usbredir channel hands over.
///
/// # Errors
/// [`HandoverError`]
pub fn read_vmc(body: &[u8]) -> Result<CharDevice, HandoverError> {
    CharDevice::read(&mut Body::new(body, b"SVMD")?)
}

/// What a port, webdav or usbredir channel hands over.
#[must_use]
pub fn write_vmc(device: &CharDevice) -> Vec<u8> {
    let mut writer = Writer::new(b"SVMD", HEAD + CHAR_DEVICE);
    device.write(&mut writer);
    writer.finish()
}

/// Reads what an inputs channel hands over: movements of the client that were not acknowledged.
///
/// # Errors
/// [`HandoverError`]
pub fn read_inputs(body: &[u8]) -> Result<u16, HandoverError> {
    Ok(Body::new(body, b"ICMD")?.fields.u16()?)
}

/// What an inputs channel hands over.
#[must_use]
pub fn write_inputs(movements: u16) -> Vec<u8> {
    let mut writer = Writer::new(b"ICMD", HEAD + 2);
    writer.fields.put_u16(movements);
    writer.finish()
}

/// What the smartcard channel hands over of its first reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardHandover {
    /// The reader's device.
    pub device: CharDevice,
    /// The guest was told of the reader.
    pub reader_added: bool,
    /// What the device gave of a message that is not complete.
    pub begun: Vec<u8>,
}

impl CardHandover {
    const SIZE: usize = HEAD + CHAR_DEVICE + 1 + 4 + 4;

    /// Reads it.
    ///
    /// # Errors
    /// [`HandoverError`]
    pub fn read(body: &[u8]) -> Result<Self, HandoverError> {
        let mut body = Body::new(body, b"SCMD")?;
        let device = CharDevice::read(&mut body)?;
        let reader_added = body.u8()? != 0;
        let (size, at) = (body.u32()?, body.u32()?);
        if !device.connected {
            return Ok(Self::default());
        }
        let begun = body.part(at, size)?.to_vec();
        Ok(Self { device, reader_added, begun })
    }

    /// Its bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut writer = Writer::new(b"SCMD", Self::SIZE);
        self.device.write(&mut writer);
        let at = writer.point_to(&self.begun);
        writer.fields.put_u8(u8::from(self.reader_added));
        writer.fields.put_u32(length(&self.begun)).put_u32(at);
        writer.finish()
    }
}

#[cfg(test)]
mod tests;

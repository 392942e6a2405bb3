//! Messages of the channels that carry a char device's bytes: usbredir, port and webdav.

use std::sync::Arc;

use super::error::MessageError;
use super::message::{Bulk, Message};
use super::wire::{Reader, WireWrite};

/// DATA, both ways.
pub const DATA: u16 = 101;
/// COMPRESSED_DATA, both ways.
pub const COMPRESSED_DATA: u16 = 102;
/// PORT_INIT, from the server.
pub const PORT_INIT: u16 = 201;
/// PORT_EVENT, from the server.
pub const PORT_EVENT: u16 = 202;
/// PORT_EVENT, from a client.
pub const CLIENT_PORT_EVENT: u16 = 201;

/// Client capability: takes and sends data as LZ4 blocks.
pub const CAP_LZ4: u32 = 0;

/// Largest number of bytes in one message, also when they were compressed. The protocol has no bound of its own.
pub const MAX_DATA: usize = 1024 * 1024;

/// Type of a compression.
const LZ4: u8 = 1;

/// Port events, as hosts and clients number them.
pub mod event {
    /// The guest has opened the port.
    pub const OPENED: u8 = 0;
    /// It has closed it.
    pub const CLOSED: u8 = 1;
    /// Break.
    pub const BREAK: u8 = 2;
}

/// A message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmcRequest<'a> {
    /// Bytes for the device.
    Data(&'a [u8]),
    /// Bytes for the device, as an LZ4 block.
    Lz4 {
        /// Bytes that come out of the block, at most [`MAX_DATA`].
        size: usize,
        /// The block.
        block: &'a [u8],
    },
    /// A port event, any number.
    PortEvent(u8),
}

impl<'a> VmcRequest<'a> {
    /// Reads a message that is not common to all channels.
    ///
    /// # Errors
    /// Unknown types, a compression other than LZ4, no bytes or more than [`MAX_DATA`], a port event without its byte.
    pub fn parse(kind: u16, body: &'a [u8]) -> Result<Self, MessageError> {
        let too_long = |size| MessageError::TooLong { kind, size, limit: MAX_DATA };
        match kind {
            // No client says nothing; the original ends the channel too.
            DATA if body.is_empty() => Err(MessageError::Empty { kind }),
            DATA if body.len() > MAX_DATA => Err(too_long(body.len())),
            DATA => Ok(Self::Data(body)),
            COMPRESSED_DATA => {
                let mut r = Reader::new(body);
                let compression = r.u8().map_err(MessageError::short(kind))?;
                if compression != LZ4 {
                    let value = i64::from(compression);
                    return Err(MessageError::Value { kind, field: "compression", value });
                }
                let size = r.u32().map_err(MessageError::short(kind))?;
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > MAX_DATA {
                    return Err(too_long(size));
                }
                Ok(Self::Lz4 { size, block: r.rest() })
            }
            // What follows the event is ignored, as by the original.
            CLIENT_PORT_EVENT => match body.first() {
                Some(event) => Ok(Self::PortEvent(*event)),
                None => Err(MessageError::Empty { kind }),
            },
            _ => Err(MessageError::Unknown { kind }),
        }
    }
}

/// DATA.
#[must_use]
pub fn data(bytes: Arc<Vec<u8>>) -> Message {
    Message { kind: DATA, body: Vec::new(), bulk: vec![Bulk::from(bytes)], ..Message::default() }
}

/// Bytes of COMPRESSED_DATA before its block.
pub const LZ4_HEAD: usize = 1 /* compression */ + 4 /* size */;

/// COMPRESSED_DATA: an LZ4 block out of which `size` bytes come.
#[must_use]
pub fn lz4_data(size: u32, block: Vec<u8>) -> Message {
    let mut body = Vec::with_capacity(LZ4_HEAD);
    body.put_u8(LZ4).put_u32(size);
    Message { kind: COMPRESSED_DATA, body, bulk: vec![Bulk::from(block)], ..Message::default() }
}

/// PORT_INIT: the port's name, without NUL, of at most 255 bytes, and whether the guest has it open.
#[must_use]
pub fn port_init(name: &[u8], opened: bool) -> Message {
    /// Where the name stands.
    const NAME_AT: u32 = 4 /* size */ + 4 /* offset */ + 1 /* opened */;
    let size = u32::try_from(name.len()).unwrap_or(0).saturating_add(1);
    let mut body = Vec::new();
    body.put_u32(size).put_u32(NAME_AT).put_u8(u8::from(opened)).put_bytes(name).put_u8(0);
    Message::new(PORT_INIT, body)
}

/// PORT_EVENT.
#[must_use]
pub fn port_event(event: u8) -> Message {
    Message::new(PORT_EVENT, vec![event])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_init_has_the_bytes_that_were_measured() {
        let message = port_init(b"org.test.0", false);
        assert_eq!(message.kind, 201);
        assert_eq!(message.body, b"\x0b\0\0\0\x09\0\0\0\0org.test.0\0");
    }

    #[test]
    fn each_message_is_checked_at_the_edges_of_its_size() {
        // A function of its own, so that each call has a lifetime of its own.
        fn parse(kind: u16, body: &[u8]) -> Result<VmcRequest<'_>, MessageError> {
            VmcRequest::parse(kind, body)
        }
        assert!(parse(101, &[]).is_err());
        assert_eq!(parse(101, &[3]), Ok(VmcRequest::Data(&[3])));
        let long = vec![0; MAX_DATA + 1];
        assert!(parse(101, &long[1..]).is_ok());
        assert!(parse(101, &long).is_err());
        assert!(parse(201, &[]).is_err());
        assert_eq!(parse(201, &[77]), Ok(VmcRequest::PortEvent(77)));
        assert_eq!(parse(201, &[1, 9]), Ok(VmcRequest::PortEvent(1)));
        assert!(parse(102, &[1, 0, 0, 0]).is_err());
        assert_eq!(parse(102, &[1, 0, 0, 0, 0]), Ok(VmcRequest::Lz4 { size: 0, block: &[] }));
        assert!(parse(102, &[0]).is_err());
        assert!(parse(102, &[2, 0, 0, 0, 0]).is_err());
        for (size, good) in [(0x0010_0000u32, true), (0x0010_0001, false), (u32::MAX, false)] {
            let mut body = vec![1];
            body.put_u32(size).put_u8(0);
            assert_eq!(VmcRequest::parse(102, &body).is_ok(), good);
        }
        assert!(parse(103, &[]).is_err());
    }
}

//! Message headers in both sizes, and the cutting of incoming bytes into messages.
//!
//! The client's common capability 3 chooses the size for both directions and the whole life of a
//! channel. The receive limits stand here, in one place, so that no channel can forget its own.

use std::ops::Range;

use super::caps::ChannelType;
use super::common::client;
use super::error::MessageError;
use super::main;
use super::wire::{Reader, TooShort, WireWrite};

/// Bytes of the mini header.
pub const MINI_HEADER: usize = 2 /* type */ + 4 /* size */;
/// Bytes of the full header.
pub const FULL_HEADER: usize = 8 /* serial */ + 2 /* type */ + 4 /* size */ + 4 /* sub list */;

/// Appends the header of a message with a body of `size` bytes and no sub-list.
///
/// `serial` counts the messages of a channel from 1; the mini header does not carry it.
pub fn encode_header(mini: bool, serial: u64, kind: u16, size: u32, out: &mut Vec<u8>) {
    if mini {
        out.put_u16(kind).put_u32(size);
    } else {
        out.put_u64(serial).put_u16(kind).put_u32(size).put_u32(0);
    }
}

/// The largest body in bytes that a client may send on a channel, per message type.
///
/// Inputs, display, cursor and main are the reference's numbers; it has none for the others.
/// The data of a live migration may be larger, see [`Incoming::expecting`].
#[must_use]
pub fn receive_limit(channel: ChannelType, kind: u16) -> usize {
    /// Type of a data message on char-device channels, and of its compressed twin.
    const VMC_DATA: [u16; 2] = [101, 102];
    match channel {
        ChannelType::MAIN if kind == main::client::AGENT_DATA => main::AGENT_DATA_MAX,
        ChannelType::MAIN => 4096 /* messages */ + 11 * 2048, /* agent window and one more */
        ChannelType::INPUTS => 2048,
        ChannelType::DISPLAY | ChannelType::CURSOR => 1024,
        ChannelType::PLAYBACK | ChannelType::RECORD => 65 * 1024,
        ChannelType::USBREDIR | ChannelType::PORT | ChannelType::WEBDAV
            if VMC_DATA.contains(&kind) =>
        {
            1024 * 1024
        }
        ChannelType::SMARTCARD if kind == VMC_DATA[0] => 1024 * 1024,
        _ => 64 * 1024,
    }
}

/// Where a complete message stands in the unread bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Message type.
    pub kind: u16,
    /// The body, in the bytes that were given.
    pub body: Range<usize>,
    /// Bytes of header and body together: what to drop when the message is handled.
    pub consumed: usize,
}

/// Cuts incoming bytes into messages. Holds no bytes itself.
#[derive(Debug, Clone, Copy)]
pub struct Incoming {
    mini: bool,
    channel: ChannelType,
    /// Most bytes of MIGRATE_DATA, while that is expected.
    handover: Option<usize>,
}

impl Incoming {
    /// For a channel whose client chose mini (or full) headers.
    #[must_use]
    pub fn new(mini: bool, channel: ChannelType) -> Self {
        Self { mini, channel, handover: None }
    }

    /// While MIGRATE_DATA is expected, which may have so many bytes.
    #[must_use]
    pub fn expecting(self, handover: usize) -> Self {
        Self { handover: Some(handover), ..self }
    }

    /// The first message of `unread`; `None` if it is not complete yet.
    ///
    /// Serial and sub-list of the full header are ignored, as the reference does.
    ///
    /// # Errors
    /// [`MessageError::TooLong`] as soon as the header announces more than [`receive_limit`], so
    /// that no caller ever waits for, or keeps, a body beyond it.
    pub fn next(&self, unread: &[u8]) -> Result<Option<Frame>, MessageError> {
        let Ok((kind, size)) = self.header(unread) else { return Ok(None) };
        let limit = match self.handover {
            Some(limit) if kind == client::MIGRATE_DATA => limit,
            _ => receive_limit(self.channel, kind),
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > limit {
            return Err(MessageError::TooLong { kind, size, limit });
        }
        let start = self.header_len();
        let consumed = start + size;
        if unread.len() < consumed {
            return Ok(None);
        }
        Ok(Some(Frame { kind, body: start..consumed, consumed }))
    }

    /// Bytes of the first message of `unread` with its header; `None` before the header is there.
    #[must_use]
    pub fn announced(&self, unread: &[u8]) -> Option<usize> {
        let (_, size) = self.header(unread).ok()?;
        usize::try_from(size).ok()?.checked_add(self.header_len())
    }

    /// Bytes of a header.
    #[must_use]
    pub fn header_len(&self) -> usize {
        if self.mini { MINI_HEADER } else { FULL_HEADER }
    }

    fn header(&self, unread: &[u8]) -> Result<(u16, u32), TooShort> {
        let mut r = Reader::new(unread);
        if !self.mini {
            r.u64()?;
        }
        let fields = (r.u16()?, r.u32()?);
        if !self.mini {
            r.u32()?;
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_bytes_of_the_protocol() {
        let mut out = Vec::new();
        encode_header(true, 9, 103, 32, &mut out);
        assert_eq!(out, [103, 0, 32, 0, 0, 0]);
        out.clear();
        encode_header(false, 6, 0x0102, 0x0304_0506, &mut out);
        assert_eq!(out, [6, 0, 0, 0, 0, 0, 0, 0, 2, 1, 6, 5, 4, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn a_message_is_found_only_when_complete() {
        for mini in [true, false] {
            let incoming = Incoming::new(mini, ChannelType::INPUTS);
            let mut bytes = Vec::new();
            encode_header(mini, 1, 112, 3, &mut bytes);
            bytes.put_bytes(b"abcrest");
            let end = incoming.header_len() + 3;
            for have in 0..end {
                assert_eq!(incoming.next(&bytes[..have]), Ok(None));
                let known = (have >= incoming.header_len()).then_some(end);
                assert_eq!(incoming.announced(&bytes[..have]), known);
            }
            let frame = incoming.next(&bytes).unwrap().unwrap();
            assert_eq!((frame.kind, frame.consumed), (112, end));
            assert_eq!(&bytes[frame.body], b"abc");
        }
    }

    #[test]
    fn a_header_over_the_limit_fails_before_its_body_came() {
        for (channel, kind, limit) in [
            (ChannelType::MAIN, 104, 26624),
            (ChannelType::MAIN, 107, 2048),
            (ChannelType::INPUTS, 104, 2048),
            (ChannelType::DISPLAY, 101, 1024),
            (ChannelType::CURSOR, 1, 1024),
            (ChannelType::RECORD, 101, 66560),
            (ChannelType::PORT, 101, 1 << 20),
            (ChannelType::PORT, 201, 65536),
            (ChannelType::SMARTCARD, 101, 1 << 20),
            (ChannelType::SMARTCARD, 102, 65536),
        ] {
            let incoming = Incoming::new(true, channel);
            let mut bytes = Vec::new();
            encode_header(true, 0, kind, limit, &mut bytes);
            assert_eq!(incoming.next(&bytes), Ok(None), "{channel} {kind}");
            for size in [limit + 1, u32::MAX] {
                bytes.clear();
                encode_header(true, 0, kind, size, &mut bytes);
                assert!(matches!(incoming.next(&bytes), Err(MessageError::TooLong { .. })));
            }
        }
    }
}

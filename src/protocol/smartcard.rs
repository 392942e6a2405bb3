//! Messages of smartcard readers. A client speaks them little endian inside a channel's messages, a device in network
//! order one after another; only the 12 bytes of the head differ, what follows is untouched.

use super::error::MessageError;
use super::message::Message;
use super::wire::{Reader, TooShort, WireWrite};

/// The one message type of the channel, both ways.
pub const DATA: u16 = 101;
/// Bytes of a head.
pub const HEAD: usize = 4 /* type */ + 4 /* reader */ + 4 /* length */;
/// Longest payload in bytes that a device may announce; an APDU has 270.
pub const MAX_DEVICE_DATA: usize = 64 * 1024;
/// Reader id of who has no reader.
pub const NO_READER: u32 = 0xffff_ffff;

/// Types of messages.
pub mod kind {
    /// First word of a device or client.
    pub const INIT: u32 = 1;
    /// Answer with a code of [`super::code`].
    pub const ERROR: u32 = 2;
    /// A reader is plugged in.
    pub const READER_ADD: u32 = 3;
    /// A reader is unplugged.
    pub const READER_REMOVE: u32 = 4;
    /// A card is put in; its first answer.
    pub const ATR: u32 = 5;
    /// The card is taken out.
    pub const CARD_REMOVE: u32 = 6;
    /// A command of the guest, or the card's answer.
    pub const APDU: u32 = 7;
}

/// Codes of errors.
pub mod code {
    /// Something else.
    pub const GENERAL: u32 = 1;
    /// No further reader.
    pub const NO_MORE_READERS: u32 = 2;
}

/// A message with its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardMessage<'a> {
    /// One of [`kind`], or anything else.
    pub kind: u32,
    /// Which reader.
    pub reader: u32,
    /// What follows the head.
    pub data: &'a [u8],
}

impl<'a> CardMessage<'a> {
    /// Reads what a client sends. What follows the announced length is left out, as by the original.
    ///
    /// # Errors
    /// Another message type, or a body that is shorter than its head or than the head says.
    pub fn of_client(message: u16, body: &'a [u8]) -> Result<Self, MessageError> {
        if message != DATA {
            return Err(MessageError::Unknown { kind: message });
        }
        let short = MessageError::short(message);
        let mut r = Reader::new(body);
        let (kind, reader) = (r.u32().map_err(&short)?, r.u32().map_err(&short)?);
        let length = usize::try_from(r.u32().map_err(&short)?).unwrap_or(usize::MAX);
        let data = r.bytes(length).map_err(&short)?;
        Ok(Self { kind, reader, data })
    }

    /// The first message of what a device has given, and its bytes with the head; `None` if it is not complete.
    ///
    /// # Errors
    /// A length beyond [`MAX_DEVICE_DATA`].
    pub fn of_device(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, MessageError> {
        let Ok(Head { kind, reader, length }) = Head::of_device(bytes) else { return Ok(None) };
        if length > MAX_DEVICE_DATA {
            return Err(MessageError::TooLong { kind: DATA, size: length, limit: MAX_DEVICE_DATA });
        }
        let data = bytes.get(HEAD..HEAD + length);
        Ok(data.map(|data| (Self { kind, reader, data }, HEAD + length)))
    }

    /// For a device.
    #[must_use]
    pub fn for_device(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.data.len());
        for field in [self.kind, self.reader, self.length()] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(self.data);
        bytes
    }

    /// The body for a client.
    #[must_use]
    pub fn for_client(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HEAD + self.data.len());
        body.put_u32(self.kind).put_u32(self.reader).put_u32(self.length()).put_bytes(self.data);
        body
    }

    fn length(&self) -> u32 {
        u32::try_from(self.data.len()).unwrap_or(u32::MAX)
    }
}

/// The head of a device's message.
struct Head {
    kind: u32,
    reader: u32,
    length: usize,
}

impl Head {
    fn of_device(bytes: &[u8]) -> Result<Self, TooShort> {
        let mut r = Reader::new(bytes);
        let mut field = || r.array().map(u32::from_be_bytes);
        let (kind, reader, length) = (field()?, field()?, field()?);
        Ok(Self { kind, reader, length: usize::try_from(length).unwrap_or(usize::MAX) })
    }
}

/// Bytes that are still wanted to complete the first message of what a device has given; `None` before its head is there.
#[must_use]
pub fn wanted_of_device(bytes: &[u8]) -> Option<usize> {
    let head = Head::of_device(bytes).ok()?;
    head.length.min(MAX_DEVICE_DATA).checked_add(HEAD)?.checked_sub(bytes.len())
}

/// The type of a message as [`CardMessage::for_client`] made it.
#[must_use]
pub fn kind_for_client(body: &[u8]) -> Option<u32> {
    Reader::new(body).u32().ok()
}

/// An error of our own for a client.
#[must_use]
pub fn error(reader: u32, code: u32) -> Message {
    let data = code.to_le_bytes();
    Message::new(DATA, CardMessage { kind: kind::ERROR, reader, data: &data }.for_client())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_changes_its_order() {
        let body = b"\x07\0\0\0\x02\0\0\0\x03\0\0\0abc";
        let message = CardMessage::of_client(DATA, body).unwrap();
        assert_eq!(message, CardMessage { kind: 7, reader: 2, data: b"abc" });
        let bytes = message.for_device();
        assert_eq!(bytes, b"\0\0\0\x07\0\0\0\x02\0\0\0\x03abc");
        assert_eq!(CardMessage::of_device(&bytes).unwrap(), Some((message, 15)));
        assert_eq!(message.for_client(), body);
        assert_eq!(error(5, 1).body, b"\x02\0\0\0\x05\0\0\0\x04\0\0\0\x01\0\0\0");
    }

    #[test]
    fn a_client_cannot_announce_more_than_it_sends() {
        let body = |length: u32, data: usize| {
            let mut body = Vec::new();
            body.put_u32(5).put_u32(0).put_u32(length).put_bytes(&vec![9; data]);
            body
        };
        assert!(CardMessage::of_client(DATA, &body(0, 0)[..11]).is_err());
        assert_eq!(CardMessage::of_client(DATA, &body(0, 0)).unwrap().data.len(), 0);
        assert_eq!(CardMessage::of_client(DATA, &body(3, 5)).unwrap().data.len(), 3);
        assert!(CardMessage::of_client(DATA, &body(6, 5)).is_err());
        assert!(CardMessage::of_client(DATA, &body(u32::MAX, 5)).is_err());
        assert!(CardMessage::of_client(102, &body(5, 5)).is_err());
    }

    #[test]
    fn a_device_may_cut_its_messages_anywhere() {
        let whole = CardMessage { kind: 5, reader: 0, data: &[1; 40] }.for_device();
        for have in 0..whole.len() {
            assert_eq!(CardMessage::of_device(&whole[..have]), Ok(None));
            let wanted = (have >= HEAD).then_some(whole.len() - have);
            assert_eq!(wanted_of_device(&whole[..have]), wanted);
        }
        assert!(CardMessage::of_device(&[0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 1]).is_err());
        assert_eq!(CardMessage::of_device(&[0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(None));
    }
}

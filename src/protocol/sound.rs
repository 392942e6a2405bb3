//! Messages of the playback and record channels.
//!
//! All times are milliseconds of the server's media clock.

use super::error::MessageError;
use super::message::Message;
use super::wire::{Reader, WireWrite};

/// Types that the server sends on playback.
pub mod playback {
    /// A piece of sound.
    pub const DATA: u16 = 101;
    /// How DATA is to be read.
    pub const MODE: u16 = 102;
    /// The guest plays.
    pub const START: u16 = 103;
    /// The guest has stopped.
    pub const STOP: u16 = 104;
    /// Volume of each channel.
    pub const VOLUME: u16 = 105;
    /// Silent or not.
    pub const MUTE: u16 = 106;
}

/// Types that the server sends on record.
pub mod record {
    /// The guest records.
    pub const START: u16 = 101;
    /// The guest has stopped.
    pub const STOP: u16 = 102;
    /// Volume of each channel.
    pub const VOLUME: u16 = 103;
    /// Silent or not.
    pub const MUTE: u16 = 104;
}

/// Types that a client sends on record.
pub mod client {
    /// A piece of sound.
    pub const DATA: u16 = 101;
    /// How DATA is to be read from now on.
    pub const MODE: u16 = 102;
    /// Recording has started.
    pub const START_MARK: u16 = 103;
}

/// Number of channels of sound.
const CHANNELS: u32 = 2;
/// Samples of 16 bits, signed, little-endian.
const FORMAT_S16: u16 = 1;

/// How DATA holds sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Mode {
    /// Samples, left and right in turn.
    Raw = 1,
    /// One Opus packet.
    Opus = 3,
}

/// DATA without its sound, with room for `len` bytes of it: the caller appends them.
#[must_use]
pub fn data(time: u32, len: usize) -> Message {
    let mut body = Vec::with_capacity(4 + len);
    body.put_u32(time);
    Message::new(playback::DATA, body)
}

/// MODE.
#[must_use]
pub fn mode(time: u32, mode: Mode) -> Message {
    let mut body = Vec::with_capacity(6);
    body.put_u32(time).put_u16(mode as u16);
    Message::new(playback::MODE, body)
}

/// START of playback, at a sample rate in Hz.
#[must_use]
pub fn playback_start(rate: u32, time: u32) -> Message {
    let mut body = Vec::with_capacity(14);
    body.put_u32(CHANNELS).put_u16(FORMAT_S16).put_u32(rate).put_u32(time);
    Message::new(playback::START, body)
}

/// START of record, at a sample rate in Hz.
#[must_use]
pub fn record_start(rate: u32) -> Message {
    let mut body = Vec::with_capacity(10);
    body.put_u32(CHANNELS).put_u16(FORMAT_S16).put_u32(rate);
    Message::new(record::START, body)
}

/// VOLUME of either channel: `kind` is its type, of at most 255 channels those that fit.
#[must_use]
pub fn volume(kind: u16, volume: &[u16]) -> Message {
    let count = u8::try_from(volume.len()).unwrap_or(u8::MAX);
    let mut body = Vec::with_capacity(1 + 2 * usize::from(count));
    body.put_u8(count);
    for channel in volume.iter().take(count.into()) {
        body.put_u16(*channel);
    }
    Message::new(kind, body)
}

/// MUTE of either channel: `kind` is its type.
#[must_use]
pub fn mute(kind: u16, mute: u8) -> Message {
    Message::new(kind, vec![mute])
}

/// A message of a client on the record channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordRequest<'a> {
    /// Sound, as the mode says; may be empty.
    Data(&'a [u8]),
    /// How DATA is to be read from now on.
    Mode(Mode),
    /// To be ignored.
    StartMark,
}

impl<'a> RecordRequest<'a> {
    /// Reads one message that is not common to all channels.
    ///
    /// # Errors
    /// [`MessageError`]: unknown type, short body, a mode that does not exist. Bytes behind the last field are ignored.
    pub fn parse(kind: u16, body: &'a [u8]) -> Result<Self, MessageError> {
        let mut r = Reader::new(body);
        let short = MessageError::short(kind);
        match kind {
            client::DATA | client::MODE | client::START_MARK => {}
            _ => return Err(MessageError::Unknown { kind }),
        }
        // The client's clock: nobody asks for it.
        let _time = r.u32().map_err(&short)?;
        Ok(match kind {
            client::DATA => Self::Data(r.rest()),
            client::MODE => match r.u16().map_err(&short)? {
                1 => Self::Mode(Mode::Raw),
                3 => Self::Mode(Mode::Opus),
                other => {
                    return Err(MessageError::Value { kind, field: "mode", value: other.into() });
                }
            },
            _ => Self::StartMark,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_messages_have_the_bytes_of_the_protocol() {
        assert_eq!(mode(0x0403_0201, Mode::Opus).body, [1, 2, 3, 4, 3, 0]);
        assert_eq!(
            playback_start(48_000, 5).body,
            [2, 0, 0, 0, 1, 0, 0x80, 0xbb, 0, 0, 5, 0, 0, 0]
        );
        assert_eq!(record_start(48_000).body, [2, 0, 0, 0, 1, 0, 0x80, 0xbb, 0, 0]);
        assert_eq!(volume(105, &[1, 0xffff]).body, [2, 1, 0, 0xff, 0xff]);
        assert_eq!(volume(103, &[7; 300]).body.len(), 511);
        assert_eq!(mute(104, 1).body, [1]);
        assert_eq!((data(9, 3).body, data(9, 3).kind), (vec![9, 0, 0, 0], 101));
    }

    #[test]
    fn client_messages_are_read() {
        let parse = RecordRequest::parse;
        assert_eq!(parse(101, &[0, 0, 0, 0]), Ok(RecordRequest::Data(&[])));
        assert_eq!(parse(101, &[0, 0, 0, 0, 7]), Ok(RecordRequest::Data(&[7])));
        assert_eq!(parse(102, &[0, 0, 0, 0, 3, 0, 9]), Ok(RecordRequest::Mode(Mode::Opus)));
        assert_eq!(parse(102, &[0, 0, 0, 0, 1, 0]), Ok(RecordRequest::Mode(Mode::Raw)));
        assert_eq!(parse(103, &[0, 0, 0, 0]), Ok(RecordRequest::StartMark));
    }

    #[test]
    fn short_wrong_and_unknown_messages_are_refused() {
        for (kind, full) in [(101, 4), (102, 6), (103, 4)] {
            for len in 0..full {
                let body = vec![0; len];
                let short = RecordRequest::parse(kind, &body);
                assert!(matches!(short, Err(MessageError::Short { .. })), "{kind} {len}");
            }
        }
        for wrong in [0u8, 2, 4, 255] {
            let body = [0, 0, 0, 0, wrong, 0];
            let refused = RecordRequest::parse(102, &body);
            assert!(matches!(refused, Err(MessageError::Value { field: "mode", .. })), "{wrong}");
        }
        for kind in [0, 100, 104, u16::MAX] {
            assert_eq!(RecordRequest::parse(kind, &[0; 9]), Err(MessageError::Unknown { kind }));
        }
    }
}

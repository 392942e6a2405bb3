//! Messages that every channel has: types below 100.

use std::sync::Arc;

use super::caps::ChannelType;
use super::error::MessageError;
use super::message::{Bulk, Message};
use super::wire::{Reader, WireWrite};

/// Types that the server sends on every channel.
pub mod server {
    /// The client is to move to another host.
    pub const MIGRATE: u16 = 1;
    /// State of the channel for the next host.
    pub const MIGRATE_DATA: u16 = 2;
    /// Starts an ack generation.
    pub const SET_ACK: u16 = 3;
    /// Answered by PONG.
    pub const PING: u16 = 4;
    /// Go on only when other channels have reached a serial.
    pub const WAIT_FOR_CHANNELS: u16 = 5;
    /// The channel is about to end.
    pub const DISCONNECTING: u16 = 6;
    /// A text for the user.
    pub const NOTIFY: u16 = 7;
    /// Several messages in one; the mini header's form of a sub-list.
    pub const LIST: u16 = 8;
}

/// Types that a client may send on every channel.
pub mod client {
    /// Answer to SET_ACK.
    pub const ACK_SYNC: u16 = 1;
    /// A window of messages was received.
    pub const ACK: u16 = 2;
    /// Answer to PING.
    pub const PONG: u16 = 3;
    /// Everything before the migration has arrived.
    pub const MIGRATE_FLUSH_MARK: u16 = 4;
    /// State of the channel from the previous host.
    pub const MIGRATE_DATA: u16 = 5;
    /// The channel is about to end.
    pub const DISCONNECTING: u16 = 6;
}

/// How grave a NOTIFY is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Info = 0,
    /// A warning.
    Warn = 1,
    /// An error.
    Error = 2,
}

/// How much a client is to make of a NOTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// May be hidden.
    Low = 0,
    /// Between the others.
    Medium = 1,
    /// To be shown.
    High = 2,
}

/// SET_ACK: from now on the client acknowledges each `window` messages.
#[must_use]
pub fn set_ack(generation: u32, window: u32) -> Message {
    let mut body = Vec::with_capacity(8);
    body.put_u32(generation).put_u32(window);
    Message::new(server::SET_ACK, body)
}

/// PING: the client answers id and timestamp. `padding` zero bytes follow them, to load the line.
#[must_use]
pub fn ping(id: u32, timestamp: u64, padding: usize) -> Message {
    let mut body = Vec::with_capacity(12);
    body.put_u32(id).put_u64(timestamp);
    let mut message = Message::new(server::PING, body);
    if padding > 0 {
        message.bulk.push(Bulk::whole(Arc::new(vec![0; padding])));
    }
    message
}

/// NOTIFY: a text for the user. `time` is in nanoseconds; `what` is 0 for none of the known causes.
#[must_use]
pub fn notify(
    time: u64,
    severity: Severity,
    visibility: Visibility,
    what: u32,
    text: &str,
) -> Message {
    // A text of 4 GiB does not occur; a cut length would only cut the text.
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(24 + text.len() + 1);
    body.put_u64(time).put_u32(severity as u32).put_u32(visibility as u32).put_u32(what);
    // The length leaves the closing NUL out, which follows all the same.
    body.put_u32(len).put_bytes(text.as_bytes()).put_u8(0);
    Message::new(server::NOTIFY, body)
}

/// DISCONNECTING: the channel ends for `reason`, a link error number. `time` is in nanoseconds.
#[must_use]
pub fn disconnecting(time: u64, reason: u32) -> Message {
    let mut body = Vec::with_capacity(12);
    body.put_u64(time).put_u32(reason);
    Message::new(server::DISCONNECTING, body)
}

/// MIGRATE with its flags: 1 = answer with a flush mark, 2 = hand over the channel's data.
#[must_use]
pub fn migrate(flags: u32) -> Message {
    Message::new(server::MIGRATE, flags.to_le_bytes().to_vec())
}

/// A message serial of another channel, for WAIT_FOR_CHANNELS and INVAL_ALL_PIXMAPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitFor {
    /// Type of the channel.
    pub channel_type: ChannelType,
    /// Id of the channel.
    pub channel_id: u8,
    /// The serial that it must have handled.
    pub serial: u64,
}

/// WAIT_FOR_CHANNELS: the client handles nothing more here until the others are that far.
/// Takes at most 255 entries, the rest is left out.
#[must_use]
pub fn wait_for_channels(waits: &[WaitFor]) -> Message {
    Message::new(server::WAIT_FOR_CHANNELS, wait_list(waits))
}

/// The body of WAIT_FOR_CHANNELS, which INVAL_ALL_PIXMAPS shares.
pub(super) fn wait_list(waits: &[WaitFor]) -> Vec<u8> {
    let count = u8::try_from(waits.len()).unwrap_or(u8::MAX);
    let mut body = Vec::with_capacity(1 + waits.len() * 10);
    body.put_u8(count);
    for wait in waits.iter().take(usize::from(count)) {
        body.put_u8(wait.channel_type.0).put_u8(wait.channel_id).put_u64(wait.serial);
    }
    body
}

/// A message that a client may send on every channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCommon<'a> {
    /// The client has seen SET_ACK of this generation.
    AckSync(u32),
    /// One window of messages was received.
    Ack,
    /// Answer to PING.
    Pong {
        /// Id of the ping.
        id: u32,
        /// The ping's timestamp.
        time: u64,
    },
    /// Everything before the migration has arrived.
    MigrateFlushMark,
    /// State of the channel from the previous host.
    MigrateData(&'a [u8]),
    /// The client is about to go; nothing follows from it.
    Disconnecting,
}

impl<'a> ClientCommon<'a> {
    /// Reads a message of a channel that has no messages of its own.
    ///
    /// # Errors
    /// [`MessageError`] for other types and short bodies. Bytes behind the last field are ignored.
    pub fn parse(kind: u16, body: &'a [u8]) -> Result<Self, MessageError> {
        let mut r = Reader::new(body);
        let short = MessageError::short(kind);
        Ok(match kind {
            client::ACK_SYNC => Self::AckSync(r.u32().map_err(short)?),
            client::ACK => Self::Ack,
            client::PONG => {
                Self::Pong { id: r.u32().map_err(&short)?, time: r.u64().map_err(&short)? }
            }
            client::MIGRATE_FLUSH_MARK => Self::MigrateFlushMark,
            client::MIGRATE_DATA => Self::MigrateData(body),
            client::DISCONNECTING => {
                r.bytes(8 /* time */ + 4 /* reason */).map_err(short)?;
                Self::Disconnecting
            }
            _ => return Err(MessageError::Unknown { kind }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_messages_have_the_bytes_of_the_protocol() {
        let ack = set_ack(1, 20);
        assert_eq!((ack.kind, &ack.body[..]), (3, &[1, 0, 0, 0, 20, 0, 0, 0][..]));

        let small = ping(2, 0x0807_0605_0403_0201, 0);
        assert_eq!((small.kind, small.len()), (4, 12));
        assert_eq!(small.body, [2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(ping(3, 0, 256_000).len(), 256_012);

        let text = "keyboard channel is insecure";
        let note = notify(5, Severity::Warn, Visibility::High, 0, text);
        assert_eq!((note.kind, note.len()), (7, 24 + 28 + 1));
        assert_eq!(
            note.body[..24],
            [5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0]
        );
        assert_eq!(&note.body[24..], [text.as_bytes(), &[0]].concat());

        let wait = WaitFor { channel_type: ChannelType::DISPLAY, channel_id: 1, serial: 7 };
        let message = wait_for_channels(&[wait]);
        assert_eq!((message.kind, &message.body[..]), (5, &[1, 2, 1, 7, 0, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(wait_for_channels(&vec![wait; 300]).len(), 1 + 255 * 10);
        assert_eq!(disconnecting(1, 2).body, [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(migrate(3).body, [3, 0, 0, 0]);
    }

    #[test]
    fn client_messages_are_read_and_short_ones_refused() {
        assert_eq!(ClientCommon::parse(1, &[4, 0, 0, 0]), Ok(ClientCommon::AckSync(4)));
        assert_eq!(ClientCommon::parse(2, &[]), Ok(ClientCommon::Ack));
        let pong = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 99];
        assert_eq!(ClientCommon::parse(3, &pong), Ok(ClientCommon::Pong { id: 1, time: 2 }));
        assert_eq!(ClientCommon::parse(4, &[]), Ok(ClientCommon::MigrateFlushMark));
        assert_eq!(ClientCommon::parse(5, b"x"), Ok(ClientCommon::MigrateData(b"x")));
        assert_eq!(ClientCommon::parse(6, &[0; 12]), Ok(ClientCommon::Disconnecting));
        for (kind, len) in [(1, 3), (3, 11), (6, 11)] {
            let body = vec![0; len];
            assert!(matches!(ClientCommon::parse(kind, &body), Err(MessageError::Short { .. })));
        }
        for kind in [0, 7, 101] {
            assert_eq!(ClientCommon::parse(kind, &[]), Err(MessageError::Unknown { kind }));
        }
    }
}

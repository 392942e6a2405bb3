//! The link message of a client and the server's replies, byte by byte.
//!
//! All places that a peer names are computed in 64 bits and checked before a byte is touched
//! (CVE-2016-9578 was an offset that was not).

use crate::protocol::caps::{Caps, ChannelType};
use crate::protocol::wire::{Reader, TooShort, WireWrite};

use super::key::PUBLIC_KEY_LEN;
use super::sasl::{self, SaslRefused};
use super::ticket::TicketRefused;

/// First bytes of every link message and reply.
pub const MAGIC: [u8; 4] = *b"REDQ";
/// Major version that both ends must have.
pub const MAJOR: u32 = 2;
/// Our minor version; a peer may have any.
pub const MINOR: u32 = 2;
/// Bytes of a link header: magic, major, minor, size of the rest.
pub const HEADER_LEN: usize = 4 + 4 + 4 + 4;
/// Smallest link message behind its header: its fixed part.
pub const MESSAGE_MIN: u32 =
    4 /* connection id */ + 1 /* type */ + 1 /* id */ + 4 + 4 /* words */ + 4 /* offset */;
/// Largest link message behind its header.
pub const MESSAGE_MAX: u32 = 4096;
/// Most capability words of each kind.
pub const CAPS_MAX: u32 = 1024;
/// Fixed part of a reply behind its header.
const REPLY_LEN: u32 = 178;

/// The numbers that link replies and link results carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkCode {
    /// Welcome.
    Ok = 0,
    /// Something went wrong; not used.
    Error = 1,
    /// Not a link message.
    InvalidMagic = 2,
    /// Sizes, capabilities or authentication data are wrong.
    InvalidData = 3,
    /// Another major version.
    VersionMismatch = 4,
    /// This channel needs TLS.
    NeedSecured = 5,
    /// This channel must not have TLS.
    NeedUnsecured = 6,
    /// Wrong ticket.
    PermissionDenied = 7,
    /// No session has this connection id.
    BadConnectionId = 8,
    /// The channel is gone.
    ChannelNotAvailable = 9,
}

/// Why a connection ends before it is a channel; the text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The first four bytes are others.
    #[error("first bytes {first:02x?} are no link magic{hint}", first = .0, hint = meant(*.0))]
    Magic([u8; 4]),
    /// Version 0, which nobody ever had: not answered.
    #[error("link version 0.{0}")]
    VersionZero(u32),
    /// Another major version.
    #[error("link version {major}.{minor}, this server has 2.2")]
    Version {
        /// The client's major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
    /// The message is too small or too large.
    #[error("link message of {0} bytes, allowed are 18 to 4096")]
    Size(u32),
    /// Too many capability words.
    #[error("{common} common and {channel} channel capability words, at most 1024 each")]
    CapsCount {
        /// Words of common capabilities.
        common: u32,
        /// Words of channel capabilities.
        channel: u32,
    },
    /// The capability words do not lie in the message.
    #[error("{words} capability words at {offset} in a link message of {size} bytes")]
    CapsPlace {
        /// Where they begin.
        offset: u32,
        /// How many there are.
        words: u32,
        /// Size of the message.
        size: usize,
    },
    /// The message ends early; the size check leaves no way here.
    #[error("link message: {0}")]
    Short(#[from] TooShort),
    /// The host wants TLS for this channel.
    #[error("channel {0} needs a TLS connection")]
    NeedSecured(ChannelType),
    /// The host wants no TLS for this channel.
    #[error("channel {0} needs a plain connection")]
    NeedUnsecured(ChannelType),
    /// There is no such channel. Not answered, so that nobody learns the list of channels before
    /// authentication.
    #[error("no channel {0}:{1}")]
    NoSuchChannel(ChannelType, u8),
    /// The client chose an authentication that is not on offer.
    #[error("authentication mechanism {0} is not on offer")]
    Mechanism(u32),
    /// The ticket was refused.
    #[error("ticket refused: {0}")]
    Ticket(#[from] TicketRefused),
    /// The host wants SASL, and this client cannot choose it.
    #[error("this server wants SASL and the client chooses no mechanism")]
    SaslRequired,
    /// A name of a SASL mechanism that is none.
    #[error("name of a SASL mechanism of {0} bytes, allowed are 1 to 100")]
    SaslNameSize(u32),
    /// A SASL mechanism that was not offered.
    #[error("a SASL mechanism that is not on offer")]
    SaslName,
    /// Too much data along with the mechanism.
    #[error("SASL: {0} bytes along with the mechanism, at most 65536")]
    SaslStart(u32),
    /// Too much data in one of the later steps.
    #[error("SASL: {0} bytes in one step, at most 65536")]
    SaslData(u32),
    /// The exchange does not end.
    #[error("SASL: no result in 32 steps")]
    SaslSteps,
    /// The mechanism has let the peer in, but protects the connection too little.
    #[error("SASL: the mechanism's security layer is too weak for a connection without TLS")]
    SaslTooWeak,
    /// The mechanism has refused the peer, or could not be asked (see [`SaslRefused::is_guess`]).
    #[error("SASL: {0}")]
    SaslAuth(#[from] SaslRefused),
    /// Bytes came after the end of the handshake.
    #[error("the handshake is over")]
    Over,
}

/// What other protocol the first bytes may belong to.
fn meant(first: [u8; 4]) -> &'static str {
    match first {
        [0x16, 3, ..] => ": it looks like TLS on the plain port",
        _ => "",
    }
}

impl LinkError {
    /// The bytes that tell the client; empty if it is not to be told.
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        let code = match self {
            Self::Magic(_) => LinkCode::InvalidMagic,
            Self::Version { .. } | Self::SaslRequired => LinkCode::VersionMismatch,
            Self::Size(_)
            | Self::CapsCount { .. }
            | Self::CapsPlace { .. }
            | Self::Short(_)
            | Self::SaslName
            | Self::SaslStart(_)
            | Self::Mechanism(_) => LinkCode::InvalidData,
            Self::NeedSecured(_) => LinkCode::NeedSecured,
            Self::NeedUnsecured(_) => LinkCode::NeedUnsecured,
            Self::Ticket(_) => return link_result(LinkCode::PermissionDenied).to_vec(),
            Self::SaslTooWeak => return sasl::rejection(),
            // SASL has no word for a failed step: the end of the connection is the answer.
            Self::SaslNameSize(_) | Self::SaslData(_) | Self::SaslSteps | Self::SaslAuth(_) => {
                return Vec::new();
            }
            Self::VersionZero(_) | Self::NoSuchChannel(..) | Self::Over => return Vec::new(),
        };
        error_reply(code)
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkMessage {
    /// Session to join; 0 asks for a new one.
    pub connection_id: u32,
    /// Type of the channel, any value.
    pub channel_type: ChannelType,
    /// Id of the channel, any value.
    pub channel_id: u8,
    /// Capabilities of link stage and headers.
    pub common_caps: Caps,
    /// Capabilities of this channel.
    pub channel_caps: Caps,
}

/// Checks what follows the magic; returns the size of the link message.
///
/// # Errors
/// [`LinkError`] for another major version (checked first) or a size out of range.
pub fn check_header(rest: [u8; HEADER_LEN - 4]) -> Result<u32, LinkError> {
    let mut r = Reader::new(&rest);
    let (major, minor, size) = (r.u32()?, r.u32()?, r.u32()?);
    match major {
        MAJOR => {}
        0 => return Err(LinkError::VersionZero(minor)),
        _ => return Err(LinkError::Version { major, minor }),
    }
    if !(MESSAGE_MIN..=MESSAGE_MAX).contains(&size) {
        return Err(LinkError::Size(size));
    }
    Ok(size)
}

/// Reads a complete link message of a size that [`check_header`] has let pass.
///
/// # Errors
/// [`LinkError`] if there are too many capability words or if they lie outside.
pub fn parse_message(bytes: &[u8]) -> Result<LinkMessage, LinkError> {
    let mut r = Reader::new(bytes);
    let connection_id = r.u32()?;
    let channel_type = ChannelType(r.u8()?);
    let channel_id = r.u8()?;
    let (common, channel) = (r.u32()?, r.u32()?);
    let offset = r.u32()?;

    if common > CAPS_MAX || channel > CAPS_MAX {
        return Err(LinkError::CapsCount { common, channel });
    }
    let (common_caps, channel_caps) = if common + channel == 0 {
        Default::default()
    } else {
        caps(bytes, common, channel, offset)?
    };
    Ok(LinkMessage { connection_id, channel_type, channel_id, common_caps, channel_caps })
}

/// The words at `offset`: first the common ones, then those of the channel.
fn caps(bytes: &[u8], common: u32, channel: u32, offset: u32) -> Result<(Caps, Caps), LinkError> {
    let words = common + channel;
    let size = bytes.len();
    let outside = LinkError::CapsPlace { offset, words, size };
    let end = u64::from(offset) + 4 * u64::from(words);
    if offset < MESSAGE_MIN || usize::try_from(end).map_or(true, |end| end > size) {
        return Err(outside);
    }
    let start = usize::try_from(offset).map_err(|_| outside)?;
    let mut r = Reader::new(bytes.get(start..).ok_or(outside)?);
    // At most 4096 / 4 words: the size of the message was checked.
    let mut take = |count| (0..count).map(|_| r.u32()).collect::<Result<Vec<_>, _>>();
    Ok((Caps::from_words(take(common)?), Caps::from_words(take(channel)?)))
}

/// The reply that lets a client go on: our key and what we can do.
#[must_use]
pub fn ok_reply(key: &[u8; PUBLIC_KEY_LEN], common: &[u32], channel: &[u32]) -> Vec<u8> {
    // Our own lists: a few words.
    let count = |words: &[u32]| u32::try_from(words.len()).unwrap_or(0);
    let size = REPLY_LEN + 4 * (count(common) + count(channel));
    let mut out = reply_header(LinkCode::Ok, size);
    out.put_bytes(key).put_u32(count(common)).put_u32(count(channel)).put_u32(REPLY_LEN);
    for word in common.iter().chain(channel) {
        out.put_u32(*word);
    }
    out
}

/// A reply after which the connection ends: 194 bytes, zero behind the code.
#[must_use]
pub fn error_reply(code: LinkCode) -> Vec<u8> {
    let mut out = reply_header(code, REPLY_LEN);
    out.resize(HEADER_LEN + 178, 0);
    out
}

/// The last bytes of the link stage: whether the channel begins.
#[must_use]
pub fn link_result(code: LinkCode) -> [u8; 4] {
    (code as u32).to_le_bytes()
}

fn reply_header(code: LinkCode, size: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + 178 + 8);
    out.put_bytes(&MAGIC).put_u32(MAJOR).put_u32(MINOR).put_u32(size).put_u32(code as u32);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(major: u32, minor: u32, size: u32) -> [u8; 12] {
        let mut out = Vec::new();
        out.put_u32(major).put_u32(minor).put_u32(size);
        out.try_into().unwrap()
    }

    fn message(common: u32, channel: u32, offset: u32, tail: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(7).put_u8(2).put_u8(1).put_u32(common).put_u32(channel).put_u32(offset);
        for word in tail {
            out.put_u32(*word);
        }
        out
    }

    #[test]
    fn the_log_names_a_client_that_meant_another_port() {
        let hello = LinkError::Magic([0x16, 3, 1, 2]).to_string();
        assert!(hello.contains("TLS on the plain port"), "{hello}");
        let other = LinkError::Magic(*b"REDX").to_string();
        assert!(other.ends_with("are no link magic"), "{other}");
    }

    #[test]
    fn version_is_checked_before_size_and_minor_is_not() {
        assert_eq!(check_header(header(2, 99, 18)), Ok(18));
        assert_eq!(check_header(header(2, 2, 4096)), Ok(4096));
        for size in [0, 17, 4097, u32::MAX] {
            assert_eq!(check_header(header(2, 2, size)), Err(LinkError::Size(size)));
        }
        assert_eq!(check_header(header(0, 5, 0)), Err(LinkError::VersionZero(5)));
        for major in [1, 3, u32::MAX] {
            let error = LinkError::Version { major, minor: 0 };
            assert_eq!(check_header(header(major, 0, 0)), Err(error));
        }
    }

    #[test]
    fn common_words_come_before_those_of_the_channel() {
        let link = parse_message(&message(1, 2, 18, &[0xb, 0x52, 1])).unwrap();
        assert_eq!((link.connection_id, link.channel_type.0, link.channel_id), (7, 2, 1));
        assert_eq!(link.common_caps.words(), [0xb]);
        assert_eq!(link.channel_caps.words(), [0x52, 1]);
        let moved = parse_message(&message(1, 0, 22, &[9, 0xb])).unwrap();
        assert_eq!(moved.common_caps.words(), [0xb]);
    }

    #[test]
    fn offset_counts_only_when_there_are_words() {
        assert!(parse_message(&message(0, 0, u32::MAX, &[])).is_ok());
        for (common, offset) in [(1, 17), (1, 0), (1, 19), (2, 18), (1024, 18), (1, u32::MAX)] {
            assert_eq!(
                parse_message(&message(common, 0, offset, &[1])),
                Err(LinkError::CapsPlace { offset, words: common, size: 22 })
            );
        }
    }

    #[test]
    fn more_than_1024_words_of_a_kind_are_refused() {
        for (common, channel) in [(1025, 0), (0, 1025), (u32::MAX, 1), (0x4000_0000, 0x4000_0000)] {
            assert_eq!(
                parse_message(&message(common, channel, 18, &[1])),
                Err(LinkError::CapsCount { common, channel })
            );
        }
    }

    #[test]
    fn ok_reply_has_the_bytes_of_the_protocol() {
        let key = [0x30; PUBLIC_KEY_LEN];
        let reply = ok_reply(&key, &[0xb], &[0x1052]);
        assert_eq!(reply.len(), 16 + 178 + 8);
        assert_eq!(
            reply[..20],
            [0x52, 0x45, 0x44, 0x51, 2, 0, 0, 0, 2, 0, 0, 0, 186, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(reply[20..182], key);
        assert_eq!(
            reply[182..],
            [1, 0, 0, 0, 1, 0, 0, 0, 178, 0, 0, 0, 0xb, 0, 0, 0, 0x52, 0x10, 0, 0]
        );
        assert_eq!(ok_reply(&key, &[0xb], &[]).len(), 16 + 178 + 4);
    }

    #[test]
    fn error_replies_have_194_bytes_and_some_errors_none() {
        let magic = LinkError::Magic(*b"GET ").reply();
        assert_eq!(magic.len(), 194);
        assert_eq!(
            magic[..24],
            [0x52, 0x45, 0x44, 0x51, 2, 0, 0, 0, 2, 0, 0, 0, 178, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
        );
        assert!(magic[24..].iter().all(|b| *b == 0));
        let main = ChannelType::MAIN;
        for (error, code) in [
            (LinkError::Size(0), 3),
            (LinkError::Mechanism(2), 3),
            (LinkError::SaslName, 3),
            (LinkError::SaslRequired, 4),
            (LinkError::Version { major: 1, minor: 0 }, 4),
            (LinkError::NeedSecured(main), 5),
            (LinkError::NeedUnsecured(main), 6),
        ] {
            assert_eq!((error.reply().len(), error.reply()[16]), (194, code));
        }
        assert_eq!(LinkError::Ticket(TicketRefused::Wrong).reply(), [7, 0, 0, 0]);
        assert!(LinkError::VersionZero(0).reply().is_empty());
        let weak = LinkError::SaslTooWeak.reply();
        assert_eq!(weak, b"\x01\0\0\0\x16\0\0\0Authentication failed\0");
        assert!(LinkError::SaslAuth(SaslRefused::Wrong).reply().is_empty());
        assert!(LinkError::NoSuchChannel(main, 0).reply().is_empty());
        assert_eq!(link_result(LinkCode::BadConnectionId), [8, 0, 0, 0]);
    }
}

//! Headers of frames, RFC 6455 §5.2.

/// Largest payload of a control frame in bytes (§5.5).
pub(super) const MAX_CONTROL: u64 = 125;
/// Opcode of a close frame.
pub(super) const CLOSE: u8 = 8;
/// Opcode of a ping.
const PING: u8 = 9;
/// Opcode of a pong.
pub(super) const PONG: u8 = 10;

/// First byte: this is the last frame of its message.
const LAST: u8 = 0x80;
/// First byte: reserved for extensions, of which none is ever agreed on.
const RESERVED: u8 = 0x70;
/// Second byte: a mask follows the length.
const MASKED: u8 = 0x80;
/// Length in the second byte: a 16-bit one follows.
const LEN_16: u8 = 126;
/// Length in the second byte: a 64-bit one follows.
const LEN_64: u8 = 127;

/// What breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("frame with reserved bits {0:#04x}")]
    Reserved(u8),
    #[error("frame with unknown opcode {0}")]
    Opcode(u8),
    #[error("a message begins inside another one")]
    Nested,
    #[error("a message goes on that has not begun")]
    NotBegun,
    #[error("control frame of {0} bytes, at most 125")]
    LongControl(u64),
    #[error("control frame in pieces")]
    SplitControl,
    #[error("frame of {0} bytes, more than a length can say")]
    Len(u64),
}

/// Which frames are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Binary, text, or the continuation of either.
    Data,
    Close,
    Ping,
    Pong,
}

impl Kind {
    pub(super) fn is_control(self) -> bool {
        self != Self::Data
    }
}

/// A frame before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The message ends with this frame.
    pub(super) last: bool,
    /// Bytes of payload, less than 2⁶³.
    pub(super) len: u64,
    /// What the payload is masked with; zeros if it is not.
    pub(super) mask: [u8; 4],
}

/// Bytes of the header that begins with `head` and goes on with `more`, as far as these tell: 2 to 14.
pub(super) fn header_len(head: &[u8], more: &[u8]) -> usize {
    let Some(second) = head.iter().chain(more).nth(1) else { return 2 };
    let length = match second & !MASKED {
        LEN_16 => 2,
        LEN_64 => 8,
        _ => 0,
    };
    2 + length + if second & MASKED != 0 { 4 } else { 0 }
}

impl Header {
    /// Reads a header; `None` while it is not complete. What is wrong with its first bytes is said at once.
    ///
    /// # Errors
    /// [`Malformed`]; `in_message` says whether a message has begun and not ended.
    pub(super) fn read(bytes: &[u8], in_message: bool) -> Result<Option<Self>, Malformed> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let last = first & LAST != 0;
        if first & RESERVED != 0 {
            return Err(Malformed::Reserved(first & RESERVED));
        }
        let kind = match (first & 0x0f, in_message) {
            (0, false) => return Err(Malformed::NotBegun),
            (1 | 2, true) => return Err(Malformed::Nested),
            (0..=2, _) => Kind::Data,
            (CLOSE, _) => Kind::Close,
            (PING, _) => Kind::Ping,
            (PONG, _) => Kind::Pong,
            (other, _) => return Err(Malformed::Opcode(other)),
        };
        let (len, rest) = match second & !MASKED {
            LEN_16 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            LEN_64 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            len => (u64::from(len), rest),
        };
        if kind.is_control() && !last {
            return Err(Malformed::SplitControl);
        }
        if kind.is_control() && len > MAX_CONTROL {
            return Err(Malformed::LongControl(len));
        }
        if i64::try_from(len).is_err() {
            return Err(Malformed::Len(len));
        }
        let mask = match (second & MASKED != 0, rest.first_chunk()) {
            (false, _) => [0; 4],
            (true, Some(mask)) => *mask,
            (true, None) => return Ok(None),
        };
        Ok(Some(Self { kind, last, len, mask }))
    }
}

/// A whole control frame of ours; a payload that is too long is cut, which ours never is.
pub(super) fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap_or(u8::MAX).min(125);
    let mut frame = vec![LAST | opcode, len];
    frame.extend_from_slice(payload.get(..len.into()).unwrap_or_default());
    frame
}

/// The header of a whole binary message of `len` bytes: 2, 4 or 10 bytes.
pub(super) fn data_header(len: usize) -> Vec<u8> {
    const BINARY: u8 = 2;
    let mut header = vec![LAST | BINARY];
    if let Some(short) = u8::try_from(len).ok().filter(|len| *len < LEN_16) {
        header.push(short);
    } else if let Ok(len) = u16::try_from(len) {
        header.push(LEN_16);
        header.extend_from_slice(&len.to_be_bytes());
    } else {
        header.push(LEN_64);
        header.extend_from_slice(&(len as u64).to_be_bytes());
    }
    header
}

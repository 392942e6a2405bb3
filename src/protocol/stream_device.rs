//! What a guest's streaming agent and the server tell each other over the port `org.spice-space.stream.0`.
//!
//! Facts from `spice/stream-device.h`, and from what spice-server does (spec 04, section 12). Everything here comes from the
//! guest: sizes are checked before memory is taken, and memory grows with what has really come.

use super::wire::{Reader, TooShort, WireWrite};

/// Bytes in front of each message: version, padding, type (u16), size of what follows (u32).
pub const HEAD: usize = 8;
/// Version of the protocol; that of the guest is not looked at.
const VERSION: u8 = 1;

/// Longest list of capabilities, in bytes.
pub const CAPABILITIES_MAX: usize = 1024;
/// Longest frame, in bytes.
pub const FRAME_MAX: usize = 32 << 20;
/// Longest side of a stream, in pixels.
pub const SIDE_MAX: u32 = 16_384;
/// Longest side of a pointer, in pixels.
pub const CURSOR_SIDE_MAX: u16 = 1024;
/// Longest address of a device, in bytes with its NUL.
pub const ADDRESS_MAX: usize = 256;

const FORMAT_SIZE: usize = 12;
const CURSOR_HEAD: usize = 12;
const CURSOR_MOVE_SIZE: usize = 8;
const INFO_HEAD: usize = 12;
/// The largest pointer: 32 bits a pixel and a mask.
const CURSOR_MAX: usize = CURSOR_HEAD + 1024 * (4096 + 128);

/// Types of messages.
mod kind {
    pub const CAPABILITIES: u16 = 1;
    pub const FORMAT: u16 = 2;
    pub const DATA: u16 = 3;
    pub const START_STOP: u16 = 4;
    pub const NOTIFY_ERROR: u16 = 5;
    pub const CURSOR_SET: u16 = 6;
    pub const CURSOR_MOVE: u16 = 7;
    pub const DEVICE_DISPLAY_INFO: u16 = 8;
}

/// Why a guest is not listened to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A type that guests do not send.
    #[error("message of type {0}")]
    Type(u16),
    /// A size that the type cannot have.
    #[error("message of type {kind} and {size} bytes")]
    Size {
        /// Its type.
        kind: u16,
        /// Bytes that it announces.
        size: u32,
    },
    /// A stream that cannot be.
    #[error("stream of {width}x{height}, codec {codec}")]
    Format {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Codec.
        codec: u8,
    },
    /// A pointer that cannot be.
    #[error("pointer of {width}x{height}, type {kind}, {bytes} bytes")]
    Cursor {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
        /// Type.
        kind: u8,
        /// Bytes of pixels and mask.
        bytes: usize,
    },
    /// The process has no memory for the message.
    #[error("no memory for {0} bytes")]
    Memory(usize),
}

impl StreamError {
    /// What the guest is told, as by the original where that is known.
    #[must_use]
    pub fn for_guest(&self) -> &'static str {
        match self {
            Self::Type(_) => "Invalid message type",
            Self::Size { kind: kind::CAPABILITIES, .. } => "Wrong size for StreamMsgCapabilities",
            Self::Size { kind: kind::FORMAT, .. } => "Wrong size for StreamMsgFormat",
            Self::Size { kind: kind::DATA, .. } => "STREAM_DATA too large",
            Self::Size { kind: kind::CURSOR_SET, .. } => "Cursor size is invalid",
            Self::Size { kind: kind::CURSOR_MOVE, .. } => "Wrong size for StreamMsgCursorMove",
            Self::Size { .. } => "StreamMsgDeviceDisplayInfo too large",
            Self::Format { .. } | Self::Cursor { .. } | Self::Memory(_) => "Protocol error",
        }
    }
}

/// A pointer's shape, checked: `data` is exactly as long as type and size demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorSet {
    /// Columns, 1 to 1024.
    pub width: u16,
    /// Rows, 1 to 1024.
    pub height: u16,
    /// Column of the hot spot.
    pub hot_x: u16,
    /// Row of the hot spot.
    pub hot_y: u16,
    /// `SPICE_CURSOR_TYPE_*`: 0 alpha, 5 and 6 colours of 24 and 32 bits with a mask.
    pub kind: u8,
    /// Pixels, and the mask.
    pub data: Vec<u8>,
}

/// A message of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamMessage {
    /// Bits; none of them means anything to us.
    Capabilities(Vec<u8>),
    /// A stream begins, or another one.
    Format {
        /// Columns, 1 to [`SIDE_MAX`].
        width: u32,
        /// Rows, 1 to [`SIDE_MAX`].
        height: u32,
        /// `SPICE_VIDEO_CODEC_TYPE_*`, 1 to 5.
        codec: u8,
    },
    /// A frame, at most [`FRAME_MAX`] bytes.
    Data(Vec<u8>),
    /// The pointer's shape.
    CursorSet(CursorSet),
    /// Where the pointer is.
    CursorMove {
        /// Column.
        x: i32,
        /// Row.
        y: i32,
    },
    /// Which hardware the stream shows.
    DisplayInfo {
        /// Number of the stream.
        stream: u32,
        /// Number of the monitor on the hardware.
        display: u32,
        /// The hardware's address without its NUL.
        address: Vec<u8>,
    },
    /// One that says nothing, and is passed over.
    Nothing(&'static str),
}

/// Puts the guest's bytes together.
#[derive(Debug, Default)]
pub struct StreamReader {
    head: Vec<u8>,
    /// Type and size of the message that has begun.
    begun: Option<(u16, usize)>,
    body: Vec<u8>,
}

impl StreamReader {
    /// Bytes up to the end of what has begun, never 0: the next ones to be read.
    #[must_use]
    pub fn wanted(&self) -> usize {
        match self.begun {
            None => HEAD - self.head.len(),
            Some((_, size)) => size - self.body.len(),
        }
    }

    /// True between the head of a message and its end.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Takes bytes, of which at most [`StreamReader::wanted`] count. The message that is complete then.
    ///
    /// # Errors
    /// [`StreamError`]; where the next message begins nobody knows then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<StreamMessage>, StreamError> {
        let bytes = bytes.get(..bytes.len().min(self.wanted())).unwrap_or_default();
        let Some((kind, size)) = self.begun else {
            self.head.extend_from_slice(bytes);
            let Some(head) = self.head.first_chunk::<HEAD>() else { return Ok(None) };
            let [_version, _padding, k0, k1, s0, s1, s2, s3] = *head;
            self.head.clear();
            let (kind, size) = (u16::from_le_bytes([k0, k1]), u32::from_le_bytes([s0, s1, s2, s3]));
            let size = checked_size(kind, size)?;
            if size == 0 {
                return message(kind, Vec::new()).map(Some);
            }
            self.begun = Some((kind, size));
            return Ok(None);
        };
        self.body.try_reserve(bytes.len()).map_err(|_| StreamError::Memory(size))?;
        self.body.extend_from_slice(bytes);
        if self.body.len() < size {
            return Ok(None);
        }
        self.begun = None;
        message(kind, std::mem::take(&mut self.body)).map(Some)
    }
}

/// The size if a message of this type can have it.
fn checked_size(kind: u16, size: u32) -> Result<usize, StreamError> {
    let bytes = usize::try_from(size).unwrap_or(usize::MAX);
    let fits = match kind {
        kind::CAPABILITIES => bytes <= CAPABILITIES_MAX,
        kind::FORMAT => bytes == FORMAT_SIZE,
        kind::DATA => bytes <= FRAME_MAX,
        kind::CURSOR_SET => (CURSOR_HEAD..=CURSOR_MAX).contains(&bytes),
        kind::CURSOR_MOVE => bytes == CURSOR_MOVE_SIZE,
        kind::DEVICE_DISPLAY_INFO => bytes <= INFO_HEAD + ADDRESS_MAX,
        _ => return Err(StreamError::Type(kind)),
    };
    if fits { Ok(bytes) } else { Err(StreamError::Size { kind, size }) }
}

fn message(kind: u16, body: Vec<u8>) -> Result<StreamMessage, StreamError> {
    match kind {
        kind::CAPABILITIES => Ok(StreamMessage::Capabilities(body)),
        kind::DATA if body.is_empty() => Ok(StreamMessage::Nothing("a frame without bytes")),
        kind::DATA => Ok(StreamMessage::Data(body)),
        kind::FORMAT => format(&body),
        kind::CURSOR_SET => cursor(&body),
        kind::CURSOR_MOVE => {
            let mut fields = Reader::new(&body);
            let mut next = || fields.i32().unwrap_or(0);
            Ok(StreamMessage::CursorMove { x: next(), y: next() })
        }
        _ => {
            let info = display_info(&body).ok().flatten();
            Ok(info.unwrap_or(StreamMessage::Nothing("an address of hardware that is none")))
        }
    }
}

fn format(body: &[u8]) -> Result<StreamMessage, StreamError> {
    let mut fields = Reader::new(body);
    // The size is known to be right.
    let (width, height) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
    let codec = fields.u8().unwrap_or(0);
    let side = 1..=SIDE_MAX;
    if !side.contains(&width) || !side.contains(&height) || !(1..=5).contains(&codec) {
        return Err(StreamError::Format { width, height, codec });
    }
    Ok(StreamMessage::Format { width, height, codec })
}

fn cursor(body: &[u8]) -> Result<StreamMessage, StreamError> {
    let mut fields = Reader::new(body);
    let mut word = || fields.u16().unwrap_or(0);
    let (width, height, hot_x, hot_y) = (word(), word(), word(), word());
    let kind = fields.u8().unwrap_or(u8::MAX);
    let data = body.get(CURSOR_HEAD..).unwrap_or_default();
    let side = 1..=CURSOR_SIDE_MAX;
    let pixels = usize::from(width) * usize::from(height);
    // The mask runs over all pixels without padding rows, as clients read it.
    let mask = pixels.div_ceil(8);
    let need = match kind {
        0 => Some(pixels * 4),
        5 => Some(pixels * 3 + mask),
        6 => Some(pixels * 4 + mask),
        _ => None,
    };
    if !side.contains(&width) || !side.contains(&height) || need != Some(data.len()) {
        return Err(StreamError::Cursor { width, height, kind, bytes: data.len() });
    }
    let data = data.to_vec();
    Ok(StreamMessage::CursorSet(CursorSet { width, height, hot_x, hot_y, kind, data }))
}

/// `None` for lengths that contradict each other.
fn display_info(body: &[u8]) -> Result<Option<StreamMessage>, TooShort> {
    let mut fields = Reader::new(body);
    let (stream, display) = (fields.u32()?, fields.u32()?);
    let len = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let address = body.get(INFO_HEAD..).unwrap_or_default();
    let Some((0, address)) = address.split_last().filter(|_| address.len() == len) else {
        return Ok(None);
    };
    if address.contains(&0) {
        return Ok(None);
    }
    Ok(Some(StreamMessage::DisplayInfo { stream, display, address: address.to_vec() }))
}

fn to_guest(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD + body.len());
    message.put_u8(VERSION).put_u8(0).put_u16(kind);
    message.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX)).put_bytes(body);
    message
}

/// CAPABILITIES of the server: none.
#[must_use]
pub fn capabilities() -> Vec<u8> {
    to_guest(kind::CAPABILITIES, &[0])
}

/// START_STOP: begin a stream anew in one of these codecs, at most 255; without any, stop.
#[must_use]
pub fn start_stop(codecs: &[u8]) -> Vec<u8> {
    let count = u8::try_from(codecs.len()).unwrap_or(u8::MAX);
    let mut body = vec![count];
    body.extend(codecs.iter().take(count.into()));
    to_guest(kind::START_STOP, &body)
}

/// NOTIFY_ERROR: nothing that follows is looked at until the port is opened again.
#[must_use]
pub fn notify_error(text: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + text.len() + 1);
    body.put_u32(0).put_bytes(text.as_bytes()).put_u8(0);
    to_guest(kind::NOTIFY_ERROR, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_guest(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7, 9];
        bytes.put_u16(kind).put_u32(u32::try_from(body.len()).unwrap()).put_bytes(body);
        bytes
    }

    /// All messages of some bytes, read in steps of at most so many.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<StreamMessage>, StreamError> {
        let (mut reader, mut rest, mut all) = (StreamReader::default(), bytes, Vec::new());
        while !rest.is_empty() {
            let n = reader.wanted().min(step).min(rest.len());
            assert!(n > 0);
            all.extend(reader.push(&rest[..n])?);
            rest = &rest[n..];
        }
        Ok(all)
    }

    fn cursor_body(width: u16, height: u16, kind: u8, data: usize) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u16(width).put_u16(height).put_u16(1).put_u16(2).put_u8(kind);
        body.put_bytes(&[0; 3]).put_bytes(&vec![5; data]);
        body
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let mut info = Vec::new();
        info.put_u32(1).put_u32(2).put_u32(4).put_bytes(b"pci\0");
        let bytes = [
            of_guest(1, &[1]),
            of_guest(2, &[64, 1, 0, 0, 240, 0, 0, 0, 4, 9, 9, 9]),
            of_guest(3, &[8; 100]),
            of_guest(3, &[]),
            of_guest(6, &cursor_body(3, 3, 6, 36 + 2)),
            of_guest(7, &[0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0]),
            of_guest(8, &info),
        ]
        .concat();
        let all = read(&bytes, usize::MAX).unwrap();
        assert_eq!(all[1], StreamMessage::Format { width: 320, height: 240, codec: 4 });
        assert_eq!(all[2], StreamMessage::Data(vec![8; 100]));
        assert!(matches!(&all[4], StreamMessage::CursorSet(c) if (c.hot_x, c.hot_y) == (1, 2)));
        assert_eq!(all[5], StreamMessage::CursorMove { x: -1, y: 7 });
        let address = b"pci".to_vec();
        assert_eq!(all[6], StreamMessage::DisplayInfo { stream: 1, display: 2, address });
        for step in 1..20 {
            assert_eq!(read(&bytes, step).unwrap(), all);
        }
    }

    #[test]
    fn sizes_are_refused_before_a_byte_of_the_body_is_taken() {
        for (kind, size, fits) in [
            (1, 1024, true),
            (1, 1025, false),
            (2, 11, false),
            (2, 13, false),
            (3, 32 << 20, true),
            (3, (32 << 20) + 1, false),
            (6, 11, false),
            (6, 12, true),
            (6, 12 + 1024 * (4096 + 128) + 1, false),
            (7, 9, false),
            (8, 12 + 256, true),
            (8, 12 + 257, false),
        ] {
            let mut head = vec![1, 0];
            head.put_u16(kind).put_u32(size);
            let pushed = StreamReader::default().push(&head);
            let want = if fits { Ok(None) } else { Err(StreamError::Size { kind, size }) };
            assert_eq!(pushed, want);
        }
        for kind in [0, 4, 5, 9, 10, u16::MAX] {
            assert_eq!(read(&of_guest(kind, &[]), 8), Err(StreamError::Type(kind)));
        }
    }

    #[test]
    fn streams_and_pointers_that_cannot_be_are_refused() {
        for (width, height, codec) in
            [(0u32, 1u32, 1u8), (1, 0, 1), (16_385, 1, 1), (1, 1, 0), (1, 1, 6)]
        {
            let mut body = Vec::new();
            body.put_u32(width).put_u32(height).put_u8(codec).put_bytes(&[0; 3]);
            let want = Err(StreamError::Format { width, height, codec });
            assert_eq!(read(&of_guest(2, &body), 99), want);
        }
        for (width, height, kind, data) in [
            (0, 1, 0, 0),
            (1025, 1, 0, 4100),
            (2, 2, 0, 15),
            (2, 2, 0, 17),
            (2, 2, 1, 4),
            (9, 1, 5, 28),
        ] {
            let body = cursor_body(width, height, kind, data);
            assert!(matches!(read(&of_guest(6, &body), 99), Err(StreamError::Cursor { .. })));
        }
    }

    #[test]
    fn an_address_that_is_none_is_passed_over() {
        for (len, bytes) in [(3u32, &b"pci"[..]), (5, b"pci\0"), (4, b"p\0i\0"), (0, b"")] {
            let mut body = Vec::new();
            body.put_u32(0).put_u32(0).put_u32(len).put_bytes(bytes);
            let all = read(&of_guest(8, &body), 99).unwrap();
            assert!(matches!(all[0], StreamMessage::Nothing(_)));
        }
        assert!(matches!(read(&of_guest(8, &[0; 5]), 99).unwrap()[0], StreamMessage::Nothing(_)));
    }

    #[test]
    fn what_the_guest_is_told_has_the_bytes_of_the_protocol() {
        assert_eq!(capabilities(), [1, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(start_stop(&[1, 4, 5]), [1, 0, 4, 0, 4, 0, 0, 0, 3, 1, 4, 5]);
        assert_eq!(start_stop(&[]), [1, 0, 4, 0, 1, 0, 0, 0, 0]);
        assert_eq!(notify_error("no"), [1, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'n', b'o', 0]);
    }
}

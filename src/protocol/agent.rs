//! The client's side of the agent stream: which message a piece belongs to, and the layouts of
//! monitors among them.
//!
//! A client cuts messages into pieces of at most [`super::main::AGENT_DATA_MAX`] bytes; a piece
//! never holds bytes of two messages. Everything here is one client's, so that clients cannot
//! disturb each other's messages.

use super::wire::Reader;

/// The one version of the agent protocol.
const PROTOCOL: u32 = 1;
/// Type of a message with the monitors that a client wishes for.
const MONITORS_CONFIG: u32 = 2;

/// Monitors that a message of the greatest size describes, with their sizes in millimetres.
const MAX_MONITORS: usize = 256;
/// Bytes before the monitors: count and flags.
const LAYOUT_HEAD: usize = 8;
/// Bytes of one monitor: height, width, depth, x, y.
const MONITOR: usize = 20;
/// Bytes of one size in millimetres: height and width.
const MILLIMETRES: usize = 4;
/// Largest message of monitors: clients may not make the server collect more.
pub const MONITORS_MAX: usize = LAYOUT_HEAD + MAX_MONITORS * (MONITOR + MILLIMETRES);

/// Flags of a layout that are known; the others are not passed on.
const USE_POSITION: u32 = 1;
const PHYSICAL_SIZE: u32 = 2;

/// A piece that no client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// A message begins with less than its header.
    #[error("agent message begins with {0} bytes")]
    Header(usize),
    /// Another protocol.
    #[error("agent protocol {0}")]
    Protocol(u32),
    /// More bytes than the message has left.
    #[error("{have} bytes of an agent message that has {left} left")]
    Beyond {
        /// Bytes of the piece.
        have: usize,
        /// Bytes that were left.
        left: u32,
    },
    /// A layout larger than [`MONITORS_MAX`].
    #[error("monitors in {0} bytes")]
    MonitorsTooLong(u32),
    /// A layout that is smaller than its own count says.
    #[error("{count} monitors, flags {flags}, in {have} bytes")]
    MonitorsTooShort {
        /// Monitors by the count.
        count: u32,
        /// Flags of the layout.
        flags: u32,
        /// Bytes that are there.
        have: usize,
    },
}

/// The monitors that a client wishes for (`VDAgentMonitorsConfig`); its count fits its size.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientMonitors {
    words: Vec<u32>,
}

impl ClientMonitors {
    /// Reads the data of a message.
    ///
    /// # Errors
    /// [`AgentError::MonitorsTooShort`]; surplus bytes are cut.
    pub fn parse(data: &[u8]) -> Result<Self, AgentError> {
        let have = data.len();
        let mut fields = Reader::new(data);
        let (Ok(count), Ok(flags)) = (fields.u32(), fields.u32()) else {
            return Err(AgentError::MonitorsTooShort { count: 0, flags: 0, have });
        };
        let flags = flags & (USE_POSITION | PHYSICAL_SIZE);
        let sizes = if flags & PHYSICAL_SIZE == 0 { 0 } else { MILLIMETRES };
        let need = usize::try_from(count).ok().and_then(|n| n.checked_mul(MONITOR + sizes));
        let body = need.and_then(|need| fields.rest().get(..need));
        let Some(body) = body else {
            return Err(AgentError::MonitorsTooShort { count, flags, have });
        };
        let mut words = vec![count, flags];
        words.extend(body.as_chunks().0.iter().copied().map(u32::from_le_bytes));
        Ok(Self { words })
    }

    /// Number of monitors.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.first().copied().unwrap_or(0)
    }

    /// The structure as C has it, in words: count, flags, five words a monitor, then, if the flags
    /// say so, one word a monitor with its size.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

impl std::fmt::Debug for ClientMonitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientMonitors").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Of a message that is dropped: the client has not opened the stream.
    Closed,
    /// Of a message for the agent itself.
    Message,
    /// Of a layout that is not complete yet.
    PartOfMonitors,
    /// The last one of a layout.
    Monitors(ClientMonitors),
}

/// Where a client is in its stream.
#[derive(Debug, Default)]
pub struct ClientStream {
    /// Bytes of the current message that have not come.
    left: u32,
    fate: Fate,
}

#[derive(Debug, Default)]
enum Fate {
    #[default]
    Closed,
    Message,
    Monitors(Vec<u8>),
}

impl ClientStream {
    /// Takes a piece. `open` counts where a message begins: what began closed stays closed.
    ///
    /// # Errors
    /// [`AgentError`]: the client has to go, and so has its stream.
    pub fn piece(&mut self, piece: &[u8], open: bool) -> Result<Piece, AgentError> {
        let data = if self.left == 0 { self.begin(piece, open)? } else { piece };
        let have = data.len();
        let rest = u32::try_from(have).ok().and_then(|have| self.left.checked_sub(have));
        let Some(rest) = rest else {
            return Err(AgentError::Beyond { have, left: self.left });
        };
        self.left = rest;
        match &mut self.fate {
            Fate::Closed => Ok(Piece::Closed),
            Fate::Message => Ok(Piece::Message),
            Fate::Monitors(all) => {
                all.extend_from_slice(data);
                if rest > 0 {
                    return Ok(Piece::PartOfMonitors);
                }
                let piece = Piece::Monitors(ClientMonitors::parse(all)?);
                self.fate = Fate::Closed;
                Ok(piece)
            }
        }
    }

    /// Reads a header; returns what follows it.
    fn begin<'a>(&mut self, piece: &'a [u8], open: bool) -> Result<&'a [u8], AgentError> {
        let short = |_| AgentError::Header(piece.len());
        let mut fields = Reader::new(piece);
        let (protocol, kind) = (fields.u32().map_err(short)?, fields.u32().map_err(short)?);
        let (_opaque, size) = (fields.u64().map_err(short)?, fields.u32().map_err(short)?);
        if protocol != PROTOCOL {
            return Err(AgentError::Protocol(protocol));
        }
        self.fate = match (open, kind) {
            (false, _) => Fate::Closed,
            (true, MONITORS_CONFIG) => {
                if usize::try_from(size).is_ok_and(|size| size > MONITORS_MAX) {
                    return Err(AgentError::MonitorsTooLong(size));
                }
                Fate::Monitors(Vec::new())
            }
            (true, _) => Fate::Message,
        };
        self.left = size;
        Ok(fields.rest())
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::WireWrite;
    use super::*;

    /// Bytes of a message's header: protocol, type, opaque, size.
    const HEADER: usize = 4 + 4 + 8 + 4;

    fn message(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(PROTOCOL).put_u32(kind).put_u64(0);
        bytes.put_u32(u32::try_from(data.len()).unwrap()).put_bytes(data);
        bytes
    }

    fn layout(count: u32, flags: u32, words: u32) -> Vec<u8> {
        let mut data = Vec::new();
        data.put_u32(count).put_u32(flags);
        (0..words).for_each(|n| {
            data.put_u32(n);
        });
        data
    }

    #[test]
    fn a_layout_is_whole_however_it_is_cut() {
        let bytes = message(MONITORS_CONFIG, &layout(2, 3, 12));
        for cut in HEADER..=bytes.len() {
            let mut stream = ClientStream::default();
            let (first, second) = bytes.split_at(cut);
            let mut piece = stream.piece(first, true).unwrap();
            if !second.is_empty() {
                assert_eq!(piece, Piece::PartOfMonitors, "cut at {cut}");
                piece = stream.piece(second, true).unwrap();
            }
            let Piece::Monitors(monitors) = piece else { panic!("{piece:?} at {cut}") };
            assert_eq!(monitors.words()[..3], [2, 3, 0]);
            assert_eq!((monitors.words().len(), monitors.count()), (14, 2));
        }
    }

    #[test]
    fn a_layout_must_hold_what_it_counts() {
        // Every pair of size and count, with the overflows that CVE-2017-7506 was about.
        for (count, flags, words, fits) in [
            (0, 0, 0, true),
            (1, 0, 5, true),
            (1, 0, 4, false),
            (1, 2, 5, false),
            (1, 2, 6, true),
            (1, 0, 7, true),
            (u32::MAX, 0, 5, false),
            (u32::MAX, 2, 5, false),
            (0x3333_3334, 0, 5, false),
            (0x1000_0000, 0, 5, false),
        ] {
            let bytes = message(MONITORS_CONFIG, &layout(count, flags, words));
            let piece = ClientStream::default().piece(&bytes, true);
            assert_eq!(piece.is_ok(), fits, "{count} monitors, flags {flags}, {words} words");
            if let Ok(Piece::Monitors(monitors)) = piece {
                assert_eq!(monitors.words()[1], flags);
                let each = if flags & 2 == 0 { 5 } else { 6 };
                assert_eq!(monitors.words()[2..].len(), count as usize * each, "surplus is cut");
            }
        }
        for len in 0..LAYOUT_HEAD {
            let bytes = message(MONITORS_CONFIG, &vec![0; len]);
            assert!(ClientStream::default().piece(&bytes, true).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn what_is_announced_is_bounded_before_it_is_collected() {
        let begin = |kind, size: u32| {
            let mut bytes = Vec::new();
            bytes.put_u32(PROTOCOL).put_u32(kind).put_u64(0).put_u32(size).put_u64(0);
            ClientStream::default().piece(&bytes, true)
        };
        assert_eq!(begin(MONITORS_CONFIG, 6152), Ok(Piece::PartOfMonitors));
        assert_eq!(begin(MONITORS_CONFIG, 6153), Err(AgentError::MonitorsTooLong(6153)));
        assert_eq!(begin(MONITORS_CONFIG, u32::MAX), Err(AgentError::MonitorsTooLong(u32::MAX)));
        assert_eq!(begin(4, u32::MAX), Ok(Piece::Message));
    }

    #[test]
    fn framing_is_checked_also_while_the_stream_is_closed() {
        for open in [false, true] {
            let bytes = message(6, &[0; 8]);
            let piece = |bytes: &[u8]| ClientStream::default().piece(bytes, open);
            assert_eq!(piece(&bytes[..19]), Err(AgentError::Header(19)));
            assert_eq!(
                piece(&[&bytes[..], &[0]].concat()),
                Err(AgentError::Beyond { have: 9, left: 8 })
            );
            let mut other = bytes.clone();
            other[0] = 2;
            assert_eq!(piece(&other), Err(AgentError::Protocol(2)));
        }
    }

    #[test]
    fn a_message_that_began_closed_is_dropped_to_its_end() {
        let bytes = message(MONITORS_CONFIG, &layout(1, 0, 5));
        let mut stream = ClientStream::default();
        assert_eq!(stream.piece(&bytes[..24], false), Ok(Piece::Closed));
        assert_eq!(stream.piece(&bytes[24..], true), Ok(Piece::Closed));
        assert!(matches!(stream.piece(&bytes, true), Ok(Piece::Monitors(_))));
    }
}

//! The agent's side of the stream: chunks as they come from the device become pieces for clients.
//!
//! The device may give any number of bytes at a time, but never more than [`DeviceReader::wanted`]:
//! what has no place with a client stays in the device. A piece is part of one chunk, unless a
//! message's header is cut by the end of a chunk: then it is put together first.

use super::super::handover::AgentData;
use super::super::main::AGENT_DATA_MAX;
use super::super::wire::Reader;
use super::{
    AgentError, CHUNK_HEADER, CLIENT_PORT, Filter, HEADER, Header, Rules, SERVER_PORT, Verdict,
    capability, kind,
};

/// Where the first word of capabilities ends, behind the header: request, capabilities.
const FIRST_CAPABILITIES: usize = 4 + 4;

/// What has become of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Nothing yet: a piece, or a chunk's header, is not complete.
    Incomplete,
    /// They belong to what no client gets.
    Dropped,
    /// A piece for clients, 1 to [`AGENT_DATA_MAX`] bytes.
    Piece {
        /// Its bytes.
        data: Vec<u8>,
        /// If the agent announces what it can do with it: whether it wants to know the hardware of monitors.
        wants_device_info: Option<bool>,
    },
}

/// Where the agent is in its stream.
#[derive(Debug, Default)]
pub struct DeviceReader {
    head: Vec<u8>,
    port: u32,
    /// Bytes of the chunk that have not come.
    left: usize,
    /// Bytes for clients that are no piece yet.
    piece: Vec<u8>,
    filter: Filter,
}

impl DeviceReader {
    /// How many bytes it can take next, 1 to [`AGENT_DATA_MAX`].
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.left == 0 {
            CHUNK_HEADER - self.head.len()
        } else if self.port == CLIENT_PORT {
            self.left.min(AGENT_DATA_MAX - self.piece.len())
        } else {
            self.left.min(AGENT_DATA_MAX)
        }
    }

    /// Takes bytes of the device, at most [`DeviceReader::wanted`]; the rest is ignored.
    ///
    /// # Errors
    /// [`AgentError`]: the agent breaks its protocol; the reader is useless then.
    pub fn take(&mut self, bytes: &[u8], rules: Rules) -> Result<Reading, AgentError> {
        let bytes = bytes.get(..self.wanted()).unwrap_or(bytes);
        if self.left == 0 {
            self.head.extend_from_slice(bytes);
            self.chunk_begins()?;
            return Ok(Reading::Incomplete);
        }
        self.left -= bytes.len();
        if self.port != CLIENT_PORT {
            return Ok(Reading::Dropped);
        }
        if self.piece.is_empty() {
            self.piece.reserve_exact(AGENT_DATA_MAX.min(self.left + bytes.len()));
        }
        self.piece.extend_from_slice(bytes);
        let full = self.left == 0 || self.piece.len() == AGENT_DATA_MAX;
        if !full || (self.filter.between_messages() && self.piece.len() < head_of(&self.piece)) {
            return Ok(Reading::Incomplete);
        }
        self.pass(rules)
    }

    /// Passes on the piece that has been read.
    fn pass(&mut self, rules: Rules) -> Result<Reading, AgentError> {
        // Taken in any case: what is broken is not handed over to another server either.
        let mut data = std::mem::take(&mut self.piece);
        let step = self.filter.piece(&data, rules)?;
        if step.verdict == Verdict::Discard {
            return Ok(Reading::Dropped);
        }
        let announces = step.begins.is_some_and(|h| h.kind == kind::ANNOUNCE_CAPABILITIES);
        let wants_device_info = announces.then(|| edit_announcement(&mut data, rules));
        Ok(Reading::Piece { data, wants_device_info })
    }

    /// What has been read and is no piece yet, if its message has begun: it goes as a piece of its own.
    ///
    /// # Errors
    /// As [`DeviceReader::take`].
    pub fn cut(&mut self, rules: Rules) -> Result<Reading, AgentError> {
        if self.piece.is_empty() || (self.filter.between_messages() && self.piece.len() < HEADER) {
            return Ok(Reading::Incomplete);
        }
        self.pass(rules)
    }

    /// Where it is, for another server; [`DeviceReader::cut`] comes before.
    #[must_use]
    pub fn handover(&self) -> AgentData {
        let mut chunk_header = self.head.clone();
        if self.left > 0 || !self.piece.is_empty() {
            // It was 32 bits long.
            let left = u32::try_from(self.left).unwrap_or(u32::MAX);
            chunk_header = [self.port.to_le_bytes(), left.to_le_bytes()].concat();
        }
        let (message_left, drops) = self.filter.rest();
        AgentData {
            chunk_header,
            in_message: message_left > 0,
            message_header: self.piece.clone(),
            message_left,
            drops,
        }
    }

    /// Goes on where another server ends.
    ///
    /// # Errors
    /// It cannot have been there.
    pub fn resume(from: &AgentData) -> Result<Self, AgentError> {
        let mut reader = Self::default();
        reader.head.clone_from(&from.chunk_header);
        reader.chunk_begins()?;
        if from.message_header.len() >= HEADER {
            return Err(AgentError::Header(from.message_header.len()));
        }
        reader.piece.clone_from(&from.message_header);
        reader.filter = Filter::resume(from.message_left, from.drops);
        Ok(reader)
    }

    /// Drops what is still to come of a message that has begun.
    pub fn drop_message(&mut self) {
        self.filter.drop_message();
    }

    fn chunk_begins(&mut self) -> Result<(), AgentError> {
        let mut fields = Reader::new(&self.head);
        let (Ok(port), Ok(size)) = (fields.u32(), fields.u32()) else { return Ok(()) };
        if port != CLIENT_PORT && port != SERVER_PORT {
            return Err(AgentError::Port(port));
        }
        self.port = port;
        // Only counted down: nothing is allocated for it. 32 bits fit into the address space.
        self.left = usize::try_from(size).unwrap_or(usize::MAX);
        // A chunk without bytes is none: the next header follows.
        self.head.clear();
        Ok(())
    }
}

/// Bytes that have to be together at the beginning of a message, as far as one can see by its first ones.
fn head_of(piece: &[u8]) -> usize {
    match Header::parse(piece) {
        // What the server edits.
        Ok(Header { kind: kind::ANNOUNCE_CAPABILITIES, size, .. }) => {
            HEADER + usize::try_from(size).map_or(FIRST_CAPABILITIES, |s| s.min(FIRST_CAPABILITIES))
        }
        _ => HEADER,
    }
}

/// Takes out of an announcement what the host forbids; true if the agent wants to know the hardware of monitors.
fn edit_announcement(message: &mut [u8], rules: Rules) -> bool {
    let Some(word) = message.get_mut(HEADER..).and_then(|data| data.get_mut(4..FIRST_CAPABILITIES))
    else {
        return false;
    };
    let mut bytes = [0; 4];
    bytes.copy_from_slice(word);
    let mut bits = u32::from_le_bytes(bytes);
    if !rules.copy_paste {
        bits &= !capability::CLIPBOARD;
    }
    if !rules.file_xfer {
        bits |= capability::FILE_XFER_DISABLED;
    }
    word.copy_from_slice(&bits.to_le_bytes());
    bits & capability::GRAPHICS_DEVICE_INFO != 0
}

#[cfg(test)]
mod tests {
    use super::super::{message, put_chunks};
    use super::*;
    use crate::protocol::wire::WireWrite;

    fn chunk(port: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(port).put_u32(u32::try_from(data.len()).unwrap()).put_bytes(data);
        bytes
    }

    /// Reads a device that gives at most `step` bytes at a time.
    fn read(mut bytes: &[u8], step: usize, rules: Rules) -> Result<Vec<Vec<u8>>, AgentError> {
        let (mut reader, mut pieces) = (DeviceReader::default(), Vec::new());
        while !bytes.is_empty() {
            let wanted = reader.wanted();
            assert!((1..=AGENT_DATA_MAX).contains(&wanted));
            let (now, rest) = bytes.split_at(step.min(wanted).min(bytes.len()));
            bytes = rest;
            if let Reading::Piece { data, .. } = reader.take(now, rules)? {
                assert!((1..=AGENT_DATA_MAX).contains(&data.len()));
                pieces.push(data);
            }
        }
        Ok(pieces)
    }

    #[test]
    fn chunks_become_pieces_of_at_most_2048_bytes_however_they_are_read() {
        let long = message(4, &(0..=u8::MAX).cycle().take(5000).collect::<Vec<_>>());
        let short = message(1, &[]);
        let stream = [chunk(1, &long[..3000]), chunk(1, &long[3000..]), chunk(1, &short)].concat();
        for step in [1, 7, 2048, usize::MAX] {
            let pieces = read(&stream, step, Rules::ALL).unwrap();
            let sizes: Vec<_> = pieces.iter().map(Vec::len).collect();
            assert_eq!(sizes, [2048, 952, 2020, 20], "{step} bytes at a time");
            assert_eq!(pieces.concat(), [&long[..], &short[..]].concat());
        }
    }

    #[test]
    fn empty_chunks_are_skipped_and_the_servers_port_is_dropped() {
        let hello = message(3, &[1; 8]);
        let stream = [
            chunk(1, &[]),
            chunk(1, &hello[..22]),
            chunk(2, &[9; 3000]),
            chunk(2, &[]),
            chunk(1, &hello[22..]),
        ]
        .concat();
        assert_eq!(read(&stream, 5, Rules::ALL).unwrap().concat(), hello);
    }

    #[test]
    fn a_header_that_is_cut_is_put_together() {
        let bytes = message(4, &[5; 2100]);
        for cut in 1..HEADER {
            let stream = [chunk(1, &bytes[..cut]), chunk(1, &bytes[cut..])].concat();
            let pieces = read(&stream, usize::MAX, Rules::ALL).unwrap();
            assert_eq!(pieces.concat(), bytes);
            assert_eq!(pieces[0].len(), 2048, "the first piece is as long as it may be");
        }
        let single: Vec<u8> = bytes.iter().flat_map(|b| chunk(1, &[*b])).collect();
        assert_eq!(read(&single, 3, Rules::ALL).unwrap().concat(), bytes);
    }

    #[test]
    fn what_breaks_the_protocol_is_an_error() {
        for port in [0, 3, u32::MAX] {
            assert_eq!(read(&chunk(port, &[1]), 9, Rules::ALL), Err(AgentError::Port(port)));
        }
        let mut two = message(1, &[]);
        two.extend(message(1, &[]));
        let beyond = AgentError::Beyond { have: 20, left: 0 };
        assert_eq!(read(&chunk(1, &two), 9, Rules::ALL), Err(beyond));
        assert_eq!(
            read(&chunk(1, &[2; 20]), 9, Rules::NONE),
            Err(AgentError::Protocol(0x0202_0202))
        );
    }

    #[test]
    fn what_is_broken_is_not_handed_over() {
        let mut reader = DeviceReader::default();
        let head = [CLIENT_PORT, 30].map(u32::to_le_bytes).concat();
        assert_eq!(reader.take(&head, Rules::ALL), Ok(Reading::Incomplete));
        // A header that no agent sends, of a chunk that is not complete.
        assert_eq!(reader.take(&[2; 21], Rules::NONE), Ok(Reading::Incomplete));
        assert!(reader.cut(Rules::NONE).is_err());
        let known = reader.handover();
        assert!(known.message_header.is_empty());
        assert!(DeviceReader::resume(&known).is_ok());
    }

    fn announce(request: u32, words: &[u32]) -> Vec<u8> {
        let mut data = Vec::new();
        data.put_u32(request);
        words.iter().for_each(|w| {
            data.put_u32(*w);
        });
        message(kind::ANNOUNCE_CAPABILITIES, &data)
    }

    fn announced(bytes: &[u8], rules: Rules) -> (Vec<u8>, Option<bool>) {
        let mut stream = Vec::new();
        // Cut inside what is edited.
        put_chunks(&mut stream, 1, &bytes[..22]);
        put_chunks(&mut stream, 1, &bytes[22..]);
        let (mut reader, mut rest) = (DeviceReader::default(), &stream[..]);
        let (mut all, mut wants) = (Vec::new(), None);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(reader.wanted().min(rest.len()));
            rest = later;
            if let Reading::Piece { data, wants_device_info } = reader.take(now, rules).unwrap() {
                all.extend(data);
                wants = wants.or(wants_device_info);
            }
        }
        (all, wants)
    }

    #[test]
    fn announcements_lose_what_the_host_forbids() {
        let off = Rules { copy_paste: false, file_xfer: false, ..Rules::ALL };
        for (rules, words, edited, wants) in [
            (Rules::ALL, &[0x1_ffff, 5][..], &[0x1_ffff, 5][..], true),
            (off, &[0x1_ffff, u32::MAX], &[0x1_ff97, u32::MAX], true),
            (off, &[0], &[0x2000], false),
            (Rules { copy_paste: false, ..Rules::ALL }, &[0x68], &[0], false),
            (off, &[], &[], false),
        ] {
            let (bytes, wanted) = announced(&announce(1, words), rules);
            assert_eq!(bytes, announce(1, edited));
            assert_eq!(wanted, Some(wants));
        }
        // Not even the word of the request is there: nothing to edit, nothing to read past.
        let bare = message(kind::ANNOUNCE_CAPABILITIES, &[1, 2]);
        let (bytes, wants) = announced(&bare, off);
        assert_eq!((bytes, wants), (bare, Some(false)));
    }
}

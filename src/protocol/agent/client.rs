//! The client's side of the stream: which message a piece belongs to, and the layouts of monitors among
//! them. One for each client, so that clients cannot disturb each other's messages.

use super::{AgentError, ClientMonitors, Filter, HEADER, MONITORS_MAX, Rules, Verdict, kind};

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Of a message that is dropped.
    Discarded,
    /// Of a message for the agent itself.
    Message,
    /// Of a layout that is not complete yet.
    PartOfMonitors,
    /// The last one of a layout.
    Monitors {
        /// The layout.
        monitors: ClientMonitors,
        /// The whole message with its header, for an agent if no device takes the layout.
        message: Vec<u8>,
    },
}

/// Where a client is in its stream.
#[derive(Debug, Default)]
pub struct ClientStream {
    filter: Filter,
    /// What has come of a layout.
    layout: Option<Vec<u8>>,
}

impl ClientStream {
    /// Bytes of the current message that have not come, and whether they are dropped. Of a layout they are: what came
    /// of it stays here.
    #[must_use]
    pub fn rest(&self) -> (u32, bool) {
        let (left, drops) = self.filter.rest();
        (left, drops || (left > 0 && self.layout.is_some()))
    }

    /// Goes on in a message of which so many bytes have not come.
    #[must_use]
    pub fn resume(left: u32, drops: bool) -> Self {
        Self { filter: Filter::resume(left, drops), layout: None }
    }

    /// Another agent is at the other end now, or none.
    pub fn interrupted(&mut self) {
        self.filter.interrupted();
        self.layout = None;
    }

    /// Takes a piece. `rules` count where a message begins: what began closed stays closed.
    ///
    /// # Errors
    /// [`AgentError`]: the client has to go, and so has its stream.
    pub fn piece(&mut self, piece: &[u8], rules: Rules) -> Result<Piece, AgentError> {
        let step = self.filter.piece(piece, rules)?;
        if step.verdict == Verdict::Discard {
            return Ok(Piece::Discarded);
        }
        if let Some(header) = step.begins {
            self.layout = None;
            if header.kind == kind::MONITORS_CONFIG {
                if usize::try_from(header.size).is_ok_and(|size| size > MONITORS_MAX) {
                    return Err(AgentError::MonitorsTooLong(header.size));
                }
                self.layout = Some(Vec::new());
            }
        }
        let Some(all) = &mut self.layout else { return Ok(Piece::Message) };
        // Bounded by the size that was just checked, which no piece goes beyond.
        all.extend_from_slice(piece);
        if !step.ends {
            return Ok(Piece::PartOfMonitors);
        }
        let message = self.layout.take().unwrap_or_default();
        let monitors = ClientMonitors::parse(message.get(HEADER..).unwrap_or_default())?;
        Ok(Piece::Monitors { monitors, message })
    }
}

#[cfg(test)]
mod tests {
    use super::super::message;
    use super::*;
    use crate::protocol::wire::WireWrite;

    const MONITORS_CONFIG: u32 = kind::MONITORS_CONFIG;

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
            let mut piece = stream.piece(first, Rules::ALL).unwrap();
            if !second.is_empty() {
                assert_eq!(piece, Piece::PartOfMonitors, "cut at {cut}");
                piece = stream.piece(second, Rules::ALL).unwrap();
            }
            let Piece::Monitors { monitors, message } = piece else { panic!("{piece:?} at {cut}") };
            assert_eq!(message, bytes);
            assert_eq!(monitors.words()[..3], [2, 3, 0]);
            assert_eq!((monitors.words().len(), monitors.count()), (14, 2));
        }
    }

    #[test]
    fn what_is_announced_is_bounded_before_it_is_collected() {
        let begin = |kind, size: u32| {
            let mut bytes = message(kind, &[0; 8]);
            bytes[16..20].copy_from_slice(&size.to_le_bytes());
            ClientStream::default().piece(&bytes, Rules::ALL)
        };
        assert_eq!(begin(MONITORS_CONFIG, 6152), Ok(Piece::PartOfMonitors));
        assert_eq!(begin(MONITORS_CONFIG, 6153), Err(AgentError::MonitorsTooLong(6153)));
        assert_eq!(begin(MONITORS_CONFIG, u32::MAX), Err(AgentError::MonitorsTooLong(u32::MAX)));
        assert_eq!(begin(4, u32::MAX), Ok(Piece::Message));
    }

    #[test]
    fn a_message_that_began_closed_is_dropped_to_its_end() {
        let bytes = message(MONITORS_CONFIG, &layout(1, 0, 5));
        let mut stream = ClientStream::default();
        assert_eq!(stream.piece(&bytes[..24], Rules::NONE), Ok(Piece::Discarded));
        assert_eq!(stream.piece(&bytes[24..], Rules::ALL), Ok(Piece::Discarded));
        assert!(matches!(stream.piece(&bytes, Rules::ALL), Ok(Piece::Monitors { .. })));
    }
}

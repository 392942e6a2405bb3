//! Where messages begin and end in a stream of pieces, and what may pass. One for each direction and stream.

use super::super::main::AGENT_DATA_MAX;
use super::{AgentError, HEADER, Header, PROTOCOL, kind};

/// What may pass now; a message goes by what holds where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// False: nothing passes. The framing is checked all the same.
    pub open: bool,
    /// Clipboards may pass.
    pub copy_paste: bool,
    /// Files may pass.
    pub file_xfer: bool,
    /// Layouts of monitors may pass; otherwise they are the display devices' business.
    pub monitors: bool,
}

impl Rules {
    /// Everything passes.
    pub const ALL: Self = Self { open: true, copy_paste: true, file_xfer: true, monitors: true };
    /// Nothing passes.
    pub const NONE: Self = Self { open: false, copy_paste: true, file_xfer: true, monitors: true };

    fn verdict(self, kind: u32) -> Verdict {
        match kind {
            _ if !self.open => Verdict::Discard,
            kind::CLIPBOARD
            | kind::CLIPBOARD_GRAB
            | kind::CLIPBOARD_REQUEST
            | kind::CLIPBOARD_RELEASE
                if !self.copy_paste =>
            {
                Verdict::Discard
            }
            kind::FILE_XFER_START | kind::FILE_XFER_STATUS | kind::FILE_XFER_DATA
                if !self.file_xfer =>
            {
                Verdict::Discard
            }
            kind::MONITORS_CONFIG if !self.monitors => Verdict::Discard,
            _ => Verdict::Pass,
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// It is dropped.
    #[default]
    Discard,
    /// It goes on.
    Pass,
}

/// What a piece was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What becomes of it.
    pub verdict: Verdict,
    /// The header if a message begins with it.
    pub begins: Option<Header>,
    /// True if the message ends with it.
    pub ends: bool,
}

/// Where a stream is.
#[derive(Debug, Default)]
pub struct Filter {
    /// Bytes of the current message that have not come.
    left: u32,
    verdict: Verdict,
    /// The rest of the current message may never come: see [`Filter::interrupted`].
    unsure: bool,
}

impl Filter {
    /// True if the next piece begins a message.
    #[must_use]
    pub fn between_messages(&self) -> bool {
        self.left == 0
    }

    /// Bytes of the current message that have not come, and whether they are dropped.
    #[must_use]
    pub fn rest(&self) -> (u32, bool) {
        (self.left, self.left > 0 && self.verdict == Verdict::Discard)
    }

    /// Goes on in a message of which so many bytes have not come.
    #[must_use]
    pub fn resume(left: u32, drops: bool) -> Self {
        let verdict = if drops { Verdict::Discard } else { Verdict::Pass };
        Self { left, verdict, unsure: false }
    }

    /// Drops what is still to come of a message that has begun.
    pub fn drop_message(&mut self) {
        self.verdict = Verdict::Discard;
    }

    /// The other end of the stream is another one now. What is still to come of a message that has begun is
    /// dropped; and it may not come: some clients send it to the new agent (spice-gtk), some give it up.
    pub fn interrupted(&mut self) {
        self.drop_message();
        self.unsure = self.left > 0;
    }

    /// Takes a piece. `rules` count where a message begins.
    ///
    /// # Errors
    /// [`AgentError`]: the stream cannot be followed any further.
    pub fn piece(&mut self, piece: &[u8], rules: Rules) -> Result<Step, AgentError> {
        let mut begins = None;
        let mut data = piece;
        if self.left > 0 && self.unsure && looks_like_a_message(piece) {
            self.left = 0;
        }
        if self.left == 0 {
            self.unsure = false;
            let header = Header::parse(piece).map_err(|_| AgentError::Header(piece.len()))?;
            if header.protocol != PROTOCOL {
                return Err(AgentError::Protocol(header.protocol));
            }
            self.left = header.size;
            self.verdict = rules.verdict(header.kind);
            begins = Some(header);
            data = piece.get(HEADER..).unwrap_or_default();
        }
        let have = data.len();
        let rest = u32::try_from(have).ok().and_then(|have| self.left.checked_sub(have));
        self.left = rest.ok_or(AgentError::Beyond { have, left: self.left })?;
        Ok(Step { verdict: self.verdict, begins, ends: self.left == 0 })
    }
}

/// True if a piece can be the first one of a message, as clients cut them.
fn looks_like_a_message(piece: &[u8]) -> bool {
    let Ok(header) = Header::parse(piece) else { return false };
    let size = usize::try_from(header.size).unwrap_or(usize::MAX);
    let have = piece.len() - HEADER;
    let known = (kind::MOUSE_STATE..=kind::LAST).contains(&header.kind);
    let whole = have == size || (have < size && piece.len() == AGENT_DATA_MAX);
    header.protocol == PROTOCOL && known && whole
}

#[cfg(test)]
mod tests {
    use super::super::message;
    use super::*;

    #[test]
    fn framing_is_checked_whatever_may_pass() {
        for rules in [Rules::ALL, Rules::NONE] {
            let bytes = message(6, &[0; 8]);
            let piece = |bytes: &[u8]| Filter::default().piece(bytes, rules);
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
    fn a_setting_stops_its_messages_and_no_others() {
        let all = 0..20;
        let stopped = |rules: Rules| -> Vec<u32> {
            let discards = |kind: &u32| {
                let step = Filter::default().piece(&message(*kind, &[]), rules).unwrap();
                assert!(step.ends);
                step.verdict == Verdict::Discard
            };
            all.clone().filter(discards).collect()
        };
        assert_eq!(stopped(Rules::ALL), []);
        assert_eq!(stopped(Rules { copy_paste: false, ..Rules::ALL }), [4, 7, 8, 9]);
        assert_eq!(stopped(Rules { file_xfer: false, ..Rules::ALL }), [10, 11, 12]);
        assert_eq!(stopped(Rules { monitors: false, ..Rules::ALL }), [2]);
        assert_eq!(stopped(Rules::NONE).len(), 20);
    }

    #[test]
    fn after_an_interruption_the_rest_may_come_or_not() {
        let old = message(kind::FILE_XFER_DATA, &[1; 6000]);
        let new = message(kind::CLIPBOARD, &[2; 3000]);
        for rest_comes in [false, true] {
            let mut filter = Filter::default();
            filter.piece(&old[..2048], Rules::ALL).unwrap();
            filter.interrupted();
            if rest_comes {
                for piece in old[2048..].chunks(2048) {
                    let step = filter.piece(piece, Rules::ALL).unwrap();
                    assert_eq!(step.verdict, Verdict::Discard);
                }
            }
            for (piece, ends) in [(&new[..2048], false), (&new[2048..], true)] {
                let step = filter.piece(piece, Rules::ALL).unwrap();
                assert_eq!((step.verdict, step.ends), (Verdict::Pass, ends), "{rest_comes}");
            }
        }
        // Between messages there is nothing to be unsure of.
        let mut filter = Filter::default();
        filter.interrupted();
        assert!(filter.piece(&new[..40], Rules::ALL).is_ok());
        assert_eq!(filter.piece(&new[..60], Rules::ALL).unwrap().begins, None);
    }

    #[test]
    fn a_message_goes_by_what_held_when_it_began() {
        let mut filter = Filter::default();
        let bytes = message(kind::CLIPBOARD, &[7; 100]);
        let off = Rules { copy_paste: false, ..Rules::ALL };
        assert_eq!(filter.piece(&bytes[..40], Rules::ALL).unwrap().verdict, Verdict::Pass);
        let last = filter.piece(&bytes[40..], off).unwrap();
        assert_eq!((last.verdict, last.ends, last.begins), (Verdict::Pass, true, None));
        assert_eq!(filter.piece(&bytes[..40], off).unwrap().verdict, Verdict::Discard);
        assert_eq!(filter.piece(&bytes[40..], Rules::ALL).unwrap().verdict, Verdict::Discard);
        assert!(filter.between_messages());
    }
}

//! Messages to one client whose order is settled, until their images are made.
//!
//! Owned by display-N. Whatever is in here goes out, so it is kept short: what may still become needless waits in the
//! client's pipe.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use crate::display::encode::draft::Draft;
use crate::pool::Scratch;
use crate::pool::workers;

/// Bytes of pixels that may be in work for one client, and as many for each worker besides. One message may exceed it.
const BYTES: usize = 1 << 20;
/// Bytes of pixels that the display's thread makes itself if it has nothing else to do: about a millisecond, in which
/// a call of the host may have to wait.
const HELP: usize = 1 << 20;
/// Messages that may wait behind one whose images are in work.
const MESSAGES: usize = 256;

/// A client's lane.
#[derive(Debug, Default)]
pub struct Lane {
    drafts: VecDeque<Draft>,
    weight: usize,
}

impl Lane {
    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.drafts.len()
    }

    /// True if nothing more may be settled for now. A client that is sent at most so many bytes a second has no more
    /// pixels in work than its bytes of a second, uncompressed: what is in work is sent, and keeps what is newer waiting.
    pub fn is_full(&self, rate: Option<NonZeroU64>) -> bool {
        let all = BYTES.saturating_mul(1 + workers::threads());
        let most = rate.map_or(all, |rate| usize::try_from(rate.get()).unwrap_or(all).min(all));
        self.drafts.len() >= MESSAGES || (!self.is_empty() && self.weight >= most)
    }

    /// The next one in order.
    pub fn push(&mut self, draft: impl Into<Draft>) {
        let draft = draft.into();
        self.weight += draft.weight();
        self.drafts.push_back(draft);
    }

    /// The first one, if it is all there.
    pub fn take_ready(&mut self) -> Option<Draft> {
        self.drafts.front().filter(|draft| draft.is_ready())?;
        let draft = self.drafts.pop_front()?;
        self.weight -= draft.weight();
        Some(draft)
    }

    /// Makes the first image that no worker has begun; false if there is none, or none that takes a moment only.
    pub fn help(&self, scratch: &mut Scratch) -> bool {
        self.drafts.iter().any(|draft| draft.help(scratch, HELP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Message;

    #[test]
    fn a_lane_is_full_of_messages_or_of_pixels_for_a_second() {
        let mut lane = Lane::default();
        let slow = NonZeroU64::new(100_000);
        assert!(!lane.is_full(None) && !lane.is_full(slow), "one message is always taken");
        lane.push(Message::new(1, Vec::new()));
        lane.weight = 99_999;
        assert!(!lane.is_full(slow));
        lane.weight = 100_000;
        assert!(lane.is_full(slow) && !lane.is_full(None));
        assert!(!lane.is_full(NonZeroU64::new(u64::MAX)));
        lane.weight = 0;
        (1..MESSAGES).for_each(|_| lane.push(Message::new(1, Vec::new())));
        assert!(lane.is_full(None) && lane.is_full(slow));
    }
}

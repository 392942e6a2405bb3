//! The ack window of display and cursor channels (spec 02 §12).

use std::collections::VecDeque;

/// Messages that a client acknowledges at once, on links that are not slow.
pub const WINDOW: u32 = 20;
/// The same on slow links, where the way to the client and back takes long.
pub const SLOW_WINDOW: u32 = 40;

/// Counts messages, and their bytes, that the client has not acknowledged.
///
/// Two bounds hold up a channel: many messages and many bytes. A client acknowledges after every so many
/// messages, so small ones would mostly wait for the way to the client and back; therefore the number alone
/// stops nobody while the bytes are few. Newest wins loses nothing by it: a message that is on its way is out of
/// date only for as long as few bytes take.
#[derive(Debug, Clone)]
pub struct AckWindow {
    generation: u32,
    synced: Option<u32>,
    window: u32,
    /// Bytes, headers included, that may be on the way in any number of messages.
    free_bytes: u64,
    unacked: u32,
    bytes: u64,
    /// Bytes of each whole window of messages that waits for its ACK; together with `last` they are `bytes`.
    groups: VecDeque<u64>,
    /// Messages and bytes since the last whole window.
    last: (u32, u64),
    /// Windows that were acknowledged.
    acks: u64,
}

impl AckWindow {
    /// A window whose SET_ACK (generation 1) is being sent.
    #[must_use]
    pub fn new(window: u32, free_bytes: u64) -> Self {
        let groups = VecDeque::new();
        let window = window.max(1);
        Self {
            generation: 1,
            synced: None,
            window,
            free_bytes,
            unacked: 0,
            bytes: 0,
            groups,
            last: (0, 0),
            acks: 0,
        }
    }

    /// The same with the window of slow links; only before SET_ACK is sent.
    #[must_use]
    pub fn for_slow_link(self) -> Self {
        Self { window: SLOW_WINDOW, ..self }
    }

    /// What SET_ACK says: generation and window.
    #[must_use]
    pub fn announcement(&self) -> (u32, u32) {
        (self.generation, self.window)
    }

    /// A message of so many bytes goes out.
    pub fn sent(&mut self, bytes: u64) {
        self.unacked = self.unacked.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.last = (self.last.0 + 1, self.last.1.saturating_add(bytes));
        if self.last.0 == self.window {
            self.groups.push_back(self.last.1);
            self.last = (0, 0);
        }
    }

    /// The client saw a SET_ACK.
    pub fn synced(&mut self, generation: u32) {
        self.synced = Some(generation);
    }

    /// The client acknowledged a window; counts only under our generation and never wraps.
    pub fn acked(&mut self) {
        if self.synced != Some(self.generation) {
            return;
        }
        self.unacked = self.unacked.saturating_sub(self.window);
        self.acks += 1;
        // One ACK too many is for messages that are not a window yet.
        let bytes = match self.groups.pop_front() {
            Some(bytes) => bytes,
            None => std::mem::take(&mut self.last).1,
        };
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Serial of the last message that the client has handled for certain; SET_ACK was number 1.
    ///
    /// An ACK says that a message has come; clients send it before they handle that message.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.acks.saturating_mul(self.window.into())
    }

    /// True while another message may go out.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.unacked <= 2 * self.window || self.bytes < self.free_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_closes_above_twice_its_size_and_opens_by_an_ack_of_our_generation() {
        let mut w = AckWindow::new(WINDOW, 0);
        (0..41).for_each(|_| w.sent(100));
        assert!(!w.is_open());
        w.acked();
        assert!(!w.is_open(), "an ack before ACK_SYNC does not count");
        w.synced(2);
        w.acked();
        assert!(!w.is_open(), "an ack of another generation does not count");
        w.synced(1);
        w.acked();
        assert!(w.is_open());
    }

    #[test]
    fn what_is_handled_is_counted_from_set_ack() {
        let mut w = AckWindow::new(WINDOW, 0);
        w.acked();
        assert_eq!(w.handled(), 0, "not synced");
        w.synced(1);
        w.acked();
        // Messages 2 to 21 have come, of which the last may still be in work.
        assert_eq!(w.handled(), 20);
    }

    #[test]
    fn surplus_acks_do_not_wrap() {
        let mut w = AckWindow::new(WINDOW, 0);
        w.synced(1);
        (0..1000).for_each(|_| w.acked());
        assert!(w.is_open());
        (0..40).for_each(|_| w.sent(100));
        assert!(w.is_open());
        (0..1000).for_each(|_| w.acked());
        (0..40).for_each(|_| w.sent(100));
        assert!(w.is_open());
        w.sent(100);
        assert!(!w.is_open());
    }

    #[test]
    fn small_messages_are_held_up_by_their_bytes_alone() {
        let mut w = AckWindow::new(WINDOW, 6000);
        w.synced(1);
        (0..100).for_each(|_| w.sent(59));
        assert!(w.is_open(), "5900 bytes");
        (0..10).for_each(|_| w.sent(59));
        assert!(!w.is_open(), "6490 bytes");
        // Five whole windows and a half: each ACK takes its own window's bytes off.
        w.acked();
        assert!(w.is_open());
        (0..200).for_each(|_| w.sent(1000));
        assert!(!w.is_open());
        (0..12).for_each(|_| w.acked());
        assert!(!w.is_open(), "50 of the large ones are still on the way");
        (0..2).for_each(|_| w.acked());
        assert!(w.is_open(), "few messages, whatever their size");
        w.acked();
        // The memory for it is bounded by the bytes: a message has a header at least.
        let mut sent = 0;
        while w.is_open() {
            w.sent(6);
            sent += 1;
        }
        assert!((900..1100).contains(&sent), "{sent}");
    }
}

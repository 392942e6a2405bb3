//! The ack window of display and cursor channels (spec 02 §12).

/// Messages that a client acknowledges at once, on links that are not slow.
pub const WINDOW: u32 = 20;

/// Counts messages that the client has not acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct AckWindow {
    generation: u32,
    synced: Option<u32>,
    window: u32,
    unacked: u32,
    /// Windows that were acknowledged.
    acks: u64,
}

impl AckWindow {
    /// A window whose SET_ACK (generation 1) is being sent.
    #[must_use]
    pub fn new(window: u32) -> Self {
        Self { generation: 1, synced: None, window, unacked: 0, acks: 0 }
    }

    /// What SET_ACK says: generation and window.
    #[must_use]
    pub fn announcement(&self) -> (u32, u32) {
        (self.generation, self.window)
    }

    /// A message goes out.
    pub fn sent(&mut self) {
        self.unacked = self.unacked.saturating_add(1);
    }

    /// The client saw a SET_ACK.
    pub fn synced(&mut self, generation: u32) {
        self.synced = Some(generation);
    }

    /// The client acknowledged a window; counts only under our generation and never wraps.
    pub fn acked(&mut self) {
        if self.synced == Some(self.generation) {
            self.unacked = self.unacked.saturating_sub(self.window);
            self.acks += 1;
        }
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
        self.unacked <= 2 * self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_closes_above_twice_its_size_and_opens_by_an_ack_of_our_generation() {
        let mut w = AckWindow::new(WINDOW);
        (0..41).for_each(|_| w.sent());
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
        let mut w = AckWindow::new(WINDOW);
        w.acked();
        assert_eq!(w.handled(), 0, "not synced");
        w.synced(1);
        w.acked();
        // Messages 2 to 21 have come, of which the last may still be in work.
        assert_eq!(w.handled(), 20);
    }

    #[test]
    fn surplus_acks_do_not_wrap() {
        let mut w = AckWindow::new(WINDOW);
        w.synced(1);
        (0..1000).for_each(|_| w.acked());
        assert!(w.is_open());
        (0..40).for_each(|_| w.sent());
        assert!(w.is_open());
    }
}

//! When the host hears of a connection that nobody has vouched for yet.
//!
//! spice-server tells CONNECTED of every accepted socket, from its own main loop, and QEMU makes a QMP event of each
//! in front of everything else that the loop has to do. Here a connection is told of when its link message has turned
//! out to be one, which for SPICE clients is the same moment, and only so many a second: the others are told of once
//! they are authenticated, just before INITIALIZED, or never. Whatever is told has its DISCONNECTED.

use std::time::{Duration, Instant};

/// Connections that may be told of at once.
const BURST: u32 = 32;
/// One more after each of these.
const REFILL: Duration = Duration::from_millis(100);

/// How many connections the host may still be told of.
#[derive(Debug)]
pub(super) struct EventBudget {
    left: u32,
    filled: Instant,
}

impl EventBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, filled: now }
    }

    /// True if one more may be told of now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled);
        let more = u32::try_from(since.as_millis() / REFILL.as_millis()).unwrap_or(BURST);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            self.filled = now;
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_ten_a_second() {
        let start = Instant::now();
        let mut budget = EventBudget::new(start);
        assert_eq!((0..100).filter(|_| budget.take(start)).count(), 32);
        let second = (1..=1000).map(|ms| start + Duration::from_millis(ms));
        assert_eq!(second.filter(|now| budget.take(*now)).count(), 10);
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| budget.take(later)).count(), 32);
    }
}

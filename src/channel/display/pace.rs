//! Whether a client is slower at decoding than the network is at carrying.
//!
//! Owned by display-N, one for each client. Two things show it: the peer's receive window is closed, so its program
//! does not read what has arrived; or everything has arrived and the acknowledgements are missing.
//! Such a client gets streams that are easy to decode where the choice is ours. That alone may make it fast enough, so
//! the way back is tried after a while, and less often each time that it fails.

use std::time::{Duration, Instant};

/// Time over which it is judged.
const SPAN: Duration = Duration::from_millis(500);
/// Shares of a span, in percent, that the client holds us up: from the first on it is slow, below the second it is not.
const SLOW: u128 = 30;
const FAST: u128 = 5;
/// How long a client that was slow must not hold us up before it gets other streams again, the first time and at most.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_PATIENCE: Duration = Duration::from_secs(120);

/// What is known of a client's speed.
#[derive(Debug)]
pub struct Pace {
    /// When the span began, and what was known then.
    begun: Instant,
    held_up: Duration,
    sent: u64,
    /// When it was looked at last, and whether acknowledgements were missing then.
    looked: Instant,
    unanswered: bool,
    /// Time in this span in which they were.
    waited: Duration,
    slow: bool,
    /// When it held us up last.
    last_slow: Instant,
    patience: Duration,
}

/// What is seen of a client at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// Serial of the last message sent.
    pub sent: u64,
    /// All has left for the client, and it has not acknowledged what it should have.
    pub unanswered: bool,
}

impl Pace {
    /// A client that has just come.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            begun: now,
            held_up: Duration::ZERO,
            sent: 0,
            looked: now,
            unanswered: false,
            waited: Duration::ZERO,
            slow: false,
            last_slow: now,
            patience: PATIENCE,
        }
    }

    /// True if its decoding is what everything waits for.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// Takes note of a moment. `held_up` tells for how long, in all, the peer's window has held us up; it is asked
    /// once in a span.
    pub fn look(&mut self, now: Instant, sight: Sight, held_up: impl FnOnce() -> Option<Duration>) {
        if self.unanswered {
            self.waited += now.saturating_duration_since(self.looked);
        }
        (self.looked, self.unanswered) = (now, sight.unanswered);
        let span = now.saturating_duration_since(self.begun);
        if span < SPAN {
            return;
        }
        let held_up = held_up().unwrap_or(self.held_up);
        let by_window = held_up.saturating_sub(self.held_up);
        let share = by_window.max(self.waited).as_micros() * 100 / span.as_micros().max(1);
        // Nothing can be said of a span in which there was nothing to do.
        let idle = sight.sent == self.sent && share < SLOW;
        if !idle {
            self.judge(now, share);
        }
        (self.begun, self.held_up, self.sent) = (now, held_up, sight.sent);
        self.waited = Duration::ZERO;
    }

    fn judge(&mut self, now: Instant, share: u128) {
        if share >= SLOW {
            if !self.slow {
                if now.saturating_duration_since(self.last_slow) > 4 * self.patience {
                    // It got along well for long: whatever it was had nothing to do with the streams.
                    self.patience = PATIENCE;
                }
                tracing::debug!(share, "a client is slow at decoding");
            }
            self.slow = true;
        }
        if share >= FAST {
            self.last_slow = now;
        } else if self.slow && now.saturating_duration_since(self.last_slow) >= self.patience {
            self.slow = false;
            self.last_slow = now;
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client of which `share` percent of the time is lost to its closed window.
    struct Client {
        pace: Pace,
        now: Instant,
        held_up: Duration,
        sent: u64,
    }

    impl Client {
        fn new() -> Self {
            let now = Instant::now();
            Self { pace: Pace::new(now), now, held_up: Duration::ZERO, sent: 0 }
        }

        fn live(&mut self, seconds: u32, share: u32, messages: u64) {
            for _ in 0..seconds * 10 {
                let step = Duration::from_millis(100);
                self.now += step;
                self.held_up += step * share / 100;
                self.sent += messages;
                let sight = Sight { sent: self.sent, unanswered: false };
                let held_up = self.held_up;
                self.pace.look(self.now, sight, || Some(held_up));
            }
        }
    }

    #[test]
    fn a_closed_window_makes_slow_and_an_open_one_fast_after_a_while() {
        let mut client = Client::new();
        client.live(10, 10, 5);
        assert!(!client.pace.is_slow());
        client.live(1, 60, 5);
        assert!(client.pace.is_slow());
        client.live(4, 0, 5);
        assert!(client.pace.is_slow());
        client.live(3, 0, 5);
        assert!(!client.pace.is_slow());
    }

    #[test]
    fn the_way_back_is_tried_less_often_each_time() {
        let mut client = Client::new();
        let mut tries = Vec::new();
        for _ in 0..5 {
            client.live(2, 80, 5);
            assert!(client.pace.is_slow());
            let mut seconds = 0;
            while client.pace.is_slow() {
                client.live(1, 0, 5);
                seconds += 1;
            }
            tries.push(seconds);
        }
        assert!(tries.windows(2).all(|pair| pair[0] < pair[1] || pair[1] > 100), "{tries:?}");
        assert!(tries.iter().all(|seconds| *seconds <= 122), "{tries:?}");
    }

    #[test]
    fn silence_says_nothing() {
        let mut client = Client::new();
        client.live(2, 60, 5);
        client.live(60, 0, 0);
        assert!(client.pace.is_slow());
    }

    #[test]
    fn missing_acknowledgements_count_while_nothing_else_waits() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        for n in 0..20u32 {
            let sight = Sight { sent: u64::from(n), unanswered: n % 2 == 0 };
            pace.look(begin + Duration::from_millis(50) * n, sight, || None);
        }
        assert!(pace.is_slow());
    }
}

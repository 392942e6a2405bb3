//! How long the answer to a wrong ticket waits, by where it comes from.
//!
//! Only wrong answers wait: whoever has the right ticket is let in at once, also when somebody else behind the same
//! proxy is guessing. Guessing is slowed by the answers, and by the number of visitors that an address may have.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::origin::Origin;

/// Wait of the second wrong ticket; it doubles with each.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(1);
/// An origin is forgotten this long after its last wrong ticket.
const MEMORY: Duration = Duration::from_secs(10);
/// Origins that are remembered; the one whose last wrong ticket is oldest goes for a new one.
const MAX_ORIGINS: usize = 1024;

/// Origins of wrong tickets.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    origins: HashMap<Origin, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    last: Instant,
    next_wait: Duration,
}

impl Backoff {
    /// A wrong ticket came: how long its answer has to wait.
    pub(super) fn wrong(&mut self, origin: Origin, now: Instant) -> Duration {
        if origin == Origin::Local {
            return Duration::ZERO;
        }
        let fresh = |entry: &Entry| now.saturating_duration_since(entry.last) < MEMORY;
        let wait = match self.origins.get(&origin).filter(|entry| fresh(entry)) {
            Some(entry) => entry.next_wait,
            None => {
                self.make_room(now);
                Duration::ZERO
            }
        };
        let next_wait = (wait * 2).clamp(FIRST, LONGEST);
        self.origins.insert(origin, Entry { last: now, next_wait });
        wait
    }

    fn make_room(&mut self, now: Instant) {
        if self.origins.len() < MAX_ORIGINS {
            return;
        }
        self.origins.retain(|_, entry| now.saturating_duration_since(entry.last) < MEMORY);
        if self.origins.len() >= MAX_ORIGINS
            && let Some(oldest) = self.origins.iter().min_by_key(|(_, e)| e.last).map(|(o, _)| *o)
        {
            self.origins.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Origin = Origin::V4([192, 0, 2, 1]);
    const B: Origin = Origin::V4([192, 0, 2, 2]);

    #[test]
    fn answers_wait_longer_and_longer_up_to_a_second_and_are_forgotten() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        for ms in [0, 100, 200, 400, 800, 1000, 1000] {
            assert_eq!(backoff.wrong(A, start), Duration::from_millis(ms));
        }
        assert_eq!(backoff.wrong(B, start), Duration::ZERO, "another address");
        let later = start + MEMORY - Duration::from_millis(1);
        assert_eq!(backoff.wrong(A, later), LONGEST);
        assert_eq!(backoff.wrong(A, later + MEMORY), Duration::ZERO);
    }

    #[test]
    fn local_sockets_never_wait() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        assert!((0..9).all(|_| backoff.wrong(Origin::Local, now).is_zero()));
        assert!(backoff.origins.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_go_first() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        for n in 0..5000u32 {
            backoff.wrong(Origin::V4(n.to_be_bytes()), start + Duration::from_millis(n.into()));
        }
        assert_eq!(backoff.origins.len(), MAX_ORIGINS);
        let now = start + Duration::from_secs(5);
        assert_eq!(backoff.wrong(Origin::V4(4999u32.to_be_bytes()), now), FIRST);
        assert_eq!(backoff.wrong(Origin::V4(0u32.to_be_bytes()), now), Duration::ZERO);
    }
}

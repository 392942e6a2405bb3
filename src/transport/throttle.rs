//! A bound on the bytes a second that one socket is given: a bucket that fills evenly.
//!
//! In any time t no more than rate x (t + 50 ms) bytes go out; a connection that always has something to send and whose
//! thread comes in time gets all of that. What is held back waits in the outbox, where newer things can take its place.
#![forbid(unsafe_code)]

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// Time whose bytes may be saved up: a thread that is late by less loses nothing.
const SAVED: Duration = Duration::from_millis(50);
/// Time whose bytes are waited for before some are sent, so that a hundred sends a second are enough.
const STEP: Duration = Duration::from_millis(10);

/// The bucket. Belongs to the connection.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// Bytes a second.
    rate: NonZeroU64,
    /// When there was, or will be, nothing in it.
    empty_at: Instant,
    /// Nothing is sent before.
    held: Option<Instant>,
}

impl Throttle {
    /// A full one.
    #[must_use]
    pub fn new(rate: NonZeroU64, now: Instant) -> Self {
        Self { rate, empty_at: now.checked_sub(SAVED).unwrap_or(now), held: None }
    }

    /// Another rate; what is there, in time, stays.
    pub fn set_rate(&mut self, rate: NonZeroU64) {
        self.rate = rate;
    }

    fn time_of(&self, bytes: u64) -> Duration {
        let ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    fn bytes_of(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() * u128::from(self.rate.get()) / 1_000_000_000)
            .unwrap_or(u64::MAX)
    }

    /// How many of so many bytes may be sent now; with 0 nothing may before [`Throttle::held`].
    pub fn allow(&mut self, waiting: usize, now: Instant) -> usize {
        let saved = now.saturating_duration_since(self.empty_at).min(SAVED);
        let there = self.bytes_of(saved);
        let waiting = waiting.max(1) as u64;
        let wanted = self.bytes_of(STEP).clamp(1, waiting);
        if there < wanted {
            // A nanosecond more, or rounding would make us ask in vain.
            self.held = Some(self.empty_at + self.time_of(wanted) + Duration::from_nanos(1));
            return 0;
        }
        self.held = None;
        usize::try_from(there).unwrap_or(usize::MAX)
    }

    /// So many were sent.
    pub fn sent(&mut self, bytes: usize, now: Instant) {
        let earliest = now.checked_sub(SAVED).unwrap_or(now);
        self.empty_at = self.empty_at.max(earliest) + self.time_of(bytes as u64);
    }

    /// Until when nothing may be sent, if it is so.
    #[must_use]
    pub fn held(&self) -> Option<Instant> {
        self.held
    }

    /// Looks again: true if something may be sent.
    pub fn release(&mut self, now: Instant) -> bool {
        let over = self.held.is_none_or(|at| at <= now);
        if over {
            self.held = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as much as it may for ten seconds, `late` after it was allowed to.
    fn run(rate: u64, late: Duration, message: usize) -> u64 {
        let begin = Instant::now();
        let mut now = begin;
        let mut throttle = Throttle::new(NonZeroU64::new(rate).unwrap(), now);
        let (mut sent, mut turns) = (0, 0);
        while now - begin < Duration::from_secs(10) {
            turns += 1;
            match throttle.allow(message, now) {
                0 => {
                    let at = throttle.held().unwrap();
                    assert!(at > now && at - now <= STEP + Duration::from_micros(1));
                    assert!(!throttle.release(now));
                    now = at + late;
                    assert!(throttle.release(now));
                }
                most => {
                    let n = most.min(message);
                    throttle.sent(n, now);
                    sent += n as u64;
                    let elapsed = (now - begin + SAVED).as_nanos();
                    assert!(
                        u128::from(sent) * 1_000_000_000
                            <= u128::from(rate) * elapsed + 1_000_000_000
                    );
                }
            }
        }
        assert!(message < 1000 || turns < 4100, "{turns} turns for {rate}");
        sent
    }

    #[test]
    fn what_goes_out_is_what_may_go_out() {
        for rate in [65_536, 100_000, 1_000_000, 125_000_000, 10_000_000_000] {
            for late in [0, 1, 30] {
                let sent = run(rate, Duration::from_millis(late), 1 << 30);
                let share = sent as f64 / (rate * 10) as f64;
                assert!((0.995..1.006).contains(&share), "{share} of {rate}, late by {late} ms");
            }
        }
    }

    #[test]
    fn small_messages_wait_for_themselves_alone() {
        let sent = run(65_536, Duration::ZERO, 100);
        assert!((652_000..660_000).contains(&sent), "{sent}");
        let mut throttle = Throttle::new(NonZeroU64::new(65_536).unwrap(), Instant::now());
        assert!(throttle.allow(10, Instant::now()) >= 10, "nobody who is silent waits");
    }
}

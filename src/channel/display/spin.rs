//! Whether a display's thread looks for a while by itself before it lets the guest wake it.
//!
//! To be woken costs more than to find a command at once, and the guest's kick costs the guest; to look costs the processor. So it pays
//! only where commands follow each other closely, and that is learned from how soon they came the last times.
//! This is arithmetic: clocks and rings are the caller's.
#![forbid(unsafe_code)]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The longest look, unless `CAYENNE_SPIN` says otherwise.
const LONGEST: Duration = Duration::from_micros(50);
/// What `CAYENNE_SPIN` may ask for at most, in microseconds.
const MOST: u64 = 1000;
/// Of all time so much may be spent on looks that found nothing: a fiftieth.
const SHARE: u32 = 50;
/// What of that may be saved up.
const SAVED: Duration = Duration::from_millis(2);
/// How sure is enough, and how sure one can be.
const PAYS_FROM: u8 = 2;
const SUREST: u8 = 8;
/// A guest that is woken for so many commands in a row, each within [`CLOSE`] of the last, is let rest: its commands are taken together.
const MANY: u8 = 16;
/// See [`MANY`].
const CLOSE: Duration = Duration::from_millis(1);
/// How long they are collected. Far below what anybody sees.
const REST: Duration = Duration::from_micros(250);

/// The longest look of this process: nothing on a machine with one processor, where whoever is waited for could not run.
static LIMIT: LazyLock<Duration> = LazyLock::new(|| {
    let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
    limit(std::env::var("CAYENNE_SPIN").ok().as_deref(), alone)
});

fn limit(wish: Option<&str>, alone: bool) -> Duration {
    if alone {
        return Duration::ZERO;
    }
    match wish.map(str::parse::<u64>) {
        None => LONGEST,
        Some(Ok(micros)) => Duration::from_micros(micros.min(MOST)),
        Some(Err(_)) => {
            tracing::warn!("CAYENNE_SPIN is no number of microseconds, {LONGEST:?} it is");
            LONGEST
        }
    }
}

/// What a display has learned of its guest. Belongs to display-N.
#[derive(Debug)]
pub struct Spin {
    limit: Duration,
    /// How sure we are that the next command comes within `limit`.
    sure: u8,
    /// Commands in a row that came soon.
    row: u8,
    /// When the rings ran empty.
    empty: Option<Instant>,
    /// What may be spent on looks that find nothing.
    saved: Duration,
    /// When that was reckoned.
    reckoned: Instant,
}

impl Spin {
    /// As the environment says.
    pub fn new(now: Instant) -> Self {
        Self::with_limit(*LIMIT, now)
    }

    fn with_limit(limit: Duration, now: Instant) -> Self {
        Self { limit, sure: 0, row: 0, empty: None, saved: SAVED, reckoned: now }
    }

    /// The rings ran empty. How long to look for more; zero: not at all.
    pub fn begin(&mut self, now: Instant) -> Duration {
        self.empty.get_or_insert(now);
        let earned = now.saturating_duration_since(self.reckoned) / SHARE;
        (self.saved, self.reckoned) = ((self.saved + earned).min(SAVED), now);
        if self.sure < PAYS_FROM || self.saved < self.limit { Duration::ZERO } else { self.limit }
    }

    /// A look was for nothing.
    pub fn missed(&mut self, spent: Duration) {
        self.saved = self.saved.saturating_sub(spent);
    }

    /// The guest is about to be let kick. How long its commands are collected first; zero: not at all.
    pub fn collect(&self) -> Duration {
        if self.row < MANY { Duration::ZERO } else { REST }
    }

    /// Commands were found, by a look or because the guest kicked.
    pub fn found(&mut self, now: Instant) {
        let Some(empty) = self.empty.take() else { return };
        let gap = now.saturating_duration_since(empty);
        // What was not looked for would have been found as well: so nothing has to be tried out.
        self.sure = if gap <= self.limit {
            (self.sure + 2).min(SUREST)
        } else {
            self.sure.saturating_sub(1)
        };
        self.row = if gap <= CLOSE { self.row.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_micros(50);

    /// Lets the next command come after so long; returns how long was looked for it.
    fn round(spin: &mut Spin, now: &mut Instant, gap: Duration) -> Duration {
        let look = spin.begin(*now);
        if look < gap {
            spin.missed(look);
        }
        *now += gap;
        spin.found(*now);
        look
    }

    #[test]
    fn it_looks_only_where_commands_follow_closely() {
        let mut now = Instant::now();
        let mut spin = Spin::with_limit(LOOK, now);
        let far = Duration::from_millis(5);
        assert!((0..100).all(|_| round(&mut spin, &mut now, far).is_zero()));
        let near = Duration::from_micros(10);
        let looks = (0..100).filter(|_| !round(&mut spin, &mut now, near).is_zero()).count();
        assert!(looks >= 98, "{looks}");
        let looks = (0..100).filter(|_| !round(&mut spin, &mut now, far).is_zero()).count();
        assert!(looks <= usize::from(SUREST), "it goes on looking for nothing: {looks}");
    }

    #[test]
    fn what_is_spent_for_nothing_stays_a_small_part() {
        let begin = Instant::now();
        let mut now = begin;
        let mut spin = Spin::with_limit(LOOK, now);
        let mut wasted = Duration::ZERO;
        // The worst guest: near often enough that it is looked for, and else just too late.
        for n in 0..100_000u32 {
            let gap = if n.is_multiple_of(2) {
                Duration::from_micros(20)
            } else {
                Duration::from_micros(51)
            };
            let look = round(&mut spin, &mut now, gap);
            if look < gap {
                wasted += look;
            }
        }
        let all = now.duration_since(begin);
        assert!(wasted <= all / SHARE + SAVED, "{wasted:?} of {all:?}");
        assert!(wasted > all / (2 * SHARE), "the guest was not looked for: {wasted:?} of {all:?}");
    }

    #[test]
    fn a_guest_that_is_woken_again_and_again_is_let_rest() {
        let mut now = Instant::now();
        let mut spin = Spin::with_limit(LOOK, now);
        for _ in 0..MANY {
            assert!(spin.collect().is_zero());
            round(&mut spin, &mut now, Duration::from_micros(300));
        }
        assert_eq!(spin.collect(), REST);
        round(&mut spin, &mut now, Duration::from_millis(2));
        assert!(spin.collect().is_zero());
    }

    #[test]
    fn the_environment_decides_but_for_a_single_processor() {
        assert_eq!(limit(None, false), LONGEST);
        assert_eq!(limit(Some("0"), false), Duration::ZERO);
        assert_eq!(limit(Some("20"), false), Duration::from_micros(20));
        assert_eq!(limit(Some("999999999"), false), Duration::from_micros(MOST));
        assert_eq!(limit(Some("much"), false), LONGEST);
        assert_eq!(limit(None, true), Duration::ZERO);
        assert_eq!(limit(Some("20"), true), Duration::ZERO);
    }
}

//! Times in buckets that grow with them: at most an eighth too wide, from nanoseconds to minutes, in 2.5 KiB.
//!
//! Any thread records, any thread reads; nobody waits. A reader may see a time whose sum has not been added yet.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each power of two has so many buckets, as a power of two itself.
const FINE: u32 = 3;
/// Times from 2^40 ns on (18 minutes) count as the longest.
const TOP: u32 = 40;
/// Times below 8 ns have a bucket each, then come eight for each power of two.
const BUCKETS: usize = ((TOP - FINE + 1) << FINE) as usize;

/// A histogram of times.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

/// The bucket of a time in nanoseconds.
fn bucket(ns: u64) -> usize {
    let ns = ns.min((1 << TOP) - 1);
    let Some(power) = ns.checked_ilog2().filter(|power| *power >= FINE) else {
        return usize::try_from(ns).unwrap_or(0);
    };
    let within = (ns >> (power - FINE)) & ((1 << FINE) - 1);
    let at = (u64::from(power - FINE + 1) << FINE) + within;
    usize::try_from(at).unwrap_or(0).min(BUCKETS - 1)
}

/// The longest time of a bucket in nanoseconds.
fn longest(bucket: usize) -> u64 {
    let at = bucket as u64;
    let (power, within) = (at >> FINE, at & ((1 << FINE) - 1));
    match power.checked_sub(1) {
        None => at,
        Some(shift) => (((1 << FINE) + within + 1) << shift) - 1,
    }
}

impl Histogram {
    /// Adds a time.
    pub fn record(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed, also below: numbers that guard nothing.
        if let Some(count) = self.buckets.get(bucket(ns)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(ns, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
    }

    /// How it stands.
    #[must_use]
    pub fn look(&self) -> Times {
        let load = |(at, count): (usize, &AtomicU64)| (longest(at), count.load(Ordering::Relaxed));
        let buckets: Vec<(u64, u64)> =
            self.buckets.iter().enumerate().map(load).filter(|(_, count)| *count > 0).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let (sum, max) = (self.sum.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed));
        Times { buckets, count, sum_ns: sum, max_ns: max }
    }
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// The longest time of each bucket that is not empty, in nanoseconds, and how many it has.
    pub buckets: Vec<(u64, u64)>,
    /// How many there are.
    pub count: u64,
    /// All together, in nanoseconds.
    pub sum_ns: u64,
    /// The longest one.
    pub max_ns: u64,
}

impl Times {
    /// So many of 1,000 took no longer than this, in nanoseconds, an eighth more at most; 0 if there are none.
    #[must_use]
    pub fn permille(&self, permille: u64) -> u64 {
        let wanted = self.count.saturating_mul(permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (longest, count) in &self.buckets {
            seen += count;
            if seen >= wanted {
                return (*longest).min(self.max_ns);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap_and_are_an_eighth_wide_at_most() {
        let mut before = None;
        for at in 0..BUCKETS {
            let (from, to) = (before.map_or(0, |b: u64| b + 1), longest(at));
            assert!(to >= from);
            assert_eq!((bucket(from), bucket(to)), (at, at), "{from} to {to}");
            assert!((to - from) * 8 <= from.max(8), "{from} to {to}");
            before = Some(to);
        }
        assert_eq!(before, Some((1 << TOP) - 1));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        let histogram = Histogram::default();
        assert_eq!(histogram.look().permille(500), 0);
        let mut all: Vec<u64> = Vec::new();
        let mut state = 1u64;
        for _ in 0..5000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let ns = (state >> 40) % (1 << ((state >> 33) % 22));
            all.push(ns);
            histogram.record(Duration::from_nanos(ns));
        }
        all.sort_unstable();
        let times = histogram.look();
        assert_eq!((times.count, times.sum_ns), (5000, all.iter().sum()));
        assert_eq!(Some(&times.max_ns), all.last());
        for permille in [1, 500, 900, 990, 999, 1000] {
            let exact = all[usize::try_from(permille * 5).unwrap() - 1];
            let said = times.permille(permille);
            assert!(said >= exact && said - exact <= exact / 8, "{permille}: {said} for {exact}");
        }
    }

    #[test]
    fn nothing_is_lost_when_many_record() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let histogram = &histogram;
                scope.spawn(move || {
                    (0..10_000).for_each(|n| histogram.record(Duration::from_nanos(n * thread)));
                });
            }
        });
        assert_eq!(histogram.look().count, 40_000);
    }
}

//! What the library tells about itself: log lines on standard error, few and rate-limited; counters that a host can read
//! as JSON ([`stats`]); probes for tracing tools ([`probes`]).
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;

use crate::sys::clock::monotonic_ns;

pub mod codecs;
pub mod histogram;
pub mod json;
pub mod probes;
pub mod stats;

/// Starts logging to standard error, once per process.
///
/// `CAYENNE_LOG` = `off`, `error`, `warn` (default), `info`, `debug` or `trace`.
/// The subscriber belongs to this library's own copy of `tracing`, never to the host's.
pub fn start_logging() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let level = match std::env::var("CAYENNE_LOG").as_deref() {
            Ok("off") => LevelFilter::OFF,
            Ok("error") => LevelFilter::ERROR,
            Ok("info") => LevelFilter::INFO,
            Ok("debug") => LevelFilter::DEBUG,
            Ok("trace") => LevelFilter::TRACE,
            _ => LevelFilter::WARN,
        };
        // Fails only if somebody set one before, which is fine.
        let _ = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .with_thread_names(true)
            .try_init();
    });
}

/// Lets ten lines pass in each ten seconds, so that a hostile peer cannot fill a log.
#[derive(Debug, Default)]
pub struct RateLimit {
    /// Window number in the upper 48 bits, lines in it in the lower 16.
    state: AtomicU64,
    /// Lines that did not pass since the last that did.
    kept_back: AtomicU64,
}

/// How many lines were kept back before one that passes; prints nothing for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBack(u64);

impl fmt::Display for KeptBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (one line like this was kept back)"),
            n => write!(f, " ({n} lines like this were kept back)"),
        }
    }
}

impl RateLimit {
    /// Lines that pass per window.
    const LINES: u64 = 10;
    /// Length of a window in nanoseconds.
    const WINDOW_NS: u64 = 10_000_000_000;

    /// A fresh limit.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU64::new(0), kept_back: AtomicU64::new(0) }
    }

    /// True if the caller may write its line.
    pub fn allow(&self) -> bool {
        self.pass().is_some()
    }

    /// As [`RateLimit::allow`], for lines that end with how many before them did not pass.
    pub fn pass(&self) -> Option<KeptBack> {
        self.pass_at(monotonic_ns())
    }

    fn pass_at(&self, now_ns: u64) -> Option<KeptBack> {
        let window = now_ns / Self::WINDOW_NS + 1;
        let update = |state: u64| {
            let (seen, lines) = (state >> 16, state & 0xffff);
            if seen != window {
                Some(window << 16 | 1)
            } else if lines < Self::LINES {
                Some(state + 1)
            } else {
                None
            }
        };
        // Relaxed: the counters guard nothing but themselves.
        if self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok() {
            Some(KeptBack(self.kept_back.swap(0, Ordering::Relaxed)))
        } else {
            self.kept_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_pass_in_a_window_and_the_next_window_starts_afresh() {
        let limit = RateLimit::new();
        let passed: Vec<_> = (0..100).filter_map(|_| limit.pass_at(5)).collect();
        assert_eq!(passed, [KeptBack(0); 10]);
        assert_eq!(limit.pass_at(5 + RateLimit::WINDOW_NS), Some(KeptBack(90)));
        assert_eq!(limit.pass_at(5 + RateLimit::WINDOW_NS), Some(KeptBack(0)));
        assert_eq!(KeptBack(0).to_string(), "");
        assert_eq!(KeptBack(90).to_string(), " (90 lines like this were kept back)");
    }
}

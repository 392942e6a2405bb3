//! What the library tells about itself: log lines on standard error, few and rate-limited.
#![forbid(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;

use crate::sys::clock::monotonic_ns;

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
}

impl RateLimit {
    /// Lines that pass per window.
    const LINES: u64 = 10;
    /// Length of a window in nanoseconds.
    const WINDOW_NS: u64 = 10_000_000_000;

    /// A fresh limit.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU64::new(0) }
    }

    /// True if the caller may write its line.
    pub fn allow(&self) -> bool {
        self.allow_at(monotonic_ns())
    }

    fn allow_at(&self, now_ns: u64) -> bool {
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
        // Relaxed: the counter guards nothing but itself.
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_pass_in_a_window_and_the_next_window_starts_afresh() {
        let limit = RateLimit::new();
        let passed = (0..100).filter(|_| limit.allow_at(5)).count();
        assert_eq!(passed, 10);
        assert!(limit.allow_at(5 + RateLimit::WINDOW_NS));
    }
}

//! The server's clock.
#![forbid(unsafe_code)]

use rustix::time::{ClockId, clock_gettime};

/// Monotonic time in nanoseconds since an unspecified start.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Multimedia time of the protocol: monotonic milliseconds, wrapping at 2^32.
///
/// Never 0, which clients take for "no time".
#[must_use]
pub fn mm_time() -> u32 {
    let ms = monotonic_ns() / 1_000_000;
    u32::try_from(ms & 0xffff_ffff).unwrap_or(1).max(1)
}

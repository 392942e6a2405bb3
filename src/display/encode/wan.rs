//! What is done for slow links: the host's two settings, and how fast a client's link was.
//!
//! The net test of the main channel is one for all channels of a client, so its result lies in a
//! record that the client's session holds and each of its channels gets when it comes. It may
//! change while images are sent; every image asks anew.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Below this many bits per second a link is slow (display channel spec, section 8.3).
pub const SLOW_BELOW: u64 = 10 * 1024 * 1024;

/// `spice_wan_compression_t`: when something is done that only slow links are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Wan {
    /// For clients whose link is slow.
    Auto = 1,
    /// For all.
    Always = 2,
    /// For none.
    Never = 3,
}

impl Wan {
    /// From the number in the interface.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Auto,
            2 => Self::Always,
            3 => Self::Never,
            _ => return None,
        })
    }

    fn holds(self, slow: bool) -> bool {
        self == Self::Always || (self == Self::Auto && slow)
    }
}

/// The host's settings; every display reads them when it sends.
#[derive(Debug)]
pub struct WanSettings {
    jpeg: AtomicU8,
    zlib_glz: AtomicU8,
}

impl Default for WanSettings {
    fn default() -> Self {
        let auto = || AtomicU8::new(Wan::Auto as u8);
        Self { jpeg: auto(), zlib_glz: auto() }
    }
}

impl WanSettings {
    /// JPEG instead of QUIC, from now on.
    pub fn set_jpeg(&self, wan: Wan) {
        // Relaxed, also below: single values; the next message sees them or the one after.
        self.jpeg.store(wan as u8, Ordering::Relaxed);
    }

    /// GLZ deflated, from now on.
    pub fn set_zlib_glz(&self, wan: Wan) {
        self.zlib_glz.store(wan as u8, Ordering::Relaxed);
    }

    /// True if a client with such a link gets JPEG where losses are allowed.
    #[must_use]
    pub fn jpeg(&self, slow: bool) -> bool {
        holds(&self.jpeg, slow)
    }

    /// True if a client with such a link gets GLZ deflated.
    #[must_use]
    pub fn zlib(&self, slow: bool) -> bool {
        holds(&self.zlib_glz, slow)
    }
}

fn holds(setting: &AtomicU8, slow: bool) -> bool {
    Wan::from_u8(setting.load(Ordering::Relaxed)).is_some_and(|wan| wan.holds(slow))
}

/// How fast a client's link is, and what its clock hangs on; written by the main and the playback channel, read by its
/// other channels.
#[derive(Debug, Default)]
pub struct LinkSpeed {
    /// Bits per second by the net test; 0: no result.
    rate: AtomicU64,
    /// Sound is being played to the client.
    hears: AtomicBool,
}

impl LinkSpeed {
    /// The net test has measured so many bits per second.
    pub fn measured(&self, bits_per_second: u64) {
        // Relaxed, also below: nothing else is told by it.
        self.rate.store(bits_per_second.max(1), Ordering::Relaxed);
    }

    /// Bits per second, if the net test has said anything.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Sound begins or ends for the client, which takes its time from that while it plays.
    pub fn set_hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::Relaxed);
    }

    /// True while sound is played to the client.
    #[must_use]
    pub fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    /// True if the net test says so; not while it has not said anything.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        (1..SLOW_BELOW).contains(&self.rate.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_slow_only_when_the_test_says_so() {
        let link = LinkSpeed::default();
        assert!(!link.is_slow());
        for (rate, slow) in [(0, true), (1, true), (SLOW_BELOW - 1, true), (SLOW_BELOW, false)] {
            link.measured(rate);
            assert_eq!(link.is_slow(), slow, "{rate}");
        }
    }

    #[test]
    fn auto_asks_the_link_and_the_two_settings_are_two() {
        let settings = WanSettings::default();
        let now = |s: &WanSettings| [s.jpeg(false), s.jpeg(true), s.zlib(false), s.zlib(true)];
        assert_eq!(now(&settings), [false, true, false, true]);
        settings.set_jpeg(Wan::Always);
        assert_eq!(now(&settings), [true, true, false, true]);
        settings.set_zlib_glz(Wan::Never);
        assert_eq!(now(&settings), [true, true, false, false]);
        settings.set_jpeg(Wan::Auto);
        settings.set_zlib_glz(Wan::Always);
        assert_eq!(now(&settings), [false, true, true, true]);
        assert_eq!([0, 1, 2, 3, 4].map(|n| Wan::from_u8(n).map(|w| w as u8)), {
            [None, Some(1), Some(2), Some(3), None]
        });
    }
}

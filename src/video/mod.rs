//! Video: which commands of a guest are frames, how they are encoded, and how much of them a client's link carries.
//!
//! Used by thread display-N. [`detect`] and [`rate`] are pure state machines: they are told the time and do no I/O.
//! [`encode`] hands frames to the workers of [`pool`](crate::pool), or to encoders of GStreamer with threads of their own
//! ([`session`], [`gstreamer`]). What a client has to be told, and which of its
//! pixels are a stream's, is `display::pipe`'s.
#![forbid(unsafe_code)]

pub mod codecs;
pub mod detect;
pub mod encode;
pub mod frame;
pub mod gstreamer;
pub mod playout;
pub mod rate;
pub mod session;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use codecs::{Choice, DEFAULT_CODECS};

/// What becomes a stream (`spice_server_set_streaming_video`; the numbers are the ABI's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Nothing.
    Off = 1,
    /// Every place that is repainted at a rate.
    All = 2,
    /// Of these the ones that look like photographs and are not small.
    Filter = 3,
}

impl Mode {
    /// From the number in the interface.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Off,
            2 => Self::All,
            3 => Self::Filter,
            _ => return None,
        })
    }
}

/// The host's settings; every display looks at them when a picture comes.
#[derive(Debug)]
pub struct Settings {
    mode: AtomicU8,
    codecs: Mutex<Vec<Choice>>,
    /// Counts the changes, so that displays notice them without a lock.
    changes: AtomicU64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: AtomicU8::new(Mode::Filter as u8),
            codecs: Mutex::new(DEFAULT_CODECS.to_vec()),
            changes: AtomicU64::new(0),
        }
    }
}

impl Settings {
    /// What becomes a stream from now on; running streams end.
    pub fn set_mode(&self, mode: Mode) {
        // Relaxed, also below: each display reads the values after it has seen the count change, or a picture later.
        self.mode.store(mode as u8, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// What becomes a stream.
    #[must_use]
    pub fn mode(&self) -> Mode {
        Mode::from_u8(self.mode.load(Ordering::Relaxed)).unwrap_or(Mode::Off)
    }

    /// The encoders in order of preference; running streams end.
    pub fn set_codecs(&self, codecs: Vec<Choice>) {
        *self.codecs.lock().unwrap_or_else(PoisonError::into_inner) = codecs;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The encoders in order of preference.
    #[must_use]
    pub fn codecs(&self) -> Vec<Choice> {
        self.codecs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often anything was set, or turned out to be possible or not.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire).wrapping_add(gstreamer::changes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_counted_and_the_default_is_filter() {
        let settings = Settings::default();
        let changes = || settings.changes.load(Ordering::Acquire);
        assert_eq!((settings.mode(), changes()), (Mode::Filter, 0));
        settings.set_mode(Mode::Off);
        settings.set_codecs(Vec::new());
        assert_eq!((settings.mode(), changes()), (Mode::Off, 2));
        assert!(settings.changes() >= 2);
        assert!(settings.codecs().is_empty());
        assert_eq!([0, 1, 2, 3, 4].map(|n| Mode::from_u8(n).map(|mode| mode as u8)), {
            [None, Some(1), Some(2), Some(3), None]
        });
    }
}

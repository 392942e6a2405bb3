//! Which codecs GStreamer encodes here, which is known only once it has been initialised.
//!
//! The library is opened when a host names one of its encoders. GStreamer itself is initialised when an encoder is wanted,
//! on a thread of its own, because it may take seconds the first time; until that is done there is none. Whoever
//! chooses encoders looks at [`changes`] and chooses again.
#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::observe::RateLimit;
use crate::sys::encoders::{Plugin, plugin};
use crate::sys::thread::spawn;

use super::codecs::Codec;

/// Encoders that never came back, after which no more are made.
const MOST_STUCK: usize = 3;

/// Bit 0: it is known; the others: the codec with this number is encoded.
static KNOWN: AtomicU32 = AtomicU32::new(0);
/// How often that has changed.
static CHANGES: AtomicU64 = AtomicU64::new(0);
static STUCK: AtomicUsize = AtomicUsize::new(0);
static LINES: RateLimit = RateLimit::new();

/// What is known of a codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// GStreamer encodes it.
    There,
    /// It does not.
    Missing,
    /// It is being found out.
    NotYet,
}

/// How often the answers of [`look`] have changed.
#[must_use]
pub fn changes() -> u64 {
    CHANGES.load(Ordering::Acquire)
}

/// True if the library with its encoders can be opened. Opens it: not on a channel's thread.
#[must_use]
pub fn is_installed() -> bool {
    match plugin() {
        Ok(_) => true,
        Err(why) => {
            static ONCE: std::sync::Once = std::sync::Once::new();
            ONCE.call_once(|| {
                tracing::info!("video is MJPEG only, there are no encoders of GStreamer: {why}");
            });
            false
        }
    }
}

/// What is known without waiting; it is found out if nobody has asked before.
#[must_use]
pub fn look(codec: Codec) -> Look {
    match answer(KNOWN.load(Ordering::Acquire), codec) {
        Look::NotYet => {
            begin();
            // It may have been found out by now.
            answer(KNOWN.load(Ordering::Acquire), codec)
        }
        known => known,
    }
}

/// True if it is known that a codec is not encoded; finds nothing out.
#[must_use]
pub fn is_missing(codec: Codec) -> bool {
    answer(KNOWN.load(Ordering::Acquire), codec) == Look::Missing
}

fn answer(known: u32, codec: Codec) -> Look {
    match known {
        0 => Look::NotYet,
        known if known >> codec as u8 & 1 != 0 => Look::There,
        _ => Look::Missing,
    }
}

/// Begins to find out, once.
pub fn begin() {
    static BEGUN: Mutex<bool> = Mutex::new(false);
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::replace(&mut *begun, true) {
        return;
    }
    let find = || {
        let known = plugin().ok().map_or(1, |plugin| find(plugin) | 1);
        KNOWN.store(known, Ordering::Release);
        CHANGES.fetch_add(1, Ordering::Release);
    };
    if let Err(error) = spawn("spice-gst", find) {
        tracing::warn!(%error, "there are no encoders of GStreamer");
        KNOWN.store(1, Ordering::Release);
    }
}

fn find(plugin: Plugin) -> u32 {
    if !plugin.begin(log) {
        return 0;
    }
    let mut known = 0;
    let mut names = Vec::new();
    for codec in Codec::ALL {
        if let Some(name) = plugin.find(codec as u8) {
            known |= 1 << codec as u8;
            names.push(name);
        }
    }
    tracing::info!("GStreamer encodes by {}", names.join(", "));
    known
}

fn log(level: i32, text: &str) {
    if !LINES.allow() {
        return;
    }
    match level {
        1 | 2 => tracing::warn!("GStreamer: {text}"),
        _ => tracing::info!("GStreamer: {text}"),
    }
}

/// An encoder does not come back. After a few of them there are none any more: each holds a thread and its memory.
pub fn stuck() {
    let stuck = STUCK.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::warn!("an encoder of GStreamer does not answer and is given up");
    if stuck == MOST_STUCK {
        tracing::error!("no encoders of GStreamer are used any more: {stuck} do not answer");
        KNOWN.store(1, Ordering::Release);
        CHANGES.fetch_add(1, Ordering::Release);
    }
}

/// It has come back after all.
pub fn unstuck() {
    STUCK.fetch_sub(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_before_it_is_known_and_then_what_was_found() {
        assert_eq!(answer(0, Codec::Vp8), Look::NotYet);
        let known = 1 | 1 << Codec::Vp8 as u8;
        assert_eq!(answer(known, Codec::Vp8), Look::There);
        assert_eq!(answer(known, Codec::H264), Look::Missing);
        assert_eq!(answer(1, Codec::Mjpeg), Look::Missing);
    }

    #[test]
    fn without_the_library_it_is_found_out_that_nothing_is_there() {
        assert!(!is_installed());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while look(Codec::H264) == Look::NotYet {
            assert!(std::time::Instant::now() < end);
            std::thread::yield_now();
        }
        assert_eq!(look(Codec::H264), Look::Missing);
        while changes() == 0 {
            assert!(std::time::Instant::now() < end, "nobody is told");
        }
        assert!(is_missing(Codec::Vp8));
    }
}

//! What the encoders of this process have done: images and sound, their bytes before and after, and the time.
//!
//! One table for all servers of the process, as the workers are. Any thread counts; nobody waits.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::json::Object;
use super::probes;

/// An encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// QUIC.
    Quic,
    /// LZ, also of palettes.
    Lz,
    /// LZ with a dictionary.
    Glz,
    /// GLZ streams that were deflated besides.
    Zlib,
    /// LZ4.
    Lz4,
    /// JPEG, with or without alpha.
    Jpeg,
    /// Opus.
    Opus,
}

impl Codec {
    /// All of them; the place is the number that probes have.
    pub const ALL: [Self; 7] =
        [Self::Quic, Self::Lz, Self::Glz, Self::Zlib, Self::Lz4, Self::Jpeg, Self::Opus];

    /// Its name in statistics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Lz => "lz",
            Self::Glz => "glz",
            Self::Zlib => "zlib",
            Self::Lz4 => "lz4",
            Self::Jpeg => "jpeg",
            Self::Opus => "opus",
        }
    }

    fn counts(self) -> &'static Counts {
        &TABLE[self as usize]
    }
}

#[derive(Debug)]
struct Counts {
    /// Encoded, or tried.
    calls: AtomicU64,
    /// The result was as long as the pixels or longer, and not used.
    in_vain: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    ns: AtomicU64,
}

static TABLE: [Counts; Codec::ALL.len()] = [const {
    Counts {
        calls: AtomicU64::new(0),
        in_vain: AtomicU64::new(0),
        bytes_in: AtomicU64::new(0),
        bytes_out: AtomicU64::new(0),
        ns: AtomicU64::new(0),
    }
}; Codec::ALL.len()];

/// Encoding that has begun.
#[derive(Debug)]
#[must_use]
pub struct Work {
    codec: Codec,
    bytes_in: usize,
    begun: Instant,
}

/// Begins to encode so many bytes.
pub fn begin(codec: Codec, bytes_in: usize) -> Work {
    probes::encode_begin(codec as usize, bytes_in);
    Work { codec, bytes_in, begun: Instant::now() }
}

impl Work {
    /// It is done: so many bytes came out, or (`None`) nothing that is of use.
    pub fn end(self, bytes_out: Option<usize>) {
        let ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let out = bytes_out.unwrap_or(0);
        probes::encode_end(self.codec as usize, self.bytes_in, out, ns);
        let counts = self.codec.counts();
        // Relaxed: numbers that guard nothing.
        counts.calls.fetch_add(1, Ordering::Relaxed);
        counts.ns.fetch_add(ns, Ordering::Relaxed);
        if bytes_out.is_none() {
            counts.in_vain.fetch_add(1, Ordering::Relaxed);
            return;
        }
        counts.bytes_in.fetch_add(self.bytes_in as u64, Ordering::Relaxed);
        counts.bytes_out.fetch_add(out as u64, Ordering::Relaxed);
    }
}

/// The table, an object for each encoder.
#[must_use]
pub fn json() -> String {
    let mut all = Object::default();
    for codec in Codec::ALL {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let counts = codec.counts();
        let (bytes_in, bytes_out) = (load(&counts.bytes_in), load(&counts.bytes_out));
        let one = Object::default()
            .number("calls", load(&counts.calls))
            .number("in_vain", load(&counts.in_vain))
            .number("bytes_in", bytes_in)
            .number("bytes_out", bytes_out)
            .number("ns", load(&counts.ns))
            .fraction("ratio", bytes_in as f64 / bytes_out as f64);
        all = all.raw(codec.name(), &one.end());
    }
    all.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_counted_and_what_was_in_vain_as_such() {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let counts = Codec::Zlib.counts();
        let now =
            || [&counts.calls, &counts.in_vain, &counts.bytes_in, &counts.bytes_out].map(load);
        let before = now();
        begin(Codec::Zlib, 1000).end(Some(250));
        begin(Codec::Zlib, 77).end(None);
        let grown: Vec<u64> = now().iter().zip(before).map(|(now, then)| now - then).collect();
        // Other tests may deflate meanwhile.
        let least = [2, 1, 1000, 250];
        assert!(grown.iter().zip(least).all(|(grown, least)| *grown >= least), "{grown:?}");
        assert!(json().contains(r#""zlib":{"calls":"#));
        assert!(Codec::ALL.iter().enumerate().all(|(at, codec)| *codec as usize == at));
    }
}

//! The codecs against streams that the reference's encoders wrote, and against each other.
//!
//! A small set is committed under `tests/vectors`; the whole one is looked for beside the
//! repository, and SKIPPED is printed where it is missing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod glz;
mod index;
mod jpeg;
mod lz;
mod pictures;
mod quic;

//! Wire messages of the SPICE protocol: pure data, no I/O, no clock, no thread.
#![forbid(unsafe_code)]

pub mod geometry;
pub mod message;
pub mod wire;

//! Thin safe wrappers around the operating system, one file per group of calls.

pub mod clock;
pub mod thread;

//! Thin safe wrappers around the operating system and C libraries, one file per library or group of calls.

pub mod clock;
pub mod dmabuf;
pub mod dynamic;
pub mod encoders;
pub mod opus;
pub mod pixman;
pub mod policy;
pub mod sasl;
pub mod tcp;
pub mod thread;
pub mod turbojpeg;

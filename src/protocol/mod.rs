//! Wire messages of the SPICE protocol: pure data, no I/O, no clock, no thread.
#![forbid(unsafe_code)]

pub mod agent;
pub mod blocks;
pub mod caps;
pub mod common;
pub mod cursor;
pub mod display;
pub mod error;
pub mod geometry;
pub mod gl;
pub mod handover;
pub mod header;
pub mod inputs;
pub mod main;
pub mod message;
pub mod migrate;
pub mod smartcard;
pub mod sound;
pub mod stream_device;
pub mod vmc;
pub mod wire;

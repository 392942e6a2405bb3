//! The handshake that every connection goes through before it is a channel: link message,
//! capabilities, ticket or SASL. A state machine without I/O, so that it can be tested and fuzzed whole.
//!
//! Owner: `spice-link`, which moves the bytes. Everything here reads what an unauthenticated peer
//! sent; nothing here may panic, or ask for memory that the peer chose without a bound.
#![forbid(unsafe_code)]

pub mod greeting;
pub mod handshake;
pub mod http;
pub mod key;
pub mod message;
pub mod sasl;
pub mod ticket;

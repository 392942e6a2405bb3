//! Sockets: listeners, streams, the reactor that moves their bytes, and the outbox.
#![forbid(unsafe_code)]

pub mod backend;
pub mod connection;
pub mod layer;
pub mod listener;
pub mod mio_reactor;
pub mod outbox;
pub mod reactor;
pub mod sasl;
pub mod stream;

//! Sockets: listeners, streams, the reactor that moves their bytes, and the outbox.
#![deny(unsafe_code)]

pub mod backend;
mod conn;
pub mod connection;
pub mod layer;
pub mod listener;
pub mod mio_reactor;
pub mod outbox;
pub mod reactor;
#[cfg(test)]
mod reactor_model;
#[cfg(test)]
mod reactor_tests;
pub mod sasl;
pub mod stream;
mod throttle;
pub mod tls;
mod uring;
pub mod uring_reactor;
mod wake;
#[cfg(test)]
mod wake_tests;
pub mod websocket;

//! Who a connection is: the part that the host's channel events tell of.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::SocketAddrAny;

use super::stream::Stream;

/// What a connection became once its link was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Session id of the client, equal for all of its channels.
    pub client: u32,
    /// Channel type, `SPICE_CHANNEL_*`.
    pub channel_type: u8,
    /// Channel id within the type.
    pub channel_id: u8,
}

/// One accepted socket, from accept to close; shared by the door, its channel and the events.
#[derive(Debug)]
pub struct Connection {
    /// Unique in the process.
    pub id: u64,
    /// Our address.
    pub local: Option<SocketAddrAny>,
    /// The peer's address.
    pub peer: Option<SocketAddrAny>,
    /// True for TCP: net test and liveness pings make sense there.
    pub tcp: bool,
    /// True inside TLS.
    pub tls: bool,
    /// Set once, before INITIALIZED is told.
    pub identity: OnceLock<Identity>,
}

impl Connection {
    /// Describes a stream.
    #[must_use]
    pub fn of(stream: &Stream) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            // Relaxed: only uniqueness matters.
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            local: stream.local().cloned(),
            peer: stream.peer().cloned(),
            tcp: stream.is_tcp(),
            tls: false,
            identity: OnceLock::new(),
        }
    }

    /// The same inside TLS.
    #[must_use]
    pub fn inside_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The peer for a log line.
    #[must_use]
    pub fn peer_name(&self) -> String {
        match self.peer.clone().map(std::net::SocketAddr::try_from) {
            Some(Ok(address)) => address.to_string(),
            _ => "local socket".to_owned(),
        }
    }
}

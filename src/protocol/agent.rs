//! The guest agent's protocol: what clients and agent say to each other through the server, and what
//! the server says itself.
//!
//! On the agent's device messages travel in chunks, each for a port; between server and client in
//! pieces of at most [`super::main::AGENT_DATA_MAX`] bytes without them. A piece never holds bytes of
//! two messages. Everything here is bytes in, bytes out; who may say what is the caller's ([`Rules`]).

use super::wire::{Reader, TooShort, WireWrite};

mod client;
mod device;
mod filter;
mod monitors;
mod own;

pub use client::{ClientStream, Piece};
pub use device::{DeviceReader, Reading};
pub use filter::{Filter, Rules, Step, Verdict};
pub use monitors::{ClientMonitors, MONITORS_MAX};
pub use own::{DisplayAddress, MouseState, MouseStates, client_disconnected, device_info};

/// The one version of the agent protocol.
pub const PROTOCOL: u32 = 1;
/// Bytes of a message's header: protocol, type, opaque, size.
pub const HEADER: usize = 4 + 4 + 8 + 4;
/// Bytes of a chunk's header on the device: port, size.
pub const CHUNK_HEADER: usize = 4 + 4;
/// Port of chunks between client and agent.
pub const CLIENT_PORT: u32 = 1;
/// Port of chunks between server and agent.
pub const SERVER_PORT: u32 = 2;

/// Types of messages, as far as the server looks at them.
pub mod kind {
    /// Where the pointer is and which buttons are down.
    pub const MOUSE_STATE: u32 = 1;
    /// The monitors that a client wishes for.
    pub const MONITORS_CONFIG: u32 = 2;
    /// Content of the clipboard.
    pub const CLIPBOARD: u32 = 4;
    /// What the sender can do.
    pub const ANNOUNCE_CAPABILITIES: u32 = 6;
    /// The sender has something to paste.
    pub const CLIPBOARD_GRAB: u32 = 7;
    /// The sender wants the clipboard's content.
    pub const CLIPBOARD_REQUEST: u32 = 8;
    /// The sender has nothing to paste any more.
    pub const CLIPBOARD_RELEASE: u32 = 9;
    /// A file begins.
    pub const FILE_XFER_START: u32 = 10;
    /// How the transfer of a file goes.
    pub const FILE_XFER_STATUS: u32 = 11;
    /// A part of a file.
    pub const FILE_XFER_DATA: u32 = 12;
    /// The last client has left.
    pub const CLIENT_DISCONNECTED: u32 = 13;
    /// Which hardware the monitors belong to.
    pub const GRAPHICS_DEVICE_INFO: u32 = 16;
    /// The last type that there is.
    pub const LAST: u32 = GRAPHICS_DEVICE_INFO;
}

/// Bits of the first word of capabilities, as far as the server looks at them.
pub mod capability {
    /// Clipboard of the old kind, on demand, and with selections: what needs copy and paste.
    pub const CLIPBOARD: u32 = 1 << 3 | 1 << 5 | 1 << 6;
    /// Files are not taken.
    pub const FILE_XFER_DISABLED: u32 = 1 << 13;
    /// Wants to know which hardware the monitors belong to.
    pub const GRAPHICS_DEVICE_INFO: u32 = 1 << 15;
}

/// Bytes that break the agent's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// A message begins with less than its header.
    #[error("agent message begins with {0} bytes")]
    Header(usize),
    /// Another protocol.
    #[error("agent protocol {0}")]
    Protocol(u32),
    /// A chunk for a port that does not exist.
    #[error("agent chunk for port {0}")]
    Port(u32),
    /// More bytes than the message has left.
    #[error("{have} bytes of an agent message that has {left} left")]
    Beyond {
        /// Bytes of the piece.
        have: usize,
        /// Bytes that were left.
        left: u32,
    },
    /// A layout larger than [`MONITORS_MAX`].
    #[error("monitors in {0} bytes")]
    MonitorsTooLong(u32),
    /// A layout that is smaller than its own count says.
    #[error("{count} monitors, flags {flags}, in {have} bytes")]
    MonitorsTooShort {
        /// Monitors by the count.
        count: u32,
        /// Flags of the layout.
        flags: u32,
        /// Bytes that are there.
        have: usize,
    },
}

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Version of the protocol; [`PROTOCOL`].
    pub protocol: u32,
    /// One of [`kind`], or another.
    pub kind: u32,
    /// Bytes that follow the header.
    pub size: u32,
}

impl Header {
    /// Reads the first [`HEADER`] bytes of a message; its version is the caller's to check.
    ///
    /// # Errors
    /// [`TooShort`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TooShort> {
        let mut fields = Reader::new(bytes);
        let (protocol, kind) = (fields.u32()?, fields.u32()?);
        let (_opaque, size) = (fields.u64()?, fields.u32()?);
        Ok(Self { protocol, kind, size })
    }
}

/// Appends a message of the server itself; its data must be below 4 GiB, as all of ours is.
fn put_message(bytes: &mut Vec<u8>, kind: u32, data: &[u8]) {
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
    bytes.put_u32(PROTOCOL).put_u32(kind).put_u64(0).put_u32(size).put_bytes(data);
}

/// Appends bytes as chunks of at most [`super::main::AGENT_DATA_MAX`] bytes: agents take no larger ones.
pub fn put_chunks(bytes: &mut Vec<u8>, port: u32, data: &[u8]) {
    for piece in data.chunks(super::main::AGENT_DATA_MAX) {
        let size = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        bytes.put_u32(port).put_u32(size).put_bytes(piece);
    }
}

/// Messages for the tests of this room.
#[cfg(test)]
pub(crate) fn message(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_message(&mut bytes, kind, data);
    bytes
}

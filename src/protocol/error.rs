//! What can be wrong with a message of a client.
//!
//! All of them end the channel that sent it (the main channel: the whole client), so a variant
//! carries what the log line needs and nothing else.

use super::wire::TooShort;

/// A message of a client that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The channel has no such message.
    #[error("message type {kind} is not known on this channel")]
    Unknown {
        /// Message type.
        kind: u16,
    },
    /// The body ends before its last field.
    #[error("message type {kind}: body ends early, {what}")]
    Short {
        /// Message type.
        kind: u16,
        /// Which number of bytes was missing.
        what: TooShort,
    },
    /// A message that carries raw bytes carries none.
    #[error("message type {kind} is empty")]
    Empty {
        /// Message type.
        kind: u16,
    },
    /// The announced size is beyond the limit of channel and type.
    #[error("message type {kind} of {size} bytes, limit {limit}")]
    TooLong {
        /// Message type.
        kind: u16,
        /// Announced bytes of the body.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// A field has a value that no client may send.
    #[error("message type {kind}: {field} is {value}")]
    Value {
        /// Message type.
        kind: u16,
        /// Name of the field.
        field: &'static str,
        /// What it held.
        value: i64,
    },
}

impl MessageError {
    /// For `map_err` behind a field of a message of type `kind`.
    pub(crate) fn short(kind: u16) -> impl Fn(TooShort) -> Self {
        move |what| Self::Short { kind, what }
    }
}

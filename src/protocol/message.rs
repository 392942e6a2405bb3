//! One outgoing message before its header is put in front of it.

use std::ops::Range;
use std::sync::Arc;

/// Bytes that are sent by reference, never copied next to their message.
#[derive(Debug, Clone)]
pub struct Bulk {
    /// The block that holds them.
    pub bytes: Arc<Vec<u8>>,
    /// Which of its bytes are sent.
    pub range: Range<usize>,
}

impl Bulk {
    /// All bytes of a block.
    #[must_use]
    pub fn whole(bytes: Arc<Vec<u8>>) -> Self {
        let range = 0..bytes.len();
        Self { bytes, range }
    }

    /// The bytes to send; empty if the range does not lie in the block.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

/// A message of a channel: its type, its body, and bulk data that follows the body.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Message type as the protocol numbers it, per channel.
    pub kind: u16,
    /// Fixed part and small blocks.
    pub body: Vec<u8>,
    /// Large blocks, sent after `body` in this order; pointers in `body` count them in.
    pub bulk: Vec<Bulk>,
}

impl Message {
    /// A message without bulk data.
    #[must_use]
    pub fn new(kind: u16, body: Vec<u8>) -> Self {
        Self { kind, body, bulk: Vec::new() }
    }

    /// Bytes on the wire without the header.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.len() + self.bulk.iter().map(|b| b.range.len()).sum::<usize>()
    }

    /// True for a message that is only a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

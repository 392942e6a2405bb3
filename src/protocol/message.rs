//! One outgoing message before its header is put in front of it.

use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Bytes that are shared and sent by reference, never copied next to their message: pixels, mostly.
#[derive(Debug, Clone, Default)]
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

    /// Some of these bytes, counted from the first one; empty if there are not so many.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        let at = |n: usize| self.range.start.saturating_add(n);
        let range = at(range.start)..at(range.end);
        let inside = range.start <= range.end && range.end <= self.range.end;
        Self { bytes: Arc::clone(&self.bytes), range: if inside { range } else { 0..0 } }
    }

    /// True if both are the same part of the same block.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes) && self.range == other.range
    }

    /// The bytes to send; empty if the range does not lie in the block.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

impl Deref for Bulk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Bulk {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Bulk {}

impl From<Arc<Vec<u8>>> for Bulk {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Self::whole(bytes)
    }
}

impl From<Vec<u8>> for Bulk {
    fn from(bytes: Vec<u8>) -> Self {
        Self::whole(Arc::new(bytes))
    }
}

/// Descriptors that accompany a message to a client of the same machine. Shared: they stay open until the last of those
/// that are to get them has been sent them.
#[derive(Debug, Clone)]
pub struct Descriptors(Arc<Vec<OwnedFd>>);

impl Descriptors {
    /// Most that one message may bring: the planes of a dmabuf.
    pub const MAX: usize = 4;

    /// Takes over 1 to [`Descriptors::MAX`] descriptors; `None`, and they are closed, if there are none or more.
    #[must_use]
    pub fn new(list: Vec<OwnedFd>) -> Option<Self> {
        (1..=Self::MAX).contains(&list.len()).then(|| Self(Arc::new(list)))
    }

    /// In the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// True if both are the same ones.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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
    /// Sent out of band behind the last byte, with a byte of its own that no size counts (spec 11, section 11). Only to
    /// clients whose stream can carry them.
    pub descriptors: Option<Descriptors>,
}

impl Message {
    /// A message without bulk data.
    #[must_use]
    pub fn new(kind: u16, body: Vec<u8>) -> Self {
        Self { kind, body, ..Self::default() }
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

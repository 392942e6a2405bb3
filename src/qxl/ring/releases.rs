//! The release ring: what the guest gets back. We are its only producer.
//!
//! Released commands are chained through their own first 8 bytes, so that one item of the ring stands for many
//! (spec 10 §4.2). The item that is being collected lies in the ring already, unpublished.

use super::layout::{CONS, ITEMS, NOTIFY_ON_PROD, PROD, RELEASE_BYTES, RELEASES};
use super::mapping::Mapping;
use crate::sync::primitives::{Ordering, fence};

/// Commands in one item before it is published.
const BUNCH: u32 = 32;

/// The producer's side.
#[derive(Debug)]
pub struct Releases {
    /// Offset of the ring in the mapping.
    ring: usize,
    /// Ours; what stands in memory is only ever written.
    prod: u32,
    /// Where the last command of the open chain lies.
    last: Option<usize>,
    /// Commands in the open chain.
    count: u32,
}

/// What a publication did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Nothing was collected, or the guest has not taken enough of what was published before.
    Not,
    /// The guest finds it when it looks.
    Quietly,
    /// The guest asked to be told.
    Tell,
}

impl Releases {
    /// Goes on behind what was published; `last` is the open chain's end, as an offset, if one was handed over.
    #[must_use]
    pub fn new(mapping: &Mapping, ring: usize, last: Option<usize>, count: u32) -> Self {
        let prod = load(mapping, ring + PROD);
        let releases = Self { ring, prod, last, count: if last.is_some() { count } else { 0 } };
        if last.is_none() {
            mapping.write_u64(releases.item(), 0);
        }
        releases
    }

    fn item(&self) -> usize {
        self.ring + ITEMS + (self.prod % RELEASES) as usize * RELEASE_BYTES
    }

    /// Puts the command whose release information lies at `offset` into the open chain. True if it is long enough to
    /// be published.
    pub fn add(&mut self, mapping: &Mapping, offset: usize) -> bool {
        // Both are the same 8 bytes: the number goes out before the link overwrites it.
        let id = mapping.read_u64(offset);
        mapping.write_u64(offset, 0);
        match self.last {
            Some(last) => mapping.write_u64(last, id),
            None => mapping.write_u64(self.item(), id),
        }
        self.last = Some(offset);
        self.count = self.count.saturating_add(1);
        self.count >= BUNCH
    }

    /// Hands the open chain to the guest, if there is one and the ring has room: one item stays for the next chain.
    pub fn publish(&mut self, mapping: &Mapping) -> Published {
        let cons = load(mapping, self.ring + CONS);
        // A guest that lies here only keeps its own memory from itself.
        if self.last.is_none() || self.prod.wrapping_sub(cons).wrapping_add(1) >= RELEASES {
            return Published::Not;
        }
        self.prod = self.prod.wrapping_add(1);
        (self.last, self.count) = (None, 0);
        // Before the guest can see the item before it, and so that it never takes an old number for a chain.
        mapping.write_u64(self.item(), 0);
        store(mapping, self.ring + PROD, self.prod);
        fence(Ordering::SeqCst);
        if load(mapping, self.ring + NOTIFY_ON_PROD) == self.prod {
            Published::Tell
        } else {
            Published::Quietly
        }
    }

    /// Commands in the open chain, and where its last one lies.
    #[must_use]
    pub fn open(&self) -> Option<(usize, u32)> {
        self.last.map(|last| (last, self.count))
    }
}

/// A ring word; 0 outside of the mapping, which its owner has checked.
pub(super) fn load(mapping: &Mapping, offset: usize) -> u32 {
    mapping.word(offset).map_or(0, |word| u32::from_le(word.load(Ordering::Acquire)))
}

/// Publishes what was written before.
pub(super) fn store(mapping: &Mapping, offset: usize, value: u32) {
    if let Some(word) = mapping.word(offset) {
        word.store(value.to_le(), Ordering::Release);
    }
}

//! A command's memory without addresses: blocks of bytes, and where they point to each other.

use std::collections::TryReserveError;

/// A place in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the block.
    pub block: usize,
    /// Bytes from its start.
    pub at: usize,
}

impl Place {
    /// `n` bytes further.
    #[must_use]
    pub fn plus(self, n: usize) -> Self {
        Self { block: self.block, at: self.at.saturating_add(n) }
    }
}

/// An 8-byte address that has to be filled in: that of block `target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Where the address goes.
    pub from: Place,
    /// The block whose first byte it names.
    pub target: usize,
}

/// Structures as the device lays them out; block 0 is the command itself.
#[derive(Debug, Default)]
pub struct Payload {
    /// The bytes; addresses in them are 0.
    pub blocks: Vec<Vec<u8>>,
    /// Where addresses go.
    pub links: Vec<Link>,
}

impl Payload {
    /// A new block; its first byte.
    ///
    /// # Errors
    /// No memory for it.
    pub fn add(&mut self, bytes: Vec<u8>) -> Result<Place, TryReserveError> {
        self.blocks.try_reserve(1)?;
        self.blocks.push(bytes);
        Ok(Place { block: self.blocks.len() - 1, at: 0 })
    }

    /// Makes `from` the address of a block.
    ///
    /// # Errors
    /// No memory for it.
    pub fn link(&mut self, from: Place, target: Place) -> Result<(), TryReserveError> {
        self.links.try_reserve(1)?;
        self.links.push(Link { from, target: target.block });
        Ok(())
    }

    /// Writes bytes. Places outside the block, which the grammar never names, are left alone.
    pub fn put(&mut self, place: Place, bytes: &[u8]) {
        let field = place.at..place.at.saturating_add(bytes.len());
        let field = self.blocks.get_mut(place.block).and_then(|b| b.get_mut(field));
        debug_assert!(field.is_some(), "{place:?} is no place");
        if let Some(field) = field {
            field.copy_from_slice(bytes);
        }
    }

    /// Bytes of all blocks together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// True without any byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The little-endian 32-bit number at a place; 0 if there is none.
    #[must_use]
    pub fn u32(&self, place: Place) -> u32 {
        let bytes = self.blocks.get(place.block).and_then(|b| b.get(place.at..));
        bytes.and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

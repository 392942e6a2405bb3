//! Large blocks of bytes that are used again.
//!
//! Memory that is fresh from the system costs more than what is written to it: it comes in pages that are cleared one by
//! one. Each thread that makes large blocks keeps a few of them in sight and takes over those that nobody else holds
//! any more. Small blocks are left to the allocator.

use std::cell::RefCell;
use std::collections::TryReserveError;
use std::collections::VecDeque;
use std::sync::Arc;

/// Blocks of fewer bytes are not kept.
const LARGE: usize = 64 << 10;
/// Blocks that a thread keeps in sight, and their bytes.
const KEPT: usize = 32;
const KEPT_BYTES: usize = 16 << 20;

thread_local! {
    static BLOCKS: RefCell<Blocks> = RefCell::default();
}

/// An empty vector with room for so many bytes.
///
/// # Errors
/// If there is no memory.
pub fn take(len: usize) -> Result<Vec<u8>, TryReserveError> {
    let mut block =
        if len < LARGE { None } else { BLOCKS.with_borrow_mut(|blocks| blocks.take(len)) }
            .unwrap_or_default();
    block.try_reserve_exact(len)?;
    Ok(block)
}

/// Shares a block; this thread takes it over when nobody holds it any more.
#[must_use]
pub fn share(block: Vec<u8>) -> Arc<Vec<u8>> {
    let block = Arc::new(block);
    if block.capacity() >= LARGE {
        BLOCKS.with_borrow_mut(|blocks| blocks.keep(Arc::clone(&block)));
    }
    block
}

/// Gives back what nobody uses; for a thread that has nothing to do.
pub fn release() {
    BLOCKS.with_borrow_mut(Blocks::release);
}

#[derive(Debug, Default)]
struct Blocks {
    /// Oldest first.
    kept: VecDeque<Arc<Vec<u8>>>,
    bytes: usize,
}

impl Blocks {
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        // Not much too large, or a small picture would hold the memory of a large one.
        let fits = |block: &Arc<Vec<u8>>| {
            (len..=2 * len).contains(&block.capacity()) && Arc::strong_count(block) == 1
        };
        let at = self.kept.iter().position(fits)?;
        let block = self.kept.remove(at)?;
        self.bytes -= block.capacity();
        // Nobody else had it, so nobody else can have it now.
        let mut block = Arc::into_inner(block)?;
        block.clear();
        Some(block)
    }

    fn keep(&mut self, block: Arc<Vec<u8>>) {
        self.bytes += block.capacity();
        self.kept.push_back(block);
        while self.kept.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.capacity();
        }
    }

    fn release(&mut self) {
        self.kept.retain(|block| Arc::strong_count(block) > 1);
        self.bytes = self.kept.iter().map(|block| block.capacity()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(len: usize) -> Vec<u8> {
        let mut block = take(len).unwrap();
        assert!(block.is_empty() && block.capacity() >= len);
        block.resize(len, 1);
        block
    }

    fn in_sight() -> usize {
        BLOCKS.with_borrow(|blocks| blocks.kept.len())
    }

    #[test]
    fn a_block_that_nobody_holds_is_used_again() {
        let first = share(block(100_000));
        let place = first.as_ptr();
        let other = block(100_000);
        assert_ne!(other.as_ptr(), place, "it is still held");
        drop(first);
        let (small, large) = (block(49_999), block(200_001));
        assert!(small.as_ptr() != place && large.as_ptr() != place);
        let again = block(70_000);
        assert_eq!((again.as_ptr(), again.len()), (place, 70_000));
        assert_eq!(in_sight(), 0);
    }

    #[test]
    fn few_are_kept_and_none_when_there_is_nothing_to_do() {
        let held: Vec<_> = (0..100).map(|_| share(block(LARGE))).collect();
        assert_eq!(in_sight(), KEPT);
        release();
        assert_eq!(in_sight(), KEPT, "all of them are held");
        drop(held);
        release();
        assert_eq!(in_sight(), 0);
        let _small = share(block(100));
        assert_eq!(in_sight(), 0);
        let _large: Vec<_> = (0..5).map(|_| share(block(5 << 20))).collect();
        assert_eq!(in_sight(), 3);
    }
}

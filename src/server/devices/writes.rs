//! What waits for a device to take it.

use std::collections::VecDeque;

use super::kind::Owner;

/// Bytes for a device, with how many it has taken.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) owner: Owner,
    bytes: Vec<u8>,
    /// Where in them it begins.
    from: usize,
    taken: usize,
    /// Of which life of the queue it is.
    age: u64,
}

impl Waiting {
    /// What the device has not taken yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.from + self.taken..).unwrap_or_default()
    }

    /// The device took the first `n` bytes of the rest.
    pub(super) fn advance(&mut self, n: usize) {
        self.taken += n.min(self.rest().len());
    }

    /// The bytes, to be used again.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes in all, with those before its beginning.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The writes of one device, oldest first. Bounded by the kind, which knows who may send how much.
#[derive(Debug, Default)]
pub(super) struct Writes {
    queue: VecDeque<Waiting>,
    /// Grows when all is dropped, so that what is out with the device at that moment does not come back.
    age: u64,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, owner: Owner, bytes: Vec<u8>, from: usize) {
        self.queue.push_back(Waiting { owner, bytes, from, taken: 0, age: self.age });
    }

    /// Takes the oldest out, to be offered to the device without a lock.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        self.queue.pop_front()
    }

    /// Takes out the oldest ones that have no more than `limit` bytes together; nothing if that is only one.
    pub(super) fn take_run(&mut self, limit: usize) -> Vec<Waiting> {
        let mut bytes = 0;
        let fits = |w: &&Waiting| {
            bytes += w.rest().len();
            bytes <= limit
        };
        match self.queue.iter().take_while(fits).count() {
            0 | 1 => Vec::new(),
            n => self.queue.drain(..n).collect(),
        }
    }

    /// Puts one back that the device has not taken whole. Hands it over if all was dropped meanwhile.
    pub(super) fn put_back(&mut self, waiting: Waiting) -> Option<Waiting> {
        if waiting.age != self.age {
            return Some(waiting);
        }
        self.queue.push_front(waiting);
        None
    }

    /// Drops what an owner has here, but for what the device has taken a part of; returns the sizes.
    pub(super) fn discard(&mut self, owner: Owner) -> Vec<usize> {
        let goes = |w: &Waiting| w.owner == owner && w.taken == 0;
        let sizes = self.queue.iter().filter(|w| goes(w)).map(Waiting::len).collect();
        self.queue.retain(|w| !goes(w));
        sizes
    }

    /// Drops all; returns it.
    pub(super) fn discard_all(&mut self) -> VecDeque<Waiting> {
        self.age += 1;
        std::mem::take(&mut self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_has_begun_survives_its_owner() {
        let mut writes = Writes::default();
        writes.push(Owner::Client(7), vec![1, 2, 3], 0);
        writes.push(Owner::Client(7), vec![4], 0);
        writes.push(Owner::Client(8), vec![5], 0);
        let mut first = writes.take().unwrap();
        first.advance(1);
        assert!(writes.put_back(first).is_none());
        assert_eq!(writes.discard(Owner::Client(7)), [1]);
        assert_eq!(writes.take().unwrap().rest(), [2, 3]);
        assert_eq!(writes.take().unwrap().rest(), [5]);
        assert!(writes.is_empty());
    }

    #[test]
    fn small_ones_are_taken_together_and_a_large_one_by_itself() {
        let mut writes = Writes::default();
        for bytes in [vec![0; 40], vec![9, 9, 1, 2], vec![0; 70], vec![3]] {
            writes.push(Owner::Server, bytes, 0);
        }
        assert!(writes.take_run(43).is_empty(), "one is none");
        let run = writes.take_run(100);
        assert_eq!(run.iter().map(|w| w.rest().len()).collect::<Vec<_>>(), [40, 4]);
        for waiting in run.into_iter().rev() {
            assert!(writes.put_back(waiting).is_none());
        }
        assert_eq!(writes.take_run(1000).len(), 4);
        writes.push(Owner::Server, vec![9, 9, 1, 2], 2);
        let mut waiting = writes.take().unwrap();
        assert_eq!((waiting.rest(), waiting.len()), (&[1, 2][..], 4));
        waiting.advance(1);
        assert_eq!(waiting.rest(), [2]);
        waiting.advance(9);
        assert!(waiting.rest().is_empty());
    }

    #[test]
    fn what_is_out_when_all_is_dropped_does_not_come_back() {
        let mut writes = Writes::default();
        writes.push(Owner::Server, vec![1, 2], 0);
        writes.push(Owner::Server, vec![3], 0);
        let out = writes.take().unwrap();
        assert_eq!(writes.discard_all().len(), 1);
        assert!(writes.put_back(out).is_some());
        assert!(writes.is_empty());
    }
}

//! The items of a pipe in their order; any of them can be taken out, and none moves when that happens.
#![forbid(unsafe_code)]

use super::Item;

/// Where an item lies, for as long as it is in the queue.
pub(super) type Slot = usize;

/// No slot.
const NONE: Slot = usize::MAX;

/// A list linked through the slots of a table.
#[derive(Debug)]
pub(super) struct Queue {
    nodes: Vec<Node>,
    free: Vec<Slot>,
    head: Slot,
    tail: Slot,
    len: usize,
    /// Items so far; numbers tell which of two is older.
    pushed: u64,
}

#[derive(Debug)]
struct Node {
    item: Option<Item>,
    number: u64,
    before: Slot,
    after: Slot,
}

impl Default for Queue {
    fn default() -> Self {
        let (nodes, free) = (Vec::new(), Vec::new());
        Self { nodes, free, head: NONE, tail: NONE, len: 0, pushed: 0 }
    }
}

impl Queue {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number and the slot that the next item will have.
    pub fn next_place(&self) -> (u64, Slot) {
        (self.pushed, self.free.last().copied().unwrap_or(self.nodes.len()))
    }

    pub fn push_back(&mut self, item: Item) -> Slot {
        let node = Node { item: Some(item), number: self.pushed, before: self.tail, after: NONE };
        self.pushed += 1;
        self.len += 1;
        let slot = self.free.pop().unwrap_or(self.nodes.len());
        match self.nodes.get_mut(slot) {
            Some(empty) => *empty = node,
            None => self.nodes.push(node),
        }
        match self.nodes.get_mut(self.tail) {
            Some(last) => last.after = slot,
            None => self.head = slot,
        }
        self.tail = slot;
        slot
    }

    pub fn front(&self) -> Option<(Slot, &Item)> {
        Some((self.head, self.get(self.head)?))
    }

    pub fn get(&self, slot: Slot) -> Option<&Item> {
        self.nodes.get(slot)?.item.as_ref()
    }

    /// Takes an item out, with its number; `None` if the slot is empty.
    pub fn remove(&mut self, slot: Slot) -> Option<(u64, Item)> {
        let node = self.nodes.get_mut(slot)?;
        let item = node.item.take()?;
        let (number, before, after) = (node.number, node.before, node.after);
        match self.nodes.get_mut(before) {
            Some(node) => node.after = after,
            None => self.head = after,
        }
        match self.nodes.get_mut(after) {
            Some(node) => node.before = before,
            None => self.tail = before,
        }
        self.len -= 1;
        if self.len == 0 {
            // Beginning anew keeps a short queue in the same few slots.
            self.free.clear();
            self.nodes.clear();
        } else {
            self.free.push(slot);
        }
        Some((number, item))
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Item)> {
        let mut at = self.head;
        std::iter::from_fn(move || {
            let slot = at;
            let node = self.nodes.get(slot)?;
            at = node.after;
            Some((slot, node.item.as_ref()?))
        })
    }

    /// Takes out every item that `out` names.
    pub fn take_all(&mut self, mut out: impl FnMut(&Item) -> bool) -> Vec<(u64, Item)> {
        let slots: Vec<Slot> = self.iter().filter(|(_, i)| out(i)).map(|(slot, _)| slot).collect();
        slots.into_iter().filter_map(|slot| self.remove(slot)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Message;

    fn item(kind: u16) -> Item {
        Item::Message { message: Message::new(kind, Vec::new()), replaceable: false }
    }

    fn kind(item: &Item) -> u16 {
        match item {
            Item::Message { message, .. } => message.kind,
            _ => panic!("only messages here"),
        }
    }

    #[test]
    fn order_stays_whatever_is_taken_out() {
        let mut queue = Queue::default();
        let mut twin: Vec<(Slot, u16)> = Vec::new();
        let mut state = 1u32;
        for n in 0..2000u16 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if twin.is_empty() || state >> 16 & 3 != 0 {
                twin.push((queue.push_back(item(n)), n));
            } else {
                let (slot, want) = twin.remove((state >> 18) as usize % twin.len());
                assert_eq!(queue.remove(slot).map(|(_, i)| kind(&i)), Some(want));
            }
            if n % 300 == 299 {
                let odd = queue.take_all(|i| kind(i) % 2 == 1);
                let want: Vec<u16> = twin.iter().map(|t| t.1).filter(|k| k % 2 == 1).collect();
                assert_eq!(odd.iter().map(|(_, i)| kind(i)).collect::<Vec<_>>(), want);
                assert!(odd.windows(2).all(|pair| pair[0].0 < pair[1].0));
                twin.retain(|t| t.1 % 2 == 0);
            }
            let all: Vec<(Slot, u16)> = queue.iter().map(|(slot, i)| (slot, kind(i))).collect();
            assert_eq!(all, twin);
            assert_eq!(queue.len(), twin.len());
            assert_eq!(queue.front().map(|(_, i)| kind(i)), twin.first().map(|t| t.1));
        }
        while let Some((slot, _)) = queue.front() {
            queue.remove(slot);
        }
        assert!(queue.is_empty() && queue.iter().next().is_none());
    }
}

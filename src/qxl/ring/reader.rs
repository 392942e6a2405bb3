//! The command and the cursor ring: what the guest sends. We are its only consumer.

use std::collections::VecDeque;

use super::layout::{COMMAND_BYTES, COMMANDS, CONS, ITEMS, NOTIFY_ON_CONS, NOTIFY_ON_PROD, PROD};
use super::mapping::Mapping;
use super::releases::{load, store};
use crate::qxl::command::CommandExt;
use crate::sync::primitives::{Ordering, fence};

/// One of the two rings that we read.
#[derive(Debug)]
pub struct Reader {
    /// Offset of the ring in the mapping.
    ring: usize,
    /// Everything before this was taken, also what is in `batch`.
    cons: u32,
    /// Taken and not handed on yet.
    batch: VecDeque<CommandExt>,
    /// The guest broke its rules: it is not read again.
    broken: bool,
}

/// What a look into a ring brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing waits.
    Nothing,
    /// The guest says that so many wait.
    Impossible(u32),
    /// Commands.
    Some,
    /// Commands, and the guest wants to know that one of them was taken.
    Wanted,
}

impl Reader {
    /// A ring of which everything before `cons` was taken.
    #[must_use]
    pub fn new(ring: usize, cons: u32) -> Self {
        Self { ring, cons, batch: VecDeque::new(), broken: false }
    }

    /// The number of the next command to be taken from the ring.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.cons
    }

    /// Commands that were taken and not handed on.
    #[must_use]
    pub fn held(&self) -> usize {
        self.batch.len()
    }

    /// The oldest of them.
    pub fn pop(&mut self) -> Option<CommandExt> {
        self.batch.pop_front()
    }

    fn waiting(&self, mapping: &Mapping) -> u32 {
        load(mapping, self.ring + PROD).wrapping_sub(self.cons)
    }

    /// Takes everything that waits: the ring is free at once, and a guest that sleeps until there is room is woken
    /// once and not for every command.
    pub fn take(&mut self, mapping: &Mapping, group_id: u32) -> Taken {
        if self.broken {
            return Taken::Nothing;
        }
        let waiting = match self.waiting(mapping) {
            0 => return Taken::Nothing,
            waiting @ 1..=COMMANDS => waiting,
            waiting => {
                self.broken = true;
                return Taken::Impossible(waiting);
            }
        };
        let before = self.cons;
        for _ in 0..waiting {
            let item = self.ring + ITEMS + (self.cons % COMMANDS) as usize * COMMAND_BYTES;
            // Words, because items of the cursor ring lie at multiples of four only.
            let (low, high) = (load(mapping, item), load(mapping, item + 4));
            let data = u64::from(high) << 32 | u64::from(low);
            let kind = load(mapping, item + 8);
            self.batch.push_back(CommandExt { data, kind, group_id, flags: 0 });
            self.cons = self.cons.wrapping_add(1);
        }
        store(mapping, self.ring + CONS, self.cons);
        // Between our index and their wish: without it both may see the other's old one, and nobody tells.
        fence(Ordering::SeqCst);
        let asked = load(mapping, self.ring + NOTIFY_ON_CONS).wrapping_sub(before);
        if (1..=waiting).contains(&asked) { Taken::Wanted } else { Taken::Some }
    }

    /// Lets the guest kick at its next command; false if there is one already.
    pub fn arm(&mut self, mapping: &Mapping) -> bool {
        if self.broken {
            return true;
        }
        store(mapping, self.ring + NOTIFY_ON_PROD, self.cons.wrapping_add(1));
        fence(Ordering::SeqCst);
        self.batch.is_empty() && self.waiting(mapping) == 0
    }
}

//! The way from our threads to the host's main loop: a lock-free queue and an eventfd.
//!
//! Any thread pushes; only the host's side pops. The eventfd is registered with the host's loop
//! by `watch_add`, so a push wakes that loop once, however many items follow before it looks.
//! A host thread that has to wait inside an API call waits here too, so that it can work on items
//! meanwhile and no thread of ours ever depends on a host that is waiting for us.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::primitives::{
    AtomicBool, AtomicUsize, Condvar, Event, Mutex, Ordering, PoisonError, Queue,
};

/// Items that wait for the host at which producers that can hold back must do so.
///
/// Input and accepted connections hold back; channel events must not be lost and are bounded by
/// the number of connections, which the door stops accepting at this mark.
pub const HIGH_WATER: usize = 1024;

/// A queue into the host's main loop.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Queue<T>,
    depth: AtomicUsize,
    /// True while the eventfd has been written and not yet read.
    signalled: AtomicBool,
    event: Event,
    /// Bumped by each push and each `stir`, so that a waiter cannot miss one.
    turn: Mutex<u64>,
    changed: Condvar,
}

impl<T> Mailbox<T> {
    /// An empty mailbox.
    ///
    /// # Errors
    /// If the process has no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            queue: Queue::new(),
            depth: AtomicUsize::new(0),
            signalled: AtomicBool::new(false),
            event: Event::new()?,
            turn: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    /// The descriptor that is readable while items wait.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.descriptor()
    }

    /// The same, as a whole.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Queues an item that must not be lost. True if the host's loop was woken for it.
    pub fn push(&self, item: T) -> bool {
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.queue.push(item);
        self.signal()
    }

    /// Queues an item that must not be lost, of which nobody is told before the next push or [`Mailbox::signal`]: for
    /// producers that have more at hand.
    pub fn push_quietly(&self, item: T) {
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.queue.push(item);
    }

    /// Queues an item unless too many wait already.
    ///
    /// # Errors
    /// Hands the item back if [`HIGH_WATER`] items wait.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        if self.is_busy() {
            return Err(item);
        }
        let _ = self.push(item);
        Ok(())
    }

    /// True if producers should hold back.
    pub fn is_busy(&self) -> bool {
        self.depth.load(Ordering::Relaxed) >= HIGH_WATER
    }

    /// Items that wait now.
    pub fn len(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The oldest item.
    pub fn pop(&self) -> Option<T> {
        let item = self.queue.pop()?;
        self.depth.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }

    /// Makes the eventfd quiet. To be called before draining: a push after it signals again.
    pub fn acknowledge(&self) {
        self.event.lower();
        // Only now: a signal between the two would be read away, and with the flag set nobody would write another.
        // Acquire, from the swap in `signal`: who saw `true` there had pushed, and the drain that follows sees it;
        // who sees `false` writes anew.
        self.signalled.swap(false, Ordering::SeqCst);
    }

    /// Raises the eventfd again for items that the current thread may not run. False if it was up.
    pub fn signal(&self) -> bool {
        let first = !self.signalled.swap(true, Ordering::SeqCst);
        if first {
            // The counter cannot overflow: it is written once per acknowledged signal.
            self.event.raise();
        }
        self.stir();
        first
    }

    /// Wakes threads in [`Mailbox::wait`] without an item.
    pub fn stir(&self) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = turn.wrapping_add(1);
        self.changed.notify_all();
    }

    /// A mark to give to [`Mailbox::wait`], taken before looking at what is waited for.
    pub fn turn(&self) -> u64 {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until something was pushed or stirred after `seen`, or until the deadline.
    ///
    /// Returns false at the deadline.
    pub fn wait(&self, seen: u64, deadline: Instant) -> bool {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while *turn == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            turn = self.changed.wait_timeout(turn, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

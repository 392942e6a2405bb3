//! The way from our threads to the host's main loop: a lock-free queue and an eventfd.
//!
//! Any thread pushes; only the host's side pops. The eventfd is registered with the host's loop
//! by `watch_add`, so a push wakes that loop once, however many items follow before it looks.
//! A host thread that has to wait inside an API call waits here too, so that it can work on items
//! meanwhile and no thread of ours ever depends on a host that is waiting for us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};

/// Items that wait for the host at which producers that can hold back must do so.
///
/// Input and accepted connections hold back; channel events must not be lost and are bounded by
/// the number of connections, which the door stops accepting at this mark.
pub const HIGH_WATER: usize = 1024;

/// A queue into the host's main loop.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: SegQueue<T>,
    depth: AtomicUsize,
    /// True while the eventfd has been written and not yet read.
    signalled: AtomicBool,
    event: OwnedFd,
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
            queue: SegQueue::new(),
            depth: AtomicUsize::new(0),
            signalled: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            turn: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    /// The descriptor that is readable while items wait.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
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
        let mut count = [0u8; 8];
        // Reading an eventfd that nobody wrote gives EAGAIN, which is as good.
        let _ = rustix::io::read(&self.event, &mut count);
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
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn readable(mailbox: &Mailbox<u32>) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(&mailbox.event, PollFlags::IN)];
        poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
    }

    #[test]
    fn a_push_after_the_acknowledge_signals_again() {
        let mailbox = Mailbox::new().unwrap();
        assert!(!readable(&mailbox));
        mailbox.push(1);
        mailbox.push(2);
        assert!(readable(&mailbox));
        mailbox.acknowledge();
        assert!(!readable(&mailbox));
        mailbox.push(3);
        assert!(readable(&mailbox));
        assert_eq!([mailbox.pop(), mailbox.pop(), mailbox.pop()], [Some(1), Some(2), Some(3)]);
        assert_eq!(mailbox.pop(), None);
    }

    #[test]
    fn producers_that_can_hold_back_are_refused_at_high_water() {
        let mailbox = Mailbox::new().unwrap();
        for i in 0..u32::try_from(HIGH_WATER).unwrap() {
            assert_eq!(mailbox.try_push(i), Ok(()));
        }
        assert_eq!(mailbox.try_push(7), Err(7));
        mailbox.push(8);
        mailbox.pop();
        mailbox.pop();
        assert_eq!(mailbox.try_push(9), Ok(()));
    }

    /// As a host's loop: sleeps until the eventfd is readable, takes what waits then, and signals what came since.
    #[test]
    fn a_loop_that_only_watches_the_descriptor_misses_no_push() {
        use rustix::event::{PollFd, PollFlags, poll};
        const EACH: u32 = 1_000_000;
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let producers = [0, 1].map(|_| {
            let mailbox = Arc::clone(&mailbox);
            std::thread::spawn(move || {
                (0..EACH).for_each(|i| {
                    mailbox.push(i);
                })
            })
        });
        let patience = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut got = 0;
        while got < 2 * EACH {
            let mut fds = [PollFd::new(&mailbox.event, PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "{got} came, then silence");
            mailbox.acknowledge();
            for _ in 0..mailbox.len() {
                got += u32::from(mailbox.pop().is_some());
            }
            if !mailbox.is_empty() {
                mailbox.signal();
            }
        }
        producers.into_iter().for_each(|p| p.join().unwrap());
    }

    #[test]
    fn no_item_of_many_producers_is_lost_and_the_last_one_is_signalled() {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let producers: Vec<_> = (0..4)
            .map(|p| {
                let mailbox = Arc::clone(&mailbox);
                std::thread::spawn(move || {
                    (0..1000).for_each(|i| {
                        mailbox.push(p * 1000 + i);
                    })
                })
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut got = 0;
        while got < 4000 {
            let seen = mailbox.turn();
            mailbox.acknowledge();
            let mut any = false;
            while mailbox.pop().is_some() {
                got += 1;
                any = true;
            }
            assert!(any || mailbox.wait(seen, deadline), "a push was not announced ({got} so far)");
        }
        producers.into_iter().for_each(|p| p.join().unwrap());
    }
}

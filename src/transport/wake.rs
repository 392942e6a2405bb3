//! Whether the thread of a reactor has to be woken by the kernel, or looks by itself before it sleeps.

use crate::sync::primitives::{AtomicU8, Ordering};

/// The thread is at work: it looks here before it sleeps.
const AWAKE: u8 = 0;
/// The thread sleeps in the kernel, or is about to.
const ASLEEP: u8 = 1;
/// Somebody called; the thread has not noticed yet.
const CALLED: u8 = 2;

/// Shared by the thread of a reactor and those that wake it. Saves the system call of a wake whenever the thread is
/// awake, which under load it is.
#[derive(Debug, Default)]
pub(super) struct Bell(AtomicU8);

// All accesses change the value, so each one sees the one before; what was written before a call is seen after
// `get_up` or a refused `lie_down`.
impl Bell {
    /// Another thread has something. True if the kernel has to wake the owner.
    pub(super) fn ring(&self) -> bool {
        self.0.swap(CALLED, Ordering::AcqRel) == ASLEEP
    }

    /// For the owner: true if somebody called since it last got up.
    pub(super) fn is_rung(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CALLED
    }

    /// The owner goes to sleep; false if somebody called and it must not.
    pub(super) fn lie_down(&self) -> bool {
        self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner is awake again, or still. True if somebody called.
    pub(super) fn get_up(&self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == CALLED
    }
}

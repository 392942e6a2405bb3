//! An eventfd that another loop watches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Readable from the first [`Event::raise`] to the next [`Event::lower`]. Any thread; nothing here blocks.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// One that is not raised.
    ///
    /// # Errors
    /// If the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// What a loop watches.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Makes it readable. The counter is not to overflow: raise it a few times at most before it is lowered.
    pub fn raise(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes it quiet.
    pub fn lower(&self) {
        let mut count = [0u8; 8];
        // Reading one that nobody has raised gives EAGAIN, which is as good.
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

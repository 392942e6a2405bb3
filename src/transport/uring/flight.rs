//! A send that the kernel is at: the pieces, and the description of where they are.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

use super::super::outbox::Lent;

/// Sends go on in the kernel until all is taken: one submission and one completion for a whole batch, however slow the
/// peer is. SIGPIPE belongs to the host.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Owns everything that the kernel reads. Boxed, because the kernel knows addresses inside.
#[derive(Debug)]
pub(super) struct Flight {
    lent: Lent,
    /// Point into `lent`, which keeps its bytes where they are.
    iovecs: Vec<libc::iovec>,
    /// Points to `iovecs`, if there are several.
    header: libc::msghdr,
}

// SAFETY: all pointers lead to memory that this object owns.
unsafe impl Send for Flight {}

impl Flight {
    pub(super) fn new(lent: Lent) -> Box<Self> {
        let iovecs = lent
            .slices()
            .map(|s| libc::iovec { iov_base: s.as_ptr().cast_mut().cast(), iov_len: s.len() })
            .collect();
        // SAFETY: a message header is numbers and pointers, for which zeroes are valid.
        let header = unsafe { std::mem::zeroed() };
        let mut flight = Box::new(Self { lent, iovecs, header });
        flight.header.msg_iov = flight.iovecs.as_mut_ptr();
        flight.header.msg_iovlen = flight.iovecs.len();
        flight
    }

    /// The operation that sends it. `self` has to stay as it is until that completes.
    pub(super) fn entry(&self, fd: RawFd) -> squeue::Entry {
        let fd = types::Fd(fd);
        match (self.iovecs.as_slice(), u32::try_from(self.lent.total())) {
            ([one], Ok(len)) => {
                opcode::Send::new(fd, one.iov_base.cast_const().cast(), len).flags(FLAGS).build()
            }
            _ => opcode::SendMsg::new(fd, &raw const self.header)
                .flags(FLAGS.cast_unsigned())
                .build(),
        }
    }

    pub(super) fn land(self) -> Lent {
        self.lent
    }
}

//! A send that the kernel is at: the pieces, and the description of where they are.

use std::os::fd::{AsRawFd, RawFd};

use io_uring::{opcode, squeue, types};

use super::super::outbox::Lent;
use crate::protocol::message::Descriptors;

/// Sends go on in the kernel until all is taken: one submission and one completion for a whole batch, however slow the
/// peer is. SIGPIPE belongs to the host.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// A control message with descriptors, as the kernel reads it (cmsg(3): the data follow the aligned head).
#[repr(C)]
struct Rights {
    head: libc::cmsghdr,
    numbers: [RawFd; Descriptors::MAX],
}

const _: () = assert!(size_of::<libc::cmsghdr>().is_multiple_of(size_of::<usize>()));

impl std::fmt::Debug for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.numbers.fmt(f)
    }
}

impl Rights {
    fn new(descriptors: &Descriptors) -> Box<Self> {
        // SAFETY: the head is numbers, for which zeroes are valid.
        let head = unsafe { std::mem::zeroed() };
        let mut rights = Box::new(Self { head, numbers: [-1; Descriptors::MAX] });
        let mut count = 0;
        for (place, fd) in rights.numbers.iter_mut().zip(descriptors.iter()) {
            *place = fd.as_raw_fd();
            count += 1;
        }
        // The kernel looks at no more than this length says.
        rights.head.cmsg_len = size_of::<libc::cmsghdr>() + count * size_of::<RawFd>();
        rights.head.cmsg_level = libc::SOL_SOCKET;
        rights.head.cmsg_type = libc::SCM_RIGHTS;
        rights
    }
}

/// Owns everything that the kernel reads. Boxed, because the kernel knows addresses inside.
#[derive(Debug)]
pub(super) struct Flight {
    lent: Lent,
    /// Point into `lent`, which keeps its bytes where they are.
    iovecs: Vec<libc::iovec>,
    /// Points to `iovecs`, if there are several, and to `rights`.
    header: libc::msghdr,
    /// What goes with the bytes; `lent` keeps the descriptors open.
    rights: Option<Box<Rights>>,
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
        let rights = lent.descriptors().map(Rights::new);
        let mut flight = Box::new(Self { lent, iovecs, header, rights });
        flight.header.msg_iov = flight.iovecs.as_mut_ptr();
        flight.header.msg_iovlen = flight.iovecs.len();
        if let Some(rights) = &mut flight.rights {
            flight.header.msg_controllen = rights.head.cmsg_len;
            flight.header.msg_control = (&raw mut **rights).cast();
        }
        flight
    }

    /// The operation that sends it. `self` has to stay as it is until that completes.
    pub(super) fn entry(&self, fd: RawFd) -> squeue::Entry {
        let fd = types::Fd(fd);
        match (self.iovecs.as_slice(), u32::try_from(self.lent.total())) {
            ([one], Ok(len)) if self.rights.is_none() => {
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

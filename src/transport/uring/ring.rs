//! One io_uring and all memory that the kernel may touch on its behalf.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};

use super::super::outbox::Lent;
pub(in crate::transport) use super::buffers::Filled;
use super::buffers::{Buffers, GROUP, SIZE};
use super::flight::Flight;

/// Operations submitted by one system call; more take several.
const SUBMISSIONS: u32 = 64;
/// Completions that wait for us outside the kernel; it keeps more.
const COMPLETIONS: u32 = 256;
/// For operations to be cancelled when the ring ends: far more than the kernel takes.
const END_TIME: Duration = Duration::from_secs(2);
/// A pause when the kernel has no memory for an operation: it is tried again.
const SHORT_OF_MEMORY: Duration = Duration::from_millis(10);
/// Of poll(2).
const POLLIN: u32 = 1;
/// `IORING_ENTER_GETEVENTS`: completions are made, also without waiting.
const GET_EVENTS: u32 = 1;

/// What an operation is; in the low bits of its number, above them the key of its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Kind {
    /// The eventfd of the waker is read.
    Wake,
    /// A socket is read.
    Receive,
    /// A socket is written.
    Send,
    /// A socket's end is waited for.
    Watch,
    /// A connection is waited for.
    Accept,
    /// Another operation is cancelled.
    Cancel,
}

const KINDS: [Kind; 6] =
    [Kind::Wake, Kind::Receive, Kind::Send, Kind::Watch, Kind::Accept, Kind::Cancel];
const KIND_BITS: u32 = 3;

fn number(kind: Kind, key: usize) -> u64 {
    ((key as u64) << KIND_BITS) | kind as u64
}

/// What the kernel has done. `more`: the operation goes on by itself.
#[derive(Debug)]
pub(in crate::transport) enum Done {
    /// Another thread wrote to the waker's eventfd; it is watched again.
    Woken,
    /// A read of this socket: bytes, the end (no buffer), or an error.
    Received { key: usize, result: io::Result<Option<Filled>>, more: bool },
    /// A send of this socket, with what was lent to it and the bytes that are gone.
    Sent { key: usize, lent: Option<Lent>, result: io::Result<usize> },
    /// A watched socket has these events of poll(2).
    Watched { key: usize, result: io::Result<u32>, more: bool },
    /// A connection of this listener.
    Accepted { key: usize, result: io::Result<OwnedFd> },
    /// Nothing that anybody has to know.
    Other,
}

/// One ring. Made on any thread; the first one that calls [`Ring::enter`] owns it from then on.
pub(in crate::transport) struct Ring {
    ring: IoUring,
    /// Owned by us and the kernel; `None` only while the ring ends.
    buffers: Option<Buffers>,
    /// What the kernel is sending, by number.
    flights: BTreeMap<u64, Box<Flight>>,
    eventfd: Arc<OwnedFd>,
    /// The kernel writes the eventfd's count here.
    count: Box<u64>,
    /// Not handed to the kernel yet.
    queued: VecDeque<squeue::Entry>,
    /// Handed to the kernel and not completed, cancels left out.
    in_flight: usize,
    enabled: bool,
    /// One receive brings many packets (kernels from 6.0 on).
    multishot: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring without operations.
    ///
    /// # Errors
    /// As the kernel says: ENOSYS or EPERM where io_uring is forbidden, ENOMEM beyond RLIMIT_MEMLOCK (before 5.12),
    /// EINVAL where it cannot do what is needed (before 5.19), EMFILE.
    pub(in crate::transport) fn new() -> io::Result<Self> {
        let ring = build()?;
        let probed = ring.params();
        if !probed.is_feature_nodrop()
            || !probed.is_feature_ext_arg()
            || !probed.is_feature_fast_poll()
        {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut buffers = Buffers::new()?;
        buffers.register(&ring.submitter())?;
        // Blocking, so that a read of it waits instead of failing; a write would wait only after 2^64 of them.
        let eventfd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let mut ring = Self {
            ring,
            buffers: Some(buffers),
            flights: BTreeMap::new(),
            eventfd,
            count: Box::new(0),
            queued: VecDeque::new(),
            in_flight: 0,
            enabled: false,
            multishot: true,
        };
        ring.listen_to_eventfd();
        Ok(ring)
    }

    /// What a write to wakes the thread that waits in [`Ring::enter`].
    pub(in crate::transport) fn eventfd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.eventfd)
    }

    fn listen_to_eventfd(&mut self) {
        let place = (&raw mut *self.count).cast::<u8>();
        let read = opcode::Read::new(types::Fd(self.eventfd.as_raw_fd()), place, 8).build();
        self.queue(read, number(Kind::Wake, 0));
    }

    fn queue(&mut self, entry: squeue::Entry, number: u64) {
        self.queued.push_back(entry.user_data(number));
    }

    /// One receive brings one packet from now on, as on kernels before 6.0.
    pub(in crate::transport) fn single_shot(&mut self) {
        self.multishot = false;
    }

    pub(in crate::transport) fn is_multishot(&self) -> bool {
        self.multishot
    }

    /// Reads a socket into the ring's buffers.
    pub(in crate::transport) fn receive(&mut self, key: usize, fd: BorrowedFd<'_>) {
        let fd = types::Fd(fd.as_raw_fd());
        let entry = if self.multishot {
            opcode::RecvMulti::new(fd, GROUP).build()
        } else {
            opcode::Recv::new(fd, std::ptr::null_mut(), SIZE)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        };
        self.queue(entry, number(Kind::Receive, key));
    }

    /// Sends what was lent. One at a time for each key.
    pub(in crate::transport) fn send(&mut self, key: usize, fd: BorrowedFd<'_>, lent: Lent) {
        let (flight, number) = (Flight::new(lent), number(Kind::Send, key));
        self.queue(flight.entry(fd.as_raw_fd()), number);
        self.flights.insert(number, flight);
    }

    /// Tells of the end or an error of a socket that is not read, as often as its state changes.
    pub(in crate::transport) fn watch(&mut self, key: usize, fd: BorrowedFd<'_>) {
        // POLLERR and POLLHUP are always told of.
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), 0).multi(true).build();
        self.queue(entry, number(Kind::Watch, key));
    }

    /// Tells once when a listener has connections.
    pub(in crate::transport) fn watch_listener(&mut self, key: usize, fd: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), POLLIN).build();
        self.queue(entry, number(Kind::Watch, key));
    }

    /// Tells of each write to an eventfd, until it is cancelled or says that it goes on no more.
    pub(in crate::transport) fn watch_eventfd(&mut self, key: usize, fd: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), POLLIN).multi(true).build();
        self.queue(entry, number(Kind::Watch, key));
    }

    /// Takes one connection of a listener.
    pub(in crate::transport) fn accept(&mut self, key: usize, fd: BorrowedFd<'_>) {
        let (fd, none) = (types::Fd(fd.as_raw_fd()), std::ptr::null_mut());
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let entry = opcode::Accept::new(fd, none, none.cast()).flags(flags).build();
        self.queue(entry, number(Kind::Accept, key));
    }

    /// Ends an operation; it completes as the others do, with what it has done by then.
    pub(in crate::transport) fn cancel(&mut self, kind: Kind, key: usize) {
        let entry = opcode::AsyncCancel::new(number(kind, key)).build();
        self.queue(entry, number(Kind::Cancel, key));
    }

    /// The bytes of a filled buffer.
    pub(in crate::transport) fn bytes(&self, filled: &Filled) -> &[u8] {
        self.buffers.as_ref().map(|b| b.bytes(filled)).unwrap_or_default()
    }

    /// Lets the kernel fill a buffer again.
    pub(in crate::transport) fn give_back(&mut self, filled: Filled) {
        if let Some(buffers) = &mut self.buffers {
            buffers.give_back(filled);
        }
    }

    /// Hands over what is queued and, unless something has completed by then, waits for it (`None`: for ever). No
    /// system call if nothing is queued, the time is zero and the kernel has nothing for us.
    ///
    /// # Errors
    /// If the ring is broken, or belongs to another thread.
    pub(in crate::transport) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        loop {
            self.fill();
            let entered = if self.queued.is_empty() { self.sleep(timeout) } else { self.go(0) };
            match entered {
                Ok(()) if self.queued.is_empty() => return Ok(()),
                Ok(()) => {}
                Err(e) => match e.raw_os_error() {
                    Some(libc::ETIME | libc::EINTR) => return Ok(()),
                    // Completions have to be taken first.
                    Some(libc::EBUSY) => return Ok(()),
                    Some(libc::EAGAIN | libc::ENOMEM) => {
                        std::thread::sleep(SHORT_OF_MEMORY);
                        return Ok(());
                    }
                    _ => return Err(e),
                },
            }
        }
    }

    /// Moves what is queued to where the kernel takes it from.
    fn fill(&mut self) {
        let mut submission = self.ring.submission();
        while let Some(entry) = self.queued.front() {
            // SAFETY: what the operation reads or writes belongs to this object (flights, buffers, count) and is kept
            // until it has completed; the descriptor is that of a socket whose owner waits for its operations.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            if entry.get_user_data() & ((1 << KIND_BITS) - 1) != Kind::Cancel as u64 {
                self.in_flight += 1;
            }
            self.queued.pop_front();
        }
    }

    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match timeout {
            None => self.go(1),
            Some(Duration::ZERO) => {
                let submission = self.ring.submission();
                let idle =
                    submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
                drop(submission);
                if idle { Ok(()) } else { self.go(0) }
            }
            Some(time) => {
                let time = types::Timespec::from(time);
                let args = types::SubmitArgs::new().timespec(&time);
                self.ring.submitter().submit_with_args(1, &args).map(drop)
            }
        }
    }

    fn go(&mut self, want: u32) -> io::Result<()> {
        let submit = u32::try_from(self.ring.submission().len()).unwrap_or(SUBMISSIONS);
        // SAFETY: no argument is given, and `submit` entries are there.
        unsafe {
            self.ring.submitter().enter::<libc::sigset_t>(submit, want, GET_EVENTS, None)?;
        }
        Ok(())
    }

    /// The next thing that the kernel has done.
    pub(in crate::transport) fn next(&mut self) -> Option<Done> {
        let entry = self.ring.completion().next()?;
        let (raw, flags, more) = (entry.user_data(), entry.flags(), cqueue::more(entry.flags()));
        let key = usize::try_from(raw >> KIND_BITS).unwrap_or(0);
        let result = match usize::try_from(entry.result()) {
            Ok(n) => Ok(n),
            Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
        };
        let kind = usize::try_from(raw & ((1 << KIND_BITS) - 1)).unwrap_or(0);
        let kind = KINDS.get(kind).copied().unwrap_or(Kind::Cancel);
        if kind != Kind::Cancel && !more {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        Some(match kind {
            Kind::Wake => {
                if result.is_ok() {
                    self.listen_to_eventfd();
                }
                Done::Woken
            }
            Kind::Receive => {
                let filled = cqueue::buffer_select(flags)
                    .and_then(|id| Buffers::filled(id, *result.as_ref().unwrap_or(&0)));
                let result = match result {
                    Ok(0) | Err(_) => {
                        if let Some(filled) = filled {
                            self.give_back(filled);
                        }
                        result.map(|_| None)
                    }
                    Ok(_) => Ok(filled),
                };
                Done::Received { key, result, more }
            }
            Kind::Send => {
                let lent = self.flights.remove(&raw).map(|flight| flight.land());
                Done::Sent { key, lent, result }
            }
            Kind::Watch => {
                let result = result.map(|events| u32::try_from(events).unwrap_or(0));
                Done::Watched { key, result, more }
            }
            Kind::Accept => {
                let result = result.and_then(|fd| {
                    let fd = i32::try_from(fd).map_err(io::Error::other)?;
                    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
                    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
                });
                Done::Accepted { key, result }
            }
            Kind::Cancel => Done::Other,
        })
    }
}

impl Drop for Ring {
    /// Waits until the kernel has let go of all memory; what it does not let go of is never freed.
    fn drop(&mut self) {
        self.queued.clear();
        let deadline = Instant::now() + END_TIME;
        let mut entered = Ok(());
        if self.in_flight > 0 {
            let all = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
            self.queue(all, number(Kind::Cancel, 0));
        }
        while self.in_flight > 0 && entered.is_ok() && Instant::now() < deadline {
            entered = self.enter(Some(Duration::from_millis(50)));
            // Whatever arrives now is dropped: connections are closed, buffers are not used again.
            while self.next().is_some() {}
            self.queued.clear();
        }
        if self.in_flight > 0 {
            tracing::error!(
                operations = self.in_flight,
                ?entered,
                "io_uring did not end; its memory is not freed"
            );
            std::mem::forget(self.buffers.take());
            std::mem::forget(std::mem::take(&mut self.flights));
            std::mem::forget(std::mem::take(&mut self.count));
        }
    }
}

/// Asks for what saves work, and for less where the kernel does not know it.
fn build() -> io::Result<IoUring> {
    let mut refused = None;
    for level in 0..3 {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETIONS).setup_clamp().setup_submit_all().setup_r_disabled();
        match level {
            // 6.1: completions are made when we ask, by the one thread that may.
            0 => builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag(),
            // 5.19: … when we are in the kernel anyway.
            1 => builder.setup_coop_taskrun().setup_taskrun_flag(),
            _ => &mut builder,
        };
        match builder.build(SUBMISSIONS) {
            Ok(ring) => return Ok(ring),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => refused = Some(e),
            Err(e) => return Err(e),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL)))
}

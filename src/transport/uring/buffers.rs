//! Buffers that the kernel fills: a ring of them in memory that both sides map, taken in turn by whichever socket has
//! bytes. So a thousand idle sockets need no buffer of their own.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Buffers of one reactor. A power of two.
pub(in crate::transport) const COUNT: u16 = 16;
/// Bytes of a buffer; most of what clients send is far smaller. Untouched ones take no memory.
pub(in crate::transport) const SIZE: u32 = 4096;
/// Their group; there is one for each ring.
pub(super) const GROUP: u16 = 0;
/// The table of the ring lies before the buffers, on memory of its own: the largest page that Linux has.
const TABLE: usize = 64 * 1024;
const LEN: usize = TABLE + COUNT as usize * SIZE as usize;

/// A buffer with bytes of a peer. Has to be given back with [`Buffers::give_back`].
#[derive(Debug)]
#[must_use]
pub(in crate::transport) struct Filled {
    id: u16,
    len: usize,
}

/// The buffers of one ring.
#[derive(Debug)]
pub(super) struct Buffers {
    /// `LEN` bytes of our own mapping: the table, then the buffers.
    base: NonNull<u8>,
    /// Entries that were ever handed to the kernel; the table is used in turn.
    tail: u16,
}

// SAFETY: the mapping belongs to this object alone; addresses are valid on every thread.
unsafe impl Send for Buffers {}

impl Buffers {
    /// Maps the buffers.
    ///
    /// # Errors
    /// If there is no memory.
    pub(super) fn new() -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), LEN, protection, flags, -1, 0) };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { base, tail: 0 }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Gives all buffers to a ring.
    ///
    /// # Errors
    /// If the kernel has no buffer rings (before 5.19).
    pub(super) fn register(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        let table = self.base.as_ptr() as u64;
        // SAFETY: the table is page-aligned memory with room for COUNT entries, and stays mapped until the ring is
        // closed, or for ever (see `Ring::drop`).
        unsafe { submitter.register_buf_ring_with_flags(table, COUNT, GROUP, 0) }?;
        (0..COUNT).for_each(|id| self.offer(id));
        Ok(())
    }

    /// What the kernel says of a completion: buffer `id` has `len` bytes. `None` for a buffer that does not exist.
    pub(super) fn filled(id: u16, len: usize) -> Option<Filled> {
        (id < COUNT).then_some(Filled { id, len: len.min(SIZE as usize) })
    }

    /// The bytes of a filled buffer.
    pub(super) fn bytes(&self, filled: &Filled) -> &[u8] {
        let at = TABLE + usize::from(filled.id) * SIZE as usize;
        // SAFETY: a filled buffer's id is below COUNT, so this lies within the mapping.
        let start = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: the kernel wrote these bytes and leaves the buffer alone until it is offered again, which takes
        // the token by value and this object mutably; fresh mappings are zeroes, so all are initialized.
        unsafe { std::slice::from_raw_parts(start, filled.len) }
    }

    /// Lets the kernel fill a buffer again.
    pub(super) fn give_back(&mut self, filled: Filled) {
        self.offer(filled.id);
    }

    fn offer(&mut self, id: u16) {
        let at = usize::from(self.tail % COUNT);
        let buffer = self.base.as_ptr() as u64 + (TABLE + usize::from(id) * SIZE as usize) as u64;
        let table = self.base.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `at` is below COUNT, and the table has COUNT entries.
        let place = unsafe { table.add(at) };
        // SAFETY: no more than COUNT buffers exist, so the kernel has taken what stood at this place before; it reads
        // the entry only once the tail says so. All bits are valid for an entry.
        let entry = unsafe { &mut *place };
        entry.set_addr(buffer);
        entry.set_len(SIZE);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the table is there, and its first entry is initialized (zeroes at least).
        let tail = unsafe { BufRingEntry::tail(table) };
        // SAFETY: the tail is an aligned 16-bit number inside the mapping that only we write and the kernel reads.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length. No operation that could fill a buffer is under way: `Ring` waits
        // for them, or never drops this.
        unsafe { libc::munmap(self.base.as_ptr().cast(), LEN) };
    }
}

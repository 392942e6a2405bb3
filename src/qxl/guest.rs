//! A checked piece of guest memory, and the only way to read or write it: by copying.
//!
//! Belongs to thread display-N, which is why [`GuestRange`] is not `Send`.
//!
//! The guest's processors and the host's other threads may change these bytes at any moment, so a
//! Rust reference over them would promise the compiler something false.
//! Nothing here hands one out: bytes move between a raw pointer and private memory and every
//! decision is taken on the private copy.
//! The copy is `ptr::copy` (the C library's `memmove`), because element-wise atomic loads would cost an order of
//! magnitude on megabytes of pixels.
//! By the letter that is a data race when the guest writes meanwhile; `memmove` is an opaque call that takes no decision on
//! the bytes it moves, so a race yields torn pixels and nothing else.
//! This is the compromise that virtual machine monitors generally accept.
//! It overlaps safely, because the host's own slot may name any address of the process, ours too.

use std::collections::TryReserveError;
use std::ptr;

/// An address in the host's process that belongs to guest memory.
///
/// Just a number for the host's callback; only the C edge turns it into a pointer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostAddress(pub usize);

/// Why bytes of a range could not be moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// The access does not lie inside the range.
    #[error("{len} bytes at {offset} of a guest range of {have}")]
    OutOfRange {
        /// First byte of the access.
        offset: usize,
        /// Bytes of the access.
        len: usize,
        /// Bytes of the range.
        have: usize,
    },
    /// The range is longer than the caller wants to copy.
    #[error("guest range of {have} bytes, limit {limit}")]
    OverLimit {
        /// Bytes of the range.
        have: usize,
        /// Bytes the caller allows.
        limit: usize,
    },
    /// No private memory for the copy.
    #[error("no memory for a copy: {0}")]
    NoMemory(#[from] TryReserveError),
}

/// A validated range of guest memory, never empty.
///
/// Made only by [`MemSlots`](super::memslot::MemSlots).
/// Valid until its memory slot is deleted, overwritten or reset: whoever keeps one (a surface)
/// gives it up in the calls that precede a slot change, as the host's reset order provides.
#[derive(Debug, Clone, Copy)]
pub struct GuestRange {
    /// First byte; `start .. start + len` is mapped as `MemSlot::new` was promised, and does not
    /// wrap. The raw pointer keeps the type off other threads.
    start: *mut u8,
    /// At least 1, at most `isize::MAX`.
    len: usize,
}

impl GuestRange {
    /// A range from a checked host address.
    ///
    /// # Safety
    /// - `host .. host + len` is mapped, readable and writable while the range is used (by copying,
    ///   from any number of threads and by the guest at the same time).
    /// - `len` is 1..=`isize::MAX` and `host + len` does not wrap.
    pub(super) unsafe fn new(host: usize, len: usize) -> Self {
        // The address came as a number, from the host through C or out of guest memory.
        Self { start: ptr::with_exposed_provenance_mut(host), len }
    }

    /// Bytes in the range, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the range starts, for the host's release callback.
    #[must_use]
    pub fn host_address(&self) -> HostAddress {
        HostAddress(self.start.expose_provenance())
    }

    /// The first byte, for the canvas target, which draws into surfaces.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// The first `len` bytes, or the whole range if it is shorter; at least one byte.
    #[must_use]
    pub fn prefix(&self, len: usize) -> Self {
        Self { start: self.start, len: len.clamp(1, self.len) }
    }

    /// Copies `out.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// [`GuestError::OutOfRange`]; `out` is untouched then.
    pub fn read_into(&self, offset: usize, out: &mut [u8]) -> Result<(), GuestError> {
        let from = self.at(offset, out.len())?;
        // SAFETY: `at` checked that `out.len()` bytes from `from` lie in the range, which is
        // readable by its invariant; `out` is exclusively ours.
        unsafe { ptr::copy(from, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Copies the whole range to the end of `out`.
    ///
    /// # Errors
    /// [`GuestError::NoMemory`]; `out` is unchanged then.
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), GuestError> {
        out.try_reserve(self.len)?;
        let spare = out.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: the whole range is readable by its invariant; `try_reserve` made room for `len`
        // bytes behind the vector's end.
        unsafe { ptr::copy(self.start, spare, self.len) };
        let len = out.len() + self.len;
        // SAFETY: capacity was reserved and the bytes up to `len` were just written.
        unsafe { out.set_len(len) };
        Ok(())
    }

    /// A private copy of the whole range.
    ///
    /// # Errors
    /// [`GuestError::OverLimit`] beyond `limit` bytes, [`GuestError::NoMemory`].
    pub fn to_vec(&self, limit: usize) -> Result<Vec<u8>, GuestError> {
        if self.len > limit {
            return Err(GuestError::OverLimit { have: self.len, limit });
        }
        let mut out = Vec::new();
        out.try_reserve_exact(self.len)?;
        self.append_to(&mut out)?;
        Ok(out)
    }

    /// The bytes before the first zero byte; `None` if the range has none.
    ///
    /// Reads one byte at a time and nothing behind the zero: in the host's slot, which spans the
    /// whole address space, the text may end just before memory that is not mapped.
    #[must_use]
    pub fn text(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for offset in 0..self.len {
            let mut byte = [0];
            self.read_into(offset, &mut byte).ok()?;
            if byte == [0] {
                return Some(out);
            }
            out.push(byte[0]);
        }
        None
    }

    /// Copies `bytes` into the range from `offset` on.
    ///
    /// # Errors
    /// [`GuestError::OutOfRange`]; nothing is written then.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), GuestError> {
        let to = self.at(offset, bytes.len())?;
        // SAFETY: `at` checked that the bytes fit into the range, which is writable by its
        // invariant.
        unsafe { ptr::copy(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Sets every byte of the range.
    pub fn fill(&self, value: u8) {
        // SAFETY: the whole range is writable by its invariant.
        unsafe { ptr::write_bytes(self.start, value, self.len) };
    }

    /// The address of `offset` after checking that `len` bytes from there lie inside.
    fn at(&self, offset: usize, len: usize) -> Result<*mut u8, GuestError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.start.wrapping_add(offset)),
            _ => Err(GuestError::OutOfRange { offset, len, have: self.len }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(bytes: &mut [u8]) -> GuestRange {
        let host = bytes.as_mut_ptr().expose_provenance();
        // SAFETY: the tests keep `bytes` alive and unborrowed while the range is used.
        unsafe { GuestRange::new(host, bytes.len()) }
    }

    #[test]
    fn reads_copy_exactly_what_was_asked() {
        let mut ram = *b"0123456789";
        let range = range(&mut ram);
        let mut out = [0; 4];
        range.read_into(6, &mut out).unwrap();
        assert_eq!(&out, b"6789");
        assert_eq!(range.to_vec(10).unwrap(), b"0123456789");
        let mut more = b"x".to_vec();
        range.append_to(&mut more).unwrap();
        assert_eq!(more, b"x0123456789");
    }

    #[test]
    fn accesses_over_the_end_are_refused() {
        let mut ram = [0; 10];
        let range = range(&mut ram);
        for (offset, len) in [(0, 11), (10, 1), (9, 2), (usize::MAX, 1), (usize::MAX, 10)] {
            let mut out = vec![0; len];
            let error = GuestError::OutOfRange { offset, len, have: 10 };
            assert_eq!(range.read_into(offset, &mut out), Err(error.clone()));
            assert_eq!(range.write(offset, &out), Err(error));
        }
        assert_eq!(range.read_into(10, &mut []), Ok(()));
        assert_eq!(range.to_vec(9), Err(GuestError::OverLimit { have: 10, limit: 9 }));
    }

    #[test]
    fn writes_land_where_they_should() {
        let mut ram = [b'.'; 6];
        let range = range(&mut ram);
        range.write(2, b"ab").unwrap();
        assert_eq!(range.to_vec(6).unwrap(), b"..ab..");
        range.fill(7);
        assert_eq!(range.to_vec(6).unwrap(), [7; 6]);
    }

    #[test]
    fn text_ends_at_the_first_zero_and_needs_one() {
        let mut with = *b"hi\0there\0";
        assert_eq!(range(&mut with).text(), Some(b"hi".to_vec()));
        let mut without = *b"hello";
        assert_eq!(range(&mut without).text(), None);
    }
}

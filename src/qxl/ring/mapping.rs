//! Memory that another process gave us and still has: mapped whole, read and written by copies and atomics only.
//!
//! The other process may write anything at any time, and die; it cannot take pages away, which would be a signal for
//! us at the next access. So only files are taken that can never shrink again (F_SEAL_SHRINK), and no huge pages:
//! the other side can punch holes into those, and a hole is filled again only if the system has a huge page left.

use std::os::fd::OwnedFd;
use std::ptr;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat, fstatfs};

use super::AttachError;
use crate::qxl::guest::HostAddress;
use crate::qxl::memslot::MemSlot;
use crate::sync::primitives::AtomicU32;

/// File system type of huge pages, `HUGETLBFS_MAGIC` of the kernel.
const HUGETLBFS: u64 = 0x9584_58f6;

/// A mapped file. Any thread may use it; it is unmapped when the last owner is gone.
#[derive(Debug)]
pub struct Mapping {
    map: MmapRaw,
}

impl Mapping {
    /// Maps the first `size` bytes for reading and writing. Children of the process do not inherit the mapping.
    ///
    /// # Errors
    /// [`AttachError`] for a file that may shrink, is too short or has huge pages, or if the kernel does not map it.
    pub fn new(file: &OwnedFd, size: u64) -> Result<Self, AttachError> {
        let sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !sealed {
            return Err(AttachError::MayShrink);
        }
        let len = isize::try_from(size).map_err(|_| AttachError::Size(size))?.unsigned_abs();
        let has = fstat(file).map_err(|e| AttachError::Map(e.into()))?.st_size;
        if len == 0 || u64::try_from(has).unwrap_or(0) < size {
            return Err(AttachError::Size(size));
        }
        let kind = fstatfs(file).map_err(|e| AttachError::Map(e.into()))?.f_type;
        if u64::try_from(kind).is_ok_and(|kind| kind == HUGETLBFS) {
            return Err(AttachError::HugePages);
        }
        let map = MmapOptions::new().len(len).map_raw(file).map_err(AttachError::Map)?;
        map.advise(Advice::DontFork).map_err(AttachError::Map)?;
        Ok(Self { map })
    }

    /// Mapped bytes, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Where a host address lies, if `len` bytes from there are mapped here.
    #[must_use]
    pub fn offset_of(&self, address: HostAddress, len: usize) -> Option<usize> {
        let offset = address.0.checked_sub(self.map.as_mut_ptr().expose_provenance())?;
        self.holds(offset, len).then_some(offset)
    }

    fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.map.len())
    }

    /// A word that both sides read and write. `None` outside, or if it is not aligned.
    #[must_use]
    pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
        if !self.holds(offset, size_of::<u32>()) || !offset.is_multiple_of(align_of::<AtomicU32>())
        {
            return None;
        }
        let word = self.map.as_mut_ptr().wrapping_add(offset).cast::<u32>();
        // SAFETY: mapped as long as `self` lives, and aligned: mappings begin at a page. All other accesses of this
        // process to ring words are atomic; what the other process does is an access of the machine's.
        Some(unsafe { AtomicU32::from_ptr(word) })
    }

    /// Reads 8 bytes that need not be aligned. 0 outside.
    #[must_use]
    pub fn read_u64(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        if self.holds(offset, bytes.len()) {
            let from = self.map.as_mut_ptr().wrapping_add(offset);
            // SAFETY: mapped, see `holds`; the array is ours.
            unsafe { ptr::copy(from, bytes.as_mut_ptr(), bytes.len()) };
        }
        u64::from_le_bytes(bytes)
    }

    /// Writes 8 bytes that need not be aligned. Nothing outside.
    pub fn write_u64(&self, offset: usize, value: u64) {
        let bytes = value.to_le_bytes();
        if self.holds(offset, bytes.len()) {
            let to = self.map.as_mut_ptr().wrapping_add(offset);
            // SAFETY: mapped for writing, see `holds`; nobody has a reference into the mapping but atomics, which are
            // for ring words only.
            unsafe { ptr::copy(bytes.as_ptr(), to, bytes.len()) };
        }
    }

    /// A memory slot over a part of this mapping. `None` if the part is empty or not inside.
    ///
    /// Whoever registers it keeps the mapping until the slot is reset and nothing made from it is used any more.
    #[must_use]
    pub fn slot(&self, group: u32, slot: &super::RingSlot) -> Option<MemSlot> {
        let offset = usize::try_from(slot.offset).ok()?;
        let len = usize::try_from(slot.size).ok().filter(|len| *len > 0)?;
        if !self.holds(offset, len) {
            return None;
        }
        let start = (self.map.as_mut_ptr().expose_provenance() as u64).checked_add(slot.offset)?;
        let delta = start.wrapping_sub(slot.guest_start);
        // SAFETY: the bytes are mapped for reading and writing as long as `self` lives, which the ring device that owns
        // the mapping sees to: it is dropped after its slots were reset and its surfaces ended.
        Some(unsafe {
            MemSlot::new(group, slot.id, slot.generation, start, start + slot.size, delta)
        })
    }
}

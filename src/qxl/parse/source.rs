//! Where the parts of one command are copied from, and how much it may still bring.

use super::Limits;
use super::error::Reason;
use crate::protocol::blocks;
use crate::protocol::wire::Reader;
use crate::qxl::guest::{GuestError, GuestRange};
use crate::qxl::memslot::{AddressError, MemSlots};

/// Most bytes that a chain of chunks may have by the rules of the device.
const MAX_CHAIN: u64 = 0x7fff_ffff;

/// Bytes of a chunk's header: size u32, previous u64, next u64.
pub(super) const CHUNK_HEADER: usize = 4 + 8 + 8;

/// Guest memory as one command sees it.
///
/// Bytes and chunks are counted over the whole command: an image, a pattern, a mask and a clip
/// together stay below its limits.
pub(super) struct Source<'a> {
    slots: &'a MemSlots,
    group: u32,
    limits: &'a Limits,
    bytes_left: usize,
    chunks_left: u32,
}

/// Bytes in pieces; every header was read and checked, no data yet.
pub(super) struct Chunks {
    part: &'static str,
    ranges: Vec<GuestRange>,
    total: u64,
}

impl<'a> Source<'a> {
    pub fn new(slots: &'a MemSlots, group: u32, limits: &'a Limits) -> Self {
        Self { slots, group, limits, bytes_left: limits.bytes, chunks_left: limits.chunks }
    }

    /// What the command may bring.
    pub fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// Bytes that the command may still bring.
    pub fn bytes_left(&self) -> usize {
        self.bytes_left
    }

    /// A surface id, if the device has so many surfaces.
    pub fn surface_id(&self, part: &'static str, id: u32) -> Result<u32, Reason> {
        let surfaces = self.limits.surfaces;
        if id < surfaces { Ok(id) } else { Err(Reason::SurfaceId { part, id, surfaces }) }
    }

    /// A checked range; nothing is copied.
    pub fn range(&self, part: &'static str, addr: u64, len: u64) -> Result<GuestRange, Reason> {
        self.slots.resolve(addr, self.group, len).map_err(|cause| Reason::Address { part, cause })
    }

    /// A checked range of 1..=`max` bytes that lie `skip` bytes behind `addr`.
    pub fn range_up_to(
        &self,
        part: &'static str,
        addr: u64,
        skip: u64,
        max: u64,
    ) -> Result<GuestRange, Reason> {
        self.slots
            .resolve_up_to(addr, self.group, skip, max)
            .map_err(|cause| Reason::Address { part, cause })
    }

    /// A fixed structure, copied in one go so that no field is ever read twice.
    pub fn fetch<const N: usize>(
        &self,
        part: &'static str,
        addr: u64,
        skip: u64,
    ) -> Result<[u8; N], Reason> {
        self.slots
            .resolve_after(addr, self.group, skip, N as u64)
            .map_err(|cause| Reason::Address { part, cause })
            .and_then(|range| copy(part, &range))
    }

    /// `len` contiguous bytes, `skip` bytes behind `addr`, counted and copied.
    pub fn bytes(
        &mut self,
        part: &'static str,
        addr: u64,
        skip: u64,
        len: u64,
    ) -> Result<Vec<u8>, Reason> {
        let range = self
            .slots
            .resolve_after(addr, self.group, skip, len)
            .map_err(|cause| Reason::Address { part, cause })?;
        self.spend(part, len)?;
        let no_memory = |e| Reason::Copy { part, cause: GuestError::NoMemory(e) };
        let mut out = blocks::take(range.len()).map_err(no_memory)?;
        range.append_to(&mut out).map_err(|cause| Reason::Copy { part, cause })?;
        Ok(out)
    }

    /// The chain of chunks whose first header was copied with its container and whose first data
    /// lies `data_at` bytes behind the container's address.
    ///
    /// The first chunk is checked in the container's slot, each further one in its own. The way
    /// back (`prev_chunk`) is ignored. A circle ends at the limit of chunks.
    pub fn chunks(
        &mut self,
        part: &'static str,
        container: u64,
        data_at: usize,
        first: &mut Reader<'_>,
    ) -> Result<Chunks, Reason> {
        let mut chunks = Chunks { part, ranges: Vec::new(), total: 0 };
        let (mut at, mut skip) = (container, data_at as u64);
        let (mut size, mut next) = chunk_header(first)?;
        loop {
            self.chunks_left = self
                .chunks_left
                .checked_sub(1)
                .ok_or(Reason::TooManyChunks { part, limit: self.limits.chunks })?;
            if size > 0 {
                chunks.total += u64::from(size);
                self.affordable(part, chunks.total)?;
                let range = self
                    .slots
                    .resolve_after(at, self.group, skip, size.into())
                    .map_err(|cause| Reason::Address { part, cause })?;
                chunks
                    .ranges
                    .try_reserve(1)
                    .map_err(|e| Reason::Copy { part, cause: GuestError::NoMemory(e) })?;
                chunks.ranges.push(range);
            }
            if next == 0 {
                return Ok(chunks);
            }
            (at, skip) = (next, CHUNK_HEADER as u64);
            let header = self.fetch::<CHUNK_HEADER>(part, next, 0)?;
            (size, next) = chunk_header(&mut Reader::new(&header))?;
        }
    }

    /// The bytes of a chain, which must be exactly `need`.
    pub fn copy_all(&mut self, chunks: &Chunks, need: u64) -> Result<Vec<u8>, Reason> {
        if chunks.total != need {
            return Err(Reason::DataSize { part: chunks.part, have: chunks.total, need });
        }
        self.copy_first(chunks, need)
    }

    /// The first `need` bytes of a chain that has at least as many.
    pub fn copy_first(&mut self, chunks: &Chunks, need: u64) -> Result<Vec<u8>, Reason> {
        let part = chunks.part;
        self.spend(part, need)?;
        let mut left = usize::try_from(need).unwrap_or(usize::MAX);
        let mut out = blocks::take(left)
            .map_err(|e| Reason::Copy { part, cause: GuestError::NoMemory(e) })?;
        for range in &chunks.ranges {
            if left == 0 {
                break;
            }
            let piece = range.prefix(left);
            piece.append_to(&mut out).map_err(|cause| Reason::Copy { part, cause })?;
            left -= piece.len();
        }
        if left > 0 {
            return Err(Reason::DataSize { part, have: chunks.total, need });
        }
        Ok(out)
    }

    /// Counts bytes that are about to be copied, or that stand for others.
    pub fn spend(&mut self, part: &'static str, bytes: u64) -> Result<(), Reason> {
        self.affordable(part, bytes)?;
        self.bytes_left -= usize::try_from(bytes).unwrap_or(self.bytes_left);
        Ok(())
    }

    /// Whether the command may bring so many more bytes.
    fn affordable(&self, part: &'static str, bytes: u64) -> Result<(), Reason> {
        let left = (self.bytes_left as u64).min(MAX_CHAIN);
        if bytes > left { Err(Reason::TooMuchData { part, bytes, left }) } else { Ok(()) }
    }
}

impl Chunks {
    /// Bytes of all chunks together.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// A private copy of a range that is exactly `N` bytes long.
pub(super) fn copy<const N: usize>(
    part: &'static str,
    range: &GuestRange,
) -> Result<[u8; N], Reason> {
    let mut out = [0; N];
    range.read_into(0, &mut out).map_err(|cause| Reason::Copy { part, cause })?;
    Ok(out)
}

/// Size and address of the next chunk.
fn chunk_header(header: &mut Reader<'_>) -> Result<(u32, u64), Reason> {
    let size = header.u32()?;
    let _previous = header.u64()?;
    Ok((size, header.u64()?))
}

/// For callers that hold no command: the header of a structure at an address.
pub(super) fn fetch<const N: usize>(
    slots: &MemSlots,
    addr: u64,
    group: u32,
) -> Result<[u8; N], AddressError> {
    let range = slots.resolve(addr, group, N as u64)?;
    let mut out = [0; N];
    // The range has exactly the length of the array.
    let _ = range.read_into(0, &mut out);
    Ok(out)
}

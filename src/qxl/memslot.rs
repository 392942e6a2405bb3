//! Memory slots: from the guest's addresses to checked host memory.
//!
//! Belongs to thread display-N; slot calls of the host arrive there as messages.
//! Every address is translated once, while its command is parsed, and never again: slots may
//! change while the command waits.
//! The arithmetic is checked throughout and its boundaries are property-tested, because this is
//! where an error of one byte or one slot reads the hypervisor's own memory (CVE-2019-3813).

use super::guest::GuestRange;

/// No host maps the first page; an address there is a null pointer plus an offset.
const FIRST_PAGE: u64 = 4096;

/// More slots than any host registers (QEMU has 2 groups of 8); bounds the table.
const MAX_SLOTS: u64 = 65_536;

/// Why an address does not lead to guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The group does not exist.
    #[error("slot group {group}, have {groups}")]
    NoGroup {
        /// Group of the access.
        group: u32,
        /// Number of groups.
        groups: u32,
    },
    /// The slot does not exist.
    #[error("slot {slot}, have {slots}")]
    NoSlot {
        /// Slot of the address.
        slot: u64,
        /// Number of slots per group.
        slots: u32,
    },
    /// The address is of another life of its slot.
    #[error("generation {found} in slot {slot} of generation {expected}")]
    Generation {
        /// Slot of the address.
        slot: u64,
        /// Generation in the address.
        found: u64,
        /// Generation of the slot.
        expected: u32,
    },
    /// The bytes do not lie in the slot's memory.
    #[error("{len} bytes at {addr:#x} leave slot {slot}")]
    Outside {
        /// The guest's address.
        addr: u64,
        /// Bytes of the access.
        len: u64,
        /// Slot of the address.
        slot: u64,
    },
    /// Nothing was asked for.
    #[error("access of 0 bytes at {0:#x}")]
    Empty(u64),
    /// The address leads to the host's first page.
    #[error("null address {0:#x}")]
    Null(u64),
}

/// Why a slot table or a slot was refused: the host's mistake, harmless here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Generation and slot number leave no bit for an offset.
    #[error("{id_bits} bits of slot and {gen_bits} of generation leave no offset")]
    Bits {
        /// Bits of the slot number.
        id_bits: u8,
        /// Bits of the generation.
        gen_bits: u8,
    },
    /// The table would be too large.
    #[error("{groups} groups of {slots} slots, at most {MAX_SLOTS} together")]
    TooMany {
        /// Number of groups.
        groups: u32,
        /// Slots per group.
        slots: u32,
    },
    /// No such slot.
    #[error("slot {slot} of group {group}, have {slots} in {groups} groups")]
    NoSuchSlot {
        /// The group that was named.
        group: u32,
        /// The slot that was named.
        slot: u32,
        /// Number of groups.
        groups: u32,
        /// Slots per group.
        slots: u32,
    },
}

/// What the host registers with `spice_qxl_add_memslot` (`QXLDevMemSlot`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemSlot {
    group: u32,
    id: u32,
    record: Record,
}

impl MemSlot {
    /// A slot whose memory is `virt_start .. virt_end` of the host's process.
    ///
    /// `delta` is added, wrapping, to an address's offset to give a host address.
    ///
    /// # Safety
    /// - Every byte of `virt_start .. virt_end` is mapped, readable and writable until the slot was
    ///   deleted, overwritten or reset and all commands parsed before that are done with.
    /// - Or: the slot spans more (QEMU's host group spans the whole address space) and the host
    ///   itself makes the commands of this group, whose addresses it vouches for.
    #[must_use]
    pub unsafe fn new(
        group: u32,
        id: u32,
        generation: u32,
        virt_start: u64,
        virt_end: u64,
        delta: u64,
    ) -> Self {
        Self { group, id, record: Record { generation, start: virt_start, end: virt_end, delta } }
    }
}

/// One slot; all zero if never added or reset, `start == end == 0` if deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Record {
    generation: u32,
    start: u64,
    end: u64,
    delta: u64,
}

/// The memory slots of one QXL instance.
#[derive(Debug)]
pub struct MemSlots {
    groups: u32,
    slots: u32,
    gen_bits: u32,
    /// 64 − bits of the slot number − bits of the generation: at least 1.
    offset_bits: u32,
    /// `groups * slots` records, group by group.
    table: Vec<Record>,
}

impl MemSlots {
    /// An empty table as the host's `QXLDevInitInfo` describes it: QEMU has 2 groups of 8 slots and
    /// 8 bits each, Xspice 1 group of 8 with 8 bits of generation and 1 of slot.
    ///
    /// # Errors
    /// [`SlotError`] if the numbers make no sense.
    pub fn new(groups: u32, slots: u32, gen_bits: u8, id_bits: u8) -> Result<Self, SlotError> {
        let offset_bits = 64u32
            .checked_sub(u32::from(id_bits))
            .and_then(|bits| bits.checked_sub(u32::from(gen_bits)))
            .filter(|&bits| bits > 0)
            .ok_or(SlotError::Bits { id_bits, gen_bits })?;
        let too_many = SlotError::TooMany { groups, slots };
        let count = u64::from(groups) * u64::from(slots);
        if count > MAX_SLOTS {
            return Err(too_many);
        }
        let count = usize::try_from(count).map_err(|_| too_many)?;
        Ok(Self {
            groups,
            slots,
            gen_bits: gen_bits.into(),
            offset_bits,
            table: vec![Record::default(); count],
        })
    }

    /// Registers a slot; one that is in use is overwritten, as the reference does.
    ///
    /// # Errors
    /// [`SlotError::NoSuchSlot`]; nothing changed then.
    pub fn add(&mut self, slot: MemSlot) -> Result<(), SlotError> {
        *self.slot_mut(slot.group, slot.id)? = slot.record;
        Ok(())
    }

    /// Deletes a slot: it has no memory any more, but keeps generation and delta.
    ///
    /// Deletes exactly what was named. QEMU names group 0 where it means the guest's group; the
    /// guest's slot then stays until it is overwritten or reset, and that is relied upon.
    ///
    /// # Errors
    /// [`SlotError::NoSuchSlot`]; nothing changed then.
    pub fn delete(&mut self, group: u32, id: u32) -> Result<(), SlotError> {
        let record = self.slot_mut(group, id)?;
        record.start = 0;
        record.end = 0;
        Ok(())
    }

    /// Empties every slot of every group.
    pub fn reset(&mut self) {
        self.table.fill(Record::default());
    }

    /// Empties every slot of one group.
    pub fn reset_group(&mut self, group: u32) {
        let slots = self.slots as usize;
        let records =
            (group as usize).checked_mul(slots).and_then(|from| self.table.get_mut(from..));
        records.into_iter().flatten().take(slots).for_each(|record| *record = Record::default());
    }

    /// The guest's address of `offset` in a slot.
    #[must_use]
    pub fn address(&self, slot: u32, generation: u32, offset: u64) -> u64 {
        let high = |value: u32, bits: u32| u64::from(value).checked_shl(bits).unwrap_or(0);
        high(slot, self.offset_bits + self.gen_bits)
            | high(generation, self.offset_bits)
            | (offset & low_bits(self.offset_bits))
    }

    /// The memory of `len` bytes at the guest's address `addr` of `group`.
    ///
    /// # Errors
    /// [`AddressError`] unless every byte lies in the memory of the address's slot.
    pub fn resolve(&self, addr: u64, group: u32, len: u64) -> Result<GuestRange, AddressError> {
        self.resolve_after(addr, group, 0, len)
    }

    /// The memory of `len` bytes that lie `skip` bytes behind `addr`, in the slot of `addr`.
    ///
    /// For what follows a header: the sum never runs over into the slot number.
    ///
    /// # Errors
    /// [`AddressError`] unless every byte lies in the memory of the slot of `addr`.
    pub fn resolve_after(
        &self,
        addr: u64,
        group: u32,
        skip: u64,
        len: u64,
    ) -> Result<GuestRange, AddressError> {
        let (slot, record) = self.find(addr, group)?;
        let outside = AddressError::Outside { addr, len, slot };
        let host = self.host(addr, record).checked_add(skip).ok_or(outside)?;
        record.range(host, len, addr, slot)
    }

    /// As [`resolve`](Self::resolve), but no more than the slot has: 1..=`max` bytes.
    ///
    /// # Errors
    /// [`AddressError`] if not even one byte lies in the slot.
    pub fn resolve_up_to(
        &self,
        addr: u64,
        group: u32,
        skip: u64,
        max: u64,
    ) -> Result<GuestRange, AddressError> {
        let (slot, record) = self.find(addr, group)?;
        let outside = AddressError::Outside { addr, len: 1, slot };
        let host = self.host(addr, record).checked_add(skip).ok_or(outside)?;
        let len = record.end.saturating_sub(host).min(max);
        if len == 0 {
            return Err(outside);
        }
        record.range(host, len, addr, slot)
    }

    /// The slot of an address, after checking group, slot and generation.
    fn find(&self, addr: u64, group: u32) -> Result<(u64, &Record), AddressError> {
        if group >= self.groups {
            return Err(AddressError::NoGroup { group, groups: self.groups });
        }
        // A shift by 64, where there are no slot bits, gives slot 0.
        let slot = addr.checked_shr(self.offset_bits + self.gen_bits).unwrap_or(0);
        let no_slot = AddressError::NoSlot { slot, slots: self.slots };
        if slot >= u64::from(self.slots) {
            return Err(no_slot);
        }
        let index = u64::from(group) * u64::from(self.slots) + slot;
        let record =
            usize::try_from(index).ok().and_then(|index| self.table.get(index)).ok_or(no_slot)?;
        let found = addr.checked_shr(self.offset_bits).unwrap_or(0) & low_bits(self.gen_bits);
        if found != u64::from(record.generation) {
            return Err(AddressError::Generation { slot, found, expected: record.generation });
        }
        Ok((slot, record))
    }

    /// Where the record puts the address's offset in the host's process.
    fn host(&self, addr: u64, record: &Record) -> u64 {
        (addr & low_bits(self.offset_bits)).wrapping_add(record.delta)
    }

    /// The record of a slot that the host names.
    fn slot_mut(&mut self, group: u32, slot: u32) -> Result<&mut Record, SlotError> {
        let (groups, slots) = (self.groups, self.slots);
        let error = SlotError::NoSuchSlot { group, slot, groups, slots };
        if group >= groups || slot >= slots {
            return Err(error);
        }
        let index = u64::from(group) * u64::from(slots) + u64::from(slot);
        usize::try_from(index).ok().and_then(|index| self.table.get_mut(index)).ok_or(error)
    }
}

impl Record {
    /// `len` bytes at `host`, if they lie in this slot; `addr` and `slot` are for the error.
    fn range(&self, host: u64, len: u64, addr: u64, slot: u64) -> Result<GuestRange, AddressError> {
        if len == 0 {
            return Err(AddressError::Empty(addr));
        }
        let outside = AddressError::Outside { addr, len, slot };
        let end = host.checked_add(len).ok_or(outside)?;
        if host < self.start || end > self.end {
            return Err(outside);
        }
        if host < FIRST_PAGE {
            return Err(AddressError::Null(addr));
        }
        let host = usize::try_from(host).map_err(|_| outside)?;
        // Rust allows no object above isize::MAX; neither does any host.
        let len = isize::try_from(len).map_err(|_| outside)?.unsigned_abs();
        // SAFETY: the bytes lie inside the slot, whose memory `MemSlot::new` was promised; `end`
        // did not wrap and `len` is 1..=isize::MAX.
        Ok(unsafe { GuestRange::new(host, len) })
    }
}

/// A mask of the lowest `bits` bits; `bits` ≤ 64.
fn low_bits(bits: u32) -> u64 {
    1u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1)
}

/// Guest memory for the tests of this room.
#[cfg(test)]
pub(crate) mod testing {
    use super::{MemSlot, MemSlots};

    /// Group of the host: plain pointers, whole address space, as QEMU registers it.
    pub const HOST: u32 = 0;
    /// Group of the guest: slot 1 is the RAM, from offset 0 on.
    pub const GUEST: u32 = 1;

    /// RAM of a guest, with slots as QEMU has them and a bump allocator.
    ///
    /// The allocation is exactly `size` bytes, so that a sanitizer sees every overread.
    pub struct TestRam {
        ram: *mut [u8],
        used: usize,
        pub slots: MemSlots,
    }

    impl TestRam {
        pub fn new(size: usize) -> Self {
            let ram = Box::into_raw(vec![0u8; size].into_boxed_slice());
            let start = ram.cast::<u8>().expose_provenance() as u64;
            let mut slots = MemSlots::new(2, 8, 8, 8).unwrap();
            // SAFETY: the tests put only pointers into this RAM behind the host's group.
            slots.add(unsafe { MemSlot::new(HOST, 0, 0, 0, u64::MAX, 0) }).unwrap();
            let end = start + size as u64;
            // SAFETY: the RAM lives as long as the slots, which no test moves out.
            slots.add(unsafe { MemSlot::new(GUEST, 1, 0, start, end, start) }).unwrap();
            Self { ram, used: 0, slots }
        }

        /// Puts bytes at the next free place and returns their address in the guest's group.
        pub fn put(&mut self, bytes: &[u8]) -> u64 {
            let offset = self.used;
            self.used += bytes.len();
            assert!(self.used <= self.ram.len(), "the test's guest RAM is too small");
            let addr = 1 << 56 | offset as u64;
            self.slots.resolve(addr, GUEST, bytes.len() as u64).unwrap().write(0, bytes).unwrap();
            addr
        }

        /// As `put`, but at the very end of the RAM.
        pub fn put_last(&mut self, bytes: &[u8]) -> u64 {
            self.used = self.ram.len() - bytes.len();
            self.put(bytes)
        }

        /// The plain pointer behind an address of the guest's group.
        pub fn host(&self, addr: u64) -> u64 {
            self.slots.resolve(addr, GUEST, 1).unwrap().host_address().0 as u64
        }
    }

    impl Drop for TestRam {
        fn drop(&mut self) {
            // SAFETY: made by `Box::into_raw` in `new`, given back once.
            drop(unsafe { Box::from_raw(self.ram) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{GUEST, HOST, TestRam};
    use super::*;
    use proptest::prelude::*;

    /// A slot whose memory is never touched: the tests only look at addresses.
    fn slot(group: u32, id: u32, generation: u32, start: u64, end: u64, delta: u64) -> MemSlot {
        // SAFETY: no test reads or writes through a range of this slot.
        unsafe { MemSlot::new(group, id, generation, start, end, delta) }
    }

    fn host(slots: &MemSlots, addr: u64, group: u32, len: u64) -> Result<u64, AddressError> {
        slots.resolve(addr, group, len).map(|range| {
            assert_eq!(range.len() as u64, len);
            range.host_address().0 as u64
        })
    }

    #[test]
    fn qemus_host_slot_takes_plain_pointers() {
        let mut ram = TestRam::new(64);
        let addr = ram.put(b"hello");
        let pointer = ram.host(addr);
        assert_eq!(ram.slots.resolve(pointer, HOST, 5).unwrap().to_vec(5).unwrap(), b"hello");
    }

    #[test]
    fn qemus_deletion_in_the_hosts_group_disturbs_neither_slot() {
        let mut ram = TestRam::new(64);
        let addr = ram.put(b"hello");
        ram.slots.delete(HOST, 1).unwrap();
        assert!(ram.slots.resolve(addr, GUEST, 5).is_ok());
        assert!(ram.slots.resolve(ram.host(addr), HOST, 5).is_ok());
    }

    #[test]
    fn xspice_has_one_slot_bit() {
        let mut slots = MemSlots::new(1, 8, 8, 1).unwrap();
        slots.add(slot(0, 0, 0, 0, u64::MAX, 0)).unwrap();
        assert_eq!(host(&slots, 0x7fff_1234_5678, 0, 191), Ok(0x7fff_1234_5678));
        let addr = 1 << 63 | 0x7fff_1234_5678;
        assert_eq!(
            host(&slots, addr, 0, 191),
            Err(AddressError::Outside { addr, len: 191, slot: 1 })
        );
    }

    #[test]
    fn without_slot_and_generation_bits_the_address_is_all_offset() {
        let mut slots = MemSlots::new(1, 1, 0, 0).unwrap();
        slots.add(slot(0, 0, 0, 0x10_0000, 0x20_0000, 0x10_0001)).unwrap();
        assert_eq!(host(&slots, u64::MAX, 0, 1), Ok(0x10_0000));
        assert_eq!(host(&slots, 0x0f_fffe, 0, 1), Ok(0x1f_ffff));
        assert!(host(&slots, 0x0f_ffff, 0, 1).is_err());
    }

    #[test]
    fn groups_and_slots_end_one_before_their_number() {
        let mut slots = MemSlots::new(2, 3, 8, 8).unwrap();
        slots.add(slot(1, 2, 0, 0x1000, 0x2000, 0x1000)).unwrap();
        assert_eq!(host(&slots, 2 << 56, 1, 1), Ok(0x1000));
        assert_eq!(host(&slots, 2 << 56, 2, 1), Err(AddressError::NoGroup { group: 2, groups: 2 }));
        assert_eq!(host(&slots, 3 << 56, 1, 1), Err(AddressError::NoSlot { slot: 3, slots: 3 }));
        let refused = |group, slot| Err(SlotError::NoSuchSlot { group, slot, groups: 2, slots: 3 });
        assert_eq!(slots.add(slot(1, 3, 0, 0, 1, 0)), refused(1, 3));
        assert_eq!(slots.delete(2, 0), refused(2, 0));
        assert_eq!(slots.delete(u32::MAX, u32::MAX), refused(u32::MAX, u32::MAX));
    }

    #[test]
    fn another_generation_is_refused() {
        let mut slots = MemSlots::new(1, 2, 8, 8).unwrap();
        slots.add(slot(0, 1, 7, 0x1000, 0x2000, 0x1000)).unwrap();
        assert_eq!(host(&slots, 1 << 56 | 7 << 48, 0, 1), Ok(0x1000));
        assert_eq!(
            host(&slots, 1 << 56 | 6 << 48, 0, 1),
            Err(AddressError::Generation { slot: 1, found: 6, expected: 7 })
        );
    }

    #[test]
    fn deleted_slots_keep_their_generation_and_reset_slots_do_not() {
        let mut slots = MemSlots::new(1, 2, 8, 8).unwrap();
        slots.add(slot(0, 1, 7, 0x1000, 0x2000, 0x1000)).unwrap();
        slots.delete(0, 1).unwrap();
        let addr = 1 << 56 | 7 << 48;
        assert!(matches!(host(&slots, addr, 0, 1), Err(AddressError::Outside { .. })));
        assert_eq!(host(&slots, addr, 0, 0), Err(AddressError::Empty(addr)));
        slots.reset();
        assert!(matches!(host(&slots, addr, 0, 1), Err(AddressError::Generation { .. })));
        assert!(matches!(host(&slots, 1 << 56, 0, 1), Err(AddressError::Outside { .. })));
    }

    #[test]
    fn null_pointers_are_refused_even_in_the_hosts_slot() {
        let mut slots = MemSlots::new(1, 8, 8, 8).unwrap();
        slots.add(slot(0, 0, 0, 0, u64::MAX, 0)).unwrap();
        assert_eq!(host(&slots, 0, 0, 8), Err(AddressError::Null(0)));
        assert_eq!(host(&slots, 4095, 0, 8), Err(AddressError::Null(4095)));
        assert_eq!(host(&slots, 4096, 0, 8), Ok(4096));
    }

    #[test]
    fn senseless_tables_are_refused() {
        for (id_bits, gen_bits) in [(32, 32), (64, 0), (0, 64), (255, 255)] {
            let error = SlotError::Bits { id_bits, gen_bits };
            assert_eq!(MemSlots::new(1, 8, gen_bits, id_bits).unwrap_err(), error);
        }
        assert!(MemSlots::new(1, 8, 63, 0).is_ok());
        assert!(MemSlots::new(65_536, 1, 8, 8).is_ok());
        let error = SlotError::TooMany { groups: u32::MAX, slots: u32::MAX };
        assert_eq!(MemSlots::new(u32::MAX, u32::MAX, 8, 8).unwrap_err(), error);
        let none = MemSlots::new(0, 0, 8, 8).unwrap();
        assert!(none.resolve(0, 0, 1).is_err());
    }

    #[test]
    fn a_bounded_resolve_stops_at_the_slots_end() {
        let mut ram = TestRam::new(64);
        let addr = ram.put_last(b"abcd");
        let got = |skip, max| ram.slots.resolve_up_to(addr, GUEST, skip, max);
        assert_eq!(got(0, 100).unwrap().len(), 4);
        assert_eq!(got(3, 100).unwrap().len(), 1);
        assert_eq!(got(0, 2).unwrap().len(), 2);
        assert!(got(4, 100).is_err());
        assert!(got(u64::MAX, 100).is_err());
        assert!(got(0, 0).is_err());
    }

    /// The rules once more, in 128-bit numbers.
    fn oracle(
        (addr, skip, len): (u64, u64, u64),
        (groups, slots, gen_bits, id_bits): (u32, u32, u8, u8),
        (group, record): (u32, impl Fn(u64) -> (u32, u64, u64, u64)),
    ) -> Option<u64> {
        let wide = u128::from(addr);
        let (gen_bits, id_bits) = (u32::from(gen_bits), u32::from(id_bits));
        let slot = u64::try_from(wide >> (64 - id_bits)).unwrap();
        let generation = (wide >> (64 - id_bits - gen_bits)) & ((1 << gen_bits) - 1);
        let offset = wide & ((1 << (64 - id_bits - gen_bits)) - 1);
        if group >= groups || slot >= u64::from(slots) {
            return None;
        }
        let (expected, start, end, delta) = record(slot);
        let host = (offset + u128::from(delta)) % (1 << 64) + u128::from(skip);
        let last = host + u128::from(len);
        let ok = generation == u128::from(expected)
            && len > 0
            && len <= isize::MAX as u64
            && host >= u128::from(start)
            && last <= u128::from(end)
            && host >= 4096;
        ok.then(|| u64::try_from(host).unwrap())
    }

    /// Numbers close to where things go wrong.
    fn edgy() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0u64..64,
            (0u64..64).prop_map(|n| u64::MAX - n),
            (0u32..64, -3i64..4).prop_map(|(bit, d)| (1u64 << bit).wrapping_add_signed(d)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn resolve_agrees_with_wide_arithmetic(
            addr in edgy(), skip in prop_oneof![Just(0), edgy()], len in edgy(), group in 0u32..4,
            groups in 0u32..3, slots in 0u32..5, gen_bits in 0u8..12, id_bits in 0u8..9,
            generation in 0u32..3, start in edgy(), end in edgy(), delta in edgy(), id in 0u32..4,
        ) {
            let mut table = MemSlots::new(groups, slots, gen_bits, id_bits).unwrap();
            let added = table.add(slot(group, id, generation, start, end, delta)).is_ok();
            prop_assert_eq!(added, group < groups && id < slots);
            let record = |slot: u64| {
                if added && slot == u64::from(id) {
                    (generation, start, end, delta)
                } else {
                    (0, 0, 0, 0)
                }
            };
            let expected =
                oracle((addr, skip, len), (groups, slots, gen_bits, id_bits), (group, record));
            let got = table.resolve_after(addr, group, skip, len).ok();
            prop_assert_eq!(got.map(|range| range.host_address().0 as u64), expected);
        }

        /// Addresses built to hit the slot, moved over each of its edges by one.
        #[test]
        fn ranges_end_exactly_at_the_slots_edges(
            start in 4096u64..1 << 46, size in 1u64..1 << 20, gen_bits in 0u8..9, id_bits in 1u8..9,
            generation in 0u64..2, shift in -2i64..3, len in 1u64..1 << 20,
        ) {
            prop_assume!(generation < 1 << gen_bits);
            let mut table = MemSlots::new(1, 2, gen_bits, id_bits).unwrap();
            let low = u32::try_from(generation).unwrap();
            table.add(slot(0, 1, low, start, start + size, start.wrapping_sub(2))).unwrap();
            let (g, i) = (u32::from(gen_bits), u32::from(id_bits));
            let base = 1u64 << (64 - i) | generation << (64 - i - g);
            // Offset 2 is the slot's first byte.
            let at_start = base + 2u64.wrapping_add_signed(shift);
            prop_assert_eq!(host(&table, at_start, 0, 1).is_ok(), shift >= 0 && shift.unsigned_abs() < size);
            let len = len.min(size);
            let at_end = base + 2 + (size - len).wrapping_add_signed(shift.max(0));
            prop_assert_eq!(host(&table, at_end, 0, len).is_ok(), shift <= 0);
        }
    }
}

//! Rings against a guest in the same process, which keeps the rules or breaks them.

use std::os::fd::AsFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::SealFlags;
use rustix::fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::layout::{COMMAND_BYTES, CONS, ITEMS, NOTIFY_ON_CONS, NOTIFY_ON_PROD, PROD, RELEASES};
use super::releases::store;
use super::*;

const SIZE: u64 = 1 << 20;
const RAM: usize = 0x8000;
const GROUP: u32 = 1;
/// Guest addresses of slot 1 begin here, at this offset of the memory.
const START: u64 = 0x40_0000;
const AT: u64 = 0x1_0000;

fn memory(size: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, size).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

fn count(fd: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    rustix::io::read(fd, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
}

fn parts() -> Vec<RingSlot> {
    vec![RingSlot { id: 1, generation: 3, offset: AT, size: SIZE - AT, guest_start: START }]
}

/// The other side, with its own mapping of the memory.
struct Guest {
    file: OwnedFd,
    map: Mapping,
    interrupt: OwnedFd,
    /// Its side of the release ring.
    taken: u32,
}

impl Guest {
    fn new() -> Self {
        let file = memory(SIZE, SealFlags::SHRINK);
        let map = Mapping::new(&file, SIZE).unwrap();
        store(&map, RAM, RAM_MAGIC);
        for ring in [COMMAND_RING, CURSOR_RING, RELEASE_RING] {
            store(&map, RAM + ring + NOTIFY_ON_PROD, 1);
        }
        store(&map, RAM + INT_MASK, u32::MAX);
        Self { file, map, interrupt: event(), taken: 0 }
    }

    fn setup(&self, position: RingPosition) -> Result<RingSetup, AttachError> {
        let interrupt = self.interrupt.as_fd().try_clone_to_owned().unwrap();
        RingSetup::new(&self.file, SIZE, RAM as u64, GROUP, parts(), &event(), interrupt, position)
    }

    fn attach(&self, slots: &mut MemSlots, position: RingPosition) -> RingDevice {
        RingDevice::new(self.setup(position).unwrap(), slots).unwrap()
    }

    /// Puts a command into a ring. True if the other side asked to be kicked.
    fn push(&self, ring: usize, data: u64, kind: u32) -> bool {
        let prod = load(&self.map, RAM + ring + PROD);
        let item = RAM + ring + ITEMS + (prod % COMMANDS) as usize * COMMAND_BYTES;
        self.map.write_u64(item, data);
        store(&self.map, item + 8, kind);
        store(&self.map, RAM + ring + PROD, prod.wrapping_add(1));
        load(&self.map, RAM + ring + NOTIFY_ON_PROD) == prod.wrapping_add(1)
    }

    /// Writes a release information with this number; where it lies for the other side.
    fn resource(&self, slots: &MemSlots, at: u64, id: u64) -> ReleaseInfo {
        self.map.write_u64(usize::try_from(AT + at).unwrap(), id);
        let address = slots.address(1, 3, START + at);
        ReleaseInfo::new(slots.resolve(address, GROUP, 8).unwrap().host_address(), GROUP)
    }

    /// All numbers in the chains that were published. `at` finds a resource by its number.
    fn collect(&mut self, at: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut got = Vec::new();
        while load(&self.map, RAM + RELEASE_RING + PROD) != self.taken {
            let item = RAM + RELEASE_RING + ITEMS + (self.taken % RELEASES) as usize * 8;
            let mut id = self.map.read_u64(item);
            self.taken = self.taken.wrapping_add(1);
            store(&self.map, RAM + RELEASE_RING + CONS, self.taken);
            while id != 0 {
                got.push(id);
                id = self.map.read_u64(usize::try_from(AT + at(id)).unwrap());
            }
        }
        got
    }
}

fn slots() -> MemSlots {
    MemSlots::new(2, 8, 8, 8).unwrap()
}

#[test]
fn commands_come_in_order_and_the_guest_hears_what_it_asked_for() {
    let (guest, mut slots) = (Guest::new(), slots());
    let mut device = guest.attach(&mut slots, RingPosition::default());
    assert!(device.command().is_none());
    for round in 0..100u64 {
        for n in 0..u64::from(COMMANDS) {
            guest.push(COMMAND_RING, round << 40 | n, 1);
        }
        assert!(!device.arm_commands(), "there is something");
        let asked = u32::try_from(round).unwrap() * COMMANDS + 7;
        store(&guest.map, RAM + COMMAND_RING + NOTIFY_ON_CONS, asked);
        store(&guest.map, RAM + INT_PENDING, 0);
        for n in 0..u64::from(COMMANDS) {
            let command = device.command().unwrap();
            assert_eq!((command.data, command.kind, command.group_id), (round << 40 | n, 1, GROUP));
            // All are taken at once, and the guest hears once that one of them was the seventh.
            assert_eq!(count(&guest.interrupt), u64::from(n == 0), "command {n}");
            assert_eq!(load(&guest.map, RAM + COMMAND_RING + CONS), asked - 7 + COMMANDS);
            assert_eq!(device.taken(), (31 - usize::try_from(n).unwrap(), 0));
        }
        store(&guest.map, RAM + COMMAND_RING + NOTIFY_ON_CONS, asked - 7 + COMMANDS);
        assert!(device.command().is_none());
        assert_eq!(count(&guest.interrupt), 0, "nothing was taken");
        assert!(device.arm_commands());
    }
    assert!(guest.push(COMMAND_RING, 1, 1), "it is armed");
    // The cursor ring lies at a multiple of four only.
    assert!(guest.push(CURSOR_RING, 0x0102_0304_0506_0708, 3));
    let cursor = device.cursor_command().unwrap();
    assert_eq!((cursor.data, cursor.kind), (0x0102_0304_0506_0708, 3));
}

#[test]
fn an_interrupt_that_waits_or_is_masked_is_not_told_again() {
    let (guest, mut slots) = (Guest::new(), slots());
    let mut device = guest.attach(&mut slots, RingPosition::default());
    for n in 1..=3u32 {
        guest.push(COMMAND_RING, 1, 1);
        store(&guest.map, RAM + COMMAND_RING + NOTIFY_ON_CONS, n);
        store(&guest.map, RAM + INT_MASK, if n == 3 { 0 } else { INT_DISPLAY });
        assert!(device.command().is_some());
        assert_eq!(count(&guest.interrupt), u64::from(n == 1));
        if n == 2 {
            store(&guest.map, RAM + INT_PENDING, 0);
        }
    }
    assert_eq!(load(&guest.map, RAM + INT_PENDING), INT_DISPLAY);
}

#[test]
fn an_interrupt_whose_count_is_full_does_not_hold_up() {
    let (guest, mut slots) = (Guest::new(), slots());
    let mut device = guest.attach(&mut slots, RingPosition::default());
    rustix::io::write(&guest.interrupt, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    // The other side takes the flag away as well.
    rustix::fs::fcntl_setfl(&guest.interrupt, OFlags::empty()).unwrap();
    guest.push(COMMAND_RING, 1, 1);
    store(&guest.map, RAM + COMMAND_RING + NOTIFY_ON_CONS, 1);
    assert!(device.command().is_some());
}

#[test]
fn an_impossible_index_ends_a_ring_and_nothing_else() {
    for prod in [COMMANDS + 1, u32::MAX, 1 << 31] {
        let (guest, mut slots) = (Guest::new(), slots());
        let mut device = guest.attach(&mut slots, RingPosition::default());
        store(&guest.map, RAM + COMMAND_RING + PROD, prod);
        assert!(device.command().is_none());
        assert_eq!(count(&guest.interrupt), 1);
        assert_eq!(load(&guest.map, RAM + INT_PENDING), INT_ERROR);
        store(&guest.map, RAM + COMMAND_RING + PROD, 1);
        assert!(device.command().is_none(), "it is not believed again");
        assert!(device.arm_commands(), "and not polled");
        guest.push(CURSOR_RING, 5, 3);
        assert!(device.cursor_command().is_some());
    }
}

#[test]
fn every_resource_goes_back_once_whatever_room_the_ring_has() {
    let (mut guest, mut slots) = (Guest::new(), slots());
    let mut device = guest.attach(&mut slots, RingPosition::default());
    let at = |id: u64| (id - 1) * 64;
    let mut got = Vec::new();
    for id in 1..=5000u64 {
        device.release(guest.resource(&slots, at(id), id)).unwrap();
        if id % 700 == 0 {
            // Some hundred waited while the guest slept: seven items and what is open behind them.
            got.extend(guest.collect(at));
        }
    }
    got.extend(guest.collect(at));
    assert!(got.len() < 5000);
    assert!(device.publish() > 0);
    got.extend(guest.collect(at));
    assert_eq!(device.publish(), 0);
    assert_eq!(got, (1..=5000).collect::<Vec<u64>>());
}

#[test]
fn memory_of_the_host_is_not_released_into_the_ring() {
    let (guest, mut slots) = (Guest::new(), slots());
    let mut device = guest.attach(&mut slots, RingPosition::default());
    let foreign = Box::new(7u64);
    let address = HostAddress((&raw const *foreign).expose_provenance());
    assert!(device.release(ReleaseInfo::new(address, 0)).is_err());
    assert_eq!(device.publish(), 0);
}

#[test]
fn who_comes_next_goes_on_where_the_rings_stood() {
    let (mut guest, mut slots) = (Guest::new(), slots());
    let at = |id: u64| (id - 1) * 64;
    let mut device = guest.attach(&mut slots, RingPosition::default());
    for id in 1..=250u64 {
        device.release(guest.resource(&slots, at(id), id)).unwrap();
    }
    for _ in 0..5 {
        guest.push(COMMAND_RING, 1, 1);
    }
    for _ in 0..5 {
        device.command().unwrap();
    }
    for _ in 0..2 {
        guest.push(COMMAND_RING, 1, 1);
    }
    let create = guest.resource(&slots, 0x9000, 9);
    let address = device.guest_address(&slots, &create).unwrap();
    assert_eq!(address, slots.address(1, 3, START + 0x9000));
    let state = device.detach();
    assert_eq!((state.position.commands, state.position.open_releases), (5, 250 - 7 * 32));
    let dirty = |offset: usize| state.dirty[offset / PAGE / 64] >> (offset / PAGE % 64) & 1 == 1;
    assert!(dirty(RAM) && dirty(usize::try_from(AT).unwrap()) && !dirty(0));
    slots.reset_group(GROUP);
    assert!(slots.resolve(address, GROUP, 8).is_err());

    let mut device = guest.attach(&mut slots, state.position);
    let mut got = guest.collect(at);
    device.release(guest.resource(&slots, at(251), 251)).unwrap();
    assert_eq!(device.publish(), 27);
    got.extend(guest.collect(at));
    assert_eq!(got, (1..=251).collect::<Vec<u64>>());
    assert!(device.command().is_some() && device.command().is_some() && device.command().is_none());
}

#[test]
fn what_is_no_ring_is_refused() {
    let guest = Guest::new();
    let attempt = |file: &OwnedFd, size, ram, parts: Vec<RingSlot>, kick: &OwnedFd, interrupt| {
        RingSetup::new(file, size, ram, GROUP, parts, kick, interrupt, RingPosition::default())
            .unwrap_err()
    };
    let (ram, pipe) = (RAM as u64, OwnedFd::from(std::io::pipe().unwrap().0));
    let loose = memory(SIZE, SealFlags::GROW);
    let file = &guest.file;
    assert!(matches!(
        attempt(&loose, SIZE, ram, parts(), &event(), event()),
        AttachError::MayShrink
    ));
    assert!(matches!(
        attempt(&pipe, SIZE, ram, parts(), &event(), event()),
        AttachError::MayShrink
    ));
    for size in [0, SIZE + 1, u64::MAX] {
        assert!(matches!(
            attempt(file, size, ram, parts(), &event(), event()),
            AttachError::Size(_)
        ));
    }
    for ram in [ram + 2, SIZE - 5344, u64::MAX - 3] {
        assert!(matches!(
            attempt(file, SIZE, ram, parts(), &event(), event()),
            AttachError::Header(_)
        ));
    }
    assert!(matches!(attempt(file, SIZE, 0, parts(), &event(), event()), AttachError::Magic(0)));
    assert!(matches!(attempt(file, SIZE, ram, vec![], &event(), event()), AttachError::Slots(0)));
    let [part] = parts()[..] else { panic!() };
    for wrong in [
        RingSlot { size: 0, ..part },
        RingSlot { size: SIZE, ..part },
        RingSlot { offset: u64::MAX, ..part },
        RingSlot { size: u64::MAX, ..part },
    ] {
        assert!(matches!(
            attempt(file, SIZE, ram, vec![wrong], &event(), event()),
            AttachError::Slot(1)
        ));
    }
    for other in [
        RingSlot { id: 2, offset: SIZE - 1, size: 1, ..part },
        RingSlot { offset: 0, size: 1, ..part },
    ] {
        let both = vec![part, other];
        assert!(matches!(
            attempt(file, SIZE, ram, both, &event(), event()),
            AttachError::Overlap(1, _)
        ));
    }
    let blocking = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    assert!(matches!(
        attempt(file, SIZE, ram, parts(), &pipe, event()),
        AttachError::EventFd("kicks")
    ));
    for wrong in [pipe, blocking] {
        assert!(matches!(
            attempt(file, SIZE, ram, parts(), &event(), wrong),
            AttachError::EventFd("interrupts")
        ));
    }
    let mut few = MemSlots::new(1, 8, 8, 8).unwrap();
    let setup = guest.setup(RingPosition::default()).unwrap();
    assert!(matches!(
        RingDevice::new(setup, &mut few),
        Err(AttachError::NoSuchSlot { group: GROUP, slot: 1 })
    ));
}

//! Rings in shared memory whose other side writes what it likes, where it likes, between any two steps of ours.
//!
//! Input: steps of 7 bytes, an operation, a place (u16) and a value (u32). What must hold: no more commands than were
//! announced, each command given back goes back once, and never a write outside of the memory.
#![no_main]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use libfuzzer_sys::fuzz_target;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use spice_server::qxl::command::ReleaseInfo;
use spice_server::qxl::memslot::MemSlots;
use spice_server::qxl::parse::{DisplayCommand, Limits, parse_cursor_command, parse_display_command};
use spice_server::qxl::ring::layout::{
    COMMANDS, COMMAND_RING, CURSOR_RING, NOTIFY_ON_PROD, PROD, RAM_BYTES, RAM_MAGIC, RELEASE_RING,
};
use spice_server::qxl::ring::mapping::Mapping;
use spice_server::qxl::ring::{RingDevice, RingPosition, RingSetup, RingSlot};

const SIZE: u64 = 0x1_0000;
const GROUP: u32 = 1;

struct Outside {
    file: OwnedFd,
    memory: Mapping,
    interrupt: OwnedFd,
    kick: OwnedFd,
}

static OUTSIDE: LazyLock<Outside> = LazyLock::new(|| {
    let file = memfd_create("ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memory");
    ftruncate(&file, SIZE).expect("memory");
    fcntl_add_seals(&file, SealFlags::SHRINK).expect("seals");
    let event = || eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
    Outside { memory: Mapping::new(&file, SIZE).expect("a mapping"), file, interrupt: event(), kick: event() }
});

fn put(memory: &Mapping, offset: usize, value: u32) {
    if let Some(word) = memory.word(offset) {
        word.store(value, Ordering::SeqCst);
    }
}

fn release_of(command: DisplayCommand) -> ReleaseInfo {
    match command {
        DisplayCommand::Draw(_, release)
        | DisplayCommand::Update { release, .. }
        | DisplayCommand::Message { release, .. }
        | DisplayCommand::SurfaceCreate { release, .. }
        | DisplayCommand::SurfaceDestroy { release, .. } => release,
    }
}

fuzz_target!(|data: &[u8]| {
    let Outside { file, memory, interrupt, kick } = &*OUTSIDE;
    for offset in (0..memory.len()).step_by(8) {
        memory.write_u64(offset, 0);
    }
    put(memory, 0, RAM_MAGIC);
    for ring in [COMMAND_RING, CURSOR_RING, RELEASE_RING] {
        put(memory, ring + NOTIFY_ON_PROD, 1);
    }
    let slot = RingSlot { id: 1, generation: 0, offset: 0, size: SIZE, guest_start: 0 };
    let interrupt = interrupt.as_fd().try_clone_to_owned().expect("a descriptor");
    let position = RingPosition::default();
    let setup = RingSetup::new(file, SIZE, 0, GROUP, vec![slot], kick, interrupt, position).expect("it is right");
    let mut slots = MemSlots::new(2, 8, 8, 8).expect("these are QEMU's");
    let mut device = RingDevice::new(setup, &mut slots).expect("the slot exists");
    let (limits, mut held, mut released): (Limits, Vec<ReleaseInfo>, usize) = (Limits::default(), Vec::new(), 0);
    for step in data.chunks_exact(7) {
        let (place, value) = (
            usize::from(u16::from_le_bytes([step[1], step[2]])),
            u32::from_le_bytes([step[3], step[4], step[5], step[6]]),
        );
        match step[0] % 8 {
            0 => put(memory, place & !3, value),
            1 => memory.write_u64(place, u64::from(value)),
            // A command of this type somewhere in the memory, announced.
            2 => {
                let ring = if value & 1 == 0 { COMMAND_RING } else { CURSOR_RING };
                let prod = memory.word(ring + PROD).expect("it is in the header");
                let at = prod.load(Ordering::SeqCst) % COMMANDS;
                memory.write_u64(ring + 20 + at as usize * 16, 1 << 56 | u64::from(step[1]) << 8 | u64::from(step[2]));
                put(memory, ring + 20 + at as usize * 16 + 8, value >> 1 & 7);
                prod.fetch_add(1, Ordering::SeqCst);
            }
            3 => {
                if let Some(command) = device.command() {
                    match parse_display_command(&slots, &command, &limits) {
                        Ok(parsed) => held.push(release_of(parsed)),
                        Err(error) => held.extend(error.release),
                    }
                }
            }
            4 => {
                if let Some(command) = device.cursor_command() {
                    match parse_cursor_command(&slots, &command, &limits) {
                        Ok((_, release)) => held.push(release),
                        Err(error) => held.extend(error.release),
                    }
                }
            }
            5 => {
                if let Some(release) = held.pop() {
                    device.release(release).expect("all of them lie in the memory");
                    released += 1;
                }
            }
            6 => {
                let told = usize::try_from(device.publish()).expect("a count");
                assert!(told <= released, "{told} of {released} were published");
                released -= told;
            }
            _ => {
                device.arm_commands();
                device.arm_cursors();
            }
        }
        let (commands, cursors) = device.taken();
        assert!(commands < COMMANDS as usize && cursors < COMMANDS as usize);
    }
    let state = device.detach();
    assert_eq!(state.dirty.len(), 1);
    assert!(state.position.open_release < SIZE && RAM_BYTES < memory.len());
});

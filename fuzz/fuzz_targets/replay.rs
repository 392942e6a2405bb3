//! Any bytes as a recording: reading neither panics nor takes more memory than allowed, and what it
//! makes of them is read by the command parser without a byte beside the blocks.
//!
//! The blocks are allocations of exactly their size, so the address sanitizer sees an overread.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::qxl::command::CommandExt;
use spice_server::qxl::memslot::{MemSlot, MemSlots};
use spice_server::qxl::parse::{Limits, parse_cursor_command, parse_display_command};
use spice_server::qxl::replay::payload::Payload;
use spice_server::qxl::replay::reader::{Event, Reader, Recorded, ReplayLimits};
use spice_server::qxl::replay::request;
use spice_server::qxl::replay::surfaces::SurfaceIds;

const LIMITS: ReplayLimits = ReplayLimits { bytes: 1 << 20, chunks: 256 };
const SURFACES: u32 = 8;
const CMD_CURSOR: u32 = 3;

fuzz_target!(|input: &[u8]| {
    let Ok(mut reader) = Reader::new(input, LIMITS) else { return };
    let surfaces = SurfaceIds::new(SURFACES);
    // Destroy commands are given back two commands later, as by a server that is behind.
    let mut dying = [None, None];
    while let Ok(event) = reader.next_event() {
        match event {
            Event::Command(mut command) => {
                inside(&command.payload);
                if surfaces.renumber(&mut command).is_err() {
                    break;
                }
                if let Some(id) = command.frees_surface {
                    assert!((1..SURFACES).contains(&id));
                }
                parse(&mut command);
                dying.rotate_left(1);
                if let Some(id) = std::mem::replace(&mut dying[1], command.frees_surface) {
                    surfaces.free(id);
                }
                if let Some(id) = dying[0].take() {
                    surfaces.free(id);
                }
            }
            Event::CreatePrimary(primary) => {
                let row = u64::from(primary.stride.unsigned_abs());
                assert_eq!(primary.pixels.len() as u64, row * u64::from(primary.height));
                assert!(primary.pixels.len() <= LIMITS.bytes);
            }
            Event::Request(request::DESTROY_SURFACES) => surfaces.free_all(),
            Event::Request(_) => {}
        }
    }
});

fn inside(payload: &Payload) {
    assert!(payload.len() <= LIMITS.bytes);
    for link in &payload.links {
        assert!(link.target < payload.blocks.len());
        assert!(link.from.at + 8 <= payload.blocks[link.from.block].len());
    }
}

/// Gives the blocks addresses and lets the parser read them, as the C edge does.
fn parse(command: &mut Recorded) {
    let payload = &mut command.payload;
    payload.blocks.iter_mut().for_each(Vec::shrink_to_fit);
    let addresses: Vec<u64> =
        payload.blocks.iter_mut().map(|b| b.as_mut_ptr().expose_provenance() as u64).collect();
    for link in std::mem::take(&mut payload.links) {
        payload.put(link.from, &addresses[link.target].to_le_bytes());
    }
    let mut slots = MemSlots::new(1, 1, 1, 1).unwrap();
    // SAFETY: the parser gets addresses of the blocks only, which outlive the slots.
    slots.add(unsafe { MemSlot::new(0, 0, 0, 0, u64::MAX, 0) }).unwrap();
    let ext = CommandExt { data: addresses[0], kind: command.kind, group_id: 0, flags: 0 };
    let limits = Limits { surfaces: SURFACES, ..Limits::default() };
    if command.kind == CMD_CURSOR {
        let _ = parse_cursor_command(&slots, &ext, &limits);
    } else {
        let _ = parse_display_command(&slots, &ext, &limits);
    }
}

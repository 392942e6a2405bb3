//! Recordings as they are, as they end when recorders are killed, and as nobody should write them.

use super::payload::Place;
use super::reader::{Event, Reader, Recorded, ReplayError, ReplayLimits, SurfaceChange};
use super::surfaces::{NoSurfaceLeft, SurfaceIds};

const EVERY_KIND: &[u8] = include_bytes!("../../../fuzz/seeds/replay/every_kind");
const COMPAT: &[u8] = include_bytes!("../../../fuzz/seeds/replay/compat");
const PACKED: &[u8] = include_bytes!("../../../fuzz/seeds/replay/packed");

/// All events up to the end or damage, and which of the two it was.
fn read(file: &[u8]) -> (Vec<Event>, ReplayError) {
    let mut reader =
        Reader::new(file, ReplayLimits::default()).map_err(|(error, _)| error).unwrap();
    let mut events = Vec::new();
    loop {
        match reader.next_event() {
            Ok(event) => events.push(event),
            Err(error) => return (events, error),
        }
    }
}

fn recording(body: &str) -> Vec<u8> {
    format!("SPICE_REPLAY 1\n{body}").into_bytes()
}

fn is_damage(file: &[u8]) -> bool {
    matches!(read(file).1, ReplayError::Damage { .. })
}

fn surface_command(id: u32, kind: u32) -> Recorded {
    let create = "flags 0\nu.surface_create.format 32\nu.surface_create.width 2\n\
                  u.surface_create.height 3\nu.surface_create.stride -8\n";
    let rest = if kind == 0 { create } else { "flags 0\n" };
    let file =
        recording(&format!("event 0 0 5 1\nsurface_cmd\nsurface_id {id}\ntype {kind}\n{rest}"));
    match read(&file).0.pop() {
        Some(Event::Command(command)) => command,
        other => panic!("{other:?}"),
    }
}

/// The number that a surface command has after renumbering.
fn renumbered(ids: &SurfaceIds, id: u32, kind: u32) -> Result<u32, NoSurfaceLeft> {
    let mut command = surface_command(id, kind);
    ids.renumber(&mut command)?;
    Ok(command.payload.u32(Place { block: 0, at: 8 }))
}

#[test]
fn only_version_one_is_read() {
    for bad in [&b""[..], b"SPICE_REPLAY 2\n", b"SPICE_REPLAY 1", b"hello\n", b"SPICE_REPLAY 1 \n"]
    {
        assert!(Reader::new(bad, ReplayLimits::default()).is_err());
    }
}

#[test]
fn every_kind_of_command_is_read() {
    let (events, end) = read(EVERY_KIND);
    assert!(matches!(end, ReplayError::End), "{end}");
    let commands = events.iter().filter(|event| matches!(event, Event::Command(_))).count();
    assert_eq!((commands, events.len()), (32, 38));
}

#[test]
fn a_recording_may_end_anywhere() {
    let (whole, _) = read(EVERY_KIND);
    for end in (15..EVERY_KIND.len()).step_by(7) {
        let (events, error) = read(&EVERY_KIND[..end]);
        assert!(matches!(error, ReplayError::End), "cut at {end}: {error}");
        assert!(events.len() <= whole.len());
    }
}

#[test]
fn a_primary_surface_that_was_refused_has_no_body() {
    let (events, end) = read(&recording("event 0 1 20 1\nevent 1 1 29 2\nevent 2 1 21 3\n"));
    assert!(matches!(events[..], [Event::Request(20), Event::Request(29), Event::Request(21)]));
    assert!(matches!(end, ReplayError::End));
}

#[test]
fn packed_data_is_unpacked() {
    let (events, _) = read(PACKED);
    let [Event::CreatePrimary(primary), Event::Request(21)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((primary.width, primary.stride, primary.mouse_mode), (4, 16, 1));
    assert_eq!(primary.pixels, [0; 64]);
}

#[test]
fn drawables_from_before_0_6_become_new_ones() {
    let (events, end) = read(COMPAT);
    assert!(matches!(end, ReplayError::End), "{end}");
    let [Event::Command(blend), Event::Command(copy_bits)] = &events[..] else {
        panic!("{events:?}")
    };
    let head = &blend.payload.blocks[0];
    assert_eq!((head.len(), head[13], head[14]), (191, 13, 4));
    assert_eq!(head[15..31], [2i32, 1, 4, 3].map(i32::to_le_bytes).concat());
    assert_eq!(head[63..75], [0xff; 12]);
    // alpha_flags 0, then alpha; the image comes behind it.
    assert_eq!(head[123..126], [0, 0, 200]);
    assert_eq!(blend.payload.links[0].from, Place { block: 0, at: 126 });
    assert_eq!(copy_bits.payload.blocks[0][13], 4);
}

#[test]
fn data_is_as_large_as_its_structure_says() {
    let image = |size: usize| {
        let data = "x".repeat(size);
        let dest = "surfaces_dest -1\nrect surfaces_rects 0 0 0 0\n".repeat(3);
        let file = recording(&format!(
            "event 0 0 1 1\ndrawable\nrect bbox 0 0 2 2\ntype 0\neffect 1\nmm_time 0\nself_bitmap 0\n\
             rect self_bitmap_area 0 0 0 0\nsurface_id 0\n{dest}type 12\nimage 1\ndescriptor.id 1\n\
             descriptor.type 0\ndescriptor.flags 0\ndescriptor.width 2\ndescriptor.height 2\n\
             bitmap.format 8\nbitmap.flags 5\nbitmap.x 2\nbitmap.y 2\nbitmap.stride 8\n\
             has_palette 0\nbinary 0 image_data_flat {size}:{data}\nrect src_area 0 0 2 2\n\
             src_color 4294967295\ntrue_color -1\n"
        ));
        is_damage(&file)
    };
    assert!(!image(16));
    assert!(image(15) && image(17) && image(0));

    let primary = |size: usize| {
        let data = "x".repeat(size);
        is_damage(&recording(&format!(
            "event 0 1 20 1\n2 2 -8 32\n0 1 0 0\nbinary 0 data {size}:{data}\n"
        )))
    };
    assert!(!primary(16));
    assert!(primary(15) && primary(17));
}

#[test]
fn nothing_takes_more_memory_than_the_limits_allow() {
    let surface = recording(
        "event 0 0 5 1\nsurface_cmd\nsurface_id 1\ntype 0\nflags 0\nu.surface_create.format 32\n\
         u.surface_create.width 30000\nu.surface_create.height 2147483647\n\
         u.surface_create.stride -2147483648\n",
    );
    assert!(is_damage(&surface));
    assert!(is_damage(&recording("event 0 0 4 1\nbinary 0 message 2000000000:x\n")));
    let chunks = "binary 0 cursor 0:\n".repeat(70_000);
    let cursor = recording(&format!(
        "event 0 0 3 1\ncursor_cmd\ntype 0\npoint16 0 0\nu.set.visible 1\nheader.unique 1\n\
         header.type 0\nheader.width 1\nheader.height 1\nheader.hot_spot_x 0\n\
         header.hot_spot_y 0\ndata_size 4\ndata_chunks 69999 0\n{chunks}"
    ));
    assert!(is_damage(&cursor));
}

#[test]
fn what_is_no_event_is_damage() {
    for bad in [
        "event 0 2 1 1\n",
        "event 0 0 6 1\n",
        "event 0 0 1\n",
        "events 0 0 1 1\n",
        "event 0 0 1 1\ndrawables\n",
        "event 0 0 3 1\ncursor_cmd\ntype 4\n",
        "event 0 0 3 1\ncursor_cmd\ntype 256\n",
        "event 0 0 3 1\ncursor_cmd\ntype 1\npoint16 65536 0\n",
        "event 0 0 5 1\nsurface_cmd\nsurface_id 1\ntype 2\nflags 0\n",
        "event 0 0 5 1\nsurface_cmd\nsurface_id 4294967296\n",
        "event 0 1 20 1\n1 2 3\n",
    ] {
        assert!(is_damage(&recording(bad)), "{bad}");
    }
}

#[test]
fn surfaces_get_the_lowest_numbers_and_zero_stays_zero() {
    let ids = SurfaceIds::new(4);
    assert_eq!(renumbered(&ids, 5, 0), Ok(1));
    assert_eq!(renumbered(&ids, 900, 0), Ok(2));
    // Created twice: the server refuses it, with the same number.
    assert_eq!(renumbered(&ids, 5, 0), Ok(1));
    assert_eq!(renumbered(&ids, 0, 0), Ok(0));
    assert_eq!(renumbered(&ids, 7, 1), Ok(u32::MAX));
    assert_eq!(renumbered(&ids, u32::MAX, 0), Ok(u32::MAX));
}

#[test]
fn a_number_is_free_when_its_destroy_command_was_given_back() {
    let ids = std::sync::Arc::new(SurfaceIds::new(2));
    assert_eq!(renumbered(&ids, 5, 0), Ok(1));
    assert_eq!(renumbered(&ids, 6, 0), Err(NoSurfaceLeft(6)));
    let mut destroy = surface_command(5, 1);
    assert_eq!(destroy.surface_change, Some(SurfaceChange::Destroy));
    ids.renumber(&mut destroy).unwrap();
    assert_eq!(destroy.frees_surface, Some(1));
    let (ready, started) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn({
        let ids = std::sync::Arc::clone(&ids);
        move || {
            ready.send(()).unwrap();
            renumbered(&ids, 6, 0)
        }
    });
    started.recv().unwrap();
    ids.free(1);
    assert_eq!(waiting.join().unwrap(), Ok(1));
    ids.free_all();
    assert_eq!(renumbered(&ids, 8, 0), Ok(1));
}

//! Any bytes as a guest's RAM, any command in it: parsing neither panics nor reads beside the RAM,
//! and what it accepts keeps the promises of the model.
//!
//! Input: command type, flags (bit 2: a monitor layout instead of a command), address (4 bytes,
//! little endian: offset, with slot in the highest byte), then the RAM.
//! The RAM is an allocation of exactly its size, so the address sanitizer sees an overread of one
//! byte. Slot 0 is all of it, slot 1 its second half; an address's offset counts from the RAM's start.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::display::guest_image::decode_quic;
use spice_server::protocol::geometry::Rect;
use spice_server::qxl::command::CommandExt;
use spice_server::qxl::memslot::{MemSlot, MemSlots};
use spice_server::qxl::model::{
    Brush, Composite, CursorCommand, DrawOp, Drawable, Image, ImageKind, Mask,
};
use spice_server::qxl::parse::{
    DisplayCommand, Limits, parse_cursor_command, parse_display_command, parse_monitors_config,
};

const GROUP: u32 = 1;
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    chunks: 4096,
    clip_rects: 4096,
    surfaces: 64,
    quic: Some(decode_quic),
};

fuzz_target!(|input: &[u8]| {
    let Some((&[kind, flags, a, b, c, slot], ram)) = input.split_first_chunk::<6>() else { return };
    let ram = Box::into_raw(ram.to_vec().into_boxed_slice());
    let slots = slots(ram);
    let data = u64::from(slot) << 56 | u64::from(u32::from_le_bytes([a, b, c, 0]));
    let command =
        CommandExt { data, kind: kind.into(), group_id: GROUP, flags: u32::from(flags & 3) };
    if flags & 4 != 0 {
        let cap = u32::from(kind);
        if let Ok(config) = parse_monitors_config(&slots, data, GROUP, cap) {
            assert!(!config.heads.is_empty());
            assert!(config.heads.len() <= usize::from(config.max_allowed));
            assert!(config.heads.len() <= usize::from(kind.max(1)));
        }
    } else if kind == 3 {
        match parse_cursor_command(&slots, &command, &LIMITS) {
            Ok((command, release)) => {
                inside(ram, release.address().0, 150);
                cursor(&command);
            }
            Err(error) => refused(ram, &error),
        }
    } else {
        match parse_display_command(&slots, &command, &LIMITS) {
            Ok(command) => display(ram, command),
            Err(error) => refused(ram, &error),
        }
    }
    // SAFETY: made by `Box::into_raw` above; the slots are not used any more.
    drop(unsafe { Box::from_raw(ram) });
});

fn slots(ram: *mut [u8]) -> MemSlots {
    let start = ram.cast::<u8>().expose_provenance() as u64;
    let end = start + ram.len() as u64;
    let middle = start + ram.len() as u64 / 2;
    let mut slots = MemSlots::new(2, 8, 8, 8).unwrap();
    for (id, start) in [(0, start), (1, middle)] {
        // SAFETY: the RAM outlives the slots.
        let slot = unsafe { MemSlot::new(GROUP, id, 0, start, end, start) };
        slots.add(slot).unwrap();
    }
    slots
}

/// Panics unless the bytes lie in the RAM.
fn inside(ram: *mut [u8], at: usize, len: usize) {
    let start = ram.cast::<u8>().addr();
    assert!(at >= start && at + len <= start + ram.len());
}

fn refused(ram: *mut [u8], error: &spice_server::qxl::parse::CommandError) {
    assert!(!error.to_string().is_empty());
    if let Some(release) = &error.release {
        inside(ram, release.address().0, 8);
    }
}

fn display(ram: *mut [u8], command: DisplayCommand) {
    let release = match command {
        DisplayCommand::Draw(command, release) => {
            drawable(&command);
            release
        }
        DisplayCommand::Update { surface_id, area, release, .. } => {
            assert!(surface_id < LIMITS.surfaces);
            solid(&area);
            release
        }
        DisplayCommand::Message { text, release } => {
            assert!(text.len() <= ram.len() * 3);
            release
        }
        DisplayCommand::SurfaceCreate { surface_id, geometry, memory, release, .. } => {
            assert!((1..LIMITS.surfaces).contains(&surface_id));
            assert_eq!(memory.len(), geometry.bytes() as usize);
            inside(ram, memory.host_address().0, memory.len());
            // Writes must stay inside as well.
            memory.fill(0);
            release
        }
        DisplayCommand::SurfaceDestroy { surface_id, release } => {
            assert!((1..LIMITS.surfaces).contains(&surface_id));
            release
        }
    };
    inside(ram, release.address().0, 8);
    assert_eq!(release.group_id(), GROUP);
}

fn drawable(command: &Drawable) {
    assert!(command.surface_id < LIMITS.surfaces && command.effect <= 7);
    solid(&command.bbox);
    if let Some(clip) = &command.clip {
        assert!(clip.iter().all(|rect| !rect.is_empty()));
        assert!(clip.len() <= LIMITS.clip_rects as usize);
    }
    assert!(command.reads.len() <= 3);
    assert!(command.reads.iter().all(|read| read.surface_id < LIMITS.surfaces));
    match &command.op {
        DrawOp::Fill { brush, mask, .. } => {
            painted(command, brush);
            masked(command, mask);
        }
        DrawOp::Transparent { src, src_area, .. } => optional(command, src.as_ref(), src_area),
        DrawOp::Stroke(op) => {
            painted(command, &op.brush);
            assert!(op.style.as_ref().is_none_or(|style| !style.is_empty()));
            let mut points = op.path.iter().flat_map(|s| &s.points);
            assert!(points.all(|p| p.x.abs() <= 1 << 27 && p.y.abs() <= 1 << 27));
        }
        DrawOp::Text(op) => {
            painted(command, &op.fore_brush);
            painted(command, &op.back_brush);
            for glyph in op.glyphs.iter() {
                let rows = op.depth.row_bytes(glyph.width) * usize::from(glyph.height);
                assert_eq!(op.data[glyph.data.clone()].len(), rows);
            }
        }
        DrawOp::Composite(op) => {
            assert_eq!(op.src.is_none(), command.self_bitmap_area.is_some());
            assert_eq!(op.flags & Composite::HAS_MASK != 0, op.mask.is_some());
            let transforms = [op.src_transform.is_some(), op.mask_transform.is_some()];
            let flags = [Composite::HAS_SRC_TRANSFORM, Composite::HAS_MASK_TRANSFORM];
            assert_eq!(transforms, flags.map(|bit| op.flags & bit != 0));
            assert!(op.src_filter() <= 4 && op.mask_filter() <= 4 && op.operator() < 0x3f);
            for image in op.src.iter().chain(&op.mask) {
                pixels(command, image);
            }
        }
        DrawOp::AlphaBlend { src, src_area, flags, .. } => {
            assert!(*flags < 4);
            optional(command, src.as_ref(), src_area);
        }
        DrawOp::Opaque { src, src_area, brush, mask, .. }
        | DrawOp::Rop3 { src, src_area, brush, mask, .. } => {
            optional(command, src.as_ref(), src_area);
            painted(command, brush);
            masked(command, mask);
        }
        DrawOp::Copy { src, src_area, mask, .. } => {
            solid(src_area);
            source(command, src, src_area);
            masked(command, mask);
        }
        DrawOp::CopyBits { src } => {
            assert!(src.x >= 0 && src.y >= 0);
            assert!(src.x.checked_add_unsigned(command.bbox.width()).is_some());
            assert!(src.y.checked_add_unsigned(command.bbox.height()).is_some());
        }
        DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } | DrawOp::Invers { mask } => {
            masked(command, mask);
        }
    }
}

/// A source that may be the destination itself.
fn optional(command: &Drawable, src: Option<&Image>, src_area: &Rect) {
    solid(src_area);
    match (src, command.self_bitmap_area) {
        (Some(src), None) => source(command, src, src_area),
        (None, Some(area)) => {
            solid(&area);
            assert!(src_area.right.unsigned_abs() <= area.width());
            assert!(src_area.bottom.unsigned_abs() <= area.height());
        }
        other => panic!("{other:?}"),
    }
}

fn solid(rect: &Rect) {
    assert!(rect.left >= 0 && rect.top >= 0 && !rect.is_empty());
}

fn painted(command: &Drawable, brush: &Brush) {
    if let Brush::Pattern { image, .. } = brush {
        pixels(command, image);
        colored(image);
    }
}

fn masked(command: &Drawable, mask: &Mask) {
    let Some(image) = &mask.image else {
        assert!(!mask.inverse && mask.pos.x == 0 && mask.pos.y == 0);
        return;
    };
    pixels(command, image);
    if let ImageKind::Bitmap(bitmap) = &image.kind {
        assert_eq!(bitmap.format.bits(), 1);
    }
}

fn source(command: &Drawable, image: &Image, area: &Rect) {
    pixels(command, image);
    colored(image);
    if let ImageKind::Bitmap(bitmap) = &image.kind {
        assert!(area.right.unsigned_abs() <= bitmap.width);
        assert!(area.bottom.unsigned_abs() <= bitmap.height);
    }
}

/// Indexed colours need all the entries that their indices can name.
fn colored(image: &Image) {
    if let ImageKind::Bitmap(bitmap) = &image.kind {
        let entries = bitmap.palette.as_ref().map(|palette| palette.entries.len());
        assert_eq!(entries.is_some(), bitmap.format.is_indexed());
        assert!(entries.is_none_or(|n| n >= 1 << bitmap.format.bits() && n <= 256));
    }
}

fn pixels(command: &Drawable, image: &Image) {
    match &image.kind {
        ImageKind::Bitmap(bitmap) => {
            assert_eq!((image.width, image.height), (bitmap.width, bitmap.height));
            assert!(bitmap.width >= 1 && bitmap.height >= 1);
            let row = (u64::from(bitmap.width) * u64::from(bitmap.format.bits())).div_ceil(8);
            assert!(u64::from(bitmap.stride) >= row);
            let bytes = u64::from(bitmap.stride) * u64::from(bitmap.height);
            assert_eq!(bitmap.data.len() as u64, bytes);
            assert!(bitmap.data.len() <= LIMITS.bytes);
        }
        ImageKind::Surface(id) => {
            assert!(command.reads.iter().any(|read| read.surface_id == *id));
            assert_eq!(image.flags, 0);
        }
    }
}

fn cursor(command: &CursorCommand) {
    if let CursorCommand::Set { shape, .. } = command {
        assert!((1..=1024).contains(&shape.width) && (1..=1024).contains(&shape.height));
        assert!(shape.kind <= 6);
        let (width, height) = (usize::from(shape.width), usize::from(shape.height));
        let mask = (width * height).div_ceil(8);
        let need = match shape.kind {
            0 => width * height * 4,
            1 => width.div_ceil(8) * height * 2,
            2 => width.div_ceil(2) * height + 64 + mask,
            3 => width * height + 1024 + mask,
            4 => width * height * 2 + mask,
            5 => width * height * 3 + mask,
            _ => width * height * 4 + mask,
        };
        assert_eq!(shape.data.len(), need);
    }
}

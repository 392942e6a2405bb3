//! Commands built byte by byte in guest memory, as a driver would.

mod bad;
mod good;

use std::sync::Arc;

use super::*;
use crate::protocol::wire::WireWrite;
use crate::qxl::command::{CommandExt, HostAddress};
use crate::qxl::memslot::testing::{GUEST, TestRam};
use crate::qxl::model::{BitmapFormat, CursorCommand};

/// An address in a slot that nobody registered.
const NOWHERE: u64 = 5 << 56;

/// Offsets in `QXLDrawable`.
mod at {
    pub const SURFACE: usize = 8;
    pub const EFFECT: usize = 12;
    pub const SELF_BITMAP: usize = 14;
    pub const SELF_AREA: usize = 15;
    pub const BBOX: usize = 31;
    pub const CLIP: usize = 47;
    pub const MM_TIME: usize = 59;
    pub const READS: usize = 63;
    pub const BODY: usize = 123;
}

/// Overwrites bytes of a structure that is being built.
trait Patch: Sized {
    fn with(self, at: usize, bytes: &[u8]) -> Self;

    fn with_u8(self, at: usize, value: u8) -> Self {
        self.with(at, &[value])
    }

    fn with_u32(self, at: usize, value: u32) -> Self {
        self.with(at, &value.to_le_bytes())
    }

    fn with_u64(self, at: usize, value: u64) -> Self {
        self.with(at, &value.to_le_bytes())
    }

    fn with_rect(self, at: usize, rect: Rect) -> Self {
        self.with(at, &rect_bytes(rect))
    }
}

impl Patch for Vec<u8> {
    fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

fn rect(left: i32, top: i32, right: i32, bottom: i32) -> Rect {
    Rect { top, left, bottom, right }
}

fn rect_bytes(rect: Rect) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_rect(&rect);
    out
}

/// A native drawable of surface 0, box 0,0 to 8,4, that reads no surface.
fn drawable(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() <= 68);
    vec![0; 191]
        .with_u8(at::EFFECT, 1)
        .with_u8(at::EFFECT + 1, kind)
        .with_rect(at::BBOX, rect(0, 0, 8, 4))
        .with(at::READS, &[0xff; 12])
        .with(at::BODY, body)
}

/// The same in compatibility mode.
fn compat_drawable(kind: u8, body: &[u8]) -> Vec<u8> {
    vec![0; 128].with_u8(9, kind).with_rect(28, rect(0, 0, 8, 4)).with(60, body)
}

/// Bytes of a brush: type and union.
fn brush(kind: u32, union: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(kind).put_u64(union).put_i32(3).put_i32(-4);
    out
}

/// Bytes of a mask at 5,6.
fn mask(flags: u8, image: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u8(flags).put_i32(5).put_i32(6).put_u64(image);
    out
}

/// Body of FILL.
fn fill(brush: &[u8], mask: &[u8]) -> Vec<u8> {
    let mut out = brush.to_vec();
    out.put_u16(8).put_bytes(mask);
    out
}

/// Body of COPY and BLEND without a mask.
fn copy(image: u64, src_area: Rect) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(image).put_rect(&src_area).put_u16(8).put_u8(1).put_bytes(&mask(1, 0));
    out
}

/// Body of OPAQUE without a mask.
fn opaque(image: u64, src_area: Rect) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(image).put_rect(&src_area).put_bytes(&brush(1, 0xaabbcc));
    out.put_u16(8).put_u8(0).put_bytes(&mask(0, 0));
    out
}

/// Body of ROP3.
fn rop3(image: u64, src_area: Rect, brush: &[u8], mask: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(image).put_rect(&src_area).put_bytes(brush).put_u8(0xe2).put_u8(1).put_bytes(mask);
    out
}

/// Body of TRANSPARENT.
fn transparent(image: u64, src_area: Rect) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(image).put_rect(&src_area).put_u32(11).put_u32(22);
    out
}

/// Body of ALPHA_BLEND, with bits among its flags that mean nothing.
fn alpha_blend(image: u64, src_area: Rect) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(0xff02).put_u8(99).put_u64(image).put_rect(&src_area);
    out
}

/// Body of COMPOSITE with transforms: flags, source, its transform, mask, its transform.
fn composite(flags: u32, src: u64, src_transform: u64, mask: u64, mask_transform: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(flags).put_u64(src).put_u64(src_transform).put_u64(mask).put_u64(mask_transform);
    out.put_i16(-1).put_i16(2).put_i16(3).put_i16(-4);
    out
}

/// Body of STROKE with a solid brush.
fn stroke(path: u64, flags: u8, nseg: u8, style: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(path).put_u8(flags).put_u8(1).put_u8(2).put_u8(nseg).put_u32(99).put_u32(99);
    out.put_u64(style).put_bytes(&brush(1, 0xaabbcc)).put_u16(64).put_u16(7);
    out
}

/// A path of segments: flags and points. Behind it the head of a segment without points.
fn path(ram: &mut TestRam, segments: &[(u32, Vec<(i32, i32)>)]) -> u64 {
    let mut out = Vec::new();
    for (flags, points) in segments {
        out.put_u32(*flags).put_u32(u32::try_from(points.len()).unwrap());
        for (x, y) in points {
            out.put_i32(*x).put_i32(*y);
        }
    }
    out.put_u64(0xffff_ffff);
    path_of(ram, &out)
}

fn path_of(ram: &mut TestRam, data: &[u8]) -> u64 {
    let first = data.len() / 2;
    let rest = ram.put(&chunk(&data[first..], 0));
    ram.put(&[12u32.to_le_bytes().to_vec(), chunk(&data[..first], rest)].concat())
}

/// Body of TEXT with solid brushes.
fn text(string: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(string).put_rect(&rect(1, 2, 3, 4));
    out.put_bytes(&brush(1, 5)).put_bytes(&brush(1, 6)).put_u16(8).put_u16(9);
    out
}

/// A glyph at 1,2 from 3,4.
fn glyph(width: u16, height: u16, rows: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i32(3).put_i32(4).put_i32(1).put_i32(2).put_u16(width).put_u16(height);
    out.put_bytes(rows);
    out
}

/// A bitmap image: id 77, flags 1, a descriptor that lies about its size.
struct TestBitmap {
    format: u8,
    flags: u8,
    width: u32,
    height: u32,
    stride: u32,
    palette: u64,
    data: u64,
}

/// 8×4 pixels of 32 bits, top row first, in one piece.
const RGB: TestBitmap =
    TestBitmap { format: 8, flags: 5, width: 8, height: 4, stride: 32, palette: 0, data: 0 };

/// 8×4 pixels of 4 bits, in chunks.
const NIBBLES: TestBitmap =
    TestBitmap { format: 4, flags: 0, width: 8, height: 4, stride: 4, palette: 0, data: 0 };

impl TestBitmap {
    fn put(self, ram: &mut TestRam) -> u64 {
        let mut out = descriptor(0, 1);
        out.put_u8(self.format).put_u8(self.flags).put_u32(self.width).put_u32(self.height);
        out.put_u32(self.stride).put_u64(self.palette).put_u64(self.data);
        ram.put(&out)
    }
}

fn descriptor(kind: u8, flags: u8) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(77).put_u8(kind).put_u8(flags).put_u32(1000).put_u32(2000);
    out
}

/// Stands for the decoder: a width, a height, and a byte that all pixels of one byte are.
fn fake_quic(stream: &[u8], limit: usize) -> Result<Bitmap, String> {
    let &[width, height, value, ..] = stream else { return Err("short".into()) };
    let size = usize::from(width) * usize::from(height);
    if size > limit {
        return Err(format!("{size} bytes, limit {limit}"));
    }
    let (width, height, stride) = (width.into(), height.into(), width.into());
    let (format, data) = (BitmapFormat::Alpha8, Arc::new(vec![value; size]));
    Ok(Bitmap { format, top_down: true, width, height, stride, palette: None, data: data.into() })
}

/// A surface image, with garbage for flags as Xspice has it.
fn surface_image(ram: &mut TestRam, id: u32) -> u64 {
    let mut out = descriptor(104, 0xa5);
    out.put_u32(id);
    ram.put(&out)
}

fn chunk(data: &[u8], next: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(u32::try_from(data.len()).unwrap()).put_u64(0xdead_beef).put_u64(next);
    out.put_bytes(data);
    out
}

/// Puts bytes as a chain of chunks of at most `size` bytes.
fn put_chunks(ram: &mut TestRam, data: &[u8], size: usize) -> u64 {
    data.chunks(size).rev().fold(0, |next, piece| ram.put(&chunk(piece, next)))
}

fn palette(ram: &mut TestRam, entries: &[u32]) -> u64 {
    let mut out = Vec::new();
    out.put_u64(5).put_u16(u16::try_from(entries.len()).unwrap());
    entries.iter().for_each(|&entry| {
        out.put_u32(entry);
    });
    ram.put(&out)
}

/// A cursor command of type SET at −3,7, visible.
fn cursor_set(shape: u64) -> Vec<u8> {
    let mut union = Vec::new();
    union.put_i16(-3).put_i16(7).put_u8(1).put_u64(shape);
    vec![0; 150].with(9, &union)
}

fn shape(kind: u16, width: u16, height: u16, data_size: u32, chunk: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(9).put_u16(kind).put_u16(width).put_u16(height).put_u16(1).put_u16(2);
    out.put_u32(data_size).put_bytes(chunk);
    out
}

fn surface_command(id: u32, kind: u8, flags: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(0).put_u32(id).put_u8(kind).put_u32(flags);
    out.put_u32(32).put_u32(8).put_u32(4).put_i32(-32).put_u64(0);
    out
}

fn update_command(area: Rect, surface: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(0).put_rect(&area).put_u32(42).put_u32(surface);
    out
}

/// Puts a payload and names it as a command of the guest.
fn command(ram: &mut TestRam, kind: u32, payload: &[u8]) -> CommandExt {
    CommandExt { data: ram.put(payload), kind, group_id: GUEST, flags: 0 }
}

fn display(
    ram: &TestRam,
    command: &CommandExt,
    limits: &Limits,
) -> Result<DisplayCommand, CommandError> {
    parse_display_command(&ram.slots, command, limits)
}

/// Parses a drawable that must be good, and checks its release.
fn drawn(ram: &mut TestRam, payload: &[u8], flags: u32) -> Drawable {
    let command = CommandExt { flags, ..command(ram, CMD_DRAW, payload) };
    match display(ram, &command, &Limits::default()) {
        Ok(DisplayCommand::Draw(drawable, release)) => {
            assert_eq!(release, release_of(ram, &command));
            drawable
        }
        other => panic!("not a drawable: {other:?}"),
    }
}

fn release_of(ram: &TestRam, command: &CommandExt) -> ReleaseInfo {
    let address = HostAddress(usize::try_from(ram.host(command.data)).unwrap());
    ReleaseInfo::new(address, command.group_id)
}

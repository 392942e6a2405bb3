//! The pixels of one surface, mostly in guest memory, reached by copying pieces of rows.
//!
//! Runs on display-N, the only thread that draws.
//! The guest maps the same memory and may write there at any time, so no reference into it ever
//! exists: a `&[u8]` would promise the compiler bytes that hold still.
//! Every access copies raw bytes between private memory and the surface, with the place computed from the
//! checked geometry alone; what the guest wrote there is only ever taken for colours, never for a length.
//! A copy that races with the guest's own write yields some mixture of old and new bytes, which is
//! all that a guest that draws under our hands can expect.
//!
//! This is the only file of the canvas with unsafe code.
#![expect(unsafe_code, reason = "guest memory is reached by pointer")]

use std::ptr::{self, NonNull};

use crate::protocol::geometry::Rect;
use crate::qxl::guest::{GuestRange, HostAddress};
use crate::qxl::model::SurfaceFormat;

/// Shape of a surface in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Layout of a pixel.
    pub format: SurfaceFormat,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// Bytes from row to row. Negative: the top row lies last in memory.
    pub stride: i32,
}

impl Geometry {
    /// Bytes that the rows occupy, or `None` if the shape is impossible.
    #[must_use]
    pub fn byte_len(&self) -> Option<usize> {
        let limit = i32::MAX.unsigned_abs();
        if self.width == 0 || self.height == 0 || self.width > limit || self.height > limit {
            return None;
        }
        let row = (u64::from(self.width) * u64::from(self.format.bits())).div_ceil(8);
        let stride = self.stride.unsigned_abs();
        if u64::from(stride) < row {
            return None;
        }
        usize::try_from(stride).ok()?.checked_mul(usize::try_from(self.height).ok()?)
    }
}

/// Bytes of one pixel in the rows that [`Target::read_row`] and [`Target::write_row`] exchange.
///
/// One-bit pixels travel as one byte each, of which bit 0 counts, so that callers need not know about bits.
#[must_use]
pub fn pixel_bytes(format: SurfaceFormat) -> usize {
    match format {
        SurfaceFormat::A1 | SurfaceFormat::A8 => 1,
        SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565 => 2,
        SurfaceFormat::Xrgb | SurfaceFormat::Argb => 4,
    }
}

/// The pixels of a surface.
#[derive(Debug)]
pub struct Target {
    memory: Memory,
    geometry: Geometry,
    /// `|geometry.stride|`; `stride * height` bytes exist in `memory`.
    stride: usize,
}

#[derive(Debug)]
enum Memory {
    Guest(GuestPixels),
    Private(Box<[u8]>),
}

/// Start of a surface in guest memory.
///
/// Invariant: at least `stride * height` bytes from here stay mapped, readable and writable until the
/// owner drops the target; freed by nobody here.
#[derive(Debug)]
struct GuestPixels(NonNull<u8>);

// SAFETY: the pointer is used for plain copies only, and the constructor's contract makes the mapping
// valid in the whole process, not on one thread.
unsafe impl Send for GuestPixels {}

impl Target {
    /// A surface in guest memory of `len` bytes from `ptr`.
    ///
    /// `None` if the pointer is null or the geometry is impossible or needs more than `len` bytes.
    ///
    /// # Safety
    ///
    /// - `ptr` is valid for reads and writes of `len` bytes until the target is dropped, from any thread;
    /// - no Rust reference to these bytes exists meanwhile (other writers outside of Rust may);
    /// - the caller keeps and frees the mapping.
    #[must_use]
    pub unsafe fn new(ptr: *mut u8, len: usize, geometry: Geometry) -> Option<Self> {
        let start = NonNull::new(ptr)?;
        if geometry.byte_len()? > len {
            return None;
        }
        let stride = usize::try_from(geometry.stride.unsigned_abs()).ok()?;
        Some(Self { memory: Memory::Guest(GuestPixels(start)), geometry, stride })
    }

    /// A surface in a checked range of guest memory.
    ///
    /// `None` if the geometry is impossible or needs more than the range. As the range itself, the
    /// target is to be given up in the calls that precede a change of its memory slot.
    #[must_use]
    pub fn on_guest(range: &GuestRange, geometry: Geometry) -> Option<Self> {
        // SAFETY: the range was checked against its memory slot, whose registration promised that
        // the memory is mapped while the slot and what was made from it are used; nobody makes
        // references into guest memory.
        unsafe { Self::new(range.as_ptr(), range.len(), geometry) }
    }

    /// Where the pixels lie in guest memory, and how many bytes; `None` for private ones.
    #[must_use]
    pub fn guest_memory(&self) -> Option<(HostAddress, usize)> {
        match &self.memory {
            Memory::Guest(pixels) => Some((
                HostAddress(pixels.0.as_ptr().expose_provenance()),
                self.geometry.byte_len()?,
            )),
            Memory::Private(_) => None,
        }
    }

    /// A surface in private memory, zero filled, rows top down and close together.
    ///
    /// `None` if the size is impossible or memory is short.
    #[must_use]
    pub fn owned(format: SurfaceFormat, width: u32, height: u32) -> Option<Self> {
        let row = u64::from(width).checked_mul(u64::from(format.bits()))?.div_ceil(8);
        let stride = i32::try_from(row.checked_next_multiple_of(4)?).ok()?;
        Self::owned_with(Geometry { format, width, height, stride })
    }

    /// As [`Target::owned`] with a stride of either sign.
    #[must_use]
    pub fn owned_with(geometry: Geometry) -> Option<Self> {
        let len = geometry.byte_len()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).ok()?;
        bytes.resize(len, 0);
        let stride = usize::try_from(geometry.stride.unsigned_abs()).ok()?;
        Some(Self { memory: Memory::Private(bytes.into_boxed_slice()), geometry, stride })
    }

    /// Shape of the surface.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Layout of a pixel.
    #[must_use]
    pub fn format(&self) -> SurfaceFormat {
        self.geometry.format
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.geometry.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.geometry.height
    }

    /// Copies pixels of row `y` from column `x0` on into `out`, whose length says how many.
    ///
    /// Pixels have [`pixel_bytes`] bytes; one-bit pixels come as bytes 0 or 1.
    /// A piece that does not lie inside the surface reads as zeros.
    pub fn read_row(&self, y: u32, x0: u32, out: &mut [u8]) {
        let read = if self.geometry.format == SurfaceFormat::A1 {
            self.read_bits(y, x0, out)
        } else {
            self.place(y, x0, out.len()).map(|at| self.load(at, out))
        };
        if read.is_none() {
            out.fill(0);
        }
    }

    /// Copies `pixels` over row `y` from column `x0` on; the counterpart of [`Target::read_row`].
    ///
    /// A piece that does not lie inside the surface is not written at all.
    pub fn write_row(&mut self, y: u32, x0: u32, pixels: &[u8]) {
        if self.geometry.format == SurfaceFormat::A1 {
            self.write_bits(y, x0, pixels);
        } else if let Some(at) = self.place(y, x0, pixels.len()) {
            self.store(at, pixels);
        }
    }

    /// Copies a row of pixels for each row of a rectangle; `row` gives the n-th one, counted from the top.
    ///
    /// As [`Target::write_row`] for every row, with the place computed once. Rows that do not have the rectangle's
    /// width are left out, and so is a rectangle that does not lie inside the surface.
    pub fn write_rows<'p>(&mut self, rect: &Rect, mut row: impl FnMut(u32) -> Option<&'p [u8]>) {
        if self.geometry.format == SurfaceFormat::A1 {
            for (n, y) in (rect.top.unsigned_abs()..rect.bottom.unsigned_abs()).enumerate() {
                if let Some(pixels) = u32::try_from(n).ok().and_then(&mut row) {
                    self.write_bits(y, rect.left.unsigned_abs(), pixels);
                }
            }
            return;
        }
        let Some((mut at, len)) = self.place_rect(rect) else { return };
        for n in 0..rect.height() {
            if let Some(pixels) = row(n).filter(|p| p.len() == len) {
                self.store(at, pixels);
            }
            at = self.next_row(at);
        }
    }

    /// Lets `change` replace the pixels of each row of a rectangle; it gets the row's number, counted from the top,
    /// and a copy of its pixels in `scratch`. As reading and writing row by row, with the place computed once.
    pub fn update_rows(
        &mut self,
        rect: &Rect,
        scratch: &mut [u8],
        mut change: impl FnMut(u32, &mut [u8]),
    ) {
        let Some((mut at, len)) = self.place_rect(rect) else { return };
        let Some(pixels) = scratch.get_mut(..len) else { return };
        for n in 0..rect.height() {
            self.load(at, pixels);
            change(n, pixels);
            self.store(at, pixels);
            at = self.next_row(at);
        }
    }

    /// Moves a rectangle's pixels here from a place `dx` to the right and `dy` below, as if all had been read
    /// before the first one is written. Both places lie inside the surface, or nothing happens.
    ///
    /// False for one-bit pixels, which are not bytes to be moved.
    pub fn move_rect(&mut self, rect: &Rect, dx: i32, dy: i32) -> bool {
        if self.geometry.format == SurfaceFormat::A1 {
            return false;
        }
        let from = rect.translate(dx, dy).and_then(|from| self.place_rect(&from));
        let (Some((from, _)), Some((to, len))) = (from, self.place_rect(rect)) else { return true };
        let rows = usize::try_from(rect.height()).unwrap_or(0);
        let (mut from, mut to) = (from, to);
        if dy < 0 {
            // The source lies above: the lower rows go first.
            for _ in 1..rows {
                (from, to) = (self.next_row(from), self.next_row(to));
            }
        }
        for _ in 0..rows {
            self.move_bytes(from, to, len);
            (from, to) = if dy < 0 {
                (self.row_before(from), self.row_before(to))
            } else {
                (self.next_row(from), self.next_row(to))
            };
        }
        true
    }

    /// Where a rectangle's first row lies and how long its rows are; `None` unless all of it is inside the surface.
    fn place_rect(&self, rect: &Rect) -> Option<(usize, usize)> {
        if rect.is_empty() || rect.left < 0 || rect.top < 0 {
            return None;
        }
        let bytes = pixel_bytes(self.geometry.format);
        let len = usize::try_from(rect.width()).ok()?.checked_mul(bytes)?;
        let (x, last) = (rect.left.unsigned_abs(), rect.bottom.unsigned_abs() - 1);
        self.place(last, x, len)?;
        Some((self.place(rect.top.unsigned_abs(), x, len)?, len))
    }

    fn next_row(&self, at: usize) -> usize {
        if self.geometry.stride < 0 {
            at.wrapping_sub(self.stride)
        } else {
            at.wrapping_add(self.stride)
        }
    }

    fn row_before(&self, at: usize) -> usize {
        if self.geometry.stride < 0 {
            at.wrapping_add(self.stride)
        } else {
            at.wrapping_sub(self.stride)
        }
    }

    /// Sets every byte to 0, the padding between rows included.
    pub fn clear(&mut self) {
        let zeros = [0; 4096];
        let len = self.stride * self.rows();
        let mut at = 0;
        while at < len {
            let n = zeros.len().min(len - at);
            self.store(at, &zeros[..n]);
            at += n;
        }
    }

    fn rows(&self) -> usize {
        usize::try_from(self.geometry.height).unwrap_or(0)
    }

    /// Where the row's first byte lies.
    fn row_start(&self, y: u32) -> Option<usize> {
        let last = self.geometry.height.checked_sub(1)?;
        let from_start = if self.geometry.stride < 0 { last.checked_sub(y)? } else { y };
        (y <= last).then_some(())?;
        usize::try_from(from_start).ok()?.checked_mul(self.stride)
    }

    /// Where a piece of `len` bytes lies; `None` unless it is made of whole pixels inside the surface.
    fn place(&self, y: u32, x0: u32, len: usize) -> Option<usize> {
        let bytes = pixel_bytes(self.geometry.format);
        let x0 = usize::try_from(x0).ok()?;
        let width = usize::try_from(self.geometry.width).ok()?;
        let end = x0.checked_add(len / bytes)?;
        if end > width || !len.is_multiple_of(bytes) {
            return None;
        }
        Some(self.row_start(y)? + x0 * bytes)
    }

    /// First byte and first bit of a piece of `len` one-bit pixels, and how many bytes it touches.
    fn place_bits(&self, y: u32, x0: u32, len: usize) -> Option<(usize, usize, usize)> {
        let x0 = usize::try_from(x0).ok()?;
        let end = x0.checked_add(len)?;
        if end > usize::try_from(self.geometry.width).ok()? {
            return None;
        }
        let first = x0 / 8;
        Some((self.row_start(y)? + first, x0 % 8, end.div_ceil(8) - first))
    }

    /// One-bit pixels: the lowest bit of a byte is the leftmost pixel, as pixman has it on little endian machines.
    fn read_bits(&self, y: u32, x0: u32, out: &mut [u8]) -> Option<()> {
        let (at, mut bit, bytes) = self.place_bits(y, x0, out.len())?;
        let mut rest = out;
        for n in 0..bytes {
            let mut byte = [0];
            self.load(at + n, &mut byte);
            let here = rest.len().min(8 - bit);
            let (now, later) = rest.split_at_mut(here);
            for (i, pixel) in now.iter_mut().enumerate() {
                *pixel = byte[0] >> (bit + i) & 1;
            }
            rest = later;
            bit = 0;
        }
        Some(())
    }

    fn write_bits(&mut self, y: u32, x0: u32, pixels: &[u8]) {
        let Some((at, mut bit, bytes)) = self.place_bits(y, x0, pixels.len()) else { return };
        let mut rest = pixels;
        for n in 0..bytes {
            let mut byte = [0];
            self.load(at + n, &mut byte);
            let (now, later) = rest.split_at(rest.len().min(8 - bit));
            for (i, pixel) in now.iter().enumerate() {
                let mask = 1 << (bit + i);
                byte[0] = if pixel & 1 == 0 { byte[0] & !mask } else { byte[0] | mask };
            }
            self.store(at + n, &byte);
            rest = later;
            bit = 0;
        }
    }

    /// Copies bytes out; `at + out.len()` must lie within `stride * height`, else nothing happens.
    fn load(&self, at: usize, out: &mut [u8]) {
        if !self.holds(at, out.len()) {
            return;
        }
        match &self.memory {
            Memory::Private(bytes) => out.copy_from_slice(&bytes[at..at + out.len()]),
            Memory::Guest(start) => {
                let from = start.0.as_ptr().wrapping_add(at).cast_const();
                // SAFETY: `holds` keeps the range within the bytes that `GuestPixels` promises; `out` is
                // private memory of exactly this length, so the two cannot overlap.
                unsafe { ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) }
            }
        }
    }

    /// Copies bytes in; the counterpart of `load`.
    fn store(&mut self, at: usize, bytes: &[u8]) {
        if !self.holds(at, bytes.len()) {
            return;
        }
        match &mut self.memory {
            Memory::Private(own) => own[at..at + bytes.len()].copy_from_slice(bytes),
            Memory::Guest(start) => {
                let to = start.0.as_ptr().wrapping_add(at);
                // SAFETY: as in `load`, with the directions exchanged.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
            }
        }
    }

    /// Moves bytes inside the surface; places may overlap. Both must lie within `stride * height`, else nothing happens.
    fn move_bytes(&mut self, from: usize, to: usize, len: usize) {
        if !self.holds(from, len) || !self.holds(to, len) {
            return;
        }
        match &mut self.memory {
            Memory::Private(own) => own.copy_within(from..from + len, to),
            Memory::Guest(start) => {
                let source = start.0.as_ptr().wrapping_add(from).cast_const();
                let dest = start.0.as_ptr().wrapping_add(to);
                // SAFETY: `holds` keeps both ranges within the bytes that `GuestPixels` promises; `copy`
                // allows them to overlap.
                unsafe { ptr::copy(source, dest, len) }
            }
        }
    }

    fn holds(&self, at: usize, len: usize) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.stride * self.rows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(format: SurfaceFormat, width: u32, height: u32, stride: i32) -> Target {
        Target::owned_with(Geometry { format, width, height, stride }).unwrap()
    }

    #[test]
    fn rows_of_a_negative_stride_go_up() {
        let mut memory = vec![0u8; 24];
        let geometry = Geometry { format: SurfaceFormat::Xrgb, width: 2, height: 3, stride: -8 };
        // SAFETY: the vector outlives the target and nothing else touches it meanwhile.
        let mut target =
            unsafe { Target::new(memory.as_mut_ptr(), memory.len(), geometry) }.unwrap();
        target.write_row(0, 1, &[1, 2, 3, 4]);
        let mut back = [9; 8];
        target.read_row(0, 0, &mut back);
        assert_eq!(back, [0, 0, 0, 0, 1, 2, 3, 4]);
        drop(target);
        assert_eq!(&memory[16..], &[0, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn pieces_outside_the_surface_are_neither_read_nor_written() {
        let mut target = target(SurfaceFormat::Rgb565, 4, 2, 12);
        target.write_row(0, 3, &[1; 4]);
        target.write_row(2, 0, &[1; 2]);
        target.write_row(u32::MAX, u32::MAX, &[1; 2]);
        target.write_row(0, 0, &[1; 3]);
        let mut out = [7; 8];
        target.read_row(0, 0, &mut out);
        assert_eq!(out, [0; 8]);
        out.fill(7);
        target.read_row(1, 1, &mut out);
        assert_eq!(out, [0; 8]);
    }

    #[test]
    fn impossible_geometry_is_refused() {
        let ok = Geometry { format: SurfaceFormat::Xrgb, width: 4, height: 4, stride: 16 };
        assert_eq!(ok.byte_len(), Some(64));
        for bad in [
            Geometry { width: 0, ..ok },
            Geometry { height: 0, ..ok },
            Geometry { width: 5, ..ok },
            Geometry { stride: 15, ..ok },
            Geometry { stride: -15, ..ok },
            Geometry { width: u32::MAX, ..ok },
        ] {
            assert_eq!(bad.byte_len(), None, "{bad:?}");
        }
        assert_eq!(Geometry { stride: i32::MIN, ..ok }.byte_len(), Some(1 << 33));
        let mut memory = [0u8; 63];
        // SAFETY: the array outlives the call, which must refuse it.
        assert!(unsafe { Target::new(memory.as_mut_ptr(), memory.len(), ok) }.is_none());
        // SAFETY: a null pointer is refused before any use.
        assert!(unsafe { Target::new(ptr::null_mut(), 64, ok) }.is_none());
    }

    /// A surface whose bytes are all different as far as they can be.
    fn numbered(format: SurfaceFormat, stride: i32) -> Target {
        let mut target = target(format, 9, 7, stride);
        let bytes = 9 * pixel_bytes(format);
        for y in 0..7u8 {
            let row: Vec<u8> =
                (0..36u8).map(|x| y.wrapping_mul(37).wrapping_add(x * 5)).take(bytes).collect();
            target.write_row(y.into(), 0, &row);
        }
        target
    }

    fn all_rows(target: &Target) -> Vec<Vec<u8>> {
        let mut rows = Vec::new();
        for y in 0..7 {
            let mut row = vec![0; 9 * pixel_bytes(target.format())];
            target.read_row(y, 0, &mut row);
            rows.push(row);
        }
        rows
    }

    #[test]
    fn a_rectangle_moves_as_if_it_had_been_read_before() {
        use SurfaceFormat::{A8, Rgb565, Xrgb};
        let rect = Rect { top: 2, left: 3, bottom: 5, right: 7 };
        for (format, stride) in [(Xrgb, 40), (Xrgb, -36), (Rgb565, 20), (Rgb565, -20), (A8, 9)] {
            for (dx, dy) in (-4..4).flat_map(|dx| (-3..4).map(move |dy| (dx, dy))) {
                let mut target = numbered(format, stride);
                let before = all_rows(&target);
                assert!(target.move_rect(&rect, dx, dy));
                let mut want = before.clone();
                let bytes = pixel_bytes(format);
                let from = rect.translate(dx, dy).unwrap();
                if from.top >= 0 && from.left >= 0 && from.bottom <= 7 && from.right <= 9 {
                    for (y, x) in (2..5usize).flat_map(|y| (3..7usize).map(move |x| (y, x))) {
                        let source = &before[y.wrapping_add_signed(dy as isize)];
                        let at = x.wrapping_add_signed(dx as isize) * bytes;
                        want[y][x * bytes..][..bytes].copy_from_slice(&source[at..][..bytes]);
                    }
                }
                assert_eq!(all_rows(&target), want, "{format:?} {stride} by {dx}, {dy}");
            }
        }
        assert!(!target(SurfaceFormat::A1, 9, 7, 4).move_rect(&rect, 1, 1));
    }

    #[test]
    fn rows_of_a_rectangle_are_the_same_as_rows_one_by_one() {
        use SurfaceFormat::{A1, A8, Rgb555, Xrgb};
        for (format, stride) in [(Xrgb, 40), (Xrgb, -36), (Rgb555, 20), (A8, -9), (A1, 4)] {
            let (mut one, mut other) = (numbered(format, stride), numbered(format, stride));
            let len = 4 * pixel_bytes(format);
            let rows: Vec<Vec<u8>> = (0..3u8).map(|n| vec![n.wrapping_mul(91) | 1; len]).collect();
            let rect = Rect { top: 1, left: 2, bottom: 4, right: 6 };
            one.write_rows(&rect, |n| rows.get(n as usize).map(Vec::as_slice));
            for (y, row) in (1..).zip(&rows) {
                other.write_row(y, 2, row);
            }
            assert_eq!(all_rows(&one), all_rows(&other), "{format:?} {stride}");
            if format != A1 {
                let mut scratch = vec![0; len];
                one.update_rows(&rect, &mut scratch, |n, row| {
                    let key = [1, 2, 3][n as usize];
                    row.iter_mut().for_each(|b| *b ^= key);
                });
                for (y, n) in (1..4).zip(1u8..) {
                    other.read_row(y, 2, &mut scratch);
                    scratch.iter_mut().for_each(|b| *b ^= n);
                    other.write_row(y, 2, &scratch);
                }
                assert_eq!(all_rows(&one), all_rows(&other), "{format:?} {stride}");
            }
            // Outside, inverted, of another width: nothing.
            for bad in [
                Rect { top: 5, bottom: 8, ..rect },
                Rect { left: 6, right: 10, ..rect },
                Rect { top: -1, bottom: 2, ..rect },
                Rect { left: 6, right: 2, ..rect },
                Rect { right: 7, ..rect },
            ] {
                if format != A1 {
                    one.write_rows(&bad, |_| Some(&rows[0]));
                }
            }
            assert_eq!(all_rows(&one), all_rows(&other), "{format:?} {stride}");
        }
    }

    #[test]
    fn single_bits_keep_their_neighbours() {
        let mut target = target(SurfaceFormat::A1, 21, 2, 4);
        target.write_row(1, 0, &[1; 21]);
        target.write_row(1, 5, &[0; 9]);
        let mut out = [9; 21];
        target.read_row(1, 0, &mut out);
        let expected: Vec<u8> = (0..21).map(|x| u8::from(!(5..14).contains(&x))).collect();
        assert_eq!(&out[..], &expected[..]);
        target.read_row(0, 0, &mut out);
        assert_eq!(out, [0; 21]);
    }

    #[test]
    fn clear_zeroes_everything() {
        let mut target = target(SurfaceFormat::A8, 100, 100, -100);
        for y in 0..100 {
            target.write_row(y, 0, &[3; 100]);
        }
        target.clear();
        let mut out = [1; 100];
        target.read_row(99, 0, &mut out);
        assert_eq!(out, [0; 100]);
    }
}

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

use crate::qxl::guest::GuestRange;
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

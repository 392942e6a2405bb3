//! JPEG encoding by libjpeg-turbo, the library that stock clients decode with.
//!
//! The library's handle is a compressor's own; one compressor belongs to one thread at a time and
//! keeps nothing of a picture. It is asked through the functions of its version 2 interface, which
//! Debian 12 has and version 3 has kept.
//!
//! Linked by name, for the same reason as pixman.

use std::ffi::{c_int, c_ulong, c_void};
use std::ptr::NonNull;

/// `TJSAMP_420`: a colour for each four pixels.
const SUBSAMPLING: c_int = 2;
/// `TJFLAG_BOTTOMUP`.
const BOTTOM_UP: c_int = 2;
/// `TJFLAG_NOREALLOC`: the buffer is ours, with as many bytes as `tjBufSize` asks for.
const NO_REALLOC: c_int = 1024;
/// `TJFLAG_ACCURATEDCT`: with AVX2 it takes no longer than the fast one.
const ACCURATE_DCT: c_int = 4096;
/// `JPEG_MAX_DIMENSION` of libjpeg.
pub const MAX_SIDE: u32 = 65_500;

#[link(name = "turbojpeg")]
unsafe extern "C" {
    fn tjInitCompress() -> *mut c_void;
    fn tjDestroy(handle: *mut c_void) -> c_int;
    fn tjBufSize(width: c_int, height: c_int, subsampling: c_int) -> c_ulong;
    fn tjCompress2(
        handle: *mut c_void,
        pixels: *const u8,
        width: c_int,
        pitch: c_int,
        height: c_int,
        pixel_format: c_int,
        jpeg: *mut *mut u8,
        jpeg_size: *mut c_ulong,
        subsampling: c_int,
        quality: c_int,
        flags: c_int,
    ) -> c_int;
}

/// Layout of a pixel (`TJPF_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum PixelFormat {
    /// Bytes B, G, R.
    Bgr = 1,
    /// Bytes B, G, R and one that is not looked at.
    Bgrx = 3,
}

impl PixelFormat {
    /// Bytes of a pixel.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Bgr => 3,
            Self::Bgrx => 4,
        }
    }
}

/// A picture to be encoded.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    /// The rows, `pitch` bytes apart.
    pub data: &'a [u8],
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from row to row.
    pub pitch: usize,
    /// Layout of a pixel.
    pub format: PixelFormat,
    /// The first row is the bottom one.
    pub bottom_up: bool,
}

/// An encoder and its memory.
#[derive(Debug)]
pub struct Compressor {
    /// Freed in `drop`; used by whoever has the value mutably.
    handle: NonNull<c_void>,
    /// The last picture's stream.
    buffer: Vec<u8>,
}

// SAFETY: the library keeps all state in the handle and binds it to no thread; `Compressor` is not Sync, so two threads
// never use it at once.
unsafe impl Send for Compressor {}

impl Compressor {
    /// A compressor; `None` if memory is short.
    #[must_use]
    pub fn new() -> Option<Self> {
        // SAFETY: takes nothing and returns a new handle or NULL.
        let handle = unsafe { tjInitCompress() };
        NonNull::new(handle).map(|handle| Self { handle, buffer: Vec::new() })
    }

    /// Bytes that it keeps.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// A baseline JPEG with one colour for four pixels; `quality` is 1..=100. `None` if the picture is none, has a side
    /// above [`MAX_SIDE`], or memory is short.
    pub fn compress(&mut self, pixels: &Pixels<'_>, quality: u8) -> Option<&[u8]> {
        let side = |n: u32| c_int::try_from(n).ok().filter(|_| (1..=MAX_SIDE).contains(&n));
        let (width, height) = (side(pixels.width)?, side(pixels.height)?);
        let pitch = c_int::try_from(pixels.pitch).ok()?;
        let row = usize::try_from(pixels.width).ok()?.checked_mul(pixels.format.bytes())?;
        let rows = usize::try_from(pixels.height).ok()?;
        let need = pixels.pitch.checked_mul(rows - 1)?.checked_add(row)?;
        if pixels.pitch < row || pixels.data.len() < need || !(1..=100).contains(&quality) {
            return None;
        }
        // SAFETY: takes numbers only; (unsigned) -1 for a size that does not fit.
        let most = unsafe { tjBufSize(width, height, SUBSAMPLING) };
        let most = usize::try_from(most).ok().filter(|most| *most < usize::MAX / 2)?;
        self.buffer.clear();
        self.buffer.try_reserve_exact(most).ok()?;
        let mut out = self.buffer.as_mut_ptr();
        let mut size = c_ulong::try_from(self.buffer.capacity()).ok()?;
        let flags = NO_REALLOC | ACCURATE_DCT | if pixels.bottom_up { BOTTOM_UP } else { 0 };
        // SAFETY: the handle is ours alone; the library reads `height` rows of `width` pixels, `pitch` bytes apart, all of
        // which lie in `data` (checked above), and writes at most `most` bytes to `out`, which has room for them; with
        // NO_REALLOC it neither frees nor replaces `out`.
        let failed = unsafe {
            tjCompress2(
                self.handle.as_ptr(),
                pixels.data.as_ptr(),
                width,
                pitch,
                height,
                pixels.format as c_int,
                &raw mut out,
                &raw mut size,
                SUBSAMPLING,
                c_int::from(quality),
                flags,
            )
        };
        let size = usize::try_from(size).ok().filter(|size| failed == 0 && *size <= most)?;
        // SAFETY: the library has written that many bytes, no more than were reserved.
        unsafe { self.buffer.set_len(size) };
        Some(&self.buffer)
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        // SAFETY: the handle came from `tjInitCompress` and is freed once. (It fails for NULL only.)
        unsafe { tjDestroy(self.handle.as_ptr()) };
    }
}

/// Decoding, for tests of the encoder.
#[cfg(test)]
pub mod decode {
    use super::{PixelFormat, c_int, c_ulong, c_void};

    #[link(name = "turbojpeg")]
    unsafe extern "C" {
        fn tjInitDecompress() -> *mut c_void;
        fn tjDecompress2(
            handle: *mut c_void,
            jpeg: *const u8,
            jpeg_size: c_ulong,
            pixels: *mut u8,
            width: c_int,
            pitch: c_int,
            height: c_int,
            pixel_format: c_int,
            flags: c_int,
        ) -> c_int;
    }

    /// A JPEG of this size as packed rows of bytes B, G, R, x; `None` if it is none.
    pub fn bgrx(jpeg: &[u8], width: u32, height: u32) -> Option<Vec<u8>> {
        let (columns, rows) = (c_int::try_from(width).ok()?, c_int::try_from(height).ok()?);
        let mut pixels = vec![0; width as usize * height as usize * 4];
        // SAFETY: takes nothing and returns a new handle or NULL, which the next function refuses.
        let handle = unsafe { tjInitDecompress() };
        let size = c_ulong::try_from(jpeg.len()).ok()?;
        // SAFETY: both arrays have as many bytes as the numbers say; a stream of another size is scaled or refused.
        let failed = unsafe {
            tjDecompress2(
                handle,
                jpeg.as_ptr(),
                size,
                pixels.as_mut_ptr(),
                columns,
                columns * 4,
                rows,
                PixelFormat::Bgrx as c_int,
                0,
            )
        };
        // SAFETY: as `Compressor::drop`.
        unsafe { super::tjDestroy(handle) };
        (failed == 0).then_some(pixels)
    }
}

//! Compositing by libpixman, the library that every stock client draws with.
//!
//! Images are private memory of ours, owned by the value that owns pixman's own record of them, so no
//! pointer can outlive its pixels. Used by thread display-N; nothing here is shared between threads.
//!
//! Linked by name: the library's interface has not changed since version 0.16 of 2009, so a version check by
//! pkg-config at build time would only add a tool that a build needs.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

/// `pixman_image_t`, known to the library only.
#[repr(C)]
struct RawImage {
    _opaque: [u8; 0],
}

#[link(name = "pixman-1")]
unsafe extern "C" {
    fn pixman_image_create_bits(
        format: u32,
        width: c_int,
        height: c_int,
        bits: *mut u32,
        rowstride_bytes: c_int,
    ) -> *mut RawImage;
    fn pixman_image_unref(image: *mut RawImage) -> c_int;
    fn pixman_image_set_transform(image: *mut RawImage, transform: *const [i32; 9]) -> c_int;
    fn pixman_image_set_repeat(image: *mut RawImage, repeat: u32);
    fn pixman_image_set_filter(
        image: *mut RawImage,
        filter: u32,
        parameters: *const i32,
        count: c_int,
    ) -> c_int;
    fn pixman_image_set_component_alpha(image: *mut RawImage, component_alpha: c_int);
    fn pixman_image_composite32(
        op: u32,
        src: *mut RawImage,
        mask: *mut RawImage,
        dest: *mut RawImage,
        src_x: i32,
        src_y: i32,
        mask_x: i32,
        mask_y: i32,
        dest_x: i32,
        dest_y: i32,
        width: i32,
        height: i32,
    );
}

/// Layout of a pixel, as `pixman_format_code_t` numbers it: bits << 24, kind << 16, then the widths of
/// alpha, red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Format {
    /// 8 bits of alpha.
    A8 = 0x0801_8000,
    /// 16 bits, the highest unused.
    X1r5g5b5 = 0x1002_0555,
    /// 16 bits.
    R5g6b5 = 0x1002_0565,
    /// 32 bits, the high byte unused.
    X8r8g8b8 = 0x2002_0888,
    /// 32 bits, premultiplied.
    A8r8g8b8 = 0x2002_8888,
}

impl Format {
    fn bytes(self) -> usize {
        match self {
            Self::A8 => 1,
            Self::X1r5g5b5 | Self::R5g6b5 => 2,
            Self::X8r8g8b8 | Self::A8r8g8b8 => 4,
        }
    }
}

/// Affine mapping from destination to source, 16.16: two rows of a matrix whose third is 0 0 1.
pub type Transform = [i32; 6];

/// Whether an operator is one of `pixman_op_t`: pixman looks its number up in a table without a check.
#[must_use]
pub fn is_operator(op: u8) -> bool {
    matches!(op, 0..=0x0d | 0x10..=0x1b | 0x20..=0x2b | 0x30..=0x3e)
}

/// Whether a filter exists and needs no parameters: fast, good, best, nearest, bilinear.
#[must_use]
pub fn is_filter(filter: u8) -> bool {
    filter <= 4
}

/// Whether a repeat mode exists: none, normal, pad, reflect.
#[must_use]
pub fn is_repeat(repeat: u8) -> bool {
    repeat <= 3
}

/// Pixels that pixman reads or writes, zero filled.
pub struct Image {
    /// Freed in `drop`, before `words` goes.
    raw: NonNull<RawImage>,
    /// Rows of `stride` words each; never moved or resized while `raw` lives.
    words: Box<[u32]>,
    stride: usize,
}

impl Image {
    /// An image without pixels set; `None` if a side is 0 or above `i32::MAX`, or memory is short.
    #[must_use]
    pub fn new(format: Format, width: u32, height: u32) -> Option<Self> {
        let (columns, rows) = (c_int::try_from(width).ok()?, c_int::try_from(height).ok()?);
        if columns == 0 || rows == 0 {
            return None;
        }
        let stride = usize::try_from(width).ok()?.checked_mul(format.bytes())?.div_ceil(4);
        let len = stride.checked_mul(usize::try_from(height).ok()?)?;
        let stride_bytes = c_int::try_from(stride.checked_mul(4)?).ok()?;
        let mut words = Vec::new();
        words.try_reserve_exact(len).ok()?;
        words.resize(len, 0);
        let mut words = words.into_boxed_slice();
        // SAFETY: `words` has `rows` rows of `stride_bytes` bytes, each at least `columns` pixels, and
        // stays where it is until `raw` is freed.
        let raw = unsafe {
            pixman_image_create_bits(format as u32, columns, rows, words.as_mut_ptr(), stride_bytes)
        };
        Some(Self { raw: NonNull::new(raw)?, words, stride })
    }

    /// Words of row `y`; empty if there is no such row. Pixels lie in memory order.
    pub fn row_mut(&mut self, y: usize) -> &mut [u32] {
        let start = y.saturating_mul(self.stride);
        let end = start.saturating_add(self.stride);
        self.words.get_mut(start..end).unwrap_or_default()
    }

    /// Sets the pixels of row `y` from raw bytes, as many as there are.
    pub fn set_row(&mut self, y: usize, bytes: &[u8]) {
        for (word, four) in self.row_mut(y).iter_mut().zip(bytes.chunks(4)) {
            let mut whole = [0; 4];
            whole[..four.len()].copy_from_slice(four);
            *word = u32::from_ne_bytes(whole);
        }
    }

    /// Raw bytes of row `y`, as many as `out` holds.
    pub fn get_row(&self, y: usize, out: &mut [u8]) {
        let start = y.saturating_mul(self.stride);
        let words = self.words.get(start..).unwrap_or_default();
        for (four, word) in out.chunks_mut(4).zip(words) {
            four.copy_from_slice(&word.to_ne_bytes()[..four.len()]);
        }
    }

    /// What lies around the image; ignored unless [`is_repeat`].
    pub fn set_repeat(&mut self, repeat: u8) {
        if is_repeat(repeat) {
            // SAFETY: the image is alive and the number is one of pixman's.
            unsafe { pixman_image_set_repeat(self.raw.as_ptr(), repeat.into()) };
        }
    }

    /// How pixels between pixels are made; ignored unless [`is_filter`].
    pub fn set_filter(&mut self, filter: u8) {
        if is_filter(filter) {
            // SAFETY: the image is alive, and these filters take no parameters.
            unsafe {
                pixman_image_set_filter(self.raw.as_ptr(), filter.into(), ptr::null(), 0);
            }
        }
    }

    /// Where destination pixels come from; any numbers will do, pixman draws nothing when they overflow.
    pub fn set_transform(&mut self, t: &Transform) {
        let matrix = [t[0], t[1], t[2], t[3], t[4], t[5], 0, 0, 1 << 16];
        // SAFETY: the image is alive; pixman copies the nine numbers (`struct pixman_transform`).
        unsafe { pixman_image_set_transform(self.raw.as_ptr(), &raw const matrix) };
    }

    /// As a mask, this image has an alpha for each colour channel.
    pub fn set_component_alpha(&mut self) {
        // SAFETY: the image is alive.
        unsafe { pixman_image_set_component_alpha(self.raw.as_ptr(), 1) };
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: this is the one reference, made in `new`; the pixels still exist.
        unsafe { pixman_image_unref(self.raw.as_ptr()) };
    }
}

/// Combines source, optionally under a mask, with all of `dest`: size `width` by `height`, from these corners of
/// source and mask. False if the operator is none ([`is_operator`]); nothing is drawn then.
pub fn composite(
    op: u8,
    (src, src_at): (&mut Image, (i32, i32)),
    mask: Option<(&mut Image, (i32, i32))>,
    dest: &mut Image,
    (width, height): (i32, i32),
) -> bool {
    if !is_operator(op) {
        return false;
    }
    let (mask, mask_at) =
        mask.map_or((ptr::null_mut(), (0, 0)), |(mask, at)| (mask.raw.as_ptr(), at));
    let (src, dest) = (src.raw.as_ptr(), dest.raw.as_ptr());
    // SAFETY: all images are alive and, being borrowed exclusively, three different ones; the operator is
    // one of pixman's; pixman clips the rectangle to the destination.
    unsafe {
        pixman_image_composite32(
            op.into(),
            src,
            mask,
            dest,
            src_at.0,
            src_at.1,
            mask_at.0,
            mask_at.1,
            0,
            0,
            width,
            height,
        );
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_red_over_blue_is_purple() {
        let mut src = Image::new(Format::A8r8g8b8, 2, 1).unwrap();
        let mut dest = Image::new(Format::X8r8g8b8, 2, 1).unwrap();
        src.row_mut(0).copy_from_slice(&[0x8080_0000, 0]);
        dest.row_mut(0).fill(0x0000_00ff);
        assert!(composite(3, (&mut src, (0, 0)), None, &mut dest, (2, 1)));
        let colors: Vec<u32> = dest.row_mut(0).iter().map(|p| p & 0xff_ffff).collect();
        assert_eq!(colors, [0x80_007f, 0xff]);
    }

    #[test]
    fn numbers_that_pixman_does_not_know_are_refused() {
        let mut src = Image::new(Format::A8, 1, 1).unwrap();
        let mut dest = Image::new(Format::A8, 1, 1).unwrap();
        dest.set_row(0, &[9]);
        for op in (0..=255).filter(|op| !is_operator(*op)) {
            assert!(!composite(op, (&mut src, (0, 0)), None, &mut dest, (1, 1)));
        }
        let mut row = [0];
        dest.get_row(0, &mut row);
        assert_eq!(row, [9]);
        assert!(Image::new(Format::A8, 0, 1).is_none());
        assert!(Image::new(Format::A8, u32::MAX, 1).is_none());
    }

    #[test]
    fn wild_transforms_and_corners_are_survived() {
        let edge = [i32::MIN, -1, 0, 1, 65536, i32::MAX];
        let mut seed = 1u32;
        let mut pick = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            edge[usize::try_from(seed >> 16).unwrap() % edge.len()]
        };
        for n in 0..3000u32 {
            let mut src = Image::new(Format::A8r8g8b8, 3, 5).unwrap();
            let mut dest = Image::new(Format::R5g6b5, 7, 3).unwrap();
            src.set_transform(&std::array::from_fn(|_| pick()));
            src.set_filter(u8::try_from(n % 5).unwrap());
            src.set_repeat(u8::try_from(n % 4).unwrap());
            let at = (pick().clamp(-32768, 32767), pick().clamp(-32768, 32767));
            assert!(composite(3, (&mut src, at), None, &mut dest, (7, 3)));
        }
    }
}

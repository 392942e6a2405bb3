//! A surface of the guest: its pixels, what was drawn on it since the guest last asked, and its
//! pixels as an image.
//!
//! Owned by display-N.
#![forbid(unsafe_code)]

use super::canvas::FLAG_HIGH_BITS_SET;
use super::canvas::target::{Target, pixel_bytes};
use crate::protocol::geometry::Rect;
use crate::qxl::model::{Bitmap, BitmapFormat, SurfaceFormat};

/// Dirty rectangles kept apart; more are joined to their bounding box.
const DIRTY_LIMIT: usize = 64;

/// A surface.
#[derive(Debug)]
pub struct Surface {
    id: u32,
    target: Target,
    dirty: Vec<Rect>,
}

/// A part of a surface as an image to be sent.
#[derive(Debug, Clone)]
pub struct ReadImage {
    /// Private copy of the pixels, top down.
    pub bitmap: Bitmap,
    /// `SPICE_IMAGE_FLAGS_*` that the image needs: 0 or [`FLAG_HIGH_BITS_SET`].
    pub flags: u8,
}

impl Surface {
    /// Surface number `id` (0 is the primary) over these pixels, which are left as they are.
    #[must_use]
    pub fn new(id: u32, target: Target) -> Self {
        Self { id, target, dirty: Vec::new() }
    }

    /// The guest's number of the surface.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Layout of a pixel.
    #[must_use]
    pub fn format(&self) -> SurfaceFormat {
        self.target.format()
    }

    /// Width in pixels, at least 1.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.target.width()
    }

    /// Height in pixels, at least 1.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.target.height()
    }

    /// The pixels.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The pixels, to be written.
    pub fn target_mut(&mut self) -> &mut Target {
        &mut self.target
    }

    /// Zero-fills the memory, as a fresh surface without `KEEP_DATA` demands.
    pub fn clear(&mut self) {
        self.target.clear();
    }

    /// Adds rectangles that were drawn.
    pub fn mark_dirty(&mut self, rects: &[Rect]) {
        for rect in rects {
            if rect.is_empty() || self.dirty.last().is_some_and(|last| last.contains(rect)) {
                continue;
            }
            if self.dirty.len() >= DIRTY_LIMIT {
                let all = self.dirty.iter().fold(Rect::default(), |all, r| all.union(r));
                self.dirty.clear();
                self.dirty.push(all.union(rect));
            } else {
                self.dirty.push(*rect);
            }
        }
    }

    /// What was drawn since the last call: at most 64 rectangles that may overlap and may hold more than was drawn.
    pub fn take_dirty(&mut self) -> Vec<Rect> {
        std::mem::take(&mut self.dirty)
    }

    /// Copies the part of the surface that lies in `rect` out as an image that gives the same pixels when a
    /// client puts it on a surface of the same format.
    ///
    /// `None` if nothing of `rect` lies on the surface or memory is short.
    ///
    /// - x1r5g5b5 becomes 16BIT and 8_A becomes 8BIT_A, byte by byte;
    /// - r5g6b5 has no bitmap format and becomes 32BIT: replicated bits are truncated back to the same;
    /// - 1_A has none either and becomes RGBA of 0 or all ones, of whose alpha the high bit is kept;
    /// - ARGB becomes RGBA;
    /// - xRGB becomes 32BIT. Off the primary its high bytes may serve as alpha: if all are 255 the flag
    ///   says so, if only some are not 0 the image is RGBA.
    #[must_use]
    pub fn read_image(&self, rect: Rect) -> Option<ReadImage> {
        let part = rect.intersect(&Rect::from_size(0, 0, self.width(), self.height()));
        if part.is_empty() {
            return None;
        }
        let (mut format, out_bytes) = match self.format() {
            SurfaceFormat::Rgb555 => (BitmapFormat::Bit16, 2),
            SurfaceFormat::A8 => (BitmapFormat::Alpha8, 1),
            SurfaceFormat::Rgb565 | SurfaceFormat::Xrgb => (BitmapFormat::Bit32, 4),
            SurfaceFormat::Argb | SurfaceFormat::A1 => (BitmapFormat::Rgba, 4),
        };
        let width = usize::try_from(part.width()).ok()?;
        let stride = (width * out_bytes).next_multiple_of(4);
        let len = stride.checked_mul(usize::try_from(part.height()).ok()?)?;
        let mut data = Vec::new();
        data.try_reserve_exact(len).ok()?;
        data.resize(len, 0);
        let mut raw = vec![0; width * pixel_bytes(self.format())];
        let ys = part.top.unsigned_abs()..part.bottom.unsigned_abs();
        for (row, y) in data.chunks_exact_mut(stride).zip(ys) {
            let row = &mut row[..width * out_bytes];
            let x = part.left.unsigned_abs();
            match self.format() {
                SurfaceFormat::Rgb565 | SurfaceFormat::A1 => {
                    self.target.read_row(y, x, &mut raw);
                    widen_row(self.format(), &raw, row);
                }
                _ => self.target.read_row(y, x, row),
            }
        }
        let mut flags = 0;
        if self.format() == SurfaceFormat::Xrgb && self.id != 0 {
            match HighBytes::of(&data) {
                HighBytes::Zero => {}
                HighBytes::Full => flags = FLAG_HIGH_BITS_SET,
                HighBytes::Mixed => format = BitmapFormat::Rgba,
            }
        }
        let bitmap = Bitmap {
            format,
            top_down: true,
            width: part.width(),
            height: part.height(),
            stride: u32::try_from(stride).ok()?,
            palette: None,
            data: data.into(),
        };
        Some(ReadImage { bitmap, flags })
    }
}

/// Raw pixels that no bitmap format has, as pixels of four bytes.
fn widen_row(format: SurfaceFormat, raw: &[u8], out: &mut [u8]) {
    let out = out.as_chunks_mut::<4>().0;
    if format == SurfaceFormat::A1 {
        for (p, bit) in out.iter_mut().zip(raw) {
            *p = [if bit & 1 == 0 { 0 } else { 0xff }; 4];
        }
        return;
    }
    for (p, v) in out.iter_mut().zip(raw.as_chunks::<2>().0) {
        let v = u32::from(u16::from_le_bytes(*v));
        let five = |v: u32| (v & 31) << 3 | (v & 31) >> 2;
        let green = v >> 5 & 63;
        *p = (five(v >> 11) << 16 | (green << 2 | green >> 4) << 8 | five(v)).to_le_bytes();
    }
}

enum HighBytes {
    Zero,
    Full,
    Mixed,
}

impl HighBytes {
    fn of(data: &[u8]) -> Self {
        let (mut any, mut all) = (0u8, 0xffu8);
        for row in data.chunks(4096) {
            for p in row.as_chunks::<4>().0 {
                any |= p[3];
                all &= p[3];
            }
            if any != 0 && all != 0xff {
                return Self::Mixed;
            }
        }
        if any == 0 { Self::Zero } else { Self::Full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(id: u32, format: SurfaceFormat, row: &[u8]) -> Surface {
        let width = u32::try_from(row.len() / pixel_bytes(format)).unwrap();
        let mut target = Target::owned(format, width, 1).unwrap();
        target.write_row(0, 0, row);
        Surface::new(id, target)
    }

    fn read(surface: &Surface) -> (BitmapFormat, u8, Vec<u8>) {
        let all = Rect { top: -5, left: -5, bottom: 100, right: 100 };
        let image = surface.read_image(all).unwrap();
        (image.bitmap.format, image.flags, image.bitmap.data.to_vec())
    }

    #[test]
    fn high_bytes_off_the_primary_choose_the_format() {
        let zero = [1, 2, 3, 0, 4, 5, 6, 0];
        let full = [1, 2, 3, 255, 4, 5, 6, 255];
        let mixed = [1, 2, 3, 0, 4, 5, 6, 255];
        let x = SurfaceFormat::Xrgb;
        assert_eq!(read(&surface(1, x, &zero)), (BitmapFormat::Bit32, 0, zero.to_vec()));
        assert_eq!(read(&surface(1, x, &full)), (BitmapFormat::Bit32, 2, full.to_vec()));
        assert_eq!(read(&surface(1, x, &mixed)), (BitmapFormat::Rgba, 0, mixed.to_vec()));
        assert_eq!(read(&surface(0, x, &mixed)), (BitmapFormat::Bit32, 0, mixed.to_vec()));
        let argb = surface(1, SurfaceFormat::Argb, &full);
        assert_eq!(read(&argb), (BitmapFormat::Rgba, 0, full.to_vec()));
    }

    #[test]
    fn formats_without_a_bitmap_twin_are_widened() {
        let s = surface(1, SurfaceFormat::Rgb565, &[0x01, 0x84]);
        assert_eq!(read(&s), (BitmapFormat::Bit32, 0, vec![8, 130, 0x84, 0]));
        let s = surface(1, SurfaceFormat::A1, &[0, 1]);
        assert_eq!(read(&s).2, [0, 0, 0, 0, 255, 255, 255, 255]);
        let s = surface(1, SurfaceFormat::A8, &[1, 2, 3]);
        assert_eq!(read(&s), (BitmapFormat::Alpha8, 0, vec![1, 2, 3, 0]));
        let s = surface(1, SurfaceFormat::Rgb555, &[1, 2, 3, 4]);
        assert_eq!(read(&s), (BitmapFormat::Bit16, 0, vec![1, 2, 3, 4]));
    }

    #[test]
    fn nothing_is_read_outside() {
        let s = surface(1, SurfaceFormat::A8, &[1, 2, 3]);
        assert!(s.read_image(Rect { top: 0, left: 3, bottom: 1, right: 9 }).is_none());
        assert!(s.read_image(Rect { top: 1, left: 2, bottom: 0, right: 0 }).is_none());
    }

    #[test]
    fn dirty_rectangles_stay_few_and_cover_everything() {
        let mut s = surface(0, SurfaceFormat::A8, &[0; 4]);
        let rects: Vec<Rect> = (0..1000).map(|i| Rect::from_size(i * 3, i * 2, 2, 2)).collect();
        s.mark_dirty(&rects);
        let dirty = s.take_dirty();
        assert!(dirty.len() <= DIRTY_LIMIT);
        assert!(rects.iter().all(|r| dirty.iter().any(|d| d.contains(r))));
        assert!(s.take_dirty().is_empty());
    }
}

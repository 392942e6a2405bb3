//! One picture of a stream, on its way to clients.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::protocol::geometry::Rect;
use crate::protocol::message::Bulk;

use super::detect::StreamKey;
use super::encode::Encoding;

/// The pixels of a frame: a part of a private bitmap.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// The bitmap.
    pub bitmap: Bulk,
    /// Bytes from row to row.
    pub stride: u32,
    /// Rows of the whole bitmap.
    pub rows: u32,
    /// The first row in memory is the top one.
    pub top_down: bool,
    /// Bits of a pixel: 16, 24 or 32.
    pub bits: u32,
    /// The part that is shown; lies inside the bitmap and is not empty.
    pub part: Rect,
}

impl Pixels {
    /// Width and height of the part.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.part.width(), self.part.height())
    }

    /// The bytes from the first row in memory of the part on; `None` if the bitmap is too short.
    #[must_use]
    pub fn part_bytes(&self) -> Option<&[u8]> {
        let at = |n: i32| usize::try_from(n).ok();
        let rows = i32::try_from(self.rows).ok()?;
        let first = if self.top_down { self.part.top } else { rows.checked_sub(self.part.bottom)? };
        let pixel = usize::try_from(self.bits / 8).ok()?;
        let stride = usize::try_from(self.stride).ok()?;
        let start = at(first)?.checked_mul(stride)?.checked_add(at(self.part.left)? * pixel)?;
        self.bitmap.get(start..)
    }

    /// Bytes of the part's pixels.
    #[must_use]
    pub fn weight(&self) -> usize {
        usize::try_from(self.part.area() * u64::from(self.bits) / 8).unwrap_or(usize::MAX)
    }
}

/// A frame; all clients of a display share it, and what was made of it.
pub struct Frame {
    /// Its stream.
    pub stream: StreamKey,
    /// Where it is put; scaled if that is not its size.
    pub place: Rect,
    /// What is seen of it, in at most [`MAX_CLIP`] rectangles.
    pub clip: Vec<Rect>,
    /// Media time at which the guest gave it, milliseconds.
    pub time: u32,
    /// The same by the clock of this process.
    pub at: Instant,
    /// The picture.
    pub pixels: Pixels,
    made: Mutex<Vec<(u8, Encoding)>>,
}

/// Rectangles of what is seen of a frame; a picture that is covered in more complicated ways is none.
pub const MAX_CLIP: usize = 64;

impl Frame {
    /// A frame of which nothing was made yet.
    #[must_use]
    pub fn new(
        stream: StreamKey,
        place: Rect,
        clip: Vec<Rect>,
        (time, at): (u32, Instant),
        pixels: Pixels,
    ) -> Self {
        Self { stream, place, clip, time, at, pixels, made: Mutex::default() }
    }

    /// The encoding at this quality; `make` begins it if nobody has.
    pub(super) fn made(
        &self,
        quality: u8,
        make: impl FnOnce() -> Option<Encoding>,
    ) -> Option<Encoding> {
        // Only display-N comes here.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = made.iter().find(|(at, _)| *at == quality) {
            return Some(known.clone());
        }
        let new = make()?;
        made.push((quality, new.clone()));
        Some(new)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("stream", &self.stream)
            .field("place", &self.place)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_begins_where_its_first_row_in_memory_does() {
        let part = Rect::from_size(1, 2, 2, 3);
        let bitmap = Bulk::from((0..4 * 4 * 8).collect::<Vec<u8>>());
        let mut pixels = Pixels { bitmap, stride: 16, rows: 8, top_down: true, bits: 32, part };
        assert_eq!(pixels.part_bytes().map(|bytes| bytes[0]), Some(2 * 16 + 4));
        assert_eq!((pixels.size(), pixels.weight()), ((2, 3), 24));
        // Rows 2 to 4 of 8 from the top are 3 to 5 from the bottom.
        pixels.top_down = false;
        assert_eq!(pixels.part_bytes().map(|bytes| bytes[0]), Some(3 * 16 + 4));
        pixels.rows = 4;
        assert_eq!(pixels.part_bytes(), None);
    }
}

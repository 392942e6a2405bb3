//! Pixels that were read from surfaces for one client, for the next ones.
//!
//! Owned by display-N. Clients that are equally far get the same pixels, and what is made of them is made once: the
//! same block of pixels is what the encoders know them by.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::display::pipe::SurfaceReader;
use crate::display::region::Region;
use crate::display::scene::Scene;
use crate::protocol::geometry::Rect;
use crate::qxl::model::Bitmap;

/// Number of pictures that are kept, and their bytes.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 8 << 20;

#[derive(Debug)]
struct Picture {
    surface: u32,
    rect: Rect,
    bitmap: Bitmap,
    flags: u8,
}

/// What was read lately and has not changed since.
#[derive(Debug, Default)]
pub struct Snapshots {
    list: RefCell<VecDeque<Picture>>,
}

impl Snapshots {
    /// Something was drawn there.
    pub fn drawn(&self, surface: u32, region: &Region) {
        let mut list = self.list.borrow_mut();
        if !list.is_empty() {
            list.retain(|p| p.surface != surface || !region.intersects_rect(&p.rect));
        }
    }

    /// A surface came or went, or nobody is left to share with.
    pub fn clear(&self) {
        self.list.borrow_mut().clear();
    }

    fn find(&self, surface: u32, rect: &Rect) -> Option<(Bitmap, u8)> {
        let list = self.list.borrow();
        let known = list.iter().find(|p| p.surface == surface && p.rect == *rect)?;
        Some((known.bitmap.clone(), known.flags))
    }

    fn keep(&self, surface: u32, rect: Rect, bitmap: Bitmap, flags: u8) {
        let mut list = self.list.borrow_mut();
        list.push_back(Picture { surface, rect, bitmap, flags });
        let mut bytes: usize = list.iter().map(|p| p.bitmap.data.len()).sum();
        while list.len() > KEPT || bytes > KEPT_BYTES {
            let Some(old) = list.pop_front() else { break };
            bytes -= old.bitmap.data.len();
        }
    }
}

/// The surfaces, as several clients read them.
#[derive(Debug)]
pub struct Shared<'a> {
    /// The surfaces.
    pub scene: &'a mut Scene,
    /// What was read lately; `None`: there is nobody to share with.
    pub snapshots: Option<&'a Snapshots>,
}

impl SurfaceReader for Shared<'_> {
    fn read_image(&mut self, surface_id: u32, rect: &Rect) -> Option<(Bitmap, u8)> {
        let Some(snapshots) = self.snapshots else {
            return self.scene.read_image(surface_id, rect);
        };
        if let Some(known) = snapshots.find(surface_id, rect) {
            return Some(known);
        }
        let (bitmap, flags) = self.scene.read_image(surface_id, rect)?;
        snapshots.keep(surface_id, *rect, bitmap.clone(), flags);
        Some((bitmap, flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qxl::model::BitmapFormat;

    fn bitmap(byte: u8, len: usize) -> Bitmap {
        Bitmap {
            format: BitmapFormat::Bit32,
            top_down: true,
            width: 1,
            height: 1,
            stride: 4,
            palette: None,
            data: vec![byte; len].into(),
        }
    }

    #[test]
    fn what_was_drawn_over_is_read_anew() {
        let snapshots = Snapshots::default();
        let (left, right) = (Rect::from_size(0, 0, 10, 10), Rect::from_size(10, 0, 10, 10));
        snapshots.keep(0, left, bitmap(1, 4), 0);
        snapshots.keep(0, right, bitmap(2, 4), 2);
        snapshots.keep(1, left, bitmap(3, 4), 0);
        snapshots.drawn(0, &Region::from_rect(Rect::from_size(9, 9, 1, 1)));
        assert!(snapshots.find(0, &left).is_none());
        assert_eq!(snapshots.find(0, &right).map(|(b, f)| (b.data[0], f)), Some((2, 2)));
        assert_eq!(snapshots.find(1, &left).map(|(b, f)| (b.data[0], f)), Some((3, 0)));
        assert!(snapshots.find(1, &right).is_none());
        snapshots.clear();
        assert!(snapshots.find(1, &left).is_none());
    }

    #[test]
    fn few_are_kept() {
        let snapshots = Snapshots::default();
        for n in 0..40 {
            snapshots.keep(n, Rect::from_size(0, 0, 1, 1), bitmap(0, 1 << 20), 0);
        }
        assert_eq!(snapshots.list.borrow().len(), 8);
        for n in 0..100 {
            snapshots.keep(n, Rect::from_size(0, 0, 1, 1), bitmap(0, 4), 0);
        }
        assert_eq!(snapshots.list.borrow().len(), KEPT);
    }
}

//! Large pictures that were put onto surfaces and are not painted yet.
//!
//! Owned by display-N. Most large pictures, of films and of pages that scroll, are covered by the next one before
//! anybody asks for the surface's pixels: to paint them is work for nobody. The guest may expect the pixels in
//! its memory only when it or the host has asked (`update_area`, spec 10), so whoever reads has to settle before.
//!
//! The pixels are the private copy that the command has brought. Pictures here do not overlap, so they may be
//! painted in any order.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use crate::protocol::geometry::Rect;
use crate::qxl::model::{BitmapFormat, Brush, DrawOp, Image, ImageKind, SurfaceFormat};

use super::pipe::PipedDraw;
use super::region::Region;

/// Pictures that may wait.
const PICTURES: usize = if cfg!(any(test, fuzzing)) { 3 } else { 32 };
/// Bytes that they may keep: a screen of 5120x2880 and a bit.
const BYTES: usize = 64 << 20;
/// Pixels of the smallest one. What is smaller is painted while it is still in the processor's cache.
const SMALLEST: u64 = if cfg!(any(test, fuzzing)) { 16 } else { 4096 };
/// Rectangles of what may be left of one.
const RECTS: usize = 16;
/// `SPICE_ROPD_OP_PUT`.
const ROP_PUT: u16 = 8;

/// What is left of a picture.
#[derive(Debug)]
pub struct Picture {
    /// The command.
    pub draw: Arc<PipedDraw>,
    /// Where it is still to be painted.
    pub region: Region,
}

impl Picture {
    fn bytes(&self) -> usize {
        self.draw.bytes
    }

    fn is_on(&self, surface: u32) -> bool {
        self.draw.drawable.surface_id == surface
    }
}

/// The pictures of one display that wait, the oldest first.
#[derive(Debug, Default)]
pub struct Deferred {
    list: VecDeque<Picture>,
    bytes: usize,
}

impl Deferred {
    /// True if every surface shows what was drawn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a picture; those that it covers are gone.
    pub fn push(&mut self, draw: Arc<PipedDraw>) {
        self.covered(draw.drawable.surface_id, &draw.region);
        let region = draw.region.clone();
        let picture = Picture { draw, region };
        self.bytes = self.bytes.saturating_add(picture.bytes());
        self.list.push_back(picture);
    }

    /// Every pixel there has been given another value.
    pub fn covered(&mut self, surface: u32, region: &Region) {
        let bounds = region.bounds();
        self.list.retain_mut(|picture| {
            let near = picture.is_on(surface) && picture.region.intersects_rect(&bounds);
            if near && picture.region.intersects(region) {
                picture.region.subtract(region);
            }
            let stays = !picture.region.is_empty();
            if !stays {
                self.bytes = self.bytes.saturating_sub(picture.bytes());
            }
            stays
        });
    }

    /// A surface is gone with everything that was to be painted on it.
    pub fn forget(&mut self, surface: u32) {
        while self.take(|picture| picture.is_on(surface)).is_some() {}
    }

    /// A picture that has to be painted before somebody looks at this surface.
    pub fn of_surface(&mut self, surface: u32) -> Option<Picture> {
        self.take(|picture| picture.is_on(surface))
    }

    /// A picture that has to be painted before somebody looks at this part of a surface.
    pub fn touching(&mut self, surface: u32, region: &Region) -> Option<Picture> {
        self.take(|picture| picture.is_on(surface) && picture.region.intersects(region))
    }

    /// The oldest one.
    pub fn any(&mut self) -> Option<Picture> {
        self.take(|_| true)
    }

    /// A picture for which there is no room any longer.
    pub fn excess(&mut self) -> Option<Picture> {
        let full = self.list.len() > PICTURES || self.bytes > BYTES;
        self.take(|picture| full || picture.region.rects().len() > RECTS)
    }

    fn take(&mut self, wanted: impl Fn(&Picture) -> bool) -> Option<Picture> {
        let at = self.list.iter().position(wanted)?;
        let picture = self.list.remove(at)?;
        self.bytes = self.bytes.saturating_sub(picture.bytes());
        Some(picture)
    }
}

/// True if nothing is lost when the command is painted later: it only puts pixels of its own, which it has for
/// certain, onto a surface of the same kind.
#[must_use]
pub fn can_wait(draw: &PipedDraw, format: SurfaceFormat) -> bool {
    let large = draw.region.bounds().area() >= SMALLEST && draw.region.rects().len() <= RECTS;
    let colors = matches!(format, SurfaceFormat::Xrgb | SurfaceFormat::Argb);
    large && colors && own_pixels(draw)
}

/// True if the command gives a value that depends on nothing to every pixel of its region.
#[must_use]
pub fn covers_all(draw: &PipedDraw) -> bool {
    match &draw.drawable.op {
        DrawOp::Fill { brush: Brush::Solid(_), rop: ROP_PUT, mask } => {
            draw.exact && mask.image.is_none()
        }
        DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } => {
            draw.exact && mask.image.is_none()
        }
        _ => own_picture(draw).is_some(),
    }
}

/// True if the command puts pixels that it has for certain and that are fit for any surface of colours, and nothing else.
#[must_use]
pub fn own_pixels(draw: &PipedDraw) -> bool {
    own_picture(draw).is_some_and(is_of_words)
}

fn is_of_words(image: &Image) -> bool {
    let ImageKind::Bitmap(bitmap) = &image.kind else { return false };
    matches!(bitmap.format, BitmapFormat::Bit32 | BitmapFormat::Rgba)
}

/// The picture of a command that puts one, unscaled and whole where the command draws.
fn own_picture(draw: &PipedDraw) -> Option<&Image> {
    let DrawOp::Copy { src, src_area, rop: ROP_PUT, mask, .. } = &draw.drawable.op else {
        return None;
    };
    let ImageKind::Bitmap(bitmap) = &src.kind else { return None };
    let bbox = &draw.drawable.bbox;
    let has_all = Rect::from_size(0, 0, bitmap.width, bitmap.height).contains(src_area)
        && !src_area.is_empty()
        && (src_area.width(), src_area.height()) == (bbox.width(), bbox.height());
    (draw.exact && mask.image.is_none() && has_all).then_some(src)
}

//! Sending dirty pixels as they are now.
#![forbid(unsafe_code)]

use crate::display::encode::draft::Draft;
use crate::display::encode::encode_image_copy;
use crate::display::encode::image::ImageEncoder;
use crate::protocol::geometry::Rect;

use super::surface::{Stage, SurfaceKey};
use super::{ClientPipe, SurfaceReader};

/// Every so many repairs an off-screen surface has its turn before the screen.
const OFF_SCREEN_TURN: u32 = 4;

impl ClientPipe {
    /// True if pixels can be sent at once.
    pub(super) fn has_repairs(&self) -> bool {
        self.dirty.iter().any(|id| {
            self.surfaces.get(id).is_some_and(|s| s.stage == Stage::Sent && !s.dirty.is_empty())
        })
    }

    /// The next pixels of any surface; `None` if all that the client has are clean.
    pub(super) fn next_repair(
        &mut self,
        reader: &mut dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Draft> {
        loop {
            let id = self.pick()?;
            self.repairs = self.repairs.wrapping_add(1);
            if let Some(message) = self.repair(id, reader, images) {
                return Some(message);
            }
        }
    }

    /// The next pixels that stand before `Item::FirstImage`; `None` if the client has seen all.
    pub(super) fn first_image(
        &mut self,
        key: SurfaceKey,
        reader: &mut dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Draft> {
        loop {
            let surface = self.surfaces.get_mut(&key.id).filter(|s| s.key() == key)?;
            if !surface.unseen.intersects(&surface.dirty) {
                surface.unseen = Default::default();
                return None;
            }
            let whole = surface.bounds();
            let fits = surface.bytes(&whole) <= self.limits.first_bytes as u64;
            let message = if fits && surface.unseen.contains_rect(&whole) {
                // In one piece: some clients keep the first picture only (spicy-screenshot), and
                // nobody likes to see a screen come down in bands. A pixel of it that is clean
                // has a queued command that defines it before anything reads it.
                self.send_pixels(key.id, &whole, reader, images)
            } else {
                self.repair(key.id, reader, images)
            };
            if message.is_some() {
                return message;
            }
        }
    }

    /// The surface whose turn it is: mostly the screen, the others in rotation.
    fn pick(&mut self) -> Option<u32> {
        let Self { dirty, surfaces, .. } = self;
        dirty.retain(|id| surfaces.get(id).is_some_and(|s| !s.dirty.is_empty()));
        let ready = |primary: bool| {
            let (surfaces, dirty) = (&*surfaces, &*dirty);
            let last = self.off_screen_last;
            let after = dirty.range(last.saturating_add(1)..).chain(dirty.range(..=last));
            after.copied().find(|id| {
                surfaces
                    .get(id)
                    .is_some_and(|s| s.stage == Stage::Sent && s.is_primary() == primary)
            })
        };
        let off_screen_first = self.repairs % OFF_SCREEN_TURN == OFF_SCREEN_TURN - 1;
        let screen = if off_screen_first { None } else { ready(true) };
        if screen.is_some() {
            return screen;
        }
        let off_screen = ready(false);
        if let Some(id) = off_screen {
            self.off_screen_last = id;
            return off_screen;
        }
        ready(true)
    }

    /// The next band of one surface's dirty region, which is clean then; `None` if its pixels
    /// cannot be had, in which case it is clean too, or nothing would ever end.
    fn repair(
        &mut self,
        id: u32,
        reader: &mut dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Draft> {
        let surface = self.surfaces.get_mut(&id)?;
        // Going on where the last band ended: rows that get dirty again and again at the top
        // do not keep those below waiting.
        let rects = surface.dirty.rects();
        let next = rects.iter().find(|r| r.bottom > surface.repaired_to).or(rects.first())?;
        let mut band = *next;
        if band.bottom > surface.repaired_to {
            band.top = band.top.max(surface.repaired_to);
        }
        let row = Rect { bottom: band.top.saturating_add(1), ..band };
        let rows = (self.limits.band_bytes as u64 / surface.bytes(&row).max(1)).max(1);
        let rows = i32::try_from(rows).unwrap_or(i32::MAX);
        band.bottom = band.bottom.min(band.top.saturating_add(rows));
        surface.repaired_to = band.bottom;
        self.send_pixels(id, &band, reader, images)
    }

    /// One rectangle of a surface, which is clean then, come what may.
    fn send_pixels(
        &mut self,
        id: u32,
        rect: &Rect,
        reader: &mut dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Draft> {
        let surface = self.surfaces.get_mut(&id)?;
        surface.dirty.subtract_rect(rect);
        surface.unseen.subtract_rect(rect);
        let (bitmap, flags) = reader.read_image(id, rect).filter(|(bitmap, _)| {
            Rect::from_size(rect.left, rect.top, bitmap.width, bitmap.height) == *rect
        })?;
        let key = surface.key();
        let message = encode_image_copy(id, rect, bitmap, flags, self.ids.next_id(), images)
            .inspect_err(|error| tracing::debug!(%error, surface = id, "pixels are not sent"))
            .ok()?;
        self.losses.repaired(key, rect, self.limits.dirty_rects);
        Some(message)
    }
}

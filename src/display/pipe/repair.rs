//! Sending dirty pixels as they are now.
#![forbid(unsafe_code)]

use crate::display::encode::encode_image_copy;
use crate::display::encode::image::ImageEncoder;
use crate::protocol::geometry::Rect;
use crate::protocol::message::Message;

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
        reader: &dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Message> {
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
        reader: &dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Message> {
        loop {
            let surface = self.surfaces.get_mut(&key.id).filter(|s| s.key() == key)?;
            if !surface.unseen.intersects(&surface.dirty) {
                surface.unseen = Default::default();
                return None;
            }
            if let Some(message) = self.repair(key.id, reader, images) {
                return Some(message);
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
        reader: &dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Message> {
        let surface = self.surfaces.get_mut(&id)?;
        // Going on where the last band ended: rows that get dirty again and again at the top
        // do not keep those below waiting.
        let rects = surface.dirty.rects();
        let next = rects.iter().find(|r| r.bottom > surface.repaired_to).or(rects.first())?;
        let mut band = *next;
        if band.bottom > surface.repaired_to {
            band.top = band.top.max(surface.repaired_to);
        }
        let row = (u64::from(band.width()) * u64::from(surface.format().bits())).div_ceil(8).max(1);
        let rows = (self.limits.band_bytes as u64 / row).max(1);
        let rows = i32::try_from(rows).unwrap_or(i32::MAX);
        band.bottom = band.bottom.min(band.top.saturating_add(rows));
        surface.repaired_to = band.bottom;
        surface.dirty.subtract_rect(&band);
        surface.unseen.subtract_rect(&band);
        let (bitmap, flags) = reader.read_image(id, &band).filter(|(bitmap, _)| {
            Rect::from_size(band.left, band.top, bitmap.width, bitmap.height) == band
        })?;
        encode_image_copy(id, &band, bitmap, flags, self.ids.next_id(), images)
            .inspect_err(|error| tracing::debug!(%error, surface = id, "pixels are not sent"))
            .ok()
    }
}

//! The surfaces of one display, and the execution of drawables on them.
//!
//! Owned by display-N. Every command is executed when it is taken, in ring order, but for large pictures, which wait
//! until somebody needs their pixels ([`deferred`](super::deferred)), and large moves with what follows on top of them, which wait until the
//! clients were told ([`backlog`](super::backlog)). Whoever reads guest memory settles before:
//! then the surfaces are what the guest may expect to read, and what a client that comes late has to be shown.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::protocol::geometry::Rect;
use crate::qxl::command::ReleaseInfo;
use crate::qxl::guest::{GuestRange, HostAddress};
use crate::qxl::model::{Bitmap, Drawable, Image, ImageKind, SurfaceFormat};
use crate::qxl::surface::SurfaceGeometry;

use super::backlog::{Backlog, Waiting, source};
use super::canvas::target::{Geometry, Target};
use super::canvas::{DrawError, draw, draw_late, move_late};
use super::deferred::{Deferred, Picture, can_wait, covers_all};
use super::encode::ServerImageIds;
use super::pipe::{PipedDraw, SurfaceInfo, SurfaceReader, surfaces_read};
use super::region::Region;
use super::surface::Surface;

/// Why a drawable or surface command had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SceneError {
    /// The surface does not exist.
    #[error("surface {0} does not exist")]
    NoSurface(u32),
    /// The surface exists already.
    #[error("surface {0} exists already")]
    Exists(u32),
    /// The box does not lie on the surface.
    #[error("box {bbox:?} is not inside surface {surface} of {width}x{height}")]
    Outside {
        /// The box.
        bbox: Rect,
        /// The surface.
        surface: u32,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// The memory is too small for the geometry.
    #[error("surface memory of {0} bytes is too small")]
    Memory(usize),
    /// The canvas refused.
    #[error(transparent)]
    Draw(#[from] DrawError),
}

/// Spreads surface ids, of which there are few and which no client chooses, over a table.
#[derive(Debug, Default, Clone, Copy)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // 2⁶⁴ divided by the golden ratio: neighbours land far apart.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// All surfaces of one display.
#[derive(Debug, Default)]
pub struct Scene {
    surfaces: HashMap<u32, Surface, BuildHasherDefault<IdHasher>>,
    /// Create commands, released when their surface dies: its pixels are in the guest's memory.
    creates: HashMap<u32, ReleaseInfo>,
    deferred: Deferred,
    backlog: Backlog,
    ids: ServerImageIds,
}

impl Scene {
    /// No surface.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a surface over guest memory; zeroed unless its contents are to be kept.
    ///
    /// # Errors
    /// [`SceneError::Exists`] and [`SceneError::Memory`].
    pub fn create(
        &mut self,
        id: u32,
        geometry: &SurfaceGeometry,
        memory: &GuestRange,
        keep_data: bool,
    ) -> Result<(), SceneError> {
        if self.surfaces.contains_key(&id) {
            return Err(SceneError::Exists(id));
        }
        let geometry = Geometry {
            format: geometry.format(),
            width: geometry.width(),
            height: geometry.height(),
            stride: geometry.stride(),
        };
        let target = Target::on_guest(memory, geometry).ok_or(SceneError::Memory(memory.len()))?;
        let mut surface = Surface::new(id, target);
        if !keep_data {
            surface.clear();
        }
        self.surfaces.insert(id, surface);
        Ok(())
    }

    /// Makes a surface of 32 bits in memory of its own, black.
    ///
    /// # Errors
    /// [`SceneError::Exists`], and [`SceneError::Memory`] if memory is short.
    pub fn create_owned(&mut self, id: u32, width: u32, height: u32) -> Result<(), SceneError> {
        if self.surfaces.contains_key(&id) {
            return Err(SceneError::Exists(id));
        }
        let target = Target::owned(SurfaceFormat::Xrgb, width, height);
        self.surfaces.insert(id, Surface::new(id, target.ok_or(SceneError::Memory(0))?));
        Ok(())
    }

    /// Keeps a surface's create command until the surface dies.
    pub fn keep_create(&mut self, id: u32, release: ReleaseInfo) {
        self.creates.insert(id, release);
    }

    /// Ends a surface. False if there is none. The create command, if any, is handed out.
    ///
    /// What waits to be painted on it never is; a host that may look at the memory later settles before.
    pub fn destroy(&mut self, id: u32) -> (bool, Option<ReleaseInfo>) {
        self.deferred.forget(id);
        self.backlog.forget(id);
        (self.surfaces.remove(&id).is_some(), self.creates.remove(&id))
    }

    /// True if the surface exists.
    #[must_use]
    pub fn exists(&self, id: u32) -> bool {
        self.surfaces.contains_key(&id)
    }

    /// The whole of a surface; empty if there is none.
    #[must_use]
    pub fn bounds(&self, id: u32) -> Rect {
        self.surfaces
            .get(&id)
            .map_or(Rect::default(), |s| Rect::from_size(0, 0, s.width(), s.height()))
    }

    /// Where in guest memory a surface lies, and its bytes.
    #[must_use]
    pub fn memory(&self, id: u32) -> Option<(HostAddress, usize)> {
        self.surfaces.get(&id)?.target().guest_memory()
    }

    /// Numbers of all surfaces, the primary first.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.surfaces.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// What clients have to know of a surface.
    #[must_use]
    pub fn info(&self, id: u32) -> Option<SurfaceInfo> {
        let s = self.surfaces.get(&id)?;
        let (format, width, height) = (s.format(), s.width(), s.height());
        Some(SurfaceInfo { id, format, width, height, primary: id == 0 })
    }

    /// Executes a drawable; what comes back is ready for the clients' pipes.
    ///
    /// # Errors
    /// [`SceneError`]; nothing was drawn then.
    pub fn execute(&mut self, mut drawable: Drawable) -> Result<Arc<PipedDraw>, SceneError> {
        let id = drawable.surface_id;
        let surface = self.surfaces.get(&id).ok_or(SceneError::NoSurface(id))?;
        let (width, height, format) = (surface.width(), surface.height(), surface.format());
        let bounds = Rect::from_size(0, 0, width, height);
        let bbox = drawable.bbox;
        if !bounds.contains(&bbox) {
            return Err(SceneError::Outside { bbox, surface: id, width, height });
        }
        for read in &drawable.reads {
            if !self.surfaces.contains_key(&read.surface_id) {
                return Err(SceneError::NoSurface(read.surface_id));
            }
        }
        self.fill_in_self_bitmap(&mut drawable)?;
        let mut piped = PipedDraw::new(drawable, bounds);
        piped.dest = Some(format);
        let piped = Arc::new(piped);
        let exact;
        let clip = if piped.exact {
            piped.region.rects()
        } else {
            // A clip too complicated to be followed in the pipes is still drawn exactly.
            let mut region = Region::from_rects(
                piped.drawable.clip.as_ref().map(|c| c.as_slice()).unwrap_or_default(),
            );
            region.intersect_rect(&bbox);
            exact = region;
            exact.rects()
        };
        if can_wait(&piped, format) {
            if self.backlog.touches(id, &piped.region.bounds()) {
                self.catch_up(usize::MAX);
            }
            if let Some(surface) = self.surfaces.get_mut(&id) {
                surface.mark_dirty(clip);
            }
            self.deferred.push(Arc::clone(&piped));
            self.settle_excess();
            return Ok(piped);
        }
        let covers = !self.deferred.is_empty() && covers_all(&piped);
        let late = match clip {
            [one] if has_colors(format) && self.backlog.takes(&piped, clip) => Some(*one),
            _ => None,
        };
        if late.is_none() && !self.backlog.is_empty() && self.meets_backlog(&piped, clip) {
            self.catch_up(usize::MAX);
        }
        if !self.deferred.is_empty() {
            match source(&piped.drawable) {
                // What it moves; of its box, what is not moved away stays as it is.
                Some(source) if late.is_some() => {
                    self.settle_part(id, &Region::from_rect(source.union(&bbox)));
                }
                _ => self.settle_sources(&piped, covers),
            }
        }
        match late {
            Some(clip) => {
                if let Some(surface) = self.surfaces.get_mut(&id) {
                    surface.mark_dirty(&[clip]);
                }
                self.backlog.push(Arc::clone(&piped), clip);
                while self.backlog.is_full() {
                    self.catch_up(1);
                }
            }
            None => draw(&mut self.surfaces, &piped.drawable, clip)?,
        }
        if covers {
            self.deferred.covered(id, &piped.region);
            // Many small commands cut what waits into pieces: it is painted before there are many.
            self.settle_excess();
        }
        Ok(piped)
    }

    /// True if a command that is drawn at once could see, or be seen by, one that waits.
    fn meets_backlog(&self, draw: &PipedDraw, clip: &[Rect]) -> bool {
        let id = draw.drawable.surface_id;
        let mut meets = clip.iter().any(|rect| self.backlog.touches(id, rect));
        surfaces_read(&draw.drawable, |read| meets |= self.backlog.is_on(read));
        meets
    }

    /// True if something is still to be drawn that clients know of.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Draws at most so many commands that were put off.
    pub fn catch_up(&mut self, commands: usize) {
        for _ in 0..commands {
            let Some(Waiting { draw, clip, times }) = self.backlog.pop() else { return };
            let done = move_late(&mut self.surfaces, &draw.drawable, &clip, times);
            report_late(done);
        }
    }

    /// A command whose source is its own destination gets a copy of it (spec 11 §6.6).
    fn fill_in_self_bitmap(&mut self, drawable: &mut Drawable) -> Result<(), SceneError> {
        let (Some(area), Some(src @ None)) =
            (drawable.self_bitmap_area, drawable.op.optional_source())
        else {
            return Ok(());
        };
        let id = drawable.surface_id;
        self.settle(id);
        let surface = self.surfaces.get(&id);
        let read = surface.and_then(|s| s.read_image(area)).ok_or(SceneError::NoSurface(id))?;
        let (width, height) = (read.bitmap.width, read.bitmap.height);
        let (id, kind) = (self.ids.next_id(), ImageKind::Bitmap(read.bitmap));
        *src = Some(Image { id, flags: read.flags, width, height, kind });
        Ok(())
    }

    /// Paints what a command reads before it is drawn: other pictures' pixels, and those it combines itself with.
    fn settle_sources(&mut self, draw: &PipedDraw, covers: bool) {
        let id = draw.drawable.surface_id;
        surfaces_read(&draw.drawable, |read| self.settle(read));
        if !covers {
            self.settle_part(id, &draw.region);
        }
    }

    /// Paints the pictures that wait for a part of a surface.
    fn settle_part(&mut self, id: u32, part: &Region) {
        while let Some(picture) = self.deferred.touching(id, part) {
            self.paint(&picture);
        }
    }

    /// Paints what may not wait any longer.
    fn settle_excess(&mut self) {
        while let Some(picture) = self.deferred.excess() {
            self.paint(&picture);
        }
    }

    /// Brings the pixels of a surface up to date.
    pub fn settle(&mut self, id: u32) {
        if self.backlog.is_on(id) {
            self.catch_up(usize::MAX);
        }
        while let Some(picture) = self.deferred.of_surface(id) {
            self.paint(&picture);
        }
    }

    /// Brings all surfaces up to date.
    pub fn settle_all(&mut self) {
        self.catch_up(usize::MAX);
        while let Some(picture) = self.deferred.any() {
            self.paint(&picture);
        }
    }

    fn paint(&mut self, picture: &Picture) {
        let rects = picture.region.rects();
        report_late(draw_late(&mut self.surfaces, &picture.draw.drawable, rects));
    }

    /// What was drawn on a surface since it was last cleared, in at most `max` rectangles.
    ///
    /// `clear`: start afresh. Too many rectangles become fewer and larger ones: none is lost.
    pub fn dirty(&mut self, id: u32, max: usize, clear: bool) -> Vec<Rect> {
        let Some(surface) = self.surfaces.get_mut(&id) else { return Vec::new() };
        let rects = surface.take_dirty();
        let mut region = Region::from_rects(&rects);
        if !clear {
            surface.mark_dirty(region.rects());
        }
        if max == 0 {
            return Vec::new();
        }
        region.simplify(max);
        region.rects().to_vec()
    }
}

fn report_late(done: Result<(), DrawError>) {
    if let Err(error) = done {
        // It was looked at before it was put off.
        tracing::error!(%error, "a command could not be drawn later");
    }
}

fn has_colors(format: SurfaceFormat) -> bool {
    matches!(format, SurfaceFormat::Xrgb | SurfaceFormat::Argb)
}

impl SurfaceReader for Scene {
    fn read_image(&mut self, surface_id: u32, rect: &Rect) -> Option<(Bitmap, u8)> {
        if self.backlog.touches(surface_id, rect) {
            self.catch_up(usize::MAX);
        }
        if !self.deferred.is_empty() {
            self.settle_part(surface_id, &Region::from_rect(*rect));
        }
        let read = self.surfaces.get(&surface_id)?.read_image(*rect)?;
        Some((read.bitmap, read.flags))
    }
}

#[cfg(test)]
mod tests;

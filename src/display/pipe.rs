//! What one client of one display channel still has to be told.
//!
//! Owned by thread display-N; pure data, no I/O, no clock. The server executes every command on
//! its own surfaces before it pushes it here; the client may be any distance behind. The distance
//! is bounded: newest wins, and nobody is throttled or dropped for being slow.
//!
//! A pipe holds a queue of commands and, per surface, a *dirty* region: pixels that the client
//! gets as they are on the server when the message is made. One invariant carries everything:
//!
//! > No queued command reads or writes a dirty pixel.
//!
//! So pixels and commands never meet, whichever goes first, and after both have gone the client's
//! surface equals the server's: outside the dirty region because the commands there were sent in
//! order, inside because the pixels are the newest and no command follows. It is kept like this:
//!
//! - A command that needs a dirty pixel is not queued; what it covers becomes dirty.
//! - A command that defines all it covers is queued; what it covers is dirty no more. (A small one
//!   that lies in the dirt is left there.)
//! - When pixels become dirty, queued commands that touch them are taken out, and what those
//!   covered becomes dirty in turn ([`ClientPipe::spoil`]).
//! - Over a limit all commands are taken out at once ([`ClientPipe::collapse`]).
//!
//! The pixels of a running stream are a third kind: they count as dirty for every command, and are not sent
//! ([`streams`]).
//!
//! Creation and destruction of surfaces and other messages keep their order among each other and
//! the commands. A surface id can be in use again while the queue still speaks of its earlier
//! bearer: therefore commands name a surface by id and generation.
#![forbid(unsafe_code)]

mod bands;
mod footprint;
mod index;
mod inherit;
mod lossy;
mod queue;
mod repair;
mod streams;
mod surface;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::protocol::geometry::Rect;
use crate::protocol::message::Message;
use crate::qxl::model::Bitmap;

use super::encode::draft::Draft;
use super::encode::image::ImageEncoder;
use super::encode::{ServerImageIds, encode_onto};
use super::region::Region;

pub use bands::bands;
pub use footprint::{Abilities, PipedDraw, surfaces_read};
pub use streams::{NextFrame, StreamSkills};
pub use surface::SurfaceInfo;

use footprint::footprint;
use index::Index;
use inherit::Inheritance;
use lossy::Losses;
use queue::{Queue, Slot};
use streams::Streams;
use surface::{PRUNE_MIN, Surface, SurfaceKey};

/// Queued commands under a new one that it looks at in vain to find those it covers.
const OCCLUSION_DEPTH: usize = 64;
/// Queued commands in its neighbourhood that it looks at.
const OCCLUSION_LOOKS: usize = 256;
/// Commands taken out one by one before all are taken out.
const MAX_SPOILED: usize = if cfg!(test) { 3 } else { 64 };

/// Commands looked at for those that have to be taken out, before all are taken out.
const MAX_LOOKS: usize = if cfg!(test) { 12 } else { 1024 };

/// Bounds of a pipe.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of queued commands with their pixels.
    pub bytes: usize,
    /// Number of queued commands.
    pub items: usize,
    /// Bytes of pixels in one message that repairs a dirty region; at least one row is sent.
    pub band_bytes: usize,
    /// Bytes of pixels up to which the screen's first picture is one message instead of bands.
    pub first_bytes: usize,
    /// Rectangles of a surface's dirty region; more become fewer and larger ones. At least 1.
    pub dirty_rects: usize,
}

impl Default for Limits {
    /// 16 MiB, 4096 commands, bands of 256 KiB, a first picture of 64 MiB (5120x2880 and a bit),
    /// 128 dirty rectangles a surface.
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            items: 4096,
            band_bytes: 256 << 10,
            first_bytes: 64 << 20,
            dirty_rects: 128,
        }
    }
}

/// The server's surfaces, on which every pushed command has been executed.
pub trait SurfaceReader {
    /// A private copy of the pixels of `rect`, and the flags of its image descriptor (0, or 2 for
    /// "high bits set"); `None` if the surface is gone or cannot be read as an image.
    ///
    /// `rect` is not empty and lies inside the surface; the bitmap has exactly its size.
    fn read_image(&mut self, surface_id: u32, rect: &Rect) -> Option<(Bitmap, u8)>;
}

/// One client's queue; see the module for its rule.
#[derive(Debug)]
pub struct ClientPipe {
    limits: Limits,
    abilities: Abilities,
    queue: Queue,
    /// The commands of `queue` by the pixels that they use.
    index: Index,
    /// The replaceable messages of `queue`, by kind.
    latest: BTreeMap<u16, Slot>,
    /// Commands in `queue`, and what they are charged.
    draws: usize,
    bytes: usize,
    /// The server's surfaces of now, announced or not.
    surfaces: BTreeMap<u32, Surface>,
    /// Ids of the surfaces that may have dirty pixels to send; checked when used.
    dirty: BTreeSet<u32>,
    /// What the client has with losses.
    losses: Losses,
    /// What the client has from streams.
    streams: Streams,
    /// What it has from another server.
    inheritance: Inheritance,
    generations: u64,
    /// Queue length at which dead surfaces are looked for next.
    prune_at: usize,
    ids: ServerImageIds,
    /// Messages with pixels so far, which rotates the turns.
    repairs: u32,
    /// The off-screen surface that had its turn last.
    off_screen_last: u32,
    repaired_last: bool,
    /// Commands that were taken out, or not taken in, since the beginning.
    dropped: u64,
}

#[derive(Debug)]
enum Item {
    Create(SurfaceKey, SurfaceInfo),
    /// Nothing behind passes before the client has seen all of this surface.
    FirstImage(SurfaceKey),
    Destroy(SurfaceKey),
    Message {
        message: Message,
        /// A later message of the same kind takes its place.
        replaceable: bool,
    },
    Draw(Queued),
}

#[derive(Debug)]
struct Queued {
    draw: Arc<PipedDraw>,
    /// Bounds of the region, kept here because the queue is searched.
    bounds: Rect,
    dest: SurfaceKey,
    reads_dest: bool,
    reads: Vec<Read>,
}

/// An area that a queued command reads, and the size of its surface, which may be gone by then.
#[derive(Debug)]
struct Read {
    key: SurfaceKey,
    area: Rect,
    size: (u32, u32),
}

impl Queued {
    fn touches(&self, key: SurfaceKey, region: &Region) -> bool {
        self.covers(key, region) || self.reads_from(key, region)
    }

    /// True if the result depends on pixels of `region`.
    fn needs(&self, key: SurfaceKey, region: &Region) -> bool {
        (self.reads_dest && self.covers(key, region)) || self.reads_from(key, region)
    }

    /// The areas of surfaces that it uses, and whether they lie on another surface than it draws on.
    fn uses(&self) -> impl Iterator<Item = (u64, Rect, bool)> {
        let reads = self.reads.iter().map(|r| (r.key.generation, r.area, r.key != self.dest));
        std::iter::once((self.dest.generation, self.bounds, false)).chain(reads)
    }

    fn covers(&self, key: SurfaceKey, region: &Region) -> bool {
        self.dest == key
            && !self.bounds.intersect(&region.bounds()).is_empty()
            && self.draw.region.intersects(region)
    }

    fn reads_from(&self, key: SurfaceKey, region: &Region) -> bool {
        self.reads.iter().any(|r| r.key == key && region.intersects_rect(&r.area))
    }
}

impl ClientPipe {
    /// An empty pipe of a client that has no surface yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            abilities: Abilities::default(),
            queue: Queue::default(),
            index: Index::default(),
            latest: BTreeMap::new(),
            draws: 0,
            bytes: 0,
            surfaces: BTreeMap::new(),
            dirty: BTreeSet::new(),
            losses: Losses::default(),
            streams: Streams::default(),
            inheritance: Inheritance::default(),
            generations: 0,
            prune_at: PRUNE_MIN,
            ids: ServerImageIds::default(),
            repairs: 0,
            off_screen_last: 0,
            repaired_last: false,
            dropped: 0,
        }
    }

    /// What the client is able to draw; of everything else it gets the pixels.
    pub fn set_abilities(&mut self, abilities: Abilities) {
        self.abilities = abilities;
    }

    /// True if [`ClientPipe::next`] has nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.has_repairs()
    }

    /// Bytes that queued commands are charged for; at most [`Limits::bytes`].
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.bytes
    }

    /// Number of queued commands; at most [`Limits::items`].
    #[must_use]
    pub fn queued_draws(&self) -> usize {
        self.draws
    }

    /// Commands so far that later ones have covered, or that go as pixels instead.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Queues a message behind all that came before. The caller bounds how many there can be.
    pub fn push_message(&mut self, message: Message) {
        self.queue.push_back(Item::Message { message, replaceable: false });
    }

    /// Queues a message that makes an earlier one of its kind needless (`MARK`, monitors config).
    pub fn push_latest(&mut self, message: Message) {
        let kind = message.kind;
        self.drop_latest(kind);
        let slot = self.queue.push_back(Item::Message { message, replaceable: true });
        self.latest.insert(kind, slot);
    }

    /// Takes a message of [`ClientPipe::push_latest`] out; false if it has been sent, or was never queued.
    pub fn withdraw(&mut self, kind: u16) -> bool {
        self.drop_latest(kind)
    }

    /// Drops the message of a kind that is worth only its newest value.
    fn drop_latest(&mut self, kind: u16) -> bool {
        match self.latest.remove(&kind) {
            Some(slot) => self.queue.remove(slot).is_some(),
            None => false,
        }
    }

    /// Queues a command that the server has just executed.
    ///
    /// It leaves as a command, as pixels, or not at all if later ones cover it. Commands for
    /// surfaces that the pipe was not told of are ignored.
    pub fn push_draw(&mut self, draw: Arc<PipedDraw>) {
        if draw.region.is_empty() {
            return;
        }
        let Some(dest) = self.announce(draw.drawable.surface_id) else { return };
        let print = footprint(&draw, self.abilities, &|id| {
            self.surfaces.get(&id).map(|s| (s.bounds(), s.format()))
        });
        let admitted =
            print.and_then(|print| self.admit(&draw, dest, print.reads, print.reads_dest));
        self.cover_streams(dest, &draw.region, None);
        match admitted {
            Some(queued) => {
                self.occlude(&queued);
                self.enqueue(queued);
                if self.draws > self.limits.items || self.bytes > self.limits.bytes {
                    self.collapse();
                }
            }
            None => {
                self.dropped += 1;
                self.spoil(dest, draw.region.clone());
            }
        }
    }

    /// The command as a queue item if nothing that it needs is dirty; then what it covers is clean.
    fn admit(
        &mut self,
        draw: &Arc<PipedDraw>,
        dest: SurfaceKey,
        areas: Vec<(u32, Rect)>,
        reads_dest: bool,
    ) -> Option<Queued> {
        let mut reads = Vec::with_capacity(areas.len());
        let mut clean = true;
        for (id, area) in areas {
            // Announce every surface that is read, so that the next command finds it there.
            let key = self.announce(id)?;
            let surface = self.surfaces.get(&id)?;
            clean &= !surface.dirty.intersects_rect(&area) && !self.streams.show_in(key, &area);
            reads.push(Read { key, area, size: surface.size() });
        }
        let surface = self.surfaces.get_mut(&dest.id)?;
        let has_all =
            !surface.dirty.intersects(&draw.region) && !self.streams.show(dest, &draw.region);
        if !clean || (reads_dest && !has_all) {
            return None;
        }
        if surface.dirty.intersects(&draw.region) {
            // A small change amid dirt goes with the dirt: a hole for it would cost more.
            let small = draw.region.area().saturating_mul(surface.format().bits().into()) / 8
                < (self.limits.band_bytes / 4) as u64;
            if small && surface.dirty.contains(&draw.region) {
                return None;
            }
            let mut rest = surface.dirty.clone();
            rest.subtract(&draw.region);
            if rest.rects().len() > self.limits.dirty_rects {
                return None;
            }
            surface.dirty = rest;
        }
        Some(Queued { draw: draw.clone(), bounds: draw.region.bounds(), dest, reads_dest, reads })
    }

    /// Puts a command at the end of the queue.
    fn enqueue(&mut self, queued: Queued) {
        self.draws += 1;
        self.bytes = self.bytes.saturating_add(queued.draw.bytes);
        let (number, slot) = self.queue.next_place();
        for (generation, area, foreign) in queued.uses() {
            self.index.add(generation, number, slot, area, foreign);
        }
        self.queue.push_back(Item::Draw(queued));
    }

    /// Takes a command out of the queue.
    fn take_draw(&mut self, slot: Slot) -> Option<Queued> {
        if !matches!(self.queue.get(slot), Some(Item::Draw(_))) {
            return None;
        }
        let Some((number, Item::Draw(queued))) = self.queue.remove(slot) else { return None };
        self.forget(number, &queued);
        Some(queued)
    }

    /// Settles the accounts of a command that has left the queue.
    fn forget(&mut self, number: u64, queued: &Queued) {
        self.draws -= 1;
        self.bytes = self.bytes.saturating_sub(queued.draw.bytes);
        for (generation, area, foreign) in queued.uses() {
            self.index.remove(generation, number, &area, foreign);
        }
    }

    /// Takes out queued commands that `new` covers completely.
    ///
    /// Walks back from the newest and stops at the first one that needs a pixel `new` covers:
    /// whatever is older may be what it needs. What is taken out was seen by nobody.
    fn occlude(&mut self, new: &Queued) {
        let (key, region) = (new.dest, &new.draw.region);
        if new.reads_dest || new.reads.iter().any(|r| r.key == key) {
            return;
        }
        let mut walk = self.index.walk_back(key.generation, new.bounds);
        let mut stay = 0;
        while let Some(slot) = walk.next(&self.index) {
            let Some(Item::Draw(old)) = self.queue.get(slot) else { continue };
            let near = old.dest == key && new.bounds.contains(&old.bounds);
            if near && region.contains(&old.draw.region) {
                self.take_draw(slot);
                self.dropped += 1;
                walk.looked = 0;
                continue;
            }
            stay += 1;
            if old.needs(key, region) || stay > OCCLUSION_DEPTH || walk.looked > OCCLUSION_LOOKS {
                break;
            }
        }
        self.index.walked(walk);
    }

    /// Makes pixels dirty, with all that follows for queued commands.
    fn spoil(&mut self, key: SurfaceKey, region: Region) {
        let mut todo = vec![(key, region)];
        let (mut spoiled, mut looked, mut many) = (0, 0, false);
        let mut out: Vec<Slot> = Vec::new();
        while let Some((key, region)) = todo.pop() {
            // Joining rectangles may add pixels: the commands there are touched as well.
            let region = self.add_dirty(key, &region).unwrap_or(region);
            if region.is_empty() {
                continue;
            }
            out.clear();
            let queue = &self.queue;
            looked += self.index.visit(key.generation, &region.bounds(), |slot| {
                let touched =
                    matches!(queue.get(slot), Some(Item::Draw(q)) if q.touches(key, &region));
                if touched {
                    out.push(slot);
                }
                many |= out.len() > 4 * MAX_SPOILED;
                !many
            });
            for slot in out.drain(..) {
                // It comes twice if it stands in two lists.
                if let Some(queued) = self.take_draw(slot) {
                    todo.push((queued.dest, queued.draw.region.clone()));
                    spoiled += 1;
                    self.dropped += 1;
                }
            }
            if many || spoiled > MAX_SPOILED || looked > MAX_LOOKS {
                for (key, region) in todo {
                    self.add_dirty(key, &region);
                }
                self.collapse();
                return;
            }
        }
    }

    /// Adds to a surface's dirty region and returns what was not in it before, which may be more
    /// than was asked for; `None` if the surface is gone.
    fn add_dirty(&mut self, key: SurfaceKey, region: &Region) -> Option<Region> {
        let surface = self.surfaces.get_mut(&key.id).filter(|s| s.key() == key)?;
        self.dirty.insert(key.id);
        if surface.dirty.contains(region) {
            return Some(Region::new());
        }
        let mut all = surface.dirty.clone();
        all.union(region);
        all.simplify(self.limits.dirty_rects);
        let mut added = all.clone();
        added.subtract(&surface.dirty);
        surface.dirty = all;
        Some(added)
    }

    /// Takes out every command; what they covered is sent as pixels.
    fn collapse(&mut self) {
        let all = self.queue.take_all(|item| matches!(item, Item::Draw(_)));
        self.dropped += all.len() as u64;
        self.index.clear();
        (self.draws, self.bytes) = (0, 0);
        let mut covered: BTreeMap<u64, (SurfaceKey, Vec<Region>)> = BTreeMap::new();
        for (_, item) in all {
            if let Item::Draw(queued) = item {
                let of_surface = covered.entry(queued.dest.generation);
                let (_, regions) = of_surface.or_insert_with(|| (queued.dest, Vec::new()));
                regions.push(queued.draw.region.clone());
            }
        }
        for (key, regions) in covered.into_values() {
            let region = Region::join(regions, self.limits.dirty_rects);
            self.add_dirty(key, &region);
        }
        self.forget_dead();
    }

    /// The next message for the client, made now; `None` if it knows everything.
    ///
    /// `reader` must show the surfaces after exactly the commands that were pushed.
    pub fn next(
        &mut self,
        reader: &mut dyn SurfaceReader,
        images: &mut dyn ImageEncoder,
    ) -> Option<Draft> {
        loop {
            if let Some((slot, Item::FirstImage(key))) = self.queue.front() {
                let key = *key;
                if let Some(message) = self.first_image(key, reader, images) {
                    return Some(message);
                }
                self.queue.remove(slot);
                continue;
            }
            // Turn about: neither many commands nor many pixels keep the other waiting.
            self.repaired_last = !self.repaired_last || self.queue.is_empty();
            if self.repaired_last
                && let Some(message) = self.next_repair(reader, images)
            {
                return Some(message);
            }
            let (slot, _) = self.queue.front()?;
            let (number, item) = self.queue.remove(slot)?;
            if let Some(message) = self.tell(number, item, images) {
                return Some(message);
            }
        }
    }

    /// The message for an item that has left the queue.
    fn tell(&mut self, number: u64, item: Item, images: &mut dyn ImageEncoder) -> Option<Draft> {
        match item {
            Item::Create(key, info) => Some(self.tell_created(key, &info).into()),
            Item::Destroy(key) => {
                self.losses.destroyed(key);
                Some(surface::destroy_message(key.id).into())
            }
            Item::Message { message, replaceable } => {
                if replaceable {
                    self.latest.remove(&message.kind);
                }
                Some(message.into())
            }
            Item::FirstImage(_) => None,
            Item::Draw(queued) => {
                self.forget(number, &queued);
                if self.losses.forbid(&queued) {
                    self.spoil(queued.dest, queued.draw.region.clone());
                    return None;
                }
                let size = |id| queued.reads.iter().find(|r| r.key.id == id).map(|r| r.size);
                match encode_onto(&queued.draw.drawable, queued.draw.dest, &size, images) {
                    Ok(draft) => {
                        let lossy = images.take_lossy();
                        self.losses.drawn(&queued, lossy, self.limits.dirty_rects);
                        Some(draft)
                    }
                    Err(error) => {
                        tracing::debug!(%error, "drawable is sent as pixels");
                        self.spoil(queued.dest, queued.draw.region.clone());
                        None
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

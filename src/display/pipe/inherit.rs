//! A client that comes from another server with its surfaces (seamless migration).
//!
//! It has what the machine's surfaces showed when the machine was stopped there. So what the machine brings here before
//! it runs is known to the client already: nothing is said of it. From when it runs commands are queued as for others;
//! they wait until the client says which surfaces it has ([`ClientPipe::settle_inheritance`]).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::display::region::Region;
use crate::protocol::geometry::Rect;
use crate::protocol::handover::HandedSurface;

use super::queue::Slot;
use super::surface::Stage;
use super::{ClientPipe, Item};

/// What a client has from another server.
#[derive(Debug, Default)]
pub(super) struct Inheritance {
    /// Surfaces that come now are the client's.
    open: bool,
    /// What they show is what the client has. False if the machine has run meanwhile.
    exact: bool,
    /// The generations of these surfaces by their ids.
    taken: BTreeMap<u32, u64>,
}

impl Inheritance {
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// A surface is gone. True if the client is not told now: it may come anew before the machine runs.
    pub(super) fn destroyed(&mut self, id: u32) -> bool {
        if self.open {
            self.taken.remove(&id);
        }
        self.open
    }
}

impl ClientPipe {
    /// The client has the surfaces that are told of from now on, as they are, or (if the machine `runs` already) as they
    /// were.
    pub fn inherit(&mut self, runs: bool) {
        self.inheritance = Inheritance { open: true, exact: !runs, taken: BTreeMap::new() };
    }

    /// The machine runs, or all surfaces were told of.
    pub fn inherited_all(&mut self) {
        self.inheritance.open = false;
    }

    /// A surface is the client's already.
    pub(super) fn inherits_known(&mut self, id: u32) {
        let Self { inheritance, surfaces, dirty, .. } = self;
        if !inheritance.open {
            return;
        }
        let Some(surface) = surfaces.get_mut(&id) else { return };
        surface.stage = Stage::Sent;
        inheritance.taken.insert(id, surface.key().generation);
        if inheritance.exact {
            surface.dirty = Region::new();
        } else {
            dirty.insert(id);
        }
    }

    /// A surface is the client's, but may be another one here: empty, if it was not created with its `image`.
    pub(super) fn inherits_created(&mut self, id: u32, image: bool) {
        let Some(surface) = self.surfaces.get_mut(&id).filter(|_| !image) else { return };
        surface.dirty = Region::from_rect(surface.bounds());
        self.dirty.insert(id);
    }

    /// The client says which surfaces it has. Returns those that do not exist: it is to be told so before all else.
    pub fn settle_inheritance(&mut self, has: &[HandedSurface]) -> Vec<u32> {
        self.inherited_all();
        let taken = std::mem::take(&mut self.inheritance.taken);
        let gone = has.iter().map(|surface| surface.id).filter(|id| !taken.contains_key(id));
        let gone = gone.collect();
        for (id, generation) in taken {
            let lossy = has.iter().find(|surface| surface.id == id).map(|surface| surface.lossy);
            match lossy {
                Some(lossy) => self.inherits_losses(id, generation, &lossy),
                None => self.inherits_nothing(id, generation),
            }
        }
        gone
    }

    fn inherits_losses(&mut self, id: u32, generation: u64, lossy: &Rect) {
        if let Some(surface) = self.surfaces.get(&id)
            && surface.key().generation == generation
        {
            self.losses.inherited(surface.key(), &surface.bounds().intersect(lossy));
        }
    }

    /// The client does not have this surface after all.
    fn inherits_nothing(&mut self, id: u32, generation: u64) {
        let Some(surface) = self.surfaces.get(&id).filter(|s| s.key().generation == generation)
        else {
            return self.inherited_nothing(generation);
        };
        let (key, whole) = (surface.key(), Region::from_rect(surface.bounds()));
        let primary = surface.is_primary();
        self.spoil(key, whole);
        if let Some(surface) = self.surfaces.get_mut(&id) {
            surface.stage = Stage::Hidden;
        }
        if primary {
            // Others are told of when something uses them.
            self.announce(id);
        }
    }

    /// The client did not have a surface that has gone meanwhile.
    fn inherited_nothing(&mut self, generation: u64) {
        self.queue
            .take_all(|item| matches!(item, Item::Destroy(key) if key.generation == generation));
        let uses = |item: &Item| matches!(item, Item::Draw(queued) if queued.uses().any(|(of, ..)| of == generation));
        let slots: Vec<Slot> =
            self.queue.iter().filter(|(_, item)| uses(item)).map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(queued) = self.take_draw(slot) {
                self.spoil(queued.dest, queued.draw.region.clone());
            }
        }
    }

    /// The surfaces that the client has, with the bounds of what it has with losses.
    #[must_use]
    pub fn handover(&self) -> Vec<HandedSurface> {
        let sent = self.surfaces.iter().filter(|(_, surface)| surface.stage == Stage::Sent);
        sent.map(|(id, surface)| {
            let lossy = self.losses.of(surface.key()).map(Region::bounds).unwrap_or_default();
            HandedSurface { id: *id, lossy }
        })
        .collect()
    }
}

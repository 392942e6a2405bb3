//! The surfaces a pipe knows: announced to its client or not, alive or gone.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use crate::display::region::Region;
use crate::protocol::geometry::Rect;
use crate::protocol::message::Message;
use crate::protocol::wire::WireWrite;
use crate::qxl::model::SurfaceFormat;

use super::queue::Slot;
use super::{ClientPipe, Item};

/// `SPICE_MSG_DISPLAY_MARK`.
const MARK: u16 = 102;
/// Length of the queue from which on dead surfaces are looked for.
pub(super) const PRUNE_MIN: usize = 1024;

/// `SPICE_MSG_DISPLAY_SURFACE_CREATE`.
const SURFACE_CREATE: u16 = 314;
/// `SPICE_MSG_DISPLAY_SURFACE_DESTROY`.
const SURFACE_DESTROY: u16 = 315;
/// `SPICE_SURFACE_FLAGS_PRIMARY`.
const FLAG_PRIMARY: u32 = 1;

/// What a client must know of a surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfaceInfo {
    /// Its number.
    pub id: u32,
    /// Layout of its pixels.
    pub format: SurfaceFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// True for the one that is the screen.
    pub primary: bool,
}

/// A surface id and which of its bearers is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SurfaceKey {
    pub id: u32,
    pub generation: u64,
}

/// How much of a surface the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: no command of this client's time has used it.
    Hidden,
    /// Its creation is in the queue.
    Announced,
    /// Its creation has been sent.
    Sent,
}

/// A surface that exists on the server.
#[derive(Debug)]
pub(super) struct Surface {
    info: SurfaceInfo,
    generation: u64,
    pub stage: Stage,
    /// What the client gets as pixels.
    pub dirty: Region,
    /// What it has not seen at all, while `Item::FirstImage` holds up the queue.
    pub unseen: Region,
    /// Row where the last repair ended.
    pub repaired_to: i32,
    /// Its creation in the queue, while it is only announced.
    created_at: Slot,
    /// `Item::FirstImage` in the queue, if `unseen` is not empty.
    first_at: Option<Slot>,
}

impl Surface {
    pub fn key(&self) -> SurfaceKey {
        SurfaceKey { id: self.info.id, generation: self.generation }
    }

    pub fn bounds(&self) -> Rect {
        Rect::from_size(0, 0, self.info.width, self.info.height)
    }

    pub fn size(&self) -> (u32, u32) {
        (self.info.width, self.info.height)
    }

    pub fn format(&self) -> SurfaceFormat {
        self.info.format
    }

    /// Bytes of the pixels of `rect` in a message, each row rounded up to whole bytes.
    pub fn bytes(&self, rect: &Rect) -> u64 {
        let row = (u64::from(rect.width()) * u64::from(self.info.format.bits())).div_ceil(8);
        row * u64::from(rect.height())
    }

    pub fn is_primary(&self) -> bool {
        self.info.primary
    }
}

fn create_message(info: &SurfaceInfo) -> Message {
    // id + width + height + format + flags
    let mut body = Vec::with_capacity(5 * 4);
    body.put_u32(info.id).put_u32(info.width).put_u32(info.height);
    body.put_u32(info.format as u32).put_u32(if info.primary { FLAG_PRIMARY } else { 0 });
    Message::new(SURFACE_CREATE, body)
}

pub(super) fn destroy_message(id: u32) -> Message {
    Message::new(SURFACE_DESTROY, id.to_le_bytes().to_vec())
}

impl ClientPipe {
    /// Queues the creation of a surface.
    ///
    /// `image`: its pixels follow, and for a primary surface everything behind waits for them. Not
    /// needed for a surface that the guest has just created: it is zero on both sides.
    pub fn surface_created(&mut self, info: SurfaceInfo, image: bool) {
        self.surface_known(info);
        if self.inheritance.is_open() {
            return self.inherits_created(info.id, image);
        }
        if !image && let Some(surface) = self.surfaces.get_mut(&info.id) {
            surface.dirty = Region::new();
        }
        let Some(key) = self.announce(info.id) else { return };
        if image
            && info.primary
            && let Some(surface) = self.surfaces.get_mut(&info.id)
        {
            surface.unseen = Region::from_rect(surface.bounds());
            surface.first_at = Some(self.queue.push_back(Item::FirstImage(key)));
        }
    }

    /// Notes a surface that existed before this client came.
    ///
    /// The client hears of it, with its pixels of then, when a command first uses it.
    ///
    /// A surface that this client could not bear is hidden from it: whatever is drawn there concerns nobody, and what
    /// reads it is sent as pixels. Stock clients end when pixels are copied to single bits.
    pub fn surface_known(&mut self, info: SurfaceInfo) {
        self.surface_destroyed(info.id);
        let hidden = match info.format {
            SurfaceFormat::A1 => true,
            SurfaceFormat::A8 => !self.abilities.alpha_surfaces,
            _ => false,
        };
        if hidden && !info.primary {
            return;
        }
        self.generations += 1;
        let mut surface = Surface {
            info,
            generation: self.generations,
            stage: Stage::Hidden,
            dirty: Region::new(),
            unseen: Region::new(),
            repaired_to: 0,
            created_at: Slot::MAX,
            first_at: None,
        };
        surface.dirty = Region::from_rect(surface.bounds());
        self.index.surface_created(surface.generation, surface.size(), info.primary);
        self.surfaces.insert(info.id, surface);
        self.inherits_known(info.id);
    }

    /// Queues the destruction of a surface; its pixels and the commands on it are forgotten,
    /// unless queued commands on other surfaces read it.
    pub fn surface_destroyed(&mut self, id: u32) {
        self.dirty.remove(&id);
        let Some(surface) = self.surfaces.remove(&id) else { return };
        let key = surface.key();
        self.streams_gone(key);
        self.index.surface_destroyed(key.generation);
        if surface.stage == Stage::Hidden || self.inheritance.destroyed(id) {
            return;
        }
        if self.index.is_read(key.generation) {
            self.queue.push_back(Item::Destroy(key));
            // Commands that read it may be taken out later; from time to time see what is left.
            if self.queue.len() > self.prune_at {
                self.forget_dead();
                self.prune_at = PRUNE_MIN.max(2 * self.queue.len());
            }
            return;
        }
        // Nobody else reads it: all that uses it draws on it.
        let mut out = Vec::new();
        self.index.visit(key.generation, &surface.bounds(), |slot| {
            out.push(slot);
            true
        });
        for slot in out {
            self.take_draw(slot);
        }
        if let Some(slot) = surface.first_at {
            self.take_if(slot, |item| matches!(item, Item::FirstImage(of) if *of == key));
        }
        let born = surface.stage != Stage::Announced
            || !self
                .take_if(surface.created_at, |i| matches!(i, Item::Create(of, _) if *of == key));
        if born {
            self.queue.push_back(Item::Destroy(key));
        } else if surface.is_primary() {
            // A mark without a surface would make no sense to the client.
            self.drop_latest(MARK);
        }
    }

    /// Takes an item out of the queue if it is still the one that is meant.
    fn take_if(&mut self, slot: Slot, meant: impl Fn(&Item) -> bool) -> bool {
        self.queue.get(slot).is_some_and(meant) && self.queue.remove(slot).is_some()
    }

    /// Sees to it that the client has a surface; `None` if there is none of that id, or none that it can have.
    pub(super) fn announce(&mut self, id: u32) -> Option<SurfaceKey> {
        let surface = self.surfaces.get_mut(&id)?;
        let key = surface.key();
        if surface.stage == Stage::Hidden {
            surface.stage = Stage::Announced;
            self.dirty.insert(id);
            surface.created_at = self.queue.push_back(Item::Create(key, surface.info));
        }
        Some(key)
    }

    /// The creation message, after which pixels of the surface may be sent.
    ///
    /// The surface may be gone on the server by now; its destruction follows in the queue.
    pub(super) fn tell_created(&mut self, key: SurfaceKey, info: &SurfaceInfo) -> Message {
        if let Some(surface) = self.surfaces.get_mut(&key.id)
            && surface.key() == key
        {
            surface.stage = Stage::Sent;
        }
        if self.abilities.simple {
            // Its images are made to fit (`ClientImages`).
            return create_message(&SurfaceInfo { format: SurfaceFormat::Xrgb, ..*info });
        }
        create_message(info)
    }

    /// Forgets what no command on a living surface needs of surfaces that are gone: commands on
    /// them, and the surface altogether if the client has not heard of it.
    pub(super) fn forget_dead(&mut self) {
        let mut dead = BTreeSet::new();
        let mut unborn = BTreeSet::new();
        for (_, item) in self.queue.iter() {
            match item {
                Item::Create(key, _) => unborn.insert(key.generation),
                Item::Destroy(key) => dead.insert(key.generation),
                _ => false,
            };
        }
        for (_, item) in self.queue.iter() {
            if let Item::Draw(queued) = item {
                for read in queued.reads.iter().filter(|r| r.key != queued.dest) {
                    dead.remove(&read.key.generation);
                }
            }
        }
        if dead.is_empty() {
            return;
        }
        let gone = self.queue.take_all(|item| match item {
            Item::Draw(queued) => dead.contains(&queued.dest.generation),
            Item::Create(key, _) | Item::FirstImage(key) | Item::Destroy(key) => {
                dead.contains(&key.generation) && unborn.contains(&key.generation)
            }
            Item::Message { .. } => false,
        });
        for (number, item) in gone {
            if let Item::Draw(queued) = item {
                self.forget(number, &queued);
            }
        }
    }
}

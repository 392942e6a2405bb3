//! The images that a client keeps, one record for all its display channels (display channel spec, section 7).
//!
//! Used by the threads display-N of one client's channels; the lock is held for look-ups only.
//!
//! The client handles its channels side by side: what is sent on one may be handled long after
//! what is sent on another. So a record of what was sent is not a record of what the client has,
//! and it would wait for an image that is still on its way elsewhere, or forget one that a message
//! on its way still needs. The protocol has waits for that; they make one channel of the
//! client stand still until another is read. Here no message ever makes a client wait:
//!
//! - a channel refers to an image that another one brought only when the client has handled that
//!   message for certain (its acknowledgements say so, see [`Member::progress`]);
//! - an image goes only when the client has handled every message of other channels that used it,
//!   and comes again by another channel only when the client has handled its going;
//! - what cannot be referred to is sent in full and not kept; what cannot go stays.
//!
//! Within one channel the order of the messages is enough.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Images in one record, whatever the client says it has room for.
pub const MAX_IMAGES: usize = 16_384;
/// Images that are passed over because they cannot go yet, before room is not looked for further.
const MAX_PASSED_OVER: usize = 64;
/// Images told to go at which those that are gone for certain are looked for.
const PRUNE_GOING: usize = 256;

/// How a client gets an image that it may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// By its id: the client has it.
    Here {
        /// With losses.
        lossy: bool,
    },
    /// In full; [`Member::add`] says whether it keeps it.
    Missing,
    /// In full, not to be kept: it is on its way by another channel.
    Elsewhere,
}

/// What is known of an image besides its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Stands for the pixels ([`super::fingerprint`]).
    pub fingerprint: u64,
    /// Width times height.
    pub pixels: u64,
    /// The client has, or would get, it with losses.
    pub lossy: bool,
}

/// A message of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    channel: u8,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    facts: Facts,
    /// Key in `order`.
    tick: u64,
    /// The message that brought it; `None` if the client has it for certain.
    brought: Option<Use>,
    /// The last message that used it, and those of other channels before.
    last: Use,
    others: Vec<Use>,
}

#[derive(Debug, Default)]
struct State {
    capacity: u64,
    used: u64,
    ticks: u64,
    entries: HashMap<u64, Entry>,
    /// Ids, least recently used first.
    order: BTreeMap<u64, u64>,
    /// Ids that were told to go, with the message that said so.
    going: HashMap<u64, Use>,
    /// The channels, with the last message of each that the client has handled for certain.
    channels: BTreeMap<u8, Arc<AtomicU64>>,
    /// Channels that go on at another server.
    left: BTreeSet<u8>,
    /// Channels that are still to come from another server, with the size there: nothing is kept before, because what
    /// the client has from there is unknown and they may still use it.
    awaited: Option<(BTreeSet<u8>, u64)>,
}

impl State {
    /// True if the client has handled this message; those of channels that are gone it never will.
    fn handled(&self, by: Use) -> bool {
        // Relaxed: the number says what the client told us, and only grows.
        self.channels.get(&by.channel).is_none_or(|h| by.serial <= h.load(Ordering::Relaxed))
    }

    /// True if the image may go with this message.
    fn may_go(&self, entry: &Entry, now: Use) -> bool {
        let mut uses = entry.others.iter().chain([&entry.last]).chain(&entry.brought);
        uses.all(|by| if by.channel == now.channel { *by != now } else { self.handled(*by) })
    }

    fn remove(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.order.remove(&entry.tick);
            self.used -= entry.facts.pixels;
        }
    }

    /// True if a message can bring this image: no other channel's message still takes it away.
    fn may_come(&self, id: u64, now: Use) -> bool {
        self.going.get(&id).is_none_or(|by| by.channel == now.channel || self.handled(*by))
    }

    /// Takes images out that the client is told to forget before this message.
    fn tell_gone(&mut self, ids: &[u64], now: Use) {
        for id in ids {
            self.remove(*id);
            self.going.insert(*id, now);
        }
    }

    /// Room to note so many more images as going.
    fn can_note(&mut self, more: usize) -> bool {
        if self.going.len() >= PRUNE_GOING {
            let Self { going, channels, .. } = self;
            // As in `handled`.
            going.retain(|_, by| {
                let handled = channels.get(&by.channel);
                handled.is_some_and(|h| by.serial > h.load(Ordering::Relaxed))
            });
        }
        self.going.len().saturating_add(more) <= MAX_IMAGES
    }

    fn touch(&mut self, id: u64, now: Use) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.ticks += 1;
        self.order.remove(&entry.tick);
        entry.tick = self.ticks;
        self.order.insert(self.ticks, id);
        if entry.last.channel != now.channel {
            entry.others.retain(|by| by.channel != now.channel);
            entry.others.push(entry.last);
        }
        entry.last = now;
    }
}

/// The record of one client's images.
#[derive(Debug, Default)]
struct PixmapCache {
    state: Mutex<State>,
}

impl PixmapCache {
    /// The state. A poisoned lock is taken all the same: a panic under it loses images, no rule.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of all clients of a server, by client session and the cache id that it names.
#[derive(Debug, Default)]
pub struct PixmapCaches {
    list: Mutex<HashMap<(u32, u8), Weak<PixmapCache>>>,
}

impl PixmapCaches {
    /// A channel of a client begins to use a cache; the first one fixes its size in pixels.
    #[must_use]
    pub fn join(&self, client: u32, cache: u8, pixels: u64, channel: u8) -> Member {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|_, cache| cache.strong_count() > 0);
        let slot = list.entry((client, cache)).or_default();
        let cache = slot.upgrade().unwrap_or_else(|| {
            let made = Arc::new(PixmapCache::default());
            made.lock().capacity = pixels;
            *slot = Arc::downgrade(&made);
            made
        });
        drop(list);
        Self::member(cache, channel)
    }

    fn member(cache: Arc<PixmapCache>, channel: u8) -> Member {
        let handled = Arc::new(AtomicU64::new(0));
        cache.lock().channels.insert(channel, Arc::clone(&handled));
        Member { cache, channel, handled, noted: 0, asked: 0 }
    }

    /// A channel of a client goes on with a cache of another server, where the `users` used it. True if the client is to
    /// forget all images now, with a message of this channel: none of its channels needs them any more.
    #[must_use]
    pub fn resume(
        &self,
        client: u32,
        cache: u8,
        pixels: u64,
        channel: u8,
        users: impl IntoIterator<Item = u8>,
    ) -> (Member, bool) {
        // The first one makes it, without room.
        let member = self.join(client, cache, 0, channel);
        let mut state = member.cache.lock();
        if state.capacity == 0 && state.awaited.is_none() {
            state.awaited = Some((users.into_iter().collect(), 0));
        }
        let mut resets = false;
        if let Some((awaited, size)) = &mut state.awaited {
            awaited.remove(&channel);
            *size = pixels.max(*size);
            if awaited.is_empty() {
                state.capacity = *size;
                state.awaited = None;
                resets = true;
            }
        }
        drop(state);
        (member, resets)
    }
}

/// What of a client's cache goes to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheHandover {
    /// Its size in pixels.
    pub pixels: u64,
    /// The channels 0 to 3 that use it.
    pub users: [bool; 4],
    /// All its channels have gone now.
    pub last: bool,
}

/// One channel's share in its client's images.
#[derive(Debug)]
pub struct Member {
    cache: Arc<PixmapCache>,
    channel: u8,
    handled: Arc<AtomicU64>,
    /// Last message that used an image.
    noted: u64,
    /// Last message that the client was asked about.
    asked: u64,
}

impl Member {
    /// The client has handled every message of this channel up to this one.
    pub fn progress(&self, serial: u64) {
        // Relaxed: see `State::handled`.
        self.handled.fetch_max(serial, Ordering::Relaxed);
    }

    /// True if the client should be asked how far it is, at most once for each message: other
    /// channels share the images, and it has not acknowledged the last one used here.
    pub fn asks(&mut self) -> bool {
        if self.noted <= self.asked || self.noted <= self.handled.load(Ordering::Relaxed) {
            return false;
        }
        self.asked = self.noted;
        self.cache.lock().channels.len() > 1
    }

    /// How to send an image with message `serial`; counts as a use if it is here.
    ///
    /// `serial` may be higher than the message will have, but is another one for each message.
    pub fn find(&mut self, id: u64, facts: Facts, serial: u64) -> Found {
        let now = Use { channel: self.channel, serial };
        let mut state = self.cache.lock();
        let Some(entry) = state.entries.get(&id) else { return Found::Missing };
        if entry.facts.fingerprint != facts.fingerprint || (entry.facts.lossy && !facts.lossy) {
            return Found::Missing;
        }
        let certain =
            entry.brought.is_none_or(|by| by.channel == self.channel || state.handled(by));
        if !certain {
            return Found::Elsewhere;
        }
        let lossy = entry.facts.lossy;
        self.noted = serial;
        state.touch(id, now);
        Found::Here { lossy }
    }

    /// Notes that message `serial` brings an image; false if the client cannot keep it.
    ///
    /// `facts.lossy` says how it is sent. Ids that have to go before the message are appended to `gone`. An image
    /// of the same id with other or worse pixels is among them: clients count how often they were
    /// given an id, so that replacing it in place would keep it there for ever.
    pub fn add(&mut self, id: u64, facts: Facts, serial: u64, gone: &mut Vec<u64>) -> bool {
        let now = Use { channel: self.channel, serial };
        let mut state = self.cache.lock();
        let State { capacity, used, .. } = *state;
        if facts.pixels == 0 || facts.pixels > capacity || !state.may_come(id, now) {
            return false;
        }
        let mut free = capacity.saturating_sub(used);
        let mut left = state.entries.len();
        let mut victims = Vec::new();
        if let Some(old) = state.entries.get(&id) {
            if !state.may_go(old, now) {
                return false;
            }
            (free, left) = (free + old.facts.pixels, left - 1);
            victims.push(id);
        }
        let mut passed_over = 0;
        let mut candidates = state.order.values();
        while free < facts.pixels || left >= MAX_IMAGES {
            let Some(candidate) = candidates.next().filter(|_| passed_over < MAX_PASSED_OVER)
            else {
                return false;
            };
            let Some(entry) = state.entries.get(candidate).filter(|_| *candidate != id) else {
                continue;
            };
            if state.may_go(entry, now) {
                (free, left) = (free + entry.facts.pixels, left - 1);
                victims.push(*candidate);
            } else {
                passed_over += 1;
            }
        }
        if !victims.is_empty() && !state.can_note(victims.len()) {
            return false;
        }
        state.tell_gone(&victims, now);
        gone.append(&mut victims);
        state.ticks += 1;
        state.used += facts.pixels;
        let tick = state.ticks;
        state.order.insert(tick, id);
        let entry = Entry { facts, tick, brought: Some(now), last: now, others: Vec::new() };
        state.entries.insert(id, entry);
        self.noted = serial;
        true
    }

    /// The message that was to bring an image was not sent after all.
    pub fn take_back(&self, id: u64) {
        self.cache.lock().remove(id);
    }

    /// This channel goes on at another server.
    #[must_use]
    pub fn hand_over(&self) -> CacheHandover {
        let mut state = self.cache.lock();
        state.left.insert(self.channel);
        let last = state.channels.keys().all(|channel| state.left.contains(channel));
        let users = [0, 1, 2, 3].map(|channel| state.channels.contains_key(&channel));
        let known = state.awaited.as_ref().map(|(_, size)| *size);
        CacheHandover { pixels: known.unwrap_or(state.capacity), users, last }
    }

    /// Forgets every image; the client is told so with a message of this channel.
    ///
    /// Returns the other channels with the last message of each that used an image: the client has
    /// to handle those before it forgets. Only after a migration; there is no other way then.
    pub fn reset(&mut self) -> Vec<(u8, u64)> {
        let mut state = self.cache.lock();
        let mut waits: BTreeMap<u8, u64> = BTreeMap::new();
        for entry in state.entries.values() {
            for by in entry.others.iter().chain([&entry.last]) {
                let last = waits.entry(by.channel).or_default();
                *last = by.serial.max(*last);
            }
        }
        state.entries.clear();
        state.order.clear();
        state.going.clear();
        state.used = 0;
        let here = |channel: &u8| *channel != self.channel && state.channels.contains_key(channel);
        waits.into_iter().filter(|(channel, _)| here(channel)).collect()
    }
}

impl Drop for Member {
    /// Nobody refers to what this channel may not have brought to the client.
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        let lost = |by: &Use| by.channel == self.channel && !state.handled(*by);
        let lost: Vec<u64> = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.brought.as_ref().is_some_and(lost))
            .map(|(id, _)| *id)
            .collect();
        lost.into_iter().for_each(|id| state.remove(id));
        // Another connection with this id counts its messages from the start.
        for entry in state.entries.values_mut() {
            entry.others.retain(|by| by.channel != self.channel);
            entry.brought = entry.brought.filter(|by| by.channel != self.channel);
            if entry.last.channel == self.channel {
                entry.last.serial = 0;
            }
        }
        state.going.retain(|_, by| by.channel != self.channel);
        state.channels.remove(&self.channel);
    }
}

#[cfg(test)]
mod tests;

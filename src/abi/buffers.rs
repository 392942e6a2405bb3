//! Buffers of sound in the host's hands.
//!
//! A buffer is a box that the host has as an address. It is looked up by that address when it comes back, so a foreign
//! one, or one that comes twice, is never followed. Buffers that never come back are never freed: their memory must
//! stay the host's. Of each client they are at most three.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use crate::observe::RateLimit;
use crate::server::sound::PlaybackLine;
use crate::sound::Frame;
use crate::sound::feed::{Lent, Ticket};

/// A buffer in the host's hands.
struct Out {
    /// From `Box::into_raw`; the host writes to it. Turned into a box again by whoever takes it out of the table.
    frame: NonNull<Frame>,
    ticket: Ticket,
    /// Weak: a buffer that never comes back holds nothing else.
    playback: Weak<PlaybackLine>,
}

// SAFETY: the memory belongs to the entry (and by contract to the host, which does not touch it once it gives it back);
// no thread is bound to it.
unsafe impl Send for Out {}

/// By address. Locked to look something up and nothing else.
static OUT: LazyLock<Mutex<HashMap<usize, Out>>> = LazyLock::new(Mutex::default);

static FOREIGN: RateLimit = RateLimit::new();

/// Hands a buffer to the host, if it may have one.
pub fn lend(playback: &Arc<PlaybackLine>) -> Option<NonNull<u32>> {
    let (frame, ticket) = playback.take()?.into_parts();
    let frame = NonNull::from(Box::leak(frame));
    let out = Out { frame, ticket, playback: Arc::downgrade(playback) };
    OUT.lock().unwrap_or_else(PoisonError::into_inner).insert(frame.as_ptr().addr(), out);
    Some(frame.cast())
}

/// Takes a buffer back from the host and plays it.
pub fn give_back(samples: *mut u32) {
    let out = OUT.lock().unwrap_or_else(PoisonError::into_inner).remove(&samples.addr());
    let Some(Out { frame, ticket, playback }) = out else {
        if FOREIGN.allow() {
            tracing::warn!("the host gave back a buffer of sound that it did not have");
        }
        return;
    };
    // SAFETY: from `Box::leak`, and taken out of the table just now, so nobody makes a box of it again.
    let frame = unsafe { Box::from_raw(frame.as_ptr()) };
    if let Some(playback) = playback.upgrade() {
        playback.put(Lent::new(frame, ticket));
    }
}

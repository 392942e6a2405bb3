//! Numbers of surfaces: from those of the recording to those of whoever plays it.
//!
//! Used by the thread that reads and by the worker's, which gives commands back.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::payload::Place;
use super::reader::{Recorded, SurfaceChange};

/// What a surface gets that does not exist: no device has so many.
const NOWHERE: u32 = u32::MAX;
/// Where a surface command has its surface.
const SURFACE_ID: Place = Place { block: 0, at: 8 };

/// A player has no number left for a new surface, and no destroy command is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("surface {0} of the recording is one too many")]
pub struct NoSurfaceLeft(pub u32);

/// Which surface of the recording is which one here.
#[derive(Debug)]
pub struct SurfaceIds {
    state: Mutex<State>,
    /// A destroy command was given back.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    here: HashMap<u32, u32>,
    /// Numbers that were used and are free again.
    free: Vec<u32>,
    /// Below it all numbers were used.
    next: u32,
    count: u32,
    /// Destroy commands that were not given back yet.
    dying: usize,
}

impl SurfaceIds {
    /// Numbers 0 .. `count`; the primary surface is 0 everywhere.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let here = HashMap::from([(0, 0)]);
        let state = State { here, free: Vec::new(), next: 1, count, dying: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Puts this player's numbers into a command.
    ///
    /// For a new surface waits until a number is free, as long as a destroy command that the
    /// server has not released yet can free one.
    ///
    /// # Errors
    /// [`NoSurfaceLeft`] where waiting would never end.
    pub fn renumber(&self, command: &mut Recorded) -> Result<(), NoSurfaceLeft> {
        let mut state = self.lock();
        for place in &command.surfaces {
            let id = state.here(command.payload.u32(*place));
            command.payload.put(*place, &id.to_le_bytes());
        }
        let recorded = command.payload.u32(SURFACE_ID);
        let id = match command.surface_change {
            None => return Ok(()),
            Some(SurfaceChange::Create) => match state.here.get(&recorded) {
                // Nobody has this number: the server will refuse.
                _ if recorded == NOWHERE => NOWHERE,
                Some(id) => *id,
                None => {
                    let id = loop {
                        if let Some(id) = state.take() {
                            break id;
                        }
                        if state.dying == 0 {
                            return Err(NoSurfaceLeft(recorded));
                        }
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    };
                    state.here.insert(recorded, id);
                    id
                }
            },
            Some(SurfaceChange::Destroy) if recorded == 0 => 0,
            Some(SurfaceChange::Destroy) => match state.here.remove(&recorded) {
                Some(id) => {
                    state.dying += 1;
                    command.frees_surface = Some(id);
                    id
                }
                None => NOWHERE,
            },
        };
        command.payload.put(SURFACE_ID, &id.to_le_bytes());
        Ok(())
    }

    /// The destroy command of a surface was given back.
    pub fn free(&self, id: u32) {
        let mut state = self.lock();
        state.free.push(id);
        state.dying = state.dying.saturating_sub(1);
        drop(state);
        self.changed.notify_all();
    }

    /// All surfaces were destroyed at once. Those with a destroy command under way wait for it.
    pub fn free_all(&self) {
        let mut state = self.lock();
        let freed: Vec<u32> = state.here.values().copied().filter(|id| *id != 0).collect();
        state.here.retain(|recorded, _| *recorded == 0);
        state.free.extend(freed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn here(&self, recorded: u32) -> u32 {
        self.here.get(&recorded).copied().unwrap_or(NOWHERE)
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let id = self.next;
            (id < self.count).then(|| {
                self.next += 1;
                id
            })
        })
    }
}

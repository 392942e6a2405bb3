//! Attaching and detaching rings in shared memory, on the display's thread.

use std::os::fd::OwnedFd;

use crate::channel::clients::Clients;
use crate::qxl::ring::{AttachError, RingSetup, RingState};
use crate::sys::clock::monotonic_ns;
use crate::transport::reactor::Key;

use super::worker::Display;
use super::{DetachError, RingRoom};

impl Display {
    /// Takes commands from these rings instead of the host's callbacks; `kick` tells of new ones.
    pub(super) fn attach_ring(
        &mut self,
        clients: &mut Clients,
        setup: RingSetup,
        kick: OwnedFd,
    ) -> Result<(), AttachError> {
        if self.device.ring().is_some() {
            return Err(AttachError::Attached);
        }
        // What the host's rings hold was before.
        self.flush_rings();
        self.scene.settle_all();
        let key = clients.watch(kick).map_err(|e| AttachError::Display(e.to_string()))?;
        if let Err(error) = self.device.attach(setup, &mut self.slots) {
            clients.unwatch(key);
            return Err(error);
        }
        self.kick = Some(key);
        self.look_again();
        Ok(())
    }

    /// Back to the host's callbacks. Surfaces of the ring's memory end here and at the clients, without being released:
    /// whoever goes on with the memory makes them anew.
    pub(super) fn detach_ring(
        &mut self,
        clients: &mut Clients,
        room: RingRoom,
    ) -> Result<RingState, DetachError> {
        let ring = self.device.ring().ok_or(DetachError::NotAttached)?;
        let (surfaces, dirty) = (self.limits.surfaces as usize, ring.dirty_words());
        if room.surfaces < surfaces || room.dirty < dirty {
            return Err(DetachError::Room { surfaces, dirty });
        }
        self.execute_taken();
        self.scene.settle_all();
        let mut surfaces = Vec::new();
        for id in self.scene.ids() {
            let Some((address, len)) = self.scene.memory(id) else { continue };
            if !self.device.ring().is_some_and(|ring| ring.holds(address, len)) {
                continue;
            }
            self.device.wrote(address, len);
            let (_, create) = self.scene.destroy(id);
            self.peers.surface_destroyed(id);
            if id == 0 {
                self.upward.primary_changed(self.id, None);
            }
            if let (Some(create), Some(ring)) = (create, self.device.ring()) {
                // Not released: it stays the guest's until its surface dies elsewhere.
                surfaces.extend(ring.guest_address(&self.slots, &create));
            }
        }
        let ring = self.device.detach().ok_or(DetachError::NotAttached)?;
        let mut cursor = 0;
        if let Some(shape) = self.shape_command.take() {
            match ring.guest_address(&self.slots, &shape) {
                Some(address) => cursor = address,
                None => self.shape_command = Some(shape),
            }
        }
        self.slots.reset_group(ring.group());
        if let Some(key) = self.kick.take() {
            clients.unwatch(key);
        }
        self.look_again();
        Ok(RingState { surfaces, cursor, ..ring.detach() })
    }

    /// Executes what was taken from the rings already, and nothing else.
    pub(super) fn execute_taken(&mut self) {
        let (commands, cursors) = self.device.taken();
        for _ in 0..cursors {
            // If the cursor channel is far behind, of the movements only the later ones count.
            if !self.take_cursor() {
                self.drop_held_cursor();
                self.take_cursor();
            }
        }
        for _ in 0..commands {
            self.take_command();
        }
    }

    /// The guest kicked.
    pub(super) fn kicked(&mut self, key: Key) {
        if self.kick == Some(key) {
            self.woken_at(monotonic_ns());
            self.look_again();
        }
    }
}

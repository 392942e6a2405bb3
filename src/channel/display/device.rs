//! The device of a display: the host's callbacks, and the rings in shared memory if the host has attached some.
//!
//! With rings commands come from there alone and their memory goes back there; what belongs to the host's own memory
//! (surfaces of before) and everything that is no command still goes through the callbacks.

use crate::observe::probes;
use crate::protocol::geometry::Rect;
use crate::qxl::command::{CommandExt, HostAddress, QxlDevice, ReleaseInfo};
use crate::qxl::memslot::MemSlots;
use crate::qxl::ring::{AttachError, RingDevice, RingSetup};

/// Both ways to the guest. Belongs to display-N.
pub struct Device {
    id: u8,
    host: Box<dyn QxlDevice>,
    ring: Option<Box<RingDevice>>,
}

impl Device {
    /// With callbacks only; `id` is for probes.
    pub fn new(id: u8, host: Box<dyn QxlDevice>) -> Self {
        Self { id, host, ring: None }
    }

    /// The attached rings.
    pub fn ring(&self) -> Option<&RingDevice> {
        self.ring.as_deref()
    }

    /// Takes commands from rings from now on.
    ///
    /// # Errors
    /// As [`RingDevice::new`], and if there are rings already.
    pub fn attach(&mut self, setup: RingSetup, slots: &mut MemSlots) -> Result<(), AttachError> {
        if self.ring.is_some() {
            return Err(AttachError::Attached);
        }
        self.ring = Some(Box::new(RingDevice::new(setup, slots)?));
        Ok(())
    }

    /// Back to the callbacks alone; nothing of the ring's memory may be in use but by what is returned.
    pub fn detach(&mut self) -> Option<Box<RingDevice>> {
        self.ring.take()
    }

    /// Commands that nobody but us has any more: (display, cursor).
    pub fn taken(&self) -> (usize, usize) {
        self.ring.as_ref().map_or((0, 0), |ring| ring.taken())
    }

    /// As [`QxlDevice::get_command`].
    pub fn get_command(&mut self) -> Option<CommandExt> {
        match &mut self.ring {
            Some(ring) => ring.command(),
            None => self.host.get_command(),
        }
    }

    /// As [`QxlDevice::req_cmd_notification`].
    pub fn req_cmd_notification(&mut self) -> bool {
        match &mut self.ring {
            Some(ring) => ring.arm_commands(),
            None => self.host.req_cmd_notification(),
        }
    }

    /// As [`QxlDevice::get_cursor_command`].
    pub fn get_cursor_command(&mut self) -> Option<CommandExt> {
        match &mut self.ring {
            Some(ring) => ring.cursor_command(),
            None => self.host.get_cursor_command(),
        }
    }

    /// As [`QxlDevice::req_cursor_notification`].
    pub fn req_cursor_notification(&mut self) -> bool {
        match &mut self.ring {
            Some(ring) => ring.arm_cursors(),
            None => self.host.req_cursor_notification(),
        }
    }

    /// As [`QxlDevice::release_resource`], to where the command came from.
    pub fn release_resource(&mut self, release: ReleaseInfo) {
        probes::resource_released(self.id);
        let hosts = match &mut self.ring {
            Some(ring) => ring.release(release).err(),
            None => Some(release),
        };
        if let Some(release) = hosts {
            self.host.release_resource(release);
        }
    }

    /// As [`QxlDevice::flush_resources`].
    pub fn flush_resources(&mut self) -> i32 {
        match &mut self.ring {
            Some(ring) => ring.publish(),
            None => self.host.flush_resources(),
        }
    }

    /// The guest's driver waits for nothing more that it could get by itself: publishes what was released, so that a
    /// guest that draws little gets its memory back as well. The host's callbacks do that by their own rules.
    pub fn quiet(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.publish();
        }
    }

    /// Bytes of guest memory that were or may have been written.
    pub fn wrote(&mut self, address: HostAddress, len: usize) {
        if let Some(ring) = &mut self.ring {
            ring.wrote(address, len);
        }
    }

    /// As [`QxlDevice::notify_update`].
    pub fn notify_update(&mut self, update_id: u32) {
        self.host.notify_update(update_id);
    }

    /// As [`QxlDevice::async_complete`].
    pub fn async_complete(&mut self, cookie: u64) {
        self.host.async_complete(cookie);
    }

    /// As [`QxlDevice::update_area_complete`].
    pub fn update_area_complete(&mut self, surface: u32, rects: &[Rect]) {
        self.host.update_area_complete(surface, rects);
    }

    /// As [`QxlDevice::set_client_capabilities`].
    pub fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]) {
        self.host.set_client_capabilities(present, caps);
    }
}

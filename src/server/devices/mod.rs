//! Char devices, seen from the host's side: which there are, and the way to each.
//!
//! Everything here runs on threads of the host, under its lock: inside API calls, or from the mailbox.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::channel::device::{DeviceId, DeviceTask};

use super::Core;
use super::host::HostTask;

pub mod device;
pub mod kind;
mod writes;

use device::{After, Device};
use kind::{Kind, Owner, Todo};

/// The char devices of a server.
#[derive(Default)]
pub(super) struct Devices {
    table: Mutex<Table>,
}

struct Table {
    devices: BTreeMap<DeviceId, Entry>,
    /// False between `vm_stop` and `vm_start`. True at first: hosts add devices before their first `vm_start` and
    /// expect them to work.
    running: bool,
}

struct Entry {
    device: Arc<Device>,
    role: Role,
}

/// What a device is to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The guest agent's.
    Agent,
}

impl Default for Table {
    fn default() -> Self {
        Self { devices: BTreeMap::new(), running: true }
    }
}

impl Devices {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: DeviceId) -> Option<Arc<Device>> {
        self.table().devices.get(&id).map(|entry| Arc::clone(&entry.device))
    }
}

impl Core {
    /// Adds a char device that the host knows by this id already. Callbacks may come before this returns.
    ///
    /// # Errors
    /// A subtype that does not exist, or a second agent; the device is not served then.
    pub fn add_device(
        self: &Arc<Self>,
        id: DeviceId,
        subtype: &str,
        _port: Option<Vec<u8>>,
    ) -> io::Result<()> {
        match subtype {
            "vdagent" => self.add_agent(id),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "such devices are not served")),
        }
    }

    fn add_agent(&self, id: DeviceId) -> io::Result<()> {
        if self.session().agent {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is an agent already"));
        }
        self.agent_changed(true);
        self.start_device(id, Role::Agent, Box::new(SilentAgent));
        Ok(())
    }

    /// Puts a device into operation; [`Kind::added`] is called.
    fn start_device(&self, id: DeviceId, role: Role, kind: Box<dyn Kind>) {
        let notifies = self.host().is_some_and(|host| host.device_notifies(id));
        let mut table = self.devices.table();
        let device = Arc::new(Device::new(id, notifies, table.running, kind));
        table.devices.insert(id, Entry { device, role });
        drop(table);
        self.with_device(id, |device, host| device.act(host, |kind, todo| kind.added(todo)));
    }

    /// Ends a device: the last callback into it was made when this returns.
    pub fn remove_device(&self, id: DeviceId) {
        let Some(entry) = self.devices.table().devices.remove(&id) else { return };
        if let Some(host) = self.host() {
            entry.device.remove(&*host);
        }
        match entry.role {
            Role::Agent => self.agent_changed(false),
        }
    }

    /// Ends all devices, with the server.
    pub(super) fn remove_all_devices(&self) {
        let ids: Vec<DeviceId> = self.devices.table().devices.keys().copied().collect();
        ids.into_iter().for_each(|id| self.remove_device(id));
    }

    /// Runs a task of the mailbox; one for a device that has gone is dropped.
    pub(super) fn run_device_task(&self, id: DeviceId, task: DeviceTask) {
        self.with_device(id, |device, host| device.task(host, task));
    }

    /// `spice_server_char_device_wakeup`: reads and writes before it returns.
    pub fn device_wakeup(&self, id: DeviceId) {
        self.with_device(id, Device::wakeup);
    }

    /// `spice_server_port_event`.
    pub fn device_port_event(&self, id: DeviceId, event: u8) {
        self.with_device(id, |device, host| {
            device.act(host, |kind, todo| kind.port_event(event, todo))
        });
    }

    /// The machine runs or stops. When it starts, everything that waits is moved before this returns.
    pub(super) fn set_devices_running(&self, running: bool) {
        let mut table = self.devices.table();
        if std::mem::replace(&mut table.running, running) == running {
            return;
        }
        let ids: Vec<DeviceId> = table.devices.keys().copied().collect();
        drop(table);
        for id in ids {
            self.with_device(id, |device, host| device.set_running(host, running));
        }
    }

    fn with_device(
        &self,
        id: DeviceId,
        act: impl FnOnce(&Device, &dyn super::host::Host) -> After,
    ) {
        let (Some(device), Some(host)) = (self.devices.get(id), self.host()) else { return };
        if act(&device, &*host) == After::Continue {
            self.mailbox.push(HostTask::Device(id, DeviceTask::Continue));
        }
    }
}

/// The agent's device while nobody speaks with it: neither read nor written.
struct SilentAgent;

impl Kind for SilentAgent {
    fn wants(&mut self) -> usize {
        0
    }
    fn read(&mut self, _bytes: &[u8], _todo: &mut Todo) {}
    fn written(&mut self, _owner: Owner, _bytes: usize) {}
    fn task(&mut self, _task: DeviceTask, _todo: &mut Todo) {}
}

//! Char devices, seen from the host's side: which there are, and the way to each.
//!
//! Everything here runs on threads of the host, under its lock: inside API calls, or from the mailbox.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::channel::device::{DeviceId, DeviceTask};
use crate::channel::main::AgentOrder;
use crate::protocol::agent::DisplayAddress;

use super::Core;
use super::host::HostTask;

mod agent;
pub mod device;
pub mod kind;
mod writes;

use agent::{Agent, Session};
use device::{After, Device};
use kind::Kind;

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

    fn add_agent(self: &Arc<Self>, id: DeviceId) -> io::Result<()> {
        if self.session().agent.is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is an agent already"));
        }
        let session = AgentSession(Arc::downgrade(self));
        let agent = Agent::new(id, session, Arc::clone(&self.agent_rules));
        self.start_device(id, Role::Agent, Box::new(agent));
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
            // It has told by itself.
            Role::Agent => {}
        }
    }

    /// The agent came or went, if `applies` to the one that is there: first clients hear of the mouse modes, then of it.
    fn agent_changed(&self, agent: Option<DeviceId>, applies: impl FnOnce(Option<DeviceId>) -> bool) {
        let mut session = self.session();
        if !applies(session.agent) {
            return;
        }
        session.agent = agent;
        let consequences = session.mouse.set_agent(agent.is_some());
        drop(session);
        self.after_mouse_change(consequences);
        self.session().tell_main(AgentOrder::Present(agent));
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

/// What an agent's device knows of its server.
struct AgentSession(Weak<Core>);

impl Session for AgentSession {
    fn arrived(&self, agent: DeviceId) {
        if let Some(core) = self.0.upgrade() {
            core.agent_changed(Some(agent), |now| now.is_none());
        }
    }

    fn gone(&self, agent: DeviceId) {
        if let Some(core) = self.0.upgrade() {
            core.agent_changed(None, |now| now == Some(agent));
        }
    }

    fn tell_main(&self, order: AgentOrder) {
        if let Some(core) = self.0.upgrade() {
            core.session().tell_main(order);
        }
    }

    fn displays(&self) -> Vec<DisplayAddress> {
        self.0.upgrade().map(|core| core.session().display_addresses()).unwrap_or_default()
    }
}

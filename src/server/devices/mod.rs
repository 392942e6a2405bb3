//! Char devices, seen from the host's side: which there are, and the way to each.
//!
//! Everything here runs on threads of the host, under its lock: inside API calls, or from the mailbox.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::channel::device::{DeviceId, DeviceTask, Flow};
use crate::channel::vmc::Vmc;
use crate::channel::{Upward, engine};
use crate::protocol::caps::ChannelType;

use super::Core;
use super::host::HostTask;

mod agent;
pub mod device;
pub mod kind;
mod smartcard;
mod stream;
mod vmc;
mod writes;

use device::{After, Device};
use kind::Kind;
use smartcard::Readers;
use stream::Stream;
use vmc::Bytes;

/// Name of the port whose channel is webdav.
const WEBDAV_PORT: &[u8] = b"org.spice-space.webdav.0";
/// Name of the port of a streaming agent, which has a display and a cursor channel.
const STREAM_PORT: &[u8] = b"org.spice-space.stream.0";

/// Name of the thread of a device's channel.
fn thread_name(channel_type: ChannelType, number: u8) -> String {
    format!("spice-{}-{number}", channel_type.name())
}

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
    /// Of smartcards; `None` while there is none.
    readers: Option<Readers>,
    /// Ports of streaming agents.
    streams: BTreeMap<DeviceId, Arc<Stream>>,
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
    /// A streaming agent's port.
    Stream,
    /// One of the readers that share the smartcard channel.
    Reader,
    /// Has a channel of its own.
    Channel(ChannelType, u8),
}

impl Default for Table {
    fn default() -> Self {
        Self { devices: BTreeMap::new(), running: true, readers: None, streams: BTreeMap::new() }
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
        port: Option<Vec<u8>>,
    ) -> io::Result<()> {
        match subtype {
            "vdagent" => self.add_agent(id),
            "smartcard" => self.add_smartcard(id),
            "usbredir" => self.add_bytes::<{ ChannelType::USBREDIR.0 }>(id, None),
            "port" => match port.as_deref() {
                None => Err(io::Error::new(io::ErrorKind::InvalidInput, "a port needs a name")),
                Some(WEBDAV_PORT) => self.add_bytes::<{ ChannelType::WEBDAV.0 }>(id, port),
                Some(STREAM_PORT) => {
                    self.add_stream(id);
                    Ok(())
                }
                Some(_) => self.add_bytes::<{ ChannelType::PORT.0 }>(id, port),
            },
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "such devices are not served")),
        }
    }

    /// Adds a device whose bytes go to a client as they are, with its channel.
    fn add_bytes<const T: u8>(
        self: &Arc<Self>,
        id: DeviceId,
        port: Option<Vec<u8>>,
    ) -> io::Result<()> {
        let channel_type = ChannelType(T);
        let number = self.free_id(channel_type)?;
        let upward: Arc<dyn Upward> = Arc::clone(self) as Arc<dyn Upward>;
        let flow = Flow::new();
        let (channel, thread) =
            engine::start(&thread_name(channel_type, number), number, Arc::clone(&upward), |_| {
                Vmc::<T>::new(upward, id, Arc::clone(&flow), port)
            })?;
        self.add_threads([thread]);
        let kind = Bytes::new(channel.clone(), flow);
        self.start_device(id, Role::Channel(channel_type, number), Box::new(kind));
        self.session().register(channel_type, number, Arc::new(channel));
        Ok(())
    }

    fn free_id(&self, channel_type: ChannelType) -> io::Result<u8> {
        let free = self.session().free_id(channel_type);
        free.ok_or_else(|| io::Error::other("there are 256 channels of its type already"))
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
            // An agent has told by itself.
            Role::Agent => {}
            Role::Stream => self.end_stream(id),
            Role::Reader => {
                if self.reader_removed(id) {
                    self.end_device_channel(smartcard::CHANNEL);
                }
            }
            Role::Channel(channel_type, number) => {
                self.end_device_channel((channel_type, number));
            }
        }
    }

    /// Ends a channel whose device is gone.
    fn end_device_channel(&self, (channel_type, number): (ChannelType, u8)) {
        let channel = self.session().take(channel_type, number);
        if let Some(channel) = channel {
            channel.route.stop();
            self.join_threads(&[thread_name(channel_type, number)]);
        }
        // Its clients are gone; the host hears of it before the call returns.
        self.run_host_tasks(self.caller());
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

    /// Adds to what a device is to do, without doing it: [`Core::device_wakeup`] does. How many bytes were added.
    pub(super) fn queue_device_task(&self, id: DeviceId, task: DeviceTask) -> usize {
        let bytes = match &task {
            DeviceTask::Data(_, bytes) | DeviceTask::Message(_, bytes, _) => bytes.len(),
            _ => 0,
        };
        if let Some(device) = self.devices.get(id) {
            device.queue(task);
        }
        bytes
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
            self.post(HostTask::Device(id, DeviceTask::Continue));
        }
    }
}

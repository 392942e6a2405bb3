//! The channels usbredir, port and webdav (thread `spice-usbredir-K` and so on): a char device's bytes both ways.
//!
//! One client at a time. Its messages go into the host's mailbox as long as there is room for them; then the socket is
//! not read. What the device gives comes as orders and is compressed here, away from the host's loop.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::pool::{self, BlockScratch};
use crate::protocol::caps::ChannelType;
use crate::protocol::handover::{CharDevice, VMC_MAX, read_vmc, write_vmc};
use crate::protocol::message::Message;
use crate::protocol::vmc::{self as wire, VmcRequest};
use crate::transport::reactor::Key;

use super::clients::{Client, Clients, Close};
use super::device::{DeviceId, DeviceOrder, DeviceTask, Flow};
use super::engine::{Channel, Turn};
use super::{ClientId, Upward};

/// Messages up to this size in bytes are sent as they are.
const COMPRESS_ABOVE: usize = 1000;
/// Bytes of a client that may come before the host is woken for them, while more of them is there.
const TELL_AT: usize = 256 * 1024;
/// Bytes for the device that a client may take along to another server, 128 for each message among them.
const LEAVING_MAX: usize = VMC_MAX - 64 * 1024;
/// Port events that may wait for a client that does not read.
const EVENTS_MAX: usize = 1024;

/// The client that is here.
#[derive(Debug)]
struct Peer {
    key: Key,
    client: ClientId,
    compresses: bool,
    /// It goes to another server: what it says is read whether the device takes it or not, because the machine stands
    /// still and the rest goes along.
    leaves: bool,
}

/// Something that waits for the client.
#[derive(Debug)]
enum Waiting {
    Data(Vec<u8>),
    Event(u8),
}

/// State of the channel of type `T`.
pub struct Vmc<const T: u8> {
    upward: Arc<dyn Upward>,
    device: DeviceId,
    flow: Arc<Flow>,
    /// Name of a port; `None` for usbredir, which says nothing when a client comes.
    port: Option<Vec<u8>>,
    /// The guest has the port open.
    opened: bool,
    peer: Option<Peer>,
    /// Clients that came.
    turn: u64,
    waiting: VecDeque<Waiting>,
    events: usize,
    scratch: BlockScratch,
    /// What the outbox may still hold; goes back to the host's side when it does not.
    sent: VecDeque<Arc<Vec<u8>>>,
    /// Bytes for the device of which the host was not told, now and at the last turn.
    untold: usize,
    untold_before: usize,
}

impl<const T: u8> Vmc<T> {
    /// The channel of a device.
    #[must_use]
    pub fn new(
        upward: Arc<dyn Upward>,
        device: DeviceId,
        flow: Arc<Flow>,
        port: Option<Vec<u8>>,
    ) -> Self {
        Self {
            upward,
            device,
            flow,
            port,
            opened: false,
            peer: None,
            turn: 0,
            waiting: VecDeque::new(),
            events: 0,
            scratch: BlockScratch::default(),
            sent: VecDeque::new(),
            untold: 0,
            untold_before: 0,
        }
    }

    /// Sends what waits while the client has room.
    fn feed(&mut self, clients: &mut Clients) {
        let Some(peer) = &self.peer else { return };
        while let Some(buffer) = self.sent.pop_front_if(|buffer| Arc::strong_count(buffer) == 1) {
            if let Ok(buffer) = Arc::try_unwrap(buffer) {
                self.flow.keep(buffer);
            }
        }
        let (waiting, events, scratch) = (&mut self.waiting, &mut self.events, &mut self.scratch);
        let sent = &mut self.sent;
        let mut taken = 0;
        clients.feed(peer.key, |feed| match waiting.pop_front() {
            None => false,
            Some(Waiting::Event(event)) => {
                *events -= 1;
                feed.send(wire::port_event(event));
                true
            }
            Some(Waiting::Data(bytes)) => {
                taken += bytes.len();
                let bytes = Arc::new(bytes);
                let message = peer.compresses.then(|| lz4_message(&bytes, scratch)).flatten();
                feed.send(message.unwrap_or_else(|| wire::data(Arc::clone(&bytes))));
                sent.push_back(bytes);
                true
            }
        });
        self.took(taken);
    }

    /// Sends all that waits, which the flow bounds, whatever the client has room for.
    fn feed_all(&mut self, clients: &mut Clients) {
        let Some(key) = self.peer.as_ref().map(|peer| peer.key) else { return };
        let mut taken = 0;
        for waiting in self.waiting.drain(..) {
            clients.send(
                key,
                match waiting {
                    Waiting::Event(event) => wire::port_event(event),
                    Waiting::Data(bytes) => {
                        taken += bytes.len();
                        wire::data(Arc::new(bytes))
                    }
                },
            );
        }
        self.events = 0;
        self.took(taken);
    }

    /// Bytes of the device are dealt with.
    fn took(&self, bytes: usize) {
        if bytes > 0 && self.flow.client_took(bytes) {
            self.upward.device(self.device, DeviceTask::Room);
        }
    }

    /// Sends bytes to the device, those from `from` on.
    fn give(&mut self, client: ClientId, bytes: Vec<u8>, from: usize) {
        self.flow.give_device(bytes.len());
        self.untold += bytes.len().max(1);
        let task = match from {
            0 => DeviceTask::Data(client, bytes),
            _ => DeviceTask::Message(client, bytes, from),
        };
        if self.untold < TELL_AT {
            return self.upward.device_quietly(self.device, task);
        }
        self.untold = 0;
        self.upward.device(self.device, task);
    }

    /// Wakes the host once the client has no more to say: for bulk data, waking costs more than moving it.
    fn tell(&mut self) -> Turn {
        if self.untold == 0 {
            return Turn::Idle;
        }
        // It said something since the last turn: look once more before the host is woken.
        if std::mem::replace(&mut self.untold_before, self.untold) != self.untold {
            return Turn::Again;
        }
        (self.untold, self.untold_before) = (0, 0);
        self.upward.device_tasks_wait();
        Turn::Idle
    }

    /// Handles a message whose content begins at `from`.
    fn message(&mut self, key: Key, kind: u16, memory: Vec<u8>, from: usize) -> Result<(), String> {
        let Some(peer) = self.peer.as_ref().filter(|p| p.key == key) else { return Ok(()) };
        let client = peer.client;
        if peer.leaves && self.flow.memory_to_device() + memory.len() > LEAVING_MAX {
            return Err(format!("more than {LEAVING_MAX} bytes that the device has not taken"));
        }
        let body = memory.get(from..).unwrap_or_default();
        match VmcRequest::parse(kind, body).map_err(|e| e.to_string())? {
            VmcRequest::Data(_) => self.give(client, memory, from),
            VmcRequest::Lz4 { size, block } => {
                let bytes = pool::decompress_block(block, size, self.flow.body(size))
                    .ok_or_else(|| format!("no LZ4 block of {size} bytes"))?;
                self.flow.keep_body(memory);
                self.give(client, bytes, 0);
            }
            VmcRequest::PortEvent(event) => {
                // Counted as a message, so that events do not pile up before the host either.
                self.flow.give_device(0);
                self.upward.device(self.device, DeviceTask::Event(event));
            }
        }
        Ok(())
    }
}

/// The message for bytes of the device, if they become fewer.
fn lz4_message(bytes: &[u8], scratch: &mut BlockScratch) -> Option<Message> {
    let size = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() > COMPRESS_ABOVE)?;
    let block = pool::compress_block(bytes, bytes.len() - 1, scratch)?;
    Some(wire::lz4_data(size, block))
}

impl<const T: u8> Channel for Vmc<T> {
    type Order = DeviceOrder;
    const TYPE: ChannelType = ChannelType(T);
    const TAKES_MEMORY: bool = true;
    const HANDOVER_MAX: usize = VMC_MAX;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        let Some(client) = clients.get(key) else { return };
        if self.peer.is_some() {
            clients.close(key, Close::Ours("the device has a client already"));
            return;
        }
        let compresses = client.caps.has(wire::CAP_LZ4) && client.connection.tcp;
        let peer = Peer { key, client: client.client, compresses, leaves: false };
        self.turn += 1;
        // Who comes along with the machine has had it.
        if let Some(name) = self.port.as_ref().filter(|_| !client.inherits) {
            clients.send(key, wire::port_init(name, self.opened));
        }
        self.upward.device(self.device, DeviceTask::Attached(peer.client));
        self.peer = Some(peer);
    }

    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String> {
        self.request_owned(clients, key, kind, body.to_vec())
    }

    fn request_owned(
        &mut self,
        _clients: &mut Clients,
        key: Key,
        kind: u16,
        body: Vec<u8>,
    ) -> Result<(), String> {
        self.message(key, kind, body, 0)
    }

    fn request_memory(
        &mut self,
        _clients: &mut Clients,
        key: Key,
        kind: u16,
        memory: Vec<u8>,
        from: usize,
    ) -> Result<(), String> {
        self.message(key, kind, memory, from)
    }

    fn body(&mut self, bytes: usize) -> Vec<u8> {
        self.flow.body(bytes)
    }

    fn order(&mut self, clients: &mut Clients, order: DeviceOrder) {
        match order {
            DeviceOrder::Data { turn, bytes } if turn == self.turn && self.peer.is_some() => {
                self.waiting.push_back(Waiting::Data(bytes));
            }
            // Read for a client that has gone.
            DeviceOrder::Data { bytes, .. } => self.took(bytes.len()),
            DeviceOrder::HandedOver { bytes, .. } => {
                if let Some(peer) = &self.peer {
                    clients.give_data(peer.key, write_vmc(&CharDevice::uncounted(bytes)));
                }
            }
            DeviceOrder::PortEvent(event) => {
                match event {
                    wire::event::OPENED => self.opened = true,
                    wire::event::CLOSED => self.opened = false,
                    _ => {}
                }
                let Some(peer) = &self.peer else { return };
                if self.events >= EVENTS_MAX {
                    clients.close(peer.key, Close::Ours("the client does not read port events"));
                    return;
                }
                self.events += 1;
                self.waiting.push_back(Waiting::Event(event));
            }
        }
    }

    fn room(&mut self, clients: &mut Clients, _key: Key) {
        self.feed(clients);
    }

    fn hand_over(&mut self, clients: &mut Clients, key: Key) {
        if let Some(peer) = self.peer.as_mut().filter(|peer| peer.key == key) {
            peer.leaves = true;
            self.feed_all(clients);
        }
        clients.leave(key, true);
    }

    fn flushed(&mut self, clients: &mut Clients, key: Key) {
        match self.peer.as_ref().filter(|peer| peer.key == key) {
            // Behind all that the client said.
            Some(peer) => self.upward.device(self.device, DeviceTask::HandOver(peer.client)),
            None => {
                clients.give_data(key, write_vmc(&CharDevice::default()));
            }
        }
    }

    fn restore(&mut self, _clients: &mut Clients, key: Key, data: &[u8]) -> Result<(), String> {
        let device = read_vmc(data).map_err(|e| e.to_string())?;
        let client = self.peer.as_ref().filter(|peer| peer.key == key).map(|peer| peer.client);
        if let Some(client) = client.filter(|_| !device.write.is_empty()) {
            self.give(client, device.write, 0);
        }
        Ok(())
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        self.feed(clients);
        self.tell()
    }

    fn accepts(&mut self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.leaves) || self.flow.device_has_room()
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        let Some(peer) = self.peer.take_if(|peer| peer.key == key) else { return };
        let dropped = self.waiting.drain(..).map(|w| match w {
            Waiting::Data(bytes) => bytes.len(),
            Waiting::Event(_) => 0,
        });
        let dropped = dropped.sum();
        self.events = 0;
        self.sent.clear();
        self.took(dropped);
        self.upward.device(self.device, DeviceTask::Left(peer.client));
    }
}

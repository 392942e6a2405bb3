//! The smartcard channel (thread `spice-smartcard-0`): all readers of the guest, in one stream for each client.
//!
//! Each reader is a device of the host and has a number, by which clients name it; a device knows itself only. A reader has
//! one client at a time, a client as many readers as it asks for: the first one when it comes, if one is free, another one
//! with each further READER_ADD. What it has it keeps until it leaves. Clients may link while others have all readers; theirs
//! is the answer that there is none.
//!
//! Readers come and go with the host's devices while clients are connected. Stock clients have one request on its way and
//! wait for its answer; so those to a reader that goes are answered here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::protocol::caps::ChannelType;
use crate::protocol::handover::{CARD_MAX, CardHandover, CharDevice};
use crate::protocol::message::Message;
use crate::protocol::smartcard::{self as wire, CardMessage, code, kind};
use crate::transport::reactor::Key;

use super::clients::{Client, Clients};
use super::device::{DeviceId, DeviceOrder, DeviceTask, Flow};
use super::engine::{Channel, Turn};
use super::{ClientId, Upward};

/// Readers that a server can have. The original has places for as many, though its second one ends the process.
pub const READERS_MAX: u32 = 10;
/// Requests to one reader that are remembered, so that they are answered if it goes. Stock clients have one on its way.
const REQUESTS_MAX: u32 = 16;

/// What the channel is told.
#[derive(Debug)]
pub enum CardOrder {
    /// The host added a reader under a number that is free.
    Added(u32, DeviceId, Arc<Flow>),
    /// A reader is gone. Not told of the last one: the channel ends with it.
    Removed(DeviceId),
    /// From a reader's device.
    Device(DeviceId, DeviceOrder),
}

/// The client that has a reader.
#[derive(Debug)]
struct Holder {
    key: Key,
    client: ClientId,
    /// The guest was told of a reader.
    added: bool,
    /// Requests that the device has not answered.
    requests: u32,
}

#[derive(Debug)]
struct Reader {
    device: DeviceId,
    flow: Arc<Flow>,
    holder: Option<Holder>,
    /// Holders that there have been.
    turn: u64,
}

/// A body for a client, and whose it is.
type Waiting = (DeviceId, Vec<u8>);

/// State of the channel.
pub struct Smartcard {
    upward: Arc<dyn Upward>,
    readers: BTreeMap<u32, Reader>,
    /// Numbers below this one are, or were, a reader's.
    known: u32,
    /// For each client, oldest first; bounded by the readers' flows.
    waiting: BTreeMap<Key, VecDeque<Waiting>>,
}

impl Smartcard {
    /// The channel, without readers.
    #[must_use]
    pub fn new(upward: Arc<dyn Upward>) -> Self {
        Self { upward, readers: BTreeMap::new(), known: 0, waiting: BTreeMap::new() }
    }

    /// Gives the first free reader to a client, if there is one.
    fn hold_free(&mut self, key: Key, client: ClientId) -> Option<u32> {
        let (number, reader) = self.readers.iter_mut().find(|(_, r)| r.holder.is_none())?;
        reader.turn += 1;
        reader.holder = Some(Holder { key, client, added: false, requests: 0 });
        self.upward.device(reader.device, DeviceTask::Attached(client));
        Some(*number)
    }

    /// The reader that a client adds: one that it has and has not added, or a free one. If there is neither, it is told
    /// to the first one that it has once more, whose device refuses: the answer comes from a device in any case.
    fn reader_to_add(&mut self, key: Key, client: ClientId) -> Option<u32> {
        let mine = |added: Option<bool>| {
            move |(_, reader): &(&u32, &Reader)| {
                let holder = reader.holder.as_ref().filter(|holder| holder.key == key);
                holder.is_some_and(|holder| added.is_none_or(|added| holder.added == added))
            }
        };
        let unused = self.readers.iter().find(mine(Some(false))).map(|(number, _)| *number);
        unused
            .or_else(|| self.hold_free(key, client))
            .or_else(|| self.readers.iter().find(mine(None)).map(|(number, _)| *number))
    }

    /// Passes a message on to its reader's device; false if the client does not have the reader.
    fn pass(&mut self, key: Key, message: &CardMessage<'_>) -> bool {
        let Some(reader) = self.readers.get_mut(&message.reader) else { return false };
        let Some(holder) = reader.holder.as_mut().filter(|holder| holder.key == key) else {
            return false;
        };
        if is_request(message.kind) {
            holder.requests = (holder.requests + 1).min(REQUESTS_MAX);
        }
        let bytes = message.for_device();
        reader.flow.give_device(bytes.len());
        self.upward.device(reader.device, DeviceTask::Data(holder.client, bytes));
        true
    }

    fn reader_add(&mut self, clients: &mut Clients, key: Key, client: ClientId) {
        let Some(number) = self.reader_to_add(key, client) else {
            return clients.send(key, wire::error(wire::NO_READER, code::NO_MORE_READERS));
        };
        if let Some(holder) = self.readers.get_mut(&number).and_then(|r| r.holder.as_mut()) {
            holder.added = true;
        }
        // Its answer comes from the device: one more would shift all that follow.
        self.pass(key, &CardMessage { kind: kind::READER_ADD, reader: number, data: &[] });
    }

    fn reader_remove(&mut self, clients: &mut Clients, key: Key, number: u32) {
        let reader = self.readers.get_mut(&number);
        let holder = reader.and_then(|r| r.holder.as_mut()).filter(|holder| holder.key == key);
        if holder.is_some_and(|holder| std::mem::take(&mut holder.added)) {
            self.pass(key, &CardMessage { kind: kind::READER_REMOVE, reader: number, data: &[] });
        } else {
            clients.send(key, wire::error(number, code::GENERAL));
        }
    }

    fn removed(&mut self, clients: &mut Clients, device: DeviceId) {
        let number = self.readers.iter().find(|(_, r)| r.device == device).map(|(n, _)| *n);
        let Some((number, reader)) = number.and_then(|n| self.readers.remove_entry(&n)) else {
            return;
        };
        // What the device had said before it went is an answer, too, and is on its way.
        if let Some(holder) = reader.holder {
            let waiting = self.waiting.entry(holder.key).or_default();
            for _ in 0..holder.requests {
                waiting.push_back((device, wire::error(number, code::GENERAL).body));
            }
            self.feed(clients, holder.key);
        }
    }

    fn said(&mut self, device: DeviceId, order: DeviceOrder) {
        let DeviceOrder::Data { turn, bytes } = order else { return };
        let Some(reader) = self.readers.values_mut().find(|r| r.device == device) else { return };
        match &mut reader.holder {
            Some(holder) if reader.turn == turn => {
                if wire::kind_for_client(&bytes) == Some(kind::ERROR) {
                    holder.requests = holder.requests.saturating_sub(1);
                }
                self.waiting.entry(holder.key).or_default().push_back((device, bytes));
            }
            // Read for a client that has gone.
            _ => self.took(device, bytes.len()),
        }
    }

    /// Sends a client what waits for it while it has room.
    fn feed(&mut self, clients: &mut Clients, key: Key) {
        let Some(waiting) = self.waiting.get_mut(&key) else { return };
        let mut taken = Vec::new();
        clients.feed(key, |feed| {
            let Some((device, body)) = waiting.pop_front() else { return false };
            taken.push((device, body.len()));
            feed.send(Message::new(wire::DATA, body));
            true
        });
        if waiting.is_empty() {
            self.waiting.remove(&key);
        }
        for (device, bytes) in taken {
            self.took(device, bytes);
        }
    }

    /// The first reader that a client has, which goes with it to another server: the protocol knows of one.
    fn first_of(&self, key: Key) -> Option<(DeviceId, &Holder)> {
        self.readers.values().find_map(|reader| {
            let holder = reader.holder.as_ref().filter(|holder| holder.key == key)?;
            Some((reader.device, holder))
        })
    }

    /// What a reader's device has not taken or not completed is here.
    fn handed_over(&self, clients: &mut Clients, device: DeviceId, bytes: Vec<u8>, begun: Vec<u8>) {
        let reader = self.readers.values().find(|reader| reader.device == device);
        let Some(holder) = reader.and_then(|reader| reader.holder.as_ref()) else { return };
        let (device, reader_added) = (CharDevice::uncounted(bytes), holder.added);
        clients.give_data(holder.key, CardHandover { device, reader_added, begun }.write());
    }

    /// Bytes of a device are dealt with.
    fn took(&self, device: DeviceId, bytes: usize) {
        let reader = self.readers.values().find(|r| r.device == device);
        if bytes > 0 && reader.is_some_and(|r| r.flow.client_took(bytes)) {
            self.upward.device(device, DeviceTask::Room);
        }
    }
}

/// True for what a client sends to a device and waits for the answer of.
fn is_request(message: u32) -> bool {
    matches!(message, kind::READER_ADD | kind::READER_REMOVE | kind::ATR | kind::CARD_REMOVE)
}

impl Channel for Smartcard {
    type Order = CardOrder;
    const TYPE: ChannelType = ChannelType::SMARTCARD;
    const HANDOVER_MAX: usize = CARD_MAX;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        if let Some(client) = clients.get(key) {
            self.hold_free(key, client.client);
        }
    }

    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        message: u16,
        body: &[u8],
    ) -> Result<(), String> {
        let Some(client) = clients.get(key).map(|c| c.client) else { return Ok(()) };
        let message = CardMessage::of_client(message, body).map_err(|e| e.to_string())?;
        match message.kind {
            kind::READER_ADD => self.reader_add(clients, key, client),
            kind::READER_REMOVE => self.reader_remove(clients, key, message.reader),
            kind::ERROR | kind::ATR | kind::CARD_REMOVE | kind::APDU => {
                if message.reader >= self.known {
                    return Err(format!("there is no reader {}", message.reader));
                }
                // Its reader may just have gone. Who waits for an answer must get one.
                if !self.pass(key, &message) && is_request(message.kind) {
                    clients.send(key, wire::error(message.reader, code::GENERAL));
                }
            }
            // Init says nothing; flushes and unknown messages do nothing in the original either.
            _ => {}
        }
        Ok(())
    }

    fn order(&mut self, clients: &mut Clients, order: CardOrder) {
        match order {
            CardOrder::Added(number, device, flow) => {
                self.known = self.known.max(number.saturating_add(1));
                self.readers.insert(number, Reader { device, flow, holder: None, turn: 0 });
            }
            CardOrder::Removed(device) => self.removed(clients, device),
            CardOrder::Device(device, DeviceOrder::HandedOver { bytes, begun }) => {
                self.handed_over(clients, device, bytes, begun);
            }
            CardOrder::Device(device, order) => self.said(device, order),
        }
    }

    fn room(&mut self, clients: &mut Clients, key: Key) {
        self.feed(clients, key);
    }

    fn hand_over(&mut self, clients: &mut Clients, key: Key) {
        // Bounded by the readers' flows, whatever the client has room for.
        for (device, body) in self.waiting.remove(&key).into_iter().flatten() {
            self.took(device, body.len());
            clients.send(key, Message::new(wire::DATA, body));
        }
        clients.leave(key, true);
    }

    fn flushed(&mut self, clients: &mut Clients, key: Key) {
        match self.first_of(key) {
            Some((device, holder)) => {
                self.upward.device(device, DeviceTask::HandOver(holder.client));
            }
            None => {
                clients.give_data(key, CardHandover::default().write());
            }
        }
    }

    fn restore(&mut self, _clients: &mut Clients, key: Key, data: &[u8]) -> Result<(), String> {
        let card = CardHandover::read(data).map_err(|e| e.to_string())?;
        let theirs = |reader: &&mut Reader| reader.holder.as_ref().is_some_and(|h| h.key == key);
        let Some(reader) = self.readers.values_mut().find(theirs) else { return Ok(()) };
        let Some(holder) = &mut reader.holder else { return Ok(()) };
        holder.added = card.reader_added;
        if !card.begun.is_empty() {
            self.upward.device(reader.device, DeviceTask::Begun(card.begun));
        }
        if !card.device.write.is_empty() {
            reader.flow.give_device(card.device.write.len());
            let task = DeviceTask::Data(holder.client, card.device.write);
            self.upward.device(reader.device, task);
        }
        Ok(())
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        let keys: Vec<Key> = self.waiting.keys().copied().collect();
        keys.into_iter().for_each(|key| self.feed(clients, key));
        Turn::Idle
    }

    /// A client's messages have one order: so it waits for a reader that takes nothing, and others with it.
    fn accepts(&mut self) -> bool {
        self.readers.values().all(|reader| reader.flow.device_has_room())
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        for (device, body) in self.waiting.remove(&key).into_iter().flatten() {
            self.took(device, body.len());
        }
        for (number, reader) in &mut self.readers {
            let Some(holder) = reader.holder.take_if(|holder| holder.key == key) else { continue };
            self.upward.device(reader.device, DeviceTask::Left(holder.client));
            if holder.added {
                let remove = CardMessage { kind: kind::READER_REMOVE, reader: *number, data: &[] };
                let bytes = remove.for_device();
                reader.flow.give_device(bytes.len());
                self.upward.device(reader.device, DeviceTask::Data(holder.client, bytes));
            }
        }
    }
}

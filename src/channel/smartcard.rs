//! The smartcard channel (thread `spice-smartcard-K`): one reader of the guest, used by one client at a time.
//!
//! Clients may link while another one has the reader; theirs is the answer that there is none. Whoever asks for a
//! reader when it is free gets it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::protocol::caps::ChannelType;
use crate::protocol::message::Message;
use crate::protocol::smartcard::{self as wire, CardMessage, code, kind};
use crate::transport::reactor::Key;

use super::clients::{Client, Clients};
use super::device::{DeviceId, DeviceOrder, DeviceTask, Flow};
use super::engine::{Channel, Turn};
use super::{ClientId, Upward};

/// Number of the one reader, and how many there are.
const READER: u32 = 0;
const READERS: u32 = 1;

/// The client that has the reader.
#[derive(Debug)]
struct Holder {
    key: Key,
    client: ClientId,
    /// The guest was told of a reader.
    added: bool,
}

/// State of the channel.
pub struct Smartcard {
    upward: Arc<dyn Upward>,
    device: DeviceId,
    flow: Arc<Flow>,
    holder: Option<Holder>,
    /// Holders that there have been.
    turn: u64,
    /// Bodies for the holder.
    waiting: VecDeque<Vec<u8>>,
}

impl Smartcard {
    /// The channel of a device.
    #[must_use]
    pub fn new(upward: Arc<dyn Upward>, device: DeviceId, flow: Arc<Flow>) -> Self {
        Self { upward, device, flow, holder: None, turn: 0, waiting: VecDeque::new() }
    }

    /// Gives the reader to a client if nobody has it.
    fn hold(&mut self, key: Key, client: ClientId) {
        if self.holder.is_none() {
            self.turn += 1;
            self.holder = Some(Holder { key, client, added: false });
            self.upward.device(self.device, DeviceTask::Attached(client));
        }
    }

    /// Sends a message to the device on behalf of a client.
    fn give(&self, client: ClientId, message: &CardMessage<'_>) {
        let bytes = message.for_device();
        self.flow.give_device(bytes.len());
        self.upward.device(self.device, DeviceTask::Data(client, bytes));
    }

    fn feed(&mut self, clients: &mut Clients) {
        let Some(holder) = &self.holder else { return };
        let (waiting, mut taken) = (&mut self.waiting, 0);
        clients.feed(holder.key, |feed| match waiting.pop_front() {
            None => false,
            Some(body) => {
                taken += body.len();
                feed.send(Message::new(wire::DATA, body));
                true
            }
        });
        self.took(taken);
    }

    fn took(&self, bytes: usize) {
        if bytes > 0 && self.flow.client_took(bytes) {
            self.upward.device(self.device, DeviceTask::Room);
        }
    }
}

impl Channel for Smartcard {
    type Order = DeviceOrder;
    const TYPE: ChannelType = ChannelType::SMARTCARD;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        if let Some(client) = clients.get(key) {
            self.hold(key, client.client);
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
        if message.kind == kind::READER_ADD {
            self.hold(key, client);
        }
        let holder = self.holder.as_mut().filter(|holder| holder.key == key);
        match message.kind {
            kind::READER_ADD => match holder {
                // Its answer comes from the device: one more would shift all that follow.
                Some(holder) => {
                    holder.added = true;
                    let add = CardMessage { kind: kind::READER_ADD, reader: READER, data: &[] };
                    self.give(client, &add);
                }
                None => clients.send(key, wire::error(wire::NO_READER, code::NO_MORE_READERS)),
            },
            kind::READER_REMOVE => match holder {
                Some(holder) if holder.added && message.reader == READER => {
                    holder.added = false;
                    self.give(client, &CardMessage { data: &[], ..message });
                }
                _ => clients.send(key, wire::error(message.reader, code::GENERAL)),
            },
            kind::ERROR | kind::ATR | kind::CARD_REMOVE | kind::APDU => {
                if message.reader >= READERS {
                    return Err(format!("there is no reader {}", message.reader));
                }
                if holder.is_some() {
                    self.give(client, &message);
                }
            }
            // Init says nothing; flushes and unknown messages do nothing in the original either.
            _ => {}
        }
        Ok(())
    }

    fn order(&mut self, _clients: &mut Clients, order: DeviceOrder) {
        match order {
            DeviceOrder::Data { turn, bytes } if turn == self.turn && self.holder.is_some() => {
                self.waiting.push_back(bytes);
            }
            // Read for a client that has gone.
            DeviceOrder::Data { bytes, .. } => self.took(bytes.len()),
            DeviceOrder::PortEvent(_) => {}
        }
    }

    fn room(&mut self, clients: &mut Clients, _key: Key) {
        self.feed(clients);
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        self.feed(clients);
        Turn::Idle
    }

    fn accepts(&mut self) -> bool {
        self.flow.device_has_room()
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        let Some(holder) = self.holder.take_if(|holder| holder.key == key) else { return };
        let dropped = self.waiting.drain(..).map(|body| body.len()).sum();
        self.took(dropped);
        self.upward.device(self.device, DeviceTask::Left(holder.client));
        if holder.added {
            let remove = CardMessage { kind: kind::READER_REMOVE, reader: READER, data: &[] };
            self.give(holder.client, &remove);
        }
    }
}

//! The host's side of the channels usbredir, port and webdav: bytes, untouched.

use std::sync::Arc;

use crate::channel::device::{DeviceOrder, DeviceTask, Flow};
use crate::channel::{ClientId, Handle, Order};

use super::device::READ_MAX;
use super::kind::{Kind, Owner, Todo};

/// Reads from this size in bytes are passed on in their buffer, smaller ones copied out of it.
const KEEP_FROM: usize = 16 * 1024;

/// Where the words of one device go: to its channel.
pub(super) trait Outlet: Send {
    /// Gives the channel an order.
    fn tell(&self, order: DeviceOrder);
    /// Lets the channel's thread look at the [`Flow`].
    fn poke(&self);
}

impl Outlet for Handle<DeviceOrder> {
    fn tell(&self, order: DeviceOrder) {
        self.send(Order::Do(order));
    }

    fn poke(&self) {
        Handle::poke(self);
    }
}

/// A device that is read while a client is there.
pub(super) struct Bytes<O> {
    channel: O,
    flow: Arc<Flow>,
    client: Option<ClientId>,
    /// Clients that came; the channel counts the same ones.
    turn: u64,
    /// Its client goes on at another server: nothing more is read for it.
    handing: bool,
}

impl<O: Outlet> Bytes<O> {
    pub(super) fn new(channel: O, flow: Arc<Flow>) -> Self {
        Self { channel, flow, client: None, turn: 0, handing: false }
    }

    /// False while so much waits for the client that the device is not to be read.
    pub(super) fn has_room(&self) -> bool {
        !self.handing && (self.client.is_none() || self.flow.client_has_room())
    }

    /// Sends a message's content to the client, if there is one.
    pub(super) fn send(&self, bytes: Vec<u8>) {
        if self.client.is_some() {
            self.flow.give_client(bytes.len());
            self.channel.tell(DeviceOrder::Data { turn: self.turn, bytes });
        }
    }

    /// Tells what goes to another server.
    pub(super) fn hand_over(&self, bytes: Vec<u8>, begun: Vec<u8>) {
        self.channel.tell(DeviceOrder::HandedOver { bytes, begun });
    }

    fn took(&self, bytes: usize) {
        if self.flow.device_took(bytes) {
            self.channel.poke();
        }
    }
}

impl<O: Outlet> Kind for Bytes<O> {
    fn wants(&mut self) -> usize {
        if self.client.is_some() && self.has_room() { READ_MAX } else { 0 }
    }

    fn read(&mut self, bytes: &[u8], _todo: &mut Todo) {
        self.send(bytes.to_vec());
    }

    fn read_buffer(&mut self, buffer: &mut Vec<u8>, len: usize, todo: &mut Todo) {
        if len < KEEP_FROM {
            return self.read(buffer.get(..len).unwrap_or_default(), todo);
        }
        let mut bytes = std::mem::replace(buffer, self.flow.spare().unwrap_or_default());
        bytes.truncate(len);
        self.send(bytes);
    }

    fn written(&mut self, _owner: Owner, bytes: usize, _todo: &mut Todo) {
        self.took(bytes);
    }

    fn written_buffer(&mut self, _owner: Owner, buffer: Vec<u8>, _todo: &mut Todo) {
        let bytes = buffer.len();
        self.flow.keep_body(buffer);
        self.took(bytes);
    }

    fn task(&mut self, task: DeviceTask, todo: &mut Todo) {
        match task {
            DeviceTask::Attached(client) => {
                (self.client, self.handing) = (Some(client), false);
                self.turn += 1;
                // As in the original: what the device has for its client is asked before it hears of it.
                todo.read();
                todo.state(true);
            }
            DeviceTask::Left(client) if self.client == Some(client) => {
                (self.client, self.handing) = (None, false);
                todo.discard(Owner::Client(client));
                todo.state(false);
            }
            DeviceTask::HandOver(client) if self.client == Some(client) => {
                self.handing = true;
                todo.hand_over();
            }
            DeviceTask::Data(client, bytes) => todo.write(Owner::Client(client), bytes),
            DeviceTask::Message(client, bytes, from) => {
                todo.write_from(Owner::Client(client), bytes, from);
            }
            DeviceTask::Event(event) => {
                self.took(0);
                todo.event(event);
            }
            _ => {}
        }
    }

    fn handing_over(&mut self, bytes: Vec<u8>, _todo: &mut Todo) {
        self.hand_over(bytes, Vec::new());
    }

    fn port_event(&mut self, event: u8, _todo: &mut Todo) {
        self.channel.tell(DeviceOrder::PortEvent(event));
    }

    fn removed(&mut self, todo: &mut Todo) {
        if self.client.take().is_some() {
            todo.state(false);
        }
    }
}

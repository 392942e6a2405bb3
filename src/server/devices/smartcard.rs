//! The host's side of the smartcard channel: readers with their numbers, and what each device gives, cut into messages.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::channel::device::{DeviceId, DeviceOrder, DeviceTask, Flow};
use crate::channel::smartcard::{CardOrder, READERS_MAX, Smartcard};
use crate::channel::{Handle, Order, Upward, engine};
use crate::protocol::caps::ChannelType;
use crate::protocol::smartcard::{self as wire, CardMessage, kind};
use crate::server::Core;

use super::device::READ_MAX;
use super::kind::{Kind, Owner, Todo};
use super::vmc::{Bytes, Outlet};
use super::{Role, thread_name};

/// The one channel of all readers.
pub(super) const CHANNEL: (ChannelType, u8) = (ChannelType::SMARTCARD, 0);

/// The readers of a server, and the way to their channel, which is there as long as one of them is.
pub(super) struct Readers {
    channel: Handle<CardOrder>,
    devices: BTreeMap<u32, DeviceId>,
}

impl Core {
    /// Adds a reader under the smallest free number; the first one brings the channel.
    pub(super) fn add_smartcard(self: &Arc<Self>, id: DeviceId) -> io::Result<()> {
        let there = self.devices.table().readers.as_ref().map(|readers| readers.channel.clone());
        let (channel, fresh) = match there {
            Some(channel) => (channel, false),
            None => (self.start_smartcards()?, true),
        };
        let mut table = self.devices.table();
        let readers = table
            .readers
            .get_or_insert_with(|| Readers { channel: channel.clone(), devices: BTreeMap::new() });
        let free = (0..READERS_MAX).find(|number| !readers.devices.contains_key(number));
        let Some(number) = free else {
            let why = format!("there are {READERS_MAX} readers already");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        };
        readers.devices.insert(number, id);
        drop(table);
        let flow = Flow::new();
        channel.send(Order::Do(CardOrder::Added(number, id, Arc::clone(&flow))));
        let outlet = ReaderOutlet { channel: channel.clone(), device: id };
        let cards = Cards::new(number, Bytes::new(outlet, flow));
        self.start_device(id, Role::Reader, Box::new(cards));
        if fresh {
            self.session().register(CHANNEL.0, CHANNEL.1, Arc::new(channel));
        }
        Ok(())
    }

    fn start_smartcards(self: &Arc<Self>) -> io::Result<Handle<CardOrder>> {
        let upward: Arc<dyn Upward> = Arc::clone(self) as Arc<dyn Upward>;
        let name = thread_name(CHANNEL.0, CHANNEL.1);
        let (channel, thread) =
            engine::start(&name, CHANNEL.1, Arc::clone(&upward), |_| Smartcard::new(upward))?;
        self.add_threads([thread]);
        Ok(channel)
    }

    /// A reader's device is gone. True if it was the last one, whose channel is to end.
    pub(super) fn reader_removed(&self, id: DeviceId) -> bool {
        let mut table = self.devices.table();
        let Some(readers) = &mut table.readers else { return false };
        readers.devices.retain(|_, device| *device != id);
        if readers.devices.is_empty() {
            table.readers = None;
            return true;
        }
        readers.channel.send(Order::Do(CardOrder::Removed(id)));
        false
    }
}

/// The way of one reader to the channel of all.
struct ReaderOutlet {
    channel: Handle<CardOrder>,
    device: DeviceId,
}

impl Outlet for ReaderOutlet {
    fn tell(&self, order: DeviceOrder) {
        self.channel.send(Order::Do(CardOrder::Device(self.device, order)));
    }

    fn poke(&self) {
        self.channel.poke();
    }
}

/// Bytes asked for at a time: the head and the longest APDU.
const READ_STEP: usize = wire::HEAD + 270;

/// A device that is read always: what nobody wants is dropped.
struct Cards {
    /// The reader's number for clients; a device knows itself only and says 0 whatever it is.
    number: u32,
    bytes: Bytes<ReaderOutlet>,
    /// What the device gave of a message that is not complete.
    begun: Vec<u8>,
    /// It announced a message that cannot be: where the next one begins nobody knows.
    broken: bool,
}

impl Cards {
    fn new(number: u32, bytes: Bytes<ReaderOutlet>) -> Self {
        Self { number, bytes, begun: Vec::new(), broken: false }
    }

    /// Passes on what is complete; how many bytes that was.
    fn cut(&mut self) -> usize {
        let mut used = 0;
        while let Some(rest) = self.begun.get(used..) {
            match CardMessage::of_device(rest) {
                Ok(None) => break,
                Ok(Some((message, n))) => {
                    used += n;
                    if message.kind != kind::INIT {
                        let message = CardMessage { reader: self.number, ..message };
                        self.bytes.send(message.for_client());
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a smartcard device is not listened to any more");
                    self.broken = true;
                    return self.begun.len();
                }
            }
        }
        used
    }
}

impl Kind for Cards {
    fn wants(&mut self) -> usize {
        if !self.bytes.has_room() {
            return 0;
        }
        let least = READ_STEP.saturating_sub(self.begun.len());
        wire::wanted_of_device(&self.begun).unwrap_or(least).max(least).clamp(1, READ_MAX)
    }

    fn read(&mut self, bytes: &[u8], _todo: &mut Todo) {
        if self.broken {
            return;
        }
        self.begun.extend_from_slice(bytes);
        let used = self.cut();
        self.begun.drain(..used);
    }

    fn written(&mut self, owner: Owner, bytes: usize, todo: &mut Todo) {
        self.bytes.written(owner, bytes, todo);
    }

    fn task(&mut self, task: DeviceTask, todo: &mut Todo) {
        match task {
            // Only where nothing has been read: what that would be the end of nobody knows.
            DeviceTask::Begun(begun) if self.begun.is_empty() => self.begun = begun,
            task => self.bytes.task(task, todo),
        }
    }

    fn handing_over(&mut self, bytes: Vec<u8>, _todo: &mut Todo) {
        self.bytes.hand_over(bytes, std::mem::take(&mut self.begun));
    }

    fn removed(&mut self, todo: &mut Todo) {
        self.bytes.removed(todo);
    }
}

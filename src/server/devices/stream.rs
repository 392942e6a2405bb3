//! The host's side of a streaming agent's port: what the guest says is cut into messages and goes to the port's own display
//! and cursor channels.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::channel::agent::AgentTask;
use crate::channel::cursor::{Cursor, CursorOrder};
use crate::channel::device::{DeviceId, DeviceTask};
use crate::channel::stream::{StreamDisplay, StreamLine, StreamOrder};
use crate::channel::{Handle, Order, Upward, engine};
use crate::observe::RateLimit;
use crate::protocol::agent::DisplayAddress;
use crate::protocol::caps::ChannelType;
use crate::protocol::geometry::Point16;
use crate::protocol::stream_device::{self as wire, CursorSet, StreamMessage, StreamReader};
use crate::protocol::vmc::event;
use crate::qxl::model::{CursorCommand, CursorShape};
use crate::server::Core;
use crate::server::host::HostTask;
use crate::sys::clock::mm_time;

use super::Role;
use super::device::READ_MAX;
use super::kind::{Kind, Owner, Todo};

static BROKEN: RateLimit = RateLimit::new();

/// The way to a port's two channels.
#[derive(Debug, Clone)]
pub(super) struct StreamWays {
    pub(super) number: u8,
    display: Handle<StreamOrder>,
    cursor: Handle<CursorOrder>,
}

/// What a streaming agent's port is to the session.
#[derive(Debug, Default)]
pub(super) struct Stream {
    line: Arc<StreamLine>,
    /// There from the first time that the port is opened, or a client comes, on.
    ways: Mutex<Option<StreamWays>>,
}

impl Stream {
    pub(super) fn ways(&self) -> Option<StreamWays> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Names of the threads of a port's channels.
pub(super) fn thread_names(number: u8) -> [String; 2] {
    [format!("spice-disp-{number}"), format!("spice-cursor-{number}")]
}

impl Core {
    pub(super) fn add_stream(self: &Arc<Self>, id: DeviceId) {
        let stream = Arc::new(Stream::default());
        let session = StreamSession { core: Arc::downgrade(self), id, stream: Arc::clone(&stream) };
        let device = StreamDevice::new(session, Arc::clone(&stream.line));
        self.devices.table().streams.insert(id, stream);
        self.start_device(id, Role::Stream, Box::new(device));
    }

    /// Starts the channels of streaming agents' ports that have none: before the first client gets the list of channels.
    pub(in crate::server) fn start_streams(self: &Arc<Self>) {
        let streams: Vec<(DeviceId, Arc<Stream>)> =
            self.devices.table().streams.iter().map(|(id, s)| (*id, Arc::clone(s))).collect();
        for (id, stream) in streams {
            if let Err(error) = self.start_stream(id, &stream) {
                tracing::error!(%error, "a streaming agent is not served");
            }
        }
    }

    /// The channels of one, which are made if there are none.
    fn start_stream(self: &Arc<Self>, id: DeviceId, stream: &Stream) -> io::Result<StreamWays> {
        let mut ways = stream.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ways) = &*ways {
            return Ok(ways.clone());
        }
        let number = self.session().free_display_id();
        let number = number.ok_or_else(|| io::Error::other("there are 256 displays already"))?;
        let upward: Arc<dyn Upward> = Arc::clone(self) as Arc<dyn Upward>;
        let [display_name, cursor_name] = thread_names(number);
        let mouse_mode = Arc::clone(&self.mouse_mode);
        let (cursor, t1) =
            engine::start(&cursor_name, number, Arc::clone(&upward), |_| Cursor::new(mouse_mode))?;
        let line = Arc::clone(&stream.line);
        let started = engine::start(&display_name, number, Arc::clone(&upward), |_| {
            StreamDisplay::new(upward, id, line)
        });
        let (display, t2) = match started {
            Ok(started) => started,
            Err(error) => {
                cursor.send(Order::Stop);
                let _ = t1.join();
                return Err(error);
            }
        };
        self.add_threads([t1, t2]);
        let made = StreamWays { number, display, cursor };
        let mut session = self.session();
        session.register(ChannelType::DISPLAY, number, Arc::new(made.display.clone()));
        session.register(ChannelType::CURSOR, number, Arc::new(made.cursor.clone()));
        session.streams.insert(number);
        let consequences = session.mouse.set_streams(true);
        drop(session);
        *ways = Some(made.clone());
        drop(ways);
        self.after_mouse_change(consequences);
        Ok(made)
    }

    /// Ends the channels of a port that is gone.
    pub(super) fn end_stream(&self, id: DeviceId) {
        let Some(stream) = self.devices.table().streams.remove(&id) else { return };
        let Some(StreamWays { number, .. }) = stream.ways() else { return };
        let mut session = self.session();
        let display = session.take(ChannelType::DISPLAY, number);
        let cursor = session.take(ChannelType::CURSOR, number);
        session.streams.remove(&number);
        session.stream_addresses.remove(&number);
        let any = !session.streams.is_empty();
        let consequences = session.mouse.set_streams(any);
        drop(session);
        display.into_iter().chain(cursor).for_each(|channel| channel.route.stop());
        self.join_threads(&thread_names(number));
        self.after_mouse_change(consequences);
        self.run_host_tasks(self.caller());
    }
}

/// What a port's device asks of the session. Called under the device's lock: nothing of it may wait or call the host.
pub(super) trait Session: Send {
    /// The port's channels, which are made if there are none.
    fn open(&self) -> Option<StreamWays>;
    /// Has [`DeviceTask::Refuse`] come in another turn of the host's loop: hosts do not bear to be told from inside a read.
    fn refuse_later(&self);
    /// Which hardware the stream shows, for the agent.
    fn shows(&self, stream: u32, display: u32, address: Vec<u8>);
}

struct StreamSession {
    core: Weak<Core>,
    id: DeviceId,
    stream: Arc<Stream>,
}

impl Session for StreamSession {
    fn open(&self) -> Option<StreamWays> {
        let core = self.core.upgrade()?;
        core.start_stream(self.id, &self.stream)
            .inspect_err(|error| tracing::error!(%error, "a streaming agent is not served"))
            .ok()
    }

    fn refuse_later(&self) {
        if let Some(core) = self.core.upgrade() {
            core.post(HostTask::Device(self.id, DeviceTask::Refuse));
        }
    }

    fn shows(&self, stream: u32, display: u32, address: Vec<u8>) {
        let (Some(core), Some(ways)) = (self.core.upgrade(), self.stream.ways()) else { return };
        let channel = u32::from(ways.number);
        let shown = DisplayAddress { channel, monitor: stream, device_display: display, address };
        let mut session = core.session();
        session.stream_addresses.insert(ways.number, shown);
        let agent = session.agent;
        drop(session);
        if let Some(agent) = agent {
            core.post(HostTask::Device(agent, DeviceTask::Agent(AgentTask::DeviceInfo)));
        }
    }
}

/// The device of one streaming agent.
struct StreamDevice<S> {
    session: S,
    line: Arc<StreamLine>,
    ways: Option<StreamWays>,
    reader: StreamReader,
    opened: bool,
    /// The guest broke the protocol: what it says is thrown away until the port is opened again.
    broken: bool,
    /// When the message that is being read has begun.
    begun: u32,
    /// What the guest is to be told; `None`: nobody has asked for anything.
    codecs: Option<Vec<u8>>,
    /// A START_STOP is on its way, and whether another one is to follow.
    telling: bool,
    tell_again: bool,
    /// What the pointer's channel was too far behind to take: the last shape and position.
    shape: Option<CursorCommand>,
    position: Option<CursorCommand>,
    /// Where the pointer is: shapes come without a place.
    place: Point16,
}

impl<S: Session> StreamDevice<S> {
    fn new(session: S, line: Arc<StreamLine>) -> Self {
        Self {
            session,
            line,
            ways: None,
            reader: StreamReader::default(),
            opened: false,
            broken: false,
            begun: 0,
            codecs: None,
            telling: false,
            tell_again: false,
            shape: None,
            position: None,
            place: Point16::default(),
        }
    }

    /// Tells the guest what clients can take, one message at a time.
    fn tell_codecs(&mut self, todo: &mut Todo) {
        let Some(codecs) = self.codecs.as_ref().filter(|_| self.opened && !self.broken) else {
            return;
        };
        self.tell_again = self.telling;
        if !std::mem::replace(&mut self.telling, true) {
            todo.write(Owner::Server, wire::start_stop(codecs));
        }
    }

    fn message(&mut self, message: StreamMessage) {
        let Some(ways) = &self.ways else { return };
        match message {
            StreamMessage::Format { width, height, codec } => {
                self.line.give();
                ways.display.send(Order::Do(StreamOrder::Format { width, height, codec }));
            }
            StreamMessage::Data(frame) => {
                self.line.give();
                ways.display.send(Order::Do(StreamOrder::Frame(self.begun, frame)));
            }
            StreamMessage::CursorSet(set) => {
                self.shape = Some(shape(set, self.place));
                self.point();
            }
            StreamMessage::CursorMove { x, y } => {
                self.place = Point16 { x: clamp(x), y: clamp(y) };
                self.position = Some(CursorCommand::Move(self.place));
                self.point();
            }
            StreamMessage::DisplayInfo { stream, display, address } => {
                self.session.shows(stream, display, address);
            }
            StreamMessage::Nothing(what) => {
                if BROKEN.allow() {
                    tracing::warn!("a streaming agent sends {what}");
                }
            }
            // None of them means anything to us.
            StreamMessage::Capabilities(_) => {}
        }
    }

    /// Passes on what there is of the pointer; what the channel does not take waits, and only the newest of it.
    fn point(&mut self) {
        let Some(ways) = &self.ways else { return };
        let tell = |slot: &mut Option<CursorCommand>| {
            let Some(command) = slot.take() else { return };
            if let Err(CursorOrder::Command(back)) =
                ways.cursor.try_send(CursorOrder::Command(command))
            {
                *slot = Some(back);
            }
        };
        tell(&mut self.shape);
        tell(&mut self.position);
    }

    fn forget(&mut self) {
        self.reader = StreamReader::default();
        self.broken = false;
        (self.telling, self.tell_again) = (false, false);
        (self.shape, self.position) = (None, None);
    }
}

fn shape(set: CursorSet, position: Point16) -> CursorCommand {
    let CursorSet { width, height, hot_x, hot_y, kind, data } = set;
    // The number of a shape is what clients keep it by; these have none.
    let shape = CursorShape { unique: 0, kind, width, height, hot_x, hot_y, data };
    CursorCommand::Set { position, visible: true, shape: Arc::new(shape) }
}

fn clamp(n: i32) -> i16 {
    i16::try_from(n.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(0)
}

impl<S: Session> Kind for StreamDevice<S> {
    fn wants(&mut self) -> usize {
        self.point();
        match (self.broken, self.line.has_room()) {
            (true, _) => READ_MAX,
            (false, true) => self.reader.wanted().min(READ_MAX),
            (false, false) => 0,
        }
    }

    fn read(&mut self, bytes: &[u8], todo: &mut Todo) {
        if self.broken {
            return;
        }
        let had_begun = self.reader.has_begun();
        match self.reader.push(bytes) {
            Ok(Some(message)) => self.message(message),
            Ok(None) if !had_begun => self.begun = mm_time(),
            Ok(None) => {}
            Err(error) => {
                if BROKEN.allow() {
                    tracing::warn!(%error, "a streaming agent is not listened to any more");
                }
                self.broken = true;
                todo.write(Owner::Server, wire::notify_error(error.for_guest()));
                self.session.refuse_later();
            }
        }
    }

    fn written(&mut self, _owner: Owner, _bytes: usize, todo: &mut Todo) {
        // Of the other messages there is one each time that the port is opened.
        self.telling = false;
        if self.tell_again {
            self.tell_codecs(todo);
        }
    }

    fn task(&mut self, task: DeviceTask, todo: &mut Todo) {
        match task {
            DeviceTask::Codecs(codecs) => {
                self.codecs = Some(codecs);
                self.tell_codecs(todo);
            }
            DeviceTask::Refuse if self.broken => todo.state(false),
            _ => {}
        }
    }

    fn port_event(&mut self, event: u8, todo: &mut Todo) {
        match event {
            event::OPENED => {
                self.ways = self.session.open();
                todo.discard_all();
                self.forget();
                self.opened = true;
                todo.write(Owner::Server, wire::capabilities());
                if self.codecs.as_ref().is_some_and(|codecs| !codecs.is_empty()) {
                    self.tell_codecs(todo);
                }
                // Written before the host hears of anything, as by the original.
                todo.read();
                todo.state(true);
            }
            event::CLOSED => {
                todo.discard_all();
                self.forget();
                self.opened = false;
                // The pointer stays what it is, as by the original.
                if let Some(ways) = &self.ways {
                    ways.display.send(Order::Do(StreamOrder::End));
                }
                todo.state(true);
            }
            _ => {}
        }
    }

    fn added(&mut self, todo: &mut Todo) {
        todo.state(true);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

//! The loop that every channel thread runs.
//!
//! A turn: orders, the channel's own work, flush, sleep, what the sockets brought. Every step of a
//! channel runs under a panic guard: a panic ends the client whose message caused it, never the
//! thread or the process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::observe::RateLimit;
use crate::observe::stats::ServerStats;
use crate::protocol::caps::ChannelType;
use crate::protocol::common::{self, ClientCommon, client};
use crate::protocol::header::{Frame, Incoming};
use crate::sys::thread::{number_of_this_thread, spawn};
use crate::transport::backend;
use crate::transport::reactor::{Event, Key};

use super::ack::{AckWindow, WINDOW};
use super::clients::{Client, Clients, Close};
use super::nudge::{self, Nudges};
use super::qos::{Applied, QosCell};
use super::{Attach, Handle, Order, Upward};

/// When a channel wants its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At once: there is more to do.
    Again,
    /// At this moment, or earlier if something happens.
    At(Instant),
    /// When something happens.
    Idle,
}

/// What one kind of channel does. All calls come from its own thread.
pub trait Channel: Send + 'static {
    /// Orders that only this kind understands.
    type Order: Send + 'static;

    /// Channel type, `SPICE_CHANNEL_*`.
    const TYPE: ChannelType;
    /// True for channels with an ack window.
    const USES_ACKS: bool = false;
    /// Bytes that may be on the way to a client in any number of messages (see [`AckWindow`]).
    const FREE_BYTES: u64 = 0;

    /// A client has come; SET_ACK, if any, is queued already.
    fn attached(&mut self, clients: &mut Clients, key: Key);

    /// A message that is not common to all channels.
    ///
    /// # Errors
    /// The reason for which the client is disconnected.
    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String>;

    /// As [`Channel::request`], for channels that keep what they are given.
    ///
    /// # Errors
    /// As [`Channel::request`].
    fn request_owned(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: Vec<u8>,
    ) -> Result<(), String> {
        self.request(clients, key, kind, &body)
    }

    /// True if long messages come to [`Channel::request_memory`].
    const TAKES_MEMORY: bool = false;

    /// As [`Channel::request_owned`], in the memory into which the message was received: its content begins at `from`.
    /// Only if [`Channel::TAKES_MEMORY`].
    ///
    /// # Errors
    /// As [`Channel::request`].
    fn request_memory(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        memory: Vec<u8>,
        from: usize,
    ) -> Result<(), String> {
        self.request(clients, key, kind, memory.get(from..).unwrap_or_default())
    }

    /// An old buffer, if there is one, for the content of a message of so many bytes.
    fn body(&mut self, _bytes: usize) -> Vec<u8> {
        Vec::new()
    }

    /// An order from another thread.
    fn order(&mut self, clients: &mut Clients, order: Self::Order);

    /// A client may take more again (its outbox drained, or it acknowledged).
    fn room(&mut self, _clients: &mut Clients, _key: Key) {}

    /// A client answered a ping.
    fn pong(&mut self, _clients: &mut Clients, _key: Key, _id: u32, _time: u64) {}

    /// An eventfd that the channel watches was written.
    fn kicked(&mut self, _key: Key) {}

    /// Most bytes of MIGRATE_DATA; 0: a channel that hands nothing over.
    const HANDOVER_MAX: usize = 0;

    /// The machine has moved and the client goes on there: [`Clients::leave`] as soon as it has been told everything.
    fn hand_over(&mut self, clients: &mut Clients, key: Key) {
        clients.leave(key, Self::HANDOVER_MAX > 0);
    }

    /// All that a leaving client had to say has come: [`Clients::give_data`] follows, now or later.
    fn flushed(&mut self, _clients: &mut Clients, _key: Key) {}

    /// What the channel of the server that a client comes from has handed over.
    ///
    /// # Errors
    /// The reason for which the client is disconnected. Nothing has changed then.
    fn restore(&mut self, _clients: &mut Clients, _key: Key, _data: &[u8]) -> Result<(), String> {
        Err("a channel that takes nothing over".to_owned())
    }

    /// The machine runs.
    fn machine_runs(&mut self, _clients: &mut Clients) {}

    /// A client is gone; its socket is closed already.
    fn left(&mut self, _clients: &mut Clients, _key: Key, _client: &Client) {}

    /// The channel's own work.
    fn turn(&mut self, _clients: &mut Clients) -> Turn {
        Turn::Idle
    }

    /// False while no request can be taken; the handle is poked when that changes.
    fn accepts(&mut self) -> bool {
        true
    }

    /// The thread ends; the last chance to give things back.
    fn stopping(&mut self, _clients: &mut Clients) {}
}

/// Starts the thread of a channel with this id under `name`.
///
/// `make` gets the handle, so that a channel can hand out the way to itself.
///
/// # Errors
/// If the system has no thread or descriptor left.
pub fn start<C: Channel>(
    name: &str,
    id: u8,
    upward: Arc<dyn Upward>,
    make: impl FnOnce(&Handle<C::Order>) -> C,
) -> io::Result<(Handle<C::Order>, JoinHandle<()>)> {
    let reactor = backend::reactor()?;
    let handle = Handle::new(reactor.waker());
    let channel = make(&handle);
    let acks = C::USES_ACKS.then(|| AckWindow::new(WINDOW, C::FREE_BYTES));
    let server_stats = upward.stats();
    let stats = server_stats.channel(C::TYPE.name(), id, name);
    let engine = Engine {
        channel,
        clients: Clients::new(reactor, acks, (C::TYPE.0, id), Arc::clone(&stats)),
        orders: handle.clone(),
        qos: upward.qos(C::TYPE),
        applied: Applied::default(),
        server_stats: Arc::clone(&server_stats),
        upward,
        stalled: Vec::new(),
        unanswered: Vec::new(),
        nudges: Nudges::default(),
        stop: false,
    };
    let thread = spawn(name, move || engine.run()).inspect_err(|_| server_stats.ended(&stats))?;
    Ok((handle, thread))
}

/// Notes a client once: bytes of one that waits are told of again, and twice as many times each time it goes on.
fn note(list: &mut Vec<Key>, key: Key) {
    if !list.contains(&key) {
        list.push(key);
    }
}

/// True for messages that all channels have.
fn is_common(kind: u16) -> bool {
    (client::ACK_SYNC..=client::DISCONNECTING).contains(&kind)
}

pub(super) struct Engine<C: Channel> {
    pub(super) channel: C,
    pub(super) clients: Clients,
    orders: Handle<C::Order>,
    upward: Arc<dyn Upward>,
    qos: Arc<QosCell>,
    applied: Applied,
    server_stats: Arc<ServerStats>,
    /// Clients with requests that the channel could not accept yet.
    stalled: Vec<Key>,
    /// Clients whose requests wait because they do not read the answers.
    unanswered: Vec<Key>,
    nudges: Nudges,
    stop: bool,
}

/// Orders taken in one turn, so that sockets are served in between.
const ORDERS_PER_TURN: usize = 64;

/// Bytes of unread answers at which a client's requests wait until it has read them all.
///
/// Far more than a client that reads ever has queued by its own requests; without it a client that
/// asks and never reads would fill the memory with answers.
const ANSWERS_MARK: usize = 1024 * 1024;

static VIOLATIONS: RateLimit = RateLimit::new();
static PANICS: RateLimit = RateLimit::new();

impl<C: Channel> Engine<C> {
    fn run(mut self) {
        let mut events = Vec::new();
        let stats = Arc::clone(self.clients.stats());
        stats.thread.store(number_of_this_thread(), Ordering::Relaxed);
        while !self.stop {
            stats.turns.add(1);
            if let Some(qos) = self.applied.look(&self.qos) {
                self.clients.set_rate(qos.bytes_per_second);
            }
            let more = self.take_orders();
            let turn = self.guarded(None, |channel, clients| channel.turn(clients));
            for key in self.nudges.due(Instant::now()) {
                self.clients.send(key, common::ping(nudge::PING_ID, 0, 0));
            }
            self.end_waits();
            self.finish_step();
            let timeout = match turn.unwrap_or(Turn::Idle) {
                _ if more || self.stop => Some(Duration::ZERO),
                Turn::Again => Some(Duration::ZERO),
                Turn::At(when) => Some(when.saturating_duration_since(Instant::now())),
                Turn::Idle => None,
            };
            let nudge = self.nudges.next().map(|at| at.saturating_duration_since(Instant::now()));
            let handover = self.clients.next_wait();
            let timeout = timeout.into_iter().chain(nudge).chain(handover).min();
            events.clear();
            if let Err(error) = self.clients.reactor.wait(timeout, &mut events) {
                tracing::error!(%error, "waiting for sockets failed, the channel ends");
                break;
            }
            for event in &events {
                self.event(*event);
            }
            self.resume_stalled();
            self.finish_step();
        }
        for order in self.orders.close() {
            if let Order::Attach(attach) = order {
                self.upward.closed(&attach.connection, attach.client);
            }
        }
        self.guarded(None, Channel::stopping);
        for key in self.clients.keys() {
            self.clients.close(key, Close::Ours("the channel ends"));
        }
        self.finish_step();
        self.server_stats.ended(&stats);
    }

    /// Runs a step of the channel; a panic closes the client that it was for.
    pub(super) fn guarded<R>(
        &mut self,
        key: Option<Key>,
        step: impl FnOnce(&mut C, &mut Clients) -> R,
    ) -> Option<R> {
        let (channel, clients) = (&mut self.channel, &mut self.clients);
        // The channel's state may be half-changed after a panic; every step leaves it fit for the
        // next one because values are computed before they are stored.
        match catch_unwind(AssertUnwindSafe(|| step(channel, clients))) {
            Ok(result) => Some(result),
            Err(_) => {
                if PANICS.allow() {
                    tracing::error!(
                        channel = C::TYPE.name(),
                        "internal error in a channel, step skipped"
                    );
                }
                if let Some(key) = key {
                    self.clients.close(key, Close::Ours("internal error"));
                }
                None
            }
        }
    }

    /// Returns true if more orders wait.
    fn take_orders(&mut self) -> bool {
        self.orders.looked();
        for _ in 0..ORDERS_PER_TURN {
            match self.orders.take() {
                None => return false,
                Some(Order::Do(order)) => {
                    self.guarded(None, |channel, clients| channel.order(clients, order));
                }
                Some(Order::Attach(attach)) => self.attach(*attach),
                Some(Order::Drop(client)) => {
                    let keys: Vec<Key> = self
                        .clients
                        .iter()
                        .filter(|(_, c)| c.client == client)
                        .map(|(k, _)| k)
                        .collect();
                    for key in keys {
                        self.clients.close(key, Close::Ours("the session ends"));
                    }
                }
                Some(Order::HandOver(client)) => self.hand_over(client),
                Some(Order::MachineRuns) => self.machine_runs(),
                Some(Order::Stop) => {
                    self.stop = true;
                    return false;
                }
            }
        }
        true
    }

    fn attach(&mut self, attach: Attach) {
        let (connection, client) = (Arc::clone(&attach.connection), attach.client);
        let (nudge, inherits) = (attach.nudge, attach.inherits);
        match self.clients.attach(attach) {
            Ok(key) => {
                if nudge {
                    self.nudges.add(key, Instant::now());
                }
                if inherits && C::HANDOVER_MAX > 0 {
                    self.clients.await_data(key, false);
                }
                self.guarded(Some(key), |channel, clients| channel.attached(clients, key));
            }
            Err(error) => {
                tracing::warn!(%error, "a client could not be taken in");
                self.upward.closed(&connection, client);
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Received(key) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.heard = Instant::now();
                }
                self.requests(key);
            }
            Event::Drained(key) => {
                if self.clients.has_room(key) {
                    self.guarded(Some(key), |channel, clients| channel.room(clients, key));
                }
                if let Some(at) = self.unanswered.iter().position(|k| *k == key) {
                    self.unanswered.swap_remove(at);
                    // Tells of unread bytes once more, if there are any.
                    self.clients.reactor.set_reading(key, true);
                }
            }
            Event::Closed(key) => self.clients.close(key, Close::Gone),
            Event::Kicked(key) => {
                self.guarded(None, |channel, _| channel.kicked(key));
            }
            Event::Acceptable(_) | Event::Woken => {}
        }
    }

    /// Handles every whole message that has arrived from a client.
    fn requests(&mut self, key: Key) {
        loop {
            if self.clients.closing.iter().any(|(k, _)| *k == key) {
                return;
            }
            let Some(client) = self.clients.get(key) else { return };
            let mut incoming = Incoming::new(client.mini_header, C::TYPE);
            if client.passage.awaits_data() {
                incoming = incoming.expecting(C::HANDOVER_MAX);
            }
            let unread = self.clients.reactor.unread(key);
            let frame = match incoming.next(unread) {
                Ok(None) => {
                    let whole = incoming.announced(unread).unwrap_or(0);
                    self.clients.reactor.expect(key, whole);
                    return;
                }
                Ok(Some(frame)) => frame,
                Err(error) => {
                    self.clients.close(key, Close::Violation(error.to_string()));
                    return;
                }
            };
            if self.clients.reactor.outbox(key).is_some_and(|o| o.len() >= ANSWERS_MARK) {
                self.clients.reactor.set_reading(key, false);
                note(&mut self.unanswered, key);
                return;
            }
            if !self.channel.accepts() {
                self.clients.reactor.set_reading(key, false);
                note(&mut self.stalled, key);
                return;
            }
            let Frame { kind, body: place, consumed } = frame;
            if !is_common(kind) && !self.may_speak(key, kind, consumed) {
                continue;
            }
            if let Some(client) = self.clients.get(key) {
                client.stats.traffic.messages_in.add(1);
                client.stats.traffic.bytes_in.add(consumed as u64);
            }
            let mut body = self.channel.body(place.len());
            if C::TAKES_MEMORY && !is_common(kind) {
                match self.clients.reactor.take_front(key, consumed, body) {
                    Ok((memory, at)) => {
                        let from = at + place.start;
                        self.own_request(key, |channel, clients| {
                            channel.request_memory(clients, key, kind, memory, from)
                        });
                        continue;
                    }
                    Err(spare) => body = spare,
                }
            }
            body.clear();
            let unread = self.clients.reactor.unread(key);
            body.extend_from_slice(unread.get(place).unwrap_or_default());
            self.clients.reactor.consume(key, consumed);
            self.request(key, kind, body);
        }
    }

    /// Lets the channel handle a message of its own.
    pub(super) fn own_request(
        &mut self,
        key: Key,
        step: impl FnOnce(&mut C, &mut Clients) -> Result<(), String>,
    ) {
        if let Some(Err(why)) = self.guarded(Some(key), step) {
            self.clients.close(key, Close::Violation(why));
        }
    }

    fn request(&mut self, key: Key, kind: u16, body: Vec<u8>) {
        if !is_common(kind) {
            return self.own_request(key, |channel, clients| {
                channel.request_owned(clients, key, kind, body)
            });
        }
        match ClientCommon::parse(kind, &body) {
            Err(error) => self.clients.close(key, Close::Violation(error.to_string())),
            Ok(ClientCommon::AckSync(generation)) => {
                if let Some(acks) = self.clients.get_mut(key).and_then(|c| c.acks.as_mut()) {
                    acks.synced(generation);
                }
            }
            Ok(ClientCommon::Ack) => {
                if let Some(acks) = self.clients.get_mut(key).and_then(|c| c.acks.as_mut()) {
                    acks.acked();
                }
                if self.clients.has_room(key) {
                    self.guarded(Some(key), |channel, clients| channel.room(clients, key));
                }
            }
            Ok(ClientCommon::Pong { id: nudge::PING_ID, .. }) => self.nudges.remove(key),
            Ok(ClientCommon::Pong { id, time }) => {
                self.guarded(Some(key), |channel, clients| channel.pong(clients, key, id, time));
            }
            Ok(ClientCommon::Disconnecting) => {}
            Ok(ClientCommon::MigrateFlushMark) => self.flushed(key),
            Ok(ClientCommon::MigrateData(data)) => self.restore(key, data),
        }
    }

    pub(super) fn resume_stalled(&mut self) {
        if self.stalled.is_empty() || !self.channel.accepts() {
            return;
        }
        for key in std::mem::take(&mut self.stalled) {
            self.clients.reactor.set_reading(key, true);
            self.requests(key);
        }
    }

    /// Sends what was queued, then closes who is to be closed.
    fn finish_step(&mut self) {
        self.clients.flush();
        while let Some((key, why)) = self.clients.closing.pop() {
            let Some(client) = self.clients.remove(key) else { continue };
            self.stalled.retain(|k| *k != key);
            self.unanswered.retain(|k| *k != key);
            self.nudges.remove(key);
            let connection = Arc::clone(&client.connection);
            match &why {
                Close::Violation(what) if VIOLATIONS.allow() => {
                    tracing::warn!(
                        peer = connection.peer_name(),
                        channel = C::TYPE.name(),
                        "client disconnected: {what}"
                    );
                }
                _ => tracing::debug!(
                    peer = connection.peer_name(),
                    channel = C::TYPE.name(),
                    "{why}"
                ),
            }
            self.guarded(None, |channel, clients| channel.left(clients, key, &client));
            self.upward.closed(&connection, client.client);
        }
    }
}

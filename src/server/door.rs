//! The door (thread `spice-link`): listening sockets, and every connection until it is let in.
//!
//! A visitor has a time for each part of its handshake and one for all of it, and only so many may stand here at once:
//! who has stood still for longest has to go for a new one, first of an address that has many. Its first bytes say
//! whether it is a SPICE client, a browser that wants a WebSocket, or somebody who looks what is here. The host's loop
//! does nothing for a visitor; of a few it hears (`events`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::channel::{Attach, Handle, Order, Upward};
use crate::link::handshake::{self, Handshake, LinkPolicy, Linked, SecurityAnswer};
use crate::link::key::{KEYS_AHEAD, KeyRing, TicketKey};
use crate::link::message::{LinkCode, link_result};
use crate::link::sasl::SaslAnswer;
use crate::link::ticket::TicketRefused;
use crate::observe::{RateLimit, probes};
use crate::protocol::caps::{Caps, ChannelType, display, inputs, main};
use crate::sys::thread::spawn;
use crate::transport::backend;
use crate::transport::connection::Connection;
use crate::transport::listener::Listener;
use crate::transport::reactor::{Event, Key, Reactor};
use crate::transport::stream::Stream;
use crate::transport::tls::{TlsLayer, TlsServer};

use super::Core;
use super::auth::{AuthPool, Cyrus};
use super::host::{ChannelEvent, HostTask};
use super::session::Binding;

mod accept;
mod backoff;
mod crowd;
mod events;
mod origin;
mod parking;
mod stage;
mod talk;
mod tickets;

use accept::{Pace, Paused, Spare};
use backoff::Backoff;
use crowd::{Crowd, MAX_PER_ORIGIN, MAX_VISITORS};
use events::EventBudget;
use origin::Origin;
use stage::{Progress, Visitor};
use talk::refused;
use tickets::Tickets;

/// One for each kind of refusal, so that a flood of one hides no other.
static REFUSALS: RateLimit = RateLimit::new();
static CROWDED: RateLimit = RateLimit::new();
static LATE: RateLimit = RateLimit::new();

/// What the door is told.
#[derive(Debug)]
pub enum DoorOrder {
    /// Accept from this listener, too; with TLS from the first byte on if there is a server for it.
    Listen(Listener, Option<TlsServer>),
    /// A socket that the host handed over, with TLS if the connection says so.
    Adopt(Box<Stream>, Arc<Connection>, bool),
    /// A key was made.
    Key(Arc<TicketKey>),
    /// A visitor's ticket was looked at.
    Checked(Key, Result<(), TicketRefused>),
    /// What a SASL mechanism said, with the mechanism's state.
    Answer(Key, Box<Cyrus>, SaslAnswer),
}

/// The way to the door's thread.
#[derive(Debug)]
pub struct Door {
    orders: Handle<DoorOrder>,
    threads: Vec<JoinHandle<()>>,
}

impl Door {
    /// Starts the thread, the one that makes keys, and those that open tickets.
    ///
    /// # Errors
    /// If the system has no thread or descriptor left.
    pub fn start(core: &Arc<Core>) -> io::Result<Self> {
        let reactor = backend::reactor()?;
        let orders = Handle::new(reactor.waker());
        let (want, wanted) = bounded(KEYS_AHEAD);
        let to_door = orders.clone();
        let keys = spawn("spice-keys", move || make_keys(&wanted, &to_door))?;
        let (tickets, mut threads) = Tickets::start(core, &orders)?;
        let hall = Hall {
            core: Arc::clone(core),
            reactor,
            orders: orders.clone(),
            visitors: BTreeMap::new(),
            tls_listeners: BTreeMap::new(),
            crowd: Crowd::new(),
            backoff: Backoff::default(),
            budget: EventBudget::new(Instant::now()),
            tickets,
            policy: Policy { core: Arc::clone(core), keys: KeyRing::new() },
            want_key: want,
            keys_coming: 0,
            authenticators: None,
            paused: Paused::default(),
            pace: Pace::new(Instant::now()),
            spare: Spare::new(core.mailbox()),
            stop: false,
        };
        threads.extend([keys, spawn("spice-link", move || hall.run())?]);
        Ok(Self { orders, threads })
    }

    /// Accepts from a listener, plain connections or TLS.
    pub fn listen(&self, listener: Listener, tls: Option<TlsServer>) {
        self.orders.send(Order::Do(DoorOrder::Listen(listener, tls)));
    }

    /// Takes a connected socket whose CONNECTED event was told.
    pub fn adopt(&self, stream: Stream, connection: Arc<Connection>, skip_auth: bool) {
        self.orders.send(Order::Do(DoorOrder::Adopt(Box::new(stream), connection, skip_auth)));
    }

    /// A client left: who waited for that may come in.
    pub fn poke(&self) {
        self.orders.poke();
    }

    /// Closes the listeners and every visitor, and ends all threads.
    pub fn stop(self) {
        self.orders.send(Order::Stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("the door's thread had panicked");
            }
        }
    }
}

/// Makes a key for each request; ends when the door does.
fn make_keys(wanted: &Receiver<()>, door: &Handle<DoorOrder>) {
    while wanted.recv().is_ok() {
        match TicketKey::generate() {
            Ok(key) => door.send(Order::Do(DoorOrder::Key(Arc::new(key)))),
            Err(error) => tracing::error!(%error, "no key for tickets could be made"),
        }
    }
}

struct Hall {
    core: Arc<Core>,
    reactor: Box<dyn Reactor>,
    orders: Handle<DoorOrder>,
    visitors: BTreeMap<Key, Visitor>,
    /// Listeners whose connections begin with TLS.
    tls_listeners: BTreeMap<Key, TlsServer>,
    crowd: Crowd<Key>,
    backoff: Backoff,
    budget: EventBudget,
    tickets: Tickets,
    policy: Policy,
    want_key: Sender<()>,
    keys_coming: usize,
    /// Started with the first question.
    authenticators: Option<AuthPool<Key, Cyrus>>,
    paused: Paused,
    pace: Pace,
    spare: Spare,
    stop: bool,
}

impl Hall {
    fn run(mut self) {
        let mut events = Vec::new();
        self.ask_for_keys();
        while !self.stop {
            self.take_orders();
            if self.stop {
                // Before the next sleep, from which nothing might wake this thread.
                break;
            }
            self.retry_waiting();
            self.expire();
            // Nothing would end a wait that begins after the last order.
            let timeout = if self.stop { Some(Duration::ZERO) } else { self.next_deadline() };
            events.clear();
            if let Err(error) = self.reactor.wait(timeout, &mut events) {
                tracing::error!(%error, "waiting for sockets failed, no more clients can come");
                break;
            }
            for event in &events {
                match *event {
                    Event::Acceptable(key) => self.accept(key),
                    Event::Received(key) => self.talk(key),
                    Event::Drained(key) => self.drained(key),
                    Event::Closed(key) => self.close(key),
                    Event::Woken | Event::Kicked(_) => {}
                }
            }
            self.accept_again();
        }
        let keys: Vec<Key> = self.visitors.keys().copied().collect();
        keys.into_iter().for_each(|key| self.close(key));
        if let Some(authenticators) = self.authenticators.take() {
            authenticators.stop();
        }
    }

    fn take_orders(&mut self) {
        self.orders.looked();
        while let Some(order) = self.orders.take() {
            match order {
                Order::Stop => self.stop = true,
                Order::Do(DoorOrder::Listen(listener, tls)) => {
                    match (self.reactor.listen(listener), tls) {
                        (Ok(key), Some(tls)) => {
                            self.tls_listeners.insert(key, tls);
                        }
                        (Ok(_), None) => {}
                        (Err(error), _) => tracing::error!(%error, "a listener cannot be watched"),
                    }
                }
                Order::Do(DoorOrder::Adopt(stream, connection, skip_auth)) => {
                    let tls = self.core.tls().filter(|_| connection.tls).cloned();
                    self.enter(*stream, connection, skip_auth, true, tls);
                }
                Order::Do(DoorOrder::Key(key)) => {
                    self.keys_coming = self.keys_coming.saturating_sub(1);
                    self.policy.keys.add(key);
                    let keys: Vec<Key> = self.visitors.keys().copied().collect();
                    keys.into_iter().for_each(|key| self.talk(key));
                }
                Order::Do(DoorOrder::Checked(key, answer)) => self.checked(key, answer),
                Order::Do(DoorOrder::Answer(key, sasl, answer)) => self.answered(key, sasl, answer),
                // Nobody attaches to the door.
                Order::Attach(_) | Order::Drop(_) | Order::HandOver(_) | Order::MachineRuns => {}
            }
        }
    }

    fn ask_for_keys(&mut self) {
        while self.keys_coming < self.policy.keys.missing() && self.want_key.try_send(()).is_ok() {
            self.keys_coming += 1;
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let visitors = self.visitors.values().map(Visitor::next_deadline).min();
        let next = visitors.into_iter().chain(self.paused.deadline()).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Takes a connection in. Those `by_host` were told of when they were handed over.
    fn enter(
        &mut self,
        stream: Stream,
        connection: Arc<Connection>,
        skip_auth: bool,
        by_host: bool,
        tls: Option<TlsServer>,
    ) {
        probes::link_accepted(connection.id);
        self.core.stats.accepted.add(1);
        let origin = if by_host { Origin::Local } else { Origin::of(&connection) };
        self.make_room(origin, &connection);
        let handshake = Handshake::new(handshake::Stage { skip_auth, tls: connection.tls });
        let layer = tls.map(|tls| TlsLayer::new(&tls, connection.peer_name())).transpose();
        let entered = layer.and_then(|layer| {
            let key = self.reactor.insert(stream, Vec::new())?;
            if let Some(layer) = layer {
                self.reactor.add_layer(key, Box::new(layer));
            }
            Ok(key)
        });
        match entered {
            Ok(key) => {
                let now = Instant::now();
                let visitor = Visitor::new(connection, origin, handshake, by_host, now);
                self.visitors.insert(key, visitor);
                self.crowd.enter(key, origin);
            }
            Err(error) => {
                if let Some(more) = REFUSALS.pass() {
                    tracing::warn!(%error, "a connection cannot be watched{more}");
                }
                if by_host {
                    self.core.event(ChannelEvent::Disconnected, &connection);
                }
            }
        }
    }

    fn make_room(&mut self, origin: Origin, newcomer: &Connection) {
        let Some(leaver) = self.crowd.to_make_room(origin) else { return };
        if let Some(more) = CROWDED.pass() {
            let peer = newcomer.peer_name();
            let (count, place) = if leaver.crowded_origin {
                (MAX_PER_ORIGIN, " from its address")
            } else {
                (MAX_VISITORS, "")
            };
            tracing::warn!(
                peer,
                "{count} connections{place} stand at the door, an old one is closed for a new one{more}"
            );
        }
        self.close(leaver.key);
    }

    /// Tells the host of a connection whose link message is one, if it has not heard of many just now.
    fn tell_early(&mut self, key: Key, now: Instant) {
        if !self.core.mailbox().is_busy() && self.budget.take(now) {
            self.tell(key);
        }
    }

    /// Tells the host of a connection, once.
    fn tell(&mut self, key: Key) {
        if let Some(visitor) = self.visitors.get_mut(&key)
            && !std::mem::replace(&mut visitor.told, true)
        {
            self.core.event(ChannelEvent::Connected, &visitor.connection);
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(visitor) = self.forget(key) {
            self.reactor.remove(key);
            if matches!(visitor.progress, Progress::Parked(_)) {
                self.left_parking(&visitor.connection);
            } else if visitor.told {
                self.core.event(ChannelEvent::Disconnected, &visitor.connection);
            }
        }
    }

    /// Takes a visitor out of the tables; its socket stays.
    fn forget(&mut self, key: Key) -> Option<Visitor> {
        let visitor = self.visitors.remove(&key)?;
        self.crowd.leave(key, visitor.origin);
        Some(visitor)
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<Key> = self
            .visitors
            .iter()
            .filter(|(_, v)| v.next_deadline() <= now)
            .map(|(k, _)| *k)
            .collect();
        for key in late {
            let Some(visitor) = self.visitors.get_mut(&key) else { continue };
            match &mut visitor.progress {
                Progress::Leaving => self.close(key),
                Progress::Held(answer) => {
                    let answer = std::mem::take(answer);
                    self.leave(key, &answer);
                }
                _ => {
                    refused(&LATE, &visitor.connection, &visitor.lateness(now));
                    self.close(key);
                }
            }
        }
    }

    fn retry_waiting(&mut self) {
        self.let_in_parked();
        let waiting = |v: &Visitor| matches!(v.progress, Progress::Waiting(_));
        let keys: Vec<Key> =
            self.visitors.iter().filter(|(_, v)| waiting(v)).map(|(k, _)| *k).collect();
        for key in keys {
            let progress = self
                .visitors
                .get_mut(&key)
                .map(|v| std::mem::replace(&mut v.progress, Progress::Talking));
            if let Some(Progress::Waiting(linked)) = progress {
                self.let_in(key, linked);
            }
        }
    }

    /// Brings an authenticated visitor to its channel.
    fn let_in(&mut self, key: Key, linked: Linked) {
        self.tell(key);
        let Some(visitor) = self.visitors.get_mut(&key) else { return };
        let (connection, nudge) = (Arc::clone(&visitor.connection), visitor.layered);
        let core = Arc::clone(&self.core);
        if linked.channel_type == ChannelType::MAIN {
            // Its list of channels is to name them.
            core.start_streams();
        }
        // The lock is held until the channel has its order: a client that is told to go in between
        // would otherwise be attached after it went.
        let mut session = core.session();
        let binding =
            session.bind(&connection, linked.channel_type, linked.channel_id, linked.connection_id);
        match binding {
            Binding::WaitForOthers => {
                // It has a ticket: no stranger pushes it out.
                self.crowd.advance(key, visitor.origin);
                visitor.progress = Progress::Waiting(linked);
            }
            Binding::Refuse(code) => {
                drop(session);
                refused(&REFUSALS, &connection, &format!("{code:?}"));
                self.leave(key, &link_result(code));
            }
            Binding::Duplicate(client) => {
                drop(session);
                core.event(ChannelEvent::Initialized, &connection);
                self.send(key, &link_result(LinkCode::Ok));
                self.forget(key);
                self.reactor.remove(key);
                core.closed(&connection, client);
            }
            Binding::Park(_) => {
                drop(session);
                core.event(ChannelEvent::Initialized, &connection);
                self.park(key, linked);
            }
            Binding::Attach(route, client) => {
                let (channel, id) = (linked.channel_type.0, linked.channel_id);
                probes::link_done(connection.id, channel, id, client);
                core.stats.linked.add(1);
                self.forget(key);
                core.event(ChannelEvent::Initialized, &connection);
                let Some((stream, unread)) = self.reactor.remove(key) else { return };
                let first = link_result(LinkCode::Ok).to_vec();
                let (speed, arriving) = (session.speed_of(client), session.is_arriving(client));
                let is_main = linked.channel_type == ChannelType::MAIN;
                let inherits = !is_main && session.inherits(client);
                let moved = session.has_moved(client);
                let Linked { channel_caps: caps, mini_header, .. } = linked;
                route.attach(Attach {
                    stream,
                    unread,
                    first,
                    connection,
                    client,
                    speed,
                    caps,
                    mini_header,
                    nudge,
                    arriving: arriving && is_main,
                    inherits,
                    moved,
                });
                if inherits && session.vm_running {
                    route.machine_runs();
                }
            }
        }
    }
}

/// What the handshake asks.
struct Policy {
    core: Arc<Core>,
    keys: KeyRing,
}

impl LinkPolicy for Policy {
    fn security(&self, channel: ChannelType, tls: bool) -> SecurityAnswer {
        let security = self.core.session().settings.security_of(channel);
        match (tls, security.plain, security.tls) {
            (false, true, _) | (true, _, true) => SecurityAnswer::Allowed,
            (false, false, _) => SecurityAnswer::NeedSecured,
            (true, _, false) => SecurityAnswer::NeedUnsecured,
        }
    }

    fn channel_exists(&self, channel: ChannelType, id: u8) -> bool {
        self.core.session().channel_exists(channel, id)
    }

    fn channel_caps(&self, channel: ChannelType, id: u8) -> Vec<u32> {
        // Only what is really served; more bits come with their issues.
        let bits: &[u32] = match channel {
            ChannelType::MAIN => {
                let bits = [
                    main::SEMI_SEAMLESS_MIGRATE,
                    main::NAME_AND_UUID,
                    main::AGENT_CONNECTED_TOKENS,
                    main::SEAMLESS_MIGRATE,
                ];
                let seamless = self.core.session().settings.seamless();
                let count = if seamless { bits.len() } else { bits.len() - 1 };
                return Caps::from_bits(bits.get(..count).unwrap_or(&bits)).words().to_vec();
            }
            // Reports and wishes are for the guest's agent, which does not hear of them so far.
            ChannelType::DISPLAY if self.core.session().is_stream(channel, id) => {
                &[display::MONITORS_CONFIG, display::STREAM_REPORT, display::PREF_VIDEO_CODEC_TYPE]
            }
            ChannelType::DISPLAY => &[display::MONITORS_CONFIG],
            ChannelType::INPUTS => &[inputs::KEY_SCANCODE],
            _ => {
                let bits = self.core.session().sound_caps(channel);
                return Caps::from_bits(&bits).words().to_vec();
            }
        };
        Caps::from_bits(bits).words().to_vec()
    }

    fn sasl(&self) -> bool {
        self.core.session().settings.sasl
    }

    fn ticket_key(&mut self, now: Instant) -> Option<Arc<TicketKey>> {
        self.keys.take(now)
    }
}

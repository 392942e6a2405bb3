//! The door (thread `spice-link`): listening sockets, and every connection until it is let in.
//!
//! A visitor has ten seconds for its whole handshake, and only so many may stand here at once: the
//! oldest has to go for a new one. The host's loop does nothing for a visitor but hear of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use zeroize::Zeroizing;

use crate::channel::{Attach, Handle, Order, Upward};
use crate::link::handshake::{Handshake, LinkPolicy, Linked, SecurityAnswer, Stage, Step};
use crate::link::key::{ENCRYPTED_LEN, KEYS_AHEAD, KeyRing, TicketKey};
use crate::link::message::{LinkCode, link_result};
use crate::link::sasl::{SaslAnswer, SaslAsk, SaslRefused};
use crate::link::ticket::TicketRefused;
use crate::observe::RateLimit;
use crate::protocol::caps::{Caps, ChannelType, display, inputs, main};
use crate::sys::thread::spawn;
use crate::transport::backend;
use crate::transport::connection::Connection;
use crate::transport::listener::Listener;
use crate::transport::reactor::{Event, Key, Reactor};
use crate::transport::stream::Stream;

use super::Core;
use super::auth::{AuthPool, Cyrus};
use super::host::ChannelEvent;
use super::session::Binding;

/// For the whole handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Visitors at once; the oldest is closed for a new one.
const MAX_VISITORS: usize = 256;
/// A refused peer has this long to read why, before the socket is closed.
const LINGER: Duration = Duration::from_secs(1);
/// Until accepting is tried again after it failed (no descriptors) or the host was behind.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections accepted in one go.
const ACCEPT_BATCH: usize = 64;
/// More bytes than any stage of the handshake asks for, but for SASL, which says how many.
const PEEK: usize = 4200;

static REFUSALS: RateLimit = RateLimit::new();
static ACCEPT_ERRORS: RateLimit = RateLimit::new();

/// What the door is told.
#[derive(Debug)]
pub enum DoorOrder {
    /// Accept from this listener, too.
    Listen(Listener),
    /// A socket that the host handed over.
    Adopt(Box<Stream>, Arc<Connection>, bool),
    /// A key was made.
    Key(Arc<TicketKey>),
    /// What a SASL mechanism said, with the mechanism's state.
    Answer(Key, Box<Cyrus>, SaslAnswer),
}

/// The way to the door's thread.
#[derive(Debug)]
pub struct Door {
    orders: Handle<DoorOrder>,
    thread: JoinHandle<()>,
    keys: JoinHandle<()>,
}

impl Door {
    /// Starts the thread, and the one that makes keys.
    ///
    /// # Errors
    /// If the system has no thread or descriptor left.
    pub fn start(core: &Arc<Core>) -> io::Result<Self> {
        let reactor = backend::reactor()?;
        let orders = Handle::new(reactor.waker());
        let (want, wanted) = bounded(KEYS_AHEAD);
        let to_door = orders.clone();
        let keys = spawn("spice-keys", move || make_keys(&wanted, &to_door))?;
        let hall = Hall {
            core: Arc::clone(core),
            reactor,
            orders: orders.clone(),
            visitors: BTreeMap::new(),
            policy: Policy { core: Arc::clone(core), keys: KeyRing::new() },
            want_key: want,
            keys_coming: 0,
            authenticators: None,
            accept_again: None,
            stop: false,
        };
        let thread = spawn("spice-link", move || hall.run())?;
        Ok(Self { orders, thread, keys })
    }

    /// Accepts from a listener.
    pub fn listen(&self, listener: Listener) {
        self.orders.send(Order::Do(DoorOrder::Listen(listener)));
    }

    /// Takes a connected socket whose CONNECTED event was told.
    pub fn adopt(&self, stream: Stream, connection: Arc<Connection>, skip_auth: bool) {
        self.orders.send(Order::Do(DoorOrder::Adopt(Box::new(stream), connection, skip_auth)));
    }

    /// A client left: who waited for that may come in.
    pub fn poke(&self) {
        self.orders.poke();
    }

    /// Closes the listeners and every visitor, and ends both threads.
    pub fn stop(self) {
        self.orders.send(Order::Stop);
        for thread in [self.thread, self.keys] {
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

#[derive(Debug)]
struct Visitor {
    connection: Arc<Connection>,
    handshake: Handshake,
    progress: Progress,
    deadline: Instant,
    /// Between two questions to a SASL mechanism, and after the last one: its state.
    sasl: Option<Box<Cyrus>>,
    /// The mechanism has a security layer.
    layered: bool,
    /// Tells those who ask mechanisms that the visitor is still here.
    here: Arc<()>,
}

#[derive(Debug)]
enum Progress {
    /// The handshake goes on.
    Talking,
    /// Authenticated; other clients have to leave first.
    Waiting(Linked),
    /// Refused; what was queued is still going out.
    Leaving,
}

struct Hall {
    core: Arc<Core>,
    reactor: Box<dyn Reactor>,
    orders: Handle<DoorOrder>,
    /// Keys grow, so the first one is the oldest.
    visitors: BTreeMap<Key, Visitor>,
    policy: Policy,
    want_key: Sender<()>,
    keys_coming: usize,
    /// Started with the first question.
    authenticators: Option<AuthPool<Key, Cyrus>>,
    /// Listeners to be tried again at this time.
    accept_again: Option<(Instant, Vec<Key>)>,
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
                    Event::Woken => {}
                }
            }
            if let Some((_, listeners)) = self.accept_again.take_if(|(at, _)| *at <= Instant::now())
            {
                listeners.into_iter().for_each(|key| self.accept(key));
            }
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
                Order::Do(DoorOrder::Listen(listener)) => {
                    if let Err(error) = self.reactor.listen(listener) {
                        tracing::error!(%error, "a listener cannot be watched");
                    }
                }
                Order::Do(DoorOrder::Adopt(stream, connection, skip_auth)) => {
                    self.enter(*stream, connection, skip_auth);
                }
                Order::Do(DoorOrder::Key(key)) => {
                    self.keys_coming = self.keys_coming.saturating_sub(1);
                    self.policy.keys.add(key);
                    let keys: Vec<Key> = self.visitors.keys().copied().collect();
                    keys.into_iter().for_each(|key| self.talk(key));
                }
                Order::Do(DoorOrder::Answer(key, sasl, answer)) => {
                    // It may have left meanwhile.
                    if let Some(visitor) = self.visitors.get_mut(&key) {
                        visitor.sasl = Some(sasl);
                        visitor.handshake.answered(answer);
                        self.talk(key);
                    }
                }
                // Nobody attaches to the door.
                Order::Attach(_) | Order::Drop(_) => {}
            }
        }
    }

    fn ask_for_keys(&mut self) {
        while self.keys_coming < self.policy.keys.missing() && self.want_key.try_send(()).is_ok() {
            self.keys_coming += 1;
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let visitors = self.visitors.values().map(|v| v.deadline).min();
        let accept = self.accept_again.as_ref().map(|(at, _)| *at);
        let next = visitors.into_iter().chain(accept).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self, listener: Key) {
        for _ in 0..ACCEPT_BATCH {
            if self.core.mailbox().is_busy() {
                // The host does not even hear of those who are here.
                return self.accept_later(listener, ACCEPT_PAUSE);
            }
            match self.reactor.accept(listener) {
                Ok(fd) => match Stream::adopt(fd) {
                    Ok(stream) => {
                        let connection = Arc::new(Connection::of(&stream));
                        self.core.event(ChannelEvent::Connected, &connection);
                        self.enter(stream, connection, false);
                    }
                    Err((_, error)) => tracing::debug!(%error, "a connection was unusable"),
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if ACCEPT_ERRORS.allow() {
                        tracing::warn!(%error, "a connection cannot be accepted now");
                    }
                    return self.accept_later(listener, ACCEPT_PAUSE);
                }
            }
        }
        self.accept_later(listener, Duration::ZERO);
    }

    fn accept_later(&mut self, listener: Key, pause: Duration) {
        let at = Instant::now() + pause;
        let (_, listeners) = self.accept_again.get_or_insert_with(|| (at, Vec::new()));
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }

    fn enter(&mut self, stream: Stream, connection: Arc<Connection>, skip_auth: bool) {
        if self.visitors.len() >= MAX_VISITORS
            && let Some(oldest) = self.visitors.keys().next().copied()
        {
            if REFUSALS.allow() {
                tracing::warn!(
                    "{MAX_VISITORS} connections stand at the door, the oldest is closed"
                );
            }
            self.close(oldest);
        }
        let handshake = Handshake::new(Stage { skip_auth, tls: connection.tls });
        let deadline = Instant::now() + HANDSHAKE_TIME;
        match self.reactor.insert(stream, Vec::new()) {
            Ok(key) => {
                let progress = Progress::Talking;
                let visitor = Visitor {
                    connection,
                    handshake,
                    progress,
                    deadline,
                    sasl: None,
                    layered: false,
                    here: Arc::default(),
                };
                self.visitors.insert(key, visitor);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be watched");
                self.core.event(ChannelEvent::Disconnected, &connection);
            }
        }
    }

    /// Goes on with a handshake as far as the bytes allow.
    fn talk(&mut self, key: Key) {
        loop {
            let Some(visitor) = self.visitors.get_mut(&key) else { return };
            let unread = self.reactor.unread(key);
            if !matches!(visitor.progress, Progress::Talking) {
                if matches!(visitor.progress, Progress::Leaving) {
                    let all = unread.len();
                    self.reactor.consume(key, all);
                }
                return;
            }
            let wants = visitor.handshake.wants();
            if unread.len() < wants {
                // Not copied again for every byte that comes.
                return;
            }
            let most = unread.len().min(PEEK.max(wants));
            // They may hold a password.
            let mut bytes = Zeroizing::new(unread.get(..most).unwrap_or_default().to_vec());
            let before = bytes.len();
            let step = visitor.handshake.feed(&mut bytes, Instant::now(), &mut self.policy);
            self.reactor.consume(key, before - bytes.len());
            match step {
                // What it wants next may be more than it was shown.
                Step::NeedMore if self.reactor.unread(key).len() >= visitor.handshake.wants() => {}
                Step::NeedMore | Step::NeedKey | Step::NeedAnswer => return,
                Step::Send(reply) => {
                    self.ask_for_keys();
                    self.send(key, &reply);
                }
                Step::Refuse(refusal) => {
                    if REFUSALS.allow() {
                        let peer = visitor.connection.peer_name();
                        tracing::warn!(peer, "link refused: {}", refusal.reason);
                    }
                    return self.leave(key, &refusal.reply);
                }
                Step::Ask(ask) => {
                    if let Err(refused) = self.ask(key, ask)
                        && let Some(visitor) = self.visitors.get_mut(&key)
                    {
                        visitor.handshake.answered(SaslAnswer::Failed(refused));
                    }
                }
                Step::Authenticated(linked) => {
                    // What was sent so far goes without the layer; everything from the link result on is inside.
                    if let Some(layer) = visitor.sasl.take().and_then(|sasl| sasl.into_layer()) {
                        visitor.layered = true;
                        self.reactor.add_layer(key, Box::new(layer));
                    }
                    return self.let_in(key, linked);
                }
            }
        }
    }

    /// Has a SASL mechanism asked; the answer is an order.
    fn ask(&mut self, key: Key, ask: SaslAsk) -> Result<(), SaslRefused> {
        let Some(visitor) = self.visitors.get_mut(&key) else { return Ok(()) };
        if self.authenticators.is_none() {
            let door = self.orders.clone();
            let started = AuthPool::start(move |key, sasl, answer| {
                door.send(Order::Do(DoorOrder::Answer(key, sasl, answer)));
            });
            self.authenticators = Some(
                started
                    .inspect_err(|error| {
                        tracing::error!(%error, "no thread for SASL could be started");
                    })
                    .map_err(|_| SaslRefused::Busy)?,
            );
        }
        let Some(authenticators) = &self.authenticators else { return Err(SaslRefused::Busy) };
        let sasl = visitor.sasl.take();
        let sasl = sasl.unwrap_or_else(|| Box::new(Cyrus::new(&visitor.connection)));
        authenticators.ask(key, &visitor.here, sasl, ask)
    }

    fn send(&mut self, key: Key, bytes: &[u8]) {
        if let Some(outbox) = self.reactor.outbox(key) {
            outbox.push(bytes);
        }
        self.reactor.flush(key);
    }

    /// Sends a last answer and closes once it is out, so that the peer can read it.
    fn leave(&mut self, key: Key, answer: &[u8]) {
        if answer.is_empty() {
            return self.close(key);
        }
        if let Some(visitor) = self.visitors.get_mut(&key) {
            visitor.progress = Progress::Leaving;
            visitor.deadline = visitor.deadline.min(Instant::now() + LINGER);
        }
        self.send(key, answer);
    }

    fn drained(&mut self, key: Key) {
        let leaving =
            self.visitors.get(&key).is_some_and(|v| matches!(v.progress, Progress::Leaving));
        if leaving {
            // With unread bytes a close would be a reset, and the answer lost.
            self.reactor.finish_sending(key);
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(visitor) = self.visitors.remove(&key) {
            self.reactor.remove(key);
            self.core.event(ChannelEvent::Disconnected, &visitor.connection);
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<Key> =
            self.visitors.iter().filter(|(_, v)| v.deadline <= now).map(|(k, _)| *k).collect();
        for key in late {
            let talking =
                self.visitors.get(&key).filter(|v| !matches!(v.progress, Progress::Leaving));
            if let Some(visitor) = talking
                && REFUSALS.allow()
            {
                let peer = visitor.connection.peer_name();
                tracing::warn!(peer, "link refused: not through the handshake in ten seconds");
            }
            self.close(key);
        }
    }

    fn retry_waiting(&mut self) {
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
        let Some(visitor) = self.visitors.get_mut(&key) else { return };
        let (connection, nudge) = (Arc::clone(&visitor.connection), visitor.layered);
        let core = Arc::clone(&self.core);
        // The lock is held until the channel has its order: a client that is told to go in between
        // would otherwise be attached after it went.
        let mut session = core.session();
        let binding =
            session.bind(&connection, linked.channel_type, linked.channel_id, linked.connection_id);
        match binding {
            Binding::WaitForOthers => visitor.progress = Progress::Waiting(linked),
            Binding::Refuse(code) => {
                drop(session);
                if REFUSALS.allow() {
                    tracing::warn!(peer = connection.peer_name(), ?code, "link refused");
                }
                self.leave(key, &link_result(code));
            }
            Binding::Duplicate(client) => {
                drop(session);
                core.event(ChannelEvent::Initialized, &connection);
                self.send(key, &link_result(LinkCode::Ok));
                self.visitors.remove(&key);
                self.reactor.remove(key);
                core.closed(&connection, client);
            }
            Binding::Attach(route, client) => {
                self.visitors.remove(&key);
                core.event(ChannelEvent::Initialized, &connection);
                let Some((stream, unread)) = self.reactor.remove(key) else { return };
                route.attach(Attach {
                    stream,
                    unread,
                    first: link_result(LinkCode::Ok).to_vec(),
                    connection,
                    client,
                    speed: session.speed_of(client),
                    caps: linked.channel_caps,
                    mini_header: linked.mini_header,
                    nudge,
                });
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

    fn channel_caps(&self, channel: ChannelType, _id: u8) -> Vec<u32> {
        // Only what is really served; more bits come with their issues.
        let bits: &[u32] = match channel {
            ChannelType::MAIN => &[main::NAME_AND_UUID, main::AGENT_CONNECTED_TOKENS],
            ChannelType::DISPLAY => &[display::MONITORS_CONFIG],
            ChannelType::INPUTS => &[inputs::KEY_SCANCODE],
            _ => return Vec::new(),
        };
        Caps::from_bits(bits).words().to_vec()
    }

    fn sasl(&self) -> bool {
        self.core.session().settings.sasl
    }

    fn ticket_key(&mut self, now: Instant) -> Option<Arc<TicketKey>> {
        self.keys.take(now)
    }

    fn check_ticket(
        &mut self,
        key: &TicketKey,
        encrypted: &[u8; ENCRYPTED_LEN],
        skip_auth: bool,
        now: Instant,
    ) -> Result<(), TicketRefused> {
        // The arithmetic runs outside the lock, which the host's calls need.
        let text = key.decrypt(encrypted)?;
        if skip_auth {
            return Ok(());
        }
        self.core.session().ticket.check_text(&text, now)
    }
}

//! The completion engine: io_uring.
//!
//! A turn of its thread is one system call, which hands over everything that was queued since the last one and sleeps.
//! A socket is read by one receive that stays (multishot), into buffers that all sockets share; it is cancelled while
//! its peer is to wait, and comes back afterwards. One gathering send at a time is under way for each connection; the
//! next one starts when it completes. All memory that the kernel touches belongs to [`Ring`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conn::{Conn, UNREAD_LIMIT};
use super::layer::Layer;
use super::listener::Listener;
use super::outbox::{Lent, Outbox};
use super::reactor::{Event, Key, Reactor, Wake};
use super::stream::Stream;
use super::uring::ring::{Done, Filled, Kind, Ring};
use super::wake::Bell;
use crate::observe::probes;

/// For the operations of a connection that leaves to be cancelled: far more than the kernel takes.
const LEAVE_TIME: Duration = Duration::from_secs(2);
/// Accepts under way for each listener. No multishot one: that would take the whole backlog at once, and descriptors
/// that the door has no place for.
const ACCEPTS: usize = 4;
/// Of poll(2).
const POLLERR: u32 = 8;
const POLLHUP: u32 = 16;
/// What kernels before 6.0 say to a multishot receive.
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

/// The receive of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// None.
    Not,
    /// Queued or with the kernel.
    On,
    /// The same, and to be cancelled.
    Ending,
}

#[derive(Debug)]
struct Connection {
    conn: Conn,
    receiving: Receiving,
    /// The receive is one that stays.
    multishot: bool,
    /// The receive has brought something; who got nothing because others had all buffers goes first the next time.
    served: bool,
    /// A send is under way.
    sending: bool,
    /// The end is waited for.
    watched: bool,
    /// A layer's last word waits behind that send.
    last_word: bool,
    /// It is being removed: nothing new starts.
    leaving: bool,
}

impl Connection {
    fn is_busy(&self) -> bool {
        self.receiving != Receiving::Not || self.sending || self.watched
    }
}

#[derive(Debug)]
struct Door {
    listener: Listener,
    /// Accepts under way.
    accepting: usize,
    /// Not fetched by the owner yet.
    accepted: VecDeque<OwnedFd>,
    /// Told to the owner before anything is accepted again.
    failed: Option<io::Error>,
    /// Accepts do not wait here (kernels differ for listeners that are not blocking): poll does.
    polled: bool,
}

impl Door {
    /// Keeps as many accepts under way as there is room for.
    fn accept_more(&mut self, ring: &mut Ring, key: usize) {
        if self.failed.is_some() || self.polled {
            return;
        }
        while self.accepting + self.accepted.len() < ACCEPTS {
            self.accepting += 1;
            ring.accept(key, self.listener.as_fd());
        }
    }
}

#[derive(Debug)]
struct UringWaker {
    eventfd: Arc<OwnedFd>,
    bell: Bell,
}

impl Wake for UringWaker {
    fn wake(&self) {
        if self.bell.ring()
            && let Err(error) = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes())
        {
            tracing::error!(%error, "a thread could not be woken");
        }
    }
}

/// A reactor over io_uring. May be made on any thread; the one that first waits owns it from then on.
#[derive(Debug)]
pub struct UringReactor {
    ring: Ring,
    waker: Arc<UringWaker>,
    connections: BTreeMap<usize, Connection>,
    listeners: BTreeMap<usize, Door>,
    /// Eventfds of others.
    watched: BTreeMap<usize, OwnedFd>,
    /// Connections to be read again, those first that went without.
    again: VecDeque<usize>,
    /// Connections with a bounded rate whose time has not come, and some that need no time any more.
    held: Vec<usize>,
    /// Found outside `wait`, delivered by the next one.
    pending: Vec<Event>,
    next: usize,
}

impl UringReactor {
    /// A reactor without sockets.
    ///
    /// # Errors
    /// If the kernel or the site has no io_uring for us (ENOSYS, EPERM, ENOMEM, EINVAL before Linux 5.19), or the
    /// process no descriptor left.
    pub fn new() -> io::Result<Self> {
        let ring = Ring::new()?;
        let waker = Arc::new(UringWaker { eventfd: ring.eventfd(), bell: Bell::default() });
        Ok(Self {
            ring,
            waker,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            watched: BTreeMap::new(),
            again: VecDeque::new(),
            held: Vec::new(),
            pending: Vec::new(),
            next: 1,
        })
    }

    /// Tries whether the calls that come after the first one are allowed as well: a sandbox may forbid each of them.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn probe() -> io::Result<()> {
        Self::new()?.wait(Some(Duration::ZERO), &mut Vec::new())
    }

    /// Reads as on kernels before 6.0.
    #[cfg(test)]
    pub(super) fn single_shot(&mut self) {
        self.ring.single_shot();
    }

    fn next_key(&mut self) -> usize {
        let key = self.next;
        self.next += 1;
        key
    }

    /// Starts or ends what a connection's state asks for.
    fn adjust(&mut self, key: usize) {
        let Some(c) = self.connections.get_mut(&key).filter(|c| !c.leaving) else { return };
        match (c.conn.takes_more(), c.receiving) {
            (true, Receiving::Not) => {
                c.receiving = Receiving::On;
                if c.served {
                    self.again.push_back(key);
                } else {
                    self.again.push_front(key);
                }
            }
            (false, Receiving::On) => {
                if let Some(at) = self.again.iter().position(|k| *k == key) {
                    self.again.remove(at);
                    c.receiving = Receiving::Not;
                } else {
                    c.receiving = Receiving::Ending;
                    self.ring.cancel(Kind::Receive, key);
                }
            }
            _ => {}
        }
        if !c.conn.reading && !c.conn.closed && !c.watched {
            // Nobody reads, so nobody would notice the end.
            c.watched = true;
            self.ring.watch(key, c.conn.stream.as_fd());
        }
    }

    /// Queues the receives of this turn.
    fn receive_again(&mut self) {
        for key in std::mem::take(&mut self.again) {
            if let Some(c) = self.connections.get_mut(&key) {
                (c.served, c.multishot) = (false, self.ring.is_multishot());
                self.ring.receive(key, c.conn.stream.as_fd());
            }
        }
    }

    /// Gives the kernel what waits, unless it is at it already.
    fn send(&mut self, key: usize) {
        let Some(c) = self.connections.get_mut(&key) else { return };
        if c.sending || c.leaving || c.conn.closed || c.conn.held().is_some() {
            return;
        }
        let most = if c.conn.is_drained() { usize::MAX } else { c.conn.allowance() };
        if most == 0 {
            return self.held.push(key);
        }
        match c.conn.lend(most) {
            Ok(Some(lent)) => {
                c.sending = true;
                self.ring.send(key, c.conn.stream.as_fd(), lent);
            }
            Ok(None) => c.conn.finish_if_drained(),
            Err(error) => {
                tracing::debug!(%error, "a layer of a connection sends no more");
                self.close(key);
            }
        }
    }

    /// Lets connections go on whose time has come. How long the next one has to wait.
    fn release(&mut self) -> Option<Duration> {
        if self.held.is_empty() {
            return None;
        }
        let now = Instant::now();
        for key in std::mem::take(&mut self.held) {
            let Some(c) = self.connections.get_mut(&key) else { continue };
            if c.conn.release(now) {
                // Held again at once if the time is not over.
                self.send(key);
            } else if !self.held.contains(&key) {
                self.held.push(key);
            }
        }
        let held = self.held.iter().filter_map(|key| self.connections.get(key)?.conn.held());
        held.min().map(|at| at.saturating_duration_since(now))
    }

    /// The end of a connection, told once.
    fn close(&mut self, key: usize) {
        if let Some(c) = self.connections.get_mut(&key)
            && !std::mem::replace(&mut c.conn.closed, true)
        {
            self.pending.push(Event::Closed(Key(key)));
        }
        self.adjust(key);
    }

    /// A layer broke the connection off.
    fn end(&mut self, key: usize, why: &io::Error) {
        if let Some(c) = self.connections.get_mut(&key) {
            c.last_word = c.sending;
            c.conn.end(why, c.sending);
            self.pending.push(Event::Closed(Key(key)));
        }
        self.adjust(key);
    }

    /// Takes everything that the kernel has done; events go to `pending`.
    fn reap(&mut self) {
        while let Some(done) = self.ring.next() {
            match done {
                Done::Received { key, result, more } => {
                    if let Ok(Some(filled)) = result {
                        self.received(key, filled);
                        self.receive_goes(key, Ok(true), more);
                    } else {
                        self.receive_goes(key, result.map(|_| false), more);
                    }
                }
                Done::Sent { key, lent, result } => self.sent(key, lent, result),
                Done::Watched { key, more, .. } if self.watched.contains_key(&key) => {
                    if !self.pending.contains(&Event::Kicked(Key(key))) {
                        self.pending.push(Event::Kicked(Key(key)));
                    }
                    if let Some(eventfd) = self.watched.get(&key).filter(|_| !more) {
                        self.ring.watch_eventfd(key, eventfd.as_fd());
                    }
                }
                Done::Watched { key, result, more } => {
                    if let Some(door) = self.listeners.get_mut(&key) {
                        door.polled = false;
                        door.accept_more(&mut self.ring, key);
                    }
                    let Some(c) = self.connections.get_mut(&key) else { continue };
                    c.watched = more;
                    let gone = result.is_ok_and(|events| events & (POLLERR | POLLHUP) != 0);
                    if gone && !c.conn.reading && !c.leaving {
                        self.close(key);
                    }
                }
                Done::Accepted { key, result } => self.accepted(key, result),
                Done::Woken | Done::Other => {}
            }
        }
    }

    /// A buffer was filled with bytes of a connection.
    fn received(&mut self, key: usize, filled: Filled) {
        let received = match self.connections.get_mut(&key) {
            Some(c) if !c.conn.closed => {
                c.served = true;
                c.conn.received(self.ring.bytes(&filled))
            }
            _ => (false, Ok(())),
        };
        self.ring.give_back(filled);
        let (more, goes_on) = received;
        if more && self.pending.last() != Some(&Event::Received(Key(key))) {
            self.pending.push(Event::Received(Key(key)));
        }
        if let Err(error) = goes_on {
            return self.end(key, &error);
        }
        // Layers may answer, or take more to send now.
        self.send(key);
    }

    /// How a receive goes on; `Ok(false)` is the end of what the peer sends.
    fn receive_goes(&mut self, key: usize, result: io::Result<bool>, more: bool) {
        let Some(c) = self.connections.get_mut(&key) else { return };
        if !more {
            c.receiving = Receiving::Not;
        } else if c.receiving == Receiving::Ending && c.conn.unread().len() > 2 * UNREAD_LIMIT {
            // The cancel came when the kernel was at it.
            self.ring.cancel(Kind::Receive, key);
        }
        match result {
            Ok(true) => {}
            Err(e) if is_passing(&e) => {}
            Err(e) if e.raw_os_error() == Some(EINVAL) && c.multishot => self.ring.single_shot(),
            Ok(false) | Err(_) => return self.close(key),
        }
        self.adjust(key);
    }

    fn accepted(&mut self, key: usize, result: io::Result<OwnedFd>) {
        let Some(door) = self.listeners.get_mut(&key) else { return };
        door.accepting = door.accepting.saturating_sub(1);
        match result {
            Ok(fd) => door.accepted.push_back(fd),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if !std::mem::replace(&mut door.polled, true) {
                    self.ring.watch_listener(key, door.listener.as_fd());
                }
                return;
            }
            Err(error) => door.failed = Some(error),
        }
        let event = Event::Acceptable(Key(key));
        if !self.pending.contains(&event) {
            self.pending.push(event);
        }
    }

    fn sent(&mut self, key: usize, lent: Option<Lent>, result: io::Result<usize>) {
        let Some(c) = self.connections.get_mut(&key) else { return };
        c.sending = false;
        if let Some(lent) = lent {
            let taken = *result.as_ref().unwrap_or(&0);
            probes::socket_written(c.conn.stream.as_raw_fd(), taken);
            c.conn.sending().settle(lent, taken);
            c.conn.sent(taken);
        }
        match result {
            Ok(_) if c.conn.is_drained() => {
                if !c.conn.closed {
                    self.pending.push(Event::Drained(Key(key)));
                    c.conn.finish_if_drained();
                }
            }
            Ok(_) => self.send(key),
            Err(e) if is_passing(&e) => self.send(key),
            Err(_) => self.close(key),
        }
    }

    /// Cancels what is under way for a connection and waits for it, so that its last bytes are known.
    fn settle(&mut self, key: usize) -> io::Result<()> {
        let Some(c) = self.connections.get_mut(&key) else { return Ok(()) };
        c.leaving = true;
        if let Some(at) = self.again.iter().position(|k| *k == key) {
            self.again.remove(at);
            c.receiving = Receiving::Not;
        }
        if c.sending {
            // What was queued last gets its chance: an answer before a close, mostly.
            self.ring.enter(Some(Duration::ZERO))?;
            self.reap();
        }
        let Some(c) = self.connections.get_mut(&key) else { return Ok(()) };
        if c.last_word && !c.sending {
            let _ = c.conn.stream.send(&mut c.conn.outbox);
        }
        let running = [
            (c.receiving != Receiving::Not, Kind::Receive),
            (c.sending, Kind::Send),
            (c.watched, Kind::Watch),
        ];
        for (_, kind) in running.into_iter().filter(|(on, _)| *on) {
            self.ring.cancel(kind, key);
        }
        let deadline = Instant::now() + LEAVE_TIME;
        while self.connections.get(&key).is_some_and(Connection::is_busy) {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.ring.enter(Some(Duration::from_millis(20)))?;
            self.reap();
        }
        Ok(())
    }
}

/// Errors after which an operation is simply started again, if it is still wanted.
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::CANCELED, Errno::INTR, Errno::AGAIN, Errno::NOBUFS]
        .iter()
        .any(|e| Some(e.raw_os_error()) == error.raw_os_error())
}

impl Reactor for UringReactor {
    fn insert(&mut self, stream: Stream, unread: Vec<u8>) -> io::Result<Key> {
        let key = self.next_key();
        if !unread.is_empty() {
            self.pending.push(Event::Received(Key(key)));
        }
        let connection = Connection {
            conn: Conn::new(stream, unread),
            receiving: Receiving::Not,
            multishot: true,
            served: true,
            sending: false,
            watched: false,
            last_word: false,
            leaving: false,
        };
        self.connections.insert(key, connection);
        self.adjust(key);
        // A stream may bring what its layers have wrapped.
        self.send(key);
        Ok(Key(key))
    }

    fn remove(&mut self, key: Key) -> Option<(Stream, Vec<u8>)> {
        self.connections.get(&key.0)?;
        if let Err(error) = self.settle(key.0) {
            tracing::error!(%error, "operations of a connection did not end");
        }
        let of_key = [Event::Received(key), Event::Drained(key), Event::Closed(key)];
        self.pending.retain(|event| !of_key.contains(event));
        Some(self.connections.remove(&key.0)?.conn.into_parts())
    }

    fn add_layer(&mut self, key: Key, layer: Box<dyn Layer>) {
        let Some(c) = self.connections.get_mut(&key.0) else { return };
        match c.conn.add_layer(layer) {
            Ok(true) => self.pending.push(Event::Received(key)),
            Ok(false) => {}
            Err(error) => return self.end(key.0, &error),
        }
        self.adjust(key.0);
        self.send(key.0);
    }

    fn listen(&mut self, listener: Listener) -> io::Result<Key> {
        let key = self.next_key();
        let (accepting, accepted, failed, polled) = (0, VecDeque::new(), None, false);
        let mut door = Door { listener, accepting, accepted, failed, polled };
        door.accept_more(&mut self.ring, key);
        self.listeners.insert(key, door);
        Ok(Key(key))
    }

    fn watch(&mut self, eventfd: OwnedFd) -> io::Result<Key> {
        let key = self.next_key();
        self.ring.watch_eventfd(key, eventfd.as_fd());
        self.watched.insert(key, eventfd);
        Ok(Key(key))
    }

    fn unwatch(&mut self, key: Key) {
        let Some(eventfd) = self.watched.remove(&key.0) else { return };
        self.ring.cancel(Kind::Watch, key.0);
        // Handed over before the number of the descriptor can become another one's.
        if let Err(error) = self.ring.enter(Some(Duration::ZERO)) {
            tracing::error!(%error, "an eventfd is still watched");
        }
        drop(eventfd);
        self.pending.retain(|event| *event != Event::Kicked(key));
    }

    fn accept(&mut self, key: Key) -> io::Result<OwnedFd> {
        let would_block = || io::Error::from(io::ErrorKind::WouldBlock);
        let door = self.listeners.get_mut(&key.0).ok_or_else(would_block)?;
        let next = match (door.accepted.pop_front(), door.failed.take()) {
            (Some(fd), failed) => {
                door.failed = failed;
                Ok(fd)
            }
            // Tried again when the owner asks again.
            (None, Some(error)) => return Err(error),
            (None, None) => Err(would_block()),
        };
        door.accept_more(&mut self.ring, key.0);
        next
    }

    fn unread(&self, key: Key) -> &[u8] {
        self.connections.get(&key.0).map(|c| c.conn.unread()).unwrap_or_default()
    }

    fn consume(&mut self, key: Key, n: usize) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.consume(n);
        }
        self.adjust(key.0);
    }

    fn take_front(
        &mut self,
        key: Key,
        n: usize,
        spare: Vec<u8>,
    ) -> Result<(Vec<u8>, usize), Vec<u8>> {
        let Some(c) = self.connections.get_mut(&key.0) else { return Err(spare) };
        let taken = c.conn.take_front(n, spare);
        self.adjust(key.0);
        taken
    }

    fn expect(&mut self, key: Key, n: usize) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.expect(n);
        }
        self.adjust(key.0);
    }

    fn set_reading(&mut self, key: Key, on: bool) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.reading = on;
            if on && !c.conn.unread().is_empty() {
                self.pending.push(Event::Received(key));
            }
        }
        self.adjust(key.0);
    }

    fn outbox(&mut self, key: Key) -> Option<&mut Outbox> {
        self.connections.get_mut(&key.0).map(|c| &mut c.conn.outbox)
    }

    fn held_up(&self, key: Key) -> Option<Duration> {
        self.connections.get(&key.0)?.conn.held_up()
    }

    fn limit_backlog(&mut self, key: Key, bytes: usize) {
        if let Some(c) = self.connections.get(&key.0) {
            c.conn.limit_backlog(bytes);
        }
    }

    fn set_rate(&mut self, key: Key, bytes_per_second: Option<NonZeroU64>) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.set_rate(bytes_per_second);
        }
        self.send(key.0);
    }

    fn finish_sending(&mut self, key: Key) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.finish();
        }
        self.send(key.0);
    }

    fn flush(&mut self, key: Key) {
        self.send(key.0);
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = timeout.into_iter().chain(self.release()).min();
        self.receive_again();
        let now = !self.pending.is_empty()
            || timeout == Some(Duration::ZERO)
            || !self.waker.bell.lie_down();
        let entered = self.ring.enter(if now { Some(Duration::ZERO) } else { timeout });
        let called = self.waker.bell.get_up();
        self.reap();
        events.append(&mut self.pending);
        if called {
            events.push(Event::Woken);
        }
        entered
    }

    fn is_called(&self) -> bool {
        self.waker.bell.is_rung()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }
}

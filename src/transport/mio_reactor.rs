//! The readiness engine: mio (epoll) with non-blocking sockets.
//!
//! Edge-triggered: a socket is read or written only after the kernel has said that it can be, and until a call moves less
//! than it could have. So a small message costs one call each way.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::conn::Conn;
use super::layer::Layer;
use super::listener::Listener;
use super::outbox::Outbox;
use super::reactor::{Event, Key, Reactor, Wake};
use super::stream::Stream;
use super::wake::Bell;

/// Bytes read in one go, so that one busy peer does not starve its neighbours.
const READ_STEP: usize = 32 * 1024;
/// Bytes sent in one go, for the same reason.
const SEND_STEP: usize = 4 * 1024 * 1024;
/// A thread that has something to do anyway asks the kernel for more only this often. Far below what anybody feels,
/// and a thread that sends one batch after the other is spared every other call.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// Token of the waker; sockets count from 1.
const WAKER: Token = Token(0);

#[derive(Debug)]
struct Connection {
    conn: Conn,
    /// The kernel has bytes, or the end (true until a read says otherwise).
    readable: bool,
    /// The peer sends no more: what is read to the last byte is followed by the end, of which no event tells any more.
    ended: bool,
    /// The kernel may take bytes.
    writable: bool,
    /// Stands in the ready list.
    queued: bool,
}

impl Connection {
    fn wants_read(&self) -> bool {
        self.readable && self.conn.takes_more()
    }

    fn wants_write(&self) -> bool {
        self.writable && self.conn.has_to_send()
    }
}

/// A reactor over mio. Owned by one thread.
#[derive(Debug)]
pub struct MioReactor {
    poll: Poll,
    polled: Events,
    waker: Arc<MioWaker>,
    connections: BTreeMap<usize, Connection>,
    listeners: BTreeMap<usize, Listener>,
    /// Eventfds of others.
    watched: BTreeMap<usize, OwnedFd>,
    /// Connections that can make progress without another event from the kernel.
    ready: VecDeque<usize>,
    /// Connections with a bounded rate whose time has not come, and some that need no time any more.
    held: Vec<usize>,
    /// Found outside `wait`, delivered by the next one.
    pending: Vec<Event>,
    scratch: Vec<u8>,
    next: usize,
    /// When the kernel was asked for the last time.
    looked: Instant,
}

#[derive(Debug)]
struct MioWaker(Waker, Bell);

impl Wake for MioWaker {
    fn wake(&self) {
        if self.1.ring()
            && let Err(error) = self.0.wake()
        {
            tracing::error!(%error, "a thread could not be woken");
        }
    }
}

impl MioReactor {
    /// A reactor without sockets.
    ///
    /// # Errors
    /// If the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(MioWaker(Waker::new(poll.registry(), WAKER)?, Bell::default()));
        Ok(Self {
            poll,
            polled: Events::with_capacity(256),
            waker,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            watched: BTreeMap::new(),
            ready: VecDeque::new(),
            held: Vec::new(),
            pending: Vec::new(),
            scratch: vec![0; READ_STEP],
            next: 1,
            looked: Instant::now(),
        })
    }

    fn next_key(&mut self) -> usize {
        let key = self.next;
        self.next += 1;
        key
    }

    fn enqueue(&mut self, key: usize) {
        if let Some(c) = self.connections.get_mut(&key)
            && !c.queued
            && (c.wants_read() || c.wants_write())
        {
            c.queued = true;
            self.ready.push_back(key);
        }
    }

    /// One step of reading and one of writing.
    fn progress(&mut self, key: usize, events: &mut Vec<Event>) {
        let Some(c) = self.connections.get_mut(&key) else { return };
        c.queued = false;
        if c.wants_read() {
            match c.conn.recv(&mut self.scratch) {
                Ok((0, ..)) => c.conn.closed = true,
                Ok((_, full, more, goes_on)) => {
                    // A stream socket gives less than was asked for only when it has no more; what comes later makes
                    // a new event.
                    c.readable = full || c.ended;
                    if more {
                        events.push(Event::Received(Key(key)));
                    }
                    if let Err(error) = goes_on {
                        c.conn.end(&error, false);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => c.readable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => c.conn.closed = true,
            }
            if c.conn.closed {
                events.push(Event::Closed(Key(key)));
            }
        }
        Self::send(c, key, events, &mut self.held);
        self.enqueue(key);
    }

    fn send(c: &mut Connection, key: usize, events: &mut Vec<Event>, held: &mut Vec<usize>) {
        let mut budget = SEND_STEP;
        let had = c.wants_write();
        while c.wants_write() && budget > 0 {
            let most = c.conn.allowance();
            if most == 0 {
                held.push(key);
                break;
            }
            match c.conn.stream.send_at_most(&mut c.conn.outbox, most) {
                Ok((0, _)) => c.conn.stuck = true,
                Ok((n, all)) => {
                    c.conn.sent(n);
                    budget = budget.saturating_sub(n);
                    // A socket that takes a part is full; room makes an event.
                    c.writable = all;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => c.writable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    c.conn.closed = true;
                    events.push(Event::Closed(Key(key)));
                }
            }
        }
        if c.conn.is_drained() && !c.conn.closed {
            if had {
                events.push(Event::Drained(Key(key)));
            }
            c.conn.finish_if_drained();
        }
    }
}

impl Reactor for MioReactor {
    fn insert(&mut self, stream: Stream, unread: Vec<u8>) -> io::Result<Key> {
        let key = self.next_key();
        // What is there already makes an event, too.
        self.poll.registry().register(
            &mut SourceFd(&stream.as_raw_fd()),
            Token(key),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        if !unread.is_empty() {
            self.pending.push(Event::Received(Key(key)));
        }
        let conn = Conn::new(stream, unread);
        let connection = Connection {
            conn,
            readable: false,
            ended: false,
            // Sending fails at worst; most often the first word goes out before anybody has waited.
            writable: true,
            queued: false,
        };
        self.connections.insert(key, connection);
        self.enqueue(key);
        Ok(Key(key))
    }

    fn remove(&mut self, key: Key) -> Option<(Stream, Vec<u8>)> {
        let c = self.connections.remove(&key.0)?;
        // The descriptor leaves the poll set when it is closed, too; an error changes nothing.
        let _ = self.poll.registry().deregister(&mut SourceFd(&c.conn.stream.as_raw_fd()));
        Some(c.conn.into_parts())
    }

    fn add_layer(&mut self, key: Key, layer: Box<dyn Layer>) {
        let Some(c) = self.connections.get_mut(&key.0) else { return };
        match c.conn.add_layer(layer) {
            Ok(true) => self.pending.push(Event::Received(key)),
            Ok(false) => {}
            Err(error) => {
                c.conn.end(&error, false);
                self.pending.push(Event::Closed(key));
            }
        }
        self.enqueue(key.0);
    }

    fn listen(&mut self, listener: Listener) -> io::Result<Key> {
        let key = self.next_key();
        self.poll.registry().register(
            &mut SourceFd(&listener.as_raw_fd()),
            Token(key),
            Interest::READABLE,
        )?;
        self.listeners.insert(key, listener);
        Ok(Key(key))
    }

    fn watch(&mut self, eventfd: OwnedFd) -> io::Result<Key> {
        let key = self.next_key();
        // Edge-triggered: each write makes an event, though nobody reads.
        let mut source = SourceFd(&eventfd.as_raw_fd());
        self.poll.registry().register(&mut source, Token(key), Interest::READABLE)?;
        self.watched.insert(key, eventfd);
        Ok(Key(key))
    }

    fn unwatch(&mut self, key: Key) {
        if let Some(eventfd) = self.watched.remove(&key.0) {
            // An error changes nothing: the descriptor is closed.
            let _ = self.poll.registry().deregister(&mut SourceFd(&eventfd.as_raw_fd()));
        }
    }

    fn accept(&mut self, key: Key) -> io::Result<OwnedFd> {
        match self.listeners.get(&key.0) {
            Some(listener) => listener.accept(),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn unread(&self, key: Key) -> &[u8] {
        self.connections.get(&key.0).map(|c| c.conn.unread()).unwrap_or_default()
    }

    fn consume(&mut self, key: Key, n: usize) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.consume(n);
        }
        self.enqueue(key.0);
    }

    fn take_front(
        &mut self,
        key: Key,
        n: usize,
        spare: Vec<u8>,
    ) -> Result<(Vec<u8>, usize), Vec<u8>> {
        let Some(c) = self.connections.get_mut(&key.0) else { return Err(spare) };
        let taken = c.conn.take_front(n, spare);
        self.enqueue(key.0);
        taken
    }

    fn expect(&mut self, key: Key, n: usize) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.expect(n);
        }
        self.enqueue(key.0);
    }

    fn set_reading(&mut self, key: Key, on: bool) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.reading = on;
            if on && !c.conn.unread().is_empty() {
                self.pending.push(Event::Received(key));
            }
        }
        self.enqueue(key.0);
    }

    fn outbox(&mut self, key: Key) -> Option<&mut Outbox> {
        self.connections.get_mut(&key.0).map(|c| &mut c.conn.outbox)
    }

    fn flush(&mut self, key: Key) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            Self::send(c, key.0, &mut self.pending, &mut self.held);
        }
        self.enqueue(key.0);
    }

    fn set_rate(&mut self, key: Key, bytes_per_second: Option<NonZeroU64>) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.set_rate(bytes_per_second);
        }
        self.enqueue(key.0);
    }

    fn held_up(&self, key: Key) -> Option<Duration> {
        self.connections.get(&key.0)?.conn.held_up()
    }

    fn limit_backlog(&mut self, key: Key, bytes: usize) {
        if let Some(c) = self.connections.get(&key.0) {
            c.conn.limit_backlog(bytes);
        }
    }

    fn finish_sending(&mut self, key: Key) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.conn.finish();
            Self::send(c, key.0, &mut self.pending, &mut self.held);
        }
        self.enqueue(key.0);
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        events.append(&mut self.pending);
        self.release();
        // One round over those that were ready at the start: who stays ready waits its turn.
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.progress(key, events);
            }
        }
        let mut now = !events.is_empty() || !self.ready.is_empty();
        if now && self.looked.elapsed() < LOOK_EVERY {
            self.hear(events);
            return Ok(());
        }
        now |= timeout == Some(Duration::ZERO);
        now = now || !self.waker.1.lie_down();
        // Some may have been held in this very call.
        let timeout = timeout.into_iter().chain(self.next_release()).min();
        let polled =
            self.poll.poll(&mut self.polled, if now { Some(Duration::ZERO) } else { timeout });
        self.looked = Instant::now();
        self.hear(events);
        match polled {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        let mut touched = Vec::new();
        for event in &self.polled {
            let key = event.token().0;
            if self.listeners.contains_key(&key) {
                events.push(Event::Acceptable(Key(key)));
            } else if self.watched.contains_key(&key) {
                events.push(Event::Kicked(Key(key)));
            } else if let Some(c) = self.connections.get_mut(&key) {
                let gone = event.is_error() || (event.is_read_closed() && event.is_write_closed());
                c.ended |= event.is_read_closed() || event.is_error();
                c.readable |= event.is_readable() || c.ended;
                c.writable |= event.is_writable();
                if gone && !c.conn.reading && !c.conn.closed {
                    // Nobody reads, so nobody would notice the end.
                    c.conn.closed = true;
                    events.push(Event::Closed(Key(key)));
                }
                touched.push(key);
            }
        }
        for key in touched {
            self.progress(key, events);
        }
        Ok(())
    }

    fn is_called(&self) -> bool {
        self.waker.1.is_rung()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }
}

impl MioReactor {
    /// Lets connections go on whose time has come.
    fn release(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let now = Instant::now();
        for key in std::mem::take(&mut self.held) {
            let Some(c) = self.connections.get_mut(&key) else { continue };
            if c.conn.release(now) {
                self.enqueue(key);
            } else if !self.held.contains(&key) {
                self.held.push(key);
            }
        }
    }

    /// How long the next one of those that are held has to wait.
    fn next_release(&self) -> Option<Duration> {
        let held = self.held.iter().filter_map(|key| self.connections.get(key)?.conn.held());
        held.min().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Tells of a call by another thread, if there was one.
    fn hear(&mut self, events: &mut Vec<Event>) {
        if self.waker.1.get_up() {
            events.push(Event::Woken);
        }
    }
}

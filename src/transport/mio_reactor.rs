//! The readiness engine: mio (epoll) with non-blocking sockets.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::layer::{Flow, Layer};
use super::listener::Listener;
use super::outbox::Outbox;
use super::reactor::{Event, Key, Reactor, Wake};
use super::stream::Stream;

/// Unread bytes at which a socket is not read any further until some are consumed.
///
/// Larger than any message a channel accepts in one piece (1 MiB is taken in parts by then).
const UNREAD_LIMIT: usize = 128 * 1024;
/// Bytes read in one go, so that one busy peer does not starve its neighbours.
const READ_STEP: usize = 32 * 1024;
/// Bytes sent in one go, for the same reason.
const SEND_STEP: usize = 4 * 1024 * 1024;
/// Token of the waker; sockets count from 1.
const WAKER: Token = Token(0);

#[derive(Debug)]
struct Connection {
    stream: Stream,
    /// What arrived; consumed up to `start`, so that many small messages cost no moving.
    unread: Vec<u8>,
    start: usize,
    outbox: Outbox,
    /// The kernel may have bytes (edge-triggered: true until a read says otherwise).
    readable: bool,
    /// The kernel may take bytes.
    writable: bool,
    reading: bool,
    closed: bool,
    /// Layers take nothing to send until the peer has said more.
    stuck: bool,
    /// The sending side is closed when everything is out.
    finishing: bool,
    /// Stands in the ready list.
    queued: bool,
}

impl Connection {
    fn unread(&self) -> &[u8] {
        self.unread.get(self.start..).unwrap_or_default()
    }

    fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.unread.len());
        if self.start == self.unread.len() {
            self.unread.clear();
            self.start = 0;
        }
    }

    /// Appends what was read, in the place of what was consumed.
    fn append(&mut self, bytes: &[u8]) {
        self.unread.drain(..self.start);
        self.start = 0;
        self.unread.extend_from_slice(bytes);
    }

    fn wants_read(&self) -> bool {
        self.readable && self.reading && !self.closed && self.unread().len() < UNREAD_LIMIT
    }

    fn wants_write(&self) -> bool {
        let waits = (!self.outbox.is_empty() && !self.stuck) || !self.stream.layers().is_drained();
        self.writable && !self.closed && waits
    }

    /// Takes what the socket brought. True if there is more to read for those above.
    fn received(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if self.stream.layers().is_empty() {
            self.append(bytes);
            return Ok(true);
        }
        self.unread.drain(..self.start);
        self.start = 0;
        self.stuck = false;
        let before = self.unread.len();
        let opened = self.stream.layers_mut().open(bytes, &mut self.unread);
        check(opened)?;
        Ok(self.unread.len() > before)
    }
}

/// A peer that ended in a layer's own way has ended.
fn check(opened: io::Result<Flow>) -> io::Result<()> {
    if opened? == Flow::Ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// A reactor over mio. Owned by one thread.
#[derive(Debug)]
pub struct MioReactor {
    poll: Poll,
    polled: Events,
    waker: Arc<MioWaker>,
    connections: BTreeMap<usize, Connection>,
    listeners: BTreeMap<usize, Listener>,
    /// Connections that can make progress without another event from the kernel.
    ready: VecDeque<usize>,
    /// Found outside `wait`, delivered by the next one.
    pending: Vec<Event>,
    scratch: Vec<u8>,
    next: usize,
}

#[derive(Debug)]
struct MioWaker(Waker);

impl Wake for MioWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
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
        let waker = Arc::new(MioWaker(Waker::new(poll.registry(), WAKER)?));
        Ok(Self {
            poll,
            polled: Events::with_capacity(256),
            waker,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ready: VecDeque::new(),
            pending: Vec::new(),
            scratch: vec![0; READ_STEP],
            next: 1,
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
            match c.stream.recv(&mut self.scratch) {
                Ok(0) => c.closed = true,
                Ok(n) => match c.received(self.scratch.get(..n).unwrap_or_default()) {
                    Ok(true) => events.push(Event::Received(Key(key))),
                    Ok(false) => {}
                    Err(error) => Self::end(c, &error),
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => c.readable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => c.closed = true,
            }
            if c.closed {
                events.push(Event::Closed(Key(key)));
            }
        }
        Self::send(c, key, events);
        self.enqueue(key);
    }

    /// A layer ends the connection; its last word is sent if the socket takes it at once.
    fn end(c: &mut Connection, why: &io::Error) {
        tracing::debug!(%why, "a layer of a connection ended");
        c.outbox = Outbox::default();
        let _ = c.stream.send(&mut c.outbox);
        c.closed = true;
    }

    fn send(c: &mut Connection, key: usize, events: &mut Vec<Event>) {
        let mut budget = SEND_STEP;
        let had = c.wants_write();
        while c.wants_write() && budget > 0 {
            match c.stream.send(&mut c.outbox) {
                Ok(0) => c.stuck = true,
                Ok(n) => budget = budget.saturating_sub(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => c.writable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    c.closed = true;
                    events.push(Event::Closed(Key(key)));
                }
            }
        }
        let empty = c.outbox.is_empty() && c.stream.layers().is_drained();
        if empty && !c.closed {
            if had {
                events.push(Event::Drained(Key(key)));
            }
            if std::mem::take(&mut c.finishing) {
                c.stream.finish_sending();
            }
        }
    }
}

impl Reactor for MioReactor {
    fn insert(&mut self, stream: Stream, unread: Vec<u8>) -> io::Result<Key> {
        let key = self.next_key();
        self.poll.registry().register(
            &mut SourceFd(&stream.as_raw_fd()),
            Token(key),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        if !unread.is_empty() {
            self.pending.push(Event::Received(Key(key)));
        }
        let connection = Connection {
            stream,
            unread,
            start: 0,
            outbox: Outbox::default(),
            // A fresh socket is tried at once: most peers have sent something already.
            readable: true,
            writable: true,
            reading: true,
            closed: false,
            stuck: false,
            finishing: false,
            queued: false,
        };
        self.connections.insert(key, connection);
        self.enqueue(key);
        Ok(Key(key))
    }

    fn remove(&mut self, key: Key) -> Option<(Stream, Vec<u8>)> {
        let mut c = self.connections.remove(&key.0)?;
        // The descriptor leaves the poll set when it is closed, too; an error changes nothing.
        let _ = self.poll.registry().deregister(&mut SourceFd(&c.stream.as_raw_fd()));
        let unread = c.unread.split_off(c.start);
        Some((c.stream, unread))
    }

    fn add_layer(&mut self, key: Key, layer: Box<dyn Layer>) {
        let Some(c) = self.connections.get_mut(&key.0) else { return };
        c.unread.drain(..c.start);
        (c.start, c.stuck) = (0, false);
        let opened = c.stream.layers_mut().push(layer, &mut c.outbox, &mut c.unread);
        match check(opened) {
            Ok(()) if !c.unread.is_empty() => self.pending.push(Event::Received(key)),
            Ok(()) => {}
            Err(error) => {
                Self::end(c, &error);
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
        self.pending.push(Event::Acceptable(Key(key)));
        Ok(Key(key))
    }

    fn accept(&mut self, key: Key) -> io::Result<OwnedFd> {
        match self.listeners.get(&key.0) {
            Some(listener) => listener.accept(),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn unread(&self, key: Key) -> &[u8] {
        self.connections.get(&key.0).map(Connection::unread).unwrap_or_default()
    }

    fn consume(&mut self, key: Key, n: usize) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.consume(n);
        }
        self.enqueue(key.0);
    }

    fn set_reading(&mut self, key: Key, on: bool) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.reading = on;
            if on && !c.unread().is_empty() {
                self.pending.push(Event::Received(key));
            }
        }
        self.enqueue(key.0);
    }

    fn outbox(&mut self, key: Key) -> Option<&mut Outbox> {
        self.connections.get_mut(&key.0).map(|c| &mut c.outbox)
    }

    fn flush(&mut self, key: Key) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            Self::send(c, key.0, &mut self.pending);
        }
        self.enqueue(key.0);
    }

    fn held_up(&self, key: Key) -> Option<Duration> {
        self.connections.get(&key.0)?.stream.held_up()
    }

    fn finish_sending(&mut self, key: Key) {
        if let Some(c) = self.connections.get_mut(&key.0) {
            c.stream.layers_mut().finish(&mut c.outbox);
            c.finishing = true;
            Self::send(c, key.0, &mut self.pending);
        }
        self.enqueue(key.0);
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        events.append(&mut self.pending);
        // One round over those that were ready at the start: who stays ready waits its turn.
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.progress(key, events);
            }
        }
        let now = !events.is_empty() || !self.ready.is_empty();
        let timeout = if now { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut self.polled, timeout) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        let mut touched = Vec::new();
        for event in &self.polled {
            let key = event.token().0;
            if event.token() == WAKER {
                events.push(Event::Woken);
            } else if self.listeners.contains_key(&key) {
                events.push(Event::Acceptable(Key(key)));
            } else if let Some(c) = self.connections.get_mut(&key) {
                let gone = event.is_error() || (event.is_read_closed() && event.is_write_closed());
                c.readable |= event.is_readable() || event.is_read_closed();
                c.writable |= event.is_writable();
                if gone && !c.reading && !c.closed {
                    // Nobody reads, so nobody would notice the end.
                    c.closed = true;
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

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::tests::Masked;
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    fn pair(reactor: &mut MioReactor) -> (Key, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = Stream::adopt(OwnedFd::from(ours)).unwrap();
        (reactor.insert(stream, Vec::new()).unwrap(), theirs)
    }

    fn wait_for(reactor: &mut MioReactor, wanted: Event) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut events = Vec::new();
        while !events.contains(&wanted) {
            assert!(Instant::now() < deadline, "no {wanted:?} in ten seconds, only {events:?}");
            reactor.wait(Some(Duration::from_millis(100)), &mut events).unwrap();
        }
    }

    #[test]
    fn bytes_go_both_ways_and_the_end_is_told() {
        let mut reactor = MioReactor::new().unwrap();
        let (key, mut peer) = pair(&mut reactor);
        peer.write_all(b"hello").unwrap();
        wait_for(&mut reactor, Event::Received(key));
        assert_eq!(reactor.unread(key), b"hello");
        reactor.consume(key, 2);
        assert_eq!(reactor.unread(key), b"llo");
        reactor.outbox(key).unwrap().push(b"answer");
        reactor.flush(key);
        wait_for(&mut reactor, Event::Drained(key));
        let mut got = [0; 6];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"answer");
        drop(peer);
        wait_for(&mut reactor, Event::Closed(key));
    }

    #[test]
    fn layers_stand_between_the_socket_and_the_bytes() {
        let mut reactor = MioReactor::new().unwrap();
        let (key, mut peer) = pair(&mut reactor);
        reactor.outbox(key).unwrap().push(b"plain,");
        reactor.add_layer(key, Box::new(Masked::new(1)));
        // It waits for the layer's handshake, without keeping the thread busy.
        reactor.outbox(key).unwrap().push(b"masked");
        reactor.flush(key);
        let mut events = Vec::new();
        reactor.wait(Some(Duration::from_millis(20)), &mut events).unwrap();
        reactor.wait(Some(Duration::from_millis(20)), &mut events).unwrap();
        assert!(reactor.ready.is_empty());
        peer.write_all(&[1, b'i' ^ 1, b'n' ^ 1]).unwrap();
        wait_for(&mut reactor, Event::Drained(key));
        assert_eq!(reactor.unread(key), b"in");
        let masked: Vec<u8> = b"masked".iter().map(|b| b ^ 1).collect();
        let mut got = [0; 13];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got.to_vec(), [b"plain,\x01", &masked[..]].concat());
        // The layers travel with the stream; so does what they have wrapped already.
        let (mut stream, unread) = reactor.remove(key).unwrap();
        stream.layers_mut().wire().unwrap().push(b"left");
        let mut other = MioReactor::new().unwrap();
        let key = other.insert(stream, unread).unwrap();
        wait_for(&mut other, Event::Received(key));
        assert_eq!(other.unread(key), b"in");
        other.finish_sending(key);
        wait_for(&mut other, Event::Drained(key));
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"left\x01", "the layer's last word is followed by the end");
    }

    #[test]
    fn a_layer_that_fails_ends_the_connection_with_its_last_word() {
        let mut reactor = MioReactor::new().unwrap();
        let (key, mut peer) = pair(&mut reactor);
        reactor.add_layer(key, Box::new(Masked::new(1)));
        peer.write_all(b"garbage").unwrap();
        wait_for(&mut reactor, Event::Closed(key));
        reactor.remove(key);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"no");
    }

    #[test]
    fn a_peer_that_sends_without_end_is_read_up_to_the_limit() {
        let mut reactor = MioReactor::new().unwrap();
        let (key, mut peer) = pair(&mut reactor);
        peer.set_nonblocking(true).unwrap();
        let block = vec![1u8; 64 * 1024];
        let mut events = Vec::new();
        for _ in 0..100 {
            let _ = peer.write(&block);
            reactor.wait(Some(Duration::ZERO), &mut events).unwrap();
        }
        let held = reactor.unread(key).len();
        assert!((UNREAD_LIMIT..UNREAD_LIMIT + READ_STEP).contains(&held), "held {held} bytes");
        reactor.consume(key, held);
        wait_for(&mut reactor, Event::Received(key));
    }

    #[test]
    fn a_paused_socket_is_not_read_and_its_end_is_told_all_the_same() {
        let mut reactor = MioReactor::new().unwrap();
        let (key, mut peer) = pair(&mut reactor);
        reactor.set_reading(key, false);
        peer.write_all(b"x").unwrap();
        let mut events = Vec::new();
        reactor.wait(Some(Duration::from_millis(20)), &mut events).unwrap();
        assert!(reactor.unread(key).is_empty());
        drop(peer);
        wait_for(&mut reactor, Event::Closed(key));
    }

    #[test]
    fn a_waker_ends_an_endless_wait() {
        let mut reactor = MioReactor::new().unwrap();
        let waker = reactor.waker();
        let other = std::thread::spawn(move || waker.wake());
        wait_for(&mut reactor, Event::Woken);
        other.join().unwrap();
    }

    #[test]
    fn more_than_the_socket_holds_arrives_complete() {
        let mut reactor = MioReactor::new().unwrap();
        let (key, mut peer) = pair(&mut reactor);
        let all: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        reactor.outbox(key).unwrap().push(&all);
        reactor.flush(key);
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; 3_000_000];
            peer.read_exact(&mut got).unwrap();
            (got, peer)
        });
        wait_for(&mut reactor, Event::Drained(key));
        assert_eq!(reader.join().unwrap().0, all);
    }
}

//! The clients of one channel, with their sockets. Owned by the channel's thread.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::display::encode::wan::LinkSpeed;
use crate::observe::probes;
use crate::observe::stats::{ChannelStats, ClientStats};
use crate::protocol::caps::Caps;
use crate::protocol::common;
use crate::protocol::header::encode_header;
use crate::protocol::message::Message;
use crate::transport::connection::Connection;
use crate::transport::outbox::Outbox;
use crate::transport::reactor::{Key, Reactor};

use super::ack::AckWindow;
use super::handover::Passage;
use super::{Attach, ClientId, qos};

/// Bytes in the outbox above which a client has no room for more.
///
/// One message may exceed it: a message is queued whole.
pub const OUTBOX_MARK: usize = 256 * 1024;

/// One connected client.
#[derive(Debug)]
pub struct Client {
    /// Who it is.
    pub connection: Arc<Connection>,
    /// Whose session.
    pub client: ClientId,
    /// How fast its link is, as the main channel has measured it.
    pub speed: Arc<LinkSpeed>,
    /// Channel capabilities that it announced.
    pub caps: Caps,
    /// Descriptors can be sent along with messages to it.
    pub takes_descriptors: bool,
    /// It came from another server (see [`Attach::arriving`]). Stays true.
    pub arriving: bool,
    /// It brings what another server's channel knew (see [`Attach::inherits`]). Stays true.
    pub inherits: bool,
    /// Its client came from another server (see [`Attach::moved`]). Stays true.
    pub moved: bool,
    pub(super) mini_header: bool,
    /// Serial of the last message sent; the first one has 1.
    serial: u64,
    /// The last serial of the server that it comes from: the numbers on the wire go on.
    pub(super) before: u64,
    pub(super) passage: Passage,
    pub(super) acks: Option<AckWindow>,
    /// When the last bytes came.
    pub(super) heard: Instant,
    header: Vec<u8>,
    /// What others may know of it.
    pub(super) stats: Arc<ClientStats>,
    /// Bytes in its outbox above which it has no room.
    room: usize,
    /// Bytes that were ever queued.
    queued: u64,
    /// The next message answers a wakeup of this time.
    answers: Option<Instant>,
    /// A message that answers one, by its end among all bytes.
    answer: Option<(Instant, u64)>,
    /// Channel and id, for probes.
    place: (u8, u8),
}

impl Client {
    fn has_room(&self, outbox: &Outbox) -> bool {
        !self.passage.is_silent()
            && self.acks.as_ref().is_none_or(AckWindow::is_open)
            && outbox.len() < self.room
    }

    /// Puts header and message into the outbox; the error is the end of the connection.
    pub(super) fn queue(&mut self, outbox: &mut Outbox, message: Message) -> Result<(), Close> {
        if self.passage.is_silent() {
            return Ok(());
        }
        let before = outbox.len();
        let size = u32::try_from(message.len())
            .map_err(|_| Close::Ours("a message of 4 GiB cannot be sent"))?;
        self.serial += 1;
        self.header.clear();
        let serial = self.before + self.serial;
        encode_header(self.mini_header, serial, message.kind, size, &mut self.header);
        outbox.push(&self.header);
        outbox.push(&message.body);
        for bulk in message.bulk {
            outbox.push_bulk(bulk);
        }
        if let Some(descriptors) = message.descriptors {
            if !self.takes_descriptors {
                return Err(Close::Ours("internal error: descriptors for a remote client"));
            }
            outbox.push_descriptors(descriptors);
        }
        let bytes = outbox.len().saturating_sub(before);
        if let Some(acks) = &mut self.acks {
            acks.sent(bytes as u64);
        }
        let (channel, id) = self.place;
        probes::message_queued(channel, id, self.client, message.kind, bytes);
        self.stats.traffic.messages_out.add(1);
        self.queued += bytes as u64;
        if let Some(since) = self.answers.take() {
            self.answer.get_or_insert((since, self.queued));
        }
        Ok(())
    }

    /// Takes note of how much waits; false if nothing does.
    fn note(&mut self, waiting: usize, channel: &ChannelStats) -> bool {
        let gone = self.queued.saturating_sub(waiting as u64);
        self.stats.traffic.bytes_out.set(gone);
        self.stats.queued_bytes.set(waiting as u64);
        if let Some((since, end)) = self.answer
            && gone >= end
        {
            self.answer = None;
            let took = since.elapsed();
            channel.wakeup_to_socket.record(took);
            let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            probes::wakeup_to_socket(self.place.1, self.client, ns);
        }
        waiting > 0
    }

    /// Tells the statistics what waits for it elsewhere, and how much will never be sent, in all.
    pub fn waits(&self, items: usize, dropped: u64) {
        self.stats.queued_items.set(items as u64);
        self.stats.traffic.drops.set(dropped);
    }

    /// Serial of the last message sent, counted from 1.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.serial
    }

    /// Serial of the last message that the client has handled for certain, as its ACKs say.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.acks.as_ref().map_or(0, AckWindow::handled).min(self.serial)
    }
}

/// A client that is being fed, see [`Clients::feed`].
pub struct Feed<'a> {
    client: &'a mut Client,
    outbox: &'a mut Outbox,
    end: Option<Close>,
    queued: bool,
}

impl Feed<'_> {
    /// Queues a message, also beyond the client's room, and returns its serial.
    pub fn send(&mut self, message: Message) -> u64 {
        self.queued = true;
        match self.client.queue(self.outbox, message) {
            Ok(()) => {}
            Err(why) => self.end = Some(why),
        }
        self.client.serial
    }

    /// Ends the connection when the step is over.
    pub fn close(&mut self, why: Close) {
        self.end = Some(why);
    }

    /// As [`Client::sent`].
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.client.sent()
    }

    /// As [`Client::handled`].
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.client.handled()
    }
}

/// Why a channel ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Close {
    /// The peer closed, or the socket failed.
    Gone,
    /// The peer broke the protocol; the text says how.
    Violation(String),
    /// We end it: session over, interface removed, replaced.
    Ours(&'static str),
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("connection closed"),
            Self::Violation(what) => f.write_str(what),
            Self::Ours(why) => f.write_str(why),
        }
    }
}

/// All clients of one channel.
pub struct Clients {
    pub(super) reactor: Box<dyn Reactor>,
    pub(super) list: BTreeMap<Key, Client>,
    /// Have bytes queued since the last flush.
    touched: Vec<Key>,
    /// To be closed at the end of the current step.
    pub(super) closing: Vec<(Key, Close)>,
    /// The window of each client that comes, if the channel uses acks.
    acks: Option<AckWindow>,
    /// Something waits in their outboxes.
    unsent: Vec<Key>,
    /// Bytes a second that each client is sent at most.
    rate: Option<NonZeroU64>,
    /// Channel type and id.
    place: (u8, u8),
    stats: Arc<ChannelStats>,
}

impl Clients {
    /// Tells this thread, by `Channel::kicked`, of each write to an eventfd.
    ///
    /// # Errors
    /// If the system cannot watch one more descriptor.
    pub fn watch(&mut self, eventfd: OwnedFd) -> io::Result<Key> {
        self.reactor.watch(eventfd)
    }

    /// Ends that and closes the descriptor.
    pub fn unwatch(&mut self, key: Key) {
        self.reactor.unwatch(key);
    }

    /// True if another thread has something for this one, which therefore is not to wait any longer.
    #[must_use]
    pub fn is_called(&self) -> bool {
        self.reactor.is_called()
    }

    pub(super) fn new(
        reactor: Box<dyn Reactor>,
        acks: Option<AckWindow>,
        place: (u8, u8),
        stats: Arc<ChannelStats>,
    ) -> Self {
        let (list, touched, closing, unsent) =
            (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        Self { reactor, list, touched, closing, acks, unsent, rate: None, place, stats }
    }

    /// The channel's counters.
    #[must_use]
    pub fn stats(&self) -> &Arc<ChannelStats> {
        &self.stats
    }

    /// Bytes a second that each client is sent at most (`cayenne_set_channel_qos`); `None`: as many as it takes.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<NonZeroU64> {
        self.rate
    }

    /// Changes that, also for those who are here.
    pub(super) fn set_rate(&mut self, rate: Option<NonZeroU64>) {
        self.rate = rate;
        self.stats.bytes_per_second.set(rate.map_or(0, NonZeroU64::get));
        for (key, client) in &mut self.list {
            client.room = qos::mark(rate);
            self.reactor.set_rate(*key, rate);
        }
    }

    /// The next message for a client answers a wakeup of the host at this time.
    pub fn answers(&mut self, key: Key, since: Instant) {
        if let Some(client) = self.list.get_mut(&key) {
            client.answers.get_or_insert(since);
        }
    }

    /// Nothing is to be said to it that answers a wakeup.
    pub fn answers_nothing(&mut self, key: Key) {
        if let Some(client) = self.list.get_mut(&key) {
            client.answers = None;
        }
    }

    /// Takes in a connection: link result, then SET_ACK where the channel uses acks.
    pub(super) fn attach(&mut self, attach: Attach) -> std::io::Result<Key> {
        let takes_descriptors = attach.stream.passes_descriptors();
        let key = self.reactor.insert(attach.stream, attach.unread)?;
        if self.rate.is_some() {
            self.reactor.set_rate(key, self.rate);
        }
        let stats = self.stats.come(ClientStats {
            client: attach.client,
            peer: attach.connection.peer_name(),
            tls: attach.connection.tls,
            ..ClientStats::default()
        });
        if let Some(outbox) = self.reactor.outbox(key) {
            outbox.push(&attach.first);
        }
        let client = Client {
            connection: attach.connection,
            client: attach.client,
            speed: attach.speed,
            caps: attach.caps,
            takes_descriptors,
            arriving: attach.arriving,
            inherits: attach.inherits,
            moved: attach.moved,
            mini_header: attach.mini_header,
            serial: 0,
            before: 0,
            passage: Passage::default(),
            acks: None,
            heard: Instant::now(),
            header: Vec::new(),
            stats,
            room: qos::mark(self.rate),
            queued: attach.first.len() as u64,
            answers: None,
            answer: None,
            place: self.place,
        };
        let slow = client.speed.is_slow();
        self.list.insert(key, client);
        self.touched.push(key);
        if let Some(acks) = self.acks.clone() {
            let acks = if slow { acks.for_slow_link() } else { acks };
            let (generation, window) = acks.announcement();
            self.send(key, common::set_ack(generation, window));
            // The counter starts after SET_ACK (spec 02 §12).
            if let Some(c) = self.list.get_mut(&key) {
                c.acks = Some(acks);
            }
        }
        Ok(key)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Client> {
        self.reactor.remove(key);
        let client = self.list.remove(&key)?;
        self.stats.go(&client.stats);
        Some(client)
    }

    /// Keys of all clients.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.list.keys().copied().collect()
    }

    /// True if nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A client.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Client> {
        self.list.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Client> {
        self.list.get_mut(&key)
    }

    /// All clients.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Client)> {
        self.list.iter().map(|(k, c)| (*k, c))
    }

    /// True if another message may be queued: little waits and the ack window is open.
    #[must_use]
    pub fn has_room(&mut self, key: Key) -> bool {
        let Some(client) = self.list.get(&key) else { return false };
        self.reactor.outbox(key).is_some_and(|outbox| client.has_room(outbox))
    }

    /// Bytes that were queued for a client and that the kernel has not taken; 0 for one that is not here.
    #[must_use]
    pub fn waiting(&mut self, key: Key) -> usize {
        self.reactor.outbox(key).map_or(0, |outbox| outbox.len())
    }

    /// Bounds what the kernel keeps for a client that does not read, in bytes.
    pub fn limit_backlog(&mut self, key: Key, bytes: usize) {
        self.reactor.limit_backlog(key, bytes);
    }

    /// How long in all a client has held us up by not reading; `None` if nobody knows.
    #[must_use]
    pub fn held_up(&self, key: Key) -> Option<Duration> {
        self.reactor.held_up(key)
    }

    /// True if all has left for a client, and it has not acknowledged what it should have.
    #[must_use]
    pub fn is_unanswered(&mut self, key: Key) -> bool {
        let Some(client) = self.list.get(&key) else { return false };
        let waits = client.acks.as_ref().is_some_and(|acks| !acks.is_open());
        waits && self.reactor.outbox(key).is_some_and(|outbox| outbox.is_empty())
    }

    /// Queues a message for one client; it leaves at the end of the current step.
    pub fn send(&mut self, key: Key, message: Message) {
        let Some(client) = self.list.get_mut(&key) else { return };
        let Some(outbox) = self.reactor.outbox(key) else { return };
        match client.queue(outbox, message) {
            Ok(()) => self.touched.push(key),
            Err(why) => self.close(key, why),
        }
    }

    /// Lets `next` queue messages for one client while it has room and `next` says that there is more.
    pub fn feed(&mut self, key: Key, mut next: impl FnMut(&mut Feed<'_>) -> bool) {
        let Some(client) = self.list.get_mut(&key) else { return };
        let Some(outbox) = self.reactor.outbox(key) else { return };
        let mut feed = Feed { client, outbox, end: None, queued: false };
        while feed.end.is_none() && feed.client.has_room(feed.outbox) && next(&mut feed) {}
        let Feed { end, queued, .. } = feed;
        if queued {
            self.touched.push(key);
        }
        if let Some(why) = end {
            self.close(key, why);
        }
    }

    /// Queues a message for everybody.
    pub fn broadcast(&mut self, message: &Message) {
        for key in self.keys() {
            self.send(key, message.clone());
        }
    }

    /// Ends a connection at the end of the current step.
    pub fn close(&mut self, key: Key, why: Close) {
        self.closing.push((key, why));
    }

    pub(super) fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for key in touched.drain(..) {
            self.reactor.flush(key);
            if !self.unsent.contains(&key) {
                self.unsent.push(key);
            }
        }
        self.touched = touched;
        let Self { unsent, list, reactor, stats, .. } = self;
        unsent.retain(|key| match (list.get_mut(key), reactor.outbox(*key)) {
            (Some(client), Some(outbox)) => client.note(outbox.len(), stats),
            _ => false,
        });
    }
}

//! How a channel's clients pass from one server to another with what the channel knows (seamless migration).
//!
//! On the server that they leave: once a client has been told everything it gets MIGRATE and, if the channel hands
//! something over, nothing else before it has answered with a flush mark; by then all that it said is here, and
//! MIGRATE_DATA is the last message. It carries that to the other server and closes. The main channel's own deadline for
//! clients that leave bounds all of it.
//!
//! On the server that they come to: the data are the first message of the client's. It may have linked hours before the
//! machine is there; from when that runs it has ten seconds.

use std::time::{Duration, Instant};

use crate::protocol::common::{self, server};
use crate::protocol::message::Message;
use crate::transport::reactor::Key;

use super::ClientId;
use super::clients::{Clients, Close};
use super::engine::{Channel, Engine};

/// How long clients have to bring the data of their channels once the machine runs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Flags of MIGRATE: NEED_FLUSH and NEED_DATA_TRANSFER.
const HANDS_OVER: u32 = 1 | 2;

/// Where a client is between two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Passage {
    /// Here.
    #[default]
    Stays,
    /// It has been told to go; what it says still counts.
    Leaves,
    /// All that it had to say has come; the data are being put together.
    Flushed,
    /// It has everything.
    Left,
    /// It brings what another server knows, until then if there is a time.
    Awaited(Option<Instant>),
}

impl Passage {
    /// True if nothing may be sent any more.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Leaves | Self::Flushed | Self::Left)
    }

    pub(super) fn awaits_data(self) -> bool {
        matches!(self, Self::Awaited(_))
    }
}

impl Clients {
    /// Tells a client to go on at the other server. What is sent to it from now on is dropped. If the channel
    /// `hands_over` something, `Channel::flushed` follows when it has answered.
    pub fn leave(&mut self, key: Key, hands_over: bool) {
        if !self.is_here(key) {
            return;
        }
        self.send(key, common::migrate(if hands_over { HANDS_OVER } else { 0 }));
        if let Some(client) = self.list.get_mut(&key) {
            client.passage = if hands_over { Passage::Leaves } else { Passage::Left };
        }
    }

    /// Gives a client what it carries to the other server. False if it has not been flushed, or has it.
    pub fn give_data(&mut self, key: Key, data: Vec<u8>) -> bool {
        let Some(client) = self.list.get_mut(&key) else { return false };
        if client.passage != Passage::Flushed {
            return false;
        }
        client.passage = Passage::Stays;
        self.send(key, Message::new(server::MIGRATE_DATA, data));
        if let Some(client) = self.list.get_mut(&key) {
            client.passage = Passage::Left;
        }
        true
    }

    /// True if a client has not been told to go.
    #[must_use]
    pub fn is_here(&self, key: Key) -> bool {
        self.list.get(&key).is_some_and(|client| !client.passage.is_silent())
    }

    /// True if a client has everything that it carries to the other server.
    #[must_use]
    pub fn has_left(&self, key: Key) -> bool {
        self.list.get(&key).is_some_and(|client| client.passage == Passage::Left)
    }

    /// The next message of a client has to be what the channel at another server knew; soon if the machine `runs`.
    pub fn await_data(&mut self, key: Key, runs: bool) {
        if let Some(client) = self.list.get_mut(&key) {
            client.passage = Passage::Awaited(runs.then(|| Instant::now() + PATIENCE));
        }
    }

    /// True until these data have come.
    #[must_use]
    pub fn awaits_data(&self, key: Key) -> bool {
        self.list.get(&key).is_some_and(|client| client.passage.awaits_data())
    }

    /// The other server's last message had this serial.
    pub fn continue_serials(&mut self, key: Key, last: u64) {
        if let Some(client) = self.list.get_mut(&key) {
            client.before = last;
        }
    }

    /// The serial of the last message as it was on the wire.
    #[must_use]
    pub fn wire_serial(&self, key: Key) -> u64 {
        self.list.get(&key).map_or(0, |client| client.before.saturating_add(client.sent()))
    }

    /// How long until a client has been waited for long enough.
    pub(super) fn next_wait(&self) -> Option<Duration> {
        let until = self.list.values().filter_map(|client| match client.passage {
            Passage::Awaited(until) => until,
            _ => None,
        });
        until.min().map(|until| until.saturating_duration_since(Instant::now()))
    }
}

impl<C: Channel> Engine<C> {
    pub(super) fn hand_over(&mut self, client: ClientId) {
        let of_client = self.clients.iter().filter(|(_, c)| c.client == client);
        let keys: Vec<Key> = of_client.map(|(key, _)| key).collect();
        for key in keys {
            if self.clients.awaits_data(key) {
                self.clients.close(key, Close::Ours("the machine moved on before the client came"));
            } else {
                self.guarded(Some(key), |channel, clients| channel.hand_over(clients, key));
            }
        }
        // What is behind requests that a channel did not take is the flush mark.
        self.resume_stalled();
    }

    /// The client has answered MIGRATE.
    pub(super) fn flushed(&mut self, key: Key) {
        match self.clients.list.get_mut(&key) {
            Some(client) if client.passage == Passage::Leaves => {
                client.passage = Passage::Flushed;
                self.guarded(Some(key), |channel, clients| channel.flushed(clients, key));
            }
            _ => self.out_of_place(key),
        }
    }

    /// The client brings what another server knew.
    pub(super) fn restore(&mut self, key: Key, data: &[u8]) {
        match self.clients.list.get_mut(&key) {
            Some(client) if client.passage.awaits_data() => {
                client.passage = Passage::Stays;
                self.own_request(key, |channel, clients| channel.restore(clients, key, data));
            }
            _ => self.out_of_place(key),
        }
    }

    fn out_of_place(&mut self, key: Key) {
        let why = "migration message outside a migration".to_owned();
        self.clients.close(key, Close::Violation(why));
    }

    /// True if a message of a client is to be handled. Otherwise it is dealt with.
    pub(super) fn may_speak(&mut self, key: Key, kind: u16, bytes: usize) -> bool {
        match self.clients.get(key).map(|client| client.passage) {
            Some(Passage::Awaited(_)) => {
                let why = format!("message {kind} before the channel's migration data");
                self.clients.close(key, Close::Violation(why));
                self.clients.reactor.consume(key, bytes);
                false
            }
            // It has said that this was all.
            Some(Passage::Flushed | Passage::Left) => {
                self.clients.reactor.consume(key, bytes);
                false
            }
            _ => true,
        }
    }

    /// The machine runs, so that the clients that come with it have left the other server.
    pub(super) fn machine_runs(&mut self) {
        let until = Instant::now() + PATIENCE;
        for client in self.clients.list.values_mut() {
            if client.passage == Passage::Awaited(None) {
                client.passage = Passage::Awaited(Some(until));
            }
        }
        self.guarded(None, Channel::machine_runs);
        // A channel may have waited for it and not have read on.
        self.resume_stalled();
    }

    /// Closes those who have been waited for long enough.
    pub(super) fn end_waits(&mut self) {
        if self.clients.next_wait() != Some(Duration::ZERO) {
            return;
        }
        let now = Instant::now();
        let late = |passage| matches!(passage, Passage::Awaited(Some(until)) if until <= now);
        let keys: Vec<Key> = self
            .clients
            .iter()
            .filter(|(_, client)| late(client.passage))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let why = "no migration data though the machine runs for ten seconds".to_owned();
            self.clients.close(key, Close::Violation(why));
        }
    }
}

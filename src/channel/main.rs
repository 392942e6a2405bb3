//! The main channel (thread `spice-main`): session data, mouse modes, liveness; `agent` has the clients' ways to
//! the guest agent, `migration` those to another server, `handover` what they take along.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::caps::{ChannelType, main as cap};
use crate::protocol::common::{self, Severity, Visibility};
use crate::protocol::handover::MAIN_MAX;
use crate::protocol::main::{self as wire, MainRequest};
use crate::protocol::message::{Bulk, Message};
use crate::protocol::migrate::MIGRATION_VERSION;
use crate::sys::clock::{mm_time, monotonic_ns};
use crate::transport::reactor::Key;

use super::agent::AgentRules;
use super::clients::{Client, Clients, Close};
use super::device::DeviceId;
use super::engine::{Channel, Turn};
use super::{ClientId, Upward};

mod agent;
mod handover;
mod migration;

pub use agent::AgentOrder;
use agent::AgentPeer;
use handover::Handing;
pub use migration::{ARRIVING_TIME, MigrationEvent, MigrationOrder};
use migration::{Ability, Action, Answer, Migration};

/// Between two pings of a main channel that says nothing by itself.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A client that is silent for this long is gone (spec 02 §13).
const SILENCE: Duration = Duration::from_secs(60);
/// Zero bytes of the third ping of the net test.
const NET_TEST_BYTES: usize = 256_000;
/// Ids of the three pings of the net test: warm-up, latency, rate.
const NET_TEST_IDS: std::ops::RangeInclusive<u32> = 1..=3;

/// What the session tells a new main client.
#[derive(Debug, Clone, Default)]
pub struct MainState {
    /// Number of QXL instances.
    pub displays: u32,
    /// Mouse modes that are possible now: 1 or 3.
    pub supported_mouse_modes: u16,
    /// Mouse mode now: server 1, client 2.
    pub mouse_mode: u16,
    /// RAM of a QXL device, a hint for caches.
    pub ram_hint: u32,
    /// Name of the machine.
    pub name: Option<String>,
    /// UUID of the machine.
    pub uuid: Option<[u8; 16]>,
    /// There is one client at a time, which may bring what its channels knew elsewhere.
    pub one_client: bool,
}

/// What the main channel is told.
#[derive(Debug)]
pub enum MainOrder {
    /// Mouse modes changed: all clients learn it.
    MouseModes {
        /// Modes that are possible now: 1 or 3.
        supported: u16,
        /// The mode now.
        current: u16,
    },
    /// A channel was added after clients had their list.
    NewChannel {
        /// Its type.
        channel_type: ChannelType,
        /// Its id.
        channel_id: u8,
    },
    /// A channel has gone; one that comes under its name is a new one.
    ChannelGone {
        /// Its type.
        channel_type: ChannelType,
        /// Its id.
        channel_id: u8,
    },
    /// All other connections of a client have ended.
    OnlyMainLeft(ClientId),
    /// A warning for the user of one client.
    Notice(ClientId, &'static str),
    /// About the guest agent.
    Agent(AgentOrder),
    /// Sound is no longer the clients' clock for pictures.
    MediaTime,
    /// About a migration of the machine.
    Migration(MigrationOrder),
}

#[derive(Debug, Default)]
struct Peer {
    /// Channels that the client was told of; `None` before ATTACH_CHANNELS.
    listed: Option<Vec<(ChannelType, u8)>>,
    next_ping: Option<Instant>,
    ping_id: u32,
    /// Shortest round trip of the net test, nanoseconds.
    latency: Option<u64>,
    agent: AgentPeer,
    handing: Handing,
}

/// State of the channel.
pub struct Main {
    upward: Arc<dyn Upward>,
    peers: BTreeMap<Key, Peer>,
    zeros: Arc<Vec<u8>>,
    /// The device of the agent that is there.
    agent: Option<DeviceId>,
    /// The host has not been told of pieces for the agent.
    untold: bool,
    rules: Arc<AgentRules>,
    migration: Migration<Key>,
    /// The client for which the agent's device waits until it has brought what it knows.
    inheritor: Option<Key>,
    /// The machine has run since the channel is there.
    ran: bool,
    /// How long clients wait for the agent that they bring a stream of, once the machine runs.
    agent_due: Option<Instant>,
}

impl Main {
    /// A channel without clients.
    #[must_use]
    pub fn new(upward: Arc<dyn Upward>, rules: Arc<AgentRules>) -> Self {
        let zeros = Arc::new(vec![0; NET_TEST_BYTES]);
        let migration = Migration::new();
        let peers = BTreeMap::new();
        Self {
            upward,
            peers,
            zeros,
            agent: None,
            untold: false,
            rules,
            migration,
            inheritor: None,
            ran: false,
            agent_due: None,
        }
    }

    fn greet(&self, clients: &mut Clients, key: Key) {
        let Some(client) = clients.get(key) else { return };
        let state = self.upward.main_state();
        let session = client.client;
        let names = client.caps.has(cap::NAME_AND_UUID);
        let tcp = client.connection.tcp;
        clients.send(
            key,
            wire::init(&wire::Init {
                session_id: session,
                display_channels_hint: state.displays,
                supported_mouse_modes: state.supported_mouse_modes,
                current_mouse_mode: state.mouse_mode,
                agent_connected: self.agent.is_some(),
                agent_tokens: wire::AGENT_TOKENS,
                multi_media_time: mm_time(),
                ram_hint: state.ram_hint,
            }),
        );
        if names {
            if let Some(name) = &state.name {
                clients.send(key, wire::name(name.as_bytes()));
            }
            if let Some(uuid) = &state.uuid {
                clients.send(key, wire::uuid(uuid));
            }
        }
        if tcp {
            for id in NET_TEST_IDS {
                let mut ping = common::ping(id, monotonic_ns(), 0);
                if id == *NET_TEST_IDS.end() {
                    ping.bulk.push(Bulk::whole(Arc::clone(&self.zeros)));
                }
                clients.send(key, ping);
            }
        }
    }

    /// Tells everybody who has had INIT.
    fn tell_all(&self, clients: &mut Clients, message: &Message) {
        for key in clients.keys() {
            if !self.migration.is_arriving(key) {
                clients.send(key, message.clone());
            }
        }
    }

    /// A client that comes from another server has left that: it becomes like any other.
    fn arrived(&mut self, clients: &mut Clients, key: Key) {
        let Some(client) = clients.get(key).filter(|_| self.migration.is_arriving(key)) else {
            return tracing::debug!("a client that does not migrate says that it has");
        };
        let id = client.client;
        let now = Instant::now();
        let actions = self.migration.arrived(key, now);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.next_ping = Some(now + PING_EVERY);
        }
        self.release_agent(key);
        self.greet(clients, key);
        // Its other channels after INIT.
        self.upward.arrived(id);
        self.act(clients, actions);
    }

    fn act(&mut self, clients: &mut Clients, actions: Vec<Action<Key>>) {
        for action in actions {
            match action {
                Action::Send(key, message) => clients.send(key, message),
                Action::HandOver(key) => self.begin_handing(clients, key),
                Action::Close(key, why) => clients.close(key, Close::Ours(why)),
                Action::Tell(event) => self.upward.migration(event),
            }
        }
    }

    fn send_list(&mut self, clients: &mut Clients, key: Key) {
        let list = self.upward.channel_list();
        clients.send(key, wire::channels_list(&list));
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.listed = Some(list);
        }
    }
}

/// How a client can go to another server.
fn able(client: &Client) -> Ability {
    let has = |bit| client.caps.has(bit);
    match (has(cap::SEMI_SEAMLESS_MIGRATE), has(cap::SEAMLESS_MIGRATE)) {
        (_, true) if has(cap::AGENT_CONNECTED_TOKENS) => Ability::HandsOver,
        (true, _) | (_, true) => Ability::Prepares,
        (false, false) => Ability::BeginsAnew,
    }
}

impl Channel for Main {
    type Order = MainOrder;
    const TYPE: ChannelType = ChannelType::MAIN;
    const HANDOVER_MAX: usize = MAIN_MAX;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        let Some(client) = clients.get(key) else { return };
        let arriving = client.arriving;
        self.migration.attached(key, arriving, able(client), Instant::now());
        let ping_id = *NET_TEST_IDS.end();
        let next_ping = Some(Instant::now() + PING_EVERY);
        self.peers.insert(key, Peer { next_ping, ping_id, ..Peer::default() });
        if !arriving {
            self.greet(clients, key);
        }
    }

    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String> {
        match MainRequest::parse(kind, body).map_err(|e| e.to_string())? {
            // It has the list of the server that it comes from.
            MainRequest::AttachChannels if self.migration.is_arriving(key) => {}
            MainRequest::AttachChannels => self.send_list(clients, key),
            MainRequest::MouseMode(mode) => self.upward.request_mouse_mode(mode),
            MainRequest::MigrateConnected => self.answered(clients, key, Answer::Connected),
            MainRequest::MigrateConnectedSeamless => self.answered(clients, key, Answer::Seamless),
            MainRequest::MigrateConnectError => self.answered(clients, key, Answer::Failed),
            MainRequest::MigrateDstDoSeamless(version) => self.may_inherit(clients, key, version),
            MainRequest::MigrateEnd => self.arrived(clients, key),
            MainRequest::AgentStart(pieces) => self.agent_start(clients, key, pieces),
            MainRequest::AgentData(data) => self.agent_data(clients, key, data)?,
            MainRequest::AgentToken(pieces) => self.agent_allows(key, pieces),
            MainRequest::ClientInfo | MainRequest::Common(_) | MainRequest::QualityIndicator => {}
        }
        Ok(())
    }

    fn pong(&mut self, clients: &mut Clients, key: Key, id: u32, time: u64) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !NET_TEST_IDS.contains(&id) {
            return;
        }
        // `time` comes from the peer: a lie harms only its own estimate.
        let trip = monotonic_ns().saturating_sub(time);
        if id < *NET_TEST_IDS.end() {
            peer.latency = Some(peer.latency.map_or(trip, |l| l.min(trip)));
        } else if let Some(latency) = peer.latency
            && let Some(took) = trip.checked_sub(latency).filter(|t| *t > 0)
        {
            let bits = u64::try_from(NET_TEST_BYTES).unwrap_or(0) * 8;
            let rate = bits.saturating_mul(1_000_000_000) / took;
            if let Some(client) = clients.get(key) {
                client.speed.measured(rate);
                tracing::debug!(rate, latency, slow = client.speed.is_slow(), "net test");
            }
        }
    }

    fn order(&mut self, clients: &mut Clients, order: MainOrder) {
        match order {
            MainOrder::MouseModes { supported, current } => {
                self.tell_all(clients, &wire::mouse_mode(supported, current));
            }
            MainOrder::NewChannel { channel_type, channel_id } => {
                for (key, peer) in &mut self.peers {
                    if let Some(listed) = &mut peer.listed
                        && !listed.contains(&(channel_type, channel_id))
                    {
                        listed.push((channel_type, channel_id));
                        clients.send(*key, wire::channels_list(&[(channel_type, channel_id)]));
                    }
                }
            }
            MainOrder::ChannelGone { channel_type, channel_id } => {
                for listed in self.peers.values_mut().filter_map(|peer| peer.listed.as_mut()) {
                    listed.retain(|channel| *channel != (channel_type, channel_id));
                }
            }
            MainOrder::OnlyMainLeft(client) => Self::see_off(clients, client),
            MainOrder::Notice(client, text) => {
                // Whoever comes from another server was told there.
                let wanted = |(_, c): &(Key, &Client)| c.client == client && !c.arriving;
                let key = clients.iter().find(wanted).map(|(key, _)| key);
                if let Some(key) = key {
                    clients.send(
                        key,
                        common::notify(monotonic_ns(), Severity::Warn, Visibility::High, 0, text),
                    );
                }
            }
            MainOrder::Agent(order) => self.agent_order(clients, order),
            MainOrder::MediaTime => {
                self.tell_all(clients, &wire::multi_media_time(mm_time()));
            }
            MainOrder::Migration(order) => {
                let now = Instant::now();
                let actions = match order {
                    MigrationOrder::Begin(to, seamless) => self.migration.begin(*to, seamless, now),
                    MigrationOrder::End(completed) => self.migration.end(completed, now),
                    MigrationOrder::Switch(to) => self.migration.switch(&to),
                };
                self.act(clients, actions);
            }
        }
    }

    fn room(&mut self, clients: &mut Clients, key: Key) {
        self.feed_agent(clients, key);
    }

    fn flushed(&mut self, clients: &mut Clients, key: Key) {
        self.flushed(clients, key);
    }

    fn restore(&mut self, clients: &mut Clients, key: Key, data: &[u8]) -> Result<(), String> {
        self.restore(clients, key, data)
    }

    fn machine_runs(&mut self, _clients: &mut Clients) {
        self.ran = true;
        self.await_agent();
    }

    fn left(&mut self, clients: &mut Clients, key: Key, client: &Client) {
        if let Some(peer) = self.peers.remove(&key) {
            self.agent_left(client.client, &peer.agent);
        }
        self.release_agent(key);
        let actions = self.migration.left(key, Instant::now());
        self.act(clients, actions);
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        if std::mem::take(&mut self.untold) {
            self.upward.device_tasks_wait();
        }
        let now = Instant::now();
        let actions = self.migration.expire(now);
        self.act(clients, actions);
        if self.agent_due.is_some_and(|due| due <= now) {
            self.agent_due = None;
            self.give_agents_up(clients);
        }
        let mut next = self.migration.deadline().into_iter().chain(self.agent_due).min();
        for (key, peer) in &mut self.peers {
            let Some(client) = clients.get(*key) else { continue };
            // It has nothing to say until the machine has moved, which may take hours; its old server pings it.
            if self.migration.is_arriving(*key) {
                continue;
            }
            if now.saturating_duration_since(client.heard) >= SILENCE {
                clients.close(*key, Close::Violation("silent for 60 seconds".to_owned()));
                continue;
            }
            if peer.agent.waits_until.is_some_and(|until| until <= now) {
                let why = "no tokens for the agent for 30 seconds".to_owned();
                clients.close(*key, Close::Violation(why));
                continue;
            }
            let due = peer.next_ping.get_or_insert(now + PING_EVERY);
            if *due <= now {
                *due = now + PING_EVERY;
                // A client that does not read gets no more pings piled up.
                if clients.has_room(*key) {
                    peer.ping_id = peer.ping_id.checked_add(1).unwrap_or(*NET_TEST_IDS.end() + 1);
                    clients.send(*key, common::ping(peer.ping_id, monotonic_ns(), 0));
                }
            }
            let due = peer.agent.waits_until.map_or(*due, |until| until.min(*due));
            next = Some(next.map_or(due, |n: Instant| n.min(due)));
        }
        next.map_or(Turn::Idle, Turn::At)
    }
}

//! The main channel (thread `spice-main`): session data, mouse modes, liveness.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::agent::{ClientStream, Piece};
use crate::protocol::caps::{ChannelType, main as cap};
use crate::protocol::common::{self, Severity, Visibility};
use crate::protocol::main::{self as wire, MainRequest};
use crate::protocol::message::{Bulk, Message};
use crate::sys::clock::{mm_time, monotonic_ns};
use crate::transport::reactor::Key;

use super::clients::{Client, Clients, Close};
use super::engine::{Channel, Turn};
use super::{ClientId, Upward};

/// Between two pings of a main channel that says nothing by itself.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A client that is silent for this long is gone (spec 02 §13).
const SILENCE: Duration = Duration::from_secs(60);
/// Zero bytes of the third ping of the net test.
const NET_TEST_BYTES: usize = 256_000;
/// Ids of the three pings of the net test: warm-up, latency, rate.
const NET_TEST_IDS: std::ops::RangeInclusive<u32> = 1..=3;

/// Pieces of the agent stream that are given back to a client at a time.
const TOKEN_LOT: u32 = 5;

/// What the session tells a new main client.
#[derive(Debug, Clone, Default)]
pub struct MainState {
    /// Number of QXL instances.
    pub displays: u32,
    /// Mouse modes that are possible now: 1 or 3.
    pub supported_mouse_modes: u16,
    /// Mouse mode now: server 1, client 2.
    pub mouse_mode: u16,
    /// True if a guest agent is there.
    pub agent: bool,
    /// RAM of a QXL device, a hint for caches.
    pub ram_hint: u32,
    /// Name of the machine.
    pub name: Option<String>,
    /// UUID of the machine.
    pub uuid: Option<[u8; 16]>,
}

/// What the main channel is told.
#[derive(Debug)]
pub enum MainOrder {
    /// Mouse modes changed: all clients learn it.
    MouseModes,
    /// A channel was added after clients had their list.
    NewChannel {
        /// Its type.
        channel_type: ChannelType,
        /// Its id.
        channel_id: u8,
    },
    /// A warning for the user of one client.
    Notice(ClientId, &'static str),
    /// The agent's device came or went.
    AgentPresent(bool),
    /// A channel is gone: if it comes again, clients are told again.
    ChannelGone {
        /// Its type.
        channel_type: ChannelType,
        /// Its id.
        channel_id: u8,
    },
    /// Sound is no longer the clients' clock for pictures.
    MediaTime,
    /// The host was told of the monitors that a client wished for.
    MonitorsTaken(ClientId),
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
}

/// A client's way to the agent.
#[derive(Debug)]
struct AgentPeer {
    /// The client has opened the stream to the agent that is there now.
    started: bool,
    /// Pieces that the client may send.
    tokens: u32,
    /// Pieces that were dealt with and have not been given back.
    owed: u32,
    /// `None` from the coming or going of an agent until the client opens its stream: what is still
    /// on its way may be the middle of a message that the client has given up.
    stream: Option<ClientStream>,
}

impl Default for AgentPeer {
    fn default() -> Self {
        let (tokens, stream) = (wire::AGENT_TOKENS, Some(ClientStream::default()));
        Self { started: false, tokens, owed: 0, stream }
    }
}

impl AgentPeer {
    /// A piece was dealt with. Returns how many the client gets back now.
    fn taken(&mut self) -> Option<u32> {
        // Of an agent that has gone this is told late: the window is a new one since.
        if self.tokens + self.owed < wire::AGENT_TOKENS {
            self.owed += 1;
        }
        (self.owed >= TOKEN_LOT).then(|| {
            self.tokens += self.owed;
            std::mem::take(&mut self.owed)
        })
    }
}

/// State of the channel.
pub struct Main {
    upward: Arc<dyn Upward>,
    peers: BTreeMap<Key, Peer>,
    zeros: Arc<Vec<u8>>,
}

impl Main {
    /// A channel without clients.
    #[must_use]
    pub fn new(upward: Arc<dyn Upward>) -> Self {
        Self { upward, peers: BTreeMap::new(), zeros: Arc::new(vec![0; NET_TEST_BYTES]) }
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
                agent_connected: state.agent,
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

    fn send_list(&mut self, clients: &mut Clients, key: Key) {
        let list = self.upward.channel_list();
        clients.send(key, wire::channels_list(&list));
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.listed = Some(list);
        }
    }

    /// Takes a piece of the agent stream.
    fn agent_data(&mut self, clients: &mut Clients, key: Key, data: &[u8]) -> Result<(), String> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        let Some(client) = clients.get(key).map(|c| c.client) else { return Ok(()) };
        let agent = &mut peer.agent;
        let Some(stream) = &mut agent.stream else { return Ok(()) };
        // Without a started stream pieces cost nothing: nobody would give them back.
        if agent.started {
            agent.tokens = agent.tokens.checked_sub(1).ok_or("agent data beyond the window")?;
        }
        let piece = stream.piece(data, agent.started).map_err(|e| e.to_string())?;
        match piece {
            // Given back when the host has been told: so no more wait for it than the window has.
            Piece::Monitors(monitors) => self.upward.client_monitors(client, monitors),
            // Until there is a way to the agent itself its messages are dropped.
            Piece::PartOfMonitors | Piece::Message | Piece::Closed => {
                if let Some(tokens) = agent.taken() {
                    clients.send(key, wire::agent_token(tokens));
                }
            }
        }
        Ok(())
    }

    /// Tells every client that the agent has come or gone; its stream begins anew.
    fn agent_present(&mut self, clients: &mut Clients, present: bool) {
        for (key, peer) in &mut self.peers {
            peer.agent = AgentPeer { stream: None, ..AgentPeer::default() };
            let tokens = clients.get(*key).is_some_and(|c| c.caps.has(cap::AGENT_CONNECTED_TOKENS));
            let message = match (present, tokens) {
                (false, _) => wire::agent_disconnected(),
                (true, false) => wire::agent_connected(),
                (true, true) => wire::agent_connected_tokens(wire::AGENT_TOKENS),
            };
            clients.send(*key, message);
        }
    }

    fn mouse_mode_message(&self) -> Message {
        let state = self.upward.main_state();
        wire::mouse_mode(state.supported_mouse_modes, state.mouse_mode)
    }
}

impl Channel for Main {
    type Order = MainOrder;
    const TYPE: ChannelType = ChannelType::MAIN;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        let ping_id = *NET_TEST_IDS.end();
        let next_ping = Some(Instant::now() + PING_EVERY);
        self.peers.insert(key, Peer { next_ping, ping_id, ..Peer::default() });
        self.greet(clients, key);
    }

    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String> {
        match MainRequest::parse(kind, body).map_err(|e| e.to_string())? {
            MainRequest::AttachChannels => self.send_list(clients, key),
            MainRequest::MouseMode(mode) => self.upward.request_mouse_mode(mode),
            // Nobody waits for these: no migration is under way.
            MainRequest::MigrateConnected | MainRequest::MigrateConnectedSeamless => {
                clients.send(key, wire::migrate_cancel());
            }
            MainRequest::MigrateDstDoSeamless(_) => {
                clients.send(key, wire::migrate_dst_seamless_nack());
            }
            // Tokens are for what the agent says, which has no way to the client yet.
            MainRequest::AgentStart(_) => {
                if self.upward.main_state().agent
                    && let Some(peer) = self.peers.get_mut(&key)
                {
                    peer.agent.started = true;
                    peer.agent.stream.get_or_insert_default();
                }
            }
            MainRequest::AgentData(data) => self.agent_data(clients, key, data)?,
            MainRequest::AgentToken(_) => {}
            MainRequest::ClientInfo
            | MainRequest::Common(_)
            | MainRequest::MigrateConnectError
            | MainRequest::MigrateEnd
            | MainRequest::QualityIndicator => {}
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
            MainOrder::MouseModes => {
                let message = self.mouse_mode_message();
                clients.broadcast(&message);
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
            MainOrder::Notice(client, text) => {
                let key = clients.iter().find(|(_, c)| c.client == client).map(|(k, _)| k);
                if let Some(key) = key {
                    clients.send(
                        key,
                        common::notify(monotonic_ns(), Severity::Warn, Visibility::High, 0, text),
                    );
                }
            }
            MainOrder::ChannelGone { channel_type, channel_id } => {
                for listed in self.peers.values_mut().filter_map(|peer| peer.listed.as_mut()) {
                    listed.retain(|channel| *channel != (channel_type, channel_id));
                }
            }
            MainOrder::MediaTime => clients.broadcast(&wire::multi_media_time(mm_time())),
            MainOrder::AgentPresent(present) => self.agent_present(clients, present),
            MainOrder::MonitorsTaken(client) => {
                let key = clients.iter().find(|(_, c)| c.client == client).map(|(k, _)| k);
                if let Some(key) = key
                    && let Some(peer) = self.peers.get_mut(&key)
                    && let Some(tokens) = peer.agent.taken()
                {
                    clients.send(key, wire::agent_token(tokens));
                }
            }
        }
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        self.peers.remove(&key);
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        let now = Instant::now();
        let mut next = None;
        for (key, peer) in &mut self.peers {
            let Some(client) = clients.get(*key) else { continue };
            if now.saturating_duration_since(client.heard) >= SILENCE {
                clients.close(*key, Close::Violation("silent for 60 seconds".to_owned()));
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
            next = Some(next.map_or(*due, |n: Instant| n.min(*due)));
        }
        next.map_or(Turn::Idle, Turn::At)
    }
}

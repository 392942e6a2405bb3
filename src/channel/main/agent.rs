//! A client's way to the guest agent, on the main channel's thread: pieces in both directions and their tokens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::ClientId;
use crate::channel::agent::{AgentTask, AgentWay, BULK_AFTER, BULK_WINDOW};
use crate::channel::clients::Clients;
use crate::channel::device::{DeviceId, DeviceTask};
use crate::protocol::agent::{CHUNK_HEADER, CLIENT_PORT, ClientStream, Piece, put_chunks};
use crate::protocol::caps::main as cap;
use crate::protocol::handover::AgentData;
use crate::protocol::main as wire;
use crate::transport::reactor::Key;

use super::{Main, MainOrder};

/// How long a client may let the agent's pieces wait while other clients take them.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the main channel is told about the agent.
#[derive(Debug)]
pub enum AgentOrder {
    /// The agent's device came, or (`None`) went.
    Present(Option<DeviceId>),
    /// A piece of this agent for a client.
    Data(DeviceId, ClientId, Vec<u8>),
    /// So many pieces of a client were dealt with.
    Tokens(DeviceId, ClientId, u32),
    /// Nothing more comes for this client; so far was the agent in its stream.
    Frozen(DeviceId, ClientId, AgentData),
    /// What the device has not taken, and the pieces that the client would be given back for it.
    HandedOver(DeviceId, ClientId, Vec<u8>, u32),
    /// Pieces wait for a client that has no tokens while others have, or (false) no more.
    Waits(ClientId, bool),
}

impl From<AgentOrder> for MainOrder {
    fn from(order: AgentOrder) -> Self {
        Self::Agent(order)
    }
}

/// One client's part.
#[derive(Debug)]
pub(super) struct AgentPeer {
    /// Set once the client has opened the stream to the agent that is there now.
    pub(super) way: Option<Arc<AgentWay>>,
    /// Pieces that the client may send.
    pub(super) tokens: u32,
    /// Pieces for the agent that it has sent.
    pieces: u32,
    /// Outlives the agents: what was meant for one may still come when the next one is there.
    pub(super) stream: ClientStream,
    /// Pieces for the client that its outbox had no room for. Bounded by its way.
    pub(super) waiting: VecDeque<Vec<u8>>,
    /// When it has to go if it gives the agent no tokens until then, while others do.
    pub(super) waits_until: Option<Instant>,
}

impl Default for AgentPeer {
    fn default() -> Self {
        let (tokens, stream) = (wire::AGENT_TOKENS, ClientStream::default());
        Self { way: None, tokens, pieces: 0, stream, waiting: VecDeque::new(), waits_until: None }
    }
}

impl AgentPeer {
    /// Goes on where another server ends.
    pub(super) fn resumed(way: Option<Arc<AgentWay>>, tokens: u32, stream: ClientStream) -> Self {
        Self { way, tokens, stream, ..Self::default() }
    }

    /// Another agent is there now, or none: all begins anew but where the client is in a message.
    pub(super) fn reset(&mut self) {
        let mut stream = std::mem::take(&mut self.stream);
        stream.interrupted();
        *self = Self { stream, ..Self::default() };
    }
}

impl Main {
    /// AGENT_START: the client takes so many pieces.
    pub(super) fn agent_start(&mut self, clients: &Clients, key: Key, pieces: u32) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Some(client) = clients.get(key).map(|c| c.client) else { return };
        let agent = &mut peer.agent;
        // Again: only the number counts, so that a client that repeats it costs the host nothing.
        if let Some(way) = &agent.way {
            if way.set_allowance(pieces)
                && let Some(device) = self.agent
            {
                self.upward.device(device, DeviceTask::Room);
            }
            return;
        }
        let Some(device) = self.agent else { return };
        // A message that was begun before, while the last agent ended: its rest comes or does not.
        agent.stream.interrupted();
        let way = AgentWay::new(pieces);
        agent.way = Some(Arc::clone(&way));
        self.upward.device(device, DeviceTask::Agent(AgentTask::Started(client, way)));
    }

    /// AGENT_TOKEN: the client takes so many pieces more.
    pub(super) fn agent_allows(&mut self, key: Key, pieces: u32) {
        let Some(way) = self.peers.get(&key).and_then(|p| p.agent.way.as_ref()) else { return };
        if way.allow(pieces)
            && let Some(device) = self.agent
        {
            self.upward.device(device, DeviceTask::Room);
        }
    }

    /// AGENT_DATA: a piece of the client's.
    pub(super) fn agent_data(
        &mut self,
        clients: &mut Clients,
        key: Key,
        data: &[u8],
    ) -> Result<(), String> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        let Some(client) = clients.get(key).map(|c| c.client) else { return Ok(()) };
        let agent = &mut peer.agent;
        if agent.way.is_some() && peer.handing.expects_agent() {
            let kept = peer.handing.keep(data, agent.tokens);
            return kept.then_some(()).ok_or_else(|| "agent data beyond the window".to_owned());
        }
        // Without a started stream pieces cost nothing: nobody would give them back.
        if agent.way.is_some() {
            agent.tokens = agent.tokens.checked_sub(1).ok_or("agent data beyond the window")?;
        }
        let rules = self.rules.for_client(agent.way.is_some());
        let piece = agent.stream.piece(data, rules).map_err(|e| e.to_string())?;
        let (Some(device), Some(way)) = (self.agent, &agent.way) else { return Ok(()) };
        match piece {
            // So no more wait for the host than the window has, and a few ahead.
            Piece::Message => {
                agent.pieces = agent.pieces.saturating_add(1);
                let wider = agent.pieces == BULK_AFTER && !self.rules.has_steady_window();
                let more = if wider { BULK_WINDOW } else { 0 };
                if wider {
                    self.migration.cannot_hand_over(key);
                }
                // Other servers take what has not been taken here only as far as the window goes.
                let paid = if self.rules.has_steady_window() {
                    way.give_slowly();
                    None
                } else {
                    way.give_device()
                };
                let lot = paid.unwrap_or(0) + more;
                let mut chunk = Vec::with_capacity(CHUNK_HEADER + data.len());
                put_chunks(&mut chunk, CLIENT_PORT, data);
                // The host hears of them together, at the end of the turn: what one read of the socket brought makes
                // one turn of its loop.
                self.upward.device_quietly(device, DeviceTask::Data(client, chunk));
                self.untold = true;
                // Who leaves is told by the other server.
                if lot > 0 && clients.is_here(key) {
                    agent.tokens += lot;
                    clients.send(key, wire::agent_token(lot));
                }
            }
            Piece::Monitors { monitors, message } => {
                way.give_slowly();
                let mut chunks = Vec::new();
                put_chunks(&mut chunks, CLIENT_PORT, &message);
                self.upward.client_monitors(client, monitors, device, chunks);
            }
            Piece::PartOfMonitors | Piece::Discarded => {
                if let Some(tokens) = way.taken().filter(|_| clients.is_here(key)) {
                    agent.tokens += tokens;
                    clients.send(key, wire::agent_token(tokens));
                }
            }
        }
        Ok(())
    }

    pub(super) fn agent_order(&mut self, clients: &mut Clients, order: AgentOrder) {
        let key_of = |clients: &Clients, client| {
            clients.iter().find(|(_, c)| c.client == client).map(|(key, _)| key)
        };
        match order {
            AgentOrder::Present(device) => self.agent_present(clients, device),
            AgentOrder::Data(device, client, piece) => {
                if let Some(key) = key_of(clients, client).filter(|_| self.agent == Some(device))
                    && let Some(peer) = self.peers.get_mut(&key)
                {
                    peer.agent.waiting.push_back(piece);
                    self.feed_agent(clients, key);
                }
            }
            AgentOrder::Tokens(device, client, tokens) => {
                if let Some(key) = key_of(clients, client).filter(|_| self.agent == Some(device))
                    && let Some(peer) = self.peers.get_mut(&key).filter(|_| clients.is_here(key))
                {
                    peer.agent.tokens += tokens;
                    clients.send(key, wire::agent_token(tokens));
                }
            }
            AgentOrder::Frozen(device, client, reader) => {
                if let Some(key) = key_of(clients, client).filter(|_| self.agent == Some(device)) {
                    self.frozen(clients, key, reader);
                }
            }
            AgentOrder::HandedOver(device, client, write, price) => {
                if let Some(key) = key_of(clients, client).filter(|_| self.agent == Some(device)) {
                    self.handed_over(clients, key, write, price);
                }
            }
            AgentOrder::Waits(client, waits) => {
                let peer = key_of(clients, client).and_then(|key| self.peers.get_mut(&key));
                if let Some(peer) = peer {
                    peer.agent.waits_until = waits.then(|| Instant::now() + PATIENCE);
                }
            }
        }
    }

    /// Hands a client what waits for it, as far as it has room.
    pub(super) fn feed_agent(&mut self, clients: &mut Clients, key: Key) {
        let Some(AgentPeer { way: Some(way), waiting, .. }) =
            self.peers.get_mut(&key).map(|p| &mut p.agent)
        else {
            return;
        };
        let mut taken = 0;
        clients.feed(key, |feed| {
            let Some(piece) = waiting.pop_front() else { return false };
            taken += piece.len();
            feed.send(wire::agent_data(piece));
            !waiting.is_empty()
        });
        if taken > 0
            && way.client_took(taken)
            && let Some(device) = self.agent
        {
            self.upward.device(device, DeviceTask::Room);
        }
    }

    /// A client has gone.
    pub(super) fn agent_left(&mut self, client: ClientId, peer: &AgentPeer) {
        let Some(device) = self.agent else { return };
        if peer.way.is_some() {
            self.upward.device(device, DeviceTask::Left(client));
        }
        if self.peers.is_empty() {
            self.upward.device(device, DeviceTask::Agent(AgentTask::LastLeft));
        }
    }

    /// Tells every client that the agent has come or gone; its stream begins anew.
    fn agent_present(&mut self, clients: &mut Clients, device: Option<DeviceId>) {
        self.agent = device;
        for (key, peer) in &mut self.peers {
            // That client brings its stream.
            let expected = peer.handing.expects_agent();
            if !expected {
                peer.agent.reset();
            }
            let tokens = clients.get(*key).is_some_and(|c| c.caps.has(cap::AGENT_CONNECTED_TOKENS));
            let message = match (device, tokens) {
                (None, _) => wire::agent_disconnected(),
                (Some(_), false) => wire::agent_connected(),
                (Some(_), true) => wire::agent_connected_tokens(wire::AGENT_TOKENS),
            };
            // A client that has not had INIT learns of the agent by that; one that comes with the agent knows of it.
            if !self.migration.is_arriving(*key) && !expected {
                clients.send(*key, message);
            }
        }
        self.agent_changed(clients);
    }
}

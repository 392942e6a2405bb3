//! What a client's main channel takes along to another server, and brings from one: where both directions of the guest
//! agent's stream are, and the tokens.
//!
//! The device is the host's side's; it is asked twice. First for what it has read for the client, which is told before it
//! goes; then, when all that the client had to say is here, for what the device has not taken. The machine stands still
//! meanwhile.

use std::time::Instant;

use crate::channel::ClientId;
use crate::channel::agent::{AgentTask, AgentWay, Resumed, TOKEN_LOT};
use crate::channel::clients::{Clients, Close};
use crate::channel::device::DeviceTask;
use crate::protocol::agent::{ClientStream, DeviceReader};
use crate::protocol::caps::main as cap;
use crate::protocol::handover::{AgentData, AgentHandover, CharDevice};
use crate::protocol::main as wire;
use crate::protocol::migrate;
use crate::sys::clock::mm_time;
use crate::transport::reactor::Key;

use super::agent::AgentPeer;
use super::migration::{Answer, PATIENCE};
use super::{MIGRATION_VERSION, Main, PING_EVERY};

/// How far a client's main channel is between two servers.
#[derive(Debug, Default)]
pub(super) enum Handing {
    /// It is here.
    #[default]
    Nothing,
    /// The agent's device is asked for what it has read.
    Freezing,
    /// That is on its way to the client; so far was the agent.
    Frozen(Box<AgentData>),
    /// It brings this; the agent's device is not here yet, but may come until the machine runs.
    Expects(Box<Brought>),
}

/// What a client brings of an agent.
#[derive(Debug)]
pub(super) struct Brought {
    /// Where the agent was in its stream.
    reader: DeviceReader,
    /// What the other server's device had not taken, and the pieces that the client is given back for it.
    write: Vec<u8>,
    price: u32,
    /// Pieces that the client has sent here. No more than it has tokens.
    early: Vec<Vec<u8>>,
}

impl Handing {
    /// True if the client believes that the agent is there.
    pub(super) fn expects_agent(&self) -> bool {
        matches!(self, Self::Expects(_))
    }

    /// Keeps a piece for an agent that is still on its way. False: it has all that the client may send.
    pub(super) fn keep(&mut self, piece: &[u8], tokens: u32) -> bool {
        let Self::Expects(brought) = self else { return false };
        let room = u32::try_from(brought.early.len()).is_ok_and(|kept| kept < tokens);
        if room {
            brought.early.push(piece.to_vec());
        }
        room
    }
}

impl Main {
    pub(super) fn answered(&mut self, clients: &mut Clients, key: Key, answer: Answer) {
        let actions = self.migration.answered(key, answer);
        self.act(clients, actions);
    }

    /// A client that comes from another server asks whether it may bring what its channels know there.
    pub(super) fn may_inherit(&mut self, clients: &mut Clients, key: Key, version: u32) {
        let Some(client) = clients.get(key).filter(|_| self.migration.is_arriving(key)) else {
            return tracing::debug!("a client that does not migrate asks whether it may");
        };
        let id = client.client;
        if version > MIGRATION_VERSION || !self.upward.main_state().one_client {
            // It goes on without.
            return clients.send(key, migrate::seamless_nack());
        }
        // Before it may send anything; until it is one of ours, has gone, or had no agent.
        self.rules.hold();
        self.inheritor = Some(key);
        clients.send(key, migrate::seamless_ack());
        clients.await_data(key, self.ran);
        self.upward.inherits(id);
    }

    /// The agent's device has waited for this client, if it has, and goes on.
    pub(super) fn release_agent(&mut self, key: Key) {
        if self.inheritor == Some(key) {
            self.inheritor = None;
            self.release_unless_waited();
        }
    }

    fn release_unless_waited(&self) {
        if self.inheritor.is_none()
            && self.rules.release()
            && let Some(device) = self.agent
        {
            self.upward.device(device, DeviceTask::Room);
        }
    }

    /// The machine has moved.
    pub(super) fn begin_handing(&mut self, clients: &mut Clients, key: Key) {
        let Some(client) = clients.get(key).map(|c| c.client) else { return };
        let Some(peer) = self.peers.get_mut(&key) else { return };
        match (self.agent, &peer.agent.way) {
            (Some(device), Some(_)) => {
                peer.handing = Handing::Freezing;
                self.upward.device(device, DeviceTask::Agent(AgentTask::Freeze(client)));
            }
            _ => clients.leave(key, true),
        }
    }

    /// All that the agent's device has read for a client is here.
    pub(super) fn frozen(&mut self, clients: &mut Clients, key: Key, reader: AgentData) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !matches!(peer.handing, Handing::Freezing) {
            return;
        }
        peer.handing = Handing::Frozen(Box::new(reader));
        // Bounded by its way, whatever its outbox has room for.
        for piece in std::mem::take(&mut peer.agent.waiting) {
            clients.send(key, wire::agent_data(piece));
        }
        clients.leave(key, true);
    }

    /// All that a client had to say is here.
    pub(super) fn flushed(&mut self, clients: &mut Clients, key: Key) {
        let Some(client) = clients.get(key).map(|c| c.client) else { return };
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let agent = &peer.agent;
        match (self.agent, &peer.handing) {
            (Some(device), Handing::Frozen(_)) if agent.way.is_some() => {
                self.upward.device(device, DeviceTask::Agent(AgentTask::HandOver(client)));
            }
            // It has not opened its stream.
            (Some(_), _) => {
                let (client_left, client_drops) = agent.stream.rest();
                let device = CharDevice {
                    connected: true,
                    client_tokens: agent.tokens,
                    ..CharDevice::default()
                };
                let handover =
                    AgentHandover { device, client_left, client_drops, ..AgentHandover::default() };
                self.give(clients, key, &handover);
            }
            (None, _) => self.give(clients, key, &AgentHandover::default()),
        }
    }

    /// What the agent's device has not taken is here.
    pub(super) fn handed_over(
        &mut self,
        clients: &mut Clients,
        key: Key,
        write: Vec<u8>,
        price: u32,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let agent = &peer.agent;
        let (Handing::Frozen(reader), Some(way)) = (std::mem::take(&mut peer.handing), &agent.way)
        else {
            return;
        };
        let (client_left, client_drops) = agent.stream.rest();
        let handover = AgentHandover {
            device: CharDevice {
                connected: true,
                client_tokens: agent.tokens,
                send_tokens: way.allowed(),
                write_tokens: price,
                write,
            },
            started: true,
            agent: *reader,
            client_left,
            client_drops,
        };
        self.give(clients, key, &handover);
    }

    /// The other channels follow: stock clients keep the main connection of a server that they left with it last.
    fn give(&self, clients: &mut Clients, key: Key, handover: &AgentHandover) {
        let Some(client) = clients.get(key).map(|c| c.client) else { return };
        if clients.give_data(key, handover.write()) {
            self.upward.hand_over(client);
        }
    }

    /// All other connections of a client have ended. If it has everything it has gone: stock clients close those when the
    /// last channel has its data, but notice that they closed main only when something comes there.
    pub(super) fn see_off(clients: &mut Clients, client: ClientId) {
        let key = clients.iter().find(|(_, c)| c.client == client).map(|(key, _)| key);
        if let Some(key) = key
            && clients.has_left(key)
            && clients.waiting(key) == 0
        {
            clients.close(key, Close::Ours("it goes on at the other server"));
        }
    }

    /// A client brings what its main channel knew elsewhere: it is one of ours now.
    pub(super) fn restore(
        &mut self,
        clients: &mut Clients,
        key: Key,
        data: &[u8],
    ) -> Result<(), String> {
        let handover = AgentHandover::read(data).map_err(|e| e.to_string())?;
        let reader = DeviceReader::resume(&handover.agent).map_err(|e| e.to_string())?;
        let device = &handover.device;
        if device.connected {
            let tokens = device.client_tokens.checked_add(device.write_tokens);
            tokens.filter(|tokens| *tokens <= wire::AGENT_TOKENS).ok_or_else(|| {
                format!("{} agent tokens and {}", device.client_tokens, device.write_tokens)
            })?;
        }
        let Some(id) = clients.get(key).map(|c| c.client) else { return Ok(()) };
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        let now = Instant::now();
        let actions = self.migration.arrived(key, now);
        peer.next_ping = Some(now + PING_EVERY);
        // It has the list of the other server, which stands for the same machine.
        peer.listed = Some(self.upward.channel_list());
        self.upward.arrived(id);
        let state = self.upward.main_state();
        clients.send(key, wire::mouse_mode(state.supported_mouse_modes, state.mouse_mode));
        // The clocks of two hosts have nothing in common.
        clients.send(key, wire::multi_media_time(mm_time()));
        if handover.device.connected {
            // What the client says of its stream may come before the agent does.
            let AgentHandover { device, client_left, client_drops, .. } = handover;
            let CharDevice { client_tokens, send_tokens, write_tokens, write, .. } = device;
            let price = if write.is_empty() { 0 } else { write_tokens };
            let mut owed = wire::AGENT_TOKENS.saturating_sub(client_tokens + price);
            let mut tokens = client_tokens;
            if owed >= TOKEN_LOT {
                clients.send(key, wire::agent_token(owed));
                tokens += std::mem::take(&mut owed);
            }
            let way = handover.started.then(|| AgentWay::resumed(send_tokens, price, owed));
            let stream = ClientStream::resume(client_left, client_drops);
            peer.agent = AgentPeer::resumed(way, tokens, stream);
            let brought = Brought { reader, write, price, early: Vec::new() };
            peer.handing = Handing::Expects(Box::new(brought));
            self.agent_changed(clients);
            if self.ran {
                self.await_agent();
            }
        } else {
            self.release_agent(key);
            if self.agent.is_some() {
                self.tell_of_agent(clients, key);
            }
        }
        self.act(clients, actions);
        Ok(())
    }

    /// The agent's device has come or gone: clients that bring a stream are connected to it, and those that take one
    /// along are not kept waiting for it.
    pub(super) fn agent_changed(&mut self, clients: &mut Clients) {
        // One that has gone may have been told, and have told nobody.
        self.release_unless_waited();
        let Some(device) = self.agent else { return self.take_no_agent(clients) };
        let mut early = Vec::new();
        for (key, peer) in &mut self.peers {
            let Some(client) = clients.get(*key).map(|c| c.client) else { continue };
            let Brought { reader, write, price, early: pieces } =
                match std::mem::take(&mut peer.handing) {
                    Handing::Expects(brought) => *brought,
                    other => {
                        peer.handing = other;
                        continue;
                    }
                };
            let resumed = Resumed { way: peer.agent.way.clone(), reader, write, price };
            let task = AgentTask::Resumed(client, Box::new(resumed));
            // The device releases itself, when it knows.
            self.inheritor = None;
            self.upward.device(device, DeviceTask::Agent(task));
            early.push((*key, pieces));
        }
        self.say_early(clients, early);
    }

    /// What clients have sent before it was known whether their agent comes.
    fn say_early(&mut self, clients: &mut Clients, early: Vec<(Key, Vec<Vec<u8>>)>) {
        for (key, pieces) in early {
            let said = pieces.iter().try_for_each(|piece| self.agent_data(clients, key, piece));
            if let Err(what) = said {
                clients.close(key, Close::Violation(what));
            }
        }
    }

    fn take_no_agent(&mut self, clients: &mut Clients) {
        let mut flushed = Vec::new();
        for (key, peer) in &mut self.peers {
            match peer.handing {
                Handing::Nothing | Handing::Expects(_) => continue,
                Handing::Freezing => clients.leave(*key, true),
                Handing::Frozen(_) => flushed.push(*key),
            }
            peer.handing = Handing::Nothing;
        }
        // Others are when they are flushed.
        for key in flushed {
            self.give(clients, key, &AgentHandover::default());
        }
    }

    /// The machine runs. Its agent comes with it, but not at once: QEMU opens a virtio port of a machine that has moved
    /// by a timer of that machine.
    pub(super) fn await_agent(&mut self) {
        if self.peers.values().any(|peer| peer.handing.expects_agent()) {
            self.agent_due = Some(Instant::now() + PATIENCE);
        }
    }

    /// It did not come along.
    pub(super) fn give_agents_up(&mut self, clients: &mut Clients) {
        let mut alone = Vec::new();
        for (key, peer) in &mut self.peers {
            match std::mem::take(&mut peer.handing) {
                Handing::Expects(brought) => alone.push((*key, brought.early)),
                other => peer.handing = other,
            }
        }
        let keys: Vec<Key> = alone.iter().map(|(key, _)| *key).collect();
        // So that it is known how far the client is in a message.
        self.say_early(clients, alone);
        for key in keys {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.agent.reset();
            }
            clients.send(key, wire::agent_disconnected());
            self.release_agent(key);
        }
    }

    /// Tells a client of the agent, which it does not know of.
    fn tell_of_agent(&self, clients: &mut Clients, key: Key) {
        let tokens = clients.get(key).is_some_and(|c| c.caps.has(cap::AGENT_CONNECTED_TOKENS));
        clients.send(
            key,
            if tokens {
                wire::agent_connected_tokens(wire::AGENT_TOKENS)
            } else {
                wire::agent_connected()
            },
        );
    }
}

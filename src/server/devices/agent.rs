//! The guest agent's device, on the host's side: what the agent says goes to the clients that opened their
//! streams, what they and the server say goes to the agent.
//!
//! Two bounds hold what waits. The device is read only while a client takes what comes (its tokens, and room
//! on the way to its socket), and of the server's own messages one is on its way at a time: mouse states
//! merge meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::channel::ClientId;
use crate::channel::agent::{AgentRules, AgentTask, AgentWay};
use crate::channel::device::{DeviceId, DeviceTask};
use crate::channel::main::AgentOrder;
use crate::observe::RateLimit;
use crate::protocol::agent::{
    DeviceReader, DisplayAddress, MouseStates, Reading, client_disconnected, device_info,
};

use super::kind::{Kind, Owner, Todo};

mod life;
mod passage;

/// Pieces that may wait for a client without tokens while others go on; then all wait for it, for 30 seconds at most.
pub const PIECES_WAITING: usize = 5;

static BROKEN: RateLimit = RateLimit::new();

/// What an agent's device asks of the session. Called under the device's lock: nothing of it may wait or
/// call the host.
pub(super) trait Session: Send {
    /// The agent is there; before anything is read.
    fn arrived(&self, agent: DeviceId);
    /// The agent is there no more: removed, or it broke the protocol.
    fn gone(&self, agent: DeviceId);
    /// For the main channel.
    fn tell_main(&self, order: AgentOrder);
    /// The monitors whose hardware is known.
    fn displays(&self) -> Vec<DisplayAddress>;
}

/// The device of one agent.
pub(super) struct Agent<S> {
    id: DeviceId,
    session: S,
    rules: Arc<AgentRules>,
    reader: DeviceReader,
    /// Clients that have opened their streams.
    clients: BTreeMap<ClientId, Attached>,
    own: Own,
    /// It broke the protocol: whatever comes after that is not looked at.
    ended: bool,
    /// Its client goes on at another server: nothing more is read, and nothing said.
    frozen: bool,
}

struct Attached {
    way: Arc<AgentWay>,
    /// Pieces that came while others had tokens and this one had not.
    waiting: VecDeque<Vec<u8>>,
    /// Pieces that it is given back when the first of its writes has been taken, if that is another server's.
    price: Option<u32>,
}

impl Attached {
    /// True if the next piece may be sent at once.
    fn is_open(&self) -> bool {
        self.waiting.is_empty() && self.way.is_open()
    }
}

/// What the server itself has to say.
#[derive(Default)]
struct Own {
    /// Messages on their way, oldest first: is it CLIENT_DISCONNECTED?
    out: VecDeque<bool>,
    mouse: MouseStates,
    /// The agent wants to know the monitors' hardware.
    wants_info: bool,
    info_is_due: bool,
}

impl<S: Session> Agent<S> {
    pub(super) fn new(id: DeviceId, session: S, rules: Arc<AgentRules>) -> Self {
        Self {
            id,
            session,
            rules,
            reader: DeviceReader::default(),
            clients: BTreeMap::new(),
            own: Own::default(),
            ended: false,
            frozen: false,
        }
    }

    /// Says what the server has to say, if nothing of it is on its way.
    fn say(&mut self, todo: &mut Todo) {
        if self.ended || self.frozen || !self.own.out.is_empty() {
            return;
        }
        let bytes = if std::mem::take(&mut self.own.info_is_due) {
            device_info(&self.session.displays())
        } else if let Some(state) = self.own.mouse.take() {
            state.chunk()
        } else {
            return;
        };
        self.own.out.push_back(false);
        todo.write(Owner::Server, bytes);
    }

    fn info_is_due(&mut self, todo: &mut Todo) {
        self.own.info_is_due = self.own.wants_info;
        self.say(todo);
    }

    /// The agent broke its protocol. Clients stay; the host may remove the device and add it anew.
    fn end(&mut self, todo: &mut Todo) {
        self.ended = true;
        self.clients.clear();
        todo.discard_all();
        todo.state(false);
        self.session.gone(self.id);
    }

    fn give(&self, client: ClientId, way: &AgentWay, piece: Vec<u8>) {
        way.give_client(piece.len());
        self.session.tell_main(AgentOrder::Data(self.id, client, piece));
    }

    /// Sends a piece to every client, or keeps it for those that have no tokens.
    fn deliver(&mut self, piece: Vec<u8>) {
        let mut clients = std::mem::take(&mut self.clients);
        let last = clients.keys().next_back().copied();
        let mut piece = Some(piece);
        for (id, attached) in &mut clients {
            // One copy less for the only client there mostly is.
            let mine = if Some(*id) == last { piece.take() } else { piece.clone() };
            let mine = mine.unwrap_or_default();
            if attached.is_open() {
                self.give(*id, &attached.way, mine);
                continue;
            }
            attached.waiting.push_back(mine);
            if attached.waiting.len() == 1 {
                self.session.tell_main(AgentOrder::Waits(*id, true));
            }
        }
        self.clients = clients;
    }

    /// A client has tokens or room again.
    fn room(&mut self) {
        let mut clients = std::mem::take(&mut self.clients);
        for (id, attached) in &mut clients {
            while !attached.waiting.is_empty() && attached.way.is_open() {
                let Some(piece) = attached.waiting.pop_front() else { break };
                self.give(*id, &attached.way, piece);
                if attached.waiting.is_empty() {
                    self.session.tell_main(AgentOrder::Waits(*id, false));
                }
            }
        }
        self.clients = clients;
    }

    /// A piece of this client was dealt with.
    fn taken(&self, client: ClientId) {
        if let Some(attached) = self.clients.get(&client) {
            self.pay(client, &attached.way);
        }
    }

    fn pay(&self, client: ClientId, way: &AgentWay) {
        if let Some(tokens) = way.device_took() {
            self.session.tell_main(AgentOrder::Tokens(self.id, client, tokens));
        }
    }

    fn agent_task(&mut self, task: AgentTask, todo: &mut Todo) {
        match task {
            AgentTask::Started(client, way) => {
                let attached = Attached { way, waiting: VecDeque::new(), price: None };
                self.clients.insert(client, attached);
                self.info_is_due(todo);
            }
            AgentTask::Taken(client) => self.taken(client),
            AgentTask::LastLeft => {
                // What the agent was about to say is nothing for the next client.
                self.reader.drop_message();
                // An agent that takes nothing is told once: no client's bytes come behind it while it waits.
                if self.own.out.back() != Some(&true) {
                    self.own.out.push_back(true);
                    todo.write(Owner::Server, client_disconnected());
                }
            }
            AgentTask::Mouse(state) => {
                self.own.mouse.push(state);
                self.say(todo);
            }
            AgentTask::DeviceInfo => self.info_is_due(todo),
            AgentTask::Freeze(client) => self.freeze(client),
            AgentTask::HandOver(_) => todo.hand_over(),
            AgentTask::Resumed(client, resumed) => self.resume(client, *resumed, todo),
        }
    }
}

impl<S: Session> Kind for Agent<S> {
    /// With nobody attached everything is read, and dropped.
    fn wants(&mut self) -> usize {
        let full = |attached: &Attached| attached.waiting.len() >= PIECES_WAITING;
        let open = self.clients.is_empty()
            || (!self.clients.values().any(full) && self.clients.values().any(Attached::is_open));
        let still = self.ended || self.frozen || self.rules.is_held();
        if open && !still { self.reader.wanted() } else { 0 }
    }

    fn read(&mut self, bytes: &[u8], todo: &mut Todo) {
        let rules = self.rules.for_agent(!self.clients.is_empty());
        match self.reader.take(bytes, rules) {
            Ok(Reading::Incomplete | Reading::Dropped) => {}
            Ok(Reading::Piece { data, wants_device_info }) => {
                self.deliver(data);
                if let Some(wants) = wants_device_info {
                    self.own.wants_info = wants;
                    self.info_is_due(todo);
                }
            }
            Err(error) => {
                if BROKEN.allow() {
                    tracing::warn!("the guest's agent broke its protocol: {error}");
                }
                self.end(todo);
            }
        }
    }

    fn written(&mut self, owner: Owner, _bytes: usize, todo: &mut Todo) {
        match owner {
            Owner::Client(client) => self.written_of(client),
            Owner::Server => {
                self.own.out.pop_front();
                self.say(todo);
            }
        }
    }

    fn task(&mut self, task: DeviceTask, todo: &mut Todo) {
        if self.ended {
            return;
        }
        match task {
            DeviceTask::Data(client, bytes) if self.clients.contains_key(&client) => {
                todo.write(Owner::Client(client), bytes);
            }
            DeviceTask::Left(client) => {
                self.clients.remove(&client);
                self.frozen = false;
                todo.discard(Owner::Client(client));
            }
            DeviceTask::Room => self.room(),
            DeviceTask::Agent(task) => self.agent_task(task, todo),
            DeviceTask::Data(..)
            | DeviceTask::Message(..)
            | DeviceTask::Attached(_)
            | DeviceTask::Event(_)
            | DeviceTask::Codecs(_)
            | DeviceTask::Refuse
            | DeviceTask::HandOver(_)
            | DeviceTask::Begun(_)
            | DeviceTask::Continue => {}
        }
    }

    fn handing_over(&mut self, bytes: Vec<u8>, _todo: &mut Todo) {
        for (client, attached) in &self.clients {
            let order =
                AgentOrder::HandedOver(self.id, *client, bytes.clone(), attached.way.unpaid());
            self.session.tell_main(order);
        }
    }

    /// Each piece is a chunk with a head of its own.
    fn joins_writes(&self) -> bool {
        true
    }

    fn added(&mut self, todo: &mut Todo) {
        todo.state(true);
        self.session.arrived(self.id);
    }

    fn removed(&mut self, todo: &mut Todo) {
        if !std::mem::replace(&mut self.ended, true) {
            todo.state(false);
            self.session.gone(self.id);
        }
    }
}

#[cfg(test)]
mod tests;

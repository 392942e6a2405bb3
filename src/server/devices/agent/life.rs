//! How an agent comes and goes, for the session.

use std::io;
use std::sync::{Arc, Weak};

use crate::channel::device::DeviceId;
use crate::channel::main::AgentOrder;
use crate::protocol::agent::DisplayAddress;
use crate::server::Core;

use super::super::Role;
use super::{Agent, Session};

impl Core {
    pub(in super::super) fn add_agent(self: &Arc<Self>, id: DeviceId) -> io::Result<()> {
        if self.session().agent.is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is an agent already"));
        }
        let session = AgentSession(Arc::downgrade(self));
        let agent = Agent::new(id, session, Arc::clone(&self.agent_rules));
        self.start_device(id, Role::Agent, Box::new(agent));
        Ok(())
    }

    /// The agent came or went, if `applies` to the one that is there: clients hear of the mouse modes first.
    fn agent_changed(
        &self,
        agent: Option<DeviceId>,
        applies: impl FnOnce(Option<DeviceId>) -> bool,
    ) {
        let mut session = self.session();
        if !applies(session.agent) {
            return;
        }
        session.agent = agent;
        let consequences = session.mouse.set_agent(agent.is_some());
        drop(session);
        self.after_mouse_change(consequences);
        self.session().tell_main(AgentOrder::Present(agent));
    }
}

/// What an agent's device knows of its server.
struct AgentSession(Weak<Core>);

impl Session for AgentSession {
    fn arrived(&self, agent: DeviceId) {
        if let Some(core) = self.0.upgrade() {
            core.agent_changed(Some(agent), |now| now.is_none());
        }
    }

    fn gone(&self, agent: DeviceId) {
        if let Some(core) = self.0.upgrade() {
            core.agent_changed(None, |now| now == Some(agent));
        }
    }

    fn tell_main(&self, order: AgentOrder) {
        if let Some(core) = self.0.upgrade() {
            core.session().tell_main(order);
        }
    }

    fn displays(&self) -> Vec<DisplayAddress> {
        self.0.upgrade().map(|core| core.session().display_addresses()).unwrap_or_default()
    }
}

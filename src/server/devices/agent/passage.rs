//! How a client's stream passes from one server's agent to another's, while the machine stands still.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::channel::ClientId;
use crate::channel::agent::Resumed;
use crate::channel::main::AgentOrder;
use crate::protocol::agent::Reading;

use super::super::kind::{Owner, Todo};
use super::{Agent, Attached, Session};

impl<S: Session> Agent<S> {
    /// Tells what has been read for a client that goes, and where the agent is in its stream.
    pub(super) fn freeze(&mut self, client: ClientId) {
        self.frozen = true;
        match self.reader.cut(self.rules.for_agent(true)) {
            Ok(Reading::Piece { data, .. }) => self.deliver(data),
            Ok(Reading::Incomplete | Reading::Dropped) => {}
            // Nothing of it can go on.
            Err(error) => tracing::warn!("the guest's agent broke its protocol: {error}"),
        }
        let Some(attached) = self.clients.get_mut(&client) else { return };
        // Whether it has tokens for them or not: at the other server they would be lost.
        let waiting = std::mem::take(&mut attached.waiting);
        let way = Arc::clone(&attached.way);
        for piece in waiting {
            self.give(client, &way, piece);
        }
        self.session.tell_main(AgentOrder::Frozen(self.id, client, self.reader.handover()));
    }

    /// A client goes on here. What its server had not written comes before all else.
    pub(super) fn resume(&mut self, client: ClientId, resumed: Resumed, todo: &mut Todo) {
        let Resumed { way, reader, write, price } = resumed;
        self.reader = reader;
        self.rules.release();
        let price = (!write.is_empty()).then_some(price);
        if let Some(way) = way {
            self.clients.insert(client, Attached { way, waiting: VecDeque::new(), price });
        }
        if !write.is_empty() {
            todo.write(Owner::Client(client), write);
        }
    }

    /// A write of a client's has been taken, or dropped.
    pub(super) fn written_of(&mut self, client: ClientId) {
        let Some(attached) = self.clients.get_mut(&client) else { return };
        let pieces = attached.price.take().unwrap_or(1);
        for _ in 0..pieces {
            self.taken(client);
        }
    }
}

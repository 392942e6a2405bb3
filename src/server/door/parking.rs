//! Connections of clients that come from another server. They have passed the handshake and wait, without a message in
//! either direction, until the client has left that server: hours, if the machine is large. Those that bring what that
//! server knows go on to their channels and wait there.
//!
//! There is one at most for each channel of a client whose main connection is here, so they need no place in the crowd.

use std::sync::Arc;
use std::time::Instant;

use crate::channel::{Attach, Upward};
use crate::link::handshake::Linked;
use crate::link::message::{LinkCode, link_result};
use crate::transport::connection::Connection;
use crate::transport::reactor::Key;

use super::Hall;
use super::stage::{Progress, Visitor};

impl Hall {
    /// Accepts a link whose channel is to begin later.
    pub(super) fn park(&mut self, key: Key, linked: Linked) {
        let Some(visitor) = self.visitors.get_mut(&key) else { return };
        visitor.parks(linked, Instant::now());
        self.crowd.leave(key, visitor.origin);
        self.send(key, &link_result(LinkCode::Ok));
    }

    /// A parked connection has ended.
    pub(super) fn left_parking(&self, connection: &Arc<Connection>) {
        if let Some(identity) = connection.identity.get() {
            self.core.closed(connection, identity.client);
        }
    }

    /// Brings those to their channels whose client has arrived or brings their data, and closes those whose client has gone.
    pub(super) fn let_in_parked(&mut self) {
        let parked = |visitor: &Visitor| matches!(visitor.progress, Progress::Parked(_));
        let keys: Vec<Key> =
            self.visitors.iter().filter(|(_, v)| parked(v)).map(|(key, _)| *key).collect();
        for key in keys {
            self.unpark(key);
        }
    }

    fn unpark(&mut self, key: Key) {
        let Some(visitor) = self.visitors.get(&key) else { return };
        let connection = Arc::clone(&visitor.connection);
        let core = Arc::clone(&self.core);
        // Held until the channel has its order, as for those who need not wait.
        let session = core.session();
        let route = match session.may_enter(&connection) {
            None => return,
            Some(Ok(route)) => route,
            Some(Err(_)) => {
                drop(session);
                return self.close(key);
            }
        };
        let Some(visitor) = self.forget(key) else { return };
        let (Progress::Parked(linked), Some((stream, unread))) =
            (visitor.progress, self.reactor.remove(key))
        else {
            return;
        };
        let client = connection.identity.get().map_or(0, |identity| identity.client);
        let (speed, inherits) = (session.speed_of(client), session.inherits(client));
        let running = session.vm_running;
        route.attach(Attach {
            stream,
            unread,
            first: Vec::new(),
            connection,
            client,
            speed,
            caps: linked.channel_caps,
            mini_header: linked.mini_header,
            nudge: visitor.layered,
            arriving: false,
            inherits,
            moved: true,
        });
        if inherits && running {
            route.machine_runs();
        }
    }
}

//! What the host does when the machine moves to another server (spec 03 §6): the five calls, and the two answers.
//!
//! The main channel's thread knows the clients' part; here stand the destination and what the calls return.

use crate::channel::main::{MainOrder, MigrationEvent, MigrationOrder};
use crate::protocol::migrate::Destination;

use super::Core;
use super::host::HostTask;

/// Where clients are sent.
#[derive(Debug, Default)]
pub struct Destinations {
    /// Of `migrate_connect`, until `migrate_end`.
    prepared: Option<Destination>,
    /// Of `migrate_info`, for `migrate_switch`.
    switch: Option<Destination>,
}

/// `migrate_end` for a machine that has moved, whose clients nobody has told where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine has moved, but no destination was given: its clients are disconnected")]
pub struct NoDestination;

impl Core {
    /// Sends the clients to the target, where they connect while they stay here. `migrate_connect_complete` follows,
    /// within ten seconds.
    pub fn migrate_connect(&self, to: Destination) {
        let mut session = self.session();
        session.destination.prepared = Some(to.clone());
        if session.has_base() {
            let seamless = session.settings.seamless();
            session.tell_main(MigrationOrder::Begin(Box::new(to), seamless));
        } else {
            // No thread, no client.
            drop(session);
            self.tell_of_migration(MigrationEvent::Connected);
        }
    }

    /// Has a host's `migrate_connect_complete` called although nothing was begun.
    pub fn refuse_migration(&self) {
        self.tell_of_migration(MigrationEvent::Connected);
    }

    /// True if there is a destination.
    #[must_use]
    pub fn has_destination(&self) -> bool {
        self.session().destination.prepared.is_some()
    }

    /// The machine has moved, or (false) stays. `migrate_end_complete` follows, within ten seconds.
    ///
    /// # Errors
    /// Nobody knows where to; the clients are disconnected then.
    pub fn migrate_end(&self, completed: bool) -> Result<(), NoDestination> {
        let mut session = self.session();
        let lost = session.destination.prepared.take().is_none() && completed;
        if lost && session.client_count() > 0 {
            let leaving = session.drop_all_clients();
            drop(session);
            self.wait_until(|session| !session.has_any(&leaving));
            self.tell_of_migration(MigrationEvent::Ended);
            return Err(NoDestination);
        }
        if session.has_base() {
            session.tell_main(MigrationOrder::End(completed));
        } else {
            drop(session);
            self.tell_of_migration(MigrationEvent::Ended);
        }
        Ok(())
    }

    /// Where [`Core::migrate_switch`] sends the clients.
    pub fn migrate_info(&self, to: Destination) {
        self.session().destination.switch = Some(to);
    }

    /// Has the clients leave at once and begin anew elsewhere.
    pub fn migrate_switch(&self) {
        let session = self.session();
        match session.destination.switch.clone() {
            Some(to) => session.tell_main(MigrationOrder::Switch(Box::new(to))),
            None => tracing::warn!(
                "clients cannot be sent away: spice_server_migrate_info was not called"
            ),
        }
    }

    /// Tells the host, on its own thread.
    pub(super) fn tell_of_migration(&self, event: MigrationEvent) {
        self.post(HostTask::Migration(event));
    }
}

impl From<MigrationOrder> for MainOrder {
    fn from(order: MigrationOrder) -> Self {
        Self::Migration(order)
    }
}

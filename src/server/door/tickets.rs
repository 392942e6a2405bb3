//! Opening tickets: RSA on threads of its own, so that neither the other visitors nor the host wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::channel::{Handle, Order};
use crate::link::key::{Sealed, Undecryptable};
use crate::link::ticket::TicketRefused;
use crate::sys::thread::spawn;
use crate::transport::reactor::Key;

use super::crowd::MAX_VISITORS;
use super::{Core, DoorOrder};

/// Threads at most. One thread opens more tickets a second than any host has clients.
const MAX_THREADS: usize = 2;

struct Job {
    visitor: Key,
    sealed: Sealed,
    skip_auth: bool,
}

/// The way to the threads. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Tickets {
    jobs: Sender<Job>,
}

impl Tickets {
    /// Starts the threads; answers come to the door as [`DoorOrder::Checked`].
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(
        core: &Arc<Core>,
        door: &Handle<DoorOrder>,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        // Every visitor has one ticket at most, so the queue is never full.
        let (jobs, waiting) = bounded(MAX_VISITORS);
        // One processor stays for the guest and for the other visitors.
        let spare = thread::available_parallelism().map_or(1, |n| n.get() - 1);
        let threads = (0..spare.clamp(1, MAX_THREADS)).map(|n| {
            let (core, waiting, door) = (Arc::clone(core), waiting.clone(), door.clone());
            spawn(&format!("spice-ticket-{n}"), move || work(&core, &waiting, &door))
        });
        Ok((Self { jobs }, threads.collect::<io::Result<_>>()?))
    }

    /// Has a ticket looked at. False if that cannot be.
    pub(super) fn check(&self, visitor: Key, sealed: Sealed, skip_auth: bool) -> bool {
        self.jobs.try_send(Job { visitor, sealed, skip_auth }).is_ok()
    }
}

fn work(core: &Arc<Core>, jobs: &Receiver<Job>, door: &Handle<DoorOrder>) {
    for job in jobs {
        let answer = catch_unwind(AssertUnwindSafe(|| check(core, &job)));
        let answer = answer.unwrap_or(Err(TicketRefused::Undecryptable(Undecryptable)));
        door.send(Order::Do(DoorOrder::Checked(job.visitor, answer)));
    }
}

/// The text of the ticket never leaves this function, and is wiped at its end.
fn check(core: &Core, job: &Job) -> Result<(), TicketRefused> {
    // The arithmetic runs outside the lock, which the host's calls need.
    let text = job.sealed.key.decrypt(&job.sealed.ticket)?;
    if job.skip_auth {
        return Ok(());
    }
    core.session().ticket.check_text(&text, Instant::now())
}

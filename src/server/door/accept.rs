//! Taking connections from listeners, also when the process has no descriptor for them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::observe::RateLimit;
use crate::sync::mailbox::Mailbox;
use crate::transport::connection::Connection;
use crate::transport::reactor::{Key, Reactor};
use crate::transport::stream::Stream;

use super::{Hall, HostTask};

/// Until accepting is tried again after it failed or the host was behind.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections accepted in one go.
const ACCEPT_BATCH: usize = 64;
/// Connections accepted in a stretch of time, from all listeners: 4,000 a second, twice what can log in. What a flood
/// has beyond that waits in the kernel and leaves the processors to the host; in short turns, for the same reason.
const PACE: u32 = 8;
/// That time.
const PACE_TIME: Duration = Duration::from_millis(2);

static ACCEPT_ERRORS: RateLimit = RateLimit::new();

/// Listeners that are not asked before a time.
#[derive(Debug, Default)]
pub(super) struct Paused {
    again: Option<(Instant, Vec<Key>)>,
}

impl Paused {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again.as_ref().map(|(at, _)| *at)
    }

    fn pause(&mut self, listener: Key, time: Duration) {
        let at = Instant::now() + time;
        let (_, listeners) = self.again.get_or_insert_with(|| (at, Vec::new()));
        if !listeners.contains(&listener) {
            listeners.push(listener);
        }
    }

    fn over(&mut self, now: Instant) -> Vec<Key> {
        self.again.take_if(|(at, _)| *at <= now).map(|(_, keys)| keys).unwrap_or_default()
    }
}

/// How many connections were accepted lately.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    accepted: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, accepted: 0 }
    }

    /// How long the next one has to wait, if it has to.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let left = PACE_TIME.checked_sub(now.saturating_duration_since(self.since));
        match left.filter(|left| !left.is_zero()) {
            None => *self = Self::new(now),
            Some(left) if self.accepted >= PACE => return Some(left),
            Some(_) => {}
        }
        None
    }
}

/// A descriptor that is given up for a moment when there is no other, so that a peer can be turned away instead of
/// waiting in the kernel's queue for nothing.
#[derive(Debug)]
pub(super) struct Spare(Option<OwnedFd>);

impl Spare {
    pub(super) fn new(mailbox: &Mailbox<HostTask>) -> Self {
        let mut spare = Self(None);
        spare.refill(mailbox);
        spare
    }

    fn refill(&mut self, mailbox: &Mailbox<HostTask>) {
        if self.0.is_none() {
            self.0 = rustix::io::fcntl_dupfd_cloexec(mailbox.descriptor(), 3).ok();
        }
    }

    /// Takes one connection and closes it at once. False if not even that works.
    fn turn_away(&mut self, reactor: &mut dyn Reactor, listener: Key) -> bool {
        drop(self.0.take());
        reactor.accept(listener).is_ok()
    }
}

/// True for errors that last until somebody gives something back.
fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|e| exhausted.contains(&e))
}

impl Hall {
    /// Accepts what waits, a batch at most.
    pub(super) fn accept(&mut self, listener: Key) {
        let mut pause = Duration::ZERO;
        for _ in 0..ACCEPT_BATCH {
            if self.core.mailbox().is_busy() {
                // The host does not even hear of those who are here.
                return self.paused.pause(listener, ACCEPT_PAUSE);
            }
            if let Some(wait) = self.pace.wait(Instant::now()) {
                return self.paused.pause(listener, wait);
            }
            match self.reactor.accept(listener) {
                Ok(fd) => match Stream::adopt(fd) {
                    Ok(stream) => {
                        self.pace.accepted += 1;
                        let tls = self.tls_listeners.get(&listener).cloned();
                        let connection = Connection::of(&stream);
                        let connection =
                            if tls.is_some() { connection.inside_tls() } else { connection };
                        self.enter(stream, Arc::new(connection), false, false, tls);
                    }
                    Err((_, error)) => tracing::debug!(%error, "a connection was unusable"),
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    pause = ACCEPT_PAUSE;
                    if !self.made_room(listener, &error) {
                        break;
                    }
                }
            }
        }
        self.paused.pause(listener, pause);
    }

    /// Asks listeners again whose pause is over.
    pub(super) fn accept_again(&mut self) {
        for listener in self.paused.over(Instant::now()) {
            self.spare.refill(self.core.mailbox());
            self.accept(listener);
        }
    }

    /// The process has nothing left for a connection: a visitor gives its place up, or the new one is turned away.
    /// False if neither helps.
    fn made_room(&mut self, listener: Key, error: &io::Error) -> bool {
        let exhausted = is_exhausted(error);
        let leaver = self.crowd.first_to_go().filter(|_| exhausted);
        let turned_away =
            exhausted && leaver.is_none() && self.spare.turn_away(&mut *self.reactor, listener);
        if let Some(more) = ACCEPT_ERRORS.pass() {
            let then = match (leaver, turned_away) {
                (Some(_), _) => ", the oldest at the door is closed for it",
                (None, true) => ", it is turned away",
                (None, false) => "",
            };
            tracing::warn!(%error, "a connection cannot be accepted now{then}{more}");
        }
        if let Some(leaver) = leaver {
            self.close(leaver.key);
        }
        self.spare.refill(self.core.mailbox());
        leaver.is_some() || turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_last_are_told_from_those_of_one_peer() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(is_exhausted(&errno.into()));
        }
        for errno in [Errno::CONNABORTED, Errno::PERM, Errno::PROTO, Errno::AGAIN] {
            assert!(!is_exhausted(&errno.into()));
        }
    }

    #[test]
    fn a_flood_waits_for_the_next_stretch_and_a_few_never_do() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..PACE {
            assert_eq!(pace.wait(at(1)), None);
            pace.accepted += 1;
        }
        assert_eq!(pace.wait(at(1)), Some(Duration::from_millis(1)));
        assert_eq!(pace.wait(at(2)), None);
        assert_eq!(pace.accepted, 0);
        for ms in 3..1000 {
            assert_eq!(pace.wait(at(ms)), None);
            pace.accepted += 1;
        }
    }
}

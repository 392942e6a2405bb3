//! What is said at the door: the greeting, the handshake's steps, and last answers.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::Order;
use crate::link::greeting::{Greeting, greeting};
use crate::link::handshake::Step;
use crate::link::message::LinkError;
use crate::link::sasl::{SaslAnswer, SaslAsk, SaslRefused};
use crate::link::ticket::TicketRefused;
use crate::observe::RateLimit;
use crate::transport::connection::Connection;
use crate::transport::reactor::Key;
use crate::transport::websocket::WebSocket;
use zeroize::Zeroizing;

use super::super::auth::{AuthPool, Cyrus};
use super::stage::{Progress, Stage};
use super::{DoorOrder, Hall, REFUSALS};

/// More bytes than any stage of the handshake asks for, but for SASL, which says how many.
const PEEK: usize = 4200;

static WRONG_TICKETS: RateLimit = RateLimit::new();

/// The one line that a refusal is worth.
pub(super) fn refused(kind: &RateLimit, connection: &Connection, why: &dyn Display) {
    if let Some(more) = kind.pass() {
        tracing::warn!(peer = connection.peer_name(), "link refused: {why}{more}");
    }
}

impl Hall {
    /// Goes on with a visitor as far as its bytes allow.
    pub(super) fn talk(&mut self, key: Key) {
        loop {
            let Some(visitor) = self.visitors.get_mut(&key) else { return };
            let unread = self.reactor.unread(key);
            match visitor.progress {
                Progress::Greeting => return self.greet(key),
                Progress::Talking => {}
                // Nothing of it is wanted any more.
                Progress::Leaving | Progress::Held(_) => {
                    let all = unread.len();
                    return self.reactor.consume(key, all);
                }
                Progress::Waiting(_) | Progress::Parked(_) => return,
            }
            let wants = visitor.handshake.wants();
            if unread.len() < wants {
                // Not copied again for every byte that comes.
                return;
            }
            let most = unread.len().min(PEEK.max(wants));
            // They may hold a password.
            let mut bytes = Zeroizing::new(unread.get(..most).unwrap_or_default().to_vec());
            let before = bytes.len();
            let now = Instant::now();
            let step = visitor.handshake.feed(&mut bytes, now, &mut self.policy);
            if visitor.waits_for(visitor.link_stage(), now) {
                self.crowd.advance(key, visitor.origin);
            }
            self.reactor.consume(key, before - bytes.len());
            match step {
                // What it wants next may be more than it was shown.
                Step::NeedMore if self.reactor.unread(key).len() >= visitor.handshake.wants() => {}
                Step::NeedMore | Step::NeedKey | Step::NeedAnswer => return,
                Step::Send(reply) => {
                    self.ask_for_keys();
                    self.tell_early(key, now);
                    self.send(key, &reply);
                }
                Step::Check(sealed) => {
                    let skip_auth = visitor.handshake.skips_auth();
                    if !self.tickets.check(key, sealed, skip_auth) {
                        self.close(key);
                    }
                    return;
                }
                Step::Ask(ask) => {
                    if let Err(refused) = self.ask(key, ask)
                        && let Some(visitor) = self.visitors.get_mut(&key)
                    {
                        visitor.handshake.answered(SaslAnswer::Failed(refused));
                    }
                }
                end => return self.end(key, end),
            }
        }
    }

    /// Finds out what a visitor speaks.
    fn greet(&mut self, key: Key) {
        let Some(visitor) = self.visitors.get_mut(&key) else { return };
        match greeting(self.reactor.unread(key)) {
            Greeting::NeedMore => {}
            Greeting::Http => {
                visitor.waits_for(Stage::Request, Instant::now());
            }
            Greeting::Link => {
                visitor.progress = Progress::Talking;
                self.talk(key);
            }
            Greeting::WebSocket { reply, consumed } => {
                visitor.progress = Progress::Talking;
                visitor.waits_for(visitor.link_stage(), Instant::now());
                self.crowd.advance(key, visitor.origin);
                let layer = WebSocket::new(Arc::clone(&visitor.connection));
                self.reactor.consume(key, consumed);
                self.send(key, &reply);
                // What came behind the request is told of as received once more.
                self.reactor.add_layer(key, Box::new(layer));
            }
            Greeting::Page { reply, status } => {
                if status >= 400 {
                    refused(&REFUSALS, &visitor.connection, &format!("HTTP status {status}"));
                }
                self.leave(key, &reply);
            }
        }
    }

    /// The answer to a ticket.
    pub(super) fn checked(&mut self, key: Key, answer: Result<(), TicketRefused>) {
        // The visitor may have gone meanwhile.
        if let Some(visitor) = self.visitors.get_mut(&key) {
            let step = visitor.handshake.checked(answer);
            self.end(key, step);
        }
    }

    /// Has a SASL mechanism asked; the answer is an order.
    fn ask(&mut self, key: Key, ask: SaslAsk) -> Result<(), SaslRefused> {
        let Some(visitor) = self.visitors.get_mut(&key) else { return Ok(()) };
        if self.authenticators.is_none() {
            let door = self.orders.clone();
            let started = AuthPool::start(move |key, sasl, answer| {
                door.send(Order::Do(DoorOrder::Answer(key, sasl, answer)));
            });
            self.authenticators = Some(
                started
                    .inspect_err(|error| {
                        tracing::error!(%error, "no thread for SASL could be started");
                    })
                    .map_err(|_| SaslRefused::Busy)?,
            );
        }
        let Some(authenticators) = &self.authenticators else { return Err(SaslRefused::Busy) };
        let sasl = visitor.sasl.take();
        let sasl = sasl.unwrap_or_else(|| Box::new(Cyrus::new(&visitor.connection)));
        authenticators.ask(key, &visitor.here, sasl, ask)
    }

    /// What a SASL mechanism said.
    pub(super) fn answered(&mut self, key: Key, sasl: Box<Cyrus>, answer: SaslAnswer) {
        // The visitor may have gone meanwhile.
        if let Some(visitor) = self.visitors.get_mut(&key) {
            visitor.sasl = Some(sasl);
            visitor.handshake.answered(answer);
            self.talk(key);
        }
    }

    /// The last step of a handshake.
    pub(super) fn end(&mut self, key: Key, step: Step) {
        let Some(visitor) = self.visitors.get_mut(&key) else { return };
        match step {
            Step::Authenticated(linked) => {
                // What was sent so far goes without the layer; everything from the link result on is inside.
                if let Some(layer) = visitor.sasl.take().and_then(|sasl| sasl.into_layer()) {
                    visitor.layered = true;
                    self.reactor.add_layer(key, Box::new(layer));
                }
                self.let_in(key, linked);
            }
            Step::Refuse(refusal) => {
                let wrong = match refusal.reason {
                    LinkError::Ticket(_) => true,
                    LinkError::SaslAuth(refused) => refused.is_guess(),
                    _ => false,
                };
                let kind = if wrong { &WRONG_TICKETS } else { &REFUSALS };
                refused(kind, &visitor.connection, &refusal.reason);
                let now = Instant::now();
                let wait =
                    if wrong { self.backoff.wrong(visitor.origin, now) } else { Duration::ZERO };
                if wait.is_zero() {
                    self.leave(key, &refusal.reply);
                } else {
                    visitor.hold(refusal.reply, now + wait);
                }
            }
            _ => {}
        }
    }

    pub(super) fn send(&mut self, key: Key, bytes: &[u8]) {
        if let Some(outbox) = self.reactor.outbox(key) {
            outbox.push(bytes);
        }
        self.reactor.flush(key);
    }

    /// Sends a last answer and closes once it is out, so that the peer can read it.
    pub(super) fn leave(&mut self, key: Key, answer: &[u8]) {
        if answer.is_empty() {
            return self.close(key);
        }
        if let Some(visitor) = self.visitors.get_mut(&key) {
            visitor.leaves(Instant::now());
        }
        self.send(key, answer);
    }

    pub(super) fn drained(&mut self, key: Key) {
        let leaving =
            self.visitors.get(&key).is_some_and(|v| matches!(v.progress, Progress::Leaving));
        if leaving {
            // With unread bytes a close would be a reset, and the answer lost.
            self.reactor.finish_sending(key);
        }
    }
}

//! How far a visitor has come, and how long it may take for each part of the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::main::ARRIVING_TIME;
use crate::link::handshake::{Awaited, Handshake, Linked};
use crate::server::auth::Cyrus;
use crate::transport::connection::Connection;

use super::origin::Origin;

/// For the whole way.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// For each thing that a peer has to send on it. Slow links take round trips of a second; the first bytes may stand
/// behind a TLS handshake, which takes two.
pub(super) const STAGE_TIME: Duration = Duration::from_secs(5);
/// A refused peer has this long to read why, before the socket is closed.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// What a visitor is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Enough bytes to know which protocol this is.
    FirstBytes,
    /// The head of an HTTP request.
    Request,
    /// Something of the link stage.
    Link(Awaited),
}

impl Stage {
    /// What is missing, for the log.
    pub(super) fn missing(self) -> &'static str {
        match self {
            Self::FirstBytes => "first bytes",
            Self::Request => "whole HTTP request",
            Self::Link(Awaited::Header) => "link header",
            Self::Link(Awaited::Message) => "link message",
            Self::Link(Awaited::Mechanism) => "authentication mechanism",
            Self::Link(Awaited::Ticket) => "ticket",
            Self::Link(Awaited::Sasl) => "word for SASL",
            Self::Link(Awaited::Nothing) => "end of the handshake",
        }
    }

    /// How long it may take; `None` if the peer is not to blame.
    fn time(self) -> Option<Duration> {
        (self != Self::Link(Awaited::Nothing)).then_some(STAGE_TIME)
    }
}

/// One connection at the door.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) connection: Arc<Connection>,
    pub(super) origin: Origin,
    pub(super) handshake: Handshake,
    pub(super) progress: Progress,
    /// The host has been told of it.
    pub(super) told: bool,
    /// Between two questions to a SASL mechanism, and after the last one: its state.
    pub(super) sasl: Option<Box<Cyrus>>,
    /// The mechanism has a security layer.
    pub(super) layered: bool,
    /// Tells those who ask mechanisms that the visitor is still here.
    pub(super) here: Arc<()>,
    /// End of the whole way, or of what `progress` waits for.
    deadline: Instant,
    stage: Stage,
    stage_deadline: Option<Instant>,
}

/// What happens with a visitor.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nobody knows yet which protocol it speaks.
    Greeting,
    /// The handshake goes on.
    Talking,
    /// Authenticated; other clients have to leave first.
    Waiting(Linked),
    /// Accepted; its client has not left the server that it comes from.
    Parked(Linked),
    /// Refused; the answer waits for the deadline.
    Held(Vec<u8>),
    /// Refused; what was queued is still going out.
    Leaving,
}

impl Visitor {
    pub(super) fn new(
        connection: Arc<Connection>,
        origin: Origin,
        handshake: Handshake,
        told: bool,
        now: Instant,
    ) -> Self {
        let (progress, stage) = (Progress::Greeting, Stage::FirstBytes);
        let deadline = now + HANDSHAKE_TIME;
        let stage_deadline = Some(now + STAGE_TIME);
        Self {
            connection,
            origin,
            handshake,
            progress,
            told,
            sasl: None,
            layered: false,
            here: Arc::new(()),
            deadline,
            stage,
            stage_deadline,
        }
    }

    /// Notes what the peer is waited for now; its time starts when that changes. True if it did.
    pub(super) fn waits_for(&mut self, stage: Stage, now: Instant) -> bool {
        let further = self.stage != stage;
        if further {
            self.stage = stage;
            self.stage_deadline = stage.time().map(|time| now + time);
        }
        further
    }

    /// The stage of the handshake, once the greeting is over.
    pub(super) fn link_stage(&self) -> Stage {
        Stage::Link(self.handshake.awaited())
    }

    /// Holds an answer back.
    pub(super) fn hold(&mut self, answer: Vec<u8>, until: Instant) {
        self.progress = Progress::Held(answer);
        self.stage_deadline = None;
        self.deadline = self.deadline.min(until);
    }

    /// It is in, and waits for its client to leave another server.
    pub(super) fn parks(&mut self, linked: Linked, now: Instant) {
        self.progress = Progress::Parked(linked);
        self.stage_deadline = None;
        self.deadline = now + ARRIVING_TIME;
    }

    /// Nothing is wanted of the peer but to read the last answer.
    pub(super) fn leaves(&mut self, now: Instant) {
        self.progress = Progress::Leaving;
        self.stage_deadline = None;
        self.deadline = now + LINGER;
    }

    /// When something has to be done about it.
    pub(super) fn next_deadline(&self) -> Instant {
        self.stage_deadline.map_or(self.deadline, |stage| stage.min(self.deadline))
    }

    /// What it is too late with, in a sentence for the log.
    pub(super) fn lateness(&self, now: Instant) -> String {
        let missing = self.stage.missing();
        if self.deadline <= now {
            format!("not through in {} s, still without {missing}", HANDSHAKE_TIME.as_secs())
        } else {
            format!("no {missing} in {} s", STAGE_TIME.as_secs())
        }
    }
}

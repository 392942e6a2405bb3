//! The migration of a session, as the main channel knows it: which clients were sent to the target, which have
//! arrived there, and which have come here from another server.
//!
//! A client that is able to, and whose target is, carries there what the channels know; the others begin anew. A client
//! that is sent stays until the machine has moved: it connects to the target first and says so, is told to go
//! when the host says that the machine is there, and closes its connections then. Each wait for clients ends after ten
//! seconds (spec 03 §6). The host is told once of each `migrate_connect` and of each `migrate_end`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::protocol::message::Message;
use crate::protocol::migrate::{self, Destination};

/// How long clients have to connect to the target, and to leave when the machine has moved.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long the connections of a client may be here before it has left its old server: a large machine moves for hours.
pub const ARRIVING_TIME: Duration = Duration::from_hours(24);

/// What the host is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationEvent {
    /// The clients have connected to the target, or will not.
    Connected,
    /// The clients have gone, or stay.
    Ended,
}

/// What the main channel is told of a migration.
#[derive(Debug)]
pub enum MigrationOrder {
    /// Send the clients to the target; the host allows that channels hand over what they know, or (false) does not.
    Begin(Box<Destination>, bool),
    /// The machine has moved there, or (false) stays here.
    End(bool),
    /// Send the clients there without any preparation.
    Switch(Box<Destination>),
}

/// What is to be done. In this order.
#[derive(Debug)]
pub(super) enum Action<K> {
    Send(K, Message),
    /// All channels of the client hand over what they know.
    HandOver(K),
    Close(K, &'static str),
    Tell(MigrationEvent),
}

/// What a client is able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ability {
    /// It can only begin anew elsewhere.
    BeginsAnew,
    /// It can connect to another server before it leaves this one.
    Prepares,
    /// It can also carry there what its channels know.
    HandsOver,
}

/// What a client says of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It could not connect.
    Failed,
    /// It has connected.
    Connected,
    /// It has, and the target takes over what the channels know.
    Seamless,
}

/// One client.
#[derive(Debug)]
struct Member {
    able: Ability,
    part: Part,
}

/// How far one client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is here.
    Here,
    /// It comes from another server and has not said that it has left that; it has until then to do so.
    Arriving { until: Instant },
    /// It has been sent to the target and has not answered.
    Asked,
    /// It has connected to the target, which takes over what the channels know if `seamless`.
    Connected { seamless: bool },
    /// It has not, or too late.
    Failed,
    /// It was told to go.
    Leaving,
}

impl Part {
    fn is_arriving(self) -> bool {
        matches!(self, Self::Arriving { .. })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No migration.
    Still,
    /// `migrate_connect` came and the host waits for its answer.
    Connecting { until: Instant },
    /// It has its answer.
    Connected,
    /// `migrate_end` came and the host waits for its answer.
    Leaving { until: Instant },
}

/// The state; all times are given from outside, clients are known by `K`.
#[derive(Debug)]
pub(super) struct Migration<K> {
    stage: Stage,
    parts: BTreeMap<K, Member>,
    to: Option<Destination>,
    /// The host allows that channels hand over what they know.
    seamless: bool,
}

impl<K: Copy + Ord> Migration<K> {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Still, parts: BTreeMap::new(), to: None, seamless: false }
    }

    /// A client has come, from another server if `arriving`.
    pub(super) fn attached(&mut self, key: K, arriving: bool, able: Ability, now: Instant) {
        let until = now + ARRIVING_TIME;
        let part = if arriving { Part::Arriving { until } } else { Part::Here };
        self.parts.insert(key, Member { able, part });
    }

    /// Something was agreed with a client that other servers do not know: it cannot take that there.
    pub(super) fn cannot_hand_over(&mut self, key: K) {
        if let Some(member) = self.parts.get_mut(&key) {
            member.able = member.able.min(Ability::Prepares);
        }
    }

    /// True until a client that comes from another server has arrived.
    pub(super) fn is_arriving(&self, key: K) -> bool {
        self.parts.get(&key).is_some_and(|member| member.part.is_arriving())
    }

    /// A client has left the other server for good. It is one of ours now.
    pub(super) fn arrived(&mut self, key: K, now: Instant) -> Vec<Action<K>> {
        if let Some(member) = self.parts.get_mut(&key) {
            member.part = Part::Here;
        }
        let waits = matches!(self.stage, Stage::Connecting { .. }) && !self.any(Part::Asked);
        if waits && !self.any_arriving() { self.send_all(now) } else { Vec::new() }
    }

    /// `migrate_connect`.
    pub(super) fn begin(
        &mut self,
        to: Destination,
        seamless: bool,
        now: Instant,
    ) -> Vec<Action<K>> {
        let mut actions = self.forget();
        (self.to, self.seamless) = (Some(to), seamless);
        if self.any_arriving() {
            // It has to be here before it can be sent on.
            self.stage = Stage::Connecting { until: now + PATIENCE };
        } else {
            actions.extend(self.send_all(now));
        }
        actions
    }

    /// Gives an unfinished migration up.
    fn forget(&mut self) -> Vec<Action<K>> {
        let mut actions = Vec::new();
        match self.stage {
            Stage::Still | Stage::Connected => {}
            Stage::Connecting { .. } => actions.push(Action::Tell(MigrationEvent::Connected)),
            Stage::Leaving { .. } => actions.extend(self.send_off("the machine has moved")),
        }
        actions.extend(self.stay());
        self.stage = Stage::Still;
        actions
    }

    /// Tells those who were sent that they stay.
    fn stay(&mut self) -> Vec<Action<K>> {
        let mut actions = Vec::new();
        for (key, Member { part, .. }) in &mut self.parts {
            if matches!(part, Part::Asked | Part::Connected { .. }) {
                actions.push(Action::Send(*key, migrate::cancel()));
            }
            if matches!(part, Part::Asked | Part::Connected { .. } | Part::Failed) {
                *part = Part::Here;
            }
        }
        actions
    }

    /// Closes those who were told to go and have not gone.
    fn send_off(&mut self, why: &'static str) -> Vec<Action<K>> {
        let late = self.parts.iter().filter(|(_, member)| member.part == Part::Leaving);
        let mut actions: Vec<Action<K>> = late.map(|(key, _)| Action::Close(*key, why)).collect();
        self.parts.retain(|_, member| member.part != Part::Leaving);
        actions.push(Action::Tell(MigrationEvent::Ended));
        actions
    }

    fn any(&self, wanted: Part) -> bool {
        self.parts.values().any(|member| member.part == wanted)
    }

    fn any_arriving(&self) -> bool {
        self.parts.values().any(|member| member.part.is_arriving())
    }

    fn send_all(&mut self, now: Instant) -> Vec<Action<K>> {
        let Some(to) = self.to.clone() else { return Vec::new() };
        let mut actions = Vec::new();
        // Servers hand one client over to each other.
        let seamless = self.seamless && self.parts.len() == 1;
        for (key, Member { able, part }) in &mut self.parts {
            if *part == Part::Here && *able >= Ability::Prepares {
                *part = Part::Asked;
                let hands_over = seamless && *able == Ability::HandsOver;
                let begin = if hands_over { migrate::begin_seamless } else { migrate::begin };
                actions.push(Action::Send(*key, begin(&to)));
            }
        }
        self.stage = Stage::Connecting { until: now + PATIENCE };
        actions.extend(self.all_answered());
        actions
    }

    /// Tells the host once nobody is waited for any more.
    fn all_answered(&mut self) -> Option<Action<K>> {
        let waits = self.any(Part::Asked) || self.any_arriving();
        let done = matches!(self.stage, Stage::Connecting { .. }) && !waits;
        done.then(|| {
            self.stage = Stage::Connected;
            Action::Tell(MigrationEvent::Connected)
        })
    }

    /// A client says whether it has connected to the target.
    pub(super) fn answered(&mut self, key: K, answer: Answer) -> Vec<Action<K>> {
        let asked = self.seamless;
        match self.parts.get_mut(&key) {
            Some(Member { part, able }) if *part == Part::Asked => {
                let hands_over = asked && *able == Ability::HandsOver;
                let seamless = hands_over && answer == Answer::Seamless;
                *part = match answer {
                    Answer::Failed => Part::Failed,
                    Answer::Connected | Answer::Seamless => Part::Connected { seamless },
                };
                self.all_answered().into_iter().collect()
            }
            // Too late, or out of nowhere: it is to give the target up.
            _ if answer != Answer::Failed => vec![Action::Send(key, migrate::cancel())],
            _ => Vec::new(),
        }
    }

    /// `migrate_end`.
    pub(super) fn end(&mut self, completed: bool, now: Instant) -> Vec<Action<K>> {
        let mut actions = Vec::new();
        if matches!(self.stage, Stage::Leaving { .. }) {
            actions.extend(self.send_off("the machine has moved"));
        }
        if matches!(self.stage, Stage::Connecting { .. }) {
            actions.push(Action::Tell(MigrationEvent::Connected));
        }
        self.stage = Stage::Still;
        let Some(to) = self.to.take().filter(|_| completed) else {
            actions.extend(self.stay());
            actions.push(Action::Tell(MigrationEvent::Ended));
            return actions;
        };
        for (key, Member { part, .. }) in &mut self.parts {
            actions.push(match part {
                Part::Connected { seamless: true } => Action::HandOver(*key),
                Part::Connected { seamless: false } => Action::Send(*key, migrate::end()),
                _ => Action::Send(*key, migrate::switch_host(&to)),
            });
            *part = Part::Leaving;
        }
        self.stage = Stage::Leaving { until: now + PATIENCE };
        actions.extend(self.all_left());
        actions
    }

    /// `migrate_switch`: nobody waits for anything.
    pub(super) fn switch(&self, to: &Destination) -> Vec<Action<K>> {
        self.parts.keys().map(|key| Action::Send(*key, migrate::switch_host(to))).collect()
    }

    fn all_left(&mut self) -> Option<Action<K>> {
        let done = matches!(self.stage, Stage::Leaving { .. }) && !self.any(Part::Leaving);
        done.then(|| {
            self.stage = Stage::Still;
            Action::Tell(MigrationEvent::Ended)
        })
    }

    /// A client has gone.
    pub(super) fn left(&mut self, key: K, now: Instant) -> Vec<Action<K>> {
        let was = self.parts.remove(&key).map(|member| member.part);
        let waits = matches!(self.stage, Stage::Connecting { .. }) && !self.any(Part::Asked);
        match was {
            // The others may have waited for it.
            Some(Part::Arriving { .. }) if waits && !self.any_arriving() => self.send_all(now),
            Some(_) => self.all_answered().into_iter().chain(self.all_left()).collect(),
            None => Vec::new(),
        }
    }

    /// When the next wait is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let arrivals = self.parts.values().filter_map(|member| match &member.part {
            Part::Arriving { until } => Some(*until),
            _ => None,
        });
        arrivals.chain(self.stage_deadline()).min()
    }

    fn stage_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Still | Stage::Connected => None,
            Stage::Connecting { until } | Stage::Leaving { until } => Some(until),
        }
    }

    /// Ends waits that are over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Action<K>> {
        let mut actions = self.expire_arrivals(now);
        if self.stage_deadline().is_none_or(|until| until > now) {
            return actions;
        }
        match self.stage {
            Stage::Connecting { .. } => {
                for (key, Member { part, .. }) in &mut self.parts {
                    match part {
                        Part::Asked => *part = Part::Failed,
                        Part::Arriving { .. } => {
                            let why = "did not arrive in ten seconds, and the machine moves on";
                            actions.push(Action::Close(*key, why));
                        }
                        _ => {}
                    }
                }
                self.parts.retain(|_, member| !member.part.is_arriving());
                actions.extend(self.all_answered());
            }
            Stage::Leaving { .. } => {
                self.stage = Stage::Still;
                actions.extend(self.send_off("did not leave in ten seconds"));
            }
            Stage::Still | Stage::Connected => {}
        }
        actions
    }

    /// Closes those who never leave their old server.
    fn expire_arrivals(&mut self, now: Instant) -> Vec<Action<K>> {
        let late = |m: &Member| matches!(m.part, Part::Arriving { until } if until <= now);
        let keys: Vec<K> =
            self.parts.iter().filter(|(_, m)| late(m)).map(|(key, _)| *key).collect();
        let why = "has not left its old server in 24 hours";
        let mut actions = Vec::new();
        for key in keys {
            actions.push(Action::Close(key, why));
            actions.extend(self.left(key, now));
        }
        actions
    }
}

#[cfg(test)]
mod tests;

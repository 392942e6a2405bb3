//! The link stage of one connection as a state machine: bytes in, [`Step`]s out.
//!
//! Runs on `spice-link`, which owns the socket and the deadlines and only moves bytes:
//!
//! ```text
//! read at most `wants()` bytes behind what is unread, then repeat `feed`:
//!   NeedMore → wait for the socket      NeedKey → wait for a key, then feed again
//!   Send(bytes) → write, feed again     Refuse → write its reply, close
//!   Check(sealed) → have it opened and compared elsewhere, go on with `checked`
//!   Ask → have it done elsewhere        NeedAnswer → wait for that, `answered`, then feed again
//!   Authenticated → bind to a session, write `link_result(code)`, hand the socket over
//! ```
//!
//! A client authenticates with a ticket or, if the host has turned that on, with SASL ([`super::sasl`]), never as it likes:
//! whoever the host has vouched for sends a ticket that nobody reads. First bytes that belong to another protocol never
//! get here (`link::greeting`); others that are not "REDQ" are refused as the protocol says.

use std::sync::Arc;
use std::time::Instant;

use crate::protocol::caps::{Caps, ChannelType, link};

use super::key::{ENCRYPTED_LEN, PUBLIC_KEY_LEN, Sealed, TicketKey};
use super::message::{self, HEADER_LEN, LinkError, LinkMessage, MAGIC};
use super::sasl::{SaslAnswer, SaslAsk, SaslStage, SaslStep};
use super::ticket::TicketRefused;

/// Authentication mechanism: a ticket.
const MECHANISM_TICKET: u32 = 1;
/// Authentication mechanism: SASL.
const MECHANISM_SASL: u32 = 2;

/// What the caller knows about a connection before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stage {
    /// The host has vouched for the peer: any ticket will do.
    pub skip_auth: bool,
    /// The connection is TLS; unix sockets and handed-over descriptors without TLS are plain.
    pub tls: bool,
}

/// What the host's security settings say to a channel on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityAnswer {
    /// Go on.
    Allowed,
    /// Only with TLS.
    NeedSecured,
    /// Only without TLS.
    NeedUnsecured,
}

/// What the handshake asks of the server.
pub trait LinkPolicy {
    /// Whether a channel of this type may be linked on such a connection. Any type may be asked.
    fn security(&self, channel: ChannelType, tls: bool) -> SecurityAnswer;

    /// Whether there is such a channel. The main channel is not asked for: it has any id.
    fn channel_exists(&self, channel: ChannelType, id: u8) -> bool;

    /// Capability words of a channel that exists; a few at most.
    fn channel_caps(&self, channel: ChannelType, id: u8) -> Vec<u32>;

    /// True if clients authenticate with SASL and not with a ticket. Asked once per link.
    fn sasl(&self) -> bool {
        false
    }

    /// The key for one link; `None` if there is none yet.
    fn ticket_key(&mut self, now: Instant) -> Option<Arc<TicketKey>>;
}

/// A connection whose peer has authenticated: what it wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Session to join; 0 asks for a new one (main channel only).
    pub connection_id: u32,
    /// Type of the channel.
    pub channel_type: ChannelType,
    /// Id of the channel.
    pub channel_id: u8,
    /// The client's capabilities of link stage and headers.
    pub common_caps: Caps,
    /// The client's capabilities of this channel.
    pub channel_caps: Caps,
    /// True if messages have the 6-byte header, in both directions.
    pub mini_header: bool,
}

/// The end of a connection that did not become a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// To be written before the end; may be empty.
    pub reply: Vec<u8>,
    /// For the log; the answer to a wrong ticket may have to wait (`server::door`).
    pub reason: LinkError,
}

/// What the caller has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read more.
    NeedMore,
    /// Wait until there is a key, then feed again.
    NeedKey,
    /// Write these bytes, and feed again at once: the next ones may be there already.
    Send(Vec<u8>),
    /// Find out whether this ticket lets its sender in, then call [`Handshake::checked`]. The arithmetic takes a good
    /// part of a millisecond: for another thread.
    Check(Sealed),
    /// Have a SASL mechanism asked, which may take long; then [`Handshake::answered`], and feed again.
    Ask(SaslAsk),
    /// The answer has not come yet.
    NeedAnswer,
    /// Bind to a session, write the link result, go on as a channel. What is unread now is the
    /// channel's first bytes. After SASL all of this is inside the mechanism's security layer, if it has one.
    Authenticated(Linked),
    /// Write the reply, shut the write side down, drain briefly and close: input that is still
    /// pending at the close would turn it into a reset, and the client may lose the reply.
    Refuse(Refusal),
}

/// The link stage of one connection.
#[derive(Debug)]
pub struct Handshake {
    stage: Stage,
    state: State,
}

#[derive(Debug)]
enum State {
    Magic,
    Header,
    Message {
        size: usize,
    },
    Key(LinkMessage),
    Mechanism(LinkMessage, Way),
    Ticket(LinkMessage, Arc<TicketKey>),
    Checking(LinkMessage),
    /// The client cannot choose SASL, and nothing else is on offer.
    SaslRequired,
    Sasl(LinkMessage, Box<SaslStage>),
    Over,
}

/// What a peer has to send next, for those who watch its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// Magic, versions, size.
    Header,
    /// The rest of the link message.
    Message,
    /// The mechanism of authentication.
    Mechanism,
    /// The encrypted ticket.
    Ticket,
    /// What a SASL mechanism needs.
    Sasl,
    /// Nothing: it waits for us.
    Nothing,
}

/// How a client has to authenticate.
#[derive(Debug)]
enum Way {
    Ticket(Arc<TicketKey>),
    Sasl,
}

impl Handshake {
    /// The stage before the first byte.
    #[must_use]
    pub fn new(stage: Stage) -> Self {
        Self { stage, state: State::Magic }
    }

    /// What the peer has to send next.
    #[must_use]
    pub fn awaited(&self) -> Awaited {
        match self.state {
            State::Magic | State::Header => Awaited::Header,
            State::Message { .. } => Awaited::Message,
            State::Mechanism(..) => Awaited::Mechanism,
            State::Ticket(..) => Awaited::Ticket,
            State::Sasl(_, ref stage) if stage.wants() > 0 => Awaited::Sasl,
            State::Key(_)
            | State::Checking(_)
            | State::SaslRequired
            | State::Sasl(..)
            | State::Over => Awaited::Nothing,
        }
    }

    /// True for a connection whose ticket only has to be one, not the right one.
    #[must_use]
    pub fn skips_auth(&self) -> bool {
        self.stage.skip_auth
    }

    /// Bytes that the next step is made of. A caller that never holds more than this unread never
    /// reads a byte of the channel's life, and never keeps more than 4096 bytes, or with SASL 65536.
    #[must_use]
    pub fn wants(&self) -> usize {
        match self.state {
            State::Magic => MAGIC.len(),
            State::Header => HEADER_LEN - MAGIC.len(),
            State::Message { size } => size,
            State::Mechanism(..) => 4,
            State::Ticket(..) => ENCRYPTED_LEN,
            State::Sasl(_, ref stage) => stage.wants(),
            State::Key(_) | State::Checking(_) | State::SaslRequired | State::Over => 0,
        }
    }

    /// Gives the answer to [`Step::Ask`]; without a question it is dropped.
    pub fn answered(&mut self, answer: SaslAnswer) {
        if let State::Sasl(_, stage) = &mut self.state {
            stage.answered(answer);
        }
    }

    /// Takes what it can from the front of `unread`, up to the next thing that the caller has to
    /// do. After [`Step::Authenticated`] and [`Step::Refuse`] the handshake is over.
    pub fn feed(
        &mut self,
        unread: &mut Vec<u8>,
        now: Instant,
        policy: &mut dyn LinkPolicy,
    ) -> Step {
        loop {
            match self.step(unread, now, policy) {
                Ok(None) => {}
                Ok(Some(step)) => return step,
                Err(reason) => return refuse(reason),
            }
        }
    }

    /// The answer to [`Step::Check`]. What comes without a question is refused.
    pub fn checked(&mut self, answer: Result<(), TicketRefused>) -> Step {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, answer) {
            (State::Checking(asked), Ok(())) => Step::Authenticated(linked(asked)),
            (State::Checking(_), Err(why)) => refuse(why.into()),
            _ => refuse(LinkError::Over),
        }
    }

    /// One state further; `None` if the caller has nothing to do in between.
    fn step(
        &mut self,
        unread: &mut Vec<u8>,
        now: Instant,
        policy: &mut dyn LinkPolicy,
    ) -> Result<Option<Step>, LinkError> {
        if unread.len() < self.wants() {
            return Ok(Some(Step::NeedMore));
        }
        let mut step = None;
        // Over while the next state is computed: an error needs no cleaning up.
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Magic => match take(unread)? {
                MAGIC => State::Header,
                other => return Err(LinkError::Magic(other)),
            },
            State::Header => {
                let size = message::check_header(take(unread)?)?;
                State::Message { size: usize::try_from(size).map_err(|_| LinkError::Size(size))? }
            }
            State::Message { size } => {
                let rest = unread.split_off(size);
                let bytes = std::mem::replace(unread, rest);
                let asked = message::parse_message(&bytes)?;
                self.check_channel(&asked, policy)?;
                State::Key(asked)
            }
            State::Key(asked) => {
                let sasl = policy.sasl() && !self.stage.skip_auth;
                // Who is going to use SASL needs no key, as in the reference.
                let keyless = sasl && asked.common_caps.has(link::AUTH_SASL);
                let key = if keyless { None } else { policy.ticket_key(now) };
                if key.is_none() && !keyless {
                    step = Some(Step::NeedKey);
                    State::Key(asked)
                } else {
                    step = Some(Step::Send(reply(&asked, key.as_deref(), sasl, policy)));
                    let selects = asked.common_caps.has(link::AUTH_SELECTION);
                    match (key.filter(|_| !sasl), selects) {
                        (Some(key), true) => State::Mechanism(asked, Way::Ticket(key)),
                        (Some(key), false) => State::Ticket(asked, key),
                        (None, true) => State::Mechanism(asked, Way::Sasl),
                        (None, false) => State::SaslRequired,
                    }
                }
            }
            State::Mechanism(asked, way) => match (u32::from_le_bytes(take(unread)?), way) {
                (MECHANISM_TICKET, Way::Ticket(key)) => State::Ticket(asked, key),
                (MECHANISM_SASL, Way::Sasl) => State::Sasl(asked, Box::default()),
                (other, _) => return Err(LinkError::Mechanism(other)),
            },
            State::SaslRequired => return Err(LinkError::SaslRequired),
            State::Sasl(asked, mut stage) => {
                step = Some(match stage.feed(unread)? {
                    SaslStep::NeedMore => Step::NeedMore,
                    SaslStep::NeedAnswer => Step::NeedAnswer,
                    SaslStep::Ask(ask) => Step::Ask(ask),
                    SaslStep::Send(bytes) => Step::Send(bytes),
                    SaslStep::Accepted => return Ok(Some(Step::Authenticated(linked(asked)))),
                });
                State::Sasl(asked, stage)
            }
            State::Ticket(asked, key) => {
                step = Some(Step::Check(Sealed { key, ticket: take(unread)? }));
                State::Checking(asked)
            }
            State::Checking(asked) => {
                step = Some(Step::NeedAnswer);
                State::Checking(asked)
            }
            State::Over => return Err(LinkError::Over),
        };
        Ok(step)
    }

    /// First security, then existence, as the reference does.
    fn check_channel(&self, asked: &LinkMessage, policy: &dyn LinkPolicy) -> Result<(), LinkError> {
        let (ty, id) = (asked.channel_type, asked.channel_id);
        match policy.security(ty, self.stage.tls) {
            SecurityAnswer::Allowed => {}
            SecurityAnswer::NeedSecured => return Err(LinkError::NeedSecured(ty)),
            SecurityAnswer::NeedUnsecured => return Err(LinkError::NeedUnsecured(ty)),
        }
        if ty != ChannelType::MAIN && !policy.channel_exists(ty, id) {
            return Err(LinkError::NoSuchChannel(ty, id));
        }
        Ok(())
    }
}

/// Without a key its field is zero.
fn reply(
    asked: &LinkMessage,
    key: Option<&TicketKey>,
    sasl: bool,
    policy: &dyn LinkPolicy,
) -> Vec<u8> {
    let way = if sasl { link::AUTH_SASL } else { link::AUTH_SPICE };
    let common = Caps::from_bits(&[link::AUTH_SELECTION, way, link::MINI_HEADER]);
    let channel = policy.channel_caps(asked.channel_type, asked.channel_id);
    let key = key.map_or(&[0; PUBLIC_KEY_LEN], TicketKey::public_der);
    message::ok_reply(key, common.words(), &channel)
}

fn refuse(reason: LinkError) -> Step {
    Step::Refuse(Refusal { reply: reason.reply(), reason })
}

fn linked(asked: LinkMessage) -> Linked {
    let mini_header = asked.common_caps.has(link::MINI_HEADER);
    let LinkMessage { connection_id, channel_type, channel_id, common_caps, channel_caps } = asked;
    Linked { connection_id, channel_type, channel_id, common_caps, channel_caps, mini_header }
}

/// Takes `N` bytes from the front.
fn take<const N: usize>(unread: &mut Vec<u8>) -> Result<[u8; N], LinkError> {
    let bytes = crate::protocol::wire::Reader::new(unread).array()?;
    unread.drain(..N);
    Ok(bytes)
}

#[cfg(test)]
mod tests;

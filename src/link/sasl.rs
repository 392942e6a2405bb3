//! The SASL stage of a link: which mechanism, then step by step until the peer is known or has to go (spec 02 §10).
//!
//! A state machine without I/O, as the handshake that it is a part of: bytes in, [`SaslStep`]s out. What a mechanism has to
//! say may take long, so it is asked for as a value ([`SaslAsk`]), carried out elsewhere by an [`Authenticator`], and comes back
//! as a [`SaslAnswer`]. There is never more than one question open.

use std::fmt;

use zeroize::Zeroizing;

use crate::protocol::wire::WireWrite;

use super::message::LinkError;

/// Longest name of a mechanism in bytes, as in the reference; longer ones end the connection.
pub const NAME_MAX: u32 = 100;
/// Most bytes of one step, both ways. The reference takes 1 MiB; no mechanism needs more than 64 KiB (the largest tickets
/// of Kerberos), and this many may wait for each of those who stand at the door.
pub const DATA_MAX: u32 = 64 * 1024;
/// Steps after which a peer is not going to be known. No mechanism has ten.
pub const STEPS_MAX: u32 = 32;

/// `complete` of a reply: the peer goes on, or there is nothing more to say.
const GO_ON: u8 = 0;
const COMPLETE: u8 = 1;
/// The word after the last step.
const ACCEPTED: u32 = 0;
const REJECTED: u32 = 1;
/// Goes with a rejection, as in the reference; its NUL is sent.
const REJECTION: &[u8] = b"Authentication failed\0";

/// Bytes that may be a password: wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the caller has no other copy.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// What an authenticator is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslAsk {
    /// Say which mechanisms there are.
    Mechanisms,
    /// Begin with this one.
    Start {
        /// Its name, which was in the list.
        mechanism: String,
        /// What came along: nothing, or bytes, maybe none.
        data: Option<Secret>,
    },
    /// Go on.
    Step {
        /// As above.
        data: Option<Secret>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaslAnswer {
    /// Names, joined and surrounded by commas.
    Mechanisms(String),
    /// The peer has to answer this.
    Continue(Option<Vec<u8>>),
    /// The peer is known.
    Done {
        /// The last word for it.
        data: Option<Vec<u8>>,
        /// Whether the connection is as safe as it has to be, by the mechanism's layer or by itself.
        safe: bool,
    },
    /// Neither.
    Failed(SaslRefused),
}

/// Why an exchange came to nothing. The peer learns only that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslRefused {
    /// A wrong password or response.
    #[error("wrong password")]
    Wrong,
    /// A name that nobody has.
    #[error("unknown user")]
    NoUser,
    /// The mechanism says no for another reason, with the number of Cyrus SASL.
    #[error("code {0} of the mechanism")]
    Code(i32),
    /// There is no mechanism that is safe enough here, or its configuration allows none.
    #[error("no mechanism is usable on this connection")]
    NoMechanism,
    /// Those who ask mechanisms have too much to do, or cannot be started.
    #[error("the server is too busy to authenticate anybody")]
    Busy,
}

impl SaslRefused {
    /// True if the peer may be guessing, so that its next guess should wait.
    #[must_use]
    pub fn is_guess(self) -> bool {
        matches!(self, Self::Wrong | Self::NoUser | Self::Code(_))
    }
}

/// Asks mechanisms on behalf of one connection. Calls may take seconds.
pub trait Authenticator: Send {
    /// Names of the mechanisms, joined and surrounded by commas.
    ///
    /// # Errors
    /// None is usable.
    fn mechanisms(&mut self) -> Result<String, SaslRefused>;

    /// Begins.
    ///
    /// # Errors
    /// The peer is refused.
    fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused>;

    /// Goes on.
    ///
    /// # Errors
    /// The peer is refused.
    fn step(&mut self, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused>;
}

impl SaslAsk {
    /// Has an authenticator do it.
    pub fn carry_out(&self, by: &mut (impl Authenticator + ?Sized)) -> SaslAnswer {
        let answer = match self {
            Self::Mechanisms => by.mechanisms().map(SaslAnswer::Mechanisms),
            Self::Start { mechanism, data } => {
                by.start(mechanism, data.as_ref().map(Secret::as_slice))
            }
            Self::Step { data } => by.step(data.as_ref().map(Secret::as_slice)),
        };
        answer.unwrap_or_else(SaslAnswer::Failed)
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum SaslStep {
    /// Read more.
    NeedMore,
    /// Wait for the answer.
    NeedAnswer,
    /// Have this done, then give the answer.
    Ask(SaslAsk),
    /// Send this, and go on at once.
    Send(Vec<u8>),
    /// The peer is known: from here on its bytes are inside the mechanism's layer, if it has one.
    Accepted,
}

#[derive(Debug)]
enum State {
    Begin,
    Asked,
    Answered(SaslAnswer),
    NameSize,
    Name(usize),
    /// With the mechanism's name for the first data.
    DataSize(Option<String>),
    Data(Option<String>, usize),
    Accepted,
    TooWeak,
    Over,
}

/// The stage of one connection. After an error, and after [`SaslStep::Accepted`], it is over.
#[derive(Debug)]
pub struct SaslStage {
    state: State,
    /// What was offered.
    list: String,
    steps: u32,
}

impl Default for SaslStage {
    fn default() -> Self {
        Self { state: State::Begin, list: String::new(), steps: 0 }
    }
}

impl SaslStage {
    /// Bytes that the next step is made of.
    #[must_use]
    pub fn wants(&self) -> usize {
        match self.state {
            State::NameSize | State::DataSize(_) => 4,
            State::Name(size) | State::Data(_, size) => size,
            _ => 0,
        }
    }

    /// Gives the answer to what was asked; without a question it is dropped.
    pub fn answered(&mut self, answer: SaslAnswer) {
        if matches!(self.state, State::Asked) {
            self.state = State::Answered(answer);
        }
    }

    /// Takes what it can from the front of `unread`.
    ///
    /// # Errors
    /// The connection ends for this reason.
    pub fn feed(&mut self, unread: &mut Vec<u8>) -> Result<SaslStep, LinkError> {
        loop {
            if unread.len() < self.wants() {
                return Ok(SaslStep::NeedMore);
            }
            let (state, step) = self.advance(unread)?;
            self.state = state;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// The next state, and what the caller has to do for it.
    fn advance(&mut self, unread: &mut Vec<u8>) -> Result<(State, Option<SaslStep>), LinkError> {
        let ask = |ask| (State::Asked, Some(SaslStep::Ask(ask)));
        Ok(match std::mem::replace(&mut self.state, State::Over) {
            State::Begin => ask(SaslAsk::Mechanisms),
            State::Asked => (State::Asked, Some(SaslStep::NeedAnswer)),
            State::Answered(answer) => self.reply(answer)?,
            State::NameSize => match size(unread)? {
                n @ 1..=NAME_MAX => (State::Name(bytes_of(n)), None),
                n => return Err(LinkError::SaslNameSize(n)),
            },
            State::Name(size) => (State::DataSize(Some(self.chosen(front(unread, size))?)), None),
            State::DataSize(name) => match size(unread)? {
                0 => self.data(name, None),
                n if n <= DATA_MAX => (State::Data(name, bytes_of(n)), None),
                // The reference answers only the first one.
                n if name.is_some() => return Err(LinkError::SaslStart(n)),
                n => return Err(LinkError::SaslData(n)),
            },
            State::Data(name, size) => {
                let mut bytes = front(unread, size);
                // The last one is a NUL that is not part of it.
                bytes.pop();
                self.data(name, Some(Secret::new(bytes)))
            }
            State::Accepted => (State::Over, Some(SaslStep::Accepted)),
            State::TooWeak => return Err(LinkError::SaslTooWeak),
            State::Over => return Err(LinkError::Over),
        })
    }

    fn data(&mut self, name: Option<String>, data: Option<Secret>) -> (State, Option<SaslStep>) {
        let ask = match name {
            Some(mechanism) => SaslAsk::Start { mechanism, data },
            None => SaslAsk::Step { data },
        };
        (State::Asked, Some(SaslStep::Ask(ask)))
    }

    /// The mechanism of that name, if it was offered.
    fn chosen(&self, name: Vec<u8>) -> Result<String, LinkError> {
        let name = String::from_utf8(name).map_err(|_| LinkError::SaslName)?;
        let offered = !name.is_empty() && self.list.split(',').any(|known| known == name);
        if offered { Ok(name) } else { Err(LinkError::SaslName) }
    }

    fn reply(&mut self, answer: SaslAnswer) -> Result<(State, Option<SaslStep>), LinkError> {
        let mut out = Vec::new();
        let state = match answer {
            SaslAnswer::Mechanisms(list) => {
                put(&mut out, list.as_bytes(), false)?;
                self.list = list;
                State::NameSize
            }
            SaslAnswer::Continue(data) => {
                self.steps += 1;
                if self.steps >= STEPS_MAX {
                    return Err(LinkError::SaslSteps);
                }
                put_step(&mut out, data.as_deref())?;
                out.put_u8(GO_ON);
                State::DataSize(None)
            }
            SaslAnswer::Done { data, safe } => {
                put_step(&mut out, data.as_deref())?;
                out.put_u8(COMPLETE);
                if safe {
                    out.put_u32(ACCEPTED);
                    State::Accepted
                } else {
                    State::TooWeak
                }
            }
            SaslAnswer::Failed(refused) => return Err(refused.into()),
        };
        Ok((state, Some(SaslStep::Send(out))))
    }
}

/// The bytes that reject a peer whose mechanism has succeeded.
pub(super) fn rejection() -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(REJECTED).put_u32(22).put_bytes(REJECTION);
    out
}

/// A step's data: none at all, or bytes and a NUL.
fn put_step(out: &mut Vec<u8>, data: Option<&[u8]>) -> Result<(), LinkError> {
    match data {
        None => {
            out.put_u32(0);
            Ok(())
        }
        Some(data) => put(out, data, true),
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8], nul: bool) -> Result<(), LinkError> {
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(u32::from(nul));
    if size > DATA_MAX {
        return Err(LinkError::SaslData(size));
    }
    out.put_u32(size).put_bytes(bytes);
    if nul {
        out.put_u8(0);
    }
    Ok(())
}

fn size(unread: &mut Vec<u8>) -> Result<u32, LinkError> {
    let size = crate::protocol::wire::Reader::new(unread).u32()?;
    unread.drain(..4);
    Ok(size)
}

/// At most [`DATA_MAX`].
fn bytes_of(size: u32) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// Takes bytes from the front that are there, and leaves no copy of them.
fn front(unread: &mut Vec<u8>, size: usize) -> Vec<u8> {
    let rest = unread.split_off(size.min(unread.len()));
    std::mem::replace(unread, rest)
}

#[cfg(test)]
mod tests;

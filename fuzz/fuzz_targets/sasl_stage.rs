//! A client's side of a SASL login, and what it sends inside the security layer.
//!
//! Input: one byte of choices, one that seeds the splits, then what the peer sends. The mechanism is a fake one whose answers
//! depend on the bytes, so that every way through the stage is open. The same bytes in pieces must give the same as all at
//! once; what follows an accepted login goes through a layer with real framing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::link::message::LinkError;
use spice_server::link::sasl::{
    Authenticator, DATA_MAX, SaslAnswer, SaslRefused, SaslStage, SaslStep,
};
use spice_server::transport::layer::Layer;
use spice_server::transport::outbox::Outbox;
use spice_server::transport::sasl::{Codec, SaslLayer};

/// Answers by the first byte of what it gets.
struct Fake {
    choices: u8,
    questions: u32,
}

impl Authenticator for Fake {
    fn mechanisms(&mut self) -> Result<String, SaslRefused> {
        if self.choices & 1 != 0 { Err(SaslRefused::NoMechanism) } else { Ok(",A,LONGER-NAME,".into()) }
    }

    fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        assert!(mechanism == "A" || mechanism == "LONGER-NAME");
        self.step(data)
    }

    fn step(&mut self, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        self.questions += 1;
        assert!(self.questions <= 32, "an exchange has an end");
        assert!(data.is_none_or(|d| d.len() < DATA_MAX as usize));
        match data.and_then(|d| d.first()) {
            None => Ok(SaslAnswer::Continue(data.map(<[u8]>::to_vec))),
            Some(b'w') => Err(SaslRefused::Wrong),
            Some(b'd') => {
                let safe = self.choices & 2 == 0;
                Ok(SaslAnswer::Done { data: data.map(<[u8]>::to_vec), safe })
            }
            Some(_) => Ok(SaslAnswer::Continue(None)),
        }
    }
}

/// Packets whose bytes are turned over; one that begins with zero was changed on the way.
#[derive(Default)]
struct Turned(Vec<u8>);

impl Codec for Turned {
    fn encode(&mut self, plain: &[u8]) -> Result<&[u8], String> {
        self.0 = u32::try_from(plain.len()).unwrap().to_be_bytes().to_vec();
        self.0.extend(plain.iter().map(|b| !b));
        Ok(&self.0)
    }

    fn decode(&mut self, packet: &[u8]) -> Result<&[u8], String> {
        let (size, body) = packet.split_at(4);
        assert_eq!(u32::from_be_bytes(size.try_into().unwrap()) as usize, body.len());
        assert!((1..=16384).contains(&body.len()));
        self.0 = body.iter().map(|b| !b).collect();
        if body[0] == 0 { Err("changed".into()) } else { Ok(&self.0) }
    }
}

/// What was sent, how it ended, what was left.
type Seen = (Vec<u8>, Option<Result<(), LinkError>>, Vec<u8>);

fn pieces(bytes: &[u8], split: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut split) = (bytes, split);
    std::iter::from_fn(move || {
        let size = if split == 0 { rest.len() } else { usize::from(split).min(rest.len()) };
        split = if split == 0 { 0 } else { split.wrapping_mul(5).wrapping_add(7).max(1) };
        let (piece, later) = rest.split_at(size);
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

fn log_in(choices: u8, bytes: &[u8], split: u8) -> Seen {
    let mut fake = Fake { choices, questions: 0 };
    let mut stage = SaslStage::default();
    let (mut sent, mut unread, mut end) = (Vec::new(), Vec::new(), None);
    let mut more = pieces(bytes, split);
    while end.is_none() {
        match stage.feed(&mut unread) {
            Ok(SaslStep::NeedMore) => {
                assert!(unread.len() < stage.wants() && stage.wants() <= DATA_MAX as usize);
                let Some(piece) = more.next() else { break };
                unread.extend_from_slice(piece);
            }
            Ok(SaslStep::NeedAnswer) => unreachable!("every question is answered"),
            Ok(SaslStep::Ask(ask)) => stage.answered(ask.carry_out(&mut fake)),
            Ok(SaslStep::Send(out)) => {
                assert!(out.len() <= DATA_MAX as usize + 9);
                sent.extend(out);
            }
            Ok(SaslStep::Accepted) => end = Some(Ok(())),
            Err(error) => {
                assert!(matches!(error.reply().len(), 0 | 30 | 194));
                end = Some(Err(error));
            }
        }
    }
    more.for_each(|piece| unread.extend_from_slice(piece));
    (sent, end, unread)
}

fn unwrap(bytes: &[u8], split: u8) -> (Vec<u8>, bool) {
    let mut layer = SaslLayer::new(Box::new(Turned::default()), 100);
    let (mut above, mut below) = (Vec::new(), Outbox::default());
    let whole = pieces(bytes, split).all(|piece| layer.open(piece, &mut above, &mut below).is_ok());
    assert!(below.is_empty());
    if whole {
        let mut outbox = Outbox::default();
        outbox.push(&above);
        layer.wrap(&mut outbox, &mut below, usize::MAX).unwrap();
        assert_eq!(below.len(), above.len() + 4 * above.len().div_ceil(100));
    }
    (above, whole)
}

fuzz_target!(|input: &[u8]| {
    let [choices, split, bytes @ ..] = input else { return };
    let split = (*split).max(1);
    let seen = log_in(*choices, bytes, 0);
    assert_eq!(log_in(*choices, bytes, split), seen);
    if seen.1 == Some(Ok(())) {
        assert_eq!(unwrap(&seen.2, split), unwrap(&seen.2, 0));
    }
});

//! A client against the stage, with a mechanism of the test's own.

use super::*;
use proptest::prelude::*;

/// Two mechanisms: `ECHO` wants "open sesame" at once or after a question, `LONG` never ends.
#[derive(Default)]
struct Fake {
    weak: bool,
    long: bool,
    seen: Vec<Option<Vec<u8>>>,
}

impl Authenticator for Fake {
    fn mechanisms(&mut self) -> Result<String, SaslRefused> {
        Ok(",ECHO,LONG,".to_owned())
    }

    fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        self.long = mechanism == "LONG";
        match data {
            None => {
                self.seen.push(None);
                Ok(SaslAnswer::Continue(Some(b"word?".to_vec())))
            }
            data => self.step(data),
        }
    }

    fn step(&mut self, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        self.seen.push(data.map(<[u8]>::to_vec));
        match data {
            _ if self.long => Ok(SaslAnswer::Continue(None)),
            Some(b"open sesame") => {
                Ok(SaslAnswer::Done { data: Some(Vec::new()), safe: !self.weak })
            }
            _ => Err(SaslRefused::Wrong),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    sent: Vec<u8>,
    end: Option<Result<(), LinkError>>,
    unread: Vec<u8>,
}

fn run(bytes: &[u8], piece: usize, fake: &mut Fake) -> Seen {
    let mut stage = SaslStage::default();
    let mut seen = Seen { sent: Vec::new(), end: None, unread: Vec::new() };
    let mut pieces = bytes.chunks(piece.max(1));
    while seen.end.is_none() {
        match stage.feed(&mut seen.unread) {
            Ok(SaslStep::NeedMore) => match pieces.next() {
                Some(more) => seen.unread.extend_from_slice(more),
                None => break,
            },
            Ok(SaslStep::NeedAnswer) => panic!("every question is answered at once"),
            Ok(SaslStep::Ask(ask)) => {
                assert_eq!(stage.wants(), 0);
                let mut nothing = Vec::new();
                assert_eq!(stage.feed(&mut nothing), Ok(SaslStep::NeedAnswer));
                stage.answered(ask.carry_out(fake));
            }
            Ok(SaslStep::Send(out)) => seen.sent.extend(out),
            Ok(SaslStep::Accepted) => seen.end = Some(Ok(())),
            Err(error) => seen.end = Some(Err(error)),
        }
    }
    pieces.for_each(|more| seen.unread.extend_from_slice(more));
    seen
}

fn block(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(u32::try_from(bytes.len()).unwrap()).put_bytes(bytes);
    out
}

fn talk(blocks: &[&[u8]]) -> (Seen, Fake) {
    let bytes: Vec<u8> = blocks.iter().flat_map(|b| block(b)).collect();
    let mut fake = Fake::default();
    (run(&bytes, usize::MAX, &mut fake), fake)
}

const LIST: &[u8] = b"\x0b\0\0\0,ECHO,LONG,";

#[test]
fn a_known_peer_is_accepted_and_the_next_byte_is_not_taken() {
    let mut bytes = [block(b"ECHO"), block(b"open sesame\0")].concat();
    bytes.extend_from_slice(b"channel");
    let seen = run(&bytes, usize::MAX, &mut Fake::default());
    assert_eq!(seen.end, Some(Ok(())));
    assert_eq!(seen.unread, b"channel");
    // An empty last word is its NUL; then "complete", then "accepted".
    assert_eq!(seen.sent, [LIST, b"\x01\0\0\0\0", b"\x01", b"\0\0\0\0"].concat());
}

#[test]
fn nothing_is_not_an_empty_string_and_the_last_byte_is_dropped_whatever_it_is() {
    let (seen, fake) = talk(&[b"ECHO", b"", b"open sesame\0"]);
    assert_eq!((seen.end, fake.seen.len()), (Some(Ok(())), 2));
    assert_eq!(fake.seen[0], None);
    assert_eq!(seen.sent, [LIST, b"\x06\0\0\0word?\0\0", b"\x01\0\0\0\0\x01", &[0; 4]].concat());
    let (_, fake) = talk(&[b"ECHO", b"\0"]);
    assert_eq!(fake.seen, [Some(Vec::new())]);
    let (seen, _) = talk(&[b"ECHO", b"open sesame!"]);
    assert_eq!(seen.end, Some(Ok(())));
}

#[test]
fn the_wrong_word_ends_without_an_answer() {
    let (seen, _) = talk(&[b"ECHO", b"open barley\0"]);
    let error = LinkError::SaslAuth(SaslRefused::Wrong);
    assert_eq!((seen.sent.as_slice(), seen.end), (LIST, Some(Err(error))));
    assert!(error.reply().is_empty() && SaslRefused::Wrong.is_guess());
    assert!(!SaslRefused::NoMechanism.is_guess() && !SaslRefused::Busy.is_guess());
}

#[test]
fn a_layer_that_is_too_weak_is_rejected_after_the_last_step() {
    let mut fake = Fake { weak: true, ..Fake::default() };
    let bytes = [block(b"ECHO"), block(b"open sesame\0")].concat();
    let seen = run(&bytes, usize::MAX, &mut fake);
    assert_eq!(seen.end, Some(Err(LinkError::SaslTooWeak)));
    assert_eq!(seen.sent, [LIST, b"\x01\0\0\0\0\x01"].concat());
}

#[test]
fn names_must_be_offered() {
    for name in [&b"ECH"[..], b"ECHO,LONG", b"ECHO,", b",", b"echo", b"NO-SUCH", b"\xff", b"ECHO\0"]
    {
        let (seen, fake) = talk(&[name, b"open sesame\0"]);
        assert_eq!(seen.end, Some(Err(LinkError::SaslName)), "{name:?}");
        assert!(fake.seen.is_empty());
    }
    for size in [0, 101, u32::MAX] {
        let seen = run(&size.to_le_bytes(), 9, &mut Fake::default());
        assert_eq!(seen.end, Some(Err(LinkError::SaslNameSize(size))));
    }
    let (seen, _) = talk(&[&[b'x'; 100]]);
    assert_eq!(seen.end, Some(Err(LinkError::SaslName)));
}

#[test]
fn data_has_a_bound_before_a_byte_of_it_is_waited_for() {
    for size in [DATA_MAX + 1, u32::MAX] {
        let first = [block(b"ECHO"), size.to_le_bytes().to_vec()].concat();
        let seen = run(&first, usize::MAX, &mut Fake::default());
        assert_eq!(seen.end, Some(Err(LinkError::SaslStart(size))));
        let later = [block(b"ECHO"), block(b""), size.to_le_bytes().to_vec()].concat();
        let seen = run(&later, usize::MAX, &mut Fake::default());
        assert_eq!(seen.end, Some(Err(LinkError::SaslData(size))));
    }
    let most = vec![7; usize::try_from(DATA_MAX).unwrap()];
    let (seen, fake) = talk(&[b"ECHO", &most]);
    assert_eq!(seen.end, Some(Err(LinkError::SaslAuth(SaslRefused::Wrong))));
    assert_eq!(fake.seen[0].as_ref().unwrap().len(), most.len() - 1);
}

#[test]
fn an_exchange_ends_after_32_steps() {
    let step: &[u8] = b"x\0";
    let (seen, fake) = talk(&[&[&b"LONG"[..]], &[step; 100][..]].concat());
    assert_eq!(seen.end, Some(Err(LinkError::SaslSteps)));
    assert_eq!(fake.seen.len(), 32);
}

#[test]
fn too_much_from_the_mechanism_is_not_sent_and_stray_answers_are_dropped() {
    let mut stage = SaslStage::default();
    stage.answered(SaslAnswer::Continue(None));
    let mut unread = Vec::new();
    assert_eq!(stage.feed(&mut unread), Ok(SaslStep::Ask(SaslAsk::Mechanisms)));
    let long = vec![0; usize::try_from(DATA_MAX).unwrap()];
    stage.answered(SaslAnswer::Continue(Some(long)));
    assert_eq!(stage.feed(&mut unread), Err(LinkError::SaslData(DATA_MAX + 1)));
    assert_eq!(stage.feed(&mut unread), Err(LinkError::Over));
}

#[test]
fn secrets_are_not_shown() {
    let ask = SaslAsk::Step { data: Some(Secret::new(b"geheim".to_vec())) };
    let shown = format!("{ask:?}");
    assert!(!shown.contains("geheim") && !shown.contains("103"), "{shown}");
}

proptest! {
    /// Any bytes in any pieces: no panic, and the pieces make no difference.
    #[test]
    fn pieces_make_no_difference(
        tail in proptest::collection::vec(any::<u8>(), 0..200),
        good in 0usize..40,
        piece in 1usize..50,
    ) {
        let mut bytes = [block(b"ECHO"), block(b""), block(b"open sesame\0")].concat();
        bytes.truncate(good);
        bytes.extend(tail);
        let whole = run(&bytes, usize::MAX, &mut Fake::default());
        prop_assert_eq!(run(&bytes, piece, &mut Fake::default()), whole);
    }
}

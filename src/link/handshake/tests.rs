//! A client against the handshake: every answer of the protocol, in every split of its bytes.

use super::super::key::tests::{KEY, encrypt};
use super::super::message::{LinkCode, link_result};
use super::super::sasl::{Authenticator, SaslRefused};
use super::super::ticket::{TicketPolicy, TicketRefused};
use super::*;
use crate::protocol::wire::WireWrite;
use proptest::prelude::*;

/// A server with main, display 0 and inputs 0; inputs only with TLS, record only without.
struct Server {
    tickets: TicketPolicy,
    keys: Option<Arc<TicketKey>>,
    sasl: bool,
}

/// A mechanism that wants one word.
struct Word;

impl Authenticator for Word {
    fn mechanisms(&mut self) -> Result<String, SaslRefused> {
        Ok(",WORD,".to_owned())
    }
    fn start(&mut self, _: &str, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        match data {
            Some(b"sesame") => Ok(SaslAnswer::Done { data: None, safe: true }),
            _ => Err(SaslRefused::Wrong),
        }
    }
    fn step(&mut self, _: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        Err(SaslRefused::Wrong)
    }
}

impl Server {
    fn new() -> Self {
        let now = Instant::now();
        let mut tickets = TicketPolicy::new(now);
        tickets.set(Some(b"secret"), 0, now).unwrap();
        Self { tickets, keys: Some(Arc::clone(&KEY)), sasl: false }
    }
}

impl LinkPolicy for Server {
    fn security(&self, channel: ChannelType, tls: bool) -> SecurityAnswer {
        match channel {
            ChannelType::INPUTS if !tls => SecurityAnswer::NeedSecured,
            ChannelType::RECORD if tls => SecurityAnswer::NeedUnsecured,
            _ => SecurityAnswer::Allowed,
        }
    }

    fn channel_exists(&self, channel: ChannelType, id: u8) -> bool {
        assert_ne!(channel, ChannelType::MAIN);
        [ChannelType::DISPLAY, ChannelType::INPUTS].contains(&channel) && id == 0
    }

    fn channel_caps(&self, channel: ChannelType, _id: u8) -> Vec<u32> {
        if channel == ChannelType::DISPLAY { vec![0x1052] } else { vec![0xf] }
    }

    fn sasl(&self) -> bool {
        self.sasl
    }

    fn ticket_key(&mut self, _now: Instant) -> Option<Arc<TicketKey>> {
        self.keys.clone()
    }
}

/// What a client sends, with every field at hand.
#[derive(Clone)]
struct Client {
    magic: [u8; 4],
    major: u32,
    size: Option<u32>,
    channel: (u8, u8),
    common: Vec<u32>,
    mechanism: Option<u32>,
    password: Vec<u8>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            magic: MAGIC,
            major: 2,
            size: None,
            channel: (1, 0),
            common: vec![0x9],
            mechanism: Some(1),
            password: b"secret\0".to_vec(),
        }
    }
}

impl Client {
    fn bytes(&self) -> Vec<u8> {
        let words = u32::try_from(self.common.len()).unwrap();
        let mut out = self.magic.to_vec();
        out.put_u32(self.major).put_u32(2).put_u32(self.size.unwrap_or(18 + 4 * words + 4));
        out.put_u32(0x0102_0304).put_u8(self.channel.0).put_u8(self.channel.1);
        out.put_u32(words).put_u32(1).put_u32(18);
        for word in &self.common {
            out.put_u32(*word);
        }
        out.put_u32(0x77);
        if let Some(mechanism) = self.mechanism {
            out.put_u32(mechanism);
        }
        out.extend_from_slice(&encrypt(KEY.public_der(), &self.password));
        out
    }
}

/// All that a connection showed.
#[derive(Debug, PartialEq)]
struct Seen {
    sent: Vec<u8>,
    end: Option<Step>,
    unread: Vec<u8>,
}

fn connect(bytes: &[u8], pieces: &[usize], stage: Stage, server: &mut Server) -> Seen {
    let now = Instant::now();
    let mut handshake = Handshake::new(stage);
    let mut seen = Seen { sent: Vec::new(), end: None, unread: Vec::new() };
    let mut rest = bytes;
    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(pieces.next().unwrap().clamp(1, rest.len()));
        seen.unread.extend_from_slice(piece);
        rest = later;
        while seen.end.is_none() {
            match handshake.feed(&mut seen.unread, now, server) {
                Step::NeedMore => break,
                Step::Send(bytes) => seen.sent.extend(bytes),
                Step::Check(sealed) => {
                    assert_eq!((handshake.wants(), handshake.awaited()), (0, Awaited::Nothing));
                    let skip = handshake.skips_auth();
                    let answer = server.tickets.check(&sealed.key, &sealed.ticket, skip, now);
                    seen.end = Some(handshake.checked(answer));
                }
                Step::Ask(ask) => handshake.answered(ask.carry_out(&mut Word)),
                end => seen.end = Some(end),
            }
        }
    }
    seen
}

fn whole(client: &Client) -> Seen {
    connect(&client.bytes(), &[], Stage::default(), &mut Server::new())
}

fn assert_refused(seen: &Seen, reply: Vec<u8>, reason: LinkError) {
    assert_eq!(seen.end, Some(Step::Refuse(Refusal { reply, reason })));
}

#[test]
fn a_right_ticket_links_and_the_next_byte_is_the_channels() {
    let mut bytes = Client::default().bytes();
    bytes.extend_from_slice(b"channel");
    let seen = connect(&bytes, &[], Stage::default(), &mut Server::new());
    let linked = Linked {
        connection_id: 0x0102_0304,
        channel_type: ChannelType::MAIN,
        channel_id: 0,
        common_caps: Caps::from_words(vec![0x9]),
        channel_caps: Caps::from_words(vec![0x77]),
        mini_header: true,
    };
    assert_eq!(seen.end, Some(Step::Authenticated(linked)));
    assert_eq!(seen.unread, b"channel");
    assert_eq!(seen.sent, message::ok_reply(KEY.public_der(), &[0xb], &[0xf]));
    assert_eq!(link_result(LinkCode::Ok), [0; 4]);
}

#[test]
fn a_client_without_auth_selection_sends_its_ticket_directly() {
    for common in [vec![], vec![0x8]] {
        let mini = !common.is_empty();
        let seen = whole(&Client { common, mechanism: None, ..Client::default() });
        let Some(Step::Authenticated(linked)) = seen.end else { panic!("{seen:?}") };
        assert_eq!(linked.mini_header, mini);
    }
}

#[test]
fn main_has_any_id_and_other_channels_must_exist() {
    let channel = |ty, id| whole(&Client { channel: (ty, id), ..Client::default() });
    for (ty, id) in [(1, 0), (1, 200), (2, 0)] {
        assert!(matches!(channel(ty, id).end, Some(Step::Authenticated(_))));
    }
    for (ty, id) in [(2, 1), (4, 0), (0, 0), (99, 0)] {
        let seen = channel(ty, id);
        assert!(seen.sent.is_empty());
        assert_refused(&seen, Vec::new(), LinkError::NoSuchChannel(ChannelType(ty), id));
    }
}

#[test]
fn security_is_asked_before_existence() {
    let plain = Stage::default();
    let tls = Stage { tls: true, ..plain };
    let run = |channel, stage| {
        let bytes = Client { channel, ..Client::default() }.bytes();
        connect(&bytes, &[], stage, &mut Server::new())
    };
    let secured = LinkError::NeedSecured(ChannelType::INPUTS);
    assert_refused(&run((3, 7), plain), message::error_reply(LinkCode::NeedSecured), secured);
    let unsecured = LinkError::NeedUnsecured(ChannelType::RECORD);
    assert_refused(&run((6, 7), tls), message::error_reply(LinkCode::NeedUnsecured), unsecured);
    assert!(matches!(run((3, 0), tls).end, Some(Step::Authenticated(_))));
}

#[test]
fn wrong_beginnings_are_answered_with_their_numbers() {
    let base = Client::default();
    let error = message::error_reply;
    let get = Client { magic: *b"GET ", ..base.clone() };
    assert_refused(&whole(&get), error(LinkCode::InvalidMagic), LinkError::Magic(*b"GET "));
    let old = Client { major: 1, size: Some(0), ..base.clone() };
    let version = LinkError::Version { major: 1, minor: 2 };
    assert_refused(&whole(&old), error(LinkCode::VersionMismatch), version);
    let zero = Client { major: 0, ..base.clone() };
    assert_refused(&whole(&zero), Vec::new(), LinkError::VersionZero(2));
    for size in [17, 4097, u32::MAX] {
        let bad = Client { size: Some(size), ..base.clone() };
        assert_refused(&whole(&bad), error(LinkCode::InvalidData), LinkError::Size(size));
    }
    let cut = Client { size: Some(22), ..base };
    let place = LinkError::CapsPlace { offset: 18, words: 2, size: 22 };
    assert_refused(&whole(&cut), error(LinkCode::InvalidData), place);
}

#[test]
fn four_wrong_bytes_are_enough_for_an_answer() {
    let seen = connect(b"HTTP", &[], Stage::default(), &mut Server::new());
    assert_refused(&seen, message::error_reply(LinkCode::InvalidMagic), LinkError::Magic(*b"HTTP"));
    assert_eq!(connect(b"HTT", &[], Stage::default(), &mut Server::new()).end, None);
}

#[test]
fn mechanisms_other_than_the_ticket_are_not_on_offer() {
    for mechanism in [0, 2, 3, u32::MAX] {
        let seen = whole(&Client { mechanism: Some(mechanism), ..Client::default() });
        assert!(!seen.sent.is_empty());
        let reply = message::error_reply(LinkCode::InvalidData);
        assert_refused(&seen, reply, LinkError::Mechanism(mechanism));
    }
}

/// The link message of a client that can do SASL, its choice, and what it says to the mechanism.
fn sasl_client(mechanism: u32, name: &[u8], word: &[u8]) -> Vec<u8> {
    let client = Client { common: vec![0xd], mechanism: Some(mechanism), ..Client::default() };
    let mut out = client.bytes();
    out.truncate(out.len() - ENCRYPTED_LEN);
    for block in [name, word] {
        out.put_u32(u32::try_from(block.len()).unwrap()).put_bytes(block);
    }
    out
}

#[test]
fn with_sasl_on_a_client_comes_in_by_it_and_by_nothing_else() {
    let mut server = Server { sasl: true, ..Server::new() };
    // Nobody needs a key for that.
    let key = server.keys.take();
    let good = [sasl_client(2, b"WORD", b"sesame\0"), b"channel".to_vec()].concat();
    let seen = connect(&good, &[], Stage::default(), &mut server);
    assert!(matches!(seen.end, Some(Step::Authenticated(_))), "{seen:?}");
    assert_eq!(seen.unread, b"channel");
    let hello = message::ok_reply(&[0; PUBLIC_KEY_LEN], &[0xd], &[0xf]);
    let said = b"\x06\0\0\0,WORD,\0\0\0\0\x01\0\0\0\0";
    assert_eq!(seen.sent, [&hello[..], said].concat());
    let bad = sasl_client(2, b"WORD", b"barley\0");
    let wrong = LinkError::SaslAuth(SaslRefused::Wrong);
    assert_refused(&connect(&bad, &[], Stage::default(), &mut server), Vec::new(), wrong);
    server.keys = key;
    for mechanism in [0, 1, 3] {
        let client = Client { mechanism: Some(mechanism), ..Client::default() };
        let seen = connect(&client.bytes(), &[], Stage::default(), &mut server);
        let reply = message::error_reply(LinkCode::InvalidData);
        assert_refused(&seen, reply, LinkError::Mechanism(mechanism));
        // It has not said that it can do SASL, so there is a key in the reply.
        assert_eq!(seen.sent, message::ok_reply(KEY.public_der(), &[0xd], &[0xf]));
    }
    let old = Client { common: vec![], mechanism: None, ..Client::default() };
    let seen = connect(&old.bytes(), &[], Stage::default(), &mut server);
    let reply = message::error_reply(LinkCode::VersionMismatch);
    assert_refused(&seen, reply, LinkError::SaslRequired);
}

#[test]
fn without_sasl_and_for_those_vouched_for_there_is_no_sasl() {
    let vouched = Stage { skip_auth: true, ..Stage::default() };
    for (sasl, stage) in [(false, Stage::default()), (true, vouched)] {
        let mut server = Server { sasl, ..Server::new() };
        let seen = connect(&sasl_client(2, b"WORD", b"sesame\0"), &[], stage, &mut server);
        let reply = message::error_reply(LinkCode::InvalidData);
        assert_refused(&seen, reply, LinkError::Mechanism(2));
        assert_eq!(seen.sent, message::ok_reply(KEY.public_der(), &[0xb], &[0xf]));
        let seen = connect(&Client::default().bytes(), &[], stage, &mut server);
        assert!(matches!(seen.end, Some(Step::Authenticated(_))), "{seen:?}");
    }
}

#[test]
fn sasl_in_pieces_gives_the_same_as_all_at_once() {
    let bytes = sasl_client(2, b"WORD", b"sesame\0");
    let run = |pieces: &[usize]| {
        let mut server = Server { sasl: true, ..Server::new() };
        connect(&bytes, pieces, Stage::default(), &mut server)
    };
    assert_eq!(run(&vec![1; bytes.len()]), run(&[]));
}

#[test]
fn wrong_tickets_get_permission_denied() {
    let denied = || link_result(LinkCode::PermissionDenied).to_vec();
    let wrong = Client { password: b"wrong\0".to_vec(), ..Client::default() };
    assert_refused(&whole(&wrong), denied(), LinkError::Ticket(TicketRefused::Wrong));

    let vouched = Stage { skip_auth: true, ..Stage::default() };
    let seen = connect(&wrong.bytes(), &[], vouched, &mut Server::new());
    assert!(matches!(seen.end, Some(Step::Authenticated(_))));

    let mut server = Server::new();
    server.tickets.disable();
    let seen = connect(&wrong.bytes(), &[], Stage::default(), &mut server);
    assert!(matches!(seen.end, Some(Step::Authenticated(_))));
    let mut broken = wrong.bytes();
    *broken.last_mut().unwrap() ^= 1;
    let seen = connect(&broken, &[], Stage::default(), &mut server);
    let reason = TicketRefused::Undecryptable(crate::link::key::Undecryptable);
    assert_refused(&seen, denied(), LinkError::Ticket(reason));
}

#[test]
fn without_a_key_the_handshake_waits_for_one() {
    let now = Instant::now();
    let mut server = Server::new();
    let key = server.keys.take();
    let mut handshake = Handshake::new(Stage::default());
    let mut unread = Client::default().bytes();
    for _ in 0..2 {
        assert_eq!(handshake.feed(&mut unread, now, &mut server), Step::NeedKey);
    }
    assert_eq!(handshake.wants(), 0);
    server.keys = key;
    assert!(matches!(handshake.feed(&mut unread, now, &mut server), Step::Send(_)));
    assert!(matches!(handshake.feed(&mut unread, now, &mut server), Step::Check(_)));
    assert_eq!(handshake.feed(&mut unread, now, &mut server), Step::NeedAnswer);
    assert!(matches!(handshake.checked(Ok(())), Step::Authenticated(_)));
    let over = Refusal { reply: Vec::new(), reason: LinkError::Over };
    assert_eq!(handshake.feed(&mut unread, now, &mut server), Step::Refuse(over.clone()));
    assert_eq!(handshake.checked(Ok(())), Step::Refuse(over), "nobody asked");
}

#[test]
fn a_caller_that_reads_what_is_wanted_takes_no_byte_of_the_channel() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut handshake = Handshake::new(Stage::default());
    let bytes = [Client::default().bytes(), b"channel".to_vec()].concat();
    let mut rest = &bytes[..];
    let mut unread = Vec::new();
    loop {
        match handshake.feed(&mut unread, now, &mut server) {
            Step::NeedMore => {
                let (piece, later) = rest.split_at(handshake.wants() - unread.len());
                unread.extend_from_slice(piece);
                rest = later;
            }
            Step::Send(_) => {}
            Step::Check(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((unread.len(), rest), (0, &b"channel"[..]));
}

#[test]
fn one_byte_at_a_time_gives_the_same_as_all_at_once() {
    let base = Client::default();
    for client in [
        base.clone(),
        Client { common: vec![], mechanism: None, ..base.clone() },
        Client { password: b"no\0".to_vec(), ..base.clone() },
        Client { mechanism: Some(2), ..base.clone() },
        Client { major: 3, ..base.clone() },
        Client { channel: (2, 9), ..base },
    ] {
        let bytes = client.bytes();
        let run = |pieces: &[usize]| connect(&bytes, pieces, Stage::default(), &mut Server::new());
        assert_eq!(run(&vec![1; bytes.len()]), run(&[]));
    }
}

proptest! {
    /// Any bytes in any pieces: no panic, and the pieces make no difference.
    #[test]
    fn pieces_make_no_difference(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        pieces in proptest::collection::vec(1usize..40, 0..40),
        good in 0usize..48,
    ) {
        let mut input = Client::default().bytes();
        input.truncate(good);
        input.extend(bytes);
        let run = |pieces: &[usize]| {
            connect(&input, pieces, Stage::default(), &mut Server::new())
        };
        prop_assert_eq!(run(&pieces), run(&[]));
    }

    /// One changed byte anywhere in a good conversation.
    #[test]
    fn a_changed_byte_never_panics(at in 0usize..180, xor in 1u8.., pieces in proptest::collection::vec(1usize..40, 0..40)) {
        let mut input = Client::default().bytes();
        if let Some(byte) = input.get_mut(at) {
            *byte ^= xor;
        }
        let run = |pieces: &[usize]| {
            connect(&input, pieces, Stage::default(), &mut Server::new())
        };
        prop_assert_eq!(run(&pieces), run(&[]));
    }
}

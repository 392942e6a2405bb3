//! A whole connection from its first byte: link stage, then messages of the channel it asked for.
//!
//! Input: one byte of choices, one that seeds the splits, then what the peer sends. The same bytes
//! in pieces must give the same as all at once. Every body is shown to every channel's parser.
#![no_main]

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use spice_server::link::handshake::{Handshake, LinkPolicy, SecurityAnswer, Stage, Step};
use spice_server::link::key::TicketKey;
use spice_server::link::ticket::TicketRefused;
use spice_server::protocol::caps::ChannelType;
use spice_server::protocol::common::ClientCommon;
use spice_server::protocol::display::{DisplayRequest, GLZ_WINDOW_MAX};
use spice_server::protocol::header::{Incoming, receive_limit};
use spice_server::protocol::inputs::InputsRequest;
use spice_server::protocol::main::{AGENT_DATA_MAX, MainRequest};

/// One key for all runs: making one takes longer than thousands of runs.
static KEY: LazyLock<Arc<TicketKey>> = LazyLock::new(|| Arc::new(TicketKey::generate().unwrap()));
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

struct Server;

impl LinkPolicy for Server {
    fn security(&self, channel: ChannelType, tls: bool) -> SecurityAnswer {
        match channel {
            ChannelType::SMARTCARD if !tls => SecurityAnswer::NeedSecured,
            ChannelType::TUNNEL if tls => SecurityAnswer::NeedUnsecured,
            _ => SecurityAnswer::Allowed,
        }
    }

    fn channel_exists(&self, channel: ChannelType, id: u8) -> bool {
        channel.0 < 12 && id < 2
    }

    fn channel_caps(&self, channel: ChannelType, _id: u8) -> Vec<u32> {
        if channel == ChannelType::CURSOR { Vec::new() } else { vec![1] }
    }

    fn ticket_key(&mut self, _now: Instant) -> Option<Arc<TicketKey>> {
        Some(Arc::clone(&KEY))
    }
}

/// What a connection showed, and what was left unread at its end.
type Seen = (Vec<u8>, Option<Step>, Vec<u8>);

fn connect(choices: u8, bytes: &[u8], mut split: u8) -> Seen {
    let stage = Stage { skip_auth: choices & 1 != 0, tls: choices & 2 != 0 };
    let mut handshake = Handshake::new(stage);
    let (mut sent, mut unread, mut rest) = (Vec::new(), Vec::new(), bytes);
    let mut end = None;
    while !rest.is_empty() {
        let piece = if split == 0 { rest.len() } else { usize::from(split).min(rest.len()) };
        if split != 0 {
            split = split.wrapping_mul(5).wrapping_add(7).max(1);
        }
        unread.extend_from_slice(&rest[..piece]);
        rest = &rest[piece..];
        while end.is_none() {
            match handshake.feed(&mut unread, *START, &mut Server) {
                Step::NeedMore => {
                    assert!(unread.len() < handshake.wants() && handshake.wants() <= 4096);
                    break;
                }
                Step::Send(bytes) => sent.extend(bytes),
                Step::Check(sealed) => {
                    // RSA takes milliseconds under a sanitizer and no input is ever a ticket: it has its own
                    // tests, and here the first byte stands for it.
                    let right = sealed.ticket[0] & 1 == 0 || handshake.skips_auth();
                    end = Some(handshake.checked(right.then_some(()).ok_or(TicketRefused::Wrong)));
                }
                step => end = Some(step),
            }
        }
    }
    (sent, end, unread)
}

fn messages(mini: bool, channel: ChannelType, mut unread: &[u8]) {
    let incoming = Incoming::new(mini, channel);
    while let Ok(Some(frame)) = incoming.next(unread) {
        let body = &unread[frame.body.clone()];
        assert!(body.len() <= receive_limit(channel, frame.kind));
        bodies(frame.kind, body);
        unread = &unread[frame.consumed..];
    }
}

fn bodies(kind: u16, body: &[u8]) {
    // The black boxes keep parsers whose results nobody reads from being optimised away.
    let _ = black_box(ClientCommon::parse(kind, body));
    if let Ok(MainRequest::AgentData(piece)) = black_box(MainRequest::parse(kind, body)) {
        assert!((1..=AGENT_DATA_MAX).contains(&piece.len()));
    }
    if let Ok(InputsRequest::KeyScancode(codes)) = black_box(InputsRequest::parse(kind, body)) {
        assert!(!codes.is_empty());
    }
    match black_box(DisplayRequest::parse(kind, body)) {
        Ok(DisplayRequest::Init(init)) => assert!(init.glz_window <= GLZ_WINDOW_MAX),
        Ok(DisplayRequest::PreferredVideoCodecs(codecs)) => assert!(codecs.len() <= 255),
        _ => {}
    }
}

// The key before the first run: libFuzzer counts the time of a run, and making a key may take seconds here.
fuzz_target!(init: { LazyLock::force(&KEY); }, |input: &[u8]| {
    let [choices, split, bytes @ ..] = input else { return };
    let whole = connect(*choices, bytes, 0);
    assert_eq!(connect(*choices, bytes, (*split).max(1)), whole);
    match whole {
        (_, Some(Step::Authenticated(linked)), unread) => {
            messages(linked.mini_header, linked.channel_type, &unread);
        }
        _ => messages(choices & 4 != 0, ChannelType(choices >> 4), bytes),
    }
});

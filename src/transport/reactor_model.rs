//! Random sequences of whatever a reactor's owner and its peers can do, against a model: no byte is lost, doubled or out
//! of order, none moves that must not, and everything that can move does in the end.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::conn::UNREAD_LIMIT;
use super::mio_reactor::MioReactor;
use super::reactor::{Event, Key, Reactor};
use super::reactor_tests::with_uring;
use super::stream::Stream;
use crate::protocol::message::Bulk;

/// More than any reactor reads beyond the limit in one go.
const OVERSHOOT: usize = 64 * 1024;

#[derive(Debug, Clone)]
enum Step {
    /// Queues bytes, in one piece or by reference.
    Push {
        who: usize,
        len: usize,
        bulk: bool,
    },
    Flush {
        who: usize,
    },
    /// The peer takes what is there, up to so much.
    PeerRead {
        who: usize,
        len: usize,
    },
    PeerWrite {
        who: usize,
        len: usize,
    },
    Consume {
        who: usize,
        len: usize,
    },
    Reading {
        who: usize,
        on: bool,
    },
    /// Out of the reactor and in again, as from the door to a channel.
    Move {
        who: usize,
    },
    /// The sending side ends; a new pair takes the place.
    Finish {
        who: usize,
    },
    /// The peer goes; a new pair takes the place.
    PeerCloses {
        who: usize,
    },
    Wait {
        ms: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..4usize;
    let len = prop_oneof![4 => 0..200usize, 3 => 1000..9000usize, 1 => 50_000..400_000usize];
    let step = prop_oneof![
        4 => (who.clone(), len.clone(), any::<bool>())
            .prop_map(|(who, len, bulk)| Step::Push { who, len, bulk }),
        4 => who.clone().prop_map(|who| Step::Flush { who }),
        4 => (who.clone(), len.clone()).prop_map(|(who, len)| Step::PeerRead { who, len }),
        4 => (who.clone(), len.clone()).prop_map(|(who, len)| Step::PeerWrite { who, len }),
        3 => (who.clone(), len).prop_map(|(who, len)| Step::Consume { who, len }),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, on)| Step::Reading { who, on }),
        1 => who.clone().prop_map(|who| Step::Move { who }),
        1 => who.clone().prop_map(|who| Step::Finish { who }),
        1 => who.prop_map(|who| Step::PeerCloses { who }),
        6 => (0..2u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..60)
}

/// The bytes of a direction, each one known from its place.
fn byte(at: usize) -> u8 {
    u8::try_from((at * 7 + at / 251) % 251).unwrap()
}

fn bytes(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

struct Side {
    key: Key,
    peer: UnixStream,
    /// Pushed to the reactor, and read by the peer.
    out: (usize, usize),
    /// Written by the peer, and consumed.
    inward: (usize, usize),
}

impl Side {
    fn new(reactor: &mut dyn Reactor) -> Self {
        let (ours, peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let key = reactor.insert(Stream::adopt(ours.into()).unwrap(), Vec::new()).unwrap();
        Self { key, peer, out: (0, 0), inward: (0, 0) }
    }

    fn push(&mut self, reactor: &mut dyn Reactor, len: usize, bulk: bool) {
        let outbox = reactor.outbox(self.key).unwrap();
        let new = bytes(self.out.0, len);
        if bulk {
            outbox.push_bulk(Bulk::whole(Arc::new(new)));
        } else {
            outbox.push(&new);
        }
        self.out.0 += len;
    }

    /// What the peer gets is what was pushed, from where it was. False at the end.
    fn peer_reads(&mut self, len: usize) -> bool {
        let mut buffer = vec![0; len];
        match self.peer.read(&mut buffer) {
            Ok(n) => {
                assert!(buffer[..n] == bytes(self.out.1, n), "at {}", self.out.1);
                self.out.1 += n;
                assert!(self.out.1 <= self.out.0);
                n > 0 || len == 0
            }
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        }
    }

    fn peer_writes(&mut self, len: usize) {
        if let Ok(n) = self.peer.write(&bytes(self.inward.0, len)) {
            self.inward.0 += n;
        }
    }

    /// What is unread is what the peer wrote, from where we are.
    fn check(&self, reactor: &dyn Reactor) {
        let unread = reactor.unread(self.key);
        assert!(self.inward.1 + unread.len() <= self.inward.0);
        assert!(unread == bytes(self.inward.1, unread.len()), "at {}", self.inward.1);
        assert!(unread.len() < UNREAD_LIMIT + OVERSHOOT);
    }

    fn consume(&mut self, reactor: &mut dyn Reactor, len: usize) {
        let n = len.min(reactor.unread(self.key).len());
        reactor.consume(self.key, n);
        self.inward.1 += n;
    }

    fn moves(&mut self, reactor: &mut dyn Reactor) {
        let (stream, unread) = reactor.remove(self.key).unwrap();
        assert!(unread == bytes(self.inward.1, unread.len()));
        // What was not sent is dropped; what was is with the peer now.
        while matches!(self.out_of_peer(), 1..) {}
        self.out.0 = self.out.1;
        self.key = reactor.insert(stream, unread).unwrap();
    }

    fn out_of_peer(&mut self) -> usize {
        let before = self.out.1;
        self.peer_reads(1 << 20);
        self.out.1 - before
    }
}

fn deadline(start: Instant, what: &str) {
    assert!(start.elapsed() < Duration::from_secs(10), "{what} in ten seconds");
}

fn run(reactor: &mut dyn Reactor, steps: &[Step]) {
    let mut sides: Vec<Side> = (0..4).map(|_| Side::new(reactor)).collect();
    let mut events = Vec::new();
    for step in steps {
        match *step {
            Step::Push { who, len, bulk } => sides[who].push(reactor, len, bulk),
            Step::Flush { who } => reactor.flush(sides[who].key),
            Step::PeerRead { who, len } => assert!(sides[who].peer_reads(len)),
            Step::PeerWrite { who, len } => sides[who].peer_writes(len),
            Step::Consume { who, len } => sides[who].consume(reactor, len),
            Step::Reading { who, on } => reactor.set_reading(sides[who].key, on),
            Step::Move { who } => sides[who].moves(reactor),
            Step::Finish { who } => {
                reactor.finish_sending(sides[who].key);
                let start = Instant::now();
                while sides[who].peer_reads(1 << 20) {
                    reactor.wait(Some(Duration::from_millis(1)), &mut events).unwrap();
                    deadline(start, "the end did not come");
                }
                assert_eq!(sides[who].out.0, sides[who].out.1, "the end comes after all bytes");
                reactor.remove(sides[who].key).unwrap();
                sides[who] = Side::new(reactor);
            }
            Step::PeerCloses { who } => {
                let key = sides[who].key;
                drop(std::mem::replace(&mut sides[who], Side::new(reactor)));
                let start = Instant::now();
                events.clear();
                while !events.contains(&Event::Closed(key)) {
                    reactor.wait(Some(Duration::from_millis(1)), &mut events).unwrap();
                    let n = reactor.unread(key).len();
                    reactor.consume(key, n);
                    deadline(start, "the peer's end was not told");
                }
                reactor.remove(key).unwrap();
            }
            Step::Wait { ms } => {
                reactor.wait(Some(Duration::from_millis(ms)), &mut events).unwrap();
            }
        }
        sides.iter().for_each(|side| side.check(reactor));
    }
    // In the end everything arrives.
    let start = Instant::now();
    for side in &sides {
        reactor.set_reading(side.key, true);
        reactor.flush(side.key);
    }
    while sides.iter().any(|s| s.out.0 != s.out.1 || s.inward.0 != s.inward.1) {
        reactor.wait(Some(Duration::from_millis(1)), &mut events).unwrap();
        for side in &mut sides {
            side.out_of_peer();
            side.check(reactor);
            side.consume(reactor, usize::MAX);
        }
        deadline(start, "not all arrived");
    }
    assert!(sides.iter().all(|s| reactor.outbox(s.key).unwrap().is_empty()));
}

fn try_many(make: &dyn Fn() -> Box<dyn Reactor>) {
    let cases = std::env::var("REACTOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&steps(), |steps| {
        run(&mut *make(), &steps);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn any_sequence_on_mio() {
    try_many(&|| Box::new(MioReactor::new().unwrap()));
}

#[test]
fn any_sequence_on_uring() {
    with_uring(false, try_many);
}

#[test]
fn any_sequence_on_uring_single_shot() {
    with_uring(true, try_many);
}

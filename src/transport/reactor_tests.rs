//! What every reactor does, run on each of them.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::conn::UNREAD_LIMIT;
use super::layer::tests::Masked;
use super::listener::Listener;
use super::mio_reactor::MioReactor;
use super::reactor::{Event, Key, Reactor};
use super::stream::Stream;
use super::uring_reactor::UringReactor;
use crate::protocol::message::{Bulk, Descriptors};

type Make<'a> = &'a dyn Fn() -> Box<dyn Reactor>;

/// Each function as a test of each reactor.
macro_rules! on_every_reactor {
    ($($name:ident),* $(,)?) => {
        mod mio {
            $(#[test] fn $name() { super::$name(&|| Box::new(super::MioReactor::new().unwrap())) })*
        }
        mod uring {
            $(#[test] fn $name() { super::with_uring(false, super::$name) })*
        }
        mod uring_single_shot {
            $(#[test] fn $name() { super::with_uring(true, super::$name) })*
        }
    };
}

on_every_reactor!(
    bytes_go_both_ways_and_the_end_is_told,
    layers_stand_between_the_socket_and_the_bytes,
    a_layer_that_fails_ends_the_connection_with_its_last_word,
    a_last_word_waits_for_what_was_said_before,
    what_came_with_a_layers_end_is_read_first,
    a_peer_that_sends_without_end_is_read_up_to_the_limit,
    a_message_beyond_the_limit_arrives_whole_when_it_is_expected,
    a_paused_socket_is_not_read_and_its_end_is_told_all_the_same,
    a_pause_before_the_first_wait_holds,
    half_an_end_of_a_paused_socket_keeps_nobody_busy,
    a_waker_ends_an_endless_wait,
    a_call_while_awake_is_heard_by_the_next_wait,
    calls_from_many_threads_are_never_lost,
    more_than_the_socket_holds_arrives_complete,
    gathered_pieces_arrive_in_order,
    descriptors_arrive_with_their_byte,
    what_came_before_the_end_is_read_first,
    a_reset_is_told_once,
    removing_gives_back_all_that_came,
    removing_ends_a_send_that_nobody_reads,
    an_answer_before_a_removal_goes_out,
    the_end_waits_for_what_was_queued,
    connections_are_accepted_however_many_come,
    a_thousand_connections_are_served,
    nobody_starves_beside_a_peer_that_never_stops,
    a_bounded_rate_is_kept_and_nothing_is_lost,
    what_is_held_back_costs_nobody_else_anything,
    a_reactor_that_goes_leaves_nothing_behind,
    a_reactor_is_made_here_and_used_there,
);

/// Runs a test on io_uring where there is one.
pub(super) fn with_uring(single_shot: bool, test: impl Fn(Make<'_>)) {
    if let Err(error) = UringReactor::new() {
        eprintln!("SKIPPED 1: no io_uring here: {error}");
        return;
    }
    test(&|| {
        let mut reactor = UringReactor::new().unwrap();
        if single_shot {
            reactor.single_shot();
        }
        Box::new(reactor)
    });
}

fn pattern(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

fn stream(socket: impl Into<OwnedFd>) -> Stream {
    Stream::adopt(socket.into()).unwrap()
}

fn pair(reactor: &mut dyn Reactor) -> (Key, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    // What does not come in time fails instead of hanging.
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (reactor.insert(stream(ours), Vec::new()).unwrap(), theirs)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (listener.accept().unwrap().0, theirs)
}

/// Bytes up to the first descriptors or the end of what is there, and the descriptors.
fn receive_with_descriptors(socket: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(Descriptors::MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 100_000];
    let got =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
    bytes.truncate(got.unwrap().bytes);
    let mut list = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            list.extend(rights);
        }
    }
    (bytes, list)
}

fn descriptors_arrive_with_their_byte(make: Make<'_>) {
    let mut reactor = make();
    let (key, theirs) = pair(&mut *reactor);
    let file = |text: &str| {
        let fd = rustix::fs::memfd_create("cayenne-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&fd, text.as_bytes()).unwrap();
        fd
    };
    let outbox = reactor.outbox(key).unwrap();
    // More than the socket holds, so that they have to wait.
    outbox.push_owned(vec![b'-'; 1 << 20]);
    outbox.push_descriptors(Descriptors::new(vec![file("one")]).unwrap());
    outbox.push(b"between");
    outbox.push_descriptors(Descriptors::new(vec![file("two"), file("three")]).unwrap());
    outbox.push(b"end");
    reactor.flush(key);
    let reader = std::thread::spawn(move || {
        let (mut all, mut found) = (Vec::new(), Vec::new());
        while !all.ends_with(b"end") {
            let (bytes, list) = receive_with_descriptors(&theirs);
            assert!(!bytes.is_empty());
            all.extend(bytes);
            found.extend(list.into_iter().map(|fd| {
                let mut text = String::new();
                let mut file = std::fs::File::from(fd);
                file.rewind().unwrap();
                file.read_to_string(&mut text).unwrap();
                // The kernel gives no byte behind those that descriptors came with.
                (all.len() - (1 << 20), text)
            }));
        }
        (all, found)
    });
    wait_for(&mut *reactor, Event::Drained(key));
    let (all, found) = reader.join().unwrap();
    assert_eq!(&all[1 << 20..], b"@between@end");
    let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert!((1..=8).contains(&found[0].0) && found[1].0 >= 9, "{found:?}");
}

/// All events until the wanted one.
fn wait_for(reactor: &mut dyn Reactor, wanted: Event) -> Vec<Event> {
    let mut all = Vec::new();
    wait_until(reactor, &mut all, |_, events| events.contains(&wanted));
    all
}

fn wait_until(
    reactor: &mut dyn Reactor,
    events: &mut Vec<Event>,
    mut done: impl FnMut(&mut dyn Reactor, &[Event]) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done(reactor, events) {
        assert!(Instant::now() < deadline, "not done in ten seconds, only {events:?}");
        reactor.wait(Some(Duration::from_millis(100)), events).unwrap();
    }
}

/// Lets a reactor do whatever it can do by itself.
fn run_dry(reactor: &mut dyn Reactor) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let before = events.len();
        reactor.wait(Some(Duration::from_millis(10)), &mut events).unwrap();
        if events.len() == before {
            return events;
        }
    }
}

fn queue(reactor: &mut dyn Reactor, key: Key, bytes: &[u8]) {
    reactor.outbox(key).unwrap().push(bytes);
    reactor.flush(key);
}

fn bytes_go_both_ways_and_the_end_is_told(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    peer.write_all(b"hello").unwrap();
    wait_for(reactor, Event::Received(key));
    assert_eq!(reactor.unread(key), b"hello");
    reactor.consume(key, 2);
    assert_eq!(reactor.unread(key), b"llo");
    queue(reactor, key, b"answer");
    wait_for(reactor, Event::Drained(key));
    let mut got = [0; 6];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"answer");
    drop(peer);
    wait_for(reactor, Event::Closed(key));
}

fn layers_stand_between_the_socket_and_the_bytes(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    reactor.outbox(key).unwrap().push(b"plain,");
    reactor.add_layer(key, Box::new(Masked::new(1)));
    // It waits for the layer's handshake, without keeping the thread busy.
    queue(reactor, key, b"masked");
    run_dry(reactor);
    let start = Instant::now();
    reactor.wait(Some(Duration::from_millis(20)), &mut Vec::new()).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20));
    peer.write_all(&[1, b'i' ^ 1, b'n' ^ 1]).unwrap();
    let masked: Vec<u8> = b"masked".iter().map(|b| b ^ 1).collect();
    wait_until(reactor, &mut Vec::new(), |r, _| r.unread(key) == b"in");
    let mut got = [0; 13];
    let reader = std::thread::spawn(move || {
        peer.read_exact(&mut got).unwrap();
        (got, peer)
    });
    wait_until(reactor, &mut Vec::new(), |_, _| reader.is_finished());
    let (got, mut peer) = reader.join().unwrap();
    assert_eq!(got.to_vec(), [b"plain,\x01", &masked[..]].concat());
    // The layers travel with the stream; so does what they have wrapped already.
    let (mut stream, unread) = reactor.remove(key).unwrap();
    stream.layers_mut().wire().unwrap().push(b"left");
    let other = &mut *make();
    let key = other.insert(stream, unread).unwrap();
    wait_for(other, Event::Received(key));
    assert_eq!(other.unread(key), b"in");
    other.finish_sending(key);
    wait_for(other, Event::Drained(key));
    // The end may come after the last byte is out.
    run_dry(other);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"left\x01", "the layer's last word is followed by the end");
}

/// Reads from now on, for this long; how many bytes came, and the last of them.
fn count_for(mut peer: UnixStream, time: Duration) -> std::thread::JoinHandle<(usize, UnixStream)> {
    std::thread::spawn(move || {
        let (end, mut total) = (Instant::now() + time, 0);
        let mut bytes = vec![0; 1 << 16];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
            peer.set_read_timeout(Some(left)).unwrap();
            match peer.read(&mut bytes) {
                Ok(n) => total += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("{e}"),
            }
        }
        (total, peer)
    })
}

fn a_bounded_rate_is_kept_and_nothing_is_lost(make: Make<'_>) {
    let rate = 400_000;
    for layered in [false, true] {
        let reactor = &mut *make();
        let (key, mut peer) = pair(reactor);
        if layered {
            reactor.add_layer(key, Box::new(Masked::new(1)));
            peer.write_all(&[1]).unwrap();
            let reader = std::thread::spawn(move || {
                let mut own = [0];
                peer.read_exact(&mut own).map(|()| peer)
            });
            wait_until(reactor, &mut Vec::new(), |_, _| reader.is_finished());
            peer = reader.join().unwrap().unwrap();
        }
        let begin = Instant::now();
        reactor.set_rate(key, std::num::NonZeroU64::new(rate));
        let all = pattern(600_000);
        let (first, rest) = all.split_at(1000);
        let outbox = reactor.outbox(key).unwrap();
        outbox.push(first);
        outbox.push_bulk(Bulk::whole(Arc::new(rest.to_vec())));
        let reader = count_for(peer, Duration::from_secs(1));
        reactor.flush(key);
        let mut turns = 0;
        while !reader.is_finished() {
            // A list that is not empty would keep `wait` from sleeping.
            let mut events = Vec::new();
            reactor.wait(Some(Duration::from_millis(100)), &mut events).unwrap();
            assert!(!events.contains(&Event::Drained(key)), "there is more than may go");
            turns += 1;
        }
        let took = begin.elapsed().as_secs_f64();
        let (came, mut peer) = reader.join().unwrap();
        // 50 ms may have been saved up. Less comes only if this machine gave us no time for longer than that.
        let most = rate as f64 * (took + 0.05);
        assert!(
            came as f64 <= most && came > 200_000,
            "{came} bytes in {took} s, layered: {layered}"
        );
        assert!(turns < 400, "{turns} turns: nobody waits by asking again and again");
        // The end of the bound is the end of the wait.
        reactor.set_rate(key, None);
        let reader = std::thread::spawn(move || {
            peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut left = vec![0; 600_000 - came];
            peer.read_exact(&mut left).map(|()| left)
        });
        wait_for(reactor, Event::Drained(key));
        let left = reader.join().unwrap().unwrap();
        let key = u8::from(layered);
        assert!(left.iter().zip(&all[came..]).all(|(got, want)| *got == want ^ key));
    }
}

fn what_is_held_back_costs_nobody_else_anything(make: Make<'_>) {
    let reactor = &mut *make();
    let (bounded, mut slow) = pair(reactor);
    let (free, mut fast) = pair(reactor);
    reactor.set_rate(bounded, std::num::NonZeroU64::new(65_536));
    queue(reactor, bounded, &pattern(40_000));
    queue(reactor, free, b"hello");
    wait_for(reactor, Event::Drained(free));
    let mut word = [0; 5];
    fast.read_exact(&mut word).unwrap();
    // What comes from the peer is not bounded.
    slow.write_all(b"question").unwrap();
    wait_for(reactor, Event::Received(bounded));
    assert_eq!(reactor.unread(bounded), b"question");
    // An endless wait ends when the time has come, again and again.
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; 40_000];
        slow.read_exact(&mut all).map(|()| all)
    });
    let mut drained = false;
    while !drained {
        let mut events = Vec::new();
        reactor.wait(None, &mut events).unwrap();
        drained = events.contains(&Event::Drained(bounded));
    }
    assert_eq!(reader.join().unwrap().unwrap(), pattern(40_000));
    // Gone while it is held: nothing is left to wait for.
    queue(reactor, bounded, &pattern(100_000));
    assert!(reactor.remove(bounded).is_some());
    let start = Instant::now();
    reactor.wait(Some(Duration::from_millis(30)), &mut Vec::new()).unwrap();
    reactor.wait(Some(Duration::from_millis(30)), &mut Vec::new()).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
}

fn a_layer_that_fails_ends_the_connection_with_its_last_word(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, peer) = pair(reactor);
    break_the_layer(reactor, key, peer, b"no");
}

fn a_last_word_waits_for_what_was_said_before(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, peer) = pair(reactor);
    // Queued, and in the same turn the layer fails.
    queue(reactor, key, b"hello,");
    break_the_layer(reactor, key, peer, b"hello,no");
}

fn what_came_with_a_layers_end_is_read_first(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    reactor.add_layer(key, Box::new(Masked::new(1)));
    // The handshake, a byte, and the byte that ends this layer.
    peer.write_all(&[1, b'x' ^ 1, 1]).unwrap();
    let mut events = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !events.contains(&Event::Closed(key)) {
        assert!(Instant::now() < deadline, "no end, only {events:?}");
        reactor.wait(Some(Duration::from_millis(100)), &mut events).unwrap();
    }
    let place = |wanted| events.iter().position(|event| *event == wanted);
    assert!(place(Event::Received(key)) < place(Event::Closed(key)), "{events:?}");
    assert!(place(Event::Received(key)).is_some(), "{events:?}");
    assert_eq!(reactor.unread(key).first(), Some(&b'x'));
}

fn break_the_layer(reactor: &mut dyn Reactor, key: Key, mut peer: UnixStream, heard: &[u8]) {
    reactor.add_layer(key, Box::new(Masked::new(1)));
    peer.write_all(b"garbage").unwrap();
    wait_for(reactor, Event::Closed(key));
    reactor.remove(key);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, heard);
}

fn a_peer_that_sends_without_end_is_read_up_to_the_limit(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    peer.set_nonblocking(true).unwrap();
    let block: Vec<u8> = pattern(64 * 1024);
    let mut sent = Vec::new();
    for _ in 0..100 {
        if let Ok(n) = peer.write(&block) {
            sent.extend_from_slice(&block[..n]);
        }
        reactor.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
    }
    run_dry(reactor);
    let held = reactor.unread(key).len();
    // One read of the readiness engine, all buffers of the other one.
    assert!((UNREAD_LIMIT..UNREAD_LIMIT + 64 * 1024).contains(&held), "held {held} bytes");
    // Nothing was lost on the way, whatever was stopped and started.
    let mut got = Vec::new();
    wait_until(reactor, &mut Vec::new(), |r, _| {
        let n = r.unread(key).len();
        got.extend_from_slice(r.unread(key));
        r.consume(key, n);
        got.len() >= sent.len()
    });
    assert!(got == sent);
}

fn a_message_beyond_the_limit_arrives_whole_when_it_is_expected(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    let message = pattern(1024 * 1024);
    let sent = message.repeat(3);
    let sender = std::thread::spawn(move || peer.write_all(&sent).map(|()| peer));
    let mut events = Vec::new();
    for _ in 0..3 {
        // The first bytes come before anybody knows how long it is.
        wait_until(reactor, &mut events, |r, _| r.unread(key).len() > 6);
        reactor.expect(key, message.len());
        wait_until(reactor, &mut events, |r, _| r.unread(key).len() >= message.len());
        let unread = reactor.unread(key);
        assert!(unread[..message.len()] == message);
        assert!(unread.len() < message.len() + 2 * UNREAD_LIMIT, "held {} bytes", unread.len());
        reactor.consume(key, message.len());
        reactor.expect(key, 0);
    }
    let peer = sender.join().unwrap().unwrap();
    // The rest goes along when the connection moves.
    drop(peer);
    let (_, rest) = reactor.remove(key).unwrap();
    assert!(rest.is_empty());
}

fn a_paused_socket_is_not_read_and_its_end_is_told_all_the_same(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    run_dry(reactor);
    reactor.set_reading(key, false);
    run_dry(reactor);
    peer.write_all(b"x").unwrap();
    run_dry(reactor);
    assert!(reactor.unread(key).is_empty());
    reactor.set_reading(key, true);
    wait_for(reactor, Event::Received(key));
    reactor.set_reading(key, false);
    drop(peer);
    wait_for(reactor, Event::Closed(key));
    let (_, unread) = reactor.remove(key).unwrap();
    assert_eq!(unread, b"x");
}

fn a_pause_before_the_first_wait_holds(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    peer.write_all(b"x").unwrap();
    reactor.set_reading(key, false);
    run_dry(reactor);
    assert!(reactor.unread(key).is_empty());
    reactor.set_reading(key, true);
    wait_for(reactor, Event::Received(key));
}

fn half_an_end_of_a_paused_socket_keeps_nobody_busy(make: Make<'_>) {
    let reactor = &mut *make();
    let (ours, theirs) = tcp_pair();
    let key = reactor.insert(stream(ours), Vec::new()).unwrap();
    reactor.set_reading(key, false);
    run_dry(reactor);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    // One event of the kernel may be for nobody; after that it is quiet.
    reactor.wait(Some(Duration::from_millis(20)), &mut Vec::new()).unwrap();
    let (start, mut events) = (Instant::now(), Vec::new());
    reactor.wait(Some(Duration::from_millis(20)), &mut events).unwrap();
    assert!(events.is_empty() && start.elapsed() >= Duration::from_millis(20), "{events:?}");
    queue(reactor, key, b"still");
    wait_for(reactor, Event::Drained(key));
    reactor.set_reading(key, true);
    wait_for(reactor, Event::Closed(key));
}

fn a_waker_ends_an_endless_wait(make: Make<'_>) {
    let reactor = &mut *make();
    let waker = reactor.waker();
    let other = std::thread::spawn(move || waker.wake());
    let mut events = Vec::new();
    while !events.contains(&Event::Woken) {
        reactor.wait(None, &mut events).unwrap();
    }
    other.join().unwrap();
}

fn a_call_while_awake_is_heard_by_the_next_wait(make: Make<'_>) {
    let reactor = &mut *make();
    run_dry(reactor);
    for timeout in [None, Some(Duration::ZERO), Some(Duration::from_secs(60))] {
        reactor.waker().wake();
        reactor.waker().wake();
        let mut events = Vec::new();
        reactor.wait(timeout, &mut events).unwrap();
        assert_eq!(events, [Event::Woken]);
    }
    assert!(run_dry(reactor).is_empty());
}

fn calls_from_many_threads_are_never_lost(make: Make<'_>) {
    const EACH: usize = 3000;
    let reactor = &mut *make();
    let (orders, taken) = crossbeam_channel::unbounded();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (orders, waker) = (orders.clone(), reactor.waker());
            std::thread::spawn(move || {
                for n in 0..EACH {
                    orders.send(n).unwrap();
                    waker.wake();
                    if n % 7 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut count = 0;
    let mut events = Vec::new();
    while count < 3 * EACH {
        let start = Instant::now();
        reactor.wait(Some(Duration::from_secs(20)), &mut events).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "a call was lost");
        count += taken.try_iter().count();
    }
    assert!(events.contains(&Event::Woken));
    threads.into_iter().for_each(|t| t.join().unwrap());
}

fn more_than_the_socket_holds_arrives_complete(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    let all: Vec<u8> = pattern(3_000_000);
    queue(reactor, key, &all);
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; 3_000_000];
        peer.read_exact(&mut got).unwrap();
        (got, peer)
    });
    wait_for(reactor, Event::Drained(key));
    assert_eq!(reader.join().unwrap().0, all);
}

fn gathered_pieces_arrive_in_order(make: Make<'_>) {
    let reactor = &mut *make();
    let (ours, mut peer) = tcp_pair();
    let key = reactor.insert(stream(ours), Vec::new()).unwrap();
    let mut all = Vec::new();
    let blocks: Vec<Arc<Vec<u8>>> =
        (0..200u8).map(|n| Arc::new(vec![n; 20_000 + usize::from(n)])).collect();
    for (n, block) in (0u8..).zip(&blocks) {
        let header = [n; 5];
        let outbox = reactor.outbox(key).unwrap();
        outbox.push(&header);
        outbox.push_bulk(Bulk::whole(Arc::clone(block)));
        all.extend_from_slice(&header);
        all.extend_from_slice(block);
        if n % 3 == 0 {
            reactor.flush(key);
        }
    }
    reactor.flush(key);
    let len = all.len();
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; len];
        peer.read_exact(&mut got).unwrap();
        (got, peer)
    });
    // Earlier batches may have drained as well; this one has when nothing is left.
    wait_until(reactor, &mut Vec::new(), |reactor, _| reactor.outbox(key).unwrap().is_empty());
    assert!(reader.join().unwrap().0 == all);
    assert!(reactor.outbox(key).unwrap().is_empty());
    assert!(blocks.iter().all(|b| Arc::strong_count(b) == 1), "what is sent is let go");
}

fn what_came_before_the_end_is_read_first(make: Make<'_>) {
    for size in [1, 5, 4096, 4097, 100_000] {
        let reactor = &mut *make();
        let (ours, mut peer) = tcp_pair();
        let key = reactor.insert(stream(ours), Vec::new()).unwrap();
        run_dry(reactor);
        peer.write_all(&vec![7; size]).unwrap();
        drop(peer);
        wait_for(reactor, Event::Closed(key));
        assert_eq!(reactor.unread(key).len(), size);
    }
}

fn a_reset_is_told_once(make: Make<'_>) {
    let reactor = &mut *make();
    let (ours, peer) = tcp_pair();
    let key = reactor.insert(stream(ours), Vec::new()).unwrap();
    // Unread bytes at the peer make its close a reset, which ends the reading and the sending.
    queue(reactor, key, &[0; 1000]);
    wait_for(reactor, Event::Drained(key));
    drop(peer);
    queue(reactor, key, &vec![0; 8_000_000]);
    let mut events = wait_for(reactor, Event::Closed(key));
    events.extend(run_dry(reactor));
    assert_eq!(events.iter().filter(|e| **e == Event::Closed(key)).count(), 1);
}

fn removing_gives_back_all_that_came(make: Make<'_>) {
    let reactor = &mut *make();
    for round in 0..50usize {
        let (key, mut peer) = pair(reactor);
        if round % 2 == 0 {
            run_dry(reactor);
        }
        let sent: Vec<u8> = pattern(1000 * round);
        peer.write_all(&sent).unwrap();
        if round % 3 == 0 {
            reactor.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        }
        let (rest, mut got) = reactor.remove(key).unwrap();
        let mut buffer = vec![0; 100_000];
        while let Ok(n) = rest.recv(&mut buffer) {
            got.extend_from_slice(&buffer[..n]);
        }
        assert!(got == sent, "round {round}: {} of {} bytes", got.len(), sent.len());
        assert!(reactor.remove(key).is_none());
    }
    assert!(run_dry(reactor).is_empty(), "nothing is told of who is gone");
}

fn removing_ends_a_send_that_nobody_reads(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    let block = Arc::new(vec![5u8; 4_000_000]);
    reactor.outbox(key).unwrap().push_bulk(Bulk::whole(Arc::clone(&block)));
    reactor.flush(key);
    run_dry(reactor);
    let (stream, _) = reactor.remove(key).unwrap();
    assert_eq!(Arc::strong_count(&block), 1, "the kernel has let go of it");
    drop(stream);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert!(!got.is_empty() && got.len() < block.len());
}

fn an_answer_before_a_removal_goes_out(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    run_dry(reactor);
    queue(reactor, key, b"refused");
    drop(reactor.remove(key));
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"refused");
}

fn the_end_waits_for_what_was_queued(make: Make<'_>) {
    let reactor = &mut *make();
    let (key, mut peer) = pair(reactor);
    queue(reactor, key, &vec![1; 2_000_000]);
    reactor.finish_sending(key);
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        peer.write_all(b"bye").unwrap();
        got.len()
    });
    wait_until(reactor, &mut Vec::new(), |r, _| r.unread(key) == b"bye");
    assert_eq!(reader.join().unwrap(), 2_000_000);
}

fn connections_are_accepted_however_many_come(make: Make<'_>) {
    const COUNT: usize = 300;
    let reactor = &mut *make();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listener = reactor.listen(Listener::borrowed(socket.as_fd()).unwrap()).unwrap();
    assert_eq!(reactor.accept(listener).unwrap_err().kind(), ErrorKind::WouldBlock);
    let clients = std::thread::spawn(move || {
        (0..COUNT).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>()
    });
    let mut taken = BTreeSet::new();
    let mut sockets = Vec::new();
    wait_until(reactor, &mut Vec::new(), |r, _| {
        while let Ok(fd) = r.accept(listener) {
            let socket = TcpStream::from(fd);
            taken.insert(socket.peer_addr().unwrap().port());
            sockets.push(socket);
        }
        taken.len() == COUNT
    });
    assert_eq!(clients.join().unwrap().len(), COUNT);
    assert_eq!(sockets.len(), COUNT);
}

fn a_thousand_connections_are_served(make: Make<'_>) {
    const COUNT: usize = 1000;
    raise_descriptors();
    let reactor = &mut *make();
    let mut peers: Vec<(Key, UnixStream)> = (0..COUNT).map(|_| pair(reactor)).collect();
    for (n, (_, peer)) in (0u32..).zip(&mut peers) {
        peer.write_all(&n.to_ne_bytes()).unwrap();
    }
    let mut answered = 0;
    let mut events = Vec::new();
    wait_until(reactor, &mut events, |r, _| {
        for (n, (key, _)) in (0u32..).zip(&peers) {
            if r.unread(*key).len() == 4 {
                assert_eq!(r.unread(*key), n.to_ne_bytes());
                let echo = r.unread(*key).to_vec();
                r.consume(*key, 4);
                queue(r, *key, &echo);
                answered += 1;
            }
        }
        answered == COUNT
    });
    run_dry(reactor);
    for (n, (_, peer)) in (0u32..).zip(&mut peers) {
        let mut echo = [0; 4];
        peer.read_exact(&mut echo).unwrap();
        assert_eq!(echo, n.to_ne_bytes());
    }
    for (key, _) in &peers {
        assert!(reactor.remove(*key).is_some());
    }
}

fn nobody_starves_beside_a_peer_that_never_stops(make: Make<'_>) {
    let reactor = &mut *make();
    let (busy, mut flood) = pair(reactor);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let end = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let block = vec![0u8; 64 * 1024];
        while !end.load(std::sync::atomic::Ordering::Relaxed) && flood.write(&block).is_ok() {}
    });
    let mut others: Vec<(Key, UnixStream)> = (0..30).map(|_| pair(reactor)).collect();
    for round in 0..20u8 {
        others.iter_mut().for_each(|(_, peer)| peer.write_all(&[round]).unwrap());
        wait_until(reactor, &mut Vec::new(), |r, _| {
            let n = r.unread(busy).len();
            r.consume(busy, n);
            others.iter().all(|(key, _)| r.unread(*key) == [round])
        });
        others.iter().for_each(|(key, _)| reactor.consume(*key, 1));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(reactor.remove(busy));
    writer.join().unwrap();
}

fn a_reactor_that_goes_leaves_nothing_behind(make: Make<'_>) {
    let block = Arc::new(vec![5u8; 4_000_000]);
    let (listening, client);
    let mut peers = Vec::new();
    {
        let reactor = &mut *make();
        listening = TcpListener::bind("127.0.0.1:0").unwrap();
        reactor.listen(Listener::borrowed(listening.as_fd()).unwrap()).unwrap();
        for n in 0..20 {
            let (key, mut peer) = pair(reactor);
            reactor.outbox(key).unwrap().push_bulk(Bulk::whole(Arc::clone(&block)));
            reactor.flush(key);
            if n % 2 == 0 {
                reactor.set_reading(key, false);
            }
            peer.write_all(&[0; 5000]).unwrap();
            peers.push(peer);
        }
        run_dry(reactor);
        client = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        let (key, peer) = pair(reactor);
        queue(reactor, key, b"never handed over");
        peers.push(peer);
    }
    assert_eq!(Arc::strong_count(&block), 1);
    for mut peer in peers {
        // Every descriptor is closed: the end comes, or a reset for those that had sent.
        let mut got = Vec::new();
        let end = peer.read_to_end(&mut got);
        assert!(end.is_ok() || end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    }
    drop(client);
}

fn a_reactor_is_made_here_and_used_there(make: Make<'_>) {
    let mut reactor = make();
    let (key, mut peer) = pair(&mut *reactor);
    queue(&mut *reactor, key, b"early");
    let waker = reactor.waker();
    let thread = std::thread::spawn(move || {
        wait_for(&mut *reactor, Event::Woken);
        wait_until(&mut *reactor, &mut Vec::new(), |r, _| r.unread(key) == b"hello");
    });
    peer.write_all(b"hello").unwrap();
    waker.wake();
    thread.join().unwrap();
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"early");
}

/// In a process of its own: the limit is that of the whole process.
#[test]
fn accepting_goes_on_when_descriptors_come_back() {
    const INSIDE: &str = "REACTOR_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        exhaust_descriptors(&|| Box::new(MioReactor::new().unwrap()));
        with_uring(false, exhaust_descriptors);
        return;
    }
    let name = "transport::reactor_tests::accepting_goes_on_when_descriptors_come_back";
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success());
}

fn exhaust_descriptors(make: Make<'_>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum: before.maximum }).unwrap();
    let reactor = &mut *make();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = reactor.listen(Listener::borrowed(socket.as_fd()).unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let clients: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut hogs = Vec::new();
    while let Ok(hog) = socket.try_clone() {
        hogs.push(hog);
    }
    let mut refused = 0;
    wait_until(reactor, &mut Vec::new(), |r, _| {
        // As the door does: tried again and again, whatever was told.
        match r.accept(listener) {
            Ok(_) => panic!("there is no descriptor"),
            Err(e) => refused += u32::from(e.kind() != ErrorKind::WouldBlock),
        }
        refused == 5
    });
    drop(hogs);
    let mut accepted = Vec::new();
    wait_until(reactor, &mut Vec::new(), |r, _| {
        while let Ok(fd) = r.accept(listener) {
            accepted.push(fd);
        }
        accepted.len() == clients.len()
    });
    setrlimit(Resource::Nofile, before).unwrap();
}

/// Tests run in one process, and 1,024 descriptors are few.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

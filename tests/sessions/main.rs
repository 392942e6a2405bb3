//! Whole sessions against hostile clients and careless hosts: the real server, its threads and
//! sockets; only the host is a recorder.

mod client;
mod door;
mod handover;
mod migration;
mod observe;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{INPUTS, MAIN, PATIENCE, ends, flood, link, link_message, message, receive};
use spice_server::channel::device::DeviceId;
use spice_server::channel::main::MigrationEvent;
use spice_server::protocol::agent::ClientMonitors;
use spice_server::server::Core;
use spice_server::server::host::{Caller, ChannelEvent, Host};
use spice_server::transport::connection::Connection;

/// Records what it is told; may destroy its server from inside a callback.
#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<(ChannelEvent, u64)>>,
    keys: AtomicUsize,
    wishes: AtomicUsize,
    core: OnceLock<Weak<Core>>,
    destroy_at_initialized: AtomicBool,
    migrations: Mutex<Vec<MigrationEvent>>,
    /// Its devices take nothing.
    full: AtomicBool,
    /// What they took.
    written: Mutex<Vec<u8>>,
    /// What they have to give.
    gives: Mutex<Vec<u8>>,
}

impl Host for Recorder {
    fn channel_event(&self, event: ChannelEvent, connection: &Arc<Connection>) {
        self.events.lock().expect("no panic under it").push((event, connection.id));
        if event == ChannelEvent::Initialized
            && self.destroy_at_initialized.swap(false, Ordering::SeqCst)
        {
            self.core.get().and_then(Weak::upgrade).expect("the server lives").destroy();
        }
    }
    fn key(&self, _byte: u8) {
        self.keys.fetch_add(1, Ordering::SeqCst);
    }
    fn leds(&self) -> u8 {
        0
    }
    fn migration(&self, event: MigrationEvent) {
        self.migrations.lock().expect("no panic under it").push(event);
    }
    fn mouse_motion(&self, _: i32, _: i32, _: i32, _: u32) {}
    fn mouse_buttons(&self, _: u32) {}
    fn tablet_size(&self, _: i32, _: i32) {}
    fn tablet_position(&self, _: i32, _: i32, _: u32) {}
    fn tablet_wheel(&self, _: i32, _: u32) {}
    fn tablet_buttons(&self, _: u32) {}
    fn takes_monitors(&self) -> bool {
        true
    }
    fn client_monitors(&self, monitors: &ClientMonitors) {
        assert_eq!(monitors.words(), [1, 0, 600, 800, 32, 0, 0]);
        self.wishes.fetch_add(1, Ordering::SeqCst);
    }
    fn device_read(&self, _: DeviceId, bytes: &mut [u8]) -> usize {
        let mut gives = self.gives.lock().expect("no panic under it");
        let count = gives.len().min(bytes.len());
        bytes[..count].copy_from_slice(&gives.drain(..count).collect::<Vec<u8>>());
        count
    }
    fn device_write(&self, _: DeviceId, bytes: &[u8]) -> usize {
        if self.full.load(Ordering::SeqCst) {
            return 0;
        }
        self.written.lock().expect("no panic under it").extend(bytes);
        bytes.len()
    }
    fn device_state(&self, _: DeviceId, _: bool) {}
    fn device_event(&self, _: DeviceId, _: u8) {}
    fn device_notifies(&self, _: DeviceId) -> bool {
        true
    }
    fn device_timer(&self, _: DeviceId, _: Option<u32>) {}
}

/// A server whose main loop is the test's thread.
struct Session {
    core: Arc<Core>,
    host: Arc<Recorder>,
}

impl Session {
    fn new() -> Self {
        Self::with_listener(None)
    }

    /// A server that also accepts from a listener of the host.
    fn with_listener(listener: Option<BorrowedFd<'_>>) -> Self {
        let core = Core::new().expect("a server");
        let host = Arc::new(Recorder::default());
        host.core.set(Arc::downgrade(&core)).expect("set once");
        core.init(Arc::clone(&host) as Arc<dyn Host>, listener).expect("init");
        core.session().ticket.disable();
        Self { core, host }
    }

    /// A connected socket.
    fn socket(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        theirs.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        self.core.add_client(OwnedFd::from(ours), false, false).expect("the socket is taken");
        theirs
    }

    /// Runs the host's loop until `done`.
    fn run_until(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.core.mailbox().turn();
            self.core.run_host_tasks(Caller::MainThread);
            if done() {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {:?}", self.events());
            let soon = Instant::now() + Duration::from_millis(20);
            self.core.mailbox().wait(seen, soon.min(deadline));
        }
    }

    /// What `work` returns, while the host's loop runs.
    fn meanwhile<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread: JoinHandle<T> = std::thread::spawn(work);
        self.run_until("a client's work", || thread.is_finished());
        thread.join().expect("the client's work succeeds")
    }

    fn link(&self, what: (u32, u8, u8), password: &'static [u8]) -> (u32, UnixStream) {
        let mut socket = self.socket();
        self.meanwhile(move || (link(&mut socket, what, password).expect("an answer"), socket))
    }

    /// A client's main channel and its session id.
    fn main(&self) -> (UnixStream, u32) {
        let (result, mut socket) = self.link((0, MAIN, 0), b"");
        assert_eq!(result, 0);
        let (kind, body) = receive(&mut socket).expect("a message");
        assert_eq!(kind, 103, "INIT comes first");
        (socket, u32::from_le_bytes(body[..4].try_into().expect("the length fits")))
    }

    /// A guest agent that says nothing and takes nothing.
    fn add_agent(&self) -> DeviceId {
        let agent = DeviceId::fresh();
        self.core.add_device(agent, "vdagent", None).expect("no other agent");
        agent
    }

    /// Reads a client's messages up to one of this type.
    fn told(&self, main: &UnixStream, kind: u16) {
        let mut main = main.try_clone().expect("a descriptor");
        self.meanwhile(move || while receive(&mut main).expect("the client stays").0 != kind {});
    }

    fn events(&self) -> Vec<(ChannelEvent, u64)> {
        self.host.events.lock().expect("no panic under it").clone()
    }

    fn count(&self, event: ChannelEvent) -> usize {
        self.events().iter().filter(|(e, _)| *e == event).count()
    }

    fn all_gone(&self) {
        self.run_until("every connection ends", || {
            self.count(ChannelEvent::Connected) == self.count(ChannelEvent::Disconnected)
        });
        self.assert_order();
    }

    /// Every connection: CONNECTED once, INITIALIZED at most once, DISCONNECTED last and once.
    fn assert_order(&self) {
        let mut state = BTreeMap::new();
        for (event, id) in self.events() {
            let before = state.insert(id, event);
            let right = match event {
                ChannelEvent::Connected => before.is_none(),
                ChannelEvent::Initialized => before == Some(ChannelEvent::Connected),
                ChannelEvent::Disconnected => {
                    before.is_some_and(|b| b != ChannelEvent::Disconnected)
                }
            };
            assert!(right, "{event:?} of {id} after {before:?}: {:?}", self.events());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.destroy();
    }
}

#[test]
fn channels_join_by_session_id_once_and_strangers_are_refused() {
    let session = Session::new();
    let (_main, id) = session.main();
    assert_eq!(session.link((id ^ 1, INPUTS, 0), b"").0, 8, "unknown connection id");
    let mut stranger = session.socket();
    stranger.write_all(&link_message(id, 99, 0)).expect("the bytes go");
    // As the original does: no reply to a channel that does not exist.
    assert!(session.meanwhile(move || ends(&mut stranger)), "no such channel");
    let (result, mut inputs) = session.link((id, INPUTS, 0), b"");
    assert_eq!(result, 0);
    let (kind, _) = session.meanwhile(move || {
        let got = receive(&mut inputs).expect("a message");
        std::mem::forget(inputs);
        got
    });
    assert_eq!(kind, 101, "INIT of inputs");
    let (result, mut second) = session.link((id, INPUTS, 0), b"");
    assert_eq!(result, 0, "a second inputs channel is accepted");
    assert!(session.meanwhile(move || ends(&mut second)), "and closed");
    session.assert_order();
}

#[test]
fn a_second_main_replaces_the_first_whose_end_is_told_before() {
    let session = Session::new();
    let (mut first, id) = session.main();
    let (_, _inputs) = session.link((id, INPUTS, 0), b"");
    let old: Vec<u64> = session.events().iter().map(|(_, c)| *c).collect();
    let (_second, _) = session.main();
    assert!(session.meanwhile(move || ends(&mut first)));
    session.assert_order();
    let events = session.events();
    let new = events.iter().position(|(e, c)| *e == ChannelEvent::Initialized && !old.contains(c));
    let told = &events[..new.expect("the second is initialized")];
    let ended = told.iter().filter(|(e, _)| *e == ChannelEvent::Disconnected).count();
    assert_eq!(ended, 2, "{events:?}");
    assert_eq!(session.core.session().client_count(), 1);
}

#[test]
fn bytes_that_are_no_link_message_end_the_connection() {
    let session = Session::new();
    let mut oversize = link_message(0, MAIN, 0);
    oversize[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut caps = link_message(0, MAIN, 0);
    caps[22..26].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut offset = link_message(0, MAIN, 0);
    offset[30..34].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut version = link_message(0, MAIN, 0);
    version[4] = 9;
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), oversize, caps, offset, version] {
        let mut socket = session.socket();
        let _ = socket.write_all(&bytes);
        assert!(session.meanwhile(move || ends(&mut socket)), "{bytes:?}");
    }
    session.all_gone();
    assert_eq!(session.count(ChannelEvent::Initialized), 0);
}

const AGENT_CONNECTED: u16 = 107;
const AGENT_DISCONNECTED: u16 = 108;

/// AGENT_DATA with one monitor of 800x600.
fn wish() -> Vec<u8> {
    let words = [1, 2, 0, 0, 28, 1, 0, 600, 800, 32, 0, 0u32];
    message(107, &words.map(u32::to_le_bytes).concat())
}

/// AGENT_START with no tokens for us.
fn open_stream() -> Vec<u8> {
    message(106, &0u32.to_le_bytes())
}

#[test]
fn wishes_for_monitors_are_given_back_once_the_host_was_told() {
    const AGENT_TOKEN: u16 = 110;
    let session = Session::new();
    let (mut main, _) = session.main();
    session.add_agent();
    session.told(&main, AGENT_CONNECTED);
    main.write_all(&open_stream()).expect("sent");
    let given = session.meanwhile(move || {
        // A client that keeps to its window may go on for ever.
        let (mut window, mut given) = (10, 0);
        while given < 50 {
            while window > 0 {
                main.write_all(&wish()).expect("sent");
                window -= 1;
            }
            let (kind, body) = receive(&mut main).expect("the client stays");
            if kind == AGENT_TOKEN {
                let tokens = u32::from_le_bytes(body.try_into().expect("four bytes"));
                window += tokens;
                given += tokens;
            }
        }
        given as usize
    });
    assert!(session.host.wishes.load(Ordering::SeqCst) >= given);
}

#[test]
fn a_message_that_an_agents_end_cuts_off_costs_no_client_its_session() {
    let session = Session::new();
    let (mut main, _) = session.main();
    let mut agent = session.add_agent();
    session.told(&main, AGENT_CONNECTED);
    main.write_all(&open_stream()).expect("sent");
    let whole = wish();
    let (first, second) = whole[6..].split_at(24);
    main.write_all(&message(107, first)).expect("sent");
    session.core.remove_device(agent);
    agent = session.add_agent();
    session.told(&main, AGENT_DISCONNECTED);
    session.told(&main, AGENT_CONNECTED);
    // As if sent before the client heard of it, or queued there: the new agent gets nothing of it.
    main.write_all(&message(107, second)).expect("sent");
    main.write_all(&open_stream()).expect("sent");
    main.write_all(&whole).expect("sent");
    session.run_until("the wish arrives", || session.host.wishes.load(Ordering::SeqCst) == 1);
    // After the opening, as spice-gtk, and given up, as others.
    for rest in [Some(second), None] {
        let wishes = session.host.wishes.load(Ordering::SeqCst);
        main.write_all(&message(107, first)).expect("sent");
        session.core.remove_device(agent);
        agent = session.add_agent();
        session.told(&main, AGENT_DISCONNECTED);
        session.told(&main, AGENT_CONNECTED);
        main.write_all(&open_stream()).expect("sent");
        if let Some(rest) = rest {
            main.write_all(&message(107, rest)).expect("sent");
        }
        main.write_all(&whole).expect("sent");
        let arrived = || session.host.wishes.load(Ordering::SeqCst) == wishes + 1;
        session.run_until("the wish arrives", arrived);
    }
}

#[test]
fn more_wishes_than_the_window_do_not_pile_up_before_a_host_that_stands_still() {
    let session = Session::new();
    let (mut main, _) = session.main();
    session.add_agent();
    session.told(&main, AGENT_CONNECTED);
    main.write_all(&open_stream()).expect("sent");
    main.write_all(&wish().repeat(11)).expect("sent");
    assert!(ends(&mut main), "beyond the window, though nothing ran");
    session.all_gone();
    assert!(session.host.wishes.load(Ordering::SeqCst) <= 10);
}

#[test]
fn wrong_expired_and_missing_tickets_are_refused() {
    const PERMISSION_DENIED: u32 = 7;
    let session = Session::new();
    session.core.set_ticket(Some(b"right"), 0, false, false).expect("set");
    assert_eq!(session.link((0, MAIN, 0), b"wrong\0").0, PERMISSION_DENIED);
    assert_eq!(session.link((0, MAIN, 0), b"right\0").0, 0);
    session.core.set_ticket(Some(b"right"), -1, false, true).expect("set");
    assert_eq!(session.link((0, MAIN, 0), b"right\0").0, PERMISSION_DENIED);
    session.core.set_ticket(None, 0, false, true).expect("set");
    assert_eq!(session.link((0, MAIN, 0), b"").0, PERMISSION_DENIED);
    session.all_gone();
}

#[test]
fn of_300_silent_connections_the_oldest_go_and_a_client_still_gets_in() {
    let session = Session::new();
    let mut silent: Vec<UnixStream> = (0..300).map(|_| session.socket()).collect();
    session.run_until("the oldest go", || session.count(ChannelEvent::Disconnected) == 300 - 256);
    let mut oldest = silent.remove(0);
    assert!(session.meanwhile(move || ends(&mut oldest)));
    let (_main, _) = session.main();
    assert_eq!(session.count(ChannelEvent::Disconnected), 300 - 256 + 1);
}

#[test]
fn a_handshake_of_slow_bytes_is_cut_after_ten_seconds() {
    let session = Session::new();
    let mut slow = session.socket();
    let start = Instant::now();
    let took = session.meanwhile(move || {
        for byte in link_message(0, MAIN, 0) {
            if slow.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(400));
        }
        start.elapsed()
    });
    assert!((9..13).contains(&took.as_secs()), "{took:?}");
    session.all_gone();
}

#[test]
fn messages_that_break_the_protocol_end_the_client() {
    for bytes in [
        message(4 /* MIGRATE_FLUSH_MARK */, &[]),
        message(5 /* MIGRATE_DATA */, &[0; 16]),
        message(105 /* MOUSE_MODE_REQUEST */, &[]),
        [&[104u8, 0][..], &u32::MAX.to_le_bytes()].concat(),
        [&[104u8, 0][..], &40_000u32.to_le_bytes(), &[0; 100]].concat(),
    ] {
        let session = Session::new();
        let (mut main, _) = session.main();
        main.write_all(&bytes).expect("the bytes go");
        assert!(session.meanwhile(move || ends(&mut main)), "{bytes:?}");
        session.all_gone();
    }
}

#[test]
fn a_client_that_asks_and_never_reads_is_not_listened_to_until_it_reads() {
    const MANY: usize = 2_000_000;
    let session = Session::new();
    let (mut main, _) = session.main();
    let ask = message(104 /* ATTACH_CHANNELS */, &[]);
    let (sent, rest, mut main) = session.meanwhile(move || {
        let (sent, rest) = flood(&mut main, &ask, MANY);
        (sent, rest, main)
    });
    assert!(sent < MANY / 2, "{sent} requests were taken without one answer being read");
    // Nothing was lost: every question has its answer now.
    let answers = session.meanwhile(move || {
        let mut writer = main.try_clone().expect("a second descriptor");
        let finish = std::thread::spawn(move || {
            writer.set_write_timeout(None).expect("no timeout");
            writer.write_all(&rest)
        });
        for _ in 0..sent {
            assert_eq!(receive(&mut main).expect("an answer").0, 104, "CHANNELS_LIST");
        }
        finish.join().expect("the writer ends").expect("the rest goes");
        sent
    });
    assert_eq!(answers, sent);
}

#[test]
fn input_for_a_host_that_stands_still_waits_in_bounds_and_nothing_is_lost() {
    const MANY: usize = 1_000_000;
    let session = Session::new();
    let (_main, id) = session.main();
    let (_, mut inputs) = session.link((id, INPUTS, 0), b"");
    let press = message(101 /* KEY_DOWN */, &0x1eu32.to_le_bytes());
    // The host's loop does not run while this floods.
    let (sent, rest) = flood(&mut inputs, &press, MANY);
    assert!(sent < MANY / 2, "{sent} keys were taken by a host that stands still");
    let before = session.host.keys.load(Ordering::SeqCst);
    assert_eq!(before, 0);
    let finish = std::thread::spawn(move || {
        inputs.set_write_timeout(None).expect("no timeout");
        inputs.write_all(&rest).map(|()| inputs)
    });
    session.run_until("all keys", || session.host.keys.load(Ordering::SeqCst) >= sent);
    let _inputs = finish.join().expect("the writer ends").expect("the rest goes");
    assert_eq!(session.host.keys.load(Ordering::SeqCst), sent);
}

#[test]
fn a_flood_of_surplus_acks_does_no_harm() {
    let session = Session::new();
    let (mut main, _) = session.main();
    let ack = message(2 /* ACK */, &[]);
    let (sent, main) = session.meanwhile(move || {
        let (sent, _) = flood(&mut main, &ack, 1_000_000);
        (sent, main)
    });
    assert_eq!(sent, 1_000_000, "acks are taken as fast as they come");
    drop(main);
    session.all_gone();
}

#[test]
fn set_ticket_disconnects_from_any_thread_and_waits_for_nobody_who_comes_after() {
    let session = Session::new();
    for other_thread in [false, true] {
        for _ in 0..10 {
            let (_first, _) = session.main();
            // A second client stands at the door and comes in as soon as the first one goes.
            let mut second = session.socket();
            let linking = std::thread::spawn(move || {
                let result = link(&mut second, (0, MAIN, 0), b"x\0");
                (result, second)
            });
            let start = Instant::now();
            if other_thread {
                let core = Arc::clone(&session.core);
                let done = std::thread::spawn(move || {
                    core.set_ticket(Some(b"x"), 0, false, true).expect("set");
                });
                // The host's main thread stands in its big lock: it does not run its loop.
                done.join().expect("set_ticket returns");
            } else {
                session.core.set_ticket(Some(b"x"), 0, false, true).expect("set");
            }
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
            session.run_until("the second client is answered", || linking.is_finished());
            drop(linking.join().expect("the client's work succeeds"));
            session.all_gone();
            session.core.session().ticket.disable();
        }
    }
}

#[test]
fn destroy_ends_clients_and_tells_of_every_one() {
    let session = Session::new();
    let (mut main, id) = session.main();
    let (_, _inputs) = session.link((id, INPUTS, 0), b"");
    let _silent = session.socket();
    session.core.destroy();
    assert_eq!(session.count(ChannelEvent::Connected), session.count(ChannelEvent::Disconnected));
    session.assert_order();
    assert!(ends(&mut main));
}

#[test]
fn a_server_at_rest_is_destroyed_at_once() {
    let session = Session::new();
    drop(session.socket());
    session.all_gone();
    // All keys are made by then: no thread of the server has anything to do.
    std::thread::sleep(Duration::from_millis(1500));
    let start = Instant::now();
    session.core.destroy();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_callback_may_destroy_the_server_it_comes_from() {
    let session = Session::new();
    session.host.destroy_at_initialized.store(true, Ordering::SeqCst);
    let mut socket = session.socket();
    let mut writer = socket.try_clone().expect("a second descriptor");
    session.meanwhile(move || {
        let _ = link(&mut writer, (0, MAIN, 0), b"");
    });
    session.all_gone();
    assert!(ends(&mut socket));
}

#[test]
fn two_hundred_clients_that_hang_up_anywhere_leave_nothing_behind() {
    let session = Session::new();
    let once = |cut: usize| {
        let mut socket = session.socket();
        let bytes = link_message(0, MAIN, 0);
        if cut < bytes.len() {
            let _ = socket.write_all(&bytes[..cut]);
        } else {
            session.meanwhile(move || {
                let _ = link(&mut socket, (0, MAIN, 0), b"");
            });
        }
    };
    (0..10).for_each(|i| once(i * 7));
    session.all_gone();
    (10..210).for_each(|i| once(i * 7 % 60));
    session.all_gone();
    session.run_until("the tables are empty", || session.core.session().client_count() == 0);
}

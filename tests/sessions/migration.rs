//! Clients that come from another server, and clients that are sent to one.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use spice_server::channel::main::MigrationEvent::{self, Connected, Ended};
use spice_server::protocol::migrate::Destination;
use spice_server::server::host::ChannelEvent;

use super::Session;
use super::client::{INPUTS, MAIN, PATIENCE, ends, link_message_with, link_with, message, receive};

const BEGIN: u16 = 101;
const CANCEL: u16 = 102;
const INIT: u16 = 103;
const SWITCH_HOST: u16 = 111;
const END: u16 = 112;
/// What a client says.
const SAYS_CONNECTED: u16 = 102;
const SAYS_FAILED: u16 = 103;
const ATTACH_CHANNELS: u16 = 104;
const SAYS_END: u16 = 109;
/// SEMI_SEAMLESS_MIGRATE.
const CAN_PREPARE: u32 = 1;
/// An id that another server gave.
pub const ID: u32 = 0x1234_5678;

pub fn target() -> Destination {
    Destination::new(b"there", Some(5900), None, None).expect("a destination")
}

/// True if nothing comes for a while.
pub fn is_silent(socket: &mut UnixStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(150))).expect("a timeout can be set");
    let result = socket.read(&mut [0; 1]);
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    matches!(result, Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

impl Session {
    /// A main channel that can prepare for a migration.
    fn able_main(&self, id: u32) -> UnixStream {
        let mut socket = self.socket();
        self.meanwhile(move || {
            let hello = link_message_with(id, MAIN, 0, &[CAN_PREPARE]);
            assert_eq!(link_with(&mut socket, &hello, b"").expect("an answer"), 0);
            socket
        })
    }

    /// Kind of the next message.
    fn next(&self, socket: &UnixStream) -> u16 {
        let mut socket = socket.try_clone().expect("a descriptor");
        self.meanwhile(move || receive(&mut socket).expect("the client stays").0)
    }

    pub fn hears(&self, events: &[MigrationEvent]) {
        let heard = || self.host.migrations.lock().expect("no panic under it").clone();
        self.run_until("the host is told", || heard().len() >= events.len());
        assert_eq!(heard(), events);
    }
}

#[test]
fn a_client_from_another_server_gets_nothing_before_it_has_left_that() {
    let session = Session::new();
    let mut main = session.able_main(ID);
    let (result, mut inputs) = session.link((ID, INPUTS, 0), b"");
    assert_eq!(result, 0, "the link is accepted");
    assert_eq!(session.count(ChannelEvent::Initialized), 2);
    main.write_all(&message(ATTACH_CHANNELS, &[])).expect("sent");
    session.add_agent();
    let (main, inputs) = session.meanwhile(move || {
        assert!(is_silent(&mut main) && is_silent(&mut inputs));
        (main, inputs)
    });
    (&main).write_all(&message(SAYS_END, &[])).expect("sent");
    let (mut reader, mut inputs) = (main.try_clone().expect("a descriptor"), inputs);
    session.meanwhile(move || {
        let (kind, body) = receive(&mut reader).expect("a message");
        assert_eq!((kind, &body[..4]), (INIT, &ID.to_le_bytes()[..]));
        assert_eq!(body[16], 1, "the agent is there");
        assert_eq!(receive(&mut inputs).expect("a message").0, 101, "INIT of inputs");
    });
    // It is a client like others now; saying it again changes nothing.
    (&main).write_all(&message(SAYS_END, &[])).expect("sent");
    (&main).write_all(&message(ATTACH_CHANNELS, &[])).expect("sent");
    assert_eq!(session.next(&main), ATTACH_CHANNELS, "CHANNELS_LIST has the same number");
    session.assert_order();
}

#[test]
fn waiting_channels_go_with_the_client_that_does_not_arrive() {
    let session = Session::new();
    let main = session.able_main(ID);
    let (_, mut inputs) = session.link((ID, INPUTS, 0), b"");
    let (_, mut second) = session.link((ID, INPUTS, 0), b"");
    assert!(session.meanwhile(move || ends(&mut second)), "one of each kind waits");
    drop(main);
    assert!(session.meanwhile(move || ends(&mut inputs)));
    session.all_gone();
    assert_eq!(session.core.session().client_count(), 0);
    // A waiting channel that goes first leaves the client alone.
    let mut main = session.able_main(ID);
    let (_, inputs) = session.link((ID, INPUTS, 0), b"");
    drop(inputs);
    session.run_until("the channel is gone", || session.count(ChannelEvent::Disconnected) == 4);
    main.write_all(&message(SAYS_END, &[])).expect("sent");
    assert_eq!(session.next(&main), INIT);
}

#[test]
fn a_newcomer_takes_the_place_of_a_client_on_its_way() {
    let session = Session::new();
    let mut arriving = session.able_main(ID);
    let (_, mut inputs) = session.link((ID, INPUTS, 0), b"");
    let (_main, _) = session.main();
    assert!(session.meanwhile(move || ends(&mut arriving) && ends(&mut inputs)));
    assert_eq!(session.core.session().client_count(), 1);
    session.assert_order();
}

#[test]
fn a_client_is_sent_away_in_two_steps_and_the_host_hears_of_both() {
    let session = Session::new();
    let main = session.able_main(0);
    assert_eq!(session.next(&main), INIT);
    session.core.migrate_connect(target());
    assert!(session.core.has_destination());
    assert_eq!(session.next(&main), BEGIN);
    session.hears(&[]);
    (&main).write_all(&message(SAYS_CONNECTED, &[])).expect("sent");
    session.hears(&[Connected]);
    session.core.migrate_end(true).expect("there is a destination");
    assert!(!session.core.has_destination());
    assert_eq!(session.next(&main), END);
    session.hears(&[Connected]);
    drop(main);
    session.hears(&[Connected, Ended]);
}

#[test]
fn a_client_that_cannot_reach_the_target_begins_anew_there_and_one_that_stays_is_told() {
    let session = Session::new();
    let main = session.able_main(0);
    assert_eq!(session.next(&main), INIT);
    session.core.migrate_connect(target());
    assert_eq!(session.next(&main), BEGIN);
    (&main).write_all(&message(SAYS_FAILED, &[])).expect("sent");
    session.hears(&[Connected]);
    session.core.migrate_end(false).expect("the machine stays");
    session.hears(&[Connected, Ended]);
    session.core.migrate_connect(target());
    assert_eq!(session.next(&main), BEGIN);
    (&main).write_all(&message(SAYS_CONNECTED, &[])).expect("sent");
    session.hears(&[Connected, Ended, Connected]);
    session.core.migrate_end(false).expect("the machine stays");
    assert_eq!(session.next(&main), CANCEL);
    session.core.migrate_info(target());
    session.core.migrate_switch();
    assert_eq!(session.next(&main), SWITCH_HOST);
}

#[test]
fn nobody_is_left_behind_by_a_machine_that_moves_without_a_destination() {
    let session = Session::new();
    session.core.migrate_end(true).expect("nobody is here");
    session.hears(&[Ended]);
    let mut main = session.able_main(0);
    assert_eq!(session.next(&main), INIT);
    assert!(session.core.migrate_end(true).is_err());
    session.hears(&[Ended, Ended]);
    assert!(session.meanwhile(move || ends(&mut main)));
}

#[test]
fn a_client_that_does_not_go_is_closed_after_ten_seconds() {
    let session = Session::new();
    let mut main = session.able_main(0);
    assert_eq!(session.next(&main), INIT);
    session.core.migrate_connect(target());
    assert_eq!(session.next(&main), BEGIN);
    let begun = Instant::now();
    session.hears(&[Connected]);
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(9), "it had ten seconds to answer, {waited:?}");
    session.core.migrate_end(true).expect("there is a destination");
    assert_eq!(session.next(&main), SWITCH_HOST);
    assert!(session.meanwhile(move || ends(&mut main)));
    session.hears(&[Connected, Ended]);
}

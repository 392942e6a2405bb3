//! Seamless migration: a client that carries what its channels know from one server to another.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use spice_server::channel::device::DeviceId;
use spice_server::channel::main::MigrationEvent::{Connected, Ended};
use spice_server::protocol::handover::{
    AgentData, AgentHandover, CharDevice, read_vmc, write_inputs, write_vmc,
};

use super::Session;
use super::client::{INPUTS, MAIN, ends, link_message_with, link_with, message, receive};
use super::migration::{ID, is_silent, target};

const PORT: u8 = 10;
/// SEMI_SEAMLESS_MIGRATE, AGENT_CONNECTED_TOKENS, SEAMLESS_MIGRATE.
const CAPS: u32 = 1 | 4 | 8;
/// Of all channels.
const MIGRATE: u16 = 1;
const MIGRATE_DATA: u16 = 2;
/// That the keyboard's connection is insecure.
const NOTIFY: u16 = 7;
const FLUSH_MARK: u16 = 4;
const SAYS_DATA: u16 = 5;
const DATA: u16 = 101;
/// Of the main channel.
const CANCEL: u16 = 102;
const INIT: u16 = 103;
const MOUSE_MODE: u16 = 105;
const MEDIA_TIME: u16 = 106;
const AGENT_DISCONNECTED: u16 = 108;
const AGENT_DATA: u16 = 109;
const AGENT_TOKEN: u16 = 110;
const END: u16 = 112;
const AGENT_CONNECTED_TOKENS: u16 = 115;
const BEGIN_SEAMLESS: u16 = 116;
const ACK: u16 = 117;
const NACK: u16 = 118;
const SAYS_CONNECTED: u16 = 102;
const AGENT_START: u16 = 106;
const SAYS_AGENT_DATA: u16 = 107;
const DO_SEAMLESS: u16 = 110;
const SAYS_SEAMLESS: u16 = 111;
const MIGRATE_END: u16 = 109;
/// Of inputs.
const KEY_DOWN: u16 = 101;
/// More than is kept of what was typed too early.
const MANY: usize = 300;
const MOTION: u16 = 111;
const MOTION_ACK: u16 = 111;
const MODIFIERS: u16 = 102;

impl Session {
    fn linked(&self, (id, channel, number): (u32, u8, u8)) -> UnixStream {
        let mut socket = self.socket();
        self.meanwhile(move || {
            let hello = link_message_with(id, channel, number, &[CAPS]);
            assert_eq!(link_with(&mut socket, &hello, b"").expect("an answer"), 0);
            socket
        })
    }

    fn hear(&self, socket: &UnixStream) -> (u16, Vec<u8>) {
        let mut socket = socket.try_clone().expect("a descriptor");
        self.meanwhile(move || {
            loop {
                let (kind, body) = receive(&mut socket).expect("the client stays");
                if kind != NOTIFY {
                    return (kind, body);
                }
            }
        })
    }

    fn expect(&self, socket: &UnixStream, kind: u16) -> Vec<u8> {
        let (heard, body) = self.hear(socket);
        assert_eq!(heard, kind, "{body:?}");
        body
    }

    fn quiet(&self, socket: &UnixStream) -> bool {
        let mut socket = socket.try_clone().expect("a descriptor");
        self.meanwhile(move || is_silent(&mut socket))
    }

    fn closes(&self, socket: &UnixStream) -> bool {
        let mut socket = socket.try_clone().expect("a descriptor");
        self.meanwhile(move || ends(&mut socket))
    }

    fn add_port(&self) -> DeviceId {
        let port = DeviceId::fresh();
        self.core.add_device(port, "port", Some(b"org.test.port".to_vec())).expect("added");
        port
    }

    /// A source that allows it, with a client.
    fn seamless() -> (Self, UnixStream, u32) {
        let session = Self::new();
        session.core.set_seamless_migration(true);
        let main = session.linked((0, MAIN, 0));
        let init = session.expect(&main, INIT);
        let id = u32::from_le_bytes(init[..4].try_into().expect("the length fits"));
        (session, main, id)
    }

    /// Up to the moment when the machine has moved.
    fn connects(&self, main: &UnixStream) {
        self.core.migrate_connect(target());
        let body = self.expect(main, BEGIN_SEAMLESS);
        assert_eq!(body[20..24], [1, 0, 0, 0], "the version");
        say(main, SAYS_SEAMLESS, &[]);
        self.hears(&[Connected]);
    }

    /// A client that comes from a source that hands over.
    fn arriving(&self) -> UnixStream {
        let main = self.linked((ID, MAIN, 0));
        say(&main, DO_SEAMLESS, &1u32.to_le_bytes());
        self.expect(&main, ACK);
        main
    }

    fn leaves(&self, socket: &UnixStream) -> Vec<u8> {
        assert_eq!(self.expect(socket, MIGRATE), [3, 0, 0, 0]);
        assert!(self.quiet(socket));
        say(socket, FLUSH_MARK, &[]);
        self.expect(socket, MIGRATE_DATA)
    }

    fn written(&self) -> Vec<u8> {
        self.host.written.lock().expect("no panic under it").clone()
    }
}

fn say(socket: &UnixStream, kind: u16, body: &[u8]) {
    let mut socket = socket;
    socket.write_all(&message(kind, body)).expect("sent");
}

fn nothing() -> Vec<u8> {
    AgentHandover::default().write()
}

#[test]
fn what_the_channels_know_goes_with_the_client() {
    let (source, main, id) = Session::seamless();
    let port = source.add_port();
    let inputs = source.linked((id, INPUTS, 0));
    source.expect(&inputs, DATA);
    let stream = source.linked((id, PORT, 0));
    source.expect(&stream, 201);
    (0..6).for_each(|_| say(&inputs, MOTION, &[0; 10]));
    source.expect(&inputs, MOTION_ACK);
    source.host.full.store(true, Ordering::SeqCst);
    say(&stream, DATA, b"first ");
    source.connects(&main);
    source.host.gives.lock().expect("no panic under it").extend(b"from the guest");
    source.core.device_wakeup(port);
    source.core.set_vm_running(false, &[]);
    source.core.migrate_end(true).expect("there is a destination");
    // The main channel goes first.
    let main_data = source.leaves(&main);
    assert_eq!(main_data, nothing(), "there is no agent");
    // What was said before comes before; what the client says until it is flushed still counts.
    assert_eq!(source.expect(&stream, DATA), b"from the guest");
    assert_eq!(source.expect(&stream, MIGRATE), [3, 0, 0, 0]);
    say(&stream, DATA, b"second");
    say(&stream, FLUSH_MARK, &[]);
    let port_data = source.expect(&stream, MIGRATE_DATA);
    let known = read_vmc(&port_data).expect("what a port hands over");
    assert_eq!((known.write.as_slice(), known.client_tokens), (&b"first second"[..], u32::MAX));
    assert_eq!(source.expect(&inputs, MIGRATE), [3, 0, 0, 0]);
    (0..3).for_each(|_| say(&inputs, MOTION, &[0; 10]));
    say(&inputs, FLUSH_MARK, &[]);
    let inputs_data = source.expect(&inputs, MIGRATE_DATA);
    assert_eq!(inputs_data, write_inputs(5), "nothing was acknowledged meanwhile");
    source.hears(&[Connected]);
    drop(inputs);
    assert!(source.quiet(&main), "the port is here");
    drop(stream);
    // Nobody waits for a client of which only the main connection is left.
    assert!(source.closes(&main));
    source.hears(&[Connected, Ended]);

    let there = Session::new();
    there.add_port();
    let main = there.arriving();
    let inputs = there.linked((ID, INPUTS, 0));
    let stream = there.linked((ID, PORT, 0));
    assert!(there.quiet(&main));
    there.expect(&inputs, DATA);
    say(&stream, SAYS_DATA, &port_data);
    say(&stream, DATA, b" third");
    say(&inputs, SAYS_DATA, &inputs_data);
    there.expect(&inputs, MOTION_ACK);
    there.expect(&inputs, MODIFIERS);
    (0..3).for_each(|_| say(&inputs, MOTION, &[0; 10]));
    there.expect(&inputs, MOTION_ACK);
    there.core.set_vm_running(true, &[]);
    there.run_until("the port's bytes", || there.written().len() >= 18);
    assert_eq!(there.written(), b"first second third");
    say(&main, SAYS_DATA, &main_data);
    there.expect(&main, MOUSE_MODE);
    there.expect(&main, MEDIA_TIME);
    // It is a client like others now, and can be sent on.
    there.core.set_seamless_migration(true);
    there.connects(&main);
    there.core.migrate_end(false).expect("the machine stays");
    there.expect(&main, CANCEL);
    there.assert_order();
}

#[test]
fn a_device_that_takes_nothing_keeps_no_client_from_leaving() {
    const LARGE: usize = 64 * 1024;
    // More than is read of a client whose device takes nothing; more than goes along, in large and in small pieces.
    for (size, pieces, stays) in [(LARGE, 80, true), (LARGE, 300, false), (1, 200_000, false)] {
        let (source, main, id) = Session::seamless();
        source.add_port();
        let stream = source.linked((id, PORT, 0));
        source.expect(&stream, 201);
        source.host.full.store(true, Ordering::SeqCst);
        source.connects(&main);
        let talking = stream.try_clone().expect("a descriptor");
        let talk = std::thread::spawn(move || {
            let say = |n: usize| {
                let piece = vec![n.to_le_bytes()[0]; size];
                (&talking).write_all(&message(DATA, &piece)).is_ok()
            };
            (0..pieces).all(say)
        });
        let patience = Instant::now() + Duration::from_millis(500);
        source.run_until("what is read", || Instant::now() > patience);
        assert!(!talk.is_finished(), "the client has to wait");
        source.core.set_vm_running(false, &[]);
        source.core.migrate_end(true).expect("there is a destination");
        source.leaves(&main);
        assert_eq!(source.expect(&stream, MIGRATE), [3, 0, 0, 0]);
        if !stays {
            assert!(source.closes(&stream));
            talk.join().expect("no panic");
            continue;
        }
        source.run_until("all that it says", || talk.is_finished());
        assert!(talk.join().expect("no panic"));
        say(&stream, FLUSH_MARK, &[]);
        let data = source.expect(&stream, MIGRATE_DATA);
        let known = read_vmc(&data).expect("what a port hands over");
        let wanted = (0..pieces).flat_map(|n| [n.to_le_bytes()[0]; LARGE]);
        assert!(known.write.iter().copied().eq(wanted));
    }
}

#[test]
fn the_agents_stream_goes_on_with_its_tokens_balanced() {
    let (source, main, _) = Session::seamless();
    source.host.full.store(true, Ordering::SeqCst);
    let agent = source.add_agent();
    source.expect(&main, AGENT_CONNECTED_TOKENS);
    say(&main, AGENT_START, &9u32.to_le_bytes());
    // A clipboard of 3,000 bytes of which half has come when the machine stops.
    let mut whole = [1u32, 4, 0, 0, 3000].map(u32::to_le_bytes).concat();
    whole.extend((0..3000u32).map(|n| n.to_le_bytes()[0]));
    say(&main, SAYS_AGENT_DATA, &whole[..1500]);
    source.connects(&main);
    let mut chunk = [1u32, 3020].map(u32::to_le_bytes).concat();
    chunk.extend(&whole[..1000]);
    source.host.gives.lock().expect("no panic under it").extend(chunk);
    source.core.device_wakeup(agent);
    source.core.set_vm_running(false, &[]);
    source.core.migrate_end(true).expect("there is a destination");
    assert_eq!(source.expect(&main, AGENT_DATA), whole[..1000], "cut where the machine stopped");
    let data = source.leaves(&main);
    let known = AgentHandover::read(&data).expect("what a main channel hands over");
    assert_eq!((known.device.client_tokens, known.device.send_tokens), (9, 8));
    assert_eq!(known.device.write.len(), 8 + 1500);
    assert_eq!((known.client_left, known.client_drops, known.started), (1520, false, true));
    let chunk_header = [1u32, 2020].map(u32::to_le_bytes).concat();
    let expected =
        AgentData { chunk_header, in_message: true, message_left: 2020, ..AgentData::default() };
    assert_eq!(known.agent, expected);

    // The agent comes there after the client; its first bytes are the rest of the message.
    let there = Session::new();
    let main = there.arriving();
    say(&main, SAYS_DATA, &data);
    there.expect(&main, MOUSE_MODE);
    there.expect(&main, MEDIA_TIME);
    // What the client says meanwhile is kept, in order.
    say(&main, SAYS_AGENT_DATA, &whole[1500..1800]);
    say(&main, SAYS_AGENT_DATA, &whole[1800..2000]);
    assert!(there.quiet(&main));
    let agent = there.add_agent();
    there.core.set_vm_running(true, &[]);
    there.host.gives.lock().expect("no panic under it").extend(&whole[1000..]);
    there.core.device_wakeup(agent);
    assert_eq!(there.expect(&main, AGENT_DATA), whole[1000..]);
    say(&main, SAYS_AGENT_DATA, &whole[2000..]);
    there.run_until("the rest", || there.written().len() >= 32 + 3020);
    let written = there.written();
    let pieces = [&written[8..1508], &written[1516..1816], &written[1824..2024], &written[2032..]];
    assert_eq!(pieces.concat(), whole);
    // The window is the same as ever: of eleven more the last is one too many.
    let small = [1u32, 4, 0, 0, 0].map(u32::to_le_bytes).concat();
    let mut given = 2;
    for _ in 0..40 {
        say(&main, SAYS_AGENT_DATA, &small);
        if given < 8 {
            given += 1;
            continue;
        }
        let tokens = there.expect(&main, AGENT_TOKEN);
        given -= u32::from_le_bytes(tokens.try_into().expect("four bytes")) as usize;
        given += 1;
    }
    there.assert_order();
}

#[test]
fn what_an_agent_has_not_taken_is_never_more_than_the_window() {
    let (source, main, _) = Session::seamless();
    source.host.full.store(true, Ordering::SeqCst);
    source.add_agent();
    source.expect(&main, AGENT_CONNECTED_TOKENS);
    say(&main, AGENT_START, &9u32.to_le_bytes());
    let piece = [1u32, 4, 0, 0, 0].map(u32::to_le_bytes).concat();
    (0..10).for_each(|_| say(&main, SAYS_AGENT_DATA, &piece));
    assert!(source.quiet(&main), "nothing is given back before it is taken");
    source.connects(&main);
    source.core.set_vm_running(false, &[]);
    source.core.migrate_end(true).expect("there is a destination");
    let data = source.leaves(&main);
    let known = AgentHandover::read(&data).expect("what a main channel hands over").device;
    assert_eq!((known.client_tokens, known.write_tokens, known.write.len()), (0, 10, 280));
}

#[test]
fn an_agent_that_did_not_come_along_or_is_new_is_told_of() {
    let known = AgentHandover {
        device: CharDevice { connected: true, client_tokens: 10, ..CharDevice::default() },
        ..AgentHandover::default()
    };
    let there = Session::new();
    let main = there.arriving();
    say(&main, SAYS_DATA, &known.write());
    there.expect(&main, MOUSE_MODE);
    there.expect(&main, MEDIA_TIME);
    assert!(there.quiet(&main));
    there.core.set_vm_running(true, &[]);
    there.expect(&main, AGENT_DISCONNECTED);
    // In the middle of a message, a part of which comes before that is known and the rest after it.
    let middle = AgentHandover { started: true, client_left: 100, ..known };
    let there = Session::new();
    let main = there.arriving();
    say(&main, SAYS_DATA, &middle.write());
    there.expect(&main, MOUSE_MODE);
    there.expect(&main, MEDIA_TIME);
    say(&main, SAYS_AGENT_DATA, &[7; 60]);
    assert!(there.quiet(&main));
    there.core.set_vm_running(true, &[]);
    there.expect(&main, AGENT_DISCONNECTED);
    say(&main, SAYS_AGENT_DATA, &[7; 40]);
    assert!(there.quiet(&main), "it stays");
    // More than the window has for an agent that has not come.
    let there = Session::new();
    let main = there.arriving();
    say(&main, SAYS_DATA, &middle.write());
    (0..11).for_each(|_| say(&main, SAYS_AGENT_DATA, &[7; 1]));
    there.expect(&main, MOUSE_MODE);
    there.expect(&main, MEDIA_TIME);
    assert!(there.closes(&main));
    let there = Session::new();
    let main = there.arriving();
    there.add_agent();
    say(&main, SAYS_DATA, &nothing());
    there.expect(&main, MOUSE_MODE);
    there.expect(&main, MEDIA_TIME);
    there.expect(&main, AGENT_CONNECTED_TOKENS);
}

#[test]
fn targets_take_over_what_they_understand_and_one_client() {
    let there = Session::new();
    let main = there.linked((ID, MAIN, 0));
    say(&main, DO_SEAMLESS, &2u32.to_le_bytes());
    there.expect(&main, NACK);
    // It goes on without, as if it had not asked.
    let inputs = there.linked((ID, INPUTS, 0));
    assert!(there.quiet(&inputs));
    say(&main, 109, &[]);
    there.expect(&main, INIT);
    there.expect(&inputs, DATA);
    let many = Session::new();
    many.core.set_multiple_clients(true);
    let main = many.linked((ID, MAIN, 0));
    say(&main, DO_SEAMLESS, &1u32.to_le_bytes());
    many.expect(&main, NACK);
    // One that is no newcomer is not listened to.
    let (here, main, _) = Session::seamless();
    say(&main, DO_SEAMLESS, &1u32.to_le_bytes());
    assert!(here.quiet(&main));
}

#[test]
fn sources_fall_back_if_the_target_or_the_client_does_not() {
    let (source, main, _) = Session::seamless();
    source.core.migrate_connect(target());
    source.expect(&main, BEGIN_SEAMLESS);
    say(&main, SAYS_CONNECTED, &[]);
    source.hears(&[Connected]);
    source.core.migrate_end(true).expect("there is a destination");
    source.expect(&main, END);
}

#[test]
fn data_that_cannot_be_end_the_connection_that_brings_them() {
    let bad = [
        Vec::new(),
        vec![0; 65],
        write_inputs(1),
        AgentHandover {
            device: CharDevice {
                connected: true,
                client_tokens: 9,
                write_tokens: 2,
                ..CharDevice::default()
            },
            ..AgentHandover::default()
        }
        .write(),
        AgentHandover {
            device: CharDevice { connected: true, ..CharDevice::default() },
            agent: AgentData {
                chunk_header: [7u32, 1].map(u32::to_le_bytes).concat(),
                ..AgentData::default()
            },
            ..AgentHandover::default()
        }
        .write(),
    ];
    for data in bad {
        let there = Session::new();
        let main = there.arriving();
        say(&main, SAYS_DATA, &data);
        assert!(there.closes(&main), "{data:?}");
        there.all_gone();
    }
    let there = Session::new();
    there.add_port();
    let main = there.arriving();
    // Something else, too much, nothing of its own; and twice.
    let early = there.linked((ID, PORT, 0));
    say(&early, DATA, b"early");
    assert!(there.closes(&early));
    let long = there.linked((ID, PORT, 0));
    let mut head = SAYS_DATA.to_le_bytes().to_vec();
    head.extend(u32::MAX.to_le_bytes());
    (&long).write_all(&head).expect("sent");
    assert!(there.closes(&long));
    let twice = there.linked((ID, PORT, 0));
    for _ in 0..2 {
        say(&twice, SAYS_DATA, &write_vmc(&CharDevice::uncounted(b"x".to_vec())));
    }
    assert!(there.closes(&twice));
    assert_eq!(there.core.session().client_count(), 1, "the main channel waits on");
    say(&main, SAYS_DATA, &nothing());
    there.expect(&main, MOUSE_MODE);
}

#[test]
fn a_client_has_ten_seconds_to_bring_its_data_once_the_machine_runs() {
    let there = Session::new();
    let main = there.arriving();
    let inputs = there.linked((ID, INPUTS, 0));
    there.expect(&inputs, DATA);
    std::thread::sleep(Duration::from_millis(500));
    there.core.set_vm_running(true, &[]);
    let begun = Instant::now();
    // The main channel has brought its own; another one goes alone.
    say(&main, SAYS_DATA, &nothing());
    there.expect(&main, MOUSE_MODE);
    assert!(there.closes(&inputs));
    let took = begun.elapsed();
    assert!((9..13).contains(&took.as_secs()), "{took:?}");
    assert_eq!(there.core.session().client_count(), 1);
    // And one that links now.
    let late = Session::new();
    late.core.set_vm_running(true, &[]);
    let main = late.arriving();
    assert!(late.closes(&main));
    late.all_gone();
}

#[test]
fn what_is_typed_before_the_machine_runs_is_kept_for_it() {
    for seamless in [true, false] {
        let there = Session::new();
        let main = if seamless { there.arriving() } else { there.linked((ID, MAIN, 0)) };
        let inputs = there.linked((ID, INPUTS, 0));
        if seamless {
            there.expect(&inputs, DATA);
            say(&inputs, SAYS_DATA, &write_inputs(0));
            there.expect(&inputs, MODIFIERS);
        } else {
            say(&main, MIGRATE_END, &[]);
            there.expect(&inputs, DATA);
        }
        let keys = 2 * MANY;
        let typing = inputs.try_clone().expect("a descriptor");
        let typist = std::thread::spawn(move || {
            (0..keys).for_each(|_| say(&typing, KEY_DOWN, &0x1eu32.to_le_bytes()));
        });
        let typed = || there.host.keys.load(Ordering::SeqCst);
        let patience = Instant::now() + Duration::from_millis(300);
        there.run_until("what would come", || Instant::now() > patience);
        assert_eq!(typed(), 0, "seamless: {seamless}");
        there.core.set_vm_running(true, &[]);
        there.run_until("all keys", || typed() >= keys);
        typist.join().expect("all was said");
        assert_eq!(typed(), keys);
        // A machine that has run and is stopped has a host that decides.
        there.core.set_vm_running(false, &[]);
        say(&inputs, KEY_DOWN, &0x1fu32.to_le_bytes());
        there.run_until("one more", || typed() > keys);
    }
}

#[test]
fn what_a_client_typed_goes_with_it() {
    let there = Session::new();
    let main = there.arriving();
    let inputs = there.linked((ID, INPUTS, 0));
    there.expect(&inputs, DATA);
    say(&inputs, SAYS_DATA, &write_inputs(0));
    (0..MANY).for_each(|_| say(&inputs, KEY_DOWN, &0x1eu32.to_le_bytes()));
    there.expect(&inputs, MODIFIERS);
    drop((main, inputs));
    there.all_gone();
    there.core.set_vm_running(true, &[]);
    let patience = Instant::now() + Duration::from_millis(300);
    there.run_until("what would come", || Instant::now() > patience);
    assert_eq!(there.host.keys.load(Ordering::SeqCst), 0);
}

#[test]
fn a_client_that_does_not_answer_is_closed_after_ten_seconds() {
    let (source, main, id) = Session::seamless();
    let inputs = source.linked((id, INPUTS, 0));
    source.expect(&inputs, DATA);
    source.connects(&main);
    source.core.migrate_end(true).expect("there is a destination");
    source.expect(&main, MIGRATE);
    assert!(source.closes(&main) && source.closes(&inputs));
    source.hears(&[Connected, Ended]);
    source.all_gone();
}

#[test]
fn a_newcomer_takes_the_place_of_a_client_that_brings_its_data() {
    let there = Session::new();
    let arriving = there.arriving();
    let inputs = there.linked((ID, INPUTS, 0));
    let (_main, _) = there.main();
    assert!(there.closes(&arriving) && there.closes(&inputs));
    assert_eq!(there.core.session().client_count(), 1);
    there.assert_order();
}

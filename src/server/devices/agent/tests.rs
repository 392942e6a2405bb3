//! An agent's device against a session that only notes what it is told.

use std::sync::Mutex;

use super::super::kind::Action;
use super::*;
use crate::protocol::agent::{MouseState, put_chunks};
use crate::protocol::wire::WireWrite;

const ANN: ClientId = 1;
const BOB: ClientId = 2;

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn say(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Session for Arc<Told> {
    fn arrived(&self, _: DeviceId) {
        self.say("arrived".into());
    }
    fn gone(&self, _: DeviceId) {
        self.say("gone".into());
    }
    fn tell_main(&self, order: AgentOrder) {
        self.say(match order {
            AgentOrder::Data(_, client, piece) => format!("{} bytes for {client}", piece.len()),
            AgentOrder::Tokens(_, client, n) => format!("{n} tokens for {client}"),
            AgentOrder::Waits(client, true) => format!("{client} waits"),
            AgentOrder::Waits(client, false) => format!("{client} waits no more"),
            AgentOrder::Frozen(_, client, at) => format!("{client} goes at {}", at.message_left),
            AgentOrder::HandedOver(_, client, write, price) => {
                format!("{} bytes and {price} tokens go with {client}", write.len())
            }
            AgentOrder::Present(_) => unreachable!("the session's own"),
        });
    }
    fn displays(&self) -> Vec<DisplayAddress> {
        Vec::new()
    }
}

struct Bench {
    agent: Agent<Arc<Told>>,
    told: Arc<Told>,
    rules: Arc<AgentRules>,
}

impl Bench {
    fn new() -> Self {
        let (told, rules) = (Arc::<Told>::default(), Arc::<AgentRules>::default());
        let agent = Agent::new(DeviceId::fresh(), Arc::clone(&told), Arc::clone(&rules));
        Self { agent, told, rules }
    }

    fn with(clients: &[(ClientId, u32)]) -> (Self, Vec<Arc<AgentWay>>) {
        let mut bench = Self::new();
        let ways = clients.iter().map(|(client, tokens)| {
            let way = AgentWay::new(*tokens);
            bench.task(DeviceTask::Agent(AgentTask::Started(*client, Arc::clone(&way))));
            way
        });
        let ways = ways.collect();
        (bench, ways)
    }

    fn task(&mut self, task: DeviceTask) -> Vec<Action> {
        let mut todo = Todo::default();
        self.agent.task(task, &mut todo);
        std::iter::from_fn(|| todo.next()).collect()
    }

    fn written(&mut self, owner: Owner) -> Vec<Action> {
        let mut todo = Todo::default();
        self.agent.written(owner, 0, &mut todo);
        std::iter::from_fn(|| todo.next()).collect()
    }

    /// Lets the device be read as far as it is; how many of the bytes stayed in it, and what there was to do.
    fn read(&mut self, mut bytes: &[u8]) -> (usize, Vec<Action>) {
        let mut todo = Todo::default();
        while !bytes.is_empty() {
            let wanted = self.agent.wants().min(bytes.len());
            if wanted == 0 {
                break;
            }
            let (now, rest) = bytes.split_at(wanted);
            self.agent.read(now, &mut todo);
            bytes = rest;
        }
        (bytes.len(), std::iter::from_fn(|| todo.next()).collect())
    }
}

/// A message of the agent in one chunk or more.
fn says(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.put_u32(1).put_u32(kind).put_u64(0);
    message.put_u32(u32::try_from(data.len()).unwrap()).put_bytes(data);
    let mut chunks = Vec::new();
    put_chunks(&mut chunks, 1, &message);
    chunks
}

fn mouse(x: u32, buttons: u32) -> DeviceTask {
    DeviceTask::Agent(AgentTask::Mouse(MouseState { x, y: 0, buttons, display: 0 }))
}

#[test]
fn without_a_started_client_everything_is_read_and_dropped() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(&says(4, &[0; 5000])), (0, vec![]));
    assert!(bench.told.take().is_empty());
}

#[test]
fn pieces_go_on_as_long_as_there_are_tokens_and_the_rest_stays_in_the_device() {
    let (mut bench, ways) = Bench::with(&[(ANN, 2)]);
    let bytes = says(4, &[0; 5000]);
    let (left, _) = bench.read(&bytes);
    assert_eq!(left, 5020 - 2 * 2048 + 8, "the next chunk with its header");
    assert_eq!(bench.told.take(), ["2048 bytes for 1"; 2]);
    assert!(ways[0].allow(5), "the device waits");
    assert!(bench.task(DeviceTask::Room).is_empty());
    let rest = &bytes[bytes.len() - left..];
    assert_eq!(bench.read(rest).0, 0);
    assert_eq!(bench.told.take(), ["924 bytes for 1"]);
}

#[test]
fn a_message_that_began_for_nobody_reaches_nobody() {
    let mut bench = Bench::new();
    let bytes = says(4, &[0; 5000]);
    bench.read(&bytes[..2056]);
    bench.task(DeviceTask::Agent(AgentTask::Started(ANN, AgentWay::new(9))));
    assert_eq!(bench.read(&bytes[2056..]).0, 0);
    assert!(bench.told.take().is_empty());
    bench.read(&bytes);
    assert_eq!(bench.told.take().len(), 3);
    // The last client goes in the middle: nothing of it is for the next one.
    bench.read(&bytes[..2056]);
    bench.task(DeviceTask::Left(ANN));
    bench.task(DeviceTask::Agent(AgentTask::LastLeft));
    bench.task(DeviceTask::Agent(AgentTask::Started(BOB, AgentWay::new(9))));
    bench.told.take();
    bench.read(&bytes[2056..]);
    assert!(bench.told.take().is_empty());
}

#[test]
fn what_is_switched_off_does_not_pass_and_costs_the_client_no_token() {
    let (mut bench, ways) = Bench::with(&[(ANN, 1)]);
    bench.rules.set_copy_paste(false);
    assert_eq!(bench.read(&says(7, &[0; 10])).0, 0);
    assert_eq!(bench.read(&says(4, &[0; 5000])).0, 0);
    assert!(ways[0].is_open() && bench.told.take().is_empty());
    bench.rules.set_copy_paste(true);
    bench.read(&says(7, &[]));
    assert_eq!(bench.told.take(), ["20 bytes for 1"]);
}

#[test]
fn a_broken_protocol_ends_the_agent_and_no_client() {
    let (mut bench, _) = Bench::with(&[(ANN, 100)]);
    let (_, actions) = bench.read(&[7, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(actions, [Action::DiscardAll, Action::State(false)]);
    assert_eq!(bench.told.take(), ["gone"]);
    assert_eq!(bench.agent.wants(), 0);
    assert!(bench.task(DeviceTask::Data(ANN, vec![1])).is_empty());
    assert!(bench.task(mouse(1, 0)).is_empty());
    let mut todo = Todo::default();
    bench.agent.removed(&mut todo);
    assert!(todo.is_empty() && bench.told.take().is_empty(), "told once");
}

#[test]
fn pieces_of_clients_are_given_back_in_lots_when_the_device_has_them() {
    let (mut bench, ways) = Bench::with(&[(ANN, 0)]);
    for _ in 0..7 {
        ways[0].give_slowly();
        let actions = bench.task(DeviceTask::Data(ANN, vec![1, 2]));
        assert_eq!(actions, [Action::Write(Owner::Client(ANN), vec![1, 2])]);
    }
    assert!(bench.told.take().is_empty());
    (0..7).for_each(|_| drop(bench.written(Owner::Client(ANN))));
    assert_eq!(bench.told.take(), ["5 tokens for 1"]);
    assert!(
        bench.task(DeviceTask::Data(BOB, vec![1])).is_empty(),
        "who has not started is dropped"
    );
}

#[test]
fn one_message_of_our_own_is_on_its_way_and_the_others_merge() {
    let mut bench = Bench::new();
    assert_eq!(bench.task(mouse(1, 0)).len(), 1);
    for x in 2..100 {
        assert!(bench.task(mouse(x, 0)).is_empty());
    }
    bench.task(mouse(99, 2));
    let state = |x, buttons| {
        let chunk = MouseState { x, y: 0, buttons, display: 0 }.chunk();
        vec![Action::Write(Owner::Server, chunk)]
    };
    assert_eq!(bench.written(Owner::Server), state(99, 0));
    assert_eq!(bench.written(Owner::Server), state(99, 2));
    assert_eq!(bench.written(Owner::Server), []);
}

#[test]
fn the_hardware_is_told_to_agents_that_asked_and_only_to_them() {
    let (mut bench, _) = Bench::with(&[(ANN, 100)]);
    assert!(bench.task(DeviceTask::Agent(AgentTask::DeviceInfo)).is_empty());
    let announce = |bits: u32| says(6, &[&[0; 4][..], &bits.to_le_bytes()].concat());
    assert_eq!(bench.read(&announce(1 << 14)).1.len(), 0);
    assert_eq!(bench.read(&announce(1 << 15)).1.len(), 1);
    // While that one is on its way, another is due once.
    assert!(bench.task(DeviceTask::Agent(AgentTask::DeviceInfo)).is_empty());
    assert!(bench.task(DeviceTask::Agent(AgentTask::DeviceInfo)).is_empty());
    assert_eq!(bench.written(Owner::Server).len(), 1);
    assert_eq!(bench.written(Owner::Server).len(), 0);
}

#[test]
fn the_last_client_is_reported_once_to_a_device_that_takes_nothing() {
    let (mut bench, _) = Bench::with(&[(ANN, 100)]);
    assert_eq!(bench.task(DeviceTask::Left(ANN)), [Action::Discard(Owner::Client(ANN))]);
    let left = || DeviceTask::Agent(AgentTask::LastLeft);
    let told = [Action::Write(Owner::Server, client_disconnected())];
    assert_eq!(bench.task(left()), told);
    assert_eq!(bench.task(left()), []);
    assert_eq!(bench.written(Owner::Server), []);
    assert_eq!(bench.task(left()), told);
}

#[test]
fn of_several_clients_one_without_tokens_holds_back_nobody() {
    let (mut bench, ways) = Bench::with(&[(ANN, 100), (BOB, 1)]);
    for _ in 0..3 {
        assert_eq!(bench.read(&says(3, &[])).0, 0);
    }
    let got = bench.told.take();
    assert_eq!(got.iter().filter(|s| *s == "2 waits").count(), 1);
    assert_eq!(got.iter().filter(|s| s.ends_with("for 1")).count(), 3);
    assert_eq!(got.iter().filter(|s| s.ends_with("for 2")).count(), 1);
    assert!(ways[1].allow(1));
    bench.task(DeviceTask::Room);
    assert_eq!(bench.told.take(), ["20 bytes for 2"], "in order, as far as the tokens go");
    assert!(ways[1].allow(1));
    bench.task(DeviceTask::Room);
    assert_eq!(bench.told.take(), ["20 bytes for 2", "2 waits no more"]);
    for _ in 0..4 {
        assert_eq!(bench.read(&says(3, &[])).0, 0);
    }
    bench.told.take();
    let (left, _) = bench.read(&says(3, &[0; 100]));
    assert_eq!((left, bench.told.take().len()), (0, 1), "five wait");
    assert_eq!(bench.read(&says(3, &[])).0, 28, "all wait for it");
    bench.task(DeviceTask::Left(BOB));
    assert_eq!(bench.read(&says(3, &[])).0, 0);
}

//! What a streaming agent's device reads, writes and passes on.

use super::super::kind::Action;
use super::*;
use crate::transport::reactor::Wake;

#[derive(Debug)]
struct Still;

impl Wake for Still {
    fn wake(&self) {}
}

#[derive(Default)]
struct Heard {
    refused: u32,
    shown: Vec<(u32, u32, Vec<u8>)>,
}

struct Fake {
    ways: StreamWays,
    heard: Arc<Mutex<Heard>>,
}

impl Session for Fake {
    fn open(&self) -> Option<StreamWays> {
        Some(self.ways.clone())
    }
    fn refuse_later(&self) {
        self.heard.lock().unwrap().refused += 1;
    }
    fn shows(&self, stream: u32, display: u32, address: Vec<u8>) {
        self.heard.lock().unwrap().shown.push((stream, display, address));
    }
}

struct Rig {
    device: StreamDevice<Fake>,
    ways: StreamWays,
    heard: Arc<Mutex<Heard>>,
    todo: Todo,
}

impl Rig {
    fn new() -> Self {
        let display = Handle::new(Arc::new(Still));
        let cursor = Handle::new(Arc::new(Still));
        let ways = StreamWays { number: 1, display, cursor };
        let heard = Arc::<Mutex<Heard>>::default();
        let fake = Fake { ways: ways.clone(), heard: Arc::clone(&heard) };
        let device = StreamDevice::new(fake, Arc::default());
        Self { device, ways, heard, todo: Todo::default() }
    }

    fn opened() -> Self {
        let mut rig = Self::new();
        rig.device.port_event(event::OPENED, &mut rig.todo);
        rig.actions();
        rig
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.todo.next()).collect()
    }

    /// Gives the device what it wants of these bytes; what it does not want stays.
    fn say(&mut self, kind: u16, body: &[u8]) -> usize {
        let mut bytes = vec![1, 0];
        bytes.extend(kind.to_le_bytes());
        bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend(body);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let n = self.device.wants().min(rest.len());
            if n == 0 {
                break;
            }
            self.device.read(&rest[..n], &mut self.todo);
            rest = &rest[n..];
        }
        rest.len()
    }
}

const FORMAT: [u8; 12] = [64, 0, 0, 0, 48, 0, 0, 0, 1, 0, 0, 0];

#[test]
fn a_port_that_opens_is_greeted_and_told_what_clients_take() {
    let mut rig = Rig::new();
    rig.device.added(&mut rig.todo);
    assert_eq!(rig.actions(), [Action::State(true)]);
    rig.device.task(DeviceTask::Codecs(vec![1, 2]), &mut rig.todo);
    assert!(rig.actions().is_empty(), "nobody reads yet");
    rig.device.port_event(event::OPENED, &mut rig.todo);
    let hello = Action::Write(Owner::Server, wire::capabilities());
    let start = Action::Write(Owner::Server, wire::start_stop(&[1, 2]));
    let wanted = [Action::DiscardAll, hello, start, Action::Read, Action::State(true)];
    assert_eq!(rig.actions(), wanted);
}

#[test]
fn a_guest_that_does_not_read_is_told_the_last_word_only() {
    let mut rig = Rig::opened();
    for n in 0..50 {
        rig.device.task(DeviceTask::Codecs(vec![n]), &mut rig.todo);
    }
    assert_eq!(rig.actions(), [Action::Write(Owner::Server, wire::start_stop(&[0]))]);
    rig.device.written(Owner::Server, 10, &mut rig.todo);
    assert_eq!(rig.actions(), [Action::Write(Owner::Server, wire::start_stop(&[49]))]);
    rig.device.written(Owner::Server, 10, &mut rig.todo);
    assert!(rig.actions().is_empty());
}

#[test]
fn frames_go_to_the_display_and_the_device_waits_for_it() {
    let mut rig = Rig::opened();
    assert_eq!(rig.say(2, &FORMAT), 0);
    assert_eq!(rig.say(3, b"one frame"), 0);
    assert_eq!(rig.say(3, b"another"), 15, "two are on their way");
    let format = rig.ways.display.take();
    let wanted =
        matches!(format, Some(Order::Do(StreamOrder::Format { width: 64, height: 48, codec: 1 })));
    assert!(wanted, "{format:?}");
    let frame = rig.ways.display.take();
    assert!(matches!(&frame, Some(Order::Do(StreamOrder::Frame(_, b))) if b == b"one frame"));
}

#[test]
fn a_guest_that_breaks_the_protocol_is_told_once_and_then_unheard() {
    let mut rig = Rig::opened();
    rig.say(9, b"");
    let told = Action::Write(Owner::Server, wire::notify_error("Invalid message type"));
    assert_eq!(rig.actions(), [told]);
    assert_eq!(rig.heard.lock().unwrap().refused, 1);
    assert_eq!(rig.say(2, &FORMAT), 0, "it is read all the same");
    assert!(rig.ways.display.take().is_none() && rig.actions().is_empty());
    rig.device.task(DeviceTask::Refuse, &mut rig.todo);
    assert_eq!(rig.actions(), [Action::State(false)]);
    rig.device.task(DeviceTask::Codecs(vec![1]), &mut rig.todo);
    assert!(rig.actions().is_empty());
    rig.device.port_event(event::CLOSED, &mut rig.todo);
    rig.device.port_event(event::OPENED, &mut rig.todo);
    rig.device.task(DeviceTask::Refuse, &mut rig.todo);
    assert!(!rig.actions().contains(&Action::State(false)), "that was another life");
    rig.say(2, &FORMAT);
    assert!(matches!(rig.ways.display.take(), Some(Order::Do(StreamOrder::End))));
    assert!(matches!(rig.ways.display.take(), Some(Order::Do(StreamOrder::Format { .. }))));
}

#[test]
fn the_pointer_goes_to_its_channel_and_only_its_newest_waits() {
    let mut rig = Rig::opened();
    let set = [&[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[9; 4]].concat();
    rig.say(6, &set);
    let first = rig.ways.cursor.take();
    assert!(matches!(first, Some(Order::Do(CursorOrder::Command(CursorCommand::Set { .. })))));
    for n in 0..2000i32 {
        rig.say(7, &[(n * 100).to_le_bytes(), (-n).to_le_bytes()].concat());
    }
    let orders: Vec<_> = std::iter::from_fn(|| rig.ways.cursor.take()).collect();
    assert_eq!(orders.len(), 1024);
    rig.device.wants();
    let last = rig.ways.cursor.take();
    let position = Point16 { x: i16::MAX, y: -1999 };
    let moved = |p| matches!(p, Some(Order::Do(CursorOrder::Command(CursorCommand::Move(p)))) if p == position);
    assert!(moved(last));
}

#[test]
fn hardware_is_named_to_the_session() {
    let mut rig = Rig::opened();
    let info = [&[0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0][..], b"pci\0"].concat();
    rig.say(8, &info);
    assert_eq!(rig.heard.lock().unwrap().shown, [(0, 2, b"pci".to_vec())]);
}

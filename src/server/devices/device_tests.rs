//! One device against a host that does what it should not.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use super::super::kind::Owner;
use super::*;
use crate::protocol::agent::ClientMonitors;
use crate::server::host::ChannelEvent;
use crate::transport::connection::Connection;

/// A host with one device, whose callbacks may come back to it.
#[derive(Default)]
struct Fake {
    log: Mutex<Vec<String>>,
    /// Results of the next writes; everything is taken when there are no more.
    takes: Mutex<VecDeque<usize>>,
    gives: Mutex<VecDeque<Vec<u8>>>,
    endless: bool,
    device: OnceLock<Arc<Device>>,
    wakes: bool,
    /// As QEMU's smartcard reader: answers inside `write`, and takes the answer back if it was not read by then.
    answers: bool,
    removes: bool,
}

impl Fake {
    fn say(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }

    fn back(&self) {
        let Some(device) = self.device.get() else { return };
        if self.wakes {
            device.wakeup(self);
        }
        if self.removes {
            device.remove(self);
        }
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Host for Fake {
    fn channel_event(&self, _: ChannelEvent, _: &Arc<Connection>) {}
    fn key(&self, _: u8) {}
    fn leds(&self) -> u8 {
        0
    }
    fn mouse_motion(&self, _: i32, _: i32, _: i32, _: u32) {}
    fn mouse_buttons(&self, _: u32) {}
    fn tablet_size(&self, _: i32, _: i32) {}
    fn tablet_position(&self, _: i32, _: i32, _: u32) {}
    fn tablet_wheel(&self, _: i32, _: u32) {}
    fn tablet_buttons(&self, _: u32) {}
    fn takes_monitors(&self) -> bool {
        false
    }
    fn client_monitors(&self, _: &ClientMonitors) {}
    fn device_read(&self, _: DeviceId, place: &mut [u8]) -> usize {
        if self.endless {
            place.fill(7);
            return place.len();
        }
        let Some(bytes) = self.gives.lock().unwrap().pop_front() else { return 0 };
        self.say(format!("gave {bytes:?}"));
        place[..bytes.len()].copy_from_slice(&bytes);
        self.back();
        bytes.len()
    }
    fn device_write(&self, _: DeviceId, bytes: &[u8]) -> usize {
        let n = self.takes.lock().unwrap().pop_front().unwrap_or(bytes.len()).min(bytes.len());
        self.say(format!("took {:?} of {}", &bytes[..n], bytes.len()));
        self.back();
        if self.answers {
            self.gives.lock().unwrap().push_back(vec![42]);
            self.device.get().unwrap().wakeup(self);
            self.gives.lock().unwrap().clear();
        }
        n
    }
    fn device_state(&self, _: DeviceId, connected: bool) {
        self.say(format!("state {connected}"));
    }
    fn device_event(&self, _: DeviceId, event: u8) {
        self.say(format!("event {event}"));
    }
    fn device_notifies(&self, _: DeviceId) -> bool {
        false
    }
    fn migration(&self, _: crate::channel::main::MigrationEvent) {}
    fn device_timer(&self, _: DeviceId, after: Option<u32>) {
        if let Some(ms) = after {
            self.say(format!("timer {ms}"));
        }
    }
}

/// Writes what clients send; keeps what it reads.
struct Plain {
    wants: usize,
    joins: bool,
    host: Arc<Mutex<Vec<String>>>,
}

impl Kind for Plain {
    fn wants(&mut self) -> usize {
        self.wants
    }
    fn read(&mut self, bytes: &[u8], _todo: &mut Todo) {
        self.host.lock().unwrap().push(format!("read {}", bytes.len()));
    }
    fn written(&mut self, owner: Owner, bytes: usize, _todo: &mut Todo) {
        self.host.lock().unwrap().push(format!("written {bytes} for {owner:?}"));
    }
    fn task(&mut self, task: DeviceTask, todo: &mut Todo) {
        match task {
            DeviceTask::Data(client, bytes) => todo.write(Owner::Client(client), bytes),
            DeviceTask::Message(client, bytes, from) => {
                todo.write_from(Owner::Client(client), bytes, from);
            }
            DeviceTask::Attached(_) => {
                todo.read();
                todo.state(true);
            }
            DeviceTask::Left(client) => {
                todo.state(false);
                todo.discard(Owner::Client(client));
                todo.write(Owner::Server, vec![9]);
            }
            DeviceTask::Event(event) => todo.event(event),
            DeviceTask::HandOver(_) => todo.hand_over(),
            DeviceTask::Room
            | DeviceTask::Agent(_)
            | DeviceTask::Codecs(_)
            | DeviceTask::Refuse
            | DeviceTask::Begun(_)
            | DeviceTask::Continue => {}
        }
    }
    fn removed(&mut self, todo: &mut Todo) {
        todo.state(false);
    }
    fn handing_over(&mut self, bytes: Vec<u8>, _todo: &mut Todo) {
        self.host.lock().unwrap().push(format!("hands over {bytes:?}"));
    }
    fn joins_writes(&self) -> bool {
        self.joins
    }
}

fn device(
    fake: Fake,
    wants: usize,
    running: bool,
) -> (Arc<Fake>, Arc<Device>, Arc<Mutex<Vec<String>>>) {
    made(fake, wants, running, false)
}

fn made(
    fake: Fake,
    wants: usize,
    running: bool,
    joins: bool,
) -> (Arc<Fake>, Arc<Device>, Arc<Mutex<Vec<String>>>) {
    let told = Arc::default();
    let kind = Plain { wants, joins, host: Arc::clone(&told) };
    let device = Arc::new(Device::new(DeviceId::fresh(), false, running, Box::new(kind)));
    let fake = Arc::new(fake);
    let _ = fake.device.set(Arc::clone(&device));
    (fake, device, told)
}

#[test]
fn partial_writes_go_on_where_they_stopped_and_the_price_comes_back_once() {
    let fake = Fake { takes: Mutex::new([2, 0].into()), ..Fake::default() };
    let (host, device, told) = device(fake, 0, true);
    device.task(&*host, DeviceTask::Data(3, vec![1, 2, 3]));
    device.task(&*host, DeviceTask::Data(3, vec![4]));
    // The second task found the device willing again.
    assert_eq!(
        host.said(),
        ["took [1, 2] of 3", "took [] of 1", "timer 100", "took [3] of 1", "took [4] of 1"]
    );
    assert_eq!(*told.lock().unwrap(), ["written 3 for Client(3)", "written 1 for Client(3)"]);
}

#[test]
fn who_leaves_takes_along_what_the_device_has_not_begun() {
    let fake = Fake { takes: Mutex::new([1, 0, 0].into()), ..Fake::default() };
    let (host, device, told) = device(fake, 0, true);
    device.task(&*host, DeviceTask::Data(3, vec![1, 2]));
    device.task(&*host, DeviceTask::Data(3, vec![3]));
    host.said();
    device.task(&*host, DeviceTask::Left(3));
    assert_eq!(host.said(), ["state false", "took [2] of 1", "took [9] of 1"]);
    assert_eq!(
        *told.lock().unwrap(),
        ["written 1 for Client(3)", "written 2 for Client(3)", "written 1 for Server"]
    );
}

#[test]
fn a_stopped_machine_is_neither_read_nor_written_and_a_start_moves_all() {
    let fake = Fake { gives: Mutex::new([vec![1], vec![2]].into()), ..Fake::default() };
    let (host, device, told) = device(fake, 10, false);
    device.task(&*host, DeviceTask::Data(3, vec![5]));
    device.wakeup(&*host);
    assert!(host.said().is_empty());
    device.set_running(&*host, true);
    assert_eq!(host.said(), ["took [5] of 1", "gave [1]", "gave [2]"]);
    assert_eq!(told.lock().unwrap().len(), 3);
}

#[test]
fn a_client_that_comes_is_read_for_before_the_device_hears_of_it() {
    let fake = Fake { gives: Mutex::new([vec![1]].into()), ..Fake::default() };
    let (host, device, _) = device(fake, 10, true);
    device.task(&*host, DeviceTask::Attached(3));
    assert_eq!(host.said(), ["gave [1]", "state true"]);
}

#[test]
fn callbacks_that_wake_the_device_neither_nest_nor_keep_it_for_ever() {
    let gives = Mutex::new([vec![1], vec![2]].into());
    let fake = Fake { gives, wakes: true, takes: Mutex::new([0; 50].into()), ..Fake::default() };
    let (host, device, _) = device(fake, 10, true);
    device.task(&*host, DeviceTask::Data(3, vec![5]));
    let said = host.said();
    assert!(said.contains(&"gave [2]".to_owned()) && said.len() < 10, "{said:?}");
}

#[test]
fn an_answer_inside_a_write_is_read_before_the_write_returns() {
    let (host, device, told) = device(Fake { answers: true, ..Fake::default() }, 10, true);
    device.task(&*host, DeviceTask::Data(3, vec![5]));
    assert_eq!(host.said(), ["took [5] of 1", "gave [42]"]);
    assert_eq!(*told.lock().unwrap(), ["read 1", "written 1 for Client(3)"]);
}

#[test]
fn a_device_may_be_removed_by_its_own_callback() {
    let gives = Mutex::new([vec![1], vec![2]].into());
    let (host, device, told) = device(Fake { gives, removes: true, ..Fake::default() }, 10, true);
    device.wakeup(&*host);
    assert_eq!(host.said(), ["gave [1]", "state false"]);
    device.wakeup(&*host);
    assert!(host.said().is_empty());
    assert!(told.lock().unwrap().is_empty(), "what was read belongs to nobody");
}

#[test]
fn a_device_without_end_leaves_the_loop_to_others() {
    let (host, device, told) = device(Fake { endless: true, ..Fake::default() }, READ_MAX, true);
    assert_eq!(device.wakeup(&*host), After::Continue);
    let reads = told.lock().unwrap().len();
    let whole = TURN_BYTES / READ_MAX;
    assert!((whole..whole + 3).contains(&reads), "{reads} reads");
    assert_eq!(device.wakeup(&*host), After::Nothing, "one task to go on is enough");
    assert_eq!(device.task(&*host, DeviceTask::Continue), After::Continue);
}

#[test]
fn what_was_queued_is_offered_in_one_call_where_that_is_the_same() {
    let takes = || Mutex::new([3, 2].into());
    let queue = |device: &Device| {
        device.queue(DeviceTask::Data(3, vec![1, 2]));
        device.queue(DeviceTask::Message(4, vec![9, 3, 4], 1));
        device.queue(DeviceTask::Data(3, vec![5]));
    };
    let (host, joining, told) = made(Fake { takes: takes(), ..Fake::default() }, 0, true, true);
    queue(&joining);
    assert!(host.said().is_empty(), "nothing before somebody says so");
    joining.wakeup(&*host);
    assert_eq!(host.said(), ["took [1, 2, 3] of 5", "took [4, 5] of 2"]);
    let prices = ["written 2 for Client(3)", "written 3 for Client(4)", "written 1 for Client(3)"];
    assert_eq!(*told.lock().unwrap(), prices);
    let (host, other, told) = device(Fake { takes: takes(), ..Fake::default() }, 0, true);
    queue(&other);
    other.wakeup(&*host);
    assert_eq!(host.said(), ["took [1, 2] of 2", "took [3, 4] of 2", "took [5] of 1"]);
    assert_eq!(*told.lock().unwrap(), prices);
}

#[test]
fn who_leaves_takes_along_what_was_to_be_joined_and_a_long_one_goes_by_itself() {
    let fake = Fake { takes: Mutex::new([1, 0, 0].into()), ..Fake::default() };
    let (host, device, told) = made(fake, 0, true, true);
    for client in [3, 4, 3] {
        device.queue(DeviceTask::Data(client, vec![7, 8]));
    }
    device.wakeup(&*host);
    assert_eq!(host.said(), ["took [7] of 6", "took [] of 5", "timer 100"]);
    device.task(&*host, DeviceTask::Left(3));
    assert_eq!(host.said(), ["state false", "took [] of 4", "timer 100"]);
    device.queue(DeviceTask::Data(4, vec![0; JOIN]));
    device.wakeup(&*host);
    let said = host.said();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("took [8, 7, 8, 9] of 4"), "{said:?}");
    assert_eq!(told.lock().unwrap().len(), 5);
}

#[test]
fn events_pass_a_stopped_machine() {
    let (host, device, _) = device(Fake::default(), 0, false);
    device.task(&*host, DeviceTask::Event(2));
    assert_eq!(host.said(), ["event 2"]);
}

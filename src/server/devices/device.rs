//! The host's half of one char device: when it is read and written.
//!
//! Used on threads of the host only, from the mailbox or inside an API call. Its lock is never held while the host is
//! called back, because callbacks may come back here: `write` that calls `spice_server_char_device_wakeup`, `read` that
//! removes the device. What comes back does at once what is not being done: QEMU's smartcard reader answers inside `write`
//! and takes its answer back when it was not read by then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::channel::device::{DeviceId, DeviceTask};
use crate::observe::probes;
use crate::server::host::Host;

use super::kind::{Action, Kind, Todo};
use super::writes::{Waiting, Writes};

/// Largest read in bytes: a USB packet of 64 KiB with its head.
pub const READ_MAX: usize = 64 * 1024 + 32;
/// Bytes moved in each direction in one call: a device that never runs dry must not keep the host's loop.
const TURN_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that are joined for one call (see [`Kind::joins_writes`]).
///
/// QEMU gives a virtio port's guest one of its buffers of 4 KiB, and an interrupt, for each call or 4 KiB of it.
const JOIN: usize = 16 * 1024;
/// A device that cannot tell when it can be written is asked again after this time.
pub const RETRY_MS: u32 = 100;

/// One char device.
pub struct Device {
    id: DeviceId,
    /// The host calls `wakeup` when the device can be written again.
    notifies: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    kind: Box<dyn Kind>,
    todo: Todo,
    writes: Writes,
    scratch: Vec<u8>,
    joined: Vec<u8>,
    running: bool,
    removed: bool,
    /// What is being done, each at most once at a time; who finds it so leaves the mark `again`.
    doing: bool,
    writing: bool,
    reading: bool,
    again: bool,
    /// Calls that are under way, one inside the other.
    depth: u32,
    /// The device took nothing of a write.
    blocked: bool,
    /// The mailbox has a task to go on.
    continues: bool,
}

/// What is left to do when a call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing: the host, a client or the timer will tell.
    Nothing,
    /// Go on in another turn of the host's loop.
    Continue,
}

/// How one direction went.
#[derive(Default)]
struct Moved {
    bytes: usize,
    /// There may be more; only the turn is over.
    cut: bool,
}

/// Undoes something when it goes, also by a panic.
struct Undo<'a>(&'a Device, fn(&mut Inner));

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.1(&mut self.0.lock());
    }
}

impl Device {
    /// A device that the host knows already.
    pub fn new(id: DeviceId, notifies: bool, running: bool, kind: Box<dyn Kind>) -> Self {
        let inner = Inner {
            kind,
            todo: Todo::default(),
            writes: Writes::default(),
            scratch: Vec::new(),
            joined: Vec::new(),
            running,
            removed: false,
            doing: false,
            writing: false,
            reading: false,
            again: false,
            depth: 0,
            blocked: false,
            continues: false,
        };
        Self { id, notifies, inner: Mutex::new(inner) }
    }

    /// A poisoned lock is taken all the same: kinds compute before they store.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came through the mailbox that makes no difference before the next call: more of it may follow.
    pub fn queue(&self, task: DeviceTask) {
        let mut inner = self.lock();
        if !inner.removed {
            let Inner { kind, todo, .. } = &mut *inner;
            kind.task(task, todo);
        }
    }

    /// Something came through the mailbox.
    pub fn task(&self, host: &dyn Host, task: DeviceTask) -> After {
        if matches!(task, DeviceTask::Continue) {
            self.lock().continues = false;
        }
        self.act(host, |kind, todo| kind.task(task, todo))
    }

    /// The host says that the device can be read or written again.
    pub fn wakeup(&self, host: &dyn Host) -> After {
        self.act(host, |_, _| {})
    }

    /// The machine runs or stops: between the two nothing is read or written.
    pub fn set_running(&self, host: &dyn Host, running: bool) -> After {
        self.lock().running = running;
        self.act(host, |_, _| {})
    }

    /// No callback comes after this, also if it is called from inside one.
    pub fn remove(&self, host: &dyn Host) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.removed, true) {
            return;
        }
        let mut last = Todo::default();
        inner.kind.removed(&mut last);
        inner.discard_all();
        drop(inner);
        while let Some(action) = last.next() {
            if let Action::State(connected) = action {
                host.device_state(self.id, connected);
            }
        }
        host.device_timer(self.id, None);
    }

    /// Lets the kind act, then does what there is to do.
    pub fn act(&self, host: &dyn Host, act: impl FnOnce(&mut dyn Kind, &mut Todo)) -> After {
        let mut inner = self.lock();
        if inner.removed {
            return After::Nothing;
        }
        let Inner { kind, todo, .. } = &mut *inner;
        act(&mut **kind, todo);
        inner.depth += 1;
        let outermost = inner.depth == 1;
        drop(inner);
        let depth = Undo(self, |inner| inner.depth -= 1);
        let after = self.turn(host, outermost);
        drop(depth);
        after
    }

    fn turn(&self, host: &dyn Host, outermost: bool) -> After {
        let (mut read, mut written) = (0, 0);
        // Marks that came though nothing was moved: a host that calls `wakeup` in every callback would keep us for ever.
        let mut idle_rounds = 0;
        loop {
            self.do_all(host, &mut read, &mut written);
            let w = self.write(host, TURN_BYTES.saturating_sub(written));
            let r = self.read(host, TURN_BYTES.saturating_sub(read));
            read += r.bytes;
            written += w.bytes;
            idle_rounds = if r.bytes + w.bytes > 0 { 0 } else { idle_rounds + 1 };
            let mut inner = self.lock();
            if inner.removed {
                return After::Nothing;
            }
            if w.cut || r.cut {
                let told = std::mem::replace(&mut inner.continues, true);
                return if told { After::Nothing } else { After::Continue };
            }
            if !outermost {
                return After::Nothing;
            }
            let again = std::mem::take(&mut inner.again);
            if !inner.todo.is_empty() || (again && idle_rounds < 2) {
                continue;
            }
            let retry = inner.running && inner.blocked && !self.notifies;
            drop(inner);
            if !self.notifies {
                host.device_timer(self.id, retry.then_some(RETRY_MS));
            }
            return After::Nothing;
        }
    }

    /// Carries out what the kind wants done.
    fn do_all(&self, host: &dyn Host, read: &mut usize, written: &mut usize) {
        if !self.begin(|inner| &mut inner.doing) {
            return;
        }
        let _end = Undo(self, |inner| inner.doing = false);
        loop {
            let mut inner = self.lock();
            if inner.removed {
                return;
            }
            let Some(action) = inner.todo.next() else { return };
            match action {
                Action::Write(owner, bytes) => inner.writes.push(owner, bytes, 0),
                Action::WriteFrom(owner, bytes, from) => inner.writes.push(owner, bytes, from),
                Action::Discard(owner) => {
                    let Inner { kind, todo, writes, .. } = &mut *inner;
                    for size in writes.discard(owner) {
                        kind.written(owner, size, todo);
                    }
                }
                Action::DiscardAll => inner.discard_all(),
                Action::HandOver => inner.hand_over(),
                Action::State(connected) => {
                    drop(inner);
                    host.device_state(self.id, connected);
                }
                Action::Event(event) => {
                    drop(inner);
                    host.device_event(self.id, event);
                }
                Action::Read => {
                    drop(inner);
                    *written += self.write(host, TURN_BYTES.saturating_sub(*written)).bytes;
                    *read += self.read(host, TURN_BYTES.saturating_sub(*read)).bytes;
                }
            }
        }
    }

    /// Raises a flag; false, and the mark, if it was up.
    fn begin(&self, flag: fn(&mut Inner) -> &mut bool) -> bool {
        let mut inner = self.lock();
        let was = std::mem::replace(flag(&mut inner), true);
        inner.again |= was;
        !was
    }

    /// Offers the device what waits until it takes nothing more, or `budget` bytes are over.
    fn write(&self, host: &dyn Host, budget: usize) -> Moved {
        if !self.begin(|inner| &mut inner.writing) {
            return Moved::default();
        }
        let _end = Undo(self, |inner| inner.writing = false);
        let mut bytes = 0;
        loop {
            let mut inner = self.lock();
            if inner.removed || !inner.running || inner.writes.is_empty() {
                inner.blocked = false;
                return Moved { bytes, cut: false };
            }
            if bytes >= budget {
                return Moved { bytes, cut: true };
            }
            if inner.kind.joins_writes() {
                let run = inner.writes.take_run(JOIN);
                if !run.is_empty() {
                    let n = self.write_joined(host, inner, run);
                    bytes += n;
                    if n == 0 {
                        return Moved { bytes, cut: false };
                    }
                    continue;
                }
            }
            let Some(mut waiting) = inner.writes.take() else { return Moved { bytes, cut: false } };
            drop(inner);
            let n = match waiting.rest() {
                [] => 0,
                rest => {
                    let taken = host.device_write(self.id, rest).min(rest.len());
                    probes::device_written(taken, rest.len());
                    taken
                }
            };
            waiting.advance(n);
            bytes += n;
            let mut inner = self.lock();
            let ended = if waiting.rest().is_empty() {
                Some(waiting)
            } else {
                inner.blocked = n == 0;
                inner.writes.put_back(waiting)
            };
            if let Some(waiting) = ended {
                let Inner { kind, todo, .. } = &mut *inner;
                kind.written_buffer(waiting.owner, waiting.into_bytes(), todo);
            } else if n == 0 {
                return Moved { bytes, cut: false };
            }
        }
    }

    /// Offers the device several writes in one call; how many bytes it took.
    fn write_joined(
        &self,
        host: &dyn Host,
        mut inner: MutexGuard<'_, Inner>,
        run: Vec<Waiting>,
    ) -> usize {
        let mut joined = std::mem::take(&mut inner.joined);
        drop(inner);
        joined.clear();
        run.iter().for_each(|waiting| joined.extend_from_slice(waiting.rest()));
        let n = host.device_write(self.id, &joined).min(joined.len());
        let mut inner = self.lock();
        inner.joined = joined;
        inner.blocked = n == 0;
        let (mut left, mut ended, mut kept) = (n, Vec::new(), Vec::new());
        for mut waiting in run {
            let taken = waiting.rest().len().min(left);
            waiting.advance(taken);
            left -= taken;
            if waiting.rest().is_empty() { &mut ended } else { &mut kept }.push(waiting);
        }
        for waiting in kept.into_iter().rev() {
            ended.extend(inner.writes.put_back(waiting));
        }
        let Inner { kind, todo, .. } = &mut *inner;
        for waiting in ended {
            kind.written_buffer(waiting.owner, waiting.into_bytes(), todo);
        }
        n
    }

    /// Reads until the device has nothing, the kind wants nothing, or `budget` bytes are over.
    fn read(&self, host: &dyn Host, budget: usize) -> Moved {
        if !self.begin(|inner| &mut inner.reading) {
            return Moved::default();
        }
        let _end = Undo(self, |inner| inner.reading = false);
        let mut bytes = 0;
        loop {
            let mut inner = self.lock();
            let wanted = if inner.removed || !inner.running { 0 } else { inner.kind.wants() };
            let wanted = wanted.min(READ_MAX);
            if wanted == 0 {
                return Moved { bytes, cut: false };
            }
            if bytes >= budget {
                return Moved { bytes, cut: true };
            }
            let mut scratch = std::mem::take(&mut inner.scratch);
            drop(inner);
            if scratch.len() < wanted {
                scratch.resize(wanted, 0);
            }
            let n = match scratch.get_mut(..wanted) {
                Some(place) => host.device_read(self.id, place).min(wanted),
                None => 0,
            };
            probes::device_read(n);
            bytes += n;
            let mut inner = self.lock();
            let Inner { kind, todo, removed, .. } = &mut *inner;
            if n > 0 && !*removed {
                kind.read_buffer(&mut scratch, n, todo);
            }
            inner.scratch = scratch;
            if n == 0 {
                return Moved { bytes, cut: false };
            }
        }
    }
}

impl Inner {
    fn hand_over(&mut self) {
        let Self { kind, todo, writes, .. } = self;
        let all = writes.discard_all();
        let bytes = all.iter().flat_map(Waiting::rest).copied().collect();
        kind.handing_over(bytes, todo);
        for waiting in all {
            kind.written(waiting.owner, waiting.len(), todo);
        }
    }

    fn discard_all(&mut self) {
        for waiting in self.writes.discard_all() {
            self.kind.written(waiting.owner, waiting.len(), &mut self.todo);
        }
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;

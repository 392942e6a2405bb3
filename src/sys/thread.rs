//! Starting threads inside somebody else's process.

use std::cell::Cell;
use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::thread::JoinHandle;

/// Starts a thread with all signals blocked, so that no handler of the host ever runs on it.
///
/// `name` shows in `top -H`; the kernel keeps 15 bytes of it.
///
/// # Errors
/// What the system says when it cannot make a thread.
pub fn spawn<F>(name: &str, body: F) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is writable memory of the right type; sigfillset initialises it and cannot
    // fail for a valid pointer.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was initialised above, `before` is writable; a new thread inherits the mask of
    // its creator, so blocking here leaves no moment at which the new thread could take a signal.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    // SAFETY: `before` was filled by the call above; this restores the caller's own mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    started
}

/// `struct sched_attr` of the kernel, in its first version.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Time that a thread of [`short_turns`] has at a time, nanoseconds: the shortest that the kernel gives.
const SHORT_TURN: u64 = 100_000;

/// Lets the calling thread have the processor for short times, and soon: for threads that have little to do and must do
/// it at once. Its share does not grow, so that one that is kept busy from outside takes nothing from the others.
///
/// Linux knows that since 6.12; older kernels take the call and do nothing. Threads that the host has put under another
/// policy stay as they are.
///
/// # Errors
/// What the system says, a sandbox for example.
pub fn short_turns() -> io::Result<()> {
    let mut attr = attr_of_this_thread()?;
    TURN.set(SHORT_TURN);
    if attr.policy != number(libc::SCHED_OTHER) {
        return Ok(());
    }
    attr.runtime = SHORT_TURN;
    set_attr_of_this_thread(&attr)
}

thread_local! {
    /// What this thread has at a time under the usual policy, nanoseconds; 0: what the kernel gives.
    static TURN: Cell<u64> = const { Cell::new(0) };
}

/// Bytes of [`SchedAttr`].
const ATTR_SIZE: u32 = 48;

fn attr_of_this_thread() -> io::Result<SchedAttr> {
    const { assert!(size_of::<SchedAttr>() == ATTR_SIZE as usize) };
    let mut attr = SchedAttr::default();
    // SAFETY: 0 is the calling thread; the kernel writes at most that many bytes to `attr`, which has as many.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, ATTR_SIZE, 0) };
    if result == 0 { Ok(attr) } else { Err(io::Error::last_os_error()) }
}

fn set_attr_of_this_thread(attr: &SchedAttr) -> io::Result<()> {
    let attr = SchedAttr { size: ATTR_SIZE, flags: 0, ..*attr };
    // SAFETY: the kernel reads `attr.size` bytes of `attr`, which has as many.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn number(policy: libc::c_int) -> u32 {
    u32::try_from(policy).unwrap_or(0)
}

/// A scheduling policy of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The usual one (SCHED_OTHER), with a nice value of -20 to 19.
    Other(i32),
    /// Real time, first in, first out, with a priority of 1 to 99.
    Fifo(u32),
    /// Real time in turns, with a priority of 1 to 99.
    RoundRobin(u32),
}

/// How a thread is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `None`: as it was when it began.
    pub policy: Option<Policy>,
    /// Processors that it may run on, a bit for each, lowest first; `None`: those that it began with.
    pub processors: Option<Vec<u64>>,
}

/// How the calling thread ran when it began; made at its first change. One for each thread, and owned by it.
#[derive(Debug, Default)]
pub struct OwnScheduling {
    attr: Option<SchedAttr>,
    processors: Option<Vec<u64>>,
}

/// Words that are asked for when the kernel tells the processors of a thread: 8,192 of them.
const PROCESSOR_WORDS: usize = 128;

impl OwnScheduling {
    /// Has the calling thread run as it is wanted. What could not be had, with the reason; the rest was done.
    pub fn apply(&mut self, wanted: &Scheduling) -> Vec<(&'static str, io::Error)> {
        let policy = self.apply_policy(wanted.policy).map_err(|e| ("scheduling policy", e));
        let processors = self.apply_processors(wanted.processors.as_deref());
        let processors = processors.map_err(|e| ("set of processors", e));
        policy.err().into_iter().chain(processors.err()).collect()
    }

    fn apply_policy(&mut self, policy: Option<Policy>) -> io::Result<()> {
        let before = match self.attr {
            Some(before) => before,
            // Nothing to go back to, and nothing was asked for.
            None if policy.is_none() => return Ok(()),
            None => *self.attr.insert(attr_of_this_thread()?),
        };
        let mut attr = SchedAttr { size: ATTR_SIZE, ..SchedAttr::default() };
        match policy {
            None => {
                (attr.policy, attr.nice, attr.priority) =
                    (before.policy, before.nice, before.priority);
            }
            Some(Policy::Other(nice)) => {
                (attr.policy, attr.nice) = (number(libc::SCHED_OTHER), nice);
            }
            Some(Policy::Fifo(priority)) => {
                (attr.policy, attr.priority) = (number(libc::SCHED_FIFO), priority);
            }
            Some(Policy::RoundRobin(priority)) => {
                (attr.policy, attr.priority) = (number(libc::SCHED_RR), priority);
            }
        }
        if attr.policy == number(libc::SCHED_OTHER) {
            attr.runtime = TURN.get();
        }
        set_attr_of_this_thread(&attr)
    }

    fn apply_processors(&mut self, processors: Option<&[u64]>) -> io::Result<()> {
        if self.processors.is_none() {
            if processors.is_none() {
                return Ok(());
            }
            self.processors = Some(processors_of_this_thread()?);
        }
        let words = processors.or(self.processors.as_deref()).unwrap_or_default();
        // SAFETY: 0 is the calling thread; the kernel reads that many bytes of `words`, which has as many.
        let result = unsafe {
            libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(words), words.as_ptr())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// The processors that the calling thread may run on.
fn processors_of_this_thread() -> io::Result<Vec<u64>> {
    let mut words = vec![0u64; PROCESSOR_WORDS];
    let bytes = size_of_val(words.as_slice());
    // SAFETY: 0 is the calling thread; the kernel writes at most `bytes` bytes to `words`, which has as many.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, bytes, words.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // How many bytes it wrote, whole words.
    words.truncate(usize::try_from(result).unwrap_or(0).div_ceil(size_of::<u64>()));
    Ok(words)
}

/// The number of the calling thread in the system.
#[must_use]
pub fn number_of_this_thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_all_signals_blocked_and_its_name() {
        let (tx, rx) = std::sync::mpsc::channel();
        spawn("spice-test", move || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            tx.send((status, comm)).unwrap();
        })
        .unwrap()
        .join()
        .unwrap();
        let (status, comm) = rx.recv().unwrap();
        assert_eq!(comm.trim(), "spice-test");
        let blocked = status.lines().find(|l| l.starts_with("SigBlk:")).unwrap();
        let mask = u64::from_str_radix(blocked[7..].trim(), 16).unwrap();
        // SIGINT 2, SIGUSR1 10, SIGALRM 14, SIGTERM 15.
        for signal in [2, 10, 14, 15] {
            assert_ne!(mask & (1 << (signal - 1)), 0, "signal {signal} is not blocked: {blocked}");
        }
    }

    /// What the system says of the calling thread: policy, nice value, priority, processors.
    fn state() -> (u32, i32, u32, Vec<u64>) {
        let attr = attr_of_this_thread().unwrap();
        (attr.policy, attr.nice, attr.priority, processors_of_this_thread().unwrap())
    }

    #[test]
    fn a_thread_runs_as_it_is_told_and_then_as_before() {
        let run = || {
            let mut own = OwnScheduling::default();
            let before = state();
            assert!(own.apply(&Scheduling::default()).is_empty());
            assert_eq!(state(), before);
            let last = before.3.iter().enumerate().rev().find(|(_, word)| **word != 0).unwrap();
            let mut processors = vec![0u64; last.0 + 1];
            processors[last.0] = 1 << last.1.ilog2();
            let nice = before.1 + 3;
            let wanted = Scheduling {
                policy: Some(Policy::Other(nice)),
                processors: Some(processors.clone()),
            };
            assert!(own.apply(&wanted).is_empty());
            let now = state();
            assert_eq!((now.0, now.1, now.3[last.0]), (before.0, nice, processors[last.0]));
            // A real-time class needs a right; without it the thread stays as it is.
            let fifo = Scheduling { policy: Some(Policy::Fifo(7)), processors: Some(vec![0]) };
            let refused = own.apply(&fifo);
            let fifo = refused.iter().all(|(what, _)| *what != "scheduling policy");
            assert!(refused.iter().any(|(what, _)| *what == "set of processors"));
            assert_eq!(
                (state().2, state().0 != before.0),
                if fifo { (7, true) } else { (0, false) }
            );
            // Back to a smaller nice value is a right as well.
            let back = own.apply(&Scheduling::default());
            let lower = back.is_empty();
            assert_eq!(state().3, before.3);
            assert_eq!(state().1, if lower { before.1 } else { nice });
        };
        std::thread::spawn(run).join().unwrap();
    }

    #[test]
    fn short_turns_change_nothing_else() {
        let turns = std::thread::spawn(short_turns).join().unwrap();
        if let Err(error) = turns {
            eprintln!("SKIPPED 1: short turns: {error}");
        }
    }
}

//! Starting threads inside somebody else's process.

use std::io;
use std::mem::{MaybeUninit, size_of};
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
    const SIZE: u32 = 48;
    const { assert!(size_of::<SchedAttr>() == SIZE as usize) };
    let mut attr = SchedAttr::default();
    // SAFETY: 0 is the calling thread; the kernel writes at most `SIZE` bytes to `attr`, which has as many.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, SIZE, 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if attr.policy != u32::try_from(libc::SCHED_OTHER).unwrap_or(0) {
        return Ok(());
    }
    (attr.size, attr.flags, attr.runtime) = (SIZE, 0, SHORT_TURN);
    // SAFETY: the kernel reads `attr.size` bytes of `attr`, which has as many.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

    #[test]
    fn short_turns_change_nothing_else() {
        let turns = std::thread::spawn(short_turns).join().unwrap();
        if let Err(error) = turns {
            eprintln!("SKIPPED 1: short turns: {error}");
        }
    }
}

//! Starting threads inside somebody else's process.

use std::io;
use std::mem::MaybeUninit;
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

/// How much the calling thread is favoured over the process's others by [`favour`]; what a desktop's sound server takes.
const FAVOURED: i32 = -11;

/// Asks the system to let the calling thread run before others that want to, for threads that have little to do and must
/// do it at once. Systems that do not want that (RLIMIT_NICE, sandboxes) refuse.
///
/// # Errors
/// What the system says.
pub fn favour() -> io::Result<()> {
    rustix::process::setpriority_process(None, FAVOURED)?;
    Ok(())
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
}

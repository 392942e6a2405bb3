//! Which engine moves the bytes of this process's sockets.

use std::io;
use std::sync::OnceLock;

use super::mio_reactor::MioReactor;
use super::reactor::Reactor;
use super::uring_reactor::UringReactor;

/// The engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// Completions: io_uring, Linux 5.19 or newer.
    Uring,
    /// Readiness: epoll, everywhere.
    Epoll,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// What a process uses, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    engine: Engine,
    why: &'static str,
}

static CHOICE: OnceLock<Choice> = OnceLock::new();

/// What serves the sockets of this process, "epoll" or "io_uring"; before there is any socket, what is asked for.
#[must_use]
pub fn name() -> &'static str {
    let asked = std::env::var("CAYENNE_IO").ok();
    CHOICE.get().map_or_else(|| choose(asked.as_deref()).0.engine.name(), |c| c.engine.name())
}

/// A reactor for one thread. Which one, the variable `CAYENNE_IO` says (`uring` or `epoll`), read once in each process;
/// where io_uring is not to be had it is epoll. One log line tells of it.
///
/// # Errors
/// If the process has no descriptor left.
pub fn reactor() -> io::Result<Box<dyn Reactor>> {
    let choice = CHOICE.get_or_init(|| {
        let asked = std::env::var("CAYENNE_IO").ok();
        let (mut choice, known) = choose(asked.as_deref());
        if !known {
            tracing::warn!(asked, "CAYENNE_IO is neither uring nor epoll");
        }
        if choice.engine == Engine::Uring
            && let Err(error) = UringReactor::probe()
        {
            choice.engine = Engine::Epoll;
            tracing::warn!(%error, "sockets are served through epoll: io_uring {}", reason(&error));
        } else {
            tracing::info!("sockets are served through {}: {}", choice.engine.name(), choice.why);
        }
        choice
    });
    if choice.engine == Engine::Uring {
        match UringReactor::new() {
            Ok(reactor) => return Ok(Box::new(reactor)),
            // It worked before; memory or descriptors are short.
            Err(error) => {
                tracing::warn!(%error, "one thread's sockets are served through epoll: io_uring {}", reason(&error));
            }
        }
    }
    Ok(Box::new(MioReactor::new()?))
}

/// What the variable asks for; false if nobody knows what that is.
fn choose(asked: Option<&str>) -> (Choice, bool) {
    let default = Choice { engine: Engine::Epoll, why: "the default" };
    let why = "CAYENNE_IO says so";
    match asked {
        None | Some("") => (default, true),
        Some("uring") => (Choice { engine: Engine::Uring, why }, true),
        Some("epoll") => (Choice { engine: Engine::Epoll, why }, true),
        Some(_) => (default, false),
    }
}

/// Why io_uring is not to be had, for who has to change it.
fn reason(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    let is = |e: Errno| error.raw_os_error() == Some(e.raw_os_error());
    if is(Errno::PERM) || is(Errno::ACCESS) {
        "is forbidden (by a sandbox, or by sysctl kernel.io_uring_disabled)"
    } else if is(Errno::NOSYS) {
        "does not exist (in this kernel, or a sandbox hides it)"
    } else if is(Errno::INVAL) {
        "cannot do enough (it takes Linux 5.19)"
    } else if is(Errno::NOMEM) {
        "gets no memory (RLIMIT_MEMLOCK, ulimit -l, counts before Linux 5.12)"
    } else {
        "cannot be used"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_chooses_and_nonsense_is_the_default() {
        assert_eq!(choose(Some("uring")).0.engine, Engine::Uring);
        assert_eq!(choose(Some("epoll")).0.engine, Engine::Epoll);
        assert_eq!(choose(Some("select")), (choose(None).0, false));
        assert_eq!(choose(Some("")), (choose(None).0, true));
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        let of = |e: rustix::io::Errno| reason(&io::Error::from(e));
        assert!(of(rustix::io::Errno::PERM).contains("io_uring_disabled"));
        assert!(of(rustix::io::Errno::NOMEM).contains("MEMLOCK"));
        assert_eq!(of(rustix::io::Errno::MFILE), "cannot be used");
    }
}

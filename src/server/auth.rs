//! Asking SASL mechanisms (threads `spice-auth-K`), so that neither the door nor the host waits for them: a password check may
//! take a file, a daemon and seconds.
//!
//! An authenticator belongs to one connection. It travels with each question to a thread and comes back with the answer,
//! so its calls follow each other by construction, and whoever holds it has it alone.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::link::sasl::{Authenticator, SaslAnswer, SaslAsk, SaslRefused};
use crate::observe::RateLimit;
use crate::sys::sasl::{Context, Error, LogLevel, Peer, Progress};
use crate::sys::thread::spawn;
use crate::transport::connection::Connection;
use crate::transport::sasl::SaslLayer;

/// Threads that ask. One that hangs in a daemon leaves the others.
const THREADS: usize = 4;
/// Questions that wait for a thread; each connection at the door has one at most, but those that left leave theirs behind.
const QUEUE: usize = 256;
/// How long the end of the server waits for a thread that is in a mechanism.
const END_TIME: Duration = Duration::from_secs(2);
/// Strength of a TLS cipher as mechanisms are told: none that is served has fewer bits.
const TLS_BITS: u32 = 128;

static LIBRARY_LINES: RateLimit = RateLimit::new();
static LIBRARY_NOTES: RateLimit = RateLimit::new();
static LOGINS: RateLimit = RateLimit::new();

/// Numbers of Cyrus SASL that mean what they say, here and in `sasl/sasl.h`.
const BAD_AUTH: i32 = -13;
const NO_USER: i32 = -20;

/// One question.
struct Job<K, A> {
    key: K,
    /// Nobody waits for the answer once this is gone.
    alive: Weak<()>,
    by: Box<A>,
    ask: SaslAsk,
}

/// Who may be asked on behalf of connections that `K` names.
#[derive(Debug)]
pub struct AuthPool<K, A> {
    jobs: Sender<Job<K, A>>,
    /// Closed when every thread has ended.
    ended: Receiver<Infallible>,
    threads: Vec<JoinHandle<()>>,
}

impl<K: Send + 'static, A: Authenticator + 'static> AuthPool<K, A> {
    /// Starts the threads. `answer` gets each authenticator back, on one of them.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        answer: impl Fn(K, Box<A>, SaslAnswer) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = bounded(QUEUE);
        let (end, ended) = bounded(0);
        let answer = Arc::new(answer);
        let mut threads = Vec::new();
        for number in 0..THREADS {
            let (queue, end, answer) = (queue.clone(), end.clone(), Arc::clone(&answer));
            threads.push(spawn(&format!("spice-auth-{number}"), move || {
                work(&queue, &*answer);
                drop(end);
            })?);
        }
        Ok(Self { jobs, ended, threads })
    }

    /// Has a question asked; the answer comes by itself unless `alive` is dropped before its turn.
    ///
    /// # Errors
    /// Too many questions wait.
    pub fn ask(
        &self,
        key: K,
        alive: &Arc<()>,
        by: Box<A>,
        ask: SaslAsk,
    ) -> Result<(), SaslRefused> {
        let job = Job { key, alive: Arc::downgrade(alive), by, ask };
        self.jobs.try_send(job).map_err(|_| SaslRefused::Busy)
    }

    /// Ends the threads. One that a mechanism does not let go ends later, by itself.
    pub fn stop(self) {
        drop(self.jobs);
        if self.ended.recv_timeout(END_TIME) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a SASL mechanism does not return; its thread is left behind");
            return;
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread for SASL had panicked");
            }
        }
    }
}

fn work<K, A: Authenticator>(queue: &Receiver<Job<K, A>>, answer: &dyn Fn(K, Box<A>, SaslAnswer)) {
    while let Ok(Job { key, alive, mut by, ask }) = queue.recv() {
        if alive.upgrade().is_none() {
            continue;
        }
        let said = catch_unwind(AssertUnwindSafe(|| ask.carry_out(&mut *by)));
        answer(key, by, said.unwrap_or(SaslAnswer::Failed(SaslRefused::Busy)));
    }
}

/// The server's side of a connection in Cyrus SASL.
#[derive(Debug)]
pub struct Cyrus {
    peer: Peer,
    /// For the log.
    name: String,
    mechanism: String,
    context: Option<Context>,
}

impl Cyrus {
    /// Costs nothing: the library is asked later, on the other threads.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        let external_ssf = if connection.tls { TLS_BITS } else { 0 };
        let ip = |address: &Option<rustix::net::SocketAddrAny>| {
            address.clone().and_then(|a| std::net::SocketAddr::try_from(a).ok())
        };
        // The reference gives a name in the place of unix addresses, which the library refuses: no SASL there.
        let peer =
            Peer { local: ip(&connection.local), remote: ip(&connection.peer), external_ssf };
        Self { peer, name: connection.peer_name(), mechanism: String::new(), context: None }
    }

    /// After the peer was let in: the mechanism's security layer, if it has one.
    #[must_use]
    pub fn into_layer(self) -> Option<SaslLayer> {
        let mut context = self.context?;
        if context.ssf() == 0 {
            return None;
        }
        let most = context.max_out();
        Some(SaslLayer::new(Box::new(context), most))
    }

    fn refused(&self, error: &Error) -> SaslRefused {
        tracing::debug!(peer = self.name, mechanism = self.mechanism, "SASL: {error}");
        match error.code {
            BAD_AUTH => SaslRefused::Wrong,
            NO_USER => SaslRefused::NoUser,
            code => SaslRefused::Code(code),
        }
    }

    /// What is said to a step, after the layer was looked at.
    fn answer(&mut self, said: Result<Progress, Error>) -> Result<SaslAnswer, SaslRefused> {
        let data = match said {
            Err(error) => return Err(self.refused(&error)),
            Ok(Progress::Continue(data)) => return Ok(SaslAnswer::Continue(data)),
            Ok(Progress::Done(data)) => data,
        };
        let Some(context) = &mut self.context else { return Err(SaslRefused::Busy) };
        let ssf = context.ssf();
        if LOGINS.allow() {
            let user = context.user().unwrap_or_default();
            tracing::info!(peer = self.name, user, mechanism = self.mechanism, ssf, "SASL login");
        }
        Ok(SaslAnswer::Done { data, safe: self.peer.external_ssf > 0 || ssf >= Context::MIN_SSF })
    }
}

impl Authenticator for Cyrus {
    fn mechanisms(&mut self) -> Result<String, SaslRefused> {
        let made = Context::new(&self.peer).and_then(|mut context| {
            let list = context.mechanisms()?;
            self.context = Some(context);
            Ok(list)
        });
        made.map_err(|error| {
            if LIBRARY_LINES.allow() {
                tracing::warn!(peer = self.name, "SASL: {error}");
            }
            SaslRefused::NoMechanism
        })
    }

    fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        mechanism.clone_into(&mut self.mechanism);
        let Some(context) = &mut self.context else { return Err(SaslRefused::NoMechanism) };
        let said = context.start(mechanism, data);
        self.answer(said)
    }

    fn step(&mut self, data: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
        let Some(context) = &mut self.context else { return Err(SaslRefused::NoMechanism) };
        let said = context.step(data);
        self.answer(said)
    }
}

/// Where the library's own lines go. They may quote peers.
pub fn log_line(level: LogLevel, text: &str) {
    match level {
        LogLevel::Warning if LIBRARY_LINES.allow() => tracing::warn!("SASL: {text}"),
        LogLevel::Note if LIBRARY_NOTES.allow() => tracing::info!("SASL: {text}"),
        _ => tracing::debug!("SASL: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Answers a start when it is let, other questions at once.
    struct Slow(Receiver<()>);

    impl Authenticator for Slow {
        fn mechanisms(&mut self) -> Result<String, SaslRefused> {
            Ok(",SLOW,".to_owned())
        }
        fn start(&mut self, _: &str, _: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
            let _ = self.0.recv();
            Ok(SaslAnswer::Done { data: None, safe: true })
        }
        fn step(&mut self, _: Option<&[u8]>) -> Result<SaslAnswer, SaslRefused> {
            panic!("as a mechanism of ours would");
        }
    }

    type Answers = Receiver<(u32, SaslAnswer)>;

    fn pool() -> (AuthPool<u32, Slow>, Answers) {
        let (tx, rx) = unbounded();
        let answer = move |key, _, answer| tx.send((key, answer)).unwrap();
        (AuthPool::start(answer).unwrap(), rx)
    }

    fn start() -> SaslAsk {
        SaslAsk::Start { mechanism: "SLOW".to_owned(), data: None }
    }

    #[test]
    fn a_slow_mechanism_leaves_others_alone_and_panics_answer() {
        let (pool, answers) = pool();
        let (go, wait) = bounded(0);
        let alive = Arc::new(());
        for key in 0..3 {
            pool.ask(key, &alive, Box::new(Slow(wait.clone())), start()).unwrap();
        }
        let ask = SaslAsk::Mechanisms;
        pool.ask(10, &alive, Box::new(Slow(wait.clone())), ask).unwrap();
        let list = SaslAnswer::Mechanisms(",SLOW,".to_owned());
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), (10, list));
        pool.ask(11, &alive, Box::new(Slow(wait)), SaslAsk::Step { data: None }).unwrap();
        let busy = SaslAnswer::Failed(SaslRefused::Busy);
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), (11, busy));
        drop(go);
        let mut keys: Vec<u32> =
            (0..3).map(|_| answers.recv_timeout(PATIENCE).unwrap().0).collect();
        keys.sort_unstable();
        assert_eq!(keys, [0, 1, 2]);
        pool.stop();
    }

    #[test]
    fn questions_of_those_who_left_are_not_asked_and_too_many_are_refused() {
        let (pool, answers) = pool();
        let (go, wait) = bounded::<()>(0);
        let (here, left) = (Arc::new(()), Arc::new(()));
        let slow = || Box::new(Slow(wait.clone()));
        // Every thread has one, and the queue is full behind them.
        let mut asked = 0;
        let refused = loop {
            if let Err(refused) = pool.ask(asked, &here, slow(), start()) {
                break refused;
            }
            asked += 1;
            assert!(asked < 1000, "the queue has an end");
        };
        assert_eq!(refused, SaslRefused::Busy);
        drop(here);
        drop(go);
        // Those that were in work answer; the others are dropped, and then there is room again.
        loop {
            match pool.ask(5000, &left, slow(), SaslAsk::Mechanisms) {
                Ok(()) => break,
                Err(_) => std::thread::yield_now(),
            }
        }
        let mut seen = 0;
        while answers.recv_timeout(PATIENCE).unwrap().0 != 5000 {
            seen += 1;
        }
        assert!(seen <= THREADS, "{seen} of {asked}");
        pool.stop();
    }

    #[test]
    fn the_end_does_not_wait_for_a_mechanism_that_hangs() {
        let (pool, answers) = pool();
        let (go, wait) = bounded(0);
        let alive = Arc::new(());
        pool.ask(1, &alive, Box::new(Slow(wait)), start()).unwrap();
        pool.stop();
        drop(go);
        assert!(answers.recv_timeout(PATIENCE).is_ok());
    }
}

//! The encode workers, threads `spice-enc-K`, shared by all displays of all servers of the process.
//!
//! A display has a [`Source`]: a bounded queue of jobs. Workers take one job of each source in
//! turn, so a busy display does not keep the others waiting. A job's result stays in its
//! [`Promise`]; a job whose promise nobody holds any more is not done.
//! No job holds a lock, waits for anything or touches guest memory.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;

use crossbeam_queue::ArrayQueue;

use crate::observe::RateLimit;
use crate::protocol::blocks;
use crate::sys::thread::{OwnScheduling, Scheduling, spawn};

use super::Scratch;

/// Jobs that wait in one source; beyond, the display does them itself.
const QUEUE: usize = 64;
/// Most threads that can be asked for.
pub const MAX_THREADS: usize = 64;

static FAILED: RateLimit = RateLimit::new();

/// The process's pool, while somebody uses it.
static POOL: Mutex<Weak<Pool>> = Mutex::new(Weak::new());
/// Threads that were asked for; 0: nobody asked.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// How the threads are to run, and how often that was changed.
static SCHEDULING: Mutex<(u32, Option<Scheduling>)> = Mutex::new((0, None));
/// Its first part, for a glance.
static CHANGES: AtomicU32 = AtomicU32::new(0);
/// Threads if nobody asks.
static DEFAULT: OnceLock<usize> = OnceLock::new();

/// The threads. They end, and are waited for, when nobody uses the pool any more.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    sources: RwLock<Vec<Arc<Queue>>>,
    /// Whose turn it is.
    turn: AtomicUsize,
    /// Counts what workers may have to look at.
    events: AtomicUsize,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
    /// Threads with a number from here on end.
    threads: AtomicUsize,
    stop: AtomicBool,
}

/// How many threads the pool has, from now on; 0: as many as there are processors but one, at
/// least one. At most [`MAX_THREADS`].
pub fn set_threads(count: usize) {
    WANTED.store(count.min(MAX_THREADS), Ordering::Relaxed);
    let pool = POOL.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    if let Some(pool) = pool {
        pool.adjust();
    }
}

/// How the threads run, from now on; each takes it over by itself.
pub fn set_scheduling(scheduling: Scheduling) {
    let mut current = SCHEDULING.lock().unwrap_or_else(PoisonError::into_inner);
    *current = (current.0.wrapping_add(1), Some(scheduling));
    CHANGES.store(current.0, Ordering::SeqCst);
    drop(current);
    let pool = POOL.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    if let Some(pool) = pool {
        pool.shared.stir(true);
    }
}

/// Jobs that wait for a worker now, of all displays of the process.
#[must_use]
pub fn waiting() -> usize {
    let pool = POOL.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let Some(pool) = pool else { return 0 };
    let sources = pool.shared.sources.read().unwrap_or_else(PoisonError::into_inner);
    sources.iter().map(|queue| queue.jobs.len()).sum()
}

/// Takes over how the calling worker is to run, if that has changed since `seen`.
fn take_scheduling(seen: &mut u32, own: &mut OwnScheduling) {
    if CHANGES.load(Ordering::SeqCst) == *seen {
        return;
    }
    let (changes, wanted) = SCHEDULING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    *seen = changes;
    for (what, error) in own.apply(&wanted.unwrap_or_default()) {
        tracing::warn!(%error, "the {what} that was set for this thread cannot be had");
    }
}

/// Threads that the pool has, or will have.
#[must_use]
pub fn threads() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        0 => *DEFAULT.get_or_init(default_threads),
        count => count,
    }
}

/// What the environment says, or as many as there are processors but one.
fn default_threads() -> usize {
    let said = std::env::var("CAYENNE_ENCODER_THREADS").ok();
    if let Some(said) = said {
        match said.parse() {
            Ok(count @ 1..=MAX_THREADS) => return count,
            _ => tracing::warn!("CAYENNE_ENCODER_THREADS is not a number from 1 to {MAX_THREADS}"),
        }
    }
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

/// The process's pool; its threads are started if they are not there.
#[must_use]
pub fn pool() -> Arc<Pool> {
    let mut known = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = known.upgrade() {
        return pool;
    }
    let pool = Arc::new(Pool { shared: Arc::default(), threads: Mutex::default() });
    *known = Arc::downgrade(&pool);
    drop(known);
    pool.adjust();
    pool
}

impl Pool {
    /// Starts missing threads, and lets surplus ones end.
    fn adjust(&self) {
        let mut started = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = threads();
        self.shared.threads.store(wanted, Ordering::SeqCst);
        self.shared.stir(true);
        started.retain(|thread| !thread.is_finished());
        let have: Vec<usize> = started.iter().filter_map(number_of).collect();
        for number in (0..wanted).filter(|number| !have.contains(number)) {
            let shared = Arc::clone(&self.shared);
            match spawn(&format!("spice-enc-{number}"), move || shared.work(number)) {
                Ok(thread) => started.push(thread),
                // Without any thread displays do everything themselves.
                Err(error) => tracing::warn!(%error, "an encode worker could not be started"),
            }
        }
    }

    /// A queue of its own; `notify` is called, on a worker, after each of its jobs.
    #[must_use]
    pub fn source(self: &Arc<Self>, notify: impl Fn() + Send + Sync + 'static) -> Source {
        let queue = Arc::new(Queue { jobs: ArrayQueue::new(QUEUE), notify: Box::new(notify) });
        let mut sources = self.shared.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.push(Arc::clone(&queue));
        Source { queue, pool: Arc::clone(self) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.stir(true);
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A worker that panicked outside a job has nothing left to do either.
            let _ = thread.join();
        }
    }
}

fn number_of(thread: &JoinHandle<()>) -> Option<usize> {
    thread.thread().name()?.rsplit('-').next()?.parse().ok()
}

impl Shared {
    /// Makes one sleeping worker look again, or all of them.
    fn stir(&self, all: bool) {
        self.events.fetch_add(1, Ordering::SeqCst);
        // SeqCst on both sides: either the worker sees the event before it sleeps, or we see it sleep.
        if self.sleepers.load(Ordering::SeqCst) == 0 {
            return;
        }
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if all { self.wake.notify_all() } else { self.wake.notify_one() }
    }

    fn work(&self, number: usize) {
        let mut scratch = Scratch::default();
        let (mut scheduling, mut own) = (0, OwnScheduling::default());
        loop {
            let seen = self.events.load(Ordering::SeqCst);
            let ends = || {
                self.stop.load(Ordering::SeqCst) || number >= self.threads.load(Ordering::SeqCst)
            };
            if ends() {
                return;
            }
            take_scheduling(&mut scheduling, &mut own);
            if let Some((job, queue)) = self.take() {
                job.run(&mut scratch);
                drop(job);
                (queue.notify)();
                continue;
            }
            // An idle process need not keep what large images took.
            scratch.trim();
            blocks::release();
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            while self.events.load(Ordering::SeqCst) == seen && !ends() {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The next job that somebody still waits for, of the source whose turn it is.
    fn take(&self) -> Option<(Arc<dyn Job>, Arc<Queue>)> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for step in 0..sources.len() {
            let queue = sources.get(first.wrapping_add(step) % sources.len())?;
            while let Some(job) = queue.jobs.pop() {
                if let Some(job) = job.upgrade() {
                    return Some((job, Arc::clone(queue)));
                }
            }
        }
        None
    }
}

struct Queue {
    jobs: ArrayQueue<Weak<dyn Job>>,
    notify: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}

/// A display's way to the workers.
#[derive(Debug)]
pub struct Source {
    queue: Arc<Queue>,
    pool: Arc<Pool>,
}

impl Source {
    /// Gives a job to the workers.
    ///
    /// # Errors
    /// Hands it back if very many wait: the caller does it, which is what keeps it back.
    pub fn submit<T, W>(&self, work: W) -> Result<Promise<T>, W>
    where
        T: Send + Sync + 'static,
        W: FnOnce(&mut Scratch) -> T + Send + 'static,
    {
        // Only this thread adds, so what has room now has room below.
        if self.queue.jobs.is_full() {
            return Err(work);
        }
        let task =
            Arc::new(Task { work: Mutex::new(Some(Box::new(work))), result: OnceLock::new() });
        let job: Arc<dyn Job> = Arc::clone(&task) as Arc<dyn Job>;
        // If it were lost all the same, whoever holds the promise can still do it.
        let _ = self.queue.jobs.push(Arc::downgrade(&job));
        self.pool.shared.stir(false);
        Ok(Promise(task))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let shared = &self.pool.shared;
        let mut sources = shared.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
    }
}

/// Does some work; `None` if it panicked, which ends there. The scratch memory is fresh then.
pub fn guarded<R>(scratch: &mut Scratch, work: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
    let result = catch_unwind(AssertUnwindSafe(|| work(scratch))).ok();
    if result.is_none() {
        // It may be half-changed.
        *scratch = Scratch::default();
        if FAILED.allow() {
            tracing::error!("internal error while an image was encoded");
        }
    }
    result
}

trait Job: Send + Sync {
    /// False if somebody else did it, or does.
    fn run(&self, scratch: &mut Scratch) -> bool;
}

type Work<T> = Box<dyn FnOnce(&mut Scratch) -> T + Send>;

struct Task<T> {
    /// Whoever takes it does it.
    work: Mutex<Option<Work<T>>>,
    /// `None` inside: it panicked.
    result: OnceLock<Option<T>>,
}

impl<T: Send + Sync> Job for Task<T> {
    fn run(&self, scratch: &mut Scratch) -> bool {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(work) = work else { return false };
        // Only who took the work comes here.
        let _ = self.result.set(guarded(scratch, work));
        true
    }
}

/// The result of a job, once there is one.
pub struct Promise<T>(Arc<Task<T>>);

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<T> {
    /// Not done yet.
    Working,
    /// Done.
    Done(T),
    /// It will never be done.
    Failed,
}

impl<T: Send + Sync> Promise<T> {
    /// What has become of the job.
    #[must_use]
    pub fn progress(&self) -> Progress<&T> {
        match self.0.result.get() {
            None => Progress::Working,
            Some(Some(result)) => Progress::Done(result),
            Some(None) => Progress::Failed,
        }
    }

    /// Does the job here, unless a worker has begun it; false then.
    pub fn help(&self, scratch: &mut Scratch) -> bool {
        self.0.run(scratch)
    }
}

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("done", &self.0.result.get().is_some()).finish()
    }
}

#[cfg(test)]
mod tests;

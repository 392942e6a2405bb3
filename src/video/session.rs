//! Encoders whose frames build on each other, shared by the clients of a display.
//!
//! A [`Session`] is one encoder with a thread of its own, `spice-film`, because an encoder of GStreamer is waited for, which
//! no worker and no channel may do. Its frames are a *chain*: a client can use one if it has the one before, or if it is a
//! key frame. Clients that take every frame share a session. One that comes late or has missed a frame makes the next
//! one a key frame; who misses frames again and again, or whose link carries much less than those of the others, gets a session of
//! its own, so that the others need not suffer.
//!
//! No wait is without an end: a frame that is not there in time ends the session, and its clients choose another encoder.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::pool::workers::Progress;
use crate::protocol::message::Bulk;
use crate::sys::thread::spawn;

use super::codecs::{Choice, Codec};
use super::detect::StreamKey;
use super::encode::{Encoder, Encoding, Wish};
use super::frame::{Frame, Pixels};
use super::gstreamer;

/// Longest wait for one frame. What else goes to a client waits behind it.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait until an encoder has begun.
const OPENING: Duration = Duration::from_secs(15);
/// Frames that wait for an encoder.
const QUEUE: usize = 2;
/// Frames of a session that a client may still ask for.
const RECENT: usize = 4;
/// Sessions of the process.
const MOST: usize = 16;
/// Time between two key frames that a client which missed frames costs the others.
const KEYS_APART: Duration = Duration::from_secs(2);
/// Longest wait for sessions to end, when a display does.
const GOODBYE: Duration = Duration::from_millis(500);

/// Sessions that have a thread now.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// What encodes, on the session's thread.
pub trait Codes {
    /// Encodes a picture; `time`: microseconds, ever more. The frame, and whether it is a key frame; `None`: it is broken.
    fn encode(&mut self, pixels: &Pixels, time: u64, key: bool) -> Option<(Bulk, bool)>;
    /// Bits per second and quality from the next picture on.
    fn set_rate(&mut self, rate: u64, quality: u8);
}

/// What an encoder has to be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The stream.
    pub stream: StreamKey,
    /// What is to come out.
    pub codec: Codec,
    /// Width and height.
    pub size: (u32, u32),
    /// Bits of a pixel.
    pub bits: u32,
}

/// Makes an encoder, on the session's thread; `None` if that is not possible.
pub type Open = Arc<dyn Fn(&Order, Wish) -> Option<Box<dyn Codes>> + Send + Sync>;

/// How a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Ready,
    Broken,
}

/// What a session's thread and its clients share.
#[derive(Debug)]
struct State {
    phase: AtomicU8,
    /// Its thread did not come back in time.
    stuck: AtomicBool,
}

impl State {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Opening,
            1 => Phase::Ready,
            _ => Phase::Broken,
        }
    }

    fn is_ready(&self) {
        // It may have been given up meanwhile.
        let _ = self.phase.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
    }

    fn is_broken(&self) {
        self.phase.store(2, Ordering::Release);
    }

    fn give_up(&self) {
        self.is_broken();
        if !self.stuck.swap(true, Ordering::AcqRel) {
            gstreamer::stuck();
        }
    }
}

/// A frame that a session has in work, or done.
#[derive(Debug, Clone)]
pub struct Ticket(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    /// `None` inside: there is none.
    result: OnceLock<Option<Bulk>>,
    due: Instant,
    state: Arc<State>,
}

impl Ticket {
    /// The frame; one that is not there when it is due counts as failed, and its session as broken.
    pub(super) fn look(&self) -> Progress<Bulk> {
        match self.0.result.get() {
            Some(Some(frame)) => Progress::Done(frame.clone()),
            Some(None) => Progress::Failed,
            None if Instant::now() >= self.0.due => {
                self.0.state.give_up();
                Progress::Failed
            }
            None => Progress::Working,
        }
    }

    /// When it fails at the latest.
    pub(super) fn due(&self) -> Instant {
        self.0.due
    }
}

struct Job {
    pixels: Pixels,
    key: bool,
    at: Instant,
    wish: Wish,
    slot: Arc<Slot>,
}

/// Whatever becomes of it, nobody waits for a frame that will not come.
impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.slot.result.set(None);
    }
}

/// An encoder with its thread.
struct Session {
    order: Order,
    begun: Instant,
    state: Arc<State>,
    jobs: SyncSender<Job>,
    chain: Mutex<Chain>,
}

/// The frames of a session. Only display-N looks at it.
#[derive(Debug, Default)]
struct Chain {
    /// Others may join.
    shared: bool,
    next: u64,
    /// The last frames, oldest first.
    recent: VecDeque<Made>,
    key_wanted: bool,
    key_at: Option<Instant>,
    /// Clients, and what each wishes.
    members: Vec<(u64, Wish)>,
    next_member: u64,
}

#[derive(Debug)]
struct Made {
    /// When the guest gave the picture: no two are given at once.
    at: Instant,
    number: u64,
    key: bool,
    encoding: Encoding,
}

/// The sessions of a display.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    open: Open,
    notify: Arc<dyn Fn() + Send + Sync>,
    list: Mutex<Vec<Weak<Session>>>,
    running: Arc<(Mutex<usize>, Condvar)>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// None yet. `notify` is called on a session's thread when a frame is done.
    #[must_use]
    pub fn new(open: Open, notify: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self(Arc::new(Inner { open, notify, list: Mutex::default(), running: Arc::default() }))
    }

    /// An encoder for one client and one stream; its session begins with its first frame.
    #[must_use]
    pub fn encoder(&self, choice: Choice) -> Box<dyn Encoder> {
        let sessions = self.clone();
        Box::new(Live { sessions, codec: choice.codec, member: None, alone: false, broken: false })
    }

    /// Takes part in a session of this kind, which begins if there is none; `None` if that is not possible.
    fn join(&self, order: Order, wish: Wish, alone: bool) -> Option<Member> {
        let mut list = lock(&self.0.list);
        list.retain(|session| session.strong_count() > 0);
        let known = list.iter().filter_map(Weak::upgrade).find(|session| {
            let usable = session.order == order && session.state.phase() != Phase::Broken;
            !alone && usable && lock(&session.chain).shared
        });
        let session = match known {
            Some(session) => session,
            None => {
                let session = Arc::new(self.begin(order, wish, !alone)?);
                list.push(Arc::downgrade(&session));
                session
            }
        };
        let mut chain = lock(&session.chain);
        let id = chain.next_member;
        chain.next_member += 1;
        chain.members.push((id, wish));
        drop(chain);
        Some(Member { session, id, has: None })
    }

    fn begin(&self, order: Order, wish: Wish, shared: bool) -> Option<Session> {
        let place = Place::take(&self.0.running)?;
        let (jobs, receiver) = sync_channel(QUEUE);
        let state = Arc::new(State { phase: AtomicU8::new(0), stuck: AtomicBool::new(false) });
        let (its, open) = (Arc::clone(&state), Arc::clone(&self.0.open));
        let notify = Arc::clone(&self.0.notify);
        let work = move || {
            encode_all(&order, wish, &open, &receiver, &its, &*notify);
            drop(place);
        };
        if let Err(error) = spawn("spice-film", work) {
            tracing::warn!(%error, "an encoder cannot have a thread");
            return None;
        }
        let chain = Mutex::new(Chain { shared, ..Chain::default() });
        Some(Session { order, begun: Instant::now(), state, jobs, chain })
    }
}

/// Coders of GStreamer run code that ends with the process: their threads are waited for, not too long.
impl Drop for Inner {
    fn drop(&mut self) {
        let (count, ended) = &*self.running;
        let count = lock(count);
        let _ = ended.wait_timeout_while(count, GOODBYE, |count| *count > 0);
    }
}

/// A session's place among those of the process and of its display.
struct Place(Arc<(Mutex<usize>, Condvar)>);

impl Place {
    fn take(running: &Arc<(Mutex<usize>, Condvar)>) -> Option<Self> {
        let room = |count| (count < MOST).then_some(count + 1);
        RUNNING.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        *lock(&running.0) += 1;
        Some(Self(Arc::clone(running)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        *lock(&self.0.0) -= 1;
        self.0.1.notify_all();
    }
}

/// A session's thread.
fn encode_all(
    order: &Order,
    wish: Wish,
    open: &Open,
    jobs: &Receiver<Job>,
    state: &State,
    notify: &(dyn Fn() + Send + Sync),
) {
    if let Some(mut coder) = open(order, wish) {
        state.is_ready();
        let (mut set, mut last) = (wish, 0);
        let begun = Instant::now();
        while let Ok(job) = jobs.recv() {
            if is_other(set, job.wish) {
                set = job.wish;
                coder.set_rate(set.rate, set.quality);
            }
            // Pictures that waited have their own times; the first one may be from before the coder was there.
            let time = job.at.saturating_duration_since(begun).as_micros();
            last = u64::try_from(time).unwrap_or(u64::MAX).max(last + 1000);
            let made = coder.encode(&job.pixels, last, job.key);
            let chained = order.codec.is_chained();
            let frame = made.filter(|(_, key)| *key || !job.key || !chained).map(|made| made.0);
            let failed = frame.is_none();
            // The thread's own and only setting of it.
            let _ = job.slot.result.set(frame);
            if failed {
                state.is_broken();
            }
            notify();
            if failed {
                break;
            }
        }
    }
    state.is_broken();
    if state.stuck.load(Ordering::Acquire) {
        gstreamer::unstuck();
    }
}

/// A rate that differs by a few percent is the same one.
fn is_other(set: Wish, wish: Wish) -> bool {
    set.quality != wish.quality || set.rate.abs_diff(wish.rate) > set.rate / 32
}

/// A client's part in a session.
struct Member {
    session: Arc<Session>,
    id: u64,
    /// The frame of the chain that it was given last, if the chain goes on from there.
    has: Option<u64>,
}

/// What a client gets.
enum Share {
    Frame(Encoding),
    /// Nothing this time.
    Nothing,
    /// It should have a session of its own.
    Alone,
}

impl Member {
    fn next(&mut self, frame: &Frame, wish: Wish) -> Share {
        let session = Arc::clone(&self.session);
        let mut chain = lock(&session.chain);
        if let Some(mine) = chain.members.iter_mut().find(|(id, _)| *id == self.id) {
            mine.1 = wish;
        }
        let mut others = chain.members.iter().filter(|(id, _)| *id != self.id);
        let slowest = others.clone().map(|(_, wish)| wish.rate).min();
        if slowest.is_some_and(|rate| wish.rate < rate / 2) {
            return Share::Alone;
        }
        let has_others = others.next().is_some();
        if let Some(made) = chain.recent.iter().find(|made| made.at == frame.at) {
            let usable = made.key || self.has.is_some_and(|has| has + 1 == made.number);
            let (number, encoding) = (made.number, made.encoding.clone());
            self.has = usable.then_some(number);
            chain.key_wanted |= !usable;
            return if usable { Share::Frame(encoding) } else { Share::Nothing };
        }
        if chain.recent.back().is_some_and(|made| made.at > frame.at) {
            // The others are further already, and this one cannot be put between.
            self.has = None;
            chain.key_wanted = true;
            return Share::Nothing;
        }
        let now = Instant::now();
        let goes_on = self.has.is_some_and(|has| has + 1 == chain.next);
        let missed = !goes_on && self.has.is_some();
        let recent = |at: Instant| now.saturating_duration_since(at) < KEYS_APART;
        if missed && has_others && chain.key_at.is_some_and(recent) {
            return Share::Alone;
        }
        let chained = session.order.codec.is_chained();
        let key = !chained || chain.next == 0 || chain.key_wanted || !goes_on;
        let wish = chain.wish().unwrap_or(wish);
        let Some(encoding) = session.begin(frame, key, wish) else {
            // With so much in work this one is late anyway; nobody has missed anything.
            return Share::Nothing;
        };
        if key {
            (chain.key_wanted, chain.key_at) = (false, Some(now));
        }
        let number = chain.next;
        chain.next += 1;
        if chain.recent.len() >= RECENT {
            chain.recent.pop_front();
        }
        chain.recent.push_back(Made { at: frame.at, number, key, encoding: encoding.clone() });
        self.has = Some(number);
        Share::Frame(encoding)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.session.chain).members.retain(|(id, _)| *id != self.id);
    }
}

impl Chain {
    /// What all clients can have.
    fn wish(&self) -> Option<Wish> {
        let rate = self.members.iter().map(|(_, wish)| wish.rate).min()?;
        let quality = self.members.iter().map(|(_, wish)| wish.quality).min()?;
        Some(Wish { quality, rate })
    }
}

impl Session {
    fn begin(&self, frame: &Frame, key: bool, wish: Wish) -> Option<Encoding> {
        let due = Instant::now() + PATIENCE;
        let state = Arc::clone(&self.state);
        let slot = Arc::new(Slot { result: OnceLock::new(), due, state });
        let (pixels, at) = (frame.pixels.clone(), frame.at);
        let job = Job { pixels, key, at, wish, slot: Arc::clone(&slot) };
        self.jobs.try_send(job).ok()?;
        Some(Encoding::of_session(Ticket(slot), frame.pixels.weight()))
    }
}

/// An encoder of one client for one stream.
struct Live {
    /// Goes before `sessions`, whose end waits for those that are left.
    member: Option<Member>,
    sessions: Sessions,
    codec: Codec,
    alone: bool,
    broken: bool,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { codec, alone, broken, .. } = self;
        f.debug_struct("Live")
            .field("codec", codec)
            .field("alone", alone)
            .field("broken", broken)
            .finish()
    }
}

impl Encoder for Live {
    fn codec(&self) -> Codec {
        self.codec
    }

    fn encode(&mut self, frame: &Frame, wish: Wish) -> Option<Encoding> {
        let pixels = &frame.pixels;
        let (stream, size, bits) = (frame.stream, pixels.size(), pixels.bits);
        let order = Order { stream, codec: self.codec, size, bits };
        if self.member.as_ref().is_some_and(|member| member.session.order != order) {
            self.member = None;
        }
        // A second time for who gets a session of its own, which has no frame yet.
        for _ in 0..2 {
            if self.broken {
                return None;
            }
            if self.member.is_none() {
                self.member = self.sessions.join(order, wish, self.alone);
            }
            let Some(member) = &mut self.member else {
                self.broken = true;
                return None;
            };
            match member.session.state.phase() {
                Phase::Opening => {
                    if member.session.begun.elapsed() > OPENING {
                        member.session.state.give_up();
                    }
                    return None;
                }
                Phase::Broken => {
                    self.broken = true;
                    return None;
                }
                Phase::Ready => {}
            }
            match member.next(frame, wish) {
                Share::Frame(encoding) => return Some(encoding),
                Share::Nothing => return None,
                Share::Alone => {
                    self.alone = true;
                    self.member = None;
                }
            }
        }
        None
    }

    fn is_broken(&self) -> bool {
        self.broken
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

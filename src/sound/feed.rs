//! Sound from the guest on its way to the thread `spice-playback`: the buffers that the host fills, and in which order
//! what it did reaches the client.
//!
//! A buffer belongs to whoever has the box: the host (as an address, see `abi::audio`), the queue, or the free list. So
//! one that comes back late, after its client has gone or the next one has come, is just freed.
//!
//! Buffers and changes stand in one queue: a client hears all that was played before a stop, and nothing twice. The
//! lock is held to move pointers; the host never waits for the encoder or a socket.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::state::{CHANGES_LIMIT, Change, State};
use super::{FRAME_SAMPLES, Frame, Volume};

/// Buffers that the host may hold at a time, as in the reference.
pub const LENT_LIMIT: usize = 3;
/// Buffers that wait for the thread: a host that was held up plays what it has in one go, up to half a second.
pub const QUEUE_LIMIT: usize = 48;
/// A buffer that has waited for longer than this is dropped: its client does not read, and sound that comes late makes
/// all that follows late. Shorter, and clients on busy machines would lose sound that they can still use.
pub const LATE: Duration = Duration::from_millis(300);

/// A buffer that the host has.
#[derive(Debug)]
pub struct Lent {
    /// To be filled.
    pub frame: Box<Frame>,
    /// Whose it is.
    ticket: Ticket,
}

/// What a buffer was handed out for; needed to give it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Number of the client.
    listener: u64,
}

impl Lent {
    /// The buffer and its ticket, for a host that knows addresses only.
    #[must_use]
    pub fn into_parts(self) -> (Box<Frame>, Ticket) {
        (self.frame, self.ticket)
    }

    /// The same together again.
    #[must_use]
    pub fn new(frame: Box<Frame>, ticket: Ticket) -> Self {
        Self { frame, ticket }
    }
}

/// What the thread has to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Send this buffer; give it back with [`Feed::recycle`].
    Frame {
        /// The sound.
        frame: Box<Frame>,
        /// When the host played it, ms of the media clock.
        time: u32,
    },
    /// Tell the client of this.
    Change(Change),
    /// Changes were dropped: tell the client how things stand.
    Resync(State),
}

#[derive(Debug)]
enum Item {
    Frame { frame: Box<Frame>, at: Instant, time: u32 },
    Change(Change),
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// Number of the client that is here; 0: nobody is.
    listener: u64,
    /// Number of the last client.
    last: u64,
    /// Buffers of this client in the host's hands.
    lent: usize,
    #[expect(
        clippy::vec_box,
        reason = "the boxes themselves change hands: the host knows their addresses"
    )]
    free: Vec<Box<Frame>>,
    queue: VecDeque<Item>,
    /// Frames in the queue.
    frames: usize,
    resync: bool,
    /// Buffers that were dropped for this client.
    dropped: u64,
}

/// The way of sound from the host to the thread. One client at a time.
#[derive(Debug, Default)]
pub struct Feed {
    inner: Mutex<Inner>,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change and queues it for the client. True if the thread has to be poked.
    fn change(&self, make: impl FnOnce(&mut State) -> Option<Change>) -> bool {
        let mut inner = self.lock();
        let Some(change) = make(&mut inner.state) else { return false };
        if inner.listener == 0 {
            return false;
        }
        if inner.queue.len() - inner.frames >= CHANGES_LIMIT {
            // Nobody has read for a while: sound of several starts and stops ago is worth nothing.
            inner.drop_queue();
            inner.resync = true;
        }
        if !inner.resync {
            inner.queue.push_back(Item::Change(change));
        }
        true
    }

    /// The guest plays (or not). True if the thread has to be poked, as for all that follow.
    pub fn set_active(&self, active: bool) -> bool {
        self.change(|state| state.set_active(active))
    }

    /// Sets the clients' volume.
    pub fn set_volume(&self, volume: Volume) -> bool {
        self.change(|state| Some(state.set_volume(volume)))
    }

    /// Silences the clients, or not.
    pub fn set_mute(&self, mute: u8) -> bool {
        self.change(|state| Some(state.set_mute(mute)))
    }

    /// Sets the sample rate in Hz.
    pub fn set_rate(&self, rate: u32) -> bool {
        self.change(|state| state.set_rate(rate))
    }

    /// Allows Opus, or not.
    pub fn set_compression(&self, on: bool) -> bool {
        self.change(|state| state.set_compression(on))
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// A buffer for the host; `None` if nobody listens, the guest does not play, or the host has [`LENT_LIMIT`] of them.
    pub fn take(&self) -> Option<Lent> {
        let mut inner = self.lock();
        if inner.listener == 0 || !inner.state.active || inner.lent >= LENT_LIMIT {
            return None;
        }
        inner.lent += 1;
        let listener = inner.listener;
        let frame = inner.free.pop();
        drop(inner);
        let frame = frame.unwrap_or_else(|| Box::new([0; FRAME_SAMPLES]));
        Some(Lent::new(frame, Ticket { listener }))
    }

    /// Takes a filled buffer back; `time` is that of the media clock in ms. Dropped if its client has gone or the guest
    /// has stopped. True if the thread has to be poked.
    pub fn put(&self, lent: Lent, at: Instant, time: u32) -> bool {
        let (frame, Ticket { listener }) = lent.into_parts();
        let mut inner = self.lock();
        if inner.listener != listener {
            drop(inner);
            return false;
        }
        inner.lent = inner.lent.saturating_sub(1);
        if !inner.state.active || inner.resync {
            inner.keep(frame);
            return false;
        }
        if inner.frames >= QUEUE_LIMIT {
            inner.drop_oldest();
        }
        inner.frames += 1;
        inner.queue.push_back(Item::Frame { frame, at, time });
        true
    }

    /// For the thread: a client has come; what was there for the last one is gone. How things stand now.
    pub fn attach(&self) -> State {
        let mut inner = self.lock();
        inner.last += 1;
        inner.listener = inner.last;
        inner.forget();
        inner.state.clone()
    }

    /// For the thread: the client has gone. How many buffers were dropped for it.
    pub fn detach(&self) -> u64 {
        let mut inner = self.lock();
        inner.listener = 0;
        let dropped = inner.dropped;
        inner.forget();
        dropped
    }

    /// For the thread: what comes next, if anything does.
    pub fn next(&self, now: Instant) -> Option<Due> {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.resync) {
            return Some(Due::Resync(inner.state.clone()));
        }
        loop {
            match inner.queue.pop_front()? {
                Item::Change(change) => return Some(Due::Change(change)),
                Item::Frame { frame, at, time } => {
                    inner.frames -= 1;
                    if now.saturating_duration_since(at) <= LATE {
                        return Some(Due::Frame { frame, time });
                    }
                    inner.dropped += 1;
                    inner.keep(frame);
                }
            }
        }
    }

    /// Buffers that wait, and those that were dropped for the client that is here.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.frames, inner.dropped)
    }

    /// For the thread: a buffer that was sent.
    pub fn recycle(&self, frame: Box<Frame>) {
        self.lock().keep(frame);
    }
}

impl Inner {
    /// Puts a buffer on top of the free ones, if they are not enough.
    fn keep(&mut self, frame: Box<Frame>) {
        if self.free.len() < LENT_LIMIT {
            self.free.push(frame);
        }
    }

    fn drop_oldest(&mut self) {
        let at = self.queue.iter().position(|item| matches!(item, Item::Frame { .. }));
        if let Some(Item::Frame { frame, .. }) = at.and_then(|at| self.queue.remove(at)) {
            self.frames -= 1;
            self.dropped += 1;
            self.keep(frame);
        }
    }

    fn drop_queue(&mut self) {
        self.dropped += u64::try_from(self.frames).unwrap_or(0);
        self.queue.clear();
        self.frames = 0;
    }

    fn forget(&mut self) {
        self.drop_queue();
        (self.lent, self.dropped, self.resync) = (0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playing() -> Feed {
        let feed = Feed::default();
        assert!(!feed.set_active(true), "nobody to tell");
        assert!(feed.attach().active);
        feed
    }

    fn play(feed: &Feed, number: u32, at: Instant) -> bool {
        let mut lent = feed.take().expect("a buffer");
        lent.frame[0] = number;
        feed.put(lent, at, number)
    }

    fn numbers(feed: &Feed, now: Instant) -> Vec<u32> {
        let mut found = Vec::new();
        while let Some(due) = feed.next(now) {
            if let Due::Frame { frame, time } = due {
                assert_eq!(frame[0], time);
                found.push(frame[0]);
                feed.recycle(frame);
            }
        }
        found
    }

    #[test]
    fn a_buffer_is_handed_out_only_while_somebody_listens_and_the_guest_plays() {
        let feed = Feed::default();
        assert!(feed.take().is_none());
        feed.set_active(true);
        assert!(feed.take().is_none(), "nobody listens");
        feed.attach();
        let three: Vec<Lent> = (0..3).map(|_| feed.take().unwrap()).collect();
        assert!(feed.take().is_none(), "the host has three");
        let now = Instant::now();
        for lent in three {
            assert!(feed.put(lent, now, 0));
        }
        assert!(feed.take().is_some());
        assert!(feed.set_active(false));
        assert!(feed.take().is_none());
    }

    #[test]
    fn all_that_is_played_comes_once_and_in_order() {
        let (feed, now) = (playing(), Instant::now());
        for number in 1..=20 {
            assert!(play(&feed, number, now));
        }
        assert_eq!(numbers(&feed, now + LATE), (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_goes_when_too_many_wait_and_late_ones_are_not_sent() {
        let (feed, now) = (playing(), Instant::now());
        for number in 0..100 {
            play(&feed, number, now);
        }
        play(&feed, 100, now + LATE);
        assert_eq!(feed.lock().frames, QUEUE_LIMIT);
        assert_eq!(numbers(&feed, now), (53..=100).collect::<Vec<_>>());
        play(&feed, 1, now);
        play(&feed, 2, now + LATE);
        assert_eq!(numbers(&feed, now + LATE + Duration::from_nanos(1)), [2]);
        assert_eq!(feed.detach(), 54);
    }

    #[test]
    fn changes_stand_between_the_buffers_where_they_were_made() {
        let (feed, now) = (playing(), Instant::now());
        play(&feed, 1, now);
        assert!(feed.set_active(false));
        assert!(!feed.set_active(false), "no change");
        assert!(feed.set_volume(vec![1, 2]));
        assert!(feed.set_active(true));
        play(&feed, 2, now);
        let mut seen = Vec::new();
        while let Some(due) = feed.next(now) {
            seen.push(match due {
                Due::Frame { time, .. } => format!("{time}"),
                Due::Change(change) => format!("{change:?}"),
                Due::Resync(_) => "resync".to_owned(),
            });
        }
        assert_eq!(seen, ["1", "Stop", "Volume([1, 2])", "Start(48000)", "2"]);
    }

    #[test]
    fn a_client_that_reads_nothing_is_told_how_things_stand_in_the_end() {
        let (feed, now) = (playing(), Instant::now());
        for _ in 0..1000 {
            feed.set_active(false);
            feed.set_active(true);
            play(&feed, 1, now);
            assert!(feed.lock().queue.len() <= CHANGES_LIMIT + QUEUE_LIMIT);
        }
        feed.set_mute(1);
        let Some(Due::Resync(state)) = feed.next(now) else { panic!("no resync") };
        assert!(state.active && state.mute == Some(1));
        assert_eq!(feed.next(now), None);
        play(&feed, 5, now);
        assert_eq!(numbers(&feed, now), [5]);
    }

    #[test]
    fn a_buffer_of_a_client_that_has_gone_is_not_the_next_ones() {
        let (feed, now) = (playing(), Instant::now());
        let (old, older) = (feed.take().unwrap(), feed.take().unwrap());
        feed.detach();
        assert!(!feed.put(old, now, 1));
        feed.attach();
        assert!(!feed.put(older, now, 2));
        assert_eq!(feed.lock().lent, 0);
        assert!(play(&feed, 3, now));
        assert_eq!(numbers(&feed, now), [3]);
    }

    #[test]
    fn a_buffer_of_before_the_stop_is_dropped_until_the_guest_plays_again() {
        let (feed, now) = (playing(), Instant::now());
        let (one, other) = (feed.take().unwrap(), feed.take().unwrap());
        feed.set_active(false);
        assert!(!feed.put(one, now, 1));
        feed.set_active(true);
        assert!(feed.put(other, now, 0));
        assert_eq!(feed.lock().lent, 0);
    }
}

//! Sound to the guest: the ring between the thread `spice-record`, which fills it, and the host, which empties it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Volume;
use super::state::{CHANGES_LIMIT, Change, State};

/// Samples that the ring keeps, and that count of one message; the oldest go.
pub const RING: usize = 8192;
/// Samples that must have come since the start before the host gets any: what arrives unevenly is evened out by them.
pub const PREBUFFER: u64 = 4096;

/// What the thread has to tell its client next.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// This.
    Change(Change),
    /// Changes were dropped: tell it how things stand.
    Resync(State),
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// A client is here.
    speaker: bool,
    /// [`RING`] samples, made when the first ones come.
    ring: Vec<u32>,
    /// Samples written and read since the start, or since the client came; written ≥ read ≥ written - RING.
    written: u64,
    read: u64,
    changes: VecDeque<Change>,
    resync: bool,
}

/// The way of sound from the thread to the host. One client at a time.
#[derive(Debug, Default)]
pub struct Capture {
    inner: Mutex<Inner>,
}

impl Capture {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change and queues it for the client. True if the thread has to be poked.
    fn change(&self, make: impl FnOnce(&mut State) -> Option<Change>) -> bool {
        let mut inner = self.lock();
        let Some(change) = make(&mut inner.state) else { return false };
        if matches!(change, Change::Start(_)) {
            inner.clear();
        }
        if !inner.speaker {
            return false;
        }
        if inner.changes.len() >= CHANGES_LIMIT {
            inner.changes.clear();
            inner.resync = true;
        }
        if !inner.resync {
            inner.changes.push_back(change);
        }
        true
    }

    /// The guest records (or not). True if the thread has to be poked, as for all that follow.
    pub fn set_active(&self, active: bool) -> bool {
        self.change(|state| state.set_active(active))
    }

    /// Sets the volume that clients record with.
    pub fn set_volume(&self, volume: Volume) -> bool {
        self.change(|state| Some(state.set_volume(volume)))
    }

    /// Silences the clients' microphones, or not.
    pub fn set_mute(&self, mute: u8) -> bool {
        self.change(|state| Some(state.set_mute(mute)))
    }

    /// Sets the sample rate in Hz of the next start.
    pub fn set_rate(&self, rate: u32) {
        // The client chooses the mode.
        let _ = self.lock().state.set_rate(rate);
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// Gives the host what has been recorded, at most as much as `out` holds; how many samples that was. 0 while the
    /// guest does not record, nobody is here, or less than [`PREBUFFER`] has come since the start.
    pub fn read(&self, out: &mut [u32]) -> usize {
        let mut inner = self.lock();
        if !inner.state.active || !inner.speaker || inner.written < PREBUFFER {
            return 0;
        }
        let there = usize::try_from(inner.written - inner.read).unwrap_or(0);
        let count = there.min(out.len());
        let from = position(inner.read);
        let (later, first) = inner.ring.split_at(from.min(inner.ring.len()));
        let source = first.iter().chain(later);
        out.iter_mut().zip(source).take(count).for_each(|(to, sample)| *to = *sample);
        inner.read += count as u64;
        count
    }

    /// For the thread: a client has come. How things stand now.
    pub fn attach(&self) -> State {
        let mut inner = self.lock();
        inner.speaker = true;
        inner.changes.clear();
        inner.resync = false;
        inner.clear();
        inner.state.clone()
    }

    /// For the thread: the client has gone.
    pub fn detach(&self) {
        let mut inner = self.lock();
        inner.speaker = false;
        inner.changes.clear();
        inner.resync = false;
    }

    /// For the thread: what the client has to be told next, if anything.
    pub fn next(&self) -> Option<Due> {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.resync) {
            return Some(Due::Resync(inner.state.clone()));
        }
        inner.changes.pop_front().map(Due::Change)
    }

    /// For the thread: samples of the client; of more than [`RING`] the first ones count.
    pub fn write(&self, samples: &[u32]) {
        let samples = samples.get(..RING).unwrap_or(samples);
        let mut inner = self.lock();
        if inner.ring.is_empty() {
            inner.ring.resize(RING, 0);
        }
        let at = position(inner.written);
        let (before_end, rest) = samples.split_at(samples.len().min(RING - at));
        for (start, part) in [(at, before_end), (0, rest)] {
            if let Some(place) = inner.ring.get_mut(start..start + part.len()) {
                place.copy_from_slice(part);
            }
        }
        inner.written += samples.len() as u64;
        inner.read = inner.read.max(inner.written.saturating_sub(RING as u64));
    }
}

/// Where in the ring the sample of this number stands.
fn position(number: u64) -> usize {
    usize::try_from(number % RING as u64).unwrap_or(0)
}

impl Inner {
    fn clear(&mut self) {
        (self.written, self.read) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Capture {
        let capture = Capture::default();
        capture.attach();
        capture.set_active(true);
        capture
    }

    fn read(capture: &Capture, count: usize) -> Vec<u32> {
        let mut out = vec![u32::MAX; count];
        let got = capture.read(&mut out);
        assert!(out[got..].iter().all(|s| *s == u32::MAX), "nothing is written behind");
        out.truncate(got);
        out
    }

    #[test]
    fn nothing_comes_before_the_start_without_a_client_or_before_the_prebuffer_is_full() {
        let capture = Capture::default();
        capture.write(&[1; RING]);
        assert!(read(&capture, 10).is_empty());
        capture.attach();
        capture.write(&[1; RING]);
        assert!(read(&capture, 10).is_empty(), "not recording");
        capture.set_active(true);
        assert!(read(&capture, 10).is_empty(), "the start empties the ring");
        capture.write(&[2; 4095]);
        assert!(read(&capture, 10).is_empty(), "one is missing");
        capture.write(&[3]);
        assert_eq!(read(&capture, 5000).len(), 4096);
        assert!(read(&capture, 10).is_empty());
        capture.write(&[4]);
        assert_eq!(read(&capture, 10), [4], "the prebuffer counts once");
        capture.detach();
        capture.write(&[5]);
        assert!(read(&capture, 10).is_empty());
    }

    /// As a plain queue, with pieces of all sizes across the ring's end.
    #[test]
    fn what_wraps_is_whole_and_the_oldest_go() {
        let (capture, mut plain) = (recording(), VecDeque::new());
        let (mut next, mut seed, mut written) = (0u32, 1u32, 0);
        for _ in 0..3000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let count = usize::try_from(seed >> 18).unwrap() % 9000;
            let samples: Vec<u32> = (next..).take(count).collect();
            next += u32::try_from(count).unwrap();
            capture.write(&samples);
            written += count.min(RING);
            plain.extend(&samples[..count.min(RING)]);
            while plain.len() > RING {
                plain.pop_front();
            }
            let wanted = usize::try_from(seed >> 4).unwrap() % 9000;
            let expected: Vec<u32> = if written < 4096 {
                Vec::new()
            } else {
                plain.drain(..wanted.min(plain.len())).collect()
            };
            assert_eq!(read(&capture, wanted), expected);
        }
    }

    #[test]
    fn changes_are_bounded_and_end_in_how_things_stand() {
        let capture = recording();
        assert_eq!(capture.next(), Some(Due::Change(Change::Start(48_000))));
        for _ in 0..100 {
            capture.set_active(false);
            capture.set_active(true);
            assert!(capture.lock().changes.len() <= CHANGES_LIMIT);
        }
        capture.set_mute(1);
        assert!(matches!(capture.next(), Some(Due::Resync(State { mute: Some(1), .. }))));
        assert_eq!(capture.next(), None);
        assert!(capture.set_volume(vec![7]));
        assert_eq!(capture.next(), Some(Due::Change(Change::Volume(vec![7]))));
    }
}

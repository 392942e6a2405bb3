//! Pings for clients behind a security layer, until they have answered one.
//!
//! Clients of spice-gtk take up to 8 KiB out of the socket, unwrap them all, look at the link result, and at what else they
//! have unwrapped only when the socket has more. What came with the link result would wait there as long as the channel
//! has nothing more to say: on a unix socket for ever. The original's probes of latency, 100 ms after a channel fell
//! silent, hide that. An answered ping says that everything before it was looked at.

use std::time::{Duration, Instant};

use crate::transport::reactor::Key;

/// Id of these pings; far from those that channels use.
pub(super) const PING_ID: u32 = 0x5a51_0000;

/// Until the first one; twice as long after each, up to [`MOST`].
const FIRST: Duration = Duration::from_millis(20);
const MOST: Duration = Duration::from_secs(4);
/// Pings for a client that answers none: a minute of them.
const TRIES: u32 = 20;

/// Who is to be pinged, and when. Owned by the channel's thread.
#[derive(Debug, Default)]
pub(super) struct Nudges {
    /// A few at most: each leaves with its first answer.
    list: Vec<(Key, Instant, u32)>,
}

impl Nudges {
    pub(super) fn add(&mut self, key: Key, now: Instant) {
        self.list.push((key, now + FIRST, 0));
    }

    /// Answered, or gone.
    pub(super) fn remove(&mut self, key: Key) {
        self.list.retain(|(k, ..)| *k != key);
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.list.iter().map(|(_, at, _)| *at).min()
    }

    /// Who is to be pinged now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        for (key, at, tries) in self.list.iter_mut().filter(|(_, at, _)| *at <= now) {
            due.push(*key);
            *tries += 1;
            *at = now + MOST.min(FIRST * 2u32.saturating_pow(*tries));
        }
        self.list.retain(|(_, _, tries)| *tries < TRIES);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::mio_reactor::MioReactor;
    use crate::transport::reactor::Reactor;
    use crate::transport::stream::Stream;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn pings_become_rare_and_end_with_the_first_answer() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut reactor = MioReactor::new().unwrap();
        let mut key = |fd| {
            let stream = Stream::adopt(OwnedFd::from(fd)).unwrap();
            reactor.insert(stream, Vec::new()).unwrap()
        };
        let (answers, silent): (Key, Key) = (key(one), key(other));
        let start = Instant::now();
        let mut nudges = Nudges::default();
        assert_eq!(nudges.next(), None);
        nudges.add(answers, start);
        nudges.add(silent, start);
        assert!(nudges.due(start).is_empty());
        let mut now = nudges.next().unwrap();
        assert_eq!(nudges.due(now), [answers, silent]);
        nudges.remove(answers);
        let mut count = 1;
        while let Some(next) = nudges.next() {
            assert!(next > now && next - now <= MOST);
            now = next;
            assert_eq!(nudges.due(now), [silent]);
            count += 1;
        }
        assert_eq!(count, TRIES);
        assert!((Duration::from_secs(40)..Duration::from_secs(60)).contains(&(now - start)));
    }
}

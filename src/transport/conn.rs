//! A connection as every reactor has it: its stream, what came and was not consumed, what waits to go out.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::layer::{Flow, Layer};
use super::outbox::{Lent, Outbox};
use super::stream::Stream;
use super::throttle::Throttle;

/// Unread bytes at which a socket is not read any further until some are consumed.
///
/// Larger than most messages; for the others see [`Conn::expected`].
pub(super) const UNREAD_LIMIT: usize = 128 * 1024;

/// Messages from this size in bytes make a connection one of bulk data.
const BULK_FROM: usize = 32 * 1024;
/// Bytes that are read from one of bulk data at a time: a message of 64 KiB with its head.
const BULK_STEP: usize = 64 * 1024 + 18;
/// Bytes behind a message up to which its memory is handed over, and they are copied instead.
const BEHIND: usize = 4 * 1024;
/// Memory for unread bytes that is kept when there are none.
const KEPT: usize = 256 * 1024;

/// The state of one connection that does not depend on how its bytes move. Owned by the reactor's thread.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    /// What arrived lies from `start` to `end`, so that many small messages cost no moving.
    unread: Vec<u8>,
    start: usize,
    end: usize,
    /// Long messages come here: the socket is read into `unread` itself, whose memory is kept.
    bulk: bool,
    /// Bytes of a message that is longer than [`UNREAD_LIMIT`] and has begun; nobody consumes a part of it.
    expected: usize,
    pub(super) outbox: Outbox,
    /// False while those above want nothing.
    pub(super) reading: bool,
    /// The end was told, or will be by the next `wait`.
    pub(super) closed: bool,
    /// Layers take nothing to send until the peer has said more.
    pub(super) stuck: bool,
    /// The sending side is closed when everything is out.
    pub(super) finishing: bool,
    /// How many bytes a second it may be sent, if that is bounded.
    throttle: Option<Box<Throttle>>,
}

impl Conn {
    pub(super) fn new(stream: Stream, unread: Vec<u8>) -> Self {
        let end = unread.len();
        Self {
            stream,
            unread,
            start: 0,
            end,
            bulk: false,
            expected: 0,
            outbox: Outbox::default(),
            reading: true,
            closed: false,
            stuck: false,
            finishing: false,
            throttle: None,
        }
    }

    /// Bytes that arrived and were not consumed.
    pub(super) fn unread(&self) -> &[u8] {
        self.unread.get(self.start..self.end).unwrap_or_default()
    }

    /// Drops the first `n` unread bytes.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.unread.len() > KEPT {
                self.unread = Vec::new();
            }
        }
    }

    /// Consumes the first `n` unread bytes by handing over the memory they lie in, up to their end, with where they begin;
    /// goes on in `spare`, whose content is old.
    ///
    /// # Errors
    /// Hands `spare` back and does nothing if they are few or too much has arrived behind them.
    pub(super) fn take_front(
        &mut self,
        n: usize,
        spare: Vec<u8>,
    ) -> Result<(Vec<u8>, usize), Vec<u8>> {
        let end = self.start.saturating_add(n);
        let behind = self.end.checked_sub(end).filter(|behind| *behind <= BEHIND);
        let (Some(behind), true) = (behind, self.bulk && n >= BULK_FROM) else {
            return Err(spare);
        };
        let mut taken = std::mem::replace(&mut self.unread, spare);
        let from = self.start;
        if self.unread.len() < behind {
            self.unread.resize(behind, 0);
        }
        let rest = taken.get(end..self.end).unwrap_or_default();
        if let Some(place) = self.unread.get_mut(..behind) {
            place.copy_from_slice(rest);
        }
        (self.start, self.end) = (0, behind);
        taken.truncate(end);
        Ok((taken, from))
    }

    /// Lets so many bytes arrive before any are consumed (see `Reactor::expect`).
    pub(super) fn expect(&mut self, n: usize) {
        self.expected = n;
        self.bulk |= n > BULK_FROM;
    }

    /// Drops what was consumed, and room for what has not come.
    fn tidy(&mut self) {
        self.unread.truncate(self.end);
        self.unread.drain(..self.start);
        (self.start, self.end) = (0, self.unread.len());
    }

    /// A place of `n` bytes behind what is unread.
    fn place(&mut self, n: usize) -> &mut [u8] {
        if self.start > 0 {
            self.unread.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let whole = self.end + n;
        if self.unread.len() < whole {
            self.unread.resize(whole, 0);
        }
        self.unread.get_mut(self.end..whole).unwrap_or_default()
    }

    /// Reads once. How many bytes came, whether the socket gave all that it was asked for, and the rest as of
    /// [`Conn::received`].
    ///
    /// # Errors
    /// Of the socket.
    pub(super) fn recv(
        &mut self,
        scratch: &mut [u8],
    ) -> io::Result<(usize, bool, bool, io::Result<()>)> {
        if !self.bulk || !self.stream.layers().is_empty() {
            let n = self.stream.recv(scratch)?;
            let (more, goes_on) = self.received(scratch.get(..n).unwrap_or_default());
            return Ok((n, n == scratch.len(), more, goes_on));
        }
        // To the end of the long message that has begun, or of one as long as the last: the next one then begins in memory
        // of its own (`take_front`).
        let left = self.expected.saturating_sub(self.unread().len());
        let exact = self.expected >= BULK_FROM && left > 0;
        let step = if exact { left.min(BULK_STEP) } else { BULK_STEP };
        self.place(step);
        let place = self.unread.get_mut(self.end..self.end + step).unwrap_or_default();
        let n = self.stream.recv(place)?;
        self.end += n;
        Ok((n, n == step, n > 0, Ok(())))
    }

    /// The stream, with what was not consumed.
    pub(super) fn into_parts(mut self) -> (Stream, Vec<u8>) {
        self.tidy();
        (self.stream, self.unread)
    }

    /// True if more is to be read when it comes.
    pub(super) fn takes_more(&self) -> bool {
        self.reading && !self.closed && self.unread().len() < UNREAD_LIMIT.max(self.expected)
    }

    /// True if the socket could be given something.
    pub(super) fn has_to_send(&self) -> bool {
        let waits = (!self.outbox.is_empty() && !self.stuck) || !self.stream.layers().is_drained();
        !self.closed && waits && self.held().is_none()
    }

    /// Bounds the bytes a second that it is sent, or (`None`) not any more.
    pub(super) fn set_rate(&mut self, rate: Option<NonZeroU64>) {
        match (rate, &mut self.throttle) {
            (Some(rate), Some(throttle)) => throttle.set_rate(rate),
            (Some(rate), none) => *none = Some(Box::new(Throttle::new(rate, Instant::now()))),
            (None, there) => *there = None,
        }
    }

    /// How many bytes the socket may be given now; with 0 none before [`Conn::held`].
    pub(super) fn allowance(&mut self) -> usize {
        let Some(throttle) = &mut self.throttle else { return usize::MAX };
        let wrapped = self.stream.layers_mut().wire().map_or(0, |wire| wire.len());
        throttle.allow(self.outbox.len() + wrapped, Instant::now())
    }

    /// The socket was given so many.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(throttle) = &mut self.throttle {
            throttle.sent(bytes, Instant::now());
        }
    }

    /// Until when nothing may be sent, if it is so.
    pub(super) fn held(&self) -> Option<Instant> {
        self.throttle.as_ref()?.held()
    }

    /// Looks again: true if something may be sent.
    pub(super) fn release(&mut self, now: Instant) -> bool {
        self.throttle.as_mut().is_none_or(|throttle| throttle.release(now))
    }

    /// True if everything is with the kernel.
    pub(super) fn is_drained(&self) -> bool {
        self.outbox.is_empty() && self.stream.layers().is_drained()
    }

    /// Takes what the socket brought. True if there is more to read for those above; the error of a layer comes with
    /// it, because the last bytes before a peer's orderly end count: the connection ends.
    pub(super) fn received(&mut self, bytes: &[u8]) -> (bool, io::Result<()>) {
        if self.stream.layers().is_empty() {
            self.place(bytes.len()).copy_from_slice(bytes);
            self.end += bytes.len();
            return (!bytes.is_empty(), Ok(()));
        }
        self.stuck = false;
        self.tidy();
        let before = self.end;
        let opened = self.stream.layers_mut().open(bytes, &mut self.unread);
        self.end = self.unread.len();
        (self.end > before, check(opened))
    }

    /// What the socket is given: the connection's bytes, or what layers have made of them.
    pub(super) fn sending(&mut self) -> &mut Outbox {
        match self.stream.layers_mut().wire() {
            Some(wire) => wire,
            None => &mut self.outbox,
        }
    }

    /// What one send may take of all that waits, `most` bytes; to be settled with [`Conn::sending`].
    ///
    /// # Errors
    /// Of layers: the connection ends.
    pub(super) fn lend(&mut self, most: usize) -> io::Result<Option<Lent>> {
        if !self.stream.layers().is_empty() {
            self.stream.layers_mut().wrap_at_most(&mut self.outbox, most)?;
        }
        let lent = self.sending().lend_at_most(most);
        self.stuck = lent.is_none() && !self.outbox.is_empty();
        Ok(lent)
    }

    /// Puts a layer on top. True if it made unread bytes.
    ///
    /// # Errors
    /// Of the layer: the connection ends.
    pub(super) fn add_layer(&mut self, layer: Box<dyn Layer>) -> io::Result<bool> {
        self.tidy();
        self.stuck = false;
        let opened = self.stream.layers_mut().push(layer, &mut self.outbox, &mut self.unread);
        self.end = self.unread.len();
        check(opened)?;
        Ok(!self.unread.is_empty())
    }

    /// A layer ends the connection; its last word is sent if the socket takes it at once. With `busy`, another send is
    /// under way and the word is lost.
    pub(super) fn end(&mut self, why: &io::Error, busy: bool) {
        tracing::debug!(%why, "a layer of a connection ended");
        self.outbox = Outbox::default();
        if !busy {
            let _ = self.stream.send(&mut self.outbox);
        }
        self.closed = true;
    }

    /// Nothing more will be queued: the last words of layers are.
    pub(super) fn finish(&mut self) {
        self.stream.layers_mut().finish(&mut self.outbox);
        self.finishing = true;
    }

    /// Closes the sending side if that is due and all is out.
    pub(super) fn finish_if_drained(&mut self) {
        if self.is_drained() && std::mem::take(&mut self.finishing) {
            self.stream.finish_sending();
        }
    }

    pub(super) fn limit_backlog(&self, bytes: usize) {
        self.stream.limit_backlog(bytes);
    }

    pub(super) fn held_up(&self) -> Option<Duration> {
        self.stream.held_up()
    }
}

/// A peer that ended in a layer's own way has ended.
fn check(opened: io::Result<Flow>) -> io::Result<()> {
    if opened? == Flow::Ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn long_messages_are_handed_over_in_the_memory_that_they_came_in() {
        let (mut peer, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = Stream::adopt(ours.into()).unwrap();
        let mut conn = Conn::new(stream, Vec::new());
        let mut scratch = vec![0; 4096];
        let message = |i: u8| vec![i; 40_000];
        let feed = std::thread::spawn(move || {
            for i in 0..20 {
                peer.write_all(&message(i)).unwrap();
            }
            peer.write_all(&[99; 5]).unwrap();
            peer
        });
        let mut read = |conn: &mut Conn| match conn.recv(&mut scratch) {
            Ok((n, ..)) => assert_ne!(n, 0, "the peer is there"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        };
        let mut spare = vec![1; 70_000];
        let mut lent = 0;
        for i in 0..20 {
            while conn.unread().len() < 40_000 {
                conn.expect(40_000);
                read(&mut conn);
            }
            match conn.take_front(40_000, std::mem::take(&mut spare)) {
                Ok((memory, from)) => {
                    assert_eq!(memory[from..], message(i));
                    spare = memory;
                    lent += 1;
                }
                Err(back) => {
                    assert_eq!(conn.unread()[..40_000], message(i));
                    conn.consume(40_000);
                    spare = back;
                }
            }
        }
        assert!(lent > 0);
        while conn.unread().len() < 5 {
            read(&mut conn);
        }
        assert_eq!(conn.unread(), [99; 5]);
        assert!(conn.take_front(5, Vec::new()).is_err(), "not for short ones");
        assert_eq!(conn.unread(), [99; 5]);
        drop(feed.join().unwrap());
    }
}

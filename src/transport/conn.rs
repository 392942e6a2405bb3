//! A connection as every reactor has it: its stream, what came and was not consumed, what waits to go out.

use std::io;
use std::time::Duration;

use super::layer::{Flow, Layer};
use super::outbox::{Lent, Outbox};
use super::stream::Stream;

/// Unread bytes at which a socket is not read any further until some are consumed.
///
/// Larger than any message a channel accepts in one piece (1 MiB is taken in parts by then).
pub(super) const UNREAD_LIMIT: usize = 128 * 1024;

/// The state of one connection that does not depend on how its bytes move. Owned by the reactor's thread.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    /// What arrived; consumed up to `start`, so that many small messages cost no moving.
    unread: Vec<u8>,
    start: usize,
    pub(super) outbox: Outbox,
    /// False while those above want nothing.
    pub(super) reading: bool,
    /// The end was told, or will be by the next `wait`.
    pub(super) closed: bool,
    /// Layers take nothing to send until the peer has said more.
    pub(super) stuck: bool,
    /// The sending side is closed when everything is out.
    pub(super) finishing: bool,
}

impl Conn {
    pub(super) fn new(stream: Stream, unread: Vec<u8>) -> Self {
        Self {
            stream,
            unread,
            start: 0,
            outbox: Outbox::default(),
            reading: true,
            closed: false,
            stuck: false,
            finishing: false,
        }
    }

    /// Bytes that arrived and were not consumed.
    pub(super) fn unread(&self) -> &[u8] {
        self.unread.get(self.start..).unwrap_or_default()
    }

    /// Drops the first `n` unread bytes.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.unread.len());
        if self.start == self.unread.len() {
            self.unread.clear();
            self.start = 0;
        }
    }

    /// The stream, with what was not consumed.
    pub(super) fn into_parts(mut self) -> (Stream, Vec<u8>) {
        let unread = self.unread.split_off(self.start);
        (self.stream, unread)
    }

    /// True if more is to be read when it comes.
    pub(super) fn takes_more(&self) -> bool {
        self.reading && !self.closed && self.unread().len() < UNREAD_LIMIT
    }

    /// True if the socket could be given something.
    pub(super) fn has_to_send(&self) -> bool {
        let waits = (!self.outbox.is_empty() && !self.stuck) || !self.stream.layers().is_drained();
        !self.closed && waits
    }

    /// True if everything is with the kernel.
    pub(super) fn is_drained(&self) -> bool {
        self.outbox.is_empty() && self.stream.layers().is_drained()
    }

    /// Takes what the socket brought. True if there is more to read for those above; the error of a layer comes with
    /// it, because the last bytes before a peer's orderly end count: the connection ends.
    pub(super) fn received(&mut self, bytes: &[u8]) -> (bool, io::Result<()>) {
        self.unread.drain(..self.start);
        self.start = 0;
        if self.stream.layers().is_empty() {
            self.unread.extend_from_slice(bytes);
            return (true, Ok(()));
        }
        self.stuck = false;
        let before = self.unread.len();
        let opened = self.stream.layers_mut().open(bytes, &mut self.unread);
        (self.unread.len() > before, check(opened))
    }

    /// What the socket is given: the connection's bytes, or what layers have made of them.
    pub(super) fn sending(&mut self) -> &mut Outbox {
        match self.stream.layers_mut().wire() {
            Some(wire) => wire,
            None => &mut self.outbox,
        }
    }

    /// What one send may take of all that waits; to be settled with [`Conn::sending`].
    ///
    /// # Errors
    /// Of layers: the connection ends.
    pub(super) fn lend(&mut self) -> io::Result<Option<Lent>> {
        if !self.stream.layers().is_empty() {
            self.stream.layers_mut().wrap(&mut self.outbox)?;
        }
        let lent = self.sending().lend();
        self.stuck = lent.is_none() && !self.outbox.is_empty();
        Ok(lent)
    }

    /// Puts a layer on top. True if it made unread bytes.
    ///
    /// # Errors
    /// Of the layer: the connection ends.
    pub(super) fn add_layer(&mut self, layer: Box<dyn Layer>) -> io::Result<bool> {
        self.unread.drain(..self.start);
        (self.start, self.stuck) = (0, false);
        let opened = self.stream.layers_mut().push(layer, &mut self.outbox, &mut self.unread);
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

//! What a thread asks of the engine that moves its sockets' bytes.
//!
//! The interface speaks of completed work (bytes have arrived, the outbox ran empty), not of
//! readiness, so that a completion engine (io_uring) fits behind it as well as a readiness one.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::layer::Layer;
use super::listener::Listener;
use super::outbox::Outbox;
use super::stream::Stream;

/// Names a socket within one reactor; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(super) usize);

/// What happened while a thread waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// More bytes are in [`Reactor::unread`].
    Received(Key),
    /// The outbox ran empty, and everything is with the kernel.
    Drained(Key),
    /// The peer closed or the socket failed; nothing more comes or goes.
    Closed(Key),
    /// A listener has connections.
    Acceptable(Key),
    /// A watched eventfd was written, once or more often.
    Kicked(Key),
    /// Another thread called [`Wake::wake`].
    Woken,
}

/// Wakes a reactor from another thread.
pub trait Wake: Send + Sync + std::fmt::Debug {
    /// Makes the current or next [`Reactor::wait`] return with [`Event::Woken`].
    fn wake(&self);
}

/// Moves bytes between sockets and buffers. May be made on any thread; the one that first waits owns it from then on.
pub trait Reactor: Send {
    /// Takes over a stream; `unread` are bytes that were read from it before.
    ///
    /// # Errors
    /// If the system cannot watch one more descriptor.
    fn insert(&mut self, stream: Stream, unread: Vec<u8>) -> io::Result<Key>;

    /// Gives a stream back with what was read but not consumed; nothing is under way for it any more. Unsent bytes are dropped, but for those that a layer
    /// has wrapped: they stay in the stream, and the next reactor sends them.
    fn remove(&mut self, key: Key) -> Option<(Stream, Vec<u8>)>;

    /// Puts a layer on top of those that the stream has. What is unread is for it, what is in the outbox goes
    /// without it. Its errors end the connection as those of the socket do, with [`Event::Closed`].
    fn add_layer(&mut self, key: Key, layer: Box<dyn Layer>);

    /// Watches a listener.
    ///
    /// # Errors
    /// If the system cannot watch one more descriptor.
    fn listen(&mut self, listener: Listener) -> io::Result<Key>;

    /// Tells of writes to an eventfd, which is never read: its count stays the writers' affair.
    ///
    /// # Errors
    /// If the system cannot watch one more descriptor.
    fn watch(&mut self, eventfd: OwnedFd) -> io::Result<Key>;

    /// Ends that and closes the descriptor.
    fn unwatch(&mut self, key: Key);

    /// Accepts from a listener.
    ///
    /// # Errors
    /// `WouldBlock` if no connection waits (the next one makes a new event).
    fn accept(&mut self, key: Key) -> io::Result<OwnedFd>;

    /// Bytes that arrived and were not consumed.
    fn unread(&self, key: Key) -> &[u8];

    /// Drops the first `n` unread bytes and lets more arrive.
    fn consume(&mut self, key: Key, n: usize);

    /// As [`Reactor::consume`], for a long message: hands over the memory in which it lies, up to its end, and where in it
    /// it begins. More arrives in `spare`, whose content does not count.
    ///
    /// # Errors
    /// Hands `spare` back and does nothing if the message is not worth it, or much has arrived behind it.
    fn take_front(
        &mut self,
        key: Key,
        n: usize,
        spare: Vec<u8>,
    ) -> Result<(Vec<u8>, usize), Vec<u8>>;

    /// Lets so many bytes arrive before any are consumed, if that is more than usual: a message is taken whole. Counts
    /// until the next call; the caller has checked the size.
    fn expect(&mut self, key: Key, n: usize);

    /// Stops or resumes reading, so that a peer feels that we are behind.
    fn set_reading(&mut self, key: Key, on: bool);

    /// Where to queue bytes; follow with [`Reactor::flush`].
    fn outbox(&mut self, key: Key) -> Option<&mut Outbox>;

    /// How long in all a peer has held up what was to be sent to it (see `Stream::held_up`).
    fn held_up(&self, key: Key) -> Option<Duration>;

    /// Bounds what the kernel keeps of what was sent and the peer has no room for (see `Stream::limit_backlog`).
    fn limit_backlog(&mut self, key: Key, bytes: usize);

    /// Bounds the bytes a second that a socket is given, what layers add included: in any time t no more than
    /// rate x (t + 50 ms). `None` ends that. What is held back stays in the outbox.
    fn set_rate(&mut self, key: Key, bytes_per_second: Option<NonZeroU64>);

    /// Tells the peer that nothing more comes, once everything is out; reading goes on.
    fn finish_sending(&mut self, key: Key);

    /// Starts sending what the outbox holds.
    fn flush(&mut self, key: Key);

    /// Sleeps until something happens or the time is over (`None`: for ever); fills `events`.
    ///
    /// # Errors
    /// If the system's wait call fails, which means a broken process.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// True if the next [`Reactor::wait`] would return at once with [`Event::Woken`]. Costs a load.
    fn is_called(&self) -> bool;

    /// The means to wake this reactor.
    fn waker(&self) -> Arc<dyn Wake>;
}

//! One thread per channel: its clients' sockets, their queues, and what the channel knows.
//!
//! `engine` runs the loop that all channels share; one file per channel type holds the rest.
//! A channel owns its state. Others send it orders through its [`Handle`]; it speaks upward to
//! the session only through the trait [`Upward`].
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

use crossbeam_queue::SegQueue;

use crate::display::encode::wan::LinkSpeed;
use crate::observe::stats::ServerStats;
use crate::protocol::agent::ClientMonitors;
use crate::protocol::caps::{Caps, ChannelType};
use crate::sys::thread::short_turns;
use crate::transport::connection::Connection;
use crate::transport::reactor::Wake;
use crate::transport::stream::Stream;

pub mod ack;
pub mod agent;
pub mod clients;
pub mod cursor;
pub mod device;
pub mod display;
pub mod engine;
mod handover;
pub mod inputs;
pub mod main;
mod nudge;
pub mod playback;
pub mod qos;
pub mod record;
pub mod smartcard;
pub mod stream;
pub mod vmc;

/// Names a client session; the `connection_id` of the protocol. Never 0.
pub type ClientId = u32;

/// An authenticated connection on its way from the door to its channel's thread.
#[derive(Debug)]
pub struct Attach {
    /// The socket.
    pub stream: Stream,
    /// Read from it after the link message, to be handled first.
    pub unread: Vec<u8>,
    /// To be sent first: the link result.
    pub first: Vec<u8>,
    /// Who it is.
    pub connection: Arc<Connection>,
    /// Whose it is.
    pub client: ClientId,
    /// How fast its client's link is; one record for all channels of the client.
    pub speed: Arc<LinkSpeed>,
    /// Channel capabilities that the client announced.
    pub caps: Caps,
    /// True: 6-byte headers both ways.
    pub mini_header: bool,
    /// True: the client may not look at what comes with the link result until it is pinged (see `nudge`).
    pub nudge: bool,
    /// True: it comes from another server, which it has not left (main channel only).
    pub arriving: bool,
    /// True: it goes on where another server's channel ends, whose data it brings.
    pub inherits: bool,
    /// True: its client comes from another server, with a machine that may not run here yet.
    pub moved: bool,
}

/// What a channel thread is told.
#[derive(Debug)]
pub enum Order<T> {
    /// A client has come.
    Attach(Box<Attach>),
    /// End the connections of this client.
    Drop(ClientId),
    /// The machine has moved to another server: this client goes on there with what its channel knows.
    HandOver(ClientId),
    /// The machine runs: clients that come with it are not waited for any longer than others.
    MachineRuns,
    /// End all connections and the thread.
    Stop,
    /// Something that only this kind of channel understands.
    Do(T),
}

/// What an idle producer may leave in a channel's queue before it must hold back.
const QUEUE_LIMIT: usize = 1024;

/// The way to a channel's thread. Orders are taken in the order in which they were given.
///
/// Attach, Drop and Stop are bounded by the number of connections; [`Handle::try_send`] is for
/// producers that a guest or client drives.
#[derive(Debug)]
pub struct Handle<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    queue: SegQueue<Order<T>>,
    waker: Arc<dyn Wake>,
    /// True from a wake until the thread looked.
    woken: AtomicBool,
    /// The thread has ended: orders are dropped, so that nobody waits for an answer for ever.
    closed: AtomicBool,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Handle<T> {
    /// A handle for the thread that `waker` wakes.
    #[must_use]
    pub fn new(waker: Arc<dyn Wake>) -> Self {
        Self {
            shared: Arc::new(Shared {
                queue: SegQueue::new(),
                waker,
                woken: AtomicBool::new(false),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Gives an order that must not be lost.
    pub fn send(&self, order: Order<T>) {
        self.shared.queue.push(order);
        // SeqCst, as in `close`: one of the two sees the order and drops it.
        if self.shared.closed.load(Ordering::SeqCst) {
            while self.shared.queue.pop().is_some() {}
            return;
        }
        self.poke();
    }

    /// Gives an order unless the thread is far behind.
    ///
    /// # Errors
    /// Hands it back if [`QUEUE_LIMIT`] orders wait.
    pub fn try_send(&self, order: T) -> Result<(), T> {
        if self.shared.queue.len() >= QUEUE_LIMIT {
            return Err(order);
        }
        self.send(Order::Do(order));
        Ok(())
    }

    /// Lets the thread take a turn; many pokes before it does are one.
    pub fn poke(&self) {
        // SeqCst on both sides: either the thread's `take` sees the order, or we see `false` here
        // and wake it.
        if !self.shared.woken.swap(true, Ordering::SeqCst) {
            self.shared.waker.wake();
        }
    }

    /// For the thread itself: says that it is about to look at the queue.
    pub(crate) fn looked(&self) {
        self.shared.woken.store(false, Ordering::SeqCst);
    }

    /// Called by the thread as it ends: the orders that it did not take. Later ones are dropped.
    pub(crate) fn close(&self) -> Vec<Order<T>> {
        self.shared.closed.store(true, Ordering::SeqCst);
        std::iter::from_fn(|| self.shared.queue.pop()).collect()
    }

    /// For the thread itself: the next order.
    pub(crate) fn take(&self) -> Option<Order<T>> {
        self.shared.queue.pop()
    }
}

/// Has the calling thread, one of sound, come in between those that draw and encode. Only an offer to the system.
fn take_short_turns() {
    static SAID: Once = Once::new();
    if let Err(error) = short_turns() {
        SAID.call_once(|| tracing::info!(%error, "threads for sound wait as long as all others"));
    }
}

/// The primary surface of a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Primary {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The guest has a hardware pointer (`mouse_mode` of the surface is not 0).
    pub hardware_cursor: bool,
}

/// What a channel asks of, or tells, the session above it. Called from channel threads.
///
/// No call waits: the session's lock is held for table look-ups only.
pub trait Upward: Send + Sync {
    /// Where all count.
    fn stats(&self) -> Arc<ServerStats>;

    /// What the host wants of channels of a type.
    fn qos(&self, channel: ChannelType) -> Arc<qos::QosCell>;

    /// A connection has ended; comes last for it.
    fn closed(&self, connection: &Arc<Connection>, client: ClientId);

    /// Every channel but main, newest first.
    fn channel_list(&self) -> Vec<(ChannelType, u8)>;

    /// A client asks for a mouse mode (1 server, 2 client); unknown or forbidden ones are ignored.
    fn request_mouse_mode(&self, mode: u16);

    /// What a new or re-informed main client has to know.
    fn main_state(&self) -> main::MainState;

    /// Takes an input for the host's loop, in arrival order; its bytes came at `heard`.
    ///
    /// # Errors
    /// Hands it back if the host is behind; the channel is poked when it has caught up.
    fn input(&self, input: inputs::Input, heard: Instant) -> Result<(), inputs::Input>;

    /// Asks the host for its keyboard LEDs; the answer comes as [`inputs::InputsOrder::Leds`].
    fn ask_leds(&self);

    /// A display's primary surface was made, or (`None`) destroyed.
    fn primary_changed(&self, display: u8, primary: Option<Primary>);

    /// A client says which monitors it wishes for. The agent of this device gets the message as `chunks` if
    /// no display device wants it; in any case the piece counts as taken by it then.
    fn client_monitors(
        &self,
        client: ClientId,
        monitors: ClientMonitors,
        agent: device::DeviceId,
        chunks: Vec<u8>,
    );

    /// Sends something to the host's side of a char device. Bounded by what the sender may have on the way
    /// ([`device::Flow`]).
    fn device(&self, id: device::DeviceId, task: device::DeviceTask);

    /// As [`Upward::device`], but the host need not hear of it before the next one or [`Upward::device_tasks_wait`].
    fn device_quietly(&self, id: device::DeviceId, task: device::DeviceTask);

    /// Wakes the host for what was sent quietly.
    fn device_tasks_wait(&self);

    /// An inputs link over a plain stream attached: tells the main client of that session.
    fn insecure_keyboard(&self, client: ClientId);

    /// A client that came from another server has left that: its other channels may be attached.
    fn arrived(&self, client: ClientId);

    /// A client that comes from another server brings what its channels know: they may be attached for that.
    fn inherits(&self, client: ClientId);

    /// The machine has moved and a client goes on there: all its channels but main hand over what they know.
    fn hand_over(&self, client: ClientId);

    /// What the host is to be told of a migration.
    fn migration(&self, event: main::MigrationEvent);

    /// No client hears sound any more, which was its clock for pictures as well: main clients are told the time.
    fn sound_clock_stopped(&self);
}

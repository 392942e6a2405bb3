//! What the main channel and the host's side of the guest agent's device share: what may pass, and how
//! much of a client's stream may be on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::protocol::agent::{DeviceReader, MouseState, Rules};

use super::ClientId;

/// Pieces that were dealt with and are given back to a client at a time.
pub const TOKEN_LOT: u32 = 5;
/// Pieces of a client that may wait for the device and be given back all the same: so a client goes on sending while the
/// host's loop comes round. Further ones are given back when the device has taken them.
pub const PIECES_AHEAD: usize = 64;
/// A client that has sent so many pieces gets a wider window once: it sends a file, and each turn that it need not wait
/// for its tokens counts.
pub const BULK_AFTER: u32 = 128;
/// By how much its window grows.
pub const BULK_WINDOW: u32 = 22;
/// Bytes of the agent that may be on the way to one client's socket; then the device is not read.
pub const BYTES_TO_CLIENT: usize = 256 * 1024;

/// Something that only an agent's device understands.
#[derive(Debug)]
pub enum AgentTask {
    /// A client has opened its stream.
    Started(ClientId, Arc<AgentWay>),
    /// The device will not be told of a piece of this client: it was for somebody else.
    Taken(ClientId),
    /// No client is left.
    LastLeft,
    /// This client goes on at another server: what was read for it comes at once, and nothing more is read.
    /// [`super::main::AgentOrder::Frozen`] answers.
    Freeze(ClientId),
    /// All that it had to say is here. [`super::main::AgentOrder::HandedOver`] answers.
    HandOver(ClientId),
    /// A client goes on here where another server ends.
    Resumed(ClientId, Box<Resumed>),
    /// The pointer moved, or a button changed.
    Mouse(MouseState),
    /// Something new is known of the monitors' hardware.
    DeviceInfo,
}

/// What another server knew of an agent's stream.
#[derive(Debug)]
pub struct Resumed {
    /// The client's way, if it has opened its stream.
    pub way: Option<Arc<AgentWay>>,
    /// Where the agent is in its stream.
    pub reader: DeviceReader,
    /// What the device has not taken.
    pub write: Vec<u8>,
    /// Pieces that the client is given back when it has.
    pub price: u32,
}

/// What the host lets pass between agent and clients. Everything at first, as in the original.
///
/// Each is read where a message begins, so Relaxed: nothing else hangs on it.
#[derive(Debug)]
pub struct AgentRules {
    copy_paste: AtomicBool,
    file_xfer: AtomicBool,
    devices_take_monitors: AtomicBool,
    steady_window: AtomicBool,
    held: AtomicBool,
}

impl Default for AgentRules {
    fn default() -> Self {
        let on = || AtomicBool::new(true);
        let off = || AtomicBool::new(false);
        let (devices_take_monitors, steady_window, held) = (off(), off(), off());
        Self { copy_paste: on(), file_xfer: on(), devices_take_monitors, steady_window, held }
    }
}

impl AgentRules {
    /// Lets clipboards pass, or not.
    pub fn set_copy_paste(&self, on: bool) {
        self.copy_paste.store(on, Ordering::Relaxed);
    }

    /// Lets files pass, or not.
    pub fn set_file_xfer(&self, on: bool) {
        self.file_xfer.store(on, Ordering::Relaxed);
    }

    /// Keeps the window of every client as it is at first: other servers could not go on with a wider one.
    pub fn set_steady_window(&self, on: bool) {
        self.steady_window.store(on, Ordering::Relaxed);
    }

    /// True if windows do not grow.
    #[must_use]
    pub fn has_steady_window(&self) -> bool {
        self.steady_window.load(Ordering::Relaxed)
    }

    /// A client is on its way here that knows where the agent's stream is: nothing is read until it has said so.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Ends that. True if it was so.
    pub fn release(&self) -> bool {
        self.held.swap(false, Ordering::SeqCst)
    }

    /// True while the agent's device is not to be read.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Notes whether the display devices took monitors when they were asked last.
    pub fn set_devices_take_monitors(&self, on: bool) {
        self.devices_take_monitors.store(on, Ordering::Relaxed);
    }

    /// For a client's stream. Monitors pass always: who gets them is found out when they are complete.
    #[must_use]
    pub fn for_client(&self, open: bool) -> Rules {
        Rules {
            open,
            copy_paste: self.copy_paste.load(Ordering::Relaxed),
            file_xfer: self.file_xfer.load(Ordering::Relaxed),
            monitors: true,
        }
    }

    /// For the agent's stream.
    #[must_use]
    pub fn for_agent(&self, open: bool) -> Rules {
        let monitors = !self.devices_take_monitors.load(Ordering::Relaxed);
        Rules { monitors, ..self.for_client(open) }
    }
}

/// What is on the way between one client and one agent. Shared by the main channel's thread and the host's side.
///
/// The host's side says that it waits and then looks once more, so that it either sees the room or is told of it; hence
/// SeqCst for what both look at.
#[derive(Debug, Default)]
pub struct AgentWay {
    /// Pieces that the client lets the server send.
    allowance: AtomicU64,
    /// Bytes that have not reached the socket's outbox.
    to_client: AtomicUsize,
    device_waits: AtomicBool,
    /// Pieces of the client that the device has not taken, and how many of them are to be given back then.
    to_device: AtomicUsize,
    unpaid: AtomicU32,
    /// Pieces of the client that were dealt with and have not been given back.
    owed: AtomicU32,
}

impl AgentWay {
    /// Of a client that lets the server send so many pieces.
    #[must_use]
    pub fn new(pieces: u32) -> Arc<Self> {
        let way = Self::default();
        let _ = way.set_allowance(pieces);
        Arc::new(way)
    }

    /// Of a client that lets the server send so many pieces, goes on where another server ends, and is to be given back
    /// `unpaid` pieces when the device has taken what that server had for it, and `owed` ones at some time.
    #[must_use]
    pub fn resumed(pieces: u32, unpaid: u32, owed: u32) -> Arc<Self> {
        let way = Self::new(pieces);
        // Relaxed: only the numbers count.
        way.to_device.store(unpaid as usize, Ordering::Relaxed);
        way.unpaid.store(unpaid, Ordering::Relaxed);
        way.owed.store(owed, Ordering::Relaxed);
        way
    }

    /// Pieces that the client lets the server send; more than 32 bits hold are as many as those.
    #[must_use]
    pub fn allowed(&self) -> u32 {
        u32::try_from(self.allowance.load(Ordering::SeqCst)).unwrap_or(u32::MAX)
    }

    /// Pieces that are given back when the device has taken what it has not taken yet.
    #[must_use]
    pub fn unpaid(&self) -> u32 {
        self.unpaid.load(Ordering::Relaxed)
    }

    /// Main's thread: the client begins anew with so many pieces. True if the device is to be read again.
    #[must_use]
    pub fn set_allowance(&self, pieces: u32) -> bool {
        self.allowance.store(pieces.into(), Ordering::SeqCst);
        self.device_waits.swap(false, Ordering::SeqCst)
    }

    /// Main's thread: the client allows so many pieces more. True if the device is to be read again.
    #[must_use]
    pub fn allow(&self, pieces: u32) -> bool {
        let more = |n: u64| Some(n.saturating_add(pieces.into()));
        let _ = self.allowance.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        self.device_waits.swap(false, Ordering::SeqCst)
    }

    /// Main's thread: the outbox has taken so many bytes. True if the device is to be read again.
    #[must_use]
    pub fn client_took(&self, bytes: usize) -> bool {
        let before = self.to_client.fetch_sub(bytes, Ordering::SeqCst);
        // Not for each piece: half the room is worth a turn of the host's loop.
        before.saturating_sub(bytes) <= BYTES_TO_CLIENT / 2
            && self.device_waits.swap(false, Ordering::SeqCst)
    }

    /// Host's side: true if a piece may be sent now; otherwise the channel's side will tell.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_now() || {
            self.device_waits.store(true, Ordering::SeqCst);
            self.open_now()
        }
    }

    fn open_now(&self) -> bool {
        self.allowance.load(Ordering::SeqCst) > 0
            && self.to_client.load(Ordering::SeqCst) < BYTES_TO_CLIENT
    }

    /// Host's side: a piece of so many bytes is on its way to the client.
    pub fn give_client(&self, bytes: usize) {
        let less = |n: u64| Some(n.saturating_sub(1));
        let _ = self.allowance.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        self.to_client.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Main's thread: a piece is on its way to the device. Returns how many the client gets back now, if any.
    #[must_use]
    pub fn give_device(&self) -> Option<u32> {
        // Relaxed, here and below: only the numbers count.
        if self.to_device.fetch_add(1, Ordering::Relaxed) < PIECES_AHEAD {
            return self.taken();
        }
        self.unpaid.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Main's thread: a piece is on its way to the device, or to others, and is given back when it is there.
    pub fn give_slowly(&self) {
        self.to_device.fetch_add(1, Ordering::Relaxed);
        self.unpaid.fetch_add(1, Ordering::Relaxed);
    }

    /// Host's side: the device has taken a piece. Returns how many the client gets back now, if any.
    #[must_use]
    pub fn device_took(&self) -> Option<u32> {
        self.to_device.fetch_sub(1, Ordering::Relaxed);
        let one_less = |n: u32| n.checked_sub(1);
        let paid = self.unpaid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        paid.ok().and_then(|_| self.taken())
    }

    /// Either side: a piece of the client was dealt with. Returns how many the client gets back now, if any.
    #[must_use]
    pub fn taken(&self) -> Option<u32> {
        // Relaxed: only the number counts.
        if self.owed.fetch_add(1, Ordering::Relaxed) + 1 < TOKEN_LOT {
            return None;
        }
        let lot = self.owed.swap(0, Ordering::Relaxed);
        if lot < TOKEN_LOT {
            // The other side was quicker; what came since is for the next lot.
            self.owed.fetch_add(lot, Ordering::Relaxed);
            return None;
        }
        Some(lot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_given_back_in_lots() {
        let way = AgentWay::new(0);
        let lots: Vec<_> = (0..12).map(|_| way.taken()).collect();
        assert_eq!(lots.iter().filter_map(|l| *l).collect::<Vec<_>>(), [5, 5]);
        assert_eq!(lots.iter().position(Option::is_some), Some(4));
    }

    #[test]
    fn a_client_may_be_ahead_of_the_device_by_so_many_pieces() {
        let way = AgentWay::new(0);
        let ahead: u32 = (0..PIECES_AHEAD + 9).filter_map(|_| way.give_device()).sum();
        assert_eq!(ahead, 60, "lots of five out of 64");
        let later: u32 = (0..PIECES_AHEAD + 9).filter_map(|_| way.device_took()).sum();
        assert_eq!(later, 10, "the other thirteen, but for three");
        way.give_slowly();
        assert_eq!(way.taken(), None);
        assert_eq!(way.device_took(), Some(5));
    }

    #[test]
    fn what_a_client_allows_adds_up_beyond_32_bits_and_never_wraps() {
        let way = AgentWay::new(u32::MAX);
        assert!(way.is_open());
        assert!(!way.allow(u32::MAX), "nobody waits");
        assert_eq!(way.allowance.load(Ordering::SeqCst), 2 * u64::from(u32::MAX));
        let little = AgentWay::new(1);
        little.give_client(2048);
        little.give_client(2048);
        assert!(!little.is_open());
        assert!(little.allow(1), "the device waits");
        assert!(little.is_open());
        assert!(!little.allow(0), "told once");
    }

    #[test]
    fn a_client_that_does_not_read_holds_the_device_back() {
        let way = AgentWay::new(u32::MAX);
        let mut sent = 0;
        while way.is_open() {
            way.give_client(2048);
            sent += 2048;
        }
        assert_eq!(sent, BYTES_TO_CLIENT);
        assert!(!way.client_took(2048), "not for a single piece");
        assert!(way.client_took(BYTES_TO_CLIENT / 2));
        assert!(way.is_open());
    }
}

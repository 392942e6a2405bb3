//! What channel threads and the host's side of a char device tell each other, and how much of it may be on the way.
//!
//! A channel thread never touches a device: it sends a [`DeviceTask`] into the host's mailbox. What is on the way is
//! counted in a [`Flow`], which both sides share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;

use super::ClientId;
use super::agent::AgentTask;

/// Names a char device from its addition to its removal; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(u64);

impl DeviceId {
    /// One that no other device has or had.
    #[must_use]
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only uniqueness matters.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Something for the host's side of a device, in the order in which it was sent.
///
/// Which of them a device understands depends on its kind; others are dropped.
#[derive(Debug)]
pub enum DeviceTask {
    /// A client's channel is there.
    Attached(ClientId),
    /// It is gone: what it sent and the device has not begun to take is dropped.
    Left(ClientId),
    /// Bytes of a client for the device.
    Data(ClientId, Vec<u8>),
    /// The same from this byte on: a message in the memory into which it was received.
    Message(ClientId, Vec<u8>, usize),
    /// A port event of a client.
    Event(u8),
    /// The way to the client has room again.
    Room,
    /// For a streaming agent's device: begin anew in one of these codecs, or stop if there is none.
    Codecs(Vec<u8>),
    /// For the same: the guest broke the protocol, and the host is to be told.
    Refuse,
    /// A client goes on at another server, and all that it had to say is here: [`DeviceOrder::HandedOver`] answers.
    HandOver(ClientId),
    /// For a smartcard reader: what the device of another server gave of a message that is not complete.
    Begun(Vec<u8>),
    /// For an agent's device alone.
    Agent(AgentTask),
    /// The last call into the device moved enough for one turn of the host's loop: go on.
    Continue,
}

impl DeviceTask {
    /// True for bytes of a client.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::Data(..) | Self::Message(..))
    }
}

/// What the host's side of a device tells its channel.
#[derive(Debug)]
pub enum DeviceOrder {
    /// The device gave bytes, for the client that was the `turn`th to come.
    Data {
        /// Counts the clients that came, from 1.
        turn: u64,
        /// The bytes, one message.
        bytes: Vec<u8>,
    },
    /// The host told of a port event.
    PortEvent(u8),
    /// For another server.
    HandedOver {
        /// What the device has not taken.
        bytes: Vec<u8>,
        /// What it gave of a message that is not complete; smartcard readers only.
        begun: Vec<u8>,
    },
}

/// Messages of a client that may wait for its device (the 128 self tokens of the protocol).
pub const MESSAGES_TO_DEVICE: usize = 128;
/// Bytes of a client at which no more of its messages are taken until the device has taken some.
///
/// The protocol counts messages only, of up to 1 MiB each.
pub const BYTES_TO_DEVICE: usize = 4 * 1024 * 1024;
/// What a message takes beside its bytes.
const MEMORY_OF_MESSAGE: usize = 128;
/// Bytes that wait for a client at which its device is not read any more.
pub const BYTES_TO_CLIENT: usize = 1024 * 1024;

/// What is on the way between one client and one device. Shared by the channel's thread and the host's side.
///
/// Each direction has one side that adds and one that takes; the one that adds looks first. It says that it waits,
/// then looks once more, so that it either sees the room or is told of it.
#[derive(Debug)]
pub struct Flow {
    messages: AtomicUsize,
    to_device: AtomicUsize,
    to_client: AtomicUsize,
    client_waits: AtomicBool,
    device_waits: AtomicBool,
    /// Buffers that have been sent, to be read into again: new ones cost more than what is copied into them.
    spares: ArrayQueue<Vec<u8>>,
    /// Buffers whose bytes a device has taken, for the next messages of the client.
    bodies: ArrayQueue<Vec<u8>>,
}

/// Buffers of a read's size that are kept for the next ones.
const SPARES: usize = 16;
/// The same for messages of the client: as many as may be on the way.
const BODIES: usize = BYTES_TO_DEVICE / BYTES_OF_SPARE;
/// Smaller ones are not kept, nor larger ones than three times this.
const BYTES_OF_SPARE: usize = 64 * 1024;

/// A buffer goes where the next one is taken from, or is freed.
fn keep(buffers: &ArrayQueue<Vec<u8>>, buffer: Vec<u8>) {
    if (BYTES_OF_SPARE..=3 * BYTES_OF_SPARE).contains(&buffer.capacity()) {
        let _ = buffers.push(buffer);
    }
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            messages: AtomicUsize::new(0),
            to_device: AtomicUsize::new(0),
            to_client: AtomicUsize::new(0),
            client_waits: AtomicBool::new(false),
            device_waits: AtomicBool::new(false),
            spares: ArrayQueue::new(SPARES),
            bodies: ArrayQueue::new(BODIES),
        }
    }
}

impl Flow {
    /// A new one with nothing on the way.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Channel's thread: false if another message of the client has to wait; [`Flow::device_took`] tells then.
    #[must_use]
    pub fn device_has_room(&self) -> bool {
        self.device_is_free() || {
            // SeqCst, here and in `device_took`: either this side sees what was taken or that side sees who waits.
            self.client_waits.store(true, Ordering::SeqCst);
            self.device_is_free()
        }
    }

    fn device_is_free(&self) -> bool {
        self.messages.load(Ordering::SeqCst) < MESSAGES_TO_DEVICE
            && self.to_device.load(Ordering::SeqCst) < BYTES_TO_DEVICE
    }

    /// Channel's thread: a message of so many bytes is on its way.
    pub fn give_device(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::SeqCst);
        self.to_device.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Channel's thread: bytes of memory that the client's messages take which wait for the device, small ones included.
    #[must_use]
    pub fn memory_to_device(&self) -> usize {
        let heads = self.messages.load(Ordering::SeqCst).saturating_mul(MEMORY_OF_MESSAGE);
        self.to_device.load(Ordering::SeqCst).saturating_add(heads)
    }

    /// Host's side: the device has taken, or will never take, a message. True if the channel's thread is to be poked.
    #[must_use]
    pub fn device_took(&self, bytes: usize) -> bool {
        self.messages.fetch_sub(1, Ordering::SeqCst);
        self.to_device.fetch_sub(bytes, Ordering::SeqCst);
        // Not for each one: half the messages are a batch worth waking up for.
        let roomy = self.messages.load(Ordering::SeqCst) <= MESSAGES_TO_DEVICE / 2
            && self.to_device.load(Ordering::SeqCst) <= BYTES_TO_DEVICE / 2;
        roomy && self.client_waits.swap(false, Ordering::SeqCst)
    }

    /// Host's side: false if the device must not be read now; [`Flow::client_took`] tells when it may.
    #[must_use]
    pub fn client_has_room(&self) -> bool {
        self.to_client.load(Ordering::SeqCst) < BYTES_TO_CLIENT || {
            // SeqCst, here and in `client_took`, as above.
            self.device_waits.store(true, Ordering::SeqCst);
            self.to_client.load(Ordering::SeqCst) < BYTES_TO_CLIENT
        }
    }

    /// Host's side: so many bytes are on their way to the client.
    pub fn give_client(&self, bytes: usize) {
        self.to_client.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Channel's thread: a buffer whose bytes have been sent.
    pub fn keep(&self, buffer: Vec<u8>) {
        keep(&self.spares, buffer);
    }

    /// Host's side: a message's buffer that the device has taken.
    pub fn keep_body(&self, buffer: Vec<u8>) {
        keep(&self.bodies, buffer);
    }

    /// Channel's thread: a buffer for a message of so many bytes. What it holds is old.
    #[must_use]
    pub fn body(&self, bytes: usize) -> Vec<u8> {
        let kept = if bytes >= BYTES_OF_SPARE / 4 { self.bodies.pop() } else { None };
        kept.unwrap_or_default()
    }

    /// Host's side: a buffer to read into, if there is one.
    #[must_use]
    pub fn spare(&self) -> Option<Vec<u8>> {
        self.spares.pop()
    }

    /// Channel's thread: the socket has taken so many. True if the device is to be read again.
    #[must_use]
    pub fn client_took(&self, bytes: usize) -> bool {
        let before = self.to_client.fetch_sub(bytes, Ordering::SeqCst);
        // Half of it, as above, so that the two do not wake each other for every message.
        before.saturating_sub(bytes) <= BYTES_TO_CLIENT / 2
            && self.device_waits.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_bound_what_waits_for_a_device() {
        let flow = Flow::default();
        for _ in 0..MESSAGES_TO_DEVICE {
            assert!(flow.device_has_room());
            flow.give_device(10);
        }
        assert!(!flow.device_has_room());
        let poked = (0..MESSAGES_TO_DEVICE).filter(|_| flow.device_took(10)).count();
        assert_eq!(poked, 1, "who waits is told once");
        flow.give_device(BYTES_TO_DEVICE);
        assert!(!flow.device_has_room());
        assert!(flow.device_took(BYTES_TO_DEVICE));
        assert!(flow.device_has_room());
    }

    #[test]
    fn a_device_is_read_until_a_mebibyte_waits() {
        let flow = Flow::default();
        flow.give_client(BYTES_TO_CLIENT - 1);
        assert!(flow.client_has_room());
        flow.give_client(65_568);
        assert!(!flow.client_has_room());
        assert!(!flow.client_took(65_568));
        assert!(flow.client_took(BYTES_TO_CLIENT / 2));
        assert!(!flow.client_took(5), "told once");
    }

    #[test]
    fn ids_differ() {
        assert_ne!(DeviceId::fresh(), DeviceId::fresh());
    }
}

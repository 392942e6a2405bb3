//! The host's side of the smartcard channel: cuts what the device gives into messages.

use crate::channel::device::DeviceTask;
use crate::protocol::smartcard::{self as wire, CardMessage, kind};

use super::device::READ_MAX;
use super::kind::{Kind, Owner, Todo};
use super::vmc::Bytes;

/// Bytes asked for at a time: the head and the longest APDU.
const READ_STEP: usize = wire::HEAD + 270;
/// Number of the one reader for clients; a device knows itself only and says 0 whatever it is.
const READER: u32 = 0;

/// A device that is read always: what nobody wants is dropped.
pub(super) struct Cards {
    bytes: Bytes,
    /// What the device gave of a message that is not complete.
    begun: Vec<u8>,
    /// It announced a message that cannot be: where the next one begins nobody knows.
    broken: bool,
}

impl Cards {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, begun: Vec::new(), broken: false }
    }

    /// Passes on what is complete; how many bytes that was.
    fn cut(&mut self) -> usize {
        let mut used = 0;
        while let Some(rest) = self.begun.get(used..) {
            match CardMessage::of_device(rest) {
                Ok(None) => break,
                Ok(Some((message, n))) => {
                    used += n;
                    if message.kind != kind::INIT {
                        self.bytes.send(CardMessage { reader: READER, ..message }.for_client());
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a smartcard device is not listened to any more");
                    self.broken = true;
                    return self.begun.len();
                }
            }
        }
        used
    }
}

impl Kind for Cards {
    fn wants(&mut self) -> usize {
        if !self.bytes.has_room() {
            return 0;
        }
        let least = READ_STEP.saturating_sub(self.begun.len());
        wire::wanted_of_device(&self.begun).unwrap_or(least).max(least).clamp(1, READ_MAX)
    }

    fn read(&mut self, bytes: &[u8], _todo: &mut Todo) {
        if self.broken {
            return;
        }
        self.begun.extend_from_slice(bytes);
        let used = self.cut();
        self.begun.drain(..used);
    }

    fn written(&mut self, owner: Owner, bytes: usize, todo: &mut Todo) {
        self.bytes.written(owner, bytes, todo);
    }

    fn task(&mut self, task: DeviceTask, todo: &mut Todo) {
        self.bytes.task(task, todo);
    }

    fn removed(&mut self, todo: &mut Todo) {
        self.bytes.removed(todo);
    }
}

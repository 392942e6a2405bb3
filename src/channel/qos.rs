//! Quality of service of a channel type: how its threads are scheduled, and how many bytes a second its clients get.
//!
//! The host sets it at any time, on any of its threads; each thread takes it over by itself at its next turn.
#![forbid(unsafe_code)]

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::caps::ChannelType;
use crate::sys::thread::{OwnScheduling, Scheduling};

use super::clients::OUTBOX_MARK;

/// Smallest bound in bytes a second: below it the end of a second's bytes would be too coarse to be kept within 5 %, and
/// no channel is of use.
pub const LEAST_RATE: u64 = 64 * 1024;

/// What was set for a channel type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Qos {
    /// How its threads run.
    pub scheduling: Scheduling,
    /// Bytes that each of its clients is sent in a second, at most; `None`: no bound.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// The same, where threads look it up.
#[derive(Debug, Default)]
pub struct QosCell {
    /// Grows with each change.
    version: AtomicU32,
    value: Mutex<Qos>,
}

impl QosCell {
    /// Changes it. The threads have to be poked.
    pub fn set(&self, qos: Qos) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = qos;
        // Release; pairs with the Acquire in `newer`.
        self.version.fetch_add(1, Ordering::Release);
    }

    /// What was set since the version that was seen last.
    pub fn newer(&self, seen: &mut u32) -> Option<Qos> {
        let version = self.version.load(Ordering::Acquire);
        if std::mem::replace(seen, version) == version {
            return None;
        }
        Some(self.value.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// One for each channel type that there is.
#[derive(Debug)]
pub struct QosTable([Arc<QosCell>; TYPES]);

/// Types are numbers below this.
const TYPES: usize = 16;

impl Default for QosTable {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl QosTable {
    /// That of a type; of one that SPICE does not have, one that nobody sets.
    #[must_use]
    pub fn of(&self, channel: ChannelType) -> Arc<QosCell> {
        self.0.get(usize::from(channel.0)).map(Arc::clone).unwrap_or_default()
    }
}

/// What a thread has taken over. Owned by it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    seen: u32,
    own: OwnScheduling,
}

impl Applied {
    /// Takes over what is new; the bound that counts now is in what it returns.
    pub(super) fn look(&mut self, cell: &QosCell) -> Option<Qos> {
        let qos = cell.newer(&mut self.seen)?;
        apply(&mut self.own, &qos.scheduling);
        Some(qos)
    }
}

fn apply(own: &mut OwnScheduling, scheduling: &Scheduling) {
    for (what, error) in own.apply(scheduling) {
        tracing::warn!(%error, "the {what} that was set for this thread cannot be had");
    }
}

/// Bytes in an outbox above which a client with a bounded rate has no room for more: a tenth of a second of them. What
/// waits elsewhere can still become needless.
#[must_use]
pub(super) fn mark(rate: Option<NonZeroU64>) -> usize {
    rate.map_or(OUTBOX_MARK, |rate| {
        usize::try_from(rate.get() / 10).unwrap_or(OUTBOX_MARK).clamp(8 * 1024, OUTBOX_MARK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_hears_of_a_change_once() {
        let table = QosTable::default();
        let cell = table.of(ChannelType::DISPLAY);
        let (mut one, mut other) = (0, 0);
        assert_eq!(cell.newer(&mut one), None);
        let qos = Qos { bytes_per_second: NonZeroU64::new(LEAST_RATE), ..Qos::default() };
        table.of(ChannelType::DISPLAY).set(qos.clone());
        assert_eq!(cell.newer(&mut one), Some(qos.clone()));
        assert_eq!(cell.newer(&mut one), None);
        assert_eq!(cell.newer(&mut other), Some(qos));
        assert_eq!(table.of(ChannelType::MAIN).newer(&mut 0), None);
        assert_eq!(table.of(ChannelType(200)).newer(&mut 0), None);
    }

    #[test]
    fn a_slow_client_has_little_before_the_socket() {
        let marks = [LEAST_RATE, 1_000_000, 1 << 30].map(|rate| mark(NonZeroU64::new(rate)));
        assert_eq!(marks, [8192, 100_000, OUTBOX_MARK]);
        assert_eq!(mark(None), OUTBOX_MARK);
    }
}

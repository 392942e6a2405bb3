//! What a host has set on a sound channel, and what of it its client has not been told yet.

use super::{DEFAULT_RATE, Volume};

/// Changes that may wait for a client that does not read. Beyond it they are dropped, and the client is told how things
/// stand when it reads again.
pub const CHANGES_LIMIT: usize = 16;

/// What the host has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The guest plays, or records.
    pub active: bool,
    /// Sample rate in Hz.
    pub rate: u32,
    /// The host has set the rate: only then the server says that it has Opus, as the reference does.
    pub rate_is_set: bool,
    /// Opus is wished for.
    pub compression: bool,
    /// Volume, if the host ever set one.
    pub volume: Option<Volume>,
    /// Not 0: silent; if the host ever said so.
    pub mute: Option<u8>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            active: false,
            rate: DEFAULT_RATE,
            rate_is_set: false,
            compression: true,
            volume: None,
            mute: None,
        }
    }
}

/// One thing that the host changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The guest starts, at this sample rate in Hz.
    Start(u32),
    /// The guest stops.
    Stop,
    /// Another volume.
    Volume(Volume),
    /// Silent or not.
    Mute(u8),
    /// What decides the mode has changed.
    Mode,
}

impl State {
    /// The guest starts or stops; `None` if it did already.
    pub fn set_active(&mut self, active: bool) -> Option<Change> {
        if std::mem::replace(&mut self.active, active) == active {
            return None;
        }
        Some(if active { Change::Start(self.rate) } else { Change::Stop })
    }

    /// Sets the volume.
    pub fn set_volume(&mut self, volume: Volume) -> Change {
        self.volume = Some(volume.clone());
        Change::Volume(volume)
    }

    /// Silences the client, or not.
    pub fn set_mute(&mut self, mute: u8) -> Change {
        self.mute = Some(mute);
        Change::Mute(mute)
    }

    /// Sets the sample rate of the next start.
    pub fn set_rate(&mut self, rate: u32) -> Option<Change> {
        self.rate_is_set = true;
        (std::mem::replace(&mut self.rate, rate) != rate).then_some(Change::Mode)
    }

    /// Wishes for Opus, or not.
    pub fn set_compression(&mut self, on: bool) -> Option<Change> {
        (std::mem::replace(&mut self.compression, on) != on).then_some(Change::Mode)
    }
}

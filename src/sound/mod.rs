//! Sound: what stands between the host's calls and the threads of the playback and record channels, and the codec.
//!
//! The host's calls meet the channel threads in two places only: [`feed::Feed`] (from the guest) and
//! [`capture::Capture`] (to the guest). Both are held for moving pointers or copying samples, never while sound is
//! encoded, decoded or sent. No socket, no thread and no wire format lives here.
#![forbid(unsafe_code)]

pub mod capture;
pub mod codec;
pub mod feed;
pub mod state;

/// Stereo samples of a buffer of sound: 10 ms at 48 kHz, in every mode and at every rate.
pub const FRAME_SAMPLES: usize = 480;

/// A buffer of sound; each number holds the left sample in its first two bytes and the right one in the others.
pub type Frame = [u32; FRAME_SAMPLES];

/// Sample rate in Hz of a host that never sets one.
pub const DEFAULT_RATE: u32 = 48_000;

/// Volume of a host that set one: for each channel 0 (silent) to 65,535.
pub type Volume = Vec<u16>;

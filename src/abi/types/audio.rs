//! Sound output and input of the guest (`spice-audio.h` of the original).

use std::ffi::c_int;

use super::core::{SpiceBaseInstance, SpiceBaseInterface};

/// Kind of a playback interface: sound from the guest.
pub const SPICE_INTERFACE_PLAYBACK: &str = "playback";
/// Major version of the playback interface.
pub const SPICE_INTERFACE_PLAYBACK_MAJOR: u32 = 1;
/// Minor version of the playback interface.
pub const SPICE_INTERFACE_PLAYBACK_MINOR: u32 = 3;

/// Sample format: 16 bits, signed, native byte order.
pub const SPICE_INTERFACE_AUDIO_FMT_S16: c_int = 1;

/// Sample rate in Hz of hosts that never set one.
pub const SPICE_INTERFACE_PLAYBACK_FREQ: c_int = 44100;
/// Number of channels.
pub const SPICE_INTERFACE_PLAYBACK_CHAN: c_int = 2;
/// Sample format.
pub const SPICE_INTERFACE_PLAYBACK_FMT: c_int = SPICE_INTERFACE_AUDIO_FMT_S16;

/// The server's side of a playback instance.
#[derive(Debug)]
pub struct SpicePlaybackState {
    _opaque: [u8; 0],
}

/// Playback has no callbacks.
#[repr(C)]
#[derive(Debug)]
pub struct SpicePlaybackInterface {
    /// Kind "playback".
    pub base: SpiceBaseInterface,
}
layout!(SpicePlaybackInterface, 24, { base: 0 });

/// One sound output.
#[repr(C)]
#[derive(Debug)]
pub struct SpicePlaybackInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut SpicePlaybackState,
}
layout!(SpicePlaybackInstance, 16, { base: 0, st: 8 });

/// Kind of a record interface: sound to the guest.
pub const SPICE_INTERFACE_RECORD: &str = "record";
/// Major version of the record interface.
pub const SPICE_INTERFACE_RECORD_MAJOR: u32 = 2;
/// Minor version of the record interface.
pub const SPICE_INTERFACE_RECORD_MINOR: u32 = 3;

/// Sample rate in Hz of hosts that never set one.
pub const SPICE_INTERFACE_RECORD_FREQ: c_int = 44100;
/// Number of channels.
pub const SPICE_INTERFACE_RECORD_CHAN: c_int = 2;
/// Sample format.
pub const SPICE_INTERFACE_RECORD_FMT: c_int = SPICE_INTERFACE_AUDIO_FMT_S16;

/// The server's side of a record instance.
#[derive(Debug)]
pub struct SpiceRecordState {
    _opaque: [u8; 0],
}

/// Record has no callbacks.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceRecordInterface {
    /// Kind "record".
    pub base: SpiceBaseInterface,
}
layout!(SpiceRecordInterface, 24, { base: 0 });

/// One sound input.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceRecordInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut SpiceRecordState,
}
layout!(SpiceRecordInstance, 16, { base: 0, st: 8 });

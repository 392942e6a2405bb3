//! Character devices: agent, USB, smartcards, ports (`spice-char.h` of the original).

use std::ffi::{c_char, c_int};

use super::core::{SpiceBaseInstance, SpiceBaseInterface};

/// Kind of a character device interface.
pub const SPICE_INTERFACE_CHAR_DEVICE: &str = "char_device";
/// Major version of the character device interface.
pub const SPICE_INTERFACE_CHAR_DEVICE_MAJOR: u32 = 1;
/// Minor version of the character device interface; 2 added `event`, 3 added `flags`.
pub const SPICE_INTERFACE_CHAR_DEVICE_MINOR: u32 = 3;

/// What a device can do (`spice_char_device_flags`).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CharDeviceFlags(pub u32);

impl CharDeviceFlags {
    /// The host calls `spice_server_char_device_wakeup` when the device can be written again.
    pub const NOTIFY_WRITABLE: Self = Self(1);
}

/// The server's side of a character device.
#[derive(Debug)]
pub struct SpiceCharDeviceState {
    _opaque: [u8; 0],
}

/// What the server may do with a device. No callback may block.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceCharDeviceInterface {
    /// Kind "char_device".
    pub base: SpiceBaseInterface,
    /// The other side is there (1) or gone (0).
    pub state: Option<unsafe extern "C" fn(sin: *mut SpiceCharDeviceInstance, connected: c_int)>,
    /// Gives at most `len` bytes to the device; returns how many it took, below 0 counts as none.
    pub write: Option<
        unsafe extern "C" fn(
            sin: *mut SpiceCharDeviceInstance,
            buf: *const u8,
            len: c_int,
        ) -> c_int,
    >,
    /// Takes at most `len` bytes from the device; returns how many, below 0 counts as none.
    pub read: Option<
        unsafe extern "C" fn(sin: *mut SpiceCharDeviceInstance, buf: *mut u8, len: c_int) -> c_int,
    >,
    /// The client sent a port event. Since minor version 2.
    pub event: Option<unsafe extern "C" fn(sin: *mut SpiceCharDeviceInstance, event: u8)>,
    /// What the device can do. Since minor version 3.
    pub flags: CharDeviceFlags,
}
layout!(SpiceCharDeviceInterface, 64, {
    base: 0, state: 24, write: 32, read: 40, event: 48, flags: 56,
});

/// One character device.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceCharDeviceInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// What it is: "vdagent", "smartcard", "usbredir" or "port".
    pub subtype: *const c_char,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut SpiceCharDeviceState,
    /// Name of a port, for example "org.spice-space.webdav.0"; NULL for other kinds.
    pub portname: *const c_char,
}
layout!(SpiceCharDeviceInstance, 32, { base: 0, subtype: 8, st: 16, portname: 24 });

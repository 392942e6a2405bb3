//! Keyboard, mouse and tablet of the guest (`spice-input.h` of the original).

use std::ffi::c_int;

use super::core::{SpiceBaseInstance, SpiceBaseInterface};

/// Kind of a keyboard interface.
pub const SPICE_INTERFACE_KEYBOARD: &str = "keyboard";
/// Major version of the keyboard interface.
pub const SPICE_INTERFACE_KEYBOARD_MAJOR: u32 = 1;
/// Minor version of the keyboard interface.
pub const SPICE_INTERFACE_KEYBOARD_MINOR: u32 = 1;

/// The server's side of a keyboard.
#[derive(Debug)]
pub struct SpiceKbdState {
    _opaque: [u8; 0],
}

/// What the server may do with a keyboard.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceKbdInterface {
    /// Kind "keyboard".
    pub base: SpiceBaseInterface,
    /// Types one byte of a PC scan code (set 1); prefix bytes come in calls of their own.
    pub push_scan_freg: Option<unsafe extern "C" fn(sin: *mut SpiceKbdInstance, frag: u8)>,
    /// Returns the lock lights: scroll 1, num 2, caps 4.
    pub get_leds: Option<unsafe extern "C" fn(sin: *mut SpiceKbdInstance) -> u8>,
}
layout!(SpiceKbdInterface, 40, { base: 0, push_scan_freg: 24, get_leds: 32 });

/// One keyboard.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceKbdInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut SpiceKbdState,
}
layout!(SpiceKbdInstance, 16, { base: 0, st: 8 });

/// Kind of a mouse interface.
pub const SPICE_INTERFACE_MOUSE: &str = "mouse";
/// Major version of the mouse interface.
pub const SPICE_INTERFACE_MOUSE_MAJOR: u32 = 1;
/// Minor version of the mouse interface.
pub const SPICE_INTERFACE_MOUSE_MINOR: u32 = 1;

/// The server's side of a mouse.
#[derive(Debug)]
pub struct SpiceMouseState {
    _opaque: [u8; 0],
}

/// What the server may do with a mouse.
///
/// Button bits: left 1, right 2, middle 4, side 0x40, extra 0x80.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceMouseInterface {
    /// Kind "mouse".
    pub base: SpiceBaseInterface,
    /// Moves by pixels (`dx`, `dy`) and wheel steps (`dz`).
    pub motion: Option<
        unsafe extern "C" fn(
            sin: *mut SpiceMouseInstance,
            dx: c_int,
            dy: c_int,
            dz: c_int,
            buttons_state: u32,
        ),
    >,
    /// Sets the buttons.
    pub buttons: Option<unsafe extern "C" fn(sin: *mut SpiceMouseInstance, buttons_state: u32)>,
}
layout!(SpiceMouseInterface, 40, { base: 0, motion: 24, buttons: 32 });

/// One mouse.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceMouseInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut SpiceMouseState,
}
layout!(SpiceMouseInstance, 16, { base: 0, st: 8 });

/// Kind of a tablet interface.
pub const SPICE_INTERFACE_TABLET: &str = "tablet";
/// Major version of the tablet interface.
pub const SPICE_INTERFACE_TABLET_MAJOR: u32 = 1;
/// Minor version of the tablet interface.
pub const SPICE_INTERFACE_TABLET_MINOR: u32 = 1;

/// The server's side of a tablet.
#[derive(Debug)]
pub struct SpiceTabletState {
    _opaque: [u8; 0],
}

/// What the server may do with a tablet, a pointer with absolute positions.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceTabletInterface {
    /// Kind "tablet".
    pub base: SpiceBaseInterface,
    /// The range of positions, in pixels.
    pub set_logical_size:
        Option<unsafe extern "C" fn(tablet: *mut SpiceTabletInstance, width: c_int, height: c_int)>,
    /// Moves to a position.
    pub position: Option<
        unsafe extern "C" fn(
            tablet: *mut SpiceTabletInstance,
            x: c_int,
            y: c_int,
            buttons_state: u32,
        ),
    >,
    /// Turns the wheel by one step up (-1) or down (1).
    pub wheel: Option<
        unsafe extern "C" fn(
            tablet: *mut SpiceTabletInstance,
            wheel_motion: c_int,
            buttons_state: u32,
        ),
    >,
    /// Sets the buttons.
    pub buttons: Option<unsafe extern "C" fn(tablet: *mut SpiceTabletInstance, buttons_state: u32)>,
}
layout!(SpiceTabletInterface, 56, {
    base: 0, set_logical_size: 24, position: 32, wheel: 40, buttons: 48,
});

/// One tablet.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceTabletInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut SpiceTabletState,
}
layout!(SpiceTabletInstance, 16, { base: 0, st: 8 });

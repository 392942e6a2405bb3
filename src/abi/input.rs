//! What a keyboard tells the server (`spice-input.h` of the original).

use std::ffi::c_int;

use super::guard::{guard, not_yet};
use super::types::input::SpiceKbdInstance;

symver!(spice_server_kbd_leds, "0.6.0");
/// The guest set the lock lights: scroll 1, num 2, caps 4.
///
/// Returns 0.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_kbd_leds(sin: *mut SpiceKbdInstance, leds: c_int) -> c_int {
    guard("spice_server_kbd_leds", -1, || not_yet!("spice_server_kbd_leds", -1, sin, leds))
}

//! What a keyboard tells the server (`spice-input.h` of the original).

use std::ffi::c_int;

use super::guard::guard;
use super::handles;
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
    guard("spice_server_kbd_leds", -1, || match handles::instance(sin) {
        Some(added) => {
            // Only the three lock bits have a meaning.
            let leds = u8::try_from(leds & 7).unwrap_or(0);
            added.server.core.keyboard_leds(leds);
            0
        }
        None => -1,
    })
}

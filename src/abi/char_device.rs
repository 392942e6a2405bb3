//! What a character device tells the server (`spice-char.h` of the original).

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use crate::channel::device::DeviceId;
use crate::server::Core;

use super::guard::guard;
use super::handles::{self, Added, Kind};
use super::types::char_device::SpiceCharDeviceInstance;

/// Pointers to literals only, so it may be shared.
struct Subtypes([*const c_char; 4]);

// SAFETY: the pointers point to constant strings, which every thread may read.
unsafe impl Sync for Subtypes {}

/// "port" is absent on purpose: hosts make ports in another way than by subtype.
static SUBTYPES: Subtypes =
    Subtypes([c"vdagent".as_ptr(), c"smartcard".as_ptr(), c"usbredir".as_ptr(), ptr::null()]);

/// The device of an instance; says so if it is not added.
fn device(
    name: &'static str,
    instance: *mut SpiceCharDeviceInstance,
) -> Option<(Arc<Core>, DeviceId)> {
    match handles::instance(instance) {
        Some(Added { server, kind: Kind::CharDevice(id) }) => Some((Arc::clone(&server.core), id)),
        _ => {
            tracing::warn!("{name}: this char device is not added");
            None
        }
    }
}

symver!(spice_server_char_device_wakeup, "0.6.0");
/// The device can be read or written again.
///
/// Reads it before it returns, on the calling thread.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_char_device_wakeup(sin: *mut SpiceCharDeviceInstance) {
    guard("spice_server_char_device_wakeup", (), || {
        if let Some((core, device)) = device("spice_server_char_device_wakeup", sin) {
            core.device_wakeup(device);
        }
    })
}

symver!(spice_server_port_event, "0.12.2");
/// Something happened to a port: opened 0, closed 1, break 2.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_port_event(sin: *mut SpiceCharDeviceInstance, event: u8) {
    guard("spice_server_port_event", (), || {
        if let Some((core, device)) = device("spice_server_port_event", sin) {
            core.device_port_event(device, event);
        }
    })
}

symver!(spice_server_char_device_recognized_subtypes, "0.6.0");
/// The subtypes that hosts may offer to users: an array that ends with NULL.
///
/// Valid for ever; must not be freed or written.
#[unsafe(no_mangle)]
pub extern "C" fn spice_server_char_device_recognized_subtypes() -> *mut *const c_char {
    guard("spice_server_char_device_recognized_subtypes", ptr::null_mut(), || {
        SUBTYPES.0.as_ptr().cast_mut()
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn the_subtypes_end_with_null_and_leave_out_ports() {
        let texts = SUBTYPES.0.iter().take_while(|text| !text.is_null());
        // SAFETY: the array holds literals with terminators.
        let texts: Vec<_> = texts.map(|text| unsafe { CStr::from_ptr(*text) }).collect();
        assert_eq!(texts, [c"vdagent", c"smartcard", c"usbredir"]);
        assert!(SUBTYPES.0.last().is_some_and(|end| end.is_null()));
        assert!(!spice_server_char_device_recognized_subtypes().is_null());
    }
}

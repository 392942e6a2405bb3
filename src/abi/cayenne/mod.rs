//! The extension interface: what the original's interface cannot say (`cayenne.h`).

use std::ffi::{c_char, c_int};

use super::guard::guard;
use super::handles::with;
use super::types::server::SpiceServer;
use crate::pool::workers::MAX_THREADS;

pub mod qos;
pub mod ring;
pub mod stats;

symver!(cayenne_version, node "CAYENNE_1");
/// Version of the library, for example "0.1.0".
///
/// The string is NUL-terminated, valid for ever and must not be freed. May be called at any time
/// on any thread.
#[unsafe(no_mangle)]
pub extern "C" fn cayenne_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

symver!(cayenne_set_multiple_clients, node "CAYENNE_1");
/// Lets several clients be connected at once (1), or lets a new one take the place of the one before (0, the default).
///
/// All of them see and control the machine; each has its own pace, capabilities and image compression. Counts for
/// logins from now on: clients that are connected stay. The environment variable SPICE_DEBUG_ALLOW_MC does the same at
/// `spice_server_init`. May be called before and after `spice_server_init`. Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cayenne_set_multiple_clients(
    server: *mut SpiceServer,
    enable: c_int,
) -> c_int {
    guard("cayenne_set_multiple_clients", -1, || {
        with("cayenne_set_multiple_clients", server, -1, |s| {
            s.core.set_multiple_clients(enable != 0);
            0
        })
    })
}

symver!(cayenne_set_encoder_threads, node "CAYENNE_1");
/// How many threads (`spice-enc-0` and so on) encode large images, for all servers of the process.
///
/// `count`: 1 to 64, or 0 for the default, as many as the process has processors but one, at least one. Counts at once:
/// missing threads are started if the process has a display already, surplus ones end when they have done what they are
/// at. Without this call the environment variable CAYENNE_ENCODER_THREADS counts, read when the first display comes. May
/// be called at any time on any thread. Returns 0, or -1 if `count` is none of these or `server` does not exist.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cayenne_set_encoder_threads(
    server: *mut SpiceServer,
    count: c_int,
) -> c_int {
    guard("cayenne_set_encoder_threads", -1, || {
        with("cayenne_set_encoder_threads", server, -1, |s| match usize::try_from(count) {
            Ok(count) if count <= MAX_THREADS => {
                s.core.set_encoder_threads(count);
                0
            }
            _ => -1,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    #[test]
    fn the_version_is_that_of_the_package() {
        // SAFETY: the function returns a literal with a terminator.
        let version = unsafe { CStr::from_ptr(super::cayenne_version()) };
        assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_server_that_does_not_exist_is_refused() {
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { super::cayenne_set_multiple_clients(std::ptr::null_mut(), 1) }, -1);
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { super::cayenne_set_encoder_threads(std::ptr::null_mut(), 1) }, -1);
    }
}

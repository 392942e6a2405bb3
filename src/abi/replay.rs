//! Playing recorded command streams (`spice-replay.h` of the original).

use std::ffi::c_int;
use std::ptr;

use super::guard::{guard, not_yet};
use super::types::foreign::{File, QXLCommandExt};
use super::types::qxl::QXLInstance;
use super::types::replay::SpiceReplay;

symver!(spice_replay_new, "0.12.6");
/// Opens a recording; NULL if it is none or of another version.
///
/// The file belongs to the replay afterwards.
///
/// # Safety
/// - `file` is NULL or open for reading.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_new(file: *mut File, nsurfaces: c_int) -> *mut SpiceReplay {
    guard("spice_replay_new", ptr::null_mut(), || {
        not_yet!("spice_replay_new", ptr::null_mut(), file, nsurfaces)
    })
}

symver!(spice_replay_next_cmd, "0.12.6");
/// Reads up to the next command, executing what else was recorded; NULL at the end.
///
/// # Safety
/// - `replay` is NULL or came from `spice_replay_new` and was not freed.
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_next_cmd(
    replay: *mut SpiceReplay,
    instance: *mut QXLInstance,
) -> *mut QXLCommandExt {
    guard("spice_replay_next_cmd", ptr::null_mut(), || {
        not_yet!("spice_replay_next_cmd", ptr::null_mut(), replay, instance)
    })
}

symver!(spice_replay_free_cmd, "0.12.6");
/// Frees a command that the server has released.
///
/// # Safety
/// - `replay` is NULL or came from `spice_replay_new` and was not freed.
/// - `cmd` is NULL or came from `spice_replay_next_cmd` and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free_cmd(replay: *mut SpiceReplay, cmd: *mut QXLCommandExt) {
    guard("spice_replay_free_cmd", (), || not_yet!("spice_replay_free_cmd", (), replay, cmd))
}

symver!(spice_replay_free, "0.12.6");
/// Ends a replay and closes its file.
///
/// # Safety
/// - `replay` is NULL or came from `spice_replay_new`; it must not be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free(replay: *mut SpiceReplay) {
    guard("spice_replay_free", (), || not_yet!("spice_replay_free", (), replay))
}

//! Moving a session to another server (`spice-migration.h` of the original).

use std::ffi::{c_char, c_int};

use super::guard::{guard, not_yet};
use super::types::server::SpiceServer;

symver!(spice_server_migrate_connect, "0.8.3");
/// Tells the clients where the machine is going to; `migrate_connect_complete` follows.
///
/// A port of -1 means none. Returns -1 without a destination or a port.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - Each of `dest`, `cert_subject`: is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_connect(
    server: *mut SpiceServer,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    guard("spice_server_migrate_connect", -1, || {
        not_yet!("spice_server_migrate_connect", -1, server, dest, port, secure_port, cert_subject)
    })
}

symver!(spice_server_migrate_start, "0.6.0");
/// The migration begins. Returns -1 without a destination.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_start(server: *mut SpiceServer) -> c_int {
    guard("spice_server_migrate_start", -1, || not_yet!("spice_server_migrate_start", -1, server))
}

symver!(spice_server_migrate_end, "0.6.0");
/// The migration is over, completed (1) or not (0); `migrate_end_complete` follows.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_end(
    server: *mut SpiceServer,
    completed: c_int,
) -> c_int {
    guard("spice_server_migrate_end", -1, || {
        not_yet!("spice_server_migrate_end", -1, server, completed)
    })
}

symver!(spice_server_migrate_info, "0.6.0");
/// Sets the destination of `spice_server_migrate_switch`.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - Each of `dest`, `cert_subject`: is NULL or a NUL-terminated string.
#[deprecated(note = "use spice_server_migrate_connect")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_info(
    server: *mut SpiceServer,
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    cert_subject: *const c_char,
) -> c_int {
    guard("spice_server_migrate_info", -1, || {
        not_yet!("spice_server_migrate_info", -1, server, dest, port, secure_port, cert_subject)
    })
}

symver!(spice_server_migrate_switch, "0.8.0");
/// Sends the clients to the destination. Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[deprecated(note = "use spice_server_migrate_connect")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_switch(server: *mut SpiceServer) -> c_int {
    guard("spice_server_migrate_switch", 0, || not_yet!("spice_server_migrate_switch", 0, server))
}

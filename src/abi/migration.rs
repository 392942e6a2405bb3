//! Moving a session to another server (`spice-migration.h` of the original).
//!
//! Called by the host under its lock, on the thread of its main loop. The answers come on that thread, later.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use crate::protocol::migrate::{Destination, NAME_MAX};

use super::guard::{copied_bytes, guard};
use super::handles::{Server, with};
use super::types::server::SpiceServer;

/// The destination that the host names; the reason is logged if that is none.
///
/// # Safety
/// - Each of `dest`, `subject`: is NULL or a NUL-terminated string.
unsafe fn destination(
    dest: *const c_char,
    port: c_int,
    secure_port: c_int,
    subject: *const c_char,
) -> Option<Destination> {
    // One byte more than allowed, so that what is too long is refused and not cut.
    // SAFETY: the caller vouches for the string.
    let dest = unsafe { copied_bytes(dest, NAME_MAX + 1) }.unwrap_or_default();
    // SAFETY: the caller vouches for the string.
    let subject = unsafe { copied_bytes(subject, NAME_MAX + 1) };
    // -1 is none; so is whatever else is no port.
    let port_of = |number: c_int| u16::try_from(number).ok().filter(|port| *port > 0);
    Destination::new(&dest, port_of(port), port_of(secure_port), subject.as_deref())
        .inspect_err(|error| tracing::error!("clients cannot be sent anywhere: {error}"))
        .ok()
}

/// True if the host can be answered; logged if not.
fn can_answer(server: &Arc<Server>) -> bool {
    let can = server.host.get().is_some_and(|host| host.has_migration());
    if !can {
        tracing::error!("a migration needs a migration interface (spice_server_add_interface)");
    }
    can
}

symver!(spice_server_migrate_connect, "0.8.3");
/// Sends the clients to the server that the machine is going to move to. They connect there and stay here meanwhile;
/// `migrate_connect_complete` is called when all have answered, ten seconds later at most, and at once if there is none.
///
/// `dest` is a name or address, at most 1024 bytes; a port of -1 means none. `cert_subject` is what its certificate is
/// made out to, or NULL. A call before the last migration has ended takes its place. The order is at the clients'
/// connections when this returns, and nothing waits for them.
///
/// Returns 0, or -1 without a destination, without a port (`migrate_connect_complete` is called all the same) or
/// without a migration interface (it is not).
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
        with("spice_server_migrate_connect", server, -1, |s| {
            if !can_answer(&s) {
                return -1;
            }
            // SAFETY: the caller vouches for the strings.
            match unsafe { destination(dest, port, secure_port, cert_subject) } {
                Some(to) => {
                    s.core.migrate_connect(to);
                    0
                }
                None => {
                    s.core.refuse_migration();
                    -1
                }
            }
        })
    })
}

symver!(spice_server_migrate_start, "0.6.0");
/// The machine begins to move. Nothing is done. Returns 0, or -1 without a destination.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_start(server: *mut SpiceServer) -> c_int {
    guard("spice_server_migrate_start", -1, || {
        with("spice_server_migrate_start", server, -1, |s| {
            if s.core.has_destination() { 0 } else { -1 }
        })
    })
}

symver!(spice_server_migrate_end, "0.6.0");
/// The machine has moved (`completed` is not 0), or it stays. `migrate_end_complete` is called when the clients have
/// gone, ten seconds later at most, and at once if there is none or the machine stays.
///
/// Clients that have connected to the target go on there; others begin anew there.
///
/// Returns 0, or -1 if the machine has moved, clients are here and no destination was given: they are disconnected.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_end(
    server: *mut SpiceServer,
    completed: c_int,
) -> c_int {
    guard("spice_server_migrate_end", -1, || {
        with("spice_server_migrate_end", server, -1, |s| {
            if !can_answer(&s) {
                return -1;
            }
            match s.core.migrate_end(completed != 0) {
                Ok(()) => 0,
                Err(error) => {
                    tracing::error!("{error}");
                    -1
                }
            }
        })
    })
}

symver!(spice_server_migrate_info, "0.6.0");
/// Sets the destination of `spice_server_migrate_switch`; the arguments are those of `spice_server_migrate_connect`.
///
/// Returns 0, or -1 without a destination or a port, or if the server has a migration interface.
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
        with("spice_server_migrate_info", server, -1, |s| {
            if s.host.get().is_some_and(|host| host.has_migration()) {
                tracing::error!("spice_server_migrate_info: this server has a migration interface");
                return -1;
            }
            // SAFETY: the caller vouches for the strings.
            match unsafe { destination(dest, port, secure_port, cert_subject) } {
                Some(to) => {
                    s.core.migrate_info(to);
                    0
                }
                None => -1,
            }
        })
    })
}

symver!(spice_server_migrate_switch, "0.8.0");
/// Sends the clients to the destination, where they begin anew. Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[deprecated(note = "use spice_server_migrate_connect")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_migrate_switch(server: *mut SpiceServer) -> c_int {
    guard("spice_server_migrate_switch", 0, || {
        with("spice_server_migrate_switch", server, 0, |s| {
            s.core.migrate_switch();
            0
        })
    })
}

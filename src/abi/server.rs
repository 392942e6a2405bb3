//! The server object, its network side and its interfaces (`spice-server.h` of the original).
//!
//! What only sets how things are sent lives in [`super::settings`].

use std::ffi::{OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::PoisonError;

use zeroize::Zeroizing;

use crate::protocol::caps::ChannelType;
use crate::server::settings::Security;
use crate::transport::tls::files::{Password, TlsFiles};

use super::guard::{copied_bytes, copied_text, guard, required};
use super::handles::with;
use super::interfaces;
use super::types::core::{SpiceBaseInstance, SpiceCoreInterface};
use super::types::foreign::{SockAddr, SockLen};
use super::types::server::{CompatVersion, SpiceServer};

/// Longest address that is kept, as in the original.
const MAX_ADDRESS: usize = 255;
/// Longest name of a machine that is told to clients.
const MAX_NAME: usize = 1024;
/// Longest file name that is taken, as the system has it.
const MAX_PATH: usize = 4096;
/// Longest password of a private key; what is longer is cut, and then opens nothing.
const MAX_KEY_PASSWORD: usize = 1024;
/// One more than the longest list of ciphers, so that one that is too long is seen as such.
const MAX_CIPHERS: usize = 4097;
/// More than any password that is taken, so that one that is too long is seen as such.
const MAX_PASSWORD: usize = 128;

symver!(spice_get_current_compat_version, "0.6.1");
/// The newest version that `spice_server_set_compat_version` takes.
#[unsafe(no_mangle)]
pub extern "C" fn spice_get_current_compat_version() -> CompatVersion {
    CompatVersion::V0_6
}

symver!(spice_server_new, "0.6.0");
/// Makes a server with default settings.
///
/// Returns NULL if memory is short. `spice_server_destroy` frees it.
#[unsafe(no_mangle)]
pub extern "C" fn spice_server_new() -> *mut SpiceServer {
    guard("spice_server_new", ptr::null_mut(), interfaces::new_server)
}

symver!(spice_server_init, "0.6.0");
/// Starts the server: opens its listeners and makes the main and inputs channels.
///
/// Returns 0, or -1 if `core` has another major version, a listener cannot be opened, the TLS
/// files cannot be read or SASL is on and cannot be configured. A second call returns -1.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `core` is NULL or a core interface whose functions keep their contract; it stays valid until
///   the server is destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_init(
    server: *mut SpiceServer,
    core: *mut SpiceCoreInterface,
) -> c_int {
    guard("spice_server_init", -1, || {
        with("spice_server_init", server, -1, |s| {
            let Some(table) = required("spice_server_init", core) else { return -1 };
            // SAFETY: the caller vouches for the table until the server is destroyed.
            unsafe { interfaces::init(&s, table) }
        })
    })
}

symver!(spice_server_destroy, "0.6.0");
/// Closes the listeners, disconnects all clients, ends all threads and frees the server.
///
/// No callback is made after it has returned. NULL is ignored.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new`; it must not be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_destroy(server: *mut SpiceServer) {
    guard("spice_server_destroy", (), || interfaces::destroy(server))
}

symver!(spice_server_set_compat_version, "0.6.1");
/// Keeps to features that an old release had.
///
/// Returns 0 for `SPICE_COMPAT_VERSION_0_6`, the only one that is still served, and -1 for others.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_compat_version(
    server: *mut SpiceServer,
    version: CompatVersion,
) -> c_int {
    guard("spice_server_set_compat_version", -1, || {
        if required("spice_server_set_compat_version", server).is_none() {
            return -1;
        }
        if version == CompatVersion::V0_6 { 0 } else { -1 }
    })
}

symver!(spice_server_set_port, "0.6.0");
/// Sets the TCP port for plain connections; 0 lets the system choose.
///
/// Returns -1 for numbers that are no port. Without this call there is no plain TCP listener.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_port(server: *mut SpiceServer, port: c_int) -> c_int {
    guard("spice_server_set_port", -1, || {
        with("spice_server_set_port", server, -1, |s| {
            let Ok(port) = u16::try_from(port) else { return -1 };
            s.core.session().settings.port = Some(port);
            0
        })
    })
}

symver!(spice_server_set_addr, "0.6.0");
/// Sets the address to listen on, at most 255 bytes; "" or NULL means any.
///
/// `flags` is 0 or one of `SPICE_ADDR_FLAG_*`. With UNIX_ONLY the address is a path; a leading `@`
/// makes it an abstract name.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `addr` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_addr(
    server: *mut SpiceServer,
    addr: *const c_char,
    flags: c_int,
) {
    guard("spice_server_set_addr", (), || {
        with("spice_server_set_addr", server, (), |s| {
            // SAFETY: the caller vouches for the string.
            let text = unsafe { copied_text(addr, MAX_ADDRESS) }.unwrap_or_default();
            s.core.session().settings.address = interfaces::address(text, flags);
        })
    })
}

symver!(spice_server_set_listen_socket_fd, "0.10.2");
/// Accepts plain connections on a listening socket of the host, too.
///
/// The host keeps the descriptor and closes it after the server is destroyed. Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[deprecated(
    note = "bind with spice_server_set_port or hand over connections with spice_server_add_client"
)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_listen_socket_fd(
    server: *mut SpiceServer,
    listen_fd: c_int,
) -> c_int {
    guard("spice_server_set_listen_socket_fd", -1, || {
        with("spice_server_set_listen_socket_fd", server, -1, |s| {
            *s.listen_fd.lock().unwrap_or_else(PoisonError::into_inner) = Some(listen_fd);
            0
        })
    })
}

symver!(spice_server_set_exit_on_disconnect, "0.11.4");
/// With `flag` other than 0 the process exits when a client leaves.
///
/// Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_exit_on_disconnect(
    server: *mut SpiceServer,
    flag: c_int,
) -> c_int {
    guard("spice_server_set_exit_on_disconnect", -1, || {
        with("spice_server_set_exit_on_disconnect", server, -1, |s| {
            s.core.session().settings.exit_on_disconnect = flag != 0;
            0
        })
    })
}

symver!(spice_server_set_noauth, "0.6.0");
/// Lets every client in without a ticket, and forgets the ticket.
///
/// Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_noauth(server: *mut SpiceServer) -> c_int {
    guard("spice_server_set_noauth", -1, || {
        with("spice_server_set_noauth", server, -1, |s| {
            s.core.session().ticket.disable();
            0
        })
    })
}

symver!(spice_server_set_sasl, "0.8.2");
/// Turns SASL on or off for clients that connect later; while it is on, no ticket is asked for.
///
/// Returns 0, or -1 if libsasl2 cannot be opened, which the log explains; nothing changes then.
/// Only clients of `spice_server_add_client` with `skip_auth` come in without it.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_sasl(server: *mut SpiceServer, enabled: c_int) -> c_int {
    guard("spice_server_set_sasl", -1, || {
        with("spice_server_set_sasl", server, -1, |s| match s.core.set_sasl(enabled != 0) {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(%error, "SASL was not turned on");
                -1
            }
        })
    })
}

symver!(spice_server_set_sasl_appname, "0.8.2");
/// Sets the name under which SASL is configured (`NAME.conf` of libsasl2); NULL means "spice".
///
/// Read by `spice_server_init` if SASL is on, otherwise when it is turned on after that. The first
/// name in a process counts, also if the host uses libsasl2 itself. Returns 0 or -1.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `appname` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_sasl_appname(
    server: *mut SpiceServer,
    appname: *const c_char,
) -> c_int {
    guard("spice_server_set_sasl_appname", -1, || {
        with("spice_server_set_sasl_appname", server, -1, |s| {
            // SAFETY: the caller vouches for the string.
            let name = unsafe { copied_text(appname, MAX_NAME) };
            s.core.session().settings.sasl_app_name = name;
            0
        })
    })
}

symver!(spice_server_set_ticket, "0.6.0");
/// Sets the password that clients need, for `lifetime` seconds (0: for ever).
///
/// NULL refuses everybody. With clients connected, `fail_if_connected` leaves everything as it is
/// and returns -1, `disconnect_if_connected` closes their connections. Returns 0 or -1.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `passwd` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_ticket(
    server: *mut SpiceServer,
    passwd: *const c_char,
    lifetime: c_int,
    fail_if_connected: c_int,
    disconnect_if_connected: c_int,
) -> c_int {
    guard("spice_server_set_ticket", -1, || {
        with("spice_server_set_ticket", server, -1, |s| {
            // SAFETY: the caller vouches for the string.
            let password = unsafe { copied_bytes(passwd, MAX_PASSWORD) }.map(Zeroizing::new);
            let password = password.as_ref().map(|p| p.as_slice());
            let (fail, disconnect) = (fail_if_connected != 0, disconnect_if_connected != 0);
            match s.core.set_ticket(password, lifetime, fail, disconnect) {
                Ok(()) => 0,
                Err(error) => {
                    tracing::warn!(%error, "the ticket was not set");
                    -1
                }
            }
        })
    })
}

symver!(spice_server_set_tls, "0.6.0");
/// Sets the port and the files for encrypted connections; `spice_server_init` reads them, and fails if it cannot.
///
/// All files are PEM. `certs_file` has the server's certificate first, then those between it and an authority;
/// `private_key_file` its key in PKCS#1, PKCS#8 or SEC 1, decrypted with `key_passwd` if need be. `ca_cert_file` has to
/// be there, but clients are asked for no certificate. `ciphersuite` is a list in OpenSSL's language. `key_passwd`,
/// `dh_key_file` and `ciphersuite` may be NULL; finite-field Diffie-Hellman is not served. Returns -1 for a bad port or
/// a missing file name.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - Each of `ca_cert_file`, `certs_file`, `private_key_file`, `key_passwd`, `dh_key_file`,
///   `ciphersuite`: is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_tls(
    server: *mut SpiceServer,
    port: c_int,
    ca_cert_file: *const c_char,
    certs_file: *const c_char,
    private_key_file: *const c_char,
    key_passwd: *const c_char,
    dh_key_file: *const c_char,
    ciphersuite: *const c_char,
) -> c_int {
    guard("spice_server_set_tls", -1, || {
        with("spice_server_set_tls", server, -1, |s| {
            // SAFETY: the caller vouches for the strings.
            let path = |file| unsafe { copied_bytes(file, MAX_PATH) }.map(path);
            let (authorities, certificates) = (path(ca_cert_file), path(certs_file));
            let (key, dh) = (path(private_key_file), path(dh_key_file));
            // SAFETY: as above.
            let password = unsafe { copied_bytes(key_passwd, MAX_KEY_PASSWORD) };
            // SAFETY: as above.
            let ciphers = unsafe { copied_text(ciphersuite, MAX_CIPHERS) };
            // What may be NULL may also be empty, which means the same.
            let dh = dh.filter(|file| !file.as_os_str().is_empty());
            let password = password.filter(|password| !password.is_empty());
            let ciphers = ciphers.filter(|list| !list.is_empty());
            let (Ok(port @ 1..), Some(authorities), Some(certificates), Some(key)) =
                (u16::try_from(port), authorities, certificates, key)
            else {
                tracing::error!("spice_server_set_tls: a port and three files are needed");
                return -1;
            };
            let password = password.map(Password::new);
            let files = TlsFiles { authorities, certificates, key, password, dh, ciphers };
            s.core.session().settings.tls = Some((port, files));
            0
        })
    })
}

/// A file name of the host: any bytes.
fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

symver!(spice_server_add_client, "0.10.1");
/// Takes over a connected socket as a new client connection.
///
/// Returns 0 if the server owns the descriptor now, -1 if it still is the caller's. `skip_auth`
/// other than 0 asks for no ticket.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_client(
    server: *mut SpiceServer,
    socket: c_int,
    skip_auth: c_int,
) -> c_int {
    guard("spice_server_add_client", -1, || {
        with("spice_server_add_client", server, -1, |s| {
            // SAFETY: the caller hands the descriptor over; it is given back on failure.
            unsafe { interfaces::add_client(&s, socket, skip_auth != 0, false) }
        })
    })
}

symver!(spice_server_add_ssl_client, "0.10.1");
/// As `spice_server_add_client`, with a TLS handshake first.
///
/// Returns -1 if TLS is not set up.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_ssl_client(
    server: *mut SpiceServer,
    socket: c_int,
    skip_auth: c_int,
) -> c_int {
    guard("spice_server_add_ssl_client", -1, || {
        with("spice_server_add_ssl_client", server, -1, |s| {
            // SAFETY: the caller hands the descriptor over; it is given back on failure.
            unsafe { interfaces::add_client(&s, socket, skip_auth != 0, true) }
        })
    })
}

symver!(spice_server_add_interface, "0.6.0");
/// Adds an instance of an interface; its `sif` says which kind.
///
/// Returns 0, or -1 if the version does not fit or there may be only one of that kind. Kinds that
/// are not known are accepted and ignored.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `sin` is NULL or the head of an instance whose real type its interface names; both stay valid
///   until the instance is removed or the server is destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_interface(
    server: *mut SpiceServer,
    sin: *mut SpiceBaseInstance,
) -> c_int {
    guard("spice_server_add_interface", -1, || {
        with("spice_server_add_interface", server, -1, |s| {
            let Some(instance) = required("spice_server_add_interface", sin) else { return -1 };
            // SAFETY: the caller vouches for the instance and its interface.
            unsafe { interfaces::add(&s, instance) }
        })
    })
}

symver!(spice_server_remove_interface, "0.6.0");
/// Removes an instance. Its clients are disconnected first; no callback follows.
///
/// Returns -1 for NULL, for an instance that is not added, and for kinds that cannot be removed
/// (keyboard, mouse, migration).
///
/// # Safety
/// - `sin` is NULL or the head of an instance whose interface is still valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_remove_interface(sin: *mut SpiceBaseInstance) -> c_int {
    guard("spice_server_remove_interface", -1, || interfaces::remove(sin))
}

symver!(spice_server_set_channel_security, "0.6.0");
/// Says how clients may connect to a channel (`SPICE_CHANNEL_SECURITY_*`), NULL for all.
///
/// Returns -1 for a channel name that does not exist. Applies to connections made later.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `channel` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_channel_security(
    server: *mut SpiceServer,
    channel: *const c_char,
    security: c_int,
) -> c_int {
    guard("spice_server_set_channel_security", -1, || {
        with("spice_server_set_channel_security", server, -1, |s| {
            // SAFETY: the caller vouches for the string.
            let name = unsafe { copied_text(channel, MAX_ADDRESS) };
            let channel = match name.as_deref().map(ChannelType::from_name) {
                None => None,
                Some(Some(known)) => Some(known),
                Some(None) => return -1,
            };
            s.core.session().settings.set_security(channel, Security::from_bits(security));
            0
        })
    })
}

symver!(spice_server_get_sock_info, "0.6.0");
/// Obsolete: always returns -1 and touches nothing.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - Each of `sa`, `salen`: is not used.
#[deprecated(note = "use the addresses in SpiceChannelEventInfo")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_sock_info(
    server: *mut SpiceServer,
    sa: *mut SockAddr,
    salen: *mut SockLen,
) -> c_int {
    guard("spice_server_get_sock_info", -1, || {
        let _ = (server, sa, salen);
        -1
    })
}

symver!(spice_server_get_peer_info, "0.6.0");
/// Obsolete: always returns -1 and touches nothing.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - Each of `sa`, `salen`: is not used.
#[deprecated(note = "use the addresses in SpiceChannelEventInfo")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_peer_info(
    server: *mut SpiceServer,
    sa: *mut SockAddr,
    salen: *mut SockLen,
) -> c_int {
    guard("spice_server_get_peer_info", -1, || {
        let _ = (server, sa, salen);
        -1
    })
}

symver!(spice_server_get_num_clients, "0.10.0");
/// Number of connected clients; 0 for NULL.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[deprecated(note = "count the channel events")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_num_clients(server: *mut SpiceServer) -> c_int {
    guard("spice_server_get_num_clients", 0, || {
        if server.is_null() {
            0
        } else {
            with("spice_server_get_num_clients", server, 0, |s| {
                i32::try_from(s.core.session().client_count()).unwrap_or(i32::MAX)
            })
        }
    })
}

symver!(spice_server_set_name, "0.10.2");
/// Sets the name of the virtual machine for clients that connect later; NULL clears it.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `name` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_name(server: *mut SpiceServer, name: *const c_char) {
    guard("spice_server_set_name", (), || {
        with("spice_server_set_name", server, (), |s| {
            // SAFETY: the caller vouches for the string.
            s.core.set_name(unsafe { copied_text(name, MAX_NAME) });
        })
    })
}

symver!(spice_server_set_uuid, "0.10.2");
/// Sets the UUID of the virtual machine for clients that connect later.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `uuid` is NULL or points to 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_uuid(server: *mut SpiceServer, uuid: *const u8) {
    guard("spice_server_set_uuid", (), || {
        with("spice_server_set_uuid", server, (), |s| {
            let Some(uuid) = required("spice_server_set_uuid", uuid.cast_mut()) else { return };
            // SAFETY: the caller vouches for 16 bytes.
            let uuid = unsafe { uuid.cast::<[u8; 16]>().read() };
            s.core.session().settings.uuid = Some(uuid);
        })
    })
}

symver!(spice_server_vm_start, "0.11.2");
/// The virtual machine runs: devices are served.
///
/// Waiting bytes of character devices are exchanged inside the call.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_vm_start(server: *mut SpiceServer) {
    guard("spice_server_vm_start", (), || {
        with("spice_server_vm_start", server, (), |s| interfaces::set_running(&s, true))
    })
}

symver!(spice_server_vm_stop, "0.11.2");
/// The virtual machine stands still: when this returns, nothing touches its memory.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_vm_stop(server: *mut SpiceServer) {
    guard("spice_server_vm_stop", (), || {
        with("spice_server_vm_stop", server, (), |s| interfaces::set_running(&s, false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_server_settings_fail_and_harm_nothing() {
        let version = CompatVersion::V0_6;
        // SAFETY: NULL is allowed.
        let result = unsafe { spice_server_set_compat_version(ptr::null_mut(), version) };
        assert_eq!(result, -1);
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { spice_server_init(ptr::null_mut(), ptr::null_mut()) }, -1);
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { spice_server_remove_interface(ptr::null_mut()) }, -1);
        // SAFETY: NULL is allowed.
        unsafe { spice_server_destroy(ptr::null_mut()) };
    }
}

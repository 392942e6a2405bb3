//! The life of a server and of what is added to it: the longer bodies of the C functions.
//!
//! Runs inside API calls of the host, under its lock.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::channel::device::DeviceId;
use crate::channel::display::QxlHandle;
use crate::display::encode::choice::Compression;
use crate::server::Core;
use crate::server::host::Host;
use crate::server::settings::Address;
use crate::transport::listener::Family;

use super::device::{self, CDevice};
use super::guard::{copied_bytes, copied_text};
use super::handles::{self, Added, Instance, Kind, Qxl, Server};
use super::host::CHost;
use super::types::char_device::{SpiceCharDeviceInstance, SpiceCharDeviceState};
use super::types::core::{SPICE_INTERFACE_CORE_MAJOR, SpiceBaseInstance, SpiceCoreInterface};
use super::types::qxl::{QXLInstance, QXLState};
use super::types::server::SpiceServer;

/// `SPICE_ADDR_FLAG_*`.
const IPV4_ONLY: c_int = 1;
const IPV6_ONLY: c_int = 2;
const UNIX_ONLY: c_int = 4;

/// Bytes of a char device's subtype or port name that are kept.
const NAME_MAX: usize = 255;

/// Interface kinds that may be added: name, major version, newest minor version.
const KINDS: [(&str, u32, u32); 8] = [
    ("keyboard", 1, 1),
    ("mouse", 1, 1),
    ("tablet", 1, 1),
    ("qxl", 3, 3),
    ("playback", 1, 3),
    ("record", 2, 3),
    ("char_device", 1, 3),
    ("migration", 1, 1),
];

/// A new server, or NULL if the process has no descriptor left.
pub fn new_server() -> *mut SpiceServer {
    crate::observe::start_logging();
    match Core::new() {
        Ok(core) => {
            handles::publish(Server { core, host: OnceLock::new(), listen_fd: Mutex::new(None) })
        }
        Err(error) => {
            tracing::error!(%error, "no server could be made");
            ptr::null_mut()
        }
    }
}

/// `spice_server_init`.
///
/// # Safety
/// - `table` is valid until the server is destroyed and its functions keep their contract.
pub unsafe fn init(server: &Arc<Server>, table: NonNull<SpiceCoreInterface>) -> c_int {
    // SAFETY: the caller vouches for the table.
    let major = unsafe { (*table.as_ptr()).base.major_version };
    if major != SPICE_INTERFACE_CORE_MAJOR {
        tracing::error!("core interface of version {major}, need {SPICE_INTERFACE_CORE_MAJOR}");
        return -1;
    }
    if server.host.get().is_some() {
        tracing::error!("this server is initialised already");
        return -1;
    }
    // SAFETY: as above.
    let host = Arc::new(unsafe { CHost::new(table) });
    let fd = *server.listen_fd.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the host keeps the descriptor open while the server exists; -1 is no descriptor.
    let fd = fd.filter(|fd| *fd >= 0).map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
    if !host.watch_mailbox(&server.core) {
        tracing::error!("the host cannot watch a descriptor");
        return -1;
    }
    if let Err(error) = server.core.init(Arc::clone(&host) as Arc<dyn Host>, fd) {
        host.unwatch();
        tracing::error!(%error, "the server cannot start");
        return -1;
    }
    // Empty above, and API calls do not overlap.
    let _ = server.host.set(host);
    0
}

/// `spice_server_destroy`.
pub fn destroy(handle: *mut SpiceServer) {
    if handle.is_null() {
        return;
    }
    let Some((server, _instances)) = handles::withdraw(handle) else {
        tracing::error!("spice_server_destroy: this server does not exist");
        return;
    };
    server.core.destroy();
    if let Some(host) = server.host.get() {
        host.unwatch();
    }
}

/// What `spice_server_set_addr` means.
pub fn address(text: String, flags: c_int) -> Address {
    match flags {
        UNIX_ONLY => Address::Unix(text),
        IPV4_ONLY => Address::Tcp(text, Family::V4),
        IPV6_ONLY => Address::Tcp(text, Family::V6),
        other => {
            if other != 0 {
                tracing::warn!("address flags {other} do not exist and are ignored");
            }
            Address::Tcp(text, Family::Any)
        }
    }
}

/// `spice_server_add_client`, with `tls` `spice_server_add_ssl_client`: 0 if the descriptor is ours now, -1 if it still is the host's.
///
/// # Safety
/// - `fd`, if it is open, is owned by the caller, who gives it away for 0.
pub unsafe fn add_client(server: &Arc<Server>, fd: c_int, skip_auth: bool, tls: bool) -> c_int {
    if fd < 0 {
        return -1;
    }
    // SAFETY: not negative; only asked whether it is open.
    let probe = unsafe { BorrowedFd::borrow_raw(fd) };
    if rustix::io::fcntl_getfd(probe).is_err() {
        return -1;
    }
    // SAFETY: open, and the caller gives it away; on failure it is given back below.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    match server.core.add_client(owned, skip_auth, tls) {
        Ok(()) => 0,
        Err((owned, error)) => {
            // Still the host's: must not be closed here.
            let _ = owned.into_raw_fd();
            tracing::warn!(%error, "the socket was not taken");
            -1
        }
    }
}

/// `spice_server_vm_start` and `spice_server_vm_stop`.
pub fn set_running(server: &Arc<Server>, running: bool) {
    let devices: Vec<QxlHandle> =
        handles::qxl_devices(server).into_iter().map(|qxl| qxl.handle).collect();
    server.core.set_vm_running(running, &devices);
}

/// `spice_server_set_image_compression`; values that do not exist are ignored.
pub fn set_image_compression(server: &Arc<Server>, value: u32) {
    match u8::try_from(value).ok().and_then(Compression::from_u8) {
        Some(compression) => {
            if server.core.set_image_compression(compression) != i32::from(compression as u8) {
                tell_compression_level(server);
            }
        }
        None => tracing::warn!("image compression {value} does not exist and is ignored"),
    }
}

/// Tells every QXL device the level for its ROM.
pub fn tell_compression_level(server: &Arc<Server>) {
    let level = server.core.session().settings.compression_level();
    for qxl in handles::qxl_devices(server) {
        device::set_compression_level(qxl.instance.0, level);
    }
}

/// `spice_server_add_interface`.
///
/// # Safety
/// - `instance` is the head of an instance whose real type its interface names; both stay valid
///   until the instance is removed or the server is destroyed.
pub unsafe fn add(server: &Arc<Server>, instance: NonNull<SpiceBaseInstance>) -> c_int {
    // SAFETY: the caller vouches for the instance.
    let Some(interface) = NonNull::new(unsafe { (*instance.as_ptr()).sif }.cast_mut()) else {
        return -1;
    };
    // SAFETY: the caller vouches for the interface.
    let base = unsafe { interface.read() };
    if base.r#type.is_null() {
        return -1;
    }
    // SAFETY: the caller vouches for the interface, whose type is a string.
    let name = unsafe { CStr::from_ptr(base.r#type) }.to_bytes();
    let Some((kind, major, minor)) = KINDS.iter().find(|(kind, ..)| kind.as_bytes() == name) else {
        tracing::warn!("interface of an unknown kind is ignored");
        return 0;
    };
    if base.major_version != *major || base.minor_version > *minor {
        let (a, b) = (base.major_version, base.minor_version);
        tracing::error!("{kind} interface of version {a}.{b}, need {major}.0 to {major}.{minor}");
        return -1;
    }
    if handles::instance(instance.as_ptr()).is_some() {
        tracing::error!("this {kind} instance is added already");
        return -1;
    }
    let Some(host) = server.host.get() else {
        tracing::error!("{kind} interface before spice_server_init");
        return -1;
    };
    let fixed = |taken: bool| taken.then_some(Kind::Fixed(kind));
    let added = match *kind {
        "keyboard" => fixed(host.add_keyboard(instance.cast())),
        "mouse" => fixed(host.add_mouse(instance.cast())),
        "tablet" => host.add_tablet(instance.cast()).then_some(Kind::Tablet),
        // SAFETY: the caller vouches for the instance, which is a QXL one by its name.
        "qxl" => return unsafe { add_qxl(server, instance.cast(), base.minor_version) },
        "migration" => fixed(host.add_migration(instance.cast())),
        "char_device" => {
            // SAFETY: the caller vouches for the instance, which is a char device by its name.
            return unsafe { add_char_device(server, host, instance.cast(), base.minor_version) };
        }
        "playback" => Some(sound(server.core.add_playback().map(Kind::Playback))),
        _ => Some(sound(server.core.add_record().map(Kind::Record))),
    };
    let Some(added) = added else {
        tracing::error!("there is a {kind} already");
        return -1;
    };
    let tablet = matches!(added, Kind::Tablet);
    handles::add_instance(instance, Added { server: Arc::clone(server), kind: added });
    if tablet {
        server.core.tablet_changed(true);
    }
    0
}

/// A sound interface, which is not served if there is one of its kind already; hosts learn nothing of it, as from the
/// original.
fn sound(added: io::Result<Kind>) -> Kind {
    added.unwrap_or_else(|error| {
        tracing::error!(%error, "a sound interface is not served");
        Kind::Sound
    })
}

/// Adds a char device. What cannot be served is told in the log only: hosts expect 0 for it, and `st` NULL.
///
/// # Safety
/// - As [`add`]; the instance is a char device, its subtype and port name are NULL or strings.
unsafe fn add_char_device(
    server: &Arc<Server>,
    host: &CHost,
    instance: NonNull<SpiceCharDeviceInstance>,
    minor: u32,
) -> c_int {
    // SAFETY: the caller vouches for the instance; `st` belongs to the server.
    unsafe { (*instance.as_ptr()).st = ptr::null_mut() };
    // SAFETY: as above.
    let subtype = unsafe { (*instance.as_ptr()).subtype };
    // SAFETY: as above.
    let port = unsafe { (*instance.as_ptr()).portname };
    // SAFETY: the caller vouches for the strings, of which nothing is kept but a copy.
    let subtype = unsafe { copied_text(subtype, NAME_MAX) }.unwrap_or_default();
    // SAFETY: as above.
    let port = unsafe { copied_bytes(port, NAME_MAX) };
    let id = DeviceId::fresh();
    host.chars.add(id, instance, minor, &server.core);
    // Callbacks may come from now on, and look for the instance.
    handles::add_instance(
        instance,
        Added { server: Arc::clone(server), kind: Kind::CharDevice(id) },
    );
    // SAFETY: `st` belongs to the server; the address is only a sign, never followed.
    unsafe { (*instance.as_ptr()).st = instance.as_ptr().cast::<SpiceCharDeviceState>() };
    if let Err(error) = server.core.add_device(id, &subtype, port) {
        tracing::error!("char device {subtype:?}: {error}");
        host.chars.remove(id);
        handles::remove_instance(instance.as_ptr());
        // SAFETY: as above.
        unsafe { (*instance.as_ptr()).st = ptr::null_mut() };
    }
    0
}

/// Adds a QXL device: threads first, then the host's callbacks, which may call us back.
///
/// # Safety
/// - As [`add`]; the instance is a QXL one.
unsafe fn add_qxl(server: &Arc<Server>, instance: NonNull<QXLInstance>, minor: u32) -> c_int {
    // SAFETY: the caller vouches for the instance.
    let id = unsafe { (*instance.as_ptr()).id };
    let Ok(id) = u8::try_from(id) else {
        tracing::error!("QXL id {id} is not in 0..=255");
        return -1;
    };
    let Some(info) = device::init_info(instance) else {
        tracing::error!("QXL interface without get_init_info");
        return -1;
    };
    // SAFETY: removal and destruction end the worker before the instance may go.
    let device = unsafe { CDevice::new(instance, minor) };
    let handle = match server.core.add_qxl(id, Box::new(device), &info) {
        Ok(handle) => handle,
        Err(error) => {
            tracing::error!(%error, "the QXL device was not added");
            return -1;
        }
    };
    // Hosts want `st` to be set and the instance to be known when the callbacks come.
    // SAFETY: `st` belongs to the server; the address is only a sign, never followed.
    unsafe { (*instance.as_ptr()).st = instance.as_ptr().cast::<QXLState>() };
    let qxl = Qxl { id, handle: handle.clone(), instance: Instance(instance) };
    handles::add_instance(instance, Added { server: Arc::clone(server), kind: Kind::Qxl(qxl) });
    if let Some(host) = server.host.get() {
        host.add_display(instance, minor);
    }
    if server.core.session().vm_running {
        handle.post(crate::channel::display::Request::Start);
    }
    device::attached_worker(instance);
    let level = server.core.session().settings.compression_level();
    device::set_compression_level(instance, level);
    0
}

/// `spice_server_remove_interface`.
pub fn remove(instance: *mut SpiceBaseInstance) -> c_int {
    let Some(added) = handles::instance(instance) else {
        tracing::warn!("spice_server_remove_interface: this instance is not added");
        return -1;
    };
    let core = &added.server.core;
    match &added.kind {
        Kind::Fixed(kind) => {
            tracing::warn!("a {kind} interface cannot be removed");
            return -1;
        }
        Kind::Tablet => {
            if let Some(host) = added.server.host.get() {
                host.remove_tablet();
            }
            core.tablet_changed(false);
        }
        Kind::Qxl(qxl) => {
            if let Some(host) = added.server.host.get() {
                host.remove_display(qxl.instance.0);
            }
            core.remove_qxl(qxl.id);
            // SAFETY: added and not removed, so the host keeps it valid; `st` is the server's.
            unsafe { (*qxl.instance.0.as_ptr()).st = ptr::null_mut() };
        }
        Kind::CharDevice(id) => {
            // SAFETY: added and not removed, so the host keeps it valid; `st` is the server's.
            unsafe { (*instance.cast::<SpiceCharDeviceInstance>()).st = ptr::null_mut() };
            // First, so that a callback on the way out does not find it again.
            handles::remove_instance(instance);
            core.remove_device(*id);
            if let Some(host) = added.server.host.get() {
                host.chars.remove(*id);
            }
        }
        Kind::Playback(_) => core.remove_playback(),
        Kind::Record(_) => core.remove_record(),
        Kind::Sound => {}
    }
    handles::remove_instance(instance);
    0
}

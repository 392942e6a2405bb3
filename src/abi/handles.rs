//! Which pointers of the host are alive, and what they stand for.
//!
//! Servers and instances are looked up by address before anything is dereferenced, so a pointer
//! that was never given to us, or was given back, is an error and not a crash.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::channel::device::DeviceId;
use crate::channel::display::QxlHandle;
use crate::server::Core;
use crate::server::sound::{PlaybackLine, RecordLine};

use super::host::CHost;
use super::types::qxl::QXLInstance;
use super::types::server::SpiceServer;

/// One server with what only the C edge knows of it.
pub struct Server {
    /// The session.
    pub core: Arc<Core>,
    /// The host's tables, after a successful init.
    pub host: OnceLock<Arc<CHost>>,
    /// Descriptor of `spice_server_set_listen_socket_fd`; the host keeps it open until init.
    pub listen_fd: Mutex<Option<i32>>,
}

/// What an added instance is.
#[derive(Clone)]
pub enum Kind {
    /// A keyboard, mouse or migration interface: cannot be removed.
    Fixed(&'static str),
    /// A tablet.
    Tablet,
    /// The playback interface.
    Playback(Arc<PlaybackLine>),
    /// The record interface.
    Record(Arc<RecordLine>),
    /// A second playback or record interface, which is not served.
    Sound,
    /// A char device.
    CharDevice(DeviceId),
    /// A QXL device.
    Qxl(Qxl),
}

/// An added QXL device.
#[derive(Clone)]
pub struct Qxl {
    /// Its id.
    pub id: u8,
    /// The way to its worker.
    pub handle: QxlHandle,
    /// The host's instance, for the callbacks that run inside API calls.
    pub instance: Instance,
}

/// Address of an instance that is added now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance(pub NonNull<QXLInstance>);

// SAFETY: an address only; it is dereferenced inside API calls of the host alone.
unsafe impl Send for Instance {}

/// An added instance and its server.
#[derive(Clone)]
pub struct Added {
    /// The server it was added to.
    pub server: Arc<Server>,
    /// What it is.
    pub kind: Kind,
}

type Table<T> = LazyLock<Mutex<HashMap<usize, T>>>;

static SERVERS: Table<Arc<Server>> = LazyLock::new(Mutex::default);
static INSTANCES: Table<Added> = LazyLock::new(Mutex::default);

fn lock<T>(table: &'static Table<T>) -> MutexGuard<'static, HashMap<usize, T>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle for the host. The memory behind it is never read; its address is what counts.
pub fn publish(server: Server) -> *mut SpiceServer {
    let server = Arc::new(server);
    let address = Arc::as_ptr(&server);
    lock(&SERVERS).insert(address.addr(), server);
    address.cast_mut().cast()
}

/// The server of a handle.
pub fn server(handle: *mut SpiceServer) -> Option<Arc<Server>> {
    lock(&SERVERS).get(&handle.addr()).cloned()
}

/// Takes a server out: its handle is dead afterwards, and so are all instances of it.
pub fn withdraw(handle: *mut SpiceServer) -> Option<(Arc<Server>, Vec<Added>)> {
    let server = lock(&SERVERS).remove(&handle.addr())?;
    let mut instances = lock(&INSTANCES);
    let mine: Vec<usize> = instances
        .iter()
        .filter(|(_, a)| Arc::ptr_eq(&a.server, &server))
        .map(|(address, _)| *address)
        .collect();
    let added = mine.iter().filter_map(|address| instances.remove(address)).collect();
    Some((server, added))
}

/// Notes an instance.
pub fn add_instance<T>(instance: NonNull<T>, added: Added) {
    lock(&INSTANCES).insert(instance.as_ptr().addr(), added);
}

/// What an instance is, if it is added.
pub fn instance<T>(instance: *mut T) -> Option<Added> {
    lock(&INSTANCES).get(&instance.addr()).cloned()
}

/// Forgets an instance.
pub fn remove_instance<T>(instance: *mut T) -> Option<Added> {
    lock(&INSTANCES).remove(&instance.addr())
}

/// The worker of an added QXL instance; says so if it is not added.
pub fn qxl(name: &'static str, pointer: *mut QXLInstance) -> Option<Qxl> {
    match instance(pointer).map(|added| added.kind) {
        Some(Kind::Qxl(qxl)) => Some(qxl),
        _ => {
            tracing::error!("{name}: this QXL instance is not added");
            None
        }
    }
}

/// All QXL devices of a server.
pub fn qxl_devices(server: &Arc<Server>) -> Vec<Qxl> {
    let mut devices: Vec<Qxl> = lock(&INSTANCES)
        .values()
        .filter(|a| Arc::ptr_eq(&a.server, server))
        .filter_map(|a| match &a.kind {
            Kind::Qxl(qxl) => Some(qxl.clone()),
            _ => None,
        })
        .collect();
    devices.sort_by_key(|qxl| qxl.id);
    devices
}

/// Runs `act` on the server of a handle; `default` and a log line if there is none.
pub fn with<T>(
    name: &'static str,
    handle: *mut SpiceServer,
    default: T,
    act: impl FnOnce(Arc<Server>) -> T,
) -> T {
    if super::guard::required(name, handle).is_none() {
        return default;
    }
    match server(handle) {
        Some(server) => act(server),
        None => {
            tracing::error!("{name}: this server does not exist");
            default
        }
    }
}

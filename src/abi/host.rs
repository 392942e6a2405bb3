//! The host's callback tables behind the safe trait [`Host`].
//!
//! All callbacks here run on the thread that drives the host's main loop, or inside an API call of
//! the host: the session's mailbox sees to that.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::SocketAddrAny;

use crate::channel::device::DeviceId;
use crate::channel::main::MigrationEvent;
use crate::protocol::agent::ClientMonitors;
use crate::server::Core;
use crate::server::host::{Caller, ChannelEvent, Host};
use crate::transport::connection::Connection;

use super::char_host::CharDevices;
use super::guard::guard;
use super::types::core::{
    SPICE_CHANNEL_EVENT_CONNECTED, SPICE_CHANNEL_EVENT_DISCONNECTED,
    SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT, SPICE_CHANNEL_EVENT_FLAG_TLS,
    SPICE_CHANNEL_EVENT_INITIALIZED, SPICE_WATCH_EVENT_READ, SpiceChannelEventInfo,
    SpiceCoreInterface, SpiceWatch,
};
use super::types::foreign::VDAgentMonitorsConfig;
use super::types::input::{
    SpiceKbdInstance, SpiceKbdInterface, SpiceMouseInstance, SpiceMouseInterface,
    SpiceTabletInstance, SpiceTabletInterface,
};
use super::types::migration::{SpiceMigrateInstance, SpiceMigrateInterface};
use super::types::qxl::{QXLInstance, QXLInterface};

/// `AF_UNIX` as it stands in a socket address.
const AF_UNIX: u16 = 1;
/// Minor version of the core interface from which `channel_event` exists.
const CHANNEL_EVENT_SINCE: u32 = 3;
/// Minor version of the QXL interface from which `client_monitors_config` exists.
const CLIENT_MONITORS_SINCE: u32 = 3;

/// The input devices, and the way to answer migration calls, that the host has added.
#[derive(Debug, Default, Clone, Copy)]
struct Devices {
    keyboard: Option<NonNull<SpiceKbdInstance>>,
    mouse: Option<NonNull<SpiceMouseInstance>>,
    tablet: Option<NonNull<SpiceTabletInstance>>,
    migration: Option<NonNull<SpiceMigrateInstance>>,
}

/// A QXL device that the host has added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct QxlDisplay {
    instance: NonNull<QXLInstance>,
    /// Minor version of its interface.
    minor: u32,
}

/// The host of one server.
#[derive(Debug)]
pub struct CHost {
    /// Valid until the server is destroyed; freed by the host.
    core: NonNull<SpiceCoreInterface>,
    /// False for hosts whose table is older than `channel_event`.
    tells_events: bool,
    devices: Mutex<Devices>,
    /// QXL devices in the order in which they were added.
    displays: Mutex<Vec<QxlDisplay>>,
    /// What the host was shown of each connection. The boxes never move: hosts keep their address
    /// from INITIALIZED to DISCONNECTED.
    infos: Mutex<HashMap<u64, Box<SpiceChannelEventInfo>>>,
    watch: Mutex<Option<Watch>>,
    /// Char devices.
    pub chars: CharDevices,
}

#[derive(Debug)]
struct Watch {
    handle: NonNull<SpiceWatch>,
    /// What the watch's callback gets; given back when the watch is removed.
    opaque: *const Core,
}

// SAFETY: the pointers are the host's; they are only dereferenced on the threads that the host
// itself calls from, one at a time under its lock, whoever holds this object.
unsafe impl Send for CHost {}
// SAFETY: as above; the fields that change are behind locks.
unsafe impl Sync for CHost {}

/// A device's lock taken though a panic may have happened under it: it holds plain pointers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one function of an instance's interface: `None` if the instance, its table or the
/// function is missing.
macro_rules! callback {
    ($instance:expr, $interface:ty, $field:ident) => {
        $instance.and_then(|instance| {
            // SAFETY: an instance stays valid from its addition to its removal (C contract).
            let interface = unsafe { (*instance.as_ptr()).base.sif }.cast::<$interface>();
            NonNull::new(interface.cast_mut()).and_then(|interface| {
                // SAFETY: an instance's interface is valid as long as the instance.
                let function = unsafe { (*interface.as_ptr()).$field };
                function.map(|function| (instance.as_ptr(), function))
            })
        })
    };
}
pub(super) use callback;

impl CHost {
    /// Over the host's core table.
    ///
    /// # Safety
    /// - `core` is valid until the server is destroyed and its functions keep their contract.
    pub unsafe fn new(core: NonNull<SpiceCoreInterface>) -> Self {
        // SAFETY: the caller vouches for the table.
        let minor = unsafe { (*core.as_ptr()).base.minor_version };
        Self {
            core,
            tells_events: minor >= CHANNEL_EVENT_SINCE,
            devices: Mutex::default(),
            displays: Mutex::default(),
            infos: Mutex::default(),
            watch: Mutex::default(),
            chars: CharDevices::default(),
        }
    }

    /// Lets the host's loop call us when the mailbox has something. On the caller's thread.
    ///
    /// Returns false if the host cannot watch.
    pub fn watch_mailbox(&self, core: &Arc<Core>) -> bool {
        // SAFETY: the table is valid (see `new`); the pointer is read, not called.
        let Some(add) = (unsafe { (*self.core.as_ptr()).watch_add }) else { return false };
        let fd = core.mailbox().descriptor().as_raw_fd();
        let opaque = Arc::into_raw(Arc::clone(core));
        // SAFETY: `watch_add` keeps its contract; `opaque` stays valid until the watch was removed
        // and `unwatch` took it back.
        let handle = unsafe {
            add(fd, SPICE_WATCH_EVENT_READ, Some(mailbox_is_readable), opaque.cast_mut().cast())
        };
        match NonNull::new(handle) {
            Some(handle) => {
                *lock(&self.watch) = Some(Watch { handle, opaque });
                true
            }
            None => {
                // SAFETY: the pointer came from `into_raw` above and the host did not keep it.
                drop(unsafe { Arc::from_raw(opaque) });
                false
            }
        }
    }

    /// Ends the watch. No callback comes after it; hosts that deliver a late one get nothing.
    pub fn unwatch(&self) {
        let Some(watch) = lock(&self.watch).take() else { return };
        // SAFETY: the table is valid (see `new`).
        if let Some(remove) = unsafe { (*self.core.as_ptr()).watch_remove } {
            // SAFETY: the handle came from `watch_add` and is removed once.
            unsafe { remove(watch.handle.as_ptr()) };
        }
        // SAFETY: the pointer came from `into_raw` in `watch_mailbox`, and the watch is gone.
        drop(unsafe { Arc::from_raw(watch.opaque) });
    }

    /// Takes the keyboard. False if there is one.
    pub fn add_keyboard(&self, instance: NonNull<SpiceKbdInstance>) -> bool {
        let mut devices = lock(&self.devices);
        devices.keyboard.is_none() && devices.keyboard.replace(instance).is_none()
    }

    /// Takes the mouse. False if there is one.
    pub fn add_mouse(&self, instance: NonNull<SpiceMouseInstance>) -> bool {
        let mut devices = lock(&self.devices);
        devices.mouse.is_none() && devices.mouse.replace(instance).is_none()
    }

    /// Takes the tablet. False if there is one.
    pub fn add_tablet(&self, instance: NonNull<SpiceTabletInstance>) -> bool {
        let mut devices = lock(&self.devices);
        devices.tablet.is_none() && devices.tablet.replace(instance).is_none()
    }

    /// Takes the migration interface. False if there is one.
    pub fn add_migration(&self, instance: NonNull<SpiceMigrateInstance>) -> bool {
        let mut devices = lock(&self.devices);
        devices.migration.is_none() && devices.migration.replace(instance).is_none()
    }

    /// True if the host can be answered.
    pub fn has_migration(&self) -> bool {
        self.devices().migration.is_some()
    }

    /// Gives the tablet up.
    pub fn remove_tablet(&self) {
        lock(&self.devices).tablet = None;
    }

    /// Takes a QXL device whose interface has this minor version.
    pub fn add_display(&self, instance: NonNull<QXLInstance>, minor: u32) {
        lock(&self.displays).push(QxlDisplay { instance, minor });
    }

    /// Gives a QXL device up.
    pub fn remove_display(&self, instance: NonNull<QXLInstance>) {
        lock(&self.displays).retain(|display| display.instance != instance);
    }

    /// Calls `client_monitors_config` of every QXL device, newest first; true if all said yes.
    /// Without a layout that only asks.
    fn tell_displays(&self, layout: Option<&ClientMonitors>) -> bool {
        let displays = lock(&self.displays).clone();
        let mut all = !displays.is_empty();
        for display in displays.into_iter().rev() {
            // A callback before this one may have removed the device.
            if !lock(&self.displays).contains(&display) {
                continue;
            }
            // Words, so it is aligned as C wants it; a copy for each, which may write to it.
            let mut words = layout.map(|layout| layout.words().to_vec());
            let config: *mut VDAgentMonitorsConfig =
                words.as_mut().map_or(ptr::null_mut(), |words| words.as_mut_ptr().cast());
            let recent = (display.minor >= CLIENT_MONITORS_SINCE).then_some(display.instance);
            all &= callback!(recent, QXLInterface, client_monitors_config).is_some_and(
                |(instance, function)| {
                    // SAFETY: instance and function belong together and are valid until removal;
                    // `config` is NULL or a layout whose count fits its memory, which lives in `words`.
                    unsafe { function(instance, config) != 0 }
                },
            );
        }
        all
    }

    fn devices(&self) -> Devices {
        *lock(&self.devices)
    }
}

/// The watch's callback: the host's loop has time for us.
unsafe extern "C" fn mailbox_is_readable(_fd: c_int, _event: c_int, opaque: *mut c_void) {
    guard("mailbox", (), || {
        let core = opaque.cast_const().cast::<Core>();
        // SAFETY: `opaque` is the pointer of `watch_mailbox`, whose count the watch holds; this
        // takes one more, so that a callback that destroys the server does not free it under us.
        unsafe { Arc::increment_strong_count(core) };
        // SAFETY: the count just taken is given to this `Arc`.
        let core = unsafe { Arc::from_raw(core) };
        core.run_host_tasks(Caller::MainThread);
    });
}

impl Host for CHost {
    fn channel_event(&self, event: ChannelEvent, connection: &Arc<Connection>) {
        let mut infos = lock(&self.infos);
        let info = infos.entry(connection.id).or_insert_with(|| Box::new(describe(connection)));
        if let Some(identity) = connection.identity.get() {
            // Not before, as in the original: CONNECTED comes ahead of the TLS handshake.
            if connection.tls {
                info.flags |= SPICE_CHANNEL_EVENT_FLAG_TLS;
            }
            info.connection_id = identity.client.cast_signed();
            info.r#type = identity.channel_type.into();
            info.id = identity.channel_id.into();
        }
        let pointer: *mut SpiceChannelEventInfo = &raw mut **info;
        // The box stays in the map, so its address holds; the lock must not be held in a callback.
        drop(infos);
        let number = match event {
            ChannelEvent::Connected => SPICE_CHANNEL_EVENT_CONNECTED,
            ChannelEvent::Initialized => SPICE_CHANNEL_EVENT_INITIALIZED,
            ChannelEvent::Disconnected => SPICE_CHANNEL_EVENT_DISCONNECTED,
        };
        // SAFETY: the table is valid until the server is destroyed (see `new`).
        let function = unsafe { (*self.core.as_ptr()).channel_event };
        if let Some(function) = function.filter(|_| self.tells_events) {
            // SAFETY: `pointer` is valid until DISCONNECTED has returned: only below is it freed.
            unsafe { function(number, pointer) };
        }
        if event == ChannelEvent::Disconnected {
            lock(&self.infos).remove(&connection.id);
        }
    }

    fn key(&self, byte: u8) {
        if let Some((instance, function)) =
            callback!(self.devices().keyboard, SpiceKbdInterface, push_scan_freg)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, byte) };
        }
    }

    fn leds(&self) -> u8 {
        callback!(self.devices().keyboard, SpiceKbdInterface, get_leds).map_or(
            0,
            |(instance, function)| {
                // SAFETY: instance and function belong together and are valid until removal.
                unsafe { function(instance) }
            },
        )
    }

    fn mouse_motion(&self, dx: i32, dy: i32, dz: i32, buttons: u32) {
        if let Some((instance, function)) =
            callback!(self.devices().mouse, SpiceMouseInterface, motion)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, dx, dy, dz, buttons) };
        }
    }

    fn mouse_buttons(&self, buttons: u32) {
        if let Some((instance, function)) =
            callback!(self.devices().mouse, SpiceMouseInterface, buttons)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, buttons) };
        }
    }

    fn tablet_size(&self, width: i32, height: i32) {
        if let Some((instance, function)) =
            callback!(self.devices().tablet, SpiceTabletInterface, set_logical_size)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, width, height) };
        }
    }

    fn tablet_position(&self, x: i32, y: i32, buttons: u32) {
        if let Some((instance, function)) =
            callback!(self.devices().tablet, SpiceTabletInterface, position)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, x, y, buttons) };
        }
    }

    fn tablet_wheel(&self, dz: i32, buttons: u32) {
        if let Some((instance, function)) =
            callback!(self.devices().tablet, SpiceTabletInterface, wheel)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, dz, buttons) };
        }
    }

    fn tablet_buttons(&self, buttons: u32) {
        if let Some((instance, function)) =
            callback!(self.devices().tablet, SpiceTabletInterface, buttons)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, buttons) };
        }
    }

    fn takes_monitors(&self) -> bool {
        self.tell_displays(None)
    }

    fn client_monitors(&self, monitors: &ClientMonitors) {
        self.tell_displays(Some(monitors));
    }

    fn device_read(&self, device: DeviceId, bytes: &mut [u8]) -> usize {
        self.chars.read(device, bytes)
    }

    fn device_write(&self, device: DeviceId, bytes: &[u8]) -> usize {
        self.chars.write(device, bytes)
    }

    fn device_state(&self, device: DeviceId, connected: bool) {
        self.chars.state(device, connected);
    }

    fn device_event(&self, device: DeviceId, event: u8) {
        self.chars.event(device, event);
    }

    fn device_notifies(&self, device: DeviceId) -> bool {
        self.chars.notifies(device)
    }

    fn device_timer(&self, device: DeviceId, after: Option<u32>) {
        // SAFETY: the table is valid until the server is destroyed (see `new`).
        unsafe { self.chars.set_timer(self.core, device, after) };
    }

    fn migration(&self, event: MigrationEvent) {
        let instance = self.devices().migration;
        let answer = match event {
            MigrationEvent::Connected => {
                callback!(instance, SpiceMigrateInterface, migrate_connect_complete)
            }
            MigrationEvent::Ended => {
                callback!(instance, SpiceMigrateInterface, migrate_end_complete)
            }
        };
        if let Some((instance, function)) = answer {
            // SAFETY: instance and function belong together and are valid until the server is destroyed.
            unsafe { function(instance) };
        }
    }
}

/// The event information of a fresh connection.
fn describe(connection: &Connection) -> SpiceChannelEventInfo {
    let mut info =
        SpiceChannelEventInfo { flags: SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT, ..Default::default() };
    let local = address_bytes(connection.local.as_ref());
    let peer = address_bytes(connection.peer.as_ref());
    info.llen_ext = copy_address(&local, &raw mut info.laddr_ext);
    info.plen_ext = copy_address(&peer, &raw mut info.paddr_ext);
    info.llen = copy_address(&local, &raw mut info.laddr);
    info.plen = copy_address(&peer, &raw mut info.paddr);
    info
}

/// A socket address as the kernel has it; an unnamed unix address if there is none.
fn address_bytes(address: Option<&SocketAddrAny>) -> Vec<u8> {
    let Some(address) = address else {
        return AF_UNIX.to_ne_bytes().to_vec();
    };
    let len = address.addr_len() as usize;
    let mut bytes = vec![0; len];
    // SAFETY: the address holds `addr_len` initialised bytes; the vector has as many and is apart.
    unsafe { ptr::copy_nonoverlapping(address.as_ptr().cast(), bytes.as_mut_ptr(), len) };
    bytes
}

/// Copies as much as fits; returns how much that is.
fn copy_address<T>(bytes: &[u8], to: *mut T) -> u32 {
    let len = bytes.len().min(size_of::<T>());
    // SAFETY: `to` points to a plain structure of the event information with at least `len` bytes,
    // for which every byte pattern is valid.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), len) };
    u32::try_from(len).unwrap_or(0)
}

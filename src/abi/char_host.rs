//! The host's char devices: the callbacks of each, and the timer of those that cannot tell when they can be written.
//!
//! Callbacks run on a thread of the host, in a turn of its loop or inside an API call. They may call any API function,
//! also to remove the very device; so the table is never locked meanwhile.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::channel::device::DeviceId;
use crate::server::Core;

use super::guard::guard;
use super::host::callback;
use super::types::char_device::{
    CharDeviceFlags, SpiceCharDeviceInstance, SpiceCharDeviceInterface,
};
use super::types::core::{SpiceCoreInterface, SpiceTimer};

/// Minor version of the interface from which `event` exists.
const EVENT_SINCE: u32 = 2;
/// Minor version of the interface from which `flags` exist.
const FLAGS_SINCE: u32 = 3;

/// An added device.
#[derive(Debug)]
struct CharDevice {
    /// Valid until the device is removed, which takes it out of the table first.
    instance: NonNull<SpiceCharDeviceInstance>,
    /// Minor version of its interface.
    minor: u32,
    core: Weak<Core>,
    timer: Option<Timer>,
}

/// A timer of the host.
#[derive(Debug)]
struct Timer {
    handle: NonNull<SpiceTimer>,
    /// What the callback gets; freed when the timer was removed.
    target: *mut TimerTarget,
}

#[derive(Debug, Clone)]
struct TimerTarget {
    core: Weak<Core>,
    device: DeviceId,
}

/// All char devices of a server.
#[derive(Debug, Default)]
pub struct CharDevices {
    table: Mutex<HashMap<DeviceId, CharDevice>>,
}

impl CharDevices {
    fn table(&self) -> MutexGuard<'_, HashMap<DeviceId, CharDevice>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a device whose interface has this minor version.
    pub fn add(
        &self,
        device: DeviceId,
        instance: NonNull<SpiceCharDeviceInstance>,
        minor: u32,
        core: &Arc<Core>,
    ) {
        let core = Arc::downgrade(core);
        self.table().insert(device, CharDevice { instance, minor, core, timer: None });
    }

    /// Gives a device up: no callback reaches it afterwards. Its timer was ended before (`set_timer`).
    pub fn remove(&self, device: DeviceId) {
        self.table().remove(&device);
    }

    /// The instance, if its interface has at least this minor version.
    fn since(&self, device: DeviceId, minor: u32) -> Option<NonNull<SpiceCharDeviceInstance>> {
        self.table().get(&device).filter(|d| d.minor >= minor).map(|d| d.instance)
    }

    /// As `Host::device_read`.
    pub fn read(&self, device: DeviceId, bytes: &mut [u8]) -> usize {
        let len = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        callback!(self.since(device, 0), SpiceCharDeviceInterface, read).map_or(
            0,
            |(instance, function)| {
                // SAFETY: instance and function belong together and are valid until removal; the place holds `len` bytes.
                let n = unsafe { function(instance, bytes.as_mut_ptr(), len) };
                usize::try_from(n).unwrap_or(0).min(bytes.len())
            },
        )
    }

    /// As `Host::device_write`.
    pub fn write(&self, device: DeviceId, bytes: &[u8]) -> usize {
        let len = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        callback!(self.since(device, 0), SpiceCharDeviceInterface, write).map_or(
            0,
            |(instance, function)| {
                // SAFETY: instance and function belong together and are valid until removal; there are `len` bytes.
                let n = unsafe { function(instance, bytes.as_ptr(), len) };
                usize::try_from(n).unwrap_or(0).min(bytes.len())
            },
        )
    }

    /// As `Host::device_state`.
    pub fn state(&self, device: DeviceId, connected: bool) {
        if let Some((instance, function)) =
            callback!(self.since(device, 0), SpiceCharDeviceInterface, state)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, c_int::from(connected)) };
        }
    }

    /// As `Host::device_event`.
    pub fn event(&self, device: DeviceId, event: u8) {
        if let Some((instance, function)) =
            callback!(self.since(device, EVENT_SINCE), SpiceCharDeviceInterface, event)
        {
            // SAFETY: instance and function belong together and are valid until removal.
            unsafe { function(instance, event) };
        }
    }

    /// As `Host::device_notifies`.
    pub fn notifies(&self, device: DeviceId) -> bool {
        let Some(instance) = self.since(device, FLAGS_SINCE) else { return false };
        // SAFETY: an instance stays valid from its addition to its removal (C contract).
        let interface = unsafe { (*instance.as_ptr()).base.sif }.cast::<SpiceCharDeviceInterface>();
        // SAFETY: an instance's interface is valid as long as the instance; of this minor version it has flags.
        let flags = NonNull::new(interface.cast_mut()).map(|i| unsafe { (*i.as_ptr()).flags });
        flags.is_some_and(|flags| flags.0 & CharDeviceFlags::NOTIFY_WRITABLE.0 != 0)
    }

    /// As `Host::device_timer`, over the host's table `core`.
    ///
    /// # Safety
    /// - `core` is valid and its functions keep their contract.
    pub unsafe fn set_timer(
        &self,
        core: NonNull<SpiceCoreInterface>,
        device: DeviceId,
        after: Option<u32>,
    ) {
        // SAFETY: the caller vouches for the table; it is read, not called.
        let table = unsafe { &*core.as_ptr() };
        let (add, start, remove) = (table.timer_add, table.timer_start, table.timer_remove);
        let mut devices = self.table();
        let Some(entry) = devices.get_mut(&device) else { return };
        let Some(ms) = after else {
            let timer = entry.timer.take();
            drop(devices);
            let Some(timer) = timer else { return };
            if let Some(remove) = remove {
                // SAFETY: the handle came from `timer_add` and is removed once, which also stops it.
                unsafe { remove(timer.handle.as_ptr()) };
                // SAFETY: the box was made below and the timer that held it is gone.
                drop(unsafe { Box::from_raw(timer.target) });
            }
            return;
        };
        let timer = entry.timer.as_ref().map(|timer| timer.handle);
        let target = TimerTarget { core: Weak::clone(&entry.core), device };
        drop(devices);
        let (Some(add), Some(start)) = (add, start) else { return };
        let handle = timer.or_else(|| {
            let target = Box::into_raw(Box::new(target));
            // SAFETY: `timer_add` keeps its contract; the target lives until the timer was removed.
            let Some(handle) = NonNull::new(unsafe { add(Some(timer_fired), target.cast()) })
            else {
                // SAFETY: the box was made above and the host did not keep it.
                drop(unsafe { Box::from_raw(target) });
                return None;
            };
            if let Some(entry) = self.table().get_mut(&device) {
                entry.timer = Some(Timer { handle, target });
            }
            Some(handle)
        });
        if let Some(handle) = handle {
            // SAFETY: the handle came from `timer_add` and was not removed.
            unsafe { start(handle.as_ptr(), ms) };
        }
    }
}

/// The timer's callback: try the device again.
unsafe extern "C" fn timer_fired(target: *mut c_void) {
    guard("char device timer", (), || {
        // SAFETY: the target lives until its timer was removed. A copy, because the device may be removed below.
        let target = unsafe { (*target.cast::<TimerTarget>()).clone() };
        if let Some(core) = target.core.upgrade() {
            core.device_wakeup(target.device);
        }
    });
}

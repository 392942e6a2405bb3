//! A QXL instance's callback table behind the safe trait [`QxlDevice`].
//!
//! The worker thread (`spice-disp-N`) owns the value and is the only one that calls it; what runs
//! inside API calls (`get_init_info`, `attached_worker`, `set_compression_level`) are functions.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use crate::protocol::geometry::Rect;
use crate::qxl::command::{CommandExt, QxlDevice, ReleaseInfo};
use crate::server::api::QxlInfo;

use super::host::callback;
use super::types::foreign::{QXLCommandExt, QXLRect, QXLReleaseInfoExt};
use super::types::qxl::{QXLDevInitInfo, QXLInstance, QXLInterface};

/// Minor version of the interface from which `set_client_capabilities` exists.
const CLIENT_CAPABILITIES_SINCE: u32 = 2;

/// One QXL instance as its worker sees it.
#[derive(Debug)]
pub struct CDevice {
    /// Valid until the instance is removed, and removal ends the worker first.
    instance: NonNull<QXLInstance>,
    minor: u32,
}

// SAFETY: the instance is the host's; its worker callbacks may come from any one thread, and the
// value moves to the worker before the first call.
unsafe impl Send for CDevice {}

impl CDevice {
    /// Over a valid instance whose interface has this minor version.
    ///
    /// # Safety
    /// - `instance` and its interface are valid until the worker that gets this value has ended.
    pub unsafe fn new(instance: NonNull<QXLInstance>, minor: u32) -> Self {
        Self { instance, minor }
    }

    fn pop(
        &self,
        found: Option<(
            *mut QXLInstance,
            unsafe extern "C" fn(*mut QXLInstance, *mut QXLCommandExt) -> c_int,
        )>,
    ) -> Option<CommandExt> {
        let (instance, function) = found?;
        let mut command = QXLCommandExt::default();
        // SAFETY: instance and function belong together; the callback fills the structure.
        let got = unsafe { function(instance, &raw mut command) };
        (got != 0).then_some(CommandExt {
            data: command.cmd.data,
            kind: command.cmd.r#type,
            group_id: command.group_id,
            flags: command.flags,
        })
    }
}

/// What the instance says of itself; `None` without the callback.
pub fn init_info(instance: NonNull<QXLInstance>) -> Option<QxlInfo> {
    let (pointer, function) = callback!(Some(instance), QXLInterface, get_init_info)?;
    let mut info = QXLDevInitInfo::default();
    // SAFETY: instance and function belong together; the callback fills the structure.
    unsafe { function(pointer, &raw mut info) };
    Some(QxlInfo {
        groups: info.num_memslots_groups,
        slots: info.num_memslots,
        gen_bits: info.memslot_gen_bits,
        id_bits: info.memslot_id_bits,
        ram: info.qxl_ram_size,
        surfaces: info.n_surfaces,
    })
}

/// Tells the instance that its worker is ready. The host may call API functions from inside.
pub fn attached_worker(instance: NonNull<QXLInstance>) {
    /// As old hosts declare it: the second argument was the worker.
    type TwoArguments = unsafe extern "C" fn(*mut QXLInstance, *mut QXLInstance);
    if let Some((pointer, function)) = callback!(Some(instance), QXLInterface, attached_worker) {
        // SAFETY: in the C calling convention a function that takes one pointer ignores a second
        // one; hosts of today take one, hosts of before 0.15 take two.
        let function: TwoArguments = unsafe { std::mem::transmute(function) };
        // SAFETY: instance and function belong together.
        unsafe { function(pointer, pointer) };
    }
}

/// Tells the instance the level for the device's ROM.
pub fn set_compression_level(instance: NonNull<QXLInstance>, level: i32) {
    if let Some((pointer, function)) =
        callback!(Some(instance), QXLInterface, set_compression_level)
    {
        // SAFETY: instance and function belong together.
        unsafe { function(pointer, level) };
    }
}

impl QxlDevice for CDevice {
    fn get_command(&mut self) -> Option<CommandExt> {
        self.pop(callback!(Some(self.instance), QXLInterface, get_command))
    }

    fn req_cmd_notification(&mut self) -> bool {
        callback!(Some(self.instance), QXLInterface, req_cmd_notification).is_none_or(
            |(instance, function)| {
                // SAFETY: instance and function belong together.
                unsafe { function(instance) != 0 }
            },
        )
    }

    fn get_cursor_command(&mut self) -> Option<CommandExt> {
        self.pop(callback!(Some(self.instance), QXLInterface, get_cursor_command))
    }

    fn req_cursor_notification(&mut self) -> bool {
        callback!(Some(self.instance), QXLInterface, req_cursor_notification).is_none_or(
            |(instance, function)| {
                // SAFETY: instance and function belong together.
                unsafe { function(instance) != 0 }
            },
        )
    }

    fn release_resource(&mut self, release: ReleaseInfo) {
        if let Some((instance, function)) =
            callback!(Some(self.instance), QXLInterface, release_resource)
        {
            let info = QXLReleaseInfoExt {
                info: ptr::with_exposed_provenance_mut(release.address().0),
                group_id: release.group_id(),
            };
            // SAFETY: instance and function belong together; the info is the host's own command.
            unsafe { function(instance, info) };
        }
    }

    fn notify_update(&mut self, update_id: u32) {
        if let Some((instance, function)) =
            callback!(Some(self.instance), QXLInterface, notify_update)
        {
            // SAFETY: instance and function belong together.
            unsafe { function(instance, update_id) };
        }
    }

    fn flush_resources(&mut self) -> i32 {
        callback!(Some(self.instance), QXLInterface, flush_resources).map_or(
            0,
            |(instance, function)| {
                // SAFETY: instance and function belong together.
                unsafe { function(instance) }
            },
        )
    }

    fn async_complete(&mut self, cookie: u64) {
        if let Some((instance, function)) =
            callback!(Some(self.instance), QXLInterface, async_complete)
        {
            // SAFETY: instance and function belong together.
            unsafe { function(instance, cookie) };
        }
    }

    fn update_area_complete(&mut self, surface: u32, rects: &[Rect]) {
        if let Some((instance, function)) =
            callback!(Some(self.instance), QXLInterface, update_area_complete)
        {
            let mut list: Vec<QXLRect> = rects.iter().map(to_c).collect();
            let count = u32::try_from(list.len()).unwrap_or(0);
            // SAFETY: instance and function belong together; the list lives through the call.
            unsafe { function(instance, surface, list.as_mut_ptr(), count) };
        }
    }

    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]) {
        if self.minor < CLIENT_CAPABILITIES_SINCE {
            return;
        }
        if let Some((instance, function)) =
            callback!(Some(self.instance), QXLInterface, set_client_capabilities)
        {
            let mut caps = *caps;
            // SAFETY: instance and function belong together; C reads or writes 58 bytes.
            unsafe { function(instance, u8::from(present), caps.as_mut_ptr().cast()) };
        }
    }
}

/// A rectangle as C has it.
pub fn to_c(r: &Rect) -> QXLRect {
    QXLRect { top: r.top, left: r.left, bottom: r.bottom, right: r.right }
}

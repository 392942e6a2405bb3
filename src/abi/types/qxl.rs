//! A QXL device: where its commands come from and go to (`spice-qxl.h` of the original).

use std::ffi::c_int;

use super::core::{SpiceBaseInstance, SpiceBaseInterface};
use super::foreign::{QXLCommandExt, QXLRect, QXLReleaseInfoExt, VDAgentMonitorsConfig};

/// Kind of a QXL interface.
pub const SPICE_INTERFACE_QXL: &str = "qxl";
/// Major version of the QXL interface.
pub const SPICE_INTERFACE_QXL_MAJOR: u32 = 3;
/// Minor version of the QXL interface; 2 added `set_client_capabilities`, 3 added
/// `client_monitors_config`.
pub const SPICE_INTERFACE_QXL_MINOR: u32 = 3;

/// The server's side of a QXL device.
#[derive(Debug)]
pub struct QXLState {
    _opaque: [u8; 0],
}

/// Left over from an old interface; never used.
#[derive(Debug)]
pub struct QXLWorker {
    _opaque: [u8; 0],
}

/// What `get_init_info` tells about the device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QXLDevInitInfo {
    /// Groups of memory slots (host and guest).
    pub num_memslots_groups: u32,
    /// Memory slots in a group.
    pub num_memslots: u32,
    /// Bits of a guest address that hold the generation of its slot.
    pub memslot_gen_bits: u8,
    /// Bits of a guest address that hold the number of its slot.
    pub memslot_id_bits: u8,
    /// Bytes of device memory.
    pub qxl_ram_size: u32,
    /// First slot number of the guest's own group.
    pub internal_groupslot_id: u8,
    /// Surfaces that can exist at a time.
    pub n_surfaces: u32,
}
layout!(QXLDevInitInfo, 24, {
    num_memslots_groups: 0, num_memslots: 4, memslot_gen_bits: 8, memslot_id_bits: 9,
    qxl_ram_size: 12, internal_groupslot_id: 16, n_surfaces: 20,
});

/// A piece of memory that guest addresses may point into.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QXLDevMemSlot {
    /// Group the slot belongs to.
    pub slot_group_id: u32,
    /// Number of the slot in its group.
    pub slot_id: u32,
    /// Generation that addresses must carry.
    pub generation: u32,
    /// First byte in this process.
    pub virt_start: usize,
    /// Byte behind the last one in this process.
    pub virt_end: usize,
    /// Added to a guest address, without slot and generation bits, to find it in this process.
    pub addr_delta: u64,
    /// Bytes of device memory; hosts leave it unset.
    pub qxl_ram_size: u32,
}
layout!(QXLDevMemSlot, 48, {
    slot_group_id: 0, slot_id: 4, generation: 8, virt_start: 16, virt_end: 24, addr_delta: 32,
    qxl_ram_size: 40,
});

/// A primary surface: the picture of the screen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QXLDevSurfaceCreate {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next; negative when the bottom row comes first in memory.
    pub stride: i32,
    /// Pixel format, `SPICE_SURFACE_FMT_*`.
    pub format: u32,
    /// Unused.
    pub position: u32,
    /// Whether the guest draws its pointer itself.
    pub mouse_mode: u32,
    /// `QXL_SURF_FLAG_*`.
    pub flags: u32,
    /// `QXL_SURF_TYPE_*`.
    pub r#type: u32,
    /// Guest address of the pixels.
    pub mem: u64,
    /// Memory slot group of `mem`.
    pub group_id: u32,
}
layout!(QXLDevSurfaceCreate, 48, {
    width: 0, height: 4, stride: 8, format: 12, position: 16, mouse_mode: 20, flags: 24, r#type: 28,
    mem: 32, group_id: 40,
});

/// What the server may do with a QXL device.
#[repr(C)]
#[derive(Debug)]
pub struct QXLInterface {
    /// Kind "qxl".
    pub base: SpiceBaseInterface,
    /// The worker of the device is ready; may be NULL. Old hosts take a second argument.
    pub attached_worker: Option<unsafe extern "C" fn(qin: *mut QXLInstance)>,
    /// Compression level for the device's ROM.
    pub set_compression_level: Option<unsafe extern "C" fn(qin: *mut QXLInstance, level: c_int)>,
    /// Deprecated; never called.
    pub set_mm_time: Option<unsafe extern "C" fn(qin: *mut QXLInstance, mm_time: u32)>,
    /// Fills in the sizes of the device.
    pub get_init_info:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, info: *mut QXLDevInitInfo)>,
    /// Takes the next drawing command; 1 if there was one, 0 otherwise.
    pub get_command:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, cmd: *mut QXLCommandExt) -> c_int>,
    /// Asks for `spice_qxl_wakeup` at the next command; 0 if there is one already.
    pub req_cmd_notification: Option<unsafe extern "C" fn(qin: *mut QXLInstance) -> c_int>,
    /// Gives a resource back to the guest.
    pub release_resource:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, release_info: QXLReleaseInfoExt)>,
    /// Takes the next cursor command; 1 if there was one, 0 otherwise.
    pub get_cursor_command:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, cmd: *mut QXLCommandExt) -> c_int>,
    /// As `req_cmd_notification`, for cursor commands.
    pub req_cursor_notification: Option<unsafe extern "C" fn(qin: *mut QXLInstance) -> c_int>,
    /// Unused by guests of today.
    pub notify_update: Option<unsafe extern "C" fn(qin: *mut QXLInstance, update_id: u32)>,
    /// Asks the device to pass on resources that were released; 0 if there were none.
    pub flush_resources: Option<unsafe extern "C" fn(qin: *mut QXLInstance) -> c_int>,
    /// Answers an `_async` call.
    pub async_complete: Option<unsafe extern "C" fn(qin: *mut QXLInstance, cookie: u64)>,
    /// Tells which parts `spice_qxl_update_area_async` brought up to date.
    pub update_area_complete: Option<
        unsafe extern "C" fn(
            qin: *mut QXLInstance,
            surface_id: u32,
            updated_rects: *mut QXLRect,
            num_updated_rects: u32,
        ),
    >,
    /// Tells what the clients can do; `caps` has SPICE_CAPABILITIES_SIZE bytes. Since minor
    /// version 2.
    pub set_client_capabilities:
        Option<unsafe extern "C" fn(qin: *mut QXLInstance, client_present: u8, caps: *mut u8)>,
    /// Passes on the monitors a client wants; 1 if the device can do that, 0 otherwise. NULL only
    /// asks. Since minor version 3.
    pub client_monitors_config: Option<
        unsafe extern "C" fn(
            qin: *mut QXLInstance,
            monitors_config: *mut VDAgentMonitorsConfig,
        ) -> c_int,
    >,
}
layout!(QXLInterface, 144, {
    base: 0, attached_worker: 24, set_compression_level: 32, set_mm_time: 40, get_init_info: 48,
    get_command: 56, req_cmd_notification: 64, release_resource: 72, get_cursor_command: 80,
    req_cursor_notification: 88, notify_update: 96, flush_resources: 104, async_complete: 112,
    update_area_complete: 120, set_client_capabilities: 128, client_monitors_config: 136,
});

/// One QXL device.
#[repr(C)]
#[derive(Debug)]
pub struct QXLInstance {
    /// Points to the interface.
    pub base: SpiceBaseInstance,
    /// Number of the device, from 0.
    pub id: c_int,
    /// Belongs to the server; unspecified before the instance is added.
    pub st: *mut QXLState,
}
layout!(QXLInstance, 24, { base: 0, id: 8, st: 16 });

//! Calls of a QXL device that answer at once or wait for the worker (`spice-qxl.h`).
//!
//! The calls that are answered by a callback are in [`super::qxl_async`]. All calls for one instance
//! are served in the order they are made.

use std::ffi::{c_char, c_int, c_uint};
use std::os::fd::{FromRawFd, OwnedFd};

use super::guard::{guard, not_yet};
use super::types::foreign::{QXLCommandExt, QXLRect};
use super::types::qxl::{QXLDevMemSlot, QXLDevSurfaceCreate, QXLInstance};

/// Planes of a dmabuf, as in the kernel's interface.
const MAX_PLANES: u32 = 4;

/// A descriptor that the host gave away; `None` for numbers below 0.
///
/// # Safety
/// - `fd` is negative or open, and nobody else closes it.
unsafe fn handed_over(fd: c_int) -> Option<OwnedFd> {
    // SAFETY: not negative, and the caller gives the descriptor away.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

symver!(spice_qxl_wakeup, "0.8.2");
/// There are new commands. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_wakeup(instance: *mut QXLInstance) {
    guard("spice_qxl_wakeup", (), || not_yet!("spice_qxl_wakeup", (), instance))
}

symver!(spice_qxl_oom, "0.8.2");
/// The guest is short of memory: gives back resources early. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_oom(instance: *mut QXLInstance) {
    guard("spice_qxl_oom", (), || not_yet!("spice_qxl_oom", (), instance))
}

symver!(spice_qxl_start, "0.8.2");
/// Serves the commands of this device.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[deprecated(note = "use spice_server_vm_start")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_start(instance: *mut QXLInstance) {
    guard("spice_qxl_start", (), || not_yet!("spice_qxl_start", (), instance))
}

symver!(spice_qxl_stop, "0.8.2");
/// Stops serving the commands of this device; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[deprecated(note = "use spice_server_vm_stop")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_stop(instance: *mut QXLInstance) {
    guard("spice_qxl_stop", (), || not_yet!("spice_qxl_stop", (), instance))
}

symver!(spice_qxl_update_area, "0.8.2");
/// Brings an area of a surface in guest memory up to date; waits for the worker.
///
/// Writes what changed since the last call to `dirty_rects`.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `area` is NULL or points to a rectangle.
/// - `dirty_rects` is NULL or has room for `num_dirty_rects` rectangles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_update_area(
    instance: *mut QXLInstance,
    surface_id: u32,
    area: *mut QXLRect,
    dirty_rects: *mut QXLRect,
    num_dirty_rects: u32,
    clear_dirty_region: u32,
) {
    guard("spice_qxl_update_area", (), || {
        not_yet!(
            "spice_qxl_update_area",
            (),
            instance,
            surface_id,
            area,
            dirty_rects,
            num_dirty_rects,
            clear_dirty_region
        )
    })
}

symver!(spice_qxl_add_memslot, "0.8.2");
/// Adds a memory slot; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `slot` is NULL or points to a slot; the memory it names stays valid until the slot is deleted
///   and the call that deletes it, or a later call that waits for the worker, has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_add_memslot(
    instance: *mut QXLInstance,
    slot: *mut QXLDevMemSlot,
) {
    guard("spice_qxl_add_memslot", (), || not_yet!("spice_qxl_add_memslot", (), instance, slot))
}

symver!(spice_qxl_del_memslot, "0.8.2");
/// Deletes a memory slot. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_del_memslot(
    instance: *mut QXLInstance,
    slot_group_id: u32,
    slot_id: u32,
) {
    guard("spice_qxl_del_memslot", (), || {
        not_yet!("spice_qxl_del_memslot", (), instance, slot_group_id, slot_id)
    })
}

symver!(spice_qxl_reset_memslots, "0.8.2");
/// Deletes all memory slots. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_memslots(instance: *mut QXLInstance) {
    guard("spice_qxl_reset_memslots", (), || not_yet!("spice_qxl_reset_memslots", (), instance))
}

symver!(spice_qxl_destroy_surfaces, "0.8.2");
/// Destroys all surfaces; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surfaces(instance: *mut QXLInstance) {
    guard("spice_qxl_destroy_surfaces", (), || not_yet!("spice_qxl_destroy_surfaces", (), instance))
}

symver!(spice_qxl_destroy_primary_surface, "0.8.2");
/// Destroys the primary surface; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_primary_surface(
    instance: *mut QXLInstance,
    surface_id: u32,
) {
    guard("spice_qxl_destroy_primary_surface", (), || {
        not_yet!("spice_qxl_destroy_primary_surface", (), instance, surface_id)
    })
}

symver!(spice_qxl_create_primary_surface, "0.8.2");
/// Makes the primary surface; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `surface` is NULL or points to a description; the pixels it names stay valid until the surface
///   is destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_create_primary_surface(
    instance: *mut QXLInstance,
    surface_id: u32,
    surface: *mut QXLDevSurfaceCreate,
) {
    guard("spice_qxl_create_primary_surface", (), || {
        not_yet!("spice_qxl_create_primary_surface", (), instance, surface_id, surface)
    })
}

symver!(spice_qxl_reset_image_cache, "0.8.2");
/// Makes the clients forget cached images; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_image_cache(instance: *mut QXLInstance) {
    guard("spice_qxl_reset_image_cache", (), || {
        not_yet!("spice_qxl_reset_image_cache", (), instance)
    })
}

symver!(spice_qxl_reset_cursor, "0.8.2");
/// Hides the cursor and makes the clients forget cached shapes; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_cursor(instance: *mut QXLInstance) {
    guard("spice_qxl_reset_cursor", (), || not_yet!("spice_qxl_reset_cursor", (), instance))
}

symver!(spice_qxl_destroy_surface_wait, "0.8.2");
/// Destroys a surface; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surface_wait(
    instance: *mut QXLInstance,
    surface_id: u32,
) {
    guard("spice_qxl_destroy_surface_wait", (), || {
        not_yet!("spice_qxl_destroy_surface_wait", (), instance, surface_id)
    })
}

symver!(spice_qxl_loadvm_commands, "0.8.2");
/// Executes commands that rebuild the state of a restored machine; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `ext` is NULL or points to `count` commands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_loadvm_commands(
    instance: *mut QXLInstance,
    ext: *mut QXLCommandExt,
    count: u32,
) {
    guard("spice_qxl_loadvm_commands", (), || {
        not_yet!("spice_qxl_loadvm_commands", (), instance, ext, count)
    })
}

symver!(spice_qxl_driver_unload, "0.12.3");
/// The guest's driver was unloaded. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_driver_unload(instance: *mut QXLInstance) {
    guard("spice_qxl_driver_unload", (), || not_yet!("spice_qxl_driver_unload", (), instance))
}

symver!(spice_qxl_set_max_monitors, "0.12.6");
/// Limits the monitors of the device, at least 1.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[deprecated(note = "use spice_qxl_set_device_info")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_set_max_monitors(
    instance: *mut QXLInstance,
    max_monitors: c_uint,
) {
    guard("spice_qxl_set_max_monitors", (), || {
        not_yet!("spice_qxl_set_max_monitors", (), instance, max_monitors)
    })
}

symver!(spice_qxl_set_device_info, "0.14.2");
/// Tells clients and agent which hardware the monitors of this device belong to.
///
/// The address reads "pci/DOMAIN/SLOT.FUNCTION", with further "/SLOT.FUNCTION" parts behind
/// bridges. Monitor n of the device is display `device_display_id_start` + n of the hardware.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `device_address` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_set_device_info(
    instance: *mut QXLInstance,
    device_address: *const c_char,
    device_display_id_start: u32,
    device_display_id_count: u32,
) {
    guard("spice_qxl_set_device_info", (), || {
        not_yet!(
            "spice_qxl_set_device_info",
            (),
            instance,
            device_address,
            device_display_id_start,
            device_display_id_count
        )
    })
}

symver!(spice_qxl_gl_scanout, "0.13.1");
/// Shows a dmabuf instead of the primary surface; -1 for none.
///
/// The descriptor belongs to the server from now on.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `fd` is -1 or a descriptor that the caller owns and gives away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout(
    instance: *mut QXLInstance,
    fd: c_int,
    width: u32,
    height: u32,
    stride: u32,
    format: u32,
    y_0_top: c_int,
) {
    guard("spice_qxl_gl_scanout", (), || {
        // SAFETY: the caller gives the descriptor away, once.
        drop(unsafe { handed_over(fd) });
        not_yet!("spice_qxl_gl_scanout", (), instance, width, height, stride, format, y_0_top)
    })
}

symver!(spice_qxl_gl_scanout2, "0.16");
/// As `spice_qxl_gl_scanout`, for a dmabuf of up to 4 planes; 0 planes for none.
///
/// The descriptors belong to the server from now on.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `fd` is NULL or points to `num_planes` descriptors that the caller owns and gives away.
/// - Each of `offset`, `stride`: is NULL or points to `num_planes` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout2(
    instance: *mut QXLInstance,
    fd: *const c_int,
    width: u32,
    height: u32,
    offset: *const u32,
    stride: *const u32,
    num_planes: u32,
    format: u32,
    modifier: u64,
    y_0_top: c_int,
) {
    guard("spice_qxl_gl_scanout2", (), || {
        for index in 0..num_planes.min(MAX_PLANES) as usize {
            if fd.is_null() {
                break;
            }
            // SAFETY: the array has `num_planes` entries, and `index` is below that.
            let entry = unsafe { fd.add(index) };
            // SAFETY: as above; the entries are initialised.
            let number = unsafe { entry.read() };
            // SAFETY: every descriptor of the array is handed over, once.
            drop(unsafe { handed_over(number) });
        }
        not_yet!(
            "spice_qxl_gl_scanout2",
            (),
            instance,
            width,
            height,
            offset,
            stride,
            format,
            modifier,
            y_0_top
        )
    })
}

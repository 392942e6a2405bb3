//! Calls of a QXL device that answer at once or wait for the worker (`spice-qxl.h`).
//!
//! The calls that are answered by a callback are in [`super::qxl_async`]. All calls for one
//! instance are served in the order they are made.

use std::ffi::{c_char, c_int, c_uint};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use crate::channel::display::{PrimaryCreate, Request};
use crate::protocol::geometry::Rect;
use crate::protocol::gl::{GlScanout, MODIFIER_INVALID, Plane};
use crate::protocol::message::Descriptors;
use crate::qxl::command::CommandExt;
use crate::qxl::memslot::MemSlot;
use crate::server::session::DeviceInfo;

use super::device::to_c;
use super::guard::{copied_bytes, guard, required};
use super::handles;
use super::types::foreign::{QXLCommandExt, QXLRect};
use super::types::qxl::{QXLDevMemSlot, QXLDevSurfaceCreate, QXLInstance};

/// Planes of a dmabuf, as in the kernel's interface.
const MAX_PLANES: usize = Descriptors::MAX;

/// Longest device address, and most displays of a device (spec 10 §7).
const MAX_DEVICE_ADDRESS: usize = 255;
const MAX_DEVICE_DISPLAYS: u32 = 16;

/// A rectangle of the host.
pub(super) fn to_rect(r: QXLRect) -> Rect {
    Rect { top: r.top, left: r.left, bottom: r.bottom, right: r.right }
}

/// A memory slot of the host.
///
/// # Safety
/// - `slot` points to a slot; the memory that it names stays valid until the slot is deleted and a
///   later call that waits for the worker has returned.
pub(super) unsafe fn to_memslot(slot: NonNull<QXLDevMemSlot>) -> MemSlot {
    // SAFETY: the caller vouches for the pointer.
    let s = unsafe { slot.read() };
    // SAFETY: the caller vouches for the memory.
    unsafe {
        MemSlot::new(
            s.slot_group_id,
            s.slot_id,
            s.generation,
            s.virt_start as u64,
            s.virt_end as u64,
            s.addr_delta,
        )
    }
}

/// The request to make the primary surface, which has number 0.
pub(super) fn create_primary(surface_id: u32, s: &QXLDevSurfaceCreate) -> Request {
    if surface_id != 0 {
        tracing::warn!("surface {surface_id} is not the primary one and was not created");
        return Request::Nothing;
    }
    Request::CreatePrimary(PrimaryCreate {
        width: s.width,
        height: s.height,
        stride: s.stride,
        format: s.format,
        position: s.position,
        mouse_mode: s.mouse_mode,
        flags: s.flags,
        kind: s.r#type,
        mem: s.mem,
        group_id: s.group_id,
    })
}

/// The request to destroy the primary surface, which has number 0.
pub(super) fn destroy_primary(surface_id: u32) -> Request {
    if surface_id == 0 {
        Request::DestroyPrimary
    } else {
        tracing::warn!("surface {surface_id} is not the primary one and was not destroyed");
        Request::Nothing
    }
}

/// A descriptor that the host gave away; `None` for numbers below 0.
///
/// # Safety
/// - `fd` is negative or open, and nobody else closes it.
unsafe fn handed_over(fd: c_int) -> Option<OwnedFd> {
    // SAFETY: not negative, and the caller gives the descriptor away.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A copy of an array of the host; empty for NULL.
///
/// # Safety
/// - `array` is NULL or has `count` entries.
unsafe fn entries<T: Copy>(array: *const T, count: usize) -> Vec<T> {
    let count = if array.is_null() { 0 } else { count };
    let mut list = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: the array has `count` entries, and `index` is below that.
        let entry = unsafe { array.add(index) };
        // SAFETY: as above; the entries are initialised.
        list.push(unsafe { entry.read() });
    }
    list
}

symver!(spice_qxl_wakeup, "0.8.2");
/// There are new commands. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_wakeup(instance: *mut QXLInstance) {
    guard("spice_qxl_wakeup", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_wakeup", instance) {
            qxl.handle.wakeup();
        }
    })
}

symver!(spice_qxl_oom, "0.8.2");
/// The guest is short of memory: gives back resources early. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_oom(instance: *mut QXLInstance) {
    guard("spice_qxl_oom", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_oom", instance) {
            qxl.handle.oom();
        }
    })
}

symver!(spice_qxl_start, "0.8.2");
/// Serves the commands of this device.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[deprecated(note = "use spice_server_vm_start")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_start(instance: *mut QXLInstance) {
    guard("spice_qxl_start", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_start", instance) {
            qxl.handle.post(Request::Start)
        }
    })
}

symver!(spice_qxl_stop, "0.8.2");
/// Stops serving the commands of this device; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[deprecated(note = "use spice_server_vm_stop")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_stop(instance: *mut QXLInstance) {
    guard("spice_qxl_stop", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_stop", instance) {
            qxl.handle.call(Request::Stop);
        }
    })
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
        if let Some(qxl) = handles::qxl("spice_qxl_update_area", instance)
            && let Some(area) = required("spice_qxl_update_area", area)
        {
            // SAFETY: the caller vouches for the rectangle.
            let area = to_rect(unsafe { area.read() });
            let room = if dirty_rects.is_null() { 0 } else { num_dirty_rects as usize };
            let clear_dirty = clear_dirty_region != 0;
            let found = qxl.handle.call(Request::UpdateArea {
                surface_id,
                area,
                clear_dirty,
                max_rects: room,
            });
            for index in 0..room {
                let rect = found.get(index).map_or(QXLRect::default(), to_c);
                // SAFETY: the caller vouches for room for `num_dirty_rects` rectangles.
                let slot = unsafe { dirty_rects.add(index) };
                // SAFETY: as above.
                unsafe { slot.write(rect) };
            }
        }
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
    guard("spice_qxl_add_memslot", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_add_memslot", instance)
            && let Some(slot) = required("spice_qxl_add_memslot", slot)
        {
            // SAFETY: the caller vouches for the slot and the memory that it names.
            let slot = unsafe { to_memslot(slot) };
            qxl.handle.call(Request::AddMemslot(slot));
        }
    })
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
        if let Some(qxl) = handles::qxl("spice_qxl_del_memslot", instance) {
            qxl.handle.post(Request::DelMemslot { group: slot_group_id, slot: slot_id });
        }
    })
}

symver!(spice_qxl_reset_memslots, "0.8.2");
/// Deletes all memory slots. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_memslots(instance: *mut QXLInstance) {
    guard("spice_qxl_reset_memslots", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_reset_memslots", instance) {
            qxl.handle.post(Request::ResetMemslots)
        }
    })
}

symver!(spice_qxl_destroy_surfaces, "0.8.2");
/// Destroys all surfaces; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surfaces(instance: *mut QXLInstance) {
    guard("spice_qxl_destroy_surfaces", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_destroy_surfaces", instance) {
            qxl.handle.call(Request::DestroySurfaces);
        }
    })
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
        if let Some(qxl) = handles::qxl("spice_qxl_destroy_primary_surface", instance) {
            qxl.handle.call(destroy_primary(surface_id));
        }
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
        if let Some(qxl) = handles::qxl("spice_qxl_create_primary_surface", instance)
            && let Some(surface) = required("spice_qxl_create_primary_surface", surface)
        {
            // SAFETY: the caller vouches for the description.
            let surface = unsafe { surface.read() };
            qxl.handle.call(create_primary(surface_id, &surface));
        }
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
        if let Some(qxl) = handles::qxl("spice_qxl_reset_image_cache", instance) {
            qxl.handle.call(Request::ResetImageCache);
        }
    })
}

symver!(spice_qxl_reset_cursor, "0.8.2");
/// Hides the cursor and makes the clients forget cached shapes; waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_cursor(instance: *mut QXLInstance) {
    guard("spice_qxl_reset_cursor", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_reset_cursor", instance) {
            qxl.handle.call(Request::ResetCursor);
        }
    })
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
        if let Some(qxl) = handles::qxl("spice_qxl_destroy_surface_wait", instance) {
            qxl.handle.call(Request::DestroySurface { surface_id, flush: true });
        }
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
        if let Some(qxl) = handles::qxl("spice_qxl_loadvm_commands", instance) {
            let count = if ext.is_null() { 0 } else { count as usize };
            let mut commands = Vec::new();
            for index in 0..count {
                // SAFETY: the caller vouches for `count` commands.
                let place = unsafe { ext.add(index) };
                // SAFETY: as above.
                let c = unsafe { place.read() };
                let (data, kind) = (c.cmd.data, c.cmd.r#type);
                commands.push(CommandExt { data, kind, group_id: c.group_id, flags: c.flags });
            }
            qxl.handle.call(Request::LoadVm(commands));
        }
    })
}

symver!(spice_qxl_driver_unload, "0.12.3");
/// The guest's driver was unloaded. Returns at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_driver_unload(instance: *mut QXLInstance) {
    guard("spice_qxl_driver_unload", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_driver_unload", instance) {
            qxl.handle.post(Request::DriverUnload)
        }
    })
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
        if let Some(qxl) = handles::qxl("spice_qxl_set_max_monitors", instance) {
            qxl.handle.set_max_monitors(max_monitors);
        }
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
        if let Some(qxl) = handles::qxl("spice_qxl_set_device_info", instance) {
            // SAFETY: the caller vouches for the string.
            let address = unsafe { copied_bytes(device_address, MAX_DEVICE_ADDRESS + 1) };
            let address = address.filter(|a| a.len() <= MAX_DEVICE_ADDRESS);
            let count = device_display_id_count;
            match address.filter(|_| count <= MAX_DEVICE_DISPLAYS) {
                None => {
                    tracing::warn!("spice_qxl_set_device_info: address or count is out of range");
                }
                Some(address) => {
                    qxl.handle.set_max_monitors(count);
                    let info = DeviceInfo { address, first: device_display_id_start, count };
                    if let Some(added) = handles::instance(instance) {
                        added.server.core.set_device_info(qxl.id, info);
                    }
                }
            }
        }
    })
}

symver!(spice_qxl_gl_scanout, "0.13.1");
/// Shows a dmabuf instead of the primary surface; -1 for none. Returns at once.
///
/// The descriptor belongs to the server from now on, whatever becomes of it. Clients on a unix socket that have
/// `SPICE_DISPLAY_CAP_GL_SCANOUT` get it; for others it is read back where it has 32 bits a pixel (`DRM_FORMAT_XRGB8888`,
/// `ARGB8888`, `XBGR8888` or `ABGR8888`), at most 16384 in a row or column, and rows that lie one behind the other.
/// Size in pixels, stride in bytes; `format` is a `DRM_FORMAT_*`; `y_0_top` is 0 if the first row in memory is the
/// bottom one.
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
        let fd = unsafe { handed_over(fd) };
        if let Some(qxl) = handles::qxl("spice_qxl_gl_scanout", instance) {
            let scanout = fd.and_then(|fd| Descriptors::new(vec![fd])).map(|descriptors| {
                Box::new(GlScanout {
                    width,
                    height,
                    fourcc: format,
                    modifier: MODIFIER_INVALID,
                    y0_top: y_0_top != 0,
                    planes: vec![Plane { offset: 0, stride }],
                    descriptors,
                })
            });
            qxl.handle.post(Request::GlScanout(scanout));
        }
    })
}

symver!(spice_qxl_gl_scanout2, "0.16");
/// As `spice_qxl_gl_scanout`, for a dmabuf of up to 4 planes; 0 planes, or a first descriptor of -1, for none.
///
/// The descriptors belong to the server from now on, each number once; with more than 4 planes nothing happens and they
/// stay the caller's. Offsets and strides in bytes, 0 where an array is NULL; `modifier` is a `DRM_FORMAT_MOD_*`. Clients
/// on a unix socket get several planes if they have `SPICE_DISPLAY_CAP_GL_SCANOUT2`; one plane without a modifier, or
/// with a linear one, is read back for those who get none.
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
        let count = num_planes as usize;
        if count > MAX_PLANES {
            return tracing::warn!("spice_qxl_gl_scanout2: {count} planes, at most {MAX_PLANES}");
        }
        // SAFETY: the caller vouches for the three arrays.
        let numbers = unsafe { entries(fd, count) };
        // SAFETY: as above.
        let offsets = unsafe { entries(offset, count) };
        // SAFETY: as above.
        let strides = unsafe { entries(stride, count) };
        let mut open: Vec<OwnedFd> = Vec::with_capacity(count);
        for number in &numbers {
            // A number that stands there twice is one descriptor, which must not be closed twice.
            let known = open.iter().find(|fd| fd.as_raw_fd() == *number);
            let fd = match known.map(OwnedFd::try_clone) {
                Some(twin) => twin.ok(),
                // SAFETY: every descriptor of the array is handed over, once.
                None => unsafe { handed_over(*number) },
            };
            open.extend(fd);
        }
        let Some(qxl) = handles::qxl("spice_qxl_gl_scanout2", instance) else { return };
        let at = |list: &[u32], index: usize| list.get(index).copied().unwrap_or(0);
        let plane = |index| Plane { offset: at(&offsets, index), stride: at(&strides, index) };
        let planes = (0..numbers.len()).map(plane).collect();
        let shown = numbers.first().is_some_and(|number| *number >= 0);
        let scanout = Descriptors::new(open).filter(|_| shown).map(|descriptors| {
            Box::new(GlScanout {
                width,
                height,
                fourcc: format,
                modifier,
                y0_top: y_0_top != 0,
                planes,
                descriptors,
            })
        });
        qxl.handle.post(Request::GlScanout(scanout));
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::IntoRawFd;
    use std::ptr;

    use super::*;

    fn is_open(number: c_int) -> bool {
        std::path::Path::new(&format!("/proc/self/fd/{number}"))
            .read_link()
            .is_ok_and(|path| path.to_string_lossy().contains("cayenne-scanout-test"))
    }

    #[test]
    fn descriptors_of_a_scanout_are_taken_over() {
        let path =
            std::env::temp_dir().join(format!("cayenne-scanout-test-{}", std::process::id()));
        let first = File::create(&path).expect("a scratch file");
        let second = first.try_clone().expect("a second descriptor");
        let numbers = [first.as_raw_fd(), second.as_raw_fd()];
        let _ = (first.into_raw_fd(), second.into_raw_fd());
        let none = ptr::null_mut();
        // SAFETY: the descriptor is ours and given away; no instance is allowed.
        unsafe { spice_qxl_gl_scanout(none, numbers[0], 1, 1, 4, 0, 0) };
        assert!(!is_open(numbers[0]));
        assert!(is_open(numbers[1]));
        let fd = &raw const numbers[1];
        // SAFETY: an array of one descriptor, given away; the others may be NULL.
        unsafe { spice_qxl_gl_scanout2(none, fd, 1, 1, ptr::null(), ptr::null(), 1, 0, 0, 0) };
        assert!(!is_open(numbers[1]));
        let _ = std::fs::remove_file(path);
    }
}

//! Calls of a QXL device that `async_complete` answers with their cookie (`spice-qxl.h`).
//!
//! Every cookie is answered, also after an error, on the thread of the device's worker.

use std::ffi::c_int;
use std::ptr::NonNull;

use crate::channel::display::Request;
use crate::protocol::geometry::Rect;

use super::guard::guard;
use super::handles;
use super::qxl::{create_primary, destroy_primary, to_memslot, to_rect};
use super::types::foreign::{QXLPhysical, QXLRect};
use super::types::qxl::{QXLDevMemSlot, QXLDevSurfaceCreate, QXLInstance};

symver!(spice_qxl_update_area_async, "0.8.2");
/// As `spice_qxl_update_area`; `update_area_complete` tells what changed.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `qxl_area` is NULL or points to a rectangle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_update_area_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    qxl_area: *mut QXLRect,
    clear_dirty_region: u32,
    cookie: u64,
) {
    guard("spice_qxl_update_area_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_update_area_async", instance) {
            let request = NonNull::new(qxl_area).map_or(Request::Nothing, |area| {
                Request::UpdateArea {
                    surface_id,
                    // SAFETY: the caller vouches for the rectangle.
                    area: to_rect(unsafe { area.read() }),
                    clear_dirty: clear_dirty_region != 0,
                    max_rects: usize::MAX,
                }
            });
            qxl.handle.post_async(request, cookie);
        }
    })
}

symver!(spice_qxl_add_memslot_async, "0.8.2");
/// As `spice_qxl_add_memslot`.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `slot` is NULL or points to a slot; the memory it names stays valid until the slot is deleted
///   and the call that deletes it, or a later call that waits for the worker, has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_add_memslot_async(
    instance: *mut QXLInstance,
    slot: *mut QXLDevMemSlot,
    cookie: u64,
) {
    guard("spice_qxl_add_memslot_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_add_memslot_async", instance) {
            let request = NonNull::new(slot).map_or(Request::Nothing, |slot| {
                // SAFETY: the caller vouches for the slot and the memory that it names.
                Request::AddMemslot(unsafe { to_memslot(slot) })
            });
            qxl.handle.post_async(request, cookie);
        }
    })
}

symver!(spice_qxl_destroy_surfaces_async, "0.8.2");
/// As `spice_qxl_destroy_surfaces`.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surfaces_async(instance: *mut QXLInstance, cookie: u64) {
    guard("spice_qxl_destroy_surfaces_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_destroy_surfaces_async", instance) {
            qxl.handle.post_async(Request::DestroySurfaces, cookie);
        }
    })
}

symver!(spice_qxl_destroy_primary_surface_async, "0.8.2");
/// As `spice_qxl_destroy_primary_surface`.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_primary_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    cookie: u64,
) {
    guard("spice_qxl_destroy_primary_surface_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_destroy_primary_surface_async", instance) {
            qxl.handle.post_async(destroy_primary(surface_id), cookie);
        }
    })
}

symver!(spice_qxl_create_primary_surface_async, "0.8.2");
/// As `spice_qxl_create_primary_surface`.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `surface` is NULL or points to a description; the pixels it names stay valid until the surface
///   is destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_create_primary_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    surface: *mut QXLDevSurfaceCreate,
    cookie: u64,
) {
    guard("spice_qxl_create_primary_surface_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_create_primary_surface_async", instance) {
            let request = NonNull::new(surface).map_or(Request::Nothing, |surface| {
                // SAFETY: the caller vouches for the description.
                create_primary(surface_id, &unsafe { surface.read() })
            });
            qxl.handle.post_async(request, cookie);
        }
    })
}

symver!(spice_qxl_destroy_surface_async, "0.8.2");
/// Destroys a surface.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    cookie: u64,
) {
    guard("spice_qxl_destroy_surface_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_destroy_surface_async", instance) {
            qxl.handle.post_async(Request::DestroySurface { surface_id, flush: false }, cookie);
        }
    })
}

symver!(spice_qxl_flush_surfaces_async, "0.8.2");
/// Writes all surfaces to guest memory and releases all resources.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_flush_surfaces_async(instance: *mut QXLInstance, cookie: u64) {
    guard("spice_qxl_flush_surfaces_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_flush_surfaces_async", instance) {
            qxl.handle.post_async(Request::FlushSurfaces, cookie);
        }
    })
}

symver!(spice_qxl_monitors_config_async, "0.10.4");
/// The guest placed its monitors anew; the address names a `QXLMonitorsConfig`.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_monitors_config_async(
    instance: *mut QXLInstance,
    monitors_config: QXLPhysical,
    group_id: c_int,
    cookie: u64,
) {
    guard("spice_qxl_monitors_config_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_monitors_config_async", instance) {
            // A negative group does not exist and is refused as such.
            let group = u32::try_from(group_id).unwrap_or(u32::MAX);
            qxl.handle
                .post_async(Request::MonitorsConfig { address: monitors_config, group }, cookie);
        }
    })
}

symver!(spice_qxl_gl_draw_async, "0.13.1");
/// An area of the scanout changed, in pixels; completes when the clients have shown it.
///
/// It completes in any case, on the display's thread and never on the caller's stack: without a scanout or a client, when
/// a client goes, and after half a second without those that do not answer, for which nobody waits until they do. A
/// call before the last one has completed completes at once.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_draw_async(
    instance: *mut QXLInstance,
    x: u32,
    y: u32,
    w: u32,
    h: u32,
    cookie: u64,
) {
    guard("spice_qxl_gl_draw_async", (), || {
        if let Some(qxl) = handles::qxl("spice_qxl_gl_draw_async", instance) {
            let at = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
            qxl.handle.post_async(Request::GlDraw(Rect::from_size(at(x), at(y), w, h)), cookie);
        }
    })
}

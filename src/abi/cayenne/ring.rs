//! QXL rings in shared memory: handed over and taken back.

use std::ffi::c_int;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;

use crate::channel::display::RingRoom;
use crate::qxl::ring::{AttachError, MAX_SLOTS, RingPosition, RingSetup, RingSlot, RingState};

use super::super::guard::{guard, required};
use super::super::handles;
use super::super::types::qxl::QXLInstance;

/// A memory slot of a ring: a part of the memory, and the guest's addresses of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CayenneRingSlot {
    /// Number of the slot in its group.
    pub id: u32,
    /// Generation that addresses must carry.
    pub generation: u32,
    /// First byte in the memory.
    pub offset: u64,
    /// Bytes, at least 1.
    pub size: u64,
    /// The guest's address of the first byte, without slot and generation bits.
    pub guest_start: u64,
}
layout!(CayenneRingSlot, 32, { id: 0, generation: 4, offset: 8, size: 16, guest_start: 24 });

/// Where rings stand. All zero for a device that was reset.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CayenneRingPosition {
    /// Commands that were taken from the command ring, modulo 2³².
    pub commands: u32,
    /// Commands that were taken from the cursor ring, modulo 2³².
    pub cursors: u32,
    /// Offset in the memory of the last command of a chain that the guest was not told of; 0: there is none.
    pub open_release: u64,
    /// Commands of that chain.
    pub open_releases: u32,
    /// 0.
    pub reserved: u32,
}
layout!(CayenneRingPosition, 24, {
    commands: 0, cursors: 4, open_release: 8, open_releases: 16, reserved: 20,
});

/// What a hypervisor hands over with `cayenne_qxl_attach_ring`. The descriptors stay the caller's: they are duplicated.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CayenneRing {
    /// `sizeof(CayenneRing)`.
    pub size: u32,
    /// A memfd with the seal F_SEAL_SHRINK, without huge pages.
    pub memory_fd: c_int,
    /// Bytes of it that are mapped, from the beginning.
    pub memory_size: u64,
    /// Where in it the RAM header (`QXLRam`) lies, a multiple of four.
    pub ram_offset: u64,
    /// Memory slot group of the slots; they become the only ones in it.
    pub group: u32,
    /// Number of slots, 1 to 256.
    pub num_slots: u32,
    /// The slots. They may not overlap.
    pub slots: *const CayenneRingSlot,
    /// An eventfd that is written when the guest kicks (I/O ports 0 and 1). It is never read.
    pub kick_fd: c_int,
    /// An eventfd, non-blocking, that is written when the guest is to be interrupted.
    pub interrupt_fd: c_int,
    /// Where the rings stand.
    pub position: CayenneRingPosition,
}
layout!(CayenneRing, 72, {
    size: 0, memory_fd: 4, memory_size: 8, ram_offset: 16, group: 24, num_slots: 28, slots: 32,
    kick_fd: 40, interrupt_fd: 44, position: 48,
});

/// What `cayenne_qxl_detach_ring` hands back, for `spice_qxl_loadvm_commands` and another attach.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CayenneRingState {
    /// `sizeof(CayenneRingState)`.
    pub size: u32,
    /// In: room in `surfaces`, at least 1024. Out: how many there are.
    pub num_surfaces: u32,
    /// Gets the guest addresses of the commands that created the surfaces that exist.
    pub surfaces: *mut u64,
    /// Out: guest address of the command that set the shape of the pointer; 0: there is none.
    pub cursor: u64,
    /// Out: where the rings stand.
    pub position: CayenneRingPosition,
    /// In: room in `dirty`, at least one word for each 256 KiB of the memory. Out: how many there are.
    pub num_dirty: u64,
    /// Gets a bit for each 4 KiB of the memory, lowest bit first: set if they were, or may have been, written.
    pub dirty: *mut u64,
}
layout!(CayenneRingState, 64, {
    size: 0, num_surfaces: 4, surfaces: 8, cursor: 16, position: 24, num_dirty: 48, dirty: 56,
});

symver!(cayenne_qxl_attach_ring, node "CAYENNE_1");
/// Takes the commands of a QXL device from rings in shared memory instead of the callbacks `get_command`,
/// `req_cmd_notification`, `get_cursor_command`, `req_cursor_notification`, `release_resource` and `flush_resources`.
///
/// What waits in the callbacks' rings is executed first if the machine runs. From then on the library is the only reader of the command and
/// cursor ring and the only writer of the release ring, sets `int_pending` and writes `interrupt_fd` when the guest wants
/// to know of it. All other requests (surfaces, updates, start, stop, resets) still go through `spice_qxl_*`; a primary
/// surface may lie in the memory. Nothing that the other owners of the memory write there can hurt the library.
///
/// Returns 0, or -1 with the reason in the log: descriptors that are none of what is asked for, a header or slots that
/// do not fit the memory, slots that overlap or that the device does not have, rings that are attached already. Waits
/// for the worker. May be called on any thread of the host's, under its lock, while the machine runs or not.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `ring` is NULL or points to a structure whose `slots` point to `num_slots` slots.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cayenne_qxl_attach_ring(
    instance: *mut QXLInstance,
    ring: *const CayenneRing,
) -> c_int {
    const NAME: &str = "cayenne_qxl_attach_ring";
    guard(NAME, -1, || {
        let Some(qxl) = handles::qxl(NAME, instance) else { return -1 };
        let Some(ring) = required(NAME, ring.cast_mut()) else { return -1 };
        // SAFETY: the caller vouches for the structure, whose first member is its size.
        let size = unsafe { ptr::read(ring.as_ptr().cast::<u32>()) };
        if size as usize != size_of::<CayenneRing>() {
            tracing::error!(
                "{NAME}: a structure of {size} bytes, need {}",
                size_of::<CayenneRing>()
            );
            return -1;
        }
        // SAFETY: the caller vouches for the structure.
        let ring = unsafe { ring.read() };
        // SAFETY: as above, for its slots.
        let attached =
            unsafe { setup(&ring) }.and_then(|(setup, kick)| qxl.handle.attach_ring(setup, kick));
        match attached {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!("{NAME}: {error}");
                -1
            }
        }
    })
}

/// Checks what can be checked on the caller's thread.
///
/// # Safety
/// - `ring.slots` is NULL or points to `ring.num_slots` slots.
unsafe fn setup(ring: &CayenneRing) -> Result<(RingSetup, OwnedFd), AttachError> {
    let count = ring.num_slots as usize;
    if count > MAX_SLOTS || ring.slots.is_null() {
        return Err(AttachError::Slots(count));
    }
    let slots = (0..count).map(|at| {
        // SAFETY: the caller vouches for so many slots.
        let slot = unsafe { ring.slots.add(at) };
        // SAFETY: as above.
        let CayenneRingSlot { id, generation, offset, size, guest_start } = unsafe { slot.read() };
        RingSlot { id, generation, offset, size, guest_start }
    });
    let memory = duplicate(ring.memory_fd).ok_or(AttachError::MayShrink)?;
    let kick = duplicate(ring.kick_fd).ok_or(AttachError::EventFd("kicks"))?;
    let interrupt = duplicate(ring.interrupt_fd).ok_or(AttachError::EventFd("interrupts"))?;
    let position = RingPosition {
        commands: ring.position.commands,
        cursors: ring.position.cursors,
        open_release: ring.position.open_release,
        open_releases: ring.position.open_releases,
    };
    let (size, ram) = (ring.memory_size, ring.ram_offset);
    let setup = RingSetup::new(
        &memory,
        size,
        ram,
        ring.group,
        slots.collect(),
        &kick,
        interrupt,
        position,
    )?;
    Ok((setup, kick))
}

/// A descriptor of our own for what the host has open.
fn duplicate(fd: c_int) -> Option<OwnedFd> {
    if fd < 0 {
        return None;
    }
    // SAFETY: not negative, and only duplicated, which says whether it is open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_dupfd_cloexec(fd, 3).ok()
}

symver!(cayenne_qxl_detach_ring, node "CAYENNE_1");
/// Gives the rings and their memory up: the device is served through its callbacks again, and the memory is unmapped.
///
/// Clients stay connected. Surfaces that lie in the memory end for them, without being released to the guest; whoever goes
/// on with the memory (this hypervisor, another process of it, another host after a migration) attaches with `position`,
/// creates the primary surface with its contents kept, and replays `surfaces` and `cursor` with
/// `spice_qxl_loadvm_commands`. What waits in the rings and was not taken stays there; `spice_server_vm_stop` before
/// executes nothing more.
///
/// `state` is NULL, or a structure whose `size`, `num_surfaces`, `surfaces`, `num_dirty` and `dirty` are set. Returns 0,
/// or -1 if no ring is attached, or if there is too little room; nothing has changed then. Waits for the worker.
///
/// # Safety
/// - `instance` is NULL or valid; if it was added, it was not removed.
/// - `state` is NULL or points to a structure whose pointers have the room that it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cayenne_qxl_detach_ring(
    instance: *mut QXLInstance,
    state: *mut CayenneRingState,
) -> c_int {
    const NAME: &str = "cayenne_qxl_detach_ring";
    guard(NAME, -1, || {
        let Some(qxl) = handles::qxl(NAME, instance) else { return -1 };
        let mut room = RingRoom { surfaces: usize::MAX, dirty: usize::MAX };
        if !state.is_null() {
            // SAFETY: the caller vouches for the structure, whose first member is its size.
            let size = unsafe { ptr::read(state.cast::<u32>()) };
            if size as usize != size_of::<CayenneRingState>() {
                tracing::error!(
                    "{NAME}: a structure of {size} bytes, need {}",
                    size_of::<CayenneRingState>()
                );
                return -1;
            }
            // SAFETY: the caller vouches for the structure.
            let asked = unsafe { state.read() };
            let words = |at: *mut u64, n: u64| {
                if at.is_null() { 0 } else { usize::try_from(n).unwrap_or(usize::MAX) }
            };
            room.surfaces = words(asked.surfaces, asked.num_surfaces.into());
            room.dirty = words(asked.dirty, asked.num_dirty);
        }
        match qxl.handle.detach_ring(room) {
            Ok(found) => {
                if !state.is_null() {
                    // SAFETY: the caller vouches for the structure and for the room, which was asked for.
                    unsafe { tell(state, &found) };
                }
                0
            }
            Err(error) => {
                tracing::error!("{NAME}: {error}");
                -1
            }
        }
    })
}

/// Writes what was found.
///
/// # Safety
/// - `state` is valid, and its pointers have room for `found`.
unsafe fn tell(state: *mut CayenneRingState, found: &RingState) {
    // SAFETY: the caller vouches for the structure.
    let mut told = unsafe { state.read() };
    // SAFETY: there is room for so many, and ours are apart from the host's.
    unsafe {
        ptr::copy_nonoverlapping(found.surfaces.as_ptr(), told.surfaces, found.surfaces.len())
    };
    // SAFETY: as above.
    unsafe { ptr::copy_nonoverlapping(found.dirty.as_ptr(), told.dirty, found.dirty.len()) };
    told.num_surfaces = u32::try_from(found.surfaces.len()).unwrap_or(u32::MAX);
    told.num_dirty = found.dirty.len() as u64;
    told.cursor = found.cursor;
    told.position = CayenneRingPosition {
        commands: found.position.commands,
        cursors: found.position.cursors,
        open_release: found.position.open_release,
        open_releases: found.position.open_releases,
        reserved: 0,
    };
    // SAFETY: as the first.
    unsafe { state.write(told) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_added_has_no_rings() {
        // SAFETY: NULL is allowed for everything.
        assert_eq!(unsafe { cayenne_qxl_attach_ring(ptr::null_mut(), ptr::null()) }, -1);
        // SAFETY: NULL is allowed for everything.
        assert_eq!(unsafe { cayenne_qxl_detach_ring(ptr::null_mut(), ptr::null_mut()) }, -1);
    }
}

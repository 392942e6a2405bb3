//! Playing recorded command streams (`spice-replay.h` of the original).
//!
//! Reading is done in `qxl::replay`; here its blocks of bytes get addresses. Replays and commands
//! are looked up by address before anything is dereferenced, as servers are.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::io::{self, BufReader, Read};
use std::ptr::{self, NonNull};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::channel::display::{PrimaryCreate, QxlHandle, Request};
use crate::qxl::replay::payload::Link;
use crate::qxl::replay::reader::{
    Event, Reader, Recorded, RecordedPrimary, ReplayError, ReplayLimits,
};
use crate::qxl::replay::request;
use crate::qxl::replay::surfaces::SurfaceIds;

use super::guard::{guard, required};
use super::handles::{self, Instance, Kind};
use super::types::foreign::{File, QXLCommand, QXLCommandExt};
use super::types::qxl::QXLInstance;
use super::types::replay::SpiceReplay;

/// Read from the file at once. Small, because a pipe is waited for until so much is there.
const READ_AHEAD: usize = 4096;
/// Where a command has the number that its release carries.
const RELEASE_ID: usize = 0;

/// The C library's `FILE` of a recording.
struct CFile {
    /// Open for reading until dropped, which closes it; used by one thread at a time.
    file: NonNull<libc::FILE>,
}

// SAFETY: the host gave the file away; the C library's files may be used from any thread.
unsafe impl Send for CFile {}

impl Read for CFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let to = out.as_mut_ptr().cast::<c_void>();
        // SAFETY: `out` is writable for its length; the file is open by its invariant.
        let got = unsafe { libc::fread(to, 1, out.len(), self.file.as_ptr()) };
        // SAFETY: the file is open by its invariant.
        if got == 0 && unsafe { libc::ferror(self.file.as_ptr()) } != 0 {
            return Err(io::Error::other("the C library reports a read error"));
        }
        Ok(got)
    }
}

impl Drop for CFile {
    fn drop(&mut self) {
        // SAFETY: open by the invariant, and nobody uses it afterwards.
        unsafe { libc::fclose(self.file.as_ptr()) };
    }
}

/// A recording that is being played.
struct Replay {
    /// Taken for a whole `next_cmd`; never by whoever frees commands.
    playing: Mutex<Playing>,
    surfaces: Arc<SurfaceIds>,
}

struct Playing {
    reader: Reader<BufReader<CFile>>,
    /// The end was reached, or damage.
    over: bool,
    /// The primary surface that was created here and not destroyed here.
    primary: Option<Primary>,
}

/// A primary surface of ours.
struct Primary {
    worker: QxlHandle,
    instance: Instance,
    /// The worker draws here until the surface was destroyed.
    _pixels: Memory,
}

/// A block of bytes that others write through its address.
struct Memory {
    /// From `Box::into_raw`, given back when dropped; never looked at meanwhile.
    bytes: *mut [u8],
}

// SAFETY: plain bytes that nothing here reads or writes; only their address is passed on.
unsafe impl Send for Memory {}

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Box::into_raw(bytes.into_boxed_slice()) }
    }

    /// Writes a number that nobody else has seen yet; places outside are left alone.
    fn put(&self, at: usize, value: u64) {
        let value = value.to_le_bytes();
        if at.checked_add(value.len()).is_some_and(|end| end <= self.bytes.len()) {
            // SAFETY: `at` lies inside the allocation.
            let place = unsafe { self.bytes.cast::<u8>().add(at) };
            // SAFETY: room for eight bytes was checked; nobody has the address yet.
            unsafe { ptr::copy_nonoverlapping(value.as_ptr(), place, value.len()) };
        }
    }

    /// As the server's host group has it: a plain pointer.
    fn address(&self) -> u64 {
        self.bytes.cast::<u8>().expose_provenance() as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw` in `new`, given back once; the owner of this value says when
        // nobody uses the address any more.
        drop(unsafe { Box::from_raw(self.bytes) });
    }
}

/// A command that the host has.
struct Command {
    /// What the host has the address of; from `Box::into_raw`, freed when this is dropped.
    ext: NonNull<QXLCommandExt>,
    _blocks: Vec<Memory>,
    /// For the destroy command of a surface: whom to tell that its number is free.
    frees_surface: Option<(Arc<SurfaceIds>, u32)>,
}

// SAFETY: the pointer is owned and not dereferenced before it is freed.
unsafe impl Send for Command {}

impl Drop for Command {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw`, given back once.
        drop(unsafe { Box::from_raw(self.ext.as_ptr()) });
        if let Some((surfaces, id)) = self.frees_surface.take() {
            surfaces.free(id);
        }
    }
}

type Table<T> = LazyLock<Mutex<HashMap<usize, T>>>;

static REPLAYS: Table<Arc<Replay>> = LazyLock::new(Mutex::default);
/// Of all replays, so that a command can be given back after its replay.
static COMMANDS: Table<Command> = LazyLock::new(Mutex::default);

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn replay(name: &'static str, handle: *mut SpiceReplay) -> Option<Arc<Replay>> {
    required(name, handle)?;
    let replay = lock(&REPLAYS).get(&handle.addr()).cloned();
    if replay.is_none() {
        tracing::error!("{name}: this replay does not exist");
    }
    replay
}

symver!(spice_replay_new, "0.12.6");
/// Opens a recording; NULL if it is none or of another version.
///
/// The file belongs to the replay afterwards; it stays the caller's if NULL is returned. Surfaces
/// get numbers below `nsurfaces`.
///
/// # Safety
/// - `file` is NULL or open for reading.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_new(file: *mut File, nsurfaces: c_int) -> *mut SpiceReplay {
    guard("spice_replay_new", ptr::null_mut(), || {
        let Some(file) = required("spice_replay_new", file) else { return ptr::null_mut() };
        let input = BufReader::with_capacity(READ_AHEAD, CFile { file: file.cast() });
        match Reader::new(input, ReplayLimits::default()) {
            Ok(reader) => {
                let surfaces = Arc::new(SurfaceIds::new(u32::try_from(nsurfaces).unwrap_or(0)));
                let playing = Mutex::new(Playing { reader, over: false, primary: None });
                let replay = Arc::new(Replay { playing, surfaces });
                let address = Arc::as_ptr(&replay);
                lock(&REPLAYS).insert(address.addr(), replay);
                address.cast_mut().cast()
            }
            Err((error, input)) => {
                tracing::error!(%error, "no recording");
                // The host's again: must not be closed here.
                std::mem::forget(input.into_inner());
                ptr::null_mut()
            }
        }
    })
}

symver!(spice_replay_next_cmd, "0.12.6");
/// Reads up to the next command, executing what else was recorded; NULL at the end.
///
/// Waits for the worker when surfaces are created and destroyed, and for commands to be freed when
/// no surface is left: not to be called on the worker's thread, which makes the callbacks.
///
/// # Safety
/// - `replay` is NULL or came from `spice_replay_new` and was not freed.
/// - `instance` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_next_cmd(
    replay: *mut SpiceReplay,
    instance: *mut QXLInstance,
) -> *mut QXLCommandExt {
    guard("spice_replay_next_cmd", ptr::null_mut(), || {
        let Some(replay) = self::replay("spice_replay_next_cmd", replay) else {
            return ptr::null_mut();
        };
        lock(&replay.playing).next_command(&replay.surfaces, instance)
    })
}

symver!(spice_replay_free_cmd, "0.12.6");
/// Frees a command that the server has released. NULL is ignored.
///
/// # Safety
/// - `replay` is NULL or came from `spice_replay_new`.
/// - `cmd` is NULL or came from `spice_replay_next_cmd` and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free_cmd(replay: *mut SpiceReplay, cmd: *mut QXLCommandExt) {
    guard("spice_replay_free_cmd", (), || {
        let _ = replay;
        if cmd.is_null() {
            return;
        }
        let command = lock(&COMMANDS).remove(&cmd.addr());
        if command.is_none() {
            tracing::error!("spice_replay_free_cmd: this command does not exist");
        }
    })
}

symver!(spice_replay_free, "0.12.6");
/// Ends a replay and closes its file.
///
/// Destroys its primary surface, whose memory goes. Commands that were not freed stay: they may be
/// freed later.
///
/// # Safety
/// - `replay` is NULL or came from `spice_replay_new`; it must not be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_replay_free(replay: *mut SpiceReplay) {
    guard("spice_replay_free", (), || {
        let found = self::replay("spice_replay_free", replay);
        lock(&REPLAYS).remove(&replay.addr());
        if let Some(replay) = found {
            lock(&replay.playing).destroy_primary();
        }
    })
}

impl Playing {
    fn next_command(
        &mut self,
        surfaces: &Arc<SurfaceIds>,
        instance: *mut QXLInstance,
    ) -> *mut QXLCommandExt {
        while !self.over {
            match self.reader.next_event() {
                Ok(Event::Command(mut command)) => match surfaces.renumber(&mut command) {
                    Ok(()) => return give_out(command, surfaces),
                    Err(error) => {
                        tracing::error!(%error, "the replay ends here");
                        self.over = true;
                    }
                },
                Ok(Event::CreatePrimary(primary)) => self.create_primary(primary, instance),
                Ok(Event::Request(number)) => self.execute(number, surfaces, instance),
                Err(error) => {
                    self.over = true;
                    if !matches!(error, ReplayError::End) {
                        tracing::error!(%error, "the replay ends here");
                    }
                }
            }
        }
        ptr::null_mut()
    }

    /// What the original executes, too: other requests are about memory slots and timing.
    fn execute(&mut self, number: u32, surfaces: &SurfaceIds, instance: *mut QXLInstance) {
        match number {
            request::DESTROY_PRIMARY => self.destroy_primary(),
            request::DESTROY_SURFACES => {
                if let Some(qxl) = handles::qxl("spice_replay_next_cmd", instance) {
                    qxl.handle.call(Request::DestroySurfaces);
                }
                self.primary = None;
                surfaces.free_all();
            }
            _ => {}
        }
    }

    fn create_primary(&mut self, recorded: RecordedPrimary, instance: *mut QXLInstance) {
        let Some(qxl) = handles::qxl("spice_replay_next_cmd", instance) else { return };
        self.destroy_primary();
        let pixels = Memory::new(recorded.pixels);
        qxl.handle.call(Request::CreatePrimary(PrimaryCreate {
            width: recorded.width,
            height: recorded.height,
            stride: recorded.stride,
            format: recorded.format,
            position: 0,
            mouse_mode: recorded.mouse_mode,
            flags: recorded.flags,
            kind: 0,
            mem: pixels.address(),
            group_id: 0,
        }));
        let (worker, instance) = (qxl.handle, qxl.instance);
        self.primary = Some(Primary { worker, instance, _pixels: pixels });
    }

    fn destroy_primary(&mut self) {
        if let Some(primary) = self.primary.take()
            // A device that was removed has no worker any more that could answer or draw.
            && let Some(added) = handles::instance(primary.instance.0.as_ptr())
            && let Kind::Qxl(qxl) = added.kind
            && qxl.handle.is_same(&primary.worker)
        {
            qxl.handle.call(Request::DestroyPrimary);
        }
    }
}

/// Gives a command's blocks addresses and the command to the host.
fn give_out(command: Recorded, surfaces: &Arc<SurfaceIds>) -> *mut QXLCommandExt {
    let Recorded { kind, payload, frees_surface, .. } = command;
    let ext = NonNull::from(Box::leak(Box::new(QXLCommandExt::default())));
    let blocks: Vec<Memory> = payload.blocks.into_iter().map(Memory::new).collect();
    for Link { from, target } in payload.links {
        if let (Some(block), Some(target)) = (blocks.get(from.block), blocks.get(target)) {
            block.put(from.at, target.address());
        }
    }
    let data = blocks.first().map_or(0, |head| {
        head.put(RELEASE_ID, ext.as_ptr().expose_provenance() as u64);
        head.address()
    });
    let cmd = QXLCommand { data, r#type: kind, padding: 0 };
    // SAFETY: allocated above, nobody else has it yet.
    unsafe { ext.write(QXLCommandExt { cmd, group_id: 0, flags: 0 }) };
    let frees_surface = frees_surface.map(|id| (Arc::clone(surfaces), id));
    let command = Command { ext, _blocks: blocks, frees_surface };
    lock(&COMMANDS).insert(ext.as_ptr().addr(), command);
    ext.as_ptr()
}

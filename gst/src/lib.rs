//! `libcayenne-gst.so`: encoders of GStreamer behind a small table of functions (`table`), which Cayenne opens from beside
//! itself. It is a library of its own so that hosts load GStreamer only if somebody wants it.
//!
//! [`elements`] says which elements there are for each codec and how they are set; [`coder`] runs one of them. GStreamer
//! is initialised by `begin`, without the helper process that it would start for its registry.

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

use gstreamer as gst;

pub mod coder;
pub mod elements;
#[path = "../../src/sys/encoders/table.rs"]
pub mod table;

use coder::Coder;
use table::{Coded, FAILED, LATE, NONE, OK, Picture, Say, Setup, Table, VERSION};

static SAY: OnceLock<Say> = OnceLock::new();

#[expect(clippy::cast_possible_truncation, reason = "a few dozen bytes")]
static TABLE: Table = Table {
    version: VERSION,
    size: size_of::<Table>() as u32,
    begin,
    find,
    open,
    set_rate,
    encode,
    close,
};

/// The table of functions, if that version of it is known; NULL otherwise. It is never freed.
#[unsafe(no_mangle)]
pub extern "C" fn cayenne_gst_encoders(version: u32) -> *const Table {
    if version == VERSION { &raw const TABLE } else { ptr::null() }
}

/// How much a line matters.
#[derive(Debug, Clone, Copy)]
pub enum Level {
    /// Something is wrong.
    Warning = 2,
    /// Something was decided.
    Information = 3,
}

/// Writes a line to the log of the library that has opened this one.
pub fn log(level: Level, text: &str) {
    let (Some(say), Ok(text)) = (SAY.get(), CString::new(text.replace('\0', " "))) else { return };
    // SAFETY: a NUL-terminated text, which stays until the call returns; `begin` was given the function for this.
    unsafe { say(level as c_int, text.as_ptr()) };
}

/// What comes of it, or `other` if it panics: that must not go through the caller.
fn guarded<T>(other: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(other)
}

unsafe extern "C" fn begin(say: Say) -> c_int {
    SAY.get_or_init(|| say);
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        guarded(false, || {
            // A host may be in a sandbox that forbids new processes, and may have its own handlers of signals.
            // SAFETY: plain settings, before GStreamer is initialised; if the host has done that they do nothing.
            unsafe { gst::ffi::gst_registry_fork_set_enabled(0) };
            // SAFETY: as above.
            unsafe { gst::ffi::gst_segtrap_set_enabled(0) };
            match gst::init() {
                Ok(()) => true,
                Err(error) => {
                    log(Level::Warning, &format!("GStreamer cannot be initialised: {error}"));
                    false
                }
            }
        })
    });
    if *done { OK } else { FAILED }
}

unsafe extern "C" fn find(codec: u32) -> *const c_char {
    guarded(ptr::null(), || {
        elements::installed(codec).next().map_or(ptr::null(), |kind| kind.name.as_ptr())
    })
}

unsafe extern "C" fn open(setup: *const Setup, coder: *mut *mut c_void) -> c_int {
    // SAFETY: the caller gives both for the time of the call.
    let setup = unsafe { *setup };
    let Some(made) = guarded(None, || Coder::open(&setup)) else { return NONE };
    // SAFETY: as above.
    unsafe { *coder = Box::into_raw(Box::new(made)).cast() };
    OK
}

unsafe extern "C" fn set_rate(coder: *mut c_void, rate: u64, quality: u32) {
    // SAFETY: what `open` gave and `close` has not taken; one thread at a time uses it.
    let coder = unsafe { &mut *coder.cast::<Coder>() };
    guarded((), || coder.set_rate(rate, quality));
}

unsafe extern "C" fn encode(
    coder: *mut c_void,
    picture: *const Picture,
    coded: *mut Coded,
) -> c_int {
    // SAFETY: as in `set_rate`.
    let coder = unsafe { &mut *coder.cast::<Coder>() };
    // SAFETY: the caller gives it for the time of the call.
    let picture = unsafe { *picture };
    let result = guarded(Err(coder::Error::Failed), || {
        // SAFETY: the caller vouches for the rows of a picture of the coder's size.
        unsafe { coder.encode(&picture) }
    });
    let key = match result {
        Ok(key) => key,
        Err(coder::Error::Late) => return LATE,
        Err(coder::Error::Failed) => return FAILED,
    };
    let bytes = coder.bytes();
    // SAFETY: as above.
    unsafe { *coded = Coded { bytes: bytes.as_ptr(), len: bytes.len(), key: key.into() } };
    OK
}

unsafe extern "C" fn close(coder: *mut c_void) {
    // SAFETY: what `open` gave, for the last time.
    let coder = unsafe { Box::from_raw(coder.cast::<Coder>()) };
    guarded((), || drop(coder));
}

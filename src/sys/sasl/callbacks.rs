//! What the library calls: a log, and locks for what its plugins share between connections.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::panic::catch_unwind;
use std::ptr;
use std::sync::OnceLock;

use super::{OK, readable};

/// How serious a line of the library is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is wrong with the configuration or the system.
    Warning,
    /// An authentication failed, or something is worth a note.
    Note,
    /// For those who look for a fault.
    Detail,
}

/// Takes the library's lines, on any thread. They may quote what a peer sent: one line, printable, at most
/// [`super::MAX_TEXT`] bytes. Must not call the library.
pub type LogLine = fn(LogLevel, &str);

/// Any callback; the library knows its type by its id.
type AnyFunction = unsafe extern "C" fn() -> c_int;
type Log = unsafe extern "C" fn(*mut c_void, c_int, *const c_char) -> c_int;
/// Makes a lock; NULL if memory is short.
pub(super) type Alloc = unsafe extern "C" fn() -> *mut c_void;
/// 0 or -1.
pub(super) type LockOrUnlock = unsafe extern "C" fn(*mut c_void) -> c_int;
/// Ends a lock.
pub(super) type Free = unsafe extern "C" fn(*mut c_void);

/// `sasl_callback_t`.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Callback {
    pub(super) id: c_ulong,
    pub(super) function: Option<AnyFunction>,
    pub(super) context: *mut c_void,
}

/// `SASL_CB_LIST_END`.
pub(super) const LIST_END: Callback = Callback { id: 0, function: None, context: ptr::null_mut() };
const CB_LOG: c_ulong = 2;

#[cfg(not(test))]
const LIST_LENGTH: usize = 2;
#[cfg(test)]
const LIST_LENGTH: usize = 3;

struct List([Callback; LIST_LENGTH]);

// SAFETY: the contexts are NULL, and every function may run on any thread.
unsafe impl Sync for List {}

static LIST: List = List([
    Callback {
        id: CB_LOG,
        // SAFETY: both are function pointers; the library calls the function of CB_LOG as the type `Log`.
        function: Some(unsafe { std::mem::transmute::<Log, AnyFunction>(log) }),
        context: ptr::null_mut(),
    },
    #[cfg(test)]
    super::tests::GET_OPTION,
    LIST_END,
]);

/// The callbacks, for ever in the same place.
pub(super) fn list() -> *const Callback {
    LIST.0.as_ptr()
}

static LINES: OnceLock<LogLine> = OnceLock::new();

/// Where lines go; the first call counts.
pub(super) fn set_log(line: LogLine) {
    let _ = LINES.set(line);
}

unsafe extern "C" fn log(_context: *mut c_void, level: c_int, message: *const c_char) -> c_int {
    let level = match level {
        1 | 3 => LogLevel::Warning,
        2 | 4 => LogLevel::Note,
        5 | 6 => LogLevel::Detail,
        // 7 may contain passwords, 0 is for nobody.
        _ => return OK,
    };
    let (Some(line), false) = (LINES.get(), message.is_null()) else { return OK };
    // SAFETY: not NULL, and the library passes NUL-terminated text that stays until this returns.
    let text = readable(unsafe { CStr::from_ptr(message) });
    // A panic must not cross the library; a line that is lost changes nothing.
    let _ = catch_unwind(|| line(level, &text));
    OK
}

/// A recursive lock of the system: the library promises nothing about taking one twice.
pub(super) unsafe extern "C" fn alloc_lock() -> *mut c_void {
    // SAFETY: both are C structures of numbers, which the calls below initialise.
    let (mut attributes, lock): (libc::pthread_mutexattr_t, libc::pthread_mutex_t) =
        unsafe { std::mem::zeroed() };
    // Boxed first: a lock must not move once it is initialised.
    let lock = Box::into_raw(Box::new(lock));
    // SAFETY: writable memory of the right type.
    let made = unsafe { libc::pthread_mutexattr_init(&raw mut attributes) } == 0;
    let kind = libc::PTHREAD_MUTEX_RECURSIVE;
    // SAFETY: initialised above, or the condition ends before.
    let made = made && unsafe { libc::pthread_mutexattr_settype(&raw mut attributes, kind) } == 0;
    // SAFETY: as above; the box is not moved until `free_lock`.
    let made = made && unsafe { libc::pthread_mutex_init(lock, &raw const attributes) } == 0;
    if made {
        lock.cast()
    } else {
        // SAFETY: from `Box::into_raw` above, and nobody else has it.
        drop(unsafe { Box::from_raw(lock) });
        ptr::null_mut()
    }
}

pub(super) unsafe extern "C" fn lock(lock: *mut c_void) -> c_int {
    // SAFETY: the library passes what `alloc_lock` made and `free_lock` has not ended.
    if unsafe { libc::pthread_mutex_lock(lock.cast()) } == 0 { OK } else { -1 }
}

pub(super) unsafe extern "C" fn unlock(lock: *mut c_void) -> c_int {
    // SAFETY: as in `lock`, and held by this thread.
    if unsafe { libc::pthread_mutex_unlock(lock.cast()) } == 0 { OK } else { -1 }
}

pub(super) unsafe extern "C" fn free_lock(lock: *mut c_void) {
    if lock.is_null() {
        return;
    }
    let lock: *mut libc::pthread_mutex_t = lock.cast();
    // SAFETY: made by `alloc_lock`, held by nobody, and given back once.
    unsafe { libc::pthread_mutex_destroy(lock) };
    // SAFETY: it came from `Box::into_raw` there.
    drop(unsafe { Box::from_raw(lock) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_keep_other_threads_out_and_let_their_own_in_again() {
        // SAFETY: takes nothing.
        let made = unsafe { alloc_lock() };
        assert!(!made.is_null());
        // SAFETY: made above.
        assert_eq!(unsafe { lock(made) }, OK);
        // SAFETY: made above, recursive.
        assert_eq!(unsafe { lock(made) }, OK);
        let address = made.expose_provenance();
        let other = std::thread::spawn(move || {
            let lock: *mut libc::pthread_mutex_t = ptr::with_exposed_provenance_mut(address);
            // SAFETY: made above, and not freed before this thread is joined.
            unsafe { libc::pthread_mutex_trylock(lock) }
        });
        assert_eq!(other.join().unwrap(), libc::EBUSY);
        // SAFETY: held twice.
        assert_eq!(unsafe { unlock(made) }, OK);
        // SAFETY: held once more.
        assert_eq!(unsafe { unlock(made) }, OK);
        // SAFETY: held by nobody.
        unsafe { free_lock(made) };
        // SAFETY: NULL is ignored.
        unsafe { free_lock(ptr::null_mut()) };
    }
}

//! What stands between a C caller and safe Rust: the panic guard, null and string checks.
//!
//! An unwinding panic that reaches an `extern "C"` function aborts the process, and the process is
//! somebody's virtual machine. So every exported function runs its body inside [`guard`]. Called
//! on whatever thread the host calls from; nothing here blocks beyond a short lock around the set
//! of names that were logged.

use std::any::Any;
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Runs the body of the exported function `name`; a panic is logged once and becomes `default`.
///
/// The body may leave shared state half changed when it panics; that state must protect itself
/// (poisoned locks, messages instead of shared memory). Logging and dropping the panic's payload
/// run foreign code too, so they are guarded as well.
pub fn guard<T>(name: &'static str, default: T, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            let report = AssertUnwindSafe(|| {
                if first_time(&PANICKED, name) {
                    let what = panic_text(payload.as_ref());
                    tracing::error!("{name} panicked, its default was returned: {what}");
                }
            });
            if let Err(second) = catch_unwind(report) {
                std::mem::forget(second);
            }
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            default
        }
    }
}

/// The pointer, unless it is NULL; NULL is logged once per function.
///
/// Callers return the function's error value then. The original crashes on most NULL pointers, so
/// no working host depends on it.
pub fn required<T>(name: &'static str, pointer: *mut T) -> Option<NonNull<T>> {
    let pointer = NonNull::new(pointer);
    if pointer.is_none() && first_time(&GOT_NULL, name) {
        tracing::error!("{name} was called with NULL");
    }
    pointer
}

/// The bytes of a C string before its NUL, cut to `limit` bytes; `None` for NULL.
///
/// The copy ends the dependence on the caller's memory: it is only valid during the call.
///
/// # Safety
/// - `string` is NULL or points to a NUL-terminated string that does not change meanwhile.
pub unsafe fn copied_bytes(string: *const c_char, limit: usize) -> Option<Vec<u8>> {
    if string.is_null() {
        return None;
    }
    // SAFETY: not NULL, and the caller vouches for the terminator and against changes.
    let bytes = unsafe { CStr::from_ptr(string) }.to_bytes();
    Some(bytes.get(..limit).unwrap_or(bytes).to_vec())
}

/// As [`copied_bytes`], as text: bytes that are not UTF-8 are replaced.
///
/// # Safety
/// - `string` is NULL or points to a NUL-terminated string that does not change meanwhile.
pub unsafe fn copied_text(string: *const c_char, limit: usize) -> Option<String> {
    // SAFETY: the same promise as ours.
    let bytes = unsafe { copied_bytes(string, limit) }?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

type Names = Mutex<BTreeSet<&'static str>>;

static PANICKED: Names = Mutex::new(BTreeSet::new());
static GOT_NULL: Names = Mutex::new(BTreeSet::new());

/// Whether `name` is new in the set, which it is once in the life of the process.
fn first_time(names: &Names, name: &'static str) -> bool {
    names.lock().unwrap_or_else(PoisonError::into_inner).insert(name)
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_default() {
        assert_eq!(guard("test_panic", -1, || panic!("expected in this test")), -1);
        assert_eq!(guard("test_value", -1, || 7), 7);
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("expected in this test");
            }
        }
        assert_eq!(guard("test_bomb", -1, || std::panic::panic_any(Bomb)), -1);
    }

    #[test]
    fn names_are_logged_once() {
        let names = Names::default();
        assert!(first_time(&names, "a"));
        assert!(!first_time(&names, "a"));
        assert!(first_time(&names, "b"));
    }

    #[test]
    fn null_is_not_a_pointer_and_not_a_string() {
        assert!(required::<u8>("test_null", std::ptr::null_mut()).is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { copied_text(std::ptr::null(), 10) }.is_none());
    }

    #[test]
    fn strings_are_cut_to_the_limit_and_made_text() {
        // SAFETY: a literal with its terminator.
        assert_eq!(unsafe { copied_bytes(c"spice".as_ptr(), 3) }.as_deref(), Some(&b"spi"[..]));
        // SAFETY: a literal with its terminator.
        let text = unsafe { copied_text(c"\xffok".as_ptr(), 255) };
        assert_eq!(text.as_deref(), Some("\u{fffd}ok"));
    }
}

//! C libraries that are opened at run time, so that the server starts without them.

use std::ffi::{CStr, c_void};
use std::mem::{size_of, transmute_copy};
use std::ptr::NonNull;

/// An open library. It is never closed: function pointers into it live as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct Library(NonNull<c_void>);

/// Opens a library by its name.
///
/// # Errors
/// What the dynamic linker says.
pub fn open(name: &CStr) -> Result<Library, String> {
    // SAFETY: a NUL-terminated name; the library's initialisers are those of any program that links it.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    NonNull::new(handle).map(Library).ok_or_else(linker_says)
}

impl Library {
    /// A function of the library.
    ///
    /// # Errors
    /// What the dynamic linker says if there is none of that name.
    ///
    /// # Safety
    /// `F` is a function pointer of the type that this function has.
    pub unsafe fn function<F: Copy>(self, name: &CStr) -> Result<F, String> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the handle is never closed; the name ends with NUL.
        let address = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        let address = NonNull::new(address).ok_or_else(linker_says)?;
        // SAFETY: the same size (above); the caller vouches for the type.
        Ok(unsafe { transmute_copy(&address.as_ptr()) })
    }
}

/// Why the last call of the dynamic linker on this thread failed.
fn linker_says() -> String {
    // SAFETY: takes nothing; the text is this thread's until its next call of the linker.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it cannot be opened".to_owned();
    }
    // SAFETY: not NULL, so a NUL-terminated string that is copied before the next call.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_said() {
        assert!(open(c"libcayenne-nowhere.so.7").unwrap_err().contains("nowhere"));
        let c = open(c"libc.so.6").unwrap();
        // SAFETY: never called.
        let nothing = unsafe { c.function::<unsafe extern "C" fn()>(c"cayenne_nothing") };
        assert!(nothing.is_err());
    }
}

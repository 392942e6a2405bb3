//! The library's functions, found at run time.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::mem::{size_of, transmute_copy};
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::callbacks::{self, Callback, LogLevel, LogLine};
use super::{Error, OK, readable};

/// Names of the library: Debian's, and that of everybody else. The functions used here are the same in both.
const NAMES: [&CStr; 2] = [c"libsasl2.so.2", c"libsasl2.so.3"];

/// A connection of the library, only ever seen by address (`sasl_conn_t`).
#[derive(Debug)]
#[repr(C)]
pub(super) struct Conn {
    _opaque: [u8; 0],
}

/// Bytes out of the library, and their number.
type Out = *mut *const c_char;
type Length = *mut c_uint;

/// The functions, as `sasl/sasl.h` of 2.1 declares them.
#[derive(Debug)]
pub(super) struct Library {
    set_mutex: unsafe extern "C" fn(
        callbacks::Alloc,
        callbacks::LockOrUnlock,
        callbacks::LockOrUnlock,
        callbacks::Free,
    ),
    server_init: unsafe extern "C" fn(*const Callback, *const c_char) -> c_int,
    pub(super) server_new: unsafe extern "C" fn(
        service: *const c_char,
        server_name: *const c_char,
        realm: *const c_char,
        local: *const c_char,
        remote: *const c_char,
        callbacks: *const Callback,
        flags: c_uint,
        out: *mut *mut Conn,
    ) -> c_int,
    pub(super) list_mechanisms: unsafe extern "C" fn(
        *mut Conn,
        user: *const c_char,
        prefix: *const c_char,
        separator: *const c_char,
        suffix: *const c_char,
        Out,
        Length,
        count: *mut c_int,
    ) -> c_int,
    pub(super) server_start: unsafe extern "C" fn(
        *mut Conn,
        mechanism: *const c_char,
        *const c_char,
        c_uint,
        Out,
        Length,
    ) -> c_int,
    pub(super) server_step:
        unsafe extern "C" fn(*mut Conn, *const c_char, c_uint, Out, Length) -> c_int,
    pub(super) encode: unsafe extern "C" fn(*mut Conn, *const c_char, c_uint, Out, Length) -> c_int,
    pub(super) decode: unsafe extern "C" fn(*mut Conn, *const c_char, c_uint, Out, Length) -> c_int,
    pub(super) get_property: unsafe extern "C" fn(*mut Conn, c_int, *mut *const c_void) -> c_int,
    pub(super) set_property: unsafe extern "C" fn(*mut Conn, c_int, *const c_void) -> c_int,
    pub(super) error_detail: unsafe extern "C" fn(*mut Conn) -> *const c_char,
    pub(super) dispose: unsafe extern "C" fn(*mut *mut Conn),
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// The library, opened once and never closed: its plugins are the process's.
///
/// # Errors
/// What the dynamic linker says. The next call tries again.
pub(super) fn library() -> Result<&'static Library, Error> {
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let handle = open()?;
    let found = Library::find(handle)?;
    // Two threads that come at once find the same functions.
    Ok(LIBRARY.get_or_init(|| found))
}

/// Initialises the server side once per process under the first name. It is never undone: a host that uses the library as
/// well counts its own calls, and an end of ours would have to wait for every connection.
pub(super) fn start(app: &str, log: LogLine) -> Result<(), Error> {
    static STARTED: Mutex<Option<String>> = Mutex::new(None);
    let library = library()?;
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(first) = &*started {
        if first != app {
            log(LogLevel::Warning, "SASL has been configured under another name before");
        }
        return Ok(());
    }
    callbacks::set_log(log);
    // Leaked: the library keeps the address.
    let name = CString::new(app).map_err(|_| Error::own("a name with a NUL"))?.into_raw();
    // SAFETY: the four functions do what a lock does, from any thread and for ever. Once a host has initialised the library
    // the call does nothing (since 2.1.24), so no lock is ever given to functions that did not make it.
    unsafe {
        (library.set_mutex)(
            callbacks::alloc_lock,
            callbacks::lock,
            callbacks::unlock,
            callbacks::free_lock,
        );
    }
    // SAFETY: both pointers stay valid for ever; the callbacks may run on any thread. If a host has initialised the library
    // already, it counts and ignores both.
    let code = unsafe { (library.server_init)(callbacks::list(), name) };
    if code != OK {
        return Err(Error::code(code));
    }
    *started = Some(app.to_owned());
    Ok(())
}

/// The copy that the process has already is taken first: two would not know of each other.
fn open() -> Result<NonNull<c_void>, Error> {
    for flags in [libc::RTLD_NOW | libc::RTLD_NOLOAD, libc::RTLD_NOW] {
        for name in NAMES {
            // SAFETY: a NUL-terminated name; the library's initialisers are those of any program that links it.
            let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
            if let Some(handle) = NonNull::new(handle) {
                return Ok(handle);
            }
        }
    }
    Err(Error::own(&linker_says()))
}

/// Why the last call of the dynamic linker on this thread failed.
fn linker_says() -> String {
    // SAFETY: takes nothing; the text is this thread's until its next call of the linker.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it cannot be opened".to_owned();
    }
    // SAFETY: not NULL, so a NUL-terminated string that is copied before the next call.
    readable(unsafe { CStr::from_ptr(text) })
}

impl Library {
    fn find(handle: NonNull<c_void>) -> Result<Self, Error> {
        macro_rules! function {
            ($name:literal) => {{
                let address = address(handle, $name)?;
                // SAFETY: an address of the library's function of that name, which has the type of the field; both have
                // the size of a pointer.
                unsafe { function(address) }
            }};
        }
        Ok(Self {
            set_mutex: function!(c"sasl_set_mutex"),
            server_init: function!(c"sasl_server_init"),
            server_new: function!(c"sasl_server_new"),
            list_mechanisms: function!(c"sasl_listmech"),
            server_start: function!(c"sasl_server_start"),
            server_step: function!(c"sasl_server_step"),
            encode: function!(c"sasl_encode"),
            decode: function!(c"sasl_decode"),
            get_property: function!(c"sasl_getprop"),
            set_property: function!(c"sasl_setprop"),
            error_detail: function!(c"sasl_errdetail"),
            dispose: function!(c"sasl_dispose"),
        })
    }
}

pub(super) fn address(handle: NonNull<c_void>, name: &CStr) -> Result<NonNull<c_void>, Error> {
    // SAFETY: the handle is never closed; the name ends with NUL.
    let address = unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) };
    NonNull::new(address).ok_or_else(|| Error::own(&linker_says()))
}

/// A function pointer out of an address.
///
/// # Safety
/// `F` is a function pointer of the type that the function at the address has.
pub(super) unsafe fn function<F: Copy>(address: NonNull<c_void>) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the same size (above); the caller vouches for the type.
    unsafe { transmute_copy(&address.as_ptr()) }
}

#[cfg(test)]
pub(super) fn handle() -> NonNull<c_void> {
    open().expect("libsasl2 is there")
}

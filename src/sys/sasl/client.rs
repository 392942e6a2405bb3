//! The client's side, for tests: the same library has both.

use std::ffi::{CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr::{self, NonNull};

use super::callbacks::{Callback, LIST_END};
use super::context::{Ended, Phase, SUCCESS_DATA};
use super::library::{Conn, address, function, handle, library};
use super::{Context, Error, OK, Progress};

type GetSimple = unsafe extern "C" fn(*mut c_void, c_int, *mut *const c_char, *mut c_uint) -> c_int;
type GetSecret = unsafe extern "C" fn(*mut Conn, *mut c_void, c_int, *mut *const Secret) -> c_int;
type Any = unsafe extern "C" fn() -> c_int;
type Prompts = *mut *mut c_void;

/// `sasl_secret_t` with room.
#[repr(C)]
struct Secret {
    length: c_ulong,
    data: [u8; 64],
}

struct Who {
    user: CString,
    secret: Secret,
}

unsafe extern "C" fn name(
    who: *mut c_void,
    _: c_int,
    out: *mut *const c_char,
    length: *mut c_uint,
) -> c_int {
    // SAFETY: the context of the callback, which the client keeps.
    let who = unsafe { &*who.cast::<Who>() };
    // SAFETY: the library passes a place for the answer.
    unsafe { *out = who.user.as_ptr() };
    if !length.is_null() {
        // SAFETY: not NULL, so a place for a number.
        unsafe { *length = c_uint::try_from(who.user.count_bytes()).unwrap_or(0) };
    }
    OK
}

unsafe extern "C" fn secret(
    _: *mut Conn,
    who: *mut c_void,
    _: c_int,
    out: *mut *const Secret,
) -> c_int {
    // SAFETY: as above.
    let who = unsafe { &*who.cast::<Who>() };
    // SAFETY: as above.
    unsafe { *out = &raw const who.secret };
    OK
}

/// Initialises the client's side of the library, which is not to be done by two threads at once.
pub(super) fn start() {
    type Init = unsafe extern "C" fn(*const Callback) -> c_int;
    let found = address(handle(), c"sasl_client_init").expect("the function is there");
    // SAFETY: the type of sasl_client_init.
    let init: Init = unsafe { function(found) };
    // SAFETY: no callbacks.
    assert_eq!(unsafe { init(ptr::null()) }, OK);
}

/// A client that knows its name and password.
pub(crate) struct Client {
    /// Dropped first: it has the addresses of the others.
    pub(crate) context: Context,
    _callbacks: Box<[Callback; 4]>,
    _who: Box<Who>,
}

// SAFETY: the callbacks point to what the client owns, and they only read.
unsafe impl Send for Client {}

impl Client {
    pub(crate) fn new(user: &str, password: &str, external_ssf: u32) -> Self {
        let library = library().expect("libsasl2 is there");
        let find = |name| address(handle(), name).expect("the function is there");
        let mut data = [0; 64];
        data[..password.len()].copy_from_slice(password.as_bytes());
        let length = c_ulong::try_from(password.len()).expect("fits");
        let user = CString::new(user).expect("no NUL");
        let mut who = Box::new(Who { user, secret: Secret { length, data } });
        let context: *mut c_void = (&raw mut *who).cast();
        // SAFETY: function pointers both; the library knows the type by the id.
        let simple = Some(unsafe { std::mem::transmute::<GetSimple, Any>(name) });
        // SAFETY: as above.
        let pass = Some(unsafe { std::mem::transmute::<GetSecret, Any>(secret) });
        let callbacks = Box::new([
            Callback { id: 0x4001, function: simple, context },
            Callback { id: 0x4002, function: simple, context },
            Callback { id: 0x4004, function: pass, context },
            LIST_END,
        ]);
        type New = unsafe extern "C" fn(
            *const c_char,
            *const c_char,
            *const c_char,
            *const c_char,
            *const Callback,
            c_uint,
            *mut *mut Conn,
        ) -> c_int;
        // SAFETY: the type of sasl_client_new.
        let new: New = unsafe { function(find(c"sasl_client_new")) };
        let mut conn = ptr::null_mut();
        // SAFETY: strings end with NUL; the callbacks live as long as the client.
        let code = unsafe {
            new(
                c"spice".as_ptr(),
                c"localhost".as_ptr(),
                ptr::null(),
                ptr::null(),
                callbacks.as_ptr(),
                SUCCESS_DATA,
                &raw mut conn,
            )
        };
        assert_eq!(code, OK);
        let conn = NonNull::new(conn).expect("a connection");
        let mut context = Context { library, conn, phase: Phase::Fresh };
        context.secure(external_ssf).expect("properties");
        Self { context, _who: who, _callbacks: callbacks }
    }

    /// The first bytes for this mechanism.
    pub(crate) fn start(&mut self, mechanism: &str) -> Result<Option<Vec<u8>>, Error> {
        type Start = unsafe extern "C" fn(
            *mut Conn,
            *const c_char,
            Prompts,
            *mut *const c_char,
            *mut c_uint,
            *mut *const c_char,
        ) -> c_int;
        let found = address(handle(), c"sasl_client_start")?;
        // SAFETY: the type of sasl_client_start.
        let start: Start = unsafe { function(found) };
        let name = CString::new(mechanism).expect("no NUL");
        let (mut out, mut length, mut chosen) = (ptr::null(), 0, ptr::null());
        // SAFETY: the connection lives; the name ends with NUL.
        let code = unsafe {
            start(
                self.context.conn.as_ptr(),
                name.as_ptr(),
                ptr::null_mut(),
                &raw mut out,
                &raw mut length,
                &raw mut chosen,
            )
        };
        // SAFETY: filled by the call, if it succeeded.
        let progress = unsafe { self.context.progress(code, out, length) }?;
        Ok(match progress {
            Progress::Continue(data) | Progress::Done(data) => data,
        })
    }

    /// What to say to the server's bytes.
    pub(crate) fn step(&mut self, data: Option<&[u8]>) -> Result<Progress, Error> {
        type Step = unsafe extern "C" fn(
            *mut Conn,
            *const c_char,
            c_uint,
            Prompts,
            *mut *const c_char,
            *mut c_uint,
        ) -> c_int;
        let found = address(handle(), c"sasl_client_step")?;
        // SAFETY: the type of sasl_client_step.
        let step: Step = unsafe { function(found) };
        let data = Ended::new(data)?;
        let (mut out, mut length) = (ptr::null(), 0);
        // SAFETY: the connection lives; the bytes are there.
        let code = unsafe {
            step(
                self.context.conn.as_ptr(),
                data.pointer(),
                data.length,
                ptr::null_mut(),
                &raw mut out,
                &raw mut length,
            )
        };
        // SAFETY: filled by the call, if it succeeded.
        unsafe { self.context.progress(code, out, length) }
    }
}

//! One exchange with the library, and the security layer after it.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::net::SocketAddr;
use std::ptr::{self, NonNull};

use zeroize::Zeroizing;

use super::library::{self, Conn, Library};
use super::{Error, OK, callbacks, readable};

const CONTINUE: c_int = 1;

/// Property numbers of `sasl_getprop` and `sasl_setprop`.
const USERNAME: c_int = 0;
const SSF: c_int = 1;
const MAX_OUT: c_int = 2;
const EXTERNAL_SSF: c_int = 100;
const SECURITY: c_int = 101;

/// `SASL_SUCCESS_DATA`: the protocol has room for data beside success.
pub(super) const SUCCESS_DATA: c_uint = 4;
const NO_PLAINTEXT: c_uint = 0x01;
const NO_ANONYMOUS: c_uint = 0x10;

/// Who talks, and how safe the way is by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// Our address, if it is one of TCP.
    pub local: Option<SocketAddr>,
    /// The peer's.
    pub remote: Option<SocketAddr>,
    /// Bits of the cipher that the connection has already (TLS); 0 for none.
    pub external_ssf: u32,
}

/// What the security layer has to be (`sasl_security_properties_t`).
#[repr(C)]
struct Security {
    min_ssf: c_uint,
    max_ssf: c_uint,
    max_buffer: c_uint,
    flags: c_uint,
    names: *const *const c_char,
    values: *const *const c_char,
}

/// What the library says to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The peer has to answer this.
    Continue(Option<Vec<u8>>),
    /// The peer is who it says it is; there may be a last word for it.
    Done(Option<Vec<u8>>),
}

/// How far an exchange is. The library does not check what may follow what: a step before the start is a NULL in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Fresh,
    Going,
    Done,
    Failed,
}

/// The server's side of one exchange and, after it, its security layer.
pub struct Context {
    pub(super) library: &'static Library,
    /// Never NULL; ended once, in `drop`.
    pub(super) conn: NonNull<Conn>,
    pub(super) phase: Phase,
}

// SAFETY: the library keeps no state per thread; `Context` is not Sync and every call that changes something takes it
// mutably, so two threads never use a connection at once.
unsafe impl Send for Context {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sasl::Context")
    }
}

impl Context {
    /// Strength that a security layer must have where there is no TLS: that of a key of 56 bits, as in the reference.
    pub const MIN_SSF: u32 = 56;
    /// Bytes of a packet that the peer may send, and that it is told.
    pub const MAX_BUFFER: u32 = 8192;

    /// A context for one connection. Without TLS a security layer is wanted and neither plain passwords nor anonymous
    /// logins are on offer; inside TLS there is no second layer, and everything is but anonymous logins.
    ///
    /// May ask the name server for this machine's name.
    ///
    /// # Errors
    /// The library's; also if nobody called [`super::start`].
    pub fn new(peer: &Peer) -> Result<Self, Error> {
        let library = library::library()?;
        let address = |a: Option<SocketAddr>| a.and_then(|a| CString::new(pair(a)).ok());
        let (local, remote) = (address(peer.local), address(peer.remote));
        let pointer = |a: &Option<CString>| a.as_ref().map_or(ptr::null(), |a| a.as_ptr());
        let mut conn = ptr::null_mut();
        // SAFETY: strings end with NUL and live until the call returns; NULL names let the library find its own; the list
        // of callbacks lives for ever.
        let code = unsafe {
            (library.server_new)(
                c"spice".as_ptr(),
                ptr::null(),
                ptr::null(),
                pointer(&local),
                pointer(&remote),
                callbacks::list(),
                SUCCESS_DATA,
                &raw mut conn,
            )
        };
        let conn = NonNull::new(conn).filter(|_| code == OK).ok_or_else(|| Error::code(code))?;
        let mut context = Self { library, conn, phase: Phase::Fresh };
        context.secure(peer.external_ssf)?;
        Ok(context)
    }

    pub(super) fn secure(&mut self, external_ssf: u32) -> Result<(), Error> {
        let tls = external_ssf > 0;
        if tls {
            self.set(EXTERNAL_SSF, (&raw const external_ssf).cast())?;
        }
        let security = Security {
            min_ssf: if tls { 0 } else { Self::MIN_SSF },
            max_ssf: if tls { 0 } else { 100_000 },
            max_buffer: Self::MAX_BUFFER,
            flags: NO_ANONYMOUS | if tls { 0 } else { NO_PLAINTEXT },
            names: ptr::null(),
            values: ptr::null(),
        };
        self.set(SECURITY, (&raw const security).cast())
    }

    /// Names of the mechanisms that may be chosen, joined and surrounded by commas.
    ///
    /// # Errors
    /// The library's; also if there is none.
    pub fn mechanisms(&mut self) -> Result<String, Error> {
        let (mut list, mut length) = (ptr::null(), 0);
        let comma = c",".as_ptr();
        // SAFETY: the connection lives; strings end with NUL; the list is the connection's until its next call.
        let code = unsafe {
            (self.library.list_mechanisms)(
                self.conn.as_ptr(),
                ptr::null(),
                comma,
                comma,
                comma,
                &raw mut list,
                &raw mut length,
                ptr::null_mut(),
            )
        };
        self.check(code)?;
        // SAFETY: the call has filled both.
        let bytes = unsafe { copied(list, length) }.unwrap_or_default();
        String::from_utf8(bytes).map_err(|_| Error::own("names of mechanisms are no text"))
    }

    /// Begins an exchange; `data` is what the client sent along, which may be nothing or empty.
    ///
    /// # Errors
    /// The library's: wrong passwords and unknown names among them. A second start.
    pub fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<Progress, Error> {
        self.must_be(Phase::Fresh)?;
        let name = CString::new(mechanism).map_err(|_| Error::own("a name with a NUL"))?;
        let data = Ended::new(data)?;
        let (mut out, mut length) = (ptr::null(), 0);
        // SAFETY: the connection lives and has not started; both strings end with NUL and live until the call returns.
        let code = unsafe {
            (self.library.server_start)(
                self.conn.as_ptr(),
                name.as_ptr(),
                data.pointer(),
                data.length,
                &raw mut out,
                &raw mut length,
            )
        };
        // SAFETY: the call has filled both, if it succeeded.
        unsafe { self.progress(code, out, length) }
    }

    /// Goes on with it.
    ///
    /// # Errors
    /// As [`Context::start`]; also if there is nothing to go on with.
    pub fn step(&mut self, data: Option<&[u8]>) -> Result<Progress, Error> {
        self.must_be(Phase::Going)?;
        let data = Ended::new(data)?;
        let (mut out, mut length) = (ptr::null(), 0);
        // SAFETY: as in `start`, but that it has started and wants a step.
        let code = unsafe {
            (self.library.server_step)(
                self.conn.as_ptr(),
                data.pointer(),
                data.length,
                &raw mut out,
                &raw mut length,
            )
        };
        // SAFETY: as in `start`.
        unsafe { self.progress(code, out, length) }
    }

    /// # Safety
    /// If `code` says success, `out` is NULL or has `length` bytes.
    pub(super) unsafe fn progress(
        &mut self,
        code: c_int,
        out: *const c_char,
        length: c_uint,
    ) -> Result<Progress, Error> {
        self.phase = match code {
            OK => Phase::Done,
            CONTINUE => Phase::Going,
            _ => Phase::Failed,
        };
        if code != CONTINUE {
            self.check(code)?;
        }
        // SAFETY: the caller vouches for both.
        let data = unsafe { copied(out, length) };
        Ok(if code == OK { Progress::Done(data) } else { Progress::Continue(data) })
    }

    fn must_be(&self, phase: Phase) -> Result<(), Error> {
        if self.phase == phase { Ok(()) } else { Err(Error::own("not now")) }
    }

    /// Strength of the security layer in bits of a key; 0: there is none. Known after [`Progress::Done`].
    #[must_use]
    pub fn ssf(&mut self) -> u32 {
        self.number(SSF)
    }

    /// Most bytes that may be encoded at once; 0: any number.
    #[must_use]
    pub fn max_out(&mut self) -> u32 {
        self.number(MAX_OUT)
    }

    /// Who the peer is, as one printable line of bounded length. Before [`Progress::Done`] it is what the peer says.
    #[must_use]
    pub fn user(&mut self) -> Option<String> {
        let name = self.get(USERNAME)?;
        // SAFETY: this property is a NUL-terminated string that stays until the next call.
        Some(readable(unsafe { CStr::from_ptr(name.as_ptr().cast()) }))
    }

    /// Wraps bytes; what comes back is the connection's until its next call.
    ///
    /// # Errors
    /// The library's; also before [`Progress::Done`].
    pub fn encode(&mut self, plain: &[u8]) -> Result<&[u8], Error> {
        // SAFETY: `through` is given a function of its type.
        unsafe { self.through(self.library.encode, plain) }
    }

    /// Unwraps bytes, which are a whole packet with its length or a part of it; what comes back is the connection's until
    /// its next call.
    ///
    /// # Errors
    /// The library's: somebody else's bytes, or changed ones. Also before [`Progress::Done`].
    pub fn decode(&mut self, wrapped: &[u8]) -> Result<&[u8], Error> {
        // SAFETY: as in `encode`.
        unsafe { self.through(self.library.decode, wrapped) }
    }

    /// # Safety
    /// `call` is the library's encode or decode.
    unsafe fn through(
        &mut self,
        call: unsafe extern "C" fn(
            *mut Conn,
            *const c_char,
            c_uint,
            *mut *const c_char,
            *mut c_uint,
        ) -> c_int,
        bytes: &[u8],
    ) -> Result<&[u8], Error> {
        self.must_be(Phase::Done)?;
        let (mut out, mut length) = (ptr::null(), 0);
        let count = c_uint::try_from(bytes.len()).map_err(|_| Error::own("too many bytes"))?;
        // SAFETY: the connection lives; `bytes` has `count` bytes, which are only read.
        let code = unsafe {
            call(self.conn.as_ptr(), bytes.as_ptr().cast(), count, &raw mut out, &raw mut length)
        };
        self.check(code)?;
        let length = usize::try_from(length).unwrap_or(0);
        if out.is_null() || length == 0 {
            return Ok(&[]);
        }
        // SAFETY: the call succeeded, so that many bytes are there; they are the connection's, which is borrowed as long.
        Ok(unsafe { std::slice::from_raw_parts(out.cast(), length) })
    }

    fn set(&mut self, property: c_int, value: *const c_void) -> Result<(), Error> {
        // SAFETY: the connection lives; the value is of the type that the property has, and is copied.
        let code = unsafe { (self.library.set_property)(self.conn.as_ptr(), property, value) };
        self.check(code)
    }

    fn get(&mut self, property: c_int) -> Option<NonNull<c_void>> {
        let mut value = ptr::null();
        // SAFETY: the connection lives.
        let code =
            unsafe { (self.library.get_property)(self.conn.as_ptr(), property, &raw mut value) };
        NonNull::new(value.cast_mut()).filter(|_| code == OK)
    }

    fn number(&mut self, property: c_int) -> u32 {
        // SAFETY: SSF and MAX_OUT are unsigned numbers that stay until the next call.
        self.get(property).map_or(0, |value| unsafe { value.cast::<c_uint>().read() })
    }

    fn check(&mut self, code: c_int) -> Result<(), Error> {
        if code == OK {
            return Ok(());
        }
        // SAFETY: the connection lives.
        let text = unsafe { (self.library.error_detail)(self.conn.as_ptr()) };
        if text.is_null() {
            return Err(Error::code(code));
        }
        // SAFETY: a NUL-terminated string that stays until the next call.
        let text = readable(unsafe { CStr::from_ptr(text) });
        Err(Error { code, text })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut conn = self.conn.as_ptr();
        // SAFETY: made by `server_new`, and ended only here.
        unsafe { (self.library.dispose)(&raw mut conn) };
    }
}

/// Bytes for the library: wiped afterwards, and with a NUL behind them, because plugins are known to read on.
pub(super) struct Ended {
    bytes: Option<Zeroizing<Vec<u8>>>,
    pub(super) length: c_uint,
}

impl Ended {
    pub(super) fn new(data: Option<&[u8]>) -> Result<Self, Error> {
        let Some(data) = data else { return Ok(Self { bytes: None, length: 0 }) };
        let length = c_uint::try_from(data.len()).map_err(|_| Error::own("too many bytes"))?;
        // In one piece from the start: growing would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(data.len() + 1));
        bytes.extend_from_slice(data);
        bytes.push(0);
        Ok(Self { bytes: Some(bytes), length })
    }

    pub(super) fn pointer(&self) -> *const c_char {
        self.bytes.as_ref().map_or(ptr::null(), |b| b.as_ptr().cast())
    }
}

/// # Safety
/// `bytes` is NULL or has `length` bytes.
unsafe fn copied(bytes: *const c_char, length: c_uint) -> Option<Vec<u8>> {
    if bytes.is_null() {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    // SAFETY: the caller vouches for it.
    Some(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) }.to_vec())
}

/// An address as the library wants it: `ADDRESS;PORT`.
fn pair(address: SocketAddr) -> String {
    format!("{};{}", address.ip().to_canonical(), address.port())
}

//! Cyrus SASL (`libsasl2`), opened at run time: who needs no SASL needs no library.
//!
//! The library is the process's, shared with a host that uses it too (QEMU's VNC): it is initialised once, under a name
//! that says which file configures it (`NAME.conf` in `/etc/sasl2`, `/usr/lib/sasl2` or SASL_CONF_PATH). Mechanisms may ask files,
//! name servers and daemons and take seconds: no call of [`Context`] may run on a thread that somebody waits for, but
//! [`Context::encode`] and [`Context::decode`].
//!
//! A context is not bound to a thread; whoever has it mutably calls. What plugins share between connections they guard with
//! locks that we set, unless the host initialised the library before us: then the host's count, or the library's own,
//! which guard nothing before 2.1.29. Of the common plugins only DIGEST-MD5's cache (`reauth_timeout`, off by default) and
//! GSSAPI ask for one.
//!
//! Facts: `sasl/sasl.h` and the manual pages of 2.1.28.

mod callbacks;
#[cfg(test)]
pub(crate) mod client;
mod context;
mod library;
#[cfg(test)]
pub(crate) mod tests;

use std::ffi::{CStr, c_int};

pub use callbacks::{LogLevel, LogLine};
pub use context::{Context, Peer, Progress};

const OK: c_int = 0;
const FAIL: c_int = -1;

/// Longest text out of the library that is kept, in bytes.
pub const MAX_TEXT: usize = 300;

/// Why a call failed. The text is one printable line; it may quote what a peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({code})")]
pub struct Error {
    /// The library's number, -1 where it gave none.
    pub code: i32,
    /// Its detail.
    pub text: String,
}

impl Error {
    fn own(text: &str) -> Self {
        Self { code: FAIL, text: text.to_owned() }
    }

    fn code(code: c_int) -> Self {
        let text = match code {
            -2 => "memory is short",
            -4 => "no mechanism is usable",
            -7 => "invalid parameter",
            -12 => "not initialised",
            -100 => "the configuration file cannot be read",
            _ => "failed",
        };
        Self { code, text: text.to_owned() }
    }
}

/// Text of the library or of a peer as one printable line of bounded length.
fn readable(text: &CStr) -> String {
    let text = text.to_string_lossy();
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    let mut out = String::new();
    for c in clean {
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(c);
    }
    out
}

/// Whether the library can be opened.
///
/// # Errors
/// What the dynamic linker says.
pub fn available() -> Result<(), Error> {
    library::library().map(|_| ())
}

/// Initialises the library under the name of its configuration file. Later calls do nothing: the first name counts, in the
/// whole process. Reads files and opens plugins.
///
/// # Errors
/// The library is not there, or its configuration is broken.
pub fn start(app: &str, log: LogLine) -> Result<(), Error> {
    library::start(app, log)
}

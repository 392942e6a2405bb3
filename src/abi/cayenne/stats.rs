//! What a server counts, for the host.

use std::ffi::{c_char, c_int};
use std::ptr;

use super::super::guard::guard;
use super::super::handles::with;
use super::super::types::server::SpiceServer;

symver!(cayenne_stats_json, node "CAYENNE_1");
/// Writes the server's statistics as JSON, with a NUL behind it.
///
/// Bytes, messages and queues of each channel and client, what the encoders did, and how long things took; the names, with
/// units and ranges, are in docs/statistics.md. As with snprintf no more than `size` bytes are written, the NUL
/// included, and the return value is the length that the whole text has: if it is `size` or more, the text was cut, and
/// may have grown by the next call. Returns -1 if `server` does not exist.
///
/// May be called at any time on any thread, also on several at once, but not together with `spice_server_destroy`. No
/// thread that serves clients is kept waiting.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and is not destroyed before this returns.
/// - `buffer` has room for `size` bytes; it may be NULL if `size` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cayenne_stats_json(
    server: *mut SpiceServer,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    const NAME: &str = "cayenne_stats_json";
    guard(NAME, -1, || {
        with(NAME, server, -1, |s| {
            let text = s.core.stats_json();
            if let Some(room) = size.checked_sub(1).filter(|_| !buffer.is_null()) {
                let written = text.len().min(room);
                // SAFETY: the caller vouches for `size` bytes, of which these are fewer; the text is ours.
                unsafe { ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), written) };
                // SAFETY: as above, `written` is less than `size`.
                let end = unsafe { buffer.add(written) };
                // SAFETY: as above.
                unsafe { end.write(0) };
            }
            c_int::try_from(text.len()).unwrap_or(c_int::MAX)
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_server_that_does_not_exist_has_no_statistics() {
        let mut buffer = [1; 4];
        let server = std::ptr::null_mut();
        // SAFETY: NULL is allowed, and the buffer has as many bytes.
        let said = unsafe { super::cayenne_stats_json(server, buffer.as_mut_ptr(), 4) };
        assert_eq!((said, buffer), (-1, [1; 4]));
    }
}

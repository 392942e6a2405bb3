//! What `libspice-server.so` and `libcayenne-gst.so` agree on. Both compile this file.
//!
//! The second exports one function, [`ENTRY`], which gives a table of functions for a version it knows. A change of any
//! structure is a new version. Texts are NUL-terminated UTF-8, and memory is freed by whoever made it.
//! No function is called from two threads for the same coder; different coders have threads of their own.

use std::ffi::{CStr, c_char, c_int, c_void};

/// Of this table.
pub const VERSION: u32 = 1;
/// The name of the one function that is exported.
pub const ENTRY: &CStr = c"cayenne_gst_encoders";
/// Its type: a table that is never freed, or NULL if that version is not known.
pub type Entry = unsafe extern "C" fn(version: u32) -> *const Table;
/// Takes a line for the log: 1 error, 2 warning, 3 information. From any thread.
pub type Say = unsafe extern "C" fn(level: c_int, text: *const c_char);

/// Done.
pub const OK: c_int = 0;
/// No encoder for this is installed, or none of them works.
pub const NONE: c_int = -1;
/// Nothing has come within the time that was given.
pub const LATE: c_int = -2;
/// The encoder says that something is wrong; it has been logged.
pub const FAILED: c_int = -3;

/// What a coder is made for.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Setup {
    /// `SPICE_VIDEO_CODEC_TYPE_*`.
    pub codec: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Of a pixel: 16 (5-5-5), 24 (B, G, R) or 32 (B, G, R, unused).
    pub bits: u32,
    /// Bits per second to begin with.
    pub rate: u64,
    /// Of 100, for codecs without a rate.
    pub quality: u32,
    /// Longest wait for one frame, milliseconds.
    pub patience: u32,
}

/// A picture to encode.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Picture {
    /// The top row. All rows are readable until the call returns.
    pub top: *const u8,
    /// Bytes from a row to the one below; negative if that one stands before it.
    pub stride: isize,
    /// When it is shown, microseconds since the coder was made; more than that of the picture before.
    pub time: u64,
    /// Not 0: it is to be a key frame.
    pub key: u32,
}

/// What came out.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Coded {
    /// The frame; valid until the next call for this coder.
    pub bytes: *const u8,
    /// How many.
    pub len: usize,
    /// Not 0: it is a key frame.
    pub key: u32,
}

/// The functions.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Table {
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this structure.
    pub size: u32,
    /// Initialises GStreamer if nobody has; may take seconds. [`OK`] or [`FAILED`].
    pub begin: unsafe extern "C" fn(Say) -> c_int,
    /// The installed element that is tried first for a codec, or NULL. The text is never freed. After `begin`.
    pub find: unsafe extern "C" fn(codec: u32) -> *const c_char,
    /// Makes a coder that has encoded a first picture, or else fails: [`OK`], [`NONE`].
    pub open: unsafe extern "C" fn(*const Setup, coder: *mut *mut c_void) -> c_int,
    /// Bits per second and quality from the next picture on.
    pub set_rate: unsafe extern "C" fn(coder: *mut c_void, rate: u64, quality: u32),
    /// Encodes a picture: [`OK`], [`LATE`] or [`FAILED`]. After a failure the coder can only be closed.
    pub encode: unsafe extern "C" fn(coder: *mut c_void, *const Picture, *mut Coded) -> c_int,
    /// Ends a coder.
    pub close: unsafe extern "C" fn(coder: *mut c_void),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    #[test]
    fn structures_have_the_sizes_of_their_version() {
        // Another size is another version.
        let sizes =
            [size_of::<Setup>(), size_of::<Picture>(), size_of::<Coded>(), size_of::<Table>()];
        assert_eq!((VERSION, sizes), (1, [32, 32, 24, 56]));
    }
}

//! How the server behaves towards clients (the settings of the original's `spice-server.h`).

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use crate::display::encode::wan::Wan;
use crate::video::{Mode, codecs};

use super::guard::{copied_text, guard};
use super::handles::with;
use super::interfaces;
use super::types::foreign::SpiceImageCompression;
use super::types::server::{SpiceServer, WanCompression};

/// Longest list of video encoders that is read.
const MAX_CODECS: usize = 1024;

symver!(spice_server_set_image_compression, "0.6.0");
/// Sets how images are compressed, also for clients that are connected.
///
/// Returns 0; values that do not exist are ignored.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_image_compression(
    server: *mut SpiceServer,
    comp: SpiceImageCompression,
) -> c_int {
    guard("spice_server_set_image_compression", -1, || {
        with("spice_server_set_image_compression", server, -1, |s| {
            interfaces::set_image_compression(&s, comp.0);
            0
        })
    })
}

symver!(spice_server_get_image_compression, "0.6.0");
/// How images are compressed.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_image_compression(
    server: *mut SpiceServer,
) -> SpiceImageCompression {
    guard("spice_server_get_image_compression", SpiceImageCompression::INVALID, || {
        with("spice_server_get_image_compression", server, SpiceImageCompression::INVALID, |s| {
            SpiceImageCompression(s.core.session().settings.image_compression.unsigned_abs())
        })
    })
}

symver!(spice_server_set_jpeg_compression, "0.6.0");
/// Says when photo-like images are sent as JPEG, also to clients that are connected.
///
/// Returns 0, or -1 for a value that does not exist.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_jpeg_compression(
    server: *mut SpiceServer,
    comp: WanCompression,
) -> c_int {
    guard("spice_server_set_jpeg_compression", -1, || {
        with("spice_server_set_jpeg_compression", server, -1, |s| {
            let Some(value) = wan_compression(comp) else { return -1 };
            s.core.set_jpeg_compression(value);
            0
        })
    })
}

symver!(spice_server_set_zlib_glz_compression, "0.6.0");
/// Says when GLZ images are deflated, also for clients that are connected.
///
/// Returns 0, or -1 for a value that does not exist.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_zlib_glz_compression(
    server: *mut SpiceServer,
    comp: WanCompression,
) -> c_int {
    guard("spice_server_set_zlib_glz_compression", -1, || {
        with("spice_server_set_zlib_glz_compression", server, -1, |s| {
            let Some(value) = wan_compression(comp) else { return -1 };
            s.core.set_zlib_glz_compression(value);
            0
        })
    })
}

symver!(spice_server_set_streaming_video, "0.6.0");
/// Says what is sent as a video stream (`SPICE_STREAM_VIDEO_*`), also to clients that are connected.
///
/// Returns 0, or -1 for a value that does not exist.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_streaming_video(
    server: *mut SpiceServer,
    value: c_int,
) -> c_int {
    guard("spice_server_set_streaming_video", -1, || {
        with("spice_server_set_streaming_video", server, -1, |s| {
            let mode = u8::try_from(value).ok().and_then(Mode::from_u8);
            let Some(mode) = mode else { return -1 };
            s.core.set_streaming_video(mode);
            interfaces::tell_compression_level(&s);
            0
        })
    })
}

symver!(spice_server_set_video_codecs, "0.13.2");
/// Sets the video encoders in order of preference: `encoder:codec` parts joined by `;`, or "auto".
///
/// Encoders are "spice:mjpeg" and, where `libcayenne-gst.so` lies beside this library, "gstreamer:" with mjpeg, vp8, h264,
/// vp9 or h265. Parts that are not known or not installed are skipped. Returns 0, or -1 and keeps the old list if none is
/// left. Whether GStreamer has an element for its part is found out on another thread; until then, and where it has none,
/// clients get the next of the list that they decode, at last MJPEG.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `video_codecs` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_video_codecs(
    server: *mut SpiceServer,
    video_codecs: *const c_char,
) -> c_int {
    guard("spice_server_set_video_codecs", -1, || {
        with("spice_server_set_video_codecs", server, -1, |s| {
            // SAFETY: the caller vouches for the string.
            let Some(list) = (unsafe { copied_text(video_codecs, MAX_CODECS) }) else { return -1 };
            if s.core.set_video_codecs(&list) { 0 } else { -1 }
        })
    })
}

symver!(spice_server_get_video_codecs, "0.14.3");
/// The video encoders as a new string, to be freed by `spice_server_free_video_codecs`: of the list those that are
/// installed, without those for which GStreamer turned out to have no element.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_video_codecs(server: *mut SpiceServer) -> *const c_char {
    guard("spice_server_get_video_codecs", ptr::null(), || {
        with("spice_server_get_video_codecs", server, ptr::null(), |s| {
            let list = s.core.session().settings.video_codecs.clone();
            let list = codecs::join(&list);
            // The names have no NUL.
            CString::new(list).unwrap_or_default().into_raw().cast_const()
        })
    })
}

symver!(spice_server_free_video_codecs, "0.14.3");
/// Frees a string of `spice_server_get_video_codecs`; NULL is ignored.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `video_codecs` is NULL or came from `spice_server_get_video_codecs` and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_free_video_codecs(
    server: *mut SpiceServer,
    video_codecs: *const c_char,
) {
    guard("spice_server_free_video_codecs", (), || {
        let _ = server;
        if !video_codecs.is_null() {
            // SAFETY: the caller vouches that it came from `CString::into_raw` in the getter.
            drop(unsafe { CString::from_raw(video_codecs.cast_mut()) });
        }
    })
}

symver!(spice_server_add_renderer, "0.6.0");
/// Obsolete: returns 0 for "sw" before init and -1 for everything else.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `name` is NULL or a NUL-terminated string.
#[deprecated(note = "there is only one renderer")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_renderer(
    server: *mut SpiceServer,
    name: *const c_char,
) -> c_int {
    guard("spice_server_add_renderer", -1, || {
        with("spice_server_add_renderer", server, -1, |s| {
            // SAFETY: the caller vouches for the string.
            let name = unsafe { copied_text(name, 16) };
            // Init fills the only place there is with the default.
            let room = !s.core.is_initialised();
            if name.as_deref() == Some("sw") && room { 0 } else { -1 }
        })
    })
}

symver!(spice_server_set_playback_compression, "0.6.0");
/// Sends sound as Opus (1) or raw (0), also to clients that are connected.
///
/// Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_compression(
    server: *mut SpiceServer,
    enable: c_int,
) -> c_int {
    guard("spice_server_set_playback_compression", -1, || {
        with("spice_server_set_playback_compression", server, -1, |s| {
            s.core.set_playback_compression(enable != 0);
            0
        })
    })
}

symver!(spice_server_set_agent_mouse, "0.6.0");
/// Allows the guest's agent to move the pointer.
///
/// Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_mouse(
    server: *mut SpiceServer,
    enable: c_int,
) -> c_int {
    guard("spice_server_set_agent_mouse", -1, || {
        with("spice_server_set_agent_mouse", server, -1, |s| {
            s.core.set_agent_mouse(enable != 0);
            0
        })
    })
}

symver!(spice_server_set_agent_copypaste, "0.8.1");
/// Allows the clipboard between guest and client.
///
/// Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_copypaste(
    server: *mut SpiceServer,
    enable: c_int,
) -> c_int {
    guard("spice_server_set_agent_copypaste", -1, || {
        with("spice_server_set_agent_copypaste", server, -1, |s| {
            s.core.set_agent_copypaste(enable != 0);
            0
        })
    })
}

symver!(spice_server_set_agent_file_xfer, "0.12.4");
/// Allows files to be sent from client to guest.
///
/// Returns 0.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_file_xfer(
    server: *mut SpiceServer,
    enable: c_int,
) -> c_int {
    guard("spice_server_set_agent_file_xfer", -1, || {
        with("spice_server_set_agent_file_xfer", server, -1, |s| {
            s.core.set_agent_file_xfer(enable != 0);
            0
        })
    })
}

symver!(spice_server_is_server_mouse, "0.10.3");
/// 1 if the guest moves the pointer (server mouse mode).
///
/// 0 otherwise, and before `spice_server_init`.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_is_server_mouse(server: *mut SpiceServer) -> c_int {
    guard("spice_server_is_server_mouse", 0, || {
        with("spice_server_is_server_mouse", server, 0, |s| {
            // As the original: nothing is known before init.
            c_int::from(s.core.is_initialised() && s.core.is_server_mouse())
        })
    })
}

symver!(spice_server_set_seamless_migration, "0.11.2");
/// Allows migration in which the channels hand over what they know, so that nothing on its way is lost; off by default.
/// Clients and targets that cannot do so fall back to channels that begin anew. One client at a time only
/// (`cayenne_set_multiple_clients`).
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_seamless_migration(
    server: *mut SpiceServer,
    enable: c_int,
) {
    guard("spice_server_set_seamless_migration", (), || {
        with("spice_server_set_seamless_migration", server, (), |s| {
            s.core.set_seamless_migration(enable != 0)
        })
    })
}

/// The value if it exists.
fn wan_compression(value: WanCompression) -> Option<Wan> {
    u8::try_from(value.0).ok().and_then(Wan::from_u8)
}

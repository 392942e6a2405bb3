//! The server handle and the values of its settings (`spice-server.h` of the original).

use std::ffi::c_int;

/// A server; opaque to the host.
#[derive(Debug)]
pub struct RedsState {
    _opaque: [u8; 0],
}

/// A server; opaque to the host.
pub type SpiceServer = RedsState;

/// Which old release to stay compatible with (`spice_compat_version_t`).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompatVersion(pub u32);

impl CompatVersion {
    /// Release 0.4; no longer served.
    pub const V0_4: Self = Self(0);
    /// Release 0.6 and everything since.
    pub const V0_6: Self = Self(1);
}

/// When a compression meant for slow links is used (`spice_wan_compression_t`).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WanCompression(pub u32);

impl WanCompression {
    /// No value.
    pub const INVALID: Self = Self(0);
    /// On links that were measured to be slow; the default.
    pub const AUTO: Self = Self(1);
    /// Always.
    pub const ALWAYS: Self = Self(2);
    /// Never.
    pub const NEVER: Self = Self(3);
}

/// Listen on IPv4 only.
pub const SPICE_ADDR_FLAG_IPV4_ONLY: c_int = 1;
/// Listen on IPv6 only.
pub const SPICE_ADDR_FLAG_IPV6_ONLY: c_int = 2;
/// The address is the path of a unix socket.
pub const SPICE_ADDR_FLAG_UNIX_ONLY: c_int = 4;

/// Channel security bit: connections without encryption are allowed.
pub const SPICE_CHANNEL_SECURITY_NONE: c_int = 1;
/// Channel security bit: encrypted connections are allowed.
pub const SPICE_CHANNEL_SECURITY_SSL: c_int = 2;

/// Video streaming: no value.
pub const SPICE_STREAM_VIDEO_INVALID: c_int = 0;
/// Video streaming: never.
pub const SPICE_STREAM_VIDEO_OFF: c_int = 1;
/// Video streaming: everything that changes fast.
pub const SPICE_STREAM_VIDEO_ALL: c_int = 2;
/// Video streaming: what changes fast and looks like video; the default.
pub const SPICE_STREAM_VIDEO_FILTER: c_int = 3;

/// Video encoder: no value.
pub const SPICE_STREAMING_INVALID: c_int = 0;
/// Video encoder: built in.
pub const SPICE_STREAMING_SPICE: c_int = 1;
/// Video encoder: GStreamer.
pub const SPICE_STREAMING_GSTREAMER: c_int = 2;

//! Base types of every interface, and the host's event loop (`spice-core.h` of the original).

use std::ffi::{c_char, c_int, c_void};

use super::foreign::{SockAddr, SockAddrStorage, SockLen};

/// Head of every interface: which kind it is and which members it has.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceBaseInterface {
    /// Kind, one of the `SPICE_INTERFACE_*` names; may be NULL in a core interface.
    pub r#type: *const c_char,
    /// Free text for logs; may be NULL.
    pub description: *const c_char,
    /// Must equal the server's number of that kind.
    pub major_version: u32,
    /// May be lower than the server's: members of later minor versions are then absent.
    pub minor_version: u32,
}
layout!(SpiceBaseInterface, 24, {
    r#type: 0, description: 8, major_version: 16, minor_version: 20,
});

/// Head of every instance of an interface.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceBaseInstance {
    /// The functions of the instance; the host keeps them valid until the instance is removed.
    pub sif: *const SpiceBaseInterface,
}
layout!(SpiceBaseInstance, 8, { sif: 0 });

/// Kind of the core interface.
pub const SPICE_INTERFACE_CORE: &str = "core";
/// Major version of the core interface.
pub const SPICE_INTERFACE_CORE_MAJOR: u32 = 1;
/// Minor version of the core interface; 3 added `channel_event`.
pub const SPICE_INTERFACE_CORE_MINOR: u32 = 3;

/// Watch bit: the descriptor can be read.
pub const SPICE_WATCH_EVENT_READ: c_int = 1;
/// Watch bit: the descriptor can be written.
pub const SPICE_WATCH_EVENT_WRITE: c_int = 2;

/// A connection was accepted.
pub const SPICE_CHANNEL_EVENT_CONNECTED: c_int = 1;
/// A connection became a channel: it is authenticated and its type is known.
pub const SPICE_CHANNEL_EVENT_INITIALIZED: c_int = 2;
/// A connection ended; its information is invalid when the callback has returned.
pub const SPICE_CHANNEL_EVENT_DISCONNECTED: c_int = 3;

/// Event flag: the connection is encrypted.
pub const SPICE_CHANNEL_EVENT_FLAG_TLS: c_int = 1;
/// Event flag: the `_ext` members are filled; always set by this server.
pub const SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT: c_int = 2;

/// A watched descriptor; defined by the host.
#[derive(Debug)]
pub struct SpiceWatch {
    _opaque: [u8; 0],
}

/// Called when a watched descriptor is ready; `event` holds watch bits.
pub type SpiceWatchFunc =
    Option<unsafe extern "C" fn(fd: c_int, event: c_int, opaque: *mut c_void)>;

/// A timer; defined by the host.
#[derive(Debug)]
pub struct SpiceTimer {
    _opaque: [u8; 0],
}

/// Called when a timer fires.
pub type SpiceTimerFunc = Option<unsafe extern "C" fn(opaque: *mut c_void)>;

/// One connection, as told to the host.
///
/// The same object is passed with every event of a connection and stays valid until the callback
/// of its DISCONNECTED event has returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SpiceChannelEventInfo {
    /// Connection id that the channels of one client share.
    pub connection_id: c_int,
    /// Channel type, `SPICE_CHANNEL_*` of spice-protocol.
    pub r#type: c_int,
    /// Channel number among those of its type.
    pub id: c_int,
    /// `SPICE_CHANNEL_EVENT_FLAG_*`.
    pub flags: c_int,
    /// Local address, cut to 16 bytes (deprecated).
    pub laddr: SockAddr,
    /// Peer address, cut to 16 bytes (deprecated).
    pub paddr: SockAddr,
    /// Bytes used in `laddr` (deprecated).
    pub llen: SockLen,
    /// Bytes used in `paddr` (deprecated).
    pub plen: SockLen,
    /// Local address.
    pub laddr_ext: SockAddrStorage,
    /// Peer address.
    pub paddr_ext: SockAddrStorage,
    /// Bytes used in `laddr_ext`.
    pub llen_ext: SockLen,
    /// Bytes used in `paddr_ext`.
    pub plen_ext: SockLen,
}
layout!(SpiceChannelEventInfo, 320, {
    connection_id: 0, r#type: 4, id: 8, flags: 12, laddr: 16, paddr: 32, llen: 48, plen: 52,
    laddr_ext: 56, paddr_ext: 184, llen_ext: 312, plen_ext: 316,
});

/// The host's event loop. The server calls it on the thread that drives it, or inside an API call.
#[repr(C)]
#[derive(Debug)]
pub struct SpiceCoreInterface {
    /// Kind "core"; the texts may be NULL.
    pub base: SpiceBaseInterface,
    /// Makes a timer that is not running.
    pub timer_add:
        Option<unsafe extern "C" fn(func: SpiceTimerFunc, opaque: *mut c_void) -> *mut SpiceTimer>,
    /// Arms a timer to fire once after `ms` milliseconds; re-arms a running one.
    pub timer_start: Option<unsafe extern "C" fn(timer: *mut SpiceTimer, ms: u32)>,
    /// Stops a timer.
    pub timer_cancel: Option<unsafe extern "C" fn(timer: *mut SpiceTimer)>,
    /// Frees a timer.
    pub timer_remove: Option<unsafe extern "C" fn(timer: *mut SpiceTimer)>,
    /// Watches a descriptor for the bits of `event_mask`.
    pub watch_add: Option<
        unsafe extern "C" fn(
            fd: c_int,
            event_mask: c_int,
            func: SpiceWatchFunc,
            opaque: *mut c_void,
        ) -> *mut SpiceWatch,
    >,
    /// Changes the bits that are watched; 0 pauses the watch.
    pub watch_update_mask: Option<unsafe extern "C" fn(watch: *mut SpiceWatch, event_mask: c_int)>,
    /// Ends a watch and frees it.
    pub watch_remove: Option<unsafe extern "C" fn(watch: *mut SpiceWatch)>,
    /// Tells of a connection; `event` is one of `SPICE_CHANNEL_EVENT_*`. Since minor version 3.
    pub channel_event: Option<unsafe extern "C" fn(event: c_int, info: *mut SpiceChannelEventInfo)>,
}
layout!(SpiceCoreInterface, 88, {
    base: 0, timer_add: 24, timer_start: 32, timer_cancel: 40, timer_remove: 48, watch_add: 56,
    watch_update_mask: 64, watch_remove: 72, channel_event: 80,
});

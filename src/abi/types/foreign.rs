//! Types that other headers define: the C library's and spice-protocol's.
//!
//! The generated header includes those headers, so nothing here is written into it.

use std::ffi::c_void;

/// `socklen_t`.
pub type SockLen = u32;

/// `struct sockaddr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SockAddr {
    /// Address family (`AF_*`).
    pub family: u16,
    /// The address, in the form of the family; too short for IPv6.
    pub data: [u8; 14],
}
layout!(SockAddr, 16, { family: 0, data: 2 });

/// `struct sockaddr_storage`: room for an address of any family.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct SockAddrStorage {
    /// Address family (`AF_*`).
    pub family: u16,
    /// The address, in the form of the family.
    pub data: [u8; 126],
}
layout!(SockAddrStorage, 128, { family: 0, data: 2 });

impl Default for SockAddrStorage {
    fn default() -> Self {
        Self { family: 0, data: [0; 126] }
    }
}

/// `FILE` of the C library; only passed on.
#[derive(Debug)]
pub struct File {
    _opaque: [u8; 0],
}

/// `SpiceImageCompression` of `spice/enums.h`: how images are sent.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpiceImageCompression(pub u32);

impl SpiceImageCompression {
    /// No value; refused with a warning.
    pub const INVALID: Self = Self(0);
    /// Raw bitmaps.
    pub const OFF: Self = Self(1);
    /// GLZ or QUIC, by content; the default.
    pub const AUTO_GLZ: Self = Self(2);
    /// LZ or QUIC, by content.
    pub const AUTO_LZ: Self = Self(3);
    /// QUIC only.
    pub const QUIC: Self = Self(4);
    /// GLZ only.
    pub const GLZ: Self = Self(5);
    /// LZ only.
    pub const LZ: Self = Self(6);
    /// LZ4 only.
    pub const LZ4: Self = Self(7);
}

/// `QXLPHYSICAL` of `spice/qxl_dev.h`: an address in the guest's view of a memory slot.
pub type QXLPhysical = u64;

/// `QXLRect` of `spice/qxl_dev.h`; packed, so a pointer to it may be unaligned.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QXLRect {
    /// First row inside.
    pub top: i32,
    /// First column inside.
    pub left: i32,
    /// First row below.
    pub bottom: i32,
    /// First column to the right.
    pub right: i32,
}
layout!(QXLRect, 16, { top: 0, left: 4, bottom: 8, right: 12 });

/// `QXLCommand` of `spice/qxl_dev.h`.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QXLCommand {
    /// Guest address of the command.
    pub data: QXLPhysical,
    /// `QXL_CMD_*`.
    pub r#type: u32,
    /// Unused.
    pub padding: u32,
}
layout!(QXLCommand, 16, { data: 0, r#type: 8, padding: 12 });

/// `QXLCommandExt` of `spice/qxl_dev.h`: a command and where its memory is.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QXLCommandExt {
    /// The command as the guest wrote it.
    pub cmd: QXLCommand,
    /// Memory slot group that the addresses belong to.
    pub group_id: u32,
    /// `QXL_COMMAND_FLAG_*`.
    pub flags: u32,
}
layout!(QXLCommandExt, 24, { cmd: 0, group_id: 16, flags: 20 });

/// `QXLReleaseInfoExt` of `spice/qxl_dev.h`: the resource handed back to the guest, by value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct QXLReleaseInfoExt {
    /// The `QXLReleaseInfo` at the head of the resource, in guest memory.
    pub info: *mut c_void,
    /// Memory slot group that the resource belongs to.
    pub group_id: u32,
}
layout!(QXLReleaseInfoExt, 16, { info: 0, group_id: 8 });

/// `VDAgentMonitorsConfig` of `spice/vd_agent.h`: head of a message of variable length.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VDAgentMonitorsConfig {
    /// Number of `VDAgentMonConfig` records behind this head.
    pub num_of_monitors: u32,
    /// `VD_AGENT_CONFIG_MONITORS_FLAG_*`.
    pub flags: u32,
}
layout!(VDAgentMonitorsConfig, 8, { num_of_monitors: 0, flags: 4 });

//! What the host gives for one QXL instance, and what it gets back.
//!
//! Everything here runs on thread display-N: hosts assume a single worker per instance, their release rings have
//! no lock.
#![forbid(unsafe_code)]

pub use super::guest::HostAddress;
use crate::protocol::geometry::Rect;

/// The command was made by a driver from before 0.6 (`QXL_COMMAND_FLAG_COMPAT`).
pub const FLAG_COMPAT: u32 = 1;
/// Colours of the command are x1r5g5b5 (`QXL_COMMAND_FLAG_COMPAT_16BPP`).
pub const FLAG_COMPAT_16BPP: u32 = 2;

/// A command as the host pops it from a ring (`QXLCommandExt`); nothing of it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandExt {
    /// Guest address of the payload.
    pub data: u64,
    /// `QXL_CMD_*`.
    pub kind: u32,
    /// Memory slot group of all addresses in the command.
    pub group_id: u32,
    /// `FLAG_*`, set by the host and not by the guest.
    pub flags: u32,
}

/// The right to give one command's memory back to the guest (`QXLReleaseInfoExt`).
///
/// Exactly one exists per command and it cannot be copied, so handing it to
/// [`QxlDevice::release_resource`] happens once at most; dropping it leaks guest memory and is
/// right only when the device was reset meanwhile.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a command that is not released starves the guest of memory"]
pub struct ReleaseInfo {
    address: HostAddress,
    group_id: u32,
}

impl ReleaseInfo {
    /// For the parser, which makes one per command, and for tests of other rooms.
    pub fn new(address: HostAddress, group_id: u32) -> Self {
        Self { address, group_id }
    }

    /// Where the command lies in the host's process.
    #[must_use]
    pub fn address(&self) -> HostAddress {
        self.address
    }

    /// Memory slot group of the command.
    #[must_use]
    pub fn group_id(&self) -> u32 {
        self.group_id
    }
}

/// What the worker asks of the host for one QXL instance (`QXLInterface`).
///
/// Called on thread display-N only, one call at a time, with no lock held that an API call of the
/// host could need.
pub trait QxlDevice: Send {
    /// Pops a display command; `None` if there is none now.
    fn get_command(&mut self) -> Option<CommandExt>;

    /// Asks for a wakeup at the next display command; false: there is one already, poll again.
    fn req_cmd_notification(&mut self) -> bool;

    /// Pops a cursor command.
    fn get_cursor_command(&mut self) -> Option<CommandExt>;

    /// As [`req_cmd_notification`](Self::req_cmd_notification) for the cursor ring.
    fn req_cursor_notification(&mut self) -> bool;

    /// Gives a command's memory back to the guest.
    fn release_resource(&mut self, release: ReleaseInfo);

    /// Answers an update command, after rendering.
    fn notify_update(&mut self, update_id: u32);

    /// Publishes the releases made so far; returns how many there were. Only when the guest ran
    /// out of memory: hosts without a guest driver abort in it.
    fn flush_resources(&mut self) -> i32;

    /// Completes an asynchronous request: exactly once for each.
    fn async_complete(&mut self, cookie: u64);

    /// Tells what an asynchronous `update_area` found changed, before its completion.
    fn update_area_complete(&mut self, surface: u32, rects: &[Rect]);

    /// Tells the guest what its clients can do: bit n is `SPICE_DISPLAY_CAP` n, all zero without
    /// a client. Only while the machine runs.
    fn set_client_capabilities(&mut self, present: bool, caps: &[u8; 58]);
}

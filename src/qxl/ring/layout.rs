//! Where things lie in the QXL RAM header (`QXLRam`, spec 10 §3 and §4) and what its bits mean.

/// Bytes of the header.
pub const RAM_BYTES: usize = 5348;
/// "QXRA".
pub const RAM_MAGIC: u32 = 0x4152_5851;

/// Interrupts that wait to be seen by the guest.
pub const INT_PENDING: usize = 4;
/// Interrupts that the guest wants to be told of.
pub const INT_MASK: usize = 8;
/// The rings.
pub const COMMAND_RING: usize = 4108;
/// See above.
pub const CURSOR_RING: usize = 4640;
/// See above.
pub const RELEASE_RING: usize = 5172;

/// Within a ring: free-running number of the next item to be written.
pub const PROD: usize = 4;
/// Within a ring: the producer tells when `prod` reaches this.
pub const NOTIFY_ON_PROD: usize = 8;
/// Within a ring: free-running number of the next item to be read.
pub const CONS: usize = 12;
/// Within a ring: the consumer tells when `cons` reaches this.
pub const NOTIFY_ON_CONS: usize = 16;
/// Within a ring: the first item.
pub const ITEMS: usize = 20;

/// Items of the command and of the cursor ring, whatever `num_items` says.
pub const COMMANDS: u32 = 32;
/// Bytes of a command: address 8, type 4, padding 4.
pub const COMMAND_BYTES: usize = 16;
/// Items of the release ring, 8 bytes each.
pub const RELEASES: u32 = 8;
/// Bytes of a release item.
pub const RELEASE_BYTES: usize = 8;

/// The display ring has been read, or something was released.
pub const INT_DISPLAY: u32 = 1;
/// The cursor ring has been read.
pub const INT_CURSOR: u32 = 2;
/// The guest broke a rule of the rings.
pub const INT_ERROR: u32 = 8;

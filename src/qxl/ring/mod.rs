//! QXL rings in shared memory: commands come from the mapping, releases go there, and the host is not called for it.
//!
//! [`RingSetup`] is what a hypervisor hands over, checked on its thread. [`RingDevice`] is one attached device: it
//! belongs to thread display-N, is the only consumer of the command and the cursor ring and the only producer of the
//! release ring. Layout and order of accesses are those of the rings themselves (spec 10 §4).
//!
//! The other side is not trusted: of its indices only `prod` counts, and one that is impossible ends the reading of that
//! ring; our own indices are kept here and only written there.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};

use super::command::{CommandExt, ReleaseInfo};
use super::guest::HostAddress;
use super::memslot::MemSlots;
use layout::{
    COMMAND_RING, COMMANDS, CURSOR_RING, INT_CURSOR, INT_DISPLAY, INT_ERROR, INT_MASK, INT_PENDING,
    RAM_BYTES, RAM_MAGIC, RELEASE_RING,
};
use mapping::Mapping;
use reader::{Reader, Taken};
use releases::{Published, Releases, load};

pub mod layout;
pub mod mapping;
mod pages;
mod reader;
mod releases;

#[cfg(test)]
use pages::PAGE;
use pages::Pages;

/// Memory slots that one ring may bring.
pub const MAX_SLOTS: usize = 256;

/// Why a ring was not attached. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The file could get shorter while we read it.
    #[error("the memory is no file that is sealed against shrinking (F_SEAL_SHRINK)")]
    MayShrink,
    /// Huge pages can be taken away by whoever has the file.
    #[error("the memory has huge pages")]
    HugePages,
    /// The file does not hold this.
    #[error("the memory does not have {0} bytes")]
    Size(u64),
    /// The kernel says no.
    #[error("the memory cannot be mapped: {0}")]
    Map(#[source] std::io::Error),
    /// The header is not inside, or not at a multiple of four.
    #[error("no RAM header fits at {0:#x}")]
    Header(u64),
    /// It does not begin with "QXRA".
    #[error("there is no RAM header, {0:#x} is no magic number")]
    Magic(u32),
    /// A slot is empty or not inside the memory.
    #[error("slot {0} is empty or not inside the memory")]
    Slot(u32),
    /// Two slots share memory or a number.
    #[error("slots {0} and {1} overlap")]
    Overlap(u32, u32),
    /// None, or far too many.
    #[error("{0} slots")]
    Slots(usize),
    /// The device has no such group or slot.
    #[error("the device has no slot {slot} in group {group}")]
    NoSuchSlot {
        /// Group of the slot.
        group: u32,
        /// The slot.
        slot: u32,
    },
    /// One of the two descriptors is no eventfd that does not block.
    #[error("the descriptor for {0} is no eventfd, or one that blocks")]
    EventFd(&'static str),
    /// There is a ring already.
    #[error("a ring is attached already")]
    Attached,
    /// The thread of the display is gone, or the reactor takes no more.
    #[error("the display does not take it: {0}")]
    Display(String),
}

/// A memory slot of a ring: a part of the memory and the guest's addresses of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSlot {
    /// Its number.
    pub id: u32,
    /// The generation that addresses carry.
    pub generation: u32,
    /// First byte in the memory.
    pub offset: u64,
    /// Bytes, at least 1.
    pub size: u64,
    /// The guest's address of the first byte, without slot and generation.
    pub guest_start: u64,
}

/// Where the rings stood when they were detached before; all zero for a fresh device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingPosition {
    /// Commands taken from the command ring so far, wrapping.
    pub commands: u32,
    /// Commands taken from the cursor ring so far, wrapping.
    pub cursors: u32,
    /// Offset in the memory of the last command of a chain that was not published; 0: none.
    pub open_release: u64,
    /// Commands of that chain.
    pub open_releases: u32,
}

/// What a hypervisor hands over.
#[derive(Debug)]
pub struct RingSetup {
    mapping: Arc<Mapping>,
    ram: usize,
    group: u32,
    slots: Vec<RingSlot>,
    interrupt: OwnedFd,
    position: RingPosition,
}

impl RingSetup {
    /// Maps the memory and checks everything that can be checked without the device.
    ///
    /// # Errors
    /// [`AttachError`].
    #[expect(clippy::too_many_arguments, reason = "each one is a part of what is handed over")]
    pub fn new(
        memory: &OwnedFd,
        size: u64,
        ram: u64,
        group: u32,
        slots: Vec<RingSlot>,
        kick: &OwnedFd,
        interrupt: OwnedFd,
        position: RingPosition,
    ) -> Result<Self, AttachError> {
        let mapping = Mapping::new(memory, size)?;
        let offset = usize::try_from(ram).ok().filter(|ram| ram.is_multiple_of(4));
        let fits = |ram: &usize| ram.checked_add(RAM_BYTES).is_some_and(|end| end <= mapping.len());
        let offset = offset.filter(fits).ok_or(AttachError::Header(ram))?;
        let magic = load(&mapping, offset);
        if magic != RAM_MAGIC {
            return Err(AttachError::Magic(magic));
        }
        if slots.is_empty() || slots.len() > MAX_SLOTS {
            return Err(AttachError::Slots(slots.len()));
        }
        for (at, slot) in slots.iter().enumerate() {
            if mapping.slot(group, slot).is_none() {
                return Err(AttachError::Slot(slot.id));
            }
            let shares = |other: &&RingSlot| {
                other.id == slot.id
                    || (other.offset < slot.offset + slot.size
                        && slot.offset < other.offset + other.size)
            };
            if let Some(other) = slots.iter().take(at).find(shares) {
                return Err(AttachError::Overlap(other.id, slot.id));
            }
        }
        if !is_eventfd(kick) {
            return Err(AttachError::EventFd("kicks"));
        }
        let writes_wait =
            !fcntl_getfl(&interrupt).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        if writes_wait || !is_eventfd(&interrupt) {
            return Err(AttachError::EventFd("interrupts"));
        }
        Ok(Self { mapping: Arc::new(mapping), ram: offset, group, slots, interrupt, position })
    }
}

/// As far as the kernel tells: nothing else has this name under /proc.
fn is_eventfd(fd: &OwnedFd) -> bool {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    name.is_ok_and(|name| name.as_os_str() == "anon_inode:[eventfd]")
}

/// What was left when a ring was detached, for whoever goes on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RingState {
    /// Where the rings stand.
    pub position: RingPosition,
    /// Guest addresses of the commands that made the surfaces that exist.
    pub surfaces: Vec<u64>,
    /// Guest address of the command that set the shape of the pointer; 0: none.
    pub cursor: u64,
    /// A bit for each page of 4 KiB of the memory, lowest bit first: it was written, or may have been.
    pub dirty: Vec<u64>,
}

/// An attached device.
#[derive(Debug)]
pub struct RingDevice {
    mapping: Arc<Mapping>,
    ram: usize,
    group: u32,
    slots: Vec<RingSlot>,
    commands: Reader,
    cursors: Reader,
    releases: Releases,
    interrupt: OwnedFd,
    dirty: Pages,
}

impl RingDevice {
    /// Takes the rings over and makes the slots the only ones of their group.
    ///
    /// # Errors
    /// [`AttachError::NoSuchSlot`]; the group is empty then.
    pub fn new(setup: RingSetup, slots: &mut MemSlots) -> Result<Self, AttachError> {
        let RingSetup { mapping, ram, group, slots: parts, interrupt, position } = setup;
        slots.reset_group(group);
        for part in &parts {
            let slot = mapping.slot(group, part).ok_or(AttachError::Slot(part.id))?;
            if slots.add(slot).is_err() {
                slots.reset_group(group);
                return Err(AttachError::NoSuchSlot { group, slot: part.id });
            }
        }
        let reader = |ring, cons| Reader::new(ram + ring, cons);
        let open = usize::try_from(position.open_release).ok().filter(|open| *open != 0);
        let dirty = Pages::new(mapping.len());
        let releases = Releases::new(&mapping, ram + RELEASE_RING, open, position.open_releases);
        Ok(Self {
            ram,
            group,
            commands: reader(COMMAND_RING, position.commands),
            cursors: reader(CURSOR_RING, position.cursors),
            releases,
            interrupt,
            dirty,
            slots: parts,
            mapping,
        })
    }

    /// The group of its slots.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// The next display command.
    pub fn command(&mut self) -> Option<CommandExt> {
        if self.commands.held() == 0 {
            let taken = self.commands.take(&self.mapping, self.group);
            self.tell(taken, INT_DISPLAY);
        }
        self.commands.pop()
    }

    /// The next cursor command.
    pub fn cursor_command(&mut self) -> Option<CommandExt> {
        if self.cursors.held() == 0 {
            let taken = self.cursors.take(&self.mapping, self.group);
            self.tell(taken, INT_CURSOR);
        }
        self.cursors.pop()
    }

    /// Commands that were taken from the rings and not handed on: (display, cursor). They are nowhere else any more.
    #[must_use]
    pub fn taken(&self) -> (usize, usize) {
        (self.commands.held(), self.cursors.held())
    }

    fn tell(&mut self, taken: Taken, interrupt: u32) {
        match taken {
            Taken::Nothing => return,
            Taken::Impossible(waiting) => {
                tracing::warn!("{waiting} commands in a ring of {COMMANDS}: it is not read again");
                self.raise(INT_ERROR);
            }
            Taken::Some => {}
            Taken::Wanted => self.raise(interrupt),
        }
        self.dirty.mark(self.ram, RAM_BYTES);
    }

    /// Lets the guest kick at its next display command; false if there is one already.
    pub fn arm_commands(&mut self) -> bool {
        self.commands.arm(&self.mapping)
    }

    /// The same for cursor commands.
    pub fn arm_cursors(&mut self) -> bool {
        self.cursors.arm(&self.mapping)
    }

    /// Gives a command back to the guest; hands it back if it does not lie in this memory.
    ///
    /// # Errors
    /// The release information of a command of the host's.
    pub fn release(&mut self, release: ReleaseInfo) -> Result<(), ReleaseInfo> {
        let Some(offset) = self.mapping.offset_of(release.address(), 8) else {
            return Err(release);
        };
        self.dirty.mark(offset, 8);
        if self.releases.add(&self.mapping, offset) {
            self.publish();
        }
        Ok(())
    }

    /// Publishes what was released; returns how many commands the guest had not been told of.
    pub fn publish(&mut self) -> i32 {
        let open = self.releases.open().map_or(0, |(_, count)| count);
        match self.releases.publish(&self.mapping) {
            Published::Not => return 0,
            Published::Quietly => {}
            Published::Tell => self.raise(INT_DISPLAY),
        }
        self.dirty.mark(self.ram, RAM_BYTES);
        i32::try_from(open).unwrap_or(i32::MAX)
    }

    /// Notes that bytes of the guest's memory were or may have been written, for the log.
    pub fn wrote(&mut self, address: HostAddress, len: usize) {
        if let Some(offset) = self.mapping.offset_of(address, len) {
            self.dirty.mark(offset, len);
        }
    }

    /// True if these bytes lie in this memory.
    #[must_use]
    pub fn holds(&self, address: HostAddress, len: usize) -> bool {
        self.mapping.offset_of(address, len).is_some()
    }

    /// Words of the log of pages.
    #[must_use]
    pub fn dirty_words(&self) -> usize {
        self.dirty.words()
    }

    /// The guest's address of a command, with slot and generation. `slots` are the device's.
    #[must_use]
    pub fn guest_address(&self, slots: &MemSlots, release: &ReleaseInfo) -> Option<u64> {
        let offset = self.mapping.offset_of(release.address(), 1)? as u64;
        let inside = |slot: &&RingSlot| offset >= slot.offset && offset - slot.offset < slot.size;
        let slot = self.slots.iter().find(inside)?;
        Some(slots.address(slot.id, slot.generation, offset - slot.offset + slot.guest_start))
    }

    /// Gives the rings up, when nothing is [`taken`](Self::taken) any more. What the guest had not been told of is published if there is room; surfaces and pointer are
    /// the caller's to add.
    #[must_use]
    pub fn detach(mut self) -> RingState {
        self.publish();
        let (last, count) = self.releases.open().unwrap_or((0, 0));
        let position = RingPosition {
            commands: self.commands.position(),
            cursors: self.cursors.position(),
            open_release: last as u64,
            open_releases: count,
        };
        RingState { position, dirty: self.dirty.take(), ..RingState::default() }
    }

    /// Sets interrupts and tells the guest, unless they were set before or it does not want to be told.
    fn raise(&self, bits: u32) {
        let (Some(pending), Some(mask)) =
            (self.mapping.word(self.ram + INT_PENDING), self.mapping.word(self.ram + INT_MASK))
        else {
            return;
        };
        let before = u32::from_le(pending.fetch_or(bits.to_le(), Ordering::SeqCst));
        let wanted = u32::from_le(mask.load(Ordering::SeqCst)) & bits;
        if before & bits == bits || wanted == 0 {
            return;
        }
        // The flag that keeps a write from blocking is the other side's as well, and a count that nobody reads can be
        // full: only a descriptor that takes a write now is written.
        let mut ready = [PollFd::new(&self.interrupt, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ready, Some(&now)).is_ok_and(|n| n > 0) {
            let _ = rustix::io::write(&self.interrupt, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests;

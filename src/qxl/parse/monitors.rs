//! The guest driver's layout of monitors.

use super::source::fetch;
use crate::protocol::wire::{Reader, TooShort};
use crate::qxl::guest::GuestError;
use crate::qxl::memslot::{AddressError, MemSlots};

/// Bytes of `QXLMonitorsConfig` before its heads.
const HEADER: usize = 2 /* count */ + 2 /* max allowed */;
/// Bytes of `QXLHead`.
const HEAD: usize = 7 * 4;

/// Where the guest wants its monitors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorsConfig {
    /// Monitors that the guest's device could have, at most the cap.
    pub max_allowed: u16,
    /// 1..=`max_allowed` monitors; some may have no area.
    pub heads: Vec<Head>,
}

/// One monitor (`QXLHead`); nothing of it is checked against surfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Number of the monitor.
    pub id: u32,
    /// The surface that it shows.
    pub surface_id: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Column on the surface.
    pub x: u32,
    /// Row on the surface.
    pub y: u32,
    /// No meaning is defined.
    pub flags: u32,
}

/// Why a layout was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MonitorsError {
    /// Not even one monitor lies in guest memory. Nothing can be concluded about the driver.
    #[error("monitors config: {0}")]
    NotMapped(AddressError),
    /// No monitor. As with the errors below, the driver has announced itself by this.
    #[error("monitors config without a monitor")]
    None,
    /// More monitors than the guest itself allows.
    #[error("{count} monitors, the guest allows {max_allowed}")]
    TooMany {
        /// Monitors in the layout.
        count: u16,
        /// Monitors that the guest allows; 0 is not "any number".
        max_allowed: u16,
    },
    /// Not all monitors lie in guest memory.
    #[error("monitors: {0}")]
    Heads(AddressError),
    /// They could not be copied.
    #[error("monitors: {0}")]
    Copy(#[from] GuestError),
    /// A structure ends before its last field.
    #[error("monitors: {0}")]
    Short(#[from] TooShort),
}

impl MonitorsError {
    /// Whether the driver is now known to send layouts, which keeps the server from sending its
    /// own at the next primary surface.
    #[must_use]
    pub fn driver_spoke(&self) -> bool {
        !matches!(self, Self::NotMapped(_))
    }
}

/// Parses `QXLMonitorsConfig` at a guest address; at most `cap` monitors are kept.
///
/// The number of monitors is read once and only the copy is used (the reference read it twice,
/// CVE-2015-3247).
///
/// # Errors
/// [`MonitorsError`]: ignore the layout.
pub fn parse_monitors_config(
    slots: &MemSlots,
    addr: u64,
    group: u32,
    cap: u32,
) -> Result<MonitorsConfig, MonitorsError> {
    // The rule asks for room for one monitor before anything is believed.
    let first: [u8; HEADER + HEAD] = fetch(slots, addr, group).map_err(MonitorsError::NotMapped)?;
    let mut fields = Reader::new(&first);
    let (count, max_allowed) = (fields.u16()?, fields.u16()?);
    if count == 0 {
        return Err(MonitorsError::None);
    }
    if count > max_allowed {
        return Err(MonitorsError::TooMany { count, max_allowed });
    }
    let all = slots
        .resolve_after(addr, group, HEADER as u64, u64::from(count) * HEAD as u64)
        .map_err(MonitorsError::Heads)?;
    let cap = u16::try_from(cap.max(1)).unwrap_or(u16::MAX);
    let kept = count.min(cap);
    let kept = all.prefix(usize::from(kept) * HEAD);
    let bytes = kept.to_vec(kept.len())?;
    let mut fields = Reader::new(&bytes);
    let mut heads = Vec::with_capacity(bytes.len() / HEAD);
    while !fields.rest().is_empty() {
        heads.push(Head {
            id: fields.u32()?,
            surface_id: fields.u32()?,
            width: fields.u32()?,
            height: fields.u32()?,
            x: fields.u32()?,
            y: fields.u32()?,
            flags: fields.u32()?,
        });
    }
    Ok(MonitorsConfig { max_allowed: max_allowed.min(cap), heads })
}

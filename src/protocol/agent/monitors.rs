//! Layouts of monitors that clients wish for (`VDAgentMonitorsConfig`).

use super::super::wire::Reader;
use super::AgentError;

/// Monitors that a message of the greatest size describes, with their sizes in millimetres.
const MAX_MONITORS: usize = 256;
/// Bytes before the monitors: count and flags.
const LAYOUT_HEAD: usize = 8;
/// Bytes of one monitor: height, width, depth, x, y.
const MONITOR: usize = 20;
/// Bytes of one size in millimetres: height and width.
const MILLIMETRES: usize = 4;
/// Largest message of monitors: clients may not make the server collect more.
pub const MONITORS_MAX: usize = LAYOUT_HEAD + MAX_MONITORS * (MONITOR + MILLIMETRES);

/// Flags of a layout that are known; the others are not passed on.
const USE_POSITION: u32 = 1;
const PHYSICAL_SIZE: u32 = 2;

/// The monitors that a client wishes for (`VDAgentMonitorsConfig`); its count fits its size.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientMonitors {
    words: Vec<u32>,
}

impl ClientMonitors {
    /// Reads the data of a message.
    ///
    /// # Errors
    /// [`AgentError::MonitorsTooShort`]; surplus bytes are cut.
    pub fn parse(data: &[u8]) -> Result<Self, AgentError> {
        let have = data.len();
        let mut fields = Reader::new(data);
        let (Ok(count), Ok(flags)) = (fields.u32(), fields.u32()) else {
            return Err(AgentError::MonitorsTooShort { count: 0, flags: 0, have });
        };
        let flags = flags & (USE_POSITION | PHYSICAL_SIZE);
        let sizes = if flags & PHYSICAL_SIZE == 0 { 0 } else { MILLIMETRES };
        let need = usize::try_from(count).ok().and_then(|n| n.checked_mul(MONITOR + sizes));
        let body = need.and_then(|need| fields.rest().get(..need));
        let Some(body) = body else {
            return Err(AgentError::MonitorsTooShort { count, flags, have });
        };
        let mut words = vec![count, flags];
        words.extend(body.as_chunks().0.iter().copied().map(u32::from_le_bytes));
        Ok(Self { words })
    }

    /// Number of monitors.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.first().copied().unwrap_or(0)
    }

    /// The structure as C has it, in words: count, flags, five words a monitor, then, if the flags
    /// say so, one word a monitor with its size.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

impl std::fmt::Debug for ClientMonitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientMonitors").field("count", &self.count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::wire::WireWrite;
    use super::*;

    fn layout(count: u32, flags: u32, words: u32) -> Vec<u8> {
        let mut data = Vec::new();
        data.put_u32(count).put_u32(flags);
        (0..words).for_each(|n| {
            data.put_u32(n);
        });
        data
    }

    #[test]
    fn a_layout_must_hold_what_it_counts() {
        // Every pair of size and count, with the overflows that CVE-2017-7506 was about.
        for (count, flags, words, fits) in [
            (0, 0, 0, true),
            (1, 0, 5, true),
            (1, 0, 4, false),
            (1, 2, 5, false),
            (1, 2, 6, true),
            (1, 0, 7, true),
            (u32::MAX, 0, 5, false),
            (u32::MAX, 2, 5, false),
            (0x3333_3334, 0, 5, false),
            (0x1000_0000, 0, 5, false),
        ] {
            let layout = ClientMonitors::parse(&layout(count, flags, words));
            assert_eq!(layout.is_ok(), fits, "{count} monitors, flags {flags}, {words} words");
            if let Ok(monitors) = layout {
                assert_eq!(monitors.words()[1], flags);
                let each = if flags & 2 == 0 { 5 } else { 6 };
                assert_eq!(monitors.words()[2..].len(), count as usize * each, "surplus is cut");
            }
        }
        for len in 0..LAYOUT_HEAD {
            assert!(ClientMonitors::parse(&vec![0; len]).is_err(), "{len} bytes");
        }
    }
}

//! Which mouse mode is possible and which one is in force (spec 03 §3). Pure.

use std::collections::BTreeMap;

use crate::channel::Primary;
use crate::protocol::main::{MOUSE_MODE_CLIENT, MOUSE_MODE_SERVER};

/// What follows from a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consequences {
    /// Clients have to be told the modes.
    pub tell_clients: bool,
    /// The tablet has to be told this size.
    pub tablet_size: Option<(u32, u32)>,
}

/// The facts, and the mode.
#[derive(Debug)]
pub struct Mouse {
    /// Displays by QXL id, with their primary surface if they have one.
    displays: BTreeMap<u8, Option<Primary>>,
    /// There are displays of streaming agents besides.
    streams: bool,
    tablet: bool,
    agent: bool,
    agent_mouse: bool,
    allowed: bool,
    mode: u16,
}

impl Mouse {
    /// No display, no tablet, server mode.
    #[must_use]
    pub fn new() -> Self {
        Self {
            displays: BTreeMap::new(),
            streams: false,
            tablet: false,
            agent: false,
            agent_mouse: true,
            allowed: false,
            mode: MOUSE_MODE_SERVER,
        }
    }

    /// The mode in force.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.mode
    }

    /// Bits of the possible modes.
    #[must_use]
    pub fn supported(&self) -> u16 {
        if self.allowed { MOUSE_MODE_SERVER | MOUSE_MODE_CLIENT } else { MOUSE_MODE_SERVER }
    }

    /// Size of the surface that positions refer to.
    #[must_use]
    pub fn size(&self) -> Option<(u32, u32)> {
        self.pointing_display().map(|p| (p.width, p.height))
    }

    /// True if an agent carries the mouse.
    #[must_use]
    pub fn through_agent(&self) -> bool {
        self.agent && self.agent_mouse
    }

    /// Number of displays.
    #[must_use]
    pub fn display_count(&self) -> usize {
        self.displays.len()
    }

    /// A display was added, changed its primary surface, or (`None` inside) lost it.
    pub fn set_display(&mut self, id: u8, primary: Option<Primary>) -> Consequences {
        self.displays.insert(id, primary);
        self.recompute(true)
    }

    /// A display was removed.
    pub fn remove_display(&mut self, id: u8) -> Consequences {
        self.displays.remove(&id);
        self.recompute(false)
    }

    /// There are displays of streaming agents, or none: a tablet does not know which display it points at.
    pub fn set_streams(&mut self, any: bool) -> Consequences {
        self.streams = any;
        self.recompute(false)
    }

    /// A tablet came or went.
    pub fn set_tablet(&mut self, present: bool) -> Consequences {
        self.tablet = present;
        self.recompute(present)
    }

    /// The agent's device came or went.
    pub fn set_agent(&mut self, present: bool) -> Consequences {
        self.agent = present;
        self.recompute(false)
    }

    /// The host allows or forbids the agent's mouse.
    pub fn set_agent_mouse(&mut self, on: bool) -> Consequences {
        self.agent_mouse = on;
        self.recompute(false)
    }

    /// A client asks for a mode. True if it changed.
    pub fn request(&mut self, mode: u16) -> bool {
        let possible = mode == MOUSE_MODE_SERVER || (mode == MOUSE_MODE_CLIENT && self.allowed);
        let changed = possible && mode != self.mode;
        if changed {
            self.mode = mode;
        }
        changed
    }

    fn pointing_display(&self) -> Option<Primary> {
        self.displays.values().flatten().find(|p| p.hardware_cursor).copied()
    }

    fn recompute(&mut self, size_may_differ: bool) -> Consequences {
        let display = self.pointing_display();
        let by_tablet = self.tablet && self.displays.len() == 1 && !self.streams;
        let allowed = display.is_some() && (self.through_agent() || by_tablet);
        let changed = allowed != self.allowed;
        self.allowed = allowed;
        if !allowed {
            self.mode = MOUSE_MODE_SERVER;
        }
        let tell_tablet = allowed && self.tablet && (size_may_differ || changed);
        Consequences {
            tell_clients: changed,
            tablet_size: display.filter(|_| tell_tablet).map(|p| (p.width, p.height)),
        }
    }
}

impl Default for Mouse {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Primary = Primary { width: 640, height: 480, hardware_cursor: true };

    #[test]
    fn client_mode_needs_one_display_with_a_pointer_and_a_tablet() {
        let mut m = Mouse::new();
        assert!(!m.request(MOUSE_MODE_CLIENT));
        m.set_tablet(true);
        assert_eq!(m.supported(), 1);
        let c = m.set_display(0, Some(SCREEN));
        assert_eq!(c, Consequences { tell_clients: true, tablet_size: Some((640, 480)) });
        assert_eq!((m.supported(), m.mode()), (3, MOUSE_MODE_SERVER), "a client has to ask");
        assert!(m.request(MOUSE_MODE_CLIENT));
        assert!(!m.request(3));
        assert!(m.set_streams(true).tell_clients, "so does a streaming agent's display");
        assert!(m.set_streams(false).tell_clients && m.request(MOUSE_MODE_CLIENT));
        assert!(m.set_display(1, None).tell_clients, "a second display forbids the tablet");
        assert_eq!((m.supported(), m.mode()), (1, MOUSE_MODE_SERVER));
    }

    #[test]
    fn losing_the_primary_or_the_tablet_falls_back_to_server_mode() {
        for lose_tablet in [false, true] {
            let mut m = Mouse::new();
            m.set_tablet(true);
            m.set_display(0, Some(SCREEN));
            m.request(MOUSE_MODE_CLIENT);
            let c = if lose_tablet { m.set_tablet(false) } else { m.set_display(0, None) };
            assert!(c.tell_clients);
            assert_eq!(m.mode(), MOUSE_MODE_SERVER);
        }
    }

    #[test]
    fn an_agent_that_may_carry_the_mouse_allows_client_mode_on_any_number_of_displays() {
        let mut m = Mouse::new();
        m.set_display(0, Some(SCREEN));
        m.set_display(1, Some(SCREEN));
        assert!(m.set_agent(true).tell_clients);
        assert!(m.through_agent() && m.request(MOUSE_MODE_CLIENT));
        assert!(m.set_agent_mouse(false).tell_clients, "no tablet stands in with two displays");
        assert_eq!((m.supported(), m.mode()), (1, MOUSE_MODE_SERVER));
        assert!(m.set_agent_mouse(true).tell_clients && m.request(MOUSE_MODE_CLIENT));
        assert!(m.set_agent(false).tell_clients);
        assert_eq!(m.mode(), MOUSE_MODE_SERVER);
        m.remove_display(1);
        m.set_tablet(true);
        m.request(MOUSE_MODE_CLIENT);
        assert!(!m.set_agent(true).tell_clients, "nothing changes for clients");
        assert!(!m.set_agent(false).tell_clients, "the tablet is still there");
        assert_eq!(m.mode(), MOUSE_MODE_CLIENT);
    }

    #[test]
    fn a_resolution_change_tells_the_tablet_and_not_the_clients() {
        let mut m = Mouse::new();
        m.set_tablet(true);
        m.set_display(0, Some(SCREEN));
        let c = m.set_display(0, Some(Primary { width: 800, ..SCREEN }));
        assert_eq!(c, Consequences { tell_clients: false, tablet_size: Some((800, 480)) });
    }
}

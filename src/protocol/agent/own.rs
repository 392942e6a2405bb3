//! What the server itself tells the agent, ready for the device: chunks for [`SERVER_PORT`].

use std::collections::VecDeque;

use super::super::wire::WireWrite;
use super::{CHUNK_HEADER, HEADER, SERVER_PORT, kind, put_chunks, put_message};

/// Mouse states that wait for an agent at which the newest one replaces the one before.
pub const MOUSE_STATES: usize = 64;

/// Where the pointer is and which buttons are down (`VDAgentMouseState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MouseState {
    /// Column on its display, pixels.
    pub x: u32,
    /// Row on its display, pixels.
    pub y: u32,
    /// Buttons as agents have them (see `protocol::inputs::agent_buttons`).
    pub buttons: u32,
    /// Display that the position is on.
    pub display: u8,
}

impl MouseState {
    /// The message with its chunk's header.
    #[must_use]
    pub fn chunk(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(4 + 4 + 4 + 1);
        data.put_u32(self.x).put_u32(self.y).put_u32(self.buttons).put_u8(self.display);
        chunks(kind::MOUSE_STATE, &data)
    }
}

/// Mouse states for an agent that is busy: positions merge, no change of a button is lost.
#[derive(Debug, Default)]
pub struct MouseStates {
    /// Buttons of the state that was taken last.
    taken: u32,
    waiting: VecDeque<MouseState>,
}

impl MouseStates {
    /// Takes a new state. It replaces the newest one if that only moved the pointer, and if
    /// [`MOUSE_STATES`] wait.
    pub fn push(&mut self, state: MouseState) {
        let before = self.waiting.iter().rev().nth(1).map_or(self.taken, |s| s.buttons);
        let full = self.waiting.len() >= MOUSE_STATES;
        match self.waiting.back_mut() {
            Some(last) if full || (last.buttons == before && state.buttons == before) => {
                *last = state;
            }
            _ => self.waiting.push_back(state),
        }
    }

    /// The oldest one that waits.
    pub fn take(&mut self) -> Option<MouseState> {
        let state = self.waiting.pop_front()?;
        self.taken = state.buttons;
        Some(state)
    }

    /// True if none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Which hardware a monitor belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayAddress {
    /// Channel that shows it.
    pub channel: u32,
    /// Monitor on that channel.
    pub monitor: u32,
    /// Number of the display on its hardware.
    pub device_display: u32,
    /// Where the hardware is, for example `pci/0000/02.0`; without the NUL.
    pub address: Vec<u8>,
}

/// CLIENT_DISCONNECTED: the last client has left.
#[must_use]
pub fn client_disconnected() -> Vec<u8> {
    chunks(kind::CLIENT_DISCONNECTED, &[])
}

/// GRAPHICS_DEVICE_INFO: all monitors whose hardware is known.
#[must_use]
pub fn device_info(displays: &[DisplayAddress]) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut data = Vec::new();
    data.put_u32(number(displays.len()));
    for display in displays {
        data.put_u32(display.channel).put_u32(display.monitor).put_u32(display.device_display);
        data.put_u32(number(display.address.len() + 1)).put_bytes(&display.address).put_u8(0);
    }
    chunks(kind::GRAPHICS_DEVICE_INFO, &data)
}

fn chunks(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + data.len());
    put_message(&mut message, kind, data);
    let mut bytes = Vec::with_capacity(CHUNK_HEADER + message.len());
    put_chunks(&mut bytes, SERVER_PORT, &message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_of_the_reference() {
        let mut gone = vec![2, 0, 0, 0, 0x14, 0, 0, 0, 1, 0, 0, 0, 13, 0, 0, 0];
        gone.resize(28, 0);
        assert_eq!(client_disconnected(), gone);
        let state = MouseState { x: 0x102, y: 3, buttons: 0x12, display: 1 };
        let mut mouse = vec![2, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        mouse.extend([0, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0]);
        mouse.extend([2, 1, 0, 0, 3, 0, 0, 0, 0x12, 0, 0, 0, 1]);
        assert_eq!(state.chunk(), mouse);
        let display =
            DisplayAddress { channel: 1, monitor: 2, device_display: 3, address: b"pci".to_vec() };
        let info = device_info(&[display]);
        assert_eq!(info[..8], [2, 0, 0, 0, 44, 0, 0, 0]);
        assert_eq!(info[8..16], [1, 0, 0, 0, 16, 0, 0, 0]);
        let mut data = vec![1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];
        data.extend_from_slice(b"pci\0");
        assert_eq!(info[28..], data);
    }

    #[test]
    fn long_messages_are_cut_into_chunks_that_agents_take() {
        let display =
            DisplayAddress { channel: 0, monitor: 0, device_display: 0, address: vec![b'a'; 255] };
        let info = device_info(&vec![display; 16]);
        assert_eq!(info[4..8], 2048u32.to_le_bytes());
        assert_eq!(info.len(), 20 + 4 + 16 * (16 + 256) + 3 * CHUNK_HEADER);
    }

    fn state(x: u32, buttons: u32) -> MouseState {
        MouseState { x, y: 0, buttons, display: 0 }
    }

    fn all(states: &mut MouseStates) -> Vec<(u32, u32)> {
        std::iter::from_fn(|| states.take()).map(|s| (s.x, s.buttons)).collect()
    }

    #[test]
    fn movements_merge_and_clicks_stay_where_they_were() {
        let mut states = MouseStates::default();
        for (x, buttons) in [(1, 0), (2, 0), (2, 2), (3, 2), (4, 2), (4, 0), (5, 0), (6, 0)] {
            states.push(state(x, buttons));
        }
        assert_eq!(all(&mut states), [(2, 0), (2, 2), (4, 2), (4, 0), (6, 0)]);
        states.push(state(7, 2));
        assert_eq!(all(&mut states), [(7, 2)]);
        // The button is down since the last one that was taken: these only move.
        states.push(state(8, 2));
        states.push(state(9, 2));
        assert_eq!(all(&mut states), [(9, 2)]);
    }

    #[test]
    fn turns_of_the_wheel_are_counted() {
        let mut states = MouseStates::default();
        for _ in 0..5 {
            states.push(state(1, 16));
            states.push(state(1, 0));
        }
        assert_eq!(all(&mut states).iter().filter(|s| s.1 == 16).count(), 5);
    }

    #[test]
    fn an_agent_that_never_takes_anything_bounds_the_states() {
        let mut states = MouseStates::default();
        for x in 0..1000 {
            states.push(state(x, x % 2));
        }
        let all = all(&mut states);
        assert_eq!((all.len(), all.last()), (MOUSE_STATES, Some(&(999, 1))));
    }
}

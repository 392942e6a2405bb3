//! The inputs channel (thread `spice-inputs`): keyboard and mouse of all clients.
//!
//! Everything becomes an [`Input`] for the host's main loop, in arrival order. When the host is
//! behind, reading of the clients' sockets pauses; nothing is lost or reordered. A client that comes with a machine from
//! another server may be here before the machine runs, when hosts drop what is typed: that waits for the machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::protocol::caps::ChannelType;
use crate::protocol::handover::{INPUTS_MAX, read_inputs, write_inputs};
use crate::protocol::inputs::{self as wire, InputsRequest, modifier};
use crate::transport::reactor::Key;

use super::Upward;
use super::clients::{Client, Clients};
use super::engine::{Channel, Turn};

/// Lock-key changes are told to clients after this time, when guest LEDs had time to follow.
const LOCK_SYNC: Duration = Duration::from_secs(2);

/// What is kept for a machine that does not run yet; behind it nothing is read.
const HELD_MAX: usize = 256;

/// One thing that a client's user did, for the host's main loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Raw set-1 bytes, prefixes included.
    Scancodes(Vec<u8>),
    /// Relative movement; `buttons` as on the wire.
    Motion {
        /// Columns.
        dx: i32,
        /// Rows.
        dy: i32,
        /// Button mask as on the wire.
        buttons: u16,
    },
    /// Absolute position.
    Position {
        /// Column.
        x: u32,
        /// Row.
        y: u32,
        /// Button mask as on the wire.
        buttons: u16,
        /// Display that the position is on.
        display: u8,
    },
    /// A button went down; 4 and 5 are the wheel.
    Press {
        /// Button number, 1 = left.
        button: u8,
        /// Button mask as on the wire.
        buttons: u16,
    },
    /// A button went up.
    Release {
        /// Button mask as on the wire.
        buttons: u16,
    },
}

impl Input {
    /// What probes call it.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Scancodes(_) => 0,
            Self::Motion { .. } => 1,
            Self::Position { .. } => 2,
            Self::Press { .. } => 3,
            Self::Release { .. } => 4,
        }
    }
}

/// What the inputs channel is told.
#[derive(Debug)]
pub enum InputsOrder {
    /// The host's LEDs, asked for because a client came: answers it with INIT.
    InitialLeds(u8),
    /// The guest changed its LEDs.
    Leds(u8),
}

/// Codes that no key has: what would release them are the prefixes, which would change the meaning of the byte behind.
const NO_RELEASE: std::ops::RangeInclusive<u8> = 0x60..=0x62;

/// Ends a prefix that a client has left open, which would change what the next byte means: the release of a key that there is not.
const NO_KEY: u8 = 0x80;

/// Keys that the clients hold down, so that they can be released when a client goes.
#[derive(Debug)]
struct KeyTracker {
    /// Codes 0..128 plain, 128..256 with the e0 prefix.
    down: [bool; 256],
    prefix: Option<u8>,
}

impl KeyTracker {
    /// Follows one byte; returns the plain code and direction if it ends a key event.
    fn follow(&mut self, byte: u8) -> Option<(u8, bool)> {
        match (self.prefix.take(), byte) {
            (Some(0xe1 | 0xe2), _) => None,
            (_, 0xe0..=0xe2) => {
                self.prefix = Some(byte);
                None
            }
            (prefix, _) => {
                let (code, pressed) = (byte & 0x7f, byte & 0x80 == 0);
                let extended = prefix.is_some();
                let index = usize::from(code) + if extended { 128 } else { 0 };
                self.down[index] = pressed && !NO_RELEASE.contains(&code);
                (!extended).then_some((code, pressed))
            }
        }
    }

    /// What ends an open prefix, before bytes that are not the client's.
    fn end_prefix(&mut self) -> Vec<u8> {
        Vec::from_iter(self.prefix.take().map(|_| NO_KEY))
    }

    /// Bytes that release everything that is down.
    fn release_all(&mut self) -> Vec<u8> {
        let mut bytes = self.end_prefix();
        for code in 0..128u8 {
            if std::mem::take(&mut self.down[usize::from(code)]) {
                bytes.push(code | 0x80);
            }
            if std::mem::take(&mut self.down[usize::from(code) + 128]) {
                bytes.extend_from_slice(&[0xe0, code | 0x80]);
            }
        }
        bytes
    }
}

/// Lock keys: bit in the modifiers and set-1 code, in the order of the protocol's checks.
const LOCKS: [(u16, u8); 3] =
    [(modifier::SCROLL_LOCK, 0x46), (modifier::NUM_LOCK, 0x45), (modifier::CAPS_LOCK, 0x3a)];

/// State of the channel.
pub struct Inputs {
    upward: Arc<dyn Upward>,
    keys: KeyTracker,
    /// Last known LEDs: scroll 1, num 2, caps 4.
    modifiers: u16,
    /// Lock keys that are down now.
    locks_down: u16,
    sync_at: Option<Instant>,
    /// Movements per client since its last ack.
    motions: BTreeMap<Key, u32>,
    /// Clients that wait for their INIT.
    greet: Vec<Key>,
    /// For the host, when it is behind. Bounded: nothing is read while it is not empty, or full of what is held.
    pending: VecDeque<(Input, Instant)>,
    /// When the bytes came that are being handled.
    heard: Instant,
    /// The machine has run since the channel is there.
    ran: bool,
    /// A client has come with a machine that does not run yet.
    holds: bool,
}

impl Inputs {
    /// A channel without clients.
    #[must_use]
    pub fn new(upward: Arc<dyn Upward>) -> Self {
        Self {
            upward,
            keys: KeyTracker { down: [false; 256], prefix: None },
            modifiers: 0,
            locks_down: 0,
            sync_at: None,
            motions: BTreeMap::new(),
            greet: Vec::new(),
            pending: VecDeque::new(),
            heard: Instant::now(),
            ran: false,
            holds: false,
        }
    }

    fn push(&mut self, input: Input) {
        if self.pending.is_empty() && !self.holds {
            if let Err(input) = self.upward.input(input, self.heard) {
                self.pending.push_back((input, self.heard));
            }
        } else {
            self.pending.push_back((input, self.heard));
        }
    }

    fn push_pending(&mut self) {
        while !self.holds
            && let Some((input, heard)) = self.pending.pop_front()
        {
            if let Err(input) = self.upward.input(input, heard) {
                self.pending.push_front((input, heard));
                return;
            }
        }
    }

    fn scancodes(&mut self, bytes: Vec<u8>) {
        for byte in &bytes {
            let Some((code, pressed)) = self.keys.follow(*byte) else { continue };
            let Some((bit, _)) = LOCKS.iter().find(|(_, c)| *c == code) else { continue };
            if !pressed {
                self.locks_down &= !bit;
            } else if self.locks_down & bit == 0 {
                self.locks_down |= bit;
                self.modifiers ^= bit;
                self.sync_at = Some(Instant::now() + LOCK_SYNC);
            }
        }
        self.push(Input::Scancodes(bytes));
    }

    /// A client says how its own LEDs are: press lock keys until the guest's agree.
    fn client_modifiers(&mut self, wanted: u16) {
        for (bit, code) in LOCKS {
            if (wanted ^ self.modifiers) & bit != 0 && self.locks_down & bit == 0 {
                let mut bytes = self.keys.end_prefix();
                bytes.extend([code, code | 0x80]);
                self.push(Input::Scancodes(bytes));
                self.modifiers ^= bit;
            }
        }
        self.sync_at = Some(Instant::now() + LOCK_SYNC);
    }

    /// Does what a client asks for, all but the answer: true if it is a movement, of which clients count the answers.
    pub fn handle(&mut self, request: InputsRequest<'_>) -> bool {
        match request {
            InputsRequest::KeyDown(code) | InputsRequest::KeyUp(code) => {
                let bytes: Vec<u8> = wire::scan_bytes(code).collect();
                if !bytes.is_empty() {
                    self.scancodes(bytes);
                }
            }
            InputsRequest::KeyScancode(bytes) => self.scancodes(bytes.to_vec()),
            InputsRequest::KeyModifiers(wanted) => self.client_modifiers(wanted),
            InputsRequest::MouseMotion { dx, dy, buttons } => {
                self.push(Input::Motion { dx, dy, buttons });
                return true;
            }
            InputsRequest::MousePosition { x, y, buttons, display_id: display } => {
                self.push(Input::Position { x, y, buttons, display });
                return true;
            }
            InputsRequest::MousePress { button, buttons } => {
                self.push(Input::Press { button, buttons });
            }
            InputsRequest::MouseRelease { buttons, .. } => self.push(Input::Release { buttons }),
            // The engine handles what is common to all channels.
            InputsRequest::Common(_) => {}
        }
        false
    }

    /// A client has gone: what it held down comes up.
    pub fn release_keys(&mut self) {
        let bytes = self.keys.release_all();
        self.locks_down = 0;
        if !bytes.is_empty() {
            self.push(Input::Scancodes(bytes));
        }
    }

    fn moved(&mut self, clients: &mut Clients, key: Key) {
        let count = self.motions.entry(key).or_default();
        *count += 1;
        // Who leaves is answered by the other server.
        if *count >= wire::MOTION_ACK_BUNCH && clients.is_here(key) {
            *count = 0;
            clients.send(key, wire::mouse_motion_ack());
        }
    }
}

impl Channel for Inputs {
    type Order = InputsOrder;
    const TYPE: ChannelType = ChannelType::INPUTS;
    const HANDOVER_MAX: usize = INPUTS_MAX;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        self.greet.push(key);
        self.holds |= !self.ran && clients.get(key).is_some_and(|c| c.moved);
        self.upward.ask_leds();
        let plain = clients.get(key).filter(|c| !c.connection.tls).map(|c| c.client);
        if let Some(client) = plain {
            self.upward.insecure_keyboard(client);
        }
    }

    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String> {
        self.heard = clients.get(key).map_or_else(Instant::now, |client| client.heard);
        let request = InputsRequest::parse(kind, body).map_err(|e| e.to_string())?;
        if self.handle(request) {
            self.moved(clients, key);
        }
        Ok(())
    }

    fn order(&mut self, clients: &mut Clients, order: InputsOrder) {
        match order {
            InputsOrder::InitialLeds(leds) => {
                self.modifiers = u16::from(leds);
                for key in std::mem::take(&mut self.greet) {
                    clients.send(key, wire::init(self.modifiers));
                }
            }
            InputsOrder::Leds(leds) => {
                self.modifiers = u16::from(leds);
                clients.broadcast(&wire::key_modifiers(self.modifiers));
            }
        }
    }

    fn flushed(&mut self, clients: &mut Clients, key: Key) {
        let count = self.motions.get(&key).copied().unwrap_or(0);
        clients.give_data(key, write_inputs(u16::try_from(count).unwrap_or(u16::MAX)));
    }

    fn restore(&mut self, clients: &mut Clients, key: Key, data: &[u8]) -> Result<(), String> {
        let count = u32::from(read_inputs(data).map_err(|e| e.to_string())?);
        for _ in 0..count / wire::MOTION_ACK_BUNCH {
            clients.send(key, wire::mouse_motion_ack());
        }
        self.motions.insert(key, count % wire::MOTION_ACK_BUNCH);
        clients.send(key, wire::key_modifiers(self.modifiers));
        Ok(())
    }

    fn machine_runs(&mut self, _clients: &mut Clients) {
        (self.ran, self.holds) = (true, false);
        self.push_pending();
    }

    fn left(&mut self, clients: &mut Clients, key: Key, _client: &Client) {
        // With the client goes what kept it.
        if self.holds && !clients.iter().any(|(_, c)| c.moved) {
            self.holds = false;
            self.pending.clear();
            // The host knows of no key that is down.
            self.keys.release_all();
        }
        self.motions.remove(&key);
        self.greet.retain(|k| *k != key);
        self.heard = Instant::now();
        self.release_keys();
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        self.push_pending();
        match self.sync_at {
            Some(when) if when <= Instant::now() => {
                self.sync_at = None;
                clients.broadcast(&wire::key_modifiers(self.modifiers));
                Turn::Idle
            }
            Some(when) => Turn::At(when),
            None => Turn::Idle,
        }
    }

    fn accepts(&mut self) -> bool {
        self.push_pending();
        self.pending.is_empty() || (self.holds && self.pending.len() < HELD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_keys_are_released_with_their_prefix() {
        let mut keys = KeyTracker { down: [false; 256], prefix: None };
        for byte in [0x1e, 0xe0, 0x48, 0x1f, 0x9f] {
            keys.follow(byte);
        }
        assert_eq!(keys.release_all(), [0x9e, 0xe0, 0xc8]);
        assert!(keys.release_all().is_empty());
    }

    #[test]
    fn no_release_is_a_prefix_of_the_one_behind_it() {
        let mut keys = KeyTracker { down: [false; 256], prefix: None };
        for byte in [0x60, 0x61, 0x62, 0xe0, 0x60, 0x63, 0x6f] {
            keys.follow(byte);
        }
        assert_eq!(keys.release_all(), [0xe3, 0xef]);
    }

    #[test]
    fn a_prefix_that_was_left_open_changes_no_release() {
        let mut keys = KeyTracker { down: [false; 256], prefix: None };
        for byte in [0x1e, 0xe0] {
            keys.follow(byte);
        }
        assert_eq!(keys.release_all(), [NO_KEY, 0x9e]);
        keys.follow(0xe1);
        assert_eq!(keys.release_all(), [NO_KEY]);
        assert!(keys.release_all().is_empty());
    }

    #[test]
    fn the_byte_after_e1_is_not_tracked() {
        let mut keys = KeyTracker { down: [false; 256], prefix: None };
        assert_eq!(keys.follow(0xe1), None);
        assert_eq!(keys.follow(0x1d), None);
        assert!(keys.release_all().is_empty());
    }
}

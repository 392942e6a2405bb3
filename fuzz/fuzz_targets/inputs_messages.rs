//! What a client says on the inputs channel: no panic; however the bytes are cut, the host gets the same, once and in order,
//! also when it is behind at times; and when the client goes no key stays down.
//!
//! Input: two bytes (kind of header and the seed of the cuts; when the host is behind), then bytes of the socket.
#![no_main]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use spice_server::channel::device::{DeviceId, DeviceTask};
use spice_server::channel::engine::Channel;
use spice_server::channel::inputs::{Input, Inputs};
use spice_server::channel::main::{MainState, MigrationEvent};
use spice_server::channel::qos::QosCell;
use spice_server::channel::{ClientId, Primary, Upward};
use spice_server::observe::stats::ServerStats;
use spice_server::protocol::agent::ClientMonitors;
use spice_server::protocol::caps::ChannelType;
use spice_server::protocol::header::Incoming;
use spice_server::protocol::inputs::{InputsRequest, agent_buttons, host_buttons, wheel_motion};
use spice_server::transport::connection::Connection;

/// A host that notes what it gets, and takes nothing while its bit is set.
#[derive(Default)]
struct Host {
    got: Mutex<Vec<Input>>,
    behind: u8,
    asked: AtomicU32,
}

impl Upward for Host {
    fn input(&self, input: Input, _: Instant) -> Result<(), Input> {
        let bit = self.asked.fetch_add(1, Ordering::Relaxed) % 8;
        if self.behind >> bit & 1 != 0 {
            return Err(input);
        }
        self.got.lock().unwrap().push(input);
        Ok(())
    }
    fn stats(&self) -> Arc<ServerStats> {
        unreachable!("the engine's")
    }
    fn qos(&self, _: ChannelType) -> Arc<QosCell> {
        unreachable!("the engine's")
    }
    fn closed(&self, _: &Arc<Connection>, _: ClientId) {}
    fn arrived(&self, _: ClientId) {}
    fn inherits(&self, _: ClientId) {}
    fn hand_over(&self, _: ClientId) {}
    fn migration(&self, _: MigrationEvent) {}
    fn channel_list(&self) -> Vec<(ChannelType, u8)> {
        Vec::new()
    }
    fn request_mouse_mode(&self, _: u16) {}
    fn main_state(&self) -> MainState {
        unreachable!("the main channel's")
    }
    fn ask_leds(&self) {}
    fn primary_changed(&self, _: u8, _: Option<Primary>) {}
    fn client_monitors(&self, _: ClientId, _: ClientMonitors, _: DeviceId, _: Vec<u8>) {}
    fn device(&self, _: DeviceId, _: DeviceTask) {}
    fn device_quietly(&self, _: DeviceId, _: DeviceTask) {}
    fn device_tasks_wait(&self) {}
    fn insecure_keyboard(&self, _: ClientId) {}
    fn sound_clock_stopped(&self) {}
}

/// What the host got until the client was disconnected, and how many movements counted.
fn play(bytes: &[u8], mini: bool, behind: u8, mut split: usize) -> (Vec<Input>, usize) {
    let host = Arc::new(Host { behind, ..Host::default() });
    let mut inputs = Inputs::new(Arc::clone(&host) as Arc<dyn Upward>);
    let incoming = Incoming::new(mini, ChannelType::INPUTS);
    let (mut unread, mut rest, mut movements) = (Vec::new(), bytes, 0);
    'client: while !rest.is_empty() {
        let n = split.min(rest.len()).max(1);
        split = if split == usize::MAX { split } else { split * 5 % 97 + 1 };
        unread.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
        loop {
            let frame = match incoming.next(&unread) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => break 'client,
            };
            // As the engine does: nothing is taken before the host has caught up.
            while !inputs.accepts() {}
            match InputsRequest::parse(frame.kind, &unread[frame.body.clone()]) {
                Ok(request) => {
                    check(request);
                    movements += usize::from(inputs.handle(request));
                }
                Err(_) => break 'client,
            }
            unread.drain(..frame.consumed);
        }
    }
    inputs.release_keys();
    while !inputs.accepts() {}
    let got = std::mem::take(&mut *host.got.lock().unwrap());
    (got, movements)
}

fn check(request: InputsRequest<'_>) {
    match request {
        InputsRequest::MouseMotion { buttons, .. }
        | InputsRequest::MousePosition { buttons, .. }
        | InputsRequest::MouseRelease { buttons, .. } => {
            // Each bit has a place of its own.
            assert_eq!(host_buttons(buttons).count_ones(), (buttons & !0x18).count_ones());
            assert_eq!(agent_buttons(buttons) >> 1, u32::from(buttons));
        }
        InputsRequest::MousePress { button, .. } => assert!((-1..=1).contains(&wheel_motion(button))),
        _ => {}
    }
}

/// Keys that are down after these bytes; the one behind e1 and e2 does not count, nor do codes whose release would be a prefix.
fn held(got: &[Input]) -> usize {
    let (mut down, mut prefix) = ([[false; 128]; 2], 0u8);
    let bytes = got.iter().filter_map(|input| match input {
        Input::Scancodes(bytes) => Some(bytes),
        _ => None,
    });
    for byte in bytes.flatten() {
        match (prefix, *byte) {
            (0xe1 | 0xe2, _) => prefix = 0,
            (_, 0xe0..=0xe2) => prefix = *byte,
            (before, byte) => {
                let key = byte < 0x80 && !(0x60..=0x62).contains(&byte);
                down[usize::from(before == 0xe0)][usize::from(byte & 0x7f)] = key;
                prefix = 0;
            }
        }
    }
    down.iter().flatten().filter(|down| **down).count()
}

fuzz_target!(|input: &[u8]| {
    let [first, behind, bytes @ ..] = input else { return };
    let (mini, split) = (first & 1 == 0, usize::from(first >> 1) + 1);
    let whole = play(bytes, mini, 0, usize::MAX);
    // A host that never takes anything would never be asked again.
    let behind = if *behind == u8::MAX { 0x7f } else { *behind };
    assert_eq!(play(bytes, mini, behind, split), whole);
    assert_eq!(held(&whole.0), 0);
    let moves = whole.0.iter().filter(|i| matches!(i, Input::Motion { .. } | Input::Position { .. }));
    assert_eq!(moves.count(), whole.1);
});

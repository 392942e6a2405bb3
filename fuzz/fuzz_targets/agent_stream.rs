//! A client's stream to the agent, in pieces as it chooses: no panic, no more memory than a layout of
//! monitors may take, and layouts that C code can walk by their own count.
//!
//! Input: pieces, each behind two bytes: its length, in the top bit whether the stream is open, in the next
//! one whether another agent came before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::protocol::agent::{
    ClientMonitors, ClientStream, HEADER, MONITORS_MAX, Piece, Rules,
};
use spice_server::protocol::main::AGENT_DATA_MAX;

const OPEN: u16 = 0x8000;
const INTERRUPTED: u16 = 0x4000;

fuzz_target!(|input: &[u8]| {
    let mut stream = ClientStream::default();
    let mut rest = input;
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let head = u16::from_le_bytes(*head);
        let len = usize::from(head & 0xfff).min(AGENT_DATA_MAX).min(tail.len());
        let (piece, tail) = tail.split_at(len);
        rest = tail;
        if head & INTERRUPTED != 0 {
            stream.interrupted();
        }
        let rules = if head & OPEN == 0 { Rules::NONE } else { Rules::ALL };
        // An error ends the client.
        let Ok(found) = stream.piece(piece, rules) else { return };
        if let Piece::Monitors { monitors, message } = found {
            walk(&monitors);
            assert!(message.len() <= HEADER + MONITORS_MAX);
            // However it was cut, it says the same as in one go.
            assert_eq!(ClientMonitors::parse(&message[HEADER..]), Ok(monitors));
        }
    }
    if let Ok(monitors) = ClientMonitors::parse(input) {
        walk(&monitors);
    }
});

/// As a host does: everything that count and flags promise is there, and nothing behind it.
fn walk(monitors: &ClientMonitors) {
    let words = monitors.words();
    let (count, flags) = (words[0] as usize, words[1]);
    assert!(flags < 4);
    assert_eq!(words.len(), 2 + count * if flags & 2 == 0 { 5 } else { 6 });
    if words.len() * 4 > MONITORS_MAX {
        // Only what was given to the parser by itself may be longer.
        assert!(count > 256);
    }
}

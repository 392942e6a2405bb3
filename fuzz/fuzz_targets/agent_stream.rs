//! A client's stream to the agent, in pieces as it chooses: no panic, no more memory than a layout of
//! monitors may take, and layouts that C code can walk by their own count.
//!
//! Input: pieces, each behind two bytes: its length, and in the top bit whether the stream is open.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::protocol::agent::{ClientMonitors, ClientStream, MONITORS_MAX, Piece};
use spice_server::protocol::main::AGENT_DATA_MAX;

const OPEN: u16 = 0x8000;
const HEADER: usize = 20;

fuzz_target!(|input: &[u8]| {
    let mut stream = ClientStream::default();
    // The message that is being sent, if it is one whole message of an open stream so far.
    let mut whole: Option<Vec<u8>> = None;
    let mut rest = input;
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let head = u16::from_le_bytes(*head);
        let len = usize::from(head & !OPEN).min(AGENT_DATA_MAX).min(tail.len());
        let (piece, tail) = tail.split_at(len);
        rest = tail;
        match &mut whole {
            Some(bytes) => bytes.extend_from_slice(piece),
            None if head & OPEN != 0 => whole = Some(piece.to_vec()),
            None => {}
        }
        // An error ends the client.
        let Ok(found) = stream.piece(piece, head & OPEN != 0) else { return };
        match found {
            Piece::PartOfMonitors => {}
            Piece::Closed | Piece::Message => whole = None,
            Piece::Monitors(monitors) => {
                walk(&monitors);
                // However it was cut, it says the same as in one go.
                if let Some(bytes) = whole.take() {
                    assert_eq!(ClientMonitors::parse(&bytes[HEADER..]), Ok(monitors));
                }
            }
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

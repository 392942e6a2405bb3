//! What a streaming agent sends: no panic, nothing beyond the bounds, no memory for bytes that have not come, and the same
//! messages however the bytes are cut.
//!
//! Input: one byte that seeds the cuts, then the guest's bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::protocol::stream_device::{
    ADDRESS_MAX, CAPABILITIES_MAX, CURSOR_SIDE_MAX, FRAME_MAX, SIDE_MAX, StreamError,
    StreamMessage, StreamReader,
};

/// The messages, and how it ended.
fn feed(bytes: &[u8], mut step: usize) -> (Vec<StreamMessage>, Option<StreamError>) {
    let (mut reader, mut rest, mut messages) = (StreamReader::default(), bytes, Vec::new());
    while !rest.is_empty() {
        let wanted = reader.wanted();
        assert!((1..=FRAME_MAX).contains(&wanted));
        let n = wanted.min(step).min(rest.len());
        step = if step == usize::MAX { step } else { step * 7 % 127 + 1 };
        match reader.push(&rest[..n]) {
            Ok(message) => messages.extend(message),
            Err(error) => return (messages, Some(error)),
        }
        rest = &rest[n..];
    }
    (messages, None)
}

fn check(message: &StreamMessage) {
    match message {
        StreamMessage::Capabilities(bits) => assert!(bits.len() <= CAPABILITIES_MAX),
        StreamMessage::Format { width, height, codec } => {
            assert!((1..=SIDE_MAX).contains(width) && (1..=SIDE_MAX).contains(height));
            assert!((1..=5).contains(codec));
        }
        StreamMessage::Data(frame) => assert!((1..=FRAME_MAX).contains(&frame.len())),
        StreamMessage::CursorSet(set) => {
            let side = 1..=CURSOR_SIDE_MAX;
            assert!(side.contains(&set.width) && side.contains(&set.height));
            let pixels = usize::from(set.width) * usize::from(set.height);
            assert!(set.data.len() >= pixels * 3 && set.data.len() <= pixels * 5);
        }
        StreamMessage::DisplayInfo { address, .. } => {
            assert!(address.len() < ADDRESS_MAX && !address.contains(&0));
        }
        StreamMessage::CursorMove { .. } | StreamMessage::Nothing(_) => {}
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((step, bytes)) = input.split_first() else { return };
    let whole = feed(bytes, usize::MAX);
    whole.0.iter().for_each(check);
    assert_eq!(feed(bytes, usize::from(*step) + 1), whole);
});

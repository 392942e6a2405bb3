//! Smartcard messages of clients and devices: no panic, nothing beyond what was sent, and a device's stream gives the
//! same messages however it is cut.
//!
//! Input: one byte that seeds the cuts, then a client's body and a device's stream in one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::protocol::smartcard::{CardMessage, DATA, HEAD, MAX_DEVICE_DATA, wanted_of_device};

/// The bodies that clients get, and false if the stream ended in an error.
fn feed(stream: &[u8], mut split: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut begun, mut bodies, mut rest) = (Vec::new(), Vec::new(), stream);
    while !rest.is_empty() {
        let n = split.min(rest.len()).max(1);
        split = if split == usize::MAX { split } else { split * 5 % 311 + 1 };
        begun.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
        loop {
            match CardMessage::of_device(&begun) {
                Ok(None) => break,
                Ok(Some((message, used))) => {
                    bodies.push(message.for_client());
                    begun.drain(..used);
                }
                Err(_) => return (bodies, false),
            }
        }
        if let Some(wanted) = wanted_of_device(&begun) {
            assert!(wanted > 0 && wanted <= MAX_DEVICE_DATA);
        }
        assert!(begun.len() < HEAD + MAX_DEVICE_DATA);
    }
    (bodies, true)
}

fuzz_target!(|input: &[u8]| {
    let Some((split, bytes)) = input.split_first() else { return };
    if let Ok(message) = CardMessage::of_client(DATA, bytes) {
        assert!(message.data.len() + HEAD <= bytes.len());
        let sent = message.for_device();
        match CardMessage::of_device(&sent) {
            Ok(found) => assert_eq!(found, Some((message, sent.len()))),
            Err(_) => assert!(message.data.len() > MAX_DEVICE_DATA),
        }
        assert_eq!(message.for_client(), bytes[..HEAD + message.data.len()]);
    }
    let whole = feed(bytes, usize::MAX);
    assert_eq!(feed(bytes, usize::from(*split) + 1), whole);
    for body in whole.0 {
        assert!(CardMessage::of_client(DATA, &body).is_ok());
    }
});

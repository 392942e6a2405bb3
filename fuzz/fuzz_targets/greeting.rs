//! The first bytes of a connection: which protocol it is, and the whole of HTTP.
//!
//! What was decided for a beginning holds for everything that begins so: a door that reads in pieces decides the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::link::greeting::{Greeting, greeting};
use spice_server::link::http::MAX_REQUEST;

fuzz_target!(|input: &[u8]| {
    let whole = greeting(input);
    match &whole {
        Greeting::NeedMore => assert!(input.len() < 4),
        Greeting::Http => assert!(input.len() < MAX_REQUEST),
        Greeting::Link => assert!(input.len() >= 4),
        Greeting::WebSocket { reply, consumed } => {
            assert!(*consumed <= input.len() && reply.starts_with(b"HTTP/1.1 101 "));
        }
        Greeting::Page { reply, status } => {
            let text = String::from_utf8(reply.clone()).unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && reply.len() < 1024);
        }
    }
    // Every prefix is as slow as the whole: a few, near the places where something is decided.
    let step = (input.len() / 64).max(1);
    for len in (0..input.len()).step_by(step).chain(input.len().saturating_sub(8)..input.len()) {
        match greeting(&input[..len]) {
            Greeting::NeedMore | Greeting::Http => {}
            decided => assert_eq!(decided, whole, "after {len} bytes"),
        }
    }
});

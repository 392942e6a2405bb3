//! Frames of a browser in any pieces, and our own frames back through the same parser.
//!
//! Input: one byte that seeds the splits, then what the peer sends. Pieces must give the same bytes, answers and end as
//! all at once; no answer and no payload may be larger than what came.
#![no_main]

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use spice_server::transport::connection::Connection;
use spice_server::transport::layer::{Flow, Layer};
use spice_server::transport::outbox::Outbox;
use spice_server::transport::stream::Stream;
use spice_server::transport::websocket::WebSocket;

static CONNECTION: LazyLock<Arc<Connection>> = LazyLock::new(|| {
    let (ours, _) = UnixStream::pair().unwrap();
    Arc::new(Connection::of(&Stream::adopt(ours.into()).unwrap()))
});

fn sent(outbox: &mut Outbox) -> Vec<u8> {
    let mut all = Vec::new();
    while !outbox.is_empty() {
        let taken = outbox.drain(|slices| {
            slices.iter().for_each(|s| all.extend_from_slice(s));
            Ok::<_, io::Error>(slices.iter().map(|s| s.len()).sum())
        });
        taken.unwrap();
    }
    all
}

/// Payload, answers, and `None` for an error.
fn feed(bytes: &[u8], mut split: u8) -> (Vec<u8>, Vec<u8>, Option<Flow>) {
    let mut layer = WebSocket::new(Arc::clone(&CONNECTION));
    let (mut above, mut below, mut rest) = (Vec::new(), Outbox::default(), bytes);
    let mut end = Some(Flow::Goes);
    while !rest.is_empty() && end == Some(Flow::Goes) {
        let n = if split == 0 { rest.len() } else { usize::from(split).min(rest.len()) };
        if split != 0 {
            split = split.wrapping_mul(5).wrapping_add(7).max(1);
        }
        end = layer.open(&rest[..n], &mut above, &mut below).ok();
        rest = &rest[n..];
    }
    (above, sent(&mut below), end)
}

fuzz_target!(|input: &[u8]| {
    let [split, bytes @ ..] = input else { return };
    let whole = feed(bytes, 0);
    assert_eq!(feed(bytes, (*split).max(1)), whole);
    assert!(whole.0.len() <= bytes.len() && whole.1.len() <= bytes.len() + 8);

    let mut layer = WebSocket::new(Arc::clone(&CONNECTION));
    let (mut above, mut below) = (Outbox::default(), Outbox::default());
    for piece in bytes.chunks(usize::from(*split) + 1) {
        above.push(piece);
        layer.wrap(&mut above, &mut below, usize::MAX).unwrap();
    }
    let frames = sent(&mut below);
    assert_eq!(feed(&frames, *split), (bytes.to_vec(), Vec::new(), Some(Flow::Goes)));
});

//! A browser against the layer: frames in every split.

use super::super::layer::Layers;
use super::super::layer::tests::Masked;
use super::*;
use crate::protocol::message::Bulk;
use proptest::prelude::*;

fn layer() -> WebSocket {
    let (ours, _) = std::os::unix::net::UnixStream::pair().unwrap();
    let stream = super::super::stream::Stream::adopt(ours.into()).unwrap();
    WebSocket::new(Arc::new(Connection::of(&stream)))
}

/// A frame as a client sends it: `first` is the first byte, `len` the length's width in bytes.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>, width: usize) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let len = payload.len() as u64;
    let mut bytes = vec![first];
    match width {
        0 => bytes.push(bit | u8::try_from(payload.len()).unwrap()),
        2 => bytes.push(bit | 126),
        _ => bytes.push(bit | 127),
    }
    bytes.extend_from_slice(&len.to_be_bytes()[8 - width..]);
    bytes.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
    let key = mask.unwrap_or_default();
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    bytes
}

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

/// What came through, what was answered, and how it ended: `None` for an error.
fn feed(bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Option<Flow>) {
    let (mut layer, mut above, mut below) = (layer(), Vec::new(), Outbox::default());
    for piece in bytes.chunks(step) {
        match layer.open(piece, &mut above, &mut below) {
            Ok(Flow::Goes) => {}
            Ok(Flow::Ended) => return (above, sent(&mut below), Some(Flow::Ended)),
            Err(_) => return (above, sent(&mut below), None),
        }
    }
    (above, sent(&mut below), Some(Flow::Goes))
}

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

#[test]
fn payload_of_all_data_frames_is_one_stream() {
    let long = vec![b'x'; 70_000];
    let bytes = [
        frame(0x82, b"one", KEY, 0),
        frame(0x81, b"", KEY, 0),
        frame(0x01, b"t", None, 0),
        frame(0x89, b"ping", KEY, 0),
        frame(0x00, b"wo", KEY, 2),
        frame(0x80, b"", None, 8),
        frame(0x8a, b"nobody asked", KEY, 0),
        frame(0x82, &long, KEY, 8),
        frame(0x82, &long[..300], KEY, 2),
    ]
    .concat();
    let want = ([b"onetwo", &long[..], &long[..300]].concat(), b"\x8a\x04ping".to_vec());
    for step in [1, 2, 3, 5, 7, 64, 1000, bytes.len()] {
        let (above, below, end) = feed(&bytes, step);
        assert_eq!((&above, &below, end), (&want.0, &want.1, Some(Flow::Goes)), "step {step}");
    }
}

#[test]
fn a_close_is_answered_and_ends_the_stream() {
    let bytes = [frame(0x82, b"last", KEY, 0), frame(0x88, b"\x03\xe8bye", KEY, 0), vec![0xff]];
    for step in [1, 100] {
        let seen = feed(&bytes.concat(), step);
        assert_eq!(seen, (b"last".to_vec(), b"\x88\x00".to_vec(), Some(Flow::Ended)));
    }
    // Our own close is not repeated, and nothing follows it.
    let (mut layer, mut above, mut below) = (layer(), Outbox::default(), Outbox::default());
    layer.finish(&mut below);
    layer.finish(&mut below);
    above.push(b"more");
    assert!(layer.wrap(&mut above, &mut below, usize::MAX).is_err());
    let flow = layer.open(&frame(0x88, b"\x03\xe8", KEY, 0), &mut Vec::new(), &mut below);
    assert_eq!((flow.unwrap(), sent(&mut below)), (Flow::Ended, b"\x88\x02\x03\xe8".to_vec()));
}

#[test]
fn what_breaks_the_protocol_ends_the_connection_with_a_reason() {
    let mut endless = frame(0x82, b"", None, 8);
    endless[2] = 0x80;
    for (why, bytes) in [
        ("reserved bit", frame(0xc2, b"a", KEY, 0)),
        ("opcode 3", frame(0x83, b"a", KEY, 0)),
        ("opcode 11", frame(0x8b, b"a", KEY, 0)),
        ("no message to go on with", frame(0x80, b"a", KEY, 0)),
        ("message in a message", [frame(0x02, b"", KEY, 0), frame(0x82, b"a", KEY, 0)].concat()),
        ("ping in pieces", frame(0x09, b"a", KEY, 0)),
        ("long ping", frame(0x89, &[0; 126], KEY, 2)),
        ("long close", frame(0x88, &[0; 200], None, 8)),
        ("length of 2^63", endless),
    ] {
        for step in [1, 1000] {
            let seen = feed(&bytes, step);
            assert_eq!(seen, (Vec::new(), b"\x88\x02\x03\xea".to_vec(), None), "{why}");
        }
    }
}

#[test]
fn pings_that_nobody_reads_the_answers_to_cost_no_memory() {
    let (mut layer, mut above, mut below) = (layer(), Vec::new(), Outbox::default());
    for i in 0..10_000u32 {
        let ping = frame(0x89, &i.to_be_bytes(), KEY, 0);
        layer.open(&ping, &mut above, &mut below).unwrap();
    }
    assert!(below.len() < MAX_ANSWERS + 200, "{}", below.len());
    sent(&mut below);
    layer.wrap(&mut Outbox::default(), &mut below, usize::MAX).unwrap();
    let newest = [b"\x8a\x04".to_vec(), 9_999u32.to_be_bytes().to_vec()].concat();
    assert_eq!(sent(&mut below), newest);
}

#[test]
fn a_frame_is_a_header_in_front_of_pieces_that_are_not_copied() {
    let (mut layer, mut above, mut below) = (layer(), Outbox::default(), Outbox::default());
    let block = Arc::new(vec![b'b'; 100_000]);
    above.push(b"head");
    above.push_bulk(Bulk::whole(Arc::clone(&block)));
    layer.wrap(&mut above, &mut below, usize::MAX).unwrap();
    assert_eq!(Arc::strong_count(&block), 2);
    let len = 100_004u64.to_be_bytes();
    assert_eq!(sent(&mut below), [&[0x82, 127][..], &len, b"head", &block].concat());
    for (n, header) in
        [(125, &[0x82, 125][..]), (126, &[0x82, 126, 0, 126]), (300, &[0x82, 126, 1, 44])]
    {
        above.push(&vec![0; n]);
        layer.wrap(&mut above, &mut below, usize::MAX).unwrap();
        assert_eq!(sent(&mut below)[..header.len()], *header);
    }
}

#[test]
fn no_more_is_wrapped_than_the_mark_says() {
    let (mut layer, mut above, mut below) = (layer(), Outbox::default(), Outbox::default());
    (0..10).for_each(|_| above.push_bulk(Bulk::from(vec![0; 100_000])));
    layer.wrap(&mut above, &mut below, 250_000).unwrap();
    assert_eq!((below.len(), above.len()), (300_030, 700_000));
}

#[test]
fn frames_go_through_a_layer_below_them() {
    let (mut layers, mut outbox) = (Layers::default(), Outbox::default());
    let hide = |bytes: &[u8]| bytes.iter().map(|b| b ^ 7).collect::<Vec<u8>>();
    layers.push(Box::new(Masked::new(7)), &mut outbox, &mut vec![7]).unwrap();
    let mut wire = sent(layers.wire().unwrap());
    assert_eq!(wire, [7], "the layer below has begun");
    // What came through it before the upgrade was answered is the first of the frames.
    let mut unread = frame(0x82, b"RE", KEY, 0);
    outbox.push(b"101");
    layers.push(Box::new(layer()), &mut outbox, &mut unread).unwrap();
    assert_eq!(unread, b"RE");
    layers.open(&hide(&frame(0x89, b"?", KEY, 0)), &mut unread).unwrap();
    layers.open(&hide(&frame(0x82, b"DQ", KEY, 0)), &mut unread).unwrap();
    outbox.push(b"reply");
    layers.wrap(&mut outbox).unwrap();
    layers.finish(&mut outbox);
    wire = sent(layers.wire().unwrap());
    assert_eq!(unread, b"REDQ");
    let said = [&b"101"[..], b"\x8a\x01?", b"\x82\x05reply", b"\x88\x02\x03\xe8"].concat();
    assert_eq!(wire, [hide(&said), vec![7]].concat());
}

proptest! {
    /// Whatever a peer sends, the split of its bytes does not matter, and nothing panics.
    #[test]
    fn splits_do_not_matter(
        frames in prop::collection::vec((any::<u8>(), 0usize..300, any::<Option<[u8; 4]>>(), 0usize..3), 0..12),
        noise in prop::collection::vec(any::<u8>(), 0..20),
        step in 1usize..50,
    ) {
        let mut bytes = Vec::new();
        for (first, len, mask, width) in frames {
            let width = [0, 2, 8][width];
            let payload = vec![first; if width == 0 { len.min(125) } else { len }];
            bytes.extend(frame(first & 0x8f, &payload, mask, width));
        }
        bytes.extend(noise);
        prop_assert_eq!(feed(&bytes, step), feed(&bytes, bytes.len().max(1)));
    }
}

use super::super::layer::Layers;
use super::*;
use crate::sys::sasl::client::Client;
use crate::sys::sasl::tests::{layered, ready};

impl Codec for Client {
    fn encode(&mut self, plain: &[u8]) -> Result<&[u8], String> {
        Codec::encode(&mut self.context, plain)
    }

    fn decode(&mut self, packet: &[u8]) -> Result<&[u8], String> {
        Codec::decode(&mut self.context, packet)
    }
}

/// Packets of bytes that are turned over.
struct Turned;

impl Codec for Turned {
    fn encode(&mut self, plain: &[u8]) -> Result<&[u8], String> {
        let mut packet = u32::try_from(plain.len()).unwrap().to_be_bytes().to_vec();
        packet.extend(plain.iter().map(|b| !b));
        Ok(packet.leak())
    }

    fn decode(&mut self, packet: &[u8]) -> Result<&[u8], String> {
        let (size, body) = packet.split_at(4);
        assert_eq!(
            u32::from_be_bytes(size.try_into().unwrap()),
            u32::try_from(body.len()).unwrap()
        );
        if body.contains(&0) {
            Err("a zero".to_owned())
        } else {
            Ok(body.iter().map(|b| !b).collect::<Vec<u8>>().leak())
        }
    }
}

fn drained(outbox: &mut Outbox) -> Vec<u8> {
    let mut all = Vec::new();
    while !outbox.is_empty() {
        outbox
            .drain(|slices| {
                slices.iter().for_each(|s| all.extend_from_slice(s));
                Ok::<_, io::Error>(slices.iter().map(|s| s.len()).sum())
            })
            .unwrap();
    }
    all
}

#[test]
fn packets_are_taken_whole_in_whatever_pieces_they_come() {
    let stream = b"\0\0\0\x03\x9e\x9d\x9c\0\0\0\x01\x9b\0\0\0\x02\x9a";
    for piece in 1..=stream.len() {
        let mut layer = SaslLayer::new(Box::new(Turned), 0);
        let (mut above, mut below) = (Vec::new(), Outbox::default());
        for bytes in stream.chunks(piece) {
            assert_eq!(layer.open(bytes, &mut above, &mut below).unwrap(), Flow::Goes);
        }
        assert_eq!(above, b"abcd", "pieces of {piece}");
        layer.open(b"\x99", &mut above, &mut below).unwrap();
        assert_eq!(above, b"abcdef");
        assert!(below.is_empty());
    }
}

#[test]
fn a_length_that_lies_and_a_packet_that_was_changed_end_the_layer_for_ever() {
    let too_long = (PACKET_MAX + 1).to_be_bytes();
    for bad in [&b"\0\0\0\0"[..], &b"\xff\xff\xff\xff"[..], &too_long, b"\0\0\0\x01\0"] {
        let mut layer = SaslLayer::new(Box::new(Turned), 0);
        let (mut above, mut below) = (Vec::new(), Outbox::default());
        let bytes = [b"\0\0\0\x01\x9e", bad, b"\0\0\0\x01\x9e"].concat();
        assert!(layer.open(&bytes, &mut above, &mut below).is_err(), "{bad:?}");
        assert_eq!(above, b"a");
        assert!(layer.packet.capacity() < 100);
        assert!(layer.open(b"", &mut above, &mut below).is_err());
        below.push(b"x");
        assert!(layer.wrap(&mut below, &mut Outbox::default(), 100).is_err());
    }
}

#[test]
fn bytes_are_wrapped_in_pieces_that_the_peer_can_take_up_to_the_mark() {
    let mut layer = SaslLayer::new(Box::new(Turned), 100);
    let (mut above, mut below) = (Outbox::default(), Outbox::default());
    (0..7).for_each(|_| {
        above
            .push_bulk(crate::protocol::message::Bulk::whole(std::sync::Arc::new(vec![0x55; 2000])))
    });
    layer.wrap(&mut above, &mut below, 1000).unwrap();
    assert_eq!((below.len(), above.len()), (1040, 13_000));
    let wrapped = drained(&mut below);
    assert_eq!(wrapped[..5], [0, 0, 0, 100, 0xaa]);
    layer.wrap(&mut above, &mut below, usize::MAX).unwrap();
    assert_eq!(below.len(), 13_000 + 130 * 4);
    assert_eq!(SaslLayer::new(Box::new(Turned), u32::MAX).piece, PIECE);
}

#[test]
fn both_ends_of_a_real_mechanism_understand_each_other() {
    if !ready() {
        return;
    }
    let (mut server, client) = layered();
    let most = server.max_out();
    let mut ends = [SaslLayer::new(Box::new(server), most), SaslLayer::new(Box::new(client), 4000)];
    let text: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    for way in [0, 1, 0] {
        let (mut outbox, mut wire, mut got) = (Outbox::default(), Outbox::default(), Vec::new());
        outbox.push(&text);
        ends[way].wrap(&mut outbox, &mut wire, usize::MAX).unwrap();
        for piece in drained(&mut wire).chunks(5000) {
            ends[1 - way].open(piece, &mut got, &mut Outbox::default()).unwrap();
        }
        assert!(got == text, "way {way}: {} bytes", got.len());
    }
    let nonsense = [&[0, 0, 0, 50][..], &[7; 50]].concat();
    let mut layers = Layers::default();
    let [server, _] = ends;
    layers.push(Box::new(server), &mut Outbox::default(), &mut Vec::new()).unwrap();
    assert!(layers.open(&nonsense, &mut Vec::new()).is_err());
}

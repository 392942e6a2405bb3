//! What a client says on the record channel: no panic, no more samples than the ring has, and the host gets what was
//! written last, in order, however the pieces fall across the ring's end.
//!
//! Input: one byte that chooses the sample rate, then messages behind three bytes: type (few values), length.
//! Opus packets are decoded by libopus, which is where hostile bytes go; without it only raw sound is tried.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use spice_server::protocol::sound::{Mode, RecordRequest, client};
use spice_server::sound::capture::{Capture, PREBUFFER, RING};
use spice_server::sound::codec::{Decoder, opus_at};

const RATES: [u32; 6] = [48_000, 44_100, 24_000, 16_000, 12_000, 8_000];
const KINDS: [u16; 8] = [
    client::DATA,
    client::DATA,
    client::DATA,
    client::DATA,
    client::MODE,
    client::MODE,
    client::START_MARK,
    99,
];

fuzz_target!(|input: &[u8]| {
    let Some((first, mut rest)) = input.split_first() else { return };
    let rate = RATES[usize::from(*first) % RATES.len()];
    let capture = Capture::default();
    capture.set_rate(rate);
    capture.attach();
    capture.set_active(true);
    let (mut decoder, mut samples) = (Decoder::default(), vec![7; 3]);
    let (mut plain, mut written) = (VecDeque::<u32>::new(), 0u64);
    while let Some((head, tail)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_le_bytes([head[1], head[2]])).min(tail.len());
        let (body, tail) = tail.split_at(len);
        rest = tail;
        let kind = KINDS[usize::from(head[0] & 7)];
        let reads = usize::from(head[0] >> 3) * 300;
        // As the channel does; an error ends the client.
        match RecordRequest::parse(kind, body) {
            Err(_) => return,
            Ok(RecordRequest::StartMark) => {}
            Ok(RecordRequest::Mode(Mode::Raw)) => decoder = Decoder::Raw,
            Ok(RecordRequest::Mode(Mode::Opus)) => {
                if !opus_at(rate) {
                    return;
                }
                decoder = Decoder::opus(rate).expect("there is Opus at this rate");
            }
            Ok(RecordRequest::Data(data)) => {
                if decoder.decode(data, RING, &mut samples).is_err() {
                    return;
                }
                assert!(samples.len() <= RING);
                if matches!(decoder, Decoder::Raw) {
                    assert_eq!(samples.len(), (data.len() / 4).min(RING));
                }
                capture.write(&samples);
                written += samples.len() as u64;
                plain.extend(&samples);
                plain.drain(..plain.len().saturating_sub(RING));
            }
        }
        let mut out = vec![0; reads];
        let got = capture.read(&mut out);
        let expected = if written < PREBUFFER { 0 } else { reads.min(plain.len()) };
        assert_eq!(got, expected);
        assert!(plain.drain(..got).eq(out[..got].iter().copied()));
    }
});

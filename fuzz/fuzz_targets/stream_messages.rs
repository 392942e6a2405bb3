//! What a client says of its streams: any reports, wishes and answers at any time leave the rate, the lead and the
//! choice of codecs within their bounds.
//!
//! Input: steps of a time to pass (1 byte, milliseconds times 4), a message type (2 bytes), a length (1 byte) and a body; a PONG's
//! body has the number of a probe, counted from the last one.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use spice_server::protocol::display::DisplayRequest;
use spice_server::video::codecs::{DEFAULT_CODECS, choose, preferred};
use spice_server::video::detect::StreamKey;
use spice_server::video::gstreamer::Look;
use spice_server::video::playout::Playout;
use spice_server::video::rate::{Gate, Link, Start};

const KEY: StreamKey = StreamKey { id: 0, unique: 1 };
const PONG: u16 = 3;

fuzz_target!(|input: &[u8]| {
    let begin = Instant::now();
    let mut now = begin;
    let mut link = Link::new(now, Start::Unknown);
    let mut playout = Playout::new(true, false);
    let mut probe = 0u32;
    let mut rest = input;
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let [pause, low, high, len] = *head;
        let (body, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        now += Duration::from_millis(u64::from(pause) * 4);
        // Some clients have encoders that keep a rate, and a bound.
        link.set_rated(pause & 64 != 0);
        link.set_limit((pause & 32 != 0).then_some(u64::from(low) * 10_000));
        assert!((16_000..=10_000_000_000).contains(&link.rate(KEY)));
        link.offered(KEY, now, 640 * 360);
        match link.gate(now) {
            Gate::Open => {
                let quality = link.quality();
                assert!((20..=80).contains(&quality));
                link.taken(now);
                link.sent(30_000);
                link.frame(KEY, now, 30_000, quality);
                probe = link.probe(now, true).unwrap_or(probe);
            }
            Gate::At(at) => assert!(at <= now + Duration::from_secs(5), "no end"),
            Gate::Full(at) => assert!(at > now && at <= now + Duration::from_secs(10)),
        }
        let kind = u16::from_le_bytes([low, high]);
        if kind == PONG {
            let back = u32::from(body.first().copied().unwrap_or(0));
            link.answered(probe.wrapping_sub(back), now);
        }
        match DisplayRequest::parse(kind, body) {
            Ok(DisplayRequest::StreamReport(report)) => {
                if !report.cannot_play() {
                    playout.report(report.last_frame_delay, report.num_drops);
                }
            }
            Ok(DisplayRequest::PreferredVideoCodecs(numbers)) => {
                let wishes = preferred(numbers);
                let choice = choose(&DEFAULT_CODECS, &wishes, |_| true, |_| Look::There);
                assert!(wishes.len() <= 5 && choice.is_some());
            }
            _ => {}
        }
        assert!(playout.lead() <= 1500 && playout.time(u32::MAX) != 0);
        assert!(link.budget().is_finite() && (64e3..=10e9).contains(&link.budget()));
    }
});

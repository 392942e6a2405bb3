//! Any bytes as a QUIC stream: decoding neither panics nor takes more than its limits, and a
//! picture that was decoded is written and decoded again as the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::codec::quic::{Scratch, decode, decode_at, encode, peek};
use spice_server::codec::simd::levels;
use spice_server::codec::{Limits, Rows};

/// Small, so that runs are many.
const LIMITS: Limits = Limits { pixels: 1 << 16 };

fuzz_target!(|stream: &[u8]| {
    let decoded = decode(stream, &LIMITS);
    for level in levels() {
        assert!(decode_at(level, stream, &LIMITS) == decoded, "{level:?}");
    }
    let Ok(image) = decoded else { return };
    let header = peek(stream).unwrap();
    assert_eq!(
        (image.format, image.width, image.height),
        (header.pixels, header.width, header.height)
    );
    let size = image.format.bytes();
    assert_eq!(image.stride, image.width as usize * size);
    assert_eq!(image.pixels.len(), image.stride * image.height as usize);

    let bits = u32::try_from(size * 8).unwrap();
    let (width, height) = (image.width, image.height);
    let rows = Rows::new(&image.pixels, width, height, bits, image.stride, true).unwrap();
    let mut written = Vec::new();
    encode(&rows, image.format, usize::MAX, &mut Scratch::default(), &mut written).unwrap();
    assert!(written.len() % 4 == 0);
    assert_eq!(decode(&written, &LIMITS).unwrap(), image);
});

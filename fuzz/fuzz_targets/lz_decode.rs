//! Any bytes as an LZ stream: decoding neither panics nor takes more than its limits, and a
//! picture that was decoded is written and decoded again as the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::codec::lz::{EncodeError, PixelType, Scratch, decode, encode, peek};
use spice_server::codec::{Limits, Rows};

/// Small, so that runs are many.
const LIMITS: Limits = Limits { pixels: 1 << 18 };

fuzz_target!(|stream: &[u8]| {
    let Ok(mut image) = decode(stream, &LIMITS) else { return };
    let header = peek(stream).unwrap();
    assert_eq!(image.header, header);
    let stride = header.stride as usize;
    assert_eq!(image.pixels.len(), stride * header.height as usize);

    let bits = header.pixels.bits();
    let pixels = image.pixels.clone();
    let rows =
        Rows::new(&pixels, header.width, header.height, bits, stride, header.top_down).unwrap();
    let (mut scratch, mut written) = (Scratch::default(), Vec::new());
    encode(&rows, header.pixels, usize::MAX, &mut scratch, &mut written).unwrap();
    if header.pixels == PixelType::Rgb16 {
        // The highest bit is not written.
        image.pixels.iter_mut().skip(1).step_by(2).for_each(|byte| *byte &= 0x7f);
    }
    assert_eq!(decode(&written, &LIMITS).unwrap(), image);
    let limit = written.len() - 1;
    let refused = encode(&rows, header.pixels, limit, &mut scratch, &mut written);
    assert_eq!(refused, Err(EncodeError::Larger(limit)));
});

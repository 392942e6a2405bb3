//! Any bytes as a sequence of GLZ streams: decoding neither panics nor keeps more than its limits.
//!
//! Input: repeatedly two bytes of length and a stream. What is decoded is then encoded into a
//! dictionary and decoded again as the same images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::codec::glz::{Dictionary, Scratch, Window, encode};
use spice_server::codec::lz::PixelType;
use spice_server::codec::{Limits, Rows};

/// Small, so that runs are many.
const LIMITS: Limits = Limits { pixels: 1 << 16 };

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let (mut foreign, mut own) = (Window::default(), Window::default());
    let dictionary = Dictionary::new(1 << 15);
    let mut scratch = Scratch::default();
    while let Some((&[low, high], after)) = rest.split_first_chunk::<2>() {
        let (stream, after) =
            after.split_at(after.len().min(usize::from(low) | usize::from(high) << 8));
        rest = after;
        let Ok(image) = foreign.decode(stream, &LIMITS) else { continue };
        assert!(foreign.pixels() <= LIMITS.pixels);
        let header = image.header;
        let data = image.pixels.as_flattened();
        let stride = header.width as usize * 4;
        let rows =
            Rows::new(data, header.width, header.height, 32, stride, header.top_down).unwrap();
        let format =
            if header.pixels == PixelType::Rgba { header.pixels } else { PixelType::Rgb32 };
        let Ok(ticket) = dictionary.ticket(&rows, format, 0) else { continue };
        let mut out = Vec::new();
        encode(&dictionary, &ticket, &mut scratch, &mut out);
        let again = own.decode(&out, &LIMITS).unwrap();
        assert!(again.pixels == image.pixels);
        assert!(own.pixels() <= 1 << 15);
    }
});

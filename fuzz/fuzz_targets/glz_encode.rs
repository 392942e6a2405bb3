//! Many images of any type through one dictionary whose window is small, so that images leave it:
//! each GLZ stream decodes to its pixels with what a client has kept, and all kernels write the
//! same bytes.
//!
//! Input: the size of the window, then for every image how it comes from the one before, and what
//! that takes: new pixels, the same ones moved by some bytes or rows, or a piece of them changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::codec::simd::{Level, best};
use spice_server::codec::{Limits, Rows, glz, lz};

const LIMITS: Limits = Limits { pixels: 1 << 22 };
/// Most bytes of an image.
const MOST: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    let Some((&[window], mut rest)) = input.split_first_chunk::<1>() else { return };
    // From 64 pixels to 128 Ki.
    let pixels = 64usize << (window % 12);
    let dictionaries = [glz::Dictionary::new(pixels), glz::Dictionary::new(pixels)];
    let mut scratches = [glz::Scratch::default(), glz::Scratch::default()];
    let mut client = glz::Window::default();
    let mut data: Vec<u8> = Vec::new();
    for _ in 0..24 {
        let Some((&[kind, width, how, low, high], after)) = rest.split_first_chunk::<5>() else {
            return;
        };
        rest = after;
        let by = usize::from(u16::from_le_bytes([low, high]));
        let (taken, after) = rest.split_at(rest.len().min(usize::from(how >> 2)));
        match how & 3 {
            // New ones, each byte some times.
            0 => {
                rest = after;
                data.clear();
                for (at, byte) in taken.iter().enumerate() {
                    data.resize(data.len() + (by + at * 7) % 300, *byte);
                }
            }
            // New ones that hardly repeat.
            1 => {
                data.clear();
                let mut state = u32::from(how) << 16 | u32::from(low) << 8 | u32::from(high) | 1;
                data.resize_with(usize::from(how >> 2) * 512, || {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    state.to_le_bytes()[1]
                });
            }
            2 => {
                let length = data.len().max(1);
                data.rotate_left(by * 4 % length);
            }
            _ => {
                rest = after;
                let at = by % data.len().max(1);
                let end = (at + taken.len()).min(data.len());
                data.splice(at.min(data.len())..end, taken.iter().copied());
            }
        }
        data.truncate(MOST);
        let formats =
            [lz::PixelType::Rgb16, lz::PixelType::Rgb24, lz::PixelType::Rgb32, lz::PixelType::Rgba];
        let format = formats[usize::from(kind & 3)];
        let (width, bytes) = (usize::from(width) * 3 + 1, format.bits() as usize / 8);
        let stride = width * bytes + usize::from(kind >> 6);
        let height = data.len().div_ceil(stride).max(1);
        let mut padded = data.clone();
        padded.resize(height * stride, kind);
        let (w, h) = (u32::try_from(width).unwrap(), u32::try_from(height).unwrap());
        let rows = Rows::new(&padded, w, h, format.bits(), stride, kind & 4 == 0).unwrap();
        let mut streams = Vec::new();
        let levels = [Level::Scalar, best()];
        for ((dictionary, scratch), level) in dictionaries.iter().zip(&mut scratches).zip(levels) {
            let channel = u32::from(kind >> 3 & 1);
            let Ok(ticket) = dictionary.ticket(&rows, format, channel) else { continue };
            let mut out = vec![kind];
            glz::encode_at(level, dictionary, &ticket, scratch, &mut out);
            if kind & 16 == 0 {
                ticket.sent();
            }
            streams.push(out);
        }
        let [scalar, vectors] = streams.as_slice() else { continue };
        assert!(scalar == vectors);
        assert_eq!(scalar[0], kind);
        let image = client.decode(&scalar[1..], &LIMITS).unwrap();
        assert!(client.pixels() <= pixels as u64);
        assert_eq!((image.header.width, image.header.height), (w, h));
        let raw = rows.in_memory().collect::<Vec<_>>().concat();
        let wide = |bits: u16| {
            let five = (bits & 31) as u8;
            five << 3 | five >> 2
        };
        let wanted = raw.chunks_exact(bytes).map(|pixel| match *pixel {
            [low, high] => {
                let pixel = u16::from_le_bytes([low, high]);
                [wide(pixel), wide(pixel >> 5), wide(pixel >> 10), 0]
            }
            [b, g, r, a] if format == lz::PixelType::Rgba => [b, g, r, a],
            [b, g, r, ..] => [b, g, r, 0],
            _ => unreachable!("pixels have two to four bytes"),
        });
        assert!(wanted.eq(image.pixels.iter().copied()));
    }
});

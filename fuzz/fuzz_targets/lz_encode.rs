//! Any picture of any type: its LZ stream decodes to its pixels, and so does its GLZ stream, in a
//! dictionary that has earlier ones; all kernels write the same bytes.
//!
//! Input, repeatedly: pixel type and orientation, width (two bytes), padding of rows, number of
//! pieces, then what the pixels are made of: pieces of two bytes, a count and a value, where some
//! counts go back to what was there before.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::codec::simd::{Level, best};
use spice_server::codec::{Limits, Rows, glz, lz};

const LIMITS: Limits = Limits { pixels: 1 << 22 };

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let dictionaries = [glz::Dictionary::new(20_000), glz::Dictionary::new(20_000)];
    let (mut scratch, mut glz_scratch) = (lz::Scratch::default(), glz::Scratch::default());
    let mut window = glz::Window::default();
    let mut data = Vec::new();
    for _ in 0..4 {
        let Some((&[kind, low, high, padding, pieces], after)) = rest.split_first_chunk::<5>()
        else {
            return;
        };
        let (pieces, after) = after.split_at(after.len().min(usize::from(pieces) * 2));
        rest = after;
        let Some(format) = lz::PixelType::from_u32(u32::from(kind & 15)) else { return };
        let width = u32::from(u16::from_le_bytes([low, high]) % 700) + 1;
        let row = (width as usize * format.bits() as usize).div_ceil(8);
        let stride = row + usize::from(padding & 7);
        // What was there before is at the beginning, moved by a little.
        data.truncate(1 << 14);
        data.drain(..usize::from(padding >> 3).min(data.len()));
        for piece in pieces.chunks_exact(2) {
            let back = usize::from(piece[1]) * 16;
            if piece[0] & 3 == 3 && back > 0 && back <= data.len() {
                let from = data.len() - back;
                let length = usize::from(piece[0] >> 2) * 8;
                (from..from + length).for_each(|at| data.push(data[at]));
                continue;
            }
            let step = piece[0] & 3;
            let mut value = piece[1];
            for _ in 0..piece[0] >> 2 {
                data.push(value);
                value = value.wrapping_mul(5).wrapping_add(step);
            }
        }
        let height = data.len().div_ceil(stride).max(1);
        data.resize(height * stride, padding);
        let rows = Rows::new(
            &data,
            width,
            u32::try_from(height).unwrap(),
            format.bits(),
            stride,
            kind & 16 == 0,
        )
        .unwrap();
        let mut streams = [Vec::new(), Vec::new()];
        for (stream, level) in streams.iter_mut().zip([Level::Scalar, best()]) {
            lz::encode_at(level, &rows, format, usize::MAX, &mut scratch, stream).unwrap();
        }
        assert!(streams[0] == streams[1]);
        let image = lz::decode(&streams[0], &LIMITS).unwrap();
        let mask: &[u8] = match format {
            lz::PixelType::Rgb16 => &[0xff, 0x7f],
            lz::PixelType::Rgb32 => &[0xff, 0xff, 0xff, 0],
            lz::PixelType::Xxxa => &[0, 0, 0, 0xff],
            _ => &[0xff],
        };
        let raw = rows.in_memory().collect::<Vec<_>>().concat();
        let kept = raw.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte & mask);
        assert!(kept.eq(image.pixels.iter().copied()));

        let mut streams = Vec::new();
        for (dictionary, level) in dictionaries.iter().zip([Level::Scalar, best()]) {
            let Ok(ticket) = dictionary.ticket(&rows, format, 0) else { continue };
            let mut out = Vec::new();
            glz::encode_at(level, dictionary, &ticket, &mut glz_scratch, &mut out);
            streams.push(out);
        }
        let [scalar, vectors] = streams.as_slice() else { continue };
        assert!(scalar == vectors);
        let image = window.decode(scalar, &LIMITS).unwrap();
        assert!(window.pixels() <= 20_000);
        match format {
            lz::PixelType::Rgb32 => {
                let colors = image.pixels.iter().map(|pixel| &pixel[..3]);
                assert!(colors.eq(raw.chunks_exact(4).map(|pixel| &pixel[..3])));
            }
            lz::PixelType::Rgba => assert!(image.pixels.as_flattened() == raw),
            lz::PixelType::Rgb24 => {
                let colors = image.pixels.iter().map(|pixel| &pixel[..3]);
                assert!(colors.eq(raw.chunks_exact(3)));
            }
            _ => {
                let five = |pixel: &[u8; 4]| {
                    let wide = |byte: u8| u16::from(byte >> 3);
                    wide(pixel[2]) << 10 | wide(pixel[1]) << 5 | wide(pixel[0])
                };
                let pixels = raw.chunks_exact(2).map(|p| u16::from_le_bytes([p[0], p[1]]) & 0x7fff);
                assert!(image.pixels.iter().map(five).eq(pixels));
            }
        }
    }
});

//! Any picture: its QUIC stream decodes to its pixels, however its rows lie in memory, and all
//! kernels write the same one.
//!
//! Input: pixel type and orientation, width (two bytes), padding of rows, a byte of shape, then
//! what the pixels are made of: pieces of two bytes, a count and a value, so that runs are common.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::codec::quic::{
    EncodeError, PixelType, Scratch, decode, decode_at, encode, encode_at,
};
use spice_server::codec::simd::levels;
use spice_server::codec::{Limits, Rows};

fuzz_target!(|input: &[u8]| {
    let Some((&[kind, low, high, padding, shape], rest)) = input.split_first_chunk::<5>() else {
        return;
    };
    let Some(format) = PixelType::from_u32(u32::from(kind & 7)) else { return };
    let width = usize::from(u16::from_le_bytes([low, high]) % 5000) + 1;
    let stride = width * format.bytes() + usize::from(padding & 7);
    let mut data = Vec::new();
    for piece in rest.chunks_exact(2) {
        // Some counts are pixels, some are rows.
        let count = if shape & 1 == 0 {
            usize::from(piece[0] & 31) + 1
        } else {
            usize::from(piece[0]) * 16
        };
        let step = piece[0] >> 6;
        let mut value = piece[1];
        for _ in 0..count {
            data.push(value);
            value = value.wrapping_add(step);
        }
        if data.len() > 1 << 17 {
            break;
        }
    }
    let height = data.len().div_ceil(stride).max(1);
    data.resize(height * stride, shape);
    let (w, h) = (u32::try_from(width).unwrap(), u32::try_from(height).unwrap());
    let bits = u32::try_from(format.bytes() * 8).unwrap();
    let rows = Rows::new(&data, w, h, bits, stride, kind & 8 == 0).unwrap();
    let (mut scratch, mut stream) = (Scratch::default(), vec![1, 2, 3]);
    encode(&rows, format, usize::MAX, &mut scratch, &mut stream).unwrap();

    let image = decode(&stream[3..], &Limits::default()).unwrap();
    for level in levels() {
        let mut other = Vec::new();
        encode_at(level, &rows, format, usize::MAX, &mut scratch, &mut other).unwrap();
        assert!(other == stream[3..], "{level:?}");
        assert!(decode_at(level, &other, &Limits::default()).as_ref() == Ok(&image), "{level:?}");
    }
    assert_eq!((image.format, image.width, image.height), (format, w, h));
    let (step, mask) = match format {
        PixelType::Rgb16 => (2, 0x7f),
        PixelType::Rgb32 => (4, 0),
        _ => (1, 0xff),
    };
    for (row, decoded) in rows.from_top().zip(image.pixels.chunks_exact(image.stride)) {
        let mut row = row.to_vec();
        row.iter_mut().skip(step - 1).step_by(step).for_each(|byte| *byte &= mask);
        assert!(row == decoded);
    }
    // The same again with what was left in the scratch memory, and one byte less than needed.
    let size = stream.len() - 3;
    let mut again = Vec::new();
    encode(&rows, format, size, &mut scratch, &mut again).unwrap();
    assert!(again == stream[3..]);
    let refused = encode(&rows, format, size - 1, &mut scratch, &mut again);
    assert_eq!(refused, Err(EncodeError::Larger(size - 1)));
    assert_eq!(again.len(), size);
});

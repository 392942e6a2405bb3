//! Sizes, layouts and limits; what is encoded looks like what it was.

use super::*;
use crate::sys::turbojpeg::decode::bgrx;

/// A slope with an edge, `bits` per pixel, rows padded by `extra` bytes; the same picture whatever its layout.
fn picture(width: u32, height: u32, bits: u32, extra: u32, top_down: bool) -> (Vec<u8>, u32) {
    let stride = width * bits / 8 + extra;
    let mut data = Vec::new();
    for row in 0..height {
        let y = if top_down { row } else { height - 1 - row };
        for x in 0..width {
            let [blue, green, red] = color(x, y, height).map(|v| v.to_le_bytes()[0]);
            if bits == 16 {
                let five = |v: u8| u16::from(v >> 3);
                let pixel = five(red) << 10 | five(green) << 5 | five(blue) | 0x8000;
                data.extend_from_slice(&pixel.to_le_bytes());
            } else {
                data.extend_from_slice(&[blue, green, red, 0xa5][..bits as usize / 8]);
            }
        }
        data.extend((0..extra).map(|n| (n * 91).to_le_bytes()[0]));
    }
    (data, stride)
}

fn color(x: u32, y: u32, height: u32) -> [u32; 3] {
    let edge = if y * 2 < height { 0 } else { 60 };
    [(x * 2 + y) % 150 + edge, (x + y) % 150 + edge, (x + y * 2) % 150 + edge]
}

fn view(
    data: &[u8],
    width: u32,
    height: u32,
    bits: u32,
    stride: u32,
    top_down: bool,
) -> Picture<'_> {
    Picture { data, width, height, bits, stride, top_down, format: 0 }
}

/// Mean and largest difference of decoded pixels to the picture's colours.
fn off(pixels: &[u8], width: u32, height: u32, bits: u32) -> (u64, u64) {
    let (mut sum, mut most) = (0, 0);
    for (n, pixel) in (0u32..).zip(pixels.as_chunks::<4>().0) {
        let want = color(n % width, n / width, height);
        for (got, want) in pixel.iter().zip(want) {
            let want = if bits == 16 { want & 0xf8 | want >> 5 } else { want };
            let difference = u64::from(u32::from(*got).abs_diff(want));
            (sum, most) = (sum + difference, most.max(difference));
        }
    }
    (sum / (u64::from(width) * u64::from(height) * 3), most)
}

#[test]
fn every_layout_shows_the_same_picture_the_right_way_up() {
    let mut scratch = JpegScratch::default();
    for (width, height) in [(3, 3), (16, 16), (17, 9), (64, 40), (201, 33), (1, 70), (70, 1)] {
        for bits in [16, 24, 32] {
            for (extra, top_down) in [(0, true), (0, false), (8, true), (6, false)] {
                let (data, stride) = picture(width, height, bits, extra, top_down);
                let view = view(&data, width, height, bits, stride, top_down);
                let jpeg = encode_jpeg(&view, usize::MAX, &mut scratch).unwrap();
                let pixels = bgrx(&jpeg, width, height).unwrap();
                let (mean, most) = off(&pixels, width, height, bits);
                assert!(
                    mean <= 12 && most <= 128,
                    "{width}x{height} {bits} {extra}: {mean} {most}"
                );
            }
        }
    }
}

#[test]
fn the_limit_counts_both_parts() {
    let (data, stride) = picture(64, 40, 32, 0, true);
    let view = view(&data, 64, 40, 32, stride, true);
    let (mut jpeg, mut lz) = (JpegScratch::default(), LzScratch::default());
    let alone = encode_jpeg(&view, usize::MAX, &mut jpeg).unwrap();
    assert!(encode_jpeg(&view, alone.len(), &mut jpeg).is_some());
    assert!(encode_jpeg(&view, alone.len() - 1, &mut jpeg).is_none());
    let mut both = |limit| encode_jpeg_alpha(&view, limit, &mut jpeg, &mut lz);
    let (size, all) = both(usize::MAX).unwrap();
    assert_eq!(&all[..size], alone);
    assert!(both(all.len()).is_some());
    for limit in [0, alone.len() - 1, alone.len(), all.len() - 1] {
        assert!(both(limit).is_none(), "{limit}");
    }
}

#[test]
fn what_is_no_picture_or_too_long_is_refused() {
    let mut scratch = JpegScratch::default();
    let data = vec![0; 65_501 * 4];
    let mut has = |width, height, bits, stride| {
        let view = view(&data, width, height, bits, stride, true);
        encode_jpeg(&view, usize::MAX, &mut scratch).is_some()
    };
    assert!(has(65_500, 1, 32, 65_500 * 4) && has(1, 65_500, 32, 4));
    assert!(!has(65_501, 1, 32, 65_501 * 4) && !has(1, 65_501, 16, 2));
    assert!(!has(0, 1, 32, 4) && !has(1, 0, 32, 4), "nothing");
    assert!(!has(10, 10, 32, 39), "rows overlap");
    assert!(!has(65_500, 2, 32, 65_500 * 4), "too little data");
    assert!(!has(10, 10, 8, 10), "indices");
    let view = view(&data, 10, 10, 24, 30, true);
    assert!(
        encode_jpeg_alpha(&view, usize::MAX, &mut scratch, &mut LzScratch::default()).is_none()
    );
}

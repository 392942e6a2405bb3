//! What is chosen, and that what is coded decodes to the same bits.

use super::*;
use crate::pool::{DecodeLimits, decode_lz, decode_quic};
use crate::qxl::model::Palette;

use BitmapFormat::{Alpha8, Bit1Be, Bit1Le, Bit4Be, Bit4Le, Bit8, Bit16, Bit24, Bit32, Rgba};

fn bitmap(format: BitmapFormat, width: u32, height: u32) -> Bitmap {
    let stride = (width * format.bits()).div_ceil(8);
    let data = vec![7; (stride * height) as usize];
    Bitmap { format, top_down: true, width, height, stride, palette: None, data: data.into() }
}

/// A slope with some pattern, rows padded by `extra` bytes of rubbish; `high`: the bits that nobody sees.
fn slope(format: BitmapFormat, width: u32, height: u32, extra: u32, high: u8) -> Bitmap {
    let row = (width * format.bits()).div_ceil(8);
    let mut data = Vec::new();
    for y in 0..height {
        let byte = |x: u32| (x / 4 * 3 + y * 2 + u32::from(x.is_multiple_of(7))).to_le_bytes()[0];
        for x in 0..row {
            data.push(match format {
                Bit32 if x % 4 == 3 => high,
                Bit16 if x % 2 == 1 => byte(x) & 0x7f | high & 0x80,
                _ => byte(x),
            });
        }
        data.extend((0..extra).map(|n| (n * 91 + y).to_le_bytes()[0]));
    }
    let entries = (0..256).map(|n| (n * 0x0001_0203) & 0x00ff_ffff).collect();
    let palette = format.is_indexed().then(|| Arc::new(Palette { unique: 3, entries }));
    let stride = row + extra;
    Bitmap { format, top_down: extra == 0, width, height, stride, palette, data: data.into() }
}

/// The rows without their padding.
fn tight(bitmap: &Bitmap) -> Vec<u8> {
    let row = (bitmap.width * bitmap.format.bits()).div_ceil(8) as usize;
    bitmap.data.chunks(bitmap.stride as usize).flat_map(|r| &r[..row]).copied().collect()
}

/// What a client makes of a payload: rows in memory order, and whether the first is the top one.
fn decoded(payload: &ImagePayload, bitmap: &Bitmap) -> (Vec<u8>, bool) {
    let data = payload.data.as_ref().unwrap().as_slice();
    let size = u32::try_from(data.len()).unwrap().to_le_bytes();
    let (mut pixels, top_down) = match payload.image_type {
        TYPE_QUIC => {
            assert_eq!(payload.fields, size);
            let image = decode_quic(data, &DecodeLimits::default()).unwrap();
            assert_eq!((image.width, image.height), (bitmap.width, bitmap.height));
            (image.pixels, true)
        }
        TYPE_LZ_RGB | TYPE_LZ_PLT => {
            if payload.image_type == TYPE_LZ_PLT {
                let flags = if bitmap.top_down { TOP_DOWN } else { 0 };
                assert_eq!(payload.fields[0], flags);
                assert_eq!((&payload.fields[1..5], &payload.fields[5..]), (&size[..], &[0; 4][..]));
                let slot = payload.palette.as_ref().unwrap();
                assert_eq!((slot.flags_at, slot.pointer_at), (0, 5));
            } else {
                assert_eq!(payload.fields, size);
            }
            let image = decode_lz(data).unwrap();
            assert_eq!((image.header.width, image.header.height), (bitmap.width, bitmap.height));
            (image.pixels, image.header.top_down)
        }
        other => panic!("image type {other}"),
    };
    if payload.flags == HIGH_BITS_SET {
        pixels.iter_mut().skip(3).step_by(4).for_each(|byte| *byte |= 255);
    }
    (pixels, top_down)
}

#[test]
fn what_is_coded_decodes_to_the_same_bits() {
    let mut scratch = Scratch::default();
    let (mut streams, skills) = (Vec::new(), Skills::default());
    for format in [Bit1Be, Bit4Be, Bit8, Bit16, Bit24, Bit32, Rgba] {
        for (extra, high) in [(0, 0), (0, 255), (5, 0), (8, 255), (3, 0x81)] {
            let bitmap = slope(format, 101, 67, extra, high);
            for compression in [Compression::Quic, Compression::Lz] {
                for purpose in [Purpose::EXACT, Purpose::SURFACE] {
                    let coding = choose(&bitmap, purpose, compression, skills);
                    let payload = code(&bitmap, coding, &mut scratch).unwrap();
                    if payload.image_type == 0 {
                        assert_eq!(coding, Coding::Raw, "{format:?} does not compress");
                        continue;
                    }
                    let (pixels, top_down) = decoded(&payload, &bitmap);
                    let mut want = tight(&bitmap);
                    if top_down != bitmap.top_down {
                        let row = want.len() / bitmap.height as usize;
                        want = want.chunks(row).rev().flatten().copied().collect();
                    }
                    assert!(pixels == want, "{format:?} {coding:?} {extra} {high}");
                    streams.push((format, coding));
                }
            }
        }
    }
    let has = |coding| streams.iter().any(|(_, c)| *c == coding);
    for pixels in [QuicPixels::Rgb16, QuicPixels::Rgb24, QuicPixels::Rgb32, QuicPixels::Rgba] {
        assert!(has(Coding::Quic(pixels, 0)), "{pixels:?}");
    }
    for pixels in [LzPixels::Rgb16, LzPixels::Rgb24, LzPixels::Rgb32, LzPixels::Rgba] {
        assert!(has(Coding::Lz(pixels, 0)), "{pixels:?}");
    }
    for pixels in [LzPixels::Plt1Be, LzPixels::Plt4Be, LzPixels::Plt8] {
        assert!(has(Coding::LzPalette(pixels)), "{pixels:?}");
    }
    assert!(has(Coding::Quic(QuicPixels::Rgb32, 2)) && has(Coding::Lz(LzPixels::Rgb32, 2)));
}

#[test]
fn what_would_be_lost_goes_as_it_is_or_as_alpha() {
    let chosen =
        |bitmap: &Bitmap, purpose| choose(bitmap, purpose, Compression::Lz, Skills::default());
    let mixed = slope(Bit32, 20, 20, 0, 0x81);
    assert_eq!(chosen(&mixed, Purpose::SEEN), Coding::Raw);
    assert_eq!(chosen(&mixed, Purpose::SURFACE), Coding::Lz(LzPixels::Rgba, 0));
    let high = slope(Bit16, 20, 20, 0, 0x80);
    assert_eq!(chosen(&high, Purpose::SURFACE), Coding::Raw);
    // Indices without colours, and palettes that clients do not look up.
    let mut indexed = slope(Bit8, 20, 20, 0, 0);
    indexed.palette = None;
    assert_eq!(chosen(&indexed, Purpose::SEEN), Coding::Raw);
    for format in [Bit1Le, Bit4Le, Alpha8] {
        assert_eq!(chosen(&slope(format, 20, 20, 0, 0), Purpose::SEEN), Coding::Raw, "{format:?}");
    }
}

#[test]
fn the_wish_decides_and_the_pixels_where_it_leaves_it_to_them() {
    let (photo, flat) = (slope(Rgba, 90, 60, 0, 0), bitmap(Rgba, 90, 60));
    let chosen = |bitmap: &Bitmap, n| {
        let compression = Compression::from_u8(n).unwrap();
        match choose(bitmap, Purpose::SEEN, compression, Skills::default()) {
            Coding::Raw => 0,
            Coding::Quic(..) => TYPE_QUIC,
            Coding::Lz(..) => TYPE_LZ_RGB,
            Coding::LzPalette(_) => TYPE_LZ_PLT,
            Coding::Lz4 => TYPE_LZ4,
        }
    };
    let all = |bitmap: &Bitmap| [1, 2, 3, 4, 5, 6, 7].map(|n| chosen(bitmap, n));
    // Off, AUTO_GLZ, AUTO_LZ, QUIC, GLZ, LZ, LZ4 of a client that has none.
    assert_eq!(all(&photo), [0, 1, 1, 1, 101, 101, 101]);
    assert_eq!(all(&flat), [0, 101, 101, 1, 101, 101, 101]);
    assert_eq!(all(&slope(Bit8, 90, 60, 0, 0)), [0, 100, 100, 0, 100, 100, 100]);
    assert_eq!(all(&slope(Rgba, 2, 60, 0, 0)), [0, 101, 101, 0, 101, 101, 101], "too narrow");
    assert_eq!(all(&bitmap(Rgba, 13, 1)), [0; 7], "too small");
}

#[test]
fn lz4_is_for_direct_colours_and_for_clients_that_have_it() {
    let able = Skills { lz4: true, slow: false, local: false };
    let chosen =
        |format, skills| choose(&bitmap(format, 64, 64), Purpose::EXACT, Compression::Lz4, skills);
    for format in [Bit16, Bit24, Bit32, Rgba] {
        assert_eq!(chosen(format, able), Coding::Lz4, "{format:?}");
        assert_ne!(chosen(format, Skills::default()), Coding::Lz4, "{format:?}");
    }
    for format in [Bit1Be, Bit4Be, Bit8, Alpha8] {
        assert_eq!(chosen(format, able), Coding::Raw, "{format:?}");
    }
    let small = bitmap(Bit32, 13, 1);
    assert_eq!(choose(&small, Purpose::EXACT, Compression::Lz4, able), Coding::Raw);
}

#[test]
fn on_the_same_machine_only_pixels_of_surfaces_are_compressed() {
    let near = Skills { lz4: true, slow: false, local: true };
    let chosen = |purpose, compression| choose(&bitmap(Rgba, 64, 64), purpose, compression, near);
    assert_eq!(chosen(Purpose::SEEN, Compression::Lz4), Coding::Raw);
    assert_eq!(chosen(Purpose::SURFACE, Compression::Lz4), Coding::Lz4);
    assert_eq!(chosen(Purpose::SEEN, Compression::Lz), Coding::Raw);
    assert_eq!(chosen(Purpose::SURFACE, Compression::Lz), Coding::Lz(LzPixels::Rgba, 0));
}

#[test]
fn what_would_grow_goes_as_it_is() {
    let codings = [
        (Coding::Lz4, TYPE_LZ4),
        (Coding::Quic(QuicPixels::Rgba, 0), TYPE_QUIC),
        (Coding::Lz(LzPixels::Rgba, 0), TYPE_LZ_RGB),
    ];
    let mut noise = bitmap(Rgba, 5, 5);
    noise.data = (0..100u8).map(|n| n.wrapping_mul(151) ^ n >> 2).collect::<Vec<_>>().into();
    let mut short = bitmap(Rgba, 50, 50);
    short.data = vec![0; 9_999].into();
    for (coding, image_type) in codings {
        let kind =
            |bitmap: &Bitmap| code(bitmap, coding, &mut Scratch::default()).unwrap().image_type;
        assert_eq!(kind(&noise), 0);
        assert_eq!(kind(&bitmap(Rgba, 50, 50)), image_type);
        assert!(code(&short, coding, &mut Scratch::default()).is_err());
    }
}

#[test]
fn memory_of_large_pictures_is_given_back() {
    let mut scratch = Scratch::default();
    let large = slope(Rgba, 1200, 1200, 4, 0);
    code(&large, Coding::Lz(LzPixels::Rgba, 0), &mut scratch).unwrap();
    assert!(scratch.lz.capacity() > Scratch::KEPT);
    scratch.trim();
    assert_eq!(scratch.lz.capacity(), 0);
}

#[test]
fn a_slow_decoder_gets_no_quic_where_the_choice_is_ours() {
    let photo = slope(Bit32, 200, 200, 0, 0);
    let chosen = |compression, slow| {
        choose(&photo, Purpose::EXACT, compression, Skills { slow, ..Skills::default() })
    };
    for compression in [Compression::AutoLz, Compression::AutoGlz] {
        assert!(matches!(chosen(compression, false), Coding::Quic(..)));
        assert!(matches!(chosen(compression, true), Coding::Lz(..)));
    }
    assert!(matches!(chosen(Compression::Quic, true), Coding::Quic(..)));
}

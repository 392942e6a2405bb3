//! What is chosen, and that what is coded decodes to the same bits.

use super::*;
use crate::display::encode::dictionary::TYPE_GLZ_RGB;
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
            Coding::Glz(..) => TYPE_GLZ_RGB,
            Coding::LzPalette(_) => TYPE_LZ_PLT,
            Coding::Lz4 => TYPE_LZ4,
            Coding::Jpeg(_) => TYPE_JPEG,
            Coding::JpegAlpha => TYPE_JPEG_ALPHA,
        }
    };
    let all = |bitmap: &Bitmap| [1, 2, 3, 4, 5, 6, 7].map(|n| chosen(bitmap, n));
    // Off, AUTO_GLZ, AUTO_LZ, QUIC, GLZ, LZ, LZ4 of a client that has none.
    assert_eq!(all(&photo), [0, 1, 1, 1, 102, 101, 101]);
    assert_eq!(all(&flat), [0, 102, 101, 1, 102, 101, 101]);
    assert_eq!(all(&slope(Bit8, 90, 60, 0, 0)), [0, 100, 100, 0, 100, 100, 100]);
    assert_eq!(all(&slope(Rgba, 2, 60, 0, 0)), [0, 102, 101, 0, 102, 101, 101], "too narrow");
    assert_eq!(all(&bitmap(Rgba, 13, 1)), [0; 7], "too small");
}

#[test]
fn a_number_is_for_what_clients_decode_in_order() {
    let chosen =
        |bitmap: &Bitmap, purpose| choose(bitmap, purpose, Compression::Glz, Skills::default());
    let flat = bitmap(Bit32, 64, 64);
    assert_eq!(chosen(&flat, Purpose::SEEN), Coding::Raw, "its fourth bytes would be lost");
    let flat = slope(Bit32, 64, 64, 3, 255);
    for purpose in [Purpose::SEEN, Purpose::EXACT, Purpose::SURFACE] {
        assert_eq!(chosen(&flat, purpose), Coding::Glz(LzPixels::Rgb32, HIGH_BITS_SET));
    }
    for purpose in [Purpose::PATTERN, Purpose::COMPOSED] {
        assert_eq!(chosen(&flat, purpose), Coding::Lz(LzPixels::Rgb32, HIGH_BITS_SET));
    }
    let bits = chosen(&slope(Bit8, 64, 64, 0, 0), Purpose::SEEN);
    assert_eq!(bits, Coding::LzPalette(LzPixels::Plt8));
    // Where there is no dictionary the same pixels go as LZ.
    let code = |coding| code(&flat, coding, &mut Scratch::default()).unwrap();
    let (lz, glz) = (Coding::Lz(LzPixels::Rgb32, 2), Coding::Glz(LzPixels::Rgb32, 2));
    assert_eq!(code(glz).image_type, TYPE_LZ_RGB);
    assert_eq!(code(glz).data.unwrap().as_slice(), code(lz).data.unwrap().as_slice());
}

#[test]
fn lz4_is_for_direct_colours_and_for_clients_that_have_it() {
    let able = Skills { lz4: true, ..Skills::default() };
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
    let near = Skills { lz4: true, local: true, jpeg: true, ..Skills::default() };
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
        (Coding::Jpeg(0), TYPE_JPEG),
        (Coding::JpegAlpha, TYPE_JPEG_ALPHA),
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

#[test]
fn jpeg_takes_the_place_of_quic_where_losses_are_allowed() {
    let slow = Skills { jpeg: true, ..Skills::default() };
    let chosen = |bitmap: &Bitmap, purpose, compression| choose(bitmap, purpose, compression, slow);
    for compression in [Compression::Quic, Compression::AutoLz, Compression::AutoGlz] {
        for (format, high, coding) in [
            (Bit16, 0, Coding::Jpeg(0)),
            (Bit24, 0, Coding::Jpeg(0)),
            (Bit32, 0, Coding::Jpeg(0)),
            (Bit32, 0xff, Coding::Jpeg(HIGH_BITS_SET)),
            (Rgba, 0, Coding::JpegAlpha),
        ] {
            let photo = slope(format, 90, 60, 0, high);
            // In 16 bits this one does not look like a photograph.
            let coding = if format == Bit16 && compression != Compression::Quic {
                match compression {
                    Compression::AutoGlz => Coding::Glz(LzPixels::Rgb16, 0),
                    _ => Coding::Lz(LzPixels::Rgb16, 0),
                }
            } else {
                coding
            };
            assert_eq!(chosen(&photo, Purpose::SEEN, compression), coding, "{format:?}");
            for exact in [Purpose::EXACT, Purpose::COMPOSED, Purpose::SURFACE] {
                assert!(!chosen(&photo, exact, compression).is_lossy(), "{format:?} {exact:?}");
            }
        }
        // Bits that nobody sees are kept or the bitmap goes as it is, as with every codec.
        let mixed = slope(Bit32, 90, 60, 0, 0x81);
        assert_eq!(chosen(&mixed, Purpose::SEEN, compression), Coding::Raw);
    }
    // What QUIC would not be chosen for.
    let flat = bitmap(Bit32, 90, 60);
    assert!(!chosen(&flat, Purpose::SEEN, Compression::AutoLz).is_lossy());
    assert!(!chosen(&slope(Bit32, 90, 60, 0, 0), Purpose::SEEN, Compression::Lz).is_lossy());
    assert!(!chosen(&slope(Bit8, 90, 60, 0, 0), Purpose::SEEN, Compression::Quic).is_lossy());
    // Smaller than is worth one.
    assert!(!chosen(&bitmap(Rgba, 16, 15), Purpose::SEEN, Compression::Quic).is_lossy());
    assert!(chosen(&bitmap(Rgba, 16, 16), Purpose::SEEN, Compression::Quic).is_lossy());
    // Longer than a JPEG can be.
    let wide = bitmap(Bit16, 65_501, 3);
    assert!(!chosen(&wide, Purpose::SEEN, Compression::Quic).is_lossy());
    assert!(chosen(&bitmap(Bit16, 65_500, 3), Purpose::SEEN, Compression::Quic).is_lossy());
}

#[test]
fn jpeg_with_alpha_says_how_long_its_parts_are() {
    for extra in [0, 8] {
        let photo = slope(Rgba, 90, 60, extra, 0);
        let payload = code(&photo, Coding::JpegAlpha, &mut Scratch::default()).unwrap();
        assert_eq!((payload.image_type, payload.flags), (TYPE_JPEG_ALPHA, 0));
        let data = payload.data.unwrap();
        let field = |n: usize| {
            u32::from_le_bytes(payload.fields[1 + 4 * n..5 + 4 * n].try_into().unwrap()) as usize
        };
        assert_eq!((payload.fields[0], payload.fields.len()), (u8::from(extra == 0), 9));
        assert_eq!(field(1), data.as_slice().len());
        let (jpeg, alpha) = data.as_slice().split_at(field(0));
        assert_eq!((&jpeg[..2], &jpeg[jpeg.len() - 2..]), (&[0xff, 0xd8][..], &[0xff, 0xd9][..]));
        let image = decode_lz(alpha).unwrap();
        assert_eq!((image.header.pixels, image.header.top_down), (LzPixels::Xxxa, extra == 0));
        let want: Vec<u8> = tight(&photo).as_chunks::<4>().0.iter().map(|p| p[3]).collect();
        let got: Vec<u8> = image.pixels.as_chunks::<4>().0.iter().map(|p| p[3]).collect();
        assert_eq!(got, want);
    }
}

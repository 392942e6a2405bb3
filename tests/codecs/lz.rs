//! LZ: every vector decodes to its pixels, and what is written decodes to the same ones.

use spice_server::codec::lz::{
    EncodeError, LzError, PixelType, Scratch, decode, encode, encode_at, peek,
};
use spice_server::codec::simd::{Level, levels};
use spice_server::codec::{Limits, Rows};

use crate::index::{Vector, outside_vectors, vectors};
use crate::pictures;

fn pixel_type(vector: &Vector) -> PixelType {
    match vector.text("type") {
        "PLT1_LE" => PixelType::Plt1Le,
        "PLT1_BE" => PixelType::Plt1Be,
        "PLT4_LE" => PixelType::Plt4Le,
        "PLT4_BE" => PixelType::Plt4Be,
        "PLT8" => PixelType::Plt8,
        "RGB16" => PixelType::Rgb16,
        "RGB24" => PixelType::Rgb24,
        "RGB32" => PixelType::Rgb32,
        "RGBA" => PixelType::Rgba,
        "XXXA" => PixelType::Xxxa,
        "A8" => PixelType::A8,
        other => panic!("{other}"),
    }
}

fn rows<'a>(vector: &Vector, raw: &'a [u8]) -> Rows<'a> {
    let (width, height) = (vector.number("width"), vector.number("height"));
    let stride = vector.number("stride") as usize;
    Rows::new(raw, width, height, pixel_type(vector).bits(), stride, vector.top_down()).unwrap()
}

/// Pixels without what a stream does not keep, or does not have to.
fn kept(mut pixels: Vec<u8>, format: PixelType) -> Vec<u8> {
    let mask: &[u8] = match format {
        PixelType::Rgb16 => &[0xff, 0x7f],
        PixelType::Rgb32 => &[0xff, 0xff, 0xff, 0],
        PixelType::Xxxa => &[0, 0, 0, 0xff],
        _ => return pixels,
    };
    for (byte, mask) in pixels.iter_mut().zip(mask.iter().cycle()) {
        *byte &= mask;
    }
    pixels
}

fn kept_of(rows: &Rows<'_>, format: PixelType) -> Vec<u8> {
    kept(rows.in_memory().collect::<Vec<_>>().concat(), format)
}

#[test]
fn every_vector_decodes_to_its_pixels() {
    let mut vectors = vectors("lz");
    vectors.extend(outside_vectors("lz_decode_only"));
    for vector in &vectors {
        let (raw, stream) = (vector.file("raw"), vector.file("enc"));
        let (format, name) = (pixel_type(vector), vector.text("name"));
        let image = decode(&stream, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let header = image.header;
        assert_eq!(header.pixels, format);
        assert_eq!(header.top_down, vector.top_down());
        assert_eq!(
            (header.width, header.height),
            (vector.number("width"), vector.number("height"))
        );
        assert!(kept(image.pixels, format) == kept_of(&rows(vector, &raw), format), "{name}");
    }
    println!("{} vectors", vectors.len());
}

#[test]
fn what_is_written_is_read_again_and_not_larger_than_the_reference_s() {
    let mut scratch = Scratch::default();
    let (mut ours, mut theirs) = (0, 0);
    for vector in &vectors("lz") {
        let (raw, format) = (vector.file("raw"), pixel_type(vector));
        let rows = rows(vector, &raw);
        let mut stream = vec![9];
        encode(&rows, format, usize::MAX, &mut scratch, &mut stream).unwrap();
        let image = decode(&stream[1..], &Limits::default()).unwrap();
        assert_eq!(image.header, peek(&vector.file("enc")).unwrap());
        assert!(image.pixels == kept_of(&rows, format), "{}", vector.text("name"));
        let size = stream.len() - 1;
        let most = vector.number("enc_bytes") as usize * 101 / 100;
        assert!(size <= most, "{} {format:?}: {size}, at most {most}", vector.text("name"));
        ours += size;
        theirs += vector.number("enc_bytes") as usize;

        let refused = encode(&rows, format, size - 1, &mut scratch, &mut stream);
        assert_eq!(refused, Err(EncodeError::Larger(size - 1)));
        assert_eq!(stream.len(), size + 1);
        encode(&rows, format, size, &mut scratch, &mut stream).unwrap();
    }
    println!("{ours} bytes, the reference {theirs}");
    assert!(ours * 100 <= theirs * 101);
}

#[test]
fn a_stream_that_was_cut_or_goes_on_is_refused() {
    for vector in vectors("lz").iter().filter(|v| v.number("enc_bytes") < 800) {
        let mut stream = vector.file("enc");
        for end in 0..stream.len() {
            let error = decode(&stream[..end], &Limits::default()).unwrap_err();
            assert!(matches!(error, LzError::Short(_) | LzError::Truncated(_)), "{error}");
        }
        stream.push(0);
        assert_eq!(decode(&stream, &Limits::default()), Err(LzError::Trailing(1)));
    }
}

/// A header with the right stride, and a body.
fn stream(pixels: u32, width: u32, stride: u32, height: u32, body: &[u8]) -> Vec<u8> {
    let words = [0x2020_5a4c, 0x0001_0001, pixels, width, height, stride, 1];
    let mut stream = words.map(u32::to_be_bytes).concat();
    stream.extend(body);
    stream
}

#[test]
fn a_header_is_not_believed() {
    let peeked = |pixels, width, stride, height| peek(&stream(pixels, width, stride, height, &[]));
    assert_eq!(peek(&[0; 27]), Err(LzError::Short(27)));
    assert_eq!(peek(&[0; 28]), Err(LzError::Magic(0)));
    assert_eq!(peeked(0, 1, 1, 1), Err(LzError::PixelType(0)));
    assert_eq!(peeked(12, 1, 1, 1), Err(LzError::PixelType(12)));
    assert_eq!(peeked(8, 0, 0, 1), Err(LzError::Size { width: 0, height: 1 }));
    assert_eq!(peeked(8, 1, 4, 0), Err(LzError::Size { width: 1, height: 0 }));
    let size = LzError::Size { width: 1 << 14, height: 1 << 14 };
    assert_eq!(peeked(8, 1 << 14, 1 << 16, 1 << 14), Err(size));
    let size = LzError::Size { width: u32::MAX, height: u32::MAX };
    assert_eq!(peeked(8, u32::MAX, 0, u32::MAX), Err(size));
    assert_eq!(peeked(8, 2, 9, 1), Err(LzError::Stride { stride: 9, row: 8 }));
    assert_eq!(peeked(1, 9, 1, 1), Err(LzError::Stride { stride: 1, row: 2 }));
    // A picture that its few bytes cannot fill is refused before memory is asked for.
    let much = stream(8, 8192, 4 * 8192, 8191, &[0xe0, 0xff, 0xff]);
    assert_eq!(decode(&much, &Limits { pixels: u64::MAX }), Err(LzError::Truncated(0)));
    let refused = Err(LzError::Size { width: 8192, height: 8191 });
    assert_eq!(decode(&much, &Limits { pixels: 8192 }), refused);
}

#[test]
fn matches_and_literals_stay_inside_the_picture() {
    let decoded = |body: &[u8]| decode(&stream(11, 8, 8, 1, body), &Limits::default());
    assert_eq!(decoded(&[0, 5, 0x80]), Err(LzError::Truncated(1)));
    assert_eq!(decoded(&[0, 5, 0xa0, 0]).unwrap().pixels, [5; 8]);
    assert_eq!(decoded(&[0, 5, 0xa0, 1]), Err(LzError::Distance { at: 1, distance: 2 }));
    assert_eq!(decoded(&[0x20, 0]), Err(LzError::Distance { at: 0, distance: 1 }));
    assert_eq!(decoded(&[0, 5, 0xc0, 0]), Err(LzError::Overflow { at: 1, excess: 1 }));
    assert_eq!(decoded(&[8]), Err(LzError::Overflow { at: 0, excess: 1 }));
    let endless = decoded(&[0, 5, 0xe0, 255, 255, 255]);
    assert_eq!(endless, Err(LzError::Overflow { at: 1, excess: 257 }));
    // Far forms have their distance in two more bytes.
    let far = Err(LzError::Distance { at: 1, distance: 8192 + 0x102 });
    assert_eq!(decoded(&[0, 5, 0x3f, 255, 1, 2]), far);
}

#[test]
fn pictures_of_any_shape_come_back() {
    let mut scratch = Scratch::default();
    let shapes = (1..=9).flat_map(|width| (1..=4).map(move |height| (width, height))).chain([
        (63, 9),
        (2047, 3),
        (8191, 3),
        (8192, 4),
        (9000, 20),
        (200, 130),
        (700, 300),
    ]);
    for (seed, (width, height)) in (1..).zip(shapes) {
        for format in (1..=11).filter_map(PixelType::from_u32) {
            let bytes = format.bits().div_ceil(8) as usize;
            let row = (width * format.bits() as usize).div_ceil(8);
            let stride = row + seed as usize % 4;
            let data = pictures::picture(seed, row / bytes, height, stride, bytes);
            let (w, h) = (u32::try_from(width).unwrap(), u32::try_from(height).unwrap());
            let rows = Rows::new(&data, w, h, format.bits(), stride, seed % 3 != 0).unwrap();
            let mut stream = Vec::new();
            encode_at(Level::Scalar, &rows, format, usize::MAX, &mut scratch, &mut stream).unwrap();
            for level in levels().skip(1) {
                let mut other = Vec::new();
                encode_at(level, &rows, format, usize::MAX, &mut scratch, &mut other).unwrap();
                assert!(other == stream, "{level:?} {format:?} {width}x{height}");
            }
            let image = decode(&stream, &Limits::default()).unwrap();
            assert_eq!((image.header.width, image.header.height), (w, h));
            assert!(image.pixels == kept_of(&rows, format), "{format:?} {width}x{height}");
        }
    }
}

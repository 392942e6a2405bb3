//! QUIC: every vector decodes to its pixels and is written byte for byte.

use spice_server::codec::quic::{
    EncodeError, PixelType, QuicError, Scratch, decode, decode_at, encode, encode_at, peek,
};
use spice_server::codec::simd::{Level, levels};
use spice_server::codec::{Limits, Rows};

use crate::index::{Vector, vectors};
use crate::pictures;

fn pixel_type(vector: &Vector) -> PixelType {
    match vector.text("type") {
        "GRAY" => PixelType::Gray,
        "RGB16" => PixelType::Rgb16,
        "RGB24" => PixelType::Rgb24,
        "RGB32" => PixelType::Rgb32,
        "RGBA" => PixelType::Rgba,
        other => panic!("{other}"),
    }
}

fn bits(format: PixelType) -> u32 {
    u32::try_from(format.bytes() * 8).unwrap()
}

fn rows<'a>(vector: &Vector, raw: &'a [u8]) -> Rows<'a> {
    let (width, height) = (vector.number("width"), vector.number("height"));
    let bits = bits(pixel_type(vector));
    let stride = vector.number("stride") as usize;
    Rows::new(raw, width, height, bits, stride, vector.top_down()).unwrap()
}

/// The picture from its top row on, without what a stream does not keep.
fn kept(rows: &Rows<'_>, format: PixelType) -> Vec<u8> {
    let mut pixels = rows.from_top().collect::<Vec<_>>().concat();
    let (step, mask) = match format {
        PixelType::Rgb16 => (2, 0x7f),
        PixelType::Rgb32 => (4, 0),
        _ => return pixels,
    };
    pixels.iter_mut().skip(step - 1).step_by(step).for_each(|byte| *byte &= mask);
    pixels
}

#[test]
fn every_vector_decodes_to_its_pixels() {
    let vectors = vectors("quic");
    for vector in &vectors {
        let (raw, stream) = (vector.file("raw"), vector.file("enc"));
        let (format, name) = (pixel_type(vector), vector.text("name"));
        let image = decode(&stream, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(image.format, format);
        assert_eq!((image.width, image.height), (vector.number("width"), vector.number("height")));
        assert_eq!(image.stride, image.width as usize * format.bytes());
        assert!(image.pixels == kept(&rows(vector, &raw), format), "{name}");
    }
    println!("{} vectors", vectors.len());
}

#[test]
fn every_picture_gets_the_bytes_of_its_vector() {
    let mut scratch = Scratch::default();
    for vector in &vectors("quic") {
        let (raw, stream) = (vector.file("raw"), vector.file("enc"));
        let mut out = vec![9];
        let rows = rows(vector, &raw);
        encode(&rows, pixel_type(vector), stream.len(), &mut scratch, &mut out).unwrap();
        assert!(out[1..] == stream, "{}", vector.text("name"));
        for level in levels() {
            let mut other = Vec::new();
            encode_at(level, &rows, pixel_type(vector), usize::MAX, &mut scratch, &mut other)
                .unwrap();
            assert!(other == stream, "{level:?} {}", vector.text("name"));
        }
        // One byte less is too little, and what was there before is there again.
        let limit = stream.len() - 1;
        let refused = encode(&rows, pixel_type(vector), limit, &mut scratch, &mut out);
        assert_eq!(refused, Err(EncodeError::Larger(limit)));
        assert_eq!(out.len(), 1 + stream.len());
    }
}

#[test]
fn a_stream_that_was_cut_is_refused() {
    for vector in vectors("quic").iter().filter(|v| v.number("enc_bytes") < 3000) {
        let stream = vector.file("enc");
        // Without its closing word a stream is whole: nothing stands in it.
        let whole = stream.len() - 4;
        assert!(decode(&stream[..whole], &Limits::default()).is_ok());
        for end in (0..whole).step_by(4) {
            let error = decode(&stream[..end], &Limits::default()).unwrap_err();
            assert!(
                matches!(error, QuicError::Short(_) | QuicError::Truncated(_)),
                "{}: {error}",
                vector.text("name")
            );
        }
    }
}

#[test]
fn a_header_is_not_believed() {
    let header = |words: [u32; 5]| words.map(u32::to_le_bytes).concat();
    let magic = u32::from_le_bytes(*b"QUIC");
    assert_eq!(peek(&[0; 19]), Err(QuicError::Short(19)));
    assert_eq!(peek(&header([1, 0, 1, 1, 1])), Err(QuicError::Magic(1)));
    assert_eq!(peek(&header([magic, 1, 1, 1, 1])), Err(QuicError::Version(1)));
    for pixels in [0, 6, u32::MAX] {
        assert_eq!(peek(&header([magic, 0, pixels, 1, 1])), Err(QuicError::PixelType(pixels)));
    }
    for (width, height) in [(0, 1), (1, 0), (1 << 15, 1 << 14), (u32::MAX, u32::MAX)] {
        let refused = Err(QuicError::Size { width, height });
        assert_eq!(peek(&header([magic, 0, 4, width, height])), refused);
    }
    // A picture that its few bytes cannot fill is refused before memory is asked for.
    let mut stream = header([magic, 0, 4, 1 << 14, 1 << 14]);
    stream.extend([0xff; 8]);
    let limits = Limits { pixels: u64::MAX };
    assert_eq!(decode(&stream, &limits), Err(QuicError::Truncated(0)));
    let refused = Err(QuicError::Size { width: 1 << 14, height: 1 << 14 });
    assert_eq!(decode(&stream, &Limits::default()), refused);
}

#[test]
fn pictures_of_any_shape_come_back() {
    let mut scratch = Scratch::default();
    let shapes = (1..=9)
        .flat_map(|width| (1..=4).map(move |height| (width, height)))
        .chain([(63, 9), (64, 9), (65, 9), (128, 20), (2047, 3), (2048, 3), (2049, 7), (4500, 3)])
        .chain([(3000, 1), (1, 3000), (200, 130), (13_000, 3)]);
    for (seed, (width, height)) in (1..).zip(shapes) {
        for format in
            [PixelType::Gray, PixelType::Rgb16, PixelType::Rgb24, PixelType::Rgb32, PixelType::Rgba]
        {
            let stride = width * format.bytes() + seed as usize % 4;
            let data = pictures::picture(seed, width, height, stride, format.bytes());
            let (w, h) = (u32::try_from(width).unwrap(), u32::try_from(height).unwrap());
            let rows = Rows::new(&data, w, h, bits(format), stride, seed % 3 != 0).unwrap();
            let mut stream = Vec::new();
            encode_at(Level::Scalar, &rows, format, usize::MAX, &mut scratch, &mut stream).unwrap();
            let image = decode_at(Level::Scalar, &stream, &Limits::default()).unwrap();
            for level in levels().skip(1) {
                let mut other = Vec::new();
                encode_at(level, &rows, format, usize::MAX, &mut scratch, &mut other).unwrap();
                assert!(other == stream, "{level:?} {format:?} {width}x{height}");
                let decoded = decode_at(level, &stream, &Limits::default());
                assert_eq!(decoded.as_ref(), Ok(&image), "{level:?}");
            }
            assert_eq!((image.format, image.width, image.height), (format, w, h));
            assert!(image.pixels == kept(&rows, format), "{format:?} {width}x{height}");
        }
    }
}

#[test]
fn rows_of_another_format_are_refused() {
    let rows = Rows::new(&[0; 12], 3, 1, 32, 12, true).unwrap();
    let mut out = Vec::new();
    let refused = encode(&rows, PixelType::Rgb24, 99, &mut Scratch::default(), &mut out);
    assert_eq!(refused, Err(EncodeError::Row { row: 12, need: 9 }));
    assert!(out.is_empty());
}

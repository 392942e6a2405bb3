//! JPEG: what spice-server's encoder makes of the same pixels is no smaller, and the alpha behind it decodes to its bytes.

use spice_server::codec::Limits;
use spice_server::codec::lz::{PixelType, decode};
use spice_server::pool::{JpegScratch, LzScratch, Picture, encode_jpeg, encode_jpeg_alpha};

use crate::index::{Vector, outside_vectors};

fn picture<'a>(vector: &Vector, raw: &'a [u8]) -> Picture<'a> {
    let bits = match vector.text("type") {
        "RGB16" => 16,
        "BGR24" => 24,
        "BGRX32" | "RGBA" => 32,
        other => panic!("{other}"),
    };
    Picture {
        data: raw,
        width: vector.number("width"),
        height: vector.number("height"),
        bits,
        stride: vector.number("stride"),
        top_down: vector.top_down(),
        format: 0,
    }
}

#[test]
fn a_stream_is_no_longer_than_the_references() {
    let vectors = outside_vectors("jpeg").into_iter().filter(|v| v.number("quality") == 85);
    for vector in vectors {
        let (raw, theirs) = (vector.file("raw"), vector.file("enc"));
        let picture = picture(&vector, &raw);
        let ours = encode_jpeg(&picture, usize::MAX, &mut JpegScratch::default()).unwrap();
        let (name, most) = (vector.text("name"), theirs.len() + theirs.len() / 50);
        println!(
            "{name}: {} bytes, {} theirs, equal: {}",
            ours.len(),
            theirs.len(),
            ours == theirs
        );
        assert!(ours.len() <= most, "{name}: {} bytes, {} theirs", ours.len(), theirs.len());
    }
}

#[test]
fn the_alpha_of_a_vector_decodes_to_its_bytes() {
    for vector in outside_vectors("jpegalpha") {
        let (raw, theirs) = (vector.file("raw"), vector.file("enc"));
        let (mut jpeg, mut lz) = (JpegScratch::default(), LzScratch::default());
        let picture = picture(&vector, &raw);
        let (ours_at, ours) = encode_jpeg_alpha(&picture, usize::MAX, &mut jpeg, &mut lz).unwrap();
        let theirs_at = vector.number("jpeg_bytes") as usize;
        for (at, stream) in [(ours_at, &ours), (theirs_at, &theirs)] {
            let image = decode(&stream[at..], &Limits::default()).unwrap();
            let header = image.header;
            assert_eq!((header.pixels, header.top_down), (PixelType::Xxxa, vector.top_down()));
            assert_eq!((header.width, header.height), (picture.width, picture.height));
            let alpha = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|p| p[3]).collect();
            let (got, want): (Vec<u8>, Vec<u8>) = (alpha(&image.pixels), alpha(&raw));
            assert!(got == want, "{}", vector.text("name"));
        }
        let name = vector.text("name");
        println!("{name}: {} bytes, {} theirs", ours.len(), theirs.len());
        assert!(ours.len() <= theirs.len() + theirs.len() / 50, "{name}: {}", ours.len());
    }
}

//! GLZ: sequences of the reference decode to their pixels, and what is written decodes again, with
//! a window that is kept as a client keeps it.

use spice_server::codec::glz::{
    Dictionary, GlzError, Origin, Scratch, Ticket, TicketError, Window, encode, encode_at, peek,
};
use spice_server::codec::lz::PixelType;
use spice_server::codec::simd::{Level, best};
use spice_server::codec::{Limits, Rows};

use crate::index::{Vector, outside_vectors};
use crate::pictures;

const LIMITS: Limits = Limits { pixels: 1 << 26 };

/// The streams of a sequence: each one behind its length.
fn streams(file: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut streams) = (file, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (stream, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        streams.push(stream);
        rest = after;
    }
    streams
}

/// Pixels as decoders give them: four bytes, of which the last one is alpha or 0.
fn decoded(rows: &Rows<'_>, format: PixelType) -> Vec<[u8; 4]> {
    let bytes = rows.in_memory().collect::<Vec<_>>().concat();
    let wide = |five: u16| {
        let five = u8::try_from(five & 31).unwrap();
        five << 3 | five >> 2
    };
    match format {
        PixelType::Rgb16 => {
            let pixels = bytes.as_chunks().0.iter().map(|pixel| u16::from_le_bytes(*pixel));
            pixels.map(|p| [wide(p), wide(p >> 5), wide(p >> 10), 0]).collect()
        }
        PixelType::Rgb24 => bytes.as_chunks().0.iter().map(|&[b, g, r]| [b, g, r, 0]).collect(),
        PixelType::Rgb32 => bytes.as_chunks().0.iter().map(|&[b, g, r, _]| [b, g, r, 0]).collect(),
        _ => bytes.as_chunks().0.to_vec(),
    }
}

fn rows<'a>(raw: &'a [u8], (width, height): (usize, usize), format: PixelType) -> Rows<'a> {
    let (w, h) = (u32::try_from(width).unwrap(), u32::try_from(height).unwrap());
    let bits = format.bits();
    Rows::new(raw, w, h, bits, width * bits as usize / 8, true).unwrap()
}

/// Raw pictures lie behind each other, tight, in the order of memory.
fn raw_of<'a>(header: &spice_server::codec::glz::Header, raw: &mut &'a [u8]) -> &'a [u8] {
    let size = header.width as usize * header.height as usize * header.pixels.bits() as usize / 8;
    let (this, rest) = raw.split_at(size);
    *raw = rest;
    this
}

#[test]
fn every_sequence_decodes_to_its_pixels() {
    let vectors: Vec<Vector> = outside_vectors("glz_seq");
    for vector in &vectors {
        let (file, raw) = (vector.file("enc"), vector.file("raw"));
        let (mut window, mut rest) = (Window::default(), raw.as_slice());
        for stream in streams(&file) {
            let image = window.decode(stream, &LIMITS).unwrap();
            let header = image.header;
            let raw = raw_of(&header, &mut rest);
            let size = (header.width as usize, header.height as usize);
            let wanted = decoded(&rows(raw, size, header.pixels), header.pixels);
            assert!(image.pixels == wanted, "{} {header:?}", vector.text("name"));
            assert!(window.pixels() <= u64::from(vector.number("window_pixels")));
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn every_form_of_a_match_is_understood() {
    for vector in outside_vectors("glz_decode_only_seq") {
        let (file, raw) = (vector.file("enc"), vector.file("raw"));
        let (mut window, mut rest) = (Window::default(), raw.as_slice());
        for stream in streams(&file) {
            let image = window.decode(stream, &LIMITS).unwrap();
            let (wanted, after) = rest.split_at(image.pixels.len() * 4);
            rest = after;
            let pixels = image.pixels.chunks(image.header.width as usize);
            let visual: Vec<_> = if image.header.top_down {
                pixels.flatten().copied().collect()
            } else {
                pixels.rev().flatten().copied().collect()
            };
            assert!(visual.as_flattened() == wanted, "{:?}", image.header);
        }
        assert!(rest.is_empty());
    }
}

/// The same frames through our dictionary: not larger than the reference's, and decoded right.
#[test]
fn sequences_are_not_larger_than_the_reference_s() {
    for vector in outside_vectors("glz_seq") {
        let (file, raw) = (vector.file("enc"), vector.file("raw"));
        let window_pixels = vector.number("window_pixels");
        let dictionary = Dictionary::new(window_pixels as usize);
        let (mut scratch, mut window) = (Scratch::default(), Window::default());
        let (mut ours, mut theirs, mut rest) = (0, 0, raw.as_slice());
        for stream in streams(&file) {
            let header = peek(stream).unwrap();
            let raw = raw_of(&header, &mut rest);
            let size = (header.width as usize, header.height as usize);
            let rows = rows(raw, size, header.pixels);
            let ticket = dictionary.ticket(&rows, header.pixels, 0).unwrap();
            assert_eq!(ticket.id(), header.id);
            let mut out = Vec::new();
            encode(&dictionary, &ticket, &mut scratch, &mut out);
            let image = window.decode(&out, &LIMITS).unwrap();
            assert!(image.pixels == decoded(&rows, header.pixels), "{header:?}");
            assert!(window.pixels() <= u64::from(window_pixels));
            if out.len() * 10 > stream.len() * 11 + 400 {
                println!("{header:?}: {}, the reference {}", out.len(), stream.len());
            }
            ours += out.len();
            theirs += stream.len();
        }
        println!("{}: {ours} bytes, the reference {theirs}", vector.text("name"));
        assert!(ours * 100 <= theirs * 105, "{}: {ours}", vector.text("name"));
    }
}

const TYPES: [PixelType; 4] =
    [PixelType::Rgb16, PixelType::Rgb24, PixelType::Rgb32, PixelType::Rgba];

#[test]
fn pictures_of_any_shape_come_back_and_the_window_stays_small() {
    const WINDOW: u32 = 30_000;
    let dictionaries = [Dictionary::new(WINDOW as usize), Dictionary::new(WINDOW as usize)];
    let (mut scratch, mut window) = (Scratch::default(), Window::default());
    let shapes = (1..=9).flat_map(|width| (1..=4).map(move |height| (width, height))).chain([
        (63, 9),
        (2047, 3),
        (200, 130),
        (8, 8),
        (120, 31),
    ]);
    for (seed, size) in (1u32..).zip(shapes.cycle().take(150)) {
        let format = TYPES[seed as usize % 4];
        let bytes = format.bits() as usize / 8;
        // Some come again, some with other colours.
        let data = pictures::picture(seed % 37, size.0, size.1, size.0 * bytes, bytes);
        let rows = rows(&data, size, format);
        let mut streams = Vec::new();
        for (dictionary, level) in dictionaries.iter().zip([Level::Scalar, best()]) {
            let ticket = dictionary.ticket(&rows, format, 0).unwrap();
            assert_eq!(ticket.id(), u64::from(seed) - 1);
            let mut out = vec![7];
            encode_at(level, dictionary, &ticket, &mut scratch, &mut out);
            assert_eq!(out.remove(0), 7);
            streams.push(out);
        }
        assert!(streams[0] == streams[1], "levels differ at {seed}");
        let image = window.decode(&streams[0], &LIMITS).unwrap();
        assert!(image.pixels == decoded(&rows, format), "{format:?} {size:?}");
        assert!(window.pixels() <= u64::from(WINDOW));
    }
}

/// A picture that is rolled sideways is found again, although most of it lies elsewhere.
#[test]
fn what_moved_sideways_or_down_is_found_again() {
    let (width, height) = (400, 200);
    let noise = pictures::noise(5, width * height * 4);
    let rolled = |by: usize| -> Vec<u8> {
        let rows = noise.chunks(width * 4);
        rows.flat_map(|row| [&row[by * 4..], &row[..by * 4]].concat()).collect()
    };
    let mut down = noise.clone();
    down.rotate_right(37 * width * 4);
    let dictionary = Dictionary::new(1 << 20);
    let (mut scratch, mut window, mut sizes) = (Scratch::default(), Window::default(), Vec::new());
    for data in [noise.clone(), rolled(13), rolled(131), down] {
        let rows = rows(&data, (width, height), PixelType::Rgb32);
        let ticket = dictionary.ticket(&rows, PixelType::Rgb32, 0).unwrap();
        let mut out = Vec::new();
        encode(&dictionary, &ticket, &mut scratch, &mut out);
        assert!(window.decode(&out, &LIMITS).unwrap().pixels == decoded(&rows, PixelType::Rgb32));
        sizes.push(out.len());
    }
    // A row that was rolled is two matches of about seven bytes.
    assert!(sizes[1..].iter().all(|size| *size < height * 20), "{sizes:?}");
}

/// What is kept instead of copied gives the same streams, whatever its fourth bytes are.
#[test]
fn pixels_that_are_kept_are_as_good_as_a_copy() {
    const WINDOW: usize = 60_000;
    let dictionaries = [Dictionary::new(WINDOW), Dictionary::new(WINDOW)];
    let mut scratches = [Scratch::default(), Scratch::default()];
    let mut window = Window::default();
    for seed in 0..40u32 {
        let format = if seed % 3 == 0 { PixelType::Rgba } else { PixelType::Rgb32 };
        let (width, height) = (50 + seed as usize % 5 * 40, 60);
        let mut data = pictures::picture(seed % 7, width, height, width * 4, 4);
        data.rotate_left(4 * (seed as usize * 13 % (width * height)));
        let rows = rows(&data, (width, height), format);
        let copied = dictionaries[0].ticket(&rows, format, 0).unwrap();
        let size = (rows.width(), rows.height());
        let mut kept = data.clone();
        if format == PixelType::Rgb32 {
            let noise = pictures::noise(seed, width * height);
            kept.chunks_exact_mut(4).zip(noise).for_each(|(pixel, byte)| pixel[3] = byte);
        }
        // A part of a block.
        let end = 8 + kept.len();
        kept.splice(0..0, [9; 8]);
        kept.push(9);
        let block = (std::sync::Arc::new(kept), 8..end);
        let origin = Origin::default();
        let kept = dictionaries[1].ticket_owned(block, format, size, true, origin).unwrap();
        let mut streams = [Vec::new(), Vec::new()];
        for (at, ticket) in [copied, kept].iter().enumerate() {
            encode(&dictionaries[at], ticket, &mut scratches[at], &mut streams[at]);
        }
        assert!(streams[0] == streams[1], "{seed}");
        let image = window.decode(&streams[1], &LIMITS).unwrap();
        assert!(image.pixels == decoded(&rows, format));
        assert!(window.pixels() <= WINDOW as u64);
    }
    let refused = |bytes: usize, format, size| {
        let block = (std::sync::Arc::new(vec![0; bytes]), 0..bytes);
        dictionaries[1].ticket_owned(block, format, size, true, Origin::default()).unwrap_err()
    };
    let row = TicketError::Row { row: 19, need: 20 };
    assert_eq!(refused(39, PixelType::Rgb32, (5, 2)), row);
    assert_eq!(refused(0, PixelType::Rgb32, (0, 2)), TicketError::Row { row: 0, need: 0 });
    let kind = TicketError::PixelType(PixelType::Rgb24);
    assert_eq!(refused(30, PixelType::Rgb24, (5, 2)), kind);
    let window = TicketError::Window { pixels: WINDOW, window: WINDOW };
    assert_eq!(refused(4, PixelType::Rgb32, (600, 100)), window);
}

/// Several threads encode for several channels at once: whatever order they come in, each image
/// decodes in the order of the numbers.
#[test]
fn many_threads_share_a_dictionary() {
    const FRAMES: u32 = 60;
    let dictionary = Dictionary::new(40_000);
    let size = (120, 60);
    let frames: Vec<Vec<u8>> = (0..FRAMES)
        .map(|seed| {
            let mut data = pictures::picture(seed % 7, size.0, size.1, size.0 * 4, 4);
            data.rotate_left(4 * (seed as usize * 13 % (size.0 * size.1)));
            data
        })
        .collect();
    let tickets: Vec<(usize, Ticket)> = (0..)
        .zip(&frames)
        .map(|(at, data)| {
            let rows = rows(data, size, PixelType::Rgb32);
            let channel = u32::try_from(at % 3).unwrap();
            let ticket = dictionary.ticket(&rows, PixelType::Rgb32, channel).unwrap();
            if at % 2 == 0 {
                ticket.sent();
            }
            (at, ticket)
        })
        .collect();
    let streams = std::sync::Mutex::new(vec![Vec::new(); frames.len()]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (tickets, dictionary, streams) = (&tickets, &dictionary, &streams);
            scope.spawn(move || {
                let mut scratch = Scratch::default();
                for (at, ticket) in tickets.iter().skip(worker).step_by(4) {
                    let mut out = Vec::new();
                    encode(dictionary, ticket, &mut scratch, &mut out);
                    streams.lock().unwrap()[*at] = out;
                }
            });
        }
    });
    let mut window = Window::default();
    for (stream, data) in streams.into_inner().unwrap().iter().zip(&frames) {
        let image = window.decode(stream, &LIMITS).unwrap();
        assert!(image.pixels == decoded(&rows(data, size, PixelType::Rgb32), PixelType::Rgb32));
        assert!(window.pixels() <= 40_000);
    }
}

#[test]
fn what_the_window_cannot_hold_gets_no_number() {
    let dictionary = Dictionary::resume(100, 7);
    let data = [0; 400];
    let refused = dictionary.ticket(&rows(&data, (10, 10), PixelType::Rgb32), PixelType::Rgb32, 0);
    assert_eq!(refused.unwrap_err(), TicketError::Window { pixels: 100, window: 100 });
    let refused = dictionary.ticket(&rows(&data, (9, 11), PixelType::Rgb32), PixelType::Rgb24, 0);
    assert_eq!(refused.unwrap_err(), TicketError::Row { row: 36, need: 27 });
    let refused = dictionary.ticket(&rows(&data, (9, 11), PixelType::A8), PixelType::A8, 0);
    assert_eq!(refused.unwrap_err(), TicketError::PixelType(PixelType::A8));
    let ticket = dictionary.ticket(&rows(&data, (9, 11), PixelType::Rgb32), PixelType::Rgb32, 0);
    let ticket = ticket.unwrap();
    let mut out = Vec::new();
    encode(&dictionary, &ticket, &mut Scratch::default(), &mut out);
    let header = peek(&out).unwrap();
    assert_eq!((header.id, header.oldest), (7, 0));
}

/// A header of RGB32, and a body.
fn stream(id: u64, width: u32, oldest: u32, body: &[u8]) -> Vec<u8> {
    let mut stream = [0x2020_5a4cu32, 0x0001_0001].map(u32::to_be_bytes).concat();
    stream.push(0x18);
    stream.extend([width, 1, width * 4].map(u32::to_be_bytes).concat());
    stream.extend(id.to_be_bytes());
    stream.extend(oldest.to_be_bytes());
    stream.extend(body);
    stream
}

#[test]
fn references_stay_inside_the_images_that_are_there() {
    let mut window = Window::default();
    let first = [3, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4];
    window.decode(&stream(5, 4, 0, &first), &LIMITS).unwrap();
    let mut decoded = |body: &[u8]| window.decode(&stream(6, 3, 1, body), &LIMITS);
    let missing = |image, from, length| Err(GlzError::Reference { image, from, length });
    // Two pixels of the image before, beyond its end and then not.
    assert_eq!(decoded(&[0x43, 0, 1, 0, 9, 9, 9]), missing(5, 3, 2));
    assert_eq!(decoded(&[0x40, 0, 2, 0, 9, 9, 9]), missing(4, 0, 2));
    assert_eq!(decoded(&[0x40, 0, 7, 0, 9, 9, 9]), missing(u64::MAX, 0, 2));
    assert_eq!(decoded(&[0x40, 0, 0, 0, 9, 9, 9]), missing(6, 0, 2));
    assert_eq!(decoded(&[0xe0, 9, 0, 0]), Err(GlzError::Overflow { at: 0, excess: 13 }));
    assert_eq!(decoded(&[0x42, 0]), Err(GlzError::Truncated(0)));
    assert_eq!(decoded(&[0x42, 0, 1, 0, 9, 9, 9, 9]), Err(GlzError::Trailing(1)));
    let image = decoded(&[0x42, 0, 1, 0, 9, 9, 9]).unwrap();
    assert_eq!(image.pixels, [[3, 3, 3, 0], [4, 4, 4, 0], [9, 9, 9, 0]]);
    // The same number does not come twice, and the next one lets go of both.
    let body = [0, 1, 1, 1];
    assert_eq!(window.decode(&stream(6, 1, 0, &body), &LIMITS), Err(GlzError::Window(6)));
    window.decode(&stream(7, 1, 0, &body), &LIMITS).unwrap();
    assert_eq!((window.len(), window.pixels()), (1, 1));
    let limits = Limits { pixels: 1 };
    assert_eq!(window.decode(&stream(8, 1, 0, &body), &limits), Err(GlzError::Window(8)));
}

#[test]
fn a_header_is_not_believed() {
    let good = stream(0, 1, 0, &[0, 1, 2, 3]);
    assert!(peek(&good).is_ok());
    assert_eq!(peek(&good[..32]), Err(GlzError::Short(32)));
    let changed = |at: usize, byte: u8| {
        let mut stream = good.clone();
        stream[at] = byte;
        peek(&stream)
    };
    assert_eq!(changed(0, 0), Err(GlzError::Magic(0x0020_5a4c)));
    assert_eq!(changed(7, 2), Err(GlzError::Version(0x0001_0002)));
    assert_eq!(changed(8, 10), Err(GlzError::PixelType(10)));
    assert_eq!(changed(12, 0), Err(GlzError::Size { width: 0, height: 1 }));
    assert_eq!(changed(20, 5), Err(GlzError::Stride(5)));
    // A picture that its few bytes cannot fill is refused before memory is asked for.
    let much = stream(0, 1 << 26, 0, &[0xe0, 0xff, 0xff, 0xff]);
    let mut window = Window::default();
    assert_eq!(window.decode(&much, &LIMITS), Err(GlzError::Truncated(0)));
}

//! The codecs by criterion: `cargo bench --bench codecs [-- FILTER]`, for example `quic/photo`.
//!
//! Encoding and decoding of each class of picture, large and small, with the plain kernels and with the best ones of
//! this processor where a codec has kernels. One thread; throughput is in bytes of pixels, 4 each.
//! `kernels.rs` compares two ways by turns, which a noisy machine needs; `make bench-codecs` compares libraries.

mod pictures;

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use pictures::{CLASSES, Picture};
use spice_server::codec::simd::{self, Level};
use spice_server::codec::{Limits, Rows, glz, lz, lz4, quic};

const SIZES: [(u32, u32); 2] = [(1920, 1080), (96, 64)];
/// What spice-gtk asks for at most.
const WINDOW: usize = 16 << 20;
/// Number of the format of 32 bits a pixel.
const FORMAT: u8 = 8;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let benches: [(&str, Bench); 4] = [("quic", quic), ("lz", lz), ("glz", glz), ("lz4", lz4)];
    for (codec, bench) in benches {
        for (class, make) in CLASSES {
            for (width, height) in SIZES {
                let picture = make(width, height, 5);
                let name = format!("{codec}/{class}/{width}x{height}");
                let mut group = criterion.benchmark_group(name);
                group.throughput(Throughput::Bytes(picture.data.len() as u64));
                bench(&mut group, &picture);
            }
        }
    }
    criterion.final_summary();
}

type Bench = fn(&mut BenchmarkGroup<'_, WallTime>, &Picture);

/// Both kinds of kernels, or one if this processor has no others.
fn levels() -> Vec<(&'static str, Level)> {
    let mut levels = vec![("scalar", Level::Scalar)];
    if simd::best() != Level::Scalar {
        levels.push(("best", simd::best()));
    }
    levels
}

fn quic(group: &mut BenchmarkGroup<'_, WallTime>, picture: &Picture) {
    let mut out = Vec::new();
    let mut scratch = quic::Scratch::default();
    for (name, level) in levels() {
        group.bench_function(format!("encode {name}"), |bench| {
            bench.iter(|| {
                out.clear();
                let (rows, pixels) = (rows(picture), quic::PixelType::Rgb32);
                quic::encode_at(level, &rows, pixels, usize::MAX, &mut scratch, &mut out)
            });
        });
        group.bench_function(format!("decode {name}"), |bench| {
            bench.iter(|| quic::decode_at(level, &out, &Limits::default()));
        });
    }
}

fn lz(group: &mut BenchmarkGroup<'_, WallTime>, picture: &Picture) {
    let mut out = Vec::new();
    let mut scratch = lz::Scratch::default();
    for (name, level) in levels() {
        group.bench_function(format!("encode {name}"), |bench| {
            bench.iter(|| {
                out.clear();
                let (rows, pixels) = (rows(picture), lz::PixelType::Rgb32);
                lz::encode_at(level, &rows, pixels, usize::MAX, &mut scratch, &mut out)
            });
        });
    }
    group.bench_function("decode", |bench| bench.iter(|| lz::decode(&out, &Limits::default())));
}

/// Each picture in other colors than the ones before: the dictionary is full and knows nothing of it.
fn glz(group: &mut BenchmarkGroup<'_, WallTime>, picture: &Picture) {
    let mut colored: Vec<Picture> = (1..10).map(|turn| recolored(picture, turn)).collect();
    for (name, level) in levels() {
        let dictionary = glz::Dictionary::new(WINDOW);
        let mut scratch = glz::Scratch::default();
        let mut out = Vec::new();
        let mut encode = |picture: &Picture| {
            out.clear();
            let ticket = dictionary.ticket(&rows(picture), lz::PixelType::Rgb32, 0);
            let ticket = ticket.expect("a type that GLZ has, of a size that fits");
            glz::encode_at(level, &dictionary, &ticket, &mut scratch, &mut out);
            ticket.sent();
            out.len()
        };
        colored.iter().for_each(|picture| {
            encode(picture);
        });
        let mut turn = 10;
        group.bench_function(format!("encode {name}"), |bench| {
            bench.iter_batched(
                || {
                    turn += 1;
                    recolored(picture, turn)
                },
                |picture| encode(&picture),
                criterion::BatchSize::PerIteration,
            );
        });
    }
    // A stream refers to those before it: one that stands alone is decoded.
    colored.truncate(1);
    let stream = glz_alone(&rows(&colored[0]));
    group.bench_function("decode", |bench| {
        bench.iter(|| glz::Window::default().decode(&stream, &Limits::default()));
    });
}

fn glz_alone(rows: &Rows<'_>) -> Vec<u8> {
    let dictionary = glz::Dictionary::new(WINDOW);
    let mut out = Vec::new();
    let ticket = dictionary.ticket(rows, lz::PixelType::Rgb32, 0);
    let ticket = ticket.expect("a type that GLZ has, of a size that fits");
    glz::encode(&dictionary, &ticket, &mut glz::Scratch::default(), &mut out);
    out
}

fn rows(picture: &Picture) -> Rows<'_> {
    let Picture { width, height, .. } = *picture;
    Rows::new(&picture.data, width, height, 32, width as usize * 4, true).expect("a picture")
}

/// The same structure, but no value of it.
fn recolored(picture: &Picture, turn: u32) -> Picture {
    let key = ((turn * 0x0005_0b13) & 0x00ff_ffff).to_le_bytes();
    let data = picture.data.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
    Picture { width: picture.width, height: picture.height, data: data.collect() }
}

/// The encoder is the crate `lz4_flex`; clients decode.
fn lz4(group: &mut BenchmarkGroup<'_, WallTime>, picture: &Picture) {
    let mut scratch = lz4::Scratch::default();
    group.bench_function("encode", |bench| {
        bench.iter(|| lz4::encode(&rows(picture), FORMAT, usize::MAX, &mut scratch));
    });
}

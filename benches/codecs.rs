//! Speed of the codecs on frames of 32 bits per pixel: `cargo bench --bench codecs -- FILE…`.
//!
//! A file holds the rows of one picture, bytes B, G, R, x, and is named `…-WIDTHxHEIGHT.bgrx`.
//! For information while the codecs are made faster: one thread, the best of several rounds, MB of
//! pixels per second. Comparisons with other encoders need both in the same run.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use spice_server::codec::{Limits, Rows, lz, quic};

/// Time for one figure.
const PATIENCE: Duration = Duration::from_millis(1500);

fn main() {
    let files: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if files.is_empty() {
        println!("codecs: name pictures as …-WIDTHxHEIGHT.bgrx");
        return;
    }
    println!("{:32} {:>9} {:>9} {:>9}", "", "encode", "decode", "ratio");
    for file in files {
        picture(&file);
    }
}

fn picture(file: &str) {
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
    let size = stem.and_then(|stem| stem.rsplit_once('-')?.1.split_once('x'));
    let sides = size.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height): (u32, u32) = sides.expect("a name that ends with -WIDTHxHEIGHT.bgrx");
    let data = std::fs::read(file).expect("a readable file");
    let rows = Rows::new(&data, width, height, 32, width as usize * 4, true).expect("a picture");

    let mut out = Vec::new();
    let mut scratch = quic::Scratch::default();
    let encode = fastest(&data, || {
        out.clear();
        quic::encode(&rows, quic::PixelType::Rgb32, usize::MAX, &mut scratch, &mut out)
            .expect("it was checked");
    });
    let decode = fastest(&data, || {
        quic::decode(&out, &Limits::default()).expect("it was just written");
    });
    report(file, "quic", encode, decode, data.len(), out.len());

    let mut scratch = lz::Scratch::default();
    let encode = fastest(&data, || {
        out.clear();
        lz::encode(&rows, lz::PixelType::Rgb32, usize::MAX, &mut scratch, &mut out)
            .expect("it was checked");
    });
    let decode = fastest(&data, || {
        lz::decode(&out, &Limits::default()).expect("it was just written");
    });
    report(file, "lz", encode, decode, data.len(), out.len());
}

/// MB per second in the fastest round.
fn fastest(data: &[u8], mut work: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while begin.elapsed() < PATIENCE || best == Duration::MAX {
        let start = thread_time();
        work();
        best = best.min(thread_time().saturating_sub(start));
    }
    data.len() as f64 / 1e6 / best.as_secs_f64()
}

/// Time that this thread had a processor: others on the machine count less than by the clock.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

fn report(file: &str, codec: &str, encode: f64, decode: f64, raw: usize, coded: usize) {
    let name = Path::new(file).file_stem().map_or("".into(), |stem| stem.to_string_lossy());
    let ratio = raw as f64 / coded as f64;
    println!("{:32} {encode:9.0} {decode:9.0} {ratio:9.2}", format!("{name} {codec}"));
}

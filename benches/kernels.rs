//! Kernels against plain ones, by turns: `cargo bench --bench kernels -- [--only WORD] [--rounds N] [--kept] [--json OUT] FILE…`.
//!
//! A file holds the rows of one picture, bytes B, G, R, x, and is named `…-WIDTHxHEIGHT.bgrx`.
//! `--kept`: frames are handed over to the dictionary of GLZ instead of being copied.
//! Several names joined by "+" are a sequence of frames for the dictionary of GLZ.
//! One thread. What is compared is done in turn, round after round, and the medians are shown as
//! MB of pixels per second; the ratio is that of the median times. Comparisons with the encoders of
//! another library are made by `side_by_side/run.py`; criterion runs `codecs.rs`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use spice_server::codec::simd::{self, Level};
use spice_server::codec::{Limits, Rows, glz, lz, quic};

fn main() {
    let mut files = Vec::new();
    let (mut only, mut rounds, mut json, mut kept) = (String::new(), 15, None, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => only = words.next().expect("a word"),
            "--rounds" => {
                rounds = words.next().and_then(|n| n.parse().ok()).expect("a number");
            }
            "--kept" => kept = true,
            "--json" => json = Some(words.next().expect("a file")),
            _ if word.starts_with("--") => {}
            _ => files.push(word),
        }
    }
    if files.is_empty() {
        println!("kernels: name pictures as …-WIDTHxHEIGHT.bgrx");
        return;
    }
    println!("best kernels of this processor: {:?}", simd::best());
    println!("{:40} {:>9} {:>9} {:>6} {:>12}", "", "scalar", "best", "times", "bytes");
    let mut lines = Vec::new();
    for file in files {
        let frames: Vec<Frame> = file.split('+').map(frame).collect();
        if frames.len() == 1 {
            picture(&frames[0], &only, rounds, &mut lines);
        }
        if file.contains(&only) || "glz encode".contains(&only) {
            sequence(&frames, rounds, kept, &mut lines);
        }
    }
    if let Some(json) = json {
        let lines: Vec<String> = lines.iter().map(Line::json).collect();
        std::fs::write(&json, format!("[{}]\n", lines.join(",\n"))).expect("a file to write to");
    }
}

/// The result of one comparison.
struct Line {
    picture: String,
    work: &'static str,
    /// Medians in milliseconds.
    scalar: f64,
    best: f64,
    bytes: usize,
}

impl Line {
    fn json(&self) -> String {
        let Self { picture, work, scalar, best, bytes } = self;
        format!(
            r#"{{"picture": "{picture}", "work": "{work}", "scalar": {scalar}, "best": {best}, "bytes": {bytes}}}"#
        )
    }
}

struct Frame {
    name: String,
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl Frame {
    fn colored(&self, key: [u8; 4]) -> Self {
        let data = self.data.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        Self { name: String::new(), width: self.width, height: self.height, data: data.collect() }
    }

    fn rows(&self) -> Rows<'_> {
        let (width, height) = (self.width, self.height);
        Rows::new(&self.data, width, height, 32, width as usize * 4, true).expect("a picture")
    }
}

fn frame(file: &str) -> Frame {
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str()).expect("a name");
    let (name, size) = stem.rsplit_once('-').expect("a name that ends with -WIDTHxHEIGHT.bgrx");
    let size = size.split_once('x');
    let sides = size.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height): (u32, u32) = sides.expect("a name that ends with -WIDTHxHEIGHT.bgrx");
    Frame { name: name.into(), width, height, data: std::fs::read(file).expect("a readable file") }
}

/// Frame after frame into one dictionary, with other colours in each round: equal pixels stay equal
/// ones, but nothing of the rounds before is found again. The first rounds, until the window is
/// full, do not count.
fn sequence(frames: &[Frame], rounds: usize, kept: bool, lines: &mut Vec<Line>) {
    let mut times = vec![[const { Vec::new() }; 2]; frames.len()];
    let mut bytes = vec![0; frames.len()];
    let mut scratch = glz::Scratch::default();
    let mut out = Vec::new();
    // What spice-gtk asks for at most.
    let dictionaries = [glz::Dictionary::new(16 << 20), glz::Dictionary::new(16 << 20)];
    let full = 9usize.div_ceil(frames.len());
    for round in 0..full + rounds {
        let key = (u32::try_from(round).unwrap_or(0) * 0x0005_0b13).to_le_bytes();
        let colored: Vec<Frame> = frames.iter().map(|frame| frame.colored(key)).collect();
        for (which, level) in [Level::Scalar, simd::best()].into_iter().enumerate() {
            let dictionary = &dictionaries[which];
            for ((frame, times), bytes) in colored.iter().zip(&mut times).zip(&mut bytes) {
                out.clear();
                let (format, size) = (lz::PixelType::Rgb32, (frame.width, frame.height));
                let own = kept.then(|| Arc::new(frame.data.clone()));
                let start = thread_time();
                let ticket = match own {
                    Some(pixels) => {
                        let block = 0..pixels.len();
                        let origin = glz::Origin::default();
                        dictionary.ticket_owned((pixels, block), format, size, true, origin)
                    }
                    None => dictionary.ticket(&frame.rows(), format, 0),
                };
                let ticket = ticket.expect("a type that GLZ has, of a size that fits");
                glz::encode_at(level, dictionary, &ticket, &mut scratch, &mut out);
                let time = thread_time().saturating_sub(start);
                if round >= full {
                    times[which].push(time);
                }
                ticket.sent();
                *bytes = out.len();
            }
        }
    }
    for ((frame, times), bytes) in frames.iter().zip(times).zip(bytes) {
        lines.push(show(&frame.name, "glz encode", times, frame.data.len(), bytes));
    }
}

/// Prints one line.
fn show(
    picture: &str,
    work: &'static str,
    times: [Vec<Duration>; 2],
    raw: usize,
    bytes: usize,
) -> Line {
    let [scalar, best] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    let speed = |seconds: f64| raw as f64 / 1e6 / seconds;
    let (title, times) = (format!("{picture} {work}"), scalar / best);
    println!("{title:40} {:9.0} {:9.0} {times:6.2} {bytes:12}", speed(scalar), speed(best));
    Line { picture: picture.into(), work, scalar: scalar * 1e3, best: best * 1e3, bytes }
}

fn picture(frame: &Frame, only: &str, rounds: usize, lines: &mut Vec<Line>) {
    let (name, data, rows) = (&frame.name, &frame.data, frame.rows());
    let mut compare = |what: &'static str, work: &mut dyn FnMut(Level) -> usize| {
        let title = format!("{name} {what}");
        if !title.contains(only) {
            return;
        }
        let mut times = [const { Vec::new() }; 2];
        let mut bytes = 0;
        for _ in 0..rounds {
            for (times, level) in times.iter_mut().zip([Level::Scalar, simd::best()]) {
                let start = thread_time();
                bytes = work(level);
                times.push(thread_time().saturating_sub(start));
            }
        }
        lines.push(show(name, what, times, data.len(), bytes));
    };

    let mut out = Vec::new();
    let mut scratch = quic::Scratch::default();
    compare("quic encode", &mut |level| {
        out.clear();
        let format = quic::PixelType::Rgb32;
        quic::encode_at(level, &rows, format, usize::MAX, &mut scratch, &mut out).expect("checked");
        out.len()
    });
    compare("quic decode", &mut |level| {
        quic::decode_at(level, &out, &Limits::default()).expect("it was just written").pixels.len()
    });

    let mut scratch = lz::Scratch::default();
    compare("lz encode", &mut |level| {
        out.clear();
        lz::encode_at(level, &rows, lz::PixelType::Rgb32, usize::MAX, &mut scratch, &mut out)
            .expect("it was checked");
        out.len()
    });
    compare("lz decode", &mut |_| {
        lz::decode(&out, &Limits::default()).expect("it was just written").pixels.len()
    });
}

/// Time that this thread had a processor: others on the machine count less than by the clock.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

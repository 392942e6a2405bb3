//! The encoders that are installed, each for itself.

use super::*;
use crate::elements::KINDS;
use std::ops::Range;
use std::time::Instant;

const SOFTWARE: [&str; 5] = ["x264enc", "x265enc", "vp8enc", "vp9enc", "jpegenc"];

fn kind(name: &str) -> &'static Kind {
    gst::init().expect("GStreamer is there");
    KINDS.iter().find(|kind| kind.name() == name).expect("it is in the table")
}

fn setup(kind: &Kind, width: u32, height: u32, bits: u32) -> Setup {
    let (rate, quality, patience) = (1_000_000, 75, 2000);
    Setup { codec: kind.codec, width, height, bits, rate, quality, patience }
}

/// A picture that moves, with some detail.
fn paint(pixels: &mut [u8], width: usize, number: usize) {
    let low = |n: usize| u8::try_from(n & 255).unwrap_or_default();
    for (at, pixel) in pixels.chunks_exact_mut(4).enumerate() {
        let (x, y) = (at % width + number * 3, at / width + number * 2);
        let noise = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) >> 10;
        pixel.copy_from_slice(&[low(x), low(y * 2), low(x + y) / 2 + low(noise) / 8, 0]);
    }
}

/// Encodes pictures with these numbers: bytes of each, and whether it is a key frame.
fn run(coder: &mut Coder, fps: usize, numbers: Range<usize>, keys: &[usize]) -> Vec<(usize, bool)> {
    let (width, height) = (whole(coder.setup.width), whole(coder.setup.height));
    let mut pixels = vec![0; width * height * 4];
    let frames = numbers.map(|number| {
        paint(&mut pixels, width, number);
        let picture = Picture {
            top: pixels.as_ptr(),
            stride: isize::try_from(width * 4).expect("small"),
            time: 1_000_000 * number as u64 / fps as u64,
            key: keys.contains(&number).into(),
        };
        // SAFETY: the rows are there.
        let key = unsafe { coder.encode(&picture) }.expect("it encodes");
        (coder.bytes().len(), key)
    });
    frames.collect()
}

#[test]
fn every_picture_gives_a_frame_at_once_and_keys_come_when_they_are_wanted() {
    for name in SOFTWARE {
        let kind = kind(name);
        let mut coder = Coder::tried(kind, &setup(kind, 320, 240, 32)).expect(name);
        let frames = run(&mut coder, 30, 0..20, &[0, 7]);
        assert!(frames.iter().all(|frame| frame.0 > 0), "{name}");
        let keys: Vec<usize> = (0..20).filter(|at| frames[*at].1).collect();
        if name == "jpegenc" {
            assert_eq!(keys.len(), 20);
        } else {
            assert_eq!(keys, [0, 7], "{name}");
        }
    }
}

#[test]
fn the_rate_is_kept_at_any_number_of_frames_and_follows() {
    for name in &SOFTWARE[..4] {
        for fps in [15, 60] {
            let kind = kind(name);
            let mut coder = Coder::tried(kind, &setup(kind, 320, 180, 32)).expect(name);
            let begin = Instant::now();
            let first = run(&mut coder, fps, 0..2 * fps, &[0]);
            coder.set_rate(300_000, 50);
            let second = run(&mut coder, fps, 2 * fps..5 * fps, &[]);
            let each = begin.elapsed() / u32::try_from(5 * fps).unwrap();
            // The second half of the time, when it has settled.
            let bits = |frames: &[(usize, bool)]| {
                let late = &frames[frames.len() / 2..];
                late.iter().map(|frame| frame.0 * 8).sum::<usize>() * fps / late.len()
            };
            let (first, second) = (bits(&first), bits(&second));
            println!("{name} {fps}/s: {first}, then {second} bits/s, {each:?} a frame");
            // x265 takes its time to come to a rate.
            let slack = if *name == "x265enc" { 2 } else { 1 };
            assert!(first <= 1_300_000 * slack, "{name} {fps}: {first}, {second}");
            assert!(second <= 420_000 * slack, "{name} {fps}: {first}, {second}");
            assert!(first >= 450_000 && second >= 150_000, "{name} {fps}: {first}, {second}");
        }
    }
}

#[test]
fn sizes_and_formats_of_all_kinds_are_taken() {
    for name in SOFTWARE {
        let kind = kind(name);
        for (width, height) in [(33, 35), (64, 64), (641, 361), (96, 97)] {
            for bits in [16, 24, 32] {
                let setup = setup(kind, width, height, bits);
                let mut coder = Coder::tried(kind, &setup).expect(name);
                let row = whole(width * bits / 8);
                let pixels = vec![77; row * whole(height)];
                // From the last row in memory up.
                let top = pixels[row * (whole(height) - 1)..].as_ptr();
                let picture =
                    Picture { top, stride: -isize::try_from(row).unwrap(), time: 5000, key: 1 };
                // SAFETY: the rows are there, upwards.
                assert_eq!(unsafe { coder.encode(&picture) }, Ok(true), "{name} {width} {bits}");
            }
        }
        assert!(Coder::tried(kind, &setup(kind, 0, 64, 32)).is_err());
        assert!(Coder::tried(kind, &setup(kind, 64, 64, 8)).is_err());
    }
}

#[test]
fn elements_that_are_missing_are_passed_over() {
    let h264 = kind("x264enc");
    assert!(installed(h264.codec).any(|kind| kind.name() == "x264enc"));
    assert_eq!(installed(99).count(), 0);
    let none = Setup { codec: 99, ..setup(h264, 64, 64, 32) };
    assert!(Coder::open(&none).is_none());
    // Hardware that is in the table and not in this machine is no reason to fail.
    assert!(Coder::open(&setup(h264, 64, 64, 32)).is_some());
}

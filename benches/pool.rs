//! What a second encode worker gains: `cargo bench --bench pool [-- [--json FILE] IMAGES ROUNDS]`.
//!
//! A stream of photos of 1920x1080 pixels is encoded as QUIC by the real pool, without sockets, as a display would hand
//! them over: some wait, results are taken in order. One worker and two by turns; what counts is the time from the first
//! image to the last result, so the machine has to be idle otherwise. The last line is the ratio of the medians.

mod pictures;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pictures::{CLASSES, Picture};
use spice_server::pool::workers::{self, Progress, Promise, Source};
use spice_server::pool::{self, QuicPixels};

/// Images that are handed over before the first result is taken.
const AHEAD: usize = 8;

/// A stream of images of which some are being encoded.
struct Stream {
    source: Source,
    done: Receiver<()>,
    waiting: VecDeque<Promise<usize>>,
    bytes: usize,
}

impl Stream {
    fn new() -> Self {
        let (tell, done) = channel();
        let source = workers::pool().source(move || {
            // The stream may be over.
            let _ = tell.send(());
        });
        Self { source, done, waiting: VecDeque::new(), bytes: 0 }
    }

    fn hand_over(&mut self, picture: &Arc<Picture>) {
        let picture = Arc::clone(picture);
        let promise = self.source.submit(move |scratch| {
            let picture = pool::Picture {
                data: &picture.data,
                width: picture.width,
                height: picture.height,
                bits: 32,
                stride: picture.width * 4,
                top_down: true,
                format: 8,
            };
            let stream =
                pool::encode_quic(&picture, QuicPixels::Rgb32, usize::MAX, &mut scratch.quic);
            stream.expect("a picture").len()
        });
        let Ok(promise) = promise else { panic!("{AHEAD} images fit the queue") };
        self.waiting.push_back(promise);
    }

    /// Waits for the result of the oldest.
    fn take(&mut self) {
        let Some(promise) = self.waiting.pop_front() else { return };
        loop {
            match promise.progress() {
                Progress::Done(bytes) => {
                    self.bytes += bytes;
                    return;
                }
                Progress::Failed => panic!("encoding failed"),
                Progress::Working => self.done.recv().expect("the source is alive"),
            }
        }
    }
}

/// Time for so many images, and the bytes that they became.
fn run(threads: usize, pictures: &[Arc<Picture>], images: usize) -> (Duration, usize) {
    workers::set_threads(threads);
    let mut stream = Stream::new();
    // The threads start, and their memory comes.
    for picture in pictures.iter().cycle().take(AHEAD) {
        stream.hand_over(picture);
    }
    while !stream.waiting.is_empty() {
        stream.take();
    }
    stream.bytes = 0;
    let start = Instant::now();
    for picture in pictures.iter().cycle().take(images) {
        if stream.waiting.len() == AHEAD {
            stream.take();
        }
        stream.hand_over(picture);
    }
    while !stream.waiting.is_empty() {
        stream.take();
    }
    (start.elapsed(), stream.bytes)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let json = words.iter().position(|word| word == "--json").and_then(|at| words.get(at + 1));
    let mut numbers = words.iter().filter_map(|word| word.parse().ok());
    let (images, rounds) = (numbers.next().unwrap_or(60), numbers.next().unwrap_or(7));
    let (_, photo) = CLASSES[0];
    let pictures: Vec<Arc<Picture>> =
        (0..4).map(|seed| Arc::new(photo(1920, 1080, seed))).collect();
    let mut times = [const { Vec::new() }; 2];
    let mut bytes = [0; 2];
    for _ in 0..rounds {
        for (threads, (times, bytes)) in (1..).zip(times.iter_mut().zip(&mut bytes)) {
            let (time, size) = run(threads, &pictures, images);
            times.push(time);
            *bytes = size;
        }
    }
    assert_eq!(bytes[0], bytes[1], "the same images, the same streams");
    let [one, two] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    let speed = |seconds: f64| images as f64 * 8.2944 / seconds;
    let count = pictures.len();
    println!(
        "{images} images of 1920x1080, {count} photos by turns, QUIC, {rounds} rounds, medians"
    );
    println!("1 worker:  {one:8.3} s {:8.0} MB/s", speed(one));
    println!("2 workers: {two:8.3} s {:8.0} MB/s", speed(two));
    println!("ratio {:.2}", one / two);
    if let Some(file) = json {
        let text = format!(
            r#"{{"images": {images}, "rounds": {rounds}, "one": {}, "two": {}}}"#,
            speed(one),
            speed(two)
        );
        std::fs::write(file, text).expect("a file that can be written");
    }
}

//! From frames to what a client decodes.
//!
//! Used by thread display-N, which only hands frames over: JPEG is done on `spice-enc-K`, what GStreamer encodes on threads
//! of [`session`](super::session). An [`Encoder`] is one client's for one stream. That of MJPEG has no state, so that what one
//! client gets serves every other one that gets the same quality; codecs whose frames build on each other have sessions.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::pool::workers::{self, Progress, Promise, Source};
use crate::pool::{Picture, Scratch, encode_mjpeg};
use crate::protocol::blocks;
use crate::protocol::message::Bulk;
use crate::sys::encoders::table::Setup;
use crate::sys::encoders::{Coder, CoderError, Rows, plugin};

use super::codecs::{Choice, Codec, Maker};
use super::frame::{Frame, Pixels};
use super::session::{Codes, Open, Order, PATIENCE, Sessions, Ticket};

/// What is wanted of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Of 100, for codecs that know a quality.
    pub quality: u8,
    /// Bits per second, for codecs that know a rate.
    pub rate: u64,
}

/// A frame in work, or done. Clones are the same work.
#[derive(Debug, Clone)]
pub struct Encoding {
    work: Work,
    /// Bytes of the pixels.
    weight: usize,
}

/// Who does it.
#[derive(Debug, Clone)]
enum Work {
    /// A worker of the pool.
    Pool(Promise<Option<Bulk>>),
    /// A session's thread.
    Session(Ticket),
}

impl Encoding {
    /// The frame; [`Progress::Failed`] if there is none and will be none, so that the stream goes on without it.
    #[must_use]
    pub fn look(&self) -> Progress<Bulk> {
        match &self.work {
            Work::Pool(promise) => match promise.progress() {
                Progress::Working => Progress::Working,
                Progress::Done(Some(data)) => Progress::Done(data.clone()),
                Progress::Done(None) | Progress::Failed => Progress::Failed,
            },
            Work::Session(ticket) => ticket.look(),
        }
    }

    /// Of a session.
    pub(super) fn of_session(ticket: Ticket, weight: usize) -> Self {
        Self { work: Work::Session(ticket), weight }
    }

    /// When it has failed at the latest; `None`: it is done by whoever waits for it, if nobody else does.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match &self.work {
            Work::Pool(_) => None,
            Work::Session(ticket) => Some(ticket.due()),
        }
    }

    /// Bytes of the pixels in work.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Does it here; for a display whose workers do not come to it. False if it is being done.
    pub fn help(&self, scratch: &mut Scratch) -> bool {
        match &self.work {
            Work::Pool(promise) => promise.help(scratch),
            Work::Session(_) => false,
        }
    }
}

/// Encodes the frames of one stream for one client. Owned by display-N.
///
/// A frame that was handed over has to be sent, or the next one may build on what the client does not have; so there is
/// never more than one in work.
pub trait Encoder: Send + fmt::Debug {
    /// What comes out.
    fn codec(&self) -> Codec;

    /// Begins to encode a frame. `None` if that is not possible now: the frame is left out.
    fn encode(&mut self, frame: &Frame, wish: Wish) -> Option<Encoding>;

    /// True if no frames will come any more, so that another encoder is to be chosen.
    fn is_broken(&self) -> bool {
        false
    }
}

/// Where a display's frames are encoded.
#[derive(Debug, Clone)]
pub struct Studio {
    workers: Arc<Source>,
    sessions: Sessions,
}

impl Studio {
    /// One with a way to the workers; `notify` is called on another thread when a frame is done.
    #[must_use]
    pub fn new(notify: impl Fn() + Send + Sync + 'static) -> Self {
        let notify: Arc<dyn Fn() + Send + Sync> = Arc::new(notify);
        let its = Arc::clone(&notify);
        let workers = Arc::new(workers::pool().source(move || its()));
        let open: Open = Arc::new(open_gstreamer);
        Self { workers, sessions: Sessions::new(open, notify) }
    }

    /// An encoder.
    #[must_use]
    pub fn encoder(&self, choice: Choice) -> Box<dyn Encoder> {
        match choice.maker {
            Maker::Spice => Box::new(Mjpeg { workers: Arc::clone(&self.workers) }),
            Maker::Gstreamer => self.sessions.encoder(choice),
        }
    }
}

/// A coder of GStreamer.
struct Gstreamer(Coder);

fn open_gstreamer(order: &Order, wish: Wish) -> Option<Box<dyn Codes>> {
    let setup = Setup {
        codec: (order.codec as u8).into(),
        width: order.size.0,
        height: order.size.1,
        bits: order.bits,
        rate: wish.rate,
        quality: wish.quality.into(),
        // A little less than others wait for it.
        patience: u32::try_from(PATIENCE.as_millis()).unwrap_or(1000) * 4 / 5,
    };
    let coder = plugin().ok()?.open(&setup)?;
    Some(Box::new(Gstreamer(coder)))
}

impl Codes for Gstreamer {
    fn encode(&mut self, pixels: &Pixels, time: u64, key: bool) -> Option<(Bulk, bool)> {
        let stride = usize::try_from(pixels.stride).ok()?;
        let rows = Rows { data: pixels.part_bytes()?, stride, top_down: pixels.top_down };
        let coded = self.0.encode(&rows, time, key);
        let (bytes, key) = coded.inspect_err(say_why).ok()?;
        let mut frame = blocks::take(bytes.len()).ok()?;
        frame.extend_from_slice(bytes);
        Some((Bulk::whole(blocks::share(frame)), key))
    }

    fn set_rate(&mut self, rate: u64, quality: u8) {
        self.0.set_rate(rate, quality);
    }
}

fn say_why(error: &CoderError) {
    tracing::warn!("an encoder of GStreamer is given up: {error}");
}

/// Every frame a JPEG, by libjpeg-turbo, from the rows as the guest's command has them.
#[derive(Debug)]
struct Mjpeg {
    workers: Arc<Source>,
}

impl Encoder for Mjpeg {
    fn codec(&self) -> Codec {
        Codec::Mjpeg
    }

    fn encode(&mut self, frame: &Frame, wish: Wish) -> Option<Encoding> {
        let quality = wish.quality.clamp(1, 100);
        frame.made(quality, || {
            let (pixels, weight) = (frame.pixels.clone(), frame.pixels.weight());
            let work = move |scratch: &mut Scratch| jpeg(&pixels, quality, scratch);
            // With very many in work this one is late anyway.
            let promise = self.workers.submit(work).ok()?;
            Some(Encoding { work: Work::Pool(promise), weight })
        })
    }
}

fn jpeg(pixels: &Pixels, quality: u8, scratch: &mut Scratch) -> Option<Bulk> {
    let (width, height) = pixels.size();
    let picture = Picture {
        data: pixels.part_bytes()?,
        width,
        height,
        bits: pixels.bits,
        stride: pixels.stride,
        top_down: pixels.top_down,
        format: 0,
    };
    let data = encode_mjpeg(&picture, quality, &mut scratch.jpeg)?;
    Some(Bulk::whole(blocks::share(data)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::geometry::Rect;
    use crate::sys::turbojpeg::decode;
    use crate::video::codecs::DEFAULT_CODECS;
    use crate::video::detect::StreamKey;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    fn frame(part: Rect) -> Frame {
        let (columns, rows) = (64u32, 48u32);
        let low = |n: u32| n.to_le_bytes()[0];
        let spots = (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y)));
        let pixels: Vec<u8> = spots.flat_map(|(x, y)| [low(x * 4), low(y * 5), 99, 255]).collect();
        let bitmap = Bulk::from(pixels);
        let pixels = Pixels { bitmap, stride: columns * 4, rows, top_down: true, bits: 32, part };
        let stream = StreamKey { id: 1, unique: 1 };
        Frame::new(stream, part, vec![part], (5, Instant::now()), pixels)
    }

    #[test]
    fn a_part_of_a_bitmap_is_encoded_once_for_each_quality() {
        let (told, done) = channel();
        let told = std::sync::Mutex::new(told);
        let studio = Studio::new(move || told.lock().unwrap().send(()).unwrap_or(()));
        let mut encoder = studio.encoder(DEFAULT_CODECS[0]);
        assert_eq!(encoder.codec(), Codec::Mjpeg);
        let frame = frame(Rect::from_size(16, 8, 32, 16));
        let mut make = |quality| {
            let encoding = encoder.encode(&frame, Wish { quality, rate: 0 }).unwrap();
            while let Progress::Working = encoding.look() {
                done.recv().unwrap();
            }
            let Progress::Done(data) = encoding.look() else { panic!("not made") };
            data
        };
        let fine = make(80);
        assert!(fine.is_same(&make(80)));
        assert!(make(20).len() < fine.len());
        let pixels = decode::bgrx(&fine, 32, 16).unwrap();
        for (n, pixel) in pixels.chunks_exact(4).enumerate() {
            let want = [(16 + n % 32) * 4, (8 + n / 32) * 5, 99];
            let near = |n: usize| usize::from(pixel[n]).abs_diff(want[n]) <= 10;
            assert!(near(0) && near(1) && near(2), "{n}: {pixel:?} {want:?}");
        }
    }
}

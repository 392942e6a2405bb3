//! Where one display's images are coded: small ones at once, large ones by the workers, and what
//! several clients need alike once.
//!
//! Owned by thread display-N; its clients share it. The result of a coding is a function of the bitmap and the choice
//! alone, so it serves every client that chose the same.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::probes;
use crate::pool::Scratch;
use crate::pool::workers::{self, Progress, Promise, Source};
use crate::protocol::message::Bulk;
use crate::qxl::model::Bitmap;

use super::EncodeError;
use super::choice::{Coding, code};
use super::image::{Coming, ImagePayload, Payload, raw};
use super::traits::{Fourth, fourth};

/// Bitmaps of fewer bytes are coded at once: handing one over costs some ten microseconds.
const LARGE: usize = 64 * 1024;
/// Bytes of results and of bitmaps that wait for clients which are a little behind the first one.
const KEPT_BYTES: usize = 16 << 20;
/// Number of them.
const KEPT: usize = 256;

/// A display's place of work, as its clients share it.
#[derive(Debug, Clone, Default)]
pub struct Shop(Arc<Mutex<Bench>>);

#[derive(Debug, Default)]
struct Bench {
    source: Option<Source>,
    scratch: Scratch,
    /// How many clients there are that others could share with.
    clients: usize,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
}

/// What is known of a bitmap.
#[derive(Debug)]
struct Kept {
    data: Bulk,
    shape: Shape,
    fourth: Option<Fourth>,
    made: Vec<(Coding, Payload)>,
    /// Bytes that it is charged for.
    bytes: usize,
}

/// Width, height, stride and order of the rows: what the block of pixels does not say.
type Shape = (u32, u32, u32, bool);

fn shape(bitmap: &Bitmap) -> Shape {
    (bitmap.width, bitmap.height, bitmap.stride, bitmap.top_down)
}

impl Shop {
    /// One with a way to the workers; `notify` is called on a worker when a result is there.
    #[must_use]
    pub fn with_workers(notify: impl Fn() + Send + Sync + 'static) -> Self {
        let bench = Bench { source: Some(workers::pool().source(notify)), ..Bench::default() };
        Self(Arc::new(Mutex::new(bench)))
    }

    /// How many clients the display has: one alone shares with nobody.
    pub fn set_clients(&self, clients: usize) {
        let mut bench = self.bench();
        bench.clients = clients;
        if clients < 2 {
            bench.kept.clear();
            bench.kept_bytes = 0;
        }
    }

    /// A bitmap in this form, now or later; as it is if that is shorter.
    ///
    /// # Errors
    /// [`EncodeError::ShortBitmap`]
    pub fn code(&self, bitmap: &Bitmap, coding: Coding) -> Result<Payload, EncodeError> {
        if coding == Coding::Raw {
            return raw(bitmap).map(Payload::Here);
        }
        let mut bench = self.bench();
        if bench.clients < 2 {
            return bench.code(bitmap, coding);
        }
        if let Some(kept) = bench.known(bitmap)
            && let Some((_, payload)) = kept.made.iter().find(|(made, _)| *made == coding)
        {
            return Ok(payload.clone());
        }
        let payload = bench.code(bitmap, coding)?;
        let bytes = match &payload {
            Payload::Here(payload) => payload.data.as_ref().map_or(0, |data| data.len()),
            Payload::Coming(coming) => coming.pixels,
        };
        bench.keep(bitmap, bytes, |kept| kept.made.push((coding, payload.clone())));
        Ok(payload)
    }

    /// What the fourth bytes of 32-bit pixels are.
    pub(super) fn fourth(&self, bitmap: &Bitmap) -> Fourth {
        let mut bench = self.bench();
        if bench.clients < 2 {
            return fourth(bitmap);
        }
        if let Some(known) = bench.known(bitmap).and_then(|kept| kept.fourth) {
            return known;
        }
        let found = fourth(bitmap);
        bench.keep(bitmap, 0, |kept| kept.fourth = Some(found));
        found
    }

    /// Codes an image of so many bytes that is one client's alone, now or later.
    ///
    /// # Errors
    /// Those of `work`, if it is done now.
    pub fn run(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Scratch) -> Result<ImagePayload, EncodeError> + Send + 'static,
    ) -> Result<Payload, EncodeError> {
        // Streams of a dictionary go whatever their size: a control byte for each 32 pixels is the worst.
        let at_most = bytes as u64 + bytes as u64 / 8 + 4096;
        self.bench().run(bytes, at_most, work)
    }

    /// Lets the display's thread lend a hand, with its own scratch memory.
    pub fn help<R>(&self, help: impl FnOnce(&mut Scratch) -> R) -> R {
        help(&mut self.bench().scratch)
    }

    fn bench(&self) -> std::sync::MutexGuard<'_, Bench> {
        // Only display-N comes here; a panic under it costs a result, which is made anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bench {
    fn code(&mut self, bitmap: &Bitmap, coding: Coding) -> Result<Payload, EncodeError> {
        // What a worker is given must not fail; palettes are settled when a message is made.
        let plain = raw(bitmap)?;
        let bytes = plain.data.as_ref().map_or(0, |data| data.len());
        if bytes < LARGE || plain.palette.is_some() {
            let payload = code_or_raw(bitmap, coding, &mut self.scratch);
            self.scratch.trim();
            return payload.map(Payload::Here);
        }
        let bitmap = bitmap.clone();
        self.run(bytes, bytes as u64, move |scratch| code_or_raw(&bitmap, coding, scratch))
    }

    fn run(
        &mut self,
        bytes: usize,
        at_most: u64,
        work: impl FnOnce(&mut Scratch) -> Result<ImagePayload, EncodeError> + Send + 'static,
    ) -> Result<Payload, EncodeError> {
        let refused = match &self.source {
            Some(source) if bytes >= LARGE => match source.submit(work) {
                Ok(promise) => {
                    probes::job_queued(bytes);
                    return Ok(coming(promise, bytes, at_most));
                }
                Err(work) => work,
            },
            _ => work,
        };
        let made = workers::guarded(&mut self.scratch, refused);
        let payload = made.unwrap_or(Err(EncodeError::NotMade));
        self.scratch.trim();
        payload.map(Payload::Here)
    }

    fn known(&self, bitmap: &Bitmap) -> Option<&Kept> {
        let is_it = |kept: &&Kept| kept.data.is_same(&bitmap.data) && kept.shape == shape(bitmap);
        self.kept.iter().rev().find(is_it)
    }

    /// Adds to what is known of a bitmap, which takes so many bytes more.
    fn keep(&mut self, bitmap: &Bitmap, bytes: usize, add: impl FnOnce(&mut Kept)) {
        let shape = shape(bitmap);
        let is_it = |kept: &Kept| kept.data.is_same(&bitmap.data) && kept.shape == shape;
        let mut kept = match self.kept.iter().rposition(is_it).and_then(|at| self.kept.remove(at)) {
            Some(kept) => kept,
            None => {
                let data = bitmap.data.clone();
                self.kept_bytes += data.len();
                Kept { bytes: data.len(), data, shape, fourth: None, made: Vec::new() }
            }
        };
        add(&mut kept);
        kept.bytes += bytes;
        self.kept_bytes += bytes;
        self.kept.push_back(kept);
        while self.kept_bytes > KEPT_BYTES || self.kept.len() > KEPT {
            let Some(old) = self.kept.pop_front() else { break };
            self.kept_bytes -= old.bytes;
        }
    }
}

/// [`code`]; if that goes wrong for a mistake of ours the bitmap goes as it is, and nobody has to leave.
fn code_or_raw(
    bitmap: &Bitmap,
    coding: Coding,
    scratch: &mut Scratch,
) -> Result<ImagePayload, EncodeError> {
    workers::guarded(scratch, |scratch| code(bitmap, coding, scratch))
        .unwrap_or_else(|| raw(bitmap))
}

fn coming(
    promise: Promise<Result<ImagePayload, EncodeError>>,
    pixels: usize,
    at_most: u64,
) -> Payload {
    debug_assert!(!matches!(promise.progress(), Progress::Failed));
    Payload::Coming(Coming { promise, flags: 0, at_most, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::LzPixels;
    use crate::qxl::model::BitmapFormat;

    const LZ: Coding = Coding::Lz(LzPixels::Rgb32, 0);

    fn bitmap(width: u32, height: u32) -> Bitmap {
        let stride = width * 4;
        let data = vec![5; (stride * height) as usize].into();
        let format = BitmapFormat::Bit32;
        Bitmap { format, top_down: true, width, height, stride, palette: None, data }
    }

    fn data(payload: Payload) -> Bulk {
        payload.here().and_then(|payload| payload.data).unwrap()
    }

    #[test]
    fn what_several_clients_need_alike_is_made_once() {
        let shop = Shop::default();
        let picture = bitmap(50, 50);
        let made = |bitmap: &Bitmap, coding| data(shop.code(bitmap, coding).unwrap());
        assert!(!made(&picture, LZ).is_same(&made(&picture, LZ)), "one client shares with nobody");
        shop.set_clients(2);
        assert_eq!((shop.fourth(&picture), shop.fourth(&picture)), (Fourth::Mixed, Fourth::Mixed));
        let first = made(&picture, LZ);
        assert!(first.is_same(&made(&picture.clone(), LZ)));
        assert!(!first.is_same(&made(&picture, Coding::Lz(LzPixels::Rgba, 0))));
        assert!(!first.is_same(&made(&bitmap(50, 50), LZ)), "equal pixels, another block");
        assert!(!first.is_same(&made(&Bitmap { top_down: false, ..picture.clone() }, LZ)));
        assert!(first.is_same(&made(&picture, LZ)));
        shop.set_clients(1);
        assert!(!first.is_same(&made(&picture, LZ)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let shop = Shop::default();
        shop.set_clients(2);
        for n in 1..400 {
            shop.code(&bitmap(20 + n % 9, 20), LZ).unwrap();
        }
        assert_eq!(shop.bench().kept.len(), KEPT);
        for _ in 0..30 {
            shop.code(&bitmap(512, 512), LZ).unwrap();
        }
        let bench = shop.bench();
        assert!(bench.kept_bytes <= KEPT_BYTES);
        assert_eq!(bench.kept_bytes, bench.kept.iter().map(|kept| kept.bytes).sum::<usize>());
        assert!((10..=16).contains(&bench.kept.len()), "{}", bench.kept.len());
    }

    #[test]
    fn large_pictures_are_the_workers_and_small_ones_are_made_at_once() {
        let (told, done) = std::sync::mpsc::channel();
        let told = Mutex::new(told);
        let shop = Shop::with_workers(move || told.lock().unwrap().send(()).unwrap_or(()));
        assert!(matches!(shop.code(&bitmap(100, 100), LZ), Ok(Payload::Here(_))));
        let picture = bitmap(200, 200);
        let Ok(Payload::Coming(coming)) = shop.code(&picture, LZ) else { panic!("not a job") };
        assert_eq!(coming.pixels, 160_000);
        done.recv().unwrap();
        assert!(!coming.is_working());
        let here = code(&picture, LZ, &mut Scratch::default()).unwrap();
        assert_eq!(data(Payload::Coming(coming)), here.data.unwrap());
        let mut short = bitmap(200, 200);
        short.data = short.data.part(0..159_999);
        assert_eq!(
            shop.code(&short, LZ).err(),
            Some(EncodeError::ShortBitmap { have: 159_999, need: 160_000 })
        );
    }
}

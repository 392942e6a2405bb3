//! Where one display's images are coded: small ones at once, large ones by the workers, and what
//! several clients need alike once.
//!
//! Owned by thread display-N; its clients share it. The result of a coding is a function of the bitmap and the choice
//! alone, so it serves every client that chose the same.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::pool::Scratch;
use crate::pool::workers::{self, Progress, Promise, Source};
use crate::protocol::message::Bulk;
use crate::qxl::model::Bitmap;

use super::EncodeError;
use super::choice::{Coding, code};
use super::image::{Coming, ImagePayload, Payload, raw};

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

/// A result, and what it is the result of.
#[derive(Debug)]
struct Kept {
    key: Key,
    payload: Payload,
    bytes: usize,
}

/// A bitmap and how it is coded.
#[derive(Debug)]
struct Key {
    data: Bulk,
    shape: (u32, u32, u32, bool),
    coding: Coding,
}

impl Key {
    fn is_same(&self, other: &Self) -> bool {
        self.coding == other.coding && self.shape == other.shape && self.data.is_same(&other.data)
    }
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
        let shape = (bitmap.width, bitmap.height, bitmap.stride, bitmap.top_down);
        let key = Key { data: bitmap.data.clone(), shape, coding };
        if let Some(kept) = bench.kept.iter().rev().find(|kept| kept.key.is_same(&key)) {
            return Ok(kept.payload.clone());
        }
        let payload = bench.code(bitmap, coding)?;
        bench.keep(key, payload.clone());
        Ok(payload)
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
            let payload = code(bitmap, coding, &mut self.scratch);
            self.scratch.trim();
            return payload.map(Payload::Here);
        }
        let bitmap = bitmap.clone();
        self.run(bytes, bytes as u64, move |scratch| code(&bitmap, coding, scratch))
    }

    fn run(
        &mut self,
        bytes: usize,
        at_most: u64,
        work: impl FnOnce(&mut Scratch) -> Result<ImagePayload, EncodeError> + Send + 'static,
    ) -> Result<Payload, EncodeError> {
        let refused = match &self.source {
            Some(source) if bytes >= LARGE => match source.submit(work) {
                Ok(promise) => return Ok(coming(promise, bytes, at_most)),
                Err(work) => work,
            },
            _ => work,
        };
        let payload = refused(&mut self.scratch);
        self.scratch.trim();
        payload.map(Payload::Here)
    }

    fn keep(&mut self, key: Key, payload: Payload) {
        let made = match &payload {
            Payload::Here(payload) => payload.data.as_ref().map_or(0, |data| data.len()),
            Payload::Coming(coming) => coming.pixels,
        };
        let bytes = made + key.data.len();
        if bytes > KEPT_BYTES / 2 {
            return;
        }
        self.kept_bytes += bytes;
        self.kept.push_back(Kept { key, payload, bytes });
        while self.kept_bytes > KEPT_BYTES || self.kept.len() > KEPT {
            let Some(old) = self.kept.pop_front() else { break };
            self.kept_bytes -= old.bytes;
        }
    }
}

fn coming(
    promise: Promise<Result<ImagePayload, EncodeError>>,
    pixels: usize,
    at_most: u64,
) -> Payload {
    debug_assert!(!matches!(promise.progress(), Progress::Failed));
    Payload::Coming(Coming { promise, flags: 0, at_most, pixels })
}

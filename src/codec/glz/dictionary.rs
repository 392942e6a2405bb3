//! What one client's earlier images hold, and where to find it.
//!
//! The pixels are private copies, made before an image gets its number, or by the caller. The lock is held for the
//! number and for what the window lets go of, never while pixels are copied or searched; so any
//! number of threads may encode at the same time, each one an image of its own.
//! Where pixels were seen is a table of atomics that nobody waits for: whatever is found there is
//! compared with the pixels themselves before it is used.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::FromZeros;

use super::{MAX_DISTANCE, MAX_WINDOW, bias};
use crate::codec::Rows;
use crate::codec::lz::PixelType;
use crate::codec::lz::colors::Pixel;
use crate::codec::simd::{self, Kernel, Work};

/// Logarithm of the number of places that are remembered, at most: as many as a window of 16 Mi
/// pixels has anchors.
const TABLE_BITS: u32 = 20;
/// Buffers of images that the window let go of, kept for the next ones, and the part of the window
/// that they may have together.
const SPARE_BUFFERS: usize = 4;
const SPARE_PART: usize = 4;

/// The images that a client has, as far as they may be referred to.
#[derive(Debug)]
pub struct Dictionary {
    /// Most pixels of all images that the client has to keep.
    capacity: usize,
    state: Mutex<State>,
    places: Box<[AtomicU64]>,
    /// What leaves a hash as many bits as the table needs.
    shift: u32,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Images that the client keeps, without gaps, the last one is number `next - 1`.
    images: VecDeque<Arc<Image>>,
    pixels: usize,
    spare: Vec<Vec<Pixel>>,
}

impl State {
    fn may_keep(&self, buffer: &Vec<Pixel>, window: usize) -> bool {
        let kept: usize = self.spare.iter().map(Vec::capacity).sum();
        self.spare.len() < SPARE_BUFFERS && kept + buffer.capacity() <= window / SPARE_PART
    }
}

/// An image that has a number.
#[derive(Debug)]
pub(super) struct Image {
    pub id: u64,
    pub format: PixelType,
    pub width: u32,
    pub height: u32,
    pub top_down: bool,
    pixels: Pixels,
    /// Who sends it.
    origin: Origin,
    /// It is on its way, so others may wait for it.
    sent: AtomicBool,
}

/// Where an image comes from, and what clients make of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The channel that sends it. It may refer to its own earlier images at once.
    pub channel: u32,
    /// Clients set the fourth byte of its pixels after they decoded it. They do so in the very copy
    /// that later images refer to, so only images of this kind may.
    pub high_bits: bool,
}

/// Rows as they lie in memory, four bytes a pixel.
#[derive(Debug)]
enum Pixels {
    /// A copy.
    Own(Vec<Pixel>),
    /// The caller's, whose fourth bytes mean nothing unless they are alpha.
    Kept(Arc<Vec<u8>>, Range<usize>),
}

impl Image {
    /// Rows as they lie in memory; what no pixel keeps may be anything.
    #[inline(always)]
    pub fn pixels(&self) -> &[Pixel] {
        match &self.pixels {
            Pixels::Own(pixels) => pixels,
            Pixels::Kept(bytes, range) => {
                bytes.get(range.clone()).unwrap_or_default().as_chunks().0
            }
        }
    }
}

/// Why an image gets no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The window cannot hold it.
    #[error("{pixels} pixels, the window has {window}")]
    Window {
        /// Pixels of the image.
        pixels: usize,
        /// Pixels of the window.
        window: usize,
    },
    /// No image has pixels of this type.
    #[error("pixel type {0:?}")]
    PixelType(PixelType),
    /// There is no memory for the pixels.
    #[error("no memory for {0} pixels")]
    Memory(usize),
    /// Rows and pixel type do not fit together.
    #[error("rows of {row} bytes, need {need}")]
    Row {
        /// Bytes of the rows.
        row: usize,
        /// Bytes that this width and type have.
        need: usize,
    },
}

/// An image with a number, which is now to be encoded and sent, whatever happens: a client that
/// misses one keeps all later ones for ever.
#[derive(Debug)]
#[must_use = "a number that was handed out has to be sent"]
pub struct Ticket {
    pub(super) image: Arc<Image>,
    /// The oldest image that the client will have.
    pub(super) oldest: u64,
}

impl Ticket {
    /// The image's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.image.id
    }

    /// Bytes of its pixels in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.image.pixels())
    }

    /// From now on images of other channels may refer to it: it is in its channel's socket, or
    /// nothing can keep it from going there.
    pub fn sent(&self) {
        self.image.sent.store(true, Ordering::Release);
    }
}

impl Dictionary {
    /// An empty one for a client with a window of so many pixels.
    #[must_use]
    pub fn new(window: usize) -> Self {
        let capacity = window.min(MAX_WINDOW);
        let bits = (capacity / 16 + 1024).ilog2().clamp(1, TABLE_BITS);
        let count = 1 << bits;
        // Zeros that the system gives untouched: a client whose screen has few pixels never uses most of them.
        let places = <[AtomicU64]>::new_box_zeroed_with_elems(count)
            .unwrap_or_else(|_| (0..count).map(|_| AtomicU64::new(0)).collect());
        Self { capacity, state: Mutex::default(), places, shift: 32 - bits }
    }

    /// An empty one that continues the numbers of another one, after a migration.
    #[must_use]
    pub fn resume(window: usize, next: u64) -> Self {
        let new = Self::new(window);
        new.lock().next = next;
        new
    }

    /// The number that the next image will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.lock().next
    }

    /// [`Self::ticket_of`] for an image that is decoded and left alone.
    ///
    /// # Errors
    /// [`TicketError`]; no number was used.
    pub fn ticket(
        &self,
        picture: &Rows<'_>,
        format: PixelType,
        channel: u32,
    ) -> Result<Ticket, TicketError> {
        self.ticket_of(picture, format, Origin { channel, high_bits: false })
    }

    /// Copies the pixels and gives them the next number. Tickets of one channel have to be sent
    /// in the order in which they were made.
    ///
    /// # Errors
    /// [`TicketError`]; no number was used.
    pub fn ticket_of(
        &self,
        picture: &Rows<'_>,
        format: PixelType,
        origin: Origin,
    ) -> Result<Ticket, TicketError> {
        let (width, height) = (picture.width(), picture.height());
        if bias(format).is_none() {
            return Err(TicketError::PixelType(format));
        }
        let (row, need) = (picture.row_bytes(), width as usize * (format.bits() / 8) as usize);
        if row != need {
            return Err(TicketError::Row { row, need });
        }
        let count = self.count(width, height)?;
        let mut pixels = self.lock().spare.pop().unwrap_or_default();
        let more = count.saturating_sub(pixels.len());
        pixels.try_reserve_exact(more).map_err(|_| TicketError::Memory(count))?;
        simd::run(simd::level(), Copy { picture, format, pixels: &mut pixels });
        let top_down = picture.top_down();
        Ok(self.number(Pixels::Own(pixels), format, (width, height), top_down, origin))
    }

    /// [`Self::ticket_of`] without a copy, for whoever has one already: that range of `pixels` are rows as they lie
    /// in memory, tight, of pixels of four bytes. They are kept as long as the window has the
    /// image.
    ///
    /// # Errors
    /// [`TicketError`]; no number was used.
    pub fn ticket_owned(
        &self,
        (pixels, range): (Arc<Vec<u8>>, Range<usize>),
        format: PixelType,
        (width, height): (u32, u32),
        top_down: bool,
        origin: Origin,
    ) -> Result<Ticket, TicketError> {
        if !matches!(format, PixelType::Rgb32 | PixelType::Rgba) {
            return Err(TicketError::PixelType(format));
        }
        let count = self.count(width, height)?;
        let bytes = pixels.get(range.clone()).map_or(0, <[u8]>::len);
        // Below the capacity, so this is no overflow.
        if count == 0 || bytes != count * 4 {
            let row = bytes / (height as usize).max(1);
            return Err(TicketError::Row { row, need: width as usize * 4 });
        }
        Ok(self.number(Pixels::Kept(pixels, range), format, (width, height), top_down, origin))
    }

    /// How many pixels there are, if the window can hold them.
    fn count(&self, width: u32, height: u32) -> Result<usize, TicketError> {
        let count = u64::from(width) * u64::from(height);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count >= self.capacity {
            return Err(TicketError::Window { pixels: count, window: self.capacity });
        }
        Ok(count)
    }

    /// The next number.
    fn number(
        &self,
        pixels: Pixels,
        format: PixelType,
        (width, height): (u32, u32),
        top_down: bool,
        origin: Origin,
    ) -> Ticket {
        // To be freed when nobody waits for the lock any more.
        let mut freed = Vec::new();
        let mut state = self.lock();
        let id = state.next;
        let sent = AtomicBool::new(false);
        let image = Image { id, format, width, height, top_down, pixels, origin, sent };
        state.next += 1;
        state.pixels += image.pixels().len();
        while state.pixels > self.capacity
            || state.images.front().is_some_and(|first| id - first.id > MAX_DISTANCE)
        {
            let Some(gone) = state.images.pop_front() else { break };
            state.pixels -= gone.pixels().len();
            // Unless somebody still looks at it.
            match Arc::into_inner(gone).map(|image| image.pixels) {
                Some(Pixels::Own(pixels)) if state.may_keep(&pixels, self.capacity) => {
                    state.spare.push(pixels);
                }
                pixels => freed.push(pixels),
            }
        }
        let image = Arc::new(image);
        state.images.push_back(Arc::clone(&image));
        let oldest = state.images.front().map_or(id, |first| first.id);
        drop(state);
        drop(freed);
        Ticket { image, oldest }
    }

    /// [`Ticket::sent`] for a ticket that is no longer there, if its image still is.
    pub fn sent(&self, id: u64) {
        let state = self.lock();
        let first = state.images.front().map_or(0, |image| image.id);
        let place = id.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(image) = place.and_then(|place| state.images.get(place)) {
            image.sent.store(true, Ordering::Release);
        }
    }

    /// An image that `ticket`'s one may refer to.
    pub(super) fn image(&self, id: u64, ticket: &Ticket) -> Option<Arc<Image>> {
        if id >= ticket.image.id || id < ticket.oldest {
            return None;
        }
        let state = self.lock();
        let first = state.images.front()?.id;
        let image = state.images.get(usize::try_from(id.checked_sub(first)?).ok()?)?;
        let own = &ticket.image;
        let known =
            image.origin.channel == own.origin.channel || image.sent.load(Ordering::Acquire);
        let alike = image.format == own.format && (!image.origin.high_bits || own.origin.high_bits);
        (known && alike).then(|| Arc::clone(image))
    }

    /// The last image before `ticket`'s one with the same size.
    pub(super) fn like(&self, ticket: &Ticket) -> Option<u64> {
        let own = &ticket.image;
        let state = self.lock();
        // Of very many images only the last ones are looked at.
        let mut images = state.images.iter().rev().take(64);
        let like = images.find(|image| {
            image.id < own.id && (image.width, image.height) == (own.width, own.height)
        });
        like.map(|image| image.id)
    }

    /// The slot of a hash.
    #[inline(always)]
    pub(super) fn slot(&self, hash: u32) -> &AtomicU64 {
        // The low bits decide which places are remembered at all.
        &self.places[(hash >> self.shift) as usize]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that is done under it can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies the rows of an image.
struct Copy<'a> {
    picture: &'a Rows<'a>,
    format: PixelType,
    pixels: &'a mut Vec<Pixel>,
}

impl Work for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn with<K: Kernel>(self, _: K) {
        let Self { picture, format, pixels } = self;
        let count = picture.width() as usize * picture.height() as usize;
        // Spare buffers keep their content: only what is longer is zeroed.
        pixels.resize(count, [0; 4]);
        let rows = pixels.chunks_exact_mut(picture.width() as usize).zip(picture.in_memory());
        match format {
            PixelType::Rgb16 => {
                for (to, from) in rows {
                    for (to, [low, high]) in to.iter_mut().zip(from.as_chunks().0) {
                        *to = [*low, high & 0x7f, 0, 0];
                    }
                }
            }
            PixelType::Rgb24 => {
                for (to, from) in rows {
                    for (to, [b, g, r]) in to.iter_mut().zip(from.as_chunks().0) {
                        *to = [*b, *g, *r, 0];
                    }
                }
            }
            PixelType::Rgba => {
                for (to, from) in rows {
                    to.copy_from_slice(from.as_chunks().0);
                }
            }
            _ => {
                for (to, from) in rows {
                    for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
                        *to = (u32::from_le_bytes(*from) & 0x00ff_ffff).to_le_bytes();
                    }
                }
            }
        }
    }
}

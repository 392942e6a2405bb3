//! From pixels to a stream, with matches in the image itself and in earlier ones.
//!
//! In the image itself the candidates are those of LZ. In earlier images they are the last few
//! displacements that worked, and anchors: places where the hash of four pixels ends with zeros.
//! The content alone decides which places are anchors, so they are the same ones wherever it
//! moves to, and still only one place in sixteen costs an access to a table that is in no cache
//! (more of them in small images, where there is less to find and less to lose).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::dictionary::{Dictionary, Image, Ticket};
use super::sink::{FAR, Writer};
use super::{ALPHA_BIAS, MAGIC, TOP_DOWN, VERSION, bias};
use crate::codec::lz::PixelType;
use crate::codec::lz::bytes::{self, Worth};
use crate::codec::lz::colors::{
    self, Misses, PATIENCE, Pixel, eight, equal, flush, hash, remember_ends, same_pair,
};
use crate::codec::lz::places::Places;
use crate::codec::lz::sink::{Full, Output, Sink, low_byte};
use crate::codec::simd::{self, Kernel, Level, Work};

/// Memory that an encoder needs while it works; to be kept from image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    places: Places,
    anchors: Vec<(usize, u32)>,
}

impl Scratch {
    /// Bytes that it keeps, but for a small table.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.anchors.capacity() * size_of::<(usize, u32)>()
    }
}

/// Pixels of three bytes, in the image itself.
const COLORS: Worth =
    Worth { bias: 0, near: 2, adjacent: 2, far: 3, far_from: FAR, farthest: (1 << 25) - 1 };
/// Pixels of two bytes.
const COLORS_16: Worth = Worth { bias: 1, near: 3, adjacent: 2, far: 4, ..COLORS };
const BYTES: Worth = Worth { bias: ALPHA_BIAS, near: 5, adjacent: 4, far: 6, ..COLORS };
/// Bytes that a match in another image should save.
const FOREIGN_BYTES: usize = 8;

/// Pixels whose anchors are looked for at once, and that far ahead.
const AHEAD: usize = 64;
/// Images of no more pixels have an anchor at every second place, on average.
const SMALL: usize = 1 << 16;
/// Images of no more pixels have one at every fourth place, others at every sixteenth.
const MEDIUM: usize = 1 << 19;
/// The bits of a hash that are 0 at an anchor of any larger image.
const LARGE_ZEROS: u32 = 15;
/// How far behind an anchor of such an image the pixels begin that distinguish it, too.
const BEHIND: usize = 6;
/// Misses up to which anchors are not looked for ahead: where match follows match, they are those
/// places where one ends.
const CALM: usize = 8;
/// A length that is good enough to ask no anchor for a longer one.
const FAR_ENOUGH: usize = 512;
/// Displacements that are tried again.
const RECENT: usize = 3;
/// How often, before they are forgotten: each time costs an access to far memory.
const TRIES: usize = 400;
/// Of a long match, anchors are remembered in pieces that begin so far from each other.
const SPARSE: usize = 1024;

/// Appends the stream of an image to `out`. Its number was handed out, so there is a stream.
pub fn encode(dictionary: &Dictionary, ticket: &Ticket, scratch: &mut Scratch, out: &mut Vec<u8>) {
    encode_at(simd::level(), dictionary, ticket, scratch, out);
}

/// [`encode`] with the inner loops of a level: for tests and benches, the stream is the same.
pub fn encode_at(
    level: Level,
    dictionary: &Dictionary,
    ticket: &Ticket,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let image = &ticket.image;
    let stride = image.width * (image.format.bits() / 8);
    let kind = low_byte(image.format as usize) | if image.top_down { TOP_DOWN } else { 0 };
    out.extend(MAGIC.to_be_bytes());
    out.extend(VERSION.to_be_bytes());
    out.push(kind);
    for word in [image.width, image.height, stride] {
        out.extend(word.to_be_bytes());
    }
    out.extend(image.id.to_be_bytes());
    // Images so far back do not stay in the dictionary.
    let distance = u32::try_from(image.id - ticket.oldest).unwrap_or(0);
    out.extend(distance.to_be_bytes());
    let mut writer = Writer(Output::new(out, usize::MAX));
    let work = Encode { dictionary, ticket, scratch, writer: &mut writer };
    // There is no limit that it could reach.
    let _ = simd::run(level, work);
}

/// An image, and where its stream goes.
struct Encode<'a, 'o> {
    dictionary: &'a Dictionary,
    ticket: &'a Ticket,
    scratch: &'a mut Scratch,
    writer: &'a mut Writer<'o>,
}

impl Work for Encode<'_, '_> {
    type Output = Result<(), Full>;

    #[inline(always)]
    fn with<K: Kernel>(self, k: K) -> Result<(), Full> {
        let Self { dictionary, ticket, scratch, writer } = self;
        let Scratch { bytes, places, anchors } = scratch;
        anchors.clear();
        let image = &ticket.image;
        let worth = if bias(image.format) == Some(1) { COLORS_16 } else { COLORS };
        let found = Known { image: [const { None }; 16] };
        let mut walk = Walk {
            k,
            dictionary,
            ticket,
            width: image.width as usize,
            worth,
            places,
            known: found,
            recent: [const { None }; RECENT],
            anchors,
            next_anchor: 0,
            // The anchors of a large image are anchors of a small one too.
            zeros: match image.pixels().len() {
                ..=SMALL => 1,
                pixels if pixels <= MEDIUM => 3,
                _ => LARGE_ZEROS,
            },
            scanned: 0,
        };
        if let Some(like) = dictionary.like(ticket).and_then(|id| dictionary.image(id, ticket)) {
            walk.recent[0] = Some(Displacement { image: like, by: 0, failed: 0 });
        }
        if image.format == PixelType::Rgb16 {
            walk.pass::<2>(writer)?;
        } else {
            walk.pass::<3>(writer)?;
        }
        if image.format == PixelType::Rgba {
            bytes.clear();
            bytes.extend(image.pixels().iter().map(|pixel| pixel[3]));
            bytes::pass(bytes, image.width as usize, BYTES, places, writer)?;
        }
        Ok(())
    }
}

/// Images that were looked up lately.
struct Known {
    image: [Option<Arc<Image>>; 16],
}

impl Known {
    #[inline(always)]
    fn get(&mut self, id: u64, dictionary: &Dictionary, ticket: &Ticket) -> Option<&Arc<Image>> {
        let slot = &mut self.image[(id & 15) as usize];
        if slot.as_ref().is_none_or(|image| image.id != id) {
            *slot = Some(dictionary.image(id, ticket)?);
        }
        slot.as_ref()
    }
}

/// Pixels stand in another image, so many further.
struct Displacement {
    image: Arc<Image>,
    by: isize,
    /// How often it was tried in vain, since it was of use.
    failed: usize,
}

impl Displacement {
    #[inline(always)]
    fn place(&self, at: usize) -> Option<usize> {
        at.checked_add_signed(self.by).filter(|place| *place < self.image.pixels().len())
    }
}

/// Where a match begins.
enum Source {
    /// So far before, in the image itself.
    Same(usize),
    /// At a recent displacement.
    Recent(usize),
    /// At a pixel of another image.
    Foreign(u64, usize),
}

struct Walk<'a, K> {
    k: K,
    dictionary: &'a Dictionary,
    ticket: &'a Ticket,
    width: usize,
    worth: Worth,
    places: &'a mut Places,
    known: Known,
    /// The last one first.
    recent: [Option<Displacement>; RECENT],
    /// Places and hashes, in order.
    anchors: &'a mut Vec<(usize, u32)>,
    next_anchor: usize,
    /// Bits of an anchor's hash that are 0.
    zeros: u32,
    /// Anchors were looked for up to here.
    scanned: usize,
}

impl<K: Kernel> Walk<'_, K> {
    #[inline(always)]
    fn pass<const BYTES: usize>(&mut self, sink: &mut Writer<'_>) -> Result<(), Full> {
        let image = Arc::clone(&self.ticket.image);
        let (k, width, pixels) = (self.k, self.width, image.pixels());
        self.places.begin(pixels.len());
        // Literals from here on were not written yet.
        let mut pending = 0;
        // The first pixel may be like one of an earlier image, but one literal is cheap.
        let (mut at, mut row_end) = (1, width);
        let mut misses = Misses::default();
        // The hash reads two pixels.
        let last = pixels.len().saturating_sub(1);
        while at < last {
            if at >= row_end {
                row_end = (at / width + 1) * width;
                misses.new_row();
            }
            if misses.pixels >= CALM {
                self.scan(pixels, at);
            }
            let mut hashed = 0;
            if misses.pixels >= PATIENCE && at + 9 <= pixels.len() && at >= width {
                let here = eight(pixels, at);
                let mut same = k.equal_eight(eight(pixels, at - 1), here)
                    | k.equal_eight(eight(pixels, at - width), here);
                for recent in self.recent.iter_mut().take(2) {
                    same |= tried(k, recent, at, here);
                }
                let anchor = self.anchors.get(self.next_anchor).map_or(usize::MAX, |a| a.0);
                if same & 1 == 0 && anchor != at {
                    hashed = self.places.distance(hash(&pixels[at..]), at, self.worth.farthest);
                    if hashed > NEAR || !same_pair(pixels, at, hashed) {
                        // Never beyond an anchor.
                        at += misses.step(same).min(anchor - at);
                        pending = flush::<K, _, BYTES>(k, pixels, pending, at, sink)?;
                        continue;
                    }
                }
            }
            let Some((source, mut length)) = self.find(pixels, at, hashed, pending) else {
                misses.pixels += 1;
                at += 1;
                continue;
            };
            let (images, mut offset) = match source {
                Source::Same(distance) => {
                    while at > pending
                        && at > distance
                        && equal(pixels[at - 1], pixels[at - 1 - distance])
                    {
                        at -= 1;
                        length += 1;
                    }
                    (0, distance - 1)
                }
                Source::Recent(which) => {
                    self.recent[..=which].rotate_right(1);
                    self.foreign(at)
                }
                Source::Foreign(id, place) => {
                    if let Some(image) = self.known.get(id, self.dictionary, self.ticket) {
                        let by = place.cast_signed() - at.cast_signed();
                        let new = Displacement { image: Arc::clone(image), by, failed: 0 };
                        self.recent.rotate_right(1);
                        self.recent[0] = Some(new);
                    }
                    self.foreign(at)
                }
            };
            if images > 0
                && let Some(Displacement { image, .. }) = &self.recent[0]
            {
                let room = (at - pending).min(offset);
                let back = k.common_backward(
                    &image.pixels()[offset - room..offset],
                    &pixels[at - room..at],
                );
                at -= back;
                offset -= back;
                length += back;
            }
            if pending < at {
                sink.pixels::<K, BYTES>(k, &pixels[pending..], at - pending)?;
            }
            sink.refer(length - self.worth.bias, images, offset)?;
            let end = at + length;
            remember_ends(pixels, at, end, self.places);
            self.remember(pixels, at, end);
            at = end;
            pending = end;
            misses = Misses::default();
        }
        sink.pixels::<K, BYTES>(k, &pixels[pending..], pixels.len() - pending)
    }

    /// How many images back, and where in it, the last displacement leads to.
    #[inline(always)]
    fn foreign(&self, at: usize) -> (usize, usize) {
        let Some(recent) = &self.recent[0] else { return (0, 0) };
        let images = self.ticket.image.id - recent.image.id;
        // Fewer than the format allows, by the dictionary; the place was looked at before.
        (usize::try_from(images).unwrap_or(0), recent.place(at).unwrap_or(0))
    }

    /// The best match at a place, if one pays.
    #[inline(always)]
    fn find(
        &mut self,
        pixels: &[Pixel],
        at: usize,
        hashed: usize,
        pending: usize,
    ) -> Option<(Source, usize)> {
        let k = self.k;
        let foreign = if self.worth.bias == 0 { FOREIGN_BYTES / 3 + 1 } else { FOREIGN_BYTES / 2 };
        let mut best = None;
        let mut longest = foreign - 1;
        for (which, slot) in self.recent.iter_mut().enumerate() {
            let Some(recent) = slot else { continue };
            let Some(place) = recent.place(at) else { continue };
            let there = &recent.image.pixels()[place..];
            if !equal(there[0], pixels[at]) {
                recent.failed += 1;
                if recent.failed > TRIES {
                    *slot = None;
                }
                continue;
            }
            let length = common(k, there, &pixels[at..]);
            if length >= foreign {
                recent.failed = 0;
            }
            if length > longest {
                best = Some((Source::Recent(which), length));
                longest = length;
            }
            if length >= FAR_ENOUGH {
                return best;
            }
        }
        let places = &mut *self.places;
        let adjacent = pending == at;
        let near = colors::find(k, pixels, at, self.width, hashed, places, self.worth, adjacent);
        if let Some(near) = near
            && (best.is_none() || near.length >= longest)
        {
            best = Some((Source::Same(near.distance), near.length));
            longest = near.length;
        }
        if longest < FAR_ENOUGH
            && let Some(four) = pixels[at..].first_chunk()
            && let hash = simd::hash_four(four)
            && hash & self.zeros == 0
            && let Some(key) = self.key(pixels, at, hash)
        {
            let entry = self.exchange(key, at);
            let far = entry.and_then(|entry| self.at_anchor(pixels, at, entry));
            if let Some((source, length)) = far
                && length > longest.max(foreign)
            {
                best = Some((source, length));
            }
        }
        best
    }

    /// What was at an anchor's slot of the table, where this place is now.
    #[inline(always)]
    fn exchange(&self, hash: u32, at: usize) -> Option<u64> {
        let entry = self.dictionary.slot(hash).load(Ordering::Relaxed);
        let tag = u64::from(hash >> 4 & 0x7fff);
        self.note(hash, at);
        (entry & 0x7fff == tag && entry != 0).then_some(entry)
    }

    /// Notes that an anchor is at this place.
    #[inline(always)]
    fn note(&self, hash: u32, at: usize) {
        let tag = u64::from(hash >> 4 & 0x7fff);
        // 24 bits of the number, 25 of the place, 15 of the hash.
        let own = self.ticket.image.id << 40 | (at as u64) << 15 | tag;
        self.dictionary.slot(hash).store(own, Ordering::Relaxed);
    }

    /// What a table's entry stands for, if its pixels are these ones.
    #[inline(always)]
    fn at_anchor(&mut self, pixels: &[Pixel], at: usize, entry: u64) -> Option<(Source, usize)> {
        let place = usize::try_from(entry >> 15 & 0x1ff_ffff).ok()?;
        let images = (self.ticket.image.id << 40).wrapping_sub(entry & !0xff_ffff_ffff) >> 40;
        if images == 0 {
            // Of this image, unless the number is one that came round again.
            let distance = at.checked_sub(place).filter(|distance| *distance > 0)?;
            let length = common(self.k, &pixels[place..], &pixels[at..]);
            return (distance <= self.worth.farthest).then_some((Source::Same(distance), length));
        }
        let id = self.ticket.image.id.checked_sub(images)?;
        let image = self.known.get(id, self.dictionary, self.ticket)?;
        let there = image.pixels().get(place..)?;
        let length = common(self.k, there, &pixels[at..]);
        Some((Source::Foreign(id, place), length))
    }

    /// What an anchor is known by: in large images, where four pixels stand in many places, also
    /// by pixels some way behind it.
    #[inline(always)]
    fn key(&self, pixels: &[Pixel], at: usize, hash: u32) -> Option<u32> {
        if self.zeros != LARGE_ZEROS {
            return Some(hash);
        }
        let behind = simd::hash_four(pixels.get(at + BEHIND..)?.first_chunk()?);
        Some(hash ^ behind.rotate_left(11))
    }

    /// Looks for anchors a little ahead, and fetches what the table has at them.
    #[inline(always)]
    fn scan(&mut self, pixels: &[Pixel], at: usize) {
        while let Some(&(anchor, key)) = self.anchors.get(self.next_anchor)
            && anchor < at
        {
            // A match went over it, or it was passed while looking at eight pixels.
            self.note(key, anchor);
            self.next_anchor += 1;
        }
        if at < self.scanned && at + AHEAD / 2 <= self.scanned {
            return;
        }
        if self.next_anchor == self.anchors.len() {
            self.anchors.clear();
            self.next_anchor = 0;
        }
        self.scanned = self.scanned.max(at);
        let end = at + AHEAD;
        while self.scanned < end {
            let Some(block) = pixels.get(self.scanned..).and_then(|rest| rest.first_chunk()) else {
                // The last pixels have no anchors.
                self.scanned = usize::MAX - AHEAD;
                return;
            };
            self.anchors_of(pixels, block, self.scanned);
            self.scanned += 8;
        }
    }

    #[inline(always)]
    fn anchors_of(&mut self, pixels: &[Pixel], block: &[Pixel; 11], at: usize) {
        let (hashes, mut chosen) = self.k.hash_eight(block, self.zeros);
        if chosen == 0xff {
            // Equal pixels: the first of them is enough.
            chosen = 1;
        }
        while chosen != 0 {
            let i = chosen.trailing_zeros() as usize & 7;
            if let Some(key) = self.key(pixels, at + i, hashes[i]) {
                self.k.prefetch(self.dictionary.slot(key));
                self.anchors.push((at + i, key));
            }
            chosen &= chosen - 1;
        }
    }

    /// Remembers a few anchors of pixels that matched.
    #[inline(always)]
    fn remember(&mut self, pixels: &[Pixel], from: usize, end: usize) {
        if end - from < AHEAD {
            return;
        }
        let mut at = from.max(self.scanned);
        while at + AHEAD <= end && at < pixels.len() {
            for block_at in 0..2 {
                let at = at + block_at * 8;
                let Some(block) = pixels.get(at..).and_then(|rest| rest.first_chunk()) else {
                    return;
                };
                let (hashes, mut chosen) = self.k.hash_eight(block, self.zeros);
                while chosen != 0 {
                    let i = chosen.trailing_zeros() as usize & 7;
                    if let Some(key) = self.key(pixels, at + i, hashes[i]) {
                        self.note(key, at + i);
                    }
                    chosen &= chosen - 1;
                }
            }
            at += SPARSE;
        }
    }
}

/// Which of eight pixels stand at a displacement; one that never helps is forgotten.
#[inline(always)]
fn tried<K: Kernel>(k: K, slot: &mut Option<Displacement>, at: usize, here: &[Pixel; 8]) -> u32 {
    let Some(recent) = slot else { return 0 };
    let place = recent.place(at);
    let there = place.and_then(|place| recent.image.pixels()[place..].first_chunk());
    let same = there.map_or(0, |there| k.equal_eight(there, here));
    if same == 0 {
        recent.failed += 1;
        if recent.failed > TRIES {
            *slot = None;
        }
    }
    same
}

/// Same-image matches farther than this are not looked at while pixels are skipped: they are in no
/// cache.
const NEAR: usize = 73_724;

/// Pixels that are equal from the beginning on; no more than either has.
#[inline(always)]
fn common<K: Kernel>(k: K, earlier: &[Pixel], later: &[Pixel]) -> usize {
    let most = earlier.len().min(later.len());
    k.common(earlier, &later[..most])
}

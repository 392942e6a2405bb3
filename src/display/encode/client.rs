//! The images of one client of one display: what it keeps, what it can decode, what it wishes.
//!
//! Owned by thread display-N and asked in the order of sending, so that the records of the caches
//! are those of the client when it handles the message. Commands without images never come here.
#![forbid(unsafe_code)]

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::display::cache::fingerprint;
use crate::display::cache::palette::{PaletteCache, Sent};
use crate::display::cache::pixmap::{CacheHandover, Facts, Found, Member, PixmapCaches};
use crate::protocol::display as wire;
use crate::protocol::message::Message;
use crate::qxl::model::{Bitmap, BitmapFormat, Image};
use crate::video::Settings as VideoSettings;

use super::choice::{Coding, Compression, CompressionSetting, Skills, choose_knowing};
use super::dictionary::{Dictionaries, Member as DictionaryMember};
use super::image::{HIGH_BITS_SET, ImageEncoder, ImagePayload, Payload, Purpose};
use super::shop::Shop;
use super::traits::{Fourth, without_alpha};
use super::wan::{LinkSpeed, SLOW_BELOW, WanSettings};
use super::{EncodeError, GROUP_RED};

/// `SPICE_IMAGE_TYPE_FROM_CACHE`.
const TYPE_FROM_CACHE: u8 = 103;
/// `SPICE_IMAGE_TYPE_FROM_CACHE_LOSSLESS`.
const TYPE_FROM_CACHE_LOSSLESS: u8 = 106;
/// `SPICE_IMAGE_FLAGS_CACHE_ME`, as the guest and as we say it.
const CACHE_ME: u8 = 1;
/// `SPICE_BITMAP_FLAGS_PAL_CACHE_ME`.
const PAL_CACHE_ME: u8 = 1;
/// `SPICE_BITMAP_FLAGS_PAL_FROM_CACHE`.
const PAL_FROM_CACHE: u8 = 2;
/// Low half of the id of an image that the guest's driver does not want kept
/// (`QXL_IMAGE_GROUP_DRIVER_DONT_CACHE`).
const GROUP_DONT_CACHE: u64 = 3;

/// What all displays of a server share about images.
#[derive(Debug, Default)]
pub struct ImageShare {
    /// The host's wish.
    pub compression: CompressionSetting,
    /// The host's wishes for slow links.
    pub wan: WanSettings,
    /// The host's wishes for films.
    pub video: VideoSettings,
    /// What clients keep.
    pub pixmaps: PixmapCaches,
    /// What their images may refer to.
    pub dictionaries: Dictionaries,
}

/// What a client is able to do with images.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImageAbilities {
    /// About codecs.
    pub skills: Skills,
    /// It understands 32-bit bitmaps without alpha and nothing else.
    pub only_xrgb: bool,
}

/// One client's images.
#[derive(Debug)]
pub struct ClientImages {
    abilities: ImageAbilities,
    share: Arc<ImageShare>,
    /// What the client wishes, against the host's setting.
    preferred: Option<Compression>,
    /// How fast its link is.
    link: Arc<LinkSpeed>,
    /// Bytes a second that the client is sent at most.
    rate: Option<NonZeroU64>,
    /// An image was chosen to go with losses, or the client has it so, since somebody asked.
    lossy: bool,
    /// Its part in its client's images; `None`: it keeps none.
    pixmaps: Option<Member>,
    /// Its part in its client's dictionary; `None`: it has none.
    dictionary: Option<DictionaryMember>,
    /// Others get the same images.
    shared: bool,
    palettes: PaletteCache,
    /// Stands for the message that is being made.
    stamp: u64,
    /// What that message brings.
    brings: Vec<u64>,
    brings_palettes: Vec<u64>,
    /// Ids that go before the next message, and palettes before and behind it.
    gone: Vec<u64>,
    palettes_before: Vec<u64>,
    palettes_behind: Vec<u64>,
    /// Where its images are coded.
    shop: Shop,
}

impl ClientImages {
    /// Of a client that keeps no images yet.
    #[must_use]
    pub fn new(abilities: ImageAbilities, share: Arc<ImageShare>) -> Self {
        Self {
            abilities,
            share,
            preferred: None,
            link: Arc::default(),
            rate: None,
            lossy: false,
            pixmaps: None,
            dictionary: None,
            shared: false,
            palettes: PaletteCache::default(),
            stamp: 0,
            brings: Vec::new(),
            brings_palettes: Vec::new(),
            gone: Vec::new(),
            palettes_before: Vec::new(),
            palettes_behind: Vec::new(),
            shop: Shop::default(),
        }
    }

    /// Its link, whose speed the main channel measures.
    pub fn comes_by(&mut self, link: Arc<LinkSpeed>) {
        self.link = link;
    }

    /// It is sent so many bytes a second at most, as from a slow link.
    pub fn is_sent_at_most(&mut self, bytes_per_second: Option<NonZeroU64>) {
        self.rate = bytes_per_second;
    }

    /// True if its link is slow, by nature or by what the host allows it.
    fn comes_slowly(&self) -> bool {
        let bounded = self.rate.is_some_and(|rate| rate.get().saturating_mul(8) < SLOW_BELOW);
        bounded || self.link.is_slow()
    }

    /// True if it gets JPEG where losses are allowed. Not for simple clients: spice-html5 0.3 draws a JPEG
    /// whenever the browser has decoded it, after commands that came later.
    fn takes_jpeg(&self) -> bool {
        !self.abilities.only_xrgb && self.share.wan.jpeg(self.comes_slowly())
    }

    /// It understands 32-bit bitmaps without alpha and nothing else.
    pub fn show_only_xrgb(&mut self) {
        self.abilities.only_xrgb = true;
    }

    /// Its images are coded there, together with those of the display's other clients.
    pub fn code_at(&mut self, shop: Shop) {
        self.shop = shop;
    }

    /// Whether its decoding is what everything waits for.
    pub fn decode_slowly(&mut self, slow: bool) {
        self.abilities.skills.slow = slow;
    }

    /// It keeps images, together with its client's other displays.
    pub fn keep_pixmaps(&mut self, member: Member) {
        self.pixmaps = Some(member);
    }

    /// It has a dictionary, together with its client's other displays.
    pub fn keep_dictionary(&mut self, member: DictionaryMember) {
        self.dictionary = Some(member);
    }

    /// The client goes on at another server: no image gets a number any more.
    pub fn freeze(&self) {
        if let Some(dictionary) = &self.dictionary {
            dictionary.freeze();
        }
    }

    /// What of its cache goes to another server, and of its dictionary: window in pixels and the number of the next image.
    #[must_use]
    pub fn hand_over(&self) -> (Option<CacheHandover>, Option<(u32, u64)>) {
        let cache = self.pixmaps.as_ref().map(Member::hand_over);
        (cache, self.dictionary.as_ref().map(DictionaryMember::hand_over))
    }

    /// True if it gets JPEG by the host's settings, over a link that is slow or not.
    #[must_use]
    pub fn would_take_jpeg(&self, slow: bool) -> bool {
        self.share.wan.jpeg(slow)
    }

    /// From the next image on: other clients get the same images, so none goes that only this one could
    /// decode.
    pub fn set_shared(&mut self, shared: bool) {
        self.shared = shared;
    }

    /// What the client wishes, as the protocol numbers it; wishes that do not exist are ignored.
    pub fn prefer(&mut self, number: u8) {
        match Compression::from_u8(number) {
            Some(compression) => self.preferred = Some(compression),
            None => tracing::debug!(number, "a client prefers a compression that does not exist"),
        }
    }

    /// The client has handled all messages up to this serial.
    pub fn progress(&mut self, serial: u64) {
        if let Some(pixmaps) = &self.pixmaps {
            pixmaps.progress(serial);
        }
        if let Some(dictionary) = &mut self.dictionary {
            dictionary.progress(serial);
        }
    }

    /// True if the client should be asked how far it is, because its other displays wait for it.
    pub fn asks(&mut self) -> bool {
        let pixmaps = self.pixmaps.as_mut().is_some_and(Member::asks);
        let dictionary = self.dictionary.as_mut().is_some_and(DictionaryMember::asks);
        pixmaps || dictionary
    }

    /// A message begins. `last`: serial of the last one that was sent.
    pub fn begin(&mut self, last: u64) {
        // Perhaps one higher than it will be: an INVAL_LIST may go before it.
        self.stamp = last.saturating_add(2);
        self.brings.clear();
        self.brings_palettes.clear();
    }

    /// Messages that have to go before the one that was made.
    pub fn before(&mut self) -> Option<Message> {
        if !self.gone.is_empty() {
            let message = wire::inval_list(&self.gone);
            let rest = self.gone.split_off(self.gone.len().min(usize::from(u16::MAX)));
            self.gone = rest;
            return Some(message);
        }
        self.palettes_before.pop().map(wire::inval_palette)
    }

    /// Messages that have to follow it.
    pub fn behind(&mut self) -> Option<Message> {
        self.palettes_behind.pop().map(wire::inval_palette)
    }

    /// The client forgets all palettes with the message that was made.
    pub fn forget_palettes(&mut self) {
        self.palettes.clear();
        self.palettes_before.clear();
        self.palettes_behind.clear();
    }

    /// An image that the client may keep, or has.
    fn kept(
        &mut self,
        image: &Image,
        bitmap: &Bitmap,
        purpose: Purpose,
    ) -> Result<Payload, EncodeError> {
        let plain = self.without_alpha(bitmap, purpose);
        let mut facts = facts(image, bitmap, plain.is_some(), purpose.may_be_lossy);
        let stamp = self.stamp;
        let Some(found) = self.pixmaps.as_mut().map(|p| p.find(image.id, facts, stamp)) else {
            return self.sent(image, bitmap, plain, purpose);
        };
        if let Found::Here { lossy } = found {
            self.lossy |= lossy;
            let exact = !lossy && self.takes_jpeg();
            return Ok(Payload::Here(ImagePayload {
                image_type: if exact { TYPE_FROM_CACHE_LOSSLESS } else { TYPE_FROM_CACHE },
                flags: 0,
                fields: Vec::new(),
                palette: None,
                data: None,
            }));
        }
        // First the codec, then the cache: a dictionary and a cache may not wait for each other.
        let earlier = std::mem::take(&mut self.lossy);
        let mut payload = self.sent(image, bitmap, plain, purpose)?;
        facts.lossy = self.lossy;
        self.lossy |= earlier;
        if found == Found::Missing
            && let Some(pixmaps) = &mut self.pixmaps
            && pixmaps.add(image.id, facts, stamp, &mut self.gone)
        {
            self.brings.push(image.id);
            payload.add_flags(CACHE_ME);
        }
        Ok(payload)
    }

    /// The image without alpha, if that makes no difference and it is going to be coded.
    fn without_alpha(&self, bitmap: &Bitmap, purpose: Purpose) -> Option<(Bitmap, Fourth)> {
        let whole = matches!(self.compression(), Compression::Off | Compression::Lz4);
        let local = self.abilities.skills.local && purpose.of_command;
        let coded = !whole && !local;
        if coded { without_alpha(bitmap, purpose.alpha, |b| self.shop.fourth(b)) } else { None }
    }

    /// What the client wishes, or the host.
    fn compression(&self) -> Compression {
        let compression = self.preferred.unwrap_or_else(|| self.share.compression.get());
        if self.shared { compression.without_dictionary() } else { compression }
    }

    /// True if a large picture had better come in bands, which several workers code at once. Not if nothing is coded, and
    /// not for the dictionary: it gets whole pictures without a copy, and bands do not find as much.
    pub fn takes_bands(&self, is_photograph: impl FnOnce() -> bool) -> bool {
        match self.compression() {
            _ if self.abilities.skills.local => false,
            Compression::Off | Compression::Glz => false,
            Compression::AutoGlz => is_photograph(),
            Compression::Quic | Compression::AutoLz | Compression::Lz | Compression::Lz4 => true,
        }
    }

    /// An image that is sent in full; `plain`: the same without alpha.
    fn sent(
        &mut self,
        image: &Image,
        bitmap: &Bitmap,
        plain: Option<(Bitmap, Fourth)>,
        purpose: Purpose,
    ) -> Result<Payload, EncodeError> {
        let compression = self.compression();
        let skills = Skills { jpeg: self.takes_jpeg(), ..self.abilities.skills };
        let local = skills.local && purpose.of_command;
        let known = match &plain {
            Some((_, fourth)) => Some(*fourth),
            None if bitmap.format == BitmapFormat::Bit32 && !local => match compression {
                Compression::Off | Compression::Lz4 => None,
                _ => Some(self.shop.fourth(bitmap)),
            },
            None => None,
        };
        let bitmap = plain.as_ref().map_or(bitmap, |(plain, _)| plain);
        let mut coding = choose_knowing(known, bitmap, purpose, compression, skills);
        if compression == Compression::AutoGlz
            && matches!(coding, Coding::Quic(..))
            && purpose.may_be_numbered
            && let Some(dictionary) = &mut self.dictionary
            && dictionary.repeats(bitmap)
        {
            coding = choose_knowing(known, bitmap, purpose, Compression::Glz, skills);
        }
        // Simple clients are not known to decode streams of every orientation and type.
        // Others may decode streams of 16 bits to 32, which the flag speaks of, and bitmaps not.
        let flagged = bitmap.format == BitmapFormat::Bit16 && image.flags & HIGH_BITS_SET != 0;
        if (self.abilities.only_xrgb || flagged) && coding != Coding::Lz4 {
            coding = Coding::Raw;
        }
        self.lossy |= coding.is_lossy();
        let (zlib, stamp) = (self.zlib_wrap(), self.stamp);
        let numbered = match (coding, &mut self.dictionary) {
            (Coding::Glz(pixels, flags), Some(dictionary)) => {
                dictionary.work(bitmap, pixels, flags, zlib, stamp)
            }
            _ => None,
        };
        let Some(work) = numbered else { return self.shop.code(bitmap, coding) };
        self.shop.run(bitmap.data.len(), move |scratch| Ok(work.run(scratch)))
    }

    /// Whether GLZ images are deflated if that makes them shorter.
    fn zlib_wrap(&self) -> bool {
        self.share.wan.zlib(self.comes_slowly())
    }

    /// Sends the palette in the form that the client's record asks for.
    fn settle_palette(&mut self, payload: &mut ImagePayload) {
        let Some(slot) = &payload.palette else { return };
        let id = slot.palette.unique;
        let (sent, at) = (self.palettes.send(&slot.palette), slot.pointer_at);
        let Some(flags) = payload.fields.get_mut(slot.flags_at) else { return };
        match sent {
            Sent::Plain => {}
            Sent::FromCache => {
                *flags |= PAL_FROM_CACHE;
                // The id takes the pointer's place, and has twice its bytes.
                payload.fields.splice(at..at + 4, id.to_le_bytes());
                payload.palette = None;
            }
            Sent::Kept { replaces, evicted } => {
                *flags |= PAL_CACHE_ME;
                self.brings_palettes.push(id);
                self.palettes_before.extend(replaces.then_some(id));
                self.palettes_behind.extend(evicted);
            }
        }
    }
}

impl ImageEncoder for ClientImages {
    fn image(
        &mut self,
        image: &Image,
        bitmap: &Bitmap,
        purpose: Purpose,
    ) -> Result<Payload, EncodeError> {
        if self.abilities.only_xrgb {
            return self.sent(image, &as_xrgb(bitmap), None, purpose);
        }
        if purpose.may_be_kept && guest_wants_it_kept(image, bitmap) {
            return self.kept(image, bitmap, purpose);
        }
        let plain = self.without_alpha(bitmap, purpose);
        let mut payload = self.sent(image, bitmap, plain, purpose)?;
        if let Payload::Here(payload) = &mut payload {
            self.settle_palette(payload);
        }
        Ok(payload)
    }

    fn discard(&mut self) {
        if let Some(pixmaps) = &self.pixmaps {
            self.brings.drain(..).for_each(|id| pixmaps.take_back(id));
        }
        self.brings_palettes.drain(..).for_each(|id| self.palettes.forget(id));
        if let Some(dictionary) = &mut self.dictionary {
            dictionary.discard(self.stamp);
        }
        self.lossy = false;
    }

    fn take_lossy(&mut self) -> bool {
        std::mem::take(&mut self.lossy)
    }
}

/// True for images that the guest marks, with an id that is the guest's to give.
///
/// Images with a palette are left to the palette cache: what clients keep of them depends on the surface that they
/// were drawn on first.
fn guest_wants_it_kept(image: &Image, bitmap: &Bitmap) -> bool {
    const GROUP: u64 = 0xffff_ffff;
    image.flags & CACHE_ME != 0
        && image.id != 0
        && ![GROUP_RED, GROUP_DONT_CACHE].contains(&(image.id & GROUP))
        && !bitmap.format.is_indexed()
}

/// `plain`: it goes without alpha, and that is how the client keeps it.
fn facts(image: &Image, bitmap: &Bitmap, plain: bool, lossy: bool) -> Facts {
    let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
    let seed = fingerprint::seed(&[
        u64::from(bitmap.width) << 32 | u64::from(bitmap.height),
        u64::from(bitmap.stride) << 32 | (bitmap.format as u64) << 16,
        u64::from(image.flags & !CACHE_ME) << 1 | u64::from(bitmap.top_down),
        u64::from(plain),
    ]);
    Facts { fingerprint: fingerprint::of(seed, &bitmap.data), pixels, lossy }
}

/// The same picture as a 32-bit bitmap without alpha and without padding; as it is if it cannot be one.
fn as_xrgb(bitmap: &Bitmap) -> Bitmap {
    let mut out = bitmap.clone();
    match bitmap.format {
        BitmapFormat::Rgba => out.format = BitmapFormat::Bit32,
        BitmapFormat::Bit16 => {
            let five = |v: u32| (v & 31) << 3 | (v & 31) >> 2;
            let wide = |v: &[u8; 2]| {
                let v = u32::from(u16::from_le_bytes(*v));
                (five(v >> 10) << 16 | five(v >> 5) << 8 | five(v)).to_le_bytes()
            };
            let (width, stride) = (bitmap.width as usize, bitmap.stride as usize);
            let rows = bitmap.data.chunks_exact(stride.max(1));
            let pixels = rows.flat_map(|row| row.as_chunks::<2>().0.iter().take(width));
            out.data = pixels.flat_map(wide).collect::<Vec<_>>().into();
            out.stride = bitmap.width.saturating_mul(4);
            out.format = BitmapFormat::Bit32;
        }
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests;

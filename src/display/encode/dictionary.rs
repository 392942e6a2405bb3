//! GLZ dictionaries: one for each client session and dictionary id, shared by all display channels
//! of the client.
//!
//! A client must get every image that has a number: it waits for what it misses, and keeps whatever
//! comes later for ever. So a number is taken by [`Member::work`], on thread display-N, in the order of
//! sending, when nothing but the client's end can keep the message from it. If an image is lost all
//! the same (a channel of a client ends while others live, an encoding panics), the dictionary
//! *breaks*: the client gets no further number until it comes again.
//!
//! Images of other channels are referred to only when the client has handled the message that
//! brought them: no message makes a client wait for another channel.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pool::{
    GlzDictionary, GlzOrigin, GlzTicket, LzPixels, Scratch, deflate, encode_glz, glz_ticket,
    glz_ticket_owned,
};
use crate::protocol::blocks;
use crate::protocol::message::Bulk;
use crate::protocol::wire::WireWrite;
use crate::qxl::model::Bitmap;

use super::choice::picture;
use super::image::{HIGH_BITS_SET, ImagePayload};
use super::repeats::Repeats;

/// `SPICE_IMAGE_TYPE_GLZ_RGB`.
pub(super) const TYPE_GLZ_RGB: u8 = 102;
/// `SPICE_IMAGE_TYPE_ZLIB_GLZ_RGB`.
pub(super) const TYPE_ZLIB_GLZ_RGB: u8 = 107;
/// Most images of one channel that wait to be acknowledged; of more the oldest are forgotten, which
/// means that other channels never refer to them.
pub const MAX_WAITING: usize = 4096;
/// Dictionaries of clients that are gone, remembered so that none of them begins anew in the middle of
/// a client's life.
pub const MAX_ENDED: usize = 256;

/// A client session and the id that its INIT gives the dictionary.
type Name = (u32, u8);

/// The dictionaries of all clients of a server.
#[derive(Debug, Default)]
pub struct Dictionaries {
    /// In the order of coming.
    list: Mutex<Vec<(Name, Arc<Shared>)>>,
}

impl Dictionaries {
    /// A display channel of a client goes on with a dictionary of another server, where `next` would have been the
    /// number of the next image: the client's window goes on, with nothing that could be referred to.
    #[must_use]
    pub fn resume(&self, client: u32, id: u8, window: u32, next: u64) -> Member {
        let name = (client, id);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been here before, on its way to where it comes from.
        list.retain(|(known, shared)| *known != name || shared.lock().members > 0);
        drop(list);
        let member = self.join(client, id, window);
        let mut state = member.shared.lock();
        state.first = next.max(state.first);
        drop(state);
        member
    }

    /// A display channel of a client begins to use a dictionary; the first one fixes its window, in
    /// pixels. With 0 nothing ever gets a number.
    #[must_use]
    pub fn join(&self, client: u32, id: u8, window: u32) -> Member {
        let name = (client, id);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match list.iter().find(|(known, _)| *known == name) {
            Some((_, shared)) => Arc::clone(shared),
            None => {
                let ended = list.iter().filter(|(_, shared)| shared.lock().members == 0).count();
                if ended > MAX_ENDED
                    && let Some(oldest) =
                        list.iter().position(|(_, shared)| shared.lock().members == 0)
                {
                    list.remove(oldest);
                }
                let window = usize::try_from(window).unwrap_or(usize::MAX);
                let shared = Arc::new(Shared { window, state: Mutex::default() });
                list.push((name, Arc::clone(&shared)));
                shared
            }
        };
        drop(list);
        let mut state = shared.lock();
        state.members += 1;
        state.joined += 1;
        let channel = state.joined;
        drop(state);
        Member {
            shared,
            channel,
            waiting: VecDeque::new(),
            last: 0,
            asked: 0,
            repeats: Repeats::default(),
        }
    }
}

/// One client's dictionary and what became of it.
#[derive(Debug)]
struct Shared {
    /// Pixels that the client keeps.
    window: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made for the first image: most memory of a dictionary is there from the beginning.
    dictionary: Option<Arc<GlzDictionary>>,
    /// Display channels.
    members: usize,
    /// All there ever were.
    joined: u32,
    /// An image may be lost.
    broken: bool,
    /// Number of the first image.
    first: u64,
    /// The client goes on at another server: there are no more numbers here.
    frozen: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under it can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn break_off(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.broken, true) {
            tracing::debug!("a GLZ image may be lost: the client gets no more of them");
        }
        // What is being encoded still has it.
        state.dictionary = None;
    }

    /// The dictionary, if it may be used.
    fn dictionary(&self) -> Option<Arc<GlzDictionary>> {
        let mut state = self.lock();
        if state.broken || state.frozen {
            return None;
        }
        let first = state.first;
        let made = || Arc::new(GlzDictionary::resume(self.window, first));
        Some(Arc::clone(state.dictionary.get_or_insert_with(made)))
    }
}

/// One display channel's share in its client's dictionary.
#[derive(Debug)]
pub struct Member {
    shared: Arc<Shared>,
    /// Another one for each channel that ever came.
    channel: u32,
    /// Message and image, oldest first, of images that the client may not have handled yet.
    waiting: VecDeque<(u64, u64)>,
    /// The last message with an image.
    last: u64,
    /// The last message that the client was asked about.
    asked: u64,
    /// What photographs showed.
    repeats: Repeats,
}

impl Member {
    /// Takes the next number for an image of message `stamp`, which is now to be sent, come what may.
    ///
    /// `pixels` and `flags` are those of the stream; `zlib`: it may be wrapped if that is shorter. `None` if
    /// the image can have no number: it is as large as the window, has pixels of another kind or too few
    /// of them, or the dictionary is broken. `stamp` may be higher than the message's serial will be.
    pub fn work(
        &mut self,
        bitmap: &Bitmap,
        pixels: LzPixels,
        flags: u8,
        zlib: bool,
        stamp: u64,
    ) -> Option<GlzWork> {
        if !self.fits(bitmap) {
            return None;
        }
        let dictionary = self.shared.dictionary()?;
        let high_bits = flags & HIGH_BITS_SET != 0;
        let origin = GlzOrigin { channel: self.channel, high_bits };
        let tight = bitmap.format.bits() == 32
            && bitmap.stride == bitmap.width.saturating_mul(4)
            && bitmap.data.len() == bitmap.stride as usize * bitmap.height as usize
            // A band would hold the whole picture for as long as the window has it.
            && bitmap.data.bytes.capacity() <= bitmap.data.len().saturating_mul(2);
        let ticket = if tight {
            // Nobody changes the block any more, so the window can have it instead of a copy.
            let block = (Arc::clone(&bitmap.data.bytes), bitmap.data.range.clone());
            let size = (bitmap.width, bitmap.height);
            glz_ticket_owned(&dictionary, block, pixels, size, bitmap.top_down, origin)?
        } else {
            glz_ticket(&dictionary, &picture(bitmap), pixels, origin)?
        };
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((stamp, ticket.id()));
        self.last = stamp;
        let image = Some((dictionary, ticket));
        Some(GlzWork { image, shared: Arc::clone(&self.shared), flags, zlib })
    }

    /// The client goes on at another server: from now on images are sent without numbers, on all its channels.
    pub fn freeze(&self) {
        self.shared.lock().frozen = true;
    }

    /// What goes to another server: the window in pixels, 0 if the client may get no further number, and the number of
    /// the next image.
    #[must_use]
    pub fn hand_over(&self) -> (u32, u64) {
        let state = self.shared.lock();
        let next = state.dictionary.as_ref().map_or(state.first, |dictionary| dictionary.next());
        let window = u32::try_from(self.shared.window).unwrap_or(u32::MAX);
        (if state.broken { 0 } else { window }, next)
    }

    /// True if an image that another codec is better at should go through the dictionary all the same: it shows what
    /// this channel showed before, and most likely will again.
    pub fn repeats(&mut self, bitmap: &Bitmap) -> bool {
        self.fits(bitmap) && !self.shared.lock().broken && self.repeats.seen(bitmap)
    }

    fn fits(&self, bitmap: &Bitmap) -> bool {
        let count = u64::from(bitmap.width) * u64::from(bitmap.height);
        usize::try_from(count).is_ok_and(|count| count < self.shared.window)
    }

    /// The client has handled every message of this channel up to this one: other channels may refer to
    /// its images from now on.
    pub fn progress(&mut self, serial: u64) {
        if self.waiting.front().is_none_or(|(stamp, _)| *stamp > serial) {
            return;
        }
        let dictionary = self.shared.lock().dictionary.clone();
        while let Some((_, id)) = self.waiting.pop_front_if(|(stamp, _)| *stamp <= serial) {
            if let Some(dictionary) = &dictionary {
                dictionary.sent(id);
            }
        }
    }

    /// True if the client should be asked how far it is, at most once for each message: other channels
    /// share the dictionary, and it has not acknowledged the last image of this one.
    pub fn asks(&mut self) -> bool {
        if self.waiting.is_empty() || self.last <= self.asked {
            return false;
        }
        self.asked = self.last;
        let state = self.shared.lock();
        state.members > 1 && !state.broken
    }

    /// Message `stamp` is not sent after all.
    pub fn discard(&mut self, stamp: u64) {
        if self.last == stamp {
            self.shared.break_off();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Numbers of this channel may be on their way to nowhere.
        if self.last > 0 {
            self.shared.break_off();
        }
        let mut state = self.shared.lock();
        state.members -= 1;
        if state.members == 0 {
            state.dictionary = None;
        }
    }
}

/// An image that has its number and waits to be encoded, on any thread. Dropped without being encoded, it breaks its
/// dictionary.
#[derive(Debug)]
#[must_use = "an image with a number has to be sent"]
pub struct GlzWork {
    /// `None` when it is done.
    image: Option<(Arc<GlzDictionary>, GlzTicket)>,
    shared: Arc<Shared>,
    flags: u8,
    zlib: bool,
}

impl GlzWork {
    /// The image as it goes, of whatever size.
    #[must_use]
    pub fn run(mut self, scratch: &mut Scratch) -> ImagePayload {
        let data = match &self.image {
            Some((dictionary, ticket)) => encode_glz(dictionary, ticket, &mut scratch.glz),
            None => Vec::new(),
        };
        self.image = None;
        payload(data, self.flags, self.zlib)
    }
}

impl Drop for GlzWork {
    fn drop(&mut self) {
        if self.image.is_some() {
            self.shared.break_off();
        }
    }
}

/// A stream with the fields before it.
fn payload(stream: Vec<u8>, flags: u8, zlib: bool) -> ImagePayload {
    let size = |data: &[u8]| u32::try_from(data.len()).unwrap_or(u32::MAX);
    let packed = if zlib { deflate(&stream) } else { None };
    let mut fields = Vec::with_capacity(4 + 4);
    let (image_type, data) = match packed {
        Some(packed) => {
            fields.put_u32(size(&stream));
            (TYPE_ZLIB_GLZ_RGB, packed)
        }
        None => (TYPE_GLZ_RGB, stream),
    };
    fields.put_u32(size(&data));
    let data = Some(Bulk::whole(blocks::share(data)));
    ImagePayload { image_type, flags, fields, palette: None, data }
}

#[cfg(test)]
mod tests;

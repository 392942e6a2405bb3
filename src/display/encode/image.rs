//! Images inside a message: descriptor, payload, palette (display channel spec, section 4).
//!
//! How an image of a client becomes a payload is behind [`ImageEncoder`]: messages stay the same
//! whatever was chosen, and codecs and caches know nothing of messages.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::pool::Scratch;
use crate::pool::workers::{Progress, Promise};
use crate::protocol::message::Bulk;
use crate::protocol::wire::WireWrite;
use crate::qxl::model::{Bitmap, Image, ImageKind, Palette};

use super::EncodeError;
use super::draft::patch;

/// `SPICE_IMAGE_TYPE_BITMAP`.
const TYPE_BITMAP: u8 = 0;
/// `SPICE_IMAGE_TYPE_SURFACE`.
const TYPE_SURFACE: u8 = 104;
/// `SPICE_IMAGE_FLAGS_HIGH_BITS_SET`.
pub(super) const HIGH_BITS_SET: u8 = 2;
/// `SPICE_BITMAP_FLAGS_TOP_DOWN`.
pub(super) const TOP_DOWN: u8 = 4;

/// Width and height of a surface as the client knows it; `None` if it has none of that id.
pub type SurfaceSize<'a> = &'a dyn Fn(u32) -> Option<(u32, u32)>;

/// What stands behind an image descriptor: one image type of the protocol and its fields.
#[derive(Debug, Clone)]
pub struct ImagePayload {
    /// `SPICE_IMAGE_TYPE_*`.
    pub image_type: u8,
    /// `SPICE_IMAGE_FLAGS_*` beyond what the image has of itself.
    pub flags: u8,
    /// The fields before the data; a palette pointer among them is 0 for now.
    pub fields: Vec<u8>,
    /// The palette, if the image has one.
    pub palette: Option<PaletteSlot>,
    /// The data that follows the fields.
    pub data: Option<Bulk>,
}

/// A payload that is there, or is being made.
#[derive(Debug, Clone)]
pub enum Payload {
    /// It is there.
    Here(ImagePayload),
    /// A worker makes it.
    Coming(Coming),
}

/// A payload without palette that a worker makes.
#[derive(Debug, Clone)]
pub struct Coming {
    /// What the worker makes.
    pub promise: Promise<Result<ImagePayload, EncodeError>>,
    /// `SPICE_IMAGE_FLAGS_*` that it gets besides its own.
    pub flags: u8,
    /// Most bytes that it will have.
    pub at_most: u64,
    /// Bytes of the pixels that it is made of.
    pub pixels: usize,
}

impl Payload {
    /// Adds `SPICE_IMAGE_FLAGS_*`.
    pub fn add_flags(&mut self, flags: u8) {
        match self {
            Self::Here(payload) => payload.flags |= flags,
            Self::Coming(coming) => coming.flags |= flags,
        }
    }

    /// The payload, if it is there.
    #[must_use]
    pub fn here(self) -> Option<ImagePayload> {
        match self {
            Self::Here(payload) => Some(payload),
            Self::Coming(coming) => coming.settle().ok(),
        }
    }
}

impl Coming {
    /// True if a worker still has it in work, or has not begun.
    #[must_use]
    pub fn is_working(&self) -> bool {
        matches!(self.promise.progress(), Progress::Working)
    }

    /// Makes it here, unless a worker has begun; false then.
    pub fn help(&self, scratch: &mut Scratch) -> bool {
        self.promise.help(scratch)
    }

    fn settle(self) -> Result<ImagePayload, EncodeError> {
        match self.promise.progress() {
            Progress::Done(Ok(payload)) => {
                let mut payload = payload.clone();
                payload.flags |= self.flags;
                Ok(payload)
            }
            Progress::Done(Err(error)) => Err(*error),
            Progress::Working | Progress::Failed => Err(EncodeError::NotMade),
        }
    }
}

/// A palette and where the fields speak of it.
#[derive(Debug, Clone)]
pub struct PaletteSlot {
    /// The colours.
    pub palette: Arc<Palette>,
    /// Place of the byte with `SPICE_BITMAP_FLAGS_PAL_*`.
    pub flags_at: usize,
    /// Place of the pointer, or of the id if the client has the palette.
    pub pointer_at: usize,
}

/// What an image is for; decides in what form it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    /// It came with a command; otherwise the server read it from a surface.
    pub of_command: bool,
    /// The client may keep it if the guest says so.
    pub may_be_kept: bool,
    /// Losses do no more harm than to be seen: nothing combines its bits with others.
    pub may_be_lossy: bool,
    /// What becomes of the fourth byte of its pixels.
    pub alpha: AlphaUse,
}

/// What an operation makes of the fourth byte of its source's pixels, and of the format that says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlphaUse {
    /// It may be used as alpha: the format has to stay as it is.
    Used,
    /// The pixels are put one by one, so 255 in all of them is as good as no alpha.
    Copied,
    /// The same on a surface that has no alpha, where 0 in all of them is as good as none, too.
    Dropped,
}

impl Purpose {
    /// A source or pattern that has to be exact.
    pub const EXACT: Self =
        Self { of_command: true, may_be_kept: true, may_be_lossy: false, alpha: AlphaUse::Used };
    /// A source that is only copied or blended.
    pub const SEEN: Self =
        Self { of_command: true, may_be_kept: true, may_be_lossy: true, alpha: AlphaUse::Used };
    /// Source or mask of a composition. Stock clients set transform, filter and repeat mode on the
    /// image that they keep and never take them back: what is drawn with it later is wrong.
    pub const COMPOSED: Self =
        Self { of_command: true, may_be_kept: false, may_be_lossy: false, alpha: AlphaUse::Used };
    /// Pixels of a surface.
    pub const SURFACE: Self = Self {
        of_command: false,
        may_be_kept: false,
        may_be_lossy: false,
        alpha: AlphaUse::Copied,
    };
}

/// One client's way to get images, at the moment of sending.
pub trait ImageEncoder {
    /// The payload of an image that is a source or a pattern; `bitmap` are its pixels.
    ///
    /// Whatever it chooses must decode to `bitmap.width` by `bitmap.height` pixels.
    ///
    /// # Errors
    /// [`EncodeError`] if the image cannot be sent at all.
    fn image(
        &mut self,
        image: &Image,
        bitmap: &Bitmap,
        purpose: Purpose,
    ) -> Result<Payload, EncodeError>;

    /// The message whose images were asked for last is not sent.
    fn discard(&mut self) {}
}

/// Sends every bitmap as it is, by reference to its buffer, and nothing is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawImages;

impl ImageEncoder for RawImages {
    fn image(
        &mut self,
        _image: &Image,
        bitmap: &Bitmap,
        _purpose: Purpose,
    ) -> Result<Payload, EncodeError> {
        raw(bitmap).map(Payload::Here)
    }
}

/// A bitmap as it is, by reference to its buffer.
///
/// # Errors
/// [`EncodeError::ShortBitmap`]
pub(super) fn raw(bitmap: &Bitmap) -> Result<ImagePayload, EncodeError> {
    let need = u64::from(bitmap.stride) * u64::from(bitmap.height);
    let have = bitmap.data.len();
    let len = usize::try_from(need)
        .ok()
        .filter(|len| *len <= have)
        .ok_or(EncodeError::ShortBitmap { have, need })?;
    // format + flags + x + y + stride + palette pointer
    let mut fields = Vec::with_capacity(1 + 1 + 4 + 4 + 4 + 4);
    fields.put_u8(bitmap.format as u8);
    let flags_at = fields.len();
    fields.put_u8(if bitmap.top_down { TOP_DOWN } else { 0 });
    fields.put_u32(bitmap.width).put_u32(bitmap.height).put_u32(bitmap.stride);
    let pointer_at = fields.len();
    fields.put_u32(0);
    let palette = bitmap.palette.as_ref().filter(|_| bitmap.format.is_indexed());
    let slot =
        |palette: &Arc<Palette>| PaletteSlot { palette: Arc::clone(palette), flags_at, pointer_at };
    Ok(ImagePayload {
        image_type: TYPE_BITMAP,
        flags: 0,
        fields,
        palette: palette.map(slot),
        data: Some(bitmap.data.part(0..len)),
    })
}

/// An image of a message; ready to be placed, or in work.
#[derive(Debug)]
pub(super) enum Block {
    Ready(ImageBlock),
    Coming(ComingBlock),
}

/// An image in work.
#[derive(Debug)]
pub(super) struct ComingBlock {
    id: u64,
    flags: u8,
    width: u32,
    height: u32,
    pub coming: Coming,
}

impl ComingBlock {
    /// The image, once it is made.
    pub fn settle(self) -> Result<ImageBlock, EncodeError> {
        let Self { id, flags, width, height, coming } = self;
        Ok(ImageBlock::with_payload(id, flags, width, height, coming.settle()?))
    }
}

impl Block {
    pub fn new(
        image: &Image,
        purpose: Purpose,
        surface_size: SurfaceSize<'_>,
        images: &mut dyn ImageEncoder,
    ) -> Result<Self, EncodeError> {
        match &image.kind {
            ImageKind::Surface(id) => {
                let (width, height) = surface_size(*id).ok_or(EncodeError::UnknownSurface(*id))?;
                // Id and flags are 0 whatever the guest wrote there (drivers leave garbage).
                let mut header = descriptor(0, TYPE_SURFACE, 0, width, height);
                header.put_u32(*id);
                Ok(Self::Ready(ImageBlock { header, palette: None, pixels: None }))
            }
            ImageKind::Bitmap(bitmap) => {
                let (id, flags) = (image.id, image.flags & HIGH_BITS_SET);
                let (width, height) = (bitmap.width, bitmap.height);
                Ok(match images.image(image, bitmap, purpose)? {
                    Payload::Here(payload) => {
                        Self::Ready(ImageBlock::with_payload(id, flags, width, height, payload))
                    }
                    Payload::Coming(coming) => {
                        Self::Coming(ComingBlock { id, flags, width, height, coming })
                    }
                })
            }
        }
    }
}

/// An image ready to be placed in a message.
#[derive(Debug)]
pub(super) struct ImageBlock {
    /// Descriptor and fields.
    pub header: Vec<u8>,
    /// A palette that is not placed yet, and where its pointer stands in `header`.
    palette: Option<(usize, Arc<Palette>)>,
    /// What follows the header.
    pub pixels: Option<Bulk>,
}

impl ImageBlock {
    fn with_payload(id: u64, flags: u8, width: u32, height: u32, payload: ImagePayload) -> Self {
        let mut header = descriptor(id, payload.image_type, flags | payload.flags, width, height);
        let start = header.len();
        header.put_bytes(&payload.fields);
        Self {
            header,
            palette: payload.palette.map(|slot| (start + slot.pointer_at, slot.palette)),
            pixels: payload.data,
        }
    }

    /// Bytes of header and pixels.
    pub fn len(&self) -> usize {
        self.header.len() + self.pixels.as_ref().map_or(0, |p| p.as_slice().len())
    }

    /// Appends the palette, if there is one, to the body and sets the pointer to it.
    pub fn place_palette(&mut self, body: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Some((pointer, palette)) = self.palette.take() else {
            return Ok(());
        };
        let start =
            u32::try_from(body.len()).map_err(|_| EncodeError::TooLong(body.len() as u64))?;
        patch(&mut self.header, pointer, start);
        // The count has 16 bits; no format indexes more than 256 entries.
        let count = u16::try_from(palette.entries.len()).unwrap_or(u16::MAX);
        body.put_u64(palette.unique).put_u16(count);
        for color in palette.entries.iter().take(usize::from(count)) {
            body.put_u32(*color);
        }
        Ok(())
    }
}

/// Descriptor: id + type + flags + width + height.
fn descriptor(id: u64, image_type: u8, flags: u8, width: u32, height: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + 1 + 1 + 4 + 4 + 18);
    out.put_u64(id).put_u8(image_type).put_u8(flags).put_u32(width).put_u32(height);
    out
}

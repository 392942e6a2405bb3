//! Images inside a message: descriptor, payload, palette (display channel spec, section 4).
//!
//! How an image of a client becomes a payload is behind [`ImageEncoder`]: messages stay the same
//! whatever was chosen, and codecs and caches know nothing of messages.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::protocol::message::Bulk;
use crate::protocol::wire::WireWrite;
use crate::qxl::model::{Bitmap, Image, ImageKind, Palette};

use super::{EncodeError, patch};

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
}

impl Purpose {
    /// A source or pattern that has to be exact.
    pub const EXACT: Self = Self { of_command: true, may_be_kept: true, may_be_lossy: false };
    /// A source that is only copied or blended.
    pub const SEEN: Self = Self { of_command: true, may_be_kept: true, may_be_lossy: true };
    /// Source or mask of a composition. Stock clients set transform, filter and repeat mode on the
    /// image that they keep and never take them back: what is drawn with it later is wrong.
    pub const COMPOSED: Self = Self { of_command: true, may_be_kept: false, may_be_lossy: false };
    /// Pixels of a surface.
    pub const SURFACE: Self = Self { of_command: false, may_be_kept: false, may_be_lossy: false };
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
    ) -> Result<ImagePayload, EncodeError>;

    /// The message whose images were asked for last is not sent.
    fn discard(&mut self) {}

    /// True if an image that was asked for since the last call may show other colours than its bitmap has.
    fn take_lossy(&mut self) -> bool {
        false
    }
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
    ) -> Result<ImagePayload, EncodeError> {
        raw(bitmap)
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
        data: Some(Bulk { bytes: bitmap.data.clone(), range: 0..len }),
    })
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
                Ok(Self { header, palette: None, pixels: None })
            }
            ImageKind::Bitmap(bitmap) => {
                let payload = images.image(image, bitmap, purpose)?;
                let flags = image.flags & HIGH_BITS_SET | payload.flags;
                let mut header =
                    descriptor(image.id, payload.image_type, flags, bitmap.width, bitmap.height);
                let start = header.len();
                header.put_bytes(&payload.fields);
                Ok(Self {
                    header,
                    palette: payload.palette.map(|slot| (start + slot.pointer_at, slot.palette)),
                    pixels: payload.data,
                })
            }
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

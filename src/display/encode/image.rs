//! Images inside a message: descriptor, payload, palette (display channel spec, section 4).
//!
//! How a bitmap becomes a payload is behind [`ImageEncoder`], so that codecs plug in without
//! knowing messages, and messages stay the same whatever codec was chosen.
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
const HIGH_BITS_SET: u8 = 2;
/// `SPICE_BITMAP_FLAGS_TOP_DOWN`.
const TOP_DOWN: u8 = 4;

/// Width and height of a surface as the client knows it; `None` if it has none of that id.
pub type SurfaceSize<'a> = &'a dyn Fn(u32) -> Option<(u32, u32)>;

/// What stands behind an image descriptor: one image type of the protocol and its fields.
#[derive(Debug, Clone)]
pub struct ImagePayload {
    /// `SPICE_IMAGE_TYPE_*`.
    pub image_type: u8,
    /// The fields before the data; a palette pointer among them is 0 for now.
    pub fields: Vec<u8>,
    /// The palette and where in `fields` its pointer stands.
    pub palette: Option<(usize, Arc<Palette>)>,
    /// The data that follows the fields.
    pub data: Bulk,
}

/// Turns a bitmap into the payload of an image.
///
/// Whatever it chooses must decode to `bitmap.width` by `bitmap.height` pixels.
pub trait ImageEncoder {
    /// The payload of one bitmap that is a source or a pattern.
    ///
    /// # Errors
    /// [`EncodeError`] if the bitmap cannot be sent at all.
    fn encode(&mut self, bitmap: &Bitmap) -> Result<ImagePayload, EncodeError>;
}

/// Sends every bitmap as it is, by reference to its buffer.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawImages;

impl ImageEncoder for RawImages {
    fn encode(&mut self, bitmap: &Bitmap) -> Result<ImagePayload, EncodeError> {
        let need = u64::from(bitmap.stride) * u64::from(bitmap.height);
        let have = bitmap.data.len();
        let len = usize::try_from(need)
            .ok()
            .filter(|len| *len <= have)
            .ok_or(EncodeError::ShortBitmap { have, need })?;
        // format + flags + x + y + stride + palette pointer
        let mut fields = Vec::with_capacity(1 + 1 + 4 + 4 + 4 + 4);
        fields.put_u8(bitmap.format as u8).put_u8(if bitmap.top_down { TOP_DOWN } else { 0 });
        fields.put_u32(bitmap.width).put_u32(bitmap.height).put_u32(bitmap.stride);
        let pointer = fields.len();
        fields.put_u32(0);
        let palette = bitmap.palette.as_ref().filter(|_| bitmap.format.is_indexed());
        Ok(ImagePayload {
            image_type: TYPE_BITMAP,
            fields,
            palette: palette.map(|p| (pointer, p.clone())),
            data: Bulk { bytes: bitmap.data.clone(), range: 0..len },
        })
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
    pub fn new(
        image: &Image,
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
                let payload = images.encode(bitmap)?;
                let flags = image.flags & HIGH_BITS_SET;
                let mut header =
                    descriptor(image.id, payload.image_type, flags, bitmap.width, bitmap.height);
                let start = header.len();
                header.put_bytes(&payload.fields);
                Ok(Self {
                    header,
                    palette: payload.palette.map(|(at, palette)| (start + at, palette)),
                    pixels: Some(payload.data),
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

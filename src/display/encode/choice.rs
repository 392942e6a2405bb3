//! In what form a bitmap goes: the choice, which is a client's, and the coding, which is not.
//!
//! [`choose`] knows the setting, the client and the purpose, and looks at no pixel that it does
//! not have to. [`code`] knows only the bitmap: two clients with the same choice can share the
//! result. A codec that comes is a line in each. What needs a client's own state is chosen here and coded
//! elsewhere ([`super::dictionary`]).
//!
//! Every bitmap here is a private copy that nobody changes any more, so the guest's word on
//! whether its data is stable plays no part.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::pool::{
    LzPixels, MAX_JPEG_SIDE, Picture, QuicPixels, Scratch, encode_jpeg, encode_jpeg_alpha,
    encode_lz, encode_lz4, encode_quic,
};
use crate::protocol::blocks;
use crate::protocol::message::Bulk;
use crate::protocol::wire::WireWrite;
use crate::qxl::model::{Bitmap, BitmapFormat};

use super::EncodeError;
use super::image::{HIGH_BITS_SET, ImagePayload, PaletteSlot, Purpose, TOP_DOWN, raw};
use super::traits::{Fourth, fourth, is_gradual, palette_fits};

/// `SPICE_IMAGE_TYPE_QUIC`.
const TYPE_QUIC: u8 = 1;
/// `SPICE_IMAGE_TYPE_LZ_PLT`.
const TYPE_LZ_PLT: u8 = 100;
/// `SPICE_IMAGE_TYPE_LZ_RGB`.
const TYPE_LZ_RGB: u8 = 101;
/// `SPICE_IMAGE_TYPE_JPEG`.
const TYPE_JPEG: u8 = 105;
/// `SPICE_IMAGE_TYPE_JPEG_ALPHA`.
const TYPE_JPEG_ALPHA: u8 = 108;
/// `SPICE_IMAGE_TYPE_LZ4`.
const TYPE_LZ4: u8 = 109;
/// `SPICE_JPEG_ALPHA_FLAGS_TOP_DOWN`.
const ALPHA_TOP_DOWN: u8 = 1;
/// Bitmaps of fewer bytes are not worth a codec.
const SMALL: u64 = 54;
/// Bitmaps of fewer bytes are not worth a JPEG, whose tables alone have more than 600.
const SMALL_FOR_JPEG: u64 = 1024;

/// `SPICE_IMAGE_COMPRESSION_*`: what host or client want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// Bitmaps as they are.
    Off = 1,
    /// GLZ, or QUIC for what looks like a photograph.
    AutoGlz = 2,
    /// LZ, or QUIC for what looks like a photograph.
    AutoLz = 3,
    /// QUIC.
    Quic = 4,
    /// LZ with a dictionary over many images.
    Glz = 5,
    /// LZ.
    Lz = 6,
    /// LZ4.
    Lz4 = 7,
}

impl Compression {
    /// From the number in protocol and interface.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Off,
            2 => Self::AutoGlz,
            3 => Self::AutoLz,
            4 => Self::Quic,
            5 => Self::Glz,
            6 => Self::Lz,
            7 => Self::Lz4,
            _ => return None,
        })
    }
}

impl Compression {
    /// The same without a dictionary: for what several clients get.
    #[must_use]
    pub fn without_dictionary(self) -> Self {
        match self {
            Self::AutoGlz => Self::AutoLz,
            Self::Glz => Self::Lz,
            other => other,
        }
    }
}

/// The host's setting; every display reads it when it sends.
#[derive(Debug)]
pub struct CompressionSetting(AtomicU8);

impl Default for CompressionSetting {
    fn default() -> Self {
        Self(AtomicU8::new(Compression::AutoGlz as u8))
    }
}

impl CompressionSetting {
    /// From now on.
    pub fn set(&self, compression: Compression) {
        // Relaxed: a single value; the next message sees it or the one after.
        self.0.store(compression as u8, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> Compression {
        Compression::from_u8(self.0.load(Ordering::Relaxed)).unwrap_or(Compression::Off)
    }
}

/// What of a client decides about codecs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skills {
    /// It decodes LZ4.
    pub lz4: bool,
    /// Its decoding is what everything waits for: no QUIC where the choice is ours.
    pub slow: bool,
    /// It is on this machine, by a unix socket: what a guest sends uncompressed stays so.
    pub local: bool,
    /// Photographs may go to it with losses.
    pub jpeg: bool,
}

/// A form in which a bitmap can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Raw,
    /// LZ4 blocks.
    Lz4,
    /// A QUIC stream; the flags are those of the image.
    Quic(QuicPixels, u8),
    /// An LZ stream of colours; the flags are those of the image.
    Lz(LzPixels, u8),
    /// The same with matches in earlier images. It takes a client's dictionary; [`code`], which has none,
    /// codes LZ.
    Glz(LzPixels, u8),
    /// An LZ stream of indices, with the palette.
    LzPalette(LzPixels),
    /// A JPEG; the flags are those of the image.
    Jpeg(u8),
    /// A JPEG and the alpha behind it, which has no losses.
    JpegAlpha,
}

impl Coding {
    /// True if other colours than the bitmap's may arrive.
    ///
    /// So it is chosen, whether or not the bitmap goes as it is in the end: who shares the result or waits for it
    /// need not know.
    #[must_use]
    pub fn is_lossy(self) -> bool {
        matches!(self, Self::Jpeg(_) | Self::JpegAlpha)
    }
}

/// The form for this client.
///
/// Whatever is chosen decodes to the same bits, those that nobody sees included: they become
/// visible when a surface that has them is the source of a blend. Only colours may have losses,
/// where the purpose allows it and QUIC would be chosen: what LZ is good at, text and drawings, JPEG is not.
#[must_use]
pub fn choose(
    bitmap: &Bitmap,
    purpose: Purpose,
    compression: Compression,
    skills: Skills,
) -> Coding {
    choose_knowing(None, bitmap, purpose, compression, skills)
}

/// [`choose`], where it may be known already what the bits are that codecs of colours do not keep.
pub(super) fn choose_knowing(
    known: Option<Fourth>,
    bitmap: &Bitmap,
    purpose: Purpose,
    compression: Compression,
    skills: Skills,
) -> Coding {
    let exact = choose_exact(known, bitmap, purpose, compression, skills);
    let bytes = u64::from(bitmap.stride) * u64::from(bitmap.height);
    let fits = bytes >= SMALL_FOR_JPEG && bitmap.width.max(bitmap.height) <= MAX_JPEG_SIDE;
    match exact {
        Coding::Quic(pixels, flags) if skills.jpeg && purpose.may_be_lossy && fits => {
            if pixels == QuicPixels::Rgba { Coding::JpegAlpha } else { Coding::Jpeg(flags) }
        }
        exact => exact,
    }
}

fn choose_exact(
    known: Option<Fourth>,
    bitmap: &Bitmap,
    purpose: Purpose,
    compression: Compression,
    skills: Skills,
) -> Coding {
    let small = u64::from(bitmap.stride) * u64::from(bitmap.height) < SMALL;
    if small || compression == Compression::Off || (skills.local && purpose.of_command) {
        return Coding::Raw;
    }
    // Stock clients decode no other format; an 8-bit alpha image stops them for good.
    let lz4_has = matches!(
        bitmap.format,
        BitmapFormat::Bit16 | BitmapFormat::Bit24 | BitmapFormat::Bit32 | BitmapFormat::Rgba
    );
    match compression {
        Compression::Off => Coding::Raw,
        Compression::Lz4 if skills.lz4 && lz4_has => Coding::Lz4,
        Compression::Quic => quic(known, bitmap, purpose),
        Compression::AutoLz | Compression::AutoGlz if has_quic(bitmap) && is_gradual(bitmap) => {
            if skills.slow && !skills.jpeg {
                lz(known, bitmap, purpose)
            } else {
                quic(known, bitmap, purpose)
            }
        }
        Compression::AutoGlz | Compression::Glz => match lz(known, bitmap, purpose) {
            Coding::Lz(pixels, flags) if purpose.may_be_numbered => Coding::Glz(pixels, flags),
            other => other,
        },
        Compression::AutoLz | Compression::Lz | Compression::Lz4 => lz(known, bitmap, purpose),
    }
}

/// True if QUIC codes such pictures.
fn has_quic(bitmap: &Bitmap) -> bool {
    let direct = matches!(
        bitmap.format,
        BitmapFormat::Bit16 | BitmapFormat::Bit24 | BitmapFormat::Bit32 | BitmapFormat::Rgba
    );
    direct && bitmap.width >= 3 && bitmap.height >= 3
}

fn quic(known: Option<Fourth>, bitmap: &Bitmap, purpose: Purpose) -> Coding {
    if !has_quic(bitmap) {
        return Coding::Raw;
    }
    let (pixels, with_alpha) = match bitmap.format {
        BitmapFormat::Bit16 => (QuicPixels::Rgb16, None),
        BitmapFormat::Bit24 => (QuicPixels::Rgb24, None),
        BitmapFormat::Rgba => return Coding::Quic(QuicPixels::Rgba, 0),
        _ => (QuicPixels::Rgb32, Some(QuicPixels::Rgba)),
    };
    whole(known, bitmap, purpose, pixels, with_alpha)
        .map_or(Coding::Raw, |(pixels, flags)| Coding::Quic(pixels, flags))
}

fn lz(known: Option<Fourth>, bitmap: &Bitmap, purpose: Purpose) -> Coding {
    let (pixels, with_alpha) = match bitmap.format {
        BitmapFormat::Bit16 => (LzPixels::Rgb16, None),
        BitmapFormat::Bit24 => (LzPixels::Rgb24, None),
        BitmapFormat::Bit32 => (LzPixels::Rgb32, Some(LzPixels::Rgba)),
        BitmapFormat::Rgba => return Coding::Lz(LzPixels::Rgba, 0),
        BitmapFormat::Bit1Be if palette_fits(bitmap) => return Coding::LzPalette(LzPixels::Plt1Be),
        BitmapFormat::Bit4Be if palette_fits(bitmap) => return Coding::LzPalette(LzPixels::Plt4Be),
        BitmapFormat::Bit8 if palette_fits(bitmap) => return Coding::LzPalette(LzPixels::Plt8),
        // Stock clients end themselves over little-endian indices, and alpha alone is rare.
        _ => return Coding::Raw,
    };
    whole(known, bitmap, purpose, pixels, with_alpha)
        .map_or(Coding::Raw, |(pixels, flags)| Coding::Lz(pixels, flags))
}

/// Pixels and flags with which nothing of the bitmap is lost; `None` if there are none.
fn whole<P>(
    known: Option<Fourth>,
    bitmap: &Bitmap,
    purpose: Purpose,
    pixels: P,
    with_alpha: Option<P>,
) -> Option<(P, u8)> {
    match known.unwrap_or_else(|| fourth(bitmap)) {
        Fourth::Zero => Some((pixels, 0)),
        Fourth::Ones if with_alpha.is_some() => Some((pixels, HIGH_BITS_SET)),
        // What the server read is only put, bit by bit. A command may ask what its source is.
        Fourth::Mixed if !purpose.of_command => with_alpha.map(|pixels| (pixels, 0)),
        _ => None,
    }
}

/// A bitmap in this form, or as it is if that is shorter.
///
/// # Errors
/// [`EncodeError::ShortBitmap`]
pub fn code(
    bitmap: &Bitmap,
    coding: Coding,
    scratch: &mut Scratch,
) -> Result<ImagePayload, EncodeError> {
    let limit = u64::from(bitmap.stride) * u64::from(bitmap.height);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let picture = picture(bitmap);
    let coded = match coding {
        Coding::Raw => None,
        Coding::Jpeg(flags) => {
            encode_jpeg(&picture, limit, &mut scratch.jpeg).map(|data| (data, TYPE_JPEG, flags))
        }
        Coding::JpegAlpha => {
            let Scratch { jpeg, lz, .. } = scratch;
            let coded = encode_jpeg_alpha(&picture, limit, jpeg, lz);
            return coded.map_or_else(|| raw(bitmap), |coded| Ok(jpeg_alpha(bitmap, coded)));
        }
        Coding::Lz4 => {
            encode_lz4(&picture, limit, &mut scratch.lz4).map(|data| (data, TYPE_LZ4, 0))
        }
        Coding::Quic(pixels, flags) => encode_quic(&picture, pixels, limit, &mut scratch.quic)
            .map(|data| (data, TYPE_QUIC, flags)),
        Coding::Lz(pixels, flags) | Coding::Glz(pixels, flags) => {
            encode_lz(&picture, pixels, limit, &mut scratch.lz)
                .map(|data| (data, TYPE_LZ_RGB, flags))
        }
        Coding::LzPalette(pixels) => {
            encode_lz(&picture, pixels, limit, &mut scratch.lz).map(|data| (data, TYPE_LZ_PLT, 0))
        }
    };
    let Some((data, image_type, flags)) = coded else { return raw(bitmap) };
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
    // flags + size + palette pointer
    let mut fields = Vec::with_capacity(1 + 4 + 4);
    let mut slot = None;
    if image_type == TYPE_LZ_PLT {
        // Clients follow the pointer whether it is there or not.
        let Some(palette) = &bitmap.palette else { return raw(bitmap) };
        fields.put_u8(if bitmap.top_down { TOP_DOWN } else { 0 }).put_u32(size);
        let pointer_at = fields.len();
        fields.put_u32(0);
        slot = Some(PaletteSlot { palette: Arc::clone(palette), flags_at: 0, pointer_at });
    } else {
        fields.put_u32(size);
    }
    Ok(ImagePayload {
        image_type,
        flags,
        fields,
        palette: slot,
        data: Some(Bulk::whole(blocks::share(data))),
    })
}

/// `coded`: the length of the JPEG, and the JPEG with the alpha behind it.
fn jpeg_alpha(bitmap: &Bitmap, coded: (usize, Vec<u8>)) -> ImagePayload {
    let (jpeg, data) = coded;
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    // flags + size of the JPEG + size
    let mut fields = Vec::with_capacity(1 + 4 + 4);
    fields.put_u8(if bitmap.top_down { ALPHA_TOP_DOWN } else { 0 });
    fields.put_u32(size(jpeg)).put_u32(size(data.len()));
    ImagePayload {
        image_type: TYPE_JPEG_ALPHA,
        flags: 0,
        fields,
        palette: None,
        data: Some(Bulk::whole(blocks::share(data))),
    }
}

pub(super) fn picture(bitmap: &Bitmap) -> Picture<'_> {
    Picture {
        data: &bitmap.data,
        width: bitmap.width,
        height: bitmap.height,
        bits: bitmap.format.bits(),
        stride: bitmap.stride,
        top_down: bitmap.top_down,
        format: bitmap.format as u8,
    }
}

#[cfg(test)]
mod tests;

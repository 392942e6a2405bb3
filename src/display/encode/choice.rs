//! In what form a bitmap goes: the choice, which is a client's, and the coding, which is not.
//!
//! [`choose`] knows the setting, the client and the purpose, and looks at no pixel that it does
//! not have to. [`code`] knows only the bitmap: two clients with the same choice can share the
//! result. A codec that comes is a line in each. Codings that need a client's own state
//! (dictionaries) take it beside the scratch memory and are not shared.
//!
//! Every bitmap here is a private copy that nobody changes any more, so the guest's word on
//! whether its data is stable plays no part.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::pool::{LzPixels, Picture, QuicPixels, Scratch, encode_lz, encode_lz4, encode_quic};
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
/// `SPICE_IMAGE_TYPE_LZ4`.
const TYPE_LZ4: u8 = 109;
/// Bitmaps of fewer bytes are not worth a codec.
const SMALL: u64 = 54;

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
    /// An LZ stream of indices, with the palette.
    LzPalette(LzPixels),
}

/// The form for this client. Until dictionaries come, LZ stands for GLZ.
///
/// Whatever is chosen decodes to the same bits, those that nobody sees included: they become
/// visible when a surface that has them is the source of a blend.
#[must_use]
pub fn choose(
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
        Compression::Quic => quic(bitmap, purpose),
        Compression::AutoLz | Compression::AutoGlz
            if !skills.slow && has_quic(bitmap) && is_gradual(bitmap) =>
        {
            quic(bitmap, purpose)
        }
        Compression::AutoLz
        | Compression::AutoGlz
        | Compression::Glz
        | Compression::Lz
        | Compression::Lz4 => lz(bitmap, purpose),
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

fn quic(bitmap: &Bitmap, purpose: Purpose) -> Coding {
    if !has_quic(bitmap) {
        return Coding::Raw;
    }
    let (pixels, with_alpha) = match bitmap.format {
        BitmapFormat::Bit16 => (QuicPixels::Rgb16, None),
        BitmapFormat::Bit24 => (QuicPixels::Rgb24, None),
        BitmapFormat::Rgba => return Coding::Quic(QuicPixels::Rgba, 0),
        _ => (QuicPixels::Rgb32, Some(QuicPixels::Rgba)),
    };
    whole(bitmap, purpose, pixels, with_alpha)
        .map_or(Coding::Raw, |(pixels, flags)| Coding::Quic(pixels, flags))
}

fn lz(bitmap: &Bitmap, purpose: Purpose) -> Coding {
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
    whole(bitmap, purpose, pixels, with_alpha)
        .map_or(Coding::Raw, |(pixels, flags)| Coding::Lz(pixels, flags))
}

/// Pixels and flags with which nothing of the bitmap is lost; `None` if there are none.
fn whole<P>(
    bitmap: &Bitmap,
    purpose: Purpose,
    pixels: P,
    with_alpha: Option<P>,
) -> Option<(P, u8)> {
    match fourth(bitmap) {
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
        Coding::Lz4 => {
            encode_lz4(&picture, limit, &mut scratch.lz4).map(|data| (data, TYPE_LZ4, 0))
        }
        Coding::Quic(pixels, flags) => encode_quic(&picture, pixels, limit, &mut scratch.quic)
            .map(|data| (data, TYPE_QUIC, flags)),
        Coding::Lz(pixels, flags) => encode_lz(&picture, pixels, limit, &mut scratch.lz)
            .map(|data| (data, TYPE_LZ_RGB, flags)),
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
        data: Some(Bulk::whole(Arc::new(data))),
    })
}

fn picture(bitmap: &Bitmap) -> Picture<'_> {
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

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

use crate::pool::{Lz4Scratch, Picture, encode_lz4};
use crate::protocol::message::Bulk;
use crate::protocol::wire::WireWrite;
use crate::qxl::model::{Bitmap, BitmapFormat};

use super::EncodeError;
use super::image::{ImagePayload, Purpose, raw};

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
}

/// The form for this client. QUIC, LZ and GLZ are not there yet: what would be theirs goes as it is.
#[must_use]
pub fn choose(
    bitmap: &Bitmap,
    purpose: Purpose,
    compression: Compression,
    skills: Skills,
) -> Coding {
    let small = u64::from(bitmap.stride) * u64::from(bitmap.height) < SMALL;
    if small || (skills.local && purpose.of_command) {
        return Coding::Raw;
    }
    // Stock clients decode no other format; an 8-bit alpha image stops them for good.
    let lz4_has = matches!(
        bitmap.format,
        BitmapFormat::Bit16 | BitmapFormat::Bit24 | BitmapFormat::Bit32 | BitmapFormat::Rgba
    );
    match compression {
        Compression::Lz4 if skills.lz4 && lz4_has => Coding::Lz4,
        _ => Coding::Raw,
    }
}

/// Memory of the codecs between images.
#[derive(Debug, Default)]
pub struct Scratch {
    lz4: Lz4Scratch,
}

impl Scratch {
    /// Bytes that are kept from one image to the next.
    const KEPT: usize = 4 << 20;

    /// Gives large memory back.
    pub fn trim(&mut self) {
        if self.lz4.capacity() > Self::KEPT {
            self.lz4 = Lz4Scratch::default();
        }
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
    let data = match coding {
        Coding::Raw => None,
        Coding::Lz4 => {
            let limit = u64::from(bitmap.stride) * u64::from(bitmap.height);
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            encode_lz4(&picture(bitmap), limit, &mut scratch.lz4)
        }
    };
    let Some(data) = data else { return raw(bitmap) };
    let mut fields = Vec::with_capacity(4);
    fields.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    Ok(ImagePayload {
        image_type: TYPE_LZ4,
        flags: 0,
        fields,
        palette: None,
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
mod tests {
    use super::*;

    fn bitmap(format: BitmapFormat, width: u32, height: u32) -> Bitmap {
        let stride = (width * format.bits()).div_ceil(8);
        let data = Arc::new(vec![7; (stride * height) as usize]);
        Bitmap { format, top_down: true, width, height, stride, palette: None, data }
    }

    #[test]
    fn lz4_is_for_direct_colours_and_for_clients_that_have_it() {
        use BitmapFormat::{Alpha8, Bit1Be, Bit4Be, Bit8, Bit16, Bit24, Bit32, Rgba};
        let able = Skills { lz4: true, local: false };
        let chosen = |format, compression, skills| {
            choose(&bitmap(format, 64, 64), Purpose::EXACT, compression, skills)
        };
        for format in [Bit16, Bit24, Bit32, Rgba] {
            assert_eq!(chosen(format, Compression::Lz4, able), Coding::Lz4, "{format:?}");
            assert_eq!(chosen(format, Compression::Lz4, Skills::default()), Coding::Raw);
            for other in (1..=6).map(|n| Compression::from_u8(n).unwrap()) {
                assert_eq!(chosen(format, other, able), Coding::Raw, "{other:?}");
            }
        }
        for format in [Bit1Be, Bit4Be, Bit8, Alpha8] {
            assert_eq!(chosen(format, Compression::Lz4, able), Coding::Raw, "{format:?}");
        }
        let small = bitmap(Bit32, 13, 1);
        assert_eq!(choose(&small, Purpose::EXACT, Compression::Lz4, able), Coding::Raw);
    }

    #[test]
    fn on_the_same_machine_only_pixels_of_surfaces_are_compressed() {
        let near = Skills { lz4: true, local: true };
        let chosen =
            |purpose| choose(&bitmap(BitmapFormat::Bit32, 64, 64), purpose, Compression::Lz4, near);
        assert_eq!(chosen(Purpose::SEEN), Coding::Raw);
        assert_eq!(chosen(Purpose::SURFACE), Coding::Lz4);
    }

    #[test]
    fn what_would_grow_goes_as_it_is() {
        let mut noise = bitmap(BitmapFormat::Bit32, 5, 5);
        noise.data = Arc::new((0..100u8).map(|n| n.wrapping_mul(151) ^ n >> 2).collect());
        let kind = |bitmap: &Bitmap| {
            code(bitmap, Coding::Lz4, &mut Scratch::default()).unwrap().image_type
        };
        assert_eq!(kind(&noise), 0);
        assert_eq!(kind(&bitmap(BitmapFormat::Bit32, 50, 50)), TYPE_LZ4);
        let mut short = bitmap(BitmapFormat::Bit32, 50, 50);
        short.data = Arc::new(vec![0; 9_999]);
        assert!(code(&short, Coding::Lz4, &mut Scratch::default()).is_err());
    }
}

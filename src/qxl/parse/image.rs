//! Images of a drawable: descriptors, bitmaps, palettes.

use std::sync::Arc;

use super::error::Reason;
use super::source::{CHUNK_HEADER, Source};
use crate::protocol::wire::Reader;
use crate::qxl::model::{Bitmap, BitmapFormat, Image, ImageKind, Palette, SurfaceRead};

/// `SPICE_IMAGE_TYPE_*` that a guest may send.
const TYPE_BITMAP: u8 = 0;
const TYPE_QUIC: u8 = 1;
const TYPE_SURFACE: u8 = 104;

/// Bytes of `QXLImageDescriptor`.
const DESCRIPTOR: usize = 8 /* id */ + 1 /* type */ + 1 /* flags */ + 4 /* width */ + 4 /* height */;
/// `SPICE_IMAGE_FLAGS_*` that mean something: cache me 1, high bits set 2.
const IMAGE_FLAGS: u8 = 3;

/// Bytes of `QXLBitmap`, behind the descriptor.
const BITMAP: usize = 1 /* format */ + 1 /* flags */ + 4 /* x */ + 4 /* y */ + 4 /* stride */
    + 8 /* palette */ + 8 /* data */;
/// `QXL_BITMAP_*`: the data is one piece, not chunks.
const DIRECT: u8 = 1;
/// The first row is the top row.
const TOP_DOWN: u8 = 4;
/// Most bytes of a bitmap by the rules of the device.
const MAX_BITMAP: u64 = 0x7fff_ffff;

/// Bytes of `QXLPalette` before its entries.
const PALETTE: usize = 8 /* unique */ + 2 /* number of entries */;
/// No format indexes more entries.
const MAX_COLORS: u16 = 256;

/// What an image is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Colours.
    Color,
    /// One bit per pixel; palettes are ignored.
    Mask,
}

/// Reads the images of one drawable.
pub(super) struct Images<'s, 'a> {
    pub source: &'s mut Source<'a>,
    /// What the drawable says it reads; a surface image must be among it.
    pub reads: &'s [SurfaceRead],
    /// Colours are x1r5g5b5 (`QXL_COMMAND_FLAG_COMPAT_16BPP`).
    pub rgb555: bool,
}

impl Images<'_, '_> {
    /// The image at an address. `part` says in errors what it is for.
    ///
    /// `QXL_BITMAP_UNSTABLE` needs no care: the pixels are copied here and now.
    pub fn parse(&mut self, part: &'static str, addr: u64, role: Role) -> Result<Image, Reason> {
        if addr == 0 {
            return Err(Reason::NoImage(part));
        }
        let descriptor = self.source.fetch::<DESCRIPTOR>(part, addr, 0)?;
        let mut fields = Reader::new(&descriptor);
        let id = fields.u64()?;
        let (kind, flags) = (fields.u8()?, fields.u8()?);
        let (width, height) = (fields.u32()?, fields.u32()?);
        match kind {
            TYPE_BITMAP => {
                let bitmap = self.bitmap(part, addr, role)?;
                // A client that gets a compressed image checks it against the descriptor, so the
                // descriptor has to tell the truth; nobody made the guest keep to that.
                let (width, height) = (bitmap.width, bitmap.height);
                let kind = ImageKind::Bitmap(bitmap);
                Ok(Image { id, flags: flags & IMAGE_FLAGS, width, height, kind })
            }
            TYPE_SURFACE => {
                let bytes = self.source.fetch::<4>(part, addr, DESCRIPTOR as u64)?;
                let surface = u32::from_le_bytes(bytes);
                if !self.reads.iter().any(|read| read.surface_id == surface) {
                    return Err(Reason::UndeclaredSurface { part, id: surface });
                }
                // Seen with Xspice: the flags of a surface are whatever lay in memory.
                Ok(Image { id, flags: 0, width, height, kind: ImageKind::Surface(surface) })
            }
            TYPE_QUIC if role == Role::Color => {
                let bitmap = self.quic(part, addr)?;
                let (stream, descriptor) = ((bitmap.width, bitmap.height), (width, height));
                if stream != descriptor {
                    return Err(Reason::CompressedSize { part, stream, descriptor });
                }
                let kind = ImageKind::Bitmap(bitmap);
                Ok(Image { id, flags: flags & IMAGE_FLAGS, width, height, kind })
            }
            kind => Err(Reason::ImageType { part, kind }),
        }
    }

    /// A colour as the destination surface has it.
    pub fn color(&self, color: u32) -> u32 {
        if self.rgb555 { expand_555(color) } else { color }
    }

    fn bitmap(&mut self, part: &'static str, addr: u64, role: Role) -> Result<Bitmap, Reason> {
        let header = self.source.fetch::<BITMAP>(part, addr, DESCRIPTOR as u64)?;
        let mut fields = Reader::new(&header);
        let number = fields.u8()?;
        let flags = fields.u8()?;
        let (width, height, stride) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (palette_addr, data_addr) = (fields.u64()?, fields.u64()?);

        let format = BitmapFormat::from_u8(number).filter(|&format| usable(format, role));
        let format = format.ok_or(Reason::BitmapFormat { part, format: number })?;
        let side = |n: u32| n >= 1 && i32::try_from(n).is_ok();
        if !side(width) || !side(height) {
            return Err(Reason::BitmapSize { part, width, height });
        }
        let row = (u64::from(width) * u64::from(format.bits())).div_ceil(8);
        if u64::from(stride) < row {
            return Err(Reason::BitmapStride { part, stride, row });
        }
        let bytes = u64::from(stride) * u64::from(height);
        if bytes > MAX_BITMAP {
            return Err(Reason::TooMuchData { part, bytes, left: MAX_BITMAP });
        }
        let palette = if format.is_indexed() && role == Role::Color {
            Some(Arc::new(self.palette(part, palette_addr, format)?))
        } else {
            None
        };
        let data = if flags & DIRECT != 0 {
            self.source.bytes(part, data_addr, 0, bytes)?
        } else {
            let header = self.source.fetch::<CHUNK_HEADER>(part, data_addr, 0)?;
            let mut first = Reader::new(&header);
            let chunks = self.source.chunks(part, data_addr, CHUNK_HEADER, &mut first)?;
            self.source.copy_all(&chunks, bytes)?
        };
        let top_down = flags & TOP_DOWN != 0;
        Ok(Bitmap { format, top_down, width, height, stride, palette, data: data.into() })
    }

    /// A compressed image, as the bitmap that it is of.
    ///
    /// Its pixels count like those that a guest sends as they are: few bytes may stand for many.
    fn quic(&mut self, part: &'static str, addr: u64) -> Result<Bitmap, Reason> {
        const HEADER: usize = 4 /* data size */ + CHUNK_HEADER;
        let decode = self.source.limits().quic.ok_or(Reason::NotYet("a QUIC image"))?;
        let header = self.source.fetch::<HEADER>(part, addr, DESCRIPTOR as u64)?;
        let mut fields = Reader::new(&header);
        let size = fields.u32()?;
        let chunks = self.source.chunks(part, addr, DESCRIPTOR + HEADER, &mut fields)?;
        let stream = self.source.copy_all(&chunks, size.into())?;
        let bitmap = decode(&stream, self.source.bytes_left())
            .map_err(|why| Reason::Compressed { part, why })?;
        self.source.spend(part, bitmap.data.len() as u64)?;
        Ok(bitmap)
    }

    /// A palette, with zeros for the colours that the guest left out.
    fn palette(
        &mut self,
        part: &'static str,
        addr: u64,
        format: BitmapFormat,
    ) -> Result<Palette, Reason> {
        if addr == 0 {
            return Err(Reason::NoPalette(part));
        }
        let header = self.source.fetch::<PALETTE>(part, addr, 0)?;
        let mut fields = Reader::new(&header);
        let unique = fields.u64()?;
        // More than a format can index is of no use to anybody.
        let count = fields.u16()?.min(MAX_COLORS);
        let mut entries = Vec::with_capacity(MAX_COLORS.into());
        if count > 0 {
            let bytes = self.source.bytes(part, addr, PALETTE as u64, u64::from(count) * 4)?;
            let mut fields = Reader::new(&bytes);
            for _ in 0..count {
                entries.push(self.color(fields.u32()?));
            }
        }
        let indexable = 1usize << format.bits();
        if entries.len() < indexable {
            entries.resize(indexable, 0);
        }
        Ok(Palette { unique, entries })
    }
}

/// Which formats make sense where. No client draws the formats with the lowest bit first as
/// colours, and a mask has one bit per pixel.
fn usable(format: BitmapFormat, role: Role) -> bool {
    match role {
        Role::Color => !matches!(format, BitmapFormat::Bit1Le | BitmapFormat::Bit4Le),
        Role::Mask => matches!(format, BitmapFormat::Bit1Le | BitmapFormat::Bit1Be),
    }
}

/// x1r5g5b5 to x8r8g8b8 by repeating the high bits.
fn expand_555(color: u32) -> u32 {
    let eight = |five: u32| (five << 3) | (five >> 2);
    let (r, g, b) = ((color >> 10) & 31, (color >> 5) & 31, color & 31);
    (eight(r) << 16) | (eight(g) << 8) | eight(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_bits_become_eight_by_repetition() {
        assert_eq!(expand_555(0), 0);
        assert_eq!(expand_555(0x7fff), 0x00ff_ffff);
        assert_eq!(expand_555(0xffff_ffff), 0x00ff_ffff);
        assert_eq!(expand_555(0b10000_00001_00100), 0x0084_0821);
    }
}

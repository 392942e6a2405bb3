//! From pixels to a stream. There are many that decode to the same pixels; this one is made fast.
//!
//! Rows that follow each other without padding are coded where they lie, if their pixels have four
//! bytes. All others are copied to one array first, without padding: so any stride will do, and
//! matches cross rows.

use super::bytes::{self, Worth};
use super::colors::{self, Pixel};
use super::places::Places;
use super::sink::{Full, Output, Writer};
use super::{ALPHA_BIAS, FAR, MAGIC, MAX_BYTES, PixelType, VERSION};
use crate::codec::Rows;
use crate::codec::simd::{self, Kernel, Level, Work};

/// Why a picture has no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Rows and pixel type do not fit together.
    #[error("rows of {row} bytes, need {need}")]
    Row {
        /// Bytes of the rows.
        row: usize,
        /// Bytes that this width and type have.
        need: u64,
    },
    /// More bytes than the format allows.
    #[error("picture of {0}x{1}")]
    Size(u32, u32),
    /// The stream would be longer than the caller can use.
    #[error("stream longer than {0} bytes")]
    Larger(usize),
}

/// Memory that an encoder needs while it works; to be kept from picture to picture.
#[derive(Debug, Default)]
pub struct Scratch {
    colors: Vec<Pixel>,
    bytes: Vec<u8>,
    places: Places,
}

impl Scratch {
    /// Bytes that it keeps, but for a small table.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.colors.capacity() * size_of::<Pixel>() + self.bytes.capacity()
    }
}

/// Farthest distance that is used; the format has some more, the reference not.
const FARTHEST: usize = 73_724;
/// Pixels of three bytes.
const COLORS: Worth =
    Worth { bias: 0, near: 2, adjacent: 1, far: 3, far_from: FAR, farthest: FARTHEST };
/// Pixels of two bytes.
const COLORS_16: Worth = Worth { bias: 1, near: 2, adjacent: 2, ..COLORS };
const BYTES: Worth = Worth { bias: ALPHA_BIAS, near: 3, adjacent: 3, far: 5, ..COLORS };

/// Appends the stream of a picture to `out`.
///
/// # Errors
/// [`EncodeError`]; `out` is as it was then. [`EncodeError::Larger`] if the stream is longer than
/// `limit` bytes.
pub fn encode(
    picture: &Rows<'_>,
    format: PixelType,
    limit: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    encode_at(simd::level(), picture, format, limit, scratch, out)
}

/// [`encode`] with the inner loops of a level: for tests and benches, the stream is the same.
///
/// # Errors
/// As those of [`encode`].
pub fn encode_at(
    level: Level,
    picture: &Rows<'_>,
    format: PixelType,
    limit: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let (width, height, row) = (picture.width(), picture.height(), picture.row_bytes());
    let need = (u64::from(width) * u64::from(format.bits())).div_ceil(8);
    if row as u64 != need {
        return Err(EncodeError::Row { row, need });
    }
    let stride = u32::try_from(row).map_err(|_| EncodeError::Size(width, height))?;
    if need * u64::from(height) > MAX_BYTES {
        return Err(EncodeError::Size(width, height));
    }
    let start = out.len();
    let top_down = u32::from(picture.top_down());
    for word in [MAGIC, VERSION, format as u32, width, height, stride, top_down] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    let mut writer = Writer(Output::new(out, start.saturating_add(limit)));
    let work = Encode { picture, format, scratch, writer: &mut writer };
    let done = simd::run(level, work);
    done.map_err(|Full| {
        out.truncate(start);
        EncodeError::Larger(limit)
    })
}

/// A picture, and where its stream goes.
struct Encode<'a, 'o> {
    picture: &'a Rows<'a>,
    format: PixelType,
    scratch: &'a mut Scratch,
    writer: &'a mut Writer<'o>,
}

impl Work for Encode<'_, '_> {
    type Output = Result<(), Full>;

    #[inline(always)]
    fn with<K: Kernel>(self, k: K) -> Result<(), Full> {
        let Self { picture, format, scratch, writer } = self;
        let Scratch { colors, bytes, places } = scratch;
        let (row, columns) = (picture.row_bytes(), picture.width() as usize);
        match format {
            PixelType::Plt1Le
            | PixelType::Plt1Be
            | PixelType::Plt4Le
            | PixelType::Plt4Be
            | PixelType::Plt8
            | PixelType::A8 => {
                bytes.clear();
                picture.in_memory().for_each(|row| bytes.extend_from_slice(row));
                bytes::pass(bytes, row, BYTES, places, writer)
            }
            PixelType::Rgb16 => {
                gather(picture, colors, |&[low, high]| [low, high & 0x7f, 0, 0]);
                colors::pass::<K, _, 2>(k, colors, columns, COLORS_16, places, writer)
            }
            PixelType::Rgb24 => {
                gather(picture, colors, |&[b, g, r]| [b, g, r, 0]);
                colors::pass::<K, _, 3>(k, colors, columns, COLORS, places, writer)
            }
            PixelType::Rgb32 | PixelType::Rgba => {
                let pixels = match picture.tight() {
                    Some(tight) => tight.as_chunks().0,
                    None => {
                        gather(picture, colors, |pixel: &Pixel| *pixel);
                        colors
                    }
                };
                colors::pass::<K, _, 3>(k, pixels, columns, COLORS, places, writer)?;
                if format == PixelType::Rgba {
                    gather(picture, bytes, |pixel: &Pixel| pixel[3]);
                    bytes::pass(bytes, columns, BYTES, places, writer)?;
                }
                Ok(())
            }
            PixelType::Xxxa => {
                gather(picture, bytes, |pixel: &Pixel| pixel[3]);
                bytes::pass(bytes, columns, BYTES, places, writer)
            }
        }
    }
}

/// All pixels as units.
#[inline(always)]
pub(in crate::codec) fn gather<U, const N: usize>(
    picture: &Rows<'_>,
    units: &mut Vec<U>,
    unit: impl Fn(&[u8; N]) -> U,
) {
    units.clear();
    for row in picture.in_memory() {
        units.extend(row.as_chunks().0.iter().map(&unit));
    }
}

//! Compressed images of a guest become bitmaps before anything else sees them.
//!
//! On display-N, when the command is parsed: the server draws every image anyway, and so the
//! model of commands has bitmaps only.
#![forbid(unsafe_code)]

use crate::pool::{self, DecodeLimits, DecodedImage, PixelType};
use crate::qxl::model::{Bitmap, BitmapFormat};

/// Decodes a QUIC stream into a bitmap of at most `limit` bytes.
///
/// # Errors
/// A sentence for the log.
pub fn decode_quic(stream: &[u8], limit: usize) -> Result<Bitmap, String> {
    let bytes = pool::size_of_quic(stream).map_err(|error| error.to_string())?;
    if bytes > limit as u64 {
        return Err(format!("QUIC image of {bytes} bytes, {limit} left of the command's limit"));
    }
    let image =
        pool::decode_quic(stream, &DecodeLimits::default()).map_err(|error| error.to_string())?;
    let format = match image.format {
        // No stock client draws it either.
        PixelType::Gray => return Err("QUIC image of grey pixels".into()),
        PixelType::Rgb16 => return widened(&image),
        PixelType::Rgb24 => BitmapFormat::Bit24,
        PixelType::Rgb32 => BitmapFormat::Bit32,
        PixelType::Rgba => BitmapFormat::Rgba,
    };
    let stride = u32::try_from(image.stride).map_err(|error| error.to_string())?;
    let (width, height) = (image.width, image.height);
    let data = image.pixels;
    Ok(Bitmap { format, top_down: true, width, height, stride, palette: None, data: data.into() })
}

/// A picture of 15 bits as stock code decodes it for 32-bit surfaces: with high bytes of 0, while those of a bitmap
/// of 16 bits become 255. On 16-bit surfaces the repeated bits are cut off again.
fn widened(image: &DecodedImage) -> Result<Bitmap, String> {
    let (width, height) = (image.width, image.height);
    let row = usize::try_from(width).map_err(|error| error.to_string())?;
    let mut data = Vec::new();
    let len = image.pixels.len().checked_mul(2).ok_or("QUIC image too large")?;
    data.try_reserve_exact(len).map_err(|error| error.to_string())?;
    let five = |v: u16| {
        let [low, _] = (v & 31).to_le_bytes();
        low << 3 | low >> 2
    };
    for line in image.pixels.chunks_exact(image.stride.max(1)) {
        for p in line.as_chunks::<2>().0.iter().take(row) {
            let p = u16::from_le_bytes(*p);
            data.extend([five(p), five(p >> 5), five(p >> 10), 0]);
        }
    }
    let stride = width.checked_mul(4).ok_or("QUIC image too wide")?;
    Ok(Bitmap {
        format: BitmapFormat::Bit32,
        top_down: true,
        width,
        height,
        stride,
        palette: None,
        data: data.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitmap_has_the_pixels_of_the_stream() {
        let stream = include_bytes!("../../tests/vectors/quic/enc/tiny5x3_rgb32.quic");
        let raw = include_bytes!("../../tests/vectors/quic/raw/q_tiny5x3_rgb32.raw");
        let bitmap = decode_quic(stream, 60).unwrap();
        assert_eq!((bitmap.format, bitmap.width, bitmap.height), (BitmapFormat::Bit32, 5, 3));
        assert_eq!((bitmap.stride, bitmap.top_down), (20, true));
        let colors = |data: &[u8]| data.chunks(4).flat_map(|p| p[..3].to_vec()).collect::<Vec<_>>();
        assert_eq!(colors(&bitmap.data), colors(raw));
    }

    #[test]
    fn grey_and_large_images_are_refused() {
        let gray = include_bytes!("../../tests/vectors/quic/enc/tiny5x3_gray.quic");
        assert!(decode_quic(gray, 1000).is_err());
        let stream = include_bytes!("../../tests/vectors/quic/enc/tiny5x3_rgb32.quic");
        assert!(decode_quic(stream, 59).is_err());
    }
}

//! Large pictures leave in bands.
//!
//! A band is a command of its own: the first one can be on its way while the others are still being encoded, several
//! workers share the picture, and what is covered meanwhile is not sent at all. Bands cost some bytes, because the
//! encoders begin anew: about a hundredth for QUIC at eight bands of a desktop.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::protocol::geometry::Rect;
use crate::qxl::model::{Bitmap, DrawOp, Image, ImageKind};

use super::footprint::PipedDraw;

/// `SPICE_IMAGE_FLAGS_CACHE_ME`: the guest's id names the whole image, so it stays whole.
const CACHE_ME: u8 = 1;
/// `SPICE_ROPD_OP_PUT`.
const ROP_PUT: u16 = 8;
/// Pixels of a picture from which on it is cut.
const LARGE: u64 = 256 << 10;
/// Pixels that a band should have.
const BAND: u64 = 128 << 10;
/// Most bands. They share the block of pixels, so what is left of one picture may hold this many times what it is
/// charged for.
const MOST: u64 = 8;
/// Clips of more rectangles are not repeated for every band.
const MOST_CLIPS: usize = 16;

/// The bands of a picture that is just put onto a surface, from top to bottom; `None` if the command stays whole.
#[must_use]
pub fn bands(draw: &PipedDraw, surface: Rect) -> Option<Vec<Arc<PipedDraw>>> {
    let drawable = &draw.drawable;
    let DrawOp::Copy { src, src_area, rop: ROP_PUT, nearest, mask, blend: false } = &drawable.op
    else {
        return None;
    };
    let ImageKind::Bitmap(bitmap) = &src.kind else { return None };
    let pixels = u64::from(bitmap.width) * u64::from(bitmap.height);
    let whole = Rect::from_size(0, 0, bitmap.width, bitmap.height);
    let size = |rect: &Rect| (rect.width(), rect.height());
    if pixels < LARGE
        || bitmap.format.is_indexed()
        || src.flags & CACHE_ME != 0
        || mask.image.is_some()
        || *src_area != whole
        || size(&drawable.bbox) != size(&whole)
        || drawable.clip.as_ref().is_some_and(|clip| clip.len() > MOST_CLIPS)
        || draw.pixels_only
    {
        return None;
    }
    let count = u32::try_from((pixels / BAND).clamp(2, MOST)).ok()?;
    // QUIC needs three rows; a picture of few and very long rows is not worth the trouble.
    let rows = bitmap.height.div_ceil(count).max(16);
    let mut bands = Vec::new();
    let mut top = 0;
    while top < bitmap.height {
        // The last one takes a rest that would be too low.
        let left = bitmap.height - top;
        let height = if left < rows + 16 { left } else { rows };
        let part = rows_of(bitmap, top, height)?;
        let image = Image {
            id: src.id,
            flags: src.flags,
            width: part.width,
            height: part.height,
            kind: ImageKind::Bitmap(part),
        };
        let mut band = drawable.clone();
        let down = |n: u32| i32::try_from(n).ok();
        band.bbox.top = drawable.bbox.top.checked_add(down(top)?)?;
        band.bbox.bottom = band.bbox.top.checked_add(down(height)?)?;
        band.op = DrawOp::Copy {
            src: image,
            src_area: Rect::from_size(0, 0, bitmap.width, height),
            rop: ROP_PUT,
            nearest: *nearest,
            mask: mask.clone(),
            blend: false,
        };
        let mut band = PipedDraw::new(band, surface);
        band.dest = draw.dest;
        bands.push(Arc::new(band));
        top += height;
    }
    (bands.len() > 1).then_some(bands)
}

/// Rows of a bitmap, counted from the top one, by reference.
fn rows_of(bitmap: &Bitmap, top: u32, height: u32) -> Option<Bitmap> {
    let first = if bitmap.top_down { top } else { bitmap.height.checked_sub(top + height)? };
    let stride = bitmap.stride as usize;
    let start = stride.checked_mul(first as usize)?;
    let end = stride.checked_mul(height as usize)?.checked_add(start)?;
    (end <= bitmap.data.len()).then(|| Bitmap {
        height,
        data: bitmap.data.part(start..end),
        ..bitmap.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qxl::model::{BitmapFormat, Drawable, Mask};

    const SURFACE: Rect = Rect { top: 0, left: 0, bottom: 3000, right: 3000 };

    fn copy(width: u32, height: u32, top_down: bool) -> Drawable {
        let stride = width * 4 + 8;
        let row = |y: u32| y.to_le_bytes().into_iter().cycle().take(stride as usize);
        let data: Vec<u8> = (0..height).flat_map(row).collect();
        let bitmap = Bitmap {
            format: BitmapFormat::Bit32,
            top_down,
            width,
            height,
            stride,
            palette: None,
            data: data.into(),
        };
        let src = Image { id: 5, flags: 0, width, height, kind: ImageKind::Bitmap(bitmap) };
        let op = DrawOp::Copy {
            src,
            src_area: Rect::from_size(0, 0, width, height),
            rop: ROP_PUT,
            nearest: false,
            mask: Mask::default(),
            blend: false,
        };
        Drawable {
            surface_id: 0,
            effect: 1,
            bbox: Rect::from_size(7, 9, width, height),
            clip: Some(Arc::new(vec![Rect::from_size(10, 11, 500, 1900)])),
            mm_time: 0,
            self_bitmap_area: None,
            reads: Vec::new(),
            op,
        }
    }

    fn cut(drawable: Drawable) -> Option<Vec<Arc<PipedDraw>>> {
        bands(&PipedDraw::new(drawable, SURFACE), SURFACE)
    }

    fn source(drawable: &mut Drawable) -> &mut Image {
        match &mut drawable.op {
            DrawOp::Copy { src, .. } => src,
            _ => panic!("no copy"),
        }
    }

    #[test]
    fn bands_are_the_picture_from_top_to_bottom() {
        for (height, top_down, count) in [(513, true, 2), (1030, false, 4), (1999, true, 7)] {
            let bands = cut(copy(512, height, top_down)).unwrap();
            assert_eq!(bands.len(), count, "{height}");
            let mut top = 9;
            let mut rows = Vec::new();
            for band in &bands {
                let drawable = &band.drawable;
                assert_eq!((drawable.bbox.top, drawable.bbox.left), (top, 7));
                assert_eq!(drawable.bbox.width(), 512);
                top = drawable.bbox.bottom;
                let clip = Rect::from_size(10, 11, 500, 1900).intersect(&drawable.bbox);
                assert_eq!(band.region.bounds(), clip);
                let DrawOp::Copy { src, src_area, .. } = &drawable.op else { panic!("no copy") };
                let ImageKind::Bitmap(bitmap) = &src.kind else { panic!("no bitmap") };
                assert_eq!(*src_area, Rect::from_size(0, 0, 512, drawable.bbox.height()));
                assert_eq!((bitmap.height, src.height), (src_area.height(), src_area.height()));
                assert!(bitmap.height >= 16);
                assert_eq!(bitmap.data.len(), (bitmap.stride * bitmap.height) as usize);
                let numbers = bitmap.data.chunks(bitmap.stride as usize);
                let mut numbers: Vec<u32> =
                    numbers.map(|row| u32::from_le_bytes(*row.first_chunk().unwrap())).collect();
                if !top_down {
                    numbers.reverse();
                }
                rows.extend(numbers);
            }
            if !top_down {
                rows.iter_mut().for_each(|row| *row = height - 1 - *row);
            }
            assert_eq!(rows, (0..height).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_more_than_a_plain_copy_stays_whole() {
        assert!(cut(copy(512, 500, true)).is_none(), "small");
        assert!(cut(copy(40_000, 8, true)).is_none(), "low");
        let mut kept = copy(512, 1000, true);
        source(&mut kept).flags = CACHE_ME;
        assert!(cut(kept).is_none());
        let mut scaled = copy(512, 1000, true);
        scaled.bbox.right += 1;
        assert!(cut(scaled).is_none());
        let mut clipped = copy(512, 1000, true);
        clipped.clip = Some(Arc::new(vec![SURFACE; 17]));
        assert!(cut(clipped).is_none());
        for change in 0..4 {
            let mut other = copy(512, 1000, true);
            let image = source(&mut other).clone();
            let DrawOp::Copy { src_area, rop, blend, mask, .. } = &mut other.op else { panic!() };
            match change {
                0 => src_area.top = 1,
                1 => *rop = 64,
                2 => *blend = true,
                _ => mask.image = Some(image),
            }
            assert!(cut(other).is_none(), "change {change}");
        }
    }
}

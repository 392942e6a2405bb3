//! The GL picture for clients that cannot be given its dmabuf: read back, and shown as a surface.
//!
//! Owned by display-N. What changes is copied out of the buffer and drawn on a surface of the mirror's own, so that from
//! there on it is a picture like the guest's others: coded, played as a film where it moves, and only its newest state kept
//! for who is slow.

use std::io;

use crate::display::encode::ServerImageIds;
use crate::display::scene::{Scene, SceneError};
use crate::protocol::blocks;
use crate::protocol::geometry::Rect;
use crate::protocol::gl::{GlScanout, MODIFIER_INVALID, MODIFIER_LINEAR};
use crate::protocol::message::Descriptors;
use crate::qxl::model::{Bitmap, BitmapFormat, DrawOp, Drawable, Image, ImageKind, Mask};
use crate::sys::clock::mm_time;
use crate::sys::dmabuf::Buffer;

/// Longest side of a picture that is read back, in pixels.
const SIDE_MAX: u32 = 16_384;
/// Most bytes of one: 8192x8192.
const BYTES_MAX: u64 = 256 << 20;
/// Bytes of a pixel in every format that is read.
const PIXEL: u64 = 4;
/// `QXL_EFFECT_OPAQUE`.
const OPAQUE: u8 = 1;
/// `SPICE_ROPD_OP_PUT`.
const ROP_PUT: u16 = 8;

/// Why a picture cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It has several planes.
    #[error("{0} planes")]
    Planes(usize),
    /// Its rows do not lie one behind the other.
    #[error("modifier {0:#x}")]
    Modifier(u64),
    /// The format is none of 32 bits with the colours in bytes of their own.
    #[error("pixel format {0:#010x}")]
    Format(u32),
    /// A side is 0 or too long, or it is too large altogether.
    #[error("{0}x{1} pixels")]
    Size(u32, u32),
    /// The picture does not lie in the buffer.
    #[error("{0} bytes, the picture needs {1}")]
    Bytes(u64, u64),
    /// The system does not let it be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It could not be drawn.
    #[error(transparent)]
    Draw(#[from] SceneError),
}

/// How the picture lies in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    width: u32,
    height: u32,
    offset: u64,
    stride: u64,
    /// Bytes R, G, B instead of B, G, R.
    red_first: bool,
    y0_top: bool,
}

impl Layout {
    /// Checks what a host says of a buffer that is not looked at.
    fn of(scanout: &GlScanout) -> Result<Self, MirrorError> {
        let [plane] = scanout.planes.as_slice() else {
            return Err(MirrorError::Planes(scanout.planes.len()));
        };
        // Nobody said how it lies: so it is with the older of the two calls. Most often it is linear.
        if ![MODIFIER_LINEAR, MODIFIER_INVALID].contains(&scanout.modifier) {
            return Err(MirrorError::Modifier(scanout.modifier));
        }
        let red_first = match &scanout.fourcc.to_le_bytes() {
            b"XR24" | b"AR24" => false,
            b"XB24" | b"AB24" => true,
            _ => return Err(MirrorError::Format(scanout.fourcc)),
        };
        let (width, height) = (scanout.width, scanout.height);
        let sides = (1..=SIDE_MAX).contains(&width) && (1..=SIDE_MAX).contains(&height);
        if !sides || u64::from(width) * u64::from(height) * PIXEL > BYTES_MAX {
            return Err(MirrorError::Size(width, height));
        }
        let (offset, stride) = (plane.offset.into(), plane.stride.into());
        Ok(Self { width, height, offset, stride, red_first, y0_top: scanout.y0_top })
    }

    /// Checks that it lies in a buffer of so many bytes.
    fn fits(&self, len: u64) -> Result<(), MirrorError> {
        let row = u64::from(self.width) * PIXEL;
        // No overflow: all of it is below 2^32, but for one product below 2^47.
        let needed = self.offset + self.stride * u64::from(self.height - 1) + row;
        if self.stride < row || needed > len {
            return Err(MirrorError::Bytes(len, needed.max(row)));
        }
        Ok(())
    }

    /// Where the rows of an area begin in the buffer, from the top one down.
    fn places(&self, area: &Rect) -> impl Iterator<Item = u64> {
        let this = *self;
        let left = u64::from(area.left.unsigned_abs()) * PIXEL;
        (area.top.unsigned_abs()..area.bottom.unsigned_abs()).map(move |y| {
            let row = if this.y0_top { y } else { this.height - 1 - y };
            this.offset + this.stride * u64::from(row) + left
        })
    }
}

/// The picture as a surface.
#[derive(Debug)]
pub struct Mirror {
    descriptors: Descriptors,
    buffer: Buffer,
    layout: Layout,
    /// Holds surface 0 alone.
    pub scene: Scene,
    /// Nothing was read since the buffer is another one.
    unread: bool,
    ids: ServerImageIds,
}

impl Mirror {
    /// A mirror of this picture, black so far.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub fn new(scanout: &GlScanout) -> Result<Self, MirrorError> {
        let layout = Layout::of(scanout)?;
        let buffer = open(scanout, &layout)?;
        let mut scene = Scene::new();
        scene.create_owned(0, layout.width, layout.height)?;
        let (descriptors, ids) = (scanout.descriptors.clone(), ServerImageIds::default());
        Ok(Self { descriptors, buffer, layout, scene, unread: true, ids })
    }

    /// True if it is of the very same picture.
    pub fn is_of(&self, scanout: &GlScanout) -> bool {
        self.descriptors.is_same(&scanout.descriptors)
            && Layout::of(scanout).is_ok_and(|layout| layout == self.layout)
    }

    /// Goes on with another picture. False, and nothing changed, if it has another size.
    ///
    /// # Errors
    /// [`MirrorError`]; nothing changed then.
    pub fn show(&mut self, scanout: &GlScanout) -> Result<bool, MirrorError> {
        let layout = Layout::of(scanout)?;
        if (layout.width, layout.height) != (self.layout.width, self.layout.height) {
            return Ok(false);
        }
        self.buffer = open(scanout, &layout)?;
        self.descriptors = scanout.descriptors.clone();
        (self.layout, self.unread) = (layout, true);
        Ok(true)
    }

    /// The whole picture.
    pub fn bounds(&self) -> Rect {
        Rect::from_size(0, 0, self.layout.width, self.layout.height)
    }

    /// Reads what has changed: a drawable for [`Mirror::scene`]. `None` if that lies outside.
    ///
    /// # Errors
    /// Of the system; the buffer was cut short, for example.
    pub fn read(&mut self, area: &Rect) -> Result<Option<Drawable>, MirrorError> {
        // The first time nobody knows what of the picture before is in this one.
        let area = if self.unread { self.bounds() } else { area.intersect(&self.bounds()) };
        if area.is_empty() {
            return Ok(None);
        }
        let (width, height) = (area.width(), area.height());
        let row = width as usize * 4;
        let len = row * height as usize;
        let mut data =
            blocks::take(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        data.resize(len, 0);
        self.buffer.read_rows(self.layout.places(&area), row, &mut data)?;
        if self.layout.red_first {
            data.as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
        self.unread = false;
        let bitmap = Bitmap {
            format: BitmapFormat::Bit32,
            top_down: true,
            width,
            height,
            stride: width * 4,
            palette: None,
            data: blocks::share(data).into(),
        };
        let kind = ImageKind::Bitmap(bitmap);
        let src = Image { id: self.ids.next_id(), flags: 0, width, height, kind };
        let op = DrawOp::Copy {
            src,
            src_area: Rect::from_size(0, 0, width, height),
            rop: ROP_PUT,
            nearest: false,
            mask: Mask::default(),
            blend: false,
        };
        Ok(Some(Drawable {
            surface_id: 0,
            effect: OPAQUE,
            bbox: area,
            clip: None,
            mm_time: mm_time(),
            self_bitmap_area: None,
            reads: Vec::new(),
            op,
        }))
    }
}

fn open(scanout: &GlScanout, layout: &Layout) -> Result<Buffer, MirrorError> {
    let fd = scanout.descriptors.iter().next().ok_or(MirrorError::Planes(0))?;
    let buffer = Buffer::new(fd)?;
    layout.fits(buffer.len())?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::pipe::SurfaceReader;
    use crate::protocol::gl::Plane;
    use std::os::fd::OwnedFd;

    fn memfd(bytes: &[u8]) -> OwnedFd {
        let fd = rustix::fs::memfd_create("cayenne-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&fd, bytes).unwrap();
        fd
    }

    /// 2x3 pixels from byte 4 on, 12 bytes from row to row.
    fn scanout(fourcc: &[u8; 4], y0_top: bool, bytes: usize) -> GlScanout {
        let memory: Vec<u8> = (0..bytes).map(|n| n.to_le_bytes()[0]).collect();
        GlScanout {
            width: 2,
            height: 3,
            fourcc: u32::from_le_bytes(*fourcc),
            modifier: MODIFIER_INVALID,
            y0_top,
            planes: vec![Plane { offset: 4, stride: 12 }],
            descriptors: Descriptors::new(vec![memfd(&memory)]).unwrap(),
        }
    }

    fn pixels(scanout: &GlScanout, area: Rect) -> Vec<u8> {
        let mut mirror = Mirror::new(scanout).unwrap();
        let drawable = mirror.read(&area).unwrap().unwrap();
        mirror.scene.execute(drawable).unwrap();
        let all = mirror.bounds();
        mirror.scene.read_image(0, &all).unwrap().0.data.to_vec()
    }

    #[test]
    fn rows_colours_and_direction_are_those_of_the_buffer() {
        let bgr =
            [4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23, 28, 29, 30, 31, 32, 33];
        let some = Rect::from_size(0, 0, 1, 1);
        let got = pixels(&scanout(b"XR24", true, 36), some);
        assert_eq!(got[..22], bgr, "the first read is of all");
        let up = pixels(&scanout(b"AR24", false, 36), some);
        assert_eq!((&up[..8], &up[16..20]), (&got[16..24], &got[..4]));
        let rgb = pixels(&scanout(b"XB24", true, 36), some);
        assert_eq!(rgb[..4], [6, 5, 4, 7]);
    }

    #[test]
    fn only_what_changed_is_read_afterwards() {
        let first = scanout(b"XR24", true, 36);
        let mut mirror = Mirror::new(&first).unwrap();
        mirror.read(&Rect::default()).unwrap().unwrap();
        let part = mirror.read(&Rect::from_size(1, 1, 9, 9)).unwrap().unwrap();
        assert_eq!(part.bbox, Rect::from_size(1, 1, 1, 2));
        assert!(mirror.read(&Rect::from_size(2, 0, 1, 1)).unwrap().is_none());
        assert!(mirror.show(&scanout(b"XR24", true, 36)).unwrap());
        let all = mirror.read(&Rect::default()).unwrap().unwrap();
        assert_eq!(all.bbox, mirror.bounds());
        assert!(!mirror.show(&GlScanout { height: 2, ..first }).unwrap());
    }

    #[test]
    fn what_does_not_lie_in_the_buffer_is_refused() {
        assert!(matches!(
            Mirror::new(&scanout(b"XR24", true, 35)),
            Err(MirrorError::Bytes(35, 36))
        ));
        let wide = GlScanout { width: 4, ..scanout(b"XR24", true, 400) };
        assert!(matches!(Mirror::new(&wide), Err(MirrorError::Bytes(400, _))));
        let most = GlScanout { width: u32::MAX, ..scanout(b"XR24", true, 36) };
        assert!(matches!(Mirror::new(&most), Err(MirrorError::Size(..))));
        let tiled = GlScanout { modifier: 1, ..scanout(b"XR24", true, 36) };
        assert!(matches!(Mirror::new(&tiled), Err(MirrorError::Modifier(1))));
        assert!(matches!(Mirror::new(&scanout(b"NV12", true, 36)), Err(MirrorError::Format(_))));
        let none = GlScanout { planes: Vec::new(), ..scanout(b"XR24", true, 36) };
        assert!(matches!(Mirror::new(&none), Err(MirrorError::Planes(0))));
    }

    #[test]
    fn a_buffer_that_is_cut_short_is_an_error() {
        let scanout = scanout(b"XR24", true, 36);
        let mut mirror = Mirror::new(&scanout).unwrap();
        rustix::fs::ftruncate(scanout.descriptors.iter().next().unwrap(), 8).unwrap();
        assert!(matches!(mirror.read(&Rect::default()), Err(MirrorError::Io(_))));
    }
}

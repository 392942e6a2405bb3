//! Composition as of the RENDER extension, through pixman.
//!
//! Everything pixman touches is a private copy, in the format that stock code hands to pixman: bitmaps in that of
//! the destination, surfaces in their own. The box of the destination is copied, composed and written back inside the clip.
#![forbid(unsafe_code)]

use super::convert::Layout;
use super::raster::{Raster, bounds};
use super::target::{Target, pixel_bytes};
use super::{DrawError, SurfaceStore, load};
use crate::protocol::geometry::{Point16, Rect};
use crate::qxl::model::{Composite, SurfaceFormat};
use crate::sys::pixman;

/// Draws on the rectangles, which lie inside the box and the target.
pub(super) fn draw(
    composite: &Composite,
    own: Option<Raster>,
    surfaces: &mut dyn SurfaceStore,
    id: u32,
    bbox: &Rect,
    rects: &[Rect],
) -> Result<(), DrawError> {
    let no_surface = DrawError::NoSurface(id);
    let format = surfaces.surface(id).ok_or(no_surface)?.format();
    let everything = Rect { top: 0, left: 0, bottom: i32::MAX, right: i32::MAX };
    let src = match (&composite.src, own) {
        (Some(src), _) => load(src, surfaces, &everything)?,
        (None, Some(own)) => own,
        (None, None) => return Err(DrawError::NoSource),
    };
    let limits = surfaces.surface(id).map(|s| bounds(s.target())).unwrap_or_default();
    // Beyond the surface nothing can be written, so nothing need be composed there.
    let area = bbox.intersect(&limits);
    let place = |origin: Point16| Place {
        left: i64::from(origin.x) + i64::from(area.left) - i64::from(bbox.left),
        top: i64::from(origin.y) + i64::from(area.top) - i64::from(bbox.top),
        width: area.width(),
        height: area.height(),
    };
    let mut source =
        Operand::source(src, composite, format).prepare(place(composite.src_origin), format)?;
    let mut mask = match &composite.mask {
        Some(mask) => {
            let mask = Operand::mask(load(mask, surfaces, &everything)?, composite, format);
            Some(mask.prepare(place(composite.mask_origin), format)?)
        }
        None => None,
    };
    let dest = surfaces.surface_mut(id).ok_or(no_surface)?;
    let target = dest.target_mut();
    let mut picture = copy_out(target, &area, dest_format(format))?;
    let size = (side(area.width()), side(area.height()));
    let mask = mask.as_mut().map(|(image, at)| (image, *at));
    pixman::composite(composite.operator(), (&mut source.0, source.1), mask, &mut picture, size);
    write_back(target, &picture, &area, rects);
    Ok(())
}

/// What pixman may take the destination's pixels for.
fn dest_format(format: SurfaceFormat) -> pixman::Format {
    match format {
        SurfaceFormat::A1 | SurfaceFormat::A8 => pixman::Format::A8,
        SurfaceFormat::Rgb555 => pixman::Format::X1r5g5b5,
        SurfaceFormat::Rgb565 => pixman::Format::R5g6b5,
        // Stock code does not heed the wish to take the destination for opaque.
        SurfaceFormat::Argb => pixman::Format::A8r8g8b8,
        SurfaceFormat::Xrgb => pixman::Format::X8r8g8b8,
    }
}

fn no_memory(width: u32, height: u32) -> DrawError {
    DrawError::TooLarge(width, height)
}

fn side(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A copy of the destination; single bits become bytes of 0 or 255.
fn copy_out(
    target: &Target,
    area: &Rect,
    format: pixman::Format,
) -> Result<pixman::Image, DrawError> {
    let (width, height) = (area.width(), area.height());
    let mut image = pixman::Image::new(format, width, height).ok_or(no_memory(width, height))?;
    let bytes = pixel_bytes(target.format());
    let mut row = vec![0; usize::try_from(width).unwrap_or(0) * bytes];
    for (n, y) in (area.top.unsigned_abs()..area.bottom.unsigned_abs()).enumerate() {
        target.read_row(y, area.left.unsigned_abs(), &mut row);
        if target.format() == SurfaceFormat::A1 {
            row.iter_mut().for_each(|p| *p = if *p & 1 == 0 { 0 } else { 0xff });
        }
        image.set_row(n, &row);
    }
    Ok(image)
}

fn write_back(target: &mut Target, image: &pixman::Image, area: &Rect, rects: &[Rect]) {
    let bytes = pixel_bytes(target.format());
    let mut row = vec![0; usize::try_from(area.width()).unwrap_or(0) * bytes];
    let single_bits = target.format() == SurfaceFormat::A1;
    for (n, y) in (area.top..area.bottom).enumerate() {
        let mut fetched = false;
        for rect in rects.iter().filter(|r| (r.top..r.bottom).contains(&y)) {
            if !fetched {
                image.get_row(n, &mut row);
                if single_bits {
                    row.iter_mut().for_each(|p| *p >>= 7);
                }
                fetched = true;
            }
            let at = |x: i32| usize::try_from(x - area.left).unwrap_or(0) * bytes;
            let piece = row.get(at(rect.left)..at(rect.right)).unwrap_or_default();
            target.write_row(y.unsigned_abs(), rect.left.unsigned_abs(), piece);
        }
    }
}

/// The part of an image's plane that meets the destination if nothing is transformed.
struct Place {
    left: i64,
    top: i64,
    width: u32,
    height: u32,
}

/// An image with what is to be done to it.
struct Operand<'a> {
    raster: Raster<'a>,
    opaque: bool,
    filter: u8,
    repeat: u8,
    transform: Option<&'a pixman::Transform>,
    component_alpha: bool,
}

impl<'a> Operand<'a> {
    fn source(raster: Raster<'a>, composite: &'a Composite, dest: SurfaceFormat) -> Self {
        let taken_for_xrgb = raster.is_surface() && raster.layout() == Layout::Argb;
        let opaque = raster.is_opaque_on(dest) || taken_for_xrgb && composite.source_opaque();
        Self {
            raster,
            opaque,
            filter: composite.src_filter(),
            repeat: composite.src_repeat(),
            transform: composite.src_transform.as_ref(),
            component_alpha: false,
        }
    }

    fn mask(raster: Raster<'a>, composite: &'a Composite, dest: SurfaceFormat) -> Self {
        Self {
            opaque: raster.is_opaque_on(dest),
            raster,
            filter: composite.mask_filter(),
            repeat: composite.mask_repeat(),
            transform: composite.mask_transform.as_ref(),
            component_alpha: composite.component_alpha(),
        }
    }

    /// Narrow pixels that pixman takes as they are: it computes with their own depth where it uses floating point.
    fn own_format(&self, dest: SurfaceFormat) -> Option<SurfaceFormat> {
        let narrow = match self.raster.layout() {
            _ if !self.raster.is_surface() => dest,
            Layout::Rgb555 => SurfaceFormat::Rgb555,
            Layout::Rgb565 => SurfaceFormat::Rgb565,
            Layout::A8 | Layout::A1 => return Some(SurfaceFormat::A8),
            _ => return None,
        };
        matches!(narrow, SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565).then_some(narrow)
    }

    fn format(&self, dest: SurfaceFormat) -> pixman::Format {
        match self.own_format(dest) {
            Some(SurfaceFormat::Rgb555) => pixman::Format::X1r5g5b5,
            Some(SurfaceFormat::Rgb565) => pixman::Format::R5g6b5,
            Some(_) => pixman::Format::A8,
            None if self.opaque => pixman::Format::X8r8g8b8,
            None => pixman::Format::A8r8g8b8,
        }
    }

    /// The image as pixman takes it, and the corner of the part that is used.
    fn prepare(
        &self,
        place: Place,
        dest: SurfaceFormat,
    ) -> Result<(pixman::Image, (i32, i32)), DrawError> {
        let (width, height) = (self.raster.width(), self.raster.height());
        let whole = Rect::from_size(0, 0, width, height);
        let left = i32::try_from(place.left).ok().filter(|v| *v >= 0);
        let top = i32::try_from(place.top).ok().filter(|v| *v >= 0);
        // Where pixels lie on pixels inside the image, only those are wanted.
        let part = match (left, top, self.transform) {
            (Some(left), Some(top), None) => {
                Some(Rect::from_size(left, top, place.width, place.height))
            }
            _ => None,
        };
        let part = part.filter(|part| whole.contains(part));
        let (part, corner) = match part {
            Some(part) => (part, (0, 0)),
            None => {
                let fit = |v: i64| i32::try_from(v).map_err(|_| no_memory(width, height));
                (whole, (fit(place.left)?, fit(place.top)?))
            }
        };
        let (width, height) = (part.width(), part.height());
        let image = pixman::Image::new(self.format(dest), width, height);
        let mut image = image.ok_or(no_memory(width, height))?;
        let x = part.left.unsigned_abs();
        let own = self.own_format(dest);
        let mut raw = Vec::new();
        if let Some(own) = own {
            raw.resize(usize::try_from(width).unwrap_or(0) * pixel_bytes(own), 0);
        }
        for (n, y) in (part.top.unsigned_abs()..part.bottom.unsigned_abs()).enumerate() {
            match own {
                Some(own) => {
                    self.raster.fetch(x, y, own, &mut raw);
                    image.set_row(n, &raw);
                }
                None => self.raster.fetch_operand(x, y, dest, image.row_mut(n)),
            }
        }
        image.set_filter(self.filter);
        image.set_repeat(self.repeat);
        if let Some(transform) = self.transform {
            image.set_transform(transform);
        }
        if self.component_alpha {
            image.set_component_alpha();
        }
        Ok((image, corner))
    }
}

//! An image that an operation reads: a bitmap of the command, or a private copy of a surface's pixels.
//!
//! Surfaces are copied before they are used, so that a source may be the destination itself and the
//! borrow of the store ends before drawing begins.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::DrawError;
use super::convert::{self, Colors, Layout};
use super::target::{Target, pixel_bytes};
use crate::protocol::geometry::Rect;
use crate::qxl::model::{Bitmap, SurfaceFormat};

/// Bit of an image's flags: it may stay in caches.
const FLAG_CACHE: u8 = 1;
/// Bit of an image's flags: set the high byte of every pixel of 32 bits.
pub const FLAG_HIGH_BITS_SET: u8 = 2;

/// Pixels with a layout, readable by rows.
pub(super) struct Raster<'a> {
    layout: Layout,
    /// Size of the whole image, at least 1 by 1.
    width: u32,
    height: u32,
    /// Part of the image that `data` has; all of it for bitmaps.
    window: Rect,
    stride: usize,
    top_down: bool,
    /// True if the high byte of every pixel counts as 255, as far as that is not alpha already.
    high: bool,
    colors: Option<Box<Colors>>,
    /// True if colours of a palette have an alpha where the surface has one: stock code loads an image that may stay
    /// in a cache like that (observed), any other as xRGB.
    alpha_colors: bool,
    data: Cow<'a, [u8]>,
}

const BLACK: Colors = [0; 256];

impl<'a> Raster<'a> {
    /// A bitmap; `flags` are those of its image.
    pub(super) fn of_bitmap(bitmap: &'a Bitmap, flags: u8) -> Result<Self, DrawError> {
        let layout = Layout::of_bitmap(bitmap.format);
        let (Ok(width), Ok(height)) = (i32::try_from(bitmap.width), i32::try_from(bitmap.height))
        else {
            return Err(DrawError::TooLarge(bitmap.width, bitmap.height));
        };
        if width == 0 || height == 0 {
            return Err(DrawError::EmptyImage);
        }
        let colors = layout.is_indexed().then(|| {
            let mut colors = Box::new(BLACK);
            let entries = bitmap.palette.as_ref().map_or(&[][..], |p| &p.entries);
            for (color, entry) in colors.iter_mut().zip(entries) {
                *color = *entry;
            }
            colors
        });
        Ok(Self {
            layout,
            width: bitmap.width,
            height: bitmap.height,
            window: Rect { top: 0, left: 0, bottom: height, right: width },
            stride: usize::try_from(bitmap.stride).unwrap_or(usize::MAX),
            top_down: bitmap.top_down,
            high: flags & FLAG_HIGH_BITS_SET != 0,
            colors,
            alpha_colors: flags & FLAG_CACHE != 0,
            data: Cow::Borrowed(&bitmap.data),
        })
    }

    /// A copy of a part of a surface. The image is the whole surface, the rest of it reads as 0.
    pub(super) fn of_surface(target: &Target, part: &Rect) -> Result<Self, DrawError> {
        let window = part.intersect(&bounds(target));
        let bytes = pixel_bytes(target.format());
        let too_large = DrawError::TooLarge(window.width(), window.height());
        let stride = usize::try_from(window.width()).unwrap_or(usize::MAX).saturating_mul(bytes);
        let rows = usize::try_from(window.height()).unwrap_or(usize::MAX);
        let mut data = Vec::new();
        if !window.is_empty() {
            let len = stride.checked_mul(rows).ok_or(too_large)?;
            data.try_reserve_exact(len).map_err(|_| DrawError::NoMemory(len))?;
            data.resize(len, 0);
            let ys = window.top.unsigned_abs()..window.bottom.unsigned_abs();
            for (row, y) in data.chunks_exact_mut(stride).zip(ys) {
                target.read_row(y, window.left.unsigned_abs(), row);
            }
        }
        Ok(Self {
            layout: Layout::of_surface(target.format()),
            width: target.width(),
            height: target.height(),
            window,
            stride,
            top_down: true,
            high: false,
            colors: None,
            alpha_colors: false,
            data: Cow::Owned(data),
        })
    }

    /// The same pixels as an image of their own: the copied part alone, its corner at (0, 0).
    pub(super) fn cropped(mut self) -> Result<Self, DrawError> {
        if self.window.is_empty() {
            return Err(DrawError::EmptyImage);
        }
        self.width = self.window.width();
        self.height = self.window.height();
        self.window = Rect::from_size(0, 0, self.width, self.height);
        Ok(self)
    }

    /// The pixels as they are meant on a surface of this format when no pixel is computed anew: 16 bits of
    /// one surface are copied to the 16 bits of another as they are, whatever the colours become.
    pub(super) fn unscaled_on(mut self, format: SurfaceFormat) -> Self {
        if self.is_surface() && self.layout.bits() == 16 && pixel_bytes(format) == 2 {
            self.layout = Layout::of_surface(format);
        }
        self
    }

    pub(super) fn width(&self) -> u32 {
        self.width
    }

    pub(super) fn height(&self) -> u32 {
        self.height
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// True if the pixels come from a surface.
    pub(super) fn is_surface(&self) -> bool {
        matches!(self.data, Cow::Owned(_))
    }

    /// True if stock code loads the image for such a surface as xRGB, whose unused high bytes the flag may set. The
    /// flag has no effect on other images; the alpha of 8 bits becomes such a high byte.
    pub(super) fn loads_without_alpha(&self, to: SurfaceFormat) -> bool {
        let xrgb = match self.layout {
            Layout::Xrgb | Layout::Rgb24 => true,
            Layout::A8 => !self.alpha_colors,
            layout if layout.is_indexed() => to == SurfaceFormat::Xrgb || !self.alpha_colors,
            _ => false,
        };
        xrgb && !self.is_surface() && matches!(to, SurfaceFormat::Xrgb | SurfaceFormat::Argb)
    }

    /// Bytes of row `y` of the window, which must hold it; empty if it does not.
    fn bytes(&self, y: u32) -> &[u8] {
        let Some(y) = y.checked_sub(self.window.top.unsigned_abs()) else { return &[] };
        let rows = self.window.height();
        if y >= rows {
            return &[];
        }
        let y = if self.top_down { y } else { rows - 1 - y };
        let start = usize::try_from(y).ok().and_then(|y| y.checked_mul(self.stride));
        let Some(start) = start.filter(|s| *s <= self.data.len()) else { return &[] };
        let rest = &self.data[start..];
        &rest[..rest.len().min(self.stride)]
    }

    /// Column inside the window's rows.
    fn column(&self, x: u32) -> Option<usize> {
        usize::try_from(x.checked_sub(self.window.left.unsigned_abs())?).ok()
    }

    /// The pixels themselves, if they are already raw pixels of a surface of this format.
    pub(super) fn direct(&self, x: u32, y: u32, n: usize, to: SurfaceFormat) -> Option<&[u8]> {
        if !self.layout.is_raw(to) || self.high && self.loads_without_alpha(to) {
            return None;
        }
        let bytes = pixel_bytes(to);
        let at = self.column(x)?.checked_mul(bytes)?;
        self.bytes(y).get(at..at.checked_add(n.checked_mul(bytes)?)?)
    }

    /// As [`Raster::direct`] for `rows` rows from `y` on: the n-th of them, if it is there.
    pub(super) fn direct_rows<'s>(
        &'s self,
        (x, y): (u32, u32),
        n: usize,
        rows: u32,
        to: SurfaceFormat,
    ) -> Option<impl Fn(u32) -> Option<&'s [u8]>> {
        if self.high || !self.layout.is_raw(to) {
            return None;
        }
        let bytes = pixel_bytes(to);
        let len = n.checked_mul(bytes)?;
        let at = self.column(x)?.checked_mul(bytes)?;
        let first = y.checked_sub(self.window.top.unsigned_abs())?;
        let (all, stride) = (self.window.height(), self.stride);
        if at.checked_add(len)? > stride || first.checked_add(rows)? > all {
            return None;
        }
        Some(move |n: u32| {
            let row = if self.top_down { first + n } else { all - 1 - (first + n) };
            let start = usize::try_from(row).ok()?.checked_mul(stride)?.checked_add(at)?;
            self.data.get(start..start.checked_add(len)?)
        })
    }

    /// Puts pixels of row `y` from column `x` on into `out`, converted to a surface's raw pixels.
    /// What lies outside of the window reads as 0.
    pub(super) fn fetch(&self, x: u32, y: u32, to: SurfaceFormat, out: &mut [u8]) {
        self.fetch_colors(x, y, to, out);
        if self.high && self.loads_without_alpha(to) {
            out.as_chunks_mut::<4>().0.iter_mut().for_each(|p| p[3] = 0xff);
        }
    }

    /// The same without the byte that the image's flag sets.
    pub(super) fn fetch_colors(&self, x: u32, y: u32, to: SurfaceFormat, out: &mut [u8]) {
        let Some(column) = self.column(x) else { return out.fill(0) };
        let row = self.bytes(y);
        if row.is_empty() {
            return out.fill(0);
        }
        convert::convert(
            self.layout,
            self.colors.as_deref().unwrap_or(&BLACK),
            row,
            column,
            to,
            out,
        );
    }

    /// Puts pixels into `out` as a8r8g8b8 without passing them through another format; not for indexed images.
    pub(super) fn fetch_wide(&self, x: u32, y: u32, out: &mut [u32]) {
        match self.column(x) {
            Some(column) => convert::widen(self.layout, self.bytes(y), column, out),
            None => out.fill(0),
        }
    }

    /// True if compositions on such a surface take the image for one without alpha. A surface has its own format;
    /// a bitmap takes the destination's first, as far as that has colours, and with it loses what that lacks.
    pub(super) fn is_opaque_on(&self, dest: SurfaceFormat) -> bool {
        match dest {
            _ if self.is_surface() => self.layout.is_opaque(),
            SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565 => true,
            SurfaceFormat::Xrgb | SurfaceFormat::Argb => {
                self.layout != Layout::Argb
                    && (!self.layout.is_indexed() || self.loads_without_alpha(dest))
            }
            SurfaceFormat::A8 | SurfaceFormat::A1 if self.layout.is_indexed() => false,
            SurfaceFormat::A1 if self.layout == Layout::A8 => true,
            SurfaceFormat::A8 | SurfaceFormat::A1 => self.layout.is_opaque(),
        }
    }

    /// Pixels as compositions on such a surface take them, a8r8g8b8.
    pub(super) fn fetch_operand(&self, x: u32, y: u32, dest: SurfaceFormat, out: &mut [u32]) {
        let alpha_only = matches!(dest, SurfaceFormat::A8 | SurfaceFormat::A1);
        if self.is_surface() || alpha_only && !self.layout.is_indexed() {
            self.fetch_wide(x, y, out);
        } else {
            let mut raw = vec![0; out.len() * pixel_bytes(dest)];
            self.fetch(x, y, dest, &mut raw);
            convert::widen(Layout::of_surface(dest), &raw, 0, out);
        }
        if self.is_opaque_on(dest) {
            out.iter_mut().for_each(|p| *p |= 0xff00_0000);
        }
    }

    /// Puts bits of row `y` from column `x` on into `out`, one byte each.
    /// False if this is no image of single bits.
    pub(super) fn fetch_bits(&self, x: u32, y: u32, out: &mut [u8]) -> bool {
        let row = self.bytes(y);
        let Some(column) = self.column(x) else { return false };
        let byte = |at: usize| row.get(at).copied().unwrap_or(0);
        let columns = column..column + out.len();
        match self.layout {
            Layout::Bit1Le => {
                out.iter_mut().zip(columns).for_each(|(b, x)| *b = byte(x / 8) >> (x % 8) & 1);
            }
            Layout::Bit1Be => {
                out.iter_mut().zip(columns).for_each(|(b, x)| *b = byte(x / 8) >> (7 - x % 8) & 1);
            }
            Layout::A1 => out.iter_mut().zip(columns).for_each(|(b, x)| *b = byte(x) & 1),
            _ => return false,
        }
        true
    }
}

/// The whole surface as a rectangle; its sizes fit `i32` by the target's construction.
pub(super) fn bounds(target: &Target) -> Rect {
    Rect::from_size(0, 0, target.width(), target.height())
}

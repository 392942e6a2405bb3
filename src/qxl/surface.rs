//! Shape of a surface in guest memory, checked the same way for primaries and surface commands.
#![forbid(unsafe_code)]

use super::model::SurfaceFormat;

/// Most bytes a surface may have.
const MAX_BYTES: u64 = 0x7fff_ffff;

/// Why a surface cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Not one of `SPICE_SURFACE_FMT_*`.
    #[error("surface format {0}")]
    Format(u32),
    /// A side is 0 or beyond what a rectangle can name.
    #[error("surface of {width}x{height}")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Rows overlap, or are not made of 32-bit words.
    #[error("surface stride {stride}, rows of {row} bytes")]
    Stride {
        /// Bytes from row to row.
        stride: i32,
        /// Bytes that a row needs.
        row: u64,
    },
    /// Too large.
    #[error("surface of {0} bytes, at most {MAX_BYTES}")]
    Bytes(u64),
}

/// The shape of a surface: sides at least 1, rows that do not overlap, at most 0x7fffffff bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfaceGeometry {
    format: SurfaceFormat,
    width: u32,
    height: u32,
    stride: i32,
}

impl SurfaceGeometry {
    /// Checks what a guest or a host gave.
    ///
    /// # Errors
    /// [`GeometryError`].
    pub fn check(format: u32, width: u32, height: u32, stride: i32) -> Result<Self, GeometryError> {
        let format = SurfaceFormat::from_u32(format).ok_or(GeometryError::Format(format))?;
        let side = |n: u32| n >= 1 && i32::try_from(n).is_ok();
        if !side(width) || !side(height) {
            return Err(GeometryError::Size { width, height });
        }
        let row = (u64::from(width) * u64::from(format.bits())).div_ceil(8);
        let step = u64::from(stride.unsigned_abs());
        // i32::MIN, whose absolute value is no i32, falls to the limit of bytes in any case; it is
        // named here because the rule names it. QEMU demands whole words of its guests.
        if step < row || stride == i32::MIN || !step.is_multiple_of(4) {
            return Err(GeometryError::Stride { stride, row });
        }
        let bytes = step * u64::from(height);
        if bytes > MAX_BYTES {
            return Err(GeometryError::Bytes(bytes));
        }
        Ok(Self { format, width, height, stride })
    }

    /// Layout of a pixel.
    #[must_use]
    pub fn format(&self) -> SurfaceFormat {
        self.format
    }

    /// Width in pixels, 1..=0x7fffffff.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, 1..=0x7fffffff.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes from row to row, a multiple of 4. Negative: the memory begins with the bottom row.
    #[must_use]
    pub fn stride(&self) -> i32 {
        self.stride
    }

    /// Bytes of the whole surface, 4..=0x7fffffff.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        // No overflow: `check` saw that the product fits.
        self.stride.unsigned_abs() * self.height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: u32, width: u32, height: u32, stride: i32) -> Result<u32, GeometryError> {
        SurfaceGeometry::check(format, width, height, stride).map(|geometry| geometry.bytes())
    }

    #[test]
    fn legal_surfaces_of_every_format_are_taken() {
        for (format, width, stride) in
            [(1, 33, 8), (8, 5, 8), (16, 3, 8), (80, 3, 8), (32, 640, 2560), (96, 640, 2560)]
        {
            assert_eq!(check(format, width, 3, stride), Ok(stride.unsigned_abs() * 3));
            assert_eq!(check(format, width, 3, -stride), Ok(stride.unsigned_abs() * 3));
        }
        assert_eq!(check(32, 640, 1, 4096), Ok(4096));
    }

    #[test]
    fn formats_outside_the_table_are_refused() {
        for format in [0, 2, 24, 33, 97, u32::MAX] {
            assert_eq!(check(format, 4, 4, 16), Err(GeometryError::Format(format)));
        }
    }

    #[test]
    fn sides_are_at_least_one() {
        assert_eq!(check(32, 0, 4, 16), Err(GeometryError::Size { width: 0, height: 4 }));
        assert_eq!(check(32, 4, 0, 16), Err(GeometryError::Size { width: 4, height: 0 }));
        let wide = 0x8000_0000;
        assert_eq!(
            check(1, wide, 1, i32::MAX),
            Err(GeometryError::Size { width: wide, height: 1 })
        );
    }

    #[test]
    fn rows_must_not_overlap() {
        assert_eq!(check(32, 640, 4, 2556), Err(GeometryError::Stride { stride: 2556, row: 2560 }));
        assert_eq!(check(32, 640, 4, -4), Err(GeometryError::Stride { stride: -4, row: 2560 }));
        assert_eq!(check(32, 1, 1, 0), Err(GeometryError::Stride { stride: 0, row: 4 }));
        // 32 bits more than 2^32 would wrap in narrow arithmetic.
        let row = 0x4000_0001 * 4;
        assert_eq!(check(32, 0x4000_0001, 1, 4), Err(GeometryError::Stride { stride: 4, row }));
    }

    #[test]
    fn strides_are_words_and_never_the_smallest_number() {
        assert_eq!(check(8, 5, 1, 5), Err(GeometryError::Stride { stride: 5, row: 5 }));
        assert_eq!(
            check(32, 1, 1, i32::MIN),
            Err(GeometryError::Stride { stride: i32::MIN, row: 4 })
        );
    }

    #[test]
    fn bytes_end_at_the_limit() {
        assert_eq!(check(32, 1, 1, 0x7fff_fffc), Ok(0x7fff_fffc));
        assert_eq!(check(32, 1, 0x1fff_ffff, 4), Ok(0x7fff_fffc));
        assert_eq!(check(32, 1, 0x2000_0000, 4), Err(GeometryError::Bytes(0x8000_0000)));
        assert_eq!(
            check(32, 1, 0x7fff_ffff, -0x7fff_fffc),
            Err(GeometryError::Bytes(0x7fff_ffff * 0x7fff_fffc))
        );
    }
}

//! A picture as encoders see it.

/// Pixels in rows of equal distance. Rows may be padded, and the first one may be the bottom one.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [u8],
    width: u32,
    height: u32,
    /// Bytes from row to row, at least `row_bytes`.
    stride: usize,
    /// Bytes of a row that hold pixels. `stride * (height - 1) + row_bytes` lie in `data`.
    row_bytes: usize,
    top_down: bool,
}

/// Why bytes are no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// No pixel.
    #[error("picture of {0}x{1}")]
    Empty(u32, u32),
    /// Rows would overlap.
    #[error("stride of {stride} bytes, rows of {row}")]
    Stride {
        /// Bytes from row to row.
        stride: usize,
        /// Bytes of a row.
        row: usize,
    },
    /// The last row does not lie in the bytes.
    #[error("{have} bytes, need {need}")]
    Short {
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed; `usize::MAX` if no memory could hold them.
        need: usize,
    },
}

impl<'a> Rows<'a> {
    /// `height` rows of `width` pixels of `bits` bits, `stride` bytes apart.
    /// `top_down`: the first row is the top one.
    ///
    /// # Errors
    /// [`RowsError`] unless all of it lies in `data`.
    pub fn new(
        data: &'a [u8],
        width: u32,
        height: u32,
        bits: u32,
        stride: usize,
        top_down: bool,
    ) -> Result<Self, RowsError> {
        if width == 0 || height == 0 {
            return Err(RowsError::Empty(width, height));
        }
        let row_bytes = (u64::from(width) * u64::from(bits)).div_ceil(8);
        let row_bytes = usize::try_from(row_bytes).unwrap_or(usize::MAX);
        if stride < row_bytes {
            return Err(RowsError::Stride { stride, row: row_bytes });
        }
        let need = usize::try_from(height - 1)
            .ok()
            .and_then(|rows| stride.checked_mul(rows)?.checked_add(row_bytes))
            .unwrap_or(usize::MAX);
        if data.len() < need {
            return Err(RowsError::Short { have: data.len(), need });
        }
        Ok(Self { data, width, height, stride, row_bytes, top_down })
    }

    /// Width in pixels, at least 1.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of a row without padding.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// True if the first row in memory is the top one.
    #[must_use]
    pub fn top_down(&self) -> bool {
        self.top_down
    }

    /// Rows as they are seen, the top one first, without their padding.
    pub fn from_top(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (rows, last) = (*self, self.height - 1);
        (0..self.height).map(move |y| rows.row(if rows.top_down { y } else { last - y }))
    }

    /// All rows as they lie in memory, if there is no padding between them.
    #[must_use]
    pub fn packed(&self) -> Option<&'a [u8]> {
        let bytes = self.row_bytes.checked_mul(self.height as usize)?;
        self.data.get(..bytes).filter(|_| self.stride == self.row_bytes)
    }

    /// Rows as they lie in memory, without their padding.
    pub fn in_memory(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let rows = *self;
        (0..self.height).map(move |y| rows.row(y))
    }

    /// All rows, if none is padded.
    #[must_use]
    pub fn tight(&self) -> Option<&'a [u8]> {
        if self.stride == self.row_bytes {
            Some(&self.data[..self.stride * self.height as usize])
        } else {
            None
        }
    }

    fn row(&self, y: u32) -> &'a [u8] {
        // Below the height, for which `new` checked that this is no overflow.
        let start = y as usize * self.stride;
        &self.data[start..start + self.row_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_needs_no_padding() {
        let data = [1, 2, 9, 3, 4];
        let rows = Rows::new(&data, 2, 2, 8, 3, true).unwrap();
        assert_eq!(rows.from_top().collect::<Vec<_>>(), [[1, 2], [3, 4]]);
        let rows = Rows::new(&data, 2, 2, 8, 3, false).unwrap();
        assert_eq!(rows.from_top().collect::<Vec<_>>(), [[3, 4], [1, 2]]);
        assert_eq!(rows.in_memory().collect::<Vec<_>>(), [[1, 2], [3, 4]]);
    }

    #[test]
    fn a_picture_that_does_not_fit_is_refused() {
        let data = [0; 8];
        let new = |w, h, bits, stride| Rows::new(&data, w, h, bits, stride, true).map(|_| ());
        assert_eq!(new(0, 1, 8, 8), Err(RowsError::Empty(0, 1)));
        assert_eq!(new(1, 0, 8, 8), Err(RowsError::Empty(1, 0)));
        assert_eq!(new(9, 1, 1, 1), Err(RowsError::Stride { stride: 1, row: 2 }));
        assert_eq!(new(3, 3, 8, 3), Err(RowsError::Short { have: 8, need: 9 }));
        assert_eq!(
            new(1, u32::MAX, 8, usize::MAX / 2),
            Err(RowsError::Short { have: 8, need: usize::MAX })
        );
        assert_eq!(new(4, 2, 8, 4), Ok(()));
    }
}

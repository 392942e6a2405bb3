//! Little-endian reading and writing of message bodies, with every bound checked.

use super::geometry::{Point, Rect};

/// A message, or a block of guest memory copied to private memory, that is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{have} bytes left, need {need}")]
pub struct TooShort {
    /// Bytes that the field needs.
    pub need: usize,
    /// Bytes that were left.
    pub have: usize,
}

/// Reads fields one after another from private bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`TooShort`] if fewer are left; nothing is consumed then.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], TooShort> {
        let Some((head, tail)) = self.rest.split_at_checked(n) else {
            return Err(TooShort { need: n, have: self.rest.len() });
        };
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`TooShort`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], TooShort> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(TooShort { need: N, have: self.rest.len() });
        };
        self.rest = tail;
        Ok(*head)
    }

    /// A rectangle in wire order: top, left, bottom, right.
    ///
    /// # Errors
    /// [`TooShort`] if fewer than 16 bytes are left.
    pub fn rect(&mut self) -> Result<Rect, TooShort> {
        Ok(Rect { top: self.i32()?, left: self.i32()?, bottom: self.i32()?, right: self.i32()? })
    }

    /// A point: x, y.
    ///
    /// # Errors
    /// [`TooShort`] if fewer than 8 bytes are left.
    pub fn point(&mut self) -> Result<Point, TooShort> {
        Ok(Point { x: self.i32()?, y: self.i32()? })
    }
}

macro_rules! numbers {
    ($($name:ident: $t:ty, $put:ident;)*) => {
        impl Reader<'_> {
            $(
                #[doc = concat!("The next little-endian `", stringify!($t), "`.")]
                ///
                /// # Errors
                /// [`TooShort`] if the bytes end before it.
                pub fn $name(&mut self) -> Result<$t, TooShort> {
                    Ok(<$t>::from_le_bytes(self.array()?))
                }
            )*
        }

        /// Appends little-endian fields to a message body.
        pub trait WireWrite {
            /// The bytes to append to.
            fn buffer(&mut self) -> &mut Vec<u8>;

            $(
                #[doc = concat!("Appends a little-endian `", stringify!($t), "`.")]
                fn $put(&mut self, value: $t) -> &mut Self {
                    self.buffer().extend_from_slice(&value.to_le_bytes());
                    self
                }
            )*

            /// Appends raw bytes.
            fn put_bytes(&mut self, bytes: &[u8]) -> &mut Self {
                self.buffer().extend_from_slice(bytes);
                self
            }

            /// Appends a rectangle in wire order: top, left, bottom, right.
            fn put_rect(&mut self, r: &Rect) -> &mut Self {
                self.put_i32(r.top).put_i32(r.left).put_i32(r.bottom).put_i32(r.right)
            }

            /// Appends a point: x, y.
            fn put_point(&mut self, p: Point) -> &mut Self {
                self.put_i32(p.x).put_i32(p.y)
            }
        }
    };
}

numbers! {
    u8: u8, put_u8;
    u16: u16, put_u16;
    u32: u32, put_u32;
    u64: u64, put_u64;
    i16: i16, put_i16;
    i32: i32, put_i32;
    i64: i64, put_i64;
}

impl WireWrite for Vec<u8> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self
    }
}

//! Points and rectangles as QXL and SPICE have them: signed, right and bottom exclusive.

/// A rectangle in pixels; fields stand in wire order. `right` and `bottom` are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rect {
    /// First row.
    pub top: i32,
    /// First column.
    pub left: i32,
    /// Row after the last one.
    pub bottom: i32,
    /// Column after the last one.
    pub right: i32,
}

impl Rect {
    /// A rectangle from its left upper corner and its size; saturates at the edge of `i32`.
    #[must_use]
    pub fn from_size(x: i32, y: i32, width: u32, height: u32) -> Self {
        Self {
            top: y,
            left: x,
            bottom: y.saturating_add_unsigned(height),
            right: x.saturating_add_unsigned(width),
        }
    }

    /// True if no pixel lies inside, also for inverted rectangles.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    /// Width in pixels, 0 if empty or inverted.
    #[must_use]
    pub fn width(&self) -> u32 {
        if self.right > self.left { self.right.abs_diff(self.left) } else { 0 }
    }

    /// Height in pixels, 0 if empty or inverted.
    #[must_use]
    pub fn height(&self) -> u32 {
        if self.bottom > self.top { self.bottom.abs_diff(self.top) } else { 0 }
    }

    /// Pixels inside; 0 if empty.
    #[must_use]
    pub fn area(&self) -> u64 {
        u64::from(self.width()) * u64::from(self.height())
    }

    /// The common part; may be empty.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.min(other.bottom),
            right: self.right.min(other.right),
        }
    }

    /// The smallest rectangle that holds both; an empty one adds nothing.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        Self {
            top: self.top.min(other.top),
            left: self.left.min(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }

    /// True if every pixel of `other` lies inside.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.is_empty()
            || (self.left <= other.left
                && self.top <= other.top
                && self.right >= other.right
                && self.bottom >= other.bottom)
    }

    /// Moved by a distance; `None` if a coordinate leaves the range of `i32`.
    #[must_use]
    pub fn translate(&self, dx: i32, dy: i32) -> Option<Self> {
        Some(Self {
            top: self.top.checked_add(dy)?,
            left: self.left.checked_add(dx)?,
            bottom: self.bottom.checked_add(dy)?,
            right: self.right.checked_add(dx)?,
        })
    }
}

/// A point in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Point {
    /// Column.
    pub x: i32,
    /// Row.
    pub y: i32,
}

/// A point of the cursor channel: 16 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Point16 {
    /// Column.
    pub x: i16,
    /// Row.
    pub y: i16,
}

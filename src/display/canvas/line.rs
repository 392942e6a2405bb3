//! Lines of a stroke as spans of pixels.
//!
//! Solid lines are those of width 0 in X11: the last pixel of a line is left to the next one, and where a line
//! is cut off its other pixels stay where they are. So a pixel's place is computed, not walked to, and only
//! pixels that can be seen cost time, however far away a guest lets its lines begin.
//!
//! Dashed lines have lengths along the true line and cover whole pixels between their ends, which is exact for
//! lines along an axis. Others are drawn here with the pixels of the solid line; clients get every dashed
//! stroke as pixels.
#![forbid(unsafe_code)]

use crate::protocol::geometry::Rect;

/// A pixel, or a distance in pixels, far inside `i64`.
pub(super) type Pixel = (i64, i64);

/// Lengths of dashes and gaps in turn, beginning with a dash; a list of an odd number ends and begins anew with one.
pub(super) struct Dashes {
    lengths: Vec<u32>,
    total: u64,
    /// Where a polyline begins in the list.
    start: u64,
}

impl Dashes {
    /// Lengths in 28.4 of which 8 bits of whole pixels count; `None` if that leaves nothing.
    pub(super) fn new(style: &[i32], start_with_gap: bool) -> Option<Self> {
        let mut lengths: Vec<u32> =
            style.iter().map(|v| u32::from(super::stroke::round(*v).to_le_bytes()[0])).collect();
        let mut start = 0;
        if start_with_gap && !lengths.is_empty() {
            lengths.rotate_left(1);
            start = u64::from(lengths[0]);
        }
        let total: u64 = lengths.iter().map(|n| u64::from(*n)).sum();
        (total > 0).then_some(Self { lengths, total, start })
    }

    /// Phase at the beginning of a polyline, in 256ths of a pixel.
    pub(super) fn phase(&self) -> u64 {
        self.start << 8
    }

    /// Whether a place along the line lies in a dash.
    fn is_on(&self, at: u64) -> bool {
        let mut rest = at % self.total;
        for (n, length) in self.lengths.iter().enumerate() {
            let length = u64::from(*length);
            if rest < length {
                return n % 2 == 0;
            }
            rest -= length;
        }
        false
    }
}

/// A line from one pixel to another.
struct Line {
    from: Pixel,
    /// Steps along the longer axis.
    steps: i64,
    minor: i64,
    x_major: bool,
    forward: bool,
    minor_forward: bool,
}

impl Line {
    fn new(from: Pixel, to: Pixel) -> Self {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let x_major = dx.abs() > dy.abs();
        let (major, minor) = if x_major { (dx, dy) } else { (dy, dx) };
        Self {
            from,
            steps: major.abs(),
            minor: minor.abs(),
            x_major,
            forward: major >= 0,
            minor_forward: minor >= 0,
        }
    }

    /// Steps across after `k` steps along: how often the error term reached 0.
    fn across(&self, k: i64) -> i64 {
        let start = -self.steps - i64::from(!self.forward);
        (start + 2 * self.minor * k).div_euclid(2 * self.steps) + 1
    }

    /// Pixel number `k`.
    fn pixel(&self, k: i64) -> Pixel {
        let along = if self.forward { k } else { -k };
        let across = self.across(k);
        let across = if self.minor_forward { across } else { -across };
        let (x, y) = if self.x_major { (along, across) } else { (across, along) };
        (self.from.0 + x, self.from.1 + y)
    }

    /// Steps whose pixels have a coordinate along the line inside `low..high`.
    fn seen(&self, seen: &Rect) -> (i64, i64) {
        let (from, low, high) = if self.x_major {
            (self.from.0, i64::from(seen.left), i64::from(seen.right))
        } else {
            (self.from.1, i64::from(seen.top), i64::from(seen.bottom))
        };
        let (first, end) = if self.forward {
            (low - from, high - from)
        } else {
            (from - high + 1, from - low + 1)
        };
        (first.max(0), end.min(self.steps))
    }
}

/// Pixels that are looked at to draw a line.
pub(super) fn steps_seen(from: Pixel, to: Pixel, seen: &Rect) -> u64 {
    let (first, end) = Line::new(from, to).seen(seen);
    end.saturating_sub(first).max(0).unsigned_abs()
}

/// Adds the spans of a solid line that may be seen in `seen`; the last pixel is not part of it.
pub(super) fn solid(from: Pixel, to: Pixel, seen: &Rect, spans: &mut Vec<Rect>) {
    let line = Line::new(from, to);
    if line.steps == 0 {
        return;
    }
    let (first, end) = line.seen(seen);
    for k in first..end {
        push(line.pixel(k), seen, spans);
    }
}

/// Adds the dashes of a line; `phase` is where it begins in the dashes, in 256ths of a pixel, and moves on.
pub(super) fn dashed(
    from: Pixel,
    to: Pixel,
    dashes: &Dashes,
    phase: &mut u64,
    seen: &Rect,
    spans: &mut Vec<Rect>,
) {
    let line = Line::new(from, to);
    if line.steps == 0 {
        return;
    }
    // Coordinates have 24 bits, so squares and the factor fit easily.
    let square = line.steps * line.steps + line.minor * line.minor;
    let length = (square.unsigned_abs() << 16).isqrt();
    let steps = line.steps.unsigned_abs();
    // A line that runs backwards covers the pixels before its beginning.
    let shift = i64::from(!line.forward);
    let (dx, dy) = if line.x_major { (-shift, 0) } else { (0, -shift) };
    let wider = Rect {
        left: seen.left.saturating_sub(1),
        top: seen.top.saturating_sub(1),
        right: seen.right.saturating_add(1),
        bottom: seen.bottom.saturating_add(1),
    };
    let (first, end) = line.seen(&wider);
    for k in first..end {
        let along = u128::from(k.unsigned_abs()) * u128::from(length) / u128::from(steps);
        let at = phase.wrapping_add(u64::try_from(along).unwrap_or(0)) >> 8;
        if dashes.is_on(at) {
            let (x, y) = line.pixel(k);
            push((x + dx, y + dy), seen, spans);
        }
    }
    *phase = phase.wrapping_add(length) % (dashes.total << 8);
}

/// Adds a pixel, to the last span if it lies at one of its ends.
fn push((x, y): Pixel, seen: &Rect, spans: &mut Vec<Rect>) {
    let (Ok(x), Ok(y)) = (i32::try_from(x), i32::try_from(y)) else { return };
    let visible = (seen.left..seen.right).contains(&x) && (seen.top..seen.bottom).contains(&y);
    if !visible {
        return;
    }
    let pixel = Rect { left: x, top: y, right: x + 1, bottom: y + 1 };
    if let Some(last) = spans.last_mut() {
        let row = last.top == y && last.bottom == y + 1;
        let column = last.left == x && last.right == x + 1;
        if row && last.right == x || column && last.bottom == y {
            (last.right, last.bottom) = (x + 1, y + 1);
            return;
        }
        if row && last.left == x + 1 || column && last.top == y + 1 {
            (last.left, last.top) = (x, y);
            return;
        }
    }
    spans.push(pixel);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule as it stands in the specification, step by step.
    fn walked((mut x, mut y): Pixel, to: Pixel) -> Vec<Pixel> {
        let (dx, dy) = (to.0 - x, to.1 - y);
        let (adx, ady) = (dx.abs(), dy.abs());
        let mut out = Vec::new();
        if adx > ady {
            let mut e = -adx - i64::from(dx < 0);
            for _ in 0..adx {
                out.push((x, y));
                e += 2 * ady;
                if e >= 0 {
                    y += dy.signum();
                    e -= 2 * adx;
                }
                x += dx.signum();
            }
        } else {
            let mut e = -ady - i64::from(dy < 0);
            for _ in 0..ady {
                out.push((x, y));
                e += 2 * adx;
                if e >= 0 {
                    x += dx.signum();
                    e -= 2 * ady;
                }
                y += dy.signum();
            }
        }
        out
    }

    fn pixels(spans: &[Rect]) -> Vec<Pixel> {
        let mut out = Vec::new();
        for r in spans {
            for y in r.top..r.bottom {
                out.extend((r.left..r.right).map(|x| (i64::from(x), i64::from(y))));
            }
        }
        out.sort_unstable();
        out
    }

    #[test]
    fn every_pixel_of_a_solid_line_lies_where_the_walk_puts_it() {
        let seen = Rect { left: -5, top: -4, right: 7, bottom: 9 };
        for dx in -12..=12 {
            for dy in -12..=12 {
                for from in [(0, 0), (-9, 3), (5, -8)] {
                    let to = (from.0 + dx, from.1 + dy);
                    let mut spans = Vec::new();
                    solid(from, to, &seen, &mut spans);
                    let mut want = walked(from, to);
                    want.retain(|(x, y)| (-5..7).contains(x) && (-4..9).contains(y));
                    want.sort_unstable();
                    assert_eq!(pixels(&spans), want, "{from:?} to {to:?}");
                }
            }
        }
    }

    #[test]
    fn lines_of_astronomic_length_cost_what_is_seen_of_them() {
        let seen = Rect { left: 0, top: 0, right: 100, bottom: 100 };
        let far = 1 << 23;
        let mut spans = Vec::new();
        for n in 0..10_000 {
            solid((-far, -far), (far, far - n), &seen, &mut spans);
            spans.clear();
        }
    }

    #[test]
    fn dashes_along_an_axis_cover_their_length() {
        let seen = Rect { left: 0, top: 0, right: 100, bottom: 100 };
        let dashes = Dashes::new(&[3 << 4, 2 << 4], false).unwrap();
        let mut spans = Vec::new();
        let mut phase = dashes.phase();
        dashed((10, 5), (17, 5), &dashes, &mut phase, &seen, &mut spans);
        let row = |xs: &[i64]| xs.iter().map(|x| (*x, 5)).collect::<Vec<_>>();
        assert_eq!(pixels(&spans), row(&[10, 11, 12, 15, 16]));
        assert_eq!(phase, 2 << 8, "seven along, of five");
        // Backwards: the pixels before the beginning.
        let (mut spans, mut phase) = (Vec::new(), dashes.phase());
        dashed((17, 5), (10, 5), &dashes, &mut phase, &seen, &mut spans);
        assert_eq!(pixels(&spans), row(&[10, 11, 14, 15, 16]));
    }

    #[test]
    fn a_start_with_a_gap_takes_the_third_length_first() {
        let on = |style: &[i32], gap| {
            let d = Dashes::new(style, gap).unwrap();
            (0..12).map(|at| d.is_on(at + d.start)).collect::<Vec<_>>()
        };
        let text =
            |on: Vec<bool>| on.iter().map(|b| if *b { 'x' } else { '.' }).collect::<String>();
        assert_eq!(text(on(&[2 << 4, 1 << 4], true)), "..x..x..x..x");
        assert_eq!(text(on(&[1 << 4, 2 << 4, 3 << 4, 4 << 4], true)), "...xxxx.xx..");
        assert_eq!(text(on(&[3 << 4], false)), "xxxxxxxxxxxx");
        assert_eq!(text(on(&[1 << 4, 2 << 4, 1 << 4], false)), "x..xx..xx..x");
        assert!(Dashes::new(&[0, 256 << 4], false).is_none());
        assert!(Dashes::new(&[], true).is_none());
    }
}

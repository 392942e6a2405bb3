//! The same move many times over, at the cost of one.
//!
//! A pixel that is moved `n` times by the same way comes from `n` ways off, unless that lies beyond the rectangle: then from the strip next
//! to it, which no move changes. So the far part is one long move, and the part near the strip repeats it.

use super::shifted;
use super::target::Target;
use crate::protocol::geometry::Rect;

/// Does what `times` moves of these pixels would do, each from `dx` to the right and `dy` below as if all had been read before the first one
/// is written. One of `dx` and `dy` is 0, the other not; `rect` and its source lie on the surface.
pub(super) fn move_times(target: &mut Target, rect: &Rect, (dx, dy): (i32, i32), times: u32) {
    let (far_x, far_y) = (i64::from(dx) * i64::from(times), i64::from(dy) * i64::from(times));
    // Whose chain of moves stays inside until the last one.
    let long = rect.intersect(&shifted(rect, i64::from(dx) - far_x, i64::from(dy) - far_y));
    if !long.is_empty()
        && let (Ok(far_x), Ok(far_y)) = (i32::try_from(far_x), i32::try_from(far_y))
    {
        target.move_rect(&long, far_x, far_y);
    }
    // The rest, strip by strip, from the one whose source is outside on.
    let mut rest = *rect;
    match (dx, dy) {
        (0, 1..) => rest.top = if long.is_empty() { rect.top } else { long.bottom },
        (0, _) => rest.bottom = if long.is_empty() { rect.bottom } else { long.top },
        (1.., _) => rest.left = if long.is_empty() { rect.left } else { long.right },
        _ => rest.right = if long.is_empty() { rect.right } else { long.left },
    }
    while !rest.is_empty() {
        let mut strip = rest;
        match (dx, dy) {
            (0, 1..) => {
                strip.top = rest.top.max(rest.bottom.saturating_sub(dy));
                rest.bottom = strip.top;
            }
            (0, _) => {
                strip.bottom = rest.bottom.min(rest.top.saturating_sub(dy));
                rest.top = strip.bottom;
            }
            (1.., _) => {
                strip.left = rest.left.max(rest.right.saturating_sub(dx));
                rest.right = strip.left;
            }
            _ => {
                strip.right = rest.right.min(rest.left.saturating_sub(dx));
                rest.left = strip.right;
            }
        }
        target.move_rect(&strip, dx, dy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qxl::model::SurfaceFormat;

    const SIZE: u32 = 24;

    fn painted() -> Target {
        let mut target = Target::owned(SurfaceFormat::Xrgb, SIZE, SIZE).unwrap();
        for y in 0..SIZE {
            let row: Vec<u8> = (0..SIZE).flat_map(|x| (y * SIZE + x).to_le_bytes()).collect();
            target.write_row(y, 0, &row);
        }
        target
    }

    fn pixels(target: &Target) -> Vec<u8> {
        let mut all = Vec::new();
        let mut row = vec![0; SIZE as usize * 4];
        for y in 0..SIZE {
            target.read_row(y, 0, &mut row);
            all.extend_from_slice(&row);
        }
        all
    }

    #[test]
    fn many_moves_at_once_are_as_many_one_by_one() {
        let rect = Rect { left: 7, top: 8, right: 17, bottom: 15 };
        for way in 1..8 {
            for (dx, dy) in [(way, 0), (-way, 0), (0, way), (0, -way)] {
                let mut plain = painted();
                for times in 1..20 {
                    plain.move_rect(&rect, dx, dy);
                    let mut folded = painted();
                    move_times(&mut folded, &rect, (dx, dy), times);
                    assert!(pixels(&folded) == pixels(&plain), "{times} by {dx}, {dy}");
                }
                let mut folded = painted();
                move_times(&mut folded, &rect, (dx, dy), u32::MAX);
                assert!(pixels(&folded) == pixels(&plain), "very many by {dx}, {dy}");
            }
        }
    }
}

//! Paths of lines and Bezier curves, as spans of pixels.
#![forbid(unsafe_code)]

use super::DrawError;
use super::line::{self, Dashes, Pixel};
use crate::protocol::geometry::Rect;
use crate::qxl::model::{PathPoint, Stroke};

/// Points of a path after its curves became lines; a curve that needs more is nothing a guest would draw.
const MAX_POINTS: usize = 1 << 17;
/// Pixels of all lines times rectangles of the clip: what can be drawn in some tenths of a second.
const MAX_STEPS: u64 = 1 << 25;
/// Halvings of a curve one inside the other.
const MAX_DEPTH: u32 = 32;

/// Whole pixels of a 28.4 number: more than half goes up.
pub(super) fn round(v: i32) -> i32 {
    (v >> 4) + i32::from(v & 15 > 8)
}

fn pixel(p: PathPoint) -> Pixel {
    (i64::from(round(p.x)), i64::from(round(p.y)))
}

/// Calls `draw` with the spans of each line of the stroke in turn, as far as they may be seen. `rects` is the
/// number of rectangles that each span is cut to.
pub(super) fn spans(
    stroke: &Stroke,
    seen: &Rect,
    rects: usize,
    mut draw: impl FnMut(&[Rect]),
) -> Result<(), DrawError> {
    let dashes = match &stroke.style {
        Some(style) => {
            Some(Dashes::new(style, stroke.start_with_gap()).ok_or(DrawError::NoDashes)?)
        }
        None => None,
    };
    let lines = polylines(stroke)?;
    let mut steps = 0u64;
    for points in &lines {
        for pair in points.windows(2) {
            let &[from, to] = pair else { continue };
            steps = steps.saturating_add(1 + line::steps_seen(from, to, seen));
        }
    }
    if steps.saturating_mul(rects as u64) > MAX_STEPS {
        return Err(DrawError::TooManyPoints(MAX_POINTS));
    }
    let mut spans = Vec::new();
    for points in lines {
        let mut phase = dashes.as_ref().map_or(0, Dashes::phase);
        for pair in points.windows(2) {
            let &[from, to] = pair else { continue };
            spans.clear();
            match &dashes {
                None => line::solid(from, to, seen, &mut spans),
                Some(dashes) => {
                    line::dashed(from, to, dashes, &mut phase, seen, &mut spans);
                }
            }
            draw(&spans);
        }
    }
    Ok(())
}

/// The sub-paths as corners of polylines.
fn polylines(stroke: &Stroke) -> Result<Vec<Vec<Pixel>>, DrawError> {
    let mut all = Vec::new();
    let mut current: Vec<Pixel> = Vec::new();
    let mut count = 0;
    for segment in stroke.path.iter() {
        let mut points = segment.points.iter().copied();
        if segment.begins() {
            all.push(std::mem::take(&mut current));
            current.extend(points.next().map(pixel));
        }
        if segment.is_bezier() {
            while let (Some(p1), Some(p2), Some(p3)) = (points.next(), points.next(), points.next())
            {
                let Some(last) = current.last() else { break };
                let last = (last.0 << 4, last.1 << 4);
                flatten([last, wide(p1), wide(p2), wide(p3)], &mut current)?;
            }
        } else {
            current.extend(points.map(pixel));
        }
        if segment.ends() {
            if segment.closes() {
                current.extend(current.first().copied());
            }
            all.push(std::mem::take(&mut current));
        }
        count += segment.points.len();
        if current.len() > MAX_POINTS || count > MAX_POINTS {
            return Err(DrawError::TooManyPoints(MAX_POINTS));
        }
    }
    all.push(current);
    Ok(all)
}

fn wide(p: PathPoint) -> Pixel {
    (i64::from(p.x), i64::from(p.y))
}

/// Adds the corners of a curve without its beginning, which is the last corner already.
fn flatten(curve: [Pixel; 4], corners: &mut Vec<Pixel>) -> Result<(), DrawError> {
    let mut todo = vec![(curve, 0)];
    while let Some((curve, depth)) = todo.pop() {
        if depth >= MAX_DEPTH || is_straight(curve) {
            if corners.len() >= MAX_POINTS {
                return Err(DrawError::TooManyPoints(MAX_POINTS));
            }
            let rounded = |v: i64| (v >> 4) + i64::from(v & 15 > 8);
            corners.push((rounded(curve[3].0), rounded(curve[3].1)));
            continue;
        }
        let half = |a: Pixel, b: Pixel| ((a.0 + b.0) / 2, (a.1 + b.1) / 2);
        let [p0, p1, p2, p3] = curve;
        let (left, middle, right) = (half(p0, p1), half(p1, p2), half(p2, p3));
        let (left2, right2) = (half(left, middle), half(middle, right));
        let centre = half(left2, right2);
        todo.push(([centre, right2, right, p3], depth + 1));
        todo.push(([p0, left, left2, centre], depth + 1));
    }
    Ok(())
}

/// True if both control points lie close to the line between the ends.
fn is_straight([p0, p1, p2, p3]: [Pixel; 4]) -> bool {
    let minus = |a: Pixel, b: Pixel| (i128::from(a.0 - b.0), i128::from(a.1 - b.1));
    let dot = |a: (i128, i128), b: (i128, i128)| (a.0 * b.0 + a.1 * b.1) >> 4;
    let (first, last, all) = (minus(p1, p0), minus(p2, p3), minus(p3, p0));
    let back = minus(p0, p3);
    let (a, b, c) = (dot(first, first), dot(all, all), dot(last, last));
    let (e, f) = (dot(first, all), dot(last, back));
    (a * b - e * e) >> 3 < b && (c * b - f * f) >> 3 < b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_a_pixel_goes_up() {
        assert_eq!([0, 8, 9, 16, 24, 25, -8, -7, -16].map(round), [0, 0, 1, 1, 1, 2, -1, 0, -1]);
    }

    #[test]
    fn curves_end_where_they_should_and_stay_short() {
        let mut corners = vec![(0, 0)];
        let far = 1i64 << 27;
        for curve in [
            [(0, 0), (160, 0), (160, 160), (0, 160)],
            [(0, 0), (far, -far), (-far, far), (1600, 160)],
            [(0, 0), (0, 0), (0, 0), (0, 0)],
            [(0, 0), (far, far), (far, far), (0, 0)],
        ] {
            let _ = flatten(curve, &mut corners);
            assert!(corners.len() <= MAX_POINTS);
        }
        let mut corners = Vec::new();
        flatten([(0, 0), (160, 0), (160, 160), (0, 160)], &mut corners).unwrap();
        assert_eq!(corners.last(), Some(&(0, 10)));
        assert!((3..40).contains(&corners.len()), "{corners:?}");
    }
}

//! Sets of pixels: what a drawable covers, what of a surface a client has not got.
//!
//! Used by thread display-N; pure data, no I/O. A region is a list of rectangles in bands: all
//! rectangles of a band have the same top and bottom, stand from left to right and do not touch;
//! bands stand from top to bottom, and two that touch and have the same columns are one. So a set
//! of pixels has exactly one form, and `==` compares sets. The common region is one rectangle and
//! needs no allocation.
#![forbid(unsafe_code)]

use crate::protocol::geometry::Rect;

/// A set of pixels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    /// Smallest rectangle around all; the default (empty) one for the empty set.
    bounds: Rect,
    /// The bands; left empty if the region is `bounds` itself or nothing.
    bands: Vec<Rect>,
}

impl Region {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The pixels of one rectangle; an inverted one holds none.
    #[must_use]
    pub fn from_rect(rect: Rect) -> Self {
        let bounds = if rect.is_empty() { Rect::default() } else { rect };
        Self { bounds, bands: Vec::new() }
    }

    /// The pixels that lie in any of the rectangles.
    ///
    /// The result can have quadratically many rectangles; foreign lists go through
    /// [`Region::from_rects_bounded`].
    #[must_use]
    pub fn from_rects(rects: &[Rect]) -> Self {
        Self::from_rects_bounded(rects, usize::MAX).unwrap_or_default()
    }

    /// As [`Region::from_rects`], but `None` as soon as more than `max_rects` would be needed.
    #[must_use]
    pub fn from_rects_bounded(rects: &[Rect], max_rects: usize) -> Option<Self> {
        // Neighbours first, then neighbours of neighbours: each level is linear in its size.
        let mut parts: Vec<Self> =
            rects.iter().filter(|r| !r.is_empty()).map(|r| Self::from_rect(*r)).collect();
        while parts.len() > 1 {
            let mut merged = Vec::with_capacity(parts.len().div_ceil(2));
            for pair in parts.chunks_mut(2) {
                let mut first = std::mem::take(&mut pair[0]);
                if let Some(second) = pair.get(1) {
                    first.union(second);
                }
                if first.rects().len() > max_rects {
                    return None;
                }
                merged.push(first);
            }
            parts = merged;
        }
        Some(parts.pop().unwrap_or_default())
    }

    /// All pixels of many sets and, where they would need more than `max_rects` rectangles (at least 1), pixels
    /// between them, within the bounds of all.
    #[must_use]
    pub fn join(mut parts: Vec<Self>, max_rects: usize) -> Self {
        while parts.len() > 1 {
            let mut pairs = parts.into_iter();
            let mut joined = Vec::with_capacity(pairs.len().div_ceil(2));
            while let Some(mut first) = pairs.next() {
                if let Some(second) = pairs.next() {
                    first.union(&second);
                    first.simplify(max_rects);
                }
                joined.push(first);
            }
            parts = joined;
        }
        let mut all = parts.pop().unwrap_or_default();
        all.simplify(max_rects);
        all
    }

    /// The rectangles: disjoint, from top to bottom, from left to right within a band.
    #[must_use]
    pub fn rects(&self) -> &[Rect] {
        if !self.bands.is_empty() {
            &self.bands
        } else if self.bounds.is_empty() {
            &[]
        } else {
            std::slice::from_ref(&self.bounds)
        }
    }

    /// The smallest rectangle around all pixels.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        self.bounds
    }

    /// True if no pixel is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Number of pixels.
    #[must_use]
    pub fn area(&self) -> u64 {
        self.rects().iter().fold(0, |sum, r| sum.saturating_add(r.area()))
    }

    /// True if every pixel of `rect` is in the set.
    #[must_use]
    pub fn contains_rect(&self, rect: &Rect) -> bool {
        if rect.is_empty() || self.bands.is_empty() {
            return self.bounds.contains(rect);
        }
        // Bands never overlap: the pieces inside `rect` add up to it exactly if it is covered.
        self.bounds.contains(rect)
            && self.overlapping(rect).map(|r| r.intersect(rect).area()).sum::<u64>() == rect.area()
    }

    /// True if every pixel of `other` is in the set.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.bounds.contains(&other.bounds) && other.rects().iter().all(|r| self.contains_rect(r))
    }

    /// True if a pixel of `rect` is in the set.
    #[must_use]
    pub fn intersects_rect(&self, rect: &Rect) -> bool {
        self.overlapping(rect).next().is_some()
    }

    /// True if the sets share a pixel.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        let (few, many) =
            if self.rects().len() < other.rects().len() { (self, other) } else { (other, self) };
        let common = self.bounds.intersect(&other.bounds);
        few.overlapping(&common).any(|r| many.intersects_rect(&r.intersect(&common)))
    }

    /// Adds the pixels of a rectangle.
    pub fn union_rect(&mut self, rect: &Rect) {
        if rect.is_empty() || self.contains_rect(rect) {
            return;
        }
        if rect.contains(&self.bounds) {
            *self = Self::from_rect(*rect);
            return;
        }
        *self = combine(self.rects(), std::slice::from_ref(rect), |a, b| a || b);
    }

    /// Adds all pixels of `other`.
    pub fn union(&mut self, other: &Self) {
        if other.bands.is_empty() {
            self.union_rect(&other.bounds);
        } else if self.bands.is_empty() && other.contains_rect(&self.bounds) {
            self.clone_from(other);
        } else {
            *self = combine(self.rects(), other.rects(), |a, b| a || b);
        }
    }

    /// Takes the pixels of a rectangle out.
    pub fn subtract_rect(&mut self, rect: &Rect) {
        if rect.contains(&self.bounds) {
            *self = Self::new();
        } else if self.intersects_rect(rect) {
            *self = combine(self.rects(), std::slice::from_ref(rect), |a, b| a && !b);
        }
    }

    /// Takes all pixels of `other` out.
    pub fn subtract(&mut self, other: &Self) {
        if other.bands.is_empty() {
            self.subtract_rect(&other.bounds);
        } else if self.intersects(other) {
            *self = combine(self.rects(), other.rects(), |a, b| a && !b);
        }
    }

    /// Keeps only the pixels of a rectangle.
    pub fn intersect_rect(&mut self, rect: &Rect) {
        if rect.contains(&self.bounds) {
            return;
        }
        if self.bands.is_empty() || rect.is_empty() {
            *self = Self::from_rect(self.bounds.intersect(rect));
        } else {
            *self = combine(self.rects(), std::slice::from_ref(rect), |a, b| a && b);
        }
    }

    /// Keeps only the pixels that are in `other` too.
    pub fn intersect(&mut self, other: &Self) {
        if other.bands.is_empty() {
            self.intersect_rect(&other.bounds);
        } else {
            *self = combine(self.rects(), other.rects(), |a, b| a && b);
        }
    }

    /// The set moved by a distance; pixels that leave the range of `i32` are lost.
    #[must_use]
    pub fn translate(&self, dx: i32, dy: i32) -> Self {
        let shift = |r: &Rect| Rect {
            top: r.top.saturating_add(dy),
            left: r.left.saturating_add(dx),
            bottom: r.bottom.saturating_add(dy),
            right: r.right.saturating_add(dx),
        };
        if self.bounds.translate(dx, dy).is_some() {
            return Self {
                bounds: shift(&self.bounds),
                bands: self.bands.iter().map(shift).collect(),
            };
        }
        let moved: Vec<Rect> = self.rects().iter().map(shift).collect();
        Self::from_rects(&moved)
    }

    /// Makes the list at most `max_rects` long (at least 1) by adding pixels between neighbours.
    ///
    /// The result holds every pixel of the old set and lies within its bounds.
    pub fn simplify(&mut self, max_rects: usize) {
        let max_rects = max_rects.max(1);
        if self.rects().len() <= max_rects {
            return;
        }
        // One rectangle for each run of rectangles, runs of equal number: disjoint bands again.
        let mut rows: Vec<Rect> = Vec::new();
        for rect in &self.bands {
            match rows.last_mut() {
                Some(row) if row.top == rect.top => *row = row.union(rect),
                _ => rows.push(*rect),
            }
        }
        let run = rows.len().div_ceil(max_rects);
        let mut out = Bands::default();
        for rows in rows.chunks(run) {
            let all = rows.iter().fold(Rect::default(), |all, r| all.union(r));
            out.push(all.top, all.bottom, |spans| spans.push((all.left, all.right)));
        }
        *self = out.finish();
    }

    /// The rectangles that share a pixel with `rect`.
    fn overlapping<'a>(&'a self, rect: &'a Rect) -> impl Iterator<Item = &'a Rect> {
        let rects = if self.bounds.intersect(rect).is_empty() { &[] } else { self.rects() };
        let first = rects.partition_point(|r| r.bottom <= rect.top);
        rects[first..]
            .iter()
            .take_while(|r| r.top < rect.bottom)
            .filter(|r| r.left < rect.right && r.right > rect.left)
    }
}

/// Collects bands from top to bottom and joins those that touch and have the same columns.
#[derive(Default)]
struct Bands {
    rects: Vec<Rect>,
    /// Where the last band starts in `rects`.
    last: usize,
    spans: Vec<(i32, i32)>,
}

impl Bands {
    fn push(&mut self, top: i32, bottom: i32, fill: impl FnOnce(&mut Vec<(i32, i32)>)) {
        self.spans.clear();
        fill(&mut self.spans);
        if self.spans.is_empty() {
            return;
        }
        let last = &mut self.rects[self.last..];
        let same = last.first().is_some_and(|r| r.bottom == top)
            && last.len() == self.spans.len()
            && last.iter().zip(&self.spans).all(|(r, s)| (r.left, r.right) == *s);
        if same {
            for rect in last {
                rect.bottom = bottom;
            }
            return;
        }
        self.last = self.rects.len();
        self.rects.extend(self.spans.iter().map(|&(left, right)| Rect {
            top,
            left,
            bottom,
            right,
        }));
    }

    fn finish(self) -> Region {
        let bounds = self.rects.iter().fold(Rect::default(), |all, r| all.union(r));
        let bands = if self.rects.len() > 1 { self.rects } else { Vec::new() };
        Region { bounds, bands }
    }
}

/// The pixels for which `keep(in a, in b)` holds; `keep(false, false)` must be false.
fn combine(a: &[Rect], b: &[Rect], keep: fn(bool, bool) -> bool) -> Region {
    let mut out = Bands::default();
    let (mut a, mut b) = (a, b);
    let mut top = match (a.first(), b.first()) {
        (Some(a), Some(b)) => a.top.min(b.top),
        (Some(r), None) | (None, Some(r)) => r.top,
        (None, None) => return Region::new(),
    };
    while !a.is_empty() || !b.is_empty() {
        let (band_a, rest_a) = band(a);
        let (band_b, rest_b) = band(b);
        // Down to the nearest edge of either band nothing changes.
        let edge = |band: &[Rect]| {
            band.first().map(|r| if r.top > top { r.top } else { r.bottom }).unwrap_or(i32::MAX)
        };
        let bottom = edge(band_a).min(edge(band_b));
        let here = |band| if starts_by(band, top) { band } else { &[] };
        let (here_a, here_b) = (here(band_a), here(band_b));
        out.push(top, bottom, |spans| combine_spans(here_a, here_b, keep, spans));
        top = bottom;
        if band_a.first().is_some_and(|r| r.bottom <= top) {
            a = rest_a;
        }
        if band_b.first().is_some_and(|r| r.bottom <= top) {
            b = rest_b;
        }
    }
    out.finish()
}

/// Splits the first band off.
fn band(rects: &[Rect]) -> (&[Rect], &[Rect]) {
    let top = rects.first().map(|r| r.top);
    let len = rects.iter().take_while(|r| Some(r.top) == top).count();
    rects.split_at(len)
}

fn starts_by(band: &[Rect], row: i32) -> bool {
    band.first().is_some_and(|r| r.top <= row)
}

/// Combines the columns of two bands; edges alternate between entering and leaving.
fn combine_spans(a: &[Rect], b: &[Rect], keep: fn(bool, bool) -> bool, out: &mut Vec<(i32, i32)>) {
    let edge = |band: &[Rect], n: usize| {
        band.get(n / 2).map(|r| if n.is_multiple_of(2) { r.left } else { r.right })
    };
    let (mut at_a, mut at_b) = (0, 0);
    let mut start = None;
    loop {
        let x = match (edge(a, at_a), edge(b, at_b)) {
            (Some(xa), Some(xb)) => xa.min(xb),
            (Some(x), None) | (None, Some(x)) => x,
            (None, None) => return,
        };
        at_a += usize::from(edge(a, at_a) == Some(x));
        at_b += usize::from(edge(b, at_b) == Some(x));
        let inside = keep(!at_a.is_multiple_of(2), !at_b.is_multiple_of(2));
        match start {
            None if inside => start = Some(x),
            Some(left) if !inside => {
                out.push((left, x));
                start = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: i32 = 16;

    fn rect(left: i32, top: i32, right: i32, bottom: i32) -> Rect {
        Rect { top, left, bottom, right }
    }

    /// The same set as one flag per pixel.
    fn pixels(region: &Region) -> Vec<bool> {
        let mut map = vec![false; (SIZE * SIZE).try_into().unwrap()];
        for r in region.rects() {
            paint(&mut map, r, true);
        }
        map
    }

    fn paint(map: &mut [bool], r: &Rect, value: bool) {
        for y in r.top.max(0)..r.bottom.min(SIZE) {
            for x in r.left.max(0)..r.right.min(SIZE) {
                map[usize::try_from(y * SIZE + x).unwrap()] = value;
            }
        }
    }

    fn check_form(region: &Region) {
        let rects = region.rects();
        assert!(region.bands.len() != 1);
        let bounds = rects.iter().fold(Rect::default(), |all, r| all.union(r));
        assert_eq!(region.bounds(), bounds);
        for pair in rects.windows(2) {
            let same_band = pair[0].top == pair[1].top && pair[0].bottom == pair[1].bottom;
            assert!(
                if same_band {
                    pair[0].right < pair[1].left
                } else {
                    pair[0].bottom <= pair[1].top
                },
                "{rects:?}"
            );
        }
        assert!(rects.iter().all(|r| !r.is_empty()));
        // Taken apart and put together again it has the same form: the form is the only one.
        assert_eq!(Region::from_rects(rects), *region);
    }

    fn any_rect() -> impl Strategy<Value = Rect> {
        (0..SIZE, 0..SIZE, 0..SIZE + 1, 0..SIZE + 1).prop_map(|(l, t, r, b)| rect(l, t, r, b))
    }

    fn any_region() -> impl Strategy<Value = Region> {
        prop::collection::vec(any_rect(), 0..6).prop_map(|rects| Region::from_rects(&rects))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000,
            ..ProptestConfig::default() })]

        #[test]
        fn every_operation_equals_its_bitmap_twin(
            a in any_region(), b in any_region(), r in any_rect(), max in 1usize..6,
        ) {
            let (in_a, in_b) = (pixels(&a), pixels(&b));
            let in_r = pixels(&Region::from_rect(r));
            type ByRegion = fn(&mut Region, &Region);
            type ByRect = fn(&mut Region, &Rect);
            type Twin = fn(bool, bool) -> bool;
            let ops: [(ByRegion, ByRect, Twin); 3] = [
                (Region::union, Region::union_rect, |x, y| x || y),
                (Region::subtract, Region::subtract_rect, |x, y| x && !y),
                (Region::intersect, Region::intersect_rect, |x, y| x && y),
            ];
            for (by_region, by_rect, twin) in ops {
                let mut c = a.clone();
                by_region(&mut c, &b);
                check_form(&c);
                let want: Vec<bool> = in_a.iter().zip(&in_b).map(|(x, y)| twin(*x, *y)).collect();
                prop_assert_eq!(pixels(&c), want);
                let mut c = a.clone();
                by_rect(&mut c, &r);
                check_form(&c);
                let want: Vec<bool> = in_a.iter().zip(&in_r).map(|(x, y)| twin(*x, *y)).collect();
                prop_assert_eq!(pixels(&c), want);
            }
            let count = |map: &[bool]| map.iter().filter(|p| **p).count() as u64;
            prop_assert_eq!(a.area(), count(&in_a));
            prop_assert_eq!(a.is_empty(), count(&in_a) == 0);
            let both = |x: &[bool], y: &[bool]| x.iter().zip(y).any(|(x, y)| *x && *y);
            let all = |x: &[bool], y: &[bool]| x.iter().zip(y).all(|(x, y)| *x || !*y);
            prop_assert_eq!(a.intersects(&b), both(&in_a, &in_b));
            prop_assert_eq!(a.intersects_rect(&r), both(&in_a, &in_r));
            prop_assert_eq!(a.contains(&b), all(&in_a, &in_b));
            prop_assert_eq!(a.contains_rect(&r), all(&in_a, &in_r));
            prop_assert_eq!(&a.translate(1000, -70).translate(-1000, 70), &a);
            let joined = Region::join(vec![a.clone(), b.clone(), Region::from_rect(r)], max);
            check_form(&joined);
            prop_assert!(joined.rects().len() <= max);
            prop_assert!(joined.contains(&a) && joined.contains(&b) && joined.contains_rect(&r));
            let all = a.bounds().union(&b.bounds()).union(&Region::from_rect(r).bounds());
            prop_assert_eq!(joined.bounds(), all);
            let mut s = a.clone();
            s.simplify(max);
            check_form(&s);
            prop_assert!(s.rects().len() <= max);
            prop_assert!(s.contains(&a));
            prop_assert_eq!(s.bounds(), a.bounds());
        }
    }

    #[test]
    fn coordinates_at_the_edge_of_i32_do_not_overflow() {
        let whole = rect(i32::MIN, i32::MIN, i32::MAX, i32::MAX);
        let mut region = Region::from_rect(whole);
        region.subtract_rect(&rect(-1, -1, 1, 1));
        assert_eq!(region.rects().len(), 4);
        check_form(&region);
        let moved = region.translate(i32::MAX, i32::MIN);
        assert_eq!(moved.bounds(), rect(-1, i32::MIN, i32::MAX, -1));
        check_form(&moved);
        assert!(region.contains_rect(&rect(1, 1, i32::MAX, i32::MAX)));
        assert!(!region.contains_rect(&whole));
    }

    #[test]
    fn a_comb_of_foreign_rectangles_is_refused_before_it_grows() {
        let rects: Vec<Rect> = (0..400)
            .map(|i| rect(3 * i, 0, 3 * i + 1, 1200))
            .chain((0..400).map(|i| rect(0, 3 * i, 1200, 3 * i + 1)))
            .collect();
        assert_eq!(Region::from_rects_bounded(&rects, 4096), None);
        assert!(Region::from_rects(&rects).rects().len() > 100_000);
    }

    #[test]
    fn one_rectangle_needs_no_allocation() {
        let mut region = Region::from_rect(rect(0, 0, 10, 10));
        region.union_rect(&rect(10, 0, 20, 10));
        region.subtract_rect(&rect(0, 0, 5, 10));
        region.intersect_rect(&rect(0, 0, 100, 3));
        assert_eq!(region.rects(), &[rect(5, 0, 20, 3)]);
        assert_eq!(region.bands.capacity(), 0);
    }
}

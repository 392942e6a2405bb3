//! Which queued commands use which part of which surface, so that nobody has to walk the queue for it.
//!
//! A surface with many commands has a grid: tiles of 64 pixels or more, at most 32 by 32 of them, and three coarser
//! levels. A command stands in the finest level where it touches at most two by two tiles, so that to add it, to
//! remove it and to ask for its neighbours cost the same whatever its size and however many wait elsewhere.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::protocol::geometry::Rect;

use super::queue::Slot;

/// Levels of a grid; each has a quarter of the columns and rows of the one before, the last one tile.
const LEVELS: usize = 4;
/// Columns and rows of the finest level at most.
const TILES: u32 = 32;
/// Pixels of the smallest tile, as a power of two.
const SMALLEST: u32 = if cfg!(test) { 1 } else { 6 };
/// Uses of a surface beyond which a grid is worth its memory.
const FLAT: usize = if cfg!(test) { 2 } else { 16 };
/// Capacity that a list may keep while it holds far less.
const KEPT: usize = 64;

/// One command's use of one area. Lists of them stand in the order of the queue.
#[derive(Debug, Clone, Copy)]
struct Use {
    number: u64,
    slot: Slot,
    area: Rect,
}

type List = VecDeque<Use>;

/// The uses of all surfaces, by generation; surfaces that are gone stay until no command uses them.
#[derive(Debug, Default)]
pub(super) struct Index {
    surfaces: BTreeMap<u64, Uses>,
    heap: BinaryHeap<(u64, Slot, usize)>,
}

/// The uses of one surface.
#[derive(Debug)]
struct Uses {
    shape: Shape,
    /// The surface exists.
    alive: bool,
    /// It is drawn on all the time: its grid is kept.
    busy: bool,
    /// Areas that are not empty.
    areas: usize,
    /// Commands on other surfaces that read this one, empty areas included.
    foreign: usize,
    /// One list without a grid; otherwise those of all tiles.
    lists: Vec<List>,
    /// Uses in each level of the grid.
    counts: [usize; LEVELS],
}

/// How a surface is divided.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Width and height.
    size: (u32, u32),
    /// Pixels of a tile of the finest level, as powers of two.
    shifts: (u32, u32),
    /// Tiles in a row of each level.
    columns: [usize; LEVELS],
    /// Lists before those of each level, and of all.
    first: [usize; LEVELS + 1],
}

/// Tiles from first to last, in columns and rows.
#[derive(Debug, Clone, Copy)]
struct Span {
    columns: (u32, u32),
    rows: (u32, u32),
}

impl Span {
    /// The same in the next level.
    fn coarser(self) -> Self {
        let quarter = |(first, last)| (first >> 2, last >> 2);
        Self { columns: quarter(self.columns), rows: quarter(self.rows) }
    }

    /// At most two by two tiles.
    fn is_small(&self) -> bool {
        self.columns.1.wrapping_sub(self.columns.0) <= 1
            && self.rows.1.wrapping_sub(self.rows.0) <= 1
    }
}

impl Shape {
    fn new(size: (u32, u32)) -> Self {
        let shift = |n: u32| {
            (SMALLEST..32).find(|s| n.saturating_sub(1) >> s < TILES).unwrap_or(31 - TILES.ilog2())
        };
        let shifts = (shift(size.0), shift(size.1));
        let (mut columns, mut first) = ([0; LEVELS], [0; LEVELS + 1]);
        for level in 0..LEVELS {
            let tiles = |size: u32, by| {
                let last = size.saturating_sub(1) >> Self::shift(by, level);
                usize::try_from(last).map_or(usize::MAX, |last| last + 1)
            };
            columns[level] = tiles(size.0, shifts.0);
            first[level + 1] = first[level] + columns[level] * tiles(size.1, shifts.1);
        }
        Self { size, shifts, columns, first }
    }

    fn shift(by: u32, level: usize) -> u32 {
        (by + 2 * u32::try_from(level).unwrap_or(0)).min(31)
    }

    /// The tiles of the finest level that an area touches; those at the edge stand for what lies outside.
    fn span(&self, area: &Rect) -> Span {
        let tile = |at: i32, size: u32, shift: u32| {
            at.max(0).unsigned_abs().min(size.saturating_sub(1)) >> shift
        };
        let x = |at| tile(at, self.size.0, self.shifts.0);
        let y = |at| tile(at, self.size.1, self.shifts.1);
        Span {
            columns: (x(area.left), x(area.right.saturating_sub(1))),
            rows: (y(area.top), y(area.bottom.saturating_sub(1))),
        }
    }

    /// The level in which an area stands, and its tiles there.
    fn level_of(&self, area: &Rect) -> (usize, Span) {
        let mut span = self.span(area);
        let mut level = 0;
        while level < LEVELS - 1 && !span.is_small() {
            span = span.coarser();
            level += 1;
        }
        (level, span)
    }

    /// Numbers of the lists of a span.
    fn lists(&self, level: usize, span: Span) -> impl Iterator<Item = usize> + use<> {
        let (first, width) = (self.first[level], self.columns[level]);
        (span.rows.0..=span.rows.1).flat_map(move |row| {
            (span.columns.0..=span.columns.1)
                .map(move |column| first + place(row) * width + place(column))
        })
    }
}

fn place(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Uses {
    fn new(size: (u32, u32), busy: bool) -> Self {
        let (shape, lists) = (Shape::new(size), vec![List::new()]);
        Self { shape, alive: true, busy, areas: 0, foreign: 0, lists, counts: [0; LEVELS] }
    }

    fn has_grid(&self) -> bool {
        self.lists.len() > 1
    }

    fn add(&mut self, new: Use) {
        self.areas += 1;
        if !self.has_grid() {
            if self.areas <= FLAT {
                self.lists[0].push_back(new);
                return;
            }
            let flat = std::mem::take(&mut self.lists);
            self.lists.resize_with(self.shape.first[LEVELS], List::new);
            flat.into_iter().flatten().for_each(|old| self.add_to_grid(old));
        }
        self.add_to_grid(new);
    }

    fn add_to_grid(&mut self, new: Use) {
        let (level, span) = self.shape.level_of(&new.area);
        self.counts[level] += 1;
        for list in self.shape.lists(level, span) {
            if let Some(list) = self.lists.get_mut(list) {
                list.push_back(new);
            }
        }
    }

    fn remove(&mut self, number: u64, area: &Rect) {
        self.areas = self.areas.saturating_sub(1);
        if !self.has_grid() {
            self.lists.iter_mut().for_each(|list| remove_from(list, number, area));
            return;
        }
        let (level, span) = self.shape.level_of(area);
        self.counts[level] = self.counts[level].saturating_sub(1);
        for list in self.shape.lists(level, span) {
            if let Some(list) = self.lists.get_mut(list) {
                remove_from(list, number, area);
            }
        }
    }

    /// Numbers of the lists in which uses of an area stand.
    fn near(&self, area: &Rect) -> impl Iterator<Item = usize> {
        let grid = self.has_grid();
        let flat = (!grid).then_some(0);
        let mut coarser = self.shape.span(area);
        let spans = (0..LEVELS).map(move |level| {
            let span = coarser;
            coarser = span.coarser();
            (level, span)
        });
        let used = spans.filter(move |(level, _)| grid && self.counts[*level] > 0);
        let tiles = used.flat_map(|(level, span)| self.shape.lists(level, span));
        flat.into_iter().chain(tiles)
    }
}

/// Takes a use out of a list; mostly it is the first one.
fn remove_from(list: &mut List, number: u64, area: &Rect) {
    let at = match list.front() {
        Some(first) if first.number == number => 0,
        _ => list.partition_point(|u| u.number < number),
    };
    // A command may use several areas of one surface.
    let same = list.range(at..).take_while(|u| u.number == number).position(|u| u.area == *area);
    if let Some(n) = same {
        list.remove(at + n);
    }
    if list.capacity() > KEPT && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len() * 2);
    }
}

impl Index {
    /// A surface of this generation and size exists; `busy`: it is drawn on all the time.
    pub fn surface_created(&mut self, generation: u64, size: (u32, u32), busy: bool) {
        self.surfaces.insert(generation, Uses::new(size, busy));
    }

    /// A surface is gone; what uses it stays known.
    pub fn surface_destroyed(&mut self, generation: u64) {
        if let Some(uses) = self.surfaces.get_mut(&generation) {
            uses.alive = false;
        }
        self.tidy(generation);
    }

    /// True if commands on other surfaces read this one.
    pub fn is_read(&self, generation: u64) -> bool {
        self.surfaces.get(&generation).is_some_and(|uses| uses.foreign > 0)
    }

    /// Notes a use. `foreign`: by a command on another surface.
    pub fn add(&mut self, generation: u64, number: u64, slot: Slot, area: Rect, foreign: bool) {
        let Some(uses) = self.surfaces.get_mut(&generation) else { return };
        uses.foreign += usize::from(foreign);
        if !area.is_empty() {
            uses.add(Use { number, slot, area });
        }
    }

    /// Forgets a use; what is given is what [`Index::add`] got.
    pub fn remove(&mut self, generation: u64, number: u64, area: &Rect, foreign: bool) {
        let Some(uses) = self.surfaces.get_mut(&generation) else { return };
        uses.foreign = uses.foreign.saturating_sub(usize::from(foreign));
        if !area.is_empty() {
            uses.remove(number, area);
        }
        if uses.areas == 0 {
            self.tidy(generation);
        }
    }

    /// Forgets all uses.
    pub fn clear(&mut self) {
        self.surfaces.retain(|_, uses| uses.alive);
        for uses in self.surfaces.values_mut().filter(|uses| uses.areas + uses.foreign > 0) {
            *uses = Uses::new(uses.shape.size, uses.busy);
        }
    }

    /// Gives back the memory of a surface that nobody uses.
    fn tidy(&mut self, generation: u64) {
        let Some(uses) = self.surfaces.get_mut(&generation) else { return };
        if uses.areas + uses.foreign > 0 {
            return;
        }
        if !uses.alive {
            self.surfaces.remove(&generation);
        } else if uses.has_grid() && !uses.busy {
            *uses = Uses::new(uses.shape.size, false);
        }
    }

    /// Visits uses that share pixels with an area until `visit` says false; in no order, and a command may come
    /// more than once. Returns how many were looked at.
    pub fn visit(
        &self,
        generation: u64,
        area: &Rect,
        mut visit: impl FnMut(Slot) -> bool,
    ) -> usize {
        let Some(uses) = self.surfaces.get(&generation) else { return 0 };
        let mut looked = 0;
        for list in uses.near(area) {
            for one in uses.lists.get(list).into_iter().flatten() {
                looked += 1;
                if !one.area.intersect(area).is_empty() && !visit(one.slot) {
                    return looked;
                }
            }
        }
        looked
    }

    /// Begins a walk over uses that share pixels with an area, from the newest to the oldest.
    pub fn walk_back(&mut self, generation: u64, area: Rect) -> WalkBack {
        let mut walk = WalkBack {
            generation,
            area,
            heap: std::mem::take(&mut self.heap),
            last: u64::MAX,
            looked: 0,
        };
        walk.heap.clear();
        if let Some(uses) = self.surfaces.get(&generation).filter(|uses| uses.areas > 0) {
            for list in uses.near(&area) {
                walk.push_older(uses, list, u64::MAX);
            }
        }
        walk
    }

    /// Ends a walk; its memory is used for the next one.
    pub fn walked(&mut self, walk: WalkBack) {
        self.heap = walk.heap;
    }
}

/// A walk from newer to older commands, which may be taken out meanwhile.
#[derive(Debug)]
pub(super) struct WalkBack {
    generation: u64,
    area: Rect,
    /// The newest use of each list that was not handed out: its number, slot and list.
    heap: BinaryHeap<(u64, Slot, usize)>,
    last: u64,
    /// Uses that were looked at so far.
    pub looked: usize,
}

impl WalkBack {
    fn push_older(&mut self, uses: &Uses, list: usize, than: u64) {
        let Some(uses) = uses.lists.get(list) else { return };
        let end = match uses.back() {
            Some(newest) if newest.number < than => uses.len(),
            _ => uses.partition_point(|u| u.number < than),
        };
        for one in uses.range(..end).rev() {
            self.looked += 1;
            if !one.area.intersect(&self.area).is_empty() {
                self.heap.push((one.number, one.slot, list));
                return;
            }
        }
    }

    /// The next older command.
    pub fn next(&mut self, index: &Index) -> Option<Slot> {
        loop {
            let (number, slot, list) = self.heap.pop()?;
            if let Some(uses) = index.surfaces.get(&self.generation) {
                self.push_older(uses, list, number);
            }
            // It may stand in several lists.
            if number != self.last {
                self.last = number;
                return Some(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests;

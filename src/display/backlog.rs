//! Commands that clients have been given and that are not drawn on the server's own surfaces yet.
//!
//! Owned by display-N. To move a large part of the screen takes longer than to tell a client of it, so clients are told first and
//! what was put off is drawn when nothing else is to be done ([`Scene::catch_up`](super::scene::Scene::catch_up)).
//! Everything here is drawn in the order in which it came, before anybody looks at what it touches; only commands wait that cannot fail and
//! read nothing but their own surface. What else waits, large pictures ([`deferred`](super::deferred)), touches nothing of it: the scene sees to that.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use crate::protocol::geometry::Rect;
use crate::qxl::model::{Brush, DrawOp, Drawable};

use super::canvas::is_straight_move;
use super::deferred::own_pixels;
use super::pipe::PipedDraw;

/// Commands that may wait.
const COMMANDS: usize = if cfg!(any(test, fuzzing)) { 4 } else { 256 };
/// Bytes that they may keep.
const BYTES: usize = 16 << 20;
/// Pixels of the smallest move that begins a backlog. What is smaller is drawn before a client could be told.
const SMALLEST: u64 = if cfg!(any(test, fuzzing)) { 16 } else { 16 * 1024 };
/// Surfaces on which commands may wait at a time.
const SURFACES: usize = 4;

/// A command and where it is to be drawn.
#[derive(Debug)]
pub struct Waiting {
    /// The command.
    pub draw: Arc<PipedDraw>,
    /// What of its box is drawn.
    pub clip: Rect,
    /// How many like it came in a row: scrolling by a line, again and again, is done at once.
    pub times: u32,
}

impl Waiting {
    fn is_like(&self, draw: &PipedDraw, clip: &Rect) -> bool {
        let (DrawOp::CopyBits { src: one }, DrawOp::CopyBits { src: other }) =
            (&self.draw.drawable.op, &draw.drawable.op)
        else {
            return false;
        };
        let (ours, theirs) = (&self.draw.drawable, &draw.drawable);
        one == other
            && (ours.surface_id, &ours.bbox, &self.clip) == (theirs.surface_id, &theirs.bbox, clip)
            && is_straight_move(theirs)
    }
}

/// The commands of one display that wait, the oldest first.
#[derive(Debug, Default)]
pub struct Backlog {
    list: VecDeque<Waiting>,
    bytes: usize,
    /// Of each surface, a box around everything that these commands read and write; forgotten when none waits any more.
    touched: Vec<(u32, Rect)>,
}

impl Backlog {
    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True if this command is better, or has to be, drawn later; `clip` are the rectangles of it.
    #[must_use]
    pub fn takes(&self, draw: &PipedDraw, clip: &[Rect]) -> bool {
        let [clip] = clip else { return false };
        let id = draw.drawable.surface_id;
        let known = self.touched.iter().any(|(surface, _)| *surface == id);
        match &draw.drawable.op {
            _ if !known && self.touched.len() >= SURFACES => false,
            DrawOp::CopyBits { .. } => !self.is_empty() || clip.area() >= SMALLEST,
            // In the place of what waits: it has to come behind it. Elsewhere it need not.
            DrawOp::Fill { brush: Brush::Solid(_), mask, .. }
            | DrawOp::Blackness { mask }
            | DrawOp::Whiteness { mask }
            | DrawOp::Invers { mask } => mask.image.is_none() && self.touches(id, clip),
            DrawOp::Copy { .. } => own_pixels(draw) && self.touches(id, clip),
            _ => false,
        }
    }

    /// Adds a command.
    pub fn push(&mut self, draw: Arc<PipedDraw>, clip: Rect) {
        if let Some(last) = self.list.back_mut()
            && last.is_like(&draw, &clip)
        {
            last.times = last.times.saturating_add(1);
            return;
        }
        let id = draw.drawable.surface_id;
        let reach = source(&draw.drawable).map_or(clip, |source| source.union(&clip));
        match self.touched.iter_mut().find(|(surface, _)| *surface == id) {
            Some((_, all)) => *all = all.union(&reach),
            None => self.touched.push((id, reach)),
        }
        self.bytes = self.bytes.saturating_add(draw.bytes);
        self.list.push_back(Waiting { draw, clip, times: 1 });
    }

    /// True if something that waits may read or write pixels there.
    #[must_use]
    pub fn touches(&self, surface: u32, rect: &Rect) -> bool {
        self.touched.iter().any(|(id, all)| *id == surface && !all.intersect(rect).is_empty())
    }

    /// True if something waits for this surface.
    #[must_use]
    pub fn is_on(&self, surface: u32) -> bool {
        self.touched.iter().any(|(id, _)| *id == surface)
    }

    /// A surface is gone with everything that was to be drawn on it.
    pub fn forget(&mut self, surface: u32) {
        self.list.retain(|waiting| waiting.draw.drawable.surface_id != surface);
        self.bytes = self.list.iter().map(|waiting| waiting.draw.bytes).sum();
        self.touched.retain(|(id, _)| *id != surface);
    }

    /// True if there is no room for one more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.list.len() > COMMANDS || self.bytes > BYTES
    }

    /// The oldest one, to be drawn now.
    pub fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.list.pop_front()?;
        self.bytes = self.bytes.saturating_sub(waiting.draw.bytes);
        if self.list.is_empty() {
            self.touched.clear();
        }
        Some(waiting)
    }
}

/// What of its own surface a command reads beside the box; may lie outside of the surface.
#[must_use]
pub fn source(drawable: &Drawable) -> Option<Rect> {
    let DrawOp::CopyBits { src } = &drawable.op else { return None };
    let bbox = &drawable.bbox;
    Some(Rect {
        left: src.x,
        top: src.y,
        right: src.x.saturating_add_unsigned(bbox.width()),
        bottom: src.y.saturating_add_unsigned(bbox.height()),
    })
}

//! Which pictures of a guest are frames of a video.
//!
//! A place of the screen that gets whole new pictures again and again is watched; after twenty of them in quick order
//! it is a stream, if they look like photographs. From then on each picture there is a frame, until none has come
//! for a second. The rules are those that guests are used to from spice-server; beyond them a stream whose pictures
//! repeat stands *still*, and one that moves to another place starts there at once.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::protocol::geometry::Rect;
use crate::protocol::message::Bulk;

use super::Mode;

/// Streams of a display at once; what comes beyond stays pictures.
pub const MAX_STREAMS: usize = 16;
/// Numbers of streams on the wire; a number is used again only after all others.
pub const STREAM_IDS: u32 = 50;
/// Places that are watched.
const PLACES: usize = 8;
/// Pictures after which a place is a stream.
const ENOUGH: u32 = 20;
/// The same where a stream of this size has just been elsewhere.
const ENOUGH_MOVED: u32 = 3;
/// Time between two pictures of a place that is watched.
const QUICK: Duration = Duration::from_millis(200);
/// One picture in so many has to look like a photograph.
const PHOTOS: u32 = 5;
/// Pictures after the last photograph from which on counting begins anew.
const PATIENCE: u32 = 100;
/// Pixels of the smallest picture in mode FILTER.
const SMALLEST: u64 = 96 * 96;
/// A stream without frames for so long is over.
const OVER: Duration = Duration::from_secs(1);
/// How long after its last frame a stream stands still: four times the time between frames, within these.
const STILL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(600));
/// Pictures of more bytes are not compared with the one before.
const COMPARED: usize = 64 << 20;

/// Which stream of a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Number on the wire, below [`STREAM_IDS`].
    pub id: u32,
    /// Which use of that number; never 0.
    pub unique: u32,
}

/// A picture that could be a frame.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Where it is put.
    pub place: Rect,
    /// The part of the bitmap that is shown.
    pub source: Rect,
    /// First row in memory is the top one.
    pub top_down: bool,
    /// What is seen of it.
    pub clip: &'a [Rect],
    /// The bitmap's pixels.
    pub pixels: &'a Bulk,
}

impl Candidate<'_> {
    /// Width and height of what is shown, before it is scaled.
    fn size(&self) -> (u32, u32) {
        (self.source.width(), self.source.height())
    }
}

/// What a picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A picture.
    Plain,
    /// The next frame of a stream, maybe its first one.
    Frame(StreamKey),
    /// The pixels that the stream shows anyway.
    Repeat(StreamKey),
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing moves for now; it may go on.
    Still(StreamKey),
    /// It is over.
    Over(StreamKey),
}

/// A place that is watched.
#[derive(Debug)]
struct Place {
    rect: Rect,
    size: (u32, u32),
    top_down: bool,
    last: Instant,
    first: Instant,
    pictures: u32,
    photos: u32,
    since_photo: u32,
    enough: u32,
}

#[derive(Debug)]
struct Stream {
    key: StreamKey,
    place: Rect,
    size: (u32, u32),
    top_down: bool,
    /// When its last picture came, new or not.
    seen: Instant,
    /// When its last new picture came.
    changed: Instant,
    interval: Duration,
    still: bool,
    /// The last picture, while nothing else was drawn there.
    shows: Option<Shown>,
}

/// A picture as it was put on the screen.
#[derive(Debug)]
struct Shown {
    place: Rect,
    source: Rect,
    clip: Vec<Rect>,
    pixels: Bulk,
}

/// The streams of one display's primary surface.
#[derive(Debug)]
pub struct Detector {
    mode: Mode,
    places: Vec<Place>,
    streams: Vec<Stream>,
    next_id: u32,
    uses: u32,
    /// Where a stream has ended, by its size.
    ended: Option<((u32, u32), Instant)>,
}

impl Detector {
    /// Nothing is watched. `seed` makes the use of a number differ from those of other displays.
    #[must_use]
    pub fn new(mode: Mode, seed: u32) -> Self {
        let (places, streams) = (Vec::with_capacity(PLACES), Vec::new());
        Self { mode, places, streams, next_id: 0, uses: seed, ended: None }
    }

    /// True if there is no stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Keys of all streams.
    pub fn keys(&self) -> impl Iterator<Item = StreamKey> + '_ {
        self.streams.iter().map(|stream| stream.key)
    }

    /// Starts afresh, for example with another surface. What ends is told.
    pub fn reset(&mut self, mode: Mode) -> Vec<StreamKey> {
        self.mode = mode;
        self.places.clear();
        self.ended = None;
        self.streams.drain(..).map(|stream| stream.key).collect()
    }

    /// Something else than a frame was drawn there: the next picture is new whatever it shows.
    pub fn drawn(&mut self, area: &Rect) {
        for stream in &mut self.streams {
            if !stream.place.intersect(area).is_empty() {
                stream.shows = None;
            }
        }
    }

    /// A picture came. `is_photo` is asked only if it matters.
    pub fn look(
        &mut self,
        now: Instant,
        picture: &Candidate<'_>,
        is_photo: impl FnOnce() -> bool,
    ) -> Look {
        if self.mode == Mode::Off {
            return Look::Plain;
        }
        if let Some(at) = self.streams.iter().position(|stream| stream.goes_on(now, picture)) {
            let Some(stream) = self.streams.get_mut(at) else { return Look::Plain };
            let look = stream.take(now, picture);
            let (key, place) = (stream.key, picture.place);
            if let Look::Frame(_) = look {
                self.drawn_but(key, &place);
            }
            return look;
        }
        let pixels = picture.source.area();
        if self.mode == Mode::Filter && pixels < SMALLEST {
            return Look::Plain;
        }
        if !self.watch(now, picture, is_photo) {
            return Look::Plain;
        }
        self.begin(now, picture)
    }

    fn drawn_but(&mut self, key: StreamKey, area: &Rect) {
        for stream in self.streams.iter_mut().filter(|stream| stream.key != key) {
            if !stream.place.intersect(area).is_empty() {
                stream.shows = None;
            }
        }
    }

    /// Counts a picture; true if its place is a stream from now on.
    fn watch(
        &mut self,
        now: Instant,
        picture: &Candidate<'_>,
        is_photo: impl FnOnce() -> bool,
    ) -> bool {
        let same = |place: &Place| {
            place.rect == picture.place
                && place.size == picture.size()
                && place.top_down == picture.top_down
                && now.saturating_duration_since(place.last) <= QUICK
        };
        let photo = self.mode == Mode::All || is_photo();
        let Some(at) = self.places.iter().position(same) else {
            self.watch_anew(now, picture, photo);
            return false;
        };
        let Some(place) = self.places.get_mut(at) else { return false };
        place.last = now;
        if photo {
            place.photos += 1;
            place.since_photo = 0;
        } else {
            place.since_photo += 1;
            if place.since_photo > PATIENCE {
                (place.pictures, place.photos, place.since_photo) = (0, 0, 0);
                place.first = now;
            }
        }
        place.pictures += 1;
        place.pictures >= place.enough && place.photos.saturating_mul(PHOTOS) >= place.pictures
    }

    fn watch_anew(&mut self, now: Instant, picture: &Candidate<'_>, photo: bool) {
        let moved = self.ended.is_some_and(|(size, at)| {
            size == picture.size() && now.saturating_duration_since(at) <= OVER
        }) || self.streams.iter().any(|stream| stream.size == picture.size());
        // The same place again, or the one that was left alone for the longest time.
        let old = self.places.iter().position(|place| place.rect == picture.place);
        let at = match old {
            Some(at) => Some(at),
            None if self.places.len() >= PLACES => {
                (0..self.places.len()).min_by_key(|at| self.places.get(*at).map(|p| p.last))
            }
            None => None,
        };
        if let Some(at) = at {
            self.places.swap_remove(at);
        }
        self.places.push(Place {
            rect: picture.place,
            size: picture.size(),
            top_down: picture.top_down,
            last: now,
            first: now,
            pictures: 1,
            photos: u32::from(photo),
            since_photo: u32::from(!photo),
            enough: if moved { ENOUGH_MOVED } else { ENOUGH },
        });
    }

    fn begin(&mut self, now: Instant, picture: &Candidate<'_>) -> Look {
        if self.streams.len() >= MAX_STREAMS {
            return Look::Plain;
        }
        let Some(at) = self.places.iter().position(|place| place.rect == picture.place) else {
            return Look::Plain;
        };
        let place = self.places.swap_remove(at);
        let span = now.saturating_duration_since(place.first);
        let interval = span / place.pictures.saturating_sub(1).max(1);
        while self.streams.iter().any(|stream| stream.key.id == self.next_id) {
            self.next_id = (self.next_id + 1) % STREAM_IDS;
        }
        self.uses = self.uses.wrapping_add(1).max(1);
        let key = StreamKey { id: self.next_id, unique: self.uses };
        self.next_id = (self.next_id + 1) % STREAM_IDS;
        self.drawn(&picture.place);
        self.streams.push(Stream {
            key,
            place: picture.place,
            size: picture.size(),
            top_down: picture.top_down,
            seen: now,
            changed: now,
            interval,
            still: false,
            shows: kept(picture),
        });
        Look::Frame(key)
    }

    /// What became of streams by now.
    pub fn changes(&mut self, now: Instant) -> Vec<Change> {
        let mut out = Vec::new();
        let mut ended = None;
        self.streams.retain_mut(|stream| {
            if now >= stream.over_at() {
                out.push(Change::Over(stream.key));
                ended = Some((stream.size, now));
                return false;
            }
            if !stream.still && now >= stream.still_at() {
                stream.still = true;
                out.push(Change::Still(stream.key));
            }
            true
        });
        self.ended = ended.or(self.ended);
        out
    }

    /// When [`Detector::changes`] has something to say at the earliest, if nothing comes.
    #[must_use]
    pub fn next_change(&self) -> Option<Instant> {
        let next = |stream: &Stream| {
            if stream.still { stream.over_at() } else { stream.still_at().min(stream.over_at()) }
        };
        self.streams.iter().map(next).min()
    }
}

impl Stream {
    /// True if a picture is the next one of this stream.
    fn goes_on(&self, now: Instant, picture: &Candidate<'_>) -> bool {
        picture.place.contains(&self.place)
            && picture.place.area() <= self.place.area().saturating_mul(2)
            && picture.top_down == self.top_down
            && now.saturating_duration_since(self.seen) <= OVER
    }

    fn take(&mut self, now: Instant, picture: &Candidate<'_>) -> Look {
        self.seen = now;
        // Pictures that differ mostly do in their first rows, so that this costs next to nothing for them.
        let same = self.shows.as_ref().is_some_and(|shown| {
            (shown.place, shown.source) == (picture.place, picture.source)
                && shown.clip == picture.clip
                && shown.pixels == *picture.pixels
        });
        if same {
            return Look::Repeat(self.key);
        }
        let since = now.saturating_duration_since(self.changed).min(OVER);
        self.interval = (self.interval * 7 + since) / 8;
        self.changed = now;
        self.still = false;
        self.shows = kept(picture);
        Look::Frame(self.key)
    }

    fn still_at(&self) -> Instant {
        self.changed + (self.interval * 4).clamp(STILL.0, STILL.1)
    }

    fn over_at(&self) -> Instant {
        self.seen + OVER
    }
}

fn kept(picture: &Candidate<'_>) -> Option<Shown> {
    let kept = || Shown {
        place: picture.place,
        source: picture.source,
        clip: picture.clip.to_vec(),
        pixels: picture.pixels.clone(),
    };
    (picture.pixels.range.len() <= COMPARED).then(kept)
}

#[cfg(test)]
mod tests;

//! Pixels that a client has from streams instead of commands.
//!
//! What a stream shows is nearly the server's picture, and some time behind it. So its pixels count as dirty ones for every
//! command: none is queued that reads them or depends on them. Unlike dirty ones they are not sent as pixels while the
//! stream runs; when it stands still, ends, or no longer covers them they become dirty, and the client gets what the
//! server has, without losses.
//!
//! Frames do not stand in the queue: each stream has one place for the newest, and a frame that was not taken when the next
//! one comes is gone. That is possible because no queued command touches a stream's pixels, so that it does not
//! matter which goes first. What is drawn over a stream takes its pixels away from it: the client hears of that
//! (STREAM_CLIP) before anything else.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::display::region::Region;
use crate::protocol::display as wire;
use crate::protocol::geometry::Rect;
use crate::protocol::message::Message;
use crate::video::codecs::Codec;
use crate::video::detect::StreamKey;
use crate::video::frame::Frame;

use super::ClientPipe;
use super::surface::{Stage, SurfaceKey};

/// The surface that streams are shown on.
const PRIMARY: u32 = 0;
/// Frames after which a client is asked to report, and milliseconds.
const REPORT: (u32, u32) = (5, 1000);

/// What a client can do with streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamSkills {
    /// The codec that it gets; `None`: no streams.
    pub codec: Option<Codec>,
    /// It takes STREAM_DATA_SIZED.
    pub sized: bool,
    /// It reports how streams go.
    pub reports: bool,
}

/// A stream at one client.
#[derive(Debug)]
pub(super) struct Stream {
    key: StreamKey,
    surface: SurfaceKey,
    /// Its pixels, while there are frames; no command touches them.
    shown: Region,
    /// The clip that the client was told of last; `None`: it does not know the stream.
    told: Option<Region>,
    /// Size and place that the client was told.
    size: (u32, u32),
    place: Rect,
    /// The newest frame, which was not taken yet.
    frame: Option<Arc<Frame>>,
}

/// The streams of one client, and those that it has to forget.
#[derive(Debug, Default)]
pub(super) struct Streams {
    skills: StreamSkills,
    list: Vec<Stream>,
    gone: Vec<Message>,
    /// Streams that the client cannot play.
    refused: Vec<StreamKey>,
}

/// A frame on its way, with what has to go before it.
#[derive(Debug)]
pub struct NextFrame {
    /// Messages that go before.
    pub before: Vec<Message>,
    /// The frame.
    pub frame: Arc<Frame>,
    /// Size and place, if they are not those of the stream.
    pub sized: Option<((u32, u32), Rect)>,
}

impl Streams {
    /// True if a stream of this surface shows one of these pixels.
    pub fn show(&self, key: SurfaceKey, region: &Region) -> bool {
        self.list.iter().any(|s| s.surface == key && s.shown.intersects(region))
    }

    /// As [`Streams::show`], of a rectangle.
    pub fn show_in(&self, key: SurfaceKey, rect: &Rect) -> bool {
        self.list.iter().any(|s| s.surface == key && s.shown.intersects_rect(rect))
    }

    fn find(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.list.iter_mut().find(|s| s.key == key)
    }
}

impl ClientPipe {
    /// What the client can do with streams. Streams that it has end, if that changes.
    pub fn set_stream_skills(&mut self, skills: StreamSkills) {
        if self.streams.skills == skills {
            return;
        }
        let keys: Vec<StreamKey> = self.streams.list.iter().map(|s| s.key).collect();
        keys.into_iter().for_each(|key| self.stream_over(key));
        self.streams.skills = skills;
    }

    /// The client cannot play this stream: it gets commands instead.
    pub fn refuse_stream(&mut self, key: StreamKey) {
        /// More streams than a display has at once.
        const KEPT: usize = 64;
        self.stream_over(key);
        if self.streams.refused.len() >= KEPT {
            self.streams.refused.remove(0);
        }
        self.streams.refused.push(key);
    }

    /// Takes the next frame of a stream, which the server has just painted. `region`: its pixels. False if this client
    /// has to get it as a command.
    pub fn push_frame(&mut self, frame: &Arc<Frame>, region: &Region) -> bool {
        let skills = self.streams.skills;
        if !skills.codec.is_some_and(|codec| codec.takes(frame.pixels.size()))
            || region.is_empty()
            || self.streams.refused.contains(&frame.stream)
        {
            return false;
        }
        // A simple client knows no clips.
        if self.abilities.simple && *region != Region::from_rect(frame.place) {
            return false;
        }
        let Some(surface) = self.surfaces.get(&PRIMARY) else { return false };
        let key = surface.key();
        if surface.stage != Stage::Sent || !surface.unseen.is_empty() {
            // Its first picture has not gone yet, and will show this one.
            return false;
        }
        let known = self.streams.find(frame.stream).map(|s| (s.told.is_some(), s.size, s.place));
        if let Some((true, size, place)) = known
            && !skills.sized
            && (size, place) != (frame.pixels.size(), frame.place)
        {
            return false;
        }
        // Whatever waits and touches these pixels goes, and these pixels are nobody else's.
        self.spoil(key, region.clone());
        self.cover_streams(key, region, Some(frame.stream));
        let Some(surface) = self.surfaces.get_mut(&PRIMARY) else { return false };
        let mut rest = surface.dirty.clone();
        rest.subtract(region);
        // Dirt that would be in too many pieces stays in one, and is sent although the stream shows it as well.
        if rest.rects().len() <= self.limits.dirty_rects {
            surface.dirty = rest;
        }
        if known.is_none() {
            self.streams.list.push(Stream {
                key: frame.stream,
                surface: key,
                shown: Region::new(),
                told: None,
                size: frame.pixels.size(),
                place: frame.place,
                frame: None,
            });
        }
        let Some(stream) = self.streams.find(frame.stream) else { return false };
        let mut left = std::mem::replace(&mut stream.shown, region.clone());
        left.subtract(region);
        stream.frame = Some(Arc::clone(frame));
        if !left.is_empty() {
            self.spoil(key, left);
        }
        true
    }

    /// Something else is drawn there, or another stream's frame: these pixels are taken out of the streams.
    pub(super) fn cover_streams(
        &mut self,
        key: SurfaceKey,
        region: &Region,
        but: Option<StreamKey>,
    ) {
        let mut torn = Vec::new();
        for stream in &mut self.streams.list {
            if stream.surface != key || Some(stream.key) == but || !stream.shown.intersects(region)
            {
                continue;
            }
            stream.shown.subtract(region);
            let many = stream.shown.rects().len() > crate::video::frame::MAX_CLIP;
            if self.abilities.simple || many {
                torn.push(stream.key);
            }
        }
        torn.into_iter().for_each(|key| self.stream_still(key));
    }

    /// A stream's pixels are what the server has for a while: the client gets them without losses. It may go on.
    pub fn stream_still(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.find(key) else { return };
        stream.frame = None;
        let shown = std::mem::take(&mut stream.shown);
        let surface = stream.surface;
        if !shown.is_empty() {
            self.spoil(surface, shown);
        }
    }

    /// As [`ClientPipe::stream_still`], and the stream ends.
    pub fn stream_over(&mut self, key: StreamKey) {
        self.stream_still(key);
        self.streams.refused.retain(|refused| *refused != key);
        let Some(at) = self.streams.list.iter().position(|s| s.key == key) else { return };
        self.forget_stream(at);
    }

    /// A surface is going: so do its streams.
    pub(super) fn streams_gone(&mut self, surface: SurfaceKey) {
        while let Some(at) = self.streams.list.iter().position(|s| s.surface == surface) {
            self.forget_stream(at);
        }
    }

    fn forget_stream(&mut self, at: usize) {
        let stream = self.streams.list.swap_remove(at);
        if let Some(told) = stream.told {
            if !told.is_empty() {
                // Frames that the client has put aside are not to be seen any more.
                self.streams.gone.push(wire::stream_clip(stream.key.id, &[]));
            }
            self.streams.gone.push(wire::stream_destroy(stream.key.id));
        }
    }

    /// The client knows the stream.
    #[must_use]
    pub fn plays_stream(&self, id: u32, unique: u32) -> Option<StreamKey> {
        let told = |s: &&Stream| s.told.is_some() && s.key.id == id;
        let stream = self.streams.list.iter().find(told)?;
        (unique == 0 || unique == stream.key.unique).then_some(stream.key)
    }

    /// True if the client is shown a stream now.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.streams.list.iter().any(|s| !s.shown.is_empty())
    }

    /// A message about streams that goes before anything else; `None` if there is none.
    pub fn next_about_streams(&mut self) -> Option<Message> {
        if !self.streams.gone.is_empty() {
            return Some(self.streams.gone.remove(0));
        }
        let lost = |s: &&mut Stream| s.told.as_ref().is_some_and(|told| !s.shown.contains(told));
        let stream = self.streams.list.iter_mut().find(lost)?;
        stream.told = Some(stream.shown.clone());
        Some(wire::stream_clip(stream.key.id, stream.shown.rects()))
    }

    /// True if a frame waits.
    #[must_use]
    pub fn has_frame(&self) -> bool {
        self.streams.list.iter().any(|s| s.frame.is_some())
    }

    /// Takes the frame that waits for the longest time. It is sent whatever happens, or left out.
    pub fn next_frame(&mut self) -> Option<NextFrame> {
        let waits = |s: &&mut Stream| s.frame.is_some();
        let Streams { list, skills, .. } = &mut self.streams;
        let (codec, reports) = (skills.codec?, skills.reports);
        let stream =
            list.iter_mut().filter(waits).min_by_key(|s| s.frame.as_ref().map(|frame| frame.at))?;
        let frame = stream.frame.take()?;
        let (id, mut before) = (stream.key.id, Vec::new());
        match &stream.told {
            None => {
                (stream.size, stream.place) = (frame.pixels.size(), frame.place);
                before.push(wire::stream_create(&wire::StreamCreate {
                    id,
                    codec: codec as u8,
                    top_down: true,
                    size: stream.size,
                    place: stream.place,
                    clip: stream.shown.rects(),
                }));
                if reports {
                    let unique = stream.key.unique;
                    before.push(wire::stream_activate_report(id, unique, REPORT.0, REPORT.1));
                }
            }
            Some(told) if *told != stream.shown => {
                before.push(wire::stream_clip(id, stream.shown.rects()));
            }
            Some(_) => {}
        }
        stream.told = Some(stream.shown.clone());
        let shape = (frame.pixels.size(), frame.place);
        let sized = (shape != (stream.size, stream.place)).then_some(shape);
        Some(NextFrame { before, frame, sized })
    }
}

//! The films of one display, and how each client gets them.
//!
//! Owned by display-N. [`Films`] decides which of the guest's pictures are frames; a [`Screening`] is one client's: its
//! link, its encoders, when it may have the next frame. A frame is taken out of the client's pipe when there is room for
//! it, coded by the workers, and sent when it is done; what comes meanwhile replaces what waits.

use std::num::NonZeroU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::channel::clients::Feed;
use crate::display::encode::client::ImageShare;
use crate::display::encode::draft::{Draft, FrameDraft};
use crate::display::encode::wan::LinkSpeed;
use crate::display::pipe::{ClientPipe, PipedDraw, StreamSkills};
use crate::pool::MAX_JPEG_SIDE;
use crate::protocol::caps::{Caps, display as cap};
use crate::protocol::common::ping;
use crate::protocol::display::StreamReport;
use crate::protocol::geometry::Rect;
use crate::protocol::message::Message;
use crate::qxl::model::{Bitmap, BitmapFormat, DrawOp, ImageKind, SurfaceFormat};
use crate::sys::clock::mm_time;
use crate::video::codecs::{self, Choice, Codec, Maker};
use crate::video::detect::{Candidate, Change, Detector, Look, STREAM_IDS, StreamKey};
use crate::video::encode::{Encoder, Studio, Wish};
use crate::video::frame::{Frame, MAX_CLIP, Pixels};
use crate::video::gstreamer::Look as Built;
use crate::video::playout::Playout;
use crate::video::rate::{Gate, Link, Start};

use super::lane::Lane;

/// Id of the pings that measure a link.
pub const PROBE_ID: u32 = 0x5a51_0001;
/// `SPICE_ROPD_OP_PUT`.
const ROP_PUT: u16 = 8;
/// Bytes that the kernel keeps unsent for a client with a slow link.
const SLOW_BACKLOG: usize = 64 * 1024;
/// How long after a film what else goes to a client is still kept from piling up.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What one of the guest's pictures is.
#[derive(Debug)]
pub enum Picture {
    /// A command like others.
    Plain,
    /// What the screen shows already.
    Repeat,
    /// A frame.
    Frame(Arc<Frame>),
}

/// The films of a display.
#[derive(Debug)]
pub struct Films {
    detector: Detector,
    share: Arc<ImageShare>,
    /// The changes of the host's settings that were noticed.
    changes: u64,
    studio: Studio,
}

impl Films {
    /// None yet. `share` has the host's settings.
    #[must_use]
    pub fn new(share: Arc<ImageShare>, studio: Studio) -> Self {
        let changes = share.video.changes();
        let detector = Detector::new(share.video.mode(), mm_time());
        Self { detector, share, changes, studio }
    }

    /// Streams that end because the host has set something since this was asked last; `None` if it has not.
    pub fn settings_changed(&mut self) -> Option<Vec<StreamKey>> {
        let changes = self.share.video.changes();
        let changed = std::mem::replace(&mut self.changes, changes) != changes;
        changed.then(|| self.reset())
    }

    /// The screen is another one. Streams that end are told.
    pub fn reset(&mut self) -> Vec<StreamKey> {
        self.detector.reset(self.share.video.mode())
    }

    /// What a command is that was just executed.
    pub fn look(&mut self, draw: &PipedDraw, is_photo: impl FnOnce() -> bool) -> Picture {
        if draw.drawable.surface_id != 0 {
            return Picture::Plain;
        }
        let Some((bitmap, source)) = source(draw) else {
            self.drawn(draw);
            return Picture::Plain;
        };
        let place = draw.drawable.bbox;
        let pixels = &bitmap.data;
        let (top_down, clip) = (bitmap.top_down, draw.region.rects());
        let candidate = Candidate { place, source, top_down, clip, pixels };
        let now = Instant::now();
        let stream = match self.detector.look(now, &candidate, is_photo) {
            Look::Frame(stream) => stream,
            Look::Repeat(_) => return Picture::Repeat,
            Look::Plain => {
                self.drawn(draw);
                return Picture::Plain;
            }
        };
        let pixels = Pixels {
            bitmap: bitmap.data.clone(),
            stride: bitmap.stride,
            rows: bitmap.height,
            top_down: bitmap.top_down,
            bits: bitmap.format.bits(),
            part: source,
        };
        let clip = draw.region.rects().to_vec();
        Picture::Frame(Arc::new(Frame::new(stream, place, clip, (mm_time(), now), pixels)))
    }

    fn drawn(&mut self, draw: &PipedDraw) {
        if !self.detector.is_empty() {
            self.detector.drawn(&draw.region.bounds());
        }
    }

    /// What became of streams by now.
    pub fn news(&mut self, now: Instant) -> Vec<Change> {
        if self.detector.is_empty() { Vec::new() } else { self.detector.changes(now) }
    }

    /// When there may be news.
    #[must_use]
    pub fn next_news(&self) -> Option<Instant> {
        self.detector.next_change()
    }
}

/// The bitmap and the part of it, if a command puts nothing but a picture that can be a frame.
fn source(draw: &PipedDraw) -> Option<(&Bitmap, Rect)> {
    let DrawOp::Copy { src, src_area, rop: ROP_PUT, mask, blend: false, .. } = &draw.drawable.op
    else {
        return None;
    };
    let ImageKind::Bitmap(bitmap) = &src.kind else { return None };
    let colors = match bitmap.format {
        BitmapFormat::Bit16 => draw.dest != Some(SurfaceFormat::Rgb565),
        BitmapFormat::Bit24 | BitmapFormat::Bit32 | BitmapFormat::Rgba => true,
        _ => false,
    };
    let rects = draw.region.rects().len();
    let inside = Rect::from_size(0, 0, bitmap.width, bitmap.height).contains(src_area);
    let fits = src_area.width().max(src_area.height()) <= MAX_JPEG_SIDE;
    let whole = draw.exact && !draw.pixels_only && mask.image.is_none();
    let usable = colors && inside && fits && whole && !src_area.is_empty();
    (usable && (1..=MAX_CLIP).contains(&rects)).then_some((bitmap, *src_area))
}

/// True if a client says that it decodes a codec. One that cannot tell decodes MJPEG.
pub fn decodes(caps: &Caps, codec: Codec) -> bool {
    if !caps.has(cap::MULTI_CODEC) {
        return codec == Codec::Mjpeg;
    }
    caps.has(match codec {
        Codec::Mjpeg => cap::CODEC_MJPEG,
        Codec::Vp8 => cap::CODEC_VP8,
        Codec::H264 => cap::CODEC_H264,
        Codec::Vp9 => cap::CODEC_VP9,
        Codec::H265 => cap::CODEC_H265,
    })
}

/// True if the encoder keeps a rate.
fn is_rated(choice: Option<Choice>) -> bool {
    choice.is_some_and(|choice| choice.codec.is_chained())
}

/// Bits per second that the environment says links begin with (`SPICE_BIT_RATE`, Mbit/s).
fn said_rate() -> Option<u64> {
    static SAID: OnceLock<Option<u64>> = OnceLock::new();
    *SAID.get_or_init(|| {
        let said: u64 = std::env::var("SPICE_BIT_RATE").ok()?.parse().ok()?;
        (1..=10_000).contains(&said).then_some(said * 1_000_000)
    })
}

/// One client's films.
#[derive(Debug)]
pub struct Screening {
    share: Arc<ImageShare>,
    caps: Caps,
    wishes: Vec<Codec>,
    choice: Option<Choice>,
    /// Encoders that broke, or that the client turned out not to decode.
    failed: Vec<Choice>,
    /// The choice is another one, which the pipe does not know yet.
    chosen: bool,
    studio: Studio,
    speed: Arc<LinkSpeed>,
    local: bool,
    /// From the first frame on.
    link: Option<(Link, Playout)>,
    encoders: Vec<(StreamKey, Box<dyn Encoder>)>,
    /// A frame is being coded, and fails at this time if it is not done, if it has one.
    in_work: bool,
    due: Option<Instant>,
    /// What the kernel keeps for the client is bounded.
    bounded: bool,
    /// When the last frame went.
    last: Option<Instant>,
    /// Frames and other messages take turns.
    turn: bool,
    wake: Option<Instant>,
}

impl Screening {
    /// Of a client that has just come.
    #[must_use]
    pub fn new(films: &Films, caps: Caps, speed: Arc<LinkSpeed>, local: bool) -> Self {
        let mut new = Self {
            share: Arc::clone(&films.share),
            caps,
            wishes: Vec::new(),
            choice: None,
            failed: Vec::new(),
            chosen: false,
            studio: films.studio.clone(),
            speed,
            local,
            link: None,
            encoders: Vec::new(),
            in_work: false,
            due: None,
            bounded: false,
            last: None,
            turn: false,
            wake: None,
        };
        new.choose();
        new
    }

    /// What the client can do, and gets.
    #[must_use]
    pub fn skills(&self) -> StreamSkills {
        StreamSkills {
            codec: self.choice.map(|choice| choice.codec),
            sized: self.caps.has(cap::SIZED_STREAM),
            reports: self.caps.has(cap::STREAM_REPORT),
        }
    }

    /// The codecs that the client wishes for, best first, as the protocol numbers them; none changes nothing.
    pub fn prefer(&mut self, numbers: &[u8]) {
        if !numbers.is_empty() {
            self.wishes = codecs::preferred(numbers);
            self.choose();
        }
    }

    /// Chooses the encoder anew, from all that there are now.
    pub fn choose(&mut self) {
        self.failed.clear();
        self.choose_other();
    }

    /// Chooses an encoder that has not failed.
    fn choose_other(&mut self) {
        let Self { caps, failed, .. } = self;
        let look = |choice: Choice| {
            if failed.contains(&choice) { Built::Missing } else { choice.look() }
        };
        let list = self.share.video.codecs();
        let choice = codecs::choose(&list, &self.wishes, |codec| decodes(caps, codec), look);
        if choice == self.choice {
            return;
        }
        self.choice = choice;
        self.encoders.clear();
        if let Some((link, _)) = &mut self.link {
            link.set_rated(is_rated(choice));
        }
    }

    /// The choice is of no use for this client.
    fn fail(&mut self) {
        // MJPEG of our own is what remains.
        let Some(choice) = self.choice.filter(|choice| choice.maker != Maker::Spice) else {
            return;
        };
        tracing::info!("a client no longer gets {}", choice.name());
        self.failed.push(choice);
        self.encoders.clear();
        self.choose_other();
        self.chosen = true;
    }

    /// True once after the choice has become another one by itself: the pipe is to be told.
    pub fn take_chosen(&mut self) -> bool {
        std::mem::take(&mut self.chosen)
    }

    /// A frame was put into the client's pipe.
    pub fn offered(&mut self, frame: &Frame, now: Instant) {
        let Self { speed, local, caps, choice, .. } = self;
        let (link, _) = self.link.get_or_insert_with(|| {
            let start = match (said_rate(), speed.rate()) {
                _ if *local => Start::Local,
                (Some(rate), _) | (None, Some(rate)) => Start::Measured(rate),
                (None, None) => Start::Unknown,
            };
            let playout = Playout::new(caps.has(cap::STREAM_REPORT), speed.is_slow());
            let mut link = Link::new(now, start);
            link.set_rated(is_rated(*choice));
            (link, playout)
        });
        link.offered(frame.stream, now, frame.pixels.part.area());
    }

    /// A stream stands still or is over.
    pub fn ended(&mut self, key: StreamKey) {
        self.encoders.retain(|(of, _)| *of != key);
        if let Some((link, _)) = &mut self.link {
            link.ended(key);
        }
    }

    /// The client says how a stream goes.
    ///
    /// # Errors
    /// If it speaks of a stream that there cannot be.
    pub fn report(&mut self, pipe: &mut ClientPipe, report: &StreamReport) -> Result<(), String> {
        if report.stream_id >= STREAM_IDS {
            return Err(format!("report on stream {}", report.stream_id));
        }
        if report.cannot_play() {
            if let Some(key) = pipe.plays_stream(report.stream_id, 0) {
                tracing::info!(stream = key.id, "a client cannot play a stream and gets pictures");
                pipe.refuse_stream(key);
                self.ended(key);
                // It has no decoder, whatever it said: the next one gets what it may have one for.
                self.fail();
            }
            return Ok(());
        }
        let known = pipe.plays_stream(report.stream_id, report.unique_id.max(1)).is_some();
        if known && let Some((_, playout)) = &mut self.link {
            playout.report(report.last_frame_delay, report.num_drops);
            tracing::trace!(?report, lead = playout.lead(), "a client reports");
        }
        Ok(())
    }

    /// A probe came back.
    pub fn answered(&mut self, number: u64, now: Instant) {
        if let (Some((link, _)), Ok(number)) = (&mut self.link, u32::try_from(number)) {
            link.answered(number, now);
        }
    }

    /// When the client is to be fed even if nothing happens.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.wake.into_iter().chain(self.due).min()
    }

    /// What else the client may be sent, bytes a second; its films are a part of it.
    pub fn is_sent_at_most(&mut self, bytes: Option<NonZeroU64>) {
        if let Some((link, _)) = &mut self.link {
            link.set_limit(bytes.map(|bytes| bytes.get().saturating_mul(8)));
        }
    }

    /// How much the kernel should keep for the client from now on, if that is to be said: on a slow link megabytes there
    /// are many seconds, in which nothing newer can win.
    pub fn backlog(&mut self) -> Option<usize> {
        if self.bounded || !self.speed.is_slow() {
            return None;
        }
        self.bounded = true;
        Some(SLOW_BACKLOG)
    }

    /// Feeding begins.
    pub fn begin(&mut self) {
        self.wake = None;
    }

    /// True if it is a frame's turn.
    pub fn is_turn(&mut self) -> bool {
        self.turn = !self.turn;
        self.turn
    }

    /// True if so much is on the way that nothing else should follow yet.
    pub fn is_full(&mut self, now: Instant) -> bool {
        let recent = self.last.is_some_and(|at| now.saturating_duration_since(at) < AFTERMATH);
        let Some((link, _)) = self.link.as_mut().filter(|_| recent) else { return false };
        if link.has_room() {
            return false;
        }
        let Gate::Full(at) = link.gate(now) else { return false };
        self.wake_at(at);
        true
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Has the next frame coded, if there is one and it may go. False if nothing was done.
    pub fn next_frame(&mut self, pipe: &mut ClientPipe, lane: &mut Lane, now: Instant) -> bool {
        // Streams that were created for another encoder end first.
        if self.in_work || self.chosen || !pipe.has_frame() {
            return false;
        }
        let Some((link, playout)) = &mut self.link else { return false };
        match link.gate(now) {
            Gate::Open => {}
            Gate::At(at) | Gate::Full(at) => {
                self.wake_at(at);
                return false;
            }
        }
        let Some(next) = pipe.next_frame() else { return false };
        link.taken(now);
        self.last = Some(now);
        next.before.into_iter().for_each(|message| lane.push(message));
        if link.wants_bare(now) {
            lane.push(Draft::Probe);
        }
        let stream = next.frame.stream;
        let wish = Wish { quality: link.quality(), rate: link.rate(stream) };
        playout.set_hears(self.speed.hears());
        let time = playout.time(next.frame.time);
        let encoder = match self.encoders.iter().position(|(of, _)| *of == stream) {
            Some(at) => self.encoders.get_mut(at),
            None => {
                let new = self.choice.map(|choice| self.studio.encoder(choice));
                self.encoders.extend(new.map(|encoder| (stream, encoder)));
                self.encoders.last_mut().filter(|(of, _)| *of == stream)
            }
        };
        let Some((_, encoder)) = encoder else { return true };
        // With too much in work, or before the encoder has begun, this frame is left out.
        let encoding = encoder.encode(&next.frame, wish);
        if encoder.is_broken() {
            self.fail();
            self.wake_at(now);
        } else if let Some(encoding) = encoding {
            self.in_work = true;
            self.due = encoding.due();
            let (sized, quality) = (next.sized, wish.quality);
            let draft = FrameDraft { stream, time, sized, quality, encoding, begun: now };
            lane.push(Draft::Frame(Box::new(draft)));
            lane.push(Draft::Probe);
        }
        true
    }

    /// Sends a frame that was coded, if it was.
    pub fn send_frame(&mut self, feed: &mut Feed<'_>, frame: &FrameDraft, now: Instant) {
        (self.in_work, self.due) = (false, None);
        let Some(message) = frame.message() else {
            tracing::debug!(stream = frame.stream.id, "a frame could not be coded");
            return;
        };
        if let Some((link, _)) = &mut self.link {
            link.frame(frame.stream, now, message.len(), frame.quality);
        }
        self.send(feed, message);
    }

    /// Sends a message.
    pub fn send(&mut self, feed: &mut Feed<'_>, message: Message) {
        let len = message.len();
        feed.send(message);
        if let Some((link, _)) = &mut self.link {
            link.sent(len);
        }
    }

    /// Sends a probe if there are films and one is due. Only where nothing is promised to follow.
    pub fn probe(&mut self, feed: &mut Feed<'_>, now: Instant, behind_frame: bool) {
        let recent = self.last.is_some_and(|at| now.saturating_duration_since(at) < AFTERMATH);
        if recent
            && let Some((link, _)) = &mut self.link
            && let Some(number) = link.probe(now, behind_frame)
        {
            feed.send(ping(PROBE_ID, number.into(), 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_tell_decodes_mjpeg_and_nothing_else() {
        let old = Caps::from_bits(&[cap::SIZED_STREAM, cap::CODEC_VP8]);
        assert!(decodes(&old, Codec::Mjpeg) && !decodes(&old, Codec::Vp8));
        let new = Caps::from_bits(&[cap::MULTI_CODEC, cap::CODEC_VP8, cap::CODEC_H265]);
        let all = Codec::ALL.map(|codec| decodes(&new, codec));
        assert_eq!(all, [false, true, false, false, true]);
    }
}

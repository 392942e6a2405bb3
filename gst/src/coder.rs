//! One encoder at work: a pipeline of a source, a converter, the element and a sink.
//!
//! A picture goes in and its frame comes out before the next one is taken, within the time that the setup allows; the
//! pipeline has a thread of its own in between. A pipeline that did not answer is only good for being closed.

use std::slice;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as app;

use crate::elements::{Kind, installed};
use crate::table::{Picture, Setup};
use crate::{Level, log};

/// Longest wait for the first picture of an element: it may have to load programs into a device.
const FIRST: Duration = Duration::from_secs(3);
/// Width and height of what is encoded.
const SIDES: std::ops::RangeInclusive<u32> = 1..=16_384;
/// Pictures that elements are told to expect in a second.
const NOMINAL: i32 = 30;
/// How long a picture is shown, microseconds.
const SHOWN: (u64, u64) = (10_000, 200_000);

/// Hardware that was tried in vain; what is installed does not change while a process runs.
static BROKEN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// None came in time.
    Late,
    /// None will come.
    Failed,
}

/// An encoder.
#[derive(Debug)]
pub struct Coder {
    kind: &'static Kind,
    setup: Setup,
    /// Bytes of a row that is given, and from row to row of what GStreamer gets.
    row: usize,
    stride: usize,
    /// Width and height of what GStreamer gets: even, if they have to be.
    padded: (usize, usize),
    pipeline: gst::Pipeline,
    source: app::AppSrc,
    encoder: gst::Element,
    sink: app::AppSink,
    rate: (u64, u32),
    /// Time of the last picture and the usual time between two, microseconds.
    last: u64,
    interval: f64,
    /// The rate that the element was given.
    given: u64,
    bytes: Vec<u8>,
}

impl Coder {
    /// The first of the installed elements that encodes a picture; `None` if none does.
    #[must_use]
    pub fn open(setup: &Setup) -> Option<Self> {
        for kind in installed(setup.codec) {
            let known = BROKEN.lock().unwrap_or_else(PoisonError::into_inner);
            if known.contains(&kind.name()) {
                continue;
            }
            drop(known);
            match Self::tried(kind, setup) {
                Ok(coder) => {
                    log(Level::Information, &format!("{} encodes", kind.name()));
                    return Some(coder);
                }
                Err(why) => {
                    log(Level::Warning, &format!("{} cannot be used: {why}", kind.name()));
                    if kind.hardware {
                        let mut known = BROKEN.lock().unwrap_or_else(PoisonError::into_inner);
                        known.push(kind.name());
                    }
                }
            }
        }
        None
    }

    /// One of this kind that has encoded a picture.
    fn tried(kind: &'static Kind, setup: &Setup) -> Result<Self, String> {
        let mut coder = Self::new(kind, setup)?;
        let grey = vec![0x7f; coder.stride * coder.padded.1];
        let buffer = coder.buffer(0, |to| to.copy_from_slice(&grey));
        match buffer.ok_or(Error::Failed).and_then(|buffer| coder.run(buffer, FIRST)) {
            Ok(_) => Ok(coder),
            Err(Error::Late) => Err("it took too long for its first picture".to_owned()),
            Err(Error::Failed) => Err("it has failed at its first picture".to_owned()),
        }
    }

    fn new(kind: &'static Kind, setup: &Setup) -> Result<Self, String> {
        if !SIDES.contains(&setup.width) || !SIDES.contains(&setup.height) {
            return Err(format!("{} by {} pixels", setup.width, setup.height));
        }
        // Rows of packed formats are padded to four bytes by default (`gst_video_info_set_format`).
        let (format, pixel) = match setup.bits {
            16 => ("RGB15", 2),
            24 => ("BGR", 3),
            32 => ("BGRx", 4),
            bits => return Err(format!("pixels of {bits} bits")),
        };
        let pad = |n: u32| if kind.is_even() { n.next_multiple_of(2) } else { n };
        let size = (pad(setup.width), pad(setup.height));
        let raw = |format: &str| {
            gst::Caps::builder("video/x-raw")
                .field("format", format)
                .field("width", int(size.0))
                .field("height", int(size.1))
                // Frames come when they come, but x264 keeps one back if it is told so.
                .field("framerate", gst::Fraction::new(NOMINAL, 1))
        };
        let source = app::AppSrc::builder()
            .caps(&raw(format).build())
            .format(gst::Format::Time)
            .stream_type(app::AppStreamType::Stream)
            .build();
        let sink = app::AppSink::builder()
            .caps(&caps(kind.coded)?)
            .sync(false)
            .max_buffers(4)
            .enable_last_sample(false)
            .build();
        let encoder = make(kind.name())?;
        kind.prepare(&encoder, setup);
        let pipeline = gst::Pipeline::new();
        let mut chain = vec![
            source.clone().upcast(),
            make("videoconvert")?,
            filter(gst::Caps::builder("video/x-raw").field("format", kind.raw).build())?,
            encoder.clone(),
        ];
        if let Some(parser) = kind.parser
            && let Ok(parser) = make(parser)
        {
            crate::elements::set(&parser, "config-interval", "-1");
            chain.push(parser);
        }
        chain.push(sink.clone().upcast());
        pipeline.add_many(&chain).map_err(|e| e.to_string())?;
        gst::Element::link_many(&chain).map_err(|e| e.to_string())?;
        let coder = Self {
            kind,
            setup: *setup,
            row: whole(setup.width) * pixel,
            stride: (whole(size.0) * pixel).next_multiple_of(4),
            padded: (whole(size.0), whole(size.1)),
            pipeline,
            source,
            encoder,
            sink,
            rate: (setup.rate, setup.quality),
            last: 0,
            interval: 1e6 / f64::from(NOMINAL),
            given: setup.rate,
            bytes: Vec::new(),
        };
        if coder.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(coder.complaint().unwrap_or_else(|| "it does not start".to_owned()));
        }
        Ok(coder)
    }

    /// Bits per second and quality from the next picture on.
    pub fn set_rate(&mut self, rate: u64, quality: u32) {
        if self.rate != (rate, quality) {
            self.rate = (rate, quality);
            self.give_rate();
        }
    }

    fn give_rate(&mut self) {
        self.given = self.due_rate();
        self.kind.set_rate(&self.encoder, self.given, self.rate.1);
    }

    /// Bits per second for an element that takes so many pictures to come in a second as it was told first.
    fn due_rate(&self) -> u64 {
        if self.kind.reads_times() {
            return self.rate.0;
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "an estimate")]
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let rate = (self.rate.0 as f64 * self.interval * f64::from(NOMINAL) / 1e6) as u64;
        rate
    }

    /// A picture of this time, microseconds, is next.
    fn pace(&mut self, time: u64) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let since = time.saturating_sub(self.last).clamp(SHOWN.0 / 2, SHOWN.1 * 2) as f64;
        self.interval += (since - self.interval) / 16.0;
        let due = self.due_rate();
        if due.abs_diff(self.given) > self.given / 12 {
            self.give_rate();
        }
    }

    /// Encodes a picture; true if that gave a key frame.
    ///
    /// # Errors
    /// [`Error`].
    ///
    /// # Safety
    /// The rows of a picture of the setup's size can be read.
    pub unsafe fn encode(&mut self, picture: &Picture) -> Result<bool, Error> {
        let (width, height, row) = (self.padded.0, whole(self.setup.height), self.row);
        let (stride, pixel) = (self.stride, row / whole(self.setup.width));
        // The first moment was that of the picture for trying.
        let time = picture.time.saturating_add(1);
        self.pace(time);
        let buffer = self.buffer(time, |to| {
            for (y, to) in to.chunks_exact_mut(stride).enumerate() {
                // Below the last row it is repeated, and beside the last column.
                let y = isize::try_from(y.min(height - 1)).unwrap_or(0);
                // SAFETY: the caller vouches for as many rows as the setup says, at this distance.
                let start = unsafe { picture.top.offset(y * picture.stride) };
                // SAFETY: as above; each row has this many bytes.
                let from = unsafe { slice::from_raw_parts(start, row) };
                if let Some(to) = to.get_mut(..row) {
                    to.copy_from_slice(from);
                }
                if width * pixel > row && row >= pixel && to.len() >= row + pixel {
                    to.copy_within(row - pixel..row, row);
                }
            }
        });
        let buffer = buffer.ok_or(Error::Failed)?;
        if picture.key != 0 {
            self.ask_for_key();
        }
        let key = self.run(buffer, Duration::from_millis(self.setup.patience.into()))?;
        Ok(key)
    }

    /// The last frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A picture of this time, microseconds.
    fn buffer(&mut self, time: u64, fill: impl FnOnce(&mut [u8])) -> Option<gst::Buffer> {
        let mut buffer = gst::Buffer::with_size(self.stride * self.padded.1).ok()?;
        // Some encoders reckon with how long a picture is shown; it will be as long as the one before.
        let shown = time.saturating_sub(self.last).clamp(SHOWN.0, SHOWN.1);
        self.last = time;
        let inner = buffer.get_mut()?;
        inner.set_pts(gst::ClockTime::from_useconds(time));
        inner.set_duration(gst::ClockTime::from_useconds(shown));
        fill(&mut inner.map_writable().ok()?);
        Some(buffer)
    }

    /// The next picture becomes a key frame with everything that a decoder needs to begin.
    fn ask_for_key(&self) {
        let structure =
            gst::Structure::builder("GstForceKeyUnit").field("all-headers", true).build();
        let event = gst::event::CustomUpstream::new(structure);
        if let Some(pad) = self.encoder.static_pad("src") {
            pad.send_event(event);
        }
    }

    fn run(&mut self, buffer: gst::Buffer, patience: Duration) -> Result<bool, Error> {
        let pushed = self.source.push_buffer(buffer).is_ok();
        let patience = gst::ClockTime::try_from(patience).ok();
        let sample = if pushed { self.sink.try_pull_sample(patience) } else { None };
        if let Some(complaint) = self.complaint() {
            log(Level::Warning, &format!("{}: {complaint}", self.kind.name()));
            return Err(Error::Failed);
        }
        let Some(sample) = sample else {
            let ended = !pushed || self.sink.is_eos();
            return Err(if ended { Error::Failed } else { Error::Late });
        };
        let buffer = sample.buffer().ok_or(Error::Failed)?;
        let bytes = buffer.map_readable().map_err(|_| Error::Failed)?;
        self.bytes.clear();
        self.bytes.extend_from_slice(&bytes);
        Ok(!buffer.flags().contains(gst::BufferFlags::DELTA_UNIT))
    }

    /// What the pipeline has to complain about. Everything else that it says is thrown away, or it would pile up.
    fn complaint(&self) -> Option<String> {
        let bus = self.pipeline.bus()?;
        let mut complaint = None;
        while let Some(message) = bus.pop() {
            if let gst::MessageView::Error(error) = message.view() {
                complaint.get_or_insert_with(|| {
                    let source = error.src().map(|source| source.name().to_string());
                    format!("{} ({})", error.error(), source.unwrap_or_default())
                });
            }
        }
        complaint
    }
}

impl Drop for Coder {
    fn drop(&mut self) {
        // It cannot be helped if that fails.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn make(name: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(name).build().map_err(|error| error.to_string())
}

fn filter(caps: gst::Caps) -> Result<gst::Element, String> {
    let element = gst::ElementFactory::make("capsfilter").property("caps", caps);
    element.build().map_err(|error| error.to_string())
}

fn caps(text: &str) -> Result<gst::Caps, String> {
    text.parse().map_err(|_| format!("{text} is no format"))
}

fn int(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn whole(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;

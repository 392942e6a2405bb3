//! The display channel of a streaming agent's port (thread `spice-disp-N`): video that the guest has encoded, passed on.
//!
//! There is one surface, of the stream's size, and one stream on it. What a client has been told of is compared with what
//! is so now when it has room; so a guest that changes its mind all the time makes no queue.
//!
//! Frames are another matter, because most codecs build each on the one before. The device is read only while the client
//! that is fastest has taken what came, as far as [`StreamLine`] goes. One that is slower than that one gets the newest
//! frame if every frame is a picture of its own; otherwise it waits for the stream to begin anew, which the guest is asked
//! for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::protocol::caps::{Caps, ChannelType, display as cap};
use crate::protocol::display::{self as wire, DisplayRequest, Head, SurfaceCreate};
use crate::protocol::message::{Bulk, Message};
use crate::transport::reactor::Key;
use crate::video::codecs::Codec;

use super::Upward;
use super::clients::{Client, Clients};
use super::device::{DeviceId, DeviceTask};
use super::display::decodes;
use super::engine::{Channel, Turn};

/// Frames and formats of the guest that may be on their way to the fastest client.
const ON_THE_WAY: usize = 2;
/// Frames that wait for a client at most, and their bytes: of pictures by themselves, and of those that need the ones
/// before. Of the latter two may wait in any case.
const PICTURES_WAITING: usize = 2;
const FRAMES_WAITING: usize = 64;
const BYTES_WAITING: usize = 8 << 20;
/// How often the guest is asked to begin anew for clients that have missed frames, at most.
const RESTART_EVERY: Duration = Duration::from_secs(5);
/// Numbers of streams, as those of other displays.
const STREAM_IDS: u32 = 50;
/// What clients are to report on a stream, as the original has it: frames, milliseconds.
const REPORT: (u32, u32) = (5, 1000);
/// Bytes that the kernel keeps unsent for a client with a slow link.
const SLOW_BACKLOG: usize = 64 * 1024;
/// `SPICE_SURFACE_FMT_32_xRGB`.
const XRGB: u32 = 32;

/// What is on its way from a device to its display; both sides share it.
#[derive(Debug, Default)]
pub struct StreamLine {
    on_the_way: AtomicUsize,
    /// The device is not read for this reason.
    device_waits: AtomicBool,
}

impl StreamLine {
    /// Host's side: false if the device must not be read now; [`DeviceTask::Room`] tells when it may.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.on_the_way.load(Ordering::SeqCst) < ON_THE_WAY || {
            // SeqCst, here and in `took`: one of the two sees what the other has done.
            self.device_waits.store(true, Ordering::SeqCst);
            self.on_the_way.load(Ordering::SeqCst) < ON_THE_WAY
        }
    }

    /// Host's side: an order was given.
    pub fn give(&self) {
        self.on_the_way.fetch_add(1, Ordering::SeqCst);
    }

    /// Channel's thread: so many are dealt with. True if the device is to be read again.
    #[must_use]
    fn took(&self, orders: usize) -> bool {
        self.on_the_way.fetch_sub(orders, Ordering::SeqCst);
        orders > 0 && self.device_waits.swap(false, Ordering::SeqCst)
    }
}

/// What the channel is told by its device's side.
#[derive(Debug)]
pub enum StreamOrder {
    /// A stream begins. Counted by [`StreamLine::give`].
    Format {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Codec as the protocol numbers it.
        codec: u8,
    },
    /// A frame, which began to come at this media time. Counted by [`StreamLine::give`].
    Frame(u32, Vec<u8>),
    /// The port is closed: no stream, no screen.
    End,
}

/// A stream of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    size: (u32, u32),
    codec: u8,
    /// As clients know it.
    id: u32,
    /// Counts the streams, from 1.
    number: u64,
}

/// A frame that waits for a client.
#[derive(Debug, Clone)]
struct Frame {
    number: u64,
    time: u32,
    data: Bulk,
}

/// One client.
#[derive(Debug, Default)]
struct Peer {
    caps: Caps,
    welcomed: bool,
    /// The screen and the stream that it knows.
    surface: Option<(u32, u32)>,
    stream: Option<Format>,
    /// The first stream that it can follow from the beginning.
    from: u64,
    /// What it has to be told before anything else.
    script: VecDeque<Message>,
    frames: VecDeque<Frame>,
    bytes: usize,
    dropped: u64,
}

/// State of the channel.
pub struct StreamDisplay {
    upward: Arc<dyn Upward>,
    device: DeviceId,
    line: Arc<StreamLine>,
    peers: BTreeMap<Key, Peer>,
    surface: Option<(u32, u32)>,
    stream: Option<Format>,
    /// Streams and frames so far.
    streams: u64,
    frames: u64,
    /// Frames that no client has taken.
    open: VecDeque<u64>,
    /// What the guest was told last.
    codecs: Vec<u8>,
    restarted: Option<Instant>,
}

impl StreamDisplay {
    /// The channel of a device.
    #[must_use]
    pub fn new(upward: Arc<dyn Upward>, device: DeviceId, line: Arc<StreamLine>) -> Self {
        Self {
            upward,
            device,
            line,
            peers: BTreeMap::new(),
            surface: None,
            stream: None,
            streams: 0,
            frames: 0,
            open: VecDeque::new(),
            codecs: Vec::new(),
            restarted: None,
        }
    }

    /// Codecs that every client decodes, which is said of MJPEG unasked; none without a client.
    fn common_codecs(&self) -> Vec<u8> {
        if self.peers.is_empty() {
            return Vec::new();
        }
        let all = |codec: &Codec| self.peers.values().all(|peer| decodes(&peer.caps, *codec));
        let common = Codec::ALL.into_iter().filter(|c| *c == Codec::Mjpeg || all(c));
        let mut numbers: Vec<u8> = common.map(|codec| codec as u8).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Asks the guest to begin anew, or to stop.
    fn restart(&mut self) {
        self.codecs = self.common_codecs();
        self.restarted = Some(Instant::now());
        self.upward.device(self.device, DeviceTask::Codecs(self.codecs.clone()));
    }

    /// When the guest is to be asked for a new stream for those who wait for one; it is asked if that is now.
    fn help_lost(&mut self) -> Option<Instant> {
        let stream = self.stream.filter(|stream| !is_pictures(stream))?;
        let lost = |peer: &Peer| peer.from > stream.number && peer.dropped > 0;
        if !self.peers.values().any(lost) {
            return None;
        }
        let due = self.restarted.map(|at| at + RESTART_EVERY);
        if due.is_none_or(|due| due <= Instant::now()) {
            self.restart();
        }
        self.restarted.map(|at| at + RESTART_EVERY)
    }

    fn format(&mut self, size: (u32, u32), codec: u8) {
        let id = self.stream.map_or(0, |stream| (stream.id + 1) % STREAM_IDS);
        self.streams += 1;
        self.surface = Some(size);
        self.stream = Some(Format { size, codec, id, number: self.streams });
        self.forget_frames();
    }

    fn forget_frames(&mut self) {
        for peer in self.peers.values_mut() {
            peer.frames.clear();
            peer.bytes = 0;
        }
    }

    /// Queues a frame for everybody who can follow the stream.
    fn frame(&mut self, time: u32, bytes: Vec<u8>) {
        let Some(stream) = self.stream else { return self.took(1) };
        self.frames += 1;
        self.open.push_back(self.frames);
        let frame = Frame { number: self.frames, time, data: Bulk::whole(Arc::new(bytes)) };
        for peer in self.peers.values_mut() {
            peer.push(&stream, &frame);
        }
    }

    /// Sends to everybody who has room, and lets the device be read as far as the fastest one is.
    fn pump(&mut self, clients: &mut Clients) {
        let (surface, stream) = (self.surface, self.stream);
        for (key, peer) in &mut self.peers {
            clients.feed(*key, |feed| match peer.next(surface, stream) {
                Some(message) => {
                    feed.send(message);
                    true
                }
                None => false,
            });
            if let Some(client) = clients.get(*key) {
                client.waits(peer.frames.len() + peer.script.len(), peer.dropped);
            }
        }
        let follows = |peer: &&Peer| stream.is_some_and(|s| peer.follows(&s));
        let behind = self
            .peers
            .values()
            .filter(follows)
            .map(|peer| peer.frames.front().map_or(self.frames, |first| first.number - 1));
        // Without anybody who follows it, a frame is dealt with.
        let reached = behind.max().unwrap_or(self.frames);
        let before = self.open.len();
        self.open.retain(|number| *number > reached);
        self.took(before - self.open.len());
    }

    fn took(&self, orders: usize) {
        if self.line.took(orders) {
            self.upward.device(self.device, DeviceTask::Room);
        }
    }
}

/// True if each frame is a picture by itself.
fn is_pictures(stream: &Format) -> bool {
    stream.codec == Codec::Mjpeg as u8
}

impl Peer {
    /// True if it gets the frames of this stream.
    fn follows(&self, stream: &Format) -> bool {
        is_pictures(stream) || stream.number >= self.from
    }

    fn push(&mut self, stream: &Format, frame: &Frame) {
        if !self.follows(stream) {
            return;
        }
        self.bytes += frame.data.len();
        self.frames.push_back(frame.clone());
        let most = if is_pictures(stream) { PICTURES_WAITING } else { FRAMES_WAITING };
        let waiting = self.frames.len();
        if waiting <= most && (self.bytes <= BYTES_WAITING || waiting <= PICTURES_WAITING) {
            return;
        }
        if is_pictures(stream) {
            let keep = self.frames.pop_back();
            self.forget();
            self.bytes = keep.as_ref().map_or(0, |frame| frame.data.len());
            self.frames.extend(keep);
        } else {
            self.forget();
            self.from = stream.number + 1;
        }
    }

    fn forget(&mut self) {
        self.dropped += self.frames.len() as u64;
        self.frames.clear();
        self.bytes = 0;
    }

    /// The next message to it.
    fn next(&mut self, surface: Option<(u32, u32)>, stream: Option<Format>) -> Option<Message> {
        if self.script.is_empty() {
            self.catch_up(surface, stream.filter(|stream| self.follows(stream)));
        }
        if let Some(message) = self.script.pop_front() {
            return Some(message);
        }
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.data.len();
        let stream = self.stream?;
        Some(wire::stream_data(stream.id, frame.time, None, frame.data))
    }

    /// What it has to be told until it knows this screen and this stream.
    fn catch_up(&mut self, surface: Option<(u32, u32)>, stream: Option<Format>) {
        let late = !std::mem::replace(&mut self.welcomed, true);
        if late {
            self.script.push_back(wire::inval_all_palettes());
        }
        if self.stream != stream
            && let Some(old) = self.stream.take()
        {
            self.script.push_back(wire::stream_destroy(old.id));
        }
        if self.surface != surface {
            if self.surface.take().is_some() {
                self.script.push_back(wire::surface_destroy(0));
            }
            if let Some(size) = surface {
                self.screen(size, late);
            }
            self.surface = surface;
        }
        if let Some(new) = stream.filter(|_| self.stream.is_none()) {
            self.script.push_back(wire::stream_create_whole(new.id, new.codec, new.size));
            if self.caps.has(cap::STREAM_REPORT) {
                let (frames, timeout) = REPORT;
                self.script.push_back(wire::stream_activate_report(new.id, 1, frames, timeout));
            }
            self.stream = stream;
        }
    }

    /// A screen; one that was there before the client is painted black for it.
    fn screen(&mut self, (width, height): (u32, u32), late: bool) {
        let streaming = self.caps.has(cap::MULTI_CODEC);
        let flags =
            wire::SURFACE_PRIMARY | if streaming { wire::SURFACE_STREAMING_MODE } else { 0 };
        let create = SurfaceCreate { id: 0, width, height, format: XRGB, flags };
        self.script.push_back(wire::surface_create(&create));
        if self.caps.has(cap::MONITORS_CONFIG) {
            let head = Head { id: 0, surface_id: 0, width, height, x: 0, y: 0, flags: 0 };
            self.script.push_back(wire::monitors_config(&[head], 1));
        }
        if late {
            self.script.push_back(wire::black_fill(width, height));
        }
        self.script.push_back(wire::mark());
    }
}

impl Channel for StreamDisplay {
    type Order = StreamOrder;
    const TYPE: ChannelType = ChannelType::DISPLAY;
    const USES_ACKS: bool = true;
    /// As many frames as there are: they keep time by themselves, and acknowledgements would bound them to 40 in a
    /// round trip.
    const FREE_BYTES: u64 = 256 * 1024;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        let Some(client) = clients.get(key) else { return };
        // In the middle of a stream: only of pictures by themselves.
        let peer = Peer { caps: client.caps.clone(), from: self.streams + 1, ..Peer::default() };
        if client.speed.is_slow() {
            clients.limit_backlog(key, SLOW_BACKLOG);
        }
        self.peers.insert(key, peer);
        self.restart();
        self.pump(clients);
    }

    fn request(
        &mut self,
        _clients: &mut Clients,
        _key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String> {
        match DisplayRequest::parse(kind, body).map_err(|e| e.to_string())? {
            DisplayRequest::GlDrawDone => Err("GL_DRAW_DONE without a draw".to_owned()),
            // Nothing here depends on a client's caches, and the guest decides by itself how it encodes.
            DisplayRequest::Init(_)
            | DisplayRequest::PreferredCompression(_)
            | DisplayRequest::StreamReport(_)
            | DisplayRequest::PreferredVideoCodecs(_)
            | DisplayRequest::Common(_) => Ok(()),
        }
    }

    fn order(&mut self, _clients: &mut Clients, order: StreamOrder) {
        match order {
            StreamOrder::Format { width, height, codec } => {
                self.format((width, height), codec);
                self.took(1);
            }
            StreamOrder::Frame(time, bytes) => self.frame(time, bytes),
            StreamOrder::End => {
                (self.surface, self.stream) = (None, None);
                self.forget_frames();
            }
        }
    }

    fn room(&mut self, clients: &mut Clients, _key: Key) {
        self.pump(clients);
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        self.peers.remove(&key);
        if self.common_codecs() != self.codecs {
            self.restart();
        }
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        self.pump(clients);
        self.help_lost().map_or(Turn::Idle, Turn::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: Format = Format { size: (64, 48), codec: 1, id: 0, number: 1 };
    const VP8: Format = Format { size: (64, 48), codec: 2, id: 1, number: 2 };

    fn frame(number: u64, bytes: usize) -> Frame {
        Frame { number, time: 1, data: Bulk::whole(Arc::new(vec![0; bytes])) }
    }

    fn peer_with(caps: &[u32]) -> Peer {
        Peer { caps: Caps::from_bits(caps), ..Peer::default() }
    }

    fn kinds(peer: &mut Peer, stream: Option<Format>) -> Vec<u16> {
        let surface = stream.map(|stream| stream.size);
        std::iter::from_fn(|| peer.next(surface, stream).map(|m| m.kind)).collect()
    }

    #[test]
    fn a_client_is_told_what_it_does_not_know_and_no_more() {
        let mut peer = peer_with(&[cap::MONITORS_CONFIG, cap::STREAM_REPORT, cap::MULTI_CODEC]);
        assert_eq!(kinds(&mut peer, Some(JPEG)), [108, 314, 317, 302, 102, 122, 319]);
        assert!(kinds(&mut peer, Some(JPEG)).is_empty());
        peer.push(&JPEG, &frame(1, 9));
        assert_eq!(kinds(&mut peer, Some(JPEG)), [123]);
        assert_eq!(kinds(&mut peer, Some(VP8)), [125, 122, 319], "the same size: the same screen");
        let other = Format { size: (32, 32), id: 2, number: 3, ..VP8 };
        assert_eq!(kinds(&mut peer, Some(other)), [125, 315, 314, 317, 102, 122, 319]);
        assert_eq!(kinds(&mut peer, None), [125, 315]);
        assert_eq!(kinds(&mut peer_with(&[]), Some(JPEG)), [108, 314, 302, 102, 122]);
    }

    #[test]
    fn nobody_joins_a_stream_whose_beginning_it_has_missed() {
        let mut peer = Peer { from: 3, ..peer_with(&[]) };
        peer.push(&VP8, &frame(1, 9));
        assert_eq!(kinds(&mut peer, Some(VP8)), [108, 314, 302, 102]);
        let new = Format { number: 3, id: 2, ..VP8 };
        assert_eq!(kinds(&mut peer, Some(new)), [122]);
        peer.push(&new, &frame(2, 9));
        assert_eq!(kinds(&mut peer, Some(new)), [123]);
    }

    #[test]
    fn who_is_slow_gets_the_newest_picture_or_waits_for_a_new_stream() {
        let mut peer = peer_with(&[]);
        (1..=10).for_each(|n| peer.push(&JPEG, &frame(n, 100)));
        assert_eq!((peer.frames.back().map(|f| f.number), peer.bytes), (Some(10), 200));
        assert!(peer.frames.len() <= PICTURES_WAITING && peer.dropped >= 8);
        let mut peer = peer_with(&[]);
        for n in 1..=FRAMES_WAITING as u64 {
            peer.push(&VP8, &frame(n, 100));
        }
        assert_eq!(peer.frames.len(), FRAMES_WAITING);
        peer.push(&VP8, &frame(99, 100));
        assert!(peer.frames.is_empty() && !peer.follows(&VP8) && peer.bytes == 0);
        assert!(peer.follows(&Format { number: 3, ..VP8 }));
        let mut peer = peer_with(&[]);
        (1..=2).for_each(|n| peer.push(&VP8, &frame(n, 30 << 20)));
        assert_eq!(peer.frames.len(), 2, "two may wait however large they are");
        peer.push(&VP8, &frame(3, 1));
        assert!(peer.frames.is_empty());
    }

    #[test]
    fn the_device_waits_while_two_orders_are_on_their_way() {
        let line = StreamLine::default();
        line.give();
        assert!(line.has_room());
        line.give();
        assert!(!line.has_room());
        assert!(line.took(1), "who waits is told");
        assert!(line.has_room() && !line.took(1), "and once");
    }
}

//! Messages of the display channel, without the drawing ones: those belong to `display::encode`.

use super::common::{ClientCommon, WaitFor, wait_list};
use super::error::MessageError;
use super::geometry::Rect;
use super::message::{Bulk, Message};
use super::wire::{Reader, WireWrite};

/// Types that the server sends.
pub mod server {
    /// Size of the screen; legacy, never sent.
    pub const MODE: u16 = 101;
    /// The primary surface is meaningful now.
    pub const MARK: u16 = 102;
    /// Forget everything; never sent.
    pub const RESET: u16 = 103;
    /// A move inside a surface.
    pub const COPY_BITS: u16 = 104;
    /// Some cached images are no longer valid.
    pub const INVAL_LIST: u16 = 105;
    /// No cached image is valid any longer.
    pub const INVAL_ALL_PIXMAPS: u16 = 106;
    /// One cached palette is no longer valid.
    pub const INVAL_PALETTE: u16 = 107;
    /// No cached palette is valid any longer.
    pub const INVAL_ALL_PALETTES: u16 = 108;
    /// A video stream begins.
    pub const STREAM_CREATE: u16 = 122;
    /// A frame of a stream.
    pub const STREAM_DATA: u16 = 123;
    /// A stream's new clip.
    pub const STREAM_CLIP: u16 = 124;
    /// A stream ends.
    pub const STREAM_DESTROY: u16 = 125;
    /// All streams end.
    pub const STREAM_DESTROY_ALL: u16 = 126;
    /// Fill with a brush.
    pub const DRAW_FILL: u16 = 302;
    /// An image and a brush.
    pub const DRAW_OPAQUE: u16 = 303;
    /// An image.
    pub const DRAW_COPY: u16 = 304;
    /// An image, blended by raster operation.
    pub const DRAW_BLEND: u16 = 305;
    /// Zeros.
    pub const DRAW_BLACKNESS: u16 = 306;
    /// Ones.
    pub const DRAW_WHITENESS: u16 = 307;
    /// Inversion.
    pub const DRAW_INVERS: u16 = 308;
    /// Ternary raster operation.
    pub const DRAW_ROP3: u16 = 309;
    /// Lines.
    pub const DRAW_STROKE: u16 = 310;
    /// Glyphs.
    pub const DRAW_TEXT: u16 = 311;
    /// An image with a colour key.
    pub const DRAW_TRANSPARENT: u16 = 312;
    /// An image with alpha.
    pub const DRAW_ALPHA_BLEND: u16 = 313;
    /// A surface comes to be.
    pub const SURFACE_CREATE: u16 = 314;
    /// A surface goes.
    pub const SURFACE_DESTROY: u16 = 315;
    /// A frame of another size than its stream.
    pub const STREAM_DATA_SIZED: u16 = 316;
    /// Heads of the primary surface.
    pub const MONITORS_CONFIG: u16 = 317;
    /// Render composition.
    pub const DRAW_COMPOSITE: u16 = 318;
    /// The client is to report on a stream.
    pub const STREAM_ACTIVATE_REPORT: u16 = 319;
    /// A GL picture of one plane; its descriptor follows out of band.
    pub const GL_SCANOUT_UNIX: u16 = 320;
    /// Part of the GL picture has changed.
    pub const GL_DRAW: u16 = 321;
    /// Quality the server sends; unused.
    pub const QUALITY_INDICATOR: u16 = 322;
    /// A GL picture of several planes; their descriptors follow out of band.
    pub const GL_SCANOUT2_UNIX: u16 = 323;
}

/// Types that a client sends.
pub mod client {
    /// First message: its caches.
    pub const INIT: u16 = 101;
    /// How a stream goes.
    pub const STREAM_REPORT: u16 = 102;
    /// Image compression that it wants.
    pub const PREFERRED_COMPRESSION: u16 = 103;
    /// A GL picture was shown.
    pub const GL_DRAW_DONE: u16 = 104;
    /// Video codecs that it wants.
    pub const PREFERRED_VIDEO_CODEC_TYPE: u16 = 105;
}

/// Largest GLZ window in pixels; clients may ask for more.
pub const GLZ_WINDOW_MAX: u32 = 1 << 25;

/// SURFACE_CREATE flag: this is the screen.
pub const SURFACE_PRIMARY: u32 = 1;
/// SURFACE_CREATE flag: the surface is going to show video only.
pub const SURFACE_STREAMING_MODE: u32 = 2;

/// Fields of SURFACE_CREATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfaceCreate {
    /// Number of the surface; 0 is the primary one.
    pub id: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixel format as the protocol numbers it.
    pub format: u32,
    /// [`SURFACE_PRIMARY`], [`SURFACE_STREAMING_MODE`].
    pub flags: u32,
}

/// One monitor on the primary surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the monitor.
    pub id: u32,
    /// Surface that it shows, in practice 0.
    pub surface_id: u32,
    /// Columns; 0 if it is off.
    pub width: u32,
    /// Rows; 0 if it is off.
    pub height: u32,
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Flags of the guest, passed on.
    pub flags: u32,
}

/// MARK: the primary surface is meaningful now.
#[must_use]
pub fn mark() -> Message {
    Message::new(server::MARK, Vec::new())
}

/// SURFACE_CREATE.
#[must_use]
pub fn surface_create(s: &SurfaceCreate) -> Message {
    let mut body = Vec::with_capacity(20);
    body.put_u32(s.id).put_u32(s.width).put_u32(s.height).put_u32(s.format).put_u32(s.flags);
    Message::new(server::SURFACE_CREATE, body)
}

/// SURFACE_DESTROY.
#[must_use]
pub fn surface_destroy(id: u32) -> Message {
    Message::new(server::SURFACE_DESTROY, id.to_le_bytes().to_vec())
}

/// MONITORS_CONFIG, only for clients with its capability. Heads without a pixel are left out.
///
/// `max_allowed` is raised to the number of heads: clients cut the list to it. A message without
/// heads is ignored by stock clients.
#[must_use]
pub fn monitors_config(heads: &[Head], max_allowed: u16) -> Message {
    let lit = || heads.iter().filter(|h| h.width > 0 && h.height > 0).take(u16::MAX.into());
    let count = u16::try_from(lit().count()).unwrap_or(u16::MAX);
    let mut body = Vec::with_capacity(4 + 28 * usize::from(count));
    body.put_u16(count).put_u16(max_allowed.max(count));
    for h in lit() {
        body.put_u32(h.id).put_u32(h.surface_id).put_u32(h.width).put_u32(h.height);
        body.put_u32(h.x).put_u32(h.y).put_u32(h.flags);
    }
    Message::new(server::MONITORS_CONFIG, body)
}

/// INVAL_LIST: these images leave the client's cache. Takes at most 65,535 of them.
#[must_use]
pub fn inval_list(images: &[u64]) -> Message {
    /// Kind of resource: a cached image, the only one there is.
    const PIXMAP: u8 = 1;
    let count = u16::try_from(images.len()).unwrap_or(u16::MAX);
    let mut body = Vec::with_capacity(2 + 9 * usize::from(count));
    body.put_u16(count);
    for id in images.iter().take(count.into()) {
        body.put_u8(PIXMAP).put_u64(*id);
    }
    Message::new(server::INVAL_LIST, body)
}

/// INVAL_ALL_PIXMAPS, after the other displays have come that far. Takes at most 255 waits.
#[must_use]
pub fn inval_all_pixmaps(waits: &[WaitFor]) -> Message {
    Message::new(server::INVAL_ALL_PIXMAPS, wait_list(waits))
}

/// INVAL_PALETTE: this palette leaves the client's cache.
#[must_use]
pub fn inval_palette(id: u64) -> Message {
    Message::new(server::INVAL_PALETTE, id.to_le_bytes().to_vec())
}

/// INVAL_ALL_PALETTES: the client's palette cache is empty.
#[must_use]
pub fn inval_all_palettes() -> Message {
    Message::new(server::INVAL_ALL_PALETTES, Vec::new())
}

/// STREAM_CREATE flag: the rows of the source come from the top down.
const STREAM_TOP_DOWN: u8 = 1;

/// Fields of STREAM_CREATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCreate<'a> {
    /// Number of the stream; none that is in use: stock clients ignore the message then.
    pub id: u32,
    /// Codec as the protocol numbers it.
    pub codec: u8,
    /// The source's first row in memory is its top one.
    pub top_down: bool,
    /// Width and height of a frame.
    pub size: (u32, u32),
    /// Where frames are put on the primary surface; they are scaled to it.
    pub place: Rect,
    /// What is seen of them.
    pub clip: &'a [Rect],
}

/// STREAM_CREATE, on surface 0.
#[must_use]
pub fn stream_create(s: &StreamCreate<'_>) -> Message {
    // surface + id + flags + codec + stamp + two sizes + place, and the clip
    let mut body = Vec::with_capacity(4 + 4 + 1 + 1 + 8 + 16 + 16 + 5 + 16 * s.clip.len());
    body.put_u32(0).put_u32(s.id).put_u8(if s.top_down { STREAM_TOP_DOWN } else { 0 });
    body.put_u8(s.codec).put_u64(0);
    body.put_u32(s.size.0).put_u32(s.size.1).put_u32(s.size.0).put_u32(s.size.1);
    body.put_rect(&s.place);
    put_clip(&mut body, s.clip);
    Message::new(server::STREAM_CREATE, body)
}

/// STREAM_CREATE of a stream that covers surface 0 of its own size, unclipped; rows from the top down.
#[must_use]
pub fn stream_create_whole(id: u32, codec: u8, (width, height): (u32, u32)) -> Message {
    const NO_CLIP: u8 = 0;
    let mut body = Vec::with_capacity(4 + 4 + 1 + 1 + 8 + 16 + 16 + 1);
    body.put_u32(0).put_u32(id).put_u8(STREAM_TOP_DOWN).put_u8(codec).put_u64(0);
    body.put_u32(width).put_u32(height).put_u32(width).put_u32(height);
    body.put_rect(&Rect::from_size(0, 0, width, height)).put_u8(NO_CLIP);
    Message::new(server::STREAM_CREATE, body)
}

/// DRAW_FILL: all of surface 0 is black.
#[must_use]
pub fn black_fill(width: u32, height: u32) -> Message {
    const NO_CLIP: u8 = 0;
    const SOLID: u8 = 1;
    const ROP_PUT: u16 = 8;
    // base, brush, rop; mask: flags, position, no bitmap
    let mut body = Vec::with_capacity(4 + 16 + 1 + 5 + 2 + 13);
    body.put_u32(0).put_rect(&Rect::from_size(0, 0, width, height)).put_u8(NO_CLIP);
    body.put_u8(SOLID).put_u32(0).put_u16(ROP_PUT);
    body.put_u8(0).put_u32(0).put_u32(0).put_u32(0);
    Message::new(server::DRAW_FILL, body)
}

/// STREAM_DATA, or STREAM_DATA_SIZED if the frame has another size or place than its stream.
///
/// `time` is the media time at which the client is to show it; never 0, which stock clients complain about.
#[must_use]
pub fn stream_data(id: u32, time: u32, sized: Option<((u32, u32), Rect)>, data: Bulk) -> Message {
    let size = u32::try_from(data.range.len()).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(4 + 4 + 8 + 16 + 4);
    body.put_u32(id).put_u32(time.max(1));
    let kind = match sized {
        None => server::STREAM_DATA,
        Some(((width, height), place)) => {
            body.put_u32(width).put_u32(height).put_rect(&place);
            server::STREAM_DATA_SIZED
        }
    };
    body.put_u32(size);
    Message { kind, body, bulk: vec![data], ..Message::default() }
}

/// STREAM_CLIP: what is seen of a stream from now on; nothing if there are no rectangles.
#[must_use]
pub fn stream_clip(id: u32, clip: &[Rect]) -> Message {
    let mut body = Vec::with_capacity(4 + 5 + 16 * clip.len());
    body.put_u32(id);
    put_clip(&mut body, clip);
    Message::new(server::STREAM_CLIP, body)
}

/// STREAM_ACTIVATE_REPORT: the client is to report after so many frames, or milliseconds.
#[must_use]
pub fn stream_activate_report(id: u32, unique: u32, frames: u32, timeout: u32) -> Message {
    let mut body = Vec::with_capacity(16);
    body.put_u32(id).put_u32(unique).put_u32(frames).put_u32(timeout);
    Message::new(server::STREAM_ACTIVATE_REPORT, body)
}

/// A clip of rectangles; more than 32 bits count do not occur.
fn put_clip(body: &mut Vec<u8>, clip: &[Rect]) {
    const RECTS: u8 = 1;
    body.put_u8(RECTS).put_u32(u32::try_from(clip.len()).unwrap_or(u32::MAX));
    for rect in clip {
        body.put_rect(rect);
    }
}

/// STREAM_DESTROY.
#[must_use]
pub fn stream_destroy(id: u32) -> Message {
    Message::new(server::STREAM_DESTROY, id.to_le_bytes().to_vec())
}

/// STREAM_DESTROY_ALL, at a reset of the device.
#[must_use]
pub fn stream_destroy_all() -> Message {
    Message::new(server::STREAM_DESTROY_ALL, Vec::new())
}

/// A client's first message: the caches that it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisplayInit {
    /// Which image cache; several displays of a client share it.
    pub pixmap_cache_id: u8,
    /// Pixels in the image cache.
    pub pixmap_cache_size: u64,
    /// Which GLZ dictionary; several displays of a client share it.
    pub glz_dictionary_id: u8,
    /// Pixels in the GLZ window, at most [`GLZ_WINDOW_MAX`].
    pub glz_window: u32,
}

/// How a video stream goes at the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReport {
    /// Number of the stream.
    pub stream_id: u32,
    /// Which use of that number.
    pub unique_id: u32,
    /// Media time of the first frame, ms.
    pub start_mm_time: u32,
    /// Media time of the last frame, ms.
    pub end_mm_time: u32,
    /// Frames in the report.
    pub num_frames: u32,
    /// Of them dropped.
    pub num_drops: u32,
    /// Time to show the last frame, ms; negative if it came late.
    pub last_frame_delay: i32,
    /// Delay of the sound, ms; `u32::MAX` if there is none.
    pub audio_delay: u32,
}

/// A message of a client on the display channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisplayRequest<'a> {
    /// One of the messages that all channels have.
    Common(ClientCommon<'a>),
    /// Must come once and first.
    Init(DisplayInit),
    /// How a stream goes.
    StreamReport(StreamReport),
    /// 1 off, 2 auto GLZ, 3 auto LZ, 4 QUIC, 5 GLZ, 6 LZ, 7 LZ4; others may come and are to be
    /// ignored.
    PreferredCompression(u8),
    /// A GL picture was shown.
    GlDrawDone,
    /// Codec numbers, best first; may be empty or hold unknown ones, which are to be ignored.
    PreferredVideoCodecs(&'a [u8]),
}

impl StreamReport {
    /// True if the client says that it cannot play the stream (spec 11, section 10.5); such a report has no
    /// unique id.
    #[must_use]
    pub fn cannot_play(&self) -> bool {
        self.num_frames == 0 && self.num_drops == u32::MAX
    }
}

impl<'a> DisplayRequest<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// [`MessageError`]: unknown type, short body, negative cache sizes. Bytes behind the last
    /// field are ignored.
    pub fn parse(kind: u16, body: &'a [u8]) -> Result<Self, MessageError> {
        let mut r = Reader::new(body);
        let short = MessageError::short(kind);
        Ok(match kind {
            client::INIT => Self::Init(parse_init(&mut r)?),
            client::STREAM_REPORT => Self::StreamReport(StreamReport {
                stream_id: r.u32().map_err(&short)?,
                unique_id: r.u32().map_err(&short)?,
                start_mm_time: r.u32().map_err(&short)?,
                end_mm_time: r.u32().map_err(&short)?,
                num_frames: r.u32().map_err(&short)?,
                num_drops: r.u32().map_err(&short)?,
                last_frame_delay: r.i32().map_err(&short)?,
                audio_delay: r.u32().map_err(&short)?,
            }),
            client::PREFERRED_COMPRESSION => Self::PreferredCompression(r.u8().map_err(short)?),
            client::GL_DRAW_DONE => Self::GlDrawDone,
            client::PREFERRED_VIDEO_CODEC_TYPE => {
                let count = r.u8().map_err(&short)?;
                Self::PreferredVideoCodecs(r.bytes(count.into()).map_err(&short)?)
            }
            _ => Self::Common(ClientCommon::parse(kind, body)?),
        })
    }
}

fn parse_init(r: &mut Reader<'_>) -> Result<DisplayInit, MessageError> {
    let kind = client::INIT;
    let short = MessageError::short(kind);
    let pixmap_cache_id = r.u8().map_err(&short)?;
    let size = r.i64().map_err(&short)?;
    let glz_dictionary_id = r.u8().map_err(&short)?;
    let window = r.i32().map_err(&short)?;

    let negative = |field, value| MessageError::Value { kind, field, value };
    let pixmap_cache_size = u64::try_from(size).map_err(|_| negative("pixmap cache size", size))?;
    let glz_window = u32::try_from(window).map_err(|_| negative("glz window", window.into()))?;
    Ok(DisplayInit {
        pixmap_cache_id,
        pixmap_cache_size,
        glz_dictionary_id,
        glz_window: glz_window.min(GLZ_WINDOW_MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::caps::ChannelType;

    #[test]
    fn server_messages_have_the_bytes_of_the_protocol() {
        assert_eq!((mark().kind, mark().len()), (102, 0));
        let create = SurfaceCreate { id: 1, width: 640, height: 480, format: 32, flags: 1 };
        let message = surface_create(&create);
        assert_eq!(message.kind, 314);
        assert_eq!(
            message.body,
            [1, 0, 0, 0, 0x80, 2, 0, 0, 0xe0, 1, 0, 0, 32, 0, 0, 0, 1, 0, 0, 0]
        );
        assert_eq!(
            (surface_destroy(2).kind, &surface_destroy(2).body[..]),
            (315, &[2, 0, 0, 0][..])
        );
        let list = inval_list(&[0x0102]);
        assert_eq!((list.kind, &list.body[..]), (105, &[1, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(inval_list(&vec![1; 70_000]).len(), 2 + 9 * 65_535);
        let wait = WaitFor { channel_type: ChannelType::DISPLAY, channel_id: 1, serial: 7 };
        let all = inval_all_pixmaps(&[wait]);
        assert_eq!((all.kind, &all.body[..3], all.len()), (106, &[1, 2, 1][..], 11));
        assert_eq!((inval_palette(1).kind, inval_palette(1).len()), (107, 8));
        assert_eq!((inval_all_palettes().kind, inval_all_palettes().len()), (108, 0));
        assert_eq!((stream_destroy(1).kind, stream_destroy(1).len()), (125, 4));
        assert_eq!((stream_destroy_all().kind, stream_destroy_all().len()), (126, 0));
    }

    #[test]
    fn messages_of_streams_have_the_bytes_of_the_protocol() {
        let place = Rect { left: 1, top: 2, right: 3, bottom: 4 };
        let size = (7, 8);
        let create = StreamCreate { id: 5, codec: 1, top_down: true, size, place, clip: &[place] };
        let message = stream_create(&create);
        let mut want = Vec::new();
        want.put_u32(0).put_u32(5).put_u8(1).put_u8(1).put_u64(0);
        want.put_u32(7).put_u32(8).put_u32(7).put_u32(8);
        // Rectangles are top, left, bottom, right.
        want.put_u32(2).put_u32(1).put_u32(4).put_u32(3);
        want.put_u8(1).put_u32(1).put_u32(2).put_u32(1).put_u32(4).put_u32(3);
        assert_eq!((message.kind, &message.body), (122, &want));
        let data = || Bulk::from(vec![9; 3]);
        let message = stream_data(5, 0, None, data());
        assert_eq!(
            (message.kind, &message.body[..]),
            (123, &[5, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0][..])
        );
        assert_eq!(message.len(), 15);
        let message = stream_data(5, 2, Some((size, place)), data());
        assert_eq!((message.kind, message.body.len()), (316, 36));
        assert_eq!(message.body[8..20], [7, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(stream_clip(5, &[]).body, [5, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!((stream_clip(5, &[place]).kind, stream_clip(5, &[place]).len()), (124, 25));
        let report = stream_activate_report(1, 2, 3, 4);
        assert_eq!((report.kind, report.body[8], report.len()), (319, 3, 16));
    }

    #[test]
    fn dark_heads_are_left_out_and_max_allowed_covers_the_rest() {
        let head = Head { id: 0, surface_id: 0, width: 8, height: 6, x: 1, y: 2, flags: 3 };
        let dark = Head { width: 0, ..head };
        let message = monitors_config(&[dark, head, Head { id: 1, ..head }], 0);
        assert_eq!((message.kind, message.len()), (317, 4 + 2 * 28));
        assert_eq!(message.body[..4], [2, 0, 2, 0]);
        assert_eq!(
            message.body[4..32],
            [0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]
        );
        assert_eq!(monitors_config(&[head], 4).body[..4], [1, 0, 4, 0]);
    }

    fn init_body(cache: i64, window: i32) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u8(1).put_i64(cache).put_u8(2).put_i32(window);
        body
    }

    #[test]
    fn init_clamps_the_window_and_refuses_negative_sizes() {
        let read = |cache, window| match DisplayRequest::parse(101, &init_body(cache, window)) {
            Ok(DisplayRequest::Init(init)) => Ok(init),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(
            read(20 << 20, 6_290_432),
            Ok(DisplayInit {
                pixmap_cache_id: 1,
                pixmap_cache_size: 20 << 20,
                glz_dictionary_id: 2,
                glz_window: 6_290_432
            })
        );
        assert_eq!(read(0, i32::MAX).map(|i| i.glz_window), Ok(1 << 25));
        assert!(matches!(read(-1, 0), Err(MessageError::Value { value: -1, .. })));
        assert!(matches!(read(0, -2), Err(MessageError::Value { value: -2, .. })));
    }

    #[test]
    fn the_other_client_messages_are_read() {
        let parse = DisplayRequest::parse;
        let mut body = Vec::new();
        for n in 1..=8 {
            body.put_u32(n);
        }
        assert!(matches!(
            parse(102, &body),
            Ok(DisplayRequest::StreamReport(StreamReport { stream_id: 1, audio_delay: 8, .. }))
        ));
        assert_eq!(parse(103, &[9]), Ok(DisplayRequest::PreferredCompression(9)));
        assert_eq!(parse(104, &[]), Ok(DisplayRequest::GlDrawDone));
        assert_eq!(parse(105, &[2, 3, 1, 77]), Ok(DisplayRequest::PreferredVideoCodecs(&[3, 1])));
        assert_eq!(parse(105, &[0]), Ok(DisplayRequest::PreferredVideoCodecs(&[])));
        assert_eq!(parse(2, &[]), Ok(DisplayRequest::Common(ClientCommon::Ack)));
    }

    #[test]
    fn short_and_unknown_messages_are_refused() {
        for (kind, full) in [(101, 14), (102, 32), (103, 1), (105, 1)] {
            for len in 0..full {
                let body = vec![0; len];
                assert!(matches!(
                    DisplayRequest::parse(kind, &body),
                    Err(MessageError::Short { .. })
                ));
            }
            assert!(DisplayRequest::parse(kind, &vec![0; full]).is_ok());
        }
        assert!(matches!(DisplayRequest::parse(105, &[2, 1]), Err(MessageError::Short { .. })));
        for kind in [0, 7, 100, 106] {
            assert_eq!(DisplayRequest::parse(kind, &[]), Err(MessageError::Unknown { kind }));
        }
    }
}

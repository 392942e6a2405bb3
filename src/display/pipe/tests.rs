//! A model server and a model client with the pipe between them: whatever is drawn, created and
//! destroyed, and whenever the client reads, in the end both have the same pixels.
//!
//! Both sides draw with the same naive executor, the client from decoded wire bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::display::encode::decode::{decode, point, rect};
use crate::display::encode::image::RawImages;
use crate::protocol::geometry::Point;
use crate::qxl::model::{
    BitmapFormat, Brush, DrawOp, Drawable, Image, ImageKind, Mask, Palette, SurfaceFormat,
    SurfaceRead,
};

const SURFACES: u32 = 4;

#[derive(Clone, PartialEq, Debug)]
struct Canvas {
    width: i32,
    height: i32,
    pixels: Vec<u32>,
}

fn index(x: i32, y: i32, width: i32) -> usize {
    usize::try_from(y * width + x).unwrap()
}

impl Canvas {
    fn new(width: i32, height: i32) -> Self {
        Self { width, height, pixels: vec![0; index(0, height, width)] }
    }

    fn bounds(&self) -> Rect {
        rect(0, 0, self.width, self.height)
    }

    fn get(&self, x: i32, y: i32) -> Option<u32> {
        self.bounds()
            .contains(&rect(x, y, x + 1, y + 1))
            .then(|| self.pixels[index(x, y, self.width)])
    }
}

#[derive(Clone, Default)]
struct World {
    surfaces: BTreeMap<u32, Canvas>,
}

impl World {
    fn load(&self, image: &Image) -> Canvas {
        match &image.kind {
            ImageKind::Surface(id) => self.surfaces[id].clone(),
            ImageKind::Bitmap(b) => {
                let size = |n: u32| i32::try_from(n).unwrap();
                let mut canvas = Canvas::new(size(b.width), size(b.height));
                for y in 0..b.height {
                    let row = if b.top_down { y } else { b.height - 1 - y } * b.stride;
                    for x in 0..b.width {
                        let byte = |n: u32| u32::from(b.data[(row + n) as usize]);
                        let value = match b.format {
                            BitmapFormat::Bit32 => (0..4).map(|n| byte(4 * x + n) << (8 * n)).sum(),
                            BitmapFormat::Bit8 => {
                                b.palette.as_ref().unwrap().entries[byte(x) as usize]
                            }
                            BitmapFormat::Bit1Be => byte(x / 8) >> (7 - x % 8) & 1,
                            other => panic!("{other:?} is not in the model"),
                        };
                        canvas.pixels[index(size(x), size(y), canvas.width)] = value;
                    }
                }
                canvas
            }
        }
    }

    fn execute(&mut self, drawable: &Drawable) {
        let before = self.surfaces[&drawable.surface_id].clone();
        let bbox = drawable.bbox;
        let (mask, brush, rop) = match &drawable.op {
            DrawOp::Fill { mask, brush, rop } | DrawOp::Opaque { mask, brush, rop, .. } => {
                (Some(mask), Some(brush), *rop)
            }
            DrawOp::Copy { mask, rop, .. } => (Some(mask), None, *rop),
            DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } | DrawOp::Invers { mask } => {
                (Some(mask), None, 8)
            }
            DrawOp::CopyBits { .. } => (None, None, 8),
        };
        let masked = mask.and_then(|m| Some((m, self.load(m.image.as_ref()?))));
        let tile = match brush {
            Some(Brush::Pattern { image, pos }) => Some((self.load(image), *pos)),
            _ => None,
        };
        let source = match &drawable.op {
            DrawOp::Copy { src, src_area, .. }
            | DrawOp::Opaque { src: Some(src), src_area, .. } => Some((self.load(src), *src_area)),
            DrawOp::Opaque { src: None, src_area, .. } => Some((before.clone(), *src_area)),
            DrawOp::CopyBits { src } => {
                let size = (bbox.width(), bbox.height());
                Some((before.clone(), Rect::from_size(src.x, src.y, size.0, size.1)))
            }
            _ => None,
        };
        let out = self.surfaces.get_mut(&drawable.surface_id).unwrap();
        let area = bbox.intersect(&before.bounds());
        for y in area.top..area.bottom {
            for x in area.left..area.right {
                let here = rect(x, y, x + 1, y + 1);
                if drawable.clip.as_ref().is_some_and(|c| !c.iter().any(|r| r.contains(&here))) {
                    continue;
                }
                if let Some((mask, bits)) = &masked {
                    let bit = bits.get(x - bbox.left + mask.pos.x, y - bbox.top + mask.pos.y);
                    if bit.is_none_or(|bit| (bit & 1 == 1) == mask.inverse) {
                        continue;
                    }
                }
                let old = before.pixels[index(x, y, before.width)];
                let paint = match (&tile, brush) {
                    (Some((tile, pos)), _) => tile
                        .get(
                            (x - pos.x).rem_euclid(tile.width),
                            (y - pos.y).rem_euclid(tile.height),
                        )
                        .unwrap(),
                    (None, Some(Brush::Solid(color))) => *color,
                    _ => 0,
                };
                let src = match &source {
                    None => None,
                    Some((image, from)) => {
                        // Nearest, good enough for both sides of a model.
                        let scale = |n: i32, from: u32, to: u32| {
                            let n = u32::try_from(n).unwrap() * from / to;
                            i32::try_from(n).unwrap()
                        };
                        let sx = from.left + scale(x - bbox.left, from.width(), bbox.width());
                        let sy = from.top + scale(y - bbox.top, from.height(), bbox.height());
                        let Some(value) = image.get(sx, sy) else { continue };
                        Some(value)
                    }
                };
                let value = match &drawable.op {
                    DrawOp::Fill { .. } => combine(rop, paint, old),
                    DrawOp::Opaque { .. } => combine(rop, paint, src.unwrap()),
                    DrawOp::Copy { .. } => combine(rop, src.unwrap(), old),
                    DrawOp::CopyBits { .. } => src.unwrap(),
                    DrawOp::Blackness { .. } => 0,
                    DrawOp::Whiteness { .. } => u32::MAX,
                    DrawOp::Invers { .. } => !old,
                };
                out.pixels[index(x, y, before.width)] = value;
            }
        }
    }
}

fn combine(rop: u16, a: u32, b: u32) -> u32 {
    match rop {
        0 | 8 => a,
        16 => a | b,
        32 => a & b,
        64 => a ^ b,
        128 => 0,
        256 => u32::MAX,
        512 => !b,
        other => panic!("rop {other} is not in the model"),
    }
}

impl SurfaceReader for World {
    fn read_image(&self, surface_id: u32, rect: &Rect) -> Option<(Bitmap, u8)> {
        let canvas = self.surfaces.get(&surface_id)?;
        assert!(!rect.is_empty() && canvas.bounds().contains(rect), "{rect:?}");
        let mut data = Vec::new();
        for y in rect.top..rect.bottom {
            for x in rect.left..rect.right {
                data.extend_from_slice(&canvas.get(x, y).unwrap().to_le_bytes());
            }
        }
        Some((raw(rect.width(), rect.height(), data), 0))
    }
}

fn raw(width: u32, height: u32, data: Vec<u8>) -> Bitmap {
    Bitmap {
        format: BitmapFormat::Bit32,
        top_down: true,
        width,
        height,
        stride: width * 4,
        palette: None,
        data: Arc::new(data),
    }
}

/// What the client has, and what it is sure to complain about.
#[derive(Default)]
struct Client {
    world: World,
    messages: Vec<u16>,
}

impl Client {
    fn take(&mut self, message: &Message) {
        self.messages.push(message.kind);
        let field =
            |n: usize| u32::from_le_bytes(message.body[4 * n..4 * n + 4].try_into().unwrap());
        match message.kind {
            314 => {
                let size = |n| i32::try_from(field(n)).unwrap();
                let old = self.world.surfaces.insert(field(0), Canvas::new(size(1), size(2)));
                assert!(old.is_none(), "surface {} created twice", field(0));
                assert_eq!((field(3), field(4)), (32, u32::from(field(0) == 0)));
                assert_eq!(message.len(), 20);
            }
            315 => {
                assert!(self.world.surfaces.remove(&field(0)).is_some());
                assert_eq!(message.len(), 4);
            }
            102 => assert!(self.world.surfaces.contains_key(&0), "mark without primary"),
            317 => {}
            _ => {
                let drawable = decode(message);
                self.check_images(&drawable);
                self.world.execute(&drawable);
            }
        }
    }

    fn check_images(&self, drawable: &Drawable) {
        let check = |image: &Image| {
            if let ImageKind::Surface(id) = image.kind {
                let canvas = &self.world.surfaces[&id];
                let size = (i32::try_from(image.width), i32::try_from(image.height));
                assert_eq!(size, (Ok(canvas.width), Ok(canvas.height)));
            }
        };
        if let DrawOp::Copy { src, .. } | DrawOp::Opaque { src: Some(src), .. } = &drawable.op {
            check(src);
        }
        if let DrawOp::Fill { brush: Brush::Pattern { image, .. }, .. } = &drawable.op {
            check(image);
        }
    }
}

struct Session {
    server: World,
    pipe: ClientPipe,
    client: Client,
    limits: Limits,
}

impl Session {
    fn new(limits: Limits) -> Self {
        let mut session = Self {
            server: World::default(),
            pipe: ClientPipe::new(limits),
            client: Client::default(),
            limits,
        };
        session.create(0, 12, 10);
        session.pipe.push_latest(Message::new(102, Vec::new()));
        session
    }

    fn info(id: u32, canvas: &Canvas) -> SurfaceInfo {
        SurfaceInfo {
            id,
            format: SurfaceFormat::Xrgb,
            width: canvas.width.try_into().unwrap(),
            height: canvas.height.try_into().unwrap(),
            primary: id == 0,
        }
    }

    fn create(&mut self, id: u32, width: i32, height: i32) {
        self.destroy(id);
        let canvas = Canvas::new(width, height);
        self.pipe.surface_created(Self::info(id, &canvas), false);
        self.server.surfaces.insert(id, canvas);
        if id == 0 {
            self.pipe.push_latest(Message::new(317, vec![0; 4]));
            self.pipe.push_latest(Message::new(102, Vec::new()));
        }
    }

    fn destroy(&mut self, id: u32) {
        if self.server.surfaces.remove(&id).is_some() {
            self.pipe.surface_destroyed(id);
        }
    }

    /// Another client comes; the first one is forgotten.
    fn reconnect(&mut self) {
        self.client = Client::default();
        self.pipe = ClientPipe::new(self.limits);
        for (id, canvas) in &self.server.surfaces {
            let info = Self::info(*id, canvas);
            if *id == 0 {
                self.pipe.surface_created(info, true);
                self.pipe.push_latest(Message::new(102, Vec::new()));
            } else {
                self.pipe.surface_known(info);
            }
        }
    }

    fn draw(&mut self, drawable: Drawable) {
        let Some(canvas) = self.server.surfaces.get(&drawable.surface_id) else { return };
        let bounds = canvas.bounds();
        if drawable.reads.iter().any(|r| !self.server.surfaces.contains_key(&r.surface_id)) {
            return;
        }
        self.server.execute(&drawable);
        self.pipe.push_draw(Arc::new(PipedDraw::new(drawable, bounds)));
    }

    fn read(&mut self, messages: usize) -> bool {
        for _ in 0..messages {
            assert_eq!(self.pipe.is_empty(), {
                let message = self.pipe.next(&self.server, &mut RawImages);
                message.iter().for_each(|m| self.client.take(m));
                message.is_none()
            });
            if self.pipe.is_empty() {
                return true;
            }
        }
        false
    }

    fn drain(&mut self) {
        assert!(self.read(10_000), "no end");
        for (id, canvas) in &self.client.world.surfaces {
            assert_eq!(canvas, &self.server.surfaces[id], "surface {id}");
        }
        for (id, surface) in &self.pipe.surfaces {
            let has = self.client.world.surfaces.contains_key(id);
            assert_eq!(surface.stage == surface::Stage::Sent, has);
        }
        assert_eq!((self.pipe.bytes, self.pipe.draws), (0, 0));
    }

    /// The rule of the module, the counters and the bounds.
    fn check(&self) {
        let pipe = &self.pipe;
        let (mut draws, mut bytes) = (0, 0);
        for item in &pipe.queue {
            let Item::Draw(queued) = item else { continue };
            draws += 1;
            bytes += queued.draw.bytes;
            for surface in pipe.surfaces.values().filter(|s| s.stage != surface::Stage::Hidden) {
                assert!(!queued.touches(surface.key(), &surface.dirty), "a command meets dirt");
            }
        }
        assert_eq!((draws, bytes), (pipe.draws, pipe.bytes));
        assert!(draws <= self.limits.items && bytes <= self.limits.bytes);
        for surface in pipe.surfaces.values() {
            assert!(surface.bounds().contains(&surface.dirty.bounds()));
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Draw(Drawable),
    Create(u32, i32, i32),
    Destroy(u32),
    Read(usize),
    Drain,
    Reconnect,
}

fn any_rect() -> impl Strategy<Value = Rect> {
    (0..12i32, 0..10i32, 1..9i32, 1..9i32).prop_map(|(x, y, w, h)| rect(x, y, x + w, y + h))
}

fn any_image() -> impl Strategy<Value = Image> {
    let bitmap = (1..8u32, 1..8u32, any::<u32>(), any::<bool>()).prop_map(|(w, h, seed, top)| {
        let mut pixels = Vec::new();
        for n in 0..w * h {
            pixels.extend_from_slice(&seed.wrapping_mul(n + 1).to_le_bytes());
        }
        let mut bitmap = raw(w, h, pixels);
        bitmap.top_down = top;
        if seed.is_multiple_of(3) {
            bitmap.format = BitmapFormat::Bit8;
            let entries = (0..256).map(|n: u32| n.wrapping_mul(seed)).collect();
            bitmap.palette = Some(Arc::new(Palette { unique: 0, entries }));
        }
        ImageKind::Bitmap(bitmap)
    });
    prop_oneof![bitmap, (0..SURFACES).prop_map(ImageKind::Surface)].prop_map(|kind| Image {
        id: 1,
        flags: 1,
        width: match &kind {
            ImageKind::Bitmap(b) => b.width,
            ImageKind::Surface(_) => 0,
        },
        height: match &kind {
            ImageKind::Bitmap(b) => b.height,
            ImageKind::Surface(_) => 0,
        },
        kind,
    })
}

fn any_point() -> impl Strategy<Value = Point> {
    (-3..8i32, -3..8i32).prop_map(|(x, y)| point(x, y))
}

fn any_mask() -> impl Strategy<Value = Mask> {
    let bits = (any_point(), any::<bool>(), any::<[u8; 8]>(), 1..9u32).prop_map(
        |(pos, inverse, data, height)| {
            let mut bitmap = raw(8, height, data.to_vec());
            bitmap.format = BitmapFormat::Bit1Be;
            bitmap.stride = 1;
            bitmap.top_down = true;
            let kind = ImageKind::Bitmap(bitmap);
            Mask { inverse, pos, image: Some(Image { id: 0, flags: 0, width: 8, height, kind }) }
        },
    );
    prop_oneof![6 => Just(Mask::default()), 1 => bits]
}

fn any_rop() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(8u16), 1 => prop::sample::select(vec![0, 16, 32, 64, 128, 256, 512])]
}

fn any_brush() -> impl Strategy<Value = Brush> {
    prop_oneof![
        1 => Just(Brush::None),
        4 => any::<u32>().prop_map(Brush::Solid),
        2 => (any_image(), any_point()).prop_map(|(image, pos)| Brush::Pattern { image, pos }),
    ]
}

/// The part of the source: as large as the box in most cases, sometimes outside the image.
fn source_area(bbox: &Rect, from: Point, scaled: bool) -> Rect {
    let (w, h) = if scaled { (3, 2) } else { (bbox.width(), bbox.height()) };
    Rect::from_size(from.x, from.y, w, h)
}

fn any_draw() -> impl Strategy<Value = Drawable> {
    let op = prop_oneof![
        4 => (any_brush(), any_rop(), any_mask())
            .prop_map(|(brush, rop, mask)| DrawOp::Fill { brush, rop, mask }),
        6 => (any_image(), any_rop(), any_mask(), any::<bool>()).prop_map(
            |(src, rop, mask, blend)| DrawOp::Copy {
                src, src_area: Rect::default(), rop, nearest: true, mask, blend,
            }
        ),
        2 => (prop::option::of(any_image()), any_brush(), any_rop(), any_mask()).prop_map(
            |(src, brush, rop, mask)| DrawOp::Opaque {
                src, src_area: Rect::default(), brush, rop, nearest: true, mask,
            }
        ),
        4 => any_point().prop_map(|src| DrawOp::CopyBits { src }),
        1 => any_mask().prop_map(|mask| DrawOp::Blackness { mask }),
        1 => any_mask().prop_map(|mask| DrawOp::Whiteness { mask }),
        2 => any_mask().prop_map(|mask| DrawOp::Invers { mask }),
    ];
    let clip = prop_oneof![
        3 => Just(None),
        1 => prop::collection::vec(any_rect(), 0..4).prop_map(|c| Some(Arc::new(c))),
    ];
    let dest = prop_oneof![1 => Just(0u32), 1 => 0..SURFACES];
    (dest, any_rect(), clip, op, any_point(), prop::bool::weighted(0.1)).prop_map(
        |(surface_id, bbox, clip, mut op, from, scaled)| {
            if let DrawOp::Copy { src_area, .. } | DrawOp::Opaque { src_area, .. } = &mut op {
                *src_area = source_area(&bbox, from, scaled);
            }
            let mut reads = Vec::new();
            let mut note = |image: &Image| {
                if let ImageKind::Surface(id) = image.kind {
                    // What the guest names is not what keeps the picture right.
                    reads.push(SurfaceRead { surface_id: id, area: Rect::default() });
                }
            };
            match &op {
                DrawOp::Copy { src, .. } => note(src),
                DrawOp::Opaque { src, brush, .. } => {
                    src.iter().for_each(&mut note);
                    if let Brush::Pattern { image, .. } = brush {
                        note(image);
                    }
                }
                DrawOp::Fill { brush: Brush::Pattern { image, .. }, .. } => note(image),
                _ => {}
            }
            Drawable {
                surface_id,
                effect: 0,
                bbox,
                clip,
                mm_time: 0,
                self_bitmap_area: None,
                reads,
                op,
            }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => any_draw().prop_map(Step::Draw),
        4 => (1..SURFACES, 1..14i32, 1..12i32).prop_map(|(id, w, h)| Step::Create(id, w, h)),
        2 => (1..SURFACES).prop_map(Step::Destroy),
        1 => (8..14i32, 8..12i32).prop_map(|(w, h)| Step::Create(0, w, h)),
        8 => (1..6usize).prop_map(Step::Read),
        1 => Just(Step::Drain),
        1 => Just(Step::Reconnect),
    ]
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (0..12usize, prop_oneof![Just(600usize), Just(2000), Just(1 << 20)], 1..300usize)
        .prop_map(|(items, bytes, band_bytes)| Limits { items, bytes, band_bytes })
}

fn run(limits: Limits, steps: Vec<Step>) -> Session {
    let mut session = Session::new(limits);
    for step in steps {
        match step {
            Step::Draw(drawable) => session.draw(drawable),
            Step::Create(id, width, height) => session.create(id, width, height),
            Step::Destroy(id) => session.destroy(id),
            Step::Read(messages) => {
                session.read(messages);
            }
            Step::Drain => session.drain(),
            Step::Reconnect => session.reconnect(),
        }
        session.check();
    }
    session.drain();
    session
}

/// Runs of the property test; `PIPE_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PIPE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(),
        ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_has_read_everything_has_the_servers_pixels(
        limits in any_limits(), steps in prop::collection::vec(any_step(), 1..60),
    ) {
        run(limits, steps);
    }
}

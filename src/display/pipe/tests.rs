//! A model server and a model client with the pipe between them: whatever is drawn, created and
//! destroyed, and whenever the client reads, in the end both have the same pixels.
//!
//! Both sides draw with the same naive executor, the client from decoded wire bytes.

mod generate;
mod inherit;
mod losses;
mod model;
mod streams;

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

use generate::*;
use losses::LossyImages;
use model::*;

const SURFACES: u32 = 4;
struct Session {
    server: World,
    pipe: ClientPipe,
    client: Client,
    limits: Limits,
    images: LossyImages,
}

impl Session {
    fn new(limits: Limits) -> Self {
        let mut session = Self {
            server: World::default(),
            pipe: ClientPipe::new(limits),
            client: Client::default(),
            limits,
            images: LossyImages::default(),
        };
        session.create(0, 12, 10);
        session.pipe.push_latest(Message::new(102, Vec::new()));
        session
    }

    /// Makes the search for dead surfaces so frequent that it matters in a short test.
    fn prune_early(&mut self) {
        if self.limits.items.is_multiple_of(2) {
            self.pipe.prune_at = self.limits.items;
        }
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
        self.prune_early();
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
                let draft = self.pipe.next(&mut self.server, &mut self.images);
                let message = draft.map(|draft| draft.finish().unwrap());
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
            if self.images.on {
                losses::compare(self, *id, canvas);
            } else {
                assert_eq!(canvas, &self.server.surfaces[id], "surface {id}");
            }
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
        for (_, item) in pipe.queue.iter() {
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

fn run(limits: Limits, steps: Vec<Step>) {
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
        session.prune_early();
    }
    session.drain();
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

fn command(surface_id: u32, bbox: Rect, op: DrawOp) -> Drawable {
    let mut reads = Vec::new();
    if let DrawOp::Copy { src: Image { kind: ImageKind::Surface(id), .. }, .. } = &op {
        reads.push(SurfaceRead { surface_id: *id, area: bbox });
    }
    Drawable {
        surface_id,
        effect: 0,
        bbox,
        clip: None,
        mm_time: 0,
        self_bitmap_area: None,
        reads,
        op,
    }
}

fn copy(src: Image, src_area: Rect) -> DrawOp {
    DrawOp::Copy { src, src_area, rop: 8, nearest: true, mask: Mask::default(), blend: false }
}

fn fill(bbox: Rect, color: u32, rop: u16) -> Drawable {
    let brush = Brush::Solid(color);
    command(0, bbox, DrawOp::Fill { brush, rop, mask: Mask::default() })
}

fn surface_image(id: u32) -> Image {
    Image { id: 0, flags: 0, width: 0, height: 0, kind: ImageKind::Surface(id) }
}

const ROOMY: Limits =
    Limits { bytes: 1 << 20, items: 100, band_bytes: 200, first_bytes: 0, dirty_rects: 9 };

#[test]
fn a_late_client_sees_the_picture_before_the_mark() {
    let mut session = Session::new(ROOMY);
    session.create(2, 4, 4);
    session.draw(fill(rect(0, 0, 12, 10), 7, 8));
    session.reconnect();
    session.draw(fill(rect(1, 1, 3, 3), 9, 64));
    session.drain();
    // 12 pixels are 48 bytes: 4 rows in each band of 200 bytes. The off-screen surface waits.
    assert_eq!(session.client.messages, [314, 304, 304, 304, 102]);
    session.draw(command(0, rect(0, 0, 4, 4), copy(surface_image(2), rect(0, 0, 4, 4))));
    session.draw(command(0, rect(4, 0, 8, 4), copy(surface_image(2), rect(0, 0, 4, 4))));
    session.drain();
    // The first use announces it and is sent as pixels, as is the surface.
    assert_eq!(session.client.messages[5..], [304, 314, 304]);
    session.draw(command(0, rect(0, 5, 4, 9), copy(surface_image(2), rect(0, 0, 4, 4))));
    session.drain();
    assert_eq!(session.client.messages.len(), 9);
}

#[test]
fn the_first_picture_is_one_message_up_to_its_limit() {
    // 12x10 pixels of 4 bytes, and bands of 4 rows.
    for (first_bytes, bottom) in [(480, 10), (479, 4)] {
        let mut session = Session::new(Limits { first_bytes, ..ROOMY });
        session.draw(fill(rect(0, 0, 12, 10), 7, 8));
        session.reconnect();
        assert!(!session.read(1));
        // Commands that come before the picture has left do not change that it is whole.
        session.draw(fill(rect(3, 5, 9, 9), 9, 8));
        session.draw(fill(rect(2, 4, 8, 10), 5, 64));
        let draft = session.pipe.next(&mut session.server, &mut RawImages).unwrap();
        let message = draft.finish().unwrap();
        assert_eq!(decode(&message).bbox, rect(0, 0, 12, bottom));
        session.client.take(&message);
        session.drain();
    }
}

#[test]
fn covered_drawables_die_in_the_pipe() {
    let mut session = Session::new(ROOMY);
    session.drain();
    for n in 0..1000 {
        let whole = rect(0, 0, 12, 10);
        session.draw(command(0, rect(3, 3, 5, 5), DrawOp::Invers { mask: Mask::default() }));
        session.draw(command(0, whole, copy(filled(12, 10, n), whole)));
    }
    assert_eq!(session.pipe.queued_draws(), 1);
    session.drain();
    assert_eq!(session.client.messages[1..], [317, 102, 304]);
}

#[test]
fn a_sleeping_client_is_owed_no_more_than_its_screen() {
    let mut session = Session::new(Limits { band_bytes: 1 << 20, ..ROOMY });
    session.drain();
    let start = session.client.messages.len();
    for n in 0..10_000i32 {
        let (x, y) = (n % 11, n / 7 % 9);
        session.draw(fill(rect(x, y, x + 2, y + 2), n.cast_unsigned(), 64));
        assert!(session.pipe.queue.len() <= 100);
    }
    session.drain();
    assert!(session.client.messages.len() - start <= 101 + 12);
}

#[test]
fn surfaces_that_come_and_go_leave_nothing_behind() {
    let mut session = Session::new(Limits { band_bytes: 1 << 20, ..ROOMY });
    session.drain();
    let area = rect(0, 0, 4, 4);
    for n in 0..20_000 {
        session.create(1, 4, 4);
        if n % 3 == 0 {
            session.draw(command(1, area, copy(filled(4, 4, n), area)));
        }
        session.draw(command(0, area, copy(surface_image(1), area)));
        session.destroy(1);
        assert!(session.pipe.queue.len() <= 2 * PRUNE_MIN, "{}", session.pipe.queue.len());
    }
    session.drain();
    // Nobody can see a mode that was left before the client read.
    for n in 0..1000 {
        session.create(0, 8 + n % 5, 9);
    }
    assert!(session.pipe.queue.len() <= 4);
    session.drain();
}

#[test]
fn pixels_that_get_dirty_again_and_again_keep_nobody_waiting() {
    let mut session = Session::new(Limits { items: 0, band_bytes: 48, ..ROOMY });
    session.draw(fill(rect(0, 0, 12, 10), 5, 8));
    session.reconnect();
    let mut rows = BTreeSet::new();
    for _ in 0..12 {
        // A limit of no command at all: every change is dirt, and the whole screen changes.
        session.draw(fill(rect(0, 0, 12, 10), 3, 64));
        let draft = session.pipe.next(&mut session.server, &mut RawImages).unwrap();
        let message = draft.finish().unwrap();
        if message.kind == 304 {
            rows.insert(decode(&message).bbox.top);
        }
        session.client.take(&message);
    }
    assert_eq!(rows.len(), 10);
    assert_eq!(session.client.messages.last(), Some(&102));
}

#[test]
fn a_command_that_no_client_draws_is_sent_as_pixels() {
    let mut session = Session::new(ROOMY);
    let mut image = filled(4, 4, 9);
    if let ImageKind::Bitmap(bitmap) = &mut image.kind {
        bitmap.format = BitmapFormat::Bit4Le;
    }
    let area = rect(2, 2, 6, 6);
    let info = Session::info(0, &session.server.surfaces[&0]);
    let draw = PipedDraw::new(command(0, area, copy(image, rect(0, 0, 4, 4))), rect(0, 0, 12, 10));
    session.pipe.push_draw(Arc::new(draw.clone()));
    let mut own = draw.clone();
    own.drawable.op = copy(filled(4, 4, 9), rect(0, 0, 4, 4));
    own.pixels_only = true;
    session.pipe.push_draw(Arc::new(own));
    assert_eq!((session.pipe.queued_draws(), info.primary), (0, true));
    session.drain();
    assert_eq!(session.client.messages.iter().filter(|kind| **kind == 304).count(), 1);
}

#[test]
fn a_client_without_alpha_surfaces_never_hears_of_one() {
    for able in [true, false] {
        let mut session = Session::new(ROOMY);
        session.drain();
        session.client.messages.clear();
        session.pipe.set_abilities(Abilities { alpha_surfaces: able, ..Abilities::default() });
        let info =
            SurfaceInfo { id: 1, format: SurfaceFormat::A8, width: 8, height: 8, primary: false };
        session.pipe.surface_created(info, false);
        let area = rect(2, 2, 6, 6);
        let mut on_it = fill(area, 5, 8);
        on_it.surface_id = 1;
        let mut from_it = fill(area, 5, 8);
        from_it.reads.push(SurfaceRead { surface_id: 1, area });
        for draw in [on_it, from_it] {
            session.pipe.push_draw(Arc::new(PipedDraw::new(draw, rect(0, 0, 8, 8))));
        }
        session.pipe.surface_destroyed(1);
        let mut kinds = Vec::new();
        while let Some(draft) = session.pipe.next(&mut session.server, &mut RawImages) {
            let message = draft.finish().unwrap();
            kinds.push(message.kind);
        }
        // The screen's fill comes as a picture.
        let wanted: &[u16] = if able { &[314, 302, 302, 315] } else { &[304] };
        assert_eq!(kinds, wanted, "able: {able}");
    }
}

//! Streams among commands: whatever is shown meanwhile, in the end the client has the server's pixels, and no command
//! was ever built on a stream's.

use std::time::Instant;

use super::*;
use crate::protocol::message::Bulk;
use crate::protocol::wire::Reader;
use crate::video::codecs::Codec;
use crate::video::detect::StreamKey;
use crate::video::frame::{Frame, Pixels};

/// A client's streams. A frame paints what no command may depend on, so that one that does is found out; old frames
/// come again later, as clients show frames when their time has come.
#[derive(Default)]
pub(in super::super) struct Player {
    streams: BTreeMap<u32, Vec<Rect>>,
    frames: u32,
    pub(in super::super) created: u32,
    used: Vec<u32>,
}

fn clip(r: &mut Reader<'_>) -> Vec<Rect> {
    assert_eq!(r.u8(), Ok(1), "rectangles");
    let count = r.u32().unwrap();
    (0..count)
        .map(|_| {
            let mut side = || r.i32().unwrap();
            let (top, left, bottom, right) = (side(), side(), side(), side());
            Rect { left, top, right, bottom }
        })
        .collect()
}

impl Player {
    pub(in super::super) fn take(&mut self, message: &Message, world: &mut World) {
        let mut r = Reader::new(&message.body);
        if message.kind == 122 {
            assert_eq!(r.u32(), Ok(0), "on the screen");
            assert!(world.surfaces.contains_key(&0), "a stream without a screen");
        }
        let id = r.u32().unwrap();
        match message.kind {
            122 => {
                assert_eq!((r.u8(), r.u8(), r.u64()), (Ok(1), Ok(1), Ok(0)));
                r.bytes(16 + 16).unwrap();
                let clip = clip(&mut r);
                assert!(self.streams.insert(id, clip).is_none(), "stream {id} is there");
                self.created += 1;
                self.used.push(id);
            }
            124 => *self.streams.get_mut(&id).expect("clip of no stream") = clip(&mut r),
            125 => assert!(self.streams.remove(&id).is_some(), "end of no stream"),
            319 => assert!(self.streams.contains_key(&id), "report of no stream"),
            _ => {
                assert!(self.streams.contains_key(&id), "frame of no stream");
                assert_ne!(r.u32(), Ok(0), "no time");
            }
        }
        // Frames come and are shown at any time, of all streams.
        self.frames += 1;
        let screen = world.surfaces.get_mut(&0).expect("streams without a screen");
        for clip in self.streams.values() {
            for rect in clip {
                assert!(screen.bounds().contains(rect));
                for y in rect.top..rect.bottom {
                    for x in rect.left..rect.right {
                        let at = index(x, y, screen.width);
                        screen.pixels[at] = 0xbad0_0000 + self.frames;
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "few steps")]
enum Film {
    Step(Step),
    /// A frame of a stream in front of its place, with parts covered.
    Frame(u32, Option<Rect>),
    Still(u32),
    Over(u32),
    Refuse(u32),
}

fn any_film() -> impl Strategy<Value = Film> {
    prop_oneof![
        6 => any_step().prop_map(Film::Step),
        6 => (0..3u32, prop::option::weighted(0.3, any_rect())).prop_map(|(n, r)| Film::Frame(n, r)),
        1 => (0..3u32).prop_map(Film::Still),
        1 => (0..3u32).prop_map(Film::Over),
    ]
}

struct Cinema {
    session: Session,
    /// Uses of each number so far.
    uses: [u32; 3],
    skills: StreamSkills,
    random: u32,
}

impl Cinema {
    fn new(limits: Limits, sized: bool) -> Self {
        let skills = StreamSkills { codec: Some(Codec::Mjpeg), sized, reports: true };
        let mut session = Session::new(limits);
        session.pipe.set_stream_skills(skills);
        Self { session, uses: [1; 3], skills, random: 1 }
    }

    fn key(&self, n: u32) -> StreamKey {
        // A number that was used is not used again soon.
        StreamKey { id: n + 3 * self.uses[n as usize], unique: self.uses[n as usize] }
    }

    fn frame(&mut self, n: u32, covered: Option<Rect>) {
        let bounds = self.session.server.surfaces[&0].bounds();
        let place = [rect(1, 1, 7, 5), rect(5, 3, 11, 9), rect(0, 0, 12, 10)][n as usize];
        // The place is within the screen, or the picture is not one that is watched.
        if !bounds.contains(&place) {
            return;
        }
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let image = filled(place.width(), place.height(), self.random | 1);
        let ImageKind::Bitmap(bitmap) = &image.kind else { panic!("no bitmap") };
        let part = Rect::from_size(0, 0, place.width(), place.height());
        let pixels = Pixels {
            bitmap: bitmap.data.clone(),
            stride: bitmap.stride,
            rows: bitmap.height,
            top_down: true,
            bits: 32,
            part,
        };
        let mut drawable = command(0, place, copy(image.clone(), part));
        if let Some(covered) = covered {
            let mut seen = Region::from_rect(place);
            seen.subtract_rect(&covered);
            drawable.clip = Some(Arc::new(seen.rects().to_vec()));
        }
        let draw = Arc::new(PipedDraw::new(drawable, bounds));
        self.session.server.execute(&draw.drawable);
        let clip = draw.region.rects().to_vec();
        let frame = Frame::new(self.key(n), place, clip, (5, Instant::now()), pixels);
        if !self.session.pipe.push_frame(&Arc::new(frame), &draw.region) {
            self.session.pipe.push_draw(draw);
        }
    }

    /// What the channel does: what is about streams first, then frames and other messages in turn.
    fn read(&mut self, messages: usize) -> bool {
        for n in 0..messages {
            let session = &mut self.session;
            if let Some(message) = session.pipe.next_about_streams() {
                session.client.take(&message);
                continue;
            }
            if n % 2 == 0
                && let Some(next) = session.pipe.next_frame()
            {
                next.before.iter().for_each(|message| session.client.take(message));
                let data = Bulk::from(vec![1, 2, 3]);
                let id = next.frame.stream.id;
                let frame = crate::protocol::display::stream_data(id, 5, next.sized, data);
                session.client.take(&frame);
                continue;
            }
            if session.pipe.is_empty() && !session.pipe.has_frame() {
                return true;
            }
            if let Some(draft) = session.pipe.next(&mut session.server, &mut session.images) {
                session.client.take(&draft.finish().unwrap());
            }
        }
        false
    }

    fn check(&self) {
        self.session.check();
        let pipe = &self.session.pipe;
        for (_, item) in pipe.queue.iter() {
            let Item::Draw(queued) = item else { continue };
            for surface in pipe.surfaces.values() {
                let key = surface.key();
                let reads = queued.reads.iter().any(|r| pipe.streams.show_in(r.key, &r.area));
                assert!(!reads, "a command reads a stream");
                if queued.dest == key {
                    assert!(!pipe.streams.show(key, &queued.draw.region), "a command on a stream");
                }
            }
        }
    }

    fn over(&mut self, n: u32) {
        self.session.pipe.stream_over(self.key(n));
        self.uses[n as usize] += 1;
    }

    fn end(&mut self) {
        (0..3).for_each(|n| self.over(n));
        assert!(self.read(10_000), "no end");
        assert!(self.session.client.streams.streams.is_empty(), "streams are left");
        self.session.drain();
    }
}

fn play(limits: Limits, sized: bool, steps: Vec<Film>) -> Cinema {
    let mut cinema = Cinema::new(limits, sized);
    for step in steps {
        match step {
            Film::Frame(n, covered) => cinema.frame(n, covered),
            Film::Still(n) => cinema.session.pipe.stream_still(cinema.key(n)),
            Film::Over(n) => cinema.over(n),
            Film::Refuse(n) => cinema.session.pipe.refuse_stream(cinema.key(n)),
            Film::Step(Step::Draw(drawable)) => cinema.session.draw(drawable),
            Film::Step(Step::Create(id, width, height)) => cinema.session.create(id, width, height),
            Film::Step(Step::Destroy(id)) => cinema.session.destroy(id),
            Film::Step(Step::Read(messages)) => {
                cinema.read(messages);
            }
            Film::Step(Step::Drain) => {
                cinema.read(10_000);
            }
            Film::Step(Step::Reconnect) => {
                cinema.session.reconnect();
                cinema.session.pipe.set_stream_skills(cinema.skills);
            }
        }
        cinema.check();
        cinema.session.prune_early();
    }
    cinema.end();
    cinema
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(),
        ..ProptestConfig::default() })]

    #[test]
    fn after_its_streams_a_client_has_the_servers_pixels(
        limits in any_limits(), sized in any::<bool>(),
        steps in prop::collection::vec(any_film(), 1..60),
    ) {
        play(limits, sized, steps);
    }
}

fn drain() -> Film {
    Film::Step(Step::Drain)
}

fn kinds(cinema: &Cinema) -> Vec<u16> {
    let of_streams = |kind: &&u16| matches!(**kind, 122..=125 | 304 | 302 | 316 | 319);
    cinema.session.client.messages.iter().filter(of_streams).copied().collect()
}

#[test]
fn a_stream_is_announced_shown_and_repaired_when_it_ends() {
    let frame = || Film::Frame(0, None);
    let cinema = play(ROOMY, true, vec![drain(), frame(), frame(), drain(), frame(), drain()]);
    // The second frame took the first one's place; bands of 200 bytes.
    assert_eq!(kinds(&cinema)[..4], [122, 319, 123, 123]);
    assert_eq!(kinds(&cinema)[4..6], [124, 125], "nothing is shown when pixels come");
    assert!(kinds(&cinema)[6..].iter().all(|kind| *kind == 304));
}

#[test]
fn what_is_drawn_over_a_stream_is_taken_out_of_its_clip_first() {
    let over = || Film::Step(Step::Draw(fill(rect(2, 2, 4, 4), 9, 8)));
    let cinema = play(ROOMY, true, vec![drain(), Film::Frame(0, None), drain(), over(), drain()]);
    assert_eq!(kinds(&cinema)[..5], [122, 319, 123, 124, 302]);
    // The next frame shows all of it again; the filling that waits is needless then.
    let steps = vec![drain(), Film::Frame(0, None), drain(), over(), Film::Frame(0, None), drain()];
    assert_eq!(kinds(&play(ROOMY, true, steps))[..4], [122, 319, 123, 123]);
}

#[test]
fn who_cannot_play_gets_pictures() {
    let frame = || Film::Frame(0, None);
    let steps = vec![drain(), frame(), drain(), Film::Refuse(0), drain(), frame(), drain()];
    let cinema = play(ROOMY, true, steps);
    assert_eq!(cinema.session.client.streams.created, 1);
    assert_eq!(kinds(&cinema)[3..5], [124, 125]);
    let mut cinema = Cinema::new(ROOMY, true);
    cinema.session.pipe.set_stream_skills(StreamSkills::default());
    cinema.frame(0, None);
    cinema.end();
    assert_eq!(cinema.session.client.streams.created, 0);
}

#[test]
fn streams_end_before_their_screen_does() {
    let new = || Film::Step(Step::Create(0, 12, 10));
    let steps = vec![drain(), Film::Frame(0, None), drain(), new(), drain()];
    let cinema = play(ROOMY, true, steps);
    let of = |kind| cinema.session.client.messages.iter().position(|k| *k == kind);
    assert!(of(125) < of(315), "{:?}", cinema.session.client.messages);
}

use super::*;

struct Guest {
    detector: Detector,
    now: Instant,
    drawn: u8,
}

fn at(x: i32, y: i32, width: u32, height: u32) -> Rect {
    Rect::from_size(x, y, width, height)
}

const AREA: (u32, u32) = (96, 96);

impl Guest {
    fn new(mode: Mode) -> Self {
        Self { detector: Detector::new(mode, 7), now: Instant::now(), drawn: 0 }
    }

    fn wait(&mut self, ms: u64) -> Vec<Change> {
        self.now += Duration::from_millis(ms);
        self.detector.changes(self.now)
    }

    fn put(&mut self, place: Rect, pixels: u8, photo: bool) -> Look {
        self.put_behind(place, &[place], pixels, photo)
    }

    /// A picture of which only so much is seen.
    fn put_behind(&mut self, place: Rect, clip: &[Rect], pixels: u8, photo: bool) -> Look {
        let pixels = Bulk::from(vec![pixels; 64]);
        let source = at(0, 0, place.width(), place.height());
        let picture = Candidate { place, source, top_down: true, clip, pixels: &pixels };
        self.detector.look(self.now, &picture, || photo)
    }

    /// Another picture after so many milliseconds.
    fn next(&mut self, ms: u64, place: Rect) -> Look {
        self.wait(ms);
        self.drawn = self.drawn.wrapping_add(1);
        self.put(place, self.drawn, true)
    }

    /// Pictures until there is a stream.
    fn begin(&mut self, place: Rect) -> StreamKey {
        for _ in 0..200 {
            if let Look::Frame(key) = self.next(33, place) {
                return key;
            }
        }
        panic!("no stream");
    }
}

#[test]
fn the_twentieth_picture_of_a_place_begins_a_stream() {
    let mut guest = Guest::new(Mode::Filter);
    let place = at(5, 5, AREA.0, AREA.1);
    for n in 1..20 {
        assert_eq!(guest.next(200, place), Look::Plain, "picture {n}");
    }
    let Look::Frame(key) = guest.next(200, place) else { panic!("no stream") };
    assert_eq!(key, StreamKey { id: 0, unique: 8 });
    assert_eq!(guest.next(999, place), Look::Frame(key), "it goes on for a second");
    // Too slow, too small, another place each time, nothing like a photograph.
    let mut guest = Guest::new(Mode::Filter);
    assert!((0..100).all(|_| guest.next(201, place) == Look::Plain));
    assert!((0..100).all(|_| guest.next(20, at(0, 0, 95, 96)) == Look::Plain));
    assert!((0..100).all(|n| guest.next(20, at(n, 0, 200, 200)) == Look::Plain));
    for n in 0..100 {
        guest.wait(20);
        assert_eq!(guest.put(place, n, n % 8 == 0), Look::Plain, "one in eight is too few");
    }
    let mut guest = Guest::new(Mode::All);
    let small = at(0, 0, 16, 16);
    assert!((0..19).all(|n| guest.put(small, n, false) == Look::Plain));
    assert!(matches!(guest.put(small, 99, false), Look::Frame(_)));
    let mut guest = Guest::new(Mode::Off);
    assert!((0..100).all(|_| guest.next(20, place) == Look::Plain));
}

#[test]
fn what_no_longer_moves_is_still_and_then_over() {
    let mut guest = Guest::new(Mode::Filter);
    let place = at(0, 0, 320, 200);
    assert_eq!(guest.detector.next_change(), None);
    let key = guest.begin(place);
    assert_eq!(guest.wait(249), []);
    assert_eq!(guest.detector.next_change(), Some(guest.now + Duration::from_millis(1)));
    assert_eq!(guest.wait(1), [Change::Still(key)]);
    assert_eq!(guest.wait(500), []);
    assert_eq!(guest.next(100, place), Look::Frame(key));
    assert_eq!(guest.wait(600), [Change::Still(key)]);
    assert_eq!(guest.wait(400), [Change::Over(key)]);
    assert!(guest.detector.is_empty());
    assert_eq!(guest.detector.next_change(), None);
}

#[test]
fn the_same_picture_again_is_no_frame_but_keeps_the_stream() {
    let mut guest = Guest::new(Mode::Filter);
    let place = at(0, 0, 320, 200);
    let key = guest.begin(place);
    let drawn = guest.drawn;
    let mut still = Vec::new();
    for _ in 0..60 {
        still.extend(guest.wait(33));
        assert_eq!(guest.put(place, drawn, true), Look::Repeat(key));
    }
    assert_eq!(still, [Change::Still(key)]);
    // Something was drawn there: the same picture shows again what it hid.
    guest.detector.drawn(&at(319, 199, 9, 9));
    assert_eq!(guest.put(place, drawn, true), Look::Frame(key));
    assert_eq!(guest.put(place, drawn, true), Look::Repeat(key));
    guest.detector.drawn(&at(320, 0, 9, 9));
    assert_eq!(guest.put(place, drawn, true), Look::Repeat(key), "beside it");
    // A window came and went, and nothing but the film paints what was under it.
    let beside = [at(0, 0, 100, 200)];
    assert_eq!(guest.put_behind(place, &beside, drawn, true), Look::Frame(key));
    assert_eq!(guest.put_behind(place, &beside, drawn, true), Look::Repeat(key));
    assert_eq!(guest.put(place, drawn, true), Look::Frame(key), "more of it is seen");
    assert_eq!(guest.put(at(0, 0, 330, 210), drawn, true), Look::Frame(key), "elsewhere");
}

#[test]
fn a_window_that_was_moved_plays_on_at_once() {
    let mut guest = Guest::new(Mode::Filter);
    guest.begin(at(0, 0, 320, 200));
    let moved = at(50, 60, 320, 200);
    assert_eq!(guest.next(33, moved), Look::Plain);
    assert_eq!(guest.next(33, moved), Look::Plain);
    let Look::Frame(key) = guest.next(33, moved) else { panic!("no stream") };
    assert_eq!(key.id, 1);
    // While it is being moved nothing begins.
    for x in 0..30 {
        assert_eq!(guest.next(33, at(200 + x, 300, 320, 200)), Look::Plain);
    }
}

#[test]
fn a_larger_picture_over_the_place_is_a_frame_as_well() {
    let mut guest = Guest::new(Mode::Filter);
    let key = guest.begin(at(10, 10, 200, 100));
    assert_eq!(guest.next(33, at(0, 0, 220, 120)), Look::Frame(key));
    assert_eq!(guest.next(33, at(0, 0, 400, 101)), Look::Plain, "more than twice as large");
    assert_eq!(guest.next(33, at(11, 10, 200, 100)), Look::Plain, "not all of it");
}

#[test]
fn streams_are_few_and_their_numbers_go_round() {
    let mut guest = Guest::new(Mode::All);
    let place = |n: usize| at(i32::try_from(n).unwrap() * 20, 0, 16, 16);
    for _ in 0..30 {
        for n in 0..20 {
            guest.drawn = guest.drawn.wrapping_add(1);
            let pixels = guest.drawn;
            guest.put(place(n % 8), pixels, true);
            guest.now += Duration::from_millis(1);
        }
    }
    assert_eq!(guest.detector.keys().count(), 8);
    for n in 8..30 {
        for _ in 0..25 {
            guest.next(1, place(n));
        }
    }
    assert_eq!(guest.detector.keys().count(), MAX_STREAMS);
    assert_eq!(guest.detector.reset(Mode::All).len(), MAX_STREAMS);
    let mut seen = Vec::new();
    for _ in 0..2 * STREAM_IDS {
        let key = guest.begin(place(0));
        assert!(!seen.iter().rev().take(STREAM_IDS as usize - 1).any(|id| *id == key.id));
        assert!(key.id < STREAM_IDS);
        seen.push(key.id);
        guest.detector.reset(Mode::All);
    }
}

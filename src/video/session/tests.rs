//! Sessions with encoders that say of each frame which picture it shows, whether it is a key frame and its rate.

use super::*;
use crate::protocol::geometry::Rect;
use crate::video::codecs::Maker;
use std::sync::atomic::AtomicU32;

const CHOICE: Choice = Choice { maker: Maker::Gstreamer, codec: Codec::Vp8 };
const WISH: Wish = Wish { quality: 50, rate: 1_000_000 };

/// What the encoders do, and how many there were.
#[derive(Default)]
struct Bench {
    opened: AtomicU32,
    /// The frame from which on they fail, counted by each for itself; 0: never.
    fails: AtomicU32,
    /// Frames wait until this is open.
    gate: Arc<(Mutex<bool>, Condvar)>,
    ignores_keys: AtomicBool,
    none: AtomicBool,
}

struct Fake {
    bench: Arc<Bench>,
    made: u32,
    time: u64,
    rate: u64,
}

impl Codes for Fake {
    fn encode(&mut self, pixels: &Pixels, time: u64, key: bool) -> Option<(Bulk, bool)> {
        let (closed, opened) = &*self.bench.gate;
        drop(opened.wait_while(lock(closed), |closed| *closed).unwrap());
        assert!(time > self.time, "time goes on");
        (self.made, self.time) = (self.made + 1, time);
        if self.made == self.bench.fails.load(Ordering::SeqCst) {
            return None;
        }
        let key = key && !self.bench.ignores_keys.load(Ordering::SeqCst);
        let text = format!("{} {} {}", pixels.bitmap[0], u8::from(key), self.rate);
        Some((Bulk::from(text.into_bytes()), key))
    }

    fn set_rate(&mut self, rate: u64, _: u8) {
        self.rate = rate;
    }
}

/// Sessions are counted for the whole process: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn sessions() -> (Sessions, Arc<Bench>) {
    let bench = Arc::new(Bench::default());
    let its = Arc::clone(&bench);
    let open: Open = Arc::new(move |_: &Order, wish: Wish| {
        its.opened.fetch_add(1, Ordering::SeqCst);
        if its.none.load(Ordering::SeqCst) {
            return None;
        }
        let fake = Fake { bench: Arc::clone(&its), made: 0, time: 0, rate: wish.rate };
        Some(Box::new(fake) as Box<dyn Codes>)
    });
    (Sessions::new(open, Arc::new(|| {})), bench)
}

fn frame(number: u8) -> Frame {
    let part = Rect::from_size(0, 0, 32, 32);
    let bitmap = Bulk::from(vec![number; 32 * 32 * 4]);
    let pixels = Pixels { bitmap, stride: 128, rows: 32, top_down: true, bits: 32, part };
    let stream = StreamKey { id: 1, unique: 1 };
    Frame::new(stream, part, vec![part], (u32::from(number), Instant::now()), pixels)
}

/// What comes of a frame.
fn done(encoding: &Encoding) -> Option<String> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match encoding.look() {
            Progress::Done(data) => return Some(String::from_utf8(data.to_vec()).unwrap()),
            Progress::Failed => return None,
            Progress::Working => assert!(Instant::now() < end, "never done"),
        }
        std::thread::yield_now();
    }
}

/// Encodes once the encoder has begun, which takes a moment; `None` if it is broken.
fn first(encoder: &mut dyn Encoder, number: u8) -> Option<String> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(encoding) = encoder.encode(&frame(number), WISH) {
            return done(&encoding);
        }
        if encoder.is_broken() {
            return None;
        }
        assert!(Instant::now() < end, "never begins");
        std::thread::yield_now();
    }
}

fn next(encoder: &mut dyn Encoder, frame: &Frame) -> Option<String> {
    encoder.encode(frame, WISH).and_then(|encoding| done(&encoding))
}

#[test]
fn the_first_frame_is_a_key_frame_and_the_next_ones_are_not() {
    let _turn = lock(&TURN);
    let (sessions, bench) = sessions();
    let mut one = sessions.encoder(CHOICE);
    assert_eq!(first(&mut *one, 1).as_deref(), Some("1 1 1000000"));
    assert_eq!(next(&mut *one, &frame(2)).as_deref(), Some("2 0 1000000"));
    let slower = Wish { rate: 500_000, ..WISH };
    let encoding = one.encode(&frame(3), slower).unwrap();
    assert_eq!(done(&encoding).as_deref(), Some("3 0 500000"));
    assert_eq!(bench.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn clients_that_take_every_frame_share_one_and_late_ones_get_a_key_frame() {
    let _turn = lock(&TURN);
    let (sessions, bench) = sessions();
    let (mut one, mut two) = (sessions.encoder(CHOICE), sessions.encoder(CHOICE));
    first(&mut *one, 1).unwrap();
    let second = frame(2);
    assert_eq!(next(&mut *one, &second).as_deref(), Some("2 0 1000000"));
    assert_eq!(next(&mut *two, &second), None, "it builds on what this one does not have");
    let third = frame(3);
    let (a, b) = (one.encode(&third, WISH).unwrap(), two.encode(&third, WISH).unwrap());
    assert_eq!(done(&a).as_deref(), Some("3 1 1000000"));
    let (Progress::Done(a), Progress::Done(b)) = (a.look(), b.look()) else { panic!() };
    assert!(a.is_same(&b));
    let fourth = frame(4);
    assert_eq!(next(&mut *two, &fourth).as_deref(), Some("4 0 1000000"));
    assert_eq!(next(&mut *one, &fourth).as_deref(), Some("4 0 1000000"));
    assert_eq!(bench.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn who_misses_frames_again_and_again_gets_a_session_of_its_own() {
    let _turn = lock(&TURN);
    let (sessions, bench) = sessions();
    let (mut one, mut two) = (sessions.encoder(CHOICE), sessions.encoder(CHOICE));
    first(&mut *one, 1).unwrap();
    next(&mut *two, &frame(2)).unwrap();
    // `one` has missed a frame, and a key frame was made just now: another one would be at the cost of `two`.
    let third = frame(3);
    assert_eq!(next(&mut *one, &third), None);
    assert_eq!(next(&mut *two, &third).as_deref(), Some("3 0 1000000"));
    next(&mut *two, &frame(4)).unwrap();
    next(&mut *two, &frame(5)).unwrap();
    assert_eq!(first(&mut *one, 6).as_deref(), Some("6 1 1000000"));
    assert_eq!(next(&mut *two, &frame(7)).as_deref(), Some("7 0 1000000"));
    let before = bench.opened.load(Ordering::SeqCst);
    next(&mut *two, &frame(8)).unwrap();
    assert!(before <= 2 && bench.opened.load(Ordering::SeqCst) == before);
}

#[test]
fn a_link_that_carries_much_less_does_not_slow_the_others_down() {
    let _turn = lock(&TURN);
    let (sessions, bench) = sessions();
    let (mut one, mut two) = (sessions.encoder(CHOICE), sessions.encoder(CHOICE));
    first(&mut *one, 1).unwrap();
    let slow = Wish { rate: 300_000, ..WISH };
    let end = Instant::now() + Duration::from_secs(20);
    while bench.opened.load(Ordering::SeqCst) < 2 {
        two.encode(&frame(2), slow);
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    assert_eq!(next(&mut *one, &frame(3)).as_deref(), Some("3 0 1000000"));
    // One that carries a little less slows them down a little.
    let mut three = sessions.encoder(CHOICE);
    let fourth = frame(4);
    let encoding = three.encode(&fourth, Wish { rate: 700_000, ..WISH }).unwrap();
    assert_eq!(done(&encoding).as_deref(), Some("4 1 700000"));
    assert_eq!(next(&mut *one, &fourth).as_deref(), Some("4 1 700000"));
}

#[test]
fn an_encoder_that_cannot_be_made_or_fails_is_broken() {
    let _turn = lock(&TURN);
    let (sessions, bench) = sessions();
    bench.none.store(true, Ordering::SeqCst);
    let mut one = sessions.encoder(CHOICE);
    assert_eq!(first(&mut *one, 1), None);
    assert!(one.is_broken());
    bench.none.store(false, Ordering::SeqCst);
    bench.fails.store(2, Ordering::SeqCst);
    let mut two = sessions.encoder(CHOICE);
    first(&mut *two, 1).unwrap();
    assert_eq!(next(&mut *two, &frame(2)), None);
    while !two.is_broken() {
        assert_eq!(next(&mut *two, &frame(3)), None);
    }
    bench.fails.store(0, Ordering::SeqCst);
    bench.ignores_keys.store(true, Ordering::SeqCst);
    let mut three = sessions.encoder(CHOICE);
    assert_eq!(first(&mut *three, 1), None, "no key frame although one was wanted");
}

#[test]
fn an_encoder_that_hangs_is_given_up_in_time() {
    let _turn = lock(&TURN);
    let (sessions, bench) = sessions();
    let mut one = sessions.encoder(CHOICE);
    first(&mut *one, 1).unwrap();
    *lock(&bench.gate.0) = true;
    let begin = Instant::now();
    let encoding = one.encode(&frame(2), WISH).unwrap();
    assert!(encoding.due().is_some_and(|due| due <= begin + PATIENCE * 2));
    // What waits behind it is bounded.
    let more = (3..20).filter(|number| one.encode(&frame(*number), WISH).is_some()).count();
    assert!((1..=QUEUE + 1).contains(&more), "{more} frames wait");
    assert_eq!(done(&encoding), None);
    assert!(begin.elapsed() >= PATIENCE);
    assert!(one.encode(&frame(30), WISH).is_none() && one.is_broken());
    *lock(&bench.gate.0) = false;
    bench.gate.1.notify_all();
}

#[test]
fn sessions_end_with_their_clients_and_are_no_more_than_there_may_be() {
    let _turn = lock(&TURN);
    let (sessions, _bench) = sessions();
    let running = Arc::clone(&sessions.0.running);
    let mut many: Vec<Box<dyn Encoder>> = (0..MOST + 4).map(|_| sessions.encoder(CHOICE)).collect();
    for (number, encoder) in many.iter_mut().enumerate() {
        // Each has a stream of its own.
        let mut frame = frame(1);
        frame.stream.id = u32::try_from(number).unwrap();
        encoder.encode(&frame, WISH);
    }
    assert!(many.iter().filter(|encoder| encoder.is_broken()).count() >= 4);
    assert!(*lock(&running.0) <= MOST);
    drop((many, sessions));
    assert_eq!(*lock(&running.0), 0);
}

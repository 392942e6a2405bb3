//! The rate control on simulated links: a queue of its own in front of a line of some capacity and length.

use super::*;

const KEY: StreamKey = StreamKey { id: 0, unique: 1 };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A line with a queue that takes everything.
struct Line {
    now: Instant,
    link: Link,
    /// Bits per second, and the way there.
    capacity: f64,
    delay: Duration,
    /// When the line has passed on all that was given to it.
    free: Instant,
    /// Answers on their way: when they come, and their number.
    answers: VecDeque<(Instant, u32)>,
    interval: Duration,
    /// Bytes of a frame of the lowest quality, and by how many percent frames differ.
    unit: f64,
    noise: u32,
    random: u32,
    /// The encoder keeps a rate; every so many frames one has four times as much in it.
    rated: bool,
    frames: Vec<Sent>,
    waiting: bool,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    bytes: f64,
    /// How long it stood in the queue and passed.
    late: Duration,
    quality: u8,
}

impl Line {
    fn new(start: Start, capacity: f64, delay: Duration) -> Self {
        let now = Instant::now();
        Self {
            now,
            link: Link::new(now, start),
            capacity,
            delay,
            free: now,
            answers: VecDeque::new(),
            interval: Duration::from_micros(33_333),
            unit: 9_000.0,
            noise: 10,
            random: 1,
            rated: false,
            frames: Vec::new(),
            waiting: false,
        }
    }

    fn noise(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let percent = f64::from((self.random >> 16) % (2 * self.noise + 1)) - f64::from(self.noise);
        1.0 + percent / 100.0
    }

    /// Plays for a while, millisecond by millisecond; what was sent meanwhile.
    fn play(&mut self, seconds: f64) -> Vec<Sent> {
        let from = self.frames.len();
        let end = self.now + Duration::from_secs_f64(seconds);
        let mut next = self.now;
        while self.now < end {
            self.now += ms(1);
            while self.answers.front().is_some_and(|(at, _)| *at <= self.now) {
                let (at, number) = self.answers.pop_front().unwrap();
                self.link.answered(number, at.max(self.now));
            }
            if next <= self.now {
                next += self.interval;
                self.link.offered(KEY, self.now, 640 * 360);
                self.waiting = true;
            }
            if self.waiting && self.link.gate(self.now) == Gate::Open {
                self.send();
            }
        }
        self.frames[from..].to_vec()
    }

    fn send(&mut self) {
        self.waiting = false;
        if self.link.wants_bare(self.now)
            && let Some(number) = self.link.probe(self.now, true)
        {
            self.answers.push_back((self.free.max(self.now) + self.delay * 2, number));
        }
        let quality = self.link.quality();
        self.link.taken(self.now);
        let ratio = LADDER.iter().find(|rung| rung.0 == quality).unwrap().1;
        // The table is only nearly right for any one film.
        let mut bytes = self.unit * ratio.powf(1.1) * self.noise();
        if self.rated {
            let each = self.link.rate(KEY) as f64 / 8.0 * self.interval.as_secs_f64();
            let busy = self.frames.len().is_multiple_of(90);
            bytes = each * self.noise() * if busy { 4.0 } else { 1.0 };
        }
        self.link.sent(whole(bytes));
        self.link.frame(KEY, self.now, whole(bytes), quality);
        self.free = self.free.max(self.now) + Duration::from_secs_f64(bytes * 8.0 / self.capacity);
        if let Some(number) = self.link.probe(self.now, true) {
            self.answers.push_back((self.free + self.delay * 2, number));
        }
        let late = self.free - self.now;
        self.frames.push(Sent { at: self.now, bytes, late, quality });
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn whole(n: f64) -> usize {
    n as usize
}

fn rate(frames: &[Sent], seconds: f64) -> f64 {
    frames.iter().map(|frame| frame.bytes * 8.0).sum::<f64>() / seconds
}

fn latest(frames: &[Sent]) -> Duration {
    frames.iter().map(|frame| frame.late).max().unwrap_or_default()
}

/// The rate of each two seconds differs from the mean by so many percent at most.
fn swing(frames: &[Sent]) -> f64 {
    let begin = frames[0].at;
    let mut spans: Vec<f64> = Vec::new();
    for frame in frames {
        let at = whole((frame.at - begin).as_secs_f64() / 2.0);
        spans.resize(spans.len().max(at + 1), 0.0);
        spans[at] += frame.bytes * 8.0 / 2.0;
    }
    spans.pop();
    let mean = spans.iter().sum::<f64>() / spans.len() as f64;
    spans.iter().map(|span| (span / mean - 1.0).abs() * 100.0).fold(0.0, f64::max)
}

#[test]
fn a_line_that_carries_everything_gets_the_best_quality_and_every_frame() {
    for (start, delay) in
        [(Start::Unknown, 1), (Start::Local, 0), (Start::Measured(100_000_000), 20)]
    {
        let mut line = Line::new(start, 1e9, ms(delay));
        line.play(6.0);
        let frames = line.play(10.0);
        assert!(frames.len() >= 299, "{start:?}: {}", frames.len());
        assert!(frames.iter().all(|frame| frame.quality == 80), "{start:?}");
        assert!(latest(&frames) < ms(5));
    }
    let mut line = Line::new(Start::Unknown, 1e9, ms(1));
    line.interval = Duration::from_micros(16_667);
    assert!(line.play(10.0).len() >= 598, "60 a second");
}

#[test]
fn slow_lines_converge_without_long_queues_and_stay() {
    // Capacity, one-way delay, first estimate, bytes of the lowest quality.
    let cases = [
        (10e6, 50, Start::Measured(9_000_000), 20_000.0),
        (10e6, 50, Start::Unknown, 20_000.0),
        (2e6, 100, Start::Measured(1_900_000), 6_000.0),
        (2e6, 100, Start::Unknown, 6_000.0),
        (2e6, 100, Start::Unknown, 12_000.0),
        (5e6, 5, Start::Unknown, 9_000.0),
        (1e6, 150, Start::Unknown, 5_000.0),
    ];
    for (capacity, delay, start, unit) in cases {
        let mut line = Line::new(start, capacity, ms(delay));
        line.unit = unit;
        let first = line.play(8.0);
        let name = format!("{capacity} {delay} ms {start:?} {unit}");
        assert!(latest(&first) < ms(600), "{name}: begins with {:?}", latest(&first));
        let frames = line.play(60.0);
        let (rate, late, swing) = (rate(&frames, 60.0), latest(&frames), swing(&frames));
        let fps = frames.len() as f64 / 60.0;
        println!("{name}: {:.2} Mbit/s, {fps:.1} fps, {late:?}, {swing:.0} %", rate / 1e6);
        assert!(late < ms(300), "{name}: queue of {late:?}");
        assert!(rate > 0.7 * capacity && rate <= capacity, "{name}: {rate}");
        assert!(swing <= 20.0, "{name}: swings by {swing} %");
        assert!(fps > 12.0, "{name}: {fps} frames a second");
    }
}

#[test]
fn a_line_that_gets_worse_and_better_is_followed() {
    let mut line = Line::new(Start::Unknown, 20e6, ms(20));
    line.unit = 20_000.0;
    line.play(10.0);
    let good = rate(&line.play(10.0), 10.0);
    line.capacity = 3e6;
    let fall = line.play(3.0);
    assert!(latest(&fall) < Duration::from_secs(2), "{:?}", latest(&fall));
    let bad = line.play(20.0);
    assert!(latest(&bad) < ms(300), "{:?}", latest(&bad));
    assert!(rate(&bad, 20.0) > 0.6 * 3e6 && rate(&bad, 20.0) < 3e6);
    line.capacity = 20e6;
    line.play(60.0);
    let again = rate(&line.play(10.0), 10.0);
    assert!(again > 0.7 * good, "{again} after {good}");
}

#[test]
fn a_client_that_never_answers_gets_its_film() {
    let mut line = Line::new(Start::Unknown, 1e9, ms(1));
    let end = line.now + Duration::from_secs(20);
    let mut sent = 0;
    while line.now < end {
        line.now += ms(33);
        line.link.offered(KEY, line.now, 1000);
        if line.link.gate(line.now) == Gate::Open {
            line.link.taken(line.now);
            line.link.sent(30_000);
            line.link.frame(KEY, line.now, 30_000, 70);
            line.link.probe(line.now, true);
            sent += 1;
        }
    }
    assert!(sent > 400, "{sent}");
    line.link.answered(12_345, line.now);
    assert!(line.link.probes.len() <= MAX_PROBES);
}

#[test]
fn what_is_sent_without_a_probe_never_blocks_for_good() {
    let mut line = Line::new(Start::Unknown, 1e9, ms(1));
    line.link.offered(KEY, line.now, 640 * 360);
    // A small message with a probe, and a frame so soon behind it that it has none.
    line.link.sent(100);
    let number = line.link.probe(line.now, false).unwrap();
    line.now += ms(3);
    line.link.sent(22_000);
    line.link.frame(KEY, line.now, 22_000, 70);
    assert_eq!(line.link.probe(line.now, false), None);
    line.link.answered(number, line.now);
    assert_eq!(line.link.gate(line.now + ms(30)), Gate::Open);
    assert!(line.link.probe(line.now, true).is_some());
}

#[test]
fn a_client_that_stalls_now_and_then_keeps_its_quality() {
    let mut line = Line::new(Start::Measured(300_000_000), 1e9, ms(1));
    line.play(5.0);
    for _ in 0..10 {
        // Everything that is on the way is answered together.
        let late = line.now + ms(150);
        line.answers.iter_mut().for_each(|(at, _)| *at = late);
        line.free = late;
        line.play(0.5);
    }
    let frames = line.play(3.0);
    assert!(frames.len() >= 88 && frames.iter().all(|frame| frame.quality >= 75));
}

#[test]
fn several_streams_share_a_budget() {
    let mut line = Line::new(Start::Measured(8_000_000), 8e6, ms(10));
    let other = StreamKey { id: 1, unique: 2 };
    for _ in 0..30 {
        line.now += ms(33);
        line.link.offered(KEY, line.now, 640 * 360);
        line.link.frame(KEY, line.now, 9000, 20);
    }
    let one = line.link.demand(0);
    line.link.offered(other, line.now, 640 * 360);
    assert!(line.link.demand(0) > 1.5 * one);
    line.link.ended(other);
    assert!((line.link.demand(0) - one).abs() < 1.0);
}

#[test]
fn encoders_that_keep_a_rate_get_what_the_line_carries() {
    for (capacity, delay, start) in [
        (1e6, 100, Start::Unknown),
        (2e6, 100, Start::Measured(1_900_000)),
        (1.5e6, 20, Start::Unknown),
        (600e3, 150, Start::Unknown),
    ] {
        let mut line = Line::new(start, capacity, ms(delay));
        line.rated = true;
        line.link.set_rated(true);
        line.play(10.0);
        let frames = line.play(60.0);
        let (rate, late, swing) = (rate(&frames, 60.0), latest(&frames), swing(&frames));
        let fps = frames.len() as f64 / 60.0;
        let name = format!("{capacity} {delay} ms {start:?}");
        println!("{name}: {:.2} Mbit/s, {fps:.1} fps, {late:?}, {swing:.0} %", rate / 1e6);
        assert!(late < ms(300), "{name}: queue of {late:?}");
        assert!(rate > 0.6 * capacity && rate <= capacity, "{name}: {rate}");
        assert!(swing <= 25.0, "{name}: swings by {swing} %");
        assert!(fps > 20.0, "{name}: {fps} frames a second");
    }
    // A line that carries everything: the best quality that is of use, and no more.
    let mut line = Line::new(Start::Local, 1e9, ms(1));
    line.rated = true;
    line.link.set_rated(true);
    line.play(2.0);
    let most = 640.0 * 360.0 * 30.0 * RATED.1;
    let frames = line.play(10.0);
    assert!(frames.len() >= 299);
    let asked = line.link.rate(KEY) as f64;
    assert!((0.9 * most..=1.1 * most).contains(&asked), "{asked} of {most}");
}

#[test]
fn a_bound_on_all_that_is_sent_holds_for_films() {
    for rated in [false, true] {
        let mut line = Line::new(Start::Local, 1e9, ms(1));
        line.rated = rated;
        line.link.set_rated(rated);
        line.link.set_limit(Some(1_000_000));
        line.play(5.0);
        let bounded = rate(&line.play(20.0), 20.0);
        assert!((0.5e6..=1.05e6).contains(&bounded), "{rated}: {bounded}");
        line.link.set_limit(None);
        line.play(10.0);
        let free = rate(&line.play(10.0), 10.0);
        assert!(free > 1.9e6, "{rated}: {free}");
    }
}

#[test]
fn streams_share_a_rate_by_their_pixels() {
    let mut line = Line::new(Start::Measured(1_000_000), 1e6, ms(10));
    line.link.set_rated(true);
    let other = StreamKey { id: 1, unique: 2 };
    for _ in 0..30 {
        line.now += ms(33);
        line.link.offered(KEY, line.now, 640 * 360);
        line.link.offered(other, line.now, 320 * 180);
    }
    let (large, small) = (line.link.rate(KEY) as f64, line.link.rate(other) as f64);
    assert!((3.8..4.2).contains(&(large / small)), "{large} {small}");
    assert!(large + small <= line.link.budget());
}

//! How much video a client's link carries: which quality, how many frames, how many bytes on the way.
//!
//! Owned by display-N, one for each client; a pure state machine that is told the time. It learns from *probes*: pings
//! behind frames, whose answers say that everything before has come through. What takes longer than on an empty link
//! stood in a queue, and a queue is what makes a film late. Three things follow:
//!
//! - The *window*: bytes on the way at any time, what the link holds and a tenth of a second more. The bound that always
//!   holds.
//! - The *budget*: bits per second that streams may take. It grows while nothing queues up, and falls below what came
//!   through when something does. Where that happened is remembered and left alone for a while, longer each time.
//! - From the budget the *quality*, one for all streams of a client, and, when the lowest is too much, fewer frames.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::detect::StreamKey;

/// Qualities, and the bytes of a frame in relation to the lowest one (medians of photographs and films).
const LADDER: [(u8, f64); 13] = [
    (20, 1.00),
    (25, 1.17),
    (30, 1.32),
    (35, 1.46),
    (40, 1.59),
    (45, 1.71),
    (50, 1.83),
    (55, 1.96),
    (60, 2.11),
    (65, 2.30),
    (70, 2.55),
    (75, 2.88),
    (80, 3.36),
];
/// Where a link begins of which nothing bad is known, and where others do.
const FIRST: usize = 10;
const FIRST_SLOW: usize = 2;
/// Bits per second of a link of which nothing is known, and of one that is on this machine.
const UNKNOWN: f64 = 20e6;
const LOCAL: f64 = 2e9;
/// What the budget never falls below and never exceeds.
const LEAST: f64 = 64e3;
const MOST: f64 = 10e9;
/// Time in a queue that the window allows for.
const QUEUE: Duration = Duration::from_millis(100);
/// The window of a link before its first answer, in bytes.
const FIRST_WINDOW: f64 = 96e3;
/// Time in a queue, a frame's own passage left out, from which on there is too much, and up to which there may be more.
const HIGH: Duration = Duration::from_millis(90);
const LOW: Duration = Duration::from_millis(40);
/// Answers in a row that have to be late.
const LATE: u32 = 3;
/// How long a limit is left alone, the first time and at most.
const HOLD: Duration = Duration::from_secs(4);
const MOST_HOLD: Duration = Duration::from_secs(60);
/// Time between two steps up.
const STEP: Duration = Duration::from_millis(500);
/// Time between two changes for the better of the quality.
const SETTLE: Duration = Duration::from_millis(900);
/// Time between two probes, and probes without an answer.
const PROBES_APART: Duration = Duration::from_millis(15);
const MAX_PROBES: usize = 64;
/// Time between two probes before a frame.
const BARE_APART: Duration = Duration::from_secs(5);
/// Time and bytes from which on a measurement is one: below, the turns of threads are what is seen.
const TELLING: Duration = Duration::from_millis(4);
const TELLING_BYTES: u64 = 2000;
/// A client that does not answer for so long is taken for one that never does.
const SILENT: Duration = Duration::from_secs(3);
/// Memory of the shortest way to the client and back.
const ROUND_TRIP_SPAN: Duration = Duration::from_secs(20);
/// Bytes of a pixel in a frame of the lowest quality, before there was one.
const PIXEL: f64 = 0.04;
/// Bits of a pixel that encoders which keep a rate get, in a frame of the lowest and of the best quality.
const RATED: (f64, f64) = (0.02, 0.35);
/// What of the budget they get: a frame with much in it is larger than the others.
const RATED_SHARE: f64 = 0.9;
/// What of a client's bound on all it is sent is for films.
const LIMIT_SHARE: f64 = 0.9;

/// What is known of a link before anything was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing.
    Unknown,
    /// It is on this machine.
    Local,
    /// Bits per second.
    Measured(u64),
}

/// Whether a frame may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Now.
    Open,
    /// Not before this moment.
    At(Instant),
    /// When an answer has come; ask again at this moment all the same.
    Full(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u32,
    at: Instant,
    /// Bytes sent up to it.
    sent: u64,
    /// Bytes since the probe before it.
    bytes: u64,
    /// What had come through when it was sent, and when that was known.
    arrived: u64,
    since: Instant,
    /// Nothing else was on the way.
    alone: bool,
}

#[derive(Debug, Clone, Copy)]
struct Load {
    key: StreamKey,
    /// Seconds between frames as the guest gives them.
    interval: f64,
    offered: Option<Instant>,
    /// Bytes of a frame of the lowest quality.
    unit: f64,
    pixels: f64,
    /// One has been encoded.
    known: bool,
}

/// A client's link.
#[derive(Debug)]
pub struct Link {
    sent: u64,
    arrived: u64,
    heard: Instant,
    probes: VecDeque<Probe>,
    number: u32,
    probed: Option<Instant>,
    deaf: bool,
    /// A frame found the window full since the last answer.
    blocked: bool,
    /// Shortest round trips of this span and of the one before, and those of small messages with nothing before them.
    shortest: (Duration, Duration),
    bare: (Duration, Duration),
    bare_at: Option<Instant>,
    span_begun: Instant,
    /// Bytes per second that came through; 0: nothing is known.
    bandwidth: f64,
    budget: f64,
    /// Where there was too much last, bits per second.
    ceiling: Option<f64>,
    hold: Duration,
    hold_until: Instant,
    cut_at: Option<Instant>,
    /// Answers in a row that came too late.
    late: u32,
    /// The last measurements of the line's rate.
    measured: VecDeque<f64>,
    stepped_at: Instant,
    rung: usize,
    rung_at: Instant,
    loads: Vec<Load>,
    frame_bytes: f64,
    /// When the next frame may go, if fewer go than come.
    next_frame: Option<Instant>,
    /// The streams' encoders keep a rate, instead of a quality.
    rated: bool,
    /// Bits per second that there may be at most, whatever the link carries.
    limit: f64,
}

impl Link {
    /// A link on which nothing was sent so far.
    #[must_use]
    pub fn new(now: Instant, start: Start) -> Self {
        let (budget, rung) = match start {
            Start::Unknown => (UNKNOWN, FIRST),
            Start::Local => (LOCAL, LADDER.len() - 1),
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            Start::Measured(bits) => {
                let rung = if bits < 10_000_000 { FIRST_SLOW } else { LADDER.len() - 1 };
                ((bits as f64 * 0.8).clamp(LEAST, MOST), rung)
            }
        };
        Self {
            sent: 0,
            arrived: 0,
            heard: now,
            probes: VecDeque::new(),
            number: 0,
            probed: None,
            deaf: false,
            blocked: false,
            shortest: (Duration::MAX, Duration::MAX),
            bare: (Duration::MAX, Duration::MAX),
            bare_at: None,
            span_begun: now,
            bandwidth: 0.0,
            budget,
            ceiling: None,
            hold: HOLD,
            hold_until: now,
            cut_at: None,
            late: 0,
            measured: VecDeque::new(),
            stepped_at: now,
            rung,
            rung_at: now,
            loads: Vec::new(),
            frame_bytes: 0.0,
            next_frame: None,
            rated: false,
            limit: MOST,
        }
    }

    /// Whether the streams' encoders keep a rate ([`Link::rate`]) instead of a quality.
    pub fn set_rated(&mut self, rated: bool) {
        if self.rated != rated {
            self.rated = rated;
            self.loads.iter_mut().for_each(|load| load.known = false);
        }
    }

    /// Bits per second that the client is sent at most, of all kinds of messages; `None`: no bound.
    pub fn set_limit(&mut self, bits: Option<u64>) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let share = |bits: u64| (bits as f64 * LIMIT_SHARE).clamp(LEAST, MOST);
        self.limit = bits.map_or(MOST, share);
    }

    /// Bits per second for the encoder of a stream.
    #[must_use]
    pub fn rate(&self, key: StreamKey) -> u64 {
        let weight = |load: &Load| load.pixels / load.interval.max(0.005);
        let all: f64 = self.loads.iter().map(weight).sum();
        let own = self.loads.iter().find(|load| load.key == key).map_or(1.0, weight);
        let most = if self.rated { self.demand(LADDER.len() - 1) } else { MOST };
        let rate = (self.budget() * RATED_SHARE).min(most) * own / all.max(own).max(1.0);
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        #[expect(clippy::cast_sign_loss, reason = "is positive")]
        let rate = rate.clamp(LEAST / 4.0, MOST) as u64;
        rate
    }

    /// The quality of the next frame, of 100.
    #[must_use]
    pub fn quality(&self) -> u8 {
        LADDER.get(self.rung).map_or(LADDER[0].0, |rung| rung.0)
    }

    /// Bits per second that streams may take.
    #[must_use]
    pub fn budget(&self) -> f64 {
        self.budget.min(self.limit)
    }

    /// The shortest way to the client and back that was seen lately.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let shortest = self.shortest.0.min(self.shortest.1);
        (shortest < Duration::MAX).then_some(shortest)
    }

    /// Time that a frame takes to pass.
    #[must_use]
    pub fn passage(&self) -> Duration {
        if self.bandwidth > 0.0 {
            Duration::from_secs_f64((self.frame_bytes / self.bandwidth).min(5.0))
        } else {
            Duration::ZERO
        }
    }

    /// Bytes were given to the socket, of whatever kind.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// True while more may be on the way than is.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.deaf || self.probes.is_empty() || self.in_flight() < self.window()
    }

    /// A stream has a frame of so many pixels to offer.
    pub fn offered(&mut self, key: StreamKey, now: Instant, pixels: u64) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let guess = pixels as f64 * PIXEL;
        let load = match self.loads.iter_mut().position(|load| load.key == key) {
            Some(at) => self.loads.get_mut(at),
            None => {
                self.loads.push(Load {
                    key,
                    interval: 1.0 / 30.0,
                    offered: None,
                    unit: guess,
                    pixels: 0.0,
                    known: false,
                });
                self.loads.last_mut()
            }
        };
        let Some(load) = load else { return };
        load.pixels = guess / PIXEL;
        if let Some(before) = load.offered.replace(now) {
            let since = now.saturating_duration_since(before).as_secs_f64().min(1.0);
            load.interval += (since - load.interval) / 16.0;
        }
        if !load.known {
            load.unit = guess;
            self.tune(now);
        }
    }

    /// A stream is over, or still.
    pub fn ended(&mut self, key: StreamKey) {
        self.loads.retain(|load| load.key != key);
        self.next_frame = None;
    }

    /// Whether a frame may go now.
    #[must_use]
    pub fn gate(&mut self, now: Instant) -> Gate {
        if !self.probes.is_empty() && now.saturating_duration_since(self.heard) > SILENT {
            // It is alive, or its main channel would have ended: it just does not answer.
            self.probes.clear();
            self.deaf = true;
        }
        // Without a question on the way nothing would ever open it again.
        let waits = !self.deaf && !self.probes.is_empty() && self.in_flight() > 0.0;
        if waits && self.in_flight() + self.frame_bytes > self.window() {
            self.blocked = true;
            return Gate::Full(self.heard.max(now) + SILENT);
        }
        match self.next_frame {
            Some(at) if at > now => Gate::At(at),
            _ => Gate::Open,
        }
    }

    /// A frame was encoded and is sent: so many bytes, at this quality.
    pub fn frame(&mut self, key: StreamKey, now: Instant, bytes: usize, quality: u8) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let bytes = bytes as f64;
        let ratio = LADDER.iter().find(|rung| rung.0 == quality).map_or(1.0, |rung| rung.1);
        self.frame_bytes = if self.frame_bytes == 0.0 {
            bytes
        } else {
            self.frame_bytes + (bytes - self.frame_bytes) / 4.0
        };
        if let Some(load) = self.loads.iter_mut().find(|load| load.key == key) {
            let unit = bytes / ratio;
            if !self.rated {
                load.unit = if load.known { load.unit + (unit - load.unit) / 8.0 } else { unit };
            }
            load.known = true;
        }
        self.tune(now);
    }

    /// A frame was taken to be encoded.
    pub fn taken(&mut self, now: Instant) {
        let needed = self.demand(self.rung) / self.budget();
        if needed <= 1.05 {
            self.next_frame = None;
            return;
        }
        // So many times fewer frames than come, evenly.
        let streams: f64 = self.loads.iter().map(|load| 1.0 / load.interval.max(0.005)).sum();
        let apart = Duration::from_secs_f64((needed / streams.max(0.1)).min(2.0));
        let from = self.next_frame.map_or(now, |at| at.max(now.checked_sub(apart).unwrap_or(now)));
        self.next_frame = Some(from + apart);
    }

    /// True if the way is empty and a probe should go before the next frame, to learn how long it is.
    pub fn wants_bare(&mut self, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < BARE_APART;
        let wants = self.probes.is_empty() && !self.bare_at.is_some_and(recent);
        if wants {
            self.bare_at = Some(now);
        }
        wants
    }

    /// The number of a probe that is to be sent now; its answer goes to [`Link::answered`]. Behind a frame there is always
    /// one, behind other messages not too often.
    pub fn probe(&mut self, now: Instant, behind_frame: bool) -> Option<u32> {
        let recent = |at: Instant| now.saturating_duration_since(at) < PROBES_APART;
        let often = !behind_frame && self.probed.is_some_and(recent);
        if self.probes.len() >= MAX_PROBES || often {
            return None;
        }
        self.number = self.number.wrapping_add(1);
        self.probed = Some(now);
        let alone = self.probes.is_empty();
        if alone {
            // Nothing was on the way: what comes through is counted from here.
            self.heard = now;
        }
        let before = self.probes.back().map_or(self.arrived, |probe| probe.sent);
        self.probes.push_back(Probe {
            number: self.number,
            at: now,
            sent: self.sent,
            bytes: self.sent.saturating_sub(before),
            arrived: self.arrived,
            since: self.heard,
            alone,
        });
        Some(self.number)
    }

    /// A probe came back; numbers that are not on the way are ignored.
    pub fn answered(&mut self, number: u32, now: Instant) {
        let Some(at) = self.probes.iter().position(|probe| probe.number == number) else { return };
        let Some(probe) = self.probes.drain(..=at).next_back() else { return };
        self.deaf = false;
        let trip = now.saturating_duration_since(probe.at);
        if now.saturating_duration_since(self.span_begun) > ROUND_TRIP_SPAN {
            self.shortest = (trip, self.shortest.0);
            self.bare = (Duration::MAX, self.bare.0);
            self.span_begun = now;
        } else {
            self.shortest.0 = self.shortest.0.min(trip);
        }
        if probe.alone && probe.bytes < TELLING_BYTES {
            self.bare.0 = self.bare.0.min(trip);
        }
        let empty = self.round_trip().unwrap_or(trip);
        let queue = trip.saturating_sub(empty);
        match self.measure(&probe, now, empty, queue) {
            Some(rate) => {
                let rate = self.usual(rate);
                let old = if self.bandwidth > 0.0 { self.bandwidth } else { rate };
                self.bandwidth = old + (rate - old) / 4.0;
            }
            None if probe.bytes >= TELLING_BYTES => {
                self.bandwidth = self.bandwidth.max(at_least(&probe, now));
            }
            None => {}
        }
        self.arrived = self.arrived.max(probe.sent);
        self.heard = now;
        let standing = queue.saturating_sub(self.passage());
        let blocked = std::mem::take(&mut self.blocked);
        let late = standing > HIGH || (blocked && queue > LOW);
        self.late = if late { self.late + 1 } else { 0 };
        if late {
            // One late answer may be a client that was busy with something else; a line is late again and again.
            if self.late >= LATE {
                self.cut(now);
            }
        } else if standing < LOW && !blocked {
            self.raise(now);
        }
        self.tune(now);
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn in_flight(&self) -> f64 {
        self.sent.saturating_sub(self.arrived) as f64
    }

    fn window(&self) -> f64 {
        if self.bandwidth == 0.0 {
            return FIRST_WINDOW.min(self.budget() / 8.0 * 0.25).max(self.frame_bytes);
        }
        let way = self.round_trip().unwrap_or_default() + QUEUE;
        (self.bandwidth * way.as_secs_f64()).max(self.frame_bytes * 1.01)
    }

    /// Bits per second of all streams at a quality.
    fn demand(&self, rung: usize) -> f64 {
        let ratio = LADDER.get(rung).map_or(1.0, |rung| rung.1);
        let rated = rated_bits(rung);
        let bits = |load: &Load| {
            if self.rated { load.pixels * rated } else { load.unit * ratio * 8.0 }
        };
        self.loads.iter().map(|load| bits(load) / load.interval.max(0.005)).sum()
    }

    /// Bytes per second of the line, if an answer tells: it was busy from the answer before to this one, or had just this
    /// much to carry.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn measure(
        &self,
        probe: &Probe,
        now: Instant,
        empty: Duration,
        queue: Duration,
    ) -> Option<f64> {
        let time = if probe.alone {
            // Only against a way that is known to be empty: other trips have a frame's passage in them.
            self.bare.0.min(self.bare.1).ne(&Duration::MAX).then_some(queue)?
        } else if probe.at + empty <= self.heard {
            now.saturating_duration_since(self.heard)
        } else {
            return None;
        };
        (time >= TELLING && probe.bytes >= TELLING_BYTES)
            .then(|| probe.bytes as f64 / time.as_secs_f64())
    }

    /// The middle one of the last three measurements: a client that stalls once measures nothing.
    fn usual(&mut self, rate: f64) -> f64 {
        self.measured.push_back(rate);
        while self.measured.len() > 3 {
            self.measured.pop_front();
        }
        let mut sorted: Vec<f64> = self.measured.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(rate)
    }

    fn cut(&mut self, now: Instant) {
        let pause = (self.round_trip().unwrap_or_default() * 2).max(Duration::from_millis(300));
        if self.cut_at.is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return;
        }
        let through = self.bandwidth * 8.0;
        let again = self.cut_at.is_some_and(|_| now < self.hold_until + self.hold);
        self.hold = if again { (self.hold * 2).min(MOST_HOLD) } else { HOLD };
        (self.cut_at, self.hold_until) = (Some(now), now + self.hold);
        self.ceiling = Some(through);
        self.budget = self.budget.min(through * 0.85).clamp(LEAST, MOST);
    }

    fn raise(&mut self, now: Instant) {
        let first = self.cut_at.is_none();
        let pause = if first { STEP / 2 } else { STEP };
        let pause = pause.max(self.round_trip().unwrap_or_default());
        if now.saturating_duration_since(self.stepped_at) < pause {
            return;
        }
        // What nobody asks for is no budget that was tried.
        let best = self.best().min(self.limit);
        if self.budget >= best {
            return;
        }
        self.stepped_at = now;
        if self.ceiling.is_some_and(|ceiling| self.bandwidth * 8.0 > ceiling * 1.3) {
            // It carries more than where there was too much: it is another line by now.
            (self.ceiling, self.hold, self.hold_until) = (None, HOLD, now);
        }
        let mut budget = self.budget * if first { 1.4 } else { 1.08 };
        if now < self.hold_until {
            if let Some(ceiling) = self.ceiling {
                budget = budget.min((ceiling * 0.92).max(self.budget));
            }
        } else {
            self.ceiling = None;
        }
        self.budget = budget.min(best).clamp(LEAST, MOST);
    }

    /// The largest budget that is of use.
    fn best(&self) -> f64 {
        let share = if self.rated { RATED_SHARE } else { 1.0 };
        self.demand(LADDER.len() - 1) * 1.1 / share
    }

    /// Chooses the quality for the budget.
    fn tune(&mut self, now: Instant) {
        if self.loads.is_empty() {
            return;
        }
        while self.rung > 0 && self.demand(self.rung) > self.budget() * 1.03 {
            self.rung -= 1;
            self.rung_at = now;
        }
        let known = self.loads.iter().all(|load| load.known);
        if !known || now.saturating_duration_since(self.rung_at) < SETTLE {
            return;
        }
        let fits = (0..LADDER.len()).rev().find(|at| self.demand(*at) <= self.budget() * 0.95);
        let best = fits.unwrap_or(0);
        if best > self.rung {
            // By halves: a lower quality is seen less than one that goes up and down.
            self.rung += (best - self.rung).div_ceil(2);
            self.rung_at = now;
        }
    }
}

/// Bits of a pixel at a step of the ladder, for encoders that keep a rate: even steps from the least to the most.
fn rated_bits(rung: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a dozen")]
    let part = rung as f64 / (LADDER.len() - 1) as f64;
    RATED.0 * (RATED.1 / RATED.0).powf(part)
}

/// Bytes per second that a line has carried, which may not have been all that it could.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn at_least(probe: &Probe, now: Instant) -> f64 {
    let time = now.saturating_duration_since(probe.since).as_secs_f64().max(0.000_1);
    probe.sent.saturating_sub(probe.arrived) as f64 / time
}

#[cfg(test)]
mod tests;

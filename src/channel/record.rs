//! The record channel (thread `spice-record`): sound from one client to the guest.
//!
//! What the client sends is decoded here and left in the [`Capture`], where the host takes it by its own clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::observe::probes;
use crate::protocol::caps::{ChannelType, record as cap};
use crate::protocol::message::Message;
use crate::protocol::sound::{self as wire, Mode, RecordRequest, record as kind};
use crate::sound::capture::{Capture, Due, RING};
use crate::sound::codec::{self, Decoder};
use crate::sound::state::{Change, State};
use crate::transport::reactor::Key;

use super::clients::{Client, Clients, Close};
use super::engine::{Channel, Turn};
use super::take_short_turns;

/// Bytes that wait in the outbox at which the client is told nothing more.
const OUTBOX_MARK: usize = 4096;

/// Messages that a client may send in a [`WINDOW`]: forty times what sound takes. One that sends more is read later, so
/// that its flood costs no processor that others need.
const MESSAGES: u32 = 40;
/// See above.
const WINDOW: Duration = Duration::from_millis(10);

/// How many messages are taken now.
struct Pace {
    since: Instant,
    left: u32,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { since: now, left: MESSAGES }
    }

    /// True if one more may be taken.
    fn goes_on(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        }
        self.left > 0
    }

    /// One was taken.
    fn took(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// When more may be taken, if that is not now.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        (!self.goes_on(now)).then(|| self.since + WINDOW)
    }
}

/// State of the channel.
pub struct Record {
    capture: Arc<Capture>,
    pace: Pace,
    peer: Option<Peer>,
    /// What was decoded last; its memory is used again.
    samples: Vec<u32>,
    /// The thread has begun.
    begun: bool,
}

/// The one client.
struct Peer {
    key: Key,
    takes_volume: bool,
    decoder: Decoder,
    /// START was sent, and no STOP since.
    recording: bool,
}

impl Record {
    /// A channel without a client.
    #[must_use]
    pub fn new(capture: Arc<Capture>) -> Self {
        Self {
            capture,
            pace: Pace::new(Instant::now()),
            peer: None,
            samples: Vec::new(),
            begun: false,
        }
    }

    fn send_change(&mut self, clients: &mut Clients, change: &Change) {
        let Some(peer) = &mut self.peer else { return };
        let key = peer.key;
        match change {
            Change::Start(rate) => {
                if !std::mem::replace(&mut peer.recording, true) {
                    clients.send(key, wire::record_start(*rate));
                }
            }
            Change::Stop => {
                if std::mem::take(&mut peer.recording) {
                    clients.send(key, Message::new(kind::STOP, Vec::new()));
                }
            }
            Change::Volume(volume) if peer.takes_volume => {
                clients.send(key, wire::volume(kind::VOLUME, volume));
            }
            Change::Mute(mute) if peer.takes_volume => {
                clients.send(key, wire::mute(kind::MUTE, *mute));
            }
            // The client chooses the mode.
            Change::Volume(_) | Change::Mute(_) | Change::Mode => {}
        }
    }

    /// Tells the client how things stand.
    fn send_state(&mut self, clients: &mut Clients, state: State) {
        let start = if state.active { Change::Start(state.rate) } else { Change::Stop };
        let volume = state.volume.map(Change::Volume);
        let mute = state.mute.map(Change::Mute);
        for change in [Some(start), volume, mute].into_iter().flatten() {
            self.send_change(clients, &change);
        }
    }

    fn pump(&mut self, clients: &mut Clients) {
        while let Some(key) = self.peer.as_ref().map(|peer| peer.key)
            && clients.waiting(key) < OUTBOX_MARK
            && let Some(due) = self.capture.next()
        {
            match due {
                Due::Change(change) => self.send_change(clients, &change),
                Due::Resync(state) => self.send_state(clients, state),
            }
        }
    }
}

impl Channel for Record {
    type Order = ();
    const TYPE: ChannelType = ChannelType::RECORD;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        if let Some(old) = self.peer.take() {
            clients.close(old.key, Close::Ours("replaced by a new link"));
        }
        let Some(client) = clients.get(key) else { return };
        let takes_volume = client.caps.has(cap::VOLUME);
        self.peer = Some(Peer { key, takes_volume, decoder: Decoder::default(), recording: false });
        let state = self.capture.attach();
        self.send_state(clients, state);
    }

    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String> {
        self.pace.took();
        // What the host did before comes before what may be the client's end.
        self.pump(clients);
        let request = RecordRequest::parse(kind, body).map_err(|e| e.to_string())?;
        // A client that was replaced may still have said something.
        let Some(peer) = self.peer.as_mut().filter(|peer| peer.key == key) else { return Ok(()) };
        match request {
            RecordRequest::Data(data) => {
                let decoded = peer.decoder.decode(data, RING, &mut self.samples);
                decoded.map_err(|error| format!("recorded sound is damaged: {error}"))?;
                probes::sound_heard(self.samples.len());
                self.capture.write(&self.samples);
            }
            RecordRequest::Mode(Mode::Raw) => peer.decoder = Decoder::Raw,
            RecordRequest::Mode(Mode::Opus) => {
                let rate = self.capture.state().rate;
                if !codec::opus_at(rate) {
                    return Err(format!("Opus at {rate} Hz, which there is not"));
                }
                peer.decoder = Decoder::opus(rate).map_err(|error| error.to_string())?;
            }
            RecordRequest::StartMark => {}
        }
        Ok(())
    }

    fn accepts(&mut self) -> bool {
        self.pace.goes_on(Instant::now())
    }

    fn order(&mut self, _clients: &mut Clients, (): ()) {}

    fn room(&mut self, clients: &mut Clients, _key: Key) {
        self.pump(clients);
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        if self.peer.as_ref().is_some_and(|peer| peer.key == key) {
            self.peer = None;
            self.capture.detach();
        }
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        if !std::mem::replace(&mut self.begun, true) {
            take_short_turns();
        }
        self.pump(clients);
        self.pace.next(Instant::now()).map_or(Turn::Idle, Turn::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_read_forty_messages_at_a_time() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let mut taken = 0;
        for tick in 0..30 {
            let now = begin + tick * Duration::from_millis(1);
            while pace.goes_on(now) {
                pace.took();
                taken += 1;
            }
            assert!(pace.next(now).is_some_and(|at| at > now && at <= now + WINDOW));
        }
        assert_eq!(taken, 3 * MESSAGES);
        assert!(pace.next(begin + 4 * WINDOW).is_none(), "or the thread would never sleep");
    }
}

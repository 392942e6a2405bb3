//! The playback channel (thread `spice-playback`): sound from the guest to one client.
//!
//! The host's calls leave buffers and changes in the [`Feed`] and poke this thread, which encodes and sends them in
//! their order. It takes no more than the client reads; what waits for too long there is dropped by the feed.

use std::sync::Arc;
use std::time::Instant;

use crate::display::encode::wan::LinkSpeed;
use crate::observe::codecs::{self, Codec};
use crate::observe::{RateLimit, probes};
use crate::protocol::caps::{ChannelType, playback as cap};
use crate::protocol::error::MessageError;
use crate::protocol::message::Message;
use crate::protocol::sound::{self as wire, Mode, playback as kind};
use crate::sound::codec::{self, Encoder};
use crate::sound::feed::{Due, Feed};
use crate::sound::state::{Change, State};
use crate::sound::{FRAME_SAMPLES, Frame};
use crate::sys::clock::mm_time;
use crate::sys::opus::OpusError;
use crate::transport::reactor::Key;

use super::clients::{Client, Clients, Close};
use super::engine::{Channel, Turn};
use super::{Upward, take_short_turns};

/// Bytes that wait in the outbox at which the thread takes nothing more from the feed: two raw buffers.
const OUTBOX_MARK: usize = 4096;
/// Bytes that may wait in the kernel's queue for a client that reads raw sound: about a third of a second.
const RAW_BACKLOG: usize = 64 * 1024;
/// The same for Opus.
const OPUS_BACKLOG: usize = 16 * 1024;

static ENCODE_ERRORS: RateLimit = RateLimit::new();

/// State of the channel.
pub struct Playback {
    feed: Arc<Feed>,
    upward: Arc<dyn Upward>,
    peer: Option<Peer>,
    /// The thread has begun.
    begun: bool,
}

/// The one client.
struct Peer {
    key: Key,
    /// Its displays are told by it that sound is the client's clock.
    speed: Arc<LinkSpeed>,
    takes_opus: bool,
    takes_volume: bool,
    mode: Mode,
    /// Made when it is first needed and kept while sound is raw, as in the reference; with its sample rate in Hz.
    opus: Option<(Encoder, u32)>,
    /// START was sent, and no STOP since.
    playing: bool,
}

impl Peer {
    fn new(key: Key, client: &Client) -> Self {
        let caps = &client.caps;
        Self {
            key,
            speed: Arc::clone(&client.speed),
            takes_opus: caps.has(cap::OPUS),
            takes_volume: caps.has(cap::VOLUME),
            mode: Mode::Raw,
            opus: None,
            playing: false,
        }
    }

    /// Chooses the mode for how things stand; true if it is another one.
    fn choose(&mut self, state: &State) -> bool {
        let wanted = state.compression && self.takes_opus && codec::encodes_at(state.rate);
        let there = self.opus.as_ref().is_some_and(|(_, rate)| *rate == state.rate);
        if wanted && !there {
            match Encoder::opus(state.rate) {
                Ok(encoder) => self.opus = Some((encoder, state.rate)),
                Err(error) => {
                    tracing::warn!(%error, "sound is sent raw");
                    self.opus = None;
                }
            }
        }
        let mode = if wanted && self.opus.is_some() { Mode::Opus } else { Mode::Raw };
        std::mem::replace(&mut self.mode, mode) != mode
    }

    /// DATA with this buffer's sound.
    fn encode(&mut self, frame: &Frame, time: u32) -> Result<Message, OpusError> {
        let (encoder, room) = match (&mut self.opus, self.mode) {
            (Some((encoder, _)), Mode::Opus) => (encoder, codec::PACKET_MAX),
            _ => (&mut Encoder::Raw, 4 * FRAME_SAMPLES),
        };
        let mut message = wire::data(time, room);
        if matches!(encoder, Encoder::Raw) {
            encoder.append(frame, &mut message.body)?;
            return Ok(message);
        }
        let (work, before) = (codecs::begin(Codec::Opus, 4 * FRAME_SAMPLES), message.body.len());
        let encoded = encoder.append(frame, &mut message.body);
        work.end(encoded.is_ok().then(|| message.body.len() - before));
        encoded.map(|()| message)
    }
}

impl Playback {
    /// A channel without a client.
    #[must_use]
    pub fn new(feed: Arc<Feed>, upward: Arc<dyn Upward>) -> Self {
        Self { feed, upward, peer: None, begun: false }
    }

    /// Tells the client's mode and bounds what the kernel may keep for it.
    fn send_mode(clients: &mut Clients, peer: &Peer) {
        let mode = peer.mode;
        let backlog = if mode == Mode::Raw { RAW_BACKLOG } else { OPUS_BACKLOG };
        clients.limit_backlog(peer.key, backlog);
        clients.send(peer.key, wire::mode(mm_time(), mode));
    }

    fn send_change(&mut self, clients: &mut Clients, change: &Change) {
        let Some(peer) = &mut self.peer else { return };
        let key = peer.key;
        match change {
            Change::Start(rate) => {
                if !std::mem::replace(&mut peer.playing, true) {
                    peer.speed.set_hears(true);
                    clients.send(key, wire::playback_start(*rate, mm_time()));
                }
            }
            Change::Stop => {
                if std::mem::take(&mut peer.playing) {
                    peer.speed.set_hears(false);
                    clients.send(key, Message::new(kind::STOP, Vec::new()));
                    self.upward.sound_clock_stopped();
                }
            }
            Change::Volume(volume) if peer.takes_volume => {
                clients.send(key, wire::volume(kind::VOLUME, volume));
            }
            Change::Mute(mute) if peer.takes_volume => {
                clients.send(key, wire::mute(kind::MUTE, *mute));
            }
            Change::Volume(_) | Change::Mute(_) => {}
            Change::Mode => {
                if peer.choose(&self.feed.state()) {
                    Self::send_mode(clients, peer);
                }
            }
        }
    }

    /// Tells the client how things stand; of what it knows only what it has to be told again is left out.
    fn send_state(&mut self, clients: &mut Clients, state: State) {
        let start = if state.active { Change::Start(state.rate) } else { Change::Stop };
        let volume = state.volume.map(Change::Volume);
        let mute = state.mute.map(Change::Mute);
        for change in [Some(start), volume, mute].into_iter().flatten() {
            self.send_change(clients, &change);
        }
    }

    /// Sends what is due while the client takes it.
    fn pump(&mut self, clients: &mut Clients) {
        while let Some(key) = self.peer.as_ref().map(|peer| peer.key)
            && clients.waiting(key) < OUTBOX_MARK
            && let Some(due) = self.feed.next(Instant::now())
        {
            match due {
                Due::Change(change) => self.send_change(clients, &change),
                Due::Resync(state) => {
                    self.send_change(clients, &Change::Mode);
                    self.send_state(clients, state);
                }
                Due::Frame { frame, time } => {
                    let Some(peer) = &mut self.peer else { return };
                    let encoded = peer.encode(&frame, time);
                    self.feed.recycle(frame);
                    match encoded {
                        Ok(message) => {
                            probes::sound_sent(time, message.body.len());
                            clients.send(key, message);
                        }
                        Err(error) => {
                            if ENCODE_ERRORS.allow() {
                                tracing::error!(%error, "sound cannot be encoded");
                            }
                            return clients.close(key, Close::Ours("sound cannot be encoded"));
                        }
                    }
                }
            }
        }
    }

    /// The client is no longer ours.
    fn lose_peer(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        let dropped = self.feed.detach();
        if dropped > 0 {
            tracing::debug!(dropped, "a client left; sound was dropped because it came late");
        }
        if peer.playing {
            peer.speed.set_hears(false);
            self.upward.sound_clock_stopped();
        }
    }
}

impl Channel for Playback {
    type Order = ();
    const TYPE: ChannelType = ChannelType::PLAYBACK;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        if let Some(old) = &self.peer {
            clients.close(old.key, Close::Ours("replaced by a new link"));
            self.lose_peer();
        }
        let Some(client) = clients.get(key) else { return };
        let mut peer = Peer::new(key, client);
        let state = self.feed.attach();
        peer.choose(&state);
        Self::send_mode(clients, &peer);
        self.peer = Some(peer);
        self.send_state(clients, state);
    }

    fn request(
        &mut self,
        _clients: &mut Clients,
        _key: Key,
        kind: u16,
        _body: &[u8],
    ) -> Result<(), String> {
        // Clients have nothing to say here.
        Err(MessageError::Unknown { kind }.to_string())
    }

    fn order(&mut self, _clients: &mut Clients, (): ()) {}

    fn room(&mut self, clients: &mut Clients, _key: Key) {
        self.pump(clients);
    }

    fn hand_over(&mut self, clients: &mut Clients, key: Key) {
        if self.peer.as_ref().is_some_and(|peer| peer.key == key) {
            self.pump(clients);
            // The other server says when it begins there.
            self.send_change(clients, &Change::Stop);
        }
        clients.leave(key, false);
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        if self.peer.as_ref().is_some_and(|peer| peer.key == key) {
            self.lose_peer();
        }
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        if !std::mem::replace(&mut self.begun, true) {
            take_short_turns();
        }
        self.pump(clients);
        if let Some(client) = self.peer.as_ref().and_then(|peer| clients.get(peer.key)) {
            let (waiting, dropped) = self.feed.counts();
            client.waits(waiting, dropped);
        }
        Turn::Idle
    }
}

//! The playback channel (thread `spice-playback`): sound from the guest to one client.
//!
//! The host's calls leave buffers and changes in the [`Feed`] and poke this thread, which encodes and sends them in
//! their order. It takes no more than the client reads; what waits for too long there is dropped by the feed.

use std::sync::Arc;
use std::time::Instant;

use crate::observe::RateLimit;
use crate::protocol::caps::{Caps, ChannelType, playback as cap};
use crate::protocol::error::MessageError;
use crate::protocol::message::Message;
use crate::protocol::sound::{self as wire, Mode, playback as kind};
use crate::sound::FRAME_SAMPLES;
use crate::sound::codec::{self, Encoder};
use crate::sound::feed::{Due, Feed};
use crate::sound::state::{Change, State};
use crate::sys::clock::mm_time;
use crate::transport::reactor::Key;

use super::clients::{Client, Clients, Close};
use super::engine::{Channel, Turn};
use super::{Upward, favour_sound};

/// Bytes that wait in the outbox at which the thread takes nothing more from the feed: two raw buffers.
const OUTBOX_MARK: usize = 4096;
/// Bytes that may wait in the kernel's queue for a client that reads raw sound: about a sixth of a second.
const RAW_BACKLOG: usize = 32 * 1024;
/// The same for Opus.
const OPUS_BACKLOG: usize = 8 * 1024;

static ENCODE_ERRORS: RateLimit = RateLimit::new();

/// State of the channel.
pub struct Playback {
    feed: Arc<Feed>,
    upward: Arc<dyn Upward>,
    peer: Option<Peer>,
    /// This thread has asked for a favoured place among the threads.
    favoured: bool,
}

/// The one client.
struct Peer {
    key: Key,
    takes_opus: bool,
    takes_volume: bool,
    encoder: Encoder,
    /// START was sent, and no STOP since.
    playing: bool,
}

impl Peer {
    fn new(key: Key, caps: &Caps) -> Self {
        Self {
            key,
            takes_opus: caps.has(cap::OPUS),
            takes_volume: caps.has(cap::VOLUME),
            encoder: Encoder::Raw,
            playing: false,
        }
    }

    fn mode(&self) -> Mode {
        match self.encoder {
            Encoder::Raw => Mode::Raw,
            Encoder::Opus { .. } => Mode::Opus,
        }
    }

    /// Chooses the encoder for how things stand; true if the client sees another mode.
    fn choose(&mut self, state: &State) -> bool {
        let before = self.mode();
        let opus = state.compression && self.takes_opus && codec::encodes_at(state.rate);
        let kept = match &self.encoder {
            Encoder::Raw => !opus,
            Encoder::Opus { rate, .. } => opus && *rate == state.rate,
        };
        if !kept {
            self.encoder = if opus { opus_or_raw(state.rate) } else { Encoder::Raw };
        }
        self.mode() != before
    }
}

fn opus_or_raw(rate: u32) -> Encoder {
    Encoder::opus(rate).unwrap_or_else(|error| {
        tracing::warn!(%error, "sound is sent raw");
        Encoder::Raw
    })
}

impl Playback {
    /// A channel without a client.
    #[must_use]
    pub fn new(feed: Arc<Feed>, upward: Arc<dyn Upward>) -> Self {
        Self { feed, upward, peer: None, favoured: false }
    }

    /// Tells the client's mode and bounds what the kernel may keep for it.
    fn send_mode(clients: &mut Clients, peer: &Peer) {
        let mode = peer.mode();
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
                    clients.send(key, wire::playback_start(*rate, mm_time()));
                }
            }
            Change::Stop => {
                if std::mem::take(&mut peer.playing) {
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
        for change in volume.into_iter().chain(mute).chain([start]) {
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
                    let room = match peer.encoder {
                        Encoder::Raw => 4 * FRAME_SAMPLES,
                        Encoder::Opus { .. } => codec::PACKET_MAX,
                    };
                    let mut message = wire::data(time, room);
                    let encoded = peer.encoder.append(&frame, &mut message.body);
                    self.feed.recycle(frame);
                    match encoded {
                        Ok(()) => clients.send(key, message),
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
        let mut peer = Peer::new(key, &client.caps);
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

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        if self.peer.as_ref().is_some_and(|peer| peer.key == key) {
            self.lose_peer();
        }
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        if !std::mem::replace(&mut self.favoured, true) {
            favour_sound();
        }
        self.pump(clients);
        Turn::Idle
    }
}

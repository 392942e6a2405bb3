//! The sound of a machine: what the C edge calls for playback and record interfaces.
//!
//! Called by the host from any of its threads. Nothing here waits but the removal of an interface, for its thread.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::channel::playback::Playback;
use crate::channel::record::Record;
use crate::channel::{Handle, Upward, engine};
use crate::observe::probes;
use crate::protocol::caps::{ChannelType, playback, record};
use crate::sound::Volume;
use crate::sound::capture::Capture;
use crate::sound::codec;
use crate::sound::feed::{Feed, Lent};
use crate::sys::clock::mm_time;

use super::Core;
use super::session::Session;

/// Name of the thread of the playback channel.
const PLAYBACK_THREAD: &str = "spice-playback";
/// Name of the thread of the record channel.
const RECORD_THREAD: &str = "spice-record";

/// The way to an added playback interface.
#[derive(Debug)]
pub struct PlaybackLine {
    feed: Arc<Feed>,
    thread: Handle<()>,
}

impl PlaybackLine {
    fn poke_if(&self, due: bool) {
        if due {
            self.thread.poke();
        }
    }

    /// The guest plays, or stops; saying so again changes nothing.
    pub fn set_active(&self, active: bool) {
        self.poke_if(self.feed.set_active(active));
    }

    /// Sets the clients' volume, for each channel 0 to 65,535; of at most 255 channels.
    pub fn set_volume(&self, volume: Volume) {
        self.poke_if(self.feed.set_volume(volume));
    }

    /// Silences the clients (not 0), or not.
    pub fn set_mute(&self, mute: u8) {
        self.poke_if(self.feed.set_mute(mute));
    }

    /// Sets the sample rate in Hz of what the guest plays.
    pub fn set_rate(&self, rate: u32) {
        self.poke_if(self.feed.set_rate(rate));
    }

    /// Allows Opus, or not.
    pub fn set_compression(&self, on: bool) {
        self.poke_if(self.feed.set_compression(on));
    }

    /// A buffer to be filled; see [`Feed::take`].
    #[must_use]
    pub fn take(&self) -> Option<Lent> {
        self.feed.take()
    }

    /// Plays a buffer, now.
    pub fn put(&self, lent: Lent) {
        let time = mm_time();
        probes::sound_put(time);
        self.poke_if(self.feed.put(lent, Instant::now(), time));
    }
}

/// The way to an added record interface.
#[derive(Debug)]
pub struct RecordLine {
    capture: Arc<Capture>,
    thread: Handle<()>,
}

impl RecordLine {
    fn poke_if(&self, due: bool) {
        if due {
            self.thread.poke();
        }
    }

    /// The guest records, or stops; saying so again changes nothing.
    pub fn set_active(&self, active: bool) {
        self.poke_if(self.capture.set_active(active));
    }

    /// Sets the volume that clients record with, for each channel 0 to 65,535; of at most 255 channels.
    pub fn set_volume(&self, volume: Volume) {
        self.poke_if(self.capture.set_volume(volume));
    }

    /// Silences the clients' microphones (not 0), or not.
    pub fn set_mute(&self, mute: u8) {
        self.poke_if(self.capture.set_mute(mute));
    }

    /// Sets the sample rate in Hz that the guest records with, from the next start on.
    pub fn set_rate(&self, rate: u32) {
        self.capture.set_rate(rate);
    }

    /// Takes what has been recorded; see [`Capture::read`].
    #[must_use]
    pub fn read(&self, out: &mut [u32]) -> usize {
        self.capture.read(out)
    }
}

impl Core {
    fn refuse_second(&self, channel: ChannelType) -> io::Result<()> {
        if self.session().channel_exists(channel, 0) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("there is a {channel} interface already"),
            ));
        }
        Ok(())
    }

    /// Adds a playback interface: starts its thread and announces its channel.
    ///
    /// # Errors
    /// A second one, or a system without threads.
    pub fn add_playback(self: &Arc<Self>) -> io::Result<Arc<PlaybackLine>> {
        self.refuse_second(ChannelType::PLAYBACK)?;
        let feed = Arc::new(Feed::default());
        feed.set_compression(self.session().settings.playback_compression);
        let upward: Arc<dyn Upward> = Arc::clone(self) as Arc<dyn Upward>;
        let (thread, join) = engine::start(PLAYBACK_THREAD, 0, Arc::clone(&upward), |_| {
            Playback::new(Arc::clone(&feed), upward)
        })?;
        let line = Arc::new(PlaybackLine { feed, thread: thread.clone() });
        self.add_threads([join]);
        let mut session = self.session();
        session.playback = Some(Arc::clone(&line));
        session.register(ChannelType::PLAYBACK, 0, Arc::new(thread));
        Ok(line)
    }

    /// Adds a record interface: starts its thread and announces its channel.
    ///
    /// # Errors
    /// A second one, or a system without threads.
    pub fn add_record(self: &Arc<Self>) -> io::Result<Arc<RecordLine>> {
        self.refuse_second(ChannelType::RECORD)?;
        let capture = Arc::new(Capture::default());
        let upward: Arc<dyn Upward> = Arc::clone(self) as Arc<dyn Upward>;
        let (thread, join) =
            engine::start(RECORD_THREAD, 0, upward, |_| Record::new(Arc::clone(&capture)))?;
        let line = Arc::new(RecordLine { capture, thread: thread.clone() });
        self.add_threads([join]);
        let mut session = self.session();
        session.record = Some(Arc::clone(&line));
        session.register(ChannelType::RECORD, 0, Arc::new(thread));
        Ok(line)
    }

    /// Removes the playback interface; its client is disconnected when this returns.
    pub fn remove_playback(&self) {
        self.session().playback = None;
        self.remove_sound(ChannelType::PLAYBACK, PLAYBACK_THREAD);
    }

    /// Removes the record interface; its client is disconnected when this returns.
    pub fn remove_record(&self) {
        self.session().record = None;
        self.remove_sound(ChannelType::RECORD, RECORD_THREAD);
    }

    fn remove_sound(&self, channel: ChannelType, thread: &str) {
        let registered = self.session().take(channel, 0);
        if let Some(registered) = registered {
            registered.route.stop();
            self.join_threads(&[thread.to_owned()]);
            self.run_host_tasks(self.caller());
        }
    }

    /// Sends sound as Opus or raw, also to the client that is here.
    pub fn set_playback_compression(&self, on: bool) {
        let mut session = self.session();
        session.settings.playback_compression = on;
        if let Some(playback) = &session.playback {
            playback.set_compression(on);
        }
    }
}

impl Session {
    /// What the server can do on the playback and record channels. Opus stands there once the host has set a rate at
    /// which there is Opus, as in the reference; clients do not look at it.
    #[must_use]
    pub fn sound_caps(&self, channel: ChannelType) -> Vec<u32> {
        let (volume, opus, state) = match channel {
            ChannelType::PLAYBACK => {
                let state = self.playback.as_ref().map(|line| line.feed.state());
                (playback::VOLUME, playback::OPUS, state)
            }
            ChannelType::RECORD => {
                let state = self.record.as_ref().map(|line| line.capture.state());
                (record::VOLUME, record::OPUS, state)
            }
            _ => return Vec::new(),
        };
        let opus = state.is_some_and(|s| s.rate_is_set && codec::opus_at(s.rate)).then_some(opus);
        [Some(volume), opus].into_iter().flatten().collect()
    }
}

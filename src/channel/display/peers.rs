//! The clients of one display: a pipe each, filled by the worker and emptied as they read.
//!
//! Clients are told apart by their capabilities and their INIT, never by a name. One that has none
//! of the capabilities that change what is drawn and no GLZ window is taken for a *simple* one
//! (spice-html5 is): it gets fills, whole 32-bit images and moves on the screen, and pixels for
//! everything else; it is told of no other surface and keeps no images.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::channel::clients::{Client, Clients, Close, Feed};
use crate::display::encode::choice::Skills;
use crate::display::encode::client::{ClientImages, ImageAbilities, ImageShare};
use crate::display::encode::draft::Draft;
use crate::display::encode::is_photograph;
use crate::display::encode::shop::Shop;
use crate::display::pipe::{Abilities, ClientPipe, Limits, PipedDraw, SurfaceInfo, bands};
use crate::display::scene::Scene;
use crate::protocol::caps::display as cap;
use crate::protocol::common::ping;
use crate::protocol::display::{self as wire, DisplayInit, Head, StreamReport};
use crate::protocol::geometry::Rect;
use crate::protocol::message::Message;
use crate::qxl::parse::MonitorsConfig;
use crate::transport::reactor::Key;
use crate::video::detect::{Change, StreamKey};
use crate::video::encode::Studio;

use super::films::{Films, PROBE_ID, Picture, Screening};
use super::gl::View;
use super::handover::Passing;
use super::lane::Lane;
use super::mirror::Mirror;
use super::pace::{Pace, Sight};
use super::snapshots::{Shared, Snapshots};

/// One client.
#[derive(Debug)]
pub(super) struct Peer {
    /// `None` until the client sent INIT: nothing is told or owed before.
    pub(super) pipe: Option<ClientPipe>,
    /// How far it is with GL pictures.
    pub(super) view: View,
    /// Its surface 0 is what is read back of a GL picture; it knows no other.
    pub(super) mirrored: bool,
    pub(super) images: ClientImages,
    pub(super) screening: Screening,
    pub(super) lane: Lane,
    pace: Pace,
    pub(super) monitors: bool,
    pub(super) abilities: Abilities,
    /// What it said of its caches.
    pub(super) init: Option<DisplayInit>,
    pub(super) passing: Passing,
    /// On this machine: it gets the images of commands as they are.
    local: bool,
    /// The first wakeup of the host since something was sent.
    woken: Option<Instant>,
}

/// All clients of one display.
#[derive(Debug)]
pub struct Peers {
    pub(super) list: BTreeMap<Key, Peer>,
    /// The channel's id.
    pub(super) channel: u8,
    /// A GL picture for those who are not given it.
    pub(super) mirror: Option<Box<Mirror>>,
    pub(super) share: Arc<ImageShare>,
    /// Where their images are coded.
    shop: Shop,
    snapshots: Snapshots,
    films: Films,
    /// Clients that have sent INIT, and whether commands' images are coded for one of them.
    told: usize,
    coded: bool,
}

impl Peers {
    /// Nobody yet. `share` is that of all displays of the server.
    #[must_use]
    pub fn new(channel: u8, share: Arc<ImageShare>, shop: Shop, studio: Studio) -> Self {
        let (list, snapshots) = (BTreeMap::new(), Snapshots::default());
        let films = Films::new(Arc::clone(&share), studio);
        Self { list, channel, mirror: None, share, shop, snapshots, films, told: 0, coded: false }
    }

    /// A client has linked; what it gets begins with its INIT.
    pub fn add(&mut self, clients: &Clients, key: Key) {
        let Some(client) = clients.get(key) else { return };
        let skills = Skills {
            lz4: client.caps.has(cap::LZ4_COMPRESSION),
            slow: false,
            local: !client.connection.tcp && !client.connection.tls,
            jpeg: false,
        };
        let abilities = ImageAbilities { skills, only_xrgb: false };
        let mut images = ClientImages::new(abilities, Arc::clone(&self.share));
        images.comes_by(Arc::clone(&client.speed));
        images.code_at(self.shop.clone());
        let (caps, speed) = (client.caps.clone(), Arc::clone(&client.speed));
        let peer = Peer {
            pipe: None,
            view: View::of(client),
            mirrored: false,
            images,
            screening: Screening::new(&self.films, caps, speed, skills.local),
            lane: Lane::default(),
            pace: Pace::new(Instant::now()),
            monitors: client.caps.has(cap::MONITORS_CONFIG),
            local: skills.local,
            woken: None,
            init: None,
            passing: Passing::Nothing,
            abilities: Abilities {
                composite: client.caps.has(cap::COMPOSITE),
                alpha_surfaces: client.caps.has(cap::A8_SURFACE),
                simple: false,
            },
        };
        self.list.insert(key, peer);
    }

    /// A client is gone.
    pub fn remove(&mut self, key: Key) {
        self.list.remove(&key);
        self.count();
    }

    pub(super) fn count(&mut self) {
        let told = self.list.values().filter(|p| p.pipe.is_some());
        (self.told, self.coded) = (0, false);
        for peer in told {
            self.told += 1;
            self.coded |= !peer.local;
        }
        // A dictionary is one client's: what several are to see is coded once without one instead.
        let coded = self.list.values().filter(|p| p.pipe.is_some() && !p.local).count();
        self.list.values_mut().for_each(|peer| peer.images.set_shared(coded > 1));
        self.shop.set_clients(self.told);
        self.snapshots.clear();
        if self.told == 0 {
            // While nobody looks nothing is looked at, so that what was known would be wrong afterwards.
            self.films.reset();
        }
    }

    /// A client sent INIT: it is told everything there is. False if it had done so before.
    pub fn init(
        &mut self,
        clients: &Clients,
        key: Key,
        init: &DisplayInit,
        scene: &Scene,
        monitors: Option<&MonitorsConfig>,
    ) -> bool {
        let (Some(peer), Some(client)) = (self.list.get_mut(&key), clients.get(key)) else {
            return true;
        };
        if peer.pipe.is_some() {
            return false;
        }
        let draws = [cap::MONITORS_CONFIG, cap::COMPOSITE, cap::A8_SURFACE, cap::LZ4_COMPRESSION];
        peer.abilities.simple =
            init.glz_window == 0 && !draws.iter().any(|bit| client.caps.has(*bit));
        if peer.abilities.simple {
            // spice-html5 has a cache per channel and finds images by 53 bits of their id.
            peer.images.show_only_xrgb();
        } else {
            let (cache, pixels) = (init.pixmap_cache_id, init.pixmap_cache_size);
            let member = self.share.pixmaps.join(client.client, cache, pixels, self.channel);
            peer.images.keep_pixmaps(member);
            let (dictionary, window) = (init.glz_dictionary_id, init.glz_window);
            let member = self.share.dictionaries.join(client.client, dictionary, window);
            peer.images.keep_dictionary(member);
        }
        let mut pipe = ClientPipe::new(Limits::default());
        pipe.set_abilities(peer.abilities);
        pipe.set_stream_skills(peer.screening.skills());
        pipe.push_message(wire::inval_all_palettes());
        peer.pipe = Some(pipe);
        peer.tell_surfaces(scene, monitors);
        peer.init = Some(*init);
        self.count();
        true
    }

    fn pipes(&mut self) -> impl Iterator<Item = &mut ClientPipe> {
        self.list.values_mut().filter(|p| !p.mirrored).filter_map(|p| p.pipe.as_mut())
    }

    /// A command was executed; `surface` is the whole surface that it drew on.
    pub fn draw(&mut self, draw: &Arc<PipedDraw>, surface: Rect) {
        self.push_draw(draw, surface, false);
    }

    /// As [`Peers::draw`], for those who see the mirror or for those who do not.
    pub(super) fn push_draw(&mut self, draw: &Arc<PipedDraw>, surface: Rect, mirrored: bool) {
        let photograph = OnceCell::new();
        let is_photo = || *photograph.get_or_init(|| is_photograph(&draw.drawable));
        if let Some(ended) = self.films.settings_changed() {
            self.choose_codecs(&ended);
        }
        // Without anybody who looks there are no films. Those of a mirror are the only ones while there is one.
        let looks = self.told > 0 && mirrored == self.mirror.is_some();
        let picture = if looks { self.films.look(draw, is_photo) } else { Picture::Plain };
        let frame = match picture {
            // What the server has painted is what was there.
            Picture::Repeat => return,
            Picture::Frame(frame) => Some(frame),
            Picture::Plain => None,
        };
        if !mirrored {
            self.snapshots.drawn(draw.drawable.surface_id, &draw.region);
        }
        let bands = if self.coded { bands(draw, surface) } else { None };
        for peer in self.list.values_mut().filter(|p| p.mirrored == mirrored) {
            let Some(pipe) = &mut peer.pipe else { continue };
            if let Some(frame) = &frame
                && pipe.push_frame(frame, &draw.region)
            {
                peer.screening.offered(frame, frame.at);
                continue;
            }
            match &bands {
                Some(bands) if peer.images.takes_bands(is_photo) => {
                    bands.iter().for_each(|band| pipe.push_draw(Arc::clone(band)));
                }
                _ => pipe.push_draw(Arc::clone(draw)),
            }
        }
    }

    /// Commands were executed for which the host had called at this time: the next message to each client answers it.
    pub fn owe(&mut self, woken: Instant) {
        for peer in self.list.values_mut().filter(|peer| peer.pipe.is_some()) {
            peer.woken.get_or_insert(woken);
        }
    }

    /// The host wants other codecs or none; these streams have ended.
    fn choose_codecs(&mut self, ended: &[StreamKey]) {
        for peer in self.list.values_mut() {
            peer.screening.choose();
            ended.iter().for_each(|key| peer.screening.ended(*key));
            if let Some(pipe) = &mut peer.pipe {
                ended.iter().for_each(|key| pipe.stream_over(*key));
                pipe.set_stream_skills(peer.screening.skills());
            }
        }
    }

    /// Ends what no longer moves.
    pub fn settle_films(&mut self, now: Instant) {
        if let Some(ended) = self.films.settings_changed() {
            self.choose_codecs(&ended);
        }
        for change in self.films.news(now) {
            for peer in self.list.values_mut() {
                let Some(pipe) = &mut peer.pipe else { continue };
                match change {
                    Change::Still(key) => {
                        peer.screening.ended(key);
                        pipe.stream_still(key);
                    }
                    Change::Over(key) => {
                        peer.screening.ended(key);
                        pipe.stream_over(key);
                    }
                }
            }
        }
    }

    /// When films want the next turn, if nothing happens.
    #[must_use]
    pub fn next_turn(&self) -> Option<Instant> {
        let wakes = self.list.values().filter_map(|peer| peer.screening.wake());
        self.films.next_news().into_iter().chain(wakes).min()
    }

    /// How a stream goes at a client.
    ///
    /// # Errors
    /// If it speaks of what cannot be.
    pub fn report(&mut self, key: Key, report: &StreamReport) -> Result<(), String> {
        match self.list.get_mut(&key) {
            Some(Peer { pipe: Some(pipe), screening, .. }) => screening.report(pipe, report),
            _ => Ok(()),
        }
    }

    /// The video codecs that a client wishes for.
    pub fn prefer_codecs(&mut self, key: Key, numbers: &[u8]) {
        let Some(peer) = self.list.get_mut(&key) else { return };
        peer.screening.prefer(numbers);
        if let Some(pipe) = &mut peer.pipe {
            pipe.set_stream_skills(peer.screening.skills());
        }
    }

    /// A client has answered a ping.
    pub fn pong(&mut self, clients: &Clients, key: Key, id: u32, time: u64) {
        match self.list.get_mut(&key) {
            Some(peer) if id == PROBE_ID => peer.screening.answered(time, Instant::now()),
            _ => self.handled(clients, key, time),
        }
    }

    /// What a client wishes; it counts from the next image on.
    pub fn prefer(&mut self, key: Key, compression: u8) {
        if let Some(peer) = self.list.get_mut(&key) {
            peer.images.prefer(compression);
        }
    }

    /// A client has handled all messages up to this serial, by its own word.
    fn handled(&mut self, clients: &Clients, key: Key, serial: u64) {
        if let (Some(peer), Some(client)) = (self.list.get_mut(&key), clients.get(key)) {
            peer.images.progress(serial.min(client.sent()));
        }
    }

    /// The pipes of clients that are told of surfaces like this one.
    fn pipes_for(&mut self, info: SurfaceInfo) -> impl Iterator<Item = &mut ClientPipe> {
        let told = move |p: &&mut Peer| !p.mirrored && (info.primary || !p.abilities.simple);
        self.list.values_mut().filter(told).filter_map(|p| p.pipe.as_mut())
    }

    /// A surface was created.
    pub fn surface_created(&mut self, info: SurfaceInfo, image: bool) {
        self.snapshots.clear();
        if info.primary {
            self.end_films();
        }
        self.pipes_for(info).for_each(|pipe| pipe.surface_created(info, image));
    }

    /// A surface with contents appeared that clients only need once something uses it.
    pub fn surface_known(&mut self, info: SurfaceInfo) {
        self.snapshots.clear();
        self.pipes_for(info).for_each(|pipe| pipe.surface_known(info));
    }

    /// A surface was destroyed.
    pub fn surface_destroyed(&mut self, id: u32) {
        self.snapshots.clear();
        if id == 0 {
            self.end_films();
        }
        self.pipes().for_each(|pipe| pipe.surface_destroyed(id));
    }

    /// The screen is another one.
    pub(super) fn end_films(&mut self) {
        for key in self.films.reset() {
            for peer in self.list.values_mut() {
                peer.screening.ended(key);
                if let Some(pipe) = &mut peer.pipe {
                    pipe.stream_over(key);
                }
            }
        }
    }

    /// Something that is only worth its newest value.
    pub fn latest(&mut self, message: &Message) {
        self.pipes().for_each(|pipe| pipe.push_latest(message.clone()));
    }

    /// The guest's monitors, for those who understand them.
    pub fn monitors(&mut self, config: &MonitorsConfig) {
        let message = monitors_message(config);
        for peer in self.list.values_mut().filter(|p| p.monitors) {
            if let Some(pipe) = &mut peer.pipe {
                pipe.push_latest(message.clone());
            }
        }
    }

    /// Sends to a client while it has room.
    pub fn pump(&mut self, clients: &mut Clients, key: Key, scene: &mut Scene) {
        let Self { list, mirror, told, snapshots, .. } = self;
        if let Some(peer) = list.get_mut(&key) {
            let snapshots = (*told > 1).then_some(&*snapshots);
            peer.pump(clients, key, &mut peer.sees(scene, mirror, snapshots));
        }
    }

    /// Makes one image that waits for a worker; false if there is none.
    pub fn help(&self) -> bool {
        let waiting = self.list.values().filter(|peer| !peer.lane.is_empty());
        self.shop.help(|scratch| waiting.map(|peer| &peer.lane).any(|lane| lane.help(scratch)))
    }

    /// Sends to everybody who has room.
    pub fn pump_all(&mut self, clients: &mut Clients, scene: &mut Scene) {
        let Self { list, mirror, told, snapshots, .. } = self;
        let snapshots = (*told > 1).then_some(&*snapshots);
        for (key, peer) in list {
            peer.pump(clients, *key, &mut peer.sees(scene, mirror, snapshots));
        }
    }
}

impl Peer {
    /// Where its pixels come from.
    fn sees<'a>(
        &self,
        scene: &'a mut Scene,
        mirror: &'a mut Option<Box<Mirror>>,
        snapshots: Option<&'a Snapshots>,
    ) -> Shared<'a> {
        match mirror {
            Some(mirror) if self.mirrored => Shared { scene: &mut mirror.scene, snapshots: None },
            _ => Shared { scene, snapshots },
        }
    }

    /// Queues what a client that knows no surface has to know.
    pub(super) fn tell_surfaces(&mut self, scene: &Scene, monitors: Option<&MonitorsConfig>) {
        let Some(pipe) = &mut self.pipe else { return };
        for id in scene.ids() {
            match scene.info(id) {
                Some(info) if info.primary => {
                    pipe.surface_created(info, true);
                    if let Some(config) = monitors.filter(|_| self.monitors) {
                        pipe.push_latest(monitors_message(config));
                    }
                    pipe.push_latest(wire::mark());
                }
                Some(info) if !self.abilities.simple => pipe.surface_known(info),
                _ => {}
            }
        }
    }

    fn pump(&mut self, clients: &mut Clients, key: Key, surfaces: &mut Shared<'_>) {
        if self.passing.waits() || !clients.is_here(key) {
            return;
        }
        let Self { pipe: Some(pipe), images, screening, lane, pace, woken, .. } = self else {
            return;
        };
        if let Some(woken) = woken.take() {
            clients.answers(key, woken);
        }
        let rate = clients.bytes_per_second();
        images.is_sent_at_most(rate);
        screening.is_sent_at_most(rate);
        if screening.take_chosen() {
            pipe.set_stream_skills(screening.skills());
        }
        let sent = clients.get(key).map_or(0, Client::sent);
        let sight = Sight { sent, unanswered: clients.is_unanswered(key) };
        let now = Instant::now();
        pace.look(now, sight, || clients.held_up(key));
        images.decode_slowly(pace.is_slow());
        screening.begin();
        if let Some(bytes) = screening.backlog() {
            clients.limit_backlog(key, bytes);
        }
        clients.feed(key, |feed| {
            if let Some(draft) = lane.take_ready() {
                send(feed, draft, screening, now);
                if lane.is_empty() {
                    screening.probe(feed, now, false);
                }
                return true;
            }
            if lane.is_full(rate) {
                return false;
            }
            if let Some(message) = pipe.next_about_streams() {
                lane.push(message);
                return true;
            }
            let frames_turn = screening.is_turn();
            if frames_turn && screening.next_frame(pipe, lane, now) {
                return true;
            }
            if screening.is_full(now) {
                return false;
            }
            images.progress(feed.handled());
            images.begin(feed.sent() + lane.len() as u64);
            let Some(draft) = pipe.next(surfaces, images) else {
                if !frames_turn && screening.next_frame(pipe, lane, now) {
                    return true;
                }
                if lane.is_empty() && images.asks() {
                    // The answer brings the number back; every message before is handled by then.
                    feed.send(ping(0, feed.sent() + 1, 0));
                }
                return false;
            };
            let mut direct = lane.is_empty();
            while let Some(before) = images.before() {
                if direct {
                    feed.send(before);
                } else {
                    lane.push(before);
                }
            }
            if draft.kind() == wire::server::INVAL_ALL_PALETTES {
                images.forget_palettes();
            }
            direct &= draft.is_ready();
            if direct {
                send(feed, draft, screening, now);
                screening.probe(feed, now, false);
            } else {
                lane.push(draft);
            }
            while let Some(behind) = images.behind() {
                if direct {
                    feed.send(behind);
                } else {
                    lane.push(behind);
                }
            }
            true
        });
        if lane.is_empty() && pipe.is_empty() {
            clients.answers_nothing(key);
        }
        if let Some(client) = clients.get(key) {
            client.waits(pipe.queued_draws() + lane.len(), pipe.dropped());
        }
        if self.passing.leaves() && lane.is_empty() && pipe.is_empty() {
            clients.leave(key, true);
        }
    }
}

fn send(feed: &mut Feed<'_>, draft: Draft, screening: &mut Screening, now: Instant) {
    match &draft {
        Draft::Frame(frame) => return screening.send_frame(feed, frame, now),
        Draft::Probe => return screening.probe(feed, now, true),
        Draft::Ready(_) | Draft::Waiting(_) => {}
    }
    match draft.finish() {
        Ok(message) => screening.send(feed, message),
        Err(error) => {
            // What the client's caches and dictionaries were told to expect would be missing for ever.
            tracing::error!(%error, "a message that was promised cannot be sent");
            feed.close(Close::Ours("internal error"));
        }
    }
}

pub(super) fn monitors_message(config: &MonitorsConfig) -> Message {
    let heads: Vec<Head> = config
        .heads
        .iter()
        .map(|h| Head {
            id: h.id,
            surface_id: h.surface_id,
            width: h.width,
            height: h.height,
            x: h.x,
            y: h.y,
            flags: h.flags,
        })
        .collect();
    wire::monitors_config(&heads, config.max_allowed)
}

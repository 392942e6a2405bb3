//! What a client's display channel takes along to another server, and brings from one: its caches and surfaces.
//!
//! A client goes when it has been told everything, films included, so that it shows what the machine's surfaces hold. Here
//! its pipe is filled from when it has linked, and emptied from when it has said what it brings and the machine runs.

use crate::channel::clients::Clients;
use crate::display::encode::wan::SLOW_BELOW;
use crate::display::pipe::{ClientPipe, Limits};
use crate::display::scene::Scene;
use crate::protocol::display::{self as wire, DisplayInit, GLZ_WINDOW_MAX};
use crate::protocol::handover::{DisplayHandover, HandedSurface};
use crate::qxl::parse::MonitorsConfig;
use crate::transport::reactor::Key;

use super::peers::{Peer, Peers, monitors_message};
use super::worker::MAX_SURFACES;

/// Where a client is between two servers.
#[derive(Debug, Default)]
pub(super) enum Passing {
    /// Here.
    #[default]
    Nothing,
    /// It goes when it has been told everything.
    Leaves,
    /// It has not said what it brings.
    Expected,
    /// It has these surfaces; the machine does not run yet.
    Brought(Vec<HandedSurface>),
}

impl Passing {
    /// True if nothing may be sent yet.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Expected | Self::Brought(_))
    }

    pub(super) fn leaves(&self) -> bool {
        matches!(self, Self::Leaves)
    }
}

impl Peers {
    /// A client that brings what another server knows has linked.
    pub fn expect(&mut self, key: Key, scene: &Scene, runs: bool) {
        let Some(peer) = self.list.get_mut(&key) else { return };
        let mut pipe = ClientPipe::new(Limits::default());
        pipe.set_abilities(peer.abilities);
        pipe.set_stream_skills(peer.screening.skills());
        pipe.push_message(wire::inval_all_palettes());
        pipe.push_latest(wire::stream_destroy_all());
        pipe.inherit(runs);
        for info in scene.ids().into_iter().filter_map(|id| scene.info(id)) {
            pipe.surface_known(info);
        }
        if runs {
            pipe.inherited_all();
        }
        peer.pipe = Some(pipe);
        peer.passing = Passing::Expected;
        self.count();
    }

    /// The machine runs: what comes now is news for clients that came with it.
    pub fn machine_runs(&mut self) {
        self.list.values_mut().filter_map(|p| p.pipe.as_mut()).for_each(ClientPipe::inherited_all);
    }

    /// A client says what it brings.
    ///
    /// # Errors
    /// Something in it cannot be.
    pub fn restore(&mut self, clients: &mut Clients, key: Key, data: &[u8]) -> Result<(), String> {
        let data = DisplayHandover::read(data, MAX_SURFACES).map_err(|e| e.to_string())?;
        let Some(client) = clients.get(key) else { return Ok(()) };
        let (id, speed) = (client.client, &client.speed);
        let Some(peer) = self.list.get_mut(&key) else { return Ok(()) };
        if data.slow && !speed.is_slow() {
            speed.measured(SLOW_BELOW - 1);
        }
        let init = DisplayInit {
            pixmap_cache_id: data.cache_id,
            pixmap_cache_size: u64::try_from(data.cache_pixels).unwrap_or(0),
            glz_dictionary_id: data.dictionary_id,
            glz_window: data.window.min(GLZ_WINDOW_MAX),
        };
        peer.init = Some(init);
        let (cache, pixels) = (init.pixmap_cache_id, init.pixmap_cache_size);
        let users = (0..).zip(data.cache_users).filter(|(_, serial)| *serial > 0).map(|(id, _)| id);
        let (member, resets) = self.share.pixmaps.resume(id, cache, pixels, self.channel, users);
        peer.images.keep_pixmaps(member);
        let (dictionary, window) = (init.glz_dictionary_id, init.glz_window);
        let member = self.share.dictionaries.resume(id, dictionary, window, data.next_image);
        peer.images.keep_dictionary(member);
        if resets {
            // Nothing to wait for: all its channels have come.
            peer.lane.push(wire::inval_all_pixmaps(&[]));
        }
        peer.passing = Passing::Brought(data.surfaces);
        clients.continue_serials(key, data.serial);
        Ok(())
    }

    /// The machine runs: clients that have said what they bring go on.
    pub fn settle(&mut self, monitors: Option<&MonitorsConfig>) {
        self.list.values_mut().for_each(|peer| peer.settle(monitors));
    }

    /// A client goes on at another server.
    pub fn hand_over(
        &mut self,
        clients: &mut Clients,
        key: Key,
        monitors: Option<&MonitorsConfig>,
    ) {
        // What a film shows is told as pixels.
        self.end_films();
        let Some(peer) = self.list.get_mut(&key) else { return };
        peer.settle(monitors);
        peer.images.freeze();
        peer.passing = Passing::Leaves;
        if peer.pipe.is_none() {
            clients.leave(key, true);
        }
    }

    /// Gives a client that has been told everything what it takes along.
    pub fn give_data(&mut self, clients: &mut Clients, key: Key) {
        let Some(peer) = self.list.get(&key) else { return };
        let slow = clients.get(key).is_some_and(|client| client.speed.is_slow());
        let (cache, dictionary) = peer.images.hand_over();
        let init = peer.init.as_ref();
        let (window, next_image) = dictionary.unwrap_or_default();
        let pixels = cache.map_or(0, |cache| cache.pixels);
        let data = DisplayHandover {
            // That of the message which brings this.
            serial: clients.wire_serial(key).saturating_add(1),
            slow,
            cache_id: init.map_or(0, |init| init.pixmap_cache_id),
            cache_pixels: i64::try_from(pixels).unwrap_or(i64::MAX),
            // The last one: when that comes to the target, the client needs none of its images any more.
            empties_cache: cache.is_some_and(|cache| cache.last),
            // Only that it does; as a serial to be waited for it has passed long ago.
            cache_users: cache.map(|cache| cache.users.map(u64::from)).unwrap_or_default(),
            dictionary_id: init.map_or(0, |init| init.glz_dictionary_id),
            window,
            next_image,
            surfaces: peer.pipe.as_ref().map(ClientPipe::handover).unwrap_or_default(),
        };
        let areas = peer.images.would_take_jpeg(slow);
        clients.give_data(key, data.write(areas));
    }
}

impl Peer {
    /// Goes on if it has said what it brings.
    fn settle(&mut self, monitors: Option<&MonitorsConfig>) {
        let Passing::Brought(surfaces) = &self.passing else { return };
        if let Some(pipe) = &mut self.pipe {
            for id in pipe.settle_inheritance(surfaces) {
                self.lane.push(wire::surface_destroy(id));
            }
            if let Some(config) = monitors.filter(|_| self.monitors) {
                pipe.push_latest(monitors_message(config));
            }
        }
        self.passing = Passing::Nothing;
    }
}

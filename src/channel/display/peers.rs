//! The clients of one display: a pipe each, filled by the worker and emptied as they read.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::channel::clients::Clients;
use crate::display::encode::image::RawImages;
use crate::display::pipe::{ClientPipe, Limits, PipedDraw, SurfaceInfo};
use crate::display::scene::Scene;
use crate::protocol::caps::display as cap;
use crate::protocol::display::{self as wire, Head};
use crate::protocol::message::Message;
use crate::qxl::parse::MonitorsConfig;
use crate::transport::reactor::Key;

/// One client.
#[derive(Debug)]
struct Peer {
    /// `None` until the client sent INIT: nothing is told or owed before.
    pipe: Option<ClientPipe>,
    monitors: bool,
    composite: bool,
    a8: bool,
}

/// All clients of one display.
#[derive(Debug, Default)]
pub struct Peers {
    list: BTreeMap<Key, Peer>,
}

impl Peers {
    /// A client has linked; what it gets begins with its INIT.
    pub fn add(&mut self, clients: &Clients, key: Key) {
        let monitors = clients.get(key).is_some_and(|c| c.caps.has(cap::MONITORS_CONFIG));
        let composite = clients.get(key).is_some_and(|c| c.caps.has(cap::COMPOSITE));
        let a8 = clients.get(key).is_some_and(|c| c.caps.has(cap::A8_SURFACE));
        self.list.insert(key, Peer { pipe: None, monitors, composite, a8 });
    }

    /// A client is gone.
    pub fn remove(&mut self, key: Key) {
        self.list.remove(&key);
    }

    /// A client sent INIT: it is told everything there is. False if it had done so before.
    pub fn init(&mut self, key: Key, scene: &Scene, monitors: Option<&MonitorsConfig>) -> bool {
        let Some(peer) = self.list.get_mut(&key) else { return true };
        if peer.pipe.is_some() {
            return false;
        }
        let mut pipe = ClientPipe::new(Limits::default());
        pipe.set_composite(peer.composite);
        pipe.set_a8_surfaces(peer.a8);
        pipe.push_message(wire::inval_all_palettes());
        for id in scene.ids() {
            match scene.info(id) {
                Some(info) if info.primary => {
                    pipe.surface_created(info, true);
                    if let Some(config) = monitors.filter(|_| peer.monitors) {
                        pipe.push_latest(monitors_message(config));
                    }
                    pipe.push_latest(wire::mark());
                }
                Some(info) => pipe.surface_known(info),
                None => {}
            }
        }
        peer.pipe = Some(pipe);
        true
    }

    fn pipes(&mut self) -> impl Iterator<Item = &mut ClientPipe> {
        self.list.values_mut().filter_map(|p| p.pipe.as_mut())
    }

    /// A command was executed.
    pub fn draw(&mut self, draw: PipedDraw) {
        if self.list.is_empty() {
            return;
        }
        let draw = Arc::new(draw);
        self.pipes().for_each(|pipe| pipe.push_draw(Arc::clone(&draw)));
    }

    /// A surface was created.
    pub fn surface_created(&mut self, info: SurfaceInfo, image: bool) {
        self.pipes().for_each(|pipe| pipe.surface_created(info, image));
    }

    /// A surface with contents appeared that clients only need once something uses it.
    pub fn surface_known(&mut self, info: SurfaceInfo) {
        self.pipes().for_each(|pipe| pipe.surface_known(info));
    }

    /// A surface was destroyed.
    pub fn surface_destroyed(&mut self, id: u32) {
        self.pipes().for_each(|pipe| pipe.surface_destroyed(id));
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
    pub fn pump(&mut self, clients: &mut Clients, key: Key, scene: &Scene) {
        let Some(pipe) = self.list.get_mut(&key).and_then(|p| p.pipe.as_mut()) else { return };
        while clients.has_room(key) {
            match pipe.next(scene, &mut RawImages) {
                Some(message) => clients.send(key, message),
                None => return,
            }
        }
    }

    /// Sends to everybody who has room.
    pub fn pump_all(&mut self, clients: &mut Clients, scene: &Scene) {
        let keys: Vec<Key> = self.list.keys().copied().collect();
        for key in keys {
            self.pump(clients, key, scene);
        }
    }
}

fn monitors_message(config: &MonitorsConfig) -> Message {
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

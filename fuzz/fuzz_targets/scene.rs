//! A guest's commands through parser, scene, pipes and encoders to several clients: nothing panics, every
//! create command comes back, and whoever has read everything has the server's pixels.
//!
//! The input is a program: each step is a byte, followed by what it needs (`guest` builds commands, most of them
//! nearly right). Clients are models that decode the wire's bytes strictly and draw them with the same canvas on
//! surfaces of their own (`client`). In a wild session bytes of the guest's memory are changed after each command was
//! built; then surfaces may lie on each other, and pixels are not compared.
#![no_main]

#[path = "scene/client.rs"]
mod client;
#[allow(dead_code, reason = "the crate's tests use more of it")]
#[path = "../../src/display/encode/decode.rs"]
mod decode;
#[path = "scene/guest.rs"]
mod guest;
#[path = "scene/images.rs"]
mod images;
#[path = "scene/operations.rs"]
mod operations;
// `decode` is the crate's own and names its rooms.
use spice_server::{protocol, qxl};

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use protocol::message::Message;
use qxl::command::{CommandExt, ReleaseInfo};
use qxl::parse::{CMD_CURSOR, DisplayCommand, parse_cursor_command, parse_display_command};
use spice_server::display::encode::image::RawImages;
use spice_server::display::pipe::{Abilities, ClientPipe, Limits, PipedDraw, SurfaceInfo};
use spice_server::display::scene::Scene;

use client::Client;
use guest::{Guest, LIMITS};

/// Most steps of a session: long ones find nothing that short ones do not.
const MAX_STEPS: usize = 200;
/// Messages that one client can possibly be owed at the end.
const MAX_MESSAGES: usize = 20_000;
const CLIENTS: usize = 3;
const MARK: u16 = 102;

fuzz_target!(|input: &[u8]| {
    let Some((&how, program)) = input.split_first() else { return };
    let mut session = Session::new(how, program);
    for _ in 0..MAX_STEPS {
        if session.guest.input.is_empty() {
            break;
        }
        session.step();
    }
    session.end();
});

/// One client: what it still has to be told, and what it has made of what it was told.
struct Peer {
    pipe: ClientPipe,
    limits: Limits,
    client: Client,
}

struct Session<'a> {
    guest: Guest<'a>,
    scene: Scene,
    peers: [Option<Peer>; CLIENTS],
    /// Memory of the guest is changed at random.
    wild: bool,
    /// Create commands that are still held.
    kept: usize,
}

impl<'a> Session<'a> {
    fn new(how: u8, program: &'a [u8]) -> Self {
        let mut session = Self {
            guest: Guest::new(program),
            scene: Scene::new(),
            peers: [None, None, None],
            wild: how & 1 != 0,
            kept: 0,
        };
        session.join(0, how >> 1 & 3);
        session.primary(48, 40, how & 8 != 0);
        session.join(1, how >> 4 & 3);
        session
    }

    fn step(&mut self) {
        match self.guest.input.u8() {
            // The greater part draws; `guest` decides what.
            0..=199 => {
                let command = self.guest.command();
                self.execute(&command);
            }
            200..=229 => {
                let (who, count) = (self.guest.input.below(CLIENTS), self.guest.input.below(12));
                self.read(who, count + 1);
            }
            230..=234 => {
                let who = self.guest.input.below(CLIENTS);
                self.drain(who);
            }
            235..=241 => {
                let (who, how) = (self.guest.input.below(CLIENTS), self.guest.input.u8());
                self.join(who, how);
            }
            242..=245 => {
                let who = self.guest.input.below(CLIENTS);
                self.peers[who] = None;
            }
            246..=249 => {
                let (width, height) =
                    (self.guest.input.below(48) + 1, self.guest.input.below(40) + 1);
                let keep = self.guest.input.u8() & 1 != 0;
                self.primary(width as u32, height as u32, keep);
            }
            250..=252 => {
                for id in self.scene.ids() {
                    self.destroy(id);
                }
                self.primary(48, 40, false);
            }
            _ => {
                let (id, clear) = (self.guest.input.below(8) as u32, self.guest.input.u8());
                let max = self.guest.input.below(5);
                let rects = self.scene.dirty(id, max, clear & 1 != 0);
                assert!(rects.len() <= max && rects.iter().all(|rect| !rect.is_empty()));
            }
        }
        for peer in self.peers.iter().flatten() {
            assert!(peer.pipe.queued_bytes() <= peer.limits.bytes);
            assert!(peer.pipe.queued_draws() <= peer.limits.items);
        }
    }

    /// What the worker does with a command from a ring.
    fn execute(&mut self, command: &CommandExt) {
        if self.wild {
            self.guest.spoil();
        }
        let slots = &self.guest.slots;
        if command.kind == CMD_CURSOR {
            match parse_cursor_command(slots, command, &LIMITS) {
                Ok((_, release)) => self.release(release),
                Err(error) => error.release.map_or((), |release| self.release(release)),
            }
            return;
        }
        match parse_display_command(slots, command, &LIMITS) {
            Ok(DisplayCommand::Draw(drawable, release)) => {
                if let Ok(draw) = self.scene.execute(drawable) {
                    let draw = Arc::new(draw);
                    self.pipes(|pipe| pipe.push_draw(Arc::clone(&draw)));
                }
                self.release(release);
            }
            Ok(
                DisplayCommand::Update { release, .. } | DisplayCommand::Message { release, .. },
            ) => self.release(release),
            Ok(DisplayCommand::SurfaceCreate {
                surface_id,
                geometry,
                keep_data,
                memory,
                release,
            }) => {
                if self.scene.create(surface_id, &geometry, &memory, keep_data).is_err() {
                    return self.release(release);
                }
                self.scene.keep_create(surface_id, release);
                self.kept += 1;
                let info = self.scene.info(surface_id).expect("was just made");
                if keep_data {
                    self.pipes(|pipe| pipe.surface_known(info));
                } else {
                    self.pipes(|pipe| pipe.surface_created(info, false));
                }
            }
            Ok(DisplayCommand::SurfaceDestroy { surface_id, release }) => {
                self.destroy(surface_id);
                self.release(release);
            }
            Err(error) => {
                if let Some(release) = error.release {
                    self.release(release);
                }
            }
        }
    }

    fn pipes(&mut self, mut tell: impl FnMut(&mut ClientPipe)) {
        self.peers.iter_mut().flatten().for_each(|peer| tell(&mut peer.pipe));
    }

    /// Takes it, so that nobody releases the command again: the type has no copies.
    #[expect(clippy::needless_pass_by_value, reason = "it ends here")]
    fn release(&mut self, release: ReleaseInfo) {
        assert!(self.guest.holds(release.address().0, 8), "released what is not the guest's");
    }

    fn destroy(&mut self, id: u32) {
        let (existed, create) = self.scene.destroy(id);
        if existed {
            self.pipes(|pipe| pipe.surface_destroyed(id));
        }
        if let Some(create) = create {
            self.kept -= 1;
            self.release(create);
        }
    }

    fn primary(&mut self, width: u32, height: u32, keep: bool) {
        self.destroy(0);
        let (geometry, memory) = self.guest.primary(width, height);
        self.scene.create(0, &geometry, &memory, keep).expect("is good");
        let info = self.scene.info(0).expect("was just made");
        self.pipes(|pipe| {
            pipe.surface_created(info, keep);
            pipe.push_latest(Message::new(MARK, Vec::new()));
        });
    }

    /// A client comes, in place of the one that was there.
    fn join(&mut self, who: usize, how: u8) {
        let limits = if how & 1 != 0 {
            Limits::default()
        } else {
            Limits { bytes: 8 << 10, items: 8, band_bytes: 600, first_bytes: 0, dirty_rects: 3 }
        };
        let mut pipe = ClientPipe::new(limits);
        pipe.set_abilities(Abilities {
            composite: how & 2 != 0,
            alpha_surfaces: how & 4 == 0,
            simple: false,
        });
        for id in self.scene.ids() {
            match self.scene.info(id) {
                Some(info @ SurfaceInfo { primary: true, .. }) => {
                    pipe.surface_created(info, true);
                    pipe.push_latest(Message::new(MARK, Vec::new()));
                }
                Some(info) => pipe.surface_known(info),
                None => {}
            }
        }
        let client = Client::new(how & 2 != 0);
        self.peers[who] = Some(Peer { pipe, limits, client });
    }

    /// Whether there was an end to what the client had to read.
    fn read(&mut self, who: usize, messages: usize) -> bool {
        let Some(peer) = &mut self.peers[who] else { return true };
        for _ in 0..messages {
            match peer.pipe.next(&mut self.scene, &mut RawImages) {
                Some(draft) => {
                    peer.client.take(&draft.finish().expect("nothing is left to workers"))
                }
                None => return true,
            }
        }
        peer.pipe.is_empty()
    }

    fn drain(&mut self, who: usize) {
        assert!(self.read(who, MAX_MESSAGES), "no end");
        let Some(peer) = &self.peers[who] else { return };
        assert_eq!((peer.pipe.queued_bytes(), peer.pipe.queued_draws()), (0, 0));
        if !self.wild {
            peer.client.compare(&mut self.scene);
        }
    }

    fn end(mut self) {
        (0..CLIENTS).for_each(|who| self.drain(who));
        for id in self.scene.ids() {
            self.destroy(id);
        }
        assert_eq!(self.kept, 0, "create commands that never came back");
        (0..CLIENTS).for_each(|who| self.drain(who));
    }
}

/// For `client`: nothing but what a command says may be drawn.
fn piped_region(drawable: &qxl::model::Drawable, bounds: protocol::geometry::Rect) -> PipedDraw {
    PipedDraw::new(drawable.clone(), bounds)
}

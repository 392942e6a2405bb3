//! A picture that the host renders with GL and shows instead of the primary surface (spec 11, section 11).
//!
//! Owned by display-N. Clients of the same machine get the dmabuf and say when they have shown a change; everybody else
//! sees a [`Mirror`]. The host may not render before its change is done with, so it is told in any case: also if nobody is
//! here, a client goes, or one does not answer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::channel::Primary;
use crate::channel::clients::Client;
use crate::display::pipe::ClientPipe;
use crate::display::scene::Scene;
use crate::observe::RateLimit;
use crate::protocol::caps::display as cap;
use crate::protocol::common::{Severity, Visibility, notify};
use crate::protocol::display as wire;
use crate::protocol::geometry::Rect;
use crate::protocol::gl::{self, GlScanout};
use crate::protocol::message::Message;
use crate::qxl::parse::{Head, MonitorsConfig};
use crate::transport::reactor::Key;

use super::Done;
use super::mirror::{Mirror, MirrorError};
use super::peers::Peers;
use super::worker::Display;

/// How long a client may take to show a change before the host goes on without it. QEMU complains after a second.
const PATIENCE: Duration = Duration::from_millis(500);

static LATE: RateLimit = RateLimit::new();
static REFUSED: RateLimit = RateLimit::new();
static MISUSED: RateLimit = RateLimit::new();

/// What the host shows, and its change that is not done with.
#[derive(Debug, Default)]
pub(super) struct Gl {
    scanout: Option<GlScanout>,
    draw: Option<OpenDraw>,
}

#[derive(Debug)]
struct OpenDraw {
    done: Done,
    until: Instant,
    /// Clients that have not shown it.
    waits: BTreeSet<Key>,
}

/// Which dmabufs a client can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// None.
    Nothing,
    /// Those of one plane.
    OnePlane,
    /// All.
    Planes,
}

/// How far a client has come with GL pictures.
#[derive(Debug)]
pub(super) struct View {
    takes: Takes,
    /// It was told of a change that it has not shown.
    asked: bool,
    /// What has changed besides.
    missed: Rect,
    /// It has let its time pass: nobody waits for it until it answers.
    overdue: bool,
    /// It was told that it will not see the picture.
    told: bool,
}

impl View {
    pub fn of(client: &Client) -> Self {
        let takes = match client.takes_descriptors {
            true if client.caps.has(cap::GL_SCANOUT2) => Takes::Planes,
            true if client.caps.has(cap::GL_SCANOUT) => Takes::OnePlane,
            _ => Takes::Nothing,
        };
        Self { takes, asked: false, missed: Rect::default(), overdue: false, told: false }
    }

    /// True if it can be given the dmabuf.
    fn shows(&self, scanout: &GlScanout) -> bool {
        match self.takes {
            Takes::Nothing => false,
            Takes::OnePlane => scanout.planes.len() == 1,
            Takes::Planes => true,
        }
    }

    /// True if it takes dmabufs, though perhaps not this one.
    fn is_local(&self) -> bool {
        self.takes != Takes::Nothing
    }

    fn message(&self, scanout: &GlScanout) -> Option<Message> {
        match self.takes {
            Takes::Nothing => None,
            Takes::OnePlane => scanout.message(),
            Takes::Planes => Some(scanout.message2()),
        }
    }

    /// Another picture is shown.
    fn scanout(&mut self, pipe: &mut ClientPipe, scanout: &GlScanout) {
        let Some(message) = self.message(scanout) else { return };
        pipe.push_latest(message);
        let whole = bounds(scanout);
        self.missed = self.missed.intersect(&whole);
        if self.asked && pipe.withdraw(wire::server::GL_DRAW) {
            // What it is told of is a change of this picture.
            pipe.push_latest(draw_message(&whole));
        }
    }

    /// No picture is shown any more: the client keeps what it has, and need not be told what it has not got.
    fn no_scanout(&mut self, pipe: &mut ClientPipe) {
        pipe.withdraw(wire::server::GL_SCANOUT_UNIX);
        pipe.withdraw(wire::server::GL_SCANOUT2_UNIX);
        self.missed = Rect::default();
        if pipe.withdraw(wire::server::GL_DRAW) {
            self.asked = false;
        }
    }

    /// A part of the picture has changed.
    fn draw(&mut self, pipe: &mut ClientPipe, area: &Rect) {
        if self.asked {
            self.missed = self.missed.union(area);
        } else {
            self.asked = true;
            pipe.push_latest(draw_message(area));
        }
    }

    /// It has shown what it was told of. True if it is to show more.
    fn done(&mut self, pipe: &mut ClientPipe) -> Result<bool, String> {
        if !std::mem::take(&mut self.asked) {
            return Err("GL_DRAW_DONE without a draw".to_owned());
        }
        self.overdue = false;
        let missed = std::mem::take(&mut self.missed);
        if !missed.is_empty() {
            self.draw(pipe, &missed);
        }
        Ok(self.asked)
    }
}

fn bounds(scanout: &GlScanout) -> Rect {
    Rect::from_size(0, 0, scanout.width, scanout.height)
}

fn draw_message(area: &Rect) -> Message {
    let at = |n: i32| u32::try_from(n).unwrap_or(0);
    gl::draw(at(area.left), at(area.top), area.width(), area.height())
}

/// One monitor that shows all of a picture.
pub(super) fn one_monitor(width: u32, height: u32, max_allowed: u16) -> MonitorsConfig {
    let head = Head { id: 0, surface_id: 0, width, height, x: 0, y: 0, flags: 0 };
    MonitorsConfig { max_allowed, heads: vec![head] }
}

impl Display {
    /// The host shows another picture, or none.
    pub(super) fn gl_scanout(&mut self, scanout: Option<GlScanout>) {
        let visible = |s: &GlScanout| s.width > 0 && s.height > 0;
        self.gl.scanout = scanout.filter(visible);
        match &self.gl.scanout {
            Some(scanout) => self.peers.gl_scanout(scanout),
            None => {
                self.peers.no_gl_scanout();
                self.gl_complete();
            }
        }
        self.gl_mirror();
        self.tell_primary();
    }

    /// Has clients that are not given the dmabuf see the mirror, if there is a picture.
    fn gl_mirror(&mut self) {
        let scanout = self.gl.scanout.as_ref();
        let own = scanout.map(|s| one_monitor(s.width, s.height, 1));
        let said = self.monitors.as_ref();
        let shown = said.filter(|_| self.driver_sends_monitors).or(own.as_ref());
        self.peers.mirror_gl(scanout, &self.scene, [shown, said]);
    }

    /// A client is gone.
    pub(super) fn gl_left(&mut self, key: Key) {
        self.gl_not_waited(key);
        if self.gl.scanout.is_some() {
            // Nothing is read back for nobody.
            self.gl_mirror();
        }
    }

    /// A client has sent INIT.
    pub(super) fn gl_init(&mut self, key: Key) {
        let Some(scanout) = &self.gl.scanout else { return };
        let monitors = self.monitors.as_ref().filter(|_| !self.scene.exists(0));
        self.peers.gl_init(key, scanout, monitors);
        self.gl_mirror();
    }

    /// Part of the picture has changed. Those who are to say that they have shown it.
    pub(super) fn gl_draw(&mut self, area: &Rect) -> BTreeSet<Key> {
        let Some(scanout) = &self.gl.scanout else {
            if MISUSED.allow() {
                tracing::warn!(display = self.id, "GL draw without a scanout");
            }
            return BTreeSet::new();
        };
        let area = area.intersect(&bounds(scanout));
        if area.is_empty() { BTreeSet::new() } else { self.peers.gl_draw(scanout, &area) }
    }

    /// Tells `done` when all of these have shown the change.
    pub(super) fn gl_wait(&mut self, waits: BTreeSet<Key>, done: Done) {
        if let Some(open) = &mut self.gl.draw {
            // The host did not wait for the last one; nobody can tell the two apart.
            open.waits.extend(waits);
            return self.complete(done);
        }
        if waits.is_empty() {
            return self.complete(done);
        }
        self.gl.draw = Some(OpenDraw { done, until: Instant::now() + PATIENCE, waits });
    }

    /// A client has shown what it was told of.
    pub(super) fn gl_done(&mut self, key: Key) -> Result<(), String> {
        if !self.peers.gl_done(key)? {
            self.gl_not_waited(key);
        }
        Ok(())
    }

    /// Nobody waits for this client any more.
    fn gl_not_waited(&mut self, key: Key) {
        if let Some(open) = &mut self.gl.draw {
            open.waits.remove(&key);
            if open.waits.is_empty() {
                self.gl_complete();
            }
        }
    }

    /// The change that is not done with is.
    pub(super) fn gl_complete(&mut self) {
        if let Some(open) = self.gl.draw.take() {
            self.complete(open.done);
        }
    }

    /// Ends the host's wait for clients that do not answer. When it does otherwise.
    pub(super) fn gl_patience(&mut self, now: Instant) -> Option<Instant> {
        let open = self.gl.draw.as_ref()?;
        if now < open.until {
            return Some(open.until);
        }
        if LATE.allow() {
            let clients = open.waits.len();
            tracing::warn!(
                display = self.id,
                clients,
                "the host's GL goes on without clients that show nothing"
            );
        }
        self.peers.gl_overdue(&open.waits);
        self.gl_complete();
        None
    }

    /// Tells the session what is shown.
    pub(super) fn tell_primary(&self) {
        let gl = self.gl.scanout.as_ref().map(|s| {
            let (width, height) = (s.width, s.height);
            Primary { width, height, hardware_cursor: true }
        });
        self.upward.primary_changed(self.id, gl.or(self.primary));
    }
}

impl Peers {
    /// Another picture is shown.
    fn gl_scanout(&mut self, scanout: &GlScanout) {
        for peer in self.list.values_mut() {
            if let Some(pipe) = &mut peer.pipe {
                peer.view.scanout(pipe, scanout);
            }
        }
    }

    fn no_gl_scanout(&mut self) {
        for peer in self.list.values_mut() {
            if let Some(pipe) = &mut peer.pipe {
                peer.view.no_scanout(pipe);
            }
        }
    }

    /// A client has sent INIT: it sees the picture at once, and nobody waits for it.
    fn gl_init(&mut self, key: Key, scanout: &GlScanout, monitors: Option<&MonitorsConfig>) {
        let Some(peer) = self.list.get_mut(&key) else { return };
        let Some(pipe) = peer.pipe.as_mut().filter(|_| peer.view.shows(scanout)) else { return };
        peer.view.scanout(pipe, scanout);
        if let Some(config) = monitors.filter(|_| peer.monitors) {
            pipe.push_latest(super::peers::monitors_message(config));
        }
        peer.view.draw(pipe, &bounds(scanout));
    }

    /// Part of the picture has changed. Those who are to say that they have shown it.
    fn gl_draw(&mut self, scanout: &GlScanout, area: &Rect) -> BTreeSet<Key> {
        let mut waits = BTreeSet::new();
        for (key, peer) in &mut self.list {
            let Some(pipe) = peer.pipe.as_mut().filter(|_| peer.view.shows(scanout)) else {
                continue;
            };
            peer.view.draw(pipe, area);
            if !peer.view.overdue {
                waits.insert(*key);
            }
        }
        self.draw_mirror(area);
        waits
    }

    /// True if the client is to show more.
    fn gl_done(&mut self, key: Key) -> Result<bool, String> {
        match self.list.get_mut(&key) {
            Some(peer) => match &mut peer.pipe {
                Some(pipe) => peer.view.done(pipe),
                None => Err("GL_DRAW_DONE before INIT".to_owned()),
            },
            None => Ok(false),
        }
    }

    fn gl_overdue(&mut self, keys: &BTreeSet<Key>) {
        for (_, peer) in self.list.iter_mut().filter(|(key, _)| keys.contains(key)) {
            peer.view.overdue = true;
        }
    }

    /// Has everybody see the right screen: the surfaces, or what is read back of the picture. `monitors` are those of
    /// the picture and those of the surfaces.
    fn mirror_gl(
        &mut self,
        scanout: Option<&GlScanout>,
        scene: &Scene,
        [monitors, plain]: [Option<&MonitorsConfig>; 2],
    ) {
        let wanted = scanout.filter(|scanout| {
            self.list.values().any(|p| p.pipe.is_some() && !p.view.shows(scanout))
        });
        let Some(scanout) = wanted else { return self.end_mirror(scene, plain) };
        match self.make_mirror(scanout) {
            Ok(fresh) => self.see_mirror(scanout, fresh, scene, monitors),
            Err(error) => {
                if REFUSED.allow() {
                    tracing::warn!(
                        display = self.channel,
                        "a GL picture cannot be read back and is shown to local clients only: {error}"
                    );
                }
                self.end_mirror(scene, plain);
                self.say_no_mirror(scanout);
            }
        }
    }

    /// The mirror of this picture with its pixels; true if it is a new surface.
    fn make_mirror(&mut self, scanout: &GlScanout) -> Result<bool, MirrorError> {
        if let Some(mirror) = &mut self.mirror {
            if mirror.is_of(scanout) {
                return Ok(false);
            }
            if mirror.show(scanout)? {
                return Ok(false);
            }
        }
        let mut mirror = Mirror::new(scanout)?;
        if let Some(drawable) = mirror.read(&bounds(scanout))? {
            mirror.scene.execute(drawable)?;
        }
        self.mirror = Some(Box::new(mirror));
        Ok(true)
    }

    fn see_mirror(
        &mut self,
        scanout: &GlScanout,
        fresh: bool,
        scene: &Scene,
        monitors: Option<&MonitorsConfig>,
    ) {
        let Some(info) = self.mirror.as_ref().and_then(|mirror| mirror.scene.info(0)) else {
            return;
        };
        if fresh {
            self.end_films();
        }
        for peer in self.list.values_mut().filter(|p| !p.view.shows(scanout)) {
            let Some(pipe) = &mut peer.pipe else { continue };
            if peer.mirrored && !fresh {
                continue;
            }
            if !std::mem::replace(&mut peer.mirrored, true) {
                scene.ids().into_iter().for_each(|id| pipe.surface_destroyed(id));
            }
            pipe.surface_created(info, true);
            if let Some(config) = monitors.filter(|_| peer.monitors) {
                pipe.push_latest(super::peers::monitors_message(config));
            }
            pipe.push_latest(wire::mark());
        }
    }

    /// Everybody sees the surfaces again.
    fn end_mirror(&mut self, scene: &Scene, monitors: Option<&MonitorsConfig>) {
        if self.mirror.take().is_none() {
            return;
        }
        self.end_films();
        for peer in self.list.values_mut().filter(|p| p.mirrored) {
            peer.mirrored = false;
            if let Some(pipe) = &mut peer.pipe {
                pipe.surface_destroyed(0);
            }
            peer.tell_surfaces(scene, monitors);
        }
    }

    /// Part of the picture is read back.
    fn draw_mirror(&mut self, area: &Rect) {
        let Some(mirror) = &mut self.mirror else { return };
        let read = mirror.read(area).and_then(|drawable| {
            Ok(drawable.map(|drawable| mirror.scene.execute(drawable)).transpose()?)
        });
        match read {
            Ok(Some(draw)) => {
                let surface = mirror.bounds();
                self.push_draw(&draw, surface, true);
            }
            Ok(None) => {}
            Err(error) => {
                if REFUSED.allow() {
                    tracing::warn!(display = self.channel, "a GL picture cannot be read: {error}");
                }
            }
        }
    }

    /// Tells those who will not see the picture why, once.
    fn say_no_mirror(&mut self, scanout: &GlScanout) {
        for peer in self.list.values_mut().filter(|p| !p.view.shows(scanout)) {
            let Some(pipe) = peer.pipe.as_mut().filter(|_| !peer.view.told) else { continue };
            peer.view.told = true;
            let text = if peer.view.is_local() {
                "the guest's 3D picture has a form that this client does not know"
            } else {
                "the guest's 3D picture can only be seen on its own machine"
            };
            pipe.push_message(notify(0, Severity::Warn, Visibility::High, 0, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::pipe::Limits;

    fn view() -> (View, ClientPipe) {
        let view = View {
            takes: Takes::OnePlane,
            asked: false,
            missed: Rect::default(),
            overdue: false,
            told: false,
        };
        (view, ClientPipe::new(Limits::default()))
    }

    #[test]
    fn changes_that_are_missed_are_told_when_the_client_is_ready() {
        let (mut view, mut pipe) = view();
        assert!(view.done(&mut pipe).is_err(), "nothing was asked");
        view.draw(&mut pipe, &Rect::from_size(0, 0, 4, 4));
        view.draw(&mut pipe, &Rect::from_size(8, 0, 4, 4));
        view.overdue = true;
        assert_eq!(view.done(&mut pipe), Ok(true));
        assert!(!view.overdue);
        assert_eq!(view.done(&mut pipe), Ok(false));
        assert!(view.done(&mut pipe).is_err());
    }

    #[test]
    fn a_draw_that_was_not_sent_goes_with_its_picture() {
        let (mut view, mut pipe) = view();
        view.draw(&mut pipe, &Rect::from_size(0, 0, 4, 4));
        view.no_scanout(&mut pipe);
        assert!(pipe.is_empty() && !view.asked);
    }
}

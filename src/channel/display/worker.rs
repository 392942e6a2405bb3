//! The worker of one QXL instance: takes the guest's commands, executes them, feeds the clients.
//!
//! Thread `spice-disp-N` is the only one that calls the instance's callbacks and touches guest
//! memory. It never waits for a client, a socket or the host's loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::clients::{Client, Clients};
use crate::channel::cursor::CursorOrder;
use crate::channel::engine::{Channel, Turn};
use crate::channel::{Handle, Upward};
use crate::display::encode::client::ImageShare;
use crate::display::encode::shop::Shop;
use crate::display::guest_image::decode_quic;
use crate::display::scene::Scene;
use crate::observe::RateLimit;
use crate::protocol::blocks;
use crate::protocol::caps::{ChannelType, display as cap};
use crate::protocol::display::DisplayRequest;
use crate::qxl::command::{CommandExt, QxlDevice, ReleaseInfo};
use crate::qxl::memslot::MemSlots;
use crate::qxl::model::CursorCommand;
use crate::qxl::parse::{
    CMD_CURSOR, CMD_SURFACE, CommandError, DisplayCommand, Limits, MonitorsConfig,
    parse_cursor_command, parse_display_command,
};
use crate::qxl::record::Recorder;
use crate::qxl::replay::request;
use crate::transport::reactor::Key;
use crate::video::encode::Studio;

use super::device::Device;
use super::peers::Peers;
use super::{DisplayOrder, Pending};

/// Commands executed before sockets and requests get their turn.
const SLICE: usize = 256;
/// Commands after which clients are fed, so that their pipes need not hold a whole slice.
const FEED_EVERY: usize = 32;
/// Time for a slice.
const SLICE_TIME: Duration = Duration::from_millis(10);
/// After the rings ran empty they are looked at once more before notification is asked for: a guest
/// that goes on at once is not made to notify, and one that stopped is not kept waiting for long
/// (what it sends in this time is seen only then, or when a client's message wakes us).
const SECOND_LOOK: Duration = Duration::from_millis(1);
/// Bytes of messages that may be on the way to a client however many they are: some thousand fills. As much may wait
/// in the outbox.
const FREE_BYTES: u64 = 256 * 1024;
/// Surfaces that a device may have, whatever it says.
const MAX_SURFACES: u32 = 1024;
/// Capabilities that the guest may rely on if every client has them.
const GUEST_CAPS: [u32; 4] =
    [cap::SIZED_STREAM, cap::MONITORS_CONFIG, cap::COMPOSITE, cap::A8_SURFACE];

static BAD_COMMANDS: RateLimit = RateLimit::new();

/// What a display is made of.
pub struct DisplaySetup {
    /// QXL id, also the channel id.
    pub id: u8,
    /// The host's callbacks.
    pub device: Box<dyn QxlDevice>,
    /// Its memory slots.
    pub slots: MemSlots,
    /// Surfaces that it wants.
    pub surfaces: u32,
    /// The way to its cursor channel.
    pub cursor: Handle<CursorOrder>,
    /// The session.
    pub upward: Arc<dyn Upward>,
    /// Notifications of the host.
    pub pending: Arc<Pending>,
    /// Where everything is recorded, if that is wanted.
    pub recorder: Option<Arc<Recorder>>,
    /// What it shares with the server's other displays.
    pub images: Arc<ImageShare>,
    /// Where its images are coded; tells the display's thread when something is done.
    pub shop: Shop,
    /// Where frames of films are coded; tells the display's thread as well.
    pub studio: Studio,
}

/// State of the worker and its channel.
pub struct Display {
    pub(super) id: u8,
    pub(super) device: Device,
    pub(super) slots: MemSlots,
    pub(super) limits: Limits,
    pub(super) scene: Scene,
    pub(super) peers: Peers,
    pub(super) upward: Arc<dyn Upward>,
    cursor: Handle<CursorOrder>,
    pending: Arc<Pending>,
    pub(super) recorder: Option<Arc<Recorder>>,
    pub(super) running: bool,
    commands: RingWatch,
    cursors: RingWatch,
    /// The drawable that is being executed.
    drawing: Option<ReleaseInfo>,
    /// A cursor command that the cursor channel was too far behind to take.
    held_cursor: Option<CursorOrder>,
    /// The command of the current shape: hosts replay it by its address after a migration.
    pub(super) shape_command: Option<ReleaseInfo>,
    pub(super) monitors: Option<MonitorsConfig>,
    /// The guest's driver has said by itself how its monitors lie.
    pub(super) driver_sends_monitors: bool,
    pub(super) max_monitors: u32,
    /// Where the guest kicks, if it has rings of its own.
    pub(super) kick: Option<Key>,
    /// Commands of the guest that were refused.
    bad_commands: u64,
}

/// When an empty ring is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RingWatch {
    /// It had something when it was looked at last.
    Busy,
    /// It was empty; look once more at this time.
    Resting(Instant),
    /// The host wakes us.
    Armed,
}

impl RingWatch {
    /// What follows after a look that found so many commands.
    fn after(self, taken: usize) -> Self {
        match self {
            Self::Resting(_) if taken == 0 => self,
            _ if taken < SLICE => Self::Resting(Instant::now() + SECOND_LOOK),
            _ => Self::Busy,
        }
    }
}

impl Display {
    /// A display without surfaces, whose machine does not run yet.
    #[must_use]
    pub fn new(setup: DisplaySetup) -> Self {
        let surfaces = setup.surfaces.clamp(1, MAX_SURFACES);
        Self {
            id: setup.id,
            device: Device::new(setup.device),
            slots: setup.slots,
            limits: Limits { surfaces, quic: Some(decode_quic), ..Limits::default() },
            scene: Scene::new(),
            peers: Peers::new(setup.id, setup.images, setup.shop, setup.studio),
            upward: setup.upward,
            cursor: setup.cursor,
            pending: setup.pending,
            recorder: setup.recorder,
            running: false,
            commands: RingWatch::Busy,
            cursors: RingWatch::Busy,
            drawing: None,
            held_cursor: None,
            shape_command: None,
            monitors: None,
            driver_sends_monitors: false,
            max_monitors: u32::MAX,
            kick: None,
            bad_commands: 0,
        }
    }

    /// Both rings may have something.
    pub(super) fn look_again(&mut self) {
        (self.commands, self.cursors) = (RingWatch::Busy, RingWatch::Busy);
    }

    /// Takes one command from the display ring and executes it. False if there is none.
    pub(super) fn take_command(&mut self) -> bool {
        match self.device.get_command() {
            Some(command) => {
                self.record_command(&command);
                self.execute(&command);
                true
            }
            None => false,
        }
    }

    /// Takes one command from the cursor ring. False if there is none, or it has to wait.
    pub(super) fn take_cursor(&mut self) -> bool {
        if !self.push_held_cursor() {
            return false;
        }
        match self.device.get_cursor_command() {
            Some(command) => {
                self.record_command(&command);
                self.execute_cursor(&command);
                true
            }
            None => false,
        }
    }

    fn record_command(&self, command: &CommandExt) {
        if let Some(recorder) = &self.recorder {
            recorder.command(&self.slots, command);
        }
    }

    fn execute(&mut self, command: &CommandExt) {
        // A mistake of ours costs this command: neither those behind it nor the notification of the next ones.
        let step =
            AssertUnwindSafe(|| match parse_display_command(&self.slots, command, &self.limits) {
                Ok(command) => self.execute_parsed(command),
                Err(error) => self.refuse(error),
            });
        if catch_unwind(step).is_err() {
            self.bad(&"internal error");
            self.release_drawn();
        }
    }

    /// Releases the drawable that is being executed.
    fn release_drawn(&mut self) {
        if let Some(release) = self.drawing.take() {
            self.device.release_resource(release);
        }
    }

    fn execute_parsed(&mut self, command: DisplayCommand) {
        match command {
            DisplayCommand::Draw(drawable, release) => {
                self.drawing = Some(release);
                match self.scene.execute(drawable) {
                    Ok(draw) => {
                        let surface = self.scene.bounds(draw.drawable.surface_id);
                        self.peers.draw(&draw, surface);
                    }
                    Err(error) => self.bad(&error),
                }
                self.release_drawn();
            }
            DisplayCommand::Update { surface_id, update_id, release, .. } => {
                if self.scene.exists(surface_id) {
                    self.scene.settle(surface_id);
                    self.device.notify_update(update_id);
                } else {
                    self.bad(&format_args!("update of surface {surface_id}, which does not exist"));
                }
                self.device.release_resource(release);
            }
            DisplayCommand::Message { text, release } => {
                tracing::debug!(display = self.id, "guest says: {}", text.escape_debug());
                self.device.release_resource(release);
            }
            DisplayCommand::SurfaceCreate { surface_id, geometry, keep_data, memory, release } => {
                match self.scene.create(surface_id, &geometry, &memory, keep_data) {
                    Ok(()) => {
                        self.scene.keep_create(surface_id, release);
                        if let Some(info) = self.scene.info(surface_id) {
                            if keep_data {
                                self.peers.surface_known(info);
                            } else {
                                self.peers.surface_created(info, false);
                            }
                        }
                    }
                    Err(error) => {
                        self.bad(&error);
                        self.device.release_resource(release);
                    }
                }
            }
            DisplayCommand::SurfaceDestroy { surface_id, release } => {
                if !self.destroy_surface(surface_id) {
                    self.bad(&format_args!(
                        "destroy of surface {surface_id}, which does not exist"
                    ));
                }
                self.device.release_resource(release);
            }
        }
    }

    /// Ends a surface here and at the clients; its create command is released. False if none is.
    pub(super) fn destroy_surface(&mut self, id: u32) -> bool {
        if let Some((address, len)) = self.scene.memory(id) {
            self.device.wrote(address, len);
        }
        let (existed, create) = self.scene.destroy(id);
        if existed {
            self.peers.surface_destroyed(id);
        }
        if let Some(create) = create {
            self.device.release_resource(create);
        }
        existed
    }

    /// A command that was popped from a ring or is replayed after a migration.
    pub(super) fn execute_loadvm(&mut self, command: &CommandExt) {
        match command.kind {
            CMD_CURSOR => self.execute_cursor(command),
            CMD_SURFACE => match parse_display_command(&self.slots, command, &self.limits) {
                Ok(DisplayCommand::SurfaceCreate {
                    surface_id, geometry, memory, release, ..
                }) => {
                    // The pixels came with the machine: keep them whatever the command said.
                    let keep_data = true;
                    self.execute_parsed(DisplayCommand::SurfaceCreate {
                        surface_id,
                        geometry,
                        keep_data,
                        memory,
                        release,
                    });
                }
                Ok(other) => self.execute_parsed(other),
                Err(error) => self.refuse(error),
            },
            other => tracing::warn!("command of type {other} cannot be replayed"),
        }
    }

    fn execute_cursor(&mut self, command: &CommandExt) {
        match parse_cursor_command(&self.slots, command, &self.limits) {
            Ok((cursor, release)) => {
                // The shape is a private copy, but hosts replay the command: it stays theirs.
                let done = if matches!(cursor, CursorCommand::Set { .. }) {
                    self.shape_command.replace(release)
                } else {
                    Some(release)
                };
                if let Some(done) = done {
                    self.device.release_resource(done);
                }
                self.tell_cursor(CursorOrder::Command(cursor));
            }
            Err(error) => self.refuse(error),
        }
    }

    /// Sends an order to the cursor channel; keeps it if that one is far behind.
    pub(super) fn tell_cursor(&mut self, order: CursorOrder) {
        match order {
            CursorOrder::Command(_) => {
                self.held_cursor = self.cursor.try_send(order).err();
            }
            // Requests of the host: few, and bounded by the host's own calls.
            other => self.cursor.send(crate::channel::Order::Do(other)),
        }
    }

    fn push_held_cursor(&mut self) -> bool {
        if let Some(order) = self.held_cursor.take() {
            self.held_cursor = self.cursor.try_send(order).err();
        }
        self.held_cursor.is_none()
    }

    /// Gives up a cursor command that the cursor channel has no room for.
    pub(super) fn drop_held_cursor(&mut self) {
        self.held_cursor = None;
    }

    fn refuse(&mut self, error: CommandError) {
        self.bad(&error.reason);
        if let Some(release) = error.release {
            self.device.release_resource(release);
        }
    }

    /// Counts a command that was skipped.
    pub(super) fn bad(&mut self, reason: &dyn std::fmt::Display) {
        self.bad_commands += 1;
        if BAD_COMMANDS.allow() {
            tracing::warn!(
                display = self.id,
                count = self.bad_commands,
                "guest command skipped: {reason}"
            );
        }
    }

    /// Executes some of what the rings hold. True if there may be more.
    fn slice(&mut self, clients: &mut Clients) -> bool {
        let end = Instant::now() + SLICE_TIME;
        // Resting rings are looked at as well: we are awake already.
        if self.cursors != RingWatch::Armed {
            let taken = (0..SLICE).take_while(|_| self.take_cursor()).count();
            self.cursors = self.cursors.after(taken);
        }
        if self.commands != RingWatch::Armed {
            let mut taken = 0;
            while taken < SLICE && self.take_command() {
                taken += 1;
                if taken.is_multiple_of(FEED_EVERY) {
                    self.peers.pump_all(clients, &mut self.scene);
                    if Instant::now() >= end {
                        return true;
                    }
                }
            }
            self.commands = self.commands.after(taken);
        }
        self.cursors == RingWatch::Busy || self.commands == RingWatch::Busy
    }

    /// Looks a second time at rings that rested long enough; then lets the host wake us.
    fn rest(&mut self) -> Turn {
        let now = Instant::now();
        if matches!(self.commands, RingWatch::Resting(at) if at <= now) {
            let armed = !self.take_command() && self.device.req_cmd_notification();
            self.commands = if armed { RingWatch::Armed } else { RingWatch::Busy };
        }
        if matches!(self.cursors, RingWatch::Resting(at) if at <= now) {
            self.cursors = if self.take_cursor() {
                RingWatch::Busy
            } else if self.held_cursor.is_some() {
                RingWatch::Resting(now + SECOND_LOOK)
            } else if self.device.req_cursor_notification() {
                RingWatch::Armed
            } else {
                RingWatch::Busy
            };
        }
        if self.commands == RingWatch::Armed && self.cursors == RingWatch::Armed {
            self.device.quiet();
        }
        let mut next = None;
        for ring in [self.commands, self.cursors] {
            match ring {
                RingWatch::Busy => return Turn::Again,
                RingWatch::Resting(at) => next = Some(next.map_or(at, |n: Instant| n.min(at))),
                RingWatch::Armed => {}
            }
        }
        next.map_or(Turn::Idle, Turn::At)
    }

    /// Tells the guest what all its clients can do.
    pub(super) fn tell_capabilities(&mut self, clients: &Clients, without: Option<Key>) {
        if !self.running {
            return;
        }
        let mut caps = [0u8; 58];
        let mut present = false;
        for bit in GUEST_CAPS {
            let mut all = true;
            for (_, client) in clients.iter().filter(|(k, _)| Some(*k) != without) {
                present = true;
                all &= client.caps.has(bit);
            }
            if present
                && all
                && let Some(byte) = caps.get_mut(bit as usize / 8)
            {
                *byte |= 1 << (bit % 8);
            }
        }
        self.device.set_client_capabilities(present, &caps);
    }
}

impl Channel for Display {
    type Order = DisplayOrder;
    const TYPE: ChannelType = ChannelType::DISPLAY;
    const USES_ACKS: bool = true;
    const FREE_BYTES: u64 = FREE_BYTES;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        self.peers.add(clients, key);
        self.tell_capabilities(clients, None);
    }

    fn request(
        &mut self,
        clients: &mut Clients,
        key: Key,
        kind: u16,
        body: &[u8],
    ) -> Result<(), String> {
        match DisplayRequest::parse(kind, body).map_err(|e| e.to_string())? {
            DisplayRequest::Init(init) => {
                if !self.peers.init(clients, key, &init, &self.scene, self.monitors.as_ref()) {
                    return Err("second INIT".to_owned());
                }
                self.peers.pump(clients, key, &mut self.scene);
            }
            DisplayRequest::GlDrawDone => return Err("GL_DRAW_DONE without a draw".to_owned()),
            DisplayRequest::PreferredCompression(wish) => self.peers.prefer(key, wish),
            DisplayRequest::StreamReport(report) => self.peers.report(key, &report)?,
            DisplayRequest::PreferredVideoCodecs(wish) => self.peers.prefer_codecs(key, wish),
            DisplayRequest::Common(_) => {}
        }
        Ok(())
    }

    fn order(&mut self, clients: &mut Clients, order: DisplayOrder) {
        match order {
            DisplayOrder::Qxl(request, done) => {
                self.serve(clients, request, done);
                self.peers.pump_all(clients, &mut self.scene);
            }
            DisplayOrder::MaxMonitors(count) => self.max_monitors = count,
            DisplayOrder::AttachRing(setup, kick, reply) => {
                reply.send(self.attach_ring(clients, *setup, kick));
            }
            DisplayOrder::DetachRing(room, reply) => reply.send(self.detach_ring(clients, room)),
        }
    }

    fn kicked(&mut self, key: Key) {
        self.kicked(key);
    }

    fn room(&mut self, clients: &mut Clients, key: Key) {
        self.peers.pump(clients, key, &mut self.scene);
    }

    fn pong(&mut self, clients: &mut Clients, key: Key, id: u32, time: u64) {
        self.peers.pong(clients, key, id, time);
        self.peers.pump(clients, key, &mut self.scene);
    }

    fn left(&mut self, clients: &mut Clients, key: Key, _client: &Client) {
        self.peers.remove(key);
        self.tell_capabilities(clients, Some(key));
    }

    fn stopping(&mut self, _clients: &mut Clients) {
        self.record_number(request::CLOSE_WORKER);
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        self.peers.settle_films(Instant::now());
        if !self.running {
            // A wakeup now is for commands that `start` will look for, or images are made.
            self.peers.pump_all(clients, &mut self.scene);
            blocks::release();
            return self.peers.next_turn().map_or(Turn::Idle, Turn::At);
        }
        if self.pending.take_wakeup() {
            self.record_number(request::WAKEUP);
            self.look_again();
        }
        if self.pending.take_oom() {
            self.record_number(request::OOM);
            self.out_of_memory();
        }
        let more = self.slice(clients);
        self.peers.pump_all(clients, &mut self.scene);
        if more || self.peers.help() {
            return Turn::Again;
        }
        let turn = self.rest();
        let films = self.peers.next_turn();
        match (turn, films) {
            (Turn::Idle, None) => {
                blocks::release();
                turn
            }
            (Turn::Idle, Some(at)) => Turn::At(at),
            (Turn::At(at), Some(film)) => Turn::At(at.min(film)),
            _ => turn,
        }
    }
}

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
use crate::channel::{Handle, Primary, Upward};
use crate::display::encode::client::ImageShare;
use crate::display::encode::shop::Shop;
use crate::display::guest_image::decode_quic;
use crate::display::scene::Scene;
use crate::observe::{RateLimit, probes};
use crate::protocol::blocks;
use crate::protocol::caps::{ChannelType, display as cap};
use crate::protocol::display::DisplayRequest;
use crate::protocol::handover::DISPLAY_MAX;
use crate::qxl::command::{CommandExt, QxlDevice, ReleaseInfo};
use crate::qxl::memslot::MemSlots;
use crate::qxl::model::CursorCommand;
use crate::qxl::parse::{
    CMD_CURSOR, CMD_SURFACE, CommandError, DisplayCommand, Limits, MonitorsConfig,
    parse_cursor_command, parse_display_command,
};
use crate::qxl::record::Recorder;
use crate::qxl::replay::request;
use crate::sys::clock::monotonic_ns;
use crate::transport::reactor::Key;
use crate::video::encode::Studio;

use super::device::Device;
use super::gl::Gl;
use super::peers::Peers;
use super::spin::Spin;
use super::{DisplayOrder, Pending};

/// Commands executed before sockets and requests get their turn.
const SLICE: usize = 256;
/// Commands after which clients are fed, so that their pipes need not hold a whole slice.
const FEED_EVERY: usize = 32;
/// Time for a slice.
const SLICE_TIME: Duration = Duration::from_millis(10);
/// Hints to the processor from one look at empty rings to the next: a microsecond, so that a host's lock is not asked for all the time.
const BETWEEN_LOOKS: usize = 24;
/// When a cursor command that the cursor channel had no room for is offered again.
const SECOND_LOOK: Duration = Duration::from_millis(1);
/// Commands that were put off and are drawn before the rings are looked at again: a tenth of a millisecond's worth.
const CATCH_UP: usize = 4;
/// Bytes of messages that may be on the way to a client however many they are: some thousand fills. As much may wait
/// in the outbox.
const FREE_BYTES: u64 = 256 * 1024;
/// Surfaces that a device may have, whatever it says.
pub(super) const MAX_SURFACES: u32 = 1024;
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
    /// The last slice found commands.
    took: bool,
    spin: Spin,
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
    /// The primary surface, as the session is to know it.
    pub(super) primary: Option<Primary>,
    pub(super) gl: Gl,
    /// Where the guest kicks, if it has rings of its own.
    pub(super) kick: Option<Key>,
    /// Commands of the guest that were refused.
    bad_commands: u64,
    /// Commands of the guest that were taken.
    taken: u64,
    /// When the wakeup came whose commands are being taken.
    woken: Option<Instant>,
}

/// What a ring is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RingWatch {
    /// It may have something.
    Busy,
    /// It had nothing when it was looked at last.
    Empty,
    /// It was empty, or what it has cannot be taken; look once more at this time.
    Resting(Instant),
    /// The host wakes us.
    Armed,
}

impl RingWatch {
    /// What follows after a look that found so many commands.
    fn after(self, taken: usize) -> Self {
        match self {
            Self::Resting(_) if taken == 0 => self,
            _ if taken < SLICE => Self::Empty,
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
            device: Device::new(setup.id, setup.device),
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
            took: false,
            spin: Spin::new(Instant::now()),
            drawing: None,
            held_cursor: None,
            shape_command: None,
            monitors: None,
            driver_sends_monitors: false,
            max_monitors: u32::MAX,
            primary: None,
            gl: Gl::default(),
            kick: None,
            bad_commands: 0,
            taken: 0,
            woken: None,
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
                self.note_taken(&command);
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
                self.note_taken(&command);
                self.execute_cursor(&command);
                true
            }
            None => false,
        }
    }

    fn note_taken(&mut self, command: &CommandExt) {
        self.taken += 1;
        probes::command_taken(self.id, command.kind);
        self.record_command(command);
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
                        probes::command_drawn(self.id, draw.drawable.surface_id, draw.bytes);
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

    /// A wakeup came at this time of the monotonic clock.
    pub(super) fn woken_at(&mut self, ns: u64) {
        let ago = Duration::from_nanos(monotonic_ns().saturating_sub(ns));
        let now = Instant::now();
        self.woken = Some(self.woken.unwrap_or_else(|| now.checked_sub(ago).unwrap_or(now)));
    }

    /// Executes some of what the rings hold. True if there may be more.
    fn slice(&mut self, clients: &mut Clients) -> bool {
        self.took = false;
        let now = Instant::now();
        let end = now + SLICE_TIME;
        // Resting rings are looked at as well: we are awake already.
        if self.cursors != RingWatch::Armed {
            let taken = (0..SLICE).take_while(|_| self.take_cursor()).count();
            self.took |= taken > 0;
            self.cursors = self.cursors.after(taken);
        }
        if self.commands != RingWatch::Armed {
            let mut taken = 0;
            while taken < SLICE && self.take_command() {
                taken += 1;
                self.took = true;
                if taken.is_multiple_of(FEED_EVERY) {
                    self.peers.pump_all(clients, &mut self.scene);
                    if Instant::now() >= end {
                        self.spin.found(now);
                        return true;
                    }
                }
            }
            self.commands = self.commands.after(taken);
        }
        if self.took {
            self.spin.found(now);
        }
        self.cursors == RingWatch::Busy || self.commands == RingWatch::Busy
    }

    /// Looks for a while at rings that ran empty, if that pays; then lets the host wake us.
    fn rest(&mut self, clients: &Clients) -> Turn {
        let rings = [self.commands, self.cursors];
        if rings == [RingWatch::Armed; 2] {
            return Turn::Idle;
        }
        let now = Instant::now();
        let later = rings.into_iter().filter_map(|ring| match ring {
            RingWatch::Resting(at) if at > now => Some(at),
            _ => None,
        });
        if let Some(at) = later.min() {
            return Turn::At(at);
        }
        if rings.contains(&RingWatch::Empty) {
            // A guest that draws little gets its memory back as well, and one that waits for it goes on.
            self.device.quiet();
            if self.look(clients, now) {
                return Turn::Again;
            }
            let collect = self.spin.collect();
            if !collect.is_zero() {
                let at = now + collect;
                (self.commands, self.cursors) = (RingWatch::Resting(at), RingWatch::Resting(at));
                return Turn::At(at);
            }
        }
        self.arm(now)
    }

    /// Looks at the rings until something is there or it does not pay any more. True if there is something to do.
    fn look(&mut self, clients: &Clients, now: Instant) -> bool {
        let longest = self.spin.begin(now);
        if longest.is_zero() {
            return false;
        }
        loop {
            for _ in 0..BETWEEN_LOOKS {
                std::hint::spin_loop();
            }
            if clients.is_called() {
                return true;
            }
            let (command, cursor) = (self.take_command(), self.take_cursor());
            let spent = now.elapsed();
            if command || cursor {
                self.spin.found(now + spent);
                (self.commands, self.cursors) = (RingWatch::Busy, RingWatch::Busy);
                return true;
            }
            if spent >= longest {
                self.spin.missed(spent);
                return false;
            }
        }
    }

    /// Lets the host wake us for what comes into either ring.
    fn arm(&mut self, now: Instant) -> Turn {
        if self.commands != RingWatch::Armed {
            let armed = !self.take_command() && self.device.req_cmd_notification();
            self.commands = if armed { RingWatch::Armed } else { RingWatch::Busy };
        }
        if self.cursors != RingWatch::Armed {
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
        match (self.commands, self.cursors) {
            (RingWatch::Armed, RingWatch::Armed) => {
                self.device.quiet();
                Turn::Idle
            }
            (RingWatch::Armed, RingWatch::Resting(at)) => Turn::At(at),
            _ => Turn::Again,
        }
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
    const HANDOVER_MAX: usize = DISPLAY_MAX;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        self.peers.add(clients, key);
        if clients.awaits_data(key) {
            self.peers.expect(key, &self.scene, self.running);
        }
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
                self.gl_init(key);
                self.peers.pump(clients, key, &mut self.scene);
            }
            DisplayRequest::GlDrawDone => {
                self.gl_done(key)?;
                self.peers.pump(clients, key, &mut self.scene);
            }
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
        self.gl_left(key);
        self.tell_capabilities(clients, Some(key));
    }

    fn hand_over(&mut self, clients: &mut Clients, key: Key) {
        self.peers.hand_over(clients, key, self.monitors.as_ref());
        self.peers.pump(clients, key, &mut self.scene);
    }

    fn flushed(&mut self, clients: &mut Clients, key: Key) {
        self.peers.give_data(clients, key);
    }

    fn restore(&mut self, clients: &mut Clients, key: Key, data: &[u8]) -> Result<(), String> {
        self.peers.restore(clients, key, data)?;
        if self.running {
            self.peers.settle(self.monitors.as_ref());
        }
        self.peers.pump(clients, key, &mut self.scene);
        Ok(())
    }

    fn stopping(&mut self, _clients: &mut Clients) {
        self.record_number(request::CLOSE_WORKER);
        self.gl_complete();
    }

    fn turn(&mut self, clients: &mut Clients) -> Turn {
        let patience = self.gl_patience(Instant::now());
        match (self.work(clients), patience) {
            (Turn::Idle, Some(at)) => Turn::At(at),
            (Turn::At(at), Some(late)) => Turn::At(at.min(late)),
            (turn, _) => turn,
        }
    }
}

impl Display {
    /// Takes what the guest has and sends what clients have room for.
    fn work(&mut self, clients: &mut Clients) -> Turn {
        self.peers.settle_films(Instant::now());
        if !self.running {
            // A wakeup now is for commands that `start` will look for, or images are made.
            self.peers.pump_all(clients, &mut self.scene);
            blocks::release();
            return self.peers.next_turn().map_or(Turn::Idle, Turn::At);
        }
        if let Some(at) = self.pending.take_wakeup() {
            self.record_number(request::WAKEUP);
            self.look_again();
            self.woken_at(at);
        }
        if self.pending.take_oom() {
            self.record_number(request::OOM);
            self.out_of_memory();
        }
        let before = self.taken;
        let more = self.slice(clients);
        // A wakeup for nothing is owed nothing.
        if let Some(woken) = self.woken.take().filter(|_| self.taken > before) {
            self.peers.owe(woken);
        }
        self.peers.pump_all(clients, &mut self.scene);
        let stats = clients.stats();
        stats.commands.set(self.taken);
        stats.bad_commands.set(self.bad_commands);
        if more || self.peers.help() {
            return Turn::Again;
        }
        if self.scene.is_behind() {
            // What was taken in this turn leaves before our own surface is brought up to date.
            if !self.took {
                self.scene.catch_up(CATCH_UP);
            }
            return Turn::Again;
        }
        let turn = self.rest(clients);
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

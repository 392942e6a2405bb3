//! The session: settings, clients, tickets, mouse mode; the door; the way to the host's loop.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use crate::channel::agent::AgentRules;
use crate::channel::device::{DeviceId, DeviceTask};
use crate::channel::inputs::{Input, Inputs};
use crate::channel::main::{Main, MainOrder, MainState, MigrationEvent};
use crate::channel::qos::{QosCell, QosTable};
use crate::channel::{ClientId, Primary, Upward, engine};
use crate::display::encode::client::ImageShare;
use crate::observe::probes;
use crate::observe::stats::ServerStats;
use crate::protocol::agent::ClientMonitors;
use crate::protocol::caps::ChannelType;
use crate::qxl::record::Recorder;
use crate::sync::mailbox::Mailbox;
use crate::transport::connection::Connection;
use crate::transport::tls::TlsServer;

pub mod api;
pub mod auth;
pub mod devices;
pub mod door;
pub mod host;
pub mod migration;
pub mod mouse;
pub mod session;
pub mod settings;
pub mod sound;

use devices::Devices;
use door::Door;
use host::{Caller, ChannelEvent, Host, HostTask, MonitorsTask};
use session::Session;

/// How long a host call that disconnects clients waits for the channels to confirm.
///
/// Channel threads never wait for a peer, so this is only reached on a machine that stands still.
const DISCONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// One SPICE server. Shared by the API, the door and all channels.
pub struct Core {
    session: Mutex<Session>,
    mailbox: Mailbox<HostTask>,
    /// Events that a thread found that may not run them.
    deferred: Mutex<VecDeque<HostTask>>,
    host: OnceLock<Arc<dyn Host>>,
    main_thread: OnceLock<ThreadId>,
    /// Set by `init` if there is a port for TLS.
    tls: OnceLock<TlsServer>,
    door: Mutex<Option<Door>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The mouse mode for threads that only need a glance (cursor channels, input).
    pub(crate) mouse_mode: Arc<AtomicU16>,
    /// What all displays share about images.
    pub(crate) images: Arc<ImageShare>,
    /// Where all QXL traffic is recorded, if the environment asked for it.
    recorder: Option<Arc<Recorder>>,
    /// What may pass between agent and clients.
    pub(crate) agent_rules: Arc<AgentRules>,
    /// True while the inputs channel holds back because the host is behind.
    inputs_wait: AtomicBool,
    devices: Devices,
    /// Counters of all its channels.
    pub(crate) stats: Arc<ServerStats>,
    /// What the host wants of each channel type.
    qos: QosTable,
}

impl Core {
    /// A server that has not been initialised.
    ///
    /// # Errors
    /// If the process has no descriptor left.
    pub fn new() -> io::Result<Arc<Self>> {
        let session = Session::new();
        let mouse_mode = Arc::new(AtomicU16::new(session.mouse.mode()));
        Ok(Arc::new(Self {
            session: Mutex::new(session),
            mailbox: Mailbox::new()?,
            deferred: Mutex::new(VecDeque::new()),
            host: OnceLock::new(),
            main_thread: OnceLock::new(),
            tls: OnceLock::new(),
            door: Mutex::new(None),
            threads: Mutex::new(Vec::new()),
            mouse_mode,
            images: Arc::default(),
            recorder: Recorder::from_environment(),
            agent_rules: Arc::default(),
            inputs_wait: AtomicBool::new(false),
            devices: Devices::default(),
            stats: Arc::default(),
            qos: QosTable::default(),
        }))
    }

    /// The tables. A poisoned lock is taken all the same: a panic under it changed nothing half.
    pub fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way into the host's loop.
    pub fn mailbox(&self) -> &Mailbox<HostTask> {
        &self.mailbox
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        self.host.get().cloned()
    }

    /// What connections with TLS need; `None` without a port for them.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsServer> {
        self.tls.get()
    }

    fn deferred_len(&self) -> usize {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take_deferred(&self) -> Option<HostTask> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn defer(&self, task: HostTask) {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner).push_back(task);
        self.wake_host();
    }

    /// Queues something for the host's loop and wakes it.
    pub(crate) fn post(&self, task: HostTask) {
        self.note_post(&task);
        if self.mailbox.push(task) {
            self.note_wake();
        }
    }

    /// As [`Core::post`], unless too much waits already.
    fn try_post(&self, task: HostTask) -> Result<(), HostTask> {
        if self.mailbox.is_busy() {
            return Err(task);
        }
        self.post(task);
        Ok(())
    }

    /// Has the host's loop look into the mailbox.
    pub(crate) fn wake_host(&self) {
        if self.mailbox.signal() {
            self.note_wake();
        }
    }

    fn note_post(&self, task: &HostTask) {
        probes::mailbox_post(task.number(), self.mailbox.len());
        self.stats.posted.add_shared(1);
    }

    fn note_wake(&self) {
        probes::mailbox_wake();
        self.stats.woken.add_shared(1);
    }

    /// Who the current thread is to the host.
    pub fn caller(&self) -> Caller {
        if self.main_thread.get() == Some(&std::thread::current().id()) {
            Caller::MainThread
        } else {
            Caller::OtherThread
        }
    }

    /// Waits inside a host call until `done`, working on the mailbox meanwhile. False at the deadline.
    pub fn wait_until(&self, done: impl Fn(&Session) -> bool) -> bool {
        let deadline = Instant::now() + DISCONNECT_DEADLINE;
        loop {
            let seen = self.mailbox.turn();
            self.run_host_tasks(self.caller());
            if done(&self.session()) {
                return true;
            }
            if !self.mailbox.wait(seen, deadline) {
                tracing::error!("clients did not leave in ten seconds");
                return false;
            }
        }
    }

    /// Starts main, inputs and the door, once. No thread exists before.
    ///
    /// # Errors
    /// If the system has no thread or descriptor left.
    pub fn start_base(self: &Arc<Self>) -> io::Result<()> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if door.is_some() {
            return Ok(());
        }
        let upward: Arc<dyn Upward> = Arc::clone(self) as Arc<dyn Upward>;
        let (main, t1) = engine::start("spice-main", 0, Arc::clone(&upward), |_| {
            Main::new(Arc::clone(&upward), Arc::clone(&self.agent_rules))
        })?;
        let (inputs, t2) = engine::start("spice-inputs", 0, Arc::clone(&upward), |_| {
            Inputs::new(Arc::clone(&upward))
        })?;
        self.session().set_base(main, inputs);
        self.add_threads([t1, t2]);
        *door = Some(Door::start(self)?);
        Ok(())
    }

    pub(crate) fn add_threads(&self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(threads);
    }

    fn with_door(&self, act: impl FnOnce(&Door)) {
        if let Some(door) = &*self.door.lock().unwrap_or_else(PoisonError::into_inner) {
            act(door);
        }
    }

    fn inputs_may_go_on(&self) {
        if self.inputs_wait.swap(false, Ordering::SeqCst) {
            self.session().poke_inputs();
        }
    }

    /// Carries out what a change of the mouse's facts leads to.
    pub(crate) fn after_mouse_change(&self, consequences: mouse::Consequences) {
        let session = self.session();
        self.mouse_mode.store(session.mouse.mode(), Ordering::Relaxed);
        if consequences.tell_clients {
            session.tell_mouse_modes();
        }
        drop(session);
        if let Some((width, height)) = consequences.tablet_size {
            self.post(HostTask::TabletSize(width, height));
        }
    }

    /// Tells the host of a connection.
    pub(crate) fn event(&self, event: ChannelEvent, connection: &Arc<Connection>) {
        self.post(HostTask::Event(event, Arc::clone(connection)));
    }
}

impl Upward for Core {
    fn stats(&self) -> Arc<ServerStats> {
        Arc::clone(&self.stats)
    }

    fn qos(&self, channel: ChannelType) -> Arc<QosCell> {
        self.qos.of(channel)
    }

    fn closed(&self, connection: &Arc<Connection>, client: ClientId) {
        // The event first: a new session's INITIALIZED must come after it.
        self.event(ChannelEvent::Disconnected, connection);
        let mut session = self.session();
        let parked = session.is_arriving(client);
        let gone = session.closed(connection, client);
        let exit = gone && session.settings.exit_on_disconnect;
        drop(session);
        if exit {
            self.post(HostTask::Exit);
        }
        // Connections of a client that comes from elsewhere stand at the door and have to go with it.
        if gone || parked {
            self.with_door(Door::poke);
        }
        if gone {
            self.mailbox.stir();
        }
    }

    fn channel_list(&self) -> Vec<(ChannelType, u8)> {
        self.session().channel_list()
    }

    fn request_mouse_mode(&self, mode: u16) {
        let mut session = self.session();
        if session.mouse.request(mode) {
            self.mouse_mode.store(session.mouse.mode(), Ordering::Relaxed);
            session.tell_mouse_modes();
        }
    }

    fn main_state(&self) -> MainState {
        let session = self.session();
        MainState {
            displays: u32::try_from(session.mouse.display_count()).unwrap_or(u32::MAX),
            supported_mouse_modes: session.mouse.supported(),
            mouse_mode: session.mouse.mode(),
            ram_hint: session.ram.values().next().copied().unwrap_or(0),
            name: session.settings.name.clone(),
            uuid: session.settings.uuid,
            one_client: !session.settings.multi_client,
        }
    }

    fn input(&self, input: Input, heard: Instant) -> Result<(), Input> {
        probes::input_received(input.number());
        let refused = match self.try_post(HostTask::Input(input, heard)) {
            Ok(()) => return Ok(()),
            Err(task) => task,
        };
        // Say that we wait, then look again: the host may have caught up in between.
        self.inputs_wait.store(true, Ordering::SeqCst);
        match self.try_post(refused) {
            Err(HostTask::Input(input, _)) => Err(input),
            _ => Ok(()),
        }
    }

    fn ask_leds(&self) {
        self.post(HostTask::AskLeds);
    }

    fn primary_changed(&self, display: u8, primary: Option<Primary>) {
        let consequences = self.session().mouse.set_display(display, primary);
        self.after_mouse_change(consequences);
    }

    fn client_monitors(
        &self,
        client: ClientId,
        monitors: ClientMonitors,
        agent: DeviceId,
        chunks: Vec<u8>,
    ) {
        // Bounded by the pieces that a client may send before it is given some back.
        self.post(HostTask::Monitors(Box::new(MonitorsTask { client, monitors, agent, chunks })));
    }

    fn device(&self, id: DeviceId, task: DeviceTask) {
        self.post(HostTask::Device(id, task));
    }

    fn arrived(&self, client: ClientId) {
        self.session().arrived(client);
        self.with_door(Door::poke);
    }

    fn inherits(&self, client: ClientId) {
        self.session().set_inherits(client);
        self.with_door(Door::poke);
    }

    fn hand_over(&self, client: ClientId) {
        self.session().hand_over(client);
    }

    fn migration(&self, event: MigrationEvent) {
        self.tell_of_migration(event);
    }

    fn sound_clock_stopped(&self) {
        self.session().tell_main(MainOrder::MediaTime);
    }

    fn device_quietly(&self, id: DeviceId, task: DeviceTask) {
        let task = HostTask::Device(id, task);
        self.note_post(&task);
        self.mailbox.push_quietly(task);
    }

    fn device_tasks_wait(&self) {
        self.wake_host();
    }

    fn insecure_keyboard(&self, client: ClientId) {
        self.session().tell_main(MainOrder::Notice(client, "keyboard channel is insecure"));
    }
}

//! What the C edge calls: one method per thing that a host may want of the session.
//!
//! Called by the host under its lock, from any of its threads; settings take effect for links that
//! come later unless said otherwise.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::channel::agent::AgentTask;
use crate::channel::cursor::Cursor;
use crate::channel::device::DeviceTask;
use crate::channel::display::worker::{Display, DisplaySetup};
use crate::channel::display::{Pending, QxlHandle, Request};
use crate::channel::inputs::InputsOrder;
use crate::channel::qos::Qos;
use crate::channel::{Upward, engine};
use crate::display::encode::choice::Compression;
use crate::display::encode::shop::Shop;
use crate::display::encode::wan::Wan;
use crate::link::ticket::SetTicketError;
use crate::observe::stats::Outside;
use crate::pool::workers;
use crate::protocol::caps::ChannelType;
use crate::qxl::command::QxlDevice;
use crate::qxl::memslot::MemSlots;
use crate::sys::thread::Scheduling;
use crate::sys::{policy, sasl};
use crate::transport::backend;
use crate::transport::connection::Connection;
use crate::transport::listener::Listener;
use crate::transport::stream::Stream;
use crate::transport::tls::TlsServer;
use crate::video::encode::Studio;
use crate::video::{Mode, codecs};

use super::Core;
use super::auth::log_line;
use super::host::{ChannelEvent, Host};
use super::session::{DeviceInfo, Route};
use super::settings::Address;

/// Name under which SASL is configured if the host gives none, as in the reference.
const DEFAULT_SASL_NAME: &str = "spice";

/// What a QXL instance says of itself (`QXLDevInitInfo`).
#[derive(Debug, Clone, Copy)]
pub struct QxlInfo {
    /// Groups of memory slots.
    pub groups: u32,
    /// Slots per group.
    pub slots: u32,
    /// Bits of an address that hold the slot's generation.
    pub gen_bits: u8,
    /// Bits of an address that hold the slot's number.
    pub id_bits: u8,
    /// Bytes of device RAM, a hint for clients.
    pub ram: u32,
    /// Surfaces that the device wants.
    pub surfaces: u32,
}

impl Core {
    /// Takes the host, reads the TLS files and opens the listeners.
    ///
    /// # Errors
    /// A second call, TLS files that cannot be used, or a listener that cannot be opened; nothing stays open then.
    pub fn init(
        self: &Arc<Self>,
        host: Arc<dyn Host>,
        listen_fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        if self.host.get().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "initialised already"));
        }
        let settings = self.session().settings.clone();
        let tls = settings.tls.as_ref().map(|(_, files)| TlsServer::load(files)).transpose();
        let tls = tls.map_err(io::Error::other)?;
        if settings.sasl {
            start_sasl(settings.sasl_app_name.as_deref())?;
        } else if let Some(policy) = policy::forbids_short_rsa() {
            tracing::warn!(
                "tickets travel under RSA with 1024 bits, by protocol, which this site's policy ({policy}) forbids: \
                 clients under it cannot log in with one. SASL inside TLS works (QEMU: sasl=on,tls-port=PORT)"
            );
        }
        let mut listeners = Vec::new();
        match (&settings.address, settings.port) {
            (Address::Unix(path), _) => listeners.push((Listener::unix(path)?, None)),
            (Address::Tcp(address, family), Some(port)) => {
                listeners.push((Listener::tcp(address, port, *family)?, None));
            }
            (Address::Tcp(..), None) => {}
        }
        match (&settings.address, &settings.tls) {
            (Address::Tcp(address, family), Some((port, _))) => {
                listeners.push((Listener::tcp(address, *port, *family)?, tls.clone()));
            }
            (Address::Unix(_), Some(_)) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a port for TLS and an address that is a unix socket exclude each other",
                ));
            }
            (_, None) => {}
        }
        if let Some(fd) = listen_fd {
            listeners.push((Listener::borrowed(fd)?, None));
        }
        let mut session = self.session();
        if session.settings.video_codecs.is_empty() {
            session.settings.video_codecs = codecs::DEFAULT_CODECS.to_vec();
        }
        if let Some((_, files)) = &mut session.settings.tls {
            // Not needed any more.
            files.password = None;
        }
        drop(session);
        if let Some(tls) = tls {
            let _ = self.tls.set(tls);
        }
        // None of these can be set yet: `host` was empty above and API calls do not overlap.
        let _ = self.host.set(host);
        let _ = self.main_thread.set(std::thread::current().id());
        if std::env::var_os("SPICE_DEBUG_ALLOW_MC").is_some() {
            self.session().settings.multi_client = true;
        }
        if !listeners.is_empty() {
            self.start_base()?;
            self.with_door(|door| listeners.into_iter().for_each(|(l, tls)| door.listen(l, tls)));
        }
        Ok(())
    }

    /// True between a successful `init` and `destroy`.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        self.host.get().is_some()
    }

    /// Takes over a connected socket, on which TLS begins if `tls` says so. CONNECTED is told before this returns.
    ///
    /// # Errors
    /// Hands the descriptor back if it is no usable socket, if the server is not initialised or if there is no TLS.
    pub fn add_client(
        self: &Arc<Self>,
        fd: OwnedFd,
        skip_auth: bool,
        tls: bool,
    ) -> Result<(), (OwnedFd, io::Error)> {
        let refused = |why| io::Error::new(io::ErrorKind::NotConnected, why);
        if !self.is_initialised() {
            return Err((fd, refused("not initialised")));
        }
        if tls && self.tls().is_none() {
            return Err((fd, refused("TLS is not set up (spice_server_set_tls)")));
        }
        if let Err(error) = self.start_base() {
            return Err((fd, error));
        }
        let stream = Stream::adopt(fd)?;
        let connection = Connection::of(&stream);
        let connection = Arc::new(if tls { connection.inside_tls() } else { connection });
        self.event(ChannelEvent::Connected, &connection);
        self.with_door(|door| door.adopt(stream, connection, skip_auth));
        self.run_host_tasks(self.caller());
        Ok(())
    }

    /// Has clients that come later authenticate with SASL, or with tickets again. The library is opened at once, so that
    /// a host learns early that it is not there; it is configured by [`Core::init`], or here if that was before.
    ///
    /// # Errors
    /// The library is not there, or its configuration is broken; nothing changed then.
    pub fn set_sasl(&self, on: bool) -> io::Result<()> {
        if on {
            sasl::available().map_err(io::Error::other)?;
            let app = self.session().settings.sasl_app_name.clone();
            if self.is_initialised() {
                start_sasl(app.as_deref())?;
            }
        }
        self.session().settings.sasl = on;
        Ok(())
    }

    /// `spice_server_set_ticket` (spec 02 §5); `None` refuses everybody.
    ///
    /// # Errors
    /// A password that is too long (nothing changed), or a client that is connected when
    /// `fail_if_connected` says so.
    pub fn set_ticket(
        &self,
        password: Option<&[u8]>,
        lifetime: i32,
        fail_if_connected: bool,
        disconnect_if_connected: bool,
    ) -> Result<(), SetTicketError> {
        let mut session = self.session();
        let connected = session.connected();
        let leave = session.ticket.before_set(
            password,
            connected,
            fail_if_connected,
            disconnect_if_connected,
        )?;
        // The new password counts before the old clients go: nobody slips in between.
        session.ticket.set(password, lifetime, Instant::now())?;
        if leave {
            let leaving = session.drop_all_clients();
            drop(session);
            // Not until nobody is here: who stood at the door meanwhile may have come in since.
            self.wait_until(|session| !session.has_any(&leaving));
        }
        Ok(())
    }

    /// The guest changed its keyboard LEDs.
    pub fn keyboard_leds(&self, leds: u8) {
        self.session().tell_inputs(InputsOrder::Leds(leds));
    }

    /// A tablet was added or removed.
    pub fn tablet_changed(&self, present: bool) {
        let consequences = self.session().mouse.set_tablet(present);
        self.after_mouse_change(consequences);
        self.run_host_tasks(self.caller());
    }

    /// The agent may or may not carry the mouse.
    pub fn set_agent_mouse(&self, on: bool) {
        let mut session = self.session();
        session.settings.agent_mouse = on;
        let consequences = session.mouse.set_agent_mouse(on);
        drop(session);
        self.after_mouse_change(consequences);
    }

    /// Lets clipboards pass between guest and clients, from the next message on.
    pub fn set_agent_copypaste(&self, on: bool) {
        self.session().settings.agent_copypaste = on;
        self.agent_rules.set_copy_paste(on);
    }

    /// Lets files pass from clients to the guest, from the next message on.
    pub fn set_agent_file_xfer(&self, on: bool) {
        self.session().settings.agent_file_xfer = on;
        self.agent_rules.set_file_xfer(on);
    }

    /// The host says which hardware the monitors of a QXL device belong to; the agent is told.
    pub fn set_device_info(&self, id: u8, info: DeviceInfo) {
        let mut session = self.session();
        session.device_info.insert(id, info);
        let agent = session.agent;
        drop(session);
        if let Some(agent) = agent {
            self.run_device_task(agent, DeviceTask::Agent(AgentTask::DeviceInfo));
        }
    }

    /// Adds a QXL device: starts its two threads and announces its two channels.
    ///
    /// # Errors
    /// An id that is taken, senseless memory slots, or a system without threads.
    pub fn add_qxl(
        self: &Arc<Self>,
        id: u8,
        device: Box<dyn QxlDevice>,
        info: &QxlInfo,
    ) -> io::Result<QxlHandle> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        if self.session().channel_exists(ChannelType::DISPLAY, id) {
            return Err(invalid(format!("display {id} exists already")));
        }
        let slots = MemSlots::new(info.groups, info.slots, info.gen_bits, info.id_bits)
            .map_err(|e| invalid(e.to_string()))?;
        let upward: Arc<dyn Upward> = Arc::clone(self) as Arc<dyn Upward>;
        let mouse_mode = Arc::clone(&self.mouse_mode);
        let (cursor, t1) =
            engine::start(&format!("spice-cursor-{id}"), id, Arc::clone(&upward), |_| {
                Cursor::new(mouse_mode)
            })?;
        let pending = Arc::new(Pending::default());
        let mut setup = DisplaySetup {
            id,
            device,
            slots,
            surfaces: info.surfaces,
            cursor: cursor.clone(),
            upward: Arc::clone(&upward),
            pending: Arc::clone(&pending),
            recorder: self.recorder.clone(),
            images: Arc::clone(&self.images),
            shop: Shop::default(),
            studio: Studio::new(|| {}),
        };
        let started = engine::start(&format!("spice-disp-{id}"), id, upward, |handle| {
            let handle = handle.clone();
            let other = handle.clone();
            setup.shop = Shop::with_workers(move || handle.poke());
            setup.studio = Studio::new(move || other.poke());
            Display::new(setup)
        });
        let (display, t2) = match started {
            Ok(started) => started,
            Err(error) => {
                cursor.stop();
                let _ = t1.join();
                return Err(error);
            }
        };
        let mut session = self.session();
        // The order in which the reference registers them; clients are told the reverse.
        session.register(ChannelType::CURSOR, id, Arc::new(cursor));
        session.register(ChannelType::DISPLAY, id, Arc::new(display.clone()));
        session.ram.insert(id, info.ram);
        let consequences = session.mouse.set_display(id, None);
        drop(session);
        self.add_threads([t1, t2]);
        self.after_mouse_change(consequences);
        Ok(QxlHandle::new(id, display, pending))
    }

    /// Removes a QXL device: afterwards no callback reaches it.
    pub fn remove_qxl(&self, id: u8) {
        let mut session = self.session();
        session.ram.remove(&id);
        session.device_info.remove(&id);
        let display = session.take(ChannelType::DISPLAY, id);
        let cursor = session.take(ChannelType::CURSOR, id);
        let consequences = session.mouse.remove_display(id);
        drop(session);
        for channel in [display, cursor].into_iter().flatten() {
            channel.route.stop();
        }
        self.join_threads(&[format!("spice-disp-{id}"), format!("spice-cursor-{id}")]);
        self.after_mouse_change(consequences);
        self.run_host_tasks(self.caller());
    }

    /// Waits for threads by name; none of them waits for anybody.
    pub(super) fn join_threads(&self, names: &[String]) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = Vec::new();
        let mut ending = Vec::new();
        for thread in threads.drain(..) {
            let named = thread.thread().name().is_some_and(|n| names.iter().any(|m| m == n));
            if named { ending.push(thread) } else { kept.push(thread) }
        }
        *threads = kept;
        drop(threads);
        for thread in ending {
            if thread.join().is_err() {
                tracing::error!("a channel thread had panicked");
            }
        }
    }

    /// The machine runs or stops; `devices` are all QXL devices.
    pub fn set_vm_running(&self, running: bool, devices: &[QxlHandle]) {
        self.set_devices_running(running);
        let was = std::mem::replace(&mut self.session().vm_running, running);
        if was == running {
            return;
        }
        for device in devices {
            if running {
                device.post(Request::Start);
            } else {
                device.call(Request::Stop);
            }
        }
        if running {
            self.session().machine_runs();
        }
    }

    /// Allows migrations in which channels hand over what they know.
    pub fn set_seamless_migration(&self, on: bool) {
        let mut session = self.session();
        session.settings.seamless_migration = on;
        self.agent_rules.set_steady_window(session.settings.seamless());
    }

    /// Sets how images are compressed, also for clients that are here; what it was before.
    pub fn set_image_compression(&self, compression: Compression) -> i32 {
        self.images.compression.set(compression);
        let value = i32::from(compression as u8);
        std::mem::replace(&mut self.session().settings.image_compression, value)
    }

    /// Says what becomes a video stream, also for clients that are here.
    pub fn set_streaming_video(&self, mode: Mode) {
        self.images.video.set_mode(mode);
        self.session().settings.streaming_video = i32::from(mode as u8);
    }

    /// Takes a list of video encoders, best first. False, and nothing changed, if none of them can be made.
    pub fn set_video_codecs(&self, list: &str) -> bool {
        let Some(list) = codecs::parse(list) else { return false };
        self.images.video.set_codecs(list.clone());
        self.session().settings.video_codecs = list;
        true
    }

    /// Threads that encode images, for all servers of the process; 0: the default.
    pub fn set_encoder_threads(&self, count: usize) {
        workers::set_threads(count);
    }

    /// How the threads of a channel type run and what its clients are sent, also those that are there.
    pub fn set_channel_qos(&self, channel: ChannelType, qos: Qos) {
        self.qos.of(channel).set(qos);
        self.session().poke_channels(channel);
    }

    /// How the threads run that encode images, for all servers of the process.
    pub fn set_encoder_scheduling(&self, scheduling: Scheduling) {
        workers::set_scheduling(scheduling);
    }

    /// The statistics as JSON. On any thread; nobody is kept waiting but by a look at the session's tables.
    #[must_use]
    pub fn stats_json(&self) -> String {
        let outside = Outside {
            engine: backend::name(),
            clients: self.session().client_count(),
            mailbox: self.mailbox.len(),
            workers: workers::threads(),
            jobs: workers::waiting(),
        };
        self.stats.json(&outside)
    }

    /// Says when photographs go as JPEG, also to clients that are here.
    pub fn set_jpeg_compression(&self, wan: Wan) {
        self.images.wan.set_jpeg(wan);
    }

    /// Says when GLZ images are deflated, also for clients that are here.
    pub fn set_zlib_glz_compression(&self, wan: Wan) {
        self.images.wan.set_zlib_glz(wan);
    }

    /// Lets several clients in at once, from the next login on, or only the newest.
    pub fn set_multiple_clients(&self, on: bool) {
        self.session().settings.multi_client = on;
    }

    /// Sets the machine's name for clients that come later.
    pub fn set_name(&self, name: Option<String>) {
        self.session().settings.name = name;
    }

    /// True if the mouse is in server mode.
    #[must_use]
    pub fn is_server_mouse(&self) -> bool {
        self.mouse_mode.load(Ordering::Relaxed) == crate::protocol::main::MOUSE_MODE_SERVER
    }

    /// Ends everything: listeners, clients, channels, threads. Every callback has run afterwards.
    pub fn destroy(&self) {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(door) = door {
            door.stop();
        }
        let channels = self.session().take_channels();
        // Newest first, main last: the order in which the reference ends a session.
        channels.iter().rev().for_each(|c| c.route.stop());
        let threads: Vec<_> =
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a channel thread had panicked");
            }
        }
        // The last chance for callbacks, so everything runs here whoever calls.
        self.run_last_host_tasks();
        self.remove_all_devices();
    }
}

/// Configures the process's SASL library as a server of this name.
fn start_sasl(app: Option<&str>) -> io::Result<()> {
    let app = app.unwrap_or(DEFAULT_SASL_NAME);
    sasl::start(app, log_line)
        .map_err(|e| io::Error::other(format!("SASL cannot be started as {app:?}: {e}")))
}

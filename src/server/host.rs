//! What the session asks of the program that it lives in, and the mailbox that brings it there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::channel::ClientId;
use crate::channel::agent::AgentTask;
use crate::channel::device::{DeviceId, DeviceTask};
use crate::channel::inputs::{Input, InputsOrder};
use crate::channel::main::MigrationEvent;
use crate::observe::probes;
use crate::protocol::agent::{ClientMonitors, MouseState};
use crate::protocol::inputs::{agent_buttons, agent_wheel, host_buttons, wheel_motion};
use crate::protocol::main::{MOUSE_MODE_CLIENT, MOUSE_MODE_SERVER};
use crate::transport::connection::Connection;

use super::Core;

/// Kinds of channel events, in the order in which a connection goes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelEvent {
    /// A socket was accepted or handed over.
    Connected,
    /// Its link was accepted.
    Initialized,
    /// It is closed; nothing is told of it afterwards.
    Disconnected,
}

/// The host's callbacks. `abi/host.rs` implements it over the C tables.
///
/// Every method runs on the thread that drives the host's main loop, or inside an API call.
/// A device that the host has not given (no keyboard, say) makes its methods do nothing.
pub trait Host: Send + Sync {
    /// Tells of a connection. Only on the thread that called `spice_server_init`.
    fn channel_event(&self, event: ChannelEvent, connection: &Arc<Connection>);
    /// One raw set-1 byte.
    fn key(&self, byte: u8);
    /// LED bits: scroll 1, num 2, caps 4.
    fn leds(&self) -> u8;
    /// Relative movement and wheel; buttons: left 1, right 2, middle 4, side 0x40, extra 0x80.
    fn mouse_motion(&self, dx: i32, dy: i32, dz: i32, buttons: u32);
    /// Buttons of the relative mouse.
    fn mouse_buttons(&self, buttons: u32);
    /// Size of what positions refer to, in pixels.
    fn tablet_size(&self, width: i32, height: i32);
    /// Absolute position.
    fn tablet_position(&self, x: i32, y: i32, buttons: u32);
    /// Wheel of the tablet: -1, 0 or 1.
    fn tablet_wheel(&self, dz: i32, buttons: u32);
    /// Buttons of the tablet.
    fn tablet_buttons(&self, buttons: u32);
    /// True if there is a QXL device and every one takes layouts of clients now. Only on the thread
    /// that called `spice_server_init`.
    fn takes_monitors(&self) -> bool;
    /// Gives a layout to every QXL device. Only on the thread that called `spice_server_init`.
    fn client_monitors(&self, monitors: &ClientMonitors);
    /// Takes bytes from a char device; how many, 0 if it has none now.
    fn device_read(&self, device: DeviceId, bytes: &mut [u8]) -> usize;
    /// Offers bytes to a char device; how many it took, 0 if it takes none now.
    fn device_write(&self, device: DeviceId, bytes: &[u8]) -> usize;
    /// The other side of a char device is there, or has gone.
    fn device_state(&self, device: DeviceId, connected: bool);
    /// A client sent a port event. Devices that know of none hear nothing.
    fn device_event(&self, device: DeviceId, event: u8);
    /// True if the host tells when a char device that took nothing can be written again.
    fn device_notifies(&self, device: DeviceId) -> bool;
    /// Has [`Core::device_wakeup`] called once after so many milliseconds, or (`None`) not any more.
    fn device_timer(&self, device: DeviceId, after: Option<u32>);
    /// Answers `migrate_connect` or `migrate_end`. Only on the thread that called `spice_server_init`.
    fn migration(&self, event: MigrationEvent);
}

/// The monitors that a client wishes for.
#[derive(Debug)]
pub struct MonitorsTask {
    /// Who wishes.
    pub client: ClientId,
    /// What it wishes for.
    pub monitors: ClientMonitors,
    /// The agent that the client believes to speak to.
    pub agent: DeviceId,
    /// The message as the agent takes it.
    pub chunks: Vec<u8>,
}

/// Work for the host's main loop.
#[derive(Debug)]
pub enum HostTask {
    /// Tell of a connection.
    Event(ChannelEvent, Arc<Connection>),
    /// A client's user did something; when the bytes came that say so.
    Input(Input, Instant),
    /// The inputs channel wants the LEDs.
    AskLeds,
    /// Tell the tablet its size.
    TabletSize(u32, u32),
    /// A client wishes for these monitors.
    Monitors(Box<MonitorsTask>),
    /// Something for a char device.
    Device(DeviceId, DeviceTask),
    /// Answer a migration call.
    Migration(MigrationEvent),
    /// The last client left and the host wants to end then.
    Exit,
}

impl HostTask {
    /// What probes call it.
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Event(..) => 0,
            Self::Input(..) => 1,
            Self::AskLeds => 2,
            Self::TabletSize(..) => 3,
            Self::Monitors(_) => 4,
            Self::Device(..) => 5,
            Self::Exit => 6,
            Self::Migration(_) => 7,
        }
    }

    /// True for callbacks in which hosts take their own lock unless they are on the main thread.
    fn needs_main_thread(&self) -> bool {
        matches!(self, Self::Event(..) | Self::Monitors(..) | Self::Migration(_) | Self::Exit)
    }
}

/// Bytes of clients that are put together for a device before it is offered them. Few, so that it has them early.
const FILL: usize = 64 * 1024;

/// Who is asking for the mailbox to be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The thread that called `spice_server_init`: everything may run.
    MainThread,
    /// Another thread of the host inside an API call: events stay queued.
    OtherThread,
}

impl Core {
    /// Runs what the mailbox holds now. Re-entrant: callbacks may call any API function.
    ///
    /// What arrives meanwhile waits for the next turn of the host's loop: a client that sends
    /// without end must not keep the host from its other work.
    pub fn run_host_tasks(&self, caller: Caller) {
        let Some(host) = self.host() else { return };
        if caller == Caller::MainThread {
            self.mailbox.acknowledge();
            let held = self.deferred_len() + self.mailbox.len();
            // The device whose bytes are put together; nothing else runs before it has been offered them.
            let mut filled: Option<(DeviceId, usize)> = None;
            for _ in 0..held {
                let Some(task) = self.take_deferred().or_else(|| self.mailbox.pop()) else { break };
                match (task, filled) {
                    (HostTask::Device(id, task), before) if task.is_bytes() => {
                        let mut bytes = 0;
                        match before {
                            Some((same, n)) if same == id => bytes = n,
                            Some((other, _)) => self.device_wakeup(other),
                            None => {}
                        }
                        bytes += self.queue_device_task(id, task);
                        filled = Some((id, bytes));
                        if bytes >= FILL {
                            filled = None;
                            self.device_wakeup(id);
                        }
                    }
                    (task, before) => {
                        filled = None;
                        if let Some((id, _)) = before {
                            self.device_wakeup(id);
                        }
                        self.run_host_task(&*host, task);
                    }
                }
            }
            if let Some((id, _)) = filled {
                self.device_wakeup(id);
            }
            if !self.mailbox.is_empty() {
                self.wake_host();
            }
        } else {
            for _ in 0..self.mailbox.len() {
                let Some(task) = self.mailbox.pop() else { break };
                if task.needs_main_thread() {
                    self.defer(task);
                } else {
                    self.run_host_task(&*host, task);
                }
            }
        }
        self.inputs_may_go_on();
    }

    /// Runs everything, also what the tasks themselves bring: nothing comes after.
    pub(super) fn run_last_host_tasks(&self) {
        while self.deferred_len() + self.mailbox.len() > 0 && self.is_initialised() {
            self.run_host_tasks(Caller::MainThread);
        }
    }

    fn run_host_task(&self, host: &dyn Host, task: HostTask) {
        probes::mailbox_run(task.number());
        match task {
            HostTask::Event(event, connection) => host.channel_event(event, &connection),
            HostTask::Input(input, heard) => {
                let kind = input.number();
                self.run_input(host, input);
                let took = heard.elapsed();
                self.stats.key_to_callback.record(took);
                probes::input_done(kind, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            }
            HostTask::AskLeds => {
                let leds = host.leds();
                self.session().tell_inputs(InputsOrder::InitialLeds(leds));
            }
            HostTask::TabletSize(width, height) => {
                let size = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
                host.tablet_size(size(width), size(height));
            }
            HostTask::Monitors(task) => self.run_monitors(host, *task),
            HostTask::Device(id, task) => self.run_device_task(id, task),
            HostTask::Migration(event) => host.migration(event),
            HostTask::Exit => std::process::exit(0),
        }
    }

    /// Gives a layout to the display devices, or to the agent if not all of them take it.
    fn run_monitors(&self, host: &dyn Host, task: MonitorsTask) {
        // Asked anew each time: a guest's driver comes and goes.
        let takes = host.takes_monitors();
        self.agent_rules.set_devices_take_monitors(takes);
        let for_agent = if takes {
            host.client_monitors(&task.monitors);
            DeviceTask::Agent(AgentTask::Taken(task.client))
        } else {
            DeviceTask::Data(task.client, task.chunks)
        };
        self.run_device_task(task.agent, for_agent);
    }

    /// The agent's device and the next mouse state for it, if it carries the mouse; `change` says what is new.
    fn agent_pointer(
        &self,
        change: impl FnOnce(&mut MouseState),
    ) -> Option<(DeviceId, MouseState)> {
        let mut session = self.session();
        let agent = session.agent.filter(|_| session.mouse.through_agent())?;
        change(&mut session.pointer);
        Some((agent, session.pointer))
    }

    /// Gives an input of client mode to the agent. False if it is not the agent's.
    fn run_agent_input(&self, input: &Input) -> bool {
        // Clients send -1 at an edge. Where a display ends the agent knows.
        let inside = |v: u32| if v > i32::MAX.unsigned_abs() { 0 } else { v };
        let next = match *input {
            Input::Position { x, y, buttons, display } => self.agent_pointer(|state| {
                let (x, y) = (inside(x), inside(y));
                *state = MouseState { x, y, buttons: agent_buttons(buttons), display };
            }),
            Input::Press { button, buttons } => self.agent_pointer(|state| {
                state.buttons = agent_buttons(buttons) | agent_wheel(button);
            }),
            Input::Release { buttons } => {
                self.agent_pointer(|state| state.buttons = agent_buttons(buttons))
            }
            Input::Scancodes(_) | Input::Motion { .. } => None,
        };
        let Some((agent, state)) = next else { return false };
        self.run_device_task(agent, DeviceTask::Agent(AgentTask::Mouse(state)));
        true
    }

    /// The mode that counts is the one at this moment: a client learns of a change only later.
    fn run_input(&self, host: &dyn Host, input: Input) {
        // Relaxed: written under the session's lock, read as a hint of the present.
        let mode = self.mouse_mode.load(Ordering::Relaxed);
        if mode == MOUSE_MODE_CLIENT && self.run_agent_input(&input) {
            return;
        }
        match (input, mode) {
            (Input::Scancodes(bytes), _) => bytes.into_iter().for_each(|b| host.key(b)),
            (Input::Motion { dx, dy, buttons }, MOUSE_MODE_SERVER) => {
                host.mouse_motion(dx, dy, 0, host_buttons(buttons));
            }
            (Input::Press { button, buttons }, MOUSE_MODE_SERVER) => {
                host.mouse_motion(0, 0, wheel_motion(button), host_buttons(buttons));
            }
            (Input::Release { buttons }, MOUSE_MODE_SERVER) => {
                host.mouse_buttons(host_buttons(buttons));
            }
            (Input::Position { x, y, buttons, .. }, MOUSE_MODE_CLIENT) => {
                let (width, height) = self.session().tablet_size();
                let clamp = |v: u32, n: u32| {
                    // Clients send -1 at an edge, which arrives as a huge number.
                    let v = if v > i32::MAX.unsigned_abs() { 0 } else { v };
                    i32::try_from(v.min(n.saturating_sub(1))).unwrap_or(i32::MAX)
                };
                host.tablet_position(clamp(x, width), clamp(y, height), host_buttons(buttons));
            }
            (Input::Press { button, buttons }, MOUSE_MODE_CLIENT) => {
                host.tablet_wheel(wheel_motion(button), host_buttons(buttons));
            }
            (Input::Release { buttons }, MOUSE_MODE_CLIENT) => {
                host.tablet_buttons(host_buttons(buttons));
            }
            // Movements of the other mode are on their way when a mode changes: ignored.
            _ => {}
        }
    }
}

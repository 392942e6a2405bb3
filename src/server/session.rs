//! The tables of a session: channels, clients, mouse. Guarded by one lock (see `Core`).
//!
//! The lock is held for look-ups and for handing out orders, never across a callback, a system
//! call that may wait, or a wait for another thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rand_core::{OsRng, RngCore};

use crate::channel::device::DeviceId;
use crate::channel::inputs::InputsOrder;
use crate::channel::main::{AgentOrder, MainOrder};
use crate::channel::{Attach, ClientId, Handle, Order};
use crate::display::encode::wan::LinkSpeed;
use crate::link::message::LinkCode;
use crate::link::ticket::{Connected, TicketPolicy};
use crate::protocol::agent::{DisplayAddress, MouseState};
use crate::protocol::caps::ChannelType;
use crate::transport::connection::{Connection, Identity};

use super::migration::Destinations;
use super::mouse::Mouse;
use super::settings::Settings;
use super::sound::{PlaybackLine, RecordLine};

/// A way to a channel's thread that hides what orders the channel understands.
pub trait Route: Send + Sync {
    /// Brings a client.
    fn attach(&self, attach: Attach);
    /// Ends a client's connections.
    fn drop_client(&self, client: ClientId);
    /// Has a client's channel hand over what it knows.
    fn hand_over(&self, client: ClientId);
    /// Says that the machine runs.
    fn machine_runs(&self);
    /// Has the thread take a turn.
    fn poke(&self);
    /// Ends the thread.
    fn stop(&self);
}

impl<T: Send> Route for Handle<T> {
    fn attach(&self, attach: Attach) {
        self.send(Order::Attach(Box::new(attach)));
    }

    fn drop_client(&self, client: ClientId) {
        self.send(Order::Drop(client));
    }

    fn hand_over(&self, client: ClientId) {
        self.send(Order::HandOver(client));
    }

    fn machine_runs(&self) {
        self.send(Order::MachineRuns);
    }

    fn poke(&self) {
        Self::poke(self);
    }

    fn stop(&self) {
        self.send(Order::Stop);
    }
}

/// Which hardware a QXL device's monitors belong to (`spice_qxl_set_device_info`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Where the hardware is, for example `pci/0000/02.0`; at most 255 bytes.
    pub address: Vec<u8>,
    /// Number of the first monitor on the hardware.
    pub first: u32,
    /// Monitors, at most 16.
    pub count: u32,
}

/// A channel that clients may link to.
pub struct Registered {
    /// Its type.
    pub channel_type: ChannelType,
    /// Its id.
    pub channel_id: u8,
    /// The way to it.
    pub route: Arc<dyn Route>,
}

/// Whether a client comes from another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Arriving {
    /// It does not, or has left that.
    #[default]
    No,
    /// Its channels wait at the door until it has left that.
    Waits,
    /// Its channels take over what that server knows.
    Inherits,
}

#[derive(Debug, Default)]
struct ClientEntry {
    /// Connections by their id, with what they are linked to.
    connections: BTreeMap<u64, (ChannelType, u8)>,
    /// What its channels know of its link.
    speed: Arc<LinkSpeed>,
    /// Told to go: no further channel attaches.
    leaving: bool,
    /// It comes from another server and has not left that.
    arriving: Arriving,
    /// It came from another server.
    moved: bool,
}

/// Where an authenticated connection goes.
pub enum Binding {
    /// To this channel, as this client.
    Attach(Arc<dyn Route>, ClientId),
    /// Accept the link and wait until [`Session::may_enter`] lets it in.
    Park(ClientId),
    /// The client has this channel already: accept the link, then close it.
    Duplicate(ClientId),
    /// Other clients have to leave first; ask again when one has.
    WaitForOthers,
    /// Refuse with this link error.
    Refuse(LinkCode),
}

/// The tables.
pub struct Session {
    /// What the host set.
    pub settings: Settings,
    /// Who may log in.
    pub ticket: TicketPolicy,
    /// Mouse modes.
    pub mouse: Mouse,
    /// Newest last.
    channels: Vec<Registered>,
    clients: BTreeMap<ClientId, ClientEntry>,
    main: Option<Handle<MainOrder>>,
    inputs: Option<Handle<InputsOrder>>,
    /// The playback interface.
    pub(super) playback: Option<Arc<PlaybackLine>>,
    /// The record interface.
    pub(super) record: Option<Arc<RecordLine>>,
    /// RAM of the QXL devices by id, for the main channel's hint.
    pub ram: BTreeMap<u8, u32>,
    /// True between `vm_start` and `vm_stop`.
    pub vm_running: bool,
    /// The device of the agent that is there.
    pub agent: Option<DeviceId>,
    /// The last mouse state for an agent: presses and releases say nothing of the position.
    pub pointer: MouseState,
    /// Which hardware the monitors of each QXL device belong to, as far as the host said.
    pub device_info: BTreeMap<u8, DeviceInfo>,
    /// Displays of streaming agents, and what these said of their hardware.
    pub(super) streams: BTreeSet<u8>,
    pub(super) stream_addresses: BTreeMap<u8, DisplayAddress>,
    /// Where clients are sent: set by `migrate_connect`, taken by `migrate_end`.
    pub(super) destination: Destinations,
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::default(),
            ticket: TicketPolicy::new(Instant::now()),
            mouse: Mouse::new(),
            channels: Vec::new(),
            clients: BTreeMap::new(),
            main: None,
            inputs: None,
            playback: None,
            record: None,
            ram: BTreeMap::new(),
            vm_running: false,
            agent: None,
            pointer: MouseState::default(),
            device_info: BTreeMap::new(),
            streams: BTreeSet::new(),
            stream_addresses: BTreeMap::new(),
            destination: Destinations::default(),
        }
    }

    /// Adds a channel; clients that had their list are told.
    pub fn register(&mut self, channel_type: ChannelType, channel_id: u8, route: Arc<dyn Route>) {
        self.channels.push(Registered { channel_type, channel_id, route });
        self.tell_main(MainOrder::NewChannel { channel_type, channel_id });
    }

    /// Takes a channel out; its thread still runs.
    pub fn take(&mut self, channel_type: ChannelType, channel_id: u8) -> Option<Registered> {
        let at = self
            .channels
            .iter()
            .position(|c| (c.channel_type, c.channel_id) == (channel_type, channel_id))?;
        let taken = self.channels.remove(at);
        self.tell_main(MainOrder::ChannelGone { channel_type, channel_id });
        Some(taken)
    }

    /// The smallest id that no channel of the type has.
    #[must_use]
    pub fn free_id(&self, channel_type: ChannelType) -> Option<u8> {
        (0..=u8::MAX).find(|id| self.find(channel_type, *id).is_none())
    }

    /// The smallest id that neither a display nor a cursor channel has.
    #[must_use]
    pub(super) fn free_display_id(&self) -> Option<u8> {
        let taken = |id| [ChannelType::DISPLAY, ChannelType::CURSOR].map(|t| self.find(t, id));
        (0..=u8::MAX).find(|id| taken(*id).iter().all(Option::is_none))
    }

    /// True for the display of a streaming agent.
    #[must_use]
    pub(super) fn is_stream(&self, channel_type: ChannelType, channel_id: u8) -> bool {
        channel_type == ChannelType::DISPLAY && self.streams.contains(&channel_id)
    }

    /// Keeps the typed ways to the two channels that the session itself talks to.
    pub fn set_base(&mut self, main: Handle<MainOrder>, inputs: Handle<InputsOrder>) {
        self.register(ChannelType::MAIN, 0, Arc::new(main.clone()));
        self.register(ChannelType::INPUTS, 0, Arc::new(inputs.clone()));
        (self.main, self.inputs) = (Some(main), Some(inputs));
        // Before any client.
        self.tell_main(AgentOrder::Present(self.agent));
        if self.vm_running {
            self.machine_runs();
        }
    }

    /// True once main and inputs run.
    #[must_use]
    pub fn has_base(&self) -> bool {
        self.main.is_some()
    }

    pub(super) fn tell_main(&self, order: impl Into<MainOrder>) {
        if let Some(main) = &self.main {
            main.send(Order::Do(order.into()));
        }
    }

    /// Tells main clients the mouse modes as they are now.
    pub(super) fn tell_mouse_modes(&self) {
        let (supported, current) = (self.mouse.supported(), self.mouse.mode());
        self.tell_main(MainOrder::MouseModes { supported, current });
    }

    /// All monitors whose hardware is known.
    #[must_use]
    pub fn display_addresses(&self) -> Vec<DisplayAddress> {
        // The newest device first, as the original has it.
        let displays =
            self.channels.iter().rev().filter(|c| c.channel_type == ChannelType::DISPLAY);
        let known =
            displays.filter_map(|c| Some((c.channel_id, self.device_info.get(&c.channel_id)?)));
        let monitors = known.filter(|(_, info)| !info.address.is_empty()).flat_map(|(id, info)| {
            (0..info.count).map(move |monitor| DisplayAddress {
                channel: u32::from(id),
                monitor,
                device_display: info.first.wrapping_add(monitor),
                address: info.address.clone(),
            })
        });
        monitors.chain(self.stream_addresses.values().cloned()).collect()
    }

    pub(super) fn tell_inputs(&self, order: InputsOrder) {
        if let Some(inputs) = &self.inputs {
            inputs.send(Order::Do(order));
        }
    }

    /// Has the channels of a type take a turn.
    pub(super) fn poke_channels(&self, channel_type: ChannelType) {
        let of_type = self.channels.iter().filter(|c| c.channel_type == channel_type);
        of_type.for_each(|c| c.route.poke());
    }

    pub(super) fn poke_inputs(&self) {
        if let Some(inputs) = &self.inputs {
            inputs.poke();
        }
    }

    /// Size that positions refer to.
    #[must_use]
    pub fn tablet_size(&self) -> (u32, u32) {
        self.mouse.size().unwrap_or((0, 0))
    }

    /// True if a link to this channel makes sense. Main exists whatever its id.
    #[must_use]
    pub fn channel_exists(&self, channel_type: ChannelType, channel_id: u8) -> bool {
        channel_type == ChannelType::MAIN || self.find(channel_type, channel_id).is_some()
    }

    fn find(&self, channel_type: ChannelType, channel_id: u8) -> Option<&Registered> {
        let id = if channel_type == ChannelType::MAIN { 0 } else { channel_id };
        self.channels.iter().find(|c| c.channel_type == channel_type && c.channel_id == id)
    }

    /// Every channel but main, newest first.
    #[must_use]
    pub fn channel_list(&self) -> Vec<(ChannelType, u8)> {
        let listed = self.channels.iter().rev().filter(|c| c.channel_type != ChannelType::MAIN);
        listed.map(|c| (c.channel_type, c.channel_id)).collect()
    }

    /// Decides where an authenticated link goes and enters it into the tables.
    pub fn bind(
        &mut self,
        connection: &Arc<Connection>,
        channel_type: ChannelType,
        channel_id: u8,
        wanted: ClientId,
    ) -> Binding {
        let Some(route) = self.find(channel_type, channel_id).map(|c| Arc::clone(&c.route)) else {
            return Binding::Refuse(LinkCode::ChannelNotAvailable);
        };
        let client = if channel_type == ChannelType::MAIN {
            if wanted != 0 && self.clients.get(&wanted).is_some_and(|entry| !entry.leaving) {
                return Binding::Refuse(LinkCode::BadConnectionId);
            }
            if !self.settings.multi_client && !self.clients.is_empty() {
                self.drop_all_clients();
                return Binding::WaitForOthers;
            }
            if wanted != 0 && self.clients.contains_key(&wanted) {
                return Binding::WaitForOthers;
            }
            // An id of its own choice has a client that comes from another server, which gave it that.
            if wanted == 0 { self.new_client_id() } else { wanted }
        } else {
            match self.clients.get(&wanted) {
                Some(entry) if !entry.leaving => wanted,
                _ => return Binding::Refuse(LinkCode::BadConnectionId),
            }
        };
        let entry = self.clients.entry(client).or_default();
        if channel_type == ChannelType::MAIN && wanted != 0 {
            (entry.arriving, entry.moved) = (Arriving::Waits, true);
        }
        // A new link for sound takes the place of the old one, which its channel closes.
        let replaces = matches!(channel_type, ChannelType::PLAYBACK | ChannelType::RECORD);
        let duplicate =
            !replaces && entry.connections.values().any(|c| *c == (channel_type, channel_id));
        entry.connections.insert(connection.id, (channel_type, channel_id));
        // Set once per connection: a connection is bound once.
        let identity = Identity { client, channel_type: channel_type.0, channel_id };
        let _ = connection.identity.set(identity);
        if duplicate {
            Binding::Duplicate(client)
        } else if entry.arriving == Arriving::Waits && channel_type != ChannelType::MAIN {
            Binding::Park(client)
        } else {
            Binding::Attach(route, client)
        }
    }

    /// True if a client comes from another server and has not left that.
    #[must_use]
    pub fn is_arriving(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|entry| entry.arriving != Arriving::No)
    }

    /// True if a client came from another server.
    #[must_use]
    pub fn has_moved(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|entry| entry.moved)
    }

    /// True if the channels of a client that comes from another server take over what that knows.
    #[must_use]
    pub fn inherits(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|entry| entry.arriving == Arriving::Inherits)
    }

    /// They are to do so.
    pub fn set_inherits(&mut self, client: ClientId) {
        if let Some(entry) = self.clients.get_mut(&client).filter(|e| e.arriving != Arriving::No) {
            entry.arriving = Arriving::Inherits;
        }
    }

    /// Has all channels of a client but main hand over what they know to another server.
    pub(super) fn hand_over(&self, client: ClientId) {
        let others = self.channels.iter().filter(|c| c.channel_type != ChannelType::MAIN);
        others.for_each(|c| c.route.hand_over(client));
    }

    /// Says to the channels that the machine runs.
    pub(super) fn machine_runs(&self) {
        self.channels.iter().for_each(|c| c.route.machine_runs());
    }

    /// A client has left the server that it comes from.
    pub fn arrived(&mut self, client: ClientId) {
        if let Some(entry) = self.clients.get_mut(&client) {
            entry.arriving = Arriving::No;
        }
    }

    /// Whether a parked connection may go to its channel now, may not any more, or (`None`) has to wait on.
    #[must_use]
    pub fn may_enter(&self, connection: &Connection) -> Option<Result<Arc<dyn Route>, ClientId>> {
        let identity = connection.identity.get()?;
        let entry = self.clients.get(&identity.client);
        let channel = self.find(ChannelType(identity.channel_type), identity.channel_id);
        match (entry, channel) {
            (Some(entry), Some(_)) if entry.arriving == Arriving::Waits && !entry.leaving => None,
            (Some(entry), Some(channel)) if !entry.leaving => Some(Ok(Arc::clone(&channel.route))),
            _ => Some(Err(identity.client)),
        }
    }

    /// What is known of a client's link; nothing of one that is not here.
    #[must_use]
    pub fn speed_of(&self, client: ClientId) -> Arc<LinkSpeed> {
        self.clients.get(&client).map(|entry| Arc::clone(&entry.speed)).unwrap_or_default()
    }

    /// Random, because it is what ties a client's channels together; never 0, never in use.
    fn new_client_id(&self) -> ClientId {
        loop {
            let id = OsRng.next_u32();
            if id != 0 && !self.clients.contains_key(&id) {
                return id;
            }
        }
    }

    /// Tells every client to go; returns who that is.
    pub fn drop_all_clients(&mut self) -> Vec<ClientId> {
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        ids.iter().for_each(|id| self.drop_client(*id));
        ids
    }

    /// True if one of these clients is still here.
    #[must_use]
    pub fn has_any(&self, clients: &[ClientId]) -> bool {
        clients.iter().any(|id| self.clients.contains_key(id))
    }

    fn drop_client(&mut self, client: ClientId) {
        let Some(entry) = self.clients.get_mut(&client) else { return };
        if !std::mem::replace(&mut entry.leaving, true) {
            self.channels.iter().for_each(|c| c.route.drop_client(client));
        }
    }

    /// A connection ended. Returns true if its client is gone with it.
    pub fn closed(&mut self, connection: &Connection, client: ClientId) -> bool {
        let Some(entry) = self.clients.get_mut(&client) else { return false };
        let was = entry.connections.remove(&connection.id);
        let rest_is_main = entry.connections.values().all(|(t, _)| *t == ChannelType::MAIN);
        if was.is_some_and(|(t, _)| t == ChannelType::MAIN) {
            self.drop_client(client);
        } else if was.is_some() && rest_is_main {
            self.tell_main(MainOrder::OnlyMainLeft(client));
        }
        let gone = self.clients.get(&client).is_some_and(|e| e.connections.is_empty() && e.leaving);
        if gone {
            self.clients.remove(&client);
        }
        gone
    }

    /// Clients with a session.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Who is here, for `set_ticket`.
    #[must_use]
    pub fn connected(&self) -> Connected {
        let linked = |e: &ClientEntry| e.connections.values().any(|c| c.0 == ChannelType::MAIN);
        Connected { main: self.clients.values().any(linked), any: !self.clients.is_empty() }
    }

    /// Takes all channels out, for the end of the server.
    pub(super) fn take_channels(&mut self) -> Vec<Registered> {
        (self.main, self.inputs) = (None, None);
        (self.playback, self.record) = (None, None);
        std::mem::take(&mut self.channels)
    }
}

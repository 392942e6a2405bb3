//! The cursor channel (thread `spice-cursor-N`): pointer shape and position.
//!
//! The state is small: one shape, one position, one visibility. A client that does not read gets,
//! once it does, only what is true then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::protocol::caps::ChannelType;
use crate::protocol::cursor::{self as wire, ShapeHeader, WireCursor};
use crate::protocol::geometry::Point16;
use crate::protocol::message::{Bulk, Message};
use crate::qxl::model::{CursorCommand, CursorShape};
use crate::transport::reactor::Key;

use super::clients::{Client, Clients};

mod shape;

/// Shapes that a client keeps.
const CACHE_SIZE: usize = 256;
/// Commands that may wait for one client before they are folded into one state.
const PENDING_LIMIT: usize = 32;
/// Mouse mode in which the client draws its own pointer.
const CLIENT_MOUSE: u16 = 2;

/// What the cursor channel is told, by its display's thread.
#[derive(Debug)]
pub enum CursorOrder {
    /// A command of the guest, already copied out of its memory.
    Command(CursorCommand),
    /// The primary surface was made: clients get INIT.
    Init,
    /// Back to the start: no shape, visible, at 0,0.
    Reset,
    /// The machine runs.
    Runs,
}

/// What is still to be told to one client.
#[derive(Debug, Default)]
struct Peer {
    pending: VecDeque<Pending>,
    /// Ids the client has, least recently used first. In step with the messages sent.
    cache: Vec<u64>,
    /// It comes from another server with its pointer, and the machine has not run here: the pointer is as there, whatever
    /// the host tells of it meanwhile.
    inherits: bool,
}

#[derive(Debug, Clone)]
enum Pending {
    Init,
    Reset,
    Set { position: Point16, shape: Arc<CursorShape> },
    Move(Point16),
    Hide,
    Trail { length: u16, frequency: u16 },
}

/// State of the channel.
pub struct Cursor {
    shape: Option<Arc<CursorShape>>,
    visible: bool,
    position: Point16,
    trail: (u16, u16),
    /// The session's mouse mode, 1 server, 2 client.
    mouse_mode: Arc<AtomicU16>,
    peers: BTreeMap<Key, Peer>,
    runs: bool,
}

impl Cursor {
    /// A channel without shape and clients; `mouse_mode` is kept by the session.
    #[must_use]
    pub fn new(mouse_mode: Arc<AtomicU16>) -> Self {
        Self {
            shape: None,
            visible: true,
            position: Point16::default(),
            trail: (0, 0),
            mouse_mode,
            peers: BTreeMap::new(),
            runs: false,
        }
    }

    fn command(&mut self, command: CursorCommand) -> Option<Pending> {
        match command {
            CursorCommand::Set { position, visible, shape } => {
                let shape = shape::for_clients(shape);
                self.visible = visible;
                self.position = position;
                self.shape = Some(Arc::clone(&shape));
                Some(Pending::Set { position, shape })
            }
            CursorCommand::Move(position) => {
                let was_visible = std::mem::replace(&mut self.visible, true);
                self.position = position;
                // Relaxed: a mode change takes effect with the next movement.
                let client_draws = self.mouse_mode.load(Ordering::Relaxed) == CLIENT_MOUSE;
                (!(client_draws && was_visible)).then_some(Pending::Move(position))
            }
            CursorCommand::Hide => {
                self.visible = false;
                Some(Pending::Hide)
            }
            CursorCommand::Trail { length, frequency } => {
                self.trail = (length, frequency);
                Some(Pending::Trail { length, frequency })
            }
        }
    }

    fn queue(&mut self, clients: &mut Clients, item: &Pending) {
        let keys: Vec<Key> = self.peers.keys().copied().collect();
        for key in keys {
            match self.peers.get(&key) {
                Some(peer) if !peer.inherits => {
                    self.queue_for(key, item.clone());
                    self.pump(clients, key);
                }
                // Its shapes are those of the other server, which this one does not know.
                Some(_) if matches!(item, Pending::Reset) => clients.send(key, wire::inval_all()),
                _ => {}
            }
        }
    }

    fn queue_for(&mut self, key: Key, item: Pending) {
        let folded = self.folded();
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if matches!((peer.pending.back(), &item), (Some(Pending::Move(_)), Pending::Move(_))) {
            peer.pending.pop_back();
        }
        peer.pending.push_back(item);
        if peer.pending.len() > PENDING_LIMIT {
            // Resets and INITs keep their place in what the client goes through; everything else
            // is worth only its outcome.
            let reset = peer.pending.iter().any(|p| matches!(p, Pending::Reset));
            let init = peer.pending.iter().any(|p| matches!(p, Pending::Init));
            let last_is_reset = peer
                .pending
                .iter()
                .rfind(|p| matches!(p, Pending::Reset | Pending::Init))
                .is_some_and(|p| matches!(p, Pending::Reset));
            peer.pending.clear();
            if reset {
                peer.pending.push_back(Pending::Reset);
            }
            if init && !last_is_reset {
                peer.pending.push_back(Pending::Init);
            } else if !last_is_reset {
                peer.pending.extend(folded);
            }
        }
    }

    /// The commands that lead to the present state.
    fn folded(&self) -> Vec<Pending> {
        let mut items = Vec::new();
        if let Some(shape) = &self.shape {
            items.push(Pending::Set { position: self.position, shape: Arc::clone(shape) });
        }
        items.push(if self.visible { Pending::Move(self.position) } else { Pending::Hide });
        items
    }

    /// Sends what waits while the client has room.
    fn pump(&mut self, clients: &mut Clients, key: Key) {
        while clients.has_room(key) {
            let Some(item) = self.peers.get_mut(&key).and_then(|p| p.pending.pop_front()) else {
                return;
            };
            for message in self.messages(key, &item) {
                clients.send(key, message);
            }
        }
    }

    fn messages(&mut self, key: Key, item: &Pending) -> Vec<Message> {
        let Some(peer) = self.peers.get_mut(&key) else { return Vec::new() };
        match item {
            Pending::Init => {
                // Clients empty their cache when they get INIT.
                peer.cache.clear();
                let shape = self.shape.clone();
                let (cursor, evicted) = peer.wire_cursor(shape.as_deref());
                let mut out = vec![wire::init(
                    self.position,
                    self.trail.0,
                    self.trail.1,
                    self.visible,
                    &cursor,
                )];
                out.extend(evicted.map(wire::inval_one));
                out
            }
            Pending::Reset => {
                peer.cache.clear();
                vec![wire::inval_all(), wire::reset()]
            }
            Pending::Set { position, shape } => {
                let (cursor, evicted) = peer.wire_cursor(Some(shape));
                let mut out = vec![wire::set(*position, self.visible, &cursor)];
                out.extend(evicted.map(wire::inval_one));
                if !self.visible {
                    // Stock clients ignore the flag in SET and would show the pointer.
                    out.push(wire::hide());
                }
                out
            }
            Pending::Move(position) => vec![wire::move_to(*position)],
            Pending::Hide => vec![wire::hide()],
            Pending::Trail { length, frequency } => vec![wire::trail(*length, *frequency)],
        }
    }
}

impl Peer {
    /// The wire form of a shape by what the client has cached, and the id that had to go for it.
    fn wire_cursor(&mut self, shape: Option<&CursorShape>) -> (WireCursor, Option<u64>) {
        let Some(shape) = shape else { return (WireCursor::None, None) };
        let header = ShapeHeader {
            unique: shape.unique,
            kind: shape.kind,
            width: shape.width,
            height: shape.height,
            hot_spot_x: shape.hot_x,
            hot_spot_y: shape.hot_y,
        };
        let data = Bulk::whole(Arc::new(shape.data.clone()));
        if shape.unique == 0 {
            return (WireCursor::Full { header, cache_me: false, data }, None);
        }
        if let Some(at) = self.cache.iter().position(|id| *id == shape.unique) {
            let id = self.cache.remove(at);
            self.cache.push(id);
            return (WireCursor::FromCache(header), None);
        }
        self.cache.push(shape.unique);
        let evicted = (self.cache.len() > CACHE_SIZE).then(|| self.cache.remove(0));
        (WireCursor::Full { header, cache_me: true, data }, evicted)
    }
}

impl super::engine::Channel for Cursor {
    type Order = CursorOrder;
    const TYPE: ChannelType = ChannelType::CURSOR;
    const USES_ACKS: bool = true;

    fn attached(&mut self, clients: &mut Clients, key: Key) {
        let comes_along = clients.get(key).is_some_and(|client| client.inherits);
        let inherits = comes_along && !self.runs;
        self.peers.insert(key, Peer { inherits, ..Peer::default() });
        if inherits {
            return;
        }
        if comes_along {
            // It has had its INIT, and stock clients take no second one without this.
            self.queue_for(key, Pending::Reset);
        }
        self.queue_for(key, Pending::Init);
        self.pump(clients, key);
    }

    fn hand_over(&mut self, clients: &mut Clients, key: Key) {
        // Few, whatever the client has room for.
        while let Some(item) = self.peers.get_mut(&key).and_then(|p| p.pending.pop_front()) {
            for message in self.messages(key, &item) {
                clients.send(key, message);
            }
        }
        // The other server does not know which shapes it has.
        clients.send(key, wire::inval_all());
        clients.leave(key, false);
    }

    fn request(
        &mut self,
        _clients: &mut Clients,
        _key: Key,
        kind: u16,
        _body: &[u8],
    ) -> Result<(), String> {
        Err(format!("unknown message {kind} on the cursor channel"))
    }

    fn order(&mut self, clients: &mut Clients, order: CursorOrder) {
        match order {
            CursorOrder::Command(command) => {
                if let Some(item) = self.command(command) {
                    self.queue(clients, &item);
                }
            }
            CursorOrder::Init => self.queue(clients, &Pending::Init),
            CursorOrder::Runs => {
                self.runs = true;
                self.peers.values_mut().for_each(|peer| peer.inherits = false);
            }
            CursorOrder::Reset => {
                self.shape = None;
                self.visible = true;
                self.position = Point16::default();
                self.trail = (0, 0);
                self.queue(clients, &Pending::Reset);
            }
        }
    }

    fn room(&mut self, clients: &mut Clients, key: Key) {
        self.pump(clients, key);
    }

    fn left(&mut self, _clients: &mut Clients, key: Key, _client: &Client) {
        self.peers.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::cursor::server;
    use crate::transport::mio_reactor::MioReactor;
    use crate::transport::reactor::Reactor;
    use crate::transport::stream::Stream;

    fn shape(unique: u64) -> Arc<CursorShape> {
        let (width, height) = (1, 1);
        let data = vec![1, 2, 3, 4];
        Arc::new(CursorShape { unique, kind: 0, width, height, hot_x: 0, hot_y: 0, data })
    }

    fn set(unique: u64, visible: bool) -> CursorCommand {
        CursorCommand::Set { position: Point16 { x: 5, y: 6 }, visible, shape: shape(unique) }
    }

    /// A channel with one client that is told nothing yet, and the client's key.
    fn channel(mode: u16) -> (Cursor, Key) {
        let mut reactor = MioReactor::new().unwrap();
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let key = reactor.insert(Stream::adopt(a.into()).unwrap(), Vec::new()).unwrap();
        let mut cursor = Cursor::new(Arc::new(AtomicU16::new(mode)));
        cursor.peers.insert(key, Peer::default());
        (cursor, key)
    }

    fn run(cursor: &mut Cursor, key: Key, commands: &[CursorCommand]) -> Vec<Message> {
        for command in commands {
            if let Some(item) = cursor.command(command.clone()) {
                cursor.queue_for(key, item);
            }
        }
        let mut out = Vec::new();
        while let Some(item) = cursor.peers.get_mut(&key).unwrap().pending.pop_front() {
            out.extend(cursor.messages(key, &item));
        }
        out
    }

    fn kinds(messages: &[Message]) -> Vec<u16> {
        messages.iter().map(|m| m.kind).collect()
    }

    #[test]
    fn movements_of_a_visible_pointer_are_not_sent_in_client_mode() {
        let at = |x| CursorCommand::Move(Point16 { x, y: 0 });
        for (mode, first) in [(1, vec![server::MOVE]), (2, vec![])] {
            let (mut cursor, key) = channel(mode);
            assert_eq!(kinds(&run(&mut cursor, key, &[at(1)])), first, "mode {mode}");
            // Hidden, a movement shows it again: sent in both modes.
            let shown = run(&mut cursor, key, &[CursorCommand::Hide, at(2)]);
            assert_eq!(kinds(&shown), [server::HIDE, server::MOVE], "mode {mode}");
            assert!(cursor.visible);
        }
    }

    #[test]
    fn consecutive_movements_become_the_last_one() {
        let (mut cursor, key) = channel(1);
        let moves: Vec<_> = (0..10).map(|x| CursorCommand::Move(Point16 { x, y: 0 })).collect();
        let sent = run(&mut cursor, key, &moves);
        assert_eq!(kinds(&sent), [server::MOVE]);
        assert_eq!(sent[0].body, [9, 0, 0, 0]);
    }

    #[test]
    fn an_invisible_shape_is_followed_by_a_hide_for_clients_that_ignore_the_flag() {
        let (mut cursor, key) = channel(1);
        assert_eq!(kinds(&run(&mut cursor, key, &[set(7, false)])), [server::SET, server::HIDE]);
    }

    #[test]
    fn shapes_come_from_the_cache_until_the_least_recently_used_one_has_to_go() {
        const FROM_CACHE: u8 = 4;
        let flags = |m: &Message| m.body[5];
        let (mut cursor, key) = channel(1);
        for unique in 1..=256 {
            assert_eq!(kinds(&run(&mut cursor, key, &[set(unique, true)])), [server::SET]);
        }
        let again = run(&mut cursor, key, &[set(1, true)]);
        assert_eq!(flags(&again[0]), FROM_CACHE);
        let one_more = run(&mut cursor, key, &[set(257, true)]);
        assert_eq!(kinds(&one_more), [server::SET, server::INVAL_ONE]);
        assert_eq!(one_more[1].body, 2u64.to_le_bytes(), "1 was used since, 2 was not");
        let evicted = run(&mut cursor, key, &[set(2, true)]);
        assert_ne!(flags(&evicted[0]), FROM_CACHE);
        assert_eq!(evicted[1].body, 3u64.to_le_bytes());
        let third = run(&mut cursor, key, &[set(258, true)]);
        assert_eq!(
            kinds(&third),
            [server::SET, server::INVAL_ONE],
            "one in, one out, right behind"
        );
        assert_eq!(third[1].body, 4u64.to_le_bytes());
        // Clients empty their cache at INIT, which brings the present shape, and at INVAL_ALL.
        for clears in [Pending::Init, Pending::Reset] {
            let known = run(&mut cursor, key, &[set(257, true), set(258, true)]);
            assert!(known.iter().all(|m| flags(m) == FROM_CACHE), "before {clears:?}");
            cursor.queue_for(key, clears.clone());
            run(&mut cursor, key, &[]);
            let again = run(&mut cursor, key, &[set(257, true), set(258, true)]);
            assert_ne!(flags(&again[0]), FROM_CACHE, "after {clears:?}");
            let brought = matches!(clears, Pending::Init);
            assert_eq!(flags(&again[1]) == FROM_CACHE, brought, "after {clears:?}");
        }
        let uncached = run(&mut cursor, key, &[set(0, true), set(0, true)]);
        assert!(uncached.iter().all(|m| flags(m) == 0), "unique 0 is never cached");
    }

    #[test]
    fn a_client_that_does_not_read_is_owed_no_more_than_the_present_state() {
        let (mut cursor, key) = channel(1);
        for n in 0..10_000 {
            for command in [set(n, true), CursorCommand::Hide] {
                let item = cursor.command(command).unwrap();
                cursor.queue_for(key, item);
                assert!(cursor.peers[&key].pending.len() <= PENDING_LIMIT);
            }
        }
        let owed = run(&mut cursor, key, &[]);
        assert_eq!(owed.last().map(|m| m.kind), Some(server::HIDE));
    }

    #[test]
    fn folding_keeps_reset_before_init() {
        let (mut cursor, key) = channel(1);
        cursor.queue_for(key, Pending::Reset);
        cursor.queue_for(key, Pending::Init);
        for n in 0..100 {
            let item = cursor.command(set(n, true)).unwrap();
            cursor.queue_for(key, item);
        }
        let sent = kinds(&run(&mut cursor, key, &[]));
        let reset = sent.iter().position(|k| *k == server::RESET).unwrap();
        let init = sent.iter().position(|k| *k == server::INIT).unwrap();
        assert!(reset < init, "{sent:?}");
        assert!(!sent[..init].contains(&server::SET), "commands before INIT are lost: {sent:?}");
    }
}

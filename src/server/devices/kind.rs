//! What one kind of char device does with what it is told, and what it wants done.

use std::collections::VecDeque;
use std::fmt;

use crate::channel::ClientId;
use crate::channel::device::DeviceTask;

/// What one kind of char device (USB, smartcard, agent, …) does. Lives behind its [`super::device::Device`], which
/// calls it under a short lock on a thread of the host; so it must not wait, and it reaches the host only through
/// [`Todo`], which is carried out when the lock is free.
pub trait Kind: Send {
    /// Bytes that it takes from the device now, at most [`super::device::READ_MAX`]; 0: none.
    fn wants(&mut self) -> usize;

    /// The device gave these, at least one and at most as many as were wanted.
    fn read(&mut self, bytes: &[u8], todo: &mut Todo);

    /// As [`Kind::read`], for kinds that keep what was read: `buffer` may be left as any other one.
    fn read_buffer(&mut self, buffer: &mut Vec<u8>, len: usize, todo: &mut Todo) {
        self.read(buffer.get(..len).unwrap_or_default(), todo);
    }

    /// A write of `bytes` bytes for this owner has ended: the device has taken it all, or it was dropped.
    fn written(&mut self, owner: Owner, bytes: usize, todo: &mut Todo);

    /// As [`Kind::written`], with the buffer, for kinds that use it again.
    fn written_buffer(&mut self, owner: Owner, buffer: Vec<u8>, todo: &mut Todo) {
        self.written(owner, buffer.len(), todo);
    }

    /// Something came through the mailbox.
    fn task(&mut self, task: DeviceTask, todo: &mut Todo);

    /// What waited for the device goes to another server; [`Kind::written`] follows for each write of it.
    fn handing_over(&mut self, _bytes: Vec<u8>, _todo: &mut Todo) {}

    /// True if what waits may be offered to the device in one call: to it, it is one stream.
    fn joins_writes(&self) -> bool {
        false
    }

    /// The host told of a port event.
    fn port_event(&mut self, _event: u8, _todo: &mut Todo) {}

    /// The device was added; still inside the API call.
    fn added(&mut self, _todo: &mut Todo) {}

    /// The device is about to go: of `todo` only states are carried out any more. Still inside the API call.
    fn removed(&mut self, _todo: &mut Todo) {}
}

/// On whose behalf something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The server itself.
    Server,
    /// A client.
    Client(ClientId),
}

/// One thing to do with the device.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Write(Owner, Vec<u8>),
    /// From this byte on.
    WriteFrom(Owner, Vec<u8>, usize),
    Read,
    State(bool),
    Event(u8),
    Discard(Owner),
    DiscardAll,
    HandOver,
}

/// What a kind wants done, carried out in this order.
#[derive(Default)]
pub struct Todo {
    actions: VecDeque<Action>,
}

impl Todo {
    /// Queues bytes for the device behind those that wait; [`Kind::written`] follows.
    pub fn write(&mut self, owner: Owner, bytes: Vec<u8>) {
        self.actions.push_back(Action::Write(owner, bytes));
    }

    /// As [`Todo::write`], without the first `from` bytes; they count for [`Kind::written`].
    pub fn write_from(&mut self, owner: Owner, bytes: Vec<u8>, from: usize) {
        self.actions.push_back(Action::WriteFrom(owner, bytes, from));
    }

    /// Moves bytes both ways now, before what follows is done. What waits is written in any case at the end.
    pub fn read(&mut self) {
        self.actions.push_back(Action::Read);
    }

    /// Calls the host's `state`.
    pub fn state(&mut self, connected: bool) {
        self.actions.push_back(Action::State(connected));
    }

    /// Calls the host's `event`.
    pub fn event(&mut self, event: u8) {
        self.actions.push_back(Action::Event(event));
    }

    /// Drops what waits for the device on this owner's behalf, but for what the device has taken a part of.
    pub fn discard(&mut self, owner: Owner) {
        self.actions.push_back(Action::Discard(owner));
    }

    /// Drops everything that waits for the device.
    pub fn discard_all(&mut self) {
        self.actions.push_back(Action::DiscardAll);
    }

    /// Takes out everything that waits for the device, for another server: [`Kind::handing_over`].
    pub fn hand_over(&mut self) {
        self.actions.push_back(Action::HandOver);
    }

    /// True if nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

impl fmt::Debug for Todo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only how much: what is to be written is a user's.
        write!(f, "Todo({})", self.actions.len())
    }
}

//! Cayenne: a SPICE server behind the C interface of `libspice-server.so.1`.
//!
//! The rooms, in the order a frame travels:
//!
//! - [`abi`]: the C edge; every exported function, the host's callback tables.
//! - [`server`]: the session: settings, clients, tickets, mouse mode.
//! - [`link`]: the handshake, as a state machine without I/O.
//! - [`transport`]: listeners, sockets, reactor, outbox.
//! - [`channel`]: one thread per channel, its clients and their queues.
//! - [`qxl`]: guest memory and commands.
//! - [`display`]: surfaces, regions, canvas; what a client has to be told.
//! - [`pool`]: where images are encoded and decoded, by
//! - [`codec`]: QUIC and LZ, bytes in and bytes out.
//! - [`video`]: which pictures are frames of a film, how they are encoded and how many of them a link carries.
//! - [`sound`]: Opus, and what stands between the host's sound and the sound channels.
//!
//! Below all of them, knowing none of them: [`protocol`], [`sys`], [`sync`], [`observe`].
//! `docs/architecture.md` has the directions of use; `tests/architecture.rs` holds them.

pub mod abi;
pub mod channel;
pub mod codec;
pub mod display;
pub mod link;
pub mod observe;
pub mod pool;
pub mod protocol;
pub mod qxl;
pub mod server;
pub mod sound;
pub mod sync;
pub mod sys;
pub mod transport;
pub mod video;

//! A connected socket of any family: TCP, unix, or handed over by the host.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrAny,
    getpeername, getsockname, sockopt,
};

use super::layer::Layers;
use super::outbox::Outbox;
use crate::observe::probes;
use crate::protocol::message::Descriptors;
use crate::sys::tcp::{held_up_by_receiver, limit_unsent};

/// Seconds of silence before TCP keepalive probes start (spec 02 §1).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(600);

/// A connected, non-blocking stream socket. Closed when dropped.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    local: Option<SocketAddrAny>,
    peer: Option<SocketAddrAny>,
    layers: Layers,
}

impl Stream {
    /// Takes over a connected socket and sets its options.
    ///
    /// # Errors
    /// Hands the descriptor back if it cannot be made non-blocking, or if it is a TCP socket that
    /// refuses TCP_NODELAY. Options that the family does not know are ignored.
    pub fn adopt(fd: OwnedFd) -> Result<Self, (OwnedFd, io::Error)> {
        if let Err(e) = rustix::io::ioctl_fionbio(&fd, true) {
            return Err((fd, e.into()));
        }
        if let Err(e) = sockopt::set_tcp_nodelay(&fd, true) {
            use rustix::io::Errno;
            if ![Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOPROTOOPT].contains(&e) {
                return Err((fd, e.into()));
            }
        }
        let local = getsockname(&fd).ok();
        let peer = getpeername(&fd).ok().flatten();
        let stream = Self { fd, local, peer, layers: Layers::default() };
        if stream.is_tcp() {
            // Keepalive is a convenience; a socket without it still works.
            let _ = sockopt::set_socket_keepalive(&stream.fd, true);
            let _ = sockopt::set_tcp_keepidle(&stream.fd, KEEPALIVE_IDLE);
        }
        let _ = rustix::io::fcntl_setfd(&stream.fd, rustix::io::FdFlags::CLOEXEC);
        Ok(stream)
    }

    /// True for IPv4 and IPv6.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.local.as_ref().is_some_and(|a| {
            matches!(a.address_family(), AddressFamily::INET | AddressFamily::INET6)
        })
    }

    /// True if descriptors can be sent along: a unix socket whose bytes are the connection's.
    #[must_use]
    pub fn passes_descriptors(&self) -> bool {
        self.layers.is_empty()
            && self.local.as_ref().is_some_and(|a| a.address_family() == AddressFamily::UNIX)
    }

    /// How long in all the peer, by not reading, has held up what was to be sent; `None` if nobody knows.
    #[must_use]
    pub fn held_up(&self) -> Option<Duration> {
        held_up_by_receiver(self.fd.as_fd())
    }

    /// Bounds what the kernel keeps in its own queue: bytes that it has not sent yet (TCP), or that the peer has not read
    /// (unix), with its overhead. What does not fit waits with us, where it can still be dropped.
    pub fn limit_backlog(&self, bytes: usize) {
        let limited = if self.is_tcp() {
            limit_unsent(self.fd.as_fd(), bytes)
        } else {
            sockopt::set_socket_send_buffer_size(&self.fd, bytes).map_err(Into::into)
        };
        if let Err(error) = limited {
            tracing::debug!(%error, "the kernel's queue of a socket cannot be bounded");
        }
    }

    /// Our address, if the kernel knows one.
    #[must_use]
    pub fn local(&self) -> Option<&SocketAddrAny> {
        self.local.as_ref()
    }

    /// The peer's address, if the kernel knows one.
    #[must_use]
    pub fn peer(&self) -> Option<&SocketAddrAny> {
        self.peer.as_ref()
    }

    /// What lies between the socket and the connection's bytes.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The same, to be driven.
    pub fn layers_mut(&mut self) -> &mut Layers {
        &mut self.layers
    }

    /// Reads what is there, as the socket has it.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there. `Ok(0)` means the peer closed.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, n) = rustix::net::recv(&self.fd, buffer, RecvFlags::empty())?;
        Ok(n)
    }

    /// Closes the sending side of the socket. The last words of layers have to be sent before.
    pub fn finish_sending(&self) {
        // Fails if the peer is gone already, which is as good.
        let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Write);
    }

    /// Gives the socket what waits in `outbox`, through the layers, as much as it takes in one call. `Ok((0, _))`: layers
    /// have nothing for it yet. Otherwise the bytes that it took, and whether they are all that it was offered. Never
    /// raises SIGPIPE: the host owns its signals.
    ///
    /// # Errors
    /// `WouldBlock` if the socket takes nothing now; errors of layers.
    pub fn send(&mut self, outbox: &mut Outbox) -> io::Result<(usize, bool)> {
        self.send_at_most(outbox, usize::MAX)
    }

    /// As [`Stream::send`], of so many bytes at most.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub fn send_at_most(&mut self, outbox: &mut Outbox, most: usize) -> io::Result<(usize, bool)> {
        let fd = &self.fd;
        let passing = outbox.descriptors().filter(|_| self.layers.is_empty()).cloned();
        let mut offered = 0;
        let send = |slices: &[IoSlice<'_>]| {
            offered = slices.iter().map(|s| s.len()).sum();
            send(fd, slices, passing.as_ref())
        };
        let taken = if self.layers.is_empty() {
            outbox.drain_at_most(most, send)?
        } else {
            self.layers.wrap_at_most(outbox, most)?;
            match self.layers.wire().filter(|wire| !wire.is_empty()) {
                Some(wire) => wire.drain_at_most(most, send)?,
                None => 0,
            }
        };
        probes::socket_written(self.fd.as_raw_fd(), taken);
        Ok((taken, taken == offered))
    }
}

fn send(fd: &OwnedFd, slices: &[IoSlice<'_>], passing: Option<&Descriptors>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(Descriptors::MAX))];
    let list: Vec<BorrowedFd<'_>> = passing.into_iter().flat_map(Descriptors::iter).collect();
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !list.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&list)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(rustix::net::sendmsg(fd, slices, &mut control, SendFlags::NOSIGNAL)?)
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

//! Listening sockets: TCP, unix, abstract, and descriptors of the host.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};

/// Longest path of a unix socket, without the final NUL.
const MAX_UNIX_PATH: usize = 107;

/// Which addresses a name may resolve to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// IPv6 (dual-stack) or IPv4, whichever binds first.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Listens on a TCP port of an address; an empty address means any.
    ///
    /// # Errors
    /// The error of the last address that was tried.
    pub fn tcp(address: &str, port: u16, family: Family) -> io::Result<Self> {
        let mut candidates: Vec<SocketAddr> = if address.is_empty() {
            vec![
                (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
                (std::net::Ipv4Addr::UNSPECIFIED, port).into(),
            ]
        } else {
            (address, port).to_socket_addrs()?.collect()
        };
        candidates.retain(|a| match family {
            Family::Any => true,
            Family::V4 => a.is_ipv4(),
            Family::V6 => a.is_ipv6(),
        });
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of that family");
        for candidate in candidates {
            match Self::bind_tcp(candidate) {
                Ok(listener) => return Ok(listener),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = open(family)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if address.is_ipv6() {
            // A kernel without dual-stack sockets still serves IPv6.
            let _ = sockopt::set_ipv6_v6only(&fd, false);
        }
        bind(&fd, &address)?;
        listen(&fd, BACKLOG)?;
        Ok(Self { fd })
    }

    /// Listens on a unix socket; a leading `@` names an abstract one.
    ///
    /// An existing socket at the path is replaced, as hosts expect after a crash.
    ///
    /// # Errors
    /// If the path is empty, too long, or names something that is not a socket.
    pub fn unix(path: &str) -> io::Result<Self> {
        let invalid = |why: &'static str| io::Error::new(io::ErrorKind::InvalidInput, why);
        if path.is_empty() || path.len() > MAX_UNIX_PATH {
            return Err(invalid("path of a unix socket must have 1 to 107 bytes"));
        }
        let address = if let Some(name) = path.strip_prefix('@') {
            SocketAddrUnix::new_abstract_name(name.as_bytes())?
        } else {
            remove_stale_socket(Path::new(path))?;
            SocketAddrUnix::new(path)?
        };
        let fd = open(AddressFamily::UNIX)?;
        bind(&fd, &address)?;
        listen(&fd, BACKLOG)?;
        Ok(Self { fd })
    }

    /// Uses a listening socket of the host; the host keeps its own descriptor.
    ///
    /// # Errors
    /// If the descriptor cannot be duplicated or made non-blocking.
    pub fn borrowed(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd })
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// `WouldBlock` if none waits; descriptor exhaustion as the system reports it.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        Ok(accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
    }
}

/// The kernel cuts it to SOMAXCONN.
const BACKLOG: i32 = 4096;

fn open(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Unlinks what a previous server left, but never a file that is not a socket.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "path exists and is not a socket"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_a_socket_is_never_unlinked() {
        let dir = std::env::temp_dir().join(format!("cayenne-listener-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("precious");
        std::fs::write(&file, b"data").unwrap();
        assert!(Listener::unix(file.to_str().unwrap()).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
        let socket = dir.join("socket");
        drop(Listener::unix(socket.to_str().unwrap()).unwrap());
        assert!(Listener::unix(socket.to_str().unwrap()).is_ok(), "a stale socket is replaced");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_family_restricts_the_addresses() {
        assert!(Listener::tcp("127.0.0.1", 0, Family::V4).is_ok());
        assert!(Listener::tcp("127.0.0.1", 0, Family::V6).is_err());
    }
}

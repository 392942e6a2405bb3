//! What the kernel knows of a TCP connection.

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// How long, since the connection began, the peer's receive window held up what was to be sent: the peer's kernel had
/// taken all that it could, and its program did not read.
///
/// `None` if the socket is no TCP socket or the kernel is older than 4.10.
#[must_use]
pub fn held_up_by_receiver(socket: BorrowedFd<'_>) -> Option<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: `info` is writable memory of `len` bytes, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let end = offset_of!(libc::tcp_info, tcpi_rwnd_limited) + size_of::<u64>();
    if result != 0 || usize::try_from(len).ok()? < end {
        return None;
    }
    // SAFETY: every byte was zeroed or written by the kernel, and the structure is numbers only.
    let info = unsafe { info.assume_init() };
    Some(Duration::from_micros(info.tcpi_rwnd_limited))
}

/// Bounds the bytes that the kernel takes of a TCP socket before it has sent them. It may take one packet more; what the
/// peer has not acknowledged does not count, so that long ways are not slowed down.
///
/// # Errors
/// The system's, for example of a socket that is none of TCP.
pub fn limit_unsent(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the kernel reads `len` bytes of `value`, which has as many.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const value).cast(),
            len,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_that_does_not_read_holds_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _receiver = listener.accept().unwrap();
        assert_eq!(held_up_by_receiver(sender.as_fd()), Some(Duration::ZERO));
        sender.set_nonblocking(true).unwrap();
        let block = vec![0; 1 << 20];
        while sender.write(&block).is_ok() {}
        // The kernel counts from when it sees that the window is closed.
        let mut held = Duration::ZERO;
        for _ in 0..1000 {
            std::thread::sleep(Duration::from_millis(10));
            held = held_up_by_receiver(sender.as_fd()).unwrap();
            if held > Duration::ZERO {
                break;
            }
        }
        assert!(held > Duration::ZERO);
    }

    #[test]
    fn the_kernel_takes_little_more_than_it_may() {
        let taken = |limit: Option<usize>| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let _receiver = listener.accept().unwrap();
            if let Some(limit) = limit {
                limit_unsent(sender.as_fd(), limit).unwrap();
            }
            sender.set_nonblocking(true).unwrap();
            let (mut total, block) = (0, [0; 2000]);
            // The peer's kernel takes some when it gets round to it.
            for _ in 0..50 {
                while let Ok(sent) = sender.write(&block) {
                    total += sent;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            total
        };
        let (free, bounded) = (taken(None), taken(Some(8192)));
        assert!(bounded + 200_000 < free, "{bounded} instead of {free}");
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(limit_unsent(one.as_fd(), 1).is_err());
    }

    #[test]
    fn other_sockets_have_no_answer() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(held_up_by_receiver(one.as_fd()), None);
    }
}

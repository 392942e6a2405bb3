//! What the kernel knows of a TCP connection.

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
    fn other_sockets_have_no_answer() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(held_up_by_receiver(one.as_fd()), None);
    }
}

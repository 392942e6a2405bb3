//! Reading the pixels of a buffer that came as a descriptor: a dmabuf, or shared memory that stands for one.
//!
//! Whoever made the buffer may change its bytes at any moment and, if it is a file, cut it short. So bytes are copied into
//! private memory and nothing is decided on them; a file is read with pread(2), which fails where a mapping would raise
//! SIGBUS; only a dmabuf, whose size the kernel keeps, is mapped.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// `DMA_BUF_IOCTL_SYNC` of `linux/dma-buf.h`, and its flags.
const SYNC: libc::Ioctl = 0x4008_6200;
const SYNC_READ: u64 = 1;
const SYNC_START: u64 = 0;
const SYNC_END: u64 = 4;

/// A buffer that can be read. The mapping, if there is one, lives as long as this.
#[derive(Debug)]
pub struct Buffer {
    fd: OwnedFd,
    len: u64,
    mapping: Option<Mapping>,
}

/// A dmabuf in our address space, for reading.
#[derive(Debug)]
struct Mapping {
    start: *const u8,
    len: usize,
}

// SAFETY: the mapping belongs to the process and is only read.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `Buffer::new` with this length; nothing refers to it any more.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.len) };
    }
}

impl Buffer {
    /// Looks at a buffer, of which a descriptor of its own is kept.
    ///
    /// # Errors
    /// Of the system: it has no size, or cannot be mapped.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = fd.try_clone_to_owned()?;
        let stat = rustix::fs::fstat(&fd)?;
        let len = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            // Not by seeking: others may use the file's position.
            rustix::fs::FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
            // A dmabuf has no other size than this one.
            _ => rustix::fs::seek(&fd, rustix::fs::SeekFrom::End(0))?,
        };
        let mapping = if sync(&fd, SYNC_START | SYNC_READ).is_ok() {
            sync(&fd, SYNC_END | SYNC_READ)?;
            Some(map(&fd, len)?)
        } else {
            None
        };
        Ok(Self { fd, len, mapping })
    }

    /// Bytes that it had when it was looked at.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True for a dmabuf; other descriptors are files.
    #[must_use]
    pub fn is_dmabuf(&self) -> bool {
        self.mapping.is_some()
    }

    /// Reads rows of equal length into `rows`, one behind the other, from these places in the buffer. Between the beginning
    /// and the end of a read of a dmabuf the kernel keeps what it shows to the processor current; beginning may wait
    /// for what a device is drawing.
    ///
    /// # Errors
    /// A place beyond the end, also of a file that was cut since; what was read before stays read.
    pub fn read_rows(
        &self,
        places: impl Iterator<Item = u64>,
        row: usize,
        rows: &mut [u8],
    ) -> io::Result<()> {
        let targets = places.zip(rows.chunks_exact_mut(row.max(1)));
        let Some(mapping) = &self.mapping else {
            return targets.into_iter().try_for_each(|(at, row)| read_exactly(&self.fd, at, row));
        };
        sync(&self.fd, SYNC_START | SYNC_READ)?;
        let copied = targets.into_iter().try_for_each(|(at, row)| mapping.copy(at, row));
        sync(&self.fd, SYNC_END | SYNC_READ)?;
        copied
    }
}

impl Mapping {
    fn copy(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).ok();
        let inside = |at: &usize| at.checked_add(out.len()).is_some_and(|end| end <= self.len);
        let at = at.filter(inside).ok_or(io::ErrorKind::UnexpectedEof)?;
        // SAFETY: the bytes lie in the mapping, which a dmabuf cannot cut short; `out` is exclusively ours. That a device
        // may write meanwhile yields torn pixels and nothing else, as with guest memory (`qxl::guest`).
        unsafe { ptr::copy(self.start.wrapping_add(at), out.as_mut_ptr(), out.len()) };
        Ok(())
    }
}

/// Fills `out` from a place of a file.
fn read_exactly(fd: &OwnedFd, mut at: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match rustix::io::pread(fd, &mut *out, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                at += n as u64;
                out = out.get_mut(n..).unwrap_or_default();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Begins or ends an access by the processor. An error for what is no dmabuf.
fn sync(fd: &OwnedFd, flags: u64) -> io::Result<()> {
    loop {
        // SAFETY: the kernel reads one u64, and nothing else happens for descriptors that do not know the call.
        let done = unsafe { libc::ioctl(fd.as_raw_fd(), SYNC, &raw const flags) };
        match io::Error::last_os_error() {
            _ if done == 0 => return Ok(()),
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
}

fn map(fd: &OwnedFd, len: u64) -> io::Result<Mapping> {
    let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(io::ErrorKind::InvalidData)?;
    let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(Mapping { start: start.cast_const().cast(), len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    fn memfd(bytes: &[u8]) -> OwnedFd {
        let fd = rustix::fs::memfd_create("cayenne-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&fd, bytes).unwrap();
        fd
    }

    #[test]
    fn rows_are_read_from_their_places() {
        let fd = memfd(b"0123456789abcdef");
        let buffer = Buffer::new(fd.as_fd()).unwrap();
        assert_eq!((buffer.len(), buffer.is_dmabuf()), (16, false));
        let mut out = [0; 6];
        buffer.read_rows([8, 4, 0].into_iter(), 2, &mut out).unwrap();
        assert_eq!(&out, b"894501");
        assert!(buffer.read_rows([15].into_iter(), 2, &mut out[..2]).is_err());
        assert!(buffer.read_rows([u64::MAX].into_iter(), 2, &mut out[..2]).is_err());
    }

    #[test]
    fn a_file_that_is_cut_is_an_error_and_no_signal() {
        let fd = memfd(&[7; 8192]);
        let buffer = Buffer::new(fd.as_fd()).unwrap();
        let mut out = [0; 16];
        buffer.read_rows([8000].into_iter(), 16, &mut out).unwrap();
        File::from(fd).set_len(10).unwrap();
        let error = buffer.read_rows([8000].into_iter(), 16, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_has_no_size_is_refused() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Buffer::new(ours.as_fd()).is_err());
    }
}

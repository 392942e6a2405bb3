//! Which engine moves the bytes of this process's sockets.

use std::io;

use super::mio_reactor::MioReactor;
use super::reactor::Reactor;

/// A reactor for one thread.
///
/// # Errors
/// If the process has no descriptor left.
pub fn reactor() -> io::Result<Box<dyn Reactor>> {
    Ok(Box::new(MioReactor::new()?))
}

//! Recording QXL traffic into a file, for a developer who asks for it by the environment.
//!
//! Workers write, each on its own thread, before they parse; a lock keeps events whole.
//! Writing may wait for the disk: a recording is no state of normal service.
//! What is written is the guest's picture and may be secret; the file is made with the rights that
//! the process's umask leaves.
#![forbid(unsafe_code)]

mod structures;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::command::CommandExt;
use super::guest::GuestRange;
use super::memslot::MemSlots;
use super::replay::HEADER;
use crate::observe::RateLimit;
use crate::sys::clock::monotonic_ns;

/// The file to record into.
const FILE: &str = "SPICE_WORKER_RECORD_FILENAME";
/// A command line that the recording goes through.
const FILTER: &str = "SPICE_WORKER_RECORD_FILTER";

/// How often and after which time each a filter is asked whether it is done.
const FILTER_LOOKS: u32 = 200;
const FILTER_LOOK: Duration = Duration::from_millis(10);

static SKIPPED: RateLimit = RateLimit::new();

/// A recording that is being made, of all QXL devices of a server.
#[derive(Debug)]
pub struct Recorder {
    output: Mutex<Output>,
}

/// Shape of a primary surface as the host gave it (`QXLDevSurfaceCreate`).
#[derive(Debug, Clone, Copy)]
pub struct PrimaryShape {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from row to row.
    pub stride: i32,
    /// `SPICE_SURFACE_FMT_*`.
    pub format: u32,
    /// Unused, but in the file.
    pub position: u32,
    /// Not 0: the guest has a hardware pointer.
    pub mouse_mode: u32,
    /// `QXL_SURF_FLAG_*`.
    pub flags: u32,
    /// `QXL_SURF_TYPE_*`.
    pub kind: u32,
}

#[derive(Debug)]
struct Output {
    /// `None` after an error: half an event cannot be continued.
    sink: Option<Sink>,
    /// The first line was not written yet.
    header_due: bool,
    counter: u32,
}

#[derive(Debug)]
enum Sink {
    File(File),
    Filter(Child),
}

impl Recorder {
    /// A recorder if the environment names a file. Trouble is logged and means no recording.
    #[must_use]
    pub fn from_environment() -> Option<Arc<Self>> {
        let path = std::env::var_os(FILE).filter(|path| !path.is_empty())?;
        let filter = std::env::var_os(FILTER).filter(|filter| !filter.is_empty());
        match Self::create(&path, filter) {
            Ok(recorder) => {
                tracing::info!("recording QXL traffic into {}", path.display());
                Some(Arc::new(recorder))
            }
            Err(error) => {
                tracing::error!(%error, "no recording into {}", path.display());
                None
            }
        }
    }

    /// Truncates the file. With a filter, a shell runs it with the file as its output.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &OsStr, filter: Option<OsString>) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let mut header_due = true;
        let sink = match filter {
            Some(filter) => {
                let mut shell = Command::new("/bin/sh");
                let shell = shell.arg("-c").arg(filter).stdin(Stdio::piped()).stdout(file);
                Sink::Filter(shell.spawn()?)
            }
            None => {
                // A reader that has gone would mean SIGPIPE; only workers have it blocked.
                if file.metadata()?.is_file() {
                    file.write_all(format!("{HEADER}\n").as_bytes())?;
                    header_due = false;
                }
                Sink::File(file)
            }
        };
        Ok(Self { output: Mutex::new(Output { sink: Some(sink), header_due, counter: 0 }) })
    }

    /// A command that was popped from a ring. On the worker's thread.
    pub fn command(&self, slots: &MemSlots, command: &CommandExt) {
        match structures::command_text(slots, command) {
            Ok(body) => self.write(0, command.kind, &body),
            Err(reason) => {
                if SKIPPED.allow() {
                    tracing::warn!(%reason, "a command was left out of the recording");
                }
            }
        }
    }

    /// A request without a body, by its number. On the worker's thread.
    pub fn request(&self, number: u32) {
        self.write(1, number, &[]);
    }

    /// A primary surface that will be created, with all its memory. On the worker's thread.
    pub fn create_primary(&self, number: u32, shape: &PrimaryShape, memory: &GuestRange) {
        let PrimaryShape { width, height, stride, format, position, mouse_mode, flags, kind } =
            *shape;
        let (width, height, format) =
            (width.cast_signed(), height.cast_signed(), format.cast_signed());
        let (position, mouse_mode) = (position.cast_signed(), mouse_mode.cast_signed());
        let (flags, kind) = (flags.cast_signed(), kind.cast_signed());
        let mut body =
            format!("{width} {height} {stride} {format}\n{position} {mouse_mode} {flags} {kind}\n")
                .into_bytes();
        match structures::binary(&mut body, "data", Some(memory)) {
            Ok(()) => self.write(1, number, &body),
            Err(error) => tracing::warn!(%error, "a surface was left out of the recording"),
        }
    }

    fn write(&self, what: u32, kind: u32, body: &[u8]) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let output = &mut *output;
        let Some(sink) = &mut output.sink else { return };
        let header = if output.header_due { format!("{HEADER}\n") } else { String::new() };
        let (counter, time) = (output.counter, monotonic_ns());
        let head = format!("{header}event {counter} {what} {kind} {time}\n");
        let written = sink.write_all(head.as_bytes()).and_then(|()| sink.write_all(body));
        match written {
            Ok(()) => {
                output.header_due = false;
                output.counter = counter.wrapping_add(1);
            }
            Err(error) => {
                tracing::error!(%error, "the recording ends here");
                output.sink = None;
            }
        }
    }
}

impl Sink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Filter(child) => match &mut child.stdin {
                Some(stdin) => stdin.write_all(bytes),
                None => Ok(()),
            },
        }
    }
}

impl Drop for Sink {
    /// Lets a filter finish what it has, for two seconds at most.
    fn drop(&mut self) {
        let Self::Filter(child) = self else { return };
        drop(child.stdin.take());
        for _ in 0..FILTER_LOOKS {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(FILTER_LOOK);
        }
        tracing::warn!("the filter of the recording is not done yet; it goes on by itself");
    }
}

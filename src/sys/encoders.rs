//! `libcayenne-gst.so`: encoders of GStreamer, in a library of their own that is opened if it lies beside this one.
//!
//! Its place is the folder of the file that this code was loaded from and its name is fixed; no search path is asked.
//! Every call but [`plugin`] may take long: never on a channel's thread or the host's.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::{MaybeUninit, size_of};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use super::dynamic;

pub mod table;

use table::{Coded, ENTRY, Entry, LATE, OK, Picture, Setup, Table, VERSION};

/// Its name.
const NAME: &str = "libcayenne-gst.so";
/// Bytes of the longest frame that is believed.
const MOST_BYTES: usize = 64 << 20;

/// Takes what the library has to say: 1 error, 2 warning, 3 information.
pub type Log = fn(level: i32, text: &str);

static LOG: OnceLock<Log> = OnceLock::new();

/// The library's functions.
#[derive(Debug, Clone, Copy)]
pub struct Plugin(&'static Table);

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CoderError {
    /// It took too long.
    #[error("the encoder took too long")]
    Late,
    /// It broke.
    #[error("the encoder has failed")]
    Failed,
    /// What was given to it makes no sense.
    #[error("the picture is shorter than its size says")]
    Picture,
}

/// The library, opened at the first call and never closed.
///
/// # Errors
/// Why it cannot be had, for the log; the same for ever.
pub fn plugin() -> Result<Plugin, &'static str> {
    static PLUGIN: OnceLock<Result<Plugin, String>> = OnceLock::new();
    let opened = PLUGIN.get_or_init(|| {
        let folder = own_folder().ok_or("the folder of this library is not known")?;
        open(&folder.join(NAME))
    });
    opened.as_ref().copied().map_err(String::as_str)
}

fn open(path: &Path) -> Result<Plugin, String> {
    if !path.is_file() {
        return Err(format!("{} is not there", path.display()));
    }
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "a NUL in its path")?;
    let library = dynamic::open(&name)?;
    // SAFETY: the type is what `table` says of this name, which nothing else exports.
    let entry: Entry = unsafe { library.function(ENTRY) }?;
    // SAFETY: takes a number, and gives a table that is never freed or NULL.
    let table = unsafe { entry(VERSION) };
    checked(table)
}

/// A table of this version, or what is wrong with it.
fn checked(table: *const Table) -> Result<Plugin, String> {
    if table.is_null() {
        return Err(format!("{NAME} does not know version {VERSION} of its interface"));
    }
    // SAFETY: not NULL, so a table that begins with its version whatever that is, and lives for ever.
    let version = unsafe { (*table).version };
    // SAFETY: as above; the size stands behind the version in all versions.
    let size = unsafe { (*table).size };
    if version != VERSION || usize::try_from(size) != Ok(size_of::<Table>()) {
        return Err(format!("{NAME} has version {version} of its interface, {size} bytes"));
    }
    // SAFETY: this version's table, complete, and never freed or changed.
    Ok(Plugin(unsafe { &*table }))
}

/// The folder of the file that this code was loaded from, links followed.
fn own_folder() -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    let own: fn() -> Option<PathBuf> = own_folder;
    // SAFETY: any address will do; `info` is writable memory of the right type.
    let found = unsafe { libc::dladdr(own as *const c_void, info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: filled, as the result says.
    let info = unsafe { info.assume_init() };
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the linker's own NUL-terminated name of the file, which stays while it is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    let file = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).canonicalize().ok()?;
    file.parent().map(Path::to_path_buf)
}

unsafe extern "C" fn say(level: c_int, text: *const c_char) {
    let Some(log) = LOG.get().filter(|_| !text.is_null()) else { return };
    // SAFETY: the library gives a NUL-terminated text that it frees afterwards.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    log(level, &text);
}

impl Plugin {
    /// Initialises GStreamer. False if that is not possible; the reason has been logged.
    #[must_use]
    pub fn begin(self, log: Log) -> bool {
        LOG.get_or_init(|| log);
        // SAFETY: a function of the table, which may be called at any time from any thread.
        unsafe { (self.0.begin)(say) == OK }
    }

    /// The element that would encode a codec, as the protocol numbers it. After [`Plugin::begin`].
    #[must_use]
    pub fn find(self, codec: u8) -> Option<String> {
        // SAFETY: takes a number, and gives NULL or a text that is never freed.
        let name = unsafe { (self.0.find)(codec.into()) };
        // SAFETY: not NULL here, so NUL-terminated.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    /// Makes a coder; `None` if no element can.
    #[must_use]
    pub fn open(self, setup: &Setup) -> Option<Coder> {
        let mut coder = ptr::null_mut();
        // SAFETY: both point at what the table says they do, for the time of the call.
        let result = unsafe { (self.0.open)(setup, &raw mut coder) };
        let coder = NonNull::new(coder).filter(|_| result == OK)?;
        Some(Coder { table: self.0, coder, setup: *setup })
    }
}

/// Encodes the frames of one stream. Used by one thread at a time.
#[derive(Debug)]
pub struct Coder {
    table: &'static Table,
    coder: NonNull<c_void>,
    setup: Setup,
}

// SAFETY: the library binds a coder to no thread; it asks for one at a time, and `Coder` is not Sync.
unsafe impl Send for Coder {}

/// Where a picture's rows lie.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// From the row that comes first in memory on.
    pub data: &'a [u8],
    /// Bytes from row to row in memory.
    pub stride: usize,
    /// The first row in memory is the top one.
    pub top_down: bool,
}

impl Coder {
    /// Bits per second and quality from the next picture on.
    pub fn set_rate(&mut self, rate: u64, quality: u8) {
        // SAFETY: the coder is open, and nobody else uses it now.
        unsafe { (self.table.set_rate)(self.coder.as_ptr(), rate, quality.into()) };
    }

    /// Encodes a picture of the size that the coder was made for. `time`: microseconds, ever more. The bytes, and whether
    /// it is a key frame.
    ///
    /// # Errors
    /// [`CoderError`]; the coder is of no use afterwards, but for `Picture`.
    pub fn encode(
        &mut self,
        rows: &Rows<'_>,
        time: u64,
        key: bool,
    ) -> Result<(&[u8], bool), CoderError> {
        let (top, stride) = self.top(rows).ok_or(CoderError::Picture)?;
        let picture = Picture { top: top.as_ptr(), stride, time, key: key.into() };
        let mut coded = Coded { bytes: ptr::null(), len: 0, key: 0 };
        // SAFETY: the coder is open and ours; every row of the setup's size lies in `rows` (`top` has looked), which
        // stays until the call returns.
        let result =
            unsafe { (self.table.encode)(self.coder.as_ptr(), &raw const picture, &raw mut coded) };
        match result {
            OK if !coded.bytes.is_null() && coded.len <= MOST_BYTES => {
                // SAFETY: so many bytes, which stay until the next call; that needs `self` as mutable as this result.
                let bytes = unsafe { std::slice::from_raw_parts(coded.bytes, coded.len) };
                Ok((bytes, coded.key != 0))
            }
            LATE => Err(CoderError::Late),
            _ => Err(CoderError::Failed),
        }
    }

    /// From the top row on, and the way to the next row; `None` if not all rows are there.
    fn top<'a>(&self, rows: &Rows<'a>) -> Option<(&'a [u8], isize)> {
        let (width, height) = (to_usize(self.setup.width)?, to_usize(self.setup.height)?);
        let row = width.checked_mul(to_usize(self.setup.bits)? / 8)?;
        let last = height.checked_sub(1)?.checked_mul(rows.stride)?;
        rows.data.get(..last.checked_add(row)?)?;
        let stride = isize::try_from(rows.stride).ok()?;
        if rows.top_down {
            Some((rows.data, stride))
        } else {
            Some((rows.data.get(last..)?, -stride))
        }
    }
}

impl Drop for Coder {
    fn drop(&mut self) {
        // SAFETY: open until now, and not used again.
        unsafe { (self.table.close)(self.coder.as_ptr()) };
    }
}

fn to_usize(n: u32) -> Option<usize> {
    usize::try_from(n).ok()
}

#[cfg(test)]
mod tests;

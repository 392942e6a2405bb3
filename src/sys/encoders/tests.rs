//! A library that is made of functions here: what is taken from it, and what is refused.

use super::table::{FAILED, NONE, Say};
use super::*;

unsafe extern "C" fn begin(say: Say) -> c_int {
    // SAFETY: a NUL-terminated text.
    unsafe { say(3, c"begun".as_ptr()) };
    OK
}

unsafe extern "C" fn find(codec: u32) -> *const c_char {
    if codec == 2 { c"fakeenc".as_ptr() } else { ptr::null() }
}

unsafe extern "C" fn open_fake(setup: *const Setup, coder: *mut *mut c_void) -> c_int {
    // SAFETY: the caller gives both.
    let setup = unsafe { *setup };
    if setup.codec != 2 {
        return NONE;
    }
    let made = Box::into_raw(Box::new((setup, Vec::<u8>::new())));
    // SAFETY: as above.
    unsafe { *coder = made.cast() };
    OK
}

unsafe extern "C" fn set_rate(_: *mut c_void, _: u64, _: u32) {}

/// The first byte of each row, from the top.
unsafe extern "C" fn encode(coder: *mut c_void, picture: *const Picture, out: *mut Coded) -> c_int {
    // SAFETY: what `open_fake` made, used by nobody else now.
    let (setup, bytes) = unsafe { &mut *coder.cast::<(Setup, Vec<u8>)>() };
    // SAFETY: the caller's.
    let picture = unsafe { *picture };
    if picture.time == 13 {
        return FAILED;
    }
    if picture.time == 14 {
        return LATE;
    }
    bytes.clear();
    for row in 0..isize::try_from(setup.height).unwrap() {
        // SAFETY: so many rows are there.
        let row = unsafe { picture.top.offset(row * picture.stride) };
        // SAFETY: each has a byte.
        bytes.push(unsafe { *row });
    }
    let coded = Coded { bytes: bytes.as_ptr(), len: bytes.len(), key: picture.key };
    // SAFETY: the caller's.
    unsafe { *out = coded };
    OK
}

unsafe extern "C" fn close(coder: *mut c_void) {
    // SAFETY: what `open_fake` made, for the last time.
    drop(unsafe { Box::from_raw(coder.cast::<(Setup, Vec<u8>)>()) });
}

fn table() -> Table {
    let size = u32::try_from(size_of::<Table>()).unwrap();
    Table { version: VERSION, size, begin, find, open: open_fake, set_rate, encode, close }
}

#[test]
fn only_a_table_of_this_version_and_size_is_taken() {
    let good = Box::leak(Box::new(table()));
    assert!(checked(good).is_ok());
    assert!(checked(ptr::null()).unwrap_err().contains("version 1"));
    let newer = Box::leak(Box::new(Table { version: 2, ..table() }));
    assert!(checked(newer).unwrap_err().contains("version 2"));
    let shorter = Box::leak(Box::new(Table { size: 48, ..table() }));
    assert!(checked(shorter).unwrap_err().contains("48 bytes"));
}

#[test]
fn pictures_reach_the_library_whichever_row_is_first() {
    let plugin = checked(Box::leak(Box::new(table()))).unwrap();
    assert!(plugin.begin(|level, text| assert_eq!((level, text), (3, "begun"))));
    assert_eq!((plugin.find(2).as_deref(), plugin.find(3)), (Some("fakeenc"), None));
    let setup =
        Setup { codec: 2, width: 2, height: 3, bits: 32, rate: 1000, quality: 50, patience: 100 };
    assert!(plugin.open(&Setup { codec: 3, ..setup }).is_none());
    let mut coder = plugin.open(&setup).unwrap();
    coder.set_rate(5, 6);
    // Three rows of 12 bytes, the last one without its 4 bytes of padding.
    let data: Vec<u8> = (0..32).collect();
    let mut rows = Rows { data: &data, stride: 12, top_down: true };
    assert_eq!(coder.encode(&rows, 1, true), Ok((&[0, 12, 24][..], true)));
    rows.top_down = false;
    assert_eq!(coder.encode(&rows, 2, false), Ok((&[24, 12, 0][..], false)));
    assert_eq!(coder.encode(&rows, 13, false), Err(CoderError::Failed));
    assert_eq!(coder.encode(&rows, 14, false), Err(CoderError::Late));
    rows.data = &data[..31];
    assert_eq!(coder.encode(&rows, 3, false), Err(CoderError::Picture));
    rows.stride = usize::MAX;
    assert_eq!(coder.encode(&rows, 3, false), Err(CoderError::Picture));
}

#[test]
fn a_library_that_is_not_there_or_is_another_one_is_refused() {
    assert!(own_folder().unwrap().is_dir());
    assert!(open(Path::new("/nonexistent/libcayenne-gst.so")).unwrap_err().contains("not there"));
    // Tests lie in a folder of their own, without it.
    assert!(plugin().is_err());
    let c = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    if c.is_file() {
        assert!(open(c).unwrap_err().contains("cayenne_gst_encoders"));
    }
}

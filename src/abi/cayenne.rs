//! The extension interface: what the original's interface cannot say (`cayenne.h`).

use std::ffi::c_char;

symver!(cayenne_version, node "CAYENNE_1");
/// Version of the library, for example "0.1.0".
///
/// The string is NUL-terminated, valid for ever and must not be freed. May be called at any time
/// on any thread.
#[unsafe(no_mangle)]
pub extern "C" fn cayenne_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    #[test]
    fn the_version_is_that_of_the_package() {
        // SAFETY: the function returns a literal with a terminator.
        let version = unsafe { CStr::from_ptr(super::cayenne_version()) };
        assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    }
}

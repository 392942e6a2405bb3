//! PEM files of certificates and keys, and lists of ciphers: refused with a reason or used, never a panic.
//! The password is right for some seeds. The first byte says what the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::transport::tls::files::{Password, certificates};
use spice_server::transport::tls::{ciphers, key};

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind {
        b'l' => {
            if let Ok(chosen) = ciphers::choose(std::str::from_utf8(bytes).ok()) {
                assert!(!chosen.suites.is_empty());
            }
        }
        // With a password a block of PBES2 may ask for seconds of work, so it gets none.
        b'k' => drop(key::private_key(bytes, None)),
        _ => {
            if !bytes.windows(17).any(|w| w == b"ENCRYPTED PRIVATE") {
                drop(key::private_key(bytes, Some(&Password::new(b"secret".to_vec()))));
            }
            if let Ok(chain) = certificates(bytes) {
                assert!(!chain.is_empty());
            }
        }
    }
});

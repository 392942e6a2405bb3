//! Bytes of a stranger on the port for TLS: an answer, silence or an error, nothing else, and no bytes for the layers
//! above. Cut into pieces by the first byte; the second says whether a proper hello comes first.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spice_server::transport::layer::Layer;
use spice_server::transport::outbox::Outbox;
use spice_server::transport::tls::files::TlsFiles;
use spice_server::transport::tls::{TlsLayer, TlsServer};

static SERVER: LazyLock<TlsServer> = LazyLock::new(|| {
    let pem = format!("{}/tls_layer.pem", env!("CARGO_MANIFEST_DIR"));
    let (authorities, certificates, key) = (pem.clone().into(), pem.clone().into(), pem.into());
    TlsServer::load(&TlsFiles { authorities, certificates, key, ..TlsFiles::default() }).unwrap()
});

/// What openssl said first, with a key share of X25519.
const HELLO: &[u8] = include_bytes!("../seeds/tls_layer/hello");

fuzz_target!(|input: &[u8]| {
    let [step, hello, bytes @ ..] = input else { return };
    let mut layer = TlsLayer::new(&SERVER, "fuzz".to_owned()).unwrap();
    let (mut above, mut below) = (Vec::new(), Outbox::default());
    if hello & 1 == 1 && let Some(hello) = HELLO.get(2..) {
        layer.open(hello, &mut above, &mut below).unwrap();
    }
    for part in bytes.chunks(usize::from(*step) + 1) {
        if layer.open(part, &mut above, &mut below).is_err() {
            break;
        }
    }
    // Nobody finishes a handshake by chance.
    assert!(above.is_empty() && layer.is_handshaking());
    // What a stranger makes us say is no more than a certificate and a few words.
    assert!(below.len() < 8192);
    layer.finish(&mut below);
});

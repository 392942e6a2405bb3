use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    SupportedProtocolVersion,
};

use super::*;
use crate::protocol::message::Bulk;

/// A certificate of P-256 and its key, in PEM, made by OpenSSL.
pub(super) static PEM: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -keyout -";
    let made =
        Command::new("openssl").args(words.split(' ')).stderr(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    made.stdout
});

static SERVER: LazyLock<TlsServer> = LazyLock::new(|| {
    let chain = files::certificates(&PEM).unwrap();
    let key = key::private_key(&PEM, None).unwrap();
    TlsServer::with_key(CertifiedKey::new(chain, key), ciphers::choose(None).unwrap().suites)
        .unwrap()
});

/// Takes any certificate, but looks at the handshake's signature.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &known)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &known)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client_config(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = builder.with_protocol_versions(&[version]).unwrap().dangerous();
    Arc::new(
        config.with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth(),
    )
}

/// A layer and a client, with nothing but memory between them.
struct Pair {
    layer: TlsLayer,
    below: Outbox,
    above: Vec<u8>,
    client: ClientConnection,
    /// What the client has read.
    read: Vec<u8>,
    /// Most bytes that pass at once.
    step: usize,
}

impl Pair {
    fn new(config: Arc<ClientConfig>, step: usize) -> Self {
        let name = ServerName::try_from("test.example").unwrap();
        Self {
            layer: TlsLayer::new(&SERVER, "test".to_owned()).unwrap(),
            below: Outbox::default(),
            above: Vec::new(),
            client: ClientConnection::new(config, name).unwrap(),
            read: Vec::new(),
            step,
        }
    }

    /// Carries bytes until nobody has any more to send.
    fn settle(&mut self) -> io::Result<Flow> {
        let mut flow = Flow::Goes;
        loop {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).unwrap();
            }
            for part in wire.chunks(self.step) {
                flow = self.layer.open(part, &mut self.above, &mut self.below)?;
            }
            let answer = sent(&mut self.below);
            if wire.is_empty() && answer.is_empty() {
                return Ok(flow);
            }
            for mut part in answer.chunks(self.step) {
                while !part.is_empty() {
                    assert!(self.client.read_tls(&mut part).unwrap() > 0);
                    self.client.process_new_packets().map_err(io::Error::other)?;
                    match self.client.reader().read_to_end(&mut self.read) {
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        other => assert!(other.is_ok(), "{other:?}"),
                    }
                }
            }
        }
    }

    fn established(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair = Self::new(client_config(version), 1 << 20);
        pair.settle().unwrap();
        assert!(!pair.layer.is_handshaking() && !pair.client.is_handshaking());
        pair
    }
}

fn sent(outbox: &mut Outbox) -> Vec<u8> {
    let mut all = Vec::new();
    while !outbox.is_empty() {
        let taken = outbox.drain(|slices| {
            slices.iter().for_each(|s| all.extend_from_slice(s));
            Ok::<_, io::Error>(slices.iter().map(|s| s.len()).sum())
        });
        taken.unwrap();
    }
    all
}

fn numbers(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

#[test]
fn bytes_go_both_ways_however_they_are_cut() {
    for version in [&TLS12, &TLS13] {
        for step in [1, 2, 3, 5, 7, 16, 100, 1000, 1 << 20] {
            let mut pair = Pair::new(client_config(version), step);
            let mut outbox = Outbox::default();
            outbox.push(b"welcome");
            pair.layer.wrap(&mut outbox, &mut pair.below, usize::MAX).unwrap();
            assert_eq!((outbox.len(), pair.below.len()), (7, 0), "the handshake lasts");
            pair.client.writer().write_all(&numbers(20_000)).unwrap();
            pair.settle().unwrap();
            assert_eq!(pair.above, numbers(20_000), "{version:?} in steps of {step}");
            pair.layer.wrap(&mut outbox, &mut pair.below, usize::MAX).unwrap();
            pair.settle().unwrap();
            assert_eq!(pair.read, b"welcome", "{version:?} in steps of {step}");
        }
    }
}

#[test]
fn pieces_fill_records_and_the_mark_holds() {
    const MARK: usize = 256 * 1024;
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::established(version);
        let mut outbox = Outbox::default();
        let block = Arc::new(numbers(50_000));
        let mut all = Vec::new();
        for i in 0..100 {
            let header = [i; 30];
            outbox.push(&header);
            outbox.push_bulk(Bulk::whole(Arc::clone(&block)));
            all.extend_from_slice(&header);
            all.extend_from_slice(&block);
        }
        let mut records = 0;
        while !outbox.is_empty() {
            pair.layer.wrap(&mut outbox, &mut pair.below, MARK).unwrap();
            // One more turn than the mark says, of what rustls takes at once.
            assert!(pair.below.len() < MARK + 70_000, "{}", pair.below.len());
            let mut wire = sent(&mut pair.below);
            while let [23, 3, 3, high, low, ..] = wire[..] {
                records += 1;
                wire.drain(..5 + usize::from(u16::from_be_bytes([high, low])));
            }
            assert!(wire.is_empty());
        }
        let least = all.len().div_ceil(16 * 1024);
        assert!(records <= least + 5, "{records} records, {least} would do");
        // And once for the bytes themselves.
        outbox.push(&all);
        pair = Pair::established(version);
        while !outbox.is_empty() {
            pair.layer.wrap(&mut outbox, &mut pair.below, MARK).unwrap();
            pair.settle().unwrap();
        }
        assert!(pair.read == all);
    }
}

#[test]
fn what_is_sent_at_once_ends_with_a_record_of_one_byte() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut pair = Pair::established(version);
        for pieces in [
            vec![vec![1; 100], vec![2; 200]],
            vec![vec![1; 40_000]],
            vec![vec![1]],
            vec![vec![1; 2]],
        ] {
            let whole = pieces.concat();
            let mut above = Outbox::default();
            pieces.into_iter().for_each(|piece| above.push_owned(piece));
            pair.layer.wrap(&mut above, &mut pair.below, usize::MAX).unwrap();
            assert!(above.is_empty());
            let sent = sent(&mut pair.below);
            let mut wire = sent.as_slice();
            let (mut came, mut last) = (Vec::new(), 0);
            while let Some(head) = wire.first_chunk::<5>() {
                let mut record = &wire[..5 + usize::from(u16::from_be_bytes([head[3], head[4]]))];
                wire = &wire[record.len()..];
                while !record.is_empty() {
                    pair.client.read_tls(&mut record).unwrap();
                    pair.client.process_new_packets().unwrap();
                }
                let before = came.len();
                let _ = pair.client.reader().read_to_end(&mut came);
                last = came.len() - before;
            }
            assert!(
                came == whole && last == 1,
                "{} of {} bytes, {last} at last",
                came.len(),
                whole.len()
            );
        }
    }
}

#[test]
fn both_ends_are_told_of_the_end() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::established(version);
        pair.layer.finish(&mut pair.below);
        let wire = sent(&mut pair.below);
        pair.client.read_tls(&mut &wire[..]).unwrap();
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        assert_eq!(pair.settle().unwrap(), Flow::Ended);
        assert_eq!(pair.above, b"last");
        // Whoever goes on all the same is not heard.
        assert_eq!(
            pair.layer.open(b"more", &mut pair.above, &mut pair.below).unwrap(),
            Flow::Ended
        );
        assert_eq!(pair.above, b"last");
    }
}

#[test]
fn a_client_comes_again_with_its_ticket() {
    for version in [&TLS12, &TLS13] {
        let config = client_config(version);
        let kinds = [HandshakeKind::Full, HandshakeKind::Resumed];
        for kind in kinds {
            let mut pair = Pair::new(Arc::clone(&config), 1 << 20);
            pair.settle().unwrap();
            assert_eq!(pair.client.handshake_kind(), Some(kind), "{version:?}");
        }
    }
}

/// The layer's answer to bytes from a stranger.
fn answer(bytes: &[u8]) -> (io::Result<Flow>, Vec<u8>) {
    let mut layer = TlsLayer::new(&SERVER, "stranger".to_owned()).unwrap();
    let (mut above, mut below) = (Vec::new(), Outbox::default());
    let flow = layer.open(bytes, &mut above, &mut below);
    assert!(above.is_empty());
    (flow, sent(&mut below))
}

#[test]
fn what_is_no_tls_ends_at_once() {
    let oversized = [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat();
    for bytes in [
        b"REDQ\x02\0\0\0\x02\0\0\0",
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 100],
        &[0xff; 100],
        // An SSL 2 hello, an alert before anything, data before the handshake, a record that is too large.
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10],
        &[21, 3, 1, 0, 2, 2, 40],
        &[23, 3, 3, 0, 1, 0],
        &oversized,
    ] {
        let (flow, _) = answer(bytes);
        assert!(flow.is_err(), "{:?}", &bytes[..bytes.len().min(20)]);
    }
}

#[test]
fn half_a_hello_is_waited_for_and_a_damaged_one_refused() {
    let mut client = Pair::new(client_config(&TLS13), 1).client;
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for size in 0..hello.len() {
        let (flow, said) = answer(&hello[..size]);
        assert!(matches!(flow, Ok(Flow::Goes)) && said.is_empty(), "{size}");
    }
    let (flow, said) = answer(&hello);
    assert!(flow.is_ok() && said.len() > 500);
    // Each byte in turn: no panic, and nothing but an answer or an error.
    for at in 0..hello.len() {
        let mut damaged = hello.clone();
        damaged[at] ^= 0x55;
        let _ = answer(&damaged);
    }
}

#[test]
fn what_changed_on_the_way_ends_the_connection() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::established(version);
        pair.client.writer().write_all(b"secret").unwrap();
        let mut wire = Vec::new();
        pair.client.write_tls(&mut wire).unwrap();
        *wire.last_mut().unwrap() ^= 1;
        assert!(pair.layer.open(&wire, &mut pair.above, &mut pair.below).is_err());
        assert!(pair.above.is_empty());
        assert!(!pair.below.is_empty(), "an alert");
    }
}

#[test]
fn a_reactor_serves_through_it() {
    use super::super::mio_reactor::MioReactor;
    use super::super::reactor::{Event, Reactor};
    use super::super::stream::Stream;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut reactor = MioReactor::new().unwrap();
    let key = reactor.insert(Stream::adopt(OwnedFd::from(ours)).unwrap(), Vec::new()).unwrap();
    reactor.add_layer(key, Box::new(TlsLayer::new(&SERVER, "test".to_owned()).unwrap()));
    let all = numbers(3_000_000);
    let want = all.clone();
    let client = std::thread::spawn(move || {
        let name = ServerName::try_from("test.example").unwrap();
        let connection = ClientConnection::new(client_config(&TLS13), name).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, theirs);
        stream.write_all(b"go").unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got == want, "{} bytes", got.len());
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    let (mut events, mut finished) = (Vec::new(), false);
    while !client.is_finished() {
        assert!(Instant::now() < deadline, "{events:?}");
        events.clear();
        reactor.wait(Some(Duration::from_millis(100)), &mut events).unwrap();
        if !finished && reactor.unread(key) == b"go" {
            reactor.outbox(key).unwrap().push(&all);
            reactor.finish_sending(key);
            finished = true;
        }
        assert!(finished || !events.contains(&Event::Closed(key)), "{events:?}");
    }
    client.join().unwrap();
}

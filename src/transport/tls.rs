//! TLS 1.2 and 1.3 on the server's side, as a [`Layer`]: rustls does the protocol, AWS-LC the arithmetic.
//!
//! The handshake runs wherever the stream is, which is the door's thread: its one expensive step, the signature, takes
//! about what a ticket takes there. No client certificate is asked for, as in the original. There is no key exchange
//! but ephemeral Diffie-Hellman on elliptic curves (or ML-KEM beside it), no renegotiation and no compression.

use std::io::{self, BufRead, IoSlice, Write};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use super::layer::{Flow, Layer};
use super::outbox::Outbox;
use crate::observe::RateLimit;

pub mod ciphers;
mod dek;
pub mod files;
pub mod key;
mod rsa;

use files::{TlsError, TlsFiles, Wrong};

/// Bytes that tell protocols apart.
const FIRST: usize = 4;

/// Records of less than this together go next to earlier ones.
const MERGED: usize = 16 * 1024;

static REFUSALS: RateLimit = RateLimit::new();

/// What all TLS connections of a server share: certificate, key, suites, and the keys of session tickets.
#[derive(Debug, Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] with the name of the file that cannot be used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        // Nobody is checked against it, but a file that is not what it should be is a mistake worth hearing of.
        files::certificates(&files::read(&files.authorities)?)
            .map_err(|wrong| wrong.of(&files.authorities))?;
        let chain = files::certificates(&files::read(&files.certificates)?)
            .map_err(|wrong| wrong.of(&files.certificates))?;
        let key = key::private_key(&files::read(&files.key)?, files.password.as_ref())
            .map_err(|wrong| wrong.of(&files.key))?;
        if !chain.first().is_some_and(|first| key::belongs(&*key, first)) {
            let certificate = files.certificates.display().to_string();
            return Err(Wrong::OtherKey(certificate).of(&files.key));
        }
        if let Some(dh) = &files.dh {
            files::check_dh(&files::read(dh)?).map_err(|wrong| wrong.of(dh))?;
            tracing::warn!(
                "TLS: {}: finite-field Diffie-Hellman is not served, elliptic curves are used",
                dh.display()
            );
        }
        let ciphers = ciphers::choose(files.ciphers.as_deref())?;
        if !ciphers.skipped.is_empty() {
            tracing::warn!(
                "TLS: ciphers that are not served are skipped: {}",
                ciphers.skipped.join(", ")
            );
        }
        Self::with_key(CertifiedKey::new(chain, key), ciphers.suites)
    }

    fn with_key(
        key: CertifiedKey,
        cipher_suites: Vec<rustls::SupportedCipherSuite>,
    ) -> Result<Self, TlsError> {
        let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
        let suites = &provider.cipher_suites;
        let versions: Vec<_> = rustls::ALL_VERSIONS
            .iter()
            .copied()
            .filter(|v| suites.iter().any(|s| s.version() == *v))
            .collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(One(Arc::new(key))));
        // Sessions are kept by the clients, in tickets: nothing here grows with their number.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config) })
    }
}

/// The one certificate, whatever name the client asks for. rustls's own way to it would parse the certificate, and
/// refuse those of version 1, which old instructions for SPICE make.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// TLS on one connection. Owned by the thread that owns the stream.
#[derive(Debug)]
pub struct TlsLayer {
    // rustls holds at most one handshake message (64 KiB) and one record that are incomplete.
    connection: Box<ServerConnection>,
    /// For the log.
    peer: String,
    /// The first bytes, which say what else the peer may have meant to speak.
    first: Vec<u8>,
}

impl TlsLayer {
    /// A layer that waits for the client's first message.
    ///
    /// # Errors
    /// What rustls says of its configuration.
    pub fn new(server: &TlsServer, peer: String) -> io::Result<Self> {
        let connection =
            ServerConnection::new(Arc::clone(&server.config)).map_err(io::Error::other)?;
        Ok(Self { connection: Box::new(connection), peer, first: Vec::with_capacity(FIRST) })
    }

    /// Whether bytes of the connection may go out.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Moves what rustls has encrypted to `below`.
    fn take_records(&mut self, below: &mut Outbox) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Below(below))?;
        }
        Ok(())
    }

    fn take_plain(&mut self, above: &mut Vec<u8>) -> io::Result<Flow> {
        let mut reader = self.connection.reader();
        loop {
            match reader.fill_buf() {
                Ok([]) => return Ok(Flow::Ended),
                Ok(bytes) => {
                    above.extend_from_slice(bytes);
                    let n = bytes.len();
                    reader.consume(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Goes),
                Err(e) => return Err(e),
            }
        }
    }

    /// Says why a client did not get in; later errors are of no interest to most.
    fn tell(&self, error: &rustls::Error) {
        if !self.connection.is_handshaking() {
            tracing::info!(peer = self.peer, %error, "a TLS connection broke");
        } else if REFUSALS.allow() {
            let peer = &self.peer;
            match self.first.as_slice() {
                b"REDQ" => {
                    tracing::warn!(peer, "link refused: no TLS, and this is the port for it")
                }
                b"GET " => {
                    tracing::warn!(peer, "link refused: HTTP without TLS on the port for TLS")
                }
                _ => tracing::warn!(peer, "link refused: TLS handshake: {error}"),
            }
        }
    }
}

impl Layer for TlsLayer {
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Outbox) -> io::Result<Flow> {
        let missing = FIRST.saturating_sub(self.first.len());
        self.first.extend_from_slice(bytes.get(..missing.min(bytes.len())).unwrap_or_default());
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.connection.read_tls(&mut rest)? == 0 {
                // The peer has ended, and goes on all the same.
                return Ok(Flow::Ended);
            }
            let processed = self.connection.process_new_packets();
            // The alert that says what was wrong goes out even so.
            self.take_records(below)?;
            if let Err(error) = processed {
                self.tell(&error);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if self.take_plain(above)? == Flow::Ended {
                return Ok(Flow::Ended);
            }
        }
        Ok(Flow::Goes)
    }

    fn wrap(&mut self, above: &mut Outbox, below: &mut Outbox, mark: usize) -> io::Result<()> {
        while !above.is_empty() && below.len() < mark && !self.connection.is_handshaking() {
            let waiting = above.len();
            // rustls cuts the pieces into records as they lie there, across their borders.
            let taken = above.drain_at_most(mark - below.len(), |pieces| {
                let mut writer = self.connection.writer();
                let here: usize = pieces.iter().map(|piece| piece.len()).sum();
                if here == waiting && waiting > 1 {
                    return writer.write_vectored(&all_but_the_last_byte(pieces));
                }
                writer.write_vectored(pieces)
            })?;
            self.take_records(below)?;
            if taken == 0 {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "TLS takes no more"));
            }
        }
        Ok(())
    }

    fn finish(&mut self, below: &mut Outbox) {
        self.connection.send_close_notify();
        // Writing to an outbox does not fail.
        let _ = self.take_records(below);
    }
}

/// What is to go out now, without its last byte, which gets a record of its own.
///
/// Stock clients take one message of a record and then wait for their socket, though OpenSSL holds more: what came last
/// would not be seen until something else comes. With a last record that only ends a message the socket has something
/// as long as a whole message is left.
fn all_but_the_last_byte<'a>(pieces: &'a [IoSlice<'_>]) -> Vec<IoSlice<'a>> {
    let filled = pieces.iter().filter(|piece| !piece.is_empty());
    let mut shorter: Vec<&[u8]> = filled.map(|piece| &**piece).collect();
    if let Some((_, rest)) = shorter.pop().and_then(|last| last.split_last()) {
        shorter.push(rest);
    }
    shorter.into_iter().map(IoSlice::new).collect()
}

/// Records go to an outbox.
struct Below<'a>(&'a mut Outbox);

impl Write for Below<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        let size = records.iter().map(|record| record.len()).sum();
        if size < MERGED {
            records.iter().for_each(|record| self.0.push(record));
        } else {
            // Copied once, into a piece that does not grow.
            let mut piece = Vec::with_capacity(size);
            records.iter().for_each(|record| piece.extend_from_slice(record));
            self.0.push_owned(piece);
        }
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

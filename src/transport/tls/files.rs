//! What a host's TLS files contain: certificates, a private key, DH parameters, all in PEM.
//!
//! Read once, inside `spice_server_init`, before there is a listener. Whatever cannot be used is an error there, with
//! the file's name in it: a server that comes up without the encryption that was asked for helps nobody.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader, Tag};
use pem::Pem;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::ciphers::CipherError;
use super::key::KeyError;

/// More than any chain of certificates has; a file that is larger is not what it is taken for.
const MAX_FILE: u64 = 1024 * 1024;

/// What `spice_server_set_tls` says, beside the port.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificates of authorities. Clients show none, so they are only looked at.
    pub authorities: PathBuf,
    /// The server's certificate and those between it and an authority, in this order.
    pub certificates: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
    /// Password of the key.
    pub password: Option<Password>,
    /// Parameters for finite-field Diffie-Hellman, which is not served.
    pub dh: Option<PathBuf>,
    /// A list of ciphers as OpenSSL has them; `None`: all that are served.
    pub ciphers: Option<String>,
}

/// A password. Wiped when dropped, never printed.
#[derive(Clone, Default)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes a password's bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// Why there can be no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS: {file}: {error}", file = .file.display())]
    Read {
        /// Its name.
        file: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// A file's contents cannot be used.
    #[error("TLS: {file}: {wrong}", file = .file.display())]
    Content {
        /// Its name.
        file: PathBuf,
        /// What is wrong.
        wrong: Wrong,
    },
    /// The list of ciphers cannot be used.
    #[error("TLS: {0}")]
    Ciphers(#[from] CipherError),
    /// The library of cryptography refuses.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// Larger than any such file.
    #[error("larger than 1 MiB")]
    TooLarge,
    /// No PEM, or damaged.
    #[error("no proper PEM: {0}")]
    Pem(#[from] pem::PemError),
    /// There is no such block.
    #[error("there is no {0} in it")]
    Missing(&'static str),
    /// The DER inside is no certificate.
    #[error("certificate {0} in it cannot be parsed")]
    Certificate(usize),
    /// The private key cannot be used.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The key belongs to another certificate.
    #[error("the key does not belong to the certificate in {0}")]
    OtherKey(String),
}

impl Wrong {
    pub(super) fn of(self, file: &Path) -> TlsError {
        TlsError::Content { file: file.to_owned(), wrong: self }
    }
}

/// Reads a file that may hold a secret.
pub(super) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |error| TlsError::Read { file: file.to_owned(), error };
    let open = File::open(file).map_err(failed)?;
    // Asked for at once: a vector that grows leaves copies of the secret behind.
    let size = open.metadata().map_err(failed)?.len().min(MAX_FILE);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    open.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n > MAX_FILE) {
        return Err(Wrong::TooLarge.of(file));
    }
    Ok(bytes)
}

/// The blocks of a PEM file. Text around them is skipped.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Pem>, Wrong> {
    // What the parser calls a block has an end, so nothing found means there is none.
    Ok(pem::parse_many(bytes)?)
}

/// The certificates of a PEM file, in their order; never none.
///
/// # Errors
/// [`Wrong`] if there is none or if one is none.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let mut found = Vec::new();
    for block in blocks(bytes)? {
        if matches!(block.tag(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            let at = found.len() + 1;
            // OpenSSL's TRUSTED CERTIFICATE has data of its own behind the certificate.
            let whole = block.contents();
            let (size, _) = public_key(whole).ok_or(Wrong::Certificate(at))?;
            let der = whole.get(..size).ok_or(Wrong::Certificate(at))?;
            found.push(CertificateDer::from(der.to_vec()));
        }
    }
    if found.is_empty() { Err(Wrong::Missing("certificate")) } else { Ok(found) }
}

/// Whether a file has parameters for Diffie-Hellman.
pub(super) fn check_dh(bytes: &[u8]) -> Result<(), Wrong> {
    let known = |tag: &str| matches!(tag, "DH PARAMETERS" | "X9.42 DH PARAMETERS");
    if blocks(bytes)?.iter().any(|block| known(block.tag())) {
        Ok(())
    } else {
        Err(Wrong::Missing("block of DH parameters"))
    }
}

/// Size of the certificate at the front of `der`, and the bits of the public key in it (RFC 5280 §4.1).
///
/// Looks at nothing else: old and odd certificates, version 1 among them, are the clients' to judge.
pub(super) fn public_key(der: &[u8]) -> Option<(usize, &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let certificate = sequence(&mut reader)?;
    let size = usize::try_from(u32::from(reader.position())).ok()?;
    let signed = sequence(&mut SliceReader::new(certificate).ok()?)?;
    let mut fields = SliceReader::new(signed).ok()?;
    let first = AnyRef::decode(&mut fields).ok()?;
    let before =
        if matches!(der::Tagged::tag(&first), Tag::ContextSpecific { .. }) { 5 } else { 4 };
    for _ in 0..before {
        AnyRef::decode(&mut fields).ok()?;
    }
    let key = sequence(&mut fields)?;
    Some((size, key_bits_of(key)?))
}

/// The bits of a public key, of a whole SubjectPublicKeyInfo.
pub(super) fn key_bits(info: &[u8]) -> Option<&[u8]> {
    key_bits_of(sequence(&mut SliceReader::new(info).ok()?)?)
}

/// The same, of what is inside the outermost sequence.
fn key_bits_of(info: &[u8]) -> Option<&[u8]> {
    let mut fields = SliceReader::new(info).ok()?;
    AnyRef::decode(&mut fields).ok()?;
    let bits = AnyRef::decode(&mut fields).ok()?;
    (der::Tagged::tag(&bits) == Tag::BitString).then(|| bits.value())
}

fn sequence<'a>(reader: &mut SliceReader<'a>) -> Option<&'a [u8]> {
    let any = AnyRef::decode(reader).ok()?;
    (der::Tagged::tag(&any) == Tag::Sequence).then(|| any.value())
}

#[cfg(test)]
mod tests;

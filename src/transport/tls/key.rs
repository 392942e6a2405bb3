//! Private keys in the forms that hosts have: PKCS#1, PKCS#8 and SEC 1, plain or encrypted with a password.
//!
//! Decrypted keys live in buffers that are wiped; what then signs is the library's own copy.

use std::sync::Arc;

use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::pkcs5::pbes2::Kdf;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;
use zeroize::Zeroizing;

use super::files::{Password, Wrong, blocks};
use super::rsa::SmallRsaKey;
use super::{dek, files};

/// Rounds of PBKDF2, and lanes of scrypt; today's programs use less than a million, and one.
const MAX_ROUNDS: u32 = 10_000_000;
const MAX_LANES: u16 = 16;
/// Bytes that scrypt may want; OpenSSL writes keys that want 16 MiB, and reads up to 32.
const MAX_SCRYPT: u64 = 64 * 1024 * 1024;

/// Why a private key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Encrypted, and no password was given.
    #[error("the private key is encrypted, but there is no password for it")]
    NoPassword,
    /// The password opens nothing.
    #[error("the private key cannot be decrypted: wrong password, or damaged")]
    WrongPassword,
    /// Encrypted in a way that is not known here.
    #[error("the private key is encrypted with {0}, which is not supported")]
    Encryption(String),
    /// Encrypted in a way of before PBES2, or damaged.
    #[error(
        "the private key is not encrypted with PBES2, as `openssl pkcs8 -topk8` does it, or damaged"
    )]
    Scheme,
    /// Turning the password into a key takes more than anybody would wait for, or has memory for.
    #[error("the private key's encryption asks for more than 10 million rounds or 64 MiB")]
    TooExpensive,
    /// The key inside is of no kind that can sign here.
    #[error(
        "no private key that can be used: RSA from 1024 to 8192 bits, P-256, P-384, P-521 or Ed25519 is needed"
    )]
    Unusable,
}

/// The private key of a PEM file: the first one, as in the original.
///
/// # Errors
/// [`Wrong`] if there is none or if it cannot be used.
pub fn private_key(
    bytes: &[u8],
    password: Option<&Password>,
) -> Result<Arc<dyn SigningKey>, Wrong> {
    for block in blocks(bytes)? {
        let kind = block.tag().to_owned();
        let headed = block.headers().get("DEK-Info").map(str::to_owned);
        let found = match kind.as_str() {
            "ENCRYPTED PRIVATE KEY" => {
                let inside = wiped(block);
                let password = password.ok_or(KeyError::NoPassword)?;
                let open = decrypt_pkcs8(&inside, password)?;
                usable(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(open.as_bytes())))
            }
            "PRIVATE KEY" => {
                let inside = wiped(block);
                usable(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(inside.as_slice())))
            }
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                let mut inside = wiped(block);
                if let Some(how) = headed {
                    let password = password.ok_or(KeyError::NoPassword)?;
                    inside = dek::decrypt(&how, password.as_bytes(), inside)?;
                }
                let inside = inside.as_slice();
                usable(&if kind.starts_with("RSA") {
                    PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(inside))
                } else {
                    PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(inside))
                })
            }
            // Certificates, EC parameters and others may stand in the same file.
            _ => continue,
        };
        return Ok(found?);
    }
    Err(Wrong::Missing("private key"))
}

/// True if the key is that of a certificate's public key.
pub(super) fn belongs(key: &dyn SigningKey, certificate: &[u8]) -> bool {
    let Some(info) = key.public_key() else { return false };
    // The bits alone: how the kind of key is written down differs between programs.
    files::public_key(certificate).map(|(_, bits)| bits) == files::key_bits(&info)
}

fn wiped(block: Pem) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(block.into_contents())
}

fn usable(der: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, KeyError> {
    match any_supported_type(der) {
        Ok(key) => Ok(key),
        Err(_) => Ok(Arc::new(SmallRsaKey::from_der(der).ok_or(KeyError::Unusable)?)),
    }
}

/// PKCS#8 with PBES2 (RFC 8018), which is what OpenSSL writes since its version 1.1.
fn decrypt_pkcs8(der: &[u8], password: &Password) -> Result<pkcs8::SecretDocument, KeyError> {
    let info = EncryptedPrivateKeyInfo::try_from(der).map_err(|_| KeyError::Scheme)?;
    let Some(parameters) = info.encryption_algorithm.pbes2() else {
        return Err(KeyError::Scheme);
    };
    let affordable = match &parameters.kdf {
        Kdf::Pbkdf2(asked) => asked.iteration_count <= MAX_ROUNDS,
        Kdf::Scrypt(asked) => {
            let bytes = asked.cost_parameter.saturating_mul(128 * u64::from(asked.block_size));
            bytes <= MAX_SCRYPT && asked.parallelization <= MAX_LANES
        }
        _ => false,
    };
    if !affordable {
        return Err(KeyError::TooExpensive);
    }
    info.decrypt(password.as_bytes()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }) => {
            KeyError::Encryption(oid.to_string())
        }
        _ => KeyError::WrongPassword,
    })
}

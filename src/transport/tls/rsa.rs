//! RSA keys that the library of cryptography does not sign with: those of less than 2048 bits.
//!
//! Certificates with 1024 bits are weak, and old machines have them. The original serves them if the site's policy
//! lets it; whether to accept one is for the client to say.

use std::fmt;
use std::sync::Arc;

use rand_core::OsRng;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Bits that are served; more than the largest go to the library of cryptography.
const BITS: std::ops::RangeInclusive<usize> = 1024..=4096;

/// Best first. Not all fit: PSS takes twice its digest and two bytes.
const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// An RSA key that signs in plain Rust, blinded. Wiped when dropped.
pub(super) struct SmallRsaKey {
    key: Arc<RsaPrivateKey>,
    public: Vec<u8>,
}

impl SmallRsaKey {
    /// `None` if it is no RSA key or one of a size that is not served.
    pub(super) fn from_der(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let key = match der {
            PrivateKeyDer::Pkcs1(der) => {
                RsaPrivateKey::from_pkcs1_der(der.secret_pkcs1_der()).ok()?
            }
            PrivateKeyDer::Pkcs8(der) => {
                RsaPrivateKey::from_pkcs8_der(der.secret_pkcs8_der()).ok()?
            }
            _ => return None,
        };
        if !BITS.contains(&key.n().bits()) {
            return None;
        }
        let public = key.to_public_key().to_public_key_der().ok()?.into_vec();
        Some(Self { key: Arc::new(key), public })
    }
}

impl fmt::Debug for SmallRsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmallRsaKey")
    }
}

impl SigningKey for SmallRsaKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = |s: &&SignatureScheme| {
            **s != SignatureScheme::RSA_PSS_SHA512 || self.key.size() >= 2 * 64 + 2
        };
        let scheme = *SCHEMES.iter().filter(fits).find(|s| offered.contains(s))?;
        Some(Box::new(SmallRsaSigner { key: Arc::clone(&self.key), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

struct SmallRsaSigner {
    key: Arc<RsaPrivateKey>,
    scheme: SignatureScheme,
}

impl fmt::Debug for SmallRsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmallRsaSigner {:?}", self.scheme)
    }
}

impl Signer for SmallRsaSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let (key, rng) = (&self.key, &mut OsRng);
        let signed = match self.scheme {
            SignatureScheme::RSA_PSS_SHA256 => {
                key.sign_with_rng(rng, Pss::new::<Sha256>(), &Sha256::digest(message))
            }
            SignatureScheme::RSA_PSS_SHA384 => {
                key.sign_with_rng(rng, Pss::new::<Sha384>(), &Sha384::digest(message))
            }
            SignatureScheme::RSA_PSS_SHA512 => {
                key.sign_with_rng(rng, Pss::new::<Sha512>(), &Sha512::digest(message))
            }
            SignatureScheme::RSA_PKCS1_SHA256 => {
                key.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message))
            }
            SignatureScheme::RSA_PKCS1_SHA384 => {
                key.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(message))
            }
            _ => key.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(message)),
        };
        signed.map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

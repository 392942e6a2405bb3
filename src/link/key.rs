//! The RSA keys under which clients send their tickets, and which key serves when.
//!
//! A key per connection is the costliest thing the reference does in the link stage, on its
//! host's main thread. Here keys are made ahead of time on another thread and each serves for a
//! while; 1024 bits because the reply has a field of 162 bytes and stock clients know no other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{Oaep, RsaPrivateKey};
use sha1::Sha1;
use zeroize::Zeroizing;

/// Bytes of the public key in a link reply.
pub const PUBLIC_KEY_LEN: usize = 162;
/// Bytes of an encrypted ticket.
pub const ENCRYPTED_LEN: usize = 128;
/// How long a key serves, counted from its first link.
pub const KEY_TIME: Duration = Duration::from_secs(60);
/// How many links a key serves.
pub const KEY_LINKS: u32 = 1_000;
/// Prepared keys that are kept beside the one that serves.
pub const KEYS_AHEAD: usize = 2;

/// DER of a 1024-bit RSA public key up to its modulus (SubjectPublicKeyInfo, RFC 5280).
const DER_HEAD: [u8; 29] = [
    0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x81, 0x8d, 0x00, 0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00,
];
/// DER behind the modulus: exponent 65537.
const DER_TAIL: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// No key could be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Random numbers or primes failed.
    #[error("rsa key: {0}")]
    Rsa(#[from] rsa::Error),
    /// The modulus is not what was asked for.
    #[error("rsa key with a modulus of {0} bytes, need 128")]
    Size(usize),
}

/// The bytes are no ticket under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be decrypted")]
pub struct Undecryptable;

/// One RSA key. Wiped when dropped.
pub struct TicketKey {
    private: RsaPrivateKey,
    public: [u8; PUBLIC_KEY_LEN],
}

impl TicketKey {
    /// Makes a key from the system's random numbers. Takes tens of milliseconds: never on a thread
    /// that somebody waits for.
    ///
    /// # Errors
    /// [`KeyError`] if the system has no random numbers to give.
    pub fn generate() -> Result<Self, KeyError> {
        let private = RsaPrivateKey::new(&mut OsRng, 1024)?;
        let modulus = private.n().to_bytes_be();
        let size = KeyError::Size(modulus.len());
        let mut public = [0; PUBLIC_KEY_LEN];
        let (head, rest) = public.split_at_mut(DER_HEAD.len());
        let (middle, tail) = rest.split_at_mut(ENCRYPTED_LEN);
        head.copy_from_slice(&DER_HEAD);
        tail.copy_from_slice(&DER_TAIL);
        middle.copy_from_slice(<&[u8; ENCRYPTED_LEN]>::try_from(&modulus[..]).map_err(|_| size)?);
        Ok(Self { private, public })
    }

    /// The public key as link replies carry it: DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_der(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.public
    }

    /// The text of a ticket: what was encrypted, up to its first NUL; at most 86 bytes.
    ///
    /// Blinded, because the time of an RSA operation tells about the key (RUSTSEC-2023-0071).
    ///
    /// # Errors
    /// [`Undecryptable`] for anything that is not RSA-OAEP under this key.
    pub fn decrypt(
        &self,
        encrypted: &[u8; ENCRYPTED_LEN],
    ) -> Result<Zeroizing<Vec<u8>>, Undecryptable> {
        let padding = Oaep::new::<Sha1>();
        let text = self.private.decrypt_blinded(&mut OsRng, padding, encrypted);
        let mut text = Zeroizing::new(text.map_err(|_| Undecryptable)?);
        if let Some(nul) = text.iter().position(|byte| *byte == 0) {
            text.truncate(nul);
        }
        Ok(text)
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey")
    }
}

/// A ticket as it came, with the key that it was made for.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The key of the reply that the client had.
    pub key: Arc<TicketKey>,
    /// What it sent.
    pub ticket: [u8; ENCRYPTED_LEN],
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key) && self.ticket == other.ticket
    }
}

impl Eq for Sealed {}

/// Which key serves. Owned by `spice-link`; keys come from the thread that makes them.
#[derive(Debug, Default)]
pub struct KeyRing {
    serving: Option<Serving>,
    ahead: VecDeque<Arc<TicketKey>>,
}

#[derive(Debug)]
struct Serving {
    key: Arc<TicketKey>,
    since: Instant,
    links: u32,
}

impl KeyRing {
    /// A ring without a key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a new key.
    pub fn add(&mut self, key: Arc<TicketKey>) {
        self.ahead.push_back(key);
    }

    /// Keys that have to be made now.
    #[must_use]
    pub fn missing(&self) -> usize {
        KEYS_AHEAD.saturating_sub(self.ahead.len())
    }

    /// The key for one more link; `None` until the first one was added.
    ///
    /// A key is followed by the next after [`KEY_TIME`] or [`KEY_LINKS`]. If there is no next one
    /// it goes on serving: late keys are better than a server that nobody can reach.
    pub fn take(&mut self, now: Instant) -> Option<Arc<TicketKey>> {
        let worn = self.serving.as_ref().is_none_or(|s| {
            s.links >= KEY_LINKS || now.saturating_duration_since(s.since) >= KEY_TIME
        });
        if worn && let Some(key) = self.ahead.pop_front() {
            self.serving = Some(Serving { key, since: now, links: 0 });
        }
        let serving = self.serving.as_mut()?;
        serving.links = serving.links.saturating_add(1);
        Some(Arc::clone(&serving.key))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rsa::pkcs8::DecodePublicKey;
    use rsa::{BigUint, RsaPublicKey};
    use std::sync::LazyLock;

    /// One key for all tests: making one takes a while.
    pub(crate) static KEY: LazyLock<Arc<TicketKey>> =
        LazyLock::new(|| Arc::new(TicketKey::generate().unwrap()));

    /// What a client does with the key of a reply and its password.
    pub(crate) fn encrypt(der: &[u8], text: &[u8]) -> [u8; ENCRYPTED_LEN] {
        let key = RsaPublicKey::from_public_key_der(der).unwrap();
        key.encrypt(&mut OsRng, Oaep::new::<Sha1>(), text).unwrap().try_into().unwrap()
    }

    #[test]
    fn public_key_is_the_der_that_clients_read() {
        let der = KEY.public_der();
        let key = RsaPublicKey::from_public_key_der(der).unwrap();
        assert_eq!(key, KEY.private.to_public_key());
        assert_eq!((key.e(), key.n().bits()), (&BigUint::from(65537u32), 1024));
        assert_eq!(der[..4], [0x30, 0x81, 0x9f, 0x30]);
    }

    #[test]
    fn text_ends_at_the_first_nul_or_at_the_end() {
        for (sent, text) in [
            (&b"secret\0"[..], &b"secret"[..]),
            (b"secret\0rest", b"secret"),
            (b"secret", b"secret"),
            (b"\0", b""),
            (b"", b""),
            (&[b'x'; 86], &[b'x'; 86]),
        ] {
            let encrypted = encrypt(KEY.public_der(), sent);
            assert_eq!(KEY.decrypt(&encrypted).unwrap().as_slice(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_ticket_are_refused() {
        let mut near = encrypt(KEY.public_der(), b"secret\0");
        near[127] ^= 1;
        for bytes in [[0; 128], [0xff; 128], [1; 128], near] {
            assert_eq!(KEY.decrypt(&bytes), Err(Undecryptable));
        }
        let other = TicketKey::generate().unwrap();
        let foreign = encrypt(other.public_der(), b"secret\0");
        assert_eq!(KEY.decrypt(&foreign), Err(Undecryptable));
    }

    #[test]
    fn a_key_serves_60_seconds_or_1000_links() {
        let second = Arc::new(TicketKey::generate().unwrap());
        let start = Instant::now();
        let mut ring = KeyRing::new();
        assert!(ring.take(start).is_none());
        assert_eq!(ring.missing(), KEYS_AHEAD);
        ring.add(Arc::clone(&KEY));
        ring.add(Arc::clone(&second));
        assert_eq!(ring.missing(), 0);

        // The time starts at the first link, not when the key was made.
        let first_use = start + Duration::from_secs(3600);
        assert!(Arc::ptr_eq(&ring.take(first_use).unwrap(), &KEY));
        assert_eq!(ring.missing(), 1);
        let late = first_use + Duration::from_millis(59_999);
        assert!(Arc::ptr_eq(&ring.take(late).unwrap(), &KEY));
        assert!(Arc::ptr_eq(&ring.take(first_use + KEY_TIME).unwrap(), &second));

        ring.add(Arc::clone(&KEY));
        for _ in 1..KEY_LINKS {
            assert!(Arc::ptr_eq(&ring.take(first_use + KEY_TIME).unwrap(), &second));
        }
        assert!(Arc::ptr_eq(&ring.take(first_use + KEY_TIME).unwrap(), &KEY));
        // Nothing follows: better an old key than none.
        assert!(ring.take(first_use + 5 * KEY_TIME).is_some());
    }
}

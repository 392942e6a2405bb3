//! The traditional encryption of PEM blocks (`Proc-Type: 4,ENCRYPTED`, `DEK-Info: …`), as OpenSSL writes it.
//!
//! Weak by today's measure (one round of MD5 turns the password into a key), but lab keys of many years have it.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipher, BlockDecryptMut, KeyInit, KeyIvInit, inout::InOutBuf};
use des::{Des, TdesEde3};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::key::KeyError;

/// Bytes of the salt, the front of the initialisation vector.
const SALT: usize = 8;

/// Decrypts a block; `how` is the value of its `DEK-Info`: the cipher's name, a comma, the vector in hexadecimal.
///
/// # Errors
/// [`KeyError`] for unknown ciphers and for what the password does not open.
pub(super) fn decrypt(
    how: &str,
    password: &[u8],
    block: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (name, vector) = how.split_once(',').unwrap_or((how, ""));
    let name = name.trim();
    let open = match name {
        "AES-128-CBC" => open::<Aes128>,
        "AES-192-CBC" => open::<Aes192>,
        "AES-256-CBC" => open::<Aes256>,
        "DES-EDE3-CBC" => open::<TdesEde3>,
        "DES-CBC" => open::<Des>,
        other => return Err(KeyError::Encryption(printable(other))),
    };
    let vector = hexadecimal(vector.trim()).ok_or(KeyError::WrongPassword)?;
    open(password, &vector, block).ok_or(KeyError::WrongPassword)
}

fn open<C>(
    password: &[u8],
    vector: &[u8],
    mut block: Zeroizing<Vec<u8>>,
) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipher + BlockDecryptMut + KeyInit,
{
    let key = derive(password, vector.get(..SALT)?, C::key_size());
    let decryptor = Decryptor::<C>::new_from_slices(&key, vector).ok()?;
    let whole = InOutBuf::from(block.as_mut_slice());
    let size = decryptor.decrypt_padded_inout_mut::<Pkcs7>(whole).ok()?.len();
    block.truncate(size);
    Some(block)
}

/// `EVP_BytesToKey` with MD5 and one round: each digest is of the one before, the password and the salt.
fn derive(password: &[u8], salt: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(size + 16));
    let mut last = Zeroizing::new(Vec::with_capacity(16));
    while key.len() < size {
        let digest = Md5::new().chain_update(last.as_slice()).chain_update(password);
        let digest = digest.chain_update(salt).finalize();
        last.clear();
        last.extend_from_slice(&digest);
        key.extend_from_slice(&digest);
    }
    key.truncate(size);
    key
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|p| p[0] << 4 | p[1]).collect())
}

/// A name out of a file, for the log.
fn printable(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(32).collect()
}

//! The calculations of SCRAM (RFC 5802, section 3), for the two hashes that Kafka knows.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// Bytes that are overwritten when dropped.
pub(super) type Key = Zeroizing<Vec<u8>>;

/// Hash function of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramHash {
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramHash {
    /// The mechanism's name.
    pub fn mechanism(self) -> &'static str {
        match self {
            ScramHash::Sha256 => "SCRAM-SHA-256",
            ScramHash::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Hi() of the RFC, which is PBKDF2: 1 to 3 ms for 4,096 iterations.
    pub(super) fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Key {
        match self {
            ScramHash::Sha256 => {
                let mut key = Key::new(vec![0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut key);
                key
            }
            ScramHash::Sha512 => {
                let mut key = Key::new(vec![0; 64]);
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut key);
                key
            }
        }
    }

    pub(super) fn hmac(self, key: &[u8], message: &[u8]) -> Key {
        match self {
            ScramHash::Sha256 => finish(mac::<Hmac<Sha256>>(key, message)),
            ScramHash::Sha512 => finish(mac::<Hmac<Sha512>>(key, message)),
        }
    }

    /// Whether `tag` is the HMAC of `message`, compared in constant time.
    pub(super) fn is_hmac(self, tag: &[u8], key: &[u8], message: &[u8]) -> bool {
        match self {
            ScramHash::Sha256 => mac::<Hmac<Sha256>>(key, message).verify_slice(tag).is_ok(),
            ScramHash::Sha512 => mac::<Hmac<Sha512>>(key, message).verify_slice(tag).is_ok(),
        }
    }

    pub(super) fn hash(self, data: &[u8]) -> Key {
        Key::new(match self {
            ScramHash::Sha256 => Sha256::digest(data).to_vec(),
            ScramHash::Sha512 => Sha512::digest(data).to_vec(),
        })
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> M {
    let mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(message)
}

fn finish(mac: impl Mac) -> Key {
    Key::new(mac.finalize().into_bytes().to_vec())
}

/// Both keys that a salted password gives: what proves the client, and what proves the server.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) client: Key,
    pub(super) server: Key,
}

impl Keys {
    pub(super) fn derive(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted_password(password, salt, iterations);
        Keys {
            client: hash.hmac(&salted, b"Client Key"),
            server: hash.hmac(&salted, b"Server Key"),
        }
    }

    /// Shows the server that this client knows the password, without telling it.
    pub(super) fn client_proof(&self, hash: ScramHash, auth_message: &[u8]) -> Vec<u8> {
        let signature = hash.hmac(&hash.hash(&self.client), auth_message);
        self.client
            .iter()
            .zip(&*signature)
            .map(|(key, sig)| key ^ sig)
            .collect()
    }
}

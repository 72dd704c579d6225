//! SCRAM (RFC 5802) for the two hashes that Kafka knows (RFC 7677), without channel binding.

use std::collections::BTreeMap;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use bytes::Bytes;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

use super::Reply;

/// As many as Kafka's own default.
const ITERATIONS: u32 = 4096;
/// One salt for all: nothing here is worth stealing.
const SALT: [u8; 16] = *b"[m\x99h\x9d\x12\x35\x8e\xec\xa0K\x14\x126\xfa\x81";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn salted(self, password: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => {
                let mut key = vec![0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(password, &SALT, ITERATIONS, &mut key);
                key
            }
            Hash::Sha512 => {
                let mut key = vec![0; 64];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, &SALT, ITERATIONS, &mut key);
                key
            }
        }
    }

    fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => tag::<Hmac<Sha256>>(key, message),
            Hash::Sha512 => tag::<Hmac<Sha512>>(key, message),
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(data).to_vec(),
            Hash::Sha512 => Sha512::digest(data).to_vec(),
        }
    }
}

fn tag<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mac) = <M as Mac>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// A login whose first message was answered.
#[derive(Debug)]
pub(super) struct Scram {
    hash: Hash,
    user: String,
    salted: Vec<u8>,
    header: String,
    nonce: String,
    first_messages: String,
}

impl Scram {
    pub(super) fn begin(
        hash: Hash,
        bytes: &[u8],
        passwords: &BTreeMap<String, String>,
        nonce: &str,
    ) -> Option<(Scram, Bytes)> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.splitn(3, ',');
        let (binding, acts_as, bare) = (parts.next()?, parts.next()?, parts.next()?);
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let user = field(bare, "n=")?.replace("=2C", ",").replace("=3D", "=");
        let nonce = format!("{}{nonce}", field(bare, "r=")?);
        let password = passwords.get(&user)?;
        let first = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(SALT));
        let scram = Scram {
            hash,
            salted: hash.salted(password.as_bytes()),
            user,
            header: format!("{binding},{acts_as},"),
            nonce,
            first_messages: format!("{bare},{first}"),
        };
        Some((scram, Bytes::from(first)))
    }

    /// `None` if the client does not know the password.
    pub(super) fn finish(self, bytes: &[u8]) -> Option<Reply> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let header = STANDARD.decode(field(without_proof, "c=")?).ok()?;
        // As Kafka: librdkafka 2.0 says its own nonce twice.
        let nonce = field(without_proof, "r=")?;
        if header != self.header.as_bytes() || !nonce.ends_with(&self.nonce) {
            return None;
        }
        let proof = STANDARD.decode(proof).ok()?;
        let message = format!("{},{without_proof}", self.first_messages);
        let client_key = self.hash.hmac(&self.salted, b"Client Key");
        let stored_key = self.hash.hash(&client_key);
        let signature = self.hash.hmac(&stored_key, message.as_bytes());
        let key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if proof.len() != signature.len() || key != client_key {
            return None;
        }
        let server_key = self.hash.hmac(&self.salted, b"Server Key");
        let verifier = self.hash.hmac(&server_key, message.as_bytes());
        let last = format!("v={}", STANDARD.encode(verifier));
        Some(Reply::Welcome {
            bytes: Bytes::from(last),
            principal: self.user,
            lifetime: None,
        })
    }
}

fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}

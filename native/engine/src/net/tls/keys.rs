//! Private keys as people have them: PKCS#1, SEC1 and PKCS#8, in PEM or DER, encrypted or not.

use base64::Engine;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipher, BlockDecryptMut, KeyInit, KeyIvInit};
use md5::{Digest, Md5};
use pkcs8::pkcs5::Error;
use pkcs8::Error::EncryptedPrivateKey;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::options::{KeyDer, KeyKind};

const NO_PASSWORD: &str = "the key is encrypted, and no password is given";
const WRONG_PASSWORD: &str = "the key cannot be decrypted: a wrong password, or a damaged file";

/// The first private key in PEM text.
pub(super) fn of_pem(
    text: &[u8],
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no PEM file".to_owned())?;
    for block in blocks(text) {
        let kind = match block.label {
            "PRIVATE KEY" => KeyKind::Pkcs8,
            "RSA PRIVATE KEY" => KeyKind::Pkcs1,
            "EC PRIVATE KEY" => KeyKind::Sec1,
            "ENCRYPTED PRIVATE KEY" => KeyKind::EncryptedPkcs8,
            _ => continue,
        };
        let mut der = block.bytes()?;
        if let Some(cipher) = block.header("DEK-Info") {
            let password = password.ok_or(NO_PASSWORD)?;
            der = decrypt_old_pem(cipher, &der, password)?;
        }
        return of_der(&KeyDer { kind, der }, password);
    }
    Err("it holds no private key".into())
}

/// A private key in DER.
pub(super) fn of_der(
    key: &KeyDer,
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, String> {
    Ok(match key.kind {
        KeyKind::Pkcs1 => PrivateKeyDer::Pkcs1(key.der.to_vec().into()),
        KeyKind::Sec1 => PrivateKeyDer::Sec1(key.der.to_vec().into()),
        KeyKind::Pkcs8 => PrivateKeyDer::Pkcs8(key.der.to_vec().into()),
        KeyKind::EncryptedPkcs8 => {
            let password = password.ok_or(NO_PASSWORD)?;
            let encrypted = pkcs8::EncryptedPrivateKeyInfo::try_from(key.der.as_slice())
                .map_err(|error| format!("it does not parse as PKCS#8: {error}"))?;
            let plain = encrypted.decrypt(password).map_err(|error| match error {
                // It says the one where it means the other.
                EncryptedPrivateKey(Error::DecryptFailed | Error::EncryptFailed) => {
                    WRONG_PASSWORD.to_owned()
                }
                other => format!("the key cannot be decrypted: {other}"),
            })?;
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()))
        }
    })
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

/// The sections of PEM text (RFC 7468, with the headers of RFC 1421).
fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.find("-----BEGIN ")? + "-----BEGIN ".len();
        rest = &rest[begin..];
        let (label, behind) = rest.split_once("-----")?;
        let end = format!("-----END {label}-----");
        let (body, behind) = behind.split_once(end.as_str())?;
        rest = behind;
        Some(Block { label, body })
    })
}

impl Block<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.body.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then_some(value.trim())
        })
    }

    fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let is_base64 = |line: &&str| !line.contains(':');
        let text: Zeroizing<String> = Zeroizing::new(
            self.body
                .lines()
                .map(str::trim)
                .filter(is_base64)
                .collect::<String>(),
        );
        base64::engine::general_purpose::STANDARD
            .decode(text.as_bytes())
            .map(Zeroizing::new)
            .map_err(|error| format!("its base64 is damaged: {error}"))
    }
}

/// The encryption of PEM files before PKCS#8 (RFC 1423 and what OpenSSL made of it): a key made from the
/// password by MD5, with the initialization vector as salt.
fn decrypt_old_pem(
    info: &str,
    encrypted: &[u8],
    password: &[u8],
) -> Result<Zeroizing<Vec<u8>>, String> {
    let (cipher, iv) = info
        .split_once(',')
        .ok_or_else(|| format!("its encryption is not understood: {info}"))?;
    let iv = from_hex(iv.trim()).ok_or("its initialization vector is damaged")?;
    match cipher.trim() {
        "AES-128-CBC" => decrypt_cbc::<aes::Aes128>(&iv, encrypted, password),
        "AES-192-CBC" => decrypt_cbc::<aes::Aes192>(&iv, encrypted, password),
        "AES-256-CBC" => decrypt_cbc::<aes::Aes256>(&iv, encrypted, password),
        "DES-EDE3-CBC" => decrypt_cbc::<des::TdesEde3>(&iv, encrypted, password),
        other => Err(format!(
            "it is encrypted by {other}, which is not supported"
        )),
    }
}

fn decrypt_cbc<C>(
    iv: &[u8],
    encrypted: &[u8],
    password: &[u8],
) -> Result<Zeroizing<Vec<u8>>, String>
where
    C: BlockDecryptMut + BlockCipher + KeyInit,
    cbc::Decryptor<C>: KeyIvInit + BlockDecryptMut,
{
    let salt = iv.get(..8).ok_or("its initialization vector is damaged")?;
    let key = key_of_password(password, salt, C::key_size());
    let decryptor = cbc::Decryptor::<C>::new_from_slices(&key, iv)
        .map_err(|_| "its initialization vector is damaged".to_owned())?;
    let mut bytes = Zeroizing::new(encrypted.to_vec());
    let len = decryptor
        .decrypt_padded_mut::<Pkcs7>(&mut bytes)
        .map_err(|_| WRONG_PASSWORD.to_owned())?
        .len();
    bytes.truncate(len);
    Ok(bytes)
}

fn key_of_password(password: &[u8], salt: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(size + 16));
    let mut last: Zeroizing<Vec<u8>> = Zeroizing::default();
    while key.len() < size {
        let digest = Md5::new()
            .chain_update(&*last)
            .chain_update(password)
            .chain_update(salt)
            .finalize();
        last = Zeroizing::new(digest.to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(size);
    key
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    };
    digits?.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests;

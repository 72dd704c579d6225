//! Keys as OpenSSL writes them; the password is `sesame`.

use rustls::crypto::ring::default_provider;
use rustls::sign::SigningKey;
use rustls::SignatureAlgorithm;

use super::*;

const PASSWORD: Option<&[u8]> = Some(b"sesame");

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_str!(concat!("fixtures/", $name, ".pem")))
    };
}

fn load(text: &str, password: Option<&[u8]>) -> Result<std::sync::Arc<dyn SigningKey>, String> {
    let key = of_pem(text.as_bytes(), password)?;
    let loaded = default_provider().key_provider.load_private_key(key);
    loaded.map_err(|error| error.to_string())
}

#[test]
fn keys_are_read_in_every_form_that_openssl_writes_them() {
    for ((name, text), algorithm) in [
        (fixture!("rsa-pkcs1"), SignatureAlgorithm::RSA),
        (fixture!("rsa-pkcs8"), SignatureAlgorithm::RSA),
        (fixture!("p256-sec1"), SignatureAlgorithm::ECDSA),
        (fixture!("p384-pkcs8"), SignatureAlgorithm::ECDSA),
        (fixture!("ed25519-pkcs8"), SignatureAlgorithm::ED25519),
    ] {
        let key = load(text, None).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(key.algorithm(), algorithm, "{name}");
    }
}

const ENCRYPTED: [(&str, &str); 7] = [
    fixture!("p256-pbes2-aes256"),
    fixture!("p256-pbes2-des3-sha1"),
    fixture!("p256-pbes2-scrypt"),
    fixture!("p256-old-aes128"),
    fixture!("p256-old-aes192"),
    fixture!("p256-old-aes256"),
    fixture!("p256-old-des3"),
];

#[test]
fn keys_are_decrypted_with_their_password() {
    let plain = load(fixture!("p256-sec1").1, None).unwrap();
    for (name, text) in ENCRYPTED {
        let key = load(text, PASSWORD).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(key.public_key(), plain.public_key(), "{name}");
    }
}

#[test]
fn a_wrong_password_and_a_missing_one_are_told_as_such() {
    for (name, text) in ENCRYPTED {
        assert_eq!(
            load(text, None).err().as_deref(),
            Some(NO_PASSWORD),
            "{name}"
        );
        // The padding of one wrong key in 256 is right by accident; then the key does not parse.
        let wrong = load(text, Some(b"open")).expect_err(name);
        assert!(
            wrong == WRONG_PASSWORD || name.contains("-old-"),
            "{name}: {wrong}"
        );
        assert!(!wrong.contains("open"), "{wrong}");
    }
}

#[test]
fn a_file_without_a_key_is_told_as_such() {
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in [
        "",
        "no PEM at all",
        certificate,
        "-----BEGIN PRIVATE KEY-----\n",
    ] {
        let why = load(text, None).err();
        assert_eq!(why.as_deref(), Some("it holds no private key"), "{text}");
    }
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let (_, text) = fixture!("p256-old-aes256");
    for cut in 0..text.len() {
        let _ = load(&text[..cut], PASSWORD);
    }
    for iv in [
        "",
        ",",
        "AES-256-CBC",
        "AES-256-CBC,",
        "AES-256-CBC,00",
        "AES-256-CBC,zz",
        "RC4,00",
    ] {
        let old = text
            .lines()
            .find(|line| line.starts_with("DEK-Info"))
            .unwrap();
        let damaged = text.replace(old, &format!("DEK-Info: {iv}"));
        assert!(load(&damaged, PASSWORD).is_err(), "{iv}");
    }
}

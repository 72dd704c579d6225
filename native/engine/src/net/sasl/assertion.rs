//! Assertions by which a client proves to a token endpoint who it is: JSON web tokens that it signs itself
//! (RFC 7523, KIP-1258).

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::PrivateKeyDer;
use rustls::SignatureScheme;
use serde_json::json;

use super::login::{off_thread, read_secret};
use super::{BoxFuture, CredentialsError, Provider, Secret};

/// Signs an assertion each time it is asked for one, with a key that is read each time.
#[derive(Debug, Clone)]
pub struct SignedAssertion {
    /// A private key in PEM: RSA (which signs as RS256) or ECDSA on P-256 (ES256).
    pub key_file: PathBuf,
    /// By what name the endpoint knows the key (`kid`).
    pub key_id: Option<String>,
    /// Who says it and of whom, which is the client in both cases (`iss`, `sub`).
    pub client_id: String,
    /// Whom it is for (`aud`), the token endpoint as a rule.
    pub audience: String,
    /// How long it is good.
    pub lifetime: Duration,
}

impl Provider<Secret> for SignedAssertion {
    fn provide(&self) -> BoxFuture<'_, Result<Secret, CredentialsError>> {
        let assertion = self.clone();
        Box::pin(async {
            off_thread(move || {
                let key = read_secret(&assertion.key_file)?;
                let jti = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
                let signed = assertion.sign(&key, SystemTime::now(), &jti);
                let named = |why| format!("{} {why}", assertion.key_file.display());
                signed.map_err(|why| CredentialsError::None(named(why)))
            })
            .await
        })
    }
}

impl SignedAssertion {
    fn sign(&self, pem: &Secret, now: SystemTime, jti: &str) -> Result<Secret, &'static str> {
        let key = PrivateKeyDer::from_pem_slice(pem.expose())
            .map_err(|_| "holds no private key in PEM that is not encrypted")?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|_| "holds a private key that is neither RSA nor ECDSA")?;
        let schemes = [
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ];
        let signer = key
            .choose_scheme(&schemes)
            .ok_or("holds a private key that is neither RSA nor ECDSA on P-256")?;
        let is_rsa = signer.scheme() == SignatureScheme::RSA_PKCS1_SHA256;
        let mut header = json!({"alg": if is_rsa { "RS256" } else { "ES256" }, "typ": "JWT"});
        if let Some(key_id) = &self.key_id {
            header["kid"] = key_id.as_str().into();
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "iat": now.as_secs(),
            "exp": (now + self.lifetime).as_secs(),
            "jti": jti,
        });
        let encode = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let text = format!("{}.{}", encode(header), encode(claims));
        let signature = signer.sign(text.as_bytes()).map_err(|_| "does not sign")?;
        let signature = match is_rsa {
            true => signature,
            false => p256_signature(&signature).ok_or("signs in an unknown way")?,
        };
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Ok(Secret::concat(&[
            text.as_bytes(),
            b".",
            signature.as_bytes(),
        ]))
    }
}

/// JSON web tokens want both numbers of a signature in 32 bytes each (RFC 7518, section 3.4); TLS has them as
/// integers of ASN.1 in a sequence.
fn p256_signature(der: &[u8]) -> Option<Vec<u8>> {
    let [0x30, _, numbers @ ..] = der else {
        return None;
    };
    let mut numbers = numbers;
    let mut fixed = Vec::with_capacity(64);
    for _ in 0..2 {
        let [0x02, length, rest @ ..] = numbers else {
            return None;
        };
        let (number, rest) = rest.split_at_checked(usize::from(*length))?;
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        let number = &number[zeros..];
        fixed.resize(fixed.len() + 32_usize.checked_sub(number.len())?, 0);
        fixed.extend_from_slice(number);
        numbers = rest;
    }
    numbers.is_empty().then_some(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::signature::{KeyPair, RsaKeyPair, UnparsedPublicKey};
    use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256};
    use serde_json::Value;

    const RSA: &str = include_str!("../tls/keys/fixtures/rsa-pkcs8.pem");
    const EC: &str = include_str!("../tls/keys/fixtures/p256-sec1.pem");
    const P384: &str = include_str!("../tls/keys/fixtures/p384-pkcs8.pem");

    fn assertion(key_file: PathBuf) -> SignedAssertion {
        SignedAssertion {
            key_file,
            key_id: Some("key 1".into()),
            client_id: "me".into(),
            audience: "https://idp.example/token".into(),
            lifetime: Duration::from_secs(300),
        }
    }

    fn sign(pem: &str) -> Result<String, &'static str> {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let signed = assertion(PathBuf::new()).sign(&pem.into(), now, "once")?;
        Ok(signed.expose_str().unwrap().to_owned())
    }

    fn parts(token: &str) -> (Value, Value, &str, Vec<u8>) {
        let (text, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = text.split_once('.').unwrap();
        let json = |part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        (
            json(header),
            json(claims),
            text,
            URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
    }

    fn der(pem: &str) -> Vec<u8> {
        PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .unwrap()
            .secret_der()
            .to_vec()
    }

    #[test]
    fn an_assertion_is_signed_by_a_key_of_rsa() {
        let token = sign(RSA).unwrap();
        let (header, claims, text, signature) = parts(&token);
        assert_eq!(
            header,
            json!({"alg": "RS256", "typ": "JWT", "kid": "key 1"})
        );
        let expected = json!({
            "iss": "me", "sub": "me", "aud": "https://idp.example/token",
            "iat": 1_700_000_000, "exp": 1_700_000_300, "jti": "once",
        });
        assert_eq!(claims, expected);
        let pair = RsaKeyPair::from_pkcs8(&der(RSA)).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
        public.verify(text.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn an_assertion_is_signed_by_a_key_of_ecdsa() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key_raw());
        // A number in a signature is shorter now and then.
        for _ in 0..300 {
            let token = sign(&pair.serialize_pem()).unwrap();
            let (header, _, text, signature) = parts(&token);
            assert_eq!(header["alg"], "ES256");
            public.verify(text.as_bytes(), &signature).unwrap();
        }
    }

    #[tokio::test]
    async fn a_key_is_read_again_at_each_use_and_no_error_quotes_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.pem");
        let assertion = assertion(file.clone());
        assert!(matches!(
            assertion.provide().await,
            Err(CredentialsError::File { .. })
        ));
        for (pem, algorithm) in [(RSA, "RS256"), (EC, "ES256")] {
            std::fs::write(&file, pem).unwrap();
            let token = assertion.provide().await.unwrap();
            assert_eq!(parts(token.expose_str().unwrap()).0["alg"], algorithm);
        }
        for (content, why) in [("hunter2", "no private key"), (P384, "P-256")] {
            std::fs::write(&file, content).unwrap();
            let error = assertion.provide().await.unwrap_err().to_string();
            assert!(error.contains("key.pem") && error.contains(why), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_no_signature_of_p256_is_none() {
        for der in [
            &b""[..],
            b"\x30\x00",
            b"\x30\x03\x02\x01\x01",
            b"\x30\x04\x02\x09\x01\x01",
            b"\x31\x00",
        ] {
            assert_eq!(p256_signature(der), None, "{der:?}");
        }
        let mut long = vec![0x30, 70, 2, 33, 1];
        long.resize(38, 1);
        long.extend([2, 1, 1]);
        assert_eq!(p256_signature(&long), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_signature_of_64_bytes_or_none(
            der in prop_oneof![
                any::<Vec<u8>>(),
                prop::collection::vec(prop::sample::select(vec![0x30, 2, 0, 1, 3, 32, 33, 255_u8]), 0..80),
            ],
        ) {
            prop_assert!(p256_signature(&der).is_none_or(|signature| signature.len() == 64));
        }
    }
}

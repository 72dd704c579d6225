//! AWS Signature Version 4, as far as a request is signed whose parameters are in its query (a presigned one).

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::http::escape;
use super::super::Secret;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a signature is good for.
pub(super) struct Scope<'a> {
    /// `20130524T000000Z`
    pub(super) timestamp: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl Scope<'_> {
    fn date(&self) -> &str {
        self.timestamp.split('T').next().unwrap_or_default()
    }

    /// `20130524/us-east-1/s3/aws4_request`
    pub(super) fn text(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.date(),
            self.region,
            self.service
        )
    }

    /// Signs `request` in hexadecimal digits.
    pub(super) fn sign(&self, secret_key: &Secret, request: &CanonicalRequest) -> String {
        let hash = hex(&Sha256::digest(request.text().expose()));
        let to_sign = format!("{ALGORITHM}\n{}\n{}\n{hash}", self.timestamp, self.text());
        hex(&hmac(&self.key(secret_key), to_sign.as_bytes()))
    }

    fn key(&self, secret_key: &Secret) -> Zeroizing<Vec<u8>> {
        let secret_key = Secret::concat(&[b"AWS4", secret_key.expose()]);
        let key = hmac(secret_key.expose(), self.date().as_bytes());
        let key = hmac(&key, self.region.as_bytes());
        let key = hmac(&key, self.service.as_bytes());
        hmac(&key, b"aws4_request")
    }
}

/// What of a GET request is signed.
pub(super) struct CanonicalRequest<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// Names and values, not escaped, in the order of the names.
    pub(super) query: &'a [(&'a str, &'a [u8])],
    /// Hash of the body in hexadecimal digits, or what a service takes in its place.
    pub(super) payload_hash: &'a str,
}

impl CanonicalRequest<'_> {
    fn text(&self) -> Secret {
        let mut query = Secret::default();
        for (name, value) in self.query {
            let and: &[u8] = if query.is_empty() { b"" } else { b"&" };
            let (name, value) = (escape(name.as_bytes()), escape(value));
            query = Secret::concat(&[query.expose(), and, name.expose(), b"=", value.expose()]);
        }
        let start = format!("GET\n{}\n", self.path);
        let end = format!("\nhost:{}\n\nhost\n{}", self.host, self.payload_hash);
        Secret::concat(&[start.as_bytes(), query.expose(), end.as_bytes()])
    }
}

/// The hash of an empty body.
pub(super) fn empty_payload() -> String {
    hex(&Sha256::digest(b""))
}

fn hmac(key: &[u8], message: &[u8]) -> Zeroizing<Vec<u8>> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    Zeroizing::new(mac.chain_update(message).finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Authenticating Requests: Using Query Parameters" of Amazon S3's API reference.
    #[test]
    fn the_presigned_request_of_the_documentation_has_the_signature_that_stands_there() {
        let scope = Scope {
            timestamp: "20130524T000000Z",
            region: "us-east-1",
            service: "s3",
        };
        let credential = format!("AKIAIOSFODNN7EXAMPLE/{}", scope.text());
        let request = CanonicalRequest {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[
                ("X-Amz-Algorithm", ALGORITHM.as_bytes()),
                ("X-Amz-Credential", credential.as_bytes()),
                ("X-Amz-Date", b"20130524T000000Z"),
                ("X-Amz-Expires", b"86400"),
                ("X-Amz-SignedHeaders", b"host"),
            ],
            payload_hash: "UNSIGNED-PAYLOAD",
        };
        let signature = scope.sign(&"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(), &request);
        let expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert_eq!(signature, expected);
    }

    /// "Deriving a signing key" of the general reference.
    #[test]
    fn the_signing_key_of_the_documentation_is_derived() {
        for (timestamp, expected) in [
            (
                "20120215T000000Z",
                "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d",
            ),
            (
                "20150830T123600Z",
                "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9",
            ),
        ] {
            let scope = Scope {
                timestamp,
                region: "us-east-1",
                service: "iam",
            };
            let key = scope.key(&"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into());
            assert_eq!(hex(&key), expected);
        }
    }

    #[test]
    fn the_hash_of_nothing_is_the_one_that_everybody_knows() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty_payload(), known);
    }
}

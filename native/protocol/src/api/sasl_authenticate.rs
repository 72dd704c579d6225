//! SaslAuthenticate: the tokens of a SASL mechanism (KIP-152).

use kafka_protocol::messages::ApiKey;

use super::{Api, SHORT};
use crate::shape::build::{bytes, fields, int16, int64, nullable_string};

/// This API.
pub const API: Api = Api::new(
    ("SaslAuthenticate", ApiKey::SaslAuthenticate),
    (0, 2),
    2,
    fields(&[
        int16("error_code"),
        nullable_string("error_message"),
        bytes("auth_bytes"),
        int64("session_lifetime_ms").since(1),
    ]),
)
.answers(SHORT);

/// The body of a request, written past the message crate, whose buffers grow and leave copies of the token
/// behind: this is one allocation, which whoever sends it can overwrite.
pub fn body(version: i16, token: &[u8]) -> Vec<u8> {
    const FLEXIBLE: i16 = 2;
    // A length of up to 5 bytes before it, an empty list of tagged fields behind.
    let mut body = Vec::with_capacity(token.len() + 6);
    if version < FLEXIBLE {
        body.extend((token.len() as i32).to_be_bytes());
        body.extend(token);
    } else {
        let mut length = token.len() as u32 + 1;
        while length > 0x7f {
            body.push(length as u8 | 0x80);
            length >>= 7;
        }
        body.push(length as u8);
        body.extend(token);
        body.push(0);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::testing::versions;
    use super::*;
    use crate::encode;
    use bytes::Bytes;
    use kafka_protocol::messages::SaslAuthenticateRequest;

    #[test]
    fn a_token_is_written_as_the_message_crate_does_in_every_version_and_never_moved() {
        for version in versions::<SaslAuthenticateRequest>() {
            for size in [0, 1, 126, 127, 128, 16_382, 16_383, 100_000] {
                let token = vec![7; size];
                let request =
                    SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(token.clone()));
                let body = body(version, &token);
                assert_eq!(
                    body,
                    encode(&request, version).unwrap(),
                    "{version}, {size}"
                );
                assert!(body.capacity() <= size + 6);
            }
        }
    }
}

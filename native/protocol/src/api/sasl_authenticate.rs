//! SaslAuthenticate: the tokens of a SASL mechanism (KIP-152).

use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiKey, SaslAuthenticateResponse};

use super::{Api, SHORT};
use crate::error::ErrorCode;
use crate::shape::build::{bytes, fields, int16, int64, nullable_string};
use crate::varint::put_unsigned_varint;

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
        put_unsigned_varint(&mut body, token.len() as u32 + 1);
        body.extend(token);
        body.push(0);
    }
    body
}

/// What the broker makes of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What it says to it.
    pub token: Bytes,
    /// How long it takes the client for who it is (KIP-368). None: until the connection ends, or this was
    /// not the last token.
    pub session: Option<Duration>,
}

/// The broker does not take the client for who it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: ErrorCode,
    /// In its own words, if it has any.
    pub message: Option<String>,
}

/// Reads the answer to a token.
pub fn read(response: SaslAuthenticateResponse) -> Result<Answered, Refused> {
    let code = ErrorCode(response.error_code);
    if !code.is_ok() {
        let message = response.error_message.map(|text| text.to_string());
        return Err(Refused {
            code,
            message: message.filter(|text| !text.is_empty()),
        });
    }
    let lifetime = u64::try_from(response.session_lifetime_ms).unwrap_or(0);
    Ok(Answered {
        token: response.auth_bytes,
        session: (lifetime > 0).then(|| Duration::from_millis(lifetime)),
    })
}

/// The lifetime in a successful answer of version 1, the last that is not flexible and the first that has
/// it, with its length and header before it. None for any other frame: all of its bytes have to fit.
///
/// For whoever passes on frames that somebody else has asked for.
pub fn session_lifetime_ms(mut frame: &[u8]) -> Option<u64> {
    let _length = frame.try_get_i32().ok()?;
    let _correlation_id = frame.try_get_i32().ok()?;
    let error_code = frame.try_get_i16().ok()?;
    // -1: no message
    let message = usize::try_from(frame.try_get_i16().ok()?).unwrap_or(0);
    frame = frame.get(message..)?;
    let token = usize::try_from(frame.try_get_i32().ok()?).ok()?;
    frame = frame.get(token..)?;
    let lifetime = frame.try_get_i64().ok()?;
    (error_code == 0 && frame.is_empty() && lifetime > 0).then_some(lifetime as u64)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{over_the_wire, versions};
    use super::*;
    use crate::encode;
    use kafka_protocol::messages::SaslAuthenticateRequest;
    use kafka_protocol::protocol::StrBytes;

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

    #[test]
    fn the_broker_s_token_and_the_session_s_lifetime_are_read_in_every_version() {
        for version in versions::<SaslAuthenticateRequest>() {
            for ms in [-1, 0, 5_000] {
                let response = SaslAuthenticateResponse::default()
                    .with_auth_bytes(Bytes::from_static(b"token"))
                    .with_session_lifetime_ms(if version >= 1 { ms } else { 0 });
                let response = over_the_wire::<SaslAuthenticateRequest>(&response, version);
                let lasts = version >= 1 && ms > 0;
                let answered = Answered {
                    token: Bytes::from_static(b"token"),
                    session: lasts.then(|| Duration::from_secs(5)),
                };
                assert_eq!(read(response), Ok(answered));
            }
        }
    }

    #[test]
    fn a_refusal_comes_with_the_broker_s_words_in_every_version() {
        let code = ErrorCode::SASL_AUTHENTICATION_FAILED;
        for version in versions::<SaslAuthenticateRequest>() {
            for (said, message) in [(None, None), (Some(""), None), (Some("no"), Some("no"))] {
                let response = SaslAuthenticateResponse::default()
                    .with_error_code(code.0)
                    .with_error_message(said.map(StrBytes::from_static_str));
                let response = over_the_wire::<SaslAuthenticateRequest>(&response, version);
                let message = message.map(str::to_owned);
                assert_eq!(read(response), Err(Refused { code, message }));
            }
        }
    }

    fn answer(error_code: i16, message: Option<&str>, token: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 9];
        body.extend(error_code.to_be_bytes());
        body.extend(message.map_or(-1, |text| text.len() as i16).to_be_bytes());
        body.extend(message.unwrap_or("").bytes());
        body.extend((token.len() as i32).to_be_bytes());
        body.extend(token);
        body.extend(rest);
        let mut frame = (body.len() as i32).to_be_bytes().to_vec();
        frame.extend(body);
        frame
    }

    #[test]
    fn a_session_lasts_as_long_as_the_broker_says_to_whoever_has_the_loan() {
        let lifetime = 5_000i64.to_be_bytes();
        for message in [None, Some("")] {
            let frame = answer(0, message, b"token", &lifetime);
            assert_eq!(session_lifetime_ms(&frame), Some(5_000));
        }
        let unlimited = answer(0, None, b"", &0i64.to_be_bytes());
        assert_eq!(session_lifetime_ms(&unlimited), None);
    }

    #[test]
    fn what_is_no_success_or_another_message_tells_nothing() {
        let lifetime = 5_000i64.to_be_bytes();
        let whole = answer(0, None, b"token", &lifetime);
        for cut in 0..whole.len() {
            assert_eq!(session_lifetime_ms(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(
            session_lifetime_ms(&answer(58, Some("no"), b"", &lifetime)),
            None
        );
        // Version 0 ends with the token; SaslHandshake has names.
        assert_eq!(session_lifetime_ms(&answer(0, None, b"token", b"")), None);
        let handshake = b"\0\0\0\x11\0\0\0\x01\0\0\0\0\0\x01\0\x05PLAIN";
        assert_eq!(session_lifetime_ms(handshake), None);
    }
}

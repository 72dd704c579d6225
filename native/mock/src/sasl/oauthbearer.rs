//! OAUTHBEARER (RFC 7628), with tokens whose signature nobody checks.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use bytes::Bytes;
use serde_json::Value;

use super::{refused, Reply};
use crate::call::Millis;

pub(super) fn message(bytes: &[u8], now: Millis) -> Reply {
    let Some(token) = token(bytes) else {
        return refused("OAUTHBEARER");
    };
    match claims(token) {
        Some((principal, expires)) if expires > now => Reply::Welcome {
            bytes: Bytes::new(),
            principal,
            lifetime: Some(expires - now),
        },
        _ => Reply::Challenge(Bytes::from_static(br#"{"status":"invalid_token"}"#)),
    }
}

/// Of `n,,^Aauth=Bearer TOKEN^A^A`.
fn token(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut fields = text.split('\x01');
    fields.next().filter(|header| header.starts_with("n,"))?;
    let auth = fields.find_map(|field| field.strip_prefix("auth="))?;
    let (scheme, token) = auth.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Subject, and when the token ends.
fn claims(token: &str) -> Option<(String, Millis)> {
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    let subject = claims.get("sub")?.as_str()?.to_owned();
    let expires = claims.get("exp")?.as_f64()?;
    Some((subject, (expires * 1000.0) as Millis))
}

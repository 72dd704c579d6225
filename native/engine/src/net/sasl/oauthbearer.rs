//! OAUTHBEARER (RFC 7628, KIP-255): a token that somebody else has issued, with extensions (KIP-342).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    BoxFuture, CredentialsError, Exchange, Mechanism, Perishable, Provider, SaslError, Secret, Step,
};
use crate::net::Endpoint;

const NAME: &str = "OAUTHBEARER";
/// More of what a broker has to say against a token is not kept.
const COMPLAINT_LIMIT: usize = 4 * 1024;

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub value: Secret,
    /// How long it is good, from when it was made into this.
    pub lifetime: Duration,
    /// SASL extensions (KIP-342), names and values.
    pub extensions: Vec<(String, String)>,
}

impl Token {
    /// A token that expires at `expiry`, in milliseconds since 1970.
    pub fn until(
        value: impl Into<Secret>,
        expiry: i64,
        extensions: Vec<(String, String)>,
    ) -> Result<Self, CredentialsError> {
        let expiry = Duration::from_millis(u64::try_from(expiry).unwrap_or(0));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        match expiry.checked_sub(now) {
            Some(lifetime) if !lifetime.is_zero() => Ok(Token {
                value: value.into(),
                lifetime,
                extensions,
            }),
            _ => Err(CredentialsError::None(
                "the token has expired already: check the clock, and that its expiry is in milliseconds".into(),
            )),
        }
    }
}

impl Perishable for Token {
    fn lifetime(&self) -> Option<Duration> {
        Some(self.lifetime)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of extensions may be anything, so only their names are shown.
        let names: Vec<_> = self.extensions.iter().map(|(name, _)| name).collect();
        f.debug_struct("Token")
            .field("value", &self.value)
            .field("lifetime", &self.lifetime)
            .field("extensions", &names)
            .finish()
    }
}

/// OAUTHBEARER with tokens of a provider; see [`super::Renewed`] for one that keeps them.
pub struct OauthBearer {
    tokens: Arc<dyn Provider<Token>>,
}

impl OauthBearer {
    /// With tokens from `tokens`.
    pub fn new(tokens: impl Provider<Token> + 'static) -> Self {
        let tokens = Arc::new(tokens);
        OauthBearer { tokens }
    }
}

impl Mechanism for OauthBearer {
    fn name(&self) -> &str {
        NAME
    }

    fn start<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Exchange>, SaslError>> {
        Box::pin(async {
            let token = self.tokens.provide().await;
            let token = token.map_err(|error| error.of(NAME))?;
            let exchange = OauthExchange::Greeting(message(&token)?);
            Ok(Box::new(exchange) as Box<dyn Exchange>)
        })
    }

    fn refused(&self) {
        self.tokens.refused();
    }
}

fn message(token: &Token) -> Result<Secret, SaslError> {
    let unfit = |why| Err(SaslError::unfit(NAME, why));
    if !is_token(token.value.expose()) {
        return unfit("the token is empty or has characters that no token has");
    }
    let mut parts: Vec<&[u8]> = vec![b"n,,\x01auth=Bearer ", token.value.expose()];
    for (name, value) in &token.extensions {
        if !is_extension(name, value) {
            return unfit(
                "an extension's name is letters, but not auth, and its value is printable ASCII",
            );
        }
        parts.extend([b"\x01", name.as_bytes(), b"=", value.as_bytes()]);
    }
    parts.push(b"\x01\x01");
    Ok(Secret::concat(&parts))
}

enum OauthExchange {
    Greeting(Secret),
    Sent,
    /// What the broker has said against the token, in JSON.
    Refused(String),
}

impl Exchange for OauthExchange {
    fn next(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match std::mem::replace(self, OauthExchange::Sent) {
            OauthExchange::Greeting(message) => Ok(Step::last(message)),
            OauthExchange::Sent if challenge.is_empty() => Ok(Step::Done),
            OauthExchange::Sent => {
                // The broker refuses once this is answered (RFC 7628, section 3.2.3).
                let complaint = &challenge[..challenge.len().min(COMPLAINT_LIMIT)];
                *self = OauthExchange::Refused(String::from_utf8_lossy(complaint).into_owned());
                Ok(Step::last(Secret::from(vec![1])))
            }
            OauthExchange::Refused(complaint) => Err(SaslError::refused(NAME, &complaint)),
        }
    }
}

/// RFC 6750, section 2.1: b64token.
fn is_token(token: &[u8]) -> bool {
    let end = token
        .iter()
        .rposition(|&b| b != b'=')
        .map_or(0, |at| at + 1);
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(b);
    end > 0 && token[..end].iter().all(allowed)
}

/// RFC 7628, section 3.1: kvpair.
fn is_extension(name: &str, value: &str) -> bool {
    let letters = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic());
    let printable = |b: u8| b.is_ascii_graphic() || b" \t\r\n".contains(&b);
    letters && name != "auth" && value.bytes().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: &str, extensions: &[(&str, &str)]) -> Token {
        Token {
            value: value.into(),
            lifetime: Duration::from_secs(60),
            extensions: extensions
                .iter()
                .map(|&(n, v)| (n.into(), v.into()))
                .collect(),
        }
    }

    #[test]
    fn a_token_is_sent_with_its_extensions() {
        let plain = message(&token("a.b-c=", &[])).unwrap();
        assert_eq!(plain.expose(), b"n,,\x01auth=Bearer a.b-c=\x01\x01");
        let extended = token("abc", &[("logicalCluster", "lkc-1"), ("pool", "a b")]);
        let expected = b"n,,\x01auth=Bearer abc\x01logicalCluster=lkc-1\x01pool=a b\x01\x01";
        assert_eq!(message(&extended).unwrap().expose(), expected);
    }

    #[test]
    fn a_token_or_extension_that_would_say_something_else_is_not_sent() {
        let tokens = ["", "=", "a b", "a\x01b", "a\nb", "\u{e4}", "a=b"];
        let extensions = [
            ("", "v"),
            ("auth", "v"),
            ("a1", "v"),
            ("a", "v\x01"),
            ("a", "\u{e4}"),
        ];
        let all = tokens.iter().map(|value| token(value, &[]));
        for token in all.chain(extensions.iter().map(|pair| token("abc", &[*pair]))) {
            let result = message(&token);
            assert!(
                matches!(result, Err(SaslError::NoCredentials { .. })),
                "{token:?}"
            );
        }
    }

    #[test]
    fn a_complaint_is_answered_and_quoted_where_the_broker_says_nothing_more() {
        let complaint = br#"{"status":"invalid_token"}"#;
        let mut exchange = OauthExchange::Greeting("greeting".into());
        exchange.next(b"").unwrap();
        match exchange.next(complaint) {
            Ok(Step::Token { bytes, .. }) => assert_eq!(*bytes, [1]),
            other => panic!("{other:?}"),
        }
        let error = exchange.next(b"").unwrap_err();
        assert_eq!(
            error,
            SaslError::refused(NAME, r#"{"status":"invalid_token"}"#)
        );
    }

    #[test]
    fn a_token_that_has_expired_is_not_taken() {
        let expired = Token::until("abc", 1_000, vec![]).unwrap_err().to_string();
        assert!(expired.contains("expired"), "{expired}");
        assert!(Token::until("abc", -1, vec![]).is_err());
        let hour = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64
            + 3_600_000;
        let token = Token::until("abc", hour, vec![]).unwrap();
        assert!(token.lifetime > Duration::from_secs(3_590));
    }
}

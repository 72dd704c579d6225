//! Tokens of OAuth 2.0's client credentials grant (RFC 6749, section 4.4; KIP-768): the client tells a token
//! endpoint who it is, by a secret or by an assertion (RFC 7523, KIP-1258), and gets a token for the brokers.

use std::sync::Arc;
use std::time::Duration;

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::Engine;
use serde_json::Value;

use super::http::{escape, send, with_retries, Call, HttpError, Plaintext};
use super::{BoxFuture, CredentialsError, Provider, Secret, Token};
use crate::net::tls::Tls;

/// Asks a token endpoint. Wants to be inside a [`super::Renewed`], which keeps what it gets.
pub struct ClientCredentials {
    /// The token endpoint: `https://...`; `http://...` on this machine only.
    pub endpoint: String,
    /// How the client proves who it is.
    pub proof: ClientProof,
    /// What the token is to be good for (`scope`), if the endpoint wants to know.
    pub scope: Option<String>,
    /// More parameters of the request, `audience` for instance.
    pub parameters: Vec<(String, String)>,
    /// SASL extensions that go with each token (KIP-342).
    pub extensions: Vec<(String, String)>,
    /// TLS to the endpoint.
    pub tls: Option<Arc<Tls>>,
    /// Bounds each of up to three requests. Less than `connect_timeout` lets the first connections tell why
    /// there is no token.
    pub timeout: Duration,
}

/// How a client proves to a token endpoint who it is.
pub enum ClientProof {
    /// By a secret, in HTTP's basic authentication.
    Secret {
        /// `client_id`
        id: String,
        /// `client_secret`
        secret: Secret,
        /// Whether both are escaped before, as RFC 6749 has it and Kafka's own clients do not unless told to
        /// (`sasl.oauthbearer.header.urlencode`).
        urlencode: bool,
    },
    /// By a signed JSON web token, asked for at each request.
    Assertion {
        /// `client_id`, for endpoints that want it beside the assertion.
        id: Option<String>,
        /// Who has it: a file that something else keeps up to date, for instance.
        assertion: Box<dyn Provider<Secret>>,
    },
}

impl Provider<Token> for ClientCredentials {
    fn provide(&self) -> BoxFuture<'_, Result<Token, CredentialsError>> {
        Box::pin(async {
            let (authorization, body) = self.request().await?;
            let ask = || {
                let mut call =
                    Call::form(&self.endpoint, body.clone()).header("accept", "application/json");
                if let Some(authorization) = authorization.clone() {
                    call = call.header("authorization", authorization);
                }
                send(call, self.tls.as_ref(), Plaintext::Loopback, self.timeout)
            };
            let answer = with_retries(ask).await.map_err(told)?;
            let (value, lifetime) = read(&answer).map_err(|why| {
                CredentialsError::None(format!("the token endpoint answers without {why}"))
            })?;
            Ok(Token {
                value,
                lifetime,
                extensions: self.extensions.clone(),
            })
        })
    }
}

impl ClientCredentials {
    /// The header that authorizes, and the form.
    async fn request(&self) -> Result<(Option<Secret>, Secret), CredentialsError> {
        let mut form = Form::new("grant_type", b"client_credentials");
        if let Some(scope) = &self.scope {
            form.add("scope", scope.as_bytes());
        }
        for (name, value) in &self.parameters {
            form.add(name, value.as_bytes());
        }
        let authorization = match &self.proof {
            ClientProof::Secret {
                id,
                secret,
                urlencode,
            } => Some(basic(id, secret, *urlencode)),
            ClientProof::Assertion { id, assertion } => {
                if let Some(id) = id {
                    form.add("client_id", id.as_bytes());
                }
                let kind = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.add("client_assertion_type", kind);
                form.add(
                    "client_assertion",
                    assertion.provide().await?.expose().trim_ascii(),
                );
                None
            }
        };
        Ok((authorization, form.0))
    }
}

fn told(error: HttpError) -> CredentialsError {
    CredentialsError::None(format!("token endpoint: {error}"))
}

fn basic(id: &str, secret: &Secret, urlencode: bool) -> Secret {
    let pair = match urlencode {
        true => Secret::concat(&[
            escape(id.as_bytes()).expose(),
            b":",
            escape(secret.expose()).expose(),
        ]),
        false => Secret::concat(&[id.as_bytes(), b":", secret.expose()]),
    };
    let encoded = Secret::from(STANDARD.encode(pair.expose()));
    Secret::concat(&[b"Basic ", encoded.expose()])
}

struct Form(Secret);

impl Form {
    fn new(name: &str, value: &[u8]) -> Self {
        Form(Secret::concat(&[
            name.as_bytes(),
            b"=",
            escape(value).expose(),
        ]))
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        let (name, value) = (escape(name.as_bytes()), escape(value));
        self.0 = Secret::concat(&[self.0.expose(), b"&", name.expose(), b"=", value.expose()]);
    }
}

/// Token and lifetime in a successful answer (RFC 6749, section 5.1), or what is missing.
fn read(answer: &Secret) -> Result<(Secret, Duration), &'static str> {
    let mut json = serde_json::from_slice::<Value>(answer.expose()).map_err(|_| "JSON")?;
    let expires_in = json.get("expires_in").and_then(seconds);
    let token = match json.get_mut("access_token").map(Value::take) {
        Some(Value::String(token)) => Secret::from(token),
        _ => return Err("an access_token"),
    };
    let lifetime = expires_in
        .or_else(|| jwt_lifetime(&token))
        .ok_or("a lifetime (expires_in)")?;
    match lifetime.is_zero() {
        true => Err("any lifetime left: check the clocks"),
        false => Ok((token, lifetime)),
    }
}

/// A number, or a text with one, as some endpoints have it.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.parse().ok()?,
        value => value.as_f64()?,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// How long a JSON web token is good by its claim `exp`, which nobody checks here: brokers do.
fn jwt_lifetime(token: &Secret) -> Option<Duration> {
    let claims = token.expose().split(|&byte| byte == b'.').nth(1)?;
    let claims = Secret::from(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let claims = serde_json::from_slice::<Value>(claims.expose()).ok()?;
    let expiry = seconds(claims.get("exp")?)?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Some(expiry.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sasl::http::fake::{answer, FakeHttp};
    use crate::net::sasl::{Fixed, Renewed};
    use proptest::prelude::*;

    fn client(endpoint: String) -> ClientCredentials {
        ClientCredentials {
            endpoint,
            proof: ClientProof::Secret {
                id: "me@home".into(),
                secret: "s:1".into(),
                urlencode: false,
            },
            scope: Some("kafka all".into()),
            parameters: vec![("audience".into(), "a&b".into())],
            extensions: vec![("pool".into(), "p".into())],
            tls: None,
            timeout: Duration::from_secs(5),
        }
    }

    const TOKEN: &str = r#"{"access_token":"abc","token_type":"Bearer","expires_in":300}"#;

    #[tokio::test]
    async fn a_client_gets_a_token_for_its_secret() {
        let server = FakeHttp::start(|_| answer(200, TOKEN)).await;
        let token = client(server.url("/token")).provide().await.unwrap();
        assert_eq!(token.value, Secret::from("abc"));
        assert_eq!(token.lifetime, Duration::from_secs(300));
        assert_eq!(token.extensions, [("pool".into(), "p".into())]);
        let asked = &server.asked()[0];
        assert_eq!(asked.line, "POST /token");
        let form = "grant_type=client_credentials&scope=kafka%20all&audience=a%26b";
        assert_eq!(asked.body, form);
        let basic = format!("Basic {}", STANDARD.encode("me@home:s:1"));
        assert_eq!(asked.header("authorization"), Some(basic.as_str()));
        let kind = asked.header("content-type");
        assert_eq!(kind, Some("application/x-www-form-urlencoded"));
    }

    #[tokio::test]
    async fn id_and_secret_are_escaped_if_that_is_asked_for() {
        let expected = format!("Basic {}", STANDARD.encode("me%40home:s%3A1"));
        assert_eq!(
            basic("me@home", &"s:1".into(), true),
            Secret::from(expected)
        );
    }

    #[tokio::test]
    async fn a_client_gets_a_token_for_its_assertion() {
        let server = FakeHttp::start(|_| answer(200, TOKEN)).await;
        let mut client = client(server.url("/token"));
        client.proof = ClientProof::Assertion {
            id: Some("me".into()),
            assertion: Box::new(Fixed(Secret::from("a.b.c\n"))),
        };
        client.provide().await.unwrap();
        let asked = &server.asked()[0];
        assert_eq!(asked.header("authorization"), None);
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let expected = format!("&client_id=me&client_assertion_type={kind}&client_assertion=a.b.c");
        assert!(asked.body.ends_with(&expected), "{}", asked.body);
    }

    #[tokio::test]
    async fn an_endpoint_that_fails_for_a_moment_is_asked_again() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let server = FakeHttp::start(move |_| {
            match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => answer(503, ""),
                1 => Vec::new(),
                _ => answer(200, TOKEN),
            }
        });
        let server = server.await;
        assert!(client(server.url("/")).provide().await.is_ok());
        assert_eq!(server.asked().len(), 3);
    }

    #[tokio::test]
    async fn an_endpoint_that_refuses_is_asked_once_and_quoted() {
        let refusal = r#"{"error":"invalid_client","error_description":"unknown me@home"}"#;
        let server = FakeHttp::start(|_| answer(401, refusal)).await;
        let error = client(server.url("/"))
            .provide()
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("401") && error.contains("unknown me@home"),
            "{error}"
        );
        assert!(!error.contains("s:1"), "{error}");
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    async fn an_answer_without_token_or_lifetime_is_an_error_that_says_so_and_not_what_stands_there(
    ) {
        for (body, missing) in [
            ("hunter2", "JSON"),
            (r#"{"token":"hunter2"}"#, "access_token"),
            (r#"{"access_token":7}"#, "access_token"),
            (r#"{"access_token":"hunter2"}"#, "expires_in"),
            (
                r#"{"access_token":"hunter2","expires_in":-1}"#,
                "expires_in",
            ),
            (
                r#"{"access_token":"hunter2","expires_in":1e300}"#,
                "expires_in",
            ),
            (r#"{"access_token":"hunter2","expires_in":0}"#, "clocks"),
        ] {
            let server = FakeHttp::start(|_| answer(200, body)).await;
            let error = client(server.url("/"))
                .provide()
                .await
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(missing) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_s_own_expiry_counts_where_the_endpoint_tells_none() {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let claims = format!(r#"{{"sub":"me","exp":{}}}"#, now.as_secs() + 600);
        let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        let answer = format!(r#"{{"access_token":"{token}","expires_in":null}}"#);
        let (_, lifetime) = read(&answer.into()).unwrap();
        assert!((598..=600).contains(&lifetime.as_secs()), "{lifetime:?}");
        let text = r#"{"access_token":"abc","expires_in":"60"}"#;
        assert_eq!(read(&text.into()).unwrap().1, Duration::from_secs(60));
    }

    #[tokio::test]
    async fn connections_share_one_token_of_the_endpoint() {
        let server = FakeHttp::start(|_| answer(200, TOKEN)).await;
        let tokens = Renewed::new("c", client(server.url("/")));
        let (one, other) = tokio::join!(tokens.provide(), tokens.provide());
        assert_eq!(one.unwrap(), other.unwrap());
        assert_eq!(server.asked().len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_an_endpoint_answers_is_a_token_or_an_error(
            token in "[a-zA-Z0-9_-]{0,20}(\\.[a-zA-Z0-9_-]{0,40}){0,3}",
            expires_in in prop_oneof![
                any::<i64>().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
                ".{0,10}".prop_map(Value::from),
                Just(Value::Null),
            ],
            cut in 0..200usize,
        ) {
            let answer = serde_json::json!({"access_token": token, "expires_in": expires_in});
            let mut answer = answer.to_string().into_bytes();
            if let Ok((value, lifetime)) = read(&answer.clone().into()) {
                prop_assert_eq!(value.expose(), token.as_bytes());
                prop_assert!(!lifetime.is_zero());
            }
            answer.truncate(cut.min(answer.len() - 1));
            prop_assert!(read(&answer.into()).is_err());
        }
    }
}

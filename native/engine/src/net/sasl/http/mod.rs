//! A small HTTP client, for token endpoints and clouds' credentials: one request a connection, no redirects
//! (whoever answers would choose who else gets the credentials), bounded in time and in size.

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderValue, CONNECTION, HOST, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::Secret;
use crate::net::tls::Tls;
use crate::net::{race, transport, Endpoint, NetError, Resolver, SocketOptions};
use crate::tasks::boxed;

const ANSWER_LIMIT: usize = 256 * 1024;
const HEADER_LIMIT: usize = 64 * 1024;

/// Why there is no answer, or none that helps. No secret is part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0} is no address of HTTP")]
    BadUrl(String),
    #[error("{0} is not HTTPS: secrets are sent in plaintext to this machine only")]
    Plaintext(String),
    #[error("{host} cannot be reached: {why}")]
    Unreachable { host: String, why: String },
    #[error("{host} did not answer within {ms} ms")]
    Timeout { host: String, ms: u128 },
    #[error("{host} answers with status {status}: {text}")]
    Status {
        host: String,
        status: u16,
        text: String,
    },
    #[error("{host} answers with what does not help: {why}")]
    BadAnswer { host: String, why: String },
}

impl HttpError {
    /// Whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            HttpError::Unreachable { .. } | HttpError::Timeout { .. } => true,
            HttpError::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            HttpError::BadUrl(_) | HttpError::Plaintext(_) | HttpError::BadAnswer { .. } => false,
        }
    }
}

/// A request, with everything that may be secret in a [`Secret`].
pub(super) struct Call {
    method: Method,
    url: String,
    headers: Vec<(&'static str, Secret)>,
    body: Secret,
}

impl Call {
    pub(super) fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url, Secret::default())
    }

    pub(super) fn put(url: impl Into<String>) -> Self {
        Self::new(Method::PUT, url, Secret::default())
    }

    /// A form, as browsers send it: names and values that are escaped already.
    pub(super) fn form(url: impl Into<String>, body: Secret) -> Self {
        let form = "application/x-www-form-urlencoded";
        Self::new(Method::POST, url, body).header("content-type", form)
    }

    fn new(method: Method, url: impl Into<String>, body: Secret) -> Self {
        Call {
            method,
            url: url.into(),
            headers: Vec::new(),
            body,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<Secret>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Who may be asked without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plaintext {
    /// Nobody but this machine.
    Loopback,
    /// Anybody: the address is one that a cloud gives its machines.
    Anywhere,
}

/// Sends a request and reads the whole answer, whose status is 200.
pub(super) async fn send(
    call: Call,
    tls: Option<&Arc<Tls>>,
    plaintext: Plaintext,
    limit: Duration,
) -> Result<Secret, HttpError> {
    let target = Target::parse(&call.url, plaintext)?;
    let until = Instant::now() + limit;
    match timeout_at(until.into(), exchange(call, &target, tls, until)).await {
        Ok(result) => result,
        Err(_) => Err(HttpError::Timeout {
            host: target.host,
            ms: limit.as_millis(),
        }),
    }
}

/// Tries again, a few times and after short pauses, what may succeed in a moment.
pub(super) async fn with_retries<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, HttpError>
where
    F: std::future::Future<Output = Result<T, HttpError>>,
{
    for pause_ms in [100, 400] {
        match attempt().await {
            Err(error) if error.is_passing() => {
                tracing::debug!(%error, "asked again in a moment");
                // Not all clients of an endpoint that was away come back at the same moment.
                let jitter = rand::random_range(0.75..1.25);
                tokio::time::sleep(Duration::from_millis(pause_ms).mul_f64(jitter)).await;
            }
            result => return result,
        }
    }
    attempt().await
}

struct Target {
    uri: Uri,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    https: bool,
}

impl Target {
    fn parse(url: &str, plaintext: Plaintext) -> Result<Self, HttpError> {
        // What follows the path may be secret.
        let shown = || url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let uri: Uri = url.parse().map_err(|_| HttpError::BadUrl(shown()))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::BadUrl(shown())),
        };
        let host = uri.host().ok_or_else(|| HttpError::BadUrl(shown()))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if !https && plaintext == Plaintext::Loopback && !is_loopback(&host) {
            return Err(HttpError::Plaintext(shown()));
        }
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Target {
            uri,
            host,
            port,
            https,
        })
    }

    fn unreachable(&self, why: impl ToString) -> HttpError {
        HttpError::Unreachable {
            host: self.host.clone(),
            why: why.to_string(),
        }
    }

    fn bad_answer(&self, why: impl ToString) -> HttpError {
        HttpError::BadAnswer {
            host: self.host.clone(),
            why: why.to_string(),
        }
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

async fn exchange(
    call: Call,
    target: &Target,
    tls: Option<&Arc<Tls>>,
    until: Instant,
) -> Result<Secret, HttpError> {
    let request = request(call, target)?;
    let server = Endpoint {
        host: target.host.clone(),
        port: target.port,
    };
    let stream = connect(&server).await;
    let stream = stream.map_err(|error| target.unreachable(error))?;
    if !target.https {
        return converse(stream, request, target).await;
    }
    let tls = tls.ok_or_else(|| target.unreachable("TLS is not set up"))?;
    let stream = tls.connect(stream, &server, until).await;
    let stream = stream.map_err(|error| target.unreachable(error))?;
    converse(stream, request, target).await
}

/// As brokers are connected to: a name that hangs has a thread of its own, and an address that does not answer is not waited for.
async fn connect(server: &Endpoint) -> Result<TcpStream, NetError> {
    let options = SocketOptions::default();
    let found = transport::resolve(server, &Resolver::default()).await?;
    transport::connect(&mut race::order(&found, &options), &options).await
}

fn request(call: Call, target: &Target) -> Result<Request<Full<Bytes>>, HttpError> {
    let path = target
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let authority = target
        .uri
        .authority()
        .map(|a| a.as_str())
        .unwrap_or_default();
    // Names and passwords before the host are not for the header.
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let mut request = Request::builder()
        .method(call.method)
        .uri(path)
        .header(HOST, authority)
        .header(CONNECTION, "close")
        .header(USER_AGENT, concat!("brod/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &call.headers {
        let bad = |_| HttpError::BadUrl(format!("the header {name}"));
        let mut value = HeaderValue::from_bytes(value.expose()).map_err(bad)?;
        value.set_sensitive(true);
        request = request.header(*name, value);
    }
    let body = Full::new(Bytes::from_owner(zeroize::Zeroizing::from(call.body)));
    let bad = |_| HttpError::BadUrl(target.host.clone());
    request.body(body).map_err(bad)
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    target: &Target,
) -> Result<Secret, HttpError> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEADER_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| target.unreachable(error))?;
    // Ended with this call, however it ends.
    let mut tasks = JoinSet::new();
    tasks.spawn(boxed(connection));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| match error.is_parse() {
            true => target.bad_answer("it is not HTTP"),
            false => target.unreachable(error),
        })?;
    let status = response.status().as_u16();
    let mut body = Limited::new(response.into_body(), ANSWER_LIMIT);
    let mut content = Secret::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => target.unreachable(error),
            Err(_) => target.bad_answer(format!("it is longer than {ANSWER_LIMIT} bytes")),
        })?;
        if let Ok(data) = frame.into_data() {
            content = Secret::concat(&[content.expose(), &data]);
        }
    }
    match status {
        200 => Ok(content),
        _ => Err(HttpError::Status {
            host: target.host.clone(),
            status,
            text: complaint(&content),
        }),
    }
}

/// What an answer says about its error: the fields of OAuth 2.0 (RFC 6749, section 5.2) and AWS, or else
/// nothing, since anything may stand there.
fn complaint(content: &Secret) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(content.expose()).unwrap_or_default();
    let field = |name: &str| json.get(name).and_then(|value| value.as_str());
    let fields = [
        "error",
        "error_description",
        "code",
        "Code",
        "message",
        "Message",
    ];
    let texts: Vec<_> = fields.into_iter().filter_map(field).collect();
    let xml = content
        .expose_str()
        .and_then(|text| xml_text(text, "Message"));
    match (texts.is_empty(), xml) {
        (true, Some(message)) => clip(message),
        (true, None) => "it gives no reason".into(),
        _ => clip(&texts.join(": ")),
    }
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The text of the first element of that name, in XML as simple as AWS writes it.
pub(super) fn xml_text<'a>(xml: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    let (text, _) = rest.split_once(&format!("</{element}>"))?;
    Some(text)
}

/// Escapes what is not unreserved (RFC 3986), as forms, OAuth and AWS want it.
pub(super) fn escape(text: &[u8]) -> Secret {
    let mut escaped = Vec::with_capacity(text.len() * 3);
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(byte);
            }
            _ => {
                let hex = |digit: u8| b"0123456789ABCDEF"[usize::from(digit)];
                escaped.extend([b'%', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    escaped.into()
}

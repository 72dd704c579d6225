//! What is said on a connection before it is used: the version query, then SASL; and SASL again on a live
//! connection (KIP-368).

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_protocol::api::{api_versions, sasl_authenticate, sasl_handshake};
use brod_protocol::error::ErrorCode;
use brod_protocol::ApiVersions;
use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::connection::{Answer, Connection, Exclusive};
use super::sasl::{Exchange, Mechanism, Sasl, SaslError, Step};
use super::{ConnectOptions, Endpoint, NetError};
use crate::tasks::on_thread;

/// Tokens that are computed at the same time: hundreds of connections that come back at once leave the
/// node's cores to others.
static COMPUTING: Semaphore = Semaphore::const_new(2);

/// Whoever waits for credentials gives up so much before the connection's time is over, and can say so.
const BEFORE_TIMEOUT: Duration = Duration::from_millis(2);

/// How long the broker takes the client for who it is; None: until the connection ends.
pub(super) type Session = Option<Duration>;

/// Makes a new connection ready. Fails with [`NetError::Timeout`] when the time is up.
pub(super) async fn begin(
    connection: &Connection,
    options: &ConnectOptions,
    until: Instant,
) -> Result<Session, NetError> {
    let talk = async {
        let stream = connection.exclusive();
        if options.query_api_versions {
            let asked = Instant::now();
            let versions = query_versions(&stream)
                .await
                .map_err(|cause| not_answered("api_versions", cause))?;
            connection.learn(versions, Some(asked.elapsed()));
        } else {
            connection.learn(ApiVersions::default(), None);
        }
        match &options.sasl {
            None => Ok(None),
            Some(sasl) => {
                authenticate(stream, connection.versions(), sasl, Opening::New, until).await
            }
        }
    };
    match timeout_at(until.into(), talk).await {
        Ok(result) => result,
        Err(_) => Err(NetError::Timeout),
    }
    .inspect_err(|error| connection.fail(error.clone()))
}

/// Authenticates a live connection again, in time for its session's end. Requests wait until those before them are
/// answered, as they would at the broker, and then for the handshake, which is two round trips. That alone has the
/// limit. A session that ends meanwhile is no harm: a broker takes a handshake after that, too.
pub(super) async fn again(
    connection: &Connection,
    sasl: &Sasl,
    limit: Duration,
) -> Result<Session, NetError> {
    let prepared = match sasl {
        // Whatever takes long is done before requests have to wait.
        Sasl::Mechanism(mechanism) => {
            let exchange = mechanism.start(connection.endpoint()).await?;
            Some(next(exchange, Bytes::new()).await?)
        }
        Sasl::External(_) => None,
    };
    let stream = connection.exclusive();
    stream.settled().await?;
    let until = Instant::now() + limit;
    let opening = Opening::Again(prepared);
    let talk = authenticate(stream, connection.versions(), sasl, opening, until);
    match timeout_at(until.into(), talk).await {
        Ok(result) => result,
        Err(_) => Err(NetError::Timeout),
    }
}

fn not_answered(api: &'static str, cause: NetError) -> NetError {
    match cause {
        NetError::Closed | NetError::Tls(_) | NetError::Io { .. } => NetError::NotAnswered {
            api,
            cause: Box::new(cause),
        },
        other => other,
    }
}

async fn query_versions(stream: &Exclusive) -> Result<ApiVersions, NetError> {
    let mut version = api_versions::FIRST;
    loop {
        let request = api_versions::request(version, "brod", env!("CARGO_PKG_VERSION"));
        let body = stream.ask(&request, version)?.body().await?;
        match api_versions::read(version, body) {
            Ok(api_versions::Answer::Versions(versions)) => return Ok(versions),
            Ok(api_versions::Answer::TooNew) => version = 0,
            Err(error) => {
                return Err(NetError::NotKafka(format!(
                    "its answer to the version query is none: {error}"
                )))
            }
        }
    }
}

/// How an authentication begins.
enum Opening {
    /// On a new connection: each request waits for the answer to the one before.
    New,
    /// On a live one. The first token is at hand, unless somebody else makes it, and goes out right
    /// behind the SaslHandshake.
    Again(Option<(Box<dyn Exchange>, Step)>),
}

async fn authenticate(
    stream: Exclusive,
    versions: &ApiVersions,
    sasl: &Sasl,
    opening: Opening,
    until: Instant,
) -> Result<Session, NetError> {
    let handshake = versions.pick::<SaslHandshakeRequest>();
    let authenticate = versions.pick::<SaslAuthenticateRequest>();
    match sasl {
        Sasl::External(external) => {
            let again = matches!(opening, Opening::Again(_));
            let loan = stream.lend(handshake.unwrap_or(0), again, until);
            let session_ms = loan.session_ms.clone();
            external.authenticate(loan).await?;
            let session_ms = session_ms.load(Ordering::Relaxed);
            Ok((session_ms > 0).then(|| Duration::from_millis(session_ms)))
        }
        Sasl::Mechanism(mechanism) => match (handshake, authenticate) {
            (Ok(sasl_handshake::FRAMED..), Ok(version)) if !is_unknown(versions) => {
                framed(stream, mechanism, version, opening, until).await
            }
            // The broker is older than 1.0, or it is not known what it speaks.
            _ => bare(stream, mechanism, until).await,
        },
    }
    .inspect_err(|error| {
        if let (NetError::Sasl(error), Sasl::Mechanism(mechanism)) = (error, sasl) {
            if error.is_refusal() {
                mechanism.refused();
            }
        }
    })
}

fn is_unknown(versions: &ApiVersions) -> bool {
    versions
        .range(kafka_protocol::messages::ApiKey::SaslHandshake as i16)
        .is_none()
}

type Handshake = Answer<SaslHandshakeRequest>;

fn ask_handshake(
    stream: &Exclusive,
    mechanism: &Arc<dyn Mechanism>,
    version: i16,
) -> Result<Handshake, NetError> {
    stream.ask(&sasl_handshake::request(mechanism.name()), version)
}

async fn check_handshake(
    handshake: Handshake,
    mechanism: &Arc<dyn Mechanism>,
) -> Result<(), NetError> {
    let response = handshake
        .response()
        .await
        .map_err(|cause| not_answered("sasl_handshake", cause))?;
    sasl_handshake::read(&response).map_err(|sasl_handshake::Refused { code, offered }| {
        let mechanism = mechanism.name().to_owned();
        let error = match code {
            ErrorCode::UNSUPPORTED_SASL_MECHANISM => SaslError::Unsupported { mechanism, offered },
            code => SaslError::Refused {
                mechanism,
                code,
                message: None,
            },
        };
        error.into()
    })
}

/// Begins an exchange. Should the credentials take too long, it is not the broker that is late.
async fn start(
    mechanism: &Arc<dyn Mechanism>,
    peer: &Endpoint,
    until: Instant,
) -> Result<Box<dyn Exchange>, NetError> {
    let until = until.checked_sub(BEFORE_TIMEOUT).unwrap_or(until);
    match timeout_at(until.into(), mechanism.start(peer)).await {
        Ok(started) => Ok(started?),
        Err(_) => Err(NetError::Sasl(SaslError::NoCredentials {
            mechanism: mechanism.name().to_owned(),
            why: "none came within connect_timeout".into(),
        })),
    }
}

/// Computes the next step on a thread that may take its time.
async fn next(
    mut exchange: Box<dyn Exchange>,
    challenge: Bytes,
) -> Result<(Box<dyn Exchange>, Step), NetError> {
    let permit = COMPUTING.acquire().await;
    let computed = on_thread(move || {
        let _permit = permit;
        let step = exchange.next(&challenge);
        (exchange, step)
    });
    let (exchange, step) = computed.await?;
    Ok((exchange, step?))
}

/// Tokens in SaslAuthenticate requests (KIP-152).
async fn framed(
    stream: Exclusive,
    mechanism: &Arc<dyn Mechanism>,
    version: i16,
    opening: Opening,
    until: Instant,
) -> Result<Session, NetError> {
    let mut handshake = Some(ask_handshake(&stream, mechanism, sasl_handshake::FRAMED)?);
    let again = matches!(opening, Opening::Again(_));
    let (mut exchange, mut step) = match opening {
        Opening::Again(Some(prepared)) => prepared,
        Opening::New | Opening::Again(None) => {
            if let Some(handshake) = handshake.take() {
                check_handshake(handshake, mechanism).await?;
            }
            let exchange = start(mechanism, stream.endpoint(), until).await?;
            next(exchange, Bytes::new()).await?
        }
    };
    let mut session = None;
    let mut stream = Some(stream);
    let mut challenge = Bytes::new();
    while let Step::Token { bytes, last } = step {
        let Some(open) = stream.as_ref() else {
            // Requests have gone out behind the last token. What the broker says against it is an error.
            let message = String::from_utf8_lossy(&challenge).into_owned();
            return Err(refused(
                mechanism,
                ErrorCode::SASL_AUTHENTICATION_FAILED,
                Some(message),
            ));
        };
        // Overwritten when it is sent.
        let body = Zeroizing::new(sasl_authenticate::body(version, &bytes));
        let answer = open.ask_encoded::<SaslAuthenticateRequest>(Bytes::from_owner(body), version);
        if again && last {
            stream = None;
        }
        if let Some(handshake) = handshake.take() {
            check_handshake(handshake, mechanism).await?;
        }
        let response = answer
            .response()
            .await
            .map_err(|cause| not_answered("sasl_authenticate", cause))?;
        let answered = sasl_authenticate::read(response).map_err(
            |sasl_authenticate::Refused { code, message }| refused(mechanism, code, message),
        )?;
        session = answered.session.or(session);
        challenge = answered.token;
        (exchange, step) = next(exchange, challenge.clone()).await?;
    }
    drop(exchange);
    Ok(session)
}

fn refused(mechanism: &Arc<dyn Mechanism>, code: ErrorCode, message: Option<String>) -> NetError {
    let mechanism = mechanism.name().to_owned();
    SaslError::Refused {
        mechanism,
        code,
        message: message.filter(|text| !text.is_empty()),
    }
    .into()
}

/// Tokens with nothing but their length before them, as Kafka 0.10 takes them.
async fn bare(
    stream: Exclusive,
    mechanism: &Arc<dyn Mechanism>,
    until: Instant,
) -> Result<Session, NetError> {
    check_handshake(
        ask_handshake(&stream, mechanism, sasl_handshake::BARE)?,
        mechanism,
    )
    .await?;
    let exchange = start(mechanism, stream.endpoint(), until).await?;
    let (mut exchange, mut step) = next(exchange, Bytes::new()).await?;
    while let Step::Token { bytes, .. } = step {
        let challenge = stream
            .exchange_bare(Bytes::from_owner(bytes))
            .await
            .map_err(|error| {
                let mechanism = mechanism.name().to_owned();
                match error {
                    NetError::Closed => SaslError::HungUp { mechanism }.into(),
                    other => other,
                }
            })?;
        (exchange, step) = next(exchange, challenge).await?;
    }
    drop(exchange);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::TlsError;
    use crate::net::Endpoint;

    /// In TLS 1.3 a broker looks at the client's certificate when the client is already done: its alert may come before the
    /// first request is on its way.
    #[tokio::test]
    async fn who_is_turned_away_before_the_first_request_learns_why() {
        let (ours, _brokers) = tokio::io::duplex(1024);
        let (reads, writes) = tokio::io::split(ours);
        let endpoint = Endpoint {
            host: "kafka".into(),
            port: 9092,
        };
        let options = ConnectOptions::default();
        let connection = Connection::start(reads, writes, &endpoint, &options);
        let alert = NetError::Tls(TlsError::PeerAlert {
            alert: "bad_certificate",
            established: true,
        });
        connection.fail(alert.clone());
        let until = Instant::now() + Duration::from_secs(30);
        let error = begin(&connection, &options, until).await.err();
        assert_eq!(error, Some(not_answered("api_versions", alert)));
    }
}

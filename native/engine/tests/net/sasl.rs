//! SASL: the handshake around a mechanism, on new connections and on live ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::error::Error;
use brod_engine::net::sasl::{
    BoxFuture, Exchange, ExternalAuthentication, Loan, Mechanism, Sasl, SaslError, Step,
};
use brod_engine::net::{ConnectOptions, Connection, Endpoint, NetError};
use brod_protocol::error::ErrorCode;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::broker::{answer_metadata, listen, listen_plain, VERSIONS};
use crate::server::encoded;
use crate::{ask, options};

/// Says its tokens one after the other; the broker asks for the next one each time.
pub(crate) struct Tokens {
    tokens: &'static [&'static str],
    refused: AtomicU64,
}

impl Tokens {
    pub(crate) fn new(tokens: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Tokens {
            tokens,
            refused: AtomicU64::new(0),
        })
    }
}

impl Mechanism for Tokens {
    fn name(&self) -> &str {
        "TOKENS"
    }

    fn start<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Exchange>, SaslError>> {
        let exchange = Saying(self.tokens.iter());
        Box::pin(async move { Ok(Box::new(exchange) as Box<dyn Exchange>) })
    }

    fn refused(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }
}

struct Saying(std::slice::Iter<'static, &'static str>);

impl Exchange for Saying {
    fn next(&mut self, _: &[u8]) -> Result<Step, SaslError> {
        Ok(match self.0.next() {
            None => Step::Done,
            Some(token) => Step::Token {
                bytes: token.as_bytes().to_vec().into(),
                last: self.0.len() == 0,
            },
        })
    }
}

pub(crate) fn with(sasl: Sasl) -> ConnectOptions {
    ConnectOptions {
        sasl: Some(sasl),
        ..options()
    }
}

fn refused(code: ErrorCode, message: Option<&str>) -> NetError {
    NetError::Sasl(SaslError::Refused {
        mechanism: "TOKENS".into(),
        code,
        message: message.map(str::to_owned),
    })
}

/// What a broker was asked, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// A broker that lets in whoever says `open`, for so many ms; `wait` before each answer.
async fn broker(log: Log, session_ms: i64, wait: Duration) -> Endpoint {
    listen_plain(VERSIONS, move |key, version, mut body| {
        let log = log.clone();
        async move {
            tokio::time::sleep(wait).await;
            let said = match key {
                ApiKey::SaslHandshake => {
                    let request = SaslHandshakeRequest::decode(&mut body, version).unwrap();
                    assert_eq!(version, 1);
                    log.lock().push(request.mechanism.to_string());
                    let known = request.mechanism.as_str() == "TOKENS";
                    let code = if known { 0 } else { 33 };
                    let offered = ["TOKENS", "PLAIN"].map(StrBytes::from_static_str);
                    let response = SaslHandshakeResponse::default()
                        .with_error_code(code)
                        .with_mechanisms(offered.to_vec());
                    return Some(encoded(&response, version));
                }
                ApiKey::SaslAuthenticate => {
                    let request = SaslAuthenticateRequest::decode(&mut body, version).unwrap();
                    String::from_utf8(request.auth_bytes.to_vec()).unwrap()
                }
                other => format!("{other:?}"),
            };
            log.lock().push(said.clone());
            if key != ApiKey::SaslAuthenticate {
                return answer_metadata(key, version, body).await;
            }
            let response = match said.as_str() {
                "wrong" => SaslAuthenticateResponse::default()
                    .with_error_code(58)
                    .with_error_message(Some(StrBytes::from_static_str("Who are you?"))),
                "open" => SaslAuthenticateResponse::default().with_session_lifetime_ms(session_ms),
                _ => SaslAuthenticateResponse::default()
                    .with_auth_bytes(Bytes::from_static(b"go on")),
            };
            Some(encoded(&response, version))
        }
    })
    .await
}

#[tokio::test]
async fn tokens_are_said_one_after_the_other_before_anything_is_asked() {
    let log = Log::default();
    let endpoint = broker(log.clone(), 0, Duration::ZERO).await;
    let sasl = Sasl::Mechanism(Tokens::new(&["knock", "open"]));
    let connection = Connection::open(&endpoint, &with(sasl)).await.unwrap();
    assert_eq!(ask(&connection).await, Ok(1));
    assert_eq!(*log.lock(), ["TOKENS", "knock", "open", "Metadata"]);
}

#[tokio::test]
async fn a_refusal_comes_with_the_brokers_own_words() {
    let endpoint = broker(Log::default(), 0, Duration::ZERO).await;
    let tokens = Tokens::new(&["wrong"]);
    let sasl = Sasl::Mechanism(tokens.clone());
    let opened = Connection::open(&endpoint, &with(sasl)).await;
    let code = ErrorCode::SASL_AUTHENTICATION_FAILED;
    assert_eq!(opened.err(), Some(refused(code, Some("Who are you?"))));
    assert_eq!(tokens.refused.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_mechanism_that_the_broker_lacks_is_told_with_those_that_it_has() {
    let endpoint = listen_plain(VERSIONS, |_, version, _| async move {
        let offered = ["PLAIN", "GSSAPI"].map(StrBytes::from_static_str);
        let response = SaslHandshakeResponse::default()
            .with_error_code(33)
            .with_mechanisms(offered.to_vec());
        Some(encoded(&response, version))
    })
    .await;
    let sasl = Sasl::Mechanism(Tokens::new(&["open"]));
    let opened = Connection::open(&endpoint, &with(sasl)).await;
    let unsupported = SaslError::Unsupported {
        mechanism: "TOKENS".into(),
        offered: vec!["PLAIN".into(), "GSSAPI".into()],
    };
    assert_eq!(opened.err(), Some(NetError::Sasl(unsupported)));
}

#[tokio::test]
async fn sasl_at_a_port_without_it_is_told_by_the_brokers_code() {
    let endpoint = listen_plain(VERSIONS, |_, version, _| async move {
        let response = SaslHandshakeResponse::default().with_error_code(34);
        Some(encoded(&response, version))
    })
    .await;
    let sasl = Sasl::Mechanism(Tokens::new(&["open"]));
    let opened = Connection::open(&endpoint, &with(sasl)).await;
    let code = ErrorCode::ILLEGAL_SASL_STATE;
    assert_eq!(opened.err(), Some(refused(code, None)));
}

/// A broker of the time before SaslAuthenticate: tokens have a length before them and nothing else. It
/// asks for `tokens`, and hangs up on others. An empty answer says yes.
async fn old_broker(tokens: &'static [&'static str]) -> Endpoint {
    listen(move |mut socket| async move {
        let talk = async {
            let size = socket.read_i32().await?;
            let mut request = BytesMut::zeroed(size as usize);
            socket.read_exact(&mut request).await?;
            assert_eq!(request.get_i16(), ApiKey::SaslHandshake as i16);
            assert_eq!(request.get_i16(), 0);
            let mut answer = BytesMut::new();
            answer.put_i32(10);
            answer.put_i32(request.get_i32());
            answer.put_slice(&encoded(&SaslHandshakeResponse::default(), 0));
            socket.write_all(&answer).await?;
            for token in tokens {
                let size = socket.read_i32().await?;
                let mut said = vec![0; size as usize];
                socket.read_exact(&mut said).await?;
                if said != token.as_bytes() {
                    return Ok(());
                }
                socket.write_i32(0).await?;
            }
            let size = socket.read_i32().await?;
            let mut request = BytesMut::zeroed(size as usize);
            socket.read_exact(&mut request).await?;
            assert_eq!(request.get_i16(), ApiKey::Metadata as i16);
            let version = request.get_i16();
            let correlation_id = request.get_i32();
            let body = answer_metadata(ApiKey::Metadata, version, Bytes::new()).await;
            let body = body.unwrap();
            let mut answer = BytesMut::new();
            answer.put_i32(body.len() as i32 + 5);
            answer.put_i32(correlation_id);
            answer.put_u8(0);
            answer.put_slice(&body);
            socket.write_all(&answer).await?;
            socket.read_u8().await.map(|_| ())
        };
        let _: std::io::Result<()> = talk.await;
    })
    .await
}

#[tokio::test]
async fn a_broker_without_sasl_authenticate_is_given_bare_tokens() {
    let endpoint = old_broker(&["knock", "open"]).await;
    let old = |tokens| ConnectOptions {
        query_api_versions: false,
        ..with(Sasl::Mechanism(Tokens::new(tokens)))
    };
    let connection = Connection::open(&endpoint, &old(&["knock", "open"]))
        .await
        .unwrap();
    assert_eq!(ask(&connection).await, Ok(1));
    let refused = Connection::open(&endpoint, &old(&["wrong"])).await;
    let hung_up = SaslError::HungUp {
        mechanism: "TOKENS".into(),
    };
    assert_eq!(refused.err(), Some(NetError::Sasl(hung_up)));
}

#[tokio::test]
async fn a_session_is_renewed_on_the_live_connection_and_requests_keep_their_order() {
    let log = Log::default();
    let endpoint = broker(log.clone(), 400, Duration::from_millis(5)).await;
    let sasl = Sasl::Mechanism(Tokens::new(&["knock", "open"]));
    let connection = Connection::open(&endpoint, &with(sasl)).await.unwrap();
    let started = Instant::now();
    let count = |what: &str| log.lock().iter().filter(|said| *said == what).count();
    let mut fastest = Duration::MAX;
    let mut asked = 0;
    // The first is the login.
    while count("TOKENS") < 6 {
        assert!(started.elapsed() < Duration::from_secs(60), "no renewals");
        let (sent, before) = (Instant::now(), count("TOKENS"));
        let (one, two) = tokio::join!(ask(&connection), ask(&connection));
        assert_eq!((one, two), (Ok(1), Ok(1)));
        asked += 2;
        if count("TOKENS") > before {
            fastest = fastest.min(sent.elapsed());
        }
    }
    // Not with every request.
    let elapsed = started.elapsed();
    assert!(elapsed > Duration::from_millis(5 * 200), "{elapsed:?}");
    assert_eq!(count("Metadata"), asked);
    // A request waits for a renewal, which takes some of the broker's answers, and for nothing else.
    assert!(fastest < Duration::from_millis(300), "{fastest:?}");
    let log = log.lock();
    // Nothing comes between the first request of a handshake and its last token.
    for at in (0..log.len()).filter(|at| log[*at] == "TOKENS") {
        assert_eq!(log[at..log.len().min(at + 3)], ["TOKENS", "knock", "open"]);
    }
}

#[tokio::test]
async fn a_connection_whose_session_the_broker_does_not_renew_ends_with_the_reason() {
    let log = Log::default();
    let counted = log.clone();
    let endpoint = listen_plain(VERSIONS, move |key, version, body| {
        let log = counted.clone();
        async move {
            log.lock().push(format!("{key:?}"));
            let logins = log
                .lock()
                .iter()
                .filter(|k| *k == "SaslAuthenticate")
                .count();
            let response = SaslAuthenticateResponse::default();
            match (key, logins) {
                (ApiKey::SaslHandshake, _) => {
                    Some(encoded(&SaslHandshakeResponse::default(), version))
                }
                (ApiKey::SaslAuthenticate, 1) => {
                    Some(encoded(&response.with_session_lifetime_ms(100), version))
                }
                (ApiKey::SaslAuthenticate, _) => {
                    Some(encoded(&response.with_error_code(58), version))
                }
                _ => answer_metadata(key, version, body).await,
            }
        }
    })
    .await;
    let tokens = Tokens::new(&["open"]);
    let sasl = Sasl::Mechanism(tokens.clone());
    let connection = Connection::open(&endpoint, &with(sasl)).await.unwrap();
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, connection.wait_closed())
        .await
        .unwrap();
    assert_eq!(tokens.refused.load(Ordering::SeqCst), 1);
}

/// Answers questions about metadata after two seconds; sessions last 100 ms.
async fn broker_that_holds_answers_back(log: Log) -> Endpoint {
    listen_plain(VERSIONS, move |key, version, body| {
        let log = log.clone();
        async move {
            log.lock().push(format!("{key:?}"));
            match key {
                ApiKey::SaslHandshake => Some(encoded(&SaslHandshakeResponse::default(), version)),
                ApiKey::SaslAuthenticate => {
                    let response = SaslAuthenticateResponse::default();
                    Some(encoded(&response.with_session_lifetime_ms(100), version))
                }
                _ => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    answer_metadata(key, version, body).await
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_session_is_renewed_behind_an_answer_that_is_held_back_for_longer_than_a_login_may_take()
{
    let log = Log::default();
    let endpoint = broker_that_holds_answers_back(log.clone()).await;
    let options = ConnectOptions {
        connect_timeout: Duration::from_secs(1),
        ..with(Sasl::Mechanism(Tokens::new(&["open"])))
    };
    let connection = Connection::open(&endpoint, &options).await.unwrap();
    assert_eq!(ask(&connection).await, Ok(1));
    assert_eq!(ask(&connection).await, Ok(1));
    assert!(!connection.is_closed());
    let log = log.lock();
    let logins = log.iter().filter(|key| *key == "SaslAuthenticate").count();
    assert!(logins >= 2, "{log:?}");
}

#[tokio::test]
async fn a_connection_that_is_lost_while_its_session_is_renewed_is_no_refusal() {
    let logins = Arc::new(AtomicU64::new(0));
    let endpoint = listen_plain(VERSIONS, move |key, version, body| {
        let logins = logins.clone();
        async move {
            match key {
                // It hangs up on the second one.
                ApiKey::SaslHandshake if logins.fetch_add(1, Ordering::SeqCst) > 0 => None,
                ApiKey::SaslHandshake => Some(encoded(&SaslHandshakeResponse::default(), version)),
                ApiKey::SaslAuthenticate => {
                    let response = SaslAuthenticateResponse::default();
                    Some(encoded(&response.with_session_lifetime_ms(100), version))
                }
                _ => answer_metadata(key, version, body).await,
            }
        }
    })
    .await;
    let options = with(Sasl::Mechanism(Tokens::new(&["open"])));
    let connection = Connection::open(&endpoint, &options).await.unwrap();
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, connection.wait_closed())
        .await
        .unwrap();
    let broker = options.stats.broker(&endpoint);
    assert_eq!(broker.auth_failures.get(), 0);
    assert_eq!(broker.disconnects.get(), 1);
}

/// Says hello over the loan, and waits for the answer.
struct Outsider;

impl ExternalAuthentication for Outsider {
    fn authenticate<'a>(&'a self, mut loan: Loan) -> BoxFuture<'a, Result<(), SaslError>> {
        Box::pin(async move {
            let mut hello = BytesMut::new();
            hello.put_i32(5);
            hello.put_slice(b"hello");
            assert!(loan.send(hello.freeze()).await);
            match loan.receive().await.as_deref() {
                Some(b"\0\0\0\x07welcome") => Ok(()),
                other => Err(SaslError::External(Bytes::from(format!("{other:?}")))),
            }
        })
    }
}

/// Answers bare greetings, and then requests.
async fn greeting_broker(answer: &'static str) -> Endpoint {
    let behind = listen_plain(VERSIONS, answer_metadata).await;
    listen(move |mut socket| {
        let behind = behind.clone();
        async move {
            let mut hello = [0; 9];
            let _ = socket.read_exact(&mut hello).await;
            assert_eq!(&hello, b"\0\0\0\x05hello");
            let _ = socket.write_i32(answer.len() as i32).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            let broker = (behind.host.as_str(), behind.port);
            let mut broker = tokio::net::TcpStream::connect(broker).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut socket, &mut broker).await;
        }
    })
    .await
}

#[tokio::test]
async fn the_stream_is_lent_to_an_outsider_and_is_the_clients_again_afterwards() {
    let outsider = || ConnectOptions {
        query_api_versions: false,
        ..with(Sasl::External(Arc::new(Outsider)))
    };
    let endpoint = greeting_broker("welcome").await;
    let connection = Connection::open(&endpoint, &outsider()).await.unwrap();
    assert_eq!(ask(&connection).await, Ok(1));
    let endpoint = greeting_broker("go away").await;
    let opened = Connection::open(&endpoint, &outsider()).await;
    assert!(
        matches!(
            opened.as_ref().err(),
            Some(NetError::Sasl(SaslError::External(_)))
        ),
        "{:?}",
        opened.err()
    );
}

#[tokio::test]
async fn a_wrong_password_does_not_hammer_the_broker_and_its_words_are_repeated() {
    let log = Log::default();
    let endpoint = broker(log.clone(), 0, Duration::ZERO).await;
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![endpoint],
        connect: with(Sasl::Mechanism(Tokens::new(&["wrong"]))),
        ..ClusterConfig::default()
    });
    let expected = refused(ErrorCode::SASL_AUTHENTICATION_FAILED, Some("Who are you?"));
    let started = Instant::now();
    for _ in 0..50 {
        match cluster.connect().await {
            Err(Error::Unreachable(failures)) => assert_eq!(failures[0].1, expected),
            other => panic!("{other:?}"),
        }
    }
    // The first wait is of a second.
    let attempts = log.lock().len() / 2;
    assert!(
        attempts as u64 <= 1 + started.elapsed().as_secs(),
        "{attempts}"
    );
    cluster.close();
}

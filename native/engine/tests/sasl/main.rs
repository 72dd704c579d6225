//! Clients that have to say who they are, against a scripted broker: every mechanism on new connections and
//! again on live ones (KIP-368), and what a client hears who is not let in.

mod broker;
#[path = "../support/wire.rs"]
mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use brod_engine::net::sasl::{
    Asked, AwsCredentials, AwsMskIam, BoxFuture, CredentialsError, Fixed, Login, LoginFile,
    Mechanism, OauthBearer, Plain, Provider, Renewed, Sasl, SaslError, Scram, ScramHash, Token,
};
use brod_engine::net::{ConnectOptions, Connection, Endpoint, NetError};
use broker::{start, Script, PASSWORD, USER};
use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::StrBytes;

const LIMIT: Duration = Duration::from_secs(20);

fn options(mechanism: impl Mechanism + 'static) -> ConnectOptions {
    ConnectOptions {
        connect_timeout: LIMIT,
        sasl: Some(Sasl::Mechanism(Arc::new(mechanism))),
        ..ConnectOptions::default()
    }
}

fn alice(password: &str) -> Fixed<Login> {
    Fixed(Login::new(USER, password))
}

fn bearer(value: &str, lifetime: Duration) -> Token {
    Token {
        value: value.into(),
        lifetime,
        extensions: vec![],
    }
}

fn every_mechanism() -> [ConnectOptions; 4] {
    let aws = AwsCredentials {
        access_key_id: "AKIA".into(),
        secret_access_key: "key".into(),
        session_token: None,
        lifetime: None,
    };
    [
        options(Plain::new(alice(PASSWORD))),
        options(Scram::new(ScramHash::Sha256, alice(PASSWORD))),
        options(OauthBearer::new(Fixed(bearer("abc", LIMIT)))),
        options(AwsMskIam::new(Fixed(aws), Some("eu-west-1".into()))),
    ]
}

/// Asks for something that only those are answered who were let in.
async fn ask(connection: &Connection, key: &str) -> Result<(), NetError> {
    let key = StrBytes::from_string(key.to_owned());
    let request = FindCoordinatorRequest::default().with_key(key.clone());
    let answer = connection.call(&request, LIMIT).await?;
    assert_eq!(answer.host, key);
    Ok(())
}

async fn refusal(endpoint: &Endpoint, options: &ConnectOptions) -> SaslError {
    match Connection::open(endpoint, options).await {
        Err(NetError::Sasl(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[tokio::test]
async fn a_client_is_let_in_by_each_mechanism() {
    for options in every_mechanism() {
        let (endpoint, script) = start(Script::default()).await;
        let connection = Connection::open(&endpoint, &options).await.unwrap();
        ask(&connection, "k").await.unwrap();
        assert_eq!(script.lock().accepted.len(), 1);
    }
}

#[tokio::test]
async fn sessions_are_renewed_on_live_connections_and_no_request_is_lost_or_overtaken() {
    for options in every_mechanism() {
        let (endpoint, script) = start(Script {
            session_lifetime_ms: 100,
            ..Script::default()
        })
        .await;
        let connection = Connection::open(&endpoint, &options).await.unwrap();
        let mut asked = Vec::new();
        let until_renewed = async {
            while script.lock().accepted.len() < 3 {
                let keys = [(); 3].map(|()| {
                    asked.push(format!("k{}", asked.len()));
                    asked.last().unwrap().clone()
                });
                let [a, b, c] = keys.each_ref().map(|key| ask(&connection, key));
                tokio::try_join!(a, b, c).unwrap();
            }
        };
        tokio::time::timeout(LIMIT, until_renewed).await.unwrap();
        let script = script.lock();
        assert_eq!(script.served, asked);
        assert_eq!(script.connections, 1);
    }
}

#[tokio::test]
async fn a_token_is_renewed_for_the_session_that_it_is_good_for() {
    let (endpoint, script) = start(Script {
        session_lifetime_ms: 1_500,
        ..Script::default()
    })
    .await;
    let count = Arc::new(AtomicUsize::new(0));
    let issued = count.clone();
    let fun = Asked::new(LIMIT, move |reply| {
        let number = issued.fetch_add(1, Ordering::SeqCst);
        reply.send(Ok(bearer(
            &format!("t{number}"),
            Duration::from_millis(1_500),
        )));
    });
    let options = options(OauthBearer::new(Renewed::new("c", fun)));
    let one = Connection::open(&endpoint, &options).await.unwrap();
    let other = Connection::open(&endpoint, &options).await.unwrap();
    let renewed = async {
        while script.lock().tokens.len() < 6 {
            tokio::try_join!(ask(&one, "a"), ask(&other, "b")).unwrap();
        }
    };
    tokio::time::timeout(LIMIT, renewed).await.unwrap();
    let script = script.lock();
    assert_eq!(script.tokens[..2], ["t0", "t0"]);
    // Each session is renewed with the token that was asked for meanwhile, once for both connections.
    let mut later = script.tokens[2..6].to_vec();
    later.sort();
    assert_eq!(later, ["t1", "t1", "t2", "t2"]);
    assert!(count.load(Ordering::SeqCst) <= 4);
}

/// Counts how often the file is asked for.
struct Counted {
    file: LoginFile,
    asked: Arc<AtomicUsize>,
}

impl Provider<Login> for Counted {
    fn provide(&self) -> BoxFuture<'_, Result<Login, CredentialsError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.file.provide()
    }
}

#[tokio::test]
async fn a_session_outlives_a_file_that_is_away_for_a_moment() {
    let (endpoint, script) = start(Script {
        session_lifetime_ms: 4_000,
        ..Script::default()
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("login");
    let put = || std::fs::write(&path, format!("{USER}\n{PASSWORD}\n")).unwrap();
    put();
    let asked = Arc::new(AtomicUsize::new(0));
    let login = Counted {
        file: LoginFile(path.clone()),
        asked: asked.clone(),
    };
    let options = options(Plain::new(login));
    let connection = Connection::open(&endpoint, &options).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let missed = async {
        while asked.load(Ordering::SeqCst) < 3 {
            ask(&connection, "k").await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, missed).await.unwrap();
    put();
    let renewed = async {
        while script.lock().accepted.len() < 2 {
            ask(&connection, "k").await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, renewed).await.unwrap();
    assert_eq!(script.lock().connections, 1);
}

#[tokio::test]
async fn a_session_that_is_over_takes_its_connection_along_where_nothing_is_asked() {
    let (endpoint, _) = start(Script {
        session_lifetime_ms: 500,
        ..Script::default()
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("login");
    std::fs::write(&file, format!("{USER}\n{PASSWORD}\n")).unwrap();
    let options = options(Plain::new(LoginFile(file.clone())));
    let connection = Connection::open(&endpoint, &options).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    tokio::time::timeout(LIMIT, connection.wait_closed())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_port_that_does_not_authenticate_is_told_with_what_to_check() {
    let (endpoint, _) = start(Script {
        plaintext: true,
        ..Script::default()
    })
    .await;
    let error = refusal(&endpoint, &options(Plain::new(alice(PASSWORD)))).await;
    let SaslError::Refused { code, message, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((code.name(), message), ("illegal_sasl_state", &None));
    assert!(error.to_string().contains("check the port"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_told_in_the_broker_s_words_with_what_to_check() {
    let (endpoint, _) = start(Script::default()).await;
    let wrong = [
        options(Plain::new(alice("wrong"))),
        options(Scram::new(ScramHash::Sha256, alice("wrong"))),
    ];
    for options in wrong {
        let error = refusal(&endpoint, &options).await;
        let SaslError::Refused {
            message: Some(message),
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert!(message.starts_with("Authentication failed"), "{message}");
        let text = error.to_string();
        assert!(
            text.contains(message) && text.contains("check user and password"),
            "{text}"
        );
        assert!(!text.contains("wrong"), "{text}");
        assert!(error.is_refusal());
    }
}

#[tokio::test]
async fn a_mechanism_that_the_broker_lacks_is_told_with_those_that_it_has() {
    let (endpoint, _) = start(Script::default()).await;
    let options = options(Scram::new(ScramHash::Sha512, alice(PASSWORD)));
    let text = refusal(&endpoint, &options).await.to_string();
    assert!(
        text.contains("SCRAM-SHA-512") && text.contains("PLAIN, SCRAM-SHA-256"),
        "{text}"
    );
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_either_is_not_talked_to() {
    let (endpoint, script) = start(Script {
        impostor: true,
        ..Script::default()
    })
    .await;
    let options = options(Scram::new(ScramHash::Sha256, alice(PASSWORD)));
    let error = refusal(&endpoint, &options).await;
    assert!(error.to_string().contains("impostor"), "{error}");
    assert!(script.lock().served.is_empty());
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_with_the_broker_s_complaint() {
    let (endpoint, _) = start(Script {
        token: Some("good".into()),
        ..Script::default()
    })
    .await;
    let error = refusal(
        &endpoint,
        &options(OauthBearer::new(Fixed(bearer("bad", LIMIT)))),
    )
    .await;
    let text = error.to_string();
    assert!(
        text.contains("invalid_token") && text.contains("or the token"),
        "{text}"
    );
}

/// It is not the broker that did not answer.
#[tokio::test]
async fn credentials_that_come_too_late_are_no_credentials() {
    let (endpoint, _script) = start(Script::default()).await;
    let waiting = std::sync::Mutex::new(Vec::new());
    let late = Asked::<Token>::new(LIMIT, move |reply| waiting.lock().unwrap().push(reply));
    let options = ConnectOptions {
        connect_timeout: Duration::from_secs(2),
        ..options(OauthBearer::new(Renewed::new("c", late)))
    };
    let error = refusal(&endpoint, &options).await;
    assert_eq!(
        error.to_string(),
        "OAUTHBEARER: no credentials: none came within connect_timeout"
    );
    assert!(!error.is_refusal());
}

#[tokio::test]
async fn who_has_no_credentials_says_why_and_is_no_refusal() {
    let (endpoint, script) = start(Script::default()).await;
    let none = Asked::<Token>::new(LIMIT, |reply| {
        reply.send(Err(CredentialsError::None("the fun failed".into())));
    });
    let error = refusal(
        &endpoint,
        &options(OauthBearer::new(Renewed::new("c", none))),
    )
    .await;
    assert_eq!(
        error.to_string(),
        "OAUTHBEARER: no credentials: the fun failed"
    );
    assert!(!error.is_refusal());
    assert!(script.lock().accepted.is_empty());
}

//! Connections to brokers that do TLS and SASL rightly, and wrongly.

mod authority;
mod broker;
mod renewal;
mod sasl;
#[path = "../support/server.rs"]
mod server;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::net::{
    AddressFamily, ConnectOptions, Connection, Endpoint, NetError, SocketOptions,
};
use brod_engine::stats::Event;
use broker::{answer_metadata, listen_plain, VERSIONS};
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse};
use parking_lot::Mutex;
use server::encoded;

/// Asks for metadata, as a first request.
async fn ask(connection: &Connection) -> Result<usize, NetError> {
    let limit = Duration::from_secs(5);
    let response = connection
        .call_version(&MetadataRequest::default(), 9, limit)
        .await?;
    Ok(response.brokers.len())
}

/// So long nothing here takes.
fn options() -> ConnectOptions {
    ConnectOptions {
        connect_timeout: Duration::from_secs(10),
        ..ConnectOptions::default()
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_and_one_that_waits_for_an_answer_is_not() {
    let slow = listen_plain(VERSIONS, |key, version, body| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        answer_metadata(key, version, body).await
    })
    .await;
    let options = ConnectOptions {
        max_idle: Some(Duration::from_millis(100)),
        ..options()
    };
    let connection = Connection::open(&slow, &options).await.unwrap();
    assert_eq!(ask(&connection).await, Ok(1));
    let limit = Duration::from_secs(5);
    let closed = tokio::time::timeout(limit, connection.wait_closed()).await;
    assert!(closed.is_ok());
    assert_eq!(ends(&slow, &options), (0, 1, Some(Event::Closed("idle"))));
}

#[tokio::test]
async fn a_request_without_an_answer_that_a_broker_does_not_read_has_its_limit_too() {
    const LIMIT: Duration = Duration::from_millis(500);
    // It reads nothing beside what it works on.
    let hangs = listen_plain(VERSIONS, |_, _, _| std::future::pending()).await;
    let connection = Connection::open(&hangs, &options()).await.unwrap();
    let (produce, metadata) = (ApiKey::Produce as i16, ApiKey::Metadata as i16);
    let asked = connection.exchange_within(bytes::Bytes::new(), metadata, 9, 10 * LIMIT);
    // More than what lies between them takes.
    let body = bytes::Bytes::from(vec![0; 64 * 1024 * 1024]);
    let written = connection.send_only(body, produce, 3, LIMIT);
    let written = tokio::time::timeout(10 * LIMIT, written).await;
    assert_eq!(written, Ok(Err(NetError::Timeout)));
    assert!(connection.is_closed());
    assert_eq!(asked.await, Err(NetError::Timeout));
}

/// Connections that were lost, that were closed, and what the journal says last.
fn ends(endpoint: &Endpoint, options: &ConnectOptions) -> (u64, u64, Option<Event>) {
    let broker = options.stats.broker(endpoint);
    let last = options.stats.journal.since(0).pop();
    (
        broker.disconnects.get(),
        broker.closes.get(),
        last.map(|noted| noted.event),
    )
}

#[tokio::test]
async fn a_connection_that_the_client_closes_is_not_lost_and_one_that_the_broker_closes_is() {
    let endpoint = listen_plain(VERSIONS, answer_metadata).await;
    let asked = options();
    let connection = Connection::open(&endpoint, &asked).await.unwrap();
    connection.close();
    let by_client = Event::Closed("closed by the client");
    assert_eq!(ends(&endpoint, &asked), (0, 1, Some(by_client)));

    let hangs_up = listen_plain(VERSIONS, |_, _, _| async { None }).await;
    let connection = Connection::open(&hangs_up, &asked).await.unwrap();
    assert!(ask(&connection).await.is_err());
    let lost = Event::Disconnected("connection closed".into());
    assert_eq!(ends(&hangs_up, &asked), (1, 0, Some(lost)));
}

#[tokio::test]
async fn a_broker_that_asks_to_be_left_alone_is_and_the_limit_of_an_answer_does_not_run_meanwhile()
{
    let pause = Duration::from_millis(1_000);
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let log = arrivals.clone();
    let endpoint = listen_plain(VERSIONS, move |_, version, _| {
        log.lock().push(Instant::now());
        async move {
            let response = MetadataResponse::default().with_throttle_time_ms(1_000);
            Some(encoded(&response, version))
        }
    })
    .await;
    let connection = Connection::open(&endpoint, &options()).await.unwrap();
    let limit = Duration::from_millis(700);
    for _ in 0..3 {
        let request = MetadataRequest::default();
        let answer = connection.call_version(&request, 9, limit).await;
        assert_eq!(answer.map(|response| response.throttle_time_ms), Ok(1_000));
    }
    let arrivals = arrivals.lock();
    for (earlier, later) in arrivals.iter().zip(arrivals.iter().skip(1)) {
        assert!(*later - *earlier >= pause, "{:?}", *later - *earlier);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_comes_from_the_address_and_over_the_family_that_were_asked_for() {
    let (came_from, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = broker::listen(move |socket| {
        let _ = came_from.send(socket.peer_addr().unwrap().ip());
        async move {
            let _ = server::talk(socket, VERSIONS, answer_metadata).await;
        }
    })
    .await;
    let socket = |socket| ConnectOptions {
        socket,
        ..options()
    };
    let from = "127.0.0.2".parse().unwrap();
    let bound = socket(SocketOptions {
        local_address: Some(from),
        linger: Some(Duration::ZERO),
        tos: Some(0x10),
        send_buffer: Some(65536),
        receive_buffer: Some(65536),
        ..SocketOptions::default()
    });
    let connection = Connection::open(&endpoint, &bound).await.unwrap();
    assert_eq!(ask(&connection).await, Ok(1));
    assert_eq!(seen.recv().await, Some(from));
    let no_such_family = socket(SocketOptions {
        family: AddressFamily::V6,
        ..SocketOptions::default()
    });
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: endpoint.port,
    };
    let opened = Connection::open(&endpoint, &no_such_family).await;
    assert_eq!(opened.err(), Some(NetError::HostNotFound));
}

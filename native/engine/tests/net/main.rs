//! Connections to brokers that do TLS and SASL rightly, and wrongly.

mod authority;
mod broker;
mod sasl;
#[path = "../support/server.rs"]
mod server;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::net::{ConnectOptions, Connection, NetError};
use broker::{answer_metadata, listen_plain, VERSIONS};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
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
}

#[tokio::test]
async fn a_broker_that_asks_to_be_left_alone_is_and_the_limit_of_an_answer_does_not_run_meanwhile()
{
    let pause = Duration::from_millis(400);
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let log = arrivals.clone();
    let endpoint = listen_plain(VERSIONS, move |_, version, _| {
        log.lock().push(Instant::now());
        async move {
            let response = MetadataResponse::default().with_throttle_time_ms(400);
            Some(encoded(&response, version))
        }
    })
    .await;
    let connection = Connection::open(&endpoint, &options()).await.unwrap();
    let limit = Duration::from_millis(200);
    for _ in 0..3 {
        let request = MetadataRequest::default();
        let answer = connection.call_version(&request, 9, limit).await;
        assert_eq!(answer.map(|response| response.throttle_time_ms), Ok(400));
    }
    let arrivals = arrivals.lock();
    for (earlier, later) in arrivals.iter().zip(arrivals.iter().skip(1)) {
        assert!(*later - *earlier >= pause, "{:?}", *later - *earlier);
    }
}

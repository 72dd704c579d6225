//! Connections to brokers that do TLS and SASL rightly, and wrongly.

mod authority;
mod broker;
mod sasl;
#[path = "../support/server.rs"]
mod server;
mod tls;

use std::time::Duration;

use brod_engine::net::{ConnectOptions, Connection, NetError};
use broker::{answer_metadata, listen_plain, VERSIONS};
use kafka_protocol::messages::MetadataRequest;

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

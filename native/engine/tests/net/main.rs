//! Connections to brokers that do TLS and SASL rightly, and wrongly.

mod authority;
mod broker;
mod sasl;
#[path = "../support/server.rs"]
mod server;
mod tls;

use std::time::Duration;

use brod_engine::net::{ConnectOptions, Connection, NetError};
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

//! From an endpoint to a connection that can be used: each of the host's addresses is given its part of
//! the time, until one lets the client in.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::time::timeout_at;

use super::connection::Connection;
use super::{handshake, lifetime, transport, ConnectOptions, Endpoint, NetError};

/// See [`Connection::open`].
pub(super) async fn open(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Connection, NetError> {
    let until = Instant::now() + options.connect_timeout;
    let found = timeout_at(until.into(), transport::resolve(endpoint))
        .await
        .map_err(|_| NetError::Timeout)??;
    let mut addresses = super::race::order(&found, &options.socket);
    let mut first_refusal = None;
    loop {
        let reached = timeout_at(
            until.into(),
            transport::connect(&mut addresses, &options.socket),
        );
        let stream = match reached.await {
            Ok(Ok(stream)) => stream,
            // What somebody said who could be reached tells more than who could not.
            Ok(Err(error)) => return Err(first_refusal.unwrap_or(error)),
            Err(_) => return Err(first_refusal.unwrap_or(NetError::Timeout)),
        };
        let part = part_of_the_time(until, &addresses);
        match establish(stream, endpoint, options, part).await {
            Ok(connection) => return Ok(connection),
            Err(error) if addresses.is_empty() || error.is_of_the_cluster() => {
                return Err(first_refusal.unwrap_or(error))
            }
            Err(error) => {
                first_refusal.get_or_insert(error);
            }
        }
    }
}

/// Until when one address may take, so that the others get as much.
fn part_of_the_time(until: Instant, others: &[SocketAddr]) -> Instant {
    let now = Instant::now();
    let left = until.saturating_duration_since(now);
    now + left / (others.len() as u32 + 1)
}

async fn establish(
    stream: tokio::net::TcpStream,
    endpoint: &Endpoint,
    options: &ConnectOptions,
    until: Instant,
) -> Result<Connection, NetError> {
    let connection = match &options.tls {
        None => {
            let (reads, writes) = stream.into_split();
            Connection::start(reads, writes, endpoint, &options.client_id)
        }
        Some(tls) => {
            let stream = tls.connect(stream, endpoint, until).await?;
            let (reads, writes) = tokio::io::split(stream);
            Connection::start(reads, writes, endpoint, &options.client_id)
        }
    };
    let session = handshake::begin(&connection, options, until).await?;
    lifetime::watch(&connection, options, session);
    Ok(connection)
}

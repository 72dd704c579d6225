//! From an endpoint to a connection that can be used: each of the host's addresses is given its part of
//! the time, until one lets the client in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::connection::Connection;
use super::tls::Answering;
use super::{handshake, lifetime, transport, ConnectOptions, Endpoint, NetError};
use crate::stats::Event;

/// See [`Connection::open`].
pub(super) async fn open(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Connection, NetError> {
    let start = Instant::now();
    let opened = reach(endpoint, options).await;
    note(&opened, endpoint, options, start.elapsed());
    opened
}

fn note(
    opened: &Result<Connection, NetError>,
    endpoint: &Endpoint,
    options: &ConnectOptions,
    took: Duration,
) {
    let (stats, journal) = (&options.stats, &options.stats.journal);
    let broker = stats.broker(endpoint);
    match opened {
        Ok(_) => {
            broker.connects.count();
            journal.note(endpoint, Event::Connected(took.as_micros() as u64));
            if let Some(sasl) = &options.sasl {
                stats.authenticated(endpoint, sasl.name(), Ok(()));
            }
        }
        Err(error) => {
            broker.connect_failures.count();
            if let (NetError::Sasl(why), Some(sasl)) = (error, &options.sasl) {
                stats.authenticated(endpoint, sasl.name(), Err(why.to_string()));
            }
            journal.note(endpoint, Event::ConnectFailed(error.to_string()));
        }
    }
}

async fn reach(endpoint: &Endpoint, options: &ConnectOptions) -> Result<Connection, NetError> {
    let until = Instant::now() + options.connect_timeout;
    let found = timeout_at(
        until.into(),
        transport::resolve(endpoint, &options.resolver),
    )
    .await
    .map_err(|_| NetError::Timeout)??;
    let addresses = super::race::order(&found, &options.socket);
    open_one_of(addresses, endpoint, options, until).await
}

async fn open_one_of(
    mut addresses: Vec<SocketAddr>,
    endpoint: &Endpoint,
    options: &ConnectOptions,
    until: Instant,
) -> Result<Connection, NetError> {
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
            Connection::start(reads, writes, endpoint, options)
        }
        Some(tls) => {
            let stream = tls.connect(stream, endpoint, until).await?;
            let (reads, writes) = tokio::io::split(Answering(stream));
            Connection::start(reads, writes, endpoint, options)
        }
    };
    let session = handshake::begin(&connection, options, until).await?;
    connection.established();
    lifetime::watch(&connection, options, session);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Accepts connections, and answers a version query with a broker's oldest words if it `answers`.
    async fn listener(answers: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                if answers {
                    let mut request = [0; 64];
                    let _ = socket.read(&mut request).await;
                    // The correlation id, no error, no APIs, no throttling, no tagged fields.
                    let answer = [
                        &[0, 0, 0, 12][..],
                        &request[8..12],
                        &[0, 0, 1, 0, 0, 0, 0, 0],
                    ];
                    let _ = socket.write_all(&answer.concat()).await;
                }
                open.push(socket);
            }
        });
        address
    }

    #[tokio::test]
    async fn behind_an_address_that_takes_connections_and_says_nothing_the_next_one_is_tried() {
        let addresses = vec![listener(false).await, listener(true).await];
        let endpoint = Endpoint {
            host: "kafka".into(),
            port: 9092,
        };
        let options = ConnectOptions::default();
        let until = Instant::now() + Duration::from_secs(2);
        let opened = open_one_of(addresses, &endpoint, &options, until).await;
        assert!(opened.is_ok(), "{:?}", opened.err());
    }

    #[tokio::test]
    async fn where_no_address_answers_the_first_ones_failure_is_told_in_time() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = closed.local_addr().unwrap();
        drop(closed);
        let addresses = vec![listener(false).await, refuses];
        let endpoint = Endpoint {
            host: "kafka".into(),
            port: 9092,
        };
        let options = ConnectOptions::default();
        let until = Instant::now() + Duration::from_millis(400);
        let opened = open_one_of(addresses, &endpoint, &options, until).await;
        assert_eq!(opened.err(), Some(NetError::Timeout));
        assert!(Instant::now() < until + Duration::from_secs(5));
    }
}

//! Connections to brokers: TCP, version negotiation, requests pipelined in order.

mod connection;
mod error;

use std::time::Duration;

pub use connection::Connection;
pub use error::NetError;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// As a broker names it; None where the port is none.
    pub fn named(host: &str, port: i32) -> Option<Self> {
        Some(Endpoint {
            host: host.to_owned(),
            port: u16::try_from(port).ok()?,
        })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Sent with every request; brokers use it for logs and quotas.
    pub client_id: String,
    /// Bounds name lookup, TCP and version query together.
    pub connect_timeout: Duration,
    /// False for brokers older than 0.10, which hang up on the version query.
    pub query_api_versions: bool,
    /// SO_SNDBUF in bytes.
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF in bytes.
    pub receive_buffer: Option<usize>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            client_id: "brod".into(),
            connect_timeout: Duration::from_secs(5),
            query_api_versions: true,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

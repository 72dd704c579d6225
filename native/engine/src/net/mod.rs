//! Connections to brokers: dialling, TLS, SASL, version negotiation, requests pipelined in order.

mod attempt;
mod connection;
mod dial;
mod disk;
mod error;
mod handshake;
mod lifetime;
mod lookup;
mod old_broker;
mod options;
mod race;
pub mod sasl;
mod throttle;
pub mod tls;
mod transport;
mod wire;
mod writer;

pub use connection::Connection;
pub use disk::FileError;
pub use error::NetError;
pub use options::{AddressFamily, ConnectOptions, Resolver, SocketOptions};

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

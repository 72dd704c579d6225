//! How a connection is made.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::sasl::Sasl;
use super::tls::Tls;
use crate::stats::Stats;

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Sent with every request; brokers use it for logs and quotas.
    pub client_id: String,
    /// Bounds name lookup, TCP, TLS, version query and SASL together.
    pub connect_timeout: Duration,
    /// False for brokers older than 0.10, which hang up on the version query.
    pub query_api_versions: bool,
    /// A connection on which nothing was asked for so long is closed. None: never.
    pub max_idle: Option<Duration>,
    /// What the operating system is told about the socket.
    pub socket: SocketOptions,
    /// TLS, with everything that the connections of a client share: certificates, sessions.
    pub tls: Option<Arc<Tls>>,
    /// How the client proves who it is.
    pub sasl: Option<Sasl>,
    /// Who knows the addresses of a host.
    pub resolver: Resolver,
    /// Where it is counted what the connections do.
    pub stats: Arc<Stats>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            client_id: "brod".into(),
            connect_timeout: Duration::from_secs(5),
            query_api_versions: true,
            max_idle: None,
            socket: SocketOptions::default(),
            tls: None,
            sasl: None,
            resolver: Resolver::default(),
            stats: Arc::default(),
        }
    }
}

type Lookup = dyn Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up host names, on a thread that may block: the operating system's resolver unless a test has its own.
#[derive(Clone)]
pub struct Resolver(Arc<Lookup>);

impl Resolver {
    /// One that answers as the function does.
    pub fn new(
        lookup: impl Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Resolver(Arc::new(lookup))
    }

    pub(super) fn look_up(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        (self.0)(host, port)
    }

    /// The same for those that are one.
    pub(super) fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as *const () as usize
    }
}

/// The system's.
static SYSTEM: LazyLock<Resolver> =
    LazyLock::new(|| Resolver::new(|host, port| Ok((host, port).to_socket_addrs()?.collect())));

impl Default for Resolver {
    fn default() -> Self {
        SYSTEM.clone()
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

/// Options of a TCP socket, by their names in Erlang's `inet` where those differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY; on by default.
    pub nodelay: bool,
    /// SO_KEEPALIVE; on by default.
    pub keepalive: bool,
    /// SO_SNDBUF in bytes (`sndbuf`).
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF in bytes (`recbuf`).
    pub receive_buffer: Option<usize>,
    /// IP_TOS, IPV6_TCLASS on IPv6.
    pub tos: Option<u32>,
    /// The local address to connect from (`ip`, `ifaddr`). Only addresses of its family are tried.
    pub local_address: Option<IpAddr>,
    /// Which addresses of a name are tried (`inet`, `inet6`).
    pub family: AddressFamily,
    /// SO_LINGER.
    pub linger: Option<Duration>,
    /// SO_BINDTODEVICE: the name of an interface. Linux only; elsewhere connecting fails.
    pub bind_to_device: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            nodelay: true,
            keepalive: true,
            send_buffer: None,
            receive_buffer: None,
            tos: None,
            local_address: None,
            family: AddressFamily::Any,
            linger: None,
            bind_to_device: None,
        }
    }
}

/// Which addresses of a name are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamily {
    /// All, IPv6 and IPv4 in turn.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

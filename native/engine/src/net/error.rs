//! What can go wrong between this client and one broker.

use std::io;

use brod_protocol::WireError;

use super::sasl::SaslError;
use super::tls::TlsError;

/// A connection could not be made, or broke, or the peer does not speak Kafka.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Nobody listens on the port.
    #[error("connection refused")]
    Refused,
    /// The host name does not resolve.
    #[error("host name does not resolve")]
    HostNotFound,
    /// The time given for connecting or for an answer is up.
    #[error("timed out")]
    Timeout,
    /// The peer or this side closed the connection.
    #[error("connection closed")]
    Closed,
    /// What answers is not a Kafka broker, or speaks a version that is not supported.
    #[error("not a Kafka broker: {0}")]
    NotKafka(String),
    /// The broker does not offer a version of the API that this client speaks.
    #[error("the broker does not support {api} in a version that this client speaks")]
    UnsupportedApi {
        /// Name of the API, as in Kafka's protocol guide.
        api: String,
    },
    /// A frame or message that breaks the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// There is no TLS with the peer, or it ended.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The client could not prove who it is.
    #[error("SASL: {0}")]
    Sasl(#[from] SaslError),
    /// The connection ended during one of the first requests, before it could be used: a plaintext
    /// client at a TLS port, a client certificate that is missing. brod: `{{kpro_req, _, Api, ...}, Cause}`.
    #[error("{api} was not answered: {cause}")]
    NotAnswered {
        /// Name of the API, as in brod: `api_versions`.
        api: &'static str,
        /// How the connection ended.
        cause: Box<NetError>,
    },
    /// Any other error of the operating system.
    #[error("{}", system_text(*.kind, *.code))]
    Io {
        /// Which, as far as Rust has a name for it.
        kind: io::ErrorKind,
        /// `errno`
        code: Option<i32>,
    },
}

fn system_text(kind: io::ErrorKind, code: Option<i32>) -> String {
    match code {
        Some(code) => io::Error::from_raw_os_error(code).to_string(),
        None => kind.to_string(),
    }
}

impl NetError {
    /// Whether another address of the same host would answer alike: it is about what the client says,
    /// not about where it says it.
    pub(super) fn is_of_the_cluster(&self) -> bool {
        match self {
            NetError::Sasl(error) => error.is_refusal(),
            NetError::Tls(TlsError::File { .. } | TlsError::Option { .. }) => true,
            _ => false,
        }
    }
}

impl From<io::Error> for NetError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::*;
        if let Some(error) = TlsError::of_established(&error) {
            return NetError::Tls(error);
        }
        match error.kind() {
            ConnectionRefused => NetError::Refused,
            TimedOut => NetError::Timeout,
            ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | NotConnected => {
                NetError::Closed
            }
            kind => NetError::Io {
                kind,
                code: error.raw_os_error(),
            },
        }
    }
}

impl From<WireError> for NetError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::NotKafka(why) => NetError::NotKafka(why),
            WireError::UnsupportedApi { api } => NetError::UnsupportedApi { api },
            WireError::Malformed(why) => NetError::Protocol(why),
            error @ (WireError::TooLong { .. } | WireError::FrameTooLong { .. }) => {
                NetError::Protocol(error.to_string())
            }
        }
    }
}

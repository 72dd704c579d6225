//! Authentication by somebody outside the engine, to whom the stream is lent.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use brod_protocol::api::sasl_authenticate;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{BoxFuture, SaslError};
use crate::net::Endpoint;

/// Authenticates a connection by talking to the broker itself, SaslHandshake included.
pub trait ExternalAuthentication: Send + Sync {
    /// Talks to the broker over the loan, until it is authenticated. The stream is the engine's again
    /// when the loan is dropped. Bounded by `loan.until`.
    fn authenticate<'a>(&'a self, loan: Loan) -> BoxFuture<'a, Result<(), SaslError>>;
}

/// A broker's stream, inside TLS if there is TLS, lent for a handshake. Until it is dropped no request
/// of the engine is written, and every frame that the broker sends comes here.
pub struct Loan {
    /// The broker.
    pub endpoint: Endpoint,
    /// The client id of the engine's requests.
    pub client_id: String,
    /// The newest version of SaslHandshake that the broker offers; 0 if it is not known.
    pub handshake_version: i16,
    /// True where the connection is in use already, and its session is about to end.
    pub again: bool,
    /// When the time is up.
    pub until: Instant,
    /// How long the broker takes the client for who it is now, in ms; 0 if it did not say.
    pub(in crate::net) session_ms: Arc<AtomicU64>,
    pub(in crate::net) to_broker: mpsc::Sender<Bytes>,
    pub(in crate::net) from_broker: mpsc::Receiver<Bytes>,
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loan({})", self.endpoint)
    }
}

impl Loan {
    /// Writes bytes as they are, length prefixes included. False: the connection has failed.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.to_broker.send(bytes).await.is_ok()
    }

    /// The next frame of the broker, with its length prefix. None: the connection has failed.
    pub async fn receive(&mut self) -> Option<Bytes> {
        let frame = self.from_broker.recv().await?;
        if let Some(ms) = sasl_authenticate::session_lifetime_ms(&frame) {
            self.session_ms.store(ms, Ordering::Relaxed);
        }
        Some(frame)
    }
}

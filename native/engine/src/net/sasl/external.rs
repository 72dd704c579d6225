//! Authentication by somebody outside the engine, to whom the stream is lent.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
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
        if let Some(ms) = session_lifetime_ms(&frame) {
            self.session_ms.store(ms, Ordering::Relaxed);
        }
        Some(frame)
    }
}

/// The lifetime in a successful answer to SaslAuthenticate of version 1, the last that is not flexible and
/// the first that has it. None for any other frame: all of its bytes have to fit.
///
/// Whoever has borrowed the stream need not tell when to authenticate again, and brod's plugins do not.
fn session_lifetime_ms(mut frame: &[u8]) -> Option<u64> {
    let _length = frame.try_get_i32().ok()?;
    let _correlation_id = frame.try_get_i32().ok()?;
    let error_code = frame.try_get_i16().ok()?;
    // -1: no message
    let message = usize::try_from(frame.try_get_i16().ok()?).unwrap_or(0);
    frame = frame.get(message..)?;
    let token = usize::try_from(frame.try_get_i32().ok()?).ok()?;
    frame = frame.get(token..)?;
    let lifetime = frame.try_get_i64().ok()?;
    (error_code == 0 && frame.is_empty() && lifetime > 0).then_some(lifetime as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(error_code: i16, message: Option<&str>, token: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 9];
        body.extend(error_code.to_be_bytes());
        body.extend(message.map_or(-1, |text| text.len() as i16).to_be_bytes());
        body.extend(message.unwrap_or("").bytes());
        body.extend((token.len() as i32).to_be_bytes());
        body.extend(token);
        body.extend(rest);
        let mut frame = (body.len() as i32).to_be_bytes().to_vec();
        frame.extend(body);
        frame
    }

    #[test]
    fn a_session_lasts_as_long_as_the_broker_says_to_whoever_has_the_loan() {
        let lifetime = 5_000i64.to_be_bytes();
        for message in [None, Some("")] {
            let frame = answer(0, message, b"token", &lifetime);
            assert_eq!(session_lifetime_ms(&frame), Some(5_000));
        }
        let unlimited = answer(0, None, b"", &0i64.to_be_bytes());
        assert_eq!(session_lifetime_ms(&unlimited), None);
    }

    #[test]
    fn what_is_no_success_or_another_message_tells_nothing() {
        let lifetime = 5_000i64.to_be_bytes();
        let whole = answer(0, None, b"token", &lifetime);
        for cut in 0..whole.len() {
            assert_eq!(session_lifetime_ms(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(
            session_lifetime_ms(&answer(58, Some("no"), b"", &lifetime)),
            None
        );
        // Version 0 ends with the token; SaslHandshake has names.
        assert_eq!(session_lifetime_ms(&answer(0, None, b"token", b"")), None);
        let handshake = b"\0\0\0\x11\0\0\0\x01\0\0\0\0\0\x01\0\x05PLAIN";
        assert_eq!(session_lifetime_ms(handshake), None);
    }
}

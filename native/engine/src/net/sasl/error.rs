//! Why a client could not prove who it is.

use brod_protocol::error::ErrorCode;
use bytes::Bytes;

/// Why a client could not prove who it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The broker refused the credentials, or SASL at this point of the connection.
    /// brod: `{sasl_auth_error, Message}`, or the code's name where there is no message.
    #[error("{mechanism} refused: {} ({})", .message.as_deref().unwrap_or("no message"), .code.name())]
    Refused {
        /// The mechanism's name.
        mechanism: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// The broker does not offer the mechanism.
    #[error("the broker does not offer {mechanism}, but {}", .offered.join(", "))]
    Unsupported {
        /// The mechanism's name.
        mechanism: String,
        /// What the broker offers.
        offered: Vec<String>,
    },
    /// The broker hung up on a bare token, which is how those older than 1.0 refuse.
    #[error("the broker closed the connection during {mechanism}")]
    HungUp {
        /// The mechanism's name.
        mechanism: String,
    },
    /// What the broker sent is not acceptable: a wrong signature, too many iterations, ...
    #[error("{mechanism}: {why}")]
    BadBroker {
        /// The mechanism's name.
        mechanism: String,
        /// What is wrong.
        why: String,
    },
    /// There are no credentials: no token could be fetched, a file cannot be read.
    /// It must not quote any secret.
    #[error("{mechanism}: no credentials: {why}")]
    NoCredentials {
        /// The mechanism's name.
        mechanism: String,
        /// What is wrong.
        why: String,
    },
    /// Somebody outside the engine gave up. The bytes mean something to them alone: an Erlang term
    /// in external format.
    #[error("refused by a plugin")]
    External(Bytes),
}

impl SaslError {
    /// Whether trying again soon with the same credentials is pointless, and may lock the account.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, SaslError::NoCredentials { .. })
    }
}

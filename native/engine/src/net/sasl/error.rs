//! Why a client could not prove who it is.

use std::path::PathBuf;

use brod_protocol::error::ErrorCode;
use bytes::Bytes;

use super::super::FileError;

/// Why a client could not prove who it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The broker refused the credentials, or SASL at this point of the connection.
    /// brod: `{sasl_auth_error, Message}`, or the code's name where there is no message.
    #[error("{mechanism} refused: {} ({}): {}", .message.as_deref().unwrap_or("no message"), .code.name(), advice(*.code))]
    Refused {
        /// The mechanism's name.
        mechanism: String,
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// The broker does not offer the mechanism.
    #[error("the broker does not offer {mechanism}, but {}: check the sasl option, or sasl.enabled.mechanisms of the listener", .offered.join(", "))]
    Unsupported {
        /// The mechanism's name.
        mechanism: String,
        /// What the broker offers.
        offered: Vec<String>,
    },
    /// The broker hung up on a bare token, which is how those older than 1.0 refuse.
    #[error("the broker closed the connection during {mechanism}: check user and password")]
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
    /// There are no credentials, or none that fit the mechanism: no token could be fetched, a password has
    /// a zero byte. It must not quote any secret.
    #[error("{mechanism}: no credentials: {why}")]
    NoCredentials {
        /// The mechanism's name.
        mechanism: String,
        /// What is wrong.
        why: String,
    },
    /// A file with credentials cannot be read. brod: `#{file => Path, reason => enoent}`.
    #[error("{mechanism}: {} cannot be read: {why}", .path.display())]
    File {
        /// The mechanism's name.
        mechanism: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: FileError,
    },
    /// Somebody outside the engine gave up. The bytes mean something to them alone: an Erlang term
    /// in external format.
    #[error("refused by a plugin")]
    External(Bytes),
}

impl SaslError {
    /// Whether trying again soon with the same credentials is pointless, and may lock the account.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            SaslError::NoCredentials { .. } | SaslError::File { .. }
        )
    }

    pub(super) fn bad_broker(mechanism: &str, why: &str) -> Self {
        SaslError::BadBroker {
            mechanism: mechanism.into(),
            why: why.into(),
        }
    }

    pub(super) fn unfit(mechanism: &str, why: &str) -> Self {
        SaslError::NoCredentials {
            mechanism: mechanism.into(),
            why: why.into(),
        }
    }

    pub(super) fn refused(mechanism: &str, message: &str) -> Self {
        SaslError::Refused {
            mechanism: mechanism.into(),
            code: ErrorCode(SASL_AUTHENTICATION_FAILED),
            message: Some(message.into()),
        }
    }
}

const ILLEGAL_SASL_STATE: i16 = 34;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

fn advice(code: ErrorCode) -> &'static str {
    match code.0 {
        ILLEGAL_SASL_STATE => {
            "check the port, its listener does not authenticate by SASL (SASL_PLAINTEXT or SASL_SSL would)"
        }
        _ => "check user and password, or the token, and that the broker knows the user for this mechanism",
    }
}

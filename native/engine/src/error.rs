//! The engine's error: what a caller of any operation gets.

use crate::net::{Endpoint, NetError};
use brod_protocol::api::{refusal, ApiError};
use brod_protocol::error::ErrorCode;

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A broker refused, with Kafka's error code and its message if it sent one.
    #[error("{}", refusal(*.code, .message.as_deref()))]
    Kafka {
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// No broker could be reached: what happened at each endpoint tried.
    #[error("no broker can be reached: {}", each(.0))]
    Unreachable(Vec<(Endpoint, NetError)>),
    /// A connection failed under the request.
    #[error("{0}")]
    Net(#[from] NetError),
    /// The time given for the operation is up.
    #[error("timed out")]
    Timeout,
    /// The client was closed.
    #[error("client closed")]
    Closed,
    /// A record batch that does not parse.
    #[error("corrupt record batch: {0}")]
    CorruptBatch(String),
}

/// What happened at each endpoint, for people.
fn each(failures: &[(Endpoint, NetError)]) -> String {
    let texts = failures
        .iter()
        .map(|(endpoint, error)| format!("{endpoint} {error}"));
    texts.collect::<Vec<_>>().join(", ")
}

impl Error {
    /// Kafka's error code, if a broker sent one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Kafka { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<brod_protocol::WireError> for Error {
    fn from(error: brod_protocol::WireError) -> Self {
        Error::Net(error.into())
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { code, message } => Error::Kafka { code, message },
            ApiError::Malformed(why) => Error::Net(NetError::Protocol(why)),
        }
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Error::Kafka {
            code,
            message: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_cannot_be_reached_are_named_with_what_happened() {
        let endpoint = |port| Endpoint {
            host: "kafka".into(),
            port,
        };
        let error = Error::Unreachable(vec![
            (endpoint(1), NetError::Refused),
            (endpoint(2), NetError::HostNotFound),
        ]);
        assert_eq!(
            error.to_string(),
            "no broker can be reached: kafka:1 connection refused, kafka:2 host name does not resolve"
        );
    }
}

//! Which errors pass by themselves.

use crate::error::Error;
use crate::net::NetError;
use brod_protocol::error::ErrorCode;

/// Whether a subscription waits through the error.
pub(super) fn may_pass(error: &Error) -> bool {
    match error {
        Error::Kafka { code, .. } => code.is_retriable_for_consumer(),
        Error::Net(NetError::UnsupportedApi { .. }) => false,
        Error::Net(_) | Error::Unreachable(_) | Error::Timeout => true,
        Error::Closed | Error::CorruptBatch(_) => false,
    }
}

/// The code that tells of an error.
pub(super) fn code_of(error: &Error) -> Option<ErrorCode> {
    match error {
        Error::Net(NetError::UnsupportedApi { .. }) => Some(ErrorCode::UNSUPPORTED_VERSION),
        _ => error.code(),
    }
}

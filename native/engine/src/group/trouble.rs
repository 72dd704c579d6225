//! How the errors of the group protocol are met.

use crate::error::Error;
use crate::net::NetError;
use brod_protocol::error::ErrorCode;

/// How an error is met.
pub(super) enum Trouble {
    /// The client was closed.
    Closed,
    /// Try the same broker again.
    Busy,
    /// Look for the coordinator again.
    Elsewhere,
    /// The broker will not have it.
    Refused,
}

/// See [`Trouble`].
pub(super) fn trouble(error: &Error) -> Trouble {
    match error {
        Error::Closed => Trouble::Closed,
        Error::Kafka { code, .. } => match *code {
            code if code.is_coordinator_busy() => Trouble::Busy,
            code if code.is_coordinator_in_doubt() => Trouble::Elsewhere,
            _ => Trouble::Refused,
        },
        Error::Net(NetError::UnsupportedApi { .. } | NetError::Protocol(_))
        | Error::CorruptBatch(_) => Trouble::Refused,
        Error::Net(_) | Error::Unreachable(_) | Error::Timeout => Trouble::Elsewhere,
    }
}

/// True for what a commit or a fetch of offsets is tried again after.
pub(super) fn is_retriable(error: &Error) -> bool {
    matches!(trouble(error), Trouble::Busy | Trouble::Elsewhere)
        && error.code() != Some(ErrorCode::REBALANCE_IN_PROGRESS)
}

//! Why records are not delivered, and after which errors they are sent again.

use crate::net::NetError;
use brod_protocol::error::ErrorCode;

/// Why records will not be delivered, and why a producer stops.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The broker refused the batch, and would again.
    NotRetriable(ErrorCode),
    /// Sent again as often as allowed; why the last attempt failed.
    RetriesUsedUp(Cause),
    /// `delivery_timeout` is over; why the last attempt failed, if there was one.
    DeliveryTimeout(Option<Cause>),
    /// Records could not be encoded.
    Codec(String),
    /// The owner closed the producer.
    Closed,
}

/// Why one attempt failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A broker said so.
    Code(ErrorCode),
    /// The connection failed.
    Net(NetError),
}

impl Cause {
    /// The broker stored nothing because another one leads, or will: waiting for a leader is no
    /// attempt (ADR 3).
    pub(super) fn is_leader_change(&self) -> bool {
        matches!(
            self,
            Cause::Code(
                ErrorCode::NOT_LEADER_FOR_PARTITION
                    | ErrorCode::LEADER_NOT_AVAILABLE
                    | ErrorCode::FENCED_LEADER_EPOCH
                    | ErrorCode::UNKNOWN_LEADER_EPOCH
            )
        )
    }
}

/// The codes after which brod sends again.
pub(super) fn is_retriable(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::LEADER_NOT_AVAILABLE
            | ErrorCode::NOT_LEADER_FOR_PARTITION
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | ErrorCode::KAFKA_STORAGE_ERROR
            | ErrorCode::NETWORK_EXCEPTION
            | ErrorCode::FENCED_LEADER_EPOCH
            | ErrorCode::UNKNOWN_LEADER_EPOCH
            | ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
    )
}

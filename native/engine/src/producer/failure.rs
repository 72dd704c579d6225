//! Why records are not delivered.

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
    /// The transaction was open for longer than the coordinator lets it be, which has aborted it.
    TransactionTimedOut,
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
        matches!(self, Cause::Code(code) if code.is_leader_change())
    }
}

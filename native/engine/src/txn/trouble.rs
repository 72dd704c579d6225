//! What records that were not delivered mean for their transaction. No I/O.

use super::state::Trouble;
use crate::error::Error;
use crate::producer::{Cause, Failure};
use brod_protocol::error::ErrorCode;

/// What a failure means for the transaction; None: nothing, because its callers are told, and nothing of
/// the records is stored. `untold`: some callers are not told, so that the commit has to.
pub(super) fn of_failure(why: &Failure, untold: bool) -> Option<Trouble> {
    match why {
        Failure::NotRetriable(code) if code.is_fatal_for_transactions() => {
            Some(Trouble::Fatal(*code))
        }
        Failure::NotRetriable(code) if code.is_abort_only() || untold => {
            Some(Trouble::Abortable(*code))
        }
        Failure::NotRetriable(_) => None,
        Failure::Codec(_) => untold.then_some(Trouble::Abortable(ErrorCode::INVALID_RECORD)),
        // Nobody knows whether they are stored.
        Failure::RetriesUsedUp(cause) => Some(of_cause(Some(cause))),
        Failure::DeliveryTimeout(cause) => Some(of_cause(cause.as_ref())),
        Failure::TransactionTimedOut => Some(Trouble::Expired),
        // The transaction itself has closed the producer.
        Failure::Closed => None,
    }
}

/// A coordinator that has aborted a transaction for its age says so by no other codes than to a producer that is
/// fenced.
pub(super) fn may_mean_expiry(code: ErrorCode) -> bool {
    code.is_fenced_producer() || code == ErrorCode::INVALID_TXN_STATE
}

fn of_cause(cause: Option<&Cause>) -> Trouble {
    match cause {
        Some(Cause::Code(code)) => Trouble::Abortable(*code),
        Some(Cause::Net(error)) => Trouble::Timeout(Some(Error::Net(error.clone()))),
        None => Trouble::Timeout(None),
    }
}

impl Trouble {
    /// As a code, for the records that fail along with the transaction.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Trouble::Abortable(code) | Trouble::Fatal(code) => *code,
            Trouble::Timeout(error) => error
                .as_ref()
                .and_then(Error::code)
                .unwrap_or(ErrorCode::REQUEST_TIMED_OUT),
            Trouble::Expired => ErrorCode::INVALID_PRODUCER_EPOCH,
            Trouble::Unsupported(_) => ErrorCode::UNSUPPORTED_VERSION,
            Trouble::Closed => ErrorCode::NETWORK_EXCEPTION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::NetError;

    #[test]
    fn a_refusal_that_its_caller_hears_of_leaves_the_transaction_alone() {
        let too_large = ErrorCode::MESSAGE_TOO_LARGE;
        let refused = Failure::NotRetriable(too_large);
        assert_eq!(of_failure(&refused, false), None);
        let spoils = Some(Trouble::Abortable(too_large));
        assert_eq!(of_failure(&refused, true), spoils, "nobody is told");
        assert_eq!(of_failure(&Failure::Codec("no".into()), false), None);
        assert_eq!(of_failure(&Failure::Closed, true), None);
    }

    #[test]
    fn records_that_may_be_stored_spoil_the_transaction() {
        for failure in [
            Failure::RetriesUsedUp(Cause::Net(NetError::Closed)),
            Failure::RetriesUsedUp(Cause::Code(ErrorCode::REQUEST_TIMED_OUT)),
            Failure::DeliveryTimeout(None),
            Failure::NotRetriable(ErrorCode::TRANSACTION_ABORTABLE),
            Failure::NotRetriable(ErrorCode::INVALID_TXN_STATE),
            Failure::NotRetriable(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        ] {
            let spoils = of_failure(&failure, false);
            let abortable = matches!(spoils, Some(Trouble::Abortable(_) | Trouble::Timeout(_)));
            assert!(abortable, "{failure:?}");
        }
    }

    #[test]
    fn a_fenced_producer_is_done_for() {
        for code in [
            ErrorCode::INVALID_PRODUCER_EPOCH,
            ErrorCode::PRODUCER_FENCED,
        ] {
            let fenced = of_failure(&Failure::NotRetriable(code), false);
            assert_eq!(fenced, Some(Trouble::Fatal(code)));
        }
    }
}

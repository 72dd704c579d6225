//! When to ask again: for errors that pass by themselves, as long as the caller has time.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Backoff;
use crate::error::Error;
use crate::net::NetError;
use brod_protocol::error::ErrorCode;

/// Longer than leaders and coordinators take to move in a healthy cluster.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts the attempts of one operation.
pub(super) struct Retry {
    backoff: Backoff,
    until: Instant,
    /// A quota that is used up passes with time alone, and often takes longer than leaders do.
    until_quota: Instant,
    topic_was_unknown: bool,
}

impl Retry {
    /// For an operation whose caller waits `limit`. Gives up earlier than that, so that the
    /// caller gets the error and not just a timeout.
    pub(super) fn within(limit: Duration) -> Self {
        let now = Instant::now();
        let limit = limit * 4 / 5;
        Retry {
            backoff: Backoff::new(
                Duration::from_millis(100),
                Duration::from_secs(1),
                rand::random(),
            ),
            until: now + limit.min(PATIENCE),
            until_quota: now + limit,
            topic_was_unknown: false,
        }
    }

    /// After a failed attempt: waits until the next one is due, or gives the error back.
    pub(super) async fn after(&mut self, error: Error) -> Result<(), Error> {
        let next = self.next_attempt(error, Instant::now())?;
        tokio::time::sleep_until(next).await;
        Ok(())
    }

    fn next_attempt(&mut self, error: Error, now: Instant) -> Result<Instant, Error> {
        if !self.is_transient(&error) {
            return Err(error);
        }
        let next = now + self.backoff.next_wait();
        let until = match error.code() {
            Some(ErrorCode::THROTTLING_QUOTA_EXCEEDED) => self.until_quota,
            _ => self.until,
        };
        if next >= until {
            return Err(error);
        }
        Ok(next)
    }

    fn is_transient(&mut self, error: &Error) -> bool {
        match error {
            // Brokers learn of a new topic one after the other. A second look is enough for that,
            // and callers who name a topic that does not exist do not wait for long.
            Error::Kafka { code, .. } if *code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                !std::mem::replace(&mut self.topic_was_unknown, true)
            }
            Error::Kafka { code, .. } => code.is_retriable_for_query(),
            // The broker that is asked is gone; another one may have taken over.
            Error::Unreachable(_) | Error::Net(NetError::Closed | NetError::Refused) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: ErrorCode) -> Error {
        code.into()
    }

    #[test]
    fn tries_again_until_the_time_is_nearly_up_and_gives_the_error_back() {
        let start = Instant::now();
        let mut retry = Retry::within(Duration::from_secs(1));
        let mut now = start;
        let mut attempts = 1;
        let given_up = loop {
            match retry.next_attempt(error(ErrorCode::LEADER_NOT_AVAILABLE), now) {
                Ok(next) => now = next,
                Err(error) => break error,
            }
            attempts += 1;
        };
        assert_eq!(given_up, error(ErrorCode::LEADER_NOT_AVAILABLE));
        assert!((3..=5).contains(&attempts), "{attempts} attempts");
        assert!(now < start + Duration::from_secs(1));
    }

    #[test]
    fn a_quota_is_waited_for_as_long_as_the_caller_waits() {
        let mut retry = Retry::within(Duration::from_secs(100));
        let start = Instant::now();
        let used_up = error(ErrorCode::THROTTLING_QUOTA_EXCEEDED);
        let mut after = |seconds| {
            let now = start + Duration::from_secs(seconds);
            retry.next_attempt(used_up.clone(), now).err()
        };
        assert_eq!(after(10), None);
        assert_eq!(after(70), None);
        assert_eq!(after(80), Some(used_up.clone()));
        let moved = error(ErrorCode::LEADER_NOT_AVAILABLE);
        let late = retry.next_attempt(moved.clone(), start + PATIENCE);
        assert_eq!(late, Err(moved));
    }

    #[test]
    fn an_unknown_topic_is_looked_for_twice() {
        let mut retry = Retry::within(Duration::from_secs(10));
        let unknown = error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let now = Instant::now();
        assert!(retry.next_attempt(unknown.clone(), now).is_ok());
        assert_eq!(retry.next_attempt(unknown.clone(), now), Err(unknown));
    }

    #[test]
    fn what_does_not_pass_is_given_back_at_once() {
        let mut retry = Retry::within(Duration::from_secs(10));
        for lasting in [
            error(ErrorCode::INVALID_TOPIC_EXCEPTION),
            error(ErrorCode::OFFSET_OUT_OF_RANGE),
            Error::Closed,
            Error::Net(NetError::UnsupportedApi {
                api: "Fetch".into(),
            }),
        ] {
            let next = retry.next_attempt(lasting.clone(), Instant::now());
            assert_eq!(next, Err(lasting));
        }
    }
}

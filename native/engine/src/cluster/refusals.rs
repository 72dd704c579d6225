//! Brokers that have refused the client's credentials. Asking them again soon is pointless, loads them with
//! hashing, and may lock the account.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::net::{Endpoint, NetError};

/// How long a broker is left alone after the first refusal, and at most.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(10);

/// Refusals by broker, over all connections of a client.
#[derive(Default)]
pub(super) struct Refusals {
    by_broker: HashMap<Endpoint, Refusal>,
}

struct Refusal {
    error: NetError,
    until: Instant,
    wait: Duration,
    /// Somebody has been let through since the last refusal.
    is_tried: bool,
}

impl Refusals {
    /// Whether the broker may be asked; if not, what it said last. Who is let through after a refusal is the
    /// only one for as long again, unless the outcome is told before.
    pub(super) fn may_ask(&mut self, broker: &Endpoint, now: Instant) -> Result<(), NetError> {
        match self.by_broker.get_mut(broker) {
            Some(refusal) if now < refusal.until => Err(refusal.error.clone()),
            Some(refusal) => {
                refusal.is_tried = true;
                refusal.until = now + refusal.wait;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// An attempt has failed. Only refusals of credentials count.
    pub(super) fn failed(&mut self, broker: &Endpoint, error: &NetError, now: Instant) {
        if !matches!(error, NetError::Sasl(why) if why.is_refusal()) {
            return;
        }
        let wait = match self.by_broker.get(broker) {
            None => FIRST,
            Some(refusal) if refusal.is_tried => (refusal.wait * 2).min(MOST),
            // It began together with the one that was refused first.
            Some(refusal) => refusal.wait,
        };
        let refusal = Refusal {
            error: error.clone(),
            until: now + wait,
            wait,
            is_tried: false,
        };
        self.by_broker.insert(broker.clone(), refusal);
    }

    /// The broker has let the client in.
    pub(super) fn succeeded(&mut self, broker: &Endpoint) {
        self.by_broker.remove(broker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sasl::SaslError;
    use brod_protocol::error::ErrorCode;

    const SECOND: Duration = Duration::from_secs(1);

    fn broker(port: u16) -> Endpoint {
        Endpoint {
            host: "b".into(),
            port,
        }
    }

    fn refusal() -> NetError {
        NetError::Sasl(SaslError::Refused {
            mechanism: "PLAIN".into(),
            code: ErrorCode::SASL_AUTHENTICATION_FAILED,
            message: None,
        })
    }

    #[test]
    fn a_broker_that_refuses_is_asked_at_most_once_in_ten_seconds_in_the_end() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        let mut asked = Vec::new();
        for tenth in 0..600 {
            let now = start + tenth * SECOND / 10;
            if refusals.may_ask(&broker(1), now).is_ok() {
                asked.push(tenth / 10);
                refusals.failed(&broker(1), &refusal(), now);
            }
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 25, 35, 45, 55]);
    }

    #[test]
    fn who_is_not_let_through_is_told_what_the_broker_said() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        refusals.failed(&broker(1), &refusal(), now);
        assert_eq!(refusals.may_ask(&broker(1), now), Err(refusal()));
        assert_eq!(refusals.may_ask(&broker(2), now), Ok(()));
    }

    #[test]
    fn after_the_wait_one_is_let_through_and_not_all_that_have_waited() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        // Attempts that began together.
        refusals.failed(&broker(1), &refusal(), now);
        refusals.failed(&broker(1), &refusal(), now);
        let later = now + SECOND;
        assert_eq!(refusals.may_ask(&broker(1), later), Ok(()));
        assert_eq!(refusals.may_ask(&broker(1), later), Err(refusal()));
        // It was given up and has no outcome.
        assert_eq!(refusals.may_ask(&broker(1), later + SECOND), Ok(()));
    }

    #[test]
    fn a_broker_that_lets_the_client_in_again_is_asked_as_ever() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        refusals.failed(&broker(1), &refusal(), now);
        refusals.succeeded(&broker(1));
        assert_eq!(refusals.may_ask(&broker(1), now), Ok(()));
    }

    #[test]
    fn other_failures_do_not_count() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        refusals.failed(&broker(1), &NetError::Closed, now);
        let no_token = SaslError::NoCredentials {
            mechanism: "OAUTHBEARER".into(),
            why: String::new(),
        };
        refusals.failed(&broker(1), &NetError::Sasl(no_token), now);
        assert_eq!(refusals.may_ask(&broker(1), now), Ok(()));
    }
}

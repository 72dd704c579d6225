//! When credentials that expire are asked for: a plain state machine, told what happens and when.

use std::time::{Duration, Instant};

use super::CredentialsError;

/// Credentials are renewed when so much of their lifetime has passed.
const RENEW_AT_PERCENT: u32 = 80;
/// Nobody is asked more often than this for credentials that live for seconds only.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A lifetime longer than this is as good as this: it only has to fit into an [`Instant`].
const LONGEST_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Credentials younger than this that a broker refuses would not be better if asked for again.
const FRESH: Duration = Duration::from_secs(10);

/// What is there for somebody who wants credentials.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer<T> {
    /// These, which are good now.
    Value(T),
    /// None: asking failed a moment ago.
    Failed(CredentialsError),
    /// They are being asked for.
    Wait,
}

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Ask, and report how it went.
    Ask,
    /// Look again at that time, or when somebody wants credentials.
    Sleep(Option<Instant>),
}

pub(super) struct Renewal<T> {
    held: Option<Held<T>>,
    failure: Option<Failure>,
    wanted: bool,
}

struct Held<T> {
    value: T,
    since: Instant,
    /// When to renew, and when it is too late. None: never.
    times: Option<(Instant, Instant)>,
}

struct Failure {
    error: CredentialsError,
    pause: Duration,
    again_at: Instant,
    /// When it was that the first of them failed.
    since: Instant,
}

impl<T: Clone> Renewal<T> {
    pub(super) fn new() -> Self {
        Renewal {
            held: None,
            failure: None,
            wanted: false,
        }
    }

    /// Somebody wants credentials.
    pub(super) fn want(&mut self, now: Instant) -> Offer<T> {
        self.expire(now);
        match (&self.held, &self.failure) {
            (Some(held), _) => Offer::Value(held.value.clone()),
            (None, Some(failure)) if now < failure.again_at => Offer::Failed(failure.error.clone()),
            (None, _) => {
                self.wanted = true;
                Offer::Wait
            }
        }
    }

    pub(super) fn act(&mut self, now: Instant) -> Act {
        self.expire(now);
        let times = self.held.as_ref().and_then(|held| held.times);
        let failed_until = self.failure.as_ref().map(|failure| failure.again_at);
        let at = match (&self.held, times) {
            (Some(_), Some((renew_at, _))) => Some(failed_until.unwrap_or(renew_at)),
            (None, _) if self.wanted => Some(failed_until.unwrap_or(now)),
            _ => None,
        };
        match at {
            Some(at) if at <= now => Act::Ask,
            // It is dropped, and so overwritten, when it is of no use any more.
            _ => Act::Sleep(at.into_iter().chain(times.map(|(_, end)| end)).min()),
        }
    }

    /// For how long asking had failed before, if it had.
    pub(super) fn succeeded(
        &mut self,
        value: T,
        lifetime: Option<Duration>,
        now: Instant,
    ) -> Option<Duration> {
        let times = lifetime.map(|lifetime| {
            let lifetime = lifetime.min(LONGEST_LIFETIME);
            let renew_in = (lifetime * RENEW_AT_PERCENT / 100).max(SHORTEST_PAUSE);
            (now + renew_in, now + lifetime)
        });
        self.held = Some(Held {
            value,
            since: now,
            times,
        });
        self.wanted = false;
        let failed = self.failure.take();
        failed.map(|failure| now.saturating_duration_since(failure.since))
    }

    pub(super) fn failed(&mut self, error: CredentialsError, now: Instant) {
        let pause = match &self.failure {
            Some(last) => (last.pause * 2).min(LONGEST_PAUSE),
            None => SHORTEST_PAUSE,
        };
        let since = self.failure.as_ref().map_or(now, |first| first.since);
        self.failure = Some(Failure {
            error,
            pause,
            again_at: now + pause,
            since,
        });
        self.wanted = false;
    }

    /// A broker has refused what is held.
    pub(super) fn refused(&mut self, now: Instant) {
        self.held
            .take_if(|held| now.duration_since(held.since) >= FRESH);
    }

    fn expire(&mut self, now: Instant) {
        self.held
            .take_if(|held| matches!(held.times, Some((_, end)) if end <= now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn no() -> CredentialsError {
        CredentialsError::None("no".into())
    }

    fn holding(lifetime: Option<Duration>, now: Instant) -> Renewal<u8> {
        let mut renewal = Renewal::new();
        assert_eq!(renewal.want(now), Offer::Wait);
        assert_eq!(renewal.act(now), Act::Ask);
        renewal.succeeded(1, lifetime, now);
        renewal
    }

    #[test]
    fn nobody_is_asked_before_somebody_wants_credentials() {
        let now = Instant::now();
        assert_eq!(Renewal::<u8>::new().act(now), Act::Sleep(None));
    }

    #[test]
    fn credentials_are_renewed_after_80_percent_of_their_lifetime() {
        let now = Instant::now();
        let mut renewal = holding(Some(HOUR), now);
        let due = now + s(2_880);
        assert_eq!(renewal.act(now), Act::Sleep(Some(due)));
        assert_eq!(renewal.act(due - s(1)), Act::Sleep(Some(due)));
        assert_eq!(renewal.act(due), Act::Ask);
        // Meanwhile the old ones are still good.
        assert_eq!(renewal.want(due), Offer::Value(1));
        renewal.succeeded(2, Some(HOUR), due + s(3));
        assert_eq!(renewal.want(due + s(3)), Offer::Value(2));
        assert_eq!(renewal.act(due + s(3)), Act::Sleep(Some(due + s(2_883))));
    }

    #[test]
    fn credentials_that_do_not_expire_are_not_renewed() {
        let now = Instant::now();
        let mut renewal = holding(None, now);
        assert_eq!(renewal.act(now + LONGEST_LIFETIME), Act::Sleep(None));
        assert_eq!(renewal.want(now + LONGEST_LIFETIME), Offer::Value(1));
    }

    #[test]
    fn a_renewal_that_fails_is_tried_again_with_growing_pauses_while_the_old_credentials_serve() {
        let mut now = Instant::now();
        let end = now + HOUR;
        let mut renewal = holding(Some(HOUR), now);
        now += s(2_880);
        let mut pauses = Vec::new();
        while now < end {
            assert_eq!(renewal.act(now), Act::Ask);
            renewal.failed(no(), now);
            assert_eq!(renewal.want(now), Offer::Value(1));
            let Act::Sleep(Some(until)) = renewal.act(now) else {
                panic!("it neither waits nor asks");
            };
            pauses.push(until - now);
            now = until;
        }
        assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30].map(s));
        assert_eq!(now, end);
        assert_eq!(renewal.act(now), Act::Sleep(None));
    }

    #[test]
    fn whoever_comes_right_after_a_failure_gets_its_error_and_nobody_is_asked() {
        let now = Instant::now();
        let mut renewal = Renewal::<u8>::new();
        renewal.want(now);
        assert_eq!(renewal.act(now), Act::Ask);
        renewal.failed(no(), now);
        assert_eq!(renewal.want(now), Offer::Failed(no()));
        assert_eq!(renewal.act(now + s(60)), Act::Sleep(None));
        assert_eq!(renewal.want(now + s(1)), Offer::Wait);
        assert_eq!(renewal.act(now + s(1)), Act::Ask);
    }

    #[test]
    fn credentials_that_a_broker_refuses_are_asked_for_again_unless_they_are_fresh() {
        let now = Instant::now();
        let mut renewal = holding(Some(HOUR), now);
        renewal.refused(now + s(9));
        assert_eq!(renewal.want(now + s(9)), Offer::Value(1));
        renewal.refused(now + s(10));
        assert_eq!(renewal.want(now + s(10)), Offer::Wait);
        assert_eq!(renewal.act(now + s(10)), Act::Ask);
    }

    proptest! {
        #[test]
        fn nothing_expired_is_offered_and_nobody_is_asked_more_than_once_a_second(
            lifetimes in prop::collection::vec(prop::option::of(0..20_000u64), 1..30),
            steps in prop::collection::vec((0..3_000u64, any::<bool>()), 1..100),
        ) {
            let mut now = Instant::now();
            let mut renewal = Renewal::new();
            let mut asked = None;
            let mut answers = lifetimes.iter().cycle();
            for (step, wanted) in steps {
                now += Duration::from_millis(step);
                if wanted {
                    if let Offer::Value(end) = renewal.want(now) {
                        prop_assert!(end > now);
                    }
                }
                if renewal.act(now) == Act::Ask {
                    let pause = asked.map_or(LONGEST_LIFETIME, |last| now - last);
                    match answers.next().unwrap() {
                        Some(ms) => {
                            let lifetime = Duration::from_millis(*ms);
                            renewal.succeeded(now + lifetime, Some(lifetime), now);
                        }
                        None => renewal.failed(no(), now),
                    }
                    // Who lives for less than a second is wanted again at once.
                    prop_assert!(pause >= SHORTEST_PAUSE || wanted);
                    asked = Some(now);
                    prop_assert!(renewal.act(now) != Act::Ask, "asked again at once");
                }
            }
        }
    }
}

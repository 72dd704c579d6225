//! When a client asks what is wanted of it, and when it tells it.

use std::time::{Duration, Instant};

use brod_protocol::api::get_telemetry_subscriptions::Subscription;
use brod_protocol::error::ErrorCode;

/// After so long a cluster that wanted nothing, or was not understood, is asked again.
const LATER: Duration = Duration::from_secs(300);
/// The same where nobody has answered.
const SOON: Duration = Duration::from_secs(30);
/// The same where there was nobody to ask, at first; then doubled each time.
const AT_ONCE: Duration = Duration::from_millis(50);
/// More often nothing is pushed, whatever brokers say.
const SHORTEST: Duration = Duration::from_millis(100);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// To ask what is wanted.
    Subscribe,
    /// To push it.
    Push,
}

/// Why a broker was asked in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no connection, and none is made for it.
    Nobody,
    /// It does not have the API: nobody there takes metrics.
    Unsupported,
    /// It refuses.
    Refused(ErrorCode),
    /// It did not answer.
    Lost,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    subscription: Option<Subscription>,
    /// How long the next wait for a connection takes.
    patience: Duration,
    /// The client's name among all; zeros until a broker has given it one.
    pub(super) instance: [u8; 16],
    /// When the next step is due; never again where there is no time.
    pub(super) due: Option<Instant>,
}

impl State {
    /// Asks at once.
    pub(super) fn new(now: Instant) -> Self {
        State {
            subscription: None,
            patience: AT_ONCE,
            instance: [0; 16],
            due: Some(now),
        }
    }

    /// What is wanted, as far as that is known.
    pub(super) fn subscription(&self) -> Option<&Subscription> {
        self.subscription.as_ref()
    }

    /// What is to be done when the time has come.
    pub(super) fn step(&self) -> Step {
        match self.subscription {
            Some(_) => Step::Push,
            None => Step::Subscribe,
        }
    }

    /// A broker has said what is wanted. `chance`, from 0 to 1, spreads the first pushes of clients that start together.
    pub(super) fn subscribed(
        &mut self,
        answer: Result<Subscription, Failure>,
        now: Instant,
        chance: f64,
    ) {
        self.subscription = None;
        if answer == Err(Failure::Nobody) {
            self.due = Some(now + self.patience);
            self.patience = (self.patience * 2).min(LATER);
            return;
        }
        self.patience = AT_ONCE;
        match answer {
            Ok(mut subscription) => {
                subscription.interval = subscription.interval.max(SHORTEST);
                self.instance = subscription.instance;
                if subscription.prefixes.is_empty() {
                    self.due = Some(now + subscription.interval);
                } else {
                    self.due = Some(now + subscription.interval.mul_f64(0.5 + chance));
                    self.subscription = Some(subscription);
                }
            }
            Err(Failure::Refused(code)) if is_final(code) => self.due = None,
            Err(Failure::Refused(_) | Failure::Unsupported) => self.due = Some(now + LATER),
            Err(Failure::Lost | Failure::Nobody) => self.due = Some(now + SOON),
        }
    }

    /// A push was taken, or was not.
    pub(super) fn pushed(&mut self, answer: Result<(), Failure>, now: Instant) {
        let interval = self.subscription.as_ref().map_or(LATER, |s| s.interval);
        self.due = Some(now + interval);
        match answer {
            Ok(()) | Err(Failure::Lost | Failure::Nobody) => {}
            Err(Failure::Refused(ErrorCode::THROTTLING_QUOTA_EXCEEDED)) => {}
            Err(Failure::Refused(code)) if is_final(code) => {
                self.subscription = None;
                self.due = None;
            }
            Err(Failure::Refused(code)) => {
                self.subscription = None;
                if is_outdated(code) {
                    self.due = Some(now);
                }
            }
            Err(Failure::Unsupported) => {
                self.subscription = None;
                self.due = Some(now + LATER);
            }
        }
    }
}

/// What is wanted has changed.
fn is_outdated(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UNKNOWN_SUBSCRIPTION_ID | ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    )
}

/// The same would be refused for ever.
fn is_final(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::INVALID_REQUEST | ErrorCode::INVALID_RECORD | ErrorCode::UNSUPPORTED_VERSION
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use brod_protocol::compress::Codec;

    const MINUTE: Duration = Duration::from_secs(60);

    fn wanted(prefixes: &[&str]) -> Subscription {
        Subscription {
            instance: [1; 16],
            id: 1,
            codec: Codec::None,
            interval: MINUTE,
            max_bytes: 1000,
            delta: false,
            prefixes: prefixes.iter().map(|prefix| prefix.to_string()).collect(),
        }
    }

    fn subscribed(now: Instant) -> State {
        let mut state = State::new(now);
        assert_eq!((state.due, state.step()), (Some(now), Step::Subscribe));
        state.subscribed(Ok(wanted(&[""])), now, 0.5);
        state
    }

    #[test]
    fn what_is_wanted_is_pushed_at_the_interval_and_first_somewhere_around_it() {
        let now = Instant::now();
        let mut state = subscribed(now);
        assert_eq!(state.instance, [1; 16]);
        assert_eq!((state.due, state.step()), (Some(now + MINUTE), Step::Push));
        for (chance, first) in [(0.0, MINUTE / 2), (1.0, MINUTE * 3 / 2)] {
            state.subscribed(Ok(wanted(&["a"])), now, chance);
            assert_eq!(state.due, Some(now + first));
        }
        let later = now + MINUTE;
        state.pushed(Ok(()), later);
        assert_eq!(
            (state.due, state.step()),
            (Some(later + MINUTE), Step::Push)
        );
    }

    #[test]
    fn a_cluster_that_wants_nothing_is_asked_again_and_nothing_is_pushed() {
        let now = Instant::now();
        let mut state = State::new(now);
        state.subscribed(Ok(wanted(&[])), now, 0.9);
        assert_eq!(
            (state.due, state.step()),
            (Some(now + MINUTE), Step::Subscribe)
        );
        for (failure, wait) in [(Failure::Unsupported, LATER), (Failure::Lost, SOON)] {
            state.subscribed(Err(failure), now, 0.0);
            assert_eq!(
                (state.due, state.step()),
                (Some(now + wait), Step::Subscribe)
            );
        }
    }

    #[test]
    fn a_client_without_connections_looks_for_one_ever_more_seldom() {
        let now = Instant::now();
        let mut state = State::new(now);
        for wait in [AT_ONCE, AT_ONCE * 2, AT_ONCE * 4] {
            state.subscribed(Err(Failure::Nobody), now, 0.0);
            assert_eq!(state.due, Some(now + wait));
        }
        for _ in 0..20 {
            state.subscribed(Err(Failure::Nobody), now, 0.0);
        }
        assert_eq!(state.due, Some(now + LATER));
        state.subscribed(Err(Failure::Unsupported), now, 0.0);
        state.subscribed(Err(Failure::Nobody), now, 0.0);
        assert_eq!(state.due, Some(now + AT_ONCE));
    }

    #[test]
    fn a_broker_that_asks_for_pushes_without_a_pause_gets_ten_a_second() {
        let now = Instant::now();
        let mut state = State::new(now);
        let mut hasty = wanted(&[""]);
        hasty.interval = Duration::ZERO;
        state.subscribed(Ok(hasty), now, 0.5);
        state.pushed(Ok(()), now);
        assert_eq!(state.due, Some(now + SHORTEST));
    }

    #[test]
    fn who_is_told_that_something_else_is_wanted_asks_at_once() {
        let now = Instant::now();
        for code in [
            ErrorCode::UNKNOWN_SUBSCRIPTION_ID,
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        ] {
            let mut state = subscribed(now);
            state.pushed(Err(Failure::Refused(code)), now);
            assert_eq!((state.due, state.step()), (Some(now), Step::Subscribe));
            assert_eq!(state.instance, [1; 16]);
        }
    }

    #[test]
    fn refusals_that_pass_are_waited_for_and_others_end_it() {
        let now = Instant::now();
        let refused = |code| Err(Failure::Refused(code));
        let mut state = subscribed(now);
        state.pushed(refused(ErrorCode::THROTTLING_QUOTA_EXCEEDED), now);
        assert_eq!((state.due, state.step()), (Some(now + MINUTE), Step::Push));
        state.pushed(Err(Failure::Lost), now);
        assert_eq!((state.due, state.step()), (Some(now + MINUTE), Step::Push));
        state.pushed(refused(ErrorCode::TELEMETRY_TOO_LARGE), now);
        assert_eq!(
            (state.due, state.step()),
            (Some(now + MINUTE), Step::Subscribe)
        );
        let refusal = Failure::Refused(ErrorCode::INVALID_REQUEST);
        state.subscribed(Err(refusal), now, 0.5);
        assert_eq!(state.due, None);
        let mut state = subscribed(now);
        state.pushed(refused(ErrorCode::INVALID_RECORD), now);
        assert_eq!(state.due, None);
    }
}

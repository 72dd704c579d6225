//! When a broker has asked to be left alone (KIP-219). No I/O.

use std::time::{Duration, Instant};

/// The longest time that is believed. A quota looks back over some seconds; a broker that really means more
/// does not read what it is sent until then.
const LONGEST: Duration = Duration::from_secs(60);

/// What a broker has asked for on one connection.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    until: Option<Instant>,
    total: Duration,
}

impl Throttle {
    /// An answer has come that asks for so long a pause, from now on.
    pub(super) fn impose(&mut self, time: Duration, now: Instant) {
        let until = now + time.min(LONGEST);
        let from = self.until.map_or(now, |before| before.max(now));
        self.total += until.saturating_duration_since(from);
        self.until = Some(self.until.map_or(until, |before| before.max(until)));
    }

    /// Until when nothing is sent.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// How long the pauses have been together, the present one to its end. The limits of answers move by what
    /// is added to it while they are waited for.
    pub(super) fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_sent_until_the_time_is_over() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.until(start), None);
        throttle.impose(2 * SECOND, start);
        assert_eq!(throttle.until(start + SECOND), Some(start + 2 * SECOND));
        assert_eq!(throttle.until(start + 2 * SECOND), None);
    }

    #[test]
    fn pauses_that_overlap_count_once() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        throttle.impose(2 * SECOND, start);
        throttle.impose(2 * SECOND, start + SECOND);
        assert_eq!(throttle.total(), 3 * SECOND);
        throttle.impose(SECOND, start + SECOND);
        assert_eq!(throttle.total(), 3 * SECOND);
        assert_eq!(throttle.until(start + SECOND), Some(start + 3 * SECOND));
        throttle.impose(SECOND, start + 10 * SECOND);
        assert_eq!(throttle.total(), 4 * SECOND);
    }

    #[test]
    fn a_broker_that_asks_for_weeks_is_asked_again_after_a_minute() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        throttle.impose(Duration::from_millis(i32::MAX as u64), start);
        assert_eq!(throttle.until(start), Some(start + 60 * SECOND));
    }
}

//! When a broker has asked to be left alone (KIP-219). No I/O.

use std::time::{Duration, Instant};

/// The longest time that is believed. A quota looks back over some seconds; a broker that really means more
/// does not read what it is sent until then.
const LONGEST: Duration = Duration::from_secs(60);

/// What a broker has asked for on one connection.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// Until when the broker wants to be left alone.
    until: Option<Instant>,
    /// Until when it is.
    heeded_until: Option<Instant>,
    /// The longest time that it is after one answer.
    longest: Option<Duration>,
    total: Duration,
}

impl Throttle {
    /// An answer has come that asks for so long a pause, from now on.
    pub(super) fn impose(&mut self, time: Duration, now: Instant) {
        let until = now + time.min(LONGEST);
        let from = self.until.map_or(now, |before| before.max(now));
        self.total += until.saturating_duration_since(from);
        self.until = self.until.max(Some(until));
        let heeded = now + time.min(self.longest.unwrap_or(LONGEST));
        self.heeded_until = self.heeded_until.max(Some(heeded));
    }

    /// From the next answer on, the broker is left alone no longer than this, whatever it asks for.
    pub(super) fn heed_at_most(&mut self, longest: Duration) {
        self.longest = Some(longest);
    }

    /// Until when the broker wants to be left alone, and reads nothing if it means that.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Until when nothing is sent.
    pub(super) fn heeded_until(&self, now: Instant) -> Option<Instant> {
        self.heeded_until.filter(|until| *until > now)
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
    fn who_must_not_be_silent_for_long_waits_for_its_own_time_only() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        throttle.heed_at_most(SECOND);
        throttle.impose(3 * SECOND, start);
        assert_eq!(throttle.heeded_until(start), Some(start + SECOND));
        assert_eq!(throttle.heeded_until(start + SECOND), None);
        assert_eq!(throttle.until(start + SECOND), Some(start + 3 * SECOND));
        assert_eq!(throttle.total(), 3 * SECOND);
    }

    #[test]
    fn a_broker_that_asks_for_weeks_is_asked_again_after_a_minute() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        throttle.impose(Duration::from_millis(i32::MAX as u64), start);
        assert_eq!(throttle.until(start), Some(start + 60 * SECOND));
    }
}

//! How far away a broker is, and how many requests are worth to be on the way to it.
//!
//! A broker works on one request of a connection at a time. While it is near, more of them only take
//! batches out of reach of the calls that could still join them. Where request and answer travel for
//! longer than the broker works, it would have nothing to do meanwhile.

use std::time::Duration;

/// About as long as a broker works on a request: one more of them per so much time on the way.
const WORK: Duration = Duration::from_millis(2);

/// Requests to one broker at most, as in other clients.
const MAX_REQUESTS: usize = 5;

/// The shortest time in which the broker has answered. Answers that had to wait for those before
/// them, or for replicas, do not make it longer.
#[derive(Debug, Default)]
pub(super) struct Distance(Option<Duration>);

impl Distance {
    /// An answer took this long.
    pub(super) fn took(&mut self, time: Duration) {
        self.0 = Some(self.0.map_or(time, |shortest| shortest.min(time)));
    }

    /// How many requests are worth to be in flight at once. One, while nothing is known.
    pub(super) fn requests(&self) -> usize {
        let shortest = self.0.unwrap_or_default();
        let further = (shortest.as_micros() / WORK.as_micros()) as usize;
        (1 + further).min(MAX_REQUESTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(times: &[u64]) -> usize {
        let mut distance = Distance::default();
        for time in times {
            distance.took(Duration::from_micros(*time));
        }
        distance.requests()
    }

    #[test]
    fn a_broker_nearby_has_one_request() {
        assert_eq!(requests(&[]), 1);
        assert_eq!(requests(&[300]), 1);
        assert_eq!(requests(&[1_999, 50_000]), 1);
    }

    #[test]
    fn the_further_away_the_more_requests_but_not_more_than_five() {
        assert_eq!(requests(&[2_000]), 2);
        assert_eq!(requests(&[5_000]), 3);
        assert_eq!(requests(&[80_000]), 5);
        assert_eq!(requests(&[u64::MAX]), 5);
    }

    #[test]
    fn a_broker_that_was_slow_once_is_not_far_away() {
        assert_eq!(requests(&[80_000, 4_100, 90_000]), 3);
        assert_eq!(requests(&[80_000, 400]), 1);
    }
}

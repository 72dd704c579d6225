//! How long a fetch may wait at the broker, and how much its answer may hold. Without I/O.

use std::time::Duration;

use super::subscription::NextFetch;

/// A poll that the other lane may wait for.
const SHORT_POLL: Duration = Duration::from_millis(20);
/// The longest poll of the second lane.
const SECOND_LANE_POLL: Duration = Duration::from_millis(100);
/// First poll of the first lane after messages came. While it gets none the polls double, up to
/// `max_wait`: where messages flow, partitions join it soon, and an idle broker is asked seldom.
const FIRST_POLL: Duration = Duration::from_millis(50);

/// What an answer may take beyond the poll.
const GRACE: Duration = Duration::from_secs(10);

/// What one answer may hold, so that a thousand partitions do not come in one piece. The first
/// batch comes whatever its size.
const MAX_BYTES: i32 = 8 * 1024 * 1024;

/// How long the broker may wait with an answer.
#[derive(Clone, Copy)]
pub(super) enum Poll {
    /// Others wait for the lane meanwhile, and nothing makes it longer.
    Short(Duration),
    /// As long as the partitions have it, if they ask for more than a byte.
    Long(Duration),
}

impl Poll {
    /// Of the first lane, which is to be free again soon.
    pub(super) fn first_lane_soon() -> Poll {
        Poll::Short(SHORT_POLL)
    }

    /// Of the first lane, after so many answers without messages.
    pub(super) fn first_lane(quiet: u32) -> Poll {
        Poll::Long(FIRST_POLL.saturating_mul(1 << quiet.min(20)))
    }

    /// Of the second lane.
    pub(super) fn second_lane(quiet: u32) -> Poll {
        let poll = SHORT_POLL.saturating_mul(1 << quiet.min(20));
        Poll::Short(poll.min(SECOND_LANE_POLL))
    }
}

/// What a request says beside its partitions.
pub(super) struct Limits {
    pub max_wait: Duration,
    pub min_bytes: i32,
    /// Of the whole answer.
    pub max_bytes: i32,
    /// When the answer is given up.
    pub answer: Duration,
}

impl Limits {
    /// Of a request for these partitions.
    pub(super) fn new(poll: Poll, fetches: impl Iterator<Item = NextFetch> + Clone) -> Self {
        let shortest = fetches.clone().map(|fetch| fetch.max_wait).min();
        let least = fetches
            .clone()
            .map(|fetch| fetch.min_bytes)
            .min()
            .unwrap_or(1);
        let (max_wait, min_bytes) = match poll {
            // `min_bytes` is for one that may wait `max_wait` for them: a broker that is not given
            // the time would wait nearly as long with messages that it has.
            Poll::Short(poll) => (poll, 1),
            // Shorter polls would make a broker answer with less than was asked for.
            Poll::Long(poll) if least > 1 => (shortest.unwrap_or(poll), least),
            Poll::Long(poll) => (poll, least),
        };
        let most_of_one = fetches.map(|fetch| fetch.max_bytes).max().unwrap_or(0);
        let max_wait = max_wait.min(shortest.unwrap_or(max_wait)).max(SHORT_POLL);
        Limits {
            max_wait,
            min_bytes,
            max_bytes: most_of_one.max(MAX_BYTES),
            answer: max_wait + GRACE,
        }
    }

    /// Where an answer is not waited for as long as that. A poll that took all of the time would be given up each time that there is
    /// nothing new: it takes half of it, where that is less than [`GRACE`].
    pub(super) fn answered_within(mut self, limit: Duration) -> Self {
        let longest = limit.saturating_sub(GRACE).max(limit / 2);
        self.max_wait = self.max_wait.min(longest);
        self.answer = limit.min(self.max_wait + GRACE);
        self
    }

    /// How many bytes more an answer of so many could have had.
    pub(super) fn left_by(&self, answered: usize) -> i32 {
        let answered = i32::try_from(answered).unwrap_or(i32::MAX);
        self.max_bytes.saturating_sub(answered).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(min_bytes: i32, max_wait: u64) -> NextFetch {
        NextFetch {
            offset: 0,
            max_bytes: 100,
            min_bytes,
            max_wait: Duration::from_millis(max_wait),
            behind: false,
        }
    }

    fn waits(poll: Poll, fetches: &[NextFetch]) -> (i32, u128) {
        let limits = Limits::new(poll, fetches.iter().copied());
        (limits.min_bytes, limits.max_wait.as_millis())
    }

    #[test]
    fn only_a_long_poll_waits_for_many_bytes() {
        let (long, short) = (Duration::from_millis(400), Duration::from_millis(40));
        let patient = [fetch(500, 10_000), fetch(1000, 20_000)];
        assert_eq!(waits(Poll::Long(long), &patient), (500, 10_000));
        assert_eq!(waits(Poll::Short(short), &patient), (1, 40));
        let mixed = [fetch(500, 10_000), fetch(1, 20_000)];
        assert_eq!(waits(Poll::Long(long), &mixed), (1, 400));
        assert_eq!(waits(Poll::Short(short), &[fetch(500, 30)]), (1, 30));
    }

    #[test]
    fn a_poll_is_over_before_its_answer_is_given_up() {
        let within = |max_wait, limit| {
            let limits = Limits::new(Poll::first_lane(20), [fetch(1, max_wait)].into_iter());
            let limits = limits.answered_within(Duration::from_millis(limit));
            (limits.max_wait.as_millis(), limits.answer.as_millis())
        };
        assert_eq!(within(10_000, 240_000), (10_000, 20_000));
        assert_eq!(within(235_000, 240_000), (230_000, 240_000));
        assert_eq!(within(10_000, 20_000), (10_000, 20_000));
        assert_eq!(within(10_000, 5000), (2500, 5000));
        assert_eq!(within(100, 5000), (100, 5000));
    }

    #[test]
    fn an_answer_has_room_up_to_its_limit() {
        let limits = Limits::new(Poll::first_lane(0), [fetch(1, 30)].into_iter());
        assert_eq!(limits.left_by(MAX_BYTES as usize - 100), 100);
        assert_eq!(limits.left_by(2 * MAX_BYTES as usize), 0);
        assert_eq!(limits.left_by(usize::MAX), 0);
    }
}

//! What hangs cannot be ended: when to begin it anew beside.

use std::time::{Duration, Instant};

/// So long an answer is waited for: less than a connection may take, which can tell then what it waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// From then on the time to the next attempt grows no more: some 9 minutes.
const MOST: u32 = 7;

/// An attempt that is under way. It may never end, though another would: of a file that is somebody else's by now, for one. Each next
/// one is twice as long after the last, so that there are few of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    began: Instant,
    number: u32,
}

impl Attempt {
    pub(super) fn first(now: Instant) -> Self {
        Attempt {
            began: now,
            number: 1,
        }
    }

    /// Until when it is waited for.
    pub(super) fn until(self) -> Instant {
        self.began + PATIENCE
    }

    /// The next one, if it is time for it.
    pub(super) fn next(self, now: Instant) -> Option<Self> {
        let due = self.began + PATIENCE * 2u32.pow(self.number.min(MOST));
        (now >= due).then_some(Attempt {
            began: now,
            number: self.number + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_for_a_day_is_begun_anew_now_and_then() {
        let start = Instant::now();
        let mut attempt = Attempt::first(start);
        assert!(attempt.next(attempt.until()).is_none());
        let mut begun = Vec::new();
        for second in 0..24 * 3600 {
            if let Some(next) = attempt.next(start + Duration::from_secs(second)) {
                attempt = next;
                begun.push(second);
            }
        }
        assert_eq!(begun[..3], [8, 24, 56]);
        assert!(begun.len() < 200, "{}", begun.len());
    }
}

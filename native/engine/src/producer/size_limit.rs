//! How large a request to a broker may be. Brokers and what stands before them have limits that they do
//! not name: they hang up on a request that is larger.

/// No request is made smaller than this for the sake of the broker.
const FLOOR: usize = 64 * 1024;

/// So many answers, and a larger request is tried again: the connection may have closed for another
/// reason.
const PATIENCE: u32 = 10_000;

/// What is known of one broker's limit.
#[derive(Debug)]
pub(super) struct SizeLimit {
    bytes: usize,
    answers: u32,
}

impl SizeLimit {
    /// Nothing is known.
    pub(super) fn new() -> Self {
        SizeLimit {
            bytes: usize::MAX,
            answers: 0,
        }
    }

    /// What a request may have that its producers allow `configured` bytes.
    pub(super) fn at_most(&self, configured: usize) -> usize {
        configured.min(self.bytes)
    }

    /// The connection closed instead of an answer to a request of so many bytes.
    pub(super) fn closed_after(&mut self, bytes: usize) {
        if bytes > FLOOR {
            self.bytes = self.bytes.min((bytes / 2).max(FLOOR));
            self.answers = 0;
        }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) {
        if self.bytes == usize::MAX {
            return;
        }
        self.answers += 1;
        if self.answers >= PATIENCE {
            self.bytes = self.bytes.saturating_mul(2);
            self.answers = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_after_a_large_request_makes_the_next_ones_smaller() {
        let mut limit = SizeLimit::new();
        assert_eq!(limit.at_most(1_000_000), 1_000_000);
        // Two that were in flight together count as one.
        limit.closed_after(1_000_000);
        limit.closed_after(900_000);
        assert_eq!(limit.at_most(1_000_000), 450_000);
        limit.closed_after(450_000);
        assert_eq!(limit.at_most(1_000_000), 225_000);
        assert_eq!(limit.at_most(1_000), 1_000);
    }

    #[test]
    fn a_close_after_a_small_request_has_other_reasons() {
        let mut limit = SizeLimit::new();
        limit.closed_after(FLOOR);
        assert_eq!(limit.at_most(usize::MAX), usize::MAX);
        limit.closed_after(FLOOR + 1);
        assert_eq!(limit.at_most(usize::MAX), FLOOR);
    }

    #[test]
    fn after_many_answers_larger_ones_are_tried_again() {
        let mut limit = SizeLimit::new();
        limit.closed_after(1_000_000);
        for _ in 1..PATIENCE {
            limit.answered();
        }
        assert_eq!(limit.at_most(usize::MAX), 500_000);
        limit.answered();
        assert_eq!(limit.at_most(usize::MAX), 1_000_000);
    }
}

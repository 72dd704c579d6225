//! How large a request to a broker may be, and a batch. Brokers and what stands before them have limits that they do
//! not name: they hang up on a request that is larger, and say of a batch that it is too large.

/// No request is made smaller than this for the sake of the broker.
const FLOOR: usize = 64 * 1024;

/// So many answers, and a larger request is tried again: the connection may have closed for another
/// reason.
const PATIENCE: u32 = 10_000;

/// So many batches, and larger ones are tried again: somebody may have raised the topic's limit, and it costs a
/// round trip to know.
const PATIENCE_FOR_BATCHES: u32 = 1_000;

/// What is known of one limit.
#[derive(Debug)]
pub(super) struct SizeLimit {
    bytes: usize,
    answers: u32,
    patience: u32,
}

impl SizeLimit {
    /// Nothing is known of a broker's limit for requests.
    pub(super) fn of_requests() -> Self {
        SizeLimit {
            bytes: usize::MAX,
            answers: 0,
            patience: PATIENCE,
        }
    }

    /// Nothing is known of a topic's limit for batches.
    pub(super) fn of_batches() -> Self {
        SizeLimit {
            patience: PATIENCE_FOR_BATCHES,
            ..Self::of_requests()
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

    /// The broker says that so many bytes are too many.
    pub(super) fn refused(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes.saturating_sub(1));
        self.answers = 0;
    }

    /// A request was answered, a batch was stored.
    #[inline]
    pub(super) fn answered(&mut self) {
        if self.bytes == usize::MAX {
            return;
        }
        self.answers += 1;
        if self.answers >= self.patience {
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
        let mut limit = SizeLimit::of_requests();
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
        let mut limit = SizeLimit::of_requests();
        limit.closed_after(FLOOR);
        assert_eq!(limit.at_most(usize::MAX), usize::MAX);
        limit.closed_after(FLOOR + 1);
        assert_eq!(limit.at_most(usize::MAX), FLOOR);
    }

    #[test]
    fn what_was_refused_is_too_large_by_itself() {
        let mut limit = SizeLimit::of_batches();
        limit.refused(1_000_000);
        limit.refused(2_000_000);
        assert_eq!(limit.at_most(usize::MAX), 999_999);
        for _ in 0..PATIENCE_FOR_BATCHES {
            limit.answered();
        }
        assert_eq!(limit.at_most(usize::MAX), 1_999_998);
    }

    #[test]
    fn after_many_answers_larger_ones_are_tried_again() {
        let mut limit = SizeLimit::of_requests();
        limit.closed_after(1_000_000);
        for _ in 1..PATIENCE {
            limit.answered();
        }
        assert_eq!(limit.at_most(usize::MAX), 500_000);
        limit.answered();
        assert_eq!(limit.at_most(usize::MAX), 1_000_000);
    }
}

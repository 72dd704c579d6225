//! What a partition remembers of idempotent producers (KIP-98): epoch, and the last five batches.

use std::collections::{HashMap, VecDeque};

use brod_protocol::error::ErrorCode;

/// How many batches a broker knows again.
const REMEMBERED: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    first: i32,
    last: i32,
    base_offset: i64,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Remembered>,
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(super) struct Producers {
    by_id: HashMap<i64, Producer>,
}

/// A batch's producer and sequence numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequenced {
    pub id: i64,
    pub epoch: i16,
    pub first: i32,
    pub count: i32,
}

impl Sequenced {
    fn last(&self) -> i32 {
        after(self.first, self.count - 1)
    }
}

/// Sequence numbers go on at 0 behind the largest.
fn after(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX)) as i32
}

impl Producers {
    /// Whether the batch is next; the offset that it has, if it is one of the last five.
    pub(super) fn check(&self, batch: Sequenced) -> Result<Option<i64>, ErrorCode> {
        let Some(producer) = self.by_id.get(&batch.id) else {
            return Ok(None);
        };
        if batch.epoch < producer.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let expected = match producer.batches.back() {
            _ if batch.epoch > producer.epoch => 0,
            Some(newest) => after(newest.last, 1),
            // Only a marker has been written in this epoch.
            None => return Ok(None),
        };
        if batch.first == expected {
            return Ok(None);
        }
        let is_known =
            |known: &&Remembered| known.first == batch.first && known.last == batch.last();
        let known = match batch.epoch == producer.epoch {
            true => producer.batches.iter().find(is_known),
            false => None,
        };
        match known {
            Some(known) => Ok(Some(known.base_offset)),
            None => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        }
    }

    pub(super) fn appended(&mut self, batch: Sequenced, base_offset: i64) {
        self.raise(batch.id, batch.epoch);
        let Some(producer) = self.by_id.get_mut(&batch.id) else {
            return;
        };
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        let remembered = Remembered {
            first: batch.first,
            last: batch.last(),
            base_offset,
        };
        producer.batches.push_back(remembered);
    }

    /// What was at this offset and behind it was never written.
    pub(super) fn forget_from(&mut self, offset: i64) {
        for producer in self.by_id.values_mut() {
            let batches = &mut producer.batches;
            batches.retain(|batch| batch.base_offset < offset);
        }
        self.by_id
            .retain(|_, producer| !producer.batches.is_empty());
    }

    /// A marker or a batch of this epoch: sequence numbers of older ones are over.
    pub(super) fn raise(&mut self, id: i64, epoch: i16) {
        let producer = self.by_id.entry(id).or_default();
        if epoch > producer.epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, first: i32, count: i32) -> Sequenced {
        Sequenced {
            id: 7,
            epoch,
            first,
            count,
        }
    }

    #[test]
    fn a_batch_that_is_sent_again_is_known_and_a_gap_is_refused() {
        let mut producers = Producers::default();
        for n in 0..6 {
            assert_eq!(producers.check(batch(0, n * 10, 10)), Ok(None));
            producers.appended(batch(0, n * 10, 10), 100 + i64::from(n));
        }
        assert_eq!(producers.check(batch(0, 10, 10)), Ok(Some(101)));
        let refused = Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(
            producers.check(batch(0, 0, 10)),
            refused,
            "the sixth before is forgotten"
        );
        assert_eq!(producers.check(batch(0, 70, 10)), refused, "a gap");
        assert_eq!(
            producers.check(batch(0, 50, 9)),
            refused,
            "another batch of the same number"
        );
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_ends_the_older_one() {
        let mut producers = Producers::default();
        producers.appended(batch(0, 0, 10), 0);
        let refused = Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(producers.check(batch(1, 10, 1)), refused);
        assert_eq!(producers.check(batch(1, 0, 1)), Ok(None));
        producers.appended(batch(1, 0, 1), 10);
        let fenced = Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        assert_eq!(producers.check(batch(0, 10, 1)), fenced);
    }

    #[test]
    fn sequence_numbers_go_on_at_zero() {
        let mut producers = Producers::default();
        producers.appended(batch(0, i32::MAX - 1, 2), 0);
        assert_eq!(producers.check(batch(0, 0, 3)), Ok(None));
        producers.appended(batch(0, i32::MAX, 2), 2);
        assert_eq!(producers.check(batch(0, 1, 3)), Ok(None));
    }
}

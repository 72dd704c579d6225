//! Who made the calls of a batch, and who is told what became of them.

use std::ops::Range;

use super::failure::Failure;
#[cfg(doc)]
use super::partition::Partition;

/// Whom a batch's callers are, gathered while it fills. One value a batch.
pub trait Acks: Default + Send + 'static {
    /// A state to go back to.
    type Mark: Copy;

    /// The state now.
    fn mark(&self) -> Self::Mark;
    /// Undoes what came since `mark`.
    fn rollback(&mut self, mark: Self::Mark);
    /// How many calls are in it.
    fn calls(&self) -> u32;
    /// Whether some of its calls are nobody's to hear of.
    fn has_untold(&self) -> bool {
        false
    }
    /// The records of the call that record `at` belongs to; None where nobody is to hear of it.
    fn call_at(&self, at: u32) -> Option<Range<u32>>;
    /// Takes apart, where a batch is split before record `at`.
    fn split(self, at: u32) -> Split<Self>;
}

/// The calls of a batch that is split.
pub struct Split<A> {
    /// All of their records are before the cut.
    pub before: A,
    /// The one call with records on both sides, if there is one, as the only call of its batch; and
    /// where its records are in the batch that is split.
    pub across: Option<(A, Range<u32>)>,
    /// All of their records are behind the cut. Positions count from there.
    pub after: A,
}

/// Who is told what became of a partition's records.
pub trait Replies: Send + Sync + 'static {
    /// The callers of one batch.
    type Acks: Acks;
    /// A caller that is held up because the buffer is full.
    type Waiter: Send + 'static;

    /// All of the batch is stored, its first record at `base_offset` (-1: unknown).
    fn delivered(&self, acks: Self::Acks, base_offset: i64);
    /// All results of one response are told. Until then `delivered` may keep them.
    fn flush(&self);
    /// The batch will not be delivered.
    fn failed(&self, acks: Self::Acks, why: &Failure);
    /// These callers may go on.
    fn room(&self, waiters: Vec<Self::Waiter>);
    /// The producer has stopped by itself; everything before was delivered or failed.
    fn stopped(&self, why: &Failure);
    /// [`Partition::hand_over`] was called, and all results of before have been told.
    fn handed_over(&self) {}
    /// So many calls of callers that do not wait were dropped because too much is buffered.
    fn dropped(&self, _calls: u64) {}
    /// A request with `records` of this partition, `payload` bytes of keys, values and headers, is
    /// in flight.
    fn sent(&self, records: u32, payload: usize);
}
